# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients at an endpoint, in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE
from ansible_collections.fastml.supersonic.tests.harness.processes import until


@contextmanager
def load(address: str, folder: Path, *arguments: str, seconds: float = 1800) -> Iterator[dict[str, Any]]:
    """Clients with these arguments of tests/load.py; what they have seen is in what is yielded after the end."""
    begin, end = folder / f"start-{uuid.uuid4().hex}", folder / f"stop-{uuid.uuid4().hex}"
    command = [sys.executable, str(CLONE / "tests/load.py"), "--address", address, "--seconds", str(seconds)]
    command += ["--start-file", str(begin), "--stop-file", str(end), *arguments]
    report: dict[str, Any] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            until(begin.exists, 120)
            yield report
        finally:
            end.touch()
            output, _errors = process.communicate(timeout=60)
    report.update(json.loads(output))
