# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Schedules the clients of a benchmark and summarizes their latencies and errors.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Times are in seconds since the load began. A client sends one request after the other (a closed loop).
"""

from __future__ import annotations

import itertools
import math
import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError

# One process of perf_analyzer for each client loses the least when a request fails, since that ends it.
MOST_PROCESSES = 16
_BEGIN = re.compile(r'"timestamp":([0-9]+)')
_ANSWERS = re.compile(r',"response_timestamps":\[([0-9,]*)')
_FAILED = re.compile(r"Thread \[[0-9]+\] had error: (.*)")


@dataclass(frozen=True)
class Step:
    """So many clients for so long."""

    clients: int
    seconds: float


@dataclass(frozen=True)
class Share:
    """Clients that are there from one time to another."""

    clients: int
    begin: float
    end: float


class Request(t.NamedTuple):
    """One request: the time at which it was sent, and its latency."""

    begin: float
    seconds: float


def parse_profile(entries: Sequence[Mapping[str, t.Any]], where: str) -> list[Step]:
    """The steps of a profile as the user writes it."""
    steps = [Step(int(entry["clients"]), float(entry["seconds"])) for entry in entries]
    for index, step in enumerate(steps):
        if step.clients < 0:
            raise SupersonicError(f"{where}[{index}].clients is {step.clients}; it must be 0 or more.")
        if not 0 < step.seconds < math.inf:
            raise SupersonicError(f"{where}[{index}].seconds is {step.seconds:g}; it must be more than 0.")
    if not any(step.clients for step in steps):
        raise SupersonicError(f"{where} has no step with clients, so there would be no load.")
    return steps


def changes(profile: Sequence[Step]) -> list[tuple[float, int]]:
    """The times at which the number of clients changes, and the new numbers; the first is the start."""
    found: list[tuple[float, int]] = []
    now = 0.0
    for step in profile:
        if not found or found[-1][1] != step.clients:
            found.append((now, step.clients))
        now += step.seconds
    return found


def length(profile: Sequence[Step]) -> float:
    return sum(step.seconds for step in profile)


def shares(profile: Sequence[Step]) -> list[Share]:
    """The profile as clients that come and go. Whoever came last goes first, so that the others never pause."""
    there: list[tuple[int, float]] = []
    done: list[Share] = []
    for now, wanted in [*changes(profile), (length(profile), 0)]:
        missing = wanted - sum(clients for clients, _begin in there)
        if missing > 0:
            there.append((missing, now))
        while missing < 0:
            clients, begin = there.pop()
            leaving = min(clients, -missing)
            done.append(Share(leaving, begin, now))
            if clients > leaving:
                there.append((clients - leaving, begin))
            missing += leaving
    return sorted(done, key=lambda share: (share.begin, -share.end))


def processes(share: Share) -> list[Share]:
    """The same clients, spread over processes of perf_analyzer."""
    count = min(share.clients, MOST_PROCESSES)
    return [
        Share(share.clients // count + (number < share.clients % count), share.begin, share.end)
        for number in range(count)
    ]


# ---- what perf_analyzer says -------------------------------------------------------------------------------------


def parse_times(lines: Iterable[str]) -> list[tuple[int, int]]:
    """Begin and end of each request in nanoseconds, from the pieces of a profile export that name them.

    A request of several answers ends with the last one.
    """
    found: list[tuple[int, int]] = []
    begin: int | None = None
    for line in lines:
        if match := _BEGIN.match(line):
            begin = int(match[1])
        elif (match := _ANSWERS.match(line)) and match[1] and begin is not None:
            found.append((begin, int(match[1].rpartition(",")[2])))
            begin = None
    return found


def failures(output: str) -> list[str]:
    """The reasons why requests failed. perf_analyzer reports the first failure of each thread, and the thread ends."""
    return [match[1].strip() for match in _FAILED.finditer(output)]


# ---- statistics --------------------------------------------------------------------------------------------------


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of all values does not exceed (nearest rank)."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def latency(requests: Iterable[Request]) -> dict[str, t.Any]:
    """Number of requests, and their latency in milliseconds; None where there were none."""
    ordered = sorted(request.seconds * 1000 for request in requests)
    if not ordered:
        return {"requests": 0, "mean_ms": None, "p50_ms": None, "p99_ms": None, "max_ms": None}
    return {
        "requests": len(ordered),
        "mean_ms": round(math.fsum(ordered) / len(ordered), 3),
        "p50_ms": round(quantile(ordered, 0.5), 3),
        "p99_ms": round(quantile(ordered, 0.99), 3),
        "max_ms": round(ordered[-1], 3),
    }


def settled(requests: Iterable[Request], profile: Sequence[Step], seconds: float) -> list[Request]:
    """Requests sent when the last change of the load was at least so long ago."""
    times = [now for now, _clients in changes(profile)] + [length(profile)]
    spans = [(begin + seconds, end) for begin, end in itertools.pairwise(times)]
    return [request for request in requests if any(begin <= request.begin < end for begin, end in spans)]


def clients_at(profile: Sequence[Step], time: float) -> int:
    return next((clients for begin, clients in reversed(changes(profile)) if begin <= time), 0)


# ---- what changes over time ---------------------------------------------------------------------------------------


class Look(t.NamedTuple):
    """A sample of a pool: the time, and how many servers are wanted and ready."""

    time: float
    wanted: int
    ready: int


class Busy(t.NamedTuple):
    """Execution time of all servers so far, in seconds, at a point in time."""

    time: float
    seconds: float


def mean_servers(looks: Sequence[Look], begin: float, end: float) -> tuple[float, float]:
    """Mean number of servers that were wanted and that were ready; each look holds until the next one."""
    if end <= begin or not looks:
        return 0.0, 0.0
    wanted = ready = 0.0
    for index, look in enumerate(looks):
        start = begin if index == 0 else max(look.time, begin)
        stop = looks[index + 1].time if index + 1 < len(looks) else end
        span = max(min(stop, end) - start, 0.0)
        wanted += span * look.wanted
        ready += span * look.ready
    return wanted / (end - begin), ready / (end - begin)


def busy_seconds(samples: Sequence[Busy], begin: float, end: float) -> float:
    """For how long servers executed something in a span of time; linear between the samples."""
    return _interpolated(samples, end) - _interpolated(samples, begin)


def _interpolated(samples: Sequence[Busy], time: float) -> float:
    if not samples:
        return 0.0
    for before, after in itertools.pairwise(samples):
        if before.time <= time <= after.time and after.time > before.time:
            part = (time - before.time) / (after.time - before.time)
            return before.seconds + part * (after.seconds - before.seconds)
    return samples[0].seconds if time < samples[0].time else samples[-1].seconds


def utilization(samples: Sequence[Busy], looks: Sequence[Look], begin: float, end: float) -> float | None:
    """The mean number of executions under way on a server that is ready; None where no server was."""
    _wanted, ready = mean_servers(looks, begin, end)
    return busy_seconds(samples, begin, end) / (ready * (end - begin)) if ready > 0 else None


def only_changes(looks: Sequence[Look]) -> list[Look]:
    """Without what says the same as the one before."""
    return [
        look
        for index, look in enumerate(looks)
        if index == 0 or (look.wanted, look.ready) != (looks[index - 1].wanted, looks[index - 1].ready)
    ]


def timeline(
    requests: Sequence[Request], looks: Sequence[Look], samples: Sequence[Busy], profile: Sequence[Step], width: float
) -> list[dict[str, t.Any]]:
    """Everything by equal spans of time; requests belong to the span that they were sent in."""
    total = length(profile)
    count = max(math.ceil(total / width - 1e-9), 1)
    spans: list[list[Request]] = [[] for _number in range(count)]
    for request in requests:
        if 0 <= request.begin < total:
            spans[min(int(request.begin / width), count - 1)].append(request)
    rows = []
    for number, sent in enumerate(spans):
        begin, end = number * width, min((number + 1) * width, total)
        told, (wanted, ready) = latency(sent), mean_servers(looks, begin, end)
        used = utilization(samples, looks, begin, end)
        rows.append(
            {
                "seconds": round(begin, 3),
                "clients": clients_at(profile, begin),
                "requests": told["requests"],
                "mean_ms": told["mean_ms"],
                "p99_ms": told["p99_ms"],
                "servers_wanted": round(wanted, 3),
                "servers_ready": round(ready, 3),
                "utilization": None if used is None else round(used, 3),
            }
        )
    return rows
