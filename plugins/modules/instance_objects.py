# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: instance_objects
short_description: What of an instance is in its namespace
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Lists every object of an instance among all kinds that the API has and that may be listed. It is the instance's by
    its labels, by one of the sets that M(fastml.supersonic.manifests) keeps, by its name, or since such an object owns
    it.
  - After a removal it tells what may be left, such as claims with models, from what should have gone. Changes nothing.
options:
  keep:
    description: >-
      Components whose persistent volume claims stay, by the label C(app.kubernetes.io/component), such as
      V(model-repository).
    type: list
    elements: str
    default: []
  claims:
    description: Persistent volume claims that the instance only uses, so that they stay.
    type: list
    elements: str
    default: []
  wait_timeout:
    description: >-
      Seconds to look again while something is on its way out, since what an object owns goes after it.
    type: int
    default: 0
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.instance
  - fastml.supersonic.read_only
seealso:
  - module: fastml.supersonic.manifests
"""

EXAMPLES = r"""
- name: Is anything left?
  fastml.supersonic.instance_objects:
    name: main
    namespace: cms
    keep: [model-repository]
    wait_timeout: 60
  register: found
  failed_when: found.stray | length > 0
"""

RETURN = r"""
there:
  description: Whether the namespace is there.
  returned: success
  type: bool
kept:
  description: Objects that may be left after a removal.
  returned: success
  type: list
  elements: dict
  contains: &object
    kind:
      description: Its kind.
      type: str
    group:
      description: Its API group, empty for the core.
      type: str
    name:
      description: Its name.
      type: str
    by:
      description: Why it is the instance's.
      type: str
    why:
      description: Why it is there, as far as it says so itself.
      type: str
stray:
  description: Those that a removal takes away.
  returned: success
  type: list
  elements: dict
  contains: *object
volumes:
  description: >-
    What becomes of the data of each claim that a removal takes away, a sentence each, by its volume's reclaim policy.
  returned: success
  type: list
  elements: str
unseen:
  description: Kinds that could not be looked at, with the reason.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import owned_objects
from ansible_collections.fastml.supersonic.plugins.module_utils._kube import api_client
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC, connection
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import PVC

_PATIENCE_SECONDS = 5.0


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "namespace": {"type": "str", "required": True},
            "keep": {"type": "list", "elements": "str", "default": []},
            "claims": {"type": "list", "elements": "str", "default": []},
            "wait_timeout": {"type": "int", "default": 0},
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        # One of many groups of kinds may have a server that is down.
        api = api_client.Api(connection(options), patience=_PATIENCE_SECONDS)
        seen, left = owned_objects.wait_gone(
            lambda: owned_objects.look(api, options["namespace"], options["name"], options["claims"]),
            lambda found: owned_objects.judge(found.objects, options["keep"], options["claims"]),
            options["wait_timeout"],
        )
        volumes = [owned_objects.volume_of(api, item).sentence for item in left.stray if item.group_kind == PVC]
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=False,
        there=seen.there,
        kept=[owned_objects.described(item) for item in left.kept],
        stray=[owned_objects.described(item) for item in left.stray],
        volumes=volumes,
        unseen=seen.unseen,
    )


if __name__ == "__main__":
    main()
