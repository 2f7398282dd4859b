# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP requests to a service, by its URL or through the Kubernetes API if only the cluster reaches it.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import http.client
import re
import ssl
import time
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver, Target
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.kserve_client import Endpoint
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import authorities_context
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.port_forward import Tunnel

# A path that is no API of Prometheus' gets its web page.
_JSON = "application/json"
_WRITING = ("POST", "PUT", "DELETE")
_SERVICE_HOST = re.compile(r"(?P<name>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)\.svc(\.[a-z0-9.-]+)?", re.I)


# ---- where it is -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Address:
    """A service: its URL's parts, and the Service in the cluster that leads to it, if that is the way."""

    host: str
    port: int
    path: str = ""
    tls: bool = False
    service: Mapping[str, str] | None = None

    def __str__(self) -> str:
        if self.service:
            return f"Service {self.service['namespace']}/{self.service['name']} port {self.service['port']}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.path}"


def parse_address(
    url: str | None,
    service: Mapping[str, t.Any] | None = None,
    *,
    what: str = "Prometheus",
    option: str = "url",
    default_port: str = "",
) -> Address:
    """url or service; a URL with the name of a Service is reached like one, since nobody else knows that name."""
    if service:
        port = str(service.get("port") or default_port)
        return Address(
            "localhost", 0, service={"namespace": service["namespace"], "name": service["name"], "port": port}
        )
    try:
        parts = urlsplit(url or "")
        port_number = parts.port
    except ValueError as exc:
        raise SupersonicError(f"{option} is '{url}', which is no URL: {exc}.") from exc
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise SupersonicError(
            f"{option} is '{_public(url or '')}'; it must be http://HOST:PORT or https://HOST:PORT, with a path where "
            f"{what} has one, and without a user, a query or a fragment."
        )
    tls = parts.scheme == "https"
    number = port_number or (443 if tls else 80)
    found = _SERVICE_HOST.fullmatch(parts.hostname)
    inside = {"namespace": found["namespace"], "name": found["name"], "port": str(number)} if found else None
    return Address(parts.hostname, number, parts.path.rstrip("/"), tls, inside)


def _public(url: str) -> str:
    return re.sub(r"//[^@/]*@", "//...@", url)


def tls_context(authorities: str, validate: bool) -> ssl.SSLContext:
    """authorities: PEM texts; those of the system without."""
    try:
        return authorities_context(authorities, validate)
    except (ssl.SSLError, ValueError) as exc:
        raise SupersonicError(f"ca_certificates has no certificates in PEM: {exc}.") from exc


class Web:
    """One service. Raises SupersonicError for whatever goes wrong on the way to it."""

    # What it is called in messages.
    name = "The service"

    def __init__(
        self,
        address: Address,
        resolver: Resolver,
        *,
        token: str = "",
        authorities: str = "",
        validate: bool = True,
        timeout: float = 30.0,
    ) -> None:
        self.address = address
        self.headers = {"Accept": _JSON, "User-Agent": "fastml.supersonic"}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"
        self._timeout = timeout
        self._resolver = resolver
        self._context = tls_context(authorities, validate) if address.tls else None
        self._endpoint: Endpoint | None = None
        self._connection: http.client.HTTPConnection | None = None

    def request(self, target: str, body: bytes | None = None, method: str = "") -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the answer. body: JSON; without another method a POST, and a GET where there is
        none."""
        method = method or ("GET" if body is None else "POST")
        if method in _WRITING:
            # On a connection of its own nobody has to wonder whether what had no answer was done, and try it again.
            self.close()
        while True:
            reused = self._connection is not None
            endpoint = self._endpoint = self._endpoint or self._open()
            try:
                return self._exchange(endpoint, method, target, body)
            except (OSError, http.client.HTTPException) as exc:
                self.close()
                # An idle connection that was closed says nothing about the server.
                if not reused:
                    raise SupersonicError(self._why(endpoint, exc)) from exc

    def _exchange(
        self, endpoint: Endpoint, method: str, target: str, sent: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        if self._connection is None:
            connection = http.client.HTTPConnection(self.address.host, self.address.port or None)
            connection.sock = endpoint.connect(self._timeout)
            # Left alone it would connect anew by itself, past the tunnels.
            connection.auto_open = 0
            self._connection = connection
        headers = self.headers if sent is None else {**self.headers, "Content-Type": _JSON}
        self._connection.request(method, target, body=sent, headers=headers)
        response = self._connection.getresponse()
        body = response.read()
        if response.will_close:
            self.close()
        return response.status, dict(response.headers), body

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _open(self) -> Endpoint:
        address = self.address
        tunnels: tuple[Tunnel, ...] = ()
        if address.service:
            target = Target("service", address.service, self.name, "http")
            places, absences = self._resolver.resolve(target)
            if absences:
                raise SupersonicError(f"{self.name} ({address}) cannot be reached: {absences[0].reason}.")
            tunnels = places[0].endpoint.tunnels
        if self._context:
            way = tunnels[0].path if tunnels else (address.host, address.port)
            tunnels = (self._resolver.relay.to_tls(way, self._context, address.host), *tunnels)
        return Endpoint("http", address.host, address.port, tunnels, address.tls)

    def _why(self, endpoint: Endpoint, exc: Exception) -> str:
        # A tunnel hears of it a moment after its client.
        limit = time.monotonic() + 0.5
        while endpoint.tunnels and time.monotonic() < limit:
            for tunnel in reversed(endpoint.tunnels):
                if tunnel.error is not None:
                    return f"{self.name} ({self.address}) cannot be reached: {tunnel.error}."
            time.sleep(0.02)
        if isinstance(exc, TimeoutError):
            return f"{self.name} ({self.address}) gave no answer within {self._timeout:g} s."
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc) or type(exc).__name__
        return f"{self.name} ({self.address}) cannot be reached: {reason}."
