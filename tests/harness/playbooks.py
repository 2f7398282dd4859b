# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks as a user runs them, on inventories made from inventories/local."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from ansible_collections.fastml.supersonic.tests.harness.environment import kubeconfig, own_environment
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, Object

CLONE = Path(__file__).resolve().parents[2]
LOCAL = CLONE / ".local"
KUBECONFIG = kubeconfig()
# Small and quick to stop: for everything that is not about lost requests.
SMALL: dict[str, Any] = {
    "supersonic_kubeconfig": str(KUBECONFIG),
    "local_directory": str(LOCAL),
    "triton_replicas": 1,
    "triton_drain_wait": 0,
    "triton_exit_timeout": 1,
    "triton_resources": {"requests": {"cpu": "10m", "memory": "256Mi"}, "limits": {"memory": "1536Mi"}},
    "envoy_replicas": 1,
    "envoy_endpoint_wait": 1,
    "envoy_drain_time": 1,
    "envoy_in_flight_wait": 1,
    "envoy_resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
    "envoy_service_node_port": 0,
    "verify_address": "",
}


@dataclass(frozen=True)
class Run:
    """What a run of ansible-playbook came to."""

    code: int
    output: str

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        """host -> ok, changed, unreachable, failed, ..."""
        found = re.findall(r"^(\S+)\s+: (ok=\d+ .*)$", self.output.partition("PLAY RECAP")[2], re.M)
        return {
            host: {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in found
        }

    def changed(self, host: str) -> int:
        """How many tasks changed something on a host; the run has to have succeeded."""
        assert self.code == 0, self.output
        return self.recap[host]["changed"]

    def results_of(self, host: str, status: str = r"\w+") -> list[str]:
        """What its tasks have come to, as far as that is shown. A result in YAML is indented, or in a line."""
        result = rf"^{status}: \[{re.escape(host)}\].*\n(?:[ \t]+.*\n|\n(?=[ \t]))*"
        return [match[0] for match in re.finditer(result, self.output, re.M)]

    def said_of(self, host: str) -> str:
        """The same without the line breaks and indents that its layout puts into sentences."""
        return " ".join("".join(self.results_of(host)).split())

    def failures_of(self, host: str) -> list[str]:
        """What each of its tasks shows that has failed, in such sentences."""
        return [" ".join(text.split()) for text in self.results_of(host, "(?:fatal|failed)")]

    def failures(self, host: str) -> str:
        """The same on one line, without the quotes of YAML."""
        return " ".join(self.failures_of(host)).replace("''", "'")

    @property
    def text(self) -> str:
        """The output without the line breaks and indents that its layout puts into sentences."""
        return " ".join(self.output.split())


class Instance:
    """An instance of its own, with a namespace of its own, deployed and changed by the playbooks."""

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        name: str,
        variables: Mapping[str, Any] | None = None,
        *,
        seconds: float = 600,
    ) -> None:
        self.cluster = cluster
        self.name = name
        self.seconds = seconds
        self.namespace = cluster.free_name()
        self.inventory = instance_inventory(
            folder, {name: {"supersonic_namespace": self.namespace, **(variables or {})}}
        )

    def run(self, playbook: str | Path, *arguments: str, **extra: Any) -> Run:
        return run_playbook(playbook, self.inventory, *arguments, extra=extra, seconds=self.seconds)

    def site(self, *arguments: str, **extra: Any) -> Run:
        """site.yml, which has to succeed."""
        done = self.run("site.yml", *arguments, **extra)
        assert done.code == 0, done.output
        return done

    def pods(self, component: str) -> dict[str, Object]:
        """The pods of a component by UID, those on their way out included."""
        found = self.cluster.api.list(f"/api/v1/namespaces/{self.namespace}/pods", "pods")
        label = "app.kubernetes.io/component"
        return {pod["metadata"]["uid"]: pod for pod in found if pod["metadata"]["labels"].get(label) == component}

    def ready(self, component: str, count: int) -> bool:
        """Whether exactly so many pods are there, all of them ready and none of them leaving."""
        found = self.pods(component).values()
        return len(found) == count and all(
            not pod["metadata"].get("deletionTimestamp")
            and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
            for pod in found
        )

    def healthy_servers(self) -> list[int]:
        """How many servers each Envoy sends requests to."""
        return list(self.envoy_metric('envoy_cluster_membership_healthy{envoy_cluster_name="triton"}').values())

    def envoy_metric(self, series: str) -> dict[tuple[str, str], int]:
        """The value that each Envoy has of a series, by the pod's UID and the container's name."""
        values = {}
        for uid, pod in self.pods("envoy").items():
            for container in pod["spec"]["containers"]:
                (port,) = (item["containerPort"] for item in container["ports"] if item["name"].startswith("metrics"))
                path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}:{port}/proxy/metrics"
                text = self.cluster.api.text(path, "metrics of an Envoy")
                (value,) = re.findall(rf"^{re.escape(series)} (\d+)$", text, re.M)
                values[uid, container["name"]] = int(value)
        return values

    def address(self) -> str:
        """Where clients outside the cluster find the endpoint."""
        service = self.cluster.there(f"/api/v1/namespaces/{self.namespace}/services/{self.name}")
        return f"{urlsplit(self.cluster.api.connection.host).hostname}:{service['spec']['ports'][0]['nodePort']}"

    def remove(self) -> None:
        """Take it away whatever state it is in."""
        self.cluster.remove_namespace(self.namespace)


