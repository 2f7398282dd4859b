# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who comes in, who may call what, and how much: an Envoy as the role deploys it in front of a real Triton."""

from __future__ import annotations

import contextlib
import queue
import re
import signal
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
import jwt
import numpy
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
import yaml
from cryptography import x509
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ansible_collections.fastml.supersonic.tests.harness.certificates import Certificate, certificate
from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy
from ansible_collections.fastml.supersonic.tests.harness.gateway import (
    CHANNEL,
    ISSUER,
    KEY,
    OTHER_KEY,
    access_log,
    bearer,
    frame,
    infer,
    key_set,
    render_cases,
    statistics,
    token,
)
from ansible_collections.fastml.supersonic.tests.harness.models import write_model
from ansible_collections.fastml.supersonic.tests.harness.processes import http_status, until
from ansible_collections.fastml.supersonic.tests.harness.side_by_side import Outcomes, SideBySide
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton

CMS, CMS_NEXT, ATLAS = "cms-0123456789abcdefghij", "cms-next-0123456789abcdef", "atlas-0123456789abcdefgh"
OTHER_ISSUER = "https://other.example.org"
SIDE_BY_SIDE = 6
# Each has a model that holds what it gets.
HELD = ("in-flight", "client-in-flight", "connections")

AUTHORITY = certificate("authority")
SERVER = certificate("localhost", AUTHORITY, serial=11)
RENEWED = certificate("localhost", AUTHORITY, serial=12)
CLIENT = certificate("cms.example.org", AUTHORITY)

ISSUERS = [
    {"issuer": ISSUER, "audiences": ["supersonic", "second"], "jwks": key_set(one=KEY)},
    {"issuer": OTHER_ISSUER, "audiences": ["supersonic"], "jwks": key_set(two=OTHER_KEY), "client_claim": "wlcg.user"},
]
CASES: dict[str, dict[str, Any]] = {
    "open": {},
    "processes": {"envoy_processes": 2},
    "http": {"envoy_http": True},
    # So long that it is not over before the test is.
    "leaving": {"envoy_endpoint_wait": 600, "envoy_drain_time": 1, "envoy_termination_grace": 700},
    "jwt": {"envoy_jwt_issuers": ISSUERS, "envoy_public_methods": ["Health", "ServerLive"], "envoy_access_log": "all"},
    "tokens": {"envoy_tokens": {"cms": [CMS, CMS_NEXT], "atlas": ATLAS}, "envoy_access_log": "all", "envoy_http": True},
    "both": {"envoy_tokens": {"cms": CMS}, "envoy_jwt_issuers": ISSUERS[:1]},
    "rules": {
        "envoy_tokens": {"cms": CMS, "atlas": ATLAS},
        "envoy_jwt_issuers": ISSUERS[:1],
        "envoy_http": True,
        "envoy_access_rules": [
            {"clients": ["cms"], "models": ["identity", "id-*"]},
            {"clients": ["atlas"], "methods": ["*"]},
            {
                "claims": {"groups": ["ligo", "virgo"], "wlcg.ver": "1.0", "realm.roles": "user"},
                "methods": ["ServerLive", "ModelInfer"],
            },
        ],
    },
    "tls": {
        "envoy_tls_certificate": SERVER.pem,
        "envoy_tls_private_key": SERVER.key_pem,
        "envoy_tokens": {"cms": CMS},
    },
    "mutual": {
        "envoy_tls_certificate": SERVER.pem,
        "envoy_tls_private_key": SERVER.key_pem,
        "envoy_tls_client_ca": AUTHORITY.pem,
        "envoy_access_rules": [{"clients": ["cms.example.org"]}],
    },
    # So slow that a busy machine makes no difference.
    "rate": {"envoy_request_rate": 1, "envoy_request_burst": 10, "envoy_http": True},
    "client-rate": {
        "envoy_tokens": {"cms": CMS, "atlas": ATLAS, "ligo": CMS_NEXT},
        "envoy_client_limits": {"cms": {"rate": 1, "burst": 20}, "*": {"rate": 1, "burst": 10}},
    },
    "in-flight": {"envoy_requests_in_flight": 2, "envoy_http": True},
    "client-in-flight": {
        "envoy_tokens": {"cms.example.org": CMS, "http": CMS_NEXT, "atlas": ATLAS},
        "envoy_client_limits": {"cms.example.org": {"in_flight": 1}, "http": {"in_flight": 1}},
        "envoy_http": True,
    },
    "connections": {"envoy_client_connections": 2},
    "connection-rate": {"envoy_connection_rate": 1, "envoy_connection_burst": 3},
    "size": {"envoy_request_max_bytes": 100_000, "envoy_http": True},
    "age": {"envoy_connection_max_seconds": 1},
    "extra": {
        "envoy_extra_http_filters": [
            {
                "name": "extra",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
                    "mutations": {"response_mutations": [{"append": {"header": {"key": "x-extra", "value": "here"}}}]},
                },
            }
        ],
        "envoy_extra_clusters": [{"name": "mine", "connect_timeout": "1s", "type": "STATIC"}],
        "envoy_extra_listeners": [
            {
                "name": "mine",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
                "filter_chains": [
                    {
                        "filters": [
                            {
                                "name": "answer",
                                "typed_config": {
                                    "@type": "type.googleapis.com/"
                                    "envoy.extensions.filters.network.direct_response.v3.Config",
                                    "response": {"inline_string": "mine"},
                                },
                            }
                        ]
                    }
                ],
            }
        ],
    },
}


