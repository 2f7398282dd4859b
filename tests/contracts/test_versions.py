# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files name the releases of ansible-core that tests run with, and ansible-test is told of the packages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.plugin_utils._direct import module_process
from ansible_collections.fastml.supersonic.tests.versions.run import VERSIONS

CLONE = Path(__file__).resolve().parents[2]
REQUIREMENTS = CLONE / "requirements.txt"
CONSTRAINTS = (CLONE / "constraints.txt").read_text()


def releases() -> set[tuple[int, int]]:
    """The releases that the tests run with: that of Debian's Python in constraints.txt, and those of tests/versions."""
    (pinned,) = re.findall(r"^ansible-core==(\d+)\.(\d+)\.\d+; python_version < \"3.13\"$", CONSTRAINTS, re.M)
    return {(int(pinned[0]), int(pinned[1])), *(tuple(map(int, version.name.split("."))) for version in VERSIONS)}


def test_each_python_gets_the_release_that_is_tested_with_it() -> None:
    pins = dict(re.findall(r"^ansible-core==([\d.]+); python_version [=>]= \"([\d.]+)\"$", CONSTRAINTS, re.M))
    assert pins == {version.core: ".".join(version.python.split(".")[:2]) for version in VERSIONS}


def test_what_is_tested_is_what_is_promised() -> None:
    ((low, high),) = re.findall(r"^ansible-core>=2\.(\d+),<2\.(\d+)$", REQUIREMENTS.read_text(), re.M)
    assert releases() == {(2, minor) for minor in range(int(low), int(high))}
    runtime = yaml.safe_load((CLONE / "meta/runtime.yml").read_text())
    assert runtime["requires_ansible"] == f">=2.{low}.0,<2.{high}.0"
    roles = [yaml.safe_load(path.read_text())["galaxy_info"] for path in CLONE.glob("roles/*/meta/main.yml")]
    assert roles
    assert {role["min_ansible_version"] for role in roles} == {f"2.{low}"}


@pytest.mark.parametrize(
    ("release", "known"), [*(((*pair, 0), True) for pair in sorted(releases())), ((2, 22, 0), False)]
)
def test_modules_run_within_a_task_only_with_releases_that_are_tested(
    release: tuple[int, int, int], known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_process, "__version__", ".".join(map(str, release)))
    assert module_process.known() == known


@pytest.mark.parametrize("level", ["unit", "integration"])
def test_ansible_test_installs_what_the_collection_needs(level: str) -> None:
    """ansible-test reads the file by itself, so that it cannot refer to another one."""

    def packages(path: Path) -> set[str]:
        return {line for line in path.read_text().splitlines() if not line.startswith("#")}

    needed = {line for line in packages(REQUIREMENTS) if not line.startswith("ansible-core")}
    assert needed <= packages(CLONE / "tests" / level / "requirements.txt")
