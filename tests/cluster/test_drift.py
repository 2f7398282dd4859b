# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift of a real instance: none of one that is as it was applied, and each change with who has made it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.cluster.test_least_rights import operator
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.playbooks import LOCAL, Instance, Run
from ansible_collections.fastml.supersonic.tests.harness.processes import until

NAME = "drifting"
USED = ("port_forward", "disruption_budgets", "network_policies", "publishing", "managed_claim")


@pytest.fixture(scope="module")
def instance(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Of somebody with the rights that preflight asks for, with an autoscaler of somebody else."""
    folder = tmp_path_factory.mktemp("drift")
    models = folder / "models"
    shutil.copytree(LOCAL / "models/identity", models / "identity")
    namespace = cluster.new_namespace()
    variables = {
        **operator(cluster, namespace, folder, USED),
        "model_repository_sources": [str(models)],
        "model_repository_test_load": False,
        "triton_replicas": 1,
    }
    found = Instance(cluster, folder, NAME, variables)
    found.namespace = namespace
    try:
        found.site()
        autoscaler = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "of-somebody"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{NAME}-triton"},
                "minReplicas": 2,
                "maxReplicas": 2,
                "metrics": [],
            },
        }
        cluster.create(f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers", autoscaler)
        yield found
    finally:
        cluster.remove_namespace(namespace)


@pytest.fixture(scope="module")
def configuration(instance: Instance) -> str:
    """Envoy's, as it was applied: before any test has changed it."""
    config = f"/api/v1/namespaces/{instance.namespace}/configmaps/{NAME}-envoy"
    return str(instance.cluster.there(config)["data"]["envoy.yaml"])


def drift(instance: Instance, folder: Path, **extra: Any) -> tuple[Run, dict[str, Any]]:
    report = folder / "drift.json"
    done = instance.run("playbooks/drift.yml", drift_report=str(report), **extra)
    (found,) = json.loads(report.read_text())
    assert found["reachable"], found["why"]
    return done, found


def test_an_instance_as_it_was_applied_has_none(instance: Instance, tmp_path: Path) -> None:
    """Two servers where the inventory has one: an autoscaler has made that."""
    until(lambda: instance.ready("triton", 2), 120)
    before = {kind: versions(instance, kind) for kind in ("deployments", "configmaps")}
    done, found = drift(instance, tmp_path, drift_fail=True)
    assert done.code == 0, done.output
    assert found["findings"] == []
    assert found["unknown"] == []
    assert {each["same"] for each in found["running"]["envoys"]} == {True}
    servers = found["running"]["release"]["servers"]
    assert [each["release"] for each in servers] == [found["running"]["release"]["desired"]] * 2
    # Nothing was changed.
    assert before == {kind: versions(instance, kind) for kind in before}


def versions(instance: Instance, plural: str) -> dict[str, str]:
    """What a change of an object would change, whoever reports its status."""
    root = "/apis/apps/v1" if plural == "deployments" else "/api/v1"
    items = instance.cluster.api.list(f"{root}/namespaces/{instance.namespace}/{plural}", plural)
    field = "generation" if plural == "deployments" else "resourceVersion"
    return {item["metadata"]["name"]: str(item["metadata"][field]) for item in items}


def test_each_change_is_told_with_who_has_made_it(instance: Instance, configuration: str, tmp_path: Path) -> None:
    cluster, namespace = instance.cluster, instance.namespace
    budget = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets/{NAME}-triton"
    policy = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/{NAME}-envoy"
    config = f"/api/v1/namespaces/{namespace}/configmaps/{NAME}-envoy"
    deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/{NAME}-triton"
    autoscaler = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/of-somebody"
    cluster.patch(budget, {"spec": {"maxUnavailable": "70%", "minAvailable": None}}, manager="kubectl-edit")
    note = {"metadata": {"annotations": {"example.org/note": "by hand"}}}
    cluster.patch(f"/api/v1/namespaces/{namespace}/services/{NAME}", note, manager="kubectl-annotate")
    cluster.api.delete(policy, policy)
    # An Envoy reads it when it starts.
    assert "idle_timeout: " in configuration
    edited = configuration.replace("idle_timeout: ", "idle_timeout: 7", 1)
    cluster.patch(config, {"data": {"envoy.yaml": edited}}, manager="kubectl-edit")
    cluster.api.delete(autoscaler, autoscaler)
    cluster.patch(f"{deployment}/scale", {"spec": {"replicas": 3}}, manager="kubectl")
    stray = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "stray", "labels": cluster.there(config)["metadata"]["labels"]},
    }
    stray["metadata"]["labels"].pop("applyset.kubernetes.io/part-of")
    cluster.create(f"/api/v1/namespaces/{namespace}/configmaps", stray)

    done, found = drift(instance, tmp_path, drift_fail=True)
    assert done.code == 2, done.output
    assert found["drift"]
    told = {(each["kind"], each["object"], each["field"]): each for each in found["findings"]}

    def by(*key: str) -> set[tuple[str, str]]:
        return {(each["manager"], each["subresource"]) for each in told[key]["by"]}

    assert by("edited", f"PodDisruptionBudget/{NAME}-triton", "spec.maxUnavailable") == {("kubectl-edit", "")}
    assert by("added", f"Service/{NAME}", "") == {("kubectl-annotate", "")}
    assert told["added", f"Service/{NAME}", ""]["fields"] == ['metadata.annotations["example.org/note"]']
    assert ("missing", f"NetworkPolicy/{NAME}-envoy", "") in told
    assert by("edited", f"ConfigMap/{NAME}-envoy", 'data["envoy.yaml"]') == {("kubectl-edit", "")}
    scaled = told["edited", f"Deployment/{NAME}-triton", "spec.replicas"]
    assert (scaled["desired"], scaled["live"]) == (1, 3)
    assert by("edited", f"Deployment/{NAME}-triton", "spec.replicas") == {("kubectl", "scale")}
    assert ("unowned", "configmaps/stray", "") in told
    (pod,) = instance.pods("envoy").values()
    runs = [each for key, each in told.items() if key[:2] == ("envoy configuration", f"Pod/{pod['metadata']['name']}")]
    assert len(runs) == 1
    assert runs[0]["field"].endswith("idle_timeout")
    assert str(runs[0]["live"]).startswith("7")
    assert [each["manager"] for each in runs[0]["by"]] == ["kubectl-edit"]
    # And nothing else, but that the third server is not ready yet.
    assert len([key for key in told if key[0] not in ("replicas", "models")]) == 7
    for each in found["findings"]:
        assert each["text"].split(" (")[0] in done.text


