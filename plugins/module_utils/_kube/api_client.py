# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Client for the Kubernetes API: JSON over persistent connections, retries, errors as sentences.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

It stands on http.client because importing the kubernetes library costs more time than a whole no-change run.
Every call made through it may be repeated: server-side apply, reads, and deletes with a uid precondition.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import random
import re
import socket
import ssl
import tempfile
import threading
import time
import typing as t
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, unquote, urlencode, urlsplit

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import Connection

APPLY = "application/apply-patch+yaml"
JSON = "application/json"

_CONNECT_SECONDS = 10.0
_READ_SECONDS = 65.0
# A server that has answered once is worth waiting for (it restarts, a proxy switches); one that never did is not.
_PATIENCE_SECONDS = 25.0
_FIRST_CONTACT_SECONDS = 2.0
_RETRIED = frozenset({429, 500, 502, 503, 504})
_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]*)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]*)")?'
)
_WEBHOOK = re.compile(r'(?:admission webhook|failed calling webhook) "(?P<name>[^"]+)"')
# Server-side apply answers 500 for a body that does not fit the schema, and quotes the value, which may be secret.
_TYPED_PATCH = re.compile(r"failed to create typed patch object \([^)]*\): (?P<errors>.*)", re.DOTALL)
_UNUSABLE = re.compile(r"failed to create typed patch object|failed to convert new object|error decoding")
_GOT = re.compile(r", got &?value\S*\{.*?\}(?=$|\n)|, got .*?(?=$|\n)")
_ADMISSION_POLICY = re.compile(r"ValidatingAdmissionPolicy '(?P<name>[^']+)'")
# What can be done about fields of others, as long as nobody knows better.
CONFLICT_REMEDY = "Remove these fields from the definition to leave them, or set force_conflicts to take them over."


class ApiError(SupersonicError):
    """The API server answered with an error."""

    def __init__(self, text: str, *, status: int, reason: str, body: Mapping[str, t.Any]) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.body = body

    @property
    def causes(self) -> list[dict[str, t.Any]]:
        return (self.body.get("details") or {}).get("causes") or []

    @property
    def bad_request(self) -> bool:
        """Whether the request itself is wrong, whatever the status says."""
        return self.status in (400, 422) or bool(_UNUSABLE.search(str(self.body.get("message"))))

    @property
    def no_such_path(self) -> bool:
        """The server does not serve this kind at all (as opposed to: there is no such object)."""
        return self.status == 404 and not (self.body.get("details") or {}).get("name")


class Unreachable(SupersonicError):
    """No answer came from the API server."""


