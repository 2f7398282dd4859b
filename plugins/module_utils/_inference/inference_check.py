# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sends golden requests to all targets in parallel and reports wrong answers.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import itertools
import threading
import time
import typing as t
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from ansible_collections.fastml.supersonic.plugins.module_utils._inference import certificate as inference_certificate
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import kserve_client
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.compare import (
    Comparison,
    Deviation,
    compare,
    larger,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.diagnosis import diagnose
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import (
    KINDS,
    Absence,
    Place,
    Resolver,
    Target,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.golden_requests import ExpectedError, Golden
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.kserve_client import (
    CallError,
    Client,
    Endpoint,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.rate_limit import Limit
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.tensor import Tensor
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.port_forward import CERTIFICATE_ASKED

# No probe that looks for the cause of a failure waits longer than this.
_PROBE_SECONDS = 3.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
_MOST_IN_MESSAGE = 6
# Requests to each server that are traced.
_TRACED = 3

Result = t.TypeVar("Result")

OK = "ok"
# What may be over in a moment, and is tried again while there is time.
PASSING = frozenset({"refused", "unreachable", "hang", "model_missing", "model_not_ready", "unavailable", "no_pod"})
LIMITED = "RESOURCE_EXHAUSTED"


class Failure(Exception):
    """The reason why a request failed: a status of the module's results and a sentence; scope: what shares it."""

    def __init__(
        self, status: str, reason: str, scope: str = "request", *, comparison: Comparison | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.scope = scope
        self.comparison = comparison


@dataclass(frozen=True)
class Settings:
    timeout: float
    wait: float = 0.0
    retry_wrong_answers: bool = False
    parallel: int = 8
    trace: bool = False


@dataclass
class Check:
    """The outcome of one golden request (all its repetitions) at one server."""

    layer: str
    target: str
    protocol: str
    model: str = ""
    golden: str = ""
    status: str = OK
    message: str = ""
    scope: str = "request"
    requests: int = 0
    latency_ms: float = 0.0
    absolute: Deviation | None = None
    relative: Deviation | None = None
    certificate: dict[str, t.Any] | None = None
    trace_id: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "layer": self.layer,
            "target": self.target,
            "protocol": self.protocol,
            "model": self.model or None,
            "golden": self.golden or None,
            "status": self.status,
            "message": self.message,
            "requests": self.requests,
            "latency_ms": round(self.latency_ms, 2) if self.latency_ms else None,
            "max_absolute": self.absolute.as_dict() if self.absolute else None,
            "max_relative": self.relative.as_dict() if self.relative else None,
            "certificate": self.certificate,
            "trace_id": self.trace_id or None,
        }


@dataclass(frozen=True)
class Question:
    """A call of a method other than inference; what its answer says is not judged, only that there is one."""

    name: str
    model: str = ""
    version: str = ""
    error: ExpectedError | None = None


class Line:
    """One server under check, with the clients that talk to it."""

    def __init__(self, target: Target, place: Place) -> None:
        self.target = target
        self.place = place
        # A failure of the server as a whole: the other requests need not find it out again.
        self.failure: Failure | None = None
        # Models that have answered here: what fails after that is broken, not late.
        self.answered: set[tuple[str, str]] = set()
        self._clients: dict[int, Client] = {}
        self._lock = threading.Lock()

    def client(self, number: int) -> Client:
        """One connection per repetition, so that a balancer in front sends them to different servers."""
        with self._lock:
            if number not in self._clients:
                self._clients[number] = kserve_client.open_client(self.place.endpoint)
            return self._clients[number]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


@dataclass
class Run:
    """Everything that the checks of one call share."""

    settings: Settings
    resolver: Resolver
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + self.settings.wait

    def left(self) -> float:
        return self.deadline - time.monotonic()


def check_all(
    targets: Sequence[Target], goldens: Sequence[Golden], resolver: Resolver, settings: Settings
) -> list[Check]:
    """Send every golden request to every server of every target; then try the limits, which others would feel."""
    if any(target.protocol == "grpc" for target in targets):
        kserve_client.load_grpc()
    run = Run(settings, resolver)
    # Targets wait for their servers in threads of their own, so that a late one does not hold up the others' requests.
    with ThreadPoolExecutor(settings.parallel) as pool, ThreadPoolExecutor(len(targets)) as waiting:
        others = [target for target in targets if target.limit is None]
        parts = waiting.map(lambda target: check_target(run, pool, target, goldens), others)
        checks = [check for part in parts for check in part]
    for target in targets:
        if target.limit is not None:
            checks += check_limits(run, target, target.limit, goldens)
    return checks


def check_target(run: Run, pool: ThreadPoolExecutor, target: Target, goldens: Sequence[Golden]) -> list[Check]:
    checks, lines = open_lines(run, target)
    requests = requests_of(target, goldens)
    try:
        # Of each server some requests: all of them could reach a limit of traces, and servers miss one now and then.
        traced = run.settings.trace
        pairs = [
            (line, request, traced and number < _TRACED) for line in lines for number, request in enumerate(requests)
        ]
        checks += pool.map(lambda pair: check_one(run, *pair), pairs)
        if target.certificate is not None:
            checks += [check_certificate(line, target.certificate) for line in lines if line.failure is None]
        return checks
    finally:
        for line in lines:
            line.close()


def open_lines(run: Run, target: Target) -> tuple[list[Check], list[Line]]:
    """The servers of a target, and the problems in resolving it."""
    places, absences = find_servers(run, target)
    missing = [
        Check(target.layer, absence.name, target.protocol, status="no_pod", message=absence.reason, scope="target")
        for absence in absences
    ]
    return missing, [Line(target, place) for place in places]


def requests_of(target: Target, goldens: Sequence[Golden]) -> list[Golden | Question]:
    """The requests to each server of a target: golden requests, or calls of the methods that it names."""
    if not target.methods:
        return [golden for golden in goldens if not target.models or golden.model in target.models]
    # In the order in which they are given, each once.
    models = target.models or tuple(dict.fromkeys(golden.model for golden in goldens))
    return [
        Question(method, model)
        for method in target.methods
        for model in (models if method in kserve_client.MODEL_METHODS else ("",))
    ]


def find_servers(run: Run, target: Target) -> tuple[list[Place], list[Absence]]:
    """The servers of a target, all of them if they appear in time."""
    pause = _FIRST_PAUSE
    while True:
        places, absences = run.resolver.resolve(target)
        left = run.left()
        if not absences or left <= 0:
            return places, absences
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)


def check_one(run: Run, line: Line, golden: Golden | Question, traced: bool = False) -> Check:
    """Send one request as often as the target asks for; the first failure ends it."""
    check = Check(line.target.layer, line.place.name, line.target.protocol, golden.model, golden.name)
    total = 0.0
    context: tuple[tuple[str, str], ...] = ()
    # What is refused reaches no server, and has no trace that tells anything.
    if traced and isinstance(golden, Golden) and not (line.target.expect_error or golden.error):
        check.trace_id, context = begin_trace()
    try:
        for number in range(line.target.repeat):
            # One call is one trace: that of the first.
            headers = context if number == 0 else ()
            seconds, comparison = attempt(run, line, partial(exchange, run, line, golden, number, headers), golden)
            total += seconds
            check.requests += 1
            check.latency_ms = total / check.requests * 1000
            check.absolute = larger(check.absolute, comparison.absolute)
            check.relative = larger(check.relative, comparison.relative)
    except Failure as failure:
        check.status, check.message, check.scope = failure.status, str(failure), failure.scope
        if failure.comparison:
            check.absolute = larger(check.absolute, failure.comparison.absolute)
            check.relative = larger(check.relative, failure.comparison.relative)
    return check


def begin_trace() -> tuple[str, tuple[tuple[str, str], ...]]:
    """A new trace that is to be sampled: its id, and the header that says so (https://www.w3.org/TR/trace-context)."""
    trace_id, span_id = uuid.uuid4().hex, uuid.uuid4().hex[:16]
    return trace_id, (("traceparent", f"00-{trace_id}-{span_id}-01"),)


def check_certificate(line: Line, wanted: inference_certificate.Wanted) -> Check:
    """Judge the certificate that a server has shown to the requests before."""
    check = Check(line.target.layer, line.place.name, line.target.protocol, golden="certificate", scope="target")
    der = line.place.endpoint.tunnels[0].certificate
    if der is None:
        check.status, check.message = "tls", "it has shown no certificate"
        return check
    found, now = inference_certificate.read(der), datetime.now(UTC)
    check.certificate = found.as_dict(now)
    check.message = wanted.problem(found, now)
    if check.message:
        check.status = "certificate"
    return check


def check_limits(run: Run, target: Target, limit: Limit, goldens: Sequence[Golden]) -> list[Check]:
    """Try a limit at every server of a target, one after the other."""
    checks, lines = open_lines(run, target)
    requests = requests_of(target, goldens)
    for line in lines:
        try:
            checks.append(check_limit(run, line, limit, requests))
        finally:
            line.close()
    return checks


def check_limit(run: Run, line: Line, limit: Limit, requests: Sequence[Golden | Question]) -> Check:
    """Send many requests at once and count who is answered; nothing is tried again."""
    check = Check(line.target.layer, line.place.name, line.target.protocol, golden="limit", scope="target")
    time.sleep(limit.pause)
    clients = [line.client(number) for number in range(limit.connections)]
    together = threading.Barrier(limit.requests)

    def send(client: Client, request: Golden | Question) -> tuple[str, str]:
        together.wait()
        try:
            send_request(client, request, run.settings.timeout)
        except CallError as exc:
            return exc.status, exc.message
        return OK, ""

    with ThreadPoolExecutor(limit.requests) as pool:
        senders = itertools.islice(
            zip(itertools.cycle(clients), itertools.cycle(requests), strict=False), limit.requests
        )
        outcomes = list(pool.map(lambda sender: send(*sender), senders))
    counts = Counter(status for status, said in outcomes)
    check.requests = counts[OK]
    others = [f"{said or 'without a message'} ({status})" for status, said in outcomes if status not in (OK, LIMITED)]
    if others:
        check.status = "error"
        check.message = f"of {limit.requests} requests at once {len(others)} failed in another way: {others[0]}"
    elif not limit.least <= counts[OK] <= limit.most:
        check.status = "limit"
        check.message = (
            f"of {limit.requests} requests at once {counts[OK]} were answered and {counts[LIMITED]} refused with "
            f"{LIMITED}; expected that {limit.least} to {limit.most} are answered"
        )
    return check


def attempt(run: Run, line: Line, send: Callable[[], Result], golden: Golden | Question) -> Result:
    """Send one request, again while its failure may pass and there is time.

    Only what is not there yet is waited for: a server that has answered for a model and then fails is not sound, and
    asking until it answers would hide that.
    """
    model = golden.model, golden.version
    pause = _FIRST_PAUSE
    while True:
        if line.failure is not None:
            raise line.failure
        # Asked before sending: another request may be the first to be answered while this one fails.
        answered = model in line.answered
        try:
            result = send()
        except Failure as failure:
            left = run.left()
            if failure.status in ("wrong_answer", "not_refused"):
                line.answered.add(model)
            may_pass = (
                (failure.status in PASSING and not answered)
                or failure.status == "limited"
                or (failure.status == "wrong_answer" and run.settings.retry_wrong_answers)
            )
            if not may_pass or left <= 0:
                if failure.scope == "target":
                    line.failure = failure
                raise
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            line.answered.add(model)
            return result


def call(run: Run, line: Line, golden: Golden) -> list[Tensor]:
    """Send one request and return the answer; raises Failure when there is none."""
    client = line.client(0)
    try:
        return client.infer(golden, run.settings.timeout)
    except CallError as exc:
        raise explain(client, line.place.endpoint, exc, run.settings.timeout, golden) from exc


def send_request(
    client: Client, request: Golden | Question, timeout: float, headers: Sequence[tuple[str, str]] = ()
) -> list[Tensor]:
    """Send a golden request and return its outputs, or call a method, which has none. Raises CallError."""
    if isinstance(request, Question):
        client.ask(request.name, request.model, timeout)
        return []
    return client.infer(request, timeout, headers)


def exchange(
    run: Run, line: Line, golden: Golden | Question, number: int, headers: Sequence[tuple[str, str]] = ()
) -> tuple[float, Comparison]:
    """Send one request. Returns how long it took and how the answer compares; raises Failure when that is wrong."""
    client = line.client(number)
    refusal = line.target.expect_error or golden.error
    started = time.monotonic()
    try:
        answer = send_request(client, golden, run.settings.timeout, headers)
    except CallError as exc:
        seconds = time.monotonic() - started
        failure = explain(client, line.place.endpoint, exc, run.settings.timeout, golden)
        if refusal and refusal.status == "UNAUTHENTICATED" and str(failure) == CERTIFICATE_ASKED:
            return seconds, Comparison()
        if refusal is None or failure.status in ("refused", "unreachable", "hang", "tls", "wrong_protocol"):
            raise failure from exc
        if exc.status == refusal.status and refusal.contains in exc.message:
            return seconds, Comparison()
        if failure.status in PASSING or failure.status == "limited":
            raise failure from exc
        wanted = refusal.status + (f" ({refusal.contains})" if refusal.contains else "")
        raise Failure("not_refused", f"refused with {exc.status} ({exc.message}), expected {wanted}") from exc
    seconds = time.monotonic() - started
    if refusal is not None:
        scope = "target" if line.target.expect_error else "request"
        raise Failure("not_refused", f"answered, but must be refused with {refusal.status}", scope)
    if isinstance(golden, Question):
        return seconds, Comparison()
    comparison = compare(golden.expected, answer, golden.tolerance)
    if comparison.problems:
        raise Failure("wrong_answer", "; ".join(comparison.problems), comparison=comparison)
    return seconds, comparison


def explain(
    client: Client, endpoint: Endpoint, error: CallError, timeout: float, golden: Golden | Question | None = None
) -> Failure:
    """Find out what is behind a failed call: the connection, the server, the model, or the request."""
    said = str(error)
    probe = min(timeout, _PROBE_SECONDS)
    if error.status == "UNAUTHENTICATED":
        return Failure("unauthorized", said, "target")
    if error.status == "PERMISSION_DENIED":
        return Failure("unauthorized", said, "model")
    if error.status == LIMITED:
        return Failure("limited", said)
    if error.status in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "UNKNOWN", "INTERNAL", "UNIMPLEMENTED", "CANCELLED"):
        found = diagnose(endpoint, probe)
        if found:
            return Failure(found.kind, found.reason, "target")
    if error.status == "DEADLINE_EXCEEDED":
        return explain_silence(client, timeout, probe)
    if error.status == "UNIMPLEMENTED":
        return Failure("wrong_protocol", f"no KServe v2 inference service answers there ({said})", "target")
    if error.status in ("NOT_FOUND", "UNAVAILABLE") or "unknown model" in error.message.lower():
        found_model = explain_model(client, golden, probe) if golden and golden.model else None
        if found_model:
            return found_model
        if error.status == "UNAVAILABLE":
            return Failure("unavailable", said, "target")
        return Failure("model_missing", said, "model")
    return Failure("error", said)


def explain_silence(client: Client, timeout: float, probe: float) -> Failure:
    try:
        client.live(probe)
    except CallError:
        return Failure("hang", f"it accepts connections but answers no request within {timeout:g} s", "target")
    return Failure("hang", f"the model does not answer within {timeout:g} s, although the server is live", "model")


def explain_model(client: Client, golden: Golden | Question, probe: float) -> Failure | None:
    """The entry of a model in the server's repository index, as a sentence."""
    try:
        index = client.index(probe)
    except CallError:
        return None
    entries = [entry for entry in index if entry["name"] == golden.model]
    if not entries:
        names = ", ".join(sorted({entry["name"] for entry in index})) or "none"
        return Failure("model_missing", f"the server has no such model; its models are {names}", "model")
    if golden.version:
        entries = [entry for entry in entries if entry.get("version") == golden.version]
        if not entries:
            return Failure("model_missing", f"the server has no version {golden.version} of it", "model")
    if any(entry.get("state") == "READY" for entry in entries):
        return None
    state, reason = entries[-1].get("state") or "not loaded", entries[-1].get("reason")
    return Failure("model_not_ready", f"it is {state}" + (f": {reason}" if reason else ""), "model")


def summarize(checks: Sequence[Check]) -> list[dict[str, t.Any]]:
    """One line per server: the table that a person reads first."""
    result: dict[tuple[str, str, str], dict[str, t.Any]] = {}
    for check in checks:
        line = result.setdefault(
            (check.layer, check.target, check.protocol),
            {
                "layer": check.layer,
                "target": check.target,
                "protocol": check.protocol,
                "checks": 0,
                "failed": 0,
                "models": [],
                "slowest_ms": None,
                "max_absolute": None,
                "max_relative": None,
                "certificate": None,
            },
        )
        line["certificate"] = check.certificate or line["certificate"]
        line["checks"] += 1
        line["failed"] += check.status != OK
        if check.model and check.model not in line["models"]:
            line["models"].append(check.model)
        if check.latency_ms:
            line["slowest_ms"] = max(line["slowest_ms"] or 0.0, round(check.latency_ms, 2))
        for key, deviation in (("max_absolute", check.absolute), ("max_relative", check.relative)):
            if deviation:
                value = deviation.as_dict()["value"]
                line[key] = max(line[key] or 0.0, value, key=float)
    return list(result.values())


def describe_failures(checks: Sequence[Check]) -> str:
    """The failures as sentences; those with one cause are reported once."""
    failed = [check for check in checks if check.status != OK]
    groups: dict[tuple[str, ...], list[Check]] = {}
    for check in failed:
        key: tuple[str, ...] = (check.layer, check.target, check.status, check.message)
        if check.scope != "target":
            key += (check.model,)
        if check.scope == "request":
            key += (check.golden,)
        groups.setdefault(key, []).append(check)
    sentences = [_sentence(group) for group in groups.values()]
    rest = len(sentences) - _MOST_IN_MESSAGE
    if rest > 0:
        sentences = [*sentences[:_MOST_IN_MESSAGE], f"and {rest} more"]
    return f"{len(failed)} of {len(checks)} inference checks failed. " + "; ".join(sentences) + "."


def _sentence(group: Sequence[Check]) -> str:
    first = group[0]
    where = first.target if first.layer in KINDS else f"{first.layer} ({first.target})"
    if first.scope == "target":
        return f"{where}: {first.message.rstrip('.')}"
    what = f"model {first.model}"
    if first.golden in kserve_client.METHODS:
        what = f"method {first.golden}" + (f" of model {first.model}" if first.model else "")
    elif first.scope == "request":
        what += f", golden request {first.golden}"
    return f"{where}: {what}: {first.message.rstrip('.')}"
