# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python code that gets no other program, no network and no rights of root.

A hook of the interpreter sees programs and sockets of this process. Root's capabilities are put down in the kernel, and
PATH is empty; both are so in every child, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import ipaddress
import os
import sys
from collections.abc import Iterator
from typing import Any

_STARTING = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system")
_CALLING = ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg")
# In a process with several threads the C library asks each of them, and aborts where they get different answers.
_BECOMING = ("setuid", "setgid", "seteuid", "setegid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups")
_NAMING = ("socket.getaddrinfo", "socket.gethostbyname")
# Of linux/prctl.h, linux/securebits.h and linux/capability.h.
_GET_SECURITY, _SET_SECURITY, _ROOT_IS_NOBODY_SPECIAL = 27, 28, 1
_CAPABILITIES_VERSION_3 = 0x20080522
# Before any test gives others something else for it.
_KERNEL = ctypes.CDLL(None, use_errno=True)

_refusals: list[str] | None = None
_hooked = False


class Refused(BaseException):
    """What was tried; code that survives every other exception does not survive this one."""


@contextlib.contextmanager
def confined() -> Iterator[list[str]]:
    """While it lasts; what was refused meanwhile, in threads too."""
    global _refusals, _hooked
    if not _hooked:
        sys.addaudithook(_judge)
        _hooked = True
    outer, _refusals = _refusals, []
    found = _refusals
    path = os.environ.get("PATH")
    os.environ["PATH"] = ""
    becoming = {name: getattr(os, name) for name in _BECOMING}
    for name in _BECOMING:
        setattr(os, name, functools.partial(_refuse, f"the right to call {name}"))
    try:
        with _without_capabilities():
            yield found
    finally:
        for name, function in becoming.items():
            setattr(os, name, function)
        _refusals = outer
        if path is not None:
            os.environ["PATH"] = path


@contextlib.contextmanager
def judged() -> Iterator[None]:
    """The same for a test, which fails by whatever it was refused."""
    with confined() as refusals:
        try:
            yield
        except Refused as refused:
            raise AssertionError(f"A unit test must not need {refused}.") from refused
    # In a thread, or by code that went on.
    assert not refusals, f"A unit test must not need {', '.join(refusals)}."


def _judge(event: str, arguments: tuple[Any, ...]) -> None:
    if _refusals is None:
        return
    refusal = ""
    if event in _STARTING:
        refusal = _program(event, arguments)
    elif event in _CALLING:
        refusal = _address(arguments[1])
    elif event in _NAMING:
        refusal = _name(arguments[0])
    if refusal:
        _refuse(refusal)


def _refuse(refusal: str, *_arguments: object) -> None:
    if _refusals is not None:
        _refusals.append(refusal)
    raise Refused(refusal)


def _program(event: str, arguments: tuple[Any, ...]) -> str:
    words = [os.fsdecode(word) for word in arguments[1]] if event != "os.system" else [os.fsdecode(arguments[0])]
    program = os.fsdecode(arguments[0] or words[0])
    # By which ctypes finds libraries, and matplotlib its fonts the first time on a machine; it does without, too.
    if program in ("/sbin/ldconfig", "fc-list"):
        return ""
    if event == "os.system" or program != sys.executable:
        return f"the program {program}"
    # What Ansible installs are scripts for the same interpreter.
    if words[1:3] == ["-m", "ansible"] or (words[1:] and os.path.basename(words[1]).startswith("ansible")):
        return f"Ansible: {' '.join(words[1:4])}"
    return ""


def _address(address: Any) -> str:
    return _name(address[0]) if isinstance(address, tuple) and len(address) in (2, 4) else ""


def _name(name: Any) -> str:
    text = name.decode() if isinstance(name, bytes) else name
    if text in (None, "localhost"):
        return ""
    try:
        loopback = ipaddress.ip_address(str(text)).is_loopback
    except ValueError:
        loopback = False
    return "" if loopback else f"an address outside of this machine: {text}"


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextlib.contextmanager
def _without_capabilities() -> Iterator[None]:
    """Root like every other user, and children that stay so; for other users nothing changes."""
    if os.geteuid() != 0:
        yield
        return
    header, sets = _Header(_CAPABILITIES_VERSION_3, 0), (_Sets * 2)()

    def call(name: str, *arguments: Any) -> int:
        code = int(getattr(_KERNEL, name)(*arguments))
        if code < 0:
            raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
        return code

    call("capget", ctypes.byref(header), sets)
    effective = [part.effective for part in sets]
    if not any(effective):
        yield
        return
    security = call("prctl", _GET_SECURITY, 0, 0, 0, 0)
    # Without it a program that root starts has them all again.
    call("prctl", _SET_SECURITY, security | _ROOT_IS_NOBODY_SPECIAL, 0, 0, 0)
    for part in sets:
        part.effective = 0
    call("capset", ctypes.byref(header), sets)
    try:
        yield
    finally:
        for part, before in zip(sets, effective, strict=True):
            part.effective = before
        call("capset", ctypes.byref(header), sets)
        call("prctl", _SET_SECURITY, security, 0, 0, 0)
