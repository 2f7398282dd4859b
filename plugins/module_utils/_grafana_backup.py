# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Dashboards that people have made in a Grafana: into files, and back where they are missing.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Those that a provisioning brings are in git already. What is in Grafana is never overwritten or removed.
"""

from __future__ import annotations

import json
import os
import typing as t
from urllib.parse import quote, urlencode

from ansible_collections.fastml.supersonic.plugins.module_utils._dashboards import TAG
from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._grafana import Reader, covers

Object = dict[str, t.Any]
_PAGE = 1000
# What a Grafana gives a dashboard itself, and another one gives anew.
_OWN = ("id", "version", "iteration")


def save(grafana: Reader, folder: str, *, check: bool = False) -> dict[str, t.Any]:
    """Write every dashboard that people have made to a file. Returns the module's result."""
    written, names = [], []
    for uid in _uids(grafana):
        found = _ask(grafana, f"/api/dashboards/uid/{quote(uid, safe='')}")
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
    msg = f"{len(names)} dashboards were made by people; {len(written)} are new or changed since the last backup."
    return {"changed": bool(written), "dashboards": names, "written": written, "kept": [], "msg": msg}


def bring_back(grafana: Reader, folder: str, *, check: bool = False) -> dict[str, t.Any]:
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
        there = _ask(grafana, f"/api/dashboards/uid/{quote(uid, safe='')}")
        if there is not None:
            if not covers(dashboard, there["dashboard"]):
                kept.append(uid)
            continue
        made.append(uid)
        if check:
            continue
        if place.get("uid") and _ask(grafana, f"/api/folders/{quote(place['uid'], safe='')}") is None:
            _tell(grafana, "/api/folders", {"uid": place["uid"], "title": place.get("title") or place["uid"]})
        body = {
            "dashboard": {**dashboard, "id": None},
            "folderUid": place.get("uid") or "",
            "overwrite": False,
            "message": "restored by fastml.supersonic",
        }
        _tell(grafana, "/api/dashboards/db", body)
    others = f" Others of the same uid were left: {', '.join(kept)}." if kept else ""
    msg = f"{len(made)} of {len(names)} dashboards were missing and are restored.{others}"
    return {"changed": bool(made), "dashboards": names, "written": made, "kept": kept, "msg": msg}


def _uids(grafana: Reader) -> list[str]:
    """Every dashboard but ours, whose uid says that."""
    found: list[str] = []
    page = 1
    while True:
        query = urlencode({"type": "dash-db", "limit": _PAGE, "page": page})
        items = _ask(grafana, f"/api/search?{query}") or []
        found += [str(item["uid"]) for item in items]
        if len(items) < _PAGE:
            return sorted(uid for uid in dict.fromkeys(found) if not uid.startswith(f"{TAG}-"))
        page += 1


def _ask(grafana: Reader, target: str) -> t.Any:
    return _answer(grafana, target, None)


def _tell(grafana: Reader, target: str, body: Object) -> None:
    _answer(grafana, target, json.dumps(body).encode())


def _answer(grafana: Reader, target: str, body: bytes | None) -> t.Any:
    """What it answers; None where there is nothing of this name."""
    status, headers, answer = grafana.request(f"{grafana.address.path}{target}", body)
    where = f"Grafana ({grafana.address})"
    if 300 <= status < 400:
        raise SupersonicError(
            f"{where} sends us to {headers.get('Location', 'elsewhere')}: is a log-in in front of it?"
        )
    if status in (401, 403):
        raise SupersonicError(
            f"{where} answered {status}. Give the token of a service account that may read all dashboards, and to "
            "restore them write (role Editor), or the name and password of a user."
        )
    try:
        found = json.loads(answer)
    except ValueError as error:
        raise SupersonicError(
            f"{where} has no API there: it answered {status} without JSON. Correct the URL."
        ) from error
    if status == 404 and body is None:
        return None
    if status != 200:
        said = found.get("message") if isinstance(found, dict) else ""
        raise SupersonicError(f"{where} answered {status} to {target.partition('?')[0]}: {said}")
    return found


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
