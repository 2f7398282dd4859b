# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dashboards of people, out of a Grafana and into another one; both answer as the API is documented."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.grafana import Grafana
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module

TOKEN = "a-planted-token-91cc"


@pytest.fixture
def grafanas() -> Iterator[list[Grafana]]:
    found = [Grafana(TOKEN), Grafana(TOKEN)]
    first = found[0]
    first.folders["team"] = {"uid": "team", "title": "Our team", "version": 1}
    for uid, folder, provisioned in (
        ("mine", "team", False),
        ("yours", "", False),
        ("from-git", "team", True),
        ("supersonic-overview", "", False),
    ):
        dashboard = {"uid": uid, "title": uid, "panels": [{"id": 1}], "id": 5, "version": 3}
        titled = {"folderUid": folder, "folderTitle": "Our team" if folder else "", "provisioned": provisioned}
        first.dashboards[uid] = {"dashboard": dashboard, "meta": titled}
    yield found
    for server in found:
        server.stop()


def act(grafana: Grafana, path: Path, state: str, *, check: bool = False, **options: Any) -> dict[str, Any]:
    given = {"url": grafana.url, "token": TOKEN, "path": str(path), "state": state, **options}
    return run_module("grafana_backup", given, check=check)


def test_out_and_into_another_one(grafanas: list[Grafana], tmp_path: Path) -> None:
    first, second = grafanas
    path = tmp_path / "grafana"
    assert act(first, path, "saved", check=True)["written"] == ["mine", "yours"]
    assert not path.exists()
    saved = act(first, path, "saved")
    assert saved["changed"]
    assert saved["dashboards"] == ["mine", "yours"]
    assert sorted(item.name for item in path.iterdir()) == ["mine.json", "yours.json"]
    assert act(first, path, "saved")["changed"] is False
    assert first.changes == []

    assert act(second, path, "restored", check=True)["changed"]
    assert second.changes == []
    restored = act(second, path, "restored")
    assert restored["written"] == ["mine", "yours"]
    assert second.folders["team"]["title"] == "Our team"
    assert second.dashboards["mine"]["meta"]["folderUid"] == "team"
    assert second.dashboards["mine"]["dashboard"]["panels"] == [{"id": 1}]
    assert act(second, path, "restored")["changed"] is False


def test_what_is_there_is_never_overwritten(grafanas: list[Grafana], tmp_path: Path) -> None:
    first, _second = grafanas
    act(first, tmp_path, "saved")
    first.dashboards["mine"]["dashboard"]["panels"] = [{"id": 2}]
    result = act(first, tmp_path, "restored")
    assert (result["changed"], result["kept"]) == (False, ["mine"])
    assert "Others of the same uid were left: mine." in result["msg"]
    assert first.changes == []
    assert json.loads((tmp_path / "mine.json").read_text())["dashboard"]["panels"] == [{"id": 1}]


@pytest.mark.parametrize(
    ("options", "state", "message"),
    [
        ({"token": "another-token-91"}, "saved", "does not accept the token: it answered 401 to list dashboards"),
        ({"path": "/nowhere/at/all"}, "restored", "There is no backup of dashboards in /nowhere/at/all"),
        ({"url": "http://127.0.0.1:9"}, "saved", "cannot be reached"),
    ],
)
def test_what_cannot_be_done(
    grafanas: list[Grafana], tmp_path: Path, options: dict[str, Any], state: str, message: str
) -> None:
    result = run_module(
        "grafana_backup", {"url": grafanas[0].url, "token": TOKEN, "path": str(tmp_path), "state": state, **options}
    )
    assert result["failed"]
    assert message in result["msg"]
    assert TOKEN not in result["msg"]
