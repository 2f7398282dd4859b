# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scripts of the clients' pods, run here.

perf_analyzer is the only part that is none: what it does when requests fail cannot be asked of the real one at will. It
takes the same words, ends at the same signal, and writes what the real one has written.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark import load_pods
from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.load import (
    Request,
    Share,
    parse_times,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.load_pods import Outcome, add
from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment
from ansible_collections.fastml.supersonic.tests.harness.processes import until

# Written by perf_analyzer 2.60.0: three requests of one client.
EXPORT = Path(__file__).parent / "benchmark_export.json"
# What the stand-in does when its clients begin: serve until the interrupt, or fail after a moment.
PERF_ANALYZER = """#!/bin/bash
while [ $# -gt 0 ]; do
  case "$1" in
    --profile-export-file) file=$2 ;;
    --concurrency-range) clients=$2 ;;
    -m) model=$2 ;;
    -H) header=$2 ;;
  esac
  shift
done
echo "$clients $header" >>"$FOLDER/started"
trap 'cp "$EXPORT" "$file"; echo "Received exit signal." >&2; exit 0' INT
if [ "$model" = absent ]; then
  echo "error: failed to get model metadata: Request for unknown model" >&2
  exit 99
fi
if [ "$model" = failing ] && [ ! -e "$FOLDER/failed" ]; then
  touch "$FOLDER/failed"
  sleep 0.3
  echo "Failed to maintain requested inference load." >&2
  echo "Thread [0] had error: Socket closed" >&2
  exit 99
fi
while :; do sleep 0.05; done
"""


def script(text: str, folder: Path) -> list[str]:
    """A script of the pods, with a folder instead of their volume."""
    moved = text.replace(load_pods._RESULTS, str(folder)).replace(load_pods._SECRET, str(folder / "secret"))
    return ["sh", "-c", moved, "sh"]


class Pod:
    """What runs in a pod, as a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "bin").mkdir()
        (folder / "bin" / "perf_analyzer").write_text(PERF_ANALYZER)
        (folder / "bin" / "perf_analyzer").chmod(0o755)
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        self.environment = own_environment(PATH=path, FOLDER=str(folder), EXPORT=str(EXPORT))

    def start(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [*script(load_pods._LOAD, self.folder), "perf_analyzer", *words],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def ask(self, text: str, *words: str) -> list[str]:
        done = subprocess.run(
            [*script(text, self.folder), *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.stdout.splitlines()

    def begin(self, *shares: Share) -> int:
        """Tell it when to begin; the moment."""
        begin = time.time_ns() + 300_000_000
        lines = [
            f"0-{number} {share.clients} {begin + int(share.begin * 1e9)} {begin + int(share.end * 1e9)}"
            for number, share in enumerate(shares)
        ]
        assert self.ask(load_pods._BEGIN, *lines) == ["over 0"]
        return begin

    def collect(self) -> list[str]:
        """What it tells so far."""
        told = self.ask(load_pods._COLLECT)
        assert told[-1] == "over 0"
        return told[:-1]

    def load(self, *shares: Share) -> tuple[int, list[str]]:
        """Tell it when to begin, wait and fetch; the moment, and what it tells."""
        begin = self.begin(*shares)
        assert self.ask(load_pods._WAIT) == ["over 0"]
        return begin, self.collect()


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    found = Pod(tmp_path)
    yield found
    if found.process:
        # Everything that it has started is in its session.
        os.killpg(found.process.pid, 9)
        found.process.wait()


def moments(told: list[str], begin: int) -> dict[tuple[str, str], float]:
    found = {}
    for line in told:
        if line.startswith("log "):
            _log, run, what, moment, *_code = line.split()
            found[run, what] = (int(moment) - begin) / 1e9
    return found


def test_clients_begin_and_end_at_their_times(pod: Pod) -> None:
    pod.start("-m", "fine")
    begin, told = pod.load(Share(1, 0, 2), Share(3, 0.8, 1.5))
    found = moments(told, begin)
    assert set(found) == {("0-0.1", "begin"), ("0-0.1", "end"), ("0-1.1", "begin"), ("0-1.1", "end")}
    # Not before their times, and in that order, however busy the machine is.
    times = {("0-0.1", "begin"): 0, ("0-1.1", "begin"): 0.8, ("0-1.1", "end"): 1.5, ("0-0.1", "end"): 2}
    assert all(found[event] >= moment for event, moment in times.items()), found
    assert sorted(found, key=found.__getitem__) == list(times)
    assert sorted((pod.folder / "started").read_text().split()) == ["1", "3"]


def test_what_the_export_says_is_all_that_is_fetched(pod: Pod) -> None:
    pod.start("-m", "fine")
    _begin, told = pod.load(Share(1, 0, 0.5))
    written = json.loads(EXPORT.read_text())["experiments"][0]["requests"]
    at = told.index("file 0-0.1") + 1
    times = parse_times(told[at:])
    assert times == [(request["timestamp"], request["response_timestamps"][-1]) for request in written]
    assert len(times) == 3
    # No tensors.
    assert all(len(line) < 60 for line in told[at:])
    outcome = Outcome()
    add(outcome, told, times[0][0] - 10**9, {"0-0": Share(1, 0, 0.5)})
    assert outcome.requests[0] == Request(1.0, (times[0][1] - times[0][0]) / 1e9)
    assert (len(outcome.requests), outcome.failures, outcome.lost) == (3, 0, 0)


def test_a_request_that_fails_is_counted_and_its_client_comes_back(pod: Pod) -> None:
    pod.start("-m", "failing")
    begin, told = pod.load(Share(2, 0, 1.5))
    outcome = Outcome()
    add(outcome, told, begin, {"0-0": Share(2, 0, 1.5)})
    assert (outcome.failures, list(outcome.errors)) == (1, ["Socket closed"])
    # What both clients knew by then.
    found = moments(told, begin)
    ran = found["0-0.1", "end"] - max(found["0-0.1", "begin"], 0)
    assert outcome.lost == pytest.approx(2 * ran, abs=0.01)
    assert ran >= 0.3
    # Those of the process that came after it.
    assert len(outcome.requests) == 3


def test_clients_that_cannot_begin_are_counted(pod: Pod) -> None:
    """Each time that they try again."""
    pod.start("-m", "absent")
    share = Share(1, 0, 600)
    begin = pod.begin(share)

    def told() -> list[str]:
        """Of the first two times, when both have ended."""
        found = [line for line in pod.collect() if re.match(r"\w+ 0-0\.[12] ", line)]
        return found if sum(" end " in line for line in found) == 2 else []

    outcome = Outcome()
    add(outcome, until(told), begin, {"0-0": share})
    assert outcome.failures == 2
    assert list(outcome.errors) == ["error: failed to get model metadata: Request for unknown model"]
    assert outcome.requests == []


def test_a_token_is_read_from_its_file(pod: Pod) -> None:
    """One that comes by standard input, into a pod that runs already."""
    (pod.folder / "secret").mkdir()
    pod.start("-m", "fine")
    time.sleep(0.3)
    command = [*script(load_pods._PUT, pod.folder), "token", "13"]
    # As of a connection that stays open.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as put:
        assert put.stdin
        assert put.stdout
        put.stdin.write(b"secret-of-cms")
        put.stdin.flush()
        assert put.stdout.readline() == b"over 0\n"
    assert (pod.folder / "secret" / "token").stat().st_mode & 0o077 == 0
    pod.load(Share(1, 0, 1.5))
    assert (pod.folder / "started").read_text() == "1 authorization:Bearer secret-of-cms\n"
    assert pod.process
    assert b"secret-of-cms" not in Path(f"/proc/{pod.process.pid}/cmdline").read_bytes()
