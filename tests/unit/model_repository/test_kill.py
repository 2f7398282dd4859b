# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A publisher that is killed at any moment. SUPERSONIC_KILLS sets how often (40)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._model_publish import FolderTarget, Options, _publish
from ansible_collections.fastml.supersonic.plugins.module_utils._model_store import Store, release_id
from ansible_collections.fastml.supersonic.plugins.module_utils._model_tree import scan

KILLS = int(os.environ.get("SUPERSONIC_KILLS", "40"))
COLLECTIONS = Path(__file__).resolve().parents[3] / ".collections"

# Reads the source first and then says so: what is killed is the work on the store.
PUBLISHER = """
import errno, os, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.fastml.supersonic.plugins.module_utils._model_publish import FolderTarget, Options, _publish
from ansible_collections.fastml.supersonic.plugins.module_utils._model_tree import scan
if sys.argv[4] == "copies":
    def link(*_arguments):
        raise OSError(errno.EPERM, "Operation not permitted")
    os.link = link
tree = scan([sys.argv[2]])
print("ready", flush=True)
_publish(FolderTarget(sys.argv[3]), tree, [], Options(keep=2))
"""


def change(source: Path, dice: random.Random, number: int) -> None:
    """Another release: some files change, one comes, one goes."""
    for index in range(60):
        file = source / f"m{index % 6}" / str(1 + index % 3) / f"w{index}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        if number == 0 or dice.random() < 0.5:
            file.write_bytes(dice.randbytes(dice.choice([0, 10, 4000, 200_000])))
        elif dice.random() < 0.1:
            file.unlink(missing_ok=True)


def served(store: Path) -> str | None:
    """What servers read now: one release, complete and with nothing else in it; nothing before the first."""
    current = Store(str(store)).current()
    if current is None:
        assert not os.path.lexists(store / "current")
    else:
        assert release_id(scan([str(store / "current")]).manifest) == current
    return current


@pytest.mark.parametrize(("kind", "kills"), [("links", KILLS * 3 // 4), ("copies", KILLS // 4)])
def test_killed_at_any_moment(tmp_path: Path, kind: str, kills: int) -> None:
    dice = random.Random(f"{kind} {os.environ.get('SUPERSONIC_SEED', '1')}")
    source, store = tmp_path / "source", tmp_path / "store"
    before = None
    duration = 0.1
    finished = 0
    for number in range(kills):
        change(source, dice, number)
        tree = scan([str(source)])
        command = [sys.executable, "-c", PUBLISHER, str(COLLECTIONS), str(source), str(store), kind]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as publisher:
            assert publisher.stdout is not None
            assert publisher.stdout.readline() == "ready\n"
            time.sleep(dice.uniform(0, duration))
            publisher.kill()
            publisher.wait()
        finished += publisher.returncode == 0
        assert served(store) in (before, tree.release)
        before = served(store)
        if dice.random() < 0.3:
            # Next time another release is on its way when the old remains are found.
            continue
        begin = time.monotonic()
        _publish(FolderTarget(str(store)), tree, [], Options(keep=2))
        if store.exists():
            duration = min(max(time.monotonic() - begin, 0.02), 0.5)
        before = served(store)
        assert before == tree.release
        assert list((store / "staging").iterdir()) == []
        assert len(list((store / "releases").iterdir())) <= 2
    # Most kills have to hit work, not its absence.
    assert finished <= kills / 2
