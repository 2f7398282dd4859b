# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real KEDA of the local cluster."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._scaling import keda as scaling_keda
from ansible_collections.fastml.supersonic.tests.harness.images import bring
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, Object
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, LOCAL, Run, run_playbook
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import locked

NAMESPACE = "keda"
IMAGES = ["keda", "keda-metrics-apiserver", "keda-admission-webhooks"]
DEFAULTS = yaml.safe_load((CLONE / "roles/keda/defaults/main.yml").read_text())
# What every caller of the module asks.
WANTED = {"namespace": "", "minimum_version": DEFAULTS["keda_minimum_version"], "fields": DEFAULTS["keda_fields"]}
# Where its objects are outside of namespaces, each with a part of a name besides keda.
_OBJECTS = {
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": "",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles": "",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings": "",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings": "",
    "/apis/apiregistration.k8s.io/v1/apiservices": "external.metrics",
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations": "",
    "/api/v1/namespaces": "",
}


class Keda:
    """KEDA in its namespace, by the role on the local inventory's cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def look(self, **wanted: Any) -> dict[str, Any]:
        """What the module says of it."""
        return scaling_keda.inspect(self.cluster.api, {**WANTED, **wanted})

    def sound(self) -> bool:
        found = self.look()
        return not found["problems"] and found["version"] == DEFAULTS["keda_version"]

    def have(self) -> None:
        """Have it, by the playbook of `make autoscaling`: minutes the first time, a second when it is there."""
        with self.alone():
            self._have()

    def alone(self) -> AbstractContextManager[None]:
        """While nobody else makes it or takes it away."""
        return locked(LOCAL / "keda.lock")

    def _have(self) -> None:
        if self.sound():
            return
        bring(*IMAGES, components=["keda"])
        assert self.sound(), self.look()

    def left(self) -> list[str]:
        """Objects of KEDA that are in the cluster outside of namespaces, by path."""
        return [
            f"{path}/{item['metadata']['name']}"
            for path, also in _OBJECTS.items()
            for item in self.cluster.api.list(path, path)
            if "keda" in item["metadata"]["name"] or (also and also in item["metadata"]["name"])
        ]

    def role(
        self,
        folder: Path,
        *arguments: str,
        inventory: Path = CLONE / "inventories/local",
        hosts: str = "local-cluster",
        **variables: Any,
    ) -> Run:
        """Run the role alone, for the local cluster or for clusters of another inventory."""
        task = {"name": "Deploy KEDA", "ansible.builtin.include_role": {"name": "fastml.supersonic.keda"}}
        play = {"hosts": hosts, "gather_facts": False, "tasks": [task]}
        (folder / "keda.yml").write_text(json.dumps([play]))
        extra = {"local_directory": str(LOCAL), "keda_kubeconfig": self.cluster.kubeconfig, **variables}
        return run_playbook(folder / "keda.yml", inventory, *arguments, extra=extra)


def scaled_object(name: str) -> Object:
    """One that fits the schema of the real kind, with the fields that the defaults ask for."""
    trigger = {"type": "kubernetes-workload", "metricType": "Value", "metadata": {"podSelector": "a=b", "value": "1"}}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": 1,
            "maxReplicaCount": 2,
            "fallback": {"failureThreshold": 3, "replicas": 1, "behavior": "currentReplicas"},
            "advanced": {
                "horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 1}}}
            },
            "triggers": [trigger],
        },
    }


DEPLOYMENTS = {
    "keda-operator": "keda",
    "keda-metrics-apiserver": "keda-metrics-apiserver",
    "keda-admission": "keda-admission-webhooks",
}


def _deployment(name: str, image: str) -> Object:
    container = {
        "name": name,
        "image": f"ghcr.io/kedacore/{image}:2.21.0",
        "imagePullPolicy": "Always",
        "env": [
            {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "WATCH_NAMESPACE", "value": ""},
            {"name": "WATCH_LABEL_SELECTOR", "value": ""},
        ],
        "resources": {"limits": {"cpu": "1000m"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "keda"},
        "spec": {"template": {"spec": {"serviceAccountName": "keda-operator", "containers": [container]}}},
    }


def release() -> list[Object]:
    """What is in a release's manifest, one of each kind."""
    service = {"name": "keda-metrics-apiserver", "namespace": "keda"}
    subjects = [
        {"kind": "ServiceAccount", "name": "keda-operator", "namespace": "keda"},
        {"kind": "ServiceAccount", "name": "horizontal-pod-autoscaler", "namespace": "kube-system"},
    ]
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "keda"}},
        {
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "scaledobjects.keda.sh"},
            "spec": {"group": "keda.sh"},
        },
        *(_deployment(name, image) for name, image in DEPLOYMENTS.items()),
        {"kind": "RoleBinding", "metadata": {"name": "reader", "namespace": "kube-system"}, "subjects": subjects},
        {"kind": "APIService", "metadata": {"name": "v1beta1.external.metrics.k8s.io"}, "spec": {"service": service}},
        {
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "keda-admission"},
            "webhooks": [{"clientConfig": {"service": {"name": "keda-admission-webhooks", "namespace": "keda"}}}],
        },
    ]
