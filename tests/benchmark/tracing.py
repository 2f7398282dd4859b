# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What traces cost, on loopback: `make benchmark-tracing`.

One server, and Envoys in front of it that trace nothing, 1 % and everything, and one whose clients sample everything,
in turns, at a steady rate. Prints latency, the processor time of Envoy and Triton for each request, and how many
requests the server traced. Everything here runs on the same few cores, so that only differences tell something.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / ".collections"))

from ansible_collections.fastml.supersonic.tests.harness.processes import Process
from ansible_collections.fastml.supersonic.tests.harness.programs import program
from ansible_collections.fastml.supersonic.tests.harness.tracing import steady, traced, write_models

# Envoy of each, and whether its clients sample.
CASES: dict[str, tuple[dict[str, Any], bool]] = {
    "off": ({"envoy_tracing": {"enabled": False}, "triton_tracing": {"enabled": False}}, False),
    "0 %": ({"supersonic_tracing": {"sampling_percent": 0}}, False),
    "1 %": ({"supersonic_tracing": {"sampling_percent": 1}}, False),
    "100 %": ({"supersonic_tracing": {"sampling_percent": 100}}, False),
    "clients sample all": ({"supersonic_tracing": {"sampling_percent": 0}}, True),
}


def processor_seconds(process: Process) -> float:
    """Of a process and its threads so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000, help="requests in a second")
    parser.add_argument("--seconds", type=float, default=20, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        collector = program("otel-collector", folder) / "otel-collector"
        envoys = {name: variables for name, (variables, _sampled) in CASES.items()}
        found: dict[str, dict[str, list[float]]] = {name: {} for name in CASES}
        hosts = {f"case{number}": envoys[name] for number, name in enumerate(CASES)}
        with traced(collector, folder, write_models(folder / "models"), hosts) as instance:
            for _turn in range(options.turns):
                for host, (name, (_variables, sampled)) in zip(hosts, CASES.items(), strict=True):
                    envoy = instance.envoys[host]
                    before = processor_seconds(envoy.process), processor_seconds(instance.triton.process)
                    known = server_traces(instance)
                    seen = steady(envoy.address, "identity", options.rate, options.seconds, sampled=sampled)
                    after = processor_seconds(envoy.process), processor_seconds(instance.triton.process)
                    time.sleep(8)
                    figures = {
                        "p50 (ms)": seen["p50"],
                        "p99 (ms)": seen["p99"],
                        "Envoy (us per request)": (after[0] - before[0]) / seen["sent"] * 1e6,
                        "Triton (us per request)": (after[1] - before[1]) / seen["sent"] * 1e6,
                        "failed": seen["failed"],
                        "requests per second": seen["sent"] / seen["seconds"],
                        "traced by the server (%)": (server_traces(instance) - known) / seen["sent"] * 100,
                    }
                    print(name, json.dumps(figures), flush=True)
                    for figure, value in figures.items():
                        found[name].setdefault(figure, []).append(value)
            alive = instance.triton.process.running
    columns = list(next(iter(found.values())))
    print("\n| | " + " | ".join(columns) + " |\n|---" + "|---" * len(columns) + "|")
    for name, seen_figures in found.items():
        cells = (f"{statistics.median(seen_figures[column]):.3g}" for column in columns)
        print(f"| {name} | {' | '.join(cells)} |")
    sys.exit(0 if alive else "the server has fallen")


def server_traces(instance: Any) -> int:
    return len({span.trace_id for span in instance.collector.spans() if span.service == "main-triton"})


if __name__ == "__main__":
    main()
