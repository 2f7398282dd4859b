# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The benchmark itself, on a few small files: it runs, and its figures are of the things that it names."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests.benchmark import models


@pytest.mark.thorough
def test_a_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "figures.json"
    arguments = ["--files=150", "--size=1000", "--large=1", "--large-size=3000000", f"--directory={tmp_path}"]
    results = models.main([*arguments, "--settle=0", "--repeats=1", f"--output={output}"])
    assert (results["files"], results["bytes"]) == (151, 3_150_000)
    assert json.loads(output.read_text()) == results
    printed = capsys.readouterr().out
    assert set(models.GOALS) & set(results["ratios"]) == {name for name in models.GOALS if name.startswith("path")}
    for name in results["ratios"]:
        assert name in printed
    assert 10 << 20 < results["path"]["peak_bytes"] < models.MEMORY_LIMIT
    # It has cleared up after itself.
    assert list(tmp_path.iterdir()) == [output]


def test_a_missed_goal_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--files=10", "--size=10", "--large=0", "--settle=0", "--repeats=1", f"--directory={tmp_path}"]
    monkeypatch.setattr("sys.argv", ["models.py", *arguments])
    # The start of the module alone takes longer than rsync takes for ten files.
    with pytest.raises(SystemExit, match=r"Missed goals: path first / rsync -a"):
        runpy.run_path(models.__file__, run_name="__main__")
