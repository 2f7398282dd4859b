# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: What a cluster's accelerators are like, and whether they suffice for instances
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Asks a cluster for the state of NVIDIA's GPU operator, for the DaemonSets that it runs, for labels and accelerators
    of the nodes, and for what pods already use. Says in findings what is wrong, why it matters and what to do. Changes
    nothing.
  - Understands whole GPUs, MIG devices (C(nvidia.com/mig-1g.5gb)), GPUs that are shared by time slicing, and other
    vendors' accelerators - whatever is a resource of nodes.
  - What may not be read is named in RV(not_read), and what depends on it is not judged.
options:
  instances:
    description: What instances ask for. They share the nodes.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the instance.
        type: str
        required: true
      namespace:
        description: Its namespace.
        type: str
        default: ""
      resource:
        description: Name of the resource that a server asks for.
        type: str
        default: nvidia.com/gpu
      gpus:
        description: How many of it one server asks for.
        type: int
        default: 0
      servers:
        description: How many servers there are at least.
        type: int
        default: 1
      max_servers:
        description: How many servers there are at most. By default O(instances[].servers).
        type: int
      node_selector:
        description: Labels of the nodes that servers may go to.
        type: dict
        default: {}
      affinity:
        description: Affinity of the servers, as in a pod.
        type: dict
        default: {}
      tolerations:
        description: Tolerations of the servers, as in a pod.
        type: list
        elements: dict
        default: []
  nodes_on_demand:
    description: Nodes come when pods wait for them, so that room which is not there yet is only a warning.
    type: bool
    default: false
  metrics:
    description: What Prometheus knows of the GPUs, to be compared with the nodes.
    type: dict
    suboptions:
      nodes:
        description: Number of nodes that have metrics.
        type: int
        default: 0
      error:
        description: Why Prometheus could not be asked.
        type: str
        default: ""
  wait_timeout:
    description: Seconds to wait at most until there is no error any more.
    type: int
    default: 0
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.read_only
"""

EXAMPLES = r"""
- name: Is there a GPU for each server?
  fastml.supersonic.gpu_info:
    instances:
      - {name: cms, namespace: cms, gpus: 1, servers: 2, max_servers: 10}
      - {name: atlas, namespace: atlas, gpus: 1, resource: nvidia.com/mig-1g.5gb}
  register: gpus
  failed_when: gpus.findings | selectattr('severity', 'equalto', 'error') | length > 0
"""

RETURN = r"""
operator:
  description:
    - Who looks after GPUs. C(kind) is V(ClusterPolicy), V(GPUCluster) (Dynamic Resource Allocation), V(DevicePlugin),
      V(none), or V(unknown) where it may not be read.
  returned: success
  type: dict
  sample: {kind: ClusterPolicy, name: cluster-policy, state: ready, reason: Reconciled, message: ""}
nodes:
  description: Nodes with accelerators, with what their labels say and what they offer.
  returned: success
  type: list
  elements: dict
  sample:
    - name: gpu-3
      ready: true
      cordoned: false
      present: true
      product: NVIDIA-L4
      count: "2"
      memory: "23034"
      replicas: "1"
      sharing: none
      driver: 580.126.20
      mig_strategy: single
      mig_config: all-disabled
      mig_state: success
      allocatable: {nvidia.com/gpu: 2}
instances:
  description:
    - O(instances), each with C(nodes) that its selector and affinity choose, and with how many of its servers C(fit)
      beside the others, none where nodes may not be read or no accelerator is asked for.
  returned: success
  type: list
  elements: dict
findings:
  description:
    - What is not as it should be, each with C(severity) (V(error) or V(warning)), C(subject), C(what), C(why) and
      C(remedy).
  returned: success
  type: list
  elements: dict
  sample:
    - severity: error
      subject: node gpu-4
      what: The node gpu-4 has a GPU and offers none.
      why: Nothing that asks for a GPU is scheduled there.
      remedy: "See the pods on it: kubectl get pods -A --field-selector spec.nodeName=gpu-4"
not_read:
  description: What we have no right to read, and what is therefore not known.
  returned: success
  type: list
  elements: str
  sample: ["We may not list nodes, so labels and accelerators of nodes are not known."]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._accelerators import accelerator_info
from ansible_collections.fastml.supersonic.plugins.module_utils._accelerators.gpu_nodes import Demand
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC, connection


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "instances": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "namespace": {"type": "str", "default": ""},
                    "resource": {"type": "str", "default": "nvidia.com/gpu"},
                    "gpus": {"type": "int", "default": 0},
                    "servers": {"type": "int", "default": 1},
                    "max_servers": {"type": "int"},
                    "node_selector": {"type": "dict", "default": {}},
                    "affinity": {"type": "dict", "default": {}},
                    "tolerations": {"type": "list", "elements": "dict", "default": []},
                },
            },
            "nodes_on_demand": {"type": "bool", "default": False},
            "metrics": {
                "type": "dict",
                "options": {"nodes": {"type": "int", "default": 0}, "error": {"type": "str", "default": ""}},
            },
            "wait_timeout": {"type": "int", "default": 0},
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    demands = [
        Demand(**{**item, "max_servers": item["servers"] if item["max_servers"] is None else item["max_servers"]})
        for item in module.params["instances"]
    ]
    try:
        found = accelerator_info.inspect(
            Api(connection(module.params)),
            demands,
            on_demand=module.params["nodes_on_demand"],
            metrics=module.params["metrics"],
            wait_timeout=module.params["wait_timeout"],
        )
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, msg=accelerator_info.report(found), **found)


if __name__ == "__main__":
    main()
