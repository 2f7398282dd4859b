# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the release that running servers serve, from their pods and their index of models.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import math
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import server_info
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import (
    Resolver,
    is_leaving,
    parse_targets,
    why_not_running,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, segment
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.readiness import condition_of
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import Models
from ansible_collections.fastml.supersonic.plugins.module_utils._models.releases import differences
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store_pod import MANAGER, seconds_of

# What the role triton writes into the pods' template, or a roll-out on a running pod.
SERVED_ANNOTATION = "supersonic.fastml.org/model-release"
# Which content of each model a server has, so that only what has changed is loaded.
CONTENT_ANNOTATION = "supersonic.fastml.org/model-contents"
# The switch that a template was written after, where that makes a difference: seconds since 1970 as on the claim.
SWITCH_ANNOTATION = "supersonic.fastml.org/model-switch"
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_CONTAINER = "triton"
# So far may the clock of a node be from that of the API server.
_SKEW_SECONDS = 30.0
# A switch is noted with a time that is never too early, and so much too late at most.
_LATE_SECONDS = 3.0

Contents = dict[str, str]

_POOL: dict[str, t.Any] = {
    "namespace": {"type": "str", "required": True},
    "instance": {"type": "str"},
    "labels": {"type": "dict"},
}
_EITHER: dict[str, t.Any] = {
    "mutually_exclusive": [("instance", "labels")],
    "required_one_of": [("instance", "labels")],
}
POOL_SPEC: dict[str, t.Any] = {"type": "dict", "required": True, "options": _POOL, **_EITHER}
SERVERS_SPEC: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        **_POOL,
        "index": {"type": "bool", "default": False},
        "timeout": {"type": "float", "default": 5},
    },
    **_EITHER,
}


def contents_of(models: Models) -> Contents:
    """The digest of each model."""
    return {model["name"]: model["digest"] for model in models}


@dataclass(frozen=True)
class Release:
    """The current release of a store."""

    name: str
    models: Models
    # Seconds since 1970 when servers could read it first, by the clock of what keeps the store; None: not known.
    since: float | None
    # What was current before, since when, and its models if they are known; the latest first.
    earlier: Sequence[tuple[str, float, Models | None]] = ()

    @property
    def contents(self) -> Contents:
        return contents_of(self.models)


def labels_of(servers: Mapping[str, t.Any]) -> dict[str, str]:
    """The labels that pods of the pool have; an instance's are in the naming contract."""
    if servers["instance"]:
        return {
            "app.kubernetes.io/name": "supersonic",
            "app.kubernetes.io/instance": servers["instance"],
            "app.kubernetes.io/component": "triton",
        }
    if not servers["labels"]:
        raise SupersonicError("servers.labels is empty; it would take every pod of the namespace.")
    return {str(name): str(value) for name, value in servers["labels"].items()}


