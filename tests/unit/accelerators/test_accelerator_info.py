# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a cluster's accelerators, and of what instances ask of them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._accelerators import accelerator_info, gpu_nodes
from ansible_collections.fastml.supersonic.plugins.module_utils._accelerators.accelerator_info import Found, judge
from ansible_collections.fastml.supersonic.plugins.module_utils._accelerators.gpu_nodes import (
    Demand,
    Node,
    fitting,
    read_node,
    used,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.accelerators import gpu_demands
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules import gpu_operator
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE

GPU, MIG = "nvidia.com/gpu", "nvidia.com/mig-1g.5gb"
POLICY = {"metadata": {"name": "cluster-policy"}, "status": {"state": "ready"}}
L4 = {"nvidia.com/gpu.present": "true", "nvidia.com/gpu.product": "NVIDIA-L4"}


def node(name: str = "a", /, **more: Any) -> Node:
    """A node with two GPUs, or with what is said."""
    offers = more.pop("offers", {GPU: 2})
    labels = {"kubernetes.io/hostname": name, **L4, **more.pop("labels", {})}
    fields = {"taints": (), "ready": True, "cordoned": False, "capacity": offers, "allocatable": offers}
    return Node(name, labels, **{**fields, **more})


def demand(name: str = "cms", /, **more: Any) -> Demand:
    return Demand(name, **{"namespace": name, "gpus": 1, **more})


def daemon_set(name: str, ready: int, wanted: int = 2, image: str = "driver:1") -> dict[str, Any]:
    owners = [{"kind": "ClusterPolicy", "name": "cluster-policy"}] if image == "driver:1" else []
    return {
        "metadata": {"name": name, "namespace": "gpu-operator", "ownerReferences": owners},
        "spec": {"template": {"spec": {"containers": [{"image": image}]}}},
        "status": {"desiredNumberScheduled": wanted, "numberReady": ready},
    }


def affinity(*terms: dict[str, Any]) -> dict[str, Any]:
    required = {"nodeSelectorTerms": list(terms)}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def rule(operator: str, key: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


# ---- nothing is wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "demands"),
    [
        (Found(), []),
        (Found(policies=[POLICY], nodes=[node()], daemon_sets=[daemon_set("driver", 2)]), [demand(servers=2)]),
        # Of another vendor, whose operator is not known here.
        (
            Found(nodes=[Node("a", {}, (), True, False, {"amd.com/gpu": 1}, {"amd.com/gpu": 1})]),
            [demand(resource="amd.com/gpu")],
        ),
        (Found(nodes=[node(offers={MIG: 7})]), [demand(resource=MIG, servers=7)]),
        # What could not be read is not judged.
        (Found(policies=None, daemon_sets=None, nodes=None, pods=None), [demand(servers=9)]),
        # Nobody asks for anything.
        (Found(), [demand(gpus=0, servers=3, max_servers=9)]),
    ],
)
def test_nothing_is_wrong(found: Found, demands: list[Demand]) -> None:
    assert list(judge(found, demands)) == []


# ---- one thing is wrong ----------------------------------------------------------------------------------------------


def state(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": "cluster-policy"}, "status": {"state": name, **more}}


CONDITIONS = [
    {"type": "Ready", "status": "False", "reason": "Error", "message": ""},
    {"type": "Error", "status": "True", "reason": "DriverNotReady", "message": "Waiting for driver pod."},
]
QUOTA = {"metadata": {"name": "gpus"}, "spec": {"hard": {f"requests.{GPU}": "3"}}}
TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
WRONG: list[tuple[str, Found, list[Demand], str, str]] = [
    (
        "not-ready",
        Found(policies=[state("notReady", conditions=CONDITIONS)]),
        [],
        "error",
        "ClusterPolicy cluster-policy is notReady (DriverNotReady: Waiting for driver pod). Until it is ready",
    ),
    ("no-state", Found(policies=[{"metadata": {"name": "new"}}]), [], "error", "ClusterPolicy new is without a state."),
    (
        "second",
        Found(policies=[POLICY, {"metadata": {"name": "b"}, "status": {"state": "ignored"}}]),
        [],
        "warning",
        "There is a second ClusterPolicy b, which the operator ignores.",
    ),
    (
        "claims",
        Found(gpu_clusters=[{"metadata": {"name": "gpus"}, "status": {"state": "ready"}}], nodes=[node()]),
        [demand()],
        "warning",
        "works by Dynamic Resource Allocation (GPUCluster gpus). It gives GPUs to claims",
    ),
    (
        "driver-missing",
        Found(policies=[POLICY], daemon_sets=[daemon_set("nvidia-driver-daemonset", 1)]),
        [],
        "error",
        "The DaemonSet nvidia-driver-daemonset is ready on 1 of 2 nodes.",
    ),
    (
        "plugin-alone",
        Found(daemon_sets=[daemon_set("plugin", 0, image="nvcr.io/nvidia/k8s-device-plugin:v0.20.0")]),
        [],
        "error",
        "The DaemonSet plugin is ready on 0 of 2 nodes.",
    ),
    ("offers-none", Found(policies=[POLICY], nodes=[node(offers={GPU: 0})]), [], "error", "has a GPU and offers none."),
    (
        "pci",
        Found(nodes=[Node("a", {"feature.node.kubernetes.io/pci-10de.present": "true"}, (), True, False, {}, {})]),
        [],
        "error",
        "The node a has a GPU and offers none.",
    ),
    (
        "left-alone",
        Found(nodes=[node(offers={}, labels={"nvidia.com/gpu.deploy.operands": "false"})]),
        [],
        "warning",
        "the label nvidia.com/gpu.deploy.operands=false.",
    ),
    (
        "broken-device",
        Found(nodes=[node(allocatable={GPU: 1})]),
        [],
        "warning",
        "The node a offers 1 of its 2 nvidia.com/gpu. The device plugin reports the others as unhealthy.",
    ),
    ("cordoned", Found(nodes=[node(cordoned=True)]), [], "warning", "has accelerators and is cordoned."),
    ("away", Found(nodes=[node(ready=False)]), [], "warning", "has accelerators and is not ready."),
    (
        "mig-failed",
        Found(nodes=[node(labels={"nvidia.com/mig.config": "all-1g.5gb", "nvidia.com/mig.config.state": "failed"})]),
        [],
        "error",
        "The MIG configuration all-1g.5gb of the node a is failed.",
    ),
    (
        "mig-pending",
        Found(nodes=[node(labels={"nvidia.com/mig.config": "all-1g.5gb", "nvidia.com/mig.config.state": "pending"})]),
        [],
        "warning",
        "of the node a is pending.",
    ),
    (
        "too-few",
        Found(nodes=[node()]),
        [demand(servers=3)],
        "error",
        "Of 3 server(s) of cms with 1 nvidia.com/gpu each, 2 find room",
    ),
    (
        "too-few-at-most",
        Found(nodes=[node()]),
        [demand(servers=1, max_servers=5)],
        "warning",
        "Of 5 server(s) of cms with 1 nvidia.com/gpu each, 2 find room",
    ),
    (
        "too-large",
        Found(nodes=[node("a"), node("b")]),
        [demand(gpus=4)],
        "error",
        "No node of cms offers 4 nvidia.com/gpu to a server; at most 2.",
    ),
    (
        "other-resource",
        Found(nodes=[node(offers={MIG: 7})]),
        [demand()],
        "error",
        "None of the 1 node(s) of cms offers nvidia.com/gpu. Its servers are never scheduled. They offer "
        "nvidia.com/mig-1g.5gb: set triton_gpu_resource",
    ),
    (
        "shared",
        Found(nodes=[node(offers={"nvidia.com/gpu.shared": 8})]),
        [demand()],
        "error",
        "They offer nvidia.com/gpu.shared: set triton_gpu_resource",
    ),
    (
        "elsewhere",
        Found(nodes=[node("a"), Node("b", {"zone": "b"}, (), True, False, {}, {})]),
        [demand(node_selector={"zone": "b"})],
        "error",
        "None of the 1 node(s) of cms offers nvidia.com/gpu. Its servers are never scheduled. a would: correct",
    ),
    (
        "no-label",
        Found(nodes=[node()]),
        [demand(node_selector={"nvidia.com/gpu.product": "NVIDIA-A10"})],
        "error",
        "Nodes that offer nvidia.com/gpu have nvidia.com/gpu.product=NVIDIA-L4.",
    ),
    (
        "tainted",
        Found(nodes=[node(taints=[TAINT])]),
        [demand()],
        "error",
        "have taints that its servers do not tolerate: nvidia.com/gpu=present:NoSchedule.",
    ),
    (
        "quota",
        Found(nodes=[node(offers={GPU: 8})], quotas={"cms": [QUOTA]}),
        [demand(servers=4, max_servers=4)],
        "error",
        "The quota gpus of the namespace cms allows 3 nvidia.com/gpu, and its instances ask for 4.",
    ),
    (
        "quota-at-most",
        Found(nodes=[node(offers={GPU: 8})], quotas={"cms": [QUOTA]}),
        [demand(servers=2, max_servers=6)],
        "warning",
        "and its instances ask for 6 at most.",
    ),
]


@pytest.mark.parametrize(
    ("found", "demands", "severity", "text"), [row[1:] for row in WRONG], ids=[r[0] for r in WRONG]
)
def test_what_is_wrong_is_said_once(found: Found, demands: list[Demand], severity: str, text: str) -> None:
    (finding,) = judge(found, demands)
    assert finding.severity == severity
    assert text in f"{finding.what} {finding.why} {finding.remedy}"
    assert all(part.endswith((".", found.nodes[0].name if found.nodes else ".")) for part in finding[2:])


def test_without_operator_and_plugin_nobody_offers_gpus() -> None:
    bare = Node("a", {}, (), True, False, {}, {})
    told = [finding.what for finding in judge(Found(nodes=[bare]), [demand()])]
    assert told == [
        "The cluster has neither the GPU operator (a ClusterPolicy) nor a device plugin (a DaemonSet).",
        "None of the 1 node(s) of cms offers nvidia.com/gpu.",
    ]


def test_nodes_on_demand_make_shortage_a_warning() -> None:
    (finding,) = judge(Found(nodes=[], policies=[POLICY]), [demand()], on_demand=True)
    assert (finding.severity, finding.subject) == ("warning", "instance cms")


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ({"nodes": 2}, ""),
        ({"nodes": 1}, "Prometheus has metrics of GPUs of 1 of 2 nodes."),
        ({"nodes": 0}, "Prometheus has no metrics of GPUs (DCGM_FI_DEV_GPU_UTIL)."),
        ({"error": "It answered 401."}, "could not be asked for the metrics of GPUs: It answered 401. "),
    ],
)
def test_metrics(metrics: dict[str, Any], text: str) -> None:
    # A node that is away has no metrics, and is told by itself.
    nodes = [node("a"), node("b"), node("c", offers={}, ready=False)]
    found = [finding.what + " " for finding in judge(Found(nodes=nodes), [], metrics=metrics)]
    assert [text in what for what in found] == ([True] if text else [])


