# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation says of playbooks, against the playbooks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

CLONE = Path(__file__).resolve().parents[2]
PLAYBOOKS = CLONE / "playbooks"


def tags(playbook: str) -> set[str]:
    """Every tag of a playbook, those of imported ones included."""
    found: set[str] = set()
    queue: list[dict[str, Any]] = yaml.safe_load((PLAYBOOKS / f"{playbook}.yml").read_text())
    while queue:
        item = queue.pop(0)
        given = item.get("tags", [])
        found |= {given} if isinstance(given, str) else set(given)
        for part in ("tasks", "pre_tasks", "post_tasks", "handlers", "roles", "block", "rescue", "always"):
            queue += item.get(part, [])
        if "import_playbook" in item:
            found |= tags(item["import_playbook"].rpartition(".")[2])
    return found


def test_every_tag_is_told() -> None:
    rows = re.findall(r"^\| (`\w.*?) \| `(\w+)` \| \w", (CLONE / "docs/operations.md").read_text(), re.M)
    told = {(playbook, tag) for playbooks, tag in rows for playbook in re.findall(r"`(\w+)`", playbooks)}
    there = {(path.stem, tag) for path in PLAYBOOKS.glob("*.yml") for tag in tags(path.stem) - {"always"}}
    assert told == there


def test_what_has_a_tag_is_judged_before() -> None:
    """A part of a playbook takes it as done by the first play."""
    for path in PLAYBOOKS.glob("*.yml"):
        plays = yaml.safe_load(path.read_text())
        judged = [play for play in plays if "fastml.supersonic.validate" in str(play.get("tasks"))]
        if tags(path.stem) and "__supersonic_judged" in path.read_text():
            assert judged, path
            assert all("always" in play.get("tags", []) for play in judged), path


def test_installed_playbooks_are_named() -> None:
    """Whoever has installed the collection has no folder playbooks."""
    for path in ("README.md", "docs/models.md"):
        text = (CLONE / path).read_text()
        assert "ansible-playbook fastml.supersonic.models -i" in text, path
        for name in re.findall(r"ansible-playbook fastml\.supersonic\.(\w+)", text):
            assert (PLAYBOOKS / f"{name}.yml").is_file(), f"{path}: {name}"
