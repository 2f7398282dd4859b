# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""manifests: the number of replicas is left to whoever decides on it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, config_map, workload


def hpa(name: str = "web") -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 1,
            "maxReplicas": 5,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
                }
            ],
        },
    }


def idle(replicas: int | None = 2) -> dict[str, Any]:
    """A Deployment whose pods are never made: only its number of replicas matters here."""
    return workload(
        paused=True, pod={"nodeSelector": {"no": "where"}}, **({} if replicas is None else {"replicas": replicas})
    )


def path(namespace: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/deployments/web"


def replicas(cluster: Cluster, namespace: str) -> int:
    number = cluster.there(path(namespace))["spec"]["replicas"]
    assert isinstance(number, int)
    return number


def scale(cluster: Cluster, namespace: str, number: int) -> None:
    """As an autoscaler does it: through the scale subresource, under its own name."""
    cluster.patch(f"{path(namespace)}/scale", {"spec": {"replicas": number}}, manager="kube-controller-manager")


def test_autoscaler_in_the_set(cluster: Cluster, namespace: str) -> None:
    assert not cluster.manifests(namespace, idle(), hpa())["failed"]
    scale(cluster, namespace, 4)
    again = cluster.manifests(namespace, idle(), hpa())
    assert not again["failed"], again
    assert not again["changed"], again["diff"]
    assert replicas(cluster, namespace) == 4


def test_autoscaler_beside_the_set(cluster: Cluster, namespace: str) -> None:
    cluster.manifests(namespace, hpa(), name="autoscaler")
    cluster.manifests(namespace, idle())
    scale(cluster, namespace, 3)
    assert not cluster.manifests(namespace, idle())["changed"]
    assert replicas(cluster, namespace) == 3


def test_autoscaler_that_comes_later_does_not_scale_down(cluster: Cluster, namespace: str) -> None:
    """Leaving out a number that is ours would reset it to one: all servers but one would go at once."""
    cluster.manifests(namespace, idle(3))
    assert not cluster.manifests(namespace, idle(3), hpa())["failed"]
    assert replicas(cluster, namespace) == 3
    assert not cluster.manifests(namespace, idle(3), hpa())["changed"]
    scale(cluster, namespace, 5)
    assert not cluster.manifests(namespace, idle(3), hpa())["changed"]
    assert replicas(cluster, namespace) == 5


def test_without_the_autoscaler_the_number_counts_again(cluster: Cluster, namespace: str) -> None:
    cluster.manifests(namespace, idle(), hpa())
    scale(cluster, namespace, 4)
    predicted = cluster.manifests(namespace, idle(), check=True)
    applied = cluster.manifests(namespace, idle())
    assert not applied["failed"], applied
    assert predicted["diff"] == applied["diff"]
    assert replicas(cluster, namespace) == 2
    assert not cluster.manifests(namespace, idle())["changed"]


def test_scaled_by_hand_is_a_conflict(cluster: Cluster, namespace: str) -> None:
    cluster.manifests(namespace, idle())
    cluster.patch(f"{path(namespace)}/scale", {"spec": {"replicas": 4}}, manager="kubectl")
    message = cluster.manifests(namespace, idle())["msg"]
    assert ".spec.replicas (owned by kubectl)" in message


@pytest.mark.parametrize(("autoscaled", "expected"), [(True, 4), (False, 2)])
def test_told_by_the_user(cluster: Cluster, namespace: str, autoscaled: bool, expected: int) -> None:
    definitions = [idle()] if autoscaled else [idle(), hpa()]
    cluster.manifests(namespace, *definitions, autoscaled=autoscaled)
    scale(cluster, namespace, 4)
    result = cluster.manifests(namespace, *definitions, autoscaled=autoscaled)
    assert not result["failed"], result
    assert replicas(cluster, namespace) == expected


def test_user_who_may_not_read_autoscalers(cluster: Cluster, namespace: str, ca_file: str) -> None:
    rights = {"apiGroups": ["", "apps"], "resources": ["*"], "verbs": ["*"]}
    options = cluster.as_user(cluster.user(namespace, "deployer", rights), ca_file)
    cluster.manifests(namespace, hpa(), name="autoscaler")
    assert not cluster.manifests(namespace, idle(), **options)["failed"]
    scale(cluster, namespace, 4)
    result = cluster.manifests(namespace, idle(), config_map(), **options)
    assert not result["failed"], result
    assert replicas(cluster, namespace) == 4
