# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Provides a module with what it would find in a process of its own.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import contextlib
import io
import json
import signal
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.module_utils import basic
from ansible.module_utils.common import warnings
from ansible.module_utils.common.json import Direction, get_module_encoder
from ansible.release import __version__

# Not part of Ansible's public interface; see known().
try:
    from ansible.module_utils import _internal
    from ansible.module_utils._internal import _traceback
    from ansible.module_utils._internal._ansiballz import _loader

    _FOUND = True
except ImportError:
    _FOUND = False

# How Ansible writes arguments and results of modules that ask for nothing else.
PROFILE = "legacy"


def packed(arguments: Mapping[str, Any]) -> bytes:
    """Arguments as Ansible hands them to a module."""
    encoder = get_module_encoder(PROFILE, Direction.CONTROLLER_TO_MODULE)
    return json.dumps({"ANSIBLE_MODULE_ARGS": arguments}, cls=encoder).encode()


@contextlib.contextmanager
def module_process(given: bytes) -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """The environment of a module's process, as a context manager; collects its output.

    A loop calls a module several times in one process, and each is to be the first.
    """
    with contextlib.ExitStack() as before, contextlib.ExitStack() as at_exit:

        def register(function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
            at_exit.callback(_quietly, function, *args, **kwargs)

        for place, name, value in _state(given, register):
            before.callback(setattr, place, name, getattr(place, name))
            setattr(place, name, value)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            before.callback(_handle_again, number, signal.getsignal(number))
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            yield output, errors


def _state(given: bytes, register: Callable[..., object]) -> tuple[tuple[Any, str, Any], ...]:
    """The state that Ansible's module library keeps for a process: module, name, and initial value."""
    return (
        (basic, "_ANSIBLE_ARGS", given),
        (basic, "_ANSIBLE_PROFILE", PROFILE),
        (basic, "_PARSED_MODULE_ARGS", None),
        # Ansible ends the process of a task without the functions that are registered for that.
        (basic, "atexit", types.SimpleNamespace(register=register)),
        (warnings, "_global_warnings", {}),
        (warnings, "_global_deprecations", {}),
        # A module's warnings go into its result, not to the terminal.
        (_internal, "is_controller", False),
        (_traceback, "_is_traceback_enabled", _traceback._is_module_traceback_enabled),
        (_traceback, "_module_tracebacks_enabled_events", None),
    )


def known() -> bool:
    """Whether this release of Ansible is one that this was tried with."""
    try:
        return (
            _FOUND
            and __version__.startswith(("2.19.", "2.20.", "2.21."))
            and callable(_loader._handle_exception)
            and all(hasattr(place, name) for place, name, _value in _state(b"", print))
        )
    except AttributeError:
        return False


def _quietly(function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    # As at the end of a process, where the result has been written.
    with contextlib.suppress(Exception):
        function(*args, **kwargs)


def _handle_again(number: signal.Signals, handler: Any) -> None:
    if signal.getsignal(number) is not handler:
        signal.signal(number, handler)


def run(module: types.ModuleType, given: bytes) -> dict[str, Any]:
    """The result of running the module, as of a command."""
    code = 0
    with module_process(given) as (output, errors):
        try:
            try:
                module.main()
                raise RuntimeError("New-style module did not handle its own exit.")
            except Exception as error:
                _loader._handle_exception(error, PROFILE)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return {"rc": code, "stdout": output.getvalue(), "stderr": errors.getvalue()}
