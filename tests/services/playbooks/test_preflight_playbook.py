# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks say of what a cluster lacks."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.answers import served
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, Run, run_playbook
from ansible_collections.fastml.supersonic.tests.harness.poor_cluster import Poor

CHANGING = "create, patch and delete"


EXPLICIT = {
    "triton_gpus": 1,
    "triton_model_control_mode": "explicit",
    "triton_open_model_control": True,
    "triton_load_models": ["*"],
    "triton_model_rollout": "explicit",
}
SITE = {
    "supersonic_components": ["prometheus"],
    "prometheus_mode": "existing",
    "supersonic_prometheus_url": "https://prometheus.example.org",
}
HOSTS: dict[str, dict[str, Any]] = {
    "explicit": EXPLICIT,
    "grafana": {
        "supersonic_components": ["grafana"],
        "grafana_admin_password": "correct-horse-battery",
        "grafana_ingress": {"host": "grafana.example.org"},
    },
    "persistent": {
        "supersonic_components": ["grafana"],
        "grafana_admin_secret": {"name": "a"},
        "grafana_persistent": True,
        "grafana_storage_class": "fast",
    },
    "always": {**SITE, "prometheus_rule": "always"},
    "nowhere": {"supersonic_kubeconfig": "{{ inventory_dir }}/nowhere"},
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(Poor) as address:
        yield address


def kubeconfig(path: Path, address: str) -> None:
    content = {
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "users": [{"name": "c", "user": {"token": "x"}}],
        "current-context": "c",
    }
    path.write_text(yaml.safe_dump(content))


def run(address: str, folder: Path, playbook: str, hosts: dict[str, dict[str, Any]], **extra: Any) -> Run:
    """A playbook on instances on that cluster."""
    kubeconfig(folder / "kubeconfig", address)
    shared = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_name": "{{ inventory_hostname }}",
        "supersonic_namespace": "cms",
        "supersonic_kubeconfig": "{{ inventory_dir }}/kubeconfig",
        "triton_image": "example.org/tritonserver:26.04-py3",
        "triton_model_repositories": [
            {"name": "models", "kind": "pvc", "claim": "models-of-others", "path": "current"}
        ],
        "model_repository_image": "example.org/tritonserver:26.04-py3",
        "verify_golden_directories": [str(CLONE / "tests/unit/rules/models")],
        "verify_wait_timeout": 0,
    }
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"supersonic_instances": {"vars": shared, "hosts": hosts}}))
    return run_playbook(playbook, inventory, extra=extra)


