# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A single-node Kubernetes in network, mount and process namespaces of its own.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

What the node has on disk is in one state folder; everything else of it (processes, mounts, addresses, control
groups) is found by the name of its network namespace, so nothing depends on a file that a killed run did not write.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import content_key, run
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.controllers import Controllers
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.images import (
    image_identity,
    stream_archive,
)

# Folders of the machine that the node sees through an overlay in memory, so that it can have mount points there.
OVERLAYS = ("/etc", "/var/lib", "/var/log")
# Folders of the state directory and where the node's programs expect them.
BINDS = (
    ("kubernetes", "/etc/kubernetes"),
    ("kubelet", "/var/lib/kubelet"),
    ("etcd", "/var/lib/etcd"),
    ("logs/pods", "/var/log/pods"),
)
SYSCTLS = (
    ("/proc/sys/net/ipv4/ip_forward", "1"),
    ("/proc/sys/net/ipv4/conf/all/rp_filter", "0"),
)
# Settings of the whole machine that a kubelet would change, and that would stay so when the node is gone.
SHIELDS = (
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/panic_on_oops",
    "/proc/sys/kernel/keys/root_maxkeys",
    "/proc/sys/kernel/keys/root_maxbytes",
)
CONTAINERD = "containerd"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
NETWORK_NAMESPACES = Path("/run/netns")
CGROUPS = Path("/sys/fs/cgroup")
POLL_SECONDS = 0.25
# How long one answer of a daemon may take, and how long a node that runs already may be without one.
ANSWER_SECONDS = 10.0
RUNNING_SECONDS = 60.0
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# Programs in Go collect garbage a third as often as they would, which under load was a quarter of what the API server
# did. The control plane is told by kubeadm's patch.
GARBAGE = {"GOGC": "300"}
# Settings and caches of the user's own kubectl stay out of it.
KUBECTL_ENVIRONMENT = {"PATH": PATH, "HOME": "/nonexistent"}


@dataclass(frozen=True)
class Network:
    """The network between the machine and the node."""

    interface: str
    outside: str
    inside: str
    prefix: int


@dataclass(frozen=True)
class NodeSpec:
    """The specification of the node."""

    name: str
    directory: Path
    network: Network
    supervisor: Path
    programs: Mapping[str, Path]
    images: Sequence[Path]
    # Files below <directory>/config by their names; "identity" decides whether the data can be kept.
    configuration: Mapping[str, str]
    daemons: Mapping[str, Mapping[str, Any]]
    addons: Sequence[str]
    identity: Mapping[str, Any]
    users: Sequence[str]
    kubeconfig: Path
    timeout: float = 180.0

    @property
    def config(self) -> Path:
        """The folder of the configuration files."""
        return self.directory / "config"

    @property
    def node_json(self) -> str:
        """The commands that the supervisor runs once."""
        wanted = {"overlays": OVERLAYS, "binds": BINDS, "shields": SHIELDS, "sysctls": SYSCTLS}
        return json.dumps(wanted, sort_keys=True)

    @property
    def foundation(self) -> str:
        """Key of what cannot change while the namespaces live."""
        return content_key(self.node_json, self.supervisor, repr(self.network))

    @property
    def control_plane(self) -> str:
        """Key of what the control plane is made from."""
        files = {name: text for name, text in self.configuration.items() if name.startswith("kubeadm")}
        return content_key(json.dumps([files, list(self.users)], sort_keys=True), str(self.programs["kubeadm"]))


class NotReadyError(SupersonicError):
    """Something did not become ready in time."""


def written(path: Path, content: str, mode: int = 0o600) -> bool:
    """Make a file have that content, at once and whole; whether it was different."""
    if path.is_file() and path.read_text() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(content)
    fresh.chmod(mode)
    fresh.rename(path)
    return True


