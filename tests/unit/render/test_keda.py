# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of a release as it is made to fit a cluster; the real one is applied by tests/cluster/test_keda.py."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.keda import keda_manifests
from ansible_collections.fastml.supersonic.tests.harness.keda import DEFAULTS, DEPLOYMENTS, release
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE


def made(objects: list[dict[str, Any]] | None = None, **options: Any) -> dict[tuple[str, str], dict[str, Any]]:
    text = yaml.safe_dump_all(release() if objects is None else objects)
    given = {"version": "2.21.0", "namespace": "keda", **options}
    return {(item["kind"], item["metadata"]["name"]): item for item in keda_manifests(text, **given)}


def container(objects: dict[tuple[str, str], dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = objects["Deployment", name]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_the_namespace_itself_is_left_to_the_set() -> None:
    assert {kind for kind, _name in made()} == {item["kind"] for item in release()} - {"Namespace"}


def test_everything_moves_into_another_namespace_and_nothing_else_does() -> None:
    there = made(namespace="scaling")
    assert all(there["Deployment", name]["metadata"]["namespace"] == "scaling" for name in DEPLOYMENTS)
    binding = there["RoleBinding", "reader"]
    assert binding["metadata"]["namespace"] == "kube-system"
    assert [subject["namespace"] for subject in binding["subjects"]] == ["scaling", "kube-system"]
    assert there["APIService", "v1beta1.external.metrics.k8s.io"]["spec"]["service"]["namespace"] == "scaling"
    (webhook,) = there["ValidatingWebhookConfiguration", "keda-admission"]["webhooks"]
    assert webhook["clientConfig"]["service"]["namespace"] == "scaling"


@pytest.mark.parametrize("registry", ["", "registry.example.org/mirror/kedacore"])
def test_images_come_from_where_they_are_to_come_from(registry: str) -> None:
    there = made(image_registry=registry, image_pull_secrets=[{"name": "mirror"}])
    for name, image in DEPLOYMENTS.items():
        assert container(there, name)["image"] == f"{registry or 'ghcr.io/kedacore'}/{image}:2.21.0"
        assert container(there, name)["imagePullPolicy"] == "IfNotPresent"
        assert there["Deployment", name]["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "mirror"}]


def test_namespaces_that_are_watched_are_said_to_all_three() -> None:
    there = made(watch_namespace="cms,atlas")
    for name in DEPLOYMENTS:
        environment = {entry["name"]: entry.get("value") for entry in container(there, name)["env"]}
        assert environment["WATCH_NAMESPACE"] == "cms,atlas"
        assert environment["WATCH_LABEL_SELECTOR"] == ""


def test_resources_are_those_of_the_component_or_of_the_release() -> None:
    there = made(resources={"operator": {"requests": {"cpu": "20m"}}, "metrics": {}})
    assert container(there, "keda-operator")["resources"] == {"requests": {"cpu": "20m"}}
    assert container(there, "keda-metrics-apiserver")["resources"] == {"limits": {"cpu": "1000m"}}


def test_a_release_without_webhooks_will_do() -> None:
    some = [item for item in release() if item["metadata"]["name"] != "keda-admission"]
    assert ("Deployment", "keda-admission") not in made(some)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", r"keda_manifest is no YAML: while parsing"),
        ("<!DOCTYPE html>", r"keda_manifest is no manifest of Kubernetes"),
        ("kind: List\n", r"keda_manifest is no manifest of Kubernetes"),
        (
            "kind: Namespace\nmetadata: {name: keda}\n",
            r"it lacks CustomResourceDefinition/scaledobjects\.keda\.sh, Deployment/keda-operator, .*keda-<version>",
        ),
    ],
)
def test_something_else_is_refused(text: str, message: str) -> None:
    with pytest.raises(SupersonicError, match=message):
        keda_manifests(text, "2.21.0", "keda")


def test_another_version_is_refused() -> None:
    with pytest.raises(SupersonicError, match=r"is of KEDA 2\.21\.0, but keda_version is 2\.20\.1"):
        made(version="2.20.1")


def test_the_local_cluster_builds_the_release_that_the_role_installs() -> None:
    local = CLONE / "dev/roles/local_cluster"
    (module,) = re.findall(r"github\.com/kedacore/keda/v2 v(\S+)", (local / "files/go/keda/go.mod").read_text())
    (recipe,) = re.findall(r"^__local_cluster_keda: (\S+)$", (local / "vars/main.yml").read_text(), re.M)
    assert module == recipe == DEFAULTS["keda_version"]
