# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a request while there is no server: a real Envoy, and a server that is not there yet.

Each case waits most of its time, so they run side by side. Counters of Envoy say what happened: a pause of a request
that waits is a request of Envoy to its own listener server_wait.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy
from ansible_collections.fastml.supersonic.tests.harness.gateway import CHANNEL, render_cases, statistics
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.side_by_side import Outcomes, SideBySide

SIDE_BY_SIDE = 8
# Of a wait that ends, and of one that no test is slow enough for.
WAIT_S, LONG_S = 6, 600
# Shorter than a long wait: what is refused before a client gives up did not wait.
CLIENT_S = 300
# As the script of Envoy has them: between two looks, until what a worker was told is old, and until it does not expect
# to be told anything.
PAUSE_S, TOLD_S, MUTE_S = 0.25, 3, 10
TOKEN, OTHER_TOKEN, THIRD_TOKEN = (f"{name}-0123456789abcdefghij" for name in ("cms", "atlas", "ligo"))
# More than a worker waits for what it asks.
BUSY_S = 0.8
MANY, MANY_PAUSE_S, RATED = 800, 0.8, 32
CASES: dict[str, dict[str, Any]] = {
    "refuses": {"envoy_http": True},
    "ends": {"envoy_server_wait": WAIT_S, "envoy_http": True, "envoy_concurrency": 1},
    "waits": {"envoy_server_wait": LONG_S, "envoy_http": True, "envoy_access_log": "all"},
    "tokens": {
        "envoy_server_wait": LONG_S,
        "envoy_concurrency": 1,
        "envoy_tokens": {"cms": TOKEN, "atlas": OTHER_TOKEN, "ligo": THIRD_TOKEN},
        "envoy_client_limits": {"cms": {"in_flight": 2}, "ligo": {"rate": 1}},
    },
    "few": {"envoy_server_wait": LONG_S, "envoy_server_wait_requests": 3, "envoy_concurrency": 1},
    "many": {"envoy_server_wait": LONG_S, "envoy_server_wait_requests": MANY, "envoy_concurrency": 1},
    "large": {"envoy_server_wait": LONG_S, "envoy_resources": {"limits": {"memory": "256Mi"}}},
    "processes": {"envoy_server_wait": LONG_S, "envoy_processes": 2},
}
SAID = "no server is ready; the pool may be starting, try again"
HEALTH = grpc.method_handlers_generic_handler(
    "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"\x08\x01")}
)


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers every request with its id; says that it lives once it may; refuses: the first so many requests."""

    def __init__(self, lives: threading.Event, refuses: int) -> None:
        self._lives = lives
        self._refuses = refuses

    def ServerLive(self, _request: Any, _context: Any) -> Any:
        self._lives.wait(LONG_S)
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
def server(address: str, lives: bool = True, refuses: int = 0) -> Iterator[None]:
    """lives: whether it says so before the end."""
    live = threading.Event()
    if lives:
        live.set()
    pool = grpc.server(ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", -1)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Server(live, refuses), pool)
    pool.add_generic_rpc_handlers((HEALTH,))
    pool.add_insecure_port(address)
    pool.start()
    try:
        yield
    finally:
        live.set()
        pool.stop(0).wait()


class HttpServer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Says nothing."""


class SharedPortServer(ThreadingHTTPServer):
    allow_reuse_port = True


@contextlib.contextmanager
def http_server(address: str) -> Iterator[None]:
    host, _colon, port = address.rpartition(":")
    with SharedPortServer((host, int(port)), HttpServer) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            running.shutdown()
            thread.join()


