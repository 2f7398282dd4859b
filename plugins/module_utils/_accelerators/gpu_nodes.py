# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Matches servers to nodes with accelerators: pure functions over objects of the API.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.quantity import quantity

Object = Mapping[str, Any]

PRESENT = "nvidia.com/gpu.present"
# Node Feature Discovery names a device of NVIDIA by its PCI vendor: class 0300 or 0302, or without the class.
PCI = ("pci-10de.present", "pci-0300_10de.present", "pci-0302_10de.present")
# Groups of the resources that device plugins of accelerators offer.
VENDORS = ("nvidia.com", "amd.com", "gpu.intel.com", "habana.ai", "google.com", "aws.amazon.com")
_REFUSING = ("NoSchedule", "NoExecute")


@dataclass(frozen=True)
class Node:
    """A node as far as it matters to accelerators."""

    name: str
    labels: Mapping[str, str]
    taints: Sequence[Object]
    ready: bool
    cordoned: bool
    capacity: Mapping[str, int]
    allocatable: Mapping[str, int]

    @property
    def usable(self) -> bool:
        """Whether new pods are put there."""
        return self.ready and not self.cordoned

    @property
    def has_nvidia(self) -> bool:
        """Whether a discovery label shows an NVIDIA device, even if no GPU is allocatable."""
        found = [self.labels.get(PRESENT)] + [self.labels.get(f"feature.node.kubernetes.io/{name}") for name in PCI]
        return "true" in found

    @property
    def has_accelerator(self) -> bool:
        """Whether it has or offers one, of whichever vendor."""
        return self.has_nvidia or any(self.capacity.values())


@dataclass(frozen=True)
class Demand:
    """The accelerators that the servers of one instance request."""

    name: str
    namespace: str
    resource: str = "nvidia.com/gpu"
    gpus: int = 0
    servers: int = 1
    max_servers: int = 1
    node_selector: Mapping[str, str] = field(default_factory=dict)
    affinity: Mapping[str, Any] = field(default_factory=dict)
    tolerations: Sequence[Object] = ()


def read_node(live: Object, wanted: Iterable[str] = ()) -> Node:
    """A node out of the API's answer, with the resources of accelerators and those that are wanted."""
    spec, status = live.get("spec") or {}, live.get("status") or {}
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or [])
    names = set(wanted)

    def amounts(key: str) -> dict[str, int]:
        found = status.get(key) or {}
        return {
            name: int(quantity(found[name]) or 0) for name in sorted(found) if is_accelerator(name) or name in names
        }

    return Node(
        live["metadata"]["name"],
        live["metadata"].get("labels") or {},
        spec.get("taints") or [],
        ready,
        bool(spec.get("unschedulable")),
        amounts("capacity"),
        amounts("allocatable"),
    )


def is_accelerator(resource: str) -> bool:
    """Whether a resource of a node is known to be one of an accelerator."""
    return resource.partition("/")[0] in VENDORS


def describe(node: Node) -> dict[str, Any]:
    """The accelerators of a node, by its labels."""
    label = node.labels.get
    names = {
        "product": "gpu.product", "count": "gpu.count", "memory": "gpu.memory", "replicas": "gpu.replicas",
        "sharing": "gpu.sharing-strategy", "driver": "cuda.driver-version.full", "mig_strategy": "mig.strategy",
        "mig_config": "mig.config", "mig_state": "mig.config.state",
    }  # fmt: skip
    return {
        "name": node.name,
        "ready": node.ready,
        "cordoned": node.cordoned,
        "present": node.has_nvidia,
        **{key: label(f"nvidia.com/{name}", "") for key, name in names.items()},
        "allocatable": dict(node.allocatable),
    }


# ---- who may go where ------------------------------------------------------------------------------------------------


