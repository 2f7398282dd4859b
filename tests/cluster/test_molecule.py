# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The molecule scenarios, beside the other tests: most of their time they wait for pods."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE


def test_every_scenario() -> None:
    programs = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg"),
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        [programs / "molecule", "test", "--all"],
        cwd=CLONE,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=2400,
    )
    assert done.returncode == 0, done.stdout
