# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run parts of `make test` again and again beside a load on the processors, to find tests that fail now and then.

    python tests/repeat.py --runs 30 --load 8 unit contracts services

Every run is counted, and logs of those that failed are kept below .local/tests-repeated. The exit code is 1 when any
did.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

CLONE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CLONE / ".collections"))

from ansible_collections.fastml.supersonic.tests.parts import OUTPUT

KEPT = CLONE / ".local" / "tests-repeated"


@contextlib.contextmanager
def load(processes: int) -> Iterator[None]:
    """So many processes that never rest."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _number in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def run(number: int, parts: list[str]) -> bool:
    """Whether a run of the parts passed; one line says it."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, CLONE / "tests" / "parts.py", *parts],
        cwd=CLONE,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    passed = done.returncode == 0
    counted = done.stdout.strip().splitlines()[-1]
    print(f"run {number}: {'ok' if passed else 'FAILED'} after {time.monotonic() - began:.0f} s, {counted}", flush=True)
    if not passed:
        shutil.copytree(OUTPUT, KEPT / f"run-{number}", dirs_exist_ok=True)
        print("".join(line + "\n" for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))))
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", metavar="PART", help="as make test-part has them")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--load", type=int, default=8, help="processes that compute all the time")
    options = parser.parse_args()
    shutil.rmtree(KEPT, ignore_errors=True)
    with load(options.load):
        failed = sum(not run(number, options.parts) for number in range(1, options.runs + 1))
    print(f"{failed} of {options.runs} runs failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
