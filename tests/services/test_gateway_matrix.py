# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way to let clients in, with every limit, with TLS and without: rendered, judged by Envoy, and tried on Triton.

Limits of a client are left out where clients have no names, which the inventory check refuses.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ansible_collections.fastml.supersonic.plugins.module_utils._envoy import config_validation
from ansible_collections.fastml.supersonic.tests.harness.certificates import certificate
from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy, program
from ansible_collections.fastml.supersonic.tests.harness.gateway import (
    CHANNEL,
    ISSUER,
    KEY,
    OTHER_KEY,
    bearer,
    infer,
    key_set,
    passed,
    render_cases,
    statistics,
    token,
)
from ansible_collections.fastml.supersonic.tests.harness.models import write_model
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton

CMS, ATLAS = "cms-0123456789abcdefghij", "atlas-0123456789abcdefgh"
AUTHORITY = certificate("authority")
SERVER = certificate("localhost", AUTHORITY)
SLOW_S = 1.0
SIDE_BY_SIDE = 6

ACCESS: dict[str, dict[str, Any]] = {
    "open": {},
    "jwt": {"envoy_jwt_issuers": [{"issuer": ISSUER, "audiences": ["supersonic"], "jwks": key_set(one=KEY)}]},
    "static": {"envoy_tokens": {"cms": CMS, "atlas": ATLAS}},
}
BURST, CONNECTIONS, NEW_CONNECTIONS = 3, 2, 6
LIMITS: dict[str, dict[str, Any]] = {
    "unlimited": {},
    "rate": {"envoy_request_rate": 1, "envoy_request_burst": BURST},
    "client-rate": {"envoy_client_limits": {"cms": {"rate": 1, "burst": BURST}}},
    "in-flight": {"envoy_requests_in_flight": 1},
    "client-in-flight": {"envoy_client_limits": {"cms": {"in_flight": 1}}},
    "connections": {"envoy_client_connections": CONNECTIONS},
    "connection-rate": {"envoy_connection_rate": 1, "envoy_connection_burst": NEW_CONNECTIONS},
    "size": {"envoy_request_max_bytes": 100_000},
    "load": {"envoy_load_limit": {"query": "load", "threshold": 50, "scope": "all"}},
}
TRANSPORT: dict[str, dict[str, Any]] = {
    "plain": {},
    "tls": {"envoy_tls_certificate": SERVER.pem, "envoy_tls_private_key": SERVER.key_pem},
}
CASES = {
    "-".join(names): {**ACCESS[names[0]], **LIMITS[names[1]], **TRANSPORT[names[2]]}
    for names in itertools.product(ACCESS, LIMITS, TRANSPORT)
    if not (names[0] == "open" and names[1].startswith("client"))
}


# ---- what all cases share ------------------------------------------------------------------------------------------
class Prometheus:
    """Answers as Prometheus does, to each case by its own path; a real one is in tests/cluster/test_load_limit.py."""

    def __init__(self) -> None:
        self.high: set[str] = set()
        prometheus = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                case, _slash, rest = self.path.lstrip("/").partition("/")
                assert rest.startswith("api/v1/query?query=")
                sample = [time.time(), "1" if case in prometheus.high else "0"]
                data = {"resultType": "vector", "result": [{"metric": {}, "value": sample}]}
                body = json.dumps({"status": "success", "data": data}, separators=(",", ":")).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    folder = tmp_path_factory.mktemp("server")
    write_model(folder / "models", "identity")
    write_model(folder / "models", "slow", execute=f"time.sleep({SLOW_S})")
    running = Triton(folder / "models", folder, wait=False)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    running = Prometheus()
    yield running
    running.close()


