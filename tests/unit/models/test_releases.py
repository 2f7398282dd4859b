# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Going back, pruning, verifying and listing, on stores in folders and on one behind pipes as in a pod."""

from __future__ import annotations

import json
import os
import shutil
import time
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import Lost, SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._models import model_servers, store_pod
from ansible_collections.fastml.supersonic.plugins.module_utils._models import releases as model_releases
from ansible_collections.fastml.supersonic.plugins.module_utils._models import store as model_store
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import scan
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import (
    ClaimTarget,
    FolderTarget,
    Options,
    Published,
    publish,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models.releases import (
    describe,
    differences,
    prune,
    roll_back,
    verify,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import Begun, Store
from ansible_collections.fastml.supersonic.tests.harness.fake_api import FakeApi
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module


class Shop(t.NamedTuple):
    """A store with three releases, the first one first."""

    path: Path
    target: FolderTarget
    releases: list[str]

    @property
    def current(self) -> str:
        return os.readlink(self.path / "current").removeprefix("releases/")

    def state(self) -> dict[str, int]:
        """Everything on disk, to see that nothing was touched."""
        return {str(path): path.lstat().st_mtime_ns for path in [self.path, *self.path.rglob("*")]}


@pytest.fixture
def shop(source: Path, tmp_path: Path) -> Shop:
    target = FolderTarget(str(tmp_path / "store"))
    releases = []
    for number in range(3):
        (source / "beta/1/model.py").write_text(f"# {number}\n")
        releases.append(publish(target, [str(source)], Options())["release"])
    return Shop(tmp_path / "store", target, releases)


def test_back_to_the_release_before_and_forth(shop: Shop) -> None:
    first, second, third = shop.releases
    predicted = roll_back(shop.target, None, Options(check=True))
    assert shop.current == third
    result = roll_back(shop.target, None, Options())
    assert (result["changed"], result["release"], result["previous_release"]) == (True, second, third)
    assert predicted == {**result, "msg": result["msg"].replace(" replaced ", " would replace ")}
    assert [line.split(":")[0] for line in result["diff"]["after"].splitlines()] == ["alpha", "beta"]
    assert result["diff"]["before"] != result["diff"]["after"]
    assert shop.current == second
    assert (shop.path / "current/beta/1/model.py").read_text() == "# 1\n"
    assert json.loads((shop.path / "history").read_text()) == [second, third, first]
    # What was current before is what was rolled back from.
    assert roll_back(shop.target, None, Options())["release"] == third


def test_back_to_a_release_by_name_is_idempotent(shop: Shop) -> None:
    first = shop.releases[0]
    assert roll_back(shop.target, first[:8], Options())["changed"] is True
    assert shop.current == first
    before = shop.state()
    for release in (first, first[:8]):
        again = roll_back(shop.target, release, Options())
        assert (again["changed"], again["release"], again["previous_release"]) == (False, first, first)
        assert again["diff"]["before"] == again["diff"]["after"]
    assert shop.state() == before
    assert roll_back(shop.target, first, Options(verify=True))["changed"] is False
    # Everything is still there to go forth to.
    assert {path.name for path in (shop.path / "releases").iterdir()} == set(shop.releases)


def test_check_mode_of_a_roll_back_touches_nothing(shop: Shop) -> None:
    before = shop.state()
    assert roll_back(shop.target, shop.releases[0], Options(check=True))["changed"] is True
    assert roll_back(shop.target, shop.releases[2], Options(check=True))["changed"] is False
    assert roll_back(shop.target, shop.releases[2], Options(check=True, verify=True))["changed"] is False
    assert shop.state() == before


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("release", "message"),
    [
        ("abc", "release is 'abc'; it has to be an id or at least its first 8 characters"),
        ("XYZ12345", "release is 'XYZ12345'; it has to be an id"),
        ("0" * 41, "it has to be an id"),
        ("0" * 40, r"The release '0{40}' is not in the store. It holds: [0-9a-f]{40}, "),
    ],
)
def test_a_release_that_cannot_be_gone_back_to(shop: Shop, release: str, message: str, check: bool) -> None:
    with pytest.raises(SupersonicError, match=message):
        roll_back(shop.target, release, Options(check=check))
    assert shop.current == shop.releases[2]
    assert not (shop.path / "lock").exists()


def test_a_beginning_of_two_ids_is_refused(shop: Shop) -> None:
    names = ["a" * 40, "a" * 39 + "b"]
    for name in names:
        (shop.path / "releases" / name).mkdir()
    (shop.path / "history").write_text(json.dumps([*reversed(shop.releases), *names]))
    with pytest.raises(SupersonicError, match=r"'aaaaaaaa' is the beginning of several releases: a{40}, a{39}b"):
        roll_back(shop.target, "aaaaaaaa", Options())


@pytest.mark.parametrize("check", [True, False])
def test_nothing_to_go_back_to(source: Path, tmp_path: Path, check: bool) -> None:
    target = FolderTarget(str(tmp_path / "store"))
    with pytest.raises(SupersonicError, match=r"/store holds no store of releases: it has no file named format"):
        roll_back(target, None, Options(check=check))
    with pytest.raises(SupersonicError, match="holds no store of releases"):
        prune(target, Options(check=check))
    assert not (tmp_path / "store").exists()
    publish(target, [str(source)], Options())
    with pytest.raises(SupersonicError, match="There is nothing to roll back to: the store holds no other release"):
        roll_back(target, None, Options(check=check))


def _lose(release: Path) -> None:
    (release / "beta/1/model.py").unlink()


def _shorten(release: Path) -> None:
    (release / "beta/1/model.py").write_text("#")


def _add(release: Path) -> None:
    (release / "beta/1/other.py").write_text("#")


def _same_size(release: Path) -> None:
    file = release / "beta/1/model.py"
    info = file.stat()
    file.write_text("# X\n")
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))


