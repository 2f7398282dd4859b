# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for the peers of NetworkPolicies.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.kubernetes import with_suffix
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, Variables

NO_NETWORK = "it has to be a network such as 192.0.2.0/24; a single address is 192.0.2.10/32."


def check_network_policies(variables: Variables) -> Iterator[Problem]:
    """Rules for the peers that may reach the pods."""
    for name in with_suffix(variables, "_clients_from", "_metrics_from"):
        for index, peer in enumerate(variables.get(name) or []):
            yield from _peer(name, f"[{index}]", peer)
    if variables.get("envoy_clients_from") and variables.get("envoy_network_policy") is False:
        yield Problem(
            "envoy_clients_from",
            "without envoy_network_policy: true nothing keeps the others out.",
            list(variables["envoy_clients_from"]),
        )


def _peer(name: str, at: str, peer: Variables) -> Iterator[Problem]:
    block = peer.get("ipBlock")
    selectors = [key for key in ("namespaceSelector", "podSelector") if peer.get(key) is not None]
    if block is None and not selectors:
        yield Problem(
            name,
            "it has podSelector, namespaceSelector or both, or ipBlock. Every pod of the cluster is "
            "{namespaceSelector: {}}.",
            dict(peer),
            at,
        )
    elif block is not None and selectors:
        yield Problem(name, f"it has either ipBlock or selectors, not {selectors[0]} as well.", dict(peer), at)
    if block is None:
        return
    network = parse_network(block["cidr"])
    if network is None:
        yield Problem(name, NO_NETWORK, block["cidr"], f"{at}.ipBlock.cidr")
    for index, text in enumerate(block.get("except") or []):
        part = parse_network(text)
        if part is None:
            yield Problem(name, NO_NETWORK, text, f"{at}.ipBlock.except[{index}]")
        elif network is not None and not _inside(part, network):
            yield Problem(
                name, f"it has to be a part of the cidr, {block['cidr']}.", text, f"{at}.ipBlock.except[{index}]"
            )


def parse_network(text: str) -> tuple[int, int, int] | None:
    """The version of a network with its prefix, its first and its last address; None where the text is none."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    return (network.version, int(network[0]), int(network[-1])) if "/" in text else None


def _inside(part: tuple[int, int, int], whole: tuple[int, int, int]) -> bool:
    return part != whole and part[0] == whole[0] and whole[1] <= part[1] and part[2] <= whole[2]


CHECKS = (check_network_policies,)