@pytest.fixture(scope="module")
def manifests(prometheus: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def located(name: str, case: dict[str, Any]) -> dict[str, Any]:
        limit = case.get("envoy_load_limit")
        return {**case, "envoy_load_limit": {**limit, "url": f"{prometheus.url}/{name}"}} if limit else case

    return render_cases(tmp_path_factory.mktemp("cases"), {name: located(name, case) for name, case in CASES.items()})


Outcome = dict[str, Future]


@pytest.fixture(scope="module")
def judged(manifests: Path) -> Iterator[Outcome]:
    """What Envoy says of each case's configuration; several at a time."""
    with ThreadPoolExecutor(2) as pool:
        yield {case: pool.submit(judge, manifests / case / "envoy.yaml") for case in CASES}


@pytest.fixture(scope="module")
def tried(
    manifests: Path, server: Triton, prometheus: Prometheus, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outcome]:
    """What became of each case; most of the time each waits for a second to pass, so they do it together."""
    folder = tmp_path_factory.mktemp("envoys")
    server.wait_until_live()

    def attempt(case: str) -> None:
        envoy = DeployedEnvoy(folder / case, manifests / case / "envoy.yaml", [server.grpc])
        try:
            Trial(case, envoy, prometheus).run()
        finally:
            envoy.stop()

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        yield {case: pool.submit(attempt, case) for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_envoy_accepts(judged: Outcome, case: str) -> None:
    judged[case].result()


@pytest.mark.parametrize("case", CASES)
def test_clients_are_let_in_refused_and_limited(tried: Outcome, case: str) -> None:
    tried[case].result()


def judge(file: Path) -> None:
    manifests = list(yaml.safe_load_all(file.read_text()))
    assert config_validation.validate(str(program()), manifests, lambda *_what: None) == []


# ---- one case ------------------------------------------------------------------------------------------------------
class Trial:
    """The clients of a case: `mine`, which is limited where one client is, and `theirs`, which then is not."""

    def __init__(self, case: str, envoy: DeployedEnvoy, prometheus: Prometheus) -> None:
        self.case, self.envoy, self.prometheus = case, envoy, prometheus
        self.access, limit = case.split("-", 1)
        self.limit, self.transport = limit.rsplit("-", 1)
        self.authority = AUTHORITY if self.transport == "tls" else None
        self.held = 0
        self.mine, self.theirs = {
            "open": (None, None),
            "jwt": (bearer(token(sub="cms")), bearer(token(sub="atlas"))),
            "static": (bearer(CMS), bearer(ATLAS)),
        }[self.access]

    def run(self) -> None:
        assert self.infer(self.mine) == "OK"
        assert passed(self.envoy) == 1
        self.strangers()
        limits: dict[str, Callable[[], None]] = {
            "unlimited": self.unlimited,
            "rate": self.rate,
            "client-rate": self.rate,
            "in-flight": self.in_flight,
            "client-in-flight": self.in_flight,
            "connections": self.connections,
            "connection-rate": self.connection_rate,
            "size": self.size,
            "load": self.load,
        }
        limits[self.limit]()

    def infer(self, authorization: str | None, model: str = "identity", values: int = 4) -> str:
        if self.limit == "connections":
            self.wait_until_those_that_went_are_not_counted()
        return infer(self.envoy, model, authorization, values, self.authority)

    @contextlib.contextmanager
    def unreached(self) -> Iterator[None]:
        """Whatever is asked in here, Triton hears nothing of it."""
        before = passed(self.envoy)
        yield
        assert passed(self.envoy) == before

    def strangers(self) -> None:
        """Clients that are not let in, and that no limit is for: they use up nothing of it."""
        wrong = {"open": [], "jwt": [None, bearer(token(OTHER_KEY, sub="cms"))], "static": [None, bearer(CMS[::-1])]}
        with self.unreached():
            for authorization in wrong[self.access]:
                assert self.infer(authorization).startswith("StatusCode.UNAUTHENTICATED")
            if self.authority:
                answer = self.in_the_clear()
                # At most an alert of TLS.
                assert answer[:1] in (b"", b"\x15")
                assert b"HTTP" not in answer

    def in_the_clear(self) -> bytes:
        """All that a good request without TLS is answered."""
        lines = [
            "POST /inference.GRPCInferenceService/ServerReady HTTP/1.1",
            "Host: localhost",
            "Content-Type: application/grpc",
            "TE: trailers",
            "Content-Length: 5",
            *([f"Authorization: {self.mine}"] if self.mine else []),
        ]
        answer = b""
        with socket.create_connection(("127.0.0.1", self.envoy.port), 5) as client:
            client.sendall("\r\n".join([*lines, "", ""]).encode() + bytes(5))
            with contextlib.suppress(ConnectionResetError):
                while more := client.recv(4096):
                    answer += more
        return answer

    def unlimited(self) -> None:
        assert [self.infer(self.mine, values=40_000) for _number in range(2 * NEW_CONNECTIONS)] == (
            ["OK"] * 2 * NEW_CONNECTIONS
        )

    def rate(self) -> None:
        # One is used up already; some come back while the test asks.
        found = []
        while len(found) < 10 * BURST and (not found or found[-1] == "OK"):
            found.append(self.infer(self.mine))
        assert found[: BURST - 1] == ["OK"] * (BURST - 1)
        assert found[-1].startswith("StatusCode.RESOURCE_EXHAUSTED")
        # Triton heard of those alone that were let in.
        assert passed(self.envoy) == 1 + found.count("OK")
        if self.limit == "client-rate":
            assert [self.infer(self.theirs) for _number in range(2 * BURST)] == ["OK"] * 2 * BURST
        until(lambda: self.infer(self.mine) == "OK", 10)

    def in_flight(self) -> None:
        busy = r"^cluster\.triton.*\.upstream_rq_active$"
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(self.infer, self.mine, "slow")
            until(lambda: first.done() or sum(statistics(self.envoy, busy).values()) == 1, 10)
            with self.unreached():
                second = self.infer(self.mine)
            assert second.startswith("StatusCode.RESOURCE_EXHAUSTED")
            assert "too many requests at a time" in second
            if self.limit == "client-in-flight":
                assert self.infer(self.theirs) == "OK"
            assert first.result() == "OK"
        assert self.infer(self.mine) == "OK"

    def connections(self) -> None:
        with contextlib.ExitStack() as held:
            for _number in range(CONNECTIONS):
                held.enter_context(self.connected())
            with self.unreached():
                assert self.infer(self.mine).startswith("StatusCode.UNAVAILABLE")
        until(lambda: self.infer(self.mine) == "OK", 10)

    def wait_until_those_that_went_are_not_counted(self) -> None:
        """Envoy counts a connection until it has seen that its client closed it."""
        active = rf"^listener\..*_{self.envoy.port}\.downstream_cx_active$"
        until(lambda: sum(statistics(self.envoy, active).values()) == self.held)

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """A connection that stays, by which a call was answered."""
        self.wait_until_those_that_went_are_not_counted()
        if self.authority:
            credentials = grpc.ssl_channel_credentials(self.authority.pem.encode())
            channel = grpc.secure_channel(f"localhost:{self.envoy.port}", credentials, CHANNEL)
        else:
            channel = grpc.insecure_channel(self.envoy.address, CHANNEL)
        metadata = [("authorization", self.mine)] if self.mine else []
        with channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            assert stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=10, metadata=metadata).ready
            self.held += 1
            yield
        self.held -= 1

    def connection_rate(self) -> None:
        found = []
        while len(found) < 10 * NEW_CONNECTIONS and (not found or found[-1] == "OK"):
            found.append(self.infer(self.mine))
        assert found[-1].startswith("StatusCode.UNAVAILABLE")
        until(lambda: self.infer(self.mine) == "OK", 10)

    def size(self) -> None:
        # Nobody says before how large a message is: Triton hears its beginning, but never the whole.
        answered = r"^cluster\.triton\.upstream_rq_completed$"
        assert self.infer(self.mine, values=20_000) == "OK"
        assert sum(statistics(self.envoy, answered).values()) == 2
        refused = self.infer(self.mine, values=40_000)
        assert sum(statistics(self.envoy, answered).values()) == 2
        assert refused.startswith("StatusCode.RESOURCE_EXHAUSTED")
        assert "too large" in refused

    def load(self) -> None:
        self.prometheus.high.add(self.case)
        # Each worker of Envoy looks by itself, and each call may come to another one.
        until(lambda: all("the servers are busy" in self.infer(self.mine) for _number in range(8)), 15)
        with self.unreached():
            for _number in range(4):
                assert self.infer(self.mine).startswith("StatusCode.RESOURCE_EXHAUSTED")
        self.strangers()
        self.prometheus.high.discard(self.case)
        until(lambda: all(self.infer(self.mine) == "OK" for _number in range(4)), 15)
