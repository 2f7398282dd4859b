# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Profiles of clients over time, and what is made of what they saw."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.load import (
    Busy,
    Look,
    Request,
    Share,
    Step,
    busy_seconds,
    changes,
    clients_at,
    latency,
    mean_servers,
    only_changes,
    parse_profile,
    processes,
    quantile,
    settled,
    shares,
    timeline,
    utilization,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.load_pods import Outcome
from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.run import (
    PAUSE,
    Seen,
    capacity_row,
    figure_row,
    parse_pools,
    sweep_of,
    swings,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.tests.harness.environment import for_python

PAPER = [Step(1, 60), Step(10, 240), Step(1, 180)]


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (PAPER, [Share(1, 0, 480), Share(9, 60, 300)]),
        ([Step(4, 10)], [Share(4, 0, 10)]),
        # A part of those who came last goes.
        ([Step(2, 5), Step(10, 5), Step(4, 5)], [Share(2, 0, 15), Share(2, 5, 15), Share(6, 5, 10)]),
        # More go than came last.
        ([Step(1, 1), Step(3, 1), Step(6, 1), Step(0, 1)], [Share(1, 0, 3), Share(2, 1, 3), Share(3, 2, 3)]),
        ([Step(0, 3), Step(2, 3), Step(0, 3), Step(2, 3)], [Share(2, 3, 6), Share(2, 9, 12)]),
        # What does not change is one step.
        ([Step(2, 3), Step(2, 3)], [Share(2, 0, 6)]),
    ],
)
def test_clients_come_and_go(profile: list[Step], expected: list[Share]) -> None:
    assert shares(profile) == expected


def test_there_are_always_as_many_clients_as_the_profile_says() -> None:
    chance = random.Random(1)
    for _number in range(200):
        profile = [Step(chance.randrange(0, 40), chance.choice([0.5, 1, 2])) for _step in range(chance.randrange(1, 9))]
        found = [part for share in shares(profile) for part in processes(share)]
        now = 0.0
        for step in profile:
            middle = now + step.seconds / 2
            assert sum(part.clients for part in found if part.begin <= middle < part.end) == step.clients
            assert clients_at(profile, middle) == step.clients
            now += step.seconds
        assert all(part.clients > 0 for part in found)


@pytest.mark.parametrize(("clients", "sizes"), [(1, [1]), (9, [1] * 9), (16, [1] * 16), (35, [3] * 3 + [2] * 13)])
def test_clients_are_spread_over_processes(clients: int, sizes: list[int]) -> None:
    assert [part.clients for part in processes(Share(clients, 1, 2))] == sizes


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([{"clients": -1, "seconds": 1}], "profile[0].clients is -1; it must be 0 or more."),
        ([{"clients": 1, "seconds": 1}, {"clients": 1, "seconds": 0}], "profile[1].seconds is 0; it must be more"),
        ([{"clients": 1, "seconds": float("inf")}], "profile[0].seconds is inf"),
        ([{"clients": 0, "seconds": 1}], "profile has no step with clients"),
        ([], "profile has no step with clients"),
    ],
)
def test_wrong_profiles_are_refused(entries: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(SupersonicError) as caught:
        parse_profile(entries, "profile")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([], "pools is empty"),
        (["0"], "pools[0] is '0'"),
        (["1", "dynamics"], "pools[1] is 'dynamics'; it must be a number of servers, 1 or more, or 'dynamic'."),
        (["1", 1], "pools names a pool twice: 1, 1."),
    ],
)
def test_wrong_pools_are_refused(entries: list[Any], sentence: str) -> None:
    with pytest.raises(SupersonicError) as caught:
        parse_pools(entries)
    assert sentence in str(caught.value)


def test_a_sweep_has_pauses() -> None:
    assert sweep_of([1, 2, 8], 5) == [
        Share(1, 0, 5),
        Share(2, 5 + PAUSE, 10 + PAUSE),
        Share(8, 10 + 2 * PAUSE, 15 + 2 * PAUSE),
    ]


@pytest.mark.parametrize(
    ("levels", "seconds", "sentence"),
    [
        ([2, 4], 5, "has to begin with 1"),
        ([], 5, "has to begin with 1"),
        ([1], 5, "at least two levels"),
        ([1, 2, 2], 5, "levels[2] is 2; levels have to grow"),
        ([0, 1], 5, "levels[0] is 0"),
        ([1, 2], 2, "The seconds of a level are 2; they have to be more than 2."),
    ],
)
def test_wrong_sweeps_are_refused(levels: list[int], seconds: float, sentence: str) -> None:
    with pytest.raises(SupersonicError) as caught:
        sweep_of(levels, seconds)
    assert sentence in str(caught.value)


# ---- statistics --------------------------------------------------------------------------------------------------


def test_quantiles_are_values_that_were_seen() -> None:
    values = [float(number) for number in range(1, 101)]
    assert quantile(values, 0.5) == 50
    assert quantile(values, 0.99) == 99
    assert quantile(values, 1.0) == 100
    assert quantile([7.0], 0.99) == 7


def test_latency_of_requests() -> None:
    requests = [Request(0, 0.020)] * 98 + [Request(1, 0.2), Request(2, 0.3)]
    assert latency(requests) == {
        "requests": 100,
        "mean_ms": 24.6,
        "p50_ms": 20.0,
        "p99_ms": 200.0,
        "max_ms": 300.0,
    }
    assert latency([]) == {"requests": 0, "mean_ms": None, "p50_ms": None, "p99_ms": None, "max_ms": None}


