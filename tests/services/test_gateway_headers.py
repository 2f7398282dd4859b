# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Envoy's own request headers have no effect when a client sends them, whatever private address it connects from.

Envoy obeys x-envoy-* headers of clients that it regards as internal. An empty internal_address_config makes those
internal that connect from a private address without x-forwarded-for, 127.0.0.1 among them (Envoy documentation, HTTP
header manipulation, and HttpConnectionManager.internal_address_config). Each test looks at the effect, not at the
configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy
from ansible_collections.fastml.supersonic.tests.harness.gateway import CHANNEL, deployed, statistics

NAMES = 20
RETRY_EVERYTHING = (
    ("x-envoy-retry-on", "retriable-status-codes,5xx"),
    ("x-envoy-retry-grpc-on", "cancelled,deadline-exceeded,internal,resource-exhausted,unavailable"),
    ("x-envoy-retriable-status-codes", "200"),
    ("x-envoy-max-retries", "20"),
)
HEALTHY = grpc.method_handlers_generic_handler(
    "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"\x08\x01")}
)


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Counts inference requests and keeps the metadata of the last one."""

    def __init__(self) -> None:
        self.requests = 0
        self.metadata: dict[str, str] = {}

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests += 1
        self.metadata = {str(name): str(value) for name, value in context.invocation_metadata()}
        return service_pb2.ModelInferResponse(id=request.id)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Server, str]]:
    counted = Server()
    running = grpc.server(ThreadPoolExecutor(4))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(counted, running)
    running.add_generic_rpc_handlers((HEALTHY,))
    address = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
    running.start()
    yield counted, address
    running.stop(None)


@pytest.fixture(scope="module")
def envoy(server: tuple[Server, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedEnvoy]:
    with deployed(tmp_path_factory.mktemp("headers"), {"default": {}}, [server[1]]) as running:
        yield running["default"]


def infer(envoy: DeployedEnvoy, *metadata: tuple[str, str]) -> None:
    """One inference request with this metadata, which has to succeed."""
    with grpc.insecure_channel(envoy.address, options=CHANNEL) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        stub.ModelInfer(service_pb2.ModelInferRequest(model_name="any"), timeout=20, metadata=metadata)


def test_a_client_cannot_have_its_request_repeated(envoy: DeployedEnvoy, server: tuple[Server, str]) -> None:
    before = server[0].requests
    infer(envoy, *RETRY_EVERYTHING)
    assert server[0].requests - before == 1


def test_a_client_cannot_make_statistics(envoy: DeployedEnvoy) -> None:
    """Each name would be kept for as long as Envoy lives."""
    infer(envoy)
    before = set(statistics(envoy, "^cluster"))
    for number in range(NAMES):
        infer(envoy, ("x-envoy-upstream-alt-stat-name", f"made-by-a-client-{number}"))
    assert set(statistics(envoy, "made-by-a-client")) == set()
    assert {name for name in set(statistics(envoy, "^cluster")) - before if "client" in name} == set()


def test_a_client_cannot_choose_time_outs(envoy: DeployedEnvoy, server: tuple[Server, str]) -> None:
    """Envoy tells a server the time-out that is in force; without one it tells none."""
    infer(envoy, ("x-envoy-upstream-rq-timeout-ms", "100"), ("x-envoy-upstream-rq-per-try-timeout-ms", "50"))
    assert "x-envoy-expected-rq-timeout-ms" not in server[0].metadata
    assert not [name for name in server[0].metadata if name.startswith("x-envoy-upstream-rq")]


def test_a_client_is_not_internal(envoy: DeployedEnvoy, server: tuple[Server, str]) -> None:
    """Envoy marks the requests of internal clients for servers (x-envoy-internal)."""
    infer(envoy, ("x-envoy-internal", "true"), ("x-request-id", "chosen-by-the-client"))
    assert server[0].metadata.get("x-envoy-internal") is None
    assert server[0].metadata["x-request-id"] != "chosen-by-the-client"
