# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every query of every panel on a real Prometheus that scrapes a real Triton and a real Envoy, idle and under load,
and what they say against what clients have counted themselves.

What this machine does not have comes from pages with the names and labels that Triton's, KEDA's and kube-state-metrics'
documentation has: accelerators, a ScaledObject and its HorizontalPodAutoscaler.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring import panels as monitoring_panels
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.dashboards import dashboard_files
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import service_rules
from ansible_collections.fastml.supersonic.tests.harness.gateway import CHANNEL, bearer, deployed
from ansible_collections.fastml.supersonic.tests.harness.models import CLONE
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.programs import program
from ansible_collections.fastml.supersonic.tests.harness.prometheus import Page, Prometheus
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton

NAME, NAMESPACE = "main", "cms"
TOKEN = "0123456789abcdefghij-cms"
SERVER = "main-triton-6d4b75cb6d-abcde"
ENVOY = "main-envoy-7c9d8f6b5-abcde"
# One request at a time, 100 ms each: with so many clients a request takes that much longer, so that what the client's
# own program takes does not matter, also on a machine that has much else to do.
SERVICE_MS, CLIENTS, BATCH = 100, 8, 2
SOURCES = CLONE / "dev/roles/local_cluster" / "files" / "models" / "sources"
WINDOW = 15
# Longer than everything from the start of Prometheus to the end of the load, and how far what panels say of it may be
# from what clients have counted. From the newest sample to the moment that is asked for Prometheus takes a rate to go
# on: up to one scrape of forty, so that 2 % would be a matter of luck. Asked for the moment of that sample itself it
# adds nothing, and in front of the first sample it adds what that sample has counted already.
SPAN, CLOSE = 120, 0.02
# A client sees its answer later than the server has sent it: it waits for a processor too.
SEEN_LATER = 0.15
GPU_PAGE = """\
nv_gpu_utilization{gpu_uuid="GPU-1"} 0.85
nv_gpu_memory_total_bytes{gpu_uuid="GPU-1"} 8e10
nv_gpu_memory_used_bytes{gpu_uuid="GPU-1"} 2e10
nv_gpu_power_usage{gpu_uuid="GPU-1"} 350
nv_gpu_power_limit{gpu_uuid="GPU-1"} 700
"""
KEDA_PAGE = "".join(
    f'{metric}{{metric="s0-prometheus",namespace="cms",scaledObject="{name}-triton",triggerIndex="0"}} {value}\n'
    for metric, name, value in (
        ("keda_scaler_metrics_value", "main", 2.5),
        ("keda_scaler_metrics_value", "other", 99),
        ("keda_scaler_detail_errors_total", "main", 0),
    )
)
STATE = 'namespace="cms",horizontalpodautoscaler="keda-hpa-main-triton"'
STATE_PAGE = "".join(
    f"kube_horizontalpodautoscaler_{what}{{{STATE}{more}}} {value}\n"
    for what, more, value in (
        ("status_desired_replicas", "", 3),
        ("status_current_replicas", "", 2),
        ("spec_min_replicas", "", 1),
        ("spec_max_replicas", "", 8),
        ("spec_target_metric", ',metric_name="s0-prometheus",metric_target_type="average"', 1),
    )
)


