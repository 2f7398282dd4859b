# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role prometheus writes, by Prometheus' own judge of configurations and rules and by Kubernetes' schemas."""

from __future__ import annotations

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import QUANTITIES, windows
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.programs import program
from ansible_collections.fastml.supersonic.tests.harness.prometheus import Page, Prometheus

sys.path[:0] = [str(CLONE / "tests")]
import crds

KUBERNETES = "1.34"
SITE = {"prometheus_mode": "existing", "supersonic_prometheus_url": "https://prometheus.example.org"}
CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": {
        "supersonic_labels": {"team": "tracking"},
        "supersonic_annotations": {"example.org/owner": "physics"},
        "prometheus_scrape_interval": 30,
        "prometheus_evaluation_interval": 15,
        "prometheus_ensembles": ["pipeline", "b.c"],
        "prometheus_requests_per_server": 14.4,
        "prometheus_image_pull_secrets": [{"name": "registry"}],
        "prometheus_extra_args": ["--query.timeout=30s"],
        "prometheus_retention": "2d",
        "prometheus_retention_size": "1GB",
        "prometheus_storage_class": "fast",
        "prometheus_access_modes": ["ReadWriteOncePod"],
        "prometheus_external_labels": {"site": "nrp"},
        "prometheus_extra_scrape_configs": [
            {"job_name": "blackbox", "static_configs": [{"targets": ["blackbox.monitoring:9115"]}]}
        ],
        "prometheus_keda_targets": ["keda-operator.keda:8080"],
        "prometheus_dcgm_targets": ["dcgm-pods.gpu-operator:9400", "192.0.2.9:9400", "[2001:db8::1]:94"],
        "prometheus_models": ["digits", "a.b"],
        "prometheus_objectives": {"availability": 0.99, "latency_ms": 500, "servers": 2},
        "prometheus_runbook_url": "https://example.org/runbook",
        "prometheus_alertmanagers": [
            {
                "url": "https://alerts.example.org/am",
                "token_file": "/etc/prometheus-secrets/central/token",
                "ca_file": "/etc/prometheus-secrets/central/token",
            },
            {"url": "http://alertmanager.monitoring:9093"},
        ],
        "prometheus_extra_rules": [{"name": "mine", "rules": [{"record": "mine:up", "expr": "sum(up)"}]}],
        "prometheus_extra_configuration": {"storage": {"tsdb": {"out_of_order_time_window": "5m"}}},
        "prometheus_remote_write": [
            {
                "url": "https://central.example.org/write",
                "authorization": {"credentials_file": "/etc/prometheus-secrets/central/token"},
            }
        ],
        "prometheus_secrets": ["central"],
        "prometheus_clients_from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
        "prometheus_node_selector": {"example.org/disk": "fast"},
        "prometheus_tolerations": [{"key": "monitoring", "operator": "Exists"}],
        "prometheus_affinity": {"nodeAffinity": {}},
        "prometheus_priority_class_name": "high",
        "prometheus_pod_labels": {"a": "b"},
        "prometheus_annotations": {"c": "d"},
        "prometheus_pod_annotations": {"e": "f"},
        "prometheus_pod_spec_overrides": {"hostNetwork": False},
    },
    "small": {
        "prometheus_alerts": False,
        "prometheus_persistent": False,
        "prometheus_network_policy": False,
        "prometheus_size": "1Gi",
    },
    "open": {"prometheus_clients_from": []},
    "site": {
        **SITE,
        "prometheus_pod_monitor": "always",
        "prometheus_rule": "always",
        "prometheus_operator_labels": {"release": "kube-prometheus-stack"},
        "prometheus_scrape_interval": 15,
    },
    "nothing": SITE,
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The manifests of each case; one playbook writes all of them."""
    folder = tmp_path_factory.mktemp("rendered")
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "supersonic_name": "main",
        "supersonic_namespace": "cms",
        "supersonic_render_directory": f"{folder}/{{{{ inventory_hostname }}}}",
    }
    role = {"name": "fastml.supersonic.prometheus", "tasks_from": "render", "rolespec_validate": False}
    play = {"hosts": "all", "gather_facts": False,
            "tasks": [{"name": "Write the manifests", "ansible.builtin.include_role": role}]}  # fmt: skip
    (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": CASES, "vars": common}}))
    (folder / "play.yml").write_text(json.dumps([play]))
    for case in CASES:
        (folder / case).mkdir()
    configuration = {"ANSIBLE_CONFIG": str(CLONE / "ansible.cfg")}
    done = run_playbook(folder / "play.yml", folder / "hosts.yml", environment=configuration, seconds=None)
    assert done.code == 0, done.output[-4000:]
    return {
        case: list(yaml.safe_load_all(file.read_text())) if (file := folder / case / "prometheus.yaml").exists() else []
        for case in CASES
    }


def one(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (item for item in documents if item["kind"] == kind)
    return found


@pytest.mark.parametrize("case", [case for case in CASES if case != "nothing"])
def test_manifests_fit_their_schemas(rendered: dict[str, list[dict[str, Any]]], case: str) -> None:
    assert rendered[case]
    others = crds.schemas()
    for document in rendered[case]:
        kind = document["apiVersion"], document["kind"]
        if kind in others:
            jsonschema.validate(document, others[kind])
        else:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
        assert document["metadata"]["name"] == "main-prometheus"
        assert document["metadata"]["labels"]["app.kubernetes.io/component"] == "prometheus"


@pytest.mark.parametrize("case", ["defaults", "everything", "small"])
def test_prometheus_takes_its_configuration(
    rendered: dict[str, list[dict[str, Any]]], case: str, tmp_path: Path
) -> None:
    data = one(rendered[case], "ConfigMap")["data"]
    # Files of the pod that are looked for.
    text = data["prometheus.yml"].replace("/etc/prometheus-secrets", str(tmp_path))
    (tmp_path / "central").mkdir()
    (tmp_path / "central" / "token").write_text("x")
    (tmp_path / "prometheus.yml").write_text(text)
    (tmp_path / "rules.yml").write_text(data["rules.yml"])
    command = [str(program("prometheus", tmp_path) / "promtool"), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    groups = yaml.safe_load(data["rules.yml"])["groups"]
    assert f"SUCCESS: {sum(len(group['rules']) for group in groups)} rules found" in output


def alerts(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The rules of alerts in a ConfigMap or a PrometheusRule; the others record every quantity."""
    rules = yaml.safe_load(document["data"]["rules.yml"]) if "data" in document else document["spec"]
    recorded, *more = rules["groups"]
    assert [rule["record"] for rule in recorded["rules"]] == [f"supersonic:{name}" for name in QUANTITIES]
    return [rule for group in more for rule in group["rules"] if "alert" in rule]


