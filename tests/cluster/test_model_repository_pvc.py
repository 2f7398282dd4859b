# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Models on a persistent volume of a real cluster."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import Lost
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.pod_exec import Exec
from ansible_collections.fastml.supersonic.plugins.module_utils._models import store as model_store
from ansible_collections.fastml.supersonic.plugins.module_utils._models import store_pod
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import scan
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import IMAGE, Cluster, claim, container
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.node import small_disk_in_node
from ansible_collections.fastml.supersonic.tests.harness.processes import until

COLLECTIONS = Path(__file__).resolve().parents[2] / ".collections"
CONFIG = 'backend: "python"\n'
LIST = """
import hashlib, os
for folder, _, files in os.walk("/store/current/"):
    for name in files:
        path = os.path.join(folder, name)
        print(oct(os.stat(path).st_mode)[-3:], hashlib.sha256(open(path, "rb").read()).hexdigest(),
              os.path.relpath(path, "/store/current"), flush=True)
print("end", flush=True)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two small models and one with a few megabytes of weights."""
    root = tmp_path / "source"
    for name in ("alpha", "beta"):
        (root / name / "1").mkdir(parents=True)
        (root / name / "config.pbtxt").write_text(CONFIG)
        (root / name / "1/model.py").write_text(f"# {name}\n")
    (root / "beta/1/weights").write_bytes(os.urandom(3_000_000))
    (root / "alpha/1/tool").write_text("#!/bin/sh\n")
    (root / "alpha/1/tool").chmod(0o755)
    return root


@pytest.fixture
def volume(cluster: Cluster, namespace: str) -> str:
    """A claim; returns its namespace."""
    cluster.create(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", claim("models"))
    return namespace


def publish(
    cluster: Cluster,
    namespace: str,
    source: Path,
    *,
    check: bool = False,
    pod: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    options: dict[str, Any] = {
        "source": [str(source)],
        "store": {"type": "pvc", "namespace": namespace, "claim": "models"},
        "pod": {"image": IMAGE, **(pod or {})},
        "wait_timeout": 60,
        **more,
    }
    if "host" not in options:
        options["kubeconfig"] = cluster.kubeconfig
    return run_module("model_repository", options, check=check, diff=True)


def pods(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    return cluster.api.list(f"/api/v1/namespaces/{namespace}/pods", "pods")


def served(cluster: Cluster, namespace: str) -> list[str]:
    """Mode, digest and path of every file, as a server would see them."""
    spec = {
        "terminationGracePeriodSeconds": 0,
        "containers": [container(volumeMounts=[{"name": "store", "mountPath": "/store", "readOnly": True}])],
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "models"}}],
    }
    base = f"/api/v1/namespaces/{namespace}/pods"
    cluster.create(base, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "reader"}, "spec": spec})
    until(lambda: cluster.there(f"{base}/reader")["status"].get("phase") == "Running")
    stream = run(cluster, namespace, "reader", "python3", "-c", LIST)
    lines = list(iter(lambda: stream.line().decode().strip(), "end"))
    stream.close()
    cluster.api.delete(f"{base}/reader", "reader", propagation="Background")
    until(lambda: cluster.get(f"{base}/reader") is None)
    return sorted(lines)


def run(cluster: Cluster, namespace: str, pod: str, *command: str) -> Exec:
    return Exec(cluster.api, namespace=namespace, pod=pod, container="main", command=command, silence=30)


def expected(source: Path) -> list[str]:
    return sorted(
        f"{'755' if os.access(path, os.X_OK) else '644'} {hashlib.sha256(path.read_bytes()).hexdigest()} "
        f"{path.relative_to(source)}"
        for path in source.rglob("*")
        if path.is_file()
    )


