# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""manifests: waiting, with real pods, and the explanations when it is in vain."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from ansible_collections.fastml.supersonic.tests.harness.kubernetes import (
    Cluster,
    actions,
    claim,
    config_map,
    container,
    removed,
    service,
    workload,
)
from ansible_collections.fastml.supersonic.tests.harness.processes import until

PATIENT_S = 600


def waited(cluster: Cluster, namespace: str, *definitions: Any, **options: Any) -> dict[str, Any]:
    return cluster.manifests(namespace, *definitions, wait=True, **{"wait_timeout": PATIENT_S, **options})


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_workload_gets_ready_and_is_rolled_out(cluster: Cluster, namespace: str, kind: str) -> None:
    result = waited(cluster, namespace, workload(kind))
    assert not result["failed"], result
    path = f"/apis/apps/v1/namespaces/{namespace}/{kind.lower()}s/web"
    changed = workload(kind, pod={"containers": [container(env=[{"name": "MODE", "value": "2"}])]})
    result = waited(cluster, namespace, changed)
    assert not result["failed"], result
    live = cluster.there(path)
    assert live["status"]["observedGeneration"] == live["metadata"]["generation"]
    pods = cluster.api.list(f"/api/v1/namespaces/{namespace}/pods", "pods", {"labelSelector": "app=web"})
    going = [pod for pod in pods if pod["metadata"].get("deletionTimestamp")]
    assert all(pod["spec"]["containers"][0].get("env") for pod in pods if pod not in going)


def test_nothing_to_do(cluster: Cluster, namespace: str) -> None:
    wanted = [workload(), service("web"), config_map(), claim("data")]
    assert not waited(cluster, namespace, *wanted)["failed"]
    result = waited(cluster, namespace, *wanted)
    assert not result["failed"], result
    assert not result["changed"], result["diff"]


def test_ready_is_waited_for_when_nothing_changed(cluster: Cluster, namespace: str) -> None:
    never = workload(pod={"containers": [container(readinessProbe={"exec": {"command": ["false"]}})]})
    cluster.manifests(namespace, never)
    result = waited(cluster, namespace, never, wait_timeout=2)
    assert result["failed"]
    assert result["changed"] is False
    assert actions(result) == {"Deployment/web": "unchanged"}


def test_job_that_completes(cluster: Cluster, namespace: str) -> None:
    good = workload("Job", "good", pod={"containers": [container("echo done")]})
    assert not waited(cluster, namespace, good)["failed"]


# Each of these sets is applied in a namespace of its own, all at the same time: the waiting is what takes long.
_IMAGE = "registry.invalid/no/such:1"
_PROBE = {"exec": {"command": ["bash", "-c", "echo not yet warm; exit 1"]}, "periodSeconds": 1}
_SLOW_PROBE = {"exec": {"command": ["true"]}, "initialDelaySeconds": 300}
_FROM_SECRET = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "x"}}}]


def _pod(**main: Any) -> dict[str, Any]:
    return {"containers": [container(**main)]}


_GREEDY = _pod(resources={"limits": {"nvidia.com/no-such-gpu": 1}})
_NEVER = _pod(image=_IMAGE, imagePullPolicy="Never")
_CRASHING = _pod(script="echo this goes wrong; echo because of that >&2; exit 42", readinessProbe=_SLOW_PROBE)
_HUNGRY = _pod(
    script="exec python3 -c 'x = bytearray(300_000_000)'",
    resources={"limits": {"memory": "64Mi"}},
    readinessProbe=_SLOW_PROBE,
)
_MOUNTING = {
    "containers": [container(volumeMounts=[{"name": "v", "mountPath": "/v"}])],
    "volumes": [{"name": "v", "configMap": {"name": "nowhere"}}],
}
_QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "none"},
    "spec": {"hard": {"pods": "0"}},
}


class Case(NamedTuple):
    """A set that does not get ready, and what is said about it; timeout: when time is over, and None before that. All
    wait at the same time, so that a busy kubelet may take long."""

    definitions: list[dict[str, Any]]
    words: list[str]
    timeout: int | None = None


