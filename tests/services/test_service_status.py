# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real Prometheus knows of an instance, and what is said of one that nobody can ask."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import status as instance_status
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.status_page import verdict
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring import prometheus as monitoring_prometheus
from ansible_collections.fastml.supersonic.tests.harness.accelerators import Accelerator, pod
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.programs import program
from ansible_collections.fastml.supersonic.tests.harness.prometheus import Page, Prometheus

NAME, NAMESPACE = "main", "cms"
ANSWERS, ERRORS, MEAN_MS = 50.0, 5.0, 20.0
ENVOY = f"{NAME}-envoy-7f9c5d6b8-abcde"
SERVERS = (pod(NAME, 1), pod(NAME, 2))
ACCELERATOR = Accelerator("GPU-1", 0.5)
LABELS = {"namespace": NAMESPACE, "supersonic": NAME}
RULES = [
    {
        "alert": "PoolDown",
        "expr": "vector(1)",
        "labels": {**LABELS, "severity": "critical"},
        "annotations": {"summary": "cms/main: none is there"},
    },
    {"alert": "Another", "expr": "vector(1)", "labels": {**LABELS, "supersonic": "other", "severity": "critical"}},
    {"alert": "NotYet", "expr": "vector(1)", "for": "1h", "labels": {**LABELS, "severity": "warning"}},
    {"alert": "Silent", "expr": "vector(1) > 1", "labels": {**LABELS, "severity": "warning"}},
]


class Envoy(Page):
    """Counts as if clients asked it all the time; each sample says of when it is, however late it is scraped."""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        now = time.time_ns() // 10**6
        seconds = now / 1000 % 1e6
        clients = 'envoy_http_conn_manager_prefix="ingress_grpc"'
        count = ANSWERS * seconds
        lines = [f'envoy_cluster_membership_total{{envoy_cluster_name="triton"}} {len(SERVERS)}']
        for state in ("active", "pending_active"):
            lines.append(f'envoy_cluster_upstream_rq_{state}{{envoy_cluster_name="triton"}} 1')
        lines += [
            f"envoy_http_downstream_rq_completed{{{clients}}} {count}",
            f"envoy_http_downstream_rq_time_count{{{clients}}} {count}",
            f"envoy_http_downstream_rq_time_sum{{{clients}}} {count * MEAN_MS}",
            f'envoy_http_downstream_rq_time_bucket{{{clients},le="25"}} {count * 0.9}',
            f'envoy_http_downstream_rq_time_bucket{{{clients},le="50"}} {count}',
            f'envoy_http_downstream_rq_time_bucket{{{clients},le="+Inf"}} {count}',
            f'envoy_cluster_grpc{{envoy_cluster_name="triton",grpc_status="14"}} {ERRORS * seconds}',
        ]
        text = "".join(f"{line} {now}\n" for line in lines)
        self.reply(request, 200, text.encode(), {"Content-Type": "text/plain; version=0.0.4"})


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("status")
    pages = {ENVOY: Envoy(), SERVERS[0]: Page(ACCELERATOR.page()), SERVERS[1]: Page("")}
    (folder / "rules.json").write_text(
        json.dumps({"groups": [{"name": f"supersonic-{NAME}-alerts", "interval": "1s", "rules": RULES}]})
    )
    targets = [
        {"targets": [page.address], "labels": {"namespace": NAMESPACE, "pod": name}} for name, page in pages.items()
    ]
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "rule_files": [str(folder / "rules.json")],
        "scrape_configs": [{"job_name": "supersonic", "static_configs": targets}],
    }
    running = Prometheus(program("prometheus", folder), folder / "server", configuration)
    yield running
    running.stop()
    for page in pages.values():
        page.stop()


def look(url: str, **wanted: Any) -> dict[str, Any]:
    resolver = Resolver({})
    asked = monitoring_prometheus.Prometheus(monitoring_prometheus.parse_address(url, None), resolver)
    try:
        return instance_status.traffic(instance_status.Wanted(NAMESPACE, NAME, **{"window": 60, **wanted}), asked, None)
    finally:
        resolver.close()


