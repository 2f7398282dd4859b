# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: incident_bundle
short_description: One archive with what an incident takes to be understood
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Collects the objects of an instance, its events, logs, the configuration and counters of its Envoys, what its
    servers say of themselves, its autoscaler, the last hour as Prometheus has it and the report of the last
    verification, in one archive that only its owner may read. Changes nothing in the cluster.
  - Secrets are removed - values of Secrets and of O(secrets) wherever they are, and whatever has the form of a
    credential.
  - What could not be had is in the archive's C(MANIFEST.json) and in RV(missing) with the reason, and is no failure. An
    instance whose cluster cannot be reached has an archive with the reason.
attributes:
  check_mode:
    description: Can run in check mode, where it asks for nothing and writes nothing.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: none
  idempotent:
    description: When run twice with the same arguments, the second run changes nothing.
    support: none
    details: Each run replaces the archive, since logs and counters go on.
options:
  path:
    description: >-
      File of the archive (tar.gz) in a folder that is there. One that is there already is replaced once the new one is
      complete.
    type: path
    required: true
  claims:
    description: Further persistent volume claims that belong to it.
    type: list
    elements: str
    default: []
  secrets:
    description: Texts that are removed wherever they are, such as tokens that the inventory has.
    type: list
    elements: str
    default: []
  seconds:
    description: After so many seconds nothing more is asked for.
    type: int
    default: 120
  timeout:
    description: Seconds that each answer may take.
    type: float
    default: 10
  max_bytes:
    description: Bytes that all files together may have before they are packed.
    type: int
    default: 64000000
  log_bytes:
    description: Bytes of each log; its end is what is kept.
    type: int
    default: 1000000
  collection_version:
    description: >-
      Version of the collection, to be told in the archive. Playbooks need not give it, it is that of the collection
      that they run from.
    type: str
    default: ""
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.instance.told
seealso:
  - module: fastml.supersonic.service_status
"""

EXAMPLES = r"""
- name: What was it?
  fastml.supersonic.incident_bundle:
    name: main
    namespace: cms
    path: /var/tmp/cms-main.tar.gz
"""

RETURN = r"""
path:
  description: The archive.
  returned: success
  type: str
size:
  description: Its size in bytes.
  returned: success, but not in check mode
  type: int
files:
  description: How many files are in it.
  returned: success, but not in check mode
  type: int
missing:
  description: What could not be had, with the reason.
  returned: success, but not in check mode
  type: dict
  sample: {status.json: 'the time for the bundle (120 s) was over before it was asked for'}
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._common.text import counted
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import incident_bundle
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import status as instance_status
from ansible_collections.fastml.supersonic.plugins.module_utils._kube import api_client, connection
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC

# A part that fails is told; waiting for a server that is down takes time from the others.
_PATIENCE_SECONDS = 5.0


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "namespace": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "claims": {"type": "list", "elements": "str", "default": []},
            "secrets": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "seconds": {"type": "int", "default": 120},
            "timeout": {"type": "float", "default": 10},
            "max_bytes": {"type": "int", "default": 64_000_000},
            "log_bytes": {"type": "int", "default": 1_000_000},
            "collection_version": {"type": "str", "default": ""},
            **instance_status.TOLD_SPEC,
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    options = module.params
    for name, least in (("seconds", 1), ("timeout", 0.1), ("max_bytes", 100_000), ("log_bytes", 1000)):
        if options[name] < least:
            module.fail_json(msg=f"{name} is {options[name]:g}; it must be at least {least:g}.")
    path = os.path.abspath(options["path"])
    if module.check_mode:
        module.exit_json(changed=True, path=path, msg=f"Would write {path}.")
    if not os.path.isdir(os.path.dirname(path)):
        module.fail_json(msg=f"path is {path}, but there is no folder {os.path.dirname(path)}. Make it first.")
    place = options["prometheus"]
    wanted = incident_bundle.Options(
        namespace=options["namespace"],
        name=options["name"],
        version=options["collection_version"],
        status=instance_status.Wanted(
            namespace=options["namespace"],
            name=options["name"],
            address=options["address"],
            claim=options["claims"][0] if options["claims"] else "",
            report=options["report"] or "",
            timeout=options["timeout"],
            domain=options["cluster_domain"],
        ),
        claims=tuple(options["claims"]),
        secrets=(*options["secrets"], *([place["token"]] if place and place["token"] else [])),
        seconds=options["seconds"],
        timeout=options["timeout"],
        size=options["max_bytes"],
        log_size=options["log_bytes"],
    )
    resolver = Resolver(options)
    try:
        api = api_client.Api(connection.connection(options), patience=_PATIENCE_SECONDS)
        ask = (lambda: instance_status.prometheus_of(place, resolver, wanted.timeout)) if place else None
        bundle = incident_bundle.collect(wanted, resolver, api, ask)
        size = incident_bundle.write(bundle, path, f"{options['namespace']}-{options['name']}")
    except (SupersonicError, OSError) as error:
        module.fail_json(msg=str(error))
    finally:
        resolver.close()
    module.exit_json(
        changed=True,
        path=path,
        size=size,
        files=len(bundle.files),
        missing=dict(sorted(bundle.missing.items())),
        msg=f"{path} has {counted(len(bundle.files), 'file')} ({size} bytes); "
        f"{counted(len(bundle.missing), 'thing')} could not be had.",
    )


if __name__ == "__main__":
    main()
