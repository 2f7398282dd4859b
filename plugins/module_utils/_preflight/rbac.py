# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renders the rights that an instance needs as a Role, to be handed to the administrators of the cluster.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]
Right = tuple[str, str, str]

RBAC = "rbac.authorization.k8s.io"
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
_LABELS = {"app.kubernetes.io/part-of": "supersonic"}


def rights(permissions: Iterable[Object]) -> list[Right]:
    """Verb, resource and group, each once, in the order in which they are wanted: two features may need the same."""
    return list(
        dict.fromkeys(
            (str(verb), str(item["resource"]), str(item.get("group") or ""))
            for item in permissions
            for verb in item["verbs"]
        )
    )


def rules(wanted: Iterable[Right]) -> list[dict[str, list[str]]]:
    """Rules of a Role: one for all resources of a group that need the same verbs, in an order that does not change."""
    verbs: dict[tuple[str, str], set[str]] = {}
    for verb, resource, group in wanted:
        verbs.setdefault((group, resource), set()).add(verb)
    together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (group, resource), found in sorted(verbs.items()):
        ordered = tuple(sorted(found, key=lambda verb: (VERBS.index(verb) if verb in VERBS else len(VERBS), verb)))
        together.setdefault((group, ordered), []).append(resource)
    return [
        {"apiGroups": [group], "resources": resources, "verbs": list(found)}
        for (group, found), resources in together.items()
    ]


def subject(wanted: Object, who: Object, namespace: str) -> dict[str, str] | None:
    """The subject of the RoleBinding: the given one, or else the current user (userInfo of a SelfSubjectReview)."""
    if wanted.get("kind"):
        kind, name = str(wanted["kind"]), str(wanted["name"])
        place = str(wanted.get("namespace") or namespace)
    else:
        kind, name, place = "User", str(who.get("username") or ""), ""
        if name.startswith("system:serviceaccount:"):
            place, name = name.split(":")[2:4]
            kind = "ServiceAccount"
        if not name:
            return None
    if kind == "ServiceAccount":
        return {"kind": kind, "name": name, "namespace": place}
    return {"apiGroup": RBAC, "kind": kind, "name": name}


def manifests(
    name: str, namespace: str, wanted: Iterable[Right], bound: Object | None, *, create_namespace: bool = False
) -> list[dict[str, Any]]:
    """The Role of an instance, and who has it; what is cluster-wide is a ClusterRole of its own.

    create_namespace: whether the playbooks make and remove the namespace themselves.
    """
    role = f"{name}-deployer"
    found = [_role("Role", role, rules(wanted), namespace), *_binding("Role", role, bound, namespace)]
    if create_namespace:
        wide = f"{namespace}-{role}"
        own = {"apiGroups": [""], "resources": ["namespaces"]}
        found += [
            _role(
                "ClusterRole",
                wide,
                # No name can be asked for where something is made.
                [{**own, "verbs": ["create"]}, {**own, "resourceNames": [namespace], "verbs": ["get", "delete"]}],
            ),
            *_binding("ClusterRole", wide, bound),
        ]
    return found


# ---- what a set of manifests needs -----------------------------------------------------------------------------------

_APPLIED = ("get", "list", "watch", "create", "patch", "delete")
_CLUSTER_WIDE = {
    "APIService", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "MutatingWebhookConfiguration",
    "Namespace", "PersistentVolume", "PriorityClass", "StorageClass", "ValidatingWebhookConfiguration",
}  # fmt: skip
_PLURALS = {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"}


def of_manifests(
    documents: Iterable[Object],
    name: str,
    namespace: str,
    subject_: Object | None = None,
    byproducts: Iterable[Object] = (),
) -> list[dict[str, Any]]:
    """The rights that it takes to apply and remove these objects with the module manifests.

    name: of the roles; subject_: kind, name and namespace of whom they are for; byproducts: as of that module.
    What is cluster-wide, the namespace itself included, is a ClusterRole, and everything else a Role in each
    namespace. Whoever makes a role has to have its rights, or the verb escalate, and whoever binds one the verb bind:
    somebody with these can give himself any right.
    """
    wide: list[Right] = [(verb, "namespaces", "") for verb in ("get", "create", "delete")]
    inside: dict[str, list[Right]] = {namespace: []}
    for document in documents:
        kind = str(document["kind"])
        group = str(document["apiVersion"]).rpartition("/")[0]
        resource = _PLURALS.get(kind, f"{kind.lower()}s")
        place = str(document["metadata"].get("namespace") or namespace)
        found = wide if kind in _CLUSTER_WIDE else inside.setdefault(place, [])
        found += [(verb, resource, group) for verb in _APPLIED]
        if kind in ("ClusterRole", "Role"):
            found.append(("escalate", resource, group))
        if kind in ("ClusterRoleBinding", "RoleBinding"):
            to = str(document["roleRef"]["kind"])
            (wide if to == "ClusterRole" else found).append(("bind", f"{to.lower()}s", RBAC))
    # What has gone out of the set is looked for by each of its kinds in each of its namespaces.
    kinds = {(resource, group) for found in inside.values() for _verb, resource, group in found if _verb == "create"}
    for found in inside.values():
        found += [("list", resource, group) for resource, group in sorted(kinds)]
    # The set is noted in a ConfigMap, and its pods are waited for.
    inside[namespace] += [(verb, "configmaps", "") for verb in _APPLIED]
    inside[namespace] += [(verb, "pods", "") for verb in ("get", "list", "watch")]
    for document in byproducts:
        group = str(document["apiVersion"]).rpartition("/")[0] if "/" in document["apiVersion"] else ""
        inside[namespace] += [(verb, f"{document['kind'].lower()}s", group) for verb in ("get", "delete")]
    bound = subject(subject_ or {}, {}, namespace)
    manifests_ = [_role("ClusterRole", name, rules(wide)), *_binding("ClusterRole", name, bound)]
    for place, found in sorted(inside.items()):
        manifests_ += [_role("Role", name, rules(found), place), *_binding("Role", name, bound, place)]
    return manifests_


def _role(kind: str, name: str, found: Sequence[Object], namespace: str = "") -> dict[str, Any]:
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": _metadata(name, namespace), "rules": list(found)}


def _binding(kind: str, name: str, bound: Object | None, namespace: str = "") -> list[dict[str, Any]]:
    if bound is None:
        return []
    return [
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": f"{kind}Binding",
            "metadata": _metadata(name, namespace),
            "roleRef": {"apiGroup": RBAC, "kind": kind, "name": name},
            "subjects": [dict(bound)],
        }
    ]


def _metadata(name: str, namespace: str) -> dict[str, Any]:
    return {"name": name, **({"namespace": namespace} if namespace else {}), "labels": dict(_LABELS)}
