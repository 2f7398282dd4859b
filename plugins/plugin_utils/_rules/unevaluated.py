# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Explains why variables cannot be evaluated: which variable is missing, and the way to it.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem

# What a secret has before the name of the variable that it is for.
SECRET = "vault_"
_UNDEFINED = re.compile(r"'(\w+)' is undefined")
_TEMPLATE = re.compile(r"\{[{%](.*?)[}%]\}", re.S)
_NAME = re.compile(r"\b[A-Za-z_]\w*")


@dataclass(frozen=True)
class Failure:
    """A variable that could not be evaluated: what was written, and what the engine of templates said."""

    variable: str
    written: Any
    said: str


def unevaluated(failures: Sequence[Failure], available: Mapping[str, Any]) -> list[Problem]:
    """One problem for each cause: what fails only since another variable of these fails is not said again."""
    failing = {failure.variable for failure in failures}
    problems = []
    for failure in failures:
        match = _UNDEFINED.search(failure.said)
        if match is None:
            if not _names_in(failure.written) & (failing - {failure.variable}):
                problems.append(Problem(failure.variable, f"it cannot be evaluated: {failure.said}"))
            continue
        way = _way(failure.written, match[1], available)
        if failing.intersection(way):
            continue
        by = f" by way of {' and '.join(way)}" if way else ""
        # A secret is not meant to be the variable that it is for, whose name it has.
        others = [name for name in available if name != match[1].removeprefix(SECRET)]
        close = difflib.get_close_matches(match[1], others, n=1, cutoff=0.8)
        hint = f"Did you mean {close[0]}?" if close else "Set it, or take it out."
        problems.append(Problem(failure.variable, f"it uses the variable {match[1]}{by}, which is not set. {hint}"))
    return problems


def _names_in(written: Any) -> set[str]:
    """Every name in a value's templates, those of filters and the like among them."""
    if isinstance(written, Mapping):
        return {name for item in [*written, *written.values()] for name in _names_in(item)}
    if isinstance(written, (list, tuple)):
        return {name for item in written for name in _names_in(item)}
    templates = _TEMPLATE.findall(written) if isinstance(written, str) else []
    return {name for template in templates for name in _NAME.findall(template)}


def _way(written: Any, wanted: str, available: Mapping[str, Any]) -> list[str]:
    """The variables by way of which a value uses another one; none when it names it itself, or when nobody can say."""
    ways: list[tuple[list[str], set[str]]] = [([], _names_in(written))] if wanted not in _names_in(written) else []
    seen: set[str] = set()
    while ways:
        way, names = ways.pop(0)
        for name in sorted(names.intersection(available) - seen):
            seen.add(name)
            further = _names_in(available[name])
            if wanted in further:
                return [*way, name]
            ways.append(([*way, name], further))
    return []
