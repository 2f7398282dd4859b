# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What OpenShift does beside Kubernetes, after its documentation: no OpenShift runs here.

The security context constraint restricted-v2, which judges pods and fills in users and groups, as a function and as an
admission webhook of a real API server; and the OAuth server that gives tokens to who answers its challenge.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import secrets
import select
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.tests.harness.answers import JsonHandler
from ansible_collections.fastml.supersonic.tests.harness.certificates import Certificate, certificate

# What a namespace is given, in its annotations openshift.io/sa.scc.uid-range and .supplemental-groups.
FIRST_USER, USERS = 1000660000, 10000
VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
CLIENT = "openshift-challenging-client"


# ---- restricted-v2 ---------------------------------------------------------------------------------------------------
def refusals(spec: dict[str, Any]) -> list[str]:
    """Why restricted-v2 does not let a pod in."""
    found = [f".{name}: not allowed" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    for volume in spec.get("volumes") or []:
        found += [f".volumes {volume['name']}: {kind} is not allowed" for kind in set(volume) - {"name"} - VOLUMES]
    pod = spec.get("securityContext") or {}
    if pod.get("fsGroup", FIRST_USER) != FIRST_USER:
        found.append(f".fsGroup: {pod['fsGroup']} is not an allowed group")
    found += [f".sysctls: {sysctl['name']} is not allowed" for sysctl in pod.get("sysctls") or []]
    found += _judge_context("", pod)
    for container in _containers(spec):
        where, context = f".containers {container['name']}", container.get("securityContext") or {}
        found += _judge_context(where, context)
        found += [f"{where}: {name} is not allowed" for name in ("privileged", "allowPrivilegeEscalation")
                  if context.get(name)]  # fmt: skip
        added = set((context.get("capabilities") or {}).get("add") or []) - {"NET_BIND_SERVICE"}
        found += [f"{where}: capability {name} may not be added" for name in sorted(added)]
        found += [f"{where}: hostPort {port['hostPort']} is not allowed" for port in container.get("ports") or []
                  if port.get("hostPort")]  # fmt: skip
    return found


def admitted(spec: dict[str, Any]) -> dict[str, Any]:
    """The pod with what restricted-v2 fills in."""
    made = copy.deepcopy(spec)
    pod = made.setdefault("securityContext", {})
    pod.setdefault("fsGroup", FIRST_USER)
    pod.setdefault("seccompProfile", {"type": "RuntimeDefault"})
    for container in _containers(made):
        context = container.setdefault("securityContext", {})
        if "runAsUser" not in pod:
            context.setdefault("runAsUser", FIRST_USER)
        context.setdefault("allowPrivilegeEscalation", False)
        capabilities = context.setdefault("capabilities", {})
        capabilities["drop"] = sorted({*(capabilities.get("drop") or []), "ALL"})
    return made


def _containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def _judge_context(where: str, context: dict[str, Any]) -> Iterator[str]:
    user = context.get("runAsUser", FIRST_USER)
    if not FIRST_USER <= user < FIRST_USER + USERS:
        yield f"{where}.runAsUser: {user} is not in the range {FIRST_USER}/{USERS}"
    if context.get("runAsNonRoot") is False:
        yield f"{where}.runAsNonRoot: has to be true"
    if (context.get("seccompProfile") or {"type": "RuntimeDefault"})["type"] != "RuntimeDefault":
        yield f"{where}.seccompProfile: only runtime/default is allowed"
    if context.get("seLinuxOptions"):
        yield f"{where}.seLinuxOptions: has to be the namespace's"


class _Admission(JsonHandler):
    """Judges and changes pods that are made."""

    # Where pods are kept that were let in, and why others were not.
    log: list[tuple[str, list[str]]]

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        pod = review["request"]["object"]
        wrong = refusals(pod["spec"])
        name = pod["metadata"].get("name") or pod["metadata"].get("generateName", "")
        self.log.append((name, wrong))
        response: dict[str, Any] = {"uid": review["request"]["uid"], "allowed": not wrong}
        if wrong:
            message = f"unable to validate against any security context constraint: {wrong}"
            response["status"] = {"code": 403, "message": message}
        else:
            patch = [{"op": "replace", "path": "/spec", "value": admitted(pod["spec"])}]
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        self.answer({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})


@dataclass
class Constraint:
    """The webhook: where the API server finds it, and what it has said."""

    address: str
    authority: Certificate
    log: list[tuple[str, list[str]]]

    def configuration(self, name: str, namespace: str) -> dict[str, Any]:
        """Has the API server ask it about every pod of a namespace."""
        webhook = {
            "name": "restricted-v2.example.org",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 10,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "clientConfig": {
                "url": f"{self.address}/pods",
                "caBundle": base64.b64encode(self.authority.pem.encode()).decode(),
            },
        }
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [webhook],
        }