def annotation(cluster: Cluster, namespace: str, name: str = "release") -> str | None:
    live = cluster.there(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/models")
    found = live["metadata"].get("annotations", {}).get(f"supersonic.fastml.org/{name}")
    return None if found is None else str(found)


def test_publish_and_update(cluster: Cluster, volume: str, source: Path, ca_file: str) -> None:
    check = publish(cluster, volume, source, check=True)
    assert (check["changed"], check["release"]) == (True, scan([str(source)]).release)
    assert pods(cluster, volume) == []

    first = publish(cluster, volume, source)
    assert first["changed"], first
    assert first["release"] == check["release"] == annotation(cluster, volume)
    assert first["diff"] == check["diff"]
    assert served(cluster, volume) == expected(source)
    until(lambda: pods(cluster, volume) == [])

    # Without a change no pod is needed: this user could not even make one.
    token = cluster.user(
        volume, "reader", {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["get"]}
    )
    again = publish(cluster, volume, source, **cluster.as_user(token, ca_file))
    assert (again["failed"], again["changed"]) == (False, False), again

    (source / "alpha/1/model.py").write_text("# changed\n")
    check = publish(cluster, volume, source, check=True)
    assert [line[:6] for line in check["diff"]["before"].splitlines()] == ["alpha:", "beta: "]
    assert check["diff"]["before"].splitlines()[1] == check["diff"]["after"].splitlines()[1]
    second = publish(cluster, volume, source)
    assert second["sent_bytes"] == len("# changed\n")
    assert second["previous_release"] == first["release"]
    assert served(cluster, volume) == expected(source)
    verified = publish(cluster, volume, source, verify=True)
    assert (verified["changed"], verified["sent_bytes"]) == (False, 0)


def test_the_rights_that_are_enough(cluster: Cluster, source: Path, ca_file: str) -> None:
    """In a namespace that enforces the strictest of the pod security standards, too."""
    volume = cluster.new_namespace({"pod-security.kubernetes.io/enforce": "restricted"})
    cluster.create(f"/api/v1/namespaces/{volume}/persistentvolumeclaims", claim("models"))
    token = cluster.user(
        volume,
        "publisher",
        {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["get", "patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "create", "patch", "delete"]},
        {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]},
    )
    result = publish(cluster, volume, source, **cluster.as_user(token, ca_file))
    assert result["changed"], result
    cluster.remove_namespace(volume)


def test_a_right_that_is_missing_is_named(cluster: Cluster, volume: str, source: Path, ca_file: str) -> None:
    token = cluster.user(
        volume,
        "publisher",
        {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["get", "patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "create", "patch", "delete"]},
    )
    result = publish(cluster, volume, source, **cluster.as_user(token, ca_file))
    assert "lacks the permission to" in result["msg"]
    assert "pods/exec" in result["msg"]
    until(lambda: pods(cluster, volume) == [])


def test_check_mode_without_namespace(cluster: Cluster, source: Path) -> None:
    result = publish(cluster, cluster.free_name(), source, check=True)
    assert (result["failed"], result["changed"], result["previous_release"]) == (False, True, None)


def test_a_helper_pod_that_dies_is_replaced(cluster: Cluster, volume: str, source: Path) -> None:
    for number in range(4):
        (source / f"beta/1/more{number}").write_bytes(os.urandom(1_000_000))
    real = store_pod.Remote.send
    sent: list[str] = []
    killed: list[str] = []

    def send(self: store_pod.Remote, key: str, size: int, path: str) -> None:
        real(self, key, size, path)
        sent.append(key)
        if len(sent) == 4:
            self.commit()
            # Only then it is done.
            self.call("check_lock")
            name = pods(cluster, volume)[0]["metadata"]["name"]
            body = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
            cluster.api.call("DELETE", f"/api/v1/namespaces/{volume}/pods/{name}", name, body=body)
            killed.append(name)
            # Any answer shows that it lives; at last none comes.
            with contextlib.suppress(Lost):
                until(lambda: self.call("manifest", release="none"), 30)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_pod.Remote, "send", send)
        result = publish(cluster, volume, source)
    assert killed
    assert result["changed"], result
    assert not set(sent[:4]).intersection(sent[4:])
    assert served(cluster, volume) == expected(source)


PUBLISHER = """
import sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.fastml.supersonic.plugins.module_utils._models import publish as p
from ansible_collections.fastml.supersonic.plugins.module_utils._models import store_pod as s
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import connection
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
real = s.Remote.send
def send(self, key, size, path):
    real(self, key, size, path)
    print("sent", flush=True)
s.Remote.send = send
s._IDLE = s._IDLE.replace(f"< {s._IDLE_SECONDS}:", "< 5:")
api = Api(connection({"kubeconfig": sys.argv[2]}))
p.publish(p.ClaimTarget(api, sys.argv[3], "models", s.PodOptions(image=sys.argv[4])), [sys.argv[5]], p.Options())
"""


@pytest.fixture
def killed_publisher(cluster: Cluster, volume: str, source: Path) -> None:
    """A publisher that was killed while it sent."""
    arguments = [str(COLLECTIONS), cluster.kubeconfig, volume, IMAGE, str(source)]
    with subprocess.Popen([sys.executable, "-c", PUBLISHER, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _time in range(2):
            assert process.stdout.readline() == "sent\n"
        process.kill()
        process.wait()


@pytest.mark.usefixtures("killed_publisher")
def test_a_killed_publisher(cluster: Cluster, volume: str, source: Path) -> None:
    assert annotation(cluster, volume) is None
    left = [pod["metadata"]["name"] for pod in pods(cluster, volume)]
    assert len(left) == 1
    # The store in the old pod notices that its publisher is gone, so that nobody waits for a stale lock.
    store = {"store": {"type": "pvc", "namespace": volume, "claim": "models"}, "pod": {"image": IMAGE}}
    asked = {**store, "kubeconfig": cluster.kubeconfig, "deep": True}
    until(lambda: run_module("model_repository_info", asked)["lock"] is None, 10)
    result = publish(cluster, volume, source)
    assert result["changed"], result
    assert served(cluster, volume) == expected(source)
    # The old pod ends by itself, and the next publication clears it away.
    path = f"/api/v1/namespaces/{volume}/pods/{left[0]}"
    until(lambda: cluster.there(path)["status"]["phase"] == "Succeeded", 90)
    (source / "alpha/1/model.py").write_text("# new\n")
    assert publish(cluster, volume, source)["changed"]
    until(lambda: cluster.get(path) is None)


@pytest.mark.parametrize(
    ("pod", "message"),
    [
        (
            {"image": "docker.io/fastml/not-there:1", "image_pull_policy": "Never"},
            "the image docker.io/fastml/not-there:1 of container publisher cannot be pulled",
        ),
        ({"node_selector": {"no": "such"}}, "cannot be scheduled: 0/1 nodes are available"),
        ({"labels": {"bad": "a/b"}}, "the API server finds it invalid: metadata.labels"),
        ({"resources": {"limits": {"memory": "1"}}}, "its containers have not been started (FailedCreatePodSandBox"),
    ],
    ids=["image", "node", "label", "memory"],
)
def test_a_pod_that_cannot_run_is_explained(
    cluster: Cluster, volume: str, source: Path, pod: dict[str, Any], message: str
) -> None:
    def explained() -> bool:
        """A busy kubelet needs more than one try to come as far as the fault."""
        result = publish(cluster, volume, source, pod=pod, wait_timeout=15)
        assert result["failed"]
        print(result["msg"])
        return message in result["msg"]

    until(explained)
    until(lambda: pods(cluster, volume) == [])


def test_claims_that_will_not_do(cluster: Cluster, namespace: str, source: Path) -> None:
    missing = publish(cluster, namespace, source)
    assert missing["msg"] == (
        f"PersistentVolumeClaim {namespace}/models does not exist. Create it before models are published to it."
    )
    base = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    cluster.create(base, claim("models", storageClassName="no-such-class"))
    result = publish(cluster, namespace, source, wait_timeout=20)
    assert "the storage class no-such-class does not exist" in result["msg"], result["msg"]
    cluster.api.delete(f"{base}/models", "models", propagation="Background")
    until(lambda: cluster.get(f"{base}/models") is None)
    cluster.create(base, claim("models", accessModes=["ReadOnlyMany"]))
    assert "can only be read" in publish(cluster, namespace, source)["msg"]


def test_a_volume_in_use_is_mounted_where_it_is(cluster: Cluster, volume: str, source: Path) -> None:
    publish(cluster, volume, source)
    spec = {
        "containers": [container(volumeMounts=[{"name": "store", "mountPath": "/store"}])],
        "terminationGracePeriodSeconds": 0,
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "models"}}],
    }
    base = f"/api/v1/namespaces/{volume}/pods"
    cluster.create(base, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "user"}, "spec": spec})
    node = until(lambda: cluster.there(f"{base}/user")["spec"].get("nodeName"))
    target = store_pod.Claim(cluster.api, volume, "models")
    helper = store_pod.Helper(cluster.api, target, store_pod.PodOptions(image=IMAGE))
    affinity = json.dumps(helper.definition(store_pod.node_of(cluster.api, target))["spec"]["affinity"])
    assert node in affinity
    (source / "alpha/1/model.py").write_text("# new\n")
    assert publish(cluster, volume, source)["changed"]


