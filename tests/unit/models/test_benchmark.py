# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the benchmark of models says of its figures."""

from __future__ import annotations

from typing import Any

from ansible_collections.fastml.supersonic.tests.benchmark import models


def test_what_misses_its_goal_is_said() -> None:
    names = ("first", "rsync_first", "rsync_first_flushed", "unchanged", "unchanged_work", "unchanged_in_task")
    others = dict.fromkeys(("rsync_unchanged", "rsync_unchanged_playbook", "unchanged_playbook"), 1.0)
    path = {**others, **dict.fromkeys(names, 1.0), "empty_module": 0.75, "peak_bytes": 150_400_000}
    results: dict[str, Any] = {"bytes": 1, "files": 1, "path": {**path, "rsync_first": 0.5}}
    lines = "\n".join(models.report(results))
    assert results["missed"] == ["path first / rsync -a", "peak memory"]
    assert "path first / rsync -a                              2.00 (goal at most 1.3: MISSED)" in lines
    assert "path unchanged in its task / rsync -a unchanged    1.00 (goal at most 1.0: met)" in lines
    assert "an empty module / rsync -a unchanged               0.75\n" in lines
    assert "150 MB (goal below 150: MISSED)" in lines
    claim = {"tar_first": 10.0, "first": 10.0, "unchanged": 1.0, "peak_bytes": 1, "tar_is": "tar"}
    results = {"bytes": 1, "files": 1, "path": {**path, "peak_bytes": 1}, "claim": claim}
    lines = "\n".join(models.report(results))
    assert results["missed"] == ["tar | kubectl exec tar / claim unchanged"]
    assert "claim first throughput / tar | kubectl exec tar    1.00 (goal at least 0.9: met)" in lines
    assert "tar | kubectl exec tar / claim unchanged          10.00 (goal at least 20.0: MISSED)" in lines
