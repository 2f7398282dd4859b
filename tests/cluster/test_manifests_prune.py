# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""manifests: what belongs to a set, what leaves it, and taking the whole set out."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import (
    Cluster,
    actions,
    claim,
    config_map,
    service,
    workload,
)
from ansible_collections.fastml.supersonic.tests.harness.processes import until

ID = "applyset.kubernetes.io/id"
PART_OF = "applyset.kubernetes.io/part-of"
GROUP_KINDS = "applyset.kubernetes.io/contains-group-kinds"
TOOLING = "applyset.kubernetes.io/tooling"


def parent_of(cluster: Cluster, namespace: str) -> dict:
    return cluster.there(f"/api/v1/namespaces/{namespace}/configmaps/set-applyset")["metadata"]


def test_object_that_left_the_set_is_pruned(cluster: Cluster, namespace: str) -> None:
    cluster.manifests(namespace, config_map("one"), config_map("two"), service("web"))
    assert parent_of(cluster, namespace)["annotations"][GROUP_KINDS] == "ConfigMap,Service"
    predicted = cluster.manifests(namespace, config_map("one"), check=True)
    assert cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/two") is not None
    applied = cluster.manifests(namespace, config_map("one"))
    assert (
        actions(predicted)
        == actions(applied)
        == {
            "ConfigMap/set-applyset": "configured",
            "ConfigMap/one": "unchanged",
            "ConfigMap/two": "pruned",
            "Service/web": "pruned",
        }
    )
    assert predicted["diff"] == applied["diff"]
    assert f"ConfigMap/two in {namespace} (pruned)" in [entry["after_header"] for entry in applied["diff"]]
    until(lambda: cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/two") is None)
    assert parent_of(cluster, namespace)["annotations"][GROUP_KINDS] == "ConfigMap"
    assert not cluster.manifests(namespace, config_map("one"))["changed"]


def test_objects_of_others_are_left_alone(cluster: Cluster, namespace: str) -> None:
    cluster.create(f"/api/v1/namespaces/{namespace}/configmaps", config_map("theirs"))
    cluster.manifests(namespace, config_map("other"), name="second")
    cluster.manifests(namespace, config_map("one"), config_map("two"))
    assert "ConfigMap/theirs" not in actions(cluster.manifests(namespace, config_map("one")))
    for name in ("theirs", "other", "second-applyset"):
        assert cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}"), name


def test_without_prune_objects_are_kept_until_pruned(cluster: Cluster, namespace: str) -> None:
    cluster.manifests(namespace, config_map("one"), service("web"))
    kept = cluster.manifests(namespace, config_map("one"), prune=False)
    assert not kept["changed"]
    assert actions(kept)["Service/web"] == "kept"
    assert actions(cluster.manifests(namespace, config_map("one")))["Service/web"] == "pruned"


def test_volume_is_kept_unless_asked(cluster: Cluster, namespace: str) -> None:
    cluster.manifests(namespace, config_map(), claim("data"))
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/data"
    for _time in range(2):
        result = cluster.manifests(namespace, config_map())
        assert not result["changed"]
        assert actions(result)["PersistentVolumeClaim/data"] == "kept"
    gone = cluster.manifests(namespace, state="absent", wait=True)
    assert actions(gone) == {"ConfigMap/settings": "deleted", "PersistentVolumeClaim/data": "kept"}
    assert cluster.there(path)["metadata"].get("deletionTimestamp") is None
    assert not cluster.manifests(namespace, state="absent", wait=True)["changed"]
    gone = cluster.manifests(namespace, state="absent", wait=True, keep=[])
    assert actions(gone) == {"ConfigMap/set-applyset": "deleted", "PersistentVolumeClaim/data": "deleted"}
    assert cluster.get(path) is None


def test_what_controllers_make_is_not_pruned(cluster: Cluster, namespace: str) -> None:
    """The slices of a Service carry its labels, the set's among them."""
    base = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "mine"},
        "addressType": "IPv4",
        "endpoints": [],
    }
    cluster.manifests(namespace, service("web"), slice_)
    copied = until(lambda: cluster.api.list(base, "slices", {"labelSelector": f"{PART_OF},kubernetes.io/service-name"}))
    assert copied[0]["metadata"]["ownerReferences"][0]["kind"] == "Service"
    assert not cluster.manifests(namespace, service("web"), slice_)["changed"]


