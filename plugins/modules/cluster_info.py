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
  services:
    description: >-
      What is asked at Services of other namespaces. The rights that this takes there, to get Services, to list
      EndpointSlices and to forward a port to their pods, are looked for; those that are not held are told and are no
      problem.
    type: list
    elements: dict
    default: []
    suboptions:
      url:
        description: The address.
        type: str
        required: true
      namespace:
        description: Namespace of the Service.
        type: str
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
  brought:
    description: >-
      Components that the same run installs in the cluster before the instance. What they bring counts as there, and the
      findings name it.
    type: list
    elements: dict
    default: []
    suboptions:
      component:
        description: Name of the component, for example V(KEDA).
        type: str
        required: true
      kinds:
        description: Kinds that it brings, each as in O(kinds).
        type: list
        elements: dict
        default: []
        suboptions:
          api_version:
            description: Group and version of the API.
            type: str
            required: true
          kind:
            description: The kind.
            type: str
            required: true
      node_resources:
        description: >-
          Extended resources that nodes offer when it is installed, for example V(nvidia.com/gpu); V(*) stands for any
          text, as in V(nvidia.com/mig-*).
        type: list
        elements: str
        default: []
  ingress_classes:
    description: Ingress classes that have to exist.
    type: list
    elements: str
    default: []
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
  instance:
    description:
      - Name of the instance that is going to be deployed. What it has already is not counted against it, and the Role
        has its name.
    type: str
  demands:
    description:
      - What the manifests of the instance ask for, by the lookup P(fastml.supersonic.instance_demands#lookup). With it
        quota, limits, nodes, claims, Secrets and hosts are asked for as well.
    type: dict
    default: {}
  claims_may_come:
    description: Claims in the namespace that other instances make, which are deployed beside this one.
    type: list
    elements: str
    default: []
  policy:
    description: What the site allows, as C(preflight_policy) of the role P(fastml.supersonic.preflight#role).
    type: dict
    default: {}
  tolerated:
    description: Checks whose errors are warnings.
    type: list
    elements: str
    default: []
  role_subject:
    description: Whom RV(role) is bound to, with C(kind), C(name) and C(namespace); whoever asks unless it is given.
    type: dict
    default: {}
  origins:
    description:
      - What variables of the inventory name and where that is written, so that messages say which of them to change.
        Found without being given.
    type: list
    elements: dict
    default: []
    suboptions:
      variable:
        description: Name of the variable, with the key in it, for example V(envoy_ingress.class_name).
        type: str
        required: true
      value:
        description: Its value.
        type: str
        required: true
      origin:
        description: File and line, where they are known.
        type: str
        default: ""
  prometheus:
    description: A Prometheus of the site, which is asked whether it answers and knows the namespace.
    type: dict
    suboptions:
      url:
        description: Its address, as in O(fastml.supersonic.prometheus_query_info#module:url).
        type: str
        required: true
      token:
        description: Bearer token for it.
        type: str
      ca_certificates:
        description: Certificates (PEM) of the authorities to trust with V(https).
        type: str
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
permissions:
  description: Every verb of O(permissions) on every resource, and whether it is held.
  returned: success
  type: list
  elements: dict
  sample: [{verb: create, resource: pods/exec, group: "", held: true}]
role:
  description:
    - Role and RoleBinding that grant all of O(permissions) and no more, and with O(create_namespace) a ClusterRole and
      its binding for the namespace itself.
  returned: with O(permissions) and O(instance)
  type: list
  elements: dict
findings:
  description: What each check has found, by check.
  returned: success
  type: list
  elements: dict
  contains:
    check:
      description: >-
        V(version), V(namespace), V(permissions), V(kinds), V(quota), V(limits), V(nodes), V(gpus), V(storage),
        V(claims), V(cvmfs), V(secrets), V(objects), V(ingress), V(prometheus) or V(policy).
      type: str
    severity:
      description: >-
        V(error), V(warning), V(ok), or V(info) for what may not be read and so is not known, or is only told.
      type: str
    subject:
      description: What it is about.
      type: str
    found:
      description: What is so.
      type: str
    action:
      description: What to do about it; empty where there is nothing to do.
      type: str
    why:
      description: Why it matters.
      type: str
problems:
  description: The sentences of the errors in RV(findings).
  returned: success
  type: list
  elements: str
  sample: ["The cluster runs Kubernetes v1.28.1, but 1.30 or newer is needed."]
"""

from collections.abc import Mapping
from functools import partial

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC, connection
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring import prometheus as monitoring_prometheus
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight import checks as preflight_checks
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight import findings_table

# One question, which a Prometheus that is well answers at once.
PROMETHEUS_SECONDS = 10.0


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
            "services": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "url": {"type": "str", "required": True},
                    "namespace": {"type": "str", "required": True},
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
            "brought": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "component": {"type": "str", "required": True},
                    "kinds": {
                        "type": "list",
                        "elements": "dict",
                        "default": [],
                        "options": {
                            "api_version": {"type": "str", "required": True},
                            "kind": {"type": "str", "required": True},
                        },
                    },
                    "node_resources": {"type": "list", "elements": "str", "default": []},
                },
            },
            "ingress_classes": {"type": "list", "elements": "str", "default": []},
            "storage_classes": {"type": "list", "elements": "str", "default": []},
            "node_resources": {"type": "dict", "default": {}},
            "instance": {"type": "str"},
            "demands": {"type": "dict", "default": {}},
            "claims_may_come": {"type": "list", "elements": "str", "default": []},
            "policy": {"type": "dict", "default": {}},
            "tolerated": {"type": "list", "elements": "str", "default": []},
            "role_subject": {"type": "dict", "default": {}},
            "origins": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "variable": {"type": "str", "required": True},
                    "value": {"type": "str", "required": True},
                    "origin": {"type": "str", "default": ""},
                },
            },
            "prometheus": {
                "type": "dict",
                "options": {
                    "url": {"type": "str", "required": True},
                    "token": {"type": "str", "no_log": True},
                    "ca_certificates": {"type": "str"},
                },
            },
            **CONNECTION_SPEC,
        },
        supports_check_mode=True,
    )
    site = module.params["prometheus"]
    resolver = Resolver(module.params)
    try:
        ask = partial(_ask, resolver, site, module.params["namespace"]) if site else None
        found = preflight_checks.inspect(Api(connection(module.params)), module.params, ask)
    except SupersonicError as error:
        module.fail_json(msg=str(error))
    finally:
        resolver.close()
    # msg is what a task that fails on problems shows.
    message = "\n".join(found["problems"]) or f"Kubernetes {found['version']} offers and allows what is needed."
    message = "\n".join(text for text in (message, findings_table.missing_text(found)) if text)
    module.exit_json(changed=False, msg=message, **found)


def _ask(resolver: Resolver, site: Mapping[str, str | None], namespace: str) -> monitoring_prometheus.Known:
    prometheus = monitoring_prometheus.Prometheus(
        monitoring_prometheus.parse_address(site["url"], None),
        resolver,
        token=site["token"] or "",
        authorities=site["ca_certificates"] or "",
        timeout=PROMETHEUS_SECONDS,
    )
    return monitoring_prometheus.knows(prometheus, namespace)


if __name__ == "__main__":
    main()
