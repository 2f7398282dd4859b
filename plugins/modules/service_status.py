# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: service_status
short_description: How an instance of the service is
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Asks the cluster, the servers and Prometheus how an instance is, and reads when it was proved last. Changes nothing.
  - What could not be known has a reason in RV(status.unknown), and an instance whose cluster cannot be reached is a
    result with RV(status.why). Neither is a failure of the module.
options:
  claim:
    description: >-
      Persistent volume claim that the models are published to. What is noted on it is read, and no pod started.
    type: str
    default: ""
  window:
    description: Seconds up to now of which is told what was.
    type: int
    default: 3600
  timeout:
    description: Seconds that a server or a query may take to answer.
    type: float
    default: 10
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.instance.told
  - fastml.supersonic.read_only
seealso:
  - plugin: fastml.supersonic.status_page
    plugin_type: filter
  - module: fastml.supersonic.triton_info
  - module: fastml.supersonic.prometheus_query_info
"""

EXAMPLES = r"""
- name: How is it?
  fastml.supersonic.service_status:
    name: main
    namespace: cms
    prometheus:
      url: http://main-prometheus.cms.svc.cluster.local:9090
  register: found

- name: Make a page of it
  ansible.builtin.copy:
    content: "{{ [found.status] | fastml.supersonic.status_page }}"
    dest: /var/www/html/status.html
    mode: "0644"
"""

RETURN = r"""
status:
  description: How the instance is.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
    namespace:
      description: Its namespace.
      type: str
    made:
      description: When this was asked, in UTC.
      type: str
      sample: "2026-01-31T12:00:00Z"
    window:
      description: O(window).
      type: int
    reachable:
      description: Whether its cluster has answered. Without an answer there is nothing but RV(status.why).
      type: bool
    deployed:
      description: >-
        Whether servers, Envoys or the Service of the instance are there; null where the cluster has not answered. Where
        it is false there is nothing else but RV(status.why).
      type: bool
    why:
      description: Why the cluster has not answered, or what is missing.
      type: str
    unknown:
      description: Why a part is not known, by the part's name.
      type: dict
      sample: {traffic: no Prometheus was named}
    servers:
      description: >-
        How many servers are C(wanted), C(ready) and C(answering), their C(image) and C(versions), C(each) of them with
        its C(release), the C(models) with the number of servers that have them ready, and the names of C(ensembles).
      type: dict
    envoys:
      description: How many Envoys are C(wanted) and C(ready), their C(image) and its C(version).
      type: dict
    endpoint:
      description: >-
        The C(address) that clients use, where it is C(inside) of the cluster and C(outside), and the Service's C(type).
      type: dict
    autoscaler:
      description: >-
        Which C(kind) of autoscaler there is, empty for none, whether it is C(paused), what it says as a C(text), and
        its C(problems). Where an operator has paused the instance, C(pause) has the number of C(servers), C(since)
        when, and the C(reason).
      type: dict
    release:
      description: The C(current) release of the models, and when it was C(published) first.
      type: dict
    verification:
      description: The C(time) of the last verification, whether it C(passed), its C(message) and C(checks).
      type: dict
    traffic:
      description: >-
        From C(begin) to C(end) (seconds since 1970, by the clock of Prometheus), pairs of a time and a value by
        quantity (C(series)), single numbers of that time (C(hour)), the C(accelerators) now, and the C(alerts) that
        fire.
      type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import status as instance_status
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "namespace": {"type": "str", "required": True},
            "claim": {"type": "str", "default": ""},
            "window": {"type": "int", "default": 3600},
            "timeout": {"type": "float", "default": 10},
            **instance_status.TOLD_SPEC,
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    options = module.params
    for name, least in (("window", 60), ("timeout", 0.1)):
        if options[name] < least:
            module.fail_json(msg=f"{name} is {options[name]:g}; it must be at least {least:g} seconds.")
    wanted = instance_status.Wanted(
        namespace=options["namespace"],
        name=options["name"],
        address=options["address"],
        claim=options["claim"],
        report=options["report"] or "",
        window=options["window"],
        timeout=options["timeout"],
        domain=options["cluster_domain"],
    )
    resolver = Resolver(options)
    place = options["prometheus"]
    ask = (lambda: instance_status.prometheus_of(place, resolver, wanted.timeout)) if place else None
    try:
        found = instance_status.look(wanted, resolver, ask)
    finally:
        resolver.close()
    module.exit_json(changed=False, status=found)


if __name__ == "__main__":
    main()
