# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection in somebody else's project: the example of docs/inclusion.md, and each role by itself."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.collection import install
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import IMAGE, Cluster
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, Run, run_playbook
from ansible_collections.fastml.supersonic.tests.harness.variables import readme_variables

EXAMPLE = CLONE / "docs/examples/other-project"
ENVOY = {
    "envoy_image": "docker.io/fastml/envoy-local:1.40.0",
    "envoy_replicas": 1,
    "envoy_endpoint_wait": 1,
    "envoy_drain_time": 1,
    "envoy_in_flight_wait": 1,
    "envoy_resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
}
# What a role needs here besides the variables of its example, and not of the other roles.
MORE: dict[str, dict[str, Any]] = {
    "autoscaler": {},
    "benchmark": {"benchmark_mode": "restore"},
    "envoy": {},
    "grafana": {},
    "model_repository": {"model_repository_sources": [str(EXAMPLE / "models")]},
    "otel_collector": {},
    "preflight": {},
    "prometheus": {},
    "status": {},
    "tempo": {},
    "triton": {},
    # Servers of its own kind are no pods of the role triton.
    "verify": {"verify_golden_directories": [str(EXAMPLE / "models")], "verify_servers": False},
}


@dataclass
class Project:
    """A project of its own, with the collection installed in it, and what became of it."""

    folder: Path
    cluster: Cluster
    namespace: str
    runs: dict[str, Run] = field(default_factory=dict)

    def run(self, playbook: str, *arguments: str, inventory: str = "inventory.yml", **extra: Any) -> Run:
        given = {
            "tracking_kubeconfig": self.cluster.kubeconfig,
            "tracking_namespace": self.namespace,
            "tracking_server_image": IMAGE,
        }
        return run_playbook(
            playbook,
            self.folder / inventory,
            *arguments,
            extra={**given, **extra},
            environment={"ANSIBLE_CONFIG": str(self.folder / "ansible.cfg")},
            directory=self.folder,
        )


@pytest.fixture(scope="module")
def project(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("project") / "other-project"
    shutil.copytree(EXAMPLE, folder)
    shutil.move(install(folder.parent), folder / "collections")
    found = Project(folder, cluster, cluster.free_name())
    try:
        found.runs["check"] = found.run("endpoint.yml", "--check", "--diff", **ENVOY)
        assert cluster.get(f"/api/v1/namespaces/{found.namespace}") is None
        found.runs["applied"] = found.run("endpoint.yml", "-v", **ENVOY)
        found.runs["again"] = found.run("endpoint.yml", **ENVOY)
        found.runs["proof"] = found.run("endpoint.yml", "--tags", "proof", **ENVOY)
        yield found
    finally:
        cluster.remove_namespace(found.namespace)


def test_another_project_has_an_endpoint(project: Project) -> None:
    # The servers and the endpoint; the proof is of what is there, and comes with it.
    assert project.runs["check"].changed("tracking") == project.runs["applied"].changed("tracking") == 2
    assert project.runs["check"].recap["tracking"]["skipped"] > project.runs["applied"].recap["tracking"]["skipped"]
    # Of the server and of the endpoint.
    proved = re.compile(r"\b(?:[2-9]|\d\d+) inference checks passed\.")
    assert [name for name, run in project.runs.items() if proved.search(run.text)] == ["applied", "again", "proof"]
    assert project.runs["again"].changed("tracking") == 0
    # From the project's own folder, not from the clone.
    assert str(CLONE / "roles") not in project.runs["applied"].output


def test_tags_choose_what_runs(project: Project) -> None:
    proof = project.runs["proof"]
    assert proof.changed("tracking") == 0
    assert proof.recap["tracking"]["ok"] == 2
    assert "Apply the objects of Envoy (present)" not in proof.output


def test_each_role_checks_by_itself(project: Project) -> None:
    """In check mode, each for a host that has the variables of its README's example and no others."""
    here = {"supersonic_kubeconfig": project.cluster.kubeconfig, "supersonic_namespace": project.namespace}
    local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    hosts = {role: {**readme_variables(role), **more, **here} for role, more in MORE.items()}
    # Whoever reads the cluster finds the example there; others are to make something new.
    for role in MORE:
        if role not in ("status", "verify", "preflight", "benchmark"):
            hosts[role]["supersonic_name"] = "alone"
    groups = {"supersonic_instances": {"hosts": hosts, "vars": local}}
    (project.folder / "alone.yml").write_text(yaml.safe_dump(groups))
    task = {"name": "Have it", "ansible.builtin.include_role": {"name": "fastml.supersonic.{{ inventory_hostname }}"}}
    (project.folder / "roles.yml").write_text(
        yaml.safe_dump([{"name": "Each alone", "hosts": "all", "gather_facts": False, "tasks": [task]}])
    )
    done = project.run("roles.yml", "--check", inventory="alone.yml")
    assert done.code == 0, done.output
    assert set(done.recap) == set(MORE)
    changing = {role for role, counts in done.recap.items() if counts["changed"]}
    assert changing == {
        "autoscaler", "envoy", "grafana", "model_repository", "otel_collector", "prometheus", "tempo", "triton",
    }  # fmt: skip
    label = {"labelSelector": "app.kubernetes.io/instance=alone"}
    deployments = f"/apis/apps/v1/namespaces/{project.namespace}/deployments"
    assert project.cluster.api.list(deployments, "deployments", label) == []
