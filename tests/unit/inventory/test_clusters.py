# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which instances of an inventory are in a cluster, whatever its kubeconfigs are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.accelerators import gpu_demands
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.clusters import same_cluster
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, every_task, render_in_one_process


def kubeconfig(path: Path, **servers: str) -> str:
    """A kubeconfig with a context for each server, the first of them current; its user cannot be asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A credential plugin that is not there: nobody may be asked who we are, only to compare addresses.
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere/login"}}
    path.write_text(yaml.safe_dump({
        "clusters": [{"name": name, "cluster": {"server": server}} for name, server in servers.items()],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "u"}} for name in servers],
        "users": [{"name": "u", "user": user}],
        "current-context": next(iter(servers)),
    }))  # fmt: skip
    return str(path)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "K8S_AUTH_KUBECONFIG", "K8S_AUTH_CONTEXT", "K8S_AUTH_HOST", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    kubeconfig(tmp_path / ".kube" / "config", near="https://near.example.org", far="https://far.example.org:6443")
    kubeconfig(tmp_path / "user", cms="https://near.example.org:443/")
    return tmp_path


def names(home: Path, kubeconfig: str = "", context: str = "") -> str:
    places: dict[str, tuple[str | None, str | None]] = {
        "a": (None, None),
        "b": ("~/.kube/config", ""),
        "c": (str(home / ".kube" / "config"), "near"),
        "d": (str(home / "user"), "cms"),
        "e": ("", "far"),
        "f": ("/nowhere/kubeconfig", ""),
        "g": ("/nowhere/kubeconfig", "other"),
    }
    hosts: list[dict[str, Any]] = [
        {"supersonic_name": name, "supersonic_kubeconfig": path, "supersonic_context": of}
        for name, (path, of) in places.items()
    ]
    found = "".join(str(host["supersonic_name"]) for host in same_cluster(hosts, kubeconfig, context))
    assert found == "".join(demand["name"] for demand in gpu_demands(hosts, kubeconfig, context))
    return found


def test_files_and_contexts_are_what_they_lead_to(home: Path) -> None:
    assert names(home) == "abcd"
    assert names(home, "$HOME/user") == "abcd"
    assert names(home, "~/.kube/config", "far") == "e"
    assert names(home, "/nowhere/../nowhere/kubeconfig") == "f"
    assert names(home, "/nowhere/kubeconfig", "other") == "g"
    assert names(home, "/elsewhere") == ""


def test_keda_watches_the_instances_of_its_cluster(home: Path) -> None:
    """By the expressions of site.yml."""
    plays = yaml.safe_load((CLONE / "playbooks" / "site.yml").read_text())
    tasks = {task["name"]: task for task in every_task(plays)}
    said = tasks["Warn that no instance is in the cluster"]
    told = {"dest": "{{ folder }}/{{ inventory_hostname }}-said", "mode": "0644"}
    play = [{
        "hosts": "supersonic_clusters",
        "gather_facts": False,
        "tasks": [
            {"name": "Tell",
             "ansible.builtin.copy": {"dest": "{{ folder }}/{{ inventory_hostname }}-has", "mode": "0644",
                                      "content": "{{ found | join('+') }}"},
             "vars": {"found": tasks["Deploy KEDA"]["vars"]["keda_instance_namespaces"]}},
            # The same as a file.
            {**{key: value for key, value in said.items() if key != "ansible.builtin.debug"},
             "ansible.builtin.copy": {**told, "content": said["ansible.builtin.debug"]["msg"]}},
        ],
    }]  # fmt: skip
    (home / "play.yml").write_text(yaml.safe_dump(play))
    shared = {"ansible_connection": "local", "folder": str(home)}
    clusters = {name: {"supersonic_context": name, "supersonic_components": ["keda"]} for name in ("near", "far")}
    instances: dict[str, Any] = {
        "a": {"supersonic_namespace": "cms"},
        "b": {"supersonic_namespace": "atlas", "supersonic_kubeconfig": "~/user", "unused": "{{ no_such_variable }}"},
    }
    inventory = {
        "all": {"vars": shared},
        "supersonic_clusters": {"hosts": clusters},
        "supersonic_instances": {"hosts": instances},
    }
    (home / "hosts.yml").write_text(yaml.safe_dump(inventory))
    render_in_one_process(home / "play.yml", home / "hosts.yml")
    found = {path.name: " ".join(path.read_text().split()) for path in home.glob("*-*")}
    assert set(found) == {"near-has", "far-has", "far-said"}
    assert (found["near-has"], found["far-has"]) == ("cms+atlas", "")
    assert "no instance of the inventory is in its cluster" in found["far-said"]
    assert found["far-said"].startswith("WARNING: far is to have")
