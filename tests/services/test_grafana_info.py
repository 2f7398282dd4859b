# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a Grafana can use its data sources, by a server that answers as Grafana's API is documented: the module, and
the tasks of the role verify."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.grafana import Grafana
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.playbooks import Run, run_playbook
from ansible_collections.fastml.supersonic.tests.harness.processes import free_ports
from ansible_collections.fastml.supersonic.tests.harness.prometheus import Guard, Page

TOKEN, PASSWORD = "a-planted-token-77aa", "a-planted-password-3f1d"
BOTH = ["supersonic-prometheus", "supersonic-tempo"]


def watching() -> Grafana:
    """One whose data sources work."""
    server = Grafana(TOKEN)
    server.password = PASSWORD
    server.role = "Viewer"
    server.datasources = dict.fromkeys(BOTH, ("OK", "Data source is working"))
    return server


@pytest.fixture
def grafana() -> Iterator[Grafana]:
    server = watching()
    yield server
    server.stop()


def ask(grafana: Grafana, **options: Any) -> dict[str, Any]:
    return run_module("grafana_info", {"url": grafana.url, "datasources": BOTH, **options}, check=True)


@pytest.mark.parametrize("entry", [{"token": TOKEN}, {"password": PASSWORD}])
def test_healthy_ones(grafana: Grafana, entry: dict[str, str]) -> None:
    result = ask(grafana, **entry)
    assert not result["failed"], result
    assert result["datasources"] == dict.fromkeys(BOTH, "")
    assert grafana.changes == []


def test_every_one_is_asked(grafana: Grafana) -> None:
    grafana.datasources["supersonic-tempo"] = ("ERROR", "connection refused")
    result = ask(grafana, token=TOKEN, datasources=[*BOTH, "mimir"])
    assert result["failed"]
    assert "cannot use its data source supersonic-tempo: connection refused. Look at" in result["msg"]
    assert "has no data source with the uid mimir." in result["msg"]
    assert result["datasources"]["supersonic-prometheus"] == ""


@pytest.mark.parametrize("entry", [{}, {"token": "wrong-token-77"}, {"password": "wrong-password-77"}])
def test_who_may_not(grafana: Grafana, entry: dict[str, str]) -> None:
    result = ask(grafana, **entry)
    assert "Give the token of a service account" in result["msg"]
    assert "wrong" not in str(result)


def test_what_is_no_grafana(grafana: Grafana) -> None:
    page, guard = Page("<html>"), Guard("http://127.0.0.1:1", TOKEN)
    try:
        assert "has no API there" in ask(grafana, url=f"http://{page.address}")["msg"]
        assert "is a log-in in front of it?" in ask(grafana, url=f"http://{guard.address}/login")["msg"]
    finally:
        page.stop()
        guard.stop()
    (closed,) = free_ports(1)
    assert "cannot be reached" in ask(grafana, url=f"http://127.0.0.1:{closed}")["msg"]


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run, in check mode and as verbose as people get, of the role's tasks about Grafana: the hosts show a token or
    a password to one that is well and to one that is not, and the last one's is in a cluster that does not answer."""
    folder = tmp_path_factory.mktemp("proved")
    (closed,) = free_ports(1)
    kubeconfig = {
        "current-context": "gone",
        "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": "gone"}}],
        "clusters": [{"name": "gone", "cluster": {"server": f"https://127.0.0.1:{closed}"}}],
        "users": [{"name": "gone", "user": {"token": "none"}}],
    }
    (folder / "kubeconfig").write_text(json.dumps(kubeconfig))
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_name": "seen",
        "supersonic_namespace": "nowhere",
        "supersonic_kubeconfig": str(folder / "kubeconfig"),
        "supersonic_components": ["grafana", "tempo"],
    }
    with contextlib.ExitStack() as stack:
        hosts: dict[str, dict[str, str]] = {"managed": {"verify_grafana_password": PASSWORD}}
        for state in ("well", "broken"):
            server = watching()
            stack.callback(server.stop)
            if state == "broken":
                server.datasources["supersonic-tempo"] = ("ERROR", "no such host")
            for variable, secret in (("token", TOKEN), ("password", PASSWORD)):
                hosts[f"{state}-{variable}"] = {
                    "verify_grafana_url": server.url,
                    f"verify_grafana_{variable}": secret,
                }
        (folder / "hosts.json").write_text(json.dumps({"supersonic_instances": {"hosts": hosts, "vars": common}}))
        role = {"name": "fastml.supersonic.verify", "tasks_from": "grafana", "rolespec_validate": False}
        tasks = [{"name": "Ask", "ansible.builtin.include_role": role}]
        (folder / "play.json").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        yield run_playbook(folder / "play.json", folder / "hosts.json", "--check", "-vvv")


@pytest.mark.parametrize("variable", ["token", "password"])
def test_the_proof_asks_all_data_sources(proved: Run, variable: str) -> None:
    assert proved.recap[f"well-{variable}"]["failed"] == 0, proved.output
    assert re.search(rf"^ok: \[well-{variable}\](?:(?!^\S).)*supersonic-tempo", proved.output, re.M | re.S)
    assert proved.recap[f"broken-{variable}"]["failed"] == 1
    assert "cannot use its data source supersonic-tempo: no such host" in proved.failures(f"broken-{variable}")


@pytest.mark.parametrize("secret", [TOKEN, PASSWORD])
def test_the_proof_tells_no_secret(proved: Run, secret: str) -> None:
    assert secret not in proved.output
    assert base64.b64encode(f"admin:{secret}".encode()).decode() not in proved.output


def test_the_proof_finds_the_managed_one_through_the_kubernetes_api(proved: Run) -> None:
    assert proved.recap["managed"]["failed"] == 1
    said = proved.failures("managed")
    assert "The Kubernetes API at https://127.0.0.1:" in said
    assert "http://seen-grafana.nowhere.svc.cluster.local:3000" in said
