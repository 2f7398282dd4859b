# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against a real Prometheus that scrapes pages of metrics."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.run import recorded
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.prometheus import Prometheus as Asked
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.prometheus import (
    knows,
    look_at,
    parse_address,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import service_rules
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.alerts import service_alerts
from ansible_collections.fastml.supersonic.tests.harness.certificates import certificate
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook
from ansible_collections.fastml.supersonic.tests.harness.processes import free_ports
from ansible_collections.fastml.supersonic.tests.harness.programs import program
from ansible_collections.fastml.supersonic.tests.harness.prometheus import Guard, Page, Prometheus

ENVOY = """\
envoy_cluster_membership_total{envoy_cluster_name="triton"} 1
envoy_cluster_membership_total{envoy_cluster_name="admin"} 1
envoy_cluster_membership_healthy{envoy_cluster_name="triton"} 0
envoy_cluster_upstream_rq_active{envoy_cluster_name="triton"} 3
envoy_cluster_upstream_rq_pending_active{envoy_cluster_name="triton"} 1
"""
TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program("prometheus", tmp_path_factory.mktemp("programs"))


def pod(name: str, kind: str, number: int = 1) -> str:
    return f"{name}-{kind}-6d4b75cb6d-abcd{number}"


def job(name: str, *targets: tuple[str, dict[str, str]], **more: Any) -> dict[str, Any]:
    static = [{"targets": [address], "labels": labels} for address, labels in targets]
    return {"job_name": name, "scrape_interval": "1s", "static_configs": static, **more}


@pytest.fixture(scope="module")
def prometheus(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that scrapes instances as sites do, well or badly."""
    envoy, triton, other = Page(ENVOY), Page("nv_cpu_utilization 0.5\n"), Page(ENVOY)
    (closed,) = free_ports(1)
    usual = {"namespace": "cms", "pod": pod("main", "envoy")}
    own = {"kubernetes_namespace": "cms", "kubernetes_pod_name": pod("own", "envoy")}
    double = {"namespace": "cms", "pod": pod("double", "envoy")}
    bare = [
        {"target_label": key, "replacement": value}
        for key, value in (("namespace", "cms"), ("pod", pod("bare", "envoy")))
    ]
    scratch = tmp_path_factory.mktemp("prometheus")
    # Of the instance own one rule cannot be evaluated.
    broken = {"record": "supersonic:up", "expr": "up * on () up", "labels": {"namespace": "cms", "supersonic": "own"}}
    quick = service_alerts("main", "cms", scrape_interval=1, evaluation_interval=1, patience=0.005)
    recording = service_rules("main", "cms")
    groups = {"supersonic-main": recording, "supersonic-main-alerts": quick, "supersonic-own": [broken]}
    (scratch / "rules.json").write_text(
        json.dumps({"groups": [{"name": name, "interval": "1s", "rules": rules} for name, rules in groups.items()]})
    )
    server = Prometheus(
        folder,
        scratch,
        {
            "rule_files": ["rules.json"],
            "scrape_configs": [
                job(
                    "pods",
                    (envoy.address, usual),
                    (triton.address, {**usual, "pod": pod("main", "triton")}),
                    (f"127.0.0.1:{closed}", {**usual, "pod": pod("main", "triton", 2)}),
                    (triton.address, {**usual, "pod": pod("main", "otel-collector")}),
                ),
                job("own", (other.address, own)),
                job("one", (other.address, double)),
                job("another", (other.address, double)),
                job("bare", (other.address, {}), metric_relabel_configs=bare),
            ],
        },
    )
    yield server
    server.stop()
    for page in (envoy, triton, other):
        page.stop()


def ask(url: str, **options: Any) -> dict[str, Any]:
    return run_module("prometheus_query_info", {"url": url, **options})


def look(prometheus: Prometheus, name: str, **options: Any) -> dict[str, Any]:
    instance = {"name": name, "namespace": "cms", "pods": False}
    return ask(prometheus.url, instance=instance, wait_timeout=15, **options)


def test_values(prometheus: Prometheus) -> None:
    queries = {
        "one": "vector(1)",
        "none": "absent(vector(1))",
        "two": 'label_replace(vector(2), "a", "b", "", "") or vector(1)',
        "nan": "vector(NaN)",
        "scalar": "3",
    }
    result = ask(prometheus.url, queries=queries)
    assert not result["failed"], result
    assert not result["changed"]
    assert {name: item["value"] for name, item in result["answers"].items()} == {
        "one": 1, "none": None, "two": None, "nan": None, "scalar": 3,
    }  # fmt: skip
    assert [item["labels"] for item in result["answers"]["two"]["series"]] == [{"a": "b"}, {}]
    assert result["answers"]["nan"]["series"] == [{"labels": {}, "value": None, "text": "NaN"}]
    assert result["answers"]["one"]["query"] == "vector(1)"
    assert all(0 <= item["seconds"] < 10 for item in result["answers"].values())


@pytest.mark.parametrize(
    ("query", "message"),
    [("sum(", "refuses the query wrong (sum(): "), ("up[5m]", "gave a matrix"), ('"a" + 1', "parse error")],
)
def test_wrong_queries(prometheus: Prometheus, query: str, message: str) -> None:
    result = ask(prometheus.url, queries={"wrong": query})
    assert result["failed"]
    assert message in result["msg"]


def meanwhile(prometheus: Prometheus, name: str) -> list[dict[str, Any]]:
    """What a benchmark writes down of a load that begins now, and so of what is known by now."""
    asked = Asked(parse_address(prometheus.url, None), None)  # type: ignore[arg-type] # no Service, no resolver
    with contextlib.closing(asked):
        return recorded(asked, "cms", name, time.monotonic(), 1)


@pytest.mark.parametrize("name", ["main", "own"])
def test_a_benchmark_asks_as_the_site_scrapes(prometheus: Prometheus, name: str) -> None:
    look(prometheus, name)
    rows = meanwhile(prometheus, name)
    # Steps of a subquery are at whole seconds: the newest may be before the first scrape.
    limit = time.monotonic() + 60
    while "servers_wanted" not in rows[-1]:
        assert time.monotonic() < limit, rows
        rows = meanwhile(prometheus, name)
    assert rows[-1]["requests_in_flight"] == 4
    assert rows[-1]["servers_wanted"] > 1


@pytest.mark.parametrize(("name", "sentence"), [("nobody", "No data: .* has no metrics"), ("double", "several times")])
def test_a_benchmark_says_why_it_knows_nothing(prometheus: Prometheus, name: str, sentence: str) -> None:
    if name == "double":
        look(prometheus, name)
    with pytest.raises(SupersonicError, match=sentence):
        meanwhile(prometheus, name)


def test_an_instance_that_is_scraped(prometheus: Prometheus) -> None:
    result = look(prometheus, "main", queries={"flight": "sum(envoy_cluster_upstream_rq_active)"})
    assert not result["failed"], result
    found = result["found"]
    assert found["labels"] == {"namespace": "namespace", "pod": "pod"}
    # A busy machine scrapes a little later than each second.
    assert 0.9 < found["scrape_interval"] < 2
    assert [target["pod"] for target in found["targets_up"]] == [pod("main", "envoy"), pod("main", "triton")]
    (down,) = found["targets_down"]
    assert down["pod"] == pod("main", "triton", 2)
    assert "connection refused" in down["error"]
    assert result["answers"]["flight"]["value"] >= 3
    # Of another instance there are no rules, and here they may yet be evaluated.
    limit = time.monotonic() + 60
    while not look(prometheus, "main")["found"]["recorded"]:
        assert time.monotonic() < limit
    assert not look(prometheus, "own")["found"]["recorded"]


def test_parts_that_an_instance_may_have(prometheus: Prometheus) -> None:
    parts = ["triton", "envoy", "otel-collector", "tempo"]
    instance = {"name": "main", "namespace": "cms", "pods": False, "parts": parts}
    found = ask(prometheus.url, instance=instance, wait_timeout=15)["found"]
    scraped = [pod("main", part) for part in ("envoy", "otel-collector", "triton")]
    assert [target["pod"] for target in found["targets_up"]] == scraped
    # One that is ready, and not scraped.
    ready = {name: name.removeprefix("main-").rsplit("-", 2)[0] for name in (*scraped, pod("main", "tempo"))}
    asked = Asked(parse_address(prometheus.url, None), None)  # type: ignore[arg-type] # no Service, no resolver
    with contextlib.closing(asked):
        (problem,) = look_at(asked, "cms", "main", ready, parts).problems
    assert "reaches none of the 1 ready pods main-tempo-* of the instance main" in problem
    assert problem.endswith("and let it in.")


def test_pods_that_are_scraped_less_often_than_rules_are_made_for(prometheus: Prometheus) -> None:
    look(prometheus, "main")
    instance = {"name": "main", "namespace": "cms", "pods": False}
    assert not ask(prometheus.url, instance={**instance, "scrape_interval": 1})["failed"]
    result = ask(prometheus.url, instance={**instance, "scrape_interval": 0.5})
    assert result["failed"]
    assert "every 1 s, but its rules are made for every 0.5 s" in result["msg"]
    assert "Set prometheus_scrape_interval to 1," in result["msg"]


def test_a_site_with_labels_of_its_own(prometheus: Prometheus) -> None:
    found = look(prometheus, "own")["found"]
    assert found["labels"] == {"namespace": "kubernetes_namespace", "pod": "kubernetes_pod_name"}
    assert [target["pod"] for target in found["targets_up"]] == [pod("own", "envoy")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody", "has no metrics of the Envoys of the instance nobody in the namespace cms"),
        ("double", "is there by the jobs another and one, so that whatever is added up counts several times"),
        ("bare", "its series 'up' have no labels namespace and pod"),
    ],
)
def test_instances_that_are_scraped_badly(prometheus: Prometheus, name: str, message: str) -> None:
    look(prometheus, "main")
    result = ask(prometheus.url, instance={"name": name, "namespace": "cms", "pods": False})
    assert result["failed"]
    assert message in result["msg"]


def test_the_namespace_counts(prometheus: Prometheus) -> None:
    result = ask(prometheus.url, instance={"name": "main", "namespace": "atlas", "pods": False})
    assert "has no metrics of the Envoys" in result["msg"]


# ---- rules and alerts ------------------------------------------------------------------------------------------------
def with_rules(url: str, name: str, **options: Any) -> dict[str, Any]:
    instance = {"name": name, "namespace": "cms", "pods": False, "rules": True}
    return ask(url, instance=instance, wait_timeout=20, **options)


def until_pool_is_down(url: str, **options: Any) -> dict[str, Any]:
    limit = time.monotonic() + 60
    while True:
        result = with_rules(url, "main", **options)
        assert not result["failed"], result
        found = {alert["name"]: alert for alert in result["alerts"] if alert["state"] == "firing"}
        if "SupersonicPoolDown" in found:
            return {**result, "firing": found}
        assert time.monotonic() < limit, result


def test_rules_and_alerts_of_an_instance(prometheus: Prometheus) -> None:
    result = until_pool_is_down(prometheus.url)
    recording, alerting = result["rules"]["groups"]
    assert (recording["name"], alerting["name"]) == ("supersonic-main", "supersonic-main-alerts")
    assert recording["recording"] == len(service_rules("main", "cms"))
    assert alerting["alerting"] > 10
    assert recording["errors"] == alerting["errors"] == {}
    assert 0 <= recording["evaluated_ago"] < 5
    assert result["rules"]["problems"] == []
    alert = result["firing"]["SupersonicPoolDown"]
    assert alert["severity"] == "critical"
    assert alert["summary"] == "cms/main: too few servers are healthy"
    assert alert["description"].startswith("An Envoy has 0 healthy servers")
    assert alert["runbook_url"].endswith("#supersonicpooldown")
    assert alert["labels"]["supersonic"] == "main"
    # Those that fire come first, of them the critical ones.
    order = [(alert["state"], alert["severity"]) for alert in result["alerts"]]
    assert order == sorted(order, key=lambda item: (item[0] != "firing", item[1] != "critical"))


def test_rules_that_fail(prometheus: Prometheus) -> None:
    result = with_rules(prometheus.url, "own")
    assert result["failed"]
    assert "cannot evaluate the rule supersonic:up of the instance own in the namespace cms: " in result["msg"]
    assert result["rules"]["groups"][0]["errors"].keys() == {"supersonic:up"}
    # Whoever does not ask for rules is told, and no more.
    assert not look(prometheus, "own")["failed"]


def test_rules_that_are_not_there(prometheus: Prometheus) -> None:
    instance = {"name": "double", "namespace": "cms", "pods": False, "rules": True}
    result = ask(prometheus.url, instance=instance)
    assert "has no rules of the instance double in the namespace cms: nothing is recorded" in result["msg"]
    assert result["alerts"] == []


class Narrow(Guard):
    """Lets through questions alone."""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if request.path.startswith("/api/v1/query"):
            super().answer(request)
        else:
            self.reply(request, 403)


@pytest.mark.parametrize(
    ("namespace", "sentence"),
    [
        # Of two labels the one with more targets: main, double and what is down.
        ("cms", "target(s) in the namespace cms (label namespace)."),
        ("atlas", "It answers, and scrapes nothing in the namespace atlas."),
    ],
)
def test_what_it_knows_of_a_namespace(prometheus: Prometheus, namespace: str, sentence: str) -> None:
    look(prometheus, "main")
    asked = Asked(parse_address(prometheus.url, None), Resolver({}))
    known = knows(asked, namespace)
    assert sentence in known.text
    assert (known.targets > 0) == (namespace == "cms")


def test_where_only_queries_are_let_through_alerts_have_no_words(prometheus: Prometheus) -> None:
    guard = Narrow(prometheus.url, TOKEN)
    try:
        until_pool_is_down(prometheus.url)
        instance = {"name": "main", "namespace": "cms", "pods": False}
        result = ask(f"http://{guard.address}", token=TOKEN, instance=instance)
        demanded = ask(f"http://{guard.address}", token=TOKEN, instance={**instance, "rules": True})
        none = ask(f"http://{guard.address}", token=TOKEN, instance={**instance, "name": "own", "rules": True})
    finally:
        guard.stop()
    assert not result["failed"], result
    assert result["rules"]["groups"] is None
    assert "What its rules do is not known" in result["rules"]["problems"][0]
    (alert,) = (alert for alert in result["alerts"] if alert["name"] == "SupersonicPoolDown")
    assert (alert["state"], alert["severity"], alert["summary"]) == ("firing", "critical", "")
    assert alert["since"].startswith("20")
    # What they record is there, and of the other one it is not.
    assert not demanded["failed"], demanded
    assert none["failed"]
    assert "What its rules do is not known" in none["msg"]


# ---- ways to a Prometheus --------------------------------------------------------------------------------------------
def test_tokens(prometheus: Prometheus) -> None:
    guard = Guard(prometheus.url, TOKEN)
    url = f"http://{guard.address}"
    try:
        good = ask(url, token=TOKEN, queries={"one": "vector(1)"})
        assert good["answers"]["one"]["value"] == 1, good
        assert "wants a token" in ask(url, queries={"one": "vector(1)"})["msg"]
        bad = ask(url, token="wrong-token", queries={"one": "vector(1)"})
        assert "does not accept the token: it answered 401" in bad["msg"]
        assert "wrong-token" not in str(bad)
        assert "a log-in in front" in ask(f"{url}/login", queries={"one": "vector(1)"})["msg"]
    finally:
        guard.stop()


def test_tls(folder: Path, tmp_path: Path) -> None:
    authority = certificate("authority")
    own = certificate("localhost", authority, addresses=("127.0.0.1",))
    (tmp_path / "certificate.pem").write_text(own.pem)
    (tmp_path / "key.pem").write_text(own.key_pem)
    files = {"cert_file": str(tmp_path / "certificate.pem"), "key_file": str(tmp_path / "key.pem")}
    server = Prometheus(folder, tmp_path / "server", {}, web={"tls_server_config": files})
    try:
        one = {"queries": {"one": "vector(1)"}}
        assert ask(server.url, ca_certificates=authority.pem, **one)["answers"]["one"]["value"] == 1
        assert ask(server.url, validate_prometheus_certs=False, **one)["answers"]["one"]["value"] == 1
        assert "its certificate is not trusted" in ask(server.url, **one)["msg"]
        plain = ask(server.url.replace("https", "http"), **one)
        assert plain["failed"]
        assert "400" in plain["msg"]
    finally:
        server.stop()


def test_what_is_no_prometheus(prometheus: Prometheus) -> None:
    one = {"queries": {"one": "vector(1)"}}
    page = Page("hello")
    (closed,) = free_ports(1)
    try:
        assert "has no API of Prometheus there (status 200)" in ask(f"http://{page.address}", **one)["msg"]
        assert "has no API of Prometheus there (status 404)" in ask(f"{prometheus.url}/nowhere", **one)["msg"]
        assert "cannot be reached: Connection refused" in ask(f"http://127.0.0.1:{closed}", **one)["msg"]
        assert "does not speak TLS" in ask(f"https://{page.address}", **one)["msg"]
    finally:
        page.stop()


def test_a_refusal_is_not_waited_for(prometheus: Prometheus) -> None:
    guard = Guard(prometheus.url, TOKEN)
    begun = time.monotonic()
    try:
        instance = {"name": "main", "namespace": "cms", "pods": False}
        result = ask(f"http://{guard.address}", instance=instance, token="wrong", wait_timeout=60)
    finally:
        guard.stop()
    assert "does not accept the token" in result["msg"]
    assert time.monotonic() - begun < 20


def test_the_playbook_of_the_documentation(prometheus: Prometheus, tmp_path: Path) -> None:
    (section,) = re.findall(
        r"^## Asking\n.*?```yaml\n(.*?)```", (CLONE / "docs/prometheus.md").read_text(), re.M | re.S
    )
    (tmp_path / "ask.yml").write_text(section)
    instance = {"name": "main", "namespace": "cms", "pods": False}
    # Waits until everything has been scraped twice.
    look(prometheus, "main")
    done = run_playbook(
        tmp_path / "ask.yml", Path("/dev/null"), extra={"instance": instance, "prometheus_url": prometheus.url}
    )
    assert done.code == 0, done.output
    assert re.search(r"requests wait   0(\.0)? ms\n +in flight       4(\.\d+)?\n +servers ", done.output), done.output
    assert re.search(r"scraped         \d+ targets every [\d.]+ s\n +alerts          ", done.output), done.output
