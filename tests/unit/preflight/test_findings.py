# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found before a change; the server stands for clusters that nobody has at hand: with quota, limits, taints,
GPUs that others use, and parts that may not be read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import Connection
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring import prometheus as monitoring_prometheus
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight import capacity, findings
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight import checks as preflight_checks
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.resource_requests import demands, of_pod
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.clusters import made_claims
from ansible_collections.fastml.supersonic.tests.harness.answers import JsonHandler, served

GPU = "nvidia.com/gpu"
FORBIDDEN = 403
BASE = "/api/v1/namespaces/cms"
OURS = {"app.kubernetes.io/instance": "cms", "app.kubernetes.io/component": "triton"}


class Cluster(JsonHandler):
    """Answers by path: an object, the items of a list, or a status."""

    answers: dict[str, Any] = {}

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        found = {"/version": {"gitVersion": "v1.34.4"}, BASE: {"metadata": {}, "status": {"phase": "Active"}},
                 **self.answers}.get(parts.path, 404)  # fmt: skip
        if isinstance(found, int):
            self.answer({"kind": "Status", "status": "Failure", "message": "no", "code": found}, found)
        elif isinstance(found, list):
            # As the API server selects, as far as it matters here.
            fields = parse_qs(parts.query).get("fieldSelector", [""])[0]
            node = re.search(r"spec.nodeName=([^,]+)", fields)
            self.answer({"items": [item for item in found if not node or item["spec"].get("nodeName") == node[1]]})
        else:
            self.answer(found)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({"status": {"allowed": True}})


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with served(Cluster) as address:
        yield Api(Connection(host=address, source="a test"))


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cluster, "answers", {})


def deployment(
    component: str = "triton", replicas: int = 2, pod: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    resources = more.pop("resources", {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "4Gi"}})
    spec = {"containers": [{"name": component, "resources": resources, **more}], **(pod or {})}
    return {
        "kind": "Deployment",
        "metadata": {"name": f"cms-{component}", "labels": {"app.kubernetes.io/component": component}},
        "spec": {"replicas": replicas, "strategy": {"rollingUpdate": {"maxSurge": 1}}, "template": {"spec": spec}},
    }  # fmt: skip


def scaled(least: int, most: int) -> dict[str, Any]:
    spec = {"scaleTargetRef": {"name": "cms-triton"}, "minReplicaCount": least, "maxReplicaCount": most}
    return {"kind": "ScaledObject", "metadata": {"name": "cms-triton"}, "spec": spec}


def claim(name: str = "models", size: str = "10Gi", modes: tuple[str, ...] = ("ReadWriteMany",)) -> dict[str, Any]:
    spec = {"accessModes": list(modes), "resources": {"requests": {"storage": size}}}
    return {"kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def mounted(name: str, path: str = "/models") -> dict[str, Any]:
    """Parts of a pod that mounts a claim."""
    return {
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": name}}],
        "containers": [{"name": "triton", "volumeMounts": [{"name": "v", "mountPath": path}]}],
    }


def found(api: Api, *manifests: dict[str, Any], check: str, **wanted: Any) -> list[tuple[str, str, str]]:
    """Severity, subject and sentence of each row of one check."""
    wanted = {"namespace": "cms", "instance": "cms", "demands": demands({"triton": manifests}), **wanted}
    result = preflight_checks.inspect(api, wanted)
    for row in result["findings"]:
        assert set(row) == {"check", "severity", "subject", "found", "action", "why"}
        assert row["severity"] in findings.SEVERITIES
        assert row["why"], row
        # Whoever reads of a problem reads what to do.
        assert row["action"] or row["severity"] in ("ok", "info"), row
    rows = [row for row in result["findings"] if row["check"] == check]
    return [(row["severity"], row["subject"], f"{row['found']} {row['action']}".strip()) for row in rows]


def one(rows: list[tuple[str, str, str]], severity: str, *parts: str) -> str:
    """The only row, which has this severity and these words."""
    ((found_severity, subject, sentence),) = rows
    assert found_severity == severity, rows
    for part in parts:
        assert part in f"{subject}: {sentence}", rows
    return sentence


# ---- what manifests ask for ------------------------------------------------------------------------------------------


def test_pods_count_as_the_scheduler_counts_them() -> None:
    init = [
        {"name": "large", "resources": {"requests": {"memory": "8Gi"}}},
        {"name": "beside", "restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}},
    ]
    asked = demands({"triton": [deployment(pod={"initContainers": init}), scaled(0, 7)]})
    (pod,) = asked["pods"]
    assert (pod["least"], pod["most"], pod["surge"]) == (0, 7, 1)
    assert of_pod(pod, "requests") == {"cpu": 3 / 2, "memory": 8 * 2**30}
    assert of_pod(pod, "limits") == {"memory": 4 * 2**30}


def test_a_limit_that_has_no_request_is_one() -> None:
    (pod,) = demands({"triton": [deployment(resources={"limits": {GPU: 1, "cpu": 2}})]})["pods"]
    assert pod["containers"][0]["requests"] == {GPU: "1", "cpu": "2"}


@pytest.mark.parametrize(("surge", "number"), [("25%", 1), ("50%", 2), (3, 3), (0, 0)])
def test_an_update_adds_pods(surge: Any, number: int) -> None:
    manifest = deployment(replicas=4)
    manifest["spec"]["strategy"]["rollingUpdate"]["maxSurge"] = surge
    assert demands({"triton": [manifest]})["pods"][0]["surge"] == number
    manifest["spec"]["strategy"] = {"type": "Recreate"}
    assert demands({"triton": [manifest]})["pods"][0]["surge"] == 0


def test_an_update_needs_room_for_the_pods_that_it_adds() -> None:
    """Of one workload after the other: for that which adds most."""
    manifests = {role: [deployment(role, replicas=replicas)] for role, replicas in (("triton", 4), ("envoy", 2))}
    for (manifest,), surge in zip(manifests.values(), (1, 2), strict=True):
        manifest["spec"]["strategy"]["rollingUpdate"]["maxSurge"] = surge
    asked = demands(manifests)
    most, update = (capacity.needs(asked["pods"], asked, number) for number in ("most", "update"))
    assert (most["pods"], update["pods"]) == (6, 8)
    assert update["requests.cpu"] - most["requests.cpu"] == 2


def test_only_what_others_make_has_to_be_there() -> None:
    pod = {
        "imagePullSecrets": [{"name": "registry"}],
        "priorityClassName": "high",
        "volumes": [
            {"name": "a", "secret": {"secretName": "ours"}},
            {"name": "b", "secret": {"secretName": "theirs"}},
            {"name": "c", "secret": {"secretName": "perhaps", "optional": True}},
            {"name": "d", "projected": {"sources": [{"configMap": {"name": "settings"}}]}},
            {"name": "e", "secret": {"secretName": "issued"}},
        ],
    }
    env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "by-key", "key": "a"}}}]
    manifests = [
        deployment(pod=pod),
        deployment("envoy", env=env),
        {"kind": "Secret", "metadata": {"name": "ours"}, "stringData": {"password": "correct horse"}},
        {"kind": "Certificate", "metadata": {"name": "c"}, "spec": {"secretName": "issued"}},
    ]
    asked = demands({"triton": manifests})
    assert [(item["kind"], item["name"], item["pull"]) for item in asked["references"]] == [
        ("ConfigMap", "settings", False),
        ("PriorityClass", "high", False),
        ("Secret", "by-key", False),
        ("Secret", "registry", True),
        ("Secret", "theirs", False),
    ]
    assert "correct horse" not in json.dumps(asked)


