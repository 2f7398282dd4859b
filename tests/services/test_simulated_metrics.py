# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the simulator works out against PromQL, on the same samples: those of simulated runs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import (
    service_queries,
    service_rules,
)
from ansible_collections.fastml.supersonic.tests.harness.prometheus import judge_rules
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation.metrics import (
    COMPUTED,
    DONE,
    EXECUTIONS,
    IN_FLIGHT,
    QUEUED,
    REACHABLE,
    WITHOUT_SERVER,
    Prometheus,
    Series,
)
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation.report import pool_of, profile_of
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation.simulation import (
    RECORDED_EVERY,
    Simulation,
)

# Those that both have, by the name in the simulator where it is another one.
QUANTITIES = {
    "requests_in_flight": "", "lasting_requests": "", "requests_without_server": "", "openness": "",
    "queue_time": "", "compute_time": "", "queue_ratio": "", "servers": "ready",
    "server_parallelism": "", "server_capacity": "", "servers_wanted": "", "servers_held": "", "servers_busy_floor": "",
}  # fmt: skip
# Those that have no answer once no Envoy is scraped.
SCALED_BY = {"lasting_requests", "openness", "servers_wanted", "servers_held", "servers_busy_floor"}
# Scrapes come at moments of their own, which promtool has as multiples of this only.
TICK = 1.0
# From the begin on, where windows are not full, between two scrapes and at one, and at last without any Envoy.
MOMENTS = (11, 16, 31, 47, 62, 66, 75, 90, 121, 152, 181, 199, 240, 270, 288, 299, 303, 308, 311, 330)


class Run(NamedTuple):
    """A load, what is special about the service, and variables."""

    profile: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]
    variables: Mapping[str, Any]


RUNS = {
    "two Envoys, and clients that wait": Run(
        [{"clients": 1, "seconds": 60}, {"clients": 10, "seconds": 120}, {"clients": 2, "seconds": 120}],
        {"envoys": 2},
        {},
    ),
    "two Envoys, and requests that come by chance": Run(
        [{"rate": 24, "seconds": 60}, {"rate": 150, "seconds": 120}, {"rate": 24, "seconds": 120}], {"envoys": 2}, {}
    ),
    "batches, with scrapes every 5 s": Run(
        [{"clients": 2, "seconds": 60}, {"clients": 60, "seconds": 120}, {"clients": 2, "seconds": 120}],
        {"models": [{"execution_ms": 20, "request_ms": 0.5, "max_batch": 16}], "scrape_interval": 5},
        {},
    ),
    "from zero, with a capacity that is given": Run(
        [{"seconds": 62}, {"clients": 9, "seconds": 120}, {"seconds": 118}],
        {},
        {"autoscaler_min_replicas": 0, "autoscaler_cooldown": 30, "autoscaler_requests_per_server": 2.8},
    ),
}


def ticked(series: Series) -> Series:
    found = Series()
    for when, row in zip(series.times, series.rows, strict=True):
        moment = round(when / TICK) * TICK
        if not found.times or moment > found.times[-1]:
            found.add(moment, row)
    return found


def lines(series: Series, labels: str, metrics: Mapping[str, Callable[[tuple[float, ...]], float]]) -> Iterator[Any]:
    """Series as promtool takes them."""
    rows = dict(zip(series.times, series.rows, strict=True))
    ticks = [number * TICK for number in range(round(max(rows, default=0) / TICK) + 1)]
    for name, value in metrics.items():
        texts = [repr(float(value(rows[tick]))) if tick in rows else "_" for tick in ticks]
        yield {"series": f"{name}{{{labels}}}", "values": " ".join(texts)}


def samples(prometheus: Prometheus) -> Iterator[Any]:
    for number, series in enumerate(prometheus.envoys):
        labels = f'namespace="cms",pod="main-envoy-7c9d8f-e{number}",envoy_cluster_name="triton"'
        yield from lines(
            series,
            labels,
            {
                "envoy_cluster_upstream_rq_active": lambda row: row[IN_FLIGHT],
                "envoy_cluster_upstream_rq_pending_active": lambda _row: 0.0,
                "envoy_cluster_upstream_cx_none_healthy": lambda row: row[WITHOUT_SERVER],
                "envoy_cluster_membership_total": lambda row: row[REACHABLE],
            },
        )
    for number, series in enumerate(prometheus.servers):
        pod = f'namespace="cms",pod="main-triton-6d4b75cb6d-s{number}"'
        yield from lines(series, pod, {"up": lambda _row: 1.0})
        yield from lines(
            series,
            f'{pod},model="m",version="1"',
            {
                "nv_inference_request_success": lambda row: row[DONE],
                "nv_inference_exec_count": lambda row: row[EXECUTIONS],
                "nv_inference_queue_duration_us": lambda row: row[QUEUED] * 1e6,
                "nv_inference_compute_input_duration_us": lambda row: row[COMPUTED] * 0.125e6,
                "nv_inference_compute_infer_duration_us": lambda row: row[COMPUTED] * 0.75e6,
                "nv_inference_compute_output_duration_us": lambda row: row[COMPUTED] * 0.125e6,
            },
        )


@pytest.mark.parametrize("name", RUNS)
def test_the_simulator_answers_what_promql_does(promtool: Path, tmp_path: Path, name: str) -> None:
    chosen = RUNS[name]
    pool = pool_of(chosen.variables, chosen.settings)
    simulation = Simulation(pool, profile_of(chosen.profile), 3)
    simulation.run()
    seen = simulation.prometheus
    # The same samples for both.
    prometheus = Prometheus(pool.watch, [ticked(one) for one in seen.envoys], [ticked(one) for one in seen.servers])
    settings = {
        "scrape_interval": pool.scrape_interval,
        "recorded": True,
        "capacity": chosen.variables.get("autoscaler_requests_per_server", 0),
    }
    rules = [rule for rule in service_rules("main", "cms", **settings) if "in_compute" in rule["record"]]
    group = {"name": "main", "interval": f"{RECORDED_EVERY:g}s", "rules": rules}
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [group]}))
    queries = service_queries("main", "cms", **settings)
    checks, answers, learned = [], 0, 0.0
    for moment in MOMENTS:
        while learned <= moment:
            prometheus.learn(learned)
            learned += RECORDED_EVERY
        for quantity, own in QUANTITIES.items():
            value = prometheus.read(own or quantity, moment)
            if value is None and quantity not in SCALED_BY:
                continue
            answers += value is not None
            # As PromQL's round() does it.
            rounded = [] if value is None else [{"labels": "{}", "value": math.floor(value * 1e6 + 0.5) / 1e6}]
            expression = f"round({queries[quantity]}, 0.000001)"
            checks.append({"expr": expression, "eval_time": f"{moment}s", "exp_samples": rounded})
    series = list(samples(prometheus))
    test = {"interval": f"{TICK:g}s", "input_series": series, "promql_expr_test": checks}
    document = {
        "rule_files": ["rules.json"],
        "evaluation_interval": f"{RECORDED_EVERY:g}s",
        "fuzzy_compare": True,
        "tests": [test],
    }
    (tmp_path / "tests.json").write_text(json.dumps(document))
    done = judge_rules(promtool, tmp_path / "tests.json")
    said = done.stdout + done.stderr
    assert done.returncode == 0, re.sub(r'expr: ".*?", time', "time", said)[-6000:]
    # It is a comparison of values, and not of answers that are missing.
    assert answers > 0.8 * len(checks)
