# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What modules promise that only read."""

from __future__ import annotations


class ModuleDocFragment:
    """The text, as Ansible reads it."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in check mode and gives the same answer.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: N/A
    details: Changes nothing.
  idempotent:
    description: When run twice with the same arguments, the second run changes nothing.
    support: full
"""
