# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is an instance's, what may be left of it, and what becomes of its data."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._instance import owned_objects
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.applyset import (
    ID_LABEL,
    PART_OF_LABEL,
    ApplySet,
    Scope,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import (
    CONFIG_MAP,
    DEPLOYMENT,
    POD,
    PVC,
    REPLICA_SET,
    SECRET,
    GroupKind,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store_pod import CLAIM_LABEL, claim_label

HPA = GroupKind("autoscaling", "HorizontalPodAutoscaler")
MINE = {"app.kubernetes.io/instance": "main", "app.kubernetes.io/part-of": "supersonic"}
MODELS = ApplySet("main-models", "cms")


def item(kind: GroupKind, name: str, *, owner: str = "", **metadata: Any) -> tuple[GroupKind, dict[str, Any]]:
    owners = [{"uid": owner, "kind": "Owner", "name": owner, "controller": True}] if owner else []
    return kind, {"metadata": {"name": name, "uid": name, "ownerReferences": owners, **metadata}}


def of(*every: tuple[GroupKind, dict[str, Any]], claims: tuple[str, ...] = ()) -> dict[str, str]:
    return {found.name: found.by for found in owned_objects._ours(every, "cms", "main", claims)}


@pytest.mark.parametrize(
    ("one", "by"),
    [
        (item(DEPLOYMENT, "a", labels=MINE), "its labels say so"),
        (item(DEPLOYMENT, "a", labels={**MINE, "app.kubernetes.io/instance": "other"}), None),
        # Somebody else's chart for an instance of that name.
        (item(DEPLOYMENT, "a", labels={"app.kubernetes.io/instance": "main", "app.kubernetes.io/part-of": "x"}), None),
        (item(SECRET, "a", labels={PART_OF_LABEL: MODELS.id}), "it is of the set main-models"),
        ((CONFIG_MAP, {**MODELS.parent(Scope(frozenset(), frozenset()))}), "it is the set main-models"),
        (item(CONFIG_MAP, "a", labels={ID_LABEL: MODELS.id}), None),
        (item(PVC, "main-models"), "the naming contract says so"),
        (item(HPA, "keda-hpa-main-triton"), "the naming contract says so"),
        # An instance of that name is not this one.
        (item(DEPLOYMENT, "main-triton", labels={"app.kubernetes.io/instance": "main-triton"}), None),
        (item(PVC, "main-data"), None),
        (item(PVC, "given"), "the inventory names it"),
        (item(POD, "p", labels={CLAIM_LABEL: claim_label("main-models")}), "it publishes to the instance's claim"),
        (
            item(SECRET, "t", annotations={"cert-manager.io/certificate-name": "main-envoy"}),
            "cert-manager has made it for a Certificate of the instance",
        ),
        (item(SECRET, "kube-root-ca.crt"), None),
    ],
)
def test_whose_an_object_is(one: tuple[GroupKind, dict[str, Any]], by: str | None) -> None:
    found = of(one, claims=("given",))
    assert list(found.values()) == ([] if by is None else [by])


def test_what_ours_own_is_ours() -> None:
    found = of(
        item(POD, "pod", owner="rs"),
        item(REPLICA_SET, "rs", owner="deployment"),
        item(DEPLOYMENT, "deployment", labels=MINE),
        item(POD, "other", owner="unknown"),
    )
    assert found == {
        "deployment": "its labels say so",
        "rs": "it is of Deployment.apps/deployment",
        "pod": "it is of ReplicaSet.apps/rs",
    }


def objects(*every: tuple[GroupKind, dict[str, Any]]) -> list[owned_objects.Ours]:
    return owned_objects._ours(every, "cms", "main", ("used",))


def test_claims_stay_with_their_set_unless_that_is_said() -> None:
    component = "app.kubernetes.io/component"
    claim = item(PVC, "main-models", labels={**MINE, component: "model-repository", PART_OF_LABEL: MODELS.id})
    parent = (CONFIG_MAP, MODELS.parent(Scope(frozenset({PVC}), frozenset())))
    recorded = item(PVC, "main-prometheus", labels={**MINE, component: "prometheus"})
    every = objects(claim, parent, recorded, item(PVC, "used"), item(DEPLOYMENT, "main-triton", labels=MINE))
    left = owned_objects.judge(every, ["model-repository"], ["used"])
    assert {one.name for one in left.kept} == {"main-models", "main-models-applyset", "used"}
    assert {one.name for one in left.stray} == {"main-prometheus", "main-triton"}
    left = owned_objects.judge(every, [], ["used"])
    assert {one.name for one in left.kept} == {"used"}


@pytest.mark.parametrize(
    ("note", "why"),
    [
        ('{"selector": {}, "finished": true}', "migrate_action=finish with migrate_keep_address=false"),
        ('{"selector": {}}', "first lead them back by migrate.yml, migrate_action=back"),
    ],
)
def test_the_address_of_a_releases_clients_stays_and_is_told(note: str, why: str) -> None:
    """It is in no set of ours, so that no removal would ever take it away."""
    service, ingress = GroupKind("", "Service"), GroupKind("networking.k8s.io", "Ingress")
    labels = {"app.kubernetes.io/instance": "main" if "finished" in note else "sonic"}
    notes = {owned_objects.TAKEN_OVER: note}
    kind, led = item(service, "sonic", labels=labels, annotations=notes)
    led["spec"] = {"selector": {"app.kubernetes.io/instance": "main"}}
    points = item(GroupKind("discovery.k8s.io", "EndpointSlice"), "sonic-x", owner="sonic")
    every = [(kind, led), points, item(DEPLOYMENT, "main-triton", labels=MINE)]
    if "finished" in note:
        every.append(item(ingress, "sonic-ingress-grpc", labels=labels, annotations=notes))
    # Another instance's.
    every.append(item(ingress, "a", labels={"app.kubernetes.io/instance": "other"}, annotations=notes))
    # An instance of that name has made it its own since.
    in_set = {PART_OF_LABEL: ApplySet("main-envoy", "cms").id}
    every.append(item(service, "main", labels={**labels, **in_set}, annotations=notes))
    left = owned_objects.judge(objects(*every), [])
    assert {one.name for one in left.stray} == {"main-triton", "main"}
    kept = {one.name: one for one in left.kept}
    assert set(kept) == {"sonic", "sonic-x"} | ({"sonic-ingress-grpc"} if "finished" in note else set())
    # As teardown.yml knows it.
    assert kept["sonic"].by.startswith("clients of a Helm release")
    assert why in owned_objects.why_left(kept["sonic"])


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (
            item(POD, "a", labels=MINE, deletionTimestamp="t", finalizers=["keda"]),
            "is being deleted and waits for keda",
        ),
        (item(POD, "a", labels=MINE, deletionTimestamp="t"), "it is being deleted"),
        (item(POD, "a", labels=MINE, owner="rs"), "its Owner rs has it"),
        (item(POD, "a", labels=MINE), "it is in no set of ours"),
        (item(SECRET, "a", labels={**MINE, PART_OF_LABEL: MODELS.id}), "nobody has removed it"),
        (item(POD, "a", labels={CLAIM_LABEL: claim_label("main-models")}), "a publication that was killed has left it"),
    ],
)
def test_why_something_is_left(one: tuple[GroupKind, dict[str, Any]], why: str) -> None:
    (found,) = objects(one)
    assert why in owned_objects.why_left(found)


