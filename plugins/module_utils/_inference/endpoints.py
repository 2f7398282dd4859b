# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Resolves the targets of a check (address, pod, Service or label selector) to endpoints.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import ssl
import threading
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._common.text import counted
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import certificate as inference_certificate
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.golden_requests import (
    ExpectedError,
    parse_error,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.kserve_client import METHODS, Endpoint
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.rate_limit import Limit, parse_limit
from ansible_collections.fastml.supersonic.plugins.module_utils._kube import api_client, connection
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.port_forward import Relay, Tunnel

KINDS = ("address", "pod", "service", "selector")
# With the pod's uid as its value it opens the APIs that the role triton restricts.
RESTRICTED_HEADER = "x-supersonic-key"
DEFAULT_PORTS = {"grpc": "8001", "http": "8000"}

TLS_SPEC: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "ca_cert": {"type": "path"},
        "client_cert": {"type": "path"},
        "client_key": {"type": "path", "no_log": False},
        "server_name": {"type": "str"},
        "validate": {"type": "bool", "default": True},
    },
    "required_together": [("client_cert", "client_key")],
}
TARGET_SPEC: dict[str, t.Any] = {
    "type": "list",
    "elements": "dict",
    "required": True,
    "options": {
        "name": {"type": "str"},
        "address": {"type": "str"},
        "pod": {
            "type": "dict",
            "options": {
                "name": {"type": "str", "required": True},
                "namespace": {"type": "str", "required": True},
                "port": {"type": "str"},
            },
        },
        "service": {
            "type": "dict",
            "options": {
                "name": {"type": "str", "required": True},
                "namespace": {"type": "str", "required": True},
                "port": {"type": "str"},
            },
        },
        "selector": {
            "type": "dict",
            "options": {
                "labels": {"type": "dict", "required": True},
                "namespace": {"type": "str", "required": True},
                "port": {"type": "str"},
                "min": {"type": "int", "default": 1},
            },
        },
        "protocol": {"type": "str", "choices": ["grpc", "http"], "default": "grpc"},
        "tls": TLS_SPEC,
        "token": {"type": "str", "no_log": True},
        "headers": {"type": "dict", "no_log": True},
    },
    "mutually_exclusive": [KINDS],
    "required_one_of": [KINDS],
}


@dataclass(frozen=True)
class Target:
    """A target of a check, as the user names it."""

    kind: str
    place: Mapping[str, t.Any]
    layer: str
    protocol: str
    tls: Mapping[str, t.Any] | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    models: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    expect_error: ExpectedError | None = None
    certificate: inference_certificate.Wanted | None = None
    limit: Limit | None = None
    repeat: int = 1

    @property
    def port(self) -> str:
        return str(self.place.get("port") or DEFAULT_PORTS[self.protocol])

    def __str__(self) -> str:
        if self.kind == "address":
            return f"address {self.place['host']}:{self.place['port']}"
        if self.kind == "selector":
            labels = ",".join(f"{key}={value}" for key, value in sorted(self.place["labels"].items()))
            return f"pods {self.place['namespace']}/{labels}"
        return f"{self.kind} {self.place['namespace']}/{self.place['name']}"


@dataclass(frozen=True)
class Place:
    """One server of a target."""

    name: str
    endpoint: Endpoint


@dataclass(frozen=True)
class Absence:
    """A server of a target that cannot be there yet, or a whole target without one."""

    name: str
    reason: str


def parse_targets(entries: Sequence[Mapping[str, t.Any]]) -> list[Target]:
    """The targets of a module's options."""
    result = []
    if not entries:
        raise SupersonicError("targets is empty, so nothing would be proved. Name at least one server.")
    for index, entry in enumerate(entries):
        where = f"targets[{index}]"
        kind = next(name for name in KINDS if entry.get(name) is not None)
        place = parse_address(entry["address"], where) if kind == "address" else entry[kind]
        if kind == "selector" and not place["labels"]:
            raise SupersonicError(f"{where}.selector.labels is empty; it would take every pod of the namespace.")
        headers = {str(name): str(value) for name, value in (entry.get("headers") or {}).items()}
        if entry.get("token"):
            headers["authorization"] = f"Bearer {entry['token']}"
        expected = entry.get("expect_error")
        repeat = entry.get("repeat", 1)
        if repeat < 1:
            raise SupersonicError(f"{where}.repeat is {repeat}; it must be at least 1.")
        unknown = [method for method in entry.get("methods") or () if method not in METHODS]
        if unknown:
            raise SupersonicError(f"{where}.methods: {unknown[0]} is none of {', '.join(METHODS)}.")
        if entry.get("certificate") is not None and entry.get("tls") is None:
            raise SupersonicError(f"{where}.certificate: without tls the server shows no certificate.")
        result.append(
            Target(
                kind=kind,
                place=place,
                layer=entry.get("name") or kind,
                protocol=entry.get("protocol", "grpc"),
                tls=entry.get("tls"),
                headers=tuple(headers.items()),
                models=tuple(entry.get("models") or ()),
                methods=tuple(entry.get("methods") or ()),
                expect_error=parse_error(expected, f"{where}.expect_error") if expected else None,
                certificate=_parse_certificate(entry, where),
                limit=parse_limit(entry["limit"], f"{where}.limit") if entry.get("limit") else None,
                repeat=repeat,
            )
        )
    return result


