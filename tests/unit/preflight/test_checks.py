# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cluster lacks, in words; the server stands for a poor cluster that nobody has at hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import Connection
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight import checks as preflight_checks
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight import rbac
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.preflight_requirements import features
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.role_variables import all_defaults, of_host
from ansible_collections.fastml.supersonic.tests.harness.answers import served
from ansible_collections.fastml.supersonic.tests.harness.poor_cluster import Poor

DEFAULTS = yaml.safe_load((Path(__file__).resolve().parents[3] / "roles/preflight/defaults/main.yml").read_text())
FEATURES = DEFAULTS["preflight_feature_permissions"]
CHANGING = "create, patch and delete"


@pytest.fixture
def api() -> Iterator[Api]:
    Poor.asked.clear()
    with served(Poor) as address:
        yield Api(Connection(host=address, source="a test"))


def problems(api: Api, **wanted: Any) -> list[str]:
    found = preflight_checks.inspect(api, {"namespace": "cms", **wanted})["problems"]
    assert isinstance(found, list)
    return found


def test_a_right_that_two_features_need_is_asked_for_and_named_once(api: Api) -> None:
    (pvc,) = [
        text
        for text in problems(api, permissions=[*FEATURES["publishing"], *FEATURES["managed_claim"]])
        if "persistentvolumeclaims" in text
    ]
    assert pvc == (
        "We may not patch, create and delete persistentvolumeclaims in the namespace cms (supersonic_namespace). Ask "
        f"for a Role with these verbs on it, or {preflight_checks.PUBLISH_NOTHING} and set "
        "prometheus_persistent, tempo_persistent and grafana_persistent to false where these are deployed."
    )
    assert len(Poor.asked) == len(set(Poor.asked))


@pytest.mark.parametrize(
    ("permissions", "end"),
    [
        (DEFAULTS["preflight_permissions"][:1], f"We may not {CHANGING} deployments.apps in the namespace cms"),
        (DEFAULTS["preflight_permissions"][:1], "Ask for a Role with these verbs on it."),
        (
            FEATURES["port_forward"],
            "on it, or set verify_servers, verify_envoys and model_repository_test_load to false, "
            "triton_model_rollout to rolling where it is explicit, and let supersonic_prometheus_url, "
            "supersonic_tempo_url and grafana_url be addresses outside of the cluster, or take",
        ),
        (
            FEATURES["disruption_budgets"],
            "on it, or set triton_pod_disruption_budget and envoy_pod_disruption_budget to {}.",
        ),
        (FEATURES["network_policies"], "on it, or set triton_network_policy and envoy_network_policy to false, and"),
        (
            FEATURES["publishing"][1:2],
            "create, patch and delete pods in the namespace cms (supersonic_namespace). Ask for",
        ),
        (FEATURES["publishing"][1:2], f"on it, or {preflight_checks.PUBLISH_NOTHING}."),
        (FEATURES["publishing"][2:], f"on it, or {preflight_checks.PUBLISH_NOTHING}."),
        (FEATURES["model_rollout_explicit"], "We may not patch pods in the namespace cms (supersonic_namespace). Ask"),
        (FEATURES["model_rollout_explicit"], "on it, or set triton_model_rollout to rolling."),
        (
            [*FEATURES["publishing"][1:2], *FEATURES["model_rollout_explicit"]],
            f"on it, or {preflight_checks.PUBLISH_NOTHING} and set triton_model_rollout to rolling.",
        ),
    ],
)
def test_missing_rights_name_what_asks_for_them(api: Api, permissions: list[dict[str, Any]], end: str) -> None:
    (text,) = problems(api, permissions=permissions)
    assert end in text


