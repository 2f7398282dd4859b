# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Switches that do not come to their end, in folders and where a claim notes what its store holds."""

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._models import model_servers, store_pod
from ansible_collections.fastml.supersonic.plugins.module_utils._models import store as model_store
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import FolderTarget, Options, publish
from ansible_collections.fastml.supersonic.plugins.module_utils._models.releases import describe, prune, roll_back
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import Begun, Store
from ansible_collections.fastml.supersonic.plugins.modules import model_repository_info, model_rollout
from ansible_collections.fastml.supersonic.tests.unit.models.test_releases import CLAIM, Cluster, Noted

Patch = pytest.MonkeyPatch


class Place:
    """A store with the releases `first` and `second`, of which the second one is served."""

    def __init__(self, kind: str, cluster: Cluster, source: Path, path: Path) -> None:
        self.kind, self.cluster, self.source, self.path = kind, cluster, source, path
        self.first, self.second = self.publish("first"), self.publish("second")

    @property
    def target(self) -> FolderTarget:
        """As a module finds it."""
        return Noted(self.path, self.cluster) if self.kind == "claim" else FolderTarget(str(self.path))

    @property
    def current(self) -> str | None:
        return Store(str(self.path)).current()

    def publish(self, what: str, **options: t.Any) -> str:
        return str(self.published(what, **options)["release"])

    def published(self, what: str, **options: t.Any) -> dict[str, t.Any]:
        (self.source / "beta/1/model.py").write_text(f"# {what}\n")
        return publish(self.target, [str(self.source)], Options(**options))

    def back(self, release: str | None = None, **options: t.Any) -> dict[str, t.Any]:
        return roll_back(self.target, release, Options(**options))

    def settled(self) -> bool:
        """Whether what is noted is what is served, and nothing is left."""
        noted = self.cluster.annotations
        told = noted["release"] == self.current and "unfinished" not in noted if self.kind == "claim" else True
        return told and not (self.path / "unfinished").exists() and not Store(str(self.path)).unfinished()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as found:
        yield found


@pytest.fixture(params=["claim", "folder"])
def place(request: pytest.FixtureRequest, cluster: Cluster, source: Path, tmp_path: Path) -> Place:
    return Place(request.param, cluster, source, tmp_path / "store")


def _before_the_switch(patch: Patch) -> None:
    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    patch.setattr(Store, "_switch", killed)


def _before_the_history(patch: Patch) -> None:
    real = Store._sync

    def killed(self: Store, path: str) -> None:
        if path == self.root and self._switched:
            raise KeyboardInterrupt
        real(self, path)

    patch.setattr(Store, "_sync", killed)


def _before_the_note(patch: Patch) -> None:
    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    patch.setattr(store_pod.Claim, "record", killed)
    patch.setattr(Store, "finish", killed)


BLOWS = [_before_the_switch, _before_the_history, _before_the_note]
Blow = Callable[[Patch], None]


def cut(blow: Blow, what: Callable[[], object]) -> None:
    with Patch.context() as patch:
        blow(patch)
        with pytest.raises(KeyboardInterrupt):
            what()


@pytest.fixture(params=BLOWS)
def blow(request: pytest.FixtureRequest) -> Blow:
    return t.cast("Blow", request.param)


def test_going_back_by_publishing_again(place: Place, blow: Blow) -> None:
    cut(blow, lambda: place.publish("third"))
    switched = place.current != place.second
    assert switched is (blow is not _before_the_switch)
    predicted = place.published("second", check=True)
    assert predicted["changed"] is (switched or place.kind == "claim")
    result = place.published("second")
    assert (result["release"], place.current) == (place.second, place.second)
    if switched:
        assert result["changed"] is True
        assert f"The release {place.second[:12]} replaced {str(result['previous_release'])[:12]};" in result["msg"]
    else:
        assert " is served already. The switch from " in result["msg"]
        assert result["msg"].endswith("which was begun by a run that did not end, is given up.")
    assert place.settled()
    assert place.published("second")["changed"] is False


