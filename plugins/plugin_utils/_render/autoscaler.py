# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""KEDA triggers, and the evaluation of the answers to their queries.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

# What KEDA compares with the threshold: the value for each server, or the value itself.
METRIC_TYPES = {
    "servers_wanted": "AverageValue",
    "servers_held": "AverageValue",
    "servers_busy_floor": "AverageValue",
    "queue_ratio": "Value",
    "queue_time": "Value",
}
_AS_IT_IS = ("metricType", "useCachedMetrics", "authenticationRef")


def triggers(
    names: Sequence[str],
    queries: Mapping[str, str],
    url: str,
    thresholds: Mapping[str, float],
    further: Sequence[Mapping[str, Any]] = (),
    authentication: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """The triggers of a ScaledObject: ours by their names, and the user's own.

    queries: expression by quantity; thresholds: of those that are no numbers of servers; authentication:
    {"authenticationRef", "modes"}.
    """
    found = []
    for name in names:
        threshold = thresholds.get(name, 1)
        found.append(_prometheus(name, queries[name], threshold, METRIC_TYPES[name], 0, url, authentication))
    for index, item in enumerate(further):
        if item.get("query"):
            found.append(
                _prometheus(
                    str(item["name"]),
                    str(item["query"]),
                    item["threshold"],
                    item.get("metric_type") or "AverageValue",
                    item.get("activation_threshold") or 0,
                    url,
                    authentication,
                )
            )
        else:
            # KEDA writes what is false out of its object.
            kept = {key: item[key] for key in _AS_IT_IS if item.get(key)}
            name = item.get("name") or f"{item['type']}-{index}"
            found.append({"name": name, "type": item["type"], "metadata": dict(item.get("metadata") or {}), **kept})
    return found


def _prometheus(
    name: str,
    query: str,
    threshold: float,
    metric_type: str,
    activation: float,
    url: str,
    authentication: Mapping[str, Any] | None,
) -> dict[str, Any]:
    metadata = {
        "serverAddress": url,
        "query": query,
        "threshold": _number(threshold),
        "activationThreshold": _number(activation),
        # No data is an error, which leaves the servers as they are, and not 0, which would take them away.
        "ignoreNullValues": "false",
    }
    trigger: dict[str, Any] = {"name": name, "type": "prometheus", "metricType": metric_type, "metadata": metadata}
    if authentication:
        if authentication.get("modes"):
            metadata["authModes"] = str(authentication["modes"])
        trigger["authenticationRef"] = dict(authentication["authenticationRef"])
    return trigger


def _number(value: Any) -> str:
    return f"{float(value):g}" if abs(float(value)) < 1e6 else repr(float(value))


def answers(results: Mapping[str, Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The current value of each query, a line each. results: of prometheus_query_info, by the name of the trigger."""
    lines = []
    for trigger in found:
        result = results.get(trigger["name"])
        if result is None:
            lines.append(f"{trigger['name']}: a trigger of KEDA that Prometheus is not asked for")
            continue
        value, threshold = result.get("value"), trigger["metadata"]["threshold"]
        if value is None:
            lines.append(f"{trigger['name']}: {_said(result)}")
        elif trigger.get("metricType") == "Value":
            lines.append(f"{trigger['name']}: {float(value):g}, more servers above {threshold}")
        else:
            wanted = math.ceil(round(float(value) / float(threshold), 6))
            lines.append(
                f"{trigger['name']}: {float(value):g}, which is {wanted} {'server' if wanted == 1 else 'servers'}"
            )
    return lines


def unusable(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the queries that have no single value, which KEDA takes for an error."""
    return [name for name, result in results.items() if not _is_number(result.get("value"))]


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(float(value))


def _said(result: Mapping[str, Any]) -> str:
    if result.get("error"):
        return str(result["error"])
    series = result.get("series") or []
    return f"{len(series)} series, of which KEDA takes none" if len(series) > 1 else "no data"
