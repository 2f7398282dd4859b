# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes that are killed at a step of theirs instead of after a time, which says nothing of where they are."""

from __future__ import annotations

from pathlib import Path

# What changes a file system, and what makes such a change last.
CHANGES = ("fsync", "link", "mkdir", "rename", "replace", "rmdir", "symlink", "unlink", "utime")

_CODE = """
import os, signal
steps = os.open({file!r}, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
def stop_at(owner, *names):
    def stopping(real):
        def call(*arguments, **more):
            os.write(steps, b".")
            if os.fstat(steps).st_size == {step}:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **more)
        return call
    for name in names:
        setattr(owner, name, stopping(getattr(owner, name)))
"""


def stopping(file: Path, step: int = 0, names: tuple[str, ...] = CHANGES) -> str:
    """What a process executes first, in order to be killed at this call of such functions of os; at 0 it never is.

    stop_at(owner, name, ...) makes others steps as well. In the file each step that was taken is a byte.
    """
    return _CODE.format(file=str(file), step=step) + f"stop_at(os, *{names!r})\n"


def taken(file: Path) -> int:
    """How many steps that were."""
    return file.stat().st_size if file.exists() else 0
