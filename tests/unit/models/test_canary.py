# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pod that tries a release, and how a canary is judged. Real servers are tried in tests/services and cluster."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import Ended, Lost, SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Target
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.golden_requests import Golden, parse
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.kserve_client import CallError
from ansible_collections.fastml.supersonic.plugins.module_utils._models import canary as model_canary
from ansible_collections.fastml.supersonic.plugins.module_utils._models import store_pod, test_load
from ansible_collections.fastml.supersonic.plugins.module_utils._models.canary import (
    Canary,
    Counts,
    Pool,
    Report,
    _raise_if_not_ready,
    compare_by_golden,
    counts,
    difference,
    summary,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import Tree, scan
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import (
    CanaryError,
    FolderTarget,
    Options,
    TrialError,
    publish,
    with_patience,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models.releases import roll_back
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import Store
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store_pod import RELEASE_ANNOTATION
from ansible_collections.fastml.supersonic.plugins.module_utils._models.test_load import Goldens, _tail
from ansible_collections.fastml.supersonic.plugins.module_utils._models.test_load_pod import pod_on_trial
from ansible_collections.fastml.supersonic.plugins.modules import model_repository
from ansible_collections.fastml.supersonic.tests.harness.environment import for_python
from ansible_collections.fastml.supersonic.tests.harness.fake_api import FakeApi
from ansible_collections.fastml.supersonic.tests.harness.models import golden, write_golden, write_model
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module

RELEASE = "2c26b46b68ffc68ff99b453c1d30413413422d70"
TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"app": "triton"}},
    "spec": {
        "containers": [
            {
                "name": "triton",
                "command": ["tritonserver"],
                "args": [
                    "--model-repository=/models/models/current",
                    "--model-repository=/models/others/current",
                    "--model-repository=/cvmfs/cms.cern.ch/models",
                ],
                "volumeMounts": [
                    {"name": "models", "mountPath": "/models/models", "readOnly": True},
                    {"name": "others", "mountPath": "/models/others", "readOnly": True},
                ],
            },
            {"name": "sidecar", "image": "a:1"},
        ],
        "volumes": [
            {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
            {"name": "others", "persistentVolumeClaim": {"claimName": "others"}},
        ],
    },
}


def test_the_pod_reads_the_release_where_servers_read_current() -> None:
    before = copy.deepcopy(TEMPLATE)
    spec = pod_on_trial(TEMPLATE, "models", RELEASE)
    assert before == TEMPLATE
    assert spec["containers"][0]["args"] == [
        f"--model-repository=/models/models/releases/{RELEASE}",
        "--model-repository=/models/others/current",
        "--model-repository=/cvmfs/cms.cern.ch/models",
    ]
    assert spec["containers"][0]["command"] == ["tritonserver"]
    assert spec["containers"][1] == TEMPLATE["spec"]["containers"][1]


@pytest.mark.parametrize("word", ["/models/models/current", "/models/models/current/"])
def test_the_repository_as_a_word_of_its_own(word: str) -> None:
    template = copy.deepcopy(TEMPLATE)
    template["spec"]["containers"][0]["args"] = ["--model-repository", word]
    assert pod_on_trial(template, "models", RELEASE)["containers"][0]["args"][1] == f"/models/models/releases/{RELEASE}"


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec["containers"][0].update(args=["--model-repository=/models/models"]),
        lambda spec: spec["containers"][0]["volumeMounts"][0].update(subPath="current"),
        lambda spec: spec.update(volumes=[]),
        lambda spec: spec.clear(),
    ],
    ids=["whole-claim", "sub-path", "other-volume", "empty"],
)
def test_servers_that_do_not_read_current(change: Any) -> None:
    template = copy.deepcopy(TEMPLATE)
    change(template["spec"])
    with pytest.raises(SupersonicError, match=r"The servers do not read current of the claim models: .*leave out the"):
        pod_on_trial(template, "models", RELEASE)