# ---- quota and limits ------------------------------------------------------------------------------------------------


def quota_of(hard: dict[str, Any], used: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "q"}, "spec": {"hard": hard, **spec}, "status": {"hard": hard, "used": used or {}}}


@pytest.mark.parametrize(
    ("hard", "used", "severity", "words"),
    [
        ({"requests.cpu": "6", "pods": "9"}, {"requests.cpu": "1"}, "ok", "fits besides"),
        ({"cpu": "2"}, {"cpu": "1"}, "error", "The instance needs 2 of cpu at least, but of 2 that the ResourceQuota q "
         "allows, others have taken 1. Ask for more"),
        ({"requests.memory": "7Gi"}, {}, "warning", "needs 8Gi of requests.memory when it is largest, but of 7Gi"),
        ({"limits.memory": "17Gi"}, {}, "warning", "An update needs 20Gi of limits.memory while old and new pods are "
         "there, but of 17Gi that the ResourceQuota q allows, others have taken 0. Ask for more, set maxSurge"),
        ({"limits.cpu": "9"}, {}, "error", "refuses pods whose containers have no limits of cpu: triton of triton."),
        ({"requests.nvidia.com/gpu": "0"}, {}, "ok", "fits besides"),
        ({"pods": "1"}, {}, "error", "needs 2 of pods at least"),
        ({"requests.storage": "5Gi"}, {}, "error", "needs 10Gi of requests.storage at least, but of 5Gi"),
        ({"persistentvolumeclaims": "1"}, {"persistentvolumeclaims": "1"}, "error",
         "needs 1 of persistentvolumeclaims"),
        ({"configmaps": "3"}, {"configmaps": "3"}, "warning", "3 is taken, by this instance too where it is there"),
        ({"secrets": "0"}, {}, "ok", "fits besides"),
    ],
)  # fmt: skip
def test_quota(api: Api, hard: dict[str, Any], used: dict[str, Any], severity: str, words: str) -> None:
    Cluster.answers = {f"{BASE}/resourcequotas": [quota_of(hard, used)], f"{BASE}/limitranges": [], f"{BASE}/pods": []}
    one(found(api, deployment(), scaled(2, 4), claim(), check="quota"), severity, words)


def test_quota_leaves_out_what_the_instance_has_already(api: Api) -> None:
    pod = {"metadata": {"labels": OURS}, "spec": deployment()["spec"]["template"]["spec"]}
    gone = {**pod, "status": {"phase": "Succeeded"}}
    Cluster.answers = {
        f"{BASE}/resourcequotas": [quota_of({"requests.cpu": "2", "persistentvolumeclaims": "1"},
                                            {"requests.cpu": "2", "persistentvolumeclaims": "1"})],
        f"{BASE}/pods": [pod, pod, gone],
        f"{BASE}/persistentvolumeclaims/models": claim(),
    }  # fmt: skip
    manifest = deployment()
    manifest["spec"]["strategy"]["rollingUpdate"]["maxSurge"] = 0
    one(found(api, manifest, claim(), check="quota"), "ok", "q")
    Cluster.answers[f"{BASE}/pods"] = [pod, gone]
    one(found(api, manifest, claim(), check="quota"), "error", "others have taken 1")


