# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of the pods of a playbook that fails and then removes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests.harness import evidence
from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, container
from ansible_collections.fastml.supersonic.tests.harness.processes import until


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(evidence, "LOGS", tmp_path / "logs")
    return tmp_path / "logs"


@pytest.mark.parametrize(
    ("code", "line"),
    [(2, "fatal: [host]: FAILED!"), (2, "  │ \x1b[0;31mfatal: [host]: FAILED!"), (0, "fatal: [host]: FAILED!")],
)
def test_logs_are_kept_as_soon_as_a_task_has_failed(
    cluster: Cluster, namespace: str, logs: Path, code: int, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The command waits until they are there, as a playbook would go on and remove the pods. If the command succeeds in
    the end nothing stays."""
    base = f"/api/v1/namespaces/{namespace}/pods"
    pod = {"terminationGracePeriodSeconds": 0, "containers": [container("echo hello; exec sleep 3600")]}
    cluster.create(base, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "speaker"}, "spec": pod})
    until(lambda: cluster.there(f"{base}/speaker")["status"].get("phase") == "Running", 60)
    until(lambda: cluster.api.text(f"{base}/speaker/log", "log", {"container": "main"}) == "hello\n")
    kept_at = logs / "failing" / namespace
    script = f"echo '{line}'; until [ -e {kept_at}/pods.json ]; do sleep 0.1; done; exit {code}"
    done, failed = evidence.run_and_keep(
        ["bash", "-c", script], Path(cluster.kubeconfig), namespace, "failing", Path.cwd(), own_environment()
    )
    assert done == code
    assert failed == (f"{evidence.COLOUR.sub('', line)}\n" if code else "")
    assert f"{line}\n" in capfd.readouterr().out
    kept = {path.name for path in logs.rglob("*") if path.is_file()}
    assert kept == ({"pods.json", "events.txt", "main.log"} if code else set())
    if code:
        assert (kept_at / "speaker" / "main.log").read_text() == "hello\n"
