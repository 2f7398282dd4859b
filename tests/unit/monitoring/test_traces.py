# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a trace is whole, and what Tempo says of it: a server that answers as its documentation says.

Tempo itself is in no package registry, so that none was asked.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.traces import (
    Span,
    problems_of,
    read_counters,
    spans_of,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.monitoring import duration_seconds
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.prometheus import Page

TRACE = "0af7651916cd43dd8448eb211c80319c"
DIRECT = "2af7651916cd43dd8448eb211c80319e"
LOST = "1af7651916cd43dd8448eb211c80319d"
SERVICES = ["main-envoy", "main-triton"]
TOKEN = "a-planted-token-77"
# Id, id above, name, service.
WHOLE = [
    ("b7ad6b7169203331", "1111111111111111", "ingress", "main-envoy"),
    ("b7ad6b7169203332", "b7ad6b7169203331", "router triton egress", "main-envoy"),
    ("b7ad6b7169203333", "b7ad6b7169203332", "InferRequest", "main-triton"),
    ("b7ad6b7169203334", "b7ad6b7169203333", "identity", "main-triton"),
]
Row = tuple[str, str, str, str]


def text_id(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def parts(rows: list[Row], *, plain: bool = False, scopes: str = "scopeSpans") -> list[dict[str, Any]]:
    """As OTLP has them, with ids in base64 as in the JSON of protocol buffers unless plain."""
    write = str if plain else text_id
    return [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
            scopes: [
                {
                    "spans": [
                        {
                            "traceId": write(TRACE),
                            "spanId": write(span),
                            **({"parentSpanId": write(above)} if above else {}),
                            "name": name,
                        }
                    ]
                }
            ],
        }
        for span, above, name, service in rows
    ]


@pytest.mark.parametrize(
    "document",
    [
        {"batches": parts(WHOLE)},
        {"batches": parts(WHOLE, scopes="instrumentationLibrarySpans")},
        {"trace": {"resourceSpans": parts(WHOLE)}},
        {"resourceSpans": parts(WHOLE, plain=True)},
    ],
    ids=["tempo", "older tempo", "newer tempo", "otlp"],
)
def test_spans_are_read_however_they_are_written(document: dict[str, Any]) -> None:
    assert list(spans_of(document)) == [Span(TRACE, *row) for row in WHOLE]


@pytest.mark.parametrize(
    ("rows", "problems"),
    [
        (WHOLE, []),
        # The client has told its own span too, or there was none.
        ([("1111111111111111", "", "client", "analysis"), *WHOLE], []),
        ([(*WHOLE[0][:1], "", *WHOLE[0][2:]), *WHOLE[1:]], []),
        (WHOLE[:2], ["it has no span of main-triton"]),
        (WHOLE[2:], ["it has no span of main-envoy"]),
        (
            [*WHOLE[:2], ("b7ad6b7169203333", "2222222222222222", "InferRequest", "main-triton")],
            [
                "its spans do not hang together: 2 of their parents are missing",
                "no span of main-triton is below one of main-envoy",
            ],
        ),
    ],
)
def test_what_is_missing_of_a_trace_is_said(rows: list[Row], problems: list[str]) -> None:
    assert problems_of([Span(TRACE, *row) for row in rows], SERVICES) == problems


@pytest.mark.parametrize(
    ("text", "seconds"), [("1.5ms", 0.0015), ("100us", 0.0001), ("2s", 2.0), ("1h30m", 5400.0), ("1m0.5s", 60.5)]
)
def test_times_are_seconds(text: str, seconds: float) -> None:
    assert duration_seconds(text) == seconds


def test_counters_of_a_collector_are_read() -> None:
    page = """# TYPE otelcol_receiver_accepted_spans_total counter
otelcol_receiver_accepted_spans_total{receiver="otlp",transport="grpc"} 12
otelcol_receiver_accepted_spans_total{receiver="otlp",transport="http"} 3
otelcol_receiver_accepted_metric_points_total{receiver="otlp"} 99
otelcol_exporter_sent_spans_total{exporter="otlp/tempo"} 1.5e+01
otelcol_exporter_send_failed_spans_total{exporter="otlp/tempo"} 2
"""
    assert read_counters(page) == {"accepted": 15, "refused": 0, "sent": 15, "failed": 2}


class Tempo(Page):
    """Has one trace, of which it tells the first look nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.others: dict[str, list[Row]] = {}
        self.looks = 0

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.reply(request, 401)
        elif request.path == "/tempo/api/echo":
            self.reply(request, 200, b"echo")
        elif request.path == f"/tempo/api/traces/{TRACE}" and self.rows:
            self.looks += 1
            assert request.headers["Accept"] == "application/json"
            rows = self.rows if self.looks > 1 else self.rows[:1]
            self.reply(request, 200, json.dumps({"batches": parts(rows)}).encode())
        elif self.others.get(request.path.rpartition("/")[2]):
            rows = self.others[request.path.rpartition("/")[2]]
            self.reply(request, 200, json.dumps({"batches": parts(rows)}).encode())
        elif request.path.startswith("/tempo/api/traces/"):
            self.reply(request, 404)
        else:
            self.reply(request, 404, b"<html>404 page not found</html>")


@pytest.fixture
def tempo() -> Iterator[Tempo]:
    running = Tempo()
    yield running
    running.stop()


def ask(tempo: Tempo, **options: Any) -> dict[str, Any]:
    return run_module(
        "trace_info",
        {"tempo_url": f"http://{tempo.address}/tempo", "tempo_token": TOKEN, "services": SERVICES, **options},
    )


def test_a_trace_is_waited_for_until_it_is_whole(tempo: Tempo) -> None:
    tempo.rows = list(WHOLE)
    result = ask(tempo, traces={"Envoy": [LOST, TRACE]}, wait_timeout=10)
    assert not result["failed"], result
    # One of each sender is enough.
    assert result["traces"] == {
        LOST: {"sender": "Envoy", "spans": 0, "services": [], "problems": ["nothing of it is there"]},
        TRACE: {"sender": "Envoy", "spans": 4, "services": SERVICES, "problems": []},
    }
    assert tempo.looks == 2


def test_a_trace_that_never_comes_is_told(tempo: Tempo) -> None:
    result = ask(tempo, traces={"Envoy": [TRACE]}, wait_timeout=1)
    assert result["failed"]
    assert result["msg"] == f"Of Envoy no trace is whole ({TRACE}: nothing of it is there)."
    tempo.rows = WHOLE[:2]
    result = ask(tempo, traces={"Envoy": [TRACE, LOST]}, wait_timeout=1)
    assert result["msg"].startswith(
        f"Of Envoy no trace is whole ({TRACE}: it has no span of main-triton; {LOST}: nothing of it is there)."
    )
    # Nobody knows whether servers send spans at all.
    assert result["msg"].endswith("(envoy_tracing.requests_per_second).")


@pytest.mark.parametrize(
    ("rows", "asked", "error"),
    [
        # What servers were asked without Envoy is there, so theirs arrive.
        (WHOLE[:2], WHOLE[2:], ""),
        (WHOLE[:2], [], "it has no span of main-triton"),
        # Of Envoy alone, which was not asked.
        (WHOLE[:2], WHOLE[:2], "it has no span of main-triton"),
        (WHOLE[2:], WHOLE[2:], "it has no span of main-envoy"),
        ([], WHOLE[2:], "nothing of it is there"),
        ([WHOLE[0], (*WHOLE[1][:1], "2222222222222222", *WHOLE[1][2:])], WHOLE[2:], "do not hang together"),
        ([*WHOLE[:2], ("b7ad6b7169203333", "2222222222222222", "InferRequest", "main-triton")], WHOLE[2:], "not hang"),
    ],
    ids=["limited", "no span of servers", "another's", "no span of envoy", "nothing", "torn at envoy", "torn"],
)
def test_a_gateway_that_has_reached_its_limit_is_no_error(
    tempo: Tempo, rows: list[Row], asked: list[Row], error: str
) -> None:
    tempo.looks, tempo.rows, tempo.others = 1, rows, {DIRECT: asked}
    result = ask(tempo, traces={"Envoy": [TRACE, LOST]}, direct_traces={"server": [LOST, DIRECT]}, wait_timeout=1)
    assert result["failed"] == bool(error), result
    if error:
        assert error in result["msg"]
    else:
        assert result["limited"] == ["Envoy"]
        assert "may have used up what Envoy passes on" in str(result["warnings"])
    # Each server has to have sent some.
    silent = ask(tempo, traces={"Envoy": [TRACE]}, direct_traces={"server": [DIRECT], "other": [LOST]})
    assert silent["failed"]
    assert "limited" not in silent or silent["limited"] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tempo_token": "wrong-token-78"}, "does not accept the token: it answered 401 to a test"),
        ({"tempo_token": None}, "wants a token (tempo_token)"),
        ({"tempo_url": "{url}/elsewhere", "traces": {"a": [TRACE]}}, "answered 404 to a test"),
        ({"tempo_url": "http://127.0.0.1:1"}, "Tempo (http://127.0.0.1:1) cannot be reached: Connection refused"),
        ({"tempo_url": "127.0.0.1:1"}, "tempo_url is '127.0.0.1:1'; it must be http://HOST:PORT"),
        ({"traces": {"a": ["0" * 32]}}, "which is no list of ids"),
        ({"traces": {"a": ["TRACE"]}}, "which is no list of ids"),
        ({"traces": {"a": TRACE}}, "which is no list of ids"),
    ],
)
def test_what_is_wrong_with_tempo_is_said(tempo: Tempo, options: dict[str, Any], message: str) -> None:
    if "{url}" in str(options.get("tempo_url")):
        options = {**options, "tempo_url": f"http://{tempo.address}/elsewhere"}
    result = ask(tempo, **options)
    assert result["failed"]
    assert message in result["msg"], result
    assert "token-7" not in str(result["msg"])


def test_traces_without_a_tempo_are_refused() -> None:
    result = run_module("trace_info", {"collector_url": "http://127.0.0.1:1/v1/traces", "traces": {"a": [TRACE]}})
    assert result["msg"] == "traces are looked up in a Tempo: give tempo_url."
