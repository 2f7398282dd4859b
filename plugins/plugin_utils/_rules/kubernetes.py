# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks values that become parts of Kubernetes objects.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import COMPONENTS
from ansible_collections.fastml.supersonic.plugins.module_utils._common.quantity import quantity
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.kubernetes_types import REQUIRED, TYPES
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.values import check_value, is_kind, unknown_keys

RESOURCES = (
    "triton_resources",
    "envoy_resources",
    "model_repository_resources",
    "benchmark_resources",
    "prometheus_resources",
    "grafana_resources",
    "otel_collector_resources",
    "tempo_resources",
    "keda_operator_resources",
    "keda_metrics_resources",
    "keda_webhooks_resources",
)
PROBE_HANDLERS = {"httpGet", "tcpSocket", "grpc", "exec"}
PROBES = ("triton_startup_probe", "triton_readiness_probe", "triton_liveness_probe")
BUDGETS = ("triton_pod_disruption_budget", "envoy_pod_disruption_budget")
ROLLING_UPDATES = ("triton_rolling_update", "envoy_rolling_update")
OVERRIDES = (
    "triton_pod_spec_overrides",
    "envoy_pod_spec_overrides",
    "prometheus_pod_spec_overrides",
    "grafana_pod_spec_overrides",
    "otel_collector_pod_spec_overrides",
    "tempo_pod_spec_overrides",
)
PEERS = (
    "triton_metrics_from",
    "envoy_metrics_from",
    "envoy_clients_from",
    "prometheus_clients_from",
    "grafana_clients_from",
    "otel_collector_clients_from",
    "otel_collector_metrics_from",
    "tempo_clients_from",
)
# Components of one pod each, that take the same variables.
OBSERVERS = tuple(component.role for component in COMPONENTS if component.optional and component.pods)
# What variables are to Kubernetes.
KUBERNETES_TYPES = {
    **{f"{role}_{name}": TYPES["PodSpec"][field] for role in ("triton", "envoy") for name, field in (
        ("affinity", "affinity"),
        ("image_pull_secrets", "imagePullSecrets"),
        ("init_containers", "initContainers"),
        ("node_selector", "nodeSelector"),
        ("pod_security_context", "securityContext"),
        ("sidecars", "containers"),
        ("tolerations", "tolerations"),
        ("topology_spread_constraints", "topologySpreadConstraints"),
        ("volumes", "volumes"),
    )},
    **{f"{role}_{name}": TYPES["Container"][field] for role in ("triton", "envoy") for name, field in (
        ("env", "env"),
        ("env_from", "envFrom"),
        ("security_context", "securityContext"),
        ("volume_mounts", "volumeMounts"),
    )},
    **{f"{role}_{name}": TYPES["PodSpec"][field] for role in ("model_repository", "benchmark") for name, field in (
        ("image_pull_secrets", "imagePullSecrets"),
        ("node_selector", "nodeSelector"),
        ("tolerations", "tolerations"),
    )},
    **{f"gpu_operator_proof_{name}": TYPES["PodSpec"][field] for name, field in (
        ("image_pull_secrets", "imagePullSecrets"),
        ("node_selector", "nodeSelector"),
        ("tolerations", "tolerations"),
    )},
    "keda_image_pull_secrets": TYPES["PodSpec"]["imagePullSecrets"],
    **{f"{role}_{name}": TYPES["PodSpec"][field] for role in OBSERVERS for name, field in (
        ("affinity", "affinity"),
        ("image_pull_secrets", "imagePullSecrets"),
        ("node_selector", "nodeSelector"),
        ("pod_security_context", "securityContext"),
        ("tolerations", "tolerations"),
    )},
    **{f"{role}_security_context": TYPES["Container"]["securityContext"] for role in OBSERVERS},
    **dict.fromkeys(RESOURCES, "ResourceRequirements"),
    **dict.fromkeys(PROBES, "Probe"),
    **dict.fromkeys(BUDGETS, "PodDisruptionBudgetSpec"),
    **dict.fromkeys(ROLLING_UPDATES, "RollingUpdateDeployment"),
    **dict.fromkeys(OVERRIDES, "PodSpec"),
    **dict.fromkeys(PEERS, "[NetworkPolicyPeer]"),
}  # fmt: skip
# Types that may hold passwords, which no message shows.
SECRET_TYPES = {"Container", "EnvVar", "HTTPHeader"}


