# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A login by the playbooks: who is logged in and out, and that nobody sees a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.openshift import openshift
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook

PASSWORD = "a-planted-password-91d4"


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


@pytest.mark.thorough
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


@pytest.mark.thorough
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
