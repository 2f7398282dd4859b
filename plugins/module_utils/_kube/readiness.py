# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Determines whether an object is ready and why not: pure functions over objects of the API.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import math
import re
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import (
    CRD,
    DAEMON_SET,
    DEPLOYMENT,
    JOB,
    NAMESPACE,
    POD,
    PVC,
    REPLICA_SET,
    STATEFUL_SET,
    GroupKind,
)

Object = Mapping[str, t.Any]

# How long a trouble may last before it counts as final. What a registry or the kubelet calls final needs no patience;
# quota can be freed by pods that are going, a missing Secret can be made by another controller.
_AT_ONCE = 0.0
_SHORT = 5.0
_SOME = 15.0
_LONG = 30.0
_FOR_EVER = math.inf
_CRASHES = 3
_SERVICE = GroupKind("", "Service")
_API_SERVICE = GroupKind("apiregistration.k8s.io", "APIService")
_GRPC_ROUTE = GroupKind("gateway.networking.k8s.io", "GRPCRoute")
_OPENSHIFT_ROUTE = GroupKind("route.openshift.io", "Route")
# Custom resources whose controller reports a Ready condition. Others may never get a status (ServiceMonitor), and
# waiting for one would only cost every run its time-out; if they do have such a condition, it counts.
_REPORTS_READY = frozenset(
    {
        GroupKind("keda.sh", "ScaledObject"),
        GroupKind("keda.sh", "ScaledJob"),
        GroupKind("cert-manager.io", "Certificate"),
        GroupKind("cert-manager.io", "Issuer"),
        GroupKind("cert-manager.io", "ClusterIssuer"),
        GroupKind("external-secrets.io", "ExternalSecret"),
        GroupKind("nvidia.com", "ClusterPolicy"),
    }
)
_FINAL_PULL = re.compile(
    r"not found|manifest unknown|denied|unauthorized|forbidden|invalid reference|no match for platform|no such image",
    re.IGNORECASE,
)
_PULL_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)


class Verdict(t.NamedTuple):
    """ready, or why not; final: waiting longer cannot help."""

    ready: bool
    why: str = ""
    final: bool = False


# Longer than a watch needs to tell of a condition, shorter than anybody needs to run a playbook again.
_NEW_SECONDS = 30.0
READY = Verdict(True)


@dataclass(frozen=True)
class Trouble:
    """Something that keeps a pod, or the creation of pods, from going well."""

    where: str
    text: str
    patience: float
    # What stays the same while the words change: patience counts from when it was first seen.
    what: str = ""
    container: str | None = None
    previous_log: bool = False
    wants_events: bool = False


def verdict(group_kind: GroupKind, live: Object, *, load_balancers: bool = False) -> Verdict:
    """Judge an object by itself."""
    check = _CHECKS.get(group_kind)
    if check:
        return check(live)
    if group_kind == _SERVICE:
        return _service(live, load_balancers)
    return _conditions(group_kind, live)


def troubles(pods: Iterable[Object]) -> list[Trouble]:
    """The problems of these pods."""
    found: list[Trouble] = []
    for pod in pods:
        if pod["metadata"].get("deletionTimestamp"):
            continue
        found += _pod_troubles(pod)
    return found


def creation_trouble(live: Object) -> Trouble | None:
    """A Deployment or ReplicaSet says in a condition that it cannot make pods (quota, policy, webhook)."""
    condition = condition_of(live, "ReplicaFailure")
    if condition and condition.get("status") == "True":
        return Trouble("", f"its pods cannot be created: {condition.get('message')}", _SOME)
    return None


def of_newest_revision(
    kind: GroupKind, live: Object, pods: Sequence[Object], template_hash: str | None
) -> list[Object]:
    """Only the pods that were made from the present template: the others are about to go."""
    label, value = "", None
    if kind == DEPLOYMENT:
        label, value = "pod-template-hash", template_hash
    elif kind == STATEFUL_SET:
        label, value = "controller-revision-hash", (live.get("status") or {}).get("updateRevision")
    elif kind == DAEMON_SET:
        annotations = live["metadata"].get("annotations") or {}
        label, value = "pod-template-generation", annotations.get("deprecated.daemonset.template.generation")
    if not value:
        return list(pods)
    return [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(label) == value]


