# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: grafana_dashboards
short_description: Dashboards in a Grafana that is there already
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Has dashboards in a folder of a Grafana, by its HTTP API, and removes those of ours that are no longer wanted. Only
    dashboards of that folder are touched whose uid begins with C(supersonic-).
  - A dashboard that is there is compared key by key; what Grafana has added to it is no difference.
options:
  token:
    description: Token of a service account that may write to the folder, or make it; the role Editor may.
    type: str
    required: true
  state:
    description: >-
      V(present) for the dashboards, V(absent) to remove all of ours from the folder, and the folder when nothing else
      is in it.
    type: str
    choices: [present, absent]
    default: present
  folder:
    description: The folder.
    type: dict
    suboptions:
      uid:
        description: Its uid.
        type: str
        default: supersonic
      title:
        description: Its title.
        type: str
        default: SuperSONIC
  dashboards:
    description: JSON of each dashboard by any name, as P(fastml.supersonic.dashboard_files#filter) gives it.
    type: dict
    default: {}
  datasource:
    description: The uid of a data source that has to be healthy; empty for none.
    type: str
    default: ""
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.grafana
attributes:
  check_mode:
    description: Can run in check mode and tells what would be done.
    support: full
  diff_mode:
    description: Returns what was there and what is, of what is different.
    support: full
  idempotent:
    description: When run twice with the same arguments, the second run changes nothing.
    support: full
seealso:
  - plugin: fastml.supersonic.dashboard_files
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Have the dashboards in the site's Grafana
  fastml.supersonic.grafana_dashboards:
    url: https://grafana.example.org
    token: "{{ vault_grafana_token }}"
    dashboards: >-
      {{ ['service', 'servers', 'models', 'scaling', 'gateway']
         | fastml.supersonic.dashboard_files(scrape_interval=15, thresholds={'queue_ratio': 3, 'queue_time': 1000}) }}
"""

RETURN = r"""
folder:
  description: What became of the folder, C(unchanged), C(created), C(updated) or C(deleted).
  returned: success
  type: str
dashboards:
  description: The same for each dashboard, by its uid.
  returned: success
  type: dict
  sample: {supersonic-service: created}
"""

import json

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring import grafana as monitoring_grafana


def main() -> None:
    """Run the module."""
    place = {"uid": {"type": "str", "default": "supersonic"}, "title": {"type": "str", "default": "SuperSONIC"}}
    module = AnsibleModule(
        argument_spec={
            "token": {"type": "str", "required": True, "no_log": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "folder": {"type": "dict", "options": place, "apply_defaults": True},
            "dashboards": {"type": "dict", "default": {}},
            "datasource": {"type": "str", "default": ""},
            **monitoring_grafana.GRAFANA_SPEC,
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    options = module.params
    resolver = Resolver(options)
    try:
        grafana = monitoring_grafana.grafana_of(options, resolver)
        if options["state"] == "present":
            # Before anything changes: a dashboard without data is of no use to anybody.
            problem = grafana.problem(options["datasource"]) if options["datasource"] else ""
            if problem:
                raise SupersonicError(problem)
            found = monitoring_grafana.bring(grafana, options["folder"], options["dashboards"], check=module.check_mode)
        else:
            found = monitoring_grafana.take_away(grafana, options["folder"], check=module.check_mode)
        grafana.close()
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    finally:
        resolver.close()
    answer = {"changed": found.changed, "folder": found.folder, "dashboards": found.dashboards}
    if module._diff:
        answer["diff"] = {name: _text(part) for name, part in (("before", found.before), ("after", found.after))}
    module.exit_json(**answer)


def _text(things: dict[str, object]) -> str:
    return json.dumps(things, indent=1, sort_keys=True, ensure_ascii=False) + "\n" if things else ""


if __name__ == "__main__":
    main()
