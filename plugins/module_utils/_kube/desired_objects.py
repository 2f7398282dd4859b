# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parses, validates and normalizes the definitions that a user wants to apply.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import base64
import binascii
import copy
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import (
    SECRET,
    GroupKind,
    Resource,
)

_OWN_LABELS = "applyset.kubernetes.io/"


class Key(t.NamedTuple):
    """The identity of an object. namespace None: not namespaced."""

    group: str
    kind: str
    namespace: str | None
    name: str

    @property
    def group_kind(self) -> GroupKind:
        return GroupKind(self.group, self.kind)

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Wanted:
    """One checked definition."""

    key: Key
    resource: Resource
    definition: dict[str, t.Any]

    @property
    def path(self) -> str:
        return self.resource.path(self.key.namespace, self.key.name)


@dataclass(frozen=True)
class Item:
    """One definition whose kind has not been looked up yet."""

    position: int
    group: str
    version: str
    definition: dict[str, t.Any]

    @property
    def kind(self) -> str:
        return str(self.definition["kind"])

    @property
    def name(self) -> str:
        return str(self.definition["metadata"]["name"])

    @property
    def group_kind(self) -> GroupKind:
        return GroupKind(self.group, self.kind)

    @property
    def label(self) -> str:
        return f"definitions[{self.position}] ({self.kind}/{self.name})"


def read(definitions: Sequence[t.Any]) -> list[Item]:
    """Check the form of every definition; all that is wrong is reported at once."""
    items: list[Item] = []
    wrong: list[str] = []
    for position, definition in enumerate(definitions):
        problem = _problem(definition)
        if problem:
            wrong.append(f"definitions[{position}]{_hint(definition)}: {problem}")
            continue
        group, _slash, version = str(definition["apiVersion"]).rpartition("/")
        items.append(Item(position, group, version, _one_form(definition, GroupKind(group, definition["kind"]))))
    if wrong:
        raise SupersonicError("; ".join(wrong) + ".")
    return items


def place(
    items: Iterable[Item],
    resources: Mapping[int, Resource],
    namespace: str,
    additional: Sequence[str],
) -> list[Wanted]:
    """Give every item its namespace, and refuse those that are somewhere else or there twice."""
    wanted: dict[Key, tuple[Item, Wanted]] = {}
    wrong: list[str] = []
    for item in items:
        resource = resources[item.position]
        metadata = item.definition["metadata"]
        given = metadata.get("namespace")
        if not resource.namespaced and given:
            wrong.append(f"{item.label}: a {item.kind} belongs to no namespace; remove metadata.namespace")
            continue
        if resource.namespaced and given and given != namespace and given not in additional:
            wrong.append(
                f"{item.label}: it is in namespace '{given}', the set is in '{namespace}'; "
                f"correct it, or list '{given}' in additional_namespaces"
            )
            continue
        if resource.namespaced:
            metadata["namespace"] = given or namespace
        key = Key(item.group, item.kind, metadata.get("namespace"), item.name)
        if key in wanted:
            wrong.append(f"{item.label}: the same object is already in definitions[{wanted[key][0].position}]")
            continue
        wanted[key] = (item, Wanted(key, resource, item.definition))
    if wrong:
        raise SupersonicError("; ".join(wrong) + ".")
    return [entry for _item, entry in wanted.values()]


def _problem(definition: t.Any) -> str | None:
    if not isinstance(definition, dict):
        return f"a mapping is needed, this is {_article(definition)}"
    for field in ("apiVersion", "kind"):
        if not isinstance(definition.get(field), str) or not definition[field]:
            return f"{field} is missing" if not definition.get(field) else f"{field} must be a string"
    metadata = definition.get("metadata")
    if not isinstance(metadata, dict):
        return "metadata is missing" if metadata is None else "metadata must be a mapping"
    if definition["kind"].endswith("List") and "items" in definition:
        return "a list of objects is not accepted; give its items one by one"
    if metadata.get("generateName") and not metadata.get("name"):
        return "generateName cannot be used, a set needs fixed names; give metadata.name"
    if not isinstance(metadata.get("name"), str) or not metadata["name"]:
        return "metadata.name is missing" if metadata.get("name") in (None, "") else "metadata.name must be a string"
    if not isinstance(metadata.get("namespace") or "", str):
        return "metadata.namespace must be a string"
    for field in ("labels", "annotations"):
        problem = _texts(metadata.get(field), f"metadata.{field}")
        if problem:
            return problem
    reserved = [label for label in metadata.get("labels") or {} if label.startswith(_OWN_LABELS)]
    if reserved:
        return f"the label {reserved[0]} is kept by this module; remove it"
    group = str(definition["apiVersion"]).rpartition("/")[0]
    if GroupKind(group, definition["kind"]) == SECRET:
        # Checked here because the API server's own message would quote the value.
        problem = _texts(definition.get("data"), "data") or _texts(definition.get("stringData"), "stringData")
        return problem or _base64(definition.get("data") or {})
    return None


def _base64(data: Mapping[str, str]) -> str | None:
    for name, value in data.items():
        try:
            base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError):
            return f"data.{name} is not base64; plain text belongs in stringData"
    return None


def _texts(mapping: t.Any, where: str) -> str | None:
    if mapping is None:
        return None
    if not isinstance(mapping, dict):
        return f"{where} must be a mapping"
    for name, value in mapping.items():
        if not isinstance(value, str):
            return f"{where}.{name} must be a string, it is {_article(value)}; quote it"
    return None


def _article(value: t.Any) -> str:
    names: dict[type, str] = {
        type(None): "nothing",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "a mapping",
    }
    return next((name for kind, name in names.items() if isinstance(value, kind)), f"a {type(value).__name__}")


def _hint(definition: t.Any) -> str:
    if not isinstance(definition, dict):
        return ""
    metadata = definition.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    parts = [str(part) for part in (definition.get("kind"), name) if isinstance(part, str) and part]
    return f" ({'/'.join(parts)})" if parts else ""


def _one_form(definition: Mapping[str, t.Any], group_kind: GroupKind) -> dict[str, t.Any]:
    result = copy.deepcopy(dict(definition))
    # What only the server writes: a definition that was exported from a cluster still has it.
    result.pop("status", None)
    for field in ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"):
        result["metadata"].pop(field, None)
    for field in ("labels", "annotations"):
        # The server forgets an empty map that it creates, and has it owned as soon as a controller fills it: a change
        # on the second run.
        if not result["metadata"].get(field):
            result["metadata"].pop(field, None)
    if group_kind == SECRET and "stringData" in result:
        # stringData is write-only: with server-side apply a key removed from it would stay in data for ever.
        extra = {k: base64.b64encode(v.encode()).decode() for k, v in (result.pop("stringData") or {}).items()}
        result["data"] = {**(result.get("data") or {}), **extra}
    return result
