# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists the Services of the cluster that playbooks of an instance connect to.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.http_client import parse_address

Variables = Mapping[str, Any]


def asked_services(variables: Variables) -> list[dict[str, str]]:
    """url and namespace of each Service that is asked, once.

    variables: those of an instance, with the defaults of its roles.
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

    components = variables["supersonic_components"]
    dashboards = variables["verify_dashboards"]
    looks = dashboards == "always" or (dashboards == "auto" and "grafana" in components)
    if (
        "prometheus" in components
        or ("autoscaler" in components and variables["autoscaler_check_queries"])
        or looks
        or variables["verify_prometheus"] == "always"
    ):
        yield str(variables["supersonic_prometheus_url"])
    tracing = variables["supersonic_tracing"]
    endpoint = str(tracing.get("endpoint") or "")
    collected = "otel_collector" in components
    traced = variables["verify_traces"] and (endpoint or collected)
    if "tempo" in components or (traced and variables["supersonic_tempo_url"]):
        yield str(variables["supersonic_tempo_url"])
    if collected:
        yield str(tracing.get("http_url") or (f"http://{endpoint.rpartition(':')[0]}" if endpoint else ""))
    if collected and traced and not endpoint:
        # What it counts.
        yield ""
    managed = "grafana" in components and variables["grafana_mode"] == "managed"
    known = variables["verify_grafana_token"] or variables["verify_grafana_password"]
    proved = looks and (variables["verify_grafana_url"] or ("grafana" in components and known))
    kept = managed and variables["preflight_backup"] and (known or variables["grafana_admin_password"])
    if proved or kept:
        yield str(variables["verify_grafana_url"])
    if "grafana" in components and not managed and variables["grafana_delivery"] == "api":
        yield str(variables["grafana_url"])