def check_kubernetes(variable: str, value: Any) -> Iterator[Problem]:
    """Compare a value with the type that Kubernetes has for this variable, where it has one: what is wrong here would
    be refused by the API server, after others have been changed."""
    kind = KUBERNETES_TYPES.get(variable)
    # An empty value is left out by the roles, or means none.
    if kind and value:
        yield from _check_type(variable, value, kind, "", merged=variable in OVERRIDES, secret=False)


def _check_type(variable: str, value: Any, kind: str, path: str, *, merged: bool, secret: bool) -> Iterator[Problem]:
    """merged: whether the role has the rest of it; secret: whether values are not shown."""
    secret = secret or kind in SECRET_TYPES
    if kind in TYPES:
        if not isinstance(value, Mapping):
            yield Problem(variable, "it has to be a dictionary.", value, path, secret)
            return
        yield from unknown_keys(variable, value, TYPES[kind], path, secret=secret)
        for key, part in TYPES[kind].items():
            if value.get(key) is not None:
                yield from _check_type(variable, value[key], part, f"{path}.{key}", merged=merged, secret=secret)
            # Items of lists are found by their name, so that one has to be there.
            elif key in REQUIRED.get(kind, ()) and (not merged or key == "name"):
                yield Problem(variable, f"the key {key} is missing.", None, path)
    elif kind.startswith("["):
        yield from _check_list(variable, value, kind[1:-1].split(" "), path, merged=merged, secret=secret)
    elif kind.startswith("{"):
        if not isinstance(value, Mapping):
            yield Problem(variable, "it has to be a dictionary.", value, path, secret)
            return
        for key, item in value.items():
            yield from _check_type(variable, item, kind[1:-1], f"{path}.{key}", merged=merged, secret=secret)
    elif "|" in kind:
        yield from (
            replace(problem, secret=secret)
            for problem in check_value(variable, value, {"type": "str", "choices": kind.split("|")}, path)
        )
    else:
        expected, right = {
            "boolean": ("true or false, without quotes", isinstance(value, bool)),
            "integer": ("a whole number, without quotes", isinstance(value, int) and not isinstance(value, bool)),
            "string": ("a text; put it in quotes", isinstance(value, str)),
            "IntOrString": (
                "a whole number or a text",
                isinstance(value, (int, str)) and not isinstance(value, bool),
            ),
            "Quantity": ("a Kubernetes quantity, such as 500m or 4Gi", quantity(value) is not None),
        }.get(kind, ("", True))
        if not right:
            yield Problem(variable, f"it has to be {expected}.", value, path, secret)


def _check_list(
    variable: str, value: Any, kind: list[str], path: str, *, merged: bool, secret: bool
) -> Iterator[Problem]:
    """kind: the type of the items, and the fields in which they differ."""
    element, *keys = kind
    if not is_kind(value, "list"):
        yield Problem(variable, "it has to be a list.", value, path, secret or element in SECRET_TYPES)
        return
    seen: list[list[Any]] = []
    for index, item in enumerate(value):
        yield from _check_type(variable, item, element, f"{path}[{index}]", merged=merged, secret=secret)
        identity = [item.get(key) for key in keys] if isinstance(item, Mapping) else []
        if identity and None not in identity:
            if identity in seen:
                yield Problem(
                    variable,
                    f"another item of this list has the same {' and '.join(keys)}.",
                    identity[0],
                    f"{path}[{index}].{keys[0]}",
                )
            seen.append(identity)
