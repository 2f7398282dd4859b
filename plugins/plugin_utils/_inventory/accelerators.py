# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the instances of an inventory ask of their cluster's accelerators.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.clusters import same_cluster


def gpu_demands(hosts: Iterable[Mapping[str, Any]], kubeconfig: str = "", context: str = "") -> list[dict[str, Any]]:
    """Of those instances that are in this cluster, in the form of gpu_operator_instances.

    Variables that a host does not set have the defaults of their roles.
    """
    found = []
    for host in same_cluster(hosts, kubeconfig, context):
        if host.get("triton_state") == "absent":
            continue
        gpus = int(host.get("triton_gpus") or 0)
        servers = most = int(host.get("triton_replicas", 1))
        if "autoscaler" in (host.get("supersonic_components") or []):
            servers = int(host.get("autoscaler_min_replicas", 1))
            most = int(host.get("autoscaler_max_replicas") or servers)
        found.append(
            {
                "name": str(host.get("supersonic_name") or "supersonic"),
                "namespace": str(host.get("supersonic_namespace") or ""),
                "resource": str(host.get("triton_gpu_resource") or "nvidia.com/gpu"),
                "gpus": gpus,
                "servers": servers,
                "max_servers": max(servers, most),
                "node_selector": dict(host.get("triton_node_selector") or {}),
                "affinity": dict(host.get("triton_affinity") or {}),
                "tolerations": list(host.get("triton_tolerations") or []),
            }
        )
    return found
