# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `ansible-galaxy collection build` packs: what git tracks, and nothing that a user has put into the clone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from ansible_collections.fastml.supersonic.tests.harness.environment import without_ansible

CLONE = Path(__file__).resolve().parents[3]
# What users put into their clones, or what running things there leaves.
OWN = [
    "inventories/a/hosts.yml",
    "inventories/lab.yml",
    "inventories/labs1/host_vars/secret.yml",
    "inventories/loc",
    "inventories/localhost/hosts.yml",
    "inventories/local-2.yml",
    "inventories/mysite/hosts.yml",
    "inventories/mysite/group_vars/all/vault.yml",
    "inventories/vocal/hosts.yml",
    "group_vars/all.yml",
    "host_vars/cms.yml",
    "collections/ansible_collections/other/one/README.md",
    "fastml-supersonic-0.9.0.tar.gz",
    "changelogs/.plugin-cache.yaml",
    "plugins/modules/__pycache__/validate.cpython-311.pyc",
    "tests/output/junit.xml",
    "backup/cms/models/store.json",
    "bundles/MANIFEST.json",
    "clients/servers.json",
    "drift/cms.json",
    "manifests/cms/triton.yaml",
    "preflight/role-cms.yml",
    "site.json",
    "status.html",
    ".local/kubeconfig",
    ".venv/bin/python",
    ".vault-password",
    ".pytest_cache/README.md",
]


def tracked() -> list[str]:
    """Files of the project, those that are new too."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=CLONE,
        capture_output=True,
        check=True,
    )
    return [name for name in filter(None, listed.stdout.decode().split("\0")) if (CLONE / name).is_file()]


def test_only_the_project_is_packed(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    ours = tracked()
    for name in ours:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CLONE / name, clone / name)
    for name in OWN:
        assert not (clone / name).exists(), f"{name} is ours"
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text("mine")
    command = [
        sys.executable,
        "-m",
        "ansible",
        "galaxy",
        "collection",
        "build",
        str(clone),
        "--output-path",
        str(tmp_path),
    ]
    environment = without_ansible()
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env=environment)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        packed = {member.name for member in opened if not member.isdir()}
    # Ansible's own two say what is packed, and are made from galaxy.yml.
    expected = {name for name in ours if not name.startswith((".", "dev/", "inventories/")) and name != "galaxy.yml"}
    assert packed - {"MANIFEST.json", "FILES.json"} == expected
