# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a chart before it reaches a cluster: sums, versions, hooks, and what Helm says when it fails."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.helm import Chart, render
from ansible_collections.fastml.supersonic.tests.harness.helm import CHART, helm_program, packaged
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return helm_program(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def archive(helm: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packaged(helm, tmp_path_factory.mktemp("charts"))


def chart(helm: str, path: Path = CHART, **more: Any) -> Chart:
    return Chart("gpus", "here", str(path), program=helm, **more)


def test_chart_is_rendered_as_it_is_asked_for(helm: str, archive: Path) -> None:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    values = {"driver": {"enabled": False}, "cleanup": ["echo", "{{ }}", 'a "quoted" word']}
    found = render(chart(helm, archive, version="1.2.3", sha256=digest, values=values, kubernetes_version="v1.31.7"))
    assert (found.name, found.version, found.app_version, found.sha256) == ("gpu-operator", "v1.2.3", "v1.2.3", digest)
    kinds = [item["kind"] for item in found.objects]
    # Definitions of the folder crds come along.
    assert sorted(kinds) == [
        "ClusterPolicy", "ClusterRole", "ClusterRoleBinding", "ConfigMap", "CustomResourceDefinition", "DaemonSet",
        "Deployment", "ServiceAccount",
    ]  # fmt: skip
    (policy,) = (item for item in found.objects if item["kind"] == "ClusterPolicy")
    assert policy["spec"]["driver"] == {"enabled": False, "version": "1.0"}
    assert policy["spec"]["kubernetes"] == "v1.31.7"
    (job,) = found.hooks["post-delete"]
    assert job["spec"]["template"]["spec"]["containers"][0]["command"] == values["cleanup"]
    assert render(chart(helm)).objects == render(chart(helm, archive)).objects


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"version": "v1.2.4"}, "has the version v1.2.3, but v1.2.4 is asked for"),
        ({"sha256": "0" * 64}, f"but {'0' * 64} is asked for: it is another file"),
        ({"sha256": "0"}, "64 digits"),
        ({"path": CHART, "sha256": "0" * 64}, "is a folder, which has no sha256"),
        ({"path": Path("/nowhere.tgz")}, "There is no chart /nowhere.tgz"),
        ({"helm": "/nowhere/helm"}, "The program /nowhere/helm is not there"),
        ({"helm": "/etc/passwd"}, "The program /etc/passwd is not there"),
        ({"values": {"devicePlugin": {"config": "text"}}}, "Rendering the chart"),
        ({"kubernetes_version": "new"}, "Rendering the chart"),
    ],
)
def test_chart_that_is_refused(helm: str, archive: Path, options: dict[str, Any], text: str) -> None:
    given = {"helm": helm, "path": archive, **options}
    with pytest.raises(SupersonicError) as caught:
        render(chart(given.pop("helm"), given.pop("path"), **given))
    assert text in str(caught.value)
    assert str(caught.value).endswith((".", "changed."))


def test_repository_that_does_not_answer(helm: str) -> None:
    options = {"name": "gpus", "namespace": "here", "chart": "gpu-operator", "program": helm, "state": "rendered"}
    away = {"repository": "http://127.0.0.1:9/charts", "version": "v1.2.3", "dest": "/nowhere/file"}
    failed = run_module("helm_chart", {**options, **away})
    assert failed["failed"]
    assert failed["msg"].startswith("Fetching the chart gpu-operator of http://127.0.0.1:9/charts failed: ")


def test_chart_is_written(helm: str, tmp_path: Path) -> None:
    options = {"name": "gpus", "namespace": "here", "chart": str(CHART), "program": helm, "state": "rendered"}
    options["dest"] = str(tmp_path / "gpus.yaml")
    assert run_module("helm_chart", options, check=True)["changed"]
    assert not (tmp_path / "gpus.yaml").exists()
    written = run_module("helm_chart", options)
    assert written["changed"]
    assert written["hooks"] == ["Job/gpus-prune (post-delete)", "Job/gpus-upgrade-crd (pre-upgrade)"]
    assert (tmp_path / "gpus.yaml").stat().st_mode & 0o777 == 0o644
    assert len(list(yaml.safe_load_all((tmp_path / "gpus.yaml").read_text()))) == 8
    assert not run_module("helm_chart", options)["changed"]
    refused = run_module("helm_chart", {**options, "dest": "/nowhere/gpus.yaml"})
    assert refused["msg"] == "/nowhere/gpus.yaml cannot be written: No such file or directory."


def test_values_are_in_no_output(helm: str) -> None:
    planted = "planted-9f3c-secret"
    options = {"name": "gpus", "namespace": "here", "chart": "/nowhere", "program": helm, "state": "rendered"}
    failed = run_module("helm_chart", {**options, "dest": "/nowhere/x", "values": {"token": planted}})
    assert failed["failed"]
    assert planted not in str(failed)