def _lose_the_manifest(release: Path) -> None:
    (release.parents[1] / "manifests" / release.name).unlink()


def _damage_the_manifest(release: Path) -> None:
    manifest = release.parents[1] / "manifests" / release.name
    manifest.write_text(manifest.read_text().replace("model.py", "model.pz"))


def _cut(manifest: Path) -> None:
    manifest.write_text(manifest.read_text()[:-10])


def _cut_a_line(manifest: Path) -> None:
    manifest.write_text(manifest.read_text()[:80] + "\n")


def _a_wrong_number(manifest: Path) -> None:
    manifest.write_text(manifest.read_text().replace(" 4 ", " four "))


def _other_bytes(manifest: Path) -> None:
    manifest.write_bytes(b"\xff\xfe")


def _nothing_left(manifest: Path) -> None:
    manifest.write_bytes(b"")


@pytest.mark.parametrize("damage", [_cut, _cut_a_line, _a_wrong_number, _other_bytes, _nothing_left])
def test_one_damaged_manifest_does_not_stop_the_others(
    shop: Shop, source: Path, damage: Callable[[Path], None]
) -> None:
    first, second, third = shop.releases
    damage(shop.path / "manifests" / second)
    told = {item["release"]: item["models"] for item in describe(shop.target, deep=True)["releases"]}
    assert told[second] == []
    assert told[first]
    found = {item["release"]: item for item in verify(shop.target, True)["drift"]}
    assert {name: item["sound"] for name, item in found.items()} == {third: True, second: False, first: True}
    assert found[second]["changed"] == [f"manifests/{second}"]
    assert prune(shop.target, Options(keep=9))["pruned"] == []
    (source / "beta/1/model.py").write_text("# fourth\n")
    fourth = publish(shop.target, [str(source)], Options(keep=9))
    assert (fourth["changed"], shop.current) == (True, fourth["release"])
    # Publishing its models mends it.
    (source / "beta/1/model.py").write_text("# 1\n")
    assert publish(shop.target, [str(source)], Options(keep=9))["release"] == second
    assert verify(shop.target, True)["sound"] is True
    assert {path.name for path in (shop.path / "manifests").iterdir()} == {first, second, third, fourth["release"]}


