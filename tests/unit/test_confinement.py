# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every test of this level is refused, and that it is noticed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.answers import JsonHandler, served
from ansible_collections.fastml.supersonic.tests.harness.confinement import Refused, confined, judged

ANSIBLE = ("-m", "ansible", "playbook", "--version")
ASKED: dict[str, tuple[Callable[[], Any], str]] = {
    "program": (lambda: subprocess.run(["/bin/true"], check=True), "the program /bin/true"),
    "shell": (lambda: subprocess.run("true", shell=True, check=True), "the program /bin/sh"),
    "system": (lambda: os.system("true"), "the program true"),
    "spawn": (lambda: os.posix_spawn("/bin/true", ["true"], {}), "the program /bin/true"),
    "ansible": (lambda: subprocess.run([sys.executable, *ANSIBLE], check=True), "Ansible: -m ansible playbook"),
    "script": (
        lambda: subprocess.run([sys.executable, "/x/ansible-galaxy", "list"], check=True),
        "Ansible: /x/ansible-galaxy list",
    ),
    "connection": (
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
        "an address outside of this machine: 192.0.2.1",
    ),
    "datagram": (
        lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 80)),
        "an address outside of this machine: 192.0.2.1",
    ),
    "listener": (lambda: socket.create_server(("0.0.0.0", 0)), "an address outside of this machine: 0.0.0.0"),
    "user": (lambda: os.seteuid(65534), "the right to call seteuid"),
    "name": (lambda: socket.getaddrinfo("example.org", 80), "an address outside of this machine: example.org"),
}


@pytest.mark.parametrize("asked", ASKED)
def test_what_is_outside_is_refused(asked: str) -> None:
    call, refusal = ASKED[asked]
    with confined() as refusals, pytest.raises(Refused) as caught:
        call()
    assert refusals == [str(caught.value)] == [refusal]


def test_whoever_is_refused_fails() -> None:
    """Also where nothing comes of it."""

    def survive() -> None:
        with contextlib.suppress(Refused):
            os.system("true")

    def elsewhere() -> None:
        thread = threading.Thread(target=survive)
        thread.start()
        thread.join()

    for tried in (lambda: os.system("true"), survive, elsewhere):
        with pytest.raises(AssertionError, match=r"^A unit test must not need the program true\."), judged():
            tried()


def test_what_is_inside_is_not() -> None:
    with judged(), served(JsonHandler) as address:
        host, _colon, port = address.removeprefix("http://").partition(":")
        socket.create_connection((host, int(port))).close()
        socket.create_connection(("localhost", int(port))).close()
        assert subprocess.run([sys.executable, "-c", "print(1)"], check=True, capture_output=True).stdout == b"1\n"


RIGHTS = """
import ctypes, os, subprocess
print(ctypes.CDLL(None).mount(b"none", b"/mnt", b"tmpfs", 0, None))
for call in (lambda: os.setuid(os.getuid() + 1), lambda: os.chown("/", 65534, 65534), lambda: subprocess.run(["true"])):
    try:
        call()
        print("done")
    except OSError as error:
        print(type(error).__name__)
"""


def test_root_may_no_more_than_others(tmp_path: Path) -> None:
    """Here and in children, whoever runs the tests."""
    assert ctypes.CDLL(None).mount(b"none", os.fsencode(tmp_path), b"tmpfs", 0, None) == -1
    closed = tmp_path / "closed"
    closed.touch(0o000)
    with pytest.raises(PermissionError):
        closed.read_text()
    done = subprocess.run([sys.executable, "-c", RIGHTS], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["-1", "PermissionError", "PermissionError", "FileNotFoundError"]