def test_what_asks_services_is_named_with_their_rights() -> None:
    """The hint names each component that asks by a Service, and how it does without."""
    names = ["prometheus", "autoscaler", "otel_collector", "tempo", "verify_dashboards", "preflight_backup"]

    def asking(resource: str) -> set[str]:
        return {name for name, items in FEATURES.items() if any(item["resource"] == resource for item in items)}

    # Services are reached at the pods behind them.
    assert asking("pods/portforward") - {"port_forward"} == asking("endpointslices") == {"services"}
    for name in names:
        assert name in preflight_checks.WITHOUT["pods/portforward"]
        assert name in preflight_checks.WITHOUT["endpointslices.discovery.k8s.io"]


def test_a_service_of_another_namespace_is_told(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Role of our own says nothing there."""
    urls = ["http://prometheus.monitoring.svc:9090", "http://tempo.monitoring.svc:3200"]
    services = [{"url": url, "namespace": "monitoring"} for url in urls]

    def rows() -> list[tuple[str, str, str, str]]:
        found = preflight_checks.inspect(api, {"namespace": "cms", "services": services})
        assert not found["problems"]
        assert not found["permissions"]
        return [
            (row["severity"], row["subject"], row["found"], row["action"])
            for row in found["findings"]
            if row["check"] == "permissions" and row["subject"] == "monitoring"
        ]

    asked = f"{urls[0]} and {urls[1]} are asked by a Service of the namespace monitoring, where "
    assert rows() == [
        (
            "warning",
            "monitoring",
            f"{asked}we may not get services, list endpointslices.discovery.k8s.io, get pods/portforward and create "
            "pods/portforward.",
            "Ask for a Role with these verbs there, or name an address outside of the cluster.",
        )
    ]
    monkeypatch.setattr(preflight_checks, "allowed", lambda _api, _right, namespace: namespace == "monitoring")
    assert rows() == [("ok", "monitoring", f"{asked}all that this takes is held.", "")]
    wanted = set(rbac.rights([*DEFAULTS["preflight_permissions"], *FEATURES["services"]]))
    assert set(preflight_checks.BY_SERVICE) <= wanted


def test_what_lacks_a_verb_is_what_an_instance_does_without() -> None:
    asked = [*DEFAULTS["preflight_permissions"], FEATURES["publishing"][1], *FEATURES["model_rollout_poll"]]
    assert preflight_checks._missing(["get"], "pods/log", "cms").sentence.endswith(
        "or set triton_model_rollout to rolling."
    )
    # Reading pods is needed by every instance.
    assert not preflight_checks._without_pods(["list"], asked)
    assert not preflight_checks._without_pods(["list", "create", "patch"], asked)
    assert preflight_checks._without_pods(["create"], asked) == preflight_checks.PUBLISH_NOTHING
    both = f"{preflight_checks.PUBLISH_NOTHING} and {preflight_checks.REPLACE_SERVERS}"
    assert preflight_checks._without_pods(["patch"], asked) == both


def test_gpus_name_their_variables(api: Api) -> None:
    assert problems(api, node_resources={"nvidia.com/gpu": 2}) == [
        "No node offers 2 of nvidia.com/gpu for one pod; the largest of 1 node offers 0. Change triton_gpus or "
        "triton_gpu_resource, or preflight_node_resources where that is set; it is {} where nodes come on demand."
    ]


def test_storage_classes_name_their_variables(api: Api) -> None:
    assert problems(api, storage_classes=["fast", "", "by-hand", "slow"]) == [
        "There is no storage class fast (model_repository_storage_class, prometheus_storage_class, "
        "tempo_storage_class, grafana_storage_class, or preflight_storage_classes where that is set). The cluster has "
        "slow. Name one that is there.",
        "The cluster has no default storage class, so model_repository_storage_class, prometheus_storage_class, "
        "tempo_storage_class and grafana_storage_class, where there are claims, have to name one. It has slow.",
    ]


def test_kinds_say_who_brings_them_and_what_needs_them(api: Api) -> None:
    kinds = [item for items in DEFAULTS["preflight_feature_kinds"].values() for item in items]
    found = problems(api, kinds=[*kinds, {"api_version": "example.org/v1", "kind": "Own"}])
    assert len(found) == len(kinds) + 1
    assert found[0] == (
        "The cluster has no kind GRPCRoute of gateway.networking.k8s.io/v1, which comes with the Gateway API, 1.1 or "
        "newer. Ask for it to be installed, or do without it (envoy_gateway_route)."
    )
    assert found[-1] == "The cluster has no kind Own of example.org/v1. Ask for it to be installed."
    variables = ("(envoy_", "(supersonic_components", "(prometheus_")
    assert all(any(name in sentence for name in variables) for sentence in found[:-1])
    assert not problems(api, kinds=[{"api_version": "networking.k8s.io/v1", "kind": "Ingress"}])


def test_ingress_class_names_its_variable(api: Api) -> None:
    # One of Envoy's and one of Grafana's.
    assert problems(api, ingress_classes=["public", "nginx", "nginx"]) == [
        "There is no ingress class nginx (class_name of envoy_ingress or grafana_ingress, or preflight_ingress_classes "
        "where that is set). The cluster has public. Name one that is there."
    ]
    assert not problems(api, ingress_classes=["public"])


def test_what_is_known_to_name_it_is_named(api: Api) -> None:
    """With its place in the inventory, and none of what might have."""
    given = {
        "prometheus_storage_class": "fast",
        "grafana_storage_class": "slow",
        "preflight_storage_classes[1]": "fast",
        "envoy_ingress.class_name": "nginx",
        "triton_model_repositories[0].name": "fast",
        "triton_gpus": 2,
        "triton_gpu_resource": "example.org/gpu",
    }
    origins = [{"variable": name, "value": str(value), "origin": f"hosts.yml:{line}"}
               for line, (name, value) in enumerate(given.items(), 1)]  # fmt: skip
    wanted = {"storage_classes": ["fast"], "ingress_classes": ["nginx"], "node_resources": {"example.org/gpu": 2}}
    ingress, storage, gpus = problems(api, **wanted, origins=origins)
    assert storage == (
        "There is no storage class fast, the value of prometheus_storage_class (hosts.yml:1) and "
        "preflight_storage_classes[1] (hosts.yml:3). The cluster has slow. Name one that is there."
    )
    assert ingress.startswith(
        "There is no ingress class nginx, the value of envoy_ingress.class_name (hosts.yml:4). The"
    )
    assert "Change triton_gpus (hosts.yml:6) and triton_gpu_resource (hosts.yml:7), or preflight_node_resources" in gpus


def test_every_feature_says_how_to_do_without_it() -> None:
    always = {(item["resource"], item.get("group", "")) for item in DEFAULTS["preflight_permissions"]}
    for permissions in FEATURES.values():
        for item in permissions:
            name = item["resource"] + (f".{item['group']}" if "group" in item else "")
            assert name in preflight_checks.WITHOUT or preflight_checks._without_pods(item["verbs"], permissions)
    assert {"persistentvolumeclaims", "pods/exec"}.isdisjoint(resource for resource, _group in always)


def test_advice_names_every_switch_of_a_right() -> None:
    """Whoever follows it is not refused again: each variable that brings a feature is in the advice on its rights."""
    switch = re.compile(r"\w+_(?:network_policy|pod_disruption_budget|ingress|openshift_route)")
    switches = {name for name in all_defaults() if switch.fullmatch(name)}
    listed = ["prometheus", "otel_collector", "tempo", "grafana", "autoscaler"]
    off = {"supersonic_namespace": "cms", "supersonic_components": listed, **{name: {} for name in switches}}
    seen = 0
    for name in sorted(switches):
        for feature in set(features(of_host({**off, name: {"host": "a"}}))) - set(features(of_host(off))):
            for item in FEATURES[feature]:
                advice = preflight_checks.WITHOUT[item["resource"] + (f".{item['group']}" if "group" in item else "")]
                assert name in advice, f"{feature}: {name}"
                seen += 1
    assert seen > 8
