# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import http.client
import json
import math
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube import api_client
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import (
    Api,
    ApiError,
    Unreachable,
    api_error,
    joined,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import Connection
from ansible_collections.fastml.supersonic.tests.harness.fake_api import FakeApi

CONNECTION = Connection(host="https://192.0.2.1:6443", source="context 'nrp' of /home/u/.kube/config")


def status(code: int, message: str, reason: str = "", **details: Any) -> bytes:
    return json.dumps(
        {"kind": "Status", "code": code, "message": message, "reason": reason, "details": details}
    ).encode()


def cause(field: str, message: str, reason: str = "FieldValueInvalid") -> dict[str, str]:
    return {"field": field, "message": message, "reason": reason}


@pytest.mark.parametrize(
    ("code", "body", "message"),
    [
        (
            401,
            status(401, "Unauthorized", "Unauthorized"),
            "The Kubernetes API at https://192.0.2.1:6443 does not accept the credentials of context 'nrp' of "
            "/home/u/.kube/config: the token or certificate is wrong or has expired. Log in again, or set api_key or "
            "kubeconfig.",
        ),
        (
            403,
            status(
                403,
                'deployments.apps "web" is forbidden: User "ann" cannot patch resource "deployments" '
                'in API group "apps" in the namespace "cms"',
                "Forbidden",
            ),
            'Deployment/web: user "ann" lacks the permission to patch deployments.apps in namespace "cms". '
            'Ask for a Role with the verb "patch" on "deployments.apps".',
        ),
        (
            403,
            status(403, 'User "ann" cannot list resource "nodes" in API group "" at the cluster scope', "Forbidden"),
            'Deployment/web: user "ann" lacks the permission to list nodes in the whole cluster. '
            'Ask for a ClusterRole with the verb "list" on "nodes".',
        ),
        (
            403,
            status(403, 'pods "web" is forbidden: exceeded quota: small, requested: pods=1', "Forbidden"),
            "Deployment/web: not allowed: exceeded quota: small, requested: pods=1",
        ),
        (
            403,
            status(403, "x", "Forbidden", causes=[{"reason": "NamespaceTerminating"}]),
            "Deployment/web: its namespace is being deleted. Wait until it is gone, then run again.",
        ),
        (
            403,
            status(403, 'admission webhook "policy.example.org" denied the request: no latest tags'),
            "Deployment/web: refused by the admission webhook policy.example.org: no latest tags",
        ),
        (
            422,
            status(
                422,
                'deployments.apps "web" is forbidden: '
                "ValidatingAdmissionPolicy 'limits' with binding 'b' denied request: too big",
            ),
            "Deployment/web: refused by the admission policy limits: too big",
        ),
        (
            500,
            status(
                500,
                'Internal error occurred: failed calling webhook "hook.a.org": '
                'failed to call webhook: Post "u": refused',
            ),
            'Deployment/web: the admission webhook hook.a.org could not be asked: Post "u": refused',
        ),
        (404, status(404, 'namespaces "cms" not found', "NotFound"), 'Deployment/web: namespaces "cms" not found'),
        (
            409,
            status(
                409,
                "Apply failed",
                "Conflict",
                causes=[
                    cause(".spec.replicas", 'conflict with "kubectl" using apps/v1', "FieldManagerConflict"),
                    cause(".spec.paused", 'conflict with "kubectl" using apps/v1', "FieldManagerConflict"),
                    cause(".data.x", 'conflict with "helm"', "FieldManagerConflict"),
                ],
            ),
            "Deployment/web: another field manager has set .spec.replicas, .spec.paused (owned by kubectl); "
            ".data.x (owned by helm). Remove these fields from the definition to leave them, or set force_conflicts to "
            "take them over.",
        ),
        (
            422,
            status(422, "invalid", "Invalid", causes=[cause("spec.selector", "Invalid value: field is immutable")]),
            "Deployment/web: the API server finds it invalid: spec.selector: Invalid value: field is immutable. This "
            "cannot be changed in place: delete the object first, or give the new one another name.",
        ),
        (
            400,
            status(400, 'failed: strict decoding error: unknown field "spec.colour"', "BadRequest"),
            'Deployment/web: unknown field "spec.colour". Correct or remove it.',
        ),
        (
            500,
            status(
                500,
                "failed to create typed patch object (n/web; apps/v1, Kind=Deployment): "
                ".spec.replica: field not declared in schema",
            ),
            "Deployment/web: unknown field .spec.replica. Correct or remove it.",
        ),
        (
            500,
            status(
                500,
                "failed to create typed patch object (n/web; v1, Kind=ConfigMap): errors:\n"
                "  .data.x: expected string, got &value.valueUnstructured{Value:987654}\n"
                "  .data.y: expected string, got &{true}",
            ),
            "Deployment/web: .data.x: expected string; .data.y: expected string. Correct the type.",
        ),
        (429, b"busy", "Deployment/web: the API server is overloaded or the operation is not allowed now (429): busy"),
        (503, b"", "Deployment/web: the API server answered PATCH with 503: Service Unavailable"),
        (404, b"404 page not found\n", "Deployment/web: 404 page not found"),
        (400, b"[1]", "Deployment/web: [1]"),
    ],
)
def test_answers_become_sentences(code: int, body: bytes, message: str) -> None:
    error = api_error(code, body, CONNECTION, "PATCH", "Deployment/web")
    assert str(error) == message
    assert isinstance(error, SupersonicError)
    assert error.status == code


@pytest.mark.parametrize(
    ("body", "no_such_path"),
    [
        (b"404 page not found\n", True),
        (status(404, "not found", "NotFound", name="web", kind="deployments"), False),
    ],
)
def test_missing_kind_and_missing_object_differ(body: bytes, no_such_path: bool) -> None:
    assert api_error(404, body, CONNECTION, "GET", "x").no_such_path is no_such_path


@pytest.mark.parametrize(
    ("exc", "message"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "cannot be reached: connection refused."),
        (TimeoutError("timed out"), "cannot be reached: no answer in time."),
        (socket.gaierror(-2, "Name or service not known"), "the name 192.0.2.1 cannot be resolved."),
        (OSError(113, "No route to host"), "cannot be reached: No route to host."),
        (ConnectionResetError(104, "reset"), "closed the connection without an answer."),
        (http.client.RemoteDisconnected("gone"), "closed the connection without an answer."),
        (http.client.BadStatusLine("SSH-2.0"), "does not speak HTTP; is the port right?"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "refused the TLS connection: "),
        (http.client.IncompleteRead(b""), "cannot be reached: "),
    ],
)
def test_failures_to_reach_it_become_sentences(exc: Exception, message: str) -> None:
    text = str(Api(CONNECTION)._unreachable(exc))
    assert text.startswith("The Kubernetes API at https://192.0.2.1:6443 (context 'nrp' of /home/u/.kube/config)")
    assert message in text


