# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The supervisor, run as a process: it starts, restarts and stops daemons as the files say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.processes import until

SUPERVISOR = Path(__file__).resolve().parents[3] / "dev/roles/local_cluster/files/supervisor.py"
RUN = "import runpy, sys; from pathlib import Path; runpy.run_path(sys.argv[1])['supervise'](Path(sys.argv[2]))"


class Running:
    """A supervisor at work on a folder, without the parts that need a namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "daemons").mkdir()
        self.process = subprocess.Popen([sys.executable, "-c", RUN, str(SUPERVISOR), str(folder)])

    def wish(self, name: str, *command: str) -> None:
        """Wish for a daemon."""
        path = self.folder / "daemons" / f"{name}.json"
        path.with_suffix(".new").write_text(json.dumps({"command": command}))
        path.with_suffix(".new").rename(path)

    def status(self) -> dict[str, Any]:
        """What the supervisor says."""
        path = self.folder / "status.json"
        return json.loads(path.read_text()) if path.is_file() else {}

    def wait(self, ready: Callable[[dict[str, Any]], Any], seconds: float = 10) -> Any:
        """Wait until the status is as it should be."""
        return until(lambda: ready(self.status()), seconds)

    def pid(self, name: str, other_than: int = 0) -> int:
        """The process of a daemon, once it runs."""
        pid: int = self.wait(
            lambda status: (status.get(name, {}).get("pid") or other_than) ^ other_than and status[name]["pid"]
        )
        return pid


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Running]:
    """A running supervisor that is ended with the test."""
    running = Running(tmp_path)
    yield running
    if running.process.poll() is None:
        running.process.terminate()
        running.process.wait(timeout=30)


def alive(pid: int) -> bool:
    """Whether a process is there."""
    return Path(f"/proc/{pid}").exists()


def test_starts_and_logs(supervisor: Running, tmp_path: Path) -> None:
    supervisor.wish("one", "sh", "-c", "echo hello; exec sleep 60")
    pid = supervisor.pid("one")
    supervisor.wait(lambda _status: "hello" in (tmp_path / "logs/one.log").read_text())
    assert os.getsid(pid) == pid
    assert "HOME=/root" in Path(f"/proc/{pid}/environ").read_text()


def test_restarts_what_was_killed(supervisor: Running) -> None:
    supervisor.wish("one", "sleep", "60")
    first = supervisor.pid("one")
    os.kill(first, signal.SIGKILL)
    second = supervisor.pid("one", other_than=first)
    assert alive(second)
    assert supervisor.status()["one"]["restarts"] == 1


def test_restarts_when_the_wish_changes(supervisor: Running) -> None:
    supervisor.wish("one", "sleep", "60")
    first = supervisor.pid("one")
    supervisor.wish("one", "sleep", "61")
    second = supervisor.pid("one", other_than=first)
    assert not alive(first)
    assert "61" in Path(f"/proc/{second}/cmdline").read_text()
    assert supervisor.status()["one"]["restarts"] == 0


def test_stops_what_is_no_longer_wished(supervisor: Running, tmp_path: Path) -> None:
    supervisor.wish("one", "sleep", "60")
    pid = supervisor.pid("one")
    (tmp_path / "daemons/one.json").unlink()
    supervisor.wait(lambda status: status == {})
    assert not alive(pid)


def test_a_program_that_is_not_there_is_tried_again_and_does_not_stop_the_others(
    supervisor: Running, tmp_path: Path
) -> None:
    supervisor.wish("bad", str(tmp_path / "nothing"))
    supervisor.wish("good", "sleep", "60")
    supervisor.pid("good")
    supervisor.wait(lambda status: status["bad"]["restarts"] >= 2)
    assert "cannot be started" in (tmp_path / "logs/bad.log").read_text()


def test_ends_its_daemons_when_told_to_end(supervisor: Running) -> None:
    supervisor.wish("one", "sleep", "60")
    pid = supervisor.pid("one")
    supervisor.process.terminate()
    assert supervisor.process.wait(timeout=20) == 0
    assert not alive(pid)
