# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics of accelerators at the endpoint: a real Envoy asks a real Prometheus that scrapes what Triton would say."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import GPU_METRICS
from ansible_collections.fastml.supersonic.tests.harness.accelerators import Accelerator, pod, scraped
from ansible_collections.fastml.supersonic.tests.harness.certificates import Certificate, certificate
from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy
from ansible_collections.fastml.supersonic.tests.harness.gateway import render_cases
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.programs import program
from ansible_collections.fastml.supersonic.tests.harness.prometheus import Guard, Page, Prometheus

TOKEN = "0123456789-of-prometheus"
QUESTIONS = 3
# More than six digits, so that Go writes an exponent where it may.
FIRST = Accelerator("GPU-00000000-0000-0000-0000-000000000001", 0.41)
SECOND = Accelerator("GPU-00000000-0000-0000-0000-000000000002", 0.0, memory_used=20 * 2**30 + 7, power_usage=70.0)
OTHER = Accelerator("GPU-00000000-0000-0000-0000-00000000000a", 0.99)
SERVERS = {
    ("mine", pod("supersonic", 1)): FIRST,
    ("mine", pod("supersonic", 2)): SECOND,
    # Another instance of the namespace, one whose name begins alike, and one of another namespace.
    ("mine", pod("other", 1)): OTHER,
    ("mine", pod("supersonic-more", 1)): OTHER,
    ("theirs", pod("supersonic", 1)): OTHER,
}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    with scraped(program("prometheus", folder), folder / "server", SERVERS) as running:
        yield running


@pytest.fixture(scope="module")
def authority() -> Certificate:
    return certificate("authority of tests")


