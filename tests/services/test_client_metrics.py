# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Envoy tells of its clients against what the clients have counted: real Envoy, Triton and Prometheus."""

from __future__ import annotations

import json
import re
import statistics
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import numpy
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import CLIENTS, service_queries
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.alerts import LATENCY_BOUNDS
from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy
from ansible_collections.fastml.supersonic.tests.harness.gateway import CHANNEL, ISSUER, bearer, deployed
from ansible_collections.fastml.supersonic.tests.harness.models import write_model
from ansible_collections.fastml.supersonic.tests.harness.processes import free_ports, until
from ansible_collections.fastml.supersonic.tests.harness.programs import program
from ansible_collections.fastml.supersonic.tests.harness.prometheus import Prometheus
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton

TOKEN = "cms-0123456789abcdefghij"
# Of a request to the slow model.
SLOW_S = 0.15
# A rate over so long tells a total: all that was counted is in it.
SPAN_S, SCRAPE = 3000, "250ms"
FRONT = f'{{envoy_http_conn_manager_prefix="{CLIENTS}"}}'
ANSWERED, TIMED = f"envoy_http_downstream_rq_completed{FRONT}", f"envoy_http_downstream_rq_time_count{FRONT}"
BY_STATUS = 'envoy_cluster_grpc{envoy_cluster_name="triton"}'


@dataclass
class Client:
    """Asks one after the other, and writes down which answers it had and after how long (ms)."""

    model: str
    token: str = TOKEN
    answers: list[tuple[str, float]] = field(default_factory=list)

    def ask(self, address: str, count: int) -> None:
        data = numpy.arange(4, dtype=numpy.float32)
        given = triton_grpc.InferInput("INPUT0", data.shape, "FP32")
        given.set_data_from_numpy(data)
        headers = {"authorization": bearer(self.token)}
        with triton_grpc.InferenceServerClient(address, channel_args=CHANNEL) as client:
            for _number in range(count):
                begin = time.monotonic()
                try:
                    client.infer(self.model, [given], headers=headers, client_timeout=300)
                    status = "OK"
                except InferenceServerException as exc:
                    status = str(exc.status()).removeprefix("StatusCode.")
                self.answers.append((status, 1000 * (time.monotonic() - begin)))


@dataclass
class Service:
    """One Envoy in front of one server, and who watches both."""

    envoy: DeployedEnvoy
    prometheus: Prometheus
    # All requests so far.
    sent: int = 0

    def ask(self, query: str) -> float | None:
        with urllib.request.urlopen(f"{self.prometheus.url}/api/v1/query?query={quote(query)}") as answer:
            result = json.load(answer)["data"]["result"]
        return float(result[0]["value"][1]) if result else None

    def load(self, client: Client, count: int) -> None:
        client.ask(self.envoy.address, count)
        self.sent += count

    def scraped(self, counter: str) -> None:
        """Wait until a counter of all requests has been scraped."""
        until(lambda: self.ask(f"sum({counter})") == self.sent)

    def check_total(self, rate: str, counter: str, expected: int) -> None:
        """A rate over all samples goes a little beyond the first and the last of them, never less far."""
        samples = self.ask(f"count_over_time({counter}[{SPAN_S}s])")
        total = (self.ask(rate) or 0) * SPAN_S
        assert expected - 1e-6 <= total <= expected * (1 + 2.2 / (samples - 1)), (samples, total)


