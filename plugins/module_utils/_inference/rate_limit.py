# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks that the endpoint enforces a rate limit, with many requests in parallel.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError

# More requests at once measure this machine, not the limit.
MOST_AT_ONCE = 1000


@dataclass(frozen=True)
class Limit:
    """So many requests at once, of which so many are answered (least to most) and the others refused."""

    requests: int
    least: int
    most: int
    connections: int = 1
    pause: float = 0.0


def parse_limit(entry: Mapping[str, t.Any], where: str) -> Limit:
    """The option limit of a target. Without a bound at least one request is answered, and at least one refused."""
    requests, connections = entry["requests"], entry.get("connections") or 1
    least = 1 if entry.get("answered_min") is None else entry["answered_min"]
    most = requests - 1 if entry.get("answered_max") is None else entry["answered_max"]
    if not 2 <= requests <= MOST_AT_ONCE:
        raise SupersonicError(f"{where}.requests is {requests}; it must be from 2 to {MOST_AT_ONCE}.")
    if not 1 <= connections <= requests:
        raise SupersonicError(f"{where}.connections is {connections}; it must be from 1 to requests ({requests}).")
    if not 0 <= least <= most < requests:
        raise SupersonicError(
            f"{where}: answered_min is {least} and answered_max is {most}; they must be in this order, and below "
            f"requests ({requests}), or nothing would show that there is a limit."
        )
    pause = entry.get("pause") or 0.0
    if pause < 0:
        raise SupersonicError(f"{where}.pause is {pause:g}; it must be at least 0.")
    return Limit(requests, least, most, connections, pause)
