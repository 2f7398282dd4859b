# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A simulated Prometheus: samples over time, and functions over windows of them.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import math
import typing as t
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import (
    BUSY_SHARE,
    DOUBT,
    HEADROOM,
    HOLD,
    KNOWN,
    STEADY,
    STEP,
    WINDOWS,
    parallelism,
    windows,
)


class Series:
    """The samples of one target: a row of values for each scrape."""

    __slots__ = ("rows", "times")

    def __init__(self) -> None:
        self.times: list[float] = []
        self.rows: list[tuple[float, ...]] = []

    def add(self, now: float, row: tuple[float, ...]) -> None:
        self.times.append(now)
        self.rows.append(row)

    def within(self, now: float, window: float) -> list[tuple[float, ...]]:
        return self.rows[bisect_right(self.times, now - window) : bisect_right(self.times, now)]

    def rate(self, column: int, now: float, window: float) -> float | None:
        """Prometheus' rate() of a counter, with what it adds at both ends of the window."""
        first, end = bisect_right(self.times, now - window), bisect_right(self.times, now)
        samples = end - first
        if samples < 2:
            return None
        start, last = self.times[first], self.times[end - 1]
        value = self.rows[first][column]
        increase = self.rows[end - 1][column] - value
        sampled = last - start
        spacing = sampled / (samples - 1)
        before, after = start - (now - window), now - last
        if before >= spacing * 1.1:
            before = spacing / 2
        if increase > 0:
            before = min(before, sampled * value / increase)
        if after >= spacing * 1.1:
            after = spacing / 2
        return increase * (sampled + before + after) / sampled / window


@dataclass(frozen=True)
class Watch:
    """The parameters of the quantities, such as windows; Queries describes each."""

    window: float = WINDOWS["window"][0]
    short_window: float = WINDOWS["short_window"][0]
    burst_window: float = WINDOWS["burst_window"][0]
    spread_window: float = WINDOWS["spread_window"][0]
    long_window: float = WINDOWS["long_window"][0]
    learning_window: float = WINDOWS["learning_window"][0]
    step: float = STEP
    headroom: float = HEADROOM
    busy_share: float = BUSY_SHARE
    capacity: float = 0.0

    @classmethod
    def of(cls, scrape_interval: float, **settings: float) -> Watch:
        """With windows that fit a scrape interval."""
        return cls(**{**windows(scrape_interval), **settings})


# Columns of a server's row and of an Envoy's.
DONE, QUEUED, COMPUTED, EXECUTED, EXECUTIONS = range(5)
IN_FLIGHT, WITHOUT_SERVER, REACHABLE = range(3)


