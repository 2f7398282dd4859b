# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies releases of models from a claim to a folder, and back to an empty claim.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

The folder holds a store of the same layout, so that all that holds for stores holds for backups: every content is there
once and named by its hash, only what is missing travels, and whatever is killed leaves a store that is whole.
"""

from __future__ import annotations

import base64
import os
import typing as t
from collections.abc import Callable, Sequence

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._common.text import counted
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import (
    FolderTarget,
    Options,
    Session,
    Target,
    publish,
    sentences,
    with_patience,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models.releases import describe
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import (
    Entry,
    Store,
    each_entry,
    readable,
    short,
    wanted,
)

_HOLDER = "a backup"
# In the folder of a backup: the store that is being filled from it.
_RESTORING = "restoring"
_NOT_EMPTY = (
    "and only an empty one is filled. Nothing was changed. To serve another release that it holds, roll back "
    "(playbooks/models.yml); otherwise remove the claim first, if nothing in it is needed."
)
# What is received becomes durable in batches, as when it is published.
_BATCH_BYTES = 256 << 20
# Of a file in a claim: each part takes a question and an answer.
_PART = 1 << 20


def save(place: Target, folder: str, *, check: bool = False) -> dict[str, t.Any]:
    """Have every release of a store in a folder, the served one as the current one. Returns the module's result."""
    return with_patience(lambda: _save(place, folder, check))


def _save(place: Target, folder: str, check: bool) -> dict[str, t.Any]:
    if _is_filled(place, folder):
        # What the store serves is then not what was served last, and must not become that in the backup.
        raise SupersonicError(
            f"The store is being filled from {folder}, and that has not come to its end, so nothing was copied. "
            f"Restore again; or, if it is to stay as it is, remove the file {_RESTORING} there, and back up again."
        )
    if check:
        return _predicted(place, folder)
    with place.reading() as source:
        source.call("require")
        found, served = _served(source)
        current = _something(found)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with sentences(folder):
            store = Store(folder)
            try:
                store.open(_HOLDER)
                new, size = [], 0
                # The oldest first, so that the last switch is to the served one.
                for name in reversed(served):
                    sent = _fetch(source, store, name)
                    if sent is not None:
                        new.append(name)
                        size += sent
                changed = bool(new) or [item["release"] for item in store.listing()][: len(served)] != served
                if changed:
                    for name in reversed(served):
                        store.switch_to(name)
            finally:
                store.close()
    return _told(current, served, new, size, changed, "Copied")


def _served(session: Session) -> tuple[str | None, list[str]]:
    """The current release, and all that were served, it first."""
    state = session.call("inspect")
    return state["current"], [item["release"] for item in state["releases"] if item.get("served", True)]


def _predicted(place: Target, folder: str) -> dict[str, t.Any]:
    """The predicted copy; for a claim by its annotations, since check mode starts no pod."""
    claim = getattr(place, "claim", None)
    if claim is not None:
        claim.check_usable(reading=True)
    told = describe(place, deep=claim is None)
    served = [str(item["release"]) for item in told["releases"] if item["served"]]
    here = held(folder)
    new = [name for name in served if name not in here]
    if told["current"] is None and claim is not None:
        why = (
            "a switch was begun and has not come to its end" if told["unfinished"] else "nothing is noted on the claim"
        )
        return {
            "changed": True,
            "release": None,
            "releases": served,
            "new": new,
            "received_bytes": 0,
            "msg": f"Which release is served is not known before the store is opened: {why}. It would be copied.",
        }
    changed = new != [] or here[: len(served)] != served
    return _told(_something(told["current"]), served, new, 0, changed, "Would be copied")


def _something(current: str | None) -> str:
    if current is None:
        raise SupersonicError("The store serves no release, so there is nothing to back up. Publish one first.")
    return current


def _told(
    current: str, served: Sequence[str], new: Sequence[str], size: int, changed: bool, verb: str
) -> dict[str, t.Any]:
    names = ", ".join(map(short, new)) or "nothing"
    return {
        "changed": changed,
        "release": current,
        "releases": list(served),
        "new": list(new),
        "received_bytes": size,
        "msg": f"The store holds {_releases(served)} and serves {short(current)}. {verb}: {names} ({readable(size)}).",
    }


def _releases(names: Sequence[str]) -> str:
    return counted(len(names), "release")