CASES = {
    "image from a registry that cannot be reached": Case(
        [workload(pod=_pod(image=_IMAGE)), config_map()],
        [
            "Deployment/web in namespace",
            f"the image {_IMAGE} of container main cannot be pulled: ",
            "lookup registry.invalid",
        ],
    ),
    "image with an impossible name": Case(
        [workload(pod=_pod(image="Not A Name"))], ["the image Not A Name of container main cannot be pulled"]
    ),
    "image that is not there": Case([workload(pod=_NEVER)], [f"the image {_IMAGE} of container main cannot be pulled"]),
    "unschedulable": Case(
        [workload(pod=_GREEDY)],
        [
            "is not ready after 20 s",
            "cannot be scheduled: 0/1 nodes are available: 1 Insufficient nvidia.com/no-such-gpu",
        ],
        timeout=20,
    ),
    "crash loop": Case(
        [workload(pod=_CRASHING)],
        [
            "is not ready and will not be",
            "container main ended with exit code 42, restarted 3 times",
            "this goes wrong",
            "because of that",
        ],
    ),
    "out of memory": Case(
        [workload(pod=_HUNGRY)],
        ["was killed because it used more memory than its limit of 64Mi (OOMKilled)"],
    ),
    "program that does not exist": Case(
        [workload(pod=_pod(command=["/no/such/program"]))],
        ["container main cannot be started", "/no/such/program"],
    ),
    "probe that fails": Case(
        [workload(pod=_pod(script="echo starting up; exec sleep 3600", readinessProbe=_PROBE))],
        ["container main runs but is not ready (Readiness probe failed: not yet warm", "starting up"],
        timeout=60,
    ),
    "missing Secret": Case(
        [workload(pod=_pod(env=_FROM_SECRET))], ['container main cannot be created: secret "nowhere" not found']
    ),
    "missing volume": Case([workload(pod=_MOUNTING)], ['configmap "nowhere" not found'], timeout=60),
    "quota for a Deployment": Case([_QUOTA, workload()], ["its pods cannot be created: ", "exceeded quota: none"]),
    "quota for a StatefulSet": Case(
        [_QUOTA, workload("StatefulSet")], ["its pods cannot be created: ", "exceeded quota: none"]
    ),
    "quota for a Job": Case([_QUOTA, workload("Job")], ["its pods cannot be created: ", "exceeded quota: none"]),
    "Job that fails": Case(
        [workload("Job", "bad", pod=_pod(script="echo no luck today; exit 7"), backoffLimit=0)],
        ["is not ready and will not be: it failed: BackoffLimitExceeded", "ended with exit code 7", "no luck today"],
    ),
    "missing storage class": Case(
        [claim("data", storageClassName="no-such-class")],
        ["PersistentVolumeClaim/data", "the storage class no-such-class does not exist"],
    ),
    "two at once": Case(
        [workload(name="one", pod=_NEVER), workload(name="two", pod=_GREEDY)],
        ["Deployment/one in namespace", "cannot be pulled", "Deployment/two in namespace"],
    ),
}


@pytest.fixture(scope="module")
def outcomes(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """What the module said about each case."""

    def one(case: Case) -> dict[str, Any]:
        namespace = cluster.new_namespace()
        if _QUOTA in case.definitions:
            cluster.create(f"/api/v1/namespaces/{namespace}/resourcequotas", _QUOTA)
            path = f"/api/v1/namespaces/{namespace}/resourcequotas/none"
            until(lambda: cluster.there(path).get("status", {}).get("hard"))
        definitions = [definition for definition in case.definitions if definition is not _QUOTA]
        process = cluster.start_manifests(namespace, *definitions, wait=True, wait_timeout=case.timeout or PATIENT_S)
        output, _errors = process.communicate()
        cluster.remove_namespace(namespace)
        found: dict[str, Any] = json.loads(output)
        return found

    with ThreadPoolExecutor(len(CASES)) as pool:
        return dict(zip(CASES, pool.map(one, CASES.values()), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_waiting_in_vain_is_explained(outcomes: dict[str, dict[str, Any]], case: str) -> None:
    result, timeout = outcomes[case], CASES[case].timeout
    assert result["failed"], result
    for words in CASES[case].words:
        assert words in result["msg"]
    assert ("and will not be" if timeout is None else f"after {timeout} s") in result["msg"]


def test_webhook_that_refuses_is_named(cluster: Cluster, namespace: str) -> None:
    """One that cannot be reached refuses as well."""
    name = f"{namespace}.example.org"
    webhook = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": f"hook.{name}",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 1,
                "clientConfig": {"url": "https://127.0.0.1:9/validate"},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
                ],
            }
        ],
    }
    base = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    with removed(cluster, f"{base}/{name}"):
        cluster.create(base, webhook)
        time.sleep(1)
        result = cluster.manifests(namespace, config_map("refused"))
        assert result["failed"]
        assert f"the admission webhook hook.{name} could not be asked" in result["msg"]
        assert "connection refused" in result["msg"]


