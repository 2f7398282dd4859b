# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for traces, and for the roles otel_collector and tempo.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring import http_client
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.monitoring import SECRET, authorities
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, Variables

LIMITS: dict[str, tuple[int, int | None]] = {
    "otel_collector_termination_grace": (1, None),
    "otel_collector_wait_timeout": (1, None),
    "tempo_trace_max_bytes": (1, None),
    "tempo_ingestion_rate_bytes": (1, None),
    "tempo_startup_budget": (1, None),
    "tempo_termination_grace": (1, None),
    "tempo_wait_timeout": (1, None),
    "verify_trace_timeout": (1, None),
}
_ADDRESS = re.compile(r"[A-Za-z0-9.-]+:[0-9]{1,5}")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# Of Go, as the collector and Tempo take them.
_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(h|m|s|ms|us))+")
# What a server traces by itself comes on top of what Envoy lets through, and one that traced each of thousands of
# requests per second crashed.
MOST_OF_ITS_OWN = 1.0
# Of one pod of Envoys: with some servers behind it each of them still has time to send what it has.
MOST_PER_SECOND = 200
# Variables of the environment that are set in pods which trace.
_ENVIRONMENT = {
    "envoy_env": ("POD_NAME", "OTEL_RESOURCE_ATTRIBUTES"),
    "triton_env": ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",),
}
# Parts of the configuration that others rely on.
_COLLECTOR_KEYS = {
    "receivers": {"otlp": "Envoys and servers send to it"},
    "service": {"extensions": "the pod's probes ask health_check"},
}


def findings(variables: Variables) -> Iterator[Problem]:
    """Everything, in the order of the roles."""
    yield from _shared(variables)
    yield from _envoy(variables)
    yield from _triton(variables)
    yield from _environment(variables)
    yield from _collector(variables)
    yield from _tempo(variables)


def traced(variables: Variables) -> bool:
    """Whether there is somebody who takes spans, for all of the instance."""
    tracing = variables.get("supersonic_tracing") or {}
    return bool(tracing.get("endpoint")) or "otel_collector" in (variables.get("supersonic_components") or [])


def percent(name: str, tracing: Mapping[str, Any], most: float = 100) -> Iterator[Problem]:
    """The key sampling_percent of a variable."""
    value = tracing.get("sampling_percent")
    if value is not None and not 0 <= float(value) <= 100:
        yield Problem(name, "it has to be from 0 to 100.", value, ".sampling_percent")
    elif value is not None and float(value) > most:
        yield Problem(
            name,
            f"servers that trace by themselves crash under load: it has to be {most:g} or less. What Envoy samples "
            "(supersonic_tracing.sampling_percent) they trace without it.",
            value,
            ".sampling_percent",
        )


def _environment(variables: Variables) -> Iterator[Problem]:
    for name, ours in _ENVIRONMENT.items():
        tracing = variables.get(f"{name.removesuffix('_env')}_tracing") or {}
        if tracing.get("enabled") is False or not (traced(variables) or tracing.get("endpoint") or tracing.get("url")):
            continue
        for index, item in enumerate(variables.get(name) or []):
            if item.get("name") in ours:
                yield Problem(name, "pods that trace have this one already.", item["name"], f"[{index}].name")


def _shared(variables: Variables) -> Iterator[Problem]:
    name = "supersonic_tracing"
    tracing = variables.get(name) or {}
    endpoint = tracing.get("endpoint")
    if endpoint and not _ADDRESS.fullmatch(endpoint):
        yield Problem(
            name, "it has to be host:port of a collector, such as otel-collector:4317.", endpoint, ".endpoint"
        )
    if tracing.get("http_url"):
        yield from _url(name, tracing["http_url"], ".http_url", "the collector")
    yield from percent(name, tracing)
    components = variables.get("supersonic_components") or []
    if tracing.get("sampling_percent") is not None and not endpoint and "otel_collector" not in components:
        yield Problem(
            name,
            "nobody takes the traces: name an endpoint, or have otel_collector among supersonic_components.",
            tracing["sampling_percent"],
            ".sampling_percent",
        )
    url = variables.get("supersonic_tempo_url")
    if url:
        yield from _url("supersonic_tempo_url", url, "", "Tempo")
    name = "supersonic_tempo_ca_certificates"
    yield from authorities(name, variables.get(name))


