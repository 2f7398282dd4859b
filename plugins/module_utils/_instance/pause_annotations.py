# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes objects temporarily and notes their previous state in annotations, from which it can be restored.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

What was there before is noted on the object itself, in the same request that changes it. So it can be put back even
when the process was killed that has changed it. Notes of several kinds lie over each other: the last one is put back
first.
"""

from __future__ import annotations

import copy
import json
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.diff import field_managers
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.replicas import (
    BEFORE_BENCHMARK,
    BEFORE_DRAIN,
    BEFORE_PAUSE,
    PAUSE_MANAGER,
    note_in,
)

Live = Mapping[str, t.Any]

PAUSED_REPLICAS = "autoscaling.keda.sh/paused-replicas"
PAUSED = "autoscaling.keda.sh/paused"
_MERGE = "application/merge-patch+json"
_CONFLICT = 409
_ATTEMPTS = 5
# Of an entry of managedFields, what makes one of its own.
_OWNER = ("manager", "operation", "subresource", "apiVersion", "fieldsType", "time")


class Mark(t.NamedTuple):
    """A temporary change: the annotation with the note, and the field manager."""

    annotation: str
    manager: str


BENCHMARK = Mark(BEFORE_BENCHMARK, "fastml.supersonic.benchmark")
PAUSE = Mark(BEFORE_PAUSE, PAUSE_MANAGER)
DRAIN = Mark(BEFORE_DRAIN, "fastml.supersonic.drain")


def note(live: Live | None, mark: Mark) -> dict[str, t.Any] | None:
    """The note on an object: its author, and the state `before`. None if there is none, {} if it is no JSON object."""
    return note_in(live, mark.annotation)


def noting(
    live: Live,
    mark: Mark,
    whose: Mapping[str, t.Any],
    before: Mapping[str, t.Any],
    annotations: Mapping[str, str | None],
    spec: Mapping[str, t.Any],
) -> dict[str, t.Any]:
    """A change that notes what was there before, unless an earlier one has."""
    earlier = note(live, mark) or {}
    fields = [*(("metadata", "annotations", name) for name in annotations), *(("spec", name) for name in spec)]
    noted = {
        **whose,
        "before": earlier.get("before") or dict(before),
        "owners": earlier["owners"] if "owners" in earlier else owners(live, mark, fields),
    }
    text = json.dumps(noted, sort_keys=True)
    change: dict[str, t.Any] = {"metadata": {"annotations": {**annotations, mark.annotation: text}}}
    return {**change, "spec": dict(spec)} if spec else change


def restored(live: Live, mark: Mark) -> dict[str, t.Any] | None:
    """The change that puts back what was noted."""
    noted = note(live, mark)
    if noted is None:
        return None
    before = noted.get("before") or {}
    annotations = {**(before.get("annotations") or {}), mark.annotation: None}
    change: dict[str, t.Any] = {"metadata": {"annotations": annotations}}
    if before.get("replicas") is not None:
        change["spec"] = {"replicas": before["replicas"]}
    return change


def owners(live: Live, mark: Mark, fields: Iterable[Sequence[str]]) -> list[dict[str, t.Any]]:
    """The managers of these fields of an object, for `disowned`."""
    return [
        {"field": list(field), "entry": {key: entry[key] for key in _OWNER if key in entry}}
        for field in fields
        for entry in field_managers(live, *field)
        if entry.get("manager") != mark.manager
    ]


def disowned(live: Live, mark: Mark, before: Iterable[Mapping[str, t.Any]]) -> dict[str, t.Any] | None:
    """The change that takes a mark's manager off an object's fields, and gives them to their owners."""
    entries = live["metadata"].get("managedFields") or []
    others = [copy.deepcopy(entry) for entry in entries if entry.get("manager") != mark.manager]
    if len(others) == len(entries):
        return None
    for owner in before:
        entry = next((each for each in others if _owner(each) == _owner(owner["entry"])), None)
        if entry is None:
            # It had nothing else.
            entry = dict(owner["entry"])
            others.append(entry)
        node = entry.setdefault("fieldsV1", {})
        for name in owner["field"]:
            node = node.setdefault(f"f:{name}", {})
    return {"metadata": {"managedFields": others}}


def _owner(entry: Mapping[str, t.Any]) -> tuple[t.Any, ...]:
    return tuple(entry.get(key) for key in ("manager", "operation", "subresource"))


def change(api: Api, path: str, what: str, mark: Mark, wanted: Callable[[Live], dict[str, t.Any] | None]) -> None:
    """Change an object by what it is now; whatever changes it meanwhile makes this begin again."""
    for attempt in range(_ATTEMPTS):
        live = api.get(path, what)
        body = wanted(live)
        if body is None:
            return
        body.setdefault("metadata", {})["resourceVersion"] = live["metadata"]["resourceVersion"]
        try:
            api.call("PATCH", path, what, query={"fieldManager": mark.manager}, body=body, content_type=_MERGE)
        except ApiError as exc:
            if exc.status != _CONFLICT or attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def restore(api: Api, path: str, what: str, mark: Mark) -> bool:
    """Put an object back as it was noted; True when there was something."""
    noted = note(api.find(path, what), mark)
    if noted is None:
        return False
    change(api, path, what, mark, lambda live: restored(live, mark))
    # What is put back belongs to whoever had it: a manager that stays would be in the way of the next change, and a
    # field without one stays when whoever applied it drops it.
    change(api, path, what, mark, lambda live: disowned(live, mark, noted.get("owners") or []))
    return True


def unsettled(live: Live, wanted: int) -> str | None:
    """The reason why a Deployment has not this number of replicas, all ready and none terminating; None if it has."""
    status = live.get("status") or {}
    replicas, there = (live.get("spec") or {}).get("replicas"), int(status.get("replicas") or 0)
    ready = int(status.get("readyReplicas") or 0)
    if int(status.get("observedGeneration") or 0) < int(live["metadata"].get("generation") or 0):
        return "its last change is not seen yet"
    if replicas != wanted:
        return f"{replicas} are wanted"
    leaving = int(status.get("terminatingReplicas") or 0)
    if (there, ready, leaving) != (wanted, wanted, 0):
        return f"{ready} of {there} are ready" + (f", and {leaving} leave" if leaving else "")
    return None
