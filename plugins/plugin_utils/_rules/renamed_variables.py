# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renamed and removed variables, with what replaces them.

Whoever renames or removes a variable, or a key of one, adds it here in the same change. An inventory with the old name
is then refused before anything changes, with what to write instead.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """The change of a name: renamed, or removed.

    version: the first one without the old name; new: the new name, a key's without its variable; why: sentences, for
    what was removed why and what to do instead, for what was renamed how the value differs, where it does.
    """

    version: str
    new: str = ""
    why: str = ""


_SIMULATOR = "The simulator is in the repository alone: its playbook dev/playbooks/simulate.yml takes"
# By variable, or for a key of a dictionary by VARIABLE.KEY (with indexes of lists left out: VARIABLE[].KEY).
CHANGES: dict[str, Change] = {
    "benchmark_simulation": Change("1.0.0", why=f"{_SIMULATOR} the same keys in simulate_pool."),
    "benchmark_autoscaler": Change("1.0.0", why=f"{_SIMULATOR} the inventory's variables of the role autoscaler."),
}


def explanation(name: str, present: Container[str] = (), changes: Mapping[str, Change] | None = None) -> str:
    """The change of a name as sentences; "" for a name that never existed.

    present: the names that are set beside it.
    """
    change = (CHANGES if changes is None else changes).get(name)
    if change is None:
        return ""
    if not change.new:
        return f"it was removed in fastml.supersonic {change.version}. {change.why}".strip()
    told = f"it was renamed to {change.new} in fastml.supersonic {change.version}."
    if change.new in present:
        told += f" {change.new} is set as well: take the old one out."
    return f"{told} {change.why}".strip()
