# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: trace_info
short_description: Whether spans arrive, and whether traces are whole
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Asks an OpenTelemetry collector whether it takes spans, and what it has done with them so far.
  - Looks traces up in a Tempo, and says which services have no span in them and which spans do not hang together.
  - Changes nothing. What only listens inside of the cluster is reached by a port-forward through the Kubernetes API
    server.
options:
  collector_url:
    description:
      - Where a collector takes OTLP over HTTP, V(http://HOST:4318/v1/traces). It is sent a request without spans.
      - When the host is the name of a Service, V(NAME.NAMESPACE.svc) or longer, one of the pods behind it is reached by
        a port-forward. So it is with the other URLs.
    type: str
  collector_metrics_url:
    description:
      - Where the collector has metrics of its own, V(http://HOST:8888), without V(/metrics).
    type: str
  before:
    description:
      - RV(counters) of an earlier call. Since then spans have to have been accepted, and none refused or lost on the
        way on.
    type: dict
    default: {}
  tempo_url:
    description:
      - Address of Tempo, V(http://HOST:3200) or V(https://HOST), with a path where it has one.
    type: str
  tempo_token:
    description:
      - Bearer token for Tempo, or for what is in front of it.
    type: str
  tempo_ca_certificates:
    description:
      - Certificates (PEM) of the authorities to trust with V(https). Those of the system unless set.
    type: str
  validate_tempo_certs:
    description:
      - Whether the certificate of Tempo is checked. Without the check anybody can pose as it.
    type: bool
    default: true
  traces:
    description:
      - Traces that Tempo has to have, as lists of ids, 32 hexadecimal digits each, by the name of who has sent them. Of
        each one has to be whole - servers miss some of the contexts that come over gRPC.
    type: dict
    default: {}
  direct_traces:
    description:
      - Traces of requests that were sent to the last of O(services) itself, in the same form as O(traces).
      - Where all that is there of a sender's traces is of the first of O(services), a limit of traces on the way may be
        reached, such as C(envoy_tracing.requests_per_second). That is a warning, not an error, when each sender of
        these has one in which there are spans of the last service, so that spans of it do arrive.
    type: dict
    default: {}
  services:
    description:
      - Names of services that each trace has to have spans of, in the order in which they call each other - of each a
        span has to be right below one of the service before it.
    type: list
    elements: str
    default: []
  wait_timeout:
    description:
      - Seconds in which everything has to be there. V(0) looks once.
    type: int
    default: 0
  timeout:
    description:
      - Seconds that one answer may take.
    type: float
    default: 10
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.read_only
seealso:
  - module: fastml.supersonic.inference_check
"""

EXAMPLES = r"""
- name: Does the site's collector take spans?
  fastml.supersonic.trace_info:
    collector_url: http://otel-collector.monitoring.svc.cluster.local:4318/v1/traces

- name: Send requests that are traced
  fastml.supersonic.inference_check:
    repositories: [models]
    trace: true
    targets:
      - name: Envoy
        address: inference.example.org:443
        tls: {}
  register: proof

- name: Is one of their traces whole?
  fastml.supersonic.trace_info:
    tempo_url: http://main-tempo.cms.svc.cluster.local:3200
    traces: {Envoy: "{{ proof.checks | map(attribute='trace_id') | select }}"}
    services: [main-envoy, main-triton]
    wait_timeout: 60
"""

RETURN = r"""
limited:
  description:
    - Senders of O(traces) whose traces all end at the first of O(services), while those of O(direct_traces) are there.
  returned: when O(tempo_url) is given
  type: list
  elements: str
  sample: []
counters:
  description: Spans that the collector has accepted, refused, sent on (by all exporters together) and failed to send.
  returned: when O(collector_metrics_url) is given
  type: dict
  sample: {accepted: 12, refused: 0, sent: 12, failed: 0}
traces:
  description: What Tempo has of each trace.
  returned: when O(tempo_url) is given
  type: dict
  sample:
    0af7651916cd43dd8448eb211c80319c: {sender: Envoy, spans: 5, services: [main-envoy, main-triton], problems: []}
"""

from functools import partial

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring import traces
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.http_client import parse_address


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "collector_url": {"type": "str"},
            "collector_metrics_url": {"type": "str"},
            "before": {"type": "dict", "default": {}},
            "tempo_url": {"type": "str"},
            "tempo_token": {"type": "str", "no_log": True},
            "tempo_ca_certificates": {"type": "str"},
            "validate_tempo_certs": {"type": "bool", "default": True},
            "traces": {"type": "dict", "default": {}},
            "direct_traces": {"type": "dict", "default": {}},
            "services": {"type": "list", "elements": "str", "default": []},
            "wait_timeout": {"type": "int", "default": 0},
            "timeout": {"type": "float", "default": 10},
            **CONNECTION_SPEC,
        },
        required_one_of=[("collector_url", "collector_metrics_url", "tempo_url")],
        supports_check_mode=True,
    )
    options = module.params
    for name in ("traces", "direct_traces"):
        for sender, found in options[name].items():
            for trace_id in found if isinstance(found, list) else [found]:
                if not isinstance(found, list) or not traces.TRACE_ID.fullmatch(str(trace_id)):
                    what = "which is no list of ids: 32 hexadecimal digits, not all of them 0"
                    module.fail_json(msg=f"{name}.{sender} has '{trace_id}', {what}.")
    if options["traces"] and not options["tempo_url"]:
        module.fail_json(msg="traces are looked up in a Tempo: give tempo_url.")
    resolver = Resolver(options)
    seconds, timeout = options["wait_timeout"], options["timeout"]
    answer: dict[str, object] = {}
    problems: list[str] = []
    try:
        if options["collector_url"]:
            address = parse_address(options["collector_url"], what="the collector", option="collector_url")
            traces.answered(partial(traces.Collector, address, resolver, timeout=timeout), seconds)
        if options["collector_metrics_url"]:
            address = parse_address(
                options["collector_metrics_url"], what="the collector", option="collector_metrics_url"
            )
            open_metrics = partial(traces.CollectorMetrics, address, resolver, timeout=timeout)
            answer["counters"], wrong = traces.grown(open_metrics, options["before"], seconds)
            problems += [f"{text[0].upper()}{text[1:]}." for text in wrong]
        if options["tempo_url"]:
            open_tempo = partial(
                traces.Tempo,
                parse_address(options["tempo_url"], what="Tempo", option="tempo_url"),
                resolver,
                token=options["tempo_token"] or "",
                authorities=options["tempo_ca_certificates"] or "",
                validate=options["validate_tempo_certs"],
                timeout=timeout,
            )
            traces.answered(open_tempo, seconds)
            answer["traces"], wrong, limited = traces.look_up(
                open_tempo, options["traces"], options["services"], seconds, options["direct_traces"]
            )
            answer["limited"] = sorted(limited)
            problems += wrong
            for text in limited.values():
                module.warn(text)
    except SupersonicError as error:
        module.fail_json(msg=str(error), **answer)
    finally:
        resolver.close()
    if problems:
        module.fail_json(msg=" ".join(problems), **answer)
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
