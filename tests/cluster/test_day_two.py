# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One real instance through what comes after its first day: an incident, a pause, a node that is drained under load, a
backup, and its end. In this order; each test leaves it as it was."""

from __future__ import annotations

import base64
import json
import shutil
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ansible_collections.fastml.supersonic.plugins.module_utils._instance.pause_annotations import PAUSED_REPLICAS
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.status_page import moment, verdict
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.replicas import BEFORE_DRAIN, BEFORE_PAUSE
from ansible_collections.fastml.supersonic.tests.harness.clients import load
from ansible_collections.fastml.supersonic.tests.harness.keda import Keda
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, claim, config_map, secret, workload
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import KUBECONFIG, LOCAL, Instance
from ansible_collections.fastml.supersonic.tests.harness.processes import until

NAME = "kept"
TOKENS = {"ours": ["a-client-0123456789abcd"], "theirs": ["b-client-9876543210dcba"]}
PASSWORD = "a-password-by-hand-77c1"
IMAGE = "docker.io/fastml/triton-local:2.51.0"
# Times by which no request is lost, as by default; the harness' instances are quick instead.
UNHURRIED = {
    "triton_drain_wait": 8,
    "triton_exit_timeout": 30,
    "triton_replicas": 2,
    "envoy_endpoint_wait": 6,
    "envoy_drain_time": 8,
    "envoy_in_flight_wait": 6,
}


@pytest.fixture(scope="module")
def instance(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("day-two")
    shutil.copytree(LOCAL / "models" / "identity", folder / "models" / "identity")
    variables = {
        **UNHURRIED,
        "model_repository_sources": [str(folder / "models")],
        "model_repository_size": "64Mi",
        "envoy_tokens": TOKENS,
        "verify_token": TOKENS["ours"][0],
        "triton_pod_annotations": {"note": f"https://robot:{PASSWORD}@example.org/"},
    }
    found = Instance(cluster, folder, NAME, variables)
    try:
        found.site()
        yield found
    finally:
        found.remove()


def module(instance: Instance, name: str, **options: Any) -> dict[str, Any]:
    given = {"kubeconfig": str(KUBECONFIG), "name": NAME, "namespace": instance.namespace, **options}
    result = run_module(name, given)
    assert not result["failed"], result
    return result


def triton(instance: Instance) -> dict[str, Any]:
    return instance.cluster.there(f"/apis/apps/v1/namespaces/{instance.namespace}/deployments/{NAME}-triton")


def ask(instance: Instance) -> grpc.StatusCode:
    """What a client of the endpoint gets."""
    with grpc.insecure_channel(instance.address()) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            stub.ModelReady(
                service_pb2.ModelReadyRequest(name="identity"),
                timeout=30,
                metadata=[("authorization", f"Bearer {TOKENS['ours'][0]}")],
            )
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_a_bundle_has_everything_but_secrets(instance: Instance, tmp_path: Path) -> None:
    space = f"/api/v1/namespaces/{instance.namespace}"
    instance.cluster.create(f"{space}/secrets", secret("by-hand", password=PASSWORD))
    done = instance.run("playbooks/bundle.yml", bundle_directory=str(tmp_path))
    assert done.code == 0, done.output
    path = tmp_path / f"{NAME}.tar.gz"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    root = f"{instance.namespace}-{NAME}/"
    with tarfile.open(path) as archive:
        files = {
            member.name.removeprefix(root): archive.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in archive
        }
    manifest = json.loads(files["MANIFEST.json"])
    assert set(manifest["files"]) == set(files) - {"MANIFEST.json"}
    # There is no Prometheus, and nobody may be surprised that nothing is known of the last hour.
    assert set(manifest["missing"]) <= {"objects/PodMetrics.metrics.k8s.io"}, manifest["missing"]
    assert json.loads(files["status.json"])["unknown"]["traffic"].startswith("no Prometheus is listed, neither in ")
    assert json.loads(files["verification.json"])["passed"]

    for kind, name in (
        ("Deployment.apps", f"{NAME}-triton"),
        ("Service", NAME),
        ("ConfigMap", f"{NAME}-envoy"),
        ("Secret", f"{NAME}-envoy-access"),
        ("PersistentVolumeClaim", f"{NAME}-models"),
        ("ConfigMap", f"{NAME}-triton-applyset"),
    ):
        assert f"objects/{kind}/{name}.yaml" in files
    assert "Scheduled" in files["events.txt"]
    servers = [pod["metadata"]["name"] for pod in instance.pods("triton").values()]
    (envoy,) = (pod["metadata"]["name"] for pod in instance.pods("envoy").values())
    for server in servers:
        assert "identity" in files[f"triton/{server}/repository_index.json"]
        assert "nv_inference_request_success" in files[f"triton/{server}/metrics.txt"]
        assert f"logs/{server}/triton.log" in files
    assert "triton" in files[f"envoy/{envoy}/envoy/clusters.txt"]
    assert "ListenersConfigDump" in files[f"envoy/{envoy}/envoy/config_dump.json"]
    assert "server." in files[f"envoy/{envoy}/envoy/stats.txt"]

    secrets = {PASSWORD, *(token for tokens in TOKENS.values() for token in tokens)}
    for live in instance.cluster.api.list(f"{space}/secrets", "Secrets"):
        for value in (live.get("data") or {}).values():
            secrets |= {value, base64.b64decode(value).decode(errors="replace")}
    for token in tuple(secrets):
        # As the endpoint's filter has them.
        secrets.add(", ".join(map(str, token.encode())))
    for name, text in files.items():
        found = [value[:4] + "..." for value in secrets if len(value) > 5 and value in text]
        assert not found, f"{name}: {found}"
    assert "[removed" in files[f"objects/Pod/{servers[0]}.yaml"]


def test_a_pause_holds_until_it_is_taken_back(instance: Instance) -> None:
    assert ask(instance) is grpc.StatusCode.OK
    paused = module(instance, "instance_pause", servers=0, reason="a test")
    assert paused["changed"]
    assert (paused["servers"], paused["before"], paused["autoscaled"]) == (0, 2, False)
    assert module(instance, "instance_pause", servers=0)["changed"] is False
    until(lambda: ask(instance) is grpc.StatusCode.UNAVAILABLE, 30)

    # The inventory still wants two.
    done = instance.site("--tags", "triton")
    assert "an operator has paused the instance, and the number of servers is left alone" in done.text
    assert triton(instance)["spec"]["replicas"] == 0
    told = module(instance, "service_status")["status"]
    pause = told["autoscaler"]["pause"]
    assert (pause["servers"], pause["reason"]) == (0, "a test")
    found = verdict(told)
    assert (found.level, found.reasons[0]) == ("attention", pause_in_words(pause)), found

    resumed = module(instance, "instance_pause", state="resumed")
    assert resumed["changed"]
    assert resumed["servers"] == 2
    live = triton(instance)
    assert live["status"]["readyReplicas"] == 2
    assert BEFORE_PAUSE not in live["metadata"].get("annotations", {})
    # Nobody but the role has the number again.
    managers = [
        entry["manager"]
        for entry in live["metadata"]["managedFields"]
        if "f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {})
    ]
    assert managers == ["fastml.supersonic"]
    assert module(instance, "instance_pause", state="resumed")["changed"] is False
    until(lambda: ask(instance) is grpc.StatusCode.OK, 60)


def pause_in_words(pause: dict[str, Any]) -> str:
    return f"paused by an operator at 0 servers since {moment(pause['since'])}: a test"


@pytest.mark.thorough
def test_pods_are_replaced_one_by_one_under_load(instance: Instance, tmp_path: Path) -> None:
    """The node is not cordoned, since there is no other one for the replacements."""
    (node,) = {pod["spec"]["nodeName"] for pod in instance.pods("triton").values()}
    refused = run_module(
        "instance_drain",
        {"kubeconfig": str(KUBECONFIG), "name": NAME, "namespace": instance.namespace, "node": node, "cordon": False},
    )
    assert refused["failed"]
    assert f"{node} is the only node of the cluster" in refused["msg"]
    until(lambda: instance.healthy_servers() == [2], 60)
    before = {pod["metadata"]["name"] for part in ("triton", "envoy") for pod in instance.pods(part).values()}
    token = tmp_path / "token"
    token.write_text(TOKENS["ours"][0])
    arguments = ("--clients", "4", "--model", "identity", "--token-file", str(token))
    with load(instance.address(), tmp_path, *arguments) as report:
        drained = module(instance, "instance_drain", node=node, cordon=False, same_node=True, wait_timeout=600)
    assert set(drained["moved"]) == before
    assert report["requests"] > 0
    assert report["failed"] == 0, json.dumps(report)
    for part, count in (("triton", 2), ("envoy", 1)):
        live = instance.cluster.there(f"/apis/apps/v1/namespaces/{instance.namespace}/deployments/{NAME}-{part}")
        assert live["spec"]["replicas"] == count
        assert BEFORE_DRAIN not in live["metadata"].get("annotations", {})
        until(lambda part=part, count=count: instance.ready(part, count), 60)  # type: ignore[misc]
    assert not before & {p["metadata"]["name"] for part in ("triton", "envoy") for p in instance.pods(part).values()}


def test_an_autoscaled_pool_is_held_and_moved(cluster: Cluster, namespace: str, keda: Keda) -> None:
    """Of pods that do nothing: what counts is what KEDA makes of it, and that a drain leaves a pause as it was."""
    labels = {
        "app.kubernetes.io/instance": "pool",
        "app.kubernetes.io/part-of": "supersonic",
        "app.kubernetes.io/component": "triton",
    }
    pool = workload(name="pool-triton")
    pool["metadata"]["labels"] = pool["spec"]["template"]["metadata"]["labels"] = labels
    pool["spec"]["selector"] = {"matchLabels": labels}
    cron = {"timezone": "Etc/UTC", "start": "0 0 * * *", "end": "59 23 * * *", "desiredReplicas": "2"}
    scaled = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "pool-triton", "labels": labels},
        "spec": {
            "scaleTargetRef": {"name": "pool-triton"},
            "minReplicaCount": 2,
            "maxReplicaCount": 3,
            "triggers": [{"type": "cron", "metadata": cron}],
        },
    }
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    objects = f"/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects"
    assert keda.sound()
    cluster.create(deployments, pool)
    cluster.create(objects, scaled)

    def servers() -> int:
        return int(cluster.there(f"{deployments}/pool-triton")["spec"]["replicas"])

    def annotations() -> dict[str, str]:
        found: dict[str, str] = cluster.there(f"{objects}/pool-triton")["metadata"].get("annotations") or {}
        return found

    def act(name: str, **options: Any) -> dict[str, Any]:
        given = {"kubeconfig": str(KUBECONFIG), "name": "pool", "namespace": namespace, **options}
        result = run_module(name, given)
        assert not result["failed"], result
        return result

    try:
        until(lambda: servers() == 2, 120)
        paused = act("instance_pause", servers=1)
        assert (paused["changed"], paused["autoscaled"]) == (True, True)
        assert servers() == 1
        assert annotations()[PAUSED_REPLICAS] == "1"
        assert act("instance_pause", servers=1)["changed"] is False
        (pod,) = cluster.api.list(f"/api/v1/namespaces/{namespace}/pods", "pods")
        drained = act("instance_drain", node=pod["spec"]["nodeName"], cordon=False, same_node=True)
        assert drained["moved"] == [pod["metadata"]["name"]]
        assert annotations()[PAUSED_REPLICAS] == "1"
        assert BEFORE_PAUSE in annotations()
        assert BEFORE_DRAIN not in annotations()
        until(lambda: servers() == 1, 60)
        assert act("instance_pause", state="resumed")["changed"]
        assert not {PAUSED_REPLICAS, BEFORE_PAUSE} & set(annotations())
        until(lambda: servers() == 2, 120)
    finally:
        # KEDA lets go of it, or the namespace would stay.
        cluster.api.delete(f"{objects}/pool-triton", "pool", propagation="Background")
        until(lambda: cluster.get(f"{objects}/pool-triton") is None, 60)


def test_a_backup_fills_an_empty_claim(instance: Instance, tmp_path: Path) -> None:
    space = f"/api/v1/namespaces/{instance.namespace}/persistentvolumeclaims"
    pod = {"image": IMAGE, "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}}

    def act(name: str, state: str) -> dict[str, Any]:
        store = {"type": "pvc", "namespace": instance.namespace, "claim": name}
        given = {"kubeconfig": str(KUBECONFIG), "path": str(tmp_path / "models"), "store": store, "pod": pod}
        result = run_module("model_backup", {**given, "state": state})
        assert not result["failed"], result
        return result

    current = instance.cluster.there(f"{space}/{NAME}-models")["metadata"]["annotations"][
        "supersonic.fastml.org/release"
    ]
    saved = act(f"{NAME}-models", "saved")
    assert (saved["changed"], saved["release"]) == (True, current)
    again = act(f"{NAME}-models", "saved")
    assert (again["changed"], again["received_bytes"]) == (False, 0)
    instance.cluster.create(space, claim("empty"))
    try:
        restored = act("empty", "restored")
        assert (restored["changed"], restored["release"]) == (True, current)
        noted = instance.cluster.there(f"{space}/empty")["metadata"]["annotations"]
        assert noted["supersonic.fastml.org/release"] == current
        assert act("empty", "restored")["changed"] is False
    finally:
        instance.cluster.api.delete(f"{space}/empty", "empty", propagation="Background")
    until(lambda: instance.cluster.get(f"{space}/empty") is None, 60)


def test_a_teardown_proves_that_nothing_is_left(instance: Instance) -> None:
    """The last one."""
    space = f"/api/v1/namespaces/{instance.namespace}"
    mine = {
        "app.kubernetes.io/instance": NAME,
        "app.kubernetes.io/part-of": "supersonic",
        "app.kubernetes.io/managed-by": "fastml.supersonic",
    }
    predicted = instance.run("playbooks/teardown.yml", "--check", teardown_models=True)
    assert predicted.code == 0, predicted.output
    assert f"Deployment/{NAME}-triton" in predicted.text
    assert f"With the claim {NAME}-models (storage class local-path) its volume" in predicted.text
    assert "all data in it are destroyed (reclaim policy Delete)" in predicted.text
    assert triton(instance)["status"]["readyReplicas"] == 2

    # Somebody has made an object of the instance by hand, and a claim of ours has lost its set.
    stray = config_map("by-hand")
    stray["metadata"]["labels"] = mine
    instance.cluster.create(f"{space}/configmaps", stray)
    orphan = claim("other-models")
    orphan["metadata"]["labels"] = {**mine, "app.kubernetes.io/instance": "other"}
    instance.cluster.create(f"{space}/persistentvolumeclaims", orphan)
    done = instance.run("playbooks/teardown.yml")
    assert done.code != 0
    assert f"Of {NAME} there is still" in done.text
    assert "ConfigMap/by-hand (its labels say so; it is in no set of ours" in done.text
    assert f"The claim {NAME}-models and its data stay." in done.text
    assert instance.cluster.there(f"{space}/persistentvolumeclaims/{NAME}-models")

    instance.cluster.api.delete(f"{space}/configmaps/by-hand", "by-hand", propagation="Background")
    done = instance.run("playbooks/teardown.yml", teardown_models=True)
    assert done.code == 0, done.output
    assert instance.cluster.get(f"{space}/persistentvolumeclaims/{NAME}-models") is None
    # The namespace is ours, and yet nobody said that the data of the other one may go.
    assert "persistentvolumeclaims/other-models" in done.text
    assert instance.cluster.there(f"{space}/persistentvolumeclaims/other-models")
    assert instance.cluster.there(space)["status"]["phase"] == "Active"
