# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A problem of an inventory, and helpers that several files of rules share.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Objects are called NAME-<part>, and a Deployment's pods get 17 characters more; 63 is the end.
LONGEST_NAME = 30
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# Services are called like the instance, and their names may not begin with a digit (RFC 1035).
SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
INDEX = re.compile(r"\[[0-9]+\]")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    variable: the inventory variable, or "" where none is at fault; path: where in its value, such as "[0].kind";
    value: what it is; message: a sentence that says what would be right; secret: whether the value is never shown.
    """

    variable: str
    message: str
    value: Any = None
    path: str = ""
    secret: bool = False

    def sentence(self, origin: str = "", *, hidden: bool = False) -> str:
        """The problem as the user reads it."""
        if not self.variable:
            return self.message
        value = "" if hidden or self.secret or self.value is None else f" is {_show(self.value)}"
        place = f" ({origin})" if origin else ""
        return f"{self.variable}{self.path}{value}{place}: {self.message}"


def _show(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 120 else text[:117] + "..."


def expand(path: str) -> str:
    """A path as Ansible's modules take it."""
    return os.path.expanduser(os.path.expandvars(path))


Variables = Mapping[str, Any]


class ReadVariables(dict[str, Any]):
    """Variables that know which of them was looked at last, and which are set besides."""

    last = ""
    unjudged: Collection[str] = ()

    def get(self, key: str, default: Any = None) -> Any:
        self.last = key
        return super().get(key, default)

    def lacks(self, key: str) -> bool:
        """Whether it is not set, or empty."""
        return not self.get(key) and key not in self.unjudged


def integers(variables: Variables, *names: str) -> list[int]:
    """The numbers, or nothing when one of them is not there."""
    values = [variables.get(name) for name in names]
    return [] if None in values else [int(value) for value in values if value is not None]


def missing_keys(name: str, value: Variables, *keys: str) -> Iterator[Problem]:
    for key in keys:
        if not value.get(key):
            yield Problem(name, f"the key {key} is missing.")


def folder_parts(folder: Any) -> tuple[str, ...]:
    """The parts of a path, the same for every way to write it."""
    return tuple(part for part in str(folder or "").split("/") if part not in ("", "."))
