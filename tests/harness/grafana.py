# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server that answers as the HTTP API of Grafana is documented: folders, dashboards, search, health of data sources.

A real Grafana can be had from no package registry, so this stands in for it. Where the documentation says so,
dashboards get an id and a version when they are saved, which are there when they are read again.
"""

from __future__ import annotations

import base64
import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ansible_collections.fastml.supersonic.tests.harness.prometheus import Page


class Grafana(Page):
    """Folders and dashboards by uid; data sources by uid with what their health is."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self.url = f"http://{self.address}"
        self.token = token
        # Of its administrator, who has none at first.
        self.password = ""
        self.role = "Editor"
        self.folders: dict[str, dict[str, Any]] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.datasources = {"prometheus": ("OK", "Successfully queried the Prometheus API.")}
        # What was changed, by method and path.
        self.changes: list[str] = []
        handler: Any = self._server.RequestHandlerClass
        for method in ("POST", "PUT", "DELETE"):
            setattr(handler, f"do_{method}", handler.do_GET)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length") or 0)
        body = json.loads(request.rfile.read(length)) if length else {}
        status, found = self._asked(request, body)
        self.reply(request, status, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def _asked(self, request: BaseHTTPRequestHandler, body: Any) -> tuple[int, Any]:
        accepted = [f"Bearer {self.token}"]
        if self.password:
            accepted.append(f"Basic {base64.b64encode(f'admin:{self.password}'.encode()).decode()}")
        if request.headers.get("Authorization") not in accepted:
            return 401, {"message": "Invalid API key"}
        parts = urlsplit(request.path)
        method, path, query = request.command, parts.path, parse_qs(parts.query)
        if method != "GET":
            if self.role == "Viewer":
                return 403, {"message": "You'll need additional permissions to perform this action."}
            self.changes.append(f"{method} {path}")
        if match := re.fullmatch(r"/api/datasources/uid/([^/]+)/health", path):
            if match[1] not in self.datasources:
                return 404, {"message": "Data source not found"}
            status, message = self.datasources[match[1]]
            return (200 if status == "OK" else 400), {"status": status, "message": message}
        if match := re.fullmatch(r"/api/folders(?:/([^/]+))?", path):
            return self._folder(method, match[1] or body.get("uid"), body)
        if match := re.fullmatch(r"/api/dashboards/uid/([^/]+)", path):
            return self._dashboard(method, match[1])
        if path == "/api/dashboards/db" and method == "POST":
            return self._save(body)
        if path == "/api/search":
            return 200, [
                {"uid": uid, "title": item["dashboard"]["title"], "type": "dash-db"}
                for uid, item in self.dashboards.items()
                if ("folderUIDs" not in query or item["meta"]["folderUid"] in query["folderUIDs"])
                and set(query.get("tag", [])) <= set(item["dashboard"].get("tags", []))
            ]
        return 404, {"message": "Not found"}

    def _folder(self, method: str, uid: str, body: Any) -> tuple[int, Any]:
        if method == "POST":
            if uid in self.folders:
                return 409, {"message": "a folder with that name already exists"}
            self.folders[uid] = {"uid": uid, "title": body["title"], "version": 1}
        if uid not in self.folders:
            return 404, {"message": "folder not found", "status": "not-found"}
        if method == "PUT":
            self.folders[uid]["title"] = body["title"]
        if method == "DELETE":
            return 200, {"message": f"Folder {self.folders.pop(uid)['title']} deleted"}
        return 200, self.folders[uid]

    def _dashboard(self, method: str, uid: str) -> tuple[int, Any]:
        if uid not in self.dashboards:
            return 404, {"message": "Dashboard not found"}
        if method == "DELETE":
            return 200, {"title": self.dashboards.pop(uid)["dashboard"]["title"]}
        return 200, self.dashboards[uid]

    def _save(self, body: Any) -> tuple[int, Any]:
        uid, folder = body["dashboard"]["uid"], body.get("folderUid", "")
        if folder and folder not in self.folders:
            return 404, {"message": "folder not found"}
        there = self.dashboards.get(uid)
        if there and there["meta"].get("provisioned"):
            return 400, {"message": "Cannot save provisioned dashboard"}
        if there and not body.get("overwrite"):
            return 412, {"message": "The dashboard has been changed by someone else", "status": "version-mismatch"}
        version = there["dashboard"]["version"] + 1 if there else 1
        dashboard = {**body["dashboard"], "id": len(self.dashboards) + 1, "version": version}
        self.dashboards[uid] = {"dashboard": dashboard, "meta": {"folderUid": folder, "provisioned": False}}
        return 200, {"uid": uid, "status": "success", "version": version}
