# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares one server with a new release with the other servers of the pool before they take it.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Times are the servers' own, from Triton's statistics extension: the time that a request is executed, without its time
in the queue, which depends on the load that a server happens to get.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._inference import kserve_client
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.compare import Comparison, compare
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import (
    Place,
    Resolver,
    Target,
    why_not_running,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.golden_requests import Golden
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.kserve_client import CallError, Client
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.readiness import condition_of
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_servers import labels_of
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import CanaryError, TrialError

_WORSE = "A server with it did worse than the others"
_LOOK_SECONDS = 1.0
# Until the kubelet has found a server ready that has answered golden requests already.
_READY_SECONDS = 60.0
_NOT_READY = "it is not ready"
# Differences below this many milliseconds are not the model's.
_NOISE_MS = 1.0
# A server may fail so much larger a share of its requests than the others, and so many: clients send wrong requests to
# everybody.
_SHARE = 0.01
_FEW = 3
# Fewer requests say nothing about a time.
LEAST = 10
GOLDEN, USERS = "golden requests", "users' requests"


@dataclass(frozen=True)
class Canary:
    """The servers that the canary is compared with, and the limits of the comparison."""

    servers: Mapping[str, t.Any]
    # How long it serves together with them, in seconds.
    seconds: float
    # How much longer than theirs its execution of a request may take.
    latency_ratio: float
    # How often each golden request is sent to each of the two servers.
    samples: int


@dataclass
class Counts:
    """The counters of one model over several servers since they started."""

    requests: int = 0
    failed: int = 0
    nanoseconds: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.requests + other.requests, self.failed + other.failed, self.nanoseconds + other.nanoseconds)

    def __sub__(self, other: Counts) -> Counts:
        return Counts(self.requests - other.requests, self.failed - other.failed, self.nanoseconds - other.nanoseconds)

    @property
    def milliseconds(self) -> float | None:
        return self.nanoseconds / self.requests / 1e6 if self.requests > 0 else None

    @property
    def failed_share(self) -> float:
        total = self.requests + self.failed
        return self.failed / total if total > 0 else 0.0


_NOTHING = (Counts(), Counts())


def counts(statistics: Sequence[Mapping[str, t.Any]]) -> dict[str, Counts]:
    """Sums over all versions of a model, from the answer to a request for statistics."""
    found: dict[str, Counts] = {}
    for entry in statistics:
        stats = entry.get("inference_stats") or {}
        number = _number(stats, "success", "count")
        executed = sum(_number(stats, part, "ns") for part in ("compute_input", "compute_infer", "compute_output"))
        # An ensemble executes nothing itself.
        executed = executed or _number(stats, "success", "ns") - _number(stats, "queue", "ns")
        found[entry["name"]] = found.get(entry["name"], Counts()) + Counts(
            number, _number(stats, "fail", "count"), executed
        )
    return found


def _number(stats: Mapping[str, t.Any], part: str, field_name: str) -> int:
    return int((stats.get(part) or {}).get(field_name) or 0)


@dataclass
class Report:
    """One model, on the canary and on the others: its golden requests, sent to both in turn, and those of users."""

    model: str
    golden: tuple[Counts, Counts]
    users: tuple[Counts, Counts]
    comparison: Comparison | None

    def as_dict(self) -> dict[str, t.Any]:
        found = self.comparison
        return {
            "model": self.model,
            "golden": _told(*self.golden),
            "users": _told(*self.users),
            "deviation": found.absolute.as_dict() if found and found.absolute else None,
            "differences": found.problems if found else [],
        }

    def failing(self) -> str | None:
        """Whether users' requests fail that would not fail on the other servers."""
        new, old = self.users
        if new.failed < _FEW or new.failed_share <= old.failed_share + _SHARE:
            return None
        return (
            f"model {self.model} failed {new.failed} of {new.requests + new.failed} requests, on the other servers "
            f"{old.failed} of {old.requests + old.failed}"
        )

    def slow(self, latency_ratio: float) -> str | None:
        """Whether it takes too long, when both sides have had the same golden requests, or enough of users."""
        for what, (new, old) in (("golden", self.golden), ("user's", self.users)):
            if not comparable(new, old):
                continue
            mine, theirs = new.nanoseconds / new.requests / 1e6, old.nanoseconds / old.requests / 1e6
            if mine - theirs >= _NOISE_MS and mine > latency_ratio * theirs:
                return (
                    f"model {self.model} takes {mine:.2f} ms for a {what} request, {mine / theirs:.2f} times as long "
                    f"as on the others ({theirs:.2f} ms), allowed are {latency_ratio:g} times"
                )
        return None


