# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs that are started: what they build, what is said when they fail, and that none of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster import cache as cache_module
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import Cache, run
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.programs import Go, Program


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A pinned program."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "go.mod").write_text("module x\n")
    (folder / "go.sum").write_text("")
    return folder


def test_folders_of_a_module_lie_beside_the_programs(tmp_path: Path, source: Path) -> None:
    """By a toolchain that says where it keeps the module, as Go does: nothing of it may be written."""
    module = tmp_path / "mod"
    (module / "config/crd").mkdir(parents=True)
    (module / "config/crd/a.yaml").write_text("a")
    (module / "config/crd/a.yaml").chmod(0o444)
    cache = Cache(tmp_path / "cache")
    go = Go(cache, "1.2.3")
    (go.root / "bin").mkdir(parents=True)
    script = f'#!/bin/sh\nif [ "$1" = list ]; then echo {module}; fi\n'
    (go.root / "bin/go").write_text(script)
    (go.root / "bin/go").chmod(0o755)
    folders = {"config": {"module": "example.org/x", "path": "config"}}
    program = Program("x", source, {"x": "example.org/x"}, folders=folders)
    assert program.build(go)
    copy = program.folder(go) / "config/crd/a.yaml"
    assert copy.read_text() == "a"
    assert copy.stat().st_mode & 0o200
    missing = Program("y", source, {"y": "example.org/y"}, folders={"c": {"module": "example.org/y", "path": "no"}})
    with pytest.raises(SupersonicError, match=r"There is no folder .*/mod/no, so it cannot be put beside"):
        missing.build(go)
    assert not missing.folder(go).exists()


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
