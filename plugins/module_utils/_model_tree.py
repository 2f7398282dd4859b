# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a source of models is: its manifest, its release id, its models.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

The id of a release depends on names, contents and the executable bit alone: the same models give the same id on every
machine, whatever their dates, owners and other permissions are.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
import typing as t
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._model_hashes import Hashes
from ansible_collections.fastml.supersonic.plugins.module_utils._model_store import (
    BLOCK,
    Entry,
    format_manifest,
    release_id,
)

# Left behind by editors, Python and version control; no server needs them, and they differ from machine to machine.
IGNORED = frozenset({"__pycache__", ".git", ".gitignore", ".gitattributes", ".DS_Store", ".ipynb_checkpoints"})
# No repository of models comes near; Python's own functions for trees end at a thousand.
DEEPEST = 100
_DIGEST_LENGTH = 12
_NO_DIGEST = "-"


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

    entries: tuple[Entry, ...]
    places: dict[str, str]
    manifest: str
    release: str

    @property
    def models(self) -> list[Model]:
        return models_of(self.entries)

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)


def scan(sources: Sequence[str], *, cached: bool = False) -> Tree:
    """Read one or several folders of models as one release. With `cached` files that have not changed since they were
    read by this user are not read again."""
    if not sources:
        raise SupersonicError("No source is given.")
    found: dict[str, str | None] = {}
    infos: dict[str, os.stat_result] = {}
    owners: dict[str, str] = {}
    roots: list[str] = []
    for source in sources:
        root = os.path.realpath(source)
        roots.append(root)
        if not os.path.isdir(root):
            raise SupersonicError(f"The source {source} is no folder.")
        for name in _names(root):
            if name in owners:
                raise SupersonicError(
                    f"'{name}' is in two sources, {owners[name]} and {source}. Triton serves neither of two models "
                    "with one name: rename or remove one."
                )
            owners[name] = source
            _walk(os.path.join(root, name), name, root, (root,), found, infos)
    hashes = Hashes(roots) if cached else None
    entries = tuple(sorted(_entries(found, infos, hashes), key=lambda entry: entry.path.encode()))
    manifest = format_manifest(entries)
    places = {path: place for path, place in found.items() if place is not None}
    return Tree(entries, places, manifest, release_id(manifest))


def models_of(entries: Iterable[Entry]) -> list[Model]:
    """The models in a manifest, by name."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.path.split("/", 1)[0]].append(entry)
    models = []
    for name, group in sorted(groups.items()):
        versions = {parts[1] for parts in (entry.path.split("/") for entry in group) if len(parts) > 1}
        digest = hashlib.sha256(format_manifest(group).encode()).hexdigest()[:_DIGEST_LENGTH]
        numbers = tuple(sorted(int(version) for version in versions if is_version(version)))
        models.append(Model(name, numbers, sum(entry.size for entry in group), digest))
    return models


def is_ignored(name: str) -> bool:
    """Whether files and folders of this name are never published."""
    return name in IGNORED or name.endswith(".pyc")


def is_version(name: str) -> bool:
    """Whether Triton takes a folder of this name for a version."""
    return name.isascii() and name.isdigit() and not name.startswith("0")


def _walk(
    place: str,
    path: str,
    root: str,
    above: tuple[str, ...],
    found: dict[str, str | None],
    infos: dict[str, os.stat_result],
) -> None:
    """Collect files and empty folders below one name. Links are followed, but never out of the source."""
    try:
        real, info = place, os.lstat(place)
        if stat.S_ISLNK(info.st_mode):
            # Only links: the folder that this lies in is real already, and finding that out again takes long.
            real = os.path.realpath(place, strict=True)
            info = os.stat(real)
    except FileNotFoundError:
        raise SupersonicError(f"{place} is a link to something that does not exist.") from None
    except OSError as error:
        raise SupersonicError(f"{place} cannot be read: {error.strerror}.") from error
    if real != root and not real.startswith(root + os.sep):
        raise SupersonicError(
            f"{place} is a link to {real}, outside of the source {root}. Put a copy of it there: "
            "a release holds everything it needs."
        )
    if len(above) > DEEPEST:
        raise SupersonicError(f"{place} lies more than {DEEPEST} folders deep in the source. Shorten the path.")
    if stat.S_ISREG(info.st_mode):
        found[path] = real
        infos[path] = info
    elif not stat.S_ISDIR(info.st_mode):
        raise SupersonicError(f"{place} is neither a file nor a folder. Remove it from the source.")
    elif real in above:
        raise SupersonicError(f"{place} is a link to {real}, a folder that it lies in.")
    else:
        names = _names(real)
        for name in names:
            _walk(os.path.join(real, name), f"{path}/{name}", root, (*above, real), found, infos)
        if not names:
            found[path] = None


def _names(folder: str) -> list[str]:
    try:
        names = [name for name in os.listdir(folder) if not is_ignored(name)]
    except OSError as error:
        raise SupersonicError(f"{folder} cannot be read: {error.strerror}.") from error
    for name in names:
        if not name.isprintable():
            raise SupersonicError(
                f"The name {name!r} in {folder} has characters that cannot be printed or are not UTF-8. Rename it."
            )
    return sorted(names)


def _entries(found: dict[str, str | None], infos: dict[str, os.stat_result], hashes: Hashes | None) -> list[Entry]:
    entries: list[Entry] = []
    files: list[tuple[str, str]] = []
    for path, place in found.items():
        if place is None:
            entries.append(Entry("dir", _NO_DIGEST, 0, path))
            continue
        info = infos[path]
        digest = hashes.find(place, info) if hashes else None
        if digest:
            entries.append(Entry(_mode(info), digest, info.st_size, path))
        else:
            files.append((path, place))
    if files:
        with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:
            entries += pool.map(lambda item: _hash(item[0], item[1], hashes), files)
    if hashes:
        hashes.save()
    return entries


def _hash(path: str, place: str, hashes: Hashes | None) -> Entry:
    digest = hashlib.sha256()
    size = 0
    started = time.time_ns()
    try:
        with open(place, "rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            while block := file.read(BLOCK):
                digest.update(block)
                size += len(block)
            if hashes:
                hashes.note(place, before, os.fstat(file.fileno()), started, digest.hexdigest())
    except OSError as error:
        raise SupersonicError(f"{place} cannot be read: {error.strerror}.") from error
    return Entry(_mode(before), digest.hexdigest(), size, path)


def _mode(info: os.stat_result) -> str:
    return "755" if info.st_mode & stat.S_IXUSR else "644"
