# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How little memory publishing takes for each file and for each golden request.

How much it takes in all is judged by tests/benchmark/models.py: it depends on the interpreter as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.benchmark.models import CLONE, publish
from ansible_collections.fastml.supersonic.tests.harness.models import write_goldens

FILES = 8000
# What 200,000 files may take beyond the module itself, which takes 60 MB.
PER_FILE = 445
# The same of a publication to a claim: of a first one, and of one that finds and reads all of it there.
TO_CLAIM_PER_FILE = (250, 400)


# Publishes as the module does, to a claim whose store is behind pipes instead of in a pod.
TO_CLAIM = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ansible_collections.fastml.supersonic.plugins.modules import model_repository
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import Options, publish
from ansible_collections.fastml.supersonic.tests.harness.store_pipes import PipeTarget, peak
target = PipeTarget(Path(sys.argv[3]))
publish(target, [sys.argv[2]], Options(verify=len(sys.argv) > 4))
print(json.dumps({"module": peak(), "pod": target.opened[0].peak}))
"""


def write_many(folder: Path, files: int) -> None:
    """So many files of a few bytes, with a model for every hundred."""
    for number in range(files):
        place = folder / f"source/m{number // 100:03}/1"
        if number % 100 == 0:
            place.mkdir(parents=True)
            (place.parent / "config.pbtxt").write_text('backend: "python"\n')
            (place / "model.py").write_text(f"class TritonPythonModel(Base{number}): pass\n")
        (place / f"weights{number:06}.bin").write_text(str(number))


def publish_many(folder: Path, files: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Published twice."""
    write_many(folder, files)
    options = {"source": [str(folder / "source")], "store": {"type": "path", "path": str(folder / "store")}}
    first = publish(options)
    again = publish({**options, "verify": True})
    assert (first["changed"], again["changed"]) == (True, False)
    return first, again


@pytest.mark.thorough
def test_many_files_take_little_memory(tmp_path: Path) -> None:
    few, many = publish_many(tmp_path / "few", 100), publish_many(tmp_path / "many", FILES)
    for small, large in zip(few, many, strict=True):
        grown = (large["peak"] - small["peak"]) / (FILES - 100)
        # In so few files a single block of memory more or less counts.
        assert grown < 2 * PER_FILE, f"{grown:.0f} bytes for each file"


@pytest.mark.thorough
def test_many_files_take_little_memory_on_the_way_to_a_claim(tmp_path: Path) -> None:
    """Of the module and of the helper pod: the first time, and with all of it there and looked at again."""

    def peaks(folder: Path, files: int) -> list[dict[str, int]]:
        write_many(folder, files)
        command = [sys.executable, "-c", TO_CLAIM, str(CLONE / ".collections"), f"{folder}/source", f"{folder}/store"]
        return [
            json.loads(subprocess.run([*command, *more], check=True, capture_output=True, text=True).stdout)
            for more in ([], ["verify"])
        ]

    few, many = peaks(tmp_path / "few", 100), peaks(tmp_path / "many", FILES)
    for small, large, per_file in zip(few, many, TO_CLAIM_PER_FILE, strict=True):
        for process in ("module", "pod"):
            grown = (large[process] - small[process]) / (FILES - 100)
            assert grown < 1.5 * per_file, f"{process}: {grown:.0f} bytes for each file"


@pytest.mark.thorough
@pytest.mark.parametrize("nested", [False, True])
def test_large_golden_requests_are_read_one_at_a_time(tmp_path: Path, nested: bool) -> None:
    peaks = []
    for count in (0, 1, 4):
        source, store = tmp_path / f"source-{count}", tmp_path / f"store-{count}"
        write_goldens(source, count, nested)
        peaks.append(publish({"source": [str(source)], "store": {"type": "path", "path": str(store)}})["peak"])
    none, one, four = peaks
    assert one < none + 60_000_000, f"{(one - none) / 1e6:.0f} MB for the first"
    assert four < one + 8_000_000, f"{(four - one) / 1e6:.0f} MB for 3 more"
