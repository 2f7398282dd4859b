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
  token:
    description:
      - Token of a service account that may read dashboards, and for O(state=restored) write them.
    type: str
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.grafana.login
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

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring import grafana_backup
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.grafana import LOGIN_SPEC, grafana_of


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["saved", "restored"], "default": "saved"},
            "path": {"type": "path", "required": True},
            **LOGIN_SPEC,
            **CONNECTION_SPEC,
        },
        mutually_exclusive=[("token", "password")],
        supports_check_mode=True,
    )
    options = module.params
    resolver = Resolver(options)
    try:
        grafana = grafana_of(options, resolver)
        act = grafana_backup.save if options["state"] == "saved" else grafana_backup.bring_back
        result = act(grafana, os.path.abspath(options["path"]), check=module.check_mode)
        grafana.close()
    except (SupersonicError, OSError) as error:
        module.fail_json(msg=str(error))
    finally:
        resolver.close()
    module.exit_json(**result)


if __name__ == "__main__":
    main()
