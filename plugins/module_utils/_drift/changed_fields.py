# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares two states of an object and finds out who set each field, from managedFields.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import fnmatch
import json
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.applyset import TOOL

Object = Mapping[str, t.Any]
Finding = dict[str, t.Any]

# What runs is not what is wanted; what no run of the inventory would mend, or that is on its way; what is only told.
ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)
# Between which two of the three states: desired, live and running.
DESIRED, RUNNING = "desired-live", "live-running"

# Controllers write fields of their own into objects of others, under these names. Patterns as in a shell.
CONTROLLERS = (
    "kube-controller-manager",
    "kube-scheduler",
    "kube-apiserver",
    "kubelet",
    "cloud-controller-manager",
    "*-cloud-controller-manager",
    "keda",
    "keda-*",
    "cert-manager*",
    "cainjector",
    "traefik",
    "nginx-ingress-controller",
    "haproxy-ingress*",
    "envoy-gateway*",
    "istio*",
    "pilot-discovery",
    "cilium-operator*",
    "csi-*",
    "external-*",
    "*-provisioner",
    "openshift-*",
    "cluster-policy-controller",
    "service-ca-operator",
    "route-controller-manager",
)
# MetalLB has such a common name that it is trusted with Services alone. Rancher is not: people edit by it.
_SERVICE_CONTROLLERS = ("controller",)
# Longer ones of a list are counted: a report is read by people.
_PATHS_SHOWN = 12
# By what entries of a list are known, as the API server merges them; the first one that all entries have counts.
_MERGE_KEYS = (
    ("name",),
    ("containerPort", "protocol"),
    ("port", "protocol"),
    ("mountPath",),
    ("topologyKey", "whenUnsatisfiable"),
    ("ip",),
    ("uid",),
    ("type",),
)


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


# A field that one side does not have; None is a value.
MISSING: t.Any = _Missing()


class Entry(t.NamedTuple):
    """One entry of a list, on the way to a field: by what it is known, the entry itself, and its position."""

    keys: tuple[tuple[str, t.Any], ...]
    value: t.Any
    position: int


Step: t.TypeAlias = "str | Entry"
Path: t.TypeAlias = "tuple[Step, ...]"


class Difference(t.NamedTuple):
    """One field with two values, or MISSING."""

    path: Path
    before: t.Any
    after: t.Any


def differences(before: t.Any, after: t.Any, path: Path = ()) -> Iterator[Difference]:
    """Every field that differs, as deep as it can be told apart."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            left, right = before.get(key, MISSING), after.get(key, MISSING)
            if left != right:
                yield from differences(left, right, (*path, str(key)))
        return
    if isinstance(before, list) and isinstance(after, list) and before != after:
        keys = _merge_keys(before, after)
        if keys:
            yield from _entries(before, after, keys, path)
            return
    if before is MISSING or after is MISSING or before != after:
        yield Difference(path, before, after)


def _merge_keys(before: Sequence[t.Any], after: Sequence[t.Any]) -> tuple[str, ...]:
    for keys in _MERGE_KEYS:
        if all(_distinct(side, keys) for side in (before, after)):
            return keys
    return ()


def _distinct(side: Sequence[t.Any], keys: Sequence[str]) -> bool:
    if not all(isinstance(entry, Mapping) and keys[0] in entry for entry in side):
        return False
    known = [_known(entry, keys) for entry in side]
    return len({json.dumps(each, default=str) for each in known}) == len(known)


def _known(entry: Object, keys: Sequence[str]) -> tuple[tuple[str, t.Any], ...]:
    return tuple((key, entry[key]) for key in keys if key in entry)


def _entries(before: Sequence[t.Any], after: Sequence[t.Any], keys: Sequence[str], path: Path) -> Iterator[Difference]:
    left = {_known(entry, keys): (position, entry) for position, entry in enumerate(before)}
    right = {_known(entry, keys): (position, entry) for position, entry in enumerate(after)}
    found = False
    for known in [*left, *(known for known in right if known not in left)]:
        position, entry = left.get(known) or right[known]
        old, new = left.get(known, (0, MISSING))[1], right.get(known, (0, MISSING))[1]
        if old != new:
            found = True
            yield from differences(old, new, (*path, Entry(known, entry, position)))
    if not found:
        # The same entries in another order.
        yield Difference(path, list(before), list(after))


def text_of(path: Path) -> str:
    """A path as people write it: spec.template.spec.containers[triton].image."""
    text = ""
    for step in path:
        if isinstance(step, Entry):
            text += f"[{', '.join(str(value) for _key, value in step.keys)}]"
        elif "." in step or "/" in step:
            text += f'["{step}"]'
        else:
            text += f".{step}" if text else step
    return text


# ---- who -------------------------------------------------------------------------------------------------------------
def writers(live: Object) -> list[Mapping[str, t.Any]]:
    """The managers that set fields of an object, without those of its status."""
    entries = (live.get("metadata") or {}).get("managedFields") or []
    return [entry for entry in entries if entry.get("subresource") != "status"]


def owners(live: Object, path: Path) -> list[Mapping[str, t.Any]]:
    """The managers that set a field, or a field below it."""
    return [entry for entry in writers(live) if resolve(entry.get("fieldsV1") or {}, path) is not None]


def is_ours(entry: Mapping[str, t.Any], manager: str = TOOL) -> bool:
    """Whether an entry of managedFields is from applying the inventory, not from another tool of this collection."""
    return entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource")


def is_trusted(entry: Mapping[str, t.Any], trusted: Iterable[str] = (), kind: str = "") -> bool:
    """A controller, a tool of this collection, or somebody whom the site trusts with fields of its own.

    kind: of the object, where it matters.
    """
    name = str(entry.get("manager") or "")
    return (
        name == TOOL
        or (kind == "Service" and name in _SERVICE_CONTROLLERS)
        or name.startswith(f"{TOOL}.")
        or any(fnmatch.fnmatchcase(name, pattern) for pattern in (*CONTROLLERS, *trusted))
    )


def author(entry: Mapping[str, t.Any]) -> dict[str, str]:
    """An entry of managedFields as results have it."""
    return {
        "manager": str(entry.get("manager") or "unknown"),
        "operation": str(entry.get("operation") or ""),
        "subresource": str(entry.get("subresource") or ""),
        "time": str(entry.get("time") or ""),
    }


def latest(entries: Iterable[Mapping[str, t.Any]]) -> list[dict[str, str]]:
    """Authors, the latest first."""
    return sorted((author(entry) for entry in entries), key=lambda each: each["time"], reverse=True)


def resolve(fields: Mapping[str, t.Any], path: Path) -> tuple[str, ...] | None:
    """The keys of fieldsV1 that lead to a field; fewer where the whole of it is owned at once, None where it is not."""
    node: t.Any = fields
    keys: tuple[str, ...] = ()
    for step in path:
        if keys and not node:
            # An atomic list or mapping.
            return keys
        key = f"f:{step}" if isinstance(step, str) else _item(node, step)
        if key is None or key not in node:
            return None
        node, keys = node[key], (*keys, key)
    return keys


def _item(node: Mapping[str, t.Any], step: Entry) -> str | None:
    for key in node:
        kind, _colon, text = key.partition(":")
        if kind == "k" and isinstance(step.value, Mapping):
            wanted = json.loads(text)
            if all(step.value.get(name) == value for name, value in wanted.items()):
                return str(key)
        elif (kind == "v" and json.loads(text) == step.value) or (kind == "i" and int(text) == step.position):
            return str(key)
    return None


def leaves(fields: Mapping[str, t.Any], keys: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every field that an entry owns, as the keys of fieldsV1."""
    for key, below in fields.items():
        if key == ".":
            continue
        if below and set(below) != {"."}:
            yield from leaves(below, (*keys, key))
        else:
            yield (*keys, key)


