# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every quantity of an instance on made series, by Prometheus' own unit tests of rules."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.measured_capacity import (
    Level,
    capacity,
    recommendations,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import (
    QUANTITIES,
    Queries,
    service_queries,
    service_rules,
    windows,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.autoscaler import findings
from ansible_collections.fastml.supersonic.tests.harness.prometheus import judge_rules

ROLES = Path(__file__).resolve().parents[2] / "roles"
# Seconds between scrapes, and how many there were when the questions are asked.
SCRAPE, SCRAPES = 2, 90
NOW = SCRAPE * SCRAPES
Values = Sequence[float | None]
STALE = None
# Of a server that computes one request at a time.
CAPACITY = 1.65
IDLE = dict.fromkeys(QUANTITIES, 0.0) | {"server_parallelism": 1.0, "server_capacity": CAPACITY}


# ---- series --------------------------------------------------------------------------------------------------------
@dataclass
class Load:
    """What one model of one server has to do: requests per second, and what each of them takes (ms)."""

    requests: float
    queue: float = 0.0
    compute: float = 20.0
    requests_per_execution: int = 1
    inferences: int = 1
    failures: float = 0.0

    def counters(self) -> dict[str, float]:
        """What Triton counts, per second."""
        computing = {
            f"nv_inference_compute_{part}_duration_us": self.requests * self.compute * 1000 * share
            for part, share in (("input", 0.125), ("infer", 0.75), ("output", 0.125))
        }
        return {
            "nv_inference_request_success": self.requests,
            'nv_inference_request_failure{reason="OTHER"}': self.failures,
            'nv_inference_request_failure{reason="REJECTED"}': 0.0,
            "nv_inference_count": self.requests * self.inferences,
            "nv_inference_exec_count": self.requests / self.requests_per_execution,
            "nv_inference_queue_duration_us": self.requests * self.queue * 1000,
            **computing,
        }


@dataclass
class Series:
    """Series by name and labels, as promtool takes them."""

    found: list[dict[str, str]] = field(default_factory=list)

    def add(self, metric: str, labels: Mapping[str, str], values: Iterable[float | None]) -> None:
        name, _brace, rest = metric.partition("{")
        texts = [f'{key}="{value}"' for key, value in labels.items()] + ([rest[:-1]] if rest else [])
        shown = " ".join("stale" if value is STALE else f"{value!r}" for value in values)
        self.found.append({"series": f"{name}{{{','.join(texts)}}}", "values": shown})

    def server(
        self,
        models: Mapping[str, Load],
        number: int = 1,
        *,
        name: str = "main",
        namespace: str = "cms",
        first: int = 0,
        end: int = SCRAPES + 1,
        reset: int = -1,
        missed: Sequence[int] = (),
        until: int = SCRAPES + 1,
        keys: tuple[str, str] = ("namespace", "pod"),
    ) -> Series:
        """A server: scrapes from first until end, counters that begin anew at reset, scrapes that were missed; until:
        when the load ends."""
        pod = {keys[0]: namespace, keys[1]: f"{name}-triton-6d4b75cb6d-s{number}", "instance": f"10.0.0.{number}:8002"}

        def scraped(values: Iterable[float]) -> list[float | None]:
            return [value if first <= step < end and step not in missed else STALE for step, value in enumerate(values)]

        up = [0.0 if step in missed else 1.0 for step in range(SCRAPES + 1)]
        self.add("up", pod, scraped(up) if end <= SCRAPES or first else up)
        for model, load in models.items():
            for metric, rate in load.counters().items():
                values, value = [], 0.0
                for step in range(SCRAPES + 1):
                    if step == reset:
                        value = 0.0
                    if step < until:
                        value += rate * SCRAPE
                    values.append(value)
                self.add(metric, {**pod, "model": model, "version": "1"}, scraped(values))
        return self

    def servers(self, count: int, models: Mapping[str, Load], **more: Any) -> Series:
        for number in range(1, count + 1):
            self.server(models, number, **more)
        return self

    def envoy(
        self,
        active: float = 0.0,
        pending: float = 0.0,
        *,
        number: int = 1,
        port: int = 9902,
        name: str = "main",
        namespace: str = "cms",
        clusters: Sequence[str] = ("triton",),
        without: float = 0.0,
        swing: float = 0.0,
        reachable: float = 0.0,
        end: int = SCRAPES + 1,
        missed: Sequence[int] = (),
        since: int = 0,
        keys: tuple[str, str] = ("namespace", "pod"),
    ) -> Series:
        """An Envoy: gauges that are so high from a scrape on, and more and less in turn; requests without a server per
        second, its last scrape."""
        pod = {keys[0]: namespace, keys[1]: f"{name}-envoy-7c9d8f-e{number}", "instance": f"10.0.1.{number}:{port}"}
        for cluster in clusters:
            labels = {**pod, "envoy_cluster_name": cluster}
            for metric, value, slope in (
                ("envoy_cluster_upstream_rq_active", active, 0.0),
                ("envoy_cluster_upstream_rq_pending_active", pending, 0.0),
                ("envoy_cluster_upstream_cx_none_healthy", 0.0, without),
                ("envoy_cluster_membership_total", reachable, 0.0),
            ):
                swings = swing if metric == "envoy_cluster_upstream_rq_active" else 0.0
                begins = 0 if metric == "envoy_cluster_membership_total" else since
                values = [
                    (value + (-swings if step % 2 else swings) if step >= begins else 0.0) + slope * SCRAPE * step
                    if step < end and step not in missed
                    else STALE
                    for step in range(SCRAPES + 1)
                ]
                self.add(metric, labels, values)
        return self

    def clients(
        self,
        statuses: Mapping[int, float],
        *,
        http: Mapping[int, float] | None = None,
        overloaded: float = 0.0,
        retries: float = 0.0,
        took: Mapping[float, float] | None = None,
        listener: str = "ingress_grpc",
        number: int = 1,
        name: str = "main",
        namespace: str = "cms",
        since: int = 0,
        end: int = SCRAPES + 1,
        keys: tuple[str, str] = ("namespace", "pod"),
    ) -> Series:
        """What clients of an Envoy got per second: gRPC requests by status, HTTP ones by class, and how many of them
        took how long (ms). since: the first scrape that has statuses."""
        pod = {keys[0]: namespace, keys[1]: f"{name}-envoy-7c9d8f-e{number}", "instance": f"10.0.1.{number}:9902"}
        front = {**pod, "envoy_http_conn_manager_prefix": listener}
        servers = {**pod, "envoy_cluster_name": "triton"}
        classes = {2: sum(statuses.values()), 4: 0.0, 5: 0.0}
        for number_of_class, rate in (http or {}).items():
            classes[number_of_class] += rate
        took = took or {}
        counters = [
            ("envoy_http_downstream_rq_completed", front, sum(classes.values())),
            ("envoy_http_downstream_rq_overload_close", front, overloaded),
            ("envoy_cluster_upstream_rq_retry", servers, retries),
            ("envoy_http_downstream_rq_time_sum", front, sum(time * rate for time, rate in took.items())),
            ("envoy_http_downstream_rq_time_count", front, sum(took.values())),
        ]
        counters += [
            ("envoy_http_downstream_rq_xx", {**front, "envoy_response_code_class": str(found)}, rate)
            for found, rate in classes.items()
        ]
        for bound in (1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, math.inf):
            label = {"le": "+Inf" if bound == math.inf else f"{bound}"}
            within = sum(rate for time, rate in took.items() if time <= bound)
            counters.append(("envoy_http_downstream_rq_time_bucket", {**front, **label}, within))
        for metric, labels, rate in counters:
            self.add(metric, labels, [rate * SCRAPE * step if step < end else STALE for step in range(SCRAPES + 1)])
        for status, rate in statuses.items():
            values = [rate * SCRAPE * step if since <= step < end else STALE for step in range(SCRAPES + 1)]
            self.add("envoy_cluster_grpc", {**servers, "grpc_status": str(status)}, values)
        return self


def others() -> Series:
    """Instances beside the one that is asked about, and clusters that are no servers: in no value may they be seen."""
    busy = {"digits": Load(1000.0, queue=1000.0, compute=500.0)}
    found = Series()
    for name, namespace in (("main", "atlas"), ("main2", "cms"), ("main-triton", "cms"), ("domain", "cms")):
        found.server(busy, 8, name=name, namespace=namespace)
        found.envoy(500.0, 500.0, number=8, name=name, namespace=namespace, without=100.0)
        found.clients(
            {0: 900.0, 8: 90.0, 14: 90.0}, http={4: 9.0, 5: 9.0}, overloaded=9.0, retries=9.0, took={240.0: 900.0},
            name=name, namespace=namespace, number=8,
        )  # fmt: skip
    # Probes, Prometheus and the drain have ports of their own.
    for listener in ("metrics", "admin", "drain", "load_limit"):
        found.clients({}, http={2: 70.0, 5: 70.0}, took={240.0: 70.0}, listener=listener, number=9)
    return found.envoy(700.0, clusters=("admin", "prometheus", "load_limit", "triton_mirror", "jwks_0"), without=50.0)


# ---- what is expected ----------------------------------------------------------------------------------------------
@dataclass
class Case:
    """Series and what the quantities are; None for no answer at all."""

    name: str
    series: Series
    expected: Mapping[str, float | None]
    settings: Mapping[str, Any] = field(default_factory=dict)


def cases() -> Iterable[Case]:
    for batch in (1, 8, 64):
        for count in (1, 2, 7, 100):
            per_server = 40.0 * batch
            load = {"digits": Load(per_server, queue=100.0, compute=20.0, requests_per_execution=batch)}
            parallelism = max(1.0, 0.8 * batch)
            capacity = 2 * parallelism - 0.35
            yield Case(
                f"{count} servers, batches of {batch}",
                Series().servers(count, load).envoy(0.41 * capacity * count, 0.0, reachable=count),
                {
                    "requests_in_flight": 0.41 * capacity * count,
                    "lasting_requests": 0.41 * capacity * count,
                    "requests_without_server": 0.0,
                    # Always the same number.
                    "openness": 0.0,
                    "queue_time": 100.0,
                    "queue_ratio": 5.0,
                    "compute_time": 20.0,
                    "request_rate": per_server * count,
                    "failure_rate": 0.0,
                    "inference_rate": per_server * count,
                    "execution_rate": 40.0 * count,
                    "batch_size": float(batch),
                    "servers": float(count),
                    "servers_reachable": float(count),
                    "busy_servers": 0.8 * count,
                    "utilization": 0.8,
                    "requests_in_compute": 0.8 * batch,
                    "server_parallelism": parallelism,
                    "server_capacity": capacity,
                    "servers_wanted": 0.41 * count,
                    "servers_held": 0.5 * count,
                    "servers_busy_floor": 0.0,
                },
            )
    yield Case("nothing", Series(), dict.fromkeys(QUANTITIES))
    yield Case("idle", Series().servers(3, {"digits": Load(0.0)}).envoy(), IDLE | {"servers": 3.0})
    yield Case("no models", Series().servers(2, {}).envoy(), IDLE | {"servers": 2.0})
    yield Case("Envoy alone", Series().envoy(), IDLE)
    yield Case(
        "Envoy alone, and requests that find no server",
        Series().envoy(0.2, without=0.5),
        IDLE | {"requests_in_flight": 0.2, "lasting_requests": 0.2, "requests_without_server": 7.5,
                "servers_wanted": 1.0},
    )  # fmt: skip
    yield Case(
        "no server is healthy: requests fail at once, and the servers stay",
        Series().servers(6, {"digits": Load(0.0)}).envoy(0.0, without=40.0),
        {"servers": 6.0, "requests_in_flight": 0.0, "requests_without_server": 600.0, "servers_wanted": 1.0,
         "servers_held": 6.0},
    )  # fmt: skip
    yield Case(
        "no Envoy",
        Series().servers(2, {"digits": Load(40.0, queue=50.0)}),
        {
            "requests_in_flight": None,
            "lasting_requests": None,
            "requests_without_server": None,
            "servers_wanted": None,
            "queue_time": 50.0,
            "servers": 2.0,
            "busy_servers": 1.6,
        },
    )
    yield Case(
        "no Envoy, idle",
        Series().servers(2, {"digits": Load(0.0)}),
        dict.fromkeys(
            ("requests_in_flight", "queue_time", "queue_ratio", "compute_time", "servers_wanted", "batch_size")
        ),
    )
    many = {0: 60.0, 5: 2.0, 14: 3.0, 13: 2.0, 2: 1.0, 4: 0.5, 15: 0.25, 8: 4.0, 7: 2.0, 16: 1.0, 1: 9.0, 3: 5.0}
    yield Case(
        "what clients get",
        Series().envoy().clients(
            many, http={2: 10.0, 4: 3.0, 5: 1.25}, overloaded=0.5, retries=7.0,
            took={4.0: 50.0, 20.0: 25.0, 200.0: 25.0},
        ),
        {
            "answer_rate": sum(many.values()) + 14.25, "error_rate": 6.75 + 1.25, "rejection_rate": 7.5,
            "retry_rate": 7.0, "client_latency": (4 * 50 + 20 * 25 + 200 * 25) / 100,
            # As well as the bounds of the buckets tell.
            "client_latency_p50": 5.0, "client_latency_p99": 100 + 150 * 24 / 25,
        },
    )  # fmt: skip
    yield Case(
        "what clients of two Envoys get",
        Series().envoy().envoy(number=2).clients({0: 30.0, 14: 1.0}, took={20.0: 31.0})
        .clients({0: 10.0, 8: 2.0}, retries=1.0, took={60.0: 12.0}, number=2),
        {"answer_rate": 43.0, "error_rate": 1.0, "rejection_rate": 2.0, "retry_rate": 1.0,
         "client_latency": (20 * 31 + 60 * 12) / 43},
    )  # fmt: skip
    yield Case(
        "a status is counted from the second scrape on that has it",
        Series().envoy().clients({14: 10.0}, since=SCRAPES - 3),
        {"answer_rate": 10.0, "error_rate": 10.0 * 7 / 15, "rejection_rate": 0.0},
    )
    yield Case("clients that are idle", Series().envoy().clients({0: 0.0, 14: 0.0}), IDLE)
    yield Case(
        "what clients got before Envoy was lost for 12 s",
        Series().envoy(end=SCRAPES - 5).clients({0: 30.0, 14: 1.0}, took={20.0: 31.0}, end=SCRAPES - 5),
        dict.fromkeys(name for name in QUANTITIES if name.startswith(("client_", "answer_", "error_", "reject"))),
    )
    several = {"digits": Load(1.0), "photons": Load(0.0)}
    yield Case(
        "servers that have not the same models",
        Series().server(several).server({"digits": Load(1.0)}, 2).server({"digits": Load(0.0)}, 3).server({}, 4)
        .envoy(),
        {"servers": 4.0, "models_missing": 4.0},
    )  # fmt: skip
    yield Case(
        "a server that has others' models no more",
        Series().server(several).server(several, 2, end=SCRAPES - 8).envoy(),
        {"servers": 1.0, "models_missing": 0.0},
    )
    yield Case("Envoy lost for 8 s", Series().envoy(4.0, end=SCRAPES - 3), IDLE | {
        "requests_in_flight": 4.0, "lasting_requests": 4.0, "servers_wanted": 4.0 / CAPACITY,
    })  # fmt: skip
    yield Case("Envoy lost for 12 s", Series().envoy(4.0, end=SCRAPES - 5), {
        name: None
        for name in QUANTITIES
        if name not in ("requests_without_server", "server_parallelism", "server_capacity")
    })  # fmt: skip
    yield Case(
        "two Envoys, with two processes each",
        Series().envoy(1.0, 0.5).envoy(2.0, port=9912).envoy(3.0, number=2).envoy(4.0, number=2, port=9912),
        {"requests_in_flight": 10.5},
    )
    yield Case(
        "clusters of clients and of HTTP",
        Series().envoy(1.0, clusters=("triton", "triton_http", "triton_client_cms", "triton_http_client_a-b_c")),
        {"requests_in_flight": 4.0},
    )
    yield Case(
        "a burst of 4 s",
        Series().servers(2, {"digits": Load(40.0)}).envoy(10.0, since=SCRAPES - 1, reachable=2),
        # It counts at once, as all that the last two scrapes have seen; and a step is no open load.
        {"requests_in_flight": 4.0, "queue_time": 0.0, "lasting_requests": 9.5, "openness": 0.0,
         "servers_wanted": 9.5 / CAPACITY, "servers_held": 2.0, "servers_busy_floor": 0.0},
    )  # fmt: skip
    yield Case(
        "a burst of one scrape",
        Series().servers(2, {"digits": Load(40.0)}).envoy(10.0, since=SCRAPES),
        {"lasting_requests": 1.25, "servers_wanted": 1.25 / CAPACITY},
    )
    for count, busy, floor in (
        (8, 0.5, 6.0),
        (4, 0.5, 3.0),
        (4, 0.6, (0.98 * (2.4 / 0.75) ** 0.5 + 0.1) ** 2),
        (4, 0.9, 4.0),
    ):
        yield Case(
            f"independent requests keep {floor:g} of {count} servers",
            Series().servers(count, {"digits": Load(50.0 * busy)}).envoy(count * busy, swing=2.0, reachable=count),
            {"openness": 1.0, "servers": float(count), "servers_busy_floor": floor},
        )
    yield Case(
        "servers that drain are scraped still, and keep no other",
        Series().servers(8, {"digits": Load(25.0)}).envoy(4.0, swing=2.0, reachable=6),
        {"servers": 8.0, "servers_reachable": 6.0, "servers_busy_floor": (0.98 * (4.0 / 0.75) ** 0.5 + 0.1) ** 2},
    )
    yield Case(
        "clients that wait keep no server busy",
        Series().servers(8, {"digits": Load(45.0)}).envoy(8.0, swing=0.5),
        {"openness": 0.0, "servers_busy_floor": 0.0},
    )
    two = {"fast": Load(100.0, queue=1.0, compute=5.0), "slow": Load(1.0, queue=300.0, compute=400.0)}
    yield Case(
        "two models",
        Series().servers(2, two).envoy(),
        {
            "queue_time": (100 * 1 + 1 * 300) / 101,
            "compute_time": (100 * 5 + 1 * 400) / 101,
            "request_rate": 202.0,
            "busy_servers": 2 * 0.9,
            "requests_in_compute": 0.9,
        },
    )
    yield Case(
        "unequal servers: the mean of requests, not of servers",
        Series().server({"digits": Load(90.0, queue=10.0)}).server({"digits": Load(10.0, queue=110.0)}, 2).envoy(),
        {"queue_time": 20.0, "servers": 2.0, "busy_servers": 1.0 + 0.2, "utilization": 0.6},
    )
    yield Case(
        "batches of the clients",
        Series().server({"digits": Load(10.0, queue=5.0, compute=50.0, inferences=16)}).envoy(),
        {"queue_time": 5.0, "inference_rate": 160.0, "batch_size": 16.0, "busy_servers": 0.5},
    )
    yield Case(
        "several executions at a time",
        Series().server({"digits": Load(100.0, compute=40.0)}).envoy(),
        {"busy_servers": 1.0, "utilization": 1.0, "requests_in_compute": 4.0, "server_parallelism": 4.0,
         "server_capacity": 7.65},
    )  # fmt: skip
    yield Case(
        "failures",
        Series().server({"digits": Load(10.0, queue=7.0, failures=2.0)}).envoy(),
        {"failure_rate": 2.0, "request_rate": 12.0, "queue_time": 7.0},
    )
    yield Case(
        "nothing but failures",
        Series().server({"digits": Load(0.0, failures=2.0)}).envoy(),
        {"failure_rate": 2.0, "request_rate": 2.0, "queue_time": 0.0, "busy_servers": 0.0},
    )
    steady = {"digits": Load(40.0, queue=30.0)}
    quiet = {"queue_time": 30.0, "request_rate": 80.0, "servers": 2.0, "busy_servers": 1.6, "server_parallelism": 1.0}
    for step in (SCRAPES, SCRAPES - 1, SCRAPES - 5):
        yield Case(
            f"a server starts anew, or loads its model again, {SCRAPES - step} scrapes ago",
            Series().server(steady, reset=step).server(steady, 2).envoy(5.0),
            quiet,
        )
        yield Case(
            f"scrapes of a server and of Envoy are missed, {SCRAPES - step} scrapes ago",
            Series().server(steady, missed=[step]).server(steady, 2).envoy(5.0, missed=[step]),
            # What was counted meanwhile is seen at the next scrape, so only the last one tells less.
            {**quiet, "request_rate": 80.0, "requests_in_flight": 5.0, "servers_wanted": 5.0 / CAPACITY},
        )
    yield Case(
        "a server that has gone",
        Series().server(steady).server(steady, 2, end=SCRAPES - 16).envoy(),
        {"servers": 1.0, "request_rate": 40.0, "queue_time": 30.0, "busy_servers": 0.8},
    )
    yield Case(
        "a server that was busy until it has gone",
        Series().server({"digits": Load(50.0)}).server({"digits": Load(50.0)}, 2, end=SCRAPES - 4).envoy(),
        {"servers": 1.0, "utilization": 1.0},
    )
    yield Case(
        "a server that has just come",
        Series().server(steady).server(steady, 2, first=SCRAPES).envoy(),
        {"servers": 2.0, "request_rate": 40.0, "queue_time": 30.0, "busy_servers": 0.8},
    )
    yield Case(
        "what a server can compute is remembered",
        Series().server({"digits": Load(320.0, requests_per_execution=8)}, until=45).envoy(64.0),
        {"requests_in_compute": 0.0, "server_parallelism": 6.4, "servers_wanted": 64.0 / (2 * 6.4 - 0.35)},
        # Short enough for a look in each minute; recorded, a day is.
        {"history": 14400},
    )
    yield Case(
        "what a server can take is told",
        Series().server(steady).envoy(64.0),
        {"server_parallelism": 16.0, "server_capacity": 31.5, "servers_wanted": 64.0 / 31.5},
        {"capacity": "31.5", "headroom": "1.5"},
    )
    steps = {"fast": Load(20.0, queue=4.0, compute=5.0), "slow": Load(20.0, queue=120.0, compute=20.0)}
    ensemble = {**steps, "ens": Load(20.0, queue=0.0, compute=25.0), 'e.n"s': Load(20.0, compute=25.0)}
    yield Case(
        "an ensemble that is named is seen at its steps",
        Series().server({name: load for name, load in ensemble.items() if '"' not in name}).envoy(),
        {"queue_time": 62.0, "compute_time": 12.5, "request_rate": 40.0, "requests_in_compute": 0.5,
         "busy_servers": 0.5},
        {"ensembles": ["ens", 'e.n"s\\']},
    )  # fmt: skip
    keys = ("kubernetes_namespace", "kubernetes_pod_name")
    yield Case(
        "labels of the site's own",
        Series()
        .servers(2, steady, keys=keys)
        .envoy(5.0, keys=keys)
        .clients({0: 70.0, 13: 10.0}, took={20.0: 80.0}, keys=keys),
        {**quiet, "requests_in_flight": 5.0, "answer_rate": 80.0, "error_rate": 10.0, "client_latency": 20.0},
        {"labels": {"namespace": keys[0], "pod": keys[1]}},
    )
    yield Case(
        "a longer window",
        Series().server(steady, until=SCRAPES - 29).envoy(),
        # 29 of the 59 intervals between the scrapes in the window.
        {"request_rate": 40.0 * 29 / 59, "queue_time": 30.0},
        {"window": 120},
    )


def sample(labels: str, value: float | None) -> list[dict[str, Any]]:
    return [] if value is None else [{"labels": labels, "value": value}]


def unit_tests(found: Iterable[Case], folder: Path) -> Path:
    """promtool's file for all cases: expressions by themselves, and with the rules that record them."""
    tests = []
    for case in found:
        queries = service_queries("main", "cms", **case.settings)
        (folder / "rules.json").write_text(
            json.dumps({"groups": [{"name": "main", "interval": "10s", "rules": service_rules("main", "cms")}]})
        )
        checks = [
            {"expr": queries[name], "eval_time": f"{NOW}s", "exp_samples": sample("{}", value)}
            for name, value in case.expected.items()
        ]
        if case.settings.keys() <= {"history"}:
            checks += [
                {
                    "expr": f"supersonic:{name}",
                    "eval_time": f"{NOW}s",
                    "exp_samples": sample(f'supersonic:{name}{{namespace="cms",supersonic="main"}}', value),
                }
                for name, value in case.expected.items()
            ]
        series = case.series.found + others().found
        tests.append({"name": case.name, "interval": f"{SCRAPE}s", "input_series": series, "promql_expr_test": checks})
    document = {
        "rule_files": ["rules.json"],
        "evaluation_interval": "10s",
        "fuzzy_compare": True,
        "tests": tests,
    }
    (folder / "tests.json").write_text(json.dumps(document))
    return folder / "tests.json"


def test_every_quantity_in_every_case(promtool: Path, tmp_path: Path) -> None:
    found = list(cases())
    assert len({case.name for case in found}) == len(found)
    done = judge_rules(promtool, unit_tests(found, tmp_path))
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


def sweep(parallelism: int, worse: float = 0.0) -> list[Level]:
    """Of a server that executes so many requests at a time in 20 ms, or in more the more of them wait."""
    levels = []
    for clients in (1, 2, 4, 8, 16, 32):
        mean = 20.0 * max(1.0, clients / parallelism) * (1 + worse * (clients - 1))
        levels.append(Level(clients, 1000 * clients / mean, mean))
    return levels


@pytest.mark.parametrize(
    ("levels", "factor", "expected"),
    [
        (sweep(1), 2, 1.8),
        (sweep(8), 2, 14.4),
        (sweep(1), 3, 2.7),
        (sweep(8), 3, 21.6),
        # Its latency has doubled long before it is saturated, and with the second request.
        (sweep(8, 0.3), 2, 3.9),
        (sweep(8, 9.0), 2, 1.0),
    ],
)
def test_what_a_benchmark_recommends_is_what_the_autoscaler_takes(
    promtool: Path, tmp_path: Path, levels: list[Level], factor: float, expected: float
) -> None:
    values = recommendations(capacity(levels, factor), servers=6, longest_wait=10)
    recommended = {name: value for name, value in values.items() if name.startswith("autoscaler_")}
    assert recommended == {"autoscaler_requests_per_server": pytest.approx(expected)}
    role = yaml.safe_load((ROLES / "autoscaler/defaults/main.yml").read_text())
    variables = {**role, "autoscaler_recording_rules": True, "autoscaler_max_replicas": 6, **recommended}
    assert not list(findings(variables))
    settings = {"capacity": variables["autoscaler_requests_per_server"], "headroom": variables["autoscaler_headroom"]}
    load = Series().server({"digits": Load(40.0)}).envoy(10.0)
    answers = {"server_capacity": expected, "servers_wanted": 10 / expected}
    done = judge_rules(promtool, unit_tests([Case("recommended", load, answers, settings)], tmp_path))
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


def test_a_wrong_value_is_noticed(promtool: Path, tmp_path: Path) -> None:
    wrong = [Case("wrong", Series().server({"digits": Load(40.0, queue=100.0)}).envoy(), {"queue_time": 100.1})]
    done = judge_rules(promtool, unit_tests(wrong, tmp_path))
    assert done.returncode != 0


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (1, (15, 10, 4, 60, 120, 20, 2)),
        (2, (15, 10, 4, 60, 120, 20, 2)),
        (7.5, (30, 15, 15, 75, 120, 30, 8)),
        (60, (240, 120, 120, 600, 480, 240, 60)),
    ],
)
def test_windows_fit_the_scrape_interval(interval: float, expected: tuple[int, ...]) -> None:
    assert tuple(windows(interval).values()) == expected