def _fetch(source: Session, store: Store, release: str) -> int | None:
    """Bring one release; how many bytes came, or None where it was there already."""
    manifest = source.call("manifest", release=release)
    if manifest is None:
        raise SupersonicError(
            f"The manifest of the release {short(release)} is lost or damaged in the store, so nobody can tell whether "
            "its files are whole. Publish its models again, or prune it; then run again."
        )
    missing = store.missing(manifest)
    there = os.path.isdir(os.path.join(store.root, "releases", release))
    size = batch = 0
    for entry in wanted(each_entry(manifest), missing):
        # It is compared with its hash on the way.
        store.receive(entry.key, entry.size, _reader(source, release, entry))
        size += entry.size
        batch += entry.size
        if batch >= _BATCH_BYTES:
            store.commit()
            batch = 0
    mended = store.stage(manifest)
    return None if there and not size and not mended else size


def _reader(source: Session, release: str, entry: Entry) -> Callable[[int], bytes]:
    """Reads a file of a store from its beginning to its end."""
    place = 0
    ahead = memoryview(b"")

    def read(size: int) -> bytes:
        nonlocal place, ahead
        if not ahead:
            text = source.call("read", release=release, path=entry.path, offset=place, size=_PART)
            ahead = memoryview(base64.b64decode(text))
            place += len(ahead)
        block, ahead = bytes(ahead[:size]), ahead[size:]
        return block

    return read


def held(folder: str) -> list[str]:
    """The releases that a backup holds, the served one first; none where there is no backup."""
    if not os.path.isfile(os.path.join(folder, "format")):
        return []
    with sentences(folder):
        store = Store(folder)
        store.require()
        return [item["release"] for item in store.listing() if item.get("served", True)]


def bring_back(place: Target, folder: str, options: Options) -> dict[str, t.Any]:
    """Publish what a folder holds to an empty store, in the order in which it was served."""
    releases = held(folder)
    if not releases:
        raise SupersonicError(f"There is no backup of models in {folder}. Name the folder of the instance.")
    unsound = _unsound(folder, releases)
    if unsound:
        raise SupersonicError(
            f"The backup in {folder} is damaged, so nothing was restored: {'; '.join(unsound)}. Take another copy."
        )
    current = releases[0]
    before = place.published()
    result: dict[str, t.Any] = {
        "changed": before.release != current,
        "release": current,
        "releases": releases,
        "previous_release": before.release,
        "msg": f"The release {short(current)} is served already; nothing was restored.",
    }
    if before.release == current and not place.unfinished():
        return {**result, "changed": False}
    mark, begun = os.path.join(folder, _RESTORING), _is_filled(place, folder)
    if before.known:
        _check_fillable(before.release, releases if begun else [])
    elif not begun:
        raise SupersonicError(f"The store does not say what it serves, {_NOT_EMPTY}")
    if options.check:
        result["msg"] = f"{_releases(releases)} would be restored, and {short(current)} served."
        return result
    # A volume may have come with more than its claim says, such as one that was kept when an earlier claim went.
    with place.reading() as session:
        _check_fillable(session.call("inspect")["current"], releases if begun else [])
    # A run that is killed in the middle leaves a store that is not empty, which the next one may go on with.
    with sentences(folder), open(mark, "w", encoding="utf-8") as file:
        file.write(_identity(place))
        file.flush()
        os.fsync(file.fileno())
    for name in reversed(releases):
        tree = os.path.join(folder, "releases", name)
        done = publish(place, [tree], options)
        if done["release"] != name:
            raise SupersonicError(
                f"{tree} was published as {short(done['release'])}, so it is not what was backed up. Do not use it."
            )
    os.unlink(mark)
    result["msg"] = f"Restored by their hashes: {_releases(releases)}, of which {short(current)} is served."
    return result


def _check_fillable(served: str | None, ours: Sequence[str]) -> None:
    """Refuse a store that serves something, but for what a restoration that was broken off has left."""
    if served is not None and served not in ours:
        raise SupersonicError(f"The store serves the release {short(served)}, {_NOT_EMPTY}")


def _identity(place: Target) -> str:
    """The identity of a store: the UID of a claim, or the folder."""
    claim = getattr(place, "claim", None)
    return str(claim.uid) if claim is not None else os.path.realpath(str(getattr(place, "path", "")))


def _is_filled(place: Target, folder: str) -> bool:
    """Whether a restoration of this store from this folder was begun and has not come to its end."""
    return _read(os.path.join(folder, _RESTORING)) == _identity(place) != ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _unsound(folder: str, releases: Sequence[str]) -> list[str]:
    """The differences from the backup; every file is read."""
    target = FolderTarget(folder)
    found = []
    with target.reading() as session:
        for name in releases:
            if session.call("manifest", release=name) is None:
                found.append(f"the manifest of {short(name)} is lost or damaged")
                continue
            drift = session.call("drift", release=name)
            found += [f"{kind} in {short(name)}: {', '.join(paths[:3])}" for kind, paths in drift.items() if paths]
    return found
