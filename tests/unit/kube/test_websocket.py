# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The WebSocket protocol, without a connection."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
import threading
from typing import Any, cast

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._kube import websocket
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import Connection
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.port_forward import (
    Relay,
    RelayError,
    _WebSocketPump,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.websocket import Frames, Part, ProtocolError

API = Api(Connection(host="http://api.example:8080/base", source="test", token="secret"))


def sent(first: int, payload: bytes) -> bytes:
    """A frame as a server sends it."""
    size = len(payload)
    if size < 126:
        return bytes([first, size]) + payload
    length = bytes([126]) + size.to_bytes(2, "big") if size < 65536 else bytes([127]) + size.to_bytes(8, "big")
    return bytes([first]) + length + payload


def handshake() -> tuple[websocket.Handshake, str]:
    started = websocket.Handshake(API, "/path?x=1", "exec in pod a/b")
    key = re.search(r"Sec-WebSocket-Key: (\S+)", started.request.decode())
    assert key
    return started, key[1]


def answer(key: str, *, protocol: str = "v4.channel.k8s.io", accepted: str | None = None) -> bytes:
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUPGRADE: WebSocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accepted or websocket.accept(key)}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize(
    ("size", "head"), [(0, 2), (125, 2), (126, 4), (127, 4), (65535, 4), (65536, 10)]
)  # fmt: skip
def test_frames_of_every_length(size: int, head: int) -> None:
    payload = os.urandom(size)
    data = websocket.frame(websocket.BINARY, payload)
    assert len(data) == head + 4 + size
    assert data[0] == 0x82
    assert data[1] & 0x80, "the server refuses frames without a mask"
    mask = data[head : head + 4]
    assert bytes(byte ^ mask[i % 4] for i, byte in enumerate(data[head + 4 :])) == payload
    frames = Frames()
    wire = sent(0x82, b"\1" + payload)
    parts = [part for at in range(0, len(wire), 1000) for part in frames.receive(wire[at : at + 1000])]
    assert parts == [Part(1, payload, True)]


@pytest.mark.parametrize("size", [65535, 65536, 65537])
def test_frames_without_numpy_are_the_same(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = os.urandom(size)
    monkeypatch.setattr(os, "urandom", lambda count: b"mask"[:count])
    fast = websocket.frame(websocket.BINARY, payload)
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert websocket.frame(websocket.BINARY, payload) == fast


def test_masks_are_random() -> None:
    assert len({websocket.frame(2, b"same")[2:6] for _part in range(8)}) > 1


def test_fragments_with_a_ping_between_byte_by_byte() -> None:
    wire = sent(0x02, b"\1ab") + sent(0x89, b"hello") + sent(0x00, b"cd") + sent(0x80, b"") + sent(0x82, b"\2x")
    frames = Frames()
    parts = [part for byte in wire for part in frames.receive(bytes([byte]))]
    assert parts == [Part(1, b"ab", True), Part(1, b"cd", False), Part(2, b"x", True)]
    pong = frames.replies()
    assert (pong[0], pong[1]) == (0x8A, 0x85)
    assert bytes(byte ^ pong[2 + i % 4] for i, byte in enumerate(pong[6:])) == b"hello"
    assert frames.replies() == b""


@pytest.mark.parametrize(
    ("payload", "reason"),
    [(b"", "the connection was closed"), (b"\3\xe8", "the connection was closed"), (b"\3\xf3pod gone", "pod gone")],
)
def test_a_close_with_its_reason_ends_it(payload: bytes, reason: str) -> None:
    frames = Frames()
    assert list(frames.receive(sent(0x88, payload) + sent(0x82, b"\1late"))) == []
    assert frames.closed == reason


@pytest.mark.parametrize(
    "wire",
    [
        sent(0xC2, b"\1x"),
        bytes([0x82, 0x81, 0, 0, 0, 0, 1]),
        sent(0x83, b"\1x"),
        sent(0x09, b""),
        sent(0x89, bytes(126)),
        sent(0x80, b"x"),
        sent(0x02, b"\1x") + sent(0x82, b"\1y"),
    ],
    ids=["reserved bit", "masked", "opcode", "ping in pieces", "long ping", "lone continuation", "message in message"],
)
def test_what_is_no_frame_is_refused(wire: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(Frames().receive(wire))


def test_the_accept_of_the_standard() -> None:
    assert websocket.accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_a_handshake() -> None:
    started, key = handshake()
    lines = started.request.decode().split("\r\n")
    assert lines[0] == "GET /base/path?x=1 HTTP/1.1"
    assert {"Host: api.example:8080", "Authorization: Bearer secret", "Upgrade: websocket"} <= set(lines)
    data = answer(key)
    assert [started.receive(data[:20]), started.receive(data[20:] + b"more")] == [None, b"more"]


@pytest.mark.parametrize(
    ("options", "words"),
    [({"accepted": "AAAA"}, "not to this request"), ({"protocol": "v5.channel.k8s.io"}, "chose v5.channel.k8s.io")],
)
def test_a_wrong_answer_to_the_handshake(options: dict[str, str], words: str) -> None:
    started, key = handshake()
    with pytest.raises(ProtocolError, match=words):
        started.receive(answer(key, **options))


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n", b"HTTP/1.1 nonsense\r\n\r\n", b"HTTP/1.1 " + bytes(70000), b""])
def test_what_is_no_http_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        handshake()[0].receive(data)


def test_a_refusal_is_an_error_of_the_api() -> None:
    body = b'{"message": "pods \\"b\\" not found", "reason": "NotFound"}'
    started, _key = handshake()
    assert started.receive(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(body)) is None
    with pytest.raises(ApiError, match='exec in pod a/b: pods "b" not found') as error:
        started.receive(body)
    assert error.value.status == 404


def test_a_refused_port_forward_leaves_no_connection_open() -> None:
    """The server sees the end of the connection as long as the relay lives."""
    ended = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _address = server.accept()
        connection.settimeout(10)
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            if connection.recv(1) == b"":
                ended.set()

    thread = threading.Thread(target=serve)
    thread.start()
    api = Api(Connection(host=f"http://127.0.0.1:{server.getsockname()[1]}", source="test"))
    with Relay() as relay:
        tunnel = relay.to_pod(api, "a", "b", 8001)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(tunnel.path)
            assert client.recv(1) == b""
        assert ended.wait(10)
        assert "refused the port-forward" in str(tunnel.error)
    thread.join()
    server.close()


def test_a_word_of_the_server_counts_more_than_the_broken_connection_after_it() -> None:
    """It says why, closes, and what is sent meanwhile meets a closed connection before anybody has read the word."""

    class Broken:
        def write(self, _data: bytes) -> None:
            pass

        async def drain(self) -> None:
            port = (8001).to_bytes(2, "little")
            for channel, payload in ((0, port), (1, port), (1, b"dial tcp 127.0.0.1:8001: connection refused")):
                remote.feed_data(sent(0x82, bytes([channel]) + payload))
            remote.set_exception(BrokenPipeError("Broken pipe"))
            raise BrokenPipeError("Broken pipe")

    async def run() -> None:
        nonlocal remote
        local, remote = asyncio.StreamReader(), asyncio.StreamReader()
        # Somebody waits for the server's word by then.
        asyncio.get_running_loop().call_later(0.05, local.feed_data, b"PRI")
        tunnel: Any = None
        await _WebSocketPump(tunnel, (local, cast(Any, Broken())), (remote, cast(Any, Broken()))).run()

    remote: asyncio.StreamReader
    with pytest.raises(RelayError, match="nothing listens on this port in the pod"):
        asyncio.run(run())
