# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""First process of the local node: arranges its file system and keeps its daemons running.

It is started in network, mount and process namespaces of its own. When it ends, the kernel ends everything that
it started, and with the last process the mounts go. It uses the standard library of the machine's Python only.

    supervisor.py DIRECTORY

DIRECTORY/node.json says what to mount and set once. Each DIRECTORY/daemons/NAME.json is a daemon ("command", a list
of words); files that appear, change or vanish there start, restart or stop their daemon. DIRECTORY/status.json
says which run. What a daemon prints goes to DIRECTORY/logs/NAME.log.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.5
# A daemon that ends is started again after a pause that doubles, until it has run for a while.
FIRST_PAUSE, LONGEST_PAUSE, STEADY_SECONDS = 0.5, 8.0, 30.0
STOP_SECONDS = 10.0
LOG_BYTES = 16 * 1024 * 1024
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


def arrange(directory: Path, node: dict[str, Any]) -> None:
    """Give the node its own view of the file system, so that it leaves no trace on the machine's."""

    def mount(*words: str | Path) -> None:
        subprocess.run(["mount", *map(str, words)], check=True)

    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    own = Path("/run/node")
    own.mkdir()
    mount("--rbind", directory, own)
    # Mount points that the machine does not have are made in an overlay that is kept in memory.
    for base in node["overlays"]:
        upper, work = (Path("/run/overlay") / kind / base.strip("/").replace("/", "-") for kind in ("upper", "work"))
        upper.mkdir(parents=True)
        work.mkdir(parents=True)
        mount("-t", "overlay", "overlay", "-o", f"lowerdir={base},upperdir={upper},workdir={work}", base)
    directory.mkdir(parents=True, exist_ok=True)
    mount("--rbind", own, directory)
    for name, target in node["binds"]:
        source = directory / name
        source.mkdir(parents=True, exist_ok=True)
        Path(target).mkdir(parents=True, exist_ok=True)
        mount("--bind", source, target)
    # Settings of the whole machine that the node's programs change: they change copies of them.
    shields = Path("/run/shields")
    shields.mkdir()
    for path in filter(os.path.exists, node["shields"]):
        copy = shields / path.strip("/").replace("/", "-")
        copy.write_text(Path(path).read_text())
        mount("--bind", copy, path)
    for path, value in node["sysctls"]:
        Path(path).write_text(value)


@dataclass
class Daemon:
    """One daemon: what is wanted, and the process that is there."""

    name: str
    wanted: str = ""
    running: str = ""
    pid: int = 0
    started: float = 0.0
    restarts: int = 0
    pause: float = FIRST_PAUSE
    not_before: float = 0.0
    killed_at: float = field(default=0.0)

    def start(self, logs: Path) -> None:
        """Start the process; whoever reads the log sees that it did."""
        command = json.loads(self.wanted)["command"]
        log = os.open(logs / f"{self.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(log, f"--- {time.strftime('%Y-%m-%dT%H:%M:%S')} {' '.join(command)}\n".encode())
            nothing = os.open(os.devnull, os.O_RDONLY)
            self.pid = os.posix_spawnp(
                command[0],
                command,
                ENVIRONMENT,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, nothing, 0),
                    (os.POSIX_SPAWN_DUP2, log, 1),
                    (os.POSIX_SPAWN_DUP2, log, 2),
                ],
                setsid=True,
                setsigmask=[],
            )
            os.close(nothing)
        except OSError as error:
            os.write(log, f"--- cannot be started: {error}\n".encode())
            self.pid = 0
        finally:
            os.close(log)
        self.started, self.killed_at, self.running = time.monotonic(), 0.0, self.wanted
        if not self.pid:
            self.ended()

    def ended(self) -> None:
        """Note that the process is gone and when the next may start."""
        now = time.monotonic()
        stopped = bool(self.killed_at)
        if now - self.started > STEADY_SECONDS or stopped:
            self.pause = FIRST_PAUSE
        self.not_before = now if stopped else now + self.pause
        self.pause = min(self.pause * 2, LONGEST_PAUSE)
        self.restarts += not stopped
        self.pid, self.killed_at = 0, 0.0

    def stop(self) -> None:
        """Ask the process to end, and make it end when it does not."""
        now = time.monotonic()
        if not self.killed_at:
            os.kill(self.pid, signal.SIGTERM)
            self.killed_at = now
        elif now - self.killed_at > STOP_SECONDS:
            os.kill(self.pid, signal.SIGKILL)


def bound_logs(logs: Path) -> None:
    """Keep at most two files of a fixed size for each daemon. They append, so a file can be emptied below them."""
    for log in logs.glob("*.log"):
        if log.stat().st_size > LOG_BYTES:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)


def reap(daemons: dict[str, Daemon]) -> None:
    """Collect every process that ended: daemons, and orphans that the kernel gave to the first process."""
    while True:
        try:
            pid, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        for daemon in daemons.values():
            if daemon.pid == pid:
                daemon.ended()


def supervise(directory: Path) -> None:
    """Follow the wishes in the daemons folder until told to end."""
    wishes, logs, status = directory / "daemons", directory / "logs", directory / "status.json"
    for folder in (wishes, logs):
        folder.mkdir(exist_ok=True)
    daemons: dict[str, Daemon] = {}
    signals = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    written = ""
    ending = False
    while True:
        got = signal.sigtimedwait(signals, POLL_SECONDS)
        ending = ending or (got is not None and got.si_signo != signal.SIGCHLD)
        reap(daemons)
        wanted = {} if ending else {path.stem: path.read_text() for path in wishes.glob("*.json")}
        for name in wanted:
            daemons.setdefault(name, Daemon(name))
        for name, daemon in list(daemons.items()):
            daemon.wanted = wanted.get(name, "")
            if daemon.pid and daemon.running != daemon.wanted:
                daemon.stop()
            elif not daemon.pid and daemon.wanted and time.monotonic() >= daemon.not_before:
                daemon.start(logs)
            elif not daemon.pid and not daemon.wanted:
                del daemons[name]
        if ending and not daemons:
            return
        bound_logs(logs)
        now = {
            name: {"running": bool(daemon.pid), "pid": daemon.pid, "restarts": daemon.restarts, "wish": daemon.running}
            for name, daemon in sorted(daemons.items())
        }
        if (text := json.dumps(now, sort_keys=True)) != written:
            fresh = status.with_suffix(".new")
            fresh.write_text(text)
            fresh.rename(status)
            written = text


if __name__ == "__main__":
    state = Path(sys.argv[1])
    arrange(state, json.loads((state / "node.json").read_text()))
    supervise(state)