def test_untrusted_certificate() -> None:
    exc = ssl.SSLCertVerificationError(1, "certificate verify failed")
    exc.verify_message = "self-signed certificate in certificate chain"
    text = str(Api(CONNECTION)._unreachable(exc))
    assert "not trusted: self-signed certificate in certificate chain. Set ca_cert" in text


def test_each_error_once() -> None:
    assert joined([SupersonicError("a."), SupersonicError("b."), SupersonicError("a.")]) == "a. b."


# ---- against a server on loopback


PODS = "/api/v1/namespaces/n/pods"
A = f"{PODS}/a"


@pytest.fixture
def server() -> Iterator[FakeApi]:
    with FakeApi() as found:
        found.put(A)
        yield found


def client(server: FakeApi) -> Api:
    return server.client(patience=2.0, first_contact=0.6)


def test_token_and_query(server: FakeApi) -> None:
    definition = {"apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": "x"}}
    answer = client(server).apply(A, definition, "x", manager="me", force=False, dry_run=True)
    assert answer["spec"] == {"nodeName": "x"}
    assert "spec" not in server.objects[A]
    (seen,) = server.requests
    assert (seen.method, seen.path, seen.authorization) == ("PATCH", A, "Bearer abc")
    assert seen.query == {"fieldManager": "me", "fieldValidation": "Strict", "force": "false", "dryRun": "All"}


@pytest.mark.parametrize("status", [503, 429, 500, 0])
def test_passing_faults_are_retried(server: FakeApi, status: int) -> None:
    server.fail("GET", PODS, status)
    assert len(client(server).list(PODS, "x")) == 1
    assert len(server.requests) == 2


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 422])
def test_lasting_faults_are_not(server: FakeApi, code: int) -> None:
    server.fail("GET", PODS, code)
    with pytest.raises(ApiError):
        client(server).get(PODS, "x")
    assert len(server.requests) == 1


