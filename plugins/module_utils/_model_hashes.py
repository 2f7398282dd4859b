# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Digests of source files that were read before, so that a source without changes is not read again.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

A digest counts as long as size, both times, inode and device of its file are the same. Whoever writes to a file
changes its ctime, which no program can set back; what is left is a write within the same tick of the file system's
clock. So a file that was changed shortly before it was read is not remembered, and read again next time.

The cache is a file of the user who publishes. A cache that is lost, damaged or not to be written costs time only. It
is read and written line by line, in the order of the paths: its size takes no memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
import typing as t
from collections.abc import Sequence

# Coarser than the clock of any file system that we know (FAT has 2 s), and more than clocks of two machines that keep
# time differ.
SETTLED_NS = 3_000_000_000
_UNUSED_SECONDS = 90 * 86400
_HEAD = "supersonic-hashes 2\n"

Mark = tuple[int, int, int, int, int]
_Line = tuple[str, Mark, str]


def mark(info: os.stat_result) -> Mark:
    """What has to stay the same."""
    return (info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev)


def mark_of_read(before: os.stat_result, after: os.stat_result, started_ns: int) -> Mark | None:
    """The mark of a file that was read, unless it may have changed without a trace since `started_ns`."""
    if mark(before) == mark(after) and max(before.st_mtime_ns, before.st_ctime_ns) < started_ns - SETTLED_NS:
        return mark(before)
    return None


class Hashes:
    """The digests of one set of source folders. `find` and `keep` want each path once, in ascending order."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._path = _path(sources)
        self._known = _lines(self._path)
        self._next = next(self._known, None)
        # Whether the files are others than those of last time.
        self._news = False
        self._draft: t.IO[str] | None = None

    def __enter__(self) -> Hashes:
        if self._path is not None:
            with contextlib.suppress(OSError):
                folder = os.path.dirname(self._path)
                os.makedirs(folder, mode=0o700, exist_ok=True)
                self._draft = tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=folder, delete=False)
                self._draft.write(_HEAD)
        return self

    def find(self, path: str, info: os.stat_result) -> str | None:
        """The digest of a file that has not changed since it was read."""
        while self._next and self._next[0] < path:
            self._news = True
            self._next = next(self._known, None)
        if self._next and self._next[0] == path:
            _name, known, digest = self._next
            self._next = next(self._known, None)
            if known == mark(info):
                return digest
        self._news = True
        return None

    def keep(self, path: str, found: Mark, digest: str) -> None:
        """Remember a digest for next time."""
        if self._draft:
            try:
                self._draft.write(json.dumps([path, found, digest], separators=(",", ":")) + "\n")
            except OSError:
                self._drop()

    def save(self) -> None:
        """Take what was kept for the new cache, if it is another one."""
        if self._draft is None or self._path is None or not (self._news or self._next):
            return
        with contextlib.suppress(OSError):
            self._draft.close()
            os.replace(self._draft.name, self._path)
            self._draft = None
            _forget(os.path.dirname(self._path))

    def __exit__(self, *_exception: object) -> None:
        self._known.close()
        self._drop()

    def _drop(self) -> None:
        draft, self._draft = self._draft, None
        if draft:
            with contextlib.suppress(OSError):
                os.unlink(draft.name)
            with contextlib.suppress(OSError):
                draft.close()


def _lines(path: str | None) -> t.Generator[_Line, None, None]:
    """What the cache says, up to the first line that makes no sense."""
    if path is None:
        return
    try:
        with open(path, encoding="utf-8") as file:
            # Whoever can write it decides what is published.
            if os.fstat(file.fileno()).st_uid != os.geteuid() or file.readline() != _HEAD:
                return
            for line in file:
                name, (size, mtime, ctime, inode, device), digest = json.loads(line)
                yield str(name), (size, mtime, ctime, inode, device), str(digest)
    except (OSError, ValueError, TypeError):
        return


def _path(sources: Sequence[str]) -> str | None:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not os.path.isabs(home):
        return None
    name = hashlib.sha256(json.dumps(sorted(sources)).encode()).hexdigest()[:32]
    return os.path.join(home, "fastml-supersonic", "hashes", f"{name}.jsonl")


def _forget(folder: str) -> None:
    """Remove what belongs to sources that nobody has published for long, and what killed runs left."""
    for entry in os.scandir(folder):
        if time.time() - entry.stat().st_mtime > _UNUSED_SECONDS:
            os.unlink(entry.path)
