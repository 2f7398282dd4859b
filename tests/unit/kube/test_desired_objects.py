# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.desired_objects import Key, place, read
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import Resource

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (None, "definitions[0]: a mapping is needed, this is nothing"),
        ("text", "definitions[0]: a mapping is needed, this is a string"),
        ([CONFIG_MAP], "definitions[0]: a mapping is needed, this is a list"),
        ({}, "definitions[0]: apiVersion is missing"),
        ({"apiVersion": 1}, "definitions[0]: apiVersion must be a string"),
        ({"apiVersion": "v1"}, "definitions[0]: kind is missing"),
        ({"apiVersion": "v1", "kind": "Pod"}, "definitions[0] (Pod): metadata is missing"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": []}, "definitions[0] (Pod): metadata must be a mapping"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {}}, "definitions[0] (Pod): metadata.name is missing"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": 7}}, "metadata.name must be a string"),
        ({**CONFIG_MAP, "metadata": {"name": "a", "namespace": 7}}, "metadata.namespace must be a string"),
        ({**CONFIG_MAP, "metadata": {"generateName": "a-"}}, "generateName cannot be used"),
        ({**CONFIG_MAP, "metadata": {"name": "a", "labels": ["x"]}}, "metadata.labels must be a mapping"),
        (
            {**CONFIG_MAP, "metadata": {"name": "a", "labels": {"on": True}}},
            "definitions[0] (ConfigMap/a): metadata.labels.on must be a string, it is a boolean; quote it",
        ),
        ({**CONFIG_MAP, "metadata": {"name": "a", "annotations": {"n": 1}}}, "metadata.annotations.n must be a string"),
        (
            {**CONFIG_MAP, "metadata": {"name": "a", "labels": {"applyset.kubernetes.io/part-of": "x"}}},
            "the label applyset.kubernetes.io/part-of is kept by this module",
        ),
        ({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {}, "items": []}, "give its items one by one"),
        ({**SECRET, "stringData": {"pin": 1234}}, "stringData.pin must be a string, it is a number; quote it"),
        ({**SECRET, "data": {"pin": "not base64!"}}, "data.pin is not base64; plain text belongs in stringData"),
        ({**SECRET, "data": "x"}, "data must be a mapping"),
    ],
)
def test_wrong_definitions(definition: Any, message: str) -> None:
    with pytest.raises(SupersonicError) as caught:
        read([definition])
    assert message in str(caught.value)
    assert "1234" not in str(caught.value)
    assert "not base64!" not in str(caught.value)


def test_everything_that_is_wrong_is_told() -> None:
    with pytest.raises(SupersonicError) as caught:
        read([None, CONFIG_MAP, {"kind": "Pod"}])
    assert "definitions[0]: " in str(caught.value)
    assert "definitions[2] (Pod): " in str(caught.value)


def test_string_data_becomes_data() -> None:
    (item,) = read([{**SECRET, "data": {"a": "eA==", "b": "eA=="}, "stringData": {"b": "y"}}])
    assert item.definition["data"] == {"a": "eA==", "b": base64.b64encode(b"y").decode()}
    assert "stringData" not in item.definition


def test_what_the_server_writes_is_dropped() -> None:
    metadata = {"name": "a", "uid": "1", "resourceVersion": "2", "managedFields": [], "creationTimestamp": "x"}
    (item,) = read([{**CONFIG_MAP, "metadata": metadata, "status": {}}])
    assert item.definition == CONFIG_MAP


def test_the_input_is_left_alone() -> None:
    given = {**SECRET, "metadata": {"name": "s"}, "stringData": {"a": "b"}}
    (item,) = read([given])
    place([item], {0: Resource("", "v1", "Secret", "secrets", True)}, "here", [])
    assert given == {**SECRET, "metadata": {"name": "s"}, "stringData": {"a": "b"}}


MAPS = Resource("", "v1", "ConfigMap", "configmaps", True)
CLASSES = Resource("storage.k8s.io", "v1", "StorageClass", "storageclasses", False)


def in_namespace(name: str, namespace: str | None) -> dict[str, Any]:
    return {**CONFIG_MAP, "metadata": {"name": name, "namespace": namespace}}


def test_place() -> None:
    items = read([in_namespace("a", None), in_namespace("b", "here"), in_namespace("c", "there")])
    wanted = place(items, dict.fromkeys(range(3), MAPS), "here", ["there"])
    assert [w.key for w in wanted] == [
        Key("", "ConfigMap", "here", "a"),
        Key("", "ConfigMap", "here", "b"),
        Key("", "ConfigMap", "there", "c"),
    ]
    assert wanted[2].path == "/api/v1/namespaces/there/configmaps/c"


@pytest.mark.parametrize(
    ("definitions", "resource", "message"),
    [
        ([in_namespace("a", "there")], MAPS, "(ConfigMap/a): it is in namespace 'there', the set is in 'here'"),
        ([in_namespace("a", None), in_namespace("a", "here")], MAPS, "the same object is already in definitions[0]"),
        (
            [
                {
                    "apiVersion": "storage.k8s.io/v1",
                    "kind": "StorageClass",
                    "metadata": {"name": "a", "namespace": "here"},
                }
            ],
            CLASSES,
            "a StorageClass belongs to no namespace",
        ),
    ],
)
def test_wrong_places(definitions: list[Any], resource: Resource, message: str) -> None:
    with pytest.raises(SupersonicError) as caught:
        place(read(definitions), dict.fromkeys(range(len(definitions)), resource), "here", [])
    assert message in str(caught.value)
