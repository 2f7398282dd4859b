# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports and tables of drift."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._drift.changed_fields import finding
from ansible_collections.fastml.supersonic.plugins.plugin_utils._reports.drift_differences import report, table

EDITED = finding("error", "desired-live", "edited", "Deployment/a", "x was set", "Undo it.", desired=1, live=2)
NOTED = finding("note", "desired-live", "kept", "PersistentVolumeClaim/a", "it is kept")


def one(*findings: dict[str, Any], unknown: tuple[str, ...] = ()) -> dict[str, Any]:
    return report([{"findings": list(findings), "unknown": list(unknown)}, {}], "main", "cms", 0.0)


@pytest.mark.parametrize(
    ("made", "drift", "row"),
    [
        (one(), False, "main      none   0       0         0"),
        (one(NOTED), False, "main      none   0       0         0"),
        (one(NOTED, EDITED), True, "main      yes    1       0         0"),
        (one(unknown=("secrets", "secrets")), False, "main      none found  0       0         1"),
        (report([], "main", "cms", 0.0, "nobody there"), False, "main      not compared  -       -         -"),
    ],
)
def test_an_instance_is_a_line(made: dict[str, Any], drift: bool, row: str) -> None:
    assert made["drift"] is drift
    assert made["made"] == "1970-01-01T00:00:00Z"
    assert table([made]).splitlines()[1] == row


def test_what_two_parts_have_found_is_told_once() -> None:
    made = report([{"findings": [EDITED]}, {"findings": [dict(EDITED), NOTED]}], "main", "cms", 0.0)
    assert made["findings"] == [EDITED, NOTED]


def test_errors_come_first_with_what_to_do() -> None:
    lines = table([one(NOTED, EDITED, unknown=("secrets",))]).splitlines()
    assert lines[2:] == [
        "",
        "main (cms)",
        "  error    desired-live  Deployment/a: x was set",
        "           desired: 1; live: 2",
        "           Undo it.",
        "  note     desired-live  PersistentVolumeClaim/a: it is kept",
        "  not known  secrets",
    ]


def test_of_long_texts_the_first_line_that_differs_is_shown() -> None:
    text = "\n".join(f"line {number}" for number in range(200))
    changed = finding(
        "error", "desired-live", "edited", "ConfigMap/a", "t", desired=text, live=text.replace("line 7\n", "x\n")
    )
    assert "desired (line 8): line 7; live: x" in table([one(changed)])
    assert "line 9" not in table([one(changed)])
    longer = finding("error", "desired-live", "edited", "ConfigMap/a", "t", desired="a\nb\n", live="a\nb\n\nc\n")
    assert "live (line 3, 2 more than the other): c" in table([one(longer)])
    end = finding("error", "desired-live", "edited", "ConfigMap/a", "t", desired="a\nb\n", live="a\nb")
    assert "the same but for empty ones at the end" in table([one(end)])


def test_of_lists_what_one_of_them_has_is_shown() -> None:
    changed = finding("error", "desired-live", "edited", "D/a", "t", desired=["--a", "--b"], live=["--a", "--c", "--d"])
    assert 'desired alone has: ["--b"]; live alone has: ["--c", "--d"]' in table([one(changed)])
    less = finding("error", "desired-live", "edited", "D/a", "t", desired=["--a", "--b"], live=["--a"])
    assert table([one(less)]).splitlines()[5] == '           desired alone has: ["--b"]'
