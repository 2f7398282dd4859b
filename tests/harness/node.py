# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes of pods as this machine sees them: the node of the local cluster is a part of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.node import Machine

# The node that `make local` brings up.
NODE = Machine("supersonic-local", "supersonic0")


def server_pid(owner: str, program: str = "tritonserver") -> int:
    """The process of a program in a pod or a container, by its UID or ID, after which its cgroup is named."""
    found = []
    for process in Path("/proc").iterdir():
        # Processes come and go while we look.
        with contextlib.suppress(OSError):
            is_server = process.name.isdigit() and (process / "comm").read_text().strip() == program
            if is_server and owner in (process / "cgroup").read_text():
                found.append(int(process.name))
    assert len(found) == 1, f"{len(found)} processes are the {program} of {owner}"
    return found[0]


def signal_server(owner: str, number: int, program: str = "tritonserver") -> None:
    os.kill(server_pid(owner, program), number)


@contextlib.contextmanager
def mounted_in_node(source: Path, target: Path, *, shared: bool = False) -> Iterator[None]:
    """A folder of this machine mounted at another one in the node alone.

    shared: pods that have the target mounted see what is mounted below it later, if they ask for it.
    """
    enter = ["nsenter", "--mount", "--target", str(NODE.first_process()), "--"]
    subprocess.run([*enter, "mount", "--bind", str(source), str(target)], check=True)
    try:
        if shared:
            subprocess.run([*enter, "mount", "--make-shared", str(target)], check=True)
        yield
    finally:
        subprocess.run([*enter, "umount", str(target)], check=True)


@contextlib.contextmanager
def small_disk_in_node(target: Path, size: str) -> Iterator[None]:
    """A file system of this size in a folder, as the node and its pods see it; everybody may write to it."""
    enter = ["nsenter", "--mount", "--target", str(NODE.first_process()), "--"]
    subprocess.run([*enter, "mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(target)], check=True)
    try:
        yield
    finally:
        subprocess.run([*enter, "umount", str(target)], check=True)
