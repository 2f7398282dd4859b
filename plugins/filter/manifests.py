# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of the collection's templates; the logic is in plugin_utils."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.redact import secret_values
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.pod_security import security_context
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.dashboards import (
    dashboard_answers,
    dashboard_files,
    dashboard_queries,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import (
    service_gpu_query,
    service_queries,
    service_rules,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.findings_table import errors, report, table
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.rbac import of_manifests
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory import accelerators as _gpus
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory import clusters as _clusters
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render import autoscaler as _autoscaler
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render import client_lists as _client_lists
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render import envoy as _gateway
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render import exposure as _exposure
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render import keda as _keda
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render import manifests as _render
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render import monitoring as _monitoring
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.alerts import service_alerts
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.asked_services import asked_services
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.envoy_methods import stat_name
from ansible_collections.fastml.supersonic.plugins.plugin_utils._reports import drift as _drift
from ansible_collections.fastml.supersonic.plugins.plugin_utils._reports import site as _site_report
from ansible_collections.fastml.supersonic.plugins.plugin_utils._reports import status as _status


class FilterModule:
    """Filters for the manifests of the roles."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name in templates and function."""
        return {
            "asked_services": asked_services,
            "autoscaler_answers": _autoscaler.answers,
            "autoscaler_triggers": _autoscaler.triggers,
            "autoscaler_unusable": _autoscaler.unusable,
            "clients_entry": _client_lists.entry,
            "clients_files": _client_lists.files,
            "clients_servers": _client_lists.servers,
            "clients_table": _client_lists.table,
            "command_flags": _render.command_flags,
            "dashboard_answers": dashboard_answers,
            "dashboard_files": dashboard_files,
            "dashboard_queries": dashboard_queries,
            "drift_report": _drift.drift_report,
            "drift_table": _drift.drift_table,
            "duration_seconds": _monitoring.duration_seconds,
            "envoy_access_policies": _gateway.access_policies,
            "envoy_heap_bytes": _gateway.heap_bytes,
            "envoy_load_check": _gateway.load_check,
            "envoy_method_paths": _gateway.method_paths,
            "envoy_stat_name": stat_name,
            "envoy_server_clusters": _gateway.server_clusters,
            "envoy_token_bucket": _gateway.token_bucket,
            "envoy_token_bytes": _gateway.token_bytes,
            "gpu_demands": _gpus.gpu_demands,
            "grafana_access": _monitoring.grafana_access,
            "image_version": _render.image_version,
            "ingress_annotations": _exposure.ingress_annotations,
            "ingress_service_annotations": _exposure.ingress_service_annotations,
            "keda_manifests": _keda.keda_manifests,
            "lua_literal": _gateway.lua_literal,
            "made_claims": _clusters.made_claims,
            "manifest_rights": of_manifests,
            "model_drift_table": _render.model_drift_table,
            "model_repository_paths": _render.model_repository_paths,
            "model_repository_volumes": _render.model_repository_volumes,
            "model_repository_table": _render.model_repository_table,
            "override_pod_spec": _render.override_pod_spec,
            "preflight_errors": errors,
            "preflight_report": report,
            "preflight_table": table,
            "prometheus_retention_size": _monitoring.prometheus_retention_size,
            "same_cluster": _clusters.same_cluster,
            "service_gpu_query": service_gpu_query,
            "security_context": security_context,
            "secret_fingerprint": _monitoring.secret_fingerprint,
            "secret_values": secret_values,
            "service_alerts": service_alerts,
            "service_queries": service_queries,
            "service_rules": service_rules,
            "site_failure": _site_report.failure,
            "site_outcomes": _site_report.outcomes,
            "site_report": _site_report.report,
            "site_stopped": _site_report.stopped,
            "site_table": _site_report.table,
            "site_waves": _site_report.waves,
            "status_page": _status.status_page,
            "status_table": _status.status_table,
            "status_unreachable": _status.status_unreachable,
            "verification_table": _render.verification_table,
            "yaml_documents": _render.yaml_documents,
        }
