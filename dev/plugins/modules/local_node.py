#!/usr/bin/python
# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: local_node
short_description: Bring a single-node Kubernetes up or down
version_added: 1.0.0
description:
  - Runs containerd, the kubelet, the control plane and the other daemons of a Kubernetes node in network, mount and
    process namespaces of its own, so that the machine's own settings stay as they are and removal leaves nothing.
  - It can be repeated after a kill at any moment, after a reboot, and when something has died.
options:
  state:
    description:
      - V(present) brings the node to what the other options say and waits until it is ready.
      - V(absent) removes its processes, network, control groups and state, and ends what works for O(cache) in the
        background.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: Name of the network namespace, of the control groups and of the node.
    type: str
    required: true
  directory:
    description: Folder with the state of the node.
    type: path
    required: true
  cache:
    description: Folder of the cache, in which also the lock of the node is.
    type: path
    required: true
  interface:
    description: Name of the machine's end of the link to the node.
    type: str
    required: true
  outside_address:
    description: Address of the machine on that link.
    type: str
  inside_address:
    description: Address of the node on that link.
    type: str
  prefix:
    description: Length of the network part of both addresses.
    type: int
    default: 30
  supervisor:
    description: The program that is the node's first process.
    type: path
  programs:
    description: Path of each program. C(kubeadm) and C(kubectl) are needed.
    type: dict
  images:
    description: Folders of image layouts that containerd is to have.
    type: list
    elements: path
    default: []
  configuration:
    description: Content of each file below C(config) in O(directory).
    type: dict
    default: {}
  daemons:
    description:
      - The daemons by name, in the order of their first start; C(containerd) is one of them.
      - Each has C(command), a list of words, and C(reads), the names of the files in O(configuration) that make it
        start anew when they change.
    type: dict
    default: {}
  addons:
    description: Kubernetes manifests as YAML, applied when the API answers.
    type: list
    elements: str
    default: []
  identity:
    description: What the data of the node depends on. When it changes, the node is removed and made anew.
    type: dict
    default: {}
  users:
    description: Users for whom kubeadm makes a kubeconfig, named after what follows the last colon.
    type: list
    elements: str
    default: []
  kubeconfig:
    description: Where the kubeconfig for use from the machine is written.
    type: path
  timeout:
    description: How long the API and then the node may take to become ready, in seconds each.
    type: float
    default: 180
attributes:
  check_mode:
    description: Can run in check mode and tell what would be changed, without changing anything.
    support: full
    details: It stops at the first step that would change something, because what follows depends on it.
  diff_mode:
    description: Can show what differs in diff mode.
    support: none
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
author: ["fastml.supersonic contributors (@fastmachinelearning)"]
"""

EXAMPLES = r"""
- name: Remove the node
  fastml.supersonic_dev.local_node:
    state: absent
    name: supersonic-local
    directory: /var/lib/fastml-supersonic
    cache: /var/cache/fastml-supersonic
    interface: supersonic0
"""

RETURN = r"""
actions:
  description: What was done, in words. In check mode, the first thing that would be done.
  returned: success
  type: list
  elements: str
  sample: ["started the node's namespaces", started containerd]
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import (
    Cache,
    background,
    end_background,
    locked,
)
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.node import (
    Network,
    Node,
    NodeSpec,
    exists,
    remove,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "name": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "cache": {"type": "path", "required": True},
            "interface": {"type": "str", "required": True},
            "outside_address": {"type": "str"},
            "inside_address": {"type": "str"},
            "prefix": {"type": "int", "default": 30},
            "supervisor": {"type": "path"},
            "programs": {"type": "dict"},
            "images": {"type": "list", "elements": "path", "default": []},
            "configuration": {"type": "dict", "default": {}},
            "daemons": {"type": "dict", "default": {}},
            "addons": {"type": "list", "elements": "str", "default": []},
            "identity": {"type": "dict", "default": {}},
            "users": {"type": "list", "elements": "str", "default": []},
            "kubeconfig": {"type": "path"},
            "timeout": {"type": "float", "default": 180},
        },
        required_if=[
            (
                "state",
                "present",
                ("outside_address", "inside_address", "supervisor", "programs", "daemons", "kubeconfig"),
            )
        ],
        supports_check_mode=True,
    )
    params = module.params
    name, directory, interface = params["name"], Path(params["directory"]), params["interface"]
    cache = Path(params["cache"])
    actions = []
    try:
        if params["state"] == "absent" and background(cache):
            actions.append("ended the work in the background")
            if not module.check_mode:
                end_background(cache)
        if params["state"] == "present" or exists(name, interface, directory):
            if module.check_mode:
                actions += _act(module, name, directory, interface)
            else:
                with locked(Cache(cache).lock(f"node-{name}")):
                    actions += _act(module, name, directory, interface)
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(actions), actions=actions)


def _act(module: AnsibleModule, name: str, directory: Path, interface: str) -> list[str]:
    params = module.params
    if params["state"] == "absent":
        if not module.check_mode:
            remove(name, interface, directory)
        return ["removed the node"]
    spec = NodeSpec(
        name=name,
        directory=directory,
        network=Network(interface, params["outside_address"], params["inside_address"], params["prefix"]),
        supervisor=Path(params["supervisor"]),
        programs={program: Path(path) for program, path in params["programs"].items()},
        images=[Path(folder) for folder in params["images"]],
        configuration=params["configuration"],
        daemons=params["daemons"],
        addons=params["addons"],
        identity=params["identity"],
        users=params["users"],
        kubeconfig=Path(params["kubeconfig"]),
        timeout=params["timeout"],
    )
    return Node(spec, check=module.check_mode).present()


if __name__ == "__main__":
    main()
