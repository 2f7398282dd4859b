# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for the role preflight.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, Variables

# Smallest value of each number of a policy.
_SMALLEST = {
    "limits_over_requests": 1,
    "equal_limits_above_pods": 0,
    "max_replicas": 0,
    "max_gpus": 0,
    "max_always_on_gpus": 0,
}
_RULES = (*_SMALLEST, "require_requests", "require_limits")


def findings(variables: Variables) -> Iterator[Problem]:
    """Everything that can be said without the cluster."""
    policy = variables.get("preflight_policy") or {}
    for key, smallest in _SMALLEST.items():
        value = policy.get(key)
        if value is not None and float(value) < smallest:
            why = ", since no limit may be below its request" if key == "limits_over_requests" else ""
            yield Problem("preflight_policy", f"it has to be {smallest} or more{why}.", value, f".{key}")
    if policy and not any(policy.get(key) is not None for key in _RULES):
        yield Problem("preflight_policy", f"it has no rule. There are {', '.join(_RULES)}.", dict(policy))
    subject = variables.get("preflight_role_subject") or {}
    if subject.get("namespace") and subject.get("kind") != "ServiceAccount":
        yield Problem(
            "preflight_role_subject", "only a ServiceAccount is in a namespace. Leave it out.", subject["namespace"],
            ".namespace",
        )  # fmt: skip
    for key in ("kind", "name") if subject else ():
        if not subject.get(key):
            yield Problem("preflight_role_subject", f"the key {key} is missing or empty.")


CHECKS = (findings,)
