# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for the role verify, also beside the variables of the endpoint.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.golden_requests import STATUS_NAMES
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.rate_limit import parse_limit
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, Variables

# Smallest and, where there is one, largest value of a number.
LIMITS: dict[str, tuple[float, float | None]] = {
    "verify_certificate_days": (0, None),
    "verify_dashboards_timeout": (0, None),
    "verify_repeat": (1, None),
    "verify_timeout": (1, None),
    "verify_wait_timeout": (0, None),
}
_FINGERPRINT = re.compile(r"([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}")


def findings(variables: Variables) -> Iterator[Problem]:
    """Everything that can be said without the cluster."""
    fingerprint = variables.get("verify_certificate_sha256")
    if fingerprint and not _FINGERPRINT.fullmatch(fingerprint):
        yield Problem("verify_certificate_sha256", "it has to be 64 hexadecimal digits.", fingerprint)
    for index, refusal in enumerate(variables.get("verify_refusals") or []):
        if refusal.get("status") not in STATUS_NAMES:
            yield Problem(
                "verify_refusals",
                f"it has to be one of {', '.join(STATUS_NAMES)}.",
                refusal["status"],
                f"[{index}].status",
            )
    for index, limit in enumerate(variables.get("verify_limits") or []):
        try:
            parse_limit(limit, f"verify_limits[{index}]")
        except SupersonicError as error:
            yield Problem("verify_limits", str(error), limit.get("requests"), f"[{index}]")
    if variables.get("verify_limits") and variables.get("verify_envoys") is False:
        yield Problem("verify_limits", "limits are tried at the Envoys, but verify_envoys is false.")
    if variables.get("verify_grafana_token") and variables.get("verify_grafana_password"):
        yield Problem("verify_grafana_password", "Grafana is asked with verify_grafana_token already. Leave one out.")
    yield from _way_in(variables)


def _way_in(variables: Variables) -> Iterator[Problem]:
    """A proof comes in as a client does; where the gateway's variables are known, so is what that takes."""
    if variables.get("envoy_state") == "absent":
        return
    asked = variables.get("verify_envoys") is not False
    secured = variables.get("envoy_tls_secret") or variables.get("envoy_tls_certificate")
    tls = variables.get("verify_envoy_tls")
    if asked and secured and tls == {}:
        yield Problem(
            "verify_envoy_tls",
            "the Envoys speak TLS, so that it needs at least server_name, a name of their certificate, and ca_cert "
            "where the system does not know the authority.",
        )
    if asked and tls and not secured and "envoy_tls_secret" in variables:
        yield Problem(
            "verify_envoy_tls", "the Envoys speak no TLS: neither envoy_tls_secret nor envoy_tls_certificate is set."
        )
    # Without a proxy before the Envoys clients meet their certificate.
    direct = not any(variables.get(name) for name in ("envoy_ingress", "envoy_gateway_route", "envoy_openshift_route"))
    if variables.get("verify_address") and secured and direct and variables.get("verify_tls") == {}:
        yield Problem(
            "verify_tls",
            "the Envoys speak TLS, so that the proof at verify_address needs it as well: at least {validate: true}, "
            "and ca_cert where the system does not know the authority.",
        )
    required = variables.get("envoy_tls_client_ca") and variables.get("envoy_tls_client_required") is not False
    if asked and required and tls and not tls.get("client_cert"):
        yield Problem(
            "verify_envoy_tls", "envoy_tls_client_ca asks for certificates of clients, so that it needs client_cert."
        )
    by_token = variables.get("envoy_tokens") or variables.get("envoy_jwt_issuers")
    by_certificate = variables.get("envoy_tls_client_ca") and (tls or {}).get("client_cert")
    if (
        (asked or variables.get("verify_address"))
        and by_token
        and not by_certificate
        and variables.get("verify_token") == ""
    ):
        yield Problem(
            "verify_token",
            "the gateway lets in only clients with a token, so that the proof needs one: of envoy_tokens, or of an "
            "issuer in envoy_jwt_issuers.",
        )


CHECKS = (findings,)
