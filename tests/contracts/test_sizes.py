# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files and functions stay short, names of tasks begin with a verb, and docstrings say what they are about.

The numbers are those of today: a change may lower them, and then lowers them here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CLONE = Path(__file__).resolve().parents[2]
FILE_LINES, FUNCTION_LINES = 500, 60
REASON = "Long because"
# Files above FILE_LINES that do not say why, and functions above FUNCTION_LINES.
LONG_FILES = {"plugins": 22, "dev": 1, "tests": 17}
LONG_FUNCTIONS = {"plugins": 20, "dev": 0, "tests": 12}
# First words of public docstrings that leave open what is meant, and how often they are there.
VAGUE = {"What", "Who", "Whoever", "Where", "How", "Those", "Somebody", "Nobody"}
VAGUE_DOCSTRINGS = 16
VERBS = re.compile(
    "(?:Apply|Back|Begin|Build|Check|Choose|Collect|Combine|Compare|Compose|Compute|Copy|Create|Deploy|Describe|Disable|"
    "Download|End|Fail|Fetch|Fill|Find|Get|Go|Install|Link|List|Load|Log|Make|Measure|Move|Pause|Perform|Predict|Publish|"
    "Query|Read|Record|Remove|Report|Restore|Resume|Revoke|Roll|Run|Send|Show|Simulate|Skip|Start|Stop|Store|Take|Tell|"
    r"Train|Validate|Verify|Wait|Warn|Write)\b"
)


def files(folder: str) -> Iterator[Path]:
    """Python files of a folder, each once: actions that are links to one file are not counted again."""
    return (path for path in sorted((CLONE / folder).rglob("*.py")) if not path.is_symlink())


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_long_files_do_not_become_more() -> None:
    for folder, most in LONG_FILES.items():
        found = [
            str(path.relative_to(CLONE))
            for path in files(folder)
            if len(path.read_text().splitlines()) > FILE_LINES and REASON not in path.read_text()[:2000]
        ]
        assert len(found) == most, f"{len(found)} files are longer than {FILE_LINES} lines, split one: {found}"


def test_long_functions_do_not_become_more() -> None:
    for folder, most in LONG_FUNCTIONS.items():
        found = [
            f"{path.relative_to(CLONE)}:{node.name}"
            for path in files(folder)
            for node in functions(path)
            if length(node) > FUNCTION_LINES
        ]
        assert len(found) == most, f"{len(found)} functions are longer than {FUNCTION_LINES} lines: {found}"


def test_vague_docstrings_do_not_become_more() -> None:
    found = []
    for path in files("plugins"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            words = (ast.get_docstring(node) or "").split()
            if not node.name.startswith("_") and words and words[0] in VAGUE:
                found.append(f"{path.relative_to(CLONE)}:{node.name}")
    assert len(found) == VAGUE_DOCSTRINGS, f"{len(found)} public docstrings begin with {sorted(VAGUE)}: {found}"


def names(tasks: Any) -> Iterator[str]:
    """Names of plays, blocks and tasks, at any depth."""
    # A file of variables below a folder of playbooks has no list.
    for task in tasks if isinstance(tasks, list) else []:
        if "name" in task:
            yield str(task["name"])
        for key in ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always"):
            yield from names(task.get(key))


def test_names_of_tasks_begin_with_a_verb() -> None:
    found = {
        f"{path.relative_to(CLONE)}: {name}"
        for folder in (CLONE, CLONE / "dev")
        for pattern in ("playbooks/**/*.yml", "roles/*/tasks/*.yml", "roles/*/handlers/*.yml")
        for path in folder.glob(pattern)
        for name in names(yaml.safe_load(path.read_text()))
        if not VERBS.match(name.strip())
    }
    assert not found, "begin with a verb, which VERBS lists: " + "; ".join(sorted(found))
