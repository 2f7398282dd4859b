# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the manifests of Prometheus need and Jinja would make unreadable.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from ansible_collections.fastml.supersonic.plugins.module_utils._quantity import quantity

_MEGABYTE = 2**20


def prometheus_retention_size(volume: str) -> str:
    """Four fifths of a volume, as Prometheus writes sizes: the rest is for what it has not yet put into blocks."""
    return f"{max(int((quantity(volume) or 0) * 4 // 5 // _MEGABYTE), 1)}MB"
