# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: helm_release_takeover
short_description: Take over a running release of the SuperSONIC Helm chart without losing requests
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Leads the clients of a release to an instance of this collection that was deployed beside it, and back, and in the
    end removes the release.
  - Clients come in by the Service that is called after the release, whether they use its name, its load balancer or
    the Ingress before it. That Service stays, with its addresses; its selector becomes that of the instance's Envoys.
    Open connections stay where they are until the old Envoys, asked at their admin port, send them away (C(GOAWAY)),
    which a client of gRPC follows without losing a request.
  - What the Service was before is noted on it, so that the way back needs no file.
options:
  action:
    description:
      - V(plan) changes nothing, and says how things are and what would be in the way.
      - V(take_over) leads the clients to the instance, whose Envoys have to be ready, and waits until they have left
        the old Envoys. An autoscaler of the release is paused meanwhile.
      - V(back) leads them to the release again. The instance's Envoys are replaced one by one, which sends their
        clients there.
      - V(finish) removes what the release has made, and its records of Helm. Claims stay, and so do the Service and
        its Ingress unless O(keep_address) says otherwise. There is no way back from it.
    type: str
    choices: [plan, take_over, back, finish]
    required: true
  namespace:
    description: Namespace of both.
    type: str
    required: true
  release:
    description: Name of the Helm release.
    type: str
    required: true
  old_name:
    description: What its own objects are called after, where C(nameOverride) was set. By default O(release).
    type: str
    default: ""
  name:
    description: Name of the instance.
    type: str
    required: true
  old_servers:
    description: >-
      With V(take_over), to how many servers the pool of the release goes down once the old Envoys say that no client
      is left there, for GPUs that do not suffice for both. Without it the pool stays for a quick way back, which
      starts those servers again.
    type: int
  drain_seconds:
    description: >-
      How long clients may take to leave the old Envoys. What is left then is told, and goes on being answered.
    type: float
    default: 120
  wait_seconds:
    description: How long old servers may take to start again with V(back).
    type: float
    default: 900
  keep_address:
    description: >-
      Whether the Service of the release, and its Ingress, outlive it with V(finish). With V(false) they are removed
      too, also by a later run; clients have to use the instance's own by then.
    type: bool
    default: true
  ignore_silent:
    description: >-
      With V(finish), whether to remove the release although an old Envoy does not say whether clients are left there,
      since its admin port does not answer. Requests that are known of are waited for by V(take_over) in any case.
    type: bool
    default: false
extends_documentation_fragment:
  - fastml.supersonic.connection
attributes:
  check_mode:
    description: Says what would be done, as far as it can be known.
    support: full
  diff_mode:
    description: The steps are the difference.
    support: none
  idempotent:
    description: >-
      What is done already is not done again. V(take_over) asks and waits for clients that are left each time.
    support: full
seealso:
  - module: fastml.supersonic.helm_values_migration
"""

EXAMPLES = r"""
- name: What would be done?
  fastml.supersonic.helm_release_takeover:
    action: plan
    namespace: cms
    release: supersonic
    name: nrp-cms

- name: Lead the clients to the instance
  fastml.supersonic.helm_release_takeover:
    action: take_over
    namespace: cms
    release: supersonic
    name: nrp-cms
    old_servers: 1
"""

RETURN = r"""
steps:
  description: What was done, or would be, and with V(plan) how things are.
  returned: success
  type: list
  elements: str
problems:
  description: What is in the way of V(take_over), with O(action=plan).
  returned: success
  type: list
  elements: str
requests:
  description: Requests that are left at the old Envoys, without those of RV(silent).
  returned: success
  type: int
connections:
  description: Connections of clients that are left there.
  returned: success
  type: int
silent:
  description: Old Envoys that do not say whether clients are left there.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration.takeover import Takeover, Wanted
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "choices": ["plan", "take_over", "back", "finish"], "required": True},
            "namespace": {"type": "str", "required": True},
            "release": {"type": "str", "required": True},
            "old_name": {"type": "str", "default": ""},
            "name": {"type": "str", "required": True},
            "old_servers": {"type": "int"},
            "drain_seconds": {"type": "float", "default": 120},
            "wait_seconds": {"type": "float", "default": 900},
            "keep_address": {"type": "bool", "default": True},
            "ignore_silent": {"type": "bool", "default": False},
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    options = module.params
    for name, value in (("old_servers", options["old_servers"] or 0), ("drain_seconds", options["drain_seconds"])):
        if value < 0:
            module.fail_json(msg=f"{name} is {value:g}; it has to be 0 or more.")
    wanted = Wanted(
        namespace=options["namespace"],
        release=options["release"],
        old=options["old_name"] or options["release"],
        name=options["name"],
        old_servers=options["old_servers"],
        drain_seconds=options["drain_seconds"],
        wait_seconds=options["wait_seconds"],
        keep_address=options["keep_address"],
        ignore_silent=options["ignore_silent"],
    )
    resolver = Resolver(options)
    try:
        work = Takeover(resolver.api, lambda: resolver.relay, wanted, check=module.check_mode)
        getattr(work, options["action"])()
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    finally:
        resolver.close()
    outcome = work.outcome
    for text in outcome.warnings:
        module.warn(text)
    module.exit_json(
        changed=outcome.changed,
        steps=outcome.steps,
        problems=outcome.problems,
        requests=outcome.requests,
        connections=outcome.connections,
        silent=outcome.silent,
    )


if __name__ == "__main__":
    main()
