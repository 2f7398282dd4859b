# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of servers for clients, of two inventories and a real server."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.playbooks import Run, run_playbook
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton

TOKEN = "a-planted-token-91ab"


def write(folder: Path, hosts: dict[str, dict[str, Any]]) -> Path:
    """An inventory."""
    folder.mkdir()
    shared = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_namespace": "sonic",
        # Nobody asks a cluster.
        "supersonic_kubeconfig": str(folder / "none"),
    }
    each = {name: {"supersonic_name": name, **variables} for name, variables in hosts.items()}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"supersonic_instances": {"vars": shared, "hosts": each}}))
    return folder


def run(folder: Path, *arguments: str, **extra: Any) -> Run:
    return run_playbook("playbooks/clients.yml", folder / "nrp", "-i", str(folder / "geddes"), *arguments, extra=extra)


@pytest.fixture
def folder(triton: Triton, tmp_path: Path) -> Path:
    """Two inventories: one that is ready and wants a token, one that is away, one for nobody; and a ready one."""
    nrp = {
        "nrp-cms": {"verify_address": triton.grpc, "verify_token": TOKEN, "envoy_tokens": {"cms": [TOKEN]}},
        "nrp-away": {"verify_address": "127.0.0.1:9", "clients_order": 1},
        "nrp-inside": {"clients_listed": False},
    }
    write(tmp_path / "nrp", nrp)
    write(tmp_path / "geddes", {"geddes-cms": {"clients_address": triton.grpc, "clients_order": 60}})
    return tmp_path


def test_lists_of_several_inventories(folder: Path, triton: Triton) -> None:
    lists = folder / "lists"
    done = run(folder, "-vvv", clients_directory=str(lists), clients_first=["geddes"])
    assert done.code == 0, done.output
    told = json.loads((lists / "servers.json").read_text())["servers"]
    assert [(item["name"], item["site"], item["ready"]) for item in told] == [
        ("geddes-cms", "geddes", True),
        ("nrp-cms", "nrp", True),
        ("nrp-away", "nrp", False),
    ]
    assert {model["name"] for model in told[0]["models"]} >= {"identity", "digits"}
    assert told[1]["authentication"]["clients"] == ["cms"]
    assert f"127.0.0.1:{triton.grpc_port}" in (lists / "servers.env").read_text()
    assert f"cms.untracked.uint32({triton.grpc_port})" in (lists / "servers_cff.py").read_text()
    kept = {}
    for path in lists.iterdir():
        kept[path.name] = path.read_text()
        assert TOKEN not in kept[path.name]
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert set(kept) == {"servers.json", "servers.env", "servers_cff.py"}
    assert TOKEN not in done.output
    again = run(folder, clients_directory=str(lists), clients_first=["geddes"])
    assert sum(host["changed"] for host in again.recap.values()) == 0, again.output
    assert {path.name: path.read_text() for path in lists.iterdir()} == kept


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "Say where the lists go: -e clients_directory=$PWD/clients."),
        ({"clients_directory": "/nowhere", "clients_listed": True}, "nrp-inside has neither clients_address nor "),
        # All of those that there are.
        (
            {"clients_directory": "/nowhere", "clients_address": "127.0.0.1:9"},
            "No instance is ready, and the lists were ",
        ),
    ],
)
def test_what_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    done = run(folder, **changes)
    assert done.code == 2, done.output
    assert message in done.text, done.output
    assert not Path("/nowhere").exists()
