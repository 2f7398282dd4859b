# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role grafana on the real API, in a namespace that lets nothing in but restricted pods. Its image cannot be had
here, so that no Grafana starts, and nobody waits for it; an existing one is a server that answers as its API is
documented."""

from __future__ import annotations

import configparser
import contextlib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.grafana import Grafana
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, Object
from ansible_collections.fastml.supersonic.tests.harness.playbooks import Run, instance_inventory, run_playbook
from ansible_collections.fastml.supersonic.tests.harness.processes import free_ports, until

PASSWORD = "a-planted-password-3f1d"
TOKEN = "a-planted-token-77aa"
KINDS = {
    "configmaps": "/api/v1",
    "secrets": "/api/v1",
    "services": "/api/v1",
    "persistentvolumeclaims": "/api/v1",
    "deployments": "/apis/apps/v1",
    "ingresses": "/apis/networking.k8s.io/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
}
EVERYTHING = {
    "grafana_persistent": True,
    "grafana_ingress": {"host": "grafana.example.org", "tls": True},
    "supersonic_prometheus_url": "https://prometheus.example.org",
    "supersonic_prometheus_token": TOKEN,
}
ABSENT = {"grafana_state": "absent", "grafana_wait": True}


@dataclass
class Life:
    """What happened, step by step; in one step several hosts, each an instance of the namespace."""

    cluster: Cluster
    namespace: str
    folder: Path
    runs: dict[str, Run] = field(default_factory=dict)
    # What there is after a step, by host and kind.
    objects: dict[str, dict[str, dict[str, Object]]] = field(default_factory=dict)
    pods: list[Object] = field(default_factory=list)
    grafanas: list[Grafana] = field(default_factory=lambda: [Grafana(TOKEN), Grafana(TOKEN)])
    # What the first of the site's has had.
    dashboards: dict[str, set[str]] = field(default_factory=dict)

    def look(self) -> dict[str, dict[str, Object]]:
        found: dict[str, dict[str, Object]] = defaultdict(dict)
        for plural, group in KINDS.items():
            for item in self.cluster.api.list(f"{group}/namespaces/{self.namespace}/{plural}", plural):
                host, _dash, what = item["metadata"]["name"].rpartition("-")
                # Nobody waits for what goes.
                if what == "grafana" and "deletionTimestamp" not in item["metadata"]:
                    found[host][plural] = item
        return found

    def run(self, step: str, *arguments: str, playbook: str = "", **hosts: dict[str, Any]) -> None:
        """A run of the role, or of a playbook, for hosts with these variables."""
        folder = self.folder / step.replace(" ", "-")
        common = {
            "supersonic_namespace": self.namespace,
            "supersonic_create_namespace": False,
            "grafana_admin_password": PASSWORD,
            "grafana_wait": False,
        }
        inventory = instance_inventory(folder, {host: {**common, **more} for host, more in hosts.items()})
        task = {"name": "See", "ansible.builtin.include_role": {"name": "fastml.supersonic.grafana"}}
        (folder / "grafana.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
        self.runs[step] = run_playbook(playbook or folder / "grafana.yml", inventory, *arguments)
        self.objects[step] = self.look()
        self.dashboards[step] = set(self.grafanas[0].dashboards)

    def counts(self, step: str, host: str) -> dict[str, int]:
        """How a host has ended: that it has not failed is for the test to say."""
        return self.runs[step].recap[host]


@contextlib.contextmanager
def living(cluster: Cluster, folder: Path) -> Iterator[Life]:
    namespace = cluster.new_namespace({"pod-security.kubernetes.io/enforce": "restricted"})
    found = Life(cluster, namespace, folder)
    try:
        yield found
    finally:
        for grafana in found.grafanas:
            grafana.stop()
        cluster.remove_namespace(namespace)


@pytest.fixture(scope="module")
def life(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One that is made, looked at and removed; `closed` has no password."""
    with living(cluster, tmp_path_factory.mktemp("grafana")) as found:
        found.run("check", "--check", "--diff", seen=EVERYTHING)
        found.run("managed", "--diff", seen=EVERYTHING, closed={**EVERYTHING, "grafana_admin_password": ""})
        pods = f"/api/v1/namespaces/{found.namespace}/pods"
        found.pods = until(lambda: cluster.api.list(pods, "pods"), 30)
        playbook = {**EVERYTHING, "supersonic_components": ["grafana"]}
        found.run("site", "--tags", "grafana", playbook="site.yml", seen=playbook)
        found.run("absent", seen={**ABSENT, "grafana_remove_claim": True})
        yield found


