# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-builder understands what an execution environment with the collection is made of."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

CLONE = Path(__file__).resolve().parents[2]
DEFINITION = CLONE / "docs/execution-environment.yml"


def builder(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ansible_builder", *arguments], capture_output=True, text=True, check=False, cwd=CLONE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def names(path: Path) -> set[str]:
    """The packages of a file of requirements."""
    found = set()
    for line in path.read_text().splitlines():
        name = re.match(r"[\w-]+(\[[\w,]+\])?", line)
        if name:
            found.add(name[0])
    return found


def test_the_definition_makes_a_build_context(tmp_path: Path) -> None:
    """Judged by ansible-builder's own schema; the image itself takes a registry."""
    builder("create", "-f", str(DEFINITION), "-c", str(tmp_path), "--output-filename", "Containerfile")
    text = (tmp_path / "Containerfile").read_text()
    definition = yaml.safe_load(DEFINITION.read_text())
    assert definition["images"]["base_image"]["name"] in text
    (collection,) = yaml.safe_load((tmp_path / "_build/requirements.yml").read_text())["collections"]
    assert collection["name"] == f"{yaml.safe_load((CLONE / 'galaxy.yml').read_text())['repository']}.git"
    assert names(tmp_path / "_build/requirements.txt") == names(CLONE / "requirements-openshift.txt")
    # What the collection itself says, and docs/execution-environment.yml repeats.
    (core,) = re.findall(r"^ansible-core(.*)$", (CLONE / "requirements.txt").read_text(), re.M)
    assert definition["dependencies"]["ansible_core"]["package_pip"] == f"ansible-core{core}"


def test_the_collection_says_what_it_needs() -> None:
    found = yaml.safe_load(builder("introspect", str(CLONE / ".collections")))
    python = {line.split(" ")[0] for line in found["python"]}
    # ansible-core is the environment's own, and brings PyYAML.
    assert python == names(CLONE / "requirements.txt") - {"ansible-core", "PyYAML"}
    assert any("platform:rpm" in line for line in found["system"])
