# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One server with a new release, compared with the servers of the pool before it takes their place.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Times are the servers' own, from Triton's statistics extension: the time that a request is executed, without its time
in the queue, which depends on the load that a server happens to get.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils import _kserve
from ansible_collections.fastml.supersonic.plugins.module_utils._compare import Deviation, compare, larger
from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._golden import Golden
from ansible_collections.fastml.supersonic.plugins.module_utils._kserve import CallError, Client
from ansible_collections.fastml.supersonic.plugins.module_utils._model_servers import labels_of
from ansible_collections.fastml.supersonic.plugins.module_utils._targets import Place, Resolver, Target

_MERGE = "application/merge-patch+json"
_MANAGER = "fastml.supersonic.models"
_LOOK_SECONDS = 1.0
# Differences below this many milliseconds are not the model's.
_NOISE_MS = 1.0
# A server may fail so much larger a share of its requests than the others: clients send wrong ones to everybody.
_SHARE = 0.01


@dataclass(frozen=True)
class Canary:
    """Which servers it is compared with, and what it may cost."""

    servers: Mapping[str, t.Any]
    # How long it serves together with them, in seconds.
    seconds: float
    # How much longer than theirs its execution of a request may take.
    latency_ratio: float
    # How often each golden request is sent to each of the two servers.
    samples: int


@dataclass
class Counts:
    """What servers have done for one model since they started."""

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
    """One model, on the canary and on the others."""

    model: str
    new: Counts
    old: Counts
    deviation: Deviation | None

    @property
    def ratio(self) -> float | None:
        if self.new.milliseconds is None or not self.old.milliseconds:
            return None
        return self.new.milliseconds / self.old.milliseconds

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "model": self.model,
            "requests": self.new.requests,
            "failed": self.new.failed,
            "latency_ms": _rounded(self.new.milliseconds),
            "old_requests": self.old.requests,
            "old_latency_ms": _rounded(self.old.milliseconds),
            "latency_ratio": _rounded(self.ratio),
            "deviation": self.deviation.as_dict() if self.deviation else None,
        }

    def problem(self, latency_ratio: float) -> str | None:
        """Why the release must not be served, if this model is the reason."""
        if self.new.failed_share > self.old.failed_share + _SHARE:
            return (
                f"model {self.model} failed {self.new.failed} of {self.new.requests + self.new.failed} requests, on "
                f"the other servers {self.old.failed} of {self.old.requests + self.old.failed}"
            )
        new, old, ratio = self.new.milliseconds, self.old.milliseconds, self.ratio
        if new is None or old is None or ratio is None or new - old < _NOISE_MS or ratio <= latency_ratio:
            return None
        return (
            f"model {self.model} takes {new:.2f} ms for a request, {ratio:.2f} times as long as before "
            f"({old:.2f} ms), allowed are {latency_ratio:g} times"
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def compare_with_pool(
    canary: Canary,
    resolver: Resolver,
    target: Target,
    goldens: Sequence[Golden],
    labels: Mapping[str, str],
    timeout: float,
) -> dict[str, t.Any]:
    """Send golden requests to both, then let the new server serve with the others, and judge it.

    Raises SupersonicError when it is too slow or fails requests that the others answer. labels make a pod one of the
    pool. Where the pool has no server there is nothing to compare with.
    """
    place = {"namespace": canary.servers["namespace"], "labels": labels_of(canary.servers), "min": 0}
    others = Target("selector", place, "pool", "http")
    old_places, _absent = resolver.resolve(others)
    (new_place,), _absent = resolver.resolve(target)
    if not old_places:
        return {"compared": False, "models": []}
    with _clients([new_place, *old_places]) as (new, *old):
        before = [_ask(client, timeout) for client in (new, *old)]
        deviations = _send_both(canary, new, old[0], [golden for golden in goldens if golden.error is None], timeout)
        _join(resolver, target, labels)
        _serve(canary, resolver, target)
        after = [_ask(client, timeout) for client in (new, *old)]
    if before[0] is None or after[0] is None:
        raise SupersonicError(f"One server served it, but {new_place.name} does not tell its statistics.")
    served = _difference(after[0], before[0])
    others_served: dict[str, Counts] = {}
    for earlier, later in zip(before[1:], after[1:], strict=True):
        # One that went meanwhile, with the demand, is left out.
        if earlier is None or later is None:
            continue
        for model, found in _difference(later, earlier).items():
            others_served[model] = others_served.get(model, Counts()) + found
    reports = [
        Report(model, served[model], others_served.get(model, Counts()), deviations.get(model))
        for model in sorted(served)
    ]
    problems = [problem for report in reports if (problem := report.problem(canary.latency_ratio))]
    if problems:
        raise SupersonicError(f"One server served it and did worse than the others: {'; '.join(problems)}.")
    return {"compared": True, "models": [report.as_dict() for report in reports]}


@contextmanager
def _clients(places: Sequence[Place]) -> Iterator[list[Client]]:
    clients = [_kserve.open_client(place.endpoint) for place in places]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def _send_both(
    canary: Canary, new: Client, old: Client, goldens: Sequence[Golden], timeout: float
) -> dict[str, Deviation]:
    """Send every golden request to both servers in turn, and say how far apart their answers are."""
    deviations: dict[str, Deviation] = {}
    for golden in goldens:
        for _number in range(canary.samples):
            try:
                answers = old.infer(golden, timeout), new.infer(golden, timeout)
            except CallError:
                # The new one has answered in the test load; the old one need not know this model or request.
                break
            found = larger(deviations.get(golden.model), compare(*answers, golden.tolerance).absolute)
            if found:
                deviations[golden.model] = found
    return deviations


def _join(resolver: Resolver, target: Target, labels: Mapping[str, str]) -> None:
    """Make the pod one of the pool: Services and whoever balances behind them find it by its labels."""
    path = f"/api/v1/namespaces/{target.place['namespace']}/pods/{target.place['name']}"
    body = {"metadata": {"labels": dict(labels)}}
    resolver.api.call("PATCH", path, str(target), query={"fieldManager": _MANAGER}, body=body, content_type=_MERGE)


def _serve(canary: Canary, resolver: Resolver, target: Target) -> None:
    """Let it serve, and end that at once when it dies."""
    over = time.monotonic() + canary.seconds
    while (left := over - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK_SECONDS))
        _places, absences = resolver.resolve(target)
        if absences:
            raise SupersonicError(f"One server served it and ended: {absences[0].reason.rstrip('.')}.")


def _ask(client: Client, timeout: float) -> dict[str, Counts] | None:
    try:
        return counts(client.statistics(timeout))
    except CallError:
        return None


def _difference(later: Mapping[str, Counts], earlier: Mapping[str, Counts]) -> dict[str, Counts]:
    return {model: found - earlier.get(model, Counts()) for model, found in later.items()}
