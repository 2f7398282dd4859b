# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Local sockets that lead to servers a plain connection does not reach: ports of pods, and servers behind TLS.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Clients connect to a Unix socket in a folder that only we may enter. To a pod, every connection gets a WebSocket of its
own at the API server (subprotocol v4.channel.k8s.io), so that many run side by side and both directions flow at once,
as HTTP/2 needs; the port-forward of the kubernetes library is one blocking loop and costs the library's whole import.
TLS is spoken here, because the client library of gRPC can neither skip the check of a certificate nor say clearly what
is wrong with one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import itertools
import json
import os
import shutil
import socket
import ssl
import struct
import tempfile
import threading
import typing as t
from collections.abc import Awaitable, Callable
from urllib.parse import quote, unquote, urlsplit

if t.TYPE_CHECKING:
    from ansible_collections.fastml.supersonic.plugins.module_utils._client import Connection

_CHUNK = 64 * 1024
_MAX_HEAD = 64 * 1024
_SECONDS_TO_CONNECT = 10.0

# The kernel takes no longer path of a Unix socket than 107 bytes.
_LONGEST_FOLDER = 96
_CUT_HANDSHAKE = "it cut the TLS handshake; does it speak TLS on this port?"

_CONTINUATION, _BINARY, _CLOSE, _PING, _PONG = 0, 2, 8, 9, 10
_DATA_CHANNEL, _ERROR_CHANNEL = 0, 1


class RelayError(Exception):
    """Why a connection could not be passed on; kind is one of refused, unreachable, tls."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Tunnel:
    """A Unix socket that leads somewhere. error holds why its last broken connection broke."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.error: RelayError | None = None


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Relay:
    """Serves tunnels on an event loop in a thread of its own."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="supersonic-relay-")
        if len(self._folder) > _LONGEST_FOLDER:
            os.rmdir(self._folder)
            self._folder = tempfile.mkdtemp(prefix="supersonic-relay-", dir="/tmp")
        self._count = itertools.count()
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def to_pod(self, api: ApiServer, namespace: str, pod: str, port: int) -> Tunnel:
        """Offer a port of a pod. Whether it answers shows with the first connection."""

        async def connect() -> Streams:
            return await asyncio.wait_for(api.open(namespace, pod, port), _SECONDS_TO_CONNECT)

        return self._open(connect, _WebSocketPump)

    def to_tls(self, address: tuple[str, int] | str, context: ssl.SSLContext, server_name: str) -> Tunnel:
        """Offer a server that speaks TLS, reached by host and port or through another tunnel's socket."""

        async def connect() -> Streams:
            if isinstance(address, str):
                opening = asyncio.open_unix_connection(address, ssl=context, server_hostname=server_name)
            else:
                opening = asyncio.open_connection(*address, ssl=context, server_hostname=server_name)
            try:
                return await asyncio.wait_for(opening, _SECONDS_TO_CONNECT)
            except ssl.SSLError as exc:
                raise RelayError("tls", _tls_reason(exc)) from exc
            except (ConnectionResetError, ConnectionAbortedError) as exc:
                raise RelayError("tls", _CUT_HANDSHAKE) from exc

        return self._open(connect, _PlainPump)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _open(self, connect: Callable[[], Awaitable[Streams]], pump: type[_PlainPump]) -> Tunnel:
        tunnel = Tunnel(os.path.join(self._folder, str(next(self._count))))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Cancelled only when the relay is closed, and then nobody wants to hear of it.
            with contextlib.suppress(asyncio.CancelledError):
                await _serve(tunnel, connect, pump, (reader, writer))

        async def listen() -> None:
            self._servers.append(await asyncio.start_unix_server(serve, tunnel.path))

        asyncio.run_coroutine_threadsafe(listen(), self._loop).result()
        return tunnel

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(
    tunnel: Tunnel, connect: Callable[[], Awaitable[Streams]], pump: type[_PlainPump], local: Streams
) -> None:
    """Pass one connection on until one side ends it."""
    remote = None
    try:
        remote = await connect()
        await pump(tunnel, local, remote).run()
    except _ClientGone:
        pass
    except RelayError as exc:
        tunnel.error = exc
    except TimeoutError:
        tunnel.error = RelayError("unreachable", f"no connection within {_SECONDS_TO_CONNECT:.0f} s")
    except ConnectionRefusedError:
        tunnel.error = RelayError("refused", "connection refused")
    except asyncio.IncompleteReadError:
        tunnel.error = RelayError("unreachable", "the connection was cut")
    except OSError as exc:
        tunnel.error = RelayError("unreachable", exc.strerror or str(exc))
    finally:
        for streams in (remote, local):
            if streams is not None:
                with contextlib.suppress(OSError, RuntimeError):
                    streams[1].close()


