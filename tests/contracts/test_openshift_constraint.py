# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every pod of an instance whose cluster chooses users is one that OpenShift's restricted-v2 lets in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._accelerators import gpu_test
from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark import load_pods
from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.load import Share
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.pod_security import security_context
from ansible_collections.fastml.supersonic.plugins.module_utils._models import store_pod, test_load_pod
from ansible_collections.fastml.supersonic.tests.harness import openshift, renders

GPU_PROOF = {
    "namespace": "n", "image": "i", "image_pull_policy": "Always", "command": ["nvidia-smi"], "count": 1,
    "resource": "nvidia.com/gpu", "memory": "1Gi", "node_selector": {}, "tolerations": [], "affinity": {},
    "runtime_class": "", "image_pull_secrets": [], "timeout": 60,
}  # fmt: skip


def rendered(host: str, factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The pods of an instance of the inventory of all options, by the file that they are in."""
    return {
        role: document["spec"]["template"]["spec"]
        for role, documents in renders.of_host(host, factory).items()
        for document in documents
        if document["kind"] == "Deployment"
    }


def made(arbitrary_user: bool) -> dict[str, dict[str, Any]]:
    """The pods that modules make."""
    nothing: Any = SimpleNamespace()
    claim: Any = SimpleNamespace(name="models", namespace="n")
    store = store_pod.PodOptions(image="i", arbitrary_user=arbitrary_user)
    clients = load_pods.Clients("i", "m", "a:1", files={"token": "t"}, arbitrary_user=arbitrary_user)
    job = gpu_test.definition({**GPU_PROOF, "arbitrary_user": arbitrary_user}, "proof")
    pods = load_pods.Pods(nothing, "n", "main", clients, [[Share(1, 0, 1)]], {})
    return {
        "publisher": store_pod.Helper(nothing, claim, store).definition(None)["spec"],
        "clients": pods._definition("main-benchmark-0")["spec"],
        "accelerator": job["spec"]["template"]["spec"],
    }


def test_every_pod_is_let_in(tmp_path_factory: pytest.TempPathFactory) -> None:
    pods = rendered("openshift", tmp_path_factory) | made(arbitrary_user=True)
    assert set(pods) == {
        "triton", "envoy", "prometheus", "otel_collector", "tempo", "grafana", "publisher", "clients", "accelerator",
    }  # fmt: skip
    pods["trial"] = test_load_pod.pod_on_trial({"spec": pods["triton"]}, "supersonic-models", "1" * 40)
    assert {name: openshift.refusals(spec) for name, spec in pods.items()} == {name: [] for name in pods}
    for name, spec in pods.items():
        filled = openshift.admitted(spec)
        assert filled["securityContext"]["runAsNonRoot"] is True, name
        users = {container["securityContext"]["runAsUser"] for container in filled["containers"]}
        assert users == {openshift.FIRST_USER}, name
        # Nothing but what is mounted can be written to, and the group of volumes is the pod's.
        assert all(each["securityContext"]["readOnlyRootFilesystem"] for each in filled["containers"])


def test_pods_with_users_of_their_own_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    pods = rendered("traced", tmp_path_factory) | made(arbitrary_user=False)
    for name, spec in pods.items():
        assert any("runAsUser" in reason for reason in openshift.refusals(spec)), name


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/cvmfs"}}]}, "hostPath"),
        ({"volumes": [{"name": "v", "nfs": {"server": "s", "path": "/p"}}]}, "nfs"),
        ({"securityContext": {"fsGroup": 1000}}, "fsGroup"),
        ({"securityContext": {"runAsNonRoot": False}}, "runAsNonRoot"),
        ({"containers": [{"name": "c", "securityContext": {"runAsUser": 1000}}]}, "runAsUser"),
        ({"containers": [{"name": "c", "securityContext": {"privileged": True}}]}, "privileged"),
        ({"containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": True}}]}, "Escalation"),
        ({"containers": [{"name": "c", "securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}}]}, "SYS_PTRACE"),
        ({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 1}]}]}, "hostPort"),
        ({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, "seccompProfile"),
    ],
)
def test_what_is_refused(spec: dict[str, Any], reason: str) -> None:
    (found,) = openshift.refusals(spec)
    assert reason in found


def test_everything_else_of_a_context_stays() -> None:
    context = {
        "runAsUser": 1,
        "runAsGroup": 2,
        "fsGroup": 3,
        "fsGroupChangePolicy": "OnRootMismatch",
        "runAsNonRoot": True,
    }
    assert security_context(context) == context
    assert security_context(context, True) == {"fsGroupChangePolicy": "OnRootMismatch", "runAsNonRoot": True}
