# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules in the process of their task: the same as in processes of their own, by real runs of ansible-playbook."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, Run, run_playbook
from ansible_collections.fastml.supersonic.tests.harness.processes import until

SECRET = "correct horse battery staple"
ACTION = """\
from ansible_collections.test.direct.plugins.modules import probe
from ansible_collections.fastml.supersonic.plugins.plugin_utils._direct.actions import DirectModule


class ActionModule(DirectModule):
    module = probe
"""
# Stands in for sudo, where nobody is asked for a password.
SUDO = """\
#!/bin/sh
while [ "$1" != /bin/sh ]; do shift; done
PROBE=sudo exec "$@"
"""
# name -> what the task says besides the options, and whether its module may run in the process of the task.
PROBE = "test.direct.probe"
TASKS: dict[str, tuple[dict[str, Any], bool]] = {
    "tell": ({PROBE: {"things": [1, 2.5, True, None, {"a": [1]}, "{{ 7 * 6 }}"]}}, True),
    "omit": ({PROBE: {"text": "{{ nowhere | default(omit) }}"}}, True),
    "group": ({PROBE: {}, "module_defaults": {"group/test.direct.all": {"text": "from the group"}}}, True),
    "default": ({PROBE: {}, "module_defaults": {PROBE: {"text": "from the module"}}}, True),
    "check": ({PROBE: {}, "check_mode": True}, True),
    "diff": ({PROBE: {}, "diff": True}, True),
    "warn": ({PROBE: {"act": "{{ item }}"}, "loop": ["warn", "tell", "warn"]}, True),
    "scratch": ({PROBE: {"act": "scratch", "text": "{{ item }}"}, "loop": [1, 2]}, True),
    "file": ({PROBE: {"act": "file", "path": "data.txt"}}, True),
    "secret": ({PROBE: {"secret": SECRET, "text": f"say {SECRET} aloud"}}, True),
    "fail": ({PROBE: {"act": "fail", "secret": SECRET}}, True),
    "quiet": ({PROBE: {"text": SECRET}, "no_log": True}, True),
    "crash": ({PROBE: {"act": "crash"}}, True),
    "print": ({PROBE: {"act": "print"}}, True),
    "leave": ({PROBE: {"act": "leave"}}, True),
    "say nothing": ({PROBE: {"act": "say nothing"}}, True),
    "wrong option": ({PROBE: {"txt": "a"}}, True),
    "wrong type": ({PROBE: {"things": {"a": 1}}}, True),
    "until": ({PROBE: {"act": "fail"}, "retries": 2, "delay": 0, "until": "false"}, True),
    "timeout": ({PROBE: {"act": "sleep", "text": "4", "path": "{{ out }}/pid"}, "timeout": 1}, True),
    "delegate": ({PROBE: {}, "delegate_to": "localhost"}, True),
    "elsewhere": ({PROBE: {}, "delegate_to": "other"}, False),
    "environment": ({PROBE: {}, "environment": {"PROBE": "task"}}, False),
    "async": ({PROBE: {}, "async": 30, "poll": 1}, False),
    "become": (
        {PROBE: {}, "become": True, "become_user": "else", "vars": {"ansible_become_exe": "{{ out }}/sudo"}},
        False,
    ),
    "interpreter": ({PROBE: {}, "vars": {"ansible_python_interpreter": "{{ out }}/bin/python"}}, False),
    # A real one, without a cluster.
    "info": (
        {
            "fastml.supersonic.cluster_info": {"namespace": "cms"},
            "module_defaults": {"group/fastml.supersonic.supersonic": {"kubeconfig": "{{ out }}/no-kubeconfig"}},
        },
        True,
    ),
    "objects": (
        {
            "fastml.supersonic.manifests": {
                "name": "set",
                "namespace": "cms",
                "kubeconfig": "{{ out }}/no-kubeconfig",
                "definitions": [{"kind": "Secret", "metadata": {"name": "a"}, "stringData": {"a": SECRET}}],
            }
        },
        True,
    ),
}


