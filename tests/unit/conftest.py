# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests need no root, no network and no program but the Python that runs them: whatever else they ask for is
refused, and fails the test. Tests that need it belong to tests/services."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.confinement import confined, judged


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """While files are imported, too."""
    with confined() as refusals:
        report = yield
    if refusals and report.outcome == "passed":
        report.outcome, report.longrepr = "failed", f"A unit test must not need {', '.join(refusals)}."
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, Any, Any]:
    with judged():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    with judged():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, Any, Any]:
    with judged():
        return (yield)
