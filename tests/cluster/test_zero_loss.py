# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No request is lost while an instance is updated, scaled, restarted or shot at.

Sixteen clients that never ask twice and one with a long stream, on the address that users have, with TLS and tokens,
through everything that happens to an instance in its life. SUPERSONIC_REPEATS (3) says how often each event is tried;
thorough are all but the first time, and events that take minutes, or that other tests try with fewer clients (the life
of an instance in molecule) or without load (test_model_rollout.py and test_model_trial.py here, test_gateway.py with a
real Envoy on loopback).
SUPERSONIC_FIGURES names a file that gets a line of JSON for each.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
import yaml
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ansible_collections.fastml.supersonic.tests.harness.certificates import certificate
from ansible_collections.fastml.supersonic.tests.harness.clients import load as clients
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.node import signal_server
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, LOCAL, SMALL, Instance
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.load import ANSWERS

pytestmark = pytest.mark.alone

REPEATS = int(os.environ.get("SUPERSONIC_REPEATS", "3"))
# Longer than any event takes; the load never outlives it.
LIMIT_S = 240
# What a client may notice of an event: a server that dies with its request, and the request's way to another one.
GAP_S = 5.0
CLIENTS = 16
TOKENS = {"load": ["load-0123456789abcdefgh"], "other": ["other-0123456789abcdef"]}
AUTHORITY = certificate("authority")
# Two Envoys in each of two pods, so that the death of one leaves none without an Envoy.
PROCESSES = 2
# How servers take a release: asked by the role, or by themselves.
EXPLICIT = {
    "triton_model_control_mode": "explicit",
    "triton_load_models": ["*"],
    "triton_model_rollout": "explicit",
    # Beside what is restricted anyway; the role has the key.
    "triton_restricted_apis": ["shared-memory", "trace", "logging", "model-repository"],
}
ROLLING = {**EXPLICIT, "triton_model_rollout": "rolling"}
POLL = {
    **EXPLICIT,
    "triton_model_control_mode": "poll",
    "triton_load_models": [],
    "triton_repository_poll_seconds": 1,
    "triton_model_rollout": "poll",
}
# Of what makes an instance of tests small: where it is, and who may ask.
NOT_UNDER_TEST = {"supersonic_kubeconfig", "local_directory", "envoy_service_node_port", "verify_address"}


class Service(Instance):
    """The instance under load; what an event has changed stays, so that the next one changes nothing else."""

    def __init__(self, cluster: Cluster, folder: Path, name: str, variables: dict[str, Any]) -> None:
        self.models = folder / "models"
        # Those that the clients ask; they start in a moment.
        for model in ANSWERS:
            shutil.copytree(LOCAL / "models" / model, self.models / model)
        super().__init__(cluster, folder, name, {**variables, "model_repository_sources": [str(self.models)]})
        self._changes: dict[str, Any] = {}

    def change(self, tag: str, **variables: Any) -> None:
        """Change the instance as an operator would."""
        self._changes.update(variables)
        self.site("--tags", tag, **self._changes)

    @property
    def polls(self) -> bool:
        """Whether servers take releases by themselves, as an event before may have left them."""
        return self._changes.get("triton_model_control_mode") == "poll"

    def edit_models(self) -> None:
        """A model that the clients ask is changed, one is new, and the one that was new before is gone."""
        mark = uuid.uuid4().hex
        for model in self.models.glob("identity-*"):
            shutil.rmtree(model)
        with (self.models / "identity" / "1" / "model.py").open("a") as file:
            file.write(f"# {mark}\n")
        shutil.copytree(self.models / "identity", self.models / f"identity-{mark}")
        config = self.models / f"identity-{mark}" / "config.pbtxt"
        config.write_text(config.read_text().replace('"identity"', f'"identity-{mark}"'))
        shutil.rmtree(config.parent / "golden")

    def publish(self, **variables: Any) -> None:
        """Publish other models, as an operator would."""
        self.edit_models()
        done = self.run("playbooks/models.yml", **{**self._changes, **variables, "models_action": "publish"})
        assert done.code == 0, done.output
        self.check_release()

    def module(self, name: str, **options: Any) -> dict[str, Any]:
        store = {"type": "pvc", "namespace": self.namespace, "claim": f"{self.name}-models"}
        result = run_module(name, {"store": store, "kubeconfig": self.cluster.kubeconfig, **options})
        assert not result["failed"], result
        return result

    def publish_untried(self) -> None:
        """Publish other models and have the servers load them, as the roles do it, but nothing tries them before."""
        self.edit_models()
        image = next(iter(self.pods("triton").values()))["spec"]["containers"][0]["image"]
        release = self.module("model_repository", source=[str(self.models)], pod={"image": image})["release"]
        servers = {"namespace": self.namespace, "instance": self.name}
        loaded = self.module("model_rollout", mode="explicit", servers=servers, release=release)
        assert len(loaded["servers"]) == 2, loaded
        self.check_release()

    def check_release(self) -> None:
        servers = {"namespace": self.namespace, "instance": self.name, "index": True}
        info = self.module("model_repository_info", servers=servers)
        # Every server has the new model as well.
        assert [item["differences"] for item in info["servers"]] == [[], []], info


