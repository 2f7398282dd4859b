# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of mutations fits the files and the tests that it names; `make mutations` tries them."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests.mutations.run import CLONE, Mutation, read

MUTATIONS = read()


@functools.cache
def functions(path: Path) -> dict[str, list[str]]:
    """The tests of a file, each with the marks that are written at it."""
    return {
        item.name: [ast.unparse(decorator) for decorator in item.decorator_list]
        for item in ast.parse(path.read_text()).body
        if isinstance(item, ast.FunctionDef)
    }


@functools.cache
def module_marks(path: Path) -> list[str]:
    """Marks of all tests of a file."""
    return [
        ast.unparse(item.value)
        for item in ast.parse(path.read_text()).body
        if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "pytestmark"
    ]


def test_there_are_many_and_each_has_a_name_of_its_own() -> None:
    assert len({mutation.id for mutation in MUTATIONS}) == len(MUTATIONS) >= 60


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.id)
def test_a_mutation_fits_what_it_names(mutation: Mutation) -> None:
    # Raises where the text does not stand there once.
    mutation.applied((CLONE / mutation.file).read_text())
    assert mutation.tests
    for test in mutation.tests:
        path, _separator, name = test.partition("::")
        assert (CLONE / path).is_file(), test
        # One test, not a file in which any other failure would count, and one that needs seconds and no cluster.
        assert name, test
        assert path.startswith(("tests/unit/", "tests/contracts/", "tests/golden/")), test
        marks = [*module_marks(CLONE / path), *functions(CLONE / path)[name.partition("[")[0]]]
        assert not any("thorough" in mark or "alone" in mark for mark in marks), test