def test_nobody_says_of_quota_what_is_not_known(api: Api) -> None:
    one(found(api, deployment(), check="quota"), "ok", "The namespace has none.")
    Cluster.answers = {BASE: 404}
    for check in ("quota", "limits"):
        one(found(api, deployment(), check=check), "info", "Not known, since the namespace cms does not exist yet.")
    Cluster.answers = {f"{BASE}/resourcequotas": FORBIDDEN}
    one(found(api, deployment(), check="quota"), "info", "may not be read")
    # How much of it is ours is not known, so that nothing stops.
    Cluster.answers = {f"{BASE}/resourcequotas": [quota_of({"pods": "1"}, {"pods": "1"})], f"{BASE}/pods": FORBIDDEN}
    one(found(api, deployment(), check="quota"), "warning", "1 is taken")
    by_class = {"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass"}]}}
    for spec, severity in (
        ({"scopes": ["BestEffort"]}, "ok"),
        ({"scopes": ["NotTerminating"]}, "error"),
        (by_class, "info"),
    ):
        Cluster.answers = {f"{BASE}/resourcequotas": [quota_of({"pods": "0"}, **spec)], f"{BASE}/pods": []}
        one(found(api, deployment(), check="quota"), severity)


def limit_range(kind: str = "Container", **limits: Any) -> dict[str, Any]:
    return {f"{BASE}/limitranges": [{"metadata": {"name": "l"}, "spec": {"limits": [{"type": kind, **limits}]}}]}


@pytest.mark.parametrize(
    ("limits", "severity", "words"),
    [
        ({"max": {"memory": "4Gi"}}, "ok", "Every pod is inside."),
        ({"max": {"memory": "3Gi"}}, "error",
         "triton, container triton: Its limit of memory is 4Gi, which has to be at "
         "most 3Gi by the LimitRange l"),
        ({"max": {"cpu": "8"}}, "error", "It has no limit of cpu, which has to be at most 8"),
        ({"max": {"cpu": "8"}, "default": {"cpu": "2"}}, "ok", "inside"),
        ({"min": {"cpu": "2"}}, "error", "Its request of cpu is 1, which has to be at least 2"),
        ({"min": {"ephemeral-storage": "1Gi"}}, "error", "Its request of ephemeral-storage is not there"),
        ({"min": {"ephemeral-storage": "1Gi"}, "defaultRequest": {"ephemeral-storage": "1Gi"}}, "ok", "inside"),
        ({"maxLimitRequestRatio": {"memory": "1.5"}}, "error", "(4Gi) may be at most 1.5 times its request (2Gi)"),
        ({"maxLimitRequestRatio": {"memory": "2"}}, "ok", "inside"),
        ({"kind": "Pod", "max": {"memory": "1Gi"}}, "error", "triton, the whole pod"),
        ({"kind": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}, "error", "claim models: Its limit of storage"),
    ],
)  # fmt: skip
def test_limits(api: Api, limits: dict[str, Any], severity: str, words: str) -> None:
    Cluster.answers = limit_range(**limits)
    one(found(api, deployment(), claim(), check="limits"), severity, words)


def test_limits_that_may_not_be_read(api: Api) -> None:
    Cluster.answers = {f"{BASE}/limitranges": FORBIDDEN}
    one(found(api, deployment(), check="limits"), "info", "may not be read")


# ---- nodes and accelerators ------------------------------------------------------------------------------------------


def node(name: str = "a", gpus: int = 0, **more: Any) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True"}
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **more.pop("labels", {})}},
        "spec": more,
        "status": {
            "conditions": [ready],
            "allocatable": {"cpu": "4", "memory": "16Gi", **({GPU: gpus} if gpus else {})},
        },
    }


TAINT = {"key": "dedicated", "value": "cms", "effect": "NoSchedule"}
ZONE = {"nodeSelector": {"zone": "ucsd"}}
L4 = {
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "product", "operator": "In", "values": ["L40", "L4"]}]}
                ]
            }
        }
    }
}


@pytest.mark.parametrize(
    ("nodes", "pod", "severity", "words"),
    [
        ([node()], {}, "ok", "at least one is right"),
        ([node()], ZONE, "warning",
         "None of 1 node has the labels that its pods ask for (zone=ucsd). Correct triton_node"),
        ([node(labels={"zone": "ucsd"})], ZONE, "ok", "right"),
        ([node()], L4, "warning", "(product In L40, L4)"),
        ([node(taints=[TAINT])], {}, "warning", "the taints dedicated=cms:NoSchedule are not tolerated"),
        ([node(taints=[TAINT])], {"tolerations": [{"key": "dedicated", "operator": "Exists"}]}, "ok", "right"),
        ([node(unschedulable=True)], {}, "warning", "1 of these are not ready or cordoned"),
        ([node(), node("b", taints=[TAINT])], {}, "ok", "right"),
        (FORBIDDEN, {}, "info", "may not be read"),
    ],
)  # fmt: skip
def test_nodes(api: Api, nodes: Any, pod: dict[str, Any], severity: str, words: str) -> None:
    Cluster.answers = {"/api/v1/nodes": nodes}
    one(found(api, deployment(pod=pod), check="nodes"), severity, words)


