# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a request while there is no server: a real Envoy, and a server that is not there yet."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy
from ansible_collections.fastml.supersonic.tests.harness.gateway import CHANNEL, render_cases, statistics
from ansible_collections.fastml.supersonic.tests.harness.processes import free_ports, until

WAIT_S = 6
TOKEN, OTHER_TOKEN, THIRD_TOKEN = (f"{name}-0123456789abcdefghij" for name in ("cms", "atlas", "ligo"))
# More than a worker waits for what it asks.
BUSY_S = 0.8
MANY = 800
CASES: dict[str, dict[str, Any]] = {
    "refuses": {"envoy_http": True},
    "waits": {"envoy_server_wait": WAIT_S, "envoy_http": True, "envoy_access_log": "all"},
    "tokens": {
        "envoy_server_wait": WAIT_S,
        "envoy_concurrency": 1,
        "envoy_tokens": {"cms": TOKEN, "atlas": OTHER_TOKEN, "ligo": THIRD_TOKEN},
        "envoy_client_limits": {"cms": {"in_flight": 2}, "ligo": {"rate": 1}},
    },
    "few": {"envoy_server_wait": 20, "envoy_server_wait_requests": 3, "envoy_concurrency": 1},
    "many": {"envoy_server_wait": 80, "envoy_server_wait_requests": MANY, "envoy_concurrency": 1},
    "large": {"envoy_server_wait": 30, "envoy_resources": {"limits": {"memory": "256Mi"}}},
    "processes": {"envoy_server_wait": 20, "envoy_processes": 2},
}
SAID = "no server is ready; the pool may be starting, try again"
HEALTHY = "cluster.triton.membership_healthy"
NONE = r"^cluster\.triton\.upstream_cx_none_healthy$"
HEALTH = grpc.method_handlers_generic_handler(
    "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"\x08\x01")}
)


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers every request with its id; slow: so many seconds to say that it lives; refuses: the first so many."""

    def __init__(self, slow: float, refuses: int) -> None:
        self._slow = slow
        self._refuses = refuses

    def ServerLive(self, _request: Any, _context: Any) -> Any:
        time.sleep(self._slow)
        return service_pb2.ServerLiveResponse(live=True)

    def ModelInfer(self, request: Any, context: Any) -> Any:
        if self._refuses:
            self._refuses -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return service_pb2.ModelInferResponse(model_name=request.model_name, id=request.id)

    def ModelStreamInfer(self, requests: Any, _context: Any) -> Any:
        for request in requests:
            answer = service_pb2.ModelInferResponse(model_name=request.model_name, id=request.id)
            yield service_pb2.ModelStreamInferResponse(infer_response=answer)


@contextlib.contextmanager
def server(address: str, slow: float = 0, refuses: int = 0) -> Iterator[None]:
    pool = grpc.server(ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", -1)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Server(slow, refuses), pool)
    pool.add_generic_rpc_handlers((HEALTH,))
    pool.add_insecure_port(address)
    pool.start()
    try:
        yield
    finally:
        pool.stop(0).wait()


class HttpServer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Says nothing."""


@contextlib.contextmanager
def http_server(address: str) -> Iterator[None]:
    host, _colon, port = address.rpartition(":")
    with ThreadingHTTPServer((host, int(port)), HttpServer) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            running.shutdown()
            thread.join()


class Apart(DeployedEnvoy):
    """An Envoy one of whose clusters finds its server elsewhere, and so at another time."""

    def __init__(self, *arguments: Any, cluster: str, elsewhere: str) -> None:
        self._cluster = cluster
        self._elsewhere = elsewhere
        super().__init__(*arguments, healthy=False)

    def _moved(self, *arguments: Any) -> Mapping[str, Any]:
        configuration = super()._moved(*arguments)
        (cluster,) = (item for item in configuration["static_resources"]["clusters"] if item["name"] == self._cluster)
        ((endpoint,),) = (item["lb_endpoints"] for item in cluster["load_assignment"]["endpoints"])
        host, _colon, port = self._elsewhere.rpartition(":")
        endpoint["endpoint"]["address"]["socket_address"] = {"address": host, "port_value": int(port)}
        return configuration


