# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Determines whether the definition or an autoscaler sets the number of replicas.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import contextlib
import json
import typing as t
from collections.abc import Iterable, Mapping

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.desired_objects import Key
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.diff import field_managers
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import (
    DEPLOYMENT,
    REPLICA_SET,
    STATEFUL_SET,
    GroupKind,
)

Object = Mapping[str, t.Any]

# What a benchmark notes on an object that it changes, to put it back afterwards.
BEFORE_BENCHMARK = "supersonic.fastml.org/before-benchmark"
# The same of an operator who holds the number of servers, and of a drain that adds one for a while.
BEFORE_PAUSE = "supersonic.fastml.org/before-pause"
BEFORE_DRAIN = "supersonic.fastml.org/before-drain"
PAUSE_MANAGER = "fastml.supersonic.pause"

SCALABLE = frozenset({DEPLOYMENT, STATEFUL_SET, REPLICA_SET})
HPA = GroupKind("autoscaling", "HorizontalPodAutoscaler")
SCALED_OBJECT = GroupKind("keda.sh", "ScaledObject")
# The field managers under which the HorizontalPodAutoscaler and KEDA write to the scale subresource.
_MANAGERS = frozenset({"kube-controller-manager", "keda", "keda-operator"})


class Scaled(t.NamedTuple):
    """A workload that an autoscaler names."""

    namespace: str
    kind: str
    name: str

    @classmethod
    def of(cls, key: Key) -> Scaled:
        return cls(key.namespace or "", key.kind, key.name)


def held_by_benchmark(key: Key, live: Object) -> str:
    """A warning where a benchmark has fixed the number of servers and has not put it back; else empty."""
    if BEFORE_BENCHMARK not in (live["metadata"].get("annotations") or {}):
        return ""
    return (
        f"{key}: a benchmark holds the number of servers. If none is running, one was killed, and the pool follows "
        "nobody until it is put back: ansible-playbook playbooks/benchmark.yml -e benchmark_mode=restore."
    )


def held(key: Key, live: Object) -> list[str]:
    """A warning for each who has fixed the number of servers for a while and has not put it back."""
    annotations = live["metadata"].get("annotations") or {}
    found = [held_by_benchmark(key, live)]
    if BEFORE_PAUSE in annotations:
        found.append(
            f"{key}: an operator has paused the instance, and the number of servers is left alone"
            f"{_told(live)}. To go on: playbooks/resume.yml with the same inventory and --limit. "
            "Where it is held at 0 servers a proof fails until then (--skip-tags verify leaves it out)."
        )
    if BEFORE_DRAIN in annotations:
        found.append(
            f"{key}: a drain has added replicas for a while, and their number is left alone. If none is running, one "
            "was killed: run it again, or playbooks/drain.yml -e drain_action=uncordon puts it back."
        )
    return [warning for warning in found if warning]


def note_in(live: Object | None, annotation: str) -> dict[str, t.Any] | None:
    """The content of an annotation: None if there is none, {} if it is no JSON object."""
    text = (((live or {}).get("metadata") or {}).get("annotations") or {}).get(annotation)
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return found
    return {}


def _told(live: Object) -> str:
    """Since when an operator has paused it, and why."""
    note = note_in(live, BEFORE_PAUSE) or {}
    since = f"since {note['since']}" if note.get("since") else ""
    told = ": ".join(str(text) for text in (since, note.get("reason")) if text)
    return f" ({told})" if told else ""


def holds_replicas(live: Object | None) -> bool:
    """Whether an operator, a drain or a benchmark has fixed the number of replicas on the workload itself."""
    annotations = (live or {}).get("metadata", {}).get("annotations") or {}
    return any(mark in annotations for mark in (BEFORE_PAUSE, BEFORE_DRAIN, BEFORE_BENCHMARK))


def targets(autoscalers: Iterable[Object], gone_owners: Iterable[str] = ()) -> set[Scaled]:
    """The targets of these autoscalers, without those owned by an object (a uid) that will be removed."""
    ignored = set(gone_owners)
    found: set[Scaled] = set()
    for autoscaler in autoscalers:
        metadata = autoscaler["metadata"]
        owners = {owner.get("uid") for owner in metadata.get("ownerReferences") or []}
        reference = (autoscaler.get("spec") or {}).get("scaleTargetRef") or {}
        if reference.get("name") and not (owners | {metadata.get("uid")}) & ignored:
            # A ScaledObject may leave the kind out.
            kind = str(reference.get("kind") or DEPLOYMENT.kind)
            found.add(Scaled(str(metadata.get("namespace")), kind, str(reference["name"])))
    return found


def leave_replicas(definition: Object, live: Object | None, manager: str) -> dict[str, t.Any]:
    """The definition of an autoscaled workload: the number of replicas is not ours to set.

    Leaving out a field that only this manager owns resets it to its default of one. So as long as it is still ours
    (the autoscaler is new and has not changed it yet) the live number is repeated.
    """
    spec = {key: value for key, value in (definition.get("spec") or {}).items() if key != "replicas"}
    if live is not None:
        ours = [
            entry
            for entry in field_managers(live, "spec", "replicas")
            if entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource")
        ]
        replicas = (live.get("spec") or {}).get("replicas")
        if ours and replicas is not None:
            spec["replicas"] = replicas
    return {**definition, "spec": spec}


def scaled_by_machine(live: Object) -> bool:
    """The number of replicas was last written by an autoscaler."""
    return any(
        entry.get("manager") in _MANAGERS and entry.get("subresource") == "scale"
        for entry in field_managers(live, "spec", "replicas")
    )


def only_about_replicas(causes: Iterable[Object]) -> bool:
    """A conflict about nothing but the number of replicas that a former autoscaler has left."""
    found = list(causes)
    return bool(found) and all(
        cause.get("field") == ".spec.replicas" and any(f'"{name}"' in str(cause.get("message")) for name in _MANAGERS)
        for cause in found
    )
