# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What leads clients from outside of the cluster to an instance, on the real API and through a real Traefik.

Ingress controllers other than Traefik, OpenShift's router and cert-manager do not run here: what is for them is applied
to the API with their definitions, so that fields and their rules are right, and no more is known.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy
import pytest
import tritonclient.grpc as triton
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._inference.golden_requests import load_repositories
from ansible_collections.fastml.supersonic.tests.harness import renders
from ansible_collections.fastml.supersonic.tests.harness.certificates import self_signed
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import (
    Cluster,
    Object,
    actions,
    config_map,
    crd,
    removed,
)
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, LOCAL, Instance
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.shared import Shared
from ansible_collections.fastml.supersonic.tests.harness.traefik import Traefik

sys.path.insert(0, str(CLONE / "tests"))
import crds

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GATEWAY = "gateway.networking.k8s.io"
# What Traefik watches besides; it needs no more than that they are there.
WATCHED = {
    "gatewayclasses": "GatewayClass",
    "gateways": "Gateway",
    "httproutes": "HTTPRoute",
    "listenersets": "ListenerSet",
    "referencegrants": "ReferenceGrant",
    "tcproutes": "TCPRoute",
    "tlsroutes": "TLSRoute",
    "udproutes": "UDPRoute",
}
OURS = {"Ingress", "GRPCRoute", "BackendTLSPolicy", "Route", "Certificate"}
PATHS = (
    "/apis/networking.k8s.io/v1/namespaces/{}/ingresses",
    "/apis/gateway.networking.k8s.io/v1/namespaces/{}/grpcroutes",
    "/apis/gateway.networking.k8s.io/v1/namespaces/{}/backendtlspolicies",
    "/apis/route.openshift.io/v1/namespaces/{}/routes",
    "/apis/cert-manager.io/v1/namespaces/{}/certificates",
)
PLAIN, SECURE, OWN, GATED = "plain.example.org", "secure.example.org", "own.example.org", "gated.example.org"
CLASS = "supersonic-test"
GONE = ("UNIMPLEMENTED", "UNAVAILABLE")


