# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which Services of the cluster the playbooks of an instance ask, which takes rights where they are.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.http_client import parse_address

Variables = Mapping[str, Any]


def asked_services(variables: Variables) -> list[dict[str, str]]:
    """url and namespace of each Service that is asked, once.

    variables: those of an instance, as its inventory has them; what roles say by default is repeated here.
    """
    namespace = str(variables["supersonic_namespace"])
    found = []
    # Whatever is not named is a Service of our own, by the naming contract.
    for url in dict.fromkeys(url or f"http://own.{namespace}.svc" for url in _urls(variables)):
        try:
            service = parse_address(url).service
        except SupersonicError:
            # Whoever judges variables has said so.
            continue
        if service:
            found.append({"url": url, "namespace": service["namespace"]})
    return found


def _urls(variables: Variables) -> Iterator[str]:
    """Addresses; "" where there is none."""

    def value(name: str) -> Any:
        return variables.get(name) or ""

    def is_not(name: str, unwanted: Any) -> bool:
        """Whether a switch that is on by default is on."""
        return bool(variables.get(name, True) != unwanted)

    components = value("supersonic_components")
    dashboards = variables.get("verify_dashboards", "auto")
    looks = dashboards == "always" or (dashboards == "auto" and "grafana" in components)
    if (
        "prometheus" in components
        or ("autoscaler" in components and is_not("autoscaler_check_queries", False))
        or looks
        or value("verify_prometheus") == "always"
    ):
        yield str(value("supersonic_prometheus_url"))
    tracing = value("supersonic_tracing") or {}
    endpoint = str(tracing.get("endpoint") or "")
    collected = "otel_collector" in components
    traced = is_not("verify_traces", False) and (endpoint or collected)
    if "tempo" in components or (traced and value("supersonic_tempo_url")):
        yield str(value("supersonic_tempo_url"))
    if collected:
        yield str(tracing.get("http_url") or (f"http://{endpoint.rpartition(':')[0]}" if endpoint else ""))
    if collected and traced and not endpoint:
        # What it counts.
        yield ""
    managed = "grafana" in components and variables.get("grafana_mode", "managed") == "managed"
    known = value("verify_grafana_token") or value("verify_grafana_password")
    proved = looks and (value("verify_grafana_url") or ("grafana" in components and known))
    kept = managed and is_not("preflight_backup", False) and (known or value("grafana_admin_password"))
    if proved or kept:
        yield str(value("verify_grafana_url"))
    if "grafana" in components and not managed and value("grafana_delivery") == "api":
        yield str(value("grafana_url"))