def test_golden_requests_come_from_the_source(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_model(tmp_path, name)
        write_golden(tmp_path, golden(name, [1.0]))
    (tmp_path / "one/golden/notes.txt").write_text("not a request")
    assert [(each.model, each.name) for each in Goldens(scan([str(tmp_path)]))] == [
        ("one", "values"),
        ("two", "values"),
    ]


class Writer:
    """Somebody records a golden request anew after it was sent and before it is tried."""

    def __init__(self, source: Path) -> None:
        self.source = source

    def run(self, tree: Tree, /) -> dict[str, Any]:
        write_golden(self.source, golden("m", [2.0]))
        return {"models": ["m"], "golden_requests": len(list(Goldens(tree)))}


def test_a_golden_request_that_is_not_the_published_one_proves_nothing(tmp_path: Path) -> None:
    source, store = tmp_path / "source", tmp_path / "store"
    write_model(source, "m")
    target = FolderTarget(str(store))
    first = publish(target, [str(source)], Options())["release"]
    write_golden(source, golden("m", [1.0]))
    with pytest.raises(SupersonicError, match=r"m/golden/values\.json changed while it was published\. Run again"):
        publish(target, [str(source)], Options(trial=lambda: Writer(source)))
    assert Store(str(store)).current() == first
    assert os.listdir(store / "releases") == [first]


def statistics(model: str, count: int, infer: int, **more: Any) -> dict[str, Any]:
    stats = {"success": {"count": count, "ns": 10 * infer}, "queue": {"count": count, "ns": 2 * infer}}
    return {"name": model, "inference_stats": {**stats, "compute_infer": {"count": count, "ns": infer}, **more}}


def test_counts_of_all_versions_and_of_ensembles() -> None:
    found = counts(
        [
            statistics("a", 2, 4_000_000, fail={"count": 1, "ns": 5}),
            statistics("a", 2, 8_000_000, compute_output={"count": 2, "ns": 4_000_000}),
            # An ensemble has no execution of its own: what is left of its requests' time without the queue.
            statistics("ensemble", 1, 1_000_000, compute_infer={"count": 0, "ns": 0}),
            {"name": "silent"},
        ]
    )
    assert found["a"] == Counts(4, 1, 16_000_000)
    assert found["a"].milliseconds == 4.0
    assert found["a"].failed_share == 0.2
    assert found["ensemble"] == Counts(1, 0, 8_000_000)
    assert (found["silent"].milliseconds, found["silent"].failed_share) == (None, 0.0)


def ms(requests: int, milliseconds: float, failed: int = 0) -> Counts:
    return Counts(requests, failed, int(requests * milliseconds * 1e6))


NOTHING = (Counts(), Counts())


@pytest.mark.parametrize(
    ("new", "old", "problem"),
    [
        (ms(100, 4.0), ms(300, 3.0), None),
        (ms(100, 6.0), ms(300, 3.0), "6.00 ms for a {} request, 2.00 times as long as on the others (3.00 ms)"),
        # Twice as long, but by less than what any server's times differ.
        (ms(100, 1.0), ms(300, 0.5), None),
        # Nobody asks it, or it is new: nothing to compare.
        (ms(0, 0), ms(300, 3.0), None),
        (ms(100, 50.0), ms(0, 0), None),
        # One request of somebody with large inputs says nothing.
        (ms(9, 50.0), ms(300, 3.0), None),
        (ms(10, 50.0), ms(10, 3.0), "50.00 ms for a {} request"),
        # A server that says no times, as some versions do for what they take from a cache.
        (ms(100, 50.0), ms(100, 0.0), None),
    ],
)
@pytest.mark.parametrize("kind", ["golden", "user's"])
def test_a_model_that_is_slow(new: Counts, old: Counts, problem: str | None, kind: str) -> None:
    golden, users = ((new, old), NOTHING) if kind == "golden" else (NOTHING, (new, old))
    found = Report("m", golden, users, None).slow(1.5)
    assert (found is None) == (problem is None), found
    assert problem is None or problem.format(kind) in str(found)


@pytest.mark.parametrize(
    ("new", "old", "problem"),
    [
        # Clients that send wrong requests send them to everybody.
        (ms(90, 1.0, failed=10), ms(270, 1.0, failed=30), None),
        (ms(90, 1.0, failed=10), ms(290, 1.0, failed=10), "failed 10 of 100 requests, on the other servers 10 of 300"),
        (ms(0, 0, failed=3), ms(0, 0), "failed 3 of 3 requests, on the other servers 0 of 0"),
        (ms(0, 0, failed=2), ms(1000, 1.0), None),
    ],
)
def test_a_model_that_fails(new: Counts, old: Counts, problem: str | None) -> None:
    found = Report("m", NOTHING, (new, old), None).failing()
    assert (found is None) == (problem is None), found
    assert problem is None or problem in str(found)


def test_difference_leaves_out_who_went_or_began_anew() -> None:
    earlier = [{"m": ms(10, 1.0)}, {"m": ms(100, 2.0)}, {"m": ms(100, 2.0)}, {"m": ms(100, 2.0)}]
    later = [{"m": ms(30, 1.0), "n": ms(5, 1.0)}, {"m": ms(110, 2.0)}, {"m": ms(3, 2.0)}, None]
    assert difference(earlier, later) == {"m": (ms(20, 1.0), ms(10, 2.0)), "n": (ms(5, 1.0), Counts())}
    assert difference(earlier, later, only=2) == {"m": (ms(20, 1.0), Counts()), "n": (ms(5, 1.0), Counts())}


def test_what_was_compared_is_told() -> None:
    few, many, untimed = (ms(9, 1.0), ms(100, 1.0)), (ms(10, 1.0), ms(10, 1.0)), (ms(50, 1.0), ms(50, 0.0))
    for sent, users, by in (
        (many, few, ["golden requests"]),
        (few, many, ["users' requests"]),
        (many, many, ["golden requests", "users' requests"]),
        (NOTHING, untimed, []),
    ):
        found = summary([Report("m", sent, users, None), Report("n", NOTHING, NOTHING, None)])
        assert (found["compared"], found["compared_by"]) == (bool(by), by)
        told = found["models"][0]
        assert [told[kind]["compared"] for kind in ("golden", "users")] == [
            counted is many for counted in (sent, users)
        ]
    assert summary([]) == {"compared": False, "compared_by": [], "models": []}


class Peer:
    """A server of the pool that goes after so many golden requests; it may never have known the model."""

    def __init__(self, stays: int = 1000, knows: bool = True) -> None:
        self.stays, self.knows, self.asked = stays, knows, 0

    def infer(self, golden: Golden, _timeout: float) -> Any:
        self.asked += 1
        if self.asked > self.stays or not self.knows:
            raise CallError("UNAVAILABLE" if self.knows else "NOT_FOUND", "")
        return golden.expected

    def statistics(self, _timeout: float) -> list[dict[str, Any]]:
        if self.asked > self.stays:
            raise CallError("UNAVAILABLE", "")
        spent = {"count": self.asked * self.knows, "ns": self.asked * 1_000_000}
        return [{"name": "m", "inference_stats": {"success": spent, "compute_infer": spent}}]


@pytest.mark.parametrize(
    ("others", "compared"),
    [
        ([Peer(), Peer()], (10, 10)),
        # It goes meanwhile: another one takes its place, from the beginning.
        ([Peer(stays=4), Peer()], (10, 10)),
        ([Peer(stays=10), Peer(stays=0), Peer()], (10, 10)),
        # Nobody is left.
        ([Peer(stays=4)], None),
        # It stays and does not know the model: there is nothing to compare.
        ([Peer(knows=False)], (10, 0)),
    ],
)
def test_golden_requests_are_compared_with_a_server_that_stays(others: list[Peer], compared: Any) -> None:
    document = {
        "request": {"inputs": [{"name": "A", "datatype": "FP32", "shape": [1], "data": [1]}]},
        "response": {"outputs": [{"name": "B", "datatype": "FP32", "shape": [1], "data": [2]}]},
    }
    golden = parse(document, "m", "one", "one.json")
    pool = Pool(Peer(), others, 1.0)  # type: ignore[arg-type]
    found, comparisons = compare_by_golden(Canary({}, 1, 1.5, 10), pool, [golden])
    assert {model: (new.requests, old.requests) for model, (new, old) in found.items()} == (
        {"m": compared} if compared else {}
    )
    assert ("m" in comparisons) == (compared is not None and compared[1] > 0)


def test_a_canary_is_given_the_time_to_get_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubelet finds it ready a moment after its golden requests; one that has ended is not waited for."""
    monkeypatch.setattr(model_canary, "_LOOK_SECONDS", 0.01)
    ready, running = [False, False, True, True], {"phase": "Running"}
    asked: list[str] = []

    def find(path: str, _what: str) -> dict[str, Any]:
        asked.append(path)
        conditions = [{"type": "Ready", "status": str(ready[len(asked) - 1])}]
        return {"metadata": {"name": "p"}, "status": {**running, "conditions": conditions}}

    resolver: Any = SimpleNamespace(api=SimpleNamespace(find=find))
    target = Target("pod", {"namespace": "n", "name": "p"}, "canary", "http")
    model_canary._wait_until_ready(resolver, target)
    assert len(asked) == 3
    asked.clear()
    running["phase"] = "Failed"
    model_canary._wait_until_ready(resolver, target)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("ready", "phase", "said"),
    [
        ("True", "Running", ""),
        ("False", "Running", "it is not ready"),
        (None, "Running", "it is not ready"),
        ("True", "Failed", "it is Failed"),
        (None, None, "it was removed"),
    ],
)
def test_a_canary_has_to_stay_ready(ready: str | None, phase: str | None, said: str) -> None:
    """One that gets no requests of users proves nothing, and one that has ended even less."""
    conditions = [{"type": "Ready", "status": ready}] if ready else []
    pod = {"metadata": {"name": "p"}, "status": {"phase": phase, "conditions": conditions}} if phase else None
    asked: list[str] = []

    def find(path: str, _what: str) -> dict[str, Any] | None:
        asked.append(path)
        return pod

    resolver: Any = SimpleNamespace(api=SimpleNamespace(find=find))
    target = Target("pod", {"namespace": "n", "name": "p"}, "canary", "http")
    if said:
        with pytest.raises(TrialError, match=f"One server served it and did not stay: {said}"):
            _raise_if_not_ready(resolver, target)
    else:
        _raise_if_not_ready(resolver, target)
    assert asked == ["/api/v1/namespaces/n/pods/p"]


class Judge:
    """A trial whose outcome is known."""

    def __init__(self, error: Exception | None = None, **seen: Any) -> None:
        self.error = error
        self.report = {"models": ["m"], "golden_requests": 0, **seen}
        self.seen: list[str] = []

    def run(self, tree: Tree, /) -> dict[str, Any]:
        self.seen.append(tree.release)
        if self.error:
            raise self.error
        return self.report


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            TrialError("It answers 4."),
            "did not pass its test load; the store serves what it served before. It answers 4.",
        ),
        (
            CanaryError("It is slow."),
            "passed its test load, but not its canary; the store serves what it served before. It is slow.",
        ),
        # Not the release's fault.
        (SupersonicError("We may not create pods."), "We may not create pods."),
    ],
)
def test_a_release_that_does_not_pass(tmp_path: Path, error: Exception, said: str) -> None:
    source, store = tmp_path / "source", tmp_path / "store"
    write_model(source, "m")
    target = FolderTarget(str(store))
    judge = Judge()
    first = publish(target, [str(source)], Options(trial=lambda: judge))
    assert judge.seen == [], "where nothing is served nobody can be harmed"
    assert first["test_load"] is None
    assert first["msg"] == (
        f"The release {first['release'][:12]} replaced none; nothing tried it, since no other release was served."
    )
    (source / "m/1/model.py").write_text("# other\n")
    with pytest.raises(SupersonicError) as caught:
        publish(target, [str(source)], Options(trial=lambda: Judge(error)))
    assert said in str(caught.value)
    assert ("served before" in str(caught.value)) == isinstance(error, TrialError)
    assert os.listdir(store / "releases") == [first["release"]]
    assert os.listdir(store / "manifests") == [first["release"]]
    assert not (store / "lock").exists()
    # What has arrived is not sent again.
    second = publish(target, [str(source)], Options(trial=lambda: judge))
    assert (second["changed"], second["sent_bytes"], judge.seen) == (True, 0, [second["release"]])
    assert second["test_load"] == {"models": ["m"], "golden_requests": 0}
    assert second["msg"] == (
        f"The release {second['release'][:12]} replaced {first['release'][:12]}; a test load tried it "
        "(1 model, 0 golden requests)."
    )


@pytest.fixture
def ended() -> Iterator[None]:
    """A signal ends the module, as when Ansible runs it."""
    before = signal.signal(signal.SIGTERM, model_repository.ended)
    yield
    signal.signal(signal.SIGTERM, before)


def terminate(*_arguments: Any, **_more: Any) -> None:
    signal.raise_signal(signal.SIGTERM)


class InPod:
    """A trial whose pod is made and removed, and passes."""

    def run(self, tree: Tree, /) -> dict[str, Any]:
        pod = {"metadata": {"uid": "u"}, "spec": {}}
        api = SimpleNamespace(apply=lambda *_a, **_m: pod, delete=lambda *_a, **_m: None, list=lambda *_a: [])
        claim = SimpleNamespace(name="models", namespace="n", modes=set())
        api_and_claim: Any = (api, claim)
        with test_load.TrialPod(*api_and_claim, TEMPLATE, tree.release, 60):
            return {"models": ["m"], "golden_requests": 0}


@pytest.mark.usefixtures("ended")
@pytest.mark.parametrize("when", ["while its pod goes", "while it is on trial"])
def test_a_signal_ends_a_trial_and_nothing_is_switched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """What cannot be removed is left behind, but a signal is no such failure."""
    source, store = tmp_path / "source", tmp_path / "store"
    write_model(source, "m")
    target = FolderTarget(str(store))
    first = publish(target, [str(source)], Options())["release"]
    (source / "m/1/model.py").write_text("# other\n")
    gone = terminate if when == "while its pod goes" else lambda *_arguments: None
    monkeypatch.setattr(test_load, "Waiter", lambda *_a, **_m: SimpleNamespace(gone=gone))
    trial = InPod() if when == "while its pod goes" else SimpleNamespace(run=terminate)
    with pytest.raises(Ended, match=r"ended by a signal\. What is served is one whole release"):
        publish(target, [str(source)], Options(trial=lambda: trial))
    assert Store(str(store)).current() == first
    assert os.listdir(store / "releases") == [first]
    assert not (store / "lock").exists()


@pytest.mark.usefixtures("ended")
def test_a_signal_while_a_helper_pod_goes_ends_the_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    api: Any = SimpleNamespace(delete=terminate)
    claim: Any = SimpleNamespace(name="models", namespace="n")
    helper = store_pod.Helper(api, claim, store_pod.PodOptions(image="a:1"))
    tries: list[int] = []

    def attempt() -> dict[str, Any]:
        tries.append(len(tries))
        monkeypatch.setattr(helper, "_uid", "u")
        try:
            raise Lost("The connection is lost.")
        finally:
            helper.__exit__()

    with pytest.raises(Ended):
        with_patience(attempt)
    assert tries == [0]


@pytest.mark.parametrize("history", [None, "", "5", "{}", "[1", "null"])
def test_a_lost_history_does_not_make_a_failed_trial_a_release_to_go_back_to(
    tmp_path: Path, history: str | None
) -> None:
    source, store = tmp_path / "source", tmp_path / "store"
    write_model(source, "m")
    target = FolderTarget(str(store))
    releases = []
    for number in range(3):
        (source / "m/1/model.py").write_text(f"# {number}\n")
        releases.append(publish(target, [str(source)], Options(keep=9))["release"])
        # Files of one moment have one date, and the order would be chance.
        os.utime(store / "manifests" / releases[-1], (number, number))
    (store / "history").unlink() if history is None else (store / "history").write_text(history)
    (source / "m/1/model.py").write_text("# bad\n")
    with pytest.raises(SupersonicError, match="did not pass its test load"):
        publish(target, [str(source)], Options(keep=9, trial=lambda: Judge(TrialError("No."))))
    assert set(os.listdir(store / "releases")) == set(releases)
    assert json.loads((store / "history").read_text()) == releases[::-1]
    assert roll_back(target, None, Options())["release"] == releases[1]


def test_a_first_release_that_was_never_switched_to_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    source, store = tmp_path / "source", tmp_path / "store"
    write_model(source, "m")
    tree = scan([str(source)])
    target = FolderTarget(str(store))
    with target.session() as (session, holder, _pods):
        session.call("open", holder=holder)
        for entry in tree.entries:
            session.send(entry.key, entry.size, tree.places[entry.path])
        session.call("stage", manifest=tree.manifest)
    assert os.listdir(store / "releases") == [tree.release]
    (store / "history").unlink()
    with pytest.raises(SupersonicError, match="There is nothing to roll back to"):
        roll_back(target, None, Options(check=True))


# A server that changes the weights in place which it was started for, says what it was given, and ends.
VANDAL = """
import os, sys
(folder,) = [word.partition("=")[2] for word in sys.argv if word.startswith("--model-repository=")]
for parent, _, names in os.walk(folder):
    for name in names:
        with open(os.path.join(parent, name), "r+") as file:
            print(name, len(file.read()))
            file.seek(0)
            file.write("#")
print("environment", *sorted(os.environ))
sys.exit(3)
"""


def test_a_server_on_trial_that_writes_changes_nothing_that_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, store = tmp_path / "source", tmp_path / "store"
    write_model(source, "m")
    (source / "m/1/weights").write_text("weights")
    place = {"store": {"type": "path", "path": str(store)}}
    first = run_module("model_repository", {**place, "source": [str(source)]})
    (source / "m/1/model.py").write_text("# other\n")
    monkeypatch.setenv("API_TOKEN", "secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    options = {**place, "source": [str(source)], "test_load": {"command": [sys.executable, "-c", VANDAL]}}
    result = run_module("model_repository", options)
    assert "ended with exit code 3" in result["msg"]
    assert "model.py 8" in result["msg"]
    assert "weights 7" in result["msg"]
    (seen,) = [line for line in result["msg"].splitlines() if line.startswith("environment ")]
    assert {"LD_LIBRARY_PATH", "PATH"} <= set(seen.split()[1:]) <= {"LD_LIBRARY_PATH", "PATH", "LC_CTYPE"}
    assert (store / "current/m/1/weights").read_text() == "weights"
    verified = run_module("model_repository", {**place, "state": "verified", "all_releases": True})
    assert (verified["sound"], verified["release"]) == (True, first["release"])
    assert os.listdir(store / "releases") == [first["release"]]
    assert not os.listdir(store / "staging")


def test_a_copy_for_a_trial_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, store = tmp_path / "source", tmp_path / "store"
    write_model(source, "m")
    place = {"source": [str(source)], "store": {"type": "path", "path": str(store)}}
    first = run_module("model_repository", place)["release"]
    (source / "m/1/model.py").write_text("# other\n")
    real = os.statvfs(store)
    # Enough for the file that has changed, not for all of them.
    little = os.statvfs_result((real.f_bsize, 1, 100, 10, 10, 100, 10, 10, real.f_flag, real.f_namemax))
    monkeypatch.setattr(os, "statvfs", lambda _path: little)
    result = run_module("model_repository", {**place, "test_load": {"command": [sys.executable, "-c", VANDAL]}})
    assert "The store has 10 B free and a copy of the release, which a server can be tried with, needs" in result["msg"]
    assert os.listdir(store / "releases") == [first]
    assert not os.listdir(store / "staging")


def test_a_line_says_what_replaced_what_and_what_tried_it(tmp_path: Path) -> None:
    source, store = tmp_path / "source", tmp_path / "store"
    write_model(source, "m")
    target = FolderTarget(str(store))
    first = publish(target, [str(source)], Options())["release"][:12]
    assert publish(target, [str(source)], Options())["msg"] == f"The release {first} is served already."
    (source / "m/1/model.py").write_text("# other\n")
    checked = publish(target, [str(source)], Options(check=True, trial=Judge))
    second = checked["release"][:12]
    assert checked["msg"] == f"The release {second} would replace {first}, after its test load."
    untried = publish(target, [str(source)], Options(check=True))["msg"]
    assert untried == f"The release {second} would replace {first}, and nothing would try it before."
    assert publish(target, [str(source)], Options())["msg"] == (
        f"The release {second} replaced {first}; nothing tried it, since no test load was asked for."
    )
    back = roll_back(target, None, Options(check=True))["msg"]
    assert back == f"The release {first} would replace {second}; nothing tries it anew, since it was served before."
    assert roll_back(target, None, Options())["msg"] == back.replace("would replace", "replaced")
    assert roll_back(target, first, Options())["msg"] == f"The release {first} is served already."
    (source / "m/1/model.py").write_text("# a third\n")
    third = publish(target, [str(source)], Options(keep=2))
    assert third["msg"] == (
        f"The release {third['release'][:12]} replaced {first}; nothing tried it, since no test load was asked for. "
        f"Removed, since 2 are kept: {second}."
    )
    for others, by, said in (
        (1, ["golden requests", "users' requests"], "other servers, compared by golden requests and users' requests."),
        (1, [], "and then a canary beside the other servers, whose times were not compared, since there were too few"),
        (0, [], "but no canary, since no other server answered."),
    ):
        (source / "m/1/model.py").write_text(f"# {said}\n")
        judge = Judge(canary={"others": others, "compared": bool(by), "compared_by": by, "models": []})
        assert said in publish(target, [str(source)], Options(trial=lambda judge=judge: judge))["msg"]


STORE = {"type": "path", "path": "/nowhere"}
CLAIM = {"type": "pvc", "namespace": "n", "claim": "c"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"store": STORE, "canary": {"instance": "a"}}, "canary is given without test_load"),
        ({"store": STORE, "test_load": {"pod_template": {}}}, "type path, so test_load needs command"),
        ({"store": CLAIM, "test_load": {"command": ["a"]}}, "type pvc, so test_load needs pod_template"),
        ({"store": STORE, "test_load": {"command": []}}, "test_load.command is empty"),
        ({"store": STORE, "test_load": {"command": ["a"], "timeout": 0}}, "test_load.timeout is 0; it must be more"),
        (
            {"store": STORE, "test_load": {"command": ["a"]}, "canary": {"instance": "a"}},
            "canary is given, but the store is of type path",
        ),
        (
            {"store": CLAIM, "test_load": {"pod_template": {}}, "canary": {"instance": "a", "latency_ratio": 0.9}},
            "canary.latency_ratio is 0.9; it must be at least 1",
        ),
        (
            {"store": CLAIM, "test_load": {"pod_template": {}}, "canary": {"instance": "a", "samples": 9}},
            "canary.samples is 9; it must be at least 10",
        ),
        (
            {"store": CLAIM, "test_load": {"pod_template": {}}, "canary": {"labels": {}}},
            "canary.labels is empty; it would take every pod",
        ),
        (
            {"store": CLAIM, "test_load": {"pod_template": {}}, "canary": {"instance": "a"}},
            "test_load.pod_template has no labels, so that a canary would get no requests.",
        ),
        ({"store": CLAIM, "test_load": {"pod_template": {}}}, "The servers do not read current of the claim c"),
        ({"store": STORE, "state": "pruned", "source": None, "test_load": {"command": ["a"]}}, "published only"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    given = {"source": [str(tmp_path)], **options}
    result = run_module("model_repository", {name: value for name, value in given.items() if value is not None})
    assert result["failed"]
    assert said in result["msg"]


CLAIM_PATH = "/api/v1/namespaces/n/persistentvolumeclaims/models"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as found:
        yield found


# Says which modules of the collection it has loaded besides what came of it.
MODULE = """
import json, sys
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
result = run_module("model_repository", json.loads(sys.argv[1]))
print(json.dumps([result, [name.rpartition(".")[2] for name in sys.modules if ".module_utils._" in name]]))
"""


def test_nothing_to_publish_costs_one_question(tmp_path: Path, api: FakeApi) -> None:
    """Whatever a trial needs is made when there is something to try."""
    source = tmp_path / "source"
    write_model(source, "models")
    release = scan([str(source)]).release
    api.put(CLAIM_PATH, {"metadata": {"annotations": {RELEASE_ANNOTATION: release}}, "spec": {}})
    options = {
        "host": api.url,
        "api_key": "x",
        "source": [str(source)],
        "store": {**CLAIM, "claim": "models"},
        "pod": {"image": "a:1"},
        "test_load": {"pod_template": TEMPLATE},
        "canary": {"instance": "a"},
    }
    environment = for_python()
    done = subprocess.run(
        [sys.executable, "-c", MODULE, json.dumps(options)], env=environment, check=True, capture_output=True, text=True
    )
    result, loaded = json.loads(done.stdout)
    assert (result["failed"], result["changed"]) == (False, False), result
    assert [(request.method, request.path) for request in api.requests] == [("GET", CLAIM_PATH)]
    assert "publish" in loaded
    assert not {"test_load", "canary", "server_info", "inference_check"} & set(loaded)


def test_a_claim_for_one_pod_only_is_refused_before_anything_is_sent(tmp_path: Path, api: FakeApi) -> None:
    write_model(tmp_path, "models")
    api.put(CLAIM_PATH, {"spec": {"accessModes": ["ReadWriteOncePod"]}})
    options = {
        "host": api.url,
        "api_key": "x",
        "source": [str(tmp_path)],
        "store": {**CLAIM, "claim": "models"},
        "pod": {"image": "a:1"},
        "test_load": {"pod_template": TEMPLATE},
    }
    result = run_module("model_repository", options)
    assert "n/models can be mounted by one pod only (ReadWriteOncePod)" in result["msg"]
    assert len(api.requests) == 1


def test_of_a_long_log_the_end_is_read(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+b") as log:
        assert _tail(log) == "It said nothing."
        for number in range(100_000):
            log.write(b"request %d\n" % number)
        log.write(b"no memory\n")
        said = _tail(log).splitlines()
        assert (said[0], len(said), said[-1]) == ("Its last words: request 99981", 20, "no memory")
        # Without a line's end.
        log.write(b"x" * 1_000_000)
        assert len(_tail(log)) < 65 << 10
