# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/render.yml: where its files go."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._rendered_folder import keep
from ansible_collections.fastml.supersonic.tests.harness.model_cases import GOOD
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook

IDENTITY = CLONE / "roles/local_cluster/files/models/sources/identity"
FILES = [".rendered", "envoy.yaml", "model_repository.yaml", "triton.yaml"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a model and an inventory that says ~ for it."""
    model = tmp_path / "models/identity"
    (model / "1").mkdir(parents=True)
    shutil.copyfile(IDENTITY / "config.pbtxt", model / "config.pbtxt")
    shutil.copyfile(IDENTITY / "model.py", model / "1/model.py")
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_namespace": "cms",
        "triton_image": "example.org/tritonserver:26.04-py3",
        "triton_model_repositories": [
            {"name": "models", "kind": "pvc", "claim": "supersonic-models", "path": "current"}
        ],
        "model_repository_sources": ["~/models"],
        "model_repository_image": "example.org/tritonserver:26.04-py3",
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"supersonic_instances": {"hosts": {"cms": variables}}}))
    return tmp_path


def test_it_says_where_the_files_are(home: Path) -> None:
    """And removes what it has written before and does not write any more."""
    folder = home / "manifests/cms"
    folder.mkdir(parents=True)
    (folder / "tempo.yaml").write_text("kind: Before\n")
    (folder / "own.yaml").write_text("kind: Own\n")
    keep(folder, ["tempo.yaml"], kustomization=False, check=False)
    extra = {"render_directory": "~/manifests"}
    done = run_playbook("playbooks/render.yml", home / "hosts.yml", extra=extra, environment={"HOME": str(home)})
    assert done.code == 0, done.output
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "own.yaml"])
    assert "Removed, since the inventory does not have it any more: tempo.yaml." in done.text
    assert "Left, since it was not rendered: own.yaml." in done.text
    assert f"The manifests of cms are in {home}/manifests/cms." in done.text


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({}, "Say where the manifests go: -e render_directory=$PWD/manifests."),
        (
            {"render_directory": "manifests-of-a-test"},
            "render_directory is 'manifests-of-a-test', a relative path, which could mean several places. Nothing was "
            "changed. Say where it begins, such as -e render_directory=$PWD/manifests-of-a-test.",
        ),
    ],
)
def test_a_folder_that_could_be_anywhere_is_refused(home: Path, extra: dict[str, Any], message: str) -> None:
    before = set(home.rglob("*"))
    done = run_playbook("playbooks/render.yml", home / "hosts.yml", extra=extra)
    assert done.code != 0
    assert message in done.text, done.output
    assert done.recap["cms"]["changed"] == 0
    assert set(home.rglob("*")) == before
    assert not list(CLONE.rglob("manifests-of-a-test"))


def test_models_are_judged_as_they_are_when_they_are_published(home: Path) -> None:
    """With the same words, and nothing is written."""
    inventory, environment = home / "hosts.yml", {"HOME": str(home)}
    extra = {"render_directory": "~/manifests"}
    (home / "models/identity/config.pbtxt").write_text('backend: "python"\nmax_batch: 3\n')
    (home / "models/other").mkdir()
    refused = run_playbook("playbooks/render.yml", inventory, extra=extra, environment=environment)
    assert refused.code != 0
    published = run_module(
        "model_repository",
        {"source": [str(home / "models")], "store": {"type": "path", "path": str(home / "store")}},
    )
    assert published["failed"]
    lines = [" ".join(line.split()) for line in published["msg"].splitlines()]
    assert len(lines) == 3
    for line in lines:
        assert line in refused.text, refused.output
    assert "model_repository_sources is ['~/models'] (" in refused.text
    misspelt = {**extra, "model_repository_sources": ["~/modles"]}
    missing = run_playbook("playbooks/render.yml", inventory, extra=misspelt, environment=environment)
    assert f"The source {home}/modles is no folder." in missing.text, missing.output
    # What another repository has.
    (home / "models/identity/config.pbtxt").unlink()
    shutil.rmtree(home / "models")
    for path, content in GOOD["a model from elsewhere"].tree.items():
        (home / "models" / path).parent.mkdir(parents=True, exist_ok=True)
        (home / "models" / path).write_text(content) if content else (home / "models" / path).mkdir()
    assert not (home / "manifests").exists()
    external = {**extra, "model_repository_external_models": ["other"]}
    done = run_playbook("playbooks/render.yml", inventory, extra=external, environment=environment)
    assert done.code == 0, done.output


@pytest.mark.parametrize("role", ["envoy", "model_repository", "triton"])
def test_roles_judge_before_they_write(home: Path, role: str) -> None:
    """A playbook of somebody's own that has a role write its manifests."""
    task = {
        "name": "Write",
        "ansible.builtin.include_role": {"name": f"fastml.supersonic.{role}", "tasks_from": "render"},
    }
    play = {"name": "Write", "hosts": "all", "gather_facts": False, "tasks": [task]}
    (home / "own.yml").write_text(yaml.safe_dump([play]))
    extra = {"supersonic_render_directory": "manifests"}
    done = run_playbook(home / "own.yml", home / "hosts.yml", extra=extra, environment={"HOME": str(home)})
    assert done.code != 0
    assert 'supersonic_render_directory is "manifests"' in done.text, done.output
    assert "a relative path could mean several places" in done.text