def wait_for(what: str, ready: Callable[[], str | None], timeout: float) -> None:
    """Wait until ready gives None; it otherwise says what is missing."""
    end = time.monotonic() + timeout
    while (missing := ready()) is not None:
        if time.monotonic() > end:
            raise NotReadyError(f"{what} did not happen within {timeout:.0f} s: {missing}")
        time.sleep(POLL_SECONDS)


class Machine:
    """The parts of a node in the kernel of this machine: everything but its state folder."""

    def __init__(self, name: str, interface: str) -> None:
        self.name = name
        self.interface = interface

    @property
    def namespace(self) -> Path:
        """The name that keeps the network namespace."""
        return NETWORK_NAMESPACES / self.name

    def pids(self) -> list[int]:
        """Processes of the machine that are in the node's network namespace or in its control groups.

        Either would do while all is well; when the namespace has lost its name, only the groups know them.
        """
        return sorted({*self._pids_in_namespace(), *self._pids_in_groups()})

    def _pids_in_groups(self) -> Iterator[int]:
        for group in self.cgroups():
            for file in group.rglob("cgroup.procs"):
                with contextlib.suppress(OSError):
                    yield from map(int, file.read_text().split())

    def _pids_in_namespace(self) -> list[int]:
        if not self.namespace.exists():
            return []
        wanted = self.namespace.stat()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                there = (entry / "ns" / "net").stat()
            except OSError:
                continue
            if (there.st_ino, there.st_dev) == (wanted.st_ino, wanted.st_dev):
                found.append(int(entry.name))
        return found

    def first_process(self) -> int | None:
        """The machine's number of the process that is number 1 in the node."""
        for pid in self._pids_in_namespace() or self._pids_in_groups():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
            # A number here and a number in the node; what runs in a pod has one more.
            if len(numbers) == 2 and numbers[1] == "1":
                return pid
        return None

    def interface_exists(self) -> bool:
        """Whether the outer end of the link is there."""
        return Path("/sys/class/net", self.interface).exists()

    def cgroups(self) -> list[Path]:
        """The node's control groups, one for each hierarchy that has one."""
        return [path / self.name for path in hierarchies() if (path / self.name).is_dir()]

    def exists(self) -> bool:
        """Whether anything of the node is there."""
        return self.namespace.exists() or self.interface_exists() or bool(self.cgroups())

    def kill(self) -> None:
        """End all processes of the node."""
        pids = self.pids()
        first = self.first_process()
        # The kernel ends everything in the node with its first process. The others here are what entered it
        # from outside.
        for pid in ([first] if first else []) + pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        wait_for(
            f"The end of the processes of node {self.name}",
            lambda: f"processes {self.pids()} are still there" if self.pids() else None,
            30,
        )

    def remove(self) -> None:
        """Remove processes, link, namespace and control groups."""
        self.kill()
        if self.interface_exists():
            run(["ip", "link", "delete", self.interface], what=f"Removing the link {self.interface}")
        if self.namespace.exists():
            run(["ip", "netns", "delete", self.name], what=f"Removing the network namespace {self.name}")
        # The folder of the names is a mount that the first name makes and the last leaves behind.
        if NETWORK_NAMESPACES.is_mount() and not any(NETWORK_NAMESPACES.iterdir()):
            run(["umount", NETWORK_NAMESPACES], what=f"Removing the mount {NETWORK_NAMESPACES}")
            NETWORK_NAMESPACES.rmdir()
        for group in self.cgroups():
            wait_for(f"Removing the control group {group}", lambda group=group: remove_group(group), 30)  # type: ignore[misc]