def _envoy(variables: Variables) -> Iterator[Problem]:
    name = "envoy_tracing"
    tracing = variables.get(name) or {}
    if tracing.get("enabled") is False or not (tracing or traced(variables)):
        return
    endpoint = tracing.get("endpoint")
    if (endpoint or not traced(variables)) and not _ADDRESS.fullmatch(str(endpoint or "")):
        yield Problem(
            name, "it has to be host:port of a collector, such as otel-collector:4317.", endpoint or "", ".endpoint"
        )
    yield from percent(name, tracing)
    most = tracing.get("requests_per_second")
    if most is not None and not 1 <= int(most) <= MOST_PER_SECOND:
        yield Problem(
            name,
            f"it has to be from 1 to {MOST_PER_SECOND}: servers that trace more than they can send crash.",
            most,
            ".requests_per_second",
        )
    servers_trace = (variables.get("triton_tracing") or {}).get("enabled") is not False
    many = counts(variables)
    if servers_trace and many > MOST_PER_SECOND:
        yield Problem(
            name,
            "each worker (envoy_concurrency) of each Envoy of a pod (envoy_processes) counts for itself in each "
            "cluster of servers (two with envoy_http, and as many again for each in_flight of envoy_client_limits). "
            f"These are {many}, each lets at least one request in a second through, and servers that trace more than "
            f"{MOST_PER_SECOND} may crash. Have fewer of them, or set triton_tracing.enabled to false.",
        )


def counts(variables: Variables) -> int:
    """The number of independent counters of traced requests in a pod of Envoys."""
    limits = (variables.get("envoy_client_limits") or {}).values()
    clusters = 1 + sum(bool(isinstance(limit, Mapping) and limit.get("in_flight")) for limit in limits)
    workers = int(variables.get("envoy_concurrency") or 1) * int(variables.get("envoy_processes") or 1)
    return clusters * (2 if variables.get("envoy_http") else 1) * workers


def _triton(variables: Variables) -> Iterator[Problem]:
    name = "triton_tracing"
    tracing = variables.get(name)
    if tracing is None:
        return
    if tracing and tracing.get("enabled") is not False and not tracing.get("url") and not traced(variables):
        yield Problem(
            name, "nobody takes the spans: give it a url, or have otel_collector among supersonic_components.", None
        )
    if tracing.get("url"):
        yield from _url(name, tracing["url"], ".url", "the collector")
    yield from percent(name, tracing, MOST_OF_ITS_OWN)
    for key in ("queue_size", "batch_size", "schedule_delay", "export_timeout"):
        if tracing.get(key) is not None and int(tracing[key]) < 1:
            yield Problem(name, "it has to be 1 or more.", tracing[key], f".{key}")
    batch, queue = int(tracing.get("batch_size") or 512), int(tracing.get("queue_size") or 8192)
    if batch > queue:
        yield Problem(name, f"a batch is not larger than the queue ({queue}).", batch, ".batch_size")
    enabled = tracing.get("enabled") is not False and bool(tracing.get("url") or traced(variables))
    if enabled and "trace-config" in (variables.get("triton_flags") or {}):
        yield Problem(
            "triton_flags",
            "it would take the place of what triton_tracing sets. Leave it out, or set triton_tracing.enabled to "
            "false.",
            None,
            ".trace-config",
        )
    envoy = variables.get("envoy_tracing")
    own = variables.get("envoy_configuration_config_map")
    if enabled and own:
        yield Problem(
            "envoy_configuration_config_map",
            "servers trace every context that clients send, and the filter that keeps most of them away is a part of "
            "our configuration, which this one replaces. Set triton_tracing.enabled to false, or leave it out.",
            own,
        )
    elif enabled and envoy is not None and not (envoy.get("endpoint") or traced(variables)):
        yield Problem(
            name,
            "Envoy does not trace, so every context that clients send reaches the servers, which trace all of them and "
            "crash under load. Set supersonic_tracing.endpoint, or envoy_tracing.",
        )
    elif enabled and envoy is not None and envoy.get("enabled") is False:
        yield Problem(
            "envoy_tracing",
            "servers trace every context that clients send, and only an Envoy that traces keeps that from them. Set "
            "triton_tracing.enabled to false as well.",
            False,
            ".enabled",
        )


