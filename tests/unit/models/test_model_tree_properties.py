# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Any tree, edited in any way: what is published is what lies in the source, byte for byte, and equal trees are one
release, from folders and from archives.

Of a mode a release keeps whether the owner may execute the file. Which trees and edits are tried, and how
many: see harness/chance.py.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import is_ignored, scan
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import FolderTarget, Options, publish
from ansible_collections.fastml.supersonic.plugins.module_utils._models.sources import opened
from ansible_collections.fastml.supersonic.tests.harness import chance

NAMES = (
    st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="/"), min_size=1, max_size=12)
    | st.sampled_from(
        ["a b", "-rf", "~", "'\"", "$HOME", "*", "#", "ä", "a" * 255, ".hidden", "A", "x.pyc.txt", "\\", "1"]
    )
).filter(lambda name: name not in (".", "..") and not is_ignored(name) and len(name.encode()) <= 255)
FOLDERS = st.lists(NAMES, max_size=4) | st.lists(st.sampled_from("ab"), min_size=40, max_size=60)
PLACES = st.tuples(st.sampled_from(["m/1", "m/data", "n/1"]), FOLDERS, NAMES).map(
    lambda parts: "/".join([parts[0], *parts[1], parts[2]])
)
CONTENTS = st.binary(max_size=200)
TREES = st.dictionaries(PLACES, CONTENTS | st.none(), max_size=8)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["create", "edit", "rename", "delete", "chmod", "folder"]), PLACES, CONTENTS, st.integers(0)
    ),
    min_size=1,
    max_size=6,
)

Contents = dict[str, tuple[bytes, bool] | None]


def contents(folder: Path) -> Contents:
    """Every file with its bytes and whether it is executable, every empty folder."""
    found: Contents = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file():
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))
        elif not any(path.iterdir()):
            found[name] = None
    return found


def create(place: Path, content: bytes | None) -> None:
    """A file or an empty folder, unless something else is in the way."""
    if any(parent.is_file() for parent in place.parents) or place.exists() or len(str(place)) > 3000:
        return
    (place if content is None else place.parent).mkdir(parents=True, exist_ok=True)
    if content is not None:
        place.write_bytes(content)


def edit(source: Path, kind: str, path: str, content: bytes, number: int) -> None:
    place = source / path
    # What makes a model a model stays.
    files = sorted(
        file for file in source.rglob("*") if file.is_file() and file.name not in ("config.pbtxt", "model.py")
    )
    chosen = files[number % len(files)] if files else None
    if kind in ("create", "folder"):
        create(place, content if kind == "create" else None)
    elif chosen is None:
        return
    elif kind == "edit":
        # As many bytes as before.
        chosen.write_bytes(bytes(byte ^ 1 for byte in chosen.read_bytes()))
    elif kind == "delete":
        chosen.unlink()
    elif kind == "chmod":
        chosen.chmod(chosen.stat().st_mode ^ stat.S_IXUSR)
    elif not place.exists() and not any(parent.is_file() for parent in place.parents):
        place.parent.mkdir(parents=True, exist_ok=True)
        chosen.rename(place)


@contextmanager
def source_of(tree: dict[str, bytes | None]) -> Iterator[tuple[Path, Path]]:
    """Two small models with more in them, and room for other things."""
    with tempfile.TemporaryDirectory(prefix="supersonic-test-") as folder:
        source = Path(folder) / "source"
        for name in ("m", "n"):
            create(source / name / "config.pbtxt", b'backend: "python"\n')
            create(source / name / "1/model.py", b"")
        for path, content in tree.items():
            create(source / path, content)
        yield source, Path(folder)


@chance.drawn(15, TREES, EDITS, least=5)
def test_what_is_published_is_the_source(
    tree: dict[str, bytes | None], edits: list[tuple[str, str, bytes, int]]
) -> None:
    with source_of(tree) as (source, scratch):
        store = scratch / "store"
        releases: dict[str, Contents] = {}
        for change in [None, *edits]:
            if change:
                edit(source, *change)
            wanted = contents(source)
            result = publish(FolderTarget(str(store)), [str(source)], Options(keep=2))
            assert contents(store / "current") == wanted
            assert releases.setdefault(str(result["release"]), wanted) == wanted
        assert len({frozenset(found.items()) for found in releases.values()}) == len(releases)


@chance.drawn(15, TREES, least=5)
def test_the_release_is_the_same_from_anywhere(tree: dict[str, bytes | None]) -> None:
    with source_of(tree) as (source, scratch):
        release = scan([str(source)]).release
        copy = scratch / "copy"
        shutil.copytree(source, copy)
        for path in copy.rglob("*"):
            os.utime(path, (1, 1))
        assert scan([str(copy)]).release == release
        with tarfile.open(scratch / "models.tar.gz", "w:gz", compresslevel=1) as tar:
            tar.add(source, ".")
        with zipfile.ZipFile(scratch / "models.zip", "w") as zipped:
            for path in source.rglob("*"):
                # Dates in zip begin in 1980.
                zipped.write(path, path.relative_to(source))
        for archive in ("models.tar.gz", "models.zip"):
            with opened([str(scratch / archive)], str(scratch)) as found:
                assert found.release == release