def hierarchies() -> list[Path]:
    """The mount points of the machine's control group hierarchies."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _device, target, kind, *_rest = line.split()
        if kind in ("cgroup", "cgroup2"):
            found.append(Path(target))
    return found


def remove_group(group: Path) -> str | None:
    """Remove a control group and those in it; what is in the way, if anything."""
    for folder in sorted(
        (path for path in [group, *group.rglob("*")] if path.is_dir()), key=lambda path: -len(path.parts)
    ):
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"{folder}: {error.strerror}"
    return None


def make_groups(name: str) -> list[Path]:
    """Make the node's control group in every hierarchy, and in it one for its daemons; the daemons' groups."""
    made = []
    controllers = Controllers()
    for root in hierarchies():
        group = root / name
        for folder in (group, group / "daemons"):
            try:
                _make_group(folder)
            except OSError as error:
                raise SupersonicError(f"Making the control group {folder} failed: {error.strerror}.") from error
        if root == controllers.root and controllers.exist():
            controllers.hand_on(group)
        made.append(group / "daemons")
    return made


def _make_group(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    # The old cpuset hierarchy starts a group with no processor, in which nothing can run.
    for setting in ("cpuset.cpus", "cpuset.mems"):
        path = folder / setting
        if path.is_file() and (folder.parent / "tasks").exists() and not path.read_text().strip():
            path.write_text((folder.parent / setting).read_text())


class Inside:
    """Runs programs in the node's namespaces."""

    def __init__(self, first: int) -> None:
        self.prefix = ["nsenter", "--target", str(first), "--mount", "--net", "--pid", "--"]

    def run(self, command: Sequence[str | Path], what: str, timeout: float | None = None) -> str:
        """Run one and give its output."""
        environment = {"PATH": PATH, "HOME": "/root"}
        return run([*self.prefix, *command], what=what, env=environment, timeout=timeout)


