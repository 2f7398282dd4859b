# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that say where a Grafana is. A module says by itself what its token has to be good for."""

from __future__ import annotations


class ModuleDocFragment:
    """The text, as Ansible reads it."""

    DOCUMENTATION = r"""
options:
  url:
    description:
      - Address of Grafana, V(http://HOST:PORT) or V(https://HOST:PORT), with a path where it has one.
      - That of a Service, V(http://NAME.NAMESPACE.svc.cluster.local:3000), is reached through the Kubernetes
        API.
    type: str
    required: true
  ca_certificates:
    description:
      - Certificates (PEM) of the authorities to trust with V(https). Those of the system unless set.
    type: str
  validate_grafana_certs:
    description:
      - Whether the certificate of Grafana is checked. Without the check anybody can pose as it.
    type: bool
    default: true
  timeout:
    description:
      - Seconds that one answer may take.
    type: float
    default: 30
"""

    # For a module that may log in with a password instead: fastml.supersonic.grafana.login. With its type, since
    # ansible-test takes each plain assignment here for a text that is written out.
    LOGIN: str = (
        DOCUMENTATION
        + r"""
  user:
    description:
      - Name of a user, where there is no token.
    type: str
    default: admin
  password:
    description:
      - Password of O(user).
    type: str
"""
    )
