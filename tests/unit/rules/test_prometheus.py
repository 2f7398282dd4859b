# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What does not fit together in the variables of Prometheus is said before anything changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.monitoring import prometheus_retention_size
from ansible_collections.fastml.supersonic.tests.harness.certificates import certificate
from ansible_collections.fastml.supersonic.tests.harness.variables import sentences

ROLE = Path(__file__).resolve().parents[3] / "roles" / "prometheus"
RIGHT: dict[str, Any] = {
    **yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()),
    "supersonic_name": "main",
    "supersonic_prometheus_url": "",
    "supersonic_prometheus_ca_certificates": "",
}
SPEC = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
SITE = {"prometheus_mode": "existing", "supersonic_prometheus_url": "https://prometheus.example.org"}


def said(changes: dict[str, Any]) -> list[str]:
    return sentences({**RIGHT, **changes}, SPEC)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        SITE,
        {**SITE, "supersonic_prometheus_url": "http://prometheus-operated.monitoring.svc:9090"},
        {**SITE, "supersonic_prometheus_ca_certificates": certificate("authority").pem},
        {"prometheus_retention": "1w12h", "prometheus_retention_size": "500MB"},
        {"prometheus_extra_args": ["--query.timeout=30s", "--web.page-title=CMS"]},
        {"prometheus_extra_scrape_configs": [{"job_name": "a"}, {"job_name": "b"}]},
        {"prometheus_extra_rules": [{"name": "a", "rules": []}]},
        {"prometheus_extra_configuration": {"remote_write": []}},
        {"prometheus_external_labels": {"site": "nrp"}, "prometheus_secrets": ["central.token"]},
        {
            "prometheus_objectives": {"availability": 0.99, "latency_ms": 250, "servers": 0, "certificate_days": 0},
            "prometheus_models": ["digits"],
            "prometheus_alert_patience": 0.01,
            "prometheus_keda_targets": ["keda-operator.keda:8080", "[2001:db8::1]:8080"],
            "prometheus_dcgm_targets": ["192.0.2.7:9400"],
            "prometheus_extra_scrape_configs": [{"job_name": "gpus"}],
        },
        {
            "prometheus_secrets": ["central"],
            "prometheus_alertmanagers": [
                {"url": "https://alerts.example.org/am", "token_file": "/etc/prometheus-secrets/central/token"},
                {"url": "http://alertmanager.monitoring:9093"},
            ],
            "prometheus_remote_write": [
                {
                    "url": "https://central.example.org/api/v1/write",
                    "basic_auth": {"username": "cms", "password_file": "/etc/prometheus-secrets/central/password"},
                    "tls_config": {"ca_file": "/etc/ssl/certs/ca-certificates.crt"},
                    "write_relabel_configs": [{"source_labels": ["__name__"], "action": "keep"}],
                }
            ],
        },
        {"prometheus_extra_scrape_configs": [{"job_name": "dcgm"}], "prometheus_objectives": {"latency_ms": 0}},
        {"prometheus_persistent": False, "prometheus_clients_from": []},
        {"prometheus_requests_per_server": 14.4, "autoscaler_requests_per_server": 14.4},
        {"prometheus_requests_per_server": 14.4, "autoscaler_requests_per_server": 0.0},
        {"prometheus_requests_per_server": 0.0, "autoscaler_requests_per_server": 14.4},
        {"prometheus_pod_spec_overrides": {"containers": [{"name": "prometheus", "env": [{"name": "A"}]}]}},
    ],
)
def test_what_is_right_is_not_refused(changes: dict[str, Any]) -> None:
    assert said(changes) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prometheus_mode": "existing"}, r"prometheus_mode .*set supersonic_prometheus_url"),
        ({"supersonic_prometheus_url": "http://a"}, r"supersonic_prometheus_url: .*or set prometheus_mode: existing"),
        (
            {**SITE, "supersonic_prometheus_url": "a:9090"},
            r"supersonic_prometheus_url: it is 'a:9090'; it must be http",
        ),
        (
            {**SITE, "supersonic_prometheus_ca_certificates": "geheim"},
            r"supersonic_prometheus_ca_certificates: it has no certificates in PEM",
        ),
        ({"prometheus_scrape_interval": 0}, r"prometheus_scrape_interval is 0: .*1 or more"),
        ({"prometheus_scrape_interval": 300}, r"prometheus_scrape_interval is 300: .*60 or less"),
        ({"prometheus_scrape_interval": "2s"}, r"prometheus_scrape_interval .*a whole number"),
        ({"prometheus_image": "prometheus"}, r"prometheus_image .*a tag"),
        ({"prometheus_retention": "2 weeks"}, r"prometheus_retention .*such as 15d"),
        ({"prometheus_retention": ""}, r"prometheus_retention .*such as 15d"),
        ({"prometheus_retention_size": "8Gi"}, r"prometheus_retention_size .*such as 8GB"),
        ({"prometheus_size": "8GB"}, r"prometheus_size .*a Kubernetes quantity"),
        ({"prometheus_access_modes": []}, r"prometheus_access_modes .*at least one"),
        (
            {"prometheus_extra_args": ["--web.enable-lifecycle"]},
            r"prometheus_extra_args\[0\] .*change or fill the server",
        ),
        ({"prometheus_extra_args": ["--web.enable-admin-api=true"]}, r"change or fill the server"),
        ({"prometheus_extra_args": ["-x", "--config.file=/a"]}, r"prometheus_extra_args\[1\] .*the role writes"),
        (
            {"prometheus_extra_scrape_configs": [{"job_name": "supersonic"}]},
            r"\[0\]\.job_name is .*of this name already",
        ),
        (
            {"prometheus_extra_scrape_configs": [{"job": "a"}]},
            r"extra_scrape_configs\[0\]: the key job_name is missing",
        ),
        ({"prometheus_extra_rules": [{"name": "a"}, {"name": "a"}]}, r"extra_rules\[1\]\.name .*of this name already"),
        ({"prometheus_extra_rules": [{"name": "supersonic-main"}]}, r"extra_rules\[0\]\.name .*of this name already"),
        (
            {"prometheus_extra_rules": [{"name": "supersonic-main-alerts"}]},
            r"extra_rules\[0\]\.name .*of this name already",
        ),
        (
            {"prometheus_extra_scrape_configs": [{"job_name": "keda"}], "prometheus_keda_targets": ["a:1"]},
            r'scrape_configs\[0\]\.job_name is "keda": .*of this name already',
        ),
        (
            {"prometheus_objectives": {"availability": 99.9}},
            r"availability is 99\.9: .*a share between 0 and 1",
        ),
        ({"prometheus_objectives": {"latency_share": 1.0}}, r"objectives\.latency_share is 1\.0: .*between 0 and 1"),
        ({"prometheus_objectives": {"error_share": 0.0}}, r"objectives\.error_share is 0\.0"),
        (
            {"prometheus_objectives": {"latency_ms": 300}},
            r"latency_ms is 300: Envoy counts requests up to 1, 5,",
        ),
        (
            {"prometheus_requests_per_server": 12.0, "autoscaler_requests_per_server": 14.4},
            r"prometheus_requests_per_server is 12\.0: autoscaler_requests_per_server is 14\.4, .*both to the same",
        ),
        ({"prometheus_requests_per_server": 0.5}, r"prometheus_requests_per_server is 0\.5: .*1 or more, or 0"),
        ({"prometheus_requests_per_server": -1.0}, r"prometheus_requests_per_server is -1\.0: .*0 or more"),
        ({"prometheus_objectives": {"start_seconds": -1}}, r"objectives\.start_seconds is -1: .*0 or more"),
        ({"prometheus_objectives": {"servers": -1}}, r"objectives\.servers is -1: .*0 or more"),
        ({"prometheus_objectives": {"queue_ms": 0.0}}, r"objectives\.queue_ms is 0\.0: .*1 or more"),
        ({"prometheus_objectives": {"avail": 0.9}}, r"prometheus_objectives\.avail"),
        ({"prometheus_alert_patience": 0.0}, r"prometheus_alert_patience is 0\.0: .*above 0"),
        ({"prometheus_models": [""]}, r"prometheus_models\[0\] .*no name of a model"),
        ({"prometheus_runbook_url": "docs/runbook.md"}, r"prometheus_runbook_url .*an address such as"),
        ({"prometheus_keda_targets": ["http://a:8080"]}, r"keda_targets\[0\] .*host:port, without http"),
        ({"prometheus_dcgm_targets": ["dcgm"]}, r"dcgm_targets\[0\] .*host:port"),
        (
            {"prometheus_alertmanagers": [{"url": "alerts:9093"}]},
            r'alertmanagers\[0\]\.url is "alerts:9093": .*http://host',
        ),
        (
            {"prometheus_alertmanagers": [{"url": "http://a", "token_file": "token"}]},
            r"alertmanagers\[0\]\.token_file .*a whole path, such as /etc/prometheus-secrets/NAME/KEY",
        ),
        (
            {"prometheus_alertmanagers": [{"url": "http://a", "token_file": "/etc/prometheus-secrets/b/c"}]},
            r"alertmanagers\[0\]\.token_file .*the Secret 'b' is not in prometheus_secrets",
        ),
        ({"prometheus_remote_write": [{"name": "a"}]}, r"remote_write\[0\]\.url.*has to be http"),
        (
            {"prometheus_remote_write": [{"url": "http://a", "basic_auth": {"password": "geheim-1"}}]},
            r"remote_write\[0\]\.basic_auth\.password.*name its file: password_file",
        ),
        (
            {
                "prometheus_remote_write": [{"url": "http://a"}],
                "prometheus_extra_configuration": {"remote_write": [{"url": "http://b"}]},
            },
            r"extra_configuration\.remote_write: prometheus_remote_write is that already",
        ),
        (
            {
                "prometheus_alertmanagers": [{"url": "http://a"}],
                "prometheus_extra_configuration": {"alerting": {}},
            },
            r"extra_configuration\.alerting: prometheus_alertmanagers is that already",
        ),
        ({"prometheus_extra_configuration": {"rule_files": []}}, r"configuration\.rule_files: rules go into"),
        ({"prometheus_external_labels": {"a-b": "c"}}, r"external_labels\.a-b .*no name of a label"),
        ({"prometheus_external_labels": {"a": 1}}, r"external_labels\.a is 1: .*put it in quotes"),
        ({"prometheus_secrets": ["a/b"]}, r"prometheus_secrets\[0\] .*no name of a Secret"),
        (
            {"prometheus_clients_from": [{"podselector": {}}]},
            r"prometheus_clients_from\[0\]\.podselector .*Did you mean",
        ),
        ({"prometheus_tolerations": [{"keys": "a"}]}, r"prometheus_tolerations\[0\]\.keys .*Did you mean key\?"),
        ({"prometheus_resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}}, r"a request cannot be above"),
        ({"prometheus_pod_labels": {"a": 1}}, r"prometheus_pod_labels\.a is 1"),
        (
            {"prometheus_operator_labels": {"a b": "c"}},
            r"prometheus_operator_labels\.a b .*no key of a Kubernetes label",
        ),
        ({"prometheus_pod_annotations": {"a": 1}}, r"prometheus_pod_annotations\.a is 1: .*put it in quotes"),
        ({"prometheus_pod_monitor": "true"}, r"prometheus_pod_monitor .*one of auto, always, never"),
        (
            {"prometheus_pod_spec_overrides": {"containers": [{"name": "x"}]}},
            r"no container of this name, but prometheus",
        ),
    ],
)
def test_what_is_wrong_is_said_once(changes: dict[str, Any], message: str) -> None:
    (problem,) = said(changes)
    assert re.search(message, problem), problem
    assert "geheim" not in problem


@pytest.mark.parametrize(("volume", "size"), [("10Gi", "8192MB"), ("1G", "762MB"), ("1Mi", "1MB")])
def test_retention_fits_the_volume(volume: str, size: str) -> None:
    assert prometheus_retention_size(volume) == size
