# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Alerts fire for real: each fault is made in an instance of its own, told in seconds, and undone.

What is not made here fires in Prometheus' own unit tests of rules alone (tests/services/test_alerts.py): errors of
GPUs, of which there are none here, nor an exporter of their metrics; a claim that fills, which only kubelets tell, whom
nobody scrapes here; a proof that failed, which a node-exporter has to read; samples that are dropped for want of room,
before which Prometheus collects them for two hours.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from ansible_collections.fastml.supersonic.tests.harness.autoscaling import ScaledInstance
from ansible_collections.fastml.supersonic.tests.harness.certificates import certificate
from ansible_collections.fastml.supersonic.tests.harness.images import have_image
from ansible_collections.fastml.supersonic.tests.harness.keda import NAMESPACE, Keda
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, removed
from ansible_collections.fastml.supersonic.tests.harness.models import write_model
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import KUBECONFIG, LOCAL
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.prometheus import IMAGE
from ansible_collections.fastml.supersonic.tests.load import Endpoint
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import locked

pytestmark = [pytest.mark.alone, pytest.mark.thorough]

NAME = "alarmed"
TOKEN = "alarmed-0123456789abcdefghij"
# One request at a time, so that sixteen clients wait for six seconds each: far beyond what is promised, even where the
# machine is busy.
SLOW, SLOW_S, CLIENTS = "slow", 0.4, 16
# What it rightly says of a machine that many tests share. That these are silent otherwise is tried on made series
# (tests/services/test_alerts.py).
BUSY = {"SupersonicQueueLong", "SupersonicNoCapacityLeft", "SupersonicLatencyBudgetBurns"}
# Minutes are seconds.
WATCHED: dict[str, Any] = {
    "prometheus_alert_patience": 0.02,
    "prometheus_evaluation_interval": 2,
    "prometheus_runbook_url": "https://example.org/runbook",
}


class Alarmed(ScaledInstance):
    """An instance, what fires of it, and clients."""

    def look(self) -> dict[str, Any]:
        result = run_module(
            "prometheus_query_info",
            {
                "kubeconfig": str(KUBECONFIG),
                "url": f"http://{NAME}-prometheus.{self.namespace}.svc.cluster.local:9090",
                "instance": {"name": NAME, "namespace": self.namespace, "rules": True},
            },
        )
        assert "alerts" in result, result
        return result

    def firing(self) -> dict[str, dict[str, Any]]:
        return {alert["name"]: alert for alert in self.look()["alerts"] if alert["state"] == "firing"}

    def jobs(self) -> set[tuple[str, str]]:
        """What fires, and the job that it is about."""
        alerts = self.look()["alerts"]
        return {(alert["name"], alert["labels"].get("job", "")) for alert in alerts if alert["state"] == "firing"}

    def fires(self, *names: str, seconds: float = 60) -> dict[str, dict[str, Any]]:
        """Wait until these fire."""
        found: dict[str, dict[str, Any]] = until(lambda: (now := self.firing()).keys() >= set(names) and now, seconds)
        return found

    def quiet(self, seconds: float = 90) -> None:
        """Wait until nothing fires any more."""
        until(self.silent, seconds)

    def silent(self) -> bool:
        return self.firing().keys() <= BUSY

    def ask(self, count: int, token: str = TOKEN, model: str = "identity") -> set[str]:
        """So many requests, a few at a time; how they ended."""
        address = self.address()

        def one(_number: int) -> str:
            with Endpoint(address).client() as client:
                return ended(client, token, model)

        with ThreadPoolExecutor(4) as pool:
            return set(pool.map(one, range(count)))

    @contextlib.contextmanager
    def busy(self, model: str) -> Iterator[None]:
        """Clients, each of which sends one request after the other, and every one of them is answered."""
        stop, address = threading.Event(), self.address()

        def one(_number: int) -> set[str]:
            found = set()
            with Endpoint(address).client() as client:
                while not stop.is_set():
                    found.add(ended(client, TOKEN, model))
            return found

        with ThreadPoolExecutor(CLIENTS) as pool:
            asking = pool.map(one, range(CLIENTS))
            try:
                yield
            finally:
                stop.set()
        assert set().union(*asking) == {"OK"}

    def deployment(self, part: str) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{NAME}-{part}"

    def replicas_of(self, part: str, count: int) -> None:
        self.cluster.patch(self.deployment(part), {"spec": {"replicas": count}})


