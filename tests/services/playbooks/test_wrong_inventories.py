# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong inventories in real runs, which say the same as the judge alone, and change nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE
from ansible_collections.fastml.supersonic.tests.unit.rules.test_wrong_inventories import (
    RIGHT,
    WRONG,
    judged,
    write_inventory,
)


def run_site(inventory: Path, *arguments: str, playbook: str = "site.yml") -> subprocess.CompletedProcess[str]:
    """A playbook from the clone, results as JSON, one line each."""
    environment = {
        **own_environment(),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg"),
        "ANSIBLE_FORKS": "4",
        "ANSIBLE_NOCOLOR": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", playbook, "-i", str(inventory), *arguments],
        cwd=CLONE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def messages(output: str) -> dict[str, str]:
    """The message of every failed host."""
    found = {}
    for match in re.finditer(r"^fatal: \[([^\]]+)\]: FAILED! => ", output, re.M):
        result, _end = json.JSONDecoder().raw_decode(output, match.end())
        found[match[1]] = result["msg"]
    return found


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inventory of some of them, from all over the table, and the one that is right."""
    return write_inventory(tmp_path_factory.mktemp("inventory"), [("right", {}, ""), *WRONG[::25]])


@pytest.fixture(scope="module")
def run_of_some(some: Path) -> subprocess.CompletedProcess[str]:
    return run_site(some)


def test_a_real_run_says_the_same(some: Path, run_of_some: subprocess.CompletedProcess[str]) -> None:
    found = messages(run_of_some.stdout)
    assert set(found) == {name for name, _changes, _expected in WRONG[::25]}, run_of_some.stdout
    assert found == judged(some)


def test_nothing_ran_after_the_refusal(run_of_some: subprocess.CompletedProcess[str]) -> None:
    assert run_of_some.returncode == 2
    output = run_of_some.stdout + run_of_some.stderr
    assert "Check every variable of every instance" in output
    assert "Deploy every instance" not in output
    assert not re.search(r"changed=[1-9]", output)


def test_local_is_refused_before_a_cluster_is_built(tmp_path: Path) -> None:
    """dev/playbooks/local.yml with a wrong instance; folders that only its cluster play makes are no problem yet."""
    inventory = CLONE / "inventories" / "local"
    wrong = json.dumps({"local_directory": str(tmp_path / "none"), "triton_replicas": -1})
    done = run_site(inventory, "-e", wrong, playbook="dev/playbooks/local.yml")
    assert done.returncode == 2
    found = messages(done.stdout)
    assert list(found) == ["local"]
    assert "The inventory of local has 1 problem(s); nothing was changed.\n- triton_replicas is -1" in found["local"]
    assert "Bring up Kubernetes" not in done.stdout
    assert not (tmp_path / "none").exists()


def test_a_misspelt_variable_keeps_teardown_from_beginning(tmp_path: Path) -> None:
    right = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "supersonic_namespace": "cms"}
    hosts = {"right": {**right, "supersonic_name": "a"}, "wrong": {**right, "triton_replcas": 3}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"supersonic_instances": {"hosts": hosts}}))
    done = run_site(tmp_path, playbook="playbooks/teardown.yml")
    assert done.returncode == 2
    assert "triton_replcas" in messages(done.stdout)["wrong"]
    assert "Remove instances" not in done.stdout
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"supersonic_instances": {"hosts": {"right": right}}}))
    done = run_site(tmp_path, "-e", "teardown_model=true", playbook="playbooks/teardown.yml")
    assert "this playbook has no such variable. Did you mean teardown_models?" in messages(done.stdout)["right"]
    assert "Remove instances" not in done.stdout


def test_an_inventory_without_instances(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"supersonic_instance": {"hosts": {"a": RIGHT}}}))
    done = run_site(inventory)
    assert done.returncode != 0
    assert "no host in the group supersonic_instances" in done.stdout
