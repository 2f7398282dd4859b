# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Kubernetes for tests, and short ways to say what an object is."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import connection
from ansible_collections.fastml.supersonic.tests.harness.environment import for_python
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module

Object = dict[str, Any]
# Every local cluster has this image, and with it bash, sleep and Python.
IMAGE = "docker.io/fastml/triton-local:2.51.0"

_RUN_MODULE = """
import json, sys
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
print(json.dumps(run_module("manifests", json.load(sys.stdin))))
"""


class Cluster:
    """A cluster as the tests see it: directly, and through the module manifests."""

    def __init__(self, kubeconfig: str) -> None:
        self.kubeconfig = kubeconfig
        self.api = Api(connection({"kubeconfig": kubeconfig}))
        self._namespaces: list[str] = []
        # Told of a namespace that is about to go while a failure is on its way: nothing of it can be read afterwards.
        self.on_failure: Callable[[str], None] | None = None

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Those that were made, or named, and not removed yet."""
        return tuple(self._namespaces)

    def manifests(
        self, namespace: str, *definitions: Any, check: bool = False, diff: bool = True, **options: Any
    ) -> dict[str, Any]:
        """Run the module on a set, by default one called set, without waiting, in this namespace."""
        given = {"name": "set", "namespace": namespace, "definitions": list(definitions), "wait": False, **options}
        if "host" not in given:
            given.setdefault("kubeconfig", self.kubeconfig)
        return run_module("manifests", given, check=check, diff=diff)

    def start_manifests(self, namespace: str, *definitions: Any, **options: Any) -> subprocess.Popen[str]:
        """The same in a process of its own, for tests that kill it or run many at once."""
        given = {"name": "set", "namespace": namespace, "definitions": list(definitions), "wait": False, **options}
        if "host" not in given:
            given.setdefault("kubeconfig", self.kubeconfig)
        process = subprocess.Popen(
            [sys.executable, "-c", _RUN_MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=for_python(),
        )
        assert process.stdin
        process.stdin.write(json.dumps(given))
        process.stdin.close()
        process.stdin = None
        return process

    def get(self, path: str) -> Object | None:
        return self.api.find(path, path)

    def there(self, path: str) -> Object:
        found = self.get(path)
        assert found is not None, f"{path} is not there"
        return found

    def create(self, path: str, body: Object) -> Object:
        answer = json.loads(self.api.call("POST", path, path, body=body))
        assert isinstance(answer, dict)
        return answer

    def patch(self, path: str, body: Any, *, manager: str = "somebody", kind: str = "merge") -> Object:
        answer = self.api.call(
            "PATCH",
            path,
            path,
            query={"fieldManager": manager},
            body=body,
            content_type=f"application/{kind}-patch+json",
        )
        result = json.loads(answer)
        assert isinstance(result, dict)
        return result

    def new_namespace(self, labels: dict[str, str] | None = None) -> str:
        name = self.free_name()
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}
        self.create("/api/v1/namespaces", body)
        return name

    def free_name(self) -> str:
        """The name of a namespace that is not there, and that will be removed at the end if it then is."""
        name = f"test-{uuid.uuid4().hex[:8]}"
        self._namespaces.append(name)
        return name

    def user(self, namespace: str, name: str, *rules: Object) -> str:
        """A service account with these rights in its namespace; returns its token."""
        base = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        self.create(base, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        group = "rbac.authorization.k8s.io"
        role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": name}, "rules": list(rules)}
        self.create(f"{rbac}/roles", role)
        binding = {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }
        self.create(f"{rbac}/rolebindings", binding)
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600},
        }
        token = self.create(f"{base}/{name}/token", request)["status"]["token"]
        assert isinstance(token, str)
        return token

    def as_user(self, token: str, ca_file: str) -> dict[str, Any]:
        """Connection options of somebody else."""
        return {"host": self.api.connection.host, "api_key": token, "ca_cert": ca_file}

    def remove_namespace(self, name: str) -> None:
        """This one alone: tests and fixtures beside the one that ends may have others."""
        if self.on_failure and sys.exception() is not None:
            self.on_failure(name)
        with contextlib.suppress(ApiError):
            self.api.delete(f"/api/v1/namespaces/{name}", name, propagation="Background")
        if name in self._namespaces:
            self._namespaces.remove(name)

    def cleanup(self) -> None:
        """The end of the process: whatever of its namespaces is left."""
        for name in self.namespaces:
            self.remove_namespace(name)


@contextlib.contextmanager
def removed(cluster: Cluster, path: str) -> Iterator[None]:
    """Something outside the namespaces, gone afterwards whatever happens."""
    try:
        yield
    finally:
        with contextlib.suppress(ApiError):
            cluster.api.delete(path, path, propagation="Background")


def actions(result: dict[str, Any]) -> dict[str, str]:
    """kind/name -> action."""
    return {f"{entry['kind']}/{entry['name']}": entry["action"] for entry in result["objects"]}


def config_map(name: str = "settings", **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data or {"a": "1"}}


def secret(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def claim(name: str, **spec: Any) -> Object:
    base = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": {**base, **spec}}


def service(name: str, **spec: Any) -> Object:
    base = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {**base, **spec}}


def container(script: str = "exec sleep 3600", **more: Any) -> Object:
    return {
        "name": "main",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["bash", "-c", script],
        **more,
    }


def workload(kind: str = "Deployment", name: str = "web", *, pod: Object | None = None, **spec: Any) -> Object:
    """A workload whose pods sleep; pod replaces parts of the pod's spec."""
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container()], **(pod or {})},
    }
    base: Object = {"selector": {"matchLabels": labels}, "template": template}
    if kind == "Job":
        base.pop("selector")
        template["spec"].setdefault("restartPolicy", "Never")
    elif kind != "DaemonSet":
        base["replicas"] = 1
    if kind == "StatefulSet":
        base["serviceName"] = name
    version = "batch/v1" if kind == "Job" else "apps/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": {**base, **spec}}


def crd(plural: str, group: str, kind: str, *, namespaced: bool = True, properties: Object | None = None) -> Object:
    """A CustomResourceDefinition with one version, v1."""
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties or {}}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced" if namespaced else "Cluster",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
