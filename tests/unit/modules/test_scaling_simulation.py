# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible calls it."""

from __future__ import annotations

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic_dev.plugins.modules import scaling_simulation

SHORT = [{"clients": 1, "seconds": 30}, {"clients": 10, "seconds": 60}]


@pytest.mark.parametrize("check", [True, False])
def test_pools_are_compared_under_one_load(check: bool) -> None:
    found = run_module(
        "scaling_simulation",
        {"profile": SHORT, "pools": ["1", "dynamic"], "variables": {"autoscaler_max_replicas": 3}},
        check=check,
        collection="fastml.supersonic_dev",
    )
    assert not found["changed"]
    static, dynamic = found["pools"]
    assert static["pool"] == "1"
    assert dynamic["servers_max"] == 3
    assert dynamic["mean_ms"] < static["mean_ms"]
    rows = found["timelines"]["dynamic"]
    assert len(rows) == 18
    assert sum(row["requests"] for row in rows) == pytest.approx(dynamic["requests"])
    assert found["servers"]["dynamic"][-1]["wanted"] == 3
    assert len(found["chart"]) == 19
    assert found["chart"][-1].endswith("###")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": []}, "The profile is empty"),
        ({"profile": [{"clients": 1, "seconds": -1}]}, "has to last some time"),
        ({"pools": ["six"]}, "A pool is dynamic or a number of servers, not 'six'"),
        ({"pools": []}, "no pool"),
        ({"runs": 0}, "runs"),
        ({"slots": 0}, "slots"),
        ({"outages": [[5]]}, "outages"),
        ({"variables": {"autoscaler_scale_up": {"policies": [{"type": "Pods"}]}}}, "autoscaler_scale_up"),
        ({"variables": {"autoscaler_max_replicas": "many"}}, "autoscaler_max_replicas"),
    ],
)
def test_what_makes_no_sense_is_said(options: dict[str, object], message: str) -> None:
    found = run_module("scaling_simulation", {"profile": SHORT, **options}, collection="fastml.supersonic_dev")
    assert found["failed"]
    assert message in found["msg"]


def test_documented_defaults_are_the_real_ones() -> None:
    documented = yaml.safe_load(scaling_simulation.DOCUMENTATION)["options"]
    for name, option in scaling_simulation.ARGUMENT_SPEC.items():
        # Ansible fills in what elements of these two lack.
        if name not in ("profile", "models"):
            assert documented[name].get("default") == option.get("default")
