# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A second Kubernetes on this machine, by the role local_cluster: for tests of the role itself, and for those that need
a cluster on which nothing is deployed, whatever a person has deployed on the first one."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.node import Machine

CLONE = Path(__file__).resolve().parents[2]
NAME, INTERFACE = "supersonic-test", "supersonic-test"
STATE = Path("/var/lib/fastml-supersonic-test")
MACHINE = Machine(NAME, INTERFACE)
PLAYBOOK = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: fastml.supersonic_dev.local_cluster
    - ansible.builtin.copy:
        content: "{{ __local_cluster_node.actions | to_json }}"
        dest: actions.json
        mode: "0600"
      changed_when: false
      check_mode: false
"""


class SecondNode:
    """Runs the role for the second node.

    folder: where its kubeconfig and its manifest of KEDA are written.
    variables: values of the role's variables in every run, without local_cluster_.
    """

    def __init__(self, folder: Path, **variables: Any) -> None:
        self.folder = folder
        self.variables = variables
        self.kubeconfig = folder / "kubeconfig"
        (folder / "play.yml").write_text(PLAYBOOK)

    def command(self, *arguments: str, **changes: Any) -> tuple[list[str], dict[str, str]]:
        """The command and its environment. changes: further variables of the role, or other values."""
        variables = {
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "local_cluster_name": NAME,
            "local_cluster_interface": INTERFACE,
            "local_cluster_directory": str(STATE),
            "local_cluster_outside_address": "198.18.0.9",
            "local_cluster_inside_address": "198.18.0.10",
            "local_cluster_kubeconfig": str(self.kubeconfig),
            **{f"local_cluster_{name}": value for name, value in (self.variables | changes).items()},
        }
        command = ["ansible-playbook", "-i", "localhost,", str(self.folder / "play.yml"), "-e", json.dumps(variables)]
        environment = own_environment(
            ANSIBLE_CONFIG=str(CLONE / "ansible.cfg"),
            ANSIBLE_COLLECTIONS_PATH=str(CLONE / ".collections"),
            ANSIBLE_NOCOLOR="true",
            ANSIBLE_HOME=str(self.folder / "ansible"),
        )
        return [*command, *arguments], environment

    def run(self, *arguments: str, **changes: Any) -> tuple[bool, list[str]]:
        """Run it. Returns whether it changed something, and the actions of the module local_node."""
        command, environment = self.command(*arguments, **changes)
        done = subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        recap = re.search(r"^localhost +:.* changed=(\d+)", done.stdout, re.MULTILINE)
        assert recap is not None
        return int(recap[1]) > 0, json.loads((self.folder / "actions.json").read_text())

    def kubectl(self, *arguments: str) -> str:
        """The output of kubectl on the node."""
        kubelet = json.loads((STATE / "daemons/kubelet.json").read_text())["command"][0]
        command = [str(Path(kubelet).with_name("kubectl")), "--kubeconfig", str(self.kubeconfig), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
