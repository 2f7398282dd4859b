# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of a role's variables, without an inventory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.kubernetes import check_kubernetes
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.validation import check_relations
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.values import check_value


def sentences(values: dict[str, Any], options: Mapping[str, Any]) -> list[str]:
    """What is wrong with each value by its specification, or else with all of them together."""
    wrong = [
        problem
        for name, value in values.items()
        for problem in (
            list(check_kubernetes(name, value)) or list(check_value(name, value, options.get(name, {"type": "raw"})))
        )
    ]
    return [problem.sentence() for problem in wrong or check_relations(values, files=False)]


def readme_variables(role: str) -> dict[str, Any]:
    """Those of the example in a role's README: what it needs, and no more."""
    text = (Path(__file__).resolve().parents[2] / "roles" / role / "README.md").read_text()
    (example,) = re.findall(r"^## Example\n\n```yaml\n(.*?)^```$", text, re.M | re.S)
    return dict(yaml.safe_load(example)[0].get("vars") or {})
