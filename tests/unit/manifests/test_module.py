# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as Ansible calls it, as far as it gets without a cluster."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._apply import Options
from ansible_collections.fastml.supersonic.plugins.module_utils._autoscaling import BEFORE_BENCHMARK, BEFORE_PAUSE
from ansible_collections.fastml.supersonic.plugins.module_utils._manifests import labels
from ansible_collections.fastml.supersonic.plugins.module_utils._rest import Api
from ansible_collections.fastml.supersonic.plugins.modules.manifests import ARGUMENT_SPEC
from ansible_collections.fastml.supersonic.tests.harness.answers import JsonHandler, served
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


class Held(JsonHandler):
    """An API server with one Deployment, whose servers a benchmark holds."""

    live: ClassVar[dict[str, Any]] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "main-triton", "namespace": "n", "annotations": {BEFORE_BENCHMARK: "{}"}},
        "spec": {"replicas": 1},
    }
    kinds: ClassVar[list[dict[str, Any]]] = [{"name": "deployments", "kind": "Deployment", "namespaced": True}]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/apis/apps/v1":
            self.answer({"resources": self.kinds})
        elif path == "/apis/apps/v1/namespaces/n/deployments/main-triton":
            self.answer(self.live)
        elif path == "/api/v1/namespaces/n":
            self.answer({"metadata": {"name": "n"}})
        elif path.endswith("/deployments"):
            self.answer({"items": []})
        else:
            self.answer({"reason": "NotFound"}, 404)

    def do_PATCH(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(self.live)


def test_servers_that_a_benchmark_holds_are_told() -> None:
    definition = {key: value for key, value in Held.live.items() if key != "metadata"}
    definition["metadata"] = {"name": "main-triton"}
    with served(Held) as address:
        found = run(check=True, host=address, definitions=[definition])
    assert not found["failed"], found
    assert re.search("main-triton: a benchmark holds .* benchmark_mode=restore", str(found["warnings"]))


class Taken(Held):
    """The same, where somebody else has set two fields."""

    def do_PATCH(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        causes = [
            {"reason": "FieldManagerConflict", "field": field, "message": 'conflict with "kubectl" using apps/v1'}
            for field in (".spec.replicas", ".spec.paused")
        ]
        self.answer({"reason": "Conflict", "details": {"causes": causes}}, 409)


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
def test_a_conflict_is_told_with_the_way_out_of_it(remedy: str, told: str) -> None:
    definition = {**{key: value for key, value in Taken.live.items() if key != "metadata"}}
    definition["metadata"] = {"name": "main-triton"}
    with served(Taken) as address:
        found = run(host=address, definitions=[definition], conflict_remedy=remedy)
    who = "Deployment/main-triton: another field manager has set .spec.replicas, .spec.paused (owned by kubectl)."
    assert found["msg"] == f"{who} {told} Nothing of this set was changed."


AUTOSCALER = {
    "metadata": {"name": "a", "namespace": "n"},
    "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "main-triton"}},
}


class Forced(Held):
    """The same with an autoscaler, or an annotation of the Deployment; it keeps what it was sent."""

    # None: only KEDA's may be read, and there is one.
    autoscalers: ClassVar[list[dict[str, Any]] | None] = []
    sent: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith("/horizontalpodautoscalers") and self.autoscalers is None:
            self.answer({"reason": "Forbidden"}, 403)
        elif path.endswith("/horizontalpodautoscalers"):
            self.answer({"kind": "HorizontalPodAutoscalerList", "items": self.autoscalers})
        elif path.endswith("/scaledobjects") and self.autoscalers is None:
            self.answer({"kind": "ScaledObjectList", "items": [AUTOSCALER]})
        else:
            super().do_GET()

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.sent.append((self.path, body))
        self.answer(self.live)


@pytest.mark.parametrize(
    ("autoscalers", "annotations", "taken"),
    [
        ([], {}, True),
        ([AUTOSCALER], {}, False),
        (None, {}, False),
        ([], {BEFORE_PAUSE: "{}"}, False),
        ([], {BEFORE_BENCHMARK: "{}"}, False),
    ],
)
def test_replicas_of_others_are_not_taken_over(
    autoscalers: list[dict[str, Any]] | None, annotations: dict[str, str], taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By force all else that the definition has is."""
    metadata = {"name": "main-triton", "namespace": "n"}
    monkeypatch.setattr(Forced, "autoscalers", autoscalers)
    monkeypatch.setattr(Forced, "live", {**Held.live, "metadata": {**metadata, "annotations": annotations}})
    monkeypatch.setattr(Forced, "sent", [])
    definition = {**Held.live, "metadata": metadata, "spec": {"replicas": 2, "paused": True}}
    with served(Forced) as address:
        assert not run(check=True, host=address, definitions=[definition], force_conflicts=True)["failed"]
    assert Forced.sent
    for path, body in Forced.sent:
        assert "force=true" in path
        assert body["spec"] == {"paused": True, **({"replicas": 2} if taken else {})}


class Edited(Held):
    """The same with a ConfigMap, which becomes what the definition says."""

    live: ClassVar[dict[str, Any]] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "main-envoy", "namespace": "n"},
        "data": {"envoy.yaml": "by hand", "theirs": "1"},
    }

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/api/v1":
            self.answer({"resources": [{"name": "configmaps", "kind": "ConfigMap", "namespaced": True}]})
        elif path == "/api/v1/namespaces/n/configmaps/main-envoy":
            self.answer(self.live)
        elif path == "/api/v1/namespaces/n":
            self.answer({"metadata": {"name": "n"}})
        else:
            self.answer({"reason": "NotFound"}, 404)

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer({**self.live, "data": {**self.live["data"], **body["data"]}})


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
def test_what_pods_may_have_read_is_told(
    wanted: str, managers: list[str], warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"f:data": {"f:envoy.yaml": {}, "f:theirs": {}}}
    entries = [{"manager": manager, "operation": "Update", "fieldsV1": fields} for manager in managers]
    metadata = {**Edited.live["metadata"], "managedFields": entries}
    monkeypatch.setattr(Edited, "live", {**Edited.live, "metadata": metadata})
    definition = {**Edited.live, "metadata": {"name": "main-envoy"}, "data": {"envoy.yaml": wanted}}
    with served(Edited) as address:
        found = run(check=True, host=address, definitions=[definition], force_conflicts=True)
    assert not found["failed"], found
    said = re.findall("ConfigMap/main-envoy: what (.*) had put there", str(found.get("warnings")))
    assert said == (["kubectl-edit"] if warned else [])