@contextmanager
def constraint(folder: Path, address: str) -> Iterator[Constraint]:
    """The webhook at an address of this machine that the API server reaches."""
    authority = certificate("authority")
    log: list[tuple[str, list[str]]] = []
    handler = type("Admission", (_Admission,), {"log": log})
    with _serve(handler, folder, certificate("webhook", authority, addresses=(address,)), address) as port:
        yield Constraint(f"https://{address}:{port}", authority, log)


# ---- the OAuth server ------------------------------------------------------------------------------------------------
@dataclass
class OpenShift:
    """An API server and an OAuth server, which share the tokens."""

    users: dict[str, str]
    # Both have one of their own, as on clusters whose router has a certificate of its own.
    api_authority: Certificate = field(default_factory=lambda: certificate("api-authority"))
    oauth_authority: Certificate = field(default_factory=lambda: certificate("router-authority"))
    api: str = ""
    oauth: str = ""
    # The digest of a token -> whose it is.
    tokens: dict[str, str] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    # Every token that was ever given, and how often a request came to a path.
    given: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    # What everything else of the API is asked of, by the rights of the test.
    upstream: Api | None = None
    # What the OAuth server does instead: "page", "error" or "sleep".
    instead: str = ""
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def authorities(self) -> str:
        return self.api_authority.pem + self.oauth_authority.pem

    def user(self, headers: Any) -> str | None:
        """Whose token a request has."""
        token = (headers.get("Authorization") or "").removeprefix("Bearer ")
        return self.tokens.get(digest(token)) if token else None


def digest(token: str) -> str:
    """What a token is called in the API."""
    code = hashlib.sha256(token.removeprefix("sha256~").encode()).digest()
    return "sha256~" + base64.urlsafe_b64encode(code).decode().rstrip("=")


class _ApiServer(JsonHandler):
    """OpenShift's own parts of the API; what is Kubernetes' is asked of a real one."""

    protocol_version = "HTTP/1.1"
    own: OpenShift

    def do_GET(self) -> None:
        self.own.seen.append(f"{self.command} {self.path}")
        if self.path == "/.well-known/oauth-authorization-server":
            endpoint = f"{self.own.oauth}/oauth"
            told = {"issuer": self.own.oauth, "authorization_endpoint": f"{endpoint}/authorize"}
            self.answer({**told, "token_endpoint": f"{endpoint}/token", "code_challenge_methods_supported": ["S256"]})
            return
        user = self.own.user(self.headers)
        if not user:
            self.answer({"kind": "Status", "code": 401, "reason": "Unauthorized", "message": "Unauthorized"}, 401)
        elif self.path == "/apis/user.openshift.io/v1/users/~":
            self.answer({"kind": "User", "apiVersion": "user.openshift.io/v1", "metadata": {"name": user}})
        elif self.path.startswith("/apis/oauth.openshift.io/v1/useroauthaccesstokens/"):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            known = self.own.tokens.pop(self.path.rpartition("/")[2].replace("%7E", "~"), None)
            self.answer({"kind": "Status", "status": "Success" if known else "Failure"}, 200 if known else 404)
        elif self.own.upstream:
            self._forward(self.own.upstream)
        else:
            self.answer({"kind": "Status", "code": 404, "message": "not found"}, 404)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _forward(self, api: Api) -> None:
        """One request and its answer, which may be a stream of either side."""
        self.close_connection = True
        upgrade = self.headers.get("Upgrade")
        left_out = {"authorization", "connection", "host"}
        lines = [f"{name}: {value}" for name, value in self.headers.items() if name.lower() not in left_out]
        lines += [f"{name}: {value}" for name, value in api.headers().items() if name == "Authorization"]
        lines += [f"Host: {api.address.netloc}", f"Connection: {'Upgrade' if upgrade else 'close'}"]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        upstream = api.open_connection(600).sock
        with upstream:
            upstream.sendall("\r\n".join([f"{self.command} {self.path} HTTP/1.1", *lines, "", ""]).encode() + body)
            _pump(self.connection, upstream)


