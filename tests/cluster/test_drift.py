# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift of a real instance: none of one that is as it was applied, and each change with who has made it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.cluster.test_least_rights import operator
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, Object, removed
from ansible_collections.fastml.supersonic.tests.harness.playbooks import Run
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.shared import NAME, Shared

NOTE = "example.org/note"
# What a reader of all parts of this instance needs.
USED = ("port_forward", "disruption_budgets", "network_policies", "publishing", "managed_claim", "prometheus")


@pytest.fixture(scope="module")
def reader(cluster: Cluster, shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Variables of somebody with the rights that preflight asks for."""
    return operator(cluster, shared.namespace, tmp_path_factory.mktemp("drift"), USED)


@pytest.fixture
def autoscaler(shared: Shared) -> Iterator[str]:
    """That of somebody else, who wants one more server than the inventory has; its path."""
    path = f"/apis/autoscaling/v2/namespaces/{shared.namespace}/horizontalpodautoscalers"
    body = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "of-somebody"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{NAME}-triton"},
            "minReplicas": 3,
            "maxReplicas": 3,
            "metrics": [],
        },
    }
    with removed(shared.cluster, f"{path}/of-somebody"):
        shared.cluster.create(path, body)
        until(lambda: shared.ready("triton", 3), 120)
        yield f"{path}/of-somebody"


@pytest.fixture
def stray(shared: Shared) -> Iterator[Object]:
    """An object that says that it is of the instance, and is in none of its sets; not made yet."""
    path = f"/api/v1/namespaces/{shared.namespace}/configmaps"
    labels = dict(shared.cluster.there(f"{path}/{NAME}-envoy")["metadata"]["labels"])
    labels.pop("applyset.kubernetes.io/part-of")
    with removed(shared.cluster, f"{path}/stray"):
        yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "stray", "labels": labels}}


@pytest.fixture
def put_back(shared: Shared) -> Iterator[Callable[[], Run]]:
    """The inventory again, whatever a test has changed, and has not put back itself by what it gets here."""
    runs: list[Run] = []

    def forced() -> Run:
        runs.append(shared.site("--skip-tags", "verify", supersonic_force_conflicts=True))
        return runs[-1]

    yield forced
    if not runs:
        forced()
    note = {"metadata": {"annotations": {NOTE: None}}}
    service = f"/api/v1/namespaces/{shared.namespace}/services/{NAME}"
    shared.cluster.patch(service, note, manager="kubectl-annotate")
    shared.settle()


def drift(shared: Shared, folder: Path, **extra: Any) -> tuple[Run, dict[str, Any]]:
    report = folder / "drift.json"
    done = shared.run("playbooks/drift.yml", drift_report=str(report), **extra)
    (found,) = json.loads(report.read_text())
    assert found["reachable"], found["why"]
    return done, found


def versions(shared: Shared, plural: str) -> dict[str, str]:
    """What a change of an object would change, whoever reports its status."""
    root = "/apis/apps/v1" if plural == "deployments" else "/api/v1"
    items = shared.cluster.api.list(f"{root}/namespaces/{shared.namespace}/{plural}", plural)
    field = "generation" if plural == "deployments" else "resourceVersion"
    return {item["metadata"]["name"]: str(item["metadata"][field]) for item in items}


def test_drift_is_told_with_who_has_made_it_and_can_be_put_back(
    shared: Shared,
    autoscaler: str,
    stray: Object,
    reader: dict[str, Any],
    put_back: Callable[[], Run],
    tmp_path: Path,
) -> None:
    # There is none of an instance as it was applied, although an autoscaler has made one more server.
    before = {kind: versions(shared, kind) for kind in ("deployments", "configmaps")}
    done, found = drift(shared, tmp_path, drift_fail=True, **reader)
    assert done.code == 0, done.output
    assert found["findings"] == []
    assert found["unknown"] == []
    assert {each["same"] for each in found["running"]["envoys"]} == {True}
    servers = found["running"]["release"]["servers"]
    assert [each["release"] for each in servers] == [found["running"]["release"]["desired"]] * 3
    # Nothing was changed.
    assert before == {kind: versions(shared, kind) for kind in before}

    cluster, namespace = shared.cluster, shared.namespace
    budget = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets/{NAME}-triton"
    policy = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/{NAME}-envoy"
    config = f"/api/v1/namespaces/{namespace}/configmaps/{NAME}-envoy"
    deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/{NAME}-triton"
    cluster.patch(budget, {"spec": {"maxUnavailable": "70%", "minAvailable": None}}, manager="kubectl-edit")
    note = {"metadata": {"annotations": {NOTE: "by hand"}}}
    cluster.patch(f"/api/v1/namespaces/{namespace}/services/{NAME}", note, manager="kubectl-annotate")
    cluster.api.delete(policy, policy)
    # An Envoy reads it when it starts.
    configuration = cluster.there(config)["data"]["envoy.yaml"]
    assert "idle_timeout: " in configuration
    edited = configuration.replace("idle_timeout: ", "idle_timeout: 7", 1)
    cluster.patch(config, {"data": {"envoy.yaml": edited}}, manager="kubectl-edit")
    cluster.api.delete(autoscaler, autoscaler)
    cluster.patch(f"{deployment}/scale", {"spec": {"replicas": 1}}, manager="kubectl")
    cluster.create(f"/api/v1/namespaces/{namespace}/configmaps", stray)

    done, found = drift(shared, tmp_path, drift_fail=True, **reader)
    assert done.code == 2, done.output
    assert found["drift"]
    told = {(each["kind"], each["object"], each["field"]): each for each in found["findings"]}

    def by(*key: str) -> set[tuple[str, str]]:
        return {(each["manager"], each["subresource"]) for each in told[key]["by"]}

    assert by("edited", f"PodDisruptionBudget/{NAME}-triton", "spec.maxUnavailable") == {("kubectl-edit", "")}
    assert by("added", f"Service/{NAME}", "") == {("kubectl-annotate", "")}
    assert told["added", f"Service/{NAME}", ""]["fields"] == [f'metadata.annotations["{NOTE}"]']
    assert ("missing", f"NetworkPolicy/{NAME}-envoy", "") in told
    assert by("edited", f"ConfigMap/{NAME}-envoy", 'data["envoy.yaml"]') == {("kubectl-edit", "")}
    scaled = told["edited", f"Deployment/{NAME}-triton", "spec.replicas"]
    assert (scaled["desired"], scaled["live"]) == (2, 1)
    assert by("edited", f"Deployment/{NAME}-triton", "spec.replicas") == {("kubectl", "scale")}
    assert ("unowned", "configmaps/stray", "") in told
    (pod,) = shared.pods("envoy").values()
    runs = [each for key, each in told.items() if key[:2] == ("envoy configuration", f"Pod/{pod['metadata']['name']}")]
    assert len(runs) == 1
    assert runs[0]["field"].endswith("idle_timeout")
    assert str(runs[0]["live"]).startswith("7")
    assert [each["manager"] for each in runs[0]["by"]] == ["kubectl-edit"]
    # And nothing else, but that a server is on its way.
    assert len([key for key in told if key[0] not in ("replicas", "models")]) == 7
    for each in found["findings"]:
        assert each["text"].split(" (")[0] in done.text

    # Now a ConfigMap is replaced as a whole, too.
    replaced = {**cluster.there(config), "data": {"envoy.yaml": f"{configuration}# by hand\n"}}
    cluster.api.call("PUT", config, config, query={"fieldManager": "kubectl-replace"}, body=replaced)
    refused = shared.run("site.yml", "--tags", "triton")
    assert refused.code != 0
    assert "another field manager has set .spec.replicas (owned by kubectl)" in refused.text
    assert "or take them over in one run with -e '{\"supersonic_force_conflicts\": true}'." in refused.text
    assert cluster.there(deployment)["spec"]["replicas"] == 1
    forced = put_back()
    assert f"ConfigMap/{NAME}-envoy: what kubectl-replace had put there is taken back." in forced.text
    assert cluster.there(deployment)["spec"]["replicas"] == 2
    assert cluster.there(config)["data"]["envoy.yaml"] == configuration
    # Fields that the inventory does not set are left alone.
    service = cluster.there(f"/api/v1/namespaces/{namespace}/services/{NAME}")
    assert service["metadata"]["annotations"][NOTE] == "by hand"
