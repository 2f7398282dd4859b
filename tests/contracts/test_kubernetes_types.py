# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates over what the judge of an inventory knows about Kubernetes and about the roles' own manifests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.kubernetes import kubernetes_type
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.triton_pod import OWNED_ENV, volume_mounts
from ansible_collections.fastml.supersonic.tests.harness import renders

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / "tests"))
import kubernetes_types

# Dictionaries that are not a type of Kubernetes: their keys are free, judged by a check of their own, or set by a role.
FREE = ("_annotations", "_info", "_labels", "triton_flags", "envoy_tokens", "envoy_client_limits")
# Types of Envoy, by which Envoy itself judges them.
ENVOY = ("envoy_extra_listeners", "envoy_extra_clusters", "envoy_extra_http_filters")


def test_types_are_those_of_the_schemas() -> None:
    assert kubernetes_types.TARGET.read_text() == kubernetes_types.render(), "run `make kubernetes-types`"


@pytest.mark.parametrize("role", ["envoy", "model_repository", "triton"])
def test_every_dictionary_is_judged(role: str) -> None:
    path = CLONE / "roles" / role / "meta" / "argument_specs.yml"
    options = yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"]
    dictionaries = {
        name
        for name, option in options.items()
        if "dict" in (option["type"], option.get("elements"))
        and "options" not in option
        and not name.endswith((*FREE, *ENVOY))
    }
    assert dictionaries == {name for name in options if kubernetes_type(name)}


def test_what_the_role_brings_is_known(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Names that users may not take are those of the manifest itself."""
    manifests = renders.of_host("everything", tmp_path_factory)["triton"]
    (pod,) = (item["spec"]["template"]["spec"] for item in manifests if item["kind"] == "Deployment")
    (server,) = (item for item in pod["containers"] if item["name"] == "triton")
    assert {item["name"] for item in server["env"]} - {"KEY"} == OWNED_ENV
    mounts = {item["name"]: item["mountPath"] for item in server["volumeMounts"]}
    hosts = yaml.safe_load((renders.OPTIONS / "hosts.yml").read_text())
    given = hosts["supersonic_instances"]["hosts"]["everything"]
    assert mounts == {**volume_mounts(given["triton_model_repositories"]), "scratch": "/scratch"}
