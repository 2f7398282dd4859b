# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What preflight finds on the real cluster: quota, limits, claims, Secrets and hosts as the API server itself has them.
What it says of clusters that nobody has at hand is in tests/unit/preflight."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import connection
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight import checks as preflight_checks
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight import rbac
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.resource_requests import demands
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import (
    Cluster,
    Object,
    claim,
    config_map,
    container,
    crd,
    removed,
    service,
    workload,
)
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.processes import until

GROUP = "rbac.authorization.k8s.io"
PULLED = {"imagePullSecrets": [{"name": "registry"}]}
MOUNTED = {"volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}]}


def servers(cpu: str, limit: str | None = None, **pod: Any) -> Object:
    resources = {"requests": {"cpu": cpu, "memory": "16Mi"}, **({"limits": {"memory": limit}} if limit else {})}
    return workload(name="cms-triton", replicas=2, pod={"containers": [container(resources=resources)], **pod})


def found(api: Api, namespace: str, *manifests: Object, **wanted: Any) -> dict[str, tuple[str, str]]:
    """Severity and sentence of the most urgent row of each check."""
    asked = {"namespace": namespace, "instance": "cms", "demands": demands({"triton": manifests}), **wanted}
    rows: dict[str, tuple[str, str]] = {}
    for row in preflight_checks.inspect(api, asked)["findings"]:
        rows.setdefault(row["check"], (row["severity"], row["found"]))
    return rows


def test_quota_and_limits_of_a_namespace(cluster: Cluster, namespace: str) -> None:
    base = f"/api/v1/namespaces/{namespace}"
    rows = found(cluster.api, namespace, servers("10m"))
    assert {rows[check][0] for check in ("version", "namespace", "quota", "limits", "nodes")} == {"ok"}, rows

    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}}
    cluster.create(
        f"{base}/resourcequotas", {**quota, "spec": {"hard": {"requests.cpu": "50m", "limits.memory": "1Gi"}}}
    )
    until(lambda: cluster.there(f"{base}/resourcequotas/small").get("status", {}).get("used"))
    # Two that fit, and one more with an update that does not.
    rows = found(cluster.api, namespace, servers("20m", "64Mi"))
    assert rows["quota"][0] == "warning"
    assert rows["quota"][1].startswith("An update needs 0.06 of requests.cpu while old and new pods are there")
    assert found(cluster.api, namespace, servers("10m", "64Mi"))["quota"][0] == "ok"
    severity, sentence = found(cluster.api, namespace, servers("30m", "64Mi"))["quota"]
    assert (severity, sentence.partition(",")[0]) == ("error", "The instance needs 0.06 of requests.cpu at least")
    severity, sentence = found(cluster.api, namespace, servers("10m"))["quota"]
    assert severity == "error"
    assert "refuses pods whose containers have no limits of memory" in sentence
    # And so it does.
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": servers("10m")["spec"]["template"]["spec"],
    }
    with pytest.raises(ApiError, match=r"must specify limits\.memory"):
        cluster.create(f"{base}/pods", pod)

    limit = {"type": "Container", "default": {"memory": "64Mi"}, "max": {"memory": "128Mi"}}
    limits = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": [limit]}}
    cluster.create(f"{base}/limitranges", limits)
    rows = found(cluster.api, namespace, servers("10m"))
    assert (rows["quota"][0], rows["limits"][0]) == ("ok", "ok"), rows
    severity, sentence = found(cluster.api, namespace, servers("10m", "256Mi"))["limits"]
    assert severity == "error"
    assert "is 256Mi, which has to be at most 128Mi" in sentence


def test_what_has_to_be_there(cluster: Cluster, namespace: str, ca_file: str) -> None:
    base = f"/api/v1/namespaces/{namespace}"
    manifest = servers("10m", **PULLED, **MOUNTED)
    rows = found(cluster.api, namespace, manifest)
    assert (rows["claims"][0], rows["secrets"][0]) == ("error", "error")
    metadata = {"name": "registry"}
    cluster.create(f"{base}/secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"})
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models"}, "spec": spec}
    cluster.create(f"{base}/persistentvolumeclaims", body)
    rows = found(cluster.api, namespace, manifest)
    assert "is of the type Opaque" in rows["secrets"][1]
    # Of a class that waits for the first pod; and there is one node only.
    assert rows["claims"] == ("ok", "It is there, and is bound when the first pod uses it.")
    # Somebody with no right but to be there stops at nothing of this.
    user = Api(connection(cluster.as_user(cluster.user(namespace, "visitor"), ca_file)))
    rows = found(user, namespace, manifest)
    asked = ("quota", "limits", "nodes", "claims", "secrets")
    assert {check: rows[check][0] for check in asked} == dict.fromkeys(asked, "info")


@pytest.fixture
def claims(cluster: Cluster, namespace: str) -> Iterator[dict[str, Object]]:
    """Of a class that lets them grow and of one that does not, bound by hand, and one that is not bound."""
    path, base = "/apis/storage.k8s.io/v1/storageclasses", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    with contextlib.ExitStack() as stack:
        found = {}
        for name, elastic in (("rigid", False), ("elastic", True)):
            kind = f"{namespace}-{name}"
            stack.enter_context(removed(cluster, f"{path}/{kind}"))
            storage = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": kind}}
            cluster.create(path, {**storage, "provisioner": "example.org/nobody", "allowVolumeExpansion": elastic})
            stack.enter_context(removed(cluster, f"/api/v1/persistentvolumes/{kind}"))
            spec = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": kind}
            volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": kind}}
            cluster.create("/api/v1/persistentvolumes", {**volume, "spec": {**spec, "hostPath": {"path": "/nowhere"}}})
            found[name] = claim(name, storageClassName=kind)
        found["pending"] = claim("pending", storageClassName=f"{namespace}-elastic", volumeName="nowhere")
        for item in found.values():
            cluster.create(base, item)
        for name in ("rigid", "elastic"):
            until(lambda name=name: cluster.there(f"{base}/{name}")["status"].get("phase") == "Bound")
        yield found


