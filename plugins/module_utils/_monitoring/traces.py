# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks that spans arrive at the collector and that traces are complete.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
import time
import typing as t
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.http_client import Web

TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
# A request without spans is one that a collector answers with 200 and forgets.
_NO_SPANS = b'{"resourceSpans":[]}'
_COUNTER = re.compile(
    r"^otelcol_(?P<part>receiver|exporter)_(?P<what>accepted|refused|sent|send_failed)_spans(_total)?"
    r"(\{[^}]*\})? (?P<value>[0-9.eE+-]+)",
    re.M,
)
_COUNTERS = {
    ("receiver", "accepted"): "accepted",
    ("receiver", "refused"): "refused",
    ("exporter", "sent"): "sent",
    ("exporter", "send_failed"): "failed",
}
_POLL_SECONDS = 0.5
_LIMITED = (
    "Clients that sample many requests may have used up what Envoy passes on in a second "
    "(envoy_tracing.requests_per_second)."
)


# ---- spans -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Span:
    """A span, its ids in hexadecimal; parent_id is empty where it has none."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    service: str


def spans_of(document: Mapping[str, t.Any]) -> Iterator[Span]:
    """The spans of an OTLP document in JSON, or of an answer of Tempo, which calls the parts of one batches."""
    inner = document.get("trace")
    whole = inner if isinstance(inner, Mapping) else document
    for part in whole.get("resourceSpans") or whole.get("batches") or []:
        attributes = {str(item["key"]): item["value"] for item in (part.get("resource") or {}).get("attributes") or []}
        service = str((attributes.get("service.name") or {}).get("stringValue", ""))
        for scope in part.get("scopeSpans") or part.get("instrumentationLibrarySpans") or []:
            for span in scope.get("spans") or []:
                yield Span(
                    _hexadecimal(span["traceId"], 16),
                    _hexadecimal(span["spanId"], 8),
                    _hexadecimal(span.get("parentSpanId") or "", 8),
                    str(span.get("name", "")),
                    service,
                )


def _hexadecimal(text: str, size: int) -> str:
    """OTLP writes ids in hexadecimal, the JSON of protocol buffers (and so Tempo) in base64."""
    if not text or re.fullmatch(rf"[0-9a-fA-F]{{{2 * size}}}", text):
        found = text.lower()
    else:
        found = base64.b64decode(text).hex()
    return "" if set(found) <= {"0"} else found


def problems_of(spans: Sequence[Span], services: Sequence[str]) -> list[str]:
    """The missing spans of a trace that passes these services, each called by the one before it."""
    known = {span.span_id: span for span in spans}
    present = {span.service for span in spans}
    missing = [name for name in services if name not in present]
    found = [f"it has no span of {name}" for name in missing]
    # The client's own span may be told to others, but then all that are below it have one parent.
    outside = {span.parent_id for span in spans if span.parent_id not in known}
    if len(outside) > 1:
        found.append(f"its spans do not hang together: {len(outside)} of their parents are missing")
    for caller, called in itertools.pairwise(services):
        below = [span for span in spans if span.service == called and span.parent_id in known]
        if {caller, called} <= present and not any(known[span.parent_id].service == caller for span in below):
            found.append(f"no span of {called} is below one of {caller}")
    return found


# ---- who is asked ----------------------------------------------------------------------------------------------------
class Collector(Web):
    """A collector that takes OTLP over HTTP, at the path of its address."""

    name = "The collector"

    def takes_spans(self) -> None:
        """Raise SupersonicError unless it does."""
        status, _headers, body = self.request(self.address.path or "/v1/traces", _NO_SPANS)
        if status != 200:
            said = body[:200].decode(errors="replace").strip()
            raise SupersonicError(
                f"The collector ({self.address}) does not take spans there: it answered {status}"
                f"{f' ({said})' if said else ''}. The URL ends in /v1/traces, and the port is that of OTLP over HTTP, "
                "mostly 4318."
            )


class CollectorMetrics(Web):
    """The metrics of a collector about itself."""

    name = "The collector's metrics"

    def counters(self) -> dict[str, int]:
        """Spans that were accepted and refused, sent on and not."""
        status, _headers, body = self.request(f"{self.address.path}/metrics")
        if status != 200:
            raise SupersonicError(f"The collector's metrics ({self.address}) are not there: it answered {status}.")
        return read_counters(body.decode(errors="replace"))


def read_counters(page: str) -> dict[str, int]:
    """Of a page of metrics; what has not happened yet is 0."""
    found = dict.fromkeys(_COUNTERS.values(), 0)
    for match in _COUNTER.finditer(page):
        name = _COUNTERS.get((match["part"], match["what"]))
        if name:
            found[name] += int(float(match["value"]))
    return found


class Tempo(Web):
    """The HTTP interface of Tempo: https://grafana.com/docs/tempo/latest/api_docs."""

    name = "Tempo"

    def answers(self) -> None:
        """Raise SupersonicError unless it does."""
        self._get("/api/echo", "a test")

    def trace(self, trace_id: str) -> list[Span]:
        """The spans that it has of a trace so far."""
        body = self._get(f"/api/traces/{trace_id}", "a trace", missing=True)
        if body is None:
            return []
        try:
            return list(spans_of(json.loads(body)))
        except (ValueError, LookupError, TypeError, AttributeError) as exc:
            raise SupersonicError(f"Tempo ({self.address}) answers with what is no trace: {exc}.") from exc

    def _get(self, path: str, what: str, *, missing: bool = False) -> bytes | None:
        status, headers, body = self.request(f"{self.address.path}{path}")
        if status == 200:
            return body
        if status == 404 and missing and b"<html" not in body[:200].lower():
            return None
        where = f"Tempo ({self.address})"
        if status in (401, 403):
            sent = "does not accept the token" if "Authorization" in self.headers else "wants a token (tempo_token)"
            raise SupersonicError(f"{where} {sent}: it answered {status} to {what}.")
        if 300 <= status < 400:
            place = headers.get("Location", "elsewhere")
            raise SupersonicError(f"{where} sends us to {place}: is a log-in in front of it? Give the URL behind it.")
        raise SupersonicError(
            f"{where} answered {status} to {what}: {body[:200].decode(errors='replace').strip() or 'nothing'}."
        )


