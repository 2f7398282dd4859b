# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What does not fit together in the variables of traces is said before anything changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.certificates import certificate
from ansible_collections.fastml.supersonic.tests.harness.variables import sentences

ROLES = Path(__file__).resolve().parents[3] / "roles"
OPTIONS: dict[str, Any] = {}
RIGHT: dict[str, Any] = {"supersonic_name": "main", "envoy_tracing": {}, "triton_tracing": {}, "triton_flags": {}}
for _role in ("otel_collector", "tempo"):
    RIGHT |= yaml.safe_load((ROLES / _role / "defaults" / "main.yml").read_text())
for _role in ("otel_collector", "tempo", "supersonic", "envoy", "triton"):
    _specs = yaml.safe_load((ROLES / _role / "meta" / "argument_specs.yml").read_text())
    OPTIONS |= _specs["argument_specs"]["main"]["options"]
RIGHT |= {
    name: option["default"]
    for name, option in OPTIONS.items()
    if name.startswith(("supersonic_t", "supersonic_c")) and "default" in option
}
RIGHT["supersonic_components"] = ["otel_collector", "tempo"]
ELSEWHERE = {
    "otel_collector_mode": "existing",
    "supersonic_tracing": {"endpoint": "otel.monitoring:4317"},
    "tempo_mode": "existing",
    "supersonic_tempo_url": "https://tempo.example.org",
}
# 5 clients that have limits and the others, 2 protocols, 16 workers: 192 counts.
MANY: dict[str, Any] = {
    "envoy_http": True,
    "envoy_concurrency": 16,
    "envoy_tokens": {f"client{number}": f"0123456789abcdef-{number:03}" for number in range(6)},
    "envoy_client_limits": {f"client{number}": {"in_flight": 9} for number in range(5)} | {"client5": {"rate": 9}},
}
CENTRAL = {"name": "central", "endpoint": "traces.example.org:4317"}


def exporter(**changes: Any) -> dict[str, Any]:
    return {"otel_collector_exporters": [{**CENTRAL, **changes}]}