def test_nodes_that_are_too_small(api: Api) -> None:
    Cluster.answers = {"/api/v1/nodes": [node()]}
    large = deployment(resources={"requests": {"cpu": 2, "memory": "20Gi"}})
    one(found(api, large, check="nodes"), "warning", "2 of cpu and 20Gi of memory", "4 of cpu and 16Gi of memory")


def accelerated(replicas: int = 2, gpus: int = 1, **pod: Any) -> dict[str, Any]:
    return deployment(replicas=replicas, pod=pod, resources={"requests": {"cpu": 1, GPU: gpus}, "limits": {GPU: gpus}})


def pod_on(name: str, gpus: int, namespace: str = "atlas", **labels: str) -> dict[str, Any]:
    spec = {"nodeName": name, "containers": [{"name": "a", "resources": {"limits": {GPU: gpus}}}]}
    return {"metadata": {"name": "p", "namespace": namespace, "labels": labels}, "spec": spec}


@pytest.mark.parametrize(
    ("nodes", "pods", "manifests", "severity", "words"),
    [
        ([node("a", 4)], [], [accelerated()], "ok",
         "Of 4 on the right nodes (1) 4 are free of others: room for all of 2"),
        ([node("a", 4)], [pod_on("a", 3)], [accelerated()], "warning",
         "1 is free of others: room for 1 of the 2 servers"),
        ([node("a", 4)], [pod_on("a", 3, "cms", **OURS)], [accelerated()], "ok", "4 are free of others"),
        ([node("a", 4)], [], [accelerated(), scaled(1, 9)], "info", "room for 4 of at most 9 servers"),
        ([node("a", 4), node("b")], [pod_on("b", 9)], [accelerated(4)], "ok", "room for all of 4"),
        ([node("a", 1), node("b", 1)], [], [accelerated(1, 2)], "error", "No node offers 2 of nvidia.com/gpu"),
        ([node("a", 4)], [], [accelerated(**ZONE)], "error",
         "Nodes that offer 1 of nvidia.com/gpu for one pod: 1, but none of them has the labels that servers ask for "
         "(zone=ucsd). Correct triton_node_selector"),
        ([node("a", 4, labels={"zone": "ucsd"}, taints=[TAINT])], [], [accelerated(**ZONE)], "error",
         "the taints dedicated=cms:NoSchedule are not tolerated"),
        ([node("a", 4)], FORBIDDEN, [accelerated()], "info",
         "Right nodes: 1, with 4. What pods of others have taken may"),
        (FORBIDDEN, [], [accelerated()], "info", "The nodes of the cluster may not be read"),
    ],
)  # fmt: skip
def test_gpus(api: Api, nodes: Any, pods: Any, manifests: list[dict[str, Any]], severity: str, words: str) -> None:
    Cluster.answers = {"/api/v1/nodes": nodes, "/api/v1/pods": pods}
    gpus = manifests[0]["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"][GPU]
    one(found(api, *manifests, check="gpus", node_resources={GPU: gpus}), severity, words)


def test_nodes_that_come_on_demand(api: Api) -> None:
    Cluster.answers = {"/api/v1/nodes": [node()], "/api/v1/pods": []}
    one(found(api, accelerated(**ZONE), check="gpus"), "info", "they are to come on demand")
    one(found(api, accelerated(**ZONE), check="nodes"), "info", "None of 1 node ")


# ---- claims, CVMFS ---------------------------------------------------------------------------------------------------


def live_claim(phase: str = "Bound", modes: tuple[str, ...] = ("ReadWriteMany",), **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "models"}, "spec": spec, "status": {"phase": phase, "accessModes": list(modes)}}


@pytest.mark.parametrize(
    ("answer", "wanted", "severity", "words"),
    [
        (live_claim(), {}, "ok", "It is bound, with ReadWriteMany, for Deployment cms-triton"),
        (404, {}, "error",
         "The claim models, mounted by Deployment cms-triton, does not exist in the namespace cms. Make"),
        (404, {"claims_may_come": ["models"]}, "warning", "yet. Another instance of the inventory makes it. Deploy"),
        (404, {"claims_may_come": ["other"]}, "error", "does not exist in the namespace cms. Make"),
        (FORBIDDEN, {}, "info", "may not be read"),
        (live_claim("Lost"), {}, "error", "is Lost. See why: kubectl -n cms describe pvc models"),
        (live_claim("Pending"), {}, "warning", "is Pending"),
        (live_claim("Pending", storageClassName="late"), {}, "ok", "is bound when the first pod uses it"),
        (live_claim(modes=("ReadWriteOnce",)), {}, "warning",
         "is ReadWriteOnce, for one node, and up to 2 pods mount it"),
        (live_claim(modes=("ReadWriteOncePod",)), {}, "error", "for a single pod, but up to 2 mount it"),
        (live_claim(modes=("ReadOnlyMany",)), {}, "ok", "bound"),
    ],
)  # fmt: skip
def test_claims(api: Api, answer: Any, wanted: dict[str, Any], severity: str, words: str) -> None:
    Cluster.answers = {
        f"{BASE}/persistentvolumeclaims/models": answer,
        "/apis/storage.k8s.io/v1/storageclasses/late": {"volumeBindingMode": "WaitForFirstConsumer"},
    }
    one(found(api, deployment(pod=mounted("models")), check="claims", **wanted), severity, words)


