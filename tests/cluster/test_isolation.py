# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who reaches the pods of an instance, and that all of them live where Pod Security allows least: the fixture `shared`
is published, tried, deployed and proved there, so that every kind of pod that the roles and modules make has run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import ApiError
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, Object
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook
from ansible_collections.fastml.supersonic.tests.harness.pods import connect, pods
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.shared import RESTRICTED, Shared

PROMETHEUS = {"app.kubernetes.io/name": "prometheus"}
# What the Envoys of another instance in the same namespace are called.
NEIGHBOUR = {
    "app.kubernetes.io/name": "supersonic",
    "app.kubernetes.io/instance": "another",
    "app.kubernetes.io/component": "envoy",
}
PORTS = {"triton": (8000, 8001, 8002), "envoy": (8001, 9901, 9902, 9903, 9911, 9912, 9913)}
CLOSED = {"timeout", "Connection refused"}


def open_to(instance: Shared, namespace: str, labels: dict[str, str] | None = None) -> set[tuple[str, int]]:
    """Ports that a pod with these labels reaches, by component."""
    places = {}
    for component, ports in PORTS.items():
        pod = next(iter(instance.pods(component).values()))
        places |= {f"{pod['status']['podIP']}:{port}": (component, port) for port in ports}
    found = connect(instance.cluster, namespace, "probe", *places, labels=labels)
    assert set(found.values()) <= CLOSED | {"open"}, found
    return {places[address] for address, answer in found.items() if answer == "open"}


@pytest.fixture(scope="module")
def elsewhere(cluster: Cluster) -> Iterator[str]:
    """Another namespace."""
    name = cluster.new_namespace()
    yield name
    cluster.remove_namespace(name)


def test_strangers_reach_only_the_endpoint(shared: Shared, elsewhere: str) -> None:
    for place in (shared.namespace, elsewhere):
        assert open_to(shared, place) == {("envoy", 8001)}, place


def test_envoys_of_another_instance_reach_no_server(shared: Shared) -> None:
    assert open_to(shared, shared.namespace, NEIGHBOUR) == {("envoy", 8001)}


def test_own_envoys_reach_the_servers(shared: Shared, elsewhere: str) -> None:
    until(lambda: shared.healthy_servers() == [2, 2])
    # A pod of the same labels in another namespace is none of them.
    labels = {**NEIGHBOUR, "app.kubernetes.io/instance": shared.name}
    assert open_to(shared, elsewhere, labels) == {("envoy", 8001)}


def test_prometheus_reaches_only_metrics_and_the_endpoint(shared: Shared, elsewhere: str) -> None:
    for place in (shared.namespace, elsewhere):
        wanted = {("triton", 8002), ("envoy", 9902), ("envoy", 9912), ("envoy", 8001)}
        # A pod that is new to the policy is let in as soon as the node has heard of it.
        until(lambda place=place, wanted=wanted: open_to(shared, place, PROMETHEUS) == wanted, 60)


@pytest.mark.thorough
def test_peers_are_narrowed_widened_and_left_out(shared: Shared, elsewhere: str) -> None:
    physicist = {"role": "physicist"}
    here: Object = {"podSelector": {"matchLabels": physicist}}
    network = ("--tags", "triton,envoy", "--skip-tags", "verify")
    own = {f"{shared.name}-triton", f"{shared.name}-envoy"}

    def policies() -> set[str]:
        path = f"/apis/networking.k8s.io/v1/namespaces/{shared.namespace}/networkpolicies"
        return {item["metadata"]["name"] for item in shared.cluster.api.list(path, "policies")}

    try:
        shared.site(*network, envoy_clients_from=[here], envoy_metrics_from=[here], triton_metrics_from=[])
        until(lambda: open_to(shared, elsewhere, PROMETHEUS) == {("triton", 8002)}, 60)
        wanted = {("envoy", 8001), ("envoy", 9902), ("envoy", 9912), ("triton", 8002)}
        until(lambda: open_to(shared, shared.namespace, physicist) == wanted, 60)
        assert own <= policies()
        shared.site(*network, envoy_network_policy=False, triton_network_policy=False)
        assert not own & policies()
        # What only the policies have kept closed is open now; the admin interfaces are on loopback.
        everything = {(component, port) for component, ports in PORTS.items() for port in ports}
        everything -= {("envoy", 9901), ("envoy", 9911)}
        until(lambda: open_to(shared, elsewhere) == everything, 60)
    finally:
        shared.site(*network)


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