def _collector(variables: Variables) -> Iterator[Problem]:
    mode = variables.get("otel_collector_mode")
    if mode is None:
        return
    endpoint = (variables.get("supersonic_tracing") or {}).get("endpoint")
    if mode == "existing" and not endpoint:
        yield Problem(
            "otel_collector_mode", "an existing collector has an address: set supersonic_tracing.endpoint.", mode
        )
    if mode == "managed" and endpoint:
        yield Problem(
            "supersonic_tracing",
            "the managed collector has an address of its own. Leave it out, set otel_collector_mode: existing, or have "
            "the managed one send there (otel_collector_exporters).",
            endpoint,
            ".endpoint",
        )
    exporters = variables.get("otel_collector_exporters") or []
    names: set[str] = {"tempo"}
    for index, exporter in enumerate(exporters):
        yield from _exporter(exporter, f"[{index}]", names)
        names.add(str(exporter.get("name")))
    tempo = "tempo" in (variables.get("supersonic_components") or []) and not variables.get("supersonic_tempo_url")
    counted = variables.get("otel_collector_span_metrics") or variables.get("otel_collector_service_graph")
    if mode == "managed" and not (exporters or tempo or counted or variables.get("otel_collector_debug")):
        yield Problem(
            "otel_collector_exporters",
            "nobody gets the traces, and nothing is counted of them. Name an exporter, have tempo among "
            "supersonic_components, or set otel_collector_span_metrics.",
            [],
        )
    for index, bucket in enumerate(variables.get("otel_collector_buckets") or []):
        if not _DURATION.fullmatch(str(bucket)):
            yield Problem("otel_collector_buckets", "it has to be a time such as 5ms or 1s.", bucket, f"[{index}]")
    for index, name in enumerate(variables.get("otel_collector_secrets") or []):
        if not SECRET.fullmatch(str(name)):
            yield Problem("otel_collector_secrets", "this is no name of a Secret.", name, f"[{index}]")
    extra = variables.get("otel_collector_extra_configuration") or {}
    for key, parts in _COLLECTOR_KEYS.items():
        for part, why in parts.items():
            if isinstance(extra.get(key), Mapping) and part in extra[key]:
                yield Problem("otel_collector_extra_configuration", f"{why}.", None, f".{key}.{part}")


def _exporter(exporter: Mapping[str, Any], at: str, names: set[str]) -> Iterator[Problem]:
    variable = "otel_collector_exporters"
    name, endpoint = str(exporter.get("name")), str(exporter.get("endpoint"))
    if not _NAME.fullmatch(name):
        yield Problem(variable, "it has to be lower-case letters, digits and '-'.", name, f"{at}.name")
    elif name in names:
        yield Problem(variable, "there is one of this name already.", name, f"{at}.name")
    if exporter.get("protocol") == "http":
        yield from _url(variable, endpoint, f"{at}.endpoint", "the backend")
        if exporter.get("insecure") is not None:
            yield Problem(variable, "over HTTP it is the URL that says so.", exporter["insecure"], f"{at}.insecure")
    elif not _ADDRESS.fullmatch(endpoint):
        yield Problem(variable, "it has to be host:port, such as tempo.example.org:4317.", endpoint, f"{at}.endpoint")
    for key in ("headers", "header_secrets"):
        for header, value in (exporter.get(key) or {}).items():
            where = f"{at}.{key}.{header}"
            if not _HEADER.fullmatch(str(header)):
                yield Problem(variable, "this is no name of a header.", header, where)
            elif key == "headers" and not isinstance(value, str):
                yield Problem(variable, "the value of a header is a text; put it in quotes.", value, where)
            elif key == "header_secrets" and not (
                isinstance(value, Mapping) and set(value) == {"name", "key"} and SECRET.fullmatch(str(value["name"]))
            ):
                yield Problem(variable, "it has to be {name: SECRET, key: KEY} of a Secret that is there.", None, where)
    if exporter.get("ca_secret") and not SECRET.fullmatch(str(exporter["ca_secret"])):
        yield Problem(variable, "this is no name of a Secret.", exporter["ca_secret"], f"{at}.ca_secret")


def _tempo(variables: Variables) -> Iterator[Problem]:
    mode = variables.get("tempo_mode")
    if mode is None:
        return
    url = variables.get("supersonic_tempo_url")
    if mode == "existing" and url == "":
        yield Problem("tempo_mode", "an existing Tempo has an address: set supersonic_tempo_url.", mode)
    if mode == "managed" and url:
        yield Problem(
            "supersonic_tempo_url",
            "the managed Tempo has an address of its own. Leave this empty, or set tempo_mode: existing.",
        )
    image = str(variables.get("tempo_image") or "")
    tag = image.partition("@")[0].rsplit("/", 1)[-1].partition(":")[2].removeprefix("v")
    if mode == "managed" and re.match(r"[013-9]\.|[1-9][0-9]+\.", tag):
        yield Problem("tempo_image", "the configuration is one of Tempo 2, which no other version takes.", image)
    retention = str(variables.get("tempo_retention") or "")
    if not _DURATION.fullmatch(retention) or not re.search(r"[1-9]", retention):
        yield Problem("tempo_retention", "it has to be a time in hours or minutes, such as 336h.", retention)
    if not variables.get("tempo_access_modes"):
        yield Problem("tempo_access_modes", "a claim needs at least one.", [])


def _url(name: str, url: str, path: str, what: str) -> Iterator[Problem]:
    try:
        http_client.parse_address(url)
    except SupersonicError:
        yield Problem(
            name,
            f"it has to be http://HOST:PORT or https://HOST:PORT, with a path where {what} has one, and without a "
            "user, a query or a fragment.",
            # One with a user may have a password too.
            None if "@" in url else url,
            path,
        )


CHECKS = (findings,)
