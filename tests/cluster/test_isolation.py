# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who reaches the pods of an instance, and that all of them live where Pod Security allows least."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._rest import ApiError
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, Object
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, Instance, run_playbook
from ansible_collections.fastml.supersonic.tests.harness.pods import connect, pods
from ansible_collections.fastml.supersonic.tests.harness.processes import until

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
PROMETHEUS = {"app.kubernetes.io/name": "prometheus"}
# What the Envoys of another instance in the same namespace are called.
NEIGHBOUR = {
    "app.kubernetes.io/name": "supersonic",
    "app.kubernetes.io/instance": "another",
    "app.kubernetes.io/component": "envoy",
}
PORTS = {"triton": (8000, 8001, 8002), "envoy": (8001, 9901, 9902, 9903, 9911, 9912, 9913)}
CLOSED = {"timeout", "Connection refused"}


class Isolated(Instance):
    """An instance in a namespace with the profile restricted, which somebody else has made."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        # Two Envoys in the pod: what the first has open and closed, the second has too.
        super().__init__(cluster, folder, "alone", {"supersonic_create_namespace": False, "envoy_processes": 2})
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": RESTRICTED}}
        cluster.create("/api/v1/namespaces", body)

    def open_to(self, namespace: str, labels: dict[str, str] | None = None) -> set[tuple[str, int]]:
        """Ports that a pod with these labels reaches, by component."""
        places = {}
        for component, ports in PORTS.items():
            (pod,) = self.pods(component).values()
            places |= {f"{pod['status']['podIP']}:{port}": (component, port) for port in ports}
        name = f"probe-{uuid.uuid4().hex[:8]}"
        found = connect(self.cluster, namespace, name, *places, labels=labels)
        # It may be labelled like one of ours.
        path = f"{pods(namespace)}/{name}"
        self.cluster.api.delete(path, name, propagation="Background")
        until(lambda: self.cluster.get(path) is None)
        assert set(found.values()) <= CLOSED | {"open"}, found
        return {places[address] for address, answer in found.items() if answer == "open"}


@pytest.fixture(scope="module")
def instance(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Isolated]:
    """Published, tried, deployed and proved: every kind of pod that the roles and modules make has run."""
    found = Isolated(cluster, tmp_path_factory.mktemp("isolated"))
    try:
        found.site()
        yield found
    finally:
        found.remove()


# Not the fixture namespace, whose end would be the end of the instance too.
@pytest.fixture(scope="module")
def elsewhere(cluster: Cluster) -> Iterator[str]:
    """Another namespace."""
    name = cluster.new_namespace()
    yield name
    cluster.remove_namespace(name)


def test_strangers_reach_only_the_endpoint(instance: Isolated, elsewhere: str) -> None:
    for place in (instance.namespace, elsewhere):
        assert instance.open_to(place) == {("envoy", 8001)}, place


def test_envoys_of_another_instance_reach_no_server(instance: Isolated) -> None:
    assert instance.open_to(instance.namespace, NEIGHBOUR) == {("envoy", 8001)}


def test_own_envoys_reach_the_servers(instance: Isolated, elsewhere: str) -> None:
    until(lambda: instance.healthy_servers() == [1, 1])
    # A pod of the same labels in another namespace is none of them.
    labels = {**NEIGHBOUR, "app.kubernetes.io/instance": instance.name}
    assert instance.open_to(elsewhere, labels) == {("envoy", 8001)}


def test_prometheus_reaches_only_metrics_and_the_endpoint(instance: Isolated, elsewhere: str) -> None:
    for place in (instance.namespace, elsewhere):
        wanted = {("triton", 8002), ("envoy", 9902), ("envoy", 9912), ("envoy", 8001)}
        # A pod that is new to the policy is let in as soon as the node has heard of it.
        until(lambda place=place, wanted=wanted: instance.open_to(place, PROMETHEUS) == wanted, 60)


def test_peers_are_narrowed_widened_and_left_out(instance: Isolated, elsewhere: str) -> None:
    physicist = {"role": "physicist"}
    here: Object = {"podSelector": {"matchLabels": physicist}}
    instance.site(
        "--tags", "triton,envoy", envoy_clients_from=[here], envoy_metrics_from=[here], triton_metrics_from=[]
    )
    instance.site("--check")
    until(lambda: instance.open_to(elsewhere, PROMETHEUS) == {("triton", 8002)}, 60)
    wanted = {("envoy", 8001), ("envoy", 9902), ("envoy", 9912), ("triton", 8002)}
    until(lambda: instance.open_to(instance.namespace, physicist) == wanted, 60)
    instance.site("--tags", "triton,envoy", envoy_network_policy=False, triton_network_policy=False)
    policies = f"/apis/networking.k8s.io/v1/namespaces/{instance.namespace}/networkpolicies"
    assert not instance.cluster.api.list(policies, "policies")
    # What only the policies have kept closed is open now; the admin interfaces are on loopback.
    everything = {(component, port) for component, ports in PORTS.items() for port in ports}
    everything -= {("envoy", 9901), ("envoy", 9911)}
    until(lambda: instance.open_to(elsewhere) == everything, 60)


# ---- Pod Security ----------------------------------------------------------------------------------------------------


def restricted_verdict(cluster: Cluster, namespace: str, pod: dict[str, Any]) -> str:
    """What the API server says of a pod there; nothing is made."""
    body = {**pod, "apiVersion": "v1", "kind": "Pod"}
    body["metadata"] = {**(pod.get("metadata") or {}), "name": "tried", "namespace": namespace}
    try:
        cluster.api.call("POST", pods(namespace), "pod", query={"dryRun": "All"}, body=body)
    except ApiError as error:
        return str(error)
    return ""


def test_every_rendered_pod_is_allowed_where_pod_security_is_restricted(cluster: Cluster, tmp_path: Path) -> None:
    namespace = cluster.new_namespace(RESTRICTED)
    done = run_playbook(
        "playbooks/render.yml",
        CLONE / "tests/golden/options",
        "--limit",
        "defaults,polling",
        extra={"render_directory": str(tmp_path)},
    )
    assert done.code == 0, done.output
    documents = [item for path in tmp_path.glob("*/*.yaml") for item in yaml.safe_load_all(path.read_text())]
    templates = [item["spec"]["template"] for item in documents if item["kind"] == "Deployment"]
    assert len(templates) == 4
    for template in templates:
        assert restricted_verdict(cluster, namespace, template) == ""
    # It would have been said.
    template["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    assert "restricted" in restricted_verdict(cluster, namespace, template)
