# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""In which order servers load, and what counts in the log of one that polls. Real servers are asked elsewhere."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.kserve_client import CallError
from ansible_collections.fastml.supersonic.plugins.module_utils._models import rollout
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_servers import (
    CONTENT_ANNOTATION,
    SERVED_ANNOTATION,
    SWITCH_ANNOTATION,
    Release,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models.rollout import (
    Log,
    Pool,
    ensembles_first,
    switch_of_template,
)

STEPS = {"outer": {"inner", "a"}, "inner": {"b"}, "other": {"b", "c"}}


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (["b", "a", "c"], ["a", "b", "c"]),
        (["a", "b", "inner", "other", "outer"], ["outer", "inner", "other", "a", "b"]),
        # What lies between need not have changed.
        (["b", "outer"], ["outer", "b"]),
        ([], []),
    ],
)
def test_ensembles_come_before_their_steps(models: list[str], expected: list[str]) -> None:
    for given in itertools.permutations(models):
        assert ensembles_first(given, STEPS) == expected


SWITCH = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


class Server:
    """What Kubernetes says of a log: lines from a second on, so many bytes of them."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, str]] = []
        self.asked: list[int] = []

    def says(self, second: float, *texts: str) -> None:
        self.lines += [(second, text) for text in texts]

    def text(self, _path: str, _what: str, query: Mapping[str, str]) -> str:
        since = datetime.fromisoformat(query["sinceTime"]).timestamp() - SWITCH.timestamp()
        self.asked.append(int(since))
        lines = []
        for second, text in self.lines:
            if second >= since:
                at = datetime.fromtimestamp(SWITCH.timestamp() + second, UTC)
                lines.append(f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond:06}789Z {text}\n")
        return "".join(lines)[: int(query["limitBytes"])]


def log_of(server: Any) -> Log:
    return Log(server, "/log", "Pod n/p", "triton", SWITCH.timestamp() - 2)


def loading(model: str) -> str:
    return f'I1127 12:00:00.1 1 model_lifecycle.cc:472] "loading: {model}:1"'


def loaded(model: str) -> str:
    return f"I1127 12:00:00.1 1 model_lifecycle.cc:839] \"successfully loaded '{model}'\""


def failed(model: str) -> str:
    return f"E1127 12:00:00.1 1 model_lifecycle.cc:642] failed to load '{model}' version 1: Internal: no weights."


def test_a_model_whose_load_began_before_the_switch_is_the_old_one() -> None:
    server = Server()
    server.says(-30, loading("large"), loading("bad"), loading("small"), loaded("small"))
    server.says(5, loaded("large"), failed("bad"))
    log = log_of(server)
    log.read()
    assert (log.loaded, log.failed) == (set(), {})
    server.says(20, loading("large"), loading("bad"), loading("small"))
    server.says(25, loaded("large"), failed("bad"))
    log.read()
    assert log.loaded == {"large"}
    assert log.failed == {"bad": "failed to load 'bad' version 1: Internal: no weights."}
    # The next poll finds a better one.
    server.says(40, loading("bad"))
    log.read()
    assert log.failed == {}
    server.says(41.5, loaded("bad"))
    log.read()
    assert log.loaded == {"large", "bad"}
    assert server.asked == [-2, 5, 25, 40]


def test_a_log_is_not_read_twice_nor_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "_LOG_BYTES", 2000)
    server = Server()
    server.says(1, loading("a"))
    for second in range(2, 30):
        server.says(second, *["a verbose line of a server that logs each request"] * 5)
    # More in one second than is taken at once.
    server.says(30, *["still more"] * 500)
    server.says(31, loaded("a"))
    log = log_of(server)
    for _look in range(30):
        log.read()
    assert log.loaded == {"a"}
    assert server.asked == sorted(server.asked)


@pytest.mark.parametrize("stamp", ["2026-11-27T12:00:00.123456789Z", "2026-11-27T14:00:00.1+02:00", "no time"])
def test_times_of_logs(stamp: str) -> None:
    assert rollout._second(stamp) == (int(SWITCH.timestamp()) if stamp != "no time" else None)


OLD, NEW = "a" * 40, "b" * 40
AGAIN = SWITCH.timestamp() + 0.5
# Gone back to, from a release that was current for a minute.
BACK = Release(OLD, [], AGAIN, [(NEW, AGAIN - 60, None), (OLD, AGAIN - 1000, None)])


def made(second: float, release: str = OLD, switch: str = "") -> dict[str, Any]:
    """A pod of a template, whose server has read the store at once."""
    at = datetime.fromtimestamp(AGAIN + second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    annotations = {SERVED_ANNOTATION: release, **({SWITCH_ANNOTATION: switch} if switch else {})}
    return {
        "metadata": {
            "name": f"pod{second:g}",
            "creationTimestamp": at,
            "annotations": annotations,
            "managedFields": [{"manager": "kubelet", "subresource": "status", "time": at}],
        },
        "spec": {"containers": [{"name": "triton"}]},
        "status": {
            "containerStatuses": [{"name": "triton", "restartCount": 0, "state": {"running": {"startedAt": at}}}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at}],
        },
    }


class Cluster:
    """A Deployment with the annotations of its template, or none, and the pods."""

    def __init__(self, template: dict[str, str] | None, pods: list[dict[str, Any]]) -> None:
        self.template = template
        self.pods = pods

    def find(self, path: str, _what: str) -> dict[str, Any] | None:
        assert path == "/apis/apps/v1/namespaces/n/deployments/main-triton"
        if self.template is None:
            return None
        return {"spec": {"template": {"metadata": {"annotations": self.template}}}}

    def list(self, _path: str, _what: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        assert "app.kubernetes.io/instance=main" in query["labelSelector"]
        return self.pods


@pytest.mark.parametrize(
    ("template", "pods", "switch", "replaced"),
    [
        # New, or for another release: the template changes without it, and is what is rendered.
        (None, [], "", []),
        ({SERVED_ANNOTATION: NEW, SWITCH_ANNOTATION: "5.0"}, [made(-30, NEW)], "", []),
        # As an earlier version of the collection has left it: nothing is replaced without need.
        ({SERVED_ANNOTATION: OLD}, [made(-500), made(100)], "", []),
        ({SERVED_ANNOTATION: OLD, SWITCH_ANNOTATION: "5.0"}, [made(-500, switch="5.0")], "5.0", []),
        # One was started while the other release was current.
        ({SERVED_ANNOTATION: OLD}, [made(-500), made(-30)], str(AGAIN), ["pod-30"]),
        ({SERVED_ANNOTATION: OLD, SWITCH_ANNOTATION: "5.0"}, [made(-30, switch="5.0")], str(AGAIN), ["pod-30"]),
        # It is being replaced already: the template stays as it is.
        (
            {SERVED_ANNOTATION: OLD, SWITCH_ANNOTATION: str(AGAIN)},
            [made(-30), made(1, switch=str(AGAIN))],
            str(AGAIN),
            ["pod-30"],
        ),
    ],
)
def test_servers_that_have_read_another_release_are_replaced(
    template: dict[str, str] | None, pods: list[dict[str, Any]], switch: str, replaced: list[str]
) -> None:
    api: Any = Cluster(template, pods)
    servers = {"namespace": "n", "instance": "main", "labels": None}
    resolver: Any = None
    found, others = switch_of_template(Pool(api, resolver, servers, 1), BACK)
    assert (found, [server.name for server in others]) == (switch, replaced)


class Loading:
    """A server that takes models one after the other, and the pod on which is noted what it has, in one list.

    It stands for both Triton and Kubernetes: what counts is which of them is told first.
    """

    def __init__(self, refused: str | None) -> None:
        self.refused = refused
        self.told: list[tuple[str, Any]] = []

    def call(self, method: str, _path: str, _what: str, *, body: Mapping[str, Any], **_more: Any) -> str:
        assert method == "PATCH"
        noted = body["metadata"]["annotations"]
        self.told.append(("noted", (noted[SERVED_ANNOTATION], sorted(json.loads(noted[CONTENT_ANNOTATION]).items()))))
        return "{}"

    def find(self, _path: str, _what: str) -> dict[str, Any]:
        return {"metadata": {"uid": "u"}}

    def load(self, model: str, _timeout: float) -> None:
        if model == self.refused:
            raise CallError("INVALID_ARGUMENT", "no weights")
        self.told.append(("loaded", model))

    def unload(self, model: str, _timeout: float) -> None:
        self.told.append(("unloaded", model))

    def index(self, _timeout: float) -> list[dict[str, str]]:
        return []

    def close(self) -> None:
        """Nothing is open."""


NOTED = [
    # On its way, with the one model that stays as it was.
    ("noted", (None, [("same", "1")])),
    ("loaded", "a"),
    ("noted", (None, [("a", "2"), ("same", "1")])),
]


@pytest.mark.parametrize(
    ("refused", "told"),
    [
        (
            None,
            [
                *NOTED,
                ("loaded", "b"),
                ("noted", (None, [("a", "2"), ("b", "2"), ("same", "1")])),
                ("unloaded", "gone"),
                ("noted", (NEW, [("a", "2"), ("b", "2"), ("same", "1")])),
            ],
        ),
        ("b", NOTED),
    ],
    ids=["all", "one is refused"],
)
def test_a_server_is_noted_as_serving_a_release_once_it_has_loaded_all_of_it(
    monkeypatch: pytest.MonkeyPatch, refused: str | None, told: list[tuple[str, Any]]
) -> None:
    """And each model once it is loaded, so that a run that ends in between is not taken for one that is done."""
    both = Loading(refused)
    monkeypatch.setattr(rollout, "_connect", lambda _pool, _server: both)
    models = [{"name": name, "digest": digest} for name, digest in (("a", "2"), ("b", "2"), ("same", "1"))]
    known = {"a": "1", "same": "1", "gone": "1"}
    pod = {"metadata": {"name": "p", "uid": "u"}}
    server = rollout.Server(pod, known, load=["a", "b"], unload=["gone"], serves=OLD)
    api: Any = both
    resolver: Any = None
    pool = Pool(api, resolver, {"namespace": "n", "instance": "main", "labels": None}, 1)
    if refused:
        with pytest.raises(SupersonicError, match="Pod n/p did not load the model b: INVALID_ARGUMENT: no weights"):
            rollout.load(pool, [server], Release(NEW, models, AGAIN))
    else:
        (done,) = rollout.load(pool, [server], Release(NEW, models, AGAIN))
        assert done.unload == ["gone"]
    assert both.told == told
