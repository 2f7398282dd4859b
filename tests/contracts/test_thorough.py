# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of what `make test` leaves out is that of the marks, and names files that are there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def test_every_file_with_thorough_tests_has_a_row() -> None:
    rows = re.findall(r"^\| `([\w/.]+)` \| .+ \| .+ \|$", (TESTS / "README.md").read_text(), re.M)
    marked = {
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("test_*.py")
        if path != Path(__file__) and "pytest.mark.thorough" in path.read_text()
    }
    assert len(rows) == len(set(rows))
    assert set(rows) == marked


def test_what_the_table_names_is_there() -> None:
    text = (TESTS / "README.md").read_text()
    named = re.findall(r"`((?:cluster|services|unit|contracts)/[\w/.]+)`", text)
    assert len(named) > 30
    assert not [name for name in named if not (TESTS / name).exists()]
