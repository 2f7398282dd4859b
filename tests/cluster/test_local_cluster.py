# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What other tests take for granted of the local cluster: policies are enforced and volumes provisioned."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, claim
from ansible_collections.fastml.supersonic.tests.harness.pods import address, connect, output, pods, start
from ansible_collections.fastml.supersonic.tests.harness.processes import until

SERVER = "exec python3 -m http.server 8080 --directory /tmp"


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
