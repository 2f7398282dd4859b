# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make one small change to the collection at a time, and check that one of the tests named for it fails.

    python tests/mutations/run.py                        all of mutations.yml
    python tests/mutations/run.py ID...                  these alone
    python tests/mutations/run.py --file _models/store    those of files whose path contains this text; may be repeated
    python tests/mutations/run.py --list                 what there is

Nothing is changed in the clone: each mutation is made in a copy of it, and undone there. First the named tests run once
in a copy as it is, and have to pass. A mutation is found when a test fails (exit status 1 of pytest): a run that ends
in any other way, such as one that cannot collect its tests or does not end, is an error. The exit status is 0 only when
all mutations were found.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / ".collections"))

from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment

LIST = Path(__file__).with_name("mutations.yml")
MOST_AT_ONCE = 2
# Seconds for the tests of one mutation, many times what they take; and for one test, whose stacks are shown then.
LIMIT_S, HUNG_S = 600, 300
SHOWN = 4000
FOUND, SURVIVED, ERROR = "found", "SURVIVED", "ERROR"


@dataclass(frozen=True)
class Mutation:
    """A text that stands once in a file, another one in its place, and the tests that notice."""

    id: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, text: str) -> str:
        """The text of the file with the mutation."""
        there = text.count(self.old)
        if there != 1 or self.old == self.new:
            raise ValueError(f"{self.id}: the text to replace stands {there} times in {self.file}, and not once")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Outcome:
    """What became of a mutation; by: the first test that failed; said: the end of the output, where none did."""

    mutation: Mutation
    verdict: str
    seconds: float
    by: str = ""
    said: str = ""


def read() -> list[Mutation]:
    """The whole list."""
    return [Mutation(**{**item, "tests": tuple(item["tests"])}) for item in yaml.safe_load(LIST.read_text())]


def chosen(ids: Sequence[str], files: Sequence[str]) -> list[Mutation]:
    everything = read()
    unknown = set(ids) - {mutation.id for mutation in everything}
    if unknown:
        raise SystemExit(f"No mutation is called {', '.join(sorted(unknown))}: see --list.")
    found = [
        mutation
        for mutation in everything
        if (not ids or mutation.id in ids) and (not files or any(part in mutation.file for part in files))
    ]
    if not found:
        raise SystemExit("No mutation is in such a file: see --list.")
    return found


def copy_to(folder: Path) -> Path:
    """The files of the project, those that are new too, without what was built or installed in the clone."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=CLONE,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        place = folder / name
        if os.path.lexists(CLONE / name):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CLONE / name, place, follow_symlinks=False)
    return folder


def pytest(folder: Path, tests: Iterable[str], *more: str) -> tuple[int, str]:
    """Exit status and output of a run in a copy; the status is that of timeout(1) when it takes too long."""
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=short", "-p", "no:cacheprovider"]
    command += [f"--timeout={HUNG_S}", *more, *tests]
    # What was compiled of one mutation is never used for another.
    environment = own_environment(PYTHONDONTWRITEBYTECODE="1", PWD=str(folder))
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _errors = process.communicate(timeout=LIMIT_S if "-x" in more else None)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output, _errors = process.communicate()
        return 124, f"{output}\nThe tests did not end within {LIMIT_S} s."
    return process.returncode, output


def attempt(mutation: Mutation, folder: Path) -> Outcome:
    """Try one mutation in a copy, which is afterwards as it was."""
    path = folder / mutation.file
    before = path.read_bytes()
    started = time.monotonic()
    try:
        path.write_text(mutation.applied(before.decode()))
        status, output = pytest(folder, mutation.tests, "-x")
    except ValueError as exc:
        return Outcome(mutation, ERROR, 0.0, said=str(exc))
    finally:
        path.write_bytes(before)
    seconds = time.monotonic() - started
    failed = re.search(r"^FAILED \S+?::(.+?)(?: - .*)?$", output, re.M)
    if status == 1 and failed:
        return Outcome(mutation, FOUND, seconds, failed[1])
    return Outcome(mutation, SURVIVED if status == 0 else ERROR, seconds, said=output[-SHOWN:])


def attempt_all(mutations: Sequence[Mutation], jobs: int) -> list[Outcome]:
    """Each of them in one of the copies, of which there are as many as runs at a time."""
    with tempfile.TemporaryDirectory(prefix="supersonic-mutations-") as scratch:
        copies: queue.Queue[Path] = queue.Queue()
        for number in range(jobs):
            copies.put(copy_to(Path(scratch, str(number), "clone")))
        tests = list(dict.fromkeys(test for mutation in mutations for test in mutation.tests))
        print(f"{len(tests)} tests without a mutation", flush=True)
        first = copies.get()
        status, output = pytest(first, tests)
        copies.put(first)
        if status:
            raise SystemExit(f"{output}\nThe tests fail without any mutation, so nothing can be said.")
        print(output.strip().splitlines()[-1], flush=True)

        def one(mutation: Mutation) -> Outcome:
            folder = copies.get()
            try:
                outcome = attempt(mutation, folder)
            finally:
                copies.put(folder)
            print(f"{outcome.verdict:8} {outcome.seconds:5.1f} s  {mutation.id}", flush=True)
            return outcome

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(one, mutations))


def table(outcomes: Sequence[Outcome]) -> str:
    """A line for each mutation."""
    rows = [("mutation", "file", "tests", "result", "seconds", "found by")]
    for outcome in outcomes:
        mutation = outcome.mutation
        names = ", ".join(dict.fromkeys(test.partition("::")[0].removeprefix("tests/") for test in mutation.tests))
        rows.append((mutation.id, mutation.file, names, outcome.verdict, f"{outcome.seconds:.1f}", outcome.by))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ids", nargs="*", metavar="ID")
    parser.add_argument("--file", action="append", default=[], help="a part of the path of the file")
    parser.add_argument("--list", action="store_true", help="name the mutations and their files")
    parser.add_argument("--jobs", type=int, default=MOST_AT_ONCE, choices=range(1, MOST_AT_ONCE + 1))
    options = parser.parse_args()
    mutations = chosen(options.ids, options.file)
    if options.list:
        print("\n".join(f"{mutation.id}  {mutation.file}" for mutation in mutations))
        return 0
    outcomes = attempt_all(mutations, min(options.jobs, len(mutations)))
    for outcome in outcomes:
        if outcome.verdict != FOUND:
            print(f"\n---- {outcome.mutation.id}: {outcome.verdict}\n{outcome.said}")
    print(f"\n{table(outcomes)}\n")
    counts = {verdict: sum(outcome.verdict == verdict for outcome in outcomes) for verdict in (FOUND, SURVIVED, ERROR)}
    print(f"{len(outcomes)} mutations: " + ", ".join(f"{number} {verdict}" for verdict, number in counts.items()))
    return 0 if counts[FOUND] == len(outcomes) else 1


if __name__ == "__main__":
    raise SystemExit(main())
