# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which release the running servers serve: what their pods say, and their own index of models.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.fastml.supersonic.plugins.module_utils import _server_info
from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._model_releases import differences
from ansible_collections.fastml.supersonic.plugins.module_utils._model_store_pod import seconds_of
from ansible_collections.fastml.supersonic.plugins.module_utils._rest import segment
from ansible_collections.fastml.supersonic.plugins.module_utils._targets import (
    Resolver,
    is_leaving,
    parse_targets,
    why_not_running,
)

# What the role triton writes into the pods' template.
SERVED_ANNOTATION = "supersonic.fastml.org/model-release"

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


def running(
    resolver: Resolver,
    servers: Mapping[str, t.Any],
    current: str | None,
    models: list[dict[str, t.Any]] | None,
    since: float | None,
) -> list[dict[str, t.Any]]:
    """Every server of a pool, with its release and how it differs from the current one, which is that `since`."""
    labels, namespace = labels_of(servers), servers["namespace"]
    path = f"/api/v1/namespaces/{segment(namespace)}/pods"
    query = {"labelSelector": ",".join(f"{name}={value}" for name, value in sorted(labels.items()))}
    pods = resolver.api.list(path, f"pods in namespace {namespace}", query)
    found = []
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"])):
        if not is_leaving(pod):
            found.append(server(pod, current, since))
    if servers["index"] and models is not None and any(item["running"] for item in found):
        answers = _ask(resolver, namespace, labels, servers["timeout"])
        for item in found:
            if item["running"]:
                item["differences"] += _compared(answers.get(item["pod"]), models)
    return found


def began_after(pod: Mapping[str, t.Any], since: float | None) -> bool:
    """Whether a pod was made after the switch, so that it has read nothing else. None: it is not known when that was.

    Kubernetes gives whole seconds, so that the second of the switch counts as before it.
    """
    return since is not None and seconds_of(pod["metadata"]["creationTimestamp"]) > since


def server(pod: Mapping[str, t.Any], current: str | None, since: float | None = None) -> dict[str, t.Any]:
    """What one pod says about its release."""
    release = (pod["metadata"].get("annotations") or {}).get(SERVED_ANNOTATION)
    if release is None and began_after(pod, since):
        release = current
    reason = why_not_running(pod)
    found = []
    if reason:
        found.append(f"the server does not run: {reason}")
    if release is None:
        found.append("its pod does not name a release")
    elif release != current:
        found.append(f"serves the release {release}, not the current one")
    return {
        "pod": pod["metadata"]["name"],
        "running": reason is None,
        "release": release,
        "current": release is not None and release == current,
        "differences": found,
    }


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
