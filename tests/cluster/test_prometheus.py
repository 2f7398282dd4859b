# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role prometheus on real instances: one with a Prometheus of its own, and the way from a site's to that one."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import (
    QUANTITIES,
    service_queries,
    service_rules,
)
from ansible_collections.fastml.supersonic.tests.harness.grafana import Grafana
from ansible_collections.fastml.supersonic.tests.harness.images import have_image
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, Object, removed
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, KUBECONFIG, LOCAL, Instance, Run
from ansible_collections.fastml.supersonic.tests.harness.pods import connect
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.programs import program
from ansible_collections.fastml.supersonic.tests.harness.prometheus import IMAGE, Guard, Prometheus
from ansible_collections.fastml.supersonic.tests.harness.shared import Shared
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import locked

sys.path.insert(0, str(CLONE / "tests"))
import crds

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
OPERATOR = "monitoring.coreos.com"
TOKEN = "a-planted-token-3f1d"
NAME = "watched"
LABELS = {"namespace": "kubernetes_namespace", "pod": "kubernetes_pod_name"}
SMALL = {
    "prometheus_image": "docker.io/fastml/prometheus-local:3.13.5",
    "prometheus_size": "1Gi",
    "prometheus_resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
}


# ---- one of the instance's own -------------------------------------------------------------------------------------
def look(instance: Instance, **options: Any) -> dict[str, Any]:
    """Ask the managed one by a port-forward."""
    return run_module(
        "prometheus_query_info",
        {
            "kubeconfig": str(KUBECONFIG),
            "url": f"http://{instance.name}-prometheus.{instance.namespace}.svc.cluster.local:9090",
            "instance": {"name": instance.name, "namespace": instance.namespace},
            **options,
        },
    )


def test_every_pod_is_scraped_by_the_managed_one(shared: Shared) -> None:
    def four() -> dict[str, Any] | None:
        """A server that a test before this one has added is scraped until its pod has gone."""
        result = look(shared, wait_timeout=30)
        assert not result["failed"], result
        up = [target["job"] for target in result["found"]["targets_up"]]
        return result if up == ["envoy", "envoy", "triton", "triton"] else None

    result = until(four, 60)
    found = result["found"]
    assert found["labels"] == {"namespace": "namespace", "pod": "pod"}
    assert found["scrape_interval"] == pytest.approx(2, abs=0.5)
    assert found["pods_missing"] == []
    for target in found["targets_up"]:
        assert target["container"].startswith(target["job"])
        assert target["node"]
    # The end of the role has seen them evaluated.
    assert [group["errors"] for group in result["rules"]["groups"]] == [{}, {}]
    assert result["rules"]["problems"] == []


def test_quantities_have_their_values(shared: Shared) -> None:
    queries = service_queries(shared.name, shared.namespace)
    recorded = {
        f"recorded {name}": f'supersonic:{name}{{namespace="{shared.namespace}",supersonic="{shared.name}"}}'
        for name in queries
    }

    def values() -> dict[str, float | None]:
        result = look(shared, queries={**queries, **recorded})
        assert not result["failed"], result
        return {name: item["value"] for name, item in result["answers"].items()}

    def whole() -> dict[str, float | None] | None:
        new = values()
        return new if None not in new.values() and new["servers"] == new["recorded servers"] == 2 else None

    found = until(whole, 60)
    assert found["server_parallelism"] == 1
    idle = ("requests_in_flight", "queue_time", "failure_rate", "requests_without_server", "servers_wanted")
    # As soon as nothing is known any more of requests that a test before this one has sent.
    until(lambda: (new := values()) and {name: new[name] for name in idle} == dict.fromkeys(idle, 0), 60)


def test_who_may_ask(shared: Shared, cluster: Cluster) -> None:
    namespace = shared.namespace
    (pod,) = shared.pods("prometheus").values()
    address = f"{pod['status']['podIP']}:9090"
    assert connect(cluster, namespace, "stranger", address)[address] in ("timeout", "Connection refused")
    own = {"app.kubernetes.io/name": "supersonic", "app.kubernetes.io/instance": shared.name}
    assert connect(cluster, namespace, "envoy-like", address, labels=own) == {address: "open"}