@contextlib.contextmanager
def free_address() -> Iterator[str]:
    """An address of loopback where no server is yet. It is kept for one: meanwhile no other process gets it."""
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{kept.getsockname()[1]}"


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

    def __init__(self, scratch: Path, manifests: Path, servers: Sequence[str], mute_s: int = MUTE_S) -> None:
        """mute_s: seconds after which a main thread that says nothing keeps no request from servers."""
        self._mute_s = mute_s
        self.answers_after = BUSY_S
        self.told = False
        handler = type("Handler", (BusyMainThread,), {"envoy": self})
        self._asked = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        elsewhere = f"127.0.0.1:{self._asked.server_port}"
        threading.Thread(target=self._asked.serve_forever, args=(0.05,), daemon=True).start()
        super().__init__(scratch, manifests, servers, cluster="admin", elsewhere=elsewhere)

    def _moved(self, *arguments: Any) -> Mapping[str, Any]:
        text = json.dumps(super()._moved(*arguments))
        rule = f"mute >= {1000 * MUTE_S})"
        assert rule in text
        moved: Mapping[str, Any] = json.loads(text.replace(rule, f"mute >= {1000 * self._mute_s})"))
        return moved

    def stop(self) -> None:
        super().stop()
        self._asked.shutdown()
        self._asked.server_close()


class BusyMainThread(HttpServer):
    envoy: Busy

    def do_GET(self) -> None:
        after = self.envoy.answers_after
        time.sleep(after)
        # A worker that asked may have given up, and Envoy may have ended.
        with contextlib.suppress(OSError):
            said = self.envoy.admin(self.path).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)
            self.envoy.told = self.envoy.told or not after


@dataclass
class Place:
    """Where a test finds the manifests of each case, and a folder of its own."""

    manifests: Path
    scratch: Path

    def file(self, case: str) -> Path:
        return self.manifests / case / "envoy.yaml"

    @contextlib.contextmanager
    def envoy(self, case: str) -> Iterator[tuple[DeployedEnvoy, str]]:
        """An Envoy whose one server is not there yet, and where it is going to be."""
        with free_address() as address:
            running = DeployedEnvoy(self.scratch / case, self.file(case), [address], healthy=False)
            try:
                yield running, address
            finally:
                running.stop()

    @contextlib.contextmanager
    def busy(self, case: str, mute_s: int = MUTE_S) -> Iterator[tuple[Busy, str]]:
        with free_address() as address:
            running = Busy(self.scratch / case, self.file(case), [address], mute_s)
            try:
                yield running, address
            finally:
                running.stop()


side_by_side = SideBySide[Place](SIDE_BY_SIDE)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    folder = tmp_path_factory.mktemp("cases")
    manifests = render_cases(folder, CASES)
    with side_by_side.run(request, lambda name: contextlib.nullcontext(Place(manifests, folder / name))) as found:
        yield found


def call(
    at: DeployedEnvoy, number: int = 0, *, token: str = "", size: int = 0, options: Any = (), timeout: float = CLIENT_S
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


@contextlib.contextmanager
def impatient(at: DeployedEnvoy) -> Iterator[grpc.Future]:
    """A request whose client can go away."""
    with grpc.insecure_channel(at.address, options=CHANNEL) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer.future(
            service_pb2.ModelInferRequest(model_name="identity"), timeout=CLIENT_S
        )


def stream(at: DeployedEnvoy) -> list[str]:
    """The answers to the three requests of a stream."""
    requests = (service_pb2.ModelInferRequest(model_name="identity", id=str(number)) for number in range(3))
    with grpc.insecure_channel(at.address, options=CHANNEL) as channel:
        answers = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(requests, timeout=CLIENT_S)
        return [answer.infer_response.id for answer in answers]


def http(at: DeployedEnvoy) -> tuple[int, str | None, str]:
    """Status, when to come again, and text of an HTTP request."""
    url = f"http://{at.address}/v2/models/identity/config"
    try:
        with urllib.request.urlopen(url, timeout=CLIENT_S) as answer:
            return answer.status, None, ""
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.headers["retry-after"], refusal.read().decode()


def health(at: DeployedEnvoy) -> str:
    with grpc.insecure_channel(at.address, options=CHANNEL) as channel:
        try:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=CLIENT_S)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return "OK"


def metadata(error: Any) -> dict[str, str]:
    """What a refusal says beside its status."""
    return dict([*error.initial_metadata(), *error.trailing_metadata()])


def number_of(at: DeployedEnvoy, name: str) -> int:
    return statistics(at, f"^{re.escape(name)}$")[name]


