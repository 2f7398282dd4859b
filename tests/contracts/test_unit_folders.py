# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests are found by the path of what they test: those of plugins/*/_PACKAGE/FILE.py are in
tests/unit/PACKAGE/test_FILE*.py, those of a module in tests/unit/modules/test_MODULE.py or beside the package that does
its work."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests.harness.collection import packages

CLONE = Path(__file__).resolve().parents[2]
UNIT = CLONE / "tests" / "unit"
# Folders of packages, by name without the underscore.
PACKAGES = {
    path.name.removeprefix("_"): path
    for path in packages("plugins/module_utils", "plugins/plugin_utils", "dev/plugins/module_utils")
}
# Of what is no file of a package: templates and variables of roles, and playbooks.
OTHERS = {"roles", "playbooks"}
# Each is about several files of its package, or about tests.
WITHOUT_FILE = {
    "local_cluster/test_models_key.py",
    "local_cluster/test_supervisor.py",
    "models/test_benchmark.py",
    "rules/test_wrong_inventories.py",
}
TESTS = sorted(path for path in UNIT.glob("*/test_*.py") if path.parent.name not in OTHERS)


def test_each_package_has_a_folder_of_tests() -> None:
    folders = {path.name for path in UNIT.iterdir() if list(path.glob("test_*.py"))}
    assert folders - OTHERS - {"modules"} <= set(PACKAGES)
    assert set(PACKAGES) - folders == {"envoy"}, "tests of tokens are in modules, of validation in services"


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(UNIT)))
def test_a_file_of_tests_is_named_like_what_it_tests(path: Path) -> None:
    if path.parent.name == "modules":
        modules = [CLONE / "plugins/modules", CLONE / "dev/plugins/modules"]
        names = {file.stem for folder in modules for file in folder.glob("*.py")}
    else:
        names = {file.stem for file in PACKAGES[path.parent.name].glob("*.py")}
    tested = path.stem.removeprefix("test_")
    found = [name for name in names if tested == name or tested.startswith(f"{name}_")]
    assert bool(found) is (str(path.relative_to(UNIT)) not in WITHOUT_FILE), f"{path}: {sorted(names)}"
