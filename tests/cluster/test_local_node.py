# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role local_cluster itself, on a second node beside the one that the other tests use: it recovers, and leaves
nothing. The tests follow one another on that node."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.second_node import INTERFACE, MACHINE, NAME, STATE, SecondNode
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.node import hierarchies

pytestmark = pytest.mark.thorough

# What a kubelet would change for the whole machine, with values that it would not leave.
SETTINGS = {
    Path("/proc/sys/vm/overcommit_memory"): "0",
    Path("/proc/sys/kernel/panic"): "11",
    Path("/proc/sys/kernel/panic_on_oops"): "0",
    Path("/proc/sys/kernel/keys/root_maxkeys"): "999999",
    Path("/proc/sys/kernel/keys/root_maxbytes"): "24999999",
}


def run_and_kill(role: SecondNode, ready: Callable[[], bool]) -> None:
    """Run the role and kill everything of the run as soon as something is so."""
    command, environment = role.command()
    mark = f"KILLED_WITH_THE_RUN={os.getpid()}"
    environment["KILLED_WITH_THE_RUN"] = str(os.getpid())
    run = subprocess.Popen(
        command, env=environment, cwd=role.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: run.poll() is not None or ready(), 240, pause=0.01)
        assert run.poll() is None, "the run ended before it could be killed"
    finally:
        kill_marked(mark)
    assert run.wait() == -signal.SIGKILL


def kill_marked(mark: str) -> None:
    """Kill processes with this variable. A module is a process of its own, which outlives ansible-playbook; what it
    starts has its environment."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)


def traces() -> dict[str, list[str]]:
    """Everything of this machine that a node could leave something in."""
    folders = ("/etc", "/var/lib", "/var/log", "/run", "/opt", "/usr/libexec", *map(str, hierarchies()))
    found = {folder: sorted(os.listdir(folder)) for folder in folders if Path(folder).is_dir()}
    found["mounts"] = sorted(line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    found["controllers"] = [
        f"{root} {(root / 'cgroup.subtree_control').read_text().strip()}"
        for root in hierarchies()
        if (root / "cgroup.subtree_control").is_file()
    ]
    found["links"] = sorted(os.listdir("/sys/class/net"))
    found["rules"] = subprocess.run(
        ["nft", "list", "ruleset"], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    found["settings"] = [f"{path} {path.read_text().strip()}" for path in SETTINGS if path.exists()]
    return found


@pytest.fixture(scope="module")
def before() -> Iterator[dict[str, list[str]]]:
    """The machine before the node, with other settings than a kubelet wants."""
    were = {path: path.read_text() for path in SETTINGS if path.exists()}
    try:
        for path in were:
            path.write_text(SETTINGS[path])
        yield traces()
    finally:
        for path, value in were.items():
            path.write_text(value)


@pytest.fixture(scope="module")
def role(before: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecondNode]:
    """A running second node."""
    assert INTERFACE not in before["links"], "an earlier run of these tests left its node: remove it first"
    found = SecondNode(tmp_path_factory.mktemp("node"), gpus=2)
    try:
        run_and_kill(found, MACHINE.namespace.exists)
        run_and_kill(found, lambda: any("import" in words for words in processes("ctr").values()))
        run_and_kill(found, certificates_half_written)
        assert found.run()[0], "the run after the killed ones had nothing to do"
        yield found
    finally:
        found.run(state="absent")


def processes(program: str) -> dict[int, list[str]]:
    """Commands of the node's processes of a program, by their number."""
    found = {}
    for pid in MACHINE.pids():
        # Many end while they are looked at.
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            if Path(words[0]).name == program:
                found[pid] = words
    return found


def certificates_half_written() -> bool:
    """Whether the first certificates are there, and not all files of the control plane."""
    return (STATE / "kubernetes/pki/ca.crt").exists() and not (STATE / "done/control-plane").exists()


