# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests are refused while a real Prometheus says that the load is too high.

Prometheus is the one of the local cluster's images. It and Envoy run on loopback, since what it says has to change.
"""

from __future__ import annotations

import json
import re
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy
from ansible_collections.fastml.supersonic.tests.harness.gateway import render_cases
from ansible_collections.fastml.supersonic.tests.harness.models import write_model
from ansible_collections.fastml.supersonic.tests.harness.processes import Process, free_ports, http_status, until
from ansible_collections.fastml.supersonic.tests.harness.programs import program
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton

TOKEN = "0123456789abcdefghijklmn"
LIMITS: dict[str, dict[str, Any]] = {
    "accept": {"query": "load", "threshold": 50, "retry_after": 7},
    "reject": {"query": "load", "threshold": 50, "on_error": "reject", "scope": "all"},
    "slow": {"query": "load", "threshold": 50, "resume_after": 6},
    "wrong": {"query": "no such query", "threshold": 50, "on_error": "reject"},
}


class Source:
    """A page of metrics that says what the test wants; "" for no load at all."""

    def __init__(self) -> None:
        self.value = "1"
        source = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f"load {source.value}\n".encode() if source.value else b""
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Prometheus:
    """A real Prometheus that asks the source four times a second."""

    def __init__(self, source: Source, folder: Path) -> None:
        (self.port,) = free_ports(1)
        configuration = {
            "global": {"scrape_interval": "250ms", "evaluation_interval": "1s"},
            "scrape_configs": [
                {"job_name": "load", "static_configs": [{"targets": [f"127.0.0.1:{source.port}"]}]},
                {"job_name": "self", "static_configs": [{"targets": [f"127.0.0.1:{self.port}"]}]},
            ],
        }
        (folder / "prometheus.yml").write_text(json.dumps(configuration))
        self.process = Process(
            [
                str(program("prometheus", folder) / "prometheus"),
                f"--config.file={folder}/prometheus.yml",
                f"--web.listen-address=127.0.0.1:{self.port}",
                f"--storage.tsdb.path={folder}/data",
                # Without a value for two seconds there is none.
                "--query.lookback-delta=2s",
            ],
            folder / "prometheus.log",
        )
        self.process.wait_until(lambda: http_status(f"http://127.0.0.1:{self.port}/-/ready") == 200, 30)

    def value(self, query: str) -> float:
        """What it answers to a query that has one value."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?query={quote(query)}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            (found,) = json.load(answer)["data"]["result"]
        return float(found["value"][1])

    def questions(self) -> float:
        """How many queries it has been asked."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            found = re.findall(
                r'^prometheus_http_requests_total\{[^}]*handler="/api/v1/query"[^}]*\} (\S+)$',
                answer.read().decode(),
                re.M,
            )
        return sum(float(number) for number in found)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    folder = tmp_path_factory.mktemp("server")
    write_model(folder / "models", "identity")
    running = Triton(folder / "models", folder)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def source() -> Iterator[Source]:
    page = Source()
    yield page
    page.close()


@pytest.fixture(scope="module")
def prometheus(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    running = Prometheus(source, tmp_path_factory.mktemp("prometheus"))
    yield running
    running.process.stop()


@pytest.fixture(scope="module")
def manifests(prometheus: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    common = {"envoy_tokens": {"cms": TOKEN}, "envoy_http": True, "envoy_concurrency": 4}
    url = f"http://127.0.0.1:{prometheus.port}"
    cases = {name: {**common, "envoy_load_limit": {"url": url, **limit}} for name, limit in LIMITS.items()}
    return render_cases(tmp_path_factory.mktemp("cases"), cases)


@pytest.fixture
def start(manifests: Path, server: Triton, source: Source, tmp_path: Path) -> Iterator[Callable[[str], DeployedEnvoy]]:
    running: list[DeployedEnvoy] = []

    def begin(case: str) -> DeployedEnvoy:
        source.value = "1"
        running.append(DeployedEnvoy(tmp_path, manifests / case / "envoy.yaml", [server.grpc], [server.http]))
        return running[-1]

    yield begin
    for envoy in running:
        envoy.stop()


def ask(envoy: DeployedEnvoy, method: str = "RepositoryIndex", token: str = TOKEN) -> tuple[str, dict[str, str]]:
    """Status and trailing metadata that a client with a connection of its own is told."""
    with grpc.insecure_channel(envoy.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = getattr(service_pb2_grpc.GRPCInferenceServiceStub(channel), method)
        request = getattr(service_pb2, f"{method}Request")()
        try:
            call(request, timeout=5, metadata=[("authorization", f"Bearer {token}")])
        except grpc.RpcError as exc:
            both = [*(exc.initial_metadata() or ()), *(exc.trailing_metadata() or ())]
            return exc.code().name, {**dict(both), "message": exc.details()}
    return "OK", {}


def index(envoy: DeployedEnvoy) -> tuple[int, str | None]:
    """Status of RepositoryIndex by HTTP, and after how long to ask again."""
    url, headers = f"http://{envoy.address}/v2/repository/index", {"authorization": f"Bearer {TOKEN}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, b"{}", headers), timeout=5) as answer:
            return int(answer.status), None
    except urllib.error.HTTPError as exc:
        return exc.code, exc.headers["retry-after"]


def told(envoy: DeployedEnvoy, status: str, method: str = "RepositoryIndex") -> None:
    """Wait until clients are told this status, whichever worker of Envoy they meet: each request is a connection."""
    until(lambda: all(ask(envoy, method)[0] == status for _request in range(40)), 60)


HIGH = ["51", *(pytest.param(value, marks=pytest.mark.thorough) for value in ("1e3", "5.1e+01", "+Inf"))]


@pytest.mark.parametrize("high", HIGH)
def test_refused_above_the_limit_and_let_in_below(
    start: Callable[[str], DeployedEnvoy], source: Source, high: str
) -> None:
    envoy = start("accept")
    told(envoy, "OK")
    source.value = high
    told(envoy, "RESOURCE_EXHAUSTED")
    _status, metadata = ask(envoy)
    assert metadata["message"] == "the servers are busy"
    assert (metadata["retry-after"], metadata["grpc-retry-pushback-ms"]) == ("7", "7000")
    # Only what clients choose a server by; an inference is let in, and who has no token learns nothing of the load.
    assert ask(envoy, "ServerReady")[0] == "OK"
    assert ask(envoy, token="x" * 24)[0] == "UNAUTHENTICATED"
    assert index(envoy) == (429, "7")
    for low in ("49", "3.2e-05", "0", "-Inf"):
        source.value = low
        told(envoy, "OK")


@pytest.mark.parametrize("value", ["NaN", ""])
def test_no_number_is_what_the_operator_says(start: Callable[[str], DeployedEnvoy], source: Source, value: str) -> None:
    accepting, rejecting = start("accept"), start("reject")
    for envoy in (accepting, rejecting):
        told(envoy, "OK")
    source.value = "99"
    for envoy in (accepting, rejecting):
        told(envoy, "RESOURCE_EXHAUSTED")
    source.value = value
    told(accepting, "OK")
    time.sleep(3)
    assert ask(accepting)[0] == "OK"
    # With the scope `all` every method is refused.
    assert ask(rejecting, "ServerReady")[0] == "RESOURCE_EXHAUSTED"
    source.value = "1"
    told(rejecting, "OK", "ServerReady")


def test_a_query_that_is_wrong(start: Callable[[str], DeployedEnvoy]) -> None:
    told(start("wrong"), "RESOURCE_EXHAUSTED")


@pytest.mark.parametrize(("case", "status"), [("accept", "OK"), ("reject", "RESOURCE_EXHAUSTED")])
def test_without_prometheus(
    start: Callable[[str], DeployedEnvoy], prometheus: Prometheus, case: str, status: str
) -> None:
    """It hangs, as on a machine that has no memory left."""
    envoy = start(case)
    told(envoy, "OK")
    prometheus.process.signal(signal.SIGSTOP)
    try:
        told(envoy, status)
        time.sleep(2)
        assert ask(envoy)[0] == status
    finally:
        prometheus.process.signal(signal.SIGCONT)
    told(envoy, "OK")


def test_let_in_again_only_after_a_while(
    start: Callable[[str], DeployedEnvoy], prometheus: Prometheus, source: Source
) -> None:
    # What tests before have left is forgotten.
    until(lambda: prometheus.value("max_over_time(load[8s])") < 50)
    envoy = start("slow")
    told(envoy, "OK")
    source.value = "99"
    told(envoy, "RESOURCE_EXHAUSTED")
    source.value = "1"
    started = time.monotonic()
    told(envoy, "OK")
    assert time.monotonic() - started > 2


def test_prometheus_is_asked_once_a_second_whatever_comes(
    start: Callable[[str], DeployedEnvoy], prometheus: Prometheus
) -> None:
    envoy = start("accept")
    told(envoy, "OK")
    before, started = prometheus.questions(), time.monotonic()
    stop, asked = threading.Event(), [0] * 4

    def client(number: int) -> None:
        with grpc.insecure_channel(envoy.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            while not stop.is_set():
                stub.RepositoryIndex(
                    service_pb2.RepositoryIndexRequest(), timeout=5, metadata=[("authorization", f"Bearer {TOKEN}")]
                )
                asked[number] += 1

    clients = [threading.Thread(target=client, args=(number,)) for number in range(len(asked))]
    for thread in clients:
        thread.start()
    # Until it was asked a few times, however long that takes where the machine is busy.
    until(lambda: prometheus.questions() - before >= 5 and min(asked) > 20, 60)
    stop.set()
    for thread in clients:
        thread.join()
    # Four workers, each of which could ask by itself, and each request.
    assert prometheus.questions() - before <= time.monotonic() - started + 1
