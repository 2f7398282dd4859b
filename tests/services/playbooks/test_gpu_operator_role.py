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


def play(folder: Path, **variables: Any) -> Run:
    own = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
    include = {"name": "fastml.supersonic.gpu_operator", "tasks_from": "render", "rolespec_validate": False}
    task = {"name": "Render", "ansible.builtin.include_role": include}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"supersonic_clusters": {"hosts": {"site": own}}}))
    (folder / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    return run_playbook(folder / "play.yml", folder / "hosts.yml")


def test_variables_become_values(tmp_path: Path) -> None:
    done = play(
        tmp_path,
        supersonic_render_directory=str(tmp_path),
        gpu_operator_mode="managed",
        gpu_operator_helm_program=str(program("helm", tmp_path) / "helm"),
        gpu_operator_chart=str(CLONE / "tests/charts/gpu-operator"),
        gpu_operator_chart_version="1.2.3",
        gpu_operator_driver_version="580.1",
        gpu_operator_toolkit=False,
        gpu_operator_node_feature_discovery=False,
        gpu_operator_mig_strategy="mixed",
        gpu_operator_mig_config="all-1g.5gb",
        gpu_operator_time_slices=3,
        gpu_operator_time_slices_resource="nvidia.com/mig-1g.5gb",
        gpu_operator_dcgm_service_monitor_labels={"release": "prometheus"},
        gpu_operator_values={"migManager": {"config": {"default": "all-2g.10gb"}}},
    )
    assert done.changed("site") == 1
    objects = list(yaml.safe_load_all((tmp_path / "gpu_operator.yaml").read_text()))
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
    assert shared["sharing"]["timeSlicing"]["resources"] == [{"name": "nvidia.com/mig-1g.5gb", "replicas": 3}]


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"gpu_operator_chart": "/nowhere/chart.tgz"}, "there is no such file or folder"),
        ({"gpu_operator_time_slices": 0}, "gpu_operator_time_slices is 0"),
        ({"gpu_operator_proof_image": "cuda"}, "name a tag other than latest"),
        ({"gpu_operator_drivers": False}, "gpu_operator_drivers"),
        ({"gpu_operator_proof_tolerations": [{"operator": "Is"}]}, "gpu_operator_proof_tolerations"),
        ({"gpu_operator_instances": [{"gpus": 1}]}, "name"),
    ],
)
def test_wrong_variables_are_refused(tmp_path: Path, variables: dict[str, Any], text: str) -> None:
    done = play(tmp_path, gpu_operator_mode="managed", **variables)
    assert done.code != 0
    assert "The inventory of site has 1 problem(s)" in done.text
    assert text in done.text
