# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Formats times for results of modules.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import datetime


def stamp(seconds: float) -> str:
    """A time (seconds since 1970) as ISO 8601 in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
