# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a failed test leaves behind to read: states, events and logs of the pods in its namespaces.

No object is kept whole, and no Secret is read, so that nothing has to be hidden.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._rest import Api

# Of each log its end, of each test so much in all, and the last tests that failed.
LINES, LOG_BYTES, TEST_BYTES, TESTS = 300, 60_000, 5_000_000, 40


def keep(api: Api, namespaces: Iterable[str], folder: Path, test: str) -> Path | None:
    """Write it below the folder; where, or None where there is nothing."""
    place = folder / re.sub(r"[^\w.=-]+", "-", test.removeprefix("tests/").replace("::", "/")).strip("-")[:150]
    left = TEST_BYTES
    for namespace in namespaces:
        for name, text in _files(api, namespace):
            path = place / namespace / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text[:left])
            left -= len(text[:left])
    if not place.is_dir():
        return None
    _forget(folder)
    return place


def _files(api: Api, namespace: str) -> Iterator[tuple[str, str]]:
    """Names and texts; nothing of what cannot be read any more."""
    base = f"/api/v1/namespaces/{namespace}"
    try:
        pods = api.list(f"{base}/pods", "pods")
        events = api.list(f"{base}/events", "events")
    except SupersonicError:
        return
    if not pods and not events:
        return
    yield "pods.json", json.dumps([_state(pod) for pod in pods], indent=1)
    yield "events.txt", "".join(sorted(_line(event) for event in events))
    for pod in pods:
        name, status = pod["metadata"]["name"], pod["status"]
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            previous = ["false", "true"] if container.get("restartCount") else ["false"]
            for which in previous:
                query = {
                    "container": container["name"],
                    "previous": which,
                    "tailLines": str(LINES),
                    "limitBytes": str(LOG_BYTES),
                }
                try:
                    text = api.text(f"{base}/pods/{name}/log", "log", query)
                except SupersonicError as error:
                    text = f"{error}\n"
                yield f"{name}/{container['name']}{'-previous' if which == 'true' else ''}.log", text


def _state(pod: dict[str, Any]) -> dict[str, Any]:
    """What Kubernetes says of a pod; nothing of what it was given."""
    metadata = pod["metadata"]
    return {"name": metadata["name"], "deleted": metadata.get("deletionTimestamp"), "status": pod["status"]}


def _line(event: dict[str, Any]) -> str:
    time = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    about = event["involvedObject"]
    return f"{time} {about.get('kind')}/{about.get('name')} {event.get('reason')}: {event.get('message')}\n"


def _forget(folder: Path) -> None:
    """The tests that failed longest ago."""
    places = sorted({path.parent.parent for path in folder.rglob("pods.json")}, key=lambda path: path.stat().st_mtime)
    for place in places[:-TESTS]:
        shutil.rmtree(place, ignore_errors=True)