# ---- waiting ---------------------------------------------------------------------------------------------------------
Result = t.TypeVar("Result")


def until(look: Callable[[], tuple[Result, list[str]]], seconds: float) -> tuple[Result, list[str]]:
    """Call look() until it reports no problem or the time is over; return its last result. Errors are retried."""
    limit = time.monotonic() + seconds
    while True:
        try:
            found = look()
        except SupersonicError:
            if time.monotonic() >= limit:
                raise
        else:
            if not found[1] or time.monotonic() >= limit:
                return found
        time.sleep(min(_POLL_SECONDS, max(limit - time.monotonic(), 0.0)))


def answered(open_web: Callable[[], Collector | Tempo], seconds: float) -> None:
    """Wait until it answers; each try finds its own way there, since a pod may be another one by then."""

    def look() -> tuple[None, list[str]]:
        with contextlib.closing(open_web()) as web:
            if isinstance(web, Collector):
                web.takes_spans()
            else:
                web.answers()
        return None, []

    until(look, seconds)


def grown(
    open_web: Callable[[], CollectorMetrics], before: Mapping[str, t.Any], seconds: float
) -> tuple[dict[str, int], list[str]]:
    """The counters, and whether spans were accepted since, and sent on where others were. before: {} to only read."""

    def look() -> tuple[dict[str, int], list[str]]:
        with contextlib.closing(open_web()) as web:
            now = web.counters()
        return now, list(_not_grown(now, before)) if before else []

    return until(look, seconds)


def _not_grown(now: Mapping[str, int], before: Mapping[str, t.Any]) -> Iterator[str]:
    if now["accepted"] <= int(before.get("accepted", 0)):
        yield f"the collector has accepted no span since (it counts {now['accepted']})"
    if now["refused"] > int(before.get("refused", 0)):
        yield f"the collector has refused {now['refused'] - int(before.get('refused', 0))} span(s)"
    if now["failed"] > int(before.get("failed", 0)):
        yield f"the collector could not send {now['failed'] - int(before.get('failed', 0))} span(s) on"


def look_up(
    open_web: Callable[[], Tempo],
    wanted: Mapping[str, Sequence[str]],
    services: Sequence[str],
    seconds: float,
    direct: Mapping[str, Sequence[str]] | None = None,
) -> tuple[dict[str, dict[str, t.Any]], list[str], dict[str, str]]:
    """The spans of each trace, the senders without a complete trace, and those of them for which that is no error.

    A gateway that limits how many traces reach the servers leaves of the others its own spans alone. That is no error
    where servers that were asked without it (direct) have sent theirs.
    """

    def look() -> tuple[tuple[dict[str, dict[str, t.Any]], dict[str, str], list[str]], list[str]]:
        traces: dict[str, dict[str, t.Any]] = {}
        problems: dict[str, str] = {}
        limited: list[str] = []
        with contextlib.closing(open_web()) as tempo:

            def sends(trace_ids: Sequence[str]) -> bool:
                return any(span.service == services[-1] for trace_id in trace_ids for span in tempo.trace(trace_id))

            for sender, trace_ids in wanted.items():
                ends = []
                for trace_id in trace_ids:
                    spans = tempo.trace(trace_id)
                    ends += [_ends_at_the_first(spans, services)] if spans else []
                    traces[trace_id] = {
                        "sender": sender,
                        "spans": len(spans),
                        "services": sorted({span.service for span in spans}),
                        "problems": problems_of(spans, services) if spans else ["nothing of it is there"],
                    }
                if all(traces[trace_id]["problems"] for trace_id in trace_ids):
                    told = "; ".join(f"{name}: {', '.join(traces[name]['problems'])}" for name in trace_ids)
                    problems[sender] = f"Of {sender} no trace is whole ({told or 'there is none'})."
                    if ends and all(ends):
                        limited.append(sender)
                        problems[sender] += f" {_LIMITED}"
            if limited and not (direct and all(sends(trace_ids) for trace_ids in direct.values())):
                limited = []
        return (traces, problems, limited), list(problems.values())

    (traces, problems, limited), _texts = until(look, seconds)
    wrong = [text for sender, text in problems.items() if sender not in limited]
    return traces, wrong, {sender: problems[sender] for sender in limited}


def _ends_at_the_first(spans: Sequence[Span], services: Sequence[str]) -> bool:
    """Whether a trace is whole as far as the first of several services, and has nothing else."""
    first = services[:1]
    return len(services) > 1 and {span.service for span in spans} == set(first) and not problems_of(spans, first)
