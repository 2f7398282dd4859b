# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rights that preflight asks for are enough for a whole deployment in a namespace that somebody else has made, and
it asks for none that the deployment does not use."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.playbooks import (
    CLONE,
    LOCAL,
    instance_inventory,
    run_playbook,
)

DEFAULTS = yaml.safe_load((CLONE / "roles/preflight/defaults/main.yml").read_text())
FEATURES = DEFAULTS["preflight_feature_permissions"]


def operator(cluster: Cluster, namespace: str, folder: Path, features: Iterable[str]) -> dict[str, Any]:
    """Variables of an instance of somebody who has the rights for these features, and no others."""
    rules = [
        {"apiGroups": [item.get("group", "")], "resources": [item["resource"]], "verbs": item["verbs"]}
        for item in [*DEFAULTS["preflight_permissions"], *(item for name in features for item in FEATURES[name])]
    ]
    token = cluster.user(namespace, "operator", *rules)
    kubeconfig = folder / "kubeconfig"
    admin = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    admin["users"] = [{"name": admin["contexts"][0]["context"]["user"], "user": {"token": token}}]
    kubeconfig.write_text(json.dumps(admin))
    return {
        "supersonic_namespace": namespace,
        "supersonic_create_namespace": False,
        "supersonic_kubeconfig": str(kubeconfig),
    }


def free_node_port(cluster: Cluster, namespace: str) -> int:
    """A port of the nodes that Kubernetes gives away, and has back."""
    services = f"/api/v1/namespaces/{namespace}/services"
    spec = {"type": "NodePort", "ports": [{"port": 1}]}
    made = cluster.create(services, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "port"}, "spec": spec})
    cluster.api.delete(f"{services}/port", "port")
    return int(made["spec"]["ports"][0]["nodePort"])


# How running servers take a release. Polling needs only to read logs besides; it is tried with SUPERSONIC_REPEATS.
MODES = [("explicit", ["*"]), *([("poll", [])] if "SUPERSONIC_REPEATS" in os.environ else [])]


@pytest.mark.parametrize(("mode", "load"), MODES)
def test_rights_of_preflight_are_enough(
    cluster: Cluster, namespace: str, tmp_path: Path, mode: str, load: list[str]
) -> None:
    others = {"model_rollout_explicit", "model_rollout_poll"} - {f"model_rollout_{mode}"}
    models = tmp_path / "models"
    shutil.copytree(LOCAL / "models/identity", models / "identity")
    variables = {
        **operator(cluster, namespace, tmp_path, FEATURES.keys() - others),
        "model_repository_sources": [str(models)],
        "triton_model_control_mode": mode,
        "triton_model_rollout": mode,
        "triton_load_models": load,
        "triton_repository_poll_seconds": 1,
        "triton_restricted_apis": ["model-repository"],
    }
    inventory = instance_inventory(tmp_path, {"least": variables})

    def run(playbook: str, **extra: Any) -> None:
        done = run_playbook(playbook, inventory, extra=extra)
        assert done.code == 0, done.output

    run("site.yml")
    # Another release, which a server of its own tries before the others load it.
    (models / "identity/notes.txt").write_text("second\n")
    # How fast a busy machine is is no matter of rights.
    run(
        "site.yml",
        model_repository_canary=True,
        model_repository_canary_seconds=0,
        model_repository_canary_latency_ratio=10,
    )
    run("playbooks/teardown.yml", teardown_models=True)
    assert cluster.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/least-triton") is None
    assert cluster.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/least-models") is None
    assert cluster.get(f"/api/v1/namespaces/{namespace}") is not None, "somebody else's namespace stays"


def test_what_is_switched_off_needs_no_rights(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    port = free_node_port(cluster, namespace)
    variables = {
        **operator(cluster, namespace, tmp_path, ["publishing"]),
        "model_repository_mode": "existing",
        "model_repository_test_load": False,
        "triton_pod_disruption_budget": {},
        "envoy_pod_disruption_budget": {},
        "triton_network_policy": False,
        "envoy_network_policy": False,
        "verify_servers": False,
        "verify_envoys": False,
        "verify_address": f"{urlsplit(cluster.api.connection.host).hostname}:{port}",
        "envoy_service_node_port": port,
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "fewer-models"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    cluster.create(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", claim)
    inventory = instance_inventory(tmp_path, {"fewer": variables})
    done = run_playbook("site.yml", inventory, extra={"envoy_network_policy": True})
    assert done.code != 0
    assert "networkpolicies" in done.text
    assert "poddisruptionbudgets" not in done.text
    for playbook in ("site.yml", "playbooks/teardown.yml"):
        done = run_playbook(playbook, inventory)
        assert done.code == 0, done.output
