# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controllers of new-style control groups: what a node gets, what is left as it was, each refusal in words.

The folders are plain ones, and what the kernel makes of a write is played: no test may switch controllers of the
machine that it runs on.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster import controllers

OFFERED = "cpuset cpu io memory hugetlb pids rdma"


class Kernel:
    """Plays the kernel's part; root is the first group of all, with a process, as on a real machine."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cgroup"
        self.record = folder / "record.json"
        self.failure: int | None = None
        self.group(self.root, OFFERED, on="memory pids")
        (self.root / "cgroup.procs").write_text("1\n")

    def group(self, folder: Path, offered: str = "", on: str = "") -> Path:
        folder.mkdir()
        (folder / "cgroup.controllers").write_text(offered)
        (folder / "cgroup.subtree_control").write_text(on)
        return folder

    def on(self, folder: Path | None = None) -> set[str]:
        return set(((folder or self.root) / "cgroup.subtree_control").read_text().split())

    def switch(self, group: Path, words: str) -> None:
        if self.failure is not None:
            raise OSError(self.failure, os.strerror(self.failure))
        on = self.on(group)
        below = [path for path in group.iterdir() if path.is_dir()]
        for word in words.split():
            name = word[1:]
            assert name in (group / "cgroup.controllers").read_text().split(), word
            if word[0] == "-" and any(name in self.on(path) for path in below):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            on = on | {name} if word[0] == "+" else on - {name}
        (group / "cgroup.subtree_control").write_text(" ".join(on))
        for path in below:
            (path / "cgroup.controllers").write_text(" ".join(on))

    @property
    def controllers(self) -> controllers.Controllers:
        return controllers.Controllers(self.root, self.record)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A machine without a node."""
    found = Kernel(tmp_path)
    monkeypatch.setattr(controllers, "switch", found.switch)
    return found


def node(kernel: Kernel, name: str) -> Path:
    """A new node's group, with controllers."""
    group = kernel.group(kernel.root / name, " ".join(kernel.on()))
    kernel.controllers.hand_on(group)
    return group


def remove(kernel: Kernel, group: Path) -> None:
    for path in group.iterdir():
        path.unlink()
    group.rmdir()
    kernel.controllers.take_back()


def test_a_node_gets_what_it_needs_and_takes_it_with_it(kernel: Kernel) -> None:
    group = node(kernel, "node")
    assert kernel.on() == {"memory", "pids", "cpu", "cpuset", "hugetlb"}
    assert kernel.on(group) == {"memory", "pids", "cpu", "cpuset", "hugetlb"}
    # As runc does.
    kernel.switch(kernel.root, "+io +rdma")
    kernel.controllers.hand_on(group)
    remove(kernel, group)
    assert kernel.on() == {"memory", "pids"}
    assert not kernel.record.exists()


def test_the_last_of_two_nodes_takes_them_back(kernel: Kernel) -> None:
    first, second = node(kernel, "first"), node(kernel, "second")
    remove(kernel, first)
    assert kernel.on() >= {"memory", "pids", "cpu", "cpuset", "hugetlb"}
    remove(kernel, second)
    assert kernel.on() == {"memory", "pids"}
    assert not kernel.record.exists()


def test_what_others_use_stays(kernel: Kernel) -> None:
    group = node(kernel, "node")
    kernel.group(kernel.root / "other", " ".join(kernel.on()), on="cpuset")
    remove(kernel, group)
    assert kernel.on() == {"memory", "pids", "cpuset"}


def test_a_run_that_was_killed_before_it_switched_is_known(kernel: Kernel) -> None:
    kernel.failure = errno.EIO
    with pytest.raises(SupersonicError, match="cgroup cannot hand on cpu, cpuset, hugetlb: Input/output error"):
        node(kernel, "node")
    assert json.loads(kernel.record.read_text())["controllers"] == ["memory", "pids"]


def test_a_record_of_another_root_does_not_count(kernel: Kernel) -> None:
    kernel.record.write_text(json.dumps({"group": -1, "controllers": []}))
    kernel.controllers.take_back()
    assert kernel.on() == {"memory", "pids"}
    assert not kernel.record.exists()


def test_a_failure_to_take_back_is_said(kernel: Kernel) -> None:
    node(kernel, "node")
    kernel.failure = errno.EROFS
    with pytest.raises(SupersonicError, match="still hands on cpu, and it cannot be switched off: Read-only"):
        kernel.controllers.take_back()


def test_processes_in_the_root_of_a_container(kernel: Kernel) -> None:
    assert kernel.controllers.obstacle() is None
    (kernel.root / "cgroup.type").write_text("domain\n")
    with pytest.raises(SupersonicError, match=r"holds processes itself.* hand on cpu, cpuset, hugetlb: start the"):
        node(kernel, "node")
    assert not kernel.record.exists()
    # Somebody has switched them on already, or has moved the processes.
    (kernel.root / "cgroup.subtree_control").write_text(OFFERED)
    assert kernel.controllers.obstacle() is None
    (kernel.root / "cgroup.subtree_control").write_text("")
    (kernel.root / "cgroup.procs").write_text("")
    assert kernel.controllers.obstacle() is None


def test_controllers_that_are_not_offered(kernel: Kernel) -> None:
    (kernel.root / "cgroup.controllers").write_text("cpu memory")
    assert f"{kernel.root} do not offer cpuset, pids: in a container" in str(kernel.controllers.obstacle())


def test_groups_that_cannot_be_written(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    assert str(kernel.controllers.obstacle()).endswith("is read-only: mount it writable.")


def test_a_machine_without_such_groups(tmp_path: Path) -> None:
    none = controllers.Controllers(tmp_path, tmp_path / "record.json")
    assert not none.exist()
    none.take_back()