def test_the_scrape_interval_chooses_the_windows() -> None:
    slow = service_queries("main", "cms", scrape_interval="15")
    assert slow == service_queries("main", "cms", **windows(15))
    assert slow == service_queries("main", "cms", scrape_interval=15, window="0")
    assert service_queries("main", "cms", scrape_interval=15, window=90) == service_queries(
        "main", "cms", **{**windows(15), "window": 90}
    )


@pytest.mark.parametrize("recorded", [True, False])
def test_no_query_repeats_a_history_at_each_of_its_looks(recorded: bool) -> None:
    """An hour of looks at a day is a day of looks for each."""
    for name, query in service_queries("main", "cms", recorded=recorded).items():
        for match in re.finditer(r"\)\[\d+s:\d+s\]", query):
            depth, begin = 0, match.start()
            while depth or begin == match.start():
                depth += {")": 1, "(": -1}.get(query[begin], 0)
                begin -= 1
            assert not re.search(r"\[\d{4,}s|\[\d+s:", query[begin : match.start()]), name


@pytest.mark.parametrize(("history", "looks"), [(3600, "3600s:60s"), (86400, "86400s:300s"), (604800, "604800s:2100s")])
def test_a_history_that_is_not_recorded_has_so_many_looks(history: int, looks: str) -> None:
    assert f"[{looks}]" in service_queries("main", "cms", history=history)["servers_busy_floor"]
    assert f"[{history}s]" in service_queries("main", "cms", history=history, recorded=True)["servers_busy_floor"]


