# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What fails a run of playbooks/drift.yml."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import to_bool

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE


def report_of(*, drift: bool = False, reachable: bool = True, unknown: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"drift": drift, "reachable": reachable, "unknown": unknown}


RIGHT = report_of()
DRIFT = report_of(drift=True)
AWAY = report_of(reachable=False)
PARTLY = report_of(unknown=("pods: may not be listed",))


@pytest.mark.parametrize(
    ("options", "failing"),
    [
        ({}, []),
        ({"drift_fail": True}, [DRIFT, AWAY, PARTLY]),
        # As -e drift_fail=true has it.
        ({"drift_fail": "true"}, [DRIFT, AWAY, PARTLY]),
        ({"drift_fail": True, "drift_fail_unknown": False}, [DRIFT, AWAY]),
        ({"drift_fail": True, "drift_fail_unknown": "false"}, [DRIFT, AWAY]),
        ({"drift_fail_unknown": True}, []),
    ],
)
def test_what_fails_a_run(options: dict[str, Any], failing: list[dict[str, Any]]) -> None:
    """By the playbook's own condition."""
    plays = yaml.safe_load((CLONE / "playbooks/drift.yml").read_text())
    # Behind the logout.
    play = plays[-1]
    (task,) = play["tasks"]
    environment = jinja2.Environment()
    environment.filters["bool"] = to_bool
    fails = environment.compile_expression(task["when"])
    given = {name: play["vars"][name] for name in ("drift_fail", "drift_fail_unknown")}
    cases = [RIGHT, DRIFT, AWAY, PARTLY]
    assert [each for each in cases if fails(**{**given, **options}, __drift_found=each)] == failing