def test_retries_end(server: FakeApi) -> None:
    server.fail("GET", PODS, 503, times=math.inf)
    started = time.monotonic()
    with pytest.raises(ApiError, match=r"with 503.*\(tried \d+ times within \d s\)"):
        client(server).get(PODS, "x")
    assert time.monotonic() - started < 10
    assert len(server.requests) > 2


def test_wait_that_is_too_long_is_not_begun(server: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    server.fail("GET", PODS, 429, Retry_After="60")
    with pytest.raises(ApiError):
        client(server).get(PODS, "x")
    assert pauses == []
    assert len(server.requests) == 1


def test_as_long_as_the_server_says_is_waited(server: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    server.fail("GET", PODS, 429, Retry_After="7")
    assert len(server.client(patience=25.0).list(PODS, "x")) == 1
    assert pauses == [7.0]


def test_idle_connection_that_was_closed_is_no_fault(server: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again at once."""
    api = client(server)
    api.list(PODS, "x")
    server.fail("GET", PODS, 0)
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    api.list(PODS, "x")
    assert len(server.requests) == 3
    assert pauses == []


def test_find(server: FakeApi) -> None:
    assert client(server).find(f"{PODS}/b", "x") is None
    assert client(server).find("/apis/example.org/v1/things/b", "x") is None
    found = client(server).find(A, "x")
    assert found is not None
    assert found["metadata"]["name"] == "a"


def test_pages(server: FakeApi) -> None:
    server.page = 2
    for name in "bcde":
        server.put(f"{PODS}/{name}")
    found = client(server).list(PODS, "x")
    assert [(item["kind"], item["apiVersion"], item["metadata"]["name"]) for item in found] == [
        ("Pod", "v1", name) for name in "abcde"
    ]
    assert [request.query.get("continue") for request in server.requests] == [None, "2", "4"]


def test_an_object_that_was_made_anew_is_not_deleted_in_place_of_another(server: FakeApi) -> None:
    """As when the first of two tries was done, and its answer lost."""
    api, uid = client(server), server.objects[A]["metadata"]["uid"]
    server.meanwhile("DELETE", A, lambda: server.recreate(A))
    with pytest.raises(ApiError, match="the uid is"):
        api.delete(A, "x", uid=uid)
    assert A in server.objects
    api.delete(A, "x", uid=server.objects[A]["metadata"]["uid"])
    assert A not in server.objects


def test_warnings_are_collected_once(server: FakeApi) -> None:
    server.headers = {"Warning": '299 - "this is \\"old\\"", 299 - "and that"'}
    api = client(server)
    api.list(PODS, "x")
    api.list(PODS, "x")
    assert list(api.warnings) == ['this is "old"', "and that"]


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(Unreachable, match="connection refused"):
        Api(Connection(host=url, source="test"), first_contact=0.3).get("/x", "x")


def test_http_proxy_is_used(server: FakeApi) -> None:
    """The API's address does not exist: only the proxy can answer."""
    with pytest.raises(Unreachable, match="Tunnel connection failed: 501"):
        # A CONNECT that is not understood: the request did go to the proxy.
        Api(Connection(host="http://api.invalid", source="test", proxy=server.url), first_contact=0.1).get("/x", "x")


@pytest.mark.parametrize("proxy", ["socks5://h:1", "https://h:1", "h"])
def test_unusable_proxy(proxy: str) -> None:
    with pytest.raises(SupersonicError, match="is no http:// address"):
        Api(Connection(host="http://h", source="test", proxy=proxy)).get("/x", "x")


def test_unusable_certificates() -> None:
    with pytest.raises(SupersonicError, match="The certificates of test cannot be used"):
        Api(Connection(host="https://h", source="test", ca_pem="no certificate"))


@pytest.mark.parametrize(
    ("error", "lasts"),
    [
        (ssl.SSLCertVerificationError(1, "unknown authority"), True),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), True),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), False),
        (ssl.SSLZeroReturnError(6, "TLS/SSL connection has been closed (EOF)"), False),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), True),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), False),
        (ConnectionResetError(104, "Connection reset by peer"), False),
    ],
)
def test_what_is_tried_again(error: Exception, lasts: bool) -> None:
    assert api_client._lasts(error) is lasts
