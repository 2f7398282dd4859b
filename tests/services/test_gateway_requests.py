# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of requests on their way: tried again, too many for the memory, with headers that nobody may forge.

A real Envoy before servers that are stand-ins: no real one says UNAVAILABLE just when it is told to, or tells what it
was sent.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy
from ansible_collections.fastml.supersonic.tests.harness.gateway import (
    CHANNEL,
    KEY,
    bearer,
    deployed,
    key_set,
    token,
)
from ansible_collections.fastml.supersonic.tests.harness.processes import until

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
MIB = 1 << 20
LARGE, LARGE_BYTES = 32, 8 * MIB
OVERLOADED = "UNAVAILABLE: envoy overloaded"
# docs/gateway-limits.md: large ones that were let in when there was less memory left than they take.
RESET = re.compile(r"INTERNAL: .*RST_STREAM.*")
CMS, ATLAS = "cms-0123456789abcdefghij", "atlas-0123456789abcdefgh"
CASES: dict[str, dict[str, Any]] = {
    "small": {"envoy_retry_buffer_bytes": MIB},
    "default": {},
    "large": {"envoy_retry_buffer_bytes": 24 * MIB},
    "memory": {"envoy_resources": {"limits": {"memory": "100Mi"}}},
    "named": {
        "envoy_tokens": {"cms": CMS, "atlas": ATLAS},
        "envoy_jwt_issuers": [
            {"issuer": "https://tokens.example.org", "audiences": ["supersonic"], "jwks": key_set(one=KEY)}
        ],
        "envoy_public_methods": ["ServerReady"],
    },
}
# https://github.com/grpc/grpc/blob/master/doc/health-checking.md: field 1, SERVING.
HEALTHY = grpc.method_handlers_generic_handler(
    "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"\x08\x01")}
)


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Refuses the first request of each id, whichever server gets it, holds those of a model, and tells what came."""

    seen: set[str] = set()
    held: set[str] = set()
    release = threading.Event()

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.model_name == "held":
            self.held.add(request.id)
            self.release.wait()
        elif request.id not in self.seen:
            self.seen.add(request.id)
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return service_pb2.ModelInferResponse(id=request.id)

    def ServerMetadata(self, _request: Any, context: grpc.ServicerContext) -> Any:
        return service_pb2.ServerMetadataResponse(extensions=_metadata(context))

    def ServerReady(self, _request: Any, context: grpc.ServicerContext) -> Any:
        # A public method: what it got is told in the answer's headers.
        context.send_initial_metadata([("got", "|".join(_metadata(context)))])
        return service_pb2.ServerReadyResponse(ready=True)


def _metadata(context: grpc.ServicerContext) -> list[str]:
    return [f"{name}={value}" for name, value in context.invocation_metadata()]


@pytest.fixture(scope="module")
def servers() -> Iterator[list[str]]:
    running, addresses = [], []
    for _number in range(2):
        server = grpc.server(ThreadPoolExecutor(40), options=UNLIMITED)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Server(), server)
        server.add_generic_rpc_handlers((HEALTHY,))
        addresses.append(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
        server.start()
        running.append(server)
    yield addresses
    for server in running:
        server.stop(None)


class Collector:
    """Takes spans (OTLP over gRPC) as they are."""

    def __init__(self) -> None:
        self.spans: list[bytes] = []
        self.server = grpc.server(ThreadPoolExecutor(2))
        method = grpc.unary_unary_rpc_method_handler(lambda request, _context: self.spans.append(request) or b"")
        service = "opentelemetry.proto.collector.trace.v1.TraceService"
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": method}),))
        self.address = f"localhost:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.server.stop(None)


@pytest.fixture(scope="module")
def envoys(
    servers: list[str], collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, DeployedEnvoy]]:
    folder = tmp_path_factory.mktemp("requests")
    traced = {"envoy_tracing": {"endpoint": collector.address, "sampling_percent": 100}}
    with deployed(folder, {**CASES, "traced": traced}, servers) as running:
        yield running


def ask(envoy: DeployedEnvoy, size: int, name: str, model: str = "any") -> str:
    """OK, or the status and the message of a request of so many bytes."""
    request = service_pb2.ModelInferRequest(model_name=model, id=name, raw_input_contents=[bytes(size)])
    with grpc.insecure_channel(envoy.address, options=[*UNLIMITED, *CHANNEL]) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            assert stub.ModelInfer(request, timeout=300).id == name
        except grpc.RpcError as exc:
            return f"{exc.code().name}: {exc.details()}"
    return "OK"


@pytest.mark.parametrize(
    ("case", "size", "expected"),
    [
        ("small", MIB // 2, "OK"),
        ("small", 3 * MIB, "UNAVAILABLE: not now"),
        ("default", 10 * MIB, "OK"),
        ("default", 20 * MIB, "UNAVAILABLE: not now"),
        ("large", 20 * MIB, "OK"),
        ("large", 28 * MIB, "UNAVAILABLE: not now"),
    ],
)
def test_requests_up_to_the_buffer_are_tried_again(
    envoys: dict[str, DeployedEnvoy], case: str, size: int, expected: str
) -> None:
    name = f"{case}-{size}"
    assert ask(envoys[case], size, name) == expected
    # A larger one is no error by itself: it is streamed and tried once.
    assert ask(envoys[case], size, name) == "OK"


def test_requests_are_refused_before_the_memory_is_used_up(envoys: dict[str, DeployedEnvoy]) -> None:
    """32 requests of 8 MiB, each kept for a retry, before an Envoy with a limit of 100 MiB: in a row, and at once."""
    envoy = envoys["memory"]

    def send(name: str) -> Future[str]:
        return pool.submit(ask, envoy, LARGE_BYTES, name, "held")

    def refused(sent: list[Future[str]]) -> list[str]:
        """Those that were while servers hold all others."""
        return [request.result() for request in sent if request.done()]

    with ThreadPoolExecutor(LARGE) as pool:
        try:
            sent: list[Future[str]] = []
            for number in range(LARGE):
                sent.append(send(f"row-{number}"))
                until(lambda: sent[-1].done() or f"row-{len(sent) - 1}" in Server.held)
            # The memory is taken as long as servers hold the requests, so the next one is refused too, however small.
            until(lambda: ask(envoy, 4, "small") == OVERLOADED)
            assert OVERLOADED in refused(sent)
        finally:
            Server.release.set()
        in_a_row = Counter(request.result() for request in sent)
    print(in_a_row)
    assert in_a_row["OK"] >= 1, in_a_row
    assert not [said for said in in_a_row if said not in ("OK", OVERLOADED) and not RESET.fullmatch(said)], in_a_row
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{envoy.process.pid}/status").read_text())
    assert peak
    # The program's own file is a part of that; all of them would have been 400 MiB.
    assert int(peak[1]) < 220 * 1024, in_a_row
    # It gives the memory back, and takes requests again.
    until(lambda: ask(envoy, 4, "between") == "OK")
    # What comes between two looks is let in, and the largest go when there is too much of it.
    Server.release.clear()
    with ThreadPoolExecutor(LARGE) as pool:
        sent = [send(f"together-{number}") for number in range(LARGE)]
        try:
            until(lambda: refused(sent))
        finally:
            Server.release.set()
        together = Counter(request.result() for request in sent)
    print(together)
    assert together["OK"] < LARGE, together
    assert not [said for said in together if said not in ("OK", OVERLOADED) and not RESET.fullmatch(said)], together
    until(lambda: ask(envoy, 4, "after") == "OK")


@pytest.mark.parametrize("kind", ["token", "jwt"])
def test_nobody_says_who_somebody_else_is(envoys: dict[str, DeployedEnvoy], kind: str) -> None:
    """What servers get: the name that the token has, no token, and nothing by which Envoy could be told what to do."""
    credential = bearer(ATLAS if kind == "token" else token(sub="atlas"))
    forged = [
        ("x-supersonic-client", "cms"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
        ("x-envoy-retry-on", "5xx"),
        ("x-forwarded-for", "192.0.2.1"),
    ]
    with grpc.insecure_channel(envoys["named"].address, options=CHANNEL) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answer = stub.ServerMetadata(
            service_pb2.ServerMetadataRequest(), timeout=10, metadata=[("authorization", credential), *forged]
        )
        got = dict(item.split("=", 1) for item in answer.extensions)
        assert got["x-supersonic-client"] == "atlas"
        # The address that Envoy sees comes last, whatever a client says.
        assert got["x-forwarded-for"].startswith("192.0.2.1,")
        assert not {"authorization", "x-envoy-upstream-rq-timeout-ms", "x-envoy-retry-on"} & set(got)
        # Without a token whatever is public.
        _answer, call = stub.ServerReady.with_call(
            service_pb2.ServerReadyRequest(), timeout=10, metadata=[("authorization", "Bearer nonsense"), *forged]
        )
        (public,) = (value for name, value in call.initial_metadata() if name == "got")
        assert "authorization" not in public
        assert "x-supersonic-client" not in public


def test_requests_are_traced_on_with_the_context_of_their_client(
    envoys: dict[str, DeployedEnvoy], collector: Collector
) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with grpc.insecure_channel(envoys["traced"].address, options=CHANNEL) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answer = stub.ServerMetadata(
            service_pb2.ServerMetadataRequest(), timeout=10, metadata=[("traceparent", f"00-{trace}-{parent}-01")]
        )
    got = dict(item.split("=", 1) for item in answer.extensions)
    # The server's span is in the client's trace, below Envoy's.
    assert got["traceparent"].startswith(f"00-{trace}-")
    assert parent not in got["traceparent"]
    until(lambda: any(bytes.fromhex(trace) in spans for spans in collector.spans))
    assert any(b"-envoy" in spans for spans in collector.spans)