def comparable(new: Counts, old: Counts) -> bool:
    """Whether the times of both say something."""
    return min(new.requests, old.requests) >= LEAST and old.nanoseconds > 0


def summary(reports: Sequence[Report]) -> dict[str, t.Any]:
    """The result of the canary, and the requests by which times were compared."""
    by = [
        kind
        for kind, found in ((GOLDEN, [r.golden for r in reports]), (USERS, [r.users for r in reports]))
        if any(comparable(new, old) for new, old in found)
    ]
    return {"compared": bool(by), "compared_by": by, "models": [report.as_dict() for report in reports]}


def _told(new: Counts, old: Counts) -> dict[str, t.Any]:
    ratio = new.milliseconds / old.milliseconds if new.milliseconds and old.milliseconds else None
    return {
        "compared": comparable(new, old),
        "requests": new.requests,
        "failed": new.failed,
        "latency_ms": _rounded(new.milliseconds),
        "old_requests": old.requests,
        "old_failed": old.failed,
        "old_latency_ms": _rounded(old.milliseconds),
        "latency_ratio": _rounded(ratio),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def compare_with_pool(
    canary: Canary,
    resolver: Resolver,
    target: Target,
    goldens: Sequence[Golden],
    join: Callable[[float], None],
    timeout: float,
) -> dict[str, t.Any]:
    """Send golden requests to both, then let the new server serve with the others, and judge it.

    join makes it one of the pool for so many seconds. Raises CanaryError when the new server is too slow, or fails
    requests that the others answer. Where the pool has no server that answers there is nothing to compare with.
    """
    place = {"namespace": canary.servers["namespace"], "labels": labels_of(canary.servers), "min": 0}
    old_places, _absent = resolver.resolve(Target("selector", place, "pool", "http"))
    new_places, absences = resolver.resolve(target)
    if absences:
        raise CanaryError(
            f"The server on trial has ended: {absences[0].reason.rstrip('.')}. It was not compared with any other yet."
        )
    with _clients([*new_places, *old_places]) as (new, *others):
        pool = Pool(new, [client for client in others if _ask(client, timeout) is not None], timeout)
        if not pool.others:
            return {**summary([]), "others": 0}
        sent = sum(golden.error is None for golden in goldens)
        compared = f"Compared by golden requests ({sent}, each sent {canary.samples} times to it and to another)"
        with _said(f"{compared}; users sent it nothing."):
            golden, comparisons = compare_by_golden(canary, pool, goldens)
            middle = pool.look()
            # Before it gets requests of users.
            _raise_if_slow([Report(model, found, _NOTHING, None) for model, found in golden.items()], canary)
        users_of = f"users' requests (to it and to {len(pool.others)} more, for {canary.seconds:g} s at most)"
        with _said(f"{compared} and {users_of}."):
            join(canary.seconds)
            _wait_until_ready(resolver, target)
            over = time.monotonic() + canary.seconds
            while True:
                left = over - time.monotonic()
                time.sleep(max(min(left, _LOOK_SECONDS), 0))
                _raise_if_not_ready(resolver, target)
                users = difference(middle, pool.look())
                reports = [
                    Report(model, golden.get(model, _NOTHING), users[model], comparisons.get(model))
                    for model in sorted(users)
                ]
                failing = [found for report in reports if (found := report.failing())]
                if failing:
                    raise TrialError(f"{_WORSE}: {'; '.join(failing)}.")
                if left <= 0:
                    break
            _raise_if_slow(reports, canary)
    return {**summary(reports), "others": len(pool.others)}


@contextmanager
def _said(compared: str) -> Iterator[None]:
    """A release that fails here has failed as a canary; whoever reads that wants to know what it was compared by."""
    try:
        yield
    except TrialError as exc:
        raise CanaryError(f"{exc} {compared}") from exc


@contextmanager
def _clients(places: Sequence[Place]) -> Iterator[list[Client]]:
    clients = [kserve_client.open_client(place.endpoint) for place in places]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


Look = list["dict[str, Counts] | None"]


@dataclass(frozen=True)
class Pool:
    """The new server and those that serve already."""

    new: Client
    others: Sequence[Client]
    timeout: float

    def look(self) -> Look:
        """The counters of each server, the new one first; None for one that was scaled down."""
        found = [_ask(client, self.timeout) for client in (self.new, *self.others)]
        if found[0] is None:
            raise TrialError("The server on trial does not tell its statistics any more.")
        return found


def difference(earlier: Look, later: Look, only: int | None = None) -> dict[str, tuple[Counts, Counts]]:
    """The difference of the counters of the new server and of the others (all, or one), by model."""
    mine = _between(earlier[0] or {}, later[0] or {})
    theirs: dict[str, Counts] = {}
    pairs = list(zip(earlier[1:], later[1:], strict=True))
    for before, after in pairs if only is None else [pairs[only]]:
        if before is None or after is None:
            continue
        for model, found in _between(before, after).items():
            # A server that was started anew in between counts from nothing.
            if found.requests >= 0:
                theirs[model] = theirs.get(model, Counts()) + found
    return {model: (found, theirs.get(model, Counts())) for model, found in mine.items()}


def _between(earlier: Mapping[str, Counts], later: Mapping[str, Counts]) -> dict[str, Counts]:
    return {model: found - earlier.get(model, Counts()) for model, found in later.items()}


class _Gone(Exception):
    """The other server went, as autoscalers let them."""


def compare_by_golden(
    canary: Canary, pool: Pool, goldens: Sequence[Golden]
) -> tuple[dict[str, tuple[Counts, Counts]], dict[str, Comparison]]:
    """The times of the new server and of another one for golden requests, and the difference of their answers.

    Nothing when all others have gone: that is told, and users' requests are not compared with anything then either.
    """
    for index, old in enumerate(pool.others):
        start = pool.look()
        with suppress(_Gone):
            comparisons = _send_both(canary, pool, old, goldens)
            end = pool.look()
            if start[index + 1] is not None and end[index + 1] is not None:
                return difference(start, end, only=index), comparisons
    return {}, {}


def _send_both(canary: Canary, pool: Pool, other: Client, goldens: Sequence[Golden]) -> dict[str, Comparison]:
    """Send every golden request to both servers in turn, and say how far apart their answers are.

    Not those that have to be refused: nothing is executed for them.
    """
    found: dict[str, Comparison] = {}
    for golden in goldens:
        if golden.error is not None:
            continue
        for _sample in range(canary.samples):
            try:
                answer = pool.new.infer(golden, pool.timeout)
            except CallError as exc:
                raise TrialError(
                    f"The server on trial answered model {golden.model}, golden request {golden.name}, once, but not "
                    f"again: {str(exc).rstrip('.')}."
                ) from exc
            wrong = compare(golden.expected, answer, golden.tolerance).problems
            if wrong:
                raise TrialError(
                    f"The server on trial answers model {golden.model}, golden request {golden.name}, rightly not "
                    f"every time: {'; '.join(wrong)}."
                )
            try:
                old = other.infer(golden, pool.timeout)
            except CallError as exc:
                if _ask(other, pool.timeout) is None:
                    raise _Gone from exc
                # It need not know this model, or this request.
                continue
            found.setdefault(golden.model, Comparison()).merge(compare(old, answer, golden.tolerance))
    return found


def _raise_if_slow(reports: Sequence[Report], canary: Canary) -> None:
    slow = [found for report in reports if (found := report.slow(canary.latency_ratio))]
    if slow:
        raise TrialError(f"{_WORSE}: {'; '.join(slow)}.")


def _wait_until_ready(resolver: Resolver, target: Target) -> None:
    """Wait for the first readiness of a running server. Returns early if it has ended, and at last without it."""
    over = time.monotonic() + _READY_SECONDS
    while time.monotonic() < over:
        try:
            _raise_if_not_ready(resolver, target)
        except TrialError as error:
            if not str(error).endswith(f"{_NOT_READY}."):
                return
            time.sleep(_LOOK_SECONDS)
        else:
            return


def _raise_if_not_ready(resolver: Resolver, target: Target) -> None:
    """A server that ends, or that gets no requests since it is not ready, passes nothing."""
    path = f"/api/v1/namespaces/{target.place['namespace']}/pods/{target.place['name']}"
    pod = resolver.api.find(path, str(target))
    reason = "it was removed" if pod is None else why_not_running(pod)
    if pod is not None and reason is None and (condition_of(pod, "Ready") or {}).get("status") != "True":
        reason = _NOT_READY
    if reason:
        raise TrialError(f"One server served it and did not stay: {reason.rstrip('.')}.")


def _ask(client: Client, timeout: float) -> dict[str, Counts] | None:
    try:
        return counts(client.statistics(timeout))
    except CallError:
        return None
