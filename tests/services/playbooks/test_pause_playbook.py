# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/pause.yml before it asks a cluster."""

from __future__ import annotations

from typing import Any

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook


def test_what_the_playbook_refuses(tmp_path: Any) -> None:
    (tmp_path / "hosts.yml").write_text("supersonic_instances: {hosts: {cms: {ansible_connection: local}}}\n")
    done = run_playbook(CLONE / "playbooks/pause.yml", tmp_path / "hosts.yml", extra={"pause_servers": "-1"})
    assert done.code != 0
    assert "pause_servers is '-1', but has to be how many servers" in done.text
