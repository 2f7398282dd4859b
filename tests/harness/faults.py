# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is between a module and the API server, and misbehaves as told."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import tls_context
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import Connection

# A fault gets the method and the path of a request. It returns None to let it through, or what to do instead:
# a status (with an optional Retry-After), "drop" to close the connection, or a number of seconds to delay it.
Fault = Callable[[str, str], Any]


class FaultyProxy:
    """Speaks plain HTTP on loopback and forwards to the API server with its credentials."""

    def __init__(self, connection: Connection, fault: Fault) -> None:
        self.requests: list[tuple[str, str]] = []
        proxy = self
        address = urlsplit(connection.host)
        context = tls_context(connection)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.requests.append((self.command, self.path))
                what = fault(self.command, self.path)
                if what == "drop":
                    self.close_connection = True
                    self.connection.close()
                    return
                if isinstance(what, float):
                    time.sleep(what)
                elif what is not None:
                    status, after = what
                    self.send_response(status)
                    if after:
                        self.send_header("Retry-After", str(after))
                    self.send_header("Content-Length", "4")
                    self.end_headers()
                    self.wfile.write(b"busy")
                    return
                upstream = http.client.HTTPSConnection(address.hostname or "", address.port or 443, context=context)
                headers = {k: v for k, v in self.headers.items() if k.lower() in ("accept", "content-type")}
                upstream.request(self.command, self.path, body or None, headers)
                answer = upstream.getresponse()
                self.send_response(answer.status)
                for name in ("Content-Type", "Warning"):
                    for value in answer.headers.get_all(name) or []:
                        self.send_header(name, value)
                self.close_connection = True
                self.send_header("Connection", "close")
                self.end_headers()
                while line := answer.readline():
                    self.wfile.write(line)
                    self.wfile.flush()
                upstream.close()

            do_GET = do_PATCH = do_DELETE = do_POST = handle_any

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FaultyProxy:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Cutter:
    """A wire to the API server, TLS and all, that can be cut: what is on its way then is lost for both ends."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._down = False
        self.cuts = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Cutter:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.close()
        self.cut(0)

    def cut(self, seconds: float) -> None:
        """Break every connection, and let none through for a while."""
        self._down = True
        self.cuts += 1
        with self._guard:
            broken, self._open = self._open, set()
        for end in broken:
            with contextlib.suppress(OSError):
                # A reset, not an orderly end.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        time.sleep(seconds)
        self._down = False

    def _accept(self) -> None:
        while True:
            try:
                near, _address = self._server.accept()
            except OSError:
                return
            if self._down:
                near.close()
                continue
            far = socket.create_connection(self._to)
            with self._guard:
                self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
            with self._guard:
                self._open.discard(end)
