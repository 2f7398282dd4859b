# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of tokens, as playbooks/clients.yml tells them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook


def test_names_of_tokens_leave_out_that_of_the_proof(tmp_path: Path) -> None:
    """By the playbook's own expressions, where the inventory does not say which there are."""
    hosts: dict[str, tuple[dict[str, Any], str]] = {
        "none": ({}, ""),
        "clients": ({"envoy_tokens": {"atlas": "a", "cms": "b"}}, "atlas+cms"),
        "proof": ({"envoy_tokens": {"proof": "t", "cms": "a"}, "verify_token": "t"}, "cms"),
        # Nobody comes in without it.
        "alone": ({"envoy_tokens": {"proof": "t"}, "verify_token": "t"}, "proof"),
        "issuer": (
            {"envoy_tokens": {"proof": "t"}, "verify_token": "t", "envoy_jwt_issuers": [{"issuer": "https://i"}]},
            "",
        ),
        "said": ({"envoy_tokens": {"cms": "a"}, "clients_token_names": ["other"]}, "other"),
    }
    plays = yaml.safe_load((CLONE / "playbooks/clients.yml").read_text())
    shared = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"vars": shared, "hosts": {host: variables for host, (variables, _names) in hosts.items()}}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    task = {"ansible.builtin.debug": {"msg": "TOLD {{ inventory_hostname }}: {{ clients_token_names | join('+') }}."}}
    play = {"hosts": "all", "gather_facts": False, "vars": plays[0]["vars"], "tasks": [task]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    done = run_playbook(tmp_path / "play.yml", tmp_path / "hosts.yml")
    assert done.code == 0, done.output
    assert dict(re.findall(r"TOLD (\w+): (.*)\.", done.output)) == {host: names for host, (_v, names) in hosts.items()}