def settled(prometheus: Prometheus) -> dict[str, Any]:
    """What is known when every rate has its whole window, without a scrape that this machine was too busy for."""

    def found() -> dict[str, Any] | None:
        seen = known(prometheus.url)
        if not seen or not seen["alerts"]:
            return None
        values = [value for _at, value in seen["series"]["answer_rate"] if value]
        near = values[-1:] == [pytest.approx(ANSWERS, rel=0.02)] and seen["scrape_interval"] == 1
        return seen if len(values) > 20 and near else None

    seen: dict[str, Any] = until(found, 60)
    return seen


def test_the_last_minute(prometheus: Prometheus) -> None:
    seen = settled(prometheus)
    series = {name: points[-1][1] for name, points in seen["series"].items()}
    assert series["answer_rate"] == pytest.approx(ANSWERS, rel=0.02)
    assert series["error_rate"] == pytest.approx(ERRORS, rel=0.02)
    assert series["rejection_rate"] == 0
    assert series["client_latency"] == pytest.approx(MEAN_MS, rel=0.02)
    # The last of 100 is within the bucket from 25 to 50.
    assert series["client_latency_p99"] == pytest.approx(47.5, rel=0.02)
    assert (series["servers"], series["servers_reachable"]) == (2, 2)
    assert series["accelerator_utilization"] == 0.5
    assert all(len(points) == 61 for points in seen["series"].values())
    assert seen["step"] == 1
    # Before the first scrape nothing is known, which is not 0.
    assert seen["hour"]["client_latency"] == pytest.approx(MEAN_MS, rel=0.02)
    assert seen["scrape_interval"] == 1


def test_alerts_that_fire_are_those_of_the_instance(prometheus: Prometheus) -> None:
    (alert,) = settled(prometheus)["alerts"]
    assert (alert["name"], alert["severity"], alert["labels"]) == ("PoolDown", "critical", {})
    assert alert["summary"] == "cms/main: none is there"
    assert alert["since"].startswith("20")


def test_without_rules_nobody_knows_of_alerts(tmp_path: Path) -> None:
    """Also where something is recorded."""
    record = {"record": "supersonic:request_rate", "expr": "vector(1)", "labels": LABELS}
    for name, rules in (("none", []), ("recorded", [record])):
        groups = [{"name": f"supersonic-{NAME}", "interval": "1s", "rules": rules}] if rules else []
        (tmp_path / f"{name}.json").write_text(json.dumps({"groups": groups}))
        page = Envoy()
        target = {"targets": [page.address], "labels": {"namespace": NAMESPACE, "pod": ENVOY}}
        job = {"job_name": "supersonic", "scrape_interval": "1s", "static_configs": [target]}
        configuration = {"rule_files": [str(tmp_path / f"{name}.json")], "scrape_configs": [job]}
        running = Prometheus(program("prometheus", tmp_path), tmp_path / name, configuration)
        try:
            seen = until(lambda url=running.url: known(url), 30)
        finally:
            running.stop()
            page.stop()
        assert seen["alerts"] is None
        assert "has no rules of" in seen["unknown"]["alerts"]


def known(url: str) -> dict[str, Any] | None:
    try:
        return look(url)
    except SupersonicError:
        return None


def test_accelerators(prometheus: Prometheus) -> None:
    (found,) = settled(prometheus)["accelerators"]
    assert found == {
        "uuid": "GPU-1",
        "utilization": 0.5,
        "power_usage": ACCELERATOR.power_usage,
        "power_limit": ACCELERATOR.power_limit,
        "memory_used_bytes": ACCELERATOR.memory_used,
        "memory_total_bytes": ACCELERATOR.memory_total,
    }


def test_an_hour_has_a_point_every_half_minute(prometheus: Prometheus) -> None:
    settled(prometheus)
    seen = look(prometheus.url, window=3600)
    assert seen["step"] == 30
    points = seen["series"]["answer_rate"]
    assert len(points) == 121
    assert [value for _at, value in points[:60]] == [None] * 60


