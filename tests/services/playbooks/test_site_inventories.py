# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sites' inventories by Ansible's own programs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook

INVENTORIES = CLONE / "inventories"
SITES = ["anvil", "geddes", "nrp", "uchicago"]
HOSTS = ["anvil-cms", "anvil-ligo", "geddes-cms", "nrp-atlas", "nrp-cms", "nrp-icecube", "uchicago-atlas"]
EXAMPLE = INVENTORIES / "shared/vault-example.yml"


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """As docs/sites.md says it: without the links."""
    for site in SITES:
        shutil.copytree(INVENTORIES / site, tmp_path / site)
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    return tmp_path


def ansible(program: str, *arguments: str | Path) -> str:
    command = [sys.executable, "-m", "ansible", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CLONE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_several_sites_fit_into_one_run() -> None:
    """Each host is the same as when its site is alone."""
    alone = [json.loads(ansible("inventory", "-i", INVENTORIES / site, "--list")) for site in SITES]
    sources = [argument for site in SITES for argument in ("-i", INVENTORIES / site)]
    together = json.loads(ansible("inventory", *sources, "--list"))
    hosts = {name: values for listed in alone for name, values in listed["_meta"]["hostvars"].items()}
    assert sorted(hosts) == sorted([*SITES, *HOSTS])
    assert together["_meta"]["hostvars"] == hosts
    assert {site["supersonic_context"] for site in hosts.values()} == {"nautilus", "geddes", "anvil", "af-uchicago"}


def test_secrets_are_encrypted_and_never_shown(copies: Path) -> None:
    """The way of docs/sites.md, with the real ansible-vault."""
    secret = {name: f"planted-{name.removeprefix('vault_')}-4d1e" for name in yaml.safe_load(EXAMPLE.read_text())}
    plain, password = copies / "plain.yml", copies / "password"
    plain.write_text(yaml.safe_dump(secret))
    password.write_text("of the vault\n")
    vault = copies / "nrp/group_vars/at_nrp/vault.yml"
    given = ["--vault-password-file", str(password)]
    ansible("vault", "encrypt", *given, "--output", vault, plain)
    assert vault.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256")
    assert yaml.safe_load(ansible("vault", "view", *given, vault)) == secret

    extra = {"render_directory": str(copies / "manifests")}
    limited = ["--limit", "nrp-icecube"]
    done = run_playbook("playbooks/render.yml", copies / "nrp", *limited, *given, "-vvv", extra=extra)
    assert done.code == 0, done.output
    assert "planted-" not in done.output
    grafana = (copies / "manifests/nrp-icecube/grafana.yaml").read_text()
    (found,) = [item for item in yaml.safe_load_all(grafana) if item["kind"] == "Secret"]
    assert found["stringData"]["admin-password"] == secret["vault_grafana_admin_password"]
    # Envoy gets tokens as the bytes that they are made of.
    access = (copies / "manifests/nrp-icecube/envoy.yaml").read_text()
    assert ", ".join(str(byte) for byte in secret["vault_proof_token"].encode()) in " ".join(access.split())

    done = run_playbook("playbooks/render.yml", copies / "nrp", *limited, extra=extra)
    assert done.code != 0
    assert "no vault secrets" in done.text
