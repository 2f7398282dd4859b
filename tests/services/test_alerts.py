# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every alert on made series, by Prometheus' own unit tests of rules: which ones fire when, and that no others do."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import service_rules
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.alerts import (
    LATENCY_BOUNDS,
    Alerts,
    Objectives,
    service_alerts,
)
from ansible_collections.fastml.supersonic.tests.harness.playbooks import run_playbook
from ansible_collections.fastml.supersonic.tests.harness.prometheus import judge_rules

CLONE = Path(__file__).resolve().parents[2]
# Minutes that each case lasts, when its fault begins, and between two scrapes (seconds).
END, FAULT, SCRAPE = 45, 10, 60
ALL = {"models": ["digits"], "keda": True, "dcgm": True, "managed": True, "volume": 1000}
# What fires: the name, with the window where one is told, and the severity.
POOL_DOWN, ENDPOINT_DOWN = ("SupersonicPoolDown", "critical"), ("SupersonicEndpointDown", "critical")
Values = list[float | None]
Fires = Mapping[tuple[str, ...], int]
Steps = tuple[tuple[float, float], tuple[float, float]]


# ---- series --------------------------------------------------------------------------------------------------------
def gauge(*steps: tuple[float, float | None]) -> Values:
    """Minutes and value, one after the other; None where nothing is scraped."""
    return [value for minutes, value in steps for _minute in range(round(minutes))]


def counter(*steps: tuple[float, float | None]) -> Values:
    """Minutes and what is counted per second."""
    found: Values = []
    value = 0.0
    for minutes, rate in steps:
        for _minute in range(round(minutes)):
            value += (rate or 0.0) * SCRAPE
            found.append(None if rate is None else value)
    return found


@dataclass
class Line:
    """A series, and its samples."""

    metric: str
    labels: Mapping[str, str]
    values: Values

    def matches(self, metric: str, labels: Mapping[str, str]) -> bool:
        return bool(re.fullmatch(metric, self.metric)) and labels.items() <= self.labels.items()

    def written(self) -> dict[str, str]:
        labels = ",".join(f'{key}="{value}"' for key, value in self.labels.items())
        values = " ".join("stale" if value is None else f"{value:.10g}" for value in self.values)
        return {"series": f"{self.metric}{{{labels}}}", "values": values}


class World(list[Line]):
    """Series of an instance, and changes to them."""

    def add(self, metric: str, values: Values, **labels: str) -> World:
        self.append(Line(metric, labels, values))
        return self

    def set(self, metric: str, values: Values, **labels: str) -> World:
        """Other samples for all series that have these labels; one at least."""
        chosen = [line for line in self if line.matches(metric, labels)]
        assert chosen, (metric, labels)
        for line in chosen:
            line.values = values
        return self

    def gone(self, part: str, *, metric: str = ".*", at: int = FAULT) -> World:
        """Nothing is scraped any more of the pods of this part."""
        for line in self:
            if f"-{part}-" in line.labels.get("pod", "") and re.fullmatch(metric, line.metric):
                line.values = [*line.values[:at], *[None] * (END - at)]
        return self


def pod(part: str, number: int) -> dict[str, str]:
    return {"namespace": "cms", "pod": f"main-{part}-6d4b75cb6d-{part[0]}{number}", "instance": f"10.0.0.{number}:1"}


