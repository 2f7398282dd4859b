# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which metrics a quantity is made of, and when an alert is told to whom. A real Prometheus computes them elsewhere."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import QUANTITIES, Queries
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.alerts import Alerts, Objectives

SEEN = "envoy_cluster_membership_total"
IN_FLIGHT = "envoy_cluster_upstream_rq_(pending_)?active"
UNSERVED = "envoy_cluster_upstream_cx_none_healthy"
CLIENT = "envoy_http_downstream_rq"
QUEUE, DONE, FAILED = "nv_inference_queue_duration_us", "nv_inference_request_success", "nv_inference_request_failure"
COUNT, EXECUTIONS = "nv_inference_count", "nv_inference_exec_count"
COMPUTE = {f"nv_inference_compute_{part}_duration_us" for part in ("input", "infer", "output")}
# Beside the one that says whether an Envoy is seen at all.
METRICS: dict[str, set[str]] = {
    "requests_in_flight": {"envoy_cluster_upstream_rq_active", "envoy_cluster_upstream_rq_pending_active"},
    "lasting_requests": {IN_FLIGHT},
    "openness": {IN_FLIGHT},
    "requests_without_server": {UNSERVED},
    "answer_rate": {f"{CLIENT}_completed"},
    "error_rate": {"envoy_cluster_grpc", f"{CLIENT}_xx"},
    "rejection_rate": {"envoy_cluster_grpc", f"{CLIENT}_overload_close"},
    "retry_rate": {"envoy_cluster_upstream_rq_retry"},
    "client_latency": {f"{CLIENT}_time_sum", f"{CLIENT}_time_count"},
    "client_latency_p50": {f"{CLIENT}_time_bucket"},
    "client_latency_p99": {f"{CLIENT}_time_bucket"},
    "queue_time": {QUEUE, DONE},
    "compute_time": {*COMPUTE, DONE},
    "queue_ratio": {QUEUE, *COMPUTE},
    "request_rate": {DONE, FAILED},
    "failure_rate": {FAILED},
    "inference_rate": {COUNT},
    "execution_rate": {EXECUTIONS},
    "batch_size": {COUNT, EXECUTIONS},
    "servers": {"up"},
    "servers_reachable": set(),
    "models_missing": {COUNT, "up"},
    "busy_servers": {*COMPUTE, EXECUTIONS, DONE},
    "utilization": {*COMPUTE, EXECUTIONS, DONE, "up"},
    "requests_in_compute": COMPUTE,
    "server_parallelism": COMPUTE,
    "server_capacity": COMPUTE,
    "servers_wanted": {IN_FLIGHT, UNSERVED, *COMPUTE},
    "servers_held": {IN_FLIGHT, UNSERVED, *COMPUTE, "up"},
    "servers_busy_floor": {IN_FLIGHT, *COMPUTE},
}
# These are nothing, rather than 0, once there is none to count.
UNGUARDED = {"requests_in_flight", "requests_without_server"}


def metrics(expression: str) -> set[str]:
    """The names of the series that an expression reads, or patterns of them."""
    return set(re.findall(r'[a-z]\w*(?=\{)|(?<=\{__name__=~")[^"]+', expression))


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_a_quantity_is_made_of_its_metrics(quantity: str) -> None:
    expression = Queries("cms", "main").all()[quantity]
    guard = set() if quantity in UNGUARDED else {SEEN}
    assert metrics(expression) == METRICS[quantity] | guard


@pytest.mark.parametrize(
    ("quantity", "part"),
    [
        # Waiting above, requests below, and in milliseconds.
        ("queue_time", rf"^sum\(rate\({QUEUE}\{{.*\) / \(sum\(rate\({DONE}\{{.*\]\)\) > 0\) / 1000 or 0 \* "),
        ("compute_time", rf"^sum\(rate\(nv_inference_compute_input.* / \(sum\(rate\({DONE}\{{.* > 0\) / 1000 or 0 \* "),
        ("queue_ratio", rf"^sum\(rate\({QUEUE}\{{.* / \(sum\(rate\(nv_inference_compute_input.* > 0\) or 0 \* "),
        ("batch_size", rf"^sum\(rate\({COUNT}\{{.* / \(sum\(rate\({EXECUTIONS}\{{.* > 0\) or 0 \* "),
        ("client_latency", rf"sum\(rate\({CLIENT}_time_sum\{{.* / \(sum\(rate\({CLIENT}_time_count\{{.* > 0\)"),
        ("client_latency_p50", r"histogram_quantile\(0\.5, "),
        ("client_latency_p99", r"histogram_quantile\(0\.99, "),
        # What the service failed, and what it refused: codes of gRPC.
        ("error_rate", r'grpc_status=~"2\|4\|13\|14\|15"\}.*envoy_response_code_class="5"'),
        ("rejection_rate", r'grpc_status=~"7\|8\|16"\}'),
    ],
)
def test_a_quantity_is_the_right_way_up(quantity: str, part: str) -> None:
    assert re.search(part, Queries("cms", "main").all()[quantity])


