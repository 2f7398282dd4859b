# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store in a folder: what is on disk after publishing, and after trouble."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
import types
import typing as t
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import Ended, SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.golden_requests import load_repositories
from ansible_collections.fastml.supersonic.plugins.module_utils._models import model_tree, validation
from ansible_collections.fastml.supersonic.plugins.module_utils._models import publish as model_publish
from ansible_collections.fastml.supersonic.plugins.module_utils._models import store as model_store
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import scan
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import FolderTarget, Options, publish
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import Store, release_id
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store_pod import Pods
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.processes import until


def put(source: Path, store: Path, **options: object) -> dict[str, object]:
    return publish(FolderTarget(str(store)), [str(source)], Options(**options))  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, tuple[bytes, int] | None]:
    """Every file with content and mode, every empty folder."""
    found: dict[str, tuple[bytes, int] | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file():
            found[name] = (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        elif not any(path.iterdir()):
            found[name] = None
    return found


def assert_sound(store: Path) -> None:
    """`current` is a whole release, and nothing is left over."""
    release = os.readlink(store / "current").removeprefix("releases/")
    manifest = (store / "manifests" / release).read_text()
    assert release_id(manifest) == release
    assert scan([str(store / "current")]).manifest == manifest
    assert list((store / "staging").iterdir()) == []
    assert not (store / "lock").exists()
    releases = {path.name for path in (store / "releases").iterdir()}
    assert {path.name for path in (store / "manifests").iterdir()} == releases
    assert set(json.loads((store / "history").read_text())) == releases
    used = {
        entry.key
        for name in releases
        for entry in model_store.parse_manifest((store / "manifests" / name).read_text())
        if entry.mode != "dir"
    }
    assert {path.name for path in (store / "objects").glob("*/*")} == used


def test_the_published_tree_equals_the_source(source: Path, tmp_path: Path) -> None:
    (source / "alpha/1/run.sh").write_text("#!/bin/sh\n")
    (source / "alpha/1/run.sh").chmod(0o700)
    (source / "beta/2").mkdir()
    (source / "beta/2/model.py").write_text("")
    (source / "beta/empty").mkdir()
    store = tmp_path / "store"
    umask = os.umask(0o077)
    try:
        result = put(source, store)
    finally:
        os.umask(umask)
    expected = {
        name: item and (item[0], 0o755 if item[1] & 0o100 else 0o644) for name, item in contents(source).items()
    }
    assert contents(store / "current") == expected
    assert os.readlink(store / "current") == f"releases/{result['release']}"
    assert {stat.S_IMODE(p.stat().st_mode) for p in (store / "current/").rglob("*") if p.is_dir()} == {0o755}
    assert stat.S_IMODE((store / "releases").stat().st_mode) == 0o755
    assert result["changed"] is True
    assert result["previous_release"] is None
    assert_sound(store)


def test_golden_requests_are_published_with_their_model(source: Path, tmp_path: Path, golden: str) -> None:
    (source / "beta/golden").mkdir()
    (source / "beta/golden/two.json").write_text(golden)
    store = tmp_path / "store"
    put(source, store)
    for path in ("alpha/golden/one.json", "beta/golden/two.json"):
        assert (store / "current" / path).read_text() == golden
    assert [found.model for found in load_repositories([str(store / "current")], None)] == ["alpha", "beta"]


def test_the_second_run_changes_nothing(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = put(source, store)
    before = {path: path.lstat().st_mtime_ns for path in store.rglob("*")}
    second = put(source, store)
    assert (second["changed"], second["sent_bytes"], second["release"]) == (False, 0, first["release"])
    assert {path: path.lstat().st_mtime_ns for path in store.rglob("*")} == before


def test_only_new_contents_are_sent_and_old_ones_linked(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = put(source, store)
    (source / "beta/1/model.py").write_text("# changed\n")
    second = put(source, store)
    assert second["sent_bytes"] == len("# changed\n")
    assert second["previous_release"] == first["release"]
    old, new = (store / "releases" / str(result["release"]) for result in (first, second))
    assert (old / "alpha/1/model.py").samefile(new / "alpha/1/model.py")
    assert (old / "beta/1/model.py").read_text() == "# beta\n"
    assert_sound(store)


def test_check_mode_predicts_and_writes_nothing(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    predicted = put(source, store, check=True)
    assert predicted["changed"] is True
    assert not store.exists()
    real = put(source, store)
    assert predicted["release"] == real["release"]
    assert predicted["diff"] == real["diff"]
    assert put(source, store, check=True)["changed"] is False


def test_the_diff_names_models(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    put(source, store)
    shutil.rmtree(source / "beta")
    (source / "alpha/1/model.py").write_text("# longer than before\n")
    diff = put(source, store, check=True)["diff"]
    assert isinstance(diff, dict)
    assert [line.split(":")[0] for line in diff["before"].splitlines()] == ["alpha", "beta"]
    assert [line.split(";")[0] for line in diff["after"].splitlines()] == ["alpha: versions 1, 2"]
    assert diff["before"].splitlines()[0] != diff["after"].splitlines()[0]


def _nothing_there(path: str) -> t.NoReturn:
    raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)


def _not_for_us(path: str) -> t.NoReturn:
    raise PermissionError(errno.EACCES, "Permission denied", path)


def _stale(_path: str) -> t.Any:
    def read(_size: int) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle")

    return contextlib.nullcontext(SimpleNamespace(read=read))


@pytest.mark.parametrize("behind_pipes", [False, True])
@pytest.mark.parametrize(
    ("meets", "said"),
    [(_nothing_there, "No such file or directory"), (_not_for_us, "Permission denied"), (_stale, "Stale file handle")],
)
def test_a_source_that_goes_away_meanwhile_is_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind_pipes: bool, meets: t.Any, said: str
) -> None:
    from ansible_collections.fastml.supersonic.tests.unit.models.test_publish import PipeTarget

    gone, store, hidden = source / "beta/1/model.py", tmp_path / "store", []

    def reopen(path: str, *arguments: t.Any, **more: t.Any) -> t.Any:
        return meets(path) if hidden and path == str(gone) else open(path, *arguments, **more)

    def validate_then_hide(*_arguments: object) -> None:
        hidden.append(True)

    monkeypatch.setattr(model_tree, "open", reopen, raising=False)
    monkeypatch.setattr(validation, "validate", validate_then_hide)
    target = PipeTarget(store) if behind_pipes else FolderTarget(str(store))
    with pytest.raises(SupersonicError) as caught:
        publish(t.cast("t.Any", target), [str(source)], Options())
    assert str(caught.value) == (
        f"{gone} of the source cannot be read any more: {said}. Run again when nobody changes the source."
    )
    assert not (store / "lock").exists()
    hidden.clear()
    monkeypatch.undo()
    put(source, store)
    assert_sound(store)


def test_refused_models_do_not_touch_the_store(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    put(source, store)
    before = contents(store)
    (source / "beta/1/model.py").unlink()
    with pytest.raises(SupersonicError, match=r"lacks model\.py"):
        put(source, store)
    with pytest.raises(SupersonicError, match=r"lacks model\.py"):
        put(source, store, check=True)
    assert contents(store) == before


def test_old_releases_go_but_never_the_current_one(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    releases = []
    for number in range(4):
        (source / "beta/1/model.py").write_text(f"# {number}\n")
        releases.append(put(source, store, keep=2)["release"])
        assert_sound(store)
    assert {path.name for path in (store / "releases").iterdir()} == set(releases[2:])
    # Back to the older one: it is the newest by use, and the other one goes.
    (source / "beta/1/model.py").write_text("# 2\n")
    back = put(source, store, keep=2)
    assert back["release"] == releases[2]
    assert back["sent_bytes"] == 0
    (source / "beta/1/model.py").write_text("# 9\n")
    last = put(source, store, keep=2)
    assert last["pruned"] == [releases[3]]
    assert put(source, store, keep=1)["changed"] is False
    assert_sound(store)


@pytest.mark.parametrize(("path", "named"), [("beta/1/model.py", "beta/1/model.py"), ("beta/1/w", "A source file")])
def test_a_source_that_changes_meanwhile_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, named: str
) -> None:
    """By the validation, where that reads the file, or by the store."""
    store = tmp_path / "store"
    put(source, store)
    before = os.readlink(store / "current")
    (source / path).write_text("# new\n")
    real = validation.validate

    def change_then_validate(*arguments: object) -> None:
        (source / path).write_text("# NEW\n")
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(validation, "validate", change_then_validate)
    with pytest.raises(SupersonicError, match=rf"{named} changed while it was published.* again, with verify: true"):
        put(source, store)
    assert os.readlink(store / "current") == before
    assert list((store / "staging").iterdir()) == []


def _edit_in_place(release: Path) -> None:
    (release / "alpha/1/model.py").write_text("# ALPHA 1\n")


def _truncate(release: Path) -> None:
    (release / "alpha/1/model.py").write_text("")


def _lose_a_file(release: Path) -> None:
    (release / "beta/1/model.py").unlink()


def _lose_a_model(release: Path) -> None:
    shutil.rmtree(release / "beta")


def _add_a_file(release: Path) -> None:
    (release / "beta/2").mkdir()
    (release / "beta/2/model.py").write_text("# foreign\n")


def _add_a_link(release: Path) -> None:
    (release / "gamma").symlink_to("/usr")


def _replace_a_file(release: Path) -> None:
    (release / "beta/1/model.py").unlink()
    (release / "beta/1/model.py").write_text("# BETA\n")


def _replace_a_folder(release: Path) -> None:
    shutil.rmtree(release / "beta/1")
    (release / "beta/1").write_text("x")


def _change_a_mode(release: Path) -> None:
    (release / "beta/1/model.py").chmod(0o600)


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize(
    "damage",
    [
        _edit_in_place,
        _truncate,
        _lose_a_file,
        _lose_a_model,
        _add_a_file,
        _add_a_link,
        _replace_a_file,
        _replace_a_folder,
        _change_a_mode,
    ],
)
def test_verify_finds_and_mends(
    source: Path, tmp_path: Path, damage: Callable[[Path], None], links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        forbid_links(monkeypatch)
    store = tmp_path / "store"
    put(source, store)
    good = contents(store / "current")
    damage(store / "current")
    assert put(source, store)["changed"] is False
    assert put(source, store, verify=True)["changed"] is True
    assert contents(store / "current") == good
    assert put(source, store, verify=True)["changed"] is False
    assert_sound(store)


def forbid_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_arguments: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)


def test_without_hard_links_contents_are_copied(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_links(monkeypatch)
    store = tmp_path / "store"
    put(source, store)
    (source / "beta/1/model.py").write_text("# 2\n")
    put(source, store)
    assert all(path.stat().st_nlink == 1 for path in store.rglob("*") if path.is_file())
    assert_sound(store)


def test_blocks_are_shared_where_the_file_system_can(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file system of the tests can: the call is answered as one that can would."""
    forbid_links(monkeypatch)
    shared: list[int] = []

    def clone(target: int, request: int, content: int) -> int:
        assert request == model_store._FICLONE
        os.write(target, os.read(content, 1000))
        shared.append(target)
        return 0

    monkeypatch.setattr(model_store.fcntl, "ioctl", clone)
    put(source, tmp_path / "store")
    assert len(shared) == 6
    assert_sound(tmp_path / "store")


def test_a_damaged_content_is_not_copied_into_a_release(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_links(monkeypatch)
    store = tmp_path / "store"
    put(source, store)
    (content,) = (path for path in (store / "objects").glob("*/*") if path.read_text() == "# beta\n")
    content.write_text("# BETA\n")
    (source / "alpha/1/model.py").write_text("# new\n")
    with pytest.raises(SupersonicError, match=r"A content in the store is damaged .*publish with verify: true"):
        put(source, store)
    put(source, store, verify=True)
    assert_sound(store)


def test_a_file_system_without_symbolic_links(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def symlink(*_arguments: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", symlink)
    with pytest.raises(SupersonicError, match="has no symbolic links, by which releases are switched"):
        put(source, tmp_path / "store")


def test_a_full_store_is_refused_before_anything_is_sent(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    real = os.statvfs(store)
    little = os.statvfs_result((real.f_bsize, 1, 100, 10, 10, 100, 10, 10, real.f_flag, real.f_namemax))
    monkeypatch.setattr(os, "statvfs", lambda _path: little)
    with pytest.raises(SupersonicError, match=r"The store has 10 B free and the release needs \d+ B"):
        put(source, store)
    assert list((store / "objects").iterdir()) == []
    few = os.statvfs_result((4096, 4096, 10**9, 10**9, 10**9, 100, 2, 2, real.f_flag, real.f_namemax))
    monkeypatch.setattr(os, "statvfs", lambda _path: few)
    with pytest.raises(SupersonicError, match="room for 2 more files"):
        put(source, store)
    # Some file systems know nothing about their space.
    nothing = os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, real.f_flag, real.f_namemax))
    monkeypatch.setattr(os, "statvfs", lambda _path: nothing)
    assert put(source, store)["changed"] is True


def test_a_disk_that_fills_up_leaves_the_old_release(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    put(source, store)
    served = contents(store / "current")
    (source / "beta/1/model.py").write_text("# new\n")
    with monkeypatch.context() as patch:

        def full(_store: Store, _paths: list[str]) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(Store, "_flush", full)
        with pytest.raises(SupersonicError, match=r"The store .* is full\. What was published before is untouched"):
            put(source, store)
    assert contents(store / "current") == served
    assert_sound(store)
    put(source, store)
    assert_sound(store)


def _plain_folder(store: Path) -> None:
    (store / "current").mkdir(parents=True)


def _foreign_link(store: Path) -> None:
    store.mkdir()
    (store / "current").symlink_to("/data/models")


def _newer_format(store: Path) -> None:
    store.mkdir()
    (store / "format").write_text("supersonic-store 2\n")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (_plain_folder, "current is not a symbolic link, so this folder holds something else"),
        (_foreign_link, "current points to /data/models, which is no release"),
        (_newer_format, "format says 'supersonic-store 2'; this version of the collection writes 'supersonic-store 1'"),
    ],
)
def test_a_folder_that_is_something_else_is_refused(
    source: Path, tmp_path: Path, prepare: Callable[[Path], None], message: str
) -> None:
    store = tmp_path / "store"
    prepare(store)
    with pytest.raises(SupersonicError, match=message):
        put(source, store)


def test_foreign_files_beside_the_releases_stay(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    (store / "lost+found").mkdir(parents=True)
    (store / "old-model").mkdir()
    put(source, store)
    assert (store / "lost+found").is_dir()
    assert (store / "old-model").is_dir()


def test_a_folder_that_cannot_be_written(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: str, *_arguments: object, **_options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "mkdir", refused)
    with pytest.raises(SupersonicError, match=r"/store cannot be written by user \d+ \(group \d+\): Permission denied"):
        put(source, tmp_path / "store")


def test_two_publishers_at_once(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    sources = []
    for number in range(6):
        copy = tmp_path / f"source{number}"
        shutil.copytree(source, copy)
        (copy / "beta/1/model.py").write_text(f"# {number}\n")
        sources.append(copy)
    with ThreadPoolExecutor() as pool:
        for published in [pool.submit(put, folder, store, keep=10) for folder in sources]:
            assert published.result()["changed"] is True
    assert len(list((store / "releases").iterdir())) == 6
    assert_sound(store)


def test_what_is_served_is_read_once_the_lock_is_there(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = put(source, store)["release"]
    (source / "beta/1/model.py").write_text("# another\n")
    put(source, store)
    other, waiting = Store(str(store)), Store(str(store))
    other.open("somebody on host-a")
    with ThreadPoolExecutor() as pool:
        opened = pool.submit(waiting.open, "somebody on host-b", wait=30)
        while not Path(waiting.staging).is_dir():
            time.sleep(0.01)
        other.switch_to(release=first)
        other.close()
        assert opened.result()["current"] == first
    waiting.close()


def test_a_living_publisher_is_named(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    other = Store(str(store))
    other.open("somebody on host-a")
    try:
        with pytest.raises(SupersonicError, match=r"Another publisher .* somebody on host-a \(for \d+ s, last sign"):
            put(source, store, lock_seconds=0)
    finally:
        other.close()
    assert put(source, store)["changed"] is True


def test_what_a_killed_publisher_left_goes_with_the_next_run(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    put(source, store)
    leave_lock(store)
    (store / "staging/0000").mkdir()
    assert put(source, store, check=True)["changed"] is False
    assert (store / "lock").exists()
    assert put(source, store)["changed"] is False
    assert_sound(store)


def leave_lock(store: Path, **changes: object) -> None:
    """What a publisher leaves that died."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); import store as m, os\n"
        "s = m.Store(sys.argv[1]); s.open('somebody'); os._exit(9)"
    )
    folder = Path(model_store.__file__).parent
    subprocess.run([sys.executable, "-c", code, str(store), str(folder)], check=False)
    holder = store / "lock/holder"
    holder.write_text(json.dumps({**json.loads(holder.read_text()), **changes}))


def test_the_lock_of_a_process_that_died_here_is_taken_over_at_once(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    leave_lock(store)
    assert put(source, store, lock_seconds=0)["changed"] is True
    assert_sound(store)


def test_the_lock_of_another_machine_is_taken_over_when_it_is_stale(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    leave_lock(store, host="elsewhere")
    with pytest.raises(SupersonicError, match="Another publisher"):
        put(source, store, lock_seconds=0)
    old = time.time() - model_store.STALE_SECONDS - 5
    os.utime(store / "lock/holder", (old, old))
    assert put(source, store, lock_seconds=0)["changed"] is True
    assert_sound(store)


def pass_on(store: Path, host: str) -> None:
    """The lock is given back, and the next one has it."""
    holder = json.loads((store / "lock/holder").read_text())
    draft = store / "staging/next"
    draft.write_text(json.dumps({**holder, "session": uuid.uuid4().hex, "host": host, "holder": f"pod cms/{host}"}))
    os.replace(draft, store / "lock/holder")


CLAIM = "3f0c9a52-0000-4000-8000-000000000001"
OTHER_CLAIM = "3f0c9a52-0000-4000-8000-000000000002"


class FromPod(FolderTarget):
    """A store whose publishers say that they run in pods of one claim, of which so many are alive."""

    def __init__(self, store: Path, alive: Callable[[], list[str]]) -> None:
        super().__init__(str(store))
        self.alive = alive

    @contextlib.contextmanager
    def session(self) -> Iterator[tuple[t.Any, str, Pods]]:
        with contextlib.ExitStack() as stack:
            session, _holder, _pods = stack.enter_context(super().session())
            yield session, "pod cms/publish-9", Pods(CLAIM, self.alive)


def test_the_lock_of_a_pod_that_is_gone_is_taken_over_at_once(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    leave_lock(store, host="publish-1", holder="pod cms/publish-1", claim=CLAIM)
    alive = ["publish-1", "publish-2"]
    with pytest.raises(SupersonicError, match="Another publisher"):
        publish(FromPod(store, lambda: alive), [str(source)], Options(lock_seconds=0))
    alive.remove("publish-1")
    assert publish(FromPod(store, lambda: alive), [str(source)], Options(lock_seconds=0))["changed"] is True
    assert_sound(store)


@pytest.mark.parametrize(
    "holder",
    [
        {"host": "publish-1", "holder": "pod cms/publish-1", "claim": OTHER_CLAIM},
        # From a folder: a user of such a name, on another machine.
        {"host": "login-1", "holder": "pod on login-1 (process 7)", "claim": ""},
        # From a version that did not say which claim.
        {"host": "publish-1", "holder": "pod cms/publish-1", "claim": None},
    ],
    ids=["claim", "folder", "version"],
)
def test_the_lock_of_a_pod_that_no_list_of_ours_can_have_is_taken_over_when_it_is_stale(
    source: Path, tmp_path: Path, holder: dict[str, t.Any]
) -> None:
    """One export may be the volume of claims in many namespaces and clusters, and a folder as well."""
    store = tmp_path / "store"
    leave_lock(store, **holder)
    if holder["claim"] is None:
        found = json.loads((store / "lock/holder").read_text())
        del found["claim"]
        (store / "lock/holder").write_text(json.dumps(found))
    before = (store / "lock/holder").read_text()
    young = time.time() - model_store.STALE_SECONDS + 20
    os.utime(store / "lock/holder", (young, young))
    with pytest.raises(SupersonicError, match="Another publisher works on this store: pod "):
        publish(FromPod(store, list), [str(source)], Options(lock_seconds=0))
    assert (store / "lock/holder").read_text() == before
    old = time.time() - model_store.STALE_SECONDS - 5
    os.utime(store / "lock/holder", (old, old))
    assert publish(FromPod(store, list), [str(source)], Options(lock_seconds=0))["changed"] is True
    assert_sound(store)


def test_a_living_publisher_of_another_claim_is_waited_for(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    other = Store(str(store))
    other.open("pod atlas/publish-1", claim=OTHER_CLAIM)
    # Elsewhere: here its process would be seen.
    holder = json.loads((store / "lock/holder").read_text())
    (store / "lock/holder").write_text(json.dumps({**holder, "host": "publish-1"}))
    opened = time.monotonic()
    threading.Timer(1, other.close).start()
    assert publish(FromPod(store, list), [str(source)], Options(lock_seconds=30))["changed"] is True
    assert time.monotonic() - opened >= 1
    assert_sound(store)


@pytest.mark.parametrize(("target", "claim"), [(lambda store: FromPod(store, list), CLAIM), (FolderTarget, "")])
def test_a_lock_says_of_which_claim_its_holder_is(tmp_path: Path, target: t.Any, claim: str) -> None:
    store = tmp_path / "store"
    place = target(store)
    with place.session() as (session, holder, pods):
        model_publish.open_store(session, holder, pods, Options())
        assert json.loads((store / "lock/holder").read_text())["claim"] == claim


def test_a_pod_that_came_after_the_list_keeps_its_lock(source: Path, tmp_path: Path) -> None:
    """Three publishers: one waits for another, which is done, and the lock goes to a third, unknown to the waiter."""
    store = tmp_path / "store"
    leave_lock(store, host="publish-1", holder="pod cms/publish-1", claim=CLAIM)
    lists: list[list[str]] = []

    def alive() -> list[str]:
        lists.append(["publish-1", "publish-9"])
        return lists[-1]

    def go_on() -> None:
        while not lists:
            time.sleep(0.01)
        pass_on(store, "publish-3")

    third = threading.Thread(target=go_on)
    third.start()
    with pytest.raises(SupersonicError, match=r"Another publisher works on this store: pod cms/publish-3 \(for"):
        publish(FromPod(store, alive), [str(source)], Options(lock_seconds=1))
    third.join()
    assert json.loads((store / "lock/holder").read_text())["host"] == "publish-3"


def test_a_pod_that_takes_the_lock_while_pods_are_listed_keeps_it(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    leave_lock(store, host="publish-1", holder="pod cms/publish-1", claim=CLAIM)

    def alive() -> list[str]:
        pass_on(store, "publish-3")
        return ["publish-9"]

    with pytest.raises(SupersonicError, match="Another publisher works on this store: pod cms/publish-3"):
        publish(FromPod(store, alive), [str(source)], Options(lock_seconds=0))


@pytest.mark.parametrize("stale", [True, False])
def test_a_lock_that_somebody_else_has_taken_meanwhile_is_put_back(tmp_path: Path, stale: bool) -> None:
    """Two publishers see the same dead one, and one of them is faster than the other."""
    place = tmp_path / "store"
    leave_lock(place, host="elsewhere")
    holder = json.loads((place / "lock/holder").read_text())
    store = Store(str(place))
    (place / "staging" / store.session).mkdir(parents=True, exist_ok=True)
    store._break_lock(holder if stale else {**holder, "session": "one that is gone"})
    assert (place / "lock/holder").exists() is not stale


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("announce", {"begun": "another"}),
        ("switch_to", {"release": "FIRST"}),
        ("switch_to", {"release": "FIRST", "keep": 1}),
        ("switch_to", {"release": "SECOND", "keep": 1}),
        ("finish", {}),
        ("prune", {"keep": 1}),
        ("discard", {"release": "NEVER SERVED"}),
    ],
    ids=str,
)
def test_who_has_lost_the_lock_changes_nothing_more(
    two: tuple[Path, str, str], operation: str, arguments: dict[str, t.Any]
) -> None:
    """The loss is noticed at each change, whatever was checked before it: the next publisher is at work already."""
    place, first, second = two
    store = Store(str(place))
    store.open("somebody")
    entries = model_store.parse_manifest(str(store.manifest(second)))
    unserved = model_store.format_manifest(entries[1:])
    store.stage(unserved)
    store.announce(model_store.Begun(first, second, back=False).text)
    names = {"FIRST": first, "SECOND": second, "NEVER SERVED": release_id(unserved)}
    pass_on(place, "publish-3")

    def state() -> dict[Path, t.Any]:
        """Everything but the work in progress, and `current` by where it leads."""
        return {
            path: os.readlink(path) if path.is_symlink() else path.lstat().st_mtime_ns
            for path in place.rglob("*")
            if "staging" not in path.parts
        }

    before = state()
    with pytest.raises(model_store.StoreError, match="another one took over"):
        store.handle(operation, {key: names.get(value, value) for key, value in arguments.items()})
    assert state() == before
    store.close()
    assert json.loads((place / "lock/holder").read_text())["host"] == "publish-3"


def test_each_of_many_publishers_is_waited_for(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them takes longer than is waited for, all together do."""
    store = tmp_path / "store"
    leave_lock(store, host="elsewhere")
    slept = 0.0
    turns = 0

    def sleep(seconds: float) -> None:
        """Time goes by, and each publisher works for 0.8 s of it."""
        nonlocal slept, turns
        slept += seconds
        if slept < 0.8 * (turns + 1):
            return
        turns += 1
        if turns <= 4:
            pass_on(store, f"elsewhere-{turns}")
        else:
            shutil.rmtree(store / "lock")

    began, began_at = time.monotonic(), time.time()
    clock = {"sleep": sleep, "monotonic": lambda: began + slept, "time": lambda: began_at + slept}
    monkeypatch.setattr(model_store, "time", types.SimpleNamespace(**(vars(time) | clock)))
    assert put(source, store, lock_seconds=2)["changed"] is True
    assert turns == 5
    assert_sound(store)


def test_each_content_that_is_missing_is_wanted_once(source: Path, tmp_path: Path) -> None:
    """Wherever it lies; one that is executable is another one."""
    for number in range(20):
        place = source / f"alpha/{number + 3}/model.py"
        place.parent.mkdir()
        place.write_text("# the same\n")
        place.chmod(0o755 if number % 2 else 0o644)
    (source / "beta/2").mkdir()
    tree = scan([str(source)])
    keys = [entry.key for entry in tree.entries if entry.mode != "dir"]
    store = Store(str(tmp_path / "store"))
    store.open("me")
    first = list(model_store.wanted(tree.entries, store.missing(tree.manifest)))
    assert [entry.key for entry in first] == list(dict.fromkeys(keys))
    assert len(first) < len(keys) - 10
    session = model_publish._Local(store)
    for entry in first[:-2]:
        session.send(entry.key, entry.size, tree.places[entry.path])
    # Waits until all of them are there.
    session.call("missing", manifest=tree.manifest)
    store.commit()
    assert list(model_store.wanted(tree.entries, store.missing(tree.manifest))) == first[-2:]
    damaged = Path(store._object(first[1].key))
    damaged.write_bytes(damaged.read_bytes()[::-1])
    assert list(model_store.wanted(tree.entries, store.missing(tree.manifest))) == first[-2:]
    again = store.missing(tree.manifest, verify=True)
    assert list(model_store.wanted(tree.entries, again)) == [first[1], *first[-2:]]
    store.close()


def test_what_is_still_copied_is_given_up_when_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a source that takes years, which nobody waits for."""
    store = tmp_path / "store"

    def slow(_size: int) -> bytes:
        time.sleep(0.01)
        return b"x"

    monkeypatch.setattr(model_publish, "source_file", lambda _path: contextlib.nullcontext(slow))

    def ended_while_copying() -> None:
        with FolderTarget(str(store)).session() as (session, holder, _pods):
            session.call("open", holder=holder)
            session.send("0" * 64, 1 << 40, "large")
            until(lambda: list(store.glob("staging/*/" + "0" * 64)))
            raise Ended

    with pytest.raises(Ended):
        ended_while_copying()
    assert not list(store.glob("staging/*"))
    assert not (store / "lock").exists()


def test_one_of_many_that_fails_is_told(tmp_path: Path) -> None:
    wrong = 7

    def send_many() -> None:
        with FolderTarget(str(tmp_path / "store")).session() as (session, holder, _pods):
            session.call("open", holder=holder)
            for number in range(50):
                content = b"%d" % number
                place = tmp_path / str(number)
                place.write_bytes(content)
                key = hashlib.sha256(b"another" if number == wrong else content).hexdigest()
                session.send(key, len(content), str(place))
            session.call("check_lock")

    with pytest.raises(SupersonicError, match="file changed while it was published"):
        send_many()


def test_a_publisher_taken_for_dead_does_not_switch(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    tree = scan([str(source)])
    slow = Store(str(store))
    slow.open("slow")
    session = model_publish._Local(slow)
    model_publish._send(session, tree, slow.missing(tree.manifest))
    session.call("check_lock")
    slow._done.set()
    old = time.time() - model_store.STALE_SECONDS - 5
    os.utime(store / "lock/holder", (old, old))
    fast = Store(str(store))
    fast.open("fast")
    with pytest.raises(SupersonicError, match=r"This publisher was taken for dead .* Nothing was switched\. Run again"):
        session.call("switch_to", release=tree.release, keep=3)
    assert fast.current() is None
    slow.close()
    session = model_publish._Local(fast)
    model_publish._send(session, tree, fast.missing(tree.manifest))
    session.call("stage", manifest=tree.manifest)
    fast.switch_to(tree.release, 3)
    fast.close()
    assert_sound(store)


def test_a_disk_that_fills_up_at_the_history_switches_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    put(source, store)
    served = contents(store / "current")
    (source / "beta/1/model.py").write_text("# new\n")
    release = scan([str(source)]).release

    def full(path: str, mode: str = "r", **more: t.Any) -> t.Any:
        if mode == "w" and path.endswith(("draft", "history")) and (store / "releases" / release).exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return open(path, mode, **more)

    with monkeypatch.context() as patch:
        patch.setattr(model_store, "open", full, raising=False)
        with pytest.raises(SupersonicError, match=r"The store .* is full\. What was published before is untouched"):
            put(source, store)
    assert contents(store / "current") == served
    put(source, store)
    assert_sound(store)


def test_what_fails_after_the_switch_says_that_it_is_done(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    first = put(source, store)["release"]
    (source / "beta/1/model.py").write_text("# new\n")
    release = scan([str(source)]).release

    def full(self: Store, path: str) -> None:
        if path == self.root and self._switched:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_sync", full)
        with pytest.raises(SupersonicError) as caught:
            put(source, store)
    assert f"The store serves the release {release[:12]} now, but what follows the switch was not done." in str(
        caught.value
    )
    assert "is full. Free or add space and run again." in str(caught.value)
    assert "untouched" not in str(caught.value)
    assert os.readlink(store / "current") == f"releases/{release}"
    assert put(source, store)["changed"] is False
    assert Store(str(store)).find() == first


class Unnoted(FolderTarget):
    """A store on a claim that cannot be written."""

    def record(self, *_arguments: t.Any) -> bool:
        raise SupersonicError("You lack the permission to patch it.")


def test_a_claim_that_cannot_be_noted_does_not_hide_the_switch(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with pytest.raises(SupersonicError, match=r"^The store serves the release .* now, but .* You lack the permission"):
        publish(Unnoted(str(store)), [str(source)], Options())
    assert_sound(store)
    # Nothing is switched here, so nothing is said of it.
    with pytest.raises(SupersonicError, match=r"^You lack the permission"):
        publish(Unnoted(str(store)), [str(source)], Options(verify=True))


def test_a_prune_that_fails_is_told_and_no_more(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    first = put(source, store)["release"]
    (source / "beta/1/model.py").write_text("# new\n")

    def refused(path: str, **more: t.Any) -> None:
        if "/manifests/" in path:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        real(path, **more)

    real = os.unlink
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refused)
        result = put(source, store, keep=1)
    assert result["pruned"] == [first]
    (warning,) = t.cast("list[str]", result["warnings"])
    assert "What is not kept could not be removed from the store." in warning
    assert f"manifests/{first} cannot be written by user" in warning
    (source / "beta/1/model.py").write_text("# newer\n")
    assert "warnings" not in put(source, store, keep=1)
    assert_sound(store)


def test_a_sign_of_life_that_fails_once_is_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_store, "BEAT_SECONDS", 0.05)
    real, failures = os.utime, [errno.ESTALE, errno.EIO, errno.ESTALE]

    def utime(path: str, *arguments: t.Any) -> None:
        if path.endswith("lock/holder") and failures:
            raise OSError(failures.pop(), "fails")
        real(path, *arguments)

    store = Store(str(tmp_path / "store"))
    store.open("somebody")
    holder = tmp_path / "store/lock/holder"
    old = time.time() - 50
    real(holder, (old, old))
    monkeypatch.setattr(os, "utime", utime)
    deadline = time.monotonic() + 20
    while holder.stat().st_mtime < old + 1:
        assert time.monotonic() < deadline, "no sign of life any more"
        time.sleep(0.02)
    assert failures == []
    store.close()


def test_a_lost_lock_gets_no_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would keep the one who took over alive, who may die."""
    monkeypatch.setattr(model_store, "BEAT_SECONDS", 0.05)
    folder = tmp_path / "store"
    store = Store(str(folder))
    others = set(threading.enumerate())
    store.open("somebody")
    (beating,) = set(threading.enumerate()) - others
    draft = folder / "staging/next"
    draft.write_text(json.dumps({"session": "0" * 32, "holder": "another"}))
    old = time.time() - 50
    os.utime(draft, (old, old))
    os.replace(draft, folder / "lock/holder")
    until(lambda: not beating.is_alive() or (folder / "lock/holder").stat().st_mtime > old + 1)
    assert (folder / "lock/holder").stat().st_mtime == pytest.approx(old, abs=1)
    store.close()


def test_a_strict_umask_shuts_nobody_out(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "exports" / "models" / "store"
    umask = os.umask(0o077)
    try:
        put(source, store)
        other = Store(str(store))
        other.open("somebody")
        found = [store.parents[1], store.parent, store, *(p for p in store.rglob("*") if other.session not in p.parts)]
        other.close()
    finally:
        os.umask(umask)
    modes = {
        str(path.relative_to(tmp_path)): oct(stat.S_IMODE(path.lstat().st_mode))
        for path in found
        if path.exists() and not path.is_symlink()
    }
    assert {name: mode for name, mode in modes.items() if mode not in ("0o755", "0o644")} == {}


@pytest.fixture
def two(source: Path, tmp_path: Path) -> tuple[Path, str, str]:
    """A store with two releases."""
    store = tmp_path / "store"
    (source / "alpha/1/run.sh").write_text("#!/bin/sh\n")
    (source / "alpha/1/run.sh").chmod(0o755)
    first = put(source, store)["release"]
    (source / "beta/1/model.py").write_text("# new\n")
    return store, str(first), str(put(source, store)["release"])


def _group_may_write(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o020)


def _all_may_do_all(path: Path) -> None:
    """As some file systems show everything."""
    path.chmod(0o777)


@pytest.mark.parametrize("change", [_group_may_write, _all_may_do_all])
def test_modes_that_harm_nobody_are_no_damage(
    source: Path, two: tuple[Path, str, str], change: Callable[[Path], None]
) -> None:
    store, first, second = two
    for path in [store, *store.rglob("*")]:
        if not path.is_symlink():
            change(path)
    for release in (first, second):
        assert Store(str(store)).drift(release) == {"changed": [], "missing": [], "foreign": []}
    verified = put(source, store, verify=True)
    assert (verified["changed"], verified["sent_bytes"]) == (False, 0)
    other = Store(str(store))
    other.open("somebody")
    assert other.switch_to(first)["switched"] is True
    other.close()


def test_modes_that_shut_somebody_out_are_found_and_mended(source: Path, two: tuple[Path, str, str]) -> None:
    store, _first, second = two
    release = store / "releases" / second
    release.chmod(0o700)
    (release / "beta/1").chmod(0o750)
    (release / "alpha/1/run.sh").chmod(0o644)
    (release / "beta/1/model.py").chmod(0o755)
    changed = [".", "alpha/1/run.sh", "beta/1", "beta/1/model.py"]
    assert Store(str(store)).drift(second) == {"changed": changed, "missing": [], "foreign": []}
    assert put(source, store, verify=True)["changed"] is True
    assert Store(str(store)).drift(second) == {"changed": [], "missing": [], "foreign": []}
    assert stat.S_IMODE(release.stat().st_mode) == 0o755


def test_a_file_that_a_server_has_open_on_nfs(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name goes, another one stays in the folder, until the server closes it."""
    store = tmp_path / "store"
    first = put(source, store)["release"]
    (source / "beta/1/model.py").write_text("# new\n")
    real = shutil.rmtree
    left: list[str] = []

    def rmtree(path: str, ignore_errors: bool = False, **more: t.Any) -> None:
        if os.path.basename(path) == first and not left:
            left.append(path)
            if not ignore_errors:
                raise OSError(errno.ENOTEMPTY, "Directory not empty", path)
        else:
            real(path, ignore_errors, **more)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    result = put(source, store, keep=1)
    assert (result["changed"], result["pruned"], len(left)) == (True, [first], 1)
    assert_sound(store)


def test_a_store_that_cannot_be_closed(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    real = Store.close

    def close(self: Store) -> None:
        real(self)
        raise OSError(errno.EIO, "Input/output error", f"{self.root}/lock")

    monkeypatch.setattr(Store, "close", close)
    with pytest.raises(SupersonicError, match="/store/lock: Input/output error"):
        put(source, store)
    # What went wrong first is what is said.
    (store / "format").write_text("another\n")
    (source / "beta/1/model.py").write_text("# new\n")
    with pytest.raises(SupersonicError, match="format says 'another'"):
        put(source, store)


def test_folders_of_another_user_keep_their_times_and_that_is_said(
    source: Path, two: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, first, _second = two
    real = os.utime

    def utime(path: str, *arguments: t.Any, **more: t.Any) -> None:
        if f"releases/{first}/beta" in str(path):
            raise PermissionError(errno.EPERM, "Operation not permitted", path)
        real(path, *arguments, **more)

    monkeypatch.setattr(os, "utime", utime)
    options = {"state": "rolled_back", "release": first, "store": {"type": "path", "path": str(store)}}
    (warning,) = run_module("model_repository", options)["warnings"]
    assert "The folders of the models beta belong to another user and keep their times." in str(warning)
    assert "warnings" not in put(source, store)


@pytest.mark.parametrize(
    ("kernel", "tells"),
    [("5.8.0-rc1", True), ("6.1.0-13-amd64", True), ("10.0", True), ("5.7.19", False), ("4.18.0-553.el8", False)],
)
def test_syncfs_is_trusted_where_it_reports_failures(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str, tells: bool
) -> None:
    assert model_store._syncfs_tells(kernel) is tells
    for number in range(model_store.SYNCFS_FROM):
        (source / f"beta/1/w{number}").write_text(str(number))
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=kernel))
    synced: list[str] = []
    real = Store._sync
    monkeypatch.setattr(Store, "_sync", lambda self, path: (synced.append(path), real(self, path))[1])
    put(source, tmp_path / "store")
    # Folders of the tree are few, and never flushed together.
    assert any("/staging/" in path and "/tree" not in path for path in synced) is not tells


class Disk:
    """What a power cut leaves of a store: what was written and named before the last fsync of the file or folder.

    It watches the calls of this process, with the paths and files that they really are about.
    """

    def __init__(self, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = str(store)
        # Of each file, how it was when it was synced; and folders with names that were made after they were.
        self.synced: dict[int, tuple[int, int]] = {}
        self.unsure: set[str] = set()
        # What a switch would lose, for each of them; and what was published although it was not durable.
        self.switches: list[set[str]] = []
        self.lost: list[str] = []
        self.published: list[str] = []
        # Files and folders one by one, as where the kernel cannot flush all at once.
        monkeypatch.setattr(Store, "_syncfs", lambda _self: False)
        real_sync = os.fsync

        def fsync(handle: int) -> None:
            real_sync(handle)
            info = os.fstat(handle)
            self.synced[info.st_ino] = (info.st_size, info.st_mtime_ns)
            self.unsure.discard(os.readlink(f"/proc/self/fd/{handle}"))

        monkeypatch.setattr(os, "fsync", fsync)
        for name in ("mkdir", "link", "rename", "replace"):
            monkeypatch.setattr(os, name, self._watched(name, getattr(os, name)))

    def _watched(self, name: str, real: t.Any) -> t.Any:
        def call(*paths: t.Any, **more: t.Any) -> None:
            source, made = str(paths[0]), str(paths[0] if name == "mkdir" else paths[1])
            if made == f"{self.store}/current":
                self.switches.append({path for path in self.unsure if not self._staged(path)})
            if name in ("rename", "replace") and self._staged(source) and not self._staged(made):
                self._publish(source, made.removeprefix(f"{self.store}/"))
            real(*paths, **more)
            if made.startswith(f"{self.store}/"):
                self.unsure.add(os.path.dirname(made))

        return call

    def _staged(self, path: str) -> bool:
        """Whether nothing but the publisher itself ever looks there."""
        place = os.path.relpath(path, self.store)
        # Who publishes just now; and the first file of all, whose draft is beside it.
        return place.startswith(("staging", "lock", "format."))

    def _publish(self, source: str, name: str) -> None:
        """A file or a tree gets the name by which it is found."""
        if name == "lock" or os.path.islink(source):
            return
        self.published.append(name)
        files = [source]
        for folder, _folders, inside in os.walk(source):
            files += [os.path.join(folder, file) for file in inside]
            if folder in self.unsure:
                self.lost.append(f"names in {folder}")
        for file in files:
            info = os.stat(file)
            if os.path.isfile(file) and self.synced.get(info.st_ino) != (info.st_size, info.st_mtime_ns):
                self.lost.append(f"{file} as {name}")


@pytest.mark.parametrize("linked", [True, False], ids=["links", "copies"])
@pytest.mark.parametrize("files", [0, 3, model_store.SYNCFS_FROM])
def test_everything_new_has_reached_the_disk_before_the_switch(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, linked: bool
) -> None:
    """The first time, and when there is a store."""
    store = tmp_path / "store"
    if not linked:

        def refused(*_paths: object, **_more: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refused)
    disk = Disk(store, monkeypatch)
    first = put(source, store)["release"]
    for number in range(files):
        (source / f"beta/1/w{number}").write_text(str(number))
    (source / "alpha/1/model.py").write_text("# new\n")
    second = put(source, store)["release"]
    assert disk.switches == [set(), set()]
    assert disk.lost == []
    parts = {f"{kind}/{name}" for kind in ("manifests", "releases") for name in (first, second)}
    expected = {"format", "unfinished", "history"} | parts
    contents = {name for name in disk.published if name.startswith("objects/")}
    assert set(disk.published) - contents == expected
    assert len(contents) > files


def test_a_manifest_that_a_killed_run_has_renamed_reaches_the_disk(
    two: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run finds it and does not write it again, but its name may be in memory alone."""
    place, _first, second = two
    store = Store(str(place))
    store.open("one that is killed")
    unserved = model_store.format_manifest(model_store.parse_manifest(str(store.manifest(second)))[1:])
    manifests = str(place / "manifests")
    disk = Disk(place, monkeypatch)

    class Killed(BaseException):
        pass

    def sync(_store: Store, path: str) -> None:
        if path == manifests:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_sync", sync)
        with pytest.raises(Killed):
            store.stage(unserved)
    assert manifests in disk.unsure
    store.stage(unserved)
    assert manifests not in disk.unsure
    store.close()


def test_the_history_is_written_after_the_switch(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that was never served is never the one to go back to."""
    store = tmp_path / "store"
    first = put(source, store)["release"]
    replace, seen = os.replace, []

    def watched(source_path: str, made: str) -> None:
        if str(made) == f"{store}/current":
            seen.append(json.loads((store / "history").read_text()))
        replace(source_path, made)

    monkeypatch.setattr(os, "replace", watched)
    (source / "alpha/1/model.py").write_text("# new\n")
    second = put(source, store)["release"]
    assert seen == [[first]]
    assert json.loads((store / "history").read_text()) == [second, first]


def test_a_disk_that_fails_is_heard_of(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    for number in range(model_store.SYNCFS_FROM):
        (source / f"beta/1/w{number}").write_text(str(number))

    class Libc:
        def syncfs(self, _handle: int) -> int:
            ctypes.set_errno(errno.EIO)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_arguments, **_more: Libc())
    with pytest.raises(SupersonicError, match="/store: Input/output error"):
        put(source, store)
    assert not (store / "current").exists()
