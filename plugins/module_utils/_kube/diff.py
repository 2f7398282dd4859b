# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares objects and renders the difference, with secrets masked.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import base64
import binascii
import copy
import hashlib
import hmac
import os
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.desired_objects import Key
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import SECRET

Object = dict[str, t.Any]

_SERVER_FIELDS = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink")
# kubectl and controllers keep whole copies of objects in annotations like this one, Secrets included.
_COPY_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
_OWNERSHIP = "(fields set by this manager)"
# Shorter values ("1", "true", "nrp") are everywhere in ordinary text; hiding them would only garble it.
_SHORTEST_TO_SCRUB = 6
_HIDDEN = "********"


class Mask:
    """Replaces secret values.

    A plain hash would let anybody who reads a log try likely passwords against it, so the digest is keyed with random
    bytes that live as long as one run: within one diff a change shows, and nothing can be tested afterwards.
    Object and key are part of the digest, so that two equal secrets do not look equal.
    """

    def __init__(self, definitions: Iterable[t.Any] = ()) -> None:
        self._key = os.urandom(32)
        self._values: list[str] = []
        for definition in definitions:
            self.learn(definition)

    def learn(self, definition: t.Any) -> None:
        """Remember the values of a Secret, in every form in which they can turn up in a text."""
        if not _is_secret(definition):
            return
        found = set(self._values)
        for part in ("data", "stringData"):
            values = definition.get(part)
            for value in values.values() if isinstance(values, dict) else ():
                plain = str(value)
                if part == "data":
                    found.add(plain)
                    plain = _decoded(plain)
                else:
                    found.add(base64.b64encode(plain.encode()).decode())
                found.add(plain)
                # Of a value with several lines (a key, a configuration) a log shows one at a time.
                found.update(line.strip() for line in plain.splitlines())
        self._values = sorted((v for v in found if len(v) >= _SHORTEST_TO_SCRUB), key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text without any secret value in it."""
        for value in self._values:
            text = text.replace(value, _HIDDEN)
        return text

    def deep(self, value: t.Any) -> t.Any:
        """The same for every text inside a structure."""
        if not self._values:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.deep(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [self.deep(entry) for entry in value]
        return value

    def object(self, value: Object) -> Object:
        """The object as it may be shown."""
        shown = copy.deepcopy(value)
        metadata = shown.get("metadata")
        name = (
            f"{(metadata or {}).get('namespace')}/{(metadata or {}).get('name')}" if isinstance(metadata, dict) else ""
        )
        if _is_secret(shown):
            for part in ("data", "stringData"):
                values = shown.get(part)
                if isinstance(values, dict):
                    shown[part] = {key: self._digest(f"{name}/{key}", str(entry)) for key, entry in values.items()}
                elif values is not None:
                    shown[part] = _HIDDEN
        annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
        if isinstance(annotations, dict) and _COPY_ANNOTATION in annotations:
            annotations[_COPY_ANNOTATION] = self._digest(name, str(annotations[_COPY_ANNOTATION]))
        return t.cast("Object", self.deep(shown))

    def _digest(self, where: str, value: str) -> str:
        digest = hmac.new(self._key, f"{where}\0{value}".encode(), hashlib.sha256).hexdigest()
        return f"(hidden, {digest[:10]})"


@dataclass
class Differences:
    """The one place that decides whether something changes: result, diff and check mode all read it."""

    mask: Mask
    entries: dict[Key, tuple[str, Object, Object]] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not self.entries

    def compare(self, key: Key, before: Object, after: Object, manager: str) -> bool:
        """Note how an object changes; False when it does not."""
        left, right = normalise(before), normalise(after)
        if left != right:
            left, right = changed_parts(self.mask.object(left), self.mask.object(right))
        else:
            had, has = owned(before, manager), owned(after, manager)
            if had == has:
                return False
            left = {_OWNERSHIP: [path for path in had if path not in has]}
            right = {_OWNERSHIP: [path for path in has if path not in had]}
        self._add(key, "changed", left, right)
        return True

    def create(self, key: Key, after: Object) -> None:
        self._add(key, "created", {}, self.mask.object(normalise(after)))

    def remove(self, key: Key, how: str) -> None:
        self._add(key, how, {"apiVersion": key.group or "v1", "kind": key.kind, "name": key.name}, {})

    def show(self, order: Iterable[Key]) -> list[dict[str, t.Any]]:
        """As Ansible's diff mode wants it."""
        shown = []
        for key in order:
            if key in self.entries:
                how, before, after = self.entries[key]
                header = f"{key} in {key.namespace}" if key.namespace else str(key)
                shown.append(
                    {"before_header": header, "after_header": f"{header} ({how})", "before": before, "after": after}
                )
        return shown

    def _add(self, key: Key, how: str, before: Object, after: Object) -> None:
        self.entries[key] = (how, before, after)


def normalise(value: Mapping[str, t.Any]) -> Object:
    """The object without what the server alone writes."""
    result = {key: entry for key, entry in value.items() if key != "status"}
    result["metadata"] = {k: v for k, v in (value.get("metadata") or {}).items() if k not in _SERVER_FIELDS}
    return result


def owned(value: Mapping[str, t.Any], manager: str) -> list[str]:
    """The fields that this manager has applied.

    They belong to the comparison: a field that has the wanted value without being ours would stay for ever
    when it is dropped from the definition.
    """
    for entry in (value.get("metadata") or {}).get("managedFields") or []:
        if entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource"):
            return sorted(_paths(entry.get("fieldsV1") or {}, ""))
    return []


def field_managers(value: Mapping[str, t.Any], *path: str) -> list[Mapping[str, t.Any]]:
    """The managedFields entries that contain a field, given as its names ("spec", "replicas")."""
    found = []
    for entry in (value.get("metadata") or {}).get("managedFields") or []:
        node = entry.get("fieldsV1")
        for name in path:
            node = node.get(f"f:{name}") if isinstance(node, dict) else None
        if node is not None:
            found.append(entry)
    return found


def changed_parts(before: t.Any, after: t.Any) -> tuple[t.Any, t.Any]:
    """Only what differs of two different values, with enough around it to know where it is."""
    if isinstance(before, dict) and isinstance(after, dict):
        left: Object = {}
        right: Object = {}
        for key in [*before, *(key for key in after if key not in before)]:
            if key in before and key in after:
                if before[key] != after[key]:
                    left[key], right[key] = changed_parts(before[key], after[key])
            elif key in before:
                left[key] = before[key]
            else:
                right[key] = after[key]
        for names in (left, right):
            # The entry of a list is recognised by its name.
            if "name" in before and before.get("name") == after.get("name"):
                names.setdefault("name", before["name"])
        return left, right
    if isinstance(before, list) and isinstance(after, list):
        return _changed_entries(before, after)
    return before, after


def _changed_entries(before: list[t.Any], after: list[t.Any]) -> tuple[list[t.Any], list[t.Any]]:
    names = [[entry.get("name") if isinstance(entry, dict) else None for entry in side] for side in (before, after)]
    if all(name and side.count(name) == 1 for side in names for name in side):
        right_by_name = dict(zip(names[1], after, strict=True))
        left_by_name = dict(zip(names[0], before, strict=True))
        left, right = [], []
        for name, entry in left_by_name.items():
            other = right_by_name.get(name)
            if other is None:
                left.append(entry)
            elif entry != other:
                one, two = changed_parts(entry, other)
                left.append(one)
                right.append(two)
        right += [entry for name, entry in right_by_name.items() if name not in left_by_name]
        if left or right:
            return left, right
    return before, after


def _paths(fields: Mapping[str, t.Any], prefix: str) -> list[str]:
    found: list[str] = []
    for name, below in fields.items():
        if name == ".":
            continue
        path = f"{prefix}.{name[2:]}" if name.startswith("f:") else f"{prefix}[{name[2:]}]"
        found += _paths(below, path) if below and set(below) != {"."} else [path]
    return found


def _is_secret(value: t.Any) -> bool:
    if not isinstance(value, dict):
        return False
    # A kind that is nearly right is treated as a Secret: it is refused later, and must not be shown in the refusal.
    return str(value.get("kind", "")).lower() == SECRET.kind.lower() and not str(value.get("apiVersion", "v1")).count(
        "/"
    )


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return value
