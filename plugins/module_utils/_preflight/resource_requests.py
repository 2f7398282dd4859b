# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sums up what the manifests of an instance request of its namespace and of nodes, without secrets.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.quantity import quantity

Object = Mapping[str, Any]
Amounts = dict[str, Decimal]

CVMFS_MOUNT = "/cvmfs"
COMPONENT = "app.kubernetes.io/component"
# What a ResourceQuota counts by a name of its own; everything else is count/<plural>.<group>.
_COUNTED = {
    "Service": "services",
    "ConfigMap": "configmaps",
    "Secret": "secrets",
    "PersistentVolumeClaim": "persistentvolumeclaims",
}


def demands(sets: Mapping[str, Iterable[Object]], publisher: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The requests of the manifests of one instance, by role; publisher: the pod that publishes models.

    Returns pods (kinds of them, each with how many there are at least and at most), claims, ingresses, references
    (to objects that have to be there) and counts (objects of a kind).
    """
    documents = [document for manifests in sets.values() for document in manifests]
    specs = [item["spec"] for item in documents if item["kind"] == "ScaledObject"]
    scaled = {str(spec["scaleTargetRef"]["name"]): spec for spec in specs}
    pods = [_pods(item, scaled.get(item["metadata"]["name"])) for item in documents if item["kind"] == "Deployment"]
    if publisher:
        pods.append(_publisher(publisher))
    return {
        "pods": pods,
        "claims": [
            _claim(role, item)
            for role, manifests in sets.items()
            for item in manifests
            if item["kind"] == "PersistentVolumeClaim"
        ],
        "ingresses": [_ingress(item) for item in documents if item["kind"] == "Ingress"],
        "references": _references(documents, pods),
        "counts": _counts(documents, sum(1 for manifests in sets.values() if list(manifests))),
    }


def _pods(deployment: Object, scaled: Object | None) -> dict[str, Any]:
    spec = deployment["spec"]
    replicas = int(spec.get("replicas", 1))
    least = most = replicas
    if scaled is not None:
        least = int(scaled.get("minReplicaCount", 0))
        most = max(least, int(scaled.get("maxReplicaCount", 100)))
    return {
        "component": str((deployment["metadata"].get("labels") or {}).get(COMPONENT, deployment["metadata"]["name"])),
        "workload": f"{deployment['kind']} {deployment['metadata']['name']}",
        "least": least,
        "most": most,
        "surge": _surge(spec.get("strategy") or {}, most),
        **_pod(spec["template"]["spec"]),
    }


def _surge(strategy: Object, pods: int) -> int:
    """The number of additional pods during an update."""
    if strategy.get("type") == "Recreate" or not pods:
        return 0
    surge = (strategy.get("rollingUpdate") or {}).get("maxSurge", "25%")
    if str(surge).endswith("%"):
        return math.ceil(int(str(surge)[:-1]) * pods / 100)
    return int(surge)


def _pod(spec: Object) -> dict[str, Any]:
    containers = [
        *(_container(item, init=True) for item in spec.get("initContainers") or []),
        *(_container(item, init=False) for item in spec.get("containers") or []),
    ]
    mounts: dict[str, list[str]] = {}
    for item in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        for mount in item.get("volumeMounts") or []:
            mounts.setdefault(mount["name"], []).append(str(mount["mountPath"]))
    volumes = spec.get("volumes") or []
    cvmfs = {name for name, paths in mounts.items() if any(f"{path}/".startswith(f"{CVMFS_MOUNT}/") for path in paths)}
    return {
        "containers": containers,
        "node_selector": dict(spec.get("nodeSelector") or {}),
        "affinity": dict(spec.get("affinity") or {}),
        "tolerations": list(spec.get("tolerations") or []),
        "pull_secrets": [str(item["name"]) for item in spec.get("imagePullSecrets") or []],
        "claims": [
            {"name": str(volume["persistentVolumeClaim"]["claimName"]), "cvmfs": volume["name"] in cvmfs,
             "read_only": bool(volume["persistentVolumeClaim"].get("readOnly"))}
            for volume in volumes if volume.get("persistentVolumeClaim")
        ],
        "cvmfs_host_paths": [
            str(volume["hostPath"]["path"]) for volume in volumes if volume.get("hostPath") and volume["name"] in cvmfs
        ],
        "secrets": _named(spec, volumes, "secret", "secretName", "secretKeyRef", "secretRef"),
        "config_maps": _named(spec, volumes, "configMap", "name", "configMapKeyRef", "configMapRef"),
        "priority_class": str(spec.get("priorityClassName") or ""),
        "runtime_class": str(spec.get("runtimeClassName") or ""),
        "service_account": str(spec.get("serviceAccountName") or ""),
    }  # fmt: skip


def _container(container: Object, *, init: bool) -> dict[str, Any]:
    resources = container.get("resources") or {}
    limits = {name: str(amount) for name, amount in (resources.get("limits") or {}).items()}
    # The API server takes a limit for the request that is not said.
    requests = {**limits, **{name: str(amount) for name, amount in (resources.get("requests") or {}).items()}}
    return {
        "name": str(container["name"]),
        # One that goes on beside the others counts as they do.
        "init": init and container.get("restartPolicy") != "Always",
        "requests": requests,
        "limits": limits,
    }


def _named(spec: Object, volumes: Sequence[Object], volume: str, key: str, by_key: str, whole: str) -> list[str]:
    """Secrets or ConfigMaps that a pod cannot start without."""
    found = []
    for item in volumes:
        sources = [item.get(volume) or {}]
        for projected in (item.get("projected") or {}).get("sources") or []:
            source = projected.get(volume) or {}
            sources.append({**source, key: source.get("name")} if source else {})
        found += [str(source[key]) for source in sources if source.get(key) and not source.get("optional")]
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        values = [(item.get("valueFrom") or {}).get(by_key) or {} for item in container.get("env") or []]
        values += [item.get(whole) or {} for item in container.get("envFrom") or []]
        found += [str(value["name"]) for value in values if value.get("name") and not value.get("optional")]
    return list(dict.fromkeys(found))


def _publisher(pod: Mapping[str, Any]) -> dict[str, Any]:
    """The pod of model_repository, by that module's own options; its claim is the store's."""
    resources = {"name": "publisher", "resources": pod.get("resources") or {}}
    claim = {"name": "claim", "persistentVolumeClaim": {"claimName": pod["claim"]}}
    spec = {
        "containers": [resources],
        "nodeSelector": pod.get("node_selector"),
        "tolerations": pod.get("tolerations"),
        "imagePullSecrets": [{"name": name} for name in pod.get("image_pull_secrets") or []],
        "volumes": [claim],
    }
    return {
        "component": "model-repository",
        "workload": "the pod that publishes models",
        "least": 0,
        "most": 1,
        "surge": 0,
        **_pod(spec),
    }


def _claim(role: str, claim: Object) -> dict[str, Any]:
    spec = claim["spec"]
    return {
        "role": role,
        "name": str(claim["metadata"]["name"]),
        "size": str(((spec.get("resources") or {}).get("requests") or {}).get("storage", "0")),
        "storage_class": str(spec.get("storageClassName") or ""),
        "access_modes": [str(mode) for mode in spec.get("accessModes") or []],
    }


def _ingress(ingress: Object) -> dict[str, Any]:
    spec = ingress["spec"]
    return {
        "name": str(ingress["metadata"]["name"]),
        "ingress_class": str(spec.get("ingressClassName") or ""),
        "places": places(spec),
    }


def places(spec: Object) -> list[dict[str, str]]:
    """Hosts and paths of an Ingress."""
    return [
        {"host": str(rule.get("host") or ""), "path": str(path.get("path") or "/")}
        for rule in spec.get("rules") or []
        for path in (rule.get("http") or {}).get("paths") or []
    ]


def _references(documents: Sequence[Object], pods: Sequence[Object]) -> list[dict[str, Any]]:
    """Objects that pods need and that none of the sets makes, each with the workloads that need it."""
    made = {(item["kind"], str(item["metadata"]["name"])) for item in documents}
    # Made by cert-manager.
    made |= {("Secret", str(item["spec"].get("secretName"))) for item in documents if item["kind"] == "Certificate"}
    found: dict[tuple[str, str, bool], list[str]] = {}
    for pod in pods:
        wanted = [
            *(("Secret", name, True) for name in pod["pull_secrets"]),
            *(("Secret", name, False) for name in pod["secrets"]),
            *(("ConfigMap", name, False) for name in pod["config_maps"]),
            *(("PersistentVolumeClaim", item["name"], False) for item in pod["claims"]),
            ("PriorityClass", pod["priority_class"], False),
            ("RuntimeClass", pod["runtime_class"], False),
            ("ServiceAccount", pod["service_account"], False),
        ]
        for kind, name, pull in wanted:
            if name and (kind, name) not in made:
                found.setdefault((kind, name, pull), []).append(pod["workload"])
    return [
        {"kind": kind, "name": name, "pull": pull, "by": list(dict.fromkeys(workloads))}
        for (kind, name, pull), workloads in sorted(found.items())
    ]


def _counts(documents: Sequence[Object], sets: int) -> dict[str, int]:
    """Objects by what a ResourceQuota calls them."""
    # Each set is noted in a ConfigMap of its own.
    found = {"configmaps": sets}
    for item in documents:
        name = _COUNTED.get(item["kind"])
        if name:
            found[name] = found.get(name, 0) + 1
        kind = (item.get("spec") or {}).get("type") if item["kind"] == "Service" else ""
        if kind == "LoadBalancer":
            found["services.loadbalancers"] = found.get("services.loadbalancers", 0) + 1
        if kind in ("LoadBalancer", "NodePort"):
            found["services.nodeports"] = found.get("services.nodeports", 0) + 1
    return {name: number for name, number in sorted(found.items()) if number}


# ---- sums ------------------------------------------------------------------------------------------------------------


def of_pod(pod: Object, kind: str) -> Amounts:
    """The requests (kind: requests) or limits of one pod, by resource; as the scheduler counts them."""
    together: Amounts = {}
    largest: Amounts = {}
    for container in pod["containers"]:
        for name, amount in container[kind].items():
            value = quantity(amount) or Decimal(0)
            if container["init"]:
                largest[name] = max(largest.get(name, Decimal(0)), value)
            else:
                together[name] = together.get(name, Decimal(0)) + value
    nothing = Decimal(0)
    return {name: max(together.get(name, nothing), largest.get(name, nothing)) for name in {**together, **largest}}


def read_pod(live: Object) -> dict[str, Any]:
    """A pod of the cluster, as far as of_pod() needs it."""
    spec = live.get("spec") or {}
    return {
        "containers": [
            *(_container(item, init=True) for item in spec.get("initContainers") or []),
            *(_container(item, init=False) for item in spec.get("containers") or []),
        ]
    }
