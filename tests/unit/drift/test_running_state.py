# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pods say of themselves against their Deployments, by answers of an API server."""

from __future__ import annotations

import copy
import json
import threading
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._drift.running_state import Look, Wanted
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import pod_http, server_info
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import ApiError, Unreachable
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.applyset import ApplySet, Scope
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import GroupKind
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_servers import SERVED_ANNOTATION
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import FolderTarget, Options, publish

LABELS = {"app.kubernetes.io/name": "supersonic", "app.kubernetes.io/instance": "main"}
SERVER = {**LABELS, "app.kubernetes.io/component": "triton"}
ROOT = "/apis/apps/v1/namespaces/cms"


def owner(kind: str, uid: str) -> list[dict[str, Any]]:
    return [{"kind": kind, "uid": uid, "controller": True}]


def deployment(name: str = "main-triton", component: str = "triton", replicas: int = 2, **spec: Any) -> dict[str, Any]:
    labels = {**LABELS, "app.kubernetes.io/component": component}
    return {
        "metadata": {
            "name": name,
            "uid": f"d-{name}",
            "generation": 2,
            "labels": {**labels, "applyset.kubernetes.io/part-of": ApplySet(name, "cms").id},
            "annotations": {"deployment.kubernetes.io/revision": "2"},
        },
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, **spec},
        "status": {
            "observedGeneration": 2,
            "readyReplicas": replicas,
            "updatedReplicas": replicas,
            "conditions": [{"type": "Progressing", "status": "True"}],
        },
    }


def replica_set(name: str = "main-triton", revision: str = "2", template: str = "new") -> dict[str, Any]:
    return {
        "metadata": {
            "uid": f"r-{name}-{template}",
            "labels": {"pod-template-hash": template},
            "annotations": {"deployment.kubernetes.io/revision": revision},
            "ownerReferences": owner("Deployment", f"d-{name}"),
        }
    }


def pod(
    name: str, template: str = "new", image: str = "sha256:a", of: str = "main-triton", **spec: Any
) -> dict[str, Any]:
    component = of.partition("-")[2]
    status = {
        "name": component,
        "imageID": image,
        "ready": True,
        "state": {"running": {"startedAt": "2026-01-01T12:00:00Z"}},
    }
    return {
        "metadata": {
            "name": name,
            "namespace": "cms",
            "labels": {**LABELS, "app.kubernetes.io/component": component, "pod-template-hash": template},
            "ownerReferences": owner("ReplicaSet", f"r-{of}-{template}"),
        },
        "spec": {"containers": [{"name": component}], **spec},
        "status": {"phase": "Running", "containerStatuses": [status]},
    }


class Answers:
    """An API server that answers with what it was given, and with 404 to all else."""

    def __init__(self, **lists: Any) -> None:
        self.lists = lists
        self.objects: dict[str, Any] = {}

    def list(self, path: str, _what: str, _query: Any = None) -> list[dict[str, Any]]:
        found = self.lists.get(path.rsplit("/", 1)[1], [])
        if isinstance(found, Exception):
            raise found
        return copy.deepcopy(found)

    def find(self, path: str, _what: str) -> Any:
        return self.objects.get(path.split("/namespaces/cms/")[1])


class Ways:
    """A resolver without pods to ask."""

    relay = None

    def __init__(self, api: Answers) -> None:
        self.api = api


def look(api: Answers, **wanted: Any) -> Look:
    sets = wanted.pop("sets", ("models", "triton", "envoy", "prometheus"))
    found = Look(Wanted("cms", "main", sets=sets, **wanted), Ways(api))  # type: ignore[arg-type]
    found.all()
    return found


def told(found: Look) -> list[tuple[str, str, str]]:
    return [(each["severity"], each["kind"], each["object"]) for each in found.findings]


def answers(pods: list[Any], **more: Any) -> Answers:
    lists = {"deployments": [deployment()], "replicasets": [replica_set(), replica_set(revision="1", template="old")]}
    return Answers(**{**lists, "pods": pods, **more})


FORBIDDEN = ApiError("may not list", status=403, reason="Forbidden", body={})


@pytest.mark.parametrize(
    ("pods", "more", "found"),
    [
        ([pod("a"), pod("b")], {}, []),
        ([pod("a"), pod("b", image="sha256:b")], {}, [("error", "image", "Deployment/main-triton")]),
        # Of an older template another image is no wonder.
        ([pod("a"), pod("b", "old", "sha256:b")], {}, [("warning", "old template", "Deployment/main-triton")]),
        (
            [pod("a"), pod("b", "old")],
            {"deployments": [deployment(paused=True)]},
            [("error", "old template", "Deployment/main-triton")],
        ),
        # Nobody may see ReplicaSets, and the Deployment says how many pods are of its template.
        (
            [pod("a"), pod("b"), pod("c", "old")],
            {"replicasets": FORBIDDEN},
            [("warning", "old template", "Deployment/main-triton")],
        ),
        ([pod("a")], {"deployments": [deployment(replicas=0)]}, [("error", "replicas", "Deployment/main-triton")]),
        # One more beside the pool, as a canary is.
        ([pod("a"), pod("b"), {**pod("c"), "metadata": {"name": "c", "labels": SERVER}}], {}, []),
    ],
)
def test_pods_against_their_template(pods: list[Any], more: dict[str, Any], found: list[Any]) -> None:
    done = look(answers(pods, **more))
    assert told(done) == found
    assert done.unknown == []


