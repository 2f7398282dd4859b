# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of the role verify tells of the whole proof: requests to a real server, what comes before, and after."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._status import verification
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


@pytest.fixture
def prove(server: tuple[Path, Triton], tmp_path: Path) -> Callable[..., tuple[Run, dict[str, Any]]]:
    """Runs the role without a cluster that answers, after a proof that passed; what it says, and the report."""
    models, triton = server
    (port,) = free_ports(1)
    kubeconfig = {
        "current-context": "gone",
        "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": "gone"}}],
        "clusters": [{"name": "gone", "cluster": {"server": f"https://127.0.0.1:{port}"}}],
        "users": [{"name": "gone", "user": {"token": "none"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
    report = tmp_path / "report.json"
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_name": "proved",
        "supersonic_namespace": "nowhere",
        "supersonic_kubeconfig": str(tmp_path / "kubeconfig"),
        "verify_golden_directories": [str(models)],
        "verify_servers": False,
        "verify_envoys": False,
        "verify_address": triton.grpc,
        "verify_wait_timeout": 0,
        "verify_dashboards_timeout": 0,
        "verify_report": str(report),
    }
    (tmp_path / "hosts.json").write_text(json.dumps({"supersonic_instances": {"hosts": {"proved": variables}}}))

    def run(*arguments: str, **extra: Any) -> tuple[Run, dict[str, Any]]:
        report.write_text(json.dumps(EARLIER))
        done = run_playbook("playbooks/verify.yml", tmp_path / "hosts.json", *arguments, extra=extra)
        found: dict[str, Any] = json.loads(report.read_text())
        return done, found

    return run


def test_a_proof_that_passes(prove: Callable[..., tuple[Run, dict[str, Any]]]) -> None:
    done, report = prove()
    assert done.changed("proved") == 0
    assert report["passed"] is True
    assert report["time"] > EARLIER["time"]


@pytest.mark.parametrize(
    ("wrong", "asked"),
    [
        ({"verify_prometheus": "always"}, 1),
        ({"verify_dashboards": "always"}, 1),
        ({"supersonic_components": ["otel_collector"]}, 0),
    ],
    ids=["not watched", "no dashboards", "no collector"],
)
def test_what_fails_before_or_after_the_requests(
    prove: Callable[..., tuple[Run, dict[str, Any]]], tmp_path: Path, wrong: dict[str, Any], asked: int
) -> None:
    done, report = prove(**wrong)
    assert done.code == 2, done.output
    assert report["passed"] is False
    assert len(report["targets"]) == len(report["checks"]) == asked
    assert "127.0.0.1" in report["message"]
    assert done.text.count(" ".join(report["message"].split())) >= 2, done.output
    # Where status looks.
    told = verification(str(tmp_path / "report.json"))
    assert told["passed"] is False
    assert told["message"] == report["message"]
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(told["time"])
    assert abs(age.total_seconds()) < 120


def test_check_mode_leaves_the_report(prove: Callable[..., tuple[Run, dict[str, Any]]]) -> None:
    done, report = prove("--check", verify_prometheus="always")
    assert done.code == 2, done.output
    assert report == EARLIER