def test_claims_that_other_instances_make() -> None:
    maker = {
        "inventory_hostname": "a",
        "supersonic_namespace": "cms",
        "supersonic_kubeconfig": "/k",
        "model_repository_sources": ["/m"],
    }
    (row,) = made_claims([maker])
    assert row == {
        "host": "a",
        "claim": "supersonic-models",
        "supersonic_namespace": "cms",
        "supersonic_kubeconfig": "/k",
        "supersonic_context": "",
    }
    assert made_claims([{**maker, "supersonic_name": "b"}])[0]["claim"] == "b-models"
    assert made_claims([{**maker, "model_repository_claim": "c"}])[0]["claim"] == "c"
    different: list[dict[str, Any]] = [
        {"model_repository_sources": []},
        {"model_repository_path": "/p"},
        {"model_repository_mode": "existing"},
        {"model_repository_state": "absent"},
    ]
    for nothing in different:
        assert made_claims([{**maker, **nothing}]) == []


@pytest.mark.parametrize(
    ("targets", "phases", "severity"),
    [(3, [], "ok"), (0, [], "info"), (0, ["Pending"], "info"), (0, ["Running", "Running"], "warning")],
)
def test_a_prometheus_that_scrapes_nothing(api: Api, targets: int, phases: list[str], severity: str) -> None:
    """An instance that runs and is scraped nowhere is not right; one that is only going to be cannot be seen yet."""
    Cluster.answers = {f"{BASE}/pods": [{"metadata": {}, "status": {"phase": phase}} for phase in phases]}
    known = monitoring_prometheus.Known("It answers.", targets)
    (row,) = preflight_checks._prometheus(api, "cms", "cms", lambda: known)
    assert (row.check, row.severity) == ("prometheus", severity)
    assert ("Yet 2 pod(s) of cms run there." in row.found) == (severity == "warning")


def test_claims_that_the_instance_makes(api: Api) -> None:
    pod = deployment(pod=mounted("models"))
    one(found(api, pod, claim(), check="claims"), "ok", "It is made with ReadWriteMany.")
    one(found(api, pod, claim(modes=("ReadWriteOnce",)), check="claims"), "warning", "for one node")
    Cluster.answers = {"/api/v1/nodes": [node()]}
    one(found(api, pod, claim(modes=("ReadWriteOnce",)), check="claims"), "ok", "It is made with ReadWriteOnce.")
    Cluster.answers = {}
    alone = deployment(replicas=1, pod=mounted("models"))
    one(found(api, alone, claim(modes=("ReadWriteOnce",)), check="claims"), "ok", "ReadWriteOnce")


WRITTEN = [
    {"variable": "model_repository_size", "value": "5Gi", "origin": "all.yml:3"},
    {"variable": "prometheus_size", "value": "5Gi", "origin": "all.yml:4"},
]


@pytest.mark.parametrize(
    ("there", "asked", "severity", "words"),
    [
        ({}, {}, "ok", "It is made with"),
        ({"size": "10240Mi"}, {}, "ok", "It is made with"),
        (404, {}, "ok", "It is made with"),
        (FORBIDDEN, {}, "ok", "It is made with"),
        ({}, {"size": "5Gi"}, "error",
         "has 10Gi, and is to have 5Gi, but no claim shrinks. Correct model_repository_size (all.yml:3); for another "
         "claim take a backup (playbooks/backup.yml), remove this one"),
        ({}, {"size": "5Gi", "role": "prometheus"}, "error",
         "Correct prometheus_size (all.yml:4); for another claim this one has to be removed, and what is in it goes"),
        ({"size": "5Gi"}, {}, "error", "to have 10Gi, but its class rigid lets none grow (allowVolumeExpansion is not"),
        ({"size": "5Gi", "class": "elastic"}, {}, "ok", "It is made with"),
        ({"size": "5Gi", "class": "hidden"}, {}, "ok", "It is made with"),
        ({"size": "5Gi", "class": None}, {}, "error", "but its class (none) lets none grow"),
        ({"size": "5Gi", "class": "elastic", "phase": "Pending"}, {}, "error",
         "but none grows that is not bound. Correct model_repository_size; nothing is in it yet, so that it can be"),
        ({"size": "5Gi", "phase": "Lost"}, {}, "error",
         "none grows that is not bound. Correct model_repository_size; its volume and what was in it are lost, so"),
        ({}, {"class": "elastic"}, "error",
         "has the class rigid, and is to have elastic, but no claim changes its class. Correct model_repository_st"),
        # Kubernetes lets it have one, since 1.28.
        ({"class": None}, {"class": "elastic"}, "ok", "It is made with"),
        ({"class": ""}, {"class": "elastic"}, "error", "has the class (none), and is to have elastic"),
        ({"modes": ("ReadOnlyMany",)}, {}, "error",
         "has the access modes ReadOnlyMany, and is to have ReadWriteMany, but no claim changes them."),
    ],
)  # fmt: skip
def test_claims_of_ours_that_are_there(api: Api, there: Any, asked: dict[str, str], severity: str, words: str) -> None:
    """What Kubernetes would refuse in the middle of a run is told before."""
    live = there
    if isinstance(there, dict):
        live = live_claim(there.get("phase", "Bound"), storageClassName=there.get("class", "rigid"))
        live["spec"] |= claim(size=there.get("size", "10Gi"), modes=there.get("modes", ("ReadWriteMany",)))["spec"]
    classes = "/apis/storage.k8s.io/v1/storageclasses"
    Cluster.answers = {
        f"{BASE}/persistentvolumeclaims/models": live,
        f"{classes}/rigid": {"metadata": {"name": "rigid"}},
        f"{classes}/elastic": {"metadata": {"name": "elastic"}, "allowVolumeExpansion": True},
        f"{classes}/hidden": FORBIDDEN,
    }
    wanted = claim(size=asked.get("size", "10Gi"))
    if "class" in asked:
        wanted["spec"]["storageClassName"] = asked["class"]
    sets = {"triton": [deployment(pod=mounted("models"))], asked.get("role", "model_repository"): [wanted]}
    one(found(api, check="claims", demands=demands(sets), origins=WRITTEN), severity, words)


