# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the role checks its queries before KEDA gets them: slow answers, answers without a value, short windows. Servers
of these tests answer for Prometheus and for the cluster."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Mapping
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
    # So many answers to a query without any series; of a text that stands in the query.
    empty: dict[str, int] = {}
    interval = 15.0
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
            values = [[(self.interval + 0.004) * number, "1"] for number in range(10)]
            matrix = [{"metric": LABELS, "values": values}]
            self.answer({"status": "success", "data": {"resultType": "matrix", "result": matrix}})
            return
        for text in self.empty:
            if text in query and self.asked.count(query) <= self.empty[text]:
                self.answer({"status": "success", "data": {"resultType": "vector", "result": []}})
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


def run(folder: Path, cases: Mapping[str, tuple[dict[str, Any], dict[str, Any]]]) -> tuple[Run, dict[str, list[str]]]:
    """One run with a host for each case, which has a site of its own; what was asked there. cases: attributes of the
    site, and variables."""
    asked: dict[str, list[str]] = {}
    hosts = {}
    with contextlib.ExitStack() as stack:
        for case, (attributes, variables) in cases.items():
            asked[case] = []
            site = type(case, (Site,), {**attributes, "asked": asked[case]})
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
                **variables,
            }
        play = {"hosts": "all", "gather_facts": False, "roles": ["fastml.supersonic.autoscaler"]}
        (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
        (folder / "play.yml").write_text(yaml.safe_dump([play]))
        return run_playbook(folder / "play.yml", folder / "hosts.yml"), asked


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, list[str]]]:
    # Exactly four scrapes, of 15 seconds and not of 15.004.
    shared = {"autoscaler_query_timeout": 1, "autoscaler_window": 60}
    return run(
        tmp_path_factory.mktemp("slow"),
        {case: ({"recorded": recorded, "slow": slow}, {**shared, **given})
         for case, (recorded, slow, given, _advice) in CASES.items()},
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_keda_would_not_wait_for_is_refused(refused: tuple[Run, dict[str, list[str]]], case: str) -> None:
    done, asked = refused
    _recorded, slow, _variables, advice = CASES[case]
    said = done.said_of(case)
    assert done.recap[case]["failed"] == 1, done.output
    assert "servers_wanted, servers_held, servers_busy_floor: Prometheus took " in said, done.output
    (seconds,) = re.findall(r"Prometheus took ([0-9.]+) s", said)
    assert float(seconds) > 1
    assert "but KEDA waits 1 s for an answer (autoscaler_query_timeout)" in said
    assert advice in said
    assert any(slow in query for query in asked[case])
    assert any("[60s:15s]" in query for query in asked[case])


# ---- answers without a value -----------------------------------------------------------------------------------------

NEVER = 1_000_000
FAST = {"interval": 0.5, "recorded": True}


@pytest.fixture(scope="module")
def valueless(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, list[str]]]:
    return run(
        tmp_path_factory.mktemp("valueless"),
        {
            "empty": ({**FAST, "empty": {"[86400s]": NEVER}}, {}),
            "late": ({**FAST, "empty": {"[86400s]": 2}}, {}),
            "short": ({"recorded": True}, {"autoscaler_window": 45}),
        },
    )


def test_a_query_without_a_value_is_refused_after_some_scrapes(valueless: tuple[Run, dict[str, list[str]]]) -> None:
    done, asked = valueless
    said = done.said_of("empty")
    assert done.recap["empty"]["failed"] == 1, done.output
    assert "no value, so that KEDA could not scale by it" in said, done.output
    assert "Nothing of the autoscaler was changed." in said
    assert max(asked["empty"].count(query) for query in asked["empty"]) > 1


def test_a_value_that_comes_late_is_enough(valueless: tuple[Run, dict[str, list[str]]]) -> None:
    done, asked = valueless
    said = done.said_of("late")
    assert "no value" not in said, done.output
    # The task after all checks: a server that is no cluster takes no objects.
    assert done.recap["late"]["failed"] == 1
    assert "Apply the objects of the autoscaler (present)" in done.output
    assert max(asked["late"].count(query) for query in asked["late"]) == 3


def test_rates_over_fewer_than_four_scrapes_are_refused(valueless: tuple[Run, dict[str, list[str]]]) -> None:
    done, _asked = valueless
    said = done.said_of("short")
    assert "autoscaler_window is 45, but this Prometheus scrapes the instance every 15.0 s" in said, done.output
    assert "set it to 60 or more" in said