def whole(service: Service) -> bool:
    """Whether two servers and two pods of Envoys are there, each Envoy sees both, and the endpoint leads to the Envoys.

    A moment passes between these: a NodePort that is new is refused until the node has heard of it.
    """
    return (
        service.ready("triton", 2)
        and service.ready("envoy", 2)
        and service.healthy_servers() == [2] * 2 * PROCESSES
        and reachable(service.address())
    )


def reachable(address: str) -> bool:
    host, _colon, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def load(service: Service, folder: Path) -> Iterator[dict[str, Any]]:
    """Clients at the endpoint; what they have seen is in the yielded report after the end."""
    (folder / "token").write_text(TOKENS["load"][0])
    (folder / "authorities.pem").write_text(AUTHORITY.pem)
    arguments = ["--clients", str(CLIENTS), "--streams", "1"]
    arguments += ["--token-file", str(folder / "token"), "--authorities", str(folder / "authorities.pem")]
    with clients(service.address(), folder, *arguments, seconds=LIMIT_S) as report:
        yield report
        # Whatever the event has left behind is seen as well.
        time.sleep(2)


def protection(cluster: Cluster, **tokens: list[str]) -> dict[str, Any]:
    """TLS and tokens at the endpoint, with a certificate that nobody has had before."""
    node = str(urlsplit(cluster.api.connection.host).hostname)
    made = certificate("localhost", AUTHORITY, addresses=(node,))
    return {
        "envoy_tls_certificate": made.pem,
        "envoy_tls_private_key": made.key_pem,
        "envoy_tokens": {**TOKENS, **tokens},
        "envoy_client_limits": {"other": {"rate": 100, "in_flight": 10}},
    }


def proof(folder: Path) -> dict[str, Any]:
    """What the proof of the instance shows, and what must be refused."""
    (folder / "authority.pem").write_text(AUTHORITY.pem)
    return {
        "verify_token": TOKENS["load"][0],
        "verify_envoy_tls": {"server_name": "localhost", "ca_cert": str(folder / "authority.pem")},
        "verify_refusals": [{"name": "control", "methods": ["LogSettings"], "status": "PERMISSION_DENIED"}],
    }


