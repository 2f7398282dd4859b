# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-test sanity over the collection.

ansible-test accepts neither a clone nor a link to one, so what git tracks is copied to where it wants a collection. It
would also download a bootstrap script for pip; a wheel of that version from the package index does the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastml-supersonic" / "sanity"
# ansible-test keeps its environments below a home: one of its own, so that nobody else's is touched.
HOME = CACHE / "home"
# Tests that need what package registries for Python do not have, or that repeat another tool that `make lint` runs.
SKIPPED = ["pslint", "shellcheck"]
# The version of pip that each ansible-core wants, and the name it looks for.
PIP = {"24.2": "get_pip_24_2.py", "25.2": "get_pip_25_2.py"}
BOOTSTRAP = """\
import runpy, sys
sys.path.insert(0, {wheel!r})
sys.argv = ["pip", "install", *[word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]]
runpy.run_module("pip", run_name="__main__")
"""


def copy(folder: Path) -> Path:
    """The tracked files of the clone, and those that are new, as a collection."""
    collection = folder / "ansible_collections" / "fastml" / "supersonic"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=CLONE,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source = CLONE / name
        if name.startswith(".collections/") or not source.is_file():
            continue
        target = collection / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    return collection


def prepare_pip() -> None:
    """Put where ansible-test looks for its download what installs pip from a wheel instead."""
    folder = HOME / ".ansible" / "test" / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    for version, name in PIP.items():
        wheels = CACHE / "pip" / version
        if not list(wheels.glob("*.whl")):
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels, f"pip=={version}"],
                check=True,
            )
        (folder / name).write_text(BOOTSTRAP.format(wheel=str(next(wheels.glob("*.whl")))))


def main() -> int:
    """Run the tests; the exit code is theirs."""
    with tempfile.TemporaryDirectory() as folder:
        return run(copy(Path(folder)))


def run(collection: Path) -> int:
    """The tests over a collection."""
    for ignore in sorted((collection / "tests" / "sanity").glob("ignore-*.txt")):
        if ignore.read_text().strip():
            print(f"{ignore.name} is not empty")
            return 1
    prepare_pip()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = ["ansible-test", "sanity", "--python", version, "--requirements", "--color", "no"]
    for name in SKIPPED:
        command += ["--skip-test", name]
    environment = {**os.environ, "HOME": str(HOME), "LC_ALL": "C.UTF-8", "ANSIBLE_CONFIG": os.devnull}
    return subprocess.run([*command, *sys.argv[1:]], cwd=collection, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
