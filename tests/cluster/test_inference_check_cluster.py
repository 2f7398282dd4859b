# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""inference_check and triton_info against pods and Services of a real cluster, through its API server."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from kubernetes import client, config

from ansible_collections.fastml.supersonic.tests.harness.environment import kubeconfig
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.models import build_examples
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.processes import until

CLONE = Path(__file__).resolve().parents[2]
KUBECONFIG = str(kubeconfig())
TRITON_IMAGE = os.environ.get("SUPERSONIC_TEST_TRITON_IMAGE", "docker.io/fastml/triton-local:2.51.0")
LABELS = {"app.kubernetes.io/instance": "test", "app.kubernetes.io/component": "triton"}
SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def triton_pod(name: str) -> dict[str, Any]:
    container = {
        "name": "triton",
        "image": TRITON_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["tritonserver", "--model-repository=/models"],
        "ports": [{"name": "http", "containerPort": 8000}, {"name": "grpc", "containerPort": 8001}],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": "http"}, "periodSeconds": 1},
        "securityContext": SECURITY,
        "volumeMounts": [{"name": "models", "mountPath": "/models"}, {"name": "scratch", "mountPath": "/tmp"}],
    }
    copy = {
        "name": "models",
        "image": TRITON_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        # Triton takes every folder of a repository for a model, also the hidden ones of a mounted ConfigMap.
        "command": ["sh", "-c", "for file in /config/*; do path=/models/$(basename $file | sed s:.-.:/:g);"
                    " mkdir -p $(dirname $path); cp $file $path; done"],
        "securityContext": SECURITY,
        "volumeMounts": [{"name": "config", "mountPath": "/config"}, {"name": "models", "mountPath": "/models"}],
    }  # fmt: skip
    return {
        "metadata": {"name": name, "labels": LABELS},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"fsGroup": 1000},
            "initContainers": [copy],
            "containers": [container],
            "volumes": [
                {"name": "config", "configMap": {"name": "models"}},
                {"name": "models", "emptyDir": {}},
                {"name": "scratch", "emptyDir": {}},
            ],
        },
    }


def other_pod(name: str, command: list[str], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"case": name}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": TRITON_IMAGE, "command": command, "securityContext": SECURITY}],
            **spec,
        },
    }


@pytest.fixture(scope="module")
def core() -> client.CoreV1Api:
    config.load_kube_config(config_file=KUBECONFIG)
    return client.CoreV1Api()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_examples(tmp_path_factory.mktemp("models") / "repository")


@pytest.fixture(scope="module")
def namespace(cluster: Cluster, core: client.CoreV1Api, models: Path) -> Iterator[str]:
    """A namespace with two Triton servers behind a Service, which are ready, and pods that cannot answer."""
    name = cluster.new_namespace()
    try:
        files = {
            str(path.relative_to(models)).replace("/", ".-."): path
            for path in models.rglob("*")
            if path.is_file() and path.parent.name != "golden"
        }
        content = {key: base64.b64encode(path.read_bytes()).decode() for key, path in files.items()}
        core.create_namespaced_config_map(name, {"metadata": {"name": "models"}, "binaryData": content})
        for pod in (
            triton_pod("triton-a"),
            triton_pod("triton-b"),
            other_pod("mute", ["sleep", "1000"]),
            other_pod("crashing", ["sh", "-c", "exit 3"]),
            other_pod("homeless", ["sleep", "1000"], nodeSelector={"no-such-label": "x"}),
        ):
            core.create_namespaced_pod(name, pod)
        ports = [
            {"name": "grpc", "port": 9001, "targetPort": "grpc"},
            {"name": "http", "port": 9000, "targetPort": "http"},
        ]
        service = {"metadata": {"name": "triton"}, "spec": {"selector": LABELS, "ports": ports}}
        core.create_namespaced_service(name, service)
        empty = {"metadata": {"name": "empty"}, "spec": {"selector": {"case": "nobody"}, "ports": ports}}
        core.create_namespaced_service(name, empty)
        until(lambda: all(ready(core, name, f"triton-{each}") for each in "ab"), 75)
        yield name
    finally:
        cluster.remove_namespace(name)


def ready(core: client.CoreV1Api, namespace: str, pod: str) -> bool:
    conditions = core.read_namespaced_pod(pod, namespace).status.conditions or []
    return any(one.type == "Ready" and one.status == "True" for one in conditions)


