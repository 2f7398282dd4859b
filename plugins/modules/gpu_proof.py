# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_proof
short_description: Run a pod on an accelerator and report what it sees
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Runs a short-lived pod that asks for an accelerator, waits until its command has ended, returns what it printed, and
    removes it. Fails when the pod cannot be scheduled, cannot start, or its command fails.
  - The pod is that of a Job, which Kubernetes itself ends and removes should this module be killed.
options:
  namespace:
    description: Namespace of the pod. It has to exist.
    type: str
    required: true
  image:
    description: Image with the command. Many drivers' tools are put into the container by the runtime.
    type: str
    required: true
  image_pull_policy:
    description: When the image is pulled.
    type: str
    choices: [IfNotPresent, Always, Never]
    default: IfNotPresent
  image_pull_secrets:
    description: Names of Secrets for the registry.
    type: list
    elements: str
    default: []
  command:
    description: Command and its arguments.
    type: list
    elements: str
    default: [nvidia-smi, -L]
  resource:
    description: Name of the resource that is asked for.
    type: str
    default: nvidia.com/gpu
  count:
    description: How many of it.
    type: int
    default: 1
  memory:
    description: Limit of the container's memory, as a quantity.
    type: str
    default: 512Mi
  node_selector:
    description: Labels of the nodes that may run the pod.
    type: dict
    default: {}
  affinity:
    description: Affinity of the pod, as in its definition.
    type: dict
    default: {}
  tolerations:
    description: Tolerations of the pod, as in its definition.
    type: list
    elements: dict
    default: []
  arbitrary_user:
    description: Say no user and no group that the pod runs as, so that the cluster chooses them, as OpenShift does.
    type: bool
    default: false
  runtime_class:
    description: Runtime class of the pod; empty for the default one.
    type: str
    default: ""
  timeout:
    description: Seconds that the pod may take in all, the pull of its image included.
    type: int
    default: 300
extends_documentation_fragment:
  - fastml.supersonic.connection
attributes:
  check_mode:
    description: Can run in check mode.
    support: partial
    details: In check mode no pod is run, and nothing is proved.
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: N/A
    details: Nothing stays that could be shown.
  idempotent:
    description: When run twice with the same arguments, the second run changes nothing.
    support: full
    details: Nothing stays of the pod, so it counts as no change.
"""

EXAMPLES = r"""
- name: See that a container gets a GPU
  fastml.supersonic.gpu_proof:
    namespace: cms
    image: nvcr.io/nvidia/cuda:13.0.1-base-ubuntu24.04
  register: proof
"""

RETURN = r"""
output:
  description: Lines that the command printed.
  returned: success, but not in check mode
  type: list
  elements: str
  sample: ["GPU 0: NVIDIA L4 (UUID: GPU-0f6e…)"]
node:
  description: Node that it ran on.
  returned: success, but not in check mode
  type: str
  sample: gpu-3
seconds:
  description: Seconds from its making to its end.
  returned: success, but not in check mode
  type: float
  sample: 4.2
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._accelerators import gpu_test
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC, connection


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "namespace": {"type": "str", "required": True},
            "image": {"type": "str", "required": True},
            "image_pull_policy": {
                "type": "str",
                "choices": ["IfNotPresent", "Always", "Never"],
                "default": "IfNotPresent",
            },
            # Names of Secrets are no secrets.
            "image_pull_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "command": {"type": "list", "elements": "str", "default": ["nvidia-smi", "-L"]},
            "resource": {"type": "str", "default": "nvidia.com/gpu"},
            "count": {"type": "int", "default": 1},
            "memory": {"type": "str", "default": "512Mi"},
            "node_selector": {"type": "dict", "default": {}},
            "affinity": {"type": "dict", "default": {}},
            "tolerations": {"type": "list", "elements": "dict", "default": []},
            "arbitrary_user": {"type": "bool", "default": False},
            "runtime_class": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 300},
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, msg="In check mode no pod is run.")
    try:
        found = gpu_test.prove(Api(connection(module.params)), module.params)
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, msg=f"On {found['node']}: {'; '.join(found['output']) or 'no output'}", **found)


if __name__ == "__main__":
    main()
