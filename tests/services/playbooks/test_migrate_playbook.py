# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory that is made of values of the chart, and playbooks/migrate.yml, in real runs."""

from __future__ import annotations

from pathlib import Path

import yaml

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook
from ansible_collections.fastml.supersonic.tests.unit.helm_migration.test_chart_values import inventory

__all__ = ["inventory"]


def test_nobody_is_called_by_ssh(inventory: Path, tmp_path: Path) -> None:
    """From another folder, without the clone's ansible.cfg."""
    nowhere = {
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c"}}],
        "current-context": "c",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(nowhere))
    (tmp_path / "ansible.cfg").touch()
    surroundings = {
        "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(CLONE / ".collections"),
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
    }
    arguments = (CLONE / "playbooks/preflight.yml", inventory, "--limit", "small")
    done = run_playbook(*arguments, environment=surroundings, directory=tmp_path)
    assert done.code == 2
    assert done.recap["small"]["unreachable"] == 0, done.output
    assert "The Kubernetes API at http://127.0.0.1:9 (context" in done.text, done.output


def test_a_misspelt_name_is_refused_with_a_limit_too() -> None:
    """By which the documented command leaves localhost out."""
    arguments = ("--limit", "nrp-cms", "-e", "migrate_release=a", "-e", "migrate_acton=take_over")
    done = run_playbook("playbooks/migrate.yml", CLONE / "inventories/nrp", *arguments)
    assert done.code != 0
    assert "There is no migrate_acton; there are migrate_values" in done.text
    assert "Log in" not in done.output
