# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the accelerators of a cluster and checks that they suffice for the instances.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from ansible_collections.fastml.supersonic.plugins.module_utils._accelerators.gpu_nodes import (
    Demand,
    Node,
    describe,
    fitting,
    intolerable,
    is_accelerator,
    read_node,
    selected,
    used,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._common.quantity import quantity
from ansible_collections.fastml.supersonic.plugins.module_utils._common.text import all_of
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError, segment

Object = Mapping[str, Any]

ERROR, WARNING = "error", "warning"
_PAUSE = 3.0
# Owners of what the operator runs.
_OWNERS = ("ClusterPolicy", "NVIDIADriver", "GPUCluster")


class Finding(NamedTuple):
    """Something that is not as it should be: what, why it matters, and what to do."""

    severity: str
    subject: str
    what: str
    why: str
    remedy: str


@dataclass
class Found:
    """The answers of the cluster; None for what could not be read."""

    policies: Sequence[Object] | None = ()
    gpu_clusters: Sequence[Object] | None = ()
    daemon_sets: Sequence[Object] | None = ()
    nodes: Sequence[Node] | None = ()
    pods: Sequence[Object] | None = ()
    # By namespace.
    quotas: Mapping[str, Sequence[Object] | None] = field(default_factory=dict)
    not_read: list[str] = field(default_factory=list)


# ---- asking ----------------------------------------------------------------------------------------------------------


def ask(api: Api, demands: Sequence[Demand]) -> Found:
    """Look at everything at once."""
    found = Found()

    def read(path: str, what: str, without: str, query: Mapping[str, str] | None = None) -> list[dict[str, Any]] | None:
        try:
            return api.list(path, what, query)
        except ApiError as error:
            # A kind that is not served has no objects.
            if error.status == 404:
                return []
            if error.status != 403:
                raise
            found.not_read.append(f"We may not list {what}, so {without}.")
            return None

    def quotas(namespace: str) -> list[dict[str, Any]] | None:
        path, what = f"/api/v1/namespaces/{segment(namespace)}/resourcequotas", f"ResourceQuotas of {namespace}"
        return read(path, what, "a quota that is too small is not seen")

    wanted = {demand.resource for demand in demands}
    namespaces = sorted({demand.namespace for demand in demands if demand.gpus and demand.namespace})
    running = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
    questions: dict[str, Callable[[], Any]] = {
        "policies": lambda: read(
            "/apis/nvidia.com/v1/clusterpolicies", "ClusterPolicies", "the state of the GPU operator is not known"
        ),
        "gpu_clusters": lambda: read(
            "/apis/nvidia.com/v1alpha1/gpuclusters", "GPUClusters", "it is not known whether GPUs are given by claims"
        ),
        "daemon_sets": lambda: read(
            "/apis/apps/v1/daemonsets",
            "DaemonSets of all namespaces",
            "whether drivers and plugins run is not known",
        ),
        "nodes": lambda: read("/api/v1/nodes", "nodes", "labels and accelerators of nodes are not known"),
        # Many, and only of use where somebody asks for accelerators.
        "pods": lambda: (
            read("/api/v1/pods", "pods of all namespaces", "what others use counts as free", running)
            if any(demand.gpus for demand in demands)
            else []
        ),
        **{f"quota {name}": partial(quotas, name) for name in namespaces},
    }
    with ThreadPoolExecutor(max_workers=len(questions)) as pool:
        answers = dict(zip(questions, pool.map(lambda question: question(), questions.values()), strict=True))
    found.policies, found.gpu_clusters = answers["policies"], answers["gpu_clusters"]
    found.daemon_sets, found.pods = answers["daemon_sets"], answers["pods"]
    live = answers["nodes"]
    found.nodes = None if live is None else [read_node(item, wanted) for item in live]
    found.quotas = {name: answers[f"quota {name}"] for name in namespaces}
    found.not_read.sort()
    return found