class _ClientGone(Exception):
    """The client ended its connection, which says nothing about the server."""


class _PlainPump:
    """Passes bytes on as they are."""

    def __init__(self, tunnel: Tunnel, local: Streams, remote: Streams) -> None:
        self._tunnel = tunnel
        self._local_reader, self._local_writer = local
        self._remote_reader, self._remote_writer = remote

    async def run(self) -> None:
        """Pass on in both directions until one of them ends."""
        directions = [asyncio.ensure_future(self.outwards()), asyncio.ensure_future(self.inwards())]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in directions:
                task.cancel()
            results = await asyncio.gather(*directions, return_exceptions=True)
        for result in reversed(results):
            # What came from the server explains more than what could not be sent to it.
            if isinstance(result, Exception):
                raise result

    async def outwards(self) -> None:
        while data := await self._receive():
            self._remote_writer.write(data)
            await self._remote_writer.drain()

    async def inwards(self) -> None:
        while data := await self._remote_reader.read(_CHUNK):
            await self._deliver(data)

    async def _receive(self) -> bytes:
        try:
            return await self._local_reader.read(_CHUNK)
        except OSError as exc:
            raise _ClientGone from exc

    async def _deliver(self, data: bytes) -> None:
        # The server answers: whatever an earlier connection met with is over.
        self._tunnel.error = None
        try:
            self._local_writer.write(data)
            await self._local_writer.drain()
        except OSError as exc:
            raise _ClientGone from exc


class _WebSocketPump(_PlainPump):
    """Passes bytes on as messages of the channels of a port-forward."""

    async def outwards(self) -> None:
        while data := await self._receive():
            self._remote_writer.write(_frame(_BINARY, bytes([_DATA_CHANNEL]) + data))
            await self._remote_writer.drain()
        self._remote_writer.write(_frame(_CLOSE, b""))

    async def inwards(self) -> None:
        announced: set[int] = set()
        channel = _DATA_CHANNEL
        while True:
            opcode, payload = await _read_frame(self._remote_reader)
            if opcode == _PING:
                self._remote_writer.write(_frame(_PONG, payload))
            elif opcode == _CLOSE:
                return
            elif opcode in (_BINARY, _CONTINUATION) and payload:
                if opcode == _BINARY:
                    channel, payload = payload[0], payload[1:]
                    if channel not in announced:
                        # The first message of each channel only repeats the port.
                        announced.add(channel)
                        continue
                if channel == _ERROR_CHANNEL:
                    raise _port_error(payload.decode(errors="replace"))
                await self._deliver(payload)


