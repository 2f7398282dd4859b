# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookups about an instance in a play, and what they say when they are asked wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.playbooks import run_playbook

ALWAYS = ["model_repository", "triton", "envoy"]
HOST: dict[str, Any] = {
    "supersonic_namespace": "cms",
    "supersonic_name": "tracks",
    "supersonic_components": ["tempo", "otel_collector", "keda"],
    "triton_replicas": None,
    "site_gpus": 2,
    "triton_gpus": "{{ site_gpus }}",
}
ASKED: list[tuple[str, Any]] = [
    ("lookup('fastml.supersonic.instance_variable', 'model_repository_claim')", "tracks-models"),
    ("query('fastml.supersonic.instance_variable', 'triton_replicas', 'triton_gpus')", [1, 2]),
    ("query('fastml.supersonic.instance_roles')", [*ALWAYS, "otel_collector", "tempo"]),
    ("query('fastml.supersonic.instance_roles', kind='optional')", ["otel_collector", "tempo"]),
    ("query('fastml.supersonic.instance_roles', kind='cluster')", ["keda"]),
    (
        "query('fastml.supersonic.instance_roles', component_names=true)",
        ["models", "triton", "envoy", "otel-collector", "tempo"],
    ),
    ("(query('fastml.supersonic.instance_models') | first).claim", "tracks-models"),
    ("query('fastml.supersonic.preflight_requirements', 'node_resources') | first", {"nvidia.com/gpu": 2}),
]
WRONG = {
    "query('fastml.supersonic.instance_variable', 'triton_replica')": "triton_replica is no variable of a role",
    "query('fastml.supersonic.instance_variable', 'migrate_release')": "migrate_release is no variable of a role",
    "query('fastml.supersonic.preflight_requirements', 'feature')": "feature is none of features, services",
    "query('fastml.supersonic.instance_models', 'triton')": "instance_models takes no names, but was given triton",
    "query('fastml.supersonic.instance_roles', 'triton')": "instance_roles takes no names, but was given triton",
    "query('fastml.supersonic.instance_demands', 'tritn')": "tritn is no role of an instance that has manifests",
}


def run(folder: Path, tasks: list[dict[str, Any]]) -> Any:
    (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"cms": HOST}}}))
    (folder / "play.yml").write_text(json.dumps([{"hosts": "cms", "gather_facts": False, "tasks": tasks}]))
    return run_playbook(folder / "play.yml", folder / "hosts.yml")


def test_they_give_what_roles_will_have(tmp_path: Path) -> None:
    asked = ", ".join(expression for expression, _value in ASKED)
    destination = tmp_path / "values.json"
    copy = {"content": f"{{{{ [{asked}] | to_json }}}}", "dest": str(destination), "mode": "0600"}
    done = run(tmp_path, [{"ansible.builtin.copy": copy, "delegate_to": "localhost"}])
    assert done.code == 0, done.output
    for (expression, value), found in zip(ASKED, json.loads(destination.read_text()), strict=True):
        assert found == value, expression


def test_what_is_asked_wrongly_is_said(tmp_path: Path) -> None:
    tasks = [{"ansible.builtin.debug": {"msg": f"{{{{ {each} }}}}"}, "ignore_errors": True} for each in WRONG]
    done = run(tmp_path, tasks)
    for expression, said in WRONG.items():
        assert said in done.text, f"{expression}: {done.output}"


@pytest.mark.parametrize("components", ["tempo", 5])
def test_what_is_no_list_lists_nothing(tmp_path: Path, components: Any) -> None:
    """The module validate refuses it in its own words, which takes the other roles."""
    message = {"msg": "{{ query('fastml.supersonic.instance_roles') | join(' ') }}"}
    done = run(tmp_path, [{"ansible.builtin.debug": message, "vars": {"supersonic_components": components}}])
    assert " ".join(ALWAYS) in done.text, done.output
