# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real KEDA of the local cluster."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils import _keda_info
from ansible_collections.fastml.supersonic.plugins.module_utils._local_cache import locked
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, KUBECONFIG, LOCAL, Run, run_playbook

NAMESPACE = "keda"
IMAGES = ["triton-local", "envoy-local", "keda", "keda-metrics-apiserver", "keda-admission-webhooks"]
DEFAULTS = yaml.safe_load((CLONE / "roles/keda/defaults/main.yml").read_text())
# What every caller of the module asks.
WANTED = {"namespace": "", "minimum_version": DEFAULTS["keda_minimum_version"], "fields": DEFAULTS["keda_fields"]}


class Keda:
    """KEDA in its namespace, by the role on the local inventory's cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def look(self, **wanted: Any) -> dict[str, Any]:
        """What the module says of it."""
        return _keda_info.inspect(self.cluster.api, {**WANTED, **wanted})

    def sound(self) -> bool:
        found = self.look()
        return not found["problems"] and found["version"] == DEFAULTS["keda_version"]

    def have(self) -> None:
        """Have it, by the playbook of `make autoscaling`: minutes the first time, a second when it is there."""
        with self.alone():
            self._have()

    def alone(self) -> AbstractContextManager[None]:
        """While nobody else makes it or takes it away."""
        return locked(LOCAL / "keda.lock")

    def _have(self) -> None:
        if self.sound():
            return
        assert (LOCAL / "kubeconfig").samefile(KUBECONFIG), (
            "this cluster has no KEDA, and images come only to the local one"
        )
        extra = {"local_cluster_images": IMAGES, "local_directory": str(LOCAL)}
        # Programs that are not in the cache yet are built.
        done = run_playbook(
            "playbooks/local.yml",
            CLONE / "inventories/local",
            "--limit",
            "supersonic_clusters",
            extra=extra,
            seconds=None,
        )
        assert done.code == 0, done.output[-6000:]
        assert self.sound(), self.look()

    def role(self, folder: Path, *arguments: str, **variables: Any) -> Run:
        """Run the role alone."""
        task = {"name": "Have KEDA", "ansible.builtin.include_role": {"name": "fastml.supersonic.keda"}}
        play = {"hosts": "local-cluster", "gather_facts": False, "tasks": [task]}
        (folder / "keda.yml").write_text(json.dumps([play]))
        extra = {"local_directory": str(LOCAL), **variables}
        return run_playbook(folder / "keda.yml", CLONE / "inventories/local", *arguments, extra=extra)
