# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/models.yml: what it refuses before any cluster is asked, and what its role tells."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import FolderTarget, Options
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import publish as publish_release
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, Run, run_playbook

ACTIONS = "list, publish, rollback, verify, prune"


def variables(folder: Path) -> dict[str, Any]:
    """An instance that loads from a claim that somebody else publishes to, and whose cluster nobody can reach."""
    kubeconfig = folder / "kubeconfig"
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "c"}}
    user = {"name": "c", "user": {"token": "x"}}
    content = {"clusters": [cluster], "contexts": [context], "users": [user], "current-context": "c"}
    kubeconfig.write_text(yaml.safe_dump(content))
    return {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_namespace": "cms",
        "supersonic_kubeconfig": str(kubeconfig),
        "triton_image": "example.org/tritonserver:26.04-py3",
        "triton_model_repositories": [
            {"name": "models", "kind": "pvc", "claim": "supersonic-models", "path": "current"}
        ],
        "model_repository_image": "example.org/tritonserver:26.04-py3",
        "verify_golden_directories": [str(CLONE / "tests/unit/rules/models")],
    }


FAR = "127.0.0.1:1"
# Hosts whose runs end together, and what is given to all of them: variables of each, and what is said of it.
Case = tuple[dict[str, Any], str]
RUNS: dict[str, tuple[dict[str, Any], dict[str, Case]]] = {
    "no such action": (
        {},
        {
            "misspelt": (
                {"models_action": "roll_back"},
                f"models_action is 'roll_back', but has to be one of {ACTIONS}; without it",
            ),
            "empty": ({"models_action": ""}, f"models_action is '', but has to be one of {ACTIONS}"),
        },
    ),
    "nothing to publish": (
        {"models_action": "publish"},
        {"nothing": ({}, "The inventory of nothing names no folder in model_repository_sources")},
    ),
    "wrong variables": (
        {"models_acton": "publish"},
        {
            "release": ({"models_action": "rollback", "model_repository_rollback_to": "v2"}, "first 8 characters"),
            "variable": (
                {},
                "models_acton (CLI option '-e'): this playbook has no such variable. Did you mean models_action?",
            ),
        },
    ),
    # What is right for the playbook comes as far as the role, and then as far as the cluster.
    "right": (
        {},
        {
            "plain": ({}, FAR),
            **{action: ({"models_action": action}, FAR) for action in ("rollback", "verify", "prune")},
            # Who publishes nothing need not name an image before.
            **{
                f"no-image-{action}": (
                    {"models_action": action, "model_repository_image": None},
                    "model_repository_image, an image with python3, is not set, but a pod of it looks into",
                )
                for action in ("verify", "prune", "rollback")
            },
        },
    ),
}
EVERY = {host: (run, case[1]) for run, (_extra, cases) in RUNS.items() for host, case in cases.items()}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """How each of these runs has ended."""
    found = {}
    for run, (extra, cases) in RUNS.items():
        folder = tmp_path_factory.mktemp("models")
        hosts = {}
        for host, (changes, _message) in cases.items():
            own = {**variables(folder), "supersonic_namespace": host, **changes}
            hosts[host] = {name: value for name, value in own.items() if value is not None}
        (folder / "hosts.yml").write_text(yaml.safe_dump({"supersonic_instances": {"hosts": hosts}}))
        found[run] = run_playbook("playbooks/models.yml", folder / "hosts.yml", extra=extra)
    return found


@pytest.mark.parametrize("host", EVERY)
def test_actions(ended: dict[str, Run], host: str) -> None:
    run, message = EVERY[host]
    done = ended[run]
    assert done.code != 0
    assert message in done.said_of(host), done.output
    assert ("Perform the action" in done.output or "TASK [fastml.supersonic.model_repository" in done.output) == (
        run == "right"
    )
    assert done.recap[host]["failed"] == 1
    assert done.recap[host]["changed"] == 0


# ---- the role model_repository, as far as the cluster --------------------------------------------------------------


# What differs from an instance as above (None: not set).
PUBLISHERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no-template": {"triton_pod_annotations": {"a": "{{ nowhere }}"}},
    "no-image": {"triton_image": None},
    "no-test-load": {"model_repository_test_load": False},
    "canary": {"model_repository_test_load_timeout": 600, "model_repository_canary": True},
    "pod": {
        "model_repository_image_pull_policy": "Always",
        "model_repository_image_pull_secrets": [{"name": "registry"}],
        "model_repository_run_as_user": 4711,
        "model_repository_run_as_group": 4712,
        "model_repository_node_selector": {"disk": "fast"},
        "model_repository_tolerations": [{"key": "publisher", "operator": "Exists"}],
        "model_repository_pod_labels": {"team": "models"},
        "model_repository_pod_lifetime": 86400,
    },
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Run]:
    """What is said of each of them, and the whole, when the role alone publishes in one run."""
    folder = tmp_path_factory.mktemp("publishers")
    common = {
        **variables(folder),
        "model_repository_sources": [str(CLONE / "tests/unit/rules/models")],
        # The claim would be asked for first.
        "model_repository_mode": "existing",
        "triton_env": [{"name": "WHAT", "value": "planted-5d1f"}],
    }
    hosts = {}
    for name, changes in PUBLISHERS.items():
        own = {**common, "supersonic_namespace": name, **changes}
        hosts[name] = {key: value for key, value in own.items() if value is not None}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"supersonic_instances": {"hosts": hosts}}))
    play = {
        "hosts": "supersonic_instances",
        "gather_facts": False,
        "roles": [{"role": "fastml.supersonic.model_repository"}],
    }
    (folder / "publish.yml").write_text(yaml.safe_dump([play]))
    done = run_playbook(folder / "publish.yml", folder / "hosts.yml", "-vvv")
    return {name: "".join(done.results_of(name)) for name in PUBLISHERS}, done


