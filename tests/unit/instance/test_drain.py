# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is moved off a node, what is refused, and in which order: on clusters of several nodes that are made up."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import drain as instance_drain
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.drain import Cluster, Options
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.pause_annotations import PAUSED_REPLICAS
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.replicas import BEFORE_DRAIN
from ansible_collections.fastml.supersonic.tests.harness.fake_api import SCALED_OBJECT, FakeApi

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
        "metadata": {"name": name, "labels": {**LABELS, "app.kubernetes.io/component": component}},
        "spec": {"nodeName": where, "containers": [{"name": "main", **container}], **spec},
        "status": {"phase": "Running", "conditions": [READY]},
    }


def deployment(component: str = "triton", strategy: str = "RollingUpdate", replicas: int = 2) -> dict[str, Any]:
    labels = {**LABELS, "app.kubernetes.io/component": component}
    return {
        "metadata": {"name": f"main-{component}", "labels": labels, "annotations": {}},
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
    found = instance_drain.plan(OPTIONS, pods, deployments, Cluster(None, None))
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
        assert len(instance_drain.plan(OPTIONS, [mine], [deployment()], cluster).moves) == 1
        return
    with pytest.raises(SupersonicError, match=refused):
        instance_drain.plan(OPTIONS, [mine], [deployment()], cluster)
    # Where replacements may come to the same node nothing of this counts.
    here = Options("cms", "main", "gpu-1", same_node=True)
    assert len(instance_drain.plan(here, [mine], [deployment()], cluster).moves) == 1


def test_all_of_them_have_to_fit() -> None:
    pods = [pod(name, "gpu-1") for name in ("t1", "t2", "t3")]
    with pytest.raises(SupersonicError, match="No other node can take pod t3"):
        instance_drain.plan(OPTIONS, pods, [deployment()], Cluster(TWO, []))
    anywhere = Options("cms", "main", "gpu-1", room=False)
    assert len(instance_drain.plan(anywhere, pods, [deployment()], Cluster(TWO, [])).moves[0].pods) == 3


SPACE = "/namespaces/cms"
PODS, NODE = f"/api/v1{SPACE}/pods", "/api/v1/nodes/gpu-1"
TRITON = f"/apis/apps/v1{SPACE}/deployments/main-triton"
SCALED = f"/apis/keda.sh/v1alpha1{SPACE}/scaledobjects/main-triton"
HPA = f"/apis/autoscaling/v2{SPACE}/horizontalpodautoscalers/mine"


class Pretended(FakeApi):
    """A cluster whose controllers do at once what real ones do in minutes. Pods that are added run on gpu-2."""

    def __init__(self, *, on_node: int, elsewhere: int = 0, keda: bool = False, home: bool = True) -> None:
        super().__init__(SCALED_OBJECT)
        self.home = home
        for each in (node("gpu-1"), node("gpu-2", gpus="8")):
            self.put(f"/api/v1/nodes/{each['metadata']['name']}", each)
        for n in range(1, on_node + 1):
            self.put(f"{PODS}/t{n}", pod(f"t{n}", "gpu-1"))
        for n in range(1, elsewhere + 1):
            self.put(f"{PODS}/o{n}", pod(f"o{n}", "gpu-2"))
        self.put(TRITON, deployment(replicas=on_node + elsewhere))
        if keda:
            self.put(SCALED, {"metadata": {"labels": LABELS}, "spec": {"scaleTargetRef": {"name": "main-triton"}}})
        # The first eviction is more than the budget allows.
        self.fail("POST", f"{PODS}/t1/eviction", 429)
        self.done: list[str] = []
        self.made = 0
        self.seen = self._now()
        self.controllers.append(self._act)

    @property
    def pods(self) -> dict[str, dict[str, Any]]:
        return {path.rpartition("/")[2]: item for path, item in self.objects.items() if path.startswith(f"{PODS}/")}

    def annotations(self, path: str) -> dict[str, str]:
        return self.objects[path]["metadata"].get("annotations") or {}

    def _now(self) -> tuple[bool, set[str], int, str | None]:
        closed = bool((self.objects.get(NODE) or {"spec": {}})["spec"].get("unschedulable"))
        paused = self.annotations(SCALED).get(PAUSED_REPLICAS) if SCALED in self.objects else None
        return closed, set(self.pods), self.objects[TRITON]["spec"]["replicas"], paused

    def _act(self) -> None:
        (was_closed, old, before, held), (closed, there, wanted, holds) = self.seen, self._now()
        self.done += [f"evict {name}" for name in sorted(old - there)]
        if closed != was_closed:
            self.done.append("cordon" if closed else "uncordon")
        if holds != held:
            # Let go, the autoscaler wants as many as before.
            wanted = int(holds) if holds else before - 1
        if wanted != before:
            self.done.append(f"replicas {wanted}")
        self._fill(wanted)
        with self.changed(TRITON) as live:
            live["spec"]["replicas"] = wanted
            live["status"] = {"readyReplicas": sum("nodeName" in item["spec"] for item in self.pods.values())}
        self.seen = self._now()

    def _fill(self, wanted: int) -> None:
        while len(self.pods) < wanted:
            self.made += 1
            name = f"n{self.made}"
            new = pod(name, "gpu-2")
            if not self.home:
                del new["spec"]["nodeName"]
                unschedulable = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available"}
                new["status"] = {"phase": "Pending", "conditions": [unschedulable]}
            self.put(f"{PODS}/{name}", new)
        for name in [name for name in self.pods if name.startswith("n")][: max(0, len(self.pods) - wanted)]:
            self.remove(f"{PODS}/{name}")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance_drain, "_POLL_SECONDS", 0.0)


