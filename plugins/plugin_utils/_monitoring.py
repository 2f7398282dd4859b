# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the manifests of whoever observes an instance need and Jinja would make unreadable.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re

from ansible_collections.fastml.supersonic.plugins.module_utils._quantity import quantity

_MEGABYTE = 2**20


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}


def duration_seconds(duration: str) -> float:
    """Seconds of a time as Go writes it, such as 1.5ms or 1h30m."""
    parts = re.findall(r"([0-9.]+)(h|ms|us|m|s)", duration)
    return round(sum(float(number) * _UNITS[unit] for number, unit in parts), 9)


def prometheus_retention_size(volume: str) -> str:
    """Four fifths of a volume, as Prometheus writes sizes: the rest is for what it has not yet put into blocks."""
    return f"{max(int((quantity(volume) or 0) * 4 // 5 // _MEGABYTE), 1)}MB"