def inspect(
    api: Api,
    demands: Sequence[Demand],
    *,
    on_demand: bool = False,
    metrics: Mapping[str, Any] | None = None,
    wait_timeout: float = 0,
) -> dict[str, Any]:
    """Ask and judge, again and again until there is no error any more or the time is over."""
    deadline = time.monotonic() + wait_timeout
    while True:
        found = ask(api, demands)
        findings = list(judge(found, demands, on_demand=on_demand, metrics=metrics))
        over = time.monotonic() + _PAUSE > deadline
        if over or not any(finding.severity == ERROR for finding in findings):
            break
        time.sleep(_PAUSE)
    return {
        "operator": operator(found),
        "nodes": [describe(node) for node in found.nodes or [] if node.has_accelerator],
        "instances": _instances(found, demands),
        "findings": [finding._asdict() for finding in findings],
        "not_read": found.not_read,
    }


def _instances(found: Found, demands: Sequence[Demand]) -> list[dict[str, Any]]:
    fit = _fit(found, demands)
    return [
        {
            "name": demand.name,
            "namespace": demand.namespace,
            "resource": demand.resource,
            "gpus": demand.gpus,
            "servers": demand.servers,
            "max_servers": demand.max_servers,
            "nodes": sorted(node.name for node in found.nodes or [] if selected(demand, node)),
            "fit": None if fit is None or not demand.gpus else fit[number],
        }
        for number, demand in enumerate(demands)
    ]


def operator(found: Found) -> dict[str, str]:
    """The GPU operator that manages the GPUs, and its state."""
    nothing = {"name": "", "state": "", "reason": "", "message": ""}
    # A second one is ignored by the operator, and says so.
    policies = sorted(found.policies or [], key=lambda item: _state(item) == "ignored")
    if policies:
        return {"kind": "ClusterPolicy", **_described(policies[0])}
    if found.gpu_clusters:
        return {"kind": "GPUCluster", **_described(found.gpu_clusters[0])}
    plugins = [item for item in found.daemon_sets or [] if _is_plugin(item)]
    if plugins:
        metadata = plugins[0]["metadata"]
        return {"kind": "DevicePlugin", **nothing, "name": f"{metadata['namespace']}/{metadata['name']}"}
    if found.policies is None or found.daemon_sets is None:
        return {"kind": "unknown", **nothing}
    return {"kind": "none", **nothing}


def _described(live: Object) -> dict[str, str]:
    """Name and state, and why it is not ready where it is not."""
    conditions = (live.get("status") or {}).get("conditions") or []
    told = [c for c in conditions if c.get("status") == "True" and c.get("type") in ("Ready", "Error")]
    last = told[0] if told else {}
    return {
        "name": str(live["metadata"]["name"]),
        "state": _state(live),
        "reason": str(last.get("reason") or ""),
        "message": str(last.get("message") or ""),
    }


def _state(live: Object) -> str:
    return str((live.get("status") or {}).get("state") or "")


def _is_plugin(daemon_set: Object) -> bool:
    spec = ((daemon_set.get("spec") or {}).get("template") or {}).get("spec") or {}
    names = [daemon_set["metadata"]["name"], *(str(c.get("image")) for c in spec.get("containers") or [])]
    return any("device-plugin" in name or "gpu-plugin" in name for name in names)


# ---- judging ---------------------------------------------------------------------------------------------------------


def judge(
    found: Found, demands: Sequence[Demand], *, on_demand: bool = False, metrics: Mapping[str, Any] | None = None
) -> Iterator[Finding]:
    """Everything that is not as it should be.

    on_demand: nodes come when they are needed, so that room which is not there yet is no error.
    metrics: what Prometheus knows: nodes (how many report GPUs) or error.
    """
    yield from _of_operator(found, demands)
    yield from _of_daemon_sets(found)
    for node in found.nodes or []:
        yield from _of_node(node)
    yield from _of_instances(found, demands, WARNING if on_demand else ERROR)
    yield from _of_quotas(found, demands)
    if metrics is not None:
        yield from _of_metrics(found, metrics)