def work(api: Pretended, **options: Any) -> instance_drain.Drain:
    # The budgets' refusals are what a drain itself waits for.
    return instance_drain.Drain(api.client(patience=0.0), Options("cms", "main", "gpu-1", seconds=5, **options))


def drain(api: Pretended, **options: Any) -> dict[str, Any]:
    return work(api, **options).run()


@pytest.mark.parametrize("keda", [False, True])
def test_one_is_added_before_the_first_goes_and_taken_back_with_the_last(keda: bool) -> None:
    with Pretended(on_node=2, elsewhere=1, keda=keda) as api:
        result = drain(api)
        assert api.done == ["cordon", "replicas 4", "evict t1", "evict t2", "replicas 3"]
        assert result["moved"] == ["t1", "t2"]
        assert {item["spec"]["nodeName"] for item in api.pods.values()} == {"gpu-2"}
        assert len(api.pods) == 3
        for path in (TRITON, SCALED) if keda else (TRITON,):
            assert api.annotations(path) == {}
        again = drain(api)
        assert again["changed"] is False
        assert again["moved"] == []


def test_a_pod_that_was_made_anew_under_the_name_is_not_evicted() -> None:
    """A newer decision than ours has made it."""
    with Pretended(on_node=1, elsewhere=1) as api:
        path = f"{PODS}/t1"
        old = api.objects[path]["metadata"]["uid"]
        # After the budget has refused once.
        api.meanwhile("POST", f"{path}/eviction", lambda: api.recreate(path))
        drain(api)
        assert api.objects[path]["metadata"]["uid"] != old
        assert api.done == ["cordon", "replicas 3", "replicas 2"]


def test_who_scales_it_while_a_replica_is_added_finds_their_number_again() -> None:
    with Pretended(on_node=1, elsewhere=1) as api:

        def scale() -> None:
            with api.changed(TRITON) as live:
                live["spec"]["replicas"] = 5

        api.meanwhile("PATCH", TRITON, scale)
        drain(api)
        assert api.done == ["cordon", "replicas 5", "replicas 6", "evict t1", "replicas 5"]