UNTRIED = "No server tries the release: the instance has no triton_image."


def test_all_but_one_come_as_far_as_the_cluster(published: tuple[dict[str, str], Run]) -> None:
    found, done = published
    assert {name for name, said in found.items() if "127.0.0.1:1" not in said} == {"no-template"}, done.output


def test_what_a_server_is_shows_no_environment(published: tuple[dict[str, str], Run]) -> None:
    _found, done = published
    assert "Describe a server" in done.output
    assert "planted" not in done.output


def test_a_template_that_fails_says_why(published: tuple[dict[str, str], Run]) -> None:
    # Of no other host: none has it.
    assert "'nowhere' is undefined" in published[1].text


@pytest.mark.parametrize(
    ("name", "told", "seconds"), [("no-image", True, 120), ("no-test-load", False, 120), ("canary", False, 780)]
)
def test_who_tries_a_release_and_how_long_others_wait(
    published: tuple[dict[str, str], Run], name: str, told: bool, seconds: int
) -> None:
    """Where nobody does it is told, and others that publish to the claim are waited for as always."""
    said = published[0][name]
    assert (UNTRIED in " ".join(said.split())) is told, said
    assert f" lock_timeout: {seconds}\n" in said, said


def test_the_pod_that_publishes_is_as_the_inventory_says(published: tuple[dict[str, str], Run]) -> None:
    said = " ".join(published[0]["pod"].split())
    for text in (
        "image_pull_policy: Always",
        "image_pull_secrets: - registry",
        "labels: team: models",
        "node_selector: disk: fast",
        "run_as_group: 4712",
        "run_as_user: 4711",
        "timeout: 86400",
        "tolerations: - key: publisher operator: Exists",
    ):
        assert text in said, said


# ---- instances that share a store ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gone_back(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], Run]:
    """The folder of three stores, the releases of each (the last one was current), and a run that goes back in them."""
    folder = tmp_path_factory.mktemp("stores")
    source = folder / "source"
    (source / "m/1").mkdir(parents=True)
    (source / "m/config.pbtxt").write_text('backend: "python"\n')
    releases = []
    for number in range(3):
        (source / "m/1/model.py").write_text(f"# {number}\n")
        releases.append(publish_release(FolderTarget(str(folder / "store")), [str(source)], Options())["release"])
    for name in ("other", "stays"):
        shutil.copytree(folder / "store", folder / name, symlinks=True)
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_namespace": "cms",
        "model_repository_path": str(folder / "store"),
    }
    stays = {"model_repository_path": str(folder / "stays")}
    hosts: dict[str, dict[str, Any]] = {
        "a": {},
        "b": {"model_repository_path": str(folder / "other")},
        "c": {},
        "d": {},
        "e": {**stays, "model_repository_rollback_to": "0" * 8},
        "f": stays,
    }
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {name: {**common, **own} for name, own in hosts.items()}}}))
    task = {"ansible.builtin.include_role": {"name": "fastml.supersonic.model_repository", "tasks_from": "roll_back"}}
    say = {"ansible.builtin.debug": {"msg": "{{ inventory_hostname }} goes on with {{ model_repository_release }}."}}
    playbook = folder / "roll_back.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task, say]}]))
    return folder, releases, run_playbook(playbook, inventory)


def test_instances_with_one_store_go_back_together(gone_back: tuple[Path, list[str], Run]) -> None:
    folder, releases, done = gone_back
    for store in ("store", "other"):
        assert os.readlink(folder / store / "current") == f"releases/{releases[1]}", done.output
    for name in "abcd":
        assert f"{name} goes on with {releases[1]}." in done.text, done.output
    assert [done.recap[name]["failed"] for name in "abcd"] == [0, 0, 0, 0]
    assert [done.recap[name]["changed"] for name in "abcd"] == [1, 1, 0, 0]


def test_where_the_first_cannot_go_back_the_others_do_not(gone_back: tuple[Path, list[str], Run]) -> None:
    folder, releases, done = gone_back
    assert done.code != 0
    assert "The store is also that of e, which could not go back: see there. Servers of f go on with" in done.text
    assert [done.recap[name]["failed"] for name in "ef"] == [1, 1]
    assert os.readlink(folder / "stays/current") == f"releases/{releases[2]}"