@pytest.fixture(scope="module")
def refused(address: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the task that fails shows of each of the hosts, in one run of site.yml."""
    folder = tmp_path_factory.mktemp("preflight")
    kubeconfig(folder / "nowhere", "http://127.0.0.1:1")
    done = run(address, folder, "site.yml", HOSTS)
    assert done.code == 2, done.output
    # What comes next says that nothing was changed, or that the instance is left out.
    return {host: next(iter(done.failures_of(host)), "") for host in HOSTS}


def test_preflight_tells_each_problem_once(refused: dict[str, str]) -> None:
    told = refused["explicit"]
    assert re.search(r"Change triton_gpus \(\S+hosts\.yml:\d+\), or preflight_node_resources", told), told
    assert "We may not patch pods in the namespace cms" in told
    assert "or set triton_model_rollout to rolling." in told
    without_policies = "set triton_network_policy and envoy_network_policy"
    for sentence in ("No node offers 1 of nvidia.com/gpu", "services in the namespace cms", without_policies):
        assert told.count(sentence) == 1, told


def test_preflight_asks_for_what_grafana_needs(refused: dict[str, str]) -> None:
    told = refused["grafana"]
    assert f"We may not {CHANGING} secrets in the namespace cms" in told
    assert "a Secret that is there in grafana_admin_secret" in told
    assert f"We may not {CHANGING} ingresses.networking.k8s.io in the namespace cms" in told
    assert "persistentvolumeclaims" not in told
    told = refused["persistent"]
    assert f"We may not {CHANGING} persistentvolumeclaims in the namespace cms" in told
    assert "secrets" not in told
    # Not the variables that might have asked for it, of which one has.
    assert re.search(r"storage class fast, the value of grafana_storage_class \(\S+hosts\.yml:\d+\)\. The", told), told


def test_preflight_asks_for_what_the_operator_is_told_always(refused: dict[str, str]) -> None:
    told = refused["always"]
    assert "has no kind PrometheusRule of monitoring.coreos.com/v1, which comes with the Prometheus operator" in told
    assert f"We may not {CHANGING} prometheusrules.monitoring.coreos.com in the namespace cms" in told
    assert "or set prometheus_rule to never." in told
    assert "podmonitors" not in told


def test_preflight_tells_once_that_there_is_no_cluster(refused: dict[str, str]) -> None:
    told = refused["nowhere"]
    assert told.count("cannot be reached: connection refused.") == 1, told


def test_an_operator_that_we_may_not_tell_is_none(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kinds are there, for others."""
    verbs = ["get", "list", "watch", "create", "patch", "delete"]
    kinds = [
        {"name": f"{kind.lower()}s", "kind": kind, "namespaced": True, "verbs": verbs, "singularName": kind.lower()}
        for kind in ("PodMonitor", "PrometheusRule")
    ]
    monkeypatch.setattr(Poor, "more", {"/apis/monitoring.coreos.com/v1": {"resources": kinds}})
    play = [{"hosts": "all", "gather_facts": False, "tasks": [
        {"ansible.builtin.include_role": {"name": "fastml.supersonic.prometheus", "tasks_from": "operator",
                                          "rolespec_validate": False, "public": True}},
        {"ansible.builtin.debug": {
            "msg": "Rule: {{ __prometheus_has_rule }}, monitor: {{ __prometheus_has_pod_monitor }}."}},
    ]}]  # fmt: skip
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    done = run(address, tmp_path, str(tmp_path / "play.yml"), {"cms": {**SITE, "prometheus_pod_monitor": "never"}})
    assert done.code == 0, done.output
    assert "Rule: False, monitor: False." in done.text
    assert "WARNING: no PrometheusRule is applied, although the cluster has this kind" in done.text
    assert f"We may not {CHANGING} prometheusrules.monitoring.coreos.com in the namespace cms" in done.text
    assert "PodMonitor" not in done.text


def test_the_playbook_tells_of_every_instance_and_writes_what_it_has_found(address: str, tmp_path: Path) -> None:
    """Also of one whose cluster is away; the playbook itself changes nothing but the files that are asked for."""
    nowhere = {"cluster": {"server": "http://127.0.0.1:1"}, "name": "c"}
    away = {"clusters": [nowhere], "contexts": [{"name": "c", "context": {"cluster": "c"}}], "current-context": "c"}
    (tmp_path / "away").write_text(yaml.safe_dump(away))
    named = {"supersonic_create_namespace": False, "preflight_policy": {"limits_over_requests": 1.2}}
    hosts = {
        # Golden requests are not yet there: that is said, and the Role is to be had all the same.
        "cms": {
            **named,
            "preflight_tolerated": ["policy", "claims"],
            "verify_golden_directories": ["{{ inventory_dir }}/golden"],
        },
        "far": {"supersonic_namespace": "far", "supersonic_kubeconfig": "{{ inventory_dir }}/away"},
    }
    done = run(address, tmp_path, "playbooks/preflight.yml", hosts, preflight_report=str(tmp_path / "report"))
    assert done.code == 2, done.output
    assert {host: done.recap[host]["failed"] for host in hosts} == {"cms": 1, "far": 1}
    assert "far: 1 error" in done.text
    assert "cannot be reached: connection refused. To do: Correct supersonic_kubeconfig" in done.text
    assert "error permissions pods/portforward: We may not create pods/portforward in the namespace cms" in done.text
    assert "warning policy envoy, container envoy: It has no limit of cpu" in done.text
    assert "- {apiGroups: [apps], resources: [deployments], verbs: [create, patch, delete]}" in done.text
    files = {path.name: path for path in (tmp_path / "report").iterdir()}
    assert set(files) == {"cms.json", "cms-role.yaml", "far.json"}
    table = f"The table is in {tmp_path}/report/"
    assert f"{table}cms.json, and the Role to ask for beside it, in cms-role.yaml." in done.text
    assert f"{table}far.json." in done.text
    cms, far = (json.loads(files[f"{host}.json"].read_text()) for host in hosts)
    assert far["errors"] == len(far["findings"]) == 1
    assert cms["errors"] == sum(row["severity"] == "error" for row in cms["findings"]) > 1
    assert {"permissions", "files"} == {row["check"] for row in cms["findings"] if row["severity"] == "error"}
    (row,) = [row for row in cms["findings"] if row["check"] == "files"]
    assert re.fullmatch(
        r'verify_golden_directories\[0\] is "\S+/golden" \(\S+hosts\.yml:\d+\): there is no such folder\.', row["found"]
    )
    assert row["action"] == "Record or write them, as docs/golden-requests.md says."
    assert "error files golden requests: verify_golden_directories[0]" in done.text
    role, binding = yaml.safe_load_all(files["cms-role.yaml"].read_text())
    assert (role["kind"], binding["kind"]) == ("Role", "RoleBinding")
    assert [role, binding] == cms["role"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "deployer", "namespace": "ci"}]
    assert run(address, tmp_path, "playbooks/preflight.yml", {"cms": {}}, preflight_report="a").code == 2
