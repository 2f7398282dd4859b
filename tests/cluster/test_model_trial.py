# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A release that is no better than it should be never gets to the servers of a real instance."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.environment import for_python
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.models import golden, write_golden, write_model
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import Instance
from ansible_collections.fastml.supersonic.tests.harness.processes import until

TRIALS = "supersonic.fastml.org/test-load"


class Shop(Instance):
    """A small instance that serves one model, echo, which its source may change."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.source = folder / "source"
        self.write("pass")
        variables = {"model_repository_sources": [str(self.source)], "verify_golden_directories": [str(self.source)]}
        super().__init__(cluster, folder, "trial", variables)

    def write(self, execute: str, **options: Any) -> None:
        for path in sorted(self.source.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        write_model(self.source, "echo", execute=execute, **options)
        write_golden(self.source, golden("echo", [1.0, 2.5]))

    @property
    def store(self) -> dict[str, str]:
        return {"type": "pvc", "namespace": self.namespace, "claim": f"{self.name}-models"}

    def module(self, name: str, **options: Any) -> dict[str, Any]:
        return run_module(name, {"store": self.store, "kubeconfig": self.cluster.kubeconfig, **options})

    def options(self, **canary: Any) -> dict[str, Any]:
        """To publish as the role does, with one server that serves with the others first."""
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.name}-triton"
        template = self.cluster.there(path)["spec"]["template"]
        return {
            "store": self.store,
            "kubeconfig": self.cluster.kubeconfig,
            "source": [str(self.source)],
            "pod": {"image": template["spec"]["containers"][0]["image"]},
            "test_load": {"pod_template": template, "timeout": 120},
            "canary": {"instance": self.name, "seconds": 1, "samples": 10, **canary},
        }

    def publish(self, **canary: Any) -> dict[str, Any]:
        return run_module("model_repository", self.options(**canary))

    def served(self) -> str:
        """The release that the store serves; nothing of another one is left, and no server on trial."""
        found = self.module("model_repository_info")
        until(lambda: not self.trials(), 60)
        return str(found["current"])

    def trials(self) -> list[dict[str, Any]]:
        """Servers on trial."""
        pods = f"/api/v1/namespaces/{self.namespace}/pods"
        return self.cluster.api.list(pods, "servers on trial", {"labelSelector": TRIALS})


@pytest.fixture(scope="module")
def shop(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = Shop(cluster, tmp_path_factory.mktemp("trial"))
    try:
        made.site()
        yield made
    finally:
        made.remove()


def test_a_release_that_does_not_load(shop: Shop) -> None:
    first, servers = shop.served(), set(shop.pods("triton"))
    shop.write("pass", initialize="raise ValueError('weights are missing')")
    done = shop.run("playbooks/models.yml", models_action="publish")
    assert done.code != 0
    assert "did not pass its test load; the store serves what it served before." in done.text
    assert "weights are missing" in done.text
    assert shop.served() == first
    assert set(shop.pods("triton")) == servers


@pytest.mark.alone
@pytest.mark.thorough
def test_a_release_that_is_slow(shop: Shop) -> None:
    first = shop.served()
    shop.write("time.sleep(0.03)")
    result = shop.publish()
    assert result["failed"], result
    assert "A server with it did worse than the others: model echo takes " in result["msg"]
    assert "times as long as on the others" in result["msg"]
    assert "passed its test load, but not its canary; the store serves what it served before." in result["msg"]
    assert "Compared by golden requests (1, each sent 10 times to it and to another); users sent it" in result["msg"]
    assert shop.served() == first
    # Whoever wants it gets it.
    accepted = shop.publish(latency_ratio=1000)
    assert not accepted["failed"], accepted
    (model,) = accepted["test_load"]["canary"]["models"]
    assert model["model"] == "echo"
    assert model["golden"]["requests"] == model["golden"]["old_requests"] == 10
    assert model["golden"]["latency_ratio"] > 1.5
    # The same answers as before.
    assert model["deviation"]["value"] == 0
    assert model["differences"] == []
    assert shop.served() == accepted["release"] != first


@pytest.mark.thorough
def test_killed_while_a_server_tries_it(shop: Shop) -> None:
    first, servers = shop.served(), set(shop.pods("triton"))
    shop.write("value = value - 0", initialize="time.sleep(120)")
    program = "import json, sys; from ansible_collections.fastml.supersonic.tests.harness.modules import run_module; "
    program += "run_module('model_repository', json.loads(sys.argv[1]))"
    environment = for_python()
    with subprocess.Popen([sys.executable, "-c", program, json.dumps(shop.options())], env=environment) as module:
        until(shop.trials, 60)
        module.kill()
    # Its helper pod goes with it, or the next publication would wait a minute for its lock.
    pods = f"/api/v1/namespaces/{shop.namespace}/pods"
    for pod in shop.cluster.api.list(pods, "helpers", {"labelSelector": "supersonic.fastml.org/claim"}):
        shop.cluster.api.delete(f"{pods}/{pod['metadata']['name']}", "helper", propagation="Background")
    assert set(shop.pods("triton")) == servers
    # The next one clears up, its own server included.
    shop.write("value = value - 0")
    # Which of two is quicker is chance.
    result = shop.publish(latency_ratio=1000)
    assert not result["failed"], result
    assert shop.served() == result["release"] != first


def test_servers_that_cannot_be_started(shop: Shop) -> None:
    first = shop.served()
    shop.write("value = value + 0")
    options = shop.options()
    template = options["test_load"]["pod_template"]
    template["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1000"}}
    result = run_module("model_repository", {**options, "test_load": {"pod_template": template, "timeout": 5}})
    assert result["failed"]
    assert "The server on trial did not start." in result["msg"]
    assert "Insufficient cpu" in result["msg"]
    assert shop.served() == first