def test_going_back_to_a_named_release(place: Place, blow: Blow) -> None:
    cut(blow, lambda: place.publish("third"))
    result = place.back(place.second)
    assert (result["release"], place.current) == (place.second, place.second)
    assert place.settled()
    again = place.back(place.second)
    assert (again["changed"], again["msg"]) == (False, f"The release {place.second[:12]} is served already.")


def test_going_back_from_a_publication_that_did_not_end(place: Place, blow: Blow) -> None:
    """Whether it has switched already need not be known."""
    cut(blow, lambda: place.publish("third"))
    before = place.current
    predicted = place.back(check=True)
    assert place.current == before
    result = place.back()
    assert (result["release"], place.current) == (place.second, place.second)
    assert predicted == {**result, "msg": predicted["msg"], "changed": predicted["changed"]}
    assert predicted["msg"].replace("would replace", "replaced") == result["msg"]
    assert place.settled()
    assert place.back()["release"] == (place.first if before == place.second else result["previous_release"])


def test_completing_a_publication(place: Place, blow: Blow) -> None:
    cut(blow, lambda: place.publish("third"))
    switched = place.current != place.second
    result = place.published("third")
    assert result["release"] == place.current != place.second
    if switched:
        assert "The switch to it, which was begun by a run that did not end, is complete." in result["msg"]
    else:
        assert result["previous_release"] == place.second
    assert place.settled()


def test_a_roll_back_without_a_name_is_completed_by_the_same(place: Place, blow: Blow) -> None:
    for _time in range(2):
        # However often it is killed, and wherever.
        cut(blow if place.current == place.second else _before_the_note, place.back)
    for _time in range(2):
        predicted = place.back(check=True)
        assert predicted["release"] == place.first
    result = place.back()
    assert (result["release"], place.current) == (place.first, place.first)
    assert place.settled()
    # Only what is asked for after its end leads forth again.
    assert place.back()["release"] == place.second


def test_a_roll_back_that_is_ended_politely(place: Place) -> None:
    """By a signal, for one: the store is closed, and staging is empty."""
    cut(_before_the_note, place.back)
    assert not list((place.path / "staging").iterdir())
    assert place.target.unfinished()
    assert place.back()["release"] == place.first


def test_somebody_else_has_switched_since(place: Place) -> None:
    """Who knows nothing of marks leaves them there; what is meant by them is over."""
    third = place.publish("third")
    cut(_before_the_note, place.back)
    (place.path / "current").unlink()
    (place.path / "current").symlink_to(f"releases/{place.first}")
    assert place.back()["release"] in (place.second, third)
    assert place.current != place.first
    assert place.settled()


@pytest.mark.parametrize("text", ["nonsense", "[]", "{}", '{"release": "a"}', "7"])
def test_a_mark_that_cannot_be_read(place: Place, text: str) -> None:
    (place.path / "unfinished").write_text(text)
    place.cluster.claim["metadata"]["annotations"][store_pod.UNFINISHED_ANNOTATION] = text
    told = describe(place.target, place.kind == "folder")
    assert told["unfinished"] == {"release": None, "before": None, "state": "published"}
    assert told["current"] == (place.second if place.kind == "folder" else None)
    result = place.published("second")
    assert result["msg"].endswith("The switch, which was begun by a run that did not end, is given up.")
    if place.kind == "folder":
        assert place.settled()
    else:
        assert place.cluster.annotations["release"] == place.second
        assert "unfinished" not in place.cluster.annotations


def test_what_is_told_meanwhile(place: Place, blow: Blow) -> None:
    quiet = describe(place.target, place.kind == "folder")
    assert (quiet["unfinished"], quiet["current"], quiet["previous"]) == (None, place.second, place.first)
    cut(blow, place.back)
    begun = {"release": place.first, "before": place.second, "state": "rolled_back"}
    deep = describe(place.target, True)
    assert (deep["unfinished"], deep["current"]) == (begun, place.current)
    if place.kind == "claim":
        shallow = describe(place.target, False)
        assert (shallow["unfinished"], shallow["current"], shallow["previous"]) == (begun, None, None)
        assert [(item["release"], item["current"]) for item in shallow["releases"]] == [
            (place.second, False),
            (place.first, False),
        ]
        assert [item["models"] for item in shallow["releases"]] == [item["models"] for item in quiet["releases"]]
    prune(place.target, Options())
    assert place.settled()
    assert describe(place.target, True)["unfinished"] is None


