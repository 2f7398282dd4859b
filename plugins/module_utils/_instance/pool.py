# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The servers of an instance as one pool: fixed at a number, left to their autoscaler, and restored.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

What was there before is noted on the object itself, in the same request that changes it. So whoever comes next can put
it back, even when this process was killed. The note says, too, whose it is: a run that another one has replaced changes
nothing more.
"""

from __future__ import annotations

import secrets
import time
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import TRITON, object_name
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import pause_annotations
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.pause_annotations import (
    BENCHMARK,
    PAUSED,
    PAUSED_REPLICAS,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError, segment
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.diff import field_managers

BEFORE, MANAGER = BENCHMARK
DYNAMIC = "dynamic"
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Autoscaler:
    """The autoscaler of the servers: `keda` by a ScaledObject of this name, `hpa`, or none ("")."""

    kind: str = ""
    name: str = ""
    minimum: int = 0
    maximum: int = 0


def find_autoscaler(
    scaled: Iterable[Mapping[str, t.Any]], hpas: Iterable[Mapping[str, t.Any]], name: str
) -> Autoscaler:
    """The autoscaler of a Deployment, among all of its namespace; none that is going, and none that is KEDA's own."""
    for item in scaled:
        if item["metadata"].get("deletionTimestamp"):
            continue
        spec = item.get("spec") or {}
        target = spec.get("scaleTargetRef") or {}
        if target.get("name") == name and target.get("kind") in (None, "", "Deployment"):
            idle = spec.get("idleReplicaCount")
            minimum = spec.get("minReplicaCount") or 0 if idle is None else idle
            return Autoscaler("keda", item["metadata"]["name"], int(minimum), int(spec.get("maxReplicaCount", 100)))
    for item in hpas:
        owners = item["metadata"].get("ownerReferences") or []
        if item["metadata"].get("deletionTimestamp") or any(owner.get("kind") == "ScaledObject" for owner in owners):
            continue
        spec = item.get("spec") or {}
        target = spec.get("scaleTargetRef") or {}
        if target.get("name") == name and target.get("kind") == "Deployment":
            least = spec.get("minReplicas")
            return Autoscaler(
                "hpa", item["metadata"]["name"], int(1 if least is None else least), int(spec["maxReplicas"])
            )
    return Autoscaler()


def autoscaler_of(api: Api, namespace: str, name: str) -> tuple[Autoscaler, tuple[str, ...]]:
    """The autoscaler of a Deployment, and the kinds of autoscalers that may not be listed.

    An instance without one needs no right to look for it. Raises where one that may not be seen has set its replicas.
    """
    space = segment(namespace)
    found: dict[str, list[dict[str, t.Any]]] = {}
    unseen = []
    for kind, path in (
        ("ScaledObjects", f"/apis/keda.sh/v1alpha1/namespaces/{space}/scaledobjects"),
        ("HorizontalPodAutoscalers", f"/apis/autoscaling/v2/namespaces/{space}/horizontalpodautoscalers"),
    ):
        try:
            found[kind] = api.list(path, f"{kind} in namespace {namespace}")
        except ApiError as error:
            if error.status == 403:
                unseen.append(kind)
            elif not error.no_such_path:
                raise
    autoscaler = find_autoscaler(
        found.get("ScaledObjects", []), found.get("HorizontalPodAutoscalers", []), name
    )  # fmt: skip
    if autoscaler.kind or not unseen:
        return autoscaler, ()
    live = api.find(f"/apis/apps/v1/namespaces/{space}/deployments/{segment(name)}", f"Deployment {namespace}/{name}")
    for entry in field_managers(live or {}, "spec", "replicas"):
        by = str(entry.get("manager", ""))
        if entry.get("subresource") == "scale" and not by.startswith("kubectl"):
            raise SupersonicError(
                f"{by} has set the replicas of Deployment {namespace}/{name}, as an autoscaler does, and we may not "
                f"list {' and '.join(unseen)} in the namespace. Nothing was changed. Ask for the right to list them."
            )
    return Autoscaler(), tuple(unseen)