@pytest.mark.parametrize(
    ("volume", "policy", "said"),
    [
        ("", "", "has no volume yet"),
        ("pv1", "Delete", "its volume pv1 and all data in it are destroyed (reclaim policy Delete)"),
        ("pv1", "Retain", "its volume pv1 stays in the cluster, and the data in it"),
        ("pv1", "", "may be destroyed: its reclaim policy cannot be looked at"),
        ("pv1", "Recycle", "goes by the reclaim policy Recycle"),
    ],
)
def test_what_becomes_of_data(volume: str, policy: str, said: str) -> None:
    assert said in owned_objects.Volume("main-models", volume, policy, "fast").sentence


def test_what_is_on_its_way_out_is_waited_for() -> None:
    every = [objects(item(POD, "a", labels=MINE, owner="rs")), []]

    def ask() -> owned_objects.Look:
        return owned_objects.Look(every.pop(0), {})

    _seen, left = owned_objects.wait_gone(ask, lambda seen: owned_objects.judge(seen.objects, []), 5, pause=0)
    assert not left.stray
    assert not every
    # What nobody has owned or deleted does not go by itself.
    every = [objects(item(POD, "a", labels=MINE))]
    _seen, left = owned_objects.wait_gone(ask, lambda seen: owned_objects.judge(seen.objects, []), 5, pause=0)
    assert len(left.stray) == 1


def test_a_claim_that_is_being_deleted_does_not_stay() -> None:
    going = item(PVC, "used", deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["kubernetes.io/pvc-protection"])
    left = owned_objects.judge(objects(going), [], ["used"])
    assert ([one.name for one in left.kept], [one.name for one in left.stray]) == ([], ["used"])
