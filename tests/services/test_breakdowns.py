# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What dashboards ask by server, model and Envoy, on made series of several of each, by Prometheus' own unit tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import Breakdowns
from ansible_collections.fastml.supersonic.tests.harness.prometheus import judge_rules
from ansible_collections.fastml.supersonic.tests.services.test_queries import NOW, SCRAPE, Load, Series, others

SERVERS = [f"main-triton-6d4b75cb6d-s{number}" for number in (1, 2)]
ENVOYS = [f"main-envoy-7c9d8f-e{number}" for number in (1, 2)]
# One server has a model more, and each does another part of the work.
SERIES = (
    Series()
    .server({"digits": Load(40.0, queue=10.0, compute=20.0, inferences=4), "idle": Load(0.0)}, 1)
    .server({"digits": Load(10.0, queue=60.0, compute=20.0, inferences=4, failures=2.0)}, 2)
    .envoy(3.0, 1.0, number=1, reachable=2)
    .envoy(5.0, 0.0, number=2, reachable=1)
)
PER_SERVER = {SERVERS[0]: 160.0, SERVERS[1]: 40.0}
EXPECTED: dict[str, tuple[str, Mapping[str, float]]] = {
    "inference_rate_by_server": ("pod", PER_SERVER),
    "request_rate_by_server": ("pod", {SERVERS[0]: 40.0, SERVERS[1]: 10.0}),
    "busy_by_server": ("pod", {SERVERS[0]: 0.8, SERVERS[1]: 0.2}),
    "inference_rate_by_model": ("model", {"digits": 200.0, "idle": 0.0}),
    "request_rate_by_model": ("model", {"digits": 50.0, "idle": 0.0}),
    # The mean of requests, wherever they were served, and not of servers.
    "queue_time_by_model": ("model", {"digits": 20.0, "idle": 0.0}),
    "compute_time_by_model": ("model", {"digits": 20.0, "idle": 0.0}),
    "batch_size_by_model": ("model", {"digits": 4.0, "idle": 0.0}),
    "servers_by_model": ("model", {"digits": 2.0, "idle": 1.0}),
    "servers_known_by_envoy": ("pod", {ENVOYS[0]: 2.0, ENVOYS[1]: 1.0}),
    "compute_input_time": ("", {"": 2.5}),
    "compute_infer_time": ("", {"": 15.0}),
    "compute_output_time": ("", {"": 2.5}),
    "requests_at_servers": ("", {"": 8.0}),
    "requests_waiting_for_connection": ("", {"": 1.0}),
    # Idle ones are 0, and what is not there is nothing.
    "connections": ("", {"": 0.0}),
    "gpu_utilization": ("pod", {}),
}


def unit_tests(
    expected: Mapping[str, tuple[str, Mapping[str, float]]], folder: Path, more: Series | None = None
) -> Path:
    queries = Breakdowns("cms", "main", rate_range="20s")
    checks = [
        {
            "expr": getattr(queries, name),
            "eval_time": f"{NOW}s",
            "exp_samples": [
                {"labels": f'{{{label}="{value}"}}' if label else "{}", "value": number}
                for value, number in values.items()
            ],
        }
        for name, (label, values) in expected.items()
    ]
    series = SERIES.found + others().found + (more or Series()).found
    test = {"interval": f"{SCRAPE}s", "input_series": series, "promql_expr_test": checks}
    (folder / "tests.json").write_text(json.dumps({"fuzzy_compare": True, "tests": [test]}))
    return folder / "tests.json"


def test_parts_are_those_of_the_instance_alone(promtool: Path, tmp_path: Path) -> None:
    done = judge_rules(promtool, unit_tests(EXPECTED, tmp_path))
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def test_a_wrong_part_is_noticed(promtool: Path, tmp_path: Path) -> None:
    wrong = {"queue_time_by_model": ("model", {"digits": 35.0, "idle": 0.0})}
    assert judge_rules(promtool, unit_tests(wrong, tmp_path)).returncode != 0


def test_an_accelerator_that_servers_share_is_one(promtool: Path, tmp_path: Path) -> None:
    shared = Series()
    for server, uuid in zip((*SERVERS, SERVERS[1]), ("GPU-1", "GPU-1", "GPU-2"), strict=True):
        labels = {"namespace": "cms", "pod": server, "gpu_uuid": uuid}
        shared.add("nv_gpu_utilization", labels, [0.5] * (NOW // SCRAPE + 1))
    done = judge_rules(promtool, unit_tests({"gpus": ("", {"": 2.0})}, tmp_path, shared))
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
