# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""manifests: create, change, predict, refuse."""

from __future__ import annotations

import copy
import json

import pytest

from ansible_collections.fastml.supersonic.tests.harness.kubernetes import (
    Cluster,
    actions,
    claim,
    config_map,
    container,
    crd,
    removed,
    secret,
    service,
    workload,
)
from ansible_collections.fastml.supersonic.tests.harness.processes import until

RBAC = "rbac.authorization.k8s.io"


def everything() -> list[dict]:
    resources = {"requests": {"memory": "1024Mi", "cpu": "0.010"}}
    role = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "Role",
        "metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "default"}],
    }
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    }
    return [
        workload(pod={"containers": [container(resources=resources)]}),
        service("web"),
        config_map(),
        secret("password", password="very-secret-value"),
        claim("data"),
        binding,
        role,
        budget,
    ]


def test_empty_cluster_check_then_apply_then_nothing(cluster: Cluster) -> None:
    name = cluster.free_name()
    subjects = [{"kind": "ServiceAccount", "name": "default", "namespace": name}]
    wanted = everything()
    wanted[5]["subjects"] = subjects

    predicted = cluster.manifests(name, *wanted, check=True, create_namespace=True)
    assert not predicted["failed"], predicted
    assert predicted["changed"]
    assert set(actions(predicted).values()) == {"created"}
    assert cluster.get(f"/api/v1/namespaces/{name}") is None

    applied = cluster.manifests(name, *wanted, create_namespace=True)
    assert applied["changed"]
    assert actions(applied) == actions(predicted)
    assert list(actions(applied)) == list(actions(predicted))
    labels = cluster.there(f"/api/v1/namespaces/{name}")["metadata"]["labels"]
    assert labels["app.kubernetes.io/managed-by"] == "fastml.supersonic"

    for check in (False, True):
        again = cluster.manifests(name, *wanted, check=check, create_namespace=True)
        assert not again["changed"], again["diff"]
        assert again["diff"] == []
        assert set(actions(again).values()) == {"unchanged"}