def newest_template_hash(deployment: Object, replica_sets: Iterable[Object]) -> str | None:
    revision = _revision(deployment)
    for candidate in replica_sets:
        owners = candidate["metadata"].get("ownerReferences") or []
        ours = any(owner.get("uid") == deployment["metadata"].get("uid") for owner in owners)
        if ours and revision and _revision(candidate) == revision:
            return t.cast("str | None", (candidate["metadata"].get("labels") or {}).get("pod-template-hash"))
    return None


def selector(live: Object) -> str | None:
    """The label selector of a workload's pods as the API takes it in a query."""
    spec = (live.get("spec") or {}).get("selector") or {}
    parts = [f"{key}={value}" for key, value in (spec.get("matchLabels") or {}).items()]
    for rule in spec.get("matchExpressions") or []:
        operator, values = rule.get("operator"), ",".join(rule.get("values") or [])
        forms = {
            "In": f"{rule.get('key')} in ({values})",
            "NotIn": f"{rule.get('key')} notin ({values})",
            "Exists": f"{rule.get('key')}",
            "DoesNotExist": f"!{rule.get('key')}",
        }
        parts.append(forms[operator])
    return ",".join(parts) or None


def warning_events(events: Iterable[Object], names: Iterable[str], limit: int = 3) -> list[str]:
    """The last words of Warning events about these objects, each once."""
    wanted = set(names)
    chosen = [
        event
        for event in events
        if event.get("type") == "Warning" and (event.get("involvedObject") or {}).get("name") in wanted
    ]
    chosen.sort(key=_event_time)
    lines = [f"{event.get('reason')}: {str(event.get('message')).strip()}" for event in chosen]
    return list(dict.fromkeys(reversed(lines)))[:limit]


def probe_words(events: Iterable[Object], pod: str) -> str | None:
    """The last message of the kubelet about a failing probe of this pod."""
    lines = [line for line in warning_events(events, [pod], 10) if line.startswith("Unhealthy: ")]
    return lines[0].removeprefix("Unhealthy: ") if lines else None


def stuck_deletion(live: Object) -> str:
    """The reason why a deleted object still exists."""
    metadata = live["metadata"]
    if not metadata.get("deletionTimestamp"):
        return "its deletion has not begun"
    reasons = [
        str(condition.get("message"))
        for condition in (live.get("status") or {}).get("conditions") or []
        if condition.get("status") == "True"
        and str(condition.get("type", "")).startswith("Namespace")
        and condition.get("message")
    ]
    finalizers = [*(metadata.get("finalizers") or []), *((live.get("spec") or {}).get("finalizers") or [])]
    foreign = [name for name in finalizers if name not in ("foregroundDeletion", "kubernetes")]
    if foreign:
        reasons.insert(
            0,
            f"finalizers {', '.join(foreign)} are still set; the controllers that should remove them "
            "may be gone or failing",
        )
    elif "foregroundDeletion" in finalizers:
        reasons.insert(0, "objects that it owns are still there")
    return "; ".join(reasons) or "the API server still lists it"


def _pod_troubles(pod: Object) -> list[Trouble]:
    name = pod["metadata"]["name"]
    status = pod.get("status") or {}
    scheduled = condition_of(pod, "PodScheduled")
    if scheduled and scheduled.get("status") == "False":
        return [Trouble(name, f"cannot be scheduled: {scheduled.get('message') or scheduled.get('reason')}", _FOR_EVER)]
    if status.get("phase") == "Failed" and status.get("reason"):
        return [Trouble(name, f"failed: {status['reason']}: {status.get('message', '')}".rstrip(": "), _LONG)]
    specs = {c["name"]: c for kind in ("initContainers", "containers") for c in (pod.get("spec") or {}).get(kind) or []}
    found: list[Trouble] = []
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind) or []:
            trouble = _container_trouble(name, container, specs.get(container["name"]) or {})
            if trouble:
                found.append(trouble)
        if found:
            # Containers wait for the init containers: what they say would only repeat it.
            return found
    if status.get("phase") == "Pending" and scheduled:
        found.append(Trouble(name, "its containers have not been started", _FOR_EVER, wants_events=True))
    return found


