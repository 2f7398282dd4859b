# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the tests that belong to files that differ from a commit, by default from main.

    python tests/changed.py [--base COMMIT] [--list]

Tests on the cluster are named at the end, not run. `make test` has the last word: a change may break tests that belong
to other files.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

CLONE = Path(__file__).resolve().parents[1]
ALWAYS = "tests/contracts"
PLAYBOOKS = "tests/services/playbooks"
# Tests by the path of a file, where \1 is what stands in brackets. All patterns that fit count; what is not there is
# left out.
TESTS = (
    (r"plugins/(?:module|plugin)_utils/_(\w+)/", (r"tests/unit/\1", r"tests/services/\1")),
    (r"plugins/module_utils/_models/", ("tests/services/model_repository",)),
    (r"plugins/plugin_utils/_(?:render|rules|inventory)/", ("tests/golden", f"{PLAYBOOKS}/test_wrong_inventories.py")),
    (r"plugins/modules/(\w+)\.py", (r"tests/unit/modules/test_\1.py", r"tests/services/test_\1.py")),
    (r"plugins/(?:action|filter|lookup)/", ("tests/unit/rules", PLAYBOOKS)),
    (r"(?:dev/)?roles/(\w+)/", ("tests/golden", "tests/unit/roles", PLAYBOOKS, r"tests/services/test_\1.py")),
    (r"(?:dev/)?playbooks/", ("tests/unit/playbooks", PLAYBOOKS)),
    (r"inventories/", ("tests/golden", "tests/unit/rules")),
    (r"(tests/(?:unit|services|golden)/.*test_\w+\.py)", (r"\1",)),
    (r"tests/harness/", ("tests/unit",)),
)
ON_CLUSTER = (
    r"(tests/cluster/test_\w+\.py)",
    r"(?:dev/)?(?:roles|playbooks)/",
    r"plugins/module_utils/_(?:kube|models)/",
)


def changed(base: str) -> list[str]:
    """Files that differ from where this branch left a commit, and files that git does not know yet."""
    commands = (
        ["git", "diff", "--name-only", "--merge-base", base],
        ["git", "ls-files", "--others", "--exclude-standard"],
    )
    outputs = [subprocess.run(each, cwd=CLONE, capture_output=True, text=True, check=True).stdout for each in commands]
    return sorted({name for output in outputs for name in output.splitlines()})


def tests_of(files: Iterable[str]) -> list[str]:
    """Files and folders of tests, none of them within another one."""
    found = {ALWAYS}
    for file in files:
        for pattern, tests in TESTS:
            if match := re.match(pattern, file):
                found |= {match.expand(test) for test in tests}
    there = sorted(test for test in found if (CLONE / test).exists())
    return [test for test in there if not any(test.startswith(f"{other}/") for other in there)]


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the tests that belong to what has changed.")
    parser.add_argument("--base", default="main", help="a commit, main by default")
    parser.add_argument("--list", action="store_true", help="only say which tests these are")
    arguments = parser.parse_args()
    files = changed(arguments.base)
    tests = tests_of(files)
    print(f"{len(files)} files differ from {arguments.base}: {' '.join(tests)}", flush=True)
    code = 0
    if not arguments.list:
        code = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-m", "not thorough", *tests],
            cwd=CLONE,
            check=False,
        ).returncode
    if any(re.match(pattern, file) for pattern in ON_CLUSTER for file in files):
        print('Tests on the cluster may belong to it too: make test-part PART="local cluster".')
    return code


if __name__ == "__main__":
    sys.exit(main())