def _parse_certificate(entry: Mapping[str, t.Any], where: str) -> inference_certificate.Wanted | None:
    wanted = entry.get("certificate")
    return None if wanted is None else inference_certificate.parse_wanted(wanted, f"{where}.certificate")


def parse_address(address: str, where: str) -> dict[str, t.Any]:
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536 or "/" in host:
        raise SupersonicError(f"{where}.address is '{address}'; it must be host:port, for example 192.0.2.10:8001.")
    return {"host": host, "port": int(port)}


class Resolver:
    """Finds the servers of targets and opens the way to them. Safe to use from several threads."""

    def __init__(self, params: Mapping[str, t.Any]) -> None:
        self._params = params
        self._lock = threading.Lock()
        self._api: api_client.Api | None = None
        self._relay: Relay | None = None
        self._places: dict[tuple[str, ...], Place] = {}

    def close(self) -> None:
        if self._relay is not None:
            self._relay.close()

    def resolve(self, target: Target) -> tuple[list[Place], list[Absence]]:
        """The servers of a target that can be tried now, and what is still missing."""
        if target.kind == "address":
            return [self._address(target)], []
        if target.kind == "service":
            return self._service(target)
        if target.kind == "pod":
            pod = self.api.find(_path(target, "pods", target.place["name"]), str(target))
            pods, least = ([] if pod is None else [pod]), 1
        else:
            labels = ",".join(f"{key}={value}" for key, value in target.place["labels"].items())
            pods = self.api.list(_path(target, "pods"), f"pods of {target}", {"labelSelector": labels})
            least = target.place["min"]
        return self._pods(target, pods, least)

    @property
    def api(self) -> api_client.Api:
        with self._lock:
            if self._api is None:
                self._api = api_client.Api(connection.connection(self._params))
            return self._api

    @property
    def relay(self) -> Relay:
        with self._lock:
            if self._relay is None:
                self._relay = Relay()
            return self._relay

    def _pods(self, target: Target, pods: list[dict[str, t.Any]], least: int) -> tuple[list[Place], list[Absence]]:
        places, absences = [], []
        wanted = [pod for pod in pods if not is_leaving(pod)]
        for pod in sorted(wanted, key=lambda pod: str(pod["metadata"]["name"])):
            name = f"pod {target.place['namespace']}/{pod['metadata']['name']}"
            reason = why_not_running(pod)
            if reason:
                absences.append(Absence(name, reason))
            else:
                port = container_port(pod, target.port)
                uid = str(pod["metadata"]["uid"])
                places.append(self._pod(target, pod["metadata"]["name"], port, f"{name} port {port}", uid))
        if len(wanted) < least:
            if target.kind == "pod":
                absences.append(Absence(str(target), "there is no such pod"))
            else:
                absences.append(
                    Absence(
                        str(target),
                        f"{counted(len(wanted), 'pod')} with these labels, expected at least {least}"
                        + ("" if wanted else " (not deployed, paused or scaled to 0? playbooks/status.yml tells)"),
                    )
                )
        return places, absences

    def _service(self, target: Target) -> tuple[list[Place], list[Absence]]:
        """One ready endpoint of a Service: through the API server a Service itself cannot be reached over HTTP/2."""
        name = target.place["name"]
        service = self.api.find(_path(target, "services", name), str(target))
        if service is None:
            return [], [Absence(str(target), "there is no such Service")]
        port = service_port(service, target.port)
        slices = self.api.list(
            f"/apis/discovery.k8s.io/v1/namespaces/{api_client.segment(target.place['namespace'])}/endpointslices",
            f"endpoints of {target}",
            {"labelSelector": f"kubernetes.io/service-name={name}"},
        )
        ready = ready_endpoints(slices, str(port.get("name") or ""))
        if not ready:
            return [], [Absence(str(target), "no pod behind it is ready")]
        pod, number = ready[0]
        return [self._pod(target, pod, number, f"{target} port {port['port']} (pod {pod})")], []

    def _address(self, target: Target) -> Place:
        host, port = target.place["host"], target.place["port"]

        def make() -> Endpoint:
            tls = target.tls
            authority = f"{tls['server_name'] or host}:{port}" if tls else ""
            tunnels: tuple[Tunnel, ...] = ()
            if tls:
                context = tls_context(tls, target.protocol)
                tunnels = (self.relay.to_tls((host, port), context, tls["server_name"] or host),)
            return Endpoint(target.protocol, host, port, tunnels, tls is not None, authority, target.headers)

        return self._once(target, (host, str(port)), str(target), make)

    def _pod(self, target: Target, pod: str, port: int, name: str, uid: str = "") -> Place:
        namespace = target.place["namespace"]
        headers = target.headers + (((RESTRICTED_HEADER, uid),) if uid else ())

        def make() -> Endpoint:
            tunnels: tuple[Tunnel, ...] = (self.relay.to_pod(self.api, namespace, pod, port),)
            server_name = "localhost"
            if target.tls:
                server_name = target.tls["server_name"] or server_name
                context = tls_context(target.tls, target.protocol)
                tunnels = (self.relay.to_tls(tunnels[0].path, context, server_name), *tunnels)
            authority = f"{server_name}:{port}"
            return Endpoint(target.protocol, "", port, tunnels, target.tls is not None, authority, headers)

        return self._once(target, (namespace, pod, str(port)), name, make)

    def _once(self, target: Target, key: tuple[str, ...], name: str, make: Callable[[], Endpoint]) -> Place:
        """The place made by an earlier look at the same target, so that waiting does not pile up tunnels."""
        full = (str(id(target)), *key)
        if full not in self._places:
            self._places[full] = Place(name, make())
        return self._places[full]