def test_alerts(rendered: dict[str, list[dict[str, Any]]]) -> None:
    usual, every = (alerts(one(rendered[case], "ConfigMap")) for case in ("defaults", "everything"))
    told = alerts(one(rendered["site"], "PrometheusRule"))
    assert alerts(one(rendered["small"], "ConfigMap")) == []
    names, all_names, told_names = ({rule["alert"] for rule in rules} for rules in (usual, every, told))
    machines = {"SupersonicScalerBlind", "SupersonicGpuError", "SupersonicGpuMemoryError", "SupersonicModelNotLoaded"}
    assert all_names - names == machines
    # Its own volume only a managed one knows.
    assert names - told_names == {"SupersonicMetricsVolumeFills", "SupersonicMetricsDropped"}
    assert {rule["labels"]["severity"] for rule in usual} == {"critical", "warning"}
    for rule in every:
        assert rule["annotations"]["runbook_url"] == f"https://example.org/runbook#{rule['alert'].lower()}"
    # Samples are kept for two days.
    assert {rule["labels"].get("window") for rule in usual} - {rule["labels"].get("window") for rule in every} == {"3d"}
    assert "< 2" in next(rule["expr"] for rule in every if rule["alert"] == "SupersonicPoolDown")


def test_servers_are_wanted_by_what_one_is_to_have(rendered: dict[str, list[dict[str, Any]]]) -> None:
    for case, own in (("defaults", False), ("everything", True)):
        groups = yaml.safe_load(one(rendered[case], "ConfigMap")["data"]["rules.yml"])["groups"]
        (rule,) = (rule for rule in groups[0]["rules"] if rule["record"] == "supersonic:server_capacity")
        assert rule["expr"].endswith("+ 14.4") == own


