# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images of the local cluster that `make local` alone does not bring."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, KUBECONFIG, LOCAL, run_playbook


def bring(*recipes: str, components: Sequence[str] = ()) -> None:
    """Bring them, and components of the cluster, by its playbook; programs that are not in the cache yet are built."""
    assert (LOCAL / "kubeconfig").samefile(KUBECONFIG), "images come only to the local cluster"
    extra = {
        "local_cluster_images": ["triton-local", "envoy-local", *recipes],
        "local_directory": str(LOCAL),
        "supersonic_components": list(components),
    }
    inventory, clusters = CLONE / "inventories/local", ("--limit", "supersonic_clusters")
    done = run_playbook("dev/playbooks/local.yml", inventory, *clusters, extra=extra, seconds=None)
    assert done.code == 0, done.output[-6000:]


def have_image(cluster: Cluster, image: str, recipe: str) -> None:
    """Bring one unless the node has it."""
    (node,) = cluster.api.list("/api/v1/nodes", "nodes")
    if image not in {name for each in node["status"]["images"] for name in each.get("names") or []}:
        bring(recipe)
