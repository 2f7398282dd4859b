# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Takes over a running release of the SuperSONIC Helm chart without losing a request.

Clients of a release come in by its Service, whether they use its name, its load balancer or the Ingress before it.
So that Service stays, and the Envoys behind it become those of the instance, which has to be in the same namespace
under another name. Connections that are open stay where they are; the old Envoys are told to send their clients away,
which then come to the new ones.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import time
import typing as t
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.fastml.supersonic.plugins.module_utils._common import yaml_io
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._common.text import are, counted
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration import chart
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import pod_http
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.pod_http import ADMIN_PORT
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.owned_objects import TAKEN_OVER
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import (
    Api,
    ApiError,
    find_if_allowed,
    segment,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import GroupKind, Kinds, Resource, rank
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.port_forward import Relay

Object = dict[str, t.Any]
# What the Service was before, as JSON, on the Service itself: the way back needs no file.
NOTE = TAKEN_OVER
PAUSED = "autoscaling.keda.sh/paused-replicas"
INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"
PART_OF = "app.kubernetes.io/part-of"
MANAGED_BY = "app.kubernetes.io/managed-by"
# Helm writes on each object of a release whose it is.
RELEASE, RELEASE_NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
PROTOCOLS = ("", "kubernetes.io/h2c")
ENVOY_PORT = 8001
# Between the last change of endpoints and the last node that has heard of it.
SETTLE_SECONDS = 5.0
_POLL_SECONDS = 0.5
_ADMIN_SECONDS = 10.0
# A server in what Envoy says of its clusters, by the port of gRPC that the chart gives it.
_SERVER = re.compile(r"^triton_grpc_service::([0-9.]+|\[[0-9a-f:]+\]):\d+::cx_active", re.M)
# Kinds that are never removed: they hold data, or are everybody's.
KEPT_KINDS = {GroupKind("", "PersistentVolumeClaim"), GroupKind("", "Namespace")}
# What a release is made of, where Helm has no record of it.
_MADE_OF = (
    GroupKind("keda.sh", "ScaledObject"),
    GroupKind("monitoring.coreos.com", "ServiceMonitor"),
    GroupKind("networking.k8s.io", "Ingress"),
    GroupKind("apps", "Deployment"),
    GroupKind("apps", "StatefulSet"),
    GroupKind("", "Service"),
    GroupKind("", "ConfigMap"),
    GroupKind("rbac.authorization.k8s.io", "RoleBinding"),
    GroupKind("rbac.authorization.k8s.io", "Role"),
    GroupKind("", "ServiceAccount"),
)


@dataclass(frozen=True)
class Wanted:
    """The release and the instance that takes its place, both in one namespace.

    old: what the release's own objects are called after; old_servers: to how many its pool goes down when no client is
    left there, None to leave it; drain_seconds: how long clients may take to leave; wait_seconds: how long old servers
    may take to start again; keep_address: whether the Service and its Ingress outlive the release; ignore_silent:
    whether the release may be removed although an old Envoy does not say whether clients are left there.
    """

    namespace: str
    release: str
    old: str
    name: str
    old_servers: int | None = None
    drain_seconds: float = 120.0
    wait_seconds: float = 900.0
    keep_address: bool = True
    ignore_silent: bool = False


@dataclass
class Outcome:
    """The result: steps done or predicted, obstacles, and clients that are still connected to the old Envoys.

    silent: those old Envoys of which that is not known, so that 0 requests and connections of the others say little.
    """

    steps: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    changed: bool = False
    requests: int = 0
    connections: int = 0
    silent: list[str] = field(default_factory=list)

    @property
    def idle(self) -> bool:
        """Whether it is known that no client is left at the old Envoys."""
        return not self.requests and not self.connections and not self.silent

    def did(self, text: str) -> None:
        self.steps.append(text)
        self.changed = True


class Takeover:
    """One release and one instance in one cluster."""

    def __init__(
        self,
        api: Api,
        relay: Callable[[], Relay],
        wanted: Wanted,
        *,
        check: bool,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api, self._relay, self._wanted, self._check, self._sleep = api, relay, wanted, check, sleep
        self._kinds = Kinds(api)
        self.outcome = Outcome()
        # What looks like the release's, and is somebody else's.
        self._others: list[str] = []
        if wanted.old == wanted.name:
            raise SupersonicError(
                f"name is '{wanted.name}', which is what the release's objects are called. The instance that takes "
                "its place needs another name: supersonic_name."
            )

    # ---- what is asked for -------------------------------------------------------------------------------------------

    def plan(self) -> None:
        """Say how things are, and what the next step would do."""
        service, wanted = self._service(), self._wanted
        said = self.outcome.steps
        if service is None:
            said.append(f"There is no Service {wanted.old} in the namespace {wanted.namespace}: nothing to take over.")
            return
        state = _note(service)
        said.append(self._where(service))
        for part, what in (("envoy", "Envoys"), ("triton", "servers")):
            old, ours = self._deployment(f"{wanted.old}-{part}"), self._deployment(f"{wanted.name}-{part}")
            said.append(f"{what}: {_count(old)} of {wanted.old}, {_count(ours)} of {wanted.name}.")
        if scaler := self._scaler():
            paused = _paused(scaler)
            text = (
                f"paused at {paused}" if paused else "it would be paused, so that the old servers stay for a way back"
            )
            said.append(f"The autoscaler {scaler['metadata']['name']}: {text}.")
        said += self._gpus()
        if state:
            said.append(
                f"The Service leads to {wanted.name} already. back would lead it to {wanted.old} again; finish "
                f"removes the release for good: {', '.join(self._names(self._to_remove()))}."
            )
            return
        self.outcome.problems += self._hindrances(service)
        said.append(
            f"take_over would lead the Service {wanted.old} to the Envoys of {wanted.name}, and send the clients of "
            "the old Envoys there."
        )

    def take_over(self) -> None:
        """Lead the clients to the instance."""
        wanted, service = self._wanted, self._needed_service()
        if not _note(service):
            problems = list(self._hindrances(service))
            if problems:
                raise SupersonicError(f"Nothing was changed. {' '.join(problems)}")
        servers = self._deployment(f"{wanted.old}-triton")
        self._hold(_note(service) or self._lead(service, servers))
        if self._check:
            return
        self._wait_for_endpoints(wanted.name)
        self._send_away()
        self._wait_until_idle()
        if wanted.old_servers is not None and servers:
            if self.outcome.idle:
                self._scale(wanted.old_servers)
            else:
                # Also an idle client sends its next request to the Envoy that it knows.
                self.outcome.warnings.append(
                    "The old servers stay as many as they are, since clients are left there, or may be. Run again."
                )

    def back(self) -> None:
        """Lead the clients to the release again."""
        wanted, service = self._wanted, self._needed_service()
        state = _note(service)
        if not state:
            return
        if state.get("finished"):
            raise SupersonicError(f"The release {wanted.release} is removed for good, so that there is no way back.")
        if self._deployment(f"{wanted.old}-envoy") is None:
            raise SupersonicError(
                f"The Deployment {wanted.old}-envoy is gone, so that there is no way back. Nothing was changed."
            )
        if state.get("servers") is not None:
            self._scale(int(state["servers"]))
        if not self._check:
            self._wait_ready(f"{wanted.old}-triton")
            self._wait_ready(f"{wanted.old}-envoy")
            self._wait_for_servers()
            for pod in self._old_envoys():
                self._admin(pod, "POST", "/healthcheck/ok")
        # As long as the note is there, a run that was broken off can be made again.
        self._pause(state.get("paused"))
        self.outcome.did(f"Led the Service {wanted.old} back to the Envoys of the release.")
        if not self._check:
            self._patch_service(service, state["selector"], state["ports"], None)
            self._wait_for_endpoints(wanted.old)
        self._restart_ours()

    def finish(self) -> None:
        """Remove the release, and keep the address of its clients."""
        wanted, service = self._wanted, self._service()
        if service is None:
            self.outcome.steps.append(f"There is no Service {wanted.old} any more: nothing to do.")
            return
        state = _note(service)
        if not state:
            raise SupersonicError(
                f"The Service {wanted.old} still leads to the release, so that its clients would lose their service. "
                "Nothing was removed. Run take_over first."
            )
        if not state.get("finished"):
            self._look_for_clients()
            for resource, item in self._to_remove():
                if not self._is_address(resource, item):
                    self._remove(resource, item)
            self._forget_helm()
        for resource, item in self._address():
            if not wanted.keep_address:
                self._remove(resource, item)
            elif not state.get("finished"):
                self._adopt(resource, item, state)

    def _look_for_clients(self) -> None:
        """Refuse to remove the old Envoys under requests, and say whose connections end."""
        self._count_left()
        left = self.outcome
        if left.requests:
            raise SupersonicError(
                f"{counted(left.requests, 'request')} {are(left.requests)} on their way at the old Envoys. Nothing was "
                "removed. Run take_over again, which waits for them."
            )
        if left.silent:
            text = (
                f"{', '.join(left.silent)} did not say at the admin port ({ADMIN_PORT}) whether clients are left there"
            )
            if not self._wanted.ignore_silent:
                raise SupersonicError(
                    f"{text}. Nothing was removed, since their requests would be lost. Find out, and run again with "
                    "ignore_silent (migrate_ignore_silent) when there are none."
                )
            left.warnings.append(f"{text}; whoever is, loses the connection.")
        if left.connections:
            left.warnings.append(
                f"{left.connections} connections without a request are left at the old Envoys, and end with them; "
                "their clients connect anew."
            )

    # ---- how things are ----------------------------------------------------------------------------------------------

    def _path(self, kind: str, name: str = "") -> str:
        places = {
            "services": "/api/v1",
            "pods": "/api/v1",
            "secrets": "/api/v1",
            "deployments": "/apis/apps/v1",
            "endpointslices": "/apis/discovery.k8s.io/v1",
            "scaledobjects": "/apis/keda.sh/v1alpha1",
        }
        scope = f"/namespaces/{segment(self._wanted.namespace)}"
        return f"{places[kind]}{scope}/{kind}" + (f"/{segment(name)}" if name else "")

    def _service(self) -> Object | None:
        return self._api.find(self._path("services", self._wanted.old), f"Service {self._wanted.old}")

    def _needed_service(self) -> Object:
        service = self._service()
        if service is None:
            raise SupersonicError(
                f"There is no Service {self._wanted.old} in the namespace {self._wanted.namespace}, by which clients "
                f"of the release {self._wanted.release} would come. Is the release called otherwise (release), or "
                "were its objects renamed by nameOverride (old_name)?"
            )
        return service

    def _deployment(self, name: str) -> Object | None:
        return self._api.find(self._path("deployments", name), f"Deployment {name}")

    def _scaler(self) -> Object | None:
        name = f"{self._wanted.old}-keda-so"
        return self._seen(self._path("scaledobjects", name), f"ScaledObject {name}")

    def _seen(self, path: str, what: str) -> Object | None:
        """An object that not everybody has, and that nobody without rights on its kind can have made."""
        return find_if_allowed(self._api, path, what)

    def _where(self, service: Object) -> str:
        """By which way clients come."""
        wanted, kind = self._wanted, service["spec"].get("type", "ClusterIP")
        ways = [f"{wanted.old}.{wanted.namespace}.svc"]
        if kind == "LoadBalancer":
            points = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
            ways += [str(point.get("ip") or point.get("hostname")) for point in points] or [
                "a load balancer without address"
            ]
        elif kind == "NodePort":
            ways += [f"every node:{port['nodePort']}" for port in service["spec"]["ports"] if port.get("nodePort")]
        name = f"{wanted.old}-ingress-grpc"
        ingress = self._seen(
            f"/apis/networking.k8s.io/v1/namespaces/{segment(wanted.namespace)}/ingresses/{segment(name)}",
            f"Ingress {name}",
        )
        for rule in (ingress or {}).get("spec", {}).get("rules") or []:
            ways.append(f"the Ingress {name} for {rule.get('host') or 'every host'}")
        return f"Clients come by the Service {wanted.old} ({kind}): {', '.join(ways)}. All of these stay."

    def _gpus(self) -> Iterator[str]:
        """Whether accelerators suffice for both pools, as far as it can be told in the namespace."""
        for owner in (self._wanted.old, self._wanted.name):
            pool = self._deployment(f"{owner}-triton")
            if pool is None:
                continue
            limits = pool["spec"]["template"]["spec"]["containers"][0].get("resources", {}).get("limits") or {}
            count = {name: int(amount) for name, amount in limits.items() if "gpu" in name or "/mig-" in name}
            if count:
                wanted, ready = _replicas(pool), (pool.get("status") or {}).get("readyReplicas", 0)
                told = ", ".join(f"{number * wanted} {name}" for name, number in count.items())
                short = f"; {wanted - ready} of its servers are not ready" if ready < wanted else ""
                yield f"{owner} asks for {told}{short}."

    def _hindrances(self, service: Object) -> Iterator[str]:
        """The obstacles to leading clients to the instance."""
        wanted = self._wanted
        selector = service["spec"].get("selector") or {}
        if selector.get(INSTANCE) != wanted.old or selector.get(COMPONENT) != "envoy":
            yield (
                f"The Service {wanted.old} does not lead to Envoys of {wanted.old}, as one of the chart does; its "
                f"selector is {json.dumps(selector)}."
            )
        ours = self._api.find(self._path("services", wanted.name), f"Service {wanted.name}")
        if ours is None or (ours["spec"].get("selector") or {}).get(INSTANCE) != wanted.name:
            yield (
                f"There is no Service {wanted.name} of the instance in the namespace {wanted.namespace}. Deploy it "
                "first (site.yml); it has to be in the namespace of the release."
            )
            return
        port: Object = next((port for port in ours["spec"]["ports"] if port.get("name") == "grpc"), {})
        if port.get("appProtocol", "") not in PROTOCOLS:
            yield (
                f"The Envoys of {wanted.name} speak TLS ({port.get('appProtocol')}), but clients of the release come "
                "in the clear. Leave envoy_tls_* empty until they have changed."
            )
        for part, what in (("envoy", "Envoy"), ("triton", "server")):
            pool = self._deployment(f"{wanted.name}-{part}")
            ready, count = ((pool or {}).get("status") or {}).get("readyReplicas", 0), _replicas(pool)
            if ready < 1 or (part == "envoy" and ready < count):
                yield f"{ready} of {count} pods of {wanted.name}-{part} are ready, and clients need the {what}s."

    # ---- the Service -------------------------------------------------------------------------------------------------

    def _lead(self, service: Object, servers: Object | None) -> dict[str, t.Any]:
        """Lead the Service to the instance, and note on it what it was, in one change; returns the note."""
        wanted, spec = self._wanted, service["spec"]
        before = {
            "selector": spec["selector"],
            "ports": spec["ports"],
            "servers": _replicas(servers) if servers else None,
            "paused": _paused(self._scaler()),
        }
        if not self._check:
            # Whoever may not pause the autoscaler learns that while nothing is changed.
            self._hold(before, trial=True)
        ports = [
            {**port, "targetPort": ENVOY_PORT} if port.get("name") == "grpc" or len(spec["ports"]) == 1 else port
            for port in spec["ports"]
        ]
        self.outcome.did(f"Led the Service {wanted.old} to the Envoys of {wanted.name}.")
        if not self._check:
            self._patch_service(service, {**spec["selector"], INSTANCE: wanted.name}, ports, json.dumps(before))
        return before

    def _hold(self, note: Mapping[str, t.Any], *, trial: bool = False) -> None:
        """Pause the autoscaler: without clients it would take away the servers that a way back needs.

        After the note, in which it is as somebody else has left it; a run that was broken off between makes up for it.
        """
        if note.get("paused") is None and note.get("servers") is not None and _paused(self._scaler()) is None:
            self._pause(str(note["servers"]), trial=trial)

    def _patch_service(
        self, service: Object, selector: Mapping[str, str], ports: Sequence[Object], note: str | None
    ) -> None:
        gone = dict.fromkeys(set(service["spec"]["selector"]) - set(selector))
        body = {
            # Somebody who has changed it meanwhile is heard of.
            "metadata": {"resourceVersion": service["metadata"]["resourceVersion"], "annotations": {NOTE: note}},
            "spec": {"selector": {**gone, **selector}, "ports": list(ports)},
        }
        self._patch(self._path("services", self._wanted.old), body, f"Service {self._wanted.old}")

    def _patch(self, path: str, body: Object, what: str, *, trial: bool = False) -> None:
        self._api.call(
            "PATCH",
            path,
            what,
            query={"fieldManager": "fastml.supersonic", **({"dryRun": "All"} if trial else {})},
            body=body,
            content_type="application/merge-patch+json",
        )

    def _wait_for_endpoints(self, owner: str) -> None:
        """Until the Service leads to nothing but ready Envoys of its new owner, on every node."""
        wanted = self._wanted
        query = {"labelSelector": f"kubernetes.io/service-name={wanted.old}"}

        def settled() -> bool:
            names = {str(pod["metadata"]["name"]) for pod in self._envoys(owner)}
            slices = self._api.list(self._path("endpointslices"), f"endpoints of {wanted.old}", query)
            points = [point for item in slices for point in item.get("endpoints") or []]
            behind = {str((point.get("targetRef") or {}).get("name")) for point in points}
            ready = any((point.get("conditions") or {}).get("ready") for point in points)
            return ready and behind <= names

        if not self._until(settled, 60):
            raise SupersonicError(
                f"The Service {wanted.old} did not come to lead to the Envoys of {owner} alone within 60 s. Look at "
                f"kubectl -n {wanted.namespace} get endpointslices -l kubernetes.io/service-name={wanted.old}, and "
                "run again."
            )
        self._sleep(SETTLE_SECONDS)

    # ---- the old Envoys ----------------------------------------------------------------------------------------------

    def _envoys(self, owner: str) -> list[Object]:
        return self._pods(owner, "envoy")

    def _pods(self, owner: str, part: str) -> list[Object]:
        labels = f"app.kubernetes.io/name={chart.LABEL},{INSTANCE}={owner},{COMPONENT}={part}"
        pods = self._api.list(self._path("pods"), f"pods of {owner}-{part}", {"labelSelector": labels})
        return [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Running"]

    def _old_envoys(self) -> list[str]:
        pods = self._envoys(self._wanted.old)
        return [str(pod["metadata"]["name"]) for pod in pods if not pod["metadata"].get("deletionTimestamp")]

    def _send_away(self) -> None:
        """Have the old Envoys say goodbye with each answer (GOAWAY); they go on answering whoever stays."""
        silent = []
        for pod in self._old_envoys():
            if self._admin(pod, "POST", "/healthcheck/fail") is None:
                silent.append(pod)
            else:
                self.outcome.steps.append(f"Asked the old Envoy {pod} to send its clients away.")
        if silent:
            self.outcome.warnings.append(
                f"The admin port ({ADMIN_PORT}) of {', '.join(silent)} does not answer, so that clients stay there "
                "until they connect anew. Look at their connections before finish."
            )

    def _wait_until_idle(self) -> None:
        def idle() -> bool:
            self._count_left()
            return self.outcome.idle

        if self._until(idle, self._wanted.drain_seconds):
            return
        left, after = self.outcome, f"after {self._wanted.drain_seconds:g} s"
        if left.requests or left.connections:
            left.warnings.append(
                f"{counted(left.connections, 'connection')} and {counted(left.requests, 'request')} are left at the "
                f"old Envoys {after}. They go on being answered, and idle ones move with their next request. Run again "
                "to wait for them."
            )
        if left.silent:
            left.warnings.append(f"It is not known {after} whether clients are left at {', '.join(left.silent)}.")

    def _count_left(self) -> None:
        """Requests and connections of clients at the old Envoys, those on their way out among them."""
        wanted, left = self._wanted, self.outcome
        left.requests = left.connections = 0
        left.silent = []
        pods = [str(pod["metadata"]["name"]) for pod in self._envoys(wanted.old)]
        for pod in pods:
            found = client_counts(self._admin(pod, "GET", "/stats?filter=downstream_(rq|cx)_active$"))
            if found is None:
                left.silent.append(pod)
            else:
                left.requests += found[0]
                left.connections += found[1]
        if not pods:
            pool = self._deployment(f"{wanted.old}-envoy")
            if ((pool or {}).get("status") or {}).get("readyReplicas"):
                # They are there, with other labels than the chart's.
                left.silent.append(f"Deployment {wanted.old}-envoy")

    def _admin(self, pod: str, method: str, target: str) -> str | None:
        """Ask an Envoy's admin port through the API server; None where nobody answers."""
        place = (self._relay(), self._api, self._wanted.namespace, pod, ADMIN_PORT)
        try:
            answer = pod_http.ask(*place, target, timeout=_ADMIN_SECONDS, method=method)
        except pod_http.NoAnswer:
            return None
        return answer.body.decode(errors="replace") if answer.status < 300 else None

    # ---- the old servers ---------------------------------------------------------------------------------------------

    def _pause(self, servers: str | None, *, trial: bool = False) -> None:
        """Have the chart's autoscaler hold so many servers, or let it go on; trial: only ask whether we may."""
        scaler = self._scaler()
        if scaler is None or _paused(scaler) == servers:
            return
        name = scaler["metadata"]["name"]
        if not trial:
            held = f"{servers} {'server' if servers == '1' else 'servers'}"
            self.outcome.did(f"Paused {name} at {held}." if servers else f"Let the autoscaler {name} go on.")
        if not self._check:
            body: Object = {"metadata": {"annotations": {PAUSED: servers}}}
            self._patch(self._path("scaledobjects", name), body, f"ScaledObject {name}", trial=trial)

    def _scale(self, replicas: int) -> None:
        name = f"{self._wanted.old}-triton"
        pool = self._deployment(name)
        if pool is None or _replicas(pool) == replicas:
            return
        self.outcome.did(f"Had the old pool go from {_replicas(pool)} to {counted(replicas, 'server')}.")
        if self._check:
            return
        # Where it is the autoscaler's, it does it as well.
        self._pause(str(replicas))
        self._patch(self._path("deployments", name), {"spec": {"replicas": replicas}}, f"Deployment {name}")

    def _wait_ready(self, name: str) -> None:
        def ready() -> bool:
            pool = self._deployment(name)
            return pool is None or (pool.get("status") or {}).get("readyReplicas", 0) >= _replicas(pool)

        if not self._until(ready, self._wanted.wait_seconds):
            raise SupersonicError(
                f"Not all pods of {name} are ready, so that clients were not led back to it; they still have their "
                f"service. Look at kubectl -n {self._wanted.namespace} get pods, and run again."
            )

    def _wait_for_servers(self) -> None:
        """Until the old Envoys know the old servers: a name without addresses is remembered for half a minute."""

        def known() -> bool:
            ready = {
                str(pod["status"].get("podIP")) for pod in self._pods(self._wanted.old, "triton") if _is_ready(pod)
            }
            for envoy in self._old_envoys():
                text = self._admin(envoy, "GET", "/clusters")
                if text is not None:
                    hosts = set(_SERVER.findall(text))
                    if not hosts or not hosts <= ready:
                        return False
            return True

        if not self._until(known, self._wanted.wait_seconds):
            raise SupersonicError(
                f"The Envoys of {self._wanted.old} do not know its servers, so that clients were not led back to them; "
                "they still have their service. Look at their logs, and run again."
            )

    def _restart_ours(self) -> None:
        """Replace our Envoys, which lets their clients come back to the release one by one."""
        name = f"{self._wanted.name}-envoy"
        if self._deployment(name) is None:
            return
        self.outcome.did(f"Had the Envoys of {self._wanted.name} replaced, which sends their clients away.")
        if not self._check:
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            annotations = {"kubectl.kubernetes.io/restartedAt": moment}
            body = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
            self._patch(self._path("deployments", name), body, f"Deployment {name}")

    # ---- removing the release ----------------------------------------------------------------------------------------

    def _records(self) -> list[Object] | None:
        """Helm's own records of the release, the last one last; None where we may not read them."""
        query = {"labelSelector": f"owner=helm,name={self._wanted.release}"}
        try:
            found = self._api.list(self._path("secrets"), "records of Helm", query)
        except ApiError as error:
            if error.status != 403:
                raise
            return None
        return sorted(found, key=lambda item: int((item["metadata"].get("labels") or {}).get("version") or 0))

    def _to_remove(self) -> list[tuple[Resource, Object]]:
        """The existing objects of the release, in the order of their removal."""
        wanted, records = self._wanted, self._records()
        found: list[tuple[Resource, Object]] = []
        self._others = []
        if records:
            deployed = [item for item in records if (item["metadata"].get("labels") or {}).get("status") == "deployed"]
            for group, kind, name in dict.fromkeys(recorded((deployed or records)[-1], wanted.namespace)):
                found += self._of_release(GroupKind(group, kind), name)
        else:
            self.outcome.warnings.append(
                f"Helm has no record of {wanted.release} that we may read, so that it goes by its labels."
            )
            for group_kind in _MADE_OF:
                found += self._of_release(group_kind)
            found += [
                pair
                for pair in self._of_release(GroupKind("", "ConfigMap"), f"{wanted.release}-grafana-default-dashboard")
                if pair not in found
            ]
        if self._others:
            self.outcome.warnings.append(
                f"{', '.join(self._others)} would be of {wanted.release} by name or label, but not by what Helm has "
                f"written there ({RELEASE}), and is left."
            )

        def order(pair: tuple[Resource, Object]) -> tuple[bool, bool, int]:
            """The order of removal: what scales, what sends requests, then the reverse order of creation."""
            resource, item = pair
            envoy = (resource.kind, item["metadata"]["name"]) == ("Deployment", f"{wanted.old}-envoy")
            return resource.kind != "ScaledObject", not envoy, -rank(resource.group_kind)

        return sorted(found, key=order)

    def _of_release(self, group_kind: GroupKind, name: str = "") -> Iterator[tuple[Resource, Object]]:
        """One object by its name, or all of a kind by the labels of the release."""
        wanted = self._wanted
        resource = self._kinds.find_any(group_kind)
        if resource is None or group_kind in KEPT_KINDS:
            return
        if not resource.namespaced:
            self.outcome.warnings.append(
                f"{group_kind.kind}/{name} is of the whole cluster, and is left to who runs it."
            )
            return
        try:
            if name:
                there = self._api.find(resource.path(wanted.namespace, name), f"{group_kind.kind}/{name}")
                items = [there] if there else []
            else:
                query = {"labelSelector": f"{INSTANCE} in ({wanted.old},{wanted.release})"}
                items = self._api.list(resource.path(wanted.namespace), f"{group_kind} of {wanted.release}", query)
        except ApiError as error:
            if error.status != 403:
                raise
            self.outcome.warnings.append(
                f"We may not look at {group_kind}{f' {name}' if name else ''}, so that it is left."
            )
            return
        for item in items:
            if (item["metadata"].get("labels") or {}).get(MANAGED_BY) == "fastml.supersonic":
                continue
            if self._is_helms(item, recorded=bool(name)):
                yield resource, item
            elif not self._is_address(resource, item):
                self._others.append(f"{resource.kind}/{item['metadata']['name']}")

    def _is_helms(self, item: Object, *, recorded: bool) -> bool:
        """Whether an object is of the release by what Helm has written on it.

        Other charts' objects may have its labels. recorded: Helm's record names it, so that a Helm before 3.2, which
        wrote its label alone, may have made it.
        """
        metadata = item["metadata"]
        notes, wanted = _annotations(item), self._wanted
        if RELEASE in notes:
            there = notes.get(RELEASE_NAMESPACE, wanted.namespace)
            return bool((notes[RELEASE], there) == (wanted.release, wanted.namespace))
        return recorded and (metadata.get("labels") or {}).get(MANAGED_BY) == "Helm"

    def _address(self) -> Iterator[tuple[Resource, Object]]:
        """The objects that lead clients in; the Service comes last, since it records the progress of a run."""
        for group_kind, name in (
            (GroupKind("networking.k8s.io", "Ingress"), f"{self._wanted.old}-ingress-grpc"),
            (GroupKind("", "Service"), self._wanted.old),
        ):
            resource = self._kinds.find_any(group_kind)
            path = resource.path(self._wanted.namespace, name) if resource else ""
            item = self._seen(path, f"{group_kind.kind}/{name}") if resource else None
            if resource and item and (NOTE in _annotations(item) or self._is_helms(item, recorded=True)):
                yield resource, item

    def _is_address(self, resource: Resource, item: Object) -> bool:
        name = item["metadata"]["name"]
        return (resource.kind, name) in (
            ("Service", self._wanted.old),
            ("Ingress", f"{self._wanted.old}-ingress-grpc"),
        )

    def _names(self, found: Sequence[tuple[Resource, Object]]) -> list[str]:
        return [
            f"{resource.kind}/{item['metadata']['name']}"
            for resource, item in found
            if not self._is_address(resource, item)
        ]

    def _remove(self, resource: Resource, item: Object) -> None:
        name = str(item["metadata"]["name"])
        self.outcome.did(f"Removed {resource.kind}/{name}.")
        if self._check:
            return
        try:
            self._api.delete(
                resource.path(self._wanted.namespace, name),
                f"{resource.kind}/{name}",
                uid=item["metadata"]["uid"],
                propagation="Background",
            )
        except ApiError as error:
            if error.status != 404:
                raise

    def _forget_helm(self) -> None:
        """Without its records nobody's helm uninstall takes the address away."""
        records = self._records()
        if records is None:
            self.outcome.warnings.append(
                f"We may not read Secrets, so that Helm still knows the release {self._wanted.release}: helm "
                "uninstall would take the Service away. Have somebody delete the Secrets with "
                f"owner=helm,name={self._wanted.release}."
            )
            return
        if not records:
            return
        self.outcome.did(f"Took the release {self._wanted.release} out of Helm's records.")
        for item in [] if self._check else records:
            name = str(item["metadata"]["name"])
            self._api.delete(self._path("secrets", name), f"Secret/{name}", uid=item["metadata"]["uid"])

    def _adopt(self, resource: Resource, item: Object, state: Mapping[str, t.Any]) -> None:
        """Say on what stays whose it is now."""
        name = str(item["metadata"]["name"])
        self.outcome.did(f"Kept {resource.kind}/{name}, the address of clients, for {self._wanted.name}.")
        if self._check:
            return
        note = {**(state if resource.kind == "Service" else {}), "finished": True}
        annotations = {RELEASE: None, RELEASE_NAMESPACE: None, NOTE: json.dumps(note)}
        # It is in no set of ours, so that nothing but this manages it.
        labels = {INSTANCE: self._wanted.name, COMPONENT: "envoy", MANAGED_BY: None, PART_OF: None}
        body: Object = {"metadata": {"labels": labels, "annotations": annotations}}
        self._patch(resource.path(self._wanted.namespace, name), body, f"{resource.kind}/{name}")

    def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        limit = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= limit:
                return False
            self._sleep(_POLL_SECONDS)
        return True


def recorded(secret: Object, namespace: str) -> Iterator[tuple[str, str, str]]:
    """Group, kind and name of what Helm has made of a release in this namespace, by its own record of it."""
    try:
        packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        release = json.loads(gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed)
        documents = yaml_io.load_all(release["manifest"])
    except (KeyError, ValueError, OSError, EOFError, TypeError):
        name = (secret.get("metadata") or {}).get("name")
        raise SupersonicError(
            f"Helm's record {name} cannot be read, so that it is not known what the release has made."
        ) from None
    for document in documents:
        if not isinstance(document, Mapping) or not document.get("kind"):
            continue
        metadata = document.get("metadata") or {}
        if (metadata.get("annotations") or {}).get("helm.sh/resource-policy") == "keep":
            continue
        if metadata.get("namespace", namespace) == namespace:
            group = str(document.get("apiVersion", "")).rpartition("/")[0]
            yield group, str(document["kind"]), str(metadata["name"])


def client_counts(text: str | None) -> tuple[int, int] | None:
    """Requests and connections of clients by what an Envoy says of itself; None where it does not say both."""
    counts: dict[str, int] = {}
    for line in (text or "").splitlines():
        name, _colon, number = line.partition(": ")
        if name.startswith("http.") and not name.startswith("http.admin.") and number.strip().isdigit():
            what = name.rpartition(".")[2]
            counts[what] = counts.get(what, 0) + int(number)
    requests, connections = counts.get("downstream_rq_active"), counts.get("downstream_cx_active")
    return None if requests is None or connections is None else (requests, connections)


def _annotations(item: Object) -> Mapping[str, str]:
    return item["metadata"].get("annotations") or {}


def _note(service: Object) -> dict[str, t.Any]:
    """The noted state of the Service before it was taken over; {} if it was not."""
    text = _annotations(service).get(NOTE)
    try:
        state = json.loads(text) if text else {}
    except ValueError:
        state = None
    if not isinstance(state, dict):
        raise SupersonicError(
            f"The annotation {NOTE} of the Service {service['metadata']['name']} is not what was written there."
        )
    return state


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def _paused(scaler: Object | None) -> str | None:
    return None if scaler is None else _annotations(scaler).get(PAUSED)


def _replicas(deployment: Object | None) -> int:
    return 0 if deployment is None else int(deployment["spec"].get("replicas", 1))


def _count(deployment: Object | None) -> str:
    if deployment is None:
        return "none"
    return f"{(deployment.get('status') or {}).get('readyReplicas', 0)} of {_replicas(deployment)} ready"
