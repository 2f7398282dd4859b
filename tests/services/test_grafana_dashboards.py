# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against a server that answers as Grafana's API is documented, since a real Grafana cannot be had here."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.dashboards import dashboard_files
from ansible_collections.fastml.supersonic.tests.harness.grafana import Grafana
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.processes import free_ports
from ansible_collections.fastml.supersonic.tests.harness.prometheus import Guard, Page

TOKEN = "a-planted-token-77aa"
KEYS = ["service", "models"]
UIDS = [f"supersonic-{key}" for key in KEYS]


def files(*keys: str, **more: Any) -> dict[str, str]:
    return dashboard_files(keys, scrape_interval=2, thresholds={"queue_ratio": 3, "queue_time": 1000}, **more)


@pytest.fixture
def grafana() -> Iterator[Grafana]:
    server = Grafana(TOKEN)
    yield server
    server.stop()


def run(grafana: Grafana, *, check: bool = False, diff: bool = False, **options: Any) -> dict[str, Any]:
    given = {"url": grafana.url, "token": TOKEN, "dashboards": files(*KEYS), **options}
    return run_module("grafana_dashboards", given, check=check, diff=diff)


def done(grafana: Grafana, *, check: bool = False, diff: bool = False, **options: Any) -> dict[str, Any]:
    result = run(grafana, check=check, diff=diff, **options)
    assert not result["failed"], result
    return result


def test_a_second_run_changes_nothing(grafana: Grafana) -> None:
    first = done(grafana)
    assert first["changed"]
    assert (first["folder"], first["dashboards"]) == ("created", dict.fromkeys(UIDS, "created"))
    assert grafana.folders["supersonic"]["title"] == "SuperSONIC"
    assert {uid: item["meta"]["folderUid"] for uid, item in grafana.dashboards.items()} == dict.fromkeys(
        UIDS, "supersonic"
    )
    changes = list(grafana.changes)
    second = done(grafana)
    assert not second["changed"]
    assert second["dashboards"] == dict.fromkeys(UIDS, "unchanged")
    assert grafana.changes == changes


def test_check_mode_tells_the_same_and_changes_nothing(grafana: Grafana) -> None:
    check = done(grafana, check=True, diff=True)
    assert grafana.changes == []
    real = done(grafana, diff=True)
    assert check["changed"]
    assert real == check
    assert '"title": "SuperSONIC Service"' in real["diff"]["after"]
    assert real["diff"]["before"] == ""


def test_what_somebody_has_changed_is_put_right(grafana: Grafana) -> None:
    done(grafana)
    wanted = copy.deepcopy(grafana.dashboards["supersonic-service"]["dashboard"])
    grafana.dashboards["supersonic-service"]["dashboard"]["panels"][2]["title"] = "Mine"
    grafana.folders["supersonic"]["title"] = "Other"
    result = done(grafana, diff=True)
    assert (result["folder"], result["dashboards"]) == ("updated", {UIDS[0]: "updated", UIDS[1]: "unchanged"})
    assert '"title": "Mine"' in result["diff"]["before"]
    assert '"title": "Mine"' not in result["diff"]["after"]
    again = grafana.dashboards["supersonic-service"]["dashboard"]
    assert {**again, "version": 1, "id": 1} == {**wanted, "version": 1, "id": 1}
    assert not done(grafana)["changed"]


def test_what_grafana_adds_is_no_difference(grafana: Grafana) -> None:
    done(grafana)
    panel = grafana.dashboards["supersonic-service"]["dashboard"]["panels"][2]
    panel["pluginVersion"] = "13.2.3"
    panel["fieldConfig"]["defaults"]["mappings"] = []
    assert not done(grafana)["changed"]


def test_one_in_another_folder_is_moved(grafana: Grafana) -> None:
    done(grafana)
    grafana.dashboards["supersonic-models"]["meta"]["folderUid"] = ""
    assert done(grafana)["dashboards"] == {UIDS[0]: "unchanged", UIDS[1]: "updated"}
    assert grafana.dashboards["supersonic-models"]["meta"]["folderUid"] == "supersonic"


def test_ours_alone_are_removed(grafana: Grafana) -> None:
    done(grafana)
    theirs = {"dashboard": {"uid": "theirs", "title": "Theirs", "tags": ["supersonic"], "version": 1}}
    grafana.dashboards["theirs"] = {**theirs, "meta": {"folderUid": "supersonic"}}
    fewer = done(grafana, dashboards=files("service"))
    assert fewer["dashboards"] == {UIDS[0]: "unchanged", UIDS[1]: "deleted"}
    assert set(grafana.dashboards) == {"supersonic-service", "theirs"}
    check = done(grafana, state="absent", check=True)
    gone = done(grafana, state="absent")
    assert gone == check
    assert (gone["folder"], gone["dashboards"]) == ("unchanged", {UIDS[0]: "deleted"})
    assert set(grafana.dashboards) == {"theirs"}
    assert not done(grafana, state="absent")["changed"]
    del grafana.dashboards["theirs"]
    assert done(grafana, state="absent")["folder"] == "deleted"
    assert grafana.folders == {}
    assert not done(grafana, state="absent")["changed"]


def test_a_data_source_has_to_be_healthy(grafana: Grafana) -> None:
    assert not run(grafana, datasource="prometheus")["failed"]
    grafana.datasources["prometheus"] = ("ERROR", "connection refused")
    broken = run(grafana, datasource="prometheus", dashboards=files("gateway"))
    assert broken["failed"]
    assert "connection refused" in broken["msg"]
    missing = run(grafana, datasource="mimir")
    assert "has no data source with the uid mimir" in missing["msg"]
    assert set(grafana.dashboards) == set(UIDS)


def test_a_provisioned_dashboard_is_left_alone(grafana: Grafana) -> None:
    done(grafana)
    grafana.dashboards["supersonic-service"]["meta"]["provisioned"] = True
    assert "comes from its provisioning" in run(grafana)["msg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token": "wrong-token-77"}, "does not accept the token"),
        ({"url": "grafana.example.org"}, "it must be http://HOST:PORT"),
        ({"url": "http://u:p@grafana"}, "without a user"),
        ({"dashboards": {"a": "{"}}, "dashboards.a is no JSON of a dashboard"),
        ({"dashboards": {"a": '{"uid": "mine"}'}}, "dashboards.a has the uid mine"),
    ],
)
def test_what_is_wrong_is_said(grafana: Grafana, options: dict[str, Any], message: str) -> None:
    result = run(grafana, **options)
    assert result["failed"]
    assert message in result["msg"]
    assert TOKEN not in str(result)
    assert grafana.changes == []


def test_a_viewer_may_not(grafana: Grafana) -> None:
    grafana.role = "Viewer"
    message = run(grafana)["msg"]
    assert "does not let us make the folder supersonic" in message
    assert "role Editor" in message


def test_what_is_no_grafana(grafana: Grafana) -> None:
    page = Page("<html>")
    guard = Guard("http://127.0.0.1:1", TOKEN)
    try:
        assert "has no API there" in run(grafana, url=f"http://{page.address}")["msg"]
        assert "is a log-in in front of it?" in run(grafana, url=f"http://{guard.address}/login")["msg"]
    finally:
        page.stop()
        guard.stop()
    (closed,) = free_ports(1)
    assert "cannot be reached" in run(grafana, url=f"http://127.0.0.1:{closed}")["msg"]
