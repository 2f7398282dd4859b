# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Disks that are full at any moment. SUPERSONIC_KILLS sets how often, six times too many (60)."""

from __future__ import annotations

import os
import typing as t
from collections import Counter
from pathlib import Path

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import scan
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import (
    FolderTarget,
    Options,
    _publish,
    publish,
)
from ansible_collections.fastml.supersonic.tests.harness import chance
from ansible_collections.fastml.supersonic.tests.services.model_repository.test_kill import (
    KILLS,
    Piped,
    Tell,
    served,
    tell,
)

__all__ = ["tell"]


def test_a_disk_that_is_full_at_any_moment(small_disk: Path, tmp_path: Path, tell: Tell) -> None:
    """Files take whole pages, so what fits by their sizes may yet not fit: the disk fills up on the way."""
    dice = chance.dice()
    source, store, ballast = tmp_path / "source", small_disk / "store", small_disk / "ballast"
    target = FolderTarget(str(store))
    hits: Counter[str] = Counter()
    before: str | None = None
    (source / "m/1").mkdir(parents=True)
    (source / "m/config.pbtxt").write_text('backend: "python"\n')
    for number in range(max(KILLS // 6, 6)):
        for index in range(40):
            (source / f"m/1/{'model.py' if index == 0 else f'w{index}'}").write_bytes(dice.randbytes(300))
        release = scan([str(source)]).release
        ballast.unlink(missing_ok=True)
        space = os.statvfs(small_disk)
        left = dice.randrange(16_000, 250_000)
        ballast.write_bytes(bytes(max(space.f_bavail * space.f_frsize - left, 0)))
        said = ""
        try:
            if number % 2:
                _publish(t.cast("t.Any", Piped(store)), scan([str(source)]), [], Options(keep=2))
            else:
                publish(target, [str(source)], Options(keep=2))
        except SupersonicError as error:
            said = str(error)
        if not said:
            hits["nowhere, it fitted"] += 1
        else:
            full = f"The store {store} is full. What was published before is untouched" in said
            assert full or "free and the release needs" in said, said
            hits["while it was written" if full else "the check before"] += 1
            assert (served(store) if store.exists() else None) in (before, release)
            assert not (store / "lock").exists()
            assert list((store / "staging").iterdir()) == []
        ballast.unlink()
        publish(target, [str(source)], Options(keep=2))
        assert served(store) == release
        before = release
    tell("disks filled up", hits)
    assert hits["while it was written"] >= 2
