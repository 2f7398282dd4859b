# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: load_benchmark
short_description: Measure an instance under load, with static pools of servers and with its autoscaler
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Lets perf_analyzer send requests to an instance from pods inside the cluster, by a profile of clients over time, and
    measures latency, servers and their utilization. Every pool gets the same load.
  - A static pool is made by pausing KEDA at that number of servers, or where nobody scales the servers by setting it.
    Afterwards everything is as it was, also when the run fails or is interrupted. What a run leaves that was killed,
    the next run puts back first, and so does O(mode=restore).
  - The instance belongs to the benchmark meanwhile. Other clients would be measured as well, and one run ends another.
  - Utilization is the mean number of executions under way on a server that is ready, by the statistics of the servers
    themselves. It needs no Prometheus. It is more than 1 where servers execute several models or instances at once.
options:
  mode:
    description:
      - V(figure) measures every pool of O(pools) under the load of O(profile).
      - V(capacity) measures one server under more and more requests in flight (O(levels)), and recommends variables.
      - V(restore) only puts back what an interrupted run has left.
    type: str
    choices: [figure, capacity, restore]
    default: figure
  namespace:
    description: Namespace of the instance.
    type: str
    required: true
  instance:
    description: Name of the instance. Its servers are the Deployment C(INSTANCE-triton).
    type: str
    required: true
  model:
    description: Model that requests are for. Required unless O(mode=restore).
    type: str
  address:
    description:
      - Where clients inside the cluster find the endpoint, C(host:port).
      - Unless set, it is port 8001 of the Service called as the instance.
    type: str
  profile:
    description: Numbers of clients over time. A client sends one request after the other.
    type: list
    elements: dict
    default:
      - {clients: 1, seconds: 60}
      - {clients: 10, seconds: 240}
      - {clients: 1, seconds: 180}
    suboptions:
      clients:
        description: How many clients there are, 0 for a pause.
        type: int
        required: true
      seconds:
        description: For how long.
        type: float
        required: true
  pools:
    description: Pools for O(mode=figure), numbers of servers and V(dynamic), which is what the autoscaler makes of it.
    type: list
    elements: str
    default: ["1", "2", "3", "4", "5", "6", dynamic]
  levels:
    description: Requests in flight for O(mode=capacity), growing from 1 on.
    type: list
    elements: int
    default: [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]
  level_seconds:
    description: How long each level takes. The first second of it is not counted.
    type: float
    default: 10
  latency_factor:
    description: How many times the latency of a lone request is still good, for what O(mode=capacity) recommends.
    type: float
    default: 2
  longest_wait:
    description: Seconds that a request may wait in queues at most, for what O(mode=capacity) recommends.
    type: float
    default: 10
  servers:
    description:
      - Most servers of the pool, for what O(mode=capacity) recommends.
      - With V(0) it is what the autoscaler allows.
    type: int
    default: 0
  settled_after:
    description: Seconds after each change of the load whose requests do not count as settled.
    type: float
    default: 20
  batch_size:
    description: Batch size of each request.
    type: int
    default: 1
  shapes:
    description: >-
      Shapes of inputs that have a variable one, such as V({points: [100, 2]}).
    type: dict
    default: {}
  input_data:
    description:
      - Contents of the requests, JSON of perf_analyzer's C(--input-data). Random numbers without it.
    type: json
  arguments:
    description: Further arguments of perf_analyzer.
    type: list
    elements: str
    default: []
  window:
    description:
      - Measurement window of perf_analyzer in milliseconds. The load ends that much later at the worst, and each
        process of clients asks the endpoint for the model's statistics once in it.
    type: int
    default: 2000
  token:
    description: Bearer token of the clients. It is kept in the memory of their pods alone.
    type: str
  tls:
    description: TLS of the endpoint. Unless given, the clients speak none.
    type: dict
    suboptions:
      ca_certificates:
        description: Certificates of the authorities to trust, in PEM; without them the image's.
        type: str
      client_certificate:
        description: Certificate that clients show, in PEM.
        type: str
      client_key:
        description: Its key, in PEM.
        type: str
  pod:
    description: The clients' pods.
    type: dict
    required: true
    suboptions:
      image:
        description: Image with perf_analyzer, C(sh), C(tr), GNU C(grep) and coreutils, such as Triton's SDK image.
        type: str
        required: true
      image_pull_policy:
        description: When nodes pull the image.
        type: str
        choices: [IfNotPresent, Always, Never]
        default: IfNotPresent
      image_pull_secrets:
        description: Names of Secrets for the registry.
        type: list
        elements: str
        default: []
      run_as_user:
        description: User and group that the pods run as, not root.
        type: int
        default: 1000
      arbitrary_user:
        description: Leave out O(pod.run_as_user), so that the cluster chooses user and groups, as OpenShift does.
        type: bool
        default: false
      node_selector:
        description: Labels of the nodes that they may run on.
        type: dict
        default: {}
      tolerations:
        description: Taints that they tolerate.
        type: list
        elements: dict
        default: []
      resources:
        description: What they request and may use.
        type: dict
        default: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 2Gi}}
      labels:
        description: Further labels, for example those that a NetworkPolicy asks of clients.
        type: dict
        default: {}
  wait_timeout:
    description: Seconds to wait for the clients' pods.
    type: float
    default: 300
  settle_timeout:
    description: Seconds to wait for each pool of servers to be there, and for a dynamic one to come to its minimum.
    type: float
    default: 600
  report:
    description:
      - Folder on this machine for the report - JSON, CSV with all requests and with everything over time, a table in
        Markdown, and plots (PNG and SVG) where the Python library matplotlib is there.
    type: path
  prometheus:
    description:
      - A Prometheus that scrapes the instance. What it has recorded meanwhile is written beside what was seen here.
        That it cannot be reached ends nothing, and is told in RV(pools[].prometheus).
    type: dict
    suboptions:
      url:
        description: Its address, as in O(fastml.supersonic.prometheus_query_info#module:url).
        type: str
        required: true
      token:
        description: Bearer token for it.
        type: str
      ca_certificates:
        description: Certificates (PEM) of the authorities to trust. Those of the system unless set.
        type: str
requirements:
  - matplotlib, for plots
extends_documentation_fragment:
  - fastml.supersonic.connection
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details: Says whether the pools can be made, and sends nothing.
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: none
  idempotent:
    description: When run twice with the same arguments, the second run changes nothing.
    support: full
    details: Everything is put back. It is C(changed) when something had to be that an earlier run has left.
seealso:
  - module: fastml.supersonic.triton_info
"""

EXAMPLES = r"""
- name: Compare static pools with what the autoscaler does
  fastml.supersonic.load_benchmark:
    namespace: cms
    instance: main
    model: particlenet
    shapes: {points: [100, 2], features: [100, 16]}
    pools: [1, 2, 4, dynamic]
    pod:
      image: nvcr.io/nvidia/tritonserver:26.04-py3-sdk
    report: /tmp/benchmark

- name: What one server can take
  fastml.supersonic.load_benchmark:
    mode: capacity
    namespace: cms
    instance: main
    model: particlenet
    pod:
      image: nvcr.io/nvidia/tritonserver:26.04-py3-sdk
"""

RETURN = r"""
pools:
  description: What each pool came to.
  returned: with O(mode=figure), except in check mode
  type: list
  elements: dict
  contains:
    pool:
      description: The pool, as in O(pools).
      type: str
    requests:
      description: Requests that were answered.
      type: int
    failures:
      description: Requests that failed. Each ends a process of clients, which begins anew.
      type: int
    errors:
      description: Why, each reason once.
      type: list
      elements: str
    lost_client_seconds:
      description: Seconds of clients whose requests are not known, since their process ended at a failure.
      type: float
    mean_ms:
      description: Mean latency.
      type: float
    p50_ms:
      description: Half of the requests took at most so long.
      type: float
    p99_ms:
      description: 99 % of the requests took at most so long.
      type: float
    max_ms:
      description: The slowest request.
      type: float
    settled_mean_ms:
      description: Mean latency of the requests sent O(settled_after) seconds after a change of the load, or later.
      type: float
    settled_p99_ms:
      description: The same for 99 % of them.
      type: float
    throughput:
      description: Answers per second.
      type: float
    servers_mean:
      description: Mean number of servers that were ready.
      type: float
    servers_max:
      description: Most servers that were ready.
      type: int
    busy_seconds:
      description: Seconds of execution, all servers together.
      type: float
    utilization:
      description: Mean number of executions under way on a server that was ready.
      type: float
    swings:
      description: How often the number of servers wanted turned round while the load stayed the same.
      type: int
    problems:
      description: What could not be seen, when the API server or a server did not answer.
      type: list
      elements: str
    prometheus:
      description: Why there is nothing of O(prometheus), V(recorded) when there is, or empty when it was not asked.
      type: str
servers:
  description: By pool, when the number of servers wanted or ready changed (seconds since the load began).
  returned: with O(mode=figure), except in check mode
  type: dict
  sample: {dynamic: [{time: -1.2, wanted: 1, ready: 1}, {time: 72.9, wanted: 6, ready: 1}]}
levels:
  description: What each level came to.
  returned: with O(mode=capacity), except in check mode
  type: list
  elements: dict
  contains:
    clients:
      description: Requests in flight.
      type: int
    throughput:
      description: Answers per second.
      type: float
    mean_ms:
      description: Mean latency; there are V(p50_ms), V(p99_ms) and V(max_ms) as well.
      type: float
    utilization:
      description: Mean number of executions under way.
      type: float
saturation:
  description:
    - Requests in flight at which one server is busy all the time - its largest throughput times the latency of a lone
      request. It is about 1 for a server that executes one request at a time.
  returned: with O(mode=capacity), except in check mode
  type: float
requests_per_server:
  description: Requests in flight that a server should have at most, so that latency stays within O(latency_factor).
  returned: with O(mode=capacity), except in check mode
  type: float
latency_limit_reached:
  description: Whether the levels went far enough to see latency pass O(latency_factor).
  returned: with O(mode=capacity), except in check mode
  type: bool
variables:
  description: The recommended variables.
  returned: with O(mode=capacity), except in check mode
  type: dict
variables_text:
  description: The same to paste into an inventory.
  returned: with O(mode=capacity), except in check mode
  type: str
table:
  description: The pools or levels as a table.
  returned: with O(mode=figure) or O(mode=capacity), except in check mode
  type: str
files:
  description: The files of the report.
  returned: with O(mode=figure) or O(mode=capacity), except in check mode
  type: list
  elements: str
plotted:
  description: Whether plots are among them.
  returned: with O(mode=figure) or O(mode=capacity), except in check mode
  type: bool
autoscaler:
  description: Who scales the servers, V(keda), V(hpa) or nobody (an empty V(kind)), and between which numbers.
  returned: in check mode
  type: dict
  sample: {kind: keda, name: main-triton, min: 1, max: 6}
"""

import signal
import types
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark import run as benchmark_run
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC
from ansible_collections.fastml.supersonic.plugins.module_utils._models.repository_options import run


def measure(params: dict[str, t.Any], check_mode: bool, resolver: Resolver) -> dict[str, t.Any]:
    """The module's result."""
    options = benchmark_run.options_of(params)
    benchmark = benchmark_run.Benchmark(resolver, options)
    if params["mode"] == "restore":
        return {"changed": benchmark.leftover() if check_mode else benchmark.restore()}
    if check_mode:
        return {"changed": benchmark.leftover(), **benchmark.plan()}
    if params["mode"] == "figure":
        result = benchmark.figure()
    else:
        result = benchmark.capacity(
            params["levels"],
            params["level_seconds"],
            params["latency_factor"],
            params["longest_wait"],
            params["servers"],
        )
    return {"changed": result.pop("restored"), **result}


def leave(number: int, _frame: types.FrameType | None) -> None:
    """End in order: what is under way is taken back."""
    raise SystemExit(128 + number)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "mode": {"type": "str", "choices": ["figure", "capacity", "restore"], "default": "figure"},
            "namespace": {"type": "str", "required": True},
            "instance": {"type": "str", "required": True},
            "model": {"type": "str"},
            "address": {"type": "str"},
            "profile": {
                "type": "list",
                "elements": "dict",
                "default": [
                    {"clients": 1, "seconds": 60},
                    {"clients": 10, "seconds": 240},
                    {"clients": 1, "seconds": 180},
                ],
                "options": {
                    "clients": {"type": "int", "required": True},
                    "seconds": {"type": "float", "required": True},
                },
            },
            "pools": {"type": "list", "elements": "str", "default": ["1", "2", "3", "4", "5", "6", "dynamic"]},
            "levels": {"type": "list", "elements": "int", "default": [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]},
            "level_seconds": {"type": "float", "default": 10},
            "latency_factor": {"type": "float", "default": 2},
            "longest_wait": {"type": "float", "default": 10},
            "servers": {"type": "int", "default": 0},
            "settled_after": {"type": "float", "default": 20},
            "batch_size": {"type": "int", "default": 1},
            "shapes": {"type": "dict", "default": {}},
            "input_data": {"type": "json"},
            "arguments": {"type": "list", "elements": "str", "default": []},
            "window": {"type": "int", "default": 2000},
            "token": {"type": "str", "no_log": True},
            "tls": {
                "type": "dict",
                "options": {
                    "ca_certificates": {"type": "str"},
                    "client_certificate": {"type": "str"},
                    "client_key": {"type": "str", "no_log": True},
                },
            },
            "pod": {
                "type": "dict",
                "required": True,
                "options": {
                    "image": {"type": "str", "required": True},
                    "image_pull_policy": {
                        "type": "str",
                        "choices": ["IfNotPresent", "Always", "Never"],
                        "default": "IfNotPresent",
                    },
                    "image_pull_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
                    "run_as_user": {"type": "int", "default": 1000},
                    "arbitrary_user": {"type": "bool", "default": False},
                    "node_selector": {"type": "dict", "default": {}},
                    "tolerations": {"type": "list", "elements": "dict", "default": []},
                    "resources": {
                        "type": "dict",
                        "default": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "2Gi"}},
                    },
                    "labels": {"type": "dict", "default": {}},
                },
            },
            "wait_timeout": {"type": "float", "default": 300},
            "settle_timeout": {"type": "float", "default": 600},
            "report": {"type": "path"},
            "prometheus": {
                "type": "dict",
                "options": {
                    "url": {"type": "str", "required": True},
                    "token": {"type": "str", "no_log": True},
                    "ca_certificates": {"type": "str"},
                },
            },
            **CONNECTION_SPEC,
        },
        required_if=[("mode", "figure", ["model"]), ("mode", "capacity", ["model"])],
        supports_check_mode=True,
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    run(module, lambda resolver: measure(module.params, module.check_mode, resolver()))


if __name__ == "__main__":
    main()
