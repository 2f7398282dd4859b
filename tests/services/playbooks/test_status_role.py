# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role status for instances of other names than their hosts, on a cluster where none is deployed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests.harness.fake_api import FakeApi
from ansible_collections.fastml.supersonic.tests.harness.playbooks import run_playbook


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as found:
        yield found


def test_each_host_has_its_own_status(api: FakeApi, tmp_path: Path) -> None:
    """Later tasks find the instance, and the host by whose name a run is limited to it."""
    kubeconfig = api.kubeconfig(tmp_path / "kubeconfig")
    shared = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "supersonic_kubeconfig": str(kubeconfig),
        "status_prometheus": False,
        "status_timeout": 5,
    }
    hosts = {host: {"supersonic_name": f"{host}-name", "supersonic_namespace": f"{host}-space"} for host in ("a", "b")}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts, "vars": shared}}))
    role = {"name": "Read the status", "ansible.builtin.include_role": {"name": "fastml.supersonic.status"}}
    shown = "{{ [__status_found.host, __status_found.name, __status_found.namespace] }}"
    told = {"name": "Show it", "ansible.builtin.debug": {"msg": shown}}
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [role, told]}]))
    done = run_playbook(tmp_path / "play.yml", tmp_path / "hosts.yml")
    assert done.code == 0, done.output
    for host in hosts:
        assert f"- {host} - {host}-name - {host}-space" in done.said_of(host), done.output
