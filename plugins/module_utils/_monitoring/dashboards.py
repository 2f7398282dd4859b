# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renders dashboards for Grafana and their queries for Prometheus.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

A dashboard has the same uid wherever it is, and says nothing of an instance: data source, namespace and instance are
variables, so that one Grafana shows several instances on the same pages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring import panels as monitoring_panels
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.panels import Dashboard, Panel, Row, Text
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import (
    CLUSTER,
    LABELS,
    Breakdowns,
    windows,
)

# Of Grafana 12.1 and newer; older ones take it too.
SCHEMA_VERSION = 42
TAG = "supersonic"
# Of the data sources that the role provisions.
PROMETHEUS_UID, TEMPO_UID = "supersonic-prometheus", "supersonic-tempo"
# The query that knows whether there are any.
SERVERS = "Service / Servers / servers"
# Grafana's: at least four scrapes, and no gap between two points of a graph.
RATE_RANGE = "$__rate_interval"
# The page is 24 wide.
PAGE, NUMBER, GRAPH = 24, (4, 4), (12, 8)
GREEN, ORANGE, RED = "green", "orange", "red"
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_TRACES = {"type": "tempo", "uid": "${tempo}"}


def uid(key: str) -> str:
    """By which others link to a dashboard."""
    return f"{TAG}-{key}"


def _read(
    name: str,
    namespace: str,
    rate_range: str,
    scrape_interval: float,
    labels: Mapping[str, str] | None,
    ensembles: Sequence[str],
) -> Breakdowns:
    # Windows and what else there is, of types of their own.
    chosen: dict[str, Any] = windows(float(scrape_interval))
    return Breakdowns(
        namespace,
        name,
        **chosen,
        labels={**LABELS, **{key: str(value) for key, value in (labels or {}).items() if value}},
        ensembles=tuple(str(item) for item in ensembles),
        rate_range=rate_range,
    )