@pytest.fixture(scope="module")
def service(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An instance like the local one: two servers, two Envoys, and the time to stop that the roles give by default."""
    local = yaml.safe_load((CLONE / "inventories" / "local" / "host_vars" / "local.yml").read_text())
    defaults = {
        **yaml.safe_load((CLONE / "roles" / "triton" / "defaults" / "main.yml").read_text()),
        **yaml.safe_load((CLONE / "roles" / "envoy" / "defaults" / "main.yml").read_text()),
        **local,
    }
    changed = {name: defaults[name] for name in SMALL if name in defaults and name not in NOT_UNDER_TEST} | EXPLICIT
    folder = tmp_path_factory.mktemp("loss")
    changed |= {"envoy_processes": PROCESSES, **protection(cluster), **proof(folder)}
    limit = {"name": "requests of another", "token": TOKENS["other"][0], "methods": ["ServerLive"], "requests": 200}
    instance = Service(cluster, folder, "loss", changed)
    try:
        # The proof of all this once, before the load.
        proved = instance.site(verify_limits=[{**limit, "answered_min": 10, "answered_max": 199}])
        assert (
            len(re.findall(r"certificate CN=localhost, issued by CN=authority, good for 30.0 days", proved.output)) == 2
        )
        yield instance
    finally:
        instance.remove()


def update_triton(service: Service) -> None:
    before = set(service.pods("triton"))
    service.change("triton", triton_pod_annotations={"example.org/update": uuid.uuid4().hex})
    until(lambda: service.ready("triton", 2), 90)
    assert not before & set(service.pods("triton")), "the servers were not replaced"


def publish_explicit(service: Service) -> None:
    """One server serves the release with the others for a while, then they load it."""
    service.change("triton", **EXPLICIT)
    until(lambda: service.ready("triton", 2), 90)
    before = set(service.pods("triton"))
    # A canary is the server that has tried it, which another event may have switched off.
    service.publish(model_repository_test_load=True, model_repository_canary=True, model_repository_canary_seconds=3)
    until(lambda: service.ready("triton", 2), 90)
    assert set(service.pods("triton")) == before, "the servers were replaced"


def publish_poll(service: Service) -> None:
    """The servers are replaced by such that poll, then take a release by themselves."""
    service.change("triton", **POLL)
    until(lambda: service.ready("triton", 2), 90)
    before = set(service.pods("triton"))
    service.publish()
    assert set(service.pods("triton")) == before, "the servers were replaced"


def scale_triton(service: Service) -> None:
    before = set(service.pods("triton"))
    service.change("triton", triton_replicas=1)
    until(lambda: service.ready("triton", 1), 90)
    service.change("triton", triton_replicas=2)
    until(lambda: service.ready("triton", 2), 90)
    assert len(set(service.pods("triton")) - before) == 1, "one server was to go, and another one to come"


def publish_rolling(service: Service) -> None:
    """A release is published and servers are replaced for it, while Envoys are by a new configuration."""
    before = {component: set(service.pods(component)) for component in ("triton", "envoy")}
    service.edit_models()
    # Both at a time: neither waits for the other. What tries releases is tried elsewhere.
    quick = {"triton_wait": False, "model_repository_test_load": False}
    service.change("triton,envoy", **ROLLING, **quick, envoy_slow_start_seconds=1 + int(time.time()) % 1000)
    for component in before:
        until(lambda component=component: service.ready(component, 2), 120)
        assert not before[component] & set(service.pods(component)), f"pods of {component} were not replaced"
    service.check_release()


def rotate_secrets(service: Service) -> None:
    """A token comes, one goes, and the certificate is renewed, all without a restart."""
    before = set(service.pods("envoy"))
    new = f"new-{uuid.uuid4().hex}"
    certificates = {served_certificate(service) for _number in range(8)}
    service.change(
        "envoy", **protection(service.cluster, load=[*TOKENS["load"], new], other=[f"other-{uuid.uuid4().hex}"])
    )
    # The kubelet takes about a minute to bring a changed Secret into a pod.
    until(lambda: [status(service, new) for _number in range(8)] == ["OK"] * 8, 150)
    until(lambda: [status(service, TOKENS["other"][0]) for _number in range(8)] == ["UNAUTHENTICATED"] * 8, 150)
    until(lambda: not certificates & {served_certificate(service) for _number in range(8)}, 150)
    assert set(service.pods("envoy")) == before, "the Envoys were replaced"


def served_certificate(service: Service) -> str:
    host, _colon, port = service.address().rpartition(":")
    return ssl.get_server_certificate((host, int(port)))


def status(service: Service, token: str) -> str:
    """What a client with a connection of its own is told."""
    credentials = grpc.ssl_channel_credentials(AUTHORITY.pem.encode())
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(service.address(), credentials, options=options) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            stub.ServerReady(
                service_pb2.ServerReadyRequest(), timeout=5, metadata=[("authorization", f"Bearer {token}")]
            )
        except grpc.RpcError as exc:
            return str(exc.code().name)
    return "OK"


def remove_endpoint(service: Service) -> None:
    """A server leaves the Service as when its node is cordoned off by hand; it goes on running."""
    before = service.pods("triton")
    name = next(iter(before.values()))["metadata"]["name"]
    path = f"/api/v1/namespaces/{service.namespace}/pods/{name}"
    service.cluster.patch(path, {"metadata": {"labels": {"app.kubernetes.io/component": "taken-out"}}})
    until(lambda: len(set(service.pods("triton")) - set(before)) == 1 and service.ready("triton", 2), 120)
    until(lambda: service.healthy_servers() == [2] * 2 * PROCESSES, 60)
    service.cluster.api.delete(path, path, propagation="Background")


def kill_triton(service: Service) -> None:
    """A server dies and comes back, then servers load a release; what that one has read need not be known."""

    def restarted(pod: dict[str, Any]) -> int:
        return int(pod["status"]["containerStatuses"][0]["restartCount"])

    if service.polls:
        service.change("triton", **EXPLICIT)
        until(lambda: service.ready("triton", 2), 90)
    pods = service.pods("triton")
    # Kubernetes waits longer and longer before it starts the same server again.
    uid, pod = min(pods.items(), key=lambda item: restarted(item[1]))
    restarts = restarted(pod)
    signal_server(uid, signal.SIGKILL)

    def came_back() -> list[dict[str, Any]]:
        statuses = service.pods("triton")[uid]["status"]["containerStatuses"]
        return [status for status in statuses if status["restartCount"] > restarts and status["ready"]]

    assert until(came_back, 120)[0]["lastState"]["terminated"]["exitCode"] == 137
    service.publish_untried()
    assert set(service.pods("triton")) == set(pods), "the servers were replaced"


def kill_envoy(service: Service) -> int:
    """The one with the most connections; each has one request on its way at most."""
    connections = service.envoy_metric('envoy_http_downstream_cx_active{envoy_http_conn_manager_prefix="ingress_grpc"}')
    (uid, name), most = max(connections.items(), key=lambda item: item[1])

    def status() -> dict[str, Any]:
        statuses = service.pods("envoy")[uid]["status"]["containerStatuses"]
        return next(item for item in statuses if item["name"] == name)

    container = status()["containerID"]
    signal_server(container.rpartition("/")[2], signal.SIGKILL, "envoy")

    def came_back() -> bool:
        now = status()
        # The kubelet may tell of the new container before it tells how the last one ended.
        return now["ready"] and now["containerID"] != container and "terminated" in now["lastState"]

    until(came_back, 120)
    assert status()["lastState"]["terminated"]["exitCode"] == 137
    return most


# Servers that are replaced, and scaling, are under load in the life of an instance that molecule goes through.
ALWAYS = [kill_triton, kill_envoy]
OTHERS = [publish_rolling, update_triton, scale_triton, rotate_secrets, remove_endpoint, publish_explicit, publish_poll]
EVENTS = [
    pytest.param(event, repeat, marks=[pytest.mark.thorough] * (repeat > 1 or event in OTHERS))
    for repeat in range(1, REPEATS + 1)
    for event in [*ALWAYS, *OTHERS]
]


@pytest.mark.parametrize(("event", "repeat"), EVENTS)
def test_no_request_is_lost(
    service: Service, tmp_path: Path, event: Callable[[Service], int | None], repeat: int
) -> None:
    until(lambda: whole(service), 120)
    with load(service, tmp_path) as report:
        started = time.time()
        lost = event(service) or 0
        ended = time.time()
    figures = os.environ.get("SUPERSONIC_FIGURES")
    if figures:
        with Path(figures).open("a") as file:
            file.write(json.dumps({"event": event.__name__, "repeat": repeat, "may_fail": lost, **report}) + "\n")
    # Only what is on its way through an Envoy that is killed.
    assert report["failed"] - report["unsent"] <= lost, report
    if report["failed"]:
        # A client may connect again so quickly that it meets the Envoy while it dies. It tries again after gRPC's
        # back-off of a second, and sends nothing meanwhile.
        assert lost, report
        assert report["last_failed"] - report["first_failed"] < 2, report
    assert report["wrong"] == 0, report
    # A stream ends with its server or its Envoy, at most once with each that goes.
    assert report["streams_ended"] <= 4, report
    # The clients were there all the time, and every one of them was served.
    assert report["first"] < started
    assert report["last"] > ended
    assert report["longest_gap_s"] < GAP_S, report
    assert min(report["models"].values()) > 10 * (ended - started), report
