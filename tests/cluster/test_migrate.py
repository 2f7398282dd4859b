# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running release of the Helm chart is taken over, given back, taken over again and removed, and no client notices,
neither one at its Service nor one behind its Ingress.

Its objects are as the chart makes them: names, labels, selectors, one Envoy and one server without any drain of their
own, Envoy's admin port in the Service. Images are the local cluster's, so that what the chart installs at each start is
left out.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import tritonclient.grpc as triton
import yaml
from tritonclient.utils import InferenceServerException

from ansible_collections.fastml.supersonic.tests.harness.clients import load as clients
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import IMAGE, Cluster, Object
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import LOCAL, Instance
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.traefik import Traefik
from ansible_collections.fastml.supersonic.tests.load import ANSWERS

pytestmark = [pytest.mark.alone, pytest.mark.thorough]

OLD, NEW = "sonic", "sonic-next"
ENVOY = "docker.io/fastml/envoy-local:1.40.0"
INGRESS_PORT = 18479
FIGURES = os.environ.get("SUPERSONIC_FIGURES")
# Ours have time to drain, as at a site.
PATIENT = {"envoy_endpoint_wait": 6, "envoy_drain_time": 8, "envoy_in_flight_wait": 6}


def configuration() -> Object:
    """Envoy's, with what matters of the chart's: admin for everybody, and nothing that would save a request."""

    def address(port: int, host: str = "0.0.0.0") -> Object:
        return {"socket_address": {"address": host, "port_value": port}}

    api = "type.googleapis.com/envoy.extensions.filters"
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{api}.http.router.v3.Router"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "triton_grpc_service", "timeout": "0s"}}
    manager = {
        "@type": f"{api}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress_grpc",
        "codec_type": "AUTO",
        "route_config": {"virtual_hosts": [{"name": "backend_grpc", "domains": ["*"], "routes": [route]}]},
        "http_filters": [router],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    endpoint = {"endpoint": {"address": address(8001, f"{OLD}-triton")}}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    servers = {
        "name": "triton_grpc_service",
        "connect_timeout": "0.25s",
        "type": "STRICT_DNS",
        "lb_policy": "LEAST_REQUEST",
        "typed_extension_protocol_options": {
            options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {"cluster_name": "triton_grpc_service", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    listener = {"name": "listener_grpc", "address": address(8001), "filter_chains": [chain]}
    return {"admin": {"address": address(9901)}, "static_resources": {"listeners": [listener], "clusters": [servers]}}


def labels(part: str) -> dict[str, str]:
    found = {"app.kubernetes.io/name": "supersonic", "app.kubernetes.io/instance": OLD}
    return {**found, "app.kubernetes.io/component": part}


def metadata(name: str, part: str) -> Object:
    return {"name": name, "labels": {**labels(part), "app.kubernetes.io/managed-by": "Helm"}}


def service(name: str, part: str, ports: dict[str, int], **spec: Any) -> Object:
    found = [{"name": key, "port": port, "targetPort": port} for key, port in ports.items()]
    body = {"selector": labels(part), "ports": found, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(name, part), "spec": body}


def ingress() -> Object:
    """As the chart makes it, without a host, since clients here call an address."""
    backend = {"service": {"name": OLD, "port": {"number": 8001}}}
    path = {"path": "/", "pathType": "ImplementationSpecific", "backend": backend}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(f"{OLD}-ingress-grpc", "envoy"),
        "spec": {"rules": [{"http": {"paths": [path]}}]},
    }


def deployment(part: str, container: Object, volume: Object, **spec: Any) -> Object:
    template = {"metadata": {"labels": labels(part)}, "spec": {"containers": [container], "volumes": [volume], **spec}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(f"{OLD}-{part}", part),
        "spec": {"replicas": 1, "selector": {"matchLabels": labels(part)}, "template": template},
    }


def release() -> list[Object]:
    """What the chart makes: servers from a claim, one Envoy, and the Service of clients."""
    text = "tritonserver --model-repository=/models/current --exit-timeout-secs=60"
    small = {"requests": {"cpu": "10m", "memory": "64Mi"}}
    server = {
        "name": "triton-server",
        "image": IMAGE,
        "command": ["/bin/sh", "-c"],
        "args": [text],
        "resources": small,
        "ports": [{"name": "http", "containerPort": 8000}, {"name": "grpc", "containerPort": 8001}],
        "volumeMounts": [{"name": "model-repository", "mountPath": "/models", "readOnly": True}],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": "http"}, "periodSeconds": 2},
    }
    claim = {"name": "model-repository", "persistentVolumeClaim": {"claimName": f"{NEW}-models"}}
    envoy = {
        "name": "envoy",
        "image": ENVOY,
        "command": ["sh", "-c", "exec envoy -c /etc/envoy/envoy.yaml"],
        "resources": small,
        "ports": [{"name": "grpc", "containerPort": 8001}, {"name": "admin", "containerPort": 9901}],
        "volumeMounts": [{"name": f"{OLD}-envoy-config", "mountPath": "/etc/envoy"}],
    }
    config = {"name": f"{OLD}-envoy-config", "configMap": {"name": f"{OLD}-envoy-config"}}
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(f"{OLD}-envoy-config", "envoy"),
            "data": {"envoy.yaml": yaml.safe_dump(configuration())},
        },
        service(f"{OLD}-triton", "triton", {"http": 8000, "grpc": 8001, "metrics": 8002}, clusterIP="None"),
        service(OLD, "envoy", {"grpc": 8001, "admin": 9901}, type="NodePort"),
        ingress(),
        deployment("triton", server, claim, terminationGracePeriodSeconds=60),
        deployment("envoy", envoy, config),
    ]


def record(objects: list[Object], namespace: str) -> Object:
    """Helm's own of such a release."""
    text = json.dumps({"name": OLD, "namespace": namespace, "manifest": yaml.safe_dump_all(objects)})
    packed = base64.b64encode(base64.b64encode(gzip.compress(text.encode()))).decode()
    found = {"owner": "helm", "name": OLD, "status": "deployed", "version": "1"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "helm.sh/release.v1",
        "metadata": {"name": f"sh.helm.release.v1.{OLD}.v1", "labels": found},
        "data": {"release": packed},
    }


class Beside(Instance):
    """An instance, and the release that it is to replace."""

    def path(self, kind: str, name: str = "") -> str:
        roots = {"deployments": "/apis/apps/v1", "ingresses": "/apis/networking.k8s.io/v1"}
        root = roots.get(kind, "/api/v1")
        return f"{root}/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")

    def install(self) -> None:
        """The release, as Helm has it."""
        objects = release()
        notes = {"meta.helm.sh/release-name": OLD, "meta.helm.sh/release-namespace": self.namespace}
        known = record(objects, self.namespace)
        for item in objects:
            item["metadata"]["annotations"] = notes
        for item in [*objects, known]:
            kind = f"{item['kind'].lower()}s".replace("sss", "sses")
            self.cluster.create(self.path(kind), item)
        # How this controller is told to speak HTTP/2 with Envoy; the chart cannot.
        annotation = {"traefik.ingress.kubernetes.io/service.serversscheme": "h2c"}
        self.cluster.patch(self.path("services", OLD), {"metadata": {"annotations": annotation}})
        for part in ("triton", "envoy"):
            until(lambda part=part: self.replicas(part, ready=True) == 1, 180)  # type: ignore[misc]

    def replicas(self, part: str, *, ready: bool = False) -> int:
        found = self.cluster.there(self.path("deployments", f"{OLD}-{part}"))
        return int((found["status"].get("readyReplicas") or 0) if ready else found["spec"]["replicas"])

    def old_address(self) -> str:
        host = urlsplit(self.cluster.api.connection.host).hostname
        return f"{host}:{self.cluster.there(self.path('services', OLD))['spec']['ports'][0]['nodePort']}"

    def proxied_address(self) -> str:
        return f"{urlsplit(self.cluster.api.connection.host).hostname}:{INGRESS_PORT}"

    def selected(self) -> str:
        spec = self.cluster.there(self.path("services", OLD))["spec"]
        return str(spec["selector"]["app.kubernetes.io/instance"])

    def module(self, action: str, **options: Any) -> dict[str, Any]:
        given = {"action": action, "namespace": self.namespace, "release": OLD, "name": NEW}
        found = run_module("helm_release_takeover", {**given, "kubeconfig": self.cluster.kubeconfig, **options})
        assert not found["failed"], found
        return found

    def asked(self) -> int:
        """Requests that the Envoys of the instance have sent to servers."""
        return sum(self.envoy_metric('envoy_cluster_upstream_rq_total{envoy_cluster_name="triton"}').values())

    def pods(self, component: str) -> dict[str, Object]:
        """Those of the instance alone."""
        found = super().pods(component)
        label = "app.kubernetes.io/instance"
        return {uid: pod for uid, pod in found.items() if pod["metadata"]["labels"].get(label) == NEW}


