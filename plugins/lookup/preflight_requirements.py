# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the roles of an instance need of its cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
name: preflight_requirements
short_description: What the roles of an instance need of its cluster
version_added: 1.0.0
author: fastml.supersonic contributors (@fastmachinelearning)
description:
  - Gives values of variables of the role preflight, by the variables of the instance and the defaults of its roles.
    No cluster is asked.
options:
  _terms:
    description:
      - What to give, the name of a variable of the role preflight without C(preflight_).
    type: list
    elements: str
    choices: [features, services, storage_classes, ingress_classes, node_resources, ask_prometheus]
    required: true
"""

EXAMPLES = r"""
- name: Check the cluster of the instance
  ansible.builtin.include_role:
    name: fastml.supersonic.preflight
  vars:
    preflight_features: "{{ query('fastml.supersonic.preflight_requirements', 'features') | first }}"
"""

RETURN = r"""
_raw:
  description: One value for each name, of the type that the variable has.
  type: list
  elements: raw
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.preflight_requirements import REQUIREMENTS
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.role_variables import of_task


class LookupModule(LookupBase):
    """See DOCUMENTATION."""

    def run(self, terms: Any, variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """One value for each name."""
        self.set_options(var_options=variables, direct=kwargs)
        unknown = [str(term) for term in terms if term not in REQUIREMENTS]
        if unknown:
            raise AnsibleError(f"preflight_requirements: {', '.join(unknown)} is none of {', '.join(REQUIREMENTS)}.")
        instance = of_task(self._templar, variables or {})
        return [REQUIREMENTS[str(term)](instance) for term in terms]
