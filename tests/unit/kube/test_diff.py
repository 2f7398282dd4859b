# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.desired_objects import Key
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.diff import (
    Differences,
    Mask,
    changed_parts,
    field_managers,
    normalise,
    owned,
)

ME = "fastml.supersonic"
KEY = Key("", "ConfigMap", "here", "a")


def live(data: dict[str, str], fields: Any = None, **metadata: Any) -> dict[str, Any]:
    entry = {"manager": ME, "operation": "Apply", "fieldsV1": fields or {"f:data": {"f:a": {}}}}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "here", "managedFields": [entry], **metadata},
        "data": data,
    }


@pytest.mark.parametrize(
    "noise",
    [{"resourceVersion": "9"}, {"generation": 3}, {"uid": "u"}, {"creationTimestamp": "2026-01-01T00:00:00Z"}],
    ids=lambda noise: next(iter(noise)),
)
def test_what_the_server_writes_is_no_difference(noise: dict[str, Any]) -> None:
    differences = Differences(Mask())
    assert not differences.compare(KEY, live({"a": "1"}), {**live({"a": "1"}, **noise), "status": {"x": 1}}, ME)
    assert differences.empty
    assert differences.show([KEY]) == []


def test_time_of_the_last_apply_is_no_difference() -> None:
    one, two = live({"a": "1"}), live({"a": "1"})
    two["metadata"]["managedFields"][0]["time"] = "2026-01-01T00:00:00Z"
    assert not Differences(Mask()).compare(KEY, one, two, ME)


def test_a_value() -> None:
    differences = Differences(Mask())
    assert differences.compare(KEY, live({"a": "1", "b": "1"}), live({"a": "1", "b": "2"}), ME)
    assert differences.show([KEY]) == [
        {
            "before_header": "ConfigMap/a in here",
            "after_header": "ConfigMap/a in here (changed)",
            "before": {"data": {"b": "1"}},
            "after": {"data": {"b": "2"}},
        }
    ]


def test_ownership_alone_is_a_difference() -> None:
    differences = Differences(Mask())
    more = {"f:data": {"f:a": {}, "f:b": {}}}
    assert differences.compare(KEY, live({"a": "1", "b": "2"}), live({"a": "1", "b": "2"}, more), ME)
    assert differences.show([KEY])[0]["after"] == {"(fields set by this manager)": [".data.b"]}


def test_owned_fields() -> None:
    fields = {"f:spec": {"f:containers": {'k:{"name":"x"}': {".": {}, "f:image": {}}}, "f:replicas": {}}}
    value = {"metadata": {"managedFields": [{"manager": ME, "operation": "Apply", "fieldsV1": fields}]}}
    assert owned(value, ME) == ['.spec.containers[{"name":"x"}].image', ".spec.replicas"]
    assert owned(value, "other") == []
    assert field_managers(value, "spec", "replicas") == value["metadata"]["managedFields"]
    assert field_managers(value, "spec", "template") == []


def test_normalise_keeps_what_the_user_writes() -> None:
    value = live({"a": "1"}, labels={"x": "y"}, annotations={"z": "1"}, finalizers=["f"])
    assert normalise(value) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "a",
            "namespace": "here",
            "labels": {"x": "y"},
            "annotations": {"z": "1"},
            "finalizers": ["f"],
        },
        "data": {"a": "1"},
    }


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, ({"b": 2}, {"b": 3})),
        ({"a": 1}, {}, ({"a": 1}, {})),
        ({}, {"a": 1}, ({}, {"a": 1})),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ({"a": {"c": 2}}, {"a": {"c": 3}})),
        ({"a": [1, 2]}, {"a": [1, 3]}, ({"a": [1, 2]}, {"a": [1, 3]})),
        (
            [{"name": "x", "v": 1}, {"name": "y", "v": 1}],
            [{"name": "x", "v": 1}, {"name": "y", "v": 2}],
            ([{"name": "y", "v": 1}], [{"name": "y", "v": 2}]),
        ),
        ([{"name": "x"}], [{"name": "x"}, {"name": "y"}], ([], [{"name": "y"}])),
        ([{"name": "x"}, {"name": "y"}], [{"name": "y"}], ([{"name": "x"}], [])),
        # The order alone: there is nothing smaller to show.
        (
            [{"name": "x"}, {"name": "y"}],
            [{"name": "y"}, {"name": "x"}],
            ([{"name": "x"}, {"name": "y"}], [{"name": "y"}, {"name": "x"}]),
        ),
    ],
)
def test_changed_parts(before: Any, after: Any, expected: Any) -> None:
    assert changed_parts(before, after) == expected