# ---- who goes where --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ({}, True),
        ({"node_selector": {"nvidia.com/gpu.product": "NVIDIA-L4"}}, True),
        ({"node_selector": {"nvidia.com/gpu.product": "NVIDIA-A10"}}, False),
        ({"affinity": affinity({"matchExpressions": [rule("In", "nvidia.com/gpu.product", "NVIDIA-L4")]})}, True),
        ({"affinity": affinity({"matchExpressions": [rule("NotIn", "nvidia.com/gpu.product", "NVIDIA-L4")]})}, False),
        ({"affinity": affinity({"matchExpressions": [rule("NotIn", "zone", "x")]})}, True),
        ({"affinity": affinity({"matchExpressions": [rule("Exists", "nvidia.com/gpu.present")]})}, True),
        ({"affinity": affinity({"matchExpressions": [rule("DoesNotExist", "zone")]})}, True),
        ({"affinity": affinity({"matchExpressions": [rule("Gt", "memory", "20000")]})}, True),
        ({"affinity": affinity({"matchExpressions": [rule("Lt", "memory", "20000")]})}, False),
        ({"affinity": affinity({"matchExpressions": [rule("Gt", "zone", "1")]})}, False),
        ({"affinity": affinity({"matchFields": [rule("In", "metadata.name", "a")]})}, True),
        # One term has to hold as a whole; one without conditions never does.
        ({"affinity": affinity({}, {"matchFields": [rule("In", "metadata.name", "a")]})}, True),
        ({"affinity": affinity({})}, False),
        (
            {"affinity": affinity({"matchExpressions": [rule("Exists", "memory"), rule("Exists", "zone")]})},
            False,
        ),
        ({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}}, True),
    ],
)
def test_selector_and_affinity(wanted: dict[str, Any], chosen: bool) -> None:
    assert gpu_nodes.selected(demand(**wanted), node("a", labels={"memory": "23034"})) is chosen


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({}, False),
        ({"operator": "Exists"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Exists"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}, True),
        ({"key": "nvidia.com/gpu", "value": "absent"}, False),
    ],
)
def test_tolerations(toleration: dict[str, Any], tolerated: bool) -> None:
    soft = {"key": "spot", "effect": "PreferNoSchedule"}
    found = gpu_nodes.intolerable(demand(tolerations=[toleration]), node(taints=[TAINT, soft]))
    assert found == ([] if tolerated else ["nvidia.com/gpu=present:NoSchedule"])


