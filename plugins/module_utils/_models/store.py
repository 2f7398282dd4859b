# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store of model releases on a file system.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

One implementation serves both kinds of store: for a folder it is imported, for a volume its text is sent to a helper
pod that has the volume mounted (see `serve`). So it needs Python 3.8, the standard library, and no other file.

    format                 version of this layout
    current                symbolic link to releases/<id>: what servers read, replaced by rename
    releases/<id>/         one whole tree of models, immutable
    manifests/<id>         its manifest, whose sha256 begins with <id>
    objects/<aa>/<name>    contents, named by sha256 (and .x when executable); releases link to them where possible
    history                releases in the order in which they were switched to, the latest first (JSON)
    unfinished             the switch that was begun last, until everything is done that belongs to it (JSON)
    staging/<session>/     work in progress; outside every served tree, on the same file system
    lock/holder            who publishes just now (JSON); touched while the publisher lives
"""

from __future__ import annotations

import base64
import collections
import contextlib
import ctypes
import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import select
import shutil
import socket
import stat
import sys
import threading
import time
import typing as t
import uuid

FORMAT = "supersonic-store 1\n"
MANIFEST_HEAD = "supersonic-release 1"
ID_LENGTH = 40
# For larger ones the memory is asked for anew each time, and its first touch takes longer than copying.
BLOCK = 1 << 17
BEAT_SECONDS = 5.0
STALE_SECONDS = 60.0
# Below this number of files one fsync each is cheaper than flushing the whole file system.
SYNCFS_FROM = 64
_LINK_REFUSED = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOSYS, errno.EACCES)
_LINE = re.compile(r"(?:(644|755) ([0-9a-f]{64}) ([0-9]{1,19})|(dir) (-) (0)) (.+)")
_RELEASE = re.compile(f"[0-9a-f]{{{ID_LENGTH}}}")
# fcntl of Linux: how much a pipe holds, of which that is the most for everybody.
_F_SETPIPE_SZ = 1031
_PIPE = 1 << 20
# ioctl of Linux: let a new file share the blocks of another one (btrfs, XFS, some network file systems).
_FICLONE = 0x40049409
# Of sync_file_range of Linux: begin, and wait for nothing.
_SYNC_FILE_RANGE_WRITE = 2
_BEGIN_BYTES = 8 << 20
_SHOWN = 3
# Of a file of the source.
CHANGED = (
    "changed while it was published. Run again when nobody writes to it; if it says so again, with verify: true, which "
    "reads every file of the source anew."
)


class StoreError(Exception):
    """An expected failure; its text is a sentence for the user."""


class Entry(t.NamedTuple):
    """One file, or one empty folder (mode `dir`), of a release."""

    mode: str
    digest: str
    size: int
    path: str

    @property
    def key(self) -> str:
        """Name of its content: hard links share the mode, so an executable is another object."""
        return self.digest + (".x" if self.mode == "755" else "")


class Begun(t.NamedTuple):
    """A switch that was begun and has not come to its end."""

    # Where it leads and from where; empty where the mark cannot be read.
    release: str
    before: str
    # Whether it goes back to a release that was served before.
    back: bool

    @property
    def text(self) -> str:
        return json.dumps(self._asdict())

    @classmethod
    def parse(cls, text: str) -> Begun:
        try:
            found = json.loads(text)
            return cls(str(found["release"]), str(found["before"]), bool(found["back"]))
        except (ValueError, TypeError, KeyError):
            return cls("", "", False)

    def way_back(self, current: str | None) -> str | None:
        """The target of a rollback: that of an interrupted one, or the release that a publication was replacing.

        None where somebody who knows nothing of marks has switched since.
        """
        known = (current or "") in (self.release, self.before)
        return (self.release if self.back else self.before) or None if known else None


def format_manifest(entries: t.Iterable[Entry]) -> str:
    ordered = sorted(entries, key=lambda entry: entry.path.encode())
    lines = [f"{mode} {digest} {size} {path}" for mode, digest, size, path in ordered]
    return "\n".join([MANIFEST_HEAD, *lines, ""])


def parse_manifest(text: str) -> list[Entry]:
    return list(each_entry(text))


def each_entry(text: str) -> t.Iterator[Entry]:
    """The entries one by one: all of them at once take several times the memory of the text."""
    if not text.startswith(MANIFEST_HEAD + "\n") or not text.endswith("\n"):
        raise _no_manifest(text)
    start = len(MANIFEST_HEAD) + 1
    while start < len(text):
        end = text.index("\n", start)
        found = _LINE.fullmatch(text, start, end)
        if not found or not {"", ".", ".."}.isdisjoint(found[7].split("/")):
            raise _no_manifest(text)
        mode, digest, size, path = (field for field in found.groups() if field is not None)
        yield Entry(mode, digest, int(size), path)
        start = end + 1


def wanted(entries: t.Iterable[Entry], missing: str) -> t.Iterator[Entry]:
    """Those of a manifest's entries whose contents have to be sent, by what `missing` says of it."""
    marks = bytes.fromhex(missing)
    return (entry for index, entry in enumerate(entries) if marks[index >> 3] >> (index & 7) & 1)


def blocks(text: str) -> t.Iterator[str]:
    """A long text in parts, so that nobody who passes it on has it in memory twice."""
    return (text[start : start + BLOCK] for start in range(0, len(text), BLOCK))


def _no_manifest(text: str) -> StoreError:
    return StoreError(
        f"The manifest of the release {release_id(text)} is damaged or of a newer version of the collection. Publish "
        "its models again."
    )


def release_id(manifest: str) -> str:
    digest = hashlib.sha256()
    for block in blocks(manifest):
        digest.update(block.encode())
    return digest.hexdigest()[:ID_LENGTH]


def short(release: str) -> str:
    """As much of an id as tells it from all others, and more than a roll-back needs."""
    return release[:12]


