# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known about the release that a running server serves. Real servers are in tests/cluster."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._model_servers import (
    CONTENT_ANNOTATION,
    SERVED_ANNOTATION,
    Release,
    has_started,
    server,
    state_of,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._model_store_pod import MANAGER

OLD, NEW = "a" * 40, "b" * 40
SWITCHED = 1_800_000_000.0
FIRST = SWITCHED - 1000
RELEASE = Release(NEW, [{"name": "m", "digest": "2"}], SWITCHED, [(OLD, FIRST, [{"name": "m", "digest": "1"}])])
NOTE = {SERVED_ANNOTATION: OLD, CONTENT_ANNOTATION: '{"m":"1","n":"1"}'}


def stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def pod(
    made: float, annotations: dict[str, str] | None = None, noted: float | None = None, restarted: float | None = None
) -> dict[str, Any]:
    fields = [{"manager": "kubelet", "time": stamp(SWITCHED + 5000)}]
    if noted is not None:
        fields.append({"manager": MANAGER, "time": stamp(noted)})
    status = {"restartCount": int(restarted is not None), "state": {"running": {"startedAt": stamp(restarted or made)}}}
    return {
        "metadata": {
            "name": "p",
            "creationTimestamp": stamp(made),
            "annotations": annotations or {},
            "managedFields": fields,
        },
        "status": {"containerStatuses": [status]},
    }


@pytest.mark.parametrize(
    ("server", "serves", "known"),
    [
        # Its Deployment says it.
        (pod(FIRST, {SERVED_ANNOTATION: OLD}), OLD, {}),
        # A roll-out has noted it, all of it or what it has got to.
        (pod(FIRST, NOTE, noted=FIRST + 10), OLD, {"m": "1", "n": "1"}),
        (pod(FIRST, {CONTENT_ANNOTATION: '{"m":"2"}'}, noted=FIRST + 10), None, {"m": "2"}),
        (pod(FIRST, {**NOTE, CONTENT_ANNOTATION: "no JSON"}, noted=FIRST + 10), OLD, {}),
        # Nobody has noted anything: it has read what was current when it was made.
        (pod(SWITCHED + 1), NEW, {"m": "2"}),
        (pod(SWITCHED), OLD, {"m": "1"}),
        (pod(FIRST + 1), OLD, {"m": "1"}),
        (pod(FIRST), None, {}),
        # Started anew after the note: it has read what is current, or nobody knows.
        (pod(FIRST, NOTE, noted=FIRST + 10, restarted=SWITCHED + 100), NEW, {"m": "2"}),
        (pod(FIRST, NOTE, noted=FIRST + 10, restarted=SWITCHED - 100), None, {}),
        # So near to the switch that the clocks of two machines decide nothing.
        (pod(FIRST, NOTE, noted=FIRST + 10, restarted=SWITCHED + 20), None, {}),
        # Started anew before the note.
        (pod(FIRST, NOTE, noted=FIRST + 500, restarted=FIRST + 100), OLD, {"m": "1", "n": "1"}),
    ],
)
def test_state(server: dict[str, Any], serves: str | None, known: dict[str, str]) -> None:
    assert state_of(server, RELEASE)[:2] == (serves, known)


def test_nothing_is_known_where_the_store_does_not_know_either() -> None:
    assert state_of(pod(SWITCHED + 1), Release(NEW, [], None)) == (None, {}, False)
    assert state_of(pod(FIRST, restarted=SWITCHED + 100), Release(NEW, [], None)) == (None, {}, False)


@pytest.mark.parametrize(
    ("contents", "taken"),
    [('{"m":"2"}', {"models": 1, "of": 2}), ("{}", {"models": 0, "of": 2}), ('{"m":"1"}', {"models": 0, "of": 2})],
)
def test_a_server_that_has_taken_a_release_by_half(contents: str, taken: dict[str, int]) -> None:
    release = Release(NEW, [{"name": "m", "digest": "2"}, {"name": "n", "digest": "2"}], SWITCHED)
    half = pod(FIRST, {CONTENT_ANNOTATION: contents}, noted=SWITCHED + 10)
    half["status"] |= {"phase": "Running"}
    half["status"]["containerStatuses"][0] |= {"name": "triton", "ready": True}
    found = server(half, release)
    assert (found["release"], found["taken"], found["current"]) == (None, taken, False)
    assert found["differences"] == [f"in between: {taken['models']} of 2 models of the release {NEW}"]
    # Started anew since: nobody knows.
    half["status"]["containerStatuses"][0] |= {"restartCount": 1, "state": {"running": {"startedAt": stamp(SWITCHED)}}}
    assert server(half, release)["taken"] is None


def test_a_server_that_waits_has_read_nothing() -> None:
    waiting = pod(FIRST)
    waiting["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "ContainerCreating"}}
    assert not has_started(waiting)
    assert not has_started({"metadata": {}, "status": {}})
    assert has_started(pod(FIRST))
    # It starts again and again.
    waiting["status"]["containerStatuses"][0]["restartCount"] = 2
    assert has_started(waiting)
