# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Discovers where the API serves each kind, and defines the order in which kinds are applied.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import threading
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, segment


class GroupKind(t.NamedTuple):
    group: str
    kind: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @classmethod
    def parse(cls, text: str) -> GroupKind:
        kind, _dot, group = text.partition(".")
        return cls(group, kind)


NAMESPACE = GroupKind("", "Namespace")
CRD = GroupKind("apiextensions.k8s.io", "CustomResourceDefinition")
PVC = GroupKind("", "PersistentVolumeClaim")
SECRET = GroupKind("", "Secret")
CONFIG_MAP = GroupKind("", "ConfigMap")
DEPLOYMENT = GroupKind("apps", "Deployment")
STATEFUL_SET = GroupKind("apps", "StatefulSet")
DAEMON_SET = GroupKind("apps", "DaemonSet")
REPLICA_SET = GroupKind("apps", "ReplicaSet")
JOB = GroupKind("batch", "Job")
POD = GroupKind("", "Pod")
_RBAC = "rbac.authorization.k8s.io"
ROLES = frozenset({GroupKind(_RBAC, "Role"), GroupKind(_RBAC, "ClusterRole")})
BINDINGS = frozenset({GroupKind(_RBAC, "RoleBinding"), GroupKind(_RBAC, "ClusterRoleBinding")})
WORKLOADS = frozenset({DEPLOYMENT, STATEFUL_SET, DAEMON_SET, REPLICA_SET, JOB})


@dataclass(frozen=True)
class Resource:
    """A kind as this API server serves it."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def group_kind(self) -> GroupKind:
        return GroupKind(self.group, self.kind)

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{segment(namespace)}" if self.namespaced and namespace else ""
        return f"{root}{scope}/{self.plural}" + (f"/{segment(name)}" if name else "")


def _builtin(group: str, version: str, namespaced: bool, kinds: Iterable[str]) -> list[Resource]:
    return [Resource(group, version, kind, _plural(kind), namespaced) for kind in kinds]


def _plural(kind: str) -> str:
    name = kind.lower()
    if name.endswith("s"):
        return name if name == "endpoints" else f"{name}es"
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


# Kinds of Kubernetes itself cannot change their plural or scope within a version, so asking for them would only cost
# requests: with this table a usual set needs no discovery at all. A server without one of them answers 404.
_BUILTIN = [
    *_builtin("", "v1", False, ["Namespace", "PersistentVolume"]),
    *_builtin(
        "",
        "v1",
        True,
        [
            "ConfigMap",
            "LimitRange",
            "PersistentVolumeClaim",
            "Pod",
            "ResourceQuota",
            "Secret",
            "Service",
            "ServiceAccount",
        ],
    ),
    *_builtin("apps", "v1", True, ["DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"]),
    *_builtin("autoscaling", "v2", True, ["HorizontalPodAutoscaler"]),
    *_builtin("batch", "v1", True, ["CronJob", "Job"]),
    *_builtin("networking.k8s.io", "v1", True, ["Ingress", "NetworkPolicy"]),
    *_builtin("networking.k8s.io", "v1", False, ["IngressClass"]),
    *_builtin("policy", "v1", True, ["PodDisruptionBudget"]),
    *_builtin("rbac.authorization.k8s.io", "v1", True, ["Role", "RoleBinding"]),
    *_builtin("rbac.authorization.k8s.io", "v1", False, ["ClusterRole", "ClusterRoleBinding"]),
    *_builtin("scheduling.k8s.io", "v1", False, ["PriorityClass"]),
    *_builtin("storage.k8s.io", "v1", False, ["StorageClass"]),
    *_builtin("apiregistration.k8s.io", "v1", False, ["APIService"]),
    *_builtin("apiextensions.k8s.io", "v1", False, ["CustomResourceDefinition"]),
    *_builtin(
        "admissionregistration.k8s.io",
        "v1",
        False,
        ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"],
    ),
]
# https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/ (those whose names have a dot)
_BUILTIN_GROUPS = frozenset(
    f"{name}.k8s.io"
    for name in (
        "admissionregistration",
        "apiextensions",
        "apiregistration",
        "authentication",
        "authorization",
        "certificates",
        "coordination",
        "discovery",
        "events",
        "flowcontrol.apiserver",
        "internal.apiserver",
        "networking",
        "node",
        "rbac.authorization",
        "resource",
        "scheduling",
        "storage",
        "storagemigration",
    )
)
_BY_KIND = {resource.group_kind: resource for resource in _BUILTIN}
# A Kubernetes kind that is not listed here is applied with the workloads, one of another group with custom resources.
_ORDER: tuple[tuple[str, ...], ...] = (
    ("Namespace",),
    ("CustomResourceDefinition",),
    ("PriorityClass", "StorageClass", "IngressClass", "ServiceAccount", "Role", "ClusterRole"),
    ("RoleBinding", "ClusterRoleBinding", "ResourceQuota", "LimitRange", "NetworkPolicy"),
    ("Secret", "ConfigMap"),
    ("PersistentVolume", "PersistentVolumeClaim"),
    ("Service", "PodDisruptionBudget"),
    ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod"),
    ("HorizontalPodAutoscaler",),
    ("Ingress",),
    ("APIService", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"),
)
_RANKS = {kind: rank for rank, kinds in enumerate(_ORDER) for kind in kinds}
_WORKLOAD_RANK = _RANKS["Deployment"]
_CUSTOM_RANK = _RANKS["HorizontalPodAutoscaler"]


def is_builtin_group(group: str) -> bool:
    """Whether a group belongs to Kubernetes itself. That it ends in k8s.io says nothing: so does the Gateway API's."""
    return "." not in group or group in _BUILTIN_GROUPS