@pytest.mark.parametrize("damage", [_cut, _cut_a_line, _a_wrong_number, _other_bytes, _nothing_left])
def test_a_damaged_manifest_of_the_current_release(shop: Shop, source: Path, damage: Callable[[Path], None]) -> None:
    third = shop.releases[2]
    damage(shop.path / "manifests" / third)
    # Without its manifest a release proves nothing: it is published again.
    assert publish(shop.target, [str(source)], Options())["release"] == third
    assert verify(shop.target, False)["sound"] is True
    damage(shop.path / "manifests" / third)
    (source / "beta/1/model.py").write_text("# fourth\n")
    assert publish(shop.target, [str(source)], Options())["previous_release"] == third


ENTRY = f"644 {'0' * 64} 1 m/config.pbtxt"


@pytest.mark.parametrize(
    "line",
    [
        "644",
        f"644 {'0' * 64} 1",
        f"600 {'0' * 64} 1 m/x",
        f"644 {'0' * 63} 1 m/x",
        f"644 {'0' * 64} one m/x",
        f"644 {'0' * 64} -1 m/x",
        "644 - 0 m/x",
        f"dir {'0' * 64} 0 m/x",
        f"644 {'0' * 64} 1 ../x",
        f"644 {'0' * 64} 1 m/../../x",
        f"644 {'0' * 64} 1 /etc/x",
        f"644 {'0' * 64} 1 m//x",
    ],
)
def test_a_manifest_is_read_strictly(line: str) -> None:
    text = f"{model_store.MANIFEST_HEAD}\n{ENTRY}\n{line}\n"
    with pytest.raises(model_store.StoreError, match=f"The manifest of the release {model_store.release_id(text)}"):
        model_store.parse_manifest(text)
    good = f"{model_store.MANIFEST_HEAD}\n{ENTRY}\ndir - 0 m/x y\n"
    assert model_store.format_manifest(model_store.parse_manifest(good)) == good


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("damage", "verify_too", "message"),
    [
        (_lose, False, r"is damaged \(beta/1/model.py missing\); nothing was switched"),
        (_shorten, False, r"is damaged \(beta/1/model.py changed\); nothing was switched"),
        (_add, False, r"is damaged \(beta/1/other.py foreign\); nothing was switched"),
        (_same_size, True, r"is damaged \(beta/1/model.py changed\); nothing was switched"),
        (_lose_the_manifest, False, "The manifest of the release [0-9a-f]{40} is missing"),
        (_damage_the_manifest, False, "The manifest of the release [0-9a-f]{40} is damaged"),
    ],
)
def test_a_damaged_release_is_not_gone_back_to(
    shop: Shop, damage: Callable[[Path], None], verify_too: bool, message: str, check: bool
) -> None:
    first, _second, third = shop.releases
    damage(shop.path / "releases" / first)
    with pytest.raises(SupersonicError, match=message):
        roll_back(shop.target, first, Options(verify=verify_too, check=check))
    assert shop.current == third
    assert list((shop.path / "staging").iterdir()) == []


def test_only_reading_finds_a_change_of_the_same_size(shop: Shop) -> None:
    _same_size(shop.path / "releases" / shop.releases[0])
    assert roll_back(shop.target, shop.releases[0], Options())["changed"] is True


