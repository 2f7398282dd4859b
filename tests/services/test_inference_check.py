# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""inference_check and triton_info against real Triton servers and a real Envoy."""

from __future__ import annotations

import datetime
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.certificates import self_signed
from ansible_collections.fastml.supersonic.tests.harness.envoy import Envoy
from ansible_collections.fastml.supersonic.tests.harness.models import golden, write_golden, write_model
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.processes import free_ports
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton

EXAMPLES = ["accelerator", "digits", "identity", "particlenet"]


@pytest.fixture(scope="module")
def proxy(triton: Triton, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    server = Envoy(tmp_path_factory.mktemp("envoy"), grpc=[triton.grpc], http=[triton.http])
    yield server
    server.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost and 127.0.0.1 that signs itself, and its key."""
    return self_signed(tmp_path_factory.mktemp("tls"), "localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def tls_proxy(
    triton: Triton, certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Envoy]:
    server = Envoy(tmp_path_factory.mktemp("envoy"), grpc=[triton.grpc], http=[triton.http], certificate=certificate)
    yield server
    server.stop()


def statuses(result: dict[str, Any]) -> set[str]:
    return {check["status"] for check in result["checks"]}


# Right answers


def test_every_model_answers_rightly_on_every_way(triton: Triton, proxy: Envoy, examples: Path) -> None:
    result = run_module(
        "inference_check",
        {
            "repositories": [str(examples)],
            "targets": [
                {"name": "Triton", "address": triton.grpc},
                {"name": "Triton over HTTP", "address": triton.http, "protocol": "http"},
                {"name": "Envoy", "address": proxy.address, "repeat": 3},
                {"name": "Envoy over HTTP", "address": proxy.address, "protocol": "http"},
            ],
        },
    )
    assert not result["failed"], result["msg"]
    assert result["changed"] is False
    assert statuses(result) == {"ok"}
    for layer in ("Triton", "Triton over HTTP", "Envoy", "Envoy over HTTP"):
        checks = [check for check in result["checks"] if check["layer"] == layer]
        assert sorted({check["model"] for check in checks}) == EXAMPLES
        assert {check["requests"] for check in checks} == {3 if layer == "Envoy" else 1}
    assert [each["failed"] for each in result["targets"]] == [0, 0, 0, 0]
    # scikit-learn calculates in double precision: a comparison that found nothing at all would have compared nothing.
    digits = [check["max_absolute"]["value"] for check in result["checks"] if check["model"] == "digits"]
    assert 0 < max(digits) < 1e-5
    # The simulated accelerator takes its time.
    assert min(c["latency_ms"] for c in result["checks"] if c["model"] == "accelerator") >= 20


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_every_datatype_survives(misbehaving: Triton, protocol: str) -> None:
    values = [
        ("BOOL", [True, False]),
        ("UINT8", [0, 255]),
        ("INT16", [-32768, 32767]),
        ("UINT64", [0, 2**64 - 1]),
        ("INT64", [-(2**63), 2**63 - 1]),
        ("FP16", [0.5, "NaN"]),
        ("FP32", [1.5, "-Infinity"]),
        ("FP64", [0.1, 1e300]),
        ("BYTES", ["", "späte Quanten"]),
    ]
    tensors = [{"datatype": datatype, "shape": [2], "data": data} for datatype, data in values]
    request = {
        "model": "types",
        "request": {"inputs": [{"name": f"INPUT{index}", **tensor} for index, tensor in enumerate(tensors)]},
        "response": {"outputs": [{"name": f"OUTPUT{index}", **tensor} for index, tensor in enumerate(tensors)]},
    }
    address = misbehaving.grpc if protocol == "grpc" else misbehaving.http
    result = run_module(
        "inference_check", {"requests": [request], "targets": [{"address": address, "protocol": protocol}]}
    )
    assert not result["failed"], result["msg"]


def test_a_tensor_in_raw_bytes_travels_over_both_protocols(misbehaving: Triton) -> None:
    request = golden("identity", [1.0, 3.0])
    for tensor in (request["request"]["inputs"][0], request["response"]["outputs"][0]):
        del tensor["data"]
        tensor["raw"] = "AACAPwAAQEA="
    result = run_module(
        "inference_check",
        {
            "requests": [request],
            "targets": [{"address": misbehaving.grpc}, {"address": misbehaving.http, "protocol": "http"}],
        },
    )
    assert not result["failed"], result["msg"]


# Wrong answers


def test_one_wrong_number_is_named(misbehaving: Triton) -> None:
    result = run_module(
        "inference_check",
        {
            "requests": [golden("identity", [1.0, 2.0, 3.0], name="three")],
            "targets": [{"name": "Triton", "address": misbehaving.grpc}],
        },
    )
    assert result["failed"]
    assert statuses(result) == {"wrong_answer"}
    assert result["msg"] == (
        f"1 of 1 inference checks failed. Triton (address {misbehaving.grpc}): model identity, golden request three: "
        "output OUTPUT0[1] is 2.5, expected 2.0 within 1e-05 + 0.0001 x |expected| (1 of 3 values wrong)."
    )
    assert result["checks"][0]["max_absolute"] == {"value": 0.5, "output": "OUTPUT0", "index": [1]}
    assert result["checks"][0]["max_relative"] == {"value": 0.25, "output": "OUTPUT0", "index": [1]}


def test_a_tolerance_decides(misbehaving: Triton) -> None:
    wide = {**golden("identity", [2.0]), "tolerances": {"OUTPUT0": {"absolute": 0.5}}}
    tight = {**wide, "tolerances": {"OUTPUT0": {"absolute": 0.49}}}
    for request, failed in ((wide, False), (tight, True)):
        result = run_module("inference_check", {"requests": [request], "targets": [{"address": misbehaving.grpc}]})
        assert result["failed"] is failed


def test_one_bad_server_behind_a_balancer_is_found(misbehaving: Triton, tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_model(models, "identity")
    good = Triton(models, tmp_path / "triton")
    balancer = Envoy(tmp_path / "envoy", grpc=[good.grpc, misbehaving.grpc])
    try:
        options = {"requests": [golden("identity", [2.0])], "targets": [{"address": balancer.address, "repeat": 4}]}
        result = run_module("inference_check", options)
    finally:
        balancer.stop()
        good.stop()
    assert result["failed"]
    assert statuses(result) == {"wrong_answer"}


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_an_endpoint_that_fails_every_fifth_request_is_not_waited_for(
    misbehaving: Triton, tmp_path: Path, protocol: str
) -> None:
    (dead,) = free_ports(1)
    live = misbehaving.grpc if protocol == "grpc" else misbehaving.http
    # A look for the cause of a failure takes one or two more turns: of two or three servers, the dead one could get
    # every request.
    upstreams = [f"127.0.0.1:{dead}", live, live, live, live]
    balancer = Envoy(tmp_path, grpc=upstreams, http=upstreams)
    try:
        result = run_module(
            "inference_check",
            {
                "requests": [golden("identity", [1.0])],
                "targets": [{"address": balancer.address, "protocol": protocol, "repeat": 8}],
                "wait": 20,
            },
        )
    finally:
        balancer.stop()
    assert result["failed"]
    assert statuses(result) == {"unavailable"}
    # It was the endpoint that failed, not the wait that ended.
    assert 1 <= result["checks"][0]["requests"] < 8


# Models that are not there


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_model_that_fails_to_load_is_told_with_its_reason(misbehaving: Triton, protocol: str) -> None:
    address = misbehaving.grpc if protocol == "grpc" else misbehaving.http
    result = run_module(
        "inference_check",
        {
            "requests": [golden("broken", [1.0]), golden("identity", [1.0])],
            "targets": [{"address": address, "protocol": protocol}],
        },
    )
    assert result["failed"]
    assert [check["status"] for check in result["checks"]] == ["model_not_ready", "ok"]
    assert "model broken: it is UNAVAILABLE" in result["msg"]
    assert "weights are missing" in result["msg"]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_missing_model_is_told_with_those_that_are_there(misbehaving: Triton, protocol: str) -> None:
    address = misbehaving.grpc if protocol == "grpc" else misbehaving.http
    result = run_module(
        "inference_check",
        {"requests": [golden("tagger", [1.0])], "targets": [{"address": address, "protocol": protocol}]},
    )
    assert statuses(result) == {"model_missing"}
    assert "model tagger: the server has no such model; its models are broken, identity, sleepy, types" in result["msg"]


def test_a_missing_version_is_told(misbehaving: Triton) -> None:
    request = {**golden("identity", [1.0]), "version": "7"}
    result = run_module("inference_check", {"requests": [request], "targets": [{"address": misbehaving.grpc}]})
    assert statuses(result) == {"model_missing"}
    assert "the server has no version 7 of it" in result["msg"]


def test_a_wrong_request_is_told_in_the_words_of_the_server(misbehaving: Triton) -> None:
    request = golden("identity", [1.0])
    request["request"]["inputs"][0]["name"] = "INPUT7"
    result = run_module("inference_check", {"requests": [request], "targets": [{"address": misbehaving.grpc}]})
    assert statuses(result) == {"error"}
    assert "INVALID_ARGUMENT" in result["msg"]
    assert "INPUT7" in result["msg"]


def test_a_request_that_must_fail(misbehaving: Triton) -> None:
    bad = golden("identity", [1.0], name="bad")
    bad["request"]["inputs"][0]["name"] = "INPUT7"
    del bad["response"]
    right = {**bad, "error": {"status": "INVALID_ARGUMENT", "contains": "INPUT7"}}
    wrong = {**bad, "error": {"status": "NOT_FOUND"}}
    accepted = {**golden("identity", [1.0], name="good"), "error": {"status": "INVALID_ARGUMENT"}}
    del accepted["response"]
    result = run_module(
        "inference_check", {"requests": [right, wrong, accepted], "targets": [{"address": misbehaving.grpc}]}
    )
    assert [check["status"] for check in result["checks"]] == ["ok", "not_refused", "not_refused"]


# Servers that do not answer


def test_a_hanging_server_is_told(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "identity")
    server = Triton(tmp_path / "models", tmp_path / "triton")
    front = Envoy(tmp_path / "envoy", grpc=[server.grpc])
    try:
        server.process.signal(signal.SIGSTOP)
        started = time.monotonic()
        result = run_module(
            "inference_check",
            {
                "requests": [golden("identity", [1.0], name=str(number)) for number in range(20)],
                "targets": [
                    {"address": server.grpc},
                    {"address": server.http, "protocol": "http"},
                    {"name": "Envoy", "address": front.address},
                ],
                "timeout": 1,
                "parallel": 24,
            },
        )
        seconds = time.monotonic() - started
    finally:
        front.stop()
        server.stop()
    assert statuses(result) == {"hang"}
    assert {check["message"] for check in result["checks"]} == {
        "it accepts connections but says nothing within 1 s",
        "it accepts connections but answers no request within 1 s",
    }
    # Not once more for each of the requests.
    assert seconds < 20


def test_a_hanging_model_is_told_from_a_hanging_server(misbehaving: Triton) -> None:
    result = run_module(
        "inference_check",
        {
            "requests": [golden("sleepy", [1.0]), golden("identity", [1.0])],
            "targets": [{"address": misbehaving.grpc}],
            "timeout": 1,
        },
    )
    assert [check["status"] for check in result["checks"]] == ["hang", "ok"]
    assert "model sleepy: the model does not answer within 1 s, although the server is live" in result["msg"]


def test_wrong_ports_and_protocols_are_told(triton: Triton, tls_proxy: Envoy) -> None:
    (nobody,) = free_ports(1)
    cases = [
        ({"address": f"127.0.0.1:{nobody}"}, "refused", "nothing listens on this port"),
        ({"address": f"127.0.0.1:{nobody}", "protocol": "http"}, "refused", "nothing listens on this port"),
        ({"address": triton.http}, "wrong_protocol", "an HTTP/1 server answers there, not gRPC"),
        ({"address": triton.grpc, "protocol": "http"}, "wrong_protocol", "an HTTP/2 server answers there, not HTTP/1"),
        ({"address": tls_proxy.address}, "tls", "the server expects TLS"),
        ({"address": tls_proxy.address, "protocol": "http"}, "tls", "the server expects TLS"),
        ({"address": triton.grpc, "tls": {}}, "tls", "does not speak TLS on this port"),
        ({"address": triton.http, "tls": {}, "protocol": "http"}, "tls", "it cut the TLS handshake"),
        ({"address": "no-such-host.invalid:8001"}, "unreachable", "cannot be resolved"),
    ]
    result = run_module(
        "inference_check",
        {"requests": [golden("identity", [1.0])], "targets": [target for target, _status, _words in cases]},
    )
    assert result["failed"]
    for check, (target, status, words) in zip(result["checks"], cases, strict=True):
        assert (check["status"], words in check["message"]) == (status, True), (target, check)


def test_a_proxy_without_servers_is_told(tmp_path: Path) -> None:
    front = Envoy(tmp_path, grpc=[])
    try:
        result = run_module(
            "inference_check",
            {"requests": [golden("identity", [1.0])], "targets": [{"name": "Envoy", "address": front.address}]},
        )
    finally:
        front.stop()
    assert statuses(result) == {"unavailable"}
    assert "no healthy upstream" in result["msg"]


def test_waits_for_a_server_that_starts(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "identity", initialize="time.sleep(1)")
    ports = free_ports(1)
    options = {
        "requests": [golden("identity", [1.0])],
        "targets": [{"address": f"127.0.0.1:{ports[0]}"}],
        "wait": 30,
    }
    results: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: results.append(run_module("inference_check", options)))
    thread.start()
    time.sleep(0.5)
    server = Triton(tmp_path / "models", tmp_path / "triton", [f"--grpc-port={ports[0]}"], wait=False)
    try:
        thread.join(40)
    finally:
        server.stop()
    assert results
    assert not results[0]["failed"], results[0]["msg"]


def test_waiting_ends(misbehaving: Triton) -> None:
    started = time.monotonic()
    result = run_module(
        "inference_check",
        {"requests": [golden("tagger", [1.0])], "targets": [{"address": misbehaving.grpc}], "wait": 1},
    )
    assert statuses(result) == {"model_missing"}
    assert 1 <= time.monotonic() - started < 20


# TLS


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_tls(tls_proxy: Envoy, certificate: tuple[Path, Path], examples: Path, protocol: str) -> None:
    port = tls_proxy.port
    cases = [
        ({"address": f"127.0.0.1:{port}", "tls": {"ca_cert": str(certificate[0])}}, "ok", ""),
        ({"address": f"localhost:{port}", "tls": {"ca_cert": str(certificate[0])}}, "ok", ""),
        ({"address": f"127.0.0.1:{port}", "tls": {"validate": False}}, "ok", ""),
        ({"address": f"127.0.0.1:{port}", "tls": {}}, "tls", "its certificate is not trusted: self-signed certificate"),
        (
            {"address": f"127.0.0.1:{port}", "tls": {"ca_cert": str(certificate[0]), "server_name": "triton.example"}},
            "tls",
            "its certificate is not trusted: Hostname mismatch",
        ),
    ]
    result = run_module(
        "inference_check",
        {
            "repositories": [str(examples)],
            "models": ["particlenet"],
            "targets": [{**target, "protocol": protocol} for target, _status, _words in cases],
        },
    )
    for index, (target, status, words) in enumerate(cases):
        for check in result["checks"][3 * index : 3 * index + 3]:
            assert (check["status"], words in check["message"]) == (status, True), (target, check)


# Access


@pytest.fixture(scope="module")
def guarded(triton: Triton, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Envoy, Callable[..., str]]]:
    """An Envoy that wants a JWT, and a maker of them."""
    import jwt
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    authentication = {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {
                "issuer": {
                    "issuer": "https://issuer.example",
                    "audiences": ["supersonic"],
                    "local_jwks": {"inline_string": json.dumps({"keys": [{**public, "kid": "one"}]})},
                    "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
                }
            },
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "issuer"}}],
        },
    }

    def token(audience: str = "supersonic") -> str:
        claims = {"iss": "https://issuer.example", "sub": "cms", "aud": audience, "exp": int(time.time()) + 600}
        return str(jwt.encode(claims, key, algorithm="RS256", headers={"kid": "one"}))

    server = Envoy(tmp_path_factory.mktemp("envoy"), grpc=[triton.grpc], http=[triton.http], filters=[authentication])
    yield server, token
    server.stop()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_tokens(guarded: tuple[Envoy, Callable[..., str]], examples: Path, protocol: str) -> None:
    envoy, token = guarded
    secret, foreign = token(), token("elsewhere")
    refused = {"expect_error": {"status": "UNAUTHENTICATED"}}
    cases = [
        ({"token": secret}, "ok"),
        ({"headers": {"Authorization": f"Bearer {secret}"}}, "ok"),
        ({**refused}, "ok"),
        ({**refused, "token": "nonsense"}, "ok"),
        ({"token": foreign, "expect_error": {"status": "PERMISSION_DENIED", "contains": "Audience"}}, "ok"),
        ({}, "unauthorized"),
        ({**refused, "token": secret}, "not_refused"),
        ({**refused, "token": foreign}, "not_refused"),
    ]
    targets = [{"address": envoy.address, "protocol": protocol, **case} for case, _status in cases]
    result = run_module(
        "inference_check", {"repositories": [str(examples)], "models": ["identity"], "targets": targets}
    )
    pairs = [(check["status"], check["message"]) for check in result["checks"]]
    for index, (_case, status) in enumerate(cases):
        assert {each for each, _message in pairs[2 * index : 2 * index + 2]} == {status}, pairs
    assert "answered, but must be refused with UNAUTHENTICATED" in result["msg"]
    assert "refused with PERMISSION_DENIED" in result["msg"]
    shown = json.dumps(result)
    assert secret not in shown
    assert foreign not in shown


def test_a_dead_server_refuses_nobody() -> None:
    (nobody,) = free_ports(1)
    result = run_module(
        "inference_check",
        {
            "requests": [golden("identity", [1.0])],
            "targets": [{"address": f"127.0.0.1:{nobody}", "expect_error": {"status": "UNAVAILABLE"}}],
        },
    )
    assert statuses(result) == {"refused"}


# Recording


def test_recording(misbehaving: Triton, tmp_path: Path) -> None:
    question = golden("identity", [1.0, 2.0], name="two")
    del question["response"]
    options = {
        "requests": [question],
        "targets": [{"address": misbehaving.grpc}],
        "record": {"destination": str(tmp_path / "models"), "tolerances": {"OUTPUT0": {"absolute": 0.25}}},
    }
    path = tmp_path / "models" / "identity" / "golden" / "two.json"

    predicted = run_module("inference_check", options, check=True, diff=True)
    assert predicted["changed"]
    assert not path.parent.exists()

    written = run_module("inference_check", options, diff=True)
    assert written["changed"]
    assert written["recorded"] == [str(path)]
    assert written["diff"] == predicted["diff"]
    assert written["diff"][0]["before"] == ""
    assert written["diff"][0]["after"] == path.read_text()
    document = json.loads(path.read_text())
    assert document["response"]["outputs"][0]["data"] == [1.0, 2.5]
    assert document["tolerances"] == {"OUTPUT0": {"absolute": 0.25}}
    assert "2.51.0" in document["source"]
    assert [entry.name for entry in path.parent.iterdir()] == ["two.json"]

    assert not run_module("inference_check", options)["changed"]
    check = {"repositories": [str(tmp_path / "models")], "targets": options["targets"]}
    assert not run_module("inference_check", check)["failed"]


def test_recording_keeps_another_answer_unless_told(misbehaving: Triton, tmp_path: Path) -> None:
    write_golden(tmp_path, golden("identity", [2.0], name="kept"))
    path = tmp_path / "identity" / "golden" / "kept.json"
    before = path.read_text()
    options: dict[str, Any] = {
        "repositories": [str(tmp_path)],
        "targets": [{"address": misbehaving.grpc}],
        "record": {"destination": str(tmp_path)},
    }
    refused = run_module("inference_check", options)
    assert refused["failed"]
    assert "Set record.overwrite" in refused["msg"]
    assert path.read_text() == before

    options["record"]["overwrite"] = True
    assert run_module("inference_check", options)["changed"]
    assert json.loads(path.read_text())["response"]["outputs"][0]["data"] == [2.5]


def test_recording_from_a_dead_server_writes_nothing(tmp_path: Path) -> None:
    (nobody,) = free_ports(1)
    result = run_module(
        "inference_check",
        {
            "requests": [golden("identity", [1.0])],
            "targets": [{"address": f"127.0.0.1:{nobody}"}],
            "record": {"destination": str(tmp_path / "models")},
        },
    )
    assert result["failed"]
    assert "connection refused" in result["msg"]
    assert not (tmp_path / "models").exists()


# Reporting


@pytest.mark.parametrize("value", [1.0, 2.0])
def test_the_report_is_written_whatever_comes_out(misbehaving: Triton, tmp_path: Path, value: float) -> None:
    path = tmp_path / "reports" / "last.json"
    options = {
        "requests": [golden("identity", [value])],
        "targets": [{"address": misbehaving.grpc}],
        "report": str(path),
    }
    run_module("inference_check", options, check=True)
    assert not path.exists()
    result = run_module("inference_check", options)
    assert result["failed"] is (value == 2.0)
    assert result["changed"] is False
    report = json.loads(path.read_text())
    assert abs(
        datetime.datetime.fromisoformat(report.pop("time")) - datetime.datetime.now(datetime.UTC)
    ) < datetime.timedelta(minutes=1)
    assert report == {
        "passed": not result["failed"],
        "message": result["msg"],
        "checks": result["checks"],
        "targets": result["targets"],
    }


def test_a_proof_that_cannot_be_made_replaces_an_earlier_report(tmp_path: Path) -> None:
    path = tmp_path / "last.json"
    path.write_text('{"passed": true}')
    options = {"requests": [{"model": "identity"}], "targets": [{"address": "127.0.0.1:1"}], "report": str(path)}
    result = run_module("inference_check", options)
    assert result["failed"]
    report = json.loads(path.read_text())
    assert report["passed"] is False
    assert report["message"] == result["msg"]


def test_no_targets_is_refused() -> None:
    result = run_module("inference_check", {"requests": [golden("identity", [1.0])], "targets": []})
    assert result["failed"]
    assert result["msg"] == "targets is empty, so nothing would be proved. Name at least one server."


def test_a_report_that_cannot_be_written_is_told(misbehaving: Triton, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run_module(
        "inference_check",
        {
            "requests": [golden("identity", [1.0])],
            "targets": [{"address": misbehaving.grpc}],
            "report": str(tmp_path / "file" / "report.json"),
        },
    )
    assert result["failed"]
    assert "report.json cannot be written" in result["msg"]


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"targets": [{"address": "nowhere"}]}, "it must be host:port"),
        ({"targets": [{}]}, "one of the following is required"),
        ({"targets": [{"address": "a:1", "pod": {"name": "x", "namespace": "y"}}]}, "mutually exclusive"),
        ({"targets": [{"selector": {"labels": {}, "namespace": "x"}}]}, "would take every pod"),
        ({"targets": [{"address": "a:1", "repeat": 0}]}, "repeat is 0"),
        ({"targets": [{"address": "a:1", "models": ["tagger"]}]}, "no golden request for model tagger"),
        ({"targets": [{"address": "a:1", "expect_error": {"status": "REFUSED"}}]}, "status 'REFUSED' is none of"),
        ({"models": ["tagger"]}, "There is no golden request for model tagger in requests."),
        ({"repositories": ["/no/such/folder"]}, "The model repository /no/such/folder cannot be read"),
        ({"timeout": 0}, "timeout is 0"),
        ({"targets": [{"address": "a:1", "tls": {"ca_cert": "/no/file"}}]}, "The TLS files /no/file cannot be used"),
        ({"requests": []}, "There are no golden requests"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], words: str) -> None:
    result = run_module(
        "inference_check", {"requests": [golden("identity", [1.0])], "targets": [{"address": "a:1"}], **options}
    )
    assert result["failed"]
    assert words in result["msg"]


# triton_info


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_triton_info(misbehaving: Triton, protocol: str) -> None:
    address = misbehaving.grpc if protocol == "grpc" else misbehaving.http
    (nobody,) = free_ports(1)
    result = run_module(
        "triton_info",
        {
            "targets": [
                {"name": "Triton", "address": address, "protocol": protocol},
                {"address": f"127.0.0.1:{nobody}", "protocol": protocol},
            ],
            "models": ["broken", "identity", "tagger"],
            "config": True,
            "statistics": True,
        },
    )
    assert not result["failed"], result["msg"]
    server, silent = result["servers"]
    assert (server["layer"], server["version"], server["live"], server["ready"]) == ("Triton", "2.51.0", True, False)
    broken, identity, absent = server["models"]
    assert (broken["name"], broken["state"], broken["ready"]) == ("broken", "UNAVAILABLE", False)
    assert "weights are missing" in broken["reason"]
    assert (identity["name"], identity["version"], identity["state"]) == ("identity", "1", "READY")
    assert identity["config"]["backend"] == "python"
    assert identity["config"]["input"][0]["data_type"] == "TYPE_FP32"
    assert isinstance(identity["statistics"]["inference_stats"]["success"], dict)
    assert (absent["name"], absent["state"]) == ("tagger", "ABSENT")
    assert (silent["status"], silent["live"], silent["models"]) == ("refused", False, [])
