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

from ansible_collections.fastml.supersonic.plugins.module_utils._instance.rendered_folder import keep
from ansible_collections.fastml.supersonic.tests.harness.model_cases import GOOD
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, Run, run_playbook

IDENTITY = CLONE / "dev/roles/local_cluster/files/models/sources/identity"
FILES = [".rendered", "envoy.yaml", "model_repository.yaml", "triton.yaml"]
# What each instance has of its own.
HOSTS: dict[str, dict[str, Any]] = {
    "cms": {"render_directory": "~/manifests"},
    "nowhere": {},
    "relative": {"render_directory": "manifests-of-a-test"},
    "broken": {"render_directory": "~/manifests", "model_repository_sources": ["~/broken"]},
    "missing": {"render_directory": "~/manifests", "model_repository_sources": ["~/modles"]},
    "external": {
        "render_directory": "~/manifests",
        "model_repository_sources": ["~/external"],
        # What another repository has.
        "model_repository_external_models": ["other"],
    },
    "alone": {"model_repository_sources": ["~/external"], "render_directory": "~/manifests"},
}


def written(home: Path, hosts: dict[str, dict[str, Any]]) -> Path:
    """An inventory that says ~ for a home with models."""
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_name": "{{ inventory_hostname }}",
        "supersonic_namespace": "cms",
        "triton_image": "example.org/tritonserver:26.04-py3",
        "triton_model_repositories": [
            {"name": "models", "kind": "pvc", "claim": "{{ inventory_hostname }}-models", "path": "current"}
        ],
        "model_repository_sources": ["~/models"],
        "model_repository_image": "example.org/tritonserver:26.04-py3",
    }
    instances = {"supersonic_instances": {"vars": variables, "hosts": hosts}}
    (home / "hosts.yml").write_text(yaml.safe_dump(instances))
    for folder in ("models", "broken"):
        model = home / folder / "identity"
        (model / "1").mkdir(parents=True)
        shutil.copyfile(IDENTITY / "config.pbtxt", model / "config.pbtxt")
        shutil.copyfile(IDENTITY / "model.py", model / "1/model.py")
    (home / "broken/identity/config.pbtxt").write_text('backend: "python"\nmax_batch: 3\n')
    (home / "broken/other").mkdir()
    for path, content in GOOD["a model from elsewhere"].tree.items():
        (home / "external" / path).parent.mkdir(parents=True, exist_ok=True)
        (home / "external" / path).write_text(content) if content else (home / "external" / path).mkdir()
    return home / "hosts.yml"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A home where all of them were to be rendered in one run. Another run had written more for one of them."""
    home = tmp_path_factory.mktemp("home")
    inventory = written(home, HOSTS)
    folder = home / "manifests/cms"
    folder.mkdir(parents=True)
    (folder / "tempo.yaml").write_text("kind: Before\n")
    (folder / "own.yaml").write_text("kind: Own\n")
    keep(folder, ["tempo.yaml"], kustomization=False, check=False)
    return home, run_playbook("playbooks/render.yml", inventory, environment={"HOME": str(home)})


def test_it_says_where_the_files_are(rendered: tuple[Path, Run]) -> None:
    """And removes what it has written before and does not write any more."""
    home, done = rendered
    assert done.recap["cms"]["failed"] == 0, done.output
    folder = home / "manifests/cms"
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "own.yaml"])
    said = done.said_of("cms")
    assert "Removed, since the inventory does not have it any more: tempo.yaml." in said
    assert "Left, since it was not rendered: own.yaml." in said
    assert f"The manifests of cms are in {home}/manifests/cms." in said


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("nowhere", "Say where the manifests go: -e render_directory=$PWD/manifests."),
        (
            "relative",
            "render_directory is 'manifests-of-a-test', a relative path, which could mean several places. Nothing was "
            "changed. Say where it begins, such as -e render_directory=$PWD/manifests-of-a-test.",
        ),
    ],
)
def test_a_folder_that_could_be_anywhere_is_refused(rendered: tuple[Path, Run], host: str, message: str) -> None:
    home, done = rendered
    assert done.code != 0
    assert message in done.said_of(host), done.output
    assert done.recap[host]["failed"] == 1
    assert done.recap[host]["changed"] == 0
    assert not list(home.rglob(host))
    assert not list(CLONE.rglob("manifests-of-a-test"))


def test_models_are_judged_as_they_are_when_they_are_published(rendered: tuple[Path, Run], tmp_path: Path) -> None:
    """With the same words, and nothing is written."""
    home, done = rendered
    published = run_module(
        "model_repository",
        {"source": [str(home / "broken")], "store": {"type": "path", "path": str(tmp_path / "store")}},
    )
    assert published["failed"]
    lines = [" ".join(line.split()) for line in published["msg"].splitlines()]
    assert len(lines) == 3
    for line in lines:
        assert line in done.said_of("broken"), done.output
    assert "model_repository_sources is ['~/broken'] (" in done.said_of("broken")
    assert f"The source {home}/modles is no folder." in done.said_of("missing"), done.output
    assert "step[0] needs model 'other', which is not in the release." in done.said_of("alone"), done.output
    for host in ("broken", "missing", "alone"):
        assert done.recap[host]["failed"] == 1
        assert not (home / "manifests" / host).exists()
    assert done.recap["external"]["failed"] == 0, done.output
    assert (home / "manifests/external/triton.yaml").exists()


def test_roles_judge_before_they_write(tmp_path: Path) -> None:
    """A playbook of somebody's own that has roles write their manifests."""
    roles = ("envoy", "model_repository", "triton")
    inventory = written(tmp_path, {role: {"role": role} for role in roles})
    task = {
        "name": "Write",
        "ansible.builtin.include_role": {"name": "fastml.supersonic.{{ role }}", "tasks_from": "render"},
    }
    play = {"name": "Write", "hosts": "all", "gather_facts": False, "tasks": [task]}
    (tmp_path / "own.yml").write_text(yaml.safe_dump([play]))
    extra = {"supersonic_render_directory": "manifests"}
    done = run_playbook(tmp_path / "own.yml", inventory, extra=extra, environment={"HOME": str(tmp_path)})
    assert done.code != 0
    for role in roles:
        assert 'supersonic_render_directory is "manifests"' in done.said_of(role), done.output
        assert "a relative path could mean several places" in done.said_of(role)
        assert done.recap[role]["failed"] == 1
