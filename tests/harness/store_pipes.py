# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store of a claim without a cluster: its code behind pipes instead of in a pod."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import Lost
from ansible_collections.fastml.supersonic.plugins.module_utils._models import store as model_store
from ansible_collections.fastml.supersonic.plugins.module_utils._models import store_pod
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import Published


def peak(process: str = "self") -> int:
    """Bytes of memory that a process has had at most; none where it has ended."""
    # Not ru_maxrss: a process inherits that from the one that started it.
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return 0
    return int((status.partition("VmHWM:")[2].split() or ["0"])[0]) * 1024


class Pipe:
    """Stands for the connection to a pod: the same code, started the same way, in a process of this machine."""

    def __init__(self, root: Path, change: tuple[str, str] = ("", "")) -> None:
        code = store_pod._source().replace(*change).encode()
        command = [sys.executable, "-B", "-c", store_pod._BOOT, str(len(code)), str(root)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self.output = b""
        # Bytes of memory that it had at most.
        self.peak = 0
        self.write(code)

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except BrokenPipeError:
            self.process.wait()
            raise Lost("the pod is gone") from None

    def line(self) -> bytes:
        while not (found := self.line_if_any()):
            if self.process.poll() is not None and not (found := self.line_if_any()):
                raise Lost("the pod is gone")
            time.sleep(0.005)
        return found

    def line_if_any(self) -> bytes:
        assert self.process.stdout is not None
        self.output += self.process.stdout.read() or b""
        found, end, rest = self.output.partition(b"\n")
        if not end:
            return b""
        self.output = rest
        return found + end

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.peak = peak(str(self.process.pid))
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class PipeTarget:
    """A store behind pipes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.recorded: list[str] = []
        self.opened: list[Pipe] = []

    def published(self, _known: t.Any = None, /) -> Published:
        return Published(self.recorded[-1] if self.recorded else None, None)

    def unfinished(self) -> bool:
        return False

    def begun(self) -> None:
        return None

    def refresh(self) -> None:
        return None

    def announce(self, session: t.Any, begun: model_store.Begun, age: float, /) -> None:
        assert age >= 0
        session.call("announce", begun=begun.text)

    def session(self) -> t.Any:
        return self._session()

    @contextlib.contextmanager
    def _session(self) -> t.Iterator[tuple[t.Any, str, store_pod.Pods]]:
        pipe = Pipe(self.root)
        self.opened.append(pipe)
        try:
            remote = store_pod.Remote(t.cast("t.Any", pipe))
            yield remote, "pod test/publisher", store_pod.Pods("uid", list)
        finally:
            pipe.close()

    @contextlib.contextmanager
    def reading(self) -> t.Iterator[t.Any]:
        with self._session() as (session, _holder, _pods):
            yield session

    def switched(self) -> None:
        return None

    def earlier(self) -> list[t.Any]:
        return []

    def record(self, session: t.Any, outcome: t.Mapping[str, t.Any], _known: t.Any, /) -> bool:
        assert outcome["age"] >= 0
        session.call("finish")
        self.recorded.append(outcome["releases"][0]["release"])
        return True

    def noted(self) -> None:
        return None
