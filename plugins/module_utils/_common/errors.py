# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exceptions of the collection.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import sys


class SupersonicError(Exception):
    """An expected failure. Its text is what the user reads: what is wrong, where, what to do."""


class Lost(SupersonicError):
    """The connection to a command broke, or the command went away with its pod; another try may succeed."""


class Ended(BaseException):
    """Raised on SIGTERM and Ctrl-C. A BaseException, so that clean-up that suppresses errors does not swallow it."""


def missing_library(name: str, package: str | None = None) -> SupersonicError:
    """The error for a Python library that the module's interpreter lacks."""
    return SupersonicError(
        f"The Python library {name} is missing for {sys.executable}, the interpreter that ran this module. "
        f"Install it there (pip install '{package or name}'), or set ansible_python_interpreter of this host "
        f'to one that has it, for instance "{{{{ ansible_playbook_python }}}}".'
    )