def counted(at: DeployedEnvoy) -> int:
    """How often a server was asked for where there is none: what wakes a pool."""
    return number_of(at, "cluster.triton.upstream_cx_none_healthy")


def healthy(at: DeployedEnvoy) -> int:
    return number_of(at, "cluster.triton.membership_healthy")


def active(at: DeployedEnvoy) -> int:
    """Requests of clients that have no answer yet."""
    return number_of(at, "http.ingress_grpc.downstream_rq_active")


def pauses(*envoys: DeployedEnvoy) -> int:
    """Pauses that requests have made so far."""
    return sum(number_of(at, "cluster.server_wait.upstream_rq_total") for at in envoys)


def pausing(at: DeployedEnvoy) -> int:
    """Requests that pause just now, which are nearly all of those that wait."""
    return number_of(at, "cluster.server_wait.upstream_rq_active")


def go_on_waiting(requests: Sequence[Future[Any]], *envoys: DeployedEnvoy) -> None:
    """They pause again and again, and none of them gets an answer."""
    before = pauses(*envoys)
    until(lambda: pauses(*envoys) >= before + 3 * len(requests))
    assert not any(request.done() for request in requests)


@side_by_side
def test_refused_at_once_with_when_to_come_again(place: Place) -> None:
    with place.envoy("refuses") as (front, address):
        status, error = call(front)
        assert status == f"UNAVAILABLE: {SAID}"
        assert metadata(error)["retry-after"] == "5"
        assert metadata(error)["grpc-retry-pushback-ms"] == "5000"
        # What wakes a pool.
        assert counted(front) == 1
        assert http(front) == (503, "5", SAID)
        # There is nothing here that a request could wait by.
        assert statistics(front, "server_wait") == {}
        with server(address):
            until(lambda: call(front)[0] == "OK")


@side_by_side
def test_a_client_that_tries_again_waits_as_it_is_told(place: Place) -> None:
    """gRPC's own retries, as a client's service configuration asks for them."""
    policy = {
        "maxAttempts": 5,
        "initialBackoff": "0.1s",
        "maxBackoff": "0.1s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    options = [("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]}))]
    with place.envoy("refuses") as (front, address), ThreadPoolExecutor() as pool:
        started = time.monotonic()
        waiting = pool.submit(call, front, options=options)
        until(lambda: counted(front) == 1)
        with server(address):
            assert waiting.result()[0] == "OK"
        assert time.monotonic() - started >= 5


@side_by_side
def test_requests_wait_for_the_first_server(place: Place) -> None:
    with place.envoy("waits") as (front, address), ThreadPoolExecutor(24) as pool:
        waiting = [pool.submit(call, front, number, size=number * 200_000) for number in range(20)]
        until(lambda: counted(front) >= 20)
        before = counted(front)
        # Those that wait go on being counted: a pool that takes minutes to start is not given up meanwhile.
        until(lambda: counted(front) > before)
        go_on_waiting(waiting, front)
        with server(address):
            assert [request.result()[0] for request in waiting] == ["OK"] * 20
            assert call(front, 20)[0] == "OK"
            assert health(front) == "OK"
        until(lambda: number_of(front, "cluster.triton.upstream_rq_active") == 0)


@side_by_side
def test_a_server_that_is_slow_to_say_that_it_lives_is_one(place: Place) -> None:
    with place.envoy("waits") as (front, address), ThreadPoolExecutor() as pool:
        waiting = pool.submit(call, front)
        until(lambda: counted(front) >= 1)
        with server(address, lives=False):
            assert waiting.result()[0] == "OK"


