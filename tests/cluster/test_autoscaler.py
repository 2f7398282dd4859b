# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pool that follows demand, with the real KEDA and Prometheus.

SUPERSONIC_OUTAGE (30) says for how many seconds Prometheus is away, SUPERSONIC_SCALE_DOWNS (2) how often servers go
under load.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import pytest
import tritonclient.grpc as triton

from ansible_collections.fastml.supersonic.tests.harness.autoscaling import PROMETHEUS, QUICK, ScaledInstance, held
from ansible_collections.fastml.supersonic.tests.harness.keda import Keda
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.playbooks import LOCAL
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.load import Endpoint

OUTAGE_S = float(os.environ.get("SUPERSONIC_OUTAGE", "30"))
SCALE_DOWNS = int(os.environ.get("SUPERSONIC_SCALE_DOWNS", "2"))
# Seconds that requests wait for a server, and how long it takes at most until the first one is answered.
SERVER_WAIT_S = 90
FROM_ZERO_S = 45
# Far more than three servers take: where the machine has no time for some of them the others are still enough.
CLIENTS = 12
ZERO: dict[str, Any] = {"autoscaler_min_replicas": 0, "autoscaler_cooldown": 10}
# From the burst to all servers that it takes, and from its end to one, on a machine that others use.
UP_S, DOWN_S = 90, 150


def deployed(cluster: Cluster, folder: Path, name: str, **more: Any) -> ScaledInstance:
    """An instance that is not deployed yet, with one server."""
    for model in ("identity", "accelerator"):
        shutil.copytree(LOCAL / "models" / model, folder / "models" / model)
    variables = {
        "model_repository_sources": [str(folder / "models")],
        "model_repository_test_load": False,
        "envoy_server_wait": SERVER_WAIT_S,
        # Those that go answer what they have.
        "triton_drain_wait": 8,
        "triton_exit_timeout": 5,
        **more,
    }
    return ScaledInstance(cluster, folder, name, variables)


@pytest.fixture
def sleeping(cluster: Cluster, keda: Keda, tmp_path: Path) -> Iterator[ScaledInstance]:
    """One that site.yml has deployed with all that scales it, and that has no server until it is asked."""
    assert keda.sound()
    scaling = {"supersonic_components": ["prometheus", "autoscaler"], "prometheus_keda_targets": []}
    instance = deployed(cluster, tmp_path, "sleeping", **scaling, **PROMETHEUS, **QUICK, **ZERO)
    try:
        instance.site("--skip-tags", "verify")
        yield instance
    finally:
        instance.remove()


@pytest.fixture(scope="module")
def service(cluster: Cluster, keda: Keda, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScaledInstance]:
    """An instance with one server, watched, and not yet scaled."""
    assert keda.sound()
    instance = deployed(cluster, tmp_path_factory.mktemp("scaled"), "scaled")
    try:
        instance.site("--skip-tags", "verify")
        instance.start_prometheus()
        yield instance
    finally:
        instance.remove()


@pytest.fixture
def unscaled(service: ScaledInstance) -> ScaledInstance:
    """The same, which nothing scales, whatever a test before has done."""
    if service.cluster.get(service.scaled_object):
        done = service.autoscaler(autoscaler_state="absent")
        assert done.code == 0, done.output
    return service


@pytest.fixture
def scaled(service: ScaledInstance) -> ScaledInstance:
    """The same, scaled from 1 to 3, with one server."""
    service.scale()
    until(lambda: service.ready("triton", 1), 90)
    return service


def ask_patiently(service: ScaledInstance) -> float:
    """One request by one client that does not ask twice; when it was answered."""
    values = numpy.array([[1, 2, 3, 4]], dtype=numpy.float32)
    given = triton.InferInput("INPUT0", [1, 4], "FP32")
    given.set_data_from_numpy(values)
    with Endpoint(service.address()).client() as client:
        answer = client.infer("identity", [given], client_timeout=SERVER_WAIT_S).as_numpy("OUTPUT0")
    assert numpy.array_equal(answer, values)
    return time.monotonic()


def table(text: str) -> dict[str, float]:
    """The values that the role shows, by trigger."""
    return {name: float(value) for name, value in re.findall(r"(\w+): ([0-9.e+-]+), (?:which|more)", text)}


