# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One server with models of a claim and of CVMFS folders of its node, proved by inference; and what lacks is said.

A folder of this machine, which the node sees as well, stands in for its CVMFS: a mount of its own, below which others
appear when they are needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.models import golden, write_golden, write_model
from ansible_collections.fastml.supersonic.tests.harness.node import mounted_in_node
from ansible_collections.fastml.supersonic.tests.harness.playbooks import Instance

VALUES = [1.0, -2.5, 3.25, 4.0]
LINKED, LATE = "physics.example.org/models", "astronomy.example.org/models"
RELEASE = "physics.example.org/releases/1"


def publish(folder: Path, model: str) -> None:
    write_model(folder, model)
    write_golden(folder, golden(model, VALUES))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models for a claim, and a folder like /cvmfs with two repositories, one of which is not mounted yet.

    The other has its models behind an absolute link, as CVMFS repositories do.
    """
    folder = tmp_path_factory.mktemp("serving")
    publish(folder / "claim", "published")
    publish(folder / "cvmfs" / RELEASE, "linked")
    (folder / "cvmfs" / LINKED).symlink_to(f"/cvmfs/{RELEASE}")
    (folder / "cvmfs" / LATE).mkdir(parents=True)
    publish(folder / "late", "late")
    return folder


def repositories(folder: Path) -> list[dict[str, str]]:
    host_path = str(folder / "cvmfs")
    return [
        {"name": "claim", "kind": "pvc", "claim": "serving-models", "path": "current"},
        {"name": "linked", "kind": "cvmfs", "host_path": host_path, "path": LINKED},
        {"name": "late", "kind": "cvmfs", "host_path": host_path, "path": LATE},
    ]


@pytest.fixture(scope="module")
def instance(cluster: Cluster, folder: Path) -> Iterator[Instance]:
    """Deployed and proved."""
    cvmfs = folder / "cvmfs"
    variables = {
        "model_repository_sources": [str(folder / "claim")],
        "triton_model_repositories": repositories(folder),
        "triton_model_control_mode": "poll",
        "triton_repository_poll_seconds": 1,
        "verify_golden_directories": [str(folder / "claim"), str(cvmfs / RELEASE)],
    }
    instance = Instance(cluster, folder, "serving", variables)
    with mounted_in_node(cvmfs, cvmfs, shared=True):
        try:
            instance.site()
            yield instance
        finally:
            instance.remove()


def verified(instance: Instance, **variables: Any) -> set[str]:
    """The models that verify.yml proves at the servers; it has to succeed."""
    done = instance.run("playbooks/verify.yml", **variables)
    assert done.code == 0, done.output
    return proved(instance)


def proved(instance: Instance) -> set[str]:
    """The models that the last proof has asked the servers for."""
    targets = json.loads((instance.inventory.parent / "serving.json").read_text())["targets"]
    (server,) = [target for target in targets if target["layer"] == "server"]
    return set(server["models"])


@pytest.fixture(scope="module")
def deployed(instance: Instance) -> set[str]:
    """The models that site.yml has proved."""
    return proved(instance)


def serving(instance: Instance) -> set[str]:
    """The servers that are ready; there have to be some."""
    found = {
        uid
        for uid, pod in instance.pods("triton").items()
        if any(item["type"] == "Ready" and item["status"] == "True" for item in pod["status"].get("conditions", []))
    }
    assert found
    return found


def test_models_of_a_claim_and_of_cvmfs_are_served(deployed: set[str]) -> None:
    assert deployed == {"published", "linked"}


def test_all_of_cvmfs_is_one_mount_that_is_read_only(instance: Instance, folder: Path) -> None:
    (pod,) = instance.pods("triton").values()
    mounts = [mount for mount in pod["spec"]["containers"][0]["volumeMounts"] if mount["name"] == "cvmfs"]
    assert mounts == [{"name": "cvmfs", "mountPath": "/cvmfs", "readOnly": True, "mountPropagation": "HostToContainer"}]
    sources = [volume["hostPath"] for volume in pod["spec"]["volumes"] if "hostPath" in volume]
    assert sources == [{"path": str(folder / "cvmfs"), "type": "Directory"}]


def test_a_running_server_sees_what_is_mounted_later(instance: Instance, folder: Path) -> None:
    """As CVMFS is mounted: a repository when it is first asked for. The server that polls loads what appears."""
    before = serving(instance)
    with mounted_in_node(folder / "late", folder / "cvmfs" / LATE):
        assert verified(instance, verify_golden_directories=[str(folder / "late")]) == {"late"}
        assert verified(instance) == {"published", "linked"}
    assert serving(instance) == before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"path": "physics.example.org/absent"}, "failed to stat file /cvmfs/physics.example.org/absent"),
        pytest.param(
            {"host_path": "/srv/no-cvmfs"},
            "hostPath type check failed: /srv/no-cvmfs is not a directory",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            {"host_path": None, "claim": "no-cvmfs"},
            "The claim no-cvmfs, mounted by Deployment serving-triton, does",
            marks=pytest.mark.thorough,
        ),
    ],
    ids=["path", "host-path", "claim"],
)
def test_what_is_not_there_is_said_and_servers_stay(
    instance: Instance, folder: Path, changes: dict[str, Any], sentence: str
) -> None:
    before = serving(instance)
    claim, cvmfs, _other = repositories(folder)
    wrong = {key: value for key, value in {**cvmfs, **changes}.items() if value is not None}
    done = instance.run(
        "site.yml",
        "--tags",
        "triton",
        triton_model_repositories=[claim, wrong],
        triton_startup_budget=30,
        triton_wait_timeout=30,
    )
    assert done.code == 2, done.output
    assert sentence in done.text, done.output
    # The new server never gets ready, so that the old one is not replaced.
    assert serving(instance) == before
