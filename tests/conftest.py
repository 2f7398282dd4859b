# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the clone importable as ansible_collections.fastml.supersonic."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CLONE / ".collections"))

# Files that take half a minute or more. They come first, so that none of them is left over when the others are done.
LONGEST = (
    "test_wrong_inventories",
    "test_gateway_matrix",
    "test_inference_check",
    "test_model_validation",
    "test_gateway",
    "test_golden",
    "test_kill",
    "test_test_load",
    "test_gateway_requests",
    "test_proof_of_gateway",
    "test_models_playbook",
    "test_model_rollout",
    "test_gateway_keys",
    "test_load_balancing",
    "test_example_models",
    "test_gateway_fuzz",
    "test_render_playbook",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
