# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""verify.yml finds what is wrong with an instance and says in which layer: every fault is real, on a real cluster."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.models import golden, write_golden, write_model
from ansible_collections.fastml.supersonic.tests.harness.node import signal_server
from ansible_collections.fastml.supersonic.tests.harness.playbooks import Instance, Run
from ansible_collections.fastml.supersonic.tests.harness.processes import until

VALUES = [1.0, -2.5, 3.25, 4.0]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is right, one with a wrong number in its output, and one that cannot be loaded."""
    folder = tmp_path_factory.mktemp("verify") / "models"
    write_model(folder, "right")
    write_model(folder, "wrong", execute="value = value.copy(); value[2] += 0.5")
    write_model(folder, "broken", initialize="raise RuntimeError('the weights are not there')")
    for model in ("right", "wrong", "broken"):
        write_golden(folder, golden(model, VALUES))
    return folder


@pytest.fixture(scope="module")
def instance(cluster: Cluster, models: Path) -> Iterator[Instance]:
    variables = {
        "model_repository_sources": [str(models)],
        "verify_models": ["right"],
        "verify_server_protocols": ["grpc", "http"],
        "verify_wait_timeout": 2,
        "verify_timeout": 3,
    }
    instance = Instance(cluster, models.parent, "verify", variables)
    try:
        instance.site("--skip-tags", "verify")
        yield instance
    finally:
        instance.remove()


def verify(instance: Instance, **variables: Any) -> tuple[Run, dict[str, dict[str, Any]]]:
    """A run of verify.yml, and what its report says about each layer."""
    report = instance.inventory.parent / f"{instance.name}.json"
    report.unlink(missing_ok=True)
    run = instance.run("playbooks/verify.yml", **variables)
    targets = json.loads(report.read_text())["targets"]
    return run, {f"{target['layer']} {target['protocol']}": target for target in targets}


def refused(instance: Instance, *sentences: str, **variables: Any) -> dict[str, dict[str, Any]]:
    """verify.yml fails and says all this; returns what the report says about each layer."""
    run, layers = verify(instance, **variables)
    assert run.code == 2, run.output
    for sentence in sentences:
        assert sentence in run.text, run.output
    return layers


def failed(layers: dict[str, dict[str, Any]]) -> set[str]:
    return {layer for layer, target in layers.items() if target["failed"]}


def test_what_is_right_passes(instance: Instance) -> None:
    run, layers = verify(instance, verify_address=instance.address())
    assert run.code == 0, run.output
    assert set(layers) == {"server grpc", "server http", "Envoy grpc", "endpoint grpc"}
    assert not failed(layers)


def test_one_wrong_number(instance: Instance) -> None:
    layers = refused(
        instance,
        "model wrong, golden request values: output OUTPUT0[2] is 3.75, expected 3.25",
        verify_models=["wrong"],
        verify_address=instance.address(),
    )
    assert failed(layers) == set(layers)
    assert all(target["max_absolute"] == 0.5 for target in layers.values())


def test_a_model_that_cannot_be_loaded(instance: Instance) -> None:
    sentence = "model broken: it is UNAVAILABLE: Internal: RuntimeError: the weights are not there"
    layers = refused(instance, sentence, verify_models=["broken"])
    assert failed(layers) == set(layers)


def test_a_model_that_is_missing(instance: Instance, tmp_path: Path) -> None:
    write_golden(tmp_path, golden("absent", VALUES))
    layers = refused(
        instance,
        "model absent: the server has no such model; its models are broken, right, wrong",
        verify_models=["absent"],
        verify_golden_directories=[str(tmp_path)],
    )
    assert failed(layers) == set(layers)


def test_a_server_that_hangs(instance: Instance) -> None:
    (uid,) = instance.pods("triton")
    signal_server(uid, signal.SIGSTOP)
    try:
        # Two health checks later.
        until(lambda: instance.healthy_servers() == [0], 60)
        layers = refused(
            instance,
            "port 8001): it accepts connections but says nothing within 3 s",
            "port 8000): it accepts connections but says nothing within 3 s",
            "UNAVAILABLE: no server is ready",
        )
    finally:
        signal_server(uid, signal.SIGCONT)
        until(lambda: verify(instance)[0].code == 0)
    assert failed(layers) == set(layers)


def test_a_wrong_port(instance: Instance) -> None:
    address = f"{instance.address().partition(':')[0]}:1"
    layers = refused(instance, f"endpoint (address {address}): connection refused", verify_address=address)
    assert failed(layers) == {"endpoint grpc"}
