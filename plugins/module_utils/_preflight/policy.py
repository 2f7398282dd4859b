# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks the manifests of an instance against the policy of its site.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.quantity import quantity
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.findings import ERROR, OK, Finding
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.resource_requests import of_pod

Object = Mapping[str, Any]

SERVERS = "triton"
_SHARED = ("cpu", "memory")


def policy(demands: Object, rules: Object) -> list[Finding]:
    """A row for each rule that is broken, or one that says that all are kept.

    demands: see resource_requests.demands(); rules: preflight_policy.
    """
    if not any(value is not None for key, value in rules.items() if key not in ("severity", "source")):
        return []
    severity = str(rules.get("severity") or ERROR)
    source = f" ({rules['source']})" if rules.get("source") else ""
    why = f"whoever breaks the rules of a site{source} loses pods, or the account"
    broken = [
        Finding("policy", severity, subject, found, action, why)
        for pods in demands.get("pods") or []
        for subject, found, action in _containers(pods, rules, _most(demands))
    ]
    broken += [Finding("policy", severity, *texts, why) for texts in _pool(demands, rules)]
    if broken:
        return broken
    kept = ", ".join(f"{key}: {value}" for key, value in rules.items() if key not in ("severity", "source"))
    return [Finding("policy", OK, "the site's rules", f"The instance keeps them: {kept}.", why=why)]


def _most(demands: Object) -> int:
    return sum(int(pods["most"]) for pods in demands.get("pods") or [])


def _containers(pods: Object, rules: Object, most: int) -> Iterator[tuple[str, str, str]]:
    """Subject, what is so and what to do."""
    ratio = rules.get("limits_over_requests")
    above = rules.get("equal_limits_above_pods")
    equal = above is not None and most > int(above)
    variable = _resources(pods["component"])
    for container in pods["containers"]:
        subject = f"{pods['component']}, container {container['name']}"
        for name in _SHARED:
            request, limit = quantity(container["requests"].get(name)), quantity(container["limits"].get(name))
            shown = f"{name}: request {container['requests'].get(name)}, limit {container['limits'].get(name)}"
            if request is None and rules.get("require_requests"):
                yield subject, f"It requests no {name}.", f"Set requests.{name} in {variable}."
            if limit is None and (rules.get("require_limits") or ratio is not None or equal):
                yield (
                    subject,
                    f"It has no limit of {name}, and so may use all of a node's.",
                    (f"Set limits.{name} in {variable}."),
                )
            elif limit is not None and equal and limit != request:
                yield (
                    subject,
                    (f"{shown}. With {most} pods at most, more than {above}, limits have to equal requests."),
                    f"Make them equal in {variable}, or have fewer pods.",
                )
            elif limit is not None and ratio is not None and not _within(request, limit, Decimal(str(ratio))):
                yield (
                    subject,
                    f"{shown}. A limit may be at most {ratio} times its request.",
                    (f"Lower limits.{name} or raise requests.{name} in {variable}."),
                )


def _within(request: Decimal | None, limit: Decimal, ratio: Decimal) -> bool:
    return request is not None and limit <= request * ratio


def _resources(component: str) -> str:
    role = component.replace("-", "_")
    return f"{role}_resources, or where the container is described"


def _pool(demands: Object, rules: Object) -> Iterator[tuple[str, str, str]]:
    pods = demands.get("pods") or []
    servers = max((int(item["most"]) for item in pods if item["component"] == SERVERS), default=0)
    if rules.get("max_replicas") is not None and servers > int(rules["max_replicas"]):
        yield (
            "servers",
            f"There may be {servers} servers, but the site allows {rules['max_replicas']}.",
            ("Lower triton_replicas, or autoscaler_max_replicas where there is an autoscaler."),
        )
    for key, number, said, action in (
        ("max_gpus", "most", "may ask for {} GPUs at most", "Lower triton_gpus, triton_replicas or, where there is an "
         "autoscaler, autoscaler_max_replicas."),
        ("max_always_on_gpus", "least", "holds {} GPUs while nobody sends requests", "Let servers follow demand: "
         "autoscaler in supersonic_components, with a lower autoscaler_min_replicas (0 is allowed)."),
    ):  # fmt: skip
        total = sum(int(item[number]) * accelerators(item) for item in pods)
        if rules.get(key) is not None and total > int(rules[key]):
            yield "GPUs", f"The instance {said.format(total)}, but the site allows {rules[key]}.", action


def accelerators(pods: Object) -> int:
    """The number of accelerators that one of these pods requests: resources with a vendor's name."""
    return int(sum(amount for name, amount in of_pod(pods, "requests").items() if "/" in name))
