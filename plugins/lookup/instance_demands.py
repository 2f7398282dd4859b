# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the roles of an instance are going to ask of its cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
name: instance_demands
short_description: What the roles of an instance are going to ask of its cluster
version_added: 1.0.0
author: fastml.supersonic contributors (@fastmachinelearning)
description:
  - Renders the manifests of roles with the variables of the host, and sums up what they ask for - pods with requests
    and limits, placement, claims, hosts of Ingresses, and objects that have to be there. Values of Secrets and
    environments are not a part of it.
  - No cluster is asked, and no task of a role is run.
options:
  _terms:
    description:
      - Roles of this collection, such as V(triton) and V(envoy). Those whose state is V(absent) ask for nothing.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Ask whether there is room
  fastml.supersonic.cluster_info:
    namespace: cms
    demands: "{{ query('fastml.supersonic.instance_demands', 'triton', 'envoy') | first }}"
"""

RETURN = r"""
_raw:
  description: One dictionary, for O(fastml.supersonic.cluster_info#module:demands).
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.role_manifests import RoleManifests


class LookupModule(LookupBase):
    """See DOCUMENTATION."""

    def run(self, terms: Any, variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """One dictionary, whatever the roles."""
        self.set_options(var_options=variables, direct=kwargs)
        roles = [str(role) for term in terms for role in (term if isinstance(term, (list, tuple)) else [term])]
        rendered = RoleManifests(self._templar, variables or {})
        unknown = [role for role in roles if not rendered.has(role)]
        if unknown:
            raise AnsibleError(f"instance_demands: {', '.join(unknown)} is no role of an instance that has manifests.")
        return [rendered.demands(roles)]
