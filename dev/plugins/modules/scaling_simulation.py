# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: scaling_simulation
short_description: How a pool of servers would follow a load
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Replays a load through servers, Envoy, the scrapes of Prometheus, the triggers of the role
    P(fastml.supersonic.autoscaler#role), KEDA and Kubernetes' HorizontalPodAutoscaler, and tells how many servers there
    would be, how long requests would take and how well the servers would be used. Needs no cluster and changes nothing.
  - The same options give the same answer. What is periodic in reality, such as the autoscaler's look every 15 seconds,
    comes at a moment that depends on O(seed); O(runs) tries several.
options:
  profile:
    description: >-
      The load, piece by piece. Clients send a request when they have the answer to the one before; requests of a rate
      come independently of each other, as a Poisson process.
    type: list
    elements: dict
    default:
      - {clients: 1, seconds: 60}
      - {clients: 10, seconds: 240}
      - {clients: 1, seconds: 180}
    suboptions:
      seconds:
        description: How long it lasts.
        type: float
        required: true
      clients:
        description: Clients at the same time.
        type: int
        default: 0
      until:
        description: Clients at its end, for a ramp.
        type: int
      noise:
        description: Standard deviation of the number of clients, which is drawn anew every few seconds.
        type: float
        default: 0.0
      every:
        description: Seconds between two draws of O(profile[].noise).
        type: float
        default: 5.0
      rate:
        description: Requests per second, besides those of the clients.
        type: float
        default: 0.0
  pools:
    description: Numbers of servers, and V(dynamic) for what the autoscaler makes of it. Each takes the whole profile.
    type: list
    elements: str
    default: [dynamic]
  variables:
    description: >-
      Variables of the role P(fastml.supersonic.autoscaler#role) by name. Those that a simulation has no use for are
      left alone; those that are missing have the role's defaults, with 1 to 6 servers.
    type: dict
    default: {}
  models:
    description: What the requests are for.
    type: list
    elements: dict
    default: [{}]
    suboptions:
      name:
        description: Its name.
        type: str
        default: model
      execution_ms:
        description: Milliseconds of an execution, whatever the number of requests in it.
        type: float
        default: 20.8
      request_ms:
        description: Milliseconds more for each request in an execution.
        type: float
        default: 0.0
      max_batch:
        description: Requests that an execution takes at most.
        type: int
        default: 1
      share:
        description: Its part of the requests, as a weight.
        type: float
        default: 1.0
      jitter:
        description: Part by which an execution takes less or more, at most.
        type: float
        default: 0.02
  slots:
    description: Executions that a server has at the same time.
    type: int
    default: 1
  start_seconds:
    description: Seconds from the decision until a new server answers.
    type: float
    default: 4.0
  scrape_interval:
    description: Seconds between two scrapes.
    type: float
    default: 2.0
  envoys:
    description: Number of Envoys. A client stays at one of them.
    type: int
    default: 1
  overhead_ms:
    description: Milliseconds between a client and Envoy, both ways together.
    type: float
    default: 2.7
  think_ms:
    description: Milliseconds between an answer and the client's next request.
    type: float
    default: 0.0
  outages:
    description: Times, V([begin, end]) in seconds, in which Prometheus answers nothing.
    type: list
    elements: list
    default: []
  seed:
    description: Of everything that is drawn.
    type: int
    default: 1
  runs:
    description: >-
      Runs of each pool with different draws. Figures are their mean; of RV(pools[].settled_p99_ms), RV(pools[].swings),
      RV(pools[].response_seconds), RV(pools[].servers_max) and RV(pools[].failures) the worst.
    type: int
    default: 1
extends_documentation_fragment:
  - fastml.supersonic.read_only
seealso:
  - module: fastml.supersonic.prometheus_query_info
"""

EXAMPLES = r"""
- name: Would this instance's autoscaler follow 40 clients with a model of 50 ms?
  fastml.supersonic_dev.scaling_simulation:
    profile:
      - {clients: 2, seconds: 120}
      - {clients: 40, seconds: 300}
      - {clients: 2, seconds: 300}
    models: [{execution_ms: 50}]
    start_seconds: 60
    variables:
      autoscaler_max_replicas: 12
      autoscaler_scale_down: "{{ autoscaler_scale_down }}"
  register: simulated

- name: Show the simulation
  ansible.builtin.debug:
    var: simulated.chart
"""

RETURN = r"""
pools:
  description: Figures of each pool.
  returned: success
  type: list
  elements: dict
  contains:
    pool:
      description: V(dynamic), or the number of servers.
      type: str
    requests:
      description: Requests that were answered.
      type: int
    mean_ms:
      description: Mean latency.
      type: float
    p99_ms:
      description: 99th percentile of the latency.
      type: float
    settled_p99_ms:
      description: The same from 20 s after each change of the load.
      type: float
    failures:
      description: Requests that found no server.
      type: int
    throughput:
      description: Requests per second.
      type: float
    servers_mean:
      description: Mean number of Ready servers.
      type: float
    servers_max:
      description: Most Ready servers.
      type: int
    utilization:
      description: Part of their time for which Ready servers executed something.
      type: float
    swings:
      description: How often the number of servers turned round for no reason of the load.
      type: int
    response_seconds:
      description: The longest time from a rise of the load until all servers were Ready that it got.
      type: float
timelines:
  description: Of each pool, spans of 5 s with the load, the latency, the servers and their utilization.
  returned: success
  type: dict
servers:
  description: Of each pool, every change of the numbers of servers.
  returned: success
  type: dict
  sample: {dynamic: [{time: 0.0, wanted: 1, ready: 1}, {time: 73.2, wanted: 6, ready: 1}]}
chart:
  description: The last pool's timeline as lines of text.
  returned: success
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation.report import (
    PROFILE,
    pool_of,
    simulate,
)

PIECE = {
    "seconds": {"type": "float", "required": True},
    "clients": {"type": "int", "default": 0},
    "until": {"type": "int"},
    "noise": {"type": "float", "default": 0.0},
    "every": {"type": "float", "default": 5.0},
    "rate": {"type": "float", "default": 0.0},
}
MODEL = {
    "name": {"type": "str", "default": "model"},
    "execution_ms": {"type": "float", "default": 20.8},
    "request_ms": {"type": "float", "default": 0.0},
    "max_batch": {"type": "int", "default": 1},
    "share": {"type": "float", "default": 1.0},
    "jitter": {"type": "float", "default": 0.02},
}
ARGUMENT_SPEC: dict[str, t.Any] = {
    "profile": {"type": "list", "elements": "dict", "default": [dict(piece) for piece in PROFILE], "options": PIECE},
    "pools": {"type": "list", "elements": "str", "default": ["dynamic"]},
    "variables": {"type": "dict", "default": {}},
    "models": {"type": "list", "elements": "dict", "default": [{}], "options": MODEL},
    "slots": {"type": "int", "default": 1},
    "start_seconds": {"type": "float", "default": 4.0},
    "scrape_interval": {"type": "float", "default": 2.0},
    "envoys": {"type": "int", "default": 1},
    "overhead_ms": {"type": "float", "default": 2.7},
    "think_ms": {"type": "float", "default": 0.0},
    "outages": {"type": "list", "elements": "list", "default": []},
    "seed": {"type": "int", "default": 1},
    "runs": {"type": "int", "default": 1},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    options = module.params
    try:
        found = simulate(
            pool_of(options["variables"], options),
            options["profile"],
            pools=options["pools"],
            seed=options["seed"],
            runs=options["runs"],
        )
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
