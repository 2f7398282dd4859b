# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: drift_info
version_added: 1.0.0
short_description: How what runs of an instance differs from its objects in the cluster
author: ["fastml.supersonic contributors (@fastmachinelearning)"]
description:
  - Looks for pods of an older template, pods of one template with different images, pods that are missing, contents of
    ConfigMaps and Secrets that were changed after they had been read, Envoys that run with another configuration than
    their ConfigMap has, servers that have other models than the current release, and a number of servers that somebody
    has set although an autoscaler decides. Changes nothing.
  - Finds objects with the instance's labels that no set owns, and what is left of parts that O(sets) does not name.
  - What may not be asked, or gives no answer, is named in RV(unknown).
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.instance
  - fastml.supersonic.read_only
options:
  sets:
    description: Parts that the instance is to have.
    type: list
    elements: str
    choices: [models, triton, envoy, prometheus, grafana, tempo, otel-collector, autoscaler]
    required: true
  claim:
    description: Persistent volume claim that the models are published to. Its annotations are read, and no pod started.
    type: str
    default: ""
  path:
    description: Folder that the models are published to, instead of O(claim).
    type: path
  release:
    description: Id of the release that is to be current, empty where that is not known.
    type: str
    default: ""
  timeout:
    description: Seconds that a server or an Envoy may take to answer.
    type: float
    default: 10
  trusted_managers:
    description: As O(fastml.supersonic.manifests_info#module:trusted_managers).
    type: list
    elements: str
    default: []
seealso:
  - module: fastml.supersonic.manifests_info
  - module: fastml.supersonic.service_status
  - plugin: fastml.supersonic.drift_table
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Does what runs differ from what is described?
  fastml.supersonic.drift_info:
    name: main
    namespace: cms
    sets: [models, triton, envoy]
    claim: main-models
  register: found

- name: Say so
  ansible.builtin.debug:
    msg: "{{ found.findings | map(attribute='text') | list }}"
"""

RETURN = r"""
findings:
  description: >-
    Every difference, as RV(fastml.supersonic.manifests_info#module:findings), with the value that C(running) has where
    there is one.
  returned: success
  type: list
  elements: dict
unknown:
  description: What could not be asked, and why.
  returned: success
  type: list
  elements: str
running:
  description: >-
    What runs - C(workloads) with their pods and the digests of their images by container, the C(envoys), the
    C(release) of each server, and the C(autoscaler).
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._drift.running_state import PARTS, Look, Wanted
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "namespace": {"type": "str", "required": True},
            "sets": {"type": "list", "elements": "str", "choices": list(PARTS), "required": True},
            "claim": {"type": "str", "default": ""},
            "path": {"type": "path"},
            "release": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 10},
            "trusted_managers": {"type": "list", "elements": "str", "default": []},
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    options = module.params
    if options["timeout"] <= 0:
        module.fail_json(msg=f"timeout is {options['timeout']:g}; it must be more than 0 seconds.")
    if options["claim"] and options["path"]:
        module.fail_json(msg="claim and path are both given; models are published to one of them.")
    wanted = Wanted(
        namespace=options["namespace"],
        name=options["name"],
        sets=options["sets"],
        claim=options["claim"],
        path=options["path"] or "",
        release=options["release"],
        timeout=options["timeout"],
        trusted=options["trusted_managers"],
    )
    resolver = Resolver(options)
    look = Look(wanted, resolver)
    try:
        look.all()
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    finally:
        resolver.close()
    module.exit_json(changed=False, findings=look.findings, unknown=look.unknown, running=look.running)


if __name__ == "__main__":
    main()