@side_by_side
def test_the_wait_ends(place: Place) -> None:
    with place.envoy("ends") as (front, address), ThreadPoolExecutor() as pool:
        started = time.monotonic()
        status, error = call(front)
        assert time.monotonic() - started >= WAIT_S - 0.5
        # A pause takes its time, however busy this machine is: no more of them are in the wait.
        assert 1 < pauses(front) <= WAIT_S / PAUSE_S + 1
        assert status == f"UNAVAILABLE: {SAID}"
        assert metadata(error)["grpc-retry-pushback-ms"] == "5000"
        # That of a stream and of HTTP too.
        streamed, started = pool.submit(stream, front), time.monotonic()
        assert http(front) == (503, "5", SAID)
        assert time.monotonic() - started >= WAIT_S - 0.5
        refusal = streamed.exception()
        assert isinstance(refusal, grpc.RpcError)
        assert refusal.details() == SAID
        with server(address):
            until(lambda: call(front)[0] == "OK")


@side_by_side
def test_requests_wait_again_when_the_last_server_has_gone(place: Place) -> None:
    with place.envoy("waits") as (front, address), ThreadPoolExecutor() as pool:
        with server(address):
            until(lambda: call(front)[0] == "OK")
        until(lambda: healthy(front) == 0)
        # What a worker was told counts for so long.
        time.sleep(TOLD_S + 0.1)
        late = pool.submit(call, front, 1)
        go_on_waiting([late], front)
        with server(address):
            assert late.result()[0] == "OK"


@side_by_side
def test_a_stream_waits_as_well(place: Place) -> None:
    with place.envoy("waits") as (front, address), ThreadPoolExecutor() as pool:
        waiting = pool.submit(stream, front)
        go_on_waiting([waiting], front)
        with server(address):
            assert waiting.result() == ["0", "1", "2"]


@side_by_side
def test_http_waits_for_servers_of_its_own(place: Place) -> None:
    """That the server answers gRPC is not enough."""
    with free_address() as grpc_address, free_address() as http_address, ThreadPoolExecutor() as pool:
        front = DeployedEnvoy(place.scratch, place.file("waits"), [grpc_address], [http_address], healthy=False)
        try:
            waiting = pool.submit(http, front)
            until(lambda: counted(front) >= 1)
            with server(grpc_address):
                until(lambda: call(front)[0] == "OK")
                go_on_waiting([waiting], front)
                with http_server(http_address):
                    assert waiting.result()[0] == 200
        finally:
            front.stop()


@side_by_side
def test_a_client_with_a_limit_waits_for_servers_of_its_own(place: Place) -> None:
    with free_address() as address, free_address() as elsewhere, ThreadPoolExecutor() as pool:
        front = Apart(place.scratch, place.file("tokens"), [address], cluster="triton_client_cms", elsewhere=elsewhere)
        try:
            waiting = pool.submit(call, front, token=TOKEN)
            until(lambda: counted(front) >= 1)
            with server(address):
                until(lambda: call(front, token=OTHER_TOKEN)[0] == "OK")
                go_on_waiting([waiting], front)
                with server(elsewhere):
                    assert waiting.result()[0] == "OK"
        finally:
            front.stop()


@side_by_side
def test_no_more_wait_than_may(place: Place) -> None:
    with place.envoy("few") as (front, address), ThreadPoolExecutor() as pool:
        with impatient(front) as leaves:
            waiting = [pool.submit(call, front, number) for number in range(2)]
            until(lambda: pausing(front) == 3)
            status, error = call(front)
            assert status == f"UNAVAILABLE: {SAID}"
            assert metadata(error)["grpc-retry-pushback-ms"] == "5000"
            leaves.cancel()
        until(lambda: active(front) == 2)

        def let_in() -> Future[Any] | None:
            request = pool.submit(call, front, 2)
            until(lambda: request.done() or pausing(front) == 3)
            return None if request.done() else request

        # A client that went away does not keep a place, though Envoy's script is not told.
        waiting.append(until(let_in))
        go_on_waiting(waiting, front)
        assert call(front)[0] == f"UNAVAILABLE: {SAID}"
        with server(address):
            assert [request.result()[0] for request in waiting] == ["OK"] * 3


