# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The node: what counts as ready, what its keys follow, what check mode says. Nothing here needs a cluster."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster import node
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.controllers import Controllers

EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
SINCE = node.seconds("2026-01-01T00:00:30Z")


@pytest.fixture(autouse=True)
def unified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Controllers:
    """A new-style hierarchy of the tests' own, in which every controller is on."""
    found = Controllers(tmp_path / "cgroup", tmp_path / "record.json")
    found.root.mkdir()
    for name in ("cgroup.controllers", "cgroup.subtree_control"):
        (found.root / name).write_text("cpu cpuset memory pids")
    monkeypatch.setattr(node, "Controllers", lambda: found)
    return found


def thing(kind: str, status: str = "True", at: str = LATE, **metadata: Any) -> dict[str, Any]:
    """A node, Deployment or Pod as the API gives it."""
    wanted = "Available" if kind == "Deployment" else "Ready"
    condition: dict[str, Any] = {"type": wanted, "status": status, "message": "it says why"}
    if kind == "Node":
        condition["lastHeartbeatTime"] = at
    found: dict[str, Any] = {"conditions": [condition], "observedGeneration": 2}
    if kind == "Pod":
        found["containerStatuses"] = [{"state": {"running": {"startedAt": at}}}]
    return {"kind": kind, "metadata": {"name": "x", "generation": 2, **metadata}, "status": found}


READY = [thing("Node"), thing("Deployment"), thing("Pod")]


@pytest.mark.parametrize(
    ("items", "missing"),
    [
        (READY, None),
        ([thing("Deployment"), thing("Pod")], "the node has not registered"),
        ([thing("Node"), thing("Deployment")], "no add-on has a pod yet"),
        ([thing("Node", "False"), *READY[1:]], "Node x is not Ready: it says why"),
        ([thing("Node", at=EARLY), *READY[1:]], "Node x is not Ready: it says why"),
        ([*READY[:2], thing("Pod", "False")], "Pod x is not Ready: it says why"),
        ([*READY[:2], thing("Pod", at=EARLY)], "Pod x is not Ready: it says why"),
        ([*READY, thing("Pod", "False", deletionTimestamp=LATE)], None),
        ([READY[0], thing("Deployment", generation=3), READY[2]], "Deployment x is not Available: it says why"),
        ([READY[0], {"kind": "Deployment", "metadata": {"name": "x"}}, READY[2]], "nothing is known of it yet"),
    ],
)
def test_ready(items: list[dict[str, Any]], missing: str | None) -> None:
    found = node.unready(items, SINCE)
    assert found is None if missing is None else missing in str(found)


