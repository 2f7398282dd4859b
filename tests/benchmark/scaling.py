# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shapes of load, models and clusters in simulation, with the autoscaler's defaults: `make simulate`.

python tests/benchmark/scaling.py [--runs N] [SHAPE...] prints the table of docs/autoscaling-simulator.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".collections"))

from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation import report

FIGURE = report.PROFILE


class Shape(NamedTuple):
    """A load, and what is special about the pool."""

    profile: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any] = {}
    variables: Mapping[str, Any] = {}


def closed(low: int, high: int, seconds: tuple[int, int, int] = (60, 240, 180)) -> list[dict[str, Any]]:
    return [{"clients": count, "seconds": time} for count, time in zip((low, high, low), seconds, strict=True)]


def opened(low: float, high: float, seconds: tuple[int, int, int] = (60, 240, 180)) -> list[dict[str, Any]]:
    return [{"rate": rate, "seconds": time} for rate, time in zip((low, high, low), seconds, strict=True)]


def model(**model: Any) -> dict[str, Any]:
    return {"models": [model]}


BATCH_64 = model(execution_ms=20, request_ms=0.5, max_batch=64)
SHAPES = {
    "figure: 1, 10, 1 clients": Shape(FIGURE),
    "ramp: 1 to 10 to 1 clients": Shape(
        [{"clients": 1, "until": 10, "seconds": 200}, {"clients": 10, "until": 1, "seconds": 200}]
    ),
    "steps: 1, 3, 6, 10, 4, 8, 2 clients": Shape(
        [{"clients": 1, "seconds": 30}, *({"clients": count, "seconds": 45} for count in (3, 6, 10, 4, 8, 2))]
    ),
    "bursts of 20 s": Shape(
        [{"clients": 1, "seconds": 60}, *[{"clients": 10, "seconds": 20}, {"clients": 1, "seconds": 60}] * 4]
    ),
    "noise: 6 ± 2 clients": Shape([{"clients": 6, "noise": 2, "seconds": 420}]),
    "40 clients that think 100 ms": Shape(closed(4, 40), {"think_ms": 100}),
    "two models, 5 and 50 ms": Shape(
        FIGURE, {"models": [{"execution_ms": 5, "share": 3}, {"name": "slow", "execution_ms": 50}]}
    ),
    "two executions at a time": Shape(closed(2, 20), {"slots": 2}),
    "batches of 8": Shape(closed(2, 60, (60, 180, 120)), model(execution_ms=15, request_ms=2, max_batch=8)),
    "batches of 64, learned": Shape(closed(2, 300, (60, 120, 120)), BATCH_64),
    "batches of 64, given": Shape(closed(2, 300, (60, 120, 120)), BATCH_64, {"autoscaler_requests_per_server": 127.65}),
    "model of 5 ms": Shape(closed(1, 10, (60, 180, 180)), model(execution_ms=5)),
    "model of 500 ms": Shape(FIGURE, model(execution_ms=500)),
    "arrivals: 24, 192, 24/s": Shape(opened(24, 192, (60, 300, 180))),
    "arrivals, 500 ms: 1, 10, 1/s": Shape(
        opened(1, 10, (60, 400, 240)), model(execution_ms=500), {"autoscaler_max_replicas": 10}
    ),
    "arrivals, batches of 64": Shape(opened(50, 3000, (60, 120, 120)), BATCH_64),
    "100 servers, 5, 150, 5 clients": Shape(
        closed(5, 150, (60, 150, 90)), {**model(execution_ms=100), "envoys": 2}, {"autoscaler_max_replicas": 100}
    ),
    "100 servers, arrivals": Shape(
        opened(50, 400, (120, 200, 120)), {**model(execution_ms=100), "envoys": 2}, {"autoscaler_max_replicas": 100}
    ),
    "starts of 120 s": Shape(closed(1, 10, (60, 480, 180)), {"start_seconds": 120}),
    "scrapes every 5 s": Shape(FIGURE, {"scrape_interval": 5}),
    "scrapes every 15 s": Shape(FIGURE, {"scrape_interval": 15}),
    "scrapes every 30 s": Shape(FIGURE, {"scrape_interval": 30}),
    "from zero": Shape(
        [{"clients": 0, "seconds": 60}, {"clients": 4, "seconds": 120}, {"clients": 0, "seconds": 240}],
        {},
        {"autoscaler_min_replicas": 0, "autoscaler_cooldown": 60},
    ),
}
COLUMNS = {
    "mean ms": "mean_ms",
    "p99 ms": "p99_ms",
    "p99 settled": "settled_p99_ms",
    "requests": "requests",
    "servers": "servers_mean",
    "most": "servers_max",
    "utilization": "utilization",
    "swings": "swings",
    "response s": "response_seconds",
}


def row(shape: Shape, runs: int) -> dict[str, Any]:
    pool = report.pool_of(shape.variables, shape.settings)
    return report.simulate(pool, shape.profile, runs=runs)["pools"][0]


def cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", help="shapes whose names begin so; all by default")
    parser.add_argument("--runs", type=int, default=4, help="runs of each, with other moments for what is periodic")
    options = parser.parse_args()
    print(f"| load | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    for name, shape in SHAPES.items():
        if not options.shapes or any(name.startswith(wanted) for wanted in options.shapes):
            found = row(shape, options.runs)
            print(f"| {name} | {' | '.join(cell(found[key]) for key in COLUMNS.values())} |", flush=True)


if __name__ == "__main__":
    main()
