# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Report and table of drift, for playbooks.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.fastml.supersonic.plugins.plugin_utils._reports import drift_differences


def drift_report(
    results: Sequence[Mapping[str, Any]], name: str, namespace: str = "", why: str = "", unknown: Sequence[str] = ()
) -> dict[str, Any]:
    """The drift of one instance; why: the reason if it could not be read."""
    plain = [str(text) for text in unknown if text]
    return drift_differences.report(results, str(name), str(namespace), time.time(), str(why), unknown=plain)


def drift_table(reports: Sequence[Mapping[str, Any]]) -> str:
    """Lines for a terminal."""
    return drift_differences.table(reports)