class Node:
    """Brings a node up, or down, in steps that can be repeated after a kill at any moment."""

    def __init__(self, spec: NodeSpec, check: bool = False) -> None:
        self.spec = spec
        self.check = check
        self.machine = Machine(spec.name, spec.network.interface)
        self.done: list[str] = []
        self.started = False

    @property
    def patience(self) -> float:
        """The timeout for a check: shorter for what has been running than for what has just started."""
        return self.spec.timeout if self.started else min(self.spec.timeout, RUNNING_SECONDS)

    # What was reached. Each is written when the step it speaks of is complete.
    def _mark(self, name: str) -> Path:
        return self.spec.directory / "done" / name

    def _marked(self, name: str) -> str | None:
        path = self._mark(name)
        return path.read_text() if path.is_file() else None

    def present(self) -> list[str]:
        """Bring the node to what the specification says; what was done (in check mode: would be)."""
        try:
            self._go()
        except NotReadyError as error:
            # The supervisor starts what has ended. What hangs is ended here, once.
            if self.check or self.started:
                raise
            self.done.append(f"stopped the node, because it did not work: {error}")
            self.machine.remove()
            self._go()
        return self.done

    def _go(self) -> None:
        for _step in self._steps():
            if self.check:
                break

    def _steps(self) -> Iterator[None]:
        """The steps; each yields after it has noted in done what it is about to change, before it changes it."""
        spec = self.spec
        identity = json.dumps(dict(spec.identity), sort_keys=True)
        if (was := self._marked("identity")) is not None and was != identity:
            self.done.append("removed the node, because its addresses or names have changed")
            yield
            remove(spec.name, spec.network.interface, spec.directory)
        elif spec.directory.exists() and self._marked("bootstrapped") is None:
            self.done.append("removed a node that was never complete")
            yield
            remove(spec.name, spec.network.interface, spec.directory)
        first = self.machine.first_process()
        if first is not None and self._marked("foundation") != spec.foundation:
            self.done.append("stopped the node, because what it stands on has changed")
            yield
            self.machine.remove()
            first = None
        if first is None:
            self.done.append("started the node's namespaces")
            yield
            first = self._start(identity)
        inside = Inside(first)

        yield from self._configure()
        yield from self._daemon(CONTAINERD)
        ctr = ["ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io"]
        self._wait_for_containerd(inside, ctr)
        yield from self._import(inside, ctr)
        if self._marked("control-plane") != spec.control_plane:
            self.done.append("wrote the control plane's certificates and manifests")
            yield
            self._control_plane(inside)
        for name in spec.daemons:
            if name != CONTAINERD:
                yield from self._daemon(name)
        for left in sorted((spec.directory / "daemons").glob("*.json")):
            if left.stem not in spec.daemons:
                self.done.append(f"stopped {left.stem}")
                yield
                left.unlink()
        self._wait_for_api()
        yield from self._apply()
        self._wait_for_node(started_at(first))
        written(self._mark("bootstrapped"), "")
        admin = (spec.directory / "kubernetes" / "admin.conf").read_text()
        if not spec.kubeconfig.is_file() or spec.kubeconfig.read_text() != admin:
            self.done.append(f"wrote {spec.kubeconfig}")
            yield
            written(spec.kubeconfig, admin)

    def _start(self, identity: str) -> int:
        """Make the namespaces and start the supervisor in them; its process number."""
        spec, network = self.spec, self.spec.network
        self.started = True
        self.machine.remove()
        for name in ("config", "daemons", "done", "logs", "containerd", "volumes"):
            (spec.directory / name).mkdir(parents=True, exist_ok=True)
        spec.directory.chmod(0o711)
        written(self._mark("identity"), identity)
        written(spec.directory / "node.json", spec.node_json)
        written(spec.directory / "supervisor.py", spec.supervisor.read_text())
        (spec.directory / "status.json").unlink(missing_ok=True)
        ip = ["ip", "-netns", spec.name]
        what = f"Making the network of node {spec.name}"
        for command in (
            ["ip", "netns", "add", spec.name],
            ["ip", "link", "add", network.interface, "type", "veth", "peer", "name", "eth0", "netns", spec.name],
            ["ip", "address", "add", f"{network.outside}/{network.prefix}", "dev", network.interface],
            ["ip", "link", "set", network.interface, "up"],
            [*ip, "address", "add", f"{network.inside}/{network.prefix}", "dev", "eth0"],
            [*ip, "link", "set", "eth0", "up"],
            [*ip, "link", "set", "lo", "up"],
            # Without a default route the addresses of Services are unreachable from the node. This one leads
            # nowhere: nothing in the cluster reaches the world outside.
            [*ip, "link", "add", "void", "type", "bridge"],
            [*ip, "link", "set", "void", "up"],
            [*ip, "route", "add", "default", "dev", "void"],
        ):
            run(command, what=what)
        groups = make_groups(spec.name)

        def join() -> None:
            for group in groups:
                (group / "cgroup.procs").write_text("0")

        with (spec.directory / "logs" / "supervisor.log").open("a") as log:
            subprocess.Popen(
                [
                    "nsenter", f"--net={self.machine.namespace}", "--",
                    "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=SIGKILL",
                    "--mount-proc", "--",
                    "/usr/bin/python3", spec.directory / "supervisor.py", spec.directory,
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/", preexec_fn=join,
                env={"PATH": PATH, **GARBAGE},
            )  # fmt: skip
        status = spec.directory / "status.json"
        wait_for(
            f"The start of node {spec.name}",
            lambda: None if status.is_file() else f"see {spec.directory}/logs/supervisor.log",
            30,
        )
        first = self.machine.first_process()
        if first is None:
            raise SupersonicError(
                f"The first process of node {spec.name} ended as soon as it had started: "
                f"see {spec.directory}/logs/supervisor.log."
            )
        written(self._mark("foundation"), spec.foundation)
        return first

    def _configure(self) -> Iterator[None]:
        """Write the configuration files."""
        for name, content in self.spec.configuration.items():
            path = self.spec.config / name
            if not path.is_file() or path.read_text() != content:
                self.done.append(f"wrote {name}")
                yield
                written(path, content)

    def _daemon(self, name: str) -> Iterator[None]:
        """Wish for a daemon. It starts anew when its command or a file that it reads changes."""
        spec = self.spec
        command = [str(word) for word in spec.daemons[name]["command"]]
        reads = {file: spec.configuration[file] for file in spec.daemons[name].get("reads", [])}
        wish = json.dumps({"command": command, "reads": content_key(json.dumps(reads, sort_keys=True))})
        path = spec.directory / "daemons" / f"{name}.json"
        if not path.is_file() or path.read_text() != wish:
            self.done.append(f"started {name}")
            yield
            written(path, wish)

    def _wait_for_containerd(self, inside: Inside, ctr: Sequence[str]) -> None:
        def ready() -> str | None:
            try:
                inside.run([*ctr, "version"], what="Asking containerd", timeout=ANSWER_SECONDS)
            except SupersonicError as error:
                return f"{error} (see {self.spec.directory}/logs/{CONTAINERD}.log)"
            return None

        wait_for("An answer of containerd", ready, min(self.patience, 30))

    def _import(self, inside: Inside, ctr: Sequence[str]) -> Iterator[None]:
        """Import the images that containerd does not have, or has with another content."""
        listed = inside.run([*ctr, "images", "list"], what="Listing the images", timeout=60)
        there = {tuple(line.split()[i] for i in (0, 2)) for line in listed.splitlines()[1:] if len(line.split()) > 2}
        # In check mode an image need not be composed yet.
        composed = {folder: image_identity(folder) if folder.is_dir() else None for folder in self.spec.images}
        missing = [folder for folder, identity in composed.items() if identity not in there]
        if not missing:
            return
        names = [identity[0] if identity else folder.name for folder, identity in composed.items() if folder in missing]
        self.done.append(f"imported {', '.join(names)}")
        yield
        import_images(inside, ctr, missing)

    def _control_plane(self, inside: Inside) -> None:
        spec = self.spec
        kubeadm: list[str | Path] = [spec.programs["kubeadm"], "init", "phase"]
        config: list[str | Path] = ["--config", spec.config / "kubeadm.yaml"]
        pki = spec.directory / "kubernetes"
        if self._marked("control-plane") is None:
            # Certificates of which only the key was written would stop the next attempt.
            for left in pki.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        for phase in (["certs", "all"], ["kubeconfig", "all"], ["etcd", "local"], ["control-plane", "all"]):
            inside.run([*kubeadm, *phase, *config], what=f"kubeadm {' '.join(phase)}")
        for user in spec.users:
            text = inside.run(
                [spec.programs["kubeadm"], "kubeconfig", "user", "--client-name", user, *config],
                what=f"Making the kubeconfig of {user}",
            )
            written(pki / f"{user.rsplit(':', 1)[-1]}.conf", text)
        written(self._mark("control-plane"), spec.control_plane)

    def _kubectl(self, *arguments: str) -> list[str | Path]:
        """A command of kubectl with all rights, for use from outside of the node."""
        admin = self.spec.directory / "kubernetes" / "super-admin.conf"
        return [self.spec.programs["kubectl"], "--kubeconfig", admin, "--request-timeout=10s", *arguments]

    def kubectl(self, *arguments: str, what: str, stdin: str | None = None) -> str:
        """Run it and give its output."""
        return run(self._kubectl(*arguments), what=what, stdin=stdin, env=KUBECTL_ENVIRONMENT)

    def _wait_for_api(self) -> None:
        def ready() -> str | None:
            try:
                self.kubectl("get", "--raw=/readyz", what="Asking the API server")
            except SupersonicError as error:
                return str(error)
            return None

        wait_for(f"An answer of the API server ({self.spec.directory}/logs)", ready, self.patience)

    def _apply(self) -> Iterator[None]:
        """Apply the add-ons when the API server's own comparison says that they differ."""
        text = "\n---\n".join(self.spec.addons)
        options = ("--server-side", "--force-conflicts", "--field-manager=fastml.supersonic.local", "-f", "-")
        compared = subprocess.run(
            [str(word) for word in self._kubectl("diff", *options)],
            input=text, capture_output=True, text=True, check=False, env=KUBECTL_ENVIRONMENT,
        )  # fmt: skip
        if compared.returncode == 0:
            return
        self.done.append("applied the add-ons")
        yield
        # A namespace of the set may be as new as the objects in it; the API server may still be making its own.
        wait_for("Applying the add-ons", lambda: self._try_apply(text, options), 60)

    def _try_apply(self, text: str, options: Sequence[str]) -> str | None:
        try:
            self.kubectl("apply", *options, what="Applying the add-ons", stdin=text)
        except SupersonicError as error:
            return str(error)
        return None

    def _wait_for_node(self, since: float) -> None:
        """Wait until the node and its add-ons are ready. What was reported before the node started does not count."""

        def ready() -> str | None:
            try:
                text = self.kubectl(
                    "get", "nodes,deployments.apps,pods", "-A", "-o", "json", "-l", "supersonic.fastml.org/local=true",
                    what="Reading the node's state",
                )  # fmt: skip
            except SupersonicError as error:
                return str(error)
            return unready(json.loads(text)["items"], since)

        wait_for(f"The start of node {self.spec.name}", ready, self.patience)


def started_at(pid: int) -> float:
    """The start time of a process in seconds since the epoch, rounded down, as in Kubernetes."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return int(boot.split()[1]) + ticks // os.sysconf("SC_CLK_TCK") - 1


def seconds(timestamp: str) -> float:
    """A Kubernetes timestamp in seconds of the epoch."""
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


def unready(items: Sequence[Mapping[str, Any]], since: float) -> str | None:
    """The first of some nodes, Deployments and Pods that has not been ready since then, in words."""
    if not any(item["kind"] == "Node" for item in items):
        return "the node has not registered"
    if not any(item["kind"] == "Pod" for item in items):
        return "no add-on has a pod yet"
    for item in items:
        kind, metadata, status = item["kind"], item["metadata"], item.get("status", {})
        if metadata.get("deletionTimestamp"):
            continue
        wanted = "Available" if kind == "Deployment" else "Ready"
        condition: Mapping[str, Any] = next(
            (entry for entry in status.get("conditions", []) if entry["type"] == wanted), {}
        )
        times = [condition["lastHeartbeatTime"]] if condition.get("lastHeartbeatTime") else []
        if kind == "Pod":
            running = [entry.get("state", {}).get("running", {}) for entry in status.get("containerStatuses", [])]
            times = [entry.get("startedAt", "1970-01-01T00:00:00Z") for entry in running]
        current = metadata.get("generation", 0) <= status.get("observedGeneration", metadata.get("generation", 0))
        if condition.get("status") != "True" or not current or any(seconds(time) < since for time in times):
            return (
                f"{kind} {metadata['name']} is not {wanted}: {condition.get('message') or 'nothing is known of it yet'}"
            )
    return None


def import_images(inside: Inside, ctr: Sequence[str], folders: Sequence[Path]) -> None:
    """Stream image layouts into containerd."""
    command = [*inside.prefix, *ctr, "images", "import", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        # When ctr gives up early, what it says is more than that its input broke.
        with contextlib.suppress(BrokenPipeError), cast(IO[bytes], process.stdin) as archive:
            stream_archive(folders, archive)
        said = cast(IO[bytes], process.stdout).read().decode(errors="replace")
    if process.returncode:
        raise SupersonicError(f"Importing images failed: ctr ended with {process.returncode}: {said.strip()[-2000:]}")


def _leftover(directory: Path) -> Path:
    """The name of the state folder during its removal; an interrupted one leaves nothing like a node."""
    return directory.with_name(f".{directory.name}.removed")


def exists(name: str, interface: str, directory: Path) -> bool:
    """Whether anything of a node is there."""
    return Machine(name, interface).exists() or directory.exists() or _leftover(directory).exists()


def remove(name: str, interface: str, directory: Path) -> None:
    """Remove a node and its state."""
    Machine(name, interface).remove()
    Controllers().take_back()
    gone = _leftover(directory)
    for _again in range(2):
        if gone.exists():
            shutil.rmtree(gone)
        if directory.exists():
            directory.rename(gone)
