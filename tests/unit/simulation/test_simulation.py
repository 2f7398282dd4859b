# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated pool against runs of real ones, and what the defaults promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation.hpa import Policy, Rules
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation.metrics import Watch
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation.report import (
    PROFILE,
    figures,
    pool_of,
    profile_of,
    simulate,
)
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation.simulation import (
    Pool,
    Simulation,
    Trace,
    Trigger,
)

CLONE = Path(__file__).resolve().parents[3]
DEFAULT = pool_of({}, {})


def run(pool: Pool, profile: Sequence[Mapping[str, Any]] = PROFILE, seed: int = 1) -> tuple[Trace, dict[str, Any]]:
    trace = Simulation(pool, profile_of(profile), seed).run()
    return trace, figures(pool, trace)


def when(trace: Trace, wanted: int) -> float:
    return next(time for time, count in trace.wanted if count == wanted)


# ---- against measured runs: a single-node cluster, a serial model of 20.8 ms, KEDA 2.21, scrapes every 2 s --------


@pytest.mark.parametrize(("servers", "mean", "p99", "utilization"), [(1, 122.0, 243.0, 0.93), (6, 37.0, 73.0, 0.52)])
def test_static_pools_are_as_measured(servers: int, mean: float, p99: float, utilization: float) -> None:
    half = [{**piece, "seconds": piece["seconds"] / 2} for piece in PROFILE]
    found = simulate(DEFAULT, half, [servers])["pools"][0]
    assert found["mean_ms"] == pytest.approx(mean, rel=0.05)
    assert found["p99_ms"] == pytest.approx(p99, rel=0.15)
    assert found["utilization"] == pytest.approx(utilization, rel=0.05)


def test_two_draws_of_the_prototype_are_as_two_measured_runs() -> None:
    """Of two real runs. Where a run stood near a threshold each draw goes its own way: these two went as they did, and
    tests/unit/simulation/test_report.py compares many draws with four runs."""
    prototype = replace(
        DEFAULT,
        triggers=(Trigger("requests_in_flight", 1.8),),
        watch=Watch(window=10.0),
        up=Rules(0.0, (Policy("Pods", 6, 5.0),)),
        down=Rules(30.0, (Policy("Percent", 100, 15.0),)),
    )
    # A draw whose looks come when they came.
    trace, found = run(prototype, seed=3)
    assert [count for _when, count in trace.wanted] == [1, 6, 5, 1]
    assert [time for time, _count in trace.wanted[1:]] == pytest.approx([73, 312, 327], abs=5)
    assert next(time for time, count in trace.ready if count == 6) == pytest.approx(77, abs=5)
    assert found["requests"] == pytest.approx(69448, rel=0.01)
    assert found["mean_ms"] == pytest.approx(38.0, rel=0.02)
    assert found["p99_ms"] == pytest.approx(210, rel=0.02)
    assert found["servers_mean"] == pytest.approx(3.57, rel=0.02)
    assert found["utilization"] == pytest.approx(0.84, rel=0.02)
    steps = [{"clients": 1, "seconds": 30}, *({"clients": count, "seconds": 45} for count in (3, 6, 10, 4, 8, 2))]
    trace, found = run(prototype, steps, seed=2)
    assert [count for _when, count in trace.wanted][:4] == [1, 2, 4, 6]
    delays = [when(trace, count) - since for count, since in ((2, 30), (4, 75), (6, 120))]
    assert delays == pytest.approx([15] * 3, abs=3)
    assert found["requests"] == pytest.approx(38674, rel=0.03)
    assert found["mean_ms"] == pytest.approx(39.2, rel=0.03)
    assert found["servers_mean"] == pytest.approx(3.5, rel=0.03)


def test_upstream_default_is_as_measured() -> None:
    slow = Rules(60.0, (Policy("Pods", 1, 15.0),))
    pool = replace(
        DEFAULT,
        triggers=(Trigger("queue_time_per_execution", 100.0, average=False),),
        watch=Watch(window=30.0),
        up=slow,
        down=slow,
    )
    trace, found = run(pool)
    # Never a third, though six would be needed.
    assert max(count for _when, count in trace.wanted) == 2
    assert 60 + 65 <= when(trace, 2) <= 60 + 75
    assert found["mean_ms"] == pytest.approx(91, rel=0.05)
    assert found["requests"] == pytest.approx(28908, rel=0.05)
    assert found["servers_mean"] == pytest.approx(1.48, rel=0.05)
    assert found["utilization"] == pytest.approx(0.85, rel=0.05)


def test_upstream_at_geddes_is_as_measured() -> None:
    pool = replace(
        DEFAULT,
        triggers=(Trigger("queue_time_per_execution", 20.0, average=False),),
        watch=Watch(window=30.0),
        up=Rules(30.0, (Policy("Pods", 1, 15.0),)),
        down=Rules(45.0, (Policy("Pods", 1, 45.0),)),
    )
    trace, found = run(pool)
    assert 60 + 20 <= when(trace, 2) <= 60 + 32
    assert 60 + 85 <= next(time for time, count in trace.ready if count == 6) <= 60 + 104
    # Six are too many for the metric and five too few.
    assert [count for _when, count in trace.wanted][5:7] == [6, 5]
    assert found["swings"] >= 1
    assert found["mean_ms"] == pytest.approx(48, rel=0.06)
    assert found["requests"] == pytest.approx(55465, rel=0.05)
    assert found["servers_mean"] == pytest.approx(3.65, rel=0.05)
    assert found["utilization"] == pytest.approx(0.66, rel=0.05)


# ---- what the defaults come to --------------------------------------------------------------------------------------


