#!/usr/bin/python
# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: manifests
version_added: 1.0.0
short_description: Apply a set of Kubernetes objects, keep it as it is described, and prove that it runs
author: ["fastml.supersonic contributors (@fastmachinelearning)"]
description:
  - Brings a set of Kubernetes objects into a cluster with server-side apply, removes what was in the set before and is
    not any more, and waits until everything is ready. When it does not get ready, the message says why.
  - The server itself computes every change by a dry-run, so check mode and diff tell the truth, and what the server
    refuses is reported before anything is changed. On an empty cluster, where the namespace or the kind of an object
    is only made by this set, no server can be asked about it yet - check mode predicts that it is created and shows
    what would be sent, and its dry-run comes as soon as the namespace or the kind is there, before any object of that
    kind is applied.
  - Objects are applied in the order Namespace, CustomResourceDefinition, RBAC, Secret and ConfigMap, volumes, Service,
    workloads, custom resources, Ingress; side by side where the order allows.
  - The set is a Kubernetes ApplySet (KEP-3659). Its parent is the ConfigMap C(<name>-applyset) in O(namespace); members
    carry the label C(applyset.kubernetes.io/part-of). C(kubectl) recognises both, and neither tool touches the sets of
    the other.
  - Values of Secrets are in no output, diff or log, at any verbosity. A diff shows in their place a digest that is
    keyed anew in each run, so that a change can be seen and a value cannot be guessed. The end of a container's log,
    which a failed wait shows, is rid of the values (of 6 characters or more) of the set's own Secrets; what else a
    container writes to its log cannot be known.
  - Only Python's standard library and PyYAML are needed on the host that runs the module.
extends_documentation_fragment:
  - fastml.supersonic.connection
attributes:
  check_mode:
    description: Can run in check mode and predict the result without changing anything.
    support: full
  diff_mode:
    description: Returns what changed, or would change in check mode.
    support: full
  idempotent:
    description: A second run with the same options on an unchanged cluster changes nothing.
    support: full
options:
  name:
    description:
      - Name of the set. Unique in its namespace.
    type: str
    required: true
  namespace:
    description:
      - Namespace of the set. Objects that belong in a namespace and name none are put here.
    type: str
    required: true
  definitions:
    description:
      - The objects, as mappings with C(apiVersion), C(kind), C(metadata) and so on.
      - The whole set, in every run; with O(prune) an object that is left out is removed.
      - An empty list is refused for O(state=present). For O(state=absent) it may be left out.
    type: list
    elements: raw
    default: []
  state:
    description:
      - V(present) applies O(definitions).
      - V(absent) deletes what was applied under this O(name), whether or not it is still in O(definitions).
    type: str
    choices: [present, absent]
    default: present
  create_namespace:
    description:
      - Make O(namespace) when it does not exist. It does not become a member of the set and is never pruned.
        A namespace that exists is left as it is.
    type: bool
    default: false
  namespace_labels:
    description:
      - Labels that a namespace made by O(create_namespace) gets besides C(app.kubernetes.io/managed-by) and
        C(app.kubernetes.io/part-of), for example those of Pod Security.
    type: dict
    default: {}
  delete_namespace:
    description:
      - With O(state=absent), delete O(namespace) too, if O(create_namespace) has made it and no other set and no kept
        object is in it. Everything else that is in the namespace goes with it.
    type: bool
    default: false
  additional_namespaces:
    description:
      - Other namespaces in which objects of the set may be. An object anywhere else is refused.
    type: list
    elements: str
    default: []
  prune:
    description:
      - Remove objects that are in the set and not in O(definitions).
    type: bool
    default: true
  keep:
    description:
      - Kinds that are not deleted, neither by O(prune) nor by O(state=absent), because other things or data go with
        them. They stay members of the set; to delete them, leave their kind out of this list.
    type: list
    elements: str
    choices: [Namespace, PersistentVolume, PersistentVolumeClaim, CustomResourceDefinition]
    default: [Namespace, PersistentVolume, PersistentVolumeClaim, CustomResourceDefinition]
  byproducts:
    description:
      - Objects that the programs of the set make by themselves and that no object owns, as C(apiVersion), C(kind) and
        C(metadata.name), for example a Secret with certificates.
      - With O(state=absent) those that are there are deleted after the set, if there is such a set, and do not keep
        O(namespace) from going with O(delete_namespace). They are never made or changed here.
    type: list
    elements: dict
    default: []
  expected_kinds:
    description:
      - Kinds that another part of the same run installs before these objects are applied.
      - In check mode the cluster does not serve them yet, so objects of these kinds count as created. Without check
        mode they have to be served, as every other kind.
    type: list
    elements: dict
    default: []
    suboptions:
      api_version:
        description: Group and version of the API, for example V(keda.sh/v1alpha1).
        type: str
        required: true
      kind:
        description: The kind, for example V(ScaledObject). Its objects belong to a namespace.
        type: str
        required: true
  force_conflicts:
    description:
      - Take over fields that another field manager has set to another value. Without it such a conflict is an error
        that names the manager and the fields.
      - A number of replicas that is left to an autoscaler, or that an operator, a drain or a benchmark holds, is not
        taken over, nor is any field that is not in O(definitions).
      - Contents of a ConfigMap or a Secret that are taken over are warned of, since pods that were started meanwhile
        may have read what was there.
    type: bool
    default: false
  conflict_remedy:
    description:
      - What can be done about such a conflict, as its error says in the end. For whoever sets O(force_conflicts) by a
        variable of another name; by default it is O(force_conflicts) that is told of.
    type: str
    default: ""
  autoscaled:
    description:
      - Whether an autoscaler decides on C(spec.replicas) of the workloads of this set. Their number is then never set.
      - By default this is found out for each workload, from HorizontalPodAutoscaler and KEDA ScaledObject objects in
        the set and in the cluster.
    type: bool
  field_manager:
    description:
      - Name under which fields are owned. Changing it for a set that exists leaves fields behind under the old name.
    type: str
    default: fastml.supersonic
  wait:
    description:
      - Wait until all objects of the set are ready and removed ones are gone. Fails early when that cannot happen any
        more, for example when an image does not exist.
    type: bool
    default: true
  wait_timeout:
    description:
      - Seconds to wait at most.
    type: int
    default: 300
  wait_for_load_balancer:
    description:
      - Count a Service of type LoadBalancer as ready only when it has an address.
    type: bool
    default: false
