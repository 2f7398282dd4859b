# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for the variables that all roles of an instance share.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import (
    DNS_LABEL,
    DNS_NAME,
    LABEL_KEY,
    LABEL_VALUE,
    LONGEST_NAME,
    SERVICE_NAME,
    Problem,
    Variables,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.workloads import check_annotations

# Names of objects that are there already.
NAMES = (
    "triton_priority_class_name",
    "triton_runtime_class_name",
    "triton_service_account_name",
    "envoy_priority_class_name",
    "envoy_service_account_name",
    "model_repository_claim",
    "model_repository_storage_class",
    "envoy_tls_secret",
    "prometheus_storage_class",
    "prometheus_priority_class_name",
    "grafana_storage_class",
    "grafana_priority_class_name",
    "otel_collector_priority_class_name",
    "tempo_storage_class",
    "tempo_priority_class_name",
)


def check_identity(variables: Variables) -> Iterator[Problem]:
    for name, longest, pattern, first in (
        ("supersonic_name", LONGEST_NAME, SERVICE_NAME, ", a letter first"),
        ("supersonic_namespace", 63, DNS_LABEL, ""),
    ):
        value = variables.get(name)
        if value is not None and (len(value) > longest or not pattern.fullmatch(value)):
            yield Problem(
                name,
                f"it has to be a DNS label: lower-case letters, digits and '-'{first}, at most {longest} characters.",
                value,
            )
    for name in NAMES:
        value = variables.get(name)
        if value and (len(value) > 253 or not DNS_NAME.fullmatch(value)):
            yield Problem(
                name, "it has to be a DNS name: lower-case letters, digits, '-' and '.', at most 253 characters.", value
            )
    for name in ("supersonic_labels", "triton_pod_labels", "triton_service_labels", "benchmark_pod_labels",
                 "envoy_pod_labels", "envoy_service_labels",
                 "prometheus_pod_labels", "prometheus_operator_labels", "grafana_pod_labels",
                 "otel_collector_pod_labels", "tempo_pod_labels"):  # fmt: skip
        for key, value in (variables.get(name) or {}).items():
            if not LABEL_KEY.fullmatch(str(key)):
                yield Problem(name, "this is no key of a Kubernetes label.", key, f".{key}")
            elif not isinstance(value, str) or not LABEL_VALUE.fullmatch(value):
                yield Problem(
                    name,
                    "the value of a Kubernetes label is a text of at most 63 letters, digits, '-', '_' and '.'.",
                    value,
                    f".{key}",
                )
    for name in ("supersonic_annotations", "triton_annotations", "triton_pod_annotations",
                 "triton_service_annotations", "envoy_annotations", "envoy_pod_annotations",
                 "envoy_service_annotations", "prometheus_annotations", "prometheus_pod_annotations",
                 "grafana_annotations", "grafana_pod_annotations",
                 "otel_collector_annotations", "otel_collector_pod_annotations",
                 "tempo_annotations", "tempo_pod_annotations"):  # fmt: skip
        yield from check_annotations(name, "", variables.get(name))
    for name in ("envoy_ingress", "envoy_gateway_route", "envoy_openshift_route", "grafana_ingress"):
        yield from check_annotations(name, ".annotations", (variables.get(name) or {}).get("annotations"))


CHECKS = (check_identity,)
