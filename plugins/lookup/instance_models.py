# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the models of an instance are."""

from __future__ import annotations

DOCUMENTATION = r"""
name: instance_models
short_description: Where the models of an instance are
version_added: 1.0.0
author: fastml.supersonic contributors (@fastmachinelearning)
description:
  - Gives the claim or folder that the models of the instance are published to, and the claims that its servers mount,
    by the variables of the roles model_repository and triton.
options:
  _terms:
    description:
      - Not used.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Show the claim with the models
  ansible.builtin.debug:
    msg: "{{ (query('fastml.supersonic.instance_models') | first).claim }}"
"""

RETURN = r"""
_raw:
  description: One dictionary.
  type: list
  elements: dict
  contains:
    claim:
      description: The claim that models are published to.
      type: str
    path:
      description: The folder that they are published to instead, or nothing.
      type: str
    published:
      description: Whether the inventory publishes models.
      type: bool
    mounted_claims:
      description: Claims that the servers mount.
      type: list
      elements: str
    current_claims:
      description: Those of them whose current release the servers read.
      type: list
      elements: str
    in_claim:
      description: Whether the models are in V(claim), published by this inventory or read by the servers.
      type: bool
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.instance_models import instance_models
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.role_variables import of_task


class LookupModule(LookupBase):
    """See DOCUMENTATION."""

    def run(self, terms: Any, variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """One dictionary."""
        self.set_options(var_options=variables, direct=kwargs)
        if terms:
            raise AnsibleError("instance_models takes no names, but was given " + ", ".join(map(str, terms)) + ".")
        return [instance_models(of_task(self._templar, variables or {}))]
