# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A component that is added: its role, one entry of COMPONENTS, and what supersonic_components may list."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook

ENTRY = 'Component("mirror", "mirror", optional=True, scraped=True, data=True),\n'
MANIFEST = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "{{ supersonic_name }}-mirror", "namespace": "{{ supersonic_namespace }}"},
}
# Asks whoever has a list of components.
SCRIPT = """
import json
from ansible_collections.fastml.supersonic.plugins.module_utils._common import components
from ansible_collections.fastml.supersonic.plugins.module_utils._drift import running_state
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import drain
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring import prometheus
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory import origins
from ansible_collections.fastml.supersonic.plugins.plugin_utils._reports import site
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules import kubernetes
print(json.dumps({
    "names of objects": "cms-mirror" in components.object_names("cms"),
    "sets that are compared": "mirror" in running_state.PARTS,
    "pods that are moved": "mirror" in drain.ORDER,
    "pods that are scraped": "mirror" in prometheus.ALL_PARTS,
    "where its classes are written": "mirror_storage_class" in origins.NAMING,
    "results": "__mirror_result" in site.RESULTS,
    "types of its variables": kubernetes.kubernetes_type("mirror_tolerations") is not None,
}))
"""


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the collection with a role mirror, which deploys a ConfigMap."""
    folder = tmp_path_factory.mktemp("added") / "ansible_collections/fastml/supersonic"
    folder.mkdir(parents=True)
    for name in ("plugins", "roles", "playbooks", "meta"):
        shutil.copytree(CLONE / name, folder / name, ignore=shutil.ignore_patterns("files", "__pycache__"))
    shutil.copy(CLONE / "galaxy.yml", folder)
    role = folder / "roles/mirror"
    size = {"type": "str", "description": "Its size.", "default": "1Gi"}
    options = {"mirror_size": size, "mirror_state": {**size, "default": "present", "choices": ["present", "absent"]}}
    task = yaml.safe_load((CLONE / "roles/tempo/tasks/render.yml").read_text().replace("tempo", "mirror"))
    for path, content in {
        "defaults/main.yml": {name: option["default"] for name, option in options.items()},
        "meta/argument_specs.yml": {"argument_specs": {"main": {"options": options}}},
        "meta/main.yml": yaml.safe_load((CLONE / "roles/tempo/meta/main.yml").read_text()),
        "vars/main.yml": {"__mirror_manifests": [MANIFEST]},
        "tasks/main.yml": [],
        "tasks/render.yml": task,
    }.items():
        (role / path).parent.mkdir(parents=True, exist_ok=True)
        (role / path).write_text(yaml.safe_dump(content))
    components = folder / "plugins/module_utils/_common/components.py"
    text = components.read_text()
    assert text.count("COMPONENTS = (MODELS,") == 1
    components.write_text(text.replace("COMPONENTS = (MODELS,", f"COMPONENTS = ({ENTRY} MODELS,"))
    shared = folder / "roles/supersonic/meta/argument_specs.yml"
    text = shared.read_text()
    assert text.count("choices: [prometheus, ") == 1
    shared.write_text(text.replace("choices: [prometheus, ", "choices: [mirror, prometheus, "))
    return folder


def test_lists_of_components_have_it(collection: Path) -> None:
    others = [each for each in sys.path if each and "supersonic" not in each]
    environment = own_environment(PYTHONPATH=os.pathsep.join([str(collection.parents[2]), *others]))
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(found.values()), found


def test_playbooks_validate_and_render_it(collection: Path, tmp_path: Path) -> None:
    shared = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_namespace": "cms",
        "triton_image": "registry.example.org/triton:25.10",
        "triton_model_repositories": [{"name": "own", "kind": "image", "path": "/models"}],
    }
    hosts = {
        "with": {"supersonic_name": "one", "supersonic_components": ["mirror"]},
        "without": {"supersonic_name": "two"},
        "wrong": {"supersonic_name": "three", "supersonic_components": ["mirror"], "mirror_sise": "2Gi"},
    }
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(json.dumps({"supersonic_instances": {"hosts": hosts, "vars": shared}}))
    (tmp_path / "ansible.cfg").write_text(f"[defaults]\ncollections_path = {collection.parents[2]}\n")
    done = run_playbook(
        collection / "playbooks/render.yml",
        inventory,
        extra={"render_directory": str(tmp_path / "manifests")},
        environment={"ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg")},
    )
    assert "mirror_sise" in done.text, done.output
    assert "mirror_size" in done.text, done.output
    assert done.recap["wrong"]["failed"] == 1, done.output
    rendered = {host: (tmp_path / "manifests" / host / "mirror.yaml") for host in hosts}
    assert {host for host, path in rendered.items() if path.exists()} == {"with"}, done.output
    assert yaml.safe_load(rendered["with"].read_text())["metadata"]["name"] == "one-mirror"