def said(changes: dict[str, Any]) -> list[str]:
    return sentences({**RIGHT, **changes}, OPTIONS)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        ELSEWHERE,
        {**ELSEWHERE, "supersonic_tempo_ca_certificates": certificate("authority").pem},
        {"supersonic_components": []},
        {**ELSEWHERE, "supersonic_components": []},
        {"supersonic_tracing": {"sampling_percent": 100}},
        exporter(),
        exporter(protocol="http", endpoint="https://traces.example.org/otlp"),
        exporter(insecure=True, headers={"x-scope-orgid": "a"}),
        exporter(ca_secret="central", header_secrets={"authorization": {"name": "a", "key": "b"}}),
        {"envoy_tracing": {"requests_per_second": 100, "sampling_percent": 5}},
        MANY,
        {**MANY, "envoy_processes": 2, "triton_tracing": {"enabled": False}},
        {"envoy_configuration_config_map": "mine", "triton_tracing": {"enabled": False}},
        {"envoy_configuration_config_map": "mine", "supersonic_components": []},
        {"triton_tracing": {"sampling_percent": 1, "queue_size": 100, "batch_size": 100}},
        {"triton_tracing": {"enabled": False}, "envoy_tracing": {"enabled": False}},
        {"triton_tracing": {"enabled": False}, "triton_flags": {"trace-config": ["rate=1"]}},
        {"tempo_image": "example.org/tempo@sha256:" + "0" * 64, "tempo_retention": "1h30m"},
        {"tempo_image": "example.org/tempo:main-3f2a"},
        {"otel_collector_extra_configuration": {"receivers": {"zipkin": {}}, "processors": {"batch": {}}}},
    ],
)  # fmt: skip
def test_what_is_right_is_not_refused(changes: dict[str, Any]) -> None:
    assert said(changes) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"otel_collector_mode": "existing"}, r"otel_collector_mode .*set supersonic_tracing\.endpoint"),
        (
            {"supersonic_tracing": {"endpoint": "a:4317"}},
            r"supersonic_tracing\.endpoint .*set otel_collector_mode: existing",
        ),
        (
            {**ELSEWHERE, "supersonic_tracing": {"endpoint": "http://a:4317"}},
            r"supersonic_tracing\.endpoint .*host:port",
        ),
        (
            {**ELSEWHERE, "supersonic_tracing": {"endpoint": "a:4317", "http_url": "a:4318"}},
            r"supersonic_tracing\.http_url .*http://HOST:PORT",
        ),
        ({"supersonic_tracing": {"sampling_percent": 101}}, r"supersonic_tracing\.sampling_percent .*from 0 to 100"),
        ({"supersonic_tracing": {"sampling": 1}}, r"supersonic_tracing.*sampling"),
        (
            {"supersonic_components": [], "supersonic_tracing": {"sampling_percent": 1}},
            r"supersonic_tracing\.sampling_percent .*nobody takes the traces",
        ),
        ({"tempo_mode": "existing"}, r"tempo_mode .*set supersonic_tempo_url"),
        ({"supersonic_tempo_url": "http://a"}, r"supersonic_tempo_url: .*or set tempo_mode: existing"),
        ({**ELSEWHERE, "supersonic_tempo_url": "http://u:geheim@a"}, r"supersonic_tempo_url: .*without a user"),
        (
            {**ELSEWHERE, "supersonic_tempo_ca_certificates": "geheim"},
            r"supersonic_tempo_ca_certificates: it has no certificates in PEM",
        ),
        ({"tempo_image": "docker.io/grafana/tempo:3.0.2"}, r"tempo_image .*one of Tempo 2"),
        ({"tempo_image": "docker.io/grafana/tempo"}, r"tempo_image .*a tag"),
        ({"tempo_retention": "14d"}, r"tempo_retention .*such as 336h"),
        ({"tempo_retention": "0h"}, r"tempo_retention .*such as 336h"),
        ({"tempo_access_modes": []}, r"tempo_access_modes.*at least one"),
        ({"tempo_size": "much"}, r"tempo_size .*Kubernetes quantity"),
        ({"tempo_clients_from": [{"pods": {}}]}, r"tempo_clients_from\[0\].*pods"),
        ({"otel_collector_buckets": ["5"]}, r"otel_collector_buckets\[0\] .*such as 5ms"),
        ({"otel_collector_secrets": ["A"]}, r"otel_collector_secrets\[0\] .*no name of a Secret"),
        (
            {
                "supersonic_components": ["otel_collector"],
                "otel_collector_span_metrics": False,
                "otel_collector_service_graph": False,
            },
            r"otel_collector_exporters.*nobody gets the traces",
        ),
        (exporter(name="tempo"), r"otel_collector_exporters\[0\]\.name .*of this name already"),
        (exporter(name="A/b"), r"otel_collector_exporters\[0\]\.name .*lower-case"),
        (exporter(endpoint="https://a:4317"), r"otel_collector_exporters\[0\]\.endpoint .*host:port"),
        (exporter(protocol="http"), r"otel_collector_exporters\[0\]\.endpoint .*http://HOST:PORT"),
        (
            exporter(protocol="http", endpoint="http://a", insecure=True),
            r"otel_collector_exporters\[0\]\.insecure .*the URL that says so",
        ),
        (exporter(headers={"a b": "c"}), r"otel_collector_exporters\[0\]\.headers\.a b .*no name of a header"),
        (exporter(headers={"a": 1}), r"otel_collector_exporters\[0\]\.headers\.a .*in quotes"),
        (
            exporter(header_secrets={"authorization": "geheim"}),
            r"otel_collector_exporters\[0\]\.header_secrets\.authorization: it has to be \{name",
        ),
        (
            {"otel_collector_extra_configuration": {"receivers": {"otlp": {}}}},
            r"otel_collector_extra_configuration\.receivers\.otlp: Envoys and servers send",
        ),
        ({"otel_collector_pod_labels": {"a": 1}}, r"otel_collector_pod_labels\.a"),
        ({"otel_collector_security_context": {"root": True}}, r"otel_collector_security_context.*root"),
        ({"envoy_tracing": {"requests_per_second": 1000}}, r"envoy_tracing\.requests_per_second .*from 1 to 200"),
        ({**MANY, "envoy_concurrency": 17}, r"envoy_tracing: .*These are 204,.*more than 200"),
        ({**MANY, "envoy_processes": 2}, r"envoy_tracing: .*These are 384,.*more than 200"),
        (
            {"envoy_configuration_config_map": "mine"},
            r"envoy_configuration_config_map is .mine.*Set triton_tracing\.enabled to false",
        ),
        ({"envoy_tracing": {"sampling_percent": -1}}, r"envoy_tracing\.sampling_percent .*from 0 to 100"),
        (
            {"triton_tracing": {"sampling_percent": 50}},
            r"triton_tracing\.sampling_percent .*crash under load.*1 or less",
        ),
        ({"triton_tracing": {"batch_size": 10000}}, r"triton_tracing\.batch_size .*not larger than the queue \(8192\)"),
        ({"triton_tracing": {"queue_size": 0}}, r"triton_tracing\.queue_size .*1 or more"),
        ({"triton_tracing": {"url": "a"}}, r"triton_tracing\.url .*http://HOST:PORT"),
        (
            {"supersonic_components": [], "triton_tracing": {"schedule_delay": 100}},
            r"triton_tracing: nobody takes the spans",
        ),
        (
            {"supersonic_components": [], "triton_tracing": {"url": "http://a:4318/v1/traces"}},
            r"triton_tracing: Envoy does not trace, so every context",
        ),
        ({"envoy_tracing": {"enabled": False}}, r"envoy_tracing\.enabled .*Set triton_tracing\.enabled to false"),
        ({"triton_flags": {"trace-config": ["rate=1"]}}, r"triton_flags\.trace-config: .*triton_tracing"),
        ({"triton_env": [{"name": "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"}]}, r"triton_env\[0\]\.name .*this one already"),
        ({"envoy_env": [{"name": "POD_NAME", "value": "a"}]}, r"envoy_env\[0\]\.name .*this one already"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], message: str) -> None:
    found = said(changes)
    assert len(found) == 1, found
    assert re.search(message, found[0]), found
    assert "geheim" not in found[0]
