# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role makes of a Prometheus that is slow, as a large one is; the servers stand for it and for the cluster."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.answers import JsonHandler, served
from ansible_collections.fastml.supersonic.tests.harness.playbooks import Run, run_playbook

POD = "main-envoy-6d4b75cb6d-abcd1"
LABELS = {"namespace": "cms", "pod": POD, "instance": "10.0.0.1:9902", "job": "pods"}


class Site(JsonHandler):
    """A cluster with one Envoy, and a Prometheus that takes its time for a history."""

    protocol_version = "HTTP/1.1"
    recorded = False
    slow = ""
    asked: list[str] = []

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path.endswith("/pods"):
            labels = {"app.kubernetes.io/component": "envoy"}
            pod = {"metadata": {"name": POD, "labels": labels},
                   "status": {"conditions": [{"type": "Ready", "status": "True"}]}}  # fmt: skip
            self.answer({"items": [pod]})
            return
        if not address.path.endswith("/query"):
            # As proxies that let nothing else through.
            self.answer({"status": "error", "error": "not found"}, 404)
            return
        (query,) = parse_qs(address.query)["query"]
        self.asked.append(query)
        if self.slow and self.slow in query:
            time.sleep(1.2)
        if query.endswith("[600s]"):
            values = [[15.004 * number, "1"] for number in range(10)]
            matrix = [{"metric": LABELS, "values": values}]
            self.answer({"status": "success", "data": {"resultType": "matrix", "result": matrix}})
            return
        found = "ALERTS" not in query and (not query.startswith("supersonic:") or self.recorded)
        result = [{"metric": LABELS, "value": [1, "1"]}] if found else []
        self.answer({"status": "success", "data": {"resultType": "vector", "result": result}})


@pytest.fixture
def url() -> Iterator[str]:
    Site.asked.clear()
    with served(Site) as address:
        yield address


def run(folder: Path, url: str, **variables: Any) -> Run:
    kubeconfig = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "users": [{"name": "c", "user": {"token": "x"}}],
        "current-context": "c",
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_name": "main",
        "supersonic_namespace": "cms",
        "supersonic_kubeconfig": str(folder / "kubeconfig"),
        "supersonic_prometheus_url": url,
        "autoscaler_max_replicas": 6,
        "autoscaler_query_timeout": 1,
        **variables,
    }
    play = {"hosts": "all", "gather_facts": False, "roles": ["fastml.supersonic.autoscaler"]}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"main": host}}}))
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    return run_playbook(folder / "play.yml", folder / "hosts.yml")


@pytest.mark.parametrize(
    ("recorded", "slow", "variables", "advice"),
    [
        (False, "[86400s:300s]", {}, "Have it record what servers compute"),
        (True, "[86400s]", {}, "Give that Prometheus more to work with"),
        (True, "[86400s:300s]", {"autoscaler_recording_rules": "never"}, "Have it record what servers compute"),
    ],
)
def test_what_keda_would_not_wait_for_is_refused(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, recorded: bool, slow: str, variables: Any, advice: str
) -> None:
    monkeypatch.setattr(Site, "recorded", recorded)
    monkeypatch.setattr(Site, "slow", slow)
    # Exactly four scrapes, of 15 seconds and not of 15.004.
    done = run(tmp_path, url, autoscaler_window=60, **variables)
    assert done.code == 2, done.output
    assert "servers_wanted, servers_held, servers_busy_floor: Prometheus took 1." in done.text, done.output
    assert "but KEDA waits 1 s for an answer (autoscaler_query_timeout)" in done.text
    assert advice in done.text
    assert any(slow in query for query in Site.asked)
    assert any("[60s:15s]" in query for query in Site.asked)
