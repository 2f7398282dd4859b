# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.desired_objects import Key
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.replicas import (
    BEFORE_BENCHMARK,
    Scaled,
    held_by_benchmark,
    leave_replicas,
    only_about_replicas,
    scaled_by_machine,
    targets,
)

ME = "fastml.supersonic"


def test_what_a_benchmark_has_left_is_told() -> None:
    key = Key("keda.sh", "ScaledObject", "cms", "main-triton")
    held = {"metadata": {"name": "main-triton", "annotations": {BEFORE_BENCHMARK: "{}"}}}
    assert re.search("main-triton: a benchmark holds .* benchmark_mode=restore", held_by_benchmark(key, held))
    assert not held_by_benchmark(key, {"metadata": {"name": "main-triton", "annotations": {"a": "b"}}})
    assert not held_by_benchmark(key, {"metadata": {"name": "main-triton"}})


def scaler(name: str, reference: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n", **metadata}, "spec": {"scaleTargetRef": reference}}


def test_targets() -> None:
    found = targets(
        [
            scaler("a", {"kind": "StatefulSet", "name": "x"}),
            # A ScaledObject of KEDA may leave the kind out.
            scaler("b", {"name": "y"}),
            scaler("c", {}),
            scaler("d", {"name": "going"}, uid="gone"),
            scaler("keda-hpa-d", {"kind": "Deployment", "name": "going"}, ownerReferences=[{"uid": "gone"}]),
        ],
        gone_owners=["gone"],
    )
    assert found == {Scaled("n", "StatefulSet", "x"), Scaled("n", "Deployment", "y")}


def live(replicas: int, *entries: dict[str, Any]) -> dict[str, Any]:
    fields = {"fieldsV1": {"f:spec": {"f:replicas": {}}}}
    return {"metadata": {"managedFields": [{**fields, **entry} for entry in entries]}, "spec": {"replicas": replicas}}


OURS = {"manager": ME, "operation": "Apply"}
HPA = {"manager": "kube-controller-manager", "operation": "Update", "subresource": "scale"}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (None, None),
        # Still ours: leaving it out would reset it to one.
        (live(4, OURS), 4),
        (live(4, OURS, HPA), 4),
        (live(4, HPA), None),
        (live(4, {**OURS, "manager": "other"}), None),
        (live(4, {**OURS, "operation": "Update"}), None),
    ],
)
def test_replicas_are_left_to_the_autoscaler(seen: Any, expected: int | None) -> None:
    definition = {"kind": "Deployment", "spec": {"replicas": 2, "paused": True}}
    spec = leave_replicas(definition, seen, ME)["spec"]
    assert spec == ({"paused": True} if expected is None else {"paused": True, "replicas": expected})
    assert definition["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    ("entry", "machine"),
    [
        (HPA, True),
        ({**HPA, "manager": "keda"}, True),
        ({**HPA, "manager": "kubectl"}, False),
        ({"manager": "kube-controller-manager"}, False),
    ],
)
def test_last_writer(entry: dict[str, Any], machine: bool) -> None:
    assert scaled_by_machine(live(1, entry)) is machine


@pytest.mark.parametrize(
    ("causes", "only"),
    [
        ([], False),
        ([{"field": ".spec.replicas", "message": 'conflict with "keda" with subresource "scale"'}], True),
        ([{"field": ".spec.replicas", "message": 'conflict with "kubectl"'}], False),
        (
            [
                {"field": ".spec.replicas", "message": 'conflict with "kube-controller-manager"'},
                {"field": ".spec.paused", "message": 'conflict with "kube-controller-manager"'},
            ],
            False,
        ),
    ],
)
def test_conflict_that_a_former_autoscaler_left(causes: list[dict[str, Any]], only: bool) -> None:
    assert only_about_replicas(causes) is only