def _of_operator(found: Found, demands: Sequence[Demand]) -> Iterator[Finding]:
    state = operator(found)
    wanted = any(demand.gpus and demand.resource.startswith("nvidia.com/") for demand in demands)
    offered = any(sum(node.allocatable.values()) for node in found.nodes or [])
    if state["kind"] == "none" and wanted and not offered and found.nodes is not None:
        yield Finding(
            ERROR,
            "operator",
            "The cluster has neither the GPU operator (a ClusterPolicy) nor a device plugin (a DaemonSet).",
            "So no node offers GPUs, and servers that ask for one are never scheduled.",
            "Ask for the operator to be installed, or set gpu_operator_mode: managed.",
        )
    if state["kind"] == "GPUCluster" and wanted:
        yield Finding(
            WARNING,
            "operator",
            f"The GPU operator works by Dynamic Resource Allocation (GPUCluster {state['name']}).",
            "It gives GPUs to claims, and a server that asks for nvidia.com/gpu gets none.",
            "Ask for a ClusterPolicy, or give the servers a claim (triton_pod_spec_overrides) and set triton_gpus: 0.",
        )
    if state["kind"] in ("ClusterPolicy", "GPUCluster") and state["state"] != "ready":
        said = ": ".join(text for text in (state["reason"], state["message"].rstrip(".")) if text)
        said = f" ({said})" if said else ""
        yield Finding(
            ERROR,
            "operator",
            f"The {state['kind']} {state['name']} is {state['state'] or 'without a state'}{said}.",
            "Until it is ready, drivers, runtime or device plugin may be missing on nodes.",
            f"See kubectl describe {state['kind'].lower()} {state['name']}, and the pods of the operator's namespace.",
        )
    for policy in found.policies or []:
        if _state(policy) == "ignored":
            yield Finding(
                WARNING,
                "operator",
                f"There is a second ClusterPolicy {policy['metadata']['name']}, which the operator ignores.",
                "Whatever it says has no effect.",
                "Delete the one that is not wanted.",
            )


def _of_daemon_sets(found: Found) -> Iterator[Finding]:
    for item in found.daemon_sets or []:
        owners = {owner.get("kind") for owner in item["metadata"].get("ownerReferences") or []}
        if not owners & set(_OWNERS) and not _is_plugin(item):
            continue
        status = item.get("status") or {}
        wanted, ready = int(status.get("desiredNumberScheduled") or 0), int(status.get("numberReady") or 0)
        if ready < wanted:
            name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
            yield Finding(
                ERROR,
                f"daemonset {namespace}/{name}",
                f"The DaemonSet {name} is ready on {ready} of {wanted} nodes.",
                "On the others GPUs cannot be used, or are not measured.",
                f"See kubectl -n {namespace} describe daemonset {name} and its pods.",
            )


def _of_node(node: Node) -> Iterator[Finding]:
    subject = f"node {node.name}"
    label = node.labels.get
    nvidia = {name: amount for name, amount in node.allocatable.items() if name.startswith("nvidia.com/")}
    if label("nvidia.com/mig.config.state") in ("failed", "pending", "rebooting"):
        state = label("nvidia.com/mig.config.state")
        yield Finding(
            ERROR if state == "failed" else WARNING,
            subject,
            f"The MIG configuration {label('nvidia.com/mig.config', '')} of the node {node.name} is {state}.",
            "Its GPUs may be divided in another way than is asked for.",
            "See the log of the pod nvidia-mig-manager on that node. No pod may use a GPU while it is divided anew.",
        )
    if node.has_nvidia and node.usable and not any(nvidia.values()):
        if label("nvidia.com/gpu.deploy.operands") == "false":
            yield Finding(
                WARNING,
                subject,
                f"The node {node.name} has a GPU, and the label nvidia.com/gpu.deploy.operands=false.",
                "The operator leaves it alone, and it offers no GPU.",
                "Take the label away if the GPU is to be used.",
            )
        else:
            yield Finding(
                ERROR,
                subject,
                f"The node {node.name} has a GPU and offers none.",
                "Nothing that asks for a GPU is scheduled there. Mostly the driver is not loaded, or the device plugin "
                "is not there.",
                f"See the pods on it: kubectl get pods -A --field-selector spec.nodeName={node.name}",
            )
    for name, whole in node.capacity.items():
        left = node.allocatable.get(name, 0)
        if is_accelerator(name) and left < whole:
            yield Finding(
                WARNING,
                subject,
                f"The node {node.name} offers {left} of its {whole} {name}.",
                "The device plugin reports the others as unhealthy.",
                "See its log, and nvidia-smi or dcgmi diag on that node.",
            )
    if any(node.capacity.values()) and not node.usable:
        why = "cordoned" if node.cordoned else "not ready"
        yield Finding(
            WARNING,
            subject,
            f"The node {node.name} has accelerators and is {why}.",
            "No new server is scheduled there.",
            f"Uncordon it when it is well again: kubectl uncordon {node.name}"
            if node.cordoned
            else f"See kubectl describe node {node.name}.",
        )


