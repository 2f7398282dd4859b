# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose backup a folder holds, and that the playbooks look at that before anything else."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.modules import run_module

CLONE = Path(__file__).resolve().parents[3]


def folder(path: Path, *, check: bool = False, **more: Any) -> dict[str, Any]:
    given = {"host": "https://api.one.example:6443", "name": "main", "namespace": "cms"}
    return run_module("backup_folder", {"path": str(path), **given, **more}, check=check)


def test_it_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "backups" / "cms"
    assert folder(path, check=True)["changed"]
    assert not path.exists()
    made = folder(path)
    assert made["changed"]
    assert made["instance"] == {"cluster": "https://api.one.example:6443", "namespace": "cms", "name": "main"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    note = path / "instance.json"
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    before = note.read_bytes()
    # The same address, written otherwise.
    assert folder(path, host="HTTPS://api.one.example:6443/")["changed"] is False
    assert folder(path, state="restored")["changed"] is False
    assert note.read_bytes() == before
    assert [item.name for item in path.iterdir()] == ["instance.json"]


@pytest.mark.parametrize(
    "other", [{"name": "second"}, {"namespace": "atlas"}, {"host": "https://api.two.example:6443"}], ids=str
)
@pytest.mark.parametrize("check", [False, True])
def test_one_of_another_instance_is_refused(tmp_path: Path, other: dict[str, str], check: bool) -> None:
    folder(tmp_path)
    before = (tmp_path / "instance.json").read_bytes()
    saved = folder(tmp_path, check=check, **other)
    assert saved["failed"]
    assert "holds the backup of the instance main in namespace cms of https://api.one.example:6443" in saved["msg"]
    restored = folder(tmp_path, check=check, state="restored", **other)
    assert restored["failed"]
    assert "restore_elsewhere" in restored["msg"]
    told = folder(tmp_path, check=check, state="restored", elsewhere=True, **other)
    assert not told["failed"]
    assert told["instance"]["name"] == "main"
    assert (tmp_path / "instance.json").read_bytes() == before


def test_one_that_does_not_say_whose_it_is(tmp_path: Path) -> None:
    assert "there is no such folder" in folder(tmp_path / "none", state="restored")["msg"]
    assert "does not say whose backup it holds" in folder(tmp_path, state="restored")["msg"]
    assert folder(tmp_path, state="restored", elsewhere=True)["instance"] is None
    for text in ("{", "[]", json.dumps({"format": "supersonic-backup 1", "name": "main"})):
        (tmp_path / "instance.json").write_text(text)
        assert "it is damaged" in folder(tmp_path)["msg"]
    (tmp_path / "instance.json").write_text(json.dumps({"format": "supersonic-backup 2"}))
    assert "is of the format 'supersonic-backup 2'" in folder(tmp_path, state="restored", elsewhere=True)["msg"]


@pytest.mark.parametrize("name", ["backup", "restore"])
def test_the_playbooks_look_before_they_copy(name: str) -> None:
    """And the folder is named after the host, which is there once in an inventory."""
    plays = yaml.safe_load((CLONE / "playbooks" / f"{name}.yml").read_text())
    play = next(play for play in plays if f"{name}_folder" in play.get("vars", {}))
    variables, first = play["tasks"][0]["block"][:2]
    assert variables["ansible.builtin.import_role"] == {"name": "fastml.supersonic.supersonic"}
    assert first["fastml.supersonic.backup_folder"]["path"] == f"{{{{ {name}_folder }}}}"
    assert first["fastml.supersonic.backup_folder"].get("state", "saved") == {"backup": "saved"}.get(name, "restored")
    assert "when" not in first
    assert play["vars"][f"{name}_folder"].endswith("/{{ inventory_hostname }}")
