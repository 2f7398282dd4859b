# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for the role status.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

# Smallest and, where there is one, largest value of a number.
LIMITS: dict[str, tuple[float, float | None]] = {
    "status_window": (60, 604800),
    "status_timeout": (1, None),
}
