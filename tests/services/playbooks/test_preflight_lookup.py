# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What site.yml asks of clusters: the demands of the manifests, and the rights that follow from variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._preflight import rbac
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.resource_requests import demands
from ansible_collections.fastml.supersonic.tests.harness import renders
from ansible_collections.fastml.supersonic.tests.harness.playbooks import asked_of_clusters
from ansible_collections.fastml.supersonic.tests.unit.preflight.test_rbac import OUTSIDE, THEIRS

HOSTS = {"everything": True, "scaled": False, "watched": False}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What site.yml asks for the hosts of the golden inventory."""
    folder = tmp_path_factory.mktemp("golden")
    inventory = yaml.safe_load((renders.OPTIONS / "hosts.yml").read_text())
    inventory["supersonic_instances"]["vars"]["local_directory"] = str(folder)
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    return asked_of_clusters([folder / "hosts.yml"], *HOSTS)


def test_whatever_is_applied_has_its_rights_asked_for(
    asked: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of every host: the kinds of its manifests, and the Role that is made for its features."""
    plurals = {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses", "BackendTLSPolicy": "backendtlspolicies"}
    for host, found in asked.items():
        rights = set(rbac.rights(found["permissions"]))
        for document in (item for documents in renders.of_host(host, tmp_path_factory).values() for item in documents):
            group = document["apiVersion"].rpartition("/")[0]
            resource = plurals.get(document["kind"], f"{document['kind'].lower()}s")
            for verb in ("get", "create", "patch", "delete"):
                assert (verb, resource, group) in rights, f"{host}: {document['kind']} {document['metadata']['name']}"


def test_demands_are_those_of_the_manifests_that_are_applied(
    asked: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What the lookup gives for some of them."""
    for host, publishes in HOSTS.items():
        found, expected = asked[host]["demands"], demands(renders.of_host(host, tmp_path_factory))
        pods = {pod["workload"]: pod for pod in found["pods"]}
        publisher = pods.pop("the pod that publishes models", None)
        assert bool(publisher) == publishes
        assert pods == {pod["workload"]: pod for pod in expected["pods"]}
        for part in ("claims", "ingresses"):
            assert sorted(map(str, found[part])) == sorted(map(str, expected[part]))
        assert found["counts"] == expected["counts"]
        theirs = [item for item in found["references"] if item["by"] != ["the pod that publishes models"]]
        known = {(item["kind"], item["name"]) for item in theirs}
        assert known == {(item["kind"], item["name"]) for item in expected["references"]}


# ---- rights that follow from where something is ----------------------------------------------------------------------

READ = [{"name": "models", "kind": "pvc", "claim": "main-models", "path": "current"}]
KEPT = {"supersonic_name": "main", "triton_model_repositories": READ}
# Variables of an instance, and which of the features below it uses.
USES: list[tuple[dict[str, Any], set[str]]] = [
    (KEPT, {"publishing", "managed_claim"}),
    ({**KEPT, "model_repository_mode": "existing"}, {"publishing"}),
    ({**KEPT, "preflight_backup": False}, set()),
    ({**KEPT, "model_repository_path": "/models"}, set()),
    ({**KEPT, "model_repository_claim": "others"}, set()),
    ({**KEPT, "triton_model_repositories": [{**READ[0], "path": "models"}]}, set()),
    ({"model_repository_sources": ["/models"], "preflight_backup": False}, {"publishing", "managed_claim"}),
    ({"supersonic_components": ["tempo"]}, {"services"}),
    ({"supersonic_components": ["prometheus"], **OUTSIDE, **THEIRS}, set()),
]


def test_rights_follow_from_where_something_is(tmp_path: Path) -> None:
    hosts = {f"case{number}": variables for number, (variables, _features) in enumerate(USES)}
    shared = {"supersonic_namespace": "cms", "verify_servers": False, "verify_envoys": False}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"supersonic_instances": {"vars": shared, "hosts": hosts}}))
    asked = asked_of_clusters([inventory])
    for host, (variables, features) in zip(hosts, USES, strict=True):
        found = asked[host]
        assert {"services", "publishing", "managed_claim"} & set(found["features"]) == features, variables
        resources = {item["resource"] for item in found["permissions"]}
        assert ("endpointslices" in resources) == ("services" in features), variables
        assert ("pods/exec" in resources) == ("publishing" in features), variables
    assert [item["namespace"] for found in asked.values() for item in found["services"]] == ["monitoring"]