class Api:
    """One API server. Safe to use from several threads; each has a connection of its own."""

    def __init__(
        self,
        connection: Connection,
        *,
        patience: float = _PATIENCE_SECONDS,
        first_contact: float = _FIRST_CONTACT_SECONDS,
    ) -> None:
        self.connection = connection
        self.warnings: dict[str, None] = {}
        self.address = urlsplit(connection.host)
        self.context = tls_context(connection) if self.address.scheme == "https" else None
        self._local = threading.local()
        self._patience = patience
        self._first_contact = first_contact
        self._answered = False

    def get(self, path: str, what: str, query: Mapping[str, str] | None = None) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", json.loads(self.call("GET", path, what, query=query)))

    def find(self, path: str, what: str) -> dict[str, t.Any] | None:
        """The object, or None when it or its kind does not exist."""
        try:
            return self.get(path, what)
        except ApiError as exc:
            if exc.status == 404:
                return None
            raise

    def list(self, path: str, what: str, query: Mapping[str, str] | None = None) -> list[dict[str, t.Any]]:
        """All items, page by page, each with the kind and apiVersion that lists leave out."""
        items: list[dict[str, t.Any]] = []
        page: dict[str, str] = {"limit": "500", **(query or {})}
        while True:
            answer = self.get(path, what, page)
            kind = str(answer.get("kind", "")).removesuffix("List")
            items += [{"apiVersion": answer.get("apiVersion"), "kind": kind, **item} for item in answer["items"] or []]
            following = (answer.get("metadata") or {}).get("continue")
            if not following:
                return items
            page["continue"] = following

    def apply(
        self, path: str, body: Mapping[str, t.Any], what: str, *, manager: str, force: bool, dry_run: bool
    ) -> dict[str, t.Any]:
        query = {"fieldManager": manager, "fieldValidation": "Strict", "force": str(force).lower()}
        if dry_run:
            query["dryRun"] = "All"
        answer = self.call("PATCH", path, what, query=query, body=body, content_type=APPLY)
        return t.cast("dict[str, t.Any]", json.loads(answer))

    def delete(
        self, path: str, what: str, *, uid: str | None = None, propagation: str = "Foreground", grace: int | None = None
    ) -> None:
        body: dict[str, t.Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        if uid:
            # Without it a repeated call could delete an object of the same name that was created in between.
            body["preconditions"] = {"uid": uid}
        self.call("DELETE", path, what, body=body)

    def text(self, path: str, what: str, query: Mapping[str, str] | None = None) -> str:
        return self.call("GET", path, what, query=query).decode(errors="replace")

    def call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, t.Any] | None = None,
        content_type: str = JSON,
    ) -> bytes:
        payload = None if body is None else json.dumps(body).encode()
        started = time.monotonic()
        attempt = 0
        while True:
            failure: ApiError | Unreachable
            delay = min(8.0, 0.25 * 2**attempt) * random.uniform(0.8, 1.2)
            cause: Exception | None = None
            try:
                status, headers, answer = self._exchange(method, _target(path, query), payload, content_type)
            except (OSError, http.client.HTTPException) as exc:
                reused = getattr(self._local, "used", 0) > 0
                self._drop()
                if reused:
                    # An idle connection that the server has closed says nothing about the server.
                    continue
                failure, cause = self._unreachable(exc), exc
                if _lasts(exc):
                    raise failure from exc
            else:
                self._answered = True
                self._collect_warnings(headers)
                if status < 300:
                    return answer
                failure = api_error(status, answer, self.connection, method, what)
                if status not in _RETRIED or failure.bad_request:
                    raise failure
                delay = max(delay, _seconds(headers.get("Retry-After")))
            limit = self._patience if self._answered else self._first_contact
            if time.monotonic() + delay - started > limit:
                if attempt and isinstance(failure, ApiError):
                    failure.args = (f"{failure} (tried {attempt + 1} times within {time.monotonic() - started:.0f} s)",)
                raise failure from cause
            time.sleep(delay)
            attempt += 1

    def watch(self, path: str, query: Mapping[str, str], seconds: float) -> Watch:
        """Open a watch. Raises OSError or HTTPException when the connection fails; no retries here."""
        connection = self.open_connection(read_seconds=seconds + 15.0)
        try:
            full = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(max(1, int(seconds))), **query}
            connection.request("GET", self.address.path + _target(path, full), headers=self.headers())
            response = connection.getresponse()
            if response.status >= 300:
                raise api_error(response.status, response.read(), self.connection, "GET", f"watch of {path}")
        except BaseException:
            connection.close()
            raise
        return Watch(connection, response)

    def _exchange(
        self, method: str, target: str, payload: bytes | None, content_type: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self.open_connection(_READ_SECONDS)
            self._local.used = 0
        headers = self.headers()
        if payload is not None:
            headers["Content-Type"] = content_type
        connection.request(method, self.address.path + target, body=payload, headers=headers)
        response = connection.getresponse()
        answer = response.read()
        self._local.used += 1
        if response.will_close:
            self._drop()
        return response.status, response.headers, answer

    def headers(self) -> dict[str, str]:
        """The headers of every request."""
        headers = {"Accept": JSON, "User-Agent": "fastml.supersonic"}
        token = self.connection.bearer()
        if token:
            headers["Authorization"] = token if token.startswith("Basic ") else f"Bearer {token}"
        return headers

    @property
    def server_name(self) -> str:
        """The name that the server's certificate must have."""
        return self.connection.server_name or self.address.hostname or ""

    def open_socket(self) -> socket.socket:
        """A new connection to the server, through the proxy if there is one, before TLS."""
        host = self.address.hostname or ""
        port = self.address.port or (443 if self.context else 80)
        proxy = urlsplit(self.connection.proxy) if self.connection.proxy else None
        if proxy and (proxy.scheme not in ("http", "") or not proxy.hostname):
            raise SupersonicError(f"The proxy '{_without_userinfo(self.connection.proxy)}' is no http:// address.")
        first = (proxy.hostname or "", proxy.port or 3128) if proxy else (host, port)
        opening = http.client.HTTPConnection(*first, timeout=_CONNECT_SECONDS)
        if proxy:
            login = {}
            if proxy.username:
                pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
                login["Proxy-Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
            opening.set_tunnel(host, port, headers=login)
        try:
            opening.connect()
        except BaseException:
            opening.close()
            raise
        return t.cast(socket.socket, opening.sock)

    def open_connection(self, read_seconds: float) -> http.client.HTTPConnection:
        """A new connection to the server for requests over HTTP."""
        sock = self.open_socket()
        try:
            if self.context:
                sock = self.context.wrap_socket(sock, server_hostname=self.server_name)
            sock.settimeout(read_seconds)
        except BaseException:
            sock.close()
            raise
        where = self.address.hostname or "", self.address.port
        connection: http.client.HTTPConnection
        if self.context:
            connection = http.client.HTTPSConnection(*where, context=self.context)
        else:
            connection = http.client.HTTPConnection(*where)
        # Left alone it would connect anew by itself, past the proxy and the expected name.
        connection.auto_open = 0
        connection.sock = sock
        return connection

    def _drop(self) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
        self._local.connection = None
        self._local.used = 0

    def _unreachable(self, exc: Exception) -> Unreachable:
        where = f"The Kubernetes API at {self.connection.host} ({self.connection.source})"
        if isinstance(exc, ssl.SSLCertVerificationError):
            return Unreachable(
                f"{where} has a certificate that is not trusted: {exc.verify_message}. "
                "Set ca_cert to the certificate of its authority, or correct the address."
            )
        if isinstance(exc, ssl.SSLError):
            return Unreachable(f"{where} refused the TLS connection: {getattr(exc, 'reason', None) or exc}.")
        if isinstance(exc, socket.gaierror):
            return Unreachable(f"{where} cannot be reached: the name {self.address.hostname} cannot be resolved.")
        if isinstance(exc, TimeoutError):
            return Unreachable(f"{where} cannot be reached: no answer in time.")
        if isinstance(exc, ConnectionRefusedError):
            return Unreachable(f"{where} cannot be reached: connection refused.")
        if isinstance(exc, http.client.RemoteDisconnected | ConnectionResetError):
            return Unreachable(f"{where} closed the connection without an answer.")
        if isinstance(exc, http.client.BadStatusLine):
            return Unreachable(f"{where} does not speak HTTP; is the port right?")
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc) or type(exc).__name__
        return Unreachable(f"{where} cannot be reached: {reason}.")

    def _collect_warnings(self, headers: http.client.HTTPMessage) -> None:
        for header in headers.get_all("Warning") or []:
            for text in _WARNING.findall(header):
                self.warnings[text.replace('\\"', '"')] = None


def _lasts(exc: Exception) -> bool:
    """Whether another try would fail the same way: not when a server that restarts hung up within TLS, or a name server
    was busy."""
    if isinstance(exc, socket.gaierror):
        return exc.errno != socket.EAI_AGAIN
    return isinstance(exc, ssl.SSLError) and not isinstance(exc, ssl.SSLEOFError | ssl.SSLZeroReturnError)


class Watch:
    """An open watch: iterate over its events, close it from any thread."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response

    def __iter__(self) -> Iterator[dict[str, t.Any]]:
        while line := self._response.readline():
            yield json.loads(line)

    def close(self) -> None:
        sock = self._connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                # Closing alone does not wake a thread that reads from the socket.
                sock.shutdown(socket.SHUT_RDWR)


def api_error(status: int, answer: bytes, connection: Connection, method: str, what: str) -> ApiError:
    """Turn an answer of the API server into a sentence that says what to do."""
    try:
        body = json.loads(answer)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {"message": answer[:300].decode(errors="replace").strip()}
    reason = str(body.get("reason") or http.client.responses.get(status, "error"))
    return ApiError(_sentence(status, body, connection, method, what), status=status, reason=reason, body=body)


def _sentence(status: int, body: Mapping[str, t.Any], connection: Connection, method: str, what: str) -> str:
    message = str(body.get("message") or http.client.responses.get(status, "no reason given"))
    webhook = _WEBHOOK.search(message)
    if webhook and status >= 500:
        return f"{what}: the admission webhook {webhook['name']} could not be asked: {_tail(message)}"
    if webhook:
        return f"{what}: refused by the admission webhook {webhook['name']}: {_tail(message, 'denied the request')}"
    policy = _ADMISSION_POLICY.search(message)
    if policy:
        return f"{what}: refused by the admission policy {policy['name']}: {_tail(message, 'denied request')}"
    if status == 401:
        return (
            f"The Kubernetes API at {connection.host} does not accept the credentials of {connection.source}: "
            "the token or certificate is wrong or has expired. Log in again, or set api_key or kubeconfig."
        )
    if status == 403:
        return _forbidden(message, body, what)
    if status == 404:
        return f"{what}: {message}"
    if status == 409 and any(c.get("reason") == "FieldManagerConflict" for c in _causes(body)):
        return f"{what}: {_conflict(body)}"
    if status == 422 and _causes(body):
        causes = "; ".join(f"{cause.get('field') or 'object'}: {cause.get('message')}" for cause in _causes(body))
        hint = ""
        if "immutable" in causes or "updates to statefulset spec" in causes:
            hint = " This cannot be changed in place: delete the object first, or give the new one another name."
        return f"{what}: the API server finds it invalid: {causes}.{hint}"
    if status == 400 and "strict decoding error:" in message:
        return f"{what}: {message.partition('strict decoding error:')[2].strip()}. Correct or remove it."
    typed = _TYPED_PATCH.search(message)
    if typed:
        return f"{what}: {_schema_errors(typed['errors'])}"
    if status == 429:
        return f"{what}: the API server is overloaded or the operation is not allowed now (429): {message}"
    if status >= 500:
        return f"{what}: the API server answered {method} with {status}: {message}"
    return f"{what}: {message}"


def _causes(body: Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    return (body.get("details") or {}).get("causes") or []


def _forbidden(message: str, body: Mapping[str, t.Any], what: str) -> str:
    found = _FORBIDDEN.search(message)
    if found:
        resource = found["resource"] + (f".{found['group']}" if found["group"] else "")
        where = f'in namespace "{found["namespace"]}"' if found["namespace"] else "in the whole cluster"
        role = "Role" if found["namespace"] else "ClusterRole"
        return (
            f'{what}: user "{found["user"]}" lacks the permission to {found["verb"]} {resource} {where}. '
            f'Ask for a {role} with the verb "{found["verb"]}" on "{resource}".'
        )
    if any(cause.get("reason") == "NamespaceTerminating" for cause in _causes(body)):
        return f"{what}: its namespace is being deleted. Wait until it is gone, then run again."
    detail = message.partition(" is forbidden: ")[2] or message
    return f"{what}: not allowed: {detail}"


def _conflict(body: Mapping[str, t.Any]) -> str:
    managers: dict[str, list[str]] = {}
    for cause in _causes(body):
        named = re.search(r'conflict with "([^"]*)"', str(cause.get("message")))
        managers.setdefault(named[1] if named else "another manager", []).append(str(cause.get("field")))
    parts = [f"{', '.join(fields)} (owned by {manager})" for manager, fields in managers.items()]
    return f"another field manager has set {'; '.join(parts)}. {CONFLICT_REMEDY}"


def _schema_errors(errors: str) -> str:
    lines = [_GOT.sub("", line.strip(" -")) for line in errors.splitlines()]
    lines = [line for line in lines if line and line != "errors:"]
    unknown = [line.partition(": ")[0] for line in lines if line.endswith("field not declared in schema")]
    if len(unknown) == len(lines):
        return f"unknown field {', '.join(unknown)}. Correct or remove it."
    return f"{'; '.join(lines)}. Correct the type."


def _tail(message: str, after: str = "") -> str:
    """The message of a webhook, without the API server's preamble."""
    if after and after in message:
        return message.partition(after)[2].lstrip(": ").strip()
    return message.rpartition("failed to call webhook: ")[2].strip()


def authorities_context(authorities: str | None, validate: bool, *, path: str | None = None) -> ssl.SSLContext:
    """Trust in authorities (PEM, or a file of them), those of the system without. Raises ssl.SSLError, OSError or
    ValueError for what is none."""
    # The system's authorities take 20 ms to load: only where no authority is given.
    context = ssl.create_default_context(cafile=path, cadata=authorities or None)
    # On by default since Python 3.13; refuses the authorities that many sites have made for themselves.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not validate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def tls_context(connection: Connection) -> ssl.SSLContext:
    try:
        context = authorities_context(connection.ca_pem, connection.validate)
        if connection.cert_pem and connection.key_pem:
            # OpenSSL loads from a file only; this one is readable by us alone and gone at once.
            with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
                file.write(f"{connection.cert_pem}\n{connection.key_pem}\n")
                file.flush()
                context.load_cert_chain(file.name)
    except (ssl.SSLError, ValueError) as exc:
        raise SupersonicError(f"The certificates of {connection.source} cannot be used: {exc}.") from exc
    return context


def _target(path: str, query: Mapping[str, str] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _seconds(value: str | None) -> float:
    return float(value) if value and value.isdigit() else 0.0


def _without_userinfo(url: str | None) -> str:
    return re.sub(r"//[^@/]*@", "//", url or "")


def segment(name: str) -> str:
    """A name as part of a path: names of RBAC objects contain colons, others nothing special."""
    return quote(name, safe=":")


def joined(errors: Iterable[BaseException]) -> str:
    """Several errors as one text, each once."""
    return " ".join(dict.fromkeys(str(error) for error in errors))


def find_if_allowed(api: Api, path: str, what: str) -> dict[str, t.Any] | None:
    """The object, or None when it does not exist or may not be read."""
    try:
        return api.find(path, what)
    except ApiError as error:
        if error.status != 403:
            raise
        return None
