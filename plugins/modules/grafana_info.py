# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: grafana_info
short_description: Whether a Grafana can use its data sources
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Asks a Grafana for the health of data sources, by its HTTP API, and fails unless all of them are healthy.
  - A Grafana that only listens inside of a cluster is reached through the Kubernetes API, by a port-forward.
options:
  token:
    description:
      - Token of a service account that may query data sources, as the role Viewer does.
    type: str
  datasources:
    description:
      - The uid of each data source.
    type: list
    elements: str
    required: true
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.grafana.login
  - fastml.supersonic.read_only
seealso:
  - module: fastml.supersonic.grafana_dashboards
"""

EXAMPLES = r"""
- name: Can the instance's own Grafana use what it shows?
  fastml.supersonic.grafana_info:
    url: http://main-grafana.cms.svc.cluster.local:3000
    password: "{{ vault_grafana_password }}"
    datasources: [supersonic-prometheus, supersonic-tempo]
"""

RETURN = r"""
datasources:
  description: Why each data source cannot be used, by its uid; empty of one that can.
  returned: when Grafana answers
  type: dict
  sample: {supersonic-prometheus: ""}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.grafana import LOGIN_SPEC, grafana_of


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "datasources": {"type": "list", "elements": "str", "required": True},
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
        found = {name: grafana.problem(name) for name in options["datasources"]}
        grafana.close()
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    finally:
        resolver.close()
    problems = [problem for problem in found.values() if problem]
    if problems:
        module.fail_json(msg=" ".join(problems), datasources=found)
    module.exit_json(changed=False, datasources=found)


if __name__ == "__main__":
    main()
