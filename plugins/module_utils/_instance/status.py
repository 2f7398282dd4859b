# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the status of an instance from its cluster, servers, last verification and Prometheus. Read-only.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Every part is asked by itself. What could not be known has a reason instead, and the others are there all the same.
"""

from __future__ import annotations

import json
import math
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import ENVOY, TRITON, object_name
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._common.timestamp import stamp
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import server_info
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver, parse_targets
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import pause_annotations
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import segment
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.readiness import condition_of
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.replicas import BEFORE_BENCHMARK
from ansible_collections.fastml.supersonic.plugins.module_utils._models import model_servers
from ansible_collections.fastml.supersonic.plugins.module_utils._models import releases as model_releases
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import ClaimTarget
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.prometheus import (
    Prometheus,
    Rules,
    Scraped,
    look_at,
    look_at_rules,
    number,
    parse_address,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import (
    INSTANCE_LABEL,
    Queries,
    service_queries,
)

Found = dict[str, t.Any]
Points: t.TypeAlias = "list[tuple[float, float | None]]"

# What is drawn: every value of these at so many times.
SERIES = (
    "answer_rate",
    "client_latency",
    "client_latency_p99",
    "error_rate",
    "rejection_rate",
    "servers",
    "servers_reachable",
    "utilization",
)
ACCELERATORS = "accelerator_utilization"
POINTS = 120
# Of no meaning while nobody asks: they would be drawn as 0.
_OF_REQUESTS = ("client_latency", "client_latency_p99")
_KEDA = "/apis/keda.sh/v1alpha1"
_HPA = "/apis/autoscaling/v2"

# Options of modules that tell how an instance is, besides its name; documented in the fragment instance.told.
TOLD_SPEC: dict[str, t.Any] = {
    "cluster_domain": {"type": "str", "default": "cluster.local"},
    "address": {"type": "str", "default": ""},
    "report": {"type": "path"},
    "prometheus": {
        "type": "dict",
        "options": {
            "url": {"type": "str", "required": True},
            "token": {"type": "str", "no_log": True},
            "ca_certificates": {"type": "str"},
        },
    },
}


@dataclass(frozen=True)
class Wanted:
    """The instance, and where to look. window: seconds that are drawn."""

    namespace: str
    name: str
    address: str = ""
    claim: str = ""
    report: str = ""
    window: int = 3600
    timeout: float = 10.0
    domain: str = "cluster.local"

    def path(self, group: str, plural: str, name: str = "") -> str:
        path = f"{group}/namespaces/{segment(self.namespace)}/{plural}"
        return f"{path}/{segment(name)}" if name else path


def look(wanted: Wanted, resolver: Resolver, prometheus: Callable[[], Prometheus] | None) -> Found:
    """Everything, with a reason in `unknown` for each part that is not known."""
    unknown: dict[str, str] = {}
    found: Found = {
        "name": wanted.name,
        "namespace": wanted.namespace,
        "made": stamp(time.time()),
        "window": wanted.window,
        "reachable": True,
        "deployed": True,
        "why": "",
        "unknown": unknown,
    }
    pool = object_name(wanted.name, TRITON)
    try:
        deployment = resolver.api.find(
            wanted.path("/apis/apps/v1", "deployments", pool), f"Deployment {pool} in namespace {wanted.namespace}"
        )
    except SupersonicError as error:
        return {**found, "reachable": False, "deployed": None, "why": str(error)}
    if deployment is None and _nothing_is_there(wanted, resolver):
        why = f"the namespace {wanted.namespace} has neither its servers, nor its Envoys, nor its Service"
        return {**found, "deployed": False, "why": why}

    def part(name: str, ask: Callable[[], t.Any]) -> None:
        try:
            found[name] = ask()
        except (SupersonicError, KeyError, TypeError, ValueError) as error:
            found[name] = None
            unknown[name] = (
                str(error) if isinstance(error, SupersonicError) else f"the answer has another form: {error!r}"
            )

    if deployment is None:
        unknown["servers"] = f"there is no Deployment {pool} in the namespace {wanted.namespace}"
    part("servers", lambda: None if deployment is None else servers(wanted, resolver, deployment))
    part("envoys", lambda: envoys(wanted, resolver))
    part("endpoint", lambda: endpoint(wanted, resolver))
    part("autoscaler", lambda: autoscaler(wanted, resolver, deployment))
    part("release", lambda: release(wanted, resolver))
    part("verification", lambda: verification(wanted.report))
    if found["servers"]:
        _add_releases(found)
    if prometheus is None:
        unknown["traffic"] = "no Prometheus was named"
        found["traffic"] = None
        return found
    part("traffic", lambda: traffic(wanted, prometheus(), found["servers"]))
    if found["traffic"]:
        unknown.update(found["traffic"].pop("unknown"))
    return found


def _nothing_is_there(wanted: Wanted, resolver: Resolver) -> bool:
    """Whether Envoys and Service are missing too, as far as may be asked: it never was deployed, or is removed."""
    envoy = object_name(wanted.name, ENVOY)
    places = (
        (wanted.path("/apis/apps/v1", "deployments", envoy), f"Deployment {envoy}"),
        (wanted.path("/api/v1", "services", wanted.name), f"Service {wanted.name}"),
    )
    try:
        return all(resolver.api.find(path, what) is None for path, what in places)
    except SupersonicError:
        return False


# ---- in the cluster --------------------------------------------------------------------------------------------------
def servers(wanted: Wanted, resolver: Resolver, deployment: Mapping[str, t.Any]) -> Found:
    """The number of servers wanted and ready, and the metadata of each."""
    pool = {"namespace": wanted.namespace, "instance": wanted.name, "labels": None}
    pods = model_servers.pods_of(resolver.api, pool)
    asked = server_info.ask_all(
        parse_targets(
            [
                {
                    "name": "server",
                    "protocol": "http",
                    "selector": {"namespace": wanted.namespace, "labels": model_servers.labels_of(pool), "min": 0},
                }
            ]
        ),
        resolver,
        server_info.Wanted(models=None, config=True, statistics=False, timeout=wanted.timeout),
    )
    answers = {answer["target"].removeprefix("pod ").partition("/")[2].partition(" ")[0]: answer for answer in asked}
    each = [_server(pod, answers.get(pod["metadata"]["name"])) for pod in pods]
    status = deployment.get("status") or {}
    return {
        "wanted": int(deployment["spec"].get("replicas", 1)),
        "ready": int(status.get("readyReplicas") or 0),
        "answering": sum(server["answers"] for server in each),
        "image": deployment["spec"]["template"]["spec"]["containers"][0].get("image", ""),
        "versions": sorted({server["version"] for server in each if server["version"]}),
        "each": each,
        "models": _models(answers.values()),
        "ensembles": sorted(
            {
                model["name"]
                for answer in answers.values()
                for model in answer["models"]
                if (model.get("config") or {}).get("ensemble_scheduling")
                or (model.get("config") or {}).get("platform") == "ensemble"
            }
        ),
    }


def _server(pod: Mapping[str, t.Any], answer: Mapping[str, t.Any] | None) -> Found:
    ready = condition_of(pod, "Ready") or {}
    answers = answer is not None and answer["status"] == "ok"
    models = answer["models"] if answer is not None else []
    said = "" if answers else (answer or {}).get("message") or "it was not asked"
    return {
        "pod": pod["metadata"]["name"],
        "ready": ready.get("status") == "True",
        "answers": answers,
        "version": answer["version"] if answer is not None else "",
        "models": len({model["name"] for model in models if model["ready"]}),
        "node": (pod.get("spec") or {}).get("nodeName", ""),
        "release": None,
        "problems": [said] if said else [],
    }


def _models(answers: t.Iterable[Mapping[str, t.Any]]) -> list[Found]:
    """Each model: its versions, how many of the servers that answered have it ready, and why others do not."""
    found: dict[str, Found] = {}
    there = [answer for answer in answers if answer["status"] == "ok"]
    for answer in there:
        ready = set()
        for model in answer["models"]:
            entry = found.setdefault(
                model["name"], {"name": model["name"], "versions": set(), "servers": 0, "of": len(there), "reasons": []}
            )
            if model["ready"]:
                ready.add(model["name"])
                entry["versions"].add(model["version"])
            elif model["reason"] and model["reason"] not in entry["reasons"]:
                entry["reasons"].append(model["reason"])
        for name in ready:
            found[name]["servers"] += 1
    return [
        {**entry, "versions": sorted(entry["versions"], key=lambda version: version.zfill(20))}
        for _name, entry in sorted(found.items())
    ]


def _add_releases(found: Found) -> None:
    """The release that each server serves, beside what it says itself."""
    release = found["release"]
    if release is None:
        return
    told = {server["pod"]: server for server in release.pop("servers")}
    for server in found["servers"]["each"]:
        of = told.get(server["pod"]) or {}
        server["release"] = of.get("release")
        # That it does not run is told already.
        server["problems"] += [text for text in of.get("differences") or [] if "does not run" not in text]


def release(wanted: Wanted, resolver: Resolver) -> Found:
    """The current release of the claim, and the one of each server; without a claim what was noted on the servers."""
    pool = {"namespace": wanted.namespace, "instance": wanted.name, "labels": None, "index": False, "timeout": 5}
    if not wanted.claim:
        told = model_servers.running(resolver, pool, None, None)
        # Nothing to compare with: only those that were noted count.
        return {"current": None, "published": None, "servers": [{**each, "differences": []} for each in told]}
    place = ClaimTarget(resolver.api, wanted.namespace, wanted.claim, None)
    described = model_releases.describe(place, deep=False)
    current = next((item for item in described["releases"] if item["current"]), None)
    models = current["models"] if current else None
    name = described["current"]
    served = model_servers.Release(name, models or [], place.switched(), place.earlier()) if name else None
    return {
        "current": name,
        "published": current["published"] if current else None,
        "servers": model_servers.running(resolver, pool, served, None),
    }


def envoys(wanted: Wanted, resolver: Resolver) -> Found:
    """The number of Envoys wanted and ready."""
    name = object_name(wanted.name, ENVOY)
    deployment = resolver.api.find(wanted.path("/apis/apps/v1", "deployments", name), f"Deployment {name}")
    if deployment is None:
        raise SupersonicError(f"there is no Deployment {name} in the namespace {wanted.namespace}")
    image = deployment["spec"]["template"]["spec"]["containers"][0].get("image", "")
    return {
        "wanted": int(deployment["spec"].get("replicas", 1)),
        "ready": int((deployment.get("status") or {}).get("readyReplicas") or 0),
        "image": image,
        "version": (deployment["metadata"].get("labels") or {}).get("app.kubernetes.io/version", ""),
    }


def endpoint(wanted: Wanted, resolver: Resolver) -> Found:
    """The addresses of the endpoint: inside of the cluster, outside by its Service, and by the inventory."""
    service = resolver.api.find(wanted.path("/api/v1", "services", wanted.name), f"Service {wanted.name}")
    if service is None:
        raise SupersonicError(f"there is no Service {wanted.name} in the namespace {wanted.namespace}")
    spec = service["spec"]
    (port,) = [port for port in spec["ports"] if port.get("name") == "grpc"] or spec["ports"][:1]
    outside = []
    for place in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []:
        outside.append(f"{place.get('hostname') or place.get('ip')}:{port['port']}")
    if port.get("nodePort"):
        outside.append(f"port {port['nodePort']} of every node")
    return {
        "address": wanted.address,
        "inside": f"{wanted.name}.{wanted.namespace}.svc.{wanted.domain}:{port['port']}",
        "outside": outside,
        "type": spec.get("type", "ClusterIP"),
    }


def autoscaler(wanted: Wanted, resolver: Resolver, deployment: Mapping[str, t.Any] | None = None) -> Found:
    """The autoscaler of the servers, its limits, and the number that it wants now."""
    name = object_name(wanted.name, TRITON)
    scaled = resolver.api.find(wanted.path(_KEDA, "scaledobjects", name), f"ScaledObject {name}")
    if scaled is None:
        for hpa in resolver.api.list(wanted.path(_HPA, "horizontalpodautoscalers"), "HorizontalPodAutoscalers"):
            reference = hpa["spec"].get("scaleTargetRef") or {}
            if (reference.get("kind"), reference.get("name")) == ("Deployment", name):
                least = int(hpa["spec"].get("minReplicas", 1))
                return _scaler("HorizontalPodAutoscaler", hpa, least, int(hpa["spec"]["maxReplicas"]))
        pause = _pause(deployment, _replicas(deployment))
        text = "nobody; an operator holds the number of servers" if pause else "nobody; the number of servers is fixed"
        return {"kind": "", "text": text, "paused": pause is not None, "pause": pause, "problems": []}
    spec, status = scaled["spec"], scaled.get("status") or {}
    annotations = scaled["metadata"].get("annotations") or {}
    own = None
    if status.get("hpaName"):
        own = resolver.api.find(
            wanted.path(_HPA, "horizontalpodautoscalers", status["hpaName"]),
            f"HorizontalPodAutoscaler {status['hpaName']}",
        )
    least, most = int(spec.get("minReplicaCount") or 0), int(spec.get("maxReplicaCount", 100))
    found = _scaler("KEDA", own or {}, least, most)
    held = annotations.get("autoscaling.keda.sh/paused-replicas")
    if BEFORE_BENCHMARK in annotations:
        found.update(paused=True, text=f"{found['text']}; held by a benchmark")
    elif held is not None:
        found.update(
            paused=True, text=f"paused at {held} {'server' if held == '1' else 'servers'} (else {least} to {most})"
        )
    elif annotations.get("autoscaling.keda.sh/paused") == "true":
        found.update(paused=True, text=f"paused (else {least} to {most} servers)")
    found["pause"] = _pause(scaled, int(held) if held is not None and held.isdigit() else _replicas(deployment))
    if found["pause"]:
        found["text"] += "; by an operator"
    conditions = {entry.get("type"): entry for entry in status.get("conditions") or []}
    if (conditions.get("Ready") or {}).get("status") == "False":
        found["problems"].append(str(conditions["Ready"].get("message") or "the ScaledObject is not ready"))
    if (conditions.get("Fallback") or {}).get("status") == "True":
        found["problems"].append(str(conditions["Fallback"].get("message") or "its metric cannot be read"))
    if own is None and not found["paused"] and not found["problems"]:
        # Which KEDA makes at once, and again where somebody takes it away.
        found["problems"].append(
            f"there is no HorizontalPodAutoscaler for the ScaledObject {name}, which KEDA makes: its operator does not "
            "run, or does not watch the namespace"
        )
    return found


def _replicas(deployment: Mapping[str, t.Any] | None) -> int | None:
    return None if deployment is None else int(deployment["spec"].get("replicas", 1))


def _pause(live: Mapping[str, t.Any] | None, servers: int | None) -> Found | None:
    """The note of the operator who paused an instance, None if it is not paused. servers: the number it is held at."""
    noted = pause_annotations.note(live, pause_annotations.PAUSE)
    if noted is None:
        return None
    return {"servers": servers, "since": str(noted.get("since") or ""), "reason": str(noted.get("reason") or "")}


def _scaler(kind: str, hpa: Mapping[str, t.Any], least: int, most: int) -> Found:
    status = hpa.get("status") or {}
    wants = status.get("desiredReplicas")
    text = f"{least} to {most} servers"
    if wants is not None:
        text += f", wants {wants}"
    problems = [
        str(entry.get("message"))
        for entry in status.get("conditions") or []
        if entry.get("type") in ("ScalingActive", "AbleToScale")
        and entry.get("status") == "False"
        # Of a pool at zero that is how it is to be.
        and entry.get("reason") != "ScalingDisabled"
    ]
    return {
        "kind": kind,
        "minimum": least,
        "maximum": most,
        "wants": wants,
        "paused": False,
        "pause": None,
        "text": text,
        "problems": problems,
    }


# ---- the last proof --------------------------------------------------------------------------------------------------
def verification(path: str) -> Found:
    """The time and result of the last verification: the report of the role verify."""
    if not path:
        raise SupersonicError("no record: set verify_report, and verify writes one")
    try:
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
        passed, when = bool(report["passed"]), str(report["time"])
        checks = [
            {
                **{name: summary[name] for name in ("layer", "target", "protocol", "failed")},
                "passed": summary["checks"] - summary["failed"],
            }
            for summary in report.get("targets") or []
        ]
    except FileNotFoundError:
        raise SupersonicError(f"no record: {path} is not there yet; verify writes it") from None
    except OSError as error:
        raise SupersonicError(f"no record: {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SupersonicError(f"no record: {path} is no report of verify") from error
    return {"time": when, "passed": passed, "message": str(report.get("message") or ""), "checks": checks}


# ---- what was --------------------------------------------------------------------------------------------------------
def prometheus_of(options: Mapping[str, t.Any], resolver: Resolver, timeout: float) -> Prometheus:
    """The Prometheus of the options of a module. Raises SupersonicError where the instance has none."""
    if not options["url"]:
        raise SupersonicError(
            "no Prometheus is listed, neither in supersonic_components nor as supersonic_prometheus_url"
        )
    return Prometheus(
        parse_address(options["url"], None),
        resolver,
        token=options["token"] or "",
        authorities=options["ca_certificates"] or "",
        timeout=timeout,
    )


def traffic(wanted: Wanted, prometheus: Prometheus, pool: Mapping[str, t.Any] | None) -> Found:
    """The last hour as Prometheus has it, and the alerts that fire."""
    try:
        scraped = look_at(prometheus, wanted.namespace, wanted.name, None)
        if scraped.problems:
            raise SupersonicError(" ".join(scraped.problems))
        return _traffic(wanted, prometheus, scraped, (pool or {}).get("ensembles") or [])
    finally:
        prometheus.close()


def _traffic(wanted: Wanted, prometheus: Prometheus, scraped: Scraped, ensembles: Sequence[str]) -> Found:
    step = max(math.ceil(wanted.window / POINTS), 1)
    settings: dict[str, t.Any] = {
        "labels": scraped.labels,
        "scrape_interval": scraped.scrape_interval or 0,
        "ensembles": ensembles,
        "recorded": scraped.recorded,
    }
    # So long that nothing between two points is left out, and rates have the scrapes that they need.
    window = max(step, math.ceil(4 * (scraped.scrape_interval or 0)), 15)
    queries = service_queries(wanted.name, wanted.namespace, **settings, window=window)
    whole = service_queries(wanted.name, wanted.namespace, **settings, window=wanted.window)
    plain = Queries(wanted.namespace, wanted.name, labels=scraped.labels)
    # By its own clock.
    end = float(prometheus.query("time()", "its clock")["result"][1])
    span = {"start": f"{end - wanted.window:.3f}", "end": f"{end:.3f}", "step": str(step)}
    unknown: dict[str, str] = {}
    series: dict[str, Points] = {}
    for name in SERIES:
        series[name] = _points(prometheus, queries[name], span, name)
    series[ACCELERATORS] = _points(prometheus, plain.accelerator_utilization(), span, ACCELERATORS)
    asked = {at for at, value in series["answer_rate"] if value}
    for name in _OF_REQUESTS:
        series[name] = [(at, value if at in asked else None) for at, value in series[name]]
    accelerators = _accelerators(prometheus, plain)
    if not accelerators:
        unknown["accelerators"] = "no server tells of an accelerator (nv_gpu_utilization)"
    alerts: list[Found] | None = None
    try:
        rules = look_at_rules(prometheus, wanted.namespace, wanted.name)
    except SupersonicError as error:
        unknown["alerts"] = str(error)
    else:
        alerts = _firing(rules)
        if rules.problems or alerts is None:
            unknown["alerts"] = " ".join(rules.problems) or "Prometheus has no rules of alerts of this instance"
    return {
        "begin": end - wanted.window,
        "end": end,
        "step": step,
        "prometheus": str(prometheus.address),
        "scrape_interval": scraped.scrape_interval,
        "targets_down": len(scraped.down),
        "series": series,
        "hour": _hour(prometheus, whole, series),
        "accelerators": accelerators,
        "alerts": alerts,
        "unknown": unknown,
    }


def _points(prometheus: Prometheus, query: str, span: Mapping[str, str], name: str) -> Points:
    """The one series of a query at every time of a span; None where it had no value."""
    data = prometheus.get("/api/v1/query_range", {"query": query, **span}, f"the query of {name}")
    known = {round(float(at), 3): number(text) for series in data["result"][:1] for at, text in series["values"]}
    start, end, step = float(span["start"]), float(span["end"]), int(span["step"])
    times = [round(start + index * step, 3) for index in range(int((end - start) / step + 1e-6) + 1)]
    return [(at, known.get(at)) for at in times]


def _hour(prometheus: Prometheus, queries: Mapping[str, str], series: Mapping[str, Points]) -> Found:
    """Single numbers of the whole window: rates as means of the times that are known, latencies over all requests."""
    found: Found = {}
    for name in ("answer_rate", "error_rate", "rejection_rate", "utilization"):
        values = [value for _at, value in series[name] if value is not None]
        found[name] = math.fsum(values) / len(values) if values else None
    for name in _OF_REQUESTS:
        (value,) = [number(item["value"][1]) for item in prometheus.vector(queries[name], name)] or [None]
        found[name] = value if found["answer_rate"] else None
    return found


def _accelerators(prometheus: Prometheus, queries: Queries) -> list[Found]:
    found: dict[str, Found] = {}
    for item in prometheus.vector(queries.accelerators(), "the accelerators"):
        labels = item["metric"]
        name = labels.get("gpu_uuid", "")
        metric = labels["__name__"].removeprefix("nv_gpu_")
        found.setdefault(name, {"uuid": name})[metric] = number(item["value"][1])
    return [found[name] for name in sorted(found)]


def _firing(rules: Rules) -> list[Found] | None:
    """The alerts that fire; None where Prometheus has no rules of such alerts, so that none could."""
    if rules.groups is not None and not any(group["alerting"] for group in rules.groups):
        return None
    # Whose they are is known here.
    own = ("namespace", INSTANCE_LABEL, "severity")
    return [
        {**alert, "labels": {name: value for name, value in alert["labels"].items() if name not in own}}
        for alert in rules.alerts
        if alert["state"] == "firing"
    ]