def ended(client: triton.InferenceServerClient, token: str, model: str) -> str:
    """How a request has ended."""
    given = triton.InferInput("INPUT0", [1, 4], "FP32")
    given.set_data_from_numpy(numpy.array([[1, 2, 3, 4]], dtype=numpy.float32))
    try:
        client.infer(model, [given], headers={"authorization": f"Bearer {token}"}, client_timeout=20)
    except InferenceServerException as exc:
        return str(exc.status())
    return "OK"


@pytest.fixture(scope="module")
def alarmed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alarmed]:
    with locked(LOCAL / "images.lock"):
        have_image(cluster, IMAGE, "prometheus-local")
    folder = tmp_path_factory.mktemp("alarmed")
    shutil.copytree(LOCAL / "models" / "identity", folder / "models" / "identity")
    write_model(folder / "models", "broken", initialize="raise ValueError('weights are missing')")
    write_model(folder / "models", SLOW, execute=f"time.sleep({SLOW_S})", max_batch_size=1)
    variables = {
        "supersonic_components": ["prometheus"],
        "envoy_tokens": {"cms": TOKEN},
        "verify_token": TOKEN,
        "model_repository_sources": [str(folder / "models")],
        "model_repository_test_load": False,
        "triton_model_control_mode": "explicit",
        "triton_load_models": ["*"],
        "triton_open_model_control": True,
        "prometheus_image": "docker.io/fastml/prometheus-local:3.13.5",
        "prometheus_persistent": False,
        "prometheus_resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "prometheus_termination_grace": 1,
        **WATCHED,
    }
    instance = Alarmed(cluster, folder, NAME, variables)
    try:
        instance.site("--skip-tags", "verify")
        yield instance
    finally:
        instance.remove()


def test_an_instance_that_is_well_is_silent(alarmed: Alarmed) -> None:
    assert alarmed.ask(8) == {"OK"}
    alarmed.quiet()
    found = alarmed.look()
    assert not found["failed"], found
    assert found["rules"]["problems"] == []
    assert {group["name"]: bool(group["alerting"]) for group in found["rules"]["groups"]} == {
        f"supersonic-{NAME}": False, f"supersonic-{NAME}-alerts": True
    }  # fmt: skip
    assert all(group["evaluated_ago"] < 10 for group in found["rules"]["groups"])
    begin = time.monotonic()
    while time.monotonic() < begin + 15:
        assert alarmed.silent(), alarmed.firing()
        time.sleep(1)


def test_the_proof_asks_prometheus(alarmed: Alarmed, tmp_path: Path) -> None:
    told = tmp_path / "proof.prom"
    done = alarmed.run("playbooks/verify.yml", verify_metrics_file=str(told))
    assert done.code == 0, done.output
    labels = f'{{namespace="{alarmed.namespace}",supersonic="{NAME}"}}'
    assert f"supersonic_verification_success{labels} 1\n" in told.read_text()
    assert "Prometheus scrapes 2 targets, 0 do not answer" in done.text
    broken = alarmed.run("playbooks/verify.yml", verify_prometheus="always", verify_wait_timeout=1,
                         supersonic_prometheus_url="http://nothing.nowhere.svc:9090")  # fmt: skip
    assert broken.code != 0
    assert "Prometheus (Service nowhere/nothing port 9090) cannot be reached" in broken.text


def test_clients_that_are_refused(alarmed: Alarmed) -> None:
    def told() -> dict[str, dict[str, Any]] | None:
        # Again and again: of a status that is new the first count, however high, is no rate.
        assert alarmed.ask(20, token="a-token-that-nobody-was-given") == {"StatusCode.UNAUTHENTICATED"}
        now = alarmed.firing()
        return now if "SupersonicRejections" in now else None

    found: dict[str, dict[str, Any]] = until(told, 60)
    alert = found["SupersonicRejections"]
    assert alert["severity"] == "warning"
    assert alert["summary"] == f"{alarmed.namespace}/{NAME}: many requests are refused"
    assert "of the requests are refused; up to 10 % is usual." in alert["description"]
    assert alert["runbook_url"] == "https://example.org/runbook#supersonicrejections"
    assert alert["since"].startswith("20")
    # Whoever may not come in is no failure of the service.
    assert not found.keys() & {"SupersonicErrors", "SupersonicErrorBudgetBurns"}
    alarmed.quiet()


