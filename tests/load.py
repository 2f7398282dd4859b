# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients that never stop asking and never ask twice: load on an endpoint, every answer judged.

Each client is a thread with a TCP connection of its own and sends one request after the other. It is as plain as a
user's: no retry is configured, so every request that the service loses is seen and counted. The models are those of
the local instance: identity answers at once, accelerator after 20 ms, one request at a time.

A stream is one call for many requests, so it stays at its Envoy and its server and ends with them. Its client opens
another one then, as users' do; the request that was on its way is told apart, as cut.

    tests/load.py --address 198.18.0.2:30001 --seconds 30
"""

from __future__ import annotations

import argparse
import collections
import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
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
# Between an answer and the next request of a stream.
STREAM_PAUSE_S = 0.02
# How gRPC's message begins when a request had no connection to leave by.
UNSENT = "failed to connect to all addresses"
# One connection per client, and no policy of retries from anywhere. The library's transparent retries stay on, as in
# every client: they only cover a request that never left it, because the connection was sent away (GOAWAY) meanwhile.
# No server can do anything about that moment.
CHANNEL = [("grpc.use_local_subchannel_pool", 1), ("grpc.service_config_disable_resolution", 1)]


@dataclass
class Report:
    """What clients have seen. A gap is a time in which one client got no right answer."""

    requests: int = 0
    failed: int = 0
    # Of those that failed: such that never left the client, since it had no connection.
    unsent: int = 0
    wrong: int = 0
    longest_gap_s: float = 0.0
    # Of streams alone: requests, streams that ended early, and requests that were on their way then.
    streamed: int = 0
    streams_ended: int = 0
    cut: int = 0
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
        self.unsent += other.unsent
        self.wrong += other.wrong
        self.longest_gap_s = max(self.longest_gap_s, other.longest_gap_s)
        self.streamed += other.streamed
        self.streams_ended += other.streams_ended
        self.cut += other.cut
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
            "unsent": self.unsent,
            "wrong": self.wrong,
            "longest_gap_s": round(self.longest_gap_s, 3),
            "streamed": self.streamed,
            "streams_ended": self.streams_ended,
            "cut": self.cut,
            "first": round(self.first, 3) if self.last else None,
            "last": round(self.last, 3) if self.last else None,
            "first_failed": round(self.first_failed, 3) if self.failed else None,
            "last_failed": round(self.last_failed, 3) if self.failed else None,
            "errors": dict(self.errors),
            "models": dict(self.models),
        }


@dataclass
class Endpoint:
    """Where requests go, and what they show: a token, and whom the endpoint's certificate has to be signed by."""

    address: str
    token: str = ""
    authorities: str = ""

    def client(self) -> triton.InferenceServerClient:
        """A client with a connection of its own."""
        secure = {"ssl": True, "root_certificates": self.authorities} if self.authorities else {}
        return triton.InferenceServerClient(self.address, channel_args=CHANNEL, **secure)

    def headers(self) -> dict[str, str]:
        """Metadata of a request."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}


class Client(threading.Thread):
    """One client of one model."""

    def __init__(self, number: int, endpoint: Endpoint, model: str, stop: threading.Event, pause: float = 0.0) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self.report = Report()
        self._number = number
        self._endpoint = endpoint
        self._model = model
        self._halt = stop
        self._pause = pause

    def run(self) -> None:
        report = self.report
        headers = self._endpoint.headers()
        with self._endpoint.client() as client:
            given = triton.InferInput("INPUT0", [1, 4], "FP32")
            answered = time.monotonic()
            while not self._halt.is_set():
                # Values that no other request has, so that a mixed-up answer is a wrong one.
                values = numpy.array([[self._number, report.requests, -0.5, 1e6]], dtype=numpy.float32)
                given.set_data_from_numpy(values)
                report.requests += 1
                report.models[self._model] += 1
                try:
                    result = client.infer(self._model, [given], headers=headers, client_timeout=TIMEOUT_S).as_numpy(
                        "OUTPUT0"
                    )
                except InferenceServerException as exc:
                    report.failed += 1
                    report.unsent += str(exc.message()).startswith(UNSENT)
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


Answers = queue.Queue[tuple[triton.InferResult | None, Exception | None]]


def _into(answers: Answers) -> Callable[[triton.InferResult | None, Exception | None], None]:
    return lambda result, error: answers.put((result, error))


class Stream(Client):
    """One client that sends its requests through a stream."""

    def run(self) -> None:
        report = self.report
        answered = time.monotonic()
        while not self._halt.is_set():
            answers: Answers = queue.Queue()
            with self._endpoint.client() as client:
                client.start_stream(_into(answers), headers=self._endpoint.headers())
                while not self._halt.is_set():
                    report.streamed += 1
                    values = numpy.array([[self._number, report.streamed, -0.5, 1e6]], dtype=numpy.float32)
                    given = triton.InferInput("INPUT0", [1, 4], "FP32")
                    given.set_data_from_numpy(values)
                    try:
                        client.async_stream_infer(self._model, [given])
                        result, error = answers.get(timeout=TIMEOUT_S)
                    except (InferenceServerException, queue.Empty) as exc:
                        result, error = None, exc
                    if result is None:
                        report.streams_ended += 1
                        report.cut += 1
                        report.errors[f"stream: {error}"] += 1
                        self._halt.wait(0.01)
                        break
                    if not numpy.array_equal(result.as_numpy("OUTPUT0"), ANSWERS[self._model](values)):
                        report.wrong += 1
                    now = time.monotonic()
                    report.longest_gap_s = max(report.longest_gap_s, now - answered)
                    answered = now
                    report.first = min(report.first, time.time())
                    report.last = time.time()
                    self._halt.wait(self._pause)


def run(
    address: str,
    *,
    clients: int = 8,
    models: Sequence[str] = tuple(ANSWERS),
    seconds: float = 60.0,
    pause: float = 0.0,
    streams: int = 0,
    token: str = "",
    authorities: str = "",
    start_file: Path | None = None,
    stop_file: Path | None = None,
) -> Report:
    """Ask until the stop file is there, but for so many seconds at most. Clients take turns with the models.

    Each waits for so many seconds of pause after an answer. The start file is written when every client has had one.
    """
    stop = threading.Event()
    endpoint = Endpoint(address, token, authorities)
    workers = [Client(number, endpoint, models[number % len(models)], stop, pause) for number in range(clients)]
    workers += [
        Stream(clients + number, endpoint, models[0], stop, max(pause, STREAM_PAUSE_S)) for number in range(streams)
    ]
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
    parser.add_argument("--streams", type=int, default=0, help="further clients, each with a stream")
    parser.add_argument("--token-file", type=Path, help="file with the token to show")
    parser.add_argument("--authorities", default="", help="file of certificates; TLS is spoken with it")
    parser.add_argument("--start-file", type=Path, help="written when every client has had an answer")
    parser.add_argument("--stop-file", type=Path, help="end as soon as this file exists")
    arguments = parser.parse_args()
    report = run(
        arguments.address,
        clients=arguments.clients,
        models=arguments.model or tuple(ANSWERS),
        seconds=arguments.seconds,
        pause=arguments.pause,
        streams=arguments.streams,
        token=arguments.token_file.read_text().strip() if arguments.token_file else "",
        authorities=arguments.authorities,
        start_file=arguments.start_file,
        stop_file=arguments.stop_file,
    )
    print(json.dumps(report.as_dict(), indent=1))
    return 0 if report.requests and not report.failed and not report.wrong else 1


if __name__ == "__main__":
    sys.exit(main())
