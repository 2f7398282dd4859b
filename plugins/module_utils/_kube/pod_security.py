# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The user and group that pods run as: those of their role, or chosen by the cluster.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

OpenShift gives each namespace a range of users and a group of its own (security context constraint restricted-v2) and
refuses pods that name others. What such a pod leaves out is filled in when it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# fsGroupChangePolicy stays: it is about the group that the cluster puts there.
_IDENTITY = frozenset({"runAsUser", "runAsGroup", "fsGroup"})


def security_context(context: Mapping[str, Any], arbitrary_user: bool = False) -> dict[str, Any]:
    """The security context of a pod or of a container, without users and groups where the cluster chooses them."""
    return {name: value for name, value in context.items() if not (arbitrary_user and name in _IDENTITY)}
