# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks the requirements of the local cluster on its machine.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import ipaddress
import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import run
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.controllers import Controllers
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.images import ARCHITECTURES

DEBIAN = ("12", "13")
# Rights that root may lack in a container, by their bits in the kernel's sets.
CAPABILITIES = {
    "CAP_CHOWN": 0,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_MKNOD": 27,
}
# Parts of the kernel that the network takes, with the command that uses them. Each runs in a network namespace of
# its own, which goes with it.
KERNEL = {
    "veth": ("ip", "link", "add", "name", "probe0", "type", "veth", "peer", "name", "probe1"),
    "bridge": ("ip", "link", "add", "name", "probe0", "type", "bridge"),
    "nf_tables": ("nft", "add", "table", "inet", "probe"),
}
GIB = 1 << 30


@dataclass(frozen=True)
class Needs:
    """The requirements."""

    memory_gib: float
    disk_gib: Mapping[str, float]
    interface: str
    network: str


def os_release(text: str) -> dict[str, str]:
    """The fields of an os-release file."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name: value.strip().strip("\"'") for name, value in pairs}


def existing(path: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return path if path.exists() or path == path.parent else existing(path.parent)


def total_memory(meminfo: str) -> int:
    """Memory of the machine in bytes."""
    line = next(line for line in meminfo.splitlines() if line.startswith("MemTotal:"))
    return int(line.split()[1]) * 1024


def used_networks(addresses: str) -> dict[str, list[ipaddress.IPv4Interface]]:
    """Addresses by interface, from the JSON of ip -4 address."""
    return {
        link["ifname"]: [ipaddress.IPv4Interface(f"{info['local']}/{info['prefixlen']}") for info in link["addr_info"]]
        for link in json.loads(addresses or "[]")
        if link
    }


def disk_problems(disk_gib: Mapping[str, float]) -> list[str]:
    """The file systems that lack space. Folders on one file system add up."""
    needed: dict[int, float] = {}
    places: dict[int, Path] = {}
    for name, size in disk_gib.items():
        place = existing(Path(name))
        device = place.stat().st_dev
        needed[device] = needed.get(device, 0) + size
        places.setdefault(device, place)
    found = []
    for device, size in needed.items():
        free = shutil.disk_usage(places[device]).free / GIB
        if free < size:
            found.append(
                f"The file system of {places[device]} has {free:.1f} GiB free and {size:.1f} GiB are needed: "
                "make room, or choose folders on another disk (local_cluster_directory, local_cluster_cache_directory)."
            )
    return found


def problems(needs: Needs, root: Path = Path("/")) -> list[str]:
    """Everything that stands in the way, a sentence each."""
    found = []
    if os.geteuid() != 0:
        found.append("It takes root: run it as root (the node has network and process namespaces of its own).")
    release = root / "etc/os-release"
    system = os_release(release.read_text()) if release.is_file() else {}
    if system.get("ID") != "debian" or system.get("VERSION_ID") not in DEBIAN:
        name = system.get("PRETTY_NAME", "an unknown system")
        found.append(f"It takes Debian {' or '.join(DEBIAN)}, and this is {name}.")
    if platform.machine() not in ARCHITECTURES:
        found.append(f"There are no programs for the processor type {platform.machine()}.")
    if lacking := missing_capabilities((root / "proc/self/status").read_text()):
        found.append(
            f"This process lacks {', '.join(lacking)}: run it on the machine itself, or in a container that has "
            "all rights."
        )
    if lacking := missing_kernel_parts(root):
        found.append(
            f"The kernel does not offer {', '.join(lacking)}: take a kernel that has them, as Debian's own does."
        )
    memory = total_memory((root / "proc/meminfo").read_text()) / GIB
    if memory < needs.memory_gib:
        found.append(f"The machine has {memory:.1f} GiB of memory and {needs.memory_gib:.1f} GiB are needed.")
    controllers = Controllers(root / "sys/fs/cgroup")
    if controllers.exist():
        found += filter(None, [controllers.obstacle()])
    elif not _has_old_groups(root):
        found.append("No control groups are mounted in /sys/fs/cgroup: containers cannot be run here.")
    found += disk_problems(needs.disk_gib)
    if shutil.which("ip"):
        wanted = ipaddress.IPv4Network(needs.network, strict=False)
        for link, addresses in used_networks(run(["ip", "-j", "-4", "address"], what="Reading the addresses")).items():
            found += [
                f"The interface {link} already has {address}: choose other addresses (local_cluster_outside_address, "
                "local_cluster_inside_address)."
                for address in addresses
                if link != needs.interface and address.network.overlaps(wanted)
            ]
    return found


def missing_capabilities(status: str) -> list[str]:
    """Needed rights that this process does not have, from its status file."""
    line = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    effective = int(line.split()[1], 16)
    return [name for name, bit in CAPABILITIES.items() if not effective >> bit & 1]


def missing_kernel_parts(root: Path) -> list[str]:
    """Parts of the kernel that the node needs and that are neither there nor to be had as a module.

    A module is not loaded to find out: that would outlast the question. Without the programs that use a part
    nothing is said about it.
    """
    modules = root / "lib/modules" / platform.release()
    known = "".join(
        (modules / name).read_text() for name in ("modules.dep", "modules.builtin") if (modules / name).is_file()
    )
    there = (root / "proc/filesystems").read_text().split()
    found = [] if "overlay" in there or "/overlay.ko" in known else ["overlay"]
    for name, command in KERNEL.items():
        if f"/{name}.ko" in known or not shutil.which(command[0]):
            continue
        try:
            run(["unshare", "--net", "--", *command], what=f"Trying {name}", timeout=10)
        except SupersonicError:
            found.append(name)
    return found


def _has_old_groups(root: Path) -> bool:
    """Whether an old-style control group hierarchy limits processor time."""
    mounts = root / "proc/self/mounts"
    for line in mounts.read_text().splitlines() if mounts.is_file() else ():
        _device, _target, kind, options, *_rest = line.split()
        if kind == "cgroup" and "cpu" in options.split(","):
            return True
    return False


def missing_packages(packages: Sequence[str], status: Path = Path("/var/lib/dpkg/status")) -> list[str]:
    """Those packages that are not installed."""
    installed = set()
    name = ""
    for line in status.read_text(errors="replace").splitlines() if status.is_file() else ():
        if line.startswith("Package: "):
            name = line.removeprefix("Package: ")
        elif line == "Status: install ok installed":
            installed.add(name)
    return [package for package in packages if package not in installed]
