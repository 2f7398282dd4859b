# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks numbers against the limits in the files of their roles.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, Variables

Limits = Mapping[str, tuple[float, float | None]]
# Why a limit is where it is, where that is not plain.
REASONS = {
    "model_repository_keep": (
        ", since the release that is served and the one before it, which a server that starts late may still want, "
        "always stay"
    ),
}


def check_limits(variables: Variables, limits: Limits) -> Iterator[Problem]:
    """Compare numbers with their smallest and, where there is one, largest value."""
    for name, (smallest, largest) in limits.items():
        value = variables.get(name)
        if value is None:
            continue
        if float(value) < smallest:
            yield Problem(name, f"it has to be {smallest} or more{REASONS.get(name, '')}.", value)
        elif largest is not None and float(value) > largest:
            yield Problem(name, f"it has to be {largest} or less.", value)
