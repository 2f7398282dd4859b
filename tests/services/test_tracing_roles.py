# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles otel_collector and tempo write, by the collector's own judge and by Kubernetes' schemas.

The configuration of Tempo is compared with what its documentation has: its program is in no package registry, so that
nobody else can judge it here.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules import tracing
from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment
from ansible_collections.fastml.supersonic.tests.harness.programs import program
from ansible_collections.fastml.supersonic.tests.harness.tracing import container, of_kind, render

KUBERNETES = "1.34"
CASES: dict[str, dict[str, Any]] = {
    "defaults": {"supersonic_components": ["otel_collector"]},
    "both": {"supersonic_components": ["otel_collector", "tempo"]},
    "everything": {
        "supersonic_components": ["otel_collector", "tempo"],
        "supersonic_labels": {"team": "tracking"},
        "otel_collector_exporters": [
            {
                "name": "central",
                "endpoint": "traces.example.org:4317",
                "headers": {"x-scope-orgid": "pay$"},
                "header_secrets": {"authorization": {"name": "central", "key": "authorization"}},
            },
            {"name": "archive", "endpoint": "https://archive.example.org/otlp", "protocol": "http"},
            {"name": "near", "endpoint": "jaeger:4317", "insecure": True},
        ],
        "otel_collector_debug": True,
        "otel_collector_dimensions": ["triton.model_name", "http.status_code"],
        "otel_collector_buckets": ["100us", "1.5ms", "1s"],
        "otel_collector_log_level": "warn",
        "otel_collector_extra_configuration": {"processors": {"batch": {"timeout": "5s"}}},
        "otel_collector_secrets": ["others"],
        "otel_collector_clients_from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
        "otel_collector_metrics_from": [],
        "tempo_persistent": False,
        "tempo_size": "1Gi",
        "tempo_log_level": "warn",
        "tempo_extra_configuration": {"query_frontend": {"max_retries": 3}, "ingester": {"max_block_duration": "5m"}},
        "tempo_clients_from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
    },
    "plain": {
        "supersonic_components": ["otel_collector", "tempo"],
        "otel_collector_span_metrics": False,
        "otel_collector_service_graph": False,
        "otel_collector_dimensions": [],
        "otel_collector_network_policy": False,
        "tempo_network_policy": False,
    },
    "graph": {"supersonic_components": ["otel_collector"], "otel_collector_span_metrics": False},
    "counted": {"supersonic_components": ["otel_collector"], "otel_collector_dimensions": []},
    "shared": {
        "supersonic_components": ["otel_collector"],
        "envoy_http": True,
        "envoy_processes": 2,
        "envoy_tokens": {"cms": "0123456789abcdef-cms"},
        "envoy_client_limits": {"cms": {"in_flight": 5}},
        "envoy_tracing": {"requests_per_second": 40},
    },
    "site": {
        "supersonic_components": ["otel_collector", "tempo"],
        "otel_collector_mode": "existing",
        "supersonic_tracing": {"endpoint": "otel.monitoring:4317"},
        "tempo_mode": "existing",
        "supersonic_tempo_url": "https://tempo.example.org",
    },
}
MANAGED = [case for case in CASES if case != "site"]
# https://grafana.com/docs/tempo/v2.10.x/configuration and .../manifest: the keys that are used, with their types.
TEMPO = {
    "server": {"http_listen_port": int, "log_level": str},
    "usage_report": {"reporting_enabled": bool},
    "distributor": {"receivers": {"otlp": {"protocols": {"grpc": {"endpoint": str}}}}},
    "ingester": {"max_block_duration": str},
    "compactor": {"compaction": {"block_retention": str}},
    "query_frontend": {"max_retries": int},
    "storage": {"trace": {"backend": str, "local": {"path": str}, "wal": {"path": str}}},
    "overrides": {
        "defaults": {
            "ingestion": {"rate_limit_bytes": int, "burst_size_bytes": int},
            "global": {"max_bytes_per_trace": int},
        }
    },
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("rendered") / "roles", CASES, "otel_collector", "tempo", "triton", "envoy")


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program("otel-collector", tmp_path_factory.mktemp("build")) / "otel-collector"


@pytest.mark.parametrize("case", MANAGED)
@pytest.mark.parametrize("component", ["otel-collector", "tempo"])
def test_manifests_fit_their_schemas(rendered: Path, case: str, component: str) -> None:
    found = list(yaml.safe_load_all((rendered / case / f"{component.replace('-', '_')}.yaml").read_text()))
    assert found
    for document in found:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        assert document["metadata"]["name"] == f"main-{component}"
        assert document["metadata"]["labels"]["app.kubernetes.io/component"] == component


def test_of_what_is_there_nothing_is_written(rendered: Path) -> None:
    assert sorted(path.name for path in (rendered / "site").iterdir()) == ["envoy.yaml", "triton.yaml"]


