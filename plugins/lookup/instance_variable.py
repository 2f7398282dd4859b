# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The value that a variable of an instance has, whichever role it belongs to."""

from __future__ import annotations

DOCUMENTATION = r"""
name: instance_variable
short_description: The value that a variable of an instance has
version_added: 1.0.0
author: fastml.supersonic contributors (@fastmachinelearning)
description:
  - Gives the value that a role of this collection has for a variable - that of the inventory, or else the role's
    default, which a play that does not include the role cannot see.
  - A variable that the inventory sets to null has the role's default.
options:
  _terms:
    description:
      - Names of variables of roles of this collection, such as V(triton_replicas).
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show where the models are
  ansible.builtin.debug:
    msg: "{{ lookup('fastml.supersonic.instance_variable', 'model_repository_claim') }}"
"""

RETURN = r"""
_raw:
  description: The values, in the order of the names.
  type: list
  elements: raw
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.role_variables import known, of_task


class LookupModule(LookupBase):
    """See DOCUMENTATION."""

    def run(self, terms: Any, variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """One value for each name."""
        self.set_options(var_options=variables, direct=kwargs)
        names = [str(term) for term in terms]
        unknown = [name for name in names if not known(name)]
        if unknown:
            raise AnsibleError(
                f"instance_variable: {', '.join(unknown)} is no variable of a role of fastml.supersonic."
            )
        instance = of_task(self._templar, variables or {})
        unset = [name for name in names if name not in instance]
        if unset:
            raise AnsibleError(f"instance_variable: {', '.join(unset)} is not set, and has no default.")
        return [instance[name] for name in names]
