# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Enables controllers of control groups (cgroup v2) for the local cluster.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError

# What a kubelet asks of its groups; the last only where the kernel offers it.
NEEDED = ("cpu", "cpuset", "memory", "pids")
WANTED = (*NEEDED, "hugetlb")


def switch(group: Path, words: str) -> None:
    """Write to a group which controllers it hands on, such as "+cpu -memory": all of them, or none and an OSError."""
    (group / "cgroup.subtree_control").write_text(words)


@dataclass(frozen=True)
class Controllers:
    """The controllers of the machine's new-style hierarchy.

    A hierarchy of that kind somewhere below root, beside old ones, is not meant: no kubelet uses its controllers.
    """

    root: Path = Path("/sys/fs/cgroup")
    # One for all nodes of the machine, and in memory: a reboot forgets what was handed on as well.
    record: Path = Path("/run/fastml-supersonic-controllers.json")

    def exist(self) -> bool:
        """Whether the machine has such a hierarchy."""
        return (self.root / "cgroup.controllers").is_file()

    def obstacle(self) -> str | None:
        """The reason why a node cannot have the controllers that it needs, and what to do."""
        if lacking := [name for name in NEEDED if name not in self._offered(self.root)]:
            return (
                f"The control groups in {self.root} do not offer {', '.join(lacking)}: in a container give it the "
                "machine's own (--cgroupns=host), else take a kernel that has them on."
            )
        missing = self._missing(self.root)
        # Only the first group of all may have processes and hand on controllers; it has no type.
        inner = (self.root / "cgroup.type").exists() and (self.root / "cgroup.procs").read_text().strip()
        if missing and inner:
            return (
                f"The control group {self.root} holds processes itself, so the kernel does not let it hand on "
                f"{', '.join(missing)}: start the container with the machine's control groups (--cgroupns=host), or "
                "move its processes into a group of their own below that one first."
            )
        return None if os.access(self.root, os.W_OK) else f"{self.root} is read-only: mount it writable."

    def hand_on(self, group: Path) -> None:
        """Let a group below root, and those in it, have what a kubelet asks for; nothing that is on is touched."""
        if problem := self.obstacle():
            raise SupersonicError(problem)
        if self._before() is None:
            # Written first: a run that is killed in between has nothing on that nobody knows of.
            before = {"group": self.root.stat().st_ino, "controllers": sorted(self._handed_on(self.root))}
            fresh = self.record.with_suffix(".new")
            fresh.write_text(json.dumps(before))
            fresh.rename(self.record)
        for folder in (self.root, group):
            if missing := self._missing(folder):
                try:
                    switch(folder, " ".join(f"+{name}" for name in missing))
                except OSError as error:
                    raise SupersonicError(
                        f"The control group {folder} cannot hand on {', '.join(missing)}: {error.strerror}."
                    ) from error

    def take_back(self) -> None:
        """Switch off what root hands on only since the first node came, unless somebody else uses it by now.

        That is more than hand_on has switched on: runc switches on whatever the kernel offers.
        """
        before = self._before()
        if before is not None:
            for name in sorted(self._handed_on(self.root) - before):
                try:
                    switch(self.root, f"-{name}")
                except OSError as error:
                    # A group below hands it on in turn. If that is another node, it is the one to take it back.
                    if error.errno != errno.EBUSY:
                        raise SupersonicError(
                            f"The control group {self.root} still hands on {name}, and it cannot be switched off: "
                            f"{error.strerror}."
                        ) from error
            if self._handed_on(self.root) - before:
                return
        self.record.unlink(missing_ok=True)

    def _before(self) -> set[str] | None:
        """What root handed on before the first node came; None without a node, or when it was another root, as in a
        container that was started anew."""
        if not self.record.is_file():
            return None
        found = json.loads(self.record.read_text())
        return set(found["controllers"]) if found["group"] == self.root.stat().st_ino else None

    def _missing(self, group: Path) -> list[str]:
        there = self._offered(group) - self._handed_on(group)
        return [name for name in WANTED if name in there]

    @staticmethod
    def _offered(group: Path) -> set[str]:
        return set((group / "cgroup.controllers").read_text().split())

    @staticmethod
    def _handed_on(group: Path) -> set[str]:
        return set((group / "cgroup.subtree_control").read_text().split())
