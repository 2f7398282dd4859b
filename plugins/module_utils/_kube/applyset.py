# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kubernetes ApplySets (KEP-3659): labels in the cluster record which objects belong to a set.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

The parent of a set is a ConfigMap beside its objects. It lists the kinds and namespaces in which members may be; the
members carry a label with its id. The list is widened before and narrowed after the objects change, so that a run that
is killed at any moment leaves no member that a later run would not find.
"""

from __future__ import annotations

import base64
import hashlib
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import GroupKind

ID_LABEL = "applyset.kubernetes.io/id"
PART_OF_LABEL = "applyset.kubernetes.io/part-of"
TOOLING = "applyset.kubernetes.io/tooling"
GROUP_KINDS = "applyset.kubernetes.io/contains-group-kinds"
NAMESPACES = "applyset.kubernetes.io/additional-namespaces"
TOOL = "fastml.supersonic"
# The format of what is kept here, not the collection's version: a new release must not touch every set.
_TOOLING_VALUE = f"{TOOL}/v1"


@dataclass(frozen=True)
class ApplySet:
    """One set, by name and namespace."""

    name: str
    namespace: str

    @property
    def parent_name(self) -> str:
        return f"{self.name}-applyset"

    @property
    def id(self) -> str:
        """As the KEP defines it, from the parent's name, namespace, kind and group."""
        text = f"{self.parent_name}.{self.namespace}.ConfigMap."
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        return f"applyset-{digest}-v1"

    @property
    def parent_path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/configmaps/{self.parent_name}"

    @property
    def selector(self) -> str:
        return f"{PART_OF_LABEL}={self.id}"

    def parent(self, scope: Scope) -> dict[str, t.Any]:
        """The parent object that says where members may be."""
        annotations = {TOOLING: _TOOLING_VALUE, GROUP_KINDS: ",".join(sorted(map(str, scope.kinds)))}
        others = sorted(scope.namespaces - {self.namespace})
        if others:
            annotations[NAMESPACES] = ",".join(others)
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self.parent_name,
                "namespace": self.namespace,
                "labels": {ID_LABEL: self.id, "app.kubernetes.io/managed-by": TOOL},
                "annotations": annotations,
            },
        }

    def read_parent(self, parent: Mapping[str, t.Any] | None) -> Scope:
        """The kinds and namespaces of members by the live parent. Refuses a parent that belongs to another set."""
        if parent is None:
            return Scope(frozenset(), frozenset())
        metadata = parent["metadata"]
        labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
        where = f"ConfigMap/{self.parent_name} in namespace {self.namespace}"
        if ID_LABEL not in labels:
            raise SupersonicError(
                f"{where} is needed to keep track of the set '{self.name}', but it is there already and is something "
                "else. Give the set another name, or remove that ConfigMap."
            )
        tool = str(annotations.get(TOOLING, "")).rpartition("/")[0]
        if tool != TOOL:
            raise SupersonicError(
                f"{where} is the set of another tool ({tool or 'unknown'}), which would not know of changes made here. "
                "Give the set another name, or remove it with that tool."
            )
        if labels[ID_LABEL] != self.id:
            raise SupersonicError(
                f"{where} has the id {labels[ID_LABEL]} instead of {self.id}: it was copied from elsewhere. "
                "Correct its label, or give the set another name."
            )
        kinds = (text.strip() for text in annotations.get(GROUP_KINDS, "").split(","))
        namespaces = (text.strip() for text in annotations.get(NAMESPACES, "").split(","))
        return Scope(frozenset(GroupKind.parse(text) for text in kinds if text), frozenset(filter(None, namespaces)))

    def check_member(self, label: str, live: Mapping[str, t.Any]) -> None:
        """Refuse to take an object from another set."""
        other = (live["metadata"].get("labels") or {}).get(PART_OF_LABEL)
        if other and other != self.id:
            raise SupersonicError(
                f"{label} belongs to another set ({other}). Remove it from there first, or give it another name."
            )


@dataclass(frozen=True)
class Scope:
    """Kinds and namespaces in which members of a set may be."""

    kinds: frozenset[GroupKind]
    namespaces: frozenset[str]

    @classmethod
    def of(cls, members: Iterable[tuple[GroupKind, str | None]]) -> Scope:
        pairs = list(members)
        return cls(frozenset(kind for kind, _ns in pairs), frozenset(ns for _kind, ns in pairs if ns))

    def __or__(self, other: Scope) -> Scope:
        return Scope(self.kinds | other.kinds, self.namespaces | other.namespaces)


def with_label(definition: Mapping[str, t.Any], label: str) -> dict[str, t.Any]:
    """The definition as a member of the set with this id."""
    metadata = definition["metadata"]
    labels = {**(metadata.get("labels") or {}), PART_OF_LABEL: label}
    return {**definition, "metadata": {**metadata, "labels": labels}}