class Busy(Apart):
    """An Envoy whose workers ask a main thread that takes its time, as on a machine with too much to do."""

    def __init__(self, scratch: Path, manifests: Path, servers: Sequence[str]) -> None:
        self.answers_after = BUSY_S
        self.told = False
        handler = type("Handler", (BusyMainThread,), {"envoy": self})
        self._asked = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        elsewhere = f"127.0.0.1:{self._asked.server_port}"
        super().__init__(scratch, manifests, servers, cluster="admin", elsewhere=elsewhere)
        threading.Thread(target=self._asked.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        super().stop()
        self._asked.shutdown()
        self._asked.server_close()


class BusyMainThread(HttpServer):
    envoy: Busy

    def do_GET(self) -> None:
        after = self.envoy.answers_after
        time.sleep(after)
        # Whoever asked may have given up, and Envoy may have ended.
        with contextlib.suppress(OSError):
            said = self.envoy.admin(self.path).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)
            self.envoy.told = self.envoy.told or not after


@contextlib.contextmanager
def busy_envoy(manifests: Path, scratch: Path, case: str) -> Iterator[tuple[Busy, str]]:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    running = Busy(scratch / case, manifests / case / "envoy.yaml", [address])
    try:
        yield running, address
    finally:
        running.stop()


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_cases(tmp_path_factory.mktemp("cases"), CASES)


