# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much memory publishing takes, and how little of it is for each file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.fastml.supersonic.tests.benchmark.models import MEMORY_LIMIT, publish

FILES = 8000
# What 200,000 files may take beyond the module itself, which takes 60 MiB.
PER_FILE = 450


def publish_many(folder: Path, files: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """So many files of a few bytes, with a model for every hundred; published twice."""
    for number in range(files):
        place = folder / f"source/m{number // 100:03}/1"
        if number % 100 == 0:
            place.mkdir(parents=True)
            (place.parent / "config.pbtxt").write_text('backend: "python"\n')
            (place / "model.py").write_text(f"class TritonPythonModel(Base{number}): pass\n")
        (place / f"weights{number:06}.bin").write_text(str(number))
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
