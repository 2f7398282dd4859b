# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs modules in the process of their task instead of a new process.

A process for a module costs more than most modules do: Python starts, and compiles anew all that Ansible has packed
for it. Where a task is for this machine and this Python, the module's code is called instead. Everything before and
after it is Ansible's own: arguments, and what becomes of the result.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

from ansible import constants
from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action.normal import ActionModule as Normal
from ansible.utils.display import Display

from ansible_collections.fastml.supersonic.plugins.plugin_utils._direct.module_process import (
    PROFILE,
    known,
    packed,
    run,
)

try:
    # Not part of Ansible's public interface.
    from ansible.executor.module_common import _BuiltModule
except ImportError:
    _BuiltModule = None

# The variable that switches it off.
SWITCH = "fastml_direct_execution"

display = Display()


class DirectModule(Normal):
    """An action that runs the module of its name, here where that is the same as in a process of its own."""

    # Imported with the action, thus before Ansible forks, it is compiled and loaded once for all hosts and tasks.
    module: types.ModuleType
    _here = False

    def _execute_module(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        reason = self._hindrance(kwargs.get("task_vars") or {})
        self._here = not reason
        where = f"a process of its own, because {reason}" if reason else "the process of the task"
        display.vvv(f"{self._task.action} runs in {where}.", host=self._play_context.remote_addr)
        try:
            done: dict[str, Any] = super()._execute_module(*args, **kwargs)
            return done
        finally:
            self._here = False

    def _hindrance(self, variables: Mapping[str, Any]) -> str:
        """The reason why the module needs a process of its own, "" if there is none."""
        task, connection = self._task, self._connection
        host = variables.get("ansible_delegated_vars", {}).get(task.delegate_to, {}) if task.delegate_to else variables
        try:
            reasons = {
                "this release of Ansible is not known": not (_BuiltModule and known()),
                f"{SWITCH} is false": not boolean(self._templar.template(variables.get(SWITCH, True))),
                "the connection is not local": connection.ansible_name != "ansible.builtin.local",
                "it runs as another user": connection.become is not None,
                "it is asynchronous": task.async_val,
                "the task has an environment": self._compute_environment_string().strip(),
                "Ansible keeps its files": constants.DEFAULT_KEEP_REMOTE_FILES,
                "it has another limit of open files": _option("PYTHON_MODULE_RLIMIT_NOFILE", host),
                "it runs with another Python": not _is_this_python(
                    str(self._templar.template(_option("INTERPRETER_PYTHON", host)))
                ),
            }
        except (AnsibleError, AttributeError, TypeError) as error:
            # What is wrong with the task is Ansible's to say.
            return f"it cannot be told whether it may run here ({type(error).__name__})"
        return next((reason for reason, applies in reasons.items() if applies), "")

    # ---- where Ansible would pack the module and start a process -----------------------------------------------------

    def _is_pipelining_enabled(self, *args: Any, **kwargs: Any) -> bool:
        return self._here or bool(super()._is_pipelining_enabled(*args, **kwargs))

    def _configure_module(self, module_name: str, module_args: Any, task_vars: Any) -> Any:
        if self._here:
            # What cannot be written as JSON is refused below, as always.
            with contextlib.suppress(TypeError):
                built = _BuiltModule(
                    b_module_data=packed(module_args),
                    module_style="new",
                    shebang=f"#!{sys.executable}",
                    serialization_profile=PROFILE,
                )
                return built, self.module.__file__
        return super()._configure_module(module_name=module_name, module_args=module_args, task_vars=task_vars)

    def _low_level_execute_command(self, cmd: Any, *args: Any, in_data: Any = None, **kwargs: Any) -> Any:
        if not self._here or in_data is None:
            return super()._low_level_execute_command(cmd, *args, in_data=in_data, **kwargs)
        # The connection starts a process in that folder too.
        with contextlib.chdir(self._loader.get_basedir()), _interruptible():
            return run(self.module, in_data)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C reach the module as it reaches a process of its own, which has the time to clear up.

    Ansible sends SIGINT to the process of the task, which passes it to its group and ends, and then SIGTERM.
    """

    def interrupt(number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # The process of a task leads a group of its own.
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _option(name: str, variables: Mapping[str, Any]) -> Any:
    return constants.config.get_config_value(name, variables=variables)


def _is_this_python(program: str) -> bool:
    """Whether it is the one that runs Ansible, by this or another name; a link into another environment is not."""
    here = sys.executable
    return (
        os.path.isabs(program)
        and os.path.realpath(os.path.dirname(program)) == os.path.realpath(os.path.dirname(here))
        and os.path.realpath(program) == os.path.realpath(here)
    )
