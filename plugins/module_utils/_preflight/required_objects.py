# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks objects that have to exist already: claims, CVMFS, Secrets, and that hosts are free.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.quantity import quantity
from ansible_collections.fastml.supersonic.plugins.module_utils._common.text import all_of
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError, segment
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.findings import (
    ERROR,
    INFO,
    OK,
    WARNING,
    Finding,
    hidden,
    listed,
    named,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.resource_requests import places

Object = Mapping[str, Any]
# Which variables of the inventory name what, and where: see the option origins of cluster_info.
Origins = Sequence[Mapping[str, str]]

CVMFS_DRIVER = "cvmfs.csi.cern.ch"
CLAIM = "PersistentVolumeClaim"
_PUBLISHER = "the pod that publishes models"
# The role whose claim a backup has.
_MODELS = "model_repository"
_REFUSED = "the API server refuses the change, after other parts were changed already"
_REGISTRY = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")
_PATHS = {
    "Secret": "/api/v1/namespaces/{namespace}/secrets/{name}",
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps/{name}",
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts/{name}",
    "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses/{name}",
    "RuntimeClass": "/apis/node.k8s.io/v1/runtimeclasses/{name}",
    CLAIM: "/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}",
}
# How variables end that have names of a kind.
_NAMED_BY = {
    "Secret": ("_secret", "_secret.name", "_pull_secrets.name"),
    "ServiceAccount": ("_service_account_name",),
    "PriorityClass": ("_priority_class_name",),
    "RuntimeClass": ("_runtime_class_name",),
}
_OF_NAMESPACE = {kind for kind, path in _PATHS.items() if "{namespace}" in path}


def _find(api: Api, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
    path = _PATHS[kind].format(namespace=segment(namespace), name=segment(name))
    return api.find(path, f"{kind} {name}")


# ---- claims ----------------------------------------------------------------------------------------------------------


def claims(
    api: Api,
    namespace: str,
    demands: Object,
    one_node: Callable[[], bool],
    *,
    absent: bool,
    may_come: Collection[str],
    origins: Origins = (),
) -> list[Finding]:
    """Claims that somebody else makes, and whether their access modes fit as many pods as there may be.

    one_node: whether the cluster is known to have a single node; absent: the namespace is not there yet; may_come:
    those that other instances of the inventory make in the namespace.
    """
    found = []
    for reference in demands.get("references") or []:
        if reference["kind"] == CLAIM:
            found += _foreign(
                api, namespace, reference, demands, one_node, absent=absent, may_come=may_come, origins=origins
            )
    for claim in demands.get("claims") or []:
        row = _modes(claim["name"], claim["access_modes"], demands, one_node)
        changes = [] if absent else list(_cannot_change(api, namespace, claim, origins))
        found += [*changes, *([row] if row else [])] or [
            Finding("claims", OK, claim["name"], f"It is made with {all_of(claim['access_modes'])}.")
        ]
    return found


def _cannot_change(api: Api, namespace: str, claim: Object, origins: Origins) -> Iterator[Finding]:
    """The changes to an existing claim that Kubernetes will refuse; none if it may not be read."""
    name, role = str(claim["name"]), str(claim["role"])
    try:
        live = _find(api, CLAIM, namespace, name)
    except ApiError:
        return
    if live is None:
        return
    phase = (live.get("status") or {}).get("phase") or "Pending"
    again = (
        "nothing is in it yet, so that it can be removed and made anew"
        if phase == "Pending"
        # What was in it is gone with its volume, says Kubernetes' API of this phase.
        else "its volume and what was in it are lost, so that it can be removed and made anew"
        if phase == "Lost"
        else "for another claim take a backup (playbooks/backup.yml), remove this one, and restore it"
        if role == _MODELS
        else "for another claim this one has to be removed, and what is in it goes too"
    )

    def refused(ending: str, value: str, said: str) -> Finding:
        where = named(origins, value, f"{role}_{ending}") or f"{role}_{ending}"
        return Finding("claims", ERROR, name, said, f"Correct {where}; {again}.", _REFUSED)

    spec = live["spec"]
    size, its_class = ((spec.get("resources") or {}).get("requests") or {}).get("storage"), spec.get("storageClassName")
    wanted, there = quantity(claim["size"]), quantity(size)
    asks = f"The claim {name} has {size}, and is to have {claim['size']}, but "
    if wanted and there and wanted < there:
        yield refused("size", claim["size"], f"{asks}no claim shrinks.")
    elif wanted and there and wanted > there and phase != "Bound":
        yield refused("size", claim["size"], f"{asks}none grows that is not bound.")
    elif wanted and there and wanted > there and not _grows(api, its_class):
        said = f"{asks}its class {its_class or '(none)'} lets none grow (allowVolumeExpansion is not true)."
        yield refused("size", claim["size"], said)
    # One without a class gets the cluster's default, now or when there is one.
    if claim["storage_class"] and its_class is not None and claim["storage_class"] != its_class:
        said = f"The claim {name} has the class {its_class or '(none)'}, and is to have {claim['storage_class']}"
        yield refused("storage_class", claim["storage_class"], f"{said}, but no claim changes its class.")
    modes = spec.get("accessModes") or []
    if sorted(claim["access_modes"]) != sorted(modes):
        said = f"The claim {name} has the access modes {all_of(modes)}, and is to have {all_of(claim['access_modes'])}"
        yield refused("access_modes", claim["access_modes"][0], f"{said}, but no claim changes them.")


def _grows(api: Api, name: object) -> bool:
    """Whether claims of a class may grow, as far as is known."""
    return bool(_of_class(api, name, "allowVolumeExpansion", unread=True))


def _of_class(api: Api, name: object, field: str, *, unread: object) -> object:
    """A field of a storage class; None without one, `unread` if it may not be read."""
    if not name:
        return None
    try:
        found = api.find(f"/apis/storage.k8s.io/v1/storageclasses/{segment(str(name))}", f"StorageClass {name}")
    except ApiError:
        return unread
    return (found or {}).get(field)


def _foreign(
    api: Api,
    namespace: str,
    reference: Object,
    demands: Object,
    one_node: Callable[[], bool],
    *,
    absent: bool,
    may_come: Collection[str],
    origins: Origins,
) -> list[Finding]:
    name, users = str(reference["name"]), all_of(reference["by"])
    if absent:
        return [
            Finding(
                "claims",
                WARNING,
                name,
                f"It is mounted by {users}, but the namespace {namespace} is only made now.",
                "Make the namespace and the claim first, or let this inventory make the claim.",
            )
        ]
    try:
        live = _find(api, CLAIM, namespace, name)
    except ApiError as error:
        return [hidden("claims", name, f"The claim {name}", error)]
    if live is None:
        later = name in may_come and _PUBLISHER not in reference["by"]
        who = named(origins, name, "claim") or "triton_model_repositories or model_repository_claim"
        return [
            Finding(
                "claims",
                WARNING if later else ERROR,
                name,
                f"The claim {name}, mounted by {users}, does not exist in the namespace {namespace}"
                + (" yet. Another instance of the inventory makes it." if later else "."),
                "Deploy that one with this or before it." if later else f"Make it, or correct its name in {who}.",
            )
        ]
    phase = str((live.get("status") or {}).get("phase", "unknown"))
    rows = []
    if phase == "Pending" and _waits(api, live):
        rows = [Finding("claims", OK, name, "It is there, and is bound when the first pod uses it.")]
    elif phase != "Bound":
        rows = [
            Finding(
                "claims",
                ERROR if phase == "Lost" else WARNING,
                name,
                f"The claim {name}, mounted by {users}, is {phase}.",
                f"See why: kubectl -n {namespace} describe pvc {name}",
            )
        ]
    of_volume = (live.get("status") or {}).get("accessModes")
    modes = [str(mode) for mode in of_volume or live["spec"].get("accessModes") or []]
    row = _modes(name, modes, demands, one_node)
    return [*rows, *([row] if row else [])] or [
        Finding("claims", OK, name, f"It is bound, with {all_of(modes)}, for {users}.")
    ]


def _waits(api: Api, claim: Object) -> bool:
    """Whether its class binds a claim only when a pod wants it."""
    mode = _of_class(api, claim["spec"].get("storageClassName"), "volumeBindingMode", unread=None)
    return mode == "WaitForFirstConsumer"


def _modes(name: str, modes: Sequence[str], demands: Object, one_node: Callable[[], bool]) -> Finding | None:
    """A row where a claim is for less pods or nodes than there may be."""
    users = [pod for pod in demands.get("pods") or [] if any(item["name"] == name for item in pod["claims"])]
    most = sum(int(pod["most"]) for pod in users)
    if most < 2 or {"ReadWriteMany", "ReadOnlyMany"} & set(modes):
        return None
    if list(modes) == ["ReadWriteOncePod"]:
        return Finding(
            "claims",
            ERROR,
            name,
            f"The claim {name} is ReadWriteOncePod, for a single pod, but up to {most} mount it "
            f"({all_of(pod['workload'] for pod in users)}).",
            "Use a claim that is ReadWriteMany.",
        )
    if one_node():
        return None
    return Finding(
        "claims",
        WARNING,
        name,
        f"The claim {name} is {all_of(modes) or 'without an access mode'}, for one node, and up to {most} pods mount "
        "it: all of them have to be on that node.",
        "Where there are more nodes, use a class that offers ReadWriteMany, and that access mode.",
    )


def cvmfs(api: Api, namespace: str, demands: Object, *, absent: bool) -> list[Finding]:
    """Whether CVMFS is there: by its CSI driver, by a claim that is bound, or by the hosts, which cannot be seen."""
    pods = demands.get("pods") or []
    wanted = list(dict.fromkeys(item["name"] for pod in pods for item in pod["claims"] if item["cvmfs"]))
    hosts = list(dict.fromkeys(path for pod in pods for path in pod["cvmfs_host_paths"]))
    found = [
        Finding(
            "cvmfs",
            INFO,
            path,
            f"{path} of the nodes is mounted. Whether CVMFS is mounted there cannot be seen from here: servers that do "
            "not find their models say so.",
        )
        for path in hosts
    ]
    if not wanted:
        return found
    driver: bool | None
    try:
        path = f"/apis/storage.k8s.io/v1/csidrivers/{CVMFS_DRIVER}"
        driver = api.find(path, f"CSIDriver {CVMFS_DRIVER}") is not None
    except ApiError:
        driver = None
    for name in wanted:
        try:
            live = None if absent else _find(api, CLAIM, namespace, name)
        except ApiError as error:
            found.append(hidden("cvmfs", name, f"The claim {name}", error))
            continue
        bound = live is not None and (live.get("status") or {}).get("phase") == "Bound"
        if bound:
            by = {True: f"{CVMFS_DRIVER} is installed", False: f"not by {CVMFS_DRIVER}, which is not installed"}
            more = f" ({by[driver]})" if driver is not None else ""
            found.append(Finding("cvmfs", OK, name, f"The claim {name} is bound{more}."))
        elif driver is False:
            found.append(
                Finding(
                    "cvmfs",
                    WARNING,
                    name,
                    f"The claim {name} is not bound, and the CSI driver {CVMFS_DRIVER} is not installed.",
                    "Ask for CVMFS in the cluster, or mount that of the nodes (host_path in "
                    "triton_model_repositories).",
                )
            )
        else:
            there = f"{CVMFS_DRIVER} is installed" if driver else f"whether {CVMFS_DRIVER} is installed may not be read"
            found.append(Finding("cvmfs", INFO, name, f"The claim {name} is not bound yet; {there}."))
    return found


# ---- Secrets and others ----------------------------------------------------------------------------------------------


def references(api: Api, namespace: str, demands: Object, *, absent: bool, origins: Origins = ()) -> list[Finding]:
    """Objects that pods name and that nothing of the instance makes."""
    found, right = [], {"secrets": 0, "objects": 0}
    for item in demands.get("references") or []:
        if item["kind"] == CLAIM:
            continue
        check = "secrets" if item["kind"] == "Secret" else "objects"
        rows = _reference(api, namespace, item, check, absent=absent, origins=origins)
        found += rows
        right[check] += not rows
    words = {"secrets": "Secrets", "objects": "other objects"}
    found += [
        Finding(check, OK, words[check], f"What pods need and others make is there ({number}).")
        for check, number in right.items()
        if number
    ]
    return found


def _reference(api: Api, namespace: str, item: Object, check: str, *, absent: bool, origins: Origins) -> list[Finding]:
    kind, name, users = str(item["kind"]), str(item["name"]), all_of(item["by"])
    if absent and kind in _OF_NAMESPACE:
        return [
            Finding(
                check,
                WARNING,
                name,
                f"The {kind} {name} is needed by {users}, but the namespace {namespace} is only made now.",
                "Make both before; pods wait until it is there.",
            )
        ]
    try:
        live = _find(api, kind, namespace, name)
    except ApiError as error:
        return [hidden(check, name, f"The {kind} {name}, needed by {users},", error)]
    place = f" in the namespace {namespace}" if kind in _OF_NAMESPACE else ""
    if live is None:
        what = " for its image" if item["pull"] else ""
        return [
            Finding(
                check,
                ERROR,
                name,
                f"The {kind} {name}, needed by {users}{what}, does not exist{place}.",
                f"Make it, or correct the name in {named(origins, name, *_NAMED_BY.get(kind, ())) or 'the inventory'}.",
            )
        ]
    if item["pull"] and live.get("type") not in _REGISTRY:
        return [
            Finding(
                check,
                ERROR,
                name,
                f"The Secret {name}{place} is of the type {live.get('type')}, so that no image is pulled with it.",
                "Make it with kubectl create secret docker-registry.",
            )
        ]
    return []


# ---- hosts -----------------------------------------------------------------------------------------------------------


def hosts(api: Api, namespace: str, demands: Object, origins: Origins = ()) -> list[Finding]:
    """Whether no Ingress of somebody else leads a host and path of ours elsewhere."""
    ours = demands.get("ingresses") or []
    if not any(item["places"] for item in ours):
        return []
    base = "/apis/networking.k8s.io/v1"
    where = "the cluster"
    try:
        others = listed(api, f"{base}/ingresses", "Ingresses")
    except ApiError as error:
        if error.status != 403:
            return [hidden("ingress", "hosts", "Other Ingresses", error)]
        where = f"the namespace {namespace}, the only one that we may look into"
        try:
            others = listed(api, f"{base}/namespaces/{segment(namespace)}/ingresses", "Ingresses")
        except ApiError as second:
            return [hidden("ingress", "hosts", "Other Ingresses", second)]
    names = {item["name"] for item in ours}
    others = [
        item
        for item in others
        if item["metadata"].get("namespace") != namespace or item["metadata"]["name"] not in names
    ]
    found = []
    for item in ours:
        for other in others:
            theirs = str(other["spec"].get("ingressClassName") or "")
            if theirs and item["ingress_class"] and theirs != item["ingress_class"]:
                # Another controller, which clients reach by another address.
                continue
            for place in item["places"]:
                if place in places(other["spec"]):
                    who = named(origins, place["host"], ".host")
                    found.append(
                        Finding(
                            "ingress",
                            ERROR,
                            place["host"] or "every host",
                            f"The Ingress {other['metadata']['name']} in the namespace "
                            f"{other['metadata'].get('namespace')} leads {place['host'] or 'every host'}"
                            f"{place['path']} elsewhere already.",
                            f"Take another host{f' in {who}' if who else ''}, or have that one removed.",
                        )
                    )
    listed_hosts = all_of(dict.fromkeys(place["host"] or "every host" for item in ours for place in item["places"]))
    return found or [Finding("ingress", OK, listed_hosts, f"No other Ingress in {where} uses these hosts.")]
