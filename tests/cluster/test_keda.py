# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role keda and the module keda_info with the real KEDA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.keda import NAMESPACE, WANTED, Keda
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, container, workload
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE
from ansible_collections.fastml.supersonic.tests.harness.processes import until

API_SERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"


def info(cluster: Cluster, **options: Any) -> dict[str, Any]:
    if "host" not in options:
        options["kubeconfig"] = cluster.kubeconfig
    return run_module("keda_info", {**WANTED, **options})


@pytest.mark.usefixtures("keda")
def test_what_runs_is_what_is_wanted(cluster: Cluster, namespace: str) -> None:
    found = info(cluster, watched=[namespace])
    assert found["problems"] == []
    assert found["unread"] == []
    assert (found["version"], found["namespace"], found["watches"]) == ("2.21.0", NAMESPACE, [])
    assert not found["changed"]


def test_another_run_changes_nothing(keda: Keda, tmp_path: Path) -> None:
    """Nor do certificates that KEDA has put into its webhooks and APIService meanwhile."""
    authority = keda.cluster.there(API_SERVICE)["spec"]["caBundle"]
    done = keda.role(tmp_path, "--diff")
    assert done.changed("local-cluster") == 0, done.output
    assert keda.cluster.there(API_SERVICE)["spec"]["caBundle"] == authority


def test_existing_passes_and_one_that_is_too_old_is_refused(keda: Keda, namespace: str, tmp_path: Path) -> None:
    existing = {"keda_mode": "existing", "keda_namespace": "", "keda_instance_namespaces": [namespace]}
    local = yaml.safe_load((CLONE / "inventories/local/group_vars/all.yml").read_text())
    hosts = {"sound": existing, "old": {**existing, "keda_minimum_version": "9.0"}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"supersonic_clusters": {"hosts": hosts, "vars": local}}))
    done = keda.role(tmp_path, inventory=tmp_path / "hosts.yml", hosts="supersonic_clusters")
    assert (done.recap["sound"]["failed"], done.recap["sound"]["changed"]) == (0, 0), done.output
    assert (done.recap["old"]["failed"], done.recap["old"]["changed"]) == (1, 0), done.output
    assert "KEDA is of version 2.21.0, but 9.0 or newer is needed." in done.text


@pytest.mark.thorough
def test_check_mode_predicts_nothing(keda: Keda, tmp_path: Path) -> None:
    done = keda.role(tmp_path, "--check", "--diff")
    assert done.changed("local-cluster") == 0, done.output


@pytest.mark.usefixtures("keda")
@pytest.mark.parametrize(
    ("replicas", "environment", "problems"),
    [
        (0, {"WATCH_NAMESPACE": ""}, ["The Deployment keda-operator in the namespace {0} is scaled to 0"]),
        (1, {"WATCH_NAMESPACE": "others,more"}, ["KEDA does not watch the namespace cms, only others, more"]),
    ],
)
def test_faults_of_another_operator_are_named(
    cluster: Cluster, namespace: str, replicas: int, environment: dict[str, str], problems: list[str]
) -> None:
    """Of one that somebody is said to have in another namespace: the real one is for all tests."""
    main = container(env=[{"name": name, "value": value} for name, value in environment.items()])
    pod = {"containers": [main], "serviceAccountName": "default"}
    operator = workload("Deployment", "keda-operator", pod=pod, replicas=replicas)
    cluster.create(f"/apis/apps/v1/namespaces/{namespace}/deployments", operator)
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/keda-operator"
    until(lambda: cluster.there(path)["status"].get("readyReplicas", 0) == replicas)
    expected = [
        # The one API of external metrics is the real KEDA's.
        f"External metrics are asked of the Service keda-metrics-apiserver in the namespace {NAMESPACE}, which is not "
        f"KEDA's in the namespace {namespace}",
        *(text.format(namespace) for text in problems),
        f"KEDA's operator (system:serviceaccount:{namespace}:default) may not watch scaledobjects and create "
        "horizontalpodautoscalers and update deployments/scale in the namespace cms",
    ]
    found = info(cluster, namespace=namespace, watched=["cms"])["problems"]
    assert len(found) == len(expected), found
    assert all(text.startswith(start) for text, start in zip(found, expected, strict=True)), found


@pytest.mark.usefixtures("keda")
def test_rights_in_one_namespace_are_enough_to_ask(cluster: Cluster, namespace: str, ca_file: str) -> None:
    rule = {"apiGroups": ["keda.sh"], "resources": ["scaledobjects"], "verbs": ["get", "create", "patch"]}
    user = cluster.as_user(cluster.user(namespace, "operator", rule), ca_file)
    found = info(cluster, watched=[namespace], **user)
    assert found["problems"] == []
    assert found["installed"]
    assert found["watches"] is None
    assert [text.partition(",")[0] for text in found["unread"]] == [
        "We may not read the APIService v1beta1.external.metrics.k8s.io",
        f"We may not read Deployments in the namespace {NAMESPACE}",
    ]
    (problem,) = info(cluster, fields=["spec.fallback.miracles"], **user)["problems"]
    assert problem.startswith("The ScaledObject of this KEDA has no spec.fallback.miracles")
