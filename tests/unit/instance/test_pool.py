# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a pool is held and put back, and what its servers have done."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.watch import Sum, executed_ns
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import pause_annotations
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.pause_annotations import (
    PAUSED,
    PAUSED_REPLICAS,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.pool import (
    BEFORE,
    MANAGER,
    Autoscaler,
    Pool,
    find_autoscaler,
)
from ansible_collections.fastml.supersonic.tests.harness.fake_api import SCALED_OBJECT, FakeApi

note = partial(pause_annotations.note, mark=pause_annotations.BENCHMARK)
restored = partial(pause_annotations.restored, mark=pause_annotations.BENCHMARK)


def noting(live: Any, run: str, before: Any, annotations: Any, spec: Any) -> dict[str, Any]:
    return pause_annotations.noting(live, pause_annotations.BENCHMARK, {"run": run}, before, annotations, spec)


def disowned(live: Any, owners: Any) -> dict[str, Any] | None:
    return pause_annotations.disowned(live, pause_annotations.BENCHMARK, owners)


def scaled(name: str, target: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"scaleTargetRef": target, **spec}}


@pytest.mark.parametrize(
    ("objects", "hpas", "expected"),
    [
        ([], [], Autoscaler()),
        ([scaled("mine", {"name": "main-triton"}, maxReplicaCount=8)], [], Autoscaler("keda", "mine", 0, 8)),
        (
            [scaled("mine", {"name": "main-triton", "kind": "Deployment"}, minReplicaCount=2)],
            [scaled("keda-hpa-mine", {"name": "main-triton", "kind": "Deployment"}, maxReplicas=100)],
            Autoscaler("keda", "mine", 2, 100),
        ),
        (
            [scaled("mine", {"name": "main-triton"}, minReplicaCount=2, idleReplicaCount=0)],
            [],
            Autoscaler("keda", "mine", 0, 100),
        ),
        # On their way out.
        (
            [{**scaled("mine", {"name": "main-triton"}), "metadata": {"name": "mine", "deletionTimestamp": "now"}}],
            [
                {
                    **scaled("keda-hpa-mine", {"name": "main-triton", "kind": "Deployment"}, maxReplicas=3),
                    "metadata": {"name": "keda-hpa-mine", "ownerReferences": [{"kind": "ScaledObject"}]},
                }
            ],
            Autoscaler(),
        ),
        # Of others.
        ([scaled("other", {"name": "main-envoy"}), scaled("set", {"name": "main-triton", "kind": "StatefulSet"})],
         [scaled("hpa", {"name": "main-envoy", "kind": "Deployment"}, maxReplicas=3)], Autoscaler()),
        (
            [],
            [scaled("hpa", {"name": "main-triton", "kind": "Deployment"}, maxReplicas=3)],
            Autoscaler("hpa", "hpa", 1, 3),
        ),
    ],
)  # fmt: skip
def test_whoever_scales_the_servers_is_found(objects: Any, hpas: Any, expected: Autoscaler) -> None:
    assert find_autoscaler(objects, hpas, "main-triton") == expected


def noted(before: Any) -> dict[str, Any]:
    text = before if isinstance(before, str) else json.dumps({"run": "r1", "before": before})
    return {"metadata": {"annotations": {BEFORE: text}}}


def test_what_was_there_is_noted_once() -> None:
    first = noting({"metadata": {}}, "r1", {"replicas": 3}, {}, {"replicas": 1})
    assert first["spec"] == {"replicas": 1}
    assert note(first) == {"run": "r1", "before": {"replicas": 3}, "owners": []}
    # By then one server is what a benchmark has made, perhaps another one.
    second = noting({"metadata": first["metadata"]}, "r2", {"replicas": 1}, {}, {"replicas": 2})
    assert note(second) == {"run": "r2", "before": {"replicas": 3}, "owners": []}


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        ({"metadata": {"annotations": {"other": "1"}}}, None),
        ({"metadata": {}}, None),
        (noted({"replicas": 3}), {"metadata": {"annotations": {BEFORE: None}}, "spec": {"replicas": 3}}),
        # A Deployment of no servers at all.
        (noted({"replicas": 0}), {"metadata": {"annotations": {BEFORE: None}}, "spec": {"replicas": 0}}),
        (
            noted({"annotations": {PAUSED_REPLICAS: None, PAUSED: "true"}}),
            {"metadata": {"annotations": {PAUSED_REPLICAS: None, PAUSED: "true", BEFORE: None}}},
        ),
        # What nobody can read is at least not left for the next one.
        (noted("not JSON"), {"metadata": {"annotations": {BEFORE: None}}}),
        (noted("[1]"), {"metadata": {"annotations": {BEFORE: None}}}),
    ],
)
def test_what_was_noted_is_put_back(live: dict[str, Any], expected: Any) -> None:
    assert restored(live) == expected


def test_fields_are_given_up() -> None:
    others = [{"manager": "fastml.supersonic", "operation": "Apply"}, {"manager": "keda-operator"}]
    live = {"metadata": {"managedFields": [*others, {"manager": MANAGER, "operation": "Update"}]}}
    assert disowned(live, []) == {"metadata": {"managedFields": others}}
    assert disowned({"metadata": {"managedFields": others}}, []) is None


def managed(manager: str, operation: str, fields: dict[str, Any], **more: str) -> dict[str, Any]:
    entry = {"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", **more}
    return {**entry, "fieldsV1": fields}


