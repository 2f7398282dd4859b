# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pauses the autoscaling of an instance at a number of servers until it is resumed.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Where KEDA scales them it is told to pause, else the number is set on the Deployment. What was there before is noted on
the object, so that going on needs nothing but the cluster. As long as the note is there, runs of the playbooks leave
the number alone and say so.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import TRITON, object_name
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._common.text import counted
from ansible_collections.fastml.supersonic.plugins.module_utils._common.timestamp import stamp
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import pause_annotations
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.pause_annotations import (
    PAUSE,
    PAUSED,
    PAUSED_REPLICAS,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.pool import Pool
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, segment
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.replicas import BEFORE_BENCHMARK, BEFORE_DRAIN

_POLL_SECONDS = 1.0
# What has to be put back before, and how.
_OTHERS = {
    BEFORE_BENCHMARK: "a benchmark holds the number of servers (playbooks/benchmark.yml -e benchmark_mode=restore)",
    BEFORE_DRAIN: "a drain is under way, or was killed (playbooks/drain.yml -e drain_action=uncordon)",
}


@dataclass(frozen=True)
class Wanted:
    """servers None: as many as there are now."""

    servers: int | None
    reason: str = ""
    seconds: float = 600.0
    check: bool = False


class Place(t.NamedTuple):
    """The object that says how many servers there are."""

    path: str
    what: str
    keda: bool


def place_of(api: Api, namespace: str, name: str) -> Place:
    """The ScaledObject of an instance, or its Deployment where nobody scales it."""
    pool = Pool(api, namespace, name)
    if pool.autoscaler.kind == "hpa":
        raise SupersonicError(
            f"The HorizontalPodAutoscaler {pool.autoscaler.name} scales Deployment {namespace}/{pool.name}, and there "
            "is no pausing one. Set its minReplicas and maxReplicas, or have KEDA scale the servers (role autoscaler)."
        )
    if pool.autoscaler.kind == "keda":
        root = f"/apis/keda.sh/v1alpha1/namespaces/{segment(namespace)}/scaledobjects"
        scaled = pool.autoscaler.name
        return Place(f"{root}/{segment(scaled)}", f"ScaledObject {namespace}/{scaled}", keda=True)
    root = f"/apis/apps/v1/namespaces/{segment(namespace)}/deployments"
    return Place(f"{root}/{segment(pool.name)}", f"Deployment {namespace}/{pool.name}", keda=False)


def pause(api: Api, namespace: str, name: str, wanted: Wanted) -> dict[str, t.Any]:
    """Hold the servers. Returns the module's result."""
    pool = Pool(api, namespace, name)
    deployment = pool.deployment()
    place = place_of(api, namespace, name)
    live = api.get(place.path, place.what)
    check_free(live, place)
    now = int((deployment.get("spec") or {}).get("replicas", 1))
    held = _held(live, place)
    same = pause_annotations.note(live, PAUSE) is not None and wanted.servers in (None, held)
    servers = now if wanted.servers is None else wanted.servers
    said = " already" if same else f" instead of {now}" if servers != now else ""
    result: dict[str, t.Any] = {
        "changed": not same,
        "paused": True,
        "servers": servers,
        "before": now,
        "autoscaled": place.keda,
        "msg": f"{place.what} {'would be' if wanted.check and not same else 'is'} held at {_servers(servers)}{said}.",
        "warnings": _unseen(pool),
    }
    if wanted.check or same:
        return result
    whose = {"since": stamp(time.time()), **({"reason": wanted.reason} if wanted.reason else {})}
    pause_annotations.change(
        api, place.path, place.what, PAUSE, lambda seen: change_of(seen, place, wanted.servers, whose)
    )
    if wanted.servers is not None:
        settle(api, namespace, name, servers, wanted.seconds)
    return result


def resume(api: Api, namespace: str, name: str, wanted: Wanted) -> dict[str, t.Any]:
    """Let go. Returns the module's result."""
    pool = Pool(api, namespace, name)
    deployment = pool.deployment()
    place = place_of(api, namespace, name)
    now = int((deployment.get("spec") or {}).get("replicas", 1))
    noted = None
    # The autoscaler may have come or gone since.
    places = [place, Place(*_deployment(namespace, pool.name), keda=False)] if place.keda else [place]
    found = [(each, pause_annotations.note(api.get(each.path, each.what), PAUSE)) for each in places]
    for each, known in found:
        if known is not None:
            check_free(api.get(each.path, each.what), each)
            noted = known
    before = ((noted or {}).get("before") or {}).get("replicas")
    result: dict[str, t.Any] = {
        "changed": noted is not None,
        "paused": False,
        "servers": now if place.keda or before is None else int(before),
        "before": now,
        "autoscaled": place.keda,
        "msg": f"{place.what} is not paused by an operator; nothing was changed.",
        "warnings": _unseen(pool),
    }
    if noted is None:
        return result
    since = f" since {noted['since']}" if noted.get("since") else ""
    follows = "its autoscaler decides again" if place.keda else f"back to {_servers(result['servers'])}"
    result["msg"] = f"{place.what} was paused{since}; {follows}."
    if not wanted.check:
        for each, known in found:
            if known is not None:
                pause_annotations.restore(api, each.path, each.what, PAUSE)
        if not place.keda:
            settle(api, namespace, name, int(result["servers"]), wanted.seconds)
    return result


def _unseen(pool: Pool) -> list[str]:
    """Facts that could not be read for lack of a right."""
    if not pool.unseen:
        return []
    return [
        f"Whether an autoscaler scales Deployment {pool.namespace}/{pool.name} could not be looked at, since we may "
        f"not list {' and '.join(pool.unseen)}; none has set its replicas so far."
    ]


def _servers(number: int) -> str:
    return counted(number, "server")


def _deployment(namespace: str, name: str) -> tuple[str, str]:
    path = f"/apis/apps/v1/namespaces/{segment(namespace)}/deployments/{segment(name)}"
    return path, f"Deployment {namespace}/{name}"


def _held(live: Mapping[str, t.Any], place: Place) -> int | None:
    """At how many servers it is held now; None with KEDA: as many as there were."""
    if not place.keda:
        return int((live.get("spec") or {}).get("replicas", 1))
    text = (live["metadata"].get("annotations") or {}).get(PAUSED_REPLICAS)
    return int(text) if text is not None and text.isdigit() else None


def check_free(live: Mapping[str, t.Any], place: Place) -> None:
    """Refuse what somebody else holds, so that no note is put back in the wrong order."""
    annotations = live["metadata"].get("annotations") or {}
    for mark, how in _OTHERS.items():
        if mark in annotations:
            raise SupersonicError(f"{place.what}: {how}. Nothing was changed.")
    if place.keda and PAUSE.annotation not in annotations and {PAUSED, PAUSED_REPLICAS} & set(annotations):
        raise SupersonicError(
            f"{place.what} is paused already, and not by this. If the inventory says so, change autoscaler_paused and "
            "autoscaler_paused_replicas there; otherwise remove its annotations autoscaling.keda.sh/paused*. Nothing "
            "was changed."
        )


def change_of(
    live: Mapping[str, t.Any], place: Place, servers: int | None, whose: Mapping[str, t.Any]
) -> dict[str, t.Any]:
    """The change that holds the servers and notes what was there."""
    if place.keda:
        there = live["metadata"].get("annotations") or {}
        before = {name: there.get(name) for name in (PAUSED_REPLICAS, PAUSED)}
        # Without a number KEDA leaves the servers as they are.
        wanted: dict[str, str | None] = {
            PAUSED_REPLICAS: None if servers is None else str(servers),
            PAUSED: "true" if servers is None else None,
        }
        return pause_annotations.noting(live, PAUSE, whose, {"annotations": before}, wanted, {})
    before_spec = {"replicas": (live.get("spec") or {}).get("replicas", 1)}
    spec = {} if servers is None else {"replicas": servers}
    return pause_annotations.noting(live, PAUSE, whose, before_spec, {}, spec)


def settle(api: Api, namespace: str, name: str, servers: int, seconds: float) -> None:
    """Wait until so many servers are there and ready, and none is on its way out."""
    path, what = _deployment(namespace, object_name(name, TRITON))
    limit = time.monotonic() + seconds
    while True:
        problem = pause_annotations.unsettled(api.get(path, what), servers)
        if problem is None:
            return
        if time.monotonic() > limit:
            raise SupersonicError(
                f"{what} did not come to {_servers(servers)} within {seconds:g} s: {problem}. It is held at that "
                "number all the same; playbooks/status.yml shows what its servers lack."
            )
        time.sleep(_POLL_SECONDS)
