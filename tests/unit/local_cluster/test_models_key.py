# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The key of the example models says what they are built from."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment

BUILDER = Path(__file__).resolve().parents[3] / "dev/roles/local_cluster/files/models"


def key(builder: Path, libraries: Path | None = None) -> str:
    """What the builder says; libraries come before the installed ones."""
    return subprocess.run(
        [sys.executable, str(builder / "build.py"), "--key"],
        capture_output=True,
        text=True,
        check=True,
        env=own_environment(PYTHONPATH=str(libraries or "")),
    ).stdout.strip()


@pytest.mark.parametrize("library", ["numpy", "scikit-learn", "skl2onnx", "onnx", "onnxruntime"])
def test_another_version_of_a_library_is_another_key(tmp_path: Path, library: str) -> None:
    info = tmp_path / f"{library.replace('-', '_')}-0.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: 0.0.1\n")
    assert key(BUILDER, tmp_path) != key(BUILDER)


def test_the_builders_files_decide_and_not_where_they_are(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(BUILDER, copy, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    assert key(copy) == key(BUILDER)
    config = copy / "sources/digits/config.pbtxt"
    config.write_text(config.read_text() + "\n")
    assert key(copy) != key(BUILDER)
