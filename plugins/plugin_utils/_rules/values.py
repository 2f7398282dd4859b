# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks types, choices and keys of values against the argument specifications of roles.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules import (
    renamed_variables,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import INDEX, Problem, expand

# What Ansible takes for false where it converts a text.
_FALSE = {"false", "no", "off", "n", "f", "0", "0.0", ""}


def check_value(variable: str, value: Any, spec: Mapping[str, Any], path: str = "") -> Iterator[Problem]:
    """Compare a value with its option in an argument specification of Ansible: type, choices, elements, suboptions.

    Stricter than Ansible itself: a text is no boolean (in a template "false" is true), a number is no text, and a path
    says where it begins (a module takes a relative one from the folder of the playbook, a lookup from elsewhere).
    """
    kind = str(spec.get("type", "str"))
    expected = {
        "bool": "true or false, without quotes",
        "dict": "a dictionary",
        "float": "a number",
        "int": "a whole number",
        "list": "a list",
        "path": "a path",
        "str": "a text; put it in quotes",
    }.get(kind, kind)
    if not is_kind(value, kind):
        typed = "" if path else _typed(variable, value, kind)
        yield Problem(variable, f"it has to be {expected}{typed}.", value, path)
        return
    # An empty one stands for none.
    if kind == "path" and value and not os.path.isabs(expand(value)):
        yield Problem(
            variable,
            "a relative path could mean several places. Say where it begins, such as "
            f'"{{{{ inventory_dir }}}}/../{value}" for a place beside the inventory, $PWD/{value} on the command line, '
            "or a path that begins with / or ~/.",
            value,
            path,
        )
        return
    choices = spec.get("choices")
    if kind == "list":
        # As in Ansible, choices and suboptions of a list are those of its items.
        item_spec = {"type": spec.get("elements", "raw"), "options": spec.get("options"), "choices": choices}
        for index, item in enumerate(value):
            yield from check_value(variable, item, item_spec, f"{path}[{index}]")
    elif choices and value not in choices:
        close = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        listed = ", ".join(str(choice) for choice in choices)
        yield Problem(variable, f"it has to be one of {listed}.{hint}", value, path)
    elif kind == "dict" and spec.get("options"):
        yield from check_options(variable, value, spec["options"], path)


def _typed(variable: str, value: Any, kind: str) -> str:
    """The notation of a value on the command line, where NAME=VALUE is always a string."""
    if not isinstance(value, str) or kind not in ("bool", "list", "dict"):
        return ""
    wanted = {
        "bool": "false" if value.lower() in _FALSE else "true",
        "list": json.dumps([value]),
        "dict": "{...}",
    }[kind]
    return f"; on the command line that is -e '{{\"{variable}\": {wanted}}}'"


def check_options(
    variable: str, value: Mapping[str, Any], options: Mapping[str, Any], path: str = ""
) -> Iterator[Problem]:
    """The same for the keys of a dictionary: unknown ones, missing ones, and the value of each."""
    yield from unknown_keys(variable, value, options, path)
    for key, spec in options.items():
        if value.get(key) is not None:
            yield from check_value(variable, value[key], spec, f"{path}.{key}")
        elif spec.get("required"):
            yield Problem(variable, f"the key {key} is missing.", None, path)


def unknown_keys(
    variable: str, value: Mapping[str, Any], known: Iterable[str], path: str, *, secret: bool = False
) -> Iterator[Problem]:
    known = sorted(known)
    by_lower_case = {name.lower(): name for name in known}
    listed = f"There are {', '.join(known)}." if len(known) <= 12 else "The documentation lists all."
    for key in sorted((key for key in value if key not in known), key=str):
        old = renamed_variables.explanation(f"{variable}{INDEX.sub('[]', path)}.{key}", value)
        if old:
            yield Problem(variable, old, value[key], f"{path}.{key}", secret)
            continue
        close = difflib.get_close_matches(str(key).lower(), by_lower_case, n=1)
        hint = f"Did you mean {by_lower_case[close[0]]}?" if close else listed
        yield Problem(variable, f"there is no such key. {hint}", value[key], f"{path}.{key}", secret)


def is_kind(value: Any, kind: str) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "int":
        return (isinstance(value, int) and not isinstance(value, bool)) or (
            # -e name=3 on the command line gives a text.
            isinstance(value, str) and re.fullmatch(r"-?[0-9]+", value) is not None
        )
    if kind == "float":
        return (
            is_kind(value, "int")
            or isinstance(value, float)
            or (isinstance(value, str) and re.fullmatch(r"-?[0-9]*\.[0-9]+", value) is not None)
        )
    if kind in ("str", "path"):
        return isinstance(value, str)
    if kind == "list":
        return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    if kind == "dict":
        return isinstance(value, Mapping)
    return True
