# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The waves of site.yml as Ansible runs them: its own plays, with tasks in place of the roles that need a cluster."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, Run, run_playbook

PROOF = {"targets": [{"checks": 3, "failed": 0}]}
# In the order of the inventory, with the wave of each.
HOSTS = {"late": 2, "first": 1, "canary": 0, "second": 1}


def stand_ins() -> dict[str, list[dict[str, Any]]]:
    """Tasks that fail on the hosts that are named, and else leave behind what the roles do."""

    def fails(where: str) -> dict[str, Any]:
        condition = f"inventory_hostname in {where} | default([])"
        return {"name": f"Fail ({where})", "ansible.builtin.fail": {"msg": f"bad {where}"}, "when": condition}

    def leaves(name: str, value: Any) -> dict[str, Any]:
        return {"name": f"Leave {name}", "ansible.builtin.set_fact": {name: value}}

    # Of its own those that need no cluster: what a login that failed leads to.
    tasks = CLONE / "roles/preflight/tasks"
    asking, preflight = (yaml.safe_load((tasks / f"{name}.yml").read_text()) for name in ("ask", "main"))
    (kept,) = [task for task in asking if task["name"] == "Record why the login failed"]
    # As the first play of all tells which roles are asked for, so do the tags here.
    return {
        "preflight": [fails("refusing"), leaves("__preflight_result", {"problems": []}), kept, preflight[-1]],
        "keda": [leaves("__keda_done", True)],
        "triton": [fails("undeployed"), leaves("__triton_result", {"changed": True})],
        "verify": [leaves("__verify_collector", {}), fails("unproved"), leaves("__verify_result", PROOF)],
    }


def without_roles(item: dict[str, Any]) -> list[dict[str, Any]]:
    """A task, or what stands in for the role that it brings in."""
    if "block" in item:
        return [{**item, "block": [task for part in item["block"] for task in without_roles(part)]}]
    role = item.get("ansible.builtin.import_role") or item.get("ansible.builtin.include_role")
    if not role:
        return [item]
    kept = {key: value for key, value in item.items() if key in ("when", "tags")}
    return [{**task, **({} if "when" in task else kept), **({"tags": kept["tags"]} if "tags" in kept else {})}
            for task in stand_ins().get(role["name"].rpartition(".")[2], [])]  # fmt: skip


def written(folder: Path, *more: str, clusters: Mapping[str, Any]) -> Path:
    """The folder, with the playbook and an inventory; more: how plays begin that are kept besides."""
    plays = yaml.safe_load((CLONE / "playbooks/site.yml").read_text())
    wanted = ("Check every cluster", "Deploy and verify every", "Report the result", *more)
    kept = [play for play in plays if play["name"].startswith(wanted)]
    assert len(kept) == len(wanted)
    for play in kept:
        play["tasks"] = [task for item in play["tasks"] for task in without_roles(item)]
    # They are found beside the playbook.
    shutil.copytree(CLONE / "playbooks/tasks", folder / "tasks")
    (folder / "site.yml").write_text(yaml.safe_dump(kept, sort_keys=False))
    hosts = {name: {"supersonic_name": name, "supersonic_namespace": "n", "supersonic_wave": wave}
             for name, wave in HOSTS.items()}  # fmt: skip
    shared = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {
        "supersonic_instances": {"vars": shared, "hosts": hosts},
        "supersonic_clusters": {"vars": shared, "hosts": dict(clusters)},
    }
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A host that is no instance is not to be taken for one.
    return written(tmp_path_factory.mktemp("waves"), clusters={"cluster": {}})


def run(site: Path, *arguments: str, **extra: Any) -> tuple[Run, dict[str, str]]:
    """A run, and the state of each instance as the report has it."""
    report = site / "report.json"
    report.unlink(missing_ok=True)
    done = run_playbook(site / "site.yml", site / "hosts.yml", *arguments, extra={"site_report": str(report), **extra})
    if not report.exists():
        return done, {}
    told = json.loads(report.read_text())
    assert told["passed"] == (done.code == 0), done.output
    return done, {each["host"]: each["state"] for each in told["instances"]}


def proved(done: Run) -> list[list[str]]:
    """Hosts in the order in which they were proved, those of a wave together."""
    parts = done.output.split("TASK [Leave __verify_result]")[1:]
    return [
        sorted(re.findall(r"^ok: \[(\w+)\]", part.partition("\nTASK ")[0].partition("\nPLAY ")[0], re.M))
        for part in parts
    ]


