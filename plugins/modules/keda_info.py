#!/usr/bin/python
# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: keda_info
short_description: Whether a cluster's KEDA runs and does what is asked of it
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Looks whether KEDA is installed, is new enough, runs, answers for external metrics, and watches the namespaces that
    it is needed in, and says in sentences what is wrong. Changes nothing.
  - Rights in one namespace are enough to ask. What may not be read for want of rights is in C(unread), and is no
    problem by itself.
options:
  namespace:
    description:
      - Namespace that KEDA is in. When it is empty, it is found by the APIService of external metrics, then by KEDA's
        Deployments, and is V(keda) where neither may be read.
    type: str
    default: ""
  minimum_version:
    description: Oldest version of KEDA that will do, for example V(2.18); empty for any.
    type: str
    default: ""
  fields:
    description: Fields that its ScaledObject has to have, for example V(spec.fallback.behavior).
    type: list
    elements: str
    default: []
  watched:
    description: Namespaces that KEDA has to watch, and to have rights in.
    type: list
    elements: str
    default: []
  objects:
    description:
      - Whether to list every object of KEDA's kinds in the whole cluster. It needs the rights to list them.
    type: bool
    default: false
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.read_only
"""

EXAMPLES = r"""
- name: Does the KEDA of this cluster do for us?
  fastml.supersonic.keda_info:
    minimum_version: "2.18"
    fields: [spec.fallback.behavior]
    watched: [cms]
  register: keda
  failed_when: keda.problems | length > 0
"""

RETURN = r"""
installed:
  description: Whether the cluster serves KEDA's kinds.
  returned: success
  type: bool
version:
  description: Version of the operator; empty where it may not be read.
  returned: success
  type: str
  sample: 2.21.0
namespace:
  description: Namespace that KEDA was looked for in; empty without KEDA.
  returned: success
  type: str
  sample: keda
watches:
  description: Namespaces that KEDA watches, empty for all of them, and null where that is not known.
  returned: success
  type: list
  elements: str
label_selector:
  description: >-
    Labels that ScaledObjects need for KEDA to heed them (C(WATCH_LABEL_SELECTOR)), empty for none, and null where that
    is not known.
  returned: success
  type: str
objects:
  description: Every object of KEDA's kinds.
  returned: with O(objects)
  type: list
  elements: str
  sample: [ScaledObject cms-triton in the namespace cms]
problems:
  description: A sentence for each thing that is wrong.
  returned: success
  type: list
  elements: str
  sample: ["The Deployment keda-operator in the namespace keda is scaled to 0: nothing is done for ScaledObjects."]
unread:
  description: A sentence for each thing that could not be looked at.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC, connection
from ansible_collections.fastml.supersonic.plugins.module_utils._scaling import keda as scaling_keda


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "namespace": {"type": "str", "default": ""},
            "minimum_version": {"type": "str", "default": ""},
            "fields": {"type": "list", "elements": "str", "default": []},
            "watched": {"type": "list", "elements": "str", "default": []},
            "objects": {"type": "bool", "default": False},
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    try:
        api = Api(connection(module.params))
        found = scaling_keda.inspect(api, module.params)
        if module.params["objects"]:
            found["objects"] = scaling_keda.objects(api)
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    # msg is what a task that fails on problems shows.
    message = "\n".join(found["problems"]) or f"KEDA {found['version']} runs and does what is needed."
    module.exit_json(changed=False, msg=message, **found)


if __name__ == "__main__":
    main()
