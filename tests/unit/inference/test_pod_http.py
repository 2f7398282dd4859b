# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A question to a port of a pod: what comes back, and what nobody answers."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._inference import pod_http
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.port_forward import RelayError, Tunnel


class Admin(BaseHTTPRequestHandler):
    """An admin interface that repeats what it was asked."""

    def address_string(self) -> str:
        return "a socket"

    def log_message(self, *_arguments: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        if self.path == "/hangs-up":
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        text = f"{self.command} {self.path} {self.headers['Host']} {self.headers.get('X-Key', '')} {body.decode()}"
        self.send_response(503 if self.path == "/broken" else 200)
        if self.path == "/cut":
            self.send_header("Content-Length", str(len(text) + 7))
        self.end_headers()
        self.wfile.write(text.encode())

    do_POST = do_GET


class Ways:
    """A relay with one way, which is open already."""

    def __init__(self, path: Path) -> None:
        self.tunnel = Tunnel(str(path))
        self.asked: list[Any] = []

    def to_pod(self, *asked: Any) -> Tunnel:
        self.asked.append(asked)
        return self.tunnel


@pytest.fixture
def ways(tmp_path: Path) -> Iterator[Ways]:
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "s"), Admin) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield Ways(tmp_path / "s")
        server.shutdown()
        thread.join()


def ask(ways: Ways, target: str, **options: Any) -> pod_http.Answer:
    return pod_http.ask(
        cast("Any", ways), cast("Any", "api"), "cms", "main-envoy-1", 9901, target, timeout=30, **options
    )


def test_what_comes_back(ways: Ways) -> None:
    assert ask(ways, "/stats") == (200, b"GET /stats localhost  ")
    assert ask(ways, "/broken") == (503, b"GET /broken localhost  ")
    posted = ask(ways, "/index", method="POST", body=b"{}", headers={"X-Key": "k"})
    assert posted == (200, b"POST /index localhost k {}")
    assert ask(ways, "/healthcheck/fail", method="POST").status == 200
    assert ask(ways, "/stats", most=5) == (200, b"GET /")
    assert set(ways.asked) == {("api", "cms", "main-envoy-1", 9901)}


def test_no_answer_has_a_reason(ways: Ways, tmp_path: Path) -> None:
    with pytest.raises(pod_http.NoAnswer, match="closed connection without response"):
        ask(ways, "/hangs-up")
    with pytest.raises(pod_http.NoAnswer, match=r"^IncompleteRead\(20 bytes read, 7 more expected\)$"):
        ask(ways, "/cut")
    # Nobody has asked for its end.
    assert ask(ways, "/cut", most=5).body == b"GET /"
    # What the port-forward says tells more.
    ways.tunnel.error = RelayError("refused", "connection refused in the pod")
    with pytest.raises(pod_http.NoAnswer, match=r"^connection refused in the pod$"):
        ask(ways, "/hangs-up")
    with pytest.raises(pod_http.NoAnswer, match="No such file"):
        ask(Ways(tmp_path / "nobody"), "/stats")


class Dripping:
    """An answer that comes in parts."""

    length = None

    def __init__(self, *parts: bytes) -> None:
        self.parts = list(parts)

    def read1(self, size: int) -> bytes:
        part = self.parts.pop(0) if self.parts else b""
        self.parts[:0] = [part[size:]] if part[size:] else []
        return part[:size]


def test_an_answer_is_bounded_in_bytes_and_in_time() -> None:
    # Bytes, not characters: it would not be seen to be cut otherwise.
    text = "äöüäöü".encode()
    assert pod_http.read(cast("Any", Dripping(text[:3], text[3:])), 3600, 10) == text[:10]
    assert pod_http.read(cast("Any", Dripping(b"ab", b"c")), 3600, 10) == b"abc"
    with pytest.raises(TimeoutError, match="has not come to an end within -1 s"):
        pod_http.read(cast("Any", Dripping(b"a", b"b")), -1, 10)
