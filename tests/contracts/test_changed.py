# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tests `make test-changed` runs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests import changed


@pytest.mark.parametrize(
    ("file", "tests"),
    [
        ("README.md", []),
        ("plugins/module_utils/_kube/diff.py", ["tests/unit/kube"]),
        ("plugins/module_utils/_models/store.py", ["tests/services/model_repository", "tests/unit/models"]),
        ("plugins/modules/inference_check.py", ["tests/services/test_inference_check.py"]),
        ("tests/unit/kube/test_diff.py", ["tests/unit/kube/test_diff.py"]),
        ("dev/playbooks/local.yml", ["tests/services/playbooks", "tests/unit/playbooks"]),
    ],
)
def test_tests_belong_to_files(file: str, tests: list[str]) -> None:
    assert changed.tests_of([file]) == ["tests/contracts", *tests]


def test_a_file_within_a_folder_is_not_run_twice() -> None:
    files = ["plugins/module_utils/_kube/diff.py", "tests/unit/kube/test_diff.py"]
    assert changed.tests_of(files) == ["tests/contracts", "tests/unit/kube"]


def test_every_pattern_names_tests_that_are_there() -> None:
    """At least one of them, for a file that is there."""
    files = subprocess.run(
        ["git", "ls-files"], cwd=changed.CLONE, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for pattern, _tests in changed.TESTS:
        assert any(re.match(pattern, file) and len(changed.tests_of([file])) > 1 for file in files), pattern


def test_what_is_new_and_what_is_committed_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=tmp_path, check=True)

    git("init", "-q", "-b", "main")
    (tmp_path / "kept").write_text("1")
    (tmp_path / "edited").write_text("1")
    git("add", ".")
    git("commit", "-qm", "first")
    git("checkout", "-qb", "change")
    (tmp_path / "committed").write_text("1")
    git("add", ".")
    git("commit", "-qm", "second")
    (tmp_path / "edited").write_text("2")
    (tmp_path / "new").write_text("1")
    monkeypatch.setattr(changed, "CLONE", tmp_path)
    assert changed.changed("main") == ["committed", "edited", "new"]
