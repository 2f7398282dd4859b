# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which release the running servers serve: what their pods say, and their own index of models.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils import _server_info
from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._model_publish import Models
from ansible_collections.fastml.supersonic.plugins.module_utils._model_releases import differences
from ansible_collections.fastml.supersonic.plugins.module_utils._model_store_pod import MANAGER, seconds_of
from ansible_collections.fastml.supersonic.plugins.module_utils._rest import Api, segment
from ansible_collections.fastml.supersonic.plugins.module_utils._targets import (
    Resolver,
    is_leaving,
    parse_targets,
    why_not_running,
)

# What the role triton writes into the pods' template, or a roll-out on a running pod.
SERVED_ANNOTATION = "supersonic.fastml.org/model-release"
# Which content of each model a server has, so that only what has changed is loaded.
CONTENT_ANNOTATION = "supersonic.fastml.org/model-contents"
# So far may the clock of a node be from that of the API server.
_SKEW_SECONDS = 30.0

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
    """Every server of a pool, with its release and how it differs from the current one; without models: not known."""
    found = [server(pod, current) for pod in pods_of(resolver.api, servers)]
    if servers["index"] and models is not None and any(item["running"] for item in found):
        answers = _ask(resolver, servers["namespace"], labels_of(servers), servers["timeout"])
        for item in found:
            if item["running"]:
                item["differences"] += _compared(answers.get(item["pod"]), models)
    return found


def server(pod: Mapping[str, t.Any], current: Release | None) -> dict[str, t.Any]:
    """What one pod says about its release."""
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
        found.append("its pod does not name a release")
    elif current is None or release != current.name:
        found.append(f"serves the release {release}, not the current one")
    return {
        "pod": pod["metadata"]["name"],
        "running": reason is None,
        "release": release,
        "taken": taken,
        "current": release is not None and current is not None and release == current.name,
        "differences": found,
    }


class State(t.NamedTuple):
    """The release that a server serves, and the contents of its models; nothing where that is not known.

    between: a roll-out has brought it these contents, and not yet all of a release.
    """

    release: str | None
    contents: Contents
    between: bool = False


def state_of(pod: Mapping[str, t.Any], current: Release) -> State:
    """What a server serves, from what its pod says and when it was made."""
    metadata = pod["metadata"]
    annotations = metadata.get("annotations") or {}
    noted, restarted = _noted(metadata), _restarted(pod)
    if noted is None and SERVED_ANNOTATION in annotations:
        # By the template of its Deployment: it is replaced when there is another one.
        return State(annotations[SERVED_ANNOTATION], {})
    if noted is not None and (restarted is None or restarted < noted - _SKEW_SECONDS):
        try:
            known = json.loads(annotations.get(CONTENT_ANNOTATION) or "{}")
        except ValueError:
            known = {}
        served = annotations.get(SERVED_ANNOTATION)
        return State(served, known, between=served is None)
    if restarted is not None:
        # It has read what was current when it started anew, whatever was noted before.
        if current.since is not None and restarted > current.since + _SKEW_SECONDS:
            return State(current.name, current.contents)
        return State(None, {})
    # Whoever was made after a switch has read nothing else.
    for name, since, models in ((current.name, current.since, current.models), *current.earlier):
        # Kubernetes says whole seconds, cut off.
        if since is not None and seconds_of(metadata["creationTimestamp"]) > since:
            return State(name, contents_of(models or []))
    return State(None, {})


def has_started(pod: Mapping[str, t.Any]) -> bool:
    """Whether the server has begun to read models."""
    return any((status.get("state") or {}).get("running") or status.get("restartCount") for status in _statuses(pod))


def _statuses(pod: Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    return (pod.get("status") or {}).get("containerStatuses") or []


def _restarted(pod: Mapping[str, t.Any]) -> float | None:
    """When a container of the pod was started anew last, in seconds since 1970 by the clock of its node."""
    times = [
        seconds_of(running["startedAt"])
        for status in _statuses(pod)
        if status.get("restartCount") and (running := (status.get("state") or {}).get("running"))
    ]
    return max(times, default=None)


def _noted(metadata: Mapping[str, t.Any]) -> float | None:
    """When something was written on the pod last, in seconds since 1970 by the clock of the API server."""
    entries = [entry for entry in metadata.get("managedFields") or [] if entry.get("manager") == MANAGER]
    return max((seconds_of(entry["time"]) for entry in entries if "time" in entry), default=None)


def _ask(resolver: Resolver, namespace: str, labels: Mapping[str, str], timeout: float) -> dict[str, dict[str, t.Any]]:
    """Each running server's answer, by pod."""
    # The HTTP protocol needs no library.
    entry = {"selector": {"namespace": namespace, "labels": labels, "min": 0}, "protocol": "http"}
    wanted = _server_info.Wanted(models=None, config=False, statistics=False, timeout=timeout)
    answers = _server_info.ask_all(parse_targets([entry]), resolver, wanted)
    # "pod NAMESPACE/NAME port PORT"
    return {str(answer["target"]).split("/", 1)[1].split(" ", 1)[0]: answer for answer in answers}


def _compared(answer: dict[str, t.Any] | None, models: list[dict[str, t.Any]]) -> list[str]:
    if answer is None:
        return ["the server was not asked: it came or went meanwhile"]
    if answer["status"] != "ok":
        return [f"the server does not answer: {answer['message']}"]
    return differences(models, answer["models"])
