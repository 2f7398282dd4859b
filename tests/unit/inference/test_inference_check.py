# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets, what counts as a failure of them, and the sentences about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import (
    endpoints,
    inference_check,
    kserve_client,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.compare import Deviation
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.golden_requests import ExpectedError, Golden
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.inference_check import Check, Failure
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.kserve_client import CallError, Endpoint
from ansible_collections.fastml.supersonic.tests.harness.fake_api import FakeApi


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("a:1", "a", 1), ("192.0.2.1:8001", "192.0.2.1", 8001), ("[2001:db8::1]:443", "2001:db8::1", 443)],
)
def test_addresses(address: str, host: str, port: int) -> None:
    assert endpoints.parse_address(address, "x") == {"host": host, "port": port}


@pytest.mark.parametrize("address", ["a", "a:", ":1", "a:b", "a:0", "a:65536", "grpc://a:1", ""])
def test_bad_addresses(address: str) -> None:
    with pytest.raises(SupersonicError, match=r"targets\[0\].address is .* it must be host:port"):
        endpoints.parse_address(address, "targets[0]")


def test_a_token_is_a_header_and_stays_out_of_sight() -> None:
    (target,) = endpoints.parse_targets([{"address": "a:1", "token": "geheim", "headers": {"x-team": "stumm"}}])
    assert dict(target.headers) == {"authorization": "Bearer geheim", "x-team": "stumm"}
    assert "geheim" not in repr(target)
    assert "stumm" not in repr(target)


def pod(phase: str = "Running", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "n"}, "status": {"phase": phase, **status}}


def container(**state: Any) -> list[dict[str, Any]]:
    return [{"name": "c", "state": state}]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (pod(), None),
        (pod(containerStatuses=container(running={})), None),
        (pod("Pending"), "it is Pending"),
        (pod(""), "it is not started"),
        (
            pod("Pending", containerStatuses=container(waiting={"reason": "ImagePullBackOff", "message": "no image"})),
            "container c is in ImagePullBackOff: no image",
        ),
        (
            pod(containerStatuses=container(waiting={"reason": "CrashLoopBackOff"})),
            "container c is in CrashLoopBackOff",
        ),
        (pod(containerStatuses=container(terminated={"exitCode": 0})), "container c has ended with exit code 0"),
        (pod(initContainerStatuses=container(terminated={"exitCode": 0})), None),
        (
            pod("Pending", initContainerStatuses=container(terminated={"exitCode": 2})),
            "container c has ended with exit code 2",
        ),
        (
            pod(
                "Pending",
                initContainerStatuses=container(waiting={"reason": "CreateContainerError"}),
                containerStatuses=container(waiting={"reason": "PodInitializing"}),
            ),
            "container c is in CreateContainerError",
        ),
        (
            pod("Pending", conditions=[{"type": "PodScheduled", "status": "False", "message": "no GPU"}]),
            "it cannot be scheduled: no GPU",
        ),
    ],
)
def test_why_a_pod_cannot_answer(status: dict[str, Any], reason: str | None) -> None:
    assert endpoints.why_not_running(status) == reason


@pytest.mark.parametrize(
    ("entry", "leaving"),
    [
        (pod(), False),
        (pod("Succeeded"), True),
        (pod("Failed"), True),
        ({"metadata": {"deletionTimestamp": "now"}, "status": {"phase": "Running"}}, True),
    ],
)
def test_pods_that_are_no_part_of_the_service_any_more(entry: dict[str, Any], leaving: bool) -> None:
    assert endpoints.is_leaving(entry) is leaving


def test_ready_endpoints_of_a_service() -> None:
    def endpoint(name: str, **conditions: bool) -> dict[str, Any]:
        return {"targetRef": {"kind": "Pod", "name": name}, "conditions": conditions}

    slices = [
        {
            "ports": [{"name": "http", "port": 8000}, {"name": "grpc", "port": 8001}],
            "endpoints": [endpoint("b", ready=True), endpoint("a"), endpoint("c", ready=False), {"conditions": {}}],
        },
        {"ports": None, "endpoints": [endpoint("d")]},
        {"ports": [{"name": "grpc", "port": 9}], "endpoints": None},
    ]
    assert endpoints.ready_endpoints(slices, "grpc") == [("a", 8001), ("b", 8001)]
    assert endpoints.ready_endpoints(slices, "metrics") == []


# Failures


GOLDEN = Golden("m", "values", "a file", ())
REFUSED = ExpectedError("UNAUTHENTICATED", "token")


def line(refusal: ExpectedError | None = None) -> inference_check.Line:
    target = endpoints.Target("address", {"host": "a", "port": 1}, "clients", "grpc", expect_error=refusal)
    return inference_check.Line(target, endpoints.Place("address a:1", Endpoint("grpc", "a", 1)))


def run(wait: float = 0) -> inference_check.Run:
    return inference_check.Run(inference_check.Settings(timeout=1, wait=wait), cast("Any", None))


@pytest.mark.parametrize(
    ("refusal", "answer", "status"),
    [
        (None, None, "ok"),
        (None, CallError("UNAUTHENTICATED", "no token"), "unauthorized"),
        (REFUSED, CallError("UNAUTHENTICATED", "no token"), "ok"),
        (REFUSED, None, "not_refused"),
        (REFUSED, CallError("UNAUTHENTICATED", "no certificate"), "not_refused"),
        (REFUSED, CallError("INVALID_ARGUMENT", "no token"), "not_refused"),
    ],
)
def test_what_has_to_be_refused(
    monkeypatch: pytest.MonkeyPatch, refusal: ExpectedError | None, answer: CallError | None, status: str
) -> None:
    class Server:
        """Answers every request alike."""

        def infer(self, *_arguments: Any) -> list[Any]:
            if answer:
                raise answer
            return []

    monkeypatch.setattr(kserve_client, "open_client", lambda _endpoint: Server())
    assert inference_check.check_one(run(), line(refusal), GOLDEN).status == status


