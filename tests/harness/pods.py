# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Short-lived pods of tests: what they say, and whom they reach."""

from __future__ import annotations

import shlex
from typing import Any

from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, container
from ansible_collections.fastml.supersonic.tests.harness.processes import until

RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
# A node lets a pod in that is new to a policy when it has heard of it, in less than a second as a rule.
HEARD_SECONDS = 5
CONNECT = """
import socket, sys, time
def answer(address):
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
        return "open"
    except TimeoutError:
        return "timeout"
    except OSError as error:
        return error.strerror
end = time.monotonic() + float(sys.argv[1])
found = dict.fromkeys(sys.argv[2:])
while True:
    found.update((address, answer(address)) for address, last in found.items() if last != "open")
    if time.monotonic() >= end or set(found.values()) == {"open"}:
        break
    time.sleep(0.2)
for address, last in found.items():
    print(address, last)
"""


def pods(namespace: str) -> str:
    """Where the pods of a namespace are."""
    return f"/api/v1/namespaces/{namespace}/pods"


def start(
    cluster: Cluster, namespace: str, name: str, script: str, labels: dict[str, str] | None = None, **spec: Any
) -> str:
    """Start a pod, which may be in a namespace that restricts pods; its path."""
    volumes = spec.pop("mounts", [])
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name, **(labels or {})}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container(script, volumeMounts=volumes, securityContext=RESTRICTED)],
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


def connect(
    cluster: Cluster, namespace: str, name: str, *addresses: str, labels: dict[str, str] | None = None
) -> dict[str, str]:
    """Whether a pod of that name can open connections, by address; one with labels gets the time to be heard of.

    It is gone afterwards: it may be labelled like one of an instance's.
    """
    patience = HEARD_SECONDS if labels else 0
    script = f"exec python3 -c {shlex.quote(CONNECT)} {patience} {' '.join(addresses)}"
    path = start(cluster, namespace, name, script, labels)
    said = output(cluster, path)
    cluster.api.delete(path, name, propagation="Background")
    until(lambda: cluster.get(path) is None)
    return dict(line.split(" ", 1) for line in said.splitlines())
