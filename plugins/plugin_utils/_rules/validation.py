# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All rules that relate variables to each other, and warnings.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Collection, Iterable
from types import ModuleType
from typing import Any

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.golden_requests import check_files
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.limits import check_limits
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, ReadVariables, Variables

Check = Callable[[ReadVariables], Iterable[Problem]]


@functools.cache
def _rules() -> tuple[ModuleType, ...]:
    """All files of rules. Each may have CHECKS of variables, FILE_CHECKS of files that they name, CAUTIONS about valid
    settings that are risky, and LIMITS of numbers."""
    package = __name__.rpartition(".")[0]
    names = sorted(file[:-3] for file in os.listdir(os.path.dirname(__file__)) if file.endswith(".py"))
    return tuple(importlib.import_module(f"{package}.{name}") for name in names)


def _all(name: str) -> list[Any]:
    return [item for module in _rules() for item in getattr(module, name, ())]


def _check_limits(variables: Variables) -> Iterable[Problem]:
    limits = {variable: pair for module in _rules() for variable, pair in getattr(module, "LIMITS", {}).items()}
    return check_limits(variables, limits)


def check_relations(variables: Variables, *, files: bool = True, unjudged: Collection[str] = ()) -> list[Problem]:
    """Everything that a type cannot say. Only variables that are there, and of the right type, are looked at.

    files: whether files and folders that are named have to be there already; unjudged: variables that are set, but are
    wrong themselves, so that nobody may take them for missing.
    """
    checks: list[Check] = [_check_limits, *_all("CHECKS"), *(_all("FILE_CHECKS") if files else [])]
    return [problem for check in checks for problem in _judged(check, variables, unjudged)]


def absent_files(variables: Variables, unjudged: Collection[str] = ()) -> list[Problem]:
    """Files and folders that variables of an instance name and that are not there; see check_relations."""
    return _judged(check_files, variables, unjudged)


def _judged(check: Check, variables: Variables, unjudged: Collection[str]) -> list[Problem]:
    read = ReadVariables(variables)
    read.unjudged = unjudged
    problems: list[Problem] = []
    try:
        problems.extend(check(read))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Something that the types above let through. Whatever else is wrong has to be heard all the same.
        problems.append(Problem(read.last, f"it cannot be judged: {error}. Compare it with its role's README."))
    return problems


def cautions(variables: Variables) -> list[str]:
    """Warnings: valid settings that are risky."""
    return [text for caution in _all("CAUTIONS") for text in caution(variables)]
