# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks names of variables: misspelt, renamed, or of a role that is not used.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules import (
    renamed_variables,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.unevaluated import SECRET


def unknown_variables(
    names: Iterable[str],
    known: Iterable[str],
    prefixes: Iterable[str],
    *,
    given: Collection[str] = (),
    playbook: Collection[str] = (),
) -> list[Problem]:
    """Variables that no role knows although their prefix says they are meant for one, and names without such a prefix
    that are a slip away from a variable that exists. Of names that older versions had is said what has become of them.

    given: those of the command line; playbook: what the playbook itself takes from there. An inventory may well have
    others that begin alike.
    """
    names, known = set(names), {*known, *playbook}
    starts = tuple(f"{prefix}_" for prefix in prefixes)
    own = tuple(f"{name.partition('_')[0]}_" for name in playbook)
    problems: list[Problem] = []
    for name in sorted(names - known):
        if name.startswith(("_", "ansible_", SECRET)):
            continue
        old = renamed_variables.explanation(name, names)
        if old:
            problems.append(Problem(name, old))
            continue
        if name in given and name.startswith(own):
            close = difflib.get_close_matches(name, playbook, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"It has {', '.join(sorted(playbook))}."
            problems.append(Problem(name, f"this playbook has no such variable. {hint}"))
            continue
        ours = name.startswith(starts)
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.6 if ours else 0.88)
        if ours:
            hint = f"Did you mean {close[0]}?" if close else "Its role's README lists all variables."
            problems.append(Problem(name, f"no role knows this variable. {hint}"))
        elif close:
            problems.append(Problem(name, f"no role knows this variable. Did you mean {close[0]}?"))
    return problems
