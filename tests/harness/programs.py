# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs that the role local_cluster builds, for tests that run them by themselves."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook

PROGRAMS = Path("/var/cache/fastml-supersonic/programs")


def program(name: str, folder: Path) -> Path:
    """The folder of a program, from the cache or built into it (minutes); a scratch folder for the playbook."""
    role = {"name": "fastml.supersonic.local_cluster", "tasks_from": "program", "rolespec_validate": False}
    task = {"name": f"Have {name}", "ansible.builtin.include_role": role, "vars": {"__local_cluster_program": name}}
    variables = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": [task]}
    (folder / f"build-{name}.yml").write_text(json.dumps([play]))
    configuration = {"ANSIBLE_CONFIG": str(CLONE / "ansible.cfg")}
    # On a machine that does much else it takes as long as it takes.
    done = run_playbook(folder / f"build-{name}.yml", Path("localhost,"), environment=configuration, seconds=None)
    assert done.code == 0, done.output[-4000:]
    return max(PROGRAMS.glob(f"{name}-*"), key=os.path.getmtime)