def alerts(**settings: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """The rules by name, and by what tells those of one name apart."""
    found = {}
    for rule in Alerts("cms", "main", **settings).rules():
        if "alert" in rule:
            labels = rule["labels"]
            several = labels["severity"] if rule["alert"] == "SupersonicCertificateExpires" else ""
            found[rule["alert"], labels.get("window") or labels.get("job") or several] = rule
    return found


EVERYTHING: dict[str, Any] = {
    "models": ["m"], "keda": True, "dcgm": True, "managed": True, "retention": 1e9, "volume": 10**10,
}  # fmt: skip
# How bad it is, and for how many seconds it has to be so.
TOLD = {
    ("SupersonicEndpointDown", ""): ("critical", 60),
    ("SupersonicPoolDown", ""): ("critical", 120),
    ("SupersonicNoServerForRequests", ""): ("critical", 180),
    ("SupersonicNoCapacityLeft", ""): ("warning", 600),
    ("SupersonicQueueLong", ""): ("warning", 300),
    ("SupersonicErrors", ""): ("warning", 60),
    ("SupersonicRejections", ""): ("warning", 60),
    ("SupersonicErrorBudgetBurns", "1h"): ("critical", 0),
    ("SupersonicErrorBudgetBurns", "6h"): ("critical", 0),
    ("SupersonicErrorBudgetBurns", "3d"): ("warning", 0),
    ("SupersonicLatencyBudgetBurns", "1h"): ("critical", 0),
    ("SupersonicLatencyBudgetBurns", "6h"): ("critical", 0),
    ("SupersonicLatencyBudgetBurns", "3d"): ("warning", 0),
    ("SupersonicVerificationFailed", ""): ("critical", 0),
    ("SupersonicModelNotLoaded", ""): ("critical", 300),
    ("SupersonicServersDisagree", ""): ("warning", 600),
    ("SupersonicTargetDown", ""): ("warning", 600),
    ("SupersonicTargetDown", "dcgm"): ("warning", 600),
    ("SupersonicScalerBlind", ""): ("warning", 120),
    ("SupersonicCertificateExpires", "warning"): ("warning", 600),
    ("SupersonicCertificateExpires", "critical"): ("critical", 600),
    ("SupersonicTokenKeysUnknown", ""): ("critical", 60),
    ("SupersonicVolumeFills", ""): ("warning", 600),
    ("SupersonicMetricsVolumeFills", ""): ("warning", 600),
    ("SupersonicMetricsDropped", ""): ("warning", 0),
    ("SupersonicGpuError", ""): ("critical", 60),
    ("SupersonicGpuMemoryError", ""): ("warning", 60),
}


@pytest.mark.parametrize("patience", [1, 0.5])
def test_when_an_alert_is_told_and_how_bad_it_is(patience: float) -> None:
    found = {
        key: (rule["labels"]["severity"], int(rule.get("for", "0s").removesuffix("s")))
        for key, rule in alerts(**EVERYTHING, patience=patience).items()
    }
    assert found == {key: (severity, seconds * patience) for key, (severity, seconds) in TOLD.items()}


def test_what_is_not_there_is_not_watched() -> None:
    optional = {"ModelNotLoaded", "ScalerBlind", "MetricsVolumeFills", "MetricsDropped", "GpuError", "GpuMemoryError"}
    left = {key for key in TOLD if key[0].removeprefix("Supersonic") not in optional and key[1] != "dcgm"}
    assert set(alerts()) == left
    pool = ("SupersonicPoolDown", "")
    assert set(alerts(objectives=Objectives(servers=0))) == left - {pool}
    timed = {key for key in left if key[0] == "SupersonicLatencyBudgetBurns"}
    assert set(alerts(objectives=Objectives(latency_ms=0))) == left - timed
    # Samples are kept for a day: what looks back for three of them would never see them.
    long = {key for key in left if key[1] == "3d"}
    assert set(alerts(retention=86400)) == left - long


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("SupersonicPoolDown", "< 1"),
        ("SupersonicNoServerForRequests", "> 0"),
        ("SupersonicNoCapacityLeft", "> 1.1"),
        ("SupersonicQueueLong", "> 500"),
        ("SupersonicErrors", "> 0.05"),
        ("SupersonicRejections", "> 0.1"),
        ("SupersonicVerificationFailed", "== 0"),
        ("SupersonicServersDisagree", "> 0"),
        ("SupersonicVolumeFills", "< 0.1"),
    ],
)
def test_beyond_which_limit(name: str, limit: str) -> None:
    assert alerts()[name, ""]["expr"].endswith(f" {limit}")


@pytest.mark.parametrize(
    ("name", "window", "long", "short", "limit"),
    [
        # So many times faster than allowed: 0.1 % of the requests may fail, and 1 % may be late.
        ("SupersonicErrorBudgetBurns", "1h", 3600, 300, 0.0144),
        ("SupersonicErrorBudgetBurns", "6h", 21600, 1800, 0.006),
        ("SupersonicErrorBudgetBurns", "3d", 259200, 21600, 0.001),
        ("SupersonicLatencyBudgetBurns", "1h", 3600, 300, 0.144),
        ("SupersonicLatencyBudgetBurns", "6h", 21600, 1800, 0.06),
        ("SupersonicLatencyBudgetBurns", "3d", 259200, 21600, 0.01),
    ],
)
def test_how_fast_a_budget_may_be_spent(name: str, window: str, long: int, short: int, limit: float) -> None:
    over_long, over_short = alerts()[name, window]["expr"].split(" and ")
    for expression, seconds in ((over_long, long), (over_short, short)):
        assert set(re.findall(r"\[(\d+)s\]", expression)) == {str(seconds)}
        assert expression.endswith(f" > {limit}")
