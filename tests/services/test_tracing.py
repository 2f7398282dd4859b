# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call, one trace: a real Envoy, a real Triton and a real collector, each with what the roles write for it."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.traces import Span, problems_of
from ansible_collections.fastml.supersonic.tests.harness.gateway import CHANNEL
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import run_playbook
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.programs import program
from ansible_collections.fastml.supersonic.tests.harness.prometheus import Page
from ansible_collections.fastml.supersonic.tests.harness.tracing import (
    Traced,
    context,
    steady,
    traced,
    write_models,
)

# Spans are sent by Envoy every five seconds, and every second by a server.
ARRIVES_S = 60.0
# Nothing comes any more: longer than Envoy's pause between two sendings, and than the collector's.
SILENT_S, SETTLED_S = 8.0, 600.0
# Requests in a second, and for how long; 1,000 in a second are the benchmark's.
RATE, SECONDS = 200, 6
SHARED_S, FULL_SECOND = 6, 20
SERVICES = ["main-envoy", "main-triton"]
CASES: dict[str, dict[str, Any]] = {
    "everything": {"supersonic_tracing": {"sampling_percent": 100}, "envoy_http": True},
    "some": {"supersonic_tracing": {"sampling_percent": 5}, "envoy_tracing": {"requests_per_second": 200}},
    "limited": {"supersonic_tracing": {"sampling_percent": 1}},
    "none": {"supersonic_tracing": {"sampling_percent": 0}, "envoy_http": True},
    "few": {
        "supersonic_tracing": {"sampling_percent": 0},
        "envoy_tracing": {"requests_per_second": 2},
        "envoy_concurrency": 1,
        "envoy_http": True,
    },
}


@pytest.fixture(scope="module")
def collector_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program("otel-collector", tmp_path_factory.mktemp("build")) / "otel-collector"


