# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""cluster_info on the real cluster: what is missing is said, what may not be read is left out."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE

PREFLIGHT = yaml.safe_load((CLONE / "roles/preflight/defaults/main.yml").read_text())
DEPLOYMENTS = {"resource": "deployments", "group": "apps", "verbs": ["get", "create", "patch"]}
READ_DEPLOYMENTS = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}


def info(cluster: Cluster, namespace: str, **options: Any) -> dict[str, Any]:
    if "host" not in options:
        options["kubeconfig"] = cluster.kubeconfig
    return run_module("cluster_info", {"namespace": namespace, **options})


def test_an_administrator_misses_nothing(cluster: Cluster, namespace: str) -> None:
    found = info(
        cluster,
        namespace,
        minimum_version="1.30",
        permissions=[DEPLOYMENTS, {"resource": "pods/exec", "verbs": ["create"]}],
        storage_classes=["", "local-path"],
    )
    assert found["problems"] == []
    assert found["version"].startswith("v1.")
    assert found["namespace"] == {"name": namespace, "phase": "Active"}
    assert "local-path" in found["storage_classes"]
    assert not found["changed"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"minimum_version": "9.1"}, "but 9.1 or newer is needed"),
        ({"storage_classes": ["fast"]}, "There is no storage class fast (model_repository_storage_class"),
        ({"node_resources": {"example.org/accelerator": 2}}, "No node offers 2 of example.org/accelerator for one pod"),
    ],
)
def test_what_is_missing_is_said(cluster: Cluster, namespace: str, options: dict[str, Any], problem: str) -> None:
    found = info(cluster, namespace, **options)
    assert len(found["problems"]) == 1
    assert problem in found["problems"][0]
    assert problem in found["msg"]


def test_resources_of_nodes_are_quantities(cluster: Cluster, namespace: str) -> None:
    assert info(cluster, namespace, node_resources={"memory": "1Gi", "cpu": "100m"})["problems"] == []
    (problem,) = info(cluster, namespace, node_resources={"memory": "1Ei"})["problems"]
    assert "No node offers 1Ei of memory" in problem


def test_namespace_that_is_not_there(cluster: Cluster) -> None:
    name = cluster.free_name()
    assert info(cluster, name, create_namespace=True)["problems"] == []
    (problem,) = info(cluster, name)["problems"]
    assert problem == (f"The namespace {name} does not exist. Create it, or set supersonic_create_namespace: true.")


def test_rights_in_one_namespace_are_enough(cluster: Cluster, namespace: str, ca_file: str) -> None:
    everything = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "create", "patch"]}
    token = cluster.user(namespace, "operator", everything)
    found = info(
        cluster,
        namespace,
        permissions=[DEPLOYMENTS],
        storage_classes=["local-path"],
        node_resources={"nvidia.com/gpu": 1},
        **cluster.as_user(token, ca_file),
    )
    # Neither the namespace nor nodes nor storage classes may be read: no problem by itself.
    assert found["problems"] == []
    assert "node_resources" not in found


def test_the_role_edit_is_enough(cluster: Cluster, namespace: str, ca_file: str) -> None:
    """What the README tells users to ask for has every right that any instance needs."""
    token = cluster.user(namespace, "editor")
    group = "rbac.authorization.k8s.io"
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "edit"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "ServiceAccount", "name": "editor", "namespace": namespace}],
    }
    cluster.create(f"/apis/{group}/v1/namespaces/{namespace}/rolebindings", binding)
    # Gateways, routes and certificates are of other projects, whose roles are a part of edit where they are installed.
    others = {"gateway_route", "gateway_tls", "openshift_route", "certificate"}
    others |= {"pod_monitor", "recording_rules", "autoscaler", "autoscaler_secret"}
    # Who makes a Role for a Prometheus needs the role admin.
    others |= {"prometheus"}
    features = PREFLIGHT["preflight_feature_permissions"]
    assert others <= set(features)
    permissions = [
        *PREFLIGHT["preflight_permissions"],
        *(item for name, items in features.items() if name not in others for item in items),
    ]
    assert info(cluster, namespace, permissions=permissions, **cluster.as_user(token, ca_file))["problems"] == []


def test_missing_verbs_are_named(cluster: Cluster, namespace: str, ca_file: str) -> None:
    token = cluster.user(namespace, "reader", READ_DEPLOYMENTS)
    found = info(cluster, namespace, permissions=[DEPLOYMENTS], **cluster.as_user(token, ca_file))
    assert found["problems"] == [
        f"We may not create and patch deployments.apps in the namespace {namespace} (supersonic_namespace). "
        "Ask for a Role with these verbs on it."
    ]


def test_forbidden_namespace(cluster: Cluster, namespace: str, ca_file: str) -> None:
    token = cluster.user(namespace, "stranger", READ_DEPLOYMENTS)
    other = cluster.free_name()
    found = info(cluster, other, create_namespace=True, **cluster.as_user(token, ca_file))
    (problem,) = found["problems"]
    assert problem.startswith(f"Nobody lets us see or create the namespace {other}.")


def test_unreachable(cluster: Cluster) -> None:
    found = info(cluster, "any", host="https://198.18.0.2:1", api_key="x")
    assert found["failed"]
    assert "The Kubernetes API at https://198.18.0.2:1" in found["msg"]
    assert "connection refused" in found["msg"]
