# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parses a container command that starts tritonserver through a shell.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

SHELLS = {"sh", "bash", "dash", "ash", "zsh"}
PROGRAM = "tritonserver"
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


@dataclass
class Command:
    """The program and arguments of a container.

    program: tritonserver as it was called, "" where it was not found; flags: in their order, without dashes, None for
    one without a value; environment: what was set in front of it; others: further commands; shell: flags that only a
    shell can evaluate; words: arguments that are no flags.
    """

    program: str = ""
    flags: list[tuple[str, str | None]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    shell: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)


def parse(command: Sequence[str], arguments: Sequence[str]) -> Command:
    """Take the command and the arguments of a container apart."""
    words = [str(word) for word in (*command, *arguments)]
    if words and posixpath.basename(words[0]) in SHELLS:
        # What follows the script are its own parameters.
        script = next((words[place + 1] for place, word in enumerate(words[:-1]) if re.fullmatch(r"-\w*c", word)), "")
        lines = _commands(script)
    else:
        lines = [words]
    result = Command()
    for line in lines:
        while line and (_ASSIGNMENT.match(line[0]) or line[0] in ("exec", "env", "export")):
            name, equals, value = line[0].partition("=")
            if equals:
                result.environment[name] = value
            line = line[1:]
        if not line:
            continue
        if result.program or posixpath.basename(line[0]) != PROGRAM:
            result.others.append(shlex.join(line))
            continue
        result.program = line[0]
        _flags(line[1:], result)
    for name in [name for name, value in result.environment.items() if "$" in value or "`" in value]:
        result.shell.append(f"{name}={result.environment.pop(name)}")
    return result


def _commands(script: str) -> list[list[str]]:
    """The commands of a script, a list of words each."""
    joined = re.sub(r"\\\r?\n", " ", script)
    found: list[list[str]] = []
    # Each line is a command of its own, a quoted line break aside.
    reader = shlex.shlex(
        joined.replace("\n", " ; ") if joined.count('"') % 2 == 0 else joined, posix=True, punctuation_chars=";&|"
    )
    reader.whitespace_split = True
    reader.commenters = ""
    current: list[str] = []
    try:
        for word in reader:
            if word and set(word) <= set(";&|"):
                found.append(current)
                current = []
            else:
                current.append(word)
    except ValueError:
        # A quote that is never closed.
        return [[script]]
    found.append(current)
    return [line for line in found if line and not line[0].startswith("#")]


def _flags(words: Sequence[str], result: Command) -> None:
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if not word.startswith("-"):
            result.words.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        given: str | None = value if equals else None
        if not equals and place < len(words) and not words[place].startswith("-"):
            given = words[place]
            place += 1
        if given is not None and ("$" in given or "`" in given):
            result.shell.append(f"--{name}={given}")
            continue
        result.flags.append((name, given))
