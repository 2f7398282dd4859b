# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role makes of a Prometheus that is slow, as a large one is; the servers stand for it and for the cluster."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
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


# Whether the rules are recorded, for which query it takes its time, variables, and what is advised.
CASES: dict[str, tuple[bool, str, dict[str, Any], str]] = {
    "unrecorded": (False, "[86400s:300s]", {}, "Have it record what servers compute"),
    "recorded": (True, "[86400s]", {}, "Give that Prometheus more to work with"),
    "never": (
        True,
        "[86400s:300s]",
        {"autoscaler_recording_rules": "never"},
        "Have it record what servers compute",
    ),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, dict[str, list[str]]]]:
    """One run for all of them, each with a site of its own, and what was asked there."""
    folder = tmp_path_factory.mktemp("slow")
    asked: dict[str, list[str]] = {}
    hosts = {}
    with contextlib.ExitStack() as stack:
        for case, (recorded, slow, variables, _advice) in CASES.items():
            asked[case] = []
            site = type(case, (Site,), {"recorded": recorded, "slow": slow, "asked": asked[case]})
            url = stack.enter_context(served(site))
            kubeconfig = {
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
                "users": [{"name": "c", "user": {"token": "x"}}],
                "current-context": "c",
            }
            (folder / case).write_text(yaml.safe_dump(kubeconfig))
            hosts[case] = {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "supersonic_name": "main",
                "supersonic_namespace": "cms",
                "supersonic_kubeconfig": str(folder / case),
                "supersonic_prometheus_url": url,
                "autoscaler_max_replicas": 6,
                "autoscaler_query_timeout": 1,
                # Exactly four scrapes, of 15 seconds and not of 15.004.
                "autoscaler_window": 60,
                **variables,
            }
        play = {"hosts": "all", "gather_facts": False, "roles": ["fastml.supersonic.autoscaler"]}
        (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
        (folder / "play.yml").write_text(yaml.safe_dump([play]))
        yield run_playbook(folder / "play.yml", folder / "hosts.yml"), asked


@pytest.mark.parametrize("case", CASES)
def test_what_keda_would_not_wait_for_is_refused(refused: tuple[Run, dict[str, list[str]]], case: str) -> None:
    done, asked = refused
    _recorded, slow, _variables, advice = CASES[case]
    said = done.said_of(case)
    assert done.recap[case]["failed"] == 1, done.output
    assert "servers_wanted, servers_held, servers_busy_floor: Prometheus took 1." in said, done.output
    assert "but KEDA waits 1 s for an answer (autoscaler_query_timeout)" in said
    assert advice in said
    assert any(slow in query for query in asked[case])
    assert any("[60s:15s]" in query for query in asked[case])
