# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is moved off a node, what is refused, and in which order: on clusters of several nodes that are made up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils import _drain
from ansible_collections.fastml.supersonic.plugins.module_utils._autoscaling import BEFORE_DRAIN
from ansible_collections.fastml.supersonic.plugins.module_utils._drain import Cluster, Options
from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._hold import PAUSED_REPLICAS
from ansible_collections.fastml.supersonic.plugins.module_utils._rest import ApiError

LABELS = {"app.kubernetes.io/instance": "main", "app.kubernetes.io/part-of": "supersonic"}
READY = {"type": "Ready", "status": "True"}


def node(name: str, *, gpus: str = "2", **spec: Any) -> dict[str, Any]:
    labels = spec.pop("labels", {"gpu": "a100"})
    status = {
        "conditions": [spec.pop("ready", READY)],
        "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110", "nvidia.com/gpu": gpus},
    }
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status}


def pod(name: str, where: str, component: str = "triton", **spec: Any) -> dict[str, Any]:
    container = {"resources": {"requests": spec.pop("requests", {"cpu": "1", "nvidia.com/gpu": 1})}}
    return {
        "metadata": {"name": name, "uid": name, "labels": {**LABELS, "app.kubernetes.io/component": component}},
        "spec": {"nodeName": where, "containers": [{"name": "main", **container}], **spec},
        "status": {"phase": "Running", "conditions": [READY]},
    }


def deployment(component: str = "triton", strategy: str = "RollingUpdate", replicas: int = 2) -> dict[str, Any]:
    labels = {**LABELS, "app.kubernetes.io/component": component}
    return {
        "metadata": {"name": f"main-{component}", "labels": labels, "annotations": {}, "resourceVersion": "1"},
        "spec": {
            "selector": {"matchLabels": labels},
            "strategy": {"type": strategy},
            "replicas": replicas,
        },
        "status": {},
    }


def claimed(*modes: str, volume: str = "pv") -> dict[str, Any]:
    return {"metadata": {"name": "main-models"}, "spec": {"accessModes": list(modes), "volumeName": volume}}


def pinned(name: str) -> dict[str, Any]:
    rule = {"key": "kubernetes.io/hostname", "operator": "In", "values": [name]}
    terms = {"required": {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}}
    return {"metadata": {"name": "pv"}, "spec": {"nodeAffinity": terms}}


OPTIONS = Options("cms", "main", "gpu-1")
MODELS = {"volumes": [{"persistentVolumeClaim": {"claimName": "main-models"}}]}
TWO = [node("gpu-1"), node("gpu-2")]


def test_what_is_on_the_node_goes_servers_first() -> None:
    pods = [
        pod("e1", "gpu-1", "envoy"),
        pod("g1", "gpu-1", "grafana"),
        pod("t2", "gpu-1"),
        pod("t1", "gpu-1"),
        pod("t3", "gpu-2"),
        {**pod("t4", "gpu-1"), "metadata": {**pod("t4", "gpu-1")["metadata"], "deletionTimestamp": "now"}},
        pod("publish", "gpu-1", "model-publisher"),
    ]
    deployments = [deployment("grafana", "Recreate"), deployment("envoy"), deployment("triton")]
    found = _drain.plan(OPTIONS, pods, deployments, Cluster(None, None))
    moved = [(move.deployment, [item["metadata"]["name"] for item in move.pods], move.surge) for move in found.moves]
    assert moved == [
        ("main-triton", ["t1", "t2"], True),
        ("main-envoy", ["e1"], True),
        ("main-grafana", ["g1"], False),
    ]
    assert found.alone == ["publish"]


