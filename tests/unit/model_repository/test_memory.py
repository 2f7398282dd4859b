# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much memory publishing takes, and how little of it is for each file."""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils import _golden, _inference, _model_trial, _server_info
from ansible_collections.fastml.supersonic.plugins.module_utils._model_tree import scan
from ansible_collections.fastml.supersonic.plugins.module_utils._targets import Target
from ansible_collections.fastml.supersonic.tests.benchmark.models import CLONE, MEMORY_LIMIT, publish

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
from ansible_collections.fastml.supersonic.plugins.module_utils._model_publish import Options, publish
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


def test_many_files_take_little_memory(tmp_path: Path) -> None:
    few, many = publish_many(tmp_path / "few", 100), publish_many(tmp_path / "many", FILES)
    for small, large in zip(few, many, strict=True):
        grown = (large["peak"] - small["peak"]) / (FILES - 100)
        # In so few files a single block of memory more or less counts.
        assert grown < 2 * PER_FILE, f"{grown:.0f} bytes for each file"
        assert small["peak"] + 200_000 * PER_FILE < MEMORY_LIMIT


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
            assert small[process] + 200_000 * per_file < MEMORY_LIMIT


def write_goldens(source: Path, count: int, nested: bool) -> None:
    """So many golden requests of almost 4 MB, of values that take much more than their text while they are read."""
    text = "[0.5]," if nested else "0.5,"
    values = 1_940_000 // len(text)
    data = (text * values)[:-1]
    shape = f"[{values}, 1]" if nested else f"[{values}]"

    def tensors(name: str) -> str:
        return f'[{{"name": "{name}", "datatype": "FP32", "shape": {shape}, "data": [{data}]}}]'

    (source / "m/1").mkdir(parents=True)
    (source / "m/golden").mkdir()
    (source / "m/config.pbtxt").write_text('backend: "python"\n')
    (source / "m/1/model.py").write_text("class TritonPythonModel: pass\n")
    for number in range(count):
        (source / f"m/golden/{number}.json").write_text(
            f'{{"request": {{"inputs": {tensors("I")}}}, "response": {{"outputs": {tensors("O")}}}}}'
        )


@pytest.mark.parametrize("nested", [False, True])
def test_large_golden_requests_are_read_one_at_a_time(tmp_path: Path, nested: bool) -> None:
    peaks = []
    for count in (1, 4):
        source, store = tmp_path / f"source-{count}", tmp_path / f"store-{count}"
        write_goldens(source, count, nested)
        peaks.append(publish({"source": [str(source)], "store": {"type": "path", "path": str(store)}})["peak"])
    assert peaks[0] < MEMORY_LIMIT - 30_000_000, f"{peaks[0] / 1e6:.0f} MB"
    assert peaks[1] < peaks[0] + 8_000_000, f"{(peaks[1] - peaks[0]) / 1e6:.0f} MB for 3 more"


def test_a_trial_keeps_one_golden_request_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_goldens(tmp_path, 3, nested=False)
    seen: list[weakref.ref[_golden.Golden]] = []

    def ask_all(*_arguments: Any) -> list[dict[str, Any]]:
        index = [{"name": "m", "version": "1", "ready": True, "reason": ""}]
        return [{"status": _inference.OK, "message": "", "models": index}]

    def check_all(targets: Sequence[Target], goldens: Sequence[_golden.Golden], *_rest: Any) -> list[_inference.Check]:
        seen.extend(map(weakref.ref, goldens))
        assert sum(reference() is not None for reference in seen) == 1
        # The text and its lists are gone.
        assert [golden.document for golden in goldens] == [{}]
        return [_inference.Check("", str(targets[0]), "http") for _golden in goldens]

    monkeypatch.setattr(_server_info, "ask_all", ask_all)
    monkeypatch.setattr(_inference, "check_all", check_all)
    target = Target("address", {"host": "127.0.0.1", "port": 1}, "test load", "http")
    resolver: Any = None
    proved = _model_trial.prove(scan([str(tmp_path)]), target, resolver, _model_trial.Limits(1, 1))
    assert proved == {"models": ["m"], "golden_requests": 3}
    assert len(seen) == 3