class Pool:
    """The servers of one instance."""

    def __init__(self, api: Api, namespace: str, instance: str) -> None:
        self._api = api
        self.namespace = namespace
        self.name = object_name(instance, TRITON)
        self._deployment = f"/apis/apps/v1/namespaces/{segment(namespace)}/deployments/{segment(self.name)}"
        self._scaled = f"/apis/keda.sh/v1alpha1/namespaces/{segment(namespace)}/scaledobjects"
        self._what = f"Deployment {namespace}/{self.name}"
        # Whether there is one of those kinds that are not seen is not known.
        self.autoscaler, self.unseen = autoscaler_of(api, namespace, self.name)
        self._run = secrets.token_hex(8)

    def deployment(self) -> dict[str, t.Any]:
        found = self._api.find(self._deployment, self._what)
        if found is None:
            raise SupersonicError(
                f"There is no {self._what}, so there are no servers to measure. Deploy the instance first, or name "
                "another one."
            )
        return found

    def check(self, pools: Sequence[str]) -> None:
        """Refuse pools that cannot be made here."""
        static = [pool for pool in pools if pool != DYNAMIC]
        if DYNAMIC in pools and not self.autoscaler.kind:
            raise SupersonicError(
                f"The pool '{DYNAMIC}' is asked for, but neither a ScaledObject nor a HorizontalPodAutoscaler scales "
                f"{self._what}. Deploy one, or leave '{DYNAMIC}' out."
            )
        if static and self.autoscaler.kind == "hpa":
            raise SupersonicError(
                f"The HorizontalPodAutoscaler {self.autoscaler.name} scales {self._what}, which nobody can hold at a "
                f"number meanwhile. Only the pool '{DYNAMIC}' can be measured."
            )

    # ---- held, and put back ------------------------------------------------------------------------------------

    def hold(self, servers: int) -> None:
        """Make it a static pool: the autoscaler is paused at that number, or where there is none it is set."""
        if self.autoscaler.kind == "keda":
            self._pause({PAUSED_REPLICAS: str(servers), PAUSED: None})
            return

        def change(live: Mapping[str, t.Any]) -> dict[str, t.Any]:
            before = {"replicas": (live.get("spec") or {}).get("replicas")}
            return pause_annotations.noting(live, BENCHMARK, {"run": self._run}, before, {}, {"replicas": servers})

        pause_annotations.change(self._api, self._deployment, self._what, BENCHMARK, change)

    def let_go(self) -> None:
        """Let the autoscaler decide, also where somebody had paused it."""
        if self.autoscaler.kind == "keda":
            self._pause({PAUSED_REPLICAS: None, PAUSED: None})

    def restore(self, *, only_mine: bool = False) -> bool:
        """Put back what this or an interrupted benchmark has changed; True when there was something."""
        # All of them, whatever the first one had.
        done = [self._restore(path, what, only_mine) for path, what in self._places()]
        return any(done)

    def check_mine(self) -> None:
        """Raise when another benchmark has taken the pool."""
        for path, what in self._places():
            noted = pause_annotations.note(self._api.find(path, what), BENCHMARK)
            if noted is not None and noted.get("run") != self._run:
                raise SupersonicError(f"Another benchmark has taken {what}, so this one ends.")

    def leftover(self) -> bool:
        """Whether there is something to put back."""
        return any(
            pause_annotations.note(self._api.find(path, what), BENCHMARK) is not None for path, what in self._places()
        )

    def _pause(self, annotations: Mapping[str, str | None]) -> None:
        path, what = self._scaled_object()

        def change(live: Mapping[str, t.Any]) -> dict[str, t.Any]:
            there = live["metadata"].get("annotations") or {}
            before = {name: there.get(name) for name in (PAUSED_REPLICAS, PAUSED)}
            return pause_annotations.noting(
                live, BENCHMARK, {"run": self._run}, {"annotations": before}, annotations, {}
            )

        pause_annotations.change(self._api, path, what, BENCHMARK, change)

    def _restore(self, path: str, what: str, only_mine: bool) -> bool:
        noted = pause_annotations.note(self._api.find(path, what), BENCHMARK)
        if noted is None or (only_mine and noted.get("run") != self._run):
            return False
        return pause_annotations.restore(self._api, path, what, BENCHMARK)

    # ---- what it is --------------------------------------------------------------------------------------------

    def settle(self, servers: int | None, seconds: float) -> None:
        """Wait until so many servers are there, or without a number as few as the autoscaler has at least."""
        wanted = self.autoscaler.minimum if servers is None else servers
        limit = time.monotonic() + seconds
        while True:
            self.check_mine()
            live = self.deployment()
            problem = pause_annotations.unsettled(live, wanted)
            if problem is None:
                return
            if time.monotonic() > limit:
                why = (
                    "the autoscaler does not come to its minimum; does somebody else use the instance?"
                    if servers is None
                    else "the cluster may lack room or accelerators for them."
                )
                raise SupersonicError(
                    f"{self._what} did not settle at {wanted} servers within {seconds:g} s: {problem}; {why}"
                )
            time.sleep(_POLL_SECONDS)

    def look(self) -> tuple[int, int]:
        """The number of servers that are wanted, and that are ready."""
        live = self.deployment()
        return int((live.get("spec") or {}).get("replicas") or 0), _ready(live)

    def _places(self) -> list[tuple[str, str]]:
        keda = self.autoscaler.kind == "keda"
        return [(self._deployment, self._what), *([self._scaled_object()] if keda else [])]

    def _scaled_object(self) -> tuple[str, str]:
        name = self.autoscaler.name
        return f"{self._scaled}/{segment(name)}", f"ScaledObject {self.namespace}/{name}"


def _ready(live: Mapping[str, t.Any]) -> int:
    return int((live.get("status") or {}).get("readyReplicas") or 0)


# ---- watched -----------------------------------------------------------------------------------------------------
