# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cache: keys, entries that are whole or absent, one build at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils import _local_cache as cache_module
from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._local_cache import Cache, content_key, run

COLLECTIONS = Path(__file__).resolve().parents[3] / ".collections"

BUILDER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ansible_collections.fastml.supersonic.plugins.module_utils._local_cache import Cache

def build(folder):
    (folder / "half").write_text("half")
    print("building", flush=True)
    time.sleep(float(sys.argv[3]))
    (folder / "whole").write_text("whole")

print(Cache(Path(sys.argv[2])).make("things", "thing", "1", build), flush=True)
"""


def builder(root: Path, seconds: float) -> subprocess.Popen[str]:
    """Another process that makes the same entry."""
    command = [sys.executable, "-c", BUILDER, str(COLLECTIONS), str(root), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_key_follows_content_and_names_not_times(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("1")
    first = content_key("x", source)
    os.utime(source / "a", (0, 0))
    assert content_key("x", source) == first
    assert content_key("y", source) != first
    (source / "a").write_text("2")
    second = content_key("x", source)
    assert second != first
    (source / "a").rename(source / "b")
    assert content_key("x", source) not in (first, second)


def test_key_keeps_parts_apart() -> None:
    assert content_key("ab", "c") != content_key("a", "bc")


def test_made_once(tmp_path: Path) -> None:
    calls: list[Path] = []
    cache = Cache(tmp_path)
    assert cache.make("things", "thing", "1", calls.append)
    assert not cache.make("things", "thing", "1", calls.append)
    assert len(calls) == 1
    assert cache.path("things", "thing", "1").is_dir()


def test_failed_build_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def build(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise SupersonicError("no")

    with pytest.raises(SupersonicError):
        cache.make("things", "thing", "1", build)
    assert list((tmp_path / "things").iterdir()) == []


def test_killed_build_is_made_anew(tmp_path: Path) -> None:
    process = builder(tmp_path, 60)
    assert process.stdout is not None
    assert process.stdout.readline() == "building\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    cache = Cache(tmp_path)
    assert not cache.path("things", "thing", "1").exists()
    assert cache.make("things", "thing", "1", lambda folder: (folder / "whole").touch())
    assert [path.name for path in (tmp_path / "things").iterdir()] == ["thing-1"]
    assert [path.name for path in (tmp_path / "things" / "thing-1").iterdir()] == ["whole"]


def test_two_runs_at_once_build_once(tmp_path: Path) -> None:
    processes = [builder(tmp_path, 0.5) for _number in range(2)]
    said = [process.communicate(timeout=20)[0].split() for process in processes]
    assert sorted(said) == [["False"], ["building", "True"]]


def test_failure_says_what_and_the_end_of_the_output() -> None:
    started = time.monotonic()
    with pytest.raises(SupersonicError) as caught:
        run(["sh", "-c", "for i in $(seq 50); do echo line $i >&2; done; exit 3"], what="Counting")
    text = str(caught.value)
    assert text.startswith("Counting failed: sh ended with 3:")
    assert "line 50" in text
    assert "line 20" not in text
    assert time.monotonic() - started < 30


def test_missing_program_is_named() -> None:
    with pytest.raises(SupersonicError, match=r"Counting failed: the program no-such-program is not installed\."):
        run(["no-such-program"], what="Counting")


def test_a_program_that_does_not_end_is_ended() -> None:
    with pytest.raises(SupersonicError, match=r"Waiting failed: sleep did not end within 0 s\."):
        run(["sleep", "60"], what="Waiting", timeout=0.2)


def test_work_in_the_background_is_ended_for_one_cache_only(tmp_path: Path) -> None:
    def begin(cache: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["sh", "-c", "sleep 60 & wait"], env={"PATH": os.environ["PATH"], cache_module.BACKGROUND: str(cache)}
        )

    mine, other = begin(tmp_path / "mine"), begin(tmp_path / "other")
    try:
        while len(cache_module.background(tmp_path / "mine")) < 2:
            time.sleep(0.01)
        cache_module.end_background(tmp_path / "mine")
        assert cache_module.background(tmp_path / "mine") == []
        assert mine.wait(timeout=5) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        cache_module.end_background(tmp_path / "other")
        other.wait(timeout=5)
