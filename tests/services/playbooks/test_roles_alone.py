# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each role by itself, with no variables but those of the example in its README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, render_in_one_process
from ansible_collections.fastml.supersonic.tests.harness.variables import readme_variables

# KEDA's manifest and the operator's chart are fetched.
ROLES = sorted(
    path.parents[1].name
    for path in CLONE.glob("roles/*/tasks/render.yml")
    if path.parents[1].name not in ("keda", "gpu_operator")
)


def test_each_role_renders_by_itself(tmp_path: Path) -> None:
    """A variable of another role would not be there: no two of them are in one host."""
    hosts: dict[str, Any] = {}
    for role in ROLES:
        (tmp_path / role).mkdir()
        hosts[role] = {**readme_variables(role), "supersonic_render_directory": str(tmp_path / role)}
    hosts["model_repository"]["model_repository_sources"] = [str(CLONE / "docs/examples/other-project/models")]
    tasks = [
        {
            "name": f"Write {role}",
            "ansible.builtin.import_role": {"name": f"fastml.supersonic.{role}", "tasks_from": "render"},
            "when": f"inventory_hostname == '{role}'",
        }
        for role in ROLES
    ]
    play = {"hosts": "all", "gather_facts": False, "tasks": tasks}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"supersonic_instances": {"hosts": hosts}}))
    render_in_one_process(tmp_path / "play.yml", tmp_path / "hosts.yml")
    for role in ROLES:
        (file,) = (tmp_path / role).iterdir()
        documents = list(yaml.safe_load_all(file.read_text()))
        assert documents, role
        assert all(document["metadata"]["namespace"] == "tracking" for document in documents), role
