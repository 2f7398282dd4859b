# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The smallest and largest values of numbers.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules import (
    autoscaler,
    benchmark,
    gpu_operator,
    grafana,
    prometheus,
    tracing,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, Variables

# Smallest and, where there is one, largest value of a number.
LIMITS: dict[str, tuple[float, float | None]] = {
    "triton_replicas": (0, None),
    "triton_gpus": (0, None),
    "triton_repository_poll_seconds": (1, None),
    "triton_startup_budget": (1, None),
    "triton_drain_wait": (0, None),
    "triton_exit_timeout": (0, None),
    "triton_termination_grace": (1, None),
    "triton_wait_timeout": (1, None),
    "envoy_replicas": (1, None),
    "envoy_processes": (1, 2),
    "envoy_concurrency": (1, None),
    "envoy_service_port": (1, 65535),
    "status_window": (60, 604800),
    "status_timeout": (1, None),
    "envoy_service_node_port": (0, 65535),
    "envoy_route_timeout": (0, None),
    "envoy_stream_idle_timeout": (0, None),
    "envoy_connect_timeout": (1, None),
    "envoy_server_wait": (0, None),
    "envoy_server_wait_requests": (1, 1_000_000),
    "envoy_retry_buffer_bytes": (1, 2**32 - 1),
    "envoy_retries": (0, None),
    "envoy_dns_refresh_seconds": (1, None),
    "envoy_health_check_interval": (1, None),
    "envoy_health_check_timeout": (1, None),
    "envoy_health_check_unhealthy_threshold": (1, None),
    "envoy_health_check_healthy_threshold": (1, None),
    "envoy_outlier_consecutive_errors": (0, None),
    "envoy_outlier_ejection_seconds": (1, None),
    "envoy_outlier_max_ejection_percent": (0, 100),
    "envoy_max_connections": (1, None),
    "envoy_max_requests": (1, None),
    "envoy_max_pending_requests": (1, None),
    "envoy_max_retries": (1, None),
    "envoy_connection_max_seconds": (0, None),
    "envoy_retry_budget_percent": (0, 100),
    "envoy_slow_start_seconds": (0, None),
    "envoy_trusted_hops": (0, None),
    "envoy_client_connections": (0, None),
    "envoy_connection_rate": (0, None),
    "envoy_connection_burst": (0, None),
    "envoy_request_rate": (0, None),
    "envoy_request_burst": (0, None),
    "envoy_requests_in_flight": (0, None),
    "envoy_request_max_bytes": (0, None),
    "envoy_concurrent_streams": (0, 2**31 - 1),
    "envoy_endpoint_wait": (1, None),
    "envoy_drain_time": (1, None),
    "envoy_in_flight_wait": (1, None),
    "envoy_termination_grace": (1, None),
    "envoy_wait_timeout": (1, None),
    "model_repository_keep": (2, None),
    "model_repository_timeout": (1, None),
    "model_repository_pod_lifetime": (1, None),
    "model_repository_run_as_user": (0, 2**31 - 1),
    "model_repository_run_as_group": (0, 2**31 - 1),
    "model_repository_test_load_timeout": (1, None),
    "model_repository_canary_seconds": (0, None),
    "triton_model_load_timeout": (1, None),
    "keda_wait_timeout": (1, None),
    **autoscaler.LIMITS,
    **gpu_operator.LIMITS,
    **grafana.LIMITS,
    **prometheus.LIMITS,
    **tracing.LIMITS,
    **benchmark.LIMITS,
    "verify_certificate_days": (0, None),
    "verify_dashboards_timeout": (0, None),
    "verify_repeat": (1, None),
    "verify_timeout": (1, None),
    "verify_wait_timeout": (0, None),
}
# Why a limit is where it is, where that is not plain.
REASONS = {
    "model_repository_keep": (
        ", since the release that is served and the one before it, which a server that starts late may still want, "
        "always stay"
    ),
}


def check_limits(variables: Variables) -> Iterator[Problem]:
    for name, (smallest, largest) in LIMITS.items():
        value = variables.get(name)
        if value is None:
            continue
        if float(value) < smallest:
            yield Problem(name, f"it has to be {smallest} or more{REASONS.get(name, '')}.", value)
        elif largest is not None and float(value) > largest:
            yield Problem(name, f"it has to be {largest} or less.", value)
