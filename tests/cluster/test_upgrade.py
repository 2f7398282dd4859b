# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance of the previous version of the collection is upgraded by this one, under load.

The previous version is the last tag, while there is none an earlier commit, or SUPERSONIC_PREVIOUS. It is built and
installed as users do it. SUPERSONIC_FIGURES names a file that gets a line of JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness import collection
from ansible_collections.fastml.supersonic.tests.harness.clients import load
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.playbooks import (
    CLONE,
    LOCAL,
    Instance,
    Run,
    instance_inventory,
    run_playbook,
)
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.load import ANSWERS

pytestmark = [pytest.mark.alone, pytest.mark.thorough]

NAME = "older"
CLIENTS = 8
LIMIT_S = 400
# An object that has another name in the previous version; here one on which no request depends.
BUDGET = "kind: PodDisruptionBudget\nmetadata:\n  name: {{ __envoy_name }}"
BUDGETS = "/apis/policy/v1/namespaces/{}/poddisruptionbudgets"
# What decides about lost requests is as the roles have it by default.
STOPPING = (
    "triton_drain_wait",
    "triton_exit_timeout",
    "envoy_endpoint_wait",
    "envoy_drain_time",
    "envoy_in_flight_wait",
)


@dataclass
class Upgrade:
    """What has happened."""

    previous: str
    budgets_before: set[str]
    budgets_after: set[str]
    first_look: Run
    report: dict[str, Any]
    seconds: tuple[float, float]
    replaced: dict[str, bool]
    second_run: Run


def variables(clone: Path, models: Path, version: str) -> dict[str, Any]:
    """Of the instance, the same for both versions but for an annotation that has all pods replaced."""
    defaults: dict[str, Any] = {}
    for role in ("triton", "envoy"):
        defaults |= yaml.safe_load((clone / "roles" / role / "defaults" / "main.yml").read_text())
    return {
        **{name: defaults[name] for name in STOPPING},
        "triton_replicas": 2,
        "envoy_replicas": 2,
        "triton_resources": {"requests": {"cpu": "10m", "memory": "128Mi"}, "limits": {"memory": "1536Mi"}},
        "model_repository_sources": [str(models)],
        "verify_golden_directories": [str(models)],
        "triton_pod_annotations": {"example.org/version": version},
        "envoy_pod_annotations": {"example.org/version": version},
    }


def budgets(cluster: Cluster, namespace: str) -> set[str]:
    return {item["metadata"]["name"] for item in cluster.api.list(BUDGETS.format(namespace), "budgets")}


@pytest.fixture(scope="module")
def upgrade(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgrade]:
    folder = tmp_path_factory.mktemp("upgrade")
    version = collection.previous()
    older = collection.source(version, folder / "older")
    if older is None:
        pytest.skip(
            f"NOT TRIED: this clone has no commit {version}, as a shallow one (git fetch --unshallow). Nothing is "
            "known of upgrades. SUPERSONIC_PREVIOUS names another one."
        )
    template = older / "roles/envoy/templates/envoy.yaml.j2"
    text = template.read_text()
    assert text.count(BUDGET) == 1
    template.write_text(text.replace(BUDGET, f"{BUDGET}-budget"))
    place = collection.install(folder, older)
    configuration = folder / "ansible.cfg"
    configuration.write_text("[defaults]\n")
    models = folder / "models"
    for model in ANSWERS:
        shutil.copytree(LOCAL / "models" / model, models / model)

    new = Instance(cluster, folder / "new", NAME, variables(CLONE, models, "new"))
    namespace = new.namespace
    hosts = {NAME: {"supersonic_namespace": namespace, **variables(older, models, "old")}}
    inventory = instance_inventory(folder / "old", hosts, older)
    try:
        done = run_playbook(
            "fastml.supersonic.site",
            inventory,
            environment={"ANSIBLE_COLLECTIONS_PATH": str(place), "ANSIBLE_CONFIG": str(configuration)},
            directory=folder,
        )
        assert done.code == 0, done.output
        until(lambda: new.ready("triton", 2) and new.ready("envoy", 2), 120)
        before = {component: set(new.pods(component)) for component in ("triton", "envoy")}
        budgets_before = budgets(cluster, namespace)
        first_look = new.run("site.yml", "--check", "--diff")
        assert {component: set(new.pods(component)) for component in before} == before
        arguments = ["--clients", str(CLIENTS), "--streams", "1"]
        with load(new.address(), folder, *arguments, seconds=LIMIT_S) as report:
            began = time.time()
            new.site()
            for component in before:
                until(lambda component=component: new.ready(component, 2), 180)
            ended = time.time()
            # Whatever is left behind is seen as well.
            time.sleep(2)
        yield Upgrade(
            previous=version,
            budgets_before=budgets_before,
            budgets_after=budgets(cluster, namespace),
            first_look=first_look,
            report=report,
            seconds=(began, ended),
            replaced={component: not before[component] & set(new.pods(component)) for component in before},
            second_run=new.run("site.yml"),
        )
    finally:
        new.remove()


def test_no_request_is_lost(upgrade: Upgrade) -> None:
    figures = os.environ.get("SUPERSONIC_FIGURES")
    began, ended = upgrade.seconds
    if figures:
        line = {"event": "upgrade", "previous": upgrade.previous, "seconds": ended - began, **upgrade.report}
        with Path(figures).open("a") as file:
            file.write(json.dumps(line) + "\n")
    assert upgrade.replaced == {"triton": True, "envoy": True}
    report = upgrade.report
    assert (report["failed"], report["wrong"]) == (0, 0), report
    # A stream ends with its server or its Envoy, at most once with each that goes.
    assert report["streams_ended"] <= 4, report
    # The clients were there all the time, and every one of them was served.
    assert report["first"] < began
    assert report["last"] > ended - 1
    assert min(report["models"].values()) > ended - began, report


def test_what_has_another_name_now_goes(upgrade: Upgrade) -> None:
    assert upgrade.budgets_before == {f"{NAME}-triton", f"{NAME}-envoy-budget"}
    assert upgrade.budgets_after == {f"{NAME}-triton", f"{NAME}-envoy"}


def test_check_mode_shows_the_upgrade_first(upgrade: Upgrade) -> None:
    assert upgrade.first_look.code == 0, upgrade.first_look.output
    for change in (f"{NAME}-envoy-budget", f"{NAME}-envoy in "):
        assert change in upgrade.first_look.text, upgrade.first_look.output
    assert upgrade.second_run.changed(NAME) == 0, upgrade.second_run.output
