# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration of Envoy in a file, and what Envoy says of the one that it was started with."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._drift import changed_fields, envoy_state
from ansible_collections.fastml.supersonic.plugins.module_utils._drift.running_state import configuration_of


@pytest.mark.parametrize(
    ("file", "running", "found"),
    [
        ({"a": "1s"}, {"a": "1s"}, []),
        ({"a": "0.5s"}, {"a": "0.500s"}, []),
        ({"a": "0.5s"}, {"a": "0.250s"}, ["a"]),
        ({"a": 4294967296}, {"a": "4294967296"}, []),
        ({"a": 0.1}, {"a": 0.1}, []),
        ({"a": 0.30000001}, {"a": 0.3}, []),
        # What is a default is left out.
        ({"a": False, "b": 0, "c": "", "d": [], "e": "ROUND_ROBIN"}, {}, []),
        ({"a": True}, {}, ["a"]),
        ({"a": "round robin"}, {}, ["a"]),
        ({}, {"a": 1}, ["a"]),
        # That a message is there may mean something.
        ({"a": {}}, {}, ["a"]),
        ({"l": [{"name": "x", "t": "1s"}]}, {"l": [{"name": "x", "t": "2s"}]}, ["l[x].t"]),
        ({"l": [{"t": "1s"}, {"t": "3s"}]}, {"l": [{"t": "1s"}, {"t": "2s"}]}, ["l.1.t"]),
        ({"l": [1, 2]}, {"l": [1]}, ["l"]),
        ({"key": "secret"}, {"key": "[redacted]"}, []),
    ],
)
def test_what_they_mean_is_compared(file: Any, running: Any, found: list[str]) -> None:
    assert [changed_fields.text_of(each.path) for each in envoy_state.compare(file, running)] == found


def dump(**bootstrap: Any) -> str:
    kind = "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump"
    return json.dumps({"configs": [{"@type": kind, "bootstrap": bootstrap}]})


def test_what_envoy_says_of_itself_is_left_out() -> None:
    of_itself = {"user_agent_name": "envoy", "extensions": [{"name": "x"}]}
    assert envoy_state.bootstrap_of(dump(node=of_itself, admin={})) == {"admin": {}}
    assert envoy_state.bootstrap_of(dump(node={**of_itself, "id": "a"})) == {"node": {"id": "a"}}


@pytest.mark.parametrize("answer", ["", "{}", '{"configs": []}', "[1]", '{"configs": [1]}'])
def test_another_answer_is_said_to_be_one(answer: str) -> None:
    with pytest.raises(SupersonicError, match="another form"):
        envoy_state.bootstrap_of(answer)


def test_versions_of_filters() -> None:
    answer = json.dumps({"configs": [{"@type": "x", "version_info": "abc"}, {"@type": "x"}]})
    assert envoy_state.versions_of(answer) == {"abc"}
    encoded = base64.b64encode(json.dumps({"version_info": "abc", "resources": []}).encode()).decode()
    assert envoy_state.version_of(encoded) == "abc"
    for other in ("%", base64.b64encode(b"certificate").decode(), base64.b64encode(b"[]").decode()):
        assert envoy_state.version_of(other) == ""


SPEC = {
    "volumes": [
        {"name": "configuration", "configMap": {"name": "main-envoy"}},
        {"name": "own", "configMap": {"name": "own", "items": [{"key": "k", "path": "envoy.yaml"}]}},
        {"name": "tmp", "emptyDir": {}},
    ]
}


@pytest.mark.parametrize(
    ("args", "volume", "found"),
    [
        (["--config-path", "/etc/envoy/envoy.yaml"], "configuration", ("main-envoy", "envoy.yaml")),
        (["-c", "/etc/envoy/envoy-2.yaml"], "configuration", ("main-envoy", "envoy-2.yaml")),
        (["-c", "/etc/envoy/envoy.yaml"], "own", ("own", "k")),
        (["-c", "/etc/envoy/envoy.yaml"], "tmp", None),
        (["-c", "/elsewhere/envoy.yaml"], "configuration", None),
        ([], "configuration", None),
    ],
)
def test_where_an_envoy_reads_it(args: list[str], volume: str, found: Any) -> None:
    mounts = [{"name": "tmp", "mountPath": "/etc"}, {"name": volume, "mountPath": "/etc/envoy"}]
    assert configuration_of(SPEC, {"command": ["envoy"], "args": args, "volumeMounts": mounts}) == found