@pytest.fixture(scope="module")
def instance(collector_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("tracing")
    with traced(collector_program, folder, write_models(folder / "models"), CASES) as running:
        yield running


def infer(address: str, model: str = "identity", **headers: str) -> None:
    values = numpy.arange(4, dtype=numpy.float32).reshape(1, 4)
    given = triton_grpc.InferInput("INPUT0", values.shape, "FP32")
    given.set_data_from_numpy(values)
    with triton_grpc.InferenceServerClient(address, channel_args=CHANNEL) as client:
        answer = client.infer(model, [given], headers=headers, client_timeout=20)
    assert numpy.array_equal(answer.as_numpy("OUTPUT0"), values if model == "identity" else values * 2)


def infer_http(address: str, **headers: str) -> None:
    values = numpy.arange(4, dtype=numpy.float32).reshape(1, 4)
    given = triton_http.InferInput("INPUT0", values.shape, "FP32")
    given.set_data_from_numpy(values)
    with triton_http.InferenceServerClient(address) as client:
        assert numpy.array_equal(client.infer("identity", [given], headers=headers).as_numpy("OUTPUT0"), values)


def whole(instance: Traced, trace_ids: Sequence[str], count: int) -> list[Span]:
    """The spans of the first of these traces that has so many: servers miss some contexts that come over gRPC."""

    def found() -> list[Span]:
        traces = (instance.collector.spans(trace_id) for trace_id in trace_ids)
        return next((spans for spans in traces if len(spans) >= count), [])

    return list(until(found, ARRIVES_S))


def settled(instance: Traced) -> dict[str, list[Span]]:
    """All traces, once everybody has sent what there was."""
    limit, size, since = time.monotonic() + SETTLED_S, -1, time.monotonic()
    while True:
        now, grown = time.monotonic(), instance.collector.size
        if grown != size:
            size, since = grown, now
        elif now - since >= SILENT_S:
            return instance.collector.traces()
        assert now < limit, f"spans have come for {SETTLED_S:g} s after the last request"
        time.sleep(0.5)


def calls(send: Callable[..., None], *arguments: str, sampled: bool = True) -> dict[str, str]:
    """Four calls, each with a context of its own: the client's span of each trace."""
    sent = {}
    for _number in range(4):
        trace_id, span_id, header = context(sampled=sampled)
        send(*arguments, traceparent=header)
        sent[trace_id] = span_id
    return sent


def tree(spans: list[Span]) -> dict[str, str]:
    """Name of each span, with its service, and that of the span above it."""
    names = {span.span_id: f"{span.service} {span.name}" for span in spans}
    assert len(names) == len(spans)
    found = {names[span.span_id]: names.get(span.parent_id, span.parent_id) for span in spans}
    assert len(found) == len(spans), spans
    return found


def one_call(client: str, *below: tuple[str, str]) -> dict[str, str]:
    """What a call through Envoy leaves: each span and the one above it. client: the span of the client."""
    return {
        "main-envoy ingress": client,
        "main-envoy router triton egress": "main-envoy ingress",
        "main-triton InferRequest": "main-envoy router triton egress",
        **{f"main-triton {name}": f"main-triton {above}" for name, above in below},
    }


IDENTITY = (("identity", "InferRequest"), ("compute", "identity"))


def test_one_call_is_one_trace_below_the_client_s_span(instance: Traced) -> None:
    # Also where Envoy samples nothing by itself.
    sent = calls(infer, instance.envoys["none"].address)
    spans = whole(instance, list(sent), 5)
    assert tree(spans) == one_call(sent[spans[0].trace_id], *IDENTITY)
    assert problems_of(spans, SERVICES) == []


def test_the_same_over_http(instance: Traced) -> None:
    trace_id, span_id, header = context()
    infer_http(instance.envoys["everything"].address, traceparent=header)
    spans = whole(instance, [trace_id], 5)
    found = {name.replace("_http", ""): above.replace("_http", "") for name, above in tree(spans).items()}
    assert found == one_call(span_id, *IDENTITY)


def test_a_call_without_a_context_has_a_trace_of_its_own(instance: Traced) -> None:
    before = set(settled(instance))
    for _number in range(4):
        infer(instance.envoys["everything"].address)
    until(lambda: len(set(instance.collector.traces()) - before) == 4, ARRIVES_S)
    spans = whole(instance, sorted(set(instance.collector.traces()) - before), 5)
    assert tree(spans) == one_call("", *IDENTITY)


def test_the_steps_of_an_ensemble_are_below_it(instance: Traced) -> None:
    sent = calls(infer, instance.envoys["none"].address, "pipeline")
    spans = whole(instance, list(sent), 8)
    assert problems_of(spans, SERVICES) == []
    above = {span.span_id: span for span in spans}
    found = sorted(
        (span.name, above[span.parent_id].name)
        for span in spans
        if span.service == "main-triton" and span.name != "InferRequest"
    )
    assert found == [
        ("accelerator", "pipeline"),
        ("compute", "accelerator"),
        ("compute", "identity"),
        ("identity", "pipeline"),
        ("pipeline", "InferRequest"),
    ]
    (ingress,) = (span for span in spans if span.name == "ingress")
    assert ingress.parent_id == sent[ingress.trace_id]


def test_what_a_client_does_not_sample_reaches_nobody(instance: Traced) -> None:
    """Triton traces every context that it is sent: Envoy keeps those away that are not sampled."""
    unsampled = set()
    for case in CASES:
        unsampled |= set(calls(infer, instance.envoys[case].address, sampled=False))
    before = set(settled(instance))
    infer(instance.envoys["none"].address)
    sent = calls(infer, instance.envoys["none"].address)
    # What came before has come as well by then.
    whole(instance, list(sent), 5)
    assert not unsampled & set(instance.collector.traces())
    assert set(instance.collector.traces()) - before <= set(sent)


def test_servers_trace_what_they_are_told_to_whatever_the_flag_says(instance: Traced) -> None:
    """Why Envoy has to keep contexts away: asked directly, a server traces those that are not sampled too."""
    # Spans of earlier tests may come late.
    before = set(settled(instance))
    infer(instance.triton.grpc)
    sent = calls(infer, instance.triton.grpc, sampled=False)
    spans = whole(instance, list(sent), 3)
    assert {span.parent_id for span in spans if span.name == "InferRequest"} == {sent[spans[0].trace_id]}
    assert set(instance.collector.traces()) - before <= set(sent)


def test_resources_say_where_a_span_is_from(instance: Traced) -> None:
    spans = whole(instance, list(calls(infer, instance.envoys["none"].address)), 5)
    trace_id, found = spans[0].trace_id, {}
    for document in instance.collector.documents():
        for part in document["resourceSpans"]:
            values = {item["key"]: item["value"].get("stringValue") for item in part["resource"]["attributes"]}
            if any(span["traceId"] == trace_id for scope in part["scopeSpans"] for span in scope["spans"]):
                found[values["service.name"]] = values
    assert set(found) == set(SERVICES)
    for service, values in found.items():
        assert values["service.namespace"] == "main"
        assert values["k8s.namespace.name"] == ("none" if service == "main-envoy" else "server")
        assert values["k8s.pod.name"] == ("none" if service == "main-envoy" else "triton-pod")


def test_spans_are_counted_and_the_graph_is_known(instance: Traced) -> None:
    calls(infer, instance.envoys["none"].address)

    def page() -> str:
        text = instance.collector.page("span_metrics")
        wanted = (
            r'traces_spanmetrics_calls_total\{[^}]*service_name="main-triton"[^}]*\} [1-9]',
            r'traces_spanmetrics_calls_total\{[^}]*triton_model_name="identity"[^}]*\} [1-9]',
            r'traces_spanmetrics_duration_seconds_bucket\{[^}]*service_name="main-envoy"[^}]*\} [1-9]',
            r'traces_service_graph_request_total\{[^}]*client="main-envoy"[^}]*server="main-triton"[^}]*\} [1-9]',
        )
        return text if all(re.search(pattern, text) for pattern in wanted) else ""

    assert until(page), instance.collector.page("span_metrics")


def test_the_module_sees_that_spans_arrive(instance: Traced) -> None:
    options = {"collector_url": instance.collector.url, "collector_metrics_url": instance.collector.metrics_url}
    first = run_module("trace_info", options)
    assert not first["failed"], first
    assert first["counters"]["accepted"] > 0
    assert first["counters"]["refused"] == first["counters"]["failed"] == 0
    # Nothing has come since.
    silent = run_module("trace_info", {**options, "before": {**first["counters"], "accepted": 10**9}})
    assert silent["failed"]
    assert "has accepted no span since" in silent["msg"]
    _trace, _span, header = context()
    infer(instance.envoys["none"].address, traceparent=header)
    again = run_module("trace_info", {**options, "before": first["counters"], "wait_timeout": 30})
    assert not again["failed"], again
    assert again["counters"]["accepted"] > first["counters"]["accepted"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda url: url.replace("/v1/traces", "/v1/nothing"), "does not take spans there: it answered 404"),
        (lambda _url: "http://127.0.0.1:1/v1/traces", "cannot be reached: Connection refused"),
    ],
    ids=["path", "nobody"],
)
def test_a_collector_that_takes_no_spans_is_told(instance: Traced, change: Any, message: str) -> None:
    result = run_module("trace_info", {"collector_url": change(instance.collector.url)})
    assert result["failed"]
    assert message in result["msg"]


