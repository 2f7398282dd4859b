# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pods of every role are by default: they may do nothing that they do not need, and stop without a loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.playbooks import render_in_one_process
from ansible_collections.fastml.supersonic.tests.harness.variables import readme_variables

ROLES = ("envoy", "grafana", "otel_collector", "prometheus", "tempo", "triton")
# Reads which pods there are to scrape.
TALKS_TO_THE_API = {"prometheus"}


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The objects of each role, of the example in its README."""
    folder = tmp_path_factory.mktemp("roles")
    hosts: dict[str, Any] = {}
    tasks = []
    for role in ROLES:
        (folder / role).mkdir()
        hosts[role] = {**readme_variables(role), "supersonic_render_directory": str(folder / role)}
        include = {"name": f"fastml.supersonic.{role}", "tasks_from": "render", "rolespec_validate": False}
        when = f"inventory_hostname == '{role}'"
        tasks.append({"name": f"Write {role}", "ansible.builtin.import_role": include, "when": when})
    play = {"hosts": "all", "gather_facts": False, "tasks": tasks}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    (folder / "hosts.yml").write_text(yaml.safe_dump({"supersonic_instances": {"hosts": hosts}}))
    render_in_one_process(folder / "play.yml", folder / "hosts.yml")
    return {role: read(folder / role) for role in ROLES}


def read(folder: Path) -> list[dict[str, Any]]:
    return [item for path in folder.iterdir() for item in yaml.safe_load_all(path.read_text()) if item]


def one(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (item for item in objects if item["kind"] == kind)
    return found


def pod(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = (item["spec"]["template"]["spec"] for item in objects if item["kind"] in ("Deployment", "StatefulSet"))
    return dict(found)


@pytest.mark.parametrize("role", ROLES)
def test_a_pod_may_do_no_more_than_it_needs(manifests: dict[str, list[dict[str, Any]]], role: str) -> None:
    spec = pod(manifests[role])
    assert spec["automountServiceAccountToken"] is (role in TALKS_TO_THE_API)
    assert spec["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= set(container["resources"])
        assert "memory" in container["resources"]["limits"]
        assert "readinessProbe" in container


def test_a_server_that_stops_has_time_for_what_it_has(manifests: dict[str, list[dict[str, Any]]]) -> None:
    """It first leaves the endpoints, then ends its requests, and is killed after both."""
    spec = pod(manifests["triton"])
    (server,) = spec["containers"]
    assert server["command"] == ["tritonserver"]
    (timeout,) = (int(word.partition("=")[2]) for word in server["args"] if word.startswith("--exit-timeout-secs="))
    leaves = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 0 < leaves < leaves + timeout < spec["terminationGracePeriodSeconds"]


def test_an_envoy_that_stops_has_time_to_drain(manifests: dict[str, list[dict[str, Any]]]) -> None:
    spec = pod(manifests["envoy"])
    (envoy,) = spec["containers"]
    drain = int(envoy["args"][envoy["args"].index("--drain-time-s") + 1])
    assert envoy["lifecycle"]["preStop"]["httpGet"]["path"] == "/drain"
    assert 0 < drain < spec["terminationGracePeriodSeconds"]


def test_one_bad_model_takes_no_server_out(manifests: dict[str, list[dict[str, Any]]]) -> None:
    (server,) = pod(manifests["triton"])["containers"]
    assert {"--strict-readiness=false", "--exit-on-error=false"} <= set(server["args"])
    for what in ("http-restricted-api", "grpc-restricted-protocol"):
        (closed,) = (word for word in server["args"] if word.startswith(f"--{what}="))
        assert {"shared-memory", "trace", "logging"} <= set(closed.partition("=")[2].partition(":")[0].split(","))


@pytest.mark.parametrize("role", ["envoy", "triton"])
def test_an_update_or_a_drain_leaves_enough(manifests: dict[str, list[dict[str, Any]]], role: str) -> None:
    objects = manifests[role]
    assert one(objects, "Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert one(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_servers_take_requests_of_envoys_alone(manifests: dict[str, list[dict[str, Any]]]) -> None:
    policy = one(manifests["triton"], "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    for rule in policy["ingress"]:
        # Without it everybody is let in.
        assert rule["from"]
    (requests,) = (rule for rule in policy["ingress"] if {"port": 8001, "protocol": "TCP"} in rule["ports"])
    (peer,) = requests["from"]
    assert set(peer) == {"podSelector"}
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "envoy"
