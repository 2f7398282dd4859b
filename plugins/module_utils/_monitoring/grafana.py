# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Client for the HTTP API of Grafana: dashboards in an existing Grafana, and the health of data sources.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Only the folder is touched that is named, and in it only dashboards whose uid begins with ours.
"""

from __future__ import annotations

import base64
import json
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.dashboards import TAG
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.http_client import Web, parse_address

Object = dict[str, t.Any]
# Options of modules that ask a Grafana, documented in the fragments grafana and grafana.login.
GRAFANA_SPEC: dict[str, t.Any] = {
    "url": {"type": "str", "required": True},
    "ca_certificates": {"type": "str"},
    "validate_grafana_certs": {"type": "bool", "default": True},
    "timeout": {"type": "float", "default": 30},
}
LOGIN_SPEC: dict[str, t.Any] = {
    **GRAFANA_SPEC,
    "token": {"type": "str", "no_log": True},
    "user": {"type": "str", "default": "admin"},
    "password": {"type": "str", "no_log": True},
}
# What a Grafana answers is short but for a dashboard.
_SHOWN = 300


class Grafana(Web):
    """One Grafana, through the Kubernetes API where it has no other address. Raises SupersonicError for whatever goes
    wrong."""

    name = "Grafana"

    def log_in(self, user: str, password: str) -> None:
        """Log in with user and password, if there is no token."""
        self.headers["Authorization"] = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"

    def call(self, method: str, path: str, what: str, body: t.Any = None) -> t.Any:
        """The answer of Grafana; None if the object does not exist."""
        sent = None if body is None else json.dumps(body).encode()
        status, headers, text = self.request(f"{self.address.path}{path}", sent, method)
        if status < 300:
            try:
                return json.loads(text)
            except ValueError as error:
                raise SupersonicError(
                    f"Grafana ({self.address}) has no API there: {what} gave no JSON. Correct the URL, its path "
                    "included."
                ) from error
        if status == 404 and method in ("GET", "DELETE") and _message(text):
            return None
        raise SupersonicError(self._sentence(status, headers, text, what))

    def _sentence(self, status: int, headers: Mapping[str, str], text: bytes, what: str) -> str:
        where = f"Grafana ({self.address})"
        said = _message(text)
        if status == 401:
            return f"{where} does not accept the token: it answered 401 to {what}."
        if status == 403:
            return (
                f"{where} does not let us {what}{f' ({said})' if said else ''}. Give the service account the role "
                "Editor, or the permissions on folders and dashboards that it lacks."
            )
        if 300 <= status < 400:
            return self._sends_us_on(headers)
        if status == 404:
            return f"{where} has no API of Grafana there (status 404). Correct the URL, its path included."
        said = said or text[:_SHOWN].decode(errors="replace").strip()
        return f"{where} answered {status} when asked to {what}: {said}"

    def _sends_us_on(self, headers: Mapping[str, str]) -> str:
        # A log-in that it sends us to would answer with a page.
        place = headers.get("Location", "elsewhere")
        return f"Grafana ({self.address}) sends us to {place}: is a log-in in front of it? Give the URL behind it."

    def problem(self, datasource: str) -> str:
        """The reason why Grafana cannot use a data source, "" if it can. Raises SupersonicError without an answer."""
        target = f"{self.address.path}/api/datasources/uid/{quote(datasource, safe='')}/health"
        status, headers, body = self.request(target)
        where = f"Grafana ({self.address})"
        if 300 <= status < 400:
            raise SupersonicError(self._sends_us_on(headers))
        if status in (401, 403):
            raise SupersonicError(
                f"{where} answered {status} to who asks for the health of its data sources. Give the token of a "
                "service account that may query them (role Viewer), or the name and password of a user."
            )
        try:
            answer = json.loads(body)
            said, well = str(answer.get("message") or ""), answer.get("status") == "OK"
        except (ValueError, AttributeError) as error:
            raise SupersonicError(
                f"{where} has no API there: it answered {status} without JSON. Correct the URL, its path included."
            ) from error
        if status == 404:
            return f"{where} has no data source with the uid {datasource}."
        if status == 200 and well:
            return ""
        return (
            f"{where} cannot use its data source {datasource}: {said or f'it answered {status}'}. Look at the address "
            "and the credentials of the data source."
        )


def grafana_of(options: Mapping[str, t.Any], resolver: Resolver) -> Grafana:
    """The Grafana of the options of a module."""
    grafana = Grafana(
        parse_address(options["url"], what="Grafana"),
        resolver,
        token=options["token"] or "",
        authorities=options["ca_certificates"] or "",
        validate=options["validate_grafana_certs"],
        timeout=options["timeout"],
    )
    if options.get("password"):
        grafana.log_in(options["user"], options["password"])
    return grafana


def _message(text: bytes) -> str:
    try:
        found = json.loads(text)
    except ValueError:
        return ""
    return str(found.get("message") or "") if isinstance(found, dict) else ""


@dataclass
class Outcome:
    """The result, or its prediction: the action for each object, and texts for the diff."""

    folder: str = "unchanged"
    dashboards: dict[str, str] = field(default_factory=dict)
    before: dict[str, t.Any] = field(default_factory=dict)
    after: dict[str, t.Any] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        return {self.folder, *self.dashboards.values()} != {"unchanged"}


def bring(
    grafana: Grafana, folder: Mapping[str, str], dashboards: Mapping[str, t.Any], *, check: bool = False
) -> Outcome:
    """Have these dashboards in the folder, and none of ours besides."""
    wanted = _wanted(dashboards)
    found = Outcome()
    _folder(grafana, folder, found, check=check)
    for uid, dashboard in wanted.items():
        there = grafana.call("GET", f"/api/dashboards/uid/{quote(uid, safe='')}", f"read the dashboard {uid}")
        if there is not None and (there.get("meta") or {}).get("provisioned"):
            raise SupersonicError(
                f"The dashboard {uid} of Grafana ({grafana.address}) comes from its provisioning, so that nobody can "
                "change it by the API. Take it away there, or leave it out here."
            )
        place = (there or {}).get("meta", {}).get("folderUid") or ""
        if there is not None and place == folder["uid"] and covers(dashboard, there["dashboard"]):
            found.dashboards[uid] = "unchanged"
            continue
        found.dashboards[uid] = "created" if there is None else "updated"
        if there is not None:
            # What Grafana has added is no difference.
            found.before[uid] = {"folder": place, **common(dashboard, there["dashboard"])}
        found.after[uid] = {"folder": folder["uid"], **dashboard}
        if not check:
            body = {"dashboard": {**dashboard, "id": None}, "folderUid": folder["uid"], "overwrite": True,
                    "message": "fastml.supersonic"}  # fmt: skip
            grafana.call("POST", "/api/dashboards/db", f"save the dashboard {uid}", body)
    if found.folder != "created":
        _remove(grafana, [uid for uid in ours(grafana, folder["uid"]) if uid not in wanted], found, check=check)
    return found


def take_away(grafana: Grafana, folder: Mapping[str, str], *, check: bool = False) -> Outcome:
    """Remove our dashboards from the folder, and the folder if nothing else is in it."""
    found = Outcome()
    path = f"/api/folders/{quote(folder['uid'], safe='')}"
    if grafana.call("GET", path, f"read the folder {folder['uid']}") is None:
        return found
    everything = [item["uid"] for item in _search(grafana, folder["uid"])]
    mine = ours(grafana, folder["uid"])
    _remove(grafana, mine, found, check=check)
    if set(everything) <= set(mine):
        found.folder = "deleted"
        found.before["folder"] = dict(folder)
        if not check:
            grafana.call("DELETE", path, f"remove the folder {folder['uid']}")
    return found


def _wanted(dashboards: Mapping[str, t.Any]) -> dict[str, Object]:
    found: dict[str, Object] = {}
    for name, item in dashboards.items():
        try:
            dashboard = json.loads(item) if isinstance(item, str) else dict(item)
            uid = str(dashboard["uid"])
        except (KeyError, TypeError, ValueError) as error:
            raise SupersonicError(f"dashboards.{name} is no JSON of a dashboard with a uid.") from error
        if not uid.startswith(f"{TAG}-"):
            raise SupersonicError(f"dashboards.{name} has the uid {uid}; ours begin with {TAG}-.")
        found[uid] = dashboard
    return found


def _folder(grafana: Grafana, folder: Mapping[str, str], found: Outcome, *, check: bool) -> None:
    uid, title = folder["uid"], folder["title"]
    path = f"/api/folders/{quote(uid, safe='')}"
    there = grafana.call("GET", path, f"read the folder {uid}")
    if there is not None and there.get("title") == title:
        return
    found.after["folder"] = dict(folder)
    if there is None:
        found.folder = "created"
        if not check:
            grafana.call("POST", "/api/folders", f"make the folder {uid}", dict(folder))
        return
    found.folder = "updated"
    found.before["folder"] = {"uid": uid, "title": there.get("title")}
    if not check:
        grafana.call("PUT", path, f"rename the folder {uid}", {"title": title, "overwrite": True})


def _search(grafana: Grafana, folder: str, tag: str = "") -> list[Object]:
    query = {"folderUIDs": folder, "limit": 5000, **({"tag": tag, "type": "dash-db"} if tag else {})}
    found: list[Object] = grafana.call("GET", f"/api/search?{urlencode(query)}", f"search the folder {folder}") or []
    return found


def ours(grafana: Grafana, folder: str) -> list[str]:
    """Our dashboards in a folder."""
    return sorted(item["uid"] for item in _search(grafana, folder, TAG) if item["uid"].startswith(f"{TAG}-"))


def _remove(grafana: Grafana, uids: Iterable[str], found: Outcome, *, check: bool) -> None:
    for uid in uids:
        found.dashboards[uid] = "deleted"
        found.before[uid] = {"uid": uid}
        if not check:
            grafana.call("DELETE", f"/api/dashboards/uid/{quote(uid, safe='')}", f"remove the dashboard {uid}")


# ---- what Grafana adds -----------------------------------------------------------------------------------------------
def covers(wanted: t.Any, there: t.Any) -> bool:
    """Whether all that is wanted is there. Grafana adds an id, a version and what it takes for defaults."""
    if isinstance(wanted, Mapping):
        return isinstance(there, Mapping) and all(
            value is None or (key in there and covers(value, there[key])) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(there, list)
            and len(wanted) == len(there)
            and all(covers(one, other) for one, other in zip(wanted, there, strict=True))
        )
    return bool(wanted == there)


def common(wanted: t.Any, there: t.Any) -> t.Any:
    """The live values of the desired keys."""
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        return {key: common(value, there[key]) for key, value in wanted.items() if key in there}
    if isinstance(wanted, list) and isinstance(there, list) and len(wanted) == len(there):
        return [common(one, other) for one, other in zip(wanted, there, strict=True)]
    return there
