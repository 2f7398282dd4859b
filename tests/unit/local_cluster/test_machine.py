# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the local cluster needs of the machine: each refusal in words."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster import machine


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file system of a machine that has everything."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\nVERSION_ID="12"\n')
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal:       16777216 kB\nMemFree: 1 kB\n")
    (tmp_path / "proc/self/status").write_text("Name:\tpython\nCapEff:\t000001fffeffffff\n")
    (tmp_path / "proc/filesystems").write_text("nodev\tproc\n\text4\nnodev\toverlay\n")
    (tmp_path / "proc/self/mounts").write_text("cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine, "run", lambda *_words, **_more: "[]")
    return tmp_path


def needs(**changes: object) -> machine.Needs:
    """Few needs."""
    few: dict[str, object] = {"memory_gib": 1, "disk_gib": {}, "interface": "link0", "network": "198.18.0.2/30"}
    return machine.Needs(**{**few, **changes})  # type: ignore[arg-type]


def test_a_machine_that_has_everything(root: Path) -> None:
    assert machine.problems(needs(), root) == []


def test_lacking_capabilities(root: Path) -> None:
    (root / "proc/self/status").write_text(f"CapEff:\t{0x1FFFFFFFFFF & ~(1 << 21) & ~(1 << 12):016x}\n")
    assert machine.problems(needs(), root) == [
        "This process lacks CAP_NET_ADMIN, CAP_SYS_ADMIN: run it on the machine itself, or in a container that has all "
        "rights."
    ]


@pytest.mark.parametrize("module", [False, True])
def test_a_kernel_without_overlay(root: Path, monkeypatch: pytest.MonkeyPatch, module: bool) -> None:
    monkeypatch.setattr(machine.platform, "release", lambda: "6.1")
    (root / "proc/filesystems").write_text("\text4\n")
    (root / "lib/modules/6.1").mkdir(parents=True)
    (root / "lib/modules/6.1/modules.dep").write_text("kernel/fs/overlayfs/overlay.ko.xz:\n" if module else "")
    assert machine.problems(needs(), root) == (
        [] if module else ["The kernel does not offer overlay: take a kernel that has them, as Debian's own does."]
    )


def test_kernel_parts_that_cannot_be_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.platform, "release", lambda: "6.1")
    monkeypatch.setattr(shutil, "which", lambda name: f"/sbin/{name}")
    (root / "lib/modules/6.1").mkdir(parents=True)
    (root / "lib/modules/6.1/modules.builtin").write_text("kernel/net/bridge/bridge.ko\n")
    tried = []

    def run(words: list[str], **_more: object) -> str:
        tried.append(words)
        raise machine.SupersonicError("Operation not supported")

    monkeypatch.setattr(machine, "run", run)
    assert machine.missing_kernel_parts(root) == ["veth", "nf_tables"]
    assert all(words[:3] == ["unshare", "--net", "--"] for words in tried)
    # Without the programs nothing is known, and nothing is refused.
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert machine.missing_kernel_parts(root) == []


def test_new_style_control_groups(root: Path) -> None:
    (root / "proc/self/mounts").write_text("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n")
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (root / "sys/fs/cgroup/cgroup.subtree_control").write_text("memory pids\n")
    assert machine.problems(needs(), root) == []
    # In a container the first group that is seen is not the first of all, and has a type.
    (root / "sys/fs/cgroup/cgroup.type").write_text("domain\n")
    (root / "sys/fs/cgroup/cgroup.procs").write_text("1\n")
    (found,) = machine.problems(needs(), root)
    assert "holds processes itself, so the kernel does not let it hand on cpu, cpuset: start the container" in found


def test_new_style_control_groups_beside_old_ones_do_not_count(root: Path) -> None:
    (root / "proc/self/mounts").write_text("cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n")
    (root / "sys/fs/cgroup/unified").mkdir(parents=True)
    (root / "sys/fs/cgroup/unified/cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    assert machine.problems(needs(), root) == [
        "No control groups are mounted in /sys/fs/cgroup: containers cannot be run here."
    ]


def test_not_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert machine.problems(needs(), root) == [
        "It takes root: run it as root (the node has network and process namespaces of its own)."
    ]


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ('PRETTY_NAME="Ubuntu 24.04"\nID=ubuntu\nVERSION_ID="24.04"\n', "Ubuntu 24.04"),
        ('PRETTY_NAME="Debian GNU/Linux 11"\nID=debian\nVERSION_ID="11"\n', "Debian GNU/Linux 11"),
        ("", "an unknown system"),
    ],
)
def test_another_system(root: Path, release: str, name: str) -> None:
    (root / "etc/os-release").write_text(release)
    assert machine.problems(needs(), root) == [f"It takes Debian 12 or 13, and this is {name}."]


def test_too_little_memory(root: Path) -> None:
    assert machine.problems(needs(memory_gib=24), root) == [
        "The machine has 16.0 GiB of memory and 24.0 GiB are needed."
    ]


def test_too_little_disk_counts_folders_of_one_file_system_together(root: Path) -> None:
    half = shutil.disk_usage(root).free / machine.GIB * 0.6
    assert machine.disk_problems({str(root / "a/b"): half}) == []
    found = machine.disk_problems({str(root / "a/b"): half, str(root / "c"): half})
    assert len(found) == 1
    assert f"{half * 2:.1f} GiB are needed: make room" in found[0]


def test_no_control_groups(root: Path) -> None:
    (root / "proc/self/mounts").write_text("")
    assert machine.problems(needs(), root) == [
        "No control groups are mounted in /sys/fs/cgroup: containers cannot be run here."
    ]


@pytest.mark.parametrize(("link", "refused"), [("eth0", True), ("link0", False)])
def test_addresses_in_use(root: Path, monkeypatch: pytest.MonkeyPatch, link: str, refused: bool) -> None:
    answer = [{"ifname": link, "addr_info": [{"local": "198.18.0.1", "prefixlen": 24}]}, {}]
    monkeypatch.setattr(machine, "run", lambda *_words, **_more: json.dumps(answer))
    monkeypatch.setattr(shutil, "which", lambda _name: "/sbin/ip")
    found = machine.problems(needs(), root)
    assert [text.split(":")[0] for text in found] == (
        ["The interface eth0 already has 198.18.0.1/24"] if refused else []
    )


def test_everything_missing_is_said_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (root / "etc/os-release").write_text("ID=other\n")
    assert len(machine.problems(needs(memory_gib=99), root)) == 3


def test_packages_that_were_removed_are_missing(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(
        "Package: runc\nStatus: install ok installed\nVersion: 1\n\n"
        "Package: nftables\nStatus: deinstall ok config-files\n\n"
    )
    assert machine.missing_packages(["runc", "nftables", "containerd"], status) == ["nftables", "containerd"]
    assert machine.missing_packages(["runc"], tmp_path / "none") == ["runc"]
