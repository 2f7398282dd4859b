# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients that never stop asking and never ask twice: load on an endpoint, every answer judged.

Each client is a thread with a TCP connection of its own and sends one request after the other. It is as plain as a
user's: no retry is configured, so every request that the service loses is seen and counted. The models are those of
the local instance: identity answers at once, accelerator after 20 ms, one request at a time.

    tests/load.py --address 198.18.0.2:30001 --seconds 30
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

# What a model makes of its input.
ANSWERS = {"identity": lambda values: values, "accelerator": lambda values: values * 2}
# A request that takes longer is lost.
TIMEOUT_S = 20.0
# One connection per client, and no policy of retries from anywhere. The library's transparent retries stay on, as in
# every client: they only cover a request that never left it, because the connection was sent away (GOAWAY) meanwhile.
# No server can do anything about that moment.
CHANNEL = [("grpc.use_local_subchannel_pool", 1), ("grpc.service_config_disable_resolution", 1)]


@dataclass
class Report:
    """What clients have seen. A gap is a time in which one client got no right answer."""

    requests: int = 0
    failed: int = 0
    wrong: int = 0
    longest_gap_s: float = 0.0
    # Times of the first and the last right answer, in seconds since 1970.
    first: float = float("inf")
    last: float = 0.0
    # Times of the first and the last request that was lost.
    first_failed: float = float("inf")
    last_failed: float = 0.0
    errors: collections.Counter[str] = field(default_factory=collections.Counter)
    models: collections.Counter[str] = field(default_factory=collections.Counter)

    def add(self, other: Report) -> None:
        self.requests += other.requests
        self.failed += other.failed
        self.wrong += other.wrong
        self.longest_gap_s = max(self.longest_gap_s, other.longest_gap_s)
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)
        self.first_failed = min(self.first_failed, other.first_failed)
        self.last_failed = max(self.last_failed, other.last_failed)
        self.errors.update(other.errors)
        self.models.update(other.models)

    def as_dict(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "failed": self.failed,
            "wrong": self.wrong,
            "longest_gap_s": round(self.longest_gap_s, 3),
            "first": round(self.first, 3) if self.last else None,
            "last": round(self.last, 3) if self.last else None,
            "first_failed": round(self.first_failed, 3) if self.failed else None,
            "last_failed": round(self.last_failed, 3) if self.failed else None,
            "errors": dict(self.errors),
            "models": dict(self.models),
        }


class Client(threading.Thread):
    """One client of one model."""

    def __init__(self, number: int, address: str, model: str, stop: threading.Event, pause: float = 0.0) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self.report = Report()
        self._number = number
        self._address = address
        self._model = model
        self._halt = stop
        self._pause = pause

    def run(self) -> None:
        report = self.report
        with triton.InferenceServerClient(self._address, channel_args=CHANNEL) as client:
            given = triton.InferInput("INPUT0", [1, 4], "FP32")
            answered = time.monotonic()
            while not self._halt.is_set():
                # Values that no other request has, so that a mixed-up answer is a wrong one.
                values = numpy.array([[self._number, report.requests, -0.5, 1e6]], dtype=numpy.float32)
                given.set_data_from_numpy(values)
                report.requests += 1
                report.models[self._model] += 1
                try:
                    result = client.infer(self._model, [given], client_timeout=TIMEOUT_S).as_numpy("OUTPUT0")
                except InferenceServerException as exc:
                    report.failed += 1
                    report.first_failed = min(report.first_failed, time.time())
                    report.last_failed = time.time()
                    report.errors[f"{exc.status()}: {exc.message()}"] += 1
                    # An endpoint that refuses at once is not to be hammered.
                    self._halt.wait(0.01)
                    continue
                if result is None or not numpy.array_equal(result, ANSWERS[self._model](values)):
                    report.wrong += 1
                    continue
                now = time.monotonic()
                report.longest_gap_s = max(report.longest_gap_s, now - answered)
                answered = now
                report.first = min(report.first, time.time())
                report.last = time.time()
                if self._pause:
                    self._halt.wait(self._pause)
            report.longest_gap_s = max(report.longest_gap_s, time.monotonic() - answered)


def run(
    address: str,
    *,
    clients: int = 8,
    models: Sequence[str] = tuple(ANSWERS),
    seconds: float = 60.0,
    pause: float = 0.0,
    start_file: Path | None = None,
    stop_file: Path | None = None,
) -> Report:
    """Ask until the stop file is there, but for so many seconds at most. Clients take turns with the models.

    Each waits for so many seconds of pause after an answer. The start file is written when every client has had one.
    """
    stop = threading.Event()
    workers = [Client(number, address, models[number % len(models)], stop, pause) for number in range(clients)]
    deadline = time.monotonic() + seconds
    for worker in workers:
        worker.start()
    while time.monotonic() < deadline and not (stop_file and stop_file.exists()):
        time.sleep(0.05)
        if start_file and all(worker.report.last for worker in workers):
            start_file.touch()
            start_file = None
    stop.set()
    total = Report()
    for worker in workers:
        worker.join()
        total.add(worker.report)
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description="Load on an endpoint; fails when a request is lost.")
    parser.add_argument("--address", required=True, help="host:port of the gRPC endpoint")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--model", action="append", choices=sorted(ANSWERS), help="may be given several times")
    parser.add_argument("--seconds", type=float, default=60.0, help="never longer than this")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between an answer and the next request")
    parser.add_argument("--start-file", type=Path, help="written when every client has had an answer")
    parser.add_argument("--stop-file", type=Path, help="end as soon as this file exists")
    arguments = parser.parse_args()
    report = run(
        arguments.address,
        clients=arguments.clients,
        models=arguments.model or tuple(ANSWERS),
        seconds=arguments.seconds,
        pause=arguments.pause,
        start_file=arguments.start_file,
        stop_file=arguments.stop_file,
    )
    print(json.dumps(report.as_dict(), indent=1))
    return 0 if report.requests and not report.failed and not report.wrong else 1


if __name__ == "__main__":
    sys.exit(main())