def test_publishing_needs_its_claim_now(api: Api) -> None:
    publisher = {"claim": "models", "image_pull_secrets": [], "resources": {}}
    asked = demands({"triton": [deployment(pod=mounted("models"))]}, publisher)
    rows = found(api, check="claims", demands=asked, claims_may_come=["models"])
    one(rows, "error", "mounted by Deployment cms-triton and the pod that publishes models, does not exist")


DRIVER = "/apis/storage.k8s.io/v1/csidrivers/cvmfs.csi.cern.ch"


@pytest.mark.parametrize(
    ("answer", "driver", "severity", "words"),
    [
        (live_claim(), {"metadata": {}}, "ok", "is bound (cvmfs.csi.cern.ch is installed)"),
        (live_claim(), 404, "ok", "not by cvmfs.csi.cern.ch"),
        (live_claim(), FORBIDDEN, "ok", "is bound."),
        (404, 404, "warning", "the CSI driver cvmfs.csi.cern.ch is not installed. Ask for CVMFS"),
        (404, {"metadata": {}}, "info", "is not bound yet; cvmfs.csi.cern.ch is installed"),
        (404, FORBIDDEN, "info", "whether cvmfs.csi.cern.ch is installed may not be read"),
        (FORBIDDEN, 404, "info", "The claim models may not be read"),
    ],
)
def test_cvmfs(api: Api, answer: Any, driver: Any, severity: str, words: str) -> None:
    Cluster.answers = {f"{BASE}/persistentvolumeclaims/models": answer, DRIVER: driver}
    one(found(api, deployment(pod=mounted("models", "/cvmfs")), check="cvmfs"), severity, words)


def test_cvmfs_of_the_nodes_cannot_be_seen(api: Api) -> None:
    pod = mounted("models", "/cvmfs")
    pod["volumes"] = [{"name": "v", "hostPath": {"path": "/cvmfs"}}]
    one(
        found(api, deployment(pod=pod), check="cvmfs"),
        "info",
        "Whether CVMFS is mounted there cannot be seen from here",
    )


# ---- Secrets, others, hosts ------------------------------------------------------------------------------------------

PULL = {"imagePullSecrets": [{"name": "registry"}]}


@pytest.mark.parametrize(
    ("answer", "severity", "words"),
    [
        ({"type": "kubernetes.io/dockerconfigjson"}, "ok", "is there (1)"),
        (
            {"type": "Opaque"},
            "error",
            "is of the type Opaque, so that no image is pulled with it. Make it with kubectl",
        ),
        (
            404,
            "error",
            "The Secret registry, needed by Deployment cms-triton for its image, does not exist in the name",
        ),
        (FORBIDDEN, "info", "The Secret registry, needed by Deployment cms-triton, may not be read"),
    ],
)
def test_pull_secrets(api: Api, answer: Any, severity: str, words: str) -> None:
    Cluster.answers = {f"{BASE}/secrets/registry": answer}
    one(found(api, deployment(pod=PULL), check="secrets"), severity, words)


@pytest.mark.parametrize(
    ("pod", "path", "kind"),
    [
        ({"priorityClassName": "x"}, "/apis/scheduling.k8s.io/v1/priorityclasses/x", "PriorityClass"),
        ({"runtimeClassName": "x"}, "/apis/node.k8s.io/v1/runtimeclasses/x", "RuntimeClass"),
        ({"serviceAccountName": "x"}, f"{BASE}/serviceaccounts/x", "ServiceAccount"),
        ({"volumes": [{"name": "v", "configMap": {"name": "x"}}]}, f"{BASE}/configmaps/x", "ConfigMap"),
    ],
)
def test_other_objects(api: Api, pod: dict[str, Any], path: str, kind: str) -> None:
    one(
        found(api, deployment(pod=pod), check="objects"),
        "error",
        f"The {kind} x, needed by Deployment cms-triton, does",
    )
    Cluster.answers = {path: {"metadata": {}}}
    one(found(api, deployment(pod=pod), check="objects"), "ok", "is there")


def test_what_cannot_be_in_a_namespace_that_is_only_made(api: Api) -> None:
    Cluster.answers = {BASE: 404}
    manifest = deployment(pod={**mounted("models"), **PULL})
    wanted = {"create_namespace": True}
    one(found(api, manifest, check="claims", **wanted), "warning", "the namespace cms is only made now")
    one(found(api, manifest, check="secrets", **wanted), "warning", "The Secret registry is needed by")
    one(found(api, manifest, check="namespace", **wanted), "ok", "is made")


def ingress(name: str = "cms-envoy", host: str = "sonic.example.org", path: str = "/", **more: str) -> dict[str, Any]:
    rules = [{"host": host, "http": {"paths": [{"path": path}]}}]
    kind = {"ingressClassName": more["kind"]} if "kind" in more else {}
    metadata = {"name": name, "namespace": more.get("namespace", "cms")}
    return {"kind": "Ingress", "metadata": metadata, "spec": {"rules": rules, **kind}}


