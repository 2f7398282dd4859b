# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for the role envoy: access rules, rate limits and certificates.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import difflib
import fnmatch
import ipaddress
import os
import re
import ssl
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import LABEL_NAME, LABELS
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render import envoy_methods as methods
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, Variables

# Smallest and, where there is one, largest value of a number.
LIMITS: dict[str, tuple[float, float | None]] = {
    "envoy_replicas": (1, None),
    "envoy_processes": (1, 2),
    "envoy_concurrency": (1, None),
    "envoy_service_port": (1, 65535),
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
}
TOKEN_LENGTH = 20
_CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@/-]*")
# Of a certificate it is a URI (spiffe://example.org/cms), a DNS name or a subject (CN=cms,O=Example).
_LIMITED_CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@/:=, +-]*")
GPU_METRICS_PORT = 8003
OUR_PORTS = (8001, GPU_METRICS_PORT, *range(9901, 9906), *range(9911, 9916))
# What a configuration of the user's own replaces as a whole.
REPLACED = (
    "envoy_tokens",
    "envoy_jwt_issuers",
    "envoy_access_rules",
    "envoy_public_methods",
    "envoy_http",
    "envoy_tls_secret",
    "envoy_tls_certificate",
    "envoy_tls_client_ca",
    "envoy_hash_policy",
    "envoy_concurrent_streams",
    "envoy_slow_start_seconds",
    "envoy_client_connections",
    "envoy_connection_rate",
    "envoy_request_rate",
    "envoy_requests_in_flight",
    "envoy_client_limits",
    "envoy_load_limit",
    "envoy_request_max_bytes",
    "envoy_server_wait",
    "envoy_tracing",
    "envoy_gpu_metrics",
    "envoy_extra_listeners",
    "envoy_extra_clusters",
    "envoy_extra_http_filters",
)
OUR_LISTENERS = ("grpc", "metrics", "drain", "load_limit", "gpu_metrics", "server_wait")
OUR_CLUSTERS = ("triton", "triton_http", "admin", "prometheus", "load_limit", "gpu_metrics", "server_wait", "tracing")
_LIMIT_KEYS = ("rate", "burst", "in_flight")


def findings(variables: Variables) -> Iterator[Problem]:
    """Everything, in the order of the variables in the role's defaults."""
    yield from _tokens(variables)
    yield from _issuers(variables)
    yield from _rules(variables)
    yield from _certificates(variables)
    yield from _limits(variables)
    yield from _load_limit(variables)
    yield from _server_wait(variables)
    yield from _gpu_metrics(variables)
    yield from _further(variables)


def _named(variables: Variables) -> bool:
    """Whether clients have names, also where what gives them is wrong itself."""
    wrong = getattr(variables, "unjudged", ())
    return any(
        variables.get(name) or name in wrong for name in ("envoy_tokens", "envoy_jwt_issuers", "envoy_tls_client_ca")
    )


_NAMELESS = "no client has a name here: set envoy_tokens, envoy_jwt_issuers or envoy_tls_client_ca, or leave it out."


def _tokens(variables: Variables) -> Iterator[Problem]:
    name = "envoy_tokens"
    owners: dict[str, str] = {}
    for client, value in (variables.get(name) or {}).items():
        path = f".{client}"
        if not _CLIENT.fullmatch(str(client)):
            yield Problem(name, f"a client's name is made of letters, digits and . _ @ / -, not {client}.", None, path)
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, Sequence) or not values:
            yield Problem(name, "a client has a token or a list of them.", None, path)
            continue
        for token in values:
            if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
                yield Problem(name, "a token is a text of ASCII signs without spaces.", None, path)
            elif len(token) < TOKEN_LENGTH:
                yield Problem(
                    name,
                    f"a token has {TOKEN_LENGTH} signs or more, so that nobody guesses it, and this one {len(token)}. "
                    "Make one with: openssl rand -base64 32",
                    None,
                    path,
                )
            elif owners.setdefault(token, client) != client:
                yield Problem(name, f"{owners[token]} has the same token, so nobody could tell who calls.", None, path)