def test_a_pod_that_waits_to_start_is_not_ready() -> None:
    waiting = thing("Pod")
    waiting["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "CreateContainerConfigError"}}
    assert node.unready([*READY[:2], waiting], SINCE) is not None


def test_start_of_a_process_is_never_too_late() -> None:
    before = node.started_at(os.getpid())
    assert before <= time.time()
    assert before == node.started_at(os.getpid())


def test_wait_says_what_was_missing() -> None:
    with pytest.raises(SupersonicError, match=r"The end did not happen within 0 s: not yet"):
        node.wait_for("The end", lambda: "not yet", 0)


def test_written_files_are_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    assert node.written(path, "one")
    assert not node.written(path, "one")
    assert node.written(path, "two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [left.name for left in path.parent.iterdir()] == ["file"]


def test_control_groups_go_from_the_innermost(tmp_path: Path) -> None:
    (tmp_path / "group" / "pods" / "pod1").mkdir(parents=True)
    assert node.remove_group(tmp_path / "group") is None
    assert not (tmp_path / "group").exists()


def test_a_control_group_in_use_is_named(tmp_path: Path) -> None:
    (tmp_path / "group" / "pod1").mkdir(parents=True)
    (tmp_path / "group" / "pod1" / "busy").touch()
    assert "pod1" in str(node.remove_group(tmp_path / "group"))


def test_the_groups_of_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unified: Controllers) -> None:
    old = tmp_path / "old"
    old.mkdir()
    handed_on = []
    monkeypatch.setattr(Controllers, "hand_on", lambda _self, group: handed_on.append(group))
    monkeypatch.setattr(node, "hierarchies", lambda: [old, unified.root])
    made = node.make_groups("node")
    assert made == [old / "node/daemons", unified.root / "node/daemons"]
    assert all(folder.is_dir() for folder in made)
    assert handed_on == [unified.root / "node"]
    monkeypatch.setattr(node, "hierarchies", lambda: [tmp_path / "none"])
    with pytest.raises(SupersonicError, match=r"Making the control group .*/none/node failed: No such file"):
        node.make_groups("node")


@pytest.fixture
def spec(tmp_path: Path) -> node.NodeSpec:
    """A node under a name that no machine has."""
    supervisor = tmp_path / "supervisor.py"
    supervisor.write_text("pass\n")
    return node.NodeSpec(
        name="no-such-node",
        directory=tmp_path / "state",
        network=node.Network("nolink0", "198.18.9.1", "198.18.9.2", 30),
        supervisor=supervisor,
        programs={"kubeadm": tmp_path / "kubeadm", "kubectl": tmp_path / "kubectl"},
        images=[],
        configuration={"kubeadm.yaml": "a", "kubelet.yaml": "b"},
        daemons={"containerd": {"command": ["containerd"]}},
        addons=[],
        identity={"pods": "10.244.0.0/24"},
        users=["system:kube-proxy"],
        kubeconfig=tmp_path / "kubeconfig",
    )


def changed(spec: node.NodeSpec, **changes: Any) -> node.NodeSpec:
    """The same node with other options."""
    return node.NodeSpec(**{**vars(spec), **changes})


def test_keys_follow_what_they_are_for(spec: node.NodeSpec) -> None:
    kubelet = changed(spec, configuration={"kubeadm.yaml": "a", "kubelet.yaml": "other"})
    assert kubelet.control_plane == spec.control_plane
    assert changed(spec, configuration={"kubeadm.yaml": "other"}).control_plane != spec.control_plane
    assert changed(spec, users=["other"]).control_plane != spec.control_plane
    assert changed(spec, network=node.Network("nolink0", "198.18.9.1", "198.18.9.2", 29)).foundation != spec.foundation
    before = spec.foundation
    spec.supervisor.write_text("changed\n")
    assert spec.foundation != before


def test_check_mode_on_an_empty_machine_changes_nothing(spec: node.NodeSpec, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    assert node.Node(spec, check=True).present() == ["started the node's namespaces"]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("marks", "first"),
    [
        ({}, "removed a node that was never complete"),
        (
            {"identity": json.dumps({"pods": "10.1.0.0/24"})},
            "removed the node, because its addresses or names have changed",
        ),
        ({"identity": json.dumps({"pods": "10.244.0.0/24"})}, "removed a node that was never complete"),
        ({"identity": json.dumps({"pods": "10.244.0.0/24"}), "bootstrapped": ""}, "started the node's namespaces"),
    ],
)
def test_what_an_earlier_run_left_decides_the_first_step(
    spec: node.NodeSpec, marks: dict[str, str], first: str
) -> None:
    for name, text in marks.items():
        node.written(spec.directory / "done" / name, text)
    spec.directory.mkdir(exist_ok=True)
    assert node.Node(spec, check=True).present() == [first]


def test_remove_finishes_what_a_killed_removal_left(spec: node.NodeSpec, unified: Controllers) -> None:
    left = spec.directory.with_name(".state.removed")
    left.mkdir()
    unified.record.write_text('{"group": -1, "controllers": []}')
    assert node.exists(spec.name, "nolink0", spec.directory)
    node.remove(spec.name, "nolink0", spec.directory)
    assert not node.exists(spec.name, "nolink0", spec.directory)
    assert not left.exists()
    assert not unified.record.exists()


@pytest.mark.parametrize("just_started", [False, True])
def test_a_node_that_hangs_is_started_anew_once(
    spec: node.NodeSpec, monkeypatch: pytest.MonkeyPatch, just_started: bool
) -> None:
    tries: list[node.Node] = []

    def go(one: node.Node) -> None:
        tries.append(one)
        one.started = just_started or len(tries) > 1
        raise node.NotReadyError("the kubelet says nothing")

    monkeypatch.setattr(node.Node, "_go", go)
    with pytest.raises(SupersonicError, match="the kubelet says nothing"):
        node.Node(spec).present()
    assert len(tries) == (1 if just_started else 2)


def test_a_node_that_runs_is_given_less_time_than_one_that_starts(spec: node.NodeSpec) -> None:
    one = node.Node(spec)
    assert one.patience == node.RUNNING_SECONDS
    one.started = True
    assert one.patience == spec.timeout