class ApiServer:
    """Opens WebSockets to ports of pods at one API server."""

    def __init__(self, connection: Connection, context: ssl.SSLContext | None) -> None:
        self._connection = connection
        self._context = context

    async def open(self, namespace: str, pod: str, port: int) -> Streams:
        try:
            return await self._upgrade(namespace, pod, port)
        except ssl.SSLError as exc:
            raise RelayError("unreachable", f"{self._where()}: {_tls_reason(exc)}") from exc
        except OSError as exc:
            raise RelayError("unreachable", f"{self._where()} cannot be reached: {exc.strerror or exc}") from exc

    def _where(self) -> str:
        return f"the Kubernetes API at {self._connection.host}"

    async def _upgrade(self, namespace: str, pod: str, port: int) -> Streams:
        """Connect to the API server and turn the connection into a WebSocket to the pod."""
        address = urlsplit(self._connection.host)
        tls = address.scheme == "https"
        reader, writer = await self._connect(address.hostname or "", address.port or (443 if tls else 80), tls)
        path = f"{address.path.rstrip('/')}/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}"
        head = [
            f"GET {path}/portforward?ports={port} HTTP/1.1",
            f"Host: {address.netloc}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Protocol: v4.channel.k8s.io",
        ]
        token = self._connection.bearer()
        if token:
            head.append(f"Authorization: {token if token.startswith('Basic ') else f'Bearer {token}'}")
        writer.write("\r\n".join([*head, "", ""]).encode())
        try:
            answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.LimitOverrunError as exc:
            raise RelayError("unreachable", f"{self._where()} does not answer in HTTP") from exc
        status = answer.split(" ", 2)[1:2]
        if status != ["101"]:
            reason = _refusal(answer, await _body(reader, answer))
            raise RelayError("unreachable", f"{self._where()} refused the port-forward: {reason}")
        return reader, writer

    async def _connect(self, host: str, port: int, tls: bool) -> Streams:
        context = self._context if tls else None
        name = (self._connection.server_name or host) if tls else None
        if not self._connection.proxy:
            return await asyncio.open_connection(host, port, ssl=context, server_hostname=name, limit=_MAX_HEAD)
        proxy = self._connection.proxy
        sock = await asyncio.get_running_loop().run_in_executor(None, _connect_through, proxy, host, port)
        return await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name, limit=_MAX_HEAD)


def _connect_through(proxy: str, host: str, port: int) -> socket.socket:
    """A connection to host through an HTTP proxy."""
    address = urlsplit(proxy)
    login = {}
    if address.username:
        pair = f"{unquote(address.username)}:{unquote(address.password or '')}".encode()
        login["Proxy-Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    connection = http.client.HTTPConnection(address.hostname or "", address.port or 3128, timeout=_SECONDS_TO_CONNECT)
    connection.set_tunnel(host, port, headers=login)
    connection.connect()
    connection.sock.setblocking(False)
    return connection.sock


async def _body(reader: asyncio.StreamReader, head: str) -> bytes:
    length = 0
    for line in head.split("\r\n"):
        name, _colon, value = line.partition(":")
        if name.strip().lower() == "content-length" and value.strip().isdigit():
            length = min(int(value), _MAX_HEAD)
    return await reader.readexactly(length)


def _refusal(head: str, body: bytes) -> str:
    """The API server's own words where it has some."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip() or head.split("\r\n", 1)[0]


def _port_error(text: str) -> RelayError:
    if "connection refused" in text:
        return RelayError("refused", "nothing listens on this port in the pod")
    return RelayError("unreachable", f"the node could not forward the port: {text.strip()[-300:]}")


def _tls_reason(exc: ssl.SSLError) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {exc.verify_message}"
    if isinstance(exc, ssl.SSLEOFError):
        return _CUT_HANDSHAKE
    if exc.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return "it does not speak TLS on this port"
    return f"the TLS handshake failed: {exc.reason or exc}"


async def _read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, second = await reader.readexactly(2)
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack(">H", await reader.readexactly(2))
    elif length == 127:
        (length,) = struct.unpack(">Q", await reader.readexactly(8))
    return first & 0x0F, await reader.readexactly(length)


def _frame(opcode: int, payload: bytes) -> bytes:
    """A frame from a client: complete, and masked as the WebSocket protocol demands."""
    length = len(payload)
    if length < 126:
        head = struct.pack(">BB", 0x80 | opcode, 0x80 | length)
    elif length < 1 << 16:
        head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, length)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, length)
    mask = os.urandom(4)
    repeated = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ repeated).to_bytes(length, "big")
