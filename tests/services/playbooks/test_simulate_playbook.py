# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook of the simulator, with the variables of an inventory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, Run, instance_inventory, run_playbook

PLAYBOOK = CLONE / "dev/playbooks/simulate.yml"
LOAD = [{"clients": 1, "seconds": 30}, {"clients": 8, "seconds": 120}]
WANTED = {"simulate_profile": LOAD, "simulate_pools": [1, "dynamic"]}


def simulate(folder: Path, **variables: Any) -> Run:
    hosts = {
        "small": {"supersonic_namespace": "a", "autoscaler_min_replicas": 1, "autoscaler_max_replicas": 2},
        "large": {"supersonic_namespace": "b", "autoscaler_min_replicas": 4, "autoscaler_max_replicas": 6},
    }
    return run_playbook(PLAYBOOK, instance_inventory(folder, hosts), extra=WANTED | variables)


def test_each_instance_is_simulated_with_its_own_variables(tmp_path: Path) -> None:
    done = simulate(tmp_path)
    assert done.code == 0, done.output
    mean = {}
    for host in ("small", "large"):
        text = "".join(done.results_of(host))
        # A line for each pool, whose third number is the mean of servers.
        number = r" +([\d.]+)"
        static, dynamic = (re.search(rf"^ +{pool}{3 * number} ", text, re.M) for pool in ("1", "dynamic"))
        assert static is not None, text
        assert dynamic is not None, text
        assert float(static[3]) == 1
        mean[host] = float(dynamic[3])
        assert "seconds" in text
    assert 1 <= mean["small"] <= 2 < 4 <= mean["large"] <= 6


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"simulate_pool": {"start_second": 5}}, "Unsupported parameters"),
        ({"simulate_pols": [1]}, "simulate_pols"),
        ({"simulate_pools": ["many"]}, "pools"),
    ],
)
def test_what_is_wrong_is_refused(tmp_path: Path, variables: dict[str, Any], message: str) -> None:
    refused = simulate(tmp_path, **variables)
    assert refused.code != 0
    assert message in refused.text