@pytest.fixture(scope="module")
def secure(authority: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The same with TLS."""
    folder = tmp_path_factory.mktemp("secure")
    own = certificate("localhost", authority)
    (folder / "certificate.pem").write_text(own.pem)
    (folder / "key.pem").write_text(own.key_pem)
    files = {"cert_file": str(folder / "certificate.pem"), "key_file": str(folder / "key.pem")}
    with scraped(program("prometheus", folder), folder / "server", SERVERS, {"tls_server_config": files}) as running:
        yield running


class Counting(Guard):
    """Counts questions, and has Prometheus below a path."""

    def __init__(self, url: str) -> None:
        super().__init__(url, TOKEN)
        self.paths: list[str] = []

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.paths.append(request.path)
        request.path = request.path.removeprefix("/prometheus")
        super().answer(request)


@pytest.fixture(scope="module")
def guard(prometheus: Prometheus) -> Iterator[Counting]:
    page = Counting(prometheus.url)
    yield page
    page.stop()


@pytest.fixture(scope="module")
def manifests(
    prometheus: Prometheus,
    secure: Prometheus,
    authority: Certificate,
    guard: Counting,
    strange: Page,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    common = {"envoy_gpu_metrics": True, "envoy_concurrency": 1, "supersonic_prometheus_url": prometheus.url}
    behind = {"supersonic_prometheus_url": f"http://{guard.address}/prometheus/", "supersonic_prometheus_token": TOKEN}
    cases: dict[str, dict[str, Any]] = {
        "mine": common,
        "behind": {**common, **behind, "supersonic_namespace": "mine"},
        "tokens": {**common, **behind, "supersonic_namespace": "mine", "envoy_tokens": {"cms": f"cms-{TOKEN}"}},
        "empty": common,
        "renamed": {**common, "envoy_gpu_metrics_labels": {"pod": "exported_pod"}, "supersonic_namespace": "mine"},
        "nowhere": {**common, "supersonic_prometheus_url": "http://127.0.0.1:9"},
        "strange": {**common, "supersonic_prometheus_url": f"http://{strange.address}"},
    }
    by_tls = {**common, "supersonic_prometheus_url": f"https://localhost:{secure.port}", "supersonic_namespace": "mine"}
    stranger = certificate("another authority")
    cases["tls"] = {**by_tls, "supersonic_prometheus_ca_certificates": authority.pem}
    cases["untrusted"] = {**by_tls, "supersonic_prometheus_ca_certificates": stranger.pem}
    return render_cases(tmp_path_factory.mktemp("cases"), cases)


STRANGE_ANSWER = (
    '{"status":"success","data":{"resultType":"vector","result":['
    '{"metric":{"gpu_uuid":"GPU-1","__name__":"nv_gpu_utilization"},"value":[1.5,"NaN"]},'
    '{"metric":{"gpu_uuid":"GPU-2","__name__":"nv_gpu_utilization"},"value":[1.5,"+Inf"]},'
    '{"metric":{"gpu_uuid":"GPU-3","__name__":"nv_gpu_utilization"},"value":[1.5,"-1"]},'
    '{ "metric" : {"gpu_uuid" : "GPU-4", "__name__" : "nv_gpu_utilization"}, "value" : [ 1.5, "5e-01" ] },'
    '{"metric":{"gpu_uuid":"GPU-5\\"} 7\\nx","__name__":"nv_gpu_utilization"},"value":[1.5,"1"]},'
    '{"metric":{"gpu_uuid":"GPU-6","__name__":"up"},"value":[1.5,"1"]},'
    '{"metric":{"__name__":"nv_gpu_utilization"},"value":[1.5,"1"]},'
    '{"metric":{"gpu_uuid":"GPU-7","__name__":"nv_gpu_memory_used_bytes"},"value":[1.5,"8.589934592e+10"]}'
    "]}}"
)


@pytest.fixture(scope="module")
def strange() -> Iterator[Page]:
    page = Page(STRANGE_ANSWER)
    yield page
    page.stop()


@pytest.fixture(scope="module")
def envoys(manifests: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, DeployedEnvoy]]:
    folder = tmp_path_factory.mktemp("envoys")
    running: dict[str, DeployedEnvoy] = {}
    try:
        for case in sorted(path.name for path in manifests.iterdir()):
            running[case] = DeployedEnvoy(folder / case, manifests / case / "envoy.yaml", [], healthy=False)
        yield running
    finally:
        for envoy in running.values():
            envoy.stop()


def ask(envoy: DeployedEnvoy, path: str = "/metrics", method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{envoy.ports['gpu_metrics']}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def read(page: str) -> dict[str, dict[str, float]]:
    """By metric and accelerator, with the regular expression of perf_analyzer."""
    found = {}
    for name in GPU_METRICS:
        pairs = re.findall(r"\n" + name + r'\{gpu_uuid="([^"]+)"\} (\d+\.?\d*)', page)
        assert len(pairs) == len(dict(pairs))
        found[name] = {uuid: float(value) for uuid, value in pairs}
    return found


EXPECTED = {
    name: {
        each.uuid: float(getattr(each, name.removeprefix("nv_gpu_").removesuffix("_bytes"))) for each in (FIRST, SECOND)
    }
    for name in GPU_METRICS
}


@pytest.mark.parametrize("case", ["mine", "behind", "tokens", "tls"])
def test_both_servers_and_nobody_elses(envoys: dict[str, DeployedEnvoy], case: str) -> None:
    until(lambda: FIRST.uuid in ask(envoys[case])[1] and SECOND.uuid in ask(envoys[case])[1])
    status, page = ask(envoys[case])
    assert status == 200
    assert read(page) == EXPECTED
    assert OTHER.uuid not in page
    # Every value is on a line that is read, and nothing else is there.
    assert len([line for line in page.splitlines() if not line.startswith("#")]) == 2 * len(GPU_METRICS)
    assert "energy" not in page


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/", "GET"),
        ("/api/v1/query?query=up", "GET"),
        ("/federate?match[]=up", "GET"),
        ("/metrics/", "GET"),
        ("/metrics/../api/v1/query?query=up", "GET"),
        ("/metrics", "POST"),
        ("/metrics", "DELETE"),
        ("/healthcheck/fail", "POST"),
    ],
)
def test_nothing_else_is_reached(envoys: dict[str, DeployedEnvoy], path: str, method: str) -> None:
    assert ask(envoys["mine"], path, method) == (404, "")


def test_nobody_chooses_what_is_asked(envoys: dict[str, DeployedEnvoy], guard: Counting) -> None:
    until(lambda: FIRST.uuid in ask(envoys["behind"])[1])
    time.sleep(1.1)
    before = len(guard.paths)
    assert read(ask(envoys["behind"], "/metrics?query=up&match[]=up")[1]) == EXPECTED
    assert len(guard.paths) == before + 1
    assert len(set(guard.paths)) == 1
    assert guard.paths[0].startswith("/prometheus/api/v1/query?query=max%20by")


def test_prometheus_is_asked_once_a_second(envoys: dict[str, DeployedEnvoy], guard: Counting) -> None:
    until(lambda: FIRST.uuid in ask(envoys["behind"])[1])
    before, begin = len(guard.paths), time.monotonic()
    while len(guard.paths) < before + QUESTIONS:
        assert ask(envoys["behind"])[0] == 200
    # Of all that Envoy is asked no two get to Prometheus within a second.
    assert time.monotonic() - begin >= QUESTIONS - 1


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("empty", "# Prometheus knows of no accelerator of these servers\n"),
        ("renamed", "# Prometheus knows of no accelerator of these servers\n"),
        ("nowhere", "# Prometheus answered 503\n"),
        ("untrusted", "# Prometheus answered 503\n"),
    ],
)
def test_nothing_is_known_and_nothing_is_made_up(envoys: dict[str, DeployedEnvoy], case: str, why: str) -> None:
    assert ask(envoys[case]) == (200, why)


def test_what_is_no_value_is_left_out(envoys: dict[str, DeployedEnvoy]) -> None:
    _status, page = ask(envoys["strange"])
    assert page == (
        '# TYPE nv_gpu_utilization gauge\nnv_gpu_utilization{gpu_uuid="GPU-4"} 0.500000\n'
        '# TYPE nv_gpu_memory_used_bytes gauge\nnv_gpu_memory_used_bytes{gpu_uuid="GPU-7"} 85899345920\n'
    )


def test_the_token_is_in_a_secret_alone(manifests: Path) -> None:
    for case in ("behind", "tokens"):
        documents = list(yaml.safe_load_all((manifests / case / "envoy.yaml").read_text()))
        holding = {item["kind"] for item in documents if TOKEN in str(item)}
        assert holding == {"Secret"}


def test_another_token_takes_no_restart(envoys: dict[str, DeployedEnvoy], manifests: Path, guard: Counting) -> None:
    envoy = envoys["behind"]
    until(lambda: FIRST.uuid in ask(envoy)[1])
    documents = yaml.safe_load_all((manifests / "behind" / "envoy.yaml").read_text())
    (secret,) = (item for item in documents if item["kind"] == "Secret")
    guard.token = "another-of-prometheus"
    try:
        until(lambda: ask(envoy)[1] == "# Prometheus answered 401\n")
        # Envoy looks at the version of what it reads, which is a digest.
        text = secret["stringData"]["gpu_metrics.yaml"]
        text = re.sub(r'("version_info": ")', r"\1next-", text.replace(TOKEN, guard.token))
        envoy.write("/etc/envoy-access", {"gpu_metrics.yaml": text})
        until(lambda: FIRST.uuid in ask(envoy)[1])
    finally:
        guard.token = TOKEN
