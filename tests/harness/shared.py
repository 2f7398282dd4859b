# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One instance for tests that look at it, or put back what they change: watched, traced, and where Pod Security allows
least. Deploying one takes longer than most of what is tested at it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.fastml.supersonic.tests.harness import prometheus, tracing
from ansible_collections.fastml.supersonic.tests.harness.images import have_image
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.playbooks import LOCAL, Instance, Run
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import locked

NAME = "shared"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
MODELS = {"accelerator", "digits", "identity", "particlenet"}
_SMALL = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}
VARIABLES: dict[str, Any] = {
    # Somebody else has made the namespace.
    "supersonic_create_namespace": False,
    "supersonic_components": ["prometheus", "otel_collector"],
    "triton_replicas": 2,
    # Two Envoys in the pod: what the first has open and closed, the second has too.
    "envoy_processes": 2,
    "envoy_gpu_metrics": True,
    "prometheus_image": prometheus.IMAGE,
    "prometheus_size": "1Gi",
    "prometheus_resources": _SMALL,
    "prometheus_termination_grace": 1,
    "otel_collector_image": tracing.IMAGE,
    # It writes every span into its log.
    "otel_collector_debug": True,
    "otel_collector_resources": _SMALL,
    "otel_collector_extra_configuration": tracing.QUICK,
}


class Shared(Instance):
    """The instance, and the run that has deployed and proved it."""

    deployed: Run

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        super().__init__(cluster, folder, NAME, VARIABLES)

    def begin(self) -> None:
        with locked(LOCAL / "images.lock"):
            have_image(self.cluster, prometheus.IMAGE, "prometheus-local")
            have_image(self.cluster, tracing.IMAGE, "otel-collector-local")
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": RESTRICTED}}
        self.cluster.create("/api/v1/namespaces", body)
        self.deployed = self.site()

    def prove_unchanged(self) -> None:
        """A second run would find nothing to do, and the proof passes as at first."""
        done = self.site("--check", "--diff")
        assert done.changed(NAME) == 0, done.output

    @property
    def prometheus_url(self) -> str:
        return f"http://{NAME}-prometheus.{self.namespace}.svc.cluster.local:9090"

    @property
    def report(self) -> Path:
        """What the proof has written."""
        return self.inventory.parent / f"{NAME}.json"

    @contextlib.contextmanager
    def scaled(self, pods: int, part: str = "triton") -> Iterator[None]:
        """Another number of pods by somebody else; afterwards the number is the role's again, as it was."""
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{NAME}-{part}"
        before = self.cluster.there(path)
        self.cluster.patch(f"{path}/scale", {"spec": {"replicas": pods}})
        try:
            yield
        finally:
            self.cluster.patch(f"{path}/scale", {"spec": {"replicas": before["spec"]["replicas"]}})
            owners = {"metadata": {"managedFields": before["metadata"]["managedFields"]}}
            self.cluster.patch(path, owners, manager="fastml.supersonic")
        self.settle()

    def whole(self) -> bool:
        """Whether all servers are there, and every Envoy sends requests to them."""
        return self.ready("triton", 2) and self.ready("envoy", 1) and self.healthy_servers() == [2, 2]

    def settle(self) -> None:
        until(self.whole, 90)
