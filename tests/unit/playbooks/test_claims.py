# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which claims of models backup and drift look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.instance_models import instance_models
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.preflight_requirements import features
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.role_variables import of_host

CLONE = Path(__file__).resolve().parents[3]
STORE = {"name": "a", "kind": "pvc", "claim": "main-models", "path": "current"}
# As inventories/shared/ligo.yml: models.yml publishes to it, with sources that the inventory does not name.
LIGO = {
    "model_repository_mode": "existing",
    "model_repository_claim": "ligo-models",
    "triton_model_repositories": [{"name": "ligo", "kind": "pvc", "claim": "ligo-models", "path": "current"}],
}
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "published from here": ({"model_repository_sources": ["/models"]}, "main-models"),
    "published by others": (LIGO, "ligo-models"),
    "read and published elsewhere": ({"triton_model_repositories": [STORE]}, "main-models"),
    "a folder of a claim": ({"triton_model_repositories": [{**STORE, "path": "folder"}]}, ""),
    "a whole claim": ({"triton_model_repositories": [{"name": "a", "kind": "pvc", "claim": "main-models"}]}, ""),
    "another claim": ({"triton_model_repositories": [{**STORE, "claim": "others"}]}, ""),
    "an image": ({"triton_model_repositories": [{"name": "a", "kind": "image", "path": "/models"}]}, ""),
    "nothing": ({}, ""),
    "a folder of this machine": ({"model_repository_path": "/srv", "model_repository_sources": ["/models"]}, ""),
}


@pytest.mark.parametrize(("given", "claim"), CASES.values(), ids=CASES)
def test_releases_in_a_claim_are_backed_up_whoever_publishes_them(given: dict[str, Any], claim: str) -> None:
    variables = of_host({"supersonic_namespace": "cms", "supersonic_name": "main", **given})
    models = instance_models(variables)
    assert (models["claim"] if models["in_claim"] else "") == claim
    # The Role that preflight prints has what this takes.
    assert ("publishing" in features(variables)) == bool(claim)


@pytest.mark.parametrize("playbook", ["backup", "drift", "bundle", "status", "teardown"])
def test_playbooks_take_the_claim_from_there(playbook: str) -> None:
    text = (CLONE / "playbooks" / f"{playbook}.yml").read_text()
    assert "query('fastml.supersonic.instance_models'" in text
    assert "triton_model_repositories" not in text


@pytest.mark.parametrize("name", ["backup", "restore", "drift"])
def test_sources_of_models_need_not_be_on_this_machine(name: str) -> None:
    text = (CLONE / "playbooks" / f"{name}.yml").read_text()
    assert text.count("files: false") == text.count("fastml.supersonic.validate:") == 1
