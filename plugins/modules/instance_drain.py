# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: instance_drain
short_description: Move the pods of an instance off a node without losing requests
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Cordons a node and moves the pods of an instance off it, one at a time, each after another one is ready elsewhere.
    Pods go by the Eviction API, which keeps to their PodDisruptionBudgets.
  - A Deployment has one replica more while its pods move. How many there were is noted on the object, so that a run
    that was killed is put back by the next one.
  - Pods of others on the node are left alone. What could not run on any other node is refused before anything changes,
    as far as nodes may be looked at.
attributes:
  check_mode:
    description: Can run in check mode and tells which pods would move.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: none
  idempotent:
    description: When run twice with the same arguments, the second run changes nothing.
    support: full
options:
  node:
    description: Name of the node.
    type: str
    required: true
  state:
    description: >-
      V(drained) moves the pods off; V(available) lets pods come again, and puts back what a killed run has left.
    type: str
    choices: [drained, available]
    default: drained
  cordon:
    description: >-
      Whether the node is cordoned and uncordoned here, which takes a right on nodes. With V(false) an administrator
      does it before.
    type: bool
    default: true
  same_node:
    description: >-
      Whether replacements may come to the same node. That moves nothing, but replaces one pod after the other, such as
      on a cluster of one node.
    type: bool
    default: false
  check_room:
    description: >-
      Whether other nodes have to have room for all the pods now, and a new pod to find a node within a minute.
      V(false) where nodes come on demand.
    type: bool
    default: true
  wait_timeout:
    description: Seconds that all of it may take.
    type: int
    default: 900
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.instance
seealso:
  - module: fastml.supersonic.instance_pause
"""

EXAMPLES = r"""
- name: Another driver for gpu-7
  fastml.supersonic.instance_drain:
    name: main
    namespace: cms
    node: gpu-7

- name: It has it
  fastml.supersonic.instance_drain:
    name: main
    namespace: cms
    node: gpu-7
    state: available
"""

RETURN = r"""
msg:
  description: What was moved, in a sentence.
  returned: always
  type: str
moved:
  description: Pods that have left the node, in the order of their workloads.
  returned: success
  type: list
  elements: str
left:
  description: Pods of the instance on the node that end by themselves, such as those that publish models.
  returned: success
  type: list
  elements: str
cordoned:
  description: Whether the node was cordoned by this.
  returned: success
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import drain as instance_drain
from ansible_collections.fastml.supersonic.plugins.module_utils._kube import api_client
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC, connection


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "namespace": {"type": "str", "required": True},
            "node": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["drained", "available"], "default": "drained"},
            "cordon": {"type": "bool", "default": True},
            "same_node": {"type": "bool", "default": False},
            "check_room": {"type": "bool", "default": True},
            "wait_timeout": {"type": "int", "default": 900},
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    options = module.params
    wanted = instance_drain.Options(
        namespace=options["namespace"],
        name=options["name"],
        node=options["node"],
        cordon=options["cordon"],
        same_node=options["same_node"],
        room=options["check_room"],
        seconds=options["wait_timeout"],
        check=module.check_mode,
    )
    try:
        drain = instance_drain.Drain(api_client.Api(connection(options)), wanted)
        result = drain.run() if options["state"] == "drained" else drain.undo()
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    for text in result.pop("warnings", ()):
        module.warn(text)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