@pytest.fixture(scope="module")
def changed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Managed ones that become something else: with `other` passwords, `fewer` dashboards, the dashboards of an
    `existing` Grafana, by a sidecar or by its API (`mine`, and `gone`, to another one)."""
    with living(cluster, tmp_path_factory.mktemp("grafana")) as found:
        every = ("other", "fewer", "existing", "mine", "gone")
        found.run("managed", "--diff", **dict.fromkeys(every, EVERYTHING))
        found.run("again", **dict.fromkeys(every, EVERYTHING))
        existing = {"grafana_mode": "existing"}
        api = {**existing, "grafana_delivery": "api", "grafana_token": TOKEN, "grafana_datasource": "prometheus",
               "grafana_url": found.grafanas[0].url}  # fmt: skip
        then = {
            "other": {**EVERYTHING, "grafana_admin_password": f"{PASSWORD}-2"},
            "fewer": {**EVERYTHING, "grafana_dashboards": ["service"]},
            "existing": existing,
            "mine": api,
            "gone": {**api, "grafana_url": found.grafanas[1].url},
        }
        found.run("then", "--diff", **then)
        found.run("then again", **then)
        teardown = "playbooks/teardown.yml"
        (closed,) = free_ports(1)
        unreachable = {"supersonic_components": ["grafana"], "grafana_url": f"http://127.0.0.1:{closed}"}
        found.run("teardown of others", playbook=teardown, stranger=api, unreached={**api, **unreachable})
        owner = {**api, "supersonic_components": ["grafana"]}
        found.run("teardown", playbook=teardown, mine=owner, other={"grafana_wait": True})
        removed = {**ABSENT, "grafana_remove_claim": True}
        found.run("absent", fewer=ABSENT, existing=removed, gone={**then["gone"], "grafana_state": "absent"})
        # The claims of the others as well, and with them what remembers the sets.
        found.run("absent again", **dict.fromkeys(every, removed))
        yield found


# ---- made, looked at and removed -------------------------------------------------------------------------------------
def test_without_a_password_nothing_changes(life: Life) -> None:
    assert life.counts("managed", "closed")["failed"] == 1
    assert "there is none by default" in life.runs["managed"].text
    assert "closed" not in life.objects["managed"]


def test_check_mode_tells_what_would_be_made(life: Life) -> None:
    assert life.runs["check"].changed("seen") == 1
    assert life.objects["check"] == {}


def test_everything_is_there(life: Life) -> None:
    assert life.counts("managed", "seen")["failed"] == 0, life.runs["managed"].output
    objects = life.objects["managed"]["seen"]
    assert set(objects) == set(KINDS)
    sources = yaml.safe_load(objects["configmaps"]["data"]["datasources.yaml"])["datasources"]
    assert [item["url"] for item in sources] == ["https://prometheus.example.org"]
    assert sources[0]["jsonData"]["tlsSkipVerify"] is False


def test_a_restricted_namespace_lets_the_pod_in(life: Life) -> None:
    """It waits for its image alone."""
    (pod,) = life.pods
    assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "grafana"
    assert pod["spec"]["securityContext"]["runAsUser"] == 472
    assert not any(volume["name"].startswith("kube-api-access") for volume in pod["spec"]["volumes"])


def test_who_gets_in(life: Life) -> None:
    config = life.objects["managed"]["seen"]["configmaps"]
    ini = configparser.ConfigParser(interpolation=None)
    ini.read_string(config["data"]["grafana.ini"])
    assert ini["auth.anonymous"]["enabled"] == "false"
    assert ini["auth.anonymous"]["org_role"] == ini["users"]["auto_assign_org_role"] == "Viewer"
    assert ini["auth"]["disable_login_form"] == "false"
    assert ini["security"]["cookie_secure"] == "true"
    assert ini["security"]["admin_password"] == "$__file{/etc/grafana-own/admin-password}"
    assert PASSWORD not in json.dumps(config)
    assert TOKEN not in json.dumps(config)


def test_secrets_are_in_no_output(life: Life) -> None:
    no_secrets(life)


def no_secrets(life: Life) -> None:
    for done in life.runs.values():
        assert PASSWORD not in done.output
        assert TOKEN not in done.output


def test_the_playbook_asks_the_cluster_and_finds_nothing_to_change(life: Life) -> None:
    assert life.runs["site"].code == 0, life.runs["site"].output
    assert life.runs["site"].changed("seen") == 0
    assert "Apply the objects of Grafana (present)" in life.runs["site"].text


def test_nothing_is_left(life: Life) -> None:
    assert life.runs["absent"].changed("seen") == 1
    assert life.objects["absent"] == {}
    nothing(life)


def nothing(life: Life) -> None:
    left = life.cluster.api.list(f"/api/v1/namespaces/{life.namespace}/configmaps", "configmaps")
    assert {item["metadata"]["name"] for item in left} == {"kube-root-ca.crt"}


# ---- what becomes of managed ones ------------------------------------------------------------------------------------
@pytest.mark.thorough
def test_secrets_of_those_that_change_are_in_no_output(changed: Life) -> None:
    no_secrets(changed)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("step", "host"),
    [("again", "other"), ("then again", "existing"), ("then again", "mine"), ("absent again", "existing")],
)
def test_a_second_run_changes_nothing(changed: Life, step: str, host: str) -> None:
    assert changed.runs[step].changed(host) == 0, changed.runs[step].output


def template(life: Life, step: str) -> Object:
    found: Object = life.objects[step]["other"]["deployments"]["spec"]["template"]
    return found


@pytest.mark.thorough
def test_another_password_takes_another_pod(changed: Life) -> None:
    assert template(changed, "again") == template(changed, "managed")
    before, after = (template(changed, step)["metadata"]["annotations"] for step in ("again", "then"))
    assert [key for key in before if before[key] != after[key]] == ["supersonic.fastml.org/secret"]


@pytest.mark.thorough
def test_fewer_dashboards_are_fewer_files(changed: Life) -> None:
    data = changed.objects["then"]["fewer"]["configmaps"]["data"]
    assert sorted(data) == ["dashboards.yaml", "datasources.yaml", "grafana.ini", "supersonic-service.json"]


DASHBOARDS = {f"supersonic-{key}" for key in ("service", "servers", "models", "scaling", "gateway")}


@pytest.mark.thorough
def test_an_existing_one_gets_dashboards_alone(changed: Life) -> None:
    assert changed.runs["then"].code == 0, changed.runs["then"].output
    # The claim stays until that is said.
    objects = changed.objects["then"]["existing"]
    assert set(objects) == {"configmaps", "persistentvolumeclaims"}
    found = objects["configmaps"]
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"]["grafana_folder"] == "SuperSONIC"
    assert {json.loads(text)["uid"] for text in found["data"].values()} == DASHBOARDS


@pytest.mark.thorough
def test_the_api_of_an_existing_one_gets_them(changed: Life) -> None:
    # What was applied before goes.
    assert set(changed.objects["then"]["mine"]) == {"persistentvolumeclaims"}
    assert changed.dashboards["then"] == DASHBOARDS
    assert changed.runs["absent"].code == 0, changed.runs["absent"].output
    assert changed.runs["absent"].changed("gone") == 1
    assert changed.grafanas[1].dashboards == {}
    assert changed.grafanas[1].folders == {}


@pytest.mark.thorough
def test_teardown_takes_dashboards_away_where_its_instance_has_brought_them(changed: Life) -> None:
    others, own = changed.runs["teardown of others"], changed.runs["teardown"]
    for done in (others, own):
        assert done.code == 0, done.output
    assert changed.dashboards["teardown of others"] == DASHBOARDS
    assert changed.dashboards["teardown"] == set()
    # Of the one that could not be reached, and of no other.
    warning = "WARNING: the dashboards in the folder SuperSONIC are left. Grafana (http://127.0.0.1:"
    assert others.text.count(warning) == 1
    assert "cannot be reached" in others.text
    assert warning not in own.text


@pytest.mark.thorough
def test_teardown_leaves_the_claim_and_says_so(changed: Life) -> None:
    assert set(changed.objects["teardown"]["other"]) == {"persistentvolumeclaims"}
    assert "What users of Grafana have made in the claim other-grafana" in changed.runs["teardown"].text


@pytest.mark.thorough
def test_nothing_is_left_of_those_that_have_changed(changed: Life) -> None:
    assert set(changed.objects["absent"]["fewer"]) == {"persistentvolumeclaims"}
    assert "existing" not in changed.objects["absent"]
    assert changed.runs["absent again"].code == 0, changed.runs["absent again"].output
    nothing(changed)
