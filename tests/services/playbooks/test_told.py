# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people read at the end of a benchmark and of bringing up the local instance: lines, and what to do next."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook

VARIABLES = CLONE / "roles" / "benchmark" / "vars" / "main.yml"
MEASURED: dict[str, Any] = {
    "table": "servers  mean ms\n      1     35.7",
    "files": ["/a/b/benchmark.json"],
    "plotted": True,
}
HOSTS: dict[str, dict[str, Any]] = {
    "plotted": {"__benchmark_result": MEASURED},
    "plain": {"__benchmark_result": {**MEASURED, "plotted": False, "variables_text": "a: 1\nb: 2"}},
    "unwritten": {"__benchmark_result": {**MEASURED, "files": [], "plotted": False}},
    "fixed": {},
    "scaled": {"supersonic_components": ["prometheus", "autoscaler"]},
}
BROUGHT = {
    "verify_address": "a:1",
    "verify_report": "/r",
    "local_directory": "/d",
    "__verify_result": {"targets": [{"models": ["m"]}]},
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Of each host, in one run."""
    folder = tmp_path_factory.mktemp("told")
    plays = yaml.safe_load((CLONE / "dev/playbooks/local.yml").read_text())
    (brought,) = [
        {**task, "when": "inventory_hostname in ['fixed', 'scaled']"}
        for play in plays
        for task in play.get("tasks", [])
        if "what can be done next" in str(task.get("name")) and "ansible.builtin.debug" in task
    ]
    text = {
        "ansible.builtin.debug": {"msg": "{{ __benchmark_measured_text }}"},
        "when": "__benchmark_result is defined",
    }
    play = {"hosts": "all", "gather_facts": False, "vars_files": [str(VARIABLES)], "tasks": [text, brought]}
    shared = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **BROUGHT}
    (folder / "play.json").write_text(json.dumps([play]))
    (folder / "hosts.json").write_text(json.dumps({"all": {"vars": shared, "hosts": HOSTS}}))
    done = run_playbook(folder / "play.json", folder / "hosts.json")
    assert done.code == 0, done.output
    said = re.findall(r"^ok: \[(\w+)\] => \n((?: .*\n|\n)+)", done.output, re.M)
    # In quotes a text is not shown as its lines.
    assert all(re.match(r" *msg: \|", text) for _host, text in said), done.output
    return {host: yaml.safe_load(text)["msg"].split("\n") for host, text in said}


def test_a_table_and_where_the_report_is(told: dict[str, list[str]]) -> None:
    table = MEASURED["table"].split("\n")
    assert told["plotted"] == [*table, "", "Report: /a/b, with plots."]
    assert told["plain"][:-1] == [*table, "", "a: 1", "b: 2", ""]
    assert told["plain"][-1].startswith("Report: /a/b. It has no plots: install matplotlib")
    assert told["unwritten"] == table


def test_what_is_next_does_something(told: dict[str, list[str]]) -> None:
    assert "triton_replicas=3" in told["fixed"][-1]
    assert "triton_replicas" not in told["scaled"][-1]
    assert """playbooks/benchmark.yml -e '{"benchmark_pools": ["dynamic"]}' (with""" in told["scaled"][-1]
