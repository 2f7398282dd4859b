# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three instances in one run of site.yml, of which the middle one fails its proof; all at once, and in waves.

What Ansible makes of waves in more cases is in tests/services/playbooks/test_site_plays.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.models import golden, write_golden, write_model
from ansible_collections.fastml.supersonic.tests.harness.playbooks import Run, instance_inventory, run_playbook

NAMES = ["first", "second", "third"]
MARK = "example.org/wave"


class Three:
    """The instances, each in a namespace of its own."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.namespaces = {name: cluster.free_name() for name in NAMES}
        models, wrong = folder / "models", folder / "wrong"
        write_model(models, "same")
        write_golden(models, golden("same", [1.0, 2.0]))
        request = golden("same", [1.0, 2.0])
        request["response"]["outputs"][0]["data"] = [1.0, 3.0]
        write_golden(wrong, request)
        hosts = {
            name: {
                "supersonic_namespace": self.namespaces[name],
                "model_repository_sources": [str(models)],
                "model_repository_test_load": False,
                "verify_golden_directories": [str(wrong if name == "second" else models)],
                "triton_resources": {"requests": {"cpu": "5m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
                "envoy_resources": {"requests": {"cpu": "5m", "memory": "32Mi"}, "limits": {"memory": "512Mi"}},
            }
            for name in NAMES
        }
        self.inventory = instance_inventory(folder, hosts)

    def site(self, *arguments: str, **extra: Any) -> tuple[Run, dict[str, dict[str, Any]]]:
        report = self.folder / "site.json"
        done = run_playbook(
            "site.yml", self.inventory, *arguments, extra={"site_report": str(report), **extra}, seconds=900
        )
        assert done.code == 2, done.output
        told = json.loads(report.read_text())
        assert not told["passed"]
        return done, {each["host"]: each for each in told["instances"]}

    def marks(self) -> dict[str, str | None]:
        """The annotation that each instance's Service has."""
        found = {}
        for name, namespace in self.namespaces.items():
            service = self.cluster.there(f"/api/v1/namespaces/{namespace}/services/{name}")
            found[name] = service["metadata"].get("annotations", {}).get(MARK)
        return found


@pytest.fixture(scope="module")
def three(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    found = Three(cluster, tmp_path_factory.mktemp("waves"))
    try:
        yield found
    finally:
        for namespace in found.namespaces.values():
            cluster.remove_namespace(namespace)


@pytest.mark.thorough
def test_one_that_fails_does_not_stop_the_others_and_in_waves_the_next_is_not_begun(three: Three) -> None:
    done, told = three.site()
    assert {name: each["state"] for name, each in told.items()} == {
        "first": "proved",
        "second": "failed",
        "third": "proved",
    }
    assert told["second"]["step"] == "proof"
    assert "output OUTPUT0[1] is 2" in told["second"]["why"]
    assert told["third"]["checks"] == {"asked": 2, "passed": 2}
    assert all(each["changed"] for each in told.values())
    assert {name: done.recap[name]["failed"] for name in NAMES} == {"first": 0, "second": 1, "third": 0}
    assert "second: proof failed, as is said above" in done.text, done.output

    # In waves, now that everything is there: a Service is what changes.
    extra = {"site_serial": 1, "envoy_service_annotations": {MARK: "2"}}
    _done, told = three.site("--tags", "envoy,verify", **extra)
    assert {name: each["state"] for name, each in told.items()} == {
        "first": "proved",
        "second": "failed",
        "third": "not begun",
    }
    assert [told[name]["wave"] for name in NAMES] == [1, 2, 3]
    assert three.marks() == {"first": "2", "second": "2", "third": None}