def test_change_shows_only_what_changes(cluster: Cluster, namespace: str) -> None:
    cluster.manifests(namespace, workload(), config_map(a="1", b="2"))
    changed = workload()
    changed["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "MODE", "value": "fast"}]
    wanted = [changed, config_map(a="1", b="3")]

    predicted = cluster.manifests(namespace, *wanted, check=True)
    assert cluster.there(f"/api/v1/namespaces/{namespace}/configmaps/settings")["data"]["b"] == "2"
    applied = cluster.manifests(namespace, *wanted)
    assert actions(predicted) == actions(applied)
    assert actions(applied) == {"Deployment/web": "configured", "ConfigMap/settings": "configured"}
    assert predicted["diff"] == applied["diff"]
    by_header = {entry["before_header"]: entry for entry in applied["diff"]}
    assert by_header[f"ConfigMap/settings in {namespace}"]["before"] == {"data": {"b": "2"}}
    assert by_header[f"ConfigMap/settings in {namespace}"]["after"] == {"data": {"b": "3"}}
    assert by_header[f"Deployment/web in {namespace}"]["after"] == {
        "spec": {"template": {"spec": {"containers": [{"env": [{"name": "MODE", "value": "fast"}], "name": "main"}]}}}
    }
    assert not cluster.manifests(namespace, *wanted)["changed"]


def test_field_left_out_is_removed(cluster: Cluster, namespace: str) -> None:
    cluster.manifests(namespace, config_map(a="1", b="2"))
    assert cluster.manifests(namespace, config_map(a="1"))["changed"]
    assert cluster.there(f"/api/v1/namespaces/{namespace}/configmaps/settings")["data"] == {"a": "1"}


def test_key_left_out_of_string_data_is_removed(cluster: Cluster, namespace: str) -> None:
    cluster.manifests(namespace, secret("keys", a="first-value", b="second-value"))
    cluster.manifests(namespace, secret("keys", a="first-value"))
    assert list(cluster.there(f"/api/v1/namespaces/{namespace}/secrets/keys")["data"]) == ["a"]


def test_drift_is_put_right(cluster: Cluster, namespace: str) -> None:
    cluster.manifests(namespace, config_map(a="1"))
    path = f"/api/v1/namespaces/{namespace}/configmaps/settings"
    cluster.patch(path, {"data": {"a": "2"}}, manager="kubectl-edit")
    refused = cluster.manifests(namespace, config_map(a="1"))
    assert refused["failed"]
    assert ".data.a (owned by kubectl-edit)" in refused["msg"]
    assert "force_conflicts" in refused["msg"]
    assert refused["changed"] is False
    assert cluster.there(path)["data"]["a"] == "2"
    assert actions(cluster.manifests(namespace, config_map(a="1"), force_conflicts=True)) == {
        "ConfigMap/settings": "configured"
    }
    assert cluster.there(path)["data"]["a"] == "1"
    assert not cluster.manifests(namespace, config_map(a="1"))["changed"]


def test_field_that_is_equal_but_not_ours_becomes_ours(cluster: Cluster, namespace: str) -> None:
    cluster.manifests(namespace, config_map(a="1"))
    path = f"/api/v1/namespaces/{namespace}/configmaps/settings"
    cluster.patch(path, {"data": {"b": "2"}})
    result = cluster.manifests(namespace, config_map(a="1", b="2"))
    assert result["changed"]
    assert result["diff"][0]["after"] == {"(fields set by this manager)": [".data.b"]}
    assert not cluster.manifests(namespace, config_map(a="1", b="2"))["changed"]


def test_definition_and_its_objects_in_one_call(cluster: Cluster, namespace: str) -> None:
    group = f"{namespace}.example.org"
    definition = crd("widgets", group, "Widget", properties={"size": {"type": "integer"}})
    widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "one"}, "spec": {"size": 3}}
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{group}"
    with removed(cluster, path):
        predicted = cluster.manifests(namespace, widget, definition, check=True)
        assert not predicted["failed"], predicted
        assert set(actions(predicted).values()) == {"created"}
        assert cluster.get(path) is None

        applied = cluster.manifests(namespace, widget, definition)
        assert not applied["failed"], applied
        assert actions(applied) == actions(predicted)
        assert not cluster.manifests(namespace, widget, definition)["changed"]

        # A field that only the new version of the definition knows.
        wider = crd("widgets", group, "Widget", properties={"size": {"type": "integer"}, "colour": {"type": "string"}})
        coloured = copy.deepcopy(widget)
        coloured["spec"]["colour"] = "red"
        predicted = cluster.manifests(namespace, coloured, wider, check=True)
        applied = cluster.manifests(namespace, coloured, wider)
        assert (
            actions(predicted)
            == actions(applied)
            == {
                "Widget/one": "configured",
                f"CustomResourceDefinition/widgets.{group}": "configured",
            }
        )

        # The definition goes, everything of its kind with it: taking the set out must still work, twice.
        cluster.api.delete(path, path)
        until(lambda: cluster.get(path) is None)
        for expected in ({"ConfigMap/set-applyset": "deleted"}, {}):
            gone = cluster.manifests(namespace, state="absent", wait=True, wait_timeout=20)
            assert not gone["failed"], gone
            assert actions(gone) == expected


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda d: d["spec"].update(replica=3), "Deployment/web: unknown field .spec.replica"),
        (lambda d: d["spec"].update(replicas=-1), "spec.replicas: Invalid value"),
        (
            lambda d: d["spec"]["selector"].update(matchLabels={"app": "other"}),
            "Deployment/web: the API server finds it",
        ),
    ],
)
def test_what_the_server_refuses_changes_nothing(cluster: Cluster, namespace: str, wrong, message: str) -> None:
    bad = workload()
    wrong(bad)
    for check in (True, False):
        result = cluster.manifests(namespace, config_map(), bad, check=check)
        assert result["failed"]
        assert message in result["msg"]
        assert "Nothing of this set was changed." in result["msg"]
        assert result["changed"] is False
    assert cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/settings") is None
    assert cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/set-applyset") is None