def well(rate: float = 50.0) -> World:
    """Two Envoys with so many requests per second each, two servers, and all that may be scraped beside them."""
    world = World()
    flat, even = gauge((END, 0)), counter((END, rate))
    for number in (1, 2):
        envoy = pod("envoy", number)
        front = {**envoy, "envoy_http_conn_manager_prefix": "ingress_grpc"}
        triton = {**envoy, "envoy_cluster_name": "triton"}
        world.add("up", gauge((END, 1)), **envoy)
        for metric, value in (
            ("membership_total", 2), ("membership_healthy", 2), ("upstream_rq_active", 1),
            ("upstream_rq_pending_active", 0), ("upstream_cx_none_healthy", 0), ("upstream_rq_retry", 0),
        ):  # fmt: skip
            world.add(f"envoy_cluster_{metric}", gauge((END, value)), **triton)
        world.add("envoy_cluster_grpc", even, **triton, grpc_status="0")
        for status in ("7", "8", "13", "14"):
            world.add("envoy_cluster_grpc", flat, **triton, grpc_status=status)
        world.add("envoy_http_downstream_rq_completed", even, **front)
        world.add("envoy_http_downstream_rq_overload_close", flat, **front)
        world.add("envoy_http_downstream_rq_xx", flat, **front, envoy_response_code_class="5")
        for bound in ("25.0", "2500.0", "+Inf"):
            world.add("envoy_http_downstream_rq_time_bucket", even, **front, le=bound)
        world.add("envoy_http_downstream_rq_time_sum", counter((END, 20 * rate)), **front)
        world.add("envoy_http_downstream_rq_time_count", even, **front)
        world.add("envoy_server_days_until_first_cert_expiring", gauge((END, 60)), **envoy)
        world.add("envoy_http_jwt_authn_jwks_fetch_failed", flat, **front)
        world.add("envoy_http_jwt_authn_jwks_fetch_success", counter((END, 2 / 300)), **front)
        for issuer in ("jwks_0", "jwks_1"):
            for kind, rate_of_kind in (("2", 1 / 300), ("5", 0)):
                world.add(
                    "envoy_cluster_upstream_rq_xx", counter((END, rate_of_kind)), **envoy,
                    envoy_cluster_name=issuer, envoy_response_code_class=kind,
                )  # fmt: skip
        server = pod("triton", number)
        world.add("up", gauge((END, 1)), **server)
        per_request = {"queue_duration_us": 5000, "compute_input_duration_us": 100, "compute_infer_duration_us": 9000,
                       "compute_output_duration_us": 100}  # fmt: skip
        model = {**server, "model": "digits", "version": "1"}
        for metric in ("request_success", "count", "exec_count"):
            world.add(f"nv_inference_{metric}", even, **model)
        for metric, factor in per_request.items():
            world.add(f"nv_inference_{metric}", counter((END, factor * rate)), **model)
        gpu = {"gpu": "0", "Hostname": f"node{number}", "namespace": "cms", "pod": server["pod"]}
        for metric in ("XID_ERRORS", "ECC_DBE_VOL_TOTAL", "UNCORRECTABLE_REMAPPED_ROWS", "ROW_REMAP_FAILURE"):
            world.add(f"DCGM_FI_DEV_{metric}", flat, **gpu)
    keda = {"namespace": "cms", "scaledObject": "main-triton", "scaler": "prometheusScaler", "triggerIndex": "0"}
    world.add("keda_scaler_detail_errors_total", flat, **keda)
    world.add("keda_scaler_detail_errors_total", counter((END, 1)), **{**keda, "scaledObject": "other-triton"})
    for job in ("keda", "dcgm"):
        world.add("up", gauge((END, 1)), job=job, instance=f"{job}:1")
    for claim in ("main-models", "main-prometheus"):
        volume = {"namespace": "cms", "persistentvolumeclaim": claim}
        world.add("kubelet_volume_stats_available_bytes", gauge((END, 50)), **volume)
        world.add("kubelet_volume_stats_capacity_bytes", gauge((END, 100)), **volume)
    for metric in ("storage_blocks_bytes", "wal_storage_size_bytes", "head_chunks_storage_size_bytes"):
        world.add(f"prometheus_tsdb_{metric}", gauge((END, 200)), job="prometheus")
    world.add("prometheus_tsdb_retention_limit_bytes", gauge((END, 800)), job="prometheus")
    # Days before the clock of a unit test begins.
    world.add("prometheus_tsdb_lowest_timestamp_seconds", gauge((END, -1e6)), job="prometheus")
    return world.add("prometheus_tsdb_size_retentions_total", flat, job="prometheus")


def from_fault(value: float, before: float = 0.0) -> Steps:
    return (FAULT, before), (END - FAULT, value)


# ---- cases ---------------------------------------------------------------------------------------------------------
@dataclass
class Case:
    """Series, and at each minute all that fires, with how many there are of each."""

    name: str
    world: World
    fires: Mapping[float, Fires]
    settings: Mapping[str, Any] = field(default_factory=dict)


def one(name: str, severity: str, *more: tuple[str, ...], count: int = 1) -> dict[tuple[str, ...], int]:
    return {(f"Supersonic{name}", severity): count, **dict.fromkeys(more, 1)}


SILENT: Fires = {}
BURN = "SupersonicErrorBudgetBurns"
BURNS: Fires = {(BURN, "critical", "1h"): 1, (BURN, "critical", "6h"): 1, (BURN, "warning", "3d"): 1}


def cases() -> Iterator[Case]:
    yield Case("an instance that is well", well(), {2: SILENT, 8: SILENT, 25: SILENT, 44: SILENT})
    yield Case("an instance that is idle", well(0.0), {8: SILENT, 44: SILENT})
    yield Case("nothing but the metrics that come first", World(), {0.5: SILENT, 1.5: {ENDPOINT_DOWN: 1}})
    yield from _served()
    yield from _clients()
    yield from _models()
    yield from _machinery()
    yield from _gpus()


