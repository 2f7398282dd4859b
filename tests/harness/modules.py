# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a module of the collection in this process, as Ansible would."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args


def run_module(name: str, options: Mapping[str, Any], *, check: bool = False, diff: bool = False) -> dict[str, Any]:
    """Run a module and return its result; failed is always there."""
    module = importlib.import_module(f"ansible_collections.fastml.supersonic.plugins.modules.{name}")
    arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": diff}
    # Of the process: what an earlier module has warned of is none of this one's.
    warnings._global_warnings.clear()
    output = io.StringIO()
    code: object = None
    with patch_module_args(arguments), contextlib.redirect_stdout(output):
        try:
            module.main()
        except SystemExit as exc:
            code = exc.code
    result = json.loads(output.getvalue())
    assert isinstance(result, dict)
    assert bool(code) == bool(result.get("failed")), f"exit code {code!r} belies {result}"
    return {"failed": False, **result}
