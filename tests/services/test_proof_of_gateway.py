# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""inference_check proves a gateway: what must be refused is refused, limits hold, the certificate is the right one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from ansible_collections.fastml.supersonic.tests.harness.certificates import certificate
from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy
from ansible_collections.fastml.supersonic.tests.harness.gateway import deployed
from ansible_collections.fastml.supersonic.tests.harness.models import golden, write_model
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton

CMS, ATLAS = "cms-0123456789abcdefghij", "atlas-0123456789abcdefgh"
AUTHORITY = certificate("authority")
SERVER = certificate("localhost", AUTHORITY, addresses=("127.0.0.1",), days=10)
CLIENT = certificate("cms.example.org", AUTHORITY)
FINGERPRINT = hashlib.sha256(SERVER.certificate.public_bytes(serialization.Encoding.DER)).hexdigest()
TLS = {"envoy_tls_certificate": SERVER.pem, "envoy_tls_private_key": SERVER.key_pem}
CASES: dict[str, dict[str, Any]] = {
    "guarded": {
        **TLS,
        "envoy_tokens": {"cms": CMS, "atlas": ATLAS},
        "envoy_http": True,
        "envoy_access_rules": [{"clients": ["cms"]}, {"clients": ["atlas"], "models": ["other"]}],
        "envoy_client_limits": {"cms": {"rate": 20, "burst": 20}},
    },
    "open": {"envoy_requests_in_flight": 3},
    "mutual": {**TLS, "envoy_tls_client_ca": AUTHORITY.pem},
}
REQUESTS = [golden("identity", [1.0, 2.0])]


@pytest.fixture(scope="module")
def envoys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, DeployedEnvoy]]:
    """An Envoy for each case, in front of one Triton."""
    folder = tmp_path_factory.mktemp("proof")
    write_model(folder / "models", "identity")
    write_model(folder / "models", "slow", execute="time.sleep(0.3)")
    server = Triton(folder / "models", folder, wait=False)
    try:
        server.wait_until_live()
        with deployed(folder, CASES, [server.grpc], [server.http]) as running:
            yield running
    finally:
        server.stop()