def test_a_server_that_is_not_ready_is_told_with_its_reason() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
    broken = pod("b")
    broken["status"] = {"phase": "Pending", "containerStatuses": [{"name": "triton", "ready": False, "state": waiting}]}
    short = deployment()
    short["status"]["readyReplicas"] = 1
    (finding,) = look(answers([pod("a"), broken], deployments=[short])).findings
    assert (finding["live"], finding["running"]) == (2, 1)
    assert "not found" in finding["text"]


WRITTEN = {"fieldsV1": {"f:data": {"f:prometheus.yml": {}}}, "manager": "kubectl-edit", "operation": "Update"}
LABELLED = {**WRITTEN, "fieldsV1": {"f:metadata": {"f:labels": {"f:a": {}}}}}


@pytest.mark.parametrize(
    ("entry", "at", "found"),
    [
        (WRITTEN, "2026-01-01T11:59:59Z", []),
        (WRITTEN, "2026-01-01T12:05:00Z", [("error", "not loaded", "ConfigMap/main-prometheus")]),
        # Nobody reads labels.
        (LABELLED, "2026-01-01T12:05:00Z", []),
    ],
)
def test_what_was_changed_after_it_was_read(entry: dict[str, Any], at: str, found: list[Any]) -> None:
    volumes = [{"name": "c", "configMap": {"name": "main-prometheus"}}]
    one = pod("p", of="main-prometheus", volumes=volumes)
    api = answers(
        [one],
        deployments=[deployment("main-prometheus", "prometheus", 1)],
        replicasets=[replica_set("main-prometheus")],
    )
    api.objects["configmaps/main-prometheus"] = {"metadata": {"managedFields": [{**entry, "time": at}]}}
    done = look(api)
    assert told(done) == found
    for finding in done.findings:
        assert finding["text"] == f"it was changed by kubectl-edit (update) at {at}, after p had read it"


def test_a_sidecar_that_has_started_later_has_read_nothing_for_the_program() -> None:
    volumes = [{"name": "c", "configMap": {"name": "main-prometheus"}}]
    one = pod("p", of="main-prometheus", volumes=volumes)
    one["spec"]["containers"][0]["volumeMounts"] = [{"name": "c", "mountPath": "/etc/prometheus"}]
    one["spec"]["containers"].append({"name": "sidecar"})
    later = {**one["status"]["containerStatuses"][0], "name": "sidecar"}
    later["state"] = {"running": {"startedAt": "2026-01-01T13:00:00Z"}}
    one["status"]["containerStatuses"].append(later)
    api = answers(
        [one],
        deployments=[deployment("main-prometheus", "prometheus", 1)],
        replicasets=[replica_set("main-prometheus")],
    )
    api.objects["configmaps/main-prometheus"] = {
        "metadata": {"managedFields": [{**WRITTEN, "time": "2026-01-01T12:05:00Z"}]}
    }
    expected = [("error", "not loaded", "ConfigMap/main-prometheus")]
    assert told(look(api)) == expected
    # The other way round it is only the sidecar that has read it.
    one["spec"]["containers"][1]["volumeMounts"] = one["spec"]["containers"][0].pop("volumeMounts")
    assert told(look(api)) == []


