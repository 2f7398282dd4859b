# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbook teardown says of what it has left, by its own expressions."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, Run, run_playbook

PLAYS = yaml.safe_load((CLONE / "playbooks" / "teardown.yml").read_text())
(PLAY,) = [play for play in PLAYS if play.get("name") == "Remove instances"]
# All that is done is in one block, so that whoever fails is logged out.
(BLOCK,) = PLAY["tasks"]
KEPT = {"kind": "PersistentVolumeClaim", "name": "main-prometheus", "namespace": "cms", "action": "kept"}
METRICS = (
    'What Prometheus has recorded in the claim main-prometheus in the namespace cms is left: -e \'{"teardown_metrics": '
    "true}' removes it."
)
TRACES = (
    "The traces in the claim main-tempo in the namespace cms are left: -e '{\"teardown_traces\": true}' removes them."
)
STAYS = "The namespace 'cms' is left, the sets main-prometheus-applyset are still in it."


# What the roles have come to, and the lines that tell what is left.
LEFT: dict[str, tuple[list[Any], list[Any], list[str], list[str]]] = {
    "nothing": ([], [], [], ["Nothing of main is left."]),
    "deleted": ([{**KEPT, "action": "deleted"}], [], [], ["Nothing of main is left."]),
    "metrics": ([KEPT, {**KEPT, "kind": "Namespace"}], [], [STAYS], [METRICS, STAYS]),
    "traces": ([], [{**KEPT, "name": "main-tempo"}], [STAYS], [TRACES, STAYS]),
}
STRAY = [
    {"kind": "Deployment", "name": "main-triton"},
    {"kind": "Deployment", "name": "main-envoy"},
    {"kind": "Service", "name": "main-tempo"},
]
RECORDED = {"prometheus": "teardown_metrics", "tempo": "teardown_traces"}


REPOSITORIES = [{"name": name, "kind": "pvc", "claim": name} for name in ("main-models", "shared")]
# Claims of others that servers mount, by who manages the first one.
USED = {"managed": "shared", "existing": "main-models+shared"}


def using() -> dict[str, Any]:
    """A task that tells which claims both looks for objects of the instance leave out."""
    looks = [
        task["fastml.supersonic.instance_objects"]["claims"]
        for task in BLOCK["block"]
        if "fastml.supersonic.instance_objects" in task
    ]
    assert len(looks) == 2
    said = " and ".join(f"{{{{ used[{number}] | sort | join('+') }}}}" for number in range(len(looks)))
    return {"ansible.builtin.debug": {"msg": f"Used: {said}."}, "vars": PLAY["vars"] | {"used": looks}}


def keeping(name: str) -> dict[str, Any]:
    """A task that tells which kinds a role keeps, where the playbook brings it in."""
    (role,) = [
        task
        for task in BLOCK["block"]
        if task.get("ansible.builtin.import_role", {}).get("name") == f"fastml.supersonic.{name}"
    ]
    tasks = yaml.safe_load((CLONE / "roles" / name / "tasks" / "main.yml").read_text())
    (apply,) = [task for task in tasks if "fastml.supersonic.manifests" in task]
    keep = apply["fastml.supersonic.manifests"]["keep"]
    said = {"ansible.builtin.debug": {"msg": "Kept: {{ keep | join('+') }}."}}
    return {**said, "vars": {**role["vars"], "keep": keep}}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Tasks of the playbook on hosts that stand for what has come before."""
    folder = tmp_path_factory.mktemp("teardown")
    left, before = (
        next(task for task in BLOCK["block"] if task["name"] == name)
        for name in ("Report what is left", "Report what is removed and what happens to data")
    )
    shared = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_name": "main",
        "supersonic_namespace": "cms",
        "supersonic_create_namespace": True,
        "model_repository_path": "",
        "model_repository_sources": [],
        "teardown_models": False,
        "teardown_addressed": [],
        **{f"{role}_termination_grace": 60 for role in ("prometheus", "otel_collector", "tempo", "triton")},
        "envoy_termination_grace": 40,
    }
    groups: dict[str, dict[str, Any]] = {
        "left": {
            host: {
                "__prometheus_result": {"objects": objects},
                "__tempo_result": {"objects": traces},
                "__triton_result": {"left": there},
            }
            for host, (objects, traces, there, _lines) in LEFT.items()
        },
        "before": {
            "some": {"__teardown_before": {"stray": STRAY, "kept": [], "volumes": []}},
            "none": {"__teardown_before": {"stray": [], "kept": [], "volumes": []}},
        },
    }
    groups["used"] = {
        f"used-{mode}": {
            "model_repository_mode": mode,
            "model_repository_claim": "main-models",
            "triton_model_repositories": REPOSITORIES,
        }
        for mode in USED
    }
    tasks = {"left": left, "before": before, "used": using()}
    for name, variable in RECORDED.items():
        groups[name] = {f"{name}-no": {variable: False}, f"{name}-yes": {variable: "true"}}
        tasks[name] = keeping(name)
    plays = [{"hosts": group, "gather_facts": False, "tasks": [task]} for group, task in tasks.items()]
    inventory = {"all": {"vars": shared}, **{group: {"hosts": hosts} for group, hosts in groups.items()}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (folder / "play.yml").write_text(yaml.safe_dump(plays))
    found = run_playbook(folder / "play.yml", folder / "hosts.yml")
    assert found.code == 0, found.output
    return found


@pytest.mark.parametrize("host", LEFT)
def test_what_is_left_is_named(done: Run, host: str) -> None:
    (said,) = done.results_of(host)
    assert yaml.safe_load(said.partition("=>")[2])["msg"].split("\n") == LEFT[host][-1]


def test_what_is_waited_for_is_told_before(done: Run) -> None:
    told = "may take their time to stop: main-envoy up to 40 s, main-triton up to 60 s. At the end, for 120 s at most"
    assert told in done.said_of("some")
    assert done.text.count(told) == done.text.count("At the end") == 1, done.output


@pytest.mark.parametrize("name", RECORDED)
def test_what_was_recorded_goes_only_when_that_is_said(done: Run, name: str) -> None:
    assert "Kept: Namespace+PersistentVolumeClaim." in done.said_of(f"{name}-no")
    assert "Kept: Namespace." in done.said_of(f"{name}-yes")


@pytest.mark.parametrize("mode", USED)
def test_claims_that_the_instance_only_uses_stay(done: Run, mode: str) -> None:
    assert f"Used: {USED[mode]} and {USED[mode]}." in done.said_of(f"used-{mode}")


def test_what_would_bring_servers_back_goes_before_them() -> None:
    roles = [
        task["ansible.builtin.import_role"]["name"] for task in BLOCK["block"] if "ansible.builtin.import_role" in task
    ]
    order = [name.removeprefix("fastml.supersonic.") for name in roles]
    assert order.index("autoscaler") < order.index("triton") < order.index("model_repository")
