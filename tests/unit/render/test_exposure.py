# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ingress controllers are told."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.plugin_utils._render import exposure

NGINX = "nginx.ingress.kubernetes.io/"
HAPROXY = "haproxy-ingress.github.io/"
HAPROXYTECH = "haproxy.org/"
TRAEFIK = "traefik.ingress.kubernetes.io/"


@pytest.mark.parametrize(
    ("ingress", "tls", "expected"),
    [
        (
            {"controller": "nginx"},
            "",
            {
                f"{NGINX}backend-protocol": "GRPC",
                # Without it the controller refuses more than a megabyte.
                f"{NGINX}proxy-body-size": "0",
                f"{NGINX}proxy-read-timeout": "3600",
                f"{NGINX}proxy-send-timeout": "3600",
            },
        ),
        (
            {"controller": "nginx", "max_request_bytes": 1000, "timeout_seconds": 60},
            "tls",
            {
                f"{NGINX}backend-protocol": "GRPCS",
                f"{NGINX}proxy-body-size": "1000",
                f"{NGINX}proxy-read-timeout": "60",
                f"{NGINX}proxy-send-timeout": "60",
            },
        ),
        (
            {"controller": "haproxy-ingress", "timeout_seconds": 300},
            "",
            {
                f"{HAPROXY}backend-protocol": "h2",
                f"{HAPROXY}timeout-server": "300s",
            },
        ),
        (
            {"controller": "haproxy-ingress"},
            "tls",
            {f"{HAPROXY}backend-protocol": "h2-ssl", f"{HAPROXY}timeout-server": "3600s"},
        ),
        (
            {"controller": "haproxytech"},
            "",
            {f"{HAPROXYTECH}server-proto": "h2", f"{HAPROXYTECH}timeout-server": "3600s"},
        ),
        (
            {"controller": "haproxytech"},
            "tls",
            {f"{HAPROXYTECH}server-ssl": "true", f"{HAPROXYTECH}timeout-server": "3600s"},
        ),
        ({"controller": "traefik", "tls": True}, "", {f"{TRAEFIK}router.tls": "true"}),
        ({"controller": "traefik"}, "tls", {}),
        ({"controller": "other"}, "tls", {}),
    ],
)
def test_annotations(ingress: dict[str, Any], tls: str, expected: dict[str, str]) -> None:
    assert exposure.ingress_annotations(ingress, tls) == expected
    own = {next(iter(expected), "own"): "mine"}
    assert exposure.ingress_annotations({**ingress, "annotations": own}, tls) == {**expected, **own}


def test_only_traefik_reads_the_service() -> None:
    key = f"{TRAEFIK}service.serversscheme"
    assert exposure.ingress_service_annotations({"controller": "traefik"}, "") == {key: "h2c"}
    assert exposure.ingress_service_annotations({"controller": "traefik"}, "tls") == {key: "https"}
    assert exposure.ingress_service_annotations({"controller": "nginx"}, "tls") == {}
    assert exposure.ingress_service_annotations({}, "") == {}
