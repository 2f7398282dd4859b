# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import (
    GroupKind,
    Kinds,
    Resource,
    defined_by,
    is_builtin_group,
    rank,
)


def test_order() -> None:
    ordered = [
        "Namespace",
        "CustomResourceDefinition.apiextensions.k8s.io",
        "ServiceAccount",
        "RoleBinding.rbac.authorization.k8s.io",
        "Secret",
        "PersistentVolumeClaim",
        "Service",
        "Deployment.apps",
        "ScaledObject.keda.sh",
        "Ingress.networking.k8s.io",
        "ValidatingWebhookConfiguration.admissionregistration.k8s.io",
    ]
    shuffled = random.Random(1).sample(ordered, len(ordered))
    assert sorted(shuffled, key=lambda text: rank(GroupKind.parse(text))) == ordered


@pytest.mark.parametrize(("one", "other"), [("Role", "RoleBinding"), ("ClusterRole", "ClusterRoleBinding")])
def test_roles_come_before_what_binds_them(one: str, other: str) -> None:
    assert rank(GroupKind("rbac.authorization.k8s.io", one)) < rank(GroupKind("rbac.authorization.k8s.io", other))


def test_kinds_of_others_with_a_known_name_are_custom() -> None:
    assert rank(GroupKind("serving.example.org", "Service")) == rank(GroupKind("keda.sh", "ScaledObject"))


@pytest.mark.parametrize(
    ("group", "builtin"),
    [
        ("", True),
        ("apps", True),
        ("networking.k8s.io", True),
        ("gateway.networking.k8s.io", False),
        ("snapshot.storage.k8s.io", False),
        ("keda.sh", False),
        ("nvidia.com", False),
    ],
)
def test_builtin_groups(group: str, builtin: bool) -> None:
    assert is_builtin_group(group) is builtin


@pytest.mark.parametrize("text", ["ConfigMap", "Deployment.apps", "ScaledObject.keda.sh"])
def test_group_kind_as_text(text: str) -> None:
    assert str(GroupKind.parse(text)) == text


class Discovery:
    """Answers discovery from a dictionary and counts what it was asked."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def find(self, path: str, _what: str) -> Any:
        self.asked.append(path)
        return self.answers.get(path)


KEDA = {
    "/apis/keda.sh": {"preferredVersion": {"version": "v1"}, "versions": [{"version": "v1"}, {"version": "v1alpha1"}]},
    "/apis/keda.sh/v1": {"resources": []},
    "/apis/keda.sh/v1alpha1": {
        "resources": [
            {"name": "scaledobjects", "kind": "ScaledObject", "namespaced": True},
            {"name": "scaledobjects/status", "kind": "ScaledObject", "namespaced": True},
        ]
    },
}
SCALED_OBJECT = Resource("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects", True)


@pytest.mark.parametrize(
    ("group", "version", "kind", "path"),
    [
        ("", "v1", "ConfigMap", "/api/v1/namespaces/n/configmaps/x"),
        ("", "v1", "Namespace", "/api/v1/namespaces/x"),
        ("apps", "v1", "StatefulSet", "/apis/apps/v1/namespaces/n/statefulsets/x"),
        ("networking.k8s.io", "v1", "Ingress", "/apis/networking.k8s.io/v1/namespaces/n/ingresses/x"),
        ("networking.k8s.io", "v1", "NetworkPolicy", "/apis/networking.k8s.io/v1/namespaces/n/networkpolicies/x"),
        ("storage.k8s.io", "v1", "StorageClass", "/apis/storage.k8s.io/v1/storageclasses/x"),
    ],
)
def test_kinds_of_kubernetes_cost_no_request(group: str, version: str, kind: str, path: str) -> None:
    api = Discovery({})
    resource = Kinds(api).find(group, version, kind)  # type: ignore[arg-type]
    assert resource is not None
    assert resource.path("n", "x") == path
    assert api.asked == []


def test_other_kinds_are_looked_up_once() -> None:
    api = Discovery(KEDA)
    kinds = Kinds(api)  # type: ignore[arg-type]
    assert kinds.find("keda.sh", "v1alpha1", "ScaledObject") == SCALED_OBJECT
    assert kinds.find("keda.sh", "v1alpha1", "Nothing") is None
    assert api.asked == ["/apis/keda.sh/v1alpha1"]
    kinds.forget(["keda.sh"])
    assert kinds.find("keda.sh", "v1alpha1", "ScaledObject") == SCALED_OBJECT
    assert len(api.asked) == 2


def test_any_version_that_serves_the_kind() -> None:
    assert Kinds(Discovery(KEDA)).find_any(GroupKind("keda.sh", "ScaledObject")) == SCALED_OBJECT  # type: ignore[arg-type]
    assert Kinds(Discovery({})).find_any(GroupKind("keda.sh", "ScaledObject")) is None  # type: ignore[arg-type]


def test_kind_that_is_known_already_is_not_looked_up() -> None:
    api = Discovery(KEDA)
    kinds = Kinds(api)  # type: ignore[arg-type]
    kinds.learn([SCALED_OBJECT])
    assert kinds.find_any(GroupKind("keda.sh", "ScaledObject")) == SCALED_OBJECT
    assert api.asked == []


def test_defined_by() -> None:
    crd = {
        "spec": {
            "group": "keda.sh",
            "scope": "Namespaced",
            "names": {"kind": "ScaledObject", "plural": "scaledobjects"},
            "versions": [{"name": "v1alpha1", "served": True}, {"name": "v1alpha0", "served": False}],
        }
    }
    assert defined_by(crd) == [SCALED_OBJECT]
    with pytest.raises(SupersonicError, match=r"CustomResourceDefinition/x: spec\.group"):
        defined_by({"metadata": {"name": "x"}, "spec": {}})


def test_names_are_quoted_in_paths() -> None:
    resource = Resource("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", False)
    assert resource.path(None, "system:a/b").endswith("/clusterroles/system:a%2Fb")
