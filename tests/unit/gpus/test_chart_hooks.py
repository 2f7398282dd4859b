# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks of a chart, which are no part of what is applied."""

from __future__ import annotations

from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._helm import split


def test_hooks_are_kept_apart() -> None:
    def hook(name: str, event: str, weight: str | None = None) -> dict[str, Any]:
        annotations = {"helm.sh/hook": event, **({"helm.sh/hook-weight": weight} if weight else {})}
        return {"kind": "Job", "metadata": {"name": name, "annotations": annotations}}

    plain = {"kind": "ConfigMap", "metadata": {"name": "plain", "annotations": {"a": "b"}}}
    objects, hooks = split(
        [
            hook("late", "post-delete", "5"),
            plain,
            hook("both", "post-delete, pre-delete"),
            hook("early", "post-delete", "-1"),
        ]
    )
    assert objects == [plain]
    assert {event: [item["metadata"]["name"] for item in found] for event, found in hooks.items()} == {
        "post-delete": ["early", "both", "late"],
        "pre-delete": ["both"],
    }
