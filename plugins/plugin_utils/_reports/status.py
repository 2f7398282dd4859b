# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Page and table of the status of instances, for playbooks.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.timestamp import stamp
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import status_page as instance_status_page

_ROOT = Path(__file__).resolve().parents[3]


def status_page(instances: Sequence[Mapping[str, Any]], made: str = "") -> str:
    """One HTML file; made: a time in ISO 8601, now unless given."""
    return instance_status_page.page(instances, made or stamp(time.time()), version())


def status_table(instances: Sequence[Mapping[str, Any]]) -> str:
    """Lines for a terminal."""
    return instance_status_page.table(instances)


def status_unreachable(name: str, why: str, namespace: str = "") -> dict[str, Any]:
    """The status of an instance that could not be reached."""
    return {
        "name": str(name),
        "namespace": str(namespace),
        "made": stamp(time.time()),
        "reachable": False,
        "why": str(why),
        "unknown": {},
    }


def version() -> str:
    """Of this collection: in a clone galaxy.yml has it, where it is installed its manifest."""
    manifest = _ROOT / "MANIFEST.json"
    if manifest.is_file():
        return str(json.loads(manifest.read_text())["collection_info"]["version"])
    galaxy = _ROOT / "galaxy.yml"
    found = re.search(r"^version: *['\"]?([^'\"\s]+)", galaxy.read_text(), re.M) if galaxy.is_file() else None
    return found[1] if found else ""
