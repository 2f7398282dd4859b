# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What other tests take for granted of the local cluster: policies are enforced and volumes provisioned."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, claim, container, until

SERVER = "exec python3 -m http.server 8080 --directory /tmp"
CONNECT = """
import socket, sys
for address in sys.argv[1:]:
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
        print(address, "open")
    except TimeoutError:
        print(address, "timeout")
    except OSError as error:
        print(address, error.strerror)
"""


def pods(namespace: str) -> str:
    """Where the pods of a namespace are."""
    return f"/api/v1/namespaces/{namespace}/pods"


def start(cluster: Cluster, namespace: str, name: str, script: str, **spec: Any) -> str:
    """Start a pod; its path."""
    volumes = spec.pop("mounts", [])
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [container(script, volumeMounts=volumes)],
            **spec,
        },
    }
    cluster.create(pods(namespace), body)
    return f"{pods(namespace)}/{name}"


def address(cluster: Cluster, path: str) -> str:
    """The address of a pod once it runs."""

    def found() -> str:
        status = cluster.there(path)["status"]
        return str(status.get("podIP", "")) if status.get("phase") == "Running" else ""

    return str(until(found, 60))


def output(cluster: Cluster, path: str) -> str:
    """What a pod that has ended well has said."""
    phase = until(lambda: {"Succeeded", "Failed"} & {cluster.there(path)["status"].get("phase")}, 60)
    text = cluster.api.call("GET", f"{path}/log", path)
    said = text.decode() if isinstance(text, bytes) else str(text)
    assert phase == {"Succeeded"}, said
    return said


def connect(cluster: Cluster, namespace: str, name: str, *addresses: str) -> dict[str, str]:
    """Whether a pod of that name can open connections, by address."""
    script = f"exec python3 -c {shlex.quote(CONNECT)} {' '.join(addresses)}"
    said = output(cluster, start(cluster, namespace, name, script))
    return dict(line.split(" ", 1) for line in said.splitlines())


def test_a_policy_lets_in_whom_it_names_and_nobody_else(cluster: Cluster, namespace: str) -> None:
    ip = address(cluster, start(cluster, namespace, "server", SERVER))
    server = f"{ip}:8080"
    until(lambda: connect(cluster, namespace, "before", server) == {server: "open"})
    cluster.create(
        f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "server"},
            "spec": {
                "podSelector": {"matchLabels": {"app": "server"}},
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "allowed"}}}]}],
            },
        },
    )
    get = f"import urllib.request; print(urllib.request.urlopen('http://{server}/', timeout=30).status)"
    # A pod that is new to the policy is let in as soon as the node has heard of it.
    script = f"for i in {{1..30}}; do python3 -c {shlex.quote(get)} && exit; sleep 1; done; exit 1"
    assert output(cluster, start(cluster, namespace, "allowed", script)).strip().endswith("200")
    assert connect(cluster, namespace, "refused", server) in ({server: "timeout"}, {server: "Connection refused"})


def test_only_the_pod_itself_reaches_the_drain_port_of_envoy(cluster: Cluster, namespace: str) -> None:
    found = cluster.there("/api/v1/namespaces/supersonic/pods?labelSelector=app.kubernetes.io%2Fcomponent%3Denvoy")
    running = [
        item["status"]["podIP"]
        for item in found["items"]
        if any(entry["type"] == "Ready" and entry["status"] == "True" for entry in item["status"]["conditions"])
    ]
    assert running
    ip = running[0]
    said = connect(cluster, namespace, "somebody", f"{ip}:8001", f"{ip}:9902", f"{ip}:9903")
    assert said.pop(f"{ip}:9903") in ("timeout", "Connection refused")
    assert said == {f"{ip}:8001": "open", f"{ip}:9902": "open"}


def test_a_claim_gets_a_volume_that_goes_with_its_data(cluster: Cluster, namespace: str) -> None:
    claims = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    cluster.create(claims, claim("data"))
    mount: dict[str, Any] = {
        "mounts": [{"name": "data", "mountPath": "/data"}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    }
    path = start(cluster, namespace, "writer", "echo kept > /data/file", **mount)
    output(cluster, path)
    assert output(cluster, start(cluster, namespace, "reader", "cat /data/file", **mount)) == "kept\n"
    volume = f"/api/v1/persistentvolumes/{cluster.there(f'{claims}/data')['spec']['volumeName']}"
    source = cluster.there(volume)["spec"]
    folder = Path((source.get("hostPath") or source.get("local"))["path"])
    assert (folder / "file").read_text() == "kept\n"
    for name in ("writer", "reader"):
        cluster.api.delete(f"{pods(namespace)}/{name}", name, propagation="Background")
    cluster.api.delete(f"{claims}/data", "data", propagation="Background")
    until(lambda: cluster.get(volume) is None, 60)
    assert not folder.exists()