def here(*names: str) -> dict[str, Any]:
    return affinity({"matchFields": [rule("In", "metadata.name", *names)]})


@pytest.mark.parametrize(
    ("demands", "free", "fit"),
    [
        ([demand(servers=3)], {"a": 2, "b": 2}, [3]),
        # GPUs of two nodes are none for one server.
        ([demand(gpus=2, servers=2)], {"a": 3, "b": 1}, [1]),
        # What every instance has at least comes before what one may have at most.
        ([demand("x", max_servers=9), demand("y", servers=2, max_servers=2)], {"a": 4}, [2, 2]),
        # Both share what is left.
        ([demand("x", max_servers=9), demand("y", max_servers=9)], {"a": 6}, [3, 3]),
        # Whoever may go elsewhere makes room for who may not, even where that takes two moves.
        ([demand("x", affinity=here("a", "b")), demand("y", affinity=here("a"))], {"a": 1, "b": 1}, [1, 1]),
        (
            [
                demand("x", affinity=here("a", "b")),
                demand("y", affinity=here("b", "c")),
                demand("z", affinity=here("a")),
            ],
            {"a": 1, "b": 1, "c": 1},
            [1, 1, 1],
        ),
        # Of other resources nobody takes anything.
        ([demand("x", resource=MIG), demand("y")], {"a": 1}, [0, 1]),
        ([demand("x", servers=0, max_servers=2)], {"a": 1}, [1]),
    ],
)
def test_who_finds_room(demands: list[Demand], free: dict[str, int], fit: list[int]) -> None:
    nodes = [node(name, offers={GPU: amount}) for name, amount in free.items()]
    assert fitting(demands, nodes, {name: {GPU: amount} for name, amount in free.items()}) == fit


