# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: grafana_backup
short_description: Back up dashboards that people have made, and restore those that are missing
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - V(saved) writes each dashboard that no provisioning brings to a file of its own, with the folder that it is in.
  - V(restored) makes those that Grafana does not have. What it has is never overwritten or removed.
  - Users, teams, alerts and data sources are left out.
  - A Grafana that only listens inside of a cluster is reached through the Kubernetes API, by a port-forward.
attributes:
  check_mode:
    description: Can run in check mode and tells what would be written or made.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: none
  idempotent:
    description: When run twice with the same arguments, the second run changes nothing.
    support: full
options:
  state:
    description: What to do.
    type: str
    choices: [saved, restored]
    default: saved
  path:
    description: Folder of the files.
    type: path
    required: true
  url:
    description:
      - Address of Grafana, V(http://HOST:PORT) or V(https://HOST:PORT), with a path where it has one.
      - That of a Service, V(http://NAME.NAMESPACE.svc.cluster.local:3000), is reached through the Kubernetes
        API.
    type: str
    required: true
  token:
    description:
      - Token of a service account that may read dashboards, and for O(state=restored) write them.
    type: str
  user:
    description:
      - Name of a user, where there is no token.
    type: str
    default: admin
  password:
    description:
      - Password of O(user).
    type: str
  ca_certificates:
    description:
      - Certificates (PEM) of the authorities to trust with V(https). Those of the system unless set.
    type: str
  validate_grafana_certs:
    description:
      - Whether the certificate of Grafana is checked. Without the check anybody can pose as it.
    type: bool
    default: true
  timeout:
    description:
      - Seconds that one answer may take.
    type: float
    default: 30
extends_documentation_fragment:
  - fastml.supersonic.connection
seealso:
  - module: fastml.supersonic.grafana_dashboards
"""

EXAMPLES = r"""
- name: Keep what people have drawn
  fastml.supersonic.grafana_backup:
    url: http://main-grafana.cms.svc.cluster.local:3000
    password: "{{ vault_grafana_password }}"
    path: /backup/cms/grafana
"""

RETURN = r"""
msg:
  description: What was done, in a sentence.
  returned: always
  type: str
dashboards:
  description: The uid of each dashboard that people have made, or that is in the backup.
  returned: success
  type: list
  elements: str
written:
  description: Those of which a file was written, or that were made in Grafana.
  returned: success
  type: list
  elements: str
kept:
  description: Those of the backup that Grafana has in another form, which it keeps.
  returned: success
  type: list
  elements: str
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils import _grafana_backup
from ansible_collections.fastml.supersonic.plugins.module_utils._client import CONNECTION_SPEC
from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._grafana import Grafana
from ansible_collections.fastml.supersonic.plugins.module_utils._targets import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._web import parse_address


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["saved", "restored"], "default": "saved"},
            "path": {"type": "path", "required": True},
            "url": {"type": "str", "required": True},
            "token": {"type": "str", "no_log": True},
            "user": {"type": "str", "default": "admin"},
            "password": {"type": "str", "no_log": True},
            "ca_certificates": {"type": "str"},
            "validate_grafana_certs": {"type": "bool", "default": True},
            "timeout": {"type": "float", "default": 30},
            **CONNECTION_SPEC,
        },
        mutually_exclusive=[("token", "password")],
        supports_check_mode=True,
    )
    options = module.params
    resolver = Resolver(options)
    try:
        grafana = Grafana(
            parse_address(options["url"], what="Grafana"),
            resolver,
            token=options["token"] or "",
            authorities=options["ca_certificates"] or "",
            validate=options["validate_grafana_certs"],
            timeout=options["timeout"],
        )
        if options["password"]:
            grafana.log_in(options["user"], options["password"])
        act = _grafana_backup.save if options["state"] == "saved" else _grafana_backup.bring_back
        result = act(grafana, os.path.abspath(options["path"]), check=module.check_mode)
        grafana.close()
    except (SupersonicError, OSError) as error:
        module.fail_json(msg=str(error))
    finally:
        resolver.close()
    module.exit_json(**result)


if __name__ == "__main__":
    main()