def selector(namespace: str, **more: Any) -> dict[str, Any]:
    return {"selector": {"namespace": namespace, "labels": LABELS, "min": 2, **more}}


def check(targets: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    return run_module("inference_check", {"kubeconfig": KUBECONFIG, "targets": targets, **options})


def test_every_pod_and_the_service_answer_rightly(namespace: str, models: Path) -> None:
    result = check(
        [
            {"name": "Triton", **selector(namespace)},
            {"name": "Triton over HTTP", "protocol": "http", **selector(namespace)},
            {"name": "pod", "pod": {"name": "triton-a", "namespace": namespace, "port": "grpc"}},
            {"name": "Service", "service": {"name": "triton", "namespace": namespace, "port": "9001"}, "repeat": 2},
            {
                "name": "Service over HTTP",
                "service": {"name": "triton", "namespace": namespace, "port": "http"},
                "protocol": "http",
            },
        ],
        repositories=[str(models)],
    )
    assert not result["failed"], result["msg"]
    assert result["changed"] is False
    counts = {(each["layer"], each["target"].split(" (")[0]): each["checks"] for each in result["targets"]}
    assert counts == {
        ("Triton", f"pod {namespace}/triton-a port 8001"): 11,
        ("Triton", f"pod {namespace}/triton-b port 8001"): 11,
        ("Triton over HTTP", f"pod {namespace}/triton-a port 8000"): 11,
        ("Triton over HTTP", f"pod {namespace}/triton-b port 8000"): 11,
        ("pod", f"pod {namespace}/triton-a port 8001"): 11,
        ("Service", f"service {namespace}/triton port 9001"): 11,
        ("Service over HTTP", f"service {namespace}/triton port 9000"): 11,
    }


def test_nothing_stays_behind(namespace: str, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of this test alone, and short, since sockets are in it.
    folder = tempfile.mkdtemp(prefix="behind-", dir="/tmp")
    monkeypatch.setattr(tempfile, "tempdir", folder)
    threads = set(threading.enumerate())
    result = check([selector(namespace)], repositories=[str(models)], models=["identity"])
    assert not result["failed"], result["msg"]
    # The thread of a gRPC channel ends by itself soon after the channel is closed.
    until(lambda: set(threading.enumerate()) <= threads)
    # Fails where anything is left.
    os.rmdir(folder)


def test_large_tensors_pass_whole(namespace: str) -> None:
    """Many megabytes in both directions at once, over several connections."""
    values = numpy.random.default_rng(1).standard_normal(1_000_000).astype("<f4")
    tensor = {"datatype": "FP32", "shape": [1, values.size], "raw": base64.b64encode(values.tobytes()).decode()}
    request = {
        "model": "identity",
        "request": {"inputs": [{"name": "INPUT0", **tensor}]},
        "response": {"outputs": [{"name": "OUTPUT0", **tensor}]},
        "tolerances": {"OUTPUT0": {}},
    }
    result = check(
        [{**selector(namespace), "repeat": 3}, {**selector(namespace), "protocol": "http", "repeat": 3}],
        requests=[{**request, "name": str(number)} for number in range(3)],
        timeout=60,
    )
    assert not result["failed"], result["msg"]


def test_pods_that_cannot_answer_are_told_with_the_reason(core: client.CoreV1Api, namespace: str, models: Path) -> None:
    def crashed() -> bool:
        status = core.read_namespaced_pod("crashing", namespace).status
        waiting = status.container_statuses[0].state.waiting if status.container_statuses else None
        return bool(waiting and waiting.reason == "CrashLoopBackOff")

    until(crashed, 90)
    result = check(
        [
            *(
                {"name": name, "pod": {"name": name, "namespace": namespace}}
                for name in ("mute", "crashing", "homeless")
            ),
            {"name": "absent", "pod": {"name": "absent", "namespace": namespace}},
            {"name": "wrong port", "pod": {"name": "triton-a", "namespace": namespace, "port": "8009"}},
            {"name": "wrong protocol", "pod": {"name": "triton-a", "namespace": namespace, "port": "8000"}},
            {"name": "no endpoint", "service": {"name": "empty", "namespace": namespace, "port": "grpc"}},
            {"name": "no service", "service": {"name": "absent", "namespace": namespace}},
            {"name": "too few", **selector(namespace, min=3)},
        ],
        repositories=[str(models)],
        models=["identity"],
    )
    found = {each["layer"]: (each["status"], each["message"]) for each in result["checks"] if each["status"] != "ok"}
    expected = {
        "mute": ("refused", "nothing listens on this port in the pod"),
        "crashing": ("no_pod", "container main is in CrashLoopBackOff"),
        "homeless": ("no_pod", "it cannot be scheduled"),
        "absent": ("no_pod", "there is no such pod"),
        "wrong port": ("refused", "nothing listens on this port in the pod"),
        "wrong protocol": ("wrong_protocol", "an HTTP/1 server answers there, not gRPC"),
        "no endpoint": ("no_pod", "no pod behind it is ready"),
        "no service": ("no_pod", "there is no such Service"),
        "too few": ("no_pod", "2 pods with these labels, expected at least 3"),
    }
    assert found.keys() == expected.keys()
    for layer, (status, words) in expected.items():
        assert (found[layer][0], words in found[layer][1]) == (status, True), (layer, found[layer])


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"service": {"name": "triton", "port": "7"}}, "has no port 7; it has 9001 (grpc), 9000 (http)"),
        ({"pod": {"name": "triton-a", "port": "metrics"}}, "has no port named metrics"),
    ],
)
def test_a_port_that_is_not_there_is_told(namespace: str, models: Path, target: dict[str, Any], words: str) -> None:
    for place in target.values():
        place["namespace"] = namespace
    result = check([target], repositories=[str(models)])
    assert result["failed"]
    assert words in result["msg"]


