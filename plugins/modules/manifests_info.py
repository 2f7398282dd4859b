# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: manifests_info
version_added: 1.0.0
short_description: How a set of Kubernetes objects differs from what would be applied, and by whom
author: ["fastml.supersonic contributors (@fastmachinelearning)"]
description:
  - Compares the objects that M(fastml.supersonic.manifests) would apply with those that are there, field by field, and
    says for each difference who has set the field, with which operation and when, as Kubernetes notes it in
    C(managedFields). Changes nothing.
  - What would be applied is what the API server says in a dry-run, so what it fills in by itself is no difference.
    Fields of controllers and the number of replicas that an autoscaler owns are none either.
  - The dry-run takes the rights that applying takes. An object that may not be compared is named in RV(unknown).
  - Values of Secrets are in no output.
extends_documentation_fragment:
  - fastml.supersonic.connection
  - fastml.supersonic.read_only
options:
  name:
    description: Name of the set, as O(fastml.supersonic.manifests#module:name).
    type: str
    required: true
  namespace:
    description: Its namespace.
    type: str
    required: true
  definitions:
    description: >-
      The objects that are wanted, as O(fastml.supersonic.manifests#module:definitions). None when there are to be none;
      what is there of the set is then told.
    type: list
    elements: raw
    default: []
  additional_namespaces:
    description: Other namespaces in which objects of the set may be.
    type: list
    elements: str
    default: []
  keep:
    description: Kinds that no run removes. Those that are left of them are told as such.
    type: list
    elements: str
    choices: [Namespace, PersistentVolume, PersistentVolumeClaim, CustomResourceDefinition]
    default: [Namespace, PersistentVolume, PersistentVolumeClaim, CustomResourceDefinition]
  autoscaled:
    description: As O(fastml.supersonic.manifests#module:autoscaled).
    type: bool
  field_manager:
    description: Name under which the set is applied.
    type: str
    default: fastml.supersonic
  trusted_managers:
    description: >-
      Patterns (as in a shell) of field managers whose own fields are as they are to be, besides those of well-known
      controllers. A field of the set that they have changed is a difference all the same.
    type: list
    elements: str
    default: []
seealso:
  - module: fastml.supersonic.manifests
  - module: fastml.supersonic.drift_info
"""

EXAMPLES = r"""
- name: Who has changed something?
  fastml.supersonic.manifests_info:
    name: nrp-cms-triton
    namespace: cms
    definitions: "{{ lookup('ansible.builtin.template', 'triton.yaml.j2') | from_yaml_all | select | list }}"
  register: compared

- name: Say so
  ansible.builtin.debug:
    msg: "{{ compared.findings | map(attribute='text') | list }}"
"""

RETURN = r"""
findings:
  description: Every difference.
  returned: success
  type: list
  elements: dict
  contains:
    severity:
      description: >-
        V(error) is what a run would change or stop at, V(warning) what no run mends, V(note) what is no difference.
      type: str
      choices: [error, warning, note]
    between:
      description: Which two states differ.
      type: str
      choices: [desired-live, live-running]
    kind:
      description: >-
        V(missing), V(edited), V(removed) or V(added) by somebody else, V(not applied) yet, V(extra), V(kept),
        V(refused), V(ownership) or V(held).
      type: str
    object:
      description: Kind and name of the object.
      type: str
      sample: Deployment/nrp-cms-triton
    field:
      description: The field, empty where it is the whole object.
      type: str
      sample: spec.template.spec.containers[triton].image
    fields:
      description: The fields that were V(added).
      type: list
      elements: str
    desired:
      description: What it would be after a run; absent where it would not be there.
      type: raw
    live:
      description: What it is; absent where it is not there.
      type: raw
    text:
      description: All of that in a sentence.
      type: str
    remedy:
      description: What to do.
      type: str
    by:
      description: Who has done it, the latest first, with C(manager), C(operation), C(subresource) and C(time).
      type: list
      elements: dict
  sample:
    - severity: error
      between: desired-live
      kind: edited
      object: Deployment/nrp-cms-triton
      field: spec.replicas
      desired: 2
      live: 5
      text: spec.replicas was set by kubectl (update of scale) at 2026-01-31T12:00:00Z
      remedy: Put it into the inventory, or undo it with the tool that made it.
      by:
        - {manager: kubectl, operation: Update, subresource: scale, time: "2026-01-31T12:00:00Z"}
unknown:
  description: What could not be compared, and why.
  returned: success
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fastml.supersonic.plugins.module_utils._common.no_log import QuietModule
from ansible_collections.fastml.supersonic.plugins.module_utils._drift.changed_objects import run
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.apply import KEEPABLE
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import CONNECTION_SPEC
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.manifests import labels

ARGUMENT_SPEC = {
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    # As in the module manifests.
    "definitions": {"type": "list", "elements": "raw", "default": [], "no_log": False},
    "additional_namespaces": {"type": "list", "elements": "str", "default": []},
    "keep": {"type": "list", "elements": "str", "choices": list(KEEPABLE), "default": list(KEEPABLE)},
    "autoscaled": {"type": "bool"},
    "field_manager": {"type": "str", "default": "fastml.supersonic"},
    "trusted_managers": {"type": "list", "elements": "str", "default": []},
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