def test_the_inventory_can_be_put_back(instance: Instance, configuration: str) -> None:
    """After somebody has scaled the servers, and replaced a ConfigMap as a whole."""
    cluster, namespace = instance.cluster, instance.namespace
    config = f"/api/v1/namespaces/{namespace}/configmaps/{NAME}-envoy"
    deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/{NAME}-triton"
    service = f"/api/v1/namespaces/{namespace}/services/{NAME}"
    autoscaler = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/of-somebody"
    # Whatever the test before has left: with an autoscaler the number would be nobody's to put back.
    if cluster.get(autoscaler):
        cluster.api.delete(autoscaler, autoscaler)
    cluster.patch(f"{deployment}/scale", {"spec": {"replicas": 3}}, manager="kubectl")
    cluster.patch(service, {"metadata": {"annotations": {"example.org/note": "by hand"}}}, manager="kubectl-annotate")
    replaced = {**cluster.there(config), "data": {"envoy.yaml": f"{configuration}# by hand\n"}}
    cluster.api.call("PUT", config, config, query={"fieldManager": "kubectl-replace"}, body=replaced)
    refused = instance.run("site.yml", "--tags", "triton")
    assert refused.code != 0
    assert "another field manager has set .spec.replicas (owned by kubectl)" in refused.text
    assert "or take them over in one run with -e '{\"supersonic_force_conflicts\": true}'." in refused.text
    assert cluster.there(deployment)["spec"]["replicas"] == 3
    forced = instance.site("--skip-tags", "verify", supersonic_force_conflicts=True)
    assert f"ConfigMap/{NAME}-envoy: what kubectl-replace had put there is taken back." in forced.text
    assert cluster.there(deployment)["spec"]["replicas"] == 1
    assert cluster.there(config)["data"]["envoy.yaml"] == configuration
    # Fields that the inventory does not set are left alone.
    assert cluster.there(service)["metadata"]["annotations"]["example.org/note"] == "by hand"
