# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/drift.yml with instances that cannot be compared."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.fastml.supersonic.tests.harness.answers import JsonHandler, served
from ansible_collections.fastml.supersonic.tests.harness.playbooks import run_playbook

NOWHERE = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:9"}}],
    "users": [{"name": "a", "user": {"token": "t"}}],
    "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    "current-context": "a",
}


class Closed(JsonHandler):
    """A cluster that lets nobody see anything."""

    def do_GET(self) -> None:
        message = 'pods is forbidden: User "nobody" cannot list resource "pods" in API group "" in the namespace "cms"'
        self.answer({"kind": "Status", "reason": "Forbidden", "message": message}, 403)

    def do_PATCH(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    do_POST = do_PATCH


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
    closed = tmp_path / "closed"
    with served(Closed) as address:
        clusters = [{"name": "a", "cluster": {"server": address}}]
        closed.write_text(json.dumps({**NOWHERE, "clusters": clusters}))
        compare(tmp_path, common, closed)


def compare(tmp_path: Path, common: dict[str, Any], closed: Path) -> None:
    hosts = {
        "closed": {"supersonic_name": "closed", "supersonic_kubeconfig": str(closed)},
        "nowhere": {"supersonic_name": "nowhere"},
        "wrong": {"supersonic_name": "wrong", "triton_replicas": "many"},
    }
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"supersonic_instances": {"vars": common, "hosts": hosts}}))
    report = tmp_path / "reports/all.json"
    done = run_playbook("playbooks/drift.yml", inventory, extra={"drift_report": str(report), "drift_fail": True})
    assert done.code == 2, done.output
    found = {each["name"]: each for each in json.loads(report.read_text())}
    # Where nobody may look at anything there is no drift, and nobody knows.
    unknown = found.pop("closed")
    assert (unknown["reachable"], unknown["drift"]) == (True, False)
    assert any("may not" in text or "lacks the permission" in text for text in unknown["unknown"]), unknown
    assert "closed could not be compared in whole, so that nobody knows" in done.text
    assert done.recap["closed"]["failed"] == 1
    assert report.stat().st_mode & 0o777 == 0o600
    assert not any(each["reachable"] or each["drift"] for each in found.values())
    assert "127.0.0.1:9" in found["nowhere"]["why"]
    assert 'triton_replicas is "many"' in found["wrong"]["why"]
    for each in found.values():
        assert " ".join(each["why"].split()) in " ".join(done.text.split())
