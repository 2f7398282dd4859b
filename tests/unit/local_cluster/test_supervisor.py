# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The supervisor's logs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

SUPERVISOR = Path(__file__).resolve().parents[3] / "dev/roles/local_cluster/files/supervisor.py"


def test_logs_are_bounded(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("supervisor", SUPERVISOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["supervisor"] = module
    spec.loader.exec_module(module)
    log = tmp_path / "one.log"
    log.write_bytes(b"x" * (module.LOG_BYTES + 1))
    module.bound_logs(tmp_path)
    assert log.stat().st_size == 0
    assert (tmp_path / "one.log.1").stat().st_size == module.LOG_BYTES + 1
    log.write_bytes(b"short")
    module.bound_logs(tmp_path)
    assert log.read_bytes() == b"short"
