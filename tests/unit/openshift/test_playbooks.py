# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A login by the playbooks: who is logged in and out, and that nobody sees a secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils import _inventory
from ansible_collections.fastml.supersonic.tests.harness.openshift import openshift
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook

PASSWORD = "a-planted-password-91d4"
RIGHT = {
    "supersonic_openshift_username": "robot",
    "supersonic_openshift_password": PASSWORD,
    "supersonic_openshift_api": "https://api.example.org:6443",
    "supersonic_kubeconfig": "/home/robot/.kube/supersonic",
}


def test_in_and_out_once_for_each_file(tmp_path: Path) -> None:
    """At the highest verbosity, where module arguments and results are shown."""
    plays = [
        {"import_playbook": str(CLONE / "playbooks/openshift_login.yml")},
        {
            "hosts": "all",
            "gather_facts": False,
            "tasks": [
                {"name": "See", "ansible.builtin.stat": {"path": "{{ supersonic_kubeconfig }}"}, "register": "file"},
                {"name": "Judge", "ansible.builtin.assert": {"that": "file.stat.exists and file.stat.mode == '0600'"}},
            ],
        },
        {"import_playbook": str(CLONE / "playbooks/openshift_logout.yml")},
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays))
    with openshift(tmp_path, {"robot": PASSWORD}) as site:
        login = {
            "supersonic_openshift_username": "robot",
            "supersonic_openshift_password": PASSWORD,
            "supersonic_openshift_api": site.api,
            "supersonic_openshift_ca_certificates": site.authorities,
        }
        own = tmp_path / "own"
        own.write_text("{}")
        own.chmod(0o600)
        hosts: dict[str, Any] = {
            # Without a user it cannot be the one who logs in, though it comes first.
            "cluster": {"supersonic_kubeconfig": str(tmp_path / "shared")},
            "first": {**login, "supersonic_kubeconfig": str(tmp_path / "shared")},
            "second": {**login, "supersonic_kubeconfig": str(tmp_path / "shared")},
            "third": {**login, "supersonic_kubeconfig": str(tmp_path / "third")},
            "elsewhere": {"supersonic_kubeconfig": str(own)},
        }
        local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": local}}))
        # The API looks at who calls in check mode too.
        done = run_playbook(tmp_path / "play.yml", tmp_path / "hosts.yml", "-vvvvv", "--diff", "--check")
        assert done.code == 0, done.output
        assert {host: counts["changed"] for host, counts in done.recap.items()} == dict.fromkeys(hosts, 0)
        assert len(site.given) == 2
        assert site.tokens == {}
        for secret in (PASSWORD, *site.given):
            assert secret not in done.output
        assert [path.name for path in tmp_path.iterdir() if path.name in ("shared", "third", "own")] == ["own"]


def test_who_is_not_logged_in_and_who_fails(tmp_path: Path) -> None:
    """A wrong password leaves out its host alone, and a proof that fails everywhere leaves no token."""
    plays = [
        {
            "import_playbook": str(CLONE / "playbooks/openshift_login.yml"),
            "vars": {"__openshift_login_tolerated": True},
        },
        {
            "hosts": "all",
            "gather_facts": False,
            "tasks": [
                {
                    "name": "Tell",
                    "ansible.builtin.debug": {"msg": "TOLD {{ __supersonic_login_failure | default('in') }}"},
                },
            ],
        },
        {"import_playbook": str(CLONE / "playbooks/verify.yml")},
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays))
    with openshift(tmp_path, {"robot": PASSWORD}) as site:
        login = {
            "supersonic_openshift_username": "robot",
            "supersonic_openshift_api": site.api,
            "supersonic_openshift_ca_certificates": site.authorities,
            "supersonic_namespace": "n",
        }
        hosts = {
            "right": {
                **login,
                "supersonic_openshift_password": PASSWORD,
                "supersonic_kubeconfig": str(tmp_path / "right"),
            },
            "wrong": {
                **login,
                "supersonic_openshift_password": "other",
                "supersonic_kubeconfig": str(tmp_path / "wrong"),
            },
            "shares": {
                "supersonic_kubeconfig": str(tmp_path / "wrong"),
                "supersonic_namespace": "n",
                "supersonic_name": "s",
            },
        }
        local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        inventory = {"supersonic_instances": {"hosts": hosts}, "all": {"vars": local}}
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
        done = run_playbook(tmp_path / "play.yml", tmp_path / "hosts.yml")
        assert done.code == 2
        assert (done.output.count("TOLD in"), done.output.count("TOLD Nobody is logged in: The OAuth server")) == (1, 2)
        # Once by the first play, once by verify.yml's own.
        assert len(site.given) == 2
        assert {host: counts["failed"] for host, counts in done.recap.items()} == dict.fromkeys(hosts, 1)
        assert site.tokens == {}
        assert not (tmp_path / "right").exists()


