# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that name an instance."""

from __future__ import annotations


class ModuleDocFragment:
    """The text, as Ansible reads it."""

    DOCUMENTATION = r"""
options:
  name:
    description: Name of the instance.
    type: str
    required: true
  namespace:
    description: Its namespace.
    type: str
    required: true
"""

    # For a module that tells how it is: fastml.supersonic.instance.told. With its type, since ansible-test takes each
    # plain assignment here for a text that is written out.
    TOLD: str = (
        DOCUMENTATION
        + r"""
  cluster_domain:
    description: DNS domain of the cluster's Services.
    type: str
    default: cluster.local
  address:
    description: Address that clients use, V(host:port). It is told, and not asked.
    type: str
    default: ""
  report:
    description: >-
      File with the report of the last verification, as O(fastml.supersonic.inference_check#module:report) writes it.
    type: path
  prometheus:
    description: A Prometheus that scrapes the instance. Without one nothing is known of requests, latency and alerts.
    type: dict
    suboptions:
      url:
        description: >-
          Its address, as O(fastml.supersonic.prometheus_query_info#module:url); empty where the instance has none.
        type: str
        required: true
      token:
        description: Bearer token for it, or for what is in front of it.
        type: str
      ca_certificates:
        description: Certificates (PEM) of the authorities to trust with V(https). Those of the system unless set.
        type: str
"""
    )