def test_what_others_use_is_not_free() -> None:
    def pod(name: str, labels: dict[str, str], where: str | None = "a", **limits: str) -> dict[str, Any]:
        container = {"resources": {"limits": {"cpu": "1", GPU: "1", **limits}}}
        return {
            "metadata": {"name": name, "namespace": "cms", "labels": labels},
            "spec": {"nodeName": where, "containers": [container]},
        }

    ours = {"app.kubernetes.io/component": "triton", "app.kubernetes.io/instance": "cms"}
    pods = [pod("server", ours), pod("notebook", {}), pod("waiting", {}, None), pod("other", {**ours, "x": "y"}, "b")]
    assert used(pods, [("cms", "cms")]) == {"a": {GPU: 1}}
    assert used(pods, []) == {"a": {GPU: 2}, "b": {GPU: 1}}
    (finding,) = judge(Found(nodes=[node()], pods=pods), [demand(servers=2)])
    assert "1 find room beside" in finding.what


def test_a_node_is_read() -> None:
    live = {
        "metadata": {"name": "a", "labels": {**L4, "nvidia.com/gpu.count": "2", "nvidia.com/gpu.replicas": "4"}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "capacity": {"cpu": "8", GPU: "8", "rdma/hca": "1"},
            "allocatable": {"cpu": "8", GPU: "8", "example.org/fpga": "2"},
        },
    }
    found = read_node(live, ["example.org/fpga"])
    assert (found.ready, found.cordoned, found.usable) == (True, True, False)
    assert (found.capacity, found.allocatable) == ({GPU: 8}, {GPU: 8, "example.org/fpga": 2})
    told = gpu_nodes.describe(found)
    assert (told["product"], told["count"], told["replicas"], told["mig_state"]) == ("NVIDIA-L4", "2", "4", "")


