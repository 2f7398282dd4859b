# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role grafana on the real API, in a namespace that lets nothing in but restricted pods. Its image cannot be had
here, so that no Grafana starts, and nobody waits for it; an existing one is a server that answers as its API is
documented."""

from __future__ import annotations

import configparser
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.grafana import Grafana
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, Object
from ansible_collections.fastml.supersonic.tests.harness.playbooks import Run, instance_inventory, run_playbook
from ansible_collections.fastml.supersonic.tests.harness.processes import free_ports, until

NAME = "seen"
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


@dataclass
class Life:
    """What happened, step by step."""

    cluster: Cluster
    namespace: str
    runs: dict[str, Run] = field(default_factory=dict)
    objects: dict[str, dict[str, Object]] = field(default_factory=dict)
    pods: list[Object] = field(default_factory=list)
    grafana: Grafana = field(default_factory=lambda: Grafana(TOKEN))
    delivered: dict[str, Any] = field(default_factory=dict)
    # What is in the site's after a teardown.
    dashboards: dict[str, set[str]] = field(default_factory=dict)

    def look(self) -> dict[str, Object]:
        """What there is of the instance, by kind."""
        found = {}
        for plural, group in KINDS.items():
            for item in self.cluster.api.list(f"{group}/namespaces/{self.namespace}/{plural}", plural):
                # Nobody waits for what goes.
                if item["metadata"]["name"] == f"{NAME}-grafana" and "deletionTimestamp" not in item["metadata"]:
                    found[plural] = item
        return found


@pytest.fixture(scope="module")
def life(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder = tmp_path_factory.mktemp("grafana")
    namespace = cluster.new_namespace({"pod-security.kubernetes.io/enforce": "restricted"})
    variables = {
        "supersonic_namespace": namespace,
        "supersonic_create_namespace": False,
        "grafana_admin_password": PASSWORD,
        "grafana_wait": False,
    }
    inventory = instance_inventory(folder, {NAME: variables})
    play = folder / "grafana.yml"
    tasks = [{"name": "See", "ansible.builtin.include_role": {"name": "fastml.supersonic.grafana"}}]
    play.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    found = Life(cluster, namespace)

    def run(step: str, *arguments: str, **extra: Any) -> None:
        found.runs[step] = run_playbook(play, inventory, *arguments, extra=extra)
        found.objects[step] = found.look()

    try:
        run("no password", grafana_admin_password="")
        run("check", "--check", "--diff", **EVERYTHING)
        run("managed", "--diff", **EVERYTHING)
        pods = f"/api/v1/namespaces/{namespace}/pods"
        found.pods = until(lambda: cluster.api.list(pods, "pods"), 30)
        run("again", **EVERYTHING)
        found.runs["site"] = run_playbook(
            "site.yml", inventory, "--tags", "grafana", extra={**EVERYTHING, "supersonic_components": ["grafana"]}
        )
        run("another password", "--diff", **EVERYTHING, grafana_admin_password=PASSWORD + "-2")
        run("fewer", **EVERYTHING, grafana_admin_password=PASSWORD + "-2", grafana_dashboards=["service"])
        run("existing", grafana_mode="existing")
        run("existing again", grafana_mode="existing")
        api = {"grafana_mode": "existing", "grafana_delivery": "api", "grafana_url": found.grafana.url,
               "grafana_token": TOKEN, "grafana_datasource": "prometheus"}  # fmt: skip
        run("by the API", **api)
        found.delivered = dict(found.grafana.dashboards)
        run("by the API again", **api)
        (closed,) = free_ports(1)
        for step, more in {
            "of another": {},
            "without Grafana": {"supersonic_components": ["grafana"], "grafana_url": f"http://127.0.0.1:{closed}"},
            "of their owner": {"supersonic_components": ["grafana"]},
        }.items():
            found.runs[f"teardown {step}"] = run_playbook("playbooks/teardown.yml", inventory, extra={**api, **more})
            found.dashboards[step] = set(found.grafana.dashboards)
        run("by the API once more", **api)
        run("away from the API", **api, grafana_state="absent")
        run("managed once more", **EVERYTHING)
        found.runs["teardown"] = run_playbook("playbooks/teardown.yml", inventory, extra={"grafana_wait": True})
        found.objects["teardown"] = found.look()
        run("absent", grafana_state="absent", grafana_wait=True)
        run("absent, and the claim", grafana_state="absent", grafana_wait=True, grafana_remove_claim=True)
        run("absent again", grafana_state="absent", grafana_remove_claim=True)
        yield found
    finally:
        found.grafana.stop()
        cluster.remove_namespace(namespace)


def test_without_a_password_nothing_changes(life: Life) -> None:
    assert life.runs["no password"].code != 0
    assert "there is none by default" in life.runs["no password"].text
    assert life.objects["no password"] == {}


def test_check_mode_tells_what_would_be_made(life: Life) -> None:
    assert life.runs["check"].code == 0, life.runs["check"].output
    assert life.runs["check"].changed(NAME) == 1
    assert life.objects["check"] == {}


def test_everything_is_there(life: Life) -> None:
    assert life.runs["managed"].code == 0, life.runs["managed"].output
    assert set(life.objects["managed"]) == set(KINDS)
    sources = yaml.safe_load(life.objects["managed"]["configmaps"]["data"]["datasources.yaml"])["datasources"]
    assert [item["url"] for item in sources] == ["https://prometheus.example.org"]
    assert sources[0]["jsonData"]["tlsSkipVerify"] is False


def test_a_restricted_namespace_lets_the_pod_in(life: Life) -> None:
    """It waits for its image alone."""
    (pod,) = life.pods
    assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "grafana"
    assert pod["spec"]["securityContext"]["runAsUser"] == 472
    assert not any(volume["name"].startswith("kube-api-access") for volume in pod["spec"]["volumes"])


def test_who_gets_in(life: Life) -> None:
    ini = configparser.ConfigParser(interpolation=None)
    ini.read_string(life.objects["managed"]["configmaps"]["data"]["grafana.ini"])
    assert ini["auth.anonymous"]["enabled"] == "false"
    assert ini["auth.anonymous"]["org_role"] == ini["users"]["auto_assign_org_role"] == "Viewer"
    assert ini["auth"]["disable_login_form"] == "false"
    assert ini["security"]["cookie_secure"] == "true"
    assert ini["security"]["admin_password"] == "$__file{/etc/grafana-own/admin-password}"
    assert PASSWORD not in json.dumps(life.objects["managed"]["configmaps"])
    assert TOKEN not in json.dumps(life.objects["managed"]["configmaps"])


def test_secrets_are_in_no_output(life: Life) -> None:
    for done in life.runs.values():
        assert PASSWORD not in done.output
        assert TOKEN not in done.output


@pytest.mark.parametrize("step", ["again", "existing again", "by the API again", "absent again"])
def test_a_second_run_changes_nothing(life: Life, step: str) -> None:
    assert life.runs[step].code == 0, life.runs[step].output
    assert life.runs[step].changed(NAME) == 0


def test_the_playbook_asks_the_cluster_and_finds_nothing_to_change(life: Life) -> None:
    assert life.runs["site"].code == 0, life.runs["site"].output
    assert life.runs["site"].changed(NAME) == 0
    assert "What Grafana needs is present" in life.runs["site"].text


def template(life: Life, step: str) -> Object:
    found: Object = life.objects[step]["deployments"]["spec"]["template"]
    return found


def test_another_password_takes_another_pod(life: Life) -> None:
    assert template(life, "again") == template(life, "managed")
    before, after = (template(life, step)["metadata"]["annotations"] for step in ("again", "another password"))
    assert [key for key in before if before[key] != after[key]] == ["supersonic.fastml.org/secret"]


def test_fewer_dashboards_are_fewer_files(life: Life) -> None:
    data = life.objects["fewer"]["configmaps"]["data"]
    assert sorted(data) == ["dashboards.yaml", "datasources.yaml", "grafana.ini", "supersonic-service.json"]


def test_an_existing_one_gets_dashboards_alone(life: Life) -> None:
    assert life.runs["existing"].code == 0, life.runs["existing"].output
    # The claim stays until that is said.
    assert set(life.objects["existing"]) == {"configmaps", "persistentvolumeclaims"}
    found = life.objects["existing"]["configmaps"]
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"]["grafana_folder"] == "SuperSONIC"
    assert {json.loads(text)["uid"] for text in found["data"].values()} == {
        f"supersonic-{key}" for key in ("service", "servers", "models", "scaling", "gateway")
    }


def test_the_api_of_an_existing_one_gets_them(life: Life) -> None:
    assert life.runs["by the API"].code == 0, life.runs["by the API"].output
    # What was applied before goes.
    assert set(life.objects["by the API"]) == {"persistentvolumeclaims"}
    assert set(life.delivered) == {
        f"supersonic-{key}" for key in ("service", "servers", "models", "scaling", "gateway")
    }
    assert life.runs["away from the API"].code == 0, life.runs["away from the API"].output
    assert life.grafana.dashboards == {}
    assert life.grafana.folders == {}


def test_teardown_takes_dashboards_away_where_its_instance_has_brought_them(life: Life) -> None:
    for step in ("of another", "without Grafana", "of their owner"):
        assert life.runs[f"teardown {step}"].code == 0, life.runs[f"teardown {step}"].output
    assert life.dashboards == {
        "of another": set(life.delivered), "without Grafana": set(life.delivered), "of their owner": set()
    }  # fmt: skip
    warning = "WARNING: the dashboards in the folder SuperSONIC are left. Grafana (http://127.0.0.1:"
    assert warning in life.runs["teardown without Grafana"].text
    assert "cannot be reached" in life.runs["teardown without Grafana"].text
    for step in ("of another", "of their owner"):
        assert warning not in life.runs[f"teardown {step}"].text


def test_teardown_leaves_the_claim_and_says_so(life: Life) -> None:
    assert life.runs["teardown"].code == 0, life.runs["teardown"].output
    assert set(life.objects["teardown"]) == {"persistentvolumeclaims"}
    assert f"What users of Grafana have made in the claim {NAME}-grafana" in life.runs["teardown"].text


def test_nothing_is_left(life: Life) -> None:
    assert set(life.objects["absent"]) == {"persistentvolumeclaims"}
    assert life.objects["absent, and the claim"] == {}
    left = life.cluster.api.list(f"/api/v1/namespaces/{life.namespace}/configmaps", "configmaps")
    assert {item["metadata"]["name"] for item in left} == {"kube-root-ca.crt"}
