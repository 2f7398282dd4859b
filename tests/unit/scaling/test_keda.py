# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a cluster's KEDA; the server stands for clusters that nobody has at hand."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import Connection
from ansible_collections.fastml.supersonic.plugins.module_utils._scaling import keda as scaling_keda
from ansible_collections.fastml.supersonic.tests.harness.answers import JsonHandler, served

KINDS = "/apis/keda.sh/v1alpha1"
SCHEMAS = "/openapi/v3/apis/keda.sh/v1alpha1"
API_SERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"
METRICS = "/apis/external.metrics.k8s.io/v1beta1"
ALL = "/apis/apps/v1/deployments"
OURS = "/apis/apps/v1/namespaces/keda/deployments"
FORBIDDEN = 403


def deployment(name: str, *, ready: int = 1, **environment: str) -> dict[str, Any]:
    container = {
        "name": name,
        "image": f"ghcr.io/kedacore/{name}:2.21.0",
        "env": [{"name": key, "value": value} for key, value in environment.items()],
    }
    return {
        "metadata": {"name": name, "namespace": "keda", "labels": {"app": name}},
        "spec": {
            "replicas": 1,
            "template": {"spec": {"serviceAccountName": "keda-operator", "containers": [container]}},
        },
        "status": {"readyReplicas": ready} if ready else {},
    }