def test_the_defaults_are_better_than_the_prototype() -> None:
    found = simulate(DEFAULT, runs=6)["pools"][0]
    assert found["mean_ms"] <= 38.0
    assert found["requests"] >= 69000
    assert found["servers_mean"] <= 3.6
    assert found["utilization"] >= 0.84
    assert found["settled_p99_ms"] <= 90
    assert found["response_seconds"] <= 20
    assert found["swings"] == 0


def test_kubernetes_does_not_know_which_server_is_idle() -> None:
    """Of a pool that shrinks by half under load, over many draws: a busy server goes as often as an idle one."""
    gone = 0
    for seed in range(60):
        simulation = Simulation(replace(DEFAULT, replicas=2, triggers=()), profile_of([{"seconds": 1}]), seed)
        simulation.run()
        busy, idle = simulation._ready
        busy.active[0] = 5
        simulation._scale(1)
        gone += busy.draining
        assert busy.draining != idle.draining
    assert 15 <= gone <= 45


@pytest.mark.parametrize("execution_ms", [5, 500])
def test_one_client_keeps_one_server(execution_ms: float) -> None:
    pool = replace(pool_of({}, {"models": [{"execution_ms": execution_ms}]}), replicas=6)
    trace, found = run(pool, [{"clients": 1, "seconds": 240}])
    assert trace.wanted[-1][1] == 1
    assert found["swings"] == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_open_load_does_not_collapse_when_servers_go(seed: int) -> None:
    # 4.0 servers' worth of requests; a mere count of those in flight would keep three.
    trace, found = run(replace(DEFAULT, replicas=6), [{"rate": 192, "seconds": 300}], seed)
    assert min(count for _when, count in trace.wanted) >= 5
    assert found["swings"] == 0
    assert found["p99_ms"] <= 120


def test_a_batching_model_is_not_given_servers_without_end() -> None:
    settings = {"models": [{"execution_ms": 20, "request_ms": 0.5, "max_batch": 64}]}
    trace, _found = run(pool_of({"autoscaler_max_replicas": 50}, settings), [{"clients": 200, "seconds": 120}])
    assert trace.wanted[-1][1] <= 4


def test_nothing_goes_while_prometheus_says_nothing() -> None:
    dark = replace(DEFAULT, replicas=6, outages=((20.0, 320.0),))
    trace, _found = run(dark, [{"clients": 10, "seconds": 10}, {"clients": 1, "seconds": 380}])
    assert [count for time, count in trace.wanted if time < 320] == [6]
    assert trace.wanted[-1][1] == 1


def test_from_zero_and_back() -> None:
    pool = pool_of({"autoscaler_min_replicas": 0, "autoscaler_cooldown": 30, "autoscaler_polling_interval": 5}, {})
    trace, found = run(pool, [{"seconds": 60}, {"clients": 1, "seconds": 60}, {"seconds": 120}])
    assert [count for _when, count in trace.wanted] == [0, 1, 0]
    # A scrape, a poll and the start; then the cooldown.
    assert trace.wanted[1][0] <= 60 + 2 + 5 + 0.1
    assert trace.sent[0] <= 60 + 2 + 5 + 4.4 + 1
    assert trace.wanted[2][0] >= 120 + 30
    assert found["failures"] > 0


def test_the_same_seed_is_the_same_run() -> None:
    first, second, other = (run(DEFAULT, [{"rate": 90, "seconds": 60}], seed)[0] for seed in (5, 5, 6))
    assert list(first.latency) == list(second.latency)
    assert list(first.latency) != list(other.latency)


def test_the_role_has_the_defaults_that_are_simulated() -> None:
    role = yaml.safe_load((CLONE / "roles" / "autoscaler" / "defaults" / "main.yml").read_text())
    # How many there may be at most has to be said.
    assert pool_of({**role, "autoscaler_max_replicas": 6}, {}) == DEFAULT


def test_variables_of_the_role_are_heeded() -> None:
    pool = pool_of(
        {
            "autoscaler_min_replicas": 2,
            "autoscaler_max_replicas": 9,
            "autoscaler_headroom": 1.5,
            "autoscaler_requests_per_server": 8,
            "autoscaler_window": 60,
            "autoscaler_scale_down": {"stabilizationWindowSeconds": 90},
            "autoscaler_default_triggers": ["queue_time"],
            "autoscaler_queue_time_threshold": 50,
            "autoscaler_wait_timeout": 5,
        },
        {"scrape_interval": 10},
    )
    assert (pool.minimum, pool.maximum, pool.down.stabilization) == (2, 9, 90.0)
    assert (pool.watch.headroom, pool.watch.capacity, pool.watch.window) == (1.5, 8.0, 60.0)
    assert pool.watch.burst_window == 20.0
    assert pool.triggers == (Trigger("queue_time", 50.0, average=False),)


@pytest.mark.parametrize(
    ("variables", "settings", "message"),
    [
        ({"autoscaler_min_replicas": 7}, {}, "autoscaler_max_replicas"),
        ({"autoscaler_default_triggers": ["cpu"]}, {}, "No simulation of the triggers cpu"),
        ({}, {"models": [{"execution_ms": 0}]}, "needs time for a request"),
        ({}, {"scrape_interval": -1}, "scrape_interval"),
    ],
)
def test_what_cannot_be_simulated_is_said(variables: dict[str, Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SupersonicError, match=message):
        pool_of(variables, settings)


def test_a_ramp_and_noise_are_steps() -> None:
    ramp = profile_of([{"clients": 3, "until": 1, "seconds": 30}])
    assert [(step.clients, step.duration) for step in ramp] == [(3, 10.0), (2, 10.0), (1, 10.0)]
    noise = profile_of([{"clients": 6, "noise": 2, "seconds": 100, "every": 10}])
    assert len({step.clients for step in noise}) > 1
    with pytest.raises(SupersonicError, match="profile is empty"):
        profile_of([])