@pytest.mark.parametrize(
    ("others", "severity", "words"),
    [
        ([ingress()], "ok", "No other Ingress in the cluster uses these hosts."),
        ([ingress(namespace="atlas", name="a")], "error",
         "The Ingress a in the namespace atlas leads sonic.example.org/ "
         "elsewhere already. Take another host"),
        ([ingress(namespace="atlas", path="/x")], "ok", "No other"),
        ([ingress(namespace="atlas", host="b.example.org")], "ok", "No other"),
        ([ingress(namespace="atlas", kind="internal")], "ok", "No other"),
        ([ingress(namespace="atlas", kind="public")], "error", "elsewhere already"),
    ],
)  # fmt: skip
def test_hosts(api: Api, others: list[dict[str, Any]], severity: str, words: str) -> None:
    Cluster.answers = {"/apis/networking.k8s.io/v1/ingresses": others}
    one(found(api, deployment(), ingress(kind="public"), check="ingress"), severity, words)


def test_hosts_of_the_own_namespace_alone(api: Api) -> None:
    Cluster.answers = {
        "/apis/networking.k8s.io/v1/ingresses": FORBIDDEN,
        "/apis/networking.k8s.io/v1/namespaces/cms/ingresses": [ingress(), ingress("other")],
    }
    one(found(api, deployment(), ingress(), check="ingress"), "error", "The Ingress other in the namespace cms")
    Cluster.answers["/apis/networking.k8s.io/v1/namespaces/cms/ingresses"] = []
    one(found(api, deployment(), ingress(), check="ingress"), "ok", "the only one that we may look into")
    Cluster.answers["/apis/networking.k8s.io/v1/namespaces/cms/ingresses"] = FORBIDDEN
    one(found(api, deployment(), ingress(), check="ingress"), "info", "may not be read")


# ---- policy ----------------------------------------------------------------------------------------------------------


def pair(request: str | None, limit: str | None, name: str = "memory") -> dict[str, Any]:
    return {"requests": {name: request} if request else {}, "limits": {name: limit} if limit else {}}


def both(cpu: tuple[str, str], memory: tuple[str, str]) -> dict[str, Any]:
    return {"requests": {"cpu": cpu[0], "memory": memory[0]}, "limits": {"cpu": cpu[1], "memory": memory[1]}}


@pytest.mark.parametrize(
    ("manifests", "policy", "words"),
    [
        # IceCube's servers are exactly at NRP's rule.
        ([deployment(resources=both(("2", "2.4"), ("20Gi", "24Gi")))], {"limits_over_requests": 1.2}, []),
        ([deployment(resources=both(("2", "2"), ("20Gi", "25Gi")))], {"limits_over_requests": 1.2},
         ["triton, container triton: memory: request 20Gi, limit 25Gi. A limit may be at most 1.2 times its request. "
          "Lower limits.memory or raise requests.memory in triton_resources"]),
        ([deployment(resources=pair("2", "2", "cpu"))], {"limits_over_requests": 1.2}, ["no limit of memory"]),
        ([deployment(replicas=101, resources=both(("1", "1.1"), ("1Gi", "1Gi")))], {"equal_limits_above_pods": 100},
         ["cpu: request 1, limit 1.1. With 101 pods at most, more than 100, limits have to equal requests."]),
        ([deployment(replicas=100, resources=both(("1", "1.1"), ("1Gi", "1Gi")))], {"equal_limits_above_pods": 100},
         []),
        ([deployment(resources=pair("1", None, "cpu"))], {"require_requests": True}, ["It requests no memory."]),
        ([deployment(resources=pair("1", "1", "cpu"))], {"require_limits": True}, ["no limit of memory"]),
        ([deployment(replicas=3)], {"max_replicas": 2}, ["There may be 3 servers, but the site allows 2. Lower"]),
        ([deployment("envoy", replicas=3)], {"max_replicas": 2}, []),
        ([accelerated(), scaled(0, 5)], {"max_gpus": 4}, ["The instance may ask for 5 GPUs at most, but the"]),
        ([accelerated(2, 2)], {"max_always_on_gpus": 0}, ["The instance holds 4 GPUs while nobody sends requests"]),
        ([accelerated(2, 2), scaled(0, 5)], {"max_always_on_gpus": 0}, []),
    ],
)  # fmt: skip
def test_policy(api: Api, manifests: list[dict[str, Any]], policy: dict[str, Any], words: list[str]) -> None:
    rows = found(api, *manifests, check="policy", policy={**policy, "source": "a page"})
    if not words:
        one(rows, "ok", "The instance keeps them")
    assert len(rows) == max(1, len(words)), rows
    for (severity, subject, sentence), part in zip(rows, words, strict=False):
        assert severity == "error"
        assert part in f"{subject}: {sentence}"


def test_policy_that_is_only_shown(api: Api) -> None:
    rows = found(api, deployment(replicas=3), check="policy", policy={"max_replicas": 2, "severity": "warning"})
    one(rows, "warning", "3 servers")
    assert not found(api, deployment(), check="policy", policy={"severity": "warning"})


# ---- all together ----------------------------------------------------------------------------------------------------


