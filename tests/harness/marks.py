# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Marks of tests, read without running them."""

from __future__ import annotations

import ast
import functools
from pathlib import Path


@functools.cache
def marks(path: Path) -> dict[str, list[str]]:
    """The tests of a file, each with the decorators that are written at it, and with pytestmark, which is for all."""
    body = ast.parse(path.read_text()).body
    of_all = [
        ast.unparse(item.value)
        for item in body
        if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "pytestmark"
    ]
    return {
        item.name: [*of_all, *(ast.unparse(decorator) for decorator in item.decorator_list)]
        for item in body
        if isinstance(item, ast.FunctionDef) and item.name.startswith("test_")
    }