def test_golden_requests_are_traced(instance: Traced) -> None:
    values = {"datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    golden = {
        "model": "identity",
        "request": {"inputs": [{"name": "INPUT0", **values}]},
        "response": {"outputs": [{"name": "OUTPUT0", **values}]},
    }
    result = run_module(
        "inference_check",
        {
            "requests": [{**golden, "name": str(number)} for number in range(4)],
            "trace": True,
            "targets": [
                {"name": "Envoy", "address": instance.envoys["none"].address, "repeat": 2},
                {"name": "HTTP", "address": instance.envoys["none"].address, "protocol": "http"},
            ],
        },
    )
    assert not result["failed"], result
    for layer in ("Envoy", "HTTP"):
        traces = [check["trace_id"] for check in result["checks"] if check["layer"] == layer]
        # Some of each server, however often a request is sent.
        assert [bool(trace) for trace in traces] == [True, True, True, False]
        spans = whole(instance, traces[:3], 5)
        assert problems_of(spans, SERVICES) == []
        assert len(instance.collector.spans(spans[0].trace_id)) == 5


class Busy(Page):
    """A Tempo of an instance whose clients use up Envoy's limit: of the proof's first requests Envoy's span alone."""

    sent, direct = "1" * 32, "2" * 32

    def __init__(self, later: list[str]) -> None:
        """later: services that have a span in traces of further requests, each below the one before it."""
        super().__init__()
        self.services = {self.sent: SERVICES[:1], self.direct: SERVICES[1:]}
        self.later = later

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        trace_id = request.path.rpartition("/")[2]
        batches = [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
                "scopeSpans": [
                    {"spans": [{"traceId": trace_id, "spanId": f"{number + 1:016x}", "parentSpanId": f"{number:016x}"}]}
                ],
            }
            for number, service in enumerate(self.services.get(trace_id, self.later))
        ]
        self.reply(request, 200, json.dumps({"batches": batches}).encode())