def kill(name: str) -> int:
    """Kill a daemon of the node; the number of its process was this."""
    (pid, *_others) = processes(name)
    os.kill(pid, signal.SIGKILL)
    return pid


def gpus(role: SecondNode) -> str:
    """Simulated devices that pods can have."""
    return role.kubectl("get", "nodes", "-o", r"jsonpath={.items[0].status.allocatable.nvidia\.com/gpu}")


def test_running_again_changes_nothing(role: SecondNode) -> None:
    assert role.run() == (False, [])
    assert role.run("--check") == (False, [])
    assert gpus(role) == "2"


@pytest.mark.parametrize("daemon", ["kubelet", "containerd", "kube-apiserver"])
def test_a_killed_daemon_comes_back(role: SecondNode, daemon: str) -> None:
    pid = kill(daemon)
    role.run()
    again = processes(daemon)
    assert again
    assert pid not in again
    until(lambda: gpus(role) == "2")


def test_a_reboot_keeps_the_data(role: SecondNode) -> None:
    role.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    # A reboot takes processes, links, namespaces and control groups, and leaves the disk.
    MACHINE.remove()
    assert role.run() == (True, ["started the node's namespaces"])
    assert role.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}") == "b"


def test_images_of_the_tests_are_imported_while_the_node_runs(role: SecondNode) -> None:
    first = MACHINE.first_process()
    # perf_analyzer does not know its own version.
    programs = {
        "prometheus-local": ("prometheus", "prometheus, version 3."),
        "otel-collector-local": ("/otelcol-contrib", "otel-collector version 0."),
        "perf-analyzer-local": ("perf_analyzer", "Perf Analyzer Version"),
    }
    changed, actions = role.run(images=["triton-local", "envoy-local", *programs])
    assert changed
    assert [action.split()[0] for action in actions] == ["imported"]
    assert MACHINE.first_process() == first
    references = [word.strip(",") for word in actions[0].split()[1:]]
    for name, (program, _said) in programs.items():
        image = next(reference for reference in references if f"/{name}:" in reference)
        role.kubectl("run", name, f"--image={image}", "--restart=Never", "--command", "--", program, "--version")
    for name, (_program, said) in programs.items():
        role.kubectl("wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
        assert said in role.kubectl("logs", name)


def test_another_number_of_devices_leaves_the_rest_running(role: SecondNode) -> None:
    first = MACHINE.first_process()
    assert role.run(gpus=3) == (True, ["started gpu-simulator"])
    until(lambda: gpus(role) == "3")
    assert MACHINE.first_process() == first


def test_a_purge_ends_what_works_for_the_cache_in_the_background(role: SecondNode, tmp_path: Path) -> None:
    cache, models = tmp_path / "cache", tmp_path / "models"
    cache.mkdir()
    models.symlink_to(cache)
    work = subprocess.Popen(
        ["bash", "-c", f"while :; do mkdir -p {cache}/layers; sleep 0.05; done"],
        env={"PATH": os.environ["PATH"], "FASTML_SUPERSONIC_BACKGROUND": str(cache)},
    )
    try:
        until((cache / "layers").exists)
        changes = {
            "name": f"{NAME}-none",
            "interface": "none0",
            "directory": str(tmp_path / "state"),
            "kubeconfig": str(tmp_path / "kubeconfig"),
            "models": str(models),
            "cache_directory": str(cache),
            "purge_cache": True,
        }
        assert role.run(state="absent", **changes) == (True, ["ended the work in the background"])
        assert work.wait(timeout=5) == -signal.SIGKILL
        assert not cache.exists()
        assert not models.is_symlink()
        assert role.run(state="absent", **changes) == (False, [])
    finally:
        work.kill()
        work.wait()


def test_removal_leaves_nothing(role: SecondNode, before: dict[str, list[str]]) -> None:
    assert role.run("--check", state="absent")[0]
    assert MACHINE.first_process() is not None
    assert role.run(state="absent") == (True, ["removed the node"])
    assert traces() == before
    assert role.run(state="absent") == (False, [])