@pytest.mark.parametrize(
    ("verb", "resource", "other", "allowed"),
    [("watch", "pods", False, True), ("list", "secrets", False, False), ("list", "pods", True, False)],
)
def test_what_it_may_read(
    shared: Shared, cluster: Cluster, verb: str, resource: str, other: bool, allowed: bool
) -> None:
    namespace = shared.namespace
    attributes = {"verb": verb, "resource": resource, "namespace": "kube-system" if other else namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{namespace}:{shared.name}-prometheus",
            "resourceAttributes": attributes,
        },
    }
    answer = cluster.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer["status"]["allowed"] is allowed


@pytest.mark.parametrize(("method", "path"), [("POST", "-/reload"), ("POST", "-/quit"), ("POST", "api/v1/write"),
                                              ("POST", "api/v1/admin/tsdb/snapshot")])  # fmt: skip
def test_nobody_can_change_it(shared: Shared, cluster: Cluster, method: str, path: str) -> None:
    (pod,) = shared.pods("prometheus").values()
    where = f"/api/v1/namespaces/{shared.namespace}/pods/{pod['metadata']['name']}:9090/proxy/{path}"
    impatient = Api(cluster.api.connection, patience=0)
    with pytest.raises(ApiError) as failure:
        impatient.call(method, where, path)
    assert failure.value.status in (403, 404, 405) or "admin APIs disabled" in str(failure.value.body)


# ---- from a site's to one of the instance's own ----------------------------------------------------------------------
class Site:
    """The Prometheus of a site on this machine: it scrapes pods through the API server, and takes a token."""

    def __init__(
        self,
        instance: Instance,
        folder: Path,
        *,
        scrapes: bool,
        dropped: str = "",
        interval: int = 1,
        ruled: bool = False,
    ) -> None:
        """dropped: metrics that the site does not keep; interval: seconds between two scrapes; ruled: whether it reads
        what the operator would give it."""
        connection = instance.cluster.api.connection
        files = {"ca_file": connection.ca_pem, "cert_file": connection.cert_pem, "key_file": connection.key_pem}
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text or "")
        job = {
            "job_name": "site",
            "scrape_interval": f"{interval}s",
            "scheme": "https",
            "tls_config": {name: str(folder / name) for name in files},
            "static_configs": list(self._targets(instance)),
            "metric_relabel_configs": [{"source_labels": ["__name__"], "regex": dropped, "action": "drop"}],
        }
        rules = service_rules(NAME, instance.namespace, labels=LABELS)
        group = {"name": f"supersonic-{NAME}", "interval": "2s", "rules": rules}
        (folder / "rules.json").write_text(json.dumps({"groups": [group] if ruled else []}))
        configuration = {"rule_files": [str(folder / "rules.json")], "scrape_configs": [job] if scrapes else []}
        self.server = Prometheus(program("prometheus", folder), folder / "server", configuration)
        self.guard = Guard(self.server.url, TOKEN)
        self.variables = {
            "prometheus_mode": "existing",
            "supersonic_prometheus_url": f"http://{self.guard.address}",
            "supersonic_prometheus_token": TOKEN,
        }

    @staticmethod
    def _targets(instance: Instance) -> Iterator[Object]:
        address = instance.cluster.api.address.netloc
        for component, ports in (("triton", [8002]), ("envoy", [9902, 9912])):
            for pod in instance.pods(component).values():
                name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
                for port in ports:
                    labels = {
                        "__metrics_path__": f"/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/metrics",
                        "instance": f"{name}:{port}",
                        LABELS["namespace"]: namespace,
                        LABELS["pod"]: name,
                    }
                    yield {"targets": [address], "labels": labels}

    def stop(self) -> None:
        self.guard.stop()
        self.server.stop()


