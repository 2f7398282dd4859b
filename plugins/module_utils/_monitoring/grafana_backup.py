# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Saves dashboards that users made in Grafana to files, and restores missing ones.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Those that a provisioning brings are in git already. What is in Grafana is never overwritten or removed.
"""

from __future__ import annotations

import json
import os
import typing as t
from urllib.parse import quote, urlencode

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._common.text import are, counted
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.dashboards import TAG
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.grafana import Grafana, covers

Object = dict[str, t.Any]
_PAGE = 1000
# What a Grafana gives a dashboard itself, and another one gives anew.
_OWN = ("id", "version", "iteration")


def save(grafana: Grafana, folder: str, *, check: bool = False) -> dict[str, t.Any]:
    """Write every dashboard that people have made to a file. Returns the module's result."""
    written, names = [], []
    for uid in _uids(grafana):
        found = grafana.call("GET", f"/api/dashboards/uid/{quote(uid, safe='')}", f"read the dashboard {uid}")
        if found is None or (found.get("meta") or {}).get("provisioned"):
            continue
        names.append(uid)
        meta = found.get("meta") or {}
        place = {"uid": meta.get("folderUid") or "", "title": meta.get("folderTitle") or ""}
        dashboard = {name: value for name, value in found["dashboard"].items() if name not in _OWN}
        text = json.dumps({"folder": place, "dashboard": dashboard}, indent=1, sort_keys=True) + "\n"
        path = os.path.join(folder, f"{quote(uid, safe='')}.json")
        if _read(path) == text:
            continue
        written.append(uid)
        if not check:
            _write(path, text)
    made = counted(len(names), "dashboard")
    msg = f"People have made {made}; {len(written)} {are(len(written))} new or changed since the last backup."
    return {"changed": bool(written), "dashboards": names, "written": written, "kept": [], "msg": msg}


def bring_back(grafana: Grafana, folder: str, *, check: bool = False) -> dict[str, t.Any]:
    """Make the dashboards of a backup that are not there. Returns the module's result."""
    try:
        files = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    except OSError as error:
        raise SupersonicError(f"There is no backup of dashboards in {folder}: {error.strerror}.") from error
    made, kept, names = [], [], []
    for file in files:
        saved = json.loads(_read(os.path.join(folder, file)) or "{}")
        dashboard, place = saved.get("dashboard") or {}, saved.get("folder") or {}
        uid = str(dashboard.get("uid") or "")
        if not uid:
            raise SupersonicError(
                f"{os.path.join(folder, file)} is no dashboard of a backup. Nothing more was restored."
            )
        names.append(uid)
        there = grafana.call("GET", f"/api/dashboards/uid/{quote(uid, safe='')}", f"read the dashboard {uid}")
        if there is not None:
            if not covers(dashboard, there["dashboard"]):
                kept.append(uid)
            continue
        made.append(uid)
        if check:
            continue
        if (
            place.get("uid")
            and grafana.call("GET", f"/api/folders/{quote(place['uid'], safe='')}", "read a folder") is None
        ):
            grafana.call(
                "POST",
                "/api/folders",
                "make a folder",
                {"uid": place["uid"], "title": place.get("title") or place["uid"]},
            )
        body = {
            "dashboard": {**dashboard, "id": None},
            "folderUid": place.get("uid") or "",
            "overwrite": False,
            "message": "restored by fastml.supersonic",
        }
        grafana.call("POST", "/api/dashboards/db", f"restore the dashboard {uid}", body)
    others = f" Others of the same uid were left: {', '.join(kept)}." if kept else ""
    msg = f"Restored {len(made)} of {counted(len(names), 'dashboard')}: the missing ones.{others}"
    return {"changed": bool(made), "dashboards": names, "written": made, "kept": kept, "msg": msg}


def _uids(grafana: Grafana) -> list[str]:
    """Every dashboard but ours, whose uid says that."""
    found: list[str] = []
    page = 1
    while True:
        query = urlencode({"type": "dash-db", "limit": _PAGE, "page": page})
        items = grafana.call("GET", f"/api/search?{query}", "list dashboards") or []
        found += [str(item["uid"]) for item in items]
        if len(items) < _PAGE:
            return sorted(uid for uid in dict.fromkeys(found) if not uid.startswith(f"{TAG}-"))
        page += 1


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _write(path: str, text: str) -> None:
    """At once whole, or not at all."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    # Queries of people may hold what is not for everybody.
    descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.new", path)
