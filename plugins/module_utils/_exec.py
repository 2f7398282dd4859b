# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A command in a container, with binary input and output of any length.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Speaks WebSocket with the subprotocol v4.channel.k8s.io. One thread reads and writes at once: a command that fails while
hundreds of megabytes are on their way is noticed, and a slow one slows the sender down instead of filling memory.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import select
import socket
import ssl
import struct
import typing as t
from collections.abc import Sequence
from urllib.parse import urlencode

from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._rest import Api, api_error

_FRAME = 128 * 1024
_BLOCK = 64 * 1024
_STDERR_KEPT = 2000
_STDIN, _STDOUT, _STDERR, _STATUS = range(4)
_BINARY, _CLOSE, _PING, _PONG = 2, 8, 9, 10
_SECONDS_TO_CONNECT = 30.0
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Lost(SupersonicError):
    """The connection to the command broke, or the command went away with its pod; another try may succeed."""


class Exec:
    """One running command. `silence` is how long it may neither say nor take anything before it counts as lost."""

    def __init__(
        self, api: Api, *, namespace: str, pod: str, container: str, command: Sequence[str], silence: float
    ) -> None:
        self._where = f"pod {namespace}/{pod}"
        self._silence = silence
        self._frames = bytearray()
        self._pongs = b""
        self._channel = _STDOUT
        self._output = bytearray()
        self._errors = b""
        self._status: dict[str, t.Any] | None = None
        self._hung_up = ""
        query = [("container", container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
        query += [("command", part) for part in command]
        self._socket = self._connect(api, f"/api/v1/namespaces/{namespace}/pods/{pod}/exec?{urlencode(query)}")

    def write(self, data: bytes) -> None:
        """Send to standard input; returns when the connection has taken it."""
        for start in range(0, len(data), _FRAME):
            chunk = data[start : start + _FRAME]
            self._send(_frame(_BINARY, bytes([_STDIN]) + chunk))

    def line(self) -> bytes:
        """The next line of standard output."""
        while not (found := self.line_if_any()):
            self._raise_if_over()
            self._send(b"")
            self._wait(reading=True)
        return found

    def line_if_any(self) -> bytes:
        """The next line, with its end, if it has come already."""
        self._receive()
        end = self._output.find(b"\n") + 1
        found = bytes(self._output[:end])
        del self._output[:end]
        return found

    def close(self) -> None:
        """Hang up; the command sees the end of its input."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(1.0)
            self._socket.sendall(_frame(_CLOSE, b""))
        self._socket.close()

    def _connect(self, api: Api, target: str) -> socket.socket:
        try:
            plain: socket.socket = api._open(_SECONDS_TO_CONNECT).sock
        except OSError as exc:
            raise Lost(f"The Kubernetes API at {api.connection.host} cannot be reached: {exc}.") from exc
        headers = {
            **{name: value for name, value in api._headers().items() if name != "Accept"},
            "Host": api._address.netloc,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Protocol": "v4.channel.k8s.io",
        }
        lines = [f"GET {api._address.path}{target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        try:
            plain.sendall("\r\n".join([*lines, "", ""]).encode())
            head, rest = _head(plain)
            status = re.match(rb"HTTP/1\.\d (\d{3})", head)
            if not status or status[1] != b"101":
                raise api_error(
                    int(status[1]) if status else 502, rest, api.connection, "GET", f"exec in {self._where}"
                )
            plain.setblocking(False)
        except OSError as exc:
            plain.close()
            raise self._lost(str(exc)) from exc
        except BaseException:
            plain.close()
            raise
        self._frames += rest
        return plain

    def _send(self, data: bytes) -> None:
        left, self._pongs = memoryview(self._pongs + data), b""
        while left:
            self._receive()
            self._raise_if_over()
            try:
                left = left[self._socket.send(left) :]
            except _WOULD_BLOCK:
                self._wait(reading=False)
            except OSError as exc:
                self._hung_up = self._hung_up or str(exc)

    def _receive(self) -> None:
        """Take what has come, without waiting."""
        while not self._hung_up:
            try:
                block = self._socket.recv(_BLOCK)
            except _WOULD_BLOCK:
                break
            except OSError as exc:
                self._hung_up = str(exc)
            else:
                self._frames += block
                if not block:
                    self._hung_up = "the connection was closed"
        self._unpack()

    def _wait(self, reading: bool) -> None:
        writers = [] if reading else [self._socket]
        if not any(select.select([self._socket], writers, [], self._silence)):
            raise self._lost(f"no sign of life for {self._silence:.0f} s")

    def _unpack(self) -> None:
        while len(self._frames) >= 2:
            head, size = 2, self._frames[1] & 0x7F
            if size >= 126:
                head = 4 if size == 126 else 10
                if len(self._frames) < head:
                    return
                size = int.from_bytes(self._frames[2:head], "big")
            if len(self._frames) < head + size:
                return
            kind, payload = self._frames[0] & 0x0F, bytes(self._frames[head : head + size])
            del self._frames[: head + size]
            self._take(kind, payload)

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == _PING:
            # Not now: another message may be half sent.
            self._pongs += _frame(_PONG, payload)
        elif kind == _CLOSE:
            self._hung_up = payload[2:].decode(errors="replace") or "the connection was closed"
        elif kind < _CLOSE and payload:
            # Only the first frame of a message names its channel.
            if kind:
                self._channel, payload = payload[0], payload[1:]
            if self._channel == _STDOUT:
                self._output += payload
            elif self._channel == _STDERR:
                self._errors = (self._errors + payload)[-_STDERR_KEPT:]
            elif self._channel == _STATUS:
                with contextlib.suppress(ValueError):
                    self._status = json.loads(payload)

    def _raise_if_over(self) -> None:
        """Nothing more will come or be taken: say why."""
        said = self._errors.decode(errors="replace").strip()
        if self._status is not None:
            message = self._status.get("message") or "it ended"
            raise Lost(f"The command in {self._where} is over: {message}." + (f" It said: {said}" if said else ""))
        if self._hung_up:
            raise self._lost(self._hung_up + (f"; it said: {said}" if said else ""))

    def _lost(self, reason: str) -> Lost:
        return Lost(f"The connection to {self._where} is lost: {reason}.")


def _head(plain: socket.socket) -> tuple[bytes, bytes]:
    """Read the answer's head, and the whole body of one that says how long it is."""
    data = b""
    while b"\r\n\r\n" not in data and (block := plain.recv(_BLOCK)):
        data += block
    head, _end, rest = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    while length and len(rest) < int(length[1]) and (block := plain.recv(_BLOCK)):
        rest += block
    return head, rest


def _frame(kind: int, payload: bytes) -> bytes:
    """One whole message. The mask of zeros leaves the data as it is: masks protect caches from what scripts in
    browsers send, and would cost a pass over every byte here."""
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", 0x80 | kind, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", 0x80 | kind, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", 0x80 | kind, 0x80 | 127, size)
    return head + b"\0\0\0\0" + payload
