# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbook teardown says of what it has left, by its own expressions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook

PLAYS = yaml.safe_load((CLONE / "playbooks" / "teardown.yml").read_text())
# All that is done is in one block, so that whoever fails is logged out.
((BLOCK,),) = [play["tasks"] for play in PLAYS if play.get("name") == "Remove instances"]
KEPT = {"kind": "PersistentVolumeClaim", "name": "main-prometheus", "namespace": "cms", "action": "kept"}
METRICS = (
    'What Prometheus has recorded in the claim main-prometheus in the namespace cms is left: -e \'{"teardown_metrics": '
    "true}' removes it."
)
TRACES = (
    "The traces in the claim main-tempo in the namespace cms are left: -e '{\"teardown_traces\": true}' removes them."
)
STAYS = "The namespace 'cms' is left, the sets main-prometheus-applyset are still in it."


@pytest.mark.parametrize(
    ("objects", "traces", "left", "lines"),
    [
        ([], [], [], ["Nothing of main is left."]),
        ([{**KEPT, "action": "deleted"}], [], [], ["Nothing of main is left."]),
        ([KEPT, {**KEPT, "kind": "Namespace"}], [], [STAYS], [METRICS, STAYS]),
        ([], [{**KEPT, "name": "main-tempo"}], [STAYS], [TRACES, STAYS]),
    ],
)
def test_what_is_left_is_named(
    tmp_path: Path, objects: list[Any], traces: list[Any], left: list[str], lines: list[str]
) -> None:
    (task,) = [task for task in BLOCK["block"] if task["name"] == "Say what is left"]
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_name": "main",
        "supersonic_namespace": "cms",
        "supersonic_create_namespace": True,
        "model_repository_path": "",
        "model_repository_sources": [],
        "teardown_models": False,
        "teardown_addressed": [],
        "__prometheus_result": {"objects": objects},
        "__tempo_result": {"objects": traces},
        "__triton_result": {"left": left},
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"main": variables}}}))
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    done = run_playbook(tmp_path / "play.yml", tmp_path / "hosts.yml")
    assert done.code == 0, done.output
    said = done.output.partition("ok: [main] =>")[2].partition("PLAY RECAP")[0]
    assert yaml.safe_load(said)["msg"].split("\n") == lines


def test_what_is_waited_for_is_told_before(tmp_path: Path) -> None:
    (task,) = [task for task in BLOCK["block"] if task["name"] == "Say what goes, and what becomes of data"]
    stray = [{"kind": "Deployment", "name": "main-triton"}, {"kind": "Deployment", "name": "main-envoy"},
             {"kind": "Service", "name": "main-tempo"}]  # fmt: skip
    shared = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_name": "main",
        "teardown_addressed": [],
        **{f"{role}_termination_grace": 60 for role in ("prometheus", "otel_collector", "tempo", "triton")},
        "envoy_termination_grace": 40,
    }
    hosts = {"some": {"__teardown_before": {"stray": stray, "kept": [], "volumes": []}},
             "none": {"__teardown_before": {"stray": [], "kept": [], "volumes": []}}}  # fmt: skip
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": shared, "hosts": hosts}}))
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    done = run_playbook(tmp_path / "play.yml", tmp_path / "hosts.yml")
    assert done.code == 0, done.output
    told = "may take their time to stop: main-envoy up to 40 s, main-triton up to 60 s. At the end, for 120 s at most"
    assert done.text.count(told) == done.text.count("At the end") == 1, done.output


@pytest.mark.parametrize(("name", "variable"), [("prometheus", "teardown_metrics"), ("tempo", "teardown_traces")])
def test_what_was_recorded_goes_only_when_that_is_said(tmp_path: Path, name: str, variable: str) -> None:
    (role,) = [
        task
        for task in BLOCK["block"]
        if task.get("ansible.builtin.import_role", {}).get("name") == f"fastml.supersonic.{name}"
    ]
    tasks = yaml.safe_load((CLONE / "roles" / name / "tasks" / "main.yml").read_text())
    (apply,) = [task for task in tasks if "fastml.supersonic.manifests" in task]
    keep = apply["fastml.supersonic.manifests"]["keep"]
    said = {"ansible.builtin.debug": {"msg": "Kept: {{ keep | join('+') }}."}}
    play = {"hosts": "all", "gather_facts": False, "tasks": [{**said, "vars": {**role["vars"], "keep": keep}}]}
    hosts = {"no": {variable: False}, "yes": {variable: "true"}}
    shared = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": shared, "hosts": hosts}}))
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    done = run_playbook(tmp_path / "play.yml", tmp_path / "hosts.yml")
    assert done.output.count("Kept: Namespace+PersistentVolumeClaim.") == 1, done.output
    assert done.output.count("Kept: Namespace.") == 1, done.output
