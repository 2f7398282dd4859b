# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from __future__ import annotations

DOCUMENTATION = r"""
module: validate
short_description: Judge the variables of roles before anything changes
version_added: 1.0.0
author:
  - fastml.supersonic contributors (@fastmachinelearning)
description:
  - Compares the variables of a host with the argument specifications of roles of this collection and with the rules
    that join several variables, such as a termination grace that has to be longer than the drain before it.
  - Finds misspelt variables, keys and values, and says which file and line they come from.
  - All problems of a host are reported at once. Runs on the controller and asks no cluster.
options:
  roles:
    description:
      - Roles of this collection whose variables are judged. The role P(fastml.supersonic.supersonic#role) is always
        among them.
    type: list
    elements: str
    required: true
  whole_inventory:
    description:
      - Also judge what only a whole inventory can tell - names that are a slip away from a variable of this
        collection, and two instances of one name in one namespace.
    type: bool
    default: false
  files:
    description:
      - Whether files and folders that variables name have to be there already. V(false) before a play that makes them,
        or that does without; RV(missing) then has those of an instance that are not there.
    type: bool
    default: true
  models:
    description:
      - Judge the models in C(model_repository_sources) too, as M(fastml.supersonic.model_repository) judges
        them before it sends anything. All of their files are read, those aside that have not changed since.
    type: bool
    default: false
  playbook_variables:
    description:
      - For O(whole_inventory), the variables that the playbook itself takes from the command line. Whatever else is
        given there and begins as one of these, up to the first C(_), is refused.
    type: list
    elements: str
    default: []
  instances_group:
    description:
      - Group of the inventory whose hosts are instances, for O(whole_inventory).
    type: str
    default: supersonic_instances
requirements:
  - tritonclient[grpc], with O(models)
extends_documentation_fragment:
  - fastml.supersonic.read_only
"""

EXAMPLES = r"""
- name: Judge the variables of a pool before it is touched
  fastml.supersonic.validate:
    roles: [triton, envoy]
"""

RETURN = r"""
msg:
  description: What was judged, or every problem of the host with the variable, its value and where it comes from.
  returned: always
  type: str
  sample: |-
    The inventory of cms has 1 problem(s); nothing was changed.
    - triton_replicas is -1 (inventories/site/host_vars/cms.yml:4): it has to be 0 or more.
missing:
  description: Files and folders that variables of an instance name and that are not there.
  returned: with O(files=false), unless there are problems
  type: list
  elements: dict
  contains:
    variable:
      description: The variable that names it.
      type: str
    text:
      description: What is missing, with the value of the variable and where that comes from.
      type: str
"""