@pytest.mark.parametrize("case", MANAGED)
def test_the_collector_takes_its_configuration(rendered: Path, collector: Path, case: str, tmp_path: Path) -> None:
    done = validated(rendered / case / "otel_collector.yaml", collector, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_collector_would_not_take_any_other(rendered: Path, collector: Path, tmp_path: Path) -> None:
    done = validated(rendered / "both" / "otel_collector.yaml", collector, tmp_path, ("send_batch_size", "send_batch"))
    assert done.returncode != 0
    assert "send_batch" in done.stdout + done.stderr


def validated(
    manifests: Path, collector: Path, folder: Path, change: tuple[str, str] = ("", "")
) -> subprocess.CompletedProcess[str]:
    text = of_kind(manifests, "ConfigMap")["data"]["otel-collector.yaml"]
    (folder / "otel-collector.yaml").write_text(text.replace(*change) if change[0] else text)
    environment = {item["name"]: "a value" for item in container(manifests)["env"] or []}
    command = [str(collector), "validate", f"--config={folder / 'otel-collector.yaml'}"]
    return subprocess.run(command, env=own_environment(**environment), capture_output=True, text=True, check=False)


def test_what_it_sends_goes_where_it_is_wanted(rendered: Path) -> None:
    def exporters(case: str) -> tuple[dict[str, Any], list[str]]:
        text = of_kind(rendered / case / "otel_collector.yaml", "ConfigMap")["data"]["otel-collector.yaml"]
        configuration = yaml.safe_load(text)
        return configuration["exporters"], configuration["service"]["pipelines"]["traces"]["exporters"]

    assert exporters("defaults")[1] == ["spanmetrics", "signaltometrics/graph"]
    found, used = exporters("both")
    assert used == ["otlp/tempo", "spanmetrics", "signaltometrics/graph"]
    assert found["otlp/tempo"]["endpoint"] == "main-tempo.both.svc.cluster.local:4317"
    found, used = exporters("everything")
    assert used == [
        "otlp/tempo",
        "otlp/central",
        "otlphttp/archive",
        "otlp/near",
        "debug",
        "spanmetrics",
        "signaltometrics/graph",
    ]
    # A dollar is one to the collector only when it is written twice.
    assert found["otlp/central"]["headers"] == {"x-scope-orgid": "pay$$", "authorization": "${env:HEADER_0_0}"}
    (variable,) = container(rendered / "everything" / "otel_collector.yaml")["env"]
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "central", "key": "authorization"}}


def check(configuration: Mapping[str, Any], schema: Mapping[str, Any], where: str = "") -> None:
    for key, value in configuration.items():
        assert key in schema, f"{where}.{key}"
        if isinstance(schema[key], Mapping):
            check(value, schema[key], f"{where}.{key}")
        else:
            assert isinstance(value, schema[key]), f"{where}.{key}"


@pytest.mark.parametrize("case", ["both", "everything", "plain"])
def test_tempo_is_told_what_its_documentation_has(rendered: Path, case: str) -> None:
    manifests = rendered / case / "tempo.yaml"
    configuration = yaml.safe_load(of_kind(manifests, "ConfigMap")["data"]["tempo.yaml"])
    check(configuration, TEMPO)
    mounts = {mount["name"]: mount["mountPath"] for mount in container(manifests)["volumeMounts"]}
    for place in ("local", "wal"):
        assert configuration["storage"]["trace"][place]["path"].startswith(f"{mounts['data']}/")
    ports = {port["name"]: port["containerPort"] for port in container(manifests)["ports"]}
    assert ports == {"metrics": configuration["server"]["http_listen_port"], "otlp-grpc": 4317}
    assert configuration["ingester"]["max_block_duration"] == ("5m" if case == "everything" else "30m")


def test_everybody_who_counts_traced_requests_has_a_share_of_their_limit(rendered: Path) -> None:
    def shares(case: str) -> list[int]:
        """Of each cluster of servers of each Envoy; every worker has one."""
        documents = yaml.safe_load_all((rendered / case / "envoy.yaml").read_text())
        texts = [str(item.get("data")) for item in documents if item["kind"] == "ConfigMap"]
        return [int(share) for text in texts for share in re.findall(r"local most = (\d+)", text)]

    # 20 among two workers; 40 among two workers, two Envoys and four clusters.
    assert shares("defaults") == [10]
    assert shares("shared") == [2] * 8
    variables = {"envoy_concurrency": 2, **CASES["shared"]}
    assert 2 * len(shares("shared")) == tracing.counts(variables)


def test_envoys_and_servers_send_to_the_collector(rendered: Path) -> None:
    """By the naming contract, or where the site's is."""
    for case, host in (("both", "main-otel-collector.both.svc.cluster.local"), ("site", "otel.monitoring")):
        envoy = of_kind(rendered / case / "envoy.yaml", "ConfigMap")["data"]["envoy.yaml"]
        (cluster,) = (
            item for item in yaml.safe_load(envoy)["static_resources"]["clusters"] if item["name"] == "tracing"
        )
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        assert endpoint["address"]["socket_address"] == {"address": host, "port_value": 4317}
        flags = container(rendered / case / "triton.yaml")["args"]
        assert f"--trace-config=opentelemetry,url=http://{host}:4318/v1/traces" in flags
        assert "--trace-config=rate=0" in flags
