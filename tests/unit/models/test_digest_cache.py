# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is remembered of a source, and what is read again."""

from __future__ import annotations

import builtins
import os
import re
import shutil
import time
import typing as t
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._models import digest_cache, model_tree
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import scan


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the files had been written a while ago."""
    monkeypatch.setattr(digest_cache, "SETTLED_NS", -1_000_000_000)


@pytest.fixture
def reads(source: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The source files that were opened."""
    opened: list[str] = []
    real = open

    def note(file: t.Any, *arguments: t.Any, **more: t.Any) -> t.Any:
        if str(file).startswith(f"{source}{os.sep}"):
            opened.append(os.path.relpath(file, source))
        return real(file, *arguments, **more)

    monkeypatch.setattr(builtins, "open", note)
    return opened


class _AtOnce:
    """Does in the moment that it is asked what an executor leaves to its threads."""

    def __init__(self, **_options: t.Any) -> None: ...

    def submit(self, function: Callable[..., t.Any], *arguments: t.Any) -> Future[t.Any]:
        done: Future[t.Any] = Future()
        done.set_result(function(*arguments))
        return done

    def shutdown(self, **_options: t.Any) -> None: ...


# Without a sense, out of order, or without an end.
LINES = ["{", "1", "alpha/1/model.py", "a\t1 2 3 4 5 b", "z\t1 2 3 4 5 b", "alpha/1/model.py\t1 2 3 4 5 "]


def cache() -> Path:
    (found,) = Path(os.environ["XDG_CACHE_HOME"]).rglob("*.tsv")
    return found


@pytest.mark.usefixtures("settled")
def test_only_what_changed_is_read_again(source: Path, reads: list[str]) -> None:
    first = scan([str(source)], cached=True)
    assert len(reads) == 6
    reads.clear()
    assert scan([str(source)], cached=True) == first
    assert reads == []
    (source / "alpha/1/model.py").write_text("# ALPHA 1\n")
    (source / "beta/1/new.py").write_text("")
    (source / "alpha/2/model.py").unlink()
    reads.clear()
    changed = scan([str(source)], cached=True)
    assert sorted(reads) == ["alpha/1/model.py", "beta/1/new.py"]
    assert changed == scan([str(source)])
    assert "alpha/2" not in cache().read_text()


@pytest.mark.usefixtures("settled")
def test_the_same_size_and_time_is_no_disguise(source: Path, reads: list[str]) -> None:
    """Whoever sets the time back changes the ctime by that."""
    scan([str(source)], cached=True)
    file = source / "alpha/1/model.py"
    info = file.stat()
    file.write_text("# ALPHA 1\n")
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (info.st_size, info.st_mtime_ns)
    reads.clear()
    assert scan([str(source)], cached=True) == scan([str(source)])
    assert reads[0] == "alpha/1/model.py"


@pytest.mark.usefixtures("settled")
def test_a_mode_is_never_remembered(source: Path) -> None:
    before = scan([str(source)], cached=True)
    (source / "alpha/1/model.py").chmod(0o755)
    assert scan([str(source)], cached=True).release != before.release


def test_a_file_that_was_changed_just_now_is_not_remembered(source: Path, reads: list[str]) -> None:
    scan([str(source)], cached=True)
    reads.clear()
    scan([str(source)], cached=True)
    assert len(reads) == 6
    # Everybody's clock may be wrong: what comes from the future is not remembered either.
    for path in source.rglob("*.py"):
        os.utime(path, (4e9, 4e9))
    scan([str(source)], cached=True)
    assert not [line for line in cache().read_text().splitlines() if ".py" in line]


