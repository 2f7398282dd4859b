# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Envoy tells of its clients against what the clients have counted: real Envoy, Triton and Prometheus."""

from __future__ import annotations

import json
import re
import statistics
import threading
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

from ansible_collections.fastml.supersonic.plugins.module_utils._queries import CLIENTS, service_queries
from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy
from ansible_collections.fastml.supersonic.tests.harness.gateway import CHANNEL, ISSUER, bearer, deployed
from ansible_collections.fastml.supersonic.tests.harness.models import write_model
from ansible_collections.fastml.supersonic.tests.harness.processes import free_ports, until
from ansible_collections.fastml.supersonic.tests.harness.programs import program
from ansible_collections.fastml.supersonic.tests.harness.prometheus import Prometheus
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton

TOKEN = "cms-0123456789abcdefghij"
# Seconds of load, of which the last ones are looked at, and of a request to the slow model.
LOAD_S, WINDOW_S, SLOW_S = 22, 15, 0.15
RATES = ("answer_rate", "error_rate", "rejection_rate", "models_missing")
TIMES = ("client_latency", "client_latency_p50", "client_latency_p99")


@dataclass
class Client:
    """Asks so often in a second, and writes down when it had an answer, which and after how long."""

    model: str
    rate: float
    token: str = TOKEN
    answers: list[tuple[float, str, float]] = field(default_factory=list)

    def run(self, address: str, end: float) -> None:
        data = numpy.arange(4, dtype=numpy.float32)
        given = triton_grpc.InferInput("INPUT0", data.shape, "FP32")
        given.set_data_from_numpy(data)
        headers = {"authorization": bearer(self.token)}
        due = time.monotonic()
        with triton_grpc.InferenceServerClient(address, channel_args=CHANNEL) as client:
            while due < end:
                time.sleep(max(0.0, due - time.monotonic()))
                begin = time.monotonic()
                try:
                    client.infer(self.model, [given], headers=headers, client_timeout=20)
                    status = "OK"
                except InferenceServerException as exc:
                    status = str(exc.status()).removeprefix("StatusCode.")
                done = time.monotonic()
                self.answers.append((done, status, 1000 * (done - begin)))
                due += 1 / self.rate


@dataclass
class Service:
    """One Envoy in front of one server, and who watches both."""

    envoy: DeployedEnvoy
    prometheus: Prometheus

    def ask(self, queries: dict[str, str]) -> dict[str, float | None]:
        found = {}
        for name, query in queries.items():
            with urllib.request.urlopen(f"{self.prometheus.url}/api/v1/query?query={quote(query)}") as answer:
                result = json.load(answer)["data"]["result"]
            found[name] = float(result[0]["value"][1]) if result else None
        return found


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
            "scrape_interval": "1s",
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


@dataclass
class Seen:
    """What clients have seen in the last window before a moment, and what Prometheus knew then."""

    answers: list[tuple[str, float]]
    told: dict[str, float | None]

    def rate(self, *statuses: str) -> float:
        return sum(not statuses or status in statuses for status, _took in self.answers) / WINDOW_S


def test_times_are_those_of_the_clients(service: Service) -> None:
    # Before anybody else asks, so that all that is in the window is known.
    queries = service_queries("main", "main", scrape_interval=1, window=60)
    until(lambda: service.ask({"answer_rate": queries["answer_rate"]})["answer_rate"] == 0, 15)
    client = Client("slow", 3)
    client.run(service.envoy.address, time.monotonic() + 10)
    counted = f'envoy_http_downstream_rq_time_count{{envoy_http_conn_manager_prefix="{CLIENTS}"}}'
    # Envoy adds up its histograms every five seconds.
    until(lambda: service.ask({"all": counted})["all"] == len(client.answers), 20)
    told = service.ask({name: queries[name] for name in TIMES})
    mean = statistics.fmean(took for _when, _status, took in client.answers)
    assert told["client_latency"] == pytest.approx(mean, rel=0.05)
    # In the bucket from 100 to 250 ms, of which no more is known: 175 and 248.5, or more where the machine was busy.
    assert 175 <= round(told["client_latency_p50"], 6) < 200
    assert 248.5 <= round(told["client_latency_p99"], 6) < 500


@pytest.fixture(scope="module")
def seen(service: Service) -> Seen:
    queries = service_queries("main", "main", scrape_interval=1)
    stranger = Client("slow", 4, "a-token-that-nobody-was-given")
    clients = [Client("slow", 3), Client("broken", 5), stranger, Client("none", 2)]
    end = time.monotonic() + LOAD_S
    threads = [threading.Thread(target=client.run, args=(service.envoy.address, end)) for client in clients]
    for thread in threads:
        thread.start()
    time.sleep(LOAD_S - 1)
    told = service.ask({name: queries[name] for name in RATES})
    # Of the newest scrape, a moment ago.
    asked = time.monotonic() - 0.5
    for thread in threads:
        thread.join()
    answers = [
        (status, took)
        for client in clients
        for when, status, took in client.answers
        if asked - WINDOW_S < when <= asked
    ]
    return Seen(answers, told)


def test_every_request_is_told_by_what_it_ended_with(seen: Seen) -> None:
    assert {status for status, _took in seen.answers} == {"OK", "INTERNAL", "UNAUTHENTICATED", "NOT_FOUND"}
    # A few a second: one more or less in the window counts.
    one = 1 / WINDOW_S
    assert seen.told["answer_rate"] == pytest.approx(seen.rate(), rel=0.02)
    assert seen.told["error_rate"] == pytest.approx(seen.rate("INTERNAL"), rel=0.02, abs=2 * one)
    assert seen.told["rejection_rate"] == pytest.approx(seen.rate("UNAUTHENTICATED"), rel=0.02, abs=2 * one)
    assert seen.told["models_missing"] == 0


def test_there_are_few_series(service: Service, seen: Seen) -> None:
    assert seen.answers
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
