# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The molecule scenarios, beside the other tests: most of their time they wait for pods."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment
from ansible_collections.fastml.supersonic.tests.harness.evidence import run_and_keep
from ansible_collections.fastml.supersonic.tests.harness.keda import Keda
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE

FOLDER = CLONE / "extensions/molecule"
# The life of an instance takes as long as several roles, and comes first.
SCENARIOS = sorted(
    (file.parent.name for file in FOLDER.glob("*/molecule.yml")), key=lambda name: (name != "instance", name)
)
# In `make test`; what the others deploy is deployed there by tests of playbooks and of inclusion too.
DAILY = ("instance",)


def marks(scenario: str) -> list[pytest.MarkDecorator]:
    """That of the autoscaler deploys KEDA by its role, and so needs a cluster on which a person has none."""
    thorough = [] if scenario in DAILY else [pytest.mark.thorough]
    return [pytest.mark.alone, *thorough] if scenario == "autoscaler" else thorough


@pytest.mark.parametrize("scenario", [pytest.param(name, marks=marks(name)) for name in SCENARIOS])
def test_scenario(request: pytest.FixtureRequest, scenario: str) -> None:
    cluster: Cluster = request.getfixturevalue("new_cluster" if scenario == "autoscaler" else "cluster")
    programs = Path(sys.executable).parent
    environment = own_environment(
        PATH=f"{programs}{os.pathsep}{os.environ['PATH']}",
        ANSIBLE_CONFIG=str(CLONE / "ansible.cfg"),
        KUBECONFIG=cluster.kubeconfig,
    )
    code, failed = run_and_keep(
        [programs / "molecule", "test", "--scenario-name", scenario],
        Path(cluster.kubeconfig),
        f"molecule-{scenario.replace('_', '-')}",
        request.node.nodeid,
        CLONE,
        environment,
    )
    assert code == 0, f"These tasks failed, and molecule's whole output is below:\n{failed}"
    assert scenario != "autoscaler" or Keda(cluster).left() == []