def fields(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def whole() -> dict[str, Any]:
    """What a cluster with a sound KEDA answers."""
    condition = {"type": "Available", "status": "True"}
    trigger = {"type": "array", "items": fields(metricType={"type": "string"})}
    spec = fields(fallback=fields(behavior={"type": "string"}), triggers=trigger)
    return {
        KINDS: {"resources": [{"name": "scaledobjects", "kind": "ScaledObject"}]},
        SCHEMAS: {"components": {"schemas": {"sh.keda.v1alpha1.ScaledObject": fields(spec=spec)}}},
        API_SERVICE: {
            "spec": {"service": {"name": "keda-metrics-apiserver", "namespace": "keda"}},
            "status": {"conditions": [condition]},
        },
        METRICS: {"resources": []},
        OURS: {"items": [deployment("keda-operator", WATCH_NAMESPACE=""), deployment("keda-metrics-apiserver")]},
        ALL: {"items": [deployment("keda-operator")]},
    }


class Answers(JsonHandler):
    """Answers by path: an object, or the status of a refusal; what is not there is not found."""

    there: dict[str, Any] = {}
    # What the operator may not do, or the status of a refusal to say.
    lacking: Any = ()

    def do_GET(self) -> None:
        self.give(self.there.get(self.path.partition("?")[0], 404))

    def do_POST(self) -> None:
        spec = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["spec"]
        assert spec["user"].startswith("system:serviceaccount:")
        if isinstance(self.lacking, int):
            self.give(self.lacking)
        else:
            self.give({"status": {"allowed": spec["resourceAttributes"]["verb"] not in self.lacking}})

    def give(self, answer: Any) -> None:
        code = answer if isinstance(answer, int) else 200
        body = {"kind": "Status", "status": "Failure", "code": code, "message": "no"} if code != 200 else answer
        self.answer(body, code)


@pytest.fixture
def api() -> Iterator[Api]:
    Answers.there, Answers.lacking = whole(), ()
    with served(Answers) as address:
        yield Api(Connection(host=address, source="a test"), patience=0)


WANTED = {
    "namespace": "",
    "minimum_version": "2.18",
    "fields": ["spec.fallback.behavior", "spec.triggers.metricType"],
    "watched": ["cms"],
}


def look(api: Api, **wanted: Any) -> dict[str, Any]:
    return scaling_keda.inspect(api, {**WANTED, **wanted})


def problem(api: Api, **wanted: Any) -> str:
    (found,) = look(api, **wanted)["problems"]
    assert isinstance(found, str)
    return found


def test_nothing_is_said_of_a_sound_one(api: Api) -> None:
    assert look(api) == {
        "installed": True,
        "version": "2.21.0",
        "namespace": "keda",
        "watches": [],
        "label_selector": "",
        "problems": [],
        "unread": [],
    }


def test_a_cluster_without_it(api: Api) -> None:
    del Answers.there[KINDS]
    found = look(api)
    assert not found["installed"]
    assert found["problems"] == [
        "The cluster has no KEDA: it serves no kind ScaledObject of keda.sh/v1alpha1. Install KEDA (role keda with "
        "keda_mode: managed), or ask for it."
    ]


def test_kinds_that_are_too_old(api: Api) -> None:
    schema = Answers.there[SCHEMAS]["components"]["schemas"]["sh.keda.v1alpha1.ScaledObject"]
    del schema["properties"]["spec"]["properties"]["fallback"]["properties"]["behavior"]
    assert problem(api).startswith("The ScaledObject of this KEDA has no spec.fallback.behavior, which are needed")


def test_an_operator_that_is_too_old(api: Api) -> None:
    assert problem(api, minimum_version="2.22") == "KEDA is of version 2.21.0, but 2.22 or newer is needed."
    assert look(api, minimum_version="2.21")["problems"] == []


@pytest.mark.parametrize("name", ["keda-operator", "keda-metrics-apiserver"])
def test_a_part_that_does_not_run(api: Api, name: str) -> None:
    (item,) = [item for item in Answers.there[OURS]["items"] if item["metadata"]["name"] == name]
    item["status"] = {}
    assert f"The Deployment {name} in the namespace keda has no ready pod (0 of 1)" in problem(api)
    item["spec"]["replicas"] = 0
    assert f"The Deployment {name} in the namespace keda is scaled to 0" in problem(api)


def test_webhooks_need_not_be_there_but_have_to_run(api: Api) -> None:
    Answers.there[OURS]["items"].append(deployment("keda-admission", ready=0))
    assert "The Deployment keda-admission in the namespace keda has no ready pod" in problem(api)


def test_an_operator_that_is_not_where_it_is_said_to_be(api: Api) -> None:
    Answers.there[OURS]["items"] = []
    assert "There is no Deployment keda-operator in the namespace keda" in problem(api)


def test_a_helm_release_of_another_name_is_known_by_its_labels(api: Api) -> None:
    operator, server = Answers.there[OURS]["items"]
    operator["metadata"]["name"] = "scaler"
    server["metadata"].update(name="scaler-metrics", labels={"app": "keda-operator-metrics-apiserver"})
    Answers.there[API_SERVICE]["spec"]["service"]["name"] = "keda-operator-metrics-apiserver"
    assert look(api)["problems"] == []


def test_external_metrics_of_somebody_else(api: Api) -> None:
    Answers.there[API_SERVICE]["spec"]["service"] = {"name": "adapter", "namespace": "monitoring"}
    assert problem(api).startswith(
        "External metrics are asked of the Service adapter in the namespace monitoring, which is not KEDA's"
    )


def test_external_metrics_of_another_keda(api: Api) -> None:
    Answers.there["/apis/apps/v1/namespaces/scaling/deployments"] = Answers.there[OURS]
    text = "Service keda-metrics-apiserver in the namespace keda, which is not KEDA's in the namespace scaling"
    assert text in problem(api, namespace="scaling")


def test_external_metrics_that_are_not_available(api: Api) -> None:
    conditions = Answers.there[API_SERVICE]["status"]["conditions"]
    conditions[0] = {"type": "Available", "status": "False", "reason": "MissingEndpoints", "message": "no addresses"}
    assert "is not available (MissingEndpoints: no addresses)" in problem(api)
    conditions.clear()
    assert "is not available (nobody has said so yet)" in problem(api)
    del Answers.there[API_SERVICE]
    assert problem(api).startswith("The cluster has no APIService v1beta1.external.metrics.k8s.io")


@pytest.mark.parametrize(("watched", "wrong"), [("cms", False), ("atlas,cms", False), ("atlas", True), ('""', False)])
def test_namespaces_that_are_watched(api: Api, watched: str, wrong: bool) -> None:
    Answers.there[OURS]["items"][0] = deployment("keda-operator", WATCH_NAMESPACE=watched)
    found = look(api)
    assert found["watches"] == [name for name in watched.strip('"').split(",") if name]
    assert len(found["problems"]) == int(wrong)
    start = "KEDA does not watch the namespace cms, only atlas (WATCH_NAMESPACE of its operator). Ask"
    assert all(text.startswith(start) for text in found["problems"])


def test_labels_that_it_heeds_are_told(api: Api) -> None:
    Answers.there[OURS]["items"][0] = deployment("keda-operator", WATCH_NAMESPACE="", WATCH_LABEL_SELECTOR="team=cms")
    found = look(api)
    assert found["label_selector"] == "team=cms"
    (note,) = found["unread"]
    assert "only ScaledObjects with the labels team=cms" in note


def test_rights_that_the_operator_lacks(api: Api) -> None:
    Answers.lacking = ("create", "update")
    assert problem(api) == (
        "KEDA's operator (system:serviceaccount:keda:keda-operator) may not create horizontalpodautoscalers and update "
        "deployments/scale in the namespace cms."
    )


def test_least_rights_are_no_problem_and_are_told(api: Api) -> None:
    Answers.there.update({API_SERVICE: FORBIDDEN, ALL: FORBIDDEN, OURS: FORBIDDEN})
    found = look(api)
    assert found["problems"] == []
    assert found["namespace"] == "keda"
    assert found["watches"] is None
    assert found["unread"] == [
        "We may not read the APIService v1beta1.external.metrics.k8s.io, so whether external metrics are asked of KEDA "
        "is not known.",
        "We may not read Deployments in the namespace keda, so whether KEDA's operator runs, which version it is and "
        "which namespaces it watches is not known.",
    ]


def test_with_least_rights_a_dead_metrics_server_is_seen_all_the_same(api: Api) -> None:
    Answers.there.update({API_SERVICE: FORBIDDEN, ALL: FORBIDDEN, OURS: FORBIDDEN, METRICS: 503})
    assert problem(api).startswith("The API v1beta1.external.metrics.k8s.io does not answer")
    del Answers.there[METRICS]
    assert problem(api).startswith("The cluster has no API v1beta1.external.metrics.k8s.io")


def test_rights_of_others_that_may_not_be_asked_for(api: Api) -> None:
    Answers.lacking = FORBIDDEN
    found = look(api)
    assert found["problems"] == []
    assert found["unread"] == [
        "We may not read the rights of others in the namespace cms, so whether KEDA may act there is not known."
    ]


def test_every_object_of_its_kinds_is_listed(api: Api) -> None:
    Answers.there[KINDS]["resources"].append(
        {"name": "clustertriggerauthentications", "kind": "ClusterTriggerAuthentication"}
    )
    Answers.there[f"{KINDS}/scaledobjects"] = {"items": [{"metadata": {"name": "pool", "namespace": "cms"}}]}
    Answers.there[f"{KINDS}/clustertriggerauthentications"] = {"items": [{"metadata": {"name": "token"}}]}
    assert scaling_keda.objects(api) == ["ClusterTriggerAuthentication token", "ScaledObject pool in the namespace cms"]
    Answers.there = {}
    assert scaling_keda.objects(api) == []


@pytest.mark.parametrize(
    ("image", "label", "version"),
    [
        ("ghcr.io/kedacore/keda:2.21.0", "", "2.21.0"),
        ("registry:5000/keda:v2.19.1@sha256:0", "", "2.19.1"),
        ("registry:5000/keda@sha256:0", "2.18.3", "2.18.3"),
        ("keda:main", "latest", ""),
    ],
)
def test_versions(image: str, label: str, version: str) -> None:
    operator = copy.deepcopy(deployment("keda-operator"))
    operator["spec"]["template"]["spec"]["containers"][0]["image"] = image
    operator["metadata"]["labels"]["app.kubernetes.io/version"] = label
    assert scaling_keda.version_of(operator) == version