def test_settled_is_long_after_every_change() -> None:
    sent = [Request(float(second), 0.02) for second in range(480)]
    found = [request.begin for request in settled(sent, PAPER, 20)]
    assert found == [*range(20, 60), *range(80, 300), *range(320, 480)]
    # A step that is over before it settles says nothing.
    assert settled([Request(5, 1)], [Step(1, 10)], 20) == []


def test_changes_of_the_load() -> None:
    assert changes([Step(2, 3), Step(2, 4), Step(1, 1)]) == [(0, 2), (7, 1)]


def test_mean_servers() -> None:
    looks = [Look(-1, 1, 1), Look(4, 3, 1), Look(6, 3, 3)]
    assert mean_servers(looks, 0, 10) == pytest.approx((2.2, 1.8))
    assert mean_servers(looks, 6, 8) == (3, 3)
    # What was there before the first look is taken for the same.
    assert mean_servers([Look(5, 2, 2)], 0, 10) == (2, 2)
    assert mean_servers([], 0, 10) == (0, 0)


def test_busy_servers() -> None:
    samples = [Busy(-2, 0), Busy(0, 1), Busy(10, 9), Busy(20, 9)]
    assert busy_seconds(samples, 0, 10) == 8
    assert busy_seconds(samples, 5, 15) == 4
    assert busy_seconds([], 0, 1) == 0
    assert utilization(samples, [Look(-1, 2, 2)], 0, 10) == 0.4
    assert utilization(samples, [Look(-1, 2, 0)], 0, 10) is None


def test_only_changes_are_kept() -> None:
    assert only_changes([Look(0, 1, 1), Look(1, 1, 1), Look(2, 2, 1), Look(3, 2, 2), Look(4, 2, 2)]) == [
        Look(0, 1, 1),
        Look(2, 2, 1),
        Look(3, 2, 2),
    ]


def test_timeline() -> None:
    profile = [Step(1, 2), Step(2, 1.5)]
    requests = [Request(0.1, 0.1), Request(0.2, 0.3), Request(3.4, 1.0), Request(-0.1, 9), Request(3.5, 9)]
    rows = timeline(requests, [Look(0, 2, 1), Look(3, 2, 2)], [Busy(0, 0), Busy(4, 2)], profile, 1)
    assert [row["seconds"] for row in rows] == [0, 1, 2, 3]
    assert [row["clients"] for row in rows] == [1, 1, 2, 2]
    assert [row["requests"] for row in rows] == [2, 0, 0, 1]
    assert [row["mean_ms"] for row in rows] == [200, None, None, 1000]
    assert [row["servers_ready"] for row in rows] == [1, 1, 1, 2]
    assert [row["utilization"] for row in rows] == [0.5, 0.5, 0.5, 0.25]


def test_row_of_a_pool() -> None:
    profile = [Step(1, 30), Step(2, 30)]
    requests = [Request(second + 0.5, 0.5 if 30 <= second < 50 else 0.02) for second in range(60)]
    outcome = Outcome(requests, 1, {"Socket closed": None}, 2.5)
    seen = Seen(outcome, [Look(-1, 1, 1), Look(40, 2, 2)], [Busy(0, 0), Busy(60, 40)], [])
    row = figure_row("dynamic", seen, profile, 20)
    assert (row["requests"], row["failures"], row["errors"]) == (60, 1, ["Socket closed"])
    assert (row["p99_ms"], row["settled_p99_ms"], row["settled_mean_ms"]) == (500, 20, 20)
    assert (row["servers_mean"], row["servers_max"], row["utilization"]) == (1.333, 2, 0.5)
    assert (row["throughput"], row["busy_seconds"], row["lost_client_seconds"], row["swings"]) == (1, 40, 2.5, 0)


def test_row_of_a_level_leaves_out_what_crosses_its_borders() -> None:
    share = Share(2, 10, 15)
    requests = [Request(10.2, 0.02), Request(11.5, 0.1), Request(13, 0.3), Request(14.9, 0.5), Request(16, 0.1)]
    row = capacity_row(Seen(Outcome(requests), [Look(0, 1, 1)], [Busy(0, 0), Busy(20, 20)], []), share)
    assert (row["clients"], row["requests"], row["mean_ms"], row["throughput"]) == (2, 2, 200, 0.5)
    assert row["utilization"] == 1


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([1, 1, 6, 6, 6], 0),
        ([1, 3, 6, 6, 6], 0),
        ([1, 6, 5, 5, 6], 2),
        ([1, 6, 1, 6, 1], 3),
    ],
)
def test_swings_are_turns_under_the_same_load(wanted: list[int], expected: int) -> None:
    looks = [Look(float(number), each, each) for number, each in enumerate(wanted)]
    assert swings(looks, [Step(1, 5)]) == expected


def test_following_the_load_is_no_swing() -> None:
    looks = [Look(0, 1, 1), Look(1, 6, 1), Look(5, 6, 6), Look(6, 1, 6)]
    assert swings(looks, [Step(1, 5), Step(0, 5)]) == 0


def test_a_run_ends_when_nobody_reads_its_result() -> None:
    """As Ansible leaves its modules when it is interrupted."""
    ask = "from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark import run; run.check_wanted()"
    environment = for_python()
    for closed in (False, True):
        command = [sys.executable, "-c", f"import sys; sys.stdin.read(); {ask}"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stdin
            assert process.stdout
            assert process.stderr
            if closed:
                process.stdout.close()
            process.stdin.close()
            said = process.stderr.read()
        assert ("The benchmark was cancelled: Ansible ended its task." in said) == closed, said
