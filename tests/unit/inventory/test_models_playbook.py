# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/models.yml: what it refuses before any cluster is asked, and what its role tells."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.playbooks import Run, run_playbook

ACTIONS = "list, publish, rollback, verify, prune"


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """An instance that loads from a claim that somebody else publishes to, and whose cluster nobody can reach."""
    kubeconfig = tmp_path / "kubeconfig"
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "c"}}
    user = {"name": "c", "user": {"token": "x"}}
    content = {"clusters": [cluster], "contexts": [context], "users": [user], "current-context": "c"}
    kubeconfig.write_text(yaml.safe_dump(content))
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_namespace": "cms",
        "supersonic_kubeconfig": str(kubeconfig),
        "triton_image": "example.org/tritonserver:26.04-py3",
        "triton_model_repositories": [
            {"name": "models", "kind": "pvc", "claim": "supersonic-models", "path": "current"}
        ],
        "model_repository_image": "example.org/tritonserver:26.04-py3",
        "verify_golden_directories": [str(Path(__file__).parent / "models")],
    }
    path = tmp_path / "hosts.yml"
    path.write_text(yaml.safe_dump({"supersonic_instances": {"hosts": {"cms": variables}}}))
    return path


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"models_action": "roll_back"}, f"models_action is 'roll_back', but has to be one of {ACTIONS}; without it"),
        ({"models_action": ""}, f"models_action is '', but has to be one of {ACTIONS}"),
        ({"models_action": "publish"}, "The inventory of cms names no folder in model_repository_sources"),
        ({"models_action": "rollback", "model_repository_rollback_to": "v2"}, "first 8 characters"),
        (
            {"models_acton": "publish"},
            "models_acton (CLI option '-e'): this playbook has no such variable. Did you mean models_action?",
        ),
        # What is right comes as far as the cluster.
        ({}, "127.0.0.1:1"),
        ({"models_action": "rollback"}, "127.0.0.1:1"),
        ({"models_action": "verify"}, "127.0.0.1:1"),
        ({"models_action": "prune"}, "127.0.0.1:1"),
    ],
)
def test_actions(inventory: Path, extra: dict[str, Any], message: str) -> None:
    done = run_playbook("playbooks/models.yml", inventory, extra=extra)
    assert done.code != 0
    assert message in done.text, done.output
    assert ("Do what was asked for" in done.output or "TASK [fastml.supersonic.model_repository" in done.output) == (
        message == "127.0.0.1:1"
    )
    assert done.recap["cms"]["changed"] == 0


# ---- the role model_repository, as far as the cluster --------------------------------------------------------------


def publish(folder: Path, inventory: Path, *arguments: str, **changes: Any) -> Run:
    """Publish with the role alone."""
    variables = yaml.safe_load(inventory.read_text())["supersonic_instances"]["hosts"]["cms"]
    variables |= {"model_repository_sources": [str(Path(__file__).parent / "models")], **changes}
    # The claim would be asked for first.
    variables |= {"model_repository_mode": "existing", "triton_env": [{"name": "WHAT", "value": "planted-5d1f"}]}
    present = {key: value for key, value in variables.items() if value is not None}
    inventory.write_text(yaml.safe_dump({"supersonic_instances": {"hosts": {"cms": present}}}))
    play = {
        "hosts": "supersonic_instances",
        "gather_facts": False,
        "roles": [{"role": "fastml.supersonic.model_repository"}],
    }
    playbook = folder / "publish.yml"
    playbook.write_text(yaml.safe_dump([play]))
    done = run_playbook(playbook, inventory, *arguments)
    assert "127.0.0.1:1" in done.text, done.output
    return done


UNTRIED = "No server tries the release: the instance has no triton_image."


def test_what_a_server_is_shows_no_environment(tmp_path: Path, inventory: Path) -> None:
    done = publish(tmp_path, inventory, "-v")
    assert "Say what a server is" in done.output
    assert "planted" not in done.output


def test_a_template_that_fails_says_why(tmp_path: Path, inventory: Path) -> None:
    with pytest.raises(AssertionError, match="'nowhere' is undefined"):
        publish(tmp_path, inventory, triton_pod_annotations={"a": "{{ nowhere }}"})


@pytest.mark.parametrize(
    ("changes", "told", "seconds"),
    [
        ({"triton_image": None}, True, 120),
        ({"model_repository_test_load": False}, False, 120),
        ({"model_repository_test_load_timeout": 600, "model_repository_canary": True}, False, 780),
    ],
)
def test_who_tries_a_release_and_how_long_others_wait(
    tmp_path: Path, inventory: Path, changes: dict[str, Any], told: bool, seconds: int
) -> None:
    """Where nobody does it is told, and others that publish to the claim are waited for as always."""
    done = publish(tmp_path, inventory, "-vvv", **changes)
    assert (UNTRIED in done.output) is told, done.output
    assert f" lock_timeout: {seconds}\n" in done.output, done.output
