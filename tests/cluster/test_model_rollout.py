# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running servers take releases, refuse them, and come back from one that they have taken by half."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.models import golden, write_golden, write_model
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.node import signal_server
from ansible_collections.fastml.supersonic.tests.harness.playbooks import Instance
from ansible_collections.fastml.supersonic.tests.harness.processes import until

GOOD, BAD = "pass", "raise ValueError('weights are missing')"


class Shop(Instance):
    """A small instance whose servers load releases when they are asked to."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.source = folder / "source"
        self.write(0, b=GOOD)
        variables = {
            "model_repository_sources": [str(self.source)],
            "triton_model_control_mode": "explicit",
            "triton_load_models": ["*"],
            "triton_model_rollout": "explicit",
            "triton_restricted_apis": ["model-repository"],
        }
        super().__init__(cluster, folder, "rollout", variables)

    def write(self, number: int, **others: str) -> None:
        """Model a, which adds a number, and others, each with what it does at first."""
        for path in sorted(self.source.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        write_model(self.source, "a", execute=f"value = value + numpy.float32({number})")
        write_golden(self.source, golden("a", [1.0]))
        for name, initialize in others.items():
            write_model(self.source, name, initialize=initialize)

    def module(self, name: str, *, check: bool = False, **options: Any) -> dict[str, Any]:
        store = {"type": "pvc", "namespace": self.namespace, "claim": f"{self.name}-models"}
        return run_module(name, {"store": store, "kubeconfig": self.cluster.kubeconfig, **options}, check=check)

    def publish(self, **options: Any) -> str:
        """A release that no server has tried."""
        (pod, *_others) = self.pods("triton").values()
        image = pod["spec"]["containers"][0]["image"]
        wanted = {} if "state" in options else {"source": [str(self.source)]}
        result = self.module("model_repository", pod={"image": image}, **wanted, **options)
        assert not result["failed"], result
        return str(result["release"])

    def roll_out(self, **options: Any) -> dict[str, Any]:
        servers = {"namespace": self.namespace, "instance": self.name}
        return self.module("model_rollout", mode="explicit", servers=servers, **options)

    def answers(self) -> set[float]:
        """What servers make of 1."""
        found = set()
        for pod in self.pods("triton").values():
            for number in range(4):
                request = golden("a", [1.0])
                request["response"]["outputs"][0]["data"] = [1.0 + number]
                target = {"pod": {"name": pod["metadata"]["name"], "namespace": self.namespace}, "protocol": "http"}
                asked = {"targets": [target], "requests": [request], "kubeconfig": self.cluster.kubeconfig, "wait": 60}
                if not run_module("inference_check", asked)["failed"]:
                    found.add(1.0 + number)
        return found

    def ready_since(self) -> float:
        """When the last server got ready, in seconds since 1970."""
        conditions = [c for pod in self.pods("triton").values() for c in pod["status"]["conditions"]]
        times = [c["lastTransitionTime"] for c in conditions if c["type"] == "Ready"]
        return max(datetime.fromisoformat(time).timestamp() for time in times)

    def info(self) -> list[dict[str, Any]]:
        servers = {"namespace": self.namespace, "instance": self.name, "index": True}
        found = self.module("model_repository_info", servers=servers)["servers"]
        assert isinstance(found, list)
        return found


@pytest.fixture(scope="module")
def shop(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = Shop(cluster, tmp_path_factory.mktemp("rollout"))
    try:
        made.site()
        yield made
    finally:
        made.remove()


def test_running_servers_take_releases_refuse_them_and_come_back(shop: Shop) -> None:
    """One after the other, since each begins with what the one before has left on the servers."""
    new_servers_need_nothing(shop)
    back_from_a_release_that_was_taken_by_half(shop)
    only_what_has_changed_is_loaded_and_what_is_gone_is_unloaded(shop)
    a_server_of_which_nobody_knows_what_it_has_read(shop)
    somebody_else_has_published(shop)


def new_servers_need_nothing(shop: Shop) -> None:
    assert shop.site().changed(shop.name) == 0
    assert [item["differences"] for item in shop.info()] == [[]]


def back_from_a_release_that_was_taken_by_half(shop: Shop) -> None:
    (first,) = (item["release"] for item in shop.info())
    shop.write(1, b=BAD)
    second = shop.publish()
    predicted = shop.roll_out(check=True)
    assert [(item["before"], item["loaded"]) for item in predicted["servers"]] == [(first, ["a", "b"])]
    assert shop.answers() == {1.0}
    failed = shop.roll_out()
    assert failed["failed"]
    assert "did not load the model b" in failed["msg"]
    assert f"no other server has taken it. The store serves the release {second}" in failed["msg"]
    # One model is new, the other one goes on as it was.
    assert shop.answers() == {2.0}
    assert shop.info()[0]["differences"] == [f"in between: 1 of 2 models of the release {second}"]

    assert shop.publish(state="rolled_back") == first
    back = shop.roll_out(release=first)
    assert [item["loaded"] for item in back["servers"]] == [["a", "b"]], back
    assert shop.answers() == {1.0}
    assert not shop.roll_out()["changed"]
    assert [item["differences"] for item in shop.info()] == [[]]


def only_what_has_changed_is_loaded_and_what_is_gone_is_unloaded(shop: Shop) -> None:
    shop.write(2, b=GOOD, c=GOOD)
    shop.publish()
    assert [(item["loaded"], item["unloaded"]) for item in shop.roll_out()["servers"]] == [(["a", "c"], [])]
    assert shop.answers() == {3.0}
    # One more server, as an autoscaler makes it. It has read what is current.
    servers = f"/apis/apps/v1/namespaces/{shop.namespace}/deployments/{shop.name}-triton"
    shop.cluster.patch(f"{servers}/scale", {"spec": {"replicas": 2}})
    until(lambda: shop.ready("triton", 2), 60)
    assert not shop.roll_out()["changed"]
    # Of a server that was ready less than 4 s before a switch nobody knows whether it has read what came then.
    until(lambda: time.time() - shop.ready_since() > 5)
    shop.write(2, b=GOOD)
    shop.publish()
    assert [(item["loaded"], item["unloaded"]) for item in shop.roll_out()["servers"]] == [([], ["c"])] * 2
    assert [item["differences"] for item in shop.info()] == [[], []]


def a_server_of_which_nobody_knows_what_it_has_read(shop: Shop) -> None:
    """It was started anew beside a switch: it takes the whole release, and forgets what is gone."""
    shop.write(1, b=GOOD, gone=GOOD)
    third = shop.publish()
    shop.roll_out()
    (uid, *_others) = shop.pods("triton")
    signal_server(uid, signal.SIGKILL)
    until(lambda: shop.pods("triton")[uid]["status"]["containerStatuses"][0].get("restartCount") == 1, 60)
    until(lambda: shop.ready("triton", 2), 90)
    name = shop.pods("triton")[uid]["metadata"]["name"]
    shop.write(3, b=GOOD)
    shop.publish()
    loaded = {item["pod"]: (item["before"], item["loaded"], item["unloaded"]) for item in shop.roll_out()["servers"]}
    assert loaded[name] == (None, ["a", "b"], ["gone"]), loaded
    # The other one is known to have what was noted on it.
    assert [found for pod, found in loaded.items() if pod != name] == [(third, ["a"], ["gone"])]
    assert shop.answers() == {4.0}
    for pod in shop.pods("triton").values():
        target = {"pod": {"name": pod["metadata"]["name"], "namespace": shop.namespace}, "protocol": "http"}
        gone = golden("gone", [1.0])
        del gone["response"]
        gone["error"] = {"status": "NOT_FOUND"}
        asked = {"targets": [target], "requests": [gone], "kubeconfig": shop.cluster.kubeconfig}
        assert not run_module("inference_check", asked)["failed"], pod["metadata"]["name"]


def somebody_else_has_published(shop: Shop) -> None:
    result = shop.roll_out(release="a" * 40)
    assert result["failed"]
    assert "somebody has published meanwhile. No server was asked to load anything." in result["msg"]
    predicted = shop.roll_out(release="a" * 40, check=True)
    assert [(item["release"], item["loaded"]) for item in predicted["servers"]] == [("a" * 40, None)] * 2