@dataclass
class Life:
    """What happened, step by step."""

    instance: Instance
    runs: dict[str, Run] = field(default_factory=dict)
    # Of the operator, by kind.
    told: dict[str, list[Object]] = field(default_factory=dict)
    told_after: dict[str, list[Object]] = field(default_factory=dict)

    def look_at_dashboards(self, stack: contextlib.ExitStack, folder: Path) -> None:
        """As the proof does, with a Grafana of the site's to ask, and where metrics are missing."""
        play = folder / "dashboards.yml"
        role = {"name": "fastml.supersonic.verify", "tasks_from": "dashboards", "rolespec_validate": False}
        play.write_text(
            json.dumps(
                [
                    {
                        "hosts": "all",
                        "gather_facts": False,
                        "tasks": [{"name": "See", "ansible.builtin.include_role": role}],
                    }
                ]
            )
        )
        grafana = Grafana(TOKEN)
        stack.callback(grafana.stop)
        grafana.datasources = {"supersonic-prometheus": ("OK", "Successfully queried the Prometheus API.")}
        asked = {"verify_grafana_url": grafana.url, "verify_grafana_token": TOKEN}
        self.runs["dashboards"] = self.instance.run(play, **asked)
        grafana.datasources = {"supersonic-prometheus": ("ERROR", "connection refused")}
        self.runs["unhealthy"] = self.instance.run(play, **asked)
        self.runs["unknown"] = self.instance.run(play, **asked, verify_grafana_datasources=["mimir"])
        self.runs["no entry"] = self.instance.run(play, **{**asked, "verify_grafana_token": "wrong-token-77"})
        poor = Site(self.instance, folder / "poor", scrapes=True, dropped="envoy_server_.*|nv_inference_count")
        stack.callback(poor.stop)
        self.runs["dropped"] = self.instance.run(play, **poor.variables)


def operator_objects(instance: Instance) -> dict[str, list[Object]]:
    base = f"/apis/{OPERATOR}/v1/namespaces/{instance.namespace}"
    return {
        plural: instance.cluster.api.list(f"{base}/{plural}", plural) for plural in ("podmonitors", "prometheusrules")
    }


