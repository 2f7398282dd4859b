# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rights that preflight asks for are enough for a whole deployment in a namespace that somebody else has made."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, instance_inventory, run_playbook


def test_rights_of_preflight_are_enough(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    defaults = yaml.safe_load((CLONE / "roles/preflight/defaults/main.yml").read_text())
    rules = [
        {"apiGroups": [item.get("group", "")], "resources": [item["resource"]], "verbs": item["verbs"]}
        for item in defaults["preflight_permissions"] + defaults["preflight_publishing_permissions"]
    ]
    token = cluster.user(namespace, "operator", *rules)
    kubeconfig = tmp_path / "kubeconfig"
    admin = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    admin["users"] = [{"name": admin["contexts"][0]["context"]["user"], "user": {"token": token}}]
    kubeconfig.write_text(json.dumps(admin))
    inventory = instance_inventory(
        tmp_path,
        {
            "least": {
                "supersonic_namespace": namespace,
                "supersonic_create_namespace": False,
                "supersonic_kubeconfig": str(kubeconfig),
            }
        },
    )
    for playbook in ("site.yml", "playbooks/teardown.yml"):
        done = run_playbook(playbook, inventory)
        assert done.code == 0, done.output
    assert cluster.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/least-triton") is None
    assert cluster.get(f"/api/v1/namespaces/{namespace}") is not None, "somebody else's namespace stays"