# ---- clients that count
# ------------------------------------------------------------------------------------------------
@dataclass
class Client(threading.Thread):
    """Sends one request after the other, and knows when each was answered and how long it took (s)."""

    address: str
    stop: threading.Event
    token: str = TOKEN
    pause: float = 0.0
    # Requests after which it ends; 0 for none.
    most: int = 0
    answered: list[tuple[float, float]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    # Threads are put into sets.
    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        given = triton_grpc.InferInput("INPUT0", [BATCH, 4], "FP32")
        given.set_data_from_numpy(numpy.zeros((BATCH, 4), numpy.float32))
        headers = {"authorization": bearer(self.token)}
        with triton_grpc.InferenceServerClient(self.address, channel_args=CHANNEL) as client:
            while not self.stop.is_set() and not 0 < self.most <= len(self.answered) + len(self.refused):
                begin = time.monotonic()
                try:
                    client.infer("accelerator", [given], headers=headers, client_timeout=20)
                    self.answered.append((time.time(), time.monotonic() - begin))
                except InferenceServerException:
                    self.refused.append(time.time())
                self.stop.wait(self.pause)


@dataclass
class Seen:
    """What clients have counted of the whole load; a moment in it, one when all of it was scraped, and by job when that
    was last."""

    when: float
    after: float
    scraped: dict[str, float]
    requests: int
    latency: float
    refused: int


@dataclass
class Service:
    url: str
    # When nothing had been asked yet, when the load was there, and long after it.
    fresh: float = 0.0
    loaded: Seen | None = None
    idle: float = 0.0

    @property
    def seen(self) -> Seen:
        assert self.loaded
        return self.loaded

    def ask(self, expression: str, when: float, seconds: float = 0.0) -> list[dict[str, Any]]:
        """The series of an expression, as Grafana asks: over a range, when seconds are given."""
        times = {"start": str(when - seconds), "end": str(when), "step": "5"} if seconds else {"time": str(when)}
        path = "query_range" if seconds else "query"
        query = urllib.parse.urlencode({"query": expression, **times})
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found

    def value(self, name: str, when: float) -> float:
        (series,) = self.ask(EXPRESSIONS[name], when)
        return float(series["value"][1])

    def scraped(self, since: float) -> dict[str, float]:
        """When servers and Envoys were scraped last, by job; waits until that is later than a moment."""
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            found = {
                series["metric"]["job"]: float(series["value"][1])
                for series in self.ask('timestamp(up{job=~"triton|envoy"})', time.time())
            }
            if len(found) == 2 and min(found.values()) > since:
                return found
            time.sleep(0.2)
        raise AssertionError("nothing is scraped")

    def total(self, name: str) -> dict[str, float]:
        """What a rate comes to over the whole load, by the last label: no moment of it decides, however busy this
        machine is. What comes before and after the load is nothing."""
        when = self.seen.scraped["triton" if "nv_inference" in TOTALS[name] else "envoy"]
        return {
            next(reversed(series["metric"].values()), ""): float(series["value"][1]) * SPAN
            for series in self.ask(TOTALS[name], when)
        }


def expressions(instance: str, window: int = WINDOW) -> dict[str, str]:
    """What Grafana asks, by "dashboard / panel / legend", with its variables filled in as it does."""
    files = dashboard_files(
        list(monitoring_panels.KEYS), scrape_interval=1, thresholds={"queue_ratio": 3, "queue_time": 1000}
    )
    found = {}
    for text in files.values():
        dashboard = json.loads(text)
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                expression = target["expr"].replace("$__rate_interval", f"{window}s")
                expression = expression.replace("$namespace", NAMESPACE).replace("$instance", instance)
                title = dashboard["title"].removeprefix("SuperSONIC ")
                found[f"{title} / {panel['title']} / {target['legendFormat']}"] = expression
    return found


EXPRESSIONS = expressions(NAME)
TOTALS = expressions(NAME, SPAN)
# What there can be no data for here, whatever happens, and until a client that is named has asked.
NEVER = {
    "Servers / GPUs / gpus",
    *(
        f"Servers / {title} / {{{{pod}}}} {{{{gpu_uuid}}}}"
        for title in ("GPU utilization", "GPU memory", "GPU power", "GPU power of the limit")
    ),
    "Gateway / Certificate / certificate",
}


def write_models(repository: Path) -> Path:
    """A model that is slow, and one that nobody asks."""
    for name in ("accelerator", "identity"):
        (repository / name / "1").mkdir(parents=True)
        shutil.copyfile(SOURCES / name / "model.py", repository / name / "1" / "model.py")
        text = (SOURCES / name / "config.pbtxt").read_text()
        (repository / name / "config.pbtxt").write_text(
            text.replace('string_value: "20"', f'string_value: "{SERVICE_MS}"')
        )
    assert str(SERVICE_MS) in (repository / "accelerator" / "config.pbtxt").read_text()
    return repository


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("dashboards")
    (folder / "rules.json").write_text(
        json.dumps(
            {"groups": [{"name": NAME, "interval": "1s", "rules": service_rules(NAME, NAMESPACE, scrape_interval=1)}]}
        )
    )
    cases = {"main": {"envoy_tokens": {"cms": TOKEN}, "envoy_client_limits": {"cms": {"in_flight": 100}}}}
    with contextlib.ExitStack() as stack:
        triton = Triton(write_models(folder / "models"), folder / "triton")
        stack.callback(triton.stop)
        envoy = stack.enter_context(deployed(folder, cases, [triton.grpc]))["main"]
        pages = {name: Page(text) for name, text in (("gpu", GPU_PAGE), ("keda", KEDA_PAGE), ("state", STATE_PAGE))}
        for page in pages.values():
            stack.callback(page.stop)

        def job(name: str, address: str, **labels: str) -> dict[str, Any]:
            more = {"honor_labels": True} if name == "state" else {}
            return {"job_name": name, "scrape_interval": "1s", **more,
                    "static_configs": [{"targets": [address], "labels": labels}]}  # fmt: skip

        server = Prometheus(
            program("prometheus", folder),
            folder / "server",
            {
                "rule_files": [str(folder / "rules.json")],
                "scrape_configs": [
                    job("triton", f"127.0.0.1:{triton.metrics_port}", namespace=NAMESPACE, pod=SERVER),
                    job("envoy", f"127.0.0.1:{envoy.ports['metrics']}", namespace=NAMESPACE, pod=ENVOY),
                    job("gpu", pages["gpu"].address, namespace=NAMESPACE, pod="gpu-triton-6d4b75cb6d-abcde"),
                    job("keda", pages["keda"].address, namespace="keda", pod="keda-operator-1"),
                    job("state", pages["state"].address),
                ],
            },
        )
        stack.callback(server.stop)
        found = Service(server.url)
        until(lambda: nothing(found, time.time()) == NEVER, 30, pause=1)
        found.fresh = time.time()
        found.loaded = load(found, envoy.address)
        time.sleep(WINDOW + 6)
        found.idle = time.time()
        yield found


def load(service: Service, address: str) -> Seen:
    stop = threading.Event()
    # What Envoy counts under the name of a client, or by a status, is there from the first request on only.
    first = [Client(address, stop, most=1), Client(address, stop, "who-is-this-abcdefghij", most=1)]
    for client in first:
        client.start()
    for client in first:
        client.join()
    service.scraped(time.time())
    clients = [Client(address, stop) for _number in range(CLIENTS)]
    strangers = [Client(address, stop, "who-is-this-abcdefghij", pause=0.1)]
    for client in [*clients, *strangers]:
        client.start()
    time.sleep(WINDOW + 6)
    when = time.time()
    time.sleep(2)
    stop.set()
    for client in [*clients, *strangers]:
        client.join()
    # Envoy adds up its histograms every five seconds.
    time.sleep(6)
    scraped = service.scraped(time.time())
    clients, strangers = [*clients, first[0]], [*strangers, first[1]]
    took = [seconds * 1000 for client in clients for _at, seconds in client.answered]
    assert not any(client.refused for client in clients)
    assert not any(client.answered for client in strangers)
    return Seen(
        when,
        time.time(),
        scraped,
        len(took),
        statistics.mean(took),
        sum(len(client.refused) for client in strangers),
    )


def nothing(service: Service, when: float) -> set[str]:
    """Queries without data over some seconds, as a graph asks."""
    return {name for name, expression in EXPRESSIONS.items() if not service.ask(expression, when, seconds=5)}


def test_every_query_has_data_under_load(service: Service) -> None:
    assert nothing(service, service.seen.when) == NEVER


@pytest.mark.parametrize("moment", ["fresh", "idle"])
def test_every_query_has_data_without_load(service: Service, moment: str) -> None:
    assert nothing(service, getattr(service, moment)) == NEVER


def test_values_are_finite(service: Service) -> None:
    for when in (service.fresh, service.seen.when, service.idle):
        for name, expression in EXPRESSIONS.items():
            for series in service.ask(expression, when):
                assert numpy.isfinite(float(series["value"][1])), name
                assert float(series["value"][1]) >= 0, name


def test_inferences_are_those_of_the_clients(service: Service) -> None:
    expected = service.seen.requests * BATCH
    for name in (
        "Service / Inferences per second / inferences",
        "Servers / Inferences per second by server / {{pod}}",
    ):
        (found,) = service.total(name).values()
        assert found == pytest.approx(expected, rel=CLOSE), name
    totals = service.total("Models / Inferences per second by model / {{model}}")
    assert totals.pop("accelerator") == pytest.approx(expected, rel=CLOSE)
    assert totals
    assert set(totals.values()) == {0.0}


@pytest.mark.parametrize(
    "name",
    [
        "Servers / Requests per second by server / {{pod}}",
        "Models / Requests to models / requests to models",
    ],
)
def test_requests_are_those_of_the_clients(service: Service, name: str) -> None:
    (found,) = service.total(name).values()
    assert found == pytest.approx(service.seen.requests, rel=CLOSE)


def test_a_client_that_is_named_has_its_requests(service: Service) -> None:
    totals = service.total("Gateway / Requests by client / {{envoy_virtual_cluster}}")
    assert totals.pop("cms") == pytest.approx(service.seen.requests, rel=CLOSE)
    assert set(totals.values()) <= {0.0}


def test_answers_are_those_of_all_clients(service: Service) -> None:
    seen = service.seen
    for name in ("Service / Requests / requests", "Service / Requests per second / answered"):
        (found,) = service.total(name).values()
        assert found == pytest.approx(seen.requests + seen.refused, rel=CLOSE), name
    for name in (
        "Service / Refused / refused",
        "Service / Requests per second / refused",
        "Gateway / Refused / refused",
        "Gateway / Refused by reason / no valid token",
        "Gateway / Failed and refused by status / UNAUTHENTICATED",
    ):
        (found,) = service.total(name).values()
        assert found == pytest.approx(seen.refused, rel=CLOSE), name
    others = [
        name for name in EXPRESSIONS
        if name.startswith(("Gateway / Failed and refused by status", "Gateway / Refused by reason"))
        and not name.endswith(("/ UNAUTHENTICATED", "/ no valid token"))
    ]  # fmt: skip
    assert len(others) > 10
    assert [list(service.total(name).values()) for name in others] == [[0.0]] * len(others)
    assert service.total("Service / Failed / failed") == {"": 0.0}


@pytest.mark.thorough
def test_latency_is_that_of_the_clients(service: Service) -> None:
    for name in (
        "Service / Mean latency / mean latency",
        "Service / Latency breakdown / total at the gateway",
        "Gateway / Latency at servers / servers",
    ):
        (series,) = service.ask(TOTALS[name], service.seen.after)
        # Envoy has no time of those that it refuses at once.
        assert float(series["value"][1]) == pytest.approx(service.seen.latency, rel=SEEN_LATER), name


@pytest.mark.thorough
def test_parts_of_a_latency_make_the_total(service: Service) -> None:
    parts = []
    for part in ("queue", "compute input", "compute infer", "compute output"):
        (series,) = service.ask(TOTALS[f"Service / Latency breakdown / {part}"], service.seen.after)
        parts.append(float(series["value"][1]))
    assert sum(parts) == pytest.approx(service.seen.latency, rel=SEEN_LATER)
    # One at a time: all others wait.
    assert parts[0] / sum(parts) == pytest.approx(1 - 1 / CLIENTS, abs=0.03)


@pytest.mark.thorough
def test_what_is_known_of_the_load(service: Service) -> None:
    when = service.seen.when
    assert service.value("Models / Batch size / batch size", when) == pytest.approx(BATCH, rel=0.01)
    assert service.value("Servers / Busy by server / {{pod}}", when) > 0.9
    assert service.value("Service / Requests in flight / in flight", when) == pytest.approx(CLIENTS, abs=1)
    assert service.value("Gateway / Healthy servers / healthy servers", when) == 1
    assert service.value("Service / Servers / servers", when) == 1
    assert service.value("Scaling / Servers wanted and there / wanted for requests in flight", when) > 1
    assert service.value("Scaling / Queue time / more servers above", when) == 1000


@pytest.mark.parametrize("moment", ["fresh", "idle"])
def test_what_is_known_while_idle(service: Service, moment: str) -> None:
    when = getattr(service, moment)
    for name in (
        "Service / Requests / requests",
        "Service / Mean latency / mean latency",
        "Service / Inferences per second / inferences",
        "Models / Batch size / batch size",
        "Servers / Busy by server / {{pod}}",
    ):
        assert service.value(name, when) == 0, name
    assert service.value("Service / Servers / servers", when) == 1


def test_what_others_tell_of_scaling(service: Service) -> None:
    when = service.seen.when
    assert service.value("Scaling / Triggers as KEDA reads them / {{metric}}", when) == 2.5
    assert service.value("Scaling / Triggers as KEDA reads them / threshold of {{metric_name}}", when) == 1
    assert service.value("Scaling / KEDA errors / keda errors", when) == 0
    replicas = {
        legend: service.value(f"Scaling / Replicas of the autoscaler / {legend}", when)
        for legend in ("desired", "current", "at least", "at most")
    }
    assert replicas == {"desired": 3, "current": 2, "at least": 1, "at most": 8}


def test_accelerators_are_told_where_there_are_some(service: Service) -> None:
    found = expressions("gpu")
    values = {}
    for name in NEVER - {"Gateway / Certificate / certificate"}:
        (series,) = service.ask(found[name], service.seen.when)
        values[name.split(" / ")[1]] = float(series["value"][1])
        if "gpu_uuid" in name:
            assert series["metric"] == {"pod": "gpu-triton-6d4b75cb6d-abcde", "gpu_uuid": "GPU-1"}
    assert values == {
        "GPUs": 1,
        "GPU utilization": 0.85,
        "GPU memory": 0.25,
        "GPU power": 350,
        "GPU power of the limit": 0.5,
    }


def test_variables_find_the_instance(service: Service) -> None:
    """As Grafana asks for the values of a label."""
    (text,) = dashboard_files(
        ["service"], scrape_interval=1, thresholds={"queue_ratio": 3, "queue_time": 1000}
    ).values()
    variables = {item["name"]: item for item in json.loads(text)["templating"]["list"]}
    for name, expected in (("namespace", {NAMESPACE}), ("instance", {ENVOY})):
        series, label = variables[name]["definition"].removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        query = urllib.parse.urlencode({"match[]": series.replace("$namespace", NAMESPACE)})
        with urllib.request.urlopen(f"{service.url}/api/v1/label/{label}/values?{query}", timeout=30) as answer:
            assert set(json.load(answer)["data"]) == expected