class Place:
    """A folder with the collection test.direct and an inventory of two hosts, both this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        collection = folder / "collections" / "ansible_collections" / "test" / "direct"
        for kind in ("modules", "action"):
            (collection / "plugins" / kind).mkdir(parents=True)
        (collection / "meta").mkdir()
        (collection / "meta" / "runtime.yml").write_text("action_groups: {all: [probe]}\n")
        (collection / "galaxy.yml").write_text("{namespace: test, name: direct, version: 1.0.0}\n")
        shutil.copy(Path(__file__).with_name("probe.py"), collection / "plugins" / "modules" / "probe.py")
        (collection / "plugins" / "action" / "probe.py").write_text(ACTION)
        (folder / "data.txt").write_text("beside the playbook")
        (folder / "ansible.cfg").write_text("[connection]\npipelining = true\n")
        (folder / "sudo").write_text(SUDO)
        (folder / "sudo").chmod(0o755)
        (folder / "bin").mkdir()
        (folder / "bin" / "python").symlink_to(sys.executable)
        (folder / "work").mkdir()
        (folder / "remote").mkdir()
        local = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "ansible_remote_tmp": str(folder / "remote"),
            "out": str(folder),
        }
        hosts: dict[str, dict[str, Any]] = {
            "here": local,
            "apart": {**local, "fastml_direct_execution": False},
            "other": {**local, "ansible_python_interpreter": str(folder / "bin" / "python")},
        }
        for host in ("here", "apart"):
            hosts |= {f"{host}-{act}": {**hosts[host], "act": act} for act in ("sleep", "tidy")}
        (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
        self.environment = {
            "ANSIBLE_COLLECTIONS_PATH": f"{folder / 'collections'}:{CLONE / '.collections'}",
            "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        }

    def playbook(self, tasks: list[dict[str, Any]], hosts: str = "here:apart") -> Path:
        path = self.folder / "playbook.yml"
        path.write_text(yaml.safe_dump([{"hosts": hosts, "gather_facts": False, "tasks": tasks}], sort_keys=False))
        return path

    def run(self, playbook: Path, *arguments: str) -> Run:
        """From another directory than the playbook's."""
        return run_playbook(
            playbook,
            self.folder / "hosts.yml",
            *arguments,
            environment=self.environment,
            directory=self.folder / "work",
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("direct").resolve())


@pytest.fixture(scope="module")
def done(place: Place) -> tuple[Run, dict[str, dict[str, Any]]]:
    """The output of all tasks, and what each came to on each host."""
    tasks = [
        {"name": name, **task, "register": f"r{index}", "ignore_errors": True}
        for index, (name, (task, _direct)) in enumerate(TASKS.items())
    ]
    results = ", ".join(f"{json.dumps(name)}: r{index}" for index, name in enumerate(TASKS))
    file = "{{ out }}/{{ inventory_hostname }}.json"
    copy = {"dest": file, "content": "{{ {" + results + "} | to_json }}"}
    run = place.run(place.playbook([*tasks, {"ansible.builtin.copy": copy}]), "-vvvv")
    assert run.code == 0, run.output
    return run, {host: json.loads((place.folder / f"{host}.json").read_text()) for host in ("here", "apart")}


def each(result: Any) -> list[dict[str, Any]]:
    """The results of a loop, or the only one."""
    return list(result.get("results", [result]))


@pytest.mark.parametrize("name", TASKS)
def test_result_is_that_of_a_process_of_its_own(name: str, done: tuple[Run, dict[str, Any]]) -> None:
    here, apart = (_comparable(done[1][host][name]) for host in ("here", "apart"))
    assert here == apart


