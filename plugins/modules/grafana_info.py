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
  url:
    description:
      - Address of Grafana, V(http://HOST:PORT) or V(https://HOST:PORT), with a path where it has one.
      - That of a Service, V(http://NAME.NAMESPACE.svc.cluster.local:3000), is reached through the Kubernetes
        API.
    type: str
    required: true
  token:
    description:
      - Token of a service account that may query data sources, as the role Viewer does.
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
  datasources:
    description:
      - The uid of each data source.
    type: list
    elements: str
    required: true
  timeout:
    description:
      - Seconds that one answer may take.
    type: float
    default: 30
extends_documentation_fragment:
  - fastml.supersonic.connection
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

from ansible_collections.fastml.supersonic.plugins.module_utils._client import CONNECTION_SPEC
from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._grafana import Grafana
from ansible_collections.fastml.supersonic.plugins.module_utils._targets import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._web import parse_address


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "token": {"type": "str", "no_log": True},
            "user": {"type": "str", "default": "admin"},
            "password": {"type": "str", "no_log": True},
            "ca_certificates": {"type": "str"},
            "validate_grafana_certs": {"type": "bool", "default": True},
            "datasources": {"type": "list", "elements": "str", "required": True},
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
