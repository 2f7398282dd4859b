# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What site.yml says of instances before anything changes; `python judge.py INVENTORY...` prints a message by host.

Ansible makes a process for each host and reads all playbooks and roles for each inventory, which takes several times as
long as judging does. Here one process judges them all, with the task of the playbook itself and the variables that
Ansible gives it. A process of its own: Ansible's loader of plugins changes what a process imports.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook import Playbook
from ansible.playbook.play_context import PlayContext
from ansible.plugins import loader as plugins
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

JUDGE = "fastml.supersonic.validate"
PLAYBOOK = "playbooks/site.yml"


def judged(inventory: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each instance with the result of the first task that judges it."""
    loader = DataLoader()
    hosts = InventoryManager(loader, sources=[inventory])
    variables = VariableManager(loader, hosts)
    hostvars = HostVars(hosts, variables, loader)
    plays = Playbook.load(PLAYBOOK, variable_manager=variables, loader=loader).get_plays()
    tasks = ((play, task) for play in plays for block in play.compile() for task in block.block)
    play, task = next((play, task) for play, task in tasks if task.action == JUDGE)
    context = PlayContext(play)
    connection = plugins.connection_loader.get("ansible.builtin.local", context)
    for host in hosts.get_hosts(play.hosts):
        task_vars = {**variables.get_vars(play=play, host=host, task=task), "hostvars": hostvars}
        templar = Templar(loader=loader, variables=task_vars)
        own = task.copy()
        own.args = templar.template(own.args)
        action = plugins.action_loader.get(
            JUDGE,
            task=own,
            connection=connection,
            play_context=context,
            loader=loader,
            templar=templar,
            shared_loader_obj=plugins,
        )
        yield host.name, action.run(task_vars=task_vars)


if __name__ == "__main__":
    plugins.init_plugin_loader()
    found = {host: result for inventory in sys.argv[1:] for host, result in judged(inventory)}
    print(json.dumps({host: result["msg"] for host, result in found.items() if result.get("failed")}))
