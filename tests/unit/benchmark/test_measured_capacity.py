# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sweep says of a server, for servers whose capacity is known."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.measured_capacity import (
    Level,
    capacity,
    monotone,
    pasted,
    recommendations,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError

LEVELS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]


def serial(clients: int) -> float:
    """Latency (ms) of a server that executes one request at a time for 20 ms, 1 ms away."""
    return max(21.0, 20.0 * clients)


def batching(clients: int) -> float:
    """Of one that executes up to 8 at a time in the time of one."""
    return max(21.0, 20.0 * clients / 8)


def instances(clients: int) -> float:
    """Of one with three instances of a model of 30 ms."""
    return max(30.0, 10.0 * clients)


def sweep(
    latency: Callable[[int], float], noise: float = 0.0, levels: Sequence[int] = tuple(LEVELS), seed: int = 1
) -> list[Level]:
    chance = random.Random(seed)
    found = []
    for clients in levels:
        mean = latency(clients) * chance.uniform(1 - noise, 1 + noise)
        # Clients never pause.
        found.append(Level(clients, 1000 * clients / mean, mean))
    return found


@pytest.mark.parametrize(
    ("latency", "saturation", "throughput"), [(serial, 1.05, 50), (batching, 8.4, 400), (instances, 3, 100)]
)
def test_servers_of_known_capacity(latency: Callable[[int], float], saturation: float, throughput: float) -> None:
    found = capacity(sweep(latency), 2)
    assert found.reached
    assert found.largest_throughput == pytest.approx(throughput)
    assert found.saturation == pytest.approx(saturation)
    assert found.latency_limit_at == pytest.approx(2 * saturation, rel=0.05)
    assert found.requests_per_server == pytest.approx(1.8 * saturation, rel=0.05)
    # Where that many are in flight latency is still good.
    assert latency(round(found.requests_per_server)) <= 2 * found.unloaded_ms


@pytest.mark.parametrize(("latency", "saturation"), [(serial, 1.05), (batching, 8.4), (instances, 3)])
def test_noise_changes_little(latency: Callable[[int], float], saturation: float) -> None:
    for seed in range(50):
        found = capacity(sweep(latency, 0.1, seed=seed), 2)
        assert found.saturation == pytest.approx(saturation, rel=0.3)
        assert found.requests_per_server == pytest.approx(1.8 * found.saturation, rel=0.3)


def test_one_level_that_is_off_does_not_decide() -> None:
    """Somebody else used the machine while 3 were in flight."""
    levels = sweep(batching)
    off = [
        Level(level.clients, level.throughput / 3, level.mean_ms * 3) if level.clients == 3 else level
        for level in levels
    ]
    assert capacity(off, 2).requests_per_server > 0.5 * capacity(levels, 2).requests_per_server


def test_a_server_that_gets_worse_under_load_is_taken_at_its_word() -> None:
    """Its latency doubles long before its throughput stops to grow."""
    found = capacity(sweep(lambda clients: 20 * (1 + clients / 4)), 2)
    assert found.latency_limit_at == pytest.approx(6, rel=0.01)
    assert found.requests_per_server == pytest.approx(0.9 * min(6, 2 * found.saturation), rel=0.01)


def test_levels_that_do_not_go_far_enough() -> None:
    found = capacity(sweep(batching, levels=[1, 2, 4]), 2)
    assert not found.reached
    assert found.latency_limit_at == 4
    assert found.requests_per_server <= 4


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        ([], "have to begin with 1"),
        ([Level(2, 50, 40)], "have to begin with 1"),
        ([Level(1, 50, 20), Level(2, 0, 0)], "no request that was answered"),
        ([Level(1, 50, 20), Level(1, 50, 20)], "is there twice"),
    ],
)
def test_sweeps_that_say_nothing(levels: list[Level], sentence: str) -> None:
    with pytest.raises(SupersonicError) as caught:
        capacity(levels, 2)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([1, 3, 2, 4], [1, 2.5, 2.5, 4]),
        ([4, 1, 1], [2, 2, 2]),
        ([1, 5, 3, 1, 6], [1, 3, 3, 3, 6]),
        ([], []),
    ],
)
def test_monotone(values: list[float], expected: list[float]) -> None:
    assert monotone(values) == expected


def test_variables_to_paste() -> None:
    found = capacity(sweep(serial), 2)
    values = recommendations(found, servers=6, longest_wait=10)
    assert values["autoscaler_requests_per_server"] == pytest.approx(1.89, abs=0.02)
    # 50 requests per second, for 10 s, of 6 servers.
    assert (values["max_queue_size"], values["envoy_max_requests"]) == (500, 3000)
    assert values["envoy_max_pending_requests"] == 3000
    text = pasted(values, "accelerator")
    assert "envoy_max_requests: 3000\n" in text
    assert "max_queue_size: 500" in text.splitlines()[-1]
