# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which cases are drawn by chance, and how many: for tests that damage, kill, or try whatever Hypothesis thinks of.

SUPERSONIC_SEED says which: any text, of which each draws other cases, or `random` for one that nobody knows before. By
default it is 1, so that a test fails for a change and not for its draw. A test that fails prints the seed.

SUPERSONIC_FUZZ_CASES says how many times as many as usual (1).
"""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis.strategies import SearchStrategy

_GIVEN = os.environ.get("SUPERSONIC_SEED") or "1"
# All processes of one run of pytest-xdist draw the same cases.
_NEW = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(random.SystemRandom().randrange(1 << 32))
SEED = _NEW if _GIVEN == "random" else _GIVEN
_TIMES = float(os.environ.get("SUPERSONIC_FUZZ_CASES") or "1")

Test = Callable[..., None]


def cases(usual: int, least: int = 1) -> int:
    """How many cases are tried where so many are usual; least: below which a test says nothing."""
    return max(round(usual * _TIMES), least)


def dice(*names: object) -> random.Random:
    """For one test; names: what tells it from others that are not to have the same draw."""
    print(f"SUPERSONIC_SEED={SEED}")
    return random.Random(" ".join((*map(str, names), SEED)))


def drawn(usual: int, *strategies: SearchStrategy[Any], least: int = 1) -> Callable[[Test], Test]:
    """Hypothesis' given, for so many cases: the same ones for the same seed, whatever earlier runs have found."""
    chosen = settings(
        max_examples=cases(usual, least), deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def noted(*arguments: Any, **named: Any) -> None:
            note(f"SUPERSONIC_SEED={SEED}")
            test(*arguments, **named)

        return seed(SEED)(chosen(given(*strategies)(noted)))

    return decorate
