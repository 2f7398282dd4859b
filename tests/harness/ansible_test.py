# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The clone where ansible-test accepts it: as ansible_collections/fastml/supersonic."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.fastml.supersonic.tests.harness.environment import cache, own_environment

CLONE = Path(__file__).resolve().parents[2]
CACHE = cache() / "sanity"
# The folder dev as a collection.
DEV = "supersonic_dev"
# ansible-test keeps its environments below a home: one of its own, so that nobody else's is touched.
HOME = CACHE / "home"


@contextlib.contextmanager
def collection() -> Iterator[Path]:
    """A copy of what git tracks in the clone and of what is new there, since ansible-test refuses a link to it.
    Beside it is the collection for developers, supersonic_dev."""
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "ansible_collections" / "fastml" / "supersonic"
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=CLONE,
            capture_output=True,
            check=True,
        )
        # The link by which Ansible finds it in the clone.
        link = f".collections/ansible_collections/fastml/{DEV}"
        for name in set(listed.stdout.decode().split("\0")) - {"", link}:
            source = CLONE / name
            place = copied.with_name(DEV) / name.removeprefix("dev/") if name.startswith("dev/") else copied / name
            if source.is_symlink() or source.is_file():
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, place, follow_symlinks=False)
        yield copied


def command(name: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """A command of ansible-test with this Python, and its environment."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    HOME.mkdir(parents=True, exist_ok=True)
    words = ["ansible-test", name, "--python", version, "--color", "no", *arguments]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return words, own_environment() | {
        "PATH": path,
        "HOME": str(HOME),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_CONFIG": os.devnull,
    }


def ansible_test(place: Path, name: str, *arguments: str) -> int:
    """Run a command of ansible-test with this Python; returns its exit code."""
    words, environment = command(name, *arguments)
    return subprocess.run(words, cwd=place, env=environment, check=False).returncode
