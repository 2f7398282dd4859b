# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates over modules and module_utils."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CLONE = Path(__file__).resolve().parents[2]
# Of the collection, and of the one for developers.
COLLECTIONS = {CLONE / "plugins": "fastml.supersonic", CLONE / "dev/plugins": "fastml.supersonic_dev"}
MODULES = sorted(path for plugins in COLLECTIONS for path in (plugins / "modules").glob("*.py"))
UTILS = sorted(path for plugins in COLLECTIONS for path in (plugins / "module_utils").rglob("*.py"))


def documentation(path: Path) -> dict[str, Any]:
    found = re.search(r'^ *DOCUMENTATION = r"""\n(.*?)^"""', path.read_text(), re.M | re.S)
    assert found, f"{path.name} has no DOCUMENTATION"
    parsed: dict[str, Any] = yaml.safe_load(found[1])
    return parsed


@pytest.mark.parametrize("path", UTILS, ids=lambda path: str(path.relative_to(CLONE)))
def test_module_utils_are_private(path: Path) -> None:
    package = path.parts[path.parts.index("module_utils") + 1]
    assert package.startswith("_")
    assert path.name != package
    if path.stem != "errors":
        assert "PRIVATE to the collection" in path.read_text()


def test_module_utils_import_without_ansible() -> None:
    """And without any library that the controller may lack: only what a call really needs is imported, when it needs
    it. PyYAML comes with Ansible."""
    names = [
        f"ansible_collections.{collection}.plugins.{'.'.join(path.relative_to(plugins).with_suffix('').parts)}"
        for plugins, collection in COLLECTIONS.items()
        for path in UTILS
        if path.is_relative_to(plugins)
    ]
    script = "import sys, importlib\n" + "".join(f"importlib.import_module({name!r})\n" for name in names)
    script += (
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded & {'ansible', 'kubernetes', 'tritonclient', 'grpc', 'onnx', 'sklearn'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(CLONE / ".collections"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_modules_say_what_they_promise(path: Path) -> None:
    own = documentation(path)
    # namespace.collection.file, and where a file has several a name after it
    names = [name.split(".")[2] for name in own.get("extends_documentation_fragment", [])]
    shared = [documentation(CLONE / "plugins/doc_fragments" / f"{name}.py") for name in names]
    attributes = {name for part in (own, *shared) for name in part.get("attributes", {})}
    assert {"check_mode", "diff_mode", "idempotent"} <= attributes


def test_action_group_names_every_module_that_has_a_connection() -> None:
    groups = yaml.safe_load((CLONE / "meta/runtime.yml").read_text())["action_groups"]
    connected = [path.stem for path in MODULES if "CONNECTION_SPEC" in path.read_text()]
    assert sorted(groups["supersonic"]) == connected


def test_nothing_is_left_to_do() -> None:
    word = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
    for folder in ("plugins", "roles", "playbooks", "dev", "tests"):
        for path in (CLONE / folder).rglob("*"):
            if path.suffix in (".py", ".yml", ".j2") and path != Path(__file__):
                assert not word.search(path.read_text()), path
