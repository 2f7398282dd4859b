# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPU operator on the real cluster: real Helm, and a chart with the kinds of NVIDIA's own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.helm import helm_program, packaged
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import IMAGE, Cluster, actions
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import LOCAL, Run, run_playbook
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.programs import program
from ansible_collections.fastml.supersonic.tests.harness.prometheus import Page, Prometheus
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import locked

POLICY = "/apis/nvidia.com/v1/clusterpolicies/cluster-policy"
DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusterpolicies.nvidia.com"
NODES = "/api/v1/nodes"
PLAY = {"hosts": "supersonic_clusters", "gather_facts": False, "roles": [{"role": "fastml.supersonic.gpu_operator"}]}
# No other test and no user has it.
MIG = "nvidia.com/mig-1g.5gb"


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return helm_program(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def archive(helm: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packaged(helm, tmp_path_factory.mktemp("charts"))


@dataclass
class Operator:
    """The role for one cluster, with the stand-in as its chart."""

    cluster: Cluster
    folder: Path
    namespace: str
    helm: str
    chart: str

    def play(self, *arguments: str, **variables: Any) -> Run:
        own = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "supersonic_kubeconfig": self.cluster.kubeconfig,
            "gpu_operator_mode": "managed",
            "gpu_operator_namespace": self.namespace,
            "gpu_operator_helm_program": self.helm,
            "gpu_operator_chart": self.chart,
            "gpu_operator_chart_version": "v1.2.3",
            "gpu_operator_wait_timeout": 60,
            **variables,
        }
        inventory, playbook = self.folder / "hosts.yml", self.folder / "play.yml"
        inventory.write_text(yaml.safe_dump({"supersonic_clusters": {"hosts": {"site": own}}}))
        playbook.write_text(yaml.safe_dump([PLAY]))
        return run_playbook(playbook, inventory, *arguments)

    def module(self, **options: Any) -> dict[str, Any]:
        given = {
            "name": "gpu-operator",
            "namespace": self.namespace,
            "chart": self.chart,
            "program": self.helm,
            "kubeconfig": self.cluster.kubeconfig,
            "wait_timeout": 60,
        }
        return run_module("helm_chart", {**given, **options})

    def clear(self, **options: Any) -> None:
        cleared = self.module(state="absent", chart="", **options)
        assert not cleared["failed"], cleared


@pytest.fixture(scope="module")
def home(cluster: Cluster, helm: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A namespace for all of them: Kubernetes takes half a minute to clear objects of a kind that is new."""
    name = cluster.free_name()
    yield name
    Operator(cluster, tmp_path_factory.mktemp("end"), name, helm, "").clear(keep=[], delete_namespace=True)
    cluster.remove_namespace(name)


@pytest.fixture
def operator(cluster: Cluster, tmp_path: Path, helm: str, archive: Path, home: str) -> Iterator[Operator]:
    found = Operator(cluster, tmp_path, home, helm, str(archive))
    yield found
    found.clear()


@pytest.fixture
def mig_node(cluster: Cluster) -> Iterator[str]:
    """A node that says it has two GPUs, divided: one device of them is broken. Other tests give it others."""
    name = cluster.api.list(NODES, "nodes")[0]["metadata"]["name"]
    labels = {"nvidia.com/gpu.present": "true", "nvidia.com/gpu.product": "NVIDIA-A100-MIG-1g.5gb"}
    with locked(LOCAL / "accelerators.lock"):
        cluster.patch(f"{NODES}/{name}", {"metadata": {"labels": labels}})
        _set_devices(cluster, name, "3")
        until(lambda: cluster.there(f"{NODES}/{name}")["status"]["allocatable"].get(MIG) == "3", seconds=30)
        yield name
        cluster.patch(f"{NODES}/{name}", {"metadata": {"labels": dict.fromkeys(labels)}})
        _set_devices(cluster, name, None)


def _set_devices(cluster: Cluster, node: str, count: str | None) -> None:
    change = {"status": {"capacity": {MIG: count}, "allocatable": {MIG: count}}}
    cluster.patch(f"{NODES}/{node}/status", change)


@pytest.mark.thorough
def test_what_does_not_get_ready_is_told(operator: Operator) -> None:
    broken = operator.play(gpu_operator_driver_version="broken", gpu_operator_wait_timeout=10)
    assert broken.code != 0
    assert "ClusterPolicy/cluster-policy" in broken.text
    assert "not ready" in broken.text
    # Whoever only looks is told the same.
    found = run_module("gpu_info", {"kubeconfig": operator.cluster.kubeconfig})
    assert found["operator"] == {
        "kind": "ClusterPolicy",
        "name": "cluster-policy",
        "state": "notReady",
        "reason": "DriverNotReady",
        "message": "Waiting for driver pod to be ready",
    }
    assert [finding["severity"] for finding in found["findings"] if finding["subject"] == "operator"] == ["error"]


@pytest.mark.thorough
def test_hooks_and_releases_of_helm(operator: Operator) -> None:
    cluster = operator.cluster
    applied = operator.module(create_namespace=True, wait=False)
    assert not applied["failed"], applied
    assert applied["hooks"] == ["Job/gpu-operator-prune (post-delete)", "Job/gpu-operator-upgrade-crd (pre-upgrade)"]
    assert actions(applied)["ClusterPolicy/cluster-policy"] == "created"
    failing = {"values": {"cleanup": ["python3", "-c", "raise SystemExit('labels are left')"]}}
    failed = operator.module(state="absent", **failing)
    assert failed["failed"]
    assert "labels are left" in failed["msg"]
    assert cluster.get(POLICY) is None
    # It is tried again, although nothing else is left to do.
    again = operator.module(state="absent")
    assert not again["failed"], again
    assert actions(again)["Job/gpu-operator-prune"] == "deleted"
    jobs = f"/apis/batch/v1/namespaces/{operator.namespace}/jobs"
    assert cluster.api.list(jobs, "jobs") == []
    assert not operator.module(state="absent")["changed"]

    # Helm's own work is left to Helm.
    command = [operator.helm, "--kubeconfig", cluster.kubeconfig, "--namespace", operator.namespace]
    install = ["install", "gpu-operator", operator.chart, "--no-hooks", "--set", "image=nowhere.invalid/none:1"]
    subprocess.run([*command, *install], check=True, capture_output=True)
    refused = operator.module()
    subprocess.run([*command, "uninstall", "gpu-operator", "--no-hooks"], check=True, capture_output=True)
    assert refused["failed"]
    assert "Helm itself has installed a release gpu-operator" in refused["msg"]
    assert not refused["changed"]


@pytest.mark.thorough
def test_life_of_the_operator(operator: Operator) -> None:
    cluster = operator.cluster
    predicted = operator.play("--check", "--diff")
    assert predicted.changed("site") == 1
    assert cluster.get(POLICY) is None
    assert cluster.get(f"/apis/apps/v1/namespaces/{operator.namespace}/deployments/gpu-operator") is None

    slices = {"gpu_operator_time_slices": 4, "gpu_operator_driver": False}
    values = {"gpu_operator_values": {"dcgmExporter": {"enabled": False}}}
    applied = operator.play(**slices, **values)
    assert applied.changed("site") == 1
    assert "Operator: ClusterPolicy cluster-policy is ready." in applied.text
    spec = cluster.there(POLICY)["spec"]
    assert spec["driver"] == {"enabled": False, "version": "1.0"}
    # What is merged last counts, and leaves its neighbours alone.
    assert spec["dcgmExporter"]["enabled"] is False
    assert spec["dcgmExporter"]["serviceMonitor"]["interval"] == "15s"
    # The chart was rendered for this cluster.
    assert spec["kubernetes"] == cluster.api.get("/version", "version")["gitVersion"]
    assert spec["deployments"] is True
    config = f"/api/v1/namespaces/{operator.namespace}/configmaps/{spec['devicePlugin']['config']['name']}"
    shared = yaml.safe_load(cluster.there(config)["data"][spec["devicePlugin"]["config"]["default"]])
    assert shared["sharing"]["timeSlicing"] == {
        "renameByDefault": False,
        "failRequestsGreaterThanOne": True,
        "resources": [{"name": "nvidia.com/gpu", "replicas": 4}],
    }
    assert operator.play(**slices, **values).changed("site") == 0

    # Without slices the ConfigMap has no place in the chart any more.
    changed = operator.play("--diff", **values)
    assert changed.changed("site") == 1
    assert "(pruned)" in changed.output
    assert cluster.get(config) is None

    # A namespace with what is kept stays.
    assert operator.play(gpu_operator_state="absent", gpu_operator_remove_definitions=True).changed("site") == 1
    assert cluster.get(DEFINITION) is None
    assert cluster.get(f"/api/v1/namespaces/{operator.namespace}") is None
    assert not operator.module(state="absent")["changed"]


def test_what_instances_ask_for(cluster: Cluster, mig_node: str, namespace: str) -> None:
    quota = {"metadata": {"name": "gpus"}, "spec": {"hard": {f"requests.{MIG}": "1"}}}
    cluster.create(f"/api/v1/namespaces/{namespace}/resourcequotas", quota)
    mine = {"namespace": "elsewhere", "gpus": 1, "resource": MIG}
    instances = [
        {**mine, "name": "fits", "servers": 1, "max_servers": 2},
        {**mine, "name": "whole", "resource": "nvidia.com/gpu"},
        {**mine, "name": "nowhere", "node_selector": {"nvidia.com/gpu.product": "NVIDIA-H100"}},
        {**mine, "name": "quota", "namespace": namespace, "servers": 2},
    ]
    found = run_module("gpu_info", {"kubeconfig": cluster.kubeconfig, "instances": instances})
    (node,) = found["nodes"]
    assert (node["name"], node["present"], node["allocatable"][MIG]) == (mig_node, True, 3)
    assert node["product"] == "NVIDIA-A100-MIG-1g.5gb"
    assert {item["name"]: item["fit"] for item in found["instances"]} == {
        "fits": 1,
        "whole": 0,
        "nowhere": 0,
        "quota": 2,
    }
    told = {finding["subject"]: finding for finding in found["findings"]}
    assert "instance quota" not in told
    assert told["instance fits"]["severity"] == "warning"
    assert "Of 2 server(s) of fits with 1 nvidia.com/mig-1g.5gb each, 1 find room" in told["instance fits"]["what"]
    assert "set triton_gpu_resource to what is meant" in told["instance whole"]["remedy"]
    assert f"They offer {MIG}" in told["instance whole"]["remedy"]
    assert "nvidia.com/gpu.product=NVIDIA-A100-MIG-1g.5gb" in told["instance nowhere"]["remedy"]
    assert "allows 1 nvidia.com/mig-1g.5gb" in told[f"namespace {namespace}"]["what"]
    assert found["not_read"] == []


def test_proof_pod(cluster: Cluster, mig_node: str, namespace: str) -> None:
    options = {"kubeconfig": cluster.kubeconfig, "namespace": namespace, "image": IMAGE, "resource": MIG}
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    proof = run_module("gpu_proof", {**options, "command": ["sh", "-c", "echo GPU 0: simulated; id -u"]})
    assert not proof["failed"], proof
    assert (proof["output"], proof["node"], proof["changed"]) == (["GPU 0: simulated", "1000"], mig_node, False)
    until(lambda: cluster.api.list(jobs, "jobs") == [], seconds=20)

    failed = run_module("gpu_proof", {**options, "command": ["sh", "-c", "echo no devices were found; exit 9"]})
    assert failed["failed"]
    assert "exit code 9" in failed["msg"]
    assert "no devices were found" in failed["msg"]
    crowded = run_module("gpu_proof", {**options, "count": 4, "timeout": 5, "command": ["true"]})
    assert crowded["failed"]
    assert f"Insufficient {MIG}" in crowded["msg"]
    until(lambda: cluster.api.list(jobs, "jobs") == [], seconds=20)


def test_what_may_not_be_read_is_said(cluster: Cluster, namespace: str, ca_file: str) -> None:
    """With rights in one namespace only."""
    token = cluster.user(namespace, "reader", {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]})
    instance = {"name": "cms", "namespace": namespace, "gpus": 1}
    found = run_module("gpu_info", {**cluster.as_user(token, ca_file), "instances": [instance]})
    assert not found["failed"], found
    assert found["findings"] == []
    assert found["operator"]["kind"] == "unknown"
    assert "We may not list nodes, so labels and accelerators of nodes are not known." in found["not_read"]
    assert (
        f"We may not list ResourceQuotas of {namespace}, so a quota that is too small is not seen." in found["not_read"]
    )
    assert found["instances"][0]["fit"] is None


@pytest.mark.thorough
def test_existing_changes_nothing(operator: Operator, mig_node: str) -> None:
    """Whatever is wrong is said by a role that only looks; a proof comes after it."""
    existing = {
        "gpu_operator_mode": "existing",
        "gpu_operator_instances": [{"name": "cms", "gpus": 1, "resource": MIG, "servers": 4}],
    }
    # Nobody listens on this port.
    done = operator.play(**existing, gpu_operator_prometheus_url="http://127.0.0.1:9")
    assert done.code != 0
    assert "Of 4 server(s) of cms with 1 nvidia.com/mig-1g.5gb each, 3 find room" in done.text
    assert "Prometheus could not be asked for the metrics of GPUs" in done.text
    assert operator.cluster.get(POLICY) is None

    with contextlib.ExitStack() as stack:
        namespace = operator.cluster.new_namespace()
        stack.callback(operator.cluster.remove_namespace, namespace)
        # On this machine, where what the exporter of a node says is scraped.
        page = Page(
            'DCGM_FI_DEV_GPU_UTIL{gpu="0",Hostname="gone"} 5\nDCGM_FI_DEV_GPU_UTIL{gpu="1",Hostname="gone"} 7\n'
        )
        jobs = [{"job_name": "dcgm", "scrape_interval": "1s", "static_configs": [{"targets": [page.address]}]}]
        folder = operator.folder / "prometheus"
        server = Prometheus(program("prometheus", operator.folder), folder, {"scrape_configs": jobs})
        stack.callback(server.stop)
        stack.callback(page.stop)
        asked = {"url": server.url, "queries": {"up": "DCGM_FI_DEV_GPU_UTIL"}}
        until(lambda: run_module("prometheus_query_info", asked)["answers"]["up"]["series"])
        proved = operator.play(
            **existing,
            gpu_operator_prometheus_url=server.url,
            gpu_operator_nodes_on_demand=True,
            gpu_operator_proof=True,
            gpu_operator_proof_namespace=namespace,
            gpu_operator_proof_image=IMAGE,
            gpu_operator_proof_resource=MIG,
            gpu_operator_proof_command=["echo", "GPU 0: simulated"],
        )
    assert proved.changed("site") == 0
    # One node is measured, and one has a GPU.
    assert "metrics of GPUs" not in proved.text
    assert f"On {mig_node}: GPU 0: simulated" in proved.text