@pytest.fixture(scope="module")
def life(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder = tmp_path_factory.mktemp("prometheus")
    with locked(LOCAL / "images.lock"):
        have_image(cluster, IMAGE, "prometheus-local")
    play = folder / "prometheus.yml"
    tasks = [{"name": "Watch", "ansible.builtin.include_role": {"name": "fastml.supersonic.prometheus"}}]
    play.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    found = Life(Instance(cluster, folder, NAME, {"envoy_processes": 2, **SMALL}))
    instance, runs = found.instance, found.runs
    with contextlib.ExitStack() as stack:
        stack.callback(instance.remove)
        runs["nothing"] = instance.run(play)
        until(lambda: instance.cluster.get(f"/api/v1/namespaces/{instance.namespace}"))
        instance.site("--tags", "model_repository,triton,envoy")
        blind, site = Site(instance, folder / "blind", scrapes=False), Site(instance, folder / "site", scrapes=True)
        ruled = Site(instance, folder / "ruled", scrapes=True, ruled=True)
        rare = Site(instance, folder / "rare", scrapes=True, ruled=True, interval=4)
        for server in (blind, site, ruled, rare):
            stack.callback(server.stop)
        runs["blind"] = instance.run(play, **{**blind.variables, "prometheus_wait_timeout": 15})
        runs["refused"] = instance.run(play, **{**site.variables, "supersonic_prometheus_token": "wrong-token-77"})
        with contextlib.ExitStack() as operator:
            for definition in crds.definitions():
                if definition["spec"]["group"] == OPERATOR:
                    cluster.create(DEFINITIONS, definition)
                    operator.enter_context(removed(cluster, f"{DEFINITIONS}/{definition['metadata']['name']}"))
            until(lambda: len((cluster.get(f"/apis/{OPERATOR}/v1") or {"resources": []})["resources"]) >= 2)
            runs["existing"] = instance.run(play, **ruled.variables)
            found.told = operator_objects(instance)
            runs["existing again"] = instance.run(play, **ruled.variables)
            # Nobody gives it the rules; it scrapes less often than they are made for; and those are none of ours.
            runs["unread"] = instance.run(play, **site.variables, prometheus_wait_timeout=15)
            runs["rare"] = instance.run(play, **rare.variables, prometheus_wait_timeout=20)
            runs["no rules"] = instance.run(play, **rare.variables, prometheus_rule="never")
            # The same instance gets one of its own: what told the site's goes.
            runs["managed"] = instance.run(play)
            found.told_after = operator_objects(instance)
        runs["managed again"] = instance.run(play)
        found.look_at_dashboards(stack, folder)
        yield found


@pytest.mark.thorough
def test_an_instance_that_is_not_there_yet_is_nothing_to_wait_for(life: Life) -> None:
    assert life.runs["nothing"].code == 0, life.runs["nothing"].output


@pytest.mark.thorough
def test_a_prometheus_that_scrapes_nothing_is_refused(life: Life) -> None:
    done = life.runs["blind"]
    assert done.code != 0
    assert (
        f"has no metrics of the Envoys of the instance {NAME} in the namespace {life.instance.namespace}" in done.text
    )
    assert "PodMonitors (prometheus_pod_monitor)" in done.text


@pytest.mark.thorough
def test_tokens_decide_and_are_not_shown(life: Life) -> None:
    assert "does not accept the token" in life.runs["refused"].text
    for done in life.runs.values():
        assert TOKEN not in done.output
        assert "wrong-token-77" not in done.output


@pytest.mark.thorough
def test_the_operator_is_told_where_there_is_one(life: Life) -> None:
    done = life.runs["existing"]
    assert done.code == 0, done.output
    (monitor,), (rule,) = life.told["podmonitors"], life.told["prometheusrules"]
    assert monitor["metadata"]["name"] == rule["metadata"]["name"] == f"{NAME}-prometheus"
    recording, alerting = rule["spec"]["groups"]
    assert {item["record"] for item in recording["rules"]} == {f"supersonic:{name}" for name in QUANTITIES}
    assert "SupersonicEndpointDown" in {item.get("alert") for item in alerting["rules"]}
    assert life.runs["existing again"].changed(NAME) == 0
    assert life.told_after == {"podmonitors": [], "prometheusrules": []}


@pytest.mark.thorough
def test_rules_that_were_applied_have_to_be_loaded_and_fit(life: Life) -> None:
    unread, rare, none = (life.runs[step] for step in ("unread", "rare", "no rules"))
    assert unread.code != 0
    assert f"has no rules of the instance {NAME} in the namespace {life.instance.namespace}" in unread.text
    assert rare.code != 0
    assert "scrapes the instance every 4 s, but its rules are made for every 2 s" in rare.text
    assert "Set prometheus_scrape_interval to 4," in rare.text
    assert none.code == 0, none.output


@pytest.mark.thorough
def test_every_panel_has_data_or_a_reason(life: Life) -> None:
    done = life.runs["dashboards"]
    assert done.code == 0, done.output
    assert done.changed(NAME) == 0
    assert re.search(r"Dashboards: \d+ of \d+ queries have data", done.text)
    assert "no data: Servers / GPUs / gpus: Triton tells of the accelerators that it sees itself" in done.text
    assert "no data: Gateway / Certificate / certificate: The Envoys have no certificate" in done.text
    # Of KEDA and of what is not there at all; whatever servers and Envoys tell is there.
    missing = re.findall(r"no data: (\w+) / ([^/]+) /", done.text)
    assert {(dashboard, panel) for dashboard, panel in missing if "GPU" not in panel} == {
        ("Gateway", "Certificate"),
        ("Gateway", "Requests by client"),
        ("Gateway", "Refused by client"),
        ("Scaling", "KEDA errors"),
        ("Scaling", "Errors in reading triggers"),
        ("Scaling", "Triggers as KEDA reads them"),
        ("Scaling", "Replicas of the autoscaler"),
    }


@pytest.mark.thorough
def test_metrics_that_are_dropped_are_noticed(life: Life) -> None:
    done = life.runs["dropped"]
    assert done.code != 0
    assert "has no data for panels that have some as soon as an Envoy is scraped" in done.text
    assert "Gateway / Memory by Envoy / {{kubernetes_pod_name}}" in done.text
    # A server is scraped, so that it is no reason that there is none.
    assert "Models / Inferences per second by model / {{model}}" in done.text


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("unhealthy", "cannot use its data source supersonic-prometheus: connection refused. Look at the address"),
        ("unknown", "has no data source with the uid mimir."),
        ("no entry", "Give the token of a service account that may query them"),
    ],
)
def test_a_data_source_that_grafana_cannot_use_is_told(life: Life, step: str, message: str) -> None:
    assert life.runs[step].code != 0
    assert message in life.runs[step].text


@pytest.mark.thorough
def test_a_second_run_changes_nothing(life: Life) -> None:
    assert life.runs["managed"].code == 0, life.runs["managed"].output
    assert life.runs["managed again"].changed(NAME) == 0
