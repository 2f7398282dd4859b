# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks that need nothing but the controller, for many hosts in one process.

Ansible makes a process for each task of each host, and more for a module: what takes 20 ms then takes 0.1 to 1 s. Here
tasks, roles and variables are Ansible's own as well, and so are templates and our own plugins; only the two modules
that write manifests are stood in for. Tests compare what this gives with what a real run gives.

    python one_process.py judge INVENTORY...          what site.yml says, by host, of the instances that it refuses
    python one_process.py render PLAYBOOK INVENTORY   does what a playbook's tasks say; a refusal ends it
    python one_process.py asked INVENTORY HOST...     what site.yml asks for: rights by host, and demands of some hosts

INVENTORY of the last may be several, with a colon between them.

A process of its own: Ansible's loader of plugins changes what a process imports.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook import Playbook
from ansible.playbook.block import Block
from ansible.playbook.play import Play
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins import loader as plugins
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

JUDGE = "fastml.supersonic.validate"
SITE = "playbooks/site.yml"


class Controller:
    """A playbook and an inventory."""

    # What was read of each playbook: the same for every inventory, and a third of the work of judging ten hosts.
    _read: dict[str, list[Play]] = {}

    def __init__(self, playbook: str, inventory: str) -> None:
        self._loader = DataLoader()
        self._inventory = InventoryManager(self._loader, sources=inventory.split(os.pathsep))
        self._variables = VariableManager(self._loader, self._inventory)
        self._hostvars = HostVars(self._inventory, self._variables, self._loader)
        self._registered: dict[str, dict[str, Any]] = {}
        if playbook not in self._read:
            read = Playbook.load(playbook, variable_manager=self._variables, loader=self._loader)
            self._read[playbook] = read.get_plays()
        self.plays = self._read[playbook]

    def hosts(self, play: Play) -> list[Any]:
        return list(self._inventory.get_hosts(play.hosts))

    def variables(self, play: Play, task: Task, host: Any) -> tuple[dict[str, Any], Templar]:
        found = {
            **self._registered.get(host.name, {}),
            **self._variables.get_vars(play=play, host=host, task=task),
            "hostvars": self._hostvars,
        }
        return found, Templar(loader=self._loader, variables=found)

    def run(self, play: Play, task: Task, host: Any) -> dict[str, Any]:
        """The result of an action plugin."""
        variables, templar = self.variables(play, task, host)
        context = PlayContext(play)
        task = task.copy()
        # As Ansible does it: what is judged depends on the host.
        task.args = templar.template(task.args)
        action = plugins.action_loader.get(
            task.action,
            task=task,
            connection=plugins.connection_loader.get("ansible.builtin.local", context),
            play_context=context,
            loader=self._loader,
            templar=templar,
            shared_loader_obj=plugins,
        )
        return dict(action.run(task_vars=variables))

    def do(self, play: Play, task: Task, host: Any) -> None:
        """Do what a task says."""
        variables, templar = self.variables(play, task, host)
        skipped = not task._resolve_conditional(task.when, variables)
        if task.register:
            # Of what was done only that counts here.
            result = {"skipped": True} if skipped else {"removed": [], "others": []}
            # A name, or from ansible-core 2.21 on names with what they take of the result.
            names = [task.register] if isinstance(task.register, str) else task.register
            self._registered.setdefault(host.name, {}).update(dict.fromkeys(names, result))
        if skipped:
            return
        if task.action in (JUDGE, "ansible.builtin.validate_argument_spec"):
            result = self.run(play, task, host)
            if result.get("failed"):
                raise SystemExit(str(result["msg"]))
        elif task.action == "ansible.builtin.file":
            arguments = templar.template(task.args)
            assert arguments.pop("state") == "directory"
            path, mode = Path(arguments.pop("path")), arguments.pop("mode")
            assert not arguments, arguments
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(int(mode, 8))
        elif task.action == "ansible.builtin.copy":
            arguments = templar.template(task.args)
            path, mode, content = (Path(arguments.pop("dest")), arguments.pop("mode"), arguments.pop("content"))
            assert not arguments, arguments
            path.write_text(content)
            path.chmod(int(mode, 8))
        elif task.action == "fastml.supersonic.rendered_folder":
            # Found by Ansible's loader, which is at work by now.
            from ansible_collections.fastml.supersonic.plugins.module_utils._instance.rendered_folder import keep

            arguments = templar.template(task.args)
            folder, kustomization = Path(arguments["path"]), bool(arguments["kustomization"])
            keep(folder, arguments["files"], kustomization=kustomization, check=False)
        elif task.action == "ansible.builtin.assert":
            conditions = task.args["that"]
            assert templar.evaluate_conditional(conditions), conditions
        elif task.action not in ("ansible.builtin.debug", "meta", "ansible.builtin.meta"):
            raise SystemExit(f"{task.action} has nothing that stands in for it here")


def tasks(blocks: list[Any]) -> Iterator[Task]:
    for item in blocks:
        if isinstance(item, Block):
            yield from tasks(item.block)
        else:
            yield item


def judge(inventory: str) -> dict[str, str]:
    """What the first task that judges instances says of those that it refuses."""
    controller = Controller(SITE, inventory)
    found = ((play, task) for play in controller.plays for task in tasks(play.compile()))
    play, task = next((play, task) for play, task in found if task.action == JUDGE)
    results = {host.name: controller.run(play, task, host) for host in controller.hosts(play)}
    return {host: result["msg"] for host, result in results.items() if result.get("failed")}


def render(playbook: str, inventory: str) -> None:
    controller = Controller(playbook, inventory)
    for play in controller.plays:
        for task in tasks(play.compile()):
            for host in controller.hosts(play):
                controller.do(play, task, host)


def asked(inventory: str, *names: str) -> dict[str, Any]:
    """What site.yml asks of clusters: features, permissions, Services elsewhere and the site's rules of all hosts, and
    what the lookup gives for these."""
    controller = Controller(SITE, inventory)
    found = ((play, task) for play in controller.plays for task in tasks(play.compile()))
    play, task = next((play, task) for play, task in found if task.action == "fastml.supersonic.cluster_info")
    results = {}
    for host in controller.hosts(play):
        variables, templar = controller.variables(play, task, host)
        wanted = ["preflight_features", "preflight_services", "preflight_policy"]
        wanted += ["preflight_demands"] if host.name in names else []
        results[host.name] = {name.removeprefix("preflight_"): templar.template(variables[name]) for name in wanted}
        results[host.name]["permissions"] = templar.template(task.args["permissions"])
    return results


if __name__ == "__main__":
    plugins.init_plugin_loader()
    command, *arguments = sys.argv[1:]
    if command == "asked":
        print(json.dumps(asked(*arguments)))
    elif command == "judge":
        print(json.dumps({host: message for path in arguments for host, message in judge(path).items()}))
    else:
        render(*arguments)
