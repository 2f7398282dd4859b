# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Publishing to a volume while pods, processes and connections die. SUPERSONIC_PVC_KILLS sets how often in all (4), as
often the publisher around its switch, and half as often while a server tries the release.

After each blow the volume serves one whole release, and the next run completes, or goes back.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.pod_exec import Exec
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import scan
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store_pod import (
    CLAIM_LABEL,
    RELEASE_ANNOTATION,
    UNFINISHED_ANNOTATION,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models.test_load import TRIAL_LABEL
from ansible_collections.fastml.supersonic.tests.harness.chance import dice
from ansible_collections.fastml.supersonic.tests.harness.faults import Cutter
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import IMAGE, Cluster, claim, container
from ansible_collections.fastml.supersonic.tests.harness.models import golden, write_golden, write_model
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.processes import until

pytestmark = pytest.mark.thorough

KILLS = int(os.environ.get("SUPERSONIC_PVC_KILLS", "4"))
COLLECTIONS = Path(__file__).resolve().parents[2] / ".collections"
MODULE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.fastml.supersonic.plugins.modules import model_repository
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
print("ready", flush=True)
print(json.dumps(run_module("model_repository", json.loads(sys.argv[2]))), flush=True)
"""
# Says when it has got the lock of the store, each time that it has.
LOCKING = """
import sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store_pod import Remote
real = Remote.call
def call(self, operation, **arguments):
    answer = real(self, operation, **arguments)
    if operation == "open":
        print("locked", file=sys.__stdout__, flush=True)
    return answer
Remote.call = call
""" + MODULE.replace('print("ready", flush=True)\n', "")
# Says how far it has got with its switch, and goes no further than it is asked to.
SWITCHING = """
import sys, time
sys.path.insert(0, sys.argv[1])
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store_pod import Claim, Remote
def stop(where):
    print(where, file=sys.__stdout__, flush=True)
    if where == sys.argv[3]:
        time.sleep(600)
announce, call = Claim.announce, Remote.call
def announced(self, *arguments):
    announce(self, *arguments)
    stop("announced")
def called(self, operation, **arguments):
    answer = call(self, operation, **arguments)
    if operation == "switch_to":
        stop("switched")
    return answer
Claim.announce, Remote.call = announced, called
""" + MODULE.replace('print("ready", flush=True)\n', "")
# Prints the digests of what is served, and ends every process of a publisher's store but the pod's own when asked to.
READ = """
import hashlib, json, os
found = {}
root = os.path.realpath("/store/current")
for folder, _, files in os.walk(root):
    for name in files:
        path = os.path.join(folder, name)
        found[os.path.relpath(path, root)] = hashlib.sha256(open(path, "rb").read()).hexdigest()
print(json.dumps({"release": os.path.basename(root), "files": found}), flush=True)
"""
KILL_PROCESS = """
import os, signal
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) not in (1, os.getpid()):
        os.kill(int(name), signal.SIGKILL)
