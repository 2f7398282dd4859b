# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every load-balancing policy does what it is named after: real servers behind Envoys as the role deploys them."""

from __future__ import annotations

import collections
import http.client
import itertools
import json
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2

from ansible_collections.fastml.supersonic.tests.golden import render
from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy
from ansible_collections.fastml.supersonic.tests.harness.models import write_model
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton

SERVERS = 3
# The last server takes so long for a request, and one at a time; the others answer at once.
SLOW_S = 0.02
HEADER = "x-session"
POLICIES = ("ROUND_ROBIN", "RANDOM", "LEAST_REQUEST", "RING_HASH", "MAGLEV")
HASHES = ("RING_HASH", "MAGLEV")
# A connection of its own for each client: otherwise all of them would have one worker of Envoy.
CHANNEL = [("grpc.use_local_subchannel_pool", 1)]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Triton]]:
    """Servers that are on their way, whose model returns its first input, and its second plus the server's number."""
    started = []
    try:
        for number in range(SERVERS):
            folder = tmp_path_factory.mktemp(f"server-{number}")
            write_model(
                folder / "models",
                "where",
                datatypes=("FP32", "INT32"),
                execute=f"time.sleep({SLOW_S if number == SERVERS - 1 else 0} / 2)\n"
                f"                value = value + {number} * (value.dtype == numpy.int32)",
            )
            started.append(Triton(folder / "models", folder, wait=False))
        yield started
    finally:
        # Each takes seconds to end, so they do it together.
        for server in started:
            server.process.signal(signal.SIGTERM)
        for server in started:
            server.stop()


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The endpoint's manifests by policy, rendered by the real playbook."""
    folder = tmp_path_factory.mktemp("policies")
    hosts = {
        policy.lower().replace("_", "-"): {
            "envoy_load_balancing_policy": policy,
            "envoy_hash_policy": [{"header": HEADER}, {"source_ip": True}] if policy in HASHES else [],
        }
        for policy in POLICIES
    }
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "supersonic_namespace": "{{ inventory_hostname }}",
        "triton_image": "example.org/tritonserver:26.04-py3",
        "triton_model_repositories": [{"name": "models", "kind": "image", "path": "/models"}],
    }
    (folder / "hosts.yml").write_text(json.dumps({"supersonic_instances": {"hosts": hosts, "vars": common}}))
    render.render(folder, folder / "manifests")
    return lambda policy: folder / "manifests" / policy.lower().replace("_", "-") / "envoy.yaml"


def request(values: numpy.ndarray) -> list[triton.InferInput]:
    inputs = [triton.InferInput("INPUT0", values.shape, "FP32"), triton.InferInput("INPUT1", [1], "INT32")]
    inputs[0].set_data_from_numpy(values)
    inputs[1].set_data_from_numpy(numpy.zeros(1, numpy.int32))
    return inputs


def ask(address: str, sessions: Sequence[str | None]) -> list[int]:
    """Send a request for each session (None: without the header) through one connection; which servers answered."""
    found = []
    with triton.InferenceServerClient(address, channel_args=CHANNEL) as client:
        for number, session in enumerate(sessions):
            values = numpy.arange(number, number + 5, dtype=numpy.float32)
            headers = {} if session is None else {HEADER: session}
            answer = client.infer("where", request(values), headers=headers, client_timeout=10)
            assert numpy.array_equal(answer.as_numpy("OUTPUT0"), values)
            found.append(int(answer.as_numpy("OUTPUT1")[0]))
    return found


def ask_from(source: str, address: str) -> int:
    """Which server answers a client that has this address. Envoy takes gRPC over HTTP/1.1 too, whose client lets the
    address be chosen."""
    values = numpy.arange(5, dtype=numpy.float32)
    message = service_pb2.ModelInferRequest(model_name="where", raw_input_contents=[values.tobytes(), bytes(4)])
    message.inputs.add(name="INPUT0", datatype="FP32", shape=[5])
    message.inputs.add(name="INPUT1", datatype="INT32", shape=[1])
    payload = message.SerializeToString()
    connection = http.client.HTTPConnection(address, timeout=10, source_address=(source, 0))
    try:
        connection.request(
            "POST",
            "/inference.GRPCInferenceService/ModelInfer",
            bytes(1) + len(payload).to_bytes(4, "big") + payload,
            {"Content-Type": "application/grpc", "TE": "trailers"},
        )
        answer = service_pb2.ModelInferResponse.FromString(connection.getresponse().read()[5:])
    finally:
        connection.close()
    assert answer.raw_output_contents[0] == values.tobytes()
    return int.from_bytes(answer.raw_output_contents[1], "little")


@pytest.fixture
def endpoint(
    request: pytest.FixtureRequest, servers: list[Triton], manifests: Callable[[str], Path], tmp_path: Path
) -> Iterator[str]:
    """Address of an Envoy with the policy that the test names."""
    # They have started while the playbook ran.
    for server in servers:
        server.wait_until_live()
    envoy = DeployedEnvoy(tmp_path, manifests(request.param), [server.grpc for server in servers])
    yield envoy.address
    envoy.stop()


@pytest.mark.parametrize("endpoint", ["ROUND_ROBIN"], indirect=True)
def test_round_robin_is_even(endpoint: str) -> None:
    found = ask(endpoint, [None] * 30)
    assert collections.Counter(found) == dict.fromkeys(range(SERVERS), 10)
    assert found[SERVERS:] == found[:-SERVERS], "each in its turn"


@pytest.mark.parametrize("endpoint", ["RANDOM"], indirect=True)
def test_random_reaches_all_in_no_order(endpoint: str) -> None:
    found = ask(endpoint, [None] * 60)
    assert set(found) == set(range(SERVERS))
    assert found[SERVERS:] != found[:-SERVERS]


@pytest.mark.parametrize("endpoint", ["LEAST_REQUEST"], indirect=True)
def test_least_request_reaches_all_and_spares_the_slow(endpoint: str) -> None:
    assert set(ask(endpoint, [None] * 60)) == set(range(SERVERS))
    with ThreadPoolExecutor(6) as pool:
        runs = pool.map(ask, itertools.repeat(endpoint, 6), itertools.repeat([None] * 50))
        found = collections.Counter(itertools.chain.from_iterable(runs))
    # By chance or by turns it would be 100 of 300.
    assert 0 < found[SERVERS - 1] < 75, found


@pytest.mark.parametrize("endpoint", HASHES, indirect=True)
def test_hashing_keeps_a_header_on_its_server(endpoint: str) -> None:
    sessions = [f"session-{number}" for number in range(40)]
    found = ask(endpoint, sessions)
    assert set(found) == set(range(SERVERS))
    assert ask(endpoint, sessions[::-1]) == found[::-1]


@pytest.mark.parametrize("endpoint", HASHES, indirect=True)
def test_hashing_keeps_an_address_on_its_server(endpoint: str) -> None:
    # All of loopback is this machine.
    sources = [f"127.0.0.{number}" for number in range(2, 42)]
    found = [ask_from(source, endpoint) for source in sources]
    assert set(found) == set(range(SERVERS))
    assert [ask_from(source, endpoint) for source in sources[::-1]] == found[::-1]
