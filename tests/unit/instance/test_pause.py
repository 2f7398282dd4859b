# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds servers, who is not overruled, and that runs of playbooks leave it alone. KEDA itself is on a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import pause, pause_annotations
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.pause_annotations import (
    PAUSED,
    PAUSED_REPLICAS,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import ApiError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.desired_objects import Key
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.replicas import (
    BEFORE_BENCHMARK,
    BEFORE_DRAIN,
    BEFORE_PAUSE,
    held,
    holds_replicas,
)
from ansible_collections.fastml.supersonic.tests.harness.fake_api import SCALED_OBJECT, FakeApi

KEDA = pause.Place("/s", "ScaledObject cms/main-triton", keda=True)
STATIC = pause.Place("/d", "Deployment cms/main-triton", keda=False)
WHOSE = {"since": "2026-01-01T00:00:00Z", "reason": "storage"}


def live(replicas: int = 3, **annotations: str) -> dict[str, Any]:
    return {"metadata": {"name": "main-triton", "annotations": annotations}, "spec": {"replicas": replicas}}


@pytest.mark.parametrize(
    ("place", "servers", "spec", "annotations"),
    [
        (KEDA, 4, None, {PAUSED_REPLICAS: "4", PAUSED: None}),
        (KEDA, 0, None, {PAUSED_REPLICAS: "0", PAUSED: None}),
        (KEDA, None, None, {PAUSED_REPLICAS: None, PAUSED: "true"}),
        (STATIC, 0, {"replicas": 0}, {}),
        (STATIC, None, None, {}),
    ],
)
def test_what_is_changed_and_put_back(
    place: pause.Place, servers: int | None, spec: Any, annotations: dict[str, Any]
) -> None:
    before = live()
    change = pause.change_of(before, place, servers, WHOSE)
    assert change.get("spec") == spec
    noted = {name: value for name, value in change["metadata"]["annotations"].items() if name != BEFORE_PAUSE}
    assert noted == annotations
    during = live(servers or 3, **{k: v for k, v in change["metadata"]["annotations"].items() if v is not None})
    assert pause_annotations.note(during, pause_annotations.PAUSE)["reason"] == "storage"  # type: ignore[index]
    # A second one does not take what the first one has made for what was there.
    again = pause.change_of(during, place, 7, WHOSE)
    during["metadata"]["annotations"].update({k: v for k, v in again["metadata"]["annotations"].items() if v})
    back = pause_annotations.restored(during, pause_annotations.PAUSE)
    assert back
    if place.keda:
        assert back["metadata"]["annotations"] == {PAUSED_REPLICAS: None, PAUSED: None, BEFORE_PAUSE: None}
    else:
        assert back == {"metadata": {"annotations": {BEFORE_PAUSE: None}}, "spec": {"replicas": 3}}


@pytest.mark.parametrize(
    ("place", "annotations", "message"),
    [
        (KEDA, {}, None),
        (STATIC, {PAUSED: "true"}, None),
        (KEDA, {PAUSED: "true", BEFORE_PAUSE: "{}"}, None),
        (KEDA, {PAUSED: "true"}, "If the inventory says so, change autoscaler_paused"),
        (KEDA, {PAUSED_REPLICAS: "2"}, "is paused already, and not by this"),
        (STATIC, {BEFORE_BENCHMARK: "{}"}, "a benchmark holds .* benchmark_mode=restore"),
        (KEDA, {BEFORE_DRAIN: "{}"}, "a drain is under way, .* drain_action=uncordon"),
    ],
)
def test_who_is_not_overruled(place: pause.Place, annotations: dict[str, str], message: str | None) -> None:
    if message is None:
        pause.check_free(live(**annotations), place)
        return
    with pytest.raises(SupersonicError, match=message):
        pause.check_free(live(**annotations), place)


@pytest.mark.parametrize(
    ("annotations", "said", "holds"),
    [
        ({}, [], False),
        ({BEFORE_PAUSE: "{}"}, ["an operator has paused .*resume.yml"], True),
        ({BEFORE_DRAIN: "{}"}, ["a drain has added replicas"], True),
        ({BEFORE_BENCHMARK: "{}"}, ["a benchmark holds"], True),
        ({BEFORE_BENCHMARK: "{}", BEFORE_PAUSE: "{}"}, ["a benchmark holds", "an operator has paused"], True),
    ],
)
def test_runs_leave_it_alone_and_say_so(annotations: dict[str, str], said: list[str], holds: bool) -> None:
    found = held(Key("apps", "Deployment", "cms", "main-triton"), live(**annotations))
    assert len(found) == len(said)
    assert all(re.search(pattern, text) for pattern, text in zip(said, found, strict=True)), found
    assert holds_replicas(live(**annotations)) is holds


SPACE = "/namespaces/cms"
DEPLOYMENT = f"/apis/apps/v1{SPACE}/deployments/main-triton"
SCALER = f"/apis/keda.sh/v1alpha1{SPACE}/scaledobjects/main-triton"


def settle(api: FakeApi) -> None:
    """Pods come and go at once."""
    with api.changed(DEPLOYMENT) as deployment:
        replicas = deployment["spec"]["replicas"]
        deployment["status"] = {"replicas": replicas, "readyReplicas": replicas}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """A cluster with a Deployment whose pods come and go at once."""
    with FakeApi(SCALED_OBJECT) as found:
        found.put(DEPLOYMENT, live())
        found.controllers.append(lambda: settle(found))
        settle(found)
        yield found


def managed(api: FakeApi, *managers: tuple[str, str]) -> None:
    with api.changed(DEPLOYMENT) as deployment:
        deployment["metadata"]["managedFields"] = [
            {"manager": manager, "subresource": subresource, "fieldsV1": {"f:spec": {"f:replicas": {}}}}
            for manager, subresource in managers
        ]


def test_without_the_right_to_list_autoscalers(api: FakeApi) -> None:
    """Whoever has the Role of an instance that has none pauses it, and is told what is not known."""
    api.may = lambda _verb, resource, _space: resource not in ("scaledobjects", "horizontalpodautoscalers")
    kinds = "ScaledObjects and HorizontalPodAutoscalers"
    managed(api, ("fastml.supersonic", ""), ("kubectl", "scale"))
    result = pause.pause(api.client(), "cms", "main", pause.Wanted(0, check=True))
    assert result["changed"]
    assert kinds in result["warnings"][0]
    assert api.changes == []
    for manager in ("kube-controller-manager", "keda-operator"):
        managed(api, (manager, "scale"))
        with pytest.raises(SupersonicError, match=f"{manager} has set the replicas .* we may not list {kinds}"):
            pause.place_of(api.client(), "cms", "main")


def scale(api: FakeApi, replicas: int) -> None:
    with api.changed(DEPLOYMENT) as deployment:
        deployment["spec"]["replicas"] = replicas


def test_what_changes_while_servers_are_held_is_what_comes_back(api: FakeApi) -> None:
    """The Deployment is scaled at the same moment."""
    api.meanwhile("PATCH", DEPLOYMENT, lambda: scale(api, 5))
    pause.pause(api.client(), "cms", "main", pause.Wanted(0))
    assert api.objects[DEPLOYMENT]["spec"]["replicas"] == 0
    resumed = pause.resume(api.client(), "cms", "main", pause.Wanted(None))
    assert (resumed["changed"], resumed["servers"]) == (True, 5)
    assert api.objects[DEPLOYMENT]["spec"]["replicas"] == 5
    assert api.objects[DEPLOYMENT]["metadata"]["annotations"] == {}


def test_an_autoscaler_is_paused_as_it_is_now(api: FakeApi) -> None:
    """It is paused at a number at the same moment; that number comes back."""
    api.put(SCALER, {"metadata": {"annotations": {}}, "spec": {"scaleTargetRef": {"name": "main-triton"}}})

    def pause_at_two() -> None:
        with api.changed(SCALER) as scaler:
            scaler["metadata"]["annotations"][PAUSED_REPLICAS] = "2"

    api.meanwhile("PATCH", SCALER, pause_at_two)
    pause.pause(api.client(), "cms", "main", pause.Wanted(None))
    assert set(api.objects[SCALER]["metadata"]["annotations"]) == {PAUSED, BEFORE_PAUSE}
    pause.resume(api.client(), "cms", "main", pause.Wanted(None))
    assert api.objects[SCALER]["metadata"]["annotations"] == {PAUSED_REPLICAS: "2"}


def test_an_object_that_changes_all_the_time_is_not_held(api: FakeApi) -> None:
    for number in range(5):
        api.meanwhile("PATCH", DEPLOYMENT, lambda number=number: scale(api, 10 + number))  # type: ignore[misc]
    with pytest.raises(ApiError, match="the resourceVersion is"):
        pause.pause(api.client(), "cms", "main", pause.Wanted(0, seconds=1.0))
    assert api.objects[DEPLOYMENT]["spec"]["replicas"] == 14
    assert api.objects[DEPLOYMENT]["metadata"]["annotations"] == {}


def test_nothing_is_held_where_nothing_is() -> None:
    assert not holds_replicas(None)
    assert not holds_replicas({"metadata": {}})
