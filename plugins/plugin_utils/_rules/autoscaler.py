# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for the role autoscaler, also beside the variables of the servers.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, Variables

# Smallest and, where there is one, largest value.
LIMITS: dict[str, tuple[float, float | None]] = {
    "autoscaler_min_replicas": (0, None),
    "autoscaler_requests_per_server": (0, None),
    "autoscaler_queue_ratio_threshold": (0.001, None),
    "autoscaler_queue_time_threshold": (0.001, None),
    "autoscaler_headroom": (1, 2),
    "autoscaler_busy_share": (0.01, 1),
    "autoscaler_window": (0, None),
    "autoscaler_scrape_interval": (0, 300),
    "autoscaler_history": (60, None),
    "autoscaler_query_timeout": (0.1, None),
    "autoscaler_polling_interval": (1, None),
    "autoscaler_cooldown": (0, None),
    "autoscaler_paused_replicas": (-1, None),
    "autoscaler_wait_timeout": (1, None),
}
# Of a HorizontalPodAutoscaler.
LONGEST_STABILIZATION, LONGEST_PERIOD = 3600, 1800
BEHAVIORS = ("autoscaler_scale_up", "autoscaler_scale_down")
# What only says something while there are servers.
AT_SERVERS = {"servers_busy_floor", "queue_ratio", "queue_time"}
PAUSES = {"autoscaling.keda.sh/paused": "true", "autoscaling.keda.sh/paused-replicas": "a number"}
_QUERY_KEYS = {"name", "query", "threshold", "metric_type", "activation_threshold"}
_TRIGGER_KEYS = {"name", "type", "metadata", "metricType", "useCachedMetrics", "authenticationRef"}
_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def findings(variables: Variables) -> Iterator[Problem]:
    """Everything that can be said without the cluster."""
    if 0 < float(variables.get("autoscaler_requests_per_server") or 0) < 1:
        yield Problem(
            "autoscaler_requests_per_server",
            "a server with less than one request in flight idles; it has to be 1 or more, or 0 to learn it.",
            variables["autoscaler_requests_per_server"],
        )
    yield from _replicas(variables)
    yield from _triggers(variables)
    yield from _zero(variables)
    for name in BEHAVIORS:
        yield from _behavior(name, variables.get(name) or {})
    yield from _fallback(variables)
    yield from _pause(variables)
    yield from _access(variables)


def _number(variables: Variables, name: str) -> int | None:
    value = variables.get(name)
    return None if value is None else int(value)


def _replicas(variables: Variables) -> Iterator[Problem]:
    least, most = (_number(variables, f"autoscaler_{end}_replicas") for end in ("min", "max"))
    if most is not None and most < 1:
        yield Problem(
            "autoscaler_max_replicas",
            "say how many servers there may be at most, as many as there are accelerators for them.",
            most,
        )
        return
    if least is not None and most is not None and least > most:
        yield Problem(
            "autoscaler_min_replicas", f"it has to be at most autoscaler_max_replicas, which is {most}.", least
        )
    # That of a removed pool is not judged, and so is not here.
    first = _number(variables, "triton_replicas")
    if first is not None and most is not None and first > most:
        yield Problem(
            "triton_replicas",
            f"the autoscaler would take servers away at once, since autoscaler_max_replicas is {most}. Set it to that "
            "or less: it is the number of servers before the autoscaler comes.",
            first,
        )


def _triggers(variables: Variables) -> Iterator[Problem]:
    ours, own = variables.get("autoscaler_default_triggers"), variables.get("autoscaler_triggers")
    if ours == [] and own == []:
        yield Problem(
            "autoscaler_default_triggers",
            "nothing would ask for servers: leave it out, or give autoscaler_triggers.",
            [],
        )
    seen = list(ours or [])
    for name in sorted({name for name in seen if seen.count(name) > 1}):
        yield Problem("autoscaler_default_triggers", f"{name} is there twice.", list(seen))
    for index, item in enumerate(own or []):
        yield from _trigger("autoscaler_triggers", f"[{index}]", item)
        name = item.get("name")
        if name and name in seen:
            yield Problem("autoscaler_triggers", "another trigger has this name.", name, f"[{index}].name")
        seen.append(name)


def _trigger(variable: str, at: str, item: Variables) -> Iterator[Problem]:
    kinds = [key for key in ("query", "type") if item.get(key)]
    if len(kinds) != 1:
        yield Problem(
            variable,
            "it has either query, with a threshold, which Prometheus is asked, or type, which is any trigger of KEDA.",
            dict(item),
            at,
        )
        return
    allowed = _QUERY_KEYS if kinds[0] == "query" else _TRIGGER_KEYS
    for key in sorted(key for key in item if key not in allowed and item[key] is not None):
        yield Problem(
            variable, f"a trigger with {kinds[0]} has {', '.join(sorted(allowed))}.", item[key], f"{at}.{key}"
        )
    if item.get("name") and not _NAME.fullmatch(item["name"]):
        yield Problem(variable, "it is made of letters, digits, _ and -, a letter first.", item["name"], f"{at}.name")
    if kinds[0] == "type":
        yield from _as_it_is(variable, at, item)
        return
    for key in ("name", "threshold"):
        if item.get(key) is None:
            yield Problem(variable, f"the key {key} is missing.", None, at)
    if item.get("threshold") is not None and float(item["threshold"]) <= 0:
        yield Problem(variable, "it has to be above 0.", item["threshold"], f"{at}.threshold")


