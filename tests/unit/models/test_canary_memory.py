# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a trial keeps of golden requests."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._inference import (
    golden_requests,
    inference_check,
    server_info,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Target
from ansible_collections.fastml.supersonic.plugins.module_utils._models import test_load
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import scan
from ansible_collections.fastml.supersonic.tests.harness.models import write_goldens


def test_a_trial_keeps_one_golden_request_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_goldens(tmp_path, 3, nested=False)
    seen: list[weakref.ref[golden_requests.Golden]] = []

    def ask_all(*_arguments: Any) -> list[dict[str, Any]]:
        index = [{"name": "m", "version": "1", "ready": True, "reason": ""}]
        return [{"status": inference_check.OK, "message": "", "models": index}]

    def check_all(
        targets: Sequence[Target], goldens: Sequence[golden_requests.Golden], *_rest: Any
    ) -> list[inference_check.Check]:
        seen.extend(map(weakref.ref, goldens))
        assert sum(reference() is not None for reference in seen) == 1
        # The text and its lists are gone.
        assert [golden.document for golden in goldens] == [{}]
        return [inference_check.Check("", str(targets[0]), "http") for golden_requests in goldens]

    monkeypatch.setattr(server_info, "ask_all", ask_all)
    monkeypatch.setattr(inference_check, "check_all", check_all)
    target = Target("address", {"host": "127.0.0.1", "port": 1}, "test load", "http")
    resolver: Any = None
    proved = test_load.prove(scan([str(tmp_path)]), target, resolver, test_load.Limits(1, 1))
    assert proved == {"models": ["m"], "golden_requests": 3}
    assert len(seen) == 3
