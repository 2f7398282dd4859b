# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds all objects of an instance in its namespace, of every kind that the API serves.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

An object is the instance's by its labels, by one of the instance's sets, by its name where the naming contract says so
and nobody else's label contradicts, or because such an object owns it. Kinds are not listed here but asked for, so that
what an add-on has made beside them is seen as well.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import (
    TRITON,
    model_claim,
    object_name,
    object_names,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import (
    Api,
    ApiError,
    find_if_allowed,
    segment,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.applyset import (
    ID_LABEL,
    PART_OF_LABEL,
    TOOL,
    TOOLING,
    ApplySet,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import (
    CONFIG_MAP,
    POD,
    PVC,
    SECRET,
    GroupKind,
    Resource,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store_pod import CLAIM_LABEL, claim_label

Object = dict[str, t.Any]

INSTANCE = "app.kubernetes.io/instance"
PART_OF = "app.kubernetes.io/part-of"
MANAGED_BY = "app.kubernetes.io/managed-by"
# On the Service and the Ingress by which clients of a Helm release come to an instance: what they were before, as JSON.
TAKEN_OVER = "supersonic.fastml.org/taken-over"
# What only repeats other objects, or comes and goes by itself.
_LEFT_OUT = frozenset(
    {
        GroupKind("", "Event"),
        GroupKind("events.k8s.io", "Event"),
        GroupKind("metrics.k8s.io", "PodMetrics"),
        GroupKind("", "Endpoints"),
    }
)
_WORKERS = 6
_COMPONENT = "app.kubernetes.io/component"
_CERTIFICATE = "cert-manager.io/certificate-name"


class Ours(t.NamedTuple):
    """One object of an instance, and by what it is that."""

    group_kind: GroupKind
    live: Object
    by: str

    @property
    def name(self) -> str:
        return str(self.live["metadata"]["name"])

    @property
    def label(self) -> str:
        return f"{self.group_kind}/{self.name}"


class Look(t.NamedTuple):
    """The objects found, and the kinds that could not be listed, each with the reason."""

    objects: list[Ours]
    unseen: dict[str, str]
    there: bool = True


def listable(api: Api) -> tuple[list[Resource], dict[str, str]]:
    """Every namespaced kind that can be listed, in the version that the server prefers."""
    groups = [("", "v1")]
    for group in api.get("/apis", "API groups").get("groups") or []:
        groups.append((str(group["name"]), str(group["preferredVersion"]["version"])))
    unseen: dict[str, str] = {}

    def served(place: tuple[str, str]) -> list[Resource]:
        group, version = place
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            answer = api.get(root, f"API {group or 'core'}/{version}")
        except SupersonicError as error:
            # A server of an aggregated API that is down says nothing of the others.
            unseen[f"*.{group}"] = str(error)
            return []
        return [
            Resource(group, version, entry["kind"], entry["name"], True)
            for entry in answer.get("resources") or []
            if entry["namespaced"] and "/" not in entry["name"] and "list" in (entry.get("verbs") or [])
        ]

    with ThreadPoolExecutor(_WORKERS) as pool:
        found = [resource for resources in pool.map(served, groups) for resource in resources]
    return [resource for resource in found if resource.group_kind not in _LEFT_OUT], unseen


def look(api: Api, namespace: str, name: str, claims: Collection[str] = ()) -> Look:
    """All objects of an instance in its namespace; claims: further names that are the instance's."""
    space = f"/api/v1/namespaces/{segment(namespace)}"
    try:
        if api.find(space, f"Namespace {namespace}") is None:
            return Look([], {}, there=False)
    except ApiError as error:
        # Whoever has rights in it alone may not look at it.
        if error.status != 403:
            raise
    resources, unseen = listable(api)

    def items(resource: Resource) -> list[Object]:
        what = f"{resource.plural} in namespace {namespace}"
        try:
            return api.list(resource.path(namespace), what)
        except ApiError as error:
            if error.status in (403, 404, 405, 503):
                if error.status == 403 or error.status == 503:
                    unseen[str(resource.group_kind)] = str(error)
                return []
            raise

    with ThreadPoolExecutor(_WORKERS) as pool:
        every = [
            (resource.group_kind, item)
            for resource, found in zip(resources, pool.map(items, resources), strict=True)
            for item in found
        ]
    return Look(_ours(every, namespace, name, claims), dict(sorted(unseen.items())))


def _ours(every: Iterable[tuple[GroupKind, Object]], namespace: str, name: str, claims: Collection[str]) -> list[Ours]:
    """Those of the instance among all objects of a namespace, by kind and name."""
    unique: dict[str, tuple[GroupKind, Object]] = {}
    for kind, live in every:
        # One object may be served by several groups.
        unique.setdefault(str(live["metadata"].get("uid") or f"{kind}/{live['metadata']['name']}"), (kind, live))
    own = object_names(name)
    # The HorizontalPodAutoscaler that KEDA makes is called after its ScaledObject.
    names = own | {f"keda-hpa-{object_name(name, TRITON)}"}
    sets = {ApplySet(each, namespace).id: each for each in own - {name}}
    publishers = {claim_label(claim) for claim in {model_claim(name), *claims}}
    found: dict[str, Ours] = {}
    for uid, (kind, live) in unique.items():
        by = _by(kind, live, name, names, sets, publishers, claims)
        if by:
            found[uid] = Ours(kind, live, by)
    while True:
        # Owners of owners: a pod is of a ReplicaSet, which is of a Deployment.
        more = {
            uid: Ours(kind, live, f"it is of {found[owner].label}")
            for uid, (kind, live) in unique.items()
            if uid not in found
            and (owner := next((entry["uid"] for entry in _owners(live) if entry.get("uid") in found), None))
        }
        if not more:
            break
        found.update(more)
    return sorted(found.values(), key=lambda item: (item.group_kind.kind, item.group_kind.group, item.name))


def _owners(live: Object) -> list[Object]:
    return live["metadata"].get("ownerReferences") or []


def _by(
    kind: GroupKind,
    live: Object,
    name: str,
    names: Collection[str],
    sets: Mapping[str, str],
    publishers: Collection[str],
    claims: Collection[str],
) -> str:
    """The reason why an object belongs to the instance; "" if it does not, or only by its owner."""
    metadata = live["metadata"]
    labels = metadata.get("labels") or {}
    instance, mine = labels.get(INSTANCE), TOOL in (labels.get(MANAGED_BY), labels.get(PART_OF))
    if labels.get(PART_OF_LABEL) in sets:
        return f"it is of the set {sets[labels[PART_OF_LABEL]]}"
    if TAKEN_OVER in (metadata.get("annotations") or {}):
        selector = (live.get("spec") or {}).get("selector") or {}
        return "clients of a Helm release come by it" if name in (instance, selector.get(INSTANCE)) else ""
    if kind == CONFIG_MAP and labels.get(ID_LABEL) in sets:
        tool = str((metadata.get("annotations") or {}).get(TOOLING, "")).rpartition("/")[0]
        return f"it is the set {sets[labels[ID_LABEL]]}" if tool == TOOL else ""
    if instance == name and (mine or labels.get(PART_OF) == "supersonic"):
        return "its labels say so"
    if labels.get(CLAIM_LABEL) in publishers:
        return "it publishes to the instance's claim"
    if kind == SECRET and (metadata.get("annotations") or {}).get(_CERTIFICATE) in names and instance in (None, name):
        return "cert-manager has made it for a Certificate of the instance"
    if kind == PVC and metadata["name"] in claims:
        return "the inventory names it"
    if metadata["name"] in names and instance in (None, name) and not _owners(live):
        return "the naming contract says so"
    return ""


# ---- what is left ----------------------------------------------------------------------------------------------------
class Left(t.NamedTuple):
    """The remaining objects of an instance: those that are kept, and those that should be gone."""

    kept: list[Ours]
    stray: list[Ours]


def judge(objects: Iterable[Ours], kept: Collection[str], foreign: Collection[str] = ()) -> Left:
    """Tell what may be left from what has to be gone.

    kept: components whose claims stay (model-repository, prometheus, grafana, tempo); foreign: claims that are not
    ours to remove, such as one that the inventory only uses. An address of clients that was a Helm release's stays.
    """
    found = list(objects)
    staying = [
        item
        for item in found
        if item.group_kind == PVC
        and (item.name in foreign or (item.live["metadata"].get("labels") or {}).get(_COMPONENT) in kept)
        and not item.live["metadata"].get("deletionTimestamp")
    ]
    # Without its set nobody would find the claim again.
    sets = {(item.live["metadata"].get("labels") or {}).get(PART_OF_LABEL) for item in staying} - {None}
    parents = [
        item
        for item in found
        if item.group_kind == CONFIG_MAP and (item.live["metadata"].get("labels") or {}).get(ID_LABEL) in sets
    ]
    # By its own defaults cert-manager leaves the Secret of a Certificate that is gone.
    issued = [item for item in found if item.group_kind == SECRET and item.by.startswith("cert-manager")]
    kept_ones = [*staying, *parents, *issued, *_addresses(found)]
    fine = {id(item) for item in kept_ones}
    return Left(kept_ones, [item for item in found if id(item) not in fine])


def _addresses(found: Collection[Ours]) -> list[Ours]:
    """The Service and Ingress of a Helm release that clients use, and the objects that they own."""
    staying = [
        item
        for item in found
        if TAKEN_OVER in (item.live["metadata"].get("annotations") or {})
        and not _in_a_set(item)
        and not item.live["metadata"].get("deletionTimestamp")
    ]
    more = staying
    while more:
        owners = {item.live["metadata"].get("uid") for item in more} - {None}
        more = [item for item in found if any(owner.get("uid") in owners for owner in _owners(item.live))]
        staying = [*staying, *more]
    return staying


def _why_stays(text: str) -> str:
    """The instruction for an address of clients, by the note on it."""
    if '"finished": true' in text:
        return (
            "clients of the Helm release that is gone came by it, and have no servers any more when the instance goes; "
            "migrate.yml removes it: migrate_action=finish with migrate_keep_address=false"
        )
    return (
        "clients of the Helm release are led to the instance by it, and lose their service with it: first lead them "
        "back by migrate.yml, migrate_action=back"
    )


def why_left(item: Ours) -> str:
    """The reason why an object that should be gone still exists, by its own fields."""
    metadata = item.live["metadata"]
    if metadata.get("deletionTimestamp"):
        finalizers = metadata.get("finalizers") or []
        if finalizers:
            return f"it is being deleted and waits for {', '.join(finalizers)}"
        return "it is being deleted"
    if note := (metadata.get("annotations") or {}).get(TAKEN_OVER):
        return _why_stays(str(note))
    controllers = [owner for owner in _owners(item.live) if owner.get("controller")]
    if controllers:
        return f"its {controllers[0].get('kind')} {controllers[0].get('name')} has it"
    labels = metadata.get("labels") or {}
    if item.group_kind == POD and CLAIM_LABEL in labels:
        return "a publication that was killed has left it; the next one clears it up, or delete it"
    if PART_OF_LABEL not in labels and ID_LABEL not in labels:
        return "it is in no set of ours, so that no run removes it: somebody has made or changed it by hand"
    return "nobody has removed it"


def wait_gone(
    ask: Callable[[], Look], decide: Callable[[Look], Left], seconds: float, pause: float = 1.0
) -> tuple[Look, Left]:
    """Look until nothing is left that goes by itself, or the time is over: what is owned goes after its owner."""
    limit = time.monotonic() + seconds
    while True:
        seen = ask()
        left = decide(seen)
        going = [item for item in left.stray if item.live["metadata"].get("deletionTimestamp") or _owners(item.live)]
        if not going or time.monotonic() >= limit:
            return seen, left
        time.sleep(min(pause, max(0.0, limit - time.monotonic())))


def _in_a_set(item: Ours) -> bool:
    return PART_OF_LABEL in (item.live["metadata"].get("labels") or {})


# ---- what goes with a claim ------------------------------------------------------------------------------------------
class Volume(t.NamedTuple):
    """The fate of the data of a removed claim; policy "": it may not be read."""

    claim: str
    volume: str
    policy: str
    storage_class: str

    @property
    def sentence(self) -> str:
        where = f"claim {self.claim}" + (f" (storage class {self.storage_class})" if self.storage_class else "")
        if not self.volume:
            return f"The {where} has no volume yet, so no data go with it."
        if self.policy == "Delete":
            return (
                f"With the {where} its volume {self.volume} and all data in it are destroyed (reclaim policy Delete)."
            )
        if self.policy == "Retain":
            return (
                f"With the {where} its volume {self.volume} stays in the cluster, and the data in it (reclaim policy "
                "Retain); an administrator removes it."
            )
        if self.policy:
            return f"With the {where} its volume {self.volume} goes by the reclaim policy {self.policy}."
        return (
            f"With the {where} its volume {self.volume} and all data in it may be destroyed: its reclaim policy cannot "
            "be looked at with these rights, and Delete is usual."
        )


def volume_of(api: Api, claim: Ours) -> Volume:
    """The volume of a claim and its reclaim policy, that of its class where volumes may not be looked at."""
    spec = claim.live.get("spec") or {}
    name, kind = str(spec.get("volumeName") or ""), str(spec.get("storageClassName") or "")
    policy = ""
    if name:
        volume = find_if_allowed(api, f"/api/v1/persistentvolumes/{segment(name)}", f"PersistentVolume {name}")
        policy = str(((volume or {}).get("spec") or {}).get("persistentVolumeReclaimPolicy") or "")
    if kind and not policy:
        found = find_if_allowed(api, f"/apis/storage.k8s.io/v1/storageclasses/{segment(kind)}", f"StorageClass {kind}")
        policy = str(found.get("reclaimPolicy", "Delete")) if found else ""
    return Volume(claim.name, name, policy, kind)


def described(item: Ours) -> dict[str, t.Any]:
    """As results of modules have it."""
    kind = item.group_kind
    return {"kind": kind.kind, "group": kind.group, "name": item.name, "by": item.by, "why": why_left(item)}
