# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""KEDA comes, stops and goes, on a cluster of its own: on the first one a person may use it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests.harness.autoscaling import held
from ansible_collections.fastml.supersonic.tests.harness.keda import NAMESPACE, Keda, scaled_object
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, workload
from ansible_collections.fastml.supersonic.tests.harness.processes import until

pytestmark = [pytest.mark.alone, pytest.mark.thorough]


@pytest.fixture(scope="module")
def own_keda(new_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Keda:
    found = Keda(new_cluster)
    assert found.role(tmp_path_factory.mktemp("keda")).changed("local-cluster") > 0
    return found


@pytest.fixture
def own_namespace(new_cluster: Cluster) -> Iterator[str]:
    name = new_cluster.new_namespace()
    yield name
    new_cluster.remove_namespace(name)


def test_what_somebody_else_has_set_is_named_and_can_be_taken_over(own_keda: Keda, tmp_path: Path) -> None:
    """Replicas of the webhooks: one more of them is in nobody's way."""
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/keda-admission"
    own_keda.cluster.patch(path, {"spec": {"replicas": 2}})
    try:
        refused = own_keda.role(tmp_path)
        assert refused.code != 0
        assert "another field manager has set .spec.replicas (owned by " in refused.text
        assert "or take them over with keda_force_conflicts: true." in refused.text
        assert own_keda.role(tmp_path, keda_force_conflicts=True).changed("local-cluster") == 1
        assert own_keda.cluster.there(path)["spec"]["replicas"] == 1
    finally:
        own_keda.cluster.patch(path, {"spec": {"replicas": 1}})


def test_life_of_keda(own_keda: Keda, own_namespace: str, tmp_path: Path) -> None:
    """From one that is in use to nothing left, and back."""
    keda, cluster, namespace = own_keda, own_keda.cluster, own_namespace
    path = f"/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects"
    cluster.create(path, scaled_object("pool"))
    refused = keda.role(tmp_path, keda_state="absent")
    assert refused.code != 0
    assert f"would go with it: ScaledObject pool in the namespace {namespace}. Nothing was changed." in refused.text
    cluster.api.delete(f"{path}/pool", "pool")
    until(lambda: cluster.get(f"{path}/pool") is None)
    try:
        removed_and_predicted(keda, tmp_path)
    finally:
        again = keda.role(tmp_path)
    assert again.changed("local-cluster") == 1
    assert keda.look()["problems"] == []


def test_a_pool_stays_while_keda_is_gone(own_keda: Keda, own_namespace: str) -> None:
    """Its operator, whom the API of metrics asks, does not run for three looks of the HorizontalPodAutoscaler."""
    cluster, namespace = own_keda.cluster, own_namespace
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    for name, replicas in (("demand", 2), ("pool", 1)):
        cluster.create(path, workload(name=name, replicas=replicas))
    scaled = scaled_object("pool")
    scaled["spec"]["triggers"][0]["metadata"]["podSelector"] = "app=demand"
    cluster.create(f"/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects", scaled)

    def wanted() -> int:
        return int(cluster.there(f"{path}/pool")["spec"]["replicas"])

    until(lambda: wanted() == 2, 90)
    with without_operator(cluster):
        held(lambda: wanted() == 2, 45)
    held(lambda: wanted() == 2, 20)


@contextlib.contextmanager
def without_operator(cluster: Cluster) -> Iterator[None]:
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/keda-operator"

    def ready() -> int:
        return int(cluster.there(path)["status"].get("readyReplicas") or 0)

    cluster.patch(path, {"spec": {"replicas": 0}})
    try:
        until(lambda: ready() == 0, 60)
        yield
    finally:
        cluster.patch(path, {"spec": {"replicas": 1}})
        until(lambda: ready() == 1, 120)


def removed_and_predicted(keda: Keda, folder: Path) -> None:
    assert keda.role(folder, "--check", keda_state="absent").changed("local-cluster") > 0
    assert keda.sound()
    assert keda.role(folder, keda_state="absent").changed("local-cluster") > 0
    assert keda.left() == []
    assert keda.role(folder, keda_state="absent").changed("local-cluster") == 0
    missing = keda.role(folder, keda_mode="existing", keda_namespace="")
    assert missing.code != 0
    assert "The cluster has no KEDA" in missing.text
    assert keda.role(folder, "--check").changed("local-cluster") == 1
    assert keda.left() == []
