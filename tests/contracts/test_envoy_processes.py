# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two Envoys in a pod, as they are rendered: the same but for names and the ports that each has alone."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness import renders


def manifests(host: str, factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return {item["kind"]: item for item in renders.of_host(host, factory)["envoy"]}


def as_first(text: str) -> str:
    """What is of the second Envoy, as it would be of the first."""
    return re.sub(r"\b991(\d)\b", r"990\1", re.sub(r"\b(envoy|metrics|drain)-2\b", r"\1", text))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return manifests("processes", tmp_path_factory)


def test_containers_differ_in_names_and_ports_alone(found: dict[str, dict[str, Any]]) -> None:
    first, second = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert (first["name"], second["name"]) == ("envoy", "envoy-2")
    # Said by the options of this host.
    assert second.pop("stdin") is True
    # A name of a port is one of the pod's, so the clients' port, which both have, is named once.
    assert first["ports"].pop(0) == {"name": "grpc", "containerPort": 8001}
    names = [port["name"] for port in first["ports"] + second["ports"]]
    assert names == ["metrics", "drain", "metrics-2", "drain-2"]
    assert json.loads(as_first(json.dumps(second))) == first


def test_envoys_share_the_clients_port_alone(found: dict[str, dict[str, Any]]) -> None:
    texts = found["ConfigMap"]["data"]
    assert as_first(texts["envoy-2.yaml"]) == texts["envoy.yaml"]
    ports = []
    for text in (texts["envoy.yaml"], texts["envoy-2.yaml"]):
        configuration = yaml.safe_load(text)
        holders = [configuration["admin"], *configuration["static_resources"]["listeners"]]
        ports.append({holder["address"]["socket_address"]["port_value"] for holder in holders})
        # Without it the second one could not listen.
        assert not any("enable_reuse_port" in holder for holder in holders)
    assert ports[0] & ports[1] == {8001}
    assert len(ports[0]) == len(ports[1]) == 5


def test_metrics_of_both_are_let_through(found: dict[str, dict[str, Any]]) -> None:
    _clients, metrics = found["NetworkPolicy"]["spec"]["ingress"]
    assert [port["port"] for port in metrics["ports"]] == ["metrics", "metrics-2"]
    (port,) = found["Service"]["spec"]["ports"]
    assert port["targetPort"] == "grpc"


def test_one_envoy_is_the_default(tmp_path_factory: pytest.TempPathFactory) -> None:
    found = manifests("defaults", tmp_path_factory)
    assert [item["name"] for item in found["Deployment"]["spec"]["template"]["spec"]["containers"]] == ["envoy"]
    assert list(found["ConfigMap"]["data"]) == ["envoy.yaml"]
