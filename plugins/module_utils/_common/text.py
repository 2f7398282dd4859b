# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Helpers for numbers and lists in messages.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterable


def counted(number: int, thing: str) -> str:
    """`1 node`, `2 nodes`: of words that take an s."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def are(number: int) -> str:
    return "is" if number == 1 else "are"


def all_of(words: Iterable[str]) -> str:
    """Words with commas and an "and"; nothing of none."""
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
