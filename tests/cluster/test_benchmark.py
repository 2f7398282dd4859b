# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load on a real instance: real perf_analyzer in pods, and a pool that is as it was afterwards."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.load_pods import LABEL
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.pause_annotations import (
    PAUSED,
    PAUSED_REPLICAS,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.pool import BEFORE, MANAGER
from ansible_collections.fastml.supersonic.tests.harness.environment import for_python
from ansible_collections.fastml.supersonic.tests.harness.images import have_image
from ansible_collections.fastml.supersonic.tests.harness.keda import Keda
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, Object
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import LOCAL, Instance
from ansible_collections.fastml.supersonic.tests.harness.processes import until

IMAGE = "docker.io/fastml/perf-analyzer-local:2.60.0"
PROFILE = [{"clients": 1, "seconds": 3}, {"clients": 4, "seconds": 5}, {"clients": 1, "seconds": 2}]
SECONDS = 10
FOUR = {"data": [{"INPUT0": [1.0, 2.0, 3.0, 4.5]}]}
TOKEN = "0123456789abcdefghijklmnop"
_RUN = """
import json, sys
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
print(json.dumps(run_module("load_benchmark", json.load(sys.stdin))))
"""


# What is measured here is measured on a machine with nothing else to do.
pytestmark = [pytest.mark.usefixtures("image"), pytest.mark.alone, pytest.mark.thorough]


@pytest.fixture(scope="module")
def image(cluster: Cluster, keda: Keda) -> None:
    """The image of perf_analyzer on the node, which `make local` alone does not bring."""
    with keda.alone():
        have_image(cluster, IMAGE, "perf-analyzer-local")


@pytest.fixture(scope="module")
def service(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance whose only model keeps a server busy for 20 ms with each request."""
    folder = tmp_path_factory.mktemp("benchmark")
    shutil.copytree(LOCAL / "models" / "accelerator", folder / "models" / "accelerator")
    models = str(folder / "models")
    variables = {
        "model_repository_sources": [models],
        "verify_golden_directories": [models],
        "envoy_tokens": {"cms": [TOKEN]},
        "verify_token": TOKEN,
        "benchmark_token": TOKEN,
    }
    made = Instance(cluster, folder, "loaded", variables)
    try:
        made.site()
        yield made
    finally:
        made.remove()


def options(service: Instance, **more: Any) -> dict[str, Any]:
    return {
        "kubeconfig": service.cluster.kubeconfig,
        "namespace": service.namespace,
        "instance": service.name,
        "model": "accelerator",
        "profile": PROFILE,
        "settled_after": 1,
        "window": 1000,
        "token": TOKEN,
        "pod": {"image": IMAGE},
        **more,
    }


def deployment(service: Instance) -> Object:
    return service.cluster.there(f"/apis/apps/v1/namespaces/{service.namespace}/deployments/{service.name}-triton")


def untouched(service: Instance) -> None:
    """The pool as it was, and nothing left."""
    live = deployment(service)
    assert live["spec"]["replicas"] == 1
    assert BEFORE not in live["metadata"]["annotations"]
    assert MANAGER not in {entry["manager"] for entry in live["metadata"]["managedFields"]}
    query = {"labelSelector": f"{LABEL}={service.name}"}
    for kind in ("pods", "secrets"):
        found = service.cluster.api.list(f"/api/v1/namespaces/{service.namespace}/{kind}", kind, query)
        assert not [item for item in found if not item["metadata"].get("deletionTimestamp")]


def test_pools_under_the_same_load(service: Instance, tmp_path: Path) -> None:
    result = run_module("load_benchmark", options(service, pools=["2", "1"], input_data=FOUR, report=str(tmp_path)))
    assert not result["failed"], result["msg"]
    assert not result["changed"]
    two, one = result["pools"]
    for row in (one, two):
        assert (row["failures"], row["errors"], row["problems"]) == (0, [], [])
        # Nobody is faster than 20 ms, and clients never pause.
        assert 20 < row["p50_ms"] <= row["p99_ms"] <= row["max_ms"]
        clients_ms = 1000 * sum(step["clients"] * step["seconds"] for step in PROFILE)
        assert 0.8 < row["requests"] * row["mean_ms"] / clients_ms < 1.05
        # What servers did for it, seen by themselves; more where the machine is busy.
        assert 0.95 < row["busy_seconds"] / (row["requests"] * 0.0205) < 3
    assert (one["servers_mean"], one["servers_max"], two["servers_mean"], two["servers_max"]) == (1, 1, 2, 2)
    assert two["requests"] > one["requests"]
    assert two["mean_ms"] < one["mean_ms"]
    assert one["utilization"] > two["utilization"]
    untouched(service)

    with (tmp_path / "requests-1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == one["requests"]
    assert -0.2 < float(rows[0]["seconds"]) < 1.5
    begins = [float(row["seconds"]) for row in rows]
    # Four times as many requests are in flight while four clients are there; one server answers no more of them.
    late = [float(row["latency_ms"]) for row in rows if 4 <= float(row["seconds"]) < 7.5]
    early = [float(row["latency_ms"]) for row in rows if 1 <= float(row["seconds"]) < 2.5]
    assert sum(late) / len(late) > 2.5 * sum(early) / len(early)
    assert max(begins) < SECONDS + 0.2
    report = json.loads((tmp_path / "benchmark.json").read_text())
    assert [point["clients"] for point in report["timelines"]["2"]] == [1] * 3 + [4] * 5 + [1] * 2
    assert (tmp_path / "benchmark.md").read_text().startswith("| servers ")


def test_interrupted_and_put_back(service: Instance) -> None:
    environment = for_python()
    process = subprocess.Popen([sys.executable, "-c", _RUN], stdin=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdin
        process.stdin.write(json.dumps(options(service, pools=["2"])))
        process.stdin.close()
        until(lambda: deployment(service)["spec"]["replicas"] == 2)
        until(lambda: service.pods("benchmark"), 60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert run_module("load_benchmark", options(service, mode="restore"), check=True)["changed"]
    assert deployment(service)["spec"]["replicas"] == 2
    # Whoever applies it hears of it, though nothing would be wrong otherwise.
    done = service.run("playbooks/site.yml", "--check")
    assert "a benchmark holds the number of servers" in " ".join(done.output.split())
    assert run_module("load_benchmark", options(service, mode="restore"))["changed"]
    untouched(service)
    assert not run_module("load_benchmark", options(service, mode="restore"))["changed"]


def test_capacity_by_the_playbook(service: Instance, tmp_path: Path) -> None:
    extra = {"benchmark_levels": [1, 2, 4], "benchmark_level_seconds": 4, "benchmark_report": str(tmp_path)}
    done = service.run("playbooks/benchmark.yml", benchmark_mode="capacity", **extra)
    assert done.code == 0, done.output
    found = json.loads((tmp_path / "capacity.json").read_text())
    # It executes one request at a time, which a machine that is busy with other tests blurs.
    assert 0.5 < found["saturation"] < 3
    assert found["latency_limit_reached"]
    assert 1 <= found["variables"]["autoscaler_requests_per_server"] < 5
    assert "autoscaler_requests_per_server: " in done.output
    untouched(service)


def test_what_cannot_be_measured_is_refused(service: Instance) -> None:
    result = run_module("load_benchmark", options(service, pools=["dynamic"]))
    assert "neither a ScaledObject nor a HorizontalPodAutoscaler" in result["msg"]
    short = [{"clients": 1, "seconds": 2}]
    result = run_module("load_benchmark", options(service, pools=["1"], profile=short, model="nothing"))
    assert "unknown model: 'nothing'" in result["msg"]
    wrong = "x" * 26
    result = run_module("load_benchmark", options(service, pools=["1"], profile=short, token=wrong))
    assert re.search("perf_analyzer cannot send requests .* token", result["msg"]), result["msg"]
    assert wrong not in str(result)
    untouched(service)


def test_held_against_an_autoscaler(service: Instance) -> None:
    path = f"/apis/keda.sh/v1alpha1/namespaces/{service.namespace}/scaledobjects"
    by_pods = {"podSelector": f"{LABEL}={service.name}", "value": "1"}
    service.cluster.create(
        path,
        {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            # By somebody else, whose it stays.
            "metadata": {"name": f"{service.name}-triton", "annotations": {PAUSED: "true"}},
            "spec": {
                "scaleTargetRef": {"name": f"{service.name}-triton"},
                "minReplicaCount": 1,
                "maxReplicaCount": 3,
                "triggers": [{"type": "kubernetes-workload", "metadata": by_pods}],
            },
        },
    )
    scaled = f"{path}/{service.name}-triton"
    try:
        planned = run_module("load_benchmark", options(service), check=True)
        assert planned["autoscaler"] == {"kind": "keda", "name": f"{service.name}-triton", "min": 1, "max": 3}
        short = [{"clients": 1, "seconds": 3}]
        result = run_module("load_benchmark", options(service, pools=["dynamic", "2"], profile=short))
        assert not result["failed"], result["msg"]
        assert [row["servers_mean"] for row in result["pools"]] == [1, 2]
        annotations = service.cluster.there(scaled)["metadata"]["annotations"]
        assert annotations[PAUSED] == "true"
        assert not {BEFORE, PAUSED_REPLICAS} & set(annotations)
    finally:
        service.cluster.api.delete(scaled, scaled)
