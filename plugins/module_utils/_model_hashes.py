# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Digests of source files that were read before, so that a source without changes is not read again.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

A digest counts as long as path, size, both times and the inode of its file are the same. Whoever writes to a file
changes its ctime, which no program can set back; what is left is a write within the same tick of the file system's
clock. So a file that was changed shortly before it was read is not remembered, and read again next time.

The cache is a file of the user who publishes. A cache that is lost, damaged or not to be written costs time only.
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
_VERSION = 1

Mark = tuple[int, int, int, int]


def mark(info: os.stat_result) -> Mark:
    """What has to stay the same."""
    return (info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)


class Hashes:
    """The digests of one set of source folders."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._path = _path(sources)
        self._known = self._load()
        self._used: dict[str, list[t.Any]] = {}

    def find(self, place: str, info: os.stat_result) -> str | None:
        """The digest of a file that has not changed since it was read."""
        known = self._known.get(place)
        if known is None or tuple(known[:4]) != mark(info):
            return None
        self._used[place] = known
        return str(known[4])

    def note(self, place: str, before: os.stat_result, after: os.stat_result, started_ns: int, digest: str) -> None:
        """Remember a digest, unless the file may have changed without a trace since `started_ns`."""
        if mark(before) == mark(after) and max(before.st_mtime_ns, before.st_ctime_ns) < started_ns - SETTLED_NS:
            self._used[place] = [*mark(before), digest]

    def save(self) -> None:
        """Keep what was found and noted, if it is anything new."""
        if self._path is None or self._used == self._known:
            return
        folder = os.path.dirname(self._path)
        with contextlib.suppress(OSError):
            os.makedirs(folder, mode=0o700, exist_ok=True)
            handle, draft = tempfile.mkstemp(dir=folder)
            try:
                with open(handle, "w", encoding="utf-8") as file:
                    json.dump({"version": _VERSION, "files": self._used}, file, separators=(",", ":"))
                os.replace(draft, self._path)
            except BaseException:
                os.unlink(draft)
                raise
            _forget(folder)

    def _load(self) -> dict[str, list[t.Any]]:
        if self._path is None:
            return {}
        try:
            with open(self._path, encoding="utf-8") as file:
                if os.fstat(file.fileno()).st_uid != os.geteuid():
                    # Whoever can write it decides what is published.
                    return {}
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        files = found.get("files") if isinstance(found, dict) and found.get("version") == _VERSION else None
        if not isinstance(files, dict):
            return {}
        return {place: entry for place, entry in files.items() if isinstance(entry, list) and len(entry) == 5}


def _path(sources: Sequence[str]) -> str | None:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not os.path.isabs(home):
        return None
    name = hashlib.sha256(json.dumps(sorted(sources)).encode()).hexdigest()[:32]
    return os.path.join(home, "fastml-supersonic", "hashes", f"{name}.json")


def _forget(folder: str) -> None:
    """Remove what belongs to sources that nobody has published for long, and what killed runs left."""
    for entry in os.scandir(folder):
        if time.time() - entry.stat().st_mtime > _UNUSED_SECONDS:
            os.unlink(entry.path)
