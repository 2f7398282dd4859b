# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Determines what the roles of an instance need of its cluster, from its variables.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import (
    AUTOSCALER,
    COMPONENTS,
    GRAFANA,
    OTEL_COLLECTOR,
    PROMETHEUS,
    TEMPO,
    Component,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.asked_services import asked_services
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.instance_models import instance_models

Variables = Mapping[str, Any]


def features(instance: Variables) -> list[str]:
    """Names of preflight_feature_permissions whose rights the instance takes."""
    models = instance_models(instance)
    # Backups, and releases that others publish, take the same rights as publishing.
    kept = models["in_claim"] and bool(models["published"] or instance["preflight_backup"])
    grafana, prometheus = _managed(instance, GRAFANA), _managed(instance, PROMETHEUS)
    tempo, told = _managed(instance, TEMPO), _uses_prometheus_of_site(instance)
    rollout = instance["triton_model_rollout"]
    prometheus_secrets = bool(
        instance["supersonic_prometheus_token"] or instance["supersonic_prometheus_ca_certificates"]
    )
    used: dict[str, Any] = {
        "port_forward": instance["verify_servers"]
        or instance["verify_envoys"]
        or rollout == "explicit"
        or (kept and instance["model_repository_test_load"]),
        "services": any(
            service["namespace"] == str(instance["supersonic_namespace"]) for service in asked_services(instance)
        ),
        "disruption_budgets": instance["triton_pod_disruption_budget"] or instance["envoy_pod_disruption_budget"],
        "network_policies": instance["triton_network_policy"]
        or instance["envoy_network_policy"]
        or (_listed(instance, OTEL_COLLECTOR) and instance["otel_collector_network_policy"])
        or (tempo and instance["tempo_network_policy"]),
        "publishing": kept,
        "managed_claim": kept and instance["model_repository_mode"] == "managed",
        "model_rollout_explicit": rollout == "explicit",
        "model_rollout_poll": rollout == "poll",
        "access_secret": instance["envoy_tokens"]
        or instance["envoy_tls_certificate"]
        or (instance["envoy_gpu_metrics"] and instance["supersonic_prometheus_token"]),
        "ingress": instance["envoy_ingress"] or (grafana and instance["grafana_ingress"]),
        "gateway_route": instance["envoy_gateway_route"],
        "gateway_tls": (instance["envoy_gateway_route"] or {}).get("backend_tls"),
        "openshift_route": instance["envoy_openshift_route"],
        "certificate": instance["envoy_certificate"],
        "prometheus": prometheus,
        "prometheus_claim": prometheus and instance["prometheus_persistent"],
        "grafana_policy": grafana and instance["grafana_network_policy"],
        "grafana_claim": grafana and instance["grafana_persistent"],
        "grafana_secret": grafana
        and (
            instance["grafana_admin_password"]
            or prometheus_secrets
            or instance["supersonic_tempo_token"]
            or instance["supersonic_tempo_ca_certificates"]
        ),
        "drain": instance["preflight_drain"],
        "tempo_claim": tempo and instance["tempo_persistent"],
        "pod_monitor": told and instance["prometheus_pod_monitor"] == "always",
        "recording_rules": told and instance["prometheus_rule"] == "always",
        "autoscaler": _listed(instance, AUTOSCALER),
        "autoscaler_secret": _listed(instance, AUTOSCALER)
        and not instance["autoscaler_authentication_ref"]
        and prometheus_secrets,
    }
    return [name for name, wanted in used.items() if wanted]


def services(instance: Variables) -> list[dict[str, str]]:
    """Services of other namespaces that are asked, each with url and namespace."""
    own = str(instance["supersonic_namespace"])
    return [service for service in asked_services(instance) if service["namespace"] != own]


def storage_classes(instance: Variables) -> list[str]:
    """Those of the claims that roles make; "" for the cluster's default."""
    found = []
    for component in COMPONENTS:
        if not component.data:
            continue
        if component.optional:
            claims = _managed(instance, component) and instance[f"{component.role}_persistent"]
        else:
            models = instance_models(instance)
            claims = models["published"] and not models["path"] and instance[f"{component.role}_mode"] == "managed"
        if claims:
            found.append(str(instance[f"{component.role}_storage_class"] or ""))
    return found


def ingress_classes(instance: Variables) -> list[str]:
    """Those that Ingresses name."""
    ingresses = [instance["envoy_ingress"], instance["grafana_ingress"] if _managed(instance, GRAFANA) else {}]
    return list(dict.fromkeys(str(item["class_name"]) for item in ingresses if (item or {}).get("class_name")))


def node_resources(instance: Variables) -> dict[str, int]:
    """The resources that one server needs of a node besides CPU and memory."""
    gpus = int(instance["triton_gpus"] or 0)
    return {str(instance["triton_gpu_resource"]): gpus} if gpus > 0 else {}


def _uses_prometheus_of_site(instance: Variables) -> bool:
    return _listed(instance, PROMETHEUS) and instance["prometheus_mode"] == "existing"


def _listed(instance: Variables, component: Component) -> bool:
    return component.role in instance["supersonic_components"]


def _managed(instance: Variables, component: Component) -> bool:
    """Whether the instance has one of its own, not the site's."""
    return _listed(instance, component) and bool(instance[f"{component.role}_mode"] == "managed")


REQUIREMENTS: Mapping[str, Callable[[Variables], Any]] = {
    "features": features,
    "services": services,
    "storage_classes": storage_classes,
    "ingress_classes": ingress_classes,
    "node_resources": node_resources,
    "ask_prometheus": _uses_prometheus_of_site,
}
