# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of mutations fits the files and the tests that it names; `make mutations` tries them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests.harness.collection import packages
from ansible_collections.fastml.supersonic.tests.harness.marks import marks
from ansible_collections.fastml.supersonic.tests.mutations.run import CLONE, Mutation, read

MUTATIONS = read()
# It only grows: raised with each new entry.
LEAST = 232


def test_there_are_many_and_each_has_a_name_of_its_own() -> None:
    assert len({mutation.id for mutation in MUTATIONS}) == len(MUTATIONS) >= LEAST


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
        assert path.startswith(("tests/unit/", "tests/contracts/", "tests/golden/", "tests/services/")), test
        written = marks(CLONE / path)[name.partition("[")[0]]
        assert not any("thorough" in mark or "alone" in mark for mark in written), test


def test_each_role_package_and_file_of_rules_has_one() -> None:
    rules = (CLONE / "plugins/plugin_utils/_rules").glob("*.py")
    places = [
        *(CLONE / "roles").glob("*/"),
        *packages("plugins/module_utils", "plugins/plugin_utils"),
        *rules,
        CLONE / "playbooks",
    ]
    names = {str(path.relative_to(CLONE)) for path in places}
    changed = {str(parent) for mutation in MUTATIONS for parent in (Path(mutation.file), *Path(mutation.file).parents)}
    assert len(names) > 60
    assert names <= changed, names - changed
