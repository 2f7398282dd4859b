# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients: libraries that are missing, connections that are kept alive, servers that speak nonsense."""

from __future__ import annotations

import socketserver
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import kserve_client
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.diagnosis import diagnose
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.kserve_client import (
    CallError,
    Endpoint,
    HttpClient,
)


class Broken:
    """An import that fails as tritonclient does when it was installed without its extra."""

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name == "tritonclient.grpc":
            raise RuntimeError("The installation does not include grpc support.")


def test_tritonclient_without_grpc_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.split(".")[0] == "tritonclient":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(SupersonicError, match=r"library tritonclient.grpc is missing .* 'tritonclient\[grpc\]'"):
        kserve_client.load_grpc()


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tritonclient", None)
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    with pytest.raises(SupersonicError, match=r"The Python library tritonclient.* is missing"):
        kserve_client.load_grpc()


class Server:
    """Answers every connection with fixed bytes, as often as it is told, and then closes it without a word."""

    def __init__(self, answer: bytes, times: int = 1) -> None:
        self.connections = 0
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                outer.connections += 1
                for _number in range(times):
                    while self.rfile.readline().strip():
                        pass
                    self.wfile.write(answer)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def endpoint(self, protocol: str) -> Endpoint:
        host, port = self._server.server_address[:2]
        return Endpoint(protocol, str(host), int(port))

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Any]:
    servers: list[Server] = []

    def start(*arguments: Any) -> Server:
        servers.append(Server(*arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


ALIVE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_connections_are_used_again(serve: Any) -> None:
    server = serve(ALIVE, 3)
    client = HttpClient(server.endpoint("http"))
    assert [client.live(5) for _number in range(3)] == [True] * 3
    client.close()
    assert server.connections == 1


def test_a_kept_connection_that_was_closed_is_replaced(serve: Any) -> None:
    server = serve(ALIVE)
    client = HttpClient(server.endpoint("http"))
    assert [client.live(5) for _number in range(3)] == [True] * 3
    client.close()
    assert server.connections == 3


def test_an_error_page_of_a_proxy_is_told(serve: Any) -> None:
    page = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 11\r\n\r\nno upstream"
    client = HttpClient(serve(page).endpoint("http"))
    with pytest.raises(CallError, match="UNAVAILABLE: HTTP 503 Service Unavailable: no upstream"):
        client.metadata(5)


@pytest.mark.parametrize(
    ("protocol", "answer", "words"),
    [
        ("grpc", b"SSH-2.0-OpenSSH_9.2\r\n", "what answers there does not speak HTTP/2; is the port right?"),
        ("http", b"SSH-2.0-OpenSSH_9.2\r\n", "what answers there does not speak HTTP/1; is the port right?"),
        ("grpc", b"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP/1 server answers there, not gRPC"),
        ("http", bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]), "an HTTP/2 server answers there, not HTTP/1"),
    ],
)
def test_other_servers_are_told(serve: Any, protocol: str, answer: bytes, words: str) -> None:
    found = diagnose(serve(answer).endpoint(protocol), 1)
    assert found is not None
    assert found.kind == "wrong_protocol"
    assert words in found.reason


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_server_that_says_nothing_may_be_starting(serve: Any, protocol: str) -> None:
    found = diagnose(serve(b"").endpoint(protocol), 1)
    assert found is not None
    assert found.kind == "unreachable"
    assert found.reason == "it closes connections without a word; does it start or stop, is the port right?"


@pytest.mark.parametrize(
    ("protocol", "answer"), [("grpc", bytes([0, 0, 18, 4, 0, 0, 0, 0, 0])), ("http", b"HTTP/1.1 200 OK\r\n\r\n")]
)
def test_the_right_server_is_not_blamed(serve: Any, protocol: str, answer: bytes) -> None:
    assert diagnose(serve(answer).endpoint(protocol), 1) is None
