# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_info
short_description: What a cluster offers and allows
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Asks a Kubernetes cluster for its version, a namespace, permissions, storage classes and resources of nodes, and
    says in sentences what is missing. Changes nothing.
  - What may not be read is left out - rights in one namespace only are no problem by themselves.
options:
  namespace:
    description: Namespace that is meant to be used.
    type: str
    required: true
  create_namespace:
    description: Whether the namespace may be missing, because it is going to be created.
    type: bool
    default: false
  minimum_version:
    description: Oldest version of Kubernetes that will do, for example V(1.30).
    type: str
  permissions:
    description: What we have to be allowed to do in the namespace.
    type: list
    elements: dict
    default: []
    suboptions:
      resource:
        description: Plural name of a resource, with its subresource, for example V(pods/exec).
        type: str
        required: true
      group:
        description: API group; empty for the core group.
        type: str
        default: ""
      verbs:
        description: Verbs such as V(get) or V(patch).
        type: list
        elements: str
        required: true
  kinds:
    description: Kinds that the cluster has to serve besides Kubernetes' own.
    type: list
    elements: dict
    default: []
    suboptions:
      api_version:
        description: Group and version of the API, for example V(gateway.networking.k8s.io/v1).
        type: str
        required: true
      kind:
        description: The kind, for example V(GRPCRoute).
        type: str
        required: true
  ingress_class:
    description: Ingress class that has to exist; empty for none.
    type: str
    default: ""
  storage_classes:
    description: >-
      Storage classes that have to exist, as an object or on a volume made by hand; an empty name stands for the
      default class.
    type: list
    elements: str
    default: []
  node_resources:
    description: >-
      Resources that one pod needs, as quantities by name, for example V({"nvidia.com/gpu": 1}). At least one node has
      to offer each of them.
    type: dict
    default: {}
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.read_only
"""

EXAMPLES = r"""
- name: Can this account deploy here?
  fastml.supersonic.cluster_info:
    namespace: cms
    minimum_version: "1.30"
    permissions:
      - {resource: deployments, group: apps, verbs: [get, create, patch]}
    storage_classes: [fast]
    node_resources: {nvidia.com/gpu: 1}
  register: cluster
  failed_when: cluster.problems | length > 0
"""

RETURN = r"""
version:
  description: Version of the API server.
  returned: success
  type: str
  sample: v1.34.4
namespace:
  description: The namespace and its phase, V(Active), V(Terminating), V(absent), V(forbidden) or V(unknown).
  returned: success
  type: dict
  sample: {name: cms, phase: Active}
storage_classes:
  description: Names of all storage classes.
  returned: when O(storage_classes) is not empty and they may be listed
  type: list
  elements: str
node_resources:
  description: What each node offers of O(node_resources).
  returned: when O(node_resources) is not empty and nodes may be listed
  type: dict
problems:
  description: A sentence for each thing that is missing.
  returned: success
  type: list
  elements: str
  sample: ["The cluster runs Kubernetes v1.28.1, but 1.30 or newer is needed."]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils import _cluster
from ansible_collections.fastml.supersonic.plugins.module_utils._client import CONNECTION_SPEC, connection
from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._rest import Api


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "namespace": {"type": "str", "required": True},
            "create_namespace": {"type": "bool", "default": False},
            "minimum_version": {"type": "str"},
            "permissions": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "resource": {"type": "str", "required": True},
                    "group": {"type": "str", "default": ""},
                    "verbs": {"type": "list", "elements": "str", "required": True},
                },
            },
            "kinds": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "api_version": {"type": "str", "required": True},
                    "kind": {"type": "str", "required": True},
                },
            },
            "ingress_class": {"type": "str", "default": ""},
            "storage_classes": {"type": "list", "elements": "str", "default": []},
            "node_resources": {"type": "dict", "default": {}},
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    try:
        found = _cluster.inspect(Api(connection(module.params)), module.params)
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    # msg is what a task that fails on problems shows.
    message = "\n".join(found["problems"]) or f"Kubernetes {found['version']} offers and allows what is needed."
    module.exit_json(changed=False, msg=message, **found)


if __name__ == "__main__":
    main()
