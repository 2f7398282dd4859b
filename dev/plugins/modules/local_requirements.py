#!/usr/bin/python
# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: local_requirements
short_description: Check that a machine can hold the local cluster
version_added: 1.0.0
description:
  - Checks what the local cluster of M(fastml.supersonic_dev.local_node) needs of its machine, and fails with everything
    that is missing in one message, before anything is changed.
  - These are root with all rights that the node uses, the Debian version, the processor type, control groups, the
    parts of the kernel for its file systems and network, memory, disk and addresses.
  - Of new-style control groups (cgroup v2), the controllers that a kubelet takes have to be on, or have to be such that
    the node can switch them on. In a container with control groups of its own they often are not.
  - Tells which of the Debian packages are not installed. It changes nothing.
options:
  packages:
    description: Debian packages that are needed.
    type: list
    elements: str
    default: []
  memory_gib:
    description: Memory that the machine must have, in GiB.
    type: float
    default: 0
  disk_gib:
    description: Space that must be free, in GiB, by folder. A folder need not exist.
    type: dict
    default: {}
  interface:
    description: Interface that may have the addresses of O(network).
    type: str
    required: true
  network:
    description: Network that no other interface of the machine may use, for example V(198.18.0.0/30).
    type: str
    required: true
attributes:
  check_mode:
    description: Can run in check mode and tell what would be changed, without changing anything.
    support: full
  diff_mode:
    description: Can show what differs in diff mode.
    support: none
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
author: ["fastml.supersonic contributors (@fastmachinelearning)"]
"""

EXAMPLES = r"""
- name: Check the machine
  fastml.supersonic_dev.local_requirements:
    packages: [containerd, runc]
    memory_gib: 6
    disk_gib: {/var/cache/fastml-supersonic: 20}
    interface: supersonic0
    network: 198.18.0.0/30
  register: machine
"""

RETURN = r"""
packages_missing:
  description: Packages of O(packages) that are not installed.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.machine import (
    Needs,
    missing_packages,
    problems,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "memory_gib": {"type": "float", "default": 0},
            "disk_gib": {"type": "dict", "default": {}},
            "interface": {"type": "str", "required": True},
            "network": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        found = problems(
            Needs(
                memory_gib=params["memory_gib"],
                disk_gib={path: float(size) for path, size in params["disk_gib"].items()},
                interface=params["interface"],
                network=params["network"],
            )
        )
        missing = missing_packages(params["packages"])
    except (SupersonicError, ValueError) as error:
        module.fail_json(msg=str(error))
    if found:
        module.fail_json(msg=f"This machine cannot hold the local cluster. {' '.join(found)}")
    module.exit_json(changed=False, packages_missing=missing)


if __name__ == "__main__":
    main()