def test_whom_it_tells_and_what_it_scrapes_besides(rendered: dict[str, list[dict[str, Any]]]) -> None:
    configuration = yaml.safe_load(one(rendered["everything"], "ConfigMap")["data"]["prometheus.yml"])
    first, second = configuration["alerting"]["alertmanagers"]
    token = "/etc/prometheus-secrets/central/token"
    assert first == {
        "scheme": "https", "path_prefix": "/am", "authorization": {"credentials_file": token},
        "tls_config": {"ca_file": token}, "static_configs": [{"targets": ["alerts.example.org"]}],
    }  # fmt: skip
    assert second == {
        "scheme": "http", "path_prefix": "/", "static_configs": [{"targets": ["alertmanager.monitoring:9093"]}]
    }  # fmt: skip
    assert configuration["remote_write"] == CASES["everything"]["prometheus_remote_write"]
    jobs = {job["job_name"]: job for job in configuration["scrape_configs"]}
    assert list(jobs) == ["supersonic", "prometheus", "keda", "dcgm", "blackbox"]
    # Behind a name there may be several.
    assert jobs["dcgm"]["static_configs"] == [{"targets": ["192.0.2.9:9400", "[2001:db8::1]:94"]}]
    assert jobs["dcgm"]["dns_sd_configs"] == [{"names": ["dcgm-pods.gpu-operator"], "type": "A", "port": 9400}]
    assert jobs["keda"]["static_configs"] == [{"targets": ["keda-operator.keda:8080"]}]
    assert jobs["keda"]["honor_labels"]
    plain = yaml.safe_load(one(rendered["defaults"], "ConfigMap")["data"]["prometheus.yml"])
    assert plain.keys() == {"global", "rule_files", "scrape_configs"}
    assert [job["job_name"] for job in plain["scrape_configs"]] == ["supersonic", "prometheus"]


