# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.applyset import ApplySet, Scope, with_label
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import GroupKind

SET = ApplySet("triton", "cms")
MAPS, DEPLOYMENTS = GroupKind("", "ConfigMap"), GroupKind("apps", "Deployment")


def test_id_is_that_of_the_kep() -> None:
    """base64url(sha256("triton-applyset.cms.ConfigMap.")), which kubectl computes in the same way."""
    assert SET.id == "applyset-odKQPJJB6bMtv4z0HxKfWLCIUkdqwQNRIJY6uYjl0Vk-v1"
    assert SET.selector == f"applyset.kubernetes.io/part-of={SET.id}"
    # A label's value has at most 63 characters.
    assert len(ApplySet("x" * 200, "y" * 63).id) <= 63


def test_each_set_has_its_own_id() -> None:
    assert len({ApplySet(name, space).id for name in ("a", "b") for space in ("c", "d")}) == 4


def test_parent_round_trip() -> None:
    scope = Scope.of([(DEPLOYMENTS, "cms"), (MAPS, "cms"), (MAPS, "other"), (GroupKind("", "Namespace"), None)])
    parent = SET.parent(scope)
    annotations = parent["metadata"]["annotations"]
    assert annotations["applyset.kubernetes.io/contains-group-kinds"] == "ConfigMap,Deployment.apps,Namespace"
    assert annotations["applyset.kubernetes.io/additional-namespaces"] == "other"
    read = SET.read_parent(parent)
    assert read.kinds == scope.kinds
    assert read.namespaces | {"cms"} == scope.namespaces


def test_no_parent_no_scope() -> None:
    assert SET.read_parent(None) == Scope(frozenset(), frozenset())


def test_scopes_add_up() -> None:
    both = Scope.of([(MAPS, "a")]) | Scope.of([(DEPLOYMENTS, "b")])
    assert both == Scope(frozenset({MAPS, DEPLOYMENTS}), frozenset({"a", "b"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": {}}, "ConfigMap/triton-applyset in namespace cms is needed to keep track of the set 'triton'"),
        ({"labels": None}, "is something else"),
        ({"annotations": {}}, "is the set of another tool (unknown)"),
        ({"annotations": {"applyset.kubernetes.io/tooling": "kubectl/v1.34.4"}}, "another tool (kubectl)"),
        ({"labels": {"applyset.kubernetes.io/id": "applyset-other-v1"}}, "has the id applyset-other-v1 instead of"),
    ],
)
def test_parent_of_somebody_else(change: dict[str, Any], message: str) -> None:
    parent = SET.parent(Scope.of([(MAPS, "cms")]))
    parent["metadata"].update(change)
    with pytest.raises(SupersonicError) as caught:
        SET.read_parent(parent)
    assert message in str(caught.value)


def test_members() -> None:
    mine = with_label({"kind": "ConfigMap", "metadata": {"name": "a", "labels": {"x": "y"}}}, SET.id)
    assert mine["metadata"]["labels"] == {"x": "y", "applyset.kubernetes.io/part-of": SET.id}
    SET.check_member("ConfigMap/a", mine)
    SET.check_member("ConfigMap/a", {"metadata": {"name": "a"}})
    theirs = with_label({"metadata": {"name": "a"}}, ApplySet("envoy", "cms").id)
    with pytest.raises(SupersonicError, match="ConfigMap/a belongs to another set"):
        SET.check_member("ConfigMap/a", theirs)
