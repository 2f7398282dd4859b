# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where two objects differ, and who has set the fields."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._drift import changed_fields

CONTAINER = {"name": "envoy", "image": "e:1", "args": ["a", "b"], "ports": [{"containerPort": 1, "protocol": "TCP"}]}


def pod(**container: Any) -> dict[str, Any]:
    return {"spec": {"replicas": 1, "containers": [{**CONTAINER, **container}, {"name": "other", "image": "o:1"}]}}


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (pod(), pod(), []),
        (pod(), pod(image="e:2"), [("spec.containers[envoy].image", "e:1", "e:2")]),
        # Of a list without keys all of it.
        (pod(), pod(args=["a"]), [("spec.containers[envoy].args", ["a", "b"], ["a"])]),
        (
            pod(),
            pod(ports=[{"containerPort": 2, "protocol": "TCP"}]),
            [
                (
                    "spec.containers[envoy].ports[1, TCP]",
                    {"containerPort": 1, "protocol": "TCP"},
                    changed_fields.MISSING,
                ),
                (
                    "spec.containers[envoy].ports[2, TCP]",
                    changed_fields.MISSING,
                    {"containerPort": 2, "protocol": "TCP"},
                ),
            ],
        ),
        ({"a": {"x.y/z": 1}}, {"a": {}}, [('a["x.y/z"]', 1, changed_fields.MISSING)]),
        # Nothing is a value.
        ({"a": None}, {}, [("a", None, changed_fields.MISSING)]),
        ({"a": [1]}, {"a": 1}, [("a", [1], 1)]),
        (
            [{"name": "a"}, {"name": "b"}],
            [{"name": "b"}, {"name": "a"}],
            [("", [{"name": "a"}, {"name": "b"}], [{"name": "b"}, {"name": "a"}])],
        ),
        # The same name twice tells nothing apart.
        ([{"name": "a"}, {"name": "a"}], [{"name": "a"}], [("", [{"name": "a"}, {"name": "a"}], [{"name": "a"}])]),
    ],
)
def test_fields_that_differ(before: Any, after: Any, found: list[Any]) -> None:
    assert [
        (changed_fields.text_of(each.path), each.before, each.after)
        for each in changed_fields.differences(before, after)
    ] == found


def entry(manager: str, fields: dict[str, Any], operation: str = "Update", **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "time": "2026-01-01T00:00:00Z", "fieldsV1": fields, **more}


IMAGE = {"f:spec": {"f:containers": {'k:{"name":"envoy"}': {".": {}, "f:image": {}, "f:name": {}}}}}
LIVE = {
    **pod(image="e:2"),
    "metadata": {
        "managedFields": [
            entry("fastml.supersonic", {"f:spec": {"f:replicas": {}, "f:args": {}}}, "Apply"),
            entry("kubectl-edit", IMAGE),
            entry("kubectl", {"f:spec": {"f:replicas": {}}}, subresource="scale"),
            entry("kubelet", {"f:status": {"f:phase": {}}}, subresource="status"),
        ]
    },
}


@pytest.mark.parametrize(
    ("field", "managers"),
    [
        ("image", ["kubectl-edit"]),
        ("spec.replicas", ["fastml.supersonic", "kubectl"]),
        # An atomic list belongs to whoever has set it.
        ("args", ["fastml.supersonic"]),
        ("other", []),
    ],
)
def test_who_has_set_a_field(field: str, managers: list[str]) -> None:
    containers = LIVE["spec"]["containers"]
    paths: dict[str, changed_fields.Path] = {
        "image": ("spec", "containers", changed_fields.Entry((("name", "envoy"),), containers[0], 0), "image"),
        "spec.replicas": ("spec", "replicas"),
        "args": ("spec", "args", "0"),
        "other": ("spec", "containers", changed_fields.Entry((("name", "other"),), containers[1], 1), "image"),
    }
    assert [each["manager"] for each in changed_fields.owners(LIVE, paths[field])] == managers


def test_how_they_are_named() -> None:
    scale = changed_fields.latest([LIVE["metadata"]["managedFields"][2]])
    assert changed_fields.by(scale) == "kubectl (update of scale) at 2026-01-01T00:00:00Z"
    early = {"manager": "a", "operation": "Apply", "time": "2025-01-01T00:00:00Z"}
    assert [each["manager"] for each in changed_fields.latest([early, LIVE["metadata"]["managedFields"][1]])] == [
        "kubectl-edit",
        "a",
    ]


def annotated(manager: str, *names: str) -> dict[str, Any]:
    return entry(manager, {"f:metadata": {"f:annotations": {".": {}, **{f"f:{name}": {} for name in names}}}})


@pytest.mark.parametrize(
    ("added", "trusted", "found"),
    [
        (annotated("kubectl-annotate", "x/y"), (), [("kubectl-annotate", ['metadata.annotations["x/y"]'])]),
        (annotated("kube-controller-manager", "deployment.kubernetes.io/revision"), (), []),
        (annotated("cert-manager-certificates-trigger", "x"), (), []),
        (annotated("fastml.supersonic.models", "x"), (), []),
        (annotated("reloader", "x"), (), [("reloader", ["metadata.annotations.x"])]),
        (annotated("reloader", "x"), ("relo*",), []),
        # A value that both have set is the inventory's.
        (annotated("kubectl", "mine"), (), []),
    ],
)
def test_what_others_have_added(added: dict[str, Any], trusted: tuple[str, ...], found: list[Any]) -> None:
    live = {"metadata": {"managedFields": [{**annotated("fastml.supersonic", "mine"), "operation": "Apply"}, added]}}
    told = [
        (each["manager"], fields) for each, fields in changed_fields.foreign(live, "fastml.supersonic", [], trusted)
    ]
    assert told == found


@pytest.mark.parametrize(
    ("manager", "kind", "told"),
    [
        ("rancher", "Service", True),
        # MetalLB, or anybody's.
        ("controller", "Service", False),
        ("controller", "Deployment", True),
        ("speaker", "Service", True),
    ],
)
def test_common_names_are_not_trusted(manager: str, kind: str, told: bool) -> None:
    live = {"kind": kind, "metadata": {"managedFields": [annotated(manager, "x")]}}
    assert bool(list(changed_fields.foreign(live, "fastml.supersonic", [], ()))) == told


def test_what_differs_is_not_added_too() -> None:
    path = ("spec", "containers", changed_fields.Entry((("name", "envoy"),), LIVE["spec"]["containers"][0], 0), "image")
    found = {each["manager"]: fields for each, fields in changed_fields.foreign(LIVE, "fastml.supersonic", [path], ())}
    # The name identifies the entry of the list, and comes with every field of it.
    assert "spec.containers[envoy].image" not in found.get("kubectl-edit", [])
