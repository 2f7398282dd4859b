# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles that deploy an instance, or what its cluster has."""

from __future__ import annotations

DOCUMENTATION = r"""
name: instance_roles
short_description: The roles that deploy an instance, or what its cluster has
version_added: 1.0.0
author: fastml.supersonic contributors (@fastmachinelearning)
description:
  - Gives the roles of this collection that deploy the instance, by its O(ignore:supersonic_components) - the model
    repository, servers and Envoys that every instance has, and then what is listed.
  - For a host of the group C(supersonic_clusters) it gives those that deploy what all instances of the cluster share.
options:
  _terms:
    description:
      - Not used.
    type: list
    elements: str
  kind:
    description:
      - V(all) roles of an instance, those that are there only because they are listed (V(optional)), or those of a
        V(cluster).
    type: str
    choices: [all, optional, cluster]
    default: all
  component_names:
    description:
      - Whether the names of the components are given instead, as they are in names of objects, such as
        V(otel-collector) for V(otel_collector).
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Write the manifests
  ansible.builtin.include_role:
    name: "fastml.supersonic.{{ item }}"
    tasks_from: render
  loop: "{{ query('fastml.supersonic.instance_roles') }}"
"""

RETURN = r"""
_raw:
  description: Names of roles, without that of the collection.
  type: list
  elements: str
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import (
    cluster_roles,
    component_name,
    instance_roles,
    optional_roles,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.role_variables import of_task


class LookupModule(LookupBase):
    """See DOCUMENTATION."""

    def run(self, terms: Any, variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """The roles in the order in which they are checked and rendered."""
        self.set_options(var_options=variables, direct=kwargs)
        if terms:
            raise AnsibleError("instance_roles takes no names, but was given " + ", ".join(map(str, terms)) + ".")
        # What cannot be evaluated, or is no list, is refused by the module validate in its own words.
        try:
            listed = of_task(self._templar, variables or {})["supersonic_components"]
        except AnsibleError:
            listed = []
        listed = [str(item) for item in listed] if isinstance(listed, (list, tuple)) else []
        found = {"all": instance_roles, "optional": optional_roles, "cluster": cluster_roles}
        roles = found[self.get_option("kind")](listed)
        return [component_name(role) for role in roles] if self.get_option("component_names") else roles
