# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dashboards: what is in them, that Grafana's schema takes it, that they say why something is missing, and whose go."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard as Typed
from grafana_foundation_sdk.models.dashboard import Panel as TypedPanel
from grafana_foundation_sdk.models.prometheus import Dataquery

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring import panels as monitoring_panels
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.dashboards import (
    SERVERS,
    dashboard_answers,
    dashboard_files,
    dashboard_queries,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import (
    QUANTITIES,
    Breakdowns,
    Queries,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.monitoring import secret_fingerprint
from ansible_collections.fastml.supersonic.tests.harness.grafana import Grafana
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module

THRESHOLDS = {"queue_ratio": 3, "queue_time": 1000}
# Upstream's panels by the id that they have in the list of its features, and where they are here.
UPSTREAM = {
    "G5": [("service", "SuperSONIC")],
    "G6": [("service", "Servers"), ("service", "Number of servers")],
    "G7": [("service", "Latency breakdown")],
    "G8": [("service", "Latency breakdown")],
    "G9": [("service", "Inferences per second")],
    "G10": [("servers", "GPU utilization")],
    "G11": [("servers", "GPU power"), ("servers", "GPU power of the limit")],
    "G12": [("servers", "GPU memory")],
    "G13": [("servers", "Inferences per second by server")],
    "G14": [("models", "Inferences per second by model")],
    "G15": [("gateway", "Server map")],
}


def written(**settings: Any) -> dict[str, dict[str, Any]]:
    """The dashboards by key."""
    files = dashboard_files(
        list(monitoring_panels.KEYS), **{"scrape_interval": 2, "thresholds": THRESHOLDS, "traces": True, **settings}
    )
    return {name.removeprefix("supersonic-").removesuffix(".json"): json.loads(text) for name, text in files.items()}


DASHBOARDS = written()


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (panel for panel in dashboard["panels"] if panel["type"] not in ("row", "text"))


EVERY = [(key, panel) for key, dashboard in DASHBOARDS.items() for panel in panels(dashboard)]
NAMES = [f"{key}-{panel['title']}" for key, panel in EVERY]


def test_all_of_them_are_there() -> None:
    assert list(DASHBOARDS) == list(monitoring_panels.KEYS) == ["service", "servers", "models", "scaling", "gateway"]
    assert list(written(traces=False)) == list(DASHBOARDS)
    assert list(dashboard_files(["models"], scrape_interval=2, thresholds=THRESHOLDS)) == ["supersonic-models.json"]


@pytest.mark.parametrize("feature", UPSTREAM)
def test_every_panel_of_upstream_is_there(feature: str) -> None:
    for key, title in UPSTREAM[feature]:
        assert title in {panel["title"] for panel in DASHBOARDS[key]["panels"]}


def test_without_traces_there_is_no_server_map() -> None:
    text = json.dumps(written(traces=False))
    assert "tempo" not in text
    assert "Server map" not in text


@pytest.mark.parametrize("key", DASHBOARDS)
def test_one_grafana_shows_several_instances(key: str) -> None:
    """By variables, and by uids that are the same wherever a dashboard is."""
    dashboard = DASHBOARDS[key]
    assert dashboard["uid"] == f"supersonic-{key}"
    assert "id" not in dashboard
    variables = {item["name"]: item for item in dashboard["templating"]["list"]}
    assert list(variables) == ["datasource", "tempo", "namespace", "instance"]
    assert not any("current" in item for item in variables.values())
    text = json.dumps(dashboard)
    assert not re.search(r'"uid": "(?!supersonic-|\$\{datasource\}|\$\{tempo\})', text)
    assert '"cms"' not in text


def test_the_instance_of_its_own_comes_first() -> None:
    found = written(shown={"namespace": "cms", "instance": "main"})["service"]["templating"]["list"]
    assert {item["name"]: item["current"]["value"] for item in found if "current" in item} == {
        "namespace": "cms",
        "instance": "main",
    }


def test_instances_are_found_by_the_names_of_pods() -> None:
    (instance,) = [item for item in DASHBOARDS["service"]["templating"]["list"] if item["name"] == "instance"]
    pattern = re.compile(instance["regex"].strip("/"))
    found = [
        pattern.fullmatch(name) for name in ("main-envoy-7c9d8f-abcde", "a-envoy-b-envoy-7c9d8f-x1", "main-triton-7-8")
    ]
    assert [match and match[1] for match in found] == ["main", "a-envoy-b", None]


@pytest.mark.parametrize("panel", [panel for _key, panel in EVERY], ids=NAMES)
def test_every_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 3
    assert panel["targets"]
    legends = [target.get("legendFormat", "calls") for target in panel["targets"]]
    assert all(legends)
    assert len(set(legends)) == len(legends)
    if panel["type"] != "nodeGraph":
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["fieldConfig"]["defaults"]["min"] == 0


def test_titles_are_unique() -> None:
    for dashboard in DASHBOARDS.values():
        titles = [panel["title"] for panel in dashboard["panels"] if panel["type"] != "row"]
        assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("key", DASHBOARDS)
def test_panels_fit_the_page_and_do_not_overlap(key: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARDS[key]["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARDS[key]["panels"]]
    assert ids == list(range(1, len(ids) + 1))


@pytest.mark.parametrize("key", DASHBOARDS)
def test_grafanas_own_model_has_every_field(key: str) -> None:
    """Read by the typed model of Grafana's SDK and written again, nothing is lost: whatever it does not know is "
    "dropped."""
    register_default_plugins()
    again = json.loads(json.dumps(Typed.from_json(json.loads(json.dumps(DASHBOARDS[key]))), cls=JSONEncoder))
    assert list(differences(DASHBOARDS[key], again)) == []


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key not in theirs:
                # What is not set is not written.
                if value is not None:
                    yield f"{path}.{key}"
            else:
                yield from differences(value, theirs[key], f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif ours != theirs:
        yield path


def test_the_model_knows_queries_and_notices_what_is_wrong() -> None:
    register_default_plugins()
    first = next(panel for panel in DASHBOARDS["service"]["panels"] if panel["type"] == "timeseries")
    typed = TypedPanel.from_json(first)
    assert all(isinstance(target, Dataquery) for target in typed.targets or [])
    wrong = {**first, "descriptoin": "x"}
    again = json.loads(json.dumps(TypedPanel.from_json(wrong), cls=JSONEncoder))
    assert list(differences(wrong, again)) == [".descriptoin"]


def test_what_is_verified_is_what_is_shown() -> None:
    """With variables and range filled in, the queries are those of the dashboards."""
    shown = set()
    for key, dashboard in written(scrape_interval=5, thresholds={"queue_ratio": 1, "queue_time": 1}).items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                if "expr" in target:
                    expression = target["expr"].replace("$__rate_interval", "20s")
                    expression = expression.replace("$namespace", "cms").replace("$instance", "main")
                    shown.add((f"{key.capitalize()} / {panel['title']} / {target['legendFormat']}", expression))
    asked = dashboard_queries("main", "cms", scrape_interval=5)
    assert {(name, item["query"]) for name, item in asked.items()} == shown
    assert not any("$" in item["query"] for item in asked.values())


def test_rates_are_taken_over_the_step_of_a_graph() -> None:
    """A fixed range would leave samples out of long graphs, and be empty where scrapes are rare."""
    queries = Breakdowns("cms", "main", rate_range="$__rate_interval")
    for name in QUANTITIES:
        if name.endswith(("_rate", "_time", "_latency", "latency_p50", "latency_p99", "batch_size")):
            assert "[$__rate_interval]" in getattr(queries, name), name
            assert "[15s]" not in getattr(queries, name), name
            assert getattr(queries, name).replace("$__rate_interval", "15s") == getattr(Queries("cms", "main"), name)


def test_parts_of_a_latency_are_divided_as_their_total_is() -> None:
    (panel,) = [item for item in panels(DASHBOARDS["service"]) if item["title"] == "Latency breakdown"]
    *parts, total = panel["targets"]
    for target in parts:
        assert "nv_inference_request_success" in target["expr"]
        assert "exec_count" not in target["expr"]
    assert "envoy_http_downstream_rq_time_count" in total["expr"]
    # The total is a line beside what is put on top of each other.
    assert panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    (override,) = panel["fieldConfig"]["overrides"]
    assert override["matcher"]["options"] == total["legendFormat"]
    assert {"id": "custom.stacking", "value": {"mode": "none", "group": "A"}} in override["properties"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"labels": {"pod": "kubernetes_pod_name"}}, "kubernetes_pod_name=~"),
        ({"labels": {"namespace": "exported_namespace", "pod": None}}, 'exported_namespace="$namespace"'),
        ({"ensembles": ["pipeline"]}, 'model!~"pipeline"'),
        ({"thresholds": {"queue_ratio": "2.5", "queue_time": 70}}, "70.0 + 0 * ("),
    ],
)
def test_settings_are_in_the_queries(settings: dict[str, Any], expected: str) -> None:
    expressions = [
        target["expr"] for dashboard in written(**settings).values() for panel in panels(dashboard)
        for target in panel["targets"] if "expr" in target
    ]  # fmt: skip
    assert any(expected in expression for expression in expressions)


def test_what_has_no_data_needs_a_reason() -> None:
    asked = dashboard_queries("main", "cms", scrape_interval=2)
    assert SERVERS in asked
    full = {name: {"value": 1.0, "series": [{}]} for name in asked}
    assert dashboard_answers(full, asked) == {"shown": list(asked), "nothing": [], "problems": []}
    gpu = "Servers / GPUs / gpus"
    without = {**full, gpu: {"value": None, "series": []}}
    assert dashboard_answers(without, asked)["nothing"] == [f"{gpu}: {monitoring_panels.NO_GPU}"]
    rate = "Service / Requests / requests"
    assert dashboard_answers({**full, rate: {"value": None, "series": []}}, asked)["problems"] == [rate]
    assert dashboard_answers({name: item for name, item in full.items() if name != rate}, asked)["problems"] == [rate]


@pytest.mark.parametrize(("servers", "refuted"), [(0.0, False), (1.0, True)])
def test_no_server_is_no_reason_while_there_are_some(servers: float, refuted: bool) -> None:
    asked = dashboard_queries("main", "cms", scrape_interval=2)
    name = "Models / Inferences per second by model / {{model}}"
    answers = {key: {"value": servers, "series": [{}]} for key in asked} | {name: {"value": None, "series": []}}
    found = dashboard_answers(answers, asked)
    assert (found["problems"] == [name]) is refuted
    assert (found["nothing"] == [f"{name}: {monitoring_panels.NO_SERVERS}"]) is not refuted


@pytest.mark.parametrize(
    ("name", "reason", "fact"),
    [
        ("Scaling / Wanted / wanted", monitoring_panels.NO_RULES, "recorded"),
        ("Scaling / Requests in flight and room for them / room", monitoring_panels.NO_RULES, "recorded"),
        ("Gateway / Certificate / certificate", monitoring_panels.NO_TLS, "encrypted"),
    ],
)
def test_a_reason_that_is_refuted_is_none(name: str, reason: str, fact: str) -> None:
    asked = dashboard_queries("main", "cms", scrape_interval=2)
    answers: dict[str, Any] = {key: {"value": 1.0, "series": [{}]} for key in asked}
    answers[name] = {"value": None, "series": []}
    for known in ({}, {"recorded": fact != "recorded", "encrypted": fact != "encrypted"}):
        assert dashboard_answers(answers, asked, **known)["nothing"] == [f"{name}: {reason}"]
    assert dashboard_answers(answers, asked, **{fact: True})["problems"] == [name]
    # Of a pool at zero nothing may have been learned.
    answers[SERVERS] = {"value": 0.0, "series": [{}]}
    asleep = dashboard_answers(answers, asked, **{fact: True})
    assert (asleep["problems"] == [name]) is (fact == "encrypted")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Scaling / Servers wanted and there / available", ""),
        ("Scaling / Servers wanted and there / wanted for requests in flight", monitoring_panels.NO_RULES),
        ("Scaling / Requests in flight and room for them / in flight", ""),
        ("Scaling / Requests in flight and room for them / lasting", ""),
        ("Scaling / Triggers as KEDA reads them / {{metric}}", monitoring_panels.NO_KEDA),
        ("Scaling / Triggers as KEDA reads them / threshold of {{metric_name}}", monitoring_panels.NO_STATE),
    ],
)
def test_a_panel_that_mixes_has_a_reason_for_each_query(name: str, reason: str) -> None:
    assert dashboard_queries("main", "cms", scrape_interval=2)[name]["nothing"] == reason