def scaled(manager: str) -> dict[str, Any]:
    found = deployment()
    entry = {"manager": manager, "operation": "Update", "subresource": "scale", "time": "2026-01-01T12:00:00Z"}
    found["metadata"]["managedFields"] = [{**entry, "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    return found


@pytest.mark.parametrize(("manager", "count"), [("kube-controller-manager", 0), ("keda", 0), ("kubectl", 1)])
def test_who_scales(manager: str, count: int) -> None:
    api = answers([pod("a"), pod("b")], deployments=[scaled(manager)])
    # Nobody decides but whoever does it by hand.
    assert look(api).findings == []
    spec = {"minReplicaCount": 1, "maxReplicaCount": 4}
    api.objects["scaledobjects/main-triton"] = {"metadata": {"name": "main-triton"}, "spec": spec}
    found = look(api).findings
    assert [each["kind"] for each in found] == ["scaled by hand"] * count
    assert all("kubectl (update of scale)" in each["text"] and "KEDA decides" in each["text"] for each in found)


RECORD = ApplySet("main-envoy", "cms").parent(Scope(frozenset({GroupKind("", "Secret")}), frozenset()))


def labelled(name: str, part: str = "", **metadata: Any) -> dict[str, Any]:
    labels = {"applyset.kubernetes.io/part-of": ApplySet(f"main-{part}", "cms").id} if part else {}
    return {"metadata": {"name": name, "labels": labels, **metadata}}


@pytest.mark.parametrize(
    ("lists", "found"),
    [
        ({"services": [labelled("main-triton", "triton")]}, []),
        ({"services": [labelled("mine")]}, [("warning", "unowned", "services/mine")]),
        ({"services": [labelled("made", ownerReferences=owner("Deployment", "x"))]}, []),
        ({"services": [labelled("main-tempo", "tempo")]}, [("error", "extra", "ConfigMap/main-tempo-applyset")]),
        # Traces stay by intention.
        (
            {"persistentvolumeclaims": [labelled("main-tempo", "tempo")]},
            [("note", "extra", "ConfigMap/main-tempo-applyset")],
        ),
        # Of kinds that the instance has.
        ({"secrets": FORBIDDEN, "jobs": FORBIDDEN, "configmaps": [RECORD]}, []),
    ],
)
def test_what_no_set_of_the_inventory_owns(lists: dict[str, Any], found: list[Any]) -> None:
    done = look(answers([pod("a"), pod("b")], **lists))
    assert told(done) == found
    assert done.unknown == (["objects that no set owns: may not be listed: secrets"] if "secrets" in lists else [])


def test_a_cluster_that_does_not_answer_ends_it() -> None:
    with pytest.raises(Unreachable):
        look(answers([], deployments=Unreachable("nobody there")))


def test_a_part_that_gives_no_answer_has_a_reason() -> None:
    done = look(answers([], deployments=SupersonicError("why not")))
    assert "Deployments: why not" in done.unknown


# ---- servers ---------------------------------------------------------------------------------------------------------
RIGHT = {"status": "ok", "message": "", "models": [{"name": "identity", "version": "1", "ready": True, "reason": ""}]}
LACKING = {**RIGHT, "models": []}
SILENT = {"status": "hang", "message": "it answers no request within 10 s", "models": []}
SILENCE = "the server does not answer: it answers no request within 10 s"
MISSING_MODEL = ("error", "models", "Pod/a")


class Store(NamedTuple):
    path: str
    release: str


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("models")
    (folder / "source/identity/1").mkdir(parents=True)
    (folder / "source/identity/1/model.onnx").write_text("")
    (folder / "source/identity/config.pbtxt").write_text('platform: "onnxruntime_onnx"')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        result = publish(FolderTarget(str(folder / "store")), [str(folder / "source")], Options())
    return Store(str(folder / "store"), result["release"])


def server(name: str, release: str) -> dict[str, Any]:
    """Of a template that was written for a release, after the switch to it."""
    found = pod(name)
    found["metadata"]["annotations"] = {SERVED_ANNOTATION: release}
    found["metadata"]["creationTimestamp"] = "2126-01-01T12:00:00Z"
    found["status"]["containerStatuses"][0]["state"]["running"]["startedAt"] = "2126-01-01T12:00:00Z"
    return found


@pytest.mark.parametrize(
    ("first", "second", "found", "unknown"),
    [
        ({"a": RIGHT, "b": RIGHT}, None, [], []),
        # Only that one is told of the second answer: the other's first counts.
        ({"a": SILENT, "b": RIGHT}, {"a": RIGHT, "b": SILENT}, [], []),
        ({"a": SILENT, "b": RIGHT}, {"a": LACKING}, [MISSING_MODEL], []),
        ({"a": LACKING, "b": SILENT}, {"b": SILENT}, [MISSING_MODEL], [f"the models of b: {SILENCE}"]),
        (
            {"b": RIGHT},
            {"b": RIGHT},
            [],
            ["the models of a: the server was not asked: it came or went meanwhile"],
        ),
    ],
)
def test_a_server_that_gives_no_answer_is_not_known(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    first: dict[str, Any],
    second: dict[str, Any] | None,
    found: list[Any],
    unknown: list[str],
) -> None:
    asked: list[float] = []

    def ask_all(_targets: Any, _resolver: Any, wanted: Any) -> list[dict[str, Any]]:
        asked.append(wanted.timeout)
        answers = first if len(asked) == 1 else second or {}
        return [{**answer, "target": f"pod cms/{name} port 8000"} for name, answer in answers.items()]

    monkeypatch.setattr(server_info, "ask_all", ask_all)
    done = look(answers([server(name, store.release) for name in "ab"]), path=store.path)
    assert asked == ([10] if second is None else [10, 30])
    assert (told(done), done.unknown) == (found, unknown)
    # That it serves the right release is told nowhere as the difference.
    assert not any({"live", "running"} & set(each) for each in done.findings)


def test_a_server_that_is_gone_meanwhile_is_left_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    api = answers([server(name, store.release) for name in "ab"])

    def ask_all(_targets: Any, _resolver: Any, _wanted: Any) -> list[dict[str, Any]]:
        api.lists["pods"] = [server("b", store.release)]
        return [{**RIGHT, "target": "pod cms/b port 8000"}]

    monkeypatch.setattr(server_info, "ask_all", ask_all)
    done = look(api, path=store.path)
    assert (told(done), done.unknown) == ([], [])
    assert done.running["release"]["servers"] == [{"pod": "b", "release": store.release}]


class Deaf:
    """An Envoy's admin interface that answers the question of that number."""

    def __init__(self, number: int, status: int = 200) -> None:
        self.number, self.status = number, status
        self.asked: list[float] = []

    def __call__(self, *_place: Any, timeout: float) -> pod_http.Answer:
        self.asked.append(timeout)
        if len(self.asked) < self.number:
            raise pod_http.NoAnswer("timed out")
        return pod_http.Answer(self.status, b"{}")


@pytest.mark.parametrize(
    ("admin", "asked", "problem"),
    [
        (Deaf(1), [10], ""),
        (Deaf(2), [10, 30], ""),
        (Deaf(3), [10, 30], "its admin interface gives no answer: timed out"),
        (Deaf(1, 503), [10], "its admin interface has answered with HTTP 503"),
    ],
)
def test_an_envoy_is_asked_twice(
    monkeypatch: pytest.MonkeyPatch, admin: Deaf, asked: list[float], problem: str
) -> None:
    monkeypatch.setattr(pod_http, "ask", admin)
    resolver: Any = SimpleNamespace(relay=None, api=None)
    found = Look(Wanted("cms", "main"), resolver)
    if problem:
        with pytest.raises(SupersonicError, match=problem):
            found._admin("main-envoy-1", 9901, "/config_dump")
    else:
        assert found._admin("main-envoy-1", 9901, "/config_dump") == "{}"
    assert admin.asked == asked


ADMIN = {"admin": {"address": {"socket_address": {"port_value": 9901}}}}


def envoy(name: str) -> dict[str, Any]:
    found = pod(name, of="main-envoy", volumes=[{"name": "c", "configMap": {"name": "main-envoy"}}])
    container = {"name": "envoy", "command": ["envoy", "-c", "/etc/envoy/envoy.yaml"]}
    found["spec"]["containers"] = [{**container, "volumeMounts": [{"name": "c", "mountPath": "/etc/envoy"}]}]
    return found


class Together:
    """Envoys that answer when all of them have been asked: one that is alone with its question waits in vain."""

    def __init__(self, number: int, silent: str = "", leaves: Any = None) -> None:
        self.barrier = threading.Barrier(number)
        self.silent, self.leaves = silent, leaves

    def __call__(self, _relay: Any, _api: Any, _namespace: str, name: str, *_more: Any, timeout: float) -> Any:
        if timeout == 10:
            self.barrier.wait(20)
        if name == self.silent:
            if self.leaves:
                self.leaves()
            raise pod_http.NoAnswer("timed out")
        running = {"bootstrap": ADMIN, "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump"}
        return pod_http.Answer(200, json.dumps({"configs": [running]}).encode())


@pytest.mark.parametrize("gone", [False, True])
def test_envoys_are_asked_side_by_side(monkeypatch: pytest.MonkeyPatch, gone: bool) -> None:
    pods = [envoy(name) for name in ("c", "a", "b")]
    api = answers(pods, deployments=[deployment("main-envoy", "envoy", 3)], replicasets=[replica_set("main-envoy")])
    api.objects["configmaps/main-envoy"] = {"metadata": {}, "data": {"envoy.yaml": json.dumps(ADMIN)}}

    def leaves() -> None:
        api.lists["pods"] = [each for each in pods if each["metadata"]["name"] != "b"]

    monkeypatch.setattr(pod_http, "ask", Together(3, "b", leaves if gone else None))
    found = Look(Wanted("cms", "main"), Ways(api))  # type: ignore[arg-type]
    found._envoys(pods)
    assert told(found) == []
    silence = "Envoy's running configuration in b (envoy): its admin interface gives no answer: timed out"
    assert found.unknown == ([] if gone else [silence])
    states = {"a": True, "b": None, "c": True}
    told_of = [name for name in states if name != "b" or not gone]
    assert found.running["envoys"] == [{"pod": name, "container": "envoy", "same": states[name]} for name in told_of]
