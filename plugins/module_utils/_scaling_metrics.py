# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Prometheus would answer: samples taken now and then, and functions over windows of them.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import math
import typing as t
from bisect import bisect_right
from dataclasses import dataclass, field

# Seconds after which a single sample counts no more.
LOOKBACK = 300.0


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
    """How the quantities are worked out: windows (s), and what was found to hold for many shapes of load."""

    # Of a burst only what two scrapes have seen counts at once.
    short_window: float = 4.0
    # Of means and rates.
    window: float = 15.0
    # Of how much the number in flight varies; two of them are compared.
    spread_window: float = 60.0
    # For which work that was done keeps servers.
    long_window: float = 120.0
    # Requests in flight for a server that computes one at a time.
    headroom: float = 1.65
    # Part of it below which a server is given up.
    hold: float = 0.82
    # Requests that are no demand yet where only two scrapes have seen them.
    doubt: float = 0.5
    # Part of their time that servers may be at work under an open load.
    busy_share: float = 0.75
    # Requests that one server computes at a time; 0 to learn it, over this window.
    parallelism: float = 0.0
    learning_window: float = 60.0

    @classmethod
    def of(cls, scrape_interval: float, **settings: float) -> Watch:
        """With windows that fit a scrape interval."""
        windows = {
            "short_window": max(4.0, 2 * scrape_interval),
            "window": max(15.0, 4 * scrape_interval),
            "spread_window": max(60.0, 10 * scrape_interval),
            "long_window": max(120.0, 8 * scrape_interval),
            "learning_window": max(60.0, 4 * scrape_interval),
        }
        return cls(**{**windows, **settings})


# Columns of a server's row and of an Envoy's.
DONE, QUEUED, COMPUTED, EXECUTED, EXECUTIONS = range(5)
IN_FLIGHT, WITHOUT_SERVER = range(2)


@dataclass
class Prometheus:
    """Answers for a pool; None where an expression would have no result."""

    watch: Watch
    envoys: list[Series] = field(default_factory=list)
    servers: list[Series] = field(default_factory=list)
    # Those that are scraped still.
    live: set[Series] = field(default_factory=set)
    # From `blind` on nothing is answered, until it is None again.
    blind: bool = False
    _most: float = 0.0

    def read(self, quantity: str, now: float) -> float | None:
        if self.blind or not any(series.within(now, LOOKBACK) for series in self.envoys):
            return None
        answer: t.Callable[[float], float | None] = getattr(self, quantity)
        return answer(now)

    # ---- at Envoy

    def requests_in_flight(self, now: float) -> float:
        return self._gauge(now, self.watch.window, _mean)

    def lasting_requests(self, now: float) -> float:
        """In flight over a while; of a burst what the last scrapes saw, so that it counts at once or not at all."""
        watch = self.watch
        return max(self._gauge(now, watch.short_window, min) - watch.doubt, self.requests_in_flight(now))

    def requests_without_server(self, now: float) -> float:
        return self._sum(self.envoys, WITHOUT_SERVER, now) * self.watch.window

    def openness(self, now: float) -> float:
        """1 where requests come independently of each other, so that the number in flight varies by itself; near 0
        where each client waits for its answer. A change of load is seen in one of two windows only."""
        window = self.watch.spread_window
        spread = min(self._spread(now, window), self._spread(now - window, window))
        # Also those who wait for answers are not in flight for a moment between two requests.
        return min(1.0, max(0.0, 4.0 * (spread - 0.15)))

    def _spread(self, now: float, window: float) -> float:
        """Variance by mean: 1 of a Poisson process. Where nothing is known yet, nothing is to be taken away."""
        values = [[row[IN_FLIGHT] for row in series.within(now, window)] for series in self.envoys]
        mean = sum(_mean(items) for items in values if items)
        if mean > 0:
            return sum(_variance(items) for items in values if items) / mean
        return 0.0 if any(values) else 1.0

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

    def servers_computing(self, now: float) -> float:
        """Requests in compute, in terms of what a server computes at a time."""
        return self._sum(self.servers, COMPUTED, now) / self.server_parallelism(now)

    def server_parallelism(self, now: float) -> float:
        if self.watch.parallelism:
            return self.watch.parallelism
        self.learn(now, self.watch.window)
        return max(1.0, self._most)

    def learn(self, now: float, window: float) -> None:
        """What a recording rule does now and then."""
        for series in self.live:
            computed = series.rate(COMPUTED, now, window)
            if computed is not None and computed > self._most:
                self._most = computed

    def ready(self, now: float) -> float:
        return sum(1.0 for series in self.live if series.within(now, self.watch.short_window))

    # ---- how many servers

    def server_capacity(self, now: float) -> float:
        """Requests in flight for one server: as many wait as are computed, but for a part of one.

        A multiple of what it computes would never do for a server that batches and is not full: it computes half of
        what is in flight then, however many servers there are.
        """
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
        return min(self.ready(now), self.lasting_requests(now) / (watch.hold * self.server_capacity(now)))

    def servers_busy_floor(self, now: float) -> float:
        """Servers that are there and that an open load needs, since it would not wait for the others."""
        there = self.ready(now)
        ago = range(int(self.watch.long_window // self.watch.window))
        busy = max(self.servers_computing(now - step * self.watch.window) for step in ago)
        needed = (0.98 * math.sqrt(busy / self.watch.busy_share) + 0.1) ** 2
        gradually = min(there - 1.0, 0.75 * there)
        return min(there, self.openness(now) * max(needed, gradually))

    # ---- others' metrics, to compare with

    def queue_time_per_execution(self, now: float) -> float:
        """Upstream's default metric, ms."""
        return self._sum(self.servers, QUEUED, now) / (self._sum(self.servers, EXECUTIONS, now) * 1e3 + 1e-3) * 1e6

    def queue_time_per_execution_summed(self, now: float) -> float:
        """Upstream's metric at Geddes, ms: a sum over servers of means."""
        total = 0.0
        for series in self.servers:
            queued = series.rate(QUEUED, now, self.watch.window)
            executions = series.rate(EXECUTIONS, now, self.watch.window)
            if queued is not None and executions is not None:
                total += queued * 1e6 / (executions * 1e3 + 1e-3)
        return total

    # ---- parts

    def _sum(self, targets: list[Series], column: int, now: float) -> float:
        return sum(series.rate(column, now, self.watch.window) or 0.0 for series in targets)

    def _gauge(self, now: float, window: float, function: t.Callable[[list[float]], float]) -> float:
        total = 0.0
        for series in self.envoys:
            values = [row[IN_FLIGHT] for row in series.within(now, window)]
            if values:
                total += function(values)
        return total


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _variance(values: list[float]) -> float:
    mean = _mean(values)
    return sum((value - mean) ** 2 for value in values) / len(values)