seealso:
  - name: Server-side apply
    description: How Kubernetes keeps track of who has set which field.
    link: https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

EXAMPLES = r"""
- name: Apply what a template describes
  fastml.supersonic.manifests:
    name: nrp-cms-triton
    namespace: cms
    definitions: "{{ lookup('ansible.builtin.template', 'triton.yaml.j2') | from_yaml_all | select | list }}"
    wait_timeout: 900

- name: Make the namespace too
  fastml.supersonic.manifests:
    name: settings
    namespace: cms
    create_namespace: true
    namespace_labels:
      pod-security.kubernetes.io/enforce: restricted
    definitions:
      - apiVersion: v1
        kind: ConfigMap
        metadata:
          name: settings
        data:
          greeting: hello

- name: Remove the set, but leave its volumes
  fastml.supersonic.manifests:
    name: nrp-cms-triton
    namespace: cms
    state: absent

- name: Remove the set with its volumes, and the namespace
  fastml.supersonic.manifests:
    name: settings
    namespace: cms
    state: absent
    keep: []
    delete_namespace: true
"""

RETURN = r"""
objects:
  description:
    - What was done to each object, or would be in check mode. The parent of the set is listed when it changes.
    - When the module fails, what had been done until then.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: Kind of the object.
      type: str
      returned: always
    name:
      description: Name of the object.
      type: str
      returned: always
    namespace:
      description: Namespace of the object, empty if it is in none.
      type: str
      returned: always
    action:
      description:
        - V(kept) is an object that is not in O(definitions) any more and is not deleted because of O(keep) or O(prune).
      type: str
      choices: [created, configured, unchanged, pruned, deleted, kept]
      returned: always
  sample:
    - kind: Deployment
      name: nrp-cms-triton
      namespace: cms
      action: configured
left:
  description:
    - Why O(namespace) is still there although O(delete_namespace) wants it gone. Empty when it is gone.
  returned: O(state=absent)
  type: list
  elements: str
  sample: ["The namespace 'cms' is left, the sets cms-models-applyset are still in it."]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.no_log import QuietModule
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.apply import KEEPABLE
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.manifests import labels, run

ARGUMENT_SPEC = {
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    # Not no_log: that would hide every name and number in the output. QuietModule hides the values of Secrets.
    "definitions": {"type": "list", "elements": "raw", "default": [], "no_log": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "create_namespace": {"type": "bool", "default": False},
    "namespace_labels": {"type": "dict", "default": {}},
    "delete_namespace": {"type": "bool", "default": False},
    "additional_namespaces": {"type": "list", "elements": "str", "default": []},
    "prune": {"type": "bool", "default": True},
    "keep": {
        "type": "list",
        "elements": "str",
        "choices": list(KEEPABLE),
        "default": list(KEEPABLE),
    },
    "byproducts": {"type": "list", "elements": "dict", "default": []},
    "expected_kinds": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"api_version": {"type": "str", "required": True}, "kind": {"type": "str", "required": True}},
    },
    "force_conflicts": {"type": "bool", "default": False},
    "conflict_remedy": {"type": "str", "default": ""},
    "autoscaled": {"type": "bool"},
    "field_manager": {"type": "str", "default": "fastml.supersonic"},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 300},
    "wait_for_load_balancer": {"type": "bool", "default": False},
    **CONNECTION_SPEC,
}


class Module(QuietModule, AnsibleModule):
    """AnsibleModule that names the objects that it was given, instead of showing them."""

    def shown(self, params: dict[str, t.Any]) -> dict[str, t.Any]:
        """With names instead of definitions."""
        given = params.get("definitions")
        return {**params, "definitions": labels(given)} if given else params


def main() -> None:
    run(Module(argument_spec=ARGUMENT_SPEC, supports_check_mode=True, no_log=True))


if __name__ == "__main__":
    main()