@pytest.mark.usefixtures("settled")
def test_a_file_that_changes_while_it_is_read_is_not_remembered(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fstat
    file = source / "beta/1/model.py"
    seen: list[int] = []

    def fstat(handle: int) -> os.stat_result:
        info = real(handle)
        if info.st_ino == file.stat().st_ino and not seen:
            seen.append(handle)
            file.write_text("# BETA\n")
        return info

    monkeypatch.setattr(os, "fstat", fstat)
    scan([str(source)], cached=True)
    assert seen
    assert "beta/1/model.py" not in cache().read_text()
    assert "alpha/1/model.py" in cache().read_text()


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("content", ["", "{", "supersonic-hashes 2\n", *(f"supersonic-hashes 3\n{x}\n" for x in LINES)])
def test_a_damaged_cache_costs_only_time(source: Path, content: str) -> None:
    first = scan([str(source)], cached=True)
    cache().write_text(content)
    assert scan([str(source)], cached=True) == first
    assert len(cache().read_text().splitlines()) == 1 + 6


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("lost", [2, 30, 65, 66, 100])
def test_a_cache_with_an_end_that_was_lost_costs_only_time(source: Path, reads: list[str], lost: int) -> None:
    first = scan([str(source)], cached=True)
    whole = cache().read_text()
    for end in ("", "\0" * lost, " " * lost):
        cache().write_text(whole[:-lost] + end)
        reads.clear()
        assert scan([str(source)], cached=True) == first
        assert reads == ["beta/config.pbtxt"]
        assert cache().read_text() == whole


@pytest.mark.usefixtures("settled")
def test_nothing_is_written_when_nothing_is_new(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = scan([str(source)], cached=True)
    monkeypatch.setattr(digest_cache.tempfile, "mkstemp", lambda *_arguments, **_options: 1 / 0)
    assert scan([str(source)], cached=True) == first
    (source / "beta/3").mkdir()
    assert scan([str(source)], cached=True) != first


def _rewrite(*paths: str) -> Callable[[Path], None]:
    return lambda source: [(source / path).write_text(f"# new {path}\n") for path in paths]  # type: ignore[return-value]


def _remove(*paths: str) -> Callable[[Path], None]:
    return lambda source: [(source / path).unlink() for path in paths]  # type: ignore[return-value]


def _link(source: Path) -> None:
    (source / "alpha/1/again.py").symlink_to("model.py")


FIRST, MIDDLE, LAST = "alpha/1/model.py", "alpha/golden/one.json", "beta/config.pbtxt"


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "change",
    [
        *(_rewrite(path) for path in (FIRST, MIDDLE, LAST)),
        _rewrite(FIRST, LAST),
        *(_remove(path) for path in (FIRST, MIDDLE, LAST)),
        _remove(FIRST, MIDDLE, LAST),
        *(_rewrite(path) for path in ("alpha/0", "alpha/1/z", "alpha/1-a", "beta/z")),
        _rewrite("alpha/0", LAST, "beta/z"),
        _link,
    ],
)
def test_after_a_change_the_cache_is_as_if_made_anew(
    source: Path, tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    scan([str(source)], cached=True)
    change(source)
    changed = scan([str(source)], cached=True)
    kept = cache().read_text()
    reads.clear()
    assert scan([str(source)], cached=True) == changed
    assert reads == []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert scan([str(source)], cached=True) == changed
    assert cache().read_text() == kept


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("together", [1, 2, 3, 500])
def test_files_that_are_looked_at_together(
    source: Path, tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    """Whatever changes among many files of one folder, with a folder in their middle: only that is read again."""
    monkeypatch.setattr(model_tree, "_RUN", together)
    many = source / "alpha/1/many"
    for name in ("a", "b", "c", "d", "e/x", "e/y", "f", "g"):
        (many / name).parent.mkdir(parents=True, exist_ok=True)
        (many / name).write_text(f"# {name}\n")
    found = scan([str(source)], cached=True)
    rewritten = [(f"alpha/1/many/{name}",) for name in ("a", "b", "c", "d", "e/x", "e/y", "f", "g")]
    for paths in [*rewritten, ("alpha/1/many/a", "alpha/1/many/g"), ("alpha/1/many/bb",), ("alpha/1/many/0",)]:
        before = found
        for path in paths:
            (source / path).write_text(f"# {path}, changed with {len(paths)}\n")
        reads.clear()
        found = scan([str(source)], cached=True)
        assert sorted(reads) == sorted(paths)
        assert found.release != before.release
    for path in ("alpha/1/many/c", "alpha/1/many/e/x"):
        (source / path).unlink()
        reads.clear()
        found = scan([str(source)], cached=True)
        assert reads == []
    kept = cache().read_text()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(model_tree, "_RUN", 500)
    assert scan([str(source)], cached=True) == found
    assert cache().read_text() == kept


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("digest", ["\0" * 64, " " * 64, "0" * 63, "0" * 64 + " ", "0" * 62 + "  ", "A" * 64, "ä" * 64])
@pytest.mark.parametrize("together", [1, 500])
def test_what_was_remembered_of_one_of_many_is_damaged(
    source: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, together: int, digest: str
) -> None:
    monkeypatch.setattr(model_tree, "_RUN", together)
    for name in "abcde":
        (source / f"alpha/1/{name}.bin").write_text(name)
    first = scan([str(source)], cached=True)
    whole = cache().read_text()
    cache().write_text(re.sub("(alpha/1/c.bin\t.* )[0-9a-f]{64}", rf"\g<1>{digest}", whole))
    reads.clear()
    assert scan([str(source)], cached=True) == first
    assert reads == ["alpha/1/c.bin"]
    assert cache().read_text() == whole


@pytest.mark.usefixtures("settled")
def test_what_waits_for_its_turn_does_not_keep_others_from_being_passed_together(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an empty folder, as each ensemble has one, nor a file that is read again."""
    (source / "alpha/0").mkdir()
    many = [source / f"alpha/{folder}/{number}" for folder in "123456" for number in range(20)]
    for file in many:
        file.parent.mkdir(exist_ok=True)
        file.write_text("")
    first = scan([str(source)], cached=True)
    looked_up: list[str] = []
    real = digest_cache.Hashes.find
    monkeypatch.setattr(
        digest_cache.Hashes, "find", lambda self, path, known: looked_up.append(path) or real(self, path, known)
    )
    assert scan([str(source)], cached=True) == first
    assert looked_up == []
    many[0].write_text("new")
    # Its reading takes no time where that is done at once.
    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor", _AtOnce)
    scan([str(source)], cached=True)
    assert sorted(looked_up) == sorted(f"alpha/1/{path.name}" for path in (source / "alpha/1").iterdir())


@pytest.mark.usefixtures("settled")
def test_a_cache_of_somebody_else_is_not_believed(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan([str(source)], cached=True)
    path = cache()
    path.write_text(re.sub("[0-9a-f]{64}", "0" * 64, path.read_text()))
    assert scan([str(source)], cached=True) != scan([str(source)])
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    assert scan([str(source)], cached=True) == scan([str(source)])


@pytest.mark.usefixtures("settled")
def test_a_cache_that_cannot_be_written(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("/dev/null", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert scan([str(source)], cached=True) == scan([str(source)])


@pytest.mark.usefixtures("settled")
def test_caches_of_sources_that_nobody_publishes_go(source: Path) -> None:
    scan([str(source)], cached=True)
    old = cache()
    os.utime(old, (1, 1))
    other = source.parent / "other"
    shutil.copytree(source, other)
    scan([str(other)], cached=True)
    assert not old.exists()


DAY = 86400


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(("age", "touched"), [(80 * DAY, True), (2 * DAY, True), (DAY / 2, False)])
def test_a_cache_in_use_is_not_forgotten(source: Path, age: float, touched: bool) -> None:
    """Nothing is ever written to it while nothing changes, so it must not go by that; a touch a day has to do."""
    scan([str(source)], cached=True)
    then = time.time() - age
    os.utime(cache(), (then, then))
    content = cache().read_text()
    scan([str(source)], cached=True)
    assert cache().read_text() == content
    assert (time.time() - cache().stat().st_mtime < DAY / 4) is touched


@pytest.mark.usefixtures("settled")
def test_a_cache_that_cannot_be_touched(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = scan([str(source)], cached=True)
    os.utime(cache(), (1, 1))

    def refused(*_arguments: t.Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "utime", refused)
    assert scan([str(source)], cached=True) == first


def test_a_minute_has_to_pass(source: Path) -> None:
    """Pages that were written through mmap take further writes without a trace until the kernel has written them."""
    info = (source / FIRST).stat()
    written = max(info.st_mtime_ns, info.st_ctime_ns)
    assert digest_cache.mark_of_read(info, info, written + 59_000_000_000) is None
    assert digest_cache.mark_of_read(info, info, written + 61_000_000_000) == digest_cache.mark(info)