def dashboard_files(
    keys: Iterable[str],
    *,
    scrape_interval: float,
    thresholds: Mapping[str, float],
    labels: Mapping[str, str] | None = None,
    ensembles: Sequence[str] = (),
    traces: bool = False,
    shown: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Text of each dashboard by the name of its file. shown: the instance that comes first, {"namespace", "instance"};
    without it Grafana takes the first one that it finds."""
    queries = _read("$instance", "$namespace", RATE_RANGE, scrape_interval, labels, ensembles)
    wanted = list(keys)
    return {
        f"{TAG}-{item.key}.json": text(document(item, queries, traces=traces, shown=shown or {}))
        for item in monitoring_panels.dashboards(queries, thresholds, traces=traces)
        if item.key in wanted
    }


def dashboard_queries(
    name: str,
    namespace: str,
    *,
    scrape_interval: float,
    thresholds: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    ensembles: Sequence[str] = (),
) -> dict[str, dict[str, str]]:
    """What Prometheus is asked for each panel of an instance, as Grafana would ask: expression, and why there may be no
    answer ("" where there has to be one), by "dashboard / panel / legend"."""
    rate_range = f"{windows(float(scrape_interval))['window']}s"
    queries = _read(str(name), str(namespace), rate_range, scrape_interval, labels, ensembles)
    found = monitoring_panels.dashboards(queries, thresholds or {"queue_ratio": 1, "queue_time": 1})
    return {
        f"{item.title} / {panel.title} / {query.legend}": {
            "query": query.expression,
            "nothing": panel.nothing if query.nothing is None else query.nothing,
        }
        for item in found
        for panel in item.panels()
        for query in panel.queries
    }


def dashboard_answers(
    answers: Mapping[str, Mapping[str, Any]],
    asked: Mapping[str, Mapping[str, str]],
    *,
    recorded: bool = False,
    encrypted: bool = False,
) -> dict[str, list[str]]:
    """What became of the queries: "shown" (how many have data), "nothing" with the reason, and "problems" that no
    reason explains. answers: as of prometheus_query_info.

    recorded: rules are known to record the instance; encrypted: its Envoys are known to have a certificate. A reason
    that is refuted is none; of the others nobody here knows."""
    found: dict[str, list[str]] = {"shown": [], "nothing": [], "problems": []}
    servers = bool((answers.get(SERVERS) or {}).get("value"))
    refuted = {
        reason
        for reason, known in (
            (monitoring_panels.NO_SERVERS, servers),
            # Of a pool at zero nothing may have been learned yet.
            (monitoring_panels.NO_RULES, recorded and servers),
            (monitoring_panels.NO_TLS, encrypted),
        )
        if known
    }
    for name, item in asked.items():
        if (answers.get(name) or {}).get("series"):
            found["shown"].append(name)
        elif item["nothing"] and item["nothing"] not in refuted:
            found["nothing"].append(f"{name}: {item['nothing']}")
        else:
            found["problems"].append(name)
    return found


# ---- as Grafana writes them ------------------------------------------------------------------------------------------
def text(dashboard: Mapping[str, Any]) -> str:
    """JSON with a panel in each line, which people can compare."""
    lines = []
    for key, value in dashboard.items():
        if key == "panels":
            panels = ",\n".join(f"  {json.dumps(panel, ensure_ascii=False)}" for panel in value)
            lines.append(f' "panels": [\n{panels}\n ]')
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def document(dashboard: Dashboard, queries: Breakdowns, *, traces: bool, shown: Mapping[str, str]) -> dict[str, Any]:
    """A dashboard in Grafana's schema."""
    return {
        "uid": uid(dashboard.key),
        "title": f"SuperSONIC {dashboard.title}",
        "description": dashboard.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [
            {
                "type": "dashboards",
                "title": "SuperSONIC",
                "tags": [TAG],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "",
                "url": "",
            }
        ],
        "annotations": {"list": []},
        "templating": {"list": list(_variables(queries, traces=traces, shown=shown))},
        "panels": _placed(dashboard.rows),
    }


def _variables(queries: Breakdowns, *, traces: bool, shown: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    yield {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1}
    if traces:
        yield {"type": "datasource", "name": "tempo", "label": "Traces", "query": "tempo", "refresh": 1}
    place, pod = queries.labels["namespace"], queries.labels["pod"]
    known = f'envoy_cluster_membership_total{{envoy_cluster_name="{CLUSTER}"'
    for name, label, query, regex in (
        ("namespace", "Namespace", f"label_values({known}}}, {place})", ""),
        (
            "instance",
            "Instance",
            f'label_values({known},{place}="$namespace"}}, {pod})',
            # By the name that pods have by the naming contract.
            "/^(.+)-envoy-[a-z0-9]+-[a-z0-9]+$/",
        ),
    ):
        variable: dict[str, Any] = {
            "type": "query",
            "name": name,
            "label": label,
            "datasource": _SOURCE,
            "definition": query,
            "query": {"query": query, "refId": "variable"},
            "regex": regex,
            # Anew with each range of time, since instances come and go.
            "refresh": 2,
            "sort": 1,
            "multi": False,
            "includeAll": False,
        }
        if shown.get(name):
            variable["current"] = {"text": shown[name], "value": shown[name], "selected": True}
        yield variable


def _placed(rows: Iterable[Row]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    top = 0

    def place(panel: dict[str, Any], left: int, width: int, height: int) -> None:
        grid = {"x": left, "y": top, "w": width, "h": height}
        # Numbers by the order, so that a link to a panel stays one.
        found.append({"id": len(found) + 1, **panel, "gridPos": grid})

    for row in rows:
        if row.title:
            place({"type": "row", "title": row.title, "collapsed": False, "panels": []}, 0, PAGE, 1)
            top += 1
        left = height = 0
        for panel in row.panels:
            width, needed = _size(panel)
            if left + width > PAGE:
                left, top, height = 0, top + height, 0
            place(_text(panel) if isinstance(panel, Text) else _panel(panel), left, width, needed)
            left, height = left + width, max(height, needed)
        top += height
    return found


def _size(panel: Panel | Text) -> tuple[int, int]:
    if isinstance(panel, Text):
        return PAGE, 3
    if panel.kind == "stat":
        return NUMBER
    return (PAGE, 12) if panel.kind == "nodeGraph" else GRAPH


def _text(panel: Text) -> dict[str, Any]:
    return {
        "type": "text",
        "title": panel.title,
        "description": "",
        "transparent": True,
        "options": {"mode": "markdown", "content": panel.words},
    }


def _panel(panel: Panel) -> dict[str, Any]:
    said = f"{panel.description}\n\nNo data: {panel.nothing}" if panel.nothing else panel.description
    common = {"type": panel.kind, "title": panel.title, "description": said}
    if panel.kind == "nodeGraph":
        targets = [
            {"refId": "A", "datasource": _TRACES, "queryType": "serviceMap", "serviceMapQuery": query.expression}
            for query in panel.queries
        ]
        return {**common, "datasource": _TRACES, "targets": targets, "options": {}}
    return {
        **common,
        "datasource": _SOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _SOURCE,
                "editorMode": "code",
                "expr": query.expression,
                "legendFormat": query.legend,
                "range": True,
                "instant": False,
            }
            for place, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": list(_overrides(panel))},
        "options": _options(panel),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": GREEN, "value": None}]
    steps += [
        {"color": colour, "value": value}
        for colour, value in ((ORANGE, panel.warn), (RED, panel.bad))
        if value is not None
    ]
    found: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.maximum is not None:
        found["max"] = panel.maximum
    if panel.nothing:
        # What stands in an empty panel; the whole reason is in its description.
        found["noValue"] = "No data: see the description" if panel.kind == "stat" else f"No data. {panel.nothing}"
    if panel.kind == "timeseries":
        found["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stacked else 10,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
        # By their place, not by what is good and bad.
        found["color"] = {"mode": "palette-classic"}
    else:
        found["color"] = {"mode": "thresholds"}
    return found


def _overrides(panel: Panel) -> Iterator[dict[str, Any]]:
    """Overrides for series that are drawn as lines instead of stacked."""
    for query in panel.queries if panel.stacked else ():
        if query.legend not in panel.stacked:
            yield {
                "matcher": {"id": "byName", "options": query.legend},
                "properties": [
                    {"id": "custom.stacking", "value": {"mode": "none", "group": "A"}},
                    {"id": "custom.fillOpacity", "value": 0},
                    {"id": "custom.lineWidth", "value": 2},
                ],
            }


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {
            "colorMode": "value" if panel.warn is None and panel.bad is None else "background",
            "graphMode": "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "value",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    return {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