def test_each_wave_is_proved_before_the_next(site: Path) -> None:
    done, states = run(site)
    assert done.code == 0, done.output
    assert proved(done) == [["canary"], ["first", "second"], ["late"]]
    # In the order of the waves.
    assert list(states.items()) == [("canary", "proved"), ("first", "proved"), ("second", "proved"), ("late", "proved")]
    assert "cluster" not in done.recap
    # The report is written by one of them.
    assert sorted(host["changed"] for host in done.recap.values()) == [0, 0, 0, 1]


def test_the_first_failed_proof_ends_it(site: Path) -> None:
    done, states = run(site, unproved=["first"])
    assert done.code == 2, done.output
    # The other one of its wave is brought to its end.
    assert states == {"canary": "proved", "first": "failed", "second": "proved", "late": "not begun"}
    assert done.recap["first"]["failed"] == 1
    assert (done.recap["second"]["failed"], done.recap["late"]["failed"]) == (0, 0)
    assert 'first: proof failed, as is said above of the task "Fail (unproved)".' in done.text
    # By Ansible itself twice, and in the table.
    assert done.text.count("bad unproved") == 3, done.output
    assert re.search(r"1 +first +n +failed \(proof\)", done.output), done.output
    assert re.search(r"2 +late +n +not begun", done.output), done.output


def test_all_at_once_one_that_fails_stops_nobody(site: Path) -> None:
    done, states = run(site, "--limit", "first,second,late", undeployed=["first"], site_serial="100%")
    assert done.code == 2, done.output
    assert states == {"first": "failed", "second": "proved", "late": "proved"}
    assert proved(done) == [["late", "second"]]


def test_what_refuses_keeps_everything_as_it_is(site: Path) -> None:
    done, states = run(site, refusing=["late"])
    assert done.code == 2, done.output
    assert not states
    assert "No instance was changed" in done.text
    assert "With --limit the others are deployed alone" in done.text
    assert "Leave __triton_result" not in done.output
    alone, _states = run(site, "--limit", "late", refusing=["late"])
    assert "No instance was changed" in alone.text
    assert "--limit" not in alone.text, "there are no others"


def test_a_login_that_failed_is_a_cluster_that_refuses(tmp_path: Path) -> None:
    failure = {"__supersonic_login_failure": "Nobody is logged in: a wrong password."}
    keda = {"supersonic_components": ["keda"]}
    plays = ("Deploy what clusters", "Report which clusters")
    site = written(tmp_path, *plays, clusters={"near": keda, "far": {**keda, **failure}})
    inventory = yaml.safe_load((site / "hosts.yml").read_text())
    inventory["supersonic_instances"]["hosts"]["late"] |= failure
    (site / "hosts.yml").write_text(yaml.safe_dump(inventory, sort_keys=False))
    done, states = run(site)
    assert (done.code, states) == (2, {}), done.output
    assert "Nobody is logged in: a wrong password." in done.text
    assert "Leave __keda_done" not in done.output
    done, states = run(site, site_keep_going=True)
    assert done.code == 2, done.output
    assert states == {"canary": "proved", "first": "proved", "second": "proved", "late": "failed"}
    assert {name for name, counts in done.recap.items() if counts["failed"]} == {"late", "far"}
    assert "far was left out. Nobody is logged in: a wrong password." in done.text
    # The other cluster gets what it is to have.
    had = done.output.partition("TASK [Leave __keda_done]")[2].partition("\nTASK ")[0]
    assert re.findall(r"ok: \[(\w+)\]", had) == ["near"]


def test_others_go_on_without_what_refuses(site: Path) -> None:
    done, states = run(site, refusing=["late"], site_keep_going=True)
    assert done.code == 2, done.output
    assert states == {"canary": "proved", "first": "proved", "second": "proved", "late": "failed"}
    # A canary that was left out has proved nothing.
    done, states = run(site, refusing=["canary"], site_keep_going=True)
    assert states == {"canary": "failed", "first": "not begun", "second": "not begun", "late": "not begun"}


def test_parts_of_it(site: Path) -> None:
    """With tags, what has failed is kept all the same."""
    done, states = run(site, "--tags", "triton", undeployed=["canary"])
    assert done.code == 2, done.output
    assert states == {"canary": "failed", "first": "not begun", "second": "not begun", "late": "not begun"}