@pytest.fixture
def guarded(envoys: dict[str, DeployedEnvoy], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Checks the guarded gateway by targets, of which each is what is given besides address and TLS."""
    authorities = tmp_path / "authorities.pem"
    authorities.write_text(AUTHORITY.pem)

    def check(*targets: dict[str, Any], **options: Any) -> dict[str, Any]:
        base = {"address": envoys["guarded"].address, "tls": {"ca_cert": str(authorities), "server_name": "localhost"}}
        # What the tests before have used up of the limit comes back in a second.
        options = {"requests": REQUESTS, "wait": 5, **options}
        return run_module("inference_check", {"targets": [{**base, **target} for target in targets], **options})

    return check


def test_a_gateway_as_it_should_be(guarded: Callable[..., dict[str, Any]]) -> None:
    result = guarded(
        {"name": "Envoy", "token": CMS, "certificate": {"min_days": 7, "sha256": FINGERPRINT}},
        {"name": "no token", "expect_error": {"status": "UNAUTHENTICATED"}},
        {"name": "no token, HTTP", "protocol": "http", "expect_error": {"status": "UNAUTHENTICATED"}},
        {"name": "wrong token", "token": "x" * 30, "expect_error": {"status": "UNAUTHENTICATED"}},
        {"name": "other experiment", "token": ATLAS, "expect_error": {"status": "PERMISSION_DENIED"}},
        {"name": "control", "token": CMS, "methods": ["LogSettings"], "expect_error": {"status": "PERMISSION_DENIED"}},
        {"name": "methods", "token": CMS, "methods": ["ServerLive", "ServerReady", "ModelReady", "ModelConfig",
                                                      "ServerMetadata", "ModelStatistics", "RepositoryIndex"]},
        {"name": "rate", "token": CMS, "methods": ["ServerLive"],
         "limit": {"requests": 60, "answered_min": 20, "answered_max": 50, "pause": 1.2}},
    )  # fmt: skip
    assert not result["failed"], result["msg"]
    assert result["msg"] == "15 inference checks passed."
    by_name = {item["layer"]: item for item in result["targets"]}
    found = by_name["Envoy"]["certificate"]
    assert found["subject"] == "CN=localhost"
    assert found["issuer"] == "CN=authority"
    assert found["names"] == ["localhost", "127.0.0.1"]
    assert 9.9 < found["days_left"] <= 10
    assert found["sha256"] == FINGERPRINT
    limit = next(check for check in result["checks"] if check["layer"] == "rate")
    assert 20 <= limit["requests"] <= 50


@pytest.mark.parametrize(
    ("target", "status", "message"),
    [
        ({"token": CMS, "expect_error": {"status": "UNAUTHENTICATED"}}, "not_refused", "answered, but must be refused"),
        (
            {"token": ATLAS, "expect_error": {"status": "UNAUTHENTICATED"}},
            "not_refused",
            "refused with PERMISSION_DENIED",
        ),
        ({"token": CMS, "methods": ["LogSettings"]}, "unauthorized", "method LogSettings: PERMISSION_DENIED"),
        (
            {"token": CMS, "certificate": {"min_days": 20}},
            "certificate",
            "its certificate (CN=localhost) expires in 10.0 days",
        ),
        (
            {"token": CMS, "certificate": {"sha256": ":".join(["AB"] * 32)}},
            "certificate",
            f"has the SHA-256 {FINGERPRINT}, expected {'ab' * 32}",
        ),
        (
            {"token": CMS, "methods": ["ServerLive"], "limit": {"requests": 4, "pause": 1.2}},
            "limit",
            "of 4 requests at once 4 were answered and 0 refused with RESOURCE_EXHAUSTED; expected that 1 to 3",
        ),
        (
            {"token": CMS, "limit": {"requests": 90, "answered_min": 60, "pause": 1.2}},
            "limit",
            "expected that 60 to 89 are answered",
        ),
        ({"limit": {"requests": 4}}, "error", "of 4 requests at once 4 failed in another way: "),
    ],
)
def test_a_gateway_as_it_should_not_be(
    guarded: Callable[..., dict[str, Any]], target: dict[str, Any], status: str, message: str
) -> None:
    result = guarded(target)
    assert result["failed"]
    assert {check["status"] for check in result["checks"]} >= {status}
    assert message in result["msg"]


def test_a_limit_of_requests_in_flight(envoys: dict[str, DeployedEnvoy]) -> None:
    """Of requests that take long as many are let in as may be; over HTTP/2 the connections do not matter."""
    limit = {"requests": 12, "answered_min": 3, "answered_max": 6, "connections": 4}
    result = run_module(
        "inference_check",
        {"requests": [golden("slow", [1.0])], "targets": [{"address": envoys["open"].address, "limit": limit}]},
    )
    assert not result["failed"], result["msg"]


def test_who_has_used_up_the_limit_is_waited_for(guarded: Callable[..., dict[str, Any]]) -> None:
    many = [golden("identity", [float(number)], name=str(number)) for number in range(50)]
    result = guarded({"token": CMS, "methods": []}, requests=many, wait=20)
    assert not result["failed"], result["msg"]
    result = guarded({"token": CMS, "repeat": 3}, requests=many, wait=0)
    assert "limited" in {check["status"] for check in result["checks"]}
    assert "RESOURCE_EXHAUSTED: " in result["msg"]


def test_mutual_tls(envoys: dict[str, DeployedEnvoy], tmp_path: Path) -> None:
    for name, text in (("ca", AUTHORITY.pem), ("cert", CLIENT.pem), ("key", CLIENT.key_pem)):
        (tmp_path / name).write_text(text)
    tls = {"ca_cert": str(tmp_path / "ca"), "server_name": "localhost"}
    mine = {**tls, "client_cert": str(tmp_path / "cert"), "client_key": str(tmp_path / "key")}
    target = {"address": envoys["mutual"].address}
    result = run_module("inference_check", {"requests": REQUESTS, "targets": [{**target, "tls": mine}]})
    assert not result["failed"], result["msg"]
    result = run_module("inference_check", {"requests": REQUESTS, "targets": [{**target, "tls": tls}]})
    assert result["failed"]
    assert result["checks"][0]["status"] == "tls"
    assert "it asks for a certificate of the client" in result["msg"]
    refused = {**target, "tls": tls, "expect_error": {"status": "UNAUTHENTICATED"}}
    result = run_module("inference_check", {"requests": REQUESTS, "targets": [refused]})
    assert not result["failed"], result["msg"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"certificate": {}}, "targets[0].certificate: without tls the server shows no certificate."),
        ({"tls": {}, "certificate": {"sha256": "ab"}}, "targets[0].certificate.sha256 is 'ab'; it must be 64 hexa"),
        ({"tls": {}, "certificate": {"min_days": -1}}, "targets[0].certificate.min_days is -1; it must be at least 0"),
        ({"methods": ["Load"]}, "value of methods must be one or more of"),
        ({"limit": {"requests": 1}}, "targets[0].limit.requests is 1; it must be from 2 to 1000."),
        ({"limit": {"requests": 5, "connections": 6}}, "targets[0].limit.connections is 6; it must be from 1 to req"),
        ({"limit": {"requests": 5, "answered_min": 3, "answered_max": 2}}, "answered_min is 3 and answered_max is 2"),
        ({"limit": {"requests": 5, "answered_max": 5}}, "answered_min is 1 and answered_max is 5; they must be"),
        ({"limit": {"requests": 5, "pause": -1}}, "targets[0].limit.pause is -1; it must be at least 0."),
    ],
)
def test_refused_options(target: dict[str, Any], message: str) -> None:
    result = run_module("inference_check", {"requests": REQUESTS, "targets": [{"address": "127.0.0.1:1", **target}]})
    assert result["failed"]
    assert message in result["msg"]


def test_methods_need_no_golden_request(envoys: dict[str, DeployedEnvoy]) -> None:
    target = {"address": envoys["open"].address, "methods": ["ServerLive", "ModelReady"]}
    result = run_module("inference_check", {"targets": [{**target, "models": ["identity"]}]})
    assert not result["failed"], result["msg"]
    result = run_module("inference_check", {"targets": [target]})
    assert result["msg"].startswith("There are no golden requests: repositories and requests are empty.")