def test_report_begins_with_errors() -> None:
    found = Found(policies=[POLICY], nodes=[node(allocatable={GPU: 1})], not_read=["We may not list pods."])
    findings = [finding._asdict() for finding in judge(found, [demand(servers=2)])]
    nodes = [gpu_nodes.describe(item) for item in found.nodes or []]
    operator = accelerator_info.operator(found)
    text = accelerator_info.report(
        {"findings": findings, "nodes": nodes, "operator": operator, "not_read": found.not_read}
    )
    lines = text.split("\n")
    assert [line.partition(":")[0] for line in lines[:2]] == ["Error", "Warning"]
    assert lines[2:] == [
        "We may not list pods.",
        "Operator: ClusterPolicy cluster-policy is ready. Nodes with accelerators: 1.",
        "Node a (NVIDIA-L4) offers 1 nvidia.com/gpu.",
    ]


# ---- the inventory ---------------------------------------------------------------------------------------------------


def test_demands_of_an_inventory() -> None:
    here_ = {"supersonic_kubeconfig": "k", "supersonic_namespace": "ns"}
    hosts = [
        {**here_, "supersonic_name": "static", "triton_gpus": 2, "triton_replicas": 3},
        {
            **here_,
            "supersonic_name": "grows",
            "triton_gpus": 1,
            "triton_gpu_resource": MIG,
            "triton_replicas": 7,
            "supersonic_components": ["prometheus", "autoscaler"],
            "autoscaler_min_replicas": 0,
            "autoscaler_max_replicas": 9,
        },
        {**here_, "supersonic_name": "gone", "triton_state": "absent"},
        {"supersonic_name": "elsewhere", "triton_gpus": 1},
    ]
    found = gpu_demands(hosts, "k")
    assert [(d["name"], d["resource"], d["gpus"], d["servers"], d["max_servers"]) for d in found] == [
        ("static", GPU, 2, 3, 3),
        ("grows", MIG, 1, 0, 9),
    ]
    assert [d["name"] for d in gpu_demands(hosts)] == ["elsewhere"]


def test_demands_know_the_defaults() -> None:
    """Of variables that a host does not set."""
    triton = yaml.safe_load((CLONE / "roles/triton/defaults/main.yml").read_text())
    (bare,) = gpu_demands([{}])
    (full,) = gpu_demands([{**triton, "supersonic_name": "supersonic"}])
    assert bare == full


MANAGED = {"gpu_operator_mode": "managed", "gpu_operator_chart": "gpu-operator", "gpu_operator_chart_repository": "r"}


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({**MANAGED, "gpu_operator_chart_sha256": "abc"}, "64 digits"),
        ({**MANAGED, "gpu_operator_chart_repository": ""}, "./gpu-operator"),
        ({**MANAGED, "gpu_operator_chart": ""}, "name the chart"),
        (
            {**MANAGED, "gpu_operator_mig_strategy": "none", "gpu_operator_mig_config": "all-1g.5gb"},
            "nobody could use the parts",
        ),
        ({"gpu_operator_proof_resource": "gpu"}, "nvidia.com/gpu"),
        (
            {"gpu_operator_proof": True, "gpu_operator_proof_image": "", "gpu_operator_proof_command": ["true"]},
            "needs an image",
        ),
        (
            {"gpu_operator_proof": True, "gpu_operator_proof_image": "a:1", "gpu_operator_proof_command": []},
            "a command",
        ),
        ({"gpu_operator_instances": [{"name": "a", "servers": 3, "max_servers": 2}]}, "fewer than the least"),
        ({"gpu_operator_instances": [{"name": "a", "gpus": -1}]}, "0 or more"),
        ({"gpu_operator_instances": [{"name": "a", "resource": "gpu"}]}, "nvidia.com/gpu"),
        ({"gpu_operator_instances": [{"name": "a"}, {"name": "a"}]}, "twice"),
    ],
)
def test_wrong_variables(variables: dict[str, Any], text: str) -> None:
    (finding,) = gpu_operator.findings(variables)
    assert text in finding.message


@pytest.mark.parametrize("chart", ["gpu-operator", "oci://registry.example.org/gpu-operator", str(CLONE)])
def test_charts_that_may_be_there(chart: str) -> None:
    variables = {**MANAGED, "gpu_operator_chart": chart, "gpu_operator_mig_strategy": "single"}
    assert list(gpu_operator.findings(variables)) == []
    assert list(gpu_operator.missing_files(variables)) == []
    (finding,) = gpu_operator.missing_files({**variables, "gpu_operator_chart": "/nowhere/gpu-operator.tgz"})
    assert finding.variable == "gpu_operator_chart"