def test_from_zero_up_with_demand_and_down_again(sleeping: ScaledInstance, tmp_path: Path) -> None:
    until(lambda: sleeping.ready("triton", 0), 120)
    # Nobody has to ask twice.
    with ThreadPoolExecutor() as pool:
        for request in [pool.submit(ask_patiently, sleeping) for _number in range(5)]:
            request.result()
    with sleeping.load(tmp_path, clients=CLIENTS) as seen:
        until(lambda: sleeping.replicas() == 3 and sleeping.ready_servers() == 3, UP_S)
        # A run of site.yml leaves the number, and tells what is asked for: a server takes 1.65 requests.
        again = sleeping.site("--skip-tags", "verify")
        assert again.changed(sleeping.name) == 0, again.output
        assert sleeping.replicas() == 3
        answers = table(again.text)
        assert 0 < answers["servers_wanted"] < CLIENTS / 1.65 + 0.5, answers
    assert (seen["failed"], seen["wrong"]) == (0, 0), seen["errors"]
    until(lambda: sleeping.replicas() == 0, DOWN_S)


# ---- the same at leisure, and what goes wrong ------------------------------------------------------------------------
@pytest.mark.thorough
def test_a_query_that_cannot_be_used_is_refused(unscaled: ScaledInstance) -> None:
    for query, said in (
        ("sum(rate(", r"broken"),
        ("sum(no_such_series)", r"broken: no value, so that KEDA could not scale by it \(broken: no data\)"),
        ("envoy_cluster_membership_total", r"broken: \d+ series, of which KEDA takes none"),
    ):
        trigger = {"name": "broken", "query": query, "threshold": 1}
        done = unscaled.autoscaler(autoscaler_triggers=[trigger], autoscaler_wait_timeout=5)
        assert done.code == 2, done.output
        assert re.search(said, done.text), done.output
    done = unscaled.autoscaler(autoscaler_window=7)
    assert "autoscaler_window is 7, but this Prometheus scrapes the instance every 2.0 s" in done.text, done.output
    assert "set it to 8 or more" in done.text
    assert unscaled.cluster.get(unscaled.scaled_object) is None


@pytest.mark.thorough
def test_what_check_mode_says_before_the_first_run(unscaled: ScaledInstance) -> None:
    done = unscaled.autoscaler("--check", "--diff")
    assert done.code == 0, done.output
    assert unscaled.cluster.get(unscaled.scaled_object) is None


@pytest.mark.thorough
def test_the_number_of_servers_is_nobody_elses(unscaled: ScaledInstance) -> None:
    """The first run leaves it, runs of site.yml leave it, and so does the end of the autoscaler."""
    unscaled.site("--tags", "triton", "--skip-tags", "verify", triton_replicas=2)
    try:
        # So that two stay wanted.
        pausing = {"autoscaler_paused": True, "autoscaler_paused_replicas": 2}
        done = unscaled.scale(**pausing)
        triggers = {"servers_wanted", "servers_held", "servers_busy_floor", "queue_ratio"}
        assert set(table(done.text)) == triggers, done.output
        # The others hold what is there until more is known.
        assert {name: table(done.text)[name] for name in ("servers_wanted", "queue_ratio")} == {
            "servers_wanted": 0, "queue_ratio": 0
        }, done.output  # fmt: skip
        assert unscaled.replicas() == 2
        again = unscaled.autoscaler("--diff", **pausing)
        assert again.changed(unscaled.name) == 0, again.output
        unscaled.cluster.patch(unscaled.scaled_object, {
            "metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": "3"}}
        }, manager="fastml.supersonic")  # fmt: skip
        until(lambda: unscaled.replicas() == 3, 60)
        until(lambda: unscaled.ready("triton", 3), 90)
        again = unscaled.site("--skip-tags", "verify", triton_replicas=2)
        assert again.changed(unscaled.name) == 0, again.output
        assert unscaled.replicas() == 3
        done = unscaled.autoscaler(autoscaler_state="absent")
        assert done.code == 0, done.output
        assert unscaled.cluster.get(unscaled.scaled_object) is None
        held(lambda: unscaled.replicas() == 3, 5)
        # From now on the inventory's number counts again.
        unscaled.site("--tags", "triton", "--skip-tags", "verify", triton_replicas=1)
        assert unscaled.replicas() == 1
    finally:
        unscaled.autoscaler(autoscaler_state="absent")
        unscaled.site("--tags", "triton", "--skip-tags", "verify", triton_replicas=1)