def test_a_pool_scaled_to_nothing_under_requests(alarmed: Alarmed) -> None:
    alarmed.replicas_of("triton", 0)
    try:
        until(lambda: alarmed.ready("triton", 0), 60)
        until(lambda: alarmed.ask(20) == {"StatusCode.UNAVAILABLE"}, 30)

        def told() -> bool:
            alarmed.ask(20)
            wanted = ("PoolDown", "NoServerForRequests", "Errors", "ErrorBudgetBurns")
            return alarmed.firing().keys() >= {f"Supersonic{name}" for name in wanted}

        until(told, 60)
        assert "SupersonicEndpointDown" not in alarmed.firing()
    finally:
        alarmed.replicas_of("triton", 1)
    until(lambda: alarmed.ready("triton", 1), 90)
    until(lambda: alarmed.ask(4) == {"OK"}, 30)


def test_a_server_that_does_not_start(alarmed: Alarmed) -> None:
    """Beside the one that serves, as in a rollout of what cannot run."""
    (server,) = alarmed.cluster.there(alarmed.deployment("triton"))["spec"]["template"]["spec"]["containers"]

    def start(command: list[str], arguments: list[str]) -> None:
        container = {"name": server["name"], "command": command, "args": arguments}
        change = {"spec": {"template": {"spec": {"containers": [container]}}}}
        alarmed.cluster.patch(alarmed.deployment("triton"), change, kind="strategic-merge")

    # Process 1 only ends by signals that it takes.
    start(["bash", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"], [])
    try:
        alert = alarmed.fires("SupersonicTargetDown", seconds=90)["SupersonicTargetDown"]
        assert alert["labels"]["pod"].startswith(f"{NAME}-triton-")
        assert "SupersonicPoolDown" not in alarmed.firing()
    finally:
        start(server["command"], server["args"])
    until(lambda: alarmed.ready("triton", 1), 90)
    until(lambda: "SupersonicTargetDown" not in alarmed.firing(), 30)


def test_the_endpoint_is_gone(alarmed: Alarmed) -> None:
    alarmed.replicas_of("envoy", 0)
    try:
        alert = alarmed.fires("SupersonicEndpointDown")["SupersonicEndpointDown"]
        assert alert["severity"] == "critical"
    finally:
        alarmed.replicas_of("envoy", 1)
    until(lambda: alarmed.ready("envoy", 1), 60)
    until(lambda: "SupersonicEndpointDown" not in alarmed.firing(), 60)


def test_servers_with_different_models(alarmed: Alarmed) -> None:
    alarmed.replicas_of("triton", 2)
    until(lambda: alarmed.ready("triton", 2), 90)
    first, *_others = (pod["metadata"]["name"] for pod in alarmed.pods("triton").values())
    server = f"/api/v1/namespaces/{alarmed.namespace}/pods/{first}:8000/proxy/v2/repository/models/identity"
    alarmed.cluster.api.call("POST", f"{server}/unload", "unload a model", body={})
    try:
        alert = alarmed.fires("SupersonicServersDisagree", seconds=90)["SupersonicServersDisagree"]
        assert "1 times a server lacks a model" in alert["description"]
    finally:
        # Either of them may be the one that stays.
        alarmed.cluster.api.call("POST", f"{server}/load", "load a model", body={})
        alarmed.replicas_of("triton", 1)
    until(lambda: alarmed.ready("triton", 1), 60)


def test_more_requests_than_a_server_can_take(alarmed: Alarmed) -> None:
    # What is refused waits nowhere.
    assert alarmed.ask(1, model=SLOW) == {"OK"}
    with alarmed.busy(SLOW):
        found = alarmed.fires(
            "SupersonicQueueLong", "SupersonicNoCapacityLeft", "SupersonicLatencyBudgetBurns", seconds=120
        )
    (wait,) = re.findall(r"They wait (\d+) ms on average; 500 ms", found["SupersonicQueueLong"]["description"])
    assert int(wait) > 500
    (more,) = re.findall(r"They want ([\d.]+) times the servers", found["SupersonicNoCapacityLeft"]["description"])
    assert float(more) > 2
    assert "take more than 2500 ms" in found["SupersonicLatencyBudgetBurns"]["description"]
    # Whoever waits is answered all the same.
    assert not found.keys() & {"SupersonicErrors", "SupersonicPoolDown"}


def test_a_scaler_that_cannot_read_its_metric(alarmed: Alarmed, keda: Keda) -> None:
    assert keda.sound()
    done = alarmed.run(
        "site.yml", "--tags", "prometheus", "--skip-tags", "verify",
        prometheus_keda_targets=[f"keda-operator.{NAMESPACE}:8080"],
    )  # fmt: skip
    assert done.code == 0, done.output
    trigger = {
        "type": "prometheus",
        "metadata": {"serverAddress": "http://nobody.nowhere.svc:9090", "query": "vector(1)", "threshold": "1"},
    }
    scaled = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": f"{NAME}-triton"},
        "spec": {
            "scaleTargetRef": {"name": f"{NAME}-triton"},
            "pollingInterval": 2,
            "minReplicaCount": 1,
            "maxReplicaCount": 2,
            "triggers": [trigger],
        },
    }
    alarmed.cluster.create(alarmed.scaled_object.rpartition("/")[0], scaled)
    with removed(alarmed.cluster, alarmed.scaled_object):
        # With little patience it also fires until the new Prometheus has first asked KEDA.
        alert = until(
            lambda: (
                (now := alarmed.firing().get("SupersonicScalerBlind")) and "questions" in now["description"] and now
            ),
            120,
        )
        assert "questions of KEDA had no answer" in alert["description"]


def test_what_an_instance_is_told_to_have_and_has_not(alarmed: Alarmed) -> None:
    """A model that can be loaded, a certificate that lasts, keys of an issuer, room for samples, metrics of GPUs."""
    made = certificate("localhost", days=5)
    (alarmed.inventory.parent / "authority.pem").write_text(made.pem)
    # It answers, and has no keys.
    keys = f"http://{NAME}-prometheus.{alarmed.namespace}.svc.cluster.local:9090/api/v1/nothing"
    issuer = {"issuer": "https://issuer.example.org", "audiences": ["supersonic"], "jwks_uri": keys, "insecure": True}
    done = alarmed.run(
        "site.yml", "--tags", "envoy,prometheus", "--skip-tags", "verify",
        prometheus_models=["identity", "broken"],
        # Less than a log that has just begun.
        prometheus_retention_size="10KB",
        # Nobody has an address of documentation.
        prometheus_dcgm_targets=["192.0.2.1:9400"],
        envoy_jwt_issuers=[issuer],
        envoy_tls_certificate=made.pem, envoy_tls_private_key=made.key_pem,
        verify_envoy_tls={"server_name": "localhost", "ca_cert": str(alarmed.inventory.parent / "authority.pem")},
    )  # fmt: skip
    assert done.code == 0, done.output
    parts = ("ModelNotLoaded", "CertificateExpires", "TokenKeysUnknown", "MetricsVolumeFills")
    found = alarmed.fires(*(f"Supersonic{part}" for part in parts), seconds=120)
    assert found["SupersonicModelNotLoaded"]["labels"]["model"] == "broken"
    assert found["SupersonicCertificateExpires"]["severity"] == "warning"
    assert "It is good for 4 more days" in found["SupersonicCertificateExpires"]["description"]
    assert found["SupersonicTokenKeysUnknown"]["labels"]["envoy_cluster_name"] == "jwks_0"
    assert "more than is to be kept" in found["SupersonicMetricsVolumeFills"]["description"]
    until(lambda: ("SupersonicTargetDown", "dcgm") in alarmed.jobs(), 120)