def watched() -> list[Object]:
    """Definitions that know no field, but whose objects have a status of their own."""
    found = []
    for plural, kind in WATCHED.items():
        definition = crd(plural, GATEWAY, kind, namespaced=kind != "GatewayClass")
        url = "https://github.com/kubernetes-sigs/gateway-api"
        definition["metadata"]["annotations"] = {"api-approved.kubernetes.io": url}
        version = definition["spec"]["versions"][0]
        version["schema"]["openAPIV3Schema"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        version["subresources"] = {"status": {}}
        # Some are still read in their older version.
        definition["spec"]["versions"].append({**version, "name": "v1beta1", "storage": False})
        found.append(definition)
    return found


@pytest.fixture(scope="module")
def definitions(cluster: Cluster) -> Iterator[list[str]]:
    """The kinds that do not come with Kubernetes."""
    found = []
    with contextlib.ExitStack() as stack:
        # Those of KEDA are there where it is, and those of the Prometheus operator are another test's.
        others = ("keda.sh", "monitoring.coreos.com")
        own = [item for item in crds.definitions() if item["spec"]["group"] not in others]
        for definition in [*own, *watched()]:
            found.append(definition["metadata"]["name"])
            cluster.create(DEFINITIONS, definition)
            stack.enter_context(removed(cluster, f"{DEFINITIONS}/{found[-1]}"))
        group = f"/apis/{GATEWAY}/v1"
        until(
            lambda: (
                {"grpcroutes", "udproutes"}
                <= {item["name"] for item in (cluster.get(group) or {"resources": []})["resources"]}
            )
        )
        yield found


# ---- the API --------------------------------------------------------------------------------------------------------


def test_kinds_and_classes_that_are_missing_are_told(cluster: Cluster, tmp_path: Path) -> None:
    """Before anything is made: nothing of the instance is there afterwards."""
    variables = {
        "envoy_ingress": {"host": PLAIN, "controller": "traefik", "class_name": "nobody"},
        "envoy_gateway_route": {"parent_refs": [{"name": "public"}]},
        "envoy_openshift_route": {"host": SECURE, "termination": "edge", "tls_secret": "own"},
    }
    instance = Instance(cluster, tmp_path, "missing", variables)
    done = instance.run("site.yml")
    assert done.code != 0
    for sentence in (
        "no kind GRPCRoute of gateway.networking.k8s.io/v1, which comes with the Gateway API",
        "no kind Route of route.openshift.io/v1, which comes with OpenShift",
        "There is no ingress class nobody, the value of envoy_ingress.class_name (",
    ):
        assert sentence in done.text, done.output
    assert cluster.get(f"/api/v1/namespaces/{instance.namespace}") is None


@pytest.mark.usefixtures("definitions")
def test_what_is_rendered_is_taken_left_and_removed(
    cluster: Cluster, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every field exists and keeps its rules, a second time changes nothing, and what is switched off goes."""
    kept = config_map("kept")
    sets = {}
    for host in ("everything", "folder", "random", "ring-hash", "cvmfs"):
        ours = [item for item in renders.of_host(host, tmp_path_factory)["envoy"] if item["kind"] in OURS]
        for item in ours:
            item["metadata"].update(namespace=namespace, name=f"{host}-{item['metadata']['name']}")
        sets[host] = [*ours, {**kept, "metadata": {"name": f"{host}-kept"}}]
        wanted = {f"{item['kind']}/{item['metadata']['name']}" for item in ours}
        assert wanted
        made = actions(cluster.manifests(namespace, *sets[host], name=host))
        assert {made[name] for name in wanted} == {"created"}
        assert not cluster.manifests(namespace, *sets[host], name=host)["changed"]
        gone = actions(cluster.manifests(namespace, sets[host][-1], name=host))
        assert {gone[name] for name in wanted} == {"pruned"}
    assert all(cluster.get(path.format(namespace)) for path in PATHS), "a kind is not served"
    # Kubernetes' garbage collector takes half a minute to hear of kinds that are new.
    until(lambda: not any(cluster.api.list(path.format(namespace), path) for path in PATHS), 120)


# ---- Traefik --------------------------------------------------------------------------------------------------------


@dataclass
class Site:
    """The instance behind Traefik, and how its clients come."""

    instance: Shared
    address: str
    ports: dict[str, int]
    certificates: dict[str, Path]
    exposed: bool = False

    def expose(self, ingress: Object, route: Object) -> None:
        """Have the role lead clients here."""
        network = ("--tags", "envoy", "--skip-tags", "verify")
        self.exposed = True
        self.instance.site(*network, envoy_ingress=ingress, envoy_gateway_route=route)
        self.exposed = bool(ingress or route)

    def hide(self) -> None:
        """Put the instance back, unless a test has."""
        if self.exposed:
            self.expose({}, {})

    def client(self, host: str, point: str, authority: str = "") -> triton.InferenceServerClient:
        """A client that believes that the host has this address; TLS where it names whose certificate it expects."""
        options = [
            ("grpc.default_authority", host),
            ("grpc.ssl_target_name_override", host),
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        return triton.InferenceServerClient(
            f"{self.address}:{self.ports[point]}",
            ssl=bool(authority),
            root_certificates=str(self.certificates[authority]) if authority else None,
            channel_args=options,
        )

    def prove(self, host: str, point: str, authority: str = "") -> int:
        """Send all golden requests, compare the answers, and say how many there were."""
        proved = 0
        with self.client(host, point, authority) as client:
            for golden in load_repositories([str(LOCAL / "models")], None):
                inputs = []
                for tensor in golden.inputs:
                    sent = triton.InferInput(tensor.name, list(tensor.shape), tensor.datatype)
                    inputs.append(sent.set_data_from_numpy(tensor.values().reshape(tensor.shape)))
                answer = client.infer(golden.model, inputs, client_timeout=30)
                for tensor in golden.expected:
                    got = answer.as_numpy(tensor.name)
                    right = numpy.allclose(got.ravel(), tensor.values(), rtol=1e-3, atol=1e-4)
                    assert right, f"{golden.model} {tensor.name}"
                proved += 1
        return proved

    def status(self, host: str, point: str, authority: str = "") -> str:
        """What a call ends with."""
        with self.client(host, point, authority) as client:
            try:
                client.is_server_live(client_timeout=10)
            except triton.InferenceServerException as error:
                return str(error.status()).removeprefix("StatusCode.")
        return "OK"


def free_ports_of_node(address: str, names: tuple[str, ...]) -> dict[str, int]:
    """Ports below those that the node gives to connections and NodePorts."""
    found = {}
    for port in range(20080, 20400):
        with socket.socket() as sock:
            sock.settimeout(2)
            if len(found) < len(names) and sock.connect_ex((address, port)):
                found[names[len(found)]] = port
    return found


def secret_of(name: str, certificate: tuple[Path, Path]) -> Object:
    data = {"tls.crt": certificate[0].read_text(), "tls.key": certificate[1].read_text()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "kubernetes.io/tls",
        "stringData": data,
    }


@pytest.fixture(scope="module")
def site(
    cluster: Cluster, shared: Shared, definitions: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The instance, on which nothing leads to it yet."""
    assert f"grpcroutes.{GATEWAY}" in definitions
    folder = tmp_path_factory.mktemp("exposed")
    address = str(urlsplit(cluster.api.connection.host).hostname)
    ports = free_ports_of_node(address, ("web", "websecure", "gateway"))
    pairs = {}
    for name, host in (("own", OWN), ("controller", SECURE)):
        (folder / name).mkdir()
        pairs[name] = self_signed(folder / name, host)
    controller = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": CLASS}}
    controller["spec"] = {"controller": "traefik.io/ingress-controller"}
    gateways: Object = {"apiVersion": f"{GATEWAY}/v1", "kind": "GatewayClass", "metadata": {"name": CLASS}}
    gateways["spec"] = {"controllerName": "traefik.io/gateway-controller"}
    dynamic = folder / "dynamic.yml"
    default = {"certFile": str(pairs["controller"][0]), "keyFile": str(pairs["controller"][1])}
    dynamic.write_text(yaml.safe_dump({"tls": {"stores": {"default": {"defaultCertificate": default}}}}))
    with contextlib.ExitStack() as stack:
        for path, body in (
            ("/apis/networking.k8s.io/v1/ingressclasses", controller),
            (f"/apis/{GATEWAY}/v1/gatewayclasses", gateways),
        ):
            cluster.create(path, body)
            stack.enter_context(removed(cluster, f"{path}/{CLASS}"))
        gateway: Object = {"apiVersion": f"{GATEWAY}/v1", "kind": "Gateway", "metadata": {"name": "public"}}
        gateway["spec"] = {
            "gatewayClassName": CLASS,
            "listeners": [
                {
                    "name": "grpc",
                    "protocol": "HTTP",
                    "port": ports["gateway"],
                    "allowedRoutes": {"namespaces": {"from": "Same"}},
                }
            ],
        }
        for path, body in (
            (f"/apis/{GATEWAY}/v1/namespaces/{shared.namespace}/gateways", gateway),
            (f"/api/v1/namespaces/{shared.namespace}/secrets", secret_of("own", pairs["own"])),
        ):
            cluster.create(path, body)
            stack.enter_context(removed(cluster, f"{path}/{body['metadata']['name']}"))
        proxy = Traefik(
            folder,
            cluster.kubeconfig,
            shared.namespace,
            ports,
            [f"--providers.file.filename={dynamic}", f"--providers.kubernetesingress.ingressclass={CLASS}"],
        )
        stack.callback(proxy.stop)
        found = Site(shared, address, ports, {name: pair[0] for name, pair in pairs.items()})
        stack.callback(found.hide)
        yield found
        # Told with a test that failed.
        print(proxy.process.tail())


def ingress_of(host: str, **more: Any) -> Object:
    return {"host": host, "class_name": CLASS, "controller": "traefik", **more}


def test_golden_requests_in_the_clear_through_an_ingress_and_a_gateway(site: Site) -> None:
    """Afterwards both are switched off, and gone."""
    cluster, namespace = site.instance.cluster, site.instance.namespace
    ingresses = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses"
    routes = f"/apis/{GATEWAY}/v1/namespaces/{namespace}/grpcroutes"
    site.expose(ingress_of(PLAIN), {"parent_refs": [{"name": "public"}], "hostnames": [GATED]})
    for host, point in ((PLAIN, "web"), (GATED, "gateway")):
        until(lambda host=host, point=point: site.status(host, point) == "OK", 60)  # type: ignore[misc]
        assert site.prove(host, point) >= 4

    # The Gateway says that it takes the route.
    def accepted() -> bool:
        status = cluster.there(f"{routes}/{site.instance.name}-envoy").get("status") or {}
        return any(
            condition["type"] == "Accepted" and condition["status"] == "True"
            for parent in status.get("parents") or []
            for condition in parent["conditions"]
        )

    until(accepted, 60)
    # A host that nobody has is HTTP 404, which is UNIMPLEMENTED, as gRPC reads it.
    assert site.status("nobody.example.org", "web") == "UNIMPLEMENTED"
    assert site.status(GATED, "web") == "UNIMPLEMENTED"

    site.expose({}, {})
    assert not cluster.api.list(ingresses, "Ingresses")
    assert not cluster.api.list(routes, "GRPCRoutes")
    service: Any = cluster.there(f"/api/v1/namespaces/{namespace}/services/{site.instance.name}")
    assert "traefik" not in str(service["metadata"].get("annotations"))
    for host, point in ((PLAIN, "web"), (GATED, "gateway")):
        until(lambda host=host, point=point: site.status(host, point) in GONE, 60)  # type: ignore[misc]


def test_golden_requests_with_a_certificate_of_ones_own(site: Site) -> None:
    """The proof goes the way of the clients, and without an Envoy nothing is answered."""
    site.expose(ingress_of(OWN, tls_secret="own"), {})
    until(lambda: site.status(OWN, "websecure", "own") == "OK", 60)
    assert site.prove(OWN, "websecure", "own") >= 4
    assert site.status(OWN, "websecure", "controller") == "UNAVAILABLE"
    # verify_address and verify_tls are what a client has to know.
    done = run_module(
        "inference_check",
        {
            "repositories": [str(LOCAL / "models")],
            "targets": [
                {
                    "address": f"{site.address}:{site.ports['websecure']}",
                    "tls": {"ca_cert": str(site.certificates["own"]), "server_name": OWN},
                }
            ],
        },
    )
    assert not done["failed"], done
    with site.instance.scaled(0, "envoy"):
        until(lambda: site.status(OWN, "websecure", "own") == "UNAVAILABLE", 60)
    until(lambda: site.status(OWN, "websecure", "own") == "OK", 60)


@pytest.mark.thorough
def test_golden_requests_with_the_certificate_of_the_controller(site: Site) -> None:
    site.expose(ingress_of(PLAIN), {})
    until(lambda: site.status(PLAIN, "web") == "OK", 60)
    site.expose(ingress_of(SECURE, tls=True), {})
    until(lambda: site.status(SECURE, "websecure", "controller") == "OK", 60)
    assert site.prove(SECURE, "websecure", "controller") >= 4
    # A client that trusts somebody else, and one that has the old name.
    assert site.status(SECURE, "websecure", "own") == "UNAVAILABLE"
    assert site.status(PLAIN, "web") == "UNIMPLEMENTED"
    # Traefik takes a client in the clear on that port too, but has no such host for it.
    assert site.status(SECURE, "websecure") == "UNIMPLEMENTED"