@pytest.mark.parametrize(
    ("playbook", "extra"),
    [
        # The server has nothing of what Kubernetes has.
        ("teardown", {}),
        ("drift", {"drift_fail": True}),
        # Nothing can be written there, which one host finds out for all of them.
        ("status", {"status_report": "/dev/null/status.html"}),
        # As clusters, which are to have KEDA. The login has written their kubeconfigs when that is looked for.
        ("site", {"supersonic_components": ["keda"], "keda_mode": "existing"}),
    ],
)
def test_a_run_that_fails_everywhere_leaves_no_token(tmp_path: Path, playbook: str, extra: dict[str, Any]) -> None:
    with openshift(tmp_path, {"robot": PASSWORD}) as site:
        shared = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "supersonic_openshift_username": "robot",
            "supersonic_openshift_password": PASSWORD,
            "supersonic_openshift_api": site.api,
            "supersonic_openshift_ca_certificates": site.authorities,
            "supersonic_kubeconfig": str(tmp_path / "{{ inventory_hostname }}"),
            "supersonic_name": "{{ inventory_hostname }}",
            "supersonic_namespace": "n",
        }
        kind = "supersonic_clusters" if playbook == "site" else "supersonic_instances"
        inventory: dict[str, Any] = {"supersonic_instances": {"hosts": {"elsewhere": {}}}}
        inventory[kind] = {"vars": shared, "hosts": {"one": {}, "two": {}}}
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
        limit = ("--limit", f"{kind},localhost")
        done = run_playbook(f"playbooks/{playbook}.yml", tmp_path / "hosts.yml", *limit, extra=extra)
        assert done.code == 2
        # Of a task for all of them it is counted for the one that has done it.
        failed = {host for host, counts in done.recap.items() if counts["failed"] == 1}
        assert failed == ({"one"} if playbook == "status" else {"one", "two"}), done.output
        assert len(site.given) == 2
        assert site.tokens == {}
        assert not (tmp_path / "one").exists()
        assert not (tmp_path / "two").exists()


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
            assert "_role" not in json.dumps(play.get("tasks", [])), path
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
    assert _inventory.check_relations(RIGHT) == []
    (problem,) = _inventory.check_relations({**RIGHT, **wrong}, files=False)
    assert problem.variable == variable
    assert says in problem.message
    assert PASSWORD not in problem.sentence()


def test_hosts_that_share_a_file_share_the_login() -> None:
    mine = {**RIGHT, "supersonic_name": "a", "supersonic_namespace": "n"}
    theirs = {**mine, "supersonic_name": "b"}
    assert _inventory.check_instances("mine", {"mine": mine, "theirs": theirs}) == []
    theirs["supersonic_openshift_username"] = "another"
    (problem,) = _inventory.check_instances("mine", {"mine": mine, "theirs": theirs})
    assert "Give each a file of its own" in problem.message
    # Files of their own, and yet the same cluster.
    theirs = {**mine, "supersonic_kubeconfig": "/elsewhere"}
    (problem,) = _inventory.check_instances("mine", {"mine": mine, "theirs": theirs})
    assert "is an instance of the same name" in problem.message
