# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The simulator against what a real pool did under the same load.

real_runs.json is of the local cluster with the real KEDA, Prometheus, one Envoy and the model `accelerator`: the column
servers_wanted of timeline-dynamic.csv, as `playbooks/benchmark.yml` writes it, wherever it changes. Written by
`PYTHONPATH=.collections python tests/unit/simulation/test_report.py NAME REPORT`.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation import report
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation.simulation import Simulation

RECORDS = Path(__file__).with_name("real_runs.json")
RUNS: dict[str, dict[str, Any]] = json.loads(RECORDS.read_text())
# Between two looks of the HorizontalPodAutoscaler, which is when servers are added or taken away.
POLLING_S = 15
# A second in which the number changed is in both.
RESOLUTION_S = 1
# Moments for what is periodic.
DRAWS = 8

Line = list[tuple[float, int]]


def counts(line: Line, begin: float, end: float) -> set[int]:
    """All numbers that a line of steps has between two times."""
    before = [count for when, count in line if when <= begin][-1:]
    return {*before, *(count for when, count in line if begin < when <= end)}


def apart(real: Line, simulated: Line, duration: int, near_s: int = POLLING_S) -> list[int]:
    """The seconds in which a number was wanted that the simulated pool had neither shortly before nor after."""
    wide = near_s + RESOLUTION_S
    wrong = []
    # What is a little later would be after the end.
    for second in range(duration - wide):
        near = counts(simulated, second - wide, second + wide)
        now = counts(real, second, second)
        if not all(min(near) <= count <= max(near) for count in now):
            wrong.append(second)
    return wrong


# Where the number that is wanted is plain every draw is as the real run. Where it is near a threshold at a look, as on
# a ramp or when a burst begins a moment before, each draw goes its own way, and the real run is like one of them.
@pytest.mark.parametrize(
    ("name", "like_it", "later_s"), [("figure", DRAWS, 0), ("steps", DRAWS, 0), ("bursts", 1, 0), ("ramp", 1, 5)]
)
def test_the_number_of_servers_is_as_it_was(name: str, like_it: int, later_s: int) -> None:
    run = RUNS[name]
    duration = sum(entry["seconds"] for entry in run["profile"])
    # Its defaults are those of the local cluster.
    pool = report.pool_of({}, {})
    real = [(float(when), int(count)) for when, count in run["wanted"]]
    wrong = []
    for seed in range(1, DRAWS + 1):
        wanted = Simulation(pool, report.profile_of(run["profile"], seed), seed).run().wanted
        wrong.append(apart(real, [(0.0, pool.minimum), *wanted], duration, POLLING_S + later_s))
        if wrong.count([]) >= like_it:
            break
    assert sum(not seconds for seconds in wrong) >= like_it, wrong


def test_every_recorded_run_is_compared() -> None:
    assert set(RUNS) == {"figure", "steps", "bursts", "ramp"}


def test_another_number_of_servers_is_found() -> None:
    """The comparison can fail: a second server that comes two intervals later is one."""
    simulated: Line = [(0.0, 1), (60.0, 2)]
    assert apart([(0.0, 1), (75.0, 2)], simulated, 200) == []
    assert apart([(0.0, 1), (95.0, 2)], simulated, 200)
    assert apart([(0.0, 1), (60.0, 3)], simulated, 200)


def record(name: str, folder: str) -> None:
    """Add a run by the report of a benchmark."""
    path = Path(folder)
    profile = json.loads((path / "benchmark.json").read_text())["profile"]
    wanted: list[tuple[int, int]] = []
    with (path / "timeline-dynamic.csv").open() as file:
        for row in csv.DictReader(file):
            count = float(row["servers_wanted"])
            # A part of one is a second in which it changed; the next one tells to what.
            if count.is_integer() and (not wanted or wanted[-1][1] != count):
                wanted.append((round(float(row["seconds"])), int(count)))
    kept = [{"clients": entry["clients"], "seconds": round(entry["seconds"])} for entry in profile]
    RUNS[name] = {"profile": kept, "wanted": wanted}
    RECORDS.write_text(json.dumps(RUNS, indent=None).replace('}, "', '},\n "') + "\n")


if __name__ == "__main__":
    record(*sys.argv[1:])