def _container_trouble(pod: str, status: Object, spec: Object) -> Trouble | None:
    name = status["name"]
    state = status.get("state") or {}
    waiting = state.get("waiting") or {}
    reason, message = waiting.get("reason"), str(waiting.get("message") or "")
    last = (status.get("lastState") or {}).get("terminated") or {}
    restarts = int(status.get("restartCount") or 0)
    if reason in _PULL_REASONS:
        image = spec.get("image") or status.get("image")
        final = reason in ("InvalidImageName", "ErrImageNeverPull") or bool(_FINAL_PULL.search(message))
        text = f"the image {image} of container {name} cannot be pulled: {message or reason}"
        return Trouble(
            pod,
            text,
            _AT_ONCE if final else _LONG,
            f"pull {name}",
            wants_events="pull" not in message.partition(":")[2],
        )
    if reason in ("CreateContainerConfigError", "CreateContainerError"):
        return Trouble(pod, f"container {name} cannot be created: {message or reason}", _SOME, f"create {name}")
    if reason == "RunContainerError" or last.get("reason") in ("StartError", "ContainerCannotRun"):
        return Trouble(
            pod,
            f"container {name} cannot be started: {message or last.get('message') or reason}",
            _SHORT,
            f"start {name}",
        )
    terminated = state.get("terminated") or {}
    if reason == "CrashLoopBackOff" or (restarts and not status.get("ready") and last):
        text = f"container {name} {_ending(last, spec)}, restarted {restarts} times"
        patience = _FOR_EVER
        if reason == "CrashLoopBackOff" and (restarts >= _CRASHES or last.get("reason") == "OOMKilled"):
            patience = _AT_ONCE
        return Trouble(pod, text, patience, container=name, previous_log=True, wants_events=True)
    if terminated and terminated.get("exitCode"):
        return Trouble(pod, f"container {name} {_ending(terminated, spec)}", _FOR_EVER, container=name)
    if "running" in state and not status.get("ready") and "readinessProbe" in spec:
        return Trouble(pod, f"container {name} runs but is not ready", _FOR_EVER, container=name, wants_events=True)
    if "running" in state and status.get("started") is False and "startupProbe" in spec:
        return Trouble(pod, f"container {name} has not finished starting", _FOR_EVER, container=name, wants_events=True)
    return None


def _ending(terminated: Object, spec: Object) -> str:
    if terminated.get("reason") == "OOMKilled":
        limit = ((spec.get("resources") or {}).get("limits") or {}).get("memory")
        return f"was killed because it used more memory than its limit{f' of {limit}' if limit else ''} (OOMKilled)"
    code, signal = terminated.get("exitCode"), terminated.get("signal")
    if code is None:
        return "keeps ending"
    text = f"ended with exit code {code}" + (f" (signal {signal})" if signal else "")
    return text + (f": {str(terminated['message']).strip()}" if terminated.get("message") else "")


def _deployment(live: Object) -> Verdict:
    spec, status = live.get("spec") or {}, live.get("status") or {}
    if not observed(live):
        return Verdict(False, "its controller has not seen it yet")
    if spec.get("paused"):
        return READY
    wanted = int(spec.get("replicas", 1))
    updated, total = int(status.get("updatedReplicas") or 0), int(status.get("replicas") or 0)
    available = int(status.get("availableReplicas") or 0)
    if updated >= wanted and total <= updated and available >= updated:
        return READY
    progressing = condition_of(live, "Progressing") or {}
    # The condition of an earlier roll-out stays until there is progress: only a new one says something about this one.
    final = progressing.get("reason") == "ProgressDeadlineExceeded" and _age(progressing) < _NEW_SECONDS
    why = f"{updated} of {wanted} pods are up to date, {available} available"
    if total > updated:
        why += f", {total - updated} old ones not yet gone"
    if final:
        why += f"; no progress within {spec.get('progressDeadlineSeconds', 600)} s"
    return Verdict(False, why, final)


