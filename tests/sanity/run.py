# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-test sanity over the collection.

    python tests/sanity/run.py          what `make lint` runs: all tests, pylint without the folder tests
    python tests/sanity/run.py tests    pylint over that folder, a part of `make test-all`

Pylint takes most of the time, and over the tests as long as everything else; ruff reads them in `make lint`.
ansible-test would download a bootstrap script for pip; a wheel of that version from the package index does the same.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".collections"))

from ansible_collections.fastml.supersonic.tests.harness.ansible_test import CACHE, DEV, HOME, ansible_test, collection

# Tests that need what package registries for Python do not have, and the one that runs by itself.
SKIPPED = ["pslint", "shellcheck", "pylint"]
# The version of pip that each ansible-core wants, and the name it looks for.
PIP = {"24.2": "get_pip_24_2.py", "25.2": "get_pip_25_2.py"}
BOOTSTRAP = """\
import runpy, sys
sys.path.insert(0, {wheel!r})
sys.argv = ["pip", "install", *[word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]]
runpy.run_module("pip", run_name="__main__")
"""


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
    """Run the tests; the exit code is 0 where all passed."""
    if sys.argv[1:] not in ([], ["tests"]):
        print(f"{' '.join(sys.argv[1:])}: the only argument is tests.")
        return 2
    with collection() as place:
        for ignore in sorted((place / "tests" / "sanity").glob("ignore-*.txt")):
            if ignore.read_text().strip():
                print(f"{ignore.name} is not empty")
                return 1
        prepare_pip()
        if sys.argv[1:]:
            return pylint(place, "tests/")
        skipped = [word for name in SKIPPED for word in ("--skip-test", name)]
        codes = [ansible_test(place, "sanity", "--requirements", *skipped), pylint(place, "--exclude", "tests/")]
        dev = place.with_name(DEV)
        codes += [ansible_test(dev, "sanity", "--requirements", *skipped), pylint(dev)]
        # A program that was killed has a negative one.
        return int(any(codes))


def pylint(place: Path, *files: str) -> int:
    """ansible-test's pylint over the collection's files, or those that arguments of ansible-test choose."""
    return ansible_test(place, "sanity", "--requirements", "--test", "pylint", *files)


if __name__ == "__main__":
    sys.exit(main())
