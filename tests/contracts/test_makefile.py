# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What make says where a cluster is wanted and none is there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]


def test_verify_without_a_cluster(tmp_path: Path) -> None:
    shutil.copy(CLONE / "Makefile", tmp_path)
    # As if the Python environment were there.
    command = ["make", "--directory", str(tmp_path), "--old-file", f"{tmp_path}/.venv/local", "verify"]
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/local").touch()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "There is no local cluster: run make local." in done.stdout, done.stdout + done.stderr
    assert "ansible-playbook" not in done.stdout
