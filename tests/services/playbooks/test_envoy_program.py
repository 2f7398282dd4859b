# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role envoy with `envoy_program`: a real Envoy validates the configuration before anything is applied."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.envoy import program
from ansible_collections.fastml.supersonic.tests.harness.fake_api import FakeApi
from ansible_collections.fastml.supersonic.tests.harness.playbooks import Run, run_playbook

DEPLOYMENT = "/apis/apps/v1/namespaces/cms/deployments/main-envoy"
NOTHING = "type.googleapis.com/envoy.extensions.filters.http.nothing.v3.Nothing"
# Its DNS settings belong to another message since Envoy 1.34.
DEPRECATED = {
    "name": "elsewhere",
    "type": "STRICT_DNS",
    "respect_dns_ttl": True,
    "load_assignment": {"cluster_name": "elsewhere"},
}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as found:
        found.put("/api/v1/namespaces/cms")
        yield found


def deploy(api: FakeApi, folder: Path, **variables: Any) -> Run:
    """Run the role alone; it does not wait for pods, which nothing starts here."""
    given = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "supersonic_name": "main",
        "supersonic_namespace": "cms",
        "supersonic_kubeconfig": str(api.kubeconfig(folder / "kubeconfig")),
        "envoy_program": str(program()),
        "envoy_wait": False,
        **variables,
    }
    (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"main": given}}}))
    role = {"name": "Deploy Envoy", "ansible.builtin.include_role": {"name": "fastml.supersonic.envoy"}}
    (folder / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [role]}]))
    return run_playbook(folder / "play.yml", folder / "hosts.yml")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_filter_that_envoy_does_not_know_is_refused_before_anything_changes(
    api: FakeApi, tmp_path: Path, processes: int
) -> None:
    broken = [{"name": "broken", "typed_config": {"@type": NOTHING}}]
    refused = deploy(api, tmp_path, envoy_extra_http_filters=broken, envoy_processes=processes)
    assert refused.code != 0
    assert "Envoy refuses this configuration:" in refused.failures("main")
    assert "envoy.extensions.filters.http.nothing.v3.Nothing" in refused.failures("main")
    assert api.changes == []


def test_a_warning_of_envoy_is_shown(api: FakeApi, tmp_path: Path) -> None:
    done = deploy(api, tmp_path, envoy_extra_clusters=[DEPRECATED])
    assert done.code == 0, done.output
    assert "Envoy warns of its configuration:" in done.text
    assert "respect_dns_ttl" in done.text
    assert DEPLOYMENT in api.objects


def test_a_program_that_is_not_there_is_named(api: FakeApi, tmp_path: Path) -> None:
    refused = deploy(api, tmp_path, envoy_program=str(tmp_path / "none"))
    assert f"{tmp_path}/none (program) cannot be run: " in refused.failures("main")
    assert api.changes == []
