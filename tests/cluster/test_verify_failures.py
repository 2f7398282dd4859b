# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""verify.yml finds what is wrong with an instance and says in which layer: every fault is real, on a real cluster."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.models import golden, write_golden, write_model
from ansible_collections.fastml.supersonic.tests.harness.node import signal_server
from ansible_collections.fastml.supersonic.tests.harness.playbooks import Instance, instance_inventory, run_playbook
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


@dataclass
class Proof:
    """How verify.yml has ended for one host, all that the run has said, and what the report says about each layer."""

    failed: bool
    text: str
    layers: dict[str, dict[str, Any]]

    def wrong(self) -> set[str]:
        return {layer for layer, target in self.layers.items() if target["failed"]}


def verify(instance: Instance, folder: Path, cases: Mapping[str, Mapping[str, Any]]) -> dict[str, Proof]:
    """A run of verify.yml, in which every host is the same instance, asked in another way."""
    (own,) = (instance.inventory / "host_vars").glob("*.yml")
    variables = yaml.safe_load(own.read_text())
    hosts = {case: {**variables, "verify_report": str(folder / f"{case}.json"), **more} for case, more in cases.items()}
    done = run_playbook("playbooks/verify.yml", instance_inventory(folder, hosts))
    assert set(done.recap) == set(cases), done.output
    assert done.code == (2 if any(counts["failed"] for counts in done.recap.values()) else 0), done.output
    found = {}
    for case, counts in done.recap.items():
        targets = json.loads((folder / f"{case}.json").read_text())["targets"]
        layers = {f"{target['layer']} {target['protocol']}": target for target in targets}
        found[case] = Proof(counts["failed"] > 0, done.text, layers)
    return found


@pytest.fixture(scope="module")
def proofs(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Proof]:
    """Of an instance whose servers and Envoys are well."""
    folder = tmp_path_factory.mktemp("proofs")
    write_golden(folder / "requests", golden("absent", VALUES))
    cases: dict[str, dict[str, Any]] = {
        "right": {"verify_address": instance.address()},
        "wrong": {"verify_models": ["wrong"], "verify_address": instance.address()},
        "broken": {"verify_models": ["broken"]},
        "absent": {"verify_models": ["absent"], "verify_golden_directories": [str(folder / "requests")]},
        "port": {"verify_address": closed(instance)},
    }
    return verify(instance, folder, cases)


def closed(instance: Instance) -> str:
    """An address on which nobody listens."""
    return f"{instance.address().partition(':')[0]}:1"


def test_what_is_right_passes(proofs: dict[str, Proof]) -> None:
    proof = proofs["right"]
    assert not proof.failed, proof.text
    assert set(proof.layers) == {"server grpc", "server http", "Envoy grpc", "endpoint grpc"}
    assert not proof.wrong()


def test_one_wrong_number(proofs: dict[str, Proof]) -> None:
    proof = proofs["wrong"]
    assert proof.failed
    assert "model wrong, golden request values: output OUTPUT0[2] is 3.75, expected 3.25" in proof.text
    assert proof.wrong() == set(proof.layers) == set(proofs["right"].layers)
    assert all(target["max_absolute"] == 0.5 for target in proof.layers.values())


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("broken", "model broken: it is UNAVAILABLE: Internal: RuntimeError: the weights are not there"),
        ("absent", "model absent: the server has no such model; its models are broken, right, wrong"),
    ],
)
def test_a_model_that_cannot_be_loaded_or_is_missing(proofs: dict[str, Proof], case: str, sentence: str) -> None:
    proof = proofs[case]
    assert proof.failed
    assert sentence in proof.text
    assert proof.layers
    assert proof.wrong() == set(proof.layers)


def test_a_wrong_port(proofs: dict[str, Proof], instance: Instance) -> None:
    proof = proofs["port"]
    assert proof.failed
    assert f"endpoint (address {closed(instance)}): connection refused" in proof.text
    assert proof.wrong() == {"endpoint grpc"}


def test_a_server_that_hangs(instance: Instance, tmp_path: Path) -> None:
    (uid,) = instance.pods("triton")
    signal_server(uid, signal.SIGSTOP)
    try:
        # Two health checks later.
        until(lambda: instance.healthy_servers() == [0], 60)
        proof = verify(instance, tmp_path, {"hanging": {}})["hanging"]
    finally:
        signal_server(uid, signal.SIGCONT)
        until(lambda: instance.ready("triton", 1) and instance.healthy_servers() == [1], 60)
    assert proof.failed
    for sentence in (
        "port 8001): it accepts connections but says nothing within 3 s",
        "port 8000): it accepts connections but says nothing within 3 s",
        "UNAVAILABLE: no server is ready",
    ):
        assert sentence in proof.text
    assert proof.layers
    assert proof.wrong() == set(proof.layers)