def _issuers(variables: Variables) -> Iterator[Problem]:
    name = "envoy_jwt_issuers"
    seen = set()
    for index, item in enumerate(variables.get(name) or []):
        path = f"[{index}]"
        if item.get("issuer") in seen:
            yield Problem(name, "this issuer is there twice. Give it all its audiences once.", item["issuer"], path)
        seen.add(item.get("issuer"))
        if not item.get("audiences"):
            yield Problem(
                name, "it names no audience, so tokens for any other service would be let in.", item.get("issuer"), path
            )
        if bool(item.get("jwks")) == bool(item.get("jwks_uri")):
            yield Problem(name, "it has either jwks_uri or jwks.", item.get("issuer"), path)
        if item.get("jwks_uri"):
            yield from _address(name, item["jwks_uri"], f"{path}.jwks_uri")
            if str(item["jwks_uri"]).startswith("http:") and not item.get("insecure"):
                yield Problem(
                    name,
                    "over http whoever is on the way could hand out other keys: use https, or set insecure: true.",
                    item["jwks_uri"],
                    f"{path}.jwks_uri",
                )
        for key, least in (("clock_skew_seconds", 0), ("cache_seconds", 1)):
            if item.get(key) is not None and int(item[key]) < least:
                yield Problem(name, f"it has to be {least} or more.", item[key], f"{path}.{key}")
        keys = (item.get("jwks") or {}).get("keys")
        if item.get("jwks") and (not isinstance(keys, Sequence) or not keys):
            yield Problem(name, "a key set has a list of keys: {keys: [...]}.", None, f"{path}.jwks")
        elif any(isinstance(key, Mapping) and {"d", "k"} & key.keys() for key in keys or []):
            yield Problem(
                name,
                "it has a private or a shared key, with which anybody who can read it could make tokens. Only public "
                "keys belong here.",
                None,
                f"{path}.jwks",
            )


def _address(name: str, address: Any, path: str) -> Iterator[Problem]:
    parts = urlsplit(str(address))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield Problem(name, "it has to be an address such as https://tokens.example.org/keys.", address, path)
    elif parts.username or parts.password:
        yield Problem(
            name, "it has a user or a password, which would be in a ConfigMap for everybody to read.", None, path
        )
    elif parts.scheme == "https" and _is_ip(parts.hostname):
        yield Problem(
            name, "certificates are checked by name, so that with https it needs the name of a host.", address, path
        )


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _rules(variables: Variables) -> Iterator[Problem]:
    name = "envoy_access_rules"
    for index, rule in enumerate(variables.get(name) or []):
        path = f"[{index}]"
        yield from _methods(name, rule.get("methods") or [], f"{path}.methods")
        for key in ("clients", "models"):
            for item in rule.get(key) or []:
                if not item or "*" in str(item)[:-1]:
                    yield Problem(name, "a name may have * at its end, and nowhere else.", item, f"{path}.{key}")
        if rule.get("clients") and not _named(variables):
            yield Problem(name, _NAMELESS, list(rule["clients"]), f"{path}.clients")
        yield from _known_clients(variables, name, rule.get("clients") or [], f"{path}.clients")
        if rule.get("claims") and not variables.get("envoy_jwt_issuers"):
            yield Problem(
                name,
                "claims are those of JSON Web Tokens: set envoy_jwt_issuers.",
                dict(rule["claims"]),
                f"{path}.claims",
            )
    public = variables.get("envoy_public_methods") or []
    yield from _methods("envoy_public_methods", public, "")
    for method in public:
        if method == "*" or method in methods.CONTROL:
            yield Problem(
                "envoy_public_methods",
                "everybody could change the servers, or read and write their memory. Name methods that only ask.",
                method,
            )


