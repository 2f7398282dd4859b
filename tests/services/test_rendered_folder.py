# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The index of a folder of manifests, by the program that it is made for."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ansible_collections.fastml.supersonic.plugins.module_utils._instance.rendered_folder import INDEX, keep


def test_an_index_is_understood(tmp_path: Path) -> None:
    files = {"prometheus.yaml": "a: 1\n", "triton.yaml": "b: 2\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    keep(tmp_path, list(files), kustomization=False, check=False)
    command = ["sha256sum", "--check", "--strict", INDEX]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{name}: OK" for name in files]
    (tmp_path / "triton.yaml").write_text("b: 3\n")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 1