@pytest.fixture
def shell(cluster: Cluster, namespace: str) -> str:
    """A pod to run commands in; returns its namespace."""
    base = f"/api/v1/namespaces/{namespace}/pods"
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "shell"},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container()]},
    }
    cluster.create(base, body)
    until(lambda: cluster.there(f"{base}/shell")["status"].get("phase") == "Running")
    return namespace


def test_large_input_arrives_and_a_slow_reader_is_waited_for(cluster: Cluster, shell: str) -> None:
    data = os.urandom(20_000_000)
    stream = run(cluster, shell, "shell", "bash", "-c", f"sleep 1; head -c {len(data)} | sha256sum; cat")
    stream.write(data)
    assert stream.line().split()[0].decode() == hashlib.sha256(data).hexdigest()
    stream.write(b"one\ntwo\n")
    assert (stream.line(), stream.line()) == (b"one\n", b"two\n")
    stream.close()


def test_a_command_that_fails_tells_why(cluster: Cluster, shell: str) -> None:
    # It waits for a line, so that all its streams are connected when it ends; what ended at once was lost under load.
    stream = run(cluster, shell, "shell", "bash", "-c", "read -r; echo no good >&2; exit 7")
    stream.write(b"\n")
    with pytest.raises(Lost, match=r"exit code 7.* It said: no good"):
        stream.line()
    stream.close()
    stream = run(cluster, shell, "shell", "bash", "-c", "head -c 10; exit 3")
    stream.write(b"nine more\n")
    assert stream.line() == b"nine more\n"
    with pytest.raises(Lost, match="exit code 3"):
        stream.line()
    stream.close()


