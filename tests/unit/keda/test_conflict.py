# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role says of fields that somebody else has set: it has a variable for them, and no definition to change."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._client import Connection
from ansible_collections.fastml.supersonic.plugins.module_utils._rest import api_error
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook

ROLE = CLONE / "roles" / "keda"
CONFLICT = {
    "field": ".spec.replicas",
    "message": 'conflict with "kubectl" using apps/v1',
    "reason": "FieldManagerConflict",
}
WHO = "Deployment/keda-operator: another field manager has set .spec.replicas (owned by kubectl)."


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("", f"{WHO} The release wants them otherwise. Have them set back, or take them over with "
             "keda_force_conflicts: true."),
        ("The API server is away.", "The API server is away."),
    ],
)  # fmt: skip
def test_a_conflict_is_told_with_the_way_out_of_it(tmp_path: Path, message: str, told: str) -> None:
    body = {"reason": "Conflict", "details": {"causes": [CONFLICT]}}
    answer = json.dumps(body).encode()
    error = api_error(409, answer, Connection(host="https://k", source="-"), "PATCH", "Deployment/keda-operator")
    said = message or str(error)
    (task,) = [task for task in yaml.safe_load((ROLE / "tasks" / "main.yml").read_text()) if "rescue" in task]
    (applied,) = task["block"]
    assert applied["fastml.supersonic.manifests"]["force_conflicts"] == "{{ keda_force_conflicts }}"
    failing = {**task, "block": [{"name": "Apply", "ansible.builtin.fail": {"msg": said}}]}
    play = {"hosts": "all", "gather_facts": False, "vars_files": [str(ROLE / "vars" / "main.yml")], "tasks": [failing]}
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "keda_mode": "managed"}
    (tmp_path / "play.json").write_text(json.dumps([play]))
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {"cluster": host}}}))
    done = run_playbook(tmp_path / "play.json", tmp_path / "hosts.json")
    assert done.code != 0
    assert told in done.text.partition("Say what failed")[2]
