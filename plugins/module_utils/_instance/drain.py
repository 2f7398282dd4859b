# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Moves the pods of an instance off a node one by one, each after its replacement is ready.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

A workload gets one replica more for as long as it moves, so that it never has fewer than it should. Pods go by the
Eviction API, which keeps to their PodDisruptionBudgets, and as always: they leave the endpoints first and answer what
they have. How many replicas there were is noted on the object, so that a run that was killed is put back by the next.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial

from ansible_collections.fastml.supersonic.plugins.module_utils._accelerators.gpu_nodes import (
    Demand,
    intolerable,
    meets,
    read_node,
    selected,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import COMPONENTS
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._common.quantity import quantity
from ansible_collections.fastml.supersonic.plugins.module_utils._common.text import counted
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import is_leaving
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import pause_annotations
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.pause_annotations import (
    DRAIN,
    PAUSED,
    PAUSED_REPLICAS,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.pool import autoscaler_of
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError, segment
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.readiness import condition_of
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.checks import allowed
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.resource_requests import of_pod, read_pod

Object = Mapping[str, t.Any]

ORDER = tuple(component.name for component in COMPONENTS if component.pods)
_MERGE = "application/merge-patch+json"
_COMPONENT = "app.kubernetes.io/component"
_POLL_SECONDS = 1.0
# A pod that finds no node for so long will not, where nodes do not come on demand.
_HOMELESS_SECONDS = 60.0
_SHOWN = 3


@dataclass(frozen=True)
class Options:
    """What is wanted.

    same_node: replacements may come to the same node; room: whether other nodes have to have room for all of them now.
    """

    namespace: str
    name: str
    node: str
    cordon: bool = True
    same_node: bool = False
    room: bool = True
    seconds: float = 900.0
    check: bool = False


@dataclass(frozen=True)
class Cluster:
    """The state of the cluster; None for what may not be read."""

    nodes: Sequence[Object] | None
    # Pods of all namespaces.
    pods: Sequence[Object] | None
    volumes: Mapping[str, Object] = field(default_factory=dict)
    claims: Mapping[str, Object] = field(default_factory=dict)


class Move(t.NamedTuple):
    """The pods of one Deployment that are on the node."""

    deployment: str
    component: str
    pods: list[Object]
    # Whether it may have one more for a while.
    surge: bool


class Plan(t.NamedTuple):
    """The pods to move, in this order, and pods that are left to end by themselves."""

    moves: list[Move]
    alone: list[str]


# ---- the plan --------------------------------------------------------------------------------------------------------
def plan(options: Options, pods: Iterable[Object], deployments: Sequence[Object], cluster: Cluster) -> Plan:
    """The plan of a drain. Raises SupersonicError if it is impossible."""
    there = [pod for pod in pods if not is_leaving(pod) and (pod.get("spec") or {}).get("nodeName") == options.node]
    by_deployment: dict[str, list[Object]] = {}
    alone = []
    for pod in sorted(there, key=lambda pod: str(pod["metadata"]["name"])):
        owner = next((item for item in deployments if _selects(item, pod)), None)
        if owner is None:
            alone.append(str(pod["metadata"]["name"]))
        else:
            by_deployment.setdefault(str(owner["metadata"]["name"]), []).append(pod)
    moves = []
    for deployment in deployments:
        name = str(deployment["metadata"]["name"])
        if name in by_deployment:
            strategy = ((deployment.get("spec") or {}).get("strategy") or {}).get("type", "RollingUpdate")
            component = str((deployment["metadata"].get("labels") or {}).get(_COMPONENT, ""))
            moves.append(Move(name, component, by_deployment[name], strategy != "Recreate"))
    moves.sort(
        key=lambda move: (ORDER.index(move.component) if move.component in ORDER else len(ORDER), move.deployment)
    )
    if moves and not options.same_node:
        _check_elsewhere(options, moves, cluster)
    return Plan(moves, alone)


def _selects(deployment: Object, pod: Object) -> bool:
    wanted = ((deployment.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    labels = pod["metadata"].get("labels") or {}
    return bool(wanted) and all(labels.get(name) == value for name, value in wanted.items())


def _check_elsewhere(options: Options, moves: Sequence[Move], cluster: Cluster) -> None:
    """Refuse what cannot run anywhere else."""
    others = [node for node in cluster.nodes or [] if node["metadata"]["name"] != options.node]
    if cluster.nodes is not None and not others:
        raise SupersonicError(
            f"{options.node} is the only node of the cluster, so its pods could go nowhere. Nothing was changed. Pause "
            "the instance instead (playbooks/pause.yml -e pause_servers=0) for as long as the node is away."
        )
    for move in moves:
        for pod in move.pods:
            _check_claims(options, move, pod, cluster)
    if cluster.nodes is None:
        return
    free = _free(others, cluster.pods)
    for move in moves:
        for pod in move.pods:
            why = {str(node["metadata"]["name"]): _hindrance(node, pod, free, options.room) for node in others}
            home = next((name for name, reason in why.items() if not reason), None)
            if home is None:
                shown = "; ".join(f"{name}: {reason}" for name, reason in sorted(why.items())[:_SHOWN])
                more = f"; and {len(why) - _SHOWN} more" if len(why) > _SHOWN else ""
                raise SupersonicError(
                    f"No other node can take pod {pod['metadata']['name']} ({shown}{more}). Nothing was changed. "
                    "Where nodes come on demand, set drain_check_room: false."
                )
            if options.room and free is not None:
                for name, amount in requests_of(pod).items():
                    free[home][name] = free[home].get(name, Decimal(0)) - amount


def _check_claims(options: Options, move: Move, pod: Object, cluster: Cluster) -> None:
    for entry in (pod.get("spec") or {}).get("volumes") or []:
        name = (entry.get("persistentVolumeClaim") or {}).get("claimName")
        claim = cluster.claims.get(str(name)) if name else None
        if claim is None:
            continue
        spec = claim.get("spec") or {}
        volume = cluster.volumes.get(str(spec.get("volumeName")))
        terms = (
            (((volume or {}).get("spec") or {}).get("nodeAffinity") or {}).get("required", {}).get("nodeSelectorTerms")
        )
        nodes = [node for node in cluster.nodes or [] if node["metadata"]["name"] != options.node]
        pod_name = pod["metadata"]["name"]
        if terms and nodes and not any(meets(terms, read_node(node)) for node in nodes):
            raise SupersonicError(
                f"Pod {pod_name} has the claim {name}, whose volume {spec.get('volumeName')} no other node can reach. "
                "Nothing was changed. Pause the instance instead (playbooks/pause.yml -e pause_servers=0)."
            )
        modes = set(spec.get("accessModes") or [])
        if move.surge and modes and modes <= {"ReadWriteOnce", "ReadWriteOncePod"}:
            raise SupersonicError(
                f"Pod {pod_name} has the claim {name}, which one node at a time can mount (ReadWriteOnce), so that no "
                "pod elsewhere could start beside it. Nothing was changed. Give the models a claim that several nodes "
                "can mount (ReadWriteMany or ReadOnlyMany), or pause the instance instead."
            )


def _hindrance(node: Object, pod: Object, free: Mapping[str, Mapping[str, Decimal]] | None, room: bool) -> str:
    """The reason why a node cannot take a pod, "" if none is known."""
    spec, place = pod.get("spec") or {}, read_node(node)
    if place.cordoned:
        return "it is cordoned"
    if not place.ready:
        return "it is not ready"
    for name, value in (spec.get("nodeSelector") or {}).items():
        if place.labels.get(name) != value:
            return f"it lacks the label {name}={value}"
    demand = Demand("", "", affinity=spec.get("affinity") or {}, tolerations=spec.get("tolerations") or [])
    if not selected(demand, place):
        return "the pod's node affinity leaves it out"
    for taint in intolerable(demand, place):
        return f"it has the taint {taint}, which the pod does not tolerate"
    if room and free is not None:
        has = free[str(node["metadata"]["name"])]
        for name, amount in requests_of(pod).items():
            if amount > has.get(name, Decimal(0)):
                return f"it has {max(has.get(name, Decimal(0)), Decimal(0)).normalize():f} of {name} left"
    return ""


def requests_of(pod: Object) -> dict[str, Decimal]:
    """The resources that a pod takes of a node: its requests, and one pod."""
    return {"pods": Decimal(1), **of_pod(read_pod(pod), "requests")}


def _free(nodes: Iterable[Object], pods: Sequence[Object] | None) -> dict[str, dict[str, Decimal]] | None:
    """The free resources of each node; None if the pods of others may not be listed."""
    if pods is None:
        return None
    free = {
        str(node["metadata"]["name"]): {
            name: quantity(amount) or Decimal(0)
            for name, amount in ((node.get("status") or {}).get("allocatable") or {}).items()
        }
        for node in nodes
    }
    for pod in pods:
        home = free.get(str((pod.get("spec") or {}).get("nodeName")))
        if home is not None and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            for name, amount in requests_of(pod).items():
                home[name] = home.get(name, Decimal(0)) - amount
    return free


# ---- what is done ----------------------------------------------------------------------------------------------------
class Drain:
    """One instance and one node."""

    def __init__(self, api: Api, options: Options, say: Callable[[str], None] = lambda _text: None) -> None:
        self._api = api
        self._options = options
        self._say = say
        space = segment(options.namespace)
        self._pods = f"/api/v1/namespaces/{space}/pods"
        self._deployments = f"/apis/apps/v1/namespaces/{space}/deployments"
        self._scaled = f"/apis/keda.sh/v1alpha1/namespaces/{space}/scaledobjects"
        self._node = f"/api/v1/nodes/{segment(options.node)}"
        self._limit = time.monotonic() + options.seconds
        # Whether it is known that there is such a node.
        self._seen = True

    def run(self) -> dict[str, t.Any]:
        """Move everything. Returns the module's result."""
        options = self._options
        found = plan(options, self._own_pods(), self._own_deployments(), self._cluster())
        names = [str(pod["metadata"]["name"]) for move in found.moves for pod in move.pods]
        for move in found.moves:
            # Refuses those that it could not have one more of, before anything changes.
            self._place(move, "", f"Deployment {move.deployment}")
        self._check_eviction(names)
        leftover = self._marked()
        cordoned = self._cordon(True) if options.cordon else False
        result: dict[str, t.Any] = {
            "changed": bool(names or cordoned or leftover),
            "moved": names,
            "cordoned": cordoned,
            "left": found.alone,
        }
        if not names and not self._seen:
            result["warnings"] = [
                f"No pod of {options.name} is on a node called {options.node}, and whether there is one cannot be "
                "looked at with these rights. Is its name right?"
            ]
        if not names:
            result["msg"] = f"No pod of {options.name} is on {options.node}, so none is moved."
        elif options.check:
            result["msg"] = f"{counted(len(names), 'pod')} of {options.name} would leave {options.node}{_these(names)}."
        if options.check:
            return result
        for move in found.moves:
            self._move(move)
        for path, what in leftover:
            pause_annotations.restore(self._api, path, what, DRAIN)
        left = f" {', '.join(found.alone)} end by themselves." if found.alone else ""
        if names:
            result["msg"] = f"{counted(len(names), 'pod')} of {options.name} left {options.node}{_these(names)}."
        result["msg"] += left
        return result

    def undo(self) -> dict[str, t.Any]:
        """Let pods come to the node again, and put back what a killed run has left."""
        options = self._options
        leftover = self._marked()
        uncordoned = self._cordon(False) if options.cordon else False
        if not options.check:
            for path, what in leftover:
                pause_annotations.restore(self._api, path, what, DRAIN)
        said = f"{options.node} takes pods again" if options.cordon else f"{options.node} was left as it is"
        more = f"; {', '.join(what for _path, what in leftover)} put back" if leftover else ""
        changed = bool(uncordoned or leftover)
        return {"changed": changed, "moved": [], "cordoned": False, "left": [], "msg": f"{said}{more}."}

    # ---- one workload ------------------------------------------------------------------------------------------------

    def _move(self, move: Move) -> None:
        path, what = f"{self._deployments}/{segment(move.deployment)}", f"Deployment {move.deployment}"
        elsewhere = self._ready(move)
        if not move.surge:
            for pod in move.pods:
                self._evict(pod)
                elsewhere += 1
                self._until(partial(self._replaced, move, pod, elsewhere), move, "another one is ready")
            return
        place, place_what, keda = self._place(move, path, what)
        earlier = self._more(place, place_what, path, keda)
        try:
            # One that a killed run has added may be ready already.
            wanted = elsewhere + 1 if earlier is None else earlier + 1 - len(move.pods)
            self._until(lambda: self._ready(move) >= wanted, move, "one more is ready elsewhere")
            *others, last = move.pods
            for number, pod in enumerate(others, 1):
                self._evict(pod)
                done = partial(self._replaced, move, pod, wanted + number)
                self._until(done, move, "another one is ready elsewhere")
            self._evict(last)
        finally:
            # Before the last one is replaced: as many as there were are there already.
            pause_annotations.restore(self._api, place, place_what, DRAIN)
        self._until(partial(self._gone, last), move, f"Pod {last['metadata']['name']} is gone")
        self._until(lambda: self._settled(path, what), move, "as many are ready as before")

    def _replaced(self, move: Move, pod: Object, ready: int) -> bool:
        return self._gone(pod) and self._ready(move) >= ready

    def _place(self, move: Move, path: str, what: str) -> tuple[str, str, bool]:
        """The object that sets the number of replicas: path, name in messages, and whether it is a ScaledObject."""
        autoscaler, _unseen = autoscaler_of(self._api, self._options.namespace, move.deployment)
        if autoscaler.kind == "keda":
            return f"{self._scaled}/{segment(autoscaler.name)}", f"ScaledObject {autoscaler.name}", True
        if autoscaler.kind == "hpa":
            raise SupersonicError(
                f"The HorizontalPodAutoscaler {autoscaler.name} scales {what}, and would take away the pod that is "
                "added while others move. Nothing was changed."
            )
        return path, what, False

    def _more(self, place: str, what: str, deployment: str, keda: bool) -> int | None:
        """One replica more, with a note of how many there were; that of an earlier run, if there is one."""
        live = self._api.get(deployment, "Deployment")
        now = int((live.get("spec") or {}).get("replicas", 1))

        def change(seen: Object) -> dict[str, t.Any]:
            # A killed run has added one already.
            earlier = pause_annotations.note(seen, DRAIN) or {}
            # A change of the number since then counts.
            base = int(earlier.get("replicas", now if keda else (seen.get("spec") or {}).get("replicas", 1)))
            whose = {"replicas": base}
            if keda:
                there = seen["metadata"].get("annotations") or {}
                before = {name: there.get(name) for name in (PAUSED_REPLICAS, PAUSED)}
                wanted = {PAUSED_REPLICAS: str(base + 1), PAUSED: None}
                return pause_annotations.noting(seen, DRAIN, whose, {"annotations": before}, wanted, {})
            return pause_annotations.noting(seen, DRAIN, whose, {"replicas": base}, {}, {"replicas": base + 1})

        noted = pause_annotations.note(self._api.get(place, what), DRAIN) or {}
        pause_annotations.change(self._api, place, what, DRAIN, change)
        return int(noted["replicas"]) if "replicas" in noted else None

    def _evict(self, pod: Object) -> None:
        """By the Eviction API, as often as the budgets refuse."""
        metadata = pod["metadata"]
        name = str(metadata["name"])
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": self._options.namespace},
            "deleteOptions": {"preconditions": {"uid": metadata["uid"]}},
        }
        self._say(f"evict {name}")
        while True:
            try:
                self._api.call("POST", f"{self._pods}/{segment(name)}/eviction", f"eviction of Pod {name}", body=body)
                return
            except ApiError as error:
                if error.status in (404, 409):
                    # It has gone by itself.
                    return
                if error.status != 429 or time.monotonic() > self._limit:
                    raise
            time.sleep(_POLL_SECONDS)

    # ---- looking -----------------------------------------------------------------------------------------------------

    def _until(self, condition: Callable[[], bool], move: Move, what: str) -> None:
        begun = time.monotonic()
        while not condition():
            homeless = self._homeless(move)
            patience = _HOMELESS_SECONDS if self._options.room else self._options.seconds
            if time.monotonic() > self._limit or (homeless and time.monotonic() - begun > patience):
                raise SupersonicError(
                    f"Deployment {move.deployment}: waited {time.monotonic() - begun:.0f} s until {what}"
                    + (f", but a new pod finds no node: {homeless}" if homeless else "")
                    + ". No further pod was evicted, and the number of replicas is put back. "
                    f"{self._options.node} may be cordoned still."
                )
            time.sleep(_POLL_SECONDS)

    def _ready(self, move: Move) -> int:
        """The number of ready pods of the workload that stay where they are."""
        going = {pod["metadata"]["uid"] for pod in move.pods}
        found = [
            pod
            for pod in self._of(move)
            if (self._options.same_node or (pod.get("spec") or {}).get("nodeName") != self._options.node)
            and pod["metadata"]["uid"] not in going
            and (condition_of(pod, "Ready") or {}).get("status") == "True"
        ]
        return len(found)

    def _homeless(self, move: Move) -> str:
        """The scheduler's message about a pod of the workload that has no node."""
        for pod in self._of(move):
            scheduled = condition_of(pod, "PodScheduled") or {}
            if scheduled.get("status") == "False":
                return str(scheduled.get("message") or scheduled.get("reason"))
        return ""

    def _of(self, move: Move) -> list[dict[str, t.Any]]:
        labels = move.pods[0]["metadata"]["labels"]
        return [
            pod
            for pod in self._own_pods()
            if not is_leaving(pod) and (pod["metadata"].get("labels") or {}).get(_COMPONENT) == labels.get(_COMPONENT)
        ]

    def _gone(self, pod: Object) -> bool:
        name = str(pod["metadata"]["name"])
        live = self._api.find(f"{self._pods}/{segment(name)}", f"Pod {name}")
        return live is None or live["metadata"]["uid"] != pod["metadata"]["uid"]

    def _settled(self, path: str, what: str) -> bool:
        live = self._api.get(path, what)
        wanted = int((live.get("spec") or {}).get("replicas", 1))
        status = live.get("status") or {}
        # An autoscaler may want others by now.
        return int(status.get("readyReplicas") or 0) >= wanted

    def _own_pods(self) -> list[dict[str, t.Any]]:
        return self._api.list(self._pods, "pods", {"labelSelector": self._labels})

    def _own_deployments(self) -> list[dict[str, t.Any]]:
        return self._api.list(self._deployments, "Deployments", {"labelSelector": self._labels})

    @property
    def _labels(self) -> str:
        return f"app.kubernetes.io/instance={self._options.name},app.kubernetes.io/part-of=supersonic"

    def _marked(self) -> list[tuple[str, str]]:
        """Objects that a run has changed and not put back."""
        names = [(f"{self._deployments}/{item['metadata']['name']}", item) for item in self._own_deployments()]
        names += [
            (f"{self._scaled}/{item['metadata']['name']}", item) for item in self._list(self._scaled, "ScaledObjects")
        ]
        return [
            (path, f"{item.get('kind', 'object')} {item['metadata']['name']}")
            for path, item in names
            if pause_annotations.note(item, DRAIN) is not None
            and (item["metadata"].get("labels") or {}).get("app.kubernetes.io/instance") == self._options.name
        ]

    def _check_eviction(self, names: Sequence[str]) -> None:
        """Refuse it before anything changes where pods may not be evicted."""
        right = {"verb": "create", "group": "", "resource": "pods/eviction"}
        if names and not allowed(self._api, right, self._options.namespace):
            raise SupersonicError(
                f"We may not create pods/eviction in the namespace {self._options.namespace}, by which pods leave a "
                "node. Nothing was changed. Ask for that right: with preflight_drain: true playbooks/preflight.yml "
                "writes it into the Role."
            )

    def _list(self, path: str, what: str) -> list[dict[str, t.Any]]:
        try:
            return self._api.list(path, what)
        except ApiError as error:
            # Without the right to see ScaledObjects this has changed none.
            if error.no_such_path or error.status == 403:
                return []
            raise

    def _cluster(self) -> Cluster:
        """The objects outside of the namespace that may be read."""
        space = segment(self._options.namespace)
        claims = self._if_allowed(f"/api/v1/namespaces/{space}/persistentvolumeclaims", "claims") or []
        volumes = self._if_allowed("/api/v1/persistentvolumes", "PersistentVolumes") or []
        nodes = self._if_allowed("/api/v1/nodes", "nodes")
        self._seen = nodes is not None or self._is_there()
        if nodes is not None and not any(node["metadata"]["name"] == self._options.node for node in nodes):
            known = ", ".join(sorted(str(node["metadata"]["name"]) for node in nodes))
            raise SupersonicError(
                f"There is no node {self._options.node}; the cluster has {known}. Nothing was changed."
            )
        return Cluster(
            nodes,
            self._if_allowed("/api/v1/pods", "pods of all namespaces"),
            {str(item["metadata"]["name"]): item for item in volumes},
            {str(item["metadata"]["name"]): item for item in claims},
        )

    def _is_there(self) -> bool:
        """Whether there is this node, where nodes may not be listed; False where that is not known either."""
        try:
            if self._api.find(self._node, f"Node {self._options.node}") is not None:
                return True
        except ApiError as error:
            if error.status == 403:
                return False
            raise
        raise SupersonicError(f"There is no node {self._options.node}. Nothing was changed.")

    def _if_allowed(self, path: str, what: str) -> list[dict[str, t.Any]] | None:
        try:
            return self._api.list(path, what)
        except ApiError as error:
            if error.status == 403:
                return None
            raise

    # ---- the node ----------------------------------------------------------------------------------------------------

    def _cordon(self, closed: bool) -> bool:
        """Keep new pods off the node, or let them come again; True when that is a change."""
        node, verb = self._options.node, "cordon" if closed else "uncordon"
        try:
            live = self._api.get(self._node, f"Node {node}")
            if bool((live.get("spec") or {}).get("unschedulable")) is closed:
                return False
            if not self._options.check:
                # None takes the field away.
                body = {"spec": {"unschedulable": True if closed else None}}
                query = {"fieldManager": DRAIN.manager}
                self._api.call("PATCH", self._node, f"Node {node}", query=query, body=body, content_type=_MERGE)
        except ApiError as error:
            if error.status != 403:
                raise
            raise SupersonicError(
                f"{error} Nothing was changed. Have an administrator run `kubectl {verb} {node}`, and say "
                "drain_cordon: false here."
            ) from error
        return True


def _these(names: Sequence[str]) -> str:
    return f": {', '.join(names)}" if names else ""
