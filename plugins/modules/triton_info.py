# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: triton_info
short_description: What inference servers say about themselves and their models
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Asks NVIDIA Triton servers, side by side, for their version, whether they are live and ready, and which models they
    have, in which state, and why one did not load. Changes nothing.
  - A server that does not answer is part of the result, with the reason; it is no failure of the module.
options:
  targets:
    description:
      - The servers to ask. Each is named by exactly one of O(targets[].address), O(targets[].pod),
        O(targets[].service) and O(targets[].selector).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - What the target is called in messages and results, for example V(Envoy). Its kind when it has no name.
        type: str
      address:
        description:
          - An address, V(host:port), reached directly, without a proxy.
        type: str
      pod:
        description:
          - One pod, reached by a port-forward through the Kubernetes API server.
        type: dict
        suboptions:
          name:
            description: Its name.
            type: str
            required: true
          namespace:
            description: Its namespace.
            type: str
            required: true
          port:
            description: Number or name of the port. V(8001) for gRPC and V(8000) for HTTP unless set.
            type: str
      service:
        description:
          - A Service, reached by a port-forward to one of the ready pods behind it.
        type: dict
        suboptions:
          name:
            description: Its name.
            type: str
            required: true
          namespace:
            description: Its namespace.
            type: str
            required: true
          port:
            description: Number or name of the port. V(8001) for gRPC and V(8000) for HTTP unless set.
            type: str
      selector:
        description:
          - Every pod that has certain labels, each reached by a port-forward. Pods that have ended or are being
            deleted are left out.
        type: dict
        suboptions:
          labels:
            description: Labels and their values; a pod has to have all of them.
            type: dict
            required: true
          namespace:
            description: Namespace of the pods.
            type: str
            required: true
          port:
            description: Number or name of the port. V(8001) for gRPC and V(8000) for HTTP unless set.
            type: str
          min:
            description: How many pods there must be at least.
            type: int
            default: 1
      protocol:
        description: How to talk to the server.
        type: str
        choices: [grpc, http]
        default: grpc
      tls:
        description:
          - Talk TLS, with these settings; V({}) takes the defaults.
        type: dict
        suboptions:
          ca_cert:
            description: Path of the certificates of the authorities to trust. Those of the system unless set.
            type: path
          client_cert:
            description: Path of a client certificate.
            type: path
          client_key:
            description: Path of the key of O(targets[].tls.client_cert).
            type: path
          server_name:
            description:
              - Name that the certificate must have, and that is sent to the server. The host of
                O(targets[].address) unless set.
            type: str
          validate:
            description: Whether to check the certificate. Without the check anybody can pose as the server.
            type: bool
            default: true
      token:
        description: Bearer token, sent in the header C(authorization).
        type: str
      headers:
        description: Headers to send with every request. All their values are treated as secrets.
        type: dict
  models:
    description:
      - Tell only about these models. One that the server does not have appears with the state V(ABSENT).
    type: list
    elements: str
  config:
    description: Whether to read the full configuration of each model that is ready.
    type: bool
    default: false
  statistics:
    description: Whether to read how much each model has served, and how long that took.
    type: bool
    default: false
  timeout:
    description: Seconds that one question may take.
    type: float
    default: 5
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.read_only
notes:
  - Needs the Python package C(tritonclient[grpc]) for gRPC.
seealso:
  - module: fastml.supersonic.inference_check
"""

EXAMPLES = r"""
- name: Which models do the servers have?
  fastml.supersonic.triton_info:
    targets:
      - name: Triton
        selector:
          namespace: cms
          labels:
            app.kubernetes.io/instance: main
            app.kubernetes.io/component: triton
  register: triton

- name: Which of them did not load, and why?
  ansible.builtin.debug:
    msg: "{{ triton.servers | map(attribute='models') | flatten | rejectattr('ready') }}"
"""

RETURN = r"""
servers:
  description: What each server says.
  returned: success
  type: list
  elements: dict
  contains:
    layer:
      description: Name of the target, or its kind.
      type: str
      sample: Triton
    target:
      description: The server.
      type: str
      sample: pod cms/main-triton-6d4b75cb6d-hwzls port 8001
    protocol:
      description: V(grpc) or V(http).
      type: str
    status:
      description: V(ok), or why the server did not answer, as in RV(fastml.supersonic.inference_check#module:checks).
      type: str
    message:
      description: What is wrong; empty when the server answered.
      type: str
    live:
      description: Whether the server says that it is live.
      type: bool
    ready:
      description:
        - Whether the server says that it is ready. With strict readiness one model that did not load is enough for no.
      type: bool
    name:
      description: Name of the server.
      type: str
      sample: triton
    version:
      description: Version of the server.
      type: str
      sample: 2.51.0
    extensions:
      description: Extensions of the protocol that it has.
      type: list
      elements: str
    models:
      description: Its models, one entry for each version.
      type: list
      elements: dict
      contains:
        name:
          description: Name of the model.
          type: str
        version:
          description: Its version, empty when none is loaded.
          type: str
        state:
          description: V(READY), V(LOADING), V(UNLOADING), V(UNAVAILABLE), V(ABSENT), or empty when never loaded.
          type: str
        ready:
          description: Whether this version can be asked.
          type: bool
        reason:
          description: Why it is not ready, in the server's words.
          type: str
        config:
          description: Its configuration.
          type: dict
          returned: when O(config) is set and the model is ready
        statistics:
          description: What it has served.
          type: dict
          returned: when O(statistics) is set and the model is ready
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import server_info
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import (
    TARGET_SPEC,
    Resolver,
    parse_targets,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "targets": TARGET_SPEC,
            "models": {"type": "list", "elements": "str"},
            "config": {"type": "bool", "default": False},
            "statistics": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 5},
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    resolver = Resolver(module.params)
    wanted = server_info.Wanted(
        models=module.params["models"],
        config=module.params["config"],
        statistics=module.params["statistics"],
        timeout=module.params["timeout"],
    )
    try:
        servers = server_info.ask_all(parse_targets(module.params["targets"]), resolver, wanted)
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    finally:
        resolver.close()
    module.exit_json(changed=False, servers=servers)


if __name__ == "__main__":
    main()
