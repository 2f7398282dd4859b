# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The simulator against what a real pool did under the same load.

real_runs.json is of the local cluster with the real KEDA, Prometheus, one Envoy and the model `accelerator`: the column
servers_wanted of timeline-dynamic.csv, as `playbooks/benchmark.yml` writes it, wherever it changes. Written by
`PYTHONPATH=.collections python tests/unit/scaling/test_real_runs.py NAME REPORT`.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils import _scaling_report as report
from ansible_collections.fastml.supersonic.plugins.module_utils._scaling_simulation import Simulation

RECORDS = Path(__file__).with_name("real_runs.json")
RUNS: dict[str, dict[str, Any]] = json.loads(RECORDS.read_text()) if RECORDS.exists() else {}
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


def apart(real: Line, simulated: Line, duration: int) -> list[int]:
    """The seconds in which there were servers that the simulated pool had neither before nor after, by one interval."""
    wide = POLLING_S + RESOLUTION_S
    wrong = []
    for second in range(duration):
        near = counts(simulated, second - wide, second + wide)
        now = counts(real, second, second)
        if not all(min(near) <= count <= max(near) for count in now):
            wrong.append(second)
    return wrong


@pytest.mark.parametrize("name", RUNS)
def test_the_number_of_servers_is_as_it_was(name: str) -> None:
    """As in one of the draws: the real one, too, was one."""
    run = RUNS[name]
    duration = sum(entry["seconds"] for entry in run["profile"])
    # Its defaults are those of the local cluster.
    pool = report.pool_of({}, {})
    real = [(float(when), int(count)) for when, count in run["wanted"]]
    draws = {}
    for seed in range(1, DRAWS + 1):
        wanted = Simulation(pool, report.profile_of(run["profile"], seed), seed).run().wanted
        line = [(0.0, pool.minimum), *wanted]
        draws[seed] = apart(real, line, duration)
        if not draws[seed]:
            return
    raise AssertionError(f"{name}: {real} is further than {POLLING_S} s from all draws: {draws}")


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
    kept = [{"clients": entry["clients"], "seconds": entry["seconds"]} for entry in profile]
    RUNS[name] = {"profile": kept, "wanted": wanted}
    RECORDS.write_text(json.dumps(RUNS, indent=None).replace('}, "', '},\n "') + "\n")


if __name__ == "__main__":
    record(*sys.argv[1:])
