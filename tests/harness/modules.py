# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a module of the collection in this process, as Ansible would."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.fastml.supersonic.plugins.plugin_utils._direct.module_process import module_process, packed


def run_module(
    name: str,
    options: Mapping[str, Any],
    *,
    check: bool = False,
    diff: bool = False,
    collection: str = "fastml.supersonic",
) -> dict[str, Any]:
    """Run a module and return its result; failed is always there."""
    module = importlib.import_module(f"ansible_collections.{collection}.plugins.modules.{name}")
    given = packed({**options, "_ansible_check_mode": check, "_ansible_diff": diff})
    code: object = None
    with module_process(given) as (output, _errors):
        try:
            module.main()
        except SystemExit as exc:
            code = exc.code
    result = json.loads(output.getvalue())
    assert isinstance(result, dict)
    assert bool(code) == bool(result.get("failed")), f"exit code {code!r} belies {result}"
    return {"failed": False, **result}