def pods_of(api: Api, servers: Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The pods of a pool by name, without those that are on their way out."""
    namespace = servers["namespace"]
    query = {"labelSelector": ",".join(f"{name}={value}" for name, value in sorted(labels_of(servers).items()))}
    pods = api.list(f"/api/v1/namespaces/{segment(namespace)}/pods", f"pods in namespace {namespace}", query)
    return sorted((pod for pod in pods if not is_leaving(pod)), key=lambda pod: str(pod["metadata"]["name"]))


def running(
    resolver: Resolver,
    servers: Mapping[str, t.Any],
    current: Release | None,
    models: Models | None,
) -> list[dict[str, t.Any]]:
    """Every server of a pool, with its release and how it differs from the current one; without models: not known.

    servers: as SERVERS_SPEC; again: seconds for a second answer of those that did not give the first in its time.
    """
    found = [server(pod, current) for pod in pods_of(resolver.api, servers)]
    if servers["index"] and models is not None and any(item["running"] for item in found):
        answers = _ask_patiently(resolver, servers, [item["pod"] for item in found if item["running"]])
        for item in found:
            answer = answers.get(item["pod"])
            if not item["running"]:
                continue
            if answer is not None and answer["status"] == "ok":
                item["differences"] += differences(models, answer["models"])
            else:
                item["silence"] = (
                    f"the server does not answer: {answer['message']}"
                    if answer
                    else "the server was not asked: it came or went meanwhile"
                )
                item["differences"].append(item["silence"])
    return found


def server(pod: Mapping[str, t.Any], current: Release | None) -> dict[str, t.Any]:
    """The release of one pod."""
    annotations = pod["metadata"].get("annotations") or {}
    state = state_of(pod, current) if current else State(annotations.get(SERVED_ANNOTATION), {})
    release, taken = state.release, None
    reason = why_not_running(pod)
    found = []
    if reason:
        found.append(f"the server does not run: {reason}")
    if state.between and current:
        wanted = current.contents
        taken = {"models": sum(state.contents.get(name) == wanted[name] for name in wanted), "of": len(wanted)}
        found.append(f"in between: {taken['models']} of {taken['of']} models of the release {current.name}")
    elif release is None:
        found.append("nothing says which release it has read")
    elif current is None or release != current.name:
        found.append(f"serves the release {release}, not the current one")
    return {
        "pod": pod["metadata"]["name"],
        "running": reason is None,
        "release": release,
        "taken": taken,
        "current": release is not None and current is not None and release == current.name,
        "differences": found,
        "silence": "",
    }


class State(t.NamedTuple):
    """The release that a server serves, and the contents of its models; nothing where that is not known.

    between: a roll-out has brought it these contents, and not yet all of a release.
    """

    release: str | None
    contents: Contents
    between: bool = False


def state_of(pod: Mapping[str, t.Any], current: Release) -> State:
    """The release that a server serves, by the notes on its pod and the time at which it read the store."""
    metadata = pod["metadata"]
    annotations = metadata.get("annotations") or {}
    noted, reading = _noted(metadata), _reading(pod)
    if noted is None:
        return _read(reading, current, annotations)
    # A roll-out has brought it what it noted; one that was started anew since has read the store again.
    if reading.restarted and reading.begun >= noted:
        return _read(reading, current, {})
    try:
        known = json.loads(annotations.get(CONTENT_ANNOTATION) or "{}")
    except ValueError:
        known = {}
    served = annotations.get(SERVED_ANNOTATION)
    return State(served, known, between=served is None)


class _Reading(t.NamedTuple):
    """The time at which a server read the store, in seconds since 1970 by the clock of the API server.

    It has begun between earliest and begun, and had ended at done; infinite: perhaps it still reads.
    """

    earliest: float
    begun: float
    done: float
    restarted: bool


def _reading(pod: Mapping[str, t.Any]) -> _Reading:
    metadata = pod["metadata"]
    created = seconds_of(metadata["creationTimestamp"])
    status = status_of(pod)
    restarted = bool(status.get("restartCount"))
    running = (status.get("state") or {}).get("running") or {}
    if "startedAt" not in running:
        return _Reading(created, math.inf, math.inf, restarted)
    # What the pod says now was written by then. Kubernetes says whole seconds, cut off.
    fields = metadata.get("managedFields") or []
    written = [
        seconds_of(entry["time"]) for entry in fields if entry.get("subresource") == "status" and "time" in entry
    ]
    known = max(written, default=math.inf) + 1
    # By the clock of its node.
    started = seconds_of(running["startedAt"])
    begun = min(started + _SKEW_SECONDS, known)
    earliest = max(created, started - _SKEW_SECONDS)
    if earliest > begun:
        # That clock is wrong altogether.
        earliest, begun = created, known
    ready = condition_of(pod, "Ready") or {}
    done = math.inf
    if ready.get("status") == "True" and "lastTransitionTime" in ready:
        done = max(begun, min(seconds_of(ready["lastTransitionTime"]) + _SKEW_SECONDS, known))
    return _Reading(earliest, begun, done, restarted)


def _read(reading: _Reading, current: Release, annotations: Mapping[str, str]) -> State:
    """The state of a server, by the release that was current while it read the store, if it can only be one.

    annotations: those of the template that it was made from. They say what was wanted when that was written, which was
    after a switch to it.
    """
    wanted, written = annotations.get(SERVED_ANNOTATION), _number(annotations.get(SWITCH_ANNOTATION))
    possible: dict[str | None, Contents] = {}
    for name, since, models in ((current.name, current.since, current.models), *current.earlier):
        if since is None:
            break
        if reading.done >= since - _LATE_SECONDS:
            possible[name] = contents_of(models or [])
        late = _LATE_SECONDS if written is None and name == wanted else 0.0
        if reading.earliest > since - late or (written is not None and written >= since):
            break
    else:
        # Older than every switch that is known.
        possible[None] = {}
    if not possible.keys() - {None, wanted}:
        # Nobody knows better than the template.
        return State(wanted, possible.get(wanted, {}))
    return State(*possible.popitem()) if len(possible) == 1 else State(None, {})


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def has_started(pod: Mapping[str, t.Any]) -> bool:
    """Whether the server has begun to read models."""
    status = status_of(pod)
    return bool((status.get("state") or {}).get("running") or status.get("restartCount"))


def container_of(pod: Mapping[str, t.Any]) -> str:
    """The container that Triton runs in: the one that the pod names as its main one, as the role triton does."""
    named = (pod["metadata"].get("annotations") or {}).get(_DEFAULT_CONTAINER)
    names = [str(container["name"]) for container in (pod.get("spec") or {}).get("containers") or []]
    return str(named or (names[0] if names and _CONTAINER not in names else _CONTAINER))


def status_of(pod: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The status of Triton's container; other containers, such as a proxy, do not count."""
    statuses: list[dict[str, t.Any]] = (pod.get("status") or {}).get("containerStatuses") or []
    name = container_of(pod)
    return next((status for status in statuses if status["name"] == name), {})


def _noted(metadata: Mapping[str, t.Any]) -> float | None:
    """The time of the last note on the pod, in seconds since 1970 by the clock of the API server."""
    entries = [entry for entry in metadata.get("managedFields") or [] if entry.get("manager") == MANAGER]
    return max((seconds_of(entry["time"]) for entry in entries if "time" in entry), default=None)


def _ask_patiently(
    resolver: Resolver, servers: Mapping[str, t.Any], pods: Sequence[str]
) -> dict[str, dict[str, t.Any]]:
    """Each server's answer, the second one of those whose first has not come, where there is time for that."""
    place = (resolver, servers["namespace"], labels_of(servers))
    answers = _ask(*place, servers["timeout"])

    def silent(name: str) -> bool:
        return name not in answers or answers[name]["status"] != "ok"

    if servers.get("again") and any(silent(name) for name in pods):
        again = _ask(*place, servers["again"])
        answers |= {name: answer for name, answer in again.items() if silent(name)}
    return answers


def _ask(resolver: Resolver, namespace: str, labels: Mapping[str, str], timeout: float) -> dict[str, dict[str, t.Any]]:
    """Each running server's answer, by pod."""
    # The HTTP protocol needs no library.
    entry = {"selector": {"namespace": namespace, "labels": labels, "min": 0}, "protocol": "http"}
    wanted = server_info.Wanted(models=None, config=False, statistics=False, timeout=timeout)
    answers = server_info.ask_all(parse_targets([entry]), resolver, wanted)
    # "pod NAMESPACE/NAME port PORT"
    return {str(answer["target"]).split("/", 1)[1].split(" ", 1)[0]: answer for answer in answers}
