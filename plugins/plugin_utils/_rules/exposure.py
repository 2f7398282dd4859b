# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for access from outside of the cluster: Service, Ingress, routes and certificates.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.network_policies import NO_NETWORK, parse_network
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import (
    DNS_NAME,
    LABEL_KEY,
    Problem,
    Variables,
    integers,
    missing_keys,
)

# Path of the clients' requests, by what Envoy is told to take.
GRPC_PATH, HTTP_PATH = "/inference.GRPCInferenceService", "/v2"
# Controllers without an annotation for a key of envoy_ingress, and what does it instead.
INGRESS_LACKS = {
    "max_request_bytes": {
        "haproxy-ingress": "HAProxy sees a size only in content-length, which gRPC clients do not send",
        "haproxytech": "it has no such limit",
        "traefik": "its limit is a middleware that buffers whole requests, which breaks streams",
        "other": "name its annotation in envoy_ingress.annotations",
    },
    "timeout_seconds": {
        "traefik": "its time-outs belong to its entry points and to a ServersTransport",
        "other": "name its annotation in envoy_ingress.annotations",
    },
}
# Of Go, as cert-manager takes it.
DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(h|m|s|ms))+")
DURATION_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
# What cert-manager takes where nothing is said.
CERTIFICATE_HOURS = 2160
LOAD_BALANCER = (
    "envoy_service_load_balancer_class",
    "envoy_service_load_balancer_ip",
    "envoy_service_load_balancer_source_ranges",
)


def check_service(variables: Variables) -> Iterator[Problem]:
    policy, hashed = variables.get("envoy_load_balancing_policy"), variables.get("envoy_hash_policy")
    if policy is not None and hashed is not None:
        hashes = policy in ("RING_HASH", "MAGLEV")
        if hashes and not hashed:
            yield Problem(
                "envoy_load_balancing_policy",
                "it needs envoy_hash_policy, or every request gets a random server.",
                policy,
            )
        if hashed and not hashes:
            yield Problem(
                "envoy_hash_policy",
                f"only RING_HASH and MAGLEV hash, but envoy_load_balancing_policy is {policy}.",
                list(hashed),
            )
        for index, item in enumerate(hashed):
            if bool(item.get("header")) == bool(item.get("source_ip")):
                yield Problem(
                    "envoy_hash_policy", "each item has either header or source_ip: true.", dict(item), f"[{index}]"
                )
    grace = variables.get("envoy_termination_grace")
    waits = integers(variables, "envoy_endpoint_wait", "envoy_drain_time", "envoy_in_flight_wait")
    if grace is not None and waits:
        total = sum(waits)
        if int(grace) <= total:
            yield Problem(
                "envoy_termination_grace",
                f"it has to be more than envoy_endpoint_wait, envoy_drain_time and envoy_in_flight_wait together, "
                f"{total}: otherwise Envoys are killed while they drain.",
                grace,
            )
    kind, port = variables.get("envoy_service_type"), variables.get("envoy_service_node_port")
    outside = kind in ("NodePort", "LoadBalancer")
    if outside and variables.get("envoy_service_external_traffic_policy") == "Cluster":
        for index, item in enumerate(hashed or []):
            if item.get("source_ip"):
                yield Problem(
                    "envoy_hash_policy",
                    f"a Service of type {kind} shows Envoys a node's address instead of the client's, so all clients "
                    "get one server: set envoy_service_external_traffic_policy: Local, or hash a header.",
                    dict(item),
                    f"[{index}]",
                )
    if port is not None and int(port) > 0 and kind == "ClusterIP":
        yield Problem(
            "envoy_service_node_port", "a Service of type ClusterIP has no port on the nodes. Use NodePort.", port
        )


def check_load_balancer(variables: Variables) -> Iterator[Problem]:
    kind = variables.get("envoy_service_type")
    for name in LOAD_BALANCER:
        if variables.get(name) and kind is not None and kind != "LoadBalancer":
            yield Problem(name, f"it needs envoy_service_type: LoadBalancer, but that is {kind}.", variables[name])
    name, _ip, ranges = LOAD_BALANCER
    value = variables.get(name)
    if value and not LABEL_KEY.fullmatch(value):
        yield Problem(name, "it has to be the name of a class, such as example.org/internal.", value)
    value = variables.get(_ip)
    if value:
        try:
            ipaddress.ip_address(value)
        except ValueError:
            yield Problem(_ip, "it has to be an address such as 192.0.2.10.", value)
    for index, text in enumerate(variables.get(ranges) or []):
        if parse_network(text) is None:
            yield Problem(ranges, NO_NETWORK, text, f"[{index}]")