def _fit(found: Found, demands: Sequence[Demand]) -> list[int] | None:
    if found.nodes is None:
        return None
    taken = used(found.pods or [], {(demand.namespace, demand.name) for demand in demands})
    free = {
        node.name: {
            name: max(0, amount - taken.get(node.name, {}).get(name, 0)) for name, amount in node.allocatable.items()
        }
        for node in found.nodes
    }
    asking = [number for number, demand in enumerate(demands) if demand.gpus]
    fit = dict(zip(asking, fitting([demands[number] for number in asking], found.nodes, free), strict=True))
    return [fit.get(number, demand.servers) for number, demand in enumerate(demands)]


def _of_instances(found: Found, demands: Sequence[Demand], severity: str) -> Iterator[Finding]:
    fit = _fit(found, demands)
    if fit is None or found.nodes is None:
        return
    for demand, room in zip(demands, fit, strict=True):
        if not demand.gpus:
            continue
        unusable = _why_nowhere(demand, found.nodes)
        if unusable:
            what, remedy = unusable
            never = "Its servers are never scheduled."
            yield Finding(severity, f"instance {demand.name}", what, never, remedy)
        elif room < demand.servers:
            yield _shortage(severity, demand, room, demand.servers, "Some of them are never scheduled.")
        elif room < demand.max_servers:
            yield _shortage(
                WARNING, demand, room, demand.max_servers, "When demand is high, the pool does not grow to its largest."
            )


def _shortage(severity: str, demand: Demand, room: int, servers: int, why: str) -> Finding:
    return Finding(
        severity,
        f"instance {demand.name}",
        f"Of {servers} server(s) of {demand.name} with {demand.gpus} {demand.resource} each, {room} find room beside "
        "the other instances and what others use.",
        why,
        "Ask for fewer servers, or for more nodes; where they come on demand, set gpu_operator_nodes_on_demand: true.",
    )


def _why_nowhere(demand: Demand, nodes: Sequence[Node]) -> tuple[str, str] | None:
    """The reason why no node can run a server, however much is free, and what to do."""
    chosen = [node for node in nodes if selected(demand, node)]
    offering = [node for node in nodes if node.allocatable.get(demand.resource, 0)]
    if not nodes:
        return f"There is no node for {demand.name}.", "Have nodes with accelerators join the cluster."
    if not chosen:
        told = _labels(offering)
        return (
            f"No node has the labels that {demand.name} asks for (triton_node_selector, triton_affinity).",
            f"Nodes that offer {demand.resource} have {told}. Correct the labels that are asked for."
            if told
            else "Correct the labels that are asked for, or have nodes labelled.",
        )
    enough = [node for node in chosen if node.allocatable.get(demand.resource, 0) >= demand.gpus]
    if not enough:
        most = max(node.allocatable.get(demand.resource, 0) for node in chosen)
        if most:
            return (
                f"No node of {demand.name} offers {demand.gpus} {demand.resource} to a server; at most {most}.",
                "Lower triton_gpus, or choose other nodes.",
            )
        others = sorted({name for node in chosen for name, amount in node.allocatable.items() if amount})
        elsewhere = sorted(node.name for node in offering)
        hint = (
            f"They offer {all_of(others)}: set triton_gpu_resource to what is meant."
            if others
            else f"{all_of(elsewhere)} would: correct triton_node_selector or triton_affinity."
            if elsewhere
            else "Correct triton_gpu_resource, or see why the device plugin offers nothing."
        )
        return f"None of the {len(chosen)} node(s) of {demand.name} offers {demand.resource}.", hint
    taints = sorted({taint for node in enough for taint in intolerable(demand, node)})
    if all(intolerable(demand, node) for node in enough):
        return (
            f"The nodes of {demand.name} that offer {demand.resource} have taints that its servers do not tolerate: "
            f"{all_of(taints)}.",
            "Add them to triton_tolerations, unless the cluster does so itself (ExtendedResourceToleration).",
        )
    return None


