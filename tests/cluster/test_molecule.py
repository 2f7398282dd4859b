# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The molecule scenarios, beside the other tests: most of their time they wait for pods."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE
from ansible_collections.fastml.supersonic.tests.harness.processes import own_environment

FOLDER = CLONE / "extensions/molecule"
# The life of an instance takes as long as several roles, and comes first.
SCENARIOS = sorted(
    (file.parent.name for file in FOLDER.glob("*/molecule.yml")), key=lambda name: (name != "instance", name)
)
# In `make test`; what the others deploy is deployed there by tests of playbooks and of inclusion too.
DAILY = ("instance", "triton", "envoy")


@pytest.mark.parametrize(
    "scenario", [pytest.param(name, marks=() if name in DAILY else pytest.mark.thorough) for name in SCENARIOS]
)
def test_scenario(request: pytest.FixtureRequest, scenario: str) -> None:
    if scenario == "autoscaler":
        # Other tests use KEDA at the same time: the scenario would remove what it had to deploy itself.
        request.getfixturevalue("keda")
    programs = Path(sys.executable).parent
    environment = own_environment(
        PATH=f"{programs}{os.pathsep}{os.environ['PATH']}",
        ANSIBLE_CONFIG=str(CLONE / "ansible.cfg"),
        LC_ALL="C.UTF-8",
    )
    done = subprocess.run(
        [programs / "molecule", "test", "--scenario-name", scenario],
        cwd=CLONE,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout
