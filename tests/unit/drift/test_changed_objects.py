# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of an object whose dry-run differs from what is there."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._drift.changed_objects import Comparison
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import ApiError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.apply import Options, _Plan
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.desired_objects import Key, Wanted
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.diff import Mask
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import Resource
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module

HERE = {"name": "a", "namespace": "cms"}


def written(manager: str, fields: dict[str, Any], operation: str = "Update", at: str = "12") -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "time": f"2026-01-01T{at}:00:00Z", "fieldsV1": fields}


def ours(fields: dict[str, Any]) -> dict[str, Any]:
    return written("fastml.supersonic", fields, "Apply", "10")


def compared(
    before: dict[str, Any] | None, after: dict[str, Any] | None, *entries: Any, kind: str = "ConfigMap", **options: Any
) -> Comparison:
    """before: what is there; after: what a run would make of it."""
    live = None
    if before is not None:
        live = {"kind": kind, "apiVersion": "v1", **before, "metadata": {**HERE, "managedFields": list(entries)}}
    result = None if after is None else {"kind": kind, "apiVersion": "v1", **after, "metadata": dict(HERE)}
    mask = Mask([each for each in (live, result) if each])
    found = Comparison(None, Options("set", "cms", check=True), [], mask, **options)  # type: ignore[arg-type]
    plan = _Plan(Wanted(Key("", kind, "cms", "a"), Resource("", "v1", kind, "x", True), result or {}), result or {})
    plan.live, plan.result, plan.changed = copy.deepcopy(live), result, before != after
    found._judge(plan)
    return found


DATA = {"f:data": {"f:x": {}}}


@pytest.mark.parametrize(
    ("live", "wanted", "entries", "kind", "text"),
    [
        (
            {"data": {"x": "2"}},
            {"data": {"x": "1"}},
            [written("kubectl-edit", DATA)],
            "edited",
            "data.x was set by kubectl-edit (update) at 2026-01-01T12:00:00Z",
        ),
        (
            {"data": {"x": "2"}},
            {"data": {"x": "1"}},
            [ours(DATA)],
            "not applied",
            "data.x was applied by fastml.supersonic (apply) at 2026-01-01T10:00:00Z, "
            "and the inventory has another value now",
        ),
        # Both have set it to the same, and the inventory has changed since.
        (
            {"data": {"x": "2"}},
            {"data": {"x": "1"}},
            [ours(DATA), written("helm", DATA)],
            "edited",
            "data.x was set by helm (update) at 2026-01-01T12:00:00Z",
        ),
        (
            {"data": {"x": "2"}},
            {"data": {}},
            [ours(DATA)],
            "not applied",
            "data.x was applied by fastml.supersonic (apply) at 2026-01-01T10:00:00Z, "
            "and the inventory does not have it any more",
        ),
        (
            {"data": {}},
            {"data": {"x": "1"}},
            [ours({"f:data": {}}), written("kubectl-edit", {"f:data": {"f:y": {}}})],
            "removed",
            "data.x is missing; written since the last run: kubectl-edit (update) at 2026-01-01T12:00:00Z",
        ),
        (
            {"data": {}},
            {"data": {"x": "1"}},
            [ours({"f:data": {}}), written("kubectl-edit", {"f:data": {"f:y": {}}}, at="09")],
            "not applied",
            "data.x is missing: it was removed, or the inventory has it only now",
        ),
    ],
)
def test_who_has_made_a_difference(live: Any, wanted: Any, entries: list[Any], kind: str, text: str) -> None:
    first = compared(live, wanted, *entries).findings[0]
    assert (first["severity"], first["kind"], first["object"], first["field"]) == (
        "error",
        kind,
        "ConfigMap/a",
        "data.x",
    )
    assert first["text"] == text
    assert first.get("live") == live["data"].get("x")
    assert first.get("desired") == wanted["data"].get("x")


def test_a_number_of_zero_has_no_author() -> None:
    """Kubernetes notes nobody who has set it by the scale subresource."""
    live, wanted = {"spec": {"replicas": 0, "paused": True}}, {"spec": {"replicas": 1, "paused": False}}
    scaled, paused = compared(live, wanted, ours({"f:spec": {"f:selector": {}}}), kind="Deployment").findings
    assert (scaled["field"], scaled["kind"], scaled["by"]) == ("spec.replicas", "edited", [])
    assert (paused["field"], paused["kind"], paused["by"]) == ("spec.paused", "not applied", [])


def test_what_is_as_it_is_to_be_is_no_finding() -> None:
    same = {"data": {"x": "1"}}
    assert compared(same, same, ours(DATA)).findings == []
    # What a controller has added.
    status = written("kube-controller-manager", {"f:metadata": {"f:annotations": {"f:y": {}}}})
    assert compared(same, same, ours(DATA), status).findings == []
    added = compared(same, same, ours(DATA), written("helm", {"f:data": {"f:y": {}}})).findings
    assert [(each["severity"], each["kind"], each["fields"]) for each in added] == [("warning", "added", ["data.y"])]
    assert compared(same, same, ours(DATA), written("helm", {"f:data": {"f:y": {}}}), trusted=["helm"]).findings == []


def test_an_object_that_is_missing_or_refused() -> None:
    (missing,) = compared(None, {"data": {}}).findings
    assert (missing["kind"], missing["text"]) == ("missing", "it is missing")


def test_one_that_may_not_be_compared_says_nothing_of_the_others() -> None:
    found = Comparison(None, Options("set", "cms", check=True), [], Mask())  # type: ignore[arg-type]
    live = {"metadata": dict(HERE)}
    key = Key("", "ConfigMap", "cms", "a")
    plan = _Plan(Wanted(key, Resource("", "v1", "ConfigMap", "x", True), live), live, live=live)
    for status, kinds, unknown in ((403, [], 1), (422, ["refused"], 1)):
        error = ApiError("no", status=status, reason="", body={})
        assert found._may_come(error, plan, set(), frozenset(), set())
        found._judge(plan)
        assert [each["kind"] for each in found.findings] == kinds
        assert len(found.unknown) == unknown


def test_no_value_of_a_secret_is_told() -> None:
    old, new = (base64.b64encode(value).decode() for value in (b"planted-value-1", b"planted-value-2"))
    found = compared(
        {"data": {"x": old, "y": "MQ=="}},
        {"data": {"x": new, "y": "Mg=="}},
        written("kubectl-edit", {"f:data": {"f:x": {}, "f:y": {}}}),
        kind="Secret",
    )
    assert [each["field"] for each in found.findings] == ["data.x", "data.y"]
    text = str(found.findings)
    for value in (old, new, "planted-value", "MQ==", "Mg=="):
        assert value not in text


def test_the_module_refuses_what_cannot_be_a_set() -> None:
    options = {"name": "Not A Name", "namespace": "cms", "host": "http://127.0.0.1:9"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"p": "planted-value"}}
    result = run_module("manifests_info", {**options, "definitions": [secret]})
    assert "name 'Not A Name' cannot name a set" in result["msg"]
    assert "planted-value" not in str(result)