def test_a_query_fits_into_an_address() -> None:
    """KEDA asks by GET, and proxies take addresses up to 8 kB."""
    longest = {"name": "x" * 30, "namespace": "n" * 63}
    for recorded in (True, False):
        queries = service_queries(**longest, recorded=recorded)
        assert max(len(quote(expression)) for expression in queries.values()) < 7500


def test_quantities_are_those_that_others_name() -> None:
    assert set(QUANTITIES) == {
        "requests_in_flight", "requests_without_server", "queue_time", "compute_time", "request_rate", "failure_rate",
        "inference_rate", "execution_rate", "batch_size", "servers", "busy_servers", "utilization",
        "requests_in_compute", "server_parallelism", "server_capacity", "servers_wanted", "servers_held",
        "servers_busy_floor", "lasting_requests", "openness", "queue_ratio", "servers_reachable",
        "answer_rate", "error_rate", "rejection_rate", "retry_rate", "client_latency", "client_latency_p50",
        "client_latency_p99", "models_missing",
    }  # fmt: skip
    assert tuple(Queries("cms", "main").all()) == QUANTITIES


@pytest.mark.parametrize("name", ["service_queries", "service_rules"])
def test_filters_say_which_settings_there_are(name: str) -> None:
    path = Path(__file__).resolve().parents[2] / "plugins" / "filter" / f"{name}.yml"
    options = yaml.safe_load(path.read_text())["DOCUMENTATION"]["options"]
    said = {key: option["default"] for key, option in options.items() if "default" in option}
    fields = {item.name: item for item in dataclasses.fields(Queries) if item.name not in ("namespace", "name")}
    assert set(said) == set(fields)
    for key in set(fields) - {"labels", "ensembles", "recorded"}:
        assert said[key] == fields[key].default, key
