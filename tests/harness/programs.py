# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs that the role local_cluster builds, for tests that run them by themselves.

python tests/harness/programs.py NAME...        build these where they are not in the cache
"""

from __future__ import annotations

import json
import sys
import tempfile
from functools import cache
from pathlib import Path

import jinja2
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".collections"))

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import Cache
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.programs import Go, Program

CACHE = Path("/var/cache/fastml-supersonic")
ROLE = CLONE / "dev/roles/local_cluster"


@cache
def place(name: str) -> Path:
    """Where the role has it in the cache."""
    variables = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    text = json.dumps(variables["__local_cluster_programs"][name])
    recipe = json.loads(jinja2.Template(text, undefined=jinja2.StrictUndefined).render(variables))
    del recipe["takes"]
    found = Program(name=name, source=ROLE / "files" / "go" / name, **recipe)
    return found.folder(Go(Cache(CACHE), variables["__local_cluster_go"]))


def program(name: str, folder: Path) -> Path:
    """The folder of a program, from the cache or built into it (minutes); a scratch folder for the playbook."""
    if place(name).is_dir():
        return place(name)
    role = {"name": "fastml.supersonic_dev.local_cluster", "tasks_from": "program", "rolespec_validate": False}
    task = {"name": f"Build {name}", "ansible.builtin.include_role": role, "vars": {"__local_cluster_program": name}}
    variables = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": [task]}
    (folder / f"build-{name}.yml").write_text(json.dumps([play]))
    configuration = {"ANSIBLE_CONFIG": str(CLONE / "ansible.cfg")}
    # On a machine that does much else it takes as long as it takes.
    done = run_playbook(folder / f"build-{name}.yml", Path("localhost,"), environment=configuration, seconds=None)
    assert done.code == 0, done.output[-4000:]
    assert place(name).is_dir(), done.output[-4000:]
    return place(name)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for wanted in sys.argv[1:]:
            program(wanted, Path(scratch))