@pytest.mark.parametrize(
    ("later", "said"),
    [
        (SERVICES, r"[1-9]\d* spans of [1-9]\d* traced requests are in Tempo, from Envoy down to the model\."),
        (SERVICES[:1], r"Of address \S+ no trace goes on to a server, though those of servers arrive: clients that"),
    ],
    ids=["over", "lasting"],
)
def test_a_busy_instance_is_proved_later_or_warned_of(
    instance: Traced, tmp_path: Path, later: list[str], said: str
) -> None:
    tempo = Busy(later)
    values = {"datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    request = {
        "request": {"inputs": [{"name": "INPUT0", **values}]},
        "response": {"outputs": [{"name": "OUTPUT0", **values}]},
    }
    golden = tmp_path / "models" / "identity" / "golden"
    golden.mkdir(parents=True)
    (golden / "two.json").write_text(json.dumps(request))
    address = instance.envoys["none"].address
    checks = [
        {"layer": "server", "target": "a pod", "status": "ok", "trace_id": tempo.direct},
        {"layer": "endpoint", "target": f"address {address}", "status": "ok", "trace_id": tempo.sent},
    ]
    variables = {
        "supersonic_name": "main",
        "supersonic_namespace": "none",
        "supersonic_tracing": {"endpoint": instance.collector.endpoint},
        "supersonic_tempo_url": f"http://{tempo.address}",
        "verify_golden_directories": [str(tmp_path / "models")],
        "verify_address": address,
        "verify_envoys": False,
        "verify_trace_timeout": 1,
        "__verify_result": {"checks": checks},
        "ansible_python_interpreter": sys.executable,
    }
    role = {"name": "fastml.supersonic.verify", "tasks_from": "traces"}
    task = {"name": "Look for traces", "ansible.builtin.include_role": role}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": [task]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"localhost": {}}}}))
    try:
        done = run_playbook(tmp_path / "play.yml", tmp_path / "hosts.yml")
    finally:
        tempo.stop()
    assert done.code == 0, done.output
    assert re.search(said, done.text), done.output
    assert f"Of address {address} no trace is whole ({tempo.sent}: it has no span of main-triton)" in done.text


def test_both_protocols_together_have_one_limit(instance: Traced) -> None:
    few, over_grpc, over_http = instance.envoys["few"].address, set(), set()
    full: set[int] = set()
    first = int(time.time())
    while len(full) < SHARED_S:
        for send, sent in ((infer, over_grpc), (infer_http, over_http)):
            trace_id, _span, header = context()
            begin = int(time.time())
            send(few, traceparent=header)
            sent.add(trace_id)
        # The limit is one of each second of the clock: here the last request, by HTTP, began and ended in one.
        full |= {begin} if begin == int(time.time()) else set()
    seconds = int(time.time()) - first + 1
    until(lambda: (over_grpc | over_http) <= instance.collector.traces().keys())
    traces = settled(instance)
    joined = {name for name, spans in traces.items() if "main-triton" in {span.service for span in spans}}
    # Each protocol has a share of one, which the first request in a second uses up. Servers miss some over gRPC.
    assert len(full) <= len(joined & over_http) <= seconds
    assert 0 < len(joined & over_grpc) <= seconds


# ---- under load ----------------------------------------------------------------------------------------------------
@pytest.mark.thorough
def test_a_twentieth_is_traced_under_load_and_no_server_falls(instance: Traced) -> None:
    """Of all requests 5 %: the share is what was asked for, and each trace reaches the server."""
    before = set(settled(instance))
    found = steady(instance.envoys["some"].address, "identity", RATE, SECONDS)
    assert found["failed"] == 0, found["errors"]
    assert found["sent"] == RATE * SECONDS
    traces = {name: spans for name, spans in settled(instance).items() if name not in before}
    # Of 1,200 draws of 5 % five standard deviations to both sides.
    assert 22 <= len(traces) <= 98
    # Servers miss some of the contexts.
    joined = [spans for spans in traces.values() if {span.service for span in spans} == set(SERVICES)]
    print(f"{len(traces)} of {found['sent']} requests were traced, {len(joined)} of them by the server too")
    assert len(joined) >= 0.75 * len(traces)
    for spans in joined:
        assert problems_of(spans, SERVICES) == []
    assert instance.triton.process.running
    assert "queue is full" not in instance.triton.process.log.read_text(errors="replace")


@pytest.mark.thorough
def test_clients_that_sample_everything_do_no_harm(instance: Traced) -> None:
    """Without Envoy's limit this is what crashed servers."""
    before = set(settled(instance))
    first = int(time.time())
    found = steady(instance.envoys["limited"].address, "identity", RATE, SECONDS, sampled=True)
    seconds = int(time.time()) - first + 1
    assert found["failed"] == 0, found["errors"]
    traces = {name: spans for name, spans in settled(instance).items() if name not in before}
    joined = sum({span.service for span in spans} >= {"main-triton"} for spans in traces.values())
    assert len(traces) == found["sent"]
    assert FULL_SECOND <= joined <= FULL_SECOND * seconds
    assert instance.triton.process.running
    assert "queue is full" not in instance.triton.process.log.read_text(errors="replace")