@pytest.fixture
def beside(cluster: Cluster, tmp_path: Path) -> Iterator[Beside]:
    for model in ANSWERS:
        shutil.copytree(LOCAL / "models" / model, tmp_path / "models" / model)
    instance = Beside(cluster, tmp_path, NEW, {**PATIENT, "model_repository_sources": [str(tmp_path / "models")]})
    try:
        instance.site()
        instance.install()
        proxy = Traefik(tmp_path, cluster.kubeconfig, instance.namespace, {"web": INGRESS_PORT})
        try:
            yield instance
        finally:
            proxy.stop()
    finally:
        instance.remove()


def test_no_request_is_lost(beside: Beside, tmp_path: Path) -> None:
    plan = beside.module("plan")
    assert plan["problems"] == []
    assert not plan["changed"]
    until(lambda: answers(beside.proxied_address()), 60)
    # Enough that somebody is always on the way, and not so many that the machine is the bottleneck.
    few = ("--clients", "2", "--pause", "0.02")
    with (
        clients(beside.old_address(), tmp_path, *few) as direct,
        clients(beside.proxied_address(), tmp_path, *few) as proxied,
    ):
        before = beside.asked()
        extra = {"migrate_release": OLD, "migrate_action": "take_over", "migrate_old_servers": 0}
        done = beside.run("playbooks/migrate.yml", **extra)
        assert done.code == 0, done.output
        assert f"Led the Service {OLD} to the Envoys of {NEW}." in done.text
        assert beside.selected() == NEW
        # All of them have moved.
        again = beside.module("take_over", old_servers=0)
        assert (again["changed"], again["requests"], again["connections"], again["silent"]) == (False, 0, 0, [])
        assert beside.asked() > before
        until(lambda: beside.replicas("triton", ready=True) == 0, 180)

        # The servers that were taken away have to be there, and known, before clients come.
        assert beside.module("back", wait_seconds=300)["changed"]
        assert beside.replicas("triton", ready=True) == 1
        assert beside.selected() == OLD
        until(lambda: rolled_out(beside), 180)
        # New Envoys of ours, whom nobody asks.
        until(lambda: unasked(beside), 60)

        beside.module("take_over")
        removed = beside.module("finish")["steps"]
        assert f"Removed Deployment/{OLD}-envoy." in removed
        assert f"Took the release {OLD} out of Helm's records." in removed
        until(lambda: not left(beside), 180)
        time.sleep(1)
    for report in (direct, proxied):
        assert report["failed"] == report["wrong"] == 0, report
        assert report["requests"] > 100, report
    if FIGURES:
        with open(FIGURES, "a", encoding="utf-8") as file:
            file.write(json.dumps({"event": "migrate", "direct": direct, "proxied": proxied}) + "\n")
    assert not beside.module("finish")["changed"]
    for kind, name in (("services", OLD), ("ingresses", f"{OLD}-ingress-grpc")):
        kept = beside.cluster.there(beside.path(kind, name))["metadata"]
        assert kept["labels"]["app.kubernetes.io/instance"] == NEW, kind
    # Which a teardown leaves, with what the cluster makes for it.
    given = {"name": NEW, "namespace": beside.namespace, "kubeconfig": beside.cluster.kubeconfig}
    seen = run_module("instance_objects", given)
    assert {f"Service/{OLD}", f"Ingress/{OLD}-ingress-grpc"} <= {f"{one['kind']}/{one['name']}" for one in seen["kept"]}
    assert not [one for one in seen["stray"] if not one["name"].startswith(NEW) and one["name"].startswith(OLD)]
    assert beside.cluster.get(beside.path("persistentvolumeclaims", f"{NEW}-models")) is not None


def rolled_out(beside: Beside) -> bool:
    """Whether the Envoys of the instance are all new ones, and nobody is leaving."""
    found = beside.cluster.there(beside.path("deployments", f"{NEW}-envoy"))
    known = found["status"].get("observedGeneration") == found["metadata"]["generation"]
    return known and found["status"].get("updatedReplicas") == 1 and beside.ready("envoy", 1)


def answers(address: str) -> bool:
    """Whether a server answers through it; a controller needs a moment to know the Ingress."""
    with triton.InferenceServerClient(address) as client, contextlib.suppress(InferenceServerException):
        return bool(client.is_server_ready())
    return False


def unasked(beside: Beside) -> bool:
    first = beside.asked()
    time.sleep(0.5)
    return beside.asked() == first


def left(beside: Beside) -> list[str]:
    """What is still there of the release, the address of its clients aside."""
    found = []
    for kind in ("deployments", "configmaps", "services", "secrets", "pods"):
        for item in beside.cluster.api.list(beside.path(kind), kind):
            of = item["metadata"].get("labels") or {}
            if OLD in (of.get("app.kubernetes.io/instance"), of.get("name")):
                found.append(item["metadata"]["name"])
    return found