@pytest.fixture(scope="module")
def envoys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, DeployedEnvoy], Triton]]:
    """One with a token, and one that asks for keys where nobody answers; the server behind both."""
    folder = tmp_path_factory.mktemp("envoys")
    write_model(folder / "models", "slow", execute=f"time.sleep({SLOW_S})")
    write_model(folder / "models", "broken", execute="raise RuntimeError('it fails')")
    (closed,) = free_ports(1)
    issuer = {"issuer": ISSUER, "audiences": ["supersonic"], "jwks_uri": f"https://localhost:{closed}/keys"}
    cases: dict[str, dict[str, Any]] = {
        "main": {"envoy_tokens": {"cms": TOKEN}},
        "keys": {"envoy_jwt_issuers": [issuer]},
    }
    common = {"supersonic_name": "main", "envoy_concurrency": 1}
    server = Triton(folder / "models", folder / "triton")
    try:
        with deployed(folder, {case: {**common, **more} for case, more in cases.items()}, [server.grpc]) as running:
            yield running, server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def service(
    envoys: tuple[dict[str, DeployedEnvoy], Triton], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("prometheus")
    envoy, server = envoys[0]["main"], envoys[1]
    jobs = [
        {
            "job_name": part,
            "scrape_interval": SCRAPE,
            "metrics_path": path,
            "static_configs": [
                {"targets": [address], "labels": {"namespace": "main", "pod": f"main-{part}-6d4b75cb6d-abcde"}}
            ],
        }
        for part, address, path in (
            ("envoy", f"127.0.0.1:{envoy.admin_port}", "/stats/prometheus"),
            ("triton", f"127.0.0.1:{server.metrics_port}", "/metrics"),
        )
    ]
    prometheus = Prometheus(program("prometheus", folder), folder / "server", {"scrape_configs": jobs})
    yield Service(envoy, prometheus)
    prometheus.stop()


def quantile(times: list[float], share: float) -> float:
    """As Prometheus works it out from Envoy's buckets."""
    below = 0.0
    for bound in LATENCY_BOUNDS:
        count = sum(took <= bound for took in times)
        if count >= share * len(times):
            inside = sum(below < took <= bound for took in times)
            return below + (bound - below) * (share * len(times) - (count - inside)) / inside
        below = bound
    raise AssertionError(times)


def test_times_are_those_of_the_clients(service: Service) -> None:
    # Before all others, so that all that is in the window is known.
    queries = service_queries("main", "main", scrape_interval=1, window=SPAN_S)
    until(lambda: service.ask(queries["answer_rate"]) == 0)
    client = Client("slow")
    service.load(client, 30)
    # Envoy adds up its histograms every five seconds.
    service.scraped(TIMED)
    times = [took for _status, took in client.answers]
    # Envoy sees less of a request than its client, and no less than the model takes; it keeps two digits of a time.
    assert 1000 * SLOW_S <= (service.ask(queries["client_latency"]) or 0) <= 1.05 * statistics.fmean(times)
    for name, share in (("client_latency_p50", 0.5), ("client_latency_p99", 0.99)):
        fastest, slowest = quantile([1000 * SLOW_S], share), quantile(times, share)
        assert fastest - 1e-6 <= (service.ask(queries[name]) or 0) <= slowest + 1e-6, name


@pytest.fixture(scope="module")
def counts(service: Service) -> dict[str, int]:
    """Requests of each status, but the first of each: what Envoy counts by a status is there from then on only."""
    until(lambda: service.ask(ANSWERED) is not None)
    clients = {
        "OK": (Client("slow"), 10),
        "INTERNAL": (Client("broken"), 60),
        "UNAUTHENTICATED": (Client("slow", "a-token-that-is-not-known"), 50),
        "NOT_FOUND": (Client("none"), 40),
    }
    for client, _count in clients.values():
        service.load(client, 1)
    for counter in (ANSWERED, BY_STATUS):
        service.scraped(counter)
    for client, count in clients.values():
        service.load(client, count)
    for counter in (ANSWERED, BY_STATUS):
        service.scraped(counter)
    for status, (client, _count) in clients.items():
        assert {status} == {found for found, _took in client.answers}
    return {status: count for status, (_client, count) in clients.items()}


def test_every_request_is_told_by_what_it_ended_with(service: Service, counts: dict[str, int]) -> None:
    queries = service_queries("main", "main", scrape_interval=1, window=SPAN_S)
    service.check_total(queries["answer_rate"], ANSWERED, service.sent)
    for name, status, code in (("error_rate", "INTERNAL", 13), ("rejection_rate", "UNAUTHENTICATED", 16)):
        counter = BY_STATUS.replace("}", f',grpc_status="{code}"}}')
        service.check_total(queries[name], counter, counts[status])
    assert service.ask(queries["models_missing"]) == 0


def test_there_are_few_series(service: Service, counts: dict[str, int]) -> None:
    assert counts
    page = service.envoy.admin("/stats/prometheus")
    lines = re.findall(r"^(envoy_cluster_grpc\w*)\{(.*)\} \d+$", page, re.M)
    statuses = {line for name, line in lines if name == "envoy_cluster_grpc"}
    assert statuses == {f'envoy_cluster_name="triton",grpc_status="{code}"' for code in (0, 5, 13, 16)}
    assert {name for name, _line in lines} - {"envoy_cluster_grpc"} == {
        f"envoy_cluster_grpc_{name}" for name in ("success", "failure", "total", "request_message_count",
                                                  "response_message_count")
    }  # fmt: skip
    # There is none, and that is no certificate that expires.
    (days,) = re.findall(r"^envoy_server_days_until_first_cert_expiring\{\} (\d+)$", page, re.M)
    assert int(days) > 10000


def test_keys_that_cannot_be_fetched_are_told(envoys: tuple[dict[str, DeployedEnvoy], Triton]) -> None:
    def told() -> dict[str, int]:
        page = envoys[0]["keys"].admin("/stats/prometheus")
        front = rf'\{{envoy_http_conn_manager_prefix="{CLIENTS}"\}}'
        return {
            name: int(count)
            for name, count in re.findall(rf"^envoy_http_jwt_authn_jwks_fetch_(\w+){front} (\d+)$", page, re.M)
        }

    until(lambda: told().get("failed", 0) > 0, 30)
    assert told()["success"] == 0