def test_empty_set_is_refused(cluster: Cluster, namespace: str) -> None:
    cluster.manifests(namespace, config_map())
    for check in (True, False):
        message = cluster.manifests(namespace, check=check)["msg"]
        assert "has no definitions" in message
        assert "state: absent" in message
    assert cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/settings")


def test_member_of_another_set_is_refused(cluster: Cluster, namespace: str) -> None:
    cluster.manifests(namespace, config_map("shared"), name="first")
    result = cluster.manifests(namespace, config_map("one"), config_map("shared"), name="second")
    assert "ConfigMap/shared belongs to another set (applyset-" in result["msg"]
    assert cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/one") is None


@pytest.mark.parametrize(
    ("labels", "annotations", "message"),
    [
        ({}, {}, "it is there already and is something else"),
        ({ID: "applyset-x-v1"}, {TOOLING: "kubectl/v1.34"}, "is the set of another tool (kubectl)"),
        ({ID: "applyset-x-v1"}, {TOOLING: "fastml.supersonic/v1"}, "it was copied from elsewhere"),
    ],
)
def test_foreign_parent_is_refused(
    cluster: Cluster, namespace: str, labels: dict, annotations: dict, message: str
) -> None:
    foreign = config_map("set-applyset")
    foreign["metadata"].update(labels=labels, annotations=annotations)
    cluster.create(f"/api/v1/namespaces/{namespace}/configmaps", foreign)
    for state in ("present", "absent"):
        result = cluster.manifests(namespace, config_map(), state=state)
        assert message in result["msg"]
    assert cluster.there(f"/api/v1/namespaces/{namespace}/configmaps/set-applyset")["data"] == {"a": "1"}
    assert cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/settings") is None


def test_absent_knows_what_was_applied(cluster: Cluster, namespace: str) -> None:
    cluster.manifests(namespace, config_map(), service("web"), workload())
    predicted = cluster.manifests(namespace, state="absent", check=True)
    assert cluster.get(f"/api/v1/namespaces/{namespace}/services/web")
    gone = cluster.manifests(namespace, state="absent", wait=True, wait_timeout=60)
    assert actions(predicted) == actions(gone)
    assert set(actions(gone)) == {"ConfigMap/settings", "Service/web", "Deployment/web", "ConfigMap/set-applyset"}
    assert set(actions(gone).values()) == {"deleted"}
    # Foreground: with the Deployment its pods have gone.
    assert cluster.api.list(f"/api/v1/namespaces/{namespace}/pods", "pods", {"labelSelector": "app=web"}) == []
    again = cluster.manifests(namespace, state="absent", wait=True)
    assert not again["changed"]
    assert again["objects"] == []


def test_absent_in_a_namespace_that_is_not_there(cluster: Cluster) -> None:
    result = cluster.manifests("no-such-namespace", config_map(), state="absent", wait=True)
    assert not result["failed"], result
    assert not result["changed"]


def test_absent_of_a_kind_that_is_not_there(cluster: Cluster, namespace: str) -> None:
    thing = {"apiVersion": "nowhere.example.org/v1", "kind": "Thing", "metadata": {"name": "x"}}
    result = cluster.manifests(namespace, thing, state="absent", wait=True)
    assert not result["failed"], result
    assert not result["changed"]


def test_absent_leaves_what_was_never_applied(cluster: Cluster, namespace: str) -> None:
    cluster.create(f"/api/v1/namespaces/{namespace}/configmaps", config_map())
    assert not cluster.manifests(namespace, config_map(), state="absent")["changed"]
    assert cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/settings")


def test_finalizer_that_hangs_is_named(cluster: Cluster, namespace: str) -> None:
    held = config_map()
    held["metadata"]["finalizers"] = ["example.org/never"]
    cluster.manifests(namespace, held)
    result = cluster.manifests(namespace, state="absent", wait=True, wait_timeout=2)
    assert f"ConfigMap/settings in namespace {namespace} is still there after 2 s" in result["msg"]
    assert "example.org/never" in result["msg"]
    assert result["changed"]
    cluster.patch(f"/api/v1/namespaces/{namespace}/configmaps/settings", {"metadata": {"finalizers": None}})
    assert actions(cluster.manifests(namespace, state="absent", wait=True)) == {"ConfigMap/set-applyset": "deleted"}


