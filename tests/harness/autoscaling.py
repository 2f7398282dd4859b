# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An instance that is scaled: with a Prometheus of its own, by the role autoscaler, with the real KEDA."""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ansible_collections.fastml.supersonic.tests.harness.clients import load
from ansible_collections.fastml.supersonic.tests.harness.playbooks import Instance, Run
from ansible_collections.fastml.supersonic.tests.harness.processes import until

# One that keeps nothing when its pod goes.
PROMETHEUS: dict[str, Any] = {
    "prometheus_image": "docker.io/fastml/prometheus-local:3.13.5",
    "prometheus_persistent": False,
    "prometheus_resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
    "prometheus_termination_grace": 1,
}
# For these tests everything is quick.
QUICK: dict[str, Any] = {
    "autoscaler_max_replicas": 3,
    # What is learned of a server that computes one at a time, at once.
    "autoscaler_requests_per_server": 1.65,
    "autoscaler_wait_timeout": 90,
}


class ScaledInstance(Instance):
    """An instance, its Prometheus, and its autoscaler."""

    @property
    def target(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.name}-triton"

    @property
    def scaled_object(self) -> str:
        return f"/apis/keda.sh/v1alpha1/namespaces/{self.namespace}/scaledobjects/{self.name}-triton"

    @property
    def hpa(self) -> str:
        return f"/apis/autoscaling/v2/namespaces/{self.namespace}/horizontalpodautoscalers/keda-hpa-{self.name}-triton"

    def replicas(self) -> int:
        """Servers that are wanted."""
        return int(self.cluster.there(self.target)["spec"]["replicas"])

    def ready_servers(self) -> int:
        return int(self.cluster.there(self.target)["status"].get("readyReplicas") or 0)

    def start_prometheus(self, **variables: Any) -> None:
        done = self._role("prometheus", **{**PROMETHEUS, **variables})
        assert done.code == 0, done.output

    def watched(self, there: bool) -> None:
        """Take Prometheus away, or have it come back without what it knew."""
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.name}-prometheus"
        self.cluster.patch(path, {"spec": {"replicas": int(there)}})
        until(lambda: int(self.cluster.there(path)["status"].get("readyReplicas") or 0) == int(there), 60)

    def _role(self, name: str, *arguments: str, **variables: Any) -> Run:
        """Run a role alone."""
        task = {"name": f"Run the role {name}", "ansible.builtin.include_role": {"name": f"fastml.supersonic.{name}"}}
        play = {"hosts": "supersonic_instances", "gather_facts": False, "tasks": [task]}
        path = self.inventory.parent / f"{name}.yml"
        path.write_text(json.dumps([play]))
        return self.run(path, *arguments, **variables)

    def autoscaler(self, *arguments: str, **variables: Any) -> Run:
        """Run the role autoscaler."""
        return self._role("autoscaler", *arguments, **{**QUICK, **variables})

    def scale(self, **variables: Any) -> Run:
        """The same, which has to succeed."""
        done = self.autoscaler(**variables)
        assert done.code == 0, done.output
        return done

    def load(self, folder: Path, clients: int, seconds: float = 900) -> AbstractContextManager[dict[str, Any]]:
        """Clients that ask the serial model; what they have seen is in what is yielded after the end."""
        return load(self.address(), folder, "--clients", str(clients), "--model", "accelerator", seconds=seconds)


def held(condition: Any, seconds: float) -> None:
    """Something stays as it is for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition()
        time.sleep(0.5)