def _path(target: Target, resource: str, name: str = "") -> str:
    path = f"/api/v1/namespaces/{api_client.segment(target.place['namespace'])}/{resource}"
    return f"{path}/{api_client.segment(name)}" if name else path


def is_leaving(pod: Mapping[str, t.Any]) -> bool:
    """Whether a pod has ended or is about to: it is no part of the service any more."""
    return bool(pod["metadata"].get("deletionTimestamp")) or pod.get("status", {}).get("phase") in (
        "Succeeded",
        "Failed",
    )


def why_not_running(pod: Mapping[str, t.Any]) -> str | None:
    """The reason why a pod cannot answer, by its status; None if all its containers run."""
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state = container.get("state") or {}
        if state.get("waiting"):
            reason = state["waiting"].get("reason") or "waiting"
            message = state["waiting"].get("message")
            if reason == "PodInitializing":
                continue
            return f"container {container['name']} is in {reason}" + (f": {message}" if message else "")
        ended = state.get("terminated")
        if ended and (ended.get("exitCode") or container in (status.get("containerStatuses") or [])):
            return f"container {container['name']} has ended with exit code {ended.get('exitCode')}"
    if status.get("phase") == "Running":
        return None
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"it cannot be scheduled: {condition.get('message') or condition.get('reason')}"
    return f"it is {status.get('phase') or 'not started'}"


def container_port(pod: Mapping[str, t.Any], port: str) -> int:
    if port.isdigit():
        return int(port)
    for container in pod["spec"]["containers"]:
        for entry in container.get("ports") or []:
            if entry.get("name") == port:
                return int(entry["containerPort"])
    raise SupersonicError(f"Pod {pod['metadata']['namespace']}/{pod['metadata']['name']} has no port named {port}.")


def service_port(service: Mapping[str, t.Any], port: str) -> Mapping[str, t.Any]:
    ports = service["spec"].get("ports") or []
    for entry in ports:
        if port in (str(entry["port"]), entry.get("name")):
            return t.cast("Mapping[str, t.Any]", entry)
    listed = ", ".join(f"{entry['port']}" + (f" ({entry['name']})" if entry.get("name") else "") for entry in ports)
    metadata = service["metadata"]
    raise SupersonicError(
        f"Service {metadata['namespace']}/{metadata['name']} has no port {port}; it has {listed or 'none'}."
    )


def ready_endpoints(slices: list[dict[str, t.Any]], port: str) -> list[tuple[str, int]]:
    """Pods behind a Service that are ready, each with the number that the Service's port has there."""
    found = set()
    for entry in slices:
        numbers = [int(each["port"]) for each in entry.get("ports") or [] if (each.get("name") or "") == port]
        for endpoint in entry.get("endpoints") or []:
            reference = endpoint.get("targetRef") or {}
            ready = (endpoint.get("conditions") or {}).get("ready", True)
            if numbers and ready and reference.get("kind") == "Pod":
                found.add((str(reference["name"]), numbers[0]))
    return sorted(found)


def tls_context(tls: Mapping[str, t.Any], protocol: str) -> ssl.SSLContext:
    try:
        context = api_client.authorities_context(None, tls.get("validate", True), path=tls.get("ca_cert"))
        if tls.get("client_cert"):
            context.load_cert_chain(tls["client_cert"], tls["client_key"])
    except (OSError, ValueError) as exc:
        files = ", ".join(str(tls[key]) for key in ("ca_cert", "client_cert", "client_key") if tls.get(key))
        raise SupersonicError(f"The TLS files {files} cannot be used: {exc}.") from exc
    context.set_alpn_protocols(["h2"] if protocol == "grpc" else ["http/1.1"])
    return context
