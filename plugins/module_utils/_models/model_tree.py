# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Scans a source of models: its manifest, release id and models.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

The id of a release depends on names, contents and the executable bit alone: the same models give the same id on every
machine, whatever their dates, owners and other permissions are.

A source may have hundreds of thousands of files. What is kept of it is the text of its manifest, and little else: files
are read in the order of the manifest, and its lines are taken apart when somebody asks.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import time
import typing as t
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, pairwise, takewhile

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._models.digest_cache import Hashes, mark, mark_of_read
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import (
    BLOCK,
    CHANGED,
    MANIFEST_HEAD,
    Entry,
    release_id,
)

if t.TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

# Left behind by editors, Python and version control; no server needs them, and they differ from machine to machine.
IGNORED = frozenset({"__pycache__", ".git", ".gitignore", ".gitattributes", ".DS_Store", ".ipynb_checkpoints"})
# No repository of models comes near; Python's own functions for trees end at a thousand.
DEEPEST = 100
# Files and folders that may be reached by links. Few links that lead to folders with links are very many files.
MOST_LINKED = 10_000
_DIGEST_LENGTH = 12
_NO_DIGEST = "-"
# Files that are read ahead of the one whose turn it is.
_AHEAD = 256
# Files of a folder that are looked at together.
_RUN = 500


@dataclass(frozen=True)
class Model:
    """One model of a release, as people want to see it."""

    name: str
    versions: tuple[int, ...]
    size: int
    digest: str

    def as_result(self) -> dict[str, t.Any]:
        return {"name": self.name, "versions": list(self.versions), "size": self.size, "digest": self.digest}


@dataclass(frozen=True)
class Tree:
    """A source, read once: what belongs to the release, and where each file lies now."""

    manifest: str
    release: str
    places: Places
    models: list[Model]

    @property
    def entries(self) -> Iterator[Entry]:
        return _entries_from(self.manifest, self.manifest.index("\n") + 1)

    def entry(self, path: str) -> Entry | None:
        """The file, or the empty folder, of this path."""
        return _entry_at(self.manifest, path)

    def read(self, path: str) -> bytes:
        """All that a file says. It is what is published, or else refused."""
        entry, place = self.entry(path), self.places[path]
        if entry is None:
            raise KeyError(path)
        content = b""
        with source_file(place) as read:
            # Nearly always at once: in parts it would need the memory twice.
            while block := read(entry.size + 1 - len(content)):
                content += block
        if hashlib.sha256(content).hexdigest() != entry.digest:
            raise SupersonicError(f"{place} {CHANGED}")
        return content

    def below(self, folder: str) -> Iterator[Entry]:
        """The files in a folder and its subfolders."""
        return _entries_below(self.manifest, f"{folder}/")

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True)
class Places(Mapping[str, str]):
    """The locations of the files of a release, by their paths in the release."""

    manifest: str
    # The source of each model, and the files that lie elsewhere, since a link leads to them.
    roots: Mapping[str, str]
    linked: Mapping[str, str]

    def __getitem__(self, path: str) -> str:
        entry = _entry_at(self.manifest, path)
        if entry is None or entry.mode == "dir":
            raise KeyError(path)
        return self.linked.get(path) or os.path.join(self.roots[path.split("/", 1)[0]], path)

    def __iter__(self) -> Iterator[str]:
        entries = _entries_from(self.manifest, self.manifest.index("\n") + 1)
        return (entry.path for entry in entries if entry.mode != "dir")

    def __len__(self) -> int:
        return sum(1 for _path in self)


def scan(sources: Sequence[str], *, cached: bool = False, verify: bool = False) -> Tree:
    """Read one or several folders of models as one release. With `cached` files that have not changed since they were
    read by this user are not read again; with `verify` besides they are, and what was remembered is forgotten."""
    if not sources:
        raise SupersonicError("No source is given.")
    owners: dict[str, tuple[str, str]] = {}
    order: list[str] = []
    for source in sources:
        root = os.path.realpath(source)
        if not os.path.isdir(root):
            raise SupersonicError(f"The source {source} is no folder.")
        keys, _others = _keys(root)
        for key in keys:
            name = key.rstrip("/")
            if name in owners:
                raise SupersonicError(
                    f"'{name}' is in two sources, {owners[name][1]} and {source}. Triton serves neither of two models "
                    "with one name: rename or remove one."
                )
            owners[name] = (root, source)
            order.append(key)
    roots = {name: root for name, (root, _source) in owners.items()}
    walk = _Walk(roots, _in_order(order, lambda name: os.path.join(roots[name], name)))
    text = io.StringIO()
    text.write(MANIFEST_HEAD + "\n")
    models = _Models()
    last = ""
    with contextlib.ExitStack() as stack:
        hashes = None
        if cached:
            places = [os.path.realpath(source) for source in sources]
            hashes = stack.enter_context(Hashes(places, verify=verify))
        for paths, lines, size in _read(walk.runs(), hashes):
            for path in paths:
                if path <= last:
                    raise _changed(path)
                last = path
            text.write(lines)
            models.add(paths, lines, size)
        if hashes:
            hashes.save()
    manifest = text.getvalue()
    return Tree(manifest, release_id(manifest), Places(manifest, roots, walk.linked), models.found())


