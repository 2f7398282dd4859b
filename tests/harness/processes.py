# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Server processes of tests: start, wait until they answer, end by pid."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import random
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# So many times as long as it takes on a machine with nothing else to do is waited for what happens elsewhere: a machine
# that runs all tests at a time is no fault.
PATIENCE = 4
# Ports of servers of tests. The kernel gives those above to connections and to servers that name none
# (ip_local_port_range).
PORTS = range(10_000, 30_000)


def until(condition: Callable[[], Any], seconds: float = 30.0, pause: float = 0.1) -> Any:
    """Wait for something that happens elsewhere, which takes so many seconds at most where nothing else runs."""
    limit = time.monotonic() + PATIENCE * seconds
    while not (found := condition()):
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(pause)
    return found


class Ports:
    """Ports that nobody uses. Each is given once, to one of all processes of tests on this machine, and stays theirs
    until that process ends: it holds a lock on the byte of that number in a file that all of them share."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        first = random.SystemRandom().choice(PORTS)
        self._untried = itertools.chain(range(first, PORTS.stop), range(PORTS.start, first))
        # A process that closes any descriptor of a file loses its locks on it (fcntl(2)), so it has this one alone.
        path = os.path.join(tempfile.gettempdir(), f"fastml-supersonic-ports-{os.getuid()}")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> int:
        """The next one. Raises StopIteration when all have been tried."""
        with self._mutex:
            while not self._is_free(port := next(self._untried)):
                pass
            return port

    def _is_free(self, port: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            with socket.socket() as sock:
                sock.bind(("", port))
        except OSError:
            return False
        return True


PORTS_OF_THIS_PROCESS = Ports()


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses, and that no test is given again."""
    return [PORTS_OF_THIS_PROCESS.take() for _number in range(count)]


def http_status(url: str, timeout: float = 2.0) -> int | None:
    """The status that a GET of url is answered with, None when there is no answer."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            return int(response.status)
    except urllib.error.HTTPError as exc:
        return exc.code
    except (OSError, ValueError):
        return None


class Process:
    """A child process in a group of its own, with its output in a file."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        self._name = Path(command[0]).name
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    def wait_until(self, answers: Callable[[], bool], seconds: float) -> None:
        """Raises RuntimeError when it ends first or takes too long; then, as at an interrupt, nothing of it is left."""
        deadline = time.monotonic() + PATIENCE * seconds
        try:
            while not answers():
                if self._child.poll() is not None:
                    raise RuntimeError(f"{self._name} ended with {self._child.returncode}:\n{self.tail()}")
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self._name} does not answer after {PATIENCE * seconds} s:\n{self.tail()}")
                time.sleep(0.05)
        except BaseException:
            self.stop()
            raise

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def stop(self, seconds: float = 10.0) -> None:
        """End the process and whatever it has started (Triton leaves its Python stubs behind when killed)."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGCONT)
            self._child.terminate()
            try:
                self._child.wait(seconds)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