def _as_it_is(variable: str, at: str, item: Variables) -> Iterator[Problem]:
    if item.get("metadata") is None:
        yield Problem(variable, "the key metadata is missing.", None, at)
    for key, value in (item.get("metadata") or {}).items():
        if not isinstance(value, str):
            yield Problem(variable, "KEDA takes texts alone; put it in quotes.", value, f"{at}.metadata.{key}")
    reference = item.get("authenticationRef")
    if reference is not None and not reference.get("name"):
        yield Problem(variable, "the key name is missing.", None, f"{at}.authenticationRef")


def _zero(variables: Variables) -> Iterator[Problem]:
    """A pool at zero is woken by what can be seen without servers."""
    if _number(variables, "autoscaler_min_replicas") != 0:
        return
    ours, own = variables.get("autoscaler_default_triggers"), variables.get("autoscaler_triggers")
    if ours is not None and own == [] and set(ours) <= AT_SERVERS:
        yield Problem(
            "autoscaler_min_replicas",
            "nothing would wake the pool, since the triggers measure servers. Add servers_wanted to "
            "autoscaler_default_triggers, or set it to 1.",
            0,
        )
    if variables.get("autoscaler_paused") and _number(variables, "autoscaler_paused_replicas") == 0:
        yield Problem("autoscaler_paused_replicas", "there would be no server, and none would come on demand.", 0)


def _behavior(name: str, rules: Variables) -> Iterator[Problem]:
    window = rules.get("stabilizationWindowSeconds")
    if window is not None and not 0 <= int(window) <= LONGEST_STABILIZATION:
        yield Problem(name, f"it has to be from 0 to {LONGEST_STABILIZATION}.", window, ".stabilizationWindowSeconds")
    if rules.get("policies") == []:
        yield Problem(name, "there has to be one, or leave it out for the cluster's own.", [], ".policies")
    for index, policy in enumerate(rules.get("policies") or []):
        at = f".policies[{index}]"
        value, period = policy.get("value"), policy.get("periodSeconds")
        if value is not None and int(value) < 1:
            yield Problem(name, "it has to be 1 or more; selectPolicy: Disabled is for never.", value, f"{at}.value")
        if period is not None and not 1 <= int(period) <= LONGEST_PERIOD:
            yield Problem(name, f"it has to be from 1 to {LONGEST_PERIOD}.", period, f"{at}.periodSeconds")


def _fallback(variables: Variables) -> Iterator[Problem]:
    name, fallback = "autoscaler_fallback", variables.get("autoscaler_fallback") or {}
    least, most = (_number(variables, f"autoscaler_{end}_replicas") for end in ("min", "max"))
    failures, replicas = fallback.get("failureThreshold"), fallback.get("replicas")
    for key in ("failureThreshold", "replicas") if fallback else ():
        if fallback.get(key) is None:
            yield Problem(name, f"the key {key} is missing.")
    if failures is not None and int(failures) < 0:
        yield Problem(name, "it has to be 0 or more.", failures, ".failureThreshold")
    if replicas is None:
        return
    if int(replicas) < 1:
        yield Problem(
            name,
            "without Prometheus there would be no server. It has to be 1 or more.",
            replicas,
            ".replicas",
        )
    elif least is not None and most is not None and least <= most and not least <= int(replicas) <= most:
        yield Problem(
            name,
            f"it has to be from autoscaler_min_replicas to autoscaler_max_replicas, {least} to {most}.",
            replicas,
            ".replicas",
        )


def _pause(variables: Variables) -> Iterator[Problem]:
    replicas = _number(variables, "autoscaler_paused_replicas")
    if replicas is not None and replicas >= 0 and variables.get("autoscaler_paused") is False:
        yield Problem("autoscaler_paused_replicas", "it counts with autoscaler_paused: true alone.", replicas)
    for key, value in (variables.get("autoscaler_annotations") or {}).items():
        if key in PAUSES:
            yield Problem("autoscaler_annotations", "autoscaler_paused says that.", value, f".{key}")
        elif not isinstance(value, str):
            yield Problem(
                "autoscaler_annotations",
                "the value of a Kubernetes annotation is a text; put it in quotes.",
                value,
                f".{key}",
            )


def _access(variables: Variables) -> Iterator[Problem]:
    reference = variables.get("autoscaler_authentication_ref") or {}
    for key in ("name", "modes") if reference else ():
        if not reference.get(key):
            yield Problem("autoscaler_authentication_ref", f"the key {key} is missing.")
    labels: Mapping[str, Any] = variables.get("autoscaler_metric_labels") or {}
    for key, label in labels.items():
        if not _LABEL.fullmatch(str(label)):
            yield Problem("autoscaler_metric_labels", "this is no name of a label of Prometheus.", label, f".{key}")


CHECKS = (findings,)