@dataclass
class Service:
    """A server, and where the manifests of each case are, a file for each model that holds requests, and all else."""

    server: Triton
    manifests: Path
    folder: Path


@dataclass
class Start:
    """Starts an Envoy for a case."""

    service: Service
    name: str
    stack: contextlib.ExitStack
    started: int = 0

    def __call__(self, case: str, beside: DeployedEnvoy | None = None) -> DeployedEnvoy:
        scratch = self.service.folder / f"{self.name}-{self.started}"
        self.started += 1
        server = self.service.server
        envoy = DeployedEnvoy(scratch, self.documents(case), [server.grpc], [server.http], beside)
        self.stack.callback(envoy.stop)
        return envoy

    def documents(self, case: str) -> Path:
        """Its manifests."""
        return self.service.manifests / case / "envoy.yaml"

    def together(self, model: str, calls: Sequence[Callable[[], str]], let_in: int) -> list[str]:
        """What comes of calls of a model that answers none of them until all are refused but so many."""
        hold = self.service.folder / model
        hold.touch()
        with ThreadPoolExecutor(len(calls)) as pool:
            asked = [pool.submit(call) for call in calls]
            try:
                until(lambda: sum(each.done() for each in asked) == len(calls) - let_in)
            finally:
                hold.unlink()
            return [each.result() for each in asked]


side_by_side = SideBySide[Start](SIDE_BY_SIDE)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    folder = tmp_path_factory.mktemp("gateway")
    for name in ("identity", "secret"):
        write_model(folder / "models", name)
    for name in HELD:
        wait = f"while os.path.exists({str(folder / name)!r}): time.sleep(0.01)"
        write_model(folder / "models", name, initialize="global os; import os", execute=wait)
    server = Triton(folder / "models", folder, wait=False)
    try:
        manifests = render_cases(folder, CASES)
        server.wait_until_live()
        service = Service(server, manifests, folder)

        @contextlib.contextmanager
        def given(name: str) -> Iterator[Start]:
            with contextlib.ExitStack() as stack:
                yield Start(service, name, stack)

        with side_by_side.run(request, given) as found:
            yield found
    finally:
        server.stop()


def method(envoy: DeployedEnvoy, name: str, request: Any = None, **metadata: str) -> tuple[str, dict[str, str]]:
    """Status and metadata of a call of any method."""
    request = request or getattr(service_pb2, f"{name}Request")()
    with grpc.insecure_channel(envoy.address, options=CHANNEL) as channel:
        stub = getattr(service_pb2_grpc.GRPCInferenceServiceStub(channel), name)
        try:
            _answer, call = stub.with_call(request, timeout=120, metadata=list(metadata.items()))
        except grpc.RpcError as exc:
            call = exc
        both = [*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())]
        return call.code().name, {key: str(value) for key, value in both}