@pytest.mark.alone
@pytest.mark.thorough
def test_follows_demand_and_stands_outages(scaled: ScaledInstance, tmp_path: Path) -> None:
    with scaled.load(tmp_path, clients=CLIENTS) as seen:
        began = time.monotonic()
        until(lambda: scaled.replicas() == 3, UP_S)
        wanted = time.monotonic() - began
        until(lambda: scaled.ready_servers() == 3, UP_S)
        ready = time.monotonic() - began
        # A run of site.yml meanwhile.
        again = scaled.site("--skip-tags", "verify")
        assert again.changed(scaled.name) == 0, again.output
        assert scaled.replicas() == 3
        answers = table(scaled.scale().text)
        # A server takes 1.65 requests.
        assert 0 < answers["servers_wanted"] < CLIENTS / 1.65 + 0.5, answers
        # Prometheus goes, and comes back without what it knew.
        scaled.watched(False)
        held(lambda: scaled.replicas() == 3, OUTAGE_S)
        scaled.watched(True)
        held(lambda: scaled.replicas() == 3, 45)
    ended = time.monotonic()
    assert (seen["failed"], seen["wrong"]) == (0, 0), seen["errors"]
    until(lambda: scaled.replicas() == 1, DOWN_S)
    print(json.dumps({"wanted_s": wanted, "ready_s": ready, "down_s": time.monotonic() - ended, **seen}))


@pytest.mark.thorough
def test_no_request_is_lost_by_servers_that_go(scaled: ScaledInstance, tmp_path: Path) -> None:
    """As often as is asked for; KEDA takes them away while all of them are at work."""
    with scaled.load(tmp_path, clients=4, seconds=60 + 90 * SCALE_DOWNS) as seen:
        for _number in range(SCALE_DOWNS):
            for number in (3, 1):
                pause(scaled, number)
                until(lambda wanted=number: scaled.replicas() == wanted, 60)
                until(lambda wanted=number: scaled.ready("triton", wanted), 120)
    pause(scaled, None)
    assert (seen["failed"], seen["wrong"]) == (0, 0), seen["errors"]
    print(json.dumps(seen))


def pause(service: ScaledInstance, number: int | None) -> None:
    value = None if number is None else str(number)
    annotations = {"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": value}}}
    service.cluster.patch(service.scaled_object, annotations)


@pytest.mark.alone
@pytest.mark.thorough
def test_from_zero(service: ScaledInstance) -> None:
    service.scale(**ZERO)
    until(lambda: service.replicas() == 0, 90)
    until(lambda: service.ready("triton", 0), 60)
    # A second run, and one of site.yml, find nothing to do and nothing wrong.
    assert service.autoscaler(**ZERO).changed(service.name) == 0
    assert service.site("--skip-tags", "verify").changed(service.name) == 0
    assert service.replicas() == 0

    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        requests = [pool.submit(ask_patiently, service) for _number in range(5)]
        answered = [request.result() for request in requests]
    first = min(answered) - began
    assert first < FROM_ZERO_S
    print(json.dumps({"from_zero_s": first, "last_s": max(answered) - began}))

    # The proof wakes it by its own requests, and waits.
    until(lambda: service.replicas() == 0, 120)
    until(lambda: service.ready("triton", 0), 60)
    done = service.run("playbooks/verify.yml", verify_models=["identity"])
    assert done.code == 0, done.output
    assert service.replicas() >= 1


@pytest.mark.thorough
def test_teardown_says_what_is_left_and_how_it_goes(service: ScaledInstance) -> None:
    """The last one, since nothing is there afterwards."""
    service.start_prometheus(prometheus_persistent=True, prometheus_size="64Mi", prometheus_retention_size="32MB")
    service.scale()
    claims = f"/api/v1/namespaces/{service.namespace}/persistentvolumeclaims"
    recorded = f"{service.name}-prometheus"
    done = service.run("playbooks/teardown.yml", teardown_models=True)
    assert done.code == 0, done.output
    assert (
        f"What Prometheus has recorded in the claim {recorded} in the namespace {service.namespace} is left: "
        "-e '{\"teardown_metrics\": true}' removes it."
    ) in done.text
    assert service.cluster.get(service.scaled_object) is None
    assert [claim["metadata"]["name"] for claim in service.cluster.api.list(claims, "claims")] == [recorded]
    done = service.run("playbooks/teardown.yml", teardown_models=True, teardown_metrics=True)
    assert done.code == 0, done.output
    assert f"Nothing of {service.name} is left." in done.text
    assert service.cluster.get(f"/api/v1/namespaces/{service.namespace}") is None