@side_by_side
def test_a_limit_of_requests_in_flight_holds_for_those_that_wait(place: Place) -> None:
    with place.envoy("tokens") as (front, address), ThreadPoolExecutor() as pool:
        waiting = [pool.submit(call, front, number, token=TOKEN) for number in range(2)]
        until(lambda: pausing(front) == 2)
        status, error = call(front, token=TOKEN)
        assert status == "RESOURCE_EXHAUSTED: too many requests at a time"
        assert metadata(error)["grpc-retry-pushback-ms"] == "1000"
        waiting += [pool.submit(call, front, number, token=OTHER_TOKEN) for number in range(3)]
        until(lambda: pausing(front) == 5)
        go_on_waiting(waiting, front)
        with server(address):
            assert [request.result()[0] for request in waiting] == ["OK"] * 5


@side_by_side
def test_a_limit_of_rate_comes_before_the_wait(place: Place) -> None:
    with place.envoy("tokens") as (front, address), ThreadPoolExecutor(RATED) as pool:
        # More than come in one after the other, a second apart, however slowly they are sent.
        asked = [pool.submit(call, front, number, token=THIRD_TOKEN) for number in range(RATED)]
        until(lambda: pausing(front) and any(request.done() for request in asked))
        refused = [request.result()[0] for request in asked if request.done()]
        assert {status.partition(":")[0] for status in refused} == {"RESOURCE_EXHAUSTED"}
        with server(address):
            statuses = {request.result()[0].partition(":")[0] for request in asked}
        assert statuses == {"OK", "RESOURCE_EXHAUSTED"}


@side_by_side
def test_many_that_wait_look_seldom(place: Place) -> None:
    """Each would look four times a second."""
    with place.envoy("many") as placed, grpc.insecure_channel(placed[0].address) as channel:
        front, address = placed
        infer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        request = service_pb2.ModelInferRequest(model_name="identity")
        waiting = [infer.future(request, timeout=LONG_S) for _number in range(MANY)]

        def all_came() -> bool:
            assert [call.details() for call in waiting if call.done()] == []
            return active(front) == MANY

        # Not those that pause: on a busy machine most may be between two pauses at any time, looking for a server.
        until(all_came)
        # Pauses that began when there were fewer are over.
        before = pauses(front)
        until(lambda: pauses(front) >= before + 2 * MANY)
        started, before = time.monotonic(), pauses(front)
        until(lambda: pauses(front) >= before + 3 * MANY)
        made = pauses(front) - before
        # One that began before, and no more than fit into the time.
        assert made <= MANY * (1 + (time.monotonic() - started) / MANY_PAUSE_S)
        assert not any(call.done() for call in waiting)
        with server(address):
            assert [call.code() for call in waiting] == [grpc.StatusCode.OK] * MANY


def lose_nothing(place: Place, known: bool) -> None:
    """known: whether a server was there before, and the worker was told of it."""
    # That a mute main thread keeps no request for long is another test.
    with place.busy("few", LONG_S) as (front, address), ThreadPoolExecutor(8) as pool:
        if known:
            front.answers_after = 0
            with server(address):
                until(lambda: call(front)[0] == "OK")
            until(lambda: healthy(front) == 0)
            time.sleep(TOLD_S + 0.1)
            front.answers_after = BUSY_S
        waiting = [pool.submit(call, front, number) for number in range(4)]
        # The worker was not told that there is no server: one more than may wait is told what the router finds.
        too_many = until(lambda: pausing(front) == 3 and [request for request in waiting if request.done()])
        go_on_waiting([request for request in waiting if request not in too_many], front)
        assert [request.result()[0].partition(":")[0] for request in too_many] == ["UNAVAILABLE"]
        assert health(front).startswith("UNAVAILABLE")
        front.told = False
        front.answers_after = 0
        until(lambda: front.told)
        until(lambda: call(front)[0] == f"UNAVAILABLE: {SAID}")
        with server(address):
            assert {request.result()[0] for request in waiting if request not in too_many} == {"OK"}
            assert call(front)[0] == "OK"


@side_by_side
def test_a_busy_main_thread_loses_nothing_just_after_the_start(place: Place) -> None:
    lose_nothing(place, known=False)


@side_by_side
def test_a_busy_main_thread_loses_nothing_after_a_while_without_requests(place: Place) -> None:
    lose_nothing(place, known=True)


