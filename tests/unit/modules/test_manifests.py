# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as Ansible calls it, as far as it gets without a cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.apply import Options
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.manifests import labels
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.replicas import BEFORE_BENCHMARK, BEFORE_PAUSE
from ansible_collections.fastml.supersonic.plugins.modules.manifests import ARGUMENT_SPEC
from ansible_collections.fastml.supersonic.tests.harness.fake_api import SCALED_OBJECT, FakeApi
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"p": "planted-value"}}
# Nobody listens there: what comes so far would have gone to the cluster.
NOWHERE = {"name": "set", "namespace": "n", "host": "http://127.0.0.1:9", "definitions": [CONFIG_MAP]}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens, and waiting for somebody to do so would only take time."""
    monkeypatch.setitem(Api.__init__.__kwdefaults__, "first_contact", 0.0)


def run(check: bool = False, **options: Any) -> dict[str, Any]:
    return run_module("manifests", {**NOWHERE, **options}, check=check)


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "Not A Name"}, "name 'Not A Name' cannot name a set"),
        ({"namespace": "UPPER"}, "namespace: 'UPPER' cannot be the name of a namespace"),
        ({"additional_namespaces": ["ok", "a.b"]}, "additional_namespaces: 'a.b' cannot be the name"),
        ({"wait_timeout": 0}, "wait_timeout is 0; at least 1 second is needed"),
        ({"field_manager": ""}, "field_manager must have 1 to 128 characters"),
        ({"definitions": []}, "The set 'set' has no definitions"),
        (
            {"definitions": [CONFIG_MAP, CONFIG_MAP]},
            "definitions[1] (ConfigMap/a): the same object is already in definitions[0]",
        ),
        ({"definitions": [{"kind": "Pod"}]}, "definitions[0] (Pod): apiVersion is missing"),
        ({"state": "gone"}, "value of state must be one of: present, absent"),
        ({"keep": ["PersistentVolumeClaims"]}, "value of keep must be one or more of"),
        ({"wait": "perhaps"}, "unable to convert to bool"),
        ({"definition": []}, "Unsupported parameters"),
        (
            {},
            "The Kubernetes API at http://127.0.0.1:9 (host http://127.0.0.1:9) cannot be reached: connection refused.",
        ),
    ],
)
def test_refused(options: dict[str, Any], message: str, check: bool) -> None:
    result = run(check, **options)
    assert result["failed"]
    assert message in result["msg"]
    assert not result.get("changed")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"wait": "perhaps"},
        {"unknown": "option"},
        {"definitions": [SECRET, {"kind": "Nothing"}]},
        {"definitions": [{**SECRET, "kind": "secret"}]},
        {"definitions": [SECRET["stringData"]]},
        {"definitions": [str(SECRET)]},
        {"definitions": str(SECRET)},
    ],
)
def test_values_are_in_no_result(options: dict[str, Any]) -> None:
    result = run(**{"definitions": [SECRET], **options})
    assert result["failed"]
    assert "planted-value" not in json.dumps(result)
    assert "module_args" in json.dumps(result)


def test_arguments_are_shown_by_name() -> None:
    assert labels([CONFIG_MAP, SECRET, "text", None, {"kind": "X"}]) == [
        "ConfigMap/a",
        "Secret/s",
        "(hidden)",
        "(hidden)",
        "X/None",
    ]


def test_defaults_agree() -> None:
    """The options have their defaults in two places: in the specification and where the logic is."""
    defaults = Options(name="", namespace="")
    for name, spec in ARGUMENT_SPEC.items():
        if "default" in spec and hasattr(defaults, name):
            value = getattr(defaults, name)
            assert (list(value) if isinstance(value, tuple) else value) == spec["default"], name


SPACE = "/api/v1/namespaces/n"
TRITON = "/apis/apps/v1/namespaces/n/deployments/main-triton"
ENVOY = f"{SPACE}/configmaps/main-envoy"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi(SCALED_OBJECT) as found:
        found.put(SPACE)
        yield found


def deployment(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "main-triton"}, "spec": spec}


def managed(fields: dict[str, Any], *managers: str) -> list[dict[str, Any]]:
    return [{"manager": manager, "operation": "Update", "fieldsV1": fields} for manager in managers]


def test_servers_that_a_benchmark_holds_are_told(api: FakeApi) -> None:
    api.put(TRITON, {"metadata": {"annotations": {BEFORE_BENCHMARK: "{}"}}, "spec": {"replicas": 1}})
    found = run(check=True, host=api.url, definitions=[deployment(replicas=1)])
    assert not found["failed"], found
    assert re.search("main-triton: a benchmark holds .* benchmark_mode=restore", str(found["warnings"]))


@pytest.mark.parametrize(
    ("remedy", "told"),
    [
        (
            "",
            "Remove these fields from the definition to leave them, or set force_conflicts to take them over.",
        ),
        ("Take them over with example_force: true.", "Take them over with example_force: true."),
    ],
)
def test_a_conflict_is_told_with_the_way_out_of_it(api: FakeApi, remedy: str, told: str) -> None:
    fields = {"f:spec": {"f:replicas": {}, "f:paused": {}}}
    theirs = {"metadata": {"managedFields": managed(fields, "kubectl")}, "spec": {"replicas": 1, "paused": False}}
    api.put(TRITON, theirs)
    definitions = [deployment(replicas=2, paused=True)]
    found = run(host=api.url, definitions=definitions, conflict_remedy=remedy)
    who = "Deployment/main-triton: another field manager has set .spec.replicas, .spec.paused (owned by kubectl)."
    assert found["msg"] == f"{who} {told} Nothing of this set was changed."
    assert api.changes == []
    forced = run(host=api.url, definitions=definitions, force_conflicts=True, wait=False)
    assert not forced["failed"], forced
    assert api.objects[TRITON]["spec"] == {"replicas": 2, "paused": True}


AUTOSCALER = {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "main-triton"}}}


@pytest.mark.parametrize(
    ("autoscaler", "hidden", "annotations", "taken"),
    [
        ("", False, {}, True),
        ("autoscaling/v2/namespaces/n/horizontalpodautoscalers", False, {}, False),
        ("keda.sh/v1alpha1/namespaces/n/scaledobjects", True, {}, False),
        ("", False, {BEFORE_PAUSE: "{}"}, False),
        ("", False, {BEFORE_BENCHMARK: "{}"}, False),
    ],
)
def test_replicas_of_others_are_not_taken_over(
    api: FakeApi, autoscaler: str, hidden: bool, annotations: dict[str, str], taken: bool
) -> None:
    """By force all else that the definition has is. hidden: HorizontalPodAutoscalers may not be listed."""
    api.put(TRITON, {"metadata": {"annotations": annotations}, "spec": {"replicas": 1}})
    if autoscaler:
        api.put(f"/apis/{autoscaler}/a", AUTOSCALER)
    api.may = lambda _verb, resource, _space: not hidden or resource != "horizontalpodautoscalers"
    definition = deployment(replicas=2, paused=True)
    assert not run(check=True, host=api.url, definitions=[definition], force_conflicts=True)["failed"]
    sent = [request for request in api.requests if request.method == "PATCH"]
    assert sent
    for request in sent:
        assert request.query["force"] == "true"
        assert request.body["spec"] == {"paused": True, **({"replicas": 2} if taken else {})}


@pytest.mark.parametrize(
    ("wanted", "managers", "warned"),
    [
        ("right", ["kubectl-edit"], True),
        # Nothing is taken from anybody.
        ("by hand", ["kubectl-edit"], False),
        ("right", ["fastml.supersonic"], False),
        # Both had the same, and only the inventory has changed.
        ("right", ["kubectl-replace", "fastml.supersonic"], False),
    ],
)
def test_what_pods_may_have_read_is_told(api: FakeApi, wanted: str, managers: list[str], warned: bool) -> None:
    entries = managed({"f:data": {"f:envoy.yaml": {}, "f:theirs": {}}}, *managers)
    data = {"envoy.yaml": "by hand", "theirs": "1"}
    api.put(ENVOY, {"metadata": {"managedFields": entries}, "data": data})
    definition = {**CONFIG_MAP, "metadata": {"name": "main-envoy"}, "data": {"envoy.yaml": wanted}}
    found = run(check=True, host=api.url, definitions=[definition], force_conflicts=True)
    assert not found["failed"], found
    said = re.findall("ConfigMap/main-envoy: what (.*) had put there", str(found.get("warnings")))
    assert said == (["kubectl-edit"] if warned else [])


# ---- a set that comes, changes and goes ------------------------------------------------------------------------------


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def path_of(name: str) -> str:
    return f"{SPACE}/configmaps/{name}"


SET = [config_map("a", x="1"), config_map("b")]
PARENT = path_of("set-applyset")


def names(api: FakeApi) -> list[str]:
    return [path.rpartition("/")[2] for path in api.objects if path.startswith(path_of(""))]


def test_a_set_comes_changes_and_goes(api: FakeApi) -> None:
    """What check mode says is what is done, and what is right stays untouched."""
    for definitions, changed in (
        (SET, [PARENT, path_of("a"), path_of("b")]),
        (SET, []),
        ([config_map("a", y="2"), config_map("b")], [path_of("a")]),
        ([config_map("a", y="2")], [path_of("b")]),
    ):
        api.changes.clear()
        predicted = run(check=True, host=api.url, definitions=definitions)
        assert api.changes == []
        done = run(host=api.url, definitions=definitions)
        assert not done["failed"], done
        assert sorted(change.path for change in api.changes) == sorted(changed)
        assert predicted["changed"] == done["changed"] == bool(changed)
    # What the definition does not say any more is gone.
    assert api.objects[path_of("a")]["data"] == {"y": "2"}
    assert run(host=api.url, state="absent")["changed"]
    assert names(api) == []
    assert not run(host=api.url, state="absent")["changed"]


SECRETS = f"{SPACE}/secrets/s"


def test_a_kind_that_leaves_a_set_is_found_by_the_run_after_a_killed_one(api: FakeApi) -> None:
    """The parent names kinds that may have objects of the set until the last of them is gone."""
    assert not run(host=api.url, definitions=[*SET, SECRET])["failed"]
    api.fail("DELETE", SECRETS, 403)
    assert run(host=api.url, definitions=SET)["failed"]
    assert SECRETS in api.objects
    done = run(host=api.url, definitions=SET)
    assert done["changed"]
    assert SECRETS not in api.objects


def test_objects_are_deleted_in_the_reverse_of_the_order_in_which_they_are_applied(api: FakeApi) -> None:
    """Pods use a ConfigMap until the last moment."""
    definitions = [*SET, deployment(replicas=0)]
    assert not run(host=api.url, definitions=definitions, wait=False)["failed"]
    applied = [change.path for change in api.changes if change.method == "PATCH" and change.path != PARENT]
    api.changes.clear()
    assert not run(host=api.url, state="absent", wait=False)["failed"]
    deleted = [change.path for change in api.changes if change.method == "DELETE" and change.path != PARENT]
    assert sorted(deleted) == sorted(applied)
    assert (applied[-1], deleted[0]) == (TRITON, TRITON)


@pytest.mark.parametrize("state", ["present", "absent"])
def test_what_is_made_anew_while_it_is_removed_stays(api: FakeApi, state: str) -> None:
    """A newer decision than ours has made it."""
    assert not run(host=api.url, definitions=SET)["failed"]
    old = api.objects[path_of("b")]["metadata"]["uid"]
    api.meanwhile("DELETE", path_of("b"), lambda: api.recreate(path_of("b")))
    rest = {"definitions": SET[:1]} if state == "present" else {"definitions": SET}
    done = run(host=api.url, state=state, wait_timeout=5, **rest)
    assert not done["failed"], done
    assert api.objects[path_of("b")]["metadata"]["uid"] != old
    assert (path_of("a") in api.objects) == (state == "present")


def test_a_parent_that_is_made_anew_while_the_set_is_removed_stays(api: FakeApi) -> None:
    assert not run(host=api.url, definitions=SET)["failed"]
    api.meanwhile("DELETE", PARENT, lambda: api.recreate(PARENT))
    assert not run(host=api.url, state="absent", wait_timeout=5)["failed"]
    assert names(api) == ["set-applyset"]


def test_a_change_between_two_looks_is_none_of_ours(api: FakeApi) -> None:
    """A controller writes an annotation after the object was read."""
    api.put(TRITON, {"spec": {"replicas": 1}})
    definition = deployment(replicas=1)
    assert not run(host=api.url, definitions=[definition], wait=False)["failed"]

    def note() -> None:
        with api.changed(TRITON) as live:
            live["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "2"}

    api.meanwhile("PATCH", TRITON, note, trial=True)
    done = run(host=api.url, definitions=[definition], wait=False)
    assert not done["failed"], done
    assert api.objects[TRITON]["metadata"]["annotations"] == {"deployment.kubernetes.io/revision": "2"}
    assert not done["changed"], done
