# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs that the role local_cluster builds, for tests that run them by themselves."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]
PROGRAMS = Path("/var/cache/fastml-supersonic/programs")


def program(name: str, folder: Path) -> Path:
    """The folder of a program, from the cache or built into it (minutes); a scratch folder for the playbook."""
    role = {"name": "fastml.supersonic.local_cluster", "tasks_from": "program", "rolespec_validate": False}
    task = {"name": f"Have {name}", "ansible.builtin.include_role": role, "vars": {"__local_cluster_program": name}}
    variables = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": [task]}
    (folder / f"build-{name}.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", str(folder / f"build-{name}.yml")],
        cwd=CLONE,
        env={**os.environ, "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}{done.stderr[-2000:]}"
    return max(PROGRAMS.glob(f"{name}-*"), key=os.path.getmtime)
