# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Client for Prometheus, by its URL or through the Kubernetes API if only the cluster reaches it.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Only /api/v1/query is needed, by GET: proxies in front of a site's Prometheus often let nothing else through. What
becomes of rules, and why targets are down, is told where they do.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
import statistics
import time
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlencode

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import (
    ENVOY,
    SCRAPED,
    TRITON,
    object_name,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import ApiError, segment
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring import http_client
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.http_client import Address, Web
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import (
    CLUSTERS,
    INSTANCE_LABEL,
    LABELS,
    Queries,
)

DEFAULT_PORT = "9090"
# What is read of how often targets are scraped.
_INTERVAL_SECONDS = 600
# The last ones: whoever has changed the interval wants to know the new one.
_SCRAPES_LOOKED_AT = 6
# Part by which an interval that is measured may be off the one that was set.
_INACCURACY = 0.05
_POLL_SECONDS = 1.0
# Those that every instance has, and all that are scraped.
PARTS = tuple(component.name for component in SCRAPED if not component.optional)
ALL_PARTS = tuple(component.name for component in SCRAPED)
# Factor by which pods may be scraped less often than rules are made for.
_RARE = 1.5
# Evaluations that may be missed, and what an answer may take, before rules count as stopped.
_MISSED, _ANSWER_SECONDS = 3, 5


def parse_address(url: str | None, service: Mapping[str, t.Any] | None) -> Address:
    """See http_client.parse_address()."""
    return http_client.parse_address(url, service, default_port=DEFAULT_PORT)


class Refused(SupersonicError):
    """It has answered, and would answer the same again."""


class Prometheus(Web):
    """One Prometheus. Raises SupersonicError for whatever goes wrong."""

    name = "Prometheus"

    def __init__(self, address: Address, resolver: Resolver, **options: t.Any) -> None:
        super().__init__(address, resolver, **options)
        self.warnings: dict[str, None] = {}

    def query(self, expression: str, what: str = "") -> dict[str, t.Any]:
        """The data of an answer: resultType and result."""
        return self.get("/api/v1/query", {"query": expression}, what or f"the query {expression}")

    def vector(self, expression: str, what: str = "") -> list[dict[str, t.Any]]:
        """The series of an instant vector, {"metric", "value"}."""
        found: list[dict[str, t.Any]] = self.query(expression, what)["result"]
        return found

    def get(self, path: str, query: Mapping[str, str | Sequence[str]], what: str) -> dict[str, t.Any]:
        status, headers, body = self.request(f"{self.address.path}{path}?{urlencode(query, doseq=True)}")
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if status < 300 and isinstance(answer, dict) and answer.get("status") == "success":
            for text in answer.get("warnings") or []:
                self.warnings[str(text)] = None
            return t.cast("dict[str, t.Any]", answer["data"])
        # What is in front of it answers for it while it starts.
        kind = Refused if status < 500 else SupersonicError
        raise kind(self._sentence(status, headers, answer, body, what))

    def _sentence(self, status: int, headers: Mapping[str, str], answer: t.Any, body: bytes, what: str) -> str:
        where = f"Prometheus ({self.address})"
        if isinstance(answer, dict) and answer.get("error") and status not in (401, 403):
            return f"{where} refuses {what}: {answer['error']}."
        if status in (401, 403):
            sent = "does not accept the token" if "Authorization" in self.headers else "wants a token (token)"
            return f"{where} {sent}: it answered {status} to {what}."
        if 300 <= status < 400:
            place = headers.get("Location", "elsewhere")
            return f"{where} sends us to {place}: is a log-in in front of it? Give the URL behind it."
        if status < 300 or status == 404:
            return f"{where} has no API of Prometheus there (status {status}). Correct the URL, its path included."
        return f"{where} answered {status} to {what}: {body[:300].decode(errors='replace').strip()}"


class Known(t.NamedTuple):
    """The number of a namespace's targets in a Prometheus, and a sentence about it."""

    text: str
    targets: int


def knows(prometheus: Prometheus, namespace: str) -> Known:
    """Whether it answers and has targets of a namespace; what it calls that label, sites choose."""
    labels = (LABELS["namespace"], "kubernetes_namespace", "exported_namespace")
    query = " or ".join(f'label_replace(count(up{{{name}="{namespace}"}}), "by", "{name}", "", "")' for name in labels)
    series = prometheus.vector(query, "whether it knows the namespace")
    found = {item["metric"].get("by", ""): int(float(item["value"][1])) for item in series}
    if not found:
        return Known(
            f"It answers, and scrapes nothing in the namespace {namespace}. Whether it finds the instance is told "
            "when that is deployed, and by verify.",
            0,
        )
    label, number = max(found.items(), key=lambda item: item[1])
    return Known(f"It answers, and scrapes {number} target(s) in the namespace {namespace} (label {label}).", number)


# ---- answers ---------------------------------------------------------------------------------------------------------
def number(text: str) -> float | None:
    """A sample as JSON can carry it: what is no number is None."""
    value = float(text)
    return value if math.isfinite(value) else None


def result(data: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """{"value", "series"}: the value of an answer that is a single one, and all of them with their labels."""
    kind, found = data["resultType"], data["result"]
    if kind in ("scalar", "string"):
        pairs: list[tuple[dict[str, str], list[t.Any]]] = [({}, found)]
    elif kind == "vector":
        pairs = [(item["metric"], item.get("value") or [0, "NaN"]) for item in found]
    else:
        raise SupersonicError(f"A query gave a {kind}; only those that give one value for each series are of use here.")
    series = [
        {"labels": labels, "value": None if kind == "string" else number(sample[1]), "text": str(sample[1])}
        for labels, sample in pairs
    ]
    return {"value": series[0]["value"] if len(series) == 1 else None, "series": series}


# ---- rules and alerts ------------------------------------------------------------------------------------------------
@dataclass
class Rules:
    """The state of the rules of an instance in Prometheus.

    groups: None where Prometheus does not tell; alerts: those that fire or are about to, where there are any.
    """

    groups: list[dict[str, t.Any]] | None = None
    alerts: list[dict[str, t.Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def as_result(self) -> dict[str, t.Any]:
        return {"groups": self.groups, "problems": self.problems}


def look_at_rules(prometheus: Prometheus, namespace: str, name: str) -> Rules:
    """The rules of the role prometheus, by the labels that they have."""
    ours = {"namespace": namespace, INSTANCE_LABEL: name}
    names = [f"supersonic-{name}", f"supersonic-{name}-alerts"]
    try:
        # Older ones do not choose by name, and tell all.
        told = prometheus.get("/api/v1/rules", {"rule_group[]": names}, "its rules")["groups"]
    except SupersonicError as error:
        where = ",".join(f'{key}="{value}"' for key, value in ours.items())
        return Rules(None, _alerts_by_query(prometheus, where), [f"What its rules do is not known: {error}"])
    found = Rules([])
    groups = t.cast("list[dict[str, t.Any]]", found.groups)
    now = float(prometheus.query("time()")["result"][1])
    for group in told:
        rules = [rule for rule in group["rules"] if ours.items() <= (rule.get("labels") or {}).items()]
        if not rules:
            continue
        evaluated = _moment(group.get("lastEvaluation", ""))
        errors = {str(rule["name"]): str(rule["lastError"]) for rule in rules if rule.get("lastError")}
        groups.append(
            {
                "name": group["name"],
                "interval": float(group["interval"]),
                "evaluated_ago": None if evaluated is None else round(max(0.0, now - evaluated), 3),
                "recording": sum(rule["type"] == "recording" for rule in rules),
                "alerting": sum(rule["type"] == "alerting" for rule in rules),
                "errors": errors,
            }
        )
        for rule in rules:
            found.alerts += [_alert(rule["name"], alert) for alert in rule.get("alerts") or []]
    found.alerts.sort(key=_urgency)
    found.problems += _rule_problems(prometheus, f"the instance {name} in the namespace {namespace}", groups)
    return found


def _rule_problems(prometheus: Prometheus, where: str, groups: Sequence[Mapping[str, t.Any]]) -> Iterator[str]:
    who = f"Prometheus ({prometheus.address})"
    if not groups:
        yield (
            f"{who} has no rules of {where}: nothing is recorded, and nobody is told of anything. Have it read those "
            "of the role prometheus (prometheus_rule)."
        )
    for group in groups:
        ago, interval = group["evaluated_ago"], group["interval"]
        if ago is None:
            yield f"{who} has not yet evaluated the rules {group['name']} of {where}."
        elif ago > _MISSED * interval + _ANSWER_SECONDS:
            yield (
                f"{who} has last evaluated the rules {group['name']} of {where} {ago:.0f} s ago, and should every "
                f"{interval:g} s."
            )
        for rule, error in group["errors"].items():
            yield f"{who} cannot evaluate the rule {rule} of {where}: {error}."


def _alert(name: str, alert: Mapping[str, t.Any]) -> dict[str, t.Any]:
    annotations = alert.get("annotations") or {}
    return {
        "name": name,
        "state": alert["state"],
        "severity": alert["labels"].get("severity", ""),
        "since": alert.get("activeAt", ""),
        "labels": {key: value for key, value in alert["labels"].items() if key != "alertname"},
        **{key: annotations.get(key, "") for key in ("summary", "description", "runbook_url")},
    }


def _urgency(alert: Mapping[str, t.Any]) -> tuple[bool, bool, str, str]:
    labels = str(sorted(alert["labels"].items()))
    return alert["state"] != "firing", alert["severity"] != "critical", alert["name"], labels


def _alerts_by_query(prometheus: Prometheus, matchers: str) -> list[dict[str, t.Any]]:
    """The same without words."""
    begun = {}
    for item in prometheus.vector(f"ALERTS_FOR_STATE{{{matchers}}}", "the begin of alerts"):
        labels = {key: value for key, value in item["metric"].items() if key != "__name__"}
        moment = datetime.fromtimestamp(float(item["value"][1]), UTC)
        begun[tuple(sorted(labels.items()))] = moment.isoformat().replace("+00:00", "Z")
    found = []
    for item in prometheus.vector(f"ALERTS{{{matchers}}}", "the alerts of the instance"):
        labels = {key: value for key, value in item["metric"].items() if key not in ("__name__", "alertstate")}
        since = begun.get(tuple(sorted(labels.items())), "")
        alert = {"state": item["metric"]["alertstate"], "labels": labels, "activeAt": since}
        found.append(_alert(labels["alertname"], alert))
    return sorted(found, key=_urgency)


def _moment(text: str) -> float | None:
    """Seconds of a time such as 2026-11-27T20:45:19.123456789Z; None for the one that stands for never."""
    match = re.fullmatch(r"(\d{4})(-\d\d-\d\dT[\d:]{8})(\.\d+)?(Z|[+-]\d\d:\d\d)", text)
    if not match or match[1] == "0001":
        return None
    whole = datetime.fromisoformat(match[1] + match[2] + match[4].replace("Z", "+00:00"))
    return whole.timestamp() + float(match[3] or 0)


# ---- an instance -----------------------------------------------------------------------------------------------------
@dataclass
class Scraped:
    """The scraping of the pods of an instance.

    deployed: whether it has an Envoy that is ready; recorded: whether what its servers compute is recorded by rules.
    """

    deployed: bool = True
    labels: dict[str, str] = field(default_factory=lambda: dict(LABELS))
    scrape_interval: float | None = None
    recorded: bool = False
    up: list[dict[str, t.Any]] = field(default_factory=list)
    down: list[dict[str, t.Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    rules: Rules = field(default_factory=Rules)

    def as_result(self) -> dict[str, t.Any]:
        return {
            "deployed": self.deployed,
            "labels": self.labels,
            "scrape_interval": self.scrape_interval,
            "recorded": self.recorded,
            "targets_up": self.up,
            "targets_down": self.down,
            "pods_missing": self.missing,
        }


def pod_pattern(name: str, parts: Sequence[str] = PARTS) -> str:
    """The names that the pods of an instance have, as a regular expression for a whole name."""
    return f"{name}-({'|'.join(parts)})-[a-z0-9]+-[a-z0-9]+"


def look_up_labels(metrics: Iterable[Mapping[str, str]], namespace: str, name: str) -> dict[str, str] | None:
    """The names of the labels with the namespace and the pod, by series of an instance's Envoys."""
    pattern = re.compile(pod_pattern(name, ["envoy"]))
    for labels in metrics:
        pods = [key for key, value in labels.items() if pattern.fullmatch(value)]
        places = [key for key, value in labels.items() if value == namespace]
        if pods and places:
            return {
                "namespace": min(places, key=lambda key: ("namespace" not in key, key.startswith("exported_"), key)),
                "pod": min(pods, key=lambda key: ("pod" not in key, key.startswith("exported_"), key)),
            }
    return None


def interval(matrix: Iterable[Mapping[str, t.Any]]) -> float | None:
    """Seconds between scrapes, of the targets that are scraped least often; None where nobody can say yet."""
    found = []
    for series in matrix:
        times = [float(sample[0]) for sample in series.get("values") or []]
        steps = [later - earlier for earlier, later in itertools.pairwise(times[-_SCRAPES_LOOKED_AT:])]
        if steps:
            found.append(statistics.median(steps))
    return _as_set(max(found)) if found else None


def _as_set(seconds: float) -> float:
    """The scrape interval in whole seconds, rounded from the measured one."""
    whole = round(seconds)
    return float(whole) if abs(seconds - whole) <= _INACCURACY * whole else round(seconds, 3)


def look_at(
    prometheus: Prometheus,
    namespace: str,
    name: str,
    pods: Mapping[str, str] | None,
    parts: Sequence[str] = PARTS,
) -> Scraped:
    """The scraping of the components. pods: the ready ones and the component of each, None if not known."""
    found = Scraped(deployed=pods is None or "envoy" in pods.values())
    if not found.deployed:
        return found
    where = f"the instance {name} in the namespace {namespace}"
    labels = _labels(prometheus, namespace, name)
    if labels is None:
        found.missing = sorted(pods or ())
        found.problems.append(
            f"Prometheus ({prometheus.address}) has no metrics of the Envoys of {where}: nothing scrapes its pods, or "
            f"their names and namespace are in no label. Have it scrape the ports called metrics of the pods "
            f"{object_name(name, ENVOY)}-* and {object_name(name, TRITON)}-*, for instance by "
            "PodMonitors (prometheus_pod_monitor)."
        )
        return found
    found.labels = labels
    rule = Queries(namespace, name).record("requests_in_compute")
    found.recorded = bool(prometheus.vector(rule, "what rules have recorded of the instance"))
    selector = f'up{{{labels["namespace"]}="{namespace}",{labels["pod"]}=~"{pod_pattern(name, parts)}"}}'
    targets = prometheus.vector(selector, "the targets of the instance")
    if not targets:
        found.problems.append(
            f"Prometheus ({prometheus.address}) has metrics of {where}, but its series 'up' have no labels "
            f"{labels['namespace']} and {labels['pod']}. Give them to the targets (relabel_configs), not to the "
            "metrics alone (metric_relabel_configs)."
        )
        return found
    for item in targets:
        metric = item["metric"]
        more = {key: metric.get(key, "") for key in ("instance", "job", "container", "node")}
        target = {"pod": metric[labels["pod"]], **more}
        (found.up if float(item["value"][1]) == 1 else found.down).append(target)
    for group in (found.up, found.down):
        group.sort(key=lambda target: (target["pod"], target["instance"], target["job"]))
    found.scrape_interval = interval(prometheus.query(f"{selector}[{_INTERVAL_SECONDS}s]")["result"])
    found.problems += _counted_twice(found.up)
    scraped = {target["pod"] for target in found.up}
    if pods is not None:
        found.missing = sorted(set(pods) - scraped)
        # Pods that have gone stay for a while with nobody to answer; they are no news.
        found.down = [target for target in found.down if target["pod"] in pods]
    if found.down:
        _add_errors(prometheus, found.down)
    for part in parts:
        ready = [pod for pod, of in (pods or {}).items() if of == part]
        if ready and not scraped.intersection(ready):
            errors = {target["error"] for target in found.down if target["pod"] in ready and target.get("error")}
            reason = f": {'; '.join(sorted(errors))}" if errors else ""
            # Tempo lets in the Prometheus of its instance alone.
            who = f" ({part.replace('-', '_')}_metrics_from)" if part != "tempo" else ""
            found.problems.append(
                f"Prometheus ({prometheus.address}) reaches none of the {len(ready)} ready pods {name}-{part}-* of "
                f"{where}{reason}. Have it scrape their ports called metrics, and let it in{who}."
            )
    return found


def _labels(prometheus: Prometheus, namespace: str, name: str) -> dict[str, str] | None:
    """Those that everybody has are asked for first: of a large site's Envoys all would come else."""
    clusters = f'envoy_cluster_name=~"{CLUSTERS}"'
    usual = f'{LABELS["namespace"]}="{namespace}",{LABELS["pod"]}=~"{pod_pattern(name, ["envoy"])}"'
    for matchers in (f"{usual},{clusters}", clusters):
        series = prometheus.vector(f"envoy_cluster_membership_total{{{matchers}}}", "the metrics of Envoys")
        found = look_up_labels((item["metric"] for item in series), namespace, name)
        if found:
            return found
    return None


def _counted_twice(targets: Sequence[Mapping[str, t.Any]]) -> list[str]:
    jobs: dict[tuple[str, str], list[str]] = {}
    for target in targets:
        jobs.setdefault((target["pod"], target["instance"]), []).append(target["job"])
    for (pod, instance), names in sorted(jobs.items()):
        if len(names) > 1:
            who = f"the jobs {' and '.join(sorted(set(names)))}" if len(set(names)) > 1 else f"{len(names)} replicas"
            return [
                f"The pod {pod} ({instance}) is there by {who}, so that whatever is added up counts several times. "
                "Leave one of them, or ask a Prometheus that tells replicas apart."
            ]
    return []


def _add_errors(prometheus: Prometheus, targets: Iterable[dict[str, t.Any]]) -> None:
    """Add the errors of targets that are down."""
    with contextlib.suppress(SupersonicError, KeyError, TypeError):
        known = prometheus.get("/api/v1/targets", {"state": "active"}, "its targets")["activeTargets"]
        errors = {(item["labels"].get("job"), item["labels"].get("instance")): item["lastError"] for item in known}
        for target in targets:
            target["error"] = errors.get((target["job"], target["instance"]), "")


def ready_pods(resolver: Resolver, namespace: str, name: str, parts: Sequence[str] = PARTS) -> dict[str, str]:
    """The pods of these parts of an instance that are ready and stay, and the part of each."""
    pods = resolver.api.list(
        f"/api/v1/namespaces/{segment(namespace)}/pods",
        f"pods of the instance {name}",
        {"labelSelector": f"app.kubernetes.io/instance={name},app.kubernetes.io/component in ({','.join(parts)})"},
    )
    return {
        str(pod["metadata"]["name"]): str(pod["metadata"]["labels"]["app.kubernetes.io/component"])
        for pod in pods
        if not pod["metadata"].get("deletionTimestamp")
        and any(
            condition.get("type") == "Ready" and condition.get("status") == "True"
            for condition in (pod.get("status") or {}).get("conditions") or []
        )
    }


def _too_rare(prometheus: Prometheus, found: Scraped, wanted: float) -> Iterator[str]:
    measured = found.scrape_interval or 0
    if wanted and measured > _RARE * wanted:
        yield (
            f"Prometheus ({prometheus.address}) scrapes the instance every {measured:g} s, but its rules are made for "
            f"every {wanted:g} s: quantities and alerts would have gaps. Set prometheus_scrape_interval to "
            f"{math.ceil(measured)}, or have it scraped more often."
        )


def wait_until_scraped(
    prometheus: Prometheus, resolver: Resolver, instance: Mapping[str, t.Any], seconds: float
) -> Scraped:
    """Poll until every ready pod is scraped and its interval is known, or the timeout ends."""
    limit = time.monotonic() + seconds
    while True:
        failure: SupersonicError | None = None
        found = Scraped()
        try:
            namespace, name, parts = instance["namespace"], instance["name"], instance.get("parts") or PARTS
            pods = ready_pods(resolver, namespace, name, parts) if instance.get("pods", True) else None
            found = look_at(prometheus, namespace, name, pods, parts)
            if found.deployed or instance.get("rules"):
                found.rules = look_at_rules(prometheus, namespace, name)
            # Who tells nothing of rules still has what they record.
            if instance.get("rules") and not (found.rules.groups is None and found.recorded):
                found.problems += found.rules.problems
            found.problems += _too_rare(prometheus, found, instance.get("scrape_interval") or 0)
        except Refused:
            raise
        except SupersonicError as error:
            # Rights do not come by waiting.
            if isinstance(error, ApiError) and error.status == 403:
                raise
            failure = error
        known = found.scrape_interval is not None or not found.deployed
        done = failure is None and not found.problems and not found.missing and known
        if done or time.monotonic() + _POLL_SECONDS > limit:
            if failure:
                raise failure
            return found
        time.sleep(_POLL_SECONDS)
