# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks that a namespace and its nodes have room for the pods: quota, limits, nodes, accelerators.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._accelerators import gpu_nodes
from ansible_collections.fastml.supersonic.plugins.module_utils._accelerators.gpu_nodes import Demand, Node
from ansible_collections.fastml.supersonic.plugins.module_utils._common.quantity import quantity
from ansible_collections.fastml.supersonic.plugins.module_utils._common.text import all_of, are, counted
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError, segment
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.findings import (
    ERROR,
    INFO,
    OK,
    WARNING,
    Finding,
    hidden,
    listed,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.resource_requests import (
    Amounts,
    of_pod,
    read_pod,
)

Object = Mapping[str, Any]

INSTANCE = "app.kubernetes.io/instance"
# Where to change what pods of a component ask for, by what a quota or a limit is about.
_FEWER = "ask for less in the *_resources of the inventory or for fewer pods"
# Nodes whose pods are asked for one by one; of more nodes all pods of the cluster are.
_FEW_NODES = 16
_BARE = ("cpu", "memory", "ephemeral-storage")
_COUNTED = ("services", "services.loadbalancers", "services.nodeports", "configmaps")


# ---- quota -----------------------------------------------------------------------------------------------------------


def quota(api: Api, namespace: str, instance: str, demands: Object) -> list[Finding]:
    """Every limit of every ResourceQuota against what the instance needs, what it has already left out."""
    base = f"/api/v1/namespaces/{segment(namespace)}"
    try:
        quotas = listed(api, f"{base}/resourcequotas", "ResourceQuotas")
        ranges = listed(api, f"{base}/limitranges", "LimitRanges") if quotas else []
    except ApiError as error:
        return [hidden("quota", "ResourceQuota", "The ResourceQuotas of the namespace", error)]
    if not quotas:
        return [Finding("quota", OK, "ResourceQuota", "The namespace has none.")]
    pods = [with_defaults(item, ranges) for item in demands.get("pods") or []]
    held = _held(api, base, instance, demands)
    found: list[Finding] = []
    judged: list[str] = []
    for item in quotas:
        name = str(item["metadata"]["name"])
        scopes = [*(item["spec"].get("scopes") or []), *_selected(item["spec"].get("scopeSelector") or {})]
        if "Terminating" in scopes or "BestEffort" in scopes:
            # Neither is any pod of an instance.
            continue
        if set(scopes) - {"NotTerminating", "NotBestEffort"}:
            found.append(Finding("quota", INFO, name, f"It is for {all_of(scopes)} alone, which is not judged here."))
            continue
        hard = item["spec"].get("hard") or {}
        used = (item.get("status") or {}).get("used") or {}
        rows = list(_against(name, hard, used, held, pods, demands))
        found += rows
        judged += [] if rows else [name]
    if judged:
        found.append(
            Finding("quota", OK, ", ".join(judged), "What the instance asks for, when it is largest, fits besides.")
        )
    return found or [Finding("quota", OK, "ResourceQuota", "None of the namespace's is for pods of an instance.")]


def _selected(selector: Object) -> list[str]:
    return [str(item.get("scopeName")) for item in selector.get("matchExpressions") or []]


def _held(api: Api, base: str, instance: str, demands: Object) -> dict[str, Decimal] | None:
    """The usage of a quota by the instance itself, by the quota's names; None if that may not be read."""
    selector = {"labelSelector": f"{INSTANCE}={instance}"}
    try:
        pods = listed(api, f"{base}/pods", "pods of the instance", selector)
    except ApiError as error:
        if error.status == 403:
            return None
        raise
    running = [pod for pod in pods if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]
    found = {"pods": Decimal(len(running))}
    for pod in running:
        _add(found, read_pod(pod), 1)
    claims = [_find(api, f"{base}/persistentvolumeclaims/{segment(item['name'])}") for item in demands["claims"]]
    made = [(item, live) for item, live in zip(demands["claims"], claims, strict=True) if live]
    for item, _live in made:
        _add_claim(found, item)
    for plural in ("services", "configmaps"):
        try:
            found[plural] = Decimal(len(listed(api, f"{base}/{plural}", plural, selector)))
        except ApiError:
            continue
    return found


def _find(api: Api, path: str) -> dict[str, Any] | None:
    try:
        return api.find(path, path)
    except ApiError:
        return None


def _add(total: dict[str, Decimal], pod: Object, number: int) -> None:
    for kind in ("requests", "limits"):
        for name, amount in of_pod(pod, kind).items():
            key = f"{kind}.{name}"
            total[key] = total.get(key, Decimal(0)) + amount * number


def _add_claim(total: dict[str, Decimal], claim: Object) -> None:
    keys = {"requests.storage": quantity(claim["size"]) or Decimal(0), "persistentvolumeclaims": Decimal(1)}
    for key, amount in keys.items():
        total[key] = total.get(key, Decimal(0)) + amount
        if claim["storage_class"]:
            of_class = f"{claim['storage_class']}.storageclass.storage.k8s.io/{key}"
            total[of_class] = total.get(of_class, Decimal(0)) + amount


def needs(pods: Sequence[Object], demands: Object, number: str) -> dict[str, Decimal]:
    """The usage of a quota by an instance, by the quota's names.

    number: least (what is there without demand), most, or update (the most, and what an update adds for a while).
    """
    if number == "update":
        total = needs(pods, demands, "most")
        more: dict[str, Decimal] = {}
        for pod in pods:
            # Workloads are updated one after the other: the one that adds most decides.
            added = {"pods": Decimal(int(pod["surge"]))}
            _add(added, pod, int(pod["surge"]))
            more = {name: max(more.get(name, Decimal(0)), amount) for name, amount in {**more, **added}.items()}
        return {name: amount + more.get(name, 0) for name, amount in total.items()}
    total = {"pods": Decimal(0)}
    for pod in pods:
        total["pods"] += int(pod[number])
        _add(total, pod, int(pod[number]))
    for claim in demands.get("claims") or []:
        _add_claim(total, claim)
    for name, amount in (demands.get("counts") or {}).items():
        if name != "persistentvolumeclaims":
            total[name] = Decimal(amount)
    return total


def _against(
    quota_name: str,
    hard: Object,
    used: Object,
    held: dict[str, Decimal] | None,
    pods: Sequence[Object],
    demands: Object,
) -> Iterator[Finding]:
    wanted = {number: needs(pods, demands, number) for number in ("least", "most", "update")}
    for name in sorted(hard):
        key = _key(name)
        subject = f"{quota_name}: {name}"
        unsaid = _unsaid(pods, key)
        if unsaid:
            kind, resource = key.split(".", 1)
            yield Finding(
                "quota",
                ERROR,
                subject,
                f"The ResourceQuota {quota_name} limits {name}, so that the API server refuses pods whose containers "
                f"have no {kind} of {resource}: {all_of(unsaid)}.",
                f"Set {kind}.{resource} in the *_resources of these.",
            )
            continue
        if key not in wanted["update"] or key == "secrets":
            # Those that we have made may often not be listed.
            continue
        limit, taken = quantity(hard[name]) or Decimal(0), quantity(used.get(name, 0)) or Decimal(0)
        if held is None or key in _COUNTED:
            # What we have ourselves is among what is used, and nobody can say exactly how much that is.
            free, known = limit - taken + (held or {}).get(key, Decimal(0)), False
        else:
            free, known = limit - max(Decimal(0), taken - held.get(key, Decimal(0))), True
        short = next((number for number in ("least", "most", "update") if wanted[number].get(key, 0) > free), "")
        if not short:
            continue
        amount = _plain(wanted[short].get(key, Decimal(0)), name)
        left = (
            f"of {hard[name]} that the ResourceQuota {quota_name} allows, others have taken "
            f"{_plain(limit - free, name)}"
            if known
            else f"of {hard[name]} that the ResourceQuota {quota_name} allows, {used.get(name, 0)} is taken, by this "
            "instance too where it is there"
        )
        said = {
            "least": f"The instance needs {amount} of {name} at least",
            "most": f"The instance needs {amount} of {name} when it is largest",
            "update": f"An update needs {amount} of {name} while old and new pods are there",
        }[short]
        severity = ERROR if short == "least" and known else WARNING
        action = (
            f"Ask for more, or {_FEWER}."
            if short != "update"
            else f"Ask for more, set maxSurge in the rolling update to 0, or {_FEWER}."
        )
        yield Finding("quota", severity, subject, f"{said}, but {left}.", action)


def _key(name: str) -> str:
    """A quota's name as needs() has it."""
    if name in _BARE:
        return f"requests.{name}"
    return {
        "count/pods": "pods",
        "count/services": "services",
        "count/configmaps": "configmaps",
        "count/persistentvolumeclaims": "persistentvolumeclaims",
    }.get(name, name)


def _unsaid(pods: Sequence[Object], key: str) -> list[str]:
    """Containers that have to say an amount where a quota limits it."""
    kind, _dot, resource = key.partition(".")
    if kind not in ("requests", "limits") or resource not in ("cpu", "memory"):
        return []
    return [
        f"{container['name']} of {pod['component']}"
        for pod in pods
        for container in pod["containers"]
        if resource not in container[kind]
    ]


def _plain(amount: Decimal, name: str) -> str:
    """A number as people write it: memory and storage in Mi or Gi."""
    if "memory" in name or ("storage" in name and "claims" not in name):
        for unit, size in (("Gi", Decimal(2) ** 30), ("Mi", Decimal(2) ** 20)):
            if amount >= size:
                return f"{(amount / size).quantize(Decimal('0.1')).normalize():f}{unit}"
    return f"{amount.normalize():f}"


# ---- limits of one pod -----------------------------------------------------------------------------------------------


def _items(ranges: Iterable[Object], kind: str) -> list[tuple[str, Object]]:
    return [
        (str(item["metadata"]["name"]), limit)
        for item in ranges
        for limit in item["spec"].get("limits") or []
        if limit.get("type") == kind
    ]


def with_defaults(pod: Object, ranges: Sequence[Object]) -> dict[str, Any]:
    """A pod with the amounts that LimitRanges give to containers that say none."""
    containers = []
    for container in pod["containers"]:
        requests, limits = dict(container["requests"]), dict(container["limits"])
        for _name, item in _items(ranges, "Container"):
            default = {name: str(amount) for name, amount in (item.get("default") or {}).items()}
            asked = {name: str(amount) for name, amount in (item.get("defaultRequest") or {}).items()}
            limits = {**default, **limits}
            requests = {**default, **asked, **requests}
        containers.append({**container, "requests": requests, "limits": limits})
    return {**pod, "containers": containers}


def limits(api: Api, namespace: str, demands: Object) -> list[Finding]:
    """Every LimitRange against each container, pod and claim."""
    try:
        ranges = listed(api, f"/api/v1/namespaces/{segment(namespace)}/limitranges", "LimitRanges")
    except ApiError as error:
        return [hidden("limits", "LimitRange", "The LimitRanges of the namespace", error)]
    if not ranges:
        return [Finding("limits", OK, "LimitRange", "The namespace has none.")]
    found: list[Finding] = []
    for given in demands.get("pods") or []:
        pod = with_defaults(given, ranges)
        for name, item in _items(ranges, "Container"):
            for container in pod["containers"]:
                found += _outside(
                    name,
                    item,
                    container["requests"],
                    container["limits"],
                    f"{pod['component']}, container {container['name']}",
                )
        for name, item in _items(ranges, "Pod"):
            requests, whole = (
                {key: str(value) for key, value in of_pod(pod, kind).items()} for kind in ("requests", "limits")
            )
            found += _outside(name, item, requests, whole, f"{pod['component']}, the whole pod")
    for claim in demands.get("claims") or []:
        for name, item in _items(ranges, "PersistentVolumeClaim"):
            size = {"storage": claim["size"]}
            found += _outside(name, item, size, size, f"claim {claim['name']}")
    return found or [
        Finding("limits", OK, ", ".join(str(item["metadata"]["name"]) for item in ranges), "Every pod is inside.")
    ]


def _outside(name: str, item: Object, requests: Object, limits_: Object, subject: str) -> Iterator[Finding]:
    def row(found: str, action: str) -> Finding:
        return Finding("limits", ERROR, subject, f"{found} by the LimitRange {name} of the namespace.", action)

    for resource, most in sorted((item.get("max") or {}).items()):
        limit = quantity(limits_.get(resource))
        if limit is None:
            yield row(
                f"It has no limit of {resource}, which has to be at most {most}", f"Set limits.{resource} for it."
            )
        elif limit > (quantity(most) or 0):
            yield row(
                f"Its limit of {resource} is {limits_[resource]}, which has to be at most {most}",
                f"Lower limits.{resource} for it, or ask for a larger one.",
            )
    for resource, least in sorted((item.get("min") or {}).items()):
        request = quantity(requests.get(resource))
        if request is None or request < (quantity(least) or 0):
            said = f"is {requests[resource]}" if request is not None else "is not there"
            yield row(
                f"Its request of {resource} {said}, which has to be at least {least}",
                f"Raise requests.{resource} for it.",
            )
    for resource, ratio in sorted((item.get("maxLimitRequestRatio") or {}).items()):
        request, limit = quantity(requests.get(resource)), quantity(limits_.get(resource))
        if not request or limit is None or limit > request * (quantity(ratio) or 0):
            yield row(
                f"Its limit of {resource} ({limits_.get(resource, 'none')}) may be at most {ratio} times its request "
                f"({requests.get(resource, 'none')})",
                f"Lower limits.{resource} or raise requests.{resource} for it.",
            )


# ---- nodes -----------------------------------------------------------------------------------------------------------


def nodes(
    api: Api,
    ask: Callable[[], list[dict[str, Any]]],
    namespace: str,
    instance: str,
    demands: Object,
    wanted: Object,
) -> list[Finding]:
    """Check that nodes have room for the pods, accelerators included.

    ask: gives the nodes; wanted: preflight_node_resources.
    """
    pods = [item for item in demands.get("pods") or [] if int(item["most"]) or item["component"] == "triton"]
    accelerated = [item for item in pods if _accelerator(item)]
    try:
        live = ask()
    except ApiError as error:
        rows = [("nodes", "nodes"), *(("gpus", resource) for resource in _resources(accelerated))]
        return [hidden(*row, "The nodes of the cluster", error) for row in rows]
    found = [row for pod in pods for row in _placement(pod, live, on_demand=bool(_accelerator(pod) and not wanted))]
    if not found and pods:
        found = [Finding("nodes", OK, counted(len(live), "node"), "For each kind of pod at least one is right.")]
    for pod in accelerated:
        found += _free(api, namespace, instance, pod, live, on_demand=not wanted)
    return found


def _resources(pods: Sequence[Object]) -> list[str]:
    return list(dict.fromkeys(found[0] for pod in pods if (found := _accelerator(pod))))


def _accelerator(pod: Object) -> tuple[str, int] | None:
    """The resource of accelerators that a pod asks for, and how many."""
    amounts = {name: amount for name, amount in of_pod(pod, "requests").items() if "/" in name and amount}
    return next(((name, int(amount)) for name, amount in amounts.items()), None)


def _demand(pod: Object, namespace: str = "", instance: str = "") -> Demand:
    resource, number = _accelerator(pod) or ("", 0)
    return Demand(
        instance,
        namespace,
        resource,
        number,
        int(pod["least"]),
        int(pod["most"]),
        pod["node_selector"],
        pod["affinity"],
        pod["tolerations"],
    )


def _variables(pod: Object) -> str:
    role = pod["component"].replace("-", "_")
    return f"{role}_node_selector, {role}_affinity and {role}_tolerations"


def _placement(pod: Object, live: Sequence[Object], *, on_demand: bool) -> list[Finding]:
    demand = _demand(pod)
    known = [(gpu_nodes.read_node(item), item) for item in live]
    severity = INFO if on_demand else WARNING
    selected = [(node, item) for node, item in known if gpu_nodes.selected(demand, node)]
    subject = str(pod["component"])
    if not selected:
        return [
            Finding(
                "nodes",
                severity,
                subject,
                f"None of {counted(len(live), 'node')} has the labels that its pods ask for ({_labels(pod)}).",
                f"Correct {_variables(pod)}, or have nodes labelled.",
            )
        ]
    usable = [(node, item) for node, item in selected if node.usable and not gpu_nodes.intolerable(demand, node)]
    if not usable:
        return [
            Finding(
                "nodes",
                severity,
                subject,
                f"Its pods may go to {len(selected)} of {counted(len(live), 'node')} by labels, but "
                f"{_hindrances(demand, selected)}.",
                f"Correct {_variables(pod)}, or wait for the nodes.",
            )
        ]
    requests = {name: amount for name, amount in of_pod(pod, "requests").items() if name in _BARE}
    if any(_holds(item, requests) for _node, item in usable):
        return []
    largest = {name: max((_allocatable(item, name) for _node, item in usable), default=Decimal(0)) for name in requests}
    asked = all_of(f"{_plain(amount, name)} of {name}" for name, amount in requests.items())
    offered = all_of(f"{_plain(amount, name)} of {name}" for name, amount in largest.items())
    return [
        Finding(
            "nodes",
            severity,
            subject,
            f"One pod asks for {asked}; no node that it may go to has that much. The most that any has is {offered}.",
            f"Lower {pod['component'].replace('-', '_')}_resources, or correct {_variables(pod)}.",
        )
    ]


def _labels(pod: Object) -> str:
    parts = [f"{key}={value}" for key, value in pod["node_selector"].items()]
    required = (pod["affinity"].get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or []:
        for rule in [*(term.get("matchExpressions") or []), *(term.get("matchFields") or [])]:
            values = ", ".join(map(str, rule.get("values") or []))
            parts.append(f"{rule.get('key')} {rule.get('operator')} {values}".strip())
    return "; ".join(parts)


def _hindrances(demand: Demand, selected: Sequence[tuple[Node, Object]]) -> str:
    away = [node for node, _item in selected if not node.usable]
    taints = sorted({taint for node, _item in selected for taint in gpu_nodes.intolerable(demand, node)})
    parts = [
        f"{len(away)} of these are not ready or cordoned" if away else "",
        f"the taints {all_of(taints)} are not tolerated" if taints else "",
    ]
    return " and ".join(part for part in parts if part)


def _allocatable(item: Object, name: str) -> Decimal:
    return quantity((item.get("status") or {}).get("allocatable", {}).get(name, 0)) or Decimal(0)


def _holds(item: Object, requests: Amounts) -> bool:
    return all(_allocatable(item, name) >= amount for name, amount in requests.items())


def _free(
    api: Api, namespace: str, instance: str, pod: Object, live: Sequence[Object], *, on_demand: bool
) -> list[Finding]:
    demand = _demand(pod, namespace, instance)
    resource = demand.resource
    offering = [
        node
        for node in (gpu_nodes.read_node(item, {resource}) for item in live)
        if node.allocatable.get(resource, 0) >= demand.gpus
    ]
    if not offering:
        # Where preflight_node_resources is not {}, that is said of it.
        found = f"No node offers {demand.gpus} for one pod now; they are to come on demand."
        return [Finding("gpus", INFO, resource, found)] if on_demand else []
    selected = [node for node in offering if gpu_nodes.selected(demand, node)]
    right = [node for node in selected if node.usable and not gpu_nodes.intolerable(demand, node)]
    if not right:
        what = (
            f"of these with the labels that servers ask for, {len(selected)} ({_labels(pod) or 'none'}), "
            f"{_hindrances(demand, [(node, {}) for node in selected])}"
            if selected
            else f"none of them has the labels that servers ask for ({_labels(pod)})"
        )
        return [
            Finding(
                "gpus",
                INFO if on_demand else ERROR,
                resource,
                f"Nodes that offer {demand.gpus} of {resource} for one pod: {len(offering)}, but {what}.",
                f"Correct {_variables(pod)}; where nodes come on demand, preflight_node_resources is {{}}.",
            )
        ]
    total = sum(node.allocatable[resource] for node in right)
    try:
        taken = gpu_nodes.used(_pods_of(api, right), [(namespace, instance)])
    except ApiError as error:
        row = hidden("gpus", resource, "What pods of others have taken", error)
        return [Finding("gpus", row.severity, resource, f"Right nodes: {len(right)}, with {total}. {row.found}")]
    free = {
        node.name: {resource: node.allocatable[resource] - taken.get(node.name, {}).get(resource, 0)} for node in right
    }
    (room,) = gpu_nodes.fitting([demand], right, free)
    left = sum(max(0, amounts[resource]) for amounts in free.values())
    said = f"Of {total} on the right nodes ({len(right)}) {left} {are(left)} free of others"
    if room < demand.servers:
        return [
            Finding(
                "gpus",
                WARNING,
                resource,
                f"{said}: room for {room} of the {counted(demand.servers, 'server')} that {are(demand.servers)} there "
                "without demand.",
                "Lower triton_replicas or autoscaler_min_replicas, widen where servers may go, or wait.",
            )
        ]
    most = counted(demand.max_servers, "server")
    if room < demand.max_servers:
        return [Finding("gpus", INFO, resource, f"{said}: room for {room} of at most {most}.")]
    return [Finding("gpus", OK, resource, f"{said}: room for all of {most}.")]


def _pods_of(api: Api, right: Sequence[Node]) -> list[dict[str, Any]]:
    """The pods on these nodes that still hold what they ask for."""
    queries = [f"spec.nodeName={node.name}," for node in right] if len(right) <= _FEW_NODES else [""]
    return [
        pod
        for query in queries
        for pod in api.list(
            "/api/v1/pods", "pods", {"fieldSelector": f"{query}status.phase!=Succeeded,status.phase!=Failed"}
        )
    ]
