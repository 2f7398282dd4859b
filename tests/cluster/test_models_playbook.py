# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""playbooks/models.yml on a real instance: servers take the release that is published, and the one gone back to."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import LOCAL, Instance
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.triton import server_directory

PLAYBOOK = "playbooks/models.yml"
SERVED = "supersonic.fastml.org/model-release"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A copy of the smallest of the example models."""
    shutil.copytree(LOCAL / "models/identity", tmp_path / "models/identity")
    return tmp_path / "models"


@pytest.fixture
def instance(cluster: Cluster, tmp_path: Path, models: Path) -> Iterator[Instance]:
    """A small instance that serves one model."""
    made = Instance(cluster, tmp_path, "releases", {"model_repository_sources": [str(models)]})
    try:
        made.site()
        yield made
    finally:
        made.remove()


def released(instance: Instance) -> set[str]:
    """What the pods of the pool say that they serve, those on their way out aside."""
    pods = [pod for pod in instance.pods("triton").values() if not pod["metadata"].get("deletionTimestamp")]
    return {pod["metadata"]["annotations"][SERVED] for pod in pods}


def publish_second(instance: Instance, models: Path) -> tuple[str, str]:
    """Publish another release by the playbook; the one before, and this one."""
    (first,) = released(instance)
    (models / "identity/notes.txt").write_text("second\n")
    published = instance.run(PLAYBOOK, models_action="publish")
    assert published.changed(instance.name) >= 2, published.output
    (second,) = released(instance)
    assert second != first
    said = f"The release {second[:12]} replaced {first[:12]}; "
    assert f"{said}a test load tried it (1 model, " in published.text, published.output
    return first, second


def test_publish_list_roll_back_verify_prune(instance: Instance, models: Path) -> None:
    first, second = publish_second(instance, models)
    assert instance.run(PLAYBOOK, models_action="publish").changed(instance.name) == 0

    listed = instance.run(PLAYBOOK, model_repository_list_deep=True)
    assert listed.changed(instance.name) == 0
    for text in (second[:12], first[:12], "previous", "identity 1", "differs from the current release"):
        assert text in listed.output, listed.output
    assert "lock       nobody" in listed.output, listed.output

    back = instance.run(PLAYBOOK, models_action="rollback")
    assert back.changed(instance.name) >= 2
    assert f"The release {first[:12]} replaced {second[:12]}; nothing tries it anew" in back.text, back.output
    assert released(instance) == {first}
    again = instance.run(PLAYBOOK, models_action="rollback", model_repository_rollback_to=first[:8])
    assert again.changed(instance.name) == 0
    info = run_module(
        "model_repository_info",
        {
            "store": {"type": "pvc", "namespace": instance.namespace, "claim": f"{instance.name}-models"},
            "servers": {"namespace": instance.namespace, "instance": instance.name, "index": True},
            "kubeconfig": instance.cluster.kubeconfig,
        },
    )
    assert [(item["release"], item["differences"]) for item in info["servers"]] == [(first, [])], info

    assert "is as it was published" in instance.run(PLAYBOOK, models_action="verify").output
    assert "Releases removed: none." in instance.run(PLAYBOOK, models_action="prune").text


@pytest.mark.thorough
def test_back_over_a_run_that_died_and_the_end(instance: Instance, models: Path) -> None:
    first, second = publish_second(instance, models)
    # Without the volume being opened.
    listed = instance.run(PLAYBOOK)
    assert listed.changed(instance.name) == 0
    for text in (second[:12], first[:12], "previous", "identity 1", "differs from the current release"):
        assert text in listed.output, listed.output

    checked = instance.run(PLAYBOOK, "--check", models_action="rollback")
    assert checked.changed(instance.name) >= 2
    assert released(instance) == {second}
    instance.run(PLAYBOOK, models_action="rollback")
    assert released(instance) == {first}
    back_over_a_run_that_died(instance, models, first)

    # The source has not gone back: site.yml publishes it again.
    instance.site()
    assert released(instance) == {second}

    # Going without its models is said, and how they would go as well.
    gone = instance.run("playbooks/teardown.yml")
    assert gone.changed(instance.name) >= 2, gone.output
    assert (
        f"The models in the claim {instance.name}-models in the namespace {instance.namespace} are left: "
        "-e '{\"teardown_models\": true}' removes them."
    ) in gone.text
    assert "WARNING" not in gone.output


def back_over_a_run_that_died(instance: Instance, models: Path, first: str) -> None:
    """The store gets a release, and no server is replaced; one that comes meanwhile reads it by the old template."""
    store = {"type": "pvc", "namespace": instance.namespace, "claim": f"{instance.name}-models"}
    connection = {"store": store, "kubeconfig": instance.cluster.kubeconfig}
    servers = {"namespace": instance.namespace, "instance": instance.name}

    def served() -> list[str]:
        return [
            item["release"]
            for item in run_module("model_repository_info", {**connection, "servers": servers})["servers"]
        ]

    ((uid, pod),) = instance.pods("triton").items()
    image = {"image": pod["spec"]["containers"][0]["image"]}
    third = run_module("model_repository", {**connection, "source": [str(models)], "pod": image})["release"]
    assert third != first
    path = f"/api/v1/namespaces/{instance.namespace}/pods/{pod['metadata']['name']}"
    # Times of pods are whole seconds, and that of the switch is noted a moment late.
    time.sleep(3)
    instance.cluster.api.delete(path, path, propagation="Background")
    until(lambda: instance.ready("triton", 1) and uid not in instance.pods("triton"), 90)
    assert released(instance) == {first}
    assert served() == [third]
    ((uid, pod),) = instance.pods("triton").items()
    back = instance.run(PLAYBOOK, models_action="rollback", model_repository_rollback_to=first)
    assert back.changed(instance.name) >= 2
    until(lambda: instance.ready("triton", 1), 90)
    assert uid not in instance.pods("triton"), "the server that has read another release was not replaced"
    assert served() == [first]
    # Whoever looks again finds nothing to do.
    again = instance.run(PLAYBOOK, models_action="rollback", model_repository_rollback_to=first)
    assert again.changed(instance.name) == 0


@pytest.mark.thorough
def test_a_folder_instead_of_a_claim(cluster: Cluster, tmp_path: Path, models: Path) -> None:
    """As an NFS export that is mounted here: the servers read it from a folder that the node sees as well."""
    store = tmp_path / "export"
    store.mkdir()
    server = server_directory()
    command = [str(server / "bin" / "tritonserver"), f"--backend-directory={server / 'backends'}"]
    mount = {"name": "export", "mountPath": "/export", "readOnly": True}
    variables = {
        "model_repository_sources": [str(models)],
        "model_repository_path": str(store),
        "model_repository_test_load_command": [*command, f"--cache-directory={server / 'caches'}"],
        "verify_golden_directories": [str(models)],
        "triton_model_repositories": [{"name": "export", "kind": "image", "path": "/export/current"}],
        "triton_volumes": [{"name": "export", "hostPath": {"path": str(store), "type": "Directory"}}],
        "triton_volume_mounts": [mount],
    }
    instance = Instance(cluster, tmp_path, "folder", variables)
    try:
        instance.site()
        (first,) = released(instance)
        (models / "identity/notes.txt").write_text("second\n")
        published = instance.run(PLAYBOOK, models_action="publish")
        assert published.changed(instance.name) >= 2, published.output
        (second,) = released(instance)
        assert second != first
        assert os.readlink(store / "current") == f"releases/{second}"
        # The other actions open the store in the same way.
        assert "is as it was published" in instance.run(PLAYBOOK, models_action="verify").output
        gone = instance.run("playbooks/teardown.yml", teardown_models=True)
        assert f"The models in the folder {store} are left." in gone.text
    finally:
        instance.remove()