# ---- secrets

PASSWORD = "correct horse battery"
CODED = base64.b64encode(PASSWORD.encode()).decode()


def secret(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "here"}, **fields}


@pytest.mark.parametrize("fields", [{"stringData": {"p": PASSWORD}}, {"data": {"p": CODED}}], ids=["string", "data"])
def test_values_are_hidden_everywhere(fields: dict[str, Any]) -> None:
    mask = Mask([secret(**fields)])
    for value in (PASSWORD, CODED):
        assert value not in str(mask.object(secret(**fields)))
        assert mask.text(f"a log with {value}.") == "a log with ********."
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"x": f"copy of {PASSWORD}"}}
    assert mask.object(other)["data"] == {"x": "copy of ********"}


def test_a_change_shows_and_says_nothing_else() -> None:
    mask = Mask()
    one, two = (mask.object(secret(data={"p": value, "q": value}))["data"] for value in ("b25l", "dHdv"))
    assert one["p"] != two["p"]
    assert one["p"] == mask.object(secret(data={"p": "b25l"}))["data"]["p"]
    # Two keys with the same value do not look the same, nor does one value in two runs.
    assert one["p"] != one["q"]
    assert one["p"] != Mask().object(secret(data={"p": "b25l"}))["data"]["p"]


@pytest.mark.parametrize(
    "value",
    [
        {"apiVersion": "v1", "kind": "secret", "metadata": {"name": "s"}, "stringData": {"p": PASSWORD}},
        {"kind": "Secret", "stringData": {"p": PASSWORD}},
        {"apiVersion": "v2", "kind": "Secret", "metadata": None, "data": {"p": CODED}},
        secret(data=[PASSWORD]),
        secret(stringData=PASSWORD),
    ],
)
def test_what_is_nearly_a_secret_is_hidden_too(value: dict[str, Any]) -> None:
    shown = str(Mask([value]).object(value))
    assert PASSWORD not in shown
    assert CODED not in shown


def test_lines_of_a_long_value() -> None:
    key = "-----BEGIN KEY-----\nabcdefghijkl\n-----END KEY-----\n"
    assert "abcdefghijkl" not in Mask([secret(stringData={"k": key})]).text("bad line: abcdefghijkl")


def test_short_values_do_not_garble_everything() -> None:
    assert Mask([secret(stringData={"debug": "true", "n": "1"})]).text("true: 1 of 1") == "true: 1 of 1"


def test_copies_in_annotations() -> None:
    annotated = secret()
    annotated["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": PASSWORD, "x": "y"}
    shown = Mask().object(annotated)["metadata"]["annotations"]
    assert PASSWORD not in str(shown)
    assert shown["x"] == "y"


def test_hiding_leaves_the_object_alone() -> None:
    value = secret(data={"p": CODED})
    Mask([value]).object(value)
    assert value["data"] == {"p": CODED}


def test_a_value_that_begins_with_another_is_hidden_whole() -> None:
    values = {"user": "supersonic-admin", "password": "supersonic-admin-26"}
    mask = Mask([{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "stringData": values}])
    assert "26" not in mask.text("logged in with supersonic-admin-26")
