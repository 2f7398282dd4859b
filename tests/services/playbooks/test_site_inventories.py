# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sites' inventories as somebody uses them who has just copied them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.policy import policy
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, asked_of_clusters, run_playbook

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


def judged(folder: Path) -> dict[str, list[str]]:
    """What site.yml says of each host that it refuses."""
    command = [sys.executable, str(CLONE / "tests/harness/one_process.py"), "judge"]
    done = subprocess.run(
        [*command, *(str(folder / site) for site in SITES)], capture_output=True, text=True, check=True, cwd=CLONE
    )
    return {host: message.splitlines()[1:] for host, message in json.loads(done.stdout).items()}


def test_what_is_missing_is_told_and_nothing_else(copies: Path) -> None:
    """Secrets and golden requests are not anybody's to give away. With them NRP's rules are kept, and each instance
    asks for the rights that it needs."""
    said = judged(copies)
    assert sorted(said) == HOSTS
    secrets = re.compile(r"- \w+ \(.*\): it uses the variable (vault_\w+), which is not set\. Set it, or take it out\.")
    golden = re.compile(r"- verify_golden_directories.* there is no such folder\.")
    for host, lines in said.items():
        assert any(golden.search(line) for line in lines), lines
        assert all(golden.search(line) or secrets.search(line) for line in lines), lines
        assert any(secrets.search(line) for line in lines) == (host != "anvil-cms"), lines
    # Of two in one variable the first is told.
    told = {match[1] for lines in said.values() for line in lines if (match := secrets.search(line))}
    assert told | {"vault_offline_token"} == set(yaml.safe_load(EXAMPLE.read_text()))

    secret = {name: "a-secret-of-twenty-characters" + name for name in yaml.safe_load(EXAMPLE.read_text())}
    for site in SITES:
        (copies / site / "group_vars" / f"at_{site}" / "vault.yml").write_text(yaml.safe_dump(secret))
    for experiment in ("cms", "atlas", "icecube", "ligo"):
        requests = copies / "golden" / experiment / "model/golden"
        requests.mkdir(parents=True)
        (requests / "zeros.json").write_text("{}")
    assert judged(copies) == {}

    nrp = [host for host in HOSTS if host.startswith("nrp-")]
    asked = asked_of_clusters([copies / site for site in SITES], *nrp)
    assert sorted(asked) == HOSTS
    for host in nrp:
        (row,) = policy(asked[host]["demands"], asked[host]["policy"])
        assert row.severity == "ok", row.sentence
    uses = {host: set(found["features"]) for host, found in asked.items()}
    # LIGO's models are published and backed up by whoever deploys it.
    assert [host for host in HOSTS if "publishing" in uses[host]] == ["anvil-ligo"]
    # A Prometheus or a Grafana of the instance's own.
    assert [host for host in HOSTS if "services" in uses[host]] == HOSTS
    assert [host for host in HOSTS if "autoscaler" in uses[host]] == HOSTS[2:]
    assert not any(found["services"] for found in asked.values())


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