def rank(group_kind: GroupKind) -> int:
    """The wave in which objects of this kind are applied; they are deleted in the reverse order."""
    if not is_builtin_group(group_kind.group):
        return _CUSTOM_RANK
    return _RANKS.get(group_kind.kind, _WORKLOAD_RANK)


class Kinds:
    """Finds out where kinds are served, asking the server only for groups that are not its own."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: dict[tuple[str, str], dict[str, Resource]] = {}
        self._learned: dict[GroupKind, Resource] = {}
        self._lock = threading.Lock()

    def find(self, group: str, version: str, kind: str) -> Resource | None:
        """The kind in this very version, or None when the server does not serve it."""
        builtin = _BY_KIND.get(GroupKind(group, kind))
        if builtin and builtin.version == version:
            return builtin
        return self._served(group, version).get(kind)

    def learn(self, resources: Iterable[Resource]) -> None:
        """These kinds are known already: any version will do to find their objects."""
        self._learned.update((resource.group_kind, resource) for resource in resources)

    def find_any(self, group_kind: GroupKind) -> Resource | None:
        """The kind in a version that the server serves, if need be the one that it prefers."""
        known = _BY_KIND.get(group_kind) or self._learned.get(group_kind)
        if known:
            return known
        group = self._api.find(f"/apis/{group_kind.group}", f"API group {group_kind.group}")
        if not group:
            return None
        versions = [group["preferredVersion"]["version"], *(v["version"] for v in group["versions"])]
        for version in dict.fromkeys(versions):
            found = self._served(group_kind.group, version).get(group_kind.kind)
            if found:
                return found
        return None

    def forget(self, groups: Iterable[str]) -> None:
        """Ask again for these groups: their definitions have just been applied."""
        changed = set(groups)
        with self._lock:
            self._known = {key: value for key, value in self._known.items() if key[0] not in changed}

    def _served(self, group: str, version: str) -> dict[str, Resource]:
        with self._lock:
            known = self._known.get((group, version))
        if known is None:
            root = f"/apis/{group}/{version}" if group else f"/api/{version}"
            answer = self._api.find(root, f"API {group}/{version}") or {}
            known = {
                entry["kind"]: Resource(group, version, entry["kind"], entry["name"], bool(entry["namespaced"]))
                for entry in answer.get("resources") or []
                if "/" not in entry["name"]
            }
            with self._lock:
                self._known[group, version] = known
        return known


def defined_by(crd: Mapping[str, t.Any]) -> list[Resource]:
    """The kinds that a CustomResourceDefinition brings, one for each served version."""
    try:
        spec = crd["spec"]
        names = spec["names"]
        return [
            Resource(spec["group"], v["name"], names["kind"], names["plural"], spec["scope"] == "Namespaced")
            for v in spec["versions"]
            if v.get("served", True)
        ]
    except (KeyError, TypeError, AttributeError) as exc:
        name = (crd.get("metadata") or {}).get("name")
        raise SupersonicError(
            f"CustomResourceDefinition/{name}: spec.group, spec.scope, spec.names and spec.versions must be there."
        ) from exc