def test_a_fingerprint_is_another_one_for_other_secrets() -> None:
    one = secret_fingerprint({"a": "b", "c": "d"}, "cms/main")
    assert re.fullmatch(r"[0-9a-f]{16}", one)
    assert one == secret_fingerprint({"c": "d", "a": "b"}, "cms/main")
    assert (
        len({one, secret_fingerprint({"a": "b"}, "cms/main"), secret_fingerprint({"a": "b", "c": "d"}, "cms/two")}) == 3
    )


@pytest.fixture
def server() -> Iterator[Grafana]:
    found = Grafana("a-planted-token-42bd")
    yield found
    found.stop()


def test_dashboards_of_others_stay(server: Grafana) -> None:
    """One that has our tag too, and the folder that it is in."""
    server.folders["supersonic"] = {"uid": "supersonic", "title": "SuperSONIC", "version": 1}
    for uid in ("supersonic-models", "theirs"):
        dashboard = {"uid": uid, "title": uid, "tags": ["supersonic"], "version": 1}
        server.dashboards[uid] = {"dashboard": dashboard, "meta": {"folderUid": "supersonic"}}
    gone = run_module("grafana_dashboards", {"url": server.url, "token": server.token, "state": "absent"})
    assert gone["dashboards"] == {"supersonic-models": "deleted"}
    assert set(server.dashboards) == {"theirs"}
    assert set(server.folders) == {"supersonic"}