def _age(condition: Object) -> float:
    """Seconds since a condition was last confirmed; 0 where it does not say."""
    text = str(condition.get("lastUpdateTime") or "")
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()
    except ValueError:
        return 0.0


def _stateful_set(live: Object) -> Verdict:
    spec, status = live.get("spec") or {}, live.get("status") or {}
    if not observed(live):
        return Verdict(False, "its controller has not seen it yet")
    wanted = int(spec.get("replicas", 1))
    ready, updated = int(status.get("readyReplicas") or 0), int(status.get("updatedReplicas") or 0)
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return READY if ready >= wanted else Verdict(False, f"{ready} of {wanted} pods are ready")
    # A partition keeps the pods below it on the old revision on purpose.
    to_update = max(0, wanted - int((strategy.get("rollingUpdate") or {}).get("partition") or 0))
    current = status.get("currentRevision") == status.get("updateRevision")
    if ready >= wanted and (updated >= to_update if to_update < wanted else current or updated >= wanted):
        return READY
    return Verdict(False, f"{updated} of {to_update} pods are up to date, {ready} of {wanted} ready")


def _daemon_set(live: Object) -> Verdict:
    spec, status = live.get("spec") or {}, live.get("status") or {}
    if not observed(live):
        return Verdict(False, "its controller has not seen it yet")
    wanted = int(status.get("desiredNumberScheduled") or 0)
    updated, available = int(status.get("updatedNumberScheduled") or 0), int(status.get("numberAvailable") or 0)
    on_delete = (spec.get("updateStrategy") or {}).get("type") == "OnDelete"
    if available >= wanted and (on_delete or updated >= wanted):
        return READY
    return Verdict(False, f"{updated} of {wanted} pods are up to date, {available} available")


def _replica_set(live: Object) -> Verdict:
    wanted = int((live.get("spec") or {}).get("replicas", 1))
    available = int((live.get("status") or {}).get("availableReplicas") or 0)
    if observed(live) and available >= wanted:
        return READY
    return Verdict(False, f"{available} of {wanted} pods are available")


def _job(live: Object) -> Verdict:
    if (live.get("spec") or {}).get("suspend"):
        return READY
    done, failed = condition_of(live, "Complete"), condition_of(live, "Failed")
    if done and done.get("status") == "True":
        return READY
    if failed and failed.get("status") == "True":
        return Verdict(False, f"it failed: {failed.get('reason')}: {failed.get('message')}", True)
    status = live.get("status") or {}
    return Verdict(
        False,
        f"{int(status.get('succeeded') or 0)} of {(live.get('spec') or {}).get('completions', 1)} runs are complete, "
        f"{int(status.get('active') or 0)} active, {int(status.get('failed') or 0)} failed",
    )


def _pod(live: Object) -> Verdict:
    status = live.get("status") or {}
    if status.get("phase") == "Succeeded" or (condition_of(live, "Ready") or {}).get("status") == "True":
        return READY
    return Verdict(False, f"its phase is {status.get('phase', 'unknown')}", status.get("phase") == "Failed")


def _claim(live: Object) -> Verdict:
    phase = (live.get("status") or {}).get("phase")
    if phase == "Bound":
        return READY
    if phase == "Lost":
        return Verdict(False, "its volume is lost", True)
    name = (live.get("spec") or {}).get("storageClassName")
    return Verdict(False, f"no volume is bound to it (storage class: {name or 'none, and no default'})")


def _namespace(live: Object) -> Verdict:
    phase = (live.get("status") or {}).get("phase")
    return READY if phase == "Active" else Verdict(False, f"its phase is {phase}", phase == "Terminating")


