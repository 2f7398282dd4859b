# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the real perf_analyzer makes of the metrics of accelerators at the endpoint.

It comes out of an image of the local cluster. All the rest is on loopback, since no test machine has an accelerator.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator

import pytest

from ansible_collections.fastml.supersonic.tests.harness.accelerators import Accelerator, pod, scraped
from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy
from ansible_collections.fastml.supersonic.tests.harness.gateway import render_cases
from ansible_collections.fastml.supersonic.tests.harness.images import have_image
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.models import write_model
from ansible_collections.fastml.supersonic.tests.harness.perf_analyzer import IMAGE, RECIPE, Measured, PerfAnalyzer
from ansible_collections.fastml.supersonic.tests.harness.playbooks import LOCAL
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.programs import program
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import locked

pytestmark = pytest.mark.thorough

FIRST = Accelerator("GPU-00000000-0000-0000-0000-000000000001", 0.41)
SECOND = Accelerator("GPU-00000000-0000-0000-0000-000000000002", 0.75, power_usage=70.5, memory_used=20 * 2**30 + 7)
OTHER = Accelerator("GPU-00000000-0000-0000-0000-00000000000a", 0.99)
SERVERS = {
    ("mine", pod("supersonic", 1)): FIRST,
    ("mine", pod("supersonic", 2)): SECOND,
    ("mine", pod("other", 1)): OTHER,
    ("theirs", pod("supersonic", 1)): OTHER,
}
COLUMNS = {
    "Avg GPU Utilization": "utilization",
    "Avg GPU Power Usage": "power_usage",
    "Max GPU Memory Usage": "memory_used",
    "Total GPU Memory": "memory_total",
}


@pytest.fixture(scope="module")
def perf_analyzer(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PerfAnalyzer]:
    with locked(LOCAL / "images.lock"):
        have_image(cluster, IMAGE, RECIPE)
    found = PerfAnalyzer(tmp_path_factory.mktemp("perf-analyzer"))
    yield found
    found.remove()


@pytest.fixture(scope="module")
def envoys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, DeployedEnvoy]]:
    folder = tmp_path_factory.mktemp("gpu-metrics")
    write_model(folder / "models", "identity")
    server = Triton(folder / "models", folder)
    try:
        with scraped(program("prometheus", folder), folder / "server", SERVERS) as prometheus:
            common = {"envoy_gpu_metrics": True, "supersonic_prometheus_url": prometheus.url}
            # Of an instance without a server nothing is known.
            manifests = render_cases(folder, {"mine": common, "nobody": common})
            running = {
                case: DeployedEnvoy(folder / case, manifests / case / "envoy.yaml", [server.grpc])
                for case in ("mine", "nobody")
            }
            # Each thread of an Envoy asks by itself, once a second.
            until(lambda: FIRST.uuid in page(running["mine"]) and SECOND.uuid in page(running["mine"]), 20)
            time.sleep(2)
            yield running
            for envoy in running.values():
                envoy.stop()
    finally:
        server.stop()


def metrics(envoy: DeployedEnvoy) -> str:
    return f"http://127.0.0.1:{envoy.ports['gpu_metrics']}/metrics"


def page(envoy: DeployedEnvoy) -> str:
    with urllib.request.urlopen(metrics(envoy), timeout=10) as answer:
        return str(answer.read().decode())


def measure(perf_analyzer: PerfAnalyzer, envoy: DeployedEnvoy) -> Measured:
    arguments = ["-m", "identity", "-u", envoy.address, "-i", "grpc", "--shape", "INPUT0:4", "--concurrency-range", "1"]
    arguments += ["--measurement-interval", "2500", "--stability-percentage", "999", "--max-trials", "10"]
    found = perf_analyzer.run(
        [*arguments, "--collect-metrics", "--metrics-url", metrics(envoy), "--metrics-interval", "500"]
    )
    assert found.code == 0, found.output
    assert len(found.rows) == 1, found.output
    return found


def values(text: str) -> dict[str, float]:
    """Of a column, by accelerator: UUID:VALUE;UUID:VALUE;"""
    return {name: float(value) for name, _colon, value in (part.partition(":") for part in text.split(";") if part)}


def test_its_table_has_both_accelerators_and_nobody_elses(
    perf_analyzer: PerfAnalyzer, envoys: dict[str, DeployedEnvoy]
) -> None:
    found = measure(perf_analyzer, envoys["mine"])
    assert "Unable to parse" not in found.output, found.output
    (row,) = found.rows
    for column, name in COLUMNS.items():
        # It writes six digits.
        expected = {each.uuid: pytest.approx(getattr(each, name), rel=1e-5) for each in (FIRST, SECOND)}
        assert values(row[column]) == expected, column


def test_nothing_is_made_up_where_nothing_is_known(
    perf_analyzer: PerfAnalyzer, envoys: dict[str, DeployedEnvoy]
) -> None:
    found = measure(perf_analyzer, envoys["nobody"])
    for name in ("nv_gpu_utilization", "nv_gpu_power_usage", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes"):
        assert f"Unable to parse '{name}' metric" in found.output, found.output
    (row,) = found.rows
    assert [row[column] for column in COLUMNS] == [""] * len(COLUMNS)
