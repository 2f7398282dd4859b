# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role otel_collector on a real instance: requests of the proof, and one of a client, found end to end.

The collector writes every span into its log, where the tests read it. The manifests of Tempo, whose image is in no
package registry, are applied to the real API, and nobody waits for its pod.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.traces import Span, problems_of
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, Object
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import KUBECONFIG, LOCAL, Instance, Run
from ansible_collections.fastml.supersonic.tests.harness.pods import connect
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.programs import program
from ansible_collections.fastml.supersonic.tests.harness.prometheus import Page
from ansible_collections.fastml.supersonic.tests.harness.shared import NAME, Shared
from ansible_collections.fastml.supersonic.tests.harness.tracing import Collector, render

SERVICES = [f"{NAME}-envoy", f"{NAME}-triton"]
OWN = {"app.kubernetes.io/name": "supersonic", "app.kubernetes.io/instance": NAME}
# What the collector's debug exporter writes of a span.
_SPAN = re.compile(
    r"Trace ID\s*: (?P<trace>\w+)\n\s*Parent ID\s*: (?P<parent>\w*)\n\s*ID\s*: (?P<id>\w+)\n"
    r"\s*Name\s*: (?P<name>[^\n]+)"
)


def spans_in_log(shared: Shared, trace_id: str) -> list[Span]:
    """Those of a trace in the collector's log."""
    (pod,) = shared.pods("otel-collector").values()
    path = f"/api/v1/namespaces/{shared.namespace}/pods/{pod['metadata']['name']}/log"
    log = shared.cluster.api.text(path, "log of the collector", {"sinceSeconds": "300"})
    # As lines of JSON, in each of which is the text of a batch.
    entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    text = "\n".join(str(entry.get("msg", "")) for entry in entries)
    found = []
    for part in re.split(r"(?m)^ResourceSpans #", text):
        service = re.search(r"service\.name: Str\(([^)]+)\)", part)
        for span in _SPAN.finditer(part):
            if span["trace"] == trace_id:
                name = service[1] if service else ""
                found.append(Span(trace_id, span["id"], span["parent"], span["name"], name))
    return found


# ---- a collector of the instance's own -------------------------------------------------------------------------------
def test_the_proof_sees_that_spans_arrive(shared: Shared) -> None:
    assert re.search(r"The collector has accepted [1-9][0-9]* spans since, and lost none\.", shared.deployed.text)


def test_a_golden_request_is_one_trace_from_envoy_to_the_model(shared: Shared) -> None:
    models = LOCAL / "models"
    result = run_module(
        "inference_check",
        {
            "kubeconfig": str(KUBECONFIG),
            "repositories": [str(models)],
            "models": ["identity", "accelerator"],
            "trace": True,
            "targets": [
                {
                    "name": "Envoy",
                    "selector": {
                        "namespace": shared.namespace,
                        "labels": {**OWN, "app.kubernetes.io/component": "envoy"},
                    },
                }
            ],
        },
    )
    assert not result["failed"], result
    sent = [check["trace_id"] for check in result["checks"] if check["trace_id"]]

    def found() -> list[Span]:
        return next((spans for trace_id in sent if len(spans := spans_in_log(shared, trace_id)) >= 5), [])

    # A server misses some of the contexts that come over gRPC.
    spans = until(found, 30)
    assert problems_of(spans, SERVICES) == []
    names = {span.name for span in spans}
    assert len(spans) == len(names) == 5
    assert {"InferRequest", "compute", "ingress", "router triton egress"} <= names
    assert names & {"identity", "accelerator"}


def test_metrics_of_spans_and_the_graph_are_there(shared: Shared) -> None:
    (pod,) = shared.pods("otel-collector").values()
    path = f"/api/v1/namespaces/{shared.namespace}/pods/{pod['metadata']['name']}:8889/proxy/metrics"
    page = shared.cluster.api.text(path, "metrics of spans")
    assert re.search(rf'traces_spanmetrics_calls_total\{{[^}}]*service_name="{NAME}-triton"', page)
    assert re.search(
        rf'traces_service_graph_request_total\{{[^}}]*client="{NAME}-envoy"[^}}]*server="{NAME}-triton"', page
    )


