# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the HorizontalPodAutoscaler and KEDA decide, by the rules of Kubernetes' documentation."""

from __future__ import annotations

import pytest

from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation.hpa import (
    SCALE_DOWN,
    SCALE_UP,
    Activation,
    Autoscaler,
    Policy,
    Reading,
    Rules,
)

AT_ONCE = Rules(0.0, (Policy("Pods", 1000, 15.0),))
ALL_AT_ONCE = Rules(0.0, (Policy("Percent", 100, 15.0),))


def autoscaler(up: Rules = AT_ONCE, down: Rules = ALL_AT_ONCE, minimum: int = 1, maximum: int = 100) -> Autoscaler:
    return Autoscaler(minimum, maximum, up, down)


@pytest.mark.parametrize(
    ("value", "wanted", "desired"),
    [
        (1.8, 1, 1),
        (1.97, 1, 1),  # 9 % more is within the tolerance
        (2.0, 1, 2),
        (18.0, 1, 10),
        (9.8, 6, 6),
        (9.7, 6, 6),  # more than the tolerance, but still more than five need
        (9.0, 6, 5),
        (0.0, 6, 1),
        (1e6, 6, 100),
    ],
)
def test_a_mean_value_is_divided_by_the_threshold(value: float, wanted: int, desired: int) -> None:
    assert autoscaler().sync(0.0, wanted, wanted, [Reading(value, 1.8, average=True)]) == desired


def test_a_value_multiplies_the_ready_servers() -> None:
    assert autoscaler().sync(0.0, 4, 4, [Reading(30.0, 20.0, average=False)]) == 6
    # Those that start already count for nothing.
    assert autoscaler().sync(0.0, 4, 2, [Reading(30.0, 20.0, average=False)]) == 3


def test_the_metric_that_asks_for_most_decides() -> None:
    readings = [Reading(1.0, 1.0, True), Reading(5.0, 1.0, True), Reading(2.0, 1.0, True)]
    assert autoscaler().sync(0.0, 3, 3, readings) == 5


def test_a_missing_metric_forbids_fewer_servers_and_not_more() -> None:
    missing = Reading(None, 1.0, average=True)
    assert autoscaler().sync(0.0, 3, 3, [Reading(1.0, 1.0, True), missing]) == 3
    assert autoscaler().sync(0.0, 3, 3, [Reading(7.0, 1.0, True), missing]) == 7
    assert autoscaler().sync(0.0, 3, 3, [missing]) == 3


def test_the_window_of_scaling_down_keeps_the_highest_recommendation() -> None:
    hpa = autoscaler(down=Rules(60.0, ALL_AT_ONCE.policies))
    found = [hpa.sync(now, 6, 6, [Reading(value, 1.0, True)]) for now, value in ((0, 6), (15, 4), (30, 1), (45, 1))]
    assert found == [6, 6, 6, 6]
    assert hpa.sync(60.0, 6, 6, [Reading(1.0, 1.0, True)]) == 4
    assert hpa.sync(75.0, 4, 4, [Reading(1.0, 1.0, True)]) == 1


def test_the_window_of_scaling_up_waits_for_the_lowest_recommendation() -> None:
    hpa = autoscaler(up=Rules(60.0, AT_ONCE.policies))
    found = [hpa.sync(15.0 * look, 1, 1, [Reading(3.0, 1.0, True)]) for look in range(5)]
    assert found == [1, 1, 1, 1, 3]


def test_policies_limit_what_changes_within_their_period() -> None:
    hpa = autoscaler(up=SCALE_UP)
    many = [Reading(90.0, 1.0, True)]
    # At most 4 or the double in 15 s, whichever is more.
    assert [hpa.sync(0.0, 1, 1, many), hpa.sync(5.0, 5, 1, many), hpa.sync(15.0, 5, 5, many)] == [5, 5, 10]
    least = autoscaler(up=Rules(0.0, SCALE_UP.policies, select="Min"))
    assert least.sync(0.0, 10, 10, many) == 14
    assert autoscaler(up=Rules(0.0, SCALE_UP.policies, select="Disabled")).sync(0.0, 10, 10, many) == 10
    half = autoscaler(down=Rules(0.0, (Policy("Percent", 50, 15.0), Policy("Pods", 1, 15.0))))
    none = [Reading(0.0, 1.0, True)]
    assert [half.sync(0.0, 9, 9, none), half.sync(15.0, 4, 4, none), half.sync(20.0, 2, 2, none)] == [4, 2, 2]


def test_bounds_hold_whatever_is_read() -> None:
    assert autoscaler(minimum=2).sync(0.0, 5, 5, [Reading(0.0, 1.0, True)]) == 2
    assert autoscaler(maximum=4).sync(0.0, 9, 9, [Reading(None, 1.0, True)]) == 4
    assert autoscaler(minimum=2).sync(0.0, 1, 1, [Reading(None, 1.0, True)]) == 2
    assert autoscaler().sync(0.0, 0, 0, [Reading(50.0, 1.0, True)]) == 0


def test_rules_are_read_in_the_form_of_kubernetes() -> None:
    rules = Rules.of({"policies": [{"type": "Pods", "value": 2, "periodSeconds": 30}]}, SCALE_DOWN)
    assert rules == Rules(300.0, (Policy("Pods", 2, 30.0),))
    assert Rules.of({"stabilizationWindowSeconds": 0, "selectPolicy": "Min"}, SCALE_UP) == Rules(
        0.0, SCALE_UP.policies, "Min"
    )


def test_keda_wakes_a_workload_and_lets_it_sleep() -> None:
    keda = Activation(0, cooldown=60.0)
    assert keda.poll(0.0, 0, active=False) == 0
    assert keda.poll(5.0, 0, active=True) == 1
    assert keda.poll(65.0, 3, active=False) == 3
    assert keda.poll(66.0, 3, active=False) == 0
    # With a minimum it is the autoscaler's alone.
    assert Activation(2, cooldown=60.0).poll(500.0, 3, active=False) == 3
