# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cache of build results, keyed by the content that they are built from.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

An entry is a folder C(<root>/<kind>/<name>-<key>). It is made under another name and renamed when it is
complete, so a killed run leaves no half entry behind, and made under a lock, so two runs at the same time
make it once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError

# Whoever begins work for a cache in the background gives it this variable with the cache's folder.
BACKGROUND = "FASTML_SUPERSONIC_BACKGROUND"
# How long what was killed may take to be gone.
END_SECONDS = 30.0
# Lines of a failed program's output that go into the message.
TAIL_LINES = 15


def content_key(*parts: str | Path) -> str:
    """A short key of texts and of the content of files and folders (names and bytes, no times)."""
    digest = hashlib.sha256()

    def add(kind: str, data: bytes) -> None:
        digest.update(f"{kind}:{len(data)}:".encode())
        digest.update(data)

    for part in parts:
        if isinstance(part, str):
            add("text", part.encode())
            continue
        files = [part] if part.is_file() else sorted(path for path in part.rglob("*") if path.is_file())
        for path in files:
            add("name", str(path.relative_to(part.parent)).encode())
            add("file", path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file; the kernel lets go of it when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class Cache:
    """The cache below one root folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, kind: str, name: str, key: str) -> Path:
        """The path of the entry."""
        return self.root / kind / f"{name}-{key}"

    def lock(self, name: str) -> Path:
        """The lock file of that name."""
        return self.root / "locks" / f"{name}.lock"

    def make(self, kind: str, name: str, key: str, build: Callable[[Path], None]) -> bool:
        """Make the entry unless it is there; whether it was made. build fills the folder that it is given."""
        target = self.path(kind, name, key)
        if target.is_dir():
            return False
        with locked(self.lock(f"{kind}-{name}")):
            if target.is_dir():
                return False
            target.parent.mkdir(parents=True, exist_ok=True)
            # What a killed run left. Its programs may still write there for a moment: hence a new name each time.
            for left in target.parent.glob(f".{name}-*"):
                shutil.rmtree(left, ignore_errors=True)
            work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
            try:
                build(work)
                work.chmod(0o755)
                work.rename(target)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        return True


def background(root: Path) -> list[int]:
    """Processes that work for that cache in the background.

    In a container the same path is another cache, so what has another root is not meant, unless that root is in the
    cache: a Debian that is being made there.
    """
    mark = f"{BACKGROUND}={root}".encode()
    here = Path("/").stat()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            its, place = (entry / "root").stat(), (entry / "root").readlink()
        except OSError:
            continue
        same = (its.st_dev, its.st_ino) == (here.st_dev, here.st_ino)
        if mark in variables and (same or place.is_relative_to(root)):
            found.append(int(entry.name))
    return found


def end_background(root: Path) -> None:
    """End them, so that nothing is written into the cache any more."""
    end = time.monotonic() + END_SECONDS
    # What one of them starts meanwhile is found the next time.
    while pids := background(root):
        if time.monotonic() > end:
            raise SupersonicError(f"The processes {pids}, which work for {root} in the background, cannot be ended.")
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def run(
    command: Sequence[str | Path],
    *,
    what: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
) -> str:
    """Run a program and give its output; SupersonicError with the end of what it said when it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env=None if env is None else dict(env),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise SupersonicError(f"{what} failed: {words[0]} did not end within {timeout:.0f} s.") from error
    except FileNotFoundError as error:
        raise SupersonicError(f"{what} failed: the program {words[0]} is not installed.") from error
    if done.returncode:
        said = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-TAIL_LINES:])
        raise SupersonicError(f"{what} failed: {os.path.basename(words[0])} ended with {done.returncode}:\n{said}")
    return done.stdout