def test_who_may_send(shared: Shared, cluster: Cluster) -> None:
    namespace = shared.namespace
    (pod,) = shared.pods("otel-collector").values()
    addresses = [f"{pod['status']['podIP']}:{port}" for port in (4317, 4318)]
    for address, answer in connect(cluster, namespace, "stranger", *addresses).items():
        assert answer in ("timeout", "Connection refused"), address
    assert connect(cluster, namespace, "server-like", *addresses, labels=OWN) == dict.fromkeys(addresses, "open")


# ---- Tempo, and those of a site --------------------------------------------------------------------------------------
@dataclass
class Life:
    """What happened, step by step, without any server."""

    instance: Instance
    runs: dict[str, Run] = field(default_factory=dict)
    tempo: list[Object] = field(default_factory=list)
    left: dict[str, set[str]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def life(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder = tmp_path_factory.mktemp("tracing")
    found = Life(Instance(cluster, folder, "seen", {"tempo_wait": False, "tempo_size": "64Mi"}))
    instance = found.instance
    with contextlib.ExitStack() as stack:
        stack.callback(instance.remove)
        tempo = {"supersonic_components": ["tempo"]}
        found.runs["tempo"] = instance.run("site.yml", "--tags", "tempo", **tempo)
        base = f"/apis/apps/v1/namespaces/{instance.namespace}/deployments"
        deployments = cluster.api.list(base, "deployments")
        found.tempo = [item for item in deployments if item["metadata"]["name"] == "seen-tempo"]
        found.runs["tempo again"] = instance.run("site.yml", "--tags", "tempo", **tempo)
        # Of another instance, whose collector and Tempo are the site's.
        tempo_there = Page("echo")
        stack.callback(tempo_there.stop)
        manifests = render(folder / "rendered", {"site": {}}, "otel_collector")
        collector = Collector(
            program("otel-collector", folder) / "otel-collector",
            folder / "site",
            manifests / "site/otel_collector.yaml",
        )
        stack.callback(collector.stop)
        play = folder / "existing.yml"
        roles = ["fastml.supersonic.otel_collector", "fastml.supersonic.tempo"]
        tasks = [{"name": f"Have {role}", "ansible.builtin.include_role": {"name": role}} for role in roles]
        play.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        there = {
            "supersonic_name": "other",
            "otel_collector_mode": "existing",
            "supersonic_tracing": {"endpoint": collector.endpoint, "http_url": collector.url},
            "tempo_mode": "existing",
            "supersonic_tempo_url": f"http://{tempo_there.address}",
        }
        found.runs["existing"] = instance.run(play, **there)
        wrong = {"endpoint": collector.endpoint, "http_url": collector.url.replace("/v1/traces", "/elsewhere")}
        found.runs["wrong"] = instance.run(
            play, **{**there, "supersonic_tracing": wrong, "otel_collector_wait_timeout": 1}
        )
        found.runs["torn down"] = instance.run("playbooks/teardown.yml")
        for kind in ("deployments", "services", "configmaps"):
            group = "/apis/apps/v1" if kind == "deployments" else "/api/v1"
            items = cluster.api.list(f"{group}/namespaces/{instance.namespace}/{kind}", kind)
            found.left[kind] = {item["metadata"]["name"] for item in items}
        yield found


@pytest.mark.thorough
def test_tempo_is_applied_to_the_real_api(life: Life) -> None:
    assert life.runs["tempo"].code == 0, life.runs["tempo"].output
    assert len(life.tempo) == 1
    assert life.runs["tempo again"].changed("seen") == 0


@pytest.mark.thorough
def test_those_of_the_site_are_asked_and_nothing_is_applied(life: Life) -> None:
    assert life.runs["existing"].code == 0, life.runs["existing"].output
    assert life.runs["existing"].changed("seen") == 0
    assert life.runs["wrong"].code != 0
    assert "does not take spans there: it answered 404" in life.runs["wrong"].text


@pytest.mark.thorough
def test_nothing_is_left_of_them_but_the_traces(life: Life) -> None:
    done = life.runs["torn down"]
    assert done.code == 0, done.output
    assert f"The traces in the claim seen-tempo in the namespace {life.instance.namespace} are left" in done.text
    for kind, names in life.left.items():
        assert not {"seen-otel-collector", "seen-tempo"} & names, kind