def every_task(items: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The tasks of plays, also those in blocks, and the blocks themselves."""
    for item in items:
        tasks = [*item.get("tasks", []), *item.get("block", [])]
        yield from tasks
        yield from every_task(tasks)


def run_playbook(
    playbook: str | Path,
    inventory: Path,
    *arguments: str,
    extra: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    directory: Path = CLONE,
    seconds: float | None = 600,
) -> Run:
    """Run a playbook as from a shell in the clone, or in another directory."""
    command = [sys.executable, "-m", "ansible", "playbook", str(playbook), "-i", str(inventory), *arguments]
    if extra:
        command += ["--extra-vars", json.dumps(extra)]
    done = subprocess.run(
        command,
        cwd=directory,
        # Roles look at the directory that the shell says.
        env=own_environment()
        | {"ANSIBLE_NOCOLOR": "1", "PWD": str(directory), "LC_ALL": "C.UTF-8"}
        | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=seconds,
    )
    return Run(done.returncode, done.stdout)


def render_in_one_process(playbook: Path, inventory: Path) -> None:
    """What a playbook writes whose tasks render manifests, without a process for each task and host."""
    _in_one_process("render", str(playbook), str(inventory))


def asked_of_clusters(inventories: Iterable[Path], *hosts: str) -> dict[str, Any]:
    """What site.yml asks for by host, and the demands of these hosts: see one_process.py."""
    found: dict[str, Any] = json.loads(_in_one_process("asked", os.pathsep.join(map(str, inventories)), *hosts))
    return found


def _in_one_process(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(CLONE / "tests/harness/one_process.py"), *arguments],
        cwd=CLONE,
        env=own_environment(ANSIBLE_CONFIG=str(CLONE / "ansible.cfg"), ANSIBLE_NOCOLOR="1", LC_ALL="C.UTF-8"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def instance_inventory(folder: Path, hosts: Mapping[str, Mapping[str, Any]], clone: Path = CLONE) -> Path:
    """A copy of inventories/local whose instances are these hosts: each the local one, but for some variables.

    clone: the tree that it is copied from.
    """
    inventory = folder / "inventory"
    shutil.copytree(clone / "inventories" / "local", inventory)
    local = yaml.safe_load((inventory / "host_vars" / "local.yml").read_text())
    shutil.rmtree(inventory / "host_vars")
    (inventory / "host_vars").mkdir()
    for host, variables in hosts.items():
        own = {
            "supersonic_name": host,
            "triton_model_repositories": [
                {"name": "models", "kind": "pvc", "claim": f"{host}-models", "path": "current"},
            ],
            "verify_report": str(folder / f"{host}.json"),
        }
        text = yaml.safe_dump({**local, **SMALL, **own, **variables})
        (inventory / "host_vars" / f"{host}.yml").write_text(text)
    groups = {"supersonic_instances": {"hosts": dict.fromkeys(hosts)}}
    (inventory / "hosts.yml").write_text(yaml.safe_dump(groups))
    return inventory
