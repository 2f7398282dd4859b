# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cache: keys, entries that are whole or absent, one build at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import Cache, content_key

COLLECTIONS = Path(__file__).resolve().parents[3] / ".collections"

BUILDER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import Cache

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
