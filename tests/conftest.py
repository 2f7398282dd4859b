# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the clone importable as ansible_collections.fastml.supersonic, run the longest files first, mark what draws
random cases, and say at the end which tests were still running.

How long each file takes is recorded below .local/tests at the end of a run. A fresh clone begins with durations.json
beside this file, a copy of such a record, which only has to be about right: it decides the order and nothing else.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CLONE / ".collections"))

from ansible_collections.fastml.supersonic.tests.harness.environment import use_own_environment

use_own_environment()

TESTS = CLONE / "tests"
RECORD = CLONE / ".local" / "tests" / "durations.json"
CHANCE = "ansible_collections.fastml.supersonic.tests.harness.chance"
_seconds: Counter[str] = Counter()
_running: set[str] = set()


def _recorded() -> dict[str, float]:
    """Seconds by file, relative to tests: of this clone, else of the file that the clone came with."""
    found: dict[str, float] = {}
    for path in (TESTS / "durations.json", RECORD):
        if path.is_file():
            found |= json.loads(path.read_text())
    return found


def pytest_configure(config: pytest.Config) -> None:
    # Here, since ansible-test has a configuration of its own.
    config.addinivalue_line("markers", "random: its file draws cases by tests/harness/chance.py; set by itself")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first, so that none is left over when the others are done; unknown files come first. Tests of
    files that use tests/harness/chance.py get the mark `random`."""
    for item in items:
        names = vars(getattr(item, "module", None) or object).values()
        if any(CHANCE in (getattr(value, "__name__", ""), getattr(value, "__module__", "")) for value in names):
            item.add_marker("random")
    recorded = _recorded()
    names = {path: os.path.relpath(path, TESTS) for path in {item.path for item in items}}
    items.sort(key=lambda item: -recorded.get(names[item.path], float("inf")))


def pytest_runtest_logstart(nodeid: str) -> None:
    _running.add(nodeid)


def pytest_runtest_logfinish(nodeid: str) -> None:
    _running.discard(nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """After an interruption, by whoever waited too long: what it waited for."""
    for nodeid in sorted(_running):
        terminalreporter.write_line(f"STILL RUNNING {nodeid}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    path = (CLONE / report.nodeid.partition("::")[0]).resolve()
    if path.is_relative_to(TESTS):
        _seconds[path.relative_to(TESTS).as_posix()] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Record the seconds of each file, in the main process of pytest-xdist."""
    if hasattr(session.config, "workerinput") or not _seconds:
        return
    known = json.loads(RECORD.read_text()) if RECORD.is_file() else {}
    known |= {name: round(seconds, 1) for name, seconds in _seconds.items()}
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
