# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known about the release that a running server serves. Real servers are in tests/cluster."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_servers import (
    CONTENT_ANNOTATION,
    SERVED_ANNOTATION,
    SWITCH_ANNOTATION,
    Release,
    container_of,
    has_started,
    server,
    state_of,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store_pod import MANAGER

OLD, NEW = "a" * 40, "b" * 40
SWITCHED = 1_800_000_000.0
FIRST = SWITCHED - 1000
RELEASE = Release(NEW, [{"name": "m", "digest": "2"}], SWITCHED, [(OLD, FIRST, [{"name": "m", "digest": "1"}])])
# Back to the old one, after the new one.
BACK = SWITCHED + 1000
ROLLED_BACK = Release(OLD, [{"name": "m", "digest": "1"}], BACK, [(NEW, SWITCHED, RELEASE.models), *RELEASE.earlier])
NOTE = {SERVED_ANNOTATION: OLD, CONTENT_ANNOTATION: '{"m":"1","n":"1"}'}
OF_OLD, OF_NEW = {SERVED_ANNOTATION: OLD}, {SERVED_ANNOTATION: NEW}


def stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def pod(
    made: float,
    annotations: dict[str, str] | None = None,
    noted: float | None = None,
    restarted: float | None = None,
    *,
    started: float | None = None,
    written: float | None = None,
    ready: float | None = None,
) -> dict[str, Any]:
    """A pod whose server is ready a second after it has started, and of which nothing was written after that.

    made, noted, written: by the clock of the API server; restarted, started, ready: by that of its node.
    """
    begun = restarted or started or made
    fields = [
        {"manager": "kube-controller-manager", "time": stamp(SWITCHED + 5000)},
        {"manager": "kubelet", "subresource": "status", "time": stamp(written or begun + 1)},
    ]
    if noted is not None:
        fields.append({"manager": MANAGER, "time": stamp(noted)})
    sidecar = {"name": "proxy", "restartCount": 3, "state": {"running": {"startedAt": stamp(BACK + 4000)}}}
    status = {
        "name": "triton",
        "restartCount": int(restarted is not None),
        "state": {"running": {"startedAt": stamp(begun)}},
    }
    return {
        "metadata": {
            "name": "p",
            "creationTimestamp": stamp(made),
            "annotations": annotations or {},
            "managedFields": fields,
        },
        "spec": {"containers": [{"name": "proxy"}, {"name": "triton"}]},
        "status": {
            "containerStatuses": [sidecar, status],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": stamp(ready or begun + 1)}],
        },
    }


def triton(pod: dict[str, Any]) -> dict[str, Any]:
    """What Kubernetes says of its Triton."""
    status: dict[str, Any] = pod["status"]["containerStatuses"][1]
    return status


def unready(pod: dict[str, Any]) -> dict[str, Any]:
    pod["status"]["conditions"] = [{"type": "Ready", "status": "False", "lastTransitionTime": stamp(FIRST)}]
    return pod


@pytest.mark.parametrize(
    ("server", "serves", "known"),
    [
        # A roll-out has noted it, all of it or what it has got to.
        (pod(FIRST, NOTE, noted=FIRST + 10), OLD, {"m": "1", "n": "1"}),
        (pod(FIRST, {CONTENT_ANNOTATION: '{"m":"2"}'}, noted=FIRST + 10), None, {"m": "2"}),
        (pod(FIRST, {**NOTE, CONTENT_ANNOTATION: "no JSON"}, noted=FIRST + 10), OLD, {}),
        # Nobody has noted anything: it has read what was current when it was made.
        (pod(SWITCHED + 1), NEW, {"m": "2"}),
        (pod(FIRST + 1), OLD, {"m": "1"}),
        # Older than all that is known.
        (pod(FIRST - 100), None, {}),
        # It was made before the switch, and started after it; or so near to it that nobody knows.
        (pod(SWITCHED - 100, started=SWITCHED + 100), NEW, {"m": "2"}),
        (pod(SWITCHED - 100, started=SWITCHED + 20), None, {}),
        (pod(SWITCHED - 1), None, {}),
        # It still read when the release was switched, or perhaps.
        (pod(SWITCHED - 100, ready=SWITCHED + 100, written=SWITCHED + 101), None, {}),
        (unready(pod(SWITCHED - 100)), None, {}),
        # Short before the switch, but the API server has known it by then.
        (pod(SWITCHED - 20, started=SWITCHED - 18, written=SWITCHED - 10), OLD, {"m": "1"}),
        # The clock of its node is an hour fast, or slow.
        (pod(SWITCHED - 100, started=SWITCHED + 3500, ready=SWITCHED + 3501, written=SWITCHED - 90), OLD, {"m": "1"}),
        (pod(SWITCHED + 100, started=SWITCHED - 3500, ready=SWITCHED - 3499, written=SWITCHED + 110), NEW, {"m": "2"}),
        # Started anew after the note: it has read what was current then, or nobody knows.
        (pod(FIRST, NOTE, noted=FIRST + 10, restarted=SWITCHED + 100), NEW, {"m": "2"}),
        (pod(FIRST, NOTE, noted=FIRST + 10, restarted=SWITCHED - 100), OLD, {"m": "1"}),
        # So near to the switch that the clocks of two machines decide nothing.
        (pod(FIRST, NOTE, noted=FIRST + 10, restarted=SWITCHED + 20), None, {}),
        # Started anew before the note.
        (pod(FIRST, NOTE, noted=FIRST + 500, restarted=FIRST + 100), OLD, {"m": "1", "n": "1"}),
    ],
)
def test_state(server: dict[str, Any], serves: str | None, known: dict[str, str]) -> None:
    assert state_of(server, RELEASE)[:2] == (serves, known)