def test_while_it_is_tried_nothing_is_marked(place: Place) -> None:
    """The servers serve what they served, so whoever asks is told so without a pod."""
    seen: list[t.Any] = []

    class Watched:
        def run(self, _tree: object) -> t.NoReturn:
            seen.append((place.target.begun(), place.target.published().release))
            raise SupersonicError("No.")

    with pytest.raises(SupersonicError, match="No"):
        place.publish("third", trial=Watched)
    assert seen == [(None, place.second)]
    assert place.settled()


def test_a_switch_that_cannot_be_marked_is_not_made(cluster: Cluster, source: Path, tmp_path: Path) -> None:
    place = Place("claim", cluster, source, tmp_path / "store")
    cluster.may = lambda verb, _resource, _space: verb != "patch"
    for what in (lambda: place.publish("third"), place.back):
        with pytest.raises(SupersonicError, match=r"lacks the permission to patch persistentvolumeclaims"):
            what()
    assert place.current == place.second
    assert place.cluster.annotations["release"] == place.second


def times(place: Place) -> list[tuple[str, float]]:
    return list(map(tuple, json.loads(place.cluster.annotations["switches"])))


def test_a_switch_that_nobody_noted_is_noted_with_the_next(cluster: Cluster, source: Path, tmp_path: Path) -> None:
    """Pods that were made meanwhile have read that release."""
    place = Place("claim", cluster, source, tmp_path / "store")
    begin = time.time()
    cut(_before_the_note, lambda: place.publish("third"))
    third = place.current
    noted = claim_of(place)
    assert (noted.switched(), noted.earlier()) == (None, [])
    time.sleep(0.2)
    place.back()
    (last, second_time), (middle, third_time), (old, _time) = times(place)[:3]
    assert (last, middle, old) == (place.second, third, place.second)
    assert begin - 1 < third_time < second_time - 0.1


def test_what_another_publisher_notes_while_the_lock_is_waited_for_stays(
    cluster: Cluster, source: Path, tmp_path: Path
) -> None:
    place = Place("claim", cluster, source, tmp_path / "store")
    slow = place.target
    third = place.publish("third")
    (source / "beta/1/model.py").write_text("# fourth\n")
    # It has read the claim before.
    fourth = publish(slow, [str(source)], Options())
    assert fourth["previous_release"] == third
    assert [name for name, _since in times(place)] == [fourth["release"], third, place.second, place.first]
    assert describe(place.target, False)["releases"] == describe(place.target, True)["releases"]


def test_a_claim_that_changes_meanwhile_is_read_again(cluster: Cluster, source: Path, tmp_path: Path) -> None:
    """The controller of volumes writes annotations, too."""
    place = Place("claim", cluster, source, tmp_path / "store")
    changes: list[int] = []

    def change() -> None:
        changes.append(1)
        with cluster.changed(CLAIM) as claim:
            claim["metadata"]["annotations"]["volume/other"] = str(len(changes))

    for _number in range(2):
        cluster.meanwhile("PATCH", CLAIM, change)
    third = place.publish("third")
    assert cluster.annotations["release"] == third
    assert cluster.annotations["other"] == "2"
    for _number in range(20):
        cluster.meanwhile("PATCH", CLAIM, change)
    with pytest.raises(SupersonicError, match="the resourceVersion is"):
        place.publish("fourth")
    assert place.current == third