print("killed", flush=True)
"""


@pytest.fixture
def volume(cluster: Cluster, namespace: str) -> str:
    """A claim, and a pod that reads it as servers do; returns the namespace."""
    cluster.create(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", claim("models"))
    spec = {
        "terminationGracePeriodSeconds": 0,
        "containers": [container(volumeMounts=[{"name": "store", "mountPath": "/store", "readOnly": True}])],
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "models"}}],
    }
    pods = f"/api/v1/namespaces/{namespace}/pods"
    cluster.create(pods, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "reader"}, "spec": spec})
    until(lambda: cluster.there(f"{pods}/reader")["status"].get("phase") == "Running", 60)
    return namespace


def ask(cluster: Cluster, namespace: str, pod: str, where: str, code: str) -> bytes:
    """The one line that a script in a container prints."""
    stream = Exec(
        cluster.api, namespace=namespace, pod=pod, container=where, command=["python3", "-c", code], silence=30
    )
    try:
        return stream.line()
    finally:
        stream.close()


def served(cluster: Cluster, namespace: str, known: dict[str, dict[str, str]]) -> str | None:
    """The release that a server would read now: whole, and nothing else in it."""
    found = json.loads(ask(cluster, namespace, "reader", "main", READ))
    if not found["files"]:
        assert found["release"] == "current", found
        return None
    release = str(found["release"])
    assert found["files"] == known[release]
    return release


def noted(cluster: Cluster, namespace: str) -> tuple[str | None, str | None]:
    """What the claim says: its release, and a switch that has not come to its end."""
    live = cluster.there(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/models")
    annotations = live["metadata"].get("annotations") or {}
    return annotations.get(RELEASE_ANNOTATION), annotations.get(UNFINISHED_ANNOTATION)


def helper(cluster: Cluster, namespace: str) -> str:
    """The helper pod that runs now, as soon as there is one."""
    pods = f"/api/v1/namespaces/{namespace}/pods"

    def running() -> str | None:
        for pod in cluster.api.list(pods, "pods", {"labelSelector": "app.kubernetes.io/component=model-publisher"}):
            if pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp"):
                return str(pod["metadata"]["name"])
        return None

    return str(until(running, 60))


def through(cluster: Cluster, folder: Path, port: int) -> str:
    """A kubeconfig that goes through the wire."""
    content = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    for item in content["clusters"]:
        item["cluster"]["tls-server-name"] = urlsplit(item["cluster"]["server"]).hostname
        item["cluster"]["server"] = f"https://127.0.0.1:{port}"
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    path.chmod(0o600)
    return str(path)


def test_blows_at_random_moments(
    cluster: Cluster, volume: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = dice(__name__)
    source = tmp_path / "source"
    (source / "m/1").mkdir(parents=True)
    (source / "m/config.pbtxt").write_text('backend: "python"\n')
    (source / "m/1/model.py").write_text("")
    known: dict[str, dict[str, str]] = {}
    hits: Counter[str] = Counter()
    address = urlsplit(cluster.api.connection.host)

    def delete_pod(name: str, _wire: Cutter) -> None:
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
        with contextlib.suppress(SupersonicError):
            cluster.api.call("DELETE", f"/api/v1/namespaces/{volume}/pods/{name}", name, body=body)

    def kill_process(name: str, _wire: Cutter) -> None:
        with contextlib.suppress(SupersonicError):
            ask(cluster, volume, name, "publisher", KILL_PROCESS)

    def cut_wire(_name: str, wire: Cutter) -> None:
        wire.cut(draw.uniform(0, 2))

    blows: list[Callable[[str, Cutter], None]] = [delete_pod, kill_process, cut_wire]
    with Cutter(address.hostname or "", address.port or 443) as wire:
        options: dict[str, Any] = {
            "source": [str(source)],
            "store": {"type": "pvc", "namespace": volume, "claim": "models"},
            "pod": {"image": IMAGE},
            "keep": 2,
            "wait_timeout": 60,
            "kubeconfig": through(cluster, tmp_path, wire.port),
        }
        command = [sys.executable, "-c", LOCKING, str(COLLECTIONS), json.dumps(options)]

        def rewrite() -> str:
            for index in range(30):
                (source / f"m/1/w{index}").write_bytes(draw.randbytes(draw.choice([10, 1000, 3_000_000])))
            tree = scan([str(source)])
            known[tree.release] = {entry.path: entry.digest for entry in tree.entries}
            return tree.release

        def complete() -> float:
            """Publish without a blow; says how long that took with the lock."""
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                line = process.stdout.readline()
                begin = time.monotonic()
                # Without the lock where the claim says already that there is nothing to do.
                result = json.loads(process.stdout.readline() if line == "locked\n" else line)
                assert not result["failed"], result
            return time.monotonic() - begin

        def give_up() -> None:
            """Go back to what was served before, whatever the blow has left."""
            where = {name: value for name, value in options.items() if name not in ("source", "keep")}
            result = run_module("model_repository", {**where, "state": "rolled_back", "release": before})
            assert not result["failed"], result

        before = rewrite()
        # Blows come within this time of the lock, and earlier after one that came too late: the machine may be busier
        # while the time is measured than afterwards.
        reach = longest = 0.6 * complete()
        at_work, wanted = 0, KILLS // 2 if KILLS >= 20 else 1
        for number in range(5 * KILLS):
            if number >= KILLS and at_work >= wanted:
                break
            release = rewrite()
            blow = blows[number % 4] if number % 4 < len(blows) else None
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == "locked\n"
                locked = time.monotonic()
                name = helper(cluster, volume)
                time.sleep(max(locked + draw.uniform(0, reach) - time.monotonic(), 0))
                if blow is None:
                    # The publisher itself, its helper pod stays behind.
                    process.kill()
                else:
                    threading.Thread(target=blow, args=(name, wire), daemon=True).start()
                *again, said = process.stdout.readlines() or [""]
                process.wait()
            now = served(cluster, volume, known)
            assert now in (before, release)
            what = blow.__name__ if blow else "kill_publisher"
            outcome = "completed by itself" if said and not json.loads(said)["failed"] else "failed"
            # It did not come to its end, or had to begin anew.
            hit = outcome == "failed" or bool(again)
            at_work += hit
            reach = min(1.5 * reach, longest) if hit else reach / 2
            hits[f"{what}, {outcome}, {'new' if now == release else 'old'} release served"] += 1
            if outcome == "failed" and number % 2:
                give_up()
                release = before
            elif outcome == "failed":
                complete()
            assert served(cluster, volume, known) == release
            assert noted(cluster, volume) == (release, None)
            before = release
    with capsys.disabled():
        print(f"\n{hits.total()} blows: " + "; ".join(f"{count} {where}" for where, count in hits.most_common()))
    assert at_work >= wanted, "most blows hit nothing"


# What is killed, how it is put right, and where it is hit at first; later at random.
WAYS = [
    ("published", "publish the release before", "switched"),
    ("rolled_back", "the same again", "switched"),
    ("published", "go back to the release before", "announced"),
    ("published", "go back", "switched"),
]


def test_going_back_after_blows_around_the_switch(
    cluster: Cluster, volume: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody believes the claim then: neither who publishes the release before again, nor who goes back to it."""
    draw = dice(__name__)
    hits: Counter[str] = Counter()
    known: dict[str, dict[str, str]] = {}
    sources: dict[str, str] = {}
    place: dict[str, Any] = {
        "store": {"type": "pvc", "namespace": volume, "claim": "models"},
        "pod": {"image": IMAGE},
        "kubeconfig": cluster.kubeconfig,
    }

    def write(number: int) -> str:
        source = tmp_path / f"source{number}"
        (source / "m/1").mkdir(parents=True)
        (source / "m/config.pbtxt").write_text('backend: "python"\n')
        (source / "m/1/model.py").write_text(f"# {number}\n")
        tree = scan([str(source)])
        known[tree.release] = {entry.path: entry.digest for entry in tree.entries}
        sources[tree.release] = str(source)
        return tree.release

    def options(state: str, release: str | None) -> dict[str, Any]:
        """With a release the one that is meant."""
        if state == "published":
            return {**place, "source": [sources[str(release)]], "keep": 2}
        return {**place, "state": state, **({"release": release} if release else {})}

    def act(state: str, release: str | None) -> dict[str, Any]:
        result = run_module("model_repository", options(state, release))
        assert not result["failed"], result
        return result

    first, before = write(0), write(1)
    act("published", first)
    act("published", before)
    for number in range(KILLS):
        killed, way, point = WAYS[number % len(WAYS)]
        # What it leads to, and what is right after it.
        goal = write(number + 2) if killed == "published" else first
        right = goal if way == "the same again" else before
        point = point if number < len(WAYS) else draw.choice(["announced", "switched", ""])
        asked = options(killed, goal if killed == "published" else None)
        command = [sys.executable, "-c", SWITCHING, str(COLLECTIONS), json.dumps(asked), point]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            while process.stdout.readline() != f"{point or 'announced'}\n":
                assert process.poll() is None
            if not point:
                time.sleep(draw.uniform(0, 0.1))
            process.kill()
        now = served(cluster, volume, known)
        release, unfinished = noted(cluster, volume)
        assert now == (goal if point == "switched" else before if point else now)
        assert now in (before, goal)
        # The claim either says what is served, or that it does not know.
        assert (release, unfinished is None) in ((None, False), (now, True))
        hits[f"{killed}, {'marked' if unfinished else 'done'}, {'new' if now == goal else 'old'} release served"] += 1
        told = run_module("model_repository_info", {name: place[name] for name in ("store", "kubeconfig")})
        assert told["current"] == release
        assert (told["unfinished"] or {}).get("release") == (goal if unfinished else None)
        if way == "publish the release before":
            result = act("published", before)
        elif way == "go back to the release before":
            result = act("rolled_back", before)
        elif way == "the same again" and not unfinished:
            result = act("rolled_back", goal)
        else:
            result = act("rolled_back", None)
        assert result["release"] == right
        assert result["changed"] is (unfinished is not None or now != right)
        assert served(cluster, volume, known) == right
        assert noted(cluster, volume) == (right, None)
        first, before = next(item["release"] for item in listed(place) if item["release"] != right), right
    with capsys.disabled():
        print(f"\n{hits.total()} blows around the switch: " + "; ".join(f"{n} {where}" for where, n in hits.items()))
    assert not hits or any(", marked, new" in where for where in hits)