def test_who_has_answered_and_then_fails_is_not_asked_again() -> None:
    """What is not there yet is waited for; asking until a server answers again would hide that it is not sound."""
    outcomes: list[Failure | str] = [
        Failure("unavailable", "starting"),
        "first",
        Failure("unavailable", "away"),
        "next",
    ]

    def send() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Failure):
            raise outcome
        return outcome

    server, patient = line(), run(wait=60)
    assert inference_check.attempt(patient, server, send, GOLDEN) == "first"
    with pytest.raises(Failure, match="away"):
        inference_check.attempt(patient, server, send, GOLDEN)
    assert outcomes == ["next"]


# Sentences and summaries


def failure(**values: Any) -> Check:
    return Check(**{"layer": "pod", "target": "pod n/p", "protocol": "grpc", "status": "error", **values})


def test_a_failure_of_a_whole_server_is_told_once() -> None:
    checks = [failure(model=m, golden=g, message="it is gone", scope="target") for m in "ab" for g in "12"]
    assert inference_check.describe_failures(checks) == "4 of 4 inference checks failed. pod n/p: it is gone."


def test_a_failure_of_a_model_is_told_once() -> None:
    checks = [failure(model="m", golden=g, message="not loaded", scope="model") for g in "12"]
    assert inference_check.describe_failures([*checks, Check("pod", "pod n/p", "grpc", "o")]) == (
        "2 of 3 inference checks failed. pod n/p: model m: not loaded."
    )


def test_a_long_list_of_failures_is_cut() -> None:
    checks = [failure(model="m", golden=str(number), message=f"wrong {number}") for number in range(9)]
    text = inference_check.describe_failures(checks)
    assert "golden request 5: wrong 5" in text
    assert text.endswith("; and 3 more.")
    assert "wrong 6" not in text


def test_the_name_of_a_target_stands_in_front() -> None:
    text = inference_check.describe_failures([failure(layer="Envoy", scope="target", message="x")])
    assert text.endswith("Envoy (pod n/p): x.")


def test_the_summary_has_a_line_for_each_server() -> None:
    checks = [
        Check("a", "s", "grpc", "m", requests=1, latency_ms=2.0, absolute=Deviation(0.5, "y", (0,))),
        Check("a", "s", "grpc", "n", requests=1, latency_ms=1.0, absolute=Deviation(float("inf"), "y", (0,))),
        failure(layer="a", target="s", model="n"),
        Check("b", "s", "grpc", "m"),
    ]
    first, second = inference_check.summarize(checks)
    assert (first["checks"], first["failed"], first["models"]) == (3, 1, ["m", "n"])
    assert (first["slowest_ms"], first["max_absolute"], first["max_relative"]) == (2.0, "Infinity", None)
    assert (second["layer"], second["checks"], second["slowest_ms"]) == ("b", 1, None)


# Servers by their labels


@pytest.fixture
def resolver() -> Iterator[tuple[FakeApi, endpoints.Resolver]]:
    with FakeApi() as api:
        found = endpoints.Resolver({"host": api.url, "api_key": "abc"})
        yield api, found
        found.close()


LABELS = {"app.kubernetes.io/instance": "main"}
SELECTOR = {"selector": {"labels": LABELS, "namespace": "cms", "port": None, "min": 2}}


def put_pod(api: FakeApi, name: str, phase: str = "Running", **metadata: Any) -> str:
    item = {"metadata": {"labels": LABELS, **metadata}, "spec": {}, "status": {"phase": phase}}
    return str(api.put(f"/api/v1/namespaces/cms/pods/{name}", item)["metadata"]["uid"])


def test_pods_on_their_way_out_are_not_asked(resolver: tuple[FakeApi, endpoints.Resolver]) -> None:
    """During a roll-out there are more pods with these labels than servers."""
    api, found = resolver
    uids = [put_pod(api, name) for name in ("a", "c")]
    put_pod(api, "b", deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["example.org/theirs"])
    put_pod(api, "d", "Succeeded")
    put_pod(api, "e", "Failed")
    put_pod(api, "f", labels={"app.kubernetes.io/instance": "another"})
    (target,) = endpoints.parse_targets([SELECTOR])
    places, absences = found.resolve(target)
    assert [place.name for place in places] == ["pod cms/a port 8001", "pod cms/c port 8001"]
    assert [dict(place.endpoint.headers)[endpoints.RESTRICTED_HEADER] for place in places] == uids
    assert absences == []
    # A place that was found stays the same.
    assert found.resolve(target)[0] == places


@pytest.mark.parametrize("kind", ["selector", "pod"])
def test_a_pod_on_its_way_out_does_not_count(resolver: tuple[FakeApi, endpoints.Resolver], kind: str) -> None:
    api, found = resolver
    put_pod(api, "a", deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["example.org/theirs"])
    pod_of_name = {"pod": {"name": "a", "namespace": "cms", "port": None}}
    (target,) = endpoints.parse_targets([SELECTOR if kind == "selector" else pod_of_name])
    places, (absence,) = found.resolve(target)
    assert places == []
    assert ("there is no such pod" if kind == "pod" else "0 pods with these labels, expected at least 2") in str(
        absence.reason
    )