def test_a_killed_publisher_is_no_release_to_go_back_to(shop: Shop, source: Path) -> None:
    """It had assembled its release, but never switched to it."""
    (source / "beta/1/model.py").write_text("# never served\n")
    with pytest.MonkeyPatch.context() as patch:

        def killed(_store: Store, _release: str) -> None:
            raise KeyboardInterrupt

        patch.setattr(Store, "_switch", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(shop.target, [str(source)], Options(keep=9))
    (killed_one,) = {path.name for path in (shop.path / "releases").iterdir()} - set(shop.releases)
    with pytest.raises(SupersonicError, match="was never served"):
        roll_back(shop.target, killed_one, Options())
    (told,) = [item for item in describe(shop.target, deep=True)["releases"] if item["release"] == killed_one]
    assert told["served"] is False
    # What it was about to replace is what going back leads to first, since nobody has to know how far it has got.
    first = roll_back(shop.target, None, Options())
    assert (first["changed"], first["release"]) == (False, shop.releases[2])
    assert roll_back(shop.target, None, Options())["release"] == shop.releases[1]


def test_a_switch_whose_history_was_lost(shop: Shop) -> None:
    first, second, third = shop.releases
    (shop.path / "current").unlink()
    (shop.path / "current").symlink_to(f"releases/{first}")
    # As after a kill between the rename and the note of it.
    assert json.loads((shop.path / "history").read_text()) == [third, second, first]
    assert roll_back(shop.target, None, Options())["release"] == third
    assert json.loads((shop.path / "history").read_text()) == [third, first, second]


def test_prune(shop: Shop) -> None:
    first, second, third = shop.releases
    stray = shop.path / "objects/ab" / ("ab" + "0" * 62)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(bytes(1000))
    before = shop.state()
    predicted = prune(shop.target, Options(keep=2, check=True))
    assert shop.state() == before
    result = prune(shop.target, Options(keep=2))
    assert predicted == {
        **result,
        "msg": f"Releases that would be removed: {first}. Space that would be freed: 1.0 kB. Releases that would be "
        f"kept: {third}, {second}.",
    }
    assert (result["changed"], result["release"], result["pruned"]) == (True, third, [first])
    assert result["freed_bytes"] == 1000 + len("# 0\n")
    assert result["msg"] == f"Releases removed: {first}. Space freed: 1.0 kB. Releases kept: {third}, {second}."
    assert result["diff"]["before"].splitlines() == [third, second, first]
    assert result["diff"]["after"].splitlines() == [third, second]
    assert {path.name for path in (shop.path / "manifests").iterdir()} == {second, third}
    assert not stray.exists()
    before = shop.state()
    again = prune(shop.target, Options(keep=2, check=True))
    assert (again["changed"], again["pruned"], again["freed_bytes"]) == (False, [], 0)
    assert again["msg"].startswith("Releases that would be removed: none. Space that would be freed: 0 B.")
    nothing = prune(shop.target, Options(keep=2))
    assert nothing["changed"] is False
    assert nothing["msg"] == f"Releases removed: none. Space freed: 0 B. Releases kept: {third}, {second}."
    # The lock came and went, which is all.
    touched = {path for path, when in shop.state().items() if before.get(path) != when}
    assert touched <= {str(shop.path), str(shop.path / "staging")}


def test_pruning_keeps_what_was_used_last(shop: Shop) -> None:
    first, _second, third = shop.releases
    roll_back(shop.target, first, Options())
    assert prune(shop.target, Options(keep=2))["pruned"] == [shop.releases[1]]
    assert shop.current == first
    assert prune(shop.target, Options(keep=1))["pruned"] == [third]
    assert verify(shop.target, True)["sound"] is True


def test_verify_names_what_is_wrong_and_changes_nothing(shop: Shop) -> None:
    first, _second, third = shop.releases
    assert verify(shop.target, False)["drift"] == [
        {"release": third, "current": True, "sound": True, "changed": [], "missing": [], "foreign": []}
    ]
    release = shop.path / "releases" / third
    _same_size(release)
    (release / "alpha/2/model.py").unlink()
    (release / "gamma").mkdir()
    (release / "gamma/x").write_text("")
    before = shop.state()
    result = verify(shop.target, False)
    assert (result["changed"], result["sound"]) == (False, False)
    (drift,) = result["drift"]
    assert drift["changed"] == ["beta/1/model.py"]
    assert drift["missing"] == ["alpha/2/model.py"]
    assert drift["foreign"] == ["gamma"]
    everything = {item["release"]: item["sound"] for item in verify(shop.target, True)["drift"]}
    assert everything == {third: False, shop.releases[1]: True, first: True}
    assert shop.state() == before


def test_verify_without_a_release(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with pytest.raises(SupersonicError, match="holds no store of releases"):
        verify(FolderTarget(str(store)), False)
    Store(str(store)).open("somebody")
    with pytest.raises(SupersonicError, match="The store serves no release, so there is nothing to verify"):
        verify(FolderTarget(str(store)), False)


def test_a_release_that_is_pruned_while_it_is_read(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Store._sound
    first = shop.path / "releases" / shop.releases[0]

    def sound(self: Store, *arguments: t.Any) -> bool:
        shutil.rmtree(first, ignore_errors=True)
        return real(self, *arguments)

    monkeypatch.setattr(Store, "_sound", sound)
    with pytest.raises(SupersonicError, match=r"was removed from the store while it was read\. Run again"):
        verify(shop.target, True)


def test_describe_a_folder(shop: Shop) -> None:
    result = describe(shop.target, True)
    first, second, third = shop.releases
    assert (result["current"], result["previous"], result["opened"]) == (third, second, True)
    assert [(item["release"], item["current"]) for item in result["releases"]] == [
        (third, True),
        (second, False),
        (first, False),
    ]
    newest = result["releases"][0]
    assert [(model["name"], model["versions"]) for model in newest["models"]] == [("alpha", [1, 2]), ("beta", [1])]
    assert newest["size"] == scan([str(shop.path / "current")]).size
    then = time.strptime(newest["published"], "%Y-%m-%dT%H:%M:%SZ")
    assert abs(time.time() - time.mktime(then) + time.timezone) < 60
    assert result["leftovers"] == {"staging": [], "unused_contents": 0, "unused_bytes": 0}
    assert result["lock"] is None
    assert 0 < result["space"]["free"] <= result["space"]["size"]
    # The time is that of the first publication, whatever is done with the release.
    roll_back(shop.target, third, Options())
    assert describe(shop.target, True)["releases"][0]["published"] == newest["published"]


def test_describe_a_store_at_work(shop: Shop) -> None:
    before = describe(shop.target, True)
    other = Store(str(shop.path))
    other.open("somebody on host-a")
    result = describe(shop.target, True)
    assert result["lock"]["holder"] == "somebody on host-a"
    assert result["lock"]["stale"] is False
    assert result["lock"]["silent_seconds"] < 60
    assert result["leftovers"]["staging"] == [other.session]
    old = time.time() - model_store.STALE_SECONDS - 5
    os.utime(shop.path / "lock/holder", (old, old))
    assert describe(shop.target, True)["lock"]["stale"] is True
    other.close()
    assert {**describe(shop.target, True), "space": None} == {**before, "space": None}


def test_describe_what_is_not_there(tmp_path: Path) -> None:
    result = describe(FolderTarget(str(tmp_path / "none")), True)
    assert (result["current"], result["previous"], result["releases"]) == (None, None, [])
    assert not (tmp_path / "none").exists()


def test_a_lost_connection_does_not_go_back_twice(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch was done, only its answer was lost."""
    real = FolderTarget.record
    lost: list[bool] = []

    def record(self: FolderTarget, *arguments: t.Any) -> bool:
        if not lost:
            lost.append(True)
            raise Lost("the pod is gone")
        return real(self, *arguments)

    monkeypatch.setattr(FolderTarget, "record", record)
    assert roll_back(shop.target, None, Options())["release"] == shop.releases[1]
    assert shop.current == shop.releases[1]


READY = {"ready": True, "reason": "", "state": "READY"}
BAD = {"ready": False, "reason": "no such file", "state": "UNAVAILABLE"}


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        ([{"name": "a", "version": "2", **READY}], []),
        ([{"name": "a", "version": "1", **BAD}, {"name": "a", "version": "2", **READY}], []),
        ([], ["a is not in the server's index"]),
        ([{"name": "a", "version": "", **BAD}], ["a is not ready: no such file"]),
        ([{"name": "a", "version": "9", **READY}], ["a is served in versions that the release lacks: [9]"]),
        (
            [{"name": "a", "version": "1", **READY}, {"name": "b", "version": "1", **READY}],
            ["b is not of this release"],
        ),
    ],
)
def test_differences(served: list[dict[str, t.Any]], expected: list[str]) -> None:
    assert differences([{"name": "a", "versions": [1, 2]}], served) == expected


def test_the_states_of_the_module(shop: Shop) -> None:
    first, second, third = shop.releases
    store = {"store": {"type": "path", "path": str(shop.path)}}
    back = run_module("model_repository", {"state": "rolled_back", **store}, diff=True)
    assert (back["changed"], back["release"], back["previous_release"]) == (True, second, third)
    assert back["diff"]["before_header"] == f"release {third}"
    named = run_module("model_repository", {"state": "rolled_back", "release": first[:10], **store})
    assert (named["changed"], named["release"]) == (True, first)
    assert "diff" not in named
    assert run_module("model_repository", {"state": "verified", "all_releases": True, **store})["sound"] is True
    pruned = run_module("model_repository", {"state": "pruned", "keep": 1, **store})
    assert pruned["pruned"] == sorted([second, third])
    info = run_module("model_repository_info", store)
    assert (info["changed"], info["current"], len(info["releases"])) == (False, first, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": "publish"}, "value of state must be one of: published, rolled_back, pruned, verified"),
        ({}, "state is published but all of the following are missing: source"),
        (
            {"state": "rolled_back", "source": ["x"]},
            "source is given, but the state is rolled_back; it is for",
        ),
        ({"state": "verified", "release": "12345678"}, "release is given, but the state is verified"),
        ({"state": "pruned", "all_releases": True}, "all_releases is given, but the state is pruned"),
        ({"state": "pruned", "keep": 0}, "keep is 0, but 1 is the least"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: dict[str, t.Any], message: str) -> None:
    result = run_module("model_repository", {"store": {"type": "path", "path": str(tmp_path)}, **options})
    assert message in result["msg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"servers": {"namespace": "n"}}, "one of the following is required: instance, labels"),
        ({"servers": {"namespace": "n", "labels": {}}}, "servers.labels is empty"),
        (
            {"store": {"type": "pvc", "namespace": "n", "claim": "c"}, "deep": True},
            "needs the option pod with the image that mounts the claim",
        ),
    ],
)
def test_wrong_options_of_info(tmp_path: Path, options: dict[str, t.Any], message: str) -> None:
    result = run_module("model_repository_info", {"store": {"type": "path", "path": str(tmp_path)}, **options})
    assert message in result["msg"]


def test_check_id_takes_whole_ids() -> None:
    model_releases.check_id("0123456789abcdef" * 2 + "01234567")


CLAIM = "/api/v1/namespaces/n/persistentvolumeclaims/c"


class Cluster(FakeApi):
    """A cluster with one claim."""

    def __init__(self) -> None:
        super().__init__()
        self.put(CLAIM, {"metadata": {"annotations": {}}, "spec": {}})

    @property
    def claim(self) -> dict[str, t.Any]:
        return self.objects[CLAIM]

    @property
    def annotations(self) -> dict[str, str]:
        """By what follows the slash."""
        noted: dict[str, str] = self.claim["metadata"]["annotations"]
        return {name.partition("/")[2]: value for name, value in noted.items()}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as found:
        yield found


class Noted(FolderTarget):
    """A store in a folder whose releases are noted on a claim, as those on volumes are."""

    def __init__(self, path: Path, cluster: Cluster) -> None:
        super().__init__(str(path))
        self.claim = ClaimTarget(cluster.client(), "n", "c", None)

    def published(self, _known: t.Any = None, /) -> Published:
        return self.claim.published()

    def unfinished(self) -> bool:
        return self.claim.unfinished()

    def begun(self) -> Begun | None:
        return self.claim.begun()

    def refresh(self) -> Begun | None:
        return self.claim.refresh()

    def announce(self, *arguments: t.Any) -> None:
        self.claim.announce(*arguments)

    def record(self, *arguments: t.Any) -> bool:
        return self.claim.record(*arguments)

    def noted(self) -> list[dict[str, t.Any]] | None:
        return self.claim.noted()


def test_a_claim_says_what_its_store_holds(cluster: Cluster, source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    releases = []
    for number in range(4):
        (source / "beta/1/model.py").write_text(f"# {number}\n")
        releases.append(publish(Noted(store, cluster), [str(source)], Options())["release"])
        shallow, deep = (describe(Noted(store, cluster), how) for how in (False, True))
        assert shallow["opened"] is False
        assert shallow["lock"] is shallow["space"] is shallow["leftovers"] is None
        for name in ("current", "previous", "releases"):
            assert shallow[name] == deep[name]
    assert roll_back(Noted(store, cluster), None, Options())["release"] == releases[2]
    assert describe(Noted(store, cluster), False)["previous"] == releases[3]
    prune(Noted(store, cluster), Options(keep=1))
    assert [item["release"] for item in describe(Noted(store, cluster), False)["releases"]] == [releases[2]]
    # A claim that names the release needs no pod to say that nothing is to be done.
    shutil.rmtree(store)
    assert roll_back(Noted(store, cluster), releases[2], Options())["changed"] is False
    assert roll_back(Noted(store, cluster), releases[2][:8], Options(check=True))["changed"] is False


def test_a_claim_with_notes_of_something_else(cluster: Cluster, source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    release = publish(Noted(store, cluster), [str(source)], Options())["release"]
    annotations = cluster.claim["metadata"]["annotations"]
    for wrong in ("nonsense", "[]", "{}", '[{"release": "another"}]', "[1]"):
        annotations[store_pod.RELEASES_ANNOTATION] = wrong
        result = describe(Noted(store, cluster), False)
        assert [(item["release"], item["published"]) for item in result["releases"]] == [(release, None)]
        assert [model["name"] for model in result["releases"][0]["models"]] == ["alpha", "beta"]


@pytest.mark.parametrize("volume", ["the same", "empty"])
def test_a_restored_claim_is_not_believed(cluster: Cluster, source: Path, tmp_path: Path, volume: str) -> None:
    store = tmp_path / "store"
    first = publish(Noted(store, cluster), [str(source)], Options())["release"]
    (source / "beta/1/model.py").write_text("# new\n")
    second = publish(Noted(store, cluster), [str(source)], Options())["release"]
    assert publish(Noted(store, cluster), [str(source)], Options())["changed"] is False
    # As a backup brings it back: another one with the same annotations.
    cluster.recreate(CLAIM)
    if volume == "empty":
        shutil.rmtree(store)
    told = Noted(store, cluster)
    assert (told.published().release, told.noted()) == (None, None)
    assert (told.claim.switched(), told.claim.earlier()) == (None, [])
    again = publish(told, [str(source)], Options())
    assert (again["changed"], again["release"], Store(str(store)).current()) == (True, second, second)
    assert again["previous_release"] == (None if volume == "empty" else second)
    assert [item["release"] for item in told.noted() or []] == ([second] if volume == "empty" else [second, first])
    assert cluster.annotations["claim-uid"] == cluster.claim["metadata"]["uid"]
    assert publish(Noted(store, cluster), [str(source)], Options())["changed"] is False


def test_a_mark_of_another_claim_is_none(cluster: Cluster, source: Path, tmp_path: Path) -> None:
    """Neither one that came with the claim, nor what else came with it once a mark of its own is written."""
    store = tmp_path / "store"
    publish(Noted(store, cluster), [str(source)], Options())
    claim = Noted(store, cluster).claim.claim

    def held() -> None:
        """The lock."""

    claim.announce(Begun("b" * 40, "a" * 40, back=False), 1.0, held)
    assert Noted(store, cluster).unfinished()
    cluster.recreate(CLAIM)
    assert not Noted(store, cluster).unfinished()
    assert Noted(store, cluster).claim.claim.begun is None
    Noted(store, cluster).claim.claim.announce(Begun("b" * 40, "", back=False), 1.0, held)
    assert set(cluster.annotations) == {"unfinished", "switches", "claim-uid"}
    assert cluster.annotations["switches"] == "[]"


def test_a_claim_without_a_uid_is_believed(cluster: Cluster, source: Path, tmp_path: Path) -> None:
    """An earlier version has noted what it holds."""
    store = tmp_path / "store"
    release = publish(Noted(store, cluster), [str(source)], Options())["release"]
    del cluster.claim["metadata"]["annotations"][store_pod.UID_ANNOTATION]
    shutil.rmtree(store)
    assert Noted(store, cluster).published().release == release
    assert publish(Noted(store, cluster), [str(source)], Options())["changed"] is False


def test_notes_that_are_too_long_lose_their_models(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = store_pod.Claim(cluster.client(), "n", "c")

    def held() -> None:
        """The lock."""

    models = [{"name": f"model{number}", "versions": [1], "size": 1, "digest": "0"} for number in range(9)]
    releases = [{"release": name * 40, "published": 1.5, "models": models} for name in "ab"]
    monkeypatch.setattr(store_pod, "_ANNOTATION_LIMIT", 600)
    assert claim.record(releases, 0.0, held) is True
    assert claim.record(releases, 0.0, held) is False
    assert claim.models == models
    assert [item["release"][0] for item in claim.releases or []] == ["a", "b"]
    assert claim.releases
    assert claim.releases[1]["models"] is None
    monkeypatch.setattr(store_pod, "_ANNOTATION_LIMIT", 10)
    assert claim.record(releases, 0.0, held) is True
    assert (claim.release, claim.models, claim.releases) == ("a" * 40, None, None)


RUNNING = {"state": {"running": {}}, "ready": True}


@pytest.mark.parametrize(
    ("annotation", "status", "differences"),
    [
        ("a" * 40, RUNNING, []),
        ("b" * 40, RUNNING, [f"serves the release {'b' * 40}, not the current one"]),
        (None, RUNNING, ["nothing says which release it has read"]),
        (
            "a" * 40,
            {"state": {"waiting": {"reason": "ImagePullBackOff"}}},
            ["the server does not run: container triton is in ImagePullBackOff"],
        ),
    ],
)
def test_what_a_pod_says(annotation: str | None, status: dict[str, t.Any], differences: list[str]) -> None:
    annotations = {} if annotation is None else {model_servers.SERVED_ANNOTATION: annotation}
    pod = {
        "metadata": {
            "name": "main-triton-1",
            "creationTimestamp": "2026-11-27T12:00:00Z",
            "annotations": annotations,
        },
        "status": {"phase": "Running", "containerStatuses": [{"name": "triton", **status}]},
    }
    found = model_servers.server(pod, model_servers.Release("a" * 40, [], None))
    assert (found["pod"], found["release"], found["current"]) == ("main-triton-1", annotation, annotation == "a" * 40)
    assert [text.partition(" (")[0] for text in found["differences"]] == differences