def readable(size: float) -> str:
    """A number of bytes as people write it."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def explain(error: OSError, root: str, switched: bool = False) -> str:
    """The sentence for a failed system call in the store."""
    where = error.filename if isinstance(error.filename, str) else root
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        untouched = "F" if switched else "What was published before is untouched; f"
        return f"The store {root} is full. {untouched}ree or add space and run again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"{where} cannot be written by user {os.getuid()} (group {os.getgid()}): {error.strerror}. "
            "Give the store to this user, or publish as its owner."
        )
    return f"{where}: {error.strerror or error}."


class Store:
    """Publishes releases below one folder. Every change happens between `open` and `close`."""

    def __init__(self, root: str, beat: t.Callable[[], None] | None = None) -> None:
        self.root = root
        self.session = uuid.uuid4().hex
        self.staging = self._path("staging", self.session)
        # Several may be received at a time, each by a thread of its own, and while others are committed.
        self._staged: collections.deque[str] = collections.deque()
        # Folders with new names in them, which a power cut may still take away.
        self._renamed: set[str] = set()
        self._beat = beat
        self._done = threading.Event()
        self._locked = False
        self._living = False
        self._linkable = True
        self._switched: str | None = None
        self._kept: dict[str, int] = {}
        self._disk: int | None = None

    # What may be asked for, here or from afar

    def handle(self, operation: str, arguments: dict[str, t.Any]) -> t.Any:
        operations: dict[str, t.Callable[..., t.Any]] = {
            "open": self.open,
            "missing": self.missing,
            "commit": self.commit,
            "stage": self.stage,
            "discard": self.discard,
            "announce": self.announce,
            "switch_to": self.switch_to,
            "finish": self.finish,
            "prune": self.prune,
            "close": self.close,
            "check_lock": self._check_lock,
            # These need no lock and write nothing.
            "locked_by": self.locked_by,
            "require": self.require,
            "inspect": self.inspect,
            "manifest": self.manifest,
            "surplus": self.surplus,
            "find": self.find,
            "drift": self.drift,
            "check_whole": self.check_whole,
            "read": self.read,
        }
        self._start_living()
        with self._fenced():
            return operations[operation](**arguments)

    def current(self) -> str | None:
        """The release that servers read, without taking the lock."""
        link = self._path("current")
        try:
            target = os.readlink(link)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise StoreError(
                f"{link} is not a symbolic link, so this folder holds something else. "
                "Publish to an empty folder or volume, or move it away."
            ) from error
        folder, _slash, name = target.rpartition("/")
        if folder != "releases" or not _RELEASE.fullmatch(name):
            raise StoreError(f"{link} points to {target}, which is no release. Remove the link and run again.")
        return name if os.path.isdir(self._path("releases", name)) else None

    def unfinished(self) -> bool:
        """Whether somebody works on the store now, or was killed before everything was cleared up."""
        if self.begun() is not None:
            return True
        try:
            return bool(os.listdir(self._path("staging")))
        except FileNotFoundError:
            return False

    def begun(self) -> str | None:
        """The note of `announce` about a switch that is not finished."""
        try:
            with open(self._path("unfinished"), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def manifest(self, release: str) -> str | None:
        """None when it is lost, or damaged, which its id says."""
        try:
            with open(self._path("manifests", release), "rb") as file:
                content = file.read()
        except FileNotFoundError:
            return None
        if hashlib.sha256(content).hexdigest()[:ID_LENGTH] != release:
            return None
        return content.decode()

    def read(self, release: str, path: str, offset: int, size: int) -> str:
        """A part of a file of a release, in base64. The path is one of its manifest."""
        if not _RELEASE.fullmatch(release) or not {"", ".", ".."}.isdisjoint(path.split("/")):
            raise StoreError(f"{release}/{path} is no file of a release.")
        with open(self._path("releases", release, path), "rb") as file:
            file.seek(offset)
            return base64.b64encode(file.read(size)).decode()

    def require(self) -> None:
        """Raise unless there is a store here."""
        if not self._check_format(make=False):
            raise StoreError(
                f"{self.root} holds no store of releases: it has no file named format. Publish to it first, or name "
                "the right one."
            )

    def inspect(self) -> dict[str, t.Any]:
        """The content of the store: releases by their last use, work in progress, the holder of the lock, space."""
        self._check_format(make=False)
        current = self.current()
        surplus = self.surplus(sys.maxsize)
        return {
            "current": current,
            "releases": self.listing(),
            "staging": self._names("staging"),
            "unused_contents": surplus["contents"],
            "unused_bytes": surplus["bytes"],
            "lock": self._lock_state(),
            "space": self._space(),
        }

    def listing(self) -> list[dict[str, t.Any]]:
        """Every release, the current one first, then by last use, with the time when it was complete."""
        found: list[dict[str, t.Any]] = []
        served = self._served()
        for name in self._order():
            found.append({"release": name, "published": self._published(name) or None})
            if name not in served:
                # On trial, or what a killed trial has left: nothing to go back to.
                found[-1]["served"] = False
        return found

    def find(self, release: str | None = None) -> str:
        """The id of a release from its first characters; without any the release that was current before this one."""
        # A release that was never served, since its trial was killed, is nothing to go back to.
        names, current = self._served(), self.current()
        if release is None:
            others = [name for name in names if name != current]
            if not others:
                raise StoreError("There is nothing to roll back to: the store holds no other release.")
            return others[0]
        found = [name for name in names if name.startswith(release)]
        if len(found) == 1:
            return found[0]
        if found:
            raise StoreError(f"'{release}' is the beginning of several releases: {', '.join(found)}. Give more of it.")
        if any(name.startswith(release) for name in self._order()):
            raise StoreError(
                f"The release '{release}' is in the store, but was never served: what tried it did not come to an end. "
                "Publish its models."
            )
        held = ", ".join(names) or "none"
        raise StoreError(f"The release '{release}' is not in the store. It holds: {held}.")

    def drift(self, release: str, read: bool = True) -> dict[str, list[str]]:
        """The differences of a release from its manifest; without `read` by sizes and modes only."""
        folder = self._path("releases", release)
        found: dict[str, list[str]] = {"changed": [], "missing": [], "foreign": []}
        folders, wanted = {""}, {""}
        for entry in self._entries_of(release):
            parts = entry.path.split("/")
            folders.update("/".join(parts[:depth]) for depth in range(1, len(parts) + (entry.mode == "dir")))
            wanted.add(entry.path)
            target = os.path.join(folder, entry.path)
            if entry.mode == "dir":
                kind = None if os.path.isdir(target) and not os.path.islink(target) else "missing"
            elif not os.path.lexists(target):
                kind = "missing"
            else:
                kind = None if self._sound(target, entry.key, entry.size, read) else "changed"
            if kind:
                found[kind].append(entry.path)
        wanted |= folders
        found["changed"] += [name or "." for name in folders if self._closed_folder(os.path.join(folder, name))]
        for parent, inner, files in os.walk(folder):
            inside = os.path.relpath(parent, folder).replace(os.sep, "/")
            for name in [*inner, *files]:
                path = name if inside == "." else inside + "/" + name
                if path not in wanted:
                    found["foreign"].append(path)
            inner[:] = [n for n in inner if (n if inside == "." else inside + "/" + n) in wanted]
        if not os.path.isdir(folder):
            raise StoreError(f"The release {release} was removed from the store while it was read. Run again.")
        return {kind: sorted(paths) for kind, paths in found.items()}

    def surplus(self, keep: int) -> dict[str, t.Any]:
        """The releases and files that `prune` would remove."""
        releases, contents, manifests = self._surplus(keep)
        size = sum(size for _key, size in contents)
        return {"pruned": releases, "contents": len(contents), "bytes": size, "manifests": len(manifests)}

    def open(
        self, holder: str, gone: str | None = None, wait: float = 0.0, make: bool = True, claim: str = ""
    ) -> dict[str, t.Any]:
        """Take the lock and clear what killed publishers left.

        `gone` is the session of a holder whose pod is known to be no more. Each other holder is waited for, `wait`
        seconds at most. `claim` is the UID of the claim that this publisher has mounted, noted for others.
        """
        if not make:
            self.require()
        self._folder(self.root)
        self._check_format()
        # Refuses what is no link of ours before anything is made.
        self.current()
        for name in ("objects", "releases", "manifests", "staging"):
            if self._folder(self._path(name)):
                self._renamed.add(self.root)
        self._folder(self.staging)
        self._start_living()
        self._lock({"holder": holder, "claim": claim}, gone, wait)
        self._disk = os.open(self.root, os.O_RDONLY)
        self._check_symlinks()
        self._linkable = self._links()
        for name in os.listdir(self._path("staging")):
            if name != self.session:
                shutil.rmtree(self._path("staging", name), ignore_errors=True)
        if self._noted_history() is None:
            # Before anything is put on trial, which would be taken for one of those that were served.
            self._write(self._path("history"), json.dumps(self._history()))
        # Another publisher may have switched while its lock was waited for.
        return {"current": self.current(), "age": self._age()}

    def missing(self, manifest: str, verify: bool = False) -> str:
        """The contents that have to be sent; with `verify` stored ones are read, and damaged ones count as missing.

        A bit for each entry, in hexadecimal, set for the first one of each such content; see `wanted`. Their names
        would take many times the memory, here and where they are asked for.
        """
        copied = not self._linkable and not os.path.isdir(self._path("releases", release_id(manifest)))
        marks = bytearray()
        seen: set[bytes] = set()
        size = files = 0
        for index, entry in enumerate(each_entry(manifest)):
            if index & 7 == 0:
                marks.append(0)
            if entry.mode == "dir":
                continue
            if copied:
                size, files = size + entry.size, files + 1
            content = bytes.fromhex(entry.digest) + entry.mode.encode()
            if content in seen:
                continue
            seen.add(content)
            if not self._sound(self._object(entry.key), entry.key, entry.size, verify):
                marks[index >> 3] |= 1 << (index & 7)
                size, files = size + entry.size, files + 1
        self._check_space(size, files)
        return marks.hex()

    def receive(self, key: str, size: int, read: t.Callable[[int], bytes]) -> None:
        """Store one content in staging. It counts only after `commit`."""
        staged = os.path.join(self.staging, key)
        digest = hashlib.sha256()
        left, unwritten = size, 0
        with self._fenced(), open(staged, "wb", buffering=0) as file:
            os.fchmod(file.fileno(), 0o755 if key.endswith(".x") else 0o644)
            while left:
                block = read(min(left, BLOCK))
                if not block:
                    break
                left -= len(block)
                digest.update(block)
                unwritten += len(block)
                while block:
                    block = block[file.write(block) :]
                if unwritten >= _BEGIN_BYTES or not left:
                    self._begin_writing(file.fileno())
                    unwritten = 0
        if left or digest.hexdigest() != key.split(".")[0]:
            raise StoreError(f"A source file {CHANGED}")
        self._staged.append(key)

    def commit(self) -> None:
        """Make the received contents durable, then visible: whatever has its name in objects/ is whole, also after a
        power cut. The names themselves are made durable by `stage`, once for all batches. After a failure the session
        is over: what it has received is sent again.
        """
        staged = [self._staged.popleft() for _each in range(len(self._staged))]
        self._flush([os.path.join(self.staging, key) for key in staged])
        for shelf in {self._path("objects", key[:2]) for key in staged}:
            if self._folder(shelf):
                self._renamed.add(self._path("objects"))
            self._renamed.add(shelf)
        for key in staged:
            os.replace(os.path.join(self.staging, key), self._object(key))

    def stage(self, manifest: str, verify: bool = False) -> int:
        """Assemble the release from stored contents beside the served one; says how many things were put right.

        All of it has reached the disk then, so that nothing of what is switched to is lost in a power cut.
        """
        self.commit()
        release = release_id(manifest)
        entries = each_entry(manifest)
        folder = self._path("releases", release)
        if self.manifest(release) != manifest:
            # Its date is the one of the release.
            self._write(self._path("manifests", release), manifest)
        # Whoever has written it may have been killed right after.
        self._renamed.add(self._path("manifests"))
        if os.path.isdir(folder):
            return self._fill(folder, entries, verify)
        tree = os.path.join(self.staging, "tree")
        self._folder(tree)
        self._assemble(tree, entries)
        os.rename(tree, folder)
        self._sync(self._path("releases"))
        return 0

    def discard(self, release: str) -> bool:
        """Remove a release that was never served. Its contents stay until the next pruning, as remains."""
        if release in self._served():
            return False
        self._check_lock()
        trash = os.path.join(self.staging, release)
        os.rename(self._path("releases", release), trash)
        self._throw_away(trash)
        os.unlink(self._path("manifests", release))
        return True

    def announce(self, begun: str) -> None:
        """Note the switch that is about to be made: who finds the note knows what was meant, however far it has got."""
        self._check_lock()
        self._write(self._path("unfinished"), begun)

    def switch_to(self, release: str, keep: int | None = None) -> dict[str, t.Any]:
        """Make a release that is there and whole the current one; with `keep` remove what is not kept."""
        previous = self.current()
        switched = previous != release
        older = self._switch(release) if switched else []
        with self._afterwards():
            held = self._order()
            unpruned = None if keep is None else self._prune_if_possible(keep)
            left = self.listing()
            return {
                "release": release,
                "previous": previous,
                "switched": switched,
                "older": older,
                "pruned": sorted(set(held) - {item["release"] for item in left}),
                "unpruned": unpruned,
                "releases": left,
                "age": self._age(),
            }

    def finish(self) -> None:
        """Everything is done that belongs to a switch."""
        if self.begun() is not None:
            self._check_lock()
            os.unlink(self._path("unfinished"))

    def prune(self, keep: int) -> dict[str, t.Any]:
        """Remove releases beyond `keep`, and contents that no release needs."""
        done = self._remove_surplus(keep)
        return {**done, "current": self.current(), "releases": self.listing(), "age": self._age()}

    def close(self) -> None:
        """Leave nothing of this session behind. May be called at any time, and twice."""
        self._done.set()
        if self._disk is not None:
            os.close(self._disk)
            self._disk = None
        if self._locked and self._holder().get("session") == self.session:
            os.rename(self._path("lock"), os.path.join(self.staging, "unlocked"))
        self._locked = False
        shutil.rmtree(self.staging, ignore_errors=True)

    def replicate(self, manifest: str, folder: str) -> None:
        """Fill a folder with a release that shares no file with the store, for somebody who may write to it."""
        entries = parse_manifest(manifest)
        if not self._clones(folder):
            sizes = [entry.size for entry in entries if entry.mode != "dir"]
            self._check_space(sum(sizes), len(sizes), "a copy of the release, which a server can be tried with,")
        self._make_tree(folder, entries, self._copy)

    # The tree

    def _assemble(self, folder: str, entries: t.Iterable[Entry]) -> None:
        self._flush_all(self._make_tree(folder, entries, self._put))

    def _make_tree(
        self, folder: str, entries: t.Iterable[Entry], put: t.Callable[[str, str, Entry], bool]
    ) -> list[str]:
        """Make a new tree, in which nothing is in the way and nothing foreign; says what has to be flushed."""
        touched = [folder]
        copies: list[str] = []
        made = {""}
        for entry in entries:
            parent = entry.path if entry.mode == "dir" else entry.path.rpartition("/")[0]
            missing = []
            while parent not in made:
                missing.append(parent)
                made.add(parent)
                parent = parent.rpartition("/")[0]
            for name in reversed(missing):
                inner = os.path.join(folder, name)
                os.mkdir(inner)
                os.chmod(inner, 0o755)
                touched.append(inner)
            if entry.mode != "dir":
                target = os.path.join(folder, entry.path)
                if put(self._object(entry.key), target, entry):
                    copies.append(target)
        return [*copies, *touched]

    def _fill(self, folder: str, entries: t.Iterable[Entry], verify: bool) -> int:
        """Make a folder equal the manifest, file by file; says how many things were put right."""
        wanted: set[str] = {""}
        touched: set[str] = {folder}
        copies: list[str] = []
        mended = self._unclose(folder)
        for entry in entries:
            parts = entry.path.split("/")
            for depth in range(1, len(parts) + (entry.mode == "dir")):
                name = "/".join(parts[:depth])
                if name not in wanted:
                    wanted.add(name)
                    inner = os.path.join(folder, name)
                    self._clear(inner, keep=stat.S_ISDIR)
                    if self._folder(inner):
                        touched.update((inner, os.path.dirname(inner)))
                    mended += self._unclose(inner)
            if entry.mode == "dir":
                continue
            wanted.add(entry.path)
            target = os.path.join(folder, entry.path)
            if self._placed(target, entry, verify):
                continue
            self._clear(target, keep=stat.S_ISREG)
            if self._place(entry, target):
                copies.append(target)
            touched.add(os.path.dirname(target))
            mended += 1
        for parent, folders, files in os.walk(folder):
            inside = os.path.relpath(parent, folder).replace(os.sep, "/")
            for name in [*folders, *files]:
                if (name if inside == "." else inside + "/" + name) not in wanted:
                    self._clear(os.path.join(parent, name))
                    mended += 1
            folders[:] = [name for name in folders if os.path.isdir(os.path.join(parent, name))]
        self._flush_all([*copies, *touched])
        return mended

    def _unclose(self, folder: str) -> int:
        if not self._closed_folder(folder):
            return 0
        os.chmod(folder, 0o755)
        return 1

    def _placed(self, target: str, entry: Entry, verify: bool) -> bool:
        try:
            info = os.lstat(target)
        except FileNotFoundError:
            return False
        if self._linkable:
            # A stored content that was damaged is stored anew: a release that links to the old one is damaged too.
            content = os.lstat(self._object(entry.key))
            return (info.st_dev, info.st_ino) == (content.st_dev, content.st_ino)
        return self._sound(target, entry.key, entry.size, verify)

    def _place(self, entry: Entry, target: str) -> bool:
        """Put a stored content in place, at once whole; True when it had to be copied."""
        draft = os.path.join(self.staging, "draft")
        copied = self._put(self._object(entry.key), draft, entry)
        os.replace(draft, target)
        return copied

    def _put(self, content: str, target: str, entry: Entry) -> bool:
        """A new name for a stored content, or a copy of it where that is refused: then True."""
        try:
            os.link(content, target)
        except OSError as error:
            if error.errno not in _LINK_REFUSED:
                raise
            return self._copy(content, target, entry)
        return False

    def _copy(self, content: str, draft: str, entry: Entry) -> bool:
        """A copy that shares its blocks where the file system can; elsewhere it is read, and so checked, on the way."""
        with open(content, "rb") as source, open(draft, "wb") as target:
            os.fchmod(target.fileno(), int(entry.mode, 8))
            try:
                fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
                return True
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
            digest = hashlib.sha256()
            for block in iter(lambda: source.read(BLOCK), b""):
                digest.update(block)
                target.write(block)
        if digest.hexdigest() != entry.digest:
            raise StoreError(
                f"A content in the store is damaged ({content}). What is served stays; publish with verify: true, "
                "which sends it again."
            )
        return True

    def _throw_away(self, trash: str) -> None:
        # Of a file that a server has open NFS leaves one of another name, so that the folder is not empty. Whoever
        # opens the store next removes what is left in staging.
        shutil.rmtree(trash, ignore_errors=True)

    def _clear(self, path: str, keep: t.Callable[[int], bool] | None = None) -> None:
        """Remove what is in the way, unless it is of the kind to keep."""
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return
        if keep and keep(mode):
            return
        if stat.S_ISDIR(mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)

    def _switch(self, release: str) -> list[str]:
        """Make the release the current one; says which of its models could not be made younger."""
        self._check_lock()
        before = self.current()
        link, history = (os.path.join(self.staging, name) for name in ("current", "history"))
        # All that needs space is written before.
        order = dict.fromkeys(name for name in (release, before, *self._history()) if name)
        self._draft(history, json.dumps(list(order)))
        os.symlink("releases/" + release, link)
        older = self._make_younger(release)
        os.replace(link, self._path("current"))
        self._switched = release
        with self._afterwards():
            self._sync(self.root)
            # Afterwards, so that a release that was never served is never the one to go back to.
            os.replace(history, self._path("history"))
        return older

    @contextlib.contextmanager
    def _afterwards(self) -> t.Iterator[None]:
        """Run what follows a switch. An error there is raised again with the sentence that the switch is done."""
        try:
            yield
        except (OSError, StoreError) as error:
            if self._switched is None:
                raise
            if isinstance(error, FileNotFoundError):
                # As in `_fenced`.
                with self._afterwards():
                    self._check_lock()
            said = explain(error, self.root, switched=True) if isinstance(error, OSError) else str(error)
            raise StoreError(
                f"The store serves the release {short(self._switched)} now, but what follows the switch was not done. "
                f"{said}"
            ) from error

    def _make_younger(self, release: str) -> list[str]:
        """Make a running Triton see that the models of a release are others.

        Whether it polls or is asked to load: when no version folder and no file is younger than what it has loaded, it
        keeps that and says that it has loaded. The release may be older, and assembling it has made the served one
        younger, as links do. Says which models keep their times, since they belong to somebody else.
        """
        folder = self._path("releases", release)
        older = []
        for model in sorted(os.listdir(folder)):
            place = os.path.join(folder, model)
            try:
                for name in ["", *os.listdir(place)]:
                    path = os.path.join(place, name)
                    if os.path.isdir(path):
                        os.utime(path)
            except PermissionError:
                older.append(model)
        return older

    def _age(self) -> float:
        """Seconds since the last switch, by the clock of the file system alone."""
        path = os.path.join(self.staging, "now")
        with open(path, "w", encoding="utf-8"):
            pass
        try:
            return max(os.stat(path).st_mtime - os.lstat(self._path("current")).st_mtime, 0.0)
        except FileNotFoundError:
            return 0.0

    def _noted_history(self) -> list[str] | None:
        """The releases that were current, the latest first; None when that is lost."""
        try:
            with open(self._path("history"), encoding="utf-8") as file:
                found = json.load(file)
        except (FileNotFoundError, ValueError):
            return None
        return [str(name) for name in found] if isinstance(found, list) else None

    def _history(self) -> list[str]:
        """The same; when it is lost all that are there, the latest published first, lest they be pruned for that.

        A store that serves nothing has served nothing.
        """
        noted = self._noted_history()
        if noted is not None:
            return noted
        current = self.current()
        return sorted(self._present(), key=lambda name: (name != current, -self._published(name))) if current else []

    def _present(self) -> list[str]:
        return [name for name in self._names("releases") if _RELEASE.fullmatch(name)]

    def _published(self, release: str) -> float:
        try:
            return os.stat(self._path("manifests", release)).st_mtime
        except FileNotFoundError:
            return 0.0

    def _order(self) -> list[str]:
        """The releases in the store: the current one, then by last use, then those that were never served."""
        present = self._present()
        ordered = dict.fromkeys([self.current(), *self._history(), *present])
        return [name for name in ordered if name in set(present)]

    def _served(self) -> list[str]:
        """The releases in the store that were current at some time."""
        served = {self.current(), *self._history()}
        return [name for name in self._order() if name in served]

    def _names(self, folder: str) -> list[str]:
        try:
            return sorted(os.listdir(self._path(folder)))
        except FileNotFoundError:
            return []

    def _entries_of(self, release: str) -> list[Entry]:
        manifest = self.manifest(release)
        if manifest is None:
            state = "damaged" if os.path.exists(self._path("manifests", release)) else "missing"
            raise StoreError(
                f"The manifest of the release {release} is {state}, so nothing can be said about its files. "
                "Publish its models again."
            )
        return parse_manifest(manifest)

    def check_whole(self, release: str, read: bool) -> None:
        drift = self.drift(release, read)
        wrong = [f"{path} {kind}" for kind, paths in drift.items() for path in paths]
        if wrong:
            shown = ", ".join(wrong[:_SHOWN]) + (f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else "")
            raise StoreError(
                f"The release {release} is damaged ({shown}); nothing was switched. Go back to another release, or "
                "publish the models of this one again with verify: true."
            )

    def _needs(self, release: str) -> set[int]:
        """Hashes of the contents of a release: the names themselves are many, and of two with one hash one may stay too
        long. Without its manifest nobody knows them; its own links keep them alive.
        """
        try:
            return {hash(entry.key) for entry in each_entry(self.manifest(release) or MANIFEST_HEAD + "\n")}
        except StoreError:
            return set()

    def _surplus(self, keep: int) -> tuple[list[str], list[tuple[str, int]], list[str]]:
        """Releases, contents with their sizes, and manifests that are not needed when so many releases are kept."""
        ordered = self._order()
        kept = self._served()[: max(keep, 1)]
        used: set[int] = set()
        for name in kept:
            used |= self._needs(name)
        contents = []
        for shelf in self._names("objects"):
            for key in self._names(os.path.join("objects", shelf)):
                if hash(key) not in used:
                    with contextlib.suppress(FileNotFoundError):
                        contents.append((key, os.lstat(self._path("objects", shelf, key)).st_size))
        manifests = [name for name in self._names("manifests") if name not in kept]
        return sorted(name for name in ordered if name not in kept), contents, manifests

    def _prune_if_possible(self, keep: int) -> str | None:
        """Prune, and return the reason if that fails, which does not fail the publication."""
        try:
            self._remove_surplus(keep)
        except OSError as error:
            # Who took the lock over has also removed what this one works with.
            self._check_lock()
            return explain(error, self.root, switched=True)
        return None

    def _remove_surplus(self, keep: int) -> dict[str, t.Any]:
        releases, contents, manifests = self._surplus(keep)
        self._check_lock()
        for name in releases:
            trash = os.path.join(self.staging, name)
            os.rename(self._path("releases", name), trash)
            self._throw_away(trash)
        for name in manifests:
            os.unlink(self._path("manifests", name))
        served = self._served()
        if self._history() != served:
            self._write(self._path("history"), json.dumps(served))
        for key, _size in contents:
            os.unlink(self._object(key))
        size = sum(size for _key, size in contents)
        return {"pruned": releases, "contents": len(contents), "bytes": size, "manifests": len(manifests)}

    # The lock

    def _lock(self, me: dict[str, str], gone: str | None, wait: float) -> None:
        deadline, waited_for = time.monotonic() + wait, None
        while not self._take_lock(me):
            try:
                other, age = self._holder(), self._lock_age()
            except FileNotFoundError:
                continue
            if age is None:
                continue
            session = other.get("session") or waited_for
            if waited_for and session != waited_for:
                # Somebody else's turn: where many publish to one store each one takes its time.
                deadline = time.monotonic() + wait
            waited_for = session
            if self._is_gone(other, age, gone):
                self._break_lock(other)
            elif time.monotonic() > deadline:
                since = max(time.time() - float(other.get("since", time.time())), 0)
                raise StoreError(
                    f"Another publisher works on this store: {other.get('holder', 'unknown')} (for {since:.0f} s, last "
                    f"sign of life {age:.0f} s ago). Run again when it is done; one that died is taken over after "
                    f"{STALE_SECONDS:.0f} s."
                )
            else:
                time.sleep(0.2)
        self._locked = True

    def _take_lock(self, me: dict[str, str]) -> bool:
        # A folder never replaces one that is not empty, so exactly one publisher wins. Who has the lock clears the
        # staging of all others, so this draft may vanish before the rename, never after it.
        ready = os.path.join(self.staging, "lock")
        try:
            self._folder(ready)
            with open(os.path.join(ready, "holder"), "w", encoding="utf-8") as file:
                # Publishers of other users have to see whose it is.
                os.fchmod(file.fileno(), 0o644)
                json.dump({"session": self.session, **me, "since": time.time(), **_self()}, file)
            os.rename(ready, self._path("lock"))
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise
            return False
        self._folder(self.staging)
        return True

    def _lock_state(self) -> dict[str, t.Any] | None:
        """The holder of the lock for display, by the clock of this machine, since nothing is written."""
        try:
            touched = os.stat(self._path("lock", "holder")).st_mtime
        except FileNotFoundError:
            return None
        other = self._holder()
        age = max(time.time() - touched, 0.0)
        return {
            "holder": str(other.get("holder", "unknown")),
            "since": other.get("since"),
            "age": age,
            "stale": self._is_gone(other, age),
        }

    def _start_living(self) -> None:
        if not self._living:
            self._living = True
            threading.Thread(target=self._live, daemon=True).start()

    def _live(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            try:
                if self._beat:
                    self._beat()
            except OSError:
                # Nobody listens any more.
                return
            if self._locked:
                if self._holder().get("session") not in (None, self.session):
                    # Somebody took over: `_check_lock` tells before the next change.
                    return
                # A network file system may fail once, and be well the next time.
                with contextlib.suppress(OSError):
                    os.utime(self._path("lock", "holder"))

    def locked_by(self) -> dict[str, t.Any]:
        """The recorded holder of the lock; {} if there is none or it cannot be read."""
        return self._holder()

    def _holder(self) -> dict[str, t.Any]:
        try:
            with open(self._path("lock", "holder"), encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _lock_age(self) -> float | None:
        """Seconds since the holder's last sign of life, by the file system's clock; None when the lock is gone."""
        probe = os.path.join(self.staging, "probe")
        with open(probe, "w", encoding="utf-8"):
            os.utime(probe)
        for name in ("holder", ""):
            try:
                return os.stat(probe).st_mtime - os.stat(self._path("lock", name)).st_mtime
            except FileNotFoundError:
                continue
        return None

    def _is_gone(self, other: dict[str, t.Any], age: float, gone: str | None = None) -> bool:
        if age > STALE_SECONDS:
            return True
        here = _self()
        if other and all(other.get(name) == here[name] for name in ("host", "boot", "pids")):
            return _is_over(int(other.get("pid", 0)), str(other.get("started")))
        return gone is not None and other.get("session") == gone

    def _break_lock(self, other: dict[str, t.Any]) -> None:
        taken = os.path.join(self.staging, "broken-" + uuid.uuid4().hex)
        try:
            os.rename(self._path("lock"), taken)
        except FileNotFoundError:
            return
        try:
            with open(os.path.join(taken, "holder"), encoding="utf-8") as file:
                same = json.load(file).get("session") == other.get("session")
        except (OSError, ValueError):
            same = not other
        if not same:
            # Somebody else was faster and this is the new lock, not the stale one.
            os.rename(taken, self._path("lock"))

    def _check_lock(self) -> None:
        if self._holder().get("session") != self.session:
            raise StoreError(
                f"This publisher was taken for dead (no sign of life for {STALE_SECONDS:.0f} s) and another one "
                f"took over. {'' if self._switched else 'Nothing was switched. '}Run again."
            )

    @contextlib.contextmanager
    def _fenced(self) -> t.Iterator[None]:
        """Report a lost lock, not a missing file: the new holder has removed our staging folder."""
        try:
            yield
        except FileNotFoundError:
            if self._locked:
                self._check_lock()
            raise

    # Files

    def _path(self, *names: str) -> str:
        return os.path.join(self.root, *names)

    def _object(self, key: str) -> str:
        return self._path("objects", key[:2], key)

    def _folder(self, path: str) -> bool:
        """Make a folder that servers of other users can read, whatever the umask is; True when it was not there."""
        if os.path.isdir(path):
            return False
        parent = os.path.dirname(path)
        if parent:
            self._folder(parent)
        try:
            os.mkdir(path)
        except FileExistsError:
            if os.path.isdir(path):
                return False
            raise
        os.chmod(path, 0o755)
        return True

    def _sound(self, path: str, key: str, size: int, read: bool) -> bool:
        try:
            info = os.lstat(path)
            mode = 0o755 if key.endswith(".x") else 0o644
            if info.st_size != size or not stat.S_ISREG(info.st_mode) or self._closed(info.st_mode, mode, "format"):
                return False
            if not read:
                return True
            digest = hashlib.sha256()
            with open(path, "rb") as file:
                for block in iter(lambda: file.read(BLOCK), b""):
                    digest.update(block)
        except FileNotFoundError:
            return False
        return digest.hexdigest() == key.split(".")[0]

    def _closed(self, mode: int, wanted: int, example: str) -> bool:
        """Whether somebody may not read or execute this who has to, or the other way round.

        A site may let a group write; and what the store's own files differ in from how they were made the file system
        does not keep, or the site has changed for all.
        """
        if example not in self._kept:
            made = 0o755 if example == "releases" else 0o644
            try:
                self._kept[example] = 0o555 & ~(os.stat(self._path(example)).st_mode ^ made)
            except FileNotFoundError:
                self._kept[example] = 0o555
        return bool((mode ^ wanted) & self._kept[example])

    def _closed_folder(self, path: str) -> bool:
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return False
        return stat.S_ISDIR(mode) and self._closed(mode, 0o755, "releases")

    def _links(self) -> bool:
        source, link = (os.path.join(self.staging, name) for name in ("probe", "probe-link"))
        with open(source, "w", encoding="utf-8"):
            pass
        try:
            os.link(source, link)
        except OSError as error:
            if error.errno not in _LINK_REFUSED:
                raise
            return False
        os.unlink(link)
        return True

    def _clones(self, folder: str) -> bool:
        """Whether copies share their blocks here."""
        source, clone = (os.path.join(folder, name) for name in ("probe", "probe-clone"))
        try:
            with open(source, "wb") as file, open(clone, "wb") as other:
                fcntl.ioctl(other.fileno(), _FICLONE, file.fileno())
        except OSError:
            return False
        finally:
            for name in (source, clone):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)
        return True

    def _check_symlinks(self) -> None:
        link = os.path.join(self.staging, "probe-symlink")
        try:
            os.symlink("probe", link)
        except OSError as error:
            if error.errno not in _LINK_REFUSED or error.errno == errno.EACCES:
                raise
            raise StoreError(
                f"The file system of {self.root} has no symbolic links, by which releases are switched. Use another "
                "one for the store."
            ) from error
        os.unlink(link)

    def _space(self) -> dict[str, int] | None:
        """Bytes and files; None where the file system does not say."""
        try:
            space = os.statvfs(self.root)
        except FileNotFoundError:
            return None
        if not space.f_blocks:
            return None
        free, size = space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
        return {"free": free, "size": size, "free_files": space.f_favail}

    def _check_space(self, needed: int, files: int, what: str = "the release") -> None:
        space = os.statvfs(self.root)
        free = space.f_bavail * space.f_frsize
        # Some network file systems report nothing at all.
        if space.f_blocks and needed > free:
            raise StoreError(
                f"The store has {readable(free)} free and {what} needs {readable(needed)} "
                f"({readable(needed - free)} too little). Free or enlarge it, or keep fewer releases."
            )
        if space.f_files and files > space.f_favail:
            raise StoreError(f"The store has room for {space.f_favail} more files and {what} needs {files}.")

    def _check_format(self, make: bool = True) -> bool:
        """Whether there is a store here; refuses one of another version."""
        path = self._path("format")
        try:
            with open(path, encoding="utf-8") as file:
                found = file.read()
        except FileNotFoundError:
            if make:
                # Before the lock two publishers may do this at once; both write the same.
                self._draft(f"{path}.{self.session}", FORMAT)
                os.replace(f"{path}.{self.session}", path)
            return make
        if found != FORMAT:
            raise StoreError(
                f"{path} says '{found.strip()[:40]}'; this version of the collection writes '{FORMAT.strip()}'. "
                "Use the version that made this store."
            )
        return True

    def _write(self, path: str, text: str) -> None:
        """Replace a small file by rename, durably."""
        draft = os.path.join(self.staging, "draft")
        self._draft(draft, text)
        os.replace(draft, path)
        self._sync(os.path.dirname(path))

    def _draft(self, path: str, text: str) -> None:
        with open(path, "w", encoding="utf-8") as file:
            for block in blocks(text):
                file.write(block)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())

    def _flush_all(self, paths: list[str]) -> None:
        """Flush these, and the names that were made before."""
        self._flush([*paths, *self._renamed])
        self._renamed.clear()

    def _flush(self, paths: list[str]) -> None:
        if len(paths) >= SYNCFS_FROM and self._syncfs():
            return
        for path in paths:
            self._sync(path)

    def _sync(self, path: str) -> None:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    @functools.cached_property
    def _libc(self) -> t.Any:
        return ctypes.CDLL(None, use_errno=True)

    def _begin_writing(self, handle: int) -> None:
        """Have the kernel write what it has of a file to the disk while more is received; `commit` waits less then."""
        with contextlib.suppress(AttributeError, OSError):
            everything = (ctypes.c_int64(0), ctypes.c_int64(0))
            self._libc.sync_file_range(handle, *everything, _SYNC_FILE_RANGE_WRITE)

    def _syncfs(self) -> bool:
        # It tells of writes that have failed since its handle was opened, so `open` opens that.
        if self._disk is None or not _syncfs_tells(os.uname().release):
            return False
        try:
            failed = self._libc.syncfs(self._disk)
        except (AttributeError, OSError):
            return False
        error = ctypes.get_errno()
        if failed and error in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise OSError(error, os.strerror(error), self.root)
        return not failed


def _syncfs_tells(kernel: str) -> bool:
    """Whether syncfs of this version of Linux reports that data did not reach the disk; before 5.8 it never did."""
    found = re.match(r"(\d+)\.(\d+)", kernel)
    return found is not None and (int(found[1]), int(found[2])) >= (5, 8)


def _started(pid: int) -> str | None:
    """The start of a process, to recognize a reused number; "" if it has ended, None: not known."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return "" if fields[0] in ("Z", "X") else fields[19]