def _known_clients(variables: Variables, name: str, clients: Iterable[str], path: str) -> Iterator[Problem]:
    """Clients whom nobody can be, where static tokens alone give names."""
    names = list(variables.get("envoy_tokens") or {})
    if not names or variables.get("envoy_jwt_issuers") or variables.get("envoy_tls_client_ca"):
        return
    for client in clients:
        if not any(fnmatch.fnmatchcase(known, str(client)) for known in names):
            close = difflib.get_close_matches(str(client), names, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"They are {', '.join(names)}."
            yield Problem(name, f"no client of envoy_tokens has this name. {hint}", client, path)


def _methods(name: str, names: Iterable[str], path: str) -> Iterator[Problem]:
    for method in names:
        if method not in (*methods.METHODS, "*"):
            close = difflib.get_close_matches(str(method), methods.METHODS, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"They are {', '.join(methods.METHODS)}."
            yield Problem(name, f"there is no such method. {hint}", method, path)


def _certificates(variables: Variables) -> Iterator[Problem]:
    secret, certificate = variables.get("envoy_tls_secret"), variables.get("envoy_tls_certificate")
    key, authority = variables.get("envoy_tls_private_key"), variables.get("envoy_tls_client_ca")
    if secret and certificate:
        yield Problem(
            "envoy_tls_secret", "envoy_tls_certificate is set too: the certificate comes from one of them.", secret
        )
    if certificate and not key:
        yield Problem("envoy_tls_certificate", "envoy_tls_private_key, its key, is not set.")
    if key and not certificate:
        yield Problem("envoy_tls_private_key", "envoy_tls_certificate, the certificate of this key, is not set.")
    if certificate and key:
        problem = _pair(certificate, key)
        if problem:
            yield Problem("envoy_tls_certificate", problem)
    if authority:
        if not (secret or certificate):
            yield Problem(
                "envoy_tls_client_ca",
                "clients show certificates to an endpoint that has one: set envoy_tls_secret or envoy_tls_certificate.",
            )
        try:
            ssl.create_default_context(cadata=authority)
        except (ssl.SSLError, ValueError):
            yield Problem("envoy_tls_client_ca", "it has to be certificates in PEM (-----BEGIN CERTIFICATE-----).")


def _pair(certificate: str, key: str) -> str | None:
    """The problem of a certificate and its key, by OpenSSL, which reads them from files only."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, text in (("certificate", certificate), ("key", key)):
            paths.append(os.path.join(folder, name))
            with open(os.open(paths[-1], os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(paths[0], paths[1], password=lambda: "")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                return "envoy_tls_private_key is the key of another certificate."
            return "this and envoy_tls_private_key have to be a certificate and its key in PEM, without a password."
    return None


def _limits(variables: Variables) -> Iterator[Problem]:
    for rate, burst in (
        ("envoy_connection_rate", "envoy_connection_burst"),
        ("envoy_request_rate", "envoy_request_burst"),
    ):
        if int(variables.get(burst) or 0) and not int(variables.get(rate) or 0):
            yield Problem(burst, f"it is a part of a rate, but {rate} is 0.", variables[burst])
    name = "envoy_client_limits"
    limits = variables.get(name) or {}
    if limits and not _named(variables):
        yield Problem(name, _NAMELESS, list(limits))
    yield from _known_clients(variables, name, [client for client in limits if client != "*"], "")
    yield from _alike(variables)
    for client, limit in limits.items():
        path = f".{client}"
        if not isinstance(limit, Mapping) or not limit:
            yield Problem(
                name, "a client's limits are {rate: 50, burst: 100, in_flight: 20} or a part of it.", limit, path
            )
            continue
        if client != "*" and not _LIMITED_CLIENT.fullmatch(str(client)):
            yield Problem(
                name,
                f"a client's name is made of letters, digits, spaces and . _ @ / : = , + -, not {client}.",
                None,
                path,
            )
        for key, value in limit.items():
            if key not in _LIMIT_KEYS:
                close = difflib.get_close_matches(str(key), _LIMIT_KEYS, n=1)
                hint = f"Did you mean {close[0]}?" if close else f"They are {', '.join(_LIMIT_KEYS)}."
                yield Problem(name, f"there is no limit {key}. {hint}", value, path)
            elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
                yield Problem(name, "it has to be a whole number of 1 or more.", value, f"{path}.{key}")
        if "burst" in limit and "rate" not in limit:
            yield Problem(name, "a burst is a part of a rate, which is not given.", dict(limit), path)
        if client == "*" and "in_flight" in limit:
            yield Problem(
                name,
                "Envoy counts requests at a time for clients that it knows by name. Name them, or limit all together "
                "by envoy_requests_in_flight.",
                limit["in_flight"],
                ".*.in_flight",
            )


def _alike(variables: Variables) -> Iterator[Problem]:
    """Clients whom metrics could not tell apart."""
    names: dict[str, str] = {}
    for name in ("envoy_tokens", "envoy_client_limits"):
        for client in variables.get(name) or {}:
            other = names.setdefault(methods.stat_name(str(client)), str(client))
            if other != client:
                yield Problem(
                    name, f"in metrics its name would be that of {other}. Name one of them otherwise.", client
                )


def _load_limit(variables: Variables) -> Iterator[Problem]:
    name = "envoy_load_limit"
    limit = variables.get(name) or {}
    if not limit:
        return
    for key in ("url", "query", "threshold"):
        if limit.get(key) is None:
            yield Problem(name, f"the key {key} is missing.")
    if limit.get("url"):
        yield from _address(name, limit["url"], ".url")
    for key, least in (("resume_after", 0), ("interval", 1), ("retry_after", 1)):
        if limit.get(key) is not None and int(limit[key]) < least:
            yield Problem(name, f"it has to be {least} or more.", limit[key], f".{key}")


def _server_wait(variables: Variables) -> Iterator[Problem]:
    name = "envoy_server_wait_except"
    excepted = variables.get(name) or []
    yield from _methods(name, excepted, "")
    if "*" in excepted or "ModelInfer" in excepted:
        yield Problem(
            name, "requests for inference are what waits. Leave it out, or set envoy_server_wait: 0.", excepted
        )
    wait, idle = (variables.get(key) for key in ("envoy_server_wait", "envoy_stream_idle_timeout"))
    if wait and idle and 0 < int(idle) <= int(wait):
        yield Problem(
            "envoy_server_wait",
            f"a request that waits is silent, so that envoy_stream_idle_timeout ({idle}) ends it before. Set it lower.",
            wait,
        )


def _gpu_metrics(variables: Variables) -> Iterator[Problem]:
    name = "envoy_gpu_metrics_labels"
    for key, value in (variables.get(name) or {}).items():
        if key not in LABELS:
            yield Problem(name, f"only {' and '.join(LABELS)} have another name at some sites.", key, f".{key}")
        elif not isinstance(value, str) or not LABEL_NAME.fullmatch(value):
            yield Problem(name, "this is no name of a label.", value, f".{key}")
    if variables.get("envoy_gpu_metrics") and variables.get("envoy_service_port") == GPU_METRICS_PORT:
        yield Problem(
            "envoy_service_port",
            "envoy_gpu_metrics has this port of the Service. Take another one, or leave envoy_gpu_metrics out.",
            GPU_METRICS_PORT,
        )


def _further(variables: Variables) -> Iterator[Problem]:
    for name, ours in (
        ("envoy_extra_listeners", OUR_LISTENERS),
        ("envoy_extra_clusters", OUR_CLUSTERS),
        ("envoy_extra_http_filters", ()),
    ):
        for index, item in enumerate(variables.get(name) or []):
            if not item.get("name"):
                yield Problem(name, "it has no name.", None, f"[{index}]")
            elif item["name"] in ours or str(item["name"]).startswith(("triton_", "jwks_")):
                yield Problem(name, "one of our own has this name.", item["name"], f"[{index}].name")
            elif ours and item["name"] in [other.get("name") for other in variables[name][:index]]:
                yield Problem(name, "it is there twice.", item["name"], f"[{index}].name")
            port = ((item.get("address") or {}).get("socket_address") or {}).get("port_value")
            if port in OUR_PORTS:
                yield Problem(name, "one of our own listens on this port.", port, f"[{index}].address")
    own = variables.get("envoy_configuration_config_map")
    if int(variables.get("envoy_processes") or 1) > 1:
        for index, item in enumerate(variables.get("envoy_extra_listeners") or []):
            if item.get("enable_reuse_port") is False:
                yield Problem(
                    "envoy_extra_listeners",
                    "with envoy_processes: 2 both Envoys of a pod listen on its port, and without SO_REUSEPORT the "
                    "second one does not start.",
                    False,
                    f"[{index}].enable_reuse_port",
                )
        if own:
            yield Problem(
                "envoy_processes",
                "envoy_configuration_config_map is one configuration, and two Envoys in a pod need two, since each has "
                "its own ports for metrics and for the drain. Leave one of them out.",
                variables["envoy_processes"],
            )
    if own:
        used = [name for name in REPLACED if variables.get(name)]
        if used:
            yield Problem(
                "envoy_configuration_config_map",
                f"this configuration replaces ours, so {', '.join(used)} would do nothing. Put what they say into it, "
                "or leave it out.",
                own,
            )


CHECKS = (findings,)