@contextlib.contextmanager
def envoy(manifests: Path, scratch: Path, case: str) -> Iterator[tuple[DeployedEnvoy, str]]:
    """An Envoy whose one server is not there yet, and where it is going to be."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    running = DeployedEnvoy(scratch / case, manifests / case / "envoy.yaml", [address], healthy=False)
    try:
        yield running, address
    finally:
        running.stop()


def call(
    at: DeployedEnvoy, number: int = 0, *, token: str = "", size: int = 0, options: Any = (), timeout: float = 20
) -> tuple[str, Any]:
    """OK or the status that a client sees, and the call."""
    request = service_pb2.ModelInferRequest(model_name="identity", id=str(number), raw_input_contents=[bytes(size)])
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(at.address, options=[*CHANNEL, *options]) as channel:
        try:
            answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(
                request, timeout=timeout, metadata=metadata
            )
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}", error
    assert answer.id == str(number)
    return "OK", answer


def health(at: DeployedEnvoy) -> str:
    with grpc.insecure_channel(at.address, options=CHANNEL) as channel:
        try:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return "OK"


def counted(at: DeployedEnvoy) -> int:
    return statistics(at, NONE)["cluster.triton.upstream_cx_none_healthy"]


def test_refused_at_once_with_when_to_come_again(manifests: Path, tmp_path: Path) -> None:
    with envoy(manifests, tmp_path, "refuses") as (front, address):
        started = time.monotonic()
        status, error = call(front)
        assert time.monotonic() - started < WAIT_S - 1
        assert status == f"UNAVAILABLE: {SAID}"
        sent = dict([*error.initial_metadata(), *error.trailing_metadata()])
        assert sent["retry-after"] == "5"
        assert sent["grpc-retry-pushback-ms"] == "5000"
        # What wakes a pool.
        assert counted(front) == 1
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(f"http://{front.address}/v2/models/identity/config", timeout=5)
        assert (refusal.value.code, refusal.value.headers["retry-after"]) == (503, "5")
        assert refusal.value.read().decode() == SAID
        with server(address):
            until(lambda: call(front)[0] == "OK", 5)


def test_a_client_that_tries_again_waits_as_it_is_told(manifests: Path, tmp_path: Path) -> None:
    """gRPC's own retries, as a client's service configuration asks for them."""
    policy = {
        "maxAttempts": 3,
        "initialBackoff": "0.1s",
        "maxBackoff": "0.1s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    options = [("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]}))]
    with envoy(manifests, tmp_path, "refuses") as (front, address), ThreadPoolExecutor() as pool:
        started = time.monotonic()
        waiting = pool.submit(call, front, options=options)
        until(lambda: counted(front) == 1, 5)
        with server(address):
            assert waiting.result()[0] == "OK"
        assert time.monotonic() - started >= 5


def test_requests_wait_for_the_first_server(manifests: Path, tmp_path: Path) -> None:
    with envoy(manifests, tmp_path, "waits") as (front, address), ThreadPoolExecutor(24) as pool:
        waiting = [pool.submit(call, front, number, size=number * 200_000) for number in range(20)]
        until(lambda: counted(front) >= 20, 5)
        time.sleep(0.5)
        before = counted(front)
        # Whoever waits goes on being counted: a pool that takes minutes to start is not given up meanwhile.
        until(lambda: counted(front) > before, 2)
        time.sleep(1)
        assert not any(request.done() for request in waiting)
        with server(address):
            assert [request.result()[0] for request in waiting] == ["OK"] * 20
            assert call(front, 20)[0] == "OK"
            assert health(front) == "OK"
        passed = statistics(front, r"^cluster\.triton\.upstream_rq_active$")
        assert passed == {"cluster.triton.upstream_rq_active": 0}


def test_a_server_that_is_slow_to_say_that_it_lives_is_one(manifests: Path, tmp_path: Path) -> None:
    with envoy(manifests, tmp_path, "waits") as (front, address), ThreadPoolExecutor() as pool:
        waiting = pool.submit(call, front)
        until(lambda: counted(front) >= 1, 5)
        with server(address, slow=WAIT_S):
            assert waiting.result()[0] == "OK"


def test_the_wait_ends(manifests: Path, tmp_path: Path) -> None:
    with envoy(manifests, tmp_path, "waits") as (front, address):
        started = time.monotonic()
        status, error = call(front)
        assert WAIT_S - 0.5 <= time.monotonic() - started <= WAIT_S + 10
        assert status == f"UNAVAILABLE: {SAID}"
        assert ("grpc-retry-pushback-ms", "5000") in (*error.initial_metadata(), *error.trailing_metadata())
        with server(address):
            until(lambda: call(front)[0] == "OK", 5)
        # Gone again: the next one waits as well, once workers look anew.
        until(lambda: statistics(front, r"^cluster\.triton\.membership_healthy$") == {HEALTHY: 0}, 10)
        time.sleep(1.1)
        with ThreadPoolExecutor() as pool:
            late = pool.submit(call, front, 1)
            time.sleep(1)
            assert not late.done()
            with server(address):
                assert late.result()[0] == "OK"


def test_streams_and_http_wait_as_well(manifests: Path, tmp_path: Path) -> None:
    with envoy(manifests, tmp_path, "waits") as (front, address), ThreadPoolExecutor() as pool:

        def stream() -> list[str]:
            requests = (service_pb2.ModelInferRequest(model_name="identity", id=str(number)) for number in range(3))
            with grpc.insecure_channel(front.address, options=CHANNEL) as channel:
                answers = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(requests, timeout=20)
                return [answer.infer_response.id for answer in answers]

        waiting = pool.submit(stream)
        started = time.monotonic()
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(f"http://{front.address}/v2/models/identity/config", timeout=20)
        assert time.monotonic() - started >= WAIT_S - 0.5
        assert (refusal.value.code, refusal.value.headers["retry-after"]) == (503, "5")
        waiting.exception(5)
        waiting = pool.submit(stream)
        time.sleep(1)
        with server(address):
            assert waiting.result() == ["0", "1", "2"]


def test_http_waits_for_servers_of_its_own(manifests: Path, tmp_path: Path) -> None:
    """That the server answers gRPC is not enough."""
    grpc_address, http_address = (f"127.0.0.1:{port}" for port in free_ports(2))
    front = DeployedEnvoy(tmp_path, manifests / "waits" / "envoy.yaml", [grpc_address], [http_address], healthy=False)
    try:
        with ThreadPoolExecutor() as pool:
            url = f"http://{front.address}/v2/models/identity/config"
            waiting = pool.submit(lambda: urllib.request.urlopen(url, timeout=20).status)
            until(lambda: counted(front) >= 1, 5)
            with server(grpc_address):
                until(lambda: call(front)[0] == "OK", 5)
                time.sleep(1.5)
                assert not waiting.done()
                with http_server(http_address):
                    assert waiting.result() == 200
    finally:
        front.stop()


def test_a_client_with_a_limit_waits_for_servers_of_its_own(manifests: Path, tmp_path: Path) -> None:
    address, elsewhere = (f"127.0.0.1:{port}" for port in free_ports(2))
    file = manifests / "tokens" / "envoy.yaml"
    front = Apart(tmp_path, file, [address], cluster="triton_client_cms", elsewhere=elsewhere)
    try:
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(call, front, token=TOKEN)
            until(lambda: counted(front) >= 1, 5)
            with server(address):
                until(lambda: call(front, token=OTHER_TOKEN)[0] == "OK", 5)
                time.sleep(1.5)
                assert not waiting.done()
                with server(elsewhere):
                    assert waiting.result()[0] == "OK"
    finally:
        front.stop()


def test_no_more_wait_than_may(manifests: Path, tmp_path: Path) -> None:
    with envoy(manifests, tmp_path, "few") as (front, address), ThreadPoolExecutor() as pool:
        leaves = pool.submit(call, front, timeout=3)
        waiting = [pool.submit(call, front, number) for number in range(2)]
        until(lambda: counted(front) >= 3, 5)
        started = time.monotonic()
        status, error = call(front)
        assert time.monotonic() - started < WAIT_S - 1
        assert status == f"UNAVAILABLE: {SAID}"
        assert ("grpc-retry-pushback-ms", "5000") in (*error.initial_metadata(), *error.trailing_metadata())
        assert leaves.result()[0].startswith("DEADLINE_EXCEEDED")
        # Whoever went away does not keep a place, though Envoy's script is not told.
        time.sleep(5)
        waiting.append(pool.submit(call, front, 2))
        time.sleep(1)
        assert not any(request.done() for request in waiting)
        assert call(front)[0] == f"UNAVAILABLE: {SAID}"
        with server(address):
            assert [request.result()[0] for request in waiting] == ["OK"] * 3


def test_a_limit_of_requests_in_flight_holds_for_those_that_wait(manifests: Path, tmp_path: Path) -> None:
    with envoy(manifests, tmp_path, "tokens") as (front, address), ThreadPoolExecutor() as pool:
        waiting = [pool.submit(call, front, number, token=TOKEN) for number in range(2)]
        until(lambda: counted(front) >= 2, 5)
        started = time.monotonic()
        status, error = call(front, token=TOKEN)
        assert time.monotonic() - started < WAIT_S - 1
        assert status == "RESOURCE_EXHAUSTED: too many requests at a time"
        assert ("grpc-retry-pushback-ms", "1000") in (*error.initial_metadata(), *error.trailing_metadata())
        waiting += [pool.submit(call, front, number, token=OTHER_TOKEN) for number in range(3)]
        time.sleep(1)
        assert not any(request.done() for request in waiting)
        with server(address):
            assert [request.result()[0] for request in waiting] == ["OK"] * 5


def test_a_limit_of_rate_comes_before_the_wait(manifests: Path, tmp_path: Path) -> None:
    with envoy(manifests, tmp_path, "tokens") as (front, address), ThreadPoolExecutor() as pool:
        waiting = pool.submit(call, front, token=THIRD_TOKEN)
        until(lambda: counted(front) >= 1, 5)
        statuses = [call(front, token=THIRD_TOKEN, timeout=2)[0].partition(":")[0] for _number in range(3)]
        assert "RESOURCE_EXHAUSTED" in statuses
        with server(address):
            assert waiting.result()[0] == "OK"


def test_many_that_wait_look_seldom(manifests: Path, tmp_path: Path) -> None:
    """Each would look four times a second."""
    with envoy(manifests, tmp_path, "many") as many, grpc.insecure_channel(many[0].address) as channel:
        front, address = many
        infer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        request = service_pb2.ModelInferRequest(model_name="identity")
        waiting = [infer.future(request, timeout=90) for _number in range(MANY)]
        # Not those that pause: on a busy machine most may be between two pauses at any time, looking for a server.
        came, pauses = "http.ingress_grpc.downstream_rq_active", "cluster.server_wait.upstream_rq_total"

        def all_came() -> bool:
            assert [call.details() for call in waiting if call.done()] == []
            return statistics(front, f"^{came}$")[came] == MANY

        until(all_came, 15)
        time.sleep(1)
        started, before = time.monotonic(), statistics(front, f"^{pauses}$")[pauses]
        time.sleep(3)
        passed = statistics(front, f"^{pauses}$")[pauses] - before
        assert 0 < passed / (time.monotonic() - started) < 1.6 * MANY
        assert not any(call.done() for call in waiting)
        with server(address):
            assert [call.code() for call in waiting] == [grpc.StatusCode.OK] * MANY


@pytest.mark.parametrize("known", [False, True], ids=["just started", "after a while without requests"])
def test_a_busy_main_thread_loses_nothing(manifests: Path, tmp_path: Path, known: bool) -> None:
    with busy_envoy(manifests, tmp_path, "few") as (front, address), ThreadPoolExecutor(8) as pool:
        if known:
            front.answers_after = 0
            with server(address):
                until(lambda: call(front)[0] == "OK", 10)
            until(lambda: statistics(front, HEALTHY) == {HEALTHY: 0}, 10)
            time.sleep(3.1)
            front.answers_after = BUSY_S
        waiting = [pool.submit(call, front, number) for number in range(4)]
        # Nobody has said that there is no server: one more than may wait is told what the router finds.
        too_many = until(lambda: [request for request in waiting if request.done()], 5)
        time.sleep(1)
        assert [request.result()[0].partition(":")[0] for request in waiting if request.done()] == ["UNAVAILABLE"]
        assert health(front).startswith("UNAVAILABLE")
        front.told = False
        front.answers_after = 0
        until(lambda: front.told, 5)
        assert call(front)[0] == f"UNAVAILABLE: {SAID}"
        with server(address):
            assert {request.result()[0] for request in waiting if request not in too_many} == {"OK"}
            assert call(front)[0] == "OK"


def test_a_busy_main_thread_keeps_nothing_from_servers(manifests: Path, tmp_path: Path) -> None:
    """At least not for long, although nobody ever says that there is one."""
    with busy_envoy(manifests, tmp_path, "many") as busy:
        front, address = busy
        with server(address):
            until(lambda: statistics(front, HEALTHY) == {HEALTHY: 1}, 10)
            started = time.monotonic()
            assert health(front) == "OK"
            assert call(front, timeout=60)[0] == "OK"
            assert time.monotonic() - started > 9
            # Not each of them waits, unless they come seldom.
            until(lambda: call(front, timeout=9)[0] == "OK", 10)


def test_what_waits_is_tried_again_like_all_others(manifests: Path, tmp_path: Path) -> None:
    with envoy(manifests, tmp_path, "waits") as (front, address), ThreadPoolExecutor() as pool:
        waiting = pool.submit(call, front, size=1_000_000)
        until(lambda: counted(front) >= 1, 5)
        with server(address, refuses=2):
            assert waiting.result()[0] == "OK"


def test_what_waits_takes_no_more_memory_than_there_is(manifests: Path, tmp_path: Path) -> None:
    """Some or all of many large ones are refused before Envoy is killed for its memory, and it takes requests again."""
    with envoy(manifests, tmp_path, "large") as (front, address), ThreadPoolExecutor(40) as pool:
        waiting = [pool.submit(call, front, number, size=12_000_000, timeout=60) for number in range(40)]
        until(lambda: counted(front) >= 1, 5)
        time.sleep(5)
        memory = statistics(front, r"^server\.memory_allocated$")["server.memory_allocated"]
        assert memory < 256 * 2**20
        with server(address):
            statuses = {request.result()[0].partition(":")[0] for request in waiting}
            assert {"OK"} != statuses <= {"OK", "UNAVAILABLE", "INTERNAL"}
            until(lambda: call(front)[0] == "OK", 5)


def test_both_envoys_of_a_pod_have_requests_wait(manifests: Path, tmp_path: Path) -> None:
    with envoy(manifests, tmp_path, "processes") as (front, address):
        file = manifests / "processes" / "envoy.yaml"
        beside = DeployedEnvoy(tmp_path / "beside", file, [address], beside=front, healthy=False)
        try:
            with ThreadPoolExecutor(24) as pool:
                waiting = [pool.submit(call, front, number) for number in range(24)]
                until(lambda: counted(front) > 0 < counted(beside), 5)
                time.sleep(1)
                assert not any(request.done() for request in waiting)
                with server(address):
                    assert [request.result()[0] for request in waiting] == ["OK"] * 24
        finally:
            beside.stop()


def test_probes_neither_wait_nor_wake(manifests: Path, tmp_path: Path) -> None:
    with envoy(manifests, tmp_path, "waits") as (front, _address):
        time.sleep(1.1)
        started = time.monotonic()
        assert [health(front) for _number in range(5)] == [f"UNAVAILABLE: {SAID}"] * 5
        assert time.monotonic() - started < WAIT_S - 1
        assert counted(front) == 0


def test_who_may_not_come_in_wakes_nothing(manifests: Path, tmp_path: Path) -> None:
    with envoy(manifests, tmp_path, "tokens") as (front, address), ThreadPoolExecutor() as pool:
        started = time.monotonic()
        assert call(front)[0].startswith("UNAUTHENTICATED")
        assert call(front, token="x" * 24)[0].startswith("UNAUTHENTICATED")
        assert time.monotonic() - started < WAIT_S - 1
        assert counted(front) == 0
        waiting = pool.submit(call, front, 1, token=TOKEN)
        until(lambda: counted(front) >= 1, 5)
        with server(address):
            assert waiting.result()[0] == "OK"


def test_a_client_that_goes_away_is_not_waited_for(manifests: Path, tmp_path: Path) -> None:
    with envoy(manifests, tmp_path, "waits") as (front, _address):
        with grpc.insecure_channel(front.address, options=CHANNEL) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            with pytest.raises(grpc.RpcError) as error:
                stub.ModelInfer(service_pb2.ModelInferRequest(model_name="identity"), timeout=1)
            assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        until(lambda: statistics(front, r"^http\.ingress_grpc\.downstream_rq_active$") == {
            "http.ingress_grpc.downstream_rq_active": 0
        }, 5)  # fmt: skip
        until(lambda: counted(front) > 0, 2)
        before = counted(front)
        time.sleep(1)
        assert counted(front) == before
