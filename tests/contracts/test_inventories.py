# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of the sites' inventories: everything is said once, and whoever reads it gets it."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

INVENTORIES = Path(__file__).resolve().parents[2] / "inventories"
SHARED = INVENTORIES / "shared"
EXAMPLE = SHARED / "vault-example.yml"
# That of one machine is for nobody to copy.
SITES = sorted(path.parent for path in INVENTORIES.glob("*/hosts.yml") if path.parent.name != "local")


def variables() -> dict[Path, dict[str, Any]]:
    """What each file says. Links say nothing themselves."""
    files = [path for site in SITES for path in site.glob("*_vars/**/*.yml")] + sorted(SHARED.glob("*.yml"))
    return {path: yaml.safe_load(path.read_text()) for path in files if not path.is_symlink()}


def test_nothing_is_said_twice() -> None:
    said = defaultdict(list)
    for path, values in variables().items():
        for name, value in values.items():
            # Two that need as much do so for reasons of their own.
            if path != EXAMPLE and name != "triton_resources":
                said[name, json.dumps(value, sort_keys=True)].append(str(path.relative_to(INVENTORIES)))
    assert {key: files for key, files in said.items() if len(files) > 1} == {}


def test_no_file_is_kept_where_ansible_looks_for_inventories() -> None:
    """It reads every file in the folder of an inventory, and shows what it takes for the name of a host."""
    texts = [*variables(), *INVENTORIES.parent.glob("*.md"), *(INVENTORIES.parent / "docs").glob("*.md")]
    inside = re.compile(r"inventory_dir( \}\}/| ~ '/)(?!\.\./)")
    assert [str(path) for path in texts if inside.search(path.read_text())] == []


def test_secrets_have_their_names_in_the_example_alone() -> None:
    texts = {path: path.read_text() for path in variables() if path != EXAMPLE}
    used = {name for text in texts.values() for name in re.findall(r"\bvault_\w+", text)}
    assert used == set(yaml.safe_load(EXAMPLE.read_text()))
    # What is a secret by its name comes from there.
    for path, text in texts.items():
        for line in re.findall(r"^ *\w*(?:password|token)\w*: *\S.*$", text, re.M):
            assert "vault_" in line, f"{path}: {line}"


@pytest.mark.parametrize("site", SITES, ids=lambda path: path.name)
def test_every_file_is_somebodys(site: Path) -> None:
    """One of a group or host that is not there would be passed over without a word."""
    groups: dict[str, set[str]] = defaultdict(set)

    def read(name: str, body: dict[str, Any] | None) -> None:
        groups[name] |= set((body or {}).get("hosts") or {})
        for child, inside in ((body or {}).get("children") or {}).items():
            read(child, inside)

    for name, body in yaml.safe_load((site / "hosts.yml").read_text()).items():
        read(name, body)
    hosts = set().union(*groups.values())
    assert {path.stem for path in (site / "group_vars").iterdir()} <= {"all", *groups}
    assert {path.stem for path in (site / "host_vars").iterdir()} <= hosts
    # Whatever the site fixes is for everybody at it.
    assert groups[f"at_{site.name}"] == hosts
    for link in filter(Path.is_symlink, site.rglob("*")):
        assert link.resolve() == SHARED / link.name
        assert not link.readlink().is_absolute()
    assert (site / "group_vars/all.yml").is_symlink()