@pytest.mark.parametrize(
    ("mine", "cluster", "refused"),
    [
        (pod("t1", "gpu-1"), Cluster(TWO, []), None),
        # Nobody may look: what cannot be done is then seen by the pod that is added first.
        (pod("t1", "gpu-1"), Cluster(None, None), None),
        (pod("t1", "gpu-1"), Cluster([node("gpu-1")], []), "gpu-1 is the only node of the cluster"),
        (pod("t1", "gpu-1"), Cluster([TWO[0], node("gpu-2", unschedulable=True)], []), "gpu-2: it is cordoned"),
        (
            pod("t1", "gpu-1"),
            Cluster([TWO[0], node("gpu-2", ready={"type": "Ready", "status": "Unknown"})], []),
            "gpu-2: it is not ready",
        ),
        (pod("t1", "gpu-1", nodeSelector={"gpu": "h100"}), Cluster(TWO, []), "it lacks the label gpu=h100"),
        (
            pod("t1", "gpu-1"),
            Cluster([TWO[0], node("gpu-2", taints=[{"key": "own", "effect": "NoSchedule"}])], []),
            "it has the taint own",
        ),
        (
            pod("t1", "gpu-1", tolerations=[{"key": "own", "operator": "Exists"}]),
            Cluster([TWO[0], node("gpu-2", taints=[{"key": "own", "effect": "NoSchedule"}])], []),
            None,
        ),
        (
            pod("t1", "gpu-1"),
            Cluster([TWO[0], node("gpu-2", taints=[{"key": "own", "effect": "PreferNoSchedule"}])], []),
            None,
        ),
        # Others have the accelerators.
        (
            pod("t1", "gpu-1"),
            Cluster(TWO, [pod("x", "gpu-2", requests={"nvidia.com/gpu": "2"})]),
            "gpu-2: it has 0 of nvidia.com/gpu left",
        ),
        (pod("t1", "gpu-1", **MODELS), Cluster(TWO, [], {}, {"main-models": claimed("ReadWriteMany")}), None),
        (
            pod("t1", "gpu-1", **MODELS),
            Cluster(TWO, [], {}, {"main-models": claimed("ReadWriteOnce")}),
            "which one node at a time can mount",
        ),
        (
            pod("t1", "gpu-1", **MODELS),
            Cluster(TWO, [], {"pv": pinned("gpu-1")}, {"main-models": claimed("ReadWriteMany")}),
            "whose volume pv no other node can reach",
        ),
    ],
)
def test_what_could_not_run_elsewhere_is_refused(mine: dict[str, Any], cluster: Cluster, refused: str | None) -> None:
    if refused is None:
        assert len(_drain.plan(OPTIONS, [mine], [deployment()], cluster).moves) == 1
        return
    with pytest.raises(SupersonicError, match=refused):
        _drain.plan(OPTIONS, [mine], [deployment()], cluster)
    # Where replacements may come to the same node nothing of this counts.
    here = Options("cms", "main", "gpu-1", same_node=True)
    assert len(_drain.plan(here, [mine], [deployment()], cluster).moves) == 1


def test_all_of_them_have_to_fit() -> None:
    pods = [pod(name, "gpu-1") for name in ("t1", "t2", "t3")]
    with pytest.raises(SupersonicError, match="No other node can take pod t3"):
        _drain.plan(OPTIONS, pods, [deployment()], Cluster(TWO, []))
    anywhere = Options("cms", "main", "gpu-1", room=False)
    assert len(_drain.plan(anywhere, pods, [deployment()], Cluster(TWO, [])).moves[0].pods) == 3


