# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: instance_pause
short_description: Hold the servers of an instance at a number for a while
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Holds the servers as they are, or at a number, which may be 0 - the endpoint stays, and its Envoys tell clients that
    no server is ready. Where KEDA scales the servers it is paused, else the number of replicas is set.
  - What was there before is noted on the object in the same request, so that O(state=resumed) needs nothing but the
    cluster, and M(fastml.supersonic.manifests) leaves the number alone meanwhile and warns.
attributes:
  check_mode:
    description: Can run in check mode and tells what would be held.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: none
  idempotent:
    description: When run twice with the same arguments, the second run changes nothing.
    support: full
options:
  state:
    description: >-
      V(paused) holds the servers, V(resumed) lets them go - the autoscaler decides again, or there are as many as
      before.
    type: str
    choices: [paused, resumed]
    default: paused
  servers:
    description: With O(state=paused), how many servers there are meanwhile. As many as there are now unless set.
    type: int
  reason:
    description: Why, for those who come later.
    type: str
    default: ""
  wait_timeout:
    description: Seconds to wait until so many servers are ready, and no other is on its way out.
    type: int
    default: 600
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.instance
"""

EXAMPLES = r"""
- name: Maintenance of the storage
  fastml.supersonic.instance_pause:
    name: main
    namespace: cms
    servers: 0
    reason: storage is being moved

- name: It is over
  fastml.supersonic.instance_pause:
    name: main
    namespace: cms
    state: resumed
"""

RETURN = r"""
msg:
  description: What is held, in a sentence.
  returned: always
  type: str
paused:
  description: Whether it is paused now.
  returned: success
  type: bool
servers:
  description: How many servers are wanted now.
  returned: success
  type: int
before:
  description: How many were wanted before.
  returned: success
  type: int
autoscaled:
  description: Whether KEDA scales the servers.
  returned: success
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import pause
from ansible_collections.fastml.supersonic.plugins.module_utils._kube import api_client
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC, connection


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "namespace": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["paused", "resumed"], "default": "paused"},
            "servers": {"type": "int"},
            "reason": {"type": "str", "default": ""},
            "wait_timeout": {"type": "int", "default": 600},
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    options = module.params
    if options["servers"] is not None and options["servers"] < 0:
        module.fail_json(msg=f"servers is {options['servers']}; it must be at least 0.")
    wanted = pause.Wanted(options["servers"], options["reason"], options["wait_timeout"], module.check_mode)
    act = pause.pause if options["state"] == "paused" else pause.resume
    try:
        result = act(api_client.Api(connection(options)), options["namespace"], options["name"], wanted)
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    for text in result.pop("warnings", ()):
        module.warn(text)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