@dataclass
class Prometheus:
    """Answers for a pool; None where an expression would have no result."""

    watch: Watch
    envoys: list[Series] = field(default_factory=list)
    servers: list[Series] = field(default_factory=list)
    # From `blind` on nothing is answered, until it is None again.
    blind: bool = False
    _most: float = 0.0

    def read(self, quantity: str, now: float) -> float | None:
        if self.blind or not any(series.within(now, self.watch.short_window) for series in self.envoys):
            return None
        answer: t.Callable[[float], float | None] = getattr(self, quantity)
        return answer(now)

    # ---- at Envoy

    def requests_in_flight(self, now: float) -> float:
        found = [series.within(now, self.watch.short_window) for series in self.envoys]
        return sum(_mean([row[IN_FLIGHT] for row in rows]) for rows in found if rows)

    def lasting_requests(self, now: float) -> float:
        """In flight over a while; of a burst what the last looks saw, so that it counts at once or not at all."""
        burst, window = (list(self._looks(now, ago)) for ago in (self.watch.burst_window, self.watch.window))
        return max(min(burst) - DOUBT if burst else 0.0, _mean(window) if window else 0.0)

    def requests_without_server(self, now: float) -> float:
        return self._sum(self.envoys, WITHOUT_SERVER, now) * self.watch.window

    def openness(self, now: float) -> float:
        """1 where requests come independently of each other, so that the number in flight varies by itself; near 0
        where each client waits for its answer. A change of load is seen in one of two windows only."""
        window, step = self.watch.spread_window, self.watch.step
        if len(list(self._looks(now, 2 * window))) <= KNOWN * 2 * window / step:
            return 1.0
        spread = min(self._spread(now, window), self._spread(now - window, window))
        # Also those who wait for answers are not in flight for a moment between two requests.
        return min(1.0, max(0.0, 4.0 * (spread - STEADY)))

    def _spread(self, now: float, window: float) -> float:
        """Variance by mean: 1 of a Poisson process."""
        values = list(self._looks(now, window))
        return _variance(values) / max(_mean(values), 0.001) if values else 1.0

    # ---- at the servers

    def queue_time(self, now: float) -> float:
        done = self._sum(self.servers, DONE, now)
        return 1000.0 * self._sum(self.servers, QUEUED, now) / done if done > 0 else 0.0

    def compute_time(self, now: float) -> float:
        done = self._sum(self.servers, DONE, now)
        return 1000.0 * self._sum(self.servers, COMPUTED, now) / done if done > 0 else 0.0

    def queue_ratio(self, now: float) -> float:
        """Waiting in terms of computing."""
        computed = self._sum(self.servers, COMPUTED, now)
        return self._sum(self.servers, QUEUED, now) / computed if computed > 0 else 0.0

    def server_parallelism(self, _now: float) -> float:
        if self.watch.capacity:
            return parallelism(self.watch.capacity, self.watch.headroom)
        return max(1.0, self._most)

    def learn(self, now: float) -> None:
        """Evaluate a recording rule, as Prometheus does at intervals."""
        window = self.watch.learning_window
        self._most = max(self._most, *(series.rate(COMPUTED, now, window) or 0.0 for series in self.servers), 0.0)

    def ready(self, now: float) -> float:
        return sum(1.0 for series in self.servers if series.within(now, self.watch.short_window))

    def servers_reachable(self, now: float) -> float:
        """The servers that Envoys may send requests to; those that stop are excluded at once."""
        last = [rows[-1] for series in self.envoys if (rows := series.within(now, self.watch.short_window))]
        return max((row[REACHABLE] for row in last), default=0.0)

    # ---- how many servers

    def server_capacity(self, now: float) -> float:
        """Requests in flight for one server: as many wait as are computed, but for a part of one.

        A multiple of what it computes would never do for a server that batches and is not full: it computes half of
        what is in flight then, however many servers there are.
        """
        if self.watch.capacity:
            return self.watch.capacity
        return 2.0 * self.server_parallelism(now) - (2.0 - self.watch.headroom)

    def servers_wanted(self, now: float) -> float:
        lacking = 1.0 if self.requests_without_server(now) > 0 else 0.0
        return max(self.lasting_requests(now) / self.server_capacity(now), lacking)

    def servers_held(self, now: float) -> float:
        """Servers that are there and have not much too little to do: a pool on an edge would come and go otherwise."""
        watch = self.watch
        if self.requests_without_server(now) > 0 or not any(
            series.within(now - watch.window, watch.short_window) for series in self.envoys
        ):
            # Rates are too low for as long as their window is not full, and what finds no server is in flight nowhere.
            return self.ready(now)
        return min(self.servers_reachable(now), self.lasting_requests(now) / (HOLD * self.server_capacity(now)))

    def servers_busy_floor(self, now: float) -> float:
        """Servers that are there and that an open load needs, since it would not wait for the others."""
        there = self.servers_reachable(now)
        watch = self.watch
        computing = [
            sum(rates)
            for when in _times(now, watch.long_window, watch.window)
            if (rates := self._rates(self.servers, COMPUTED, when))
        ]
        gradually = max(0.0, min(there - 1.0, 0.75 * there))
        if not computing:
            return min(there, self.openness(now) * gradually)
        busy = max(computing) / self.server_parallelism(now)
        needed = (0.98 * math.sqrt(busy / watch.busy_share) + 0.1) ** 2
        return min(there, self.openness(now) * max(needed, gradually))

    # ---- others' metrics, to compare with

    def queue_time_per_execution(self, now: float) -> float:
        """Upstream's default metric, ms."""
        return self._sum(self.servers, QUEUED, now) / (self._sum(self.servers, EXECUTIONS, now) * 1e3 + 1e-3) * 1e6

    # ---- parts

    def _sum(self, targets: list[Series], column: int, now: float) -> float:
        return sum(self._rates(targets, column, now))

    def _rates(self, targets: list[Series], column: int, now: float) -> list[float]:
        """Of those that have one."""
        found = (series.rate(column, now, self.watch.window) for series in targets)
        return [rate for rate in found if rate is not None]

    def _looks(self, now: float, window: float) -> Iterator[float]:
        """The requests at all Envoys together, at every step of a window; one without a scrape lately is none."""
        for when in _times(now, window, self.watch.step):
            rows = [found[-1] for series in self.envoys if (found := series.within(when, self.watch.short_window))]
            if rows:
                yield sum(row[IN_FLIGHT] for row in rows)


def _times(now: float, window: float, step: float) -> Iterator[float]:
    """The times at which a subquery is evaluated: multiples of its step, without the very beginning."""
    number = math.floor((now - window) / step) + 1
    while number * step <= now:
        yield number * step
        number += 1


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _variance(values: list[float]) -> float:
    mean = _mean(values)
    return sum((value - mean) ** 2 for value in values) / len(values)