def models_of(entries: Iterable[Entry]) -> list[Model]:
    """The models in a manifest, by name."""
    models = _Models()
    for mode, digest, size, path in entries:
        models.add([path], _line(mode, digest, size, path), size)
    return models.found()


def _changed(path: str) -> SupersonicError:
    return SupersonicError(f"The source changed while it was read, at {path}. Run again.")


class _Models:
    """The models whose lines are added in the order of a manifest, where all lines of a folder follow one another."""

    def __init__(self) -> None:
        self._found: list[Model] = []
        self._begin("")

    def _begin(self, name: str) -> None:
        self._name = name
        self._inside: set[str] = set()
        self._size = 0
        self._digest = hashlib.sha256((MANIFEST_HEAD + "\n").encode())

    def add(self, paths: Sequence[str], lines: str, size: int) -> None:
        """Files of one folder, with their lines and the size of all of them."""
        name = paths[0].partition("/")[0]
        if name != self._name:
            self._end()
            self._begin(name)
        self._inside.update([part for path in paths for part in path.split("/", 2)[1:2]])
        self._size += size
        self._digest.update(lines.encode())

    def _end(self) -> None:
        if self._name:
            versions = tuple(sorted(int(name) for name in self._inside if is_version(name)))
            digest = self._digest.hexdigest()[:_DIGEST_LENGTH]
            self._found.append(Model(self._name, versions, self._size, digest))

    def found(self) -> list[Model]:
        """All of them, by name."""
        self._end()
        return sorted(self._found, key=lambda model: model.name)


def is_ignored(name: str) -> bool:
    """Whether files and folders of this name are never published."""
    return name in IGNORED or name.endswith(".pyc")


def is_version(name: str) -> bool:
    """Whether Triton takes a folder of this name for a version."""
    return name.isascii() and name.isdigit() and not name.startswith("0")


# A manifest, taken apart


def _entries_from(manifest: str, start: int) -> Iterator[Entry]:
    while start < len(manifest):
        end = manifest.index("\n", start)
        yield _entry(manifest, start, end)
        start = end + 1


def _entries_below(manifest: str, prefix: str) -> Iterator[Entry]:
    return takewhile(lambda entry: entry.path.startswith(prefix), _entries_from(manifest, _start_of(manifest, prefix)))


def _entry_at(manifest: str, path: str) -> Entry | None:
    found = next(_entries_from(manifest, _start_of(manifest, path)), None)
    return found if found and found.path == path else None


