# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Local sockets that are forwarded to ports of pods, and to servers behind TLS.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Clients connect to a Unix socket in a folder that only we may enter. To a pod, every connection gets a WebSocket of its
own at the API server, so that many run side by side and both directions flow at once,
as HTTP/2 needs; the port-forward of the kubernetes library is one blocking loop and costs the library's whole import.
TLS is spoken here, because the client library of gRPC can neither skip the check of a certificate nor say clearly what
is wrong with one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import ssl
import tempfile
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

from ansible_collections.fastml.supersonic.plugins.module_utils._kube import websocket
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError, segment

_CHUNK = 64 * 1024
# Connections that can be opened at the same time; each takes a thread until it stands.
_OPENERS = 32
_SECONDS_TO_CONNECT = 10.0
# Of a server whose connection is broken already; it only has to be taken out of a buffer.
_SECONDS_FOR_LAST_WORD = 1.0

# The kernel takes no longer path of a Unix socket than 107 bytes.
_LONGEST_FOLDER = 96
# A server that wants a client to show a certificate says so after the handshake (TLS 1.3, RFC 8446, section 6.2).
CERTIFICATE_ASKED = "it asks for a certificate of the client"
_CUT_HANDSHAKE = "it cut the TLS handshake; does it speak TLS on this port?"

_DATA_CHANNEL, _ERROR_CHANNEL = 0, 1


class RelayError(Exception):
    """The reason why a connection could not be forwarded; kind is one of refused, unreachable, tls."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Tunnel:
    """A Unix socket that leads somewhere.

    error holds why its last broken connection broke, certificate (DER) what the server showed last, where the tunnel
    speaks TLS.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.error: RelayError | None = None
        self.certificate: bytes | None = None


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
        self._loop.set_default_executor(ThreadPoolExecutor(_OPENERS, thread_name_prefix="relay"))
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def to_pod(self, api: Api, namespace: str, pod: str, port: int) -> Tunnel:
        """Offer a port of a pod. Whether it answers shows with the first connection."""

        async def connect() -> Streams:
            return await asyncio.wait_for(_open_port(api, namespace, pod, port), _SECONDS_TO_CONNECT)

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
        secured = remote[1].get_extra_info("ssl_object") if pump is _PlainPump else None
        if secured is not None:
            # A connection that the server has ended meanwhile knows nothing any more.
            with contextlib.suppress(ValueError):
                tunnel.certificate = secured.getpeercert(binary_form=True)
        await pump(tunnel, local, remote).run()
    except _ClientGone:
        pass
    except RelayError as exc:
        tunnel.error = exc
    except TimeoutError:
        tunnel.error = RelayError("unreachable", f"no connection within {_SECONDS_TO_CONNECT:.0f} s")
    except ConnectionRefusedError:
        tunnel.error = RelayError("refused", "connection refused")
    except ssl.SSLError as exc:
        tunnel.error = RelayError("tls", _tls_reason(exc))
    except websocket.ProtocolError as exc:
        tunnel.error = RelayError("unreachable", f"the Kubernetes API is not understood: {exc}")
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
            if directions[0].done() and isinstance(directions[0].exception(), OSError):
                # What the server has said before it went is read, but perhaps not looked at yet.
                await asyncio.wait(directions[1:], timeout=_SECONDS_FOR_LAST_WORD)
        finally:
            for task in directions:
                task.cancel()
            results = await asyncio.gather(*directions, return_exceptions=True)
        # What came from the server explains more than what could not be sent to it, also where nobody has read it yet.
        outwards, inwards = results
        last_word = inwards if isinstance(inwards, RelayError) else self._remote_reader.exception()
        for result in (last_word, inwards, outwards):
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
            self._remote_writer.write(websocket.message(_DATA_CHANNEL, data))
            await self._remote_writer.drain()
        self._remote_writer.write(websocket.frame(websocket.CLOSE, b""))

    async def inwards(self) -> None:
        frames = websocket.Frames()
        announced: set[int] = set()
        announcing = False
        while frames.closed is None:
            data = await self._remote_reader.read(_CHUNK)
            if not data:
                raise RelayError("unreachable", "the connection was cut")
            for channel, payload, first in frames.receive(data):
                # The first message of each channel only repeats the port.
                if first:
                    announcing = channel not in announced
                    announced.add(channel)
                if announcing or not payload:
                    continue
                if channel == _ERROR_CHANNEL:
                    raise _port_error(payload.decode(errors="replace"))
                await self._deliver(payload)
            if replies := frames.replies():
                self._remote_writer.write(replies)


async def _open_port(api: Api, namespace: str, pod: str, port: int) -> Streams:
    """A WebSocket at the API server that leads to a port of a pod."""
    where = f"the Kubernetes API at {api.connection.host}"
    try:
        sock = await asyncio.get_running_loop().run_in_executor(None, api.open_socket)
        name = api.server_name if api.context else None
        reader, writer = await asyncio.open_connection(sock=sock, ssl=api.context, server_hostname=name)
        try:
            await _upgrade(api, f"/api/v1/namespaces/{segment(namespace)}/pods/{segment(pod)}", port, reader, writer)
        except BaseException:
            writer.close()
            raise
    except (ApiError, websocket.ProtocolError) as exc:
        raise RelayError("unreachable", f"{where} refused the port-forward: {exc}") from exc
    except ssl.SSLError as exc:
        raise RelayError("unreachable", f"{where}: {_tls_reason(exc)}") from exc
    except OSError as exc:
        raise RelayError("unreachable", f"{where} cannot be reached: {exc.strerror or exc}") from exc
    return reader, writer


async def _upgrade(api: Api, pod: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    target = f"{pod}/portforward?{urlencode({'ports': port})}"
    handshake = websocket.Handshake(api, target, f"port {port} of {pod.rpartition('/')[2]}")
    writer.write(handshake.request)
    try:
        # Not a byte more: what follows belongs to the pump.
        answer = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as exc:
        answer = exc.partial
    except asyncio.LimitOverrunError as exc:
        raise websocket.ProtocolError("it does not answer in HTTP") from exc
    while handshake.receive(answer) is None:
        answer = await reader.read(_CHUNK)


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
    if exc.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED":
        return CERTIFICATE_ASKED
    return f"the TLS handshake failed: {exc.reason or exc}"