def test_refusals_come_together(cluster: Cluster, namespace: str) -> None:
    one, two = workload(name="one"), workload(name="two")
    one["spec"]["replica"] = two["spec"]["stratgy"] = {}
    message = cluster.manifests(namespace, one, two)["msg"]
    assert "unknown field .spec.replica" in message
    assert "unknown field .spec.stratgy" in message


def test_immutable_field_says_what_to_do(cluster: Cluster, namespace: str) -> None:
    cluster.manifests(namespace, workload())
    other = workload()
    other["spec"]["selector"]["matchLabels"] = other["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    message = cluster.manifests(namespace, other)["msg"]
    assert "field is immutable" in message
    assert "delete the object first, or give the new one another name" in message


def test_namespace_that_is_not_there(cluster: Cluster) -> None:
    name = cluster.free_name()
    for check in (True, False):
        result = cluster.manifests(name, config_map(), check=check)
        assert f"The namespace '{name}' does not exist" in result["msg"]
        assert "create_namespace" in result["msg"]


def test_namespace_as_a_member(cluster: Cluster) -> None:
    name = cluster.free_name()
    own = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    predicted = cluster.manifests(name, config_map(), own, check=True)
    applied = cluster.manifests(name, config_map(), own)
    assert actions(predicted) == actions(applied)
    assert set(actions(applied).values()) == {"created"}
    assert not cluster.manifests(name, config_map(), own)["changed"]
    gone = cluster.manifests(name, state="absent", keep=[], wait=True, wait_timeout=60)
    assert actions(gone)[f"Namespace/{name}"] == "deleted"
    assert cluster.get(f"/api/v1/namespaces/{name}") is None


def test_second_namespace_must_be_allowed(cluster: Cluster, namespace: str) -> None:
    other = cluster.new_namespace()
    there = config_map("elsewhere")
    there["metadata"]["namespace"] = other
    refused = cluster.manifests(namespace, config_map(), there)
    assert f"it is in namespace '{other}', the set is in '{namespace}'" in refused["msg"]
    applied = cluster.manifests(namespace, config_map(), there, additional_namespaces=[other])
    assert not applied["failed"], applied
    assert actions(cluster.manifests(namespace, config_map())) == {
        "ConfigMap/set-applyset": "configured",
        "ConfigMap/settings": "unchanged",
        "ConfigMap/elsewhere": "pruned",
    }
    until(lambda: cluster.get(f"/api/v1/namespaces/{other}/configmaps/elsewhere") is None)


def test_kind_that_the_cluster_does_not_have(cluster: Cluster, namespace: str) -> None:
    thing = {"apiVersion": "nowhere.example.org/v1", "kind": "Thing", "metadata": {"name": "x"}}
    message = cluster.manifests(namespace, config_map(), thing)["msg"]
    assert "definitions[1] (Thing/x): this cluster has no kind Thing in nowhere.example.org/v1" in message
    assert "CustomResourceDefinition" in message
    assert cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/settings") is None


def test_server_warnings_are_passed_on(cluster: Cluster) -> None:
    name = cluster.new_namespace({"pod-security.kubernetes.io/warn": "restricted"})
    result = cluster.manifests(name, workload())
    assert any("would violate PodSecurity" in str(warning) for warning in result["warnings"])


def test_object_that_is_being_deleted_is_made_anew(cluster: Cluster, namespace: str) -> None:
    cluster.manifests(namespace, config_map())
    path = f"/api/v1/namespaces/{namespace}/configmaps/settings"
    cluster.patch(path, {"metadata": {"finalizers": ["example.org/hold"]}})
    cluster.api.delete(path, path)
    stuck = cluster.manifests(namespace, config_map(), wait_timeout=2)
    assert "example.org/hold" in stuck["msg"]
    old = cluster.there(path)["metadata"]["uid"]
    cluster.patch(path, {"metadata": {"finalizers": None}})
    assert actions(cluster.manifests(namespace, config_map())) == {"ConfigMap/settings": "created"}
    assert cluster.there(path)["metadata"]["uid"] != old


def test_output_holds_no_whole_objects(cluster: Cluster, namespace: str) -> None:
    result = cluster.manifests(namespace, workload(), diff=False)
    assert "diff" not in result
    assert "containers" not in json.dumps(result)