def _is_over(pid: int, started: str) -> bool:
    """Whether a process of this machine has ended that began then; one that nobody can tell about may live."""
    found = _started(pid)
    if found is not None:
        return found != started
    if pid <= 0:
        return True
    # With the mount option hidepid /proc shows nobody the processes of others, but they can be asked for.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return False


def _self() -> dict[str, t.Any]:
    """The identity of this process and machine."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            boot = file.read().strip()
        pids = os.readlink("/proc/self/ns/pid")
    except OSError:
        boot = pids = ""
    pid = os.getpid()
    return {"host": socket.gethostname(), "boot": boot, "pids": pids, "pid": pid, "started": _started(pid) or ""}


# From afar: one JSON line asks, one answers. "put" is followed by that many bytes; it and "commit", which is done while
# more is received, are answered only when they fail, so that contents stream without a pause. A line with "manifest" is
# followed by so many bytes, the argument of this name. A long text is answered in lines {"part": ...} before the answer
# itself. So nobody has a long line in memory, and all that is made of one on the way. Lines {"beat": true} say that the
# store works on something long. Whatever goes wrong ends the session, and with it the lock.


class Input:
    """Exact reads from a pipe whose other end may vanish without a word."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._buffer = bytearray()
        # Whoever sends goes on while a block is hashed and written. Some are no pipe, or may not.
        with contextlib.suppress(OSError):
            fcntl.fcntl(handle, _F_SETPIPE_SZ, _PIPE)

    def line(self) -> bytes:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            # A line may be long: each of its bytes is looked at once.
            searched = len(self._buffer)
            block = self._more(1 << 16)
            if not block:
                return b""
            self._buffer += block
        found = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return found

    def read(self, size: int) -> bytes:
        """So many bytes, which a pipe gives in many small pieces; fewer when the other end vanishes."""
        parts = [bytes(self._buffer[:size])]
        del self._buffer[:size]
        left = size - len(parts[0])
        while left and (part := self._more(left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def text(self, size: int) -> str | None:
        """A text of so many bytes; None when the other end vanishes before its end."""
        found = bytearray()
        while len(found) < size:
            block = self.read(min(size - len(found), BLOCK))
            if not block:
                return None
            found += block
        return found.decode()

    def drain(self) -> None:
        """Read until nobody sends any more."""
        while self._more(BLOCK):
            pass

    def _more(self, size: int) -> bytes:
        ready = select.select([self._handle], [], [], STALE_SECONDS)[0]
        return os.read(self._handle, size) if ready else b""


def serve(root: str, handle_in: int = 0, handle_out: int = 1) -> int:
    """Answer one publisher until it says close or vanishes."""
    guard = threading.Lock()

    def answer(message: dict[str, t.Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        with guard:
            while data:
                data = data[os.write(handle_out, data) :]

    # Imported here so that a store of this machine does not wait for it.
    from concurrent.futures import ThreadPoolExecutor

    source = Input(handle_in)
    store = Store(root, beat=lambda: answer({"beat": True}))
    closed = False
    beside = ThreadPoolExecutor(1)
    commits: list[t.Any] = []

    def committed() -> None:
        while commits:
            commits.pop().result()

    try:
        while True:
            line = source.line()
            if not line:
                return 0 if closed else 3
            request = json.loads(line.decode())
            operation, arguments = request["do"], request.get("with", {})
            if "manifest" in request:
                arguments["manifest"] = source.text(request["manifest"])
                if arguments["manifest"] is None:
                    return 3
            if operation == "put":
                if commits and commits[0].done():
                    committed()
                store.receive(arguments["key"], arguments["size"], source.read)
            elif operation == "commit":
                committed()
                commits.append(beside.submit(store.handle, operation, arguments))
            elif operation != "pulse":
                committed()
                result = store.handle(operation, arguments)
                if isinstance(result, str) and len(result) > 2 * BLOCK:
                    for part in blocks(result):
                        answer({"part": part})
                    result = ""
                answer({"result": result})
                # What a process says last may be lost with its end: the publisher hangs up first.
                closed = operation == "close"
    except StoreError as error:
        answer({"error": str(error)})
    except OSError as error:
        if error.errno == errno.EPIPE:
            return 3
        answer({"error": explain(error, root)})
    finally:
        beside.shutdown()
        store.close()
    # Whoever is in the middle of sending a large file has to get that done to hear what went wrong.
    source.drain()
    return 1


if __name__ == "__main__":
    raise SystemExit(serve(sys.argv[-1]))
