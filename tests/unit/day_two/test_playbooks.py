# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which claims of models backup and drift look at. Their expressions need nothing of Ansible's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2.nativetypes import NativeEnvironment

from ansible_collections.fastml.supersonic.tests.harness.playbooks import every_task

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


def told(playbook: str, given: dict[str, Any], *names: str) -> Any:
    """The last of these variables of a play, of which each may use those before it."""
    plays = yaml.safe_load((CLONE / "playbooks" / f"{playbook}.yml").read_text())
    texts = next(play["vars"] for play in plays if names[0] in play.get("vars", {}))
    values = {"supersonic_name": "main", **given}
    for name in names:
        values[name] = NativeEnvironment().from_string(texts[name].strip()).render(values)
    return values


@pytest.mark.parametrize(("given", "claim"), CASES.values(), ids=CASES)
def test_releases_in_a_claim_are_backed_up_whoever_publishes_them(given: dict[str, Any], claim: str) -> None:
    values = told("backup", given, "backup_claims", "backup_claim", "backup_models")
    assert (values["backup_claim"] if values["backup_models"] else "") == claim
    # The Role that preflight prints has what this takes.
    texts = yaml.safe_load((CLONE / "playbooks/vars/preflight.yml").read_text())
    for name in ("site_published", "site_kept"):
        values[name] = NativeEnvironment().from_string(texts[name].strip()).render(values)
    assert bool(values["site_kept"]) == bool(claim)


@pytest.mark.parametrize(("given", "claim"), CASES.values(), ids=CASES)
def test_servers_are_compared_with_the_claim_whoever_publishes_to_it(given: dict[str, Any], claim: str) -> None:
    values = told("drift", given, "__drift_name", "__drift_claim", "__drift_published")
    plays = yaml.safe_load((CLONE / "playbooks" / "drift.yml").read_text())
    asked = next(
        task["fastml.supersonic.drift_info"] for task in every_task(plays) if "fastml.supersonic.drift_info" in task
    )
    assert (NativeEnvironment().from_string(asked["claim"]).render(values) or "") == claim


@pytest.mark.parametrize("name", ["backup", "restore", "drift"])
def test_sources_of_models_need_not_be_on_this_machine(name: str) -> None:
    text = (CLONE / "playbooks" / f"{name}.yml").read_text()
    assert text.count("files: false") == text.count("fastml.supersonic.validate:") == 1
