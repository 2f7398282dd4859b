# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Role that preflight gives for all features is enough to deploy, update and remove an instance in a namespace that
somebody else has made, one with most features off needs the rights of those alone that are on, and of each verb that is
taken away preflight says that it is missing, by the API server's reviews. Nothing is tried without a verb, and nobody
counts which verbs are used."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import connection
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight import checks as preflight_checks
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import (
    CLONE,
    LOCAL,
    instance_inventory,
    run_playbook,
)
from ansible_collections.fastml.supersonic.tests.harness.processes import until

DEFAULTS = yaml.safe_load((CLONE / "roles/preflight/defaults/main.yml").read_text())
FEATURES = DEFAULTS["preflight_feature_permissions"]


RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"


def permissions(features: Iterable[str]) -> list[dict[str, Any]]:
    """As the role preflight puts them together."""
    return [*DEFAULTS["preflight_permissions"], *(item for name in features for item in FEATURES[name])]


def user_with_the_role(cluster: Cluster, namespace: str, features: Iterable[str]) -> tuple[str, dict[str, Any]]:
    """The token of somebody who has the generated Role and nothing else, and the Role."""
    asked = {
        "kubeconfig": cluster.kubeconfig,
        "namespace": namespace,
        "instance": "least",
        "permissions": permissions(features),
        "role_subject": {"kind": "ServiceAccount", "name": "operator"},
    }
    role, binding = run_module("cluster_info", asked)["role"]
    token = cluster.user(namespace, "operator")
    cluster.create(f"{RBAC}/{namespace}/roles", role)
    cluster.create(f"{RBAC}/{namespace}/rolebindings", binding)
    return token, role


def operator(cluster: Cluster, namespace: str, folder: Path, features: Iterable[str]) -> dict[str, Any]:
    """Variables of an instance of somebody who has the Role for these features, and nothing else."""
    token, _role = user_with_the_role(cluster, namespace, features)
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


# How running servers take a release. Polling needs only to read logs besides.
MODES = [("explicit", ["*"]), pytest.param("poll", [], marks=pytest.mark.thorough)]


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


@pytest.mark.thorough
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


def test_every_verb_that_is_missing_is_named(cluster: Cluster, namespace: str, ca_file: str) -> None:
    """One Role with the rights of all features, each verb taken away in its turn; the API server's reviews answer."""
    token, role = user_with_the_role(cluster, namespace, FEATURES)
    api = Api(connection(cluster.as_user(token, ca_file)))
    wanted = {"namespace": namespace, "permissions": permissions(FEATURES)}

    def missing() -> list[str]:
        found = preflight_checks.inspect(api, wanted)
        held = [f"{item['verb']} {item['resource']}" for item in found["permissions"] if not item["held"]]
        assert len(found["problems"]) == len({text.partition(" ")[2] for text in held})
        return held

    def granted(rules: list[dict[str, Any]]) -> None:
        path = f"{RBAC}/{namespace}/roles/{role['metadata']['name']}"
        cluster.patch(path, {"rules": rules})

    # Who authorizes learns of a Role a moment later.
    until(lambda: not missing())
    count = 0
    for index, rule in enumerate(role["rules"]):
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                rules = copy.deepcopy(role["rules"])
                rules[index]["resources"].remove(resource)
                others = [item for item in rule["verbs"] if item != verb]
                rules.append({**rule, "resources": [resource], "verbs": others})
                granted([item for item in rules if item["resources"] and item["verbs"]])
                until(lambda text=f"{verb} {resource}": missing() == [text])
                count += 1
    assert count > 80
