# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Caches digests of source files, so that unchanged files are not read again.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

A digest counts as long as size, both times, inode and device of its file are the same. Whoever calls write() changes
the ctime of a file, which no program can set back. What leaves no trace is

- a write within the same tick of the file system's clock, and one through mmap to a page that the kernel has not yet
  written back, which takes half a minute. So a file that was changed in the last minute before it was read is not
  remembered, and read again next time;
- a write through mmap in memory (tmpfs), where nothing is ever written back, and one after which the old date is set
  again where there is no ctime (FAT, sshfs). Only `verify` finds these: it believes nothing and makes the cache anew.

The cache is a file of the user who publishes. A cache that is lost, damaged or not to be written costs time only. It
is read and written line by line, in the order of the paths: its size takes no memory. A line has a path, a tab, the
mark and the digest. It is compared as text, never taken apart, many lines at a time where nothing has changed, and
nothing is written while it all still holds: the usual run finds nothing new.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
import typing as t
from collections.abc import Iterable, Sequence
from itertools import islice

# The kernel writes a page back 30 s after it was written to, and looks every 5 s. That is coarser than the clock of any
# file system that we know (FAT has 2 s), and more than clocks of two machines that keep time differ.
SETTLED_NS = 60_000_000_000
_UNUSED_SECONDS = 90 * 86400
_TOUCH_SECONDS = 86400
_HEAD = "supersonic-hashes 3\n"
_DIGEST_LENGTH = 64
# Of a line: the digest, and what ends it.
_TAIL = _DIGEST_LENGTH + 1


def mark(info: os.stat_result) -> str:
    """The metadata of a file by which an unchanged file is recognized."""
    return f"{info.st_size} {info.st_mtime_ns} {info.st_ctime_ns} {info.st_ino} {info.st_dev}"


def mark_of_read(before: os.stat_result, after: os.stat_result, started_ns: int) -> str | None:
    """The mark of a file that was read, unless it may have changed without a trace since `started_ns`."""
    if mark(before) == mark(after) and max(before.st_mtime_ns, before.st_ctime_ns) < started_ns - SETTLED_NS:
        return mark(before)
    return None


class Hashes:
    """The digests of one set of source folders.

    `find` wants each path once, in ascending order; `keep` everything that it has found, and what was read besides, in
    the same order. `hold` does both for many files that follow one another, where nothing else is waiting to be kept.
    With `verify` nothing is found, so that what is kept is what was read now.
    """

    def __init__(self, sources: Sequence[str], *, verify: bool = False) -> None:
        self._path = _path(sources)
        self._verify = verify
        self._known = _lines(None if verify else self._path)
        # Lines that were read and not yet passed.
        self._ahead: list[str] = []
        # Whether the files are others than those of last time.
        self._news = False
        # How many lines still held before the first news, and how many of them are still to be kept.
        self._same = self._unkept = 0
        self._draft: t.IO[str] | None = None
        self._name = ""

    def __enter__(self) -> Hashes:
        return self

    def hold(self, paths: Sequence[str], infos: Sequence[os.stat_result]) -> list[str] | None:
        """The digests of files that are all known to be the same, which are kept; None, and nothing done, otherwise."""
        self._look(len(paths))
        lines = self._ahead[: len(paths)]
        beginnings = [f"{path}\t{mark(info)} " for path, info in zip(paths, infos, strict=True)]
        if [line[:-_TAIL] for line in lines] != beginnings:
            return None
        digests = [line[-_TAIL:-1] for line in lines]
        if not _are_digests(digests):
            return None
        del self._ahead[: len(paths)]
        if self._news:
            self._write(lines)
        else:
            self._same += len(lines)
        return digests

    def find(self, path: str, known: str) -> str | None:
        """The digest of a file whose mark has not changed since it was read."""
        beginning = f"{path}\t{known} "
        line = self._look()
        if not line.startswith(beginning):
            self._begin()
            while line and line.partition("\t")[0] < path:
                del self._ahead[0]
                line = self._look()
            if not line.startswith(beginning):
                return None
        digest = line[len(beginning) : -1]
        if not _are_digests([digest]):
            self._begin()
            return None
        del self._ahead[0]
        if not self._news:
            self._same += 1
            self._unkept += 1
        return digest

    def keep(self, path: str, known: str, digest: str) -> None:
        """Remember a digest for next time."""
        if self._unkept:
            self._unkept -= 1
        else:
            self._write([f"{path}\t{known} {digest}\n"])

    def save(self) -> None:
        """Take what was kept for the new cache, if it is another one."""
        if self._look() or self._verify:
            self._begin()
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            if not self._news:
                _touch(self._path)
            if self._draft is None:
                return
            self._draft.close()
            os.replace(self._name, self._path)
            self._draft = None
            _forget(os.path.dirname(self._path))

    def __exit__(self, *_exception: object) -> None:
        self._known.close()
        self._drop()

    def _look(self, number: int = 1) -> str:
        """The next line, empty at the end, with so many lines read ahead as far as there are any."""
        if len(self._ahead) < number:
            self._ahead.extend(islice(self._known, number - len(self._ahead)))
        return self._ahead[0] if self._ahead else ""

    def _begin(self) -> None:
        """Write another cache, which begins with what has held until now."""
        if self._news or self._path is None:
            return
        self._news = True
        folder = os.path.dirname(self._path)
        with contextlib.suppress(OSError):
            os.makedirs(folder, mode=0o700, exist_ok=True)
            handle, self._name = tempfile.mkstemp(dir=folder)
            self._draft = os.fdopen(handle, "w", encoding="utf-8")
        with contextlib.closing(_lines(self._path)) as lines:
            self._write([_HEAD])
            self._write(islice(lines, self._same))

    def _write(self, lines: Iterable[str]) -> None:
        if self._draft:
            try:
                self._draft.writelines(lines)
            except OSError:
                self._drop()

    def _drop(self) -> None:
        draft, self._draft = self._draft, None
        if draft:
            with contextlib.suppress(OSError):
                os.unlink(self._name)
            with contextlib.suppress(OSError):
                draft.close()


def _are_digests(found: Sequence[str]) -> bool:
    """After a loss of power the end of the file may be anything."""
    digits = "".join(found).encode()
    return len(digits) == len(found) * _DIGEST_LENGTH and not digits.translate(None, b"0123456789abcdef")


def _lines(path: str | None) -> t.Generator[str, None, None]:
    """The lines of the cache; each is compared before it is used."""
    if path is None:
        return
    try:
        with open(path, encoding="utf-8") as file:
            # Whoever can write it decides what is published.
            if os.fstat(file.fileno()).st_uid == os.geteuid() and file.readline() == _HEAD:
                yield from file
    except (OSError, ValueError):
        return


def _path(sources: Sequence[str]) -> str | None:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not os.path.isabs(home):
        return None
    name = hashlib.sha256(json.dumps(sorted(sources)).encode()).hexdigest()[:32]
    return os.path.join(home, "fastml-supersonic", "hashes", f"{name}.tsv")


def _touch(path: str) -> None:
    """Mark a cache file as used, so that it is not removed as old."""
    if time.time() - os.stat(path).st_mtime > _TOUCH_SECONDS:
        os.utime(path)


def _forget(folder: str) -> None:
    """Remove what belongs to sources that nobody has published for long, and what killed runs left."""
    for entry in os.scandir(folder):
        if time.time() - entry.stat().st_mtime > _UNUSED_SECONDS:
            os.unlink(entry.path)