def _host(name: str, path: str, value: Any, *, wildcard: bool = False) -> Iterator[Problem]:
    if value and not _is_host(str(value).removeprefix("*.") if wildcard else str(value)):
        yield Problem(
            name,
            "it has to be the DNS name that clients use, in lower case and without scheme and port, such as "
            "sonic.example.org.",
            value,
            path,
        )


def _is_host(name: str) -> bool:
    return len(name) <= 253 and bool(DNS_NAME.fullmatch(name))


def _secret_name(name: str, path: str, value: Any) -> Iterator[Problem]:
    if value and not _is_host(str(value)):
        yield Problem(name, "it has to be the name of a Secret: lower-case letters, digits, '-' and '.'.", value, path)


def _envoy_tls(variables: Variables) -> bool:
    """Whether clients and proxies speak TLS with the Envoys."""
    return bool(variables.get("envoy_tls_secret") or variables.get("envoy_tls_certificate"))


def check_ingress(variables: Variables) -> Iterator[Problem]:
    name = "envoy_ingress"
    ingress = variables.get(name) or {}
    if not ingress:
        return
    yield from missing_keys(name, ingress, "host", "controller")
    yield from _host(name, ".host", ingress.get("host"))
    yield from _secret_name(name, ".tls_secret", ingress.get("tls_secret"))
    controller, tls, secret = ingress.get("controller"), ingress.get("tls"), ingress.get("tls_secret")
    if secret and tls is False:
        yield Problem(name, "tls_secret names a certificate, so leave tls out or set it to true.", tls, ".tls")
    elif controller == "nginx" and not tls and not secret:
        yield Problem(
            name,
            "ingress-nginx speaks HTTP/2, and so gRPC, with TLS only: set tls: true for its own certificate, or "
            "tls_secret.",
            controller,
            ".controller",
        )
    path = str(ingress.get("path") or "/")
    paths = [GRPC_PATH, *([HTTP_PATH] if variables.get("envoy_http") else [])]
    if (path.rstrip("/") or "/") not in ("/", *paths):
        yield Problem(
            name,
            f"clients call {' and '.join(f'{item}/...' for item in paths)}, so nothing would get here. Leave it out, "
            f"or use {' or '.join(paths)}.",
            path,
            ".path",
        )
    for key, smallest in (("max_request_bytes", 0), ("timeout_seconds", 1)):
        value = ingress.get(key)
        if value is None:
            continue
        if float(value) < smallest:
            yield Problem(name, f"it has to be {smallest} or more.", value, f".{key}")
        elif int(value) > 0 and controller in INGRESS_LACKS[key]:
            yield Problem(
                name,
                f"there is no annotation for it with controller: {controller}; {INGRESS_LACKS[key][controller]}. Leave "
                "it out.",
                value,
                f".{key}",
            )


def check_gateway_route(variables: Variables) -> Iterator[Problem]:
    name = "envoy_gateway_route"
    route = variables.get(name) or {}
    if not route:
        return
    if not route.get("parent_refs"):
        yield Problem(name, "name at least one Gateway, such as parent_refs: [{name: public, namespace: gateways}].")
    for index, host in enumerate(route.get("hostnames") or []):
        yield from _host(name, f".hostnames[{index}]", host, wildcard=True)
    tls = route.get("backend_tls") or {}
    if tls and not _envoy_tls(variables):
        yield Problem(
            name, "the Envoys speak no TLS: set envoy_tls_secret, or leave it out.", dict(tls), ".backend_tls"
        )
    elif _envoy_tls(variables) and not tls:
        yield Problem(
            name,
            "the Envoys speak TLS (envoy_tls_secret), so say how the Gateway verifies them: "
            "backend_tls: {hostname: NAME-IN-THE-CERTIFICATE, ca_config_map: CONFIGMAP-WITH-ca.crt}.",
        )
    yield from _host(name, ".backend_tls.hostname", tls.get("hostname"))