def text_of_keys(keys: Sequence[str]) -> str:
    """Keys of fieldsV1 as people write a path."""
    text = ""
    for key in keys:
        kind, _colon, name = key.partition(":")
        if kind == "f":
            text += f'["{name}"]' if "." in name or "/" in name else f".{name}" if text else name
        elif kind == "k":
            text += f"[{', '.join(str(value) for value in json.loads(name).values())}]"
        else:
            text += f"[{name}]"
    return text


def foreign(
    live: Object, manager: str, differing: Iterable[Path], trusted: Iterable[str]
) -> Iterator[tuple[Mapping[str, t.Any], list[str]]]:
    """Fields that somebody else has added, by who did it; those that differ are told by themselves."""
    mine = next((entry.get("fieldsV1") or {} for entry in writers(live) if is_ours(entry, manager)), {})
    ours = set(leaves(mine))
    paths = list(differing)
    for entry in writers(live):
        # A number of replicas is told where it differs, and of whom where an autoscaler decides.
        if is_ours(entry, manager) or entry.get("subresource") == "scale":
            continue
        if is_trusted(entry, trusted, str(live.get("kind", ""))):
            continue
        fields = entry.get("fieldsV1") or {}
        told = [keys for path in paths if (keys := resolve(fields, path)) is not None]
        added = [
            text_of_keys(keys)
            for keys in leaves(fields)
            if keys not in ours and not any(keys[: len(prefix)] == prefix for prefix in told)
        ]
        # What identifies an entry of a list comes with every field of it.
        if added:
            yield entry, sorted(added)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, the first ones."""
    more = len(names) - _PATHS_SHOWN
    return ", ".join(names[:_PATHS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def by(authors: Sequence[Mapping[str, str]]) -> str:
    """By whom, in a sentence; empty when nobody is known."""
    named = []
    for each in authors:
        how = each["operation"].lower() + (f" of {each['subresource']}" if each["subresource"] else "")
        named.append(f"{each['manager']} ({how})" + (f" at {each['time']}" if each["time"] else ""))
    return ", ".join(named)


def finding(
    severity: str,
    between: str,
    kind: str,
    what: str,
    text: str,
    remedy: str = "",
    **more: t.Any,
) -> Finding:
    """One line of a report. more: field, desired, live, running, by (authors)."""
    return {
        "severity": severity,
        "between": between,
        "kind": kind,
        "object": what,
        "field": str(more.pop("field", "")),
        "text": text,
        "remedy": remedy,
        "by": list(more.pop("by", ())),
        **more,
    }