def _pump(one: Any, other: Any) -> None:
    """Hand on what either says until one of them ends."""
    peers = {one: other, other: one}
    while True:
        # What TLS has read already wakes nobody.
        ready = [each for each in peers if isinstance(each, ssl.SSLSocket) and each.pending()]
        for each in ready or select.select(list(peers), [], [], 600)[0]:
            try:
                data = each.recv(65536)
            except OSError:
                return
            if not data:
                return
            peers[each].sendall(data)


class _OAuthServer(JsonHandler):
    """Codes for those who answer the challenge, and tokens for codes."""

    own: OpenShift

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(address.query).items()}
        self.own.seen.append(f"GET {address.path}")
        if self.own.instead == "sleep":
            self.own.released.wait(60)
        if self.own.instead == "page" or not self.headers.get("X-CSRF-Token"):
            # Without it a browser is asking.
            self.answer("log in here")
            return
        user = self._user()
        if address.path != "/oauth/authorize" or asked.get("client_id") != CLIENT:
            self.answer({"error": "unauthorized_client"}, 400)
        elif user is None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="openshift"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            implicit = asked.get("response_type") == "token"
            if self.own.instead == "error":
                told = "?" + urlencode({"error": "server_error", "state": asked.get("state", "")})
            elif implicit:
                told = "#" + urlencode(self._token(user))
            else:
                code = "sha256~" + secrets.token_urlsafe(32)
                self.own.codes[code] = user
                told = "?" + urlencode({"code": code, "state": asked.get("state", "")})
            self.send_response(302)
            self.send_header("Location", f"{self.own.oauth}/oauth/token/implicit{told}")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.own.seen.append(f"POST {self.path}")
        known = self.headers.get("Authorization") == "Basic " + base64.b64encode(f"{CLIENT}:".encode()).decode()
        # A code is good for one token.
        user = self.own.codes.pop((form.get("code") or [""])[0], None)
        if known and user and self.path == "/oauth/token" and form["grant_type"] == ["authorization_code"]:
            self.answer(self._token(user))
        else:
            self.answer({"error": "invalid_grant"}, 400)

    def _user(self) -> str | None:
        given = base64.b64decode((self.headers.get("Authorization") or "").removeprefix("Basic ")).decode()
        name, _colon, password = given.partition(":")
        return name if name and self.own.users.get(name) == password else None

    def _token(self, user: str) -> dict[str, Any]:
        token = "sha256~" + secrets.token_urlsafe(32)
        self.own.given.append(token)
        self.own.tokens[digest(token)] = user
        return {"access_token": token, "expires_in": 86400, "scope": "user:full", "token_type": "Bearer"}


@contextmanager
def openshift(folder: Path, users: dict[str, str], upstream: Api | None = None) -> Iterator[OpenShift]:
    """Both servers, on loopback."""
    own = OpenShift(users, upstream=upstream)
    api = certificate("api.example.org", own.api_authority, addresses=("127.0.0.1",))
    oauth = certificate("oauth.example.org", own.oauth_authority, addresses=("127.0.0.1",))
    (folder / "api").mkdir()
    (folder / "oauth").mkdir()
    with (
        _serve(type("Api", (_ApiServer,), {"own": own}), folder / "api", api) as api_port,
        _serve(type("OAuth", (_OAuthServer,), {"own": own}), folder / "oauth", oauth) as oauth_port,
    ):
        own.api, own.oauth = f"https://127.0.0.1:{api_port}", f"https://127.0.0.1:{oauth_port}"
        try:
            yield own
        finally:
            own.released.set()


# ---- both ------------------------------------------------------------------------------------------------------------
@contextmanager
def _serve(
    handler: type[BaseHTTPRequestHandler], folder: Path, own: Certificate, address: str = "127.0.0.1"
) -> Iterator[int]:
    """The port of a server that speaks TLS."""
    (folder / "server.pem").write_text(own.pem + own.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    server = ThreadingHTTPServer((address, 0), handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