def http(envoy: DeployedEnvoy, path: str, authorization: str = "", body: bytes | None = None) -> tuple[int, str, Any]:
    """Status, text and headers of an HTTP request."""
    headers = {"authorization": authorization} if authorization else {}
    request = urllib.request.Request(f"http://{envoy.address}{path}", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return int(answer.status), answer.read().decode(), answer.headers
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode(), exc.headers


# ---- access --------------------------------------------------------------------------------------------------------
@side_by_side
def test_without_tokens_methods_that_change_a_server_are_refused(start: Start) -> None:
    envoy = start("open")
    assert infer(envoy) == "OK"
    assert method(envoy, "RepositoryIndex")[0] == "OK"
    for name in ("LogSettings", "TraceSetting", "RepositoryModelUnload", "SystemSharedMemoryRegister"):
        assert method(envoy, name)[0] == "PERMISSION_DENIED"
    # The problem is in the log, what went well is not.
    assert {line["path"].rpartition("/")[2] for line in access_log(envoy)} == {
        "LogSettings", "TraceSetting", "RepositoryModelUnload", "SystemSharedMemoryRegister"
    }  # fmt: skip


@side_by_side
def test_two_envoys_of_a_pod_share_the_clients_port(start: Start) -> None:
    def taken(envoy: DeployedEnvoy) -> int:
        (count,) = re.findall(r"downstream_cx_total: (\d+)", envoy.admin("/stats?filter=http.ingress_grpc.*cx_total"))
        return int(count)

    first = start("processes")
    second = start("processes", first)
    assert {infer(first) for _number in range(32)} == {"OK"}
    assert taken(first)
    assert taken(second) == 32 - taken(first)
    # When one dies the other takes every connection, and shares them again with the one that comes back.
    before = taken(second)
    first.process.signal(signal.SIGKILL)
    first.stop()
    assert {infer(second) for _number in range(32)} == {"OK"}
    assert taken(second) == before + 32
    back = start("processes", second)
    assert {infer(second) for _number in range(32)} == {"OK"}
    assert taken(back)


@side_by_side
def test_clients_stay_until_the_endpoint_has_left(start: Start) -> None:
    """A drain fails the health check, and sends clients away when the Service leads nobody here any more."""
    envoy = start("leaving")
    documents = yaml.safe_load_all(start.documents("leaving").read_text())
    (deployment,) = (item for item in documents if item and item["kind"] == "Deployment")
    hook = deployment["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["httpGet"]
    health = f"http://127.0.0.1:{envoy.ports['metrics']}/healthz"
    kubelet = HTTPConnection("127.0.0.1", envoy.ports["drain"])
    with (
        contextlib.closing(kubelet),
        triton_grpc.InferenceServerClient(envoy.address, channel_args=CHANNEL) as client,
    ):

        def sent_away() -> int:
            assert client.is_server_ready()
            (count,) = statistics(envoy, r"^http\.ingress_grpc\.downstream_cx_drain_close$").values()
            return count

        assert http_status(health) == 200
        kubelet.request("GET", hook["path"], headers={item["name"]: item["value"] for item in hook["httpHeaders"]})
        until(lambda: http_status(health) == 503)
        assert [sent_away() for _number in range(20)] == [0] * 20
        # What comes next in the drain, without the wait before it.
        step = f"http://127.0.0.1:{envoy.admin_port}/drain_listeners?graceful&skip_exit"
        urllib.request.urlopen(urllib.request.Request(step, method="POST"), timeout=10).close()
        until(sent_away)


@side_by_side
def test_json_web_tokens(start: Start) -> None:
    envoy = start("jwt")
    good = token()
    for text in (good, token(aud=["x", "second"]), token(OTHER_KEY, "two", iss=OTHER_ISSUER, **{"wlcg.user": "bob"})):
        assert infer(envoy, authorization=bearer(text)) == "OK"
    wrong = {
        token(exp=int(time.time()) - 120): "Jwt is expired",
        token(OTHER_KEY): "Jwt verification fails",
        token(OTHER_KEY, "two", iss=OTHER_ISSUER, aud="elsewhere"): "Audiences in Jwt are not allowed",
        token(iss="https://nobody.example.org"): "Jwt issuer is not configured",
        token(exp=None): "Jwt verification fails",
        good[:-6] + "AAAAAA": "Jwt verification fails",
        "nonsense": "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
        token(aud="elsewhere"): "Audiences in Jwt are not allowed",
    }
    for text, said in wrong.items():
        answer = infer(envoy, authorization=bearer(text))
        assert answer == f"StatusCode.UNAUTHENTICATED: no valid token: {said}", text
    unsigned = jwt.encode({"iss": ISSUER, "aud": "supersonic", "sub": "x"}, None, algorithm="none")
    assert infer(envoy, authorization=bearer(unsigned)).startswith("StatusCode.UNAUTHENTICATED: no valid token: Jwt")
    nameless = infer(envoy, authorization=bearer(token(sub=None)))
    assert nameless == "StatusCode.UNAUTHENTICATED: the token does not name a client"
    assert infer(envoy) == "StatusCode.UNAUTHENTICATED: no valid token: Jwt is missing"
    # Just late, and clocks differ by a minute at most.
    assert infer(envoy, authorization=bearer(token(exp=int(time.time()) - 30))) == "OK"
    assert method(envoy, "ServerLive")[0] == "OK"
    assert method(envoy, "ServerReady")[0] == "UNAUTHENTICATED"
    lines = access_log(envoy)
    assert {line["client"] for line in lines} == {None, "alice", "bob"}
    text = envoy.process.log.read_text()
    assert good not in text
    assert good.split(".")[2] not in text


@side_by_side
def test_static_tokens_come_and_go_without_a_restart(start: Start) -> None:
    envoy = start("tokens")
    assert [infer(envoy, authorization=bearer(text)) for text in (CMS, CMS_NEXT, ATLAS)] == ["OK"] * 3
    assert infer(envoy, authorization=f"bearer {CMS}") == "OK"
    bad = [None, CMS, bearer(CMS[:-1]), bearer(CMS + "x"), bearer(""), f"Basic {CMS}", bearer(CMS[:-1] + "\x7f")]
    for text in bad:
        refused = infer(envoy, authorization=text)
        assert refused.startswith("StatusCode.UNAUTHENTICATED") or "Illegal" in refused or "metadata" in refused, text
    assert http(envoy, "/v2/health/ready")[0] == 401
    assert http(envoy, "/v2/health/ready", bearer(ATLAS))[0] == 200
    lines = access_log(envoy)
    assert {line["client"] for line in lines} == {None, "cms", "atlas"}
    assert not any(secret in envoy.process.log.read_text() for secret in (CMS, CMS_NEXT, ATLAS))
    assert statistics(envoy, "vcluster.cms.upstream_rq_total") == {"vhost.triton.vcluster.cms.upstream_rq_total": 3}

    documents = [item for item in yaml.safe_load_all(start.documents("both").read_text()) if item]
    (secret,) = (item for item in documents if item["kind"] == "Secret")
    errors: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answer = infer(envoy, authorization=bearer(CMS))
            if answer != "OK":
                errors.append(answer)

    client = threading.Thread(target=ask)
    client.start()
    text = secret["stringData"]["client.yaml"]
    envoy.write("/etc/envoy-access", {"client.yaml": text})
    until(lambda: infer(envoy, authorization=bearer(ATLAS)).startswith("StatusCode.UNAUTHENTICATED"))
    assert infer(envoy, authorization=bearer(CMS_NEXT)).startswith("StatusCode.UNAUTHENTICATED")
    # A broken file, once Envoy has read it, changes nothing.
    envoy.write("/etc/envoy-access", {"client.yaml": text[:200]})
    unread = "extension_config_discovery.http_filter.client.update_failure"
    until(lambda: statistics(envoy, f"^{unread}$")[unread] == 1)
    assert [infer(envoy, authorization=bearer(CMS)) for _number in range(4)] == ["OK"] * 4
    stop.set()
    client.join()
    assert errors == []


@side_by_side
def test_either_kind_of_token(start: Start) -> None:
    envoy = start("both")
    assert infer(envoy, authorization=bearer(CMS)) == "OK"
    assert infer(envoy, authorization=bearer(token())) == "OK"
    assert infer(envoy, authorization=bearer(ATLAS)).startswith("StatusCode.UNAUTHENTICATED")
    assert "expired" in infer(envoy, authorization=bearer(token(exp=int(time.time()) - 120)))
    assert infer(envoy).startswith("StatusCode.UNAUTHENTICATED")


@side_by_side
def test_rules_by_client_claim_method_and_model(start: Start) -> None:
    envoy = start("rules")
    cms, atlas = bearer(CMS), bearer(ATLAS)
    assert infer(envoy, "identity", cms) == "OK"
    refused = infer(envoy, "secret", cms)
    assert refused.startswith("StatusCode.PERMISSION_DENIED")
    assert "cms may not call" in refused
    assert "secret" in refused
    # There is no such model, but the rule lets it in.
    assert "unknown model" in infer(envoy, "id-x", cms)
    assert infer(envoy, "secret", atlas) == "OK"
    assert method(envoy, "LogSettings", authorization=atlas)[0] == "OK"
    assert method(envoy, "LogSettings", authorization=cms)[0] == "PERMISSION_DENIED"
    assert method(envoy, "RepositoryIndex", authorization=cms)[0] == "OK"
    # A hostile client: the model that counts is the last one, and nothing else is judged than what Triton reads.
    good = service_pb2.ModelMetadataRequest(name="identity")
    twice = good.SerializeToString() + service_pb2.ModelMetadataRequest(name="secret").SerializeToString()
    assert raw(envoy, "ModelMetadata", frame(twice), cms) == "PERMISSION_DENIED"
    assert raw(envoy, "ModelMetadata", frame(good.SerializeToString()), cms) == "OK"
    for body in (frame(twice)[:-1], b"\1" + frame(twice)[1:], frame(b"") + frame(twice), frame(b"\x0b\x0c"), b""):
        assert raw(envoy, "ModelMetadata", body, cms) not in ("OK", "UNKNOWN"), body
    # The number of the field has bits that Triton drops; and so many fields that everybody else would wait for them.
    for more in (b"\x8a\x80\x80\x80\x10\x06secret", b"\x10\x00" * 5000):
        assert raw(envoy, "ModelMetadata", frame(good.SerializeToString() + more), cms) == "INTERNAL", more[:20]
    stream = service_pb2.ModelInferRequest(model_name="identity")
    with grpc.insecure_channel(envoy.address, options=CHANNEL) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as error:
            list(stub.ModelStreamInfer(iter([stream]), timeout=10, metadata=[("authorization", cms)]))
        assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    # As in tokens of WLCG, where the dot is a part of the name, and of Keycloak, where it leads into a claim.
    member = {"groups": ["virgo", "x"], "wlcg.ver": "1.0", "realm": {"roles": ["user"]}}
    assert infer(envoy, "secret", bearer(token(**member))) == "OK"
    for other in ({"groups": ["x"]}, {"wlcg.ver": "2.0"}, {"wlcg.ver": None}, {"realm": {"roles": []}}):
        assert infer(envoy, "secret", bearer(token(**{**member, **other}))).startswith("StatusCode.PERM"), other
    assert http(envoy, "/v2/models/identity", cms)[0] == 200
    for path in (
        "/v2/models/secret",
        "/v2/models/%73ecret",
        "/v2/models/identity/../secret",
        "/v2/models/identity%2f..%2fsecret",
        "/v2/models/secret/versions/1",
        "//v2/models/secret",
        "/v2/logging",
    ):
        assert http(envoy, path, cms)[0] in (400, 403), path


def raw(envoy: DeployedEnvoy, name: str, body: bytes, authorization: str) -> str:
    """Status of a call whose body is exactly this, over HTTP/1.1, which Envoy takes for gRPC too."""
    request = urllib.request.Request(
        f"http://{envoy.address}/inference.GRPCInferenceService/{name}",
        data=body,
        headers={"content-type": "application/grpc", "te": "trailers", "authorization": authorization},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        content = answer.read()
        code = answer.headers.get("grpc-status")
    if code is None:
        return "OK" if content else "UNKNOWN"
    return next(item.name for item in grpc.StatusCode if item.value[0] == int(code))


# ---- TLS -----------------------------------------------------------------------------------------------------------
def secure(envoy: DeployedEnvoy, pair: Certificate | None = None, **metadata: str) -> str:
    credentials = grpc.ssl_channel_credentials(
        AUTHORITY.pem.encode(), *((pair.key_pem.encode(), pair.pem.encode()) if pair else ())
    )
    with grpc.secure_channel(f"localhost:{envoy.port}", credentials, options=CHANNEL) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=120, metadata=list(metadata.items()))
        except grpc.RpcError as exc:
            return str(exc.code().name)
    return "OK"


def serial(envoy: DeployedEnvoy) -> int:
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", envoy.port)).encode()).serial_number


@side_by_side
def test_a_new_certificate_takes_no_restart(start: Start) -> None:
    envoy = start("tls")
    assert secure(envoy, authorization=bearer(CMS)) == "OK"
    assert secure(envoy) == "UNAUTHENTICATED"
    assert infer(envoy, authorization=bearer(CMS)).startswith("StatusCode.UNAVAILABLE")
    assert serial(envoy) == 11
    envoy.write("/etc/envoy-tls", {"tls.crt": RENEWED.pem, "tls.key": RENEWED.key_pem})
    until(lambda: serial(envoy) == 12)
    assert secure(envoy, authorization=bearer(CMS)) == "OK"


@side_by_side
def test_clients_with_certificates(start: Start) -> None:
    envoy = start("mutual")
    assert secure(envoy, CLIENT) == "OK"
    assert secure(envoy) == "UNAVAILABLE"
    # Of the same authority, but no rule is for it.
    assert secure(envoy, SERVER) == "PERMISSION_DENIED"
    assert secure(envoy, certificate("cms.example.org")) == "UNAVAILABLE"


# ---- limits --------------------------------------------------------------------------------------------------------
def let_in(envoy: DeployedEnvoy, burst: int, **metadata: str) -> None:
    """As many as the burst, and one more for each second that the asking takes, however long that is."""
    begin = time.monotonic()
    statuses = [method(envoy, "ServerReady", **metadata)[0] for _number in range(2 * burst + 20)]
    seconds = time.monotonic() - begin
    assert set(statuses) <= {"OK", "RESOURCE_EXHAUSTED"}
    assert statuses[:burst] == ["OK"] * burst
    assert statuses.count("OK") <= burst + seconds + 1


@side_by_side
def test_requests_per_second_together(start: Start) -> None:
    envoy = start("rate")
    let_in(envoy, 10)
    refused = (found for found in iter(lambda: method(envoy, "ServerReady"), None) if found[0] != "OK")
    status, hints = next(refused)
    assert status == "RESOURCE_EXHAUSTED"
    assert hints["retry-after"] == "1"
    assert hints["grpc-retry-pushback-ms"] == "1000"
    answers = iter(lambda: http(envoy, "/v2/health/ready"), None)
    status, text, headers = next(answer for answer in answers if answer[0] != 200)
    assert (status, headers["retry-after"], text) == (429, "1", "local_rate_limited")
    until(lambda: method(envoy, "ServerReady")[0] == "OK")


@side_by_side
def test_requests_per_second_of_each_client(start: Start) -> None:
    envoy = start("client-rate")
    for burst, text in ((20, CMS), (10, ATLAS), (10, CMS_NEXT)):
        let_in(envoy, burst, authorization=bearer(text))


@side_by_side
def test_requests_at_a_time(start: Start) -> None:
    envoy = start("in-flight")
    found = start.together("in-flight", [lambda: infer(envoy, "in-flight")] * 6, let_in=2)
    assert found.count("OK") == 2
    assert all("RESOURCE_EXHAUSTED" in item and "too many requests at a time" in item for item in found if item != "OK")
    assert infer(envoy) == "OK"


@side_by_side
def test_requests_at_a_time_of_one_client(start: Start) -> None:
    envoy = start("client-in-flight")
    model = "client-in-flight"
    calls = [partial(infer, envoy, model, bearer(text)) for text in (CMS, CMS, CMS, ATLAS, ATLAS)]
    found = start.together(model, calls, let_in=3)
    assert found[:3].count("OK") == 1
    assert found[3:] == ["OK", "OK"]
    # A dot in the name does not end it.
    metrics = envoy.admin("/stats/prometheus")
    assert 'envoy_cluster_upstream_rq_total{envoy_cluster_name="triton_client_cms_example_org"} 1' in metrics
    assert re.search(r'vcluster_upstream_rq_total\{.*envoy_virtual_cluster="cms_example_org".*\} [1-9]', metrics)


@side_by_side
def test_connections_at_a_time(start: Start) -> None:
    envoy = start("connections")
    found = start.together("connections", [lambda: infer(envoy, "connections")] * 5, let_in=2)
    assert found.count("OK") == 2
    assert all("UNAVAILABLE" in item for item in found if item != "OK")
    until(lambda: infer(envoy) == "OK")


@side_by_side
def test_connections_per_second(start: Start) -> None:
    envoy = start("connection-rate")
    assert [http_code(envoy) for _number in range(3)] == ["answered"] * 3
    until(lambda: http_code(envoy) == "closed", pause=0)


def http_code(envoy: DeployedEnvoy) -> str:
    try:
        http(envoy, "/nothing")
    except OSError:
        return "closed"
    return "answered"


@side_by_side
def test_requests_that_are_too_large(start: Start) -> None:
    envoy = start("size")
    assert infer(envoy, values=20_000) == "OK"
    refused = infer(envoy, values=40_000)
    assert "RESOURCE_EXHAUSTED" in refused
    assert "too large" in refused
    assert http(envoy, "/v2/models/identity/infer", body=bytes(200_000))[0] == 413


@side_by_side
def test_old_connections_end_without_a_loss(start: Start) -> None:
    envoy = start("age")
    data = numpy.arange(4, dtype=numpy.float32)
    given = triton_grpc.InferInput("INPUT0", data.shape, "FP32")
    given.set_data_from_numpy(data)
    answers: queue.Queue[Any] = queue.Queue()
    reached = "ingress_grpc.downstream_cx_max_duration_reached"
    with (
        triton_grpc.InferenceServerClient(envoy.address, channel_args=CHANNEL) as client,
        triton_grpc.InferenceServerClient(envoy.address, channel_args=CHANNEL) as streaming,
    ):
        # A stream that is longer than its connection may be goes on to its end.
        streaming.start_stream(lambda result, error: answers.put(result if error is None else error))
        while sum(statistics(envoy, reached).values()) < 3:
            assert numpy.array_equal(client.infer("identity", [given]).as_numpy("OUTPUT0"), data)
            streaming.async_stream_infer("identity", [given])
            assert numpy.array_equal(answers.get(timeout=120).as_numpy("OUTPUT0"), data)


# ---- HTTP, and what operators add ----------------------------------------------------------------------------------
@side_by_side
def test_http_beside_grpc(start: Start) -> None:
    envoy = start("http")
    assert infer(envoy) == "OK"
    data = numpy.arange(4, dtype=numpy.float32)
    given = triton_http.InferInput("INPUT0", data.shape, "FP32")
    given.set_data_from_numpy(data)
    client = triton_http.InferenceServerClient(envoy.address)
    assert numpy.array_equal(client.infer("identity", [given]).as_numpy("OUTPUT0"), data)
    client.close()
    assert http(envoy, "/v2/logging")[0] == 403
    assert http(envoy, "/metrics")[0] == 403
    # What went well is no problem, and not in the log of problems.
    assert [line["path"] for line in access_log(envoy)] == ["/v2/logging", "/metrics"]


@side_by_side
def test_half_a_request_does_not_keep_its_connection(start: Start) -> None:
    envoy = start("http")
    with socket.create_connection(("127.0.0.1", envoy.port), timeout=120) as sock:
        sock.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: ")
        assert b" 408 " in sock.recv(1000)


@side_by_side
def test_without_http_nothing_answers_it(start: Start) -> None:
    assert http(start("open"), "/v2/health/ready")[0] == 403


@side_by_side
def test_further_configuration(start: Start) -> None:
    envoy = start("extra")
    status, metadata = method(envoy, "ServerReady")
    assert (status, metadata["x-extra"]) == ("OK", "here")
    assert "mine::" in envoy.admin("/clusters")
    with socket.create_connection(("127.0.0.1", envoy.ports["mine"]), timeout=10) as sock:
        assert sock.recv(100) == b"mine"


def test_cases_are_whole() -> None:
    """Every option of access and limits is in some case."""
    used: set[str] = set().union(*(case.keys() for case in CASES.values()))
    options: Mapping[str, Any] = yaml.safe_load(
        (Path(__file__).resolve().parents[2] / "roles/envoy/defaults/main.yml").read_text()
    )
    groups = ("envoy_tokens", "envoy_jwt", "envoy_access_rules", "envoy_public", "envoy_client_", "envoy_request_")
    assert {name for name in options if name.startswith(groups)} <= used
