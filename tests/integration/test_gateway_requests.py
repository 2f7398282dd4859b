# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How large a request may be that is tried again on another server: a real Envoy before servers that refuse once.

The servers are stand-ins, since no real one says UNAVAILABLE just when it is told to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ansible_collections.fastml.supersonic.tests.golden import render
from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
MIB = 1 << 20
CASES = {"small": MIB, "default": 16 * MIB, "large": 24 * MIB}


# https://github.com/grpc/grpc/blob/master/doc/health-checking.md: field 1, SERVING.
HEALTHY = grpc.method_handlers_generic_handler(
    "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"\x08\x01")}
)


class Moody(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Refuses the first request of each id, whichever server gets it."""

    seen: set[str] = set()

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.id not in self.seen:
            self.seen.add(request.id)
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return service_pb2.ModelInferResponse(id=request.id)


@pytest.fixture(scope="module")
def servers() -> Iterator[list[str]]:
    running, addresses = [], []
    for _number in range(2):
        server = grpc.server(ThreadPoolExecutor(4), options=UNLIMITED)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Moody(), server)
        server.add_generic_rpc_handlers((HEALTHY,))
        addresses.append(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
        server.start()
        running.append(server)
    yield addresses
    for server in running:
        server.stop(None)


@pytest.fixture(scope="module")
def envoys(servers: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, DeployedEnvoy]]:
    folder = tmp_path_factory.mktemp("requests")
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "supersonic_namespace": "{{ inventory_hostname }}",
        "triton_image": "example.org/tritonserver:26.04-py3",
        "triton_model_repositories": [{"name": "models", "kind": "image", "path": "/models"}],
    }
    hosts = {case: {"envoy_retry_buffer_bytes": size} for case, size in CASES.items()}
    (folder / "hosts.yml").write_text(json.dumps({"supersonic_instances": {"hosts": hosts, "vars": common}}))
    render.render(folder, folder / "manifests")
    running = {}
    try:
        for case in CASES:
            running[case] = DeployedEnvoy(folder / case, folder / "manifests" / case / "envoy.yaml", servers)
        yield running
    finally:
        for envoy in running.values():
            envoy.stop()


@pytest.mark.parametrize(
    ("case", "size", "expected"),
    [
        ("small", MIB // 2, "OK"),
        ("small", 3 * MIB, "UNAVAILABLE"),
        ("default", 10 * MIB, "OK"),
        ("default", 24 * MIB, "UNAVAILABLE"),
        ("large", 20 * MIB, "OK"),
        ("large", 32 * MIB, "UNAVAILABLE"),
    ],
)
def test_requests_up_to_the_buffer_are_tried_again(
    envoys: dict[str, DeployedEnvoy], case: str, size: int, expected: str
) -> None:
    request = service_pb2.ModelInferRequest(model_name="any", id=f"{case}-{size}", raw_input_contents=[bytes(size)])
    with grpc.insecure_channel(envoys[case].address, options=UNLIMITED) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            stub.ModelInfer(request, timeout=30)
            status = "OK"
        except grpc.RpcError as exc:
            status = exc.code().name
        assert status == expected
        # A larger one is no error by itself: it is streamed and tried once.
        assert stub.ModelInfer(request, timeout=30).id == request.id
