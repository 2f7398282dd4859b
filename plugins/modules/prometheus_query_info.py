# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: prometheus_query_info
short_description: Ask a Prometheus, how it scrapes an instance, and which alerts fire
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Runs queries on a Prometheus and returns their values. Changes nothing.
  - Tells how the pods of an instance are scraped, which labels the site gives them and how often, and fails where
    they are not.
  - Tells whether the rules of the instance are evaluated, and which of its alerts fire.
  - A Prometheus that only listens inside of the cluster is reached by a port-forward through the Kubernetes API server.
options:
  url:
    description:
      - Address of Prometheus, V(http://HOST:PORT) or V(https://HOST:PORT), with a path where it has one.
      - When the host is the name of a Service, V(NAME.NAMESPACE.svc) or longer, one of the pods behind it is reached
        by a port-forward.
    type: str
  service:
    description:
      - A Service instead of O(url), reached by a port-forward to one of the ready pods behind it.
    type: dict
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      namespace:
        description: Its namespace.
        type: str
        required: true
      port:
        description: Number or name of the port.
        type: str
        default: "9090"
  token:
    description:
      - Bearer token for Prometheus, or for what is in front of it.
    type: str
  ca_certificates:
    description:
      - Certificates (PEM) of the authorities to trust with V(https). Those of the system unless set.
    type: str
  validate_prometheus_certs:
    description:
      - Whether the certificate of Prometheus is checked. Without the check anybody can pose as it.
    type: bool
    default: true
  queries:
    description:
      - Names and expressions in PromQL. Each has to give one value for each of its series.
    type: dict
    default: {}
  instance:
    description:
      - An instance of the service whose pods have to be scraped.
    type: dict
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      namespace:
        description: Its namespace.
        type: str
        required: true
      pods:
        description:
          - Whether to compare with the pods that are ready, which takes the right to list pods in the namespace.
        type: bool
        default: true
      rules:
        description:
          - Whether the rules of the role P(fastml.supersonic.prometheus#role) have to be loaded and evaluated. Of a
            Prometheus that tells nothing of its rules, what they record has to be there.
        type: bool
        default: false
      parts:
        description:
          - Parts of the instance whose ready pods have to be scraped.
        type: list
        elements: str
        choices: [triton, envoy, otel-collector, tempo]
        default: [triton, envoy]
      scrape_interval:
        description:
          - Seconds between two scrapes that its rules are made for. It is a failure when pods are scraped clearly less
            often; V(0) for however often.
        type: float
        default: 0
  wait_timeout:
    description:
      - Seconds to wait until everything of O(instance) that is ready is scraped, and how often is known.
        V(0) does not wait.
    type: int
    default: 0
  queries_wait_timeout:
    description:
      - Seconds to wait until each of O(queries) has a single value. Rates of a new instance have none before its second
        scrape, and recorded series none before their rules are evaluated. V(0) does not wait.
      - A query that still has none is no failure; its RV(answers.value) is V(null).
    type: float
    default: 0
  timeout:
    description:
      - Seconds that one query may take.
    type: float
    default: 30
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.read_only
seealso:
  - plugin: fastml.supersonic.service_queries
    plugin_type: filter
"""

EXAMPLES = r"""
- name: How long do requests wait?
  fastml.supersonic.prometheus_query_info:
    url: http://main-prometheus.cms.svc.cluster.local:9090
    queries: "{{ 'main' | fastml.supersonic.service_queries('cms') }}"
  register: prometheus

- name: Show the result
  ansible.builtin.debug:
    msg: "{{ prometheus.answers.queue_time.value }} ms"

- name: Does the site's Prometheus scrape the instance, and by which labels?
  fastml.supersonic.prometheus_query_info:
    url: https://prometheus.example.org
    token: "{{ vault_prometheus_token }}"
    instance: {name: main, namespace: cms}
"""

RETURN = r"""
answers:
  description: What each query gave, by its name.
  returned: success
  type: dict
  sample: {queue_time: {query: "...", value: 12.5, series: [{labels: {}, value: 12.5, text: "12.5"}]}}
  contains:
    query:
      description: The expression.
      type: str
    seconds:
      description: How long the answer took, without the making of the connection.
      type: float
    value:
      description:
        - The value, when there is exactly one and it is a number, V(null) otherwise.
      type: float
    series:
      description: All series, each with C(labels), C(value) and C(text), which is what Prometheus wrote.
      type: list
      elements: dict
found:
  description: How the instance is scraped.
  returned: when O(instance) is given
  type: dict
  contains:
    deployed:
      description:
        - Whether an Envoy of the instance is ready. While there is none, nothing has to be scraped. V(true) without
          O(instance.pods).
      type: bool
    labels:
      description: What the site calls the labels C(namespace) and C(pod).
      type: dict
      sample: {namespace: namespace, pod: pod}
    scrape_interval:
      description: Seconds between two scrapes, of what is scraped least often; V(null) where there were not yet two.
      type: float
    recorded:
      description: Whether the rules of the role P(fastml.supersonic.prometheus#role) record what its servers compute.
      type: bool
    targets_up:
      description:
        - Targets that answered, each with C(pod), C(instance) (its address) and C(job), and with C(container) and
          C(node) where the site gives these labels.
      type: list
      elements: dict
    targets_down:
      description: Targets that did not answer the last scrape, with C(error) where Prometheus tells.
      type: list
      elements: dict
    pods_missing:
      description: Pods that are ready and not scraped.
      type: list
      elements: str
rules:
  description: What becomes of the rules of the role P(fastml.supersonic.prometheus#role).
  returned: when O(instance) is given
  type: dict
  contains:
    groups:
      description:
        - Each with C(name), C(interval) and C(evaluated_ago) (seconds; V(null) where it was not yet), the numbers of
          rules C(recording) and C(alerting), and C(errors) by rule.
        - V(null) where Prometheus tells nothing of its rules.
      type: list
      elements: dict
    problems:
      description: What is wrong with them. It fails the module with O(instance.rules) alone.
      type: list
      elements: str
alerts:
  description: Alerts of the instance, first those that fire, of these first the critical ones.
  returned: when O(instance) is given
  type: list
  elements: dict
  sample:
    - name: SupersonicPoolDown
      state: firing
      severity: critical
      since: "2026-11-27T20:45:19.123456789Z"
      summary: "cms/main: too few servers are healthy"
  contains:
    name:
      description: Its name, a section of the runbook.
      type: str
    state:
      description: V(firing), or V(pending) while it waits for its C(for).
      type: str
    severity:
      description: V(critical) or V(warning).
      type: str
    since:
      description: Since when it is so.
      type: str
    summary:
      description: What is wrong, in a few words; empty where Prometheus lets us ask by queries only.
      type: str
    description:
      description: What is wrong in numbers, and what to do; empty likewise.
      type: str
    runbook_url:
      description: Where there is more; empty likewise.
      type: str
    labels:
      description: All labels but its name.
      type: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring import prometheus as monitoring_prometheus

# Seconds between two attempts at a query without a value.
_PAUSE_S = 0.5


def main() -> None:
    """Run the module."""
    place = {"name": {"type": "str", "required": True}, "namespace": {"type": "str", "required": True}}
    looks = {
        "pods": {"type": "bool", "default": True},
        "rules": {"type": "bool", "default": False},
        "parts": {
            "type": "list",
            "elements": "str",
            "choices": list(monitoring_prometheus.ALL_PARTS),
            "default": list(monitoring_prometheus.PARTS),
        },
        "scrape_interval": {"type": "float", "default": 0},
    }
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str"},
            "service": {
                "type": "dict",
                "options": {**place, "port": {"type": "str", "default": monitoring_prometheus.DEFAULT_PORT}},
            },
            "token": {"type": "str", "no_log": True},
            "ca_certificates": {"type": "str"},
            "validate_prometheus_certs": {"type": "bool", "default": True},
            "queries": {"type": "dict", "default": {}},
            "instance": {"type": "dict", "options": {**place, **looks}},
            "wait_timeout": {"type": "int", "default": 0},
            "queries_wait_timeout": {"type": "float", "default": 0},
            "timeout": {"type": "float", "default": 30},
            **CONNECTION_SPEC,
        },
        required_one_of=[("url", "service")],
        mutually_exclusive=[("url", "service")],
        supports_check_mode=True,
    )
    options = module.params
    resolver = Resolver(options)
    answer = {}
    try:
        prometheus = monitoring_prometheus.Prometheus(
            monitoring_prometheus.parse_address(options["url"], options["service"]),
            resolver,
            token=options["token"] or "",
            authorities=options["ca_certificates"] or "",
            validate=options["validate_prometheus_certs"],
            timeout=options["timeout"],
        )
        if options["instance"]:
            found = monitoring_prometheus.wait_until_scraped(
                prometheus, resolver, options["instance"], options["wait_timeout"]
            )
            answer.update({"found": found.as_result(), "rules": found.rules.as_result(), "alerts": found.rules.alerts})
            if found.problems:
                module.fail_json(msg=" ".join(found.problems), **answer)
        if options["queries"]:
            # So that the way there is no part of the first one's seconds.
            prometheus.query("1")
        answer["answers"] = _answers(prometheus, options["queries"], options["queries_wait_timeout"])
        for text in prometheus.warnings:
            module.warn(f"Prometheus: {text}")
    except SupersonicError as error:
        module.fail_json(msg=str(error), **answer)
    finally:
        resolver.close()
    module.exit_json(changed=False, **answer)


def _answers(
    prometheus: monitoring_prometheus.Prometheus, queries: dict[str, str], wait_timeout: float
) -> dict[str, dict[str, object]]:
    """The answers by name. Queries without a value are asked again, for at most wait_timeout seconds."""
    end = time.monotonic() + wait_timeout
    answers = {name: _ask(prometheus, name, str(query)) for name, query in queries.items()}
    while missing := [name for name, found in answers.items() if found["value"] is None]:
        left = end - time.monotonic()
        if left <= 0:
            break
        # Prometheus tells nobody of new samples.
        time.sleep(min(left, _PAUSE_S))
        answers.update({name: _ask(prometheus, name, str(queries[name])) for name in missing})
    return answers


def _ask(prometheus: monitoring_prometheus.Prometheus, name: str, query: str) -> dict[str, object]:
    begin = time.monotonic()
    data = prometheus.query(query, f"the query {name} ({query})")
    return {"query": query, "seconds": round(time.monotonic() - begin, 3), **monitoring_prometheus.result(data)}


if __name__ == "__main__":
    main()
