# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of the role verify tells of the whole proof: requests to a real server, what comes before, and after."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._instance.status import verification
from ansible_collections.fastml.supersonic.tests.harness.models import golden, write_golden, write_model
from ansible_collections.fastml.supersonic.tests.harness.playbooks import Run, run_playbook
from ansible_collections.fastml.supersonic.tests.harness.processes import free_ports
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton

EARLIER = {"time": "2020-01-01T00:00:00+00:00", "passed": True, "message": "1 inference checks passed.", "targets": []}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Triton]]:
    folder = tmp_path_factory.mktemp("report")
    write_model(folder / "models", "right")
    write_golden(folder / "models", golden("right", [1.0, 2.0]))
    running = Triton(folder / "models", folder)
    yield folder / "models", running
    running.stop()


@dataclass
class Proofs:
    """A run of the proof of several instances, and what the report of each says then."""

    run: Run
    reports: dict[str, dict[str, Any]]
    folder: Path


WRONG: dict[str, tuple[dict[str, Any], int]] = {
    "not-watched": ({"verify_prometheus": "always"}, 1),
    "no-dashboards": ({"verify_dashboards": "always"}, 1),
    "no-collector": ({"supersonic_components": ["otel_collector"]}, 0),
}


@pytest.fixture(scope="module")
def prove(server: tuple[Path, Triton], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Proofs]:
    """Runs the role for these hosts without a cluster that answers, each after a proof that passed."""
    models, triton = server
    (port,) = free_ports(1)
    kubeconfig = {
        "current-context": "gone",
        "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": "gone"}}],
        "clusters": [{"name": "gone", "cluster": {"server": f"https://127.0.0.1:{port}"}}],
        "users": [{"name": "gone", "user": {"token": "none"}}],
    }

    def run(hosts: dict[str, dict[str, Any]], *arguments: str) -> Proofs:
        folder = tmp_path_factory.mktemp("proofs")
        (folder / "kubeconfig").write_text(json.dumps(kubeconfig))
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "supersonic_name": "proved",
            "supersonic_namespace": "nowhere",
            "supersonic_kubeconfig": str(folder / "kubeconfig"),
            "verify_golden_directories": [str(models)],
            "verify_servers": False,
            "verify_envoys": False,
            "verify_address": triton.grpc,
            "verify_wait_timeout": 0,
            "verify_dashboards_timeout": 0,
            "verify_report": f"{folder}/{{{{ inventory_hostname }}}}.json",
        }
        group = {"hosts": hosts, "vars": variables}
        (folder / "hosts.yml").write_text(json.dumps({"supersonic_instances": group}))
        for host in hosts:
            (folder / f"{host}.json").write_text(json.dumps(EARLIER))
        done = run_playbook("playbooks/verify.yml", folder / "hosts.yml", *arguments)
        return Proofs(done, {host: json.loads((folder / f"{host}.json").read_text()) for host in hosts}, folder)

    return run


@pytest.fixture(scope="module")
def proofs(prove: Callable[..., Proofs]) -> Proofs:
    """Of an instance that is well, and of some that are not."""
    return prove({"well": {}, **{host: wrong for host, (wrong, _asked) in WRONG.items()}})


def test_a_proof_that_passes(proofs: Proofs) -> None:
    recap = proofs.run.recap["well"]
    assert (recap["failed"], recap["changed"]) == (0, 0), proofs.run.output
    assert proofs.reports["well"]["passed"] is True
    assert proofs.reports["well"]["time"] > EARLIER["time"]


@pytest.mark.parametrize(("host", "asked"), [(host, asked) for host, (_wrong, asked) in WRONG.items()])
def test_what_fails_before_or_after_the_requests(proofs: Proofs, host: str, asked: int) -> None:
    report = proofs.reports[host]
    assert proofs.run.recap[host]["failed"] == 1, proofs.run.output
    assert report["passed"] is False
    assert len(report["targets"]) == len(report["checks"]) == asked
    assert "127.0.0.1" in report["message"]
    assert proofs.run.failures(host).count(" ".join(report["message"].split())) >= 2, proofs.run.output
    # Where status looks.
    told = verification(str(proofs.folder / f"{host}.json"))
    assert told["passed"] is False
    assert told["message"] == report["message"]
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(told["time"])
    assert abs(age.total_seconds()) < 600


def test_check_mode_leaves_the_report(prove: Callable[..., Proofs]) -> None:
    checked = prove({"not-watched": WRONG["not-watched"][0]}, "--check")
    assert checked.run.recap["not-watched"]["failed"] == 1, checked.run.output
    assert checked.reports == {"not-watched": EARLIER}