def listed(place: dict[str, Any]) -> list[dict[str, Any]]:
    """The releases of a claim, by their last use."""
    found = run_module("model_repository_info", {name: place[name] for name in ("store", "kubeconfig")})
    releases: list[dict[str, Any]] = found["releases"]
    return [item for item in releases if item.get("served", True)]


# As the role triton makes it, without what keeps requests from being lost.
SERVER: dict[str, Any] = {
    "metadata": {"labels": {"app": "triton"}},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "triton",
                "image": IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "command": ["tritonserver"],
                "args": ["--model-repository=/models/current", "--exit-on-error=false", "--strict-readiness=false"],
                "ports": [{"name": "http", "containerPort": 8000}],
                "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": "http"}, "periodSeconds": 1},
                "volumeMounts": [{"name": "store", "mountPath": "/models", "readOnly": True}],
            }
        ],
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}}],
    },
}


def test_killed_at_random_moments_of_a_test_load(
    cluster: Cluster, volume: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = dice(__name__)
    pods = f"/api/v1/namespaces/{volume}/pods"
    source = tmp_path / "source"
    write_golden(source, golden("echo", [1.0, 2.5]))
    write_model(source, "echo", initialize="time.sleep(1)")
    code = (source / "echo/1/model.py").read_text()
    known: dict[str, dict[str, str]] = {}
    hits: Counter[str] = Counter()
    options: dict[str, Any] = {
        "source": [str(source)],
        "store": {"type": "pvc", "namespace": volume, "claim": "models"},
        "pod": {"image": IMAGE},
        "test_load": {"pod_template": SERVER, "timeout": 120},
        "kubeconfig": cluster.kubeconfig,
    }
    command = [sys.executable, "-c", MODULE, str(COLLECTIONS), json.dumps(options)]

    def write(what: object) -> str:
        """Another release, which does the same."""
        (source / "echo/1/model.py").write_text(f"{code}# {what}\n")
        tree = scan([str(source)])
        known[tree.release] = {entry.path: entry.digest for entry in tree.entries if entry.mode != "dir"}
        return tree.release

    def publish() -> dict[str, Any]:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[1])
        assert not result["failed"], result
        return result

    def there(label: str) -> list[str]:
        """Pods that are not over and not on their way out."""
        return [
            pod["metadata"]["name"]
            for pod in cluster.api.list(pods, "pods", {"labelSelector": label})
            if pod["status"].get("phase") in ("Pending", "Running") and not pod["metadata"].get("deletionTimestamp")
        ]

    write("first")
    publish()
    write("second")
    started = time.monotonic()
    assert publish()["test_load"]
    duration = time.monotonic() - started
    for number in range(max(KILLS // 2, 1)):
        before, release = served(cluster, volume, known), write(number)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as module:
            until(lambda: there(TRIAL_LABEL), 60)
            # From the first moment of its server, where the first blow comes, to a little after the switch.
            time.sleep(draw.uniform(0, 1.2 * duration) if number else 0)
            module.kill()
        now = served(cluster, volume, known)
        assert now in (before, release)
        hits["before the switch" if now == before else "after it"] += 1
        if draw.random() < 0.5:
            release = write(f"another than {number}")
        assert publish()["release"] == release
        assert served(cluster, volume, known) == release
        assert not there(TRIAL_LABEL)
        # What ends by itself when nobody uses it any more.
        until(lambda: not there(CLAIM_LABEL), 60)
    with capsys.disabled():
        print(f"\n{hits.total()} test loads killed: " + ", ".join(f"{count} {where}" for where, count in hits.items()))
    assert hits["before the switch"]
