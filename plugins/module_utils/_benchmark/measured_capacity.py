# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Derives the capacity of one server from latency and throughput at several numbers of requests in flight.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

The measure is the saturation point of operational analysis (P. J. Denning, J. P. Buzen, "The operational analysis of
queueing network models", ACM Computing Surveys 10(3), 1978): with N clients that never pause a server's throughput X
cannot be more than N/R1, where R1 is the latency of a lone request, nor more than its largest throughput. Both bounds
meet at N* = Xmax R1. Below it a further request in flight uses what was idle; above it it only waits. A server that
executes one request at a time has an N* of about 1, one that executes batches of 8 in the same time has about 8.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError

# Below the limit itself, since what is measured is a mean and a pool is not balanced perfectly.
MARGIN = 0.9


@dataclass(frozen=True)
class Level:
    """The result at one number of requests in flight: requests per second, and the mean latency in milliseconds."""

    clients: int
    throughput: float
    mean_ms: float


@dataclass(frozen=True)
class Capacity:
    """The capacity of one server.

    saturation: N*; latency_limit_at: requests in flight at which the latency reaches the factor; reached: whether it
    was reached in the sweep.
    """

    unloaded_ms: float
    largest_throughput: float
    saturation: float
    latency_factor: float
    latency_limit_at: float
    reached: bool

    @property
    def requests_per_server(self) -> float:
        """Requests in flight that a server should have: N* times the factor is where latency reaches the factor in
        theory, and a server that behaves otherwise is taken at its word."""
        return MARGIN * min(self.latency_limit_at, self.latency_factor * self.saturation)


def monotone(values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """The closest values (least squares) that never fall: neighbours that do are replaced by their mean."""
    blocks: list[list[float]] = []
    for value, weight in zip(values, weights or [1.0] * len(values), strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            above, below = blocks.pop(), blocks.pop()
            together = below[1] + above[1]
            blocks.append([(below[0] * below[1] + above[0] * above[1]) / together, together, below[2] + above[2]])
    return [mean for mean, _weight, count in blocks for _number in range(int(count))]


def capacity(levels: Sequence[Level], latency_factor: float) -> Capacity:
    """The capacity by a sweep over requests in flight, with smoothed latencies: one may be off by chance."""
    ordered = sorted(levels, key=lambda level: level.clients)
    if not ordered or ordered[0].clients != 1:
        raise SupersonicError("The levels of a sweep have to begin with 1 request in flight, which is never queued.")
    if any(level.throughput <= 0 or level.mean_ms <= 0 for level in ordered):
        raise SupersonicError("A level of the sweep had no request that was answered, so it says nothing.")
    if len({level.clients for level in ordered}) < len(ordered):
        raise SupersonicError("A level of the sweep is there twice.")
    smooth = monotone([level.mean_ms for level in ordered])
    unloaded = smooth[0]
    largest = max(level.throughput for level in ordered)
    at, reached = _crossing([level.clients for level in ordered], smooth, latency_factor * unloaded)
    return Capacity(unloaded, largest, largest * unloaded / 1000, latency_factor, at, reached)


def _crossing(clients: Sequence[int], latencies: Sequence[float], limit: float) -> tuple[float, bool]:
    """The point at which rising latencies pass a limit, by linear interpolation; else the last one."""
    for index in range(1, len(clients)):
        if latencies[index] >= limit:
            low, high = latencies[index - 1], latencies[index]
            part = (limit - low) / (high - low)
            return clients[index - 1] + part * (clients[index] - clients[index - 1]), True
    return float(clients[-1]), False


def recommendations(found: Capacity, servers: int, longest_wait: float) -> dict[str, t.Any]:
    """Variables to paste, for a pool of at most so many servers whose requests may wait so many seconds."""
    queued = max(math.ceil(found.largest_throughput * longest_wait), 1)
    # Any Envoy has to be able to take all of it, since it may be left alone.
    waiting = max(queued * servers, 1)
    return {
        # With less than one it would idle, however much worse it gets with the second.
        "autoscaler_requests_per_server": max(round(found.requests_per_server, 2), 1.0),
        "envoy_max_requests": waiting,
        "envoy_max_pending_requests": waiting,
        "max_queue_size": queued,
    }


def pasted(values: Mapping[str, t.Any], model: str) -> str:
    """The same as lines of an inventory, and of the model's configuration."""
    lines = [f"{name}: {value}" for name, value in values.items() if name != "max_queue_size"]
    lines.append(f"# in config.pbtxt of the model {model}:")
    lines.append(f"# dynamic_batching {{ default_queue_policy {{ max_queue_size: {values['max_queue_size']} }} }}")
    return "\n".join(lines)