def test_the_store_runs_on_the_image_as_it_was_shipped() -> None:
    """What is sent is the file itself, so what the unit tests say holds in the pod."""
    assert store_pod._source() == Path(model_store.__file__).read_text()


def test_the_life_of_releases(cluster: Cluster, volume: str, source: Path) -> None:
    """Published three times, gone back, verified, pruned, and told about all the way."""
    place: dict[str, Any] = {
        "store": {"type": "pvc", "namespace": volume, "claim": "models"},
        "wait_timeout": 60,
        "kubeconfig": cluster.kubeconfig,
    }
    acting = {**place, "pod": {"image": IMAGE}}
    releases = []
    for number in range(3):
        (source / "alpha/1/model.py").write_text(f"# {number}\n")
        releases.append(publish(cluster, volume, source)["release"])
    first, second, third = releases

    until(lambda: pods(cluster, volume) == [])
    shallow = run_module("model_repository_info", place)
    assert (shallow["current"], shallow["previous"], shallow["opened"]) == (third, second, False), shallow
    assert pods(cluster, volume) == []
    deep = run_module("model_repository_info", {**acting, "deep": True})
    assert deep["releases"] == shallow["releases"]
    assert (deep["lock"], deep["leftovers"]["staging"]) == (None, [])
    assert deep["space"]["free"] > 0

    predicted = run_module("model_repository", {**acting, "state": "rolled_back"}, check=True, diff=True)
    assert annotation(cluster, volume) == third
    back = run_module("model_repository", {**acting, "state": "rolled_back"}, diff=True)
    assert predicted == {**back, "msg": back["msg"].replace(" replaced ", " would replace ")}
    assert (back["changed"], back["release"], back["previous_release"]) == (True, second, third)
    assert annotation(cluster, volume) == second
    (source / "alpha/1/model.py").write_text("# 1\n")
    assert served(cluster, volume) == expected(source)
    named = {**acting, "state": "rolled_back", "release": first[:12]}
    assert run_module("model_repository", named)["changed"] is True
    again = run_module("model_repository", named)
    assert (again["failed"], again["changed"]) == (False, False), again
    missing = run_module("model_repository", {**named, "release": "0" * 12})
    assert f"The release '{'0' * 12}' is not in the store. It holds: {first}" in missing["msg"]

    assert run_module("model_repository", {**acting, "state": "verified", "all_releases": True})["sound"] is True
    pruned = run_module("model_repository", {**acting, "state": "pruned", "keep": 1})
    assert pruned["pruned"] == sorted([second, third])
    assert [item["release"] for item in run_module("model_repository_info", place)["releases"]] == [first]
    until(lambda: pods(cluster, volume) == [])