class Alertmanager(Page):
    """Stands for one: what it was sent, and with which token."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, list[dict[str, Any]]]] = []
        super().__init__()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        alerts = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        self.told.append((request.path, request.headers.get("Authorization", ""), alerts))
        self.reply(request, 200, b"{}")


def test_an_alertmanager_is_told(rendered: dict[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    """As the role has written it, but for the address and TLS; nothing is scraped, so that the endpoint is down."""
    data = one(rendered["everything"], "ConfigMap")["data"]
    (tmp_path / "central").mkdir()
    (tmp_path / "central" / "token").write_text("a-token-of-the-site")
    text = data["prometheus.yml"].replace("/etc/prometheus-secrets", str(tmp_path))
    alerting = yaml.safe_load(text)["alerting"]
    place = alerting["alertmanagers"][0]
    place["scheme"] = "http"
    del place["tls_config"], alerting["alertmanagers"][1:]
    (rule,) = (rule for rule in alerts(one(rendered["everything"], "ConfigMap")) if "EndpointDown" in rule["alert"])
    groups = [{"name": "alerts", "interval": "1s", "rules": [{**rule, "for": "1s"}]}]
    manager = Alertmanager()
    place["static_configs"] = [{"targets": [manager.address]}]
    scratch = tmp_path / "server"
    scratch.mkdir()
    (scratch / "rules.yml").write_text(json.dumps({"groups": groups}))
    configuration = {"rule_files": ["rules.yml"], "alerting": alerting, "global": {"external_labels": {"site": "nrp"}}}
    server = Prometheus(program("prometheus", tmp_path), scratch, configuration)
    try:
        until(lambda: manager.told, 30)
    finally:
        server.stop()
        manager.stop()
    path, token, (alert,) = manager.told[0]
    assert (path, token) == ("/am/api/v2/alerts", "Bearer a-token-of-the-site")
    assert alert["labels"] == {
        "alertname": "SupersonicEndpointDown", "namespace": "cms", "supersonic": "main", "severity": "critical",
        "site": "nrp",
    }  # fmt: skip
    assert alert["annotations"]["runbook_url"] == "https://example.org/runbook#supersonicendpointdown"


def test_the_components_of_the_instance_are_scraped(rendered: dict[str, list[dict[str, Any]]]) -> None:
    components = ["triton", "envoy", "otel-collector", "tempo"]
    job = yaml.safe_load(one(rendered["defaults"], "ConfigMap")["data"]["prometheus.yml"])["scrape_configs"][0]
    (selector,) = job["kubernetes_sd_configs"][0]["selectors"]
    assert selector["label"].endswith(f"app.kubernetes.io/component in ({','.join(components)})")
    labels = {rule["target_label"] for rule in job["relabel_configs"] if "target_label" in rule}
    assert labels == {"job", "namespace", "pod", "container", "node"}
    monitor = one(rendered["site"], "PodMonitor")["spec"]
    (expression,) = monitor["selector"]["matchExpressions"]
    assert expression["values"] == components
    assert monitor["jobLabel"] == expression["key"] == "app.kubernetes.io/component"
    for endpoint in monitor["podMetricsEndpoints"]:
        assert [rule["targetLabel"] for rule in endpoint["relabelings"]] == ["node"]


def test_an_existing_one_is_left_alone(rendered: dict[str, list[dict[str, Any]]]) -> None:
    assert rendered["nothing"] == []
    assert {item["kind"] for item in rendered["site"]} == {"PodMonitor", "PrometheusRule"}
    monitor = one(rendered["site"], "PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert [item["port"] for item in monitor["spec"]["podMetricsEndpoints"]] == ["metrics", "metrics-2"]
    assert {item["interval"] for item in monitor["spec"]["podMetricsEndpoints"]} == {"15s"}


def test_rights_end_at_the_pods_of_one_namespace(rendered: dict[str, list[dict[str, Any]]]) -> None:
    kinds = {item["kind"] for item in rendered["defaults"]}
    assert not {"ClusterRole", "ClusterRoleBinding"} & kinds
    assert one(rendered["defaults"], "Role")["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    ]


def test_nobody_can_change_it_by_http(rendered: dict[str, list[dict[str, Any]]]) -> None:
    for case in ("defaults", "everything"):
        (container,) = one(rendered[case], "Deployment")["spec"]["template"]["spec"]["containers"]
        assert not [argument for argument in container["args"] if argument.startswith("--web.enable")]


def test_who_may_ask(rendered: dict[str, list[dict[str, Any]]]) -> None:
    instance = {"app.kubernetes.io/name": "supersonic", "app.kubernetes.io/instance": "main"}
    own = {"podSelector": {"matchLabels": instance}}
    (rule,) = one(rendered["defaults"], "NetworkPolicy")["spec"]["ingress"]
    assert rule["from"] == [
        own, {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}},
            "podSelector": {"matchLabels": {"app": "keda-operator"}},
        }
    ]  # fmt: skip
    (rule,) = one(rendered["everything"], "NetworkPolicy")["spec"]["ingress"]
    assert rule["from"] == [own, {"ipBlock": {"cidr": "192.0.2.0/24"}}]
    assert "from" not in one(rendered["open"], "NetworkPolicy")["spec"]["ingress"][0]
    assert "NetworkPolicy" not in {item["kind"] for item in rendered["small"]}


def test_another_configuration_takes_another_pod(rendered: dict[str, list[dict[str, Any]]]) -> None:
    def checksum(case: str) -> str:
        template = one(rendered[case], "Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["supersonic.fastml.org/configuration"])

    assert checksum("defaults") == checksum("open") != checksum("everything")


def test_windows_follow_the_scrape_interval(rendered: dict[str, list[dict[str, Any]]]) -> None:
    def rules(case: str) -> str:
        return str(one(rendered[case], "ConfigMap")["data"]["rules.yml"])

    for case, interval in (("defaults", 2), ("everything", 30)):
        for name, seconds in windows(interval).items():
            assert f"[{seconds}s" in rules(case) or f":{seconds}s]" in rules(case), (case, name)
    assert f"[{windows(2)['short_window']}s" not in rules("everything")
    assert 'model!~"pipeline|b' in rules("everything")