class Pretended:
    """A cluster that does at once what a real one does in minutes. Pods that are added run on gpu-2."""

    def __init__(self, *, on_node: int, elsewhere: int = 0, keda: bool = False, home: bool = True) -> None:
        self.pods = {f"t{n}": pod(f"t{n}", "gpu-1") for n in range(1, on_node + 1)}
        self.pods.update({f"o{n}": pod(f"o{n}", "gpu-2") for n in range(1, elsewhere + 1)})
        self.deployment = deployment(replicas=on_node + elsewhere)
        self.scaled = {
            "metadata": {"name": "main-triton", "labels": LABELS, "annotations": {}, "resourceVersion": "1"},
            "spec": {"scaleTargetRef": {"name": "main-triton"}},
        }
        self.keda, self.home = keda, home
        self.closed = False
        self.refusals = 1
        # Whether pods may be evicted, and autoscalers listed.
        self.allowed = True
        self.done: list[str] = []

    def list(self, path: str, _what: str, _query: Any = None) -> list[dict[str, Any]]:
        if not self.allowed and path.rpartition("/")[2] in ("scaledobjects", "horizontalpodautoscalers"):
            raise ApiError("forbidden", status=403, reason="Forbidden", body={})
        found: dict[str, list[dict[str, Any]]] = {
            "pods": list(self.pods.values()),
            "deployments": [self.deployment],
            "scaledobjects": [self.scaled] if self.keda else [],
            "nodes": [node("gpu-1"), node("gpu-2", gpus="8")],
        }
        return json.loads(json.dumps(found.get(path.rpartition("/")[2], [])))  # type: ignore[no-any-return]

    def get(self, path: str, _what: str) -> dict[str, Any]:
        if "/nodes/" in path:
            return {**TWO[0], "spec": {"unschedulable": self.closed}}
        live = self.scaled if "scaledobjects" in path else self.deployment
        live["status"] = {"readyReplicas": sum("nodeName" in item["spec"] for item in self.pods.values())}
        return json.loads(json.dumps(live))  # type: ignore[no-any-return]

    def find(self, path: str, what: str) -> dict[str, Any] | None:
        if "/pods/" in path:
            return self.pods.get(path.rpartition("/")[2])
        return self.get(path, what)

    def call(self, method: str, path: str, _what: str, **given: Any) -> bytes:
        body: Mapping[str, Any] = given["body"]
        if path.endswith("/selfsubjectaccessreviews"):
            attributes = body["spec"]["resourceAttributes"]
            assert (attributes["resource"], attributes["subresource"]) == ("pods", "eviction")
            return json.dumps({"status": {"allowed": self.allowed}}).encode()
        if method == "POST":
            self._evict(path.split("/")[-2])
        elif "/nodes/" in path:
            self.closed = bool(body["spec"]["unschedulable"])
            self.done.append("cordon" if self.closed else "uncordon")
        else:
            self._patch(self.scaled if "scaledobjects" in path else self.deployment, body)
        return b"{}"

    def _evict(self, name: str) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ApiError("the budget", status=429, reason="TooManyRequests", body={})
        self.done.append(f"evict {name}")
        del self.pods[name]
        self._fill()

    def _patch(self, live: dict[str, Any], body: Mapping[str, Any]) -> None:
        annotations = body["metadata"].get("annotations", {})
        live["metadata"]["annotations"].update(annotations)
        live["metadata"]["annotations"] = {k: v for k, v in live["metadata"]["annotations"].items() if v is not None}
        before = self.deployment["spec"]["replicas"]
        live["spec"].update(body.get("spec", {}))
        if PAUSED_REPLICAS in live["metadata"]["annotations"]:
            self.deployment["spec"]["replicas"] = int(live["metadata"]["annotations"][PAUSED_REPLICAS])
        elif self.keda and PAUSED_REPLICAS in annotations:
            # Its autoscaler wants as many as before.
            self.deployment["spec"]["replicas"] = before - 1
        if self.deployment["spec"]["replicas"] != before:
            self.done.append(f"replicas {self.deployment['spec']['replicas']}")
        self._fill()

    def _fill(self) -> None:
        wanted = self.deployment["spec"]["replicas"]
        while len(self.pods) < wanted:
            name = f"n{len(self.done)}"
            self.pods[name] = pod(name, "gpu-2")
            if not self.home:
                del self.pods[name]["spec"]["nodeName"]
                unschedulable = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available"}
                self.pods[name]["status"] = {"phase": "Pending", "conditions": [unschedulable]}
        for name in [name for name in self.pods if name.startswith("n")][: max(0, len(self.pods) - wanted)]:
            del self.pods[name]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_drain, "_POLL_SECONDS", 0.0)


def drain(api: Pretended, **options: Any) -> dict[str, Any]:
    wanted = Options("cms", "main", "gpu-1", seconds=5, **options)
    return _drain.Drain(api, wanted).run()  # type: ignore[arg-type]


@pytest.mark.parametrize("keda", [False, True])
def test_one_is_added_before_the_first_goes_and_taken_back_with_the_last(keda: bool) -> None:
    api = Pretended(on_node=2, elsewhere=1, keda=keda)
    result = drain(api)
    assert api.done == ["cordon", "replicas 4", "evict t1", "evict t2", "replicas 3"]
    assert result["moved"] == ["t1", "t2"]
    assert {item["spec"]["nodeName"] for item in api.pods.values()} == {"gpu-2"}
    assert len(api.pods) == 3
    for live in (api.deployment, api.scaled):
        assert live["metadata"]["annotations"] == {}
    again = drain(api)
    assert again["changed"] is False
    assert again["moved"] == []