def test_another_autoscaler_is_refused_before_the_node_is_cordoned() -> None:
    with Pretended(on_node=1) as api:
        target = {"kind": "Deployment", "name": "main-triton"}
        api.put(HPA, {"spec": {"scaleTargetRef": target, "maxReplicas": 3}})
        for check in (True, False):
            with pytest.raises(
                SupersonicError, match=r"The HorizontalPodAutoscaler mine scales .* Nothing was changed"
            ):
                drain(api, check=check)
        assert api.changes == []


def test_without_the_right_to_evict_nothing_is_changed() -> None:
    hidden = ("pods/eviction", "scaledobjects", "horizontalpodautoscalers")
    with Pretended(on_node=1, elsewhere=1) as api:
        api.may = lambda _verb, resource, _space: resource not in hidden
        for check in (False, True):
            with pytest.raises(SupersonicError, match=r"may not create pods/eviction .* preflight_drain: true"):
                drain(api, check=check)
        assert api.changes == []


def blind(*, on_node: int, there: bool | None) -> Pretended:
    """The rights end with the namespace. there: whether the node itself may be asked for, and is there."""
    api = Pretended(on_node=on_node, elsewhere=1)
    api.may = lambda verb, resource, space: bool(space) or (there is not None and (verb, resource) == ("get", "nodes"))
    if there is False:
        api.remove(NODE)
    return api


@pytest.mark.parametrize("check", [False, True])
def test_a_node_that_may_not_be_looked_at_and_has_none_of_ours(check: bool) -> None:
    """Its name may be wrong, which a run that has nothing to do must not hide."""
    with blind(on_node=0, there=None) as api:
        result = drain(api, cordon=False, check=check)
    assert (result["changed"], result["msg"]) == (False, "No pod of main is on gpu-1, so none is moved.")
    assert "Is its name right?" in result["warnings"][0]
    with blind(on_node=0, there=True) as api:
        assert "warnings" not in drain(api, cordon=False, check=check)
    with (
        blind(on_node=0, there=False) as api,
        pytest.raises(SupersonicError, match=r"There is no node gpu-1\. Nothing was changed\."),
    ):
        drain(api, cordon=False, check=check)
    with blind(on_node=1, there=None) as api:
        moved = drain(api, cordon=False, check=check)
    assert (moved["moved"], "warnings" in moved) == (["t1"], False)


def test_check_mode_changes_nothing() -> None:
    with Pretended(on_node=1) as api:
        result = drain(api, check=True)
        assert result["changed"]
        assert result["moved"] == ["t1"]
        assert api.changes == []


def test_where_no_node_takes_the_new_pod_nothing_is_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance_drain, "_HOMELESS_SECONDS", 0.0)
    with Pretended(on_node=1, home=False) as api:
        with pytest.raises(SupersonicError, match="a new pod finds no node: 0/2 nodes are available"):
            drain(api)
        assert api.done == ["cordon", "replicas 2", "replicas 1"]
        assert list(api.pods) == ["t1"]


def test_a_killed_run_is_completed_by_the_next() -> None:
    """It had added one and evicted nothing; the next one adds no other, and takes that one back."""
    with Pretended(on_node=1, elsewhere=1) as api:
        work(api)._more(TRITON, "it", TRITON, keda=False)
        assert BEFORE_DRAIN in api.annotations(TRITON)
        drain(api)
        assert api.done == ["replicas 3", "cordon", "evict t1", "replicas 2"]
        assert api.annotations(TRITON) == {}


def test_uncordon_puts_back_what_a_killed_run_has_left() -> None:
    with Pretended(on_node=1, elsewhere=1) as api:
        work(api)._more(TRITON, "it", TRITON, keda=False)
        with api.changed(NODE) as live:
            live["spec"]["unschedulable"] = True
        result = work(api).undo()
        assert result["changed"]
        assert api.done == ["replicas 3", "cordon", "uncordon", "replicas 2"]
        assert work(api).undo()["changed"] is False
