# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Annotations that ingress controllers need to pass gRPC.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Requests may wait in queues for minutes, and streams are silent in between.
TIMEOUT_SECONDS = 3600


def ingress_annotations(ingress: Mapping[str, Any], envoy_tls: str) -> dict[str, str]:
    """Annotations of the Ingress: gRPC towards Envoy, in the clear or with TLS, the body's size and the time-outs.

    envoy_tls: the Secret that Envoy has its certificate from, "" where it speaks in the clear.
    """
    # Judging the inventory refuses what a controller has no annotation for.
    seconds = int(ingress.get("timeout_seconds") or TIMEOUT_SECONDS)
    found: dict[str, str] = {}
    controller = ingress.get("controller")
    if controller == "nginx":
        found = {
            "backend-protocol": "GRPCS" if envoy_tls else "GRPC",
            "proxy-body-size": str(int(ingress.get("max_request_bytes") or 0)),
            # For gRPC too, whatever the names say.
            "proxy-read-timeout": str(seconds),
            "proxy-send-timeout": str(seconds),
        }
        found = {f"nginx.ingress.kubernetes.io/{key}": value for key, value in found.items()}
    elif controller == "haproxy-ingress":
        found = {"backend-protocol": "h2-ssl" if envoy_tls else "h2", "timeout-server": f"{seconds}s"}
        found = {f"haproxy-ingress.github.io/{key}": value for key, value in found.items()}
    elif controller == "haproxytech":
        # With TLS it agrees on HTTP/2 with Envoy.
        found = {"server-ssl": "true"} if envoy_tls else {"server-proto": "h2"}
        found = {f"haproxy.org/{key}": value for key, value in {**found, "timeout-server": f"{seconds}s"}.items()}
    elif controller == "traefik" and (ingress.get("tls") or ingress.get("tls_secret")):
        # Without it Traefik offers a host that has no Secret in the clear only.
        found = {"traefik.ingress.kubernetes.io/router.tls": "true"}
    return {**found, **(ingress.get("annotations") or {})}


def ingress_service_annotations(ingress: Mapping[str, Any], envoy_tls: str) -> dict[str, str]:
    """Annotations of the Service: Traefik reads there how it speaks to Envoy."""
    if ingress.get("controller") != "traefik":
        return {}
    return {"traefik.ingress.kubernetes.io/service.serversscheme": "https" if envoy_tls else "h2c"}