def _start_of(manifest: str, path: str) -> int:
    """The offset of the first line that does not sort before this path."""
    low, high = manifest.index("\n") + 1, len(manifest)
    while low < high:
        start = manifest.rfind("\n", low, (low + high) // 2) + 1 or low
        end = manifest.index("\n", start)
        # Characters have the same order as their UTF-8.
        if _entry(manifest, start, end).path < path:
            low = end + 1
        else:
            high = start
    return low


def _entry(manifest: str, start: int, end: int) -> Entry:
    mode, digest, size, path = manifest[start:end].split(" ", 3)
    return Entry(mode, digest, int(size), path)


# What lies in a source


class _Run(t.NamedTuple):
    """Files of one folder that follow one another; or one empty folder, of which nothing but its path is given."""

    paths: list[str]
    # Where they lie, and what is known of them.
    places: list[str]
    infos: list[os.stat_result]
    # Whether a link leads to them.
    linked: bool = False


class _Walk:
    """Files and empty folders in the order of a manifest. Links are followed, but never out of their source."""

    def __init__(self, roots: Mapping[str, str], keys: Sequence[str]) -> None:
        self._roots = roots
        self._keys = keys
        # Files that lie elsewhere than their path says.
        self.linked: dict[str, str] = {}
        self._met = 0

    def runs(self) -> Iterator[_Run]:
        for key in self._keys:
            name = key.rstrip("/")
            root = self._roots[name]
            yield from self._below(os.path.join(root, name), name, root, (root,), False)

    def _below(self, place: str, path: str, root: str, above: tuple[str, ...], linked: bool) -> Iterator[_Run]:
        try:
            real, info = place, os.lstat(place)
            if stat.S_ISLNK(info.st_mode):
                # Only links: the folder that this lies in is real already, and finding that out again takes long.
                real = os.path.realpath(place, strict=True)
                info = os.stat(real)
                linked = True
        except FileNotFoundError:
            if not os.path.islink(place):
                raise _changed(path) from None
            raise SupersonicError(f"{place} is a link to something that does not exist.") from None
        except OSError as error:
            raise SupersonicError(f"{place} cannot be read: {error.strerror}.") from error
        if real != root and not real.startswith(root + os.sep):
            raise SupersonicError(
                f"{place} is a link to {real}, outside of the source {root}. Put a copy of it there: "
                "a release holds everything it needs."
            )
        if linked:
            self._met += 1
            if self._met > MOST_LINKED:
                raise SupersonicError(
                    f"{place} is one of more than {MOST_LINKED} files and folders that links in the source lead to. "
                    "Links to folders that hold links multiply: put copies there."
                )
        if len(above) > DEEPEST:
            raise SupersonicError(f"{place} lies more than {DEEPEST} folders deep in the source. Shorten the path.")
        if stat.S_ISREG(info.st_mode):
            if linked:
                self.linked[path] = real
            yield _Run([path], [real], [info], linked)
        elif not stat.S_ISDIR(info.st_mode):
            raise SupersonicError(f"{place} is neither a file nor a folder. Remove it from the source.")
        elif real in above:
            raise SupersonicError(f"{place} is a link to {real}, a folder that it lies in.")
        else:
            keys, others = _keys(real)
            inside = (*above, real)
            # What nearly everything is goes a short way: files that no link leads to.
            plain = not linked and len(inside) <= DEEPEST
            keys = _in_order(keys, lambda name: f"{real}/{name}")
            for together, some in groupby(keys, lambda key: plain and key not in others):
                while part := list(islice(some, _RUN)):
                    run = _plain_files(real, path, part) if together else None
                    if run:
                        yield run
                        continue
                    for key in part:
                        name = key.rstrip("/")
                        yield from self._below(f"{real}/{name}", f"{path}/{name}", root, inside, linked)
            if not keys:
                yield _Run([path], [], [])


def _plain_files(folder: str, path: str, names: Sequence[str]) -> _Run | None:
    """These files of a folder; None when one of them is something else."""
    try:
        # The kernel finds a name in an open folder faster than the whole path.
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            infos = [os.stat(name, dir_fd=handle, follow_symlinks=False) for name in names]
        finally:
            os.close(handle)
    except OSError:
        return None
    if not all(stat.S_ISREG(info.st_mode) for info in infos):
        return None
    return _Run([f"{path}/{name}" for name in names], [f"{folder}/{name}" for name in names], infos)


def _keys(folder: str) -> tuple[list[str], set[str]]:
    """The names in a folder, behind folders a '/'; and which of them are no files, but folders, links or whatever."""
    keys: list[str] = []
    others: set[str] = set()
    try:
        with os.scandir(folder) as found:
            for item in found:
                if is_ignored(key := item.name):
                    continue
                if not item.is_file(follow_symlinks=False):
                    key += "/" if _is_folder(item) else ""
                    # A folder that turns out to be empty loses its '/'.
                    others.update((item.name, key))
                keys.append(key)
    except OSError as error:
        raise SupersonicError(f"{folder} cannot be read: {error.strerror}.") from error
    for key in keys:
        if not key.isprintable():
            raise SupersonicError(
                f"The name {key.rstrip('/')!r} in {folder} has characters that cannot be printed or are not UTF-8. "
                "Rename it."
            )
    return keys, others


def _is_folder(item: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one. What cannot be told is said when its turn comes."""
    try:
        return item.is_dir()
    except OSError:
        return False


def _in_order(keys: Iterable[str], place: Callable[[str], str]) -> list[str]:
    """The names of a folder as their lines come in a manifest.

    That of an empty folder has no '/'. It is looked at only where its place depends on it: where other names begin like
    its own and come before the '/'.
    """
    ordered = sorted(keys)
    doubtful = [key for before, key in pairwise(ordered) if key[-1] == "/" and before.startswith(key[:-1])]
    empty = {key for key in doubtful if not _holds_any(place(key[:-1]))}
    return sorted(key[:-1] if key in empty else key for key in ordered) if empty else ordered


def _holds_any(folder: str) -> bool:
    """Whether there is something to publish in it. One that cannot be read is told when its turn comes."""
    try:
        with os.scandir(folder) as found:
            return any(not is_ignored(item.name) for item in found)
    except OSError:
        return False


# Reading


class _Result(t.NamedTuple):
    mode: str
    digest: str
    size: int
    # What has to stay the same for it to hold next time; None: it may be another one already.
    mark: str | None


def _line(mode: str, digest: str, size: int, path: str) -> str:
    return f"{mode} {digest} {size} {path}\n"


def _read(runs: Iterable[_Run], hashes: Hashes | None) -> Iterator[tuple[list[str], str, int]]:
    """Paths of files of one folder, their lines in a manifest and their size together, in the order of the files,
    though several are read at once."""
    waiting: deque[tuple[str, _Result | Future[_Result]]] = deque()
    # What many links lead to is read once.
    linked: dict[tuple[int, int], Future[_Result]] = {}
    pool: ThreadPoolExecutor | None = None

    def reading(place: str) -> Future[_Result]:
        nonlocal pool
        if pool is None:
            # Imported here so that a source without changes does not wait for it.
            from concurrent.futures import ThreadPoolExecutor

            pool = ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8))
        return pool.submit(_hash, place)

    def first() -> tuple[list[str], str, int]:
        path, found = waiting.popleft()
        mode, digest, size, known = found if isinstance(found, _Result) else found.result()
        if hashes and known:
            hashes.keep(path, known, digest)
        return [path], _line(mode, digest, size, path), size

    try:
        for run in runs:
            # Only where nothing waits any more many are passed at once.
            while waiting and (isinstance(waiting[0][1], _Result) or waiting[0][1].done()):
                yield first()
            if not waiting and (known_run := _known(run, hashes)):
                yield known_run
                continue
            if not run.infos:
                waiting.append((run.paths[0], _Result("dir", _NO_DIGEST, 0, None)))
                continue
            for path, place, info in zip(run.paths, run.places, run.infos, strict=True):
                if hashes and (digest := hashes.find(path, known := mark(info))):
                    waiting.append((path, _Result(_mode(info), digest, info.st_size, known)))
                elif run.linked:
                    same = (info.st_dev, info.st_ino)
                    if same not in linked:
                        linked[same] = reading(place)
                    waiting.append((path, linked[same]))
                else:
                    waiting.append((path, reading(place)))
                if len(waiting) > _AHEAD:
                    yield first()
        while waiting:
            yield first()
    finally:
        if pool:
            # After an error nobody waits for gigabytes that lie ahead.
            pool.shutdown(wait=True, cancel_futures=True)


def _known(run: _Run, hashes: Hashes | None) -> tuple[list[str], str, int] | None:
    """The same for an empty folder, and for files none of which has changed since it was read."""
    if not run.infos:
        return run.paths, _line("dir", _NO_DIGEST, 0, run.paths[0]), 0
    digests = hashes.hold(run.paths, run.infos) if hashes else None
    if digests is None:
        return None
    sizes = [info.st_size for info in run.infos]
    found = zip(map(_mode, run.infos), digests, sizes, run.paths, strict=True)
    return run.paths, "".join([_line(*fields) for fields in found]), sum(sizes)


def _hash(place: str) -> _Result:
    digest = hashlib.sha256()
    size = 0
    started = time.time_ns()
    try:
        with open(place, "rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            while block := file.read(BLOCK):
                digest.update(block)
                size += len(block)
            known = mark_of_read(before, os.fstat(file.fileno()), started)
    except OSError as error:
        raise SupersonicError(f"{place} cannot be read: {error.strerror}.") from error
    return _Result(_mode(before), digest.hexdigest(), size, known)


@contextlib.contextmanager
def source_file(place: str) -> Iterator[Callable[[int], bytes]]:
    """Reads a file of the source once more, to send it; what goes wrong is told as what it is."""

    def read(size: int) -> bytes:
        try:
            return file.read(size)
        except OSError as error:
            raise _gone(place, error) from error

    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(place, "rb", buffering=0))
        except OSError as error:
            raise _gone(place, error) from error
        yield read


def _gone(place: str, error: OSError) -> SupersonicError:
    return SupersonicError(
        f"{place} of the source cannot be read any more: {error.strerror}. Run again when nobody changes the source."
    )


def _mode(info: os.stat_result) -> str:
    return "755" if info.st_mode & stat.S_IXUSR else "644"