def test_a_prometheus_that_does_not_scrape_it(prometheus: Prometheus) -> None:
    with pytest.raises(SupersonicError, match="has no metrics of the Envoys of the instance other"):
        instance_status.traffic(
            instance_status.Wanted(NAMESPACE, "other"),
            monitoring_prometheus.Prometheus(monitoring_prometheus.parse_address(prometheus.url, None), Resolver({})),
            None,
        )


# ---- the module ------------------------------------------------------------------------------------------------------
def test_a_cluster_that_cannot_be_reached_is_no_failure(tmp_path: Path) -> None:
    options = {"name": NAME, "namespace": NAMESPACE, "host": "https://127.0.0.1:9", "api_key": "a-token-of-nobody"}
    result = run_module("service_status", options)
    assert not result.get("failed"), result
    found = result["status"]
    assert not found["reachable"]
    assert "127.0.0.1:9" in found["why"]
    assert verdict(found).level == "bad"
    result = run_module("service_status", {"name": NAME, "namespace": NAMESPACE, "kubeconfig": str(tmp_path / "none")})
    assert str(tmp_path / "none") in result["status"]["why"]


@pytest.mark.parametrize(("option", "value"), [("window", 59), ("timeout", 0)])
def test_what_makes_no_sense_is_refused(option: str, value: float) -> None:
    result = run_module("service_status", {"name": NAME, "namespace": NAMESPACE, option: value})
    assert result["failed"]
    assert f"{option} is {value}" in result["msg"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is not there yet; verify writes it"),
        ("", "is no report of verify"),
        ("[]", "is no report of verify"),
        ('{"passed": true}', "is no report of verify"),
    ],
)
def test_no_record_of_a_verification(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    with pytest.raises(SupersonicError, match=f"no record: .*{said}"):
        instance_status.verification(str(tmp_path / "report.json"))
    with pytest.raises(SupersonicError, match="no record: set verify_report"):
        instance_status.verification("")


def test_what_the_report_of_a_verification_says(tmp_path: Path) -> None:
    target = {"layer": "Envoy", "target": "pod cms/main-envoy port 8001", "protocol": "grpc"}
    report = {"time": "2026-03-01T11:30:00+00:00", "passed": False, "message": "2 of 11 checks failed.",
              "targets": [{**target, "checks": 11, "failed": 2, "models": ["digits"]}]}  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(report))
    found = instance_status.verification(str(tmp_path / "report.json"))
    assert (found["time"], found["passed"], found["message"]) == (report["time"], False, report["message"])
    assert found["checks"] == [{**target, "passed": 9, "failed": 2}]


# ---- the playbook ----------------------------------------------------------------------------------------------------
def test_the_playbook_ends_well_where_nobody_can_be_asked(tmp_path: Path) -> None:
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "supersonic_namespace": NAMESPACE,
        "supersonic_kubeconfig": str(tmp_path / "none"),
    }
    hosts = {"one": {"supersonic_name": "one"}, "two": {"supersonic_name": "two", "status_timeout": 0}}
    (tmp_path / "hosts.yml").write_text(json.dumps({"supersonic_instances": {"hosts": hosts, "vars": common}}))
    # In the folder where the command was given.
    done = run_playbook(
        CLONE / "playbooks/status.yml",
        tmp_path / "hosts.yml",
        directory=tmp_path,
        environment={"ANSIBLE_CONFIG": str(CLONE / "ansible.cfg")},
    )
    assert done.code == 0, done.output
    assert (done.recap["one"]["failed"], done.recap["two"]["failed"]) == (0, 0)
    page = (tmp_path / "status.html").read_text()
    for said in (done.text, page):
        assert str(tmp_path / "none") in said
        assert "status_timeout is 0" in said
    (tmp_path / "status.html").unlink()
    nothing = {"status_report": ""}
    done = run_playbook(
        CLONE / "playbooks/status.yml",
        tmp_path / "hosts.yml",
        directory=tmp_path,
        extra=nothing,
        environment={"ANSIBLE_CONFIG": str(CLONE / "ansible.cfg")},
    )
    assert done.code == 0, done.output
    assert not (tmp_path / "status.html").exists()
