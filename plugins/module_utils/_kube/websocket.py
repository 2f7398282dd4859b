# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""WebSockets of the Kubernetes API (RFC 6455, subprotocols *.channel.k8s.io), without input and output.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Bytes go in, bytes come out: who holds the connection, a thread or an event loop, is not known here.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import struct
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, api_error

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

# Channels of bytes, the first byte of a message is the channel's number: what every server speaks.
CHANNELS = "v4.channel.k8s.io"
# The same, for commands only. With this one the API server ends the WebSocket itself and speaks SPDY to the node, since
# 1.30; with the other one the node's container runtime has it, which takes twice the processor time for what is sent.
CHANNELS_AT_API_SERVER = "v5.channel.k8s.io"
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_LONGEST_ANSWER = 64 * 1024
_LONGEST_CONTROL = 125
_STATUS_LINE = re.compile(r"HTTP/1\.\d (\d{3})")
_WORTH_NUMPY = 32 * 1024
_ALL_BYTES = int.from_bytes(bytes(range(256)), "big")


class ProtocolError(Exception):
    """The server does not keep to the protocol."""


class Handshake:
    """Turns a fresh connection to the API server into a WebSocket. `what` names the purpose in errors.

    The server takes one of the subprotocols, the first that it knows.
    """

    def __init__(self, api: Api, target: str, what: str, subprotocols: Sequence[str] = (CHANNELS,)) -> None:
        self._api = api
        self._what = what
        self._subprotocols = subprotocols
        self._key = base64.b64encode(os.urandom(16)).decode()
        self._answer = b""
        headers = {
            **{name: value for name, value in api.headers().items() if name != "Accept"},
            "Host": api.address.netloc.rpartition("@")[2],
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": self._key,
            "Sec-WebSocket-Protocol": ", ".join(subprotocols),
        }
        lines = [f"GET {api.address.path}{target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        self.request = "\r\n".join([*lines, "", ""]).encode()

    def receive(self, data: bytes) -> bytes | None:
        """Take a part of the answer, b"" at its end. Returns None while it is not whole, then the first bytes of
        frames that came with it; raises ApiError when the server refuses."""
        self._answer += data
        head, end, rest = self._answer.partition(b"\r\n\r\n")
        if not data and not end:
            raise ProtocolError("it closed the connection without an answer")
        if len(head) > _LONGEST_ANSWER or not head.startswith(b"HTTP/1."[: len(head)]):
            raise ProtocolError("it does not answer in HTTP")
        if not end:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        status = _STATUS_LINE.match(first)
        if not status:
            raise ProtocolError("it does not answer in HTTP")
        fields = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _colon, value in fields}
        if status[1] == "101":
            self._check(headers)
            return rest
        length = headers.get("content-length", "")
        if data and length.isdigit() and len(rest) < min(int(length), _LONGEST_ANSWER):
            return None
        raise api_error(int(status[1]), rest, self._api.connection, "GET", self._what)

    def _check(self, headers: Mapping[str, str]) -> None:
        upgraded = headers.get("upgrade", "").lower() == "websocket"
        if not upgraded or headers.get("sec-websocket-accept") != accept(self._key):
            raise ProtocolError("it answers, but not to this request for a WebSocket; is a proxy between?")
        chosen = headers.get("sec-websocket-protocol") or "none"
        if chosen not in self._subprotocols:
            wanted = " or ".join(self._subprotocols)
            raise ProtocolError(f"it does not speak the subprotocol {wanted}; it chose {chosen}")


class Part(t.NamedTuple):
    """Data of a channel; first marks the beginning of a message."""

    channel: int
    payload: bytes
    first: bool


class Frames:
    """Takes apart what a server sends. closed holds the server's reason once it has ended the WebSocket."""

    def __init__(self) -> None:
        self.closed: str | None = None
        self._buffer = bytearray()
        self._replies = b""
        self._in_message = False
        # Only the first byte of a message names its channel.
        self._channel: int | None = None

    def receive(self, data: bytes) -> Iterator[Part]:
        """Take some bytes, and give all data that is whole now."""
        self._buffer += data
        while self.closed is None and (frame_ := self._next()):
            final, opcode, payload = frame_
            if opcode == PING:
                self._replies += frame(PONG, payload)
            elif opcode == CLOSE:
                self.closed = payload[2:].decode(errors="replace") or "the connection was closed"
            elif opcode < CLOSE:
                yield from self._data(final, opcode, payload)

    def replies(self) -> bytes:
        """The frames that must be sent back (pongs, close); each is returned once."""
        replies, self._replies = self._replies, b""
        return replies

    def _data(self, final: bool, opcode: int, payload: bytes) -> Iterator[Part]:
        if self._in_message != (opcode == CONTINUATION):
            raise ProtocolError("it mixes up the frames of messages")
        self._in_message = not final
        if opcode != CONTINUATION:
            self._channel = None
        if not payload:
            return
        first = self._channel is None
        if self._channel is None:
            self._channel, payload = payload[0], payload[1:]
        yield Part(self._channel, payload, first)

    def _next(self) -> tuple[bool, int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        opcode, size, head = buffer[0] & 0x0F, buffer[1], 2
        # Bits for extensions, which were not asked for; a mask, which only clients use; opcodes that do not exist;
        # control frames that are long or in pieces.
        if (
            buffer[0] & 0x70
            or size & 0x80
            or opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)
            or (opcode >= CLOSE and (size > _LONGEST_CONTROL or not buffer[0] & 0x80))
        ):
            raise ProtocolError("it sends what is no WebSocket frame")
        if size > _LONGEST_CONTROL:
            head = 4 if size == 126 else 10
            if len(buffer) < head:
                return None
            size = int.from_bytes(buffer[2:head], "big")
        if len(buffer) < head + size:
            return None
        final, payload = bool(buffer[0] & 0x80), bytes(memoryview(buffer)[head : head + size])
        del buffer[: head + size]
        return final, opcode, payload


def accept(key: str) -> str:
    """The server's answer to a key (RFC 6455, Sec-WebSocket-Accept)."""
    return base64.b64encode(hashlib.sha1(f"{key}{_GUID}".encode(), usedforsecurity=False).digest()).decode()


def message(channel: int, data: bytes) -> bytes:
    """A whole message for a channel."""
    return frame(BINARY, bytes([channel]) + data)


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole message from a client, masked as the protocol demands."""
    size = len(payload)
    if size <= _LONGEST_CONTROL:
        head = struct.pack(">BB", 0x80 | opcode, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, size)
    mask = os.urandom(4)
    return b"".join((head, mask, _masked(payload, mask)))


def _masked(payload: bytes, mask: bytes) -> bytes | bytearray:
    size = len(payload)
    if size >= _WORTH_NUMPY:
        # Ten times as fast, which hundreds of megabytes feel; short messages are not worth its import.
        with contextlib.suppress(ImportError):
            import numpy

            # In place: each copy is felt, too.
            words = bytearray(-(-size // 4) * 4)
            words[:size] = payload
            numbers = numpy.frombuffer(words, dtype="<u4")
            numpy.bitwise_xor(numbers, numpy.uint32(int.from_bytes(mask, "little")), out=numbers)
            # While somebody looks at it as numbers it cannot become shorter.
            del numbers
            del words[size:]
            return words
    masked = bytearray(payload)
    # Every fourth byte has the same mask.
    for index, byte in enumerate(mask):
        masked[index::4] = payload[index::4].translate(_xor_table(byte))
    return bytes(masked)


def _xor_table(byte: int) -> bytes:
    return (_ALL_BYTES ^ int.from_bytes(bytes([byte]) * 256, "big")).to_bytes(256, "big")
