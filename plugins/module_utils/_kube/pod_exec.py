# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a command in a container, with binary input and output of any length.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

One thread reads and writes at once: a command that fails while hundreds of megabytes are on their way is noticed, and a
slow one slows the sender down instead of filling memory.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import typing as t
from collections.abc import Sequence
from urllib.parse import urlencode

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import Lost
from ansible_collections.fastml.supersonic.plugins.module_utils._kube import websocket
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api

_SUBPROTOCOLS = (websocket.CHANNELS_AT_API_SERVER, websocket.CHANNELS)
_FRAME = 128 * 1024
_BLOCK = 64 * 1024
_STDERR_KEPT = 2000
_STDIN, _STDOUT, _STDERR, _STATUS = range(4)
_SECONDS_TO_CONNECT = 30.0
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Exec:
    """One running command. `silence` is how long it may neither say nor take anything before it counts as lost."""

    def __init__(
        self, api: Api, *, namespace: str, pod: str, container: str, command: Sequence[str], silence: float
    ) -> None:
        self._where = f"pod {namespace}/{pod}"
        self._silence = silence
        self._frames = websocket.Frames()
        self._output = bytearray()
        # So much of it has no end of a line.
        self._searched = 0
        self._errors = b""
        self._status: dict[str, t.Any] | None = None
        self._hung_up = ""
        query = [("container", container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
        query += [("command", part) for part in command]
        self._socket = self._connect(api, f"/api/v1/namespaces/{namespace}/pods/{pod}/exec?{urlencode(query)}")

    def write(self, data: bytes) -> None:
        """Send to standard input; returns when the connection has taken it."""
        for start in range(0, len(data), _FRAME):
            self._send(websocket.message(_STDIN, data[start : start + _FRAME]))

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
        end = self._output.find(b"\n", self._searched) + 1
        self._searched = 0 if end else len(self._output)
        found = bytes(self._output[:end])
        del self._output[:end]
        return found

    def close(self) -> None:
        """Hang up; the command sees the end of its input."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(1.0)
            self._socket.sendall(websocket.frame(websocket.CLOSE, b""))
        self._socket.close()

    def _connect(self, api: Api, target: str) -> socket.socket:
        try:
            plain: socket.socket = api.open_connection(_SECONDS_TO_CONNECT).sock
        except OSError as exc:
            raise Lost(f"The Kubernetes API at {api.connection.host} cannot be reached: {exc}.") from exc
        handshake = websocket.Handshake(api, target, f"exec in {self._where}", _SUBPROTOCOLS)
        try:
            plain.sendall(handshake.request)
            while (rest := handshake.receive(plain.recv(_BLOCK))) is None:
                pass
            self._take(rest)
            plain.setblocking(False)
        except (OSError, websocket.ProtocolError) as exc:
            plain.close()
            raise self._lost(str(exc)) from exc
        except BaseException:
            plain.close()
            raise
        return plain

    def _send(self, data: bytes) -> None:
        # Replies only here: elsewhere another message may be half sent.
        replies = self._frames.replies()
        left = memoryview(replies + data if replies else data)
        self._raise_if_over()
        while left:
            try:
                left = left[self._socket.send(left) :]
            except _WOULD_BLOCK:
                self._wait(reading=False)
                self._receive()
            except OSError as exc:
                # What has come before the end says more than the end.
                self._receive()
                self._hung_up = self._hung_up or str(exc)
            self._raise_if_over()

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
                self._take(block)
                self._hung_up = self._hung_up or self._frames.closed or ("" if block else "the connection was closed")

    def _wait(self, reading: bool) -> None:
        writers = [] if reading else [self._socket]
        if not any(select.select([self._socket], writers, [], self._silence)):
            raise self._lost(f"no sign of life for {self._silence:.0f} s")

    def _take(self, data: bytes) -> None:
        try:
            for channel, payload, _first in self._frames.receive(data):
                if channel == _STDOUT:
                    self._output += payload
                elif channel == _STDERR:
                    self._errors = (self._errors + payload)[-_STDERR_KEPT:]
                elif channel == _STATUS and payload:
                    with contextlib.suppress(ValueError):
                        self._status = json.loads(payload)
        except websocket.ProtocolError as exc:
            self._hung_up = str(exc)

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