def test_admission_policy_that_refuses_is_named(cluster: Cluster, namespace: str) -> None:
    base = "/apis/admissionregistration.k8s.io/v1"
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": namespace},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}
                ],
            },
            "validations": [{"expression": "false", "message": "no secrets on a Sunday"}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": namespace},
        "spec": {"policyName": namespace, "validationActions": ["Deny"]},
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    policies, bindings = f"{base}/validatingadmissionpolicies", f"{base}/validatingadmissionpolicybindings"
    with removed(cluster, f"{policies}/{namespace}"), removed(cluster, f"{bindings}/{namespace}"):
        cluster.create(policies, policy)
        cluster.create(bindings, binding)
        until(lambda: cluster.manifests(namespace, secret, check=True)["failed"])
        message = cluster.manifests(namespace, secret)["msg"]
        assert f"Secret/s: refused by the admission policy {namespace}: no secrets on a Sunday" in message


def test_claim_that_waits_for_a_pod_does_not_hang(cluster: Cluster, namespace: str) -> None:
    storage = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": namespace},
        "provisioner": "example.org/nothing",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    with removed(cluster, f"/apis/storage.k8s.io/v1/storageclasses/{namespace}"):
        cluster.create("/apis/storage.k8s.io/v1/storageclasses", storage)
        result = waited(cluster, namespace, claim("later", storageClassName=namespace))
        assert not result["failed"], result


def test_claim_of_a_user_who_may_not_read_classes(cluster: Cluster, namespace: str, ca_file: str) -> None:
    rights = {"apiGroups": [""], "resources": ["*"], "verbs": ["*"]}
    token = cluster.user(namespace, "claimer", rights)
    storage = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": namespace},
        "provisioner": "example.org/nothing",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    with removed(cluster, f"/apis/storage.k8s.io/v1/storageclasses/{namespace}"):
        cluster.create("/apis/storage.k8s.io/v1/storageclasses", storage)
        options = cluster.as_user(token, ca_file)
        result = waited(cluster, namespace, claim("later", storageClassName=namespace), **options)
        assert not result["failed"], result


def test_claim_of_a_class_that_only_a_volume_carries(cluster: Cluster, namespace: str) -> None:
    """A volume made by hand needs no StorageClass, and the controller may take seconds until it binds it."""
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/nowhere"},
            "storageClassName": namespace,
        },
    }
    with removed(cluster, f"/api/v1/persistentvolumes/{namespace}"):
        # The claim first: its class is missing when it is seen for the first time.
        waiting = threading.Timer(2, cluster.create, ("/api/v1/persistentvolumes", volume))
        waiting.start()
        result = waited(cluster, namespace, claim("by-hand", storageClassName=namespace))
        waiting.join()
        assert not result["failed"], result


def test_load_balancer_only_when_asked(cluster: Cluster, namespace: str) -> None:
    balanced = service("web", type="LoadBalancer")
    assert not waited(cluster, namespace, balanced)["failed"]
    result = waited(cluster, namespace, balanced, wait_for_load_balancer=True, wait_timeout=2)
    assert "no load balancer has given it an address" in result["msg"]

    def give() -> None:
        time.sleep(1)
        status = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
        cluster.patch(f"/api/v1/namespaces/{namespace}/services/web/status", status)

    helper = threading.Thread(target=give)
    helper.start()
    result = waited(cluster, namespace, balanced, wait_for_load_balancer=True)
    helper.join()
    assert not result["failed"], result


def test_bad_pods_of_an_earlier_revision_do_not_count(cluster: Cluster, namespace: str) -> None:
    """A correction must not fail because of the pods that it replaces."""
    assert waited(cluster, namespace, workload(pod=_NEVER))["failed"]
    result = waited(cluster, namespace, workload())
    assert not result["failed"], result


def test_deleted_by_somebody_else_while_waiting(cluster: Cluster, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"

    def remove() -> None:
        until(lambda: cluster.get(path))
        time.sleep(1)
        cluster.api.delete(path, path, propagation="Background")

    helper = threading.Thread(target=remove)
    helper.start()
    result = waited(cluster, namespace, workload(pod=_GREEDY))
    helper.join()
    assert "it has been deleted by somebody else meanwhile" in result["msg"]
