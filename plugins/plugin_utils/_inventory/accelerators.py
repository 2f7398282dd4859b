# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sums up the accelerators that the instances of an inventory request in a cluster.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import AUTOSCALER
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.clusters import same_cluster
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.role_variables import of_host


def gpu_demands(hosts: Iterable[Mapping[str, Any]], kubeconfig: str = "", context: str = "") -> list[dict[str, Any]]:
    """Of those instances that are in this cluster, in the form of gpu_operator_instances."""
    found = []
    for host in map(of_host, same_cluster(hosts, kubeconfig, context)):
        if host["triton_state"] == "absent":
            continue
        servers = most = int(host["triton_replicas"])
        if AUTOSCALER.role in host["supersonic_components"]:
            servers, most = int(host["autoscaler_min_replicas"]), int(host["autoscaler_max_replicas"])
        found.append(
            {
                "name": str(host["supersonic_name"]),
                "namespace": str(host.get("supersonic_namespace") or ""),
                "resource": str(host["triton_gpu_resource"]),
                "gpus": int(host["triton_gpus"]),
                "servers": servers,
                "max_servers": max(servers, most),
                "node_selector": dict(host["triton_node_selector"]),
                "affinity": dict(host["triton_affinity"]),
                "tolerations": list(host["triton_tolerations"]),
            }
        )
    return found
