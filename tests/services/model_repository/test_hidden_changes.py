# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes of a source that no time of a file tells of."""

from __future__ import annotations

import mmap
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._models import digest_cache
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import scan
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import FolderTarget, Options, publish

FIRST = "alpha/1/model.py"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the files had been written a while ago."""
    monkeypatch.setattr(digest_cache, "SETTLED_NS", -1_000_000_000)


@pytest.fixture
def hidden(source: Path, small_disk: Path) -> Iterator[tuple[Path, mmap.mmap]]:
    """A source in memory, and its first file mapped: a change of that shows in none of its times."""
    place = small_disk / "source"
    shutil.copytree(source, place)
    with (place / FIRST).open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[0:1] = b"#"
        yield place, memory


@pytest.mark.usefixtures("settled")
def test_what_verify_finds_is_remembered(hidden: tuple[Path, mmap.mmap], tmp_path: Path) -> None:
    """Only verify finds such a change, and whoever runs next must not go back to what was before."""
    place, memory = hidden
    target = FolderTarget(str(tmp_path / "store"))
    first = publish(target, [str(place)], Options())["release"]
    memory[2:3] = b"A"
    assert publish(target, [str(place)], Options())["release"] == first
    verified = publish(target, [str(place)], Options(verify=True))
    assert (verified["changed"], verified["release"]) == (True, scan([str(place)]).release)
    again = publish(target, [str(place)], Options())
    assert (again["changed"], again["release"]) == (False, verified["release"])


def test_what_verify_cannot_be_sure_of_is_forgotten(
    hidden: tuple[Path, mmap.mmap], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was changed a moment ago: what was remembered of it is wrong all the same."""
    place, memory = hidden
    with monkeypatch.context() as settled:
        settled.setattr(digest_cache, "SETTLED_NS", -1_000_000_000)
        before = scan([str(place)], cached=True)
    memory[2:3] = b"A"
    assert scan([str(place)], cached=True) == before
    found = scan([str(place)], cached=True, verify=True)
    assert found != before
    assert scan([str(place)], cached=True) == found
