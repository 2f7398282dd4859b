# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/drift.yml with instances that cannot be compared."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml

from ansible_collections.fastml.supersonic.tests.harness.playbooks import run_playbook

NOWHERE = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:9"}}],
    "users": [{"name": "a", "user": {"token": "t"}}],
    "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    "current-context": "a",
}


def test_they_are_told_and_fail_only_where_that_is_asked_for(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(NOWHERE))
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_namespace": "cms",
        "supersonic_kubeconfig": str(kubeconfig),
        "triton_image": "example.org/tritonserver:26.04-py3",
        "triton_model_repositories": [{"name": "models", "kind": "image", "path": "/models"}],
    }
    hosts = {
        "nowhere": {"supersonic_name": "nowhere"},
        "wrong": {"supersonic_name": "wrong", "triton_replicas": "many"},
    }
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"supersonic_instances": {"vars": common, "hosts": hosts}}))
    report = tmp_path / "reports/all.json"
    done = run_playbook("playbooks/drift.yml", inventory, extra={"drift_report": str(report), "drift_fail": True})
    assert done.code == 2, done.output
    found = {each["name"]: each for each in json.loads(report.read_text())}
    assert report.stat().st_mode & 0o777 == 0o600
    assert not any(each["reachable"] or each["drift"] for each in found.values())
    assert "127.0.0.1:9" in found["nowhere"]["why"]
    assert 'triton_replicas is "many"' in found["wrong"]["why"]
    for each in found.values():
        assert " ".join(each["why"].split()) in " ".join(done.text.split())