def test_a_restored_claim_is_not_believed(cluster: Cluster, volume: str, source: Path) -> None:
    """As a backup of the objects brings it back: with its annotations, and over a new volume."""
    first = publish(cluster, volume, source)
    until(lambda: pods(cluster, volume) == [])
    base = f"/api/v1/namespaces/{volume}/persistentvolumeclaims"
    noted = cluster.there(f"{base}/models")["metadata"]["annotations"]
    cluster.api.delete(f"{base}/models", "models", propagation="Background")
    until(lambda: cluster.get(f"{base}/models") is None)
    restored = claim("models")
    restored["metadata"]["annotations"] = {name: noted[name] for name in noted if name.startswith("supersonic.")}
    cluster.create(base, restored)
    assert annotation(cluster, volume) == first["release"]
    again = publish(cluster, volume, source)
    assert (again["changed"], again["previous_release"]) == (True, None), again
    assert served(cluster, volume) == expected(source)
    assert annotation(cluster, volume, "claim-uid") == cluster.there(f"{base}/models")["metadata"]["uid"]
    assert publish(cluster, volume, source)["changed"] is False


def test_verify_reads_the_volume(cluster: Cluster, volume: str, source: Path) -> None:
    publish(cluster, volume, source)
    spec = {
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsUser": 1000, "runAsGroup": 1000},
        "containers": [container(volumeMounts=[{"name": "store", "mountPath": "/store"}])],
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "models"}}],
    }
    base = f"/api/v1/namespaces/{volume}/pods"
    cluster.create(base, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "vandal"}, "spec": spec})
    until(lambda: cluster.there(f"{base}/vandal")["status"].get("phase") == "Running")
    stream = run(
        cluster, volume, "vandal", "bash", "-c", "cd /store/current/ && echo '# ALPHA' > alpha/1/model.py; echo ok"
    )
    assert stream.line() == b"ok\n"
    stream.close()
    verified = run_module(
        "model_repository",
        {
            "state": "verified",
            "store": {"type": "pvc", "namespace": volume, "claim": "models"},
            "pod": {"image": IMAGE},
            "kubeconfig": cluster.kubeconfig,
        },
    )
    assert (verified["sound"], verified["drift"][0]["changed"]) == (False, ["alpha/1/model.py"]), verified
    assert publish(cluster, volume, source, verify=True)["changed"] is True
    assert served(cluster, volume) == expected(source)


def test_a_volume_that_is_full(cluster: Cluster, namespace: str, source: Path, tmp_path: Path) -> None:
    name, disk = f"small-{namespace}", tmp_path / "disk"
    disk.mkdir()
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "8Mi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": str(disk)},
            "storageClassName": name,
            "claimRef": {"namespace": namespace, "name": "models"},
        },
    }
    wanted = claim("models")
    wanted["spec"].update(storageClassName=name, resources={"requests": {"storage": "8Mi"}})
    with small_disk_in_node(disk, "8m"):
        cluster.create("/api/v1/persistentvolumes", volume)
        try:
            cluster.create(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", wanted)
            first = publish(cluster, namespace, source)
            assert not first["failed"], first
            before = served(cluster, namespace)
            (source / "beta/1/more").write_bytes(os.urandom(6_000_000))
            refused = publish(cluster, namespace, source)
            assert refused["failed"]
            assert re.search(r"The store has \S+ MB free and the release needs 6\.\d MB", refused["msg"]), refused
            assert served(cluster, namespace) == before
            # What fits in is published.
            (source / "beta/1/more").write_bytes(os.urandom(1_000_000))
            assert publish(cluster, namespace, source)["changed"]
            assert len(served(cluster, namespace)) == len(before) + 1
        finally:
            cluster.remove_namespace(namespace)
            until(lambda: cluster.get(f"/api/v1/namespaces/{namespace}") is None, 60)
            cluster.api.delete(f"/api/v1/persistentvolumes/{name}", name, propagation="Background")