def _definition(live: Object) -> Verdict:
    accepted, established = condition_of(live, "NamesAccepted"), condition_of(live, "Established")
    if established and established.get("status") == "True":
        return READY
    if accepted and accepted.get("status") == "False":
        return Verdict(False, f"its names are not accepted: {accepted.get('message')}", True)
    schema = condition_of(live, "NonStructuralSchema")
    if schema and schema.get("status") == "True":
        return Verdict(False, f"its schema is not structural: {schema.get('message')}", True)
    return Verdict(False, "it is not established yet")


def _available(live: Object) -> Verdict:
    condition = condition_of(live, "Available") or {}
    if condition.get("status") == "True":
        return READY
    return Verdict(False, f"not available: {condition.get('message') or 'its server has not answered yet'}")


def _grpc_route(live: Object) -> Verdict:
    return _not_refused(live, "parents", ("Accepted", "ResolvedRefs"), lambda entry: entry["parentRef"]["name"])


def _openshift_route(live: Object) -> Verdict:
    return _not_refused(live, "ingress", ("Admitted",), lambda entry: entry.get("routerName"))


def _not_refused(live: Object, entries: str, kinds: Iterable[str], name: Callable[[Object], t.Any]) -> Verdict:
    """Whether nobody whom a route is for has refused it. There may be nobody yet, which is no reason to wait."""
    for entry in (live.get("status") or {}).get(entries) or []:
        for condition in entry.get("conditions") or []:
            if condition.get("type") in kinds and condition.get("status") == "False":
                why = f"{condition.get('reason')}: {condition.get('message')}"
                return Verdict(False, f"{name(entry)} does not take it: {why}")
    return READY


def _service(live: Object, load_balancers: bool) -> Verdict:
    balancer = (live.get("status") or {}).get("loadBalancer") or {}
    if not load_balancers or (live.get("spec") or {}).get("type") != "LoadBalancer" or balancer.get("ingress"):
        return READY
    return Verdict(False, "no load balancer has given it an address")


def _conditions(group_kind: GroupKind, live: Object) -> Verdict:
    condition = condition_of(live, "Ready")
    if condition is None:
        return (
            READY if group_kind not in _REPORTS_READY else Verdict(False, "its controller has not reported on it yet")
        )
    observed = condition.get("observedGeneration")
    if isinstance(observed, int) and observed < int(live["metadata"].get("generation") or 0):
        return Verdict(False, "its controller has not seen the change yet")
    if condition.get("status") == "True":
        return READY
    return Verdict(False, f"not ready: {condition.get('reason')}: {condition.get('message')}")


_CHECKS: dict[GroupKind, Callable[[Object], Verdict]] = {
    DEPLOYMENT: _deployment,
    STATEFUL_SET: _stateful_set,
    DAEMON_SET: _daemon_set,
    REPLICA_SET: _replica_set,
    JOB: _job,
    POD: _pod,
    PVC: _claim,
    NAMESPACE: _namespace,
    CRD: _definition,
    _API_SERVICE: _available,
    _GRPC_ROUTE: _grpc_route,
    _OPENSHIFT_ROUTE: _openshift_route,
}


def observed(live: Object) -> bool:
    """The controller of a workload has seen its present specification."""
    seen = int((live.get("status") or {}).get("observedGeneration") or 0)
    return seen >= int(live["metadata"].get("generation") or 0)


def condition_of(live: Object, kind: str) -> Object | None:
    for condition in (live.get("status") or {}).get("conditions") or []:
        if condition.get("type") == kind:
            return t.cast("Object", condition)
    return None


def _revision(live: Object) -> str | None:
    annotations = live["metadata"].get("annotations") or {}
    return t.cast("str | None", annotations.get("deployment.kubernetes.io/revision"))


def _event_time(event: Object) -> str:
    return str(
        event.get("lastTimestamp")
        or (event.get("series") or {}).get("lastObservedTime")
        or event.get("eventTime")
        or event.get("firstTimestamp")
        or ""
    )