@side_by_side
def test_a_busy_main_thread_keeps_nothing_from_servers(place: Place) -> None:
    """At least not for long, although no worker is ever told that there is one."""
    with place.busy("many") as placed, server(placed[1]):
        front = placed[0]
        until(lambda: healthy(front) == 1)
        started = time.monotonic()
        assert health(front) == "OK"
        assert call(front)[0] == "OK"
        assert time.monotonic() - started > MUTE_S - 1
        # Not each of them waits, unless they come seldom.
        until(lambda: call(front, timeout=MUTE_S - 1)[0] == "OK")


@side_by_side
def test_what_waits_is_tried_again_like_all_others(place: Place) -> None:
    with place.envoy("waits") as (front, address), ThreadPoolExecutor() as pool:
        waiting = pool.submit(call, front, size=1_000_000)
        until(lambda: counted(front) >= 1)
        with server(address, refuses=2):
            assert waiting.result()[0] == "OK"


@side_by_side
def test_what_waits_takes_no_more_memory_than_there_is(place: Place) -> None:
    """Some or all of many large ones are refused before Envoy is killed for its memory, and it takes requests again."""
    with place.envoy("large") as (front, address), ThreadPoolExecutor(40) as pool:
        waiting = [pool.submit(call, front, number, size=12_000_000) for number in range(40)]
        taken = [0]

        def all_are_known() -> bool:
            taken.append(number_of(front, "server.memory_allocated"))
            refused = sum(request.done() for request in waiting)
            return refused > 0 and refused + active(front) == len(waiting)

        until(all_are_known)
        assert max(taken) < 256 * 2**20
        with server(address):
            statuses = {request.result()[0].partition(":")[0] for request in waiting}
            assert {"OK"} != statuses <= {"OK", "UNAVAILABLE", "INTERNAL"}
            until(lambda: call(front)[0] == "OK")


@side_by_side
def test_both_envoys_of_a_pod_have_requests_wait(place: Place) -> None:
    with place.envoy("processes") as (front, address):
        beside = DeployedEnvoy(
            place.scratch / "beside", place.file("processes"), [address], beside=front, healthy=False
        )
        try:
            with ThreadPoolExecutor(24) as pool:
                waiting = [pool.submit(call, front, number) for number in range(24)]
                until(lambda: counted(front) > 0 < counted(beside))
                go_on_waiting(waiting, front, beside)
                with server(address):
                    assert [request.result()[0] for request in waiting] == ["OK"] * 24
        finally:
            beside.stop()


@side_by_side
def test_probes_neither_wait_nor_wake(place: Place) -> None:
    with place.envoy("waits") as (front, _address):
        # A worker that has not heard yet leaves it to the router.
        until(lambda: health(front) == f"UNAVAILABLE: {SAID}")
        assert [health(front) for _number in range(5)] == [f"UNAVAILABLE: {SAID}"] * 5
        assert (pauses(front), counted(front)) == (0, 0)


@side_by_side
def test_a_client_without_a_token_wakes_nothing(place: Place) -> None:
    with place.envoy("tokens") as (front, address), ThreadPoolExecutor() as pool:
        assert call(front)[0].startswith("UNAUTHENTICATED")
        assert call(front, token="x" * 24)[0].startswith("UNAUTHENTICATED")
        assert (pauses(front), counted(front)) == (0, 0)
        waiting = pool.submit(call, front, 1, token=TOKEN)
        until(lambda: counted(front) >= 1)
        with server(address):
            assert waiting.result()[0] == "OK"


@side_by_side
def test_a_client_that_goes_away_is_not_waited_for(place: Place) -> None:
    with place.envoy("waits") as (front, _address):
        with impatient(front) as leaves:
            until(lambda: counted(front) > 0 < pausing(front))
            leaves.cancel()
        until(lambda: (active(front), pausing(front)) == (0, 0))
        before = (counted(front), pauses(front))
        # As long as it takes to pause four times.
        time.sleep(4 * PAUSE_S)
        assert (counted(front), pauses(front)) == before
