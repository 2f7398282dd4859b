# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How real instances are: the playbook's table and page against what the cluster and the clients know themselves."""

from __future__ import annotations

import html
import json
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._instance.status_page import verdict
from ansible_collections.fastml.supersonic.tests.harness.clients import load
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, removed
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import (
    KUBECONFIG,
    Run,
    instance_inventory,
    run_playbook,
)
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.shared import MODELS, NAME, VARIABLES, Shared


def ask(shared: Shared, **options: Any) -> dict[str, Any]:
    """What the module says."""
    given = {"kubeconfig": str(KUBECONFIG), "name": NAME, "namespace": shared.namespace, **options}
    result = run_module("service_status", given)
    assert not result.get("failed"), result
    assert result["changed"] is False
    found: dict[str, Any] = result["status"]
    return found


def url(shared: Shared) -> dict[str, Any]:
    return {"url": shared.prometheus_url}


def test_what_may_not_be_seen_is_not_taken_for_missing(cluster: Cluster, namespace: str, ca_file: str) -> None:
    deployments = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}
    watcher = cluster.as_user(cluster.user(namespace, "watcher", deployments), ca_file)
    asked = {"name": "absent", "namespace": namespace}
    mine = run_module("service_status", {**asked, "kubeconfig": str(KUBECONFIG)})["status"]
    until(lambda: run_module("service_status", {**asked, **watcher})["status"]["reachable"])
    theirs = run_module("service_status", {**asked, **watcher})["status"]
    assert [(found["deployed"], verdict(found).word) for found in (mine, theirs)] == [
        (False, "Not deployed"),
        (True, "Not well"),
    ]
    assert "services" in theirs["unknown"]["endpoint"]


def test_what_the_cluster_has(shared: Shared) -> None:
    found = ask(shared, claim=f"{NAME}-models", report=str(shared.report))
    assert found["reachable"]
    assert found["unknown"] == {"traffic": "no Prometheus was named"}
    assert found["verification"]["passed"]
    checks = found["verification"]["checks"]
    assert {check["layer"] for check in checks} == {"server", "Envoy"}
    assert all(check["passed"] > 0 and check["failed"] == 0 for check in checks), checks
    pool = found["servers"]
    assert (pool["wanted"], pool["ready"], pool["answering"]) == (2, 2, 2)
    pods = {pod["metadata"]["name"]: pod for pod in shared.pods("triton").values()}
    assert {server["pod"] for server in pool["each"]} == set(pods)
    claim = shared.cluster.there(f"/api/v1/namespaces/{shared.namespace}/persistentvolumeclaims/{NAME}-models")
    current = claim["metadata"]["annotations"]["supersonic.fastml.org/release"]
    assert found["release"]["current"] == current
    for server in pool["each"]:
        assert server["ready"]
        assert server["answers"]
        assert server["release"] == current
        assert server["models"] == len(pool["models"])
        assert server["problems"] == []
    assert {model["name"] for model in pool["models"]} == MODELS
    assert all((model["servers"], model["of"]) == (2, 2) for model in pool["models"])
    assert pool["versions"] == ["2.51.0"]
    assert (found["envoys"]["wanted"], found["envoys"]["ready"]) == (1, 1)
    assert found["endpoint"]["inside"] == f"{NAME}.{shared.namespace}.svc.cluster.local:8001"
    assert found["autoscaler"]["kind"] == ""


