# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that name the servers of a pool."""

from __future__ import annotations


class ModuleDocFragment:
    """The text, as Ansible reads it; a module says by itself what it does with them."""

    DOCUMENTATION = r"""
options:
  servers:
    type: dict
    suboptions:
      namespace:
        description: Their namespace.
        type: str
        required: true
      instance:
        description:
          - Name of the instance that they belong to. Exactly one of this and O(servers.labels) is given.
        type: str
      labels:
        description: Labels of their pods and the labels' values; a pod has to have all of them.
        type: dict
"""

    # For a module that asks them for their models too: fastml.supersonic.model_servers.index. With its type, since
    # ansible-test takes each plain assignment here for a text that is written out.
    INDEX: str = (
        DOCUMENTATION
        + r"""
      index:
        description:
          - Ask each server for its index of models too, over HTTP by a port-forward, and compare it with the models
            of the current release.
        type: bool
        default: false
      timeout:
        description: Seconds that a server may take to answer.
        type: float
        default: 5
"""
    )
