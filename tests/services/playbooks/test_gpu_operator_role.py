# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role without a cluster: what its variables make of the chart, and which of them it refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, Run, run_playbook
from ansible_collections.fastml.supersonic.tests.harness.programs import program

VALUES: dict[str, Any] = {
    "gpu_operator_chart": str(CLONE / "tests/charts/gpu-operator"),
    "gpu_operator_chart_version": "1.2.3",
    "gpu_operator_driver_version": "580.1",
    "gpu_operator_toolkit": False,
    "gpu_operator_node_feature_discovery": False,
    "gpu_operator_mig_strategy": "mixed",
    "gpu_operator_mig_config": "all-1g.5gb",
    "gpu_operator_time_slices": 3,
    "gpu_operator_time_slices_resource": "nvidia.com/mig-1g.5gb",
    "gpu_operator_dcgm_service_monitor_labels": {"release": "prometheus"},
    "gpu_operator_values": {"migManager": {"config": {"default": "all-2g.10gb"}}},
}
# Variables that are refused, and what is said of them.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "chart": ({"gpu_operator_chart": "/nowhere/chart.tgz"}, "there is no such file or folder"),
    "slices": ({"gpu_operator_time_slices": 0}, "gpu_operator_time_slices is 0"),
    "image": ({"gpu_operator_proof_image": "cuda"}, "name a tag other than latest"),
    "drivers": ({"gpu_operator_drivers": False}, "gpu_operator_drivers"),
    "tolerations": ({"gpu_operator_proof_tolerations": [{"operator": "Is"}]}, "gpu_operator_proof_tolerations"),
    "instances": ({"gpu_operator_instances": [{"gpus": 1}]}, "name"),
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """Where one cluster has its manifests, in a run that refuses the others."""
    folder = tmp_path_factory.mktemp("gpus")
    shared = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_render_directory": str(folder),
        "gpu_operator_mode": "managed",
        "gpu_operator_helm_program": str(program("helm", folder) / "helm"),
    }
    hosts = {"right": VALUES, **{host: variables for host, (variables, _text) in WRONG.items()}}
    include = {"name": "fastml.supersonic.gpu_operator", "tasks_from": "render", "rolespec_validate": False}
    task = {"name": "Render", "ansible.builtin.include_role": include}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"supersonic_clusters": {"vars": shared, "hosts": hosts}}))
    (folder / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    return folder, run_playbook(folder / "play.yml", folder / "hosts.yml")


def test_variables_become_values(rendered: tuple[Path, Run]) -> None:
    folder, done = rendered
    assert done.recap["right"]["failed"] == 0, done.output
    assert done.recap["right"]["changed"] == 1
    objects = list(yaml.safe_load_all((folder / "gpu_operator.yaml").read_text()))
    (spec,) = (item["spec"] for item in objects if item["kind"] == "ClusterPolicy")
    assert spec["driver"] == {"enabled": True, "version": "580.1"}
    assert spec["toolkit"] == {"enabled": False}
    assert spec["mig"] == {"strategy": "mixed"}
    # What the user says comes last.
    assert spec["migManager"] == {"config": {"default": "all-2g.10gb"}}
    monitor = {"enabled": True, "interval": "15s", "additionalLabels": {"release": "prometheus"}}
    assert spec["dcgmExporter"] == {"enabled": True, "serviceMonitor": monitor}
    (config,) = (item for item in objects if item["metadata"]["name"] == spec["devicePlugin"]["config"]["name"])
    shared = yaml.safe_load(config["data"]["shared"])
    # Two slices may be of one GPU, so that nobody gets more by asking for two.
    assert shared["sharing"]["timeSlicing"]["failRequestsGreaterThanOne"] is True
    assert shared["sharing"]["timeSlicing"]["resources"] == [{"name": "nvidia.com/mig-1g.5gb", "replicas": 3}]


@pytest.mark.parametrize("host", WRONG)
def test_wrong_variables_are_refused(rendered: tuple[Path, Run], host: str) -> None:
    _folder, done = rendered
    assert done.recap[host]["failed"] == 1
    assert f"The inventory of {host} has 1 problem(s)" in done.said_of(host)
    assert WRONG[host][1] in done.said_of(host)
    assert done.recap[host]["changed"] == 0