def test_namespace_made_here_goes_when_asked(cluster: Cluster) -> None:
    name = cluster.free_name()
    cluster.manifests(name, config_map(), create_namespace=True)
    cluster.manifests(name, config_map("other"), name="second")
    first = cluster.manifests(name, state="absent", wait=True, delete_namespace=True)
    assert first["left"] == [f"The namespace '{name}' is left, the sets second-applyset are still in it."]
    assert "warnings" not in first
    assert cluster.there(f"/api/v1/namespaces/{name}")["status"]["phase"] == "Active"
    last = cluster.manifests(name, name="second", state="absent", wait=True, wait_timeout=60, delete_namespace=True)
    assert actions(last)[f"Namespace/{name}"] == "deleted"
    assert last["left"] == []
    assert cluster.get(f"/api/v1/namespaces/{name}") is None
    assert not cluster.manifests(name, state="absent", delete_namespace=True)["changed"]


def test_namespace_with_things_of_others_is_left(cluster: Cluster) -> None:
    name = cluster.free_name()
    cluster.manifests(name, config_map(), create_namespace=True)
    cluster.create(f"/api/v1/namespaces/{name}/persistentvolumeclaims", claim("data-of-somebody"))
    for check in (True, False):
        result = cluster.manifests(name, state="absent", delete_namespace=True, check=check)
        (left,) = result["left"]
        assert "somebody else's objects are in it: persistentvolumeclaims/data-of-somebody." in left
    assert cluster.there(f"/api/v1/namespaces/{name}")["status"]["phase"] == "Active"
    cluster.api.delete(f"/api/v1/namespaces/{name}/persistentvolumeclaims/data-of-somebody", "claim")
    assert actions(cluster.manifests(name, state="absent", delete_namespace=True)) == {f"Namespace/{name}": "deleted"}


def test_what_the_programs_of_a_set_made_goes_with_it(cluster: Cluster) -> None:
    """And only with a set: without one it is somebody else's."""
    namespace = cluster.free_name()
    byproducts = [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "certificates"}}]
    options = {"create_namespace": True, "delete_namespace": True, "byproducts": byproducts}
    assert not cluster.manifests(namespace, config_map("a"), **options)["failed"]
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    cluster.create(secrets, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "certificates"}})
    other = cluster.manifests(namespace, name="other", state="absent", **options)
    assert other["objects"] == []
    assert not other["failed"]
    assert cluster.get(f"{secrets}/certificates") is not None
    predicted = cluster.manifests(namespace, state="absent", check=True, **options)
    removed = cluster.manifests(namespace, state="absent", wait=True, **options)
    assert actions(removed) == actions(predicted)
    assert actions(removed)["Secret/certificates"] == "deleted"
    assert removed["left"] == []
    assert cluster.get(f"/api/v1/namespaces/{namespace}") is None


def test_namespace_of_others_is_left(cluster: Cluster, namespace: str) -> None:
    cluster.manifests(namespace, config_map(), create_namespace=True)
    result = cluster.manifests(namespace, state="absent", delete_namespace=True)
    assert result["left"] == [f"The namespace '{namespace}' was not created by this collection and is left."]
    assert cluster.there(f"/api/v1/namespaces/{namespace}")["status"]["phase"] == "Active"


def kubectl(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    """kubectl from PATH, or the one that was built for the local cluster."""
    built = sorted(Path("/var/cache/fastml-supersonic/programs").glob("kubernetes-*/kubectl"))
    program = shutil.which("kubectl") or (str(built[-1]) if built else None)
    assert program, "there is no kubectl in PATH"
    environment = own_environment(KUBECTL_APPLYSET="true", KUBECONFIG=cluster.kubeconfig)
    return subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_kubectl_understands_the_set(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    cluster.manifests(namespace, config_map("one"), service("web"))
    (tmp_path / "one.json").write_text(json.dumps(config_map("one")))
    apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--prune",
        "-n",
        namespace,
        "-f",
        str(tmp_path / "one.json"),
    ]
    refused = kubectl(cluster, *apply, "--applyset=configmaps/set-applyset")
    assert 'is managed by tooling "fastml.supersonic" instead of "kubectl"' in refused.stderr
    # With the name of the tool changed nothing is in its way: id, labels and annotations are as it wants them.
    parent = f"/api/v1/namespaces/{namespace}/configmaps/set-applyset"
    cluster.patch(parent, {"metadata": {"annotations": {TOOLING: "kubectl/v1.34.4"}}})
    taken = kubectl(cluster, *apply, "--applyset=configmaps/set-applyset")
    assert "service/web pruned" in taken.stdout, taken.stderr
    refused_here = cluster.manifests(namespace, config_map("one"))
    assert "is the set of another tool (kubectl)" in refused_here["msg"]