@pytest.mark.parametrize(
    ("name", "change", "refused"),
    [
        ("rigid", {}, False),
        ("rigid", {"size": "2Mi"}, True),
        ("rigid", {"size": "512Ki"}, True),
        ("rigid", {"class": "elastic"}, True),
        ("rigid", {"modes": ["ReadOnlyMany"]}, True),
        ("elastic", {"size": "2Mi"}, False),
        ("elastic", {"size": "512Ki"}, True),
        ("pending", {}, False),
        ("pending", {"size": "2Mi"}, True),
    ],
)
def test_claims_are_judged_as_the_api_server_does(
    cluster: Cluster, namespace: str, claims: dict[str, Object], name: str, change: dict[str, Any], refused: bool
) -> None:
    wanted = copy.deepcopy(claims[name])
    spec = wanted["spec"]
    spec["resources"]["requests"]["storage"] = change.get("size", "1Mi")
    spec["accessModes"] = change.get("modes", spec["accessModes"])
    if "class" in change:
        spec["storageClassName"] = f"{namespace}-{change['class']}"
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
    try:
        cluster.api.apply(path, wanted, path, manager="test", force=True, dry_run=True)
        said = ""
    except ApiError as error:
        said = str(error)
    assert bool(said) == refused, said
    asked = {"namespace": namespace, "instance": "cms", "demands": demands({"model_repository": [wanted]})}
    rows = [row for row in preflight_checks.inspect(cluster.api, asked)["findings"] if row["check"] == "claims"]
    assert [row["severity"] for row in rows] == ["error" if refused else "ok"], rows
    assert all(row["why"].startswith("the API server refuses") for row in rows if refused)


def test_a_host_that_somebody_else_has(cluster: Cluster, namespace: str) -> None:
    host = f"{namespace}.example.org"
    service = {"service": {"name": "cms", "port": {"number": 80}}}
    rule = {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": service}]}}
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}
    ours = {**kind, "metadata": {"name": "cms-envoy"}, "spec": {"rules": [rule]}}
    path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses"
    cluster.create(path, ours)
    assert found(cluster.api, namespace, ours)["ingress"][0] == "ok"
    other = cluster.new_namespace()
    cluster.create(path.replace(namespace, other), {**ours, "metadata": {"name": "theirs"}})
    severity, sentence = found(cluster.api, namespace, ours)["ingress"]
    assert severity == "error"
    assert f"The Ingress theirs in the namespace {other} leads {host}/ elsewhere already." in sentence


def test_rights_for_what_is_cluster_wide_are_enough(cluster: Cluster, namespace: str, ca_file: str) -> None:
    """To apply a set as KEDA's is, in two namespaces and cluster-wide, and to remove it, by somebody with the generated
    roles and nothing else."""
    other, name = cluster.new_namespace(), f"{namespace}-set"
    version, pods = f"{GROUP}/v1", [{"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get"]}]

    def role(kind: str, place: dict[str, str]) -> Object:
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **place}, "rules": pods}

    def binding(kind: str, to: str, place: dict[str, str]) -> Object:
        reference = {"apiGroup": GROUP, "kind": to, "name": name}
        subjects = [{"kind": "ServiceAccount", "name": "deployer", "namespace": namespace}]
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **place}, "roleRef": reference,
                "subjects": subjects}  # fmt: skip

    there = {"namespace": other}
    definitions = [
        crd("preflights", f"{namespace}.example.org", "Preflight"),
        role("ClusterRole", {}), binding("ClusterRoleBinding", "ClusterRole", {}),
        role("Role", there), binding("RoleBinding", "Role", there),
        workload(name="web", replicas=0), service("web"), config_map(),
    ]  # fmt: skip
    token = cluster.user(namespace, "deployer")
    subject = {"kind": "ServiceAccount", "name": "deployer", "namespace": namespace}
    wanted = {"name": "set", "namespace": namespace, "definitions": definitions, "keep": [],
              "additional_namespaces": [other], **cluster.as_user(token, ca_file)}  # fmt: skip
    assert run_module("manifests", wanted)["failed"]
    with contextlib.ExitStack() as stack:
        for item in rbac.of_manifests(definitions, f"{namespace}-deployer", namespace, subject):
            place = item["metadata"].get("namespace")
            path = f"/apis/{version}/{f'namespaces/{place}/' if place else ''}{item['kind'].lower()}s"
            stack.enter_context(removed(cluster, f"{path}/{item['metadata']['name']}"))
            cluster.create(path, item)
        # Whatever goes wrong, nothing cluster-wide is left.
        for path in (
            f"{version}/clusterroles/{name}",
            f"{version}/clusterrolebindings/{name}",
            f"apiextensions.k8s.io/v1/customresourcedefinitions/preflights.{namespace}.example.org",
        ):
            stack.enter_context(removed(cluster, f"/apis/{path}"))
        # Who authorizes learns of a role a moment later.
        until(lambda: "cannot" not in str(run_module("manifests", wanted, check=True).get("msg")))
        for changed in (True, False):
            done = run_module("manifests", wanted)
            assert not done.get("failed"), done["msg"]
            assert done["changed"] == changed
        gone = run_module("manifests", {**wanted, "definitions": [], "state": "absent"})
        assert not gone.get("failed"), gone["msg"]
        assert cluster.get(f"/apis/{version}/clusterroles/{name}") is None
