# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Diagnoses why a server cannot be reached: what listens on the port and which protocol it speaks.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.fastml.supersonic.plugins.module_utils._inference.kserve_client import Endpoint

# What a client of HTTP/2 says first, followed by an empty SETTINGS frame.
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_HTTP1_HELLO = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_SETTINGS = 4

NOTHING, SILENCE, HTTP1, HTTP2, OTHER = "nothing", "silence", "HTTP/1", "HTTP/2", "other"


class Diagnosis(t.NamedTuple):
    """kind is one of refused, unreachable, tls, hang, wrong_protocol."""

    kind: str
    reason: str


def diagnose(endpoint: Endpoint, timeout: float) -> Diagnosis | None:
    """The problem of the connection to a server, None if it speaks the expected protocol."""
    hello = _HTTP2_HELLO if endpoint.protocol == "grpc" else _HTTP1_HELLO
    wanted = HTTP2 if endpoint.protocol == "grpc" else HTTP1
    try:
        spoken = _ask(endpoint, hello, timeout)
    except (OSError, ValueError) as exc:
        return _connection_trouble(endpoint, exc)
    if spoken == wanted:
        return None
    if spoken == SILENCE:
        return Diagnosis("hang", f"it accepts connections but says nothing within {timeout:g} s")
    if endpoint.tls and spoken == NOTHING:
        # A server that refuses the handshake says why, and what was sent meanwhile may have wiped that out.
        _listen(endpoint, timeout)
    broken = _tunnel_trouble(endpoint)
    if broken:
        return broken
    if not endpoint.tls and _speaks_tls(endpoint, timeout):
        return Diagnosis(
            "tls", "the server expects TLS; set tls for this target (verify_tls or verify_envoy_tls of the role verify)"
        )
    if wanted == HTTP2:
        try:
            spoken = HTTP1 if spoken == HTTP1 or _ask(endpoint, _HTTP1_HELLO, timeout) == HTTP1 else spoken
        except OSError:
            spoken = OTHER
    if spoken == HTTP1:
        return Diagnosis("wrong_protocol", "an HTTP/1 server answers there, not gRPC; is it Triton's HTTP port?")
    if spoken == HTTP2:
        return Diagnosis("wrong_protocol", "an HTTP/2 server answers there, not HTTP/1; is it Triton's gRPC port?")
    if spoken == NOTHING:
        # Says little: so does a server that is just starting or stopping.
        return Diagnosis(
            "unreachable", "it closes connections without a word; does it start or stop, is the port right?"
        )
    return Diagnosis("wrong_protocol", f"what answers there does not speak {wanted}; is the port right?")


def _ask(endpoint: Endpoint, hello: bytes, timeout: float) -> str:
    """Say hello on a new connection and recognise the answer."""
    with endpoint.connect(timeout) as sock:
        try:
            sock.sendall(hello)
            answer = sock.recv(9)
            while answer and len(answer) < 9:
                more = sock.recv(9 - len(answer))
                if not more:
                    break
                answer += more
        except TimeoutError:
            return SILENCE
        except OSError:
            return NOTHING
    if not answer:
        return NOTHING
    if answer.startswith(b"HTTP/1."):
        return HTTP1
    if len(answer) == 9 and answer[3] == _SETTINGS and answer[5:9] == bytes(4):
        return HTTP2
    return OTHER


def _listen(endpoint: Endpoint, timeout: float) -> None:
    """Open a connection and say nothing until the server has spoken or ended it; what it was shows in the tunnels."""
    with contextlib.suppress(OSError), endpoint.connect(timeout) as sock:
        sock.recv(1)


def _speaks_tls(endpoint: Endpoint, timeout: float) -> bool:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with endpoint.connect(timeout) as sock, context.wrap_socket(sock):
            return True
    except ssl.SSLError as exc:
        # A server that asks for a certificate or knows no such name speaks TLS as well.
        return "ALERT" in (exc.reason or "")
    except OSError:
        return False


def _tunnel_trouble(endpoint: Endpoint) -> Diagnosis | None:
    """The problems of the tunnels, the farthest first, since the nearer ones depend on it."""
    for tunnel in reversed(endpoint.tunnels):
        if tunnel.error is not None:
            return Diagnosis(tunnel.error.kind, str(tunnel.error))
    return None


def _connection_trouble(endpoint: Endpoint, exc: Exception) -> Diagnosis:
    if isinstance(exc, ConnectionRefusedError):
        return Diagnosis("refused", "connection refused; nothing listens on this port")
    if isinstance(exc, socket.gaierror) or not isinstance(exc, OSError):
        return Diagnosis("unreachable", f"the name {endpoint.host} cannot be resolved")
    if isinstance(exc, TimeoutError):
        return Diagnosis("unreachable", "no connection in time; is the address right, does a firewall drop it?")
    return Diagnosis("unreachable", exc.strerror or str(exc))
