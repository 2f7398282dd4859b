# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Releases out of a store and back into an empty one. That of a claim is asked in the same words, by its helper pod."""

from __future__ import annotations

import json
import os
import re
import types
import typing as t
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._models import backup as model_backup
from ansible_collections.fastml.supersonic.plugins.module_utils._models.backup import bring_back, held, save
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import (
    ClaimTarget,
    FolderTarget,
    Options,
    publish,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models.releases import roll_back, verify
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import Begun, Store
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module


class Shop(t.NamedTuple):
    """A store with two releases, of which the first is served again, and a folder for its backup."""

    target: FolderTarget
    releases: list[str]
    source: Path
    backup: str
    empty: FolderTarget


@pytest.fixture
def shop(source: Path, tmp_path: Path) -> Shop:
    target = FolderTarget(str(tmp_path / "store"))
    releases = []
    (source / "alpha/1/large.bin").write_bytes(os.urandom(3 << 20))
    for number in range(2):
        (source / "beta/1/model.py").write_text(f"# {number}\n")
        releases.append(publish(target, [str(source)], Options())["release"])
    roll_back(target, None, Options())
    return Shop(target, releases, source, str(tmp_path / "backup"), FolderTarget(str(tmp_path / "again")))


@pytest.fixture
def broken_off(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A store that was filled by half, and a backup that says so."""
    save(shop.target, shop.backup)
    monkeypatch.setenv("XDG_CACHE_HOME", shop.backup + "-cache")
    done: list[str] = []

    def once(*arguments: t.Any) -> dict[str, t.Any]:
        if done:
            raise SupersonicError("the line is cut")
        done.append("")
        return publish(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(model_backup, "publish", once)
        with pytest.raises(SupersonicError, match="the line is cut"):
            bring_back(shop.empty, shop.backup, Options())
    return shop


def test_out_and_back(shop: Shop) -> None:
    first, second = shop.releases
    predicted = save(shop.target, shop.backup, check=True)
    assert (predicted["changed"], set(predicted["new"])) == (True, {first, second})
    assert not os.path.exists(shop.backup)
    saved = save(shop.target, shop.backup)
    assert saved["changed"]
    assert saved["release"] == first
    assert saved["releases"] == held(shop.backup) == [first, second]
    # What both have travels once.
    assert 3 << 20 < saved["received_bytes"] < 4 << 20
    assert os.stat(shop.backup).st_mode & 0o777 == 0o700

    assert bring_back(shop.empty, shop.backup, Options(check=True))["changed"]
    assert shop.empty.published().release is None
    restored = bring_back(shop.empty, shop.backup, Options(verify=True))
    assert restored["changed"]
    assert (restored["release"], restored["previous_release"]) == (first, None)
    checked = verify(shop.empty, everything=True)
    assert checked["sound"]
    assert [item["release"] for item in checked["drift"]] == [first, second]
    # And the way back is there as well.
    assert roll_back(shop.empty, None, Options())["release"] == second


def test_only_what_is_new_travels(shop: Shop) -> None:
    save(shop.target, shop.backup)
    again = save(shop.target, shop.backup)
    assert (again["changed"], again["new"], again["received_bytes"]) == (False, [], 0)
    assert save(shop.target, shop.backup, check=True)["changed"] is False
    (shop.source / "beta/1/model.py").write_text("# 2\n")
    third = publish(shop.target, [str(shop.source)], Options())["release"]
    more = save(shop.target, shop.backup)
    assert (more["new"], more["received_bytes"]) == ([third], 4)
    assert held(shop.backup)[0] == third
    # Another one is served, with nothing new.
    roll_back(shop.target, shop.releases[1], Options())
    moved = save(shop.target, shop.backup)
    assert (moved["changed"], moved["new"]) == (True, [])
    assert held(shop.backup)[0] == shop.releases[1]


def test_a_backup_that_breaks_off_is_continued(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is lost at some file: what is there is whole, and the next run needs no more than the rest."""
    read, calls = Store.read, [0]

    def breaks(self: Store, *arguments: t.Any, **named: t.Any) -> str:
        calls[0] += 1
        if calls[0] == 3:
            raise SupersonicError("the line is cut")
        return read(self, *arguments, **named)

    monkeypatch.setattr(Store, "read", breaks)
    with pytest.raises(SupersonicError, match="the line is cut"):
        save(shop.target, shop.backup)
    assert held(shop.backup) == []
    with pytest.raises(SupersonicError, match="There is no backup of models"):
        bring_back(shop.empty, shop.backup, Options())
    save(shop.target, shop.backup)
    assert verify(FolderTarget(shop.backup), everything=True)["sound"]


def test_a_backup_whose_lock_was_lost_is_not_switched(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one, which took it for dead, decides what the backup serves."""
    save(shop.target, shop.backup)
    roll_back(shop.target, shop.releases[1], Options())
    stage = Store.stage

    def stage_and_lose(self: Store, *arguments: t.Any, **named: t.Any) -> int:
        staged = stage(self, *arguments, **named)
        holder = Path(self.root, "lock/holder")
        holder.write_text(json.dumps({**json.loads(holder.read_text()), "session": "of another"}))
        return staged

    monkeypatch.setattr(Store, "stage", stage_and_lose)
    with pytest.raises(SupersonicError, match=r"another one took over\. Nothing was switched"):
        save(shop.target, shop.backup)
    assert held(shop.backup)[0] == shop.releases[0]


def test_nothing_is_restored_over_something_else(shop: Shop) -> None:
    save(shop.target, shop.backup)
    (shop.source / "beta/1/model.py").write_text("# another\n")
    publish(shop.empty, [str(shop.source)], Options())
    with pytest.raises(SupersonicError, match="and only an empty one is filled"):
        bring_back(shop.empty, shop.backup, Options())


def test_a_release_that_was_left_on_purpose_is_not_brought_back(shop: Shop) -> None:
    save(shop.target, shop.backup)
    roll_back(shop.target, shop.releases[1], Options())
    with pytest.raises(SupersonicError, match="and only an empty one is filled"):
        bring_back(shop.target, shop.backup, Options())
    assert shop.target.published().release == shop.releases[1]


def test_a_restoration_that_breaks_off_is_continued(broken_off: Shop) -> None:
    first, second = broken_off.releases
    assert broken_off.empty.published().release == second
    assert bring_back(broken_off.empty, broken_off.backup, Options())["release"] == first
    assert broken_off.empty.published().release == first


def test_what_is_restored_already_is_left(shop: Shop) -> None:
    save(shop.target, shop.backup)
    assert bring_back(shop.target, shop.backup, Options())["changed"] is False


def test_a_damaged_backup_is_refused(shop: Shop) -> None:
    save(shop.target, shop.backup)
    place = Path(shop.backup, "releases", shop.releases[0], "beta/1/model.py")
    place.unlink()
    place.write_text("# x\n")
    with pytest.raises(SupersonicError, match=r"is damaged, so nothing was restored: changed in .*beta/1/model.py"):
        bring_back(shop.empty, shop.backup, Options())
    assert shop.empty.published().release is None
    # Another backup mends it.
    assert save(shop.target, shop.backup)["changed"]
    assert bring_back(shop.empty, shop.backup, Options())["changed"]


def test_what_was_published_after_a_restoration_broke_off_is_not_replaced(broken_off: Shop) -> None:
    (broken_off.source / "beta/1/model.py").write_text("# another\n")
    other = publish(broken_off.empty, [str(broken_off.source)], Options())["release"]
    with pytest.raises(SupersonicError, match="and only an empty one is filled"):
        bring_back(broken_off.empty, broken_off.backup, Options())
    assert broken_off.empty.published().release == other


@pytest.mark.parametrize("check", [False, True])
def test_a_store_filled_by_half_does_not_change_its_backup(broken_off: Shop, check: bool) -> None:
    before = held(broken_off.backup)
    with pytest.raises(SupersonicError, match="has not come to its end, so nothing was copied"):
        save(broken_off.empty, broken_off.backup, check=check)
    assert held(broken_off.backup) == before
    # That of another store may go on.
    assert save(broken_off.target, broken_off.backup, check=check)["changed"] is False
    bring_back(broken_off.empty, broken_off.backup, Options())
    assert save(broken_off.empty, broken_off.backup, check=check)["changed"] is False


class Claimed(FolderTarget):
    """A store whose claim says less than is in it, and that is not opened."""

    def __init__(self, path: str, annotations: dict[str, str], *, openable: bool = False) -> None:
        super().__init__(path)
        live = {"metadata": {"name": "c", "uid": "u", "annotations": annotations}}
        api = types.SimpleNamespace(find=lambda _path, _what: live)
        self._of_claim = ClaimTarget(t.cast("t.Any", api), "n", "c", None)
        self.claim = self._of_claim.claim
        for name in ("published", "unfinished", "begun", "noted"):
            setattr(self, name, getattr(self._of_claim, name))
        if not openable:
            self.reading = self.session = self._of_claim.reading  # type: ignore[assignment]


def test_a_volume_that_holds_more_than_its_claim_says_is_left(shop: Shop) -> None:
    """Such as one that was kept, and is bound again."""
    save(shop.target, shop.backup)
    roll_back(shop.target, shop.releases[1], Options())
    with pytest.raises(SupersonicError, match="and only an empty one is filled"):
        bring_back(Claimed(shop.target.path, {}, openable=True), shop.backup, Options())
    assert shop.target.published().release == shop.releases[1]


def test_check_mode_opens_no_claim(shop: Shop) -> None:
    first, second = shop.releases
    notes = {
        "supersonic.fastml.org/release": first,
        "supersonic.fastml.org/releases": json.dumps(
            [{"release": name, "published": 1.0, "models": []} for name in shop.releases]
        ),
    }
    predicted = save(Claimed("/nowhere", notes), shop.backup, check=True)
    assert (predicted["changed"], predicted["release"], predicted["new"]) == (True, first, [first, second])
    save(shop.target, shop.backup)
    assert save(Claimed("/nowhere", notes), shop.backup, check=True)["changed"] is False
    assert bring_back(Claimed("/nowhere", {}), shop.backup, Options(check=True))["changed"]
    begun = {**notes, "supersonic.fastml.org/unfinished": Begun(first, second, back=False).text}
    unknown = save(Claimed("/nowhere", begun), shop.backup, check=True)
    assert unknown["release"] is None
    assert "a switch was begun and has not come to its end" in unknown["msg"]
    assert "nothing is noted on the claim" in save(Claimed("/nowhere", {}), shop.backup, check=True)["msg"]


@pytest.mark.parametrize(
    ("release", "path"), [("x", "a"), ("0" * 40, "../../etc/passwd"), ("0" * 40, "/etc/passwd"), ("0" * 40, "a/./b")]
)
def test_only_files_of_releases_are_read(tmp_path: Path, release: str, path: str) -> None:
    with FolderTarget(str(tmp_path)).reading() as session, pytest.raises(SupersonicError, match="no file of a release"):
        session.call("read", release=release, path=path, offset=0, size=1)


def test_the_module(shop: Shop, tmp_path: Path) -> None:
    store = {"type": "path", "path": str(tmp_path / "store")}
    done = run_module("model_backup", {"path": shop.backup, "store": store})
    assert done["changed"], done
    assert re.search(r"The store holds 2 releases and serves \w{12}. Copied: \w{12}, \w{12} \(3.1 MB\).", done["msg"])
    again = {"type": "path", "path": str(tmp_path / "again")}
    done = run_module("model_backup", {"path": shop.backup, "store": again, "state": "restored", "keep": 1})
    assert done["changed"], done
    assert "Restored by their hashes: 2 releases" in done["msg"]
    assert done["releases"] == model_backup.held(str(tmp_path / "again")) == shop.releases