def _served() -> Iterator[Case]:
    gone = well().gone("envoy")
    yield Case("the Envoys are gone", gone, {FAULT + 1: SILENT, FAULT + 6: {ENDPOINT_DOWN: 1}, 44: {ENDPOINT_DOWN: 1}})
    deaf = well().gone("envoy", metric="(?!up$).*")
    for number in (1, 2):
        deaf.set("up", gauge(*from_fault(0, 1)), **pod("envoy", number))
    yield Case(
        "the Envoys do not answer Prometheus", deaf,
        {FAULT + 6: {ENDPOINT_DOWN: 1}, 30: {ENDPOINT_DOWN: 1, ("SupersonicTargetDown", "warning"): 2}},
    )  # fmt: skip
    healthy = "envoy_cluster_membership_healthy"
    yield Case(
        "no server is healthy", well().set(healthy, gauge(*from_fault(0, 2))),
        {FAULT + 1: SILENT, FAULT + 4: {POOL_DOWN: 1}},
    )  # fmt: skip
    yield Case(
        "one of two Envoys has no healthy server", well().set(healthy, gauge(*from_fault(0, 2)), **pod("envoy", 2)),
        {FAULT + 4: {POOL_DOWN: 1}},
    )  # fmt: skip
    yield Case(
        "no server is healthy for a minute", well().set(healthy, gauge((FAULT, 2), (1, 0), (END - FAULT - 1, 2))),
        dict.fromkeys(range(FAULT, FAULT + 5), SILENT),
    )  # fmt: skip
    yield Case(
        "two servers, where three have to be there", well(), {1: SILENT, 8: {POOL_DOWN: 1}},
        {"objectives": {"servers": 3}},
    )  # fmt: skip
    empty = well(0.0)
    for metric in ("envoy_cluster_membership_total", healthy):
        empty.set(metric, gauge((END, 0)))
    yield Case("a pool that may be empty", empty, {44: SILENT}, {"objectives": {"servers": 0}, "models": []})
    none_healthy = "envoy_cluster_upstream_cx_none_healthy"
    yield Case(
        "requests for an empty pool", well(0.0).set(healthy, gauge((END, 0)))
        .set("envoy_cluster_membership_total", gauge((END, 0))).set(none_healthy, counter(*from_fault(2))),
        {FAULT + 1: SILENT, FAULT + 6: one("NoServerForRequests", "critical")},
        {"objectives": {"servers": "0"}, "models": []},
    )  # fmt: skip
    yield Case(
        "requests wake an empty pool", well(0.0).set(healthy, gauge(*from_fault(2)))
        .set(none_healthy, counter((FAULT - 1, 0), (1, 2), (END - FAULT, 0))),
        dict.fromkeys((FAULT, FAULT + 2, FAULT + 4, FAULT + 8), SILENT),
        {"objectives": {"servers": 0, "start_seconds": 300}},
    )  # fmt: skip
    # Each is seen for three of four minutes.
    rare = [float(minute // 4) for minute in range(END)]
    seldom = well(0.0).set(healthy, gauge((END, 0))).set(none_healthy, rare)
    waits: Fires = {("SupersonicNoServerForRequests", "critical"): 1}
    empty_pool = {"objectives": {"servers": 0}}
    yield Case("a rare client finds no server", seldom, {4: SILENT, 12: waits, 44: waits}, empty_pool)
    yield Case(
        "a rare client finds no server that takes an hour to start", seldom, {12: SILENT, 44: SILENT},
        {"objectives": {"servers": 0, "start_seconds": 3600}},
    )  # fmt: skip
    active = "envoy_cluster_upstream_rq_active"
    yield Case(
        "more requests than servers can take", well().set(active, gauge(*from_fault(20, 1))),
        {FAULT + 9: SILENT, FAULT + 20: one("NoCapacityLeft", "warning")},
    )  # fmt: skip
    yield Case(
        "as many requests as servers can take", well().set(active, gauge((END, 1.8))), {44: SILENT},
    )  # fmt: skip
    queue = "nv_inference_queue_duration_us"
    yield Case(
        "requests wait", well().set(queue, counter(*from_fault(50 * 600_000, 50))),
        {FAULT + 4: SILENT, FAULT + 15: one("QueueLong", "warning")},
    )  # fmt: skip
    yield Case(
        "requests wait less than is promised", well().set(queue, counter(*from_fault(50 * 600_000, 50))), {44: SILENT},
        {"objectives": {"queue_ms": 601}},
    )  # fmt: skip


def _clients() -> Iterator[Case]:
    for what, failed in (
        ("gRPC requests fail", {"metric": "envoy_cluster_grpc", "grpc_status": "14"}),
        ("HTTP requests fail", {"metric": "envoy_http_downstream_rq_xx", "envoy_response_code_class": "5"}),
    ):
        yield Case(
            what, well().set(values=counter(*from_fault(10)), **failed),
            {FAULT - 1: SILENT, FAULT + 12: {**one("Errors", "warning"), **BURNS}},
        )  # fmt: skip
    rare = counter(*from_fault(0.01))
    yield Case(
        "few requests, of which many fail", well(0.005).set("envoy_cluster_grpc", rare, grpc_status="14"),
        {FAULT + 3: SILENT},
    )  # fmt: skip
    refused = {"metric": "envoy_cluster_grpc", "grpc_status": "8"}
    yield Case(
        "requests are refused for a limit", well().set(values=counter(*from_fault(20)), **refused),
        {FAULT - 1: SILENT, FAULT + 15: one("Rejections", "warning")},
    )  # fmt: skip
    yield Case("some requests are refused", well().set(values=counter(*from_fault(4)), **refused), {44: SILENT})
    slow = well()
    for bound in ("25.0", "2500.0"):
        slow.set("envoy_http_downstream_rq_time_bucket", counter(*from_fault(40, 50)), le=bound)
    latency = "SupersonicLatencyBudgetBurns"
    yield Case(
        "a fifth of the requests is slow", slow,
        {FAULT - 1: SILENT, 44: {(latency, "critical", "1h"): 1, (latency, "critical", "6h"): 1,
                                 (latency, "warning", "3d"): 1}},
    )  # fmt: skip
    refused = {(latency, "critical", "1h"): 1, (latency, "critical", "6h"): 1, (latency, "warning", "3d"): 1,
               ("SupersonicRejections", "warning"): 1}  # fmt: skip
    many = World([dataclasses.replace(line) for line in slow])
    many.set("envoy_http_downstream_rq_completed", counter((END, 500))).set(
        "envoy_cluster_grpc", counter((END, 450)), grpc_status="7"
    )
    yield Case("a fifth of those is slow that are not refused, as nine of ten are", many, {44: refused})
    unpromised = {"objectives": {"latency_ms": 0}}
    yield Case("slow requests, which are none where nothing is promised", slow, {44: SILENT}, unpromised)
    hour: Fires = {(latency, "critical", "1h"): 1}
    yield Case("slow requests, and samples are kept for an hour", slow, {44: hour}, {"retention": 3600})

    proof = "supersonic_verification_success"
    for how, labels in (
        ("", {"namespace": "cms"}),
        (", and is scraped as a pod", {"namespace": "monitoring", "exported_namespace": "cms"}),
    ):
        told = well().add(proof, gauge(*from_fault(0, 1)), **labels, supersonic="main")
        told.add(proof, gauge((END, 0)), **labels, supersonic="other")
        yield Case(
            f"a proof has failed{how}", told, {FAULT - 1: SILENT, FAULT + 1: one("VerificationFailed", "critical")}
        )


def _models() -> Iterator[Case]:
    names = {"models": ["digits", "photons", "digit"]}
    yield Case("models that no server has", well(), {3: SILENT, 12: one("ModelNotLoaded", "critical", count=2)}, names)
    yield Case("models where no servers are", well().gone("triton", at=0), {44: SILENT}, names)
    late, later = (counter((begin, None), (END - begin, 0)) for begin in (FAULT, FAULT + 7))
    more = well().add("nv_inference_count", late, **pod("triton", 1), model="photons")
    yield Case(
        "a model that one of two servers has", more, {FAULT + 8: SILENT, FAULT + 14: one("ServersDisagree", "warning")}
    )
    short = well().add("nv_inference_count", late, **pod("triton", 1), model="photons")
    short.add("nv_inference_count", later, **pod("triton", 2), model="photons")
    yield Case("a rollout, in which servers differ for some minutes", short, {FAULT + 12: SILENT, 44: SILENT})


def _machinery() -> Iterator[Case]:
    down = well().set("up", gauge(*from_fault(0, 1)), **pod("triton", 2))
    yield Case(
        "a server does not answer", down, {FAULT + 9: SILENT, FAULT + 12: one("TargetDown", "warning")}
    )  # fmt: skip
    errors = {"metric": "keda_scaler_detail_errors_total", "scaledObject": "main-triton"}
    blind = well().set(values=counter(*from_fault(0.2)), **errors)
    yield Case("KEDA has no answers", blind, {FAULT - 1: SILENT, FAULT + 6: one("ScalerBlind", "warning")})
    yield Case("KEDA has no answers, and is not watched", blind, {44: SILENT}, {"keda": False})
    scaler = one("ScalerBlind", "warning")
    site = well().add(errors["metric"], counter(*from_fault(0.2)), namespace="keda", exported_namespace="cms",
                      scaledObject="main-triton", pod="keda-operator-1")  # fmt: skip
    yield Case("KEDA has no answers, and is scraped as a pod", site, {FAULT - 1: SILENT, FAULT + 6: scaler})
    away = well().set("up", gauge(*from_fault(0, 1)), job="keda")
    yield Case("KEDA does not answer", away, {FAULT + 1: SILENT, FAULT + 4: scaler})
    unseen = World([line for line in well() if line.labels.get("job") not in ("keda", "dcgm")])
    both = {**scaler, **one("TargetDown", "warning")}
    yield Case("nobody is scraped for KEDA and GPUs", unseen, {9: scaler, 12: both})
    yield Case("those that a site scrapes by other names", unseen, {44: SILENT}, {"managed": False})
    yield Case(
        "an exporter of GPU metrics does not answer",
        well().set("up", gauge(*from_fault(0, 1)), job="dcgm").add("up", gauge((END, 1)), job="dcgm", instance="b:1"),
        {FAULT + 9: SILENT, FAULT + 12: one("TargetDown", "warning")},
    )
    days = "envoy_server_days_until_first_cert_expiring"
    expires = "SupersonicCertificateExpires"
    yield Case(
        "a certificate expires", well().set(days, gauge((END, 13)), **pod("envoy", 2)),
        {8: SILENT, 12: {(expires, "warning"): 1}},
    )  # fmt: skip
    yield Case(
        "a certificate expires tomorrow", well().set(days, gauge((END, 1))),
        {12: {(expires, "warning"): 1, (expires, "critical"): 1}},
    )  # fmt: skip
    yield Case("no certificates", well().set(days, gauge((END, 2147483647))), {44: SILENT})
    failed, fetched = (f"envoy_http_jwt_authn_jwks_fetch_{what}" for what in ("failed", "success"))
    unknown = well().set(failed, counter(*from_fault(0.1)))
    yield Case("keys are fetched, not at once", unknown, {44: SILENT})
    unknown = well().set(failed, counter(*from_fault(0.1))).set(fetched, counter(*from_fault(0, 1 / 300)))
    answers = "envoy_cluster_upstream_rq_xx"
    keyless = one("TokenKeysUnknown", "critical")
    for what, kind in (("is not reached", "5"), ("answers without keys", "2")):
        broken = well().set(failed, counter(*from_fault(0.1))).set(fetched, counter(*from_fault(1 / 300, 2 / 300)))
        issuer = {"metric": answers, "envoy_cluster_name": "jwks_1"}
        broken.set(values=counter(*from_fault(0, 1 / 300)), **issuer, envoy_response_code_class="2")
        before = 1 / 300 if kind == "2" else 0
        broken.set(values=counter(*from_fault(0.1, before)), **issuer, envoy_response_code_class=kind)
        yield Case(f"one of two issuers {what}", broken, {FAULT - 1: SILENT, 30: keyless})
    begins = well().set(answers, gauge((3, None), (END - 3, 1)), envoy_response_code_class="2")
    begins.set(answers, [*map(float, range(4)), *gauge((END - 4, 3))], envoy_response_code_class="5")
    begins.set(failed, [*map(float, range(4)), *gauge((END - 4, 3))])
    yield Case("keys are fetched when Envoy has tried some times", begins, dict.fromkeys((4, 6, 10), SILENT))
    yield Case("keys are not fetched", unknown, {FAULT + 5: SILENT, 30: one("TokenKeysUnknown", "critical")})
    yield Case(
        "a volume fills", well().set("kubelet_volume_stats_available_bytes", gauge(*from_fault(9, 50)),
                                     persistentvolumeclaim="main-models"),
        {FAULT + 9: SILENT, FAULT + 12: one("VolumeFills", "warning")},
    )  # fmt: skip
    full = well().set("prometheus_tsdb_wal_storage_size_bytes", gauge(*from_fault(500, 200)))
    fills = {FAULT + 9: SILENT, FAULT + 12: one("MetricsVolumeFills", "warning")}
    yield Case("the log of Prometheus grows beyond what is to be kept", full, fills)
    yield Case("the volume of somebody else's Prometheus", full, {44: SILENT}, {"volume": 0})
    limit = "prometheus_tsdb_retention_limit_bytes"
    most = well().set("prometheus_tsdb_storage_blocks_bytes", gauge(*from_fault(420, 200)))
    yield Case("as much is kept as may be", most, {44: SILENT})
    large = well().set(limit, gauge((END, 2000)))
    large.set("prometheus_tsdb_storage_blocks_bytes", gauge(*from_fault(580, 200)))
    yield Case("more is to be kept than the volume holds", large, fills)
    dropped = well().set("prometheus_tsdb_size_retentions_total", gauge(*from_fault(1)))
    yield Case("samples are dropped for want of room, and kept for days", dropped, {44: SILENT})
    oldest = "prometheus_tsdb_lowest_timestamp_seconds"
    young = World([dataclasses.replace(line) for line in dropped]).set(oldest, gauge((END, -80000)))
    yield Case(
        "samples are kept for hours", young,
        {FAULT - 1: SILENT, FAULT + 3: one("MetricsDropped", "warning")},
    )  # fmt: skip
    yield Case("a new Prometheus", well().set(oldest, gauge((END, 0))), {44: SILENT})


def _gpus() -> Iterator[Case]:
    xid = "DCGM_FI_DEV_XID_ERRORS"
    broken = well().set(xid, gauge(*from_fault(79)), Hostname="node2")
    yield Case("a GPU has fallen off the bus", broken, {FAULT: SILENT, FAULT + 3: one("GpuError", "critical")})
    yield Case("GPUs that nobody scrapes for us", broken, {44: SILENT}, {"dcgm": False})
    yield Case("a program has crashed on a GPU", well().set(xid, gauge(*from_fault(31))), {44: SILENT})
    other = well().add(xid, gauge((END, 79)), gpu="1", Hostname="node1", namespace="atlas", pod="train-0")
    yield Case("somebody else's GPU has failed", other, {44: SILENT})
    site = well().add(xid, gauge((END, 79)), gpu="1", Hostname="node1", namespace="gpu-operator", pod="dcgm-exporter-1",
                      exported_namespace="cms", exported_pod="main-triton-6d4b75cb6d-t1")  # fmt: skip
    yield Case("a GPU of ours, whose exporter is scraped as a pod", site, {44: one("GpuError", "critical")})
    nobodys = well().add(xid, gauge((END, 79)), gpu="1", Hostname="node1")
    yield Case("a GPU of which nobody knows whose it is", nobodys, {44: one("GpuError", "critical")})
    for metric in ("ECC_DBE_VOL_TOTAL", "UNCORRECTABLE_REMAPPED_ROWS", "ROW_REMAP_FAILURE"):
        worn = well().set(f"DCGM_FI_DEV_{metric}", gauge(*from_fault(1)), Hostname="node1")
        yield Case(metric, worn, {FAULT - 1: SILENT, FAULT + 5: one("GpuMemoryError", "warning")})


# ---- the tests -----------------------------------------------------------------------------------------------------
def alerts(**settings: Any) -> list[dict[str, Any]]:
    return service_alerts("main", "cms", scrape_interval=SCRAPE, evaluation_interval=SCRAPE, **{**ALL, **settings})


def needed(rules: list[dict[str, Any]], recording: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those recording rules that these rules read, or that such a rule reads: the others take most of the time."""
    found: list[dict[str, Any]] = []
    while True:
        read = {name for rule in [*rules, *found] for name in re.findall(r"supersonic:\w+", rule["expr"])}
        chosen = [rule for rule in recording if rule["record"] in read]
        if chosen == found:
            return found
        found = chosen


def judge(
    promtool: Path,
    folder: Path,
    rules: list[dict[str, Any]],
    tests: list[dict[str, Any]],
    *,
    recorded: bool = True,
) -> str:
    """What promtool has against it. recorded: whether quantities are worked out, or are among the series."""
    folder.mkdir(exist_ok=True)
    groups = [{"name": "alerts", "interval": "1m", "rules": rules}]
    if recorded:
        quantities = needed(rules, service_rules("main", "cms", scrape_interval=SCRAPE))
        groups.insert(0, {"name": "main", "interval": "1m", "rules": quantities})
    (folder / "rules.json").write_text(json.dumps({"groups": groups}))
    order = [group["name"] for group in groups]
    document = {"rule_files": ["rules.json"], "evaluation_interval": "1m", "group_eval_order": order,
                "fuzzy_compare": True, "tests": tests}  # fmt: skip
    (folder / "tests.json").write_text(json.dumps(document))
    done = judge_rules(promtool, folder / "tests.json")
    return "" if done.returncode == 0 else (done.stdout + done.stderr)[-8000:] or "it fails"


def check(minute: float, fires: Fires) -> dict[str, Any]:
    """All that fires, as a question of promtool."""
    found = []
    for (name, severity, *window), count in fires.items():
        labels = {"alertname": name, "severity": severity, **({"window": window[0]} if window else {})}
        texts = ",".join(f'{key}="{value}"' for key, value in labels.items())
        found.append({"labels": f"{{{texts}}}", "value": count})
    query = 'count by (alertname, severity, window) (ALERTS{alertstate="firing",namespace="cms",supersonic="main"})'
    return {"expr": query, "eval_time": f"{round(minute * 60)}s", "exp_samples": found}


def test_what_fires_and_what_does_not(promtool: Path, tmp_path: Path) -> None:
    found = list(cases())
    assert len({case.name for case in found}) == len(found)
    settings: dict[str, list[Case]] = {}
    for case in found:
        settings.setdefault(json.dumps(case.settings, sort_keys=True), []).append(case)
    complaints = []
    for number, same in enumerate(settings.values()):
        tests = [
            {
                "name": case.name,
                "interval": "1m",
                "input_series": [line.written() for line in case.world],
                "promql_expr_test": [check(*item) for item in case.fires.items()],
            }
            for case in same
        ]
        complaints.append(judge(promtool, tmp_path / str(number), alerts(**same[0].settings), tests))
    assert not any(complaints), "\n".join(complaints)
    # None is left out.
    fired = {key[0] for case in found for fires in case.fires.values() for key in fires}
    assert fired == {rule["alert"] for rule in alerts() if "alert" in rule}


def test_a_wrong_expectation_is_noticed(promtool: Path, tmp_path: Path) -> None:
    wrong = {"interval": "1m", "input_series": [line.written() for line in well()],
             "promql_expr_test": [check(20, {POOL_DOWN: 1})]}  # fmt: skip
    assert "SupersonicPoolDown" in judge(promtool, tmp_path, alerts(), [wrong])


@dataclass
class Outage:
    """Minutes, and errors per second of 100 answers, after minutes without any; which windows tell when."""

    name: str
    windows: tuple[str, ...]
    healthy: int
    steps: tuple[tuple[int, float], ...]
    told: Mapping[int, Sequence[str]]
    patience: float = 1.0


# Three days take promtool minutes, and a tenth of them seconds.
DAY, TENTH = 144, 0.1
HOURS = ("1h", "6h")
OUTAGES = [
    Outage("all requests of two minutes", HOURS, 480, ((2, 100.0), (60, 0.0)), {0: [], 2: ["1h"], 9: [], 60: []}),
    Outage("a fifth of ten minutes", HOURS, 480, ((10, 20.0), (60, 0.0)), {3: [], 10: ["1h"], 20: []}),
    Outage("few, for hours", HOURS, 480, ((240, 1.2), (60, 0.0)), {60: [], 170: [], 190: ["6h"], 280: []}),
    Outage("very few, for days", ("3d",), 4 * DAY, ((3 * DAY, 0.15), (60, 0.0)),
           {DAY: [], 2 * DAY - 9: [], 2 * DAY + 9: ["3d"], 3 * DAY + 40: []}, TENTH),
    Outage("fewer than the objective allows", ("3d",), 4 * DAY, ((3 * DAY, 0.09),), {DAY: [], 3 * DAY: []}, TENTH),
]  # fmt: skip


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.name)
def test_how_fast_a_budget_may_be_spent(promtool: Path, tmp_path: Path, outage: Outage) -> None:
    rules = [rule for rule in alerts(patience=outage.patience) if rule.get("alert") == BURN]
    severities = {rule["labels"]["window"]: rule["labels"]["severity"] for rule in rules}
    assert severities == {"1h": "critical", "6h": "critical", "3d": "warning"}
    values = " ".join(f"{value:g}x{minutes - 1}" for minutes, value in ((outage.healthy, 0.0), *outage.steps))
    labels = 'namespace="cms",supersonic="main"'
    checks = [
        check(outage.healthy + minute - 1, {(BURN, severities[window], window): 1 for window in now})
        for minute, now in outage.told.items()
    ]
    minutes = outage.healthy + sum(length for length, _value in outage.steps)
    series = [{"series": f"supersonic:error_rate{{{labels}}}", "values": values},
              {"series": f"supersonic:answer_rate{{{labels}}}", "values": f"100x{minutes}"}]  # fmt: skip
    chosen = [rule for rule in rules if rule["labels"]["window"] in outage.windows]
    test = {"interval": "1m", "input_series": series, "promql_expr_test": checks}
    assert not judge(promtool, tmp_path, chosen, [test], recorded=False)


@pytest.mark.parametrize(
    ("alert", "changes", "summary", "description"),
    [
        ("SupersonicPoolDown", {"envoy_cluster_membership_healthy": gauge((END, 0))}, "too few servers are healthy",
         "An Envoy has 0 healthy servers, and there have to be 1. See why the pods of the servers are not ready, or "
         "whether there are any."),
        ("SupersonicErrors", {"envoy_http_downstream_rq_xx": counter((END, 10.0))}, "many requests fail",
         "20% of the requests fail; up to 5 % is usual. See which status it is and at which layer: golden requests "
         "tell (playbooks/verify.yml)."),
        ("SupersonicVolumeFills", {"kubelet_volume_stats_available_bytes": gauge((END, 9))},
         "the volume main-models is nearly full",
         "9% of it is left. Enlarge the claim, or remove what nobody needs: old releases of models "
         "(model_repository_keep)."),
    ],
)  # fmt: skip
def test_words(
    promtool: Path, tmp_path: Path, alert: str, changes: Mapping[str, Values], summary: str, description: str
) -> None:
    world = World([line for line in well() if line.labels.get("persistentvolumeclaim") != "main-prometheus"])
    for metric, values in changes.items():
        world.set(metric, values)
    (rule,) = (rule for rule in alerts() if rule.get("alert") == alert)
    expected = {
        "exp_labels": {
            **rule["labels"], **({"persistentvolumeclaim": "main-models"} if alert == "SupersonicVolumeFills" else {})
        },
        "exp_annotations": {"summary": f"cms/main: {summary}", "description": description,
                            "runbook_url": rule["annotations"]["runbook_url"]},
    }  # fmt: skip
    told = {"eval_time": "40m", "alertname": alert, "exp_alerts": [expected]}
    series = [line.written() for line in world]
    assert not judge(
        promtool, tmp_path, alerts(), [{"interval": "1m", "input_series": series, "alert_rule_test": [told]}]
    )


def test_how_a_proof_has_ended_is_told(promtool: Path, tmp_path: Path) -> None:
    role = {"name": "fastml.supersonic.verify", "tasks_from": "metrics", "rolespec_validate": False}
    tasks = [
        {"name": "Tell", "ansible.builtin.include_role": role,
         "vars": {"verify_metrics_file": f"{tmp_path}/{name}.prom", **more}}
        for name, more in (
            ("good", {}), ("bad", {"__verify_succeeded": False}), ("none", {"verify_metrics_file": ""}),
            # There is no such folder.
            ("lost", {"verify_metrics_file": "/proc/none/a.prom", "__verify_succeeded": False}),
            ("wrong", {"verify_metrics_file": "/proc/none/a.prom"}),
        )
    ]  # fmt: skip
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable,
            "supersonic_name": "main", "supersonic_namespace": "cms"}  # fmt: skip
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"main": host}}}))
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    done = run_playbook(tmp_path / "play.yml", tmp_path / "hosts.yml")
    # The last one alone.
    assert done.code != 0
    assert done.recap["main"]["failed"] == 1
    assert done.recap["main"]["ok"] >= 3
    assert not (tmp_path / "none.prom").exists()
    for name, value in (("good", 1), ("bad", 0)):
        text = (tmp_path / f"{name}.prom").read_text()
        command = [str(promtool), "check", "metrics"]
        checked = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        labels = '{namespace="cms",supersonic="main"}'
        assert f"\nsupersonic_verification_success{labels} {value}\n" in text
        (moment,) = re.findall(rf"^supersonic_verification_timestamp_seconds{labels} (\d+)$", text, re.M)
        assert abs(time.time() - int(moment)) < 600


# ---- what they say -------------------------------------------------------------------------------------------------
def test_every_alert_is_in_the_runbook() -> None:
    text = (CLONE / "docs" / "runbook.md").read_text()
    sections = re.findall(r"^### (Supersonic\w+)$", text, re.M)
    rules = [rule for rule in alerts() if "alert" in rule]
    assert sections == list(dict.fromkeys(rule["alert"] for rule in rules))
    for rule in rules:
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"].endswith(f"docs/runbook.md#{rule['alert'].lower()}")
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_patience_shortens_every_wait() -> None:
    usual, quick = service_alerts("main", "cms", **ALL), service_alerts("main", "cms", patience="0.01", **ALL)
    waits = [int(rule.get("for", "0s")[:-1]) for rule in usual]
    assert max(waits) == 600
    assert [int(rule.get("for", "0s")[:-1]) for rule in quick] == [-(-wait // 100) for wait in waits]
    windows = {int(found) for rule in quick for found in re.findall(r"\[(\d+)s\]", rule["expr"])}
    # Four evaluations at least, and three days are three quarters of an hour.
    assert min(windows - {10, 15}) == 20
    assert max(windows) == 2592


@pytest.mark.parametrize(
    ("retention", "windows"),
    [(0, {"1h", "6h", "3d"}), ("3d", {"1h", "6h", "3d"}), ("2d23h59m", {"1h", "6h"}), (1800, set())],
)
def test_no_window_is_longer_than_samples_are_kept(retention: float | str, windows: set[str]) -> None:
    rules = [rule for rule in alerts(retention=retention) if "Burns" in rule.get("alert", "")]
    assert {rule["labels"]["window"] for rule in rules} == windows


def test_latency_has_a_bucket_of_envoys_own() -> None:
    assert Objectives().latency_ms in LATENCY_BOUNDS


def test_the_filter_says_which_settings_there_are() -> None:
    path = CLONE / "plugins" / "filter" / "service_alerts.yml"
    options = yaml.safe_load(path.read_text())["DOCUMENTATION"]["options"]
    said = {key: option["default"] for key, option in options.items() if "default" in option}
    known = {item.name: item for item in dataclasses.fields(Alerts) if item.name not in ("namespace", "name")}
    assert set(said) == set(known)
    for key in set(known) - {"labels", "objectives", "ensembles", "models"}:
        assert said[key] == known[key].default, key
