# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps a list of rendered files in a folder, so that only files of earlier runs are removed.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError

# Neither kubectl nor Argo CD nor Flux takes a file of this name for manifests. The form is that of sha256sum.
INDEX = ".rendered"
KUSTOMIZATION = "kustomization.yaml"
_HEADER = (
    "# Files of this folder that were rendered; `sha256sum --check .rendered` finds those that were changed since."
)
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._-]*\.yaml)")
_MANIFESTS = (".yaml", ".yml", ".json")


@dataclass
class Outcome:
    """The result, or its prediction; others: manifests that were not written by it and are kept."""

    removed: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return bool(self.removed or self.written)


def keep(folder: Path, names: Sequence[str], *, kustomization: bool, check: bool) -> Outcome:
    """Have these files and no others of those that were rendered, an index of them, and a kustomization if wanted.

    Raises SupersonicError, before anything is removed, for a file that is not as it was rendered.
    """
    ordered = sorted(set(names))
    for name in ordered:
        if not _LINE.fullmatch(f"{'0' * 64}  {name}") or name == KUSTOMIZATION:
            raise SupersonicError(f"files: '{name}' is no name of a file that is rendered (NAME.yaml).")
    before = _index(folder)
    wanted = {name: (folder / name).read_bytes() for name in ordered if check is False or (folder / name).is_file()}
    text = _kustomization(ordered).encode() if kustomization else None
    place = folder / KUSTOMIZATION
    if text is not None and KUSTOMIZATION not in before and place.exists() and place.read_bytes() != text:
        raise SupersonicError(
            f"{place} is there already and was not rendered. Nothing was removed. Take it away, or leave the "
            "kustomization out."
        )
    outcome = Outcome()
    stale = [name for name in before if name not in wanted and not (name == KUSTOMIZATION and text is not None)]
    gone = [name for name in stale if _is_as_rendered(folder / name, before[name])]
    outcome.removed = gone
    if text is not None:
        wanted[KUSTOMIZATION] = text
        if not place.is_file() or place.read_bytes() != text:
            outcome.written.append(KUSTOMIZATION)
    index = "".join(f"{_sum(content)}  {name}\n" for name, content in sorted(wanted.items()))
    index = f"{_HEADER}\n{index}"
    if not (folder / INDEX).is_file() or (folder / INDEX).read_text() != index:
        outcome.written.append(INDEX)
    if not check:
        for name in gone:
            (folder / name).unlink()
        if KUSTOMIZATION in outcome.written and text is not None:
            _write(place, text)
        # Last: a run that is killed before has the old one, and the next run does the rest.
        if INDEX in outcome.written:
            _write(folder / INDEX, index.encode())
    outcome.others = _others(folder, [*wanted, *gone])
    return outcome


def _index(folder: Path) -> dict[str, str]:
    """Digest of each file that was rendered before, by name."""
    place = folder / INDEX
    if not place.is_file():
        return {}
    found = {}
    for line in place.read_text().splitlines():
        if line.startswith("#") or not line:
            continue
        parsed = _LINE.fullmatch(line)
        if parsed is None:
            raise SupersonicError(
                f"{place} has the line '{line[:80]}', which rendering does not write, so that it is not known what may "
                "be removed. Nothing was. Remove that file, and what does not belong there, and render again."
            )
        found[parsed[2]] = parsed[1]
    return found


def _is_as_rendered(place: Path, digest: str) -> bool:
    """Whether there is something to remove. Raises for what somebody else has made of it."""
    try:
        mode = os.lstat(place).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode) or _sum(place.read_bytes()) != digest:
        raise SupersonicError(
            f"{place} belongs to a part that the inventory does not have any more, but it was changed since it was "
            "rendered. Nothing was removed. Remove it yourself, or move it away, and render again."
        )
    return True


def _others(folder: Path, known: Iterable[str]) -> list[str]:
    names = set(known)
    if not folder.is_dir():
        return []
    return sorted(
        each.name
        for each in folder.iterdir()
        if each.suffix in _MANIFESTS and each.name not in names and each.is_file()
    )


def _kustomization(names: Sequence[str]) -> str:
    lines = "".join(f"  - {name}\n" for name in names)
    return (
        "# Written with the manifests; it is written anew with them.\n"
        "apiVersion: kustomize.config.k8s.io/v1beta1\n"
        "kind: Kustomization\n"
        f"resources:\n{lines}"
    )


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(place: Path, content: bytes) -> None:
    """All of it or nothing, readable for everybody."""
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, place)
    except BaseException:
        os.unlink(name)
        raise


def shown(outcome: Outcome) -> Mapping[str, object]:
    """As the module returns it."""
    return {
        "changed": outcome.changed,
        "removed": outcome.removed,
        "written": outcome.written,
        "others": outcome.others,
    }