def test_a_missing_permission_is_told(core: client.CoreV1Api, namespace: str, models: Path) -> None:
    core.create_namespaced_service_account(namespace, {"metadata": {"name": "reader"}})
    rbac = client.RbacAuthorizationV1Api()
    rbac.create_namespaced_role(
        namespace,
        {
            "metadata": {"name": "reader"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}],
        },
    )
    rbac.create_namespaced_role_binding(
        namespace,
        {
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}],
        },
    )
    token = core.create_namespaced_service_account_token("reader", namespace, {"spec": {}}).status.token
    options = {"repositories": [str(models)], "models": ["identity"], "api_key": token}

    result = check([selector(namespace)], **options)
    assert {each["status"] for each in result["checks"]} == {"unreachable"}
    assert "refused the port-forward" in result["msg"]
    assert "pods/portforward" in result["msg"]
    assert token not in str(result)

    result = check([{"service": {"name": "triton", "namespace": namespace}}], **options)
    assert result["failed"]
    assert "services" in result["msg"]


def test_the_port_forward_goes_through_a_proxy(namespace: str, models: Path) -> None:
    asked: list[str] = []

    class Proxy(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline().decode().strip())
            while self.rfile.readline().strip():
                pass
            host, port = asked[-1].split()[1].rsplit(":", 1)
            with socket.create_connection((host, int(port))) as server:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=pump, args=(server, self.connection))
                back.start()
                pump(self.connection, server)
                back.join()

    def pump(source: socket.socket, destination: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                destination.sendall(data)
            destination.shutdown(socket.SHUT_WR)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        result = check(
            [{"pod": {"name": "triton-a", "namespace": namespace}}],
            repositories=[str(models)],
            models=["particlenet"],
            proxy=f"http://127.0.0.1:{server.server_address[1]}",
        )
        server.shutdown()
    assert not result["failed"], result["msg"]
    # One connection for looking up the pod, one for the port-forward.
    assert len(asked) >= 2
    assert {line.split()[0] for line in asked} == {"CONNECT"}


def test_an_unreachable_api_server_is_told(models: Path) -> None:
    result = run_module(
        "inference_check",
        {
            "host": "https://127.0.0.1:1",
            "api_key": "nothing",
            "repositories": [str(models)],
            "targets": [selector("default")],
        },
    )
    assert result["failed"]
    assert "The Kubernetes API at https://127.0.0.1:1" in result["msg"]


def test_triton_info_of_pods(namespace: str) -> None:
    result = run_module(
        "triton_info",
        {
            "kubeconfig": KUBECONFIG,
            "targets": [selector(namespace), {"pod": {"name": "homeless", "namespace": namespace}}],
        },
    )
    assert not result["failed"], result
    *servers, homeless = result["servers"]
    assert [server["target"] for server in servers] == [f"pod {namespace}/triton-{x} port 8001" for x in "ab"]
    for server in servers:
        assert server["ready"]
        states = {model["name"]: model["state"] for model in server["models"]}
        assert states == dict.fromkeys(("accelerator", "digits", "identity", "particlenet"), "READY")
    assert (homeless["status"], homeless["live"]) == ("no_pod", False)
