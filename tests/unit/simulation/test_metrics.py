# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus answers: rates over windows, and what follows from them."""

from __future__ import annotations

import pytest

from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation.metrics import (
    Prometheus,
    Series,
    Watch,
)


def series(interval: float, *rows: tuple[float, ...]) -> Series:
    found = Series()
    for number, row in enumerate(rows):
        found.add(number * interval, row)
    return found


def envoy(interval: float, *in_flight: float, without: float = 0.0, reachable: float = 100.0) -> Series:
    return series(interval, *((count, without if number else 0.0, reachable) for number, count in enumerate(in_flight)))


def prometheus(envoys: list[Series], servers: list[Series], **settings: float) -> Prometheus:
    return Prometheus(Watch(**settings), envoys, servers)


def test_a_rate_is_of_the_whole_window() -> None:
    counter = series(2.0, *((10.0 * number,) for number in range(11)))
    assert counter.rate(0, 20.0, 10.0) == pytest.approx(5.0)
    assert counter.rate(0, 19.0, 10.0) == pytest.approx(5.0)


def test_a_rate_needs_two_samples_in_its_window() -> None:
    counter = series(30.0, (0.0,), (60.0,), (120.0,))
    assert counter.rate(0, 60.0, 30.0) is None
    assert counter.rate(0, 60.0, 61.0) is not None


def test_a_young_counter_is_not_stretched_over_the_window() -> None:
    # Two samples 2 s apart and a window of 30 s: only a little is added at each end.
    assert series(2.0, (0.0,), (10.0,)).rate(0, 2.0, 30.0) == pytest.approx(10.0 / 30.0)
    assert series(2.0, (5.0,), (15.0,)).rate(0, 2.0, 30.0) == pytest.approx(10.0 * 3.0 / 2.0 / 30.0)


def test_queue_time_is_of_a_request_with_batches_too() -> None:
    # Ten executions of eight requests a second; each request waited 50 ms.
    server = series(2.0, *((160.0 * n, 8.0 * n, 1.6 * n, 0.2 * n, 20.0 * n) for n in range(16)))
    pool = prometheus([envoy(2.0, *[8.0] * 16)], [server])
    assert pool.read("queue_time", 30.0) == pytest.approx(50.0)
    assert pool.read("compute_time", 30.0) == pytest.approx(10.0)
    assert pool.read("queue_ratio", 30.0) == pytest.approx(5.0)
    # Upstream's metric is wrong by the size of the batch.
    assert pool.read("queue_time_per_execution", 30.0) == pytest.approx(400.0, rel=1e-3)


def test_an_idle_pool_is_zero_and_an_unseen_one_is_nothing() -> None:
    idle = prometheus([envoy(2.0, *[0.0] * 60)], [series(2.0, *[(0.0,) * 5] * 60)])
    for quantity in ("servers_wanted", "servers_held", "servers_busy_floor", "queue_ratio", "queue_time"):
        assert idle.read(quantity, 118.0) == 0.0
        assert prometheus([], []).read(quantity, 118.0) is None
    idle.blind = True
    assert idle.read("servers_wanted", 118.0) is None


def test_an_envoy_that_was_not_scraped_for_a_while_says_nothing() -> None:
    pool = prometheus([envoy(2.0, *[4.0] * 61)], [])
    assert pool.read("servers_wanted", 129.0) == pytest.approx(4.0 / 1.65)
    assert pool.read("servers_wanted", 131.0) is None


def test_what_a_server_computes_at_a_time_is_learned_and_kept() -> None:
    server = series(2.0, *((0.0, 0.0, 12.0 * n, 0.0, 0.0) for n in range(31)), *[(0.0, 0.0, 360.0, 0.0, 0.0)] * 60)
    pool = prometheus([envoy(2.0, *[8.0] * 91)], [server])
    pool.learn(60.0)
    assert pool.read("server_parallelism", 180.0) == pytest.approx(6.0)
    assert pool.read("server_capacity", 180.0) == pytest.approx(11.65)
    given = prometheus([envoy(2.0, *[8.0] * 91)], [server], capacity=127.65)
    assert given.read("server_capacity", 180.0) == pytest.approx(127.65)


def test_a_burst_counts_when_two_scrapes_have_seen_it() -> None:
    pool = prometheus([envoy(2.0, *[1.0] * 20, 10.0, 10.0)], [])
    assert pool.read("lasting_requests", 40.0) == pytest.approx((7.0 * 1.0 + 10.0) / 8.0)
    assert pool.read("lasting_requests", 42.0) == pytest.approx(9.5)


def test_servers_are_wanted_while_requests_find_none() -> None:
    pool = prometheus([envoy(2.0, *[0.0] * 5, without=3.0)], [])
    assert pool.read("servers_wanted", 8.0) == 1.0


def test_servers_stay_while_requests_find_none_of_them_healthy() -> None:
    idle = [series(2.0, *[(0.0, 0.0, 0.0, 0.0)] * 21) for _number in range(6)]
    unhealthy = series(2.0, *((0.0, 3.0 * number) for number in range(21)))
    assert prometheus([unhealthy], idle).read("servers_held", 40.0) == 6.0
    assert prometheus([envoy(2.0, *[0.0] * 21)], idle).read("servers_held", 40.0) == 0.0


@pytest.mark.parametrize(
    ("in_flight", "expected"),
    [
        ([4.0] * 61, 0.0),
        ([3.0, 4.0, 4.0, 4.0] * 15 + [4.0], 0.0),
        ([1.0, 7.0, 3.0, 5.0] * 15 + [4.0], 1.0),
        # A step of load is in one window of two.
        ([1.0] * 41 + [10.0] * 20, 0.0),
        ([1.0] * 51 + [10.0] * 10, 0.0),
        # Two values of a window say nothing of it.
        ([4.0] * 32, 1.0),
    ],
)
def test_openness_tells_arrivals_from_clients_that_wait(in_flight: list[float], expected: float) -> None:
    pool = prometheus([envoy(2.0, *in_flight)], [])
    assert pool.read("openness", 2.0 * (len(in_flight) - 1)) == pytest.approx(expected, abs=0.01)


def test_requests_are_those_of_all_envoys_together() -> None:
    """Two that take turns: what varies at each of them does not vary at all."""
    one, other = ([high, low] * 30 + [high] for high, low in ((0.0, 8.0), (8.0, 0.0)))
    pool = prometheus([envoy(2.0, *one), envoy(2.0, *other)], [])
    assert pool.read("lasting_requests", 120.0) == pytest.approx(8.0)
    assert pool.read("openness", 120.0) == 0.0


def test_the_floor_keeps_what_is_there_and_asks_for_no_more() -> None:
    open_load = [1.0, 7.0, 3.0, 5.0] * 15 + [4.0]
    busy = [series(2.0, *((0.0, 0.0, 1.9 * n, 0.0, 0.0) for n in range(61))) for _server in range(4)]
    # 3.8 servers' worth of work on four: no fewer, and no more.
    assert prometheus([envoy(2.0, *open_load, reachable=4.0)], busy).read("servers_busy_floor", 120.0) == 4.0
    # Clients that wait for their answers would only wait longer.
    waiting = prometheus([envoy(2.0, *[4.0] * 61)], busy)
    assert waiting.read("servers_busy_floor", 120.0) == 0.0
    assert waiting.read("servers_held", 120.0) == pytest.approx(4.0 / 1.65 / 0.82)
    # As long as nobody knows what was before, all stay.
    assert waiting.read("servers_held", 10.0) == 4.0