@pytest.mark.parametrize(
    ("server", "serves"),
    [
        # From the template of the old release, which it has read before, while and after the new one was current.
        (pod(FIRST + 100, OF_OLD), OLD),
        (pod(SWITCHED + 100, OF_OLD), NEW),
        (pod(BACK + 100, OF_OLD), OLD),
        # Its container was started anew.
        (pod(FIRST + 100, OF_OLD, restarted=SWITCHED + 100), NEW),
        (pod(SWITCHED + 100, OF_NEW, restarted=BACK + 100), OLD),
        # Made before the roll-back, or after the template named that.
        (pod(BACK - 1, {**OF_OLD, SWITCH_ANNOTATION: str(FIRST)}), None),
        (pod(BACK - 1, {**OF_OLD, SWITCH_ANNOTATION: str(BACK)}), OLD),
        (pod(BACK - 1, {**OF_OLD, SWITCH_ANNOTATION: "no number"}), OLD),
        # Times of switches are noted late: a template that names a release was written after the switch.
        (pod(SWITCHED - 1, OF_NEW), NEW),
        # Nobody knows better than the template.
        (pod(FIRST - 100, OF_OLD), OLD),
    ],
)
def test_what_a_server_has_read_counts_and_not_what_its_template_names(server: dict[str, Any], serves: str) -> None:
    assert state_of(server, ROLLED_BACK).release == serves


def test_made_for_one_release_started_with_the_next_and_rolled_back() -> None:
    assert state_of(pod(SWITCHED - 100, started=SWITCHED + 100), ROLLED_BACK)[:2] == (NEW, {"m": "2"})


def test_nothing_is_known_where_the_store_does_not_know_either() -> None:
    assert state_of(pod(SWITCHED + 1), Release(NEW, [], None)) == (None, {}, False)
    assert state_of(pod(FIRST, restarted=SWITCHED + 100), Release(NEW, [], None)) == (None, {}, False)
    assert state_of(pod(FIRST, OF_OLD), Release(NEW, [], None)) == (OLD, {}, False)


def test_of_a_folder_only_the_last_switch_is_known() -> None:
    # By a clock of its own, which is fast here.
    folder = Release(NEW, RELEASE.models, SWITCHED)
    assert state_of(pod(SWITCHED - 20, OF_NEW, written=SWITCHED + 1), folder).release == NEW
    assert state_of(pod(SWITCHED - 100, OF_OLD), folder).release == OLD
    assert state_of(pod(SWITCHED - 100, OF_OLD, restarted=SWITCHED + 100), folder).release == NEW
    assert state_of(pod(SWITCHED - 100, OF_OLD, restarted=SWITCHED - 20, written=SWITCHED + 1), folder).release is None


def test_a_server_that_waits_to_be_started_again_reads_what_is_current_then() -> None:
    failing = pod(FIRST, NOTE, noted=FIRST + 10, restarted=FIRST + 5)
    triton(failing)["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    assert state_of(failing, RELEASE) == (None, {}, False)


def test_which_container_is_the_server() -> None:
    assert container_of(pod(FIRST)) == "triton"
    assert container_of(pod(FIRST, {"kubectl.kubernetes.io/default-container": "server"})) == "server"
    assert container_of({"metadata": {}, "spec": {"containers": [{"name": "server"}, {"name": "b"}]}}) == "server"


@pytest.mark.parametrize(
    ("contents", "taken"),
    [('{"m":"2"}', {"models": 1, "of": 2}), ("{}", {"models": 0, "of": 2}), ('{"m":"1"}', {"models": 0, "of": 2})],
)
def test_a_server_that_has_taken_a_release_by_half(contents: str, taken: dict[str, int]) -> None:
    release = Release(NEW, [{"name": "m", "digest": "2"}, {"name": "n", "digest": "2"}], SWITCHED)
    note = {CONTENT_ANNOTATION: contents}
    half = pod(FIRST, note, noted=SWITCHED + 10)
    half["status"]["phase"] = "Running"
    for status in half["status"]["containerStatuses"]:
        status["ready"] = True
    found = server(half, release)
    assert (found["release"], found["taken"], found["current"]) == (None, taken, False)
    assert found["differences"] == [f"in between: {taken['models']} of 2 models of the release {NEW}"]
    # Started anew since, or perhaps: nobody knows.
    assert (
        server(pod(FIRST, note, noted=SWITCHED + 10, restarted=SWITCHED + 5, written=SWITCHED + 50), release)["taken"]
        is None
    )


def test_a_server_that_waits_has_read_nothing() -> None:
    waiting = pod(FIRST)
    triton(waiting)["state"] = {"waiting": {"reason": "ContainerCreating"}}
    assert not has_started(waiting)
    assert not has_started({"metadata": {}, "status": {}})
    assert has_started(pod(FIRST))
    # It starts again and again.
    triton(waiting)["restartCount"] = 2
    assert has_started(waiting)