def test_who_was_taken_for_dead_notes_nothing(cluster: Cluster, source: Path, tmp_path: Path) -> None:
    """It has switched and stood still; meanwhile another one has published."""
    place = Place("claim", cluster, source, tmp_path / "store")
    real, noted = Noted.record, []

    def record(self: Noted, *arguments: t.Any) -> bool:
        if not noted:
            noted.append(True)
            holder = place.path / "lock/holder"
            holder.write_text(json.dumps({**json.loads(holder.read_text()), "pid": 0, "started": "0"}))
            place.publish("fourth")
        return real(self, *arguments)

    with Patch.context() as patch:
        patch.setattr(Noted, "record", record)
        with pytest.raises(SupersonicError, match="This publisher was taken for dead"):
            place.publish("third")
    fourth = place.current
    assert place.cluster.annotations["release"] == fourth
    assert place.publish("fourth") == fourth
    assert "unfinished" not in place.cluster.annotations


def pod(name: str, release: str, reason: str = "") -> dict[str, t.Any]:
    """A server by its Deployment's template, which waits for a reason."""
    state = {"waiting": {"reason": reason}} if reason else {"running": {"startedAt": "2026-01-31T12:00:00Z"}}
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": "2026-01-31T12:00:00Z",
            "annotations": {model_servers.SERVED_ANNOTATION: release},
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "Ready", "status": str(not reason), "lastTransitionTime": "2026-01-31T12:00:09Z"},
            ],
            "containerStatuses": [{"name": "triton", "ready": not reason, "state": state}],
        },
    }


def test_servers_are_not_compared_with_what_nobody_knows(
    cluster: Cluster, source: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    place = Place("claim", cluster, source, tmp_path / "store")
    pods = [pod("one", place.first), pod("two", place.second, "CrashLoopBackOff")]
    monkeypatch.setattr(model_servers, "pods_of", lambda *_arguments: pods)
    monkeypatch.setattr(model_repository_info, "target", lambda *_arguments, **_more: claim_of(place))
    servers = {"namespace": "n", "instance": "a", "labels": None, "index": True, "timeout": 1.0}
    params = {"deep": False, "store": {"type": "pvc"}, "servers": servers}
    resolver = t.cast("t.Any", SimpleNamespace(api=None))

    monkeypatch.setattr(model_servers, "_ask", lambda *_arguments: {"one": {"status": "ok", "models": []}})
    quiet = model_repository_info.look(params, resolver)["servers"]
    assert quiet[0]["differences"][0] == f"serves the release {place.first}, not the current one"
    cut(_before_the_note, place.back)
    told = model_repository_info.look(params, resolver)["servers"]
    why = (
        f"A switch from {place.second[:12]} to {place.first[:12]} was begun and has not come to its end, so only the "
        "store itself can say what it serves."
    )
    assert [(item["release"], item["current"], item["differences"][-1]) for item in told] == [
        (place.first, False, why),
        (place.second, False, why),
    ]
    assert [len(item["differences"]) for item in told] == [1, 2]
    assert "CrashLoopBackOff" in told[1]["differences"][0]


def claim_of(place: Place) -> t.Any:
    return t.cast("Noted", place.target).claim


@pytest.mark.parametrize("expected", [None, "f" * 40])
def test_servers_get_nothing_while_a_switch_has_not_come_to_its_end(
    cluster: Cluster, source: Path, tmp_path: Path, monkeypatch: Patch, expected: str | None
) -> None:
    place = Place("claim", cluster, source, tmp_path / "store")
    monkeypatch.setattr(model_rollout, "target", lambda *_arguments, **_more: claim_of(place))
    release = model_rollout.current({"release": None}, False)
    assert release
    assert release.name == place.second
    cut(_before_the_note, place.back)
    with pytest.raises(SupersonicError, match=r"has not come to its end, .* No server was asked to load anything\.$"):
        model_rollout.current({"release": expected}, False)
    if expected:
        predicted = model_rollout.current({"release": expected}, True)
        assert predicted
        assert predicted.name == expected


def test_the_way_back() -> None:
    back, forth = Begun("b", "a", back=True), Begun("b", "a", back=False)
    for current in ("a", "b"):
        assert (back.way_back(current), forth.way_back(current)) == ("b", "a")
    assert (back.way_back("c"), forth.way_back(None)) == (None, None)
    first = Begun("b", "", back=False)
    assert (first.way_back(None), first.way_back("b")) == (None, None)
    assert Begun.parse(back.text) == back
    assert model_store.Begun.parse("{") == Begun("", "", back=False)