def test_what_is_tolerated_stops_nothing(api: Api) -> None:
    Cluster.answers = {f"{BASE}/resourcequotas": [quota_of({"pods": "0"})], f"{BASE}/pods": []}
    wanted = {"namespace": "cms", "instance": "cms", "demands": demands({"triton": [deployment(pod=PULL)]})}
    problems = preflight_checks.inspect(api, wanted)["problems"]
    assert [text.partition(",")[0] for text in problems] == [
        "The instance needs 2 of pods at least", "The Secret registry"
    ]  # fmt: skip
    assert preflight_checks.inspect(api, {**wanted, "tolerated": ["quota", "secrets"]})["problems"] == []


def test_a_part_that_breaks_is_a_row(api: Api) -> None:
    """An answer that nobody expects of one API hides nothing of the others."""
    Cluster.answers = {f"{BASE}/persistentvolumeclaims/models": 410, "/apis/networking.k8s.io/v1/ingresses": 410}
    one(found(api, deployment(pod=mounted("models")), check="claims"), "info", "could not be read")
    one(found(api, ingress(), check="ingress"), "info", "could not be read")


def test_rows_come_by_check_and_urgency(api: Api) -> None:
    manifest = deployment(pod={**PULL, **mounted("models")})
    wanted = {"namespace": "cms", "demands": demands({"triton": [deepcopy(manifest)]}), "policy": {"max_replicas": 1}}
    checks = [row["check"] for row in preflight_checks.inspect(api, wanted)["findings"]]
    assert checks == sorted(checks, key=list(findings.CHECKS).index)
    assert {"version", "namespace", "quota", "limits", "claims", "secrets", "policy"} <= set(checks)


# ---- what this run installs in the cluster ---------------------------------------------------------------------------
SCALED_OBJECT = {"api_version": "keda.sh/v1alpha1", "kind": "ScaledObject"}
BROUGHT = [
    {"component": "KEDA", "kinds": [SCALED_OBJECT]},
    {"component": "the GPU operator", "node_resources": [GPU, "nvidia.com/mig-*"]},
]


def test_a_kind_that_this_run_installs_counts_as_there(api: Api) -> None:
    said = one(found(api, check="kinds", kinds=[SCALED_OBJECT], brought=BROUGHT), "ok", "ScaledObject")
    assert said == (
        "The cluster does not serve ScaledObject of keda.sh/v1alpha1 yet; KEDA, which this run installs, brings it."
    )


@pytest.mark.parametrize(
    "brought",
    [
        [],
        [{"component": "KEDA", "kinds": [{"api_version": "keda.sh/v1", "kind": "ScaledObject"}]}],
        [{"component": "KEDA", "kinds": [{"api_version": "keda.sh/v1alpha1", "kind": "ScaledJob"}]}],
    ],
    ids=["nothing", "other version", "other kind"],
)
def test_a_kind_that_this_run_does_not_install_is_missing(api: Api, brought: list[dict[str, Any]]) -> None:
    rows = found(api, check="kinds", kinds=[SCALED_OBJECT], brought=brought)
    one(rows, "error", "The cluster has no kind ScaledObject of keda.sh/v1alpha1, which comes with KEDA.")


@pytest.mark.parametrize("resource", [GPU, "nvidia.com/mig-1g.5gb"])
def test_accelerators_that_this_run_installs_count_as_there(api: Api, resource: str) -> None:
    Cluster.answers = {"/api/v1/nodes": [node("bare")]}
    wanted = deployment(replicas=1, resources={"limits": {resource: "1"}})
    rows = found(api, wanted, check="gpus", node_resources={resource: 1}, brought=BROUGHT)
    assert ("ok", resource) in [(severity, subject) for severity, subject, _sentence in rows], rows
    assert "error" not in [severity for severity, _subject, _sentence in rows], rows
    rows = found(api, wanted, check="gpus", node_resources={resource: 1}, brought=BROUGHT[:1])
    assert "error" in [severity for severity, _subject, _sentence in rows], rows


@pytest.mark.parametrize(
    ("more", "granted"), [({}, True), ({"resourceNames": []}, True), ({"resourceNames": ["cms-triton"]}, False)]
)
def test_rights_on_one_named_object_are_no_rights_on_all(more: dict[str, Any], granted: bool) -> None:
    rule = {"verbs": ["patch"], "apiGroups": ["apps"], "resources": ["deployments"], **more}
    permission = {"verb": "patch", "group": "apps", "resource": "deployments"}
    assert preflight_checks._covers(rule, permission) is granted


@pytest.mark.parametrize(
    ("source", "kind", "path"),
    [("secretRef", "Secret", f"{BASE}/secrets/x"), ("configMapRef", "ConfigMap", f"{BASE}/configmaps/x")],
)
@pytest.mark.parametrize("optional", [False, True])
def test_variables_from_a_whole_object_need_it(api: Api, source: str, kind: str, path: str, optional: bool) -> None:
    manifest = deployment(envFrom=[{source: {"name": "x", "optional": optional}}])
    check = "secrets" if kind == "Secret" else "objects"
    words = f"The {kind} x, needed by Deployment cms-triton"
    missing = [row for row in found(api, manifest, check=check) if words in row[2]]
    assert [row[0] for row in missing] == ([] if optional else ["error"])
    Cluster.answers = {path: {"metadata": {}, "type": "Opaque"}}
    assert not [row for row in found(api, manifest, check=check) if row[0] == "error"]