def _comparable(value: Any) -> Any:
    """Without what differs between any two runs."""
    if isinstance(value, dict):
        other = ("here", "ansible_job_id", "results_file", "start", "end", "delta")
        return {key: _comparable(item) for key, item in value.items() if key not in other}
    return [_comparable(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", TASKS)
def test_module_runs_here_only_where_that_is_the_same(name: str, done: tuple[Run, dict[str, Any]]) -> None:
    direct = TASKS[name][1]
    section = done[0].output.partition(f"TASK [{name}] ")[2].partition("TASK [")[0]
    said = re.findall(r" runs in (the process of the task|a process of its own, because .*)\.$", section, re.M)
    tried = len(each(done[1]["here"][name]))
    assert len(said) >= 2 * tried, section
    assert ("the process of the task" in said) == direct
    assert "a process of its own, because fastml_direct_execution is false" in said
    told = [item["here"] for item in each(done[1]["here"][name]) if "here" in item]
    assert set(told) <= {direct}
    assert not any(item.get("here") for item in each(done[1]["apart"][name]))


def test_results_are_what_was_asked_for(done: tuple[Run, dict[str, Any]]) -> None:
    """Equal results could be equally wrong."""
    here = done[1]["here"]
    assert here["tell"]["params"]["things"] == [1, 2.5, True, None, {"a": [1]}, 42]
    assert here["omit"]["params"]["text"] == "nothing"
    assert here["group"]["params"]["text"] == "from the group"
    assert here["default"]["params"]["text"] == "from the module"
    assert here["check"]["changed"] is False
    assert here["diff"]["diff"] == {"before": "one\n", "after": "two\n"}
    # Ansible collects those of all items; the second has none of the first.
    assert here["warn"]["warnings"] == ["Mind nothing.", "Mind nothing."]
    assert [item["msg"] for item in here["warn"]["deprecations"]] == ["Leave nothing.", "Leave nothing."]
    assert here["file"]["content"] == "beside the playbook"
    assert "It failed with nothing and ****" in here["fail"]["msg"]
    assert "this is a crash: the cause is nothing" in here["crash"]["msg"]
    assert "junk after the JSON data: after" in str(here["print"]["warnings"])
    assert (here["leave"]["rc"], here["leave"]["module_stdout"]) == (3, "no JSON\n")
    assert here["say nothing"]["failed"]
    assert "Unsupported parameters for (test.direct.probe) module: txt" in here["wrong option"]["msg"]
    assert here["until"]["attempts"] == 2
    assert here["timeout"]["timedout"]["period"] == 1
    assert here["environment"]["environment"] == "task"
    assert here["become"]["environment"] == "sudo"
    assert "no-kubeconfig" in here["info"]["msg"]


def test_secrets_are_nowhere(done: tuple[Run, dict[str, Any]]) -> None:
    run, results = done
    assert SECRET not in run.output
    assert results["here"]["secret"]["params"]["text"].startswith("say ****")
    del results["here"]["quiet"], results["apart"]["quiet"]
    assert SECRET not in json.dumps(results)


def test_nothing_is_left(place: Place, done: tuple[Run, dict[str, Any]]) -> None:
    assert done[1]["here"]["scratch"]["results"][1]["scratch"] == str(place.folder / "remote")
    assert not list((place.folder / "remote").glob("ansible-moduletmp-*"))


@pytest.fixture(scope="module", params=[signal.SIGINT, signal.SIGTERM])
def ended(place: Place, request: pytest.FixtureRequest) -> tuple[signal.Signals, Path]:
    """A signal to a run in which modules of several hosts are at work, and where each has said which process it was."""
    folder = place.folder / request.param.name
    folder.mkdir()
    path = f"{folder}/{{{{ inventory_hostname }}}}"
    hosts = [f"{host}-{act}" for host in ("here", "apart") for act in ("sleep", "tidy")]
    playbook = place.playbook([{PROBE: {"act": "{{ act }}", "text": "60", "path": path}}], ":".join(hosts))
    command = [sys.executable, "-m", "ansible", "playbook", "-i", place.folder / "hosts.yml", playbook]
    with subprocess.Popen(command, env=own_environment(**place.environment), start_new_session=True) as process:
        until(lambda: all((folder / host).exists() and (folder / host).read_text() for host in hosts), 30)
        os.kill(process.pid, request.param)
        process.wait(timeout=120)
    assert process.returncode != 0
    return request.param, folder


@pytest.mark.parametrize("host", ["here", "apart"])
@pytest.mark.parametrize("act", ["sleep", "tidy"])
def test_signal_ends_the_module(ended: tuple[signal.Signals, Path], act: str, host: str) -> None:
    """Ctrl-C leaves a module the time to clear up, and so does SIGTERM to one that handles it."""
    number, folder = ended
    pid = folder / f"{host}-{act}"
    until(lambda: not Path("/proc", pid.read_text()).exists(), 5)
    assert Path(f"{pid}.tidy").exists() == (number == signal.SIGINT or act == "tidy")