def check_openshift_route(variables: Variables) -> Iterator[Problem]:
    name = "envoy_openshift_route"
    route = variables.get(name) or {}
    if not route:
        return
    yield from missing_keys(name, route, "host", "termination")
    yield from _host(name, ".host", route.get("host"))
    yield from _secret_name(name, ".tls_secret", route.get("tls_secret"))
    termination, secret = route.get("termination"), route.get("tls_secret")
    if termination in ("passthrough", "reencrypt") and not _envoy_tls(variables):
        yield Problem(
            name,
            "TLS goes on to the Envoys, which have no certificate: set envoy_tls_secret.",
            termination,
            ".termination",
        )
    if termination == "edge" and _envoy_tls(variables):
        yield Problem(
            name,
            "the router would speak in the clear with Envoys that expect TLS (envoy_tls_secret): use reencrypt or "
            "passthrough.",
            termination,
            ".termination",
        )
    if termination in ("reencrypt", "edge") and not secret:
        yield Problem(
            name,
            "the router speaks HTTP/2, and so gRPC, only for hosts with a certificate of their own: set tls_secret.",
            termination,
            ".termination",
        )
    if termination == "passthrough" and secret:
        yield Problem(
            name, "clients see the Envoys' certificate with passthrough. Leave it out.", secret, ".tls_secret"
        )
    if termination in ("passthrough", "edge") and route.get("destination_ca"):
        yield Problem(name, f"the router verifies no Envoy with {termination}. Leave it out.", None, ".destination_ca")
    seconds = route.get("timeout_seconds")
    if seconds is not None and int(seconds) < 1:
        yield Problem(name, "it has to be 1 or more.", seconds, ".timeout_seconds")


def check_certificate(variables: Variables) -> Iterator[Problem]:
    name = "envoy_certificate"
    certificate = variables.get(name) or {}
    if not certificate:
        return
    yield from missing_keys(name, certificate, "issuer_name")
    if variables.get("envoy_tls_secret") == "":
        yield Problem(name, "name the Secret that cert-manager writes and Envoy reads in envoy_tls_secret.")
    names = certificate.get("dns_names") or []
    if not names:
        yield Problem(name, "name what clients call in dns_names, such as [sonic.example.org].")
    for index, host in enumerate(names):
        yield from _host(name, f".dns_names[{index}]", host, wildcard=True)
    seconds = {}
    for key, smallest in (("duration", 3600), ("renew_before", 300)):
        text = certificate.get(key)
        if not text:
            continue
        if not DURATION.fullmatch(text):
            yield Problem(
                name, "it has to be a duration in hours, minutes and seconds, such as 2160h.", text, f".{key}"
            )
            continue
        parts = re.findall(r"([0-9.]+)(ms|h|m|s)", text)
        seconds[key] = sum(float(number) * DURATION_SECONDS[unit] for number, unit in parts)
        if seconds[key] < smallest:
            yield Problem(name, f"cert-manager takes nothing below {smallest // 60} minutes.", text, f".{key}")
    if seconds.get("renew_before", 0) >= seconds.get("duration", CERTIFICATE_HOURS * 3600):
        of = f"duration, {certificate.get('duration') or f'{CERTIFICATE_HOURS}h where nothing is said'}"
        yield Problem(name, f"it has to be less than {of}.", certificate["renew_before"], ".renew_before")
    for path, host in _names_in_certificate(variables):
        if names and not any(_covers(str(pattern), host) for pattern in names):
            yield Problem(
                name,
                f"{path}, which is {host}, has to be among them, or whoever verifies it refuses it.",
                list(names),
                ".dns_names",
            )


def _names_in_certificate(variables: Variables) -> Iterator[tuple[str, str]]:
    """Names that clients and routers want to find in the certificate of the Envoys, and where they are said."""
    route = variables.get("envoy_openshift_route") or {}
    if route.get("termination") == "passthrough" and route.get("host"):
        yield "envoy_openshift_route.host", str(route["host"])
    instance, namespace = variables.get("supersonic_name"), variables.get("supersonic_namespace")
    if route.get("termination") == "reencrypt" and instance and namespace:
        yield "the name by which OpenShift's router knows the Service", f"{instance}.{namespace}.svc"
    tls = (variables.get("envoy_gateway_route") or {}).get("backend_tls") or {}
    if tls.get("hostname"):
        yield "envoy_gateway_route.backend_tls.hostname", str(tls["hostname"])


def _covers(pattern: str, host: str) -> bool:
    """Whether a name of a certificate is for a host; a star stands for one label."""
    if pattern.startswith("*."):
        return host.partition(".")[2] == pattern[2:]
    return pattern == host


CHECKS = (
    check_service,
    check_load_balancer,
    check_ingress,
    check_gateway_route,
    check_openshift_route,
    check_certificate,
)
