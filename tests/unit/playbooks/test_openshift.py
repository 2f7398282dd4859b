# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A login by the playbooks: where it stands in them, and which variables fit together."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.across_hosts import check_instances
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.validation import check_relations
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE

PASSWORD = "a-planted-password-91d4"
RIGHT = {
    "supersonic_openshift_username": "robot",
    "supersonic_openshift_password": PASSWORD,
    "supersonic_openshift_api": "https://api.example.org:6443",
    "supersonic_kubeconfig": "/home/robot/.kube/supersonic",
}


LOGOUT = "tasks/openshift_logout.yml"
LAST_CHANCE = {"ansible.builtin.include_tasks": LOGOUT, "when": "ansible_play_batch | length == 0"}


def unguarded(play: dict[str, Any]) -> list[str]:
    """What of a play may end the run for every host, without their tokens being revoked."""
    found = [part for part in ("roles", "pre_tasks", "post_tasks", "handlers") if part in play]
    for task in play["tasks"]:
        if task.get("ansible.builtin.include_tasks") == LOGOUT:
            # What follows fails on purpose.
            break
        said = [{key: each.get(key) for key in LAST_CHANCE} for each in task.get("always", [])]
        rescued = [each for each in task.get("rescue", [{}]) if "ansible.builtin.set_fact" not in each]
        if said != [LAST_CHANCE] and rescued and "ansible.builtin.meta" not in task:
            found.append(task["name"])
    return found


def only_notes(task: dict[str, Any]) -> bool:
    """Whether a task runs the tasks/brings.yml of a role, which sets a fact and asks no cluster."""
    return bool(task.get("ansible.builtin.include_role", {}).get("tasks_from") == "brings")


def test_playbooks_that_ask_a_cluster_log_in_and_out() -> None:
    """Wherever a run may end in between, too: Ansible ends it where every host of a play has failed."""
    for path in sorted((CLONE / "playbooks").glob("*.yml")):
        # Those that ask none, or import one that does.
        if path.stem in ("openshift_login", "openshift_logout", "render", "clients", "local"):
            continue
        plays = yaml.safe_load(path.read_text())
        imported = [play.get("import_playbook", "").rpartition(".")[2] for play in plays]
        begin, end = imported.index("openshift_login"), imported.index("openshift_logout")
        assert begin < end, path
        # What comes before has judged variables, and what comes after tells.
        for play in (*plays[:begin], *plays[end + 1 :]):
            asking = [task for task in play.get("tasks", []) if not only_notes(task)]
            assert not re.search(r"(include|import)_role", json.dumps(asking)), path
            assert "roles" not in play, path
        for play, name in zip(plays[begin + 1 : end], imported[begin + 1 : end], strict=True):
            assert name in ("", "verify"), path
            assert name or unguarded(play) == [], (path, play["name"])


@pytest.mark.parametrize(
    ("wrong", "variable", "says"),
    [
        ({"supersonic_openshift_password": ""}, "supersonic_openshift_password", "has no password"),
        ({"supersonic_openshift_username": ""}, "supersonic_openshift_username", "nobody to log in"),
        ({"supersonic_openshift_username": "a:b"}, "supersonic_openshift_username", "a name with a colon"),
        ({"supersonic_openshift_api": ""}, "supersonic_openshift_api", "the address of the API"),
        ({"supersonic_openshift_api": "http://api"}, "supersonic_openshift_api", "the address of the API"),
        ({"supersonic_kubeconfig": ""}, "supersonic_kubeconfig", "the token needs a file"),
        ({"supersonic_context": "admin"}, "supersonic_context", "has one context"),
    ],
)
def test_what_does_not_fit_together(wrong: dict[str, Any], variable: str, says: str) -> None:
    # The login writes the kubeconfig, so that it need not be there.
    assert check_relations(RIGHT) == []
    (problem,) = check_relations({**RIGHT, **wrong}, files=False)
    assert problem.variable == variable
    assert says in problem.message
    assert PASSWORD not in problem.sentence()


def test_hosts_that_share_a_file_share_the_login() -> None:
    mine = {**RIGHT, "supersonic_name": "a", "supersonic_namespace": "n"}
    theirs = {**mine, "supersonic_name": "b"}
    assert check_instances("mine", {"mine": mine, "theirs": theirs}) == []
    theirs["supersonic_openshift_username"] = "another"
    (problem,) = check_instances("mine", {"mine": mine, "theirs": theirs})
    assert "Give each a file of its own" in problem.message
    # Files of their own, and yet the same cluster.
    theirs = {**mine, "supersonic_kubeconfig": "/elsewhere"}
    (problem,) = check_instances("mine", {"mine": mine, "theirs": theirs})
    assert "is an instance of the same name" in problem.message