def test_another_autoscaler_is_refused_before_the_node_is_cordoned(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Pretended(on_node=1)
    scaler = {
        "metadata": {"name": "mine"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "main-triton"}, "maxReplicas": 3},
    }
    listed = api.list

    def also(path: str, what: str, query: Any = None) -> list[dict[str, Any]]:
        return [scaler] if path.endswith("horizontalpodautoscalers") else listed(path, what, query)

    monkeypatch.setattr(api, "list", also)
    for check in (True, False):
        with pytest.raises(SupersonicError, match=r"The HorizontalPodAutoscaler mine scales .* Nothing was changed"):
            drain(api, check=check)
    assert api.done == []


def test_without_the_right_to_evict_nothing_is_changed() -> None:
    api = Pretended(on_node=1, elsewhere=1)
    api.allowed = False
    for check in (False, True):
        with pytest.raises(SupersonicError, match=r"may not create pods/eviction .* preflight_drain: true"):
            drain(api, check=check)
    assert api.done == []


class Blind(Pretended):
    """The rights end with the namespace. there: whether the node itself may be asked for, and is there."""

    def __init__(self, *, on_node: int, there: bool | None) -> None:
        super().__init__(on_node=on_node, elsewhere=1)
        self.there = there

    def list(self, path: str, what: str, query: Any = None) -> list[dict[str, Any]]:
        if "/namespaces/" not in path:
            raise ApiError("forbidden", status=403, reason="Forbidden", body={})
        return super().list(path, what, query)

    def find(self, path: str, what: str) -> dict[str, Any] | None:
        if "/nodes/" in path and self.there is None:
            raise ApiError("forbidden", status=403, reason="Forbidden", body={})
        return super().find(path, what) if self.there or "/nodes/" not in path else None


@pytest.mark.parametrize("check", [False, True])
def test_a_node_that_may_not_be_looked_at_and_has_none_of_ours(check: bool) -> None:
    """Its name may be wrong, which a run that has nothing to do must not hide."""
    result = drain(Blind(on_node=0, there=None), cordon=False, check=check)
    assert (result["changed"], result["msg"]) == (False, "No pod of main is on gpu-1, so none is moved.")
    assert "Is its name right?" in result["warnings"][0]
    assert "warnings" not in drain(Blind(on_node=0, there=True), cordon=False, check=check)
    with pytest.raises(SupersonicError, match=r"There is no node gpu-1\. Nothing was changed\."):
        drain(Blind(on_node=0, there=False), cordon=False, check=check)
    moved = drain(Blind(on_node=1, there=None), cordon=False, check=check)
    assert (moved["moved"], "warnings" in moved) == (["t1"], False)


def test_check_mode_changes_nothing() -> None:
    api = Pretended(on_node=1)
    result = drain(api, check=True)
    assert result["changed"]
    assert result["moved"] == ["t1"]
    assert api.done == []


def test_where_no_node_takes_the_new_pod_nothing_is_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_drain, "_HOMELESS_SECONDS", 0.0)
    api = Pretended(on_node=1, home=False)
    with pytest.raises(SupersonicError, match="a new pod finds no node: 0/2 nodes are available"):
        drain(api)
    assert api.done == ["cordon", "replicas 2", "replicas 1"]
    assert list(api.pods) == ["t1"]


def test_a_killed_run_is_completed_by_the_next() -> None:
    """It had added one and evicted nothing; the next one adds no other, and takes that one back."""
    api = Pretended(on_node=1, elsewhere=1)
    first = _drain.Drain(api, Options("cms", "main", "gpu-1"))  # type: ignore[arg-type]
    first._more("/deployments/main-triton", "it", "/deployments/main-triton", keda=False)
    assert BEFORE_DRAIN in api.deployment["metadata"]["annotations"]
    drain(api)
    assert api.done == ["replicas 3", "cordon", "evict t1", "replicas 2"]
    assert api.deployment["metadata"]["annotations"] == {}


def test_uncordon_puts_back_what_a_killed_run_has_left() -> None:
    api = Pretended(on_node=1, elsewhere=1)
    options = Options("cms", "main", "gpu-1")
    _drain.Drain(api, options)._more("/deployments/main-triton", "it", "/deployments/main-triton", keda=False)  # type: ignore[arg-type]
    api.closed = True
    result = _drain.Drain(api, options).undo()  # type: ignore[arg-type]
    assert result["changed"]
    assert api.done == ["replicas 3", "uncordon", "replicas 2"]
    assert _drain.Drain(api, options).undo()["changed"] is False  # type: ignore[arg-type]