def _labels(nodes: Iterable[Node]) -> str:
    products = sorted({node.labels.get("nvidia.com/gpu.product", "") for node in nodes} - {""})
    return all_of([f"nvidia.com/gpu.product={name}" for name in products])


def _of_quotas(found: Found, demands: Sequence[Demand]) -> Iterator[Finding]:
    for namespace, quotas in found.quotas.items():
        for resource in sorted({d.resource for d in demands if d.namespace == namespace and d.gpus}):
            ours = [d for d in demands if d.namespace == namespace and d.resource == resource]
            least = sum(d.gpus * d.servers for d in ours)
            most = sum(d.gpus * max(d.servers, d.max_servers) for d in ours)
            for quota in quotas or []:
                hard = ((quota.get("spec") or {}).get("hard") or {}).get(f"requests.{resource}")
                limit = quantity(hard) if hard is not None else None
                if limit is None or limit >= most:
                    continue
                wanted = least if limit < least else most
                yield Finding(
                    ERROR if limit < least else WARNING,
                    f"namespace {namespace}",
                    f"The quota {quota['metadata']['name']} of the namespace {namespace} allows {hard} {resource}, and "
                    f"its instances ask for {wanted}{' at most' if limit >= least else ''}.",
                    "Kubernetes refuses to make the pods beyond it.",
                    "Ask for a larger quota, or for fewer servers.",
                )


def _of_metrics(found: Found, metrics: Mapping[str, Any]) -> Iterator[Finding]:
    remedy = (
        "Switch the DCGM exporter and its ServiceMonitor on in the operator, and see that Prometheus selects that "
        "ServiceMonitor (its labels, its namespace)."
    )
    why = "Dashboards and alarms for GPUs stay empty, and MIG devices are measured by nobody else."
    if metrics.get("error"):
        what = f"Prometheus could not be asked for the metrics of GPUs: {str(metrics['error']).rstrip('.')}."
        yield Finding(WARNING, "metrics", what, why, "Correct gpu_operator_prometheus_url, or leave it empty.")
        return
    reporting = int(metrics.get("nodes") or 0)
    there = sum(1 for node in found.nodes or [] if node.usable and node.has_nvidia)
    if not reporting:
        yield Finding(WARNING, "metrics", "Prometheus has no metrics of GPUs (DCGM_FI_DEV_GPU_UTIL).", why, remedy)
    elif reporting < there:
        what = f"Prometheus has metrics of GPUs of {reporting} of {there} nodes."
        yield Finding(WARNING, "metrics", what, why, remedy)


def report(found: Mapping[str, Any]) -> str:
    """The findings as lines of text: errors first, then facts, then what could not be read."""
    lines = [
        f"{item['severity'].capitalize()}: {item['what']} {item['why']} {item['remedy']}"
        for severity in (ERROR, WARNING)
        for item in found["findings"]
        if item["severity"] == severity
    ]
    lines += found["not_read"]
    state = found["operator"]
    who = f"{state['kind']} {state['name']}".strip() + (f" is {state['state']}" if state["state"] else "")
    lines.append(f"Operator: {who}. Nodes with accelerators: {len(found['nodes'])}.")
    for node in found["nodes"]:
        offers = all_of([f"{amount} {name}" for name, amount in node["allocatable"].items()]) or "nothing"
        product = f" ({node['product']})" if node["product"] else ""
        lines.append(f"Node {node['name']}{product} offers {offers}.")
    return "\n".join(lines)