def test_a_pause_of_the_inventory_belongs_to_whoever_had_set_it() -> None:
    """Else it would stay when the inventory drops it: what has no manager is nobody's to remove."""
    pause = {"f:metadata": {"f:annotations": {f"f:{PAUSED_REPLICAS}": {}}}}
    role = managed("fastml.supersonic", "Apply", {**pause, "f:spec": {"f:maxReplicaCount": {}}})
    person = managed("kubectl-annotate", "Update", pause)
    live = {"metadata": {"annotations": {PAUSED_REPLICAS: "4"}, "managedFields": [role, person]}}
    before = {"annotations": {PAUSED_REPLICAS: "4", PAUSED: None}}
    held = noting(live, "r1", before, {PAUSED_REPLICAS: "1", PAUSED: None}, {})
    # What the API server makes of it: a value that is another one has one manager.
    changed = managed("fastml.supersonic", "Apply", {"f:spec": {"f:maxReplicaCount": {}}})
    taken = {"metadata": {**held["metadata"], "managedFields": [changed, managed(MANAGER, "Update", pause)]}}
    # The next pool of the same run notes what the first has.
    again = note(noting(taken, "r1", before, {PAUSED_REPLICAS: "2", PAUSED: None}, {}))
    assert again is not None
    assert again["owners"] == (note(held) or {})["owners"]
    change = disowned(taken, again["owners"])
    assert change is not None
    assert sorted(change["metadata"]["managedFields"], key=lambda entry: entry["manager"]) == [role, person]
    # What was looked at is not changed.
    assert changed["fieldsV1"] == {"f:spec": {"f:maxReplicaCount": {}}}


def test_the_number_of_servers_belongs_to_whoever_had_set_it() -> None:
    role = managed("fastml.supersonic", "Apply", {"f:spec": {"f:replicas": {}}})
    live = {"metadata": {"managedFields": [role]}, "spec": {"replicas": 3}}
    held = note(noting(live, "r1", {"replicas": 3}, {}, {"replicas": 1})) or {}
    taken = {"metadata": {"managedFields": [managed(MANAGER, "Update", {"f:spec": {"f:replicas": {}}})]}}
    assert disowned(taken, held["owners"]) == {"metadata": {"managedFields": [role]}}


def test_what_another_benchmark_has_taken_is_left_to_it() -> None:
    """It puts back what was there before both; the one that it was taken from puts back nothing, and is told."""
    path = "/apis/apps/v1/namespaces/cms/deployments/main-triton"
    with FakeApi(SCALED_OBJECT) as api:
        api.put(path, {"spec": {"replicas": 3}})
        first, second = (Pool(api.client(), "cms", "main") for _run in range(2))
        first.hold(1)
        first.check_mine()
        second.hold(2)
        with pytest.raises(SupersonicError, match="Another benchmark has taken Deployment cms/main-triton"):
            first.check_mine()
        assert first.restore(only_mine=True) is False
        assert api.objects[path]["spec"]["replicas"] == 2
        assert second.restore(only_mine=True) is True
        assert api.objects[path]["spec"]["replicas"] == 3
        assert not second.leftover()
        # What an interrupted one has left is put back by whoever is told to.
        first.hold(1)
        assert second.restore() is True
        assert api.objects[path]["spec"]["replicas"] == 3


def deployment(wanted: int, there: int, ready: int, leaving: int = 0, seen: int = 2) -> dict[str, Any]:
    status = {"replicas": there, "readyReplicas": ready, "observedGeneration": seen, "terminatingReplicas": leaving}
    return {"metadata": {"generation": 2}, "spec": {"replicas": wanted}, "status": status}


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (deployment(2, 2, 2), None),
        (deployment(0, 0, 0), "0 are wanted"),
        (deployment(2, 2, 1), "1 of 2 are ready"),
        (deployment(2, 3, 3), "3 of 3 are ready"),
        (deployment(2, 2, 2, leaving=1), "2 of 2 are ready, and 1 leave"),
        (deployment(2, 2, 2, seen=1), "its last change is not seen yet"),
    ],
)
def test_when_a_pool_is_settled(live: dict[str, Any], expected: str | None) -> None:
    assert pause_annotations.unsettled(live, 2) == expected


def test_servers_that_come_go_and_start_anew_are_summed() -> None:
    total = Sum()
    # What was done before the benchmark is not its.
    assert total.take({"a": 100}) == 0
    assert total.take({"a": 150}) == 50
    # A new one did all of it meanwhile.
    assert total.take({"a": 160, "b": 30}) == 90
    # One was started anew.
    assert total.take({"a": 5, "b": 40}) == 105
    # One is gone; what it had done stays.
    assert total.take({"b": 50}) == 115
    # One did not answer for a while.
    assert total.take({}) == 115
    assert total.take({"b": 70}) == 135


def test_time_of_execution_is_by_batches() -> None:
    def stats(*batches: tuple[int, int]) -> dict[str, Any]:
        return {
            "inference_stats": {"compute_infer": {"count": 99, "ns": 99_000}},
            "batch_stats": [{"batch_size": size, "compute_infer": {"count": 1, "ns": ns}} for size, ns in batches],
        }

    # The last is an ensemble, which executes nothing itself.
    assert executed_ns([stats((1, 20), (8, 50)), stats((1, 7)), stats()]) == 77
    assert executed_ns([{"name": "a", "inference_stats": {}}]) == 0
