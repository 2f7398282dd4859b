# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Groups the instances of an inventory by cluster.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import api_server
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.role_variables import of_host


def same_cluster(
    hosts: Iterable[Mapping[str, Any]], kubeconfig: str = "", context: str = ""
) -> list[Mapping[str, Any]]:
    """Those instances, by their variables, whose cluster is the one that kubeconfig and context lead to."""
    # Many instances, and few files.
    find = functools.cache(_cluster)
    here = find(str(kubeconfig or ""), str(context or ""))

    def is_here(host: Mapping[str, Any]) -> bool:
        variables = of_host(host)
        return find(str(variables["supersonic_kubeconfig"]), str(variables["supersonic_context"])) == here

    return [host for host in hosts if is_here(host)]


def made_claims(hosts: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Claims that instances make for their models: the name, and of which host, namespace and cluster they are."""
    found = []
    for host in map(of_host, hosts):
        if (
            not host["model_repository_sources"]
            or host["model_repository_path"]
            or host["model_repository_mode"] != "managed"
            or host["model_repository_state"] != "present"
        ):
            continue
        found.append(
            {
                "host": str(host.get("inventory_hostname") or ""),
                "claim": str(host["model_repository_claim"]),
                "supersonic_namespace": str(host.get("supersonic_namespace") or ""),
                "supersonic_kubeconfig": str(host["supersonic_kubeconfig"]),
                "supersonic_context": str(host["supersonic_context"]),
            }
        )
    return found


def _cluster(kubeconfig: str, context: str) -> tuple[str, ...]:
    """The API server, since a user of an instance and a cluster's administrator have different contexts and files.

    What cannot be read here, for instance because another machine has it, is told apart by its name.
    """
    path = os.path.realpath(os.path.expanduser(os.path.expandvars(kubeconfig))) if kubeconfig else ""
    try:
        return (api_server({"kubeconfig": path, "context": context}),)
    except SupersonicError:
        return path, context