def selected(demand: Demand, node: Node) -> bool:
    """Whether selector and required affinity let a server go to a node."""
    if any(node.labels.get(key) != str(value) for key, value in demand.node_selector.items()):
        return False
    required = (demand.affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms")
    return terms is None or meets(terms, node)


def meets(terms: Iterable[Object], node: Node) -> bool:
    """Whether one of the nodeSelectorTerms of a pod or a volume is for a node."""
    return any(_matches(term, node) for term in terms)


def intolerable(demand: Demand, node: Node) -> list[str]:
    """Taints of a node that the servers do not tolerate, as key=value:effect."""
    found = []
    for taint in node.taints:
        # What a cordon adds is told as such.
        if taint.get("effect") not in _REFUSING or taint.get("key") == "node.kubernetes.io/unschedulable":
            continue
        if not any(_tolerates(toleration, taint) for toleration in demand.tolerations):
            value = f"={taint['value']}" if taint.get("value") else ""
            found.append(f"{taint.get('key')}{value}:{taint['effect']}")
    return found


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return not toleration.get("key") or toleration["key"] == taint.get("key")
    same_value = (toleration.get("value") or "") == (taint.get("value") or "")
    return toleration.get("key") == taint.get("key") and same_value


def _matches(term: Object, node: Node) -> bool:
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    # As in Kubernetes, a term without any condition matches nothing.
    return bool(expressions or fields) and all(
        [
            *(_holds(rule, node.labels.get(rule["key"])) for rule in expressions),
            *(_holds(rule, node.name) for rule in fields),
        ]
    )


def _holds(rule: Object, value: str | None) -> bool:
    operator, values = rule.get("operator"), [str(item) for item in rule.get("values") or []]
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    number, limit = quantity(value), quantity(values[0]) if values else None
    if number is None or limit is None:
        return False
    return number > limit if operator == "Gt" else number < limit


# ---- who finds room --------------------------------------------------------------------------------------------------


class Room:
    """The accelerators of nodes, shared by the servers of several instances.

    A server that finds no room makes others go elsewhere, if they may, so that no shortage is reported where the
    scheduler could have chosen better. For servers of different sizes that is a reckoning, not a proof.
    """

    def __init__(
        self,
        demands: Sequence[Demand],
        where: Sequence[Sequence[str]],
        free: Mapping[str, Mapping[str, int]],
    ) -> None:
        self._demands = demands
        self._where = where
        # node -> resource -> how many are left
        self._free = {node: dict(amounts) for node, amounts in free.items()}
        # node -> number of the instance -> servers
        self._servers: dict[str, dict[int, int]] = {node: {} for node in free}

    def place(self, number: int) -> bool:
        """Put one more server of an instance on one of its nodes; whether there was room."""
        return self._place(number, set())

    def _place(self, number: int, seen: set[str]) -> bool:
        demand = self._demands[number]
        for node in self._where[number]:
            if self._free[node].get(demand.resource, 0) >= demand.gpus:
                self._free[node][demand.resource] -= demand.gpus
                self._servers[node][number] = self._servers[node].get(number, 0) + 1
                return True
        for node in self._where[number]:
            if node in seen:
                continue
            seen.add(node)
            for other, servers in list(self._servers[node].items()):
                theirs = self._demands[other]
                alike = (theirs.resource, theirs.gpus) == (demand.resource, demand.gpus)
                if alike and servers and other != number and self._place(other, seen):
                    # It went elsewhere, and this one has its place.
                    self._servers[node][other] -= 1
                    self._servers[node][number] = self._servers[node].get(number, 0) + 1
                    return True
        return False


def fitting(demands: Sequence[Demand], nodes: Sequence[Node], free: Mapping[str, Mapping[str, int]]) -> list[int]:
    """The number of servers of each instance that fit: first the minimum of each, then up to its maximum."""
    where = [[n.name for n in nodes if n.usable and selected(d, n) and not intolerable(d, n)] for d in demands]
    room = Room(demands, where, free)
    found = [0] * len(demands)
    # The large ones first: small ones fill what is left.
    order = sorted(range(len(demands)), key=lambda number: -demands[number].gpus)
    for wanted in ([d.servers for d in demands], [max(d.servers, d.max_servers) for d in demands]):
        active = order
        # In turns, so that one instance does not take all that is there.
        while active:
            active = [number for number in active if found[number] < wanted[number] and room.place(number)]
            for number in active:
                found[number] += 1
    return found


def used(pods: Iterable[Object], ours: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """The accelerators of each node that pods use, without our servers (namespace, instance)."""
    servers = set(ours)
    found: dict[str, dict[str, int]] = {}
    for pod in pods:
        labels = pod["metadata"].get("labels") or {}
        node = (pod.get("spec") or {}).get("nodeName")
        instance = (pod["metadata"].get("namespace"), labels.get("app.kubernetes.io/instance"))
        if not node or (labels.get("app.kubernetes.io/component") == "triton" and instance in servers):
            continue
        for container in pod["spec"].get("containers") or []:
            for name, amount in ((container.get("resources") or {}).get("limits") or {}).items():
                if "/" in name:
                    of_node = found.setdefault(node, {})
                    of_node[name] = of_node.get(name, 0) + int(quantity(amount) or 0)
    return found