@pytest.mark.thorough
def test_what_clients_did(shared: Shared, tmp_path: Path) -> None:
    def seen() -> dict[str, Any]:
        return ask(shared, prometheus=url(shared), window=300)

    def silent() -> bool:
        """Whether every rate has had the last request."""
        return not seen()["traffic"]["series"]["answer_rate"][-1][1]

    def answered(traffic: dict[str, Any]) -> float:
        rates = traffic["series"]["answer_rate"]
        return float(traffic["step"] * sum(value for at, value in rates if value and at > began))

    until(silent, 60, pause=2)
    assert ask(shared, prometheus=url(shared))["traffic"]["alerts"] == []
    began = time.time()
    # Not as many as they can: each request is traced.
    with load(shared.address(), tmp_path, "--clients", "4", "--pause", "0.02", "--model", "identity") as report:
        # Far more than the first and the last scrape could blur.
        until(lambda: answered(seen()["traffic"]) > 2000, 90, pause=2)
    until(silent, 60, pause=2)
    found = seen()
    assert set(found["unknown"]) == {"accelerators", "verification"}
    traffic = found["traffic"]
    assert traffic["accelerators"] == []
    assert traffic["series"]["servers"][-1][1] == 2
    assert traffic["series"]["servers_reachable"][-1][1] == 2
    # What Envoy has counted is what the clients have, once rates over all that time are added up.
    assert traffic["step"] == 3
    assert answered(traffic) == pytest.approx(report["requests"], rel=0.05)
    assert report["failed"] == 0
    assert traffic["hour"]["error_rate"] == 0
    assert 0 < traffic["hour"]["client_latency"] <= traffic["hour"]["client_latency_p99"]
    assert max(value for _at, value in traffic["series"]["utilization"] if value) <= 1
    # Nobody asks any more, and nothing is said of how long it takes.
    assert traffic["series"]["client_latency"][-1][1] is None


@pytest.fixture(scope="module")
def told(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    """The playbook: one instance is well, one cannot be reached, one is not there, and one is described wrongly."""
    folder = tmp_path_factory.mktemp("several")
    nowhere = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:9"}}],
        "users": [{"name": "a", "user": {"token": "t"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    (folder / "nowhere").write_text(json.dumps(nowhere))
    mine = {
        **VARIABLES,
        "supersonic_namespace": shared.namespace,
        "verify_report": str(shared.report),
    }
    hosts = {
        NAME: mine,
        "nowhere": {**mine, "supersonic_kubeconfig": str(folder / "nowhere")},
        "absent": mine,
        "wrong": {**mine, "status_window": 5},
    }
    report = folder / "status.html"
    done = run_playbook("playbooks/status.yml", instance_inventory(folder, hosts), extra={"status_report": str(report)})
    return done, report.read_text() if report.is_file() else ""


def test_the_playbook_tells_of_all_of_them(shared: Shared, told: tuple[Run, str]) -> None:
    done, page = told
    assert done.code == 0, done.output
    assert re.search(rf"{NAME} +Well +2 of 2 ", done.output), done.output
    text = html.unescape(re.sub(r"<[^>]*>", " ", page))
    for said in (done.text, " ".join(text.split())):
        assert "unreachable" in said
        assert "127.0.0.1:9" in said
        assert f"not deployed: the namespace {shared.namespace} has neither" in said
        assert "status_window is 5" in said
    assert page.count('role="img"') >= 4
    assert f"{NAME}.{shared.namespace}.svc.cluster.local:8001" in page
    # The proof that site.yml ended with.
    assert re.search(rf"{NAME} .*passed 20\d\d-", done.output)


def test_metrics_of_accelerators_come_from_the_managed_prometheus(shared: Shared) -> None:
    """No server has one here, and Prometheus says just that to the Envoys, whom its NetworkPolicy lets in."""
    service = shared.cluster.there(f"/api/v1/namespaces/{shared.namespace}/services/{NAME}")
    (port,) = (port for port in service["spec"]["ports"] if port["name"] == "gpu-metrics")
    assert port["port"] == 8003
    host = shared.address().partition(":")[0]
    with urllib.request.urlopen(f"http://{host}:{port['nodePort']}/metrics", timeout=10) as answer:
        assert answer.read().decode() == "# Prometheus knows of no accelerator of these servers\n"


def test_a_server_that_is_missing_is_seen(shared: Shared) -> None:
    """One that is asked for, and for which a quota has no room."""
    quotas = f"/api/v1/namespaces/{shared.namespace}/resourcequotas"
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": {"hard": {"pods": "0"}}}
    with removed(shared.cluster, f"{quotas}/full"):
        shared.cluster.create(quotas, quota)
        until(lambda: shared.cluster.there(f"{quotas}/full").get("status", {}).get("hard"))
        with shared.scaled(3):
            found = until(lambda: (new := ask(shared)) and new["servers"]["wanted"] == 3 and new, 20)
    assert (found["servers"]["wanted"], found["servers"]["ready"]) == (3, 2)
    assert verdict(found).level == "attention"
