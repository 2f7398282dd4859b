# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of a file that wait most of their time, run at the same time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Generic, TypeVar

import pytest

Given = TypeVar("Given")
Outcomes = dict[str, Future[None]]


class SideBySide(Generic[Given]):
    """Decorates tests that are given one thing of their own, each in a thread.

    The file has a fixture `outcomes` of module scope that yields what `run` does. A test fails with what its thread
    raised.
    """

    def __init__(self, at_a_time: int) -> None:
        self._at_a_time = at_a_time
        self._tests: dict[str, Callable[[Given], None]] = {}

    def __call__(self, test: Callable[[Given], None]) -> Callable[[Outcomes], None]:
        name = test.__name__
        self._tests[name] = test

        @functools.wraps(test)
        def outcome(outcomes: Outcomes) -> None:
            outcomes[name].result()

        # pytest asks for the fixtures of what is wrapped otherwise.
        del outcome.__wrapped__  # type: ignore[attr-defined]
        return outcome

    @contextmanager
    def run(
        self, request: pytest.FixtureRequest, given: Callable[[str], AbstractContextManager[Given]]
    ) -> Iterator[Outcomes]:
        """Start the tests of this file that were chosen. given: what a test is given, by its name."""

        def work(name: str) -> None:
            with given(name) as thing:
                self._tests[name](thing)

        chosen: list[Any] = [item for item in request.session.items if item.path == request.path]
        names = dict.fromkeys(item.originalname for item in chosen if item.originalname in self._tests)
        with ThreadPoolExecutor(self._at_a_time) as pool:
            yield {name: pool.submit(work, name) for name in names}
