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
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory import accelerators, clusters
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render import (
    autoscaler,
    client_lists,
    envoy,
    exposure,
    keda,
    manifests,
    monitoring,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.alerts import service_alerts
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.envoy_methods import stat_name
from ansible_collections.fastml.supersonic.plugins.plugin_utils._reports import drift, status
from ansible_collections.fastml.supersonic.plugins.plugin_utils._reports import site as site_reports


class FilterModule:
    """Filters for the manifests of the roles."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name in templates and function."""
        return {
            "autoscaler_answers": autoscaler.answers,
            "autoscaler_triggers": autoscaler.triggers,
            "autoscaler_unusable": autoscaler.unusable,
            "clients_entry": client_lists.entry,
            "clients_files": client_lists.files,
            "clients_servers": client_lists.servers,
            "clients_table": client_lists.table,
            "command_flags": manifests.command_flags,
            "dashboard_answers": dashboard_answers,
            "dashboard_files": dashboard_files,
            "dashboard_queries": dashboard_queries,
            "drift_report": drift.drift_report,
            "drift_table": drift.drift_table,
            "duration_seconds": monitoring.duration_seconds,
            "envoy_access_policies": envoy.access_policies,
            "envoy_heap_bytes": envoy.heap_bytes,
            "envoy_load_check": envoy.load_check,
            "envoy_method_paths": envoy.method_paths,
            "envoy_stat_name": stat_name,
            "envoy_server_clusters": envoy.server_clusters,
            "envoy_token_bucket": envoy.token_bucket,
            "envoy_token_bytes": envoy.token_bytes,
            "gpu_demands": accelerators.gpu_demands,
            "grafana_access": monitoring.grafana_access,
            "image_version": manifests.image_version,
            "ingress_annotations": exposure.ingress_annotations,
            "ingress_service_annotations": exposure.ingress_service_annotations,
            "keda_manifests": keda.keda_manifests,
            "lua_literal": envoy.lua_literal,
            "made_claims": clusters.made_claims,
            "manifest_rights": of_manifests,
            "model_drift_table": manifests.model_drift_table,
            "model_repository_paths": manifests.model_repository_paths,
            "model_repository_volumes": manifests.model_repository_volumes,
            "model_repository_table": manifests.model_repository_table,
            "override_pod_spec": manifests.override_pod_spec,
            "preflight_errors": errors,
            "preflight_report": report,
            "preflight_table": table,
            "prometheus_retention_size": monitoring.prometheus_retention_size,
            "same_cluster": clusters.same_cluster,
            "service_gpu_query": service_gpu_query,
            "security_context": security_context,
            "secret_fingerprint": monitoring.secret_fingerprint,
            "secret_values": secret_values,
            "service_alerts": service_alerts,
            "service_queries": service_queries,
            "service_rules": service_rules,
            "site_failure": site_reports.failure,
            "site_outcomes": site_reports.outcomes,
            "site_report": site_reports.report,
            "site_stopped": site_reports.stopped,
            "site_table": site_reports.table,
            "site_waves": site_reports.waves,
            "status_page": status.status_page,
            "status_table": status.status_table,
            "status_unreachable": status.status_unreachable,
            "verification_table": manifests.verification_table,
            "yaml_documents": manifests.yaml_documents,
        }
