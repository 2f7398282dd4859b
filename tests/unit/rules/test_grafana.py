# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What does not fit together in the variables of Grafana is said before anything changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.across_hosts import check_instances
from ansible_collections.fastml.supersonic.tests.harness.variables import sentences

ROLE = Path(__file__).resolve().parents[3] / "roles" / "grafana"
RIGHT: dict[str, Any] = {
    **yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()),
    "grafana_admin_password": "correct-horse-battery",
    "supersonic_name": "main",
}
SPEC = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
SECRET = {"grafana_admin_password": "", "grafana_admin_secret": {"name": "grafana-admin"}}
EXISTING = {"grafana_mode": "existing", "grafana_admin_password": ""}
API = {**EXISTING, "grafana_delivery": "api", "grafana_url": "https://grafana.example.org", "grafana_token": "geheim"}


def said(changes: dict[str, Any]) -> list[str]:
    return sentences({**RIGHT, **changes}, SPEC)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        SECRET,
        {**SECRET, "grafana_admin_secret": {"name": "grafana-admin", "password_key": "password"}},
        EXISTING,
        {"grafana_anonymous": True},
        {"grafana_ingress": {"host": "grafana.example.org", "tls": True, "annotations": {"a": "b"}}},
        {"grafana_root_url": "https://example.org/grafana/"},
        {"grafana_extra_configuration": {"auth.ldap": {"enabled": True}, "server": {"serve_from_sub_path": True}}},
        {"grafana_extra_datasources": [{"name": "Logs", "type": "loki", "uid": "logs"}]},
        {"grafana_metric_labels": {"namespace": "exported_namespace"}, "grafana_dashboards": ["models"]},
        {"grafana_pod_spec_overrides": {"containers": [{"name": "grafana", "env": [{"name": "A"}]}]}},
        {"grafana_persistent": True, "grafana_clients_from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]},
        API,
        {**EXISTING, "grafana_folder": "", "grafana_folder_annotation": "example.org/folder"},
    ],
)
def test_what_is_right_is_not_refused(changes: dict[str, Any]) -> None:
    assert said(changes) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"grafana_admin_password": ""},
            r"grafana_admin_password: .*there is none by default\. .*grafana_admin_secret",
        ),
        ({**SECRET, "grafana_admin_password": "geheim-geheim"}, r"comes from grafana_admin_secret already"),
        ({"grafana_admin_password": "geheim"}, r"grafana_admin_password: .*12 characters or more"),
        ({**SECRET, "grafana_admin_secret": {"password_key": "a"}}, r"grafana_admin_secret: the key name is missing"),
        ({**SECRET, "grafana_admin_secret": {"name": "A b"}}, r"grafana_admin_secret\.name .*no name of a Secret"),
        ({**SECRET, "grafana_admin_secret": {"nam": "a"}}, r"grafana_admin_secret\.nam.*Did you mean name"),
        ({"grafana_admin_user": ""}, r"grafana_admin_user: .*needs a name"),
        ({"grafana_mode": "extern"}, r"grafana_mode .*one of managed, existing"),
        ({"grafana_dashboards": []}, r"grafana_dashboards .*nothing to do"),
        ({"grafana_dashboards": ["gpus"]}, r"grafana_dashboards\[0\] .*one of service, servers"),
        ({"grafana_scrape_interval": 0}, r"grafana_scrape_interval is 0: .*1 or more"),
        ({"prometheus_scrape_interval": 15}, r"grafana_scrape_interval is 2: .*every 15 s .*Set it to 15"),
        ({"grafana_metric_labels": {"pod": "a-b"}}, r"grafana_metric_labels\.pod .*no name of a label"),
        ({"grafana_metric_labels": {"node": "a"}}, r"grafana_metric_labels\.node.*"),
        ({"grafana_root_url": "grafana:3000"}, r"grafana_root_url: it has to be http://HOST:PORT"),
        ({"grafana_root_url": "https://geheim@example.org"}, r"grafana_root_url: it has to be .*without a user"),
        ({"grafana_image": "grafana:latest"}, r"grafana_image .*a tag other than latest"),
        ({"grafana_size": "0"}, r"grafana_size .*above zero"),
        ({"grafana_access_modes": []}, r"grafana_access_modes .*at least one"),
        ({"grafana_ingress": {"class_name": "nginx"}}, r"grafana_ingress: the key host is missing"),
        ({"grafana_ingress": {"host": "https://a"}}, r"grafana_ingress\.host .*without scheme"),
        (
            {"grafana_ingress": {"host": "a.org", "tls": False, "tls_secret": "b"}},
            r"grafana_ingress\.tls .*names a certificate",
        ),
        ({"grafana_ingress": {"host": "a.org", "annotations": {"a": 1}}}, r"grafana_ingress\.annotations\.a is 1"),
        (
            {"grafana_extra_configuration": {"auth.anonymous": {"org_role": "Admin"}}},
            r"configuration\.auth\.anonymous\.org_role: who comes without a login is a viewer",
        ),
        (
            {"grafana_extra_configuration": {"security": {"admin_password": "geheim"}}},
            r"security\.admin_password: it is set by grafana_admin_password",
        ),
        ({"grafana_extra_configuration": {"auth": {"disable_login_form": True}}}, r"locked out"),
        ({"grafana_extra_configuration": {"users": {"auto_assign_org_role": "Admin"}}}, r"is a viewer"),
        ({"grafana_extra_configuration": {"paths": {"data": "/x"}}}, r"the role mounts what is there"),
        ({"grafana_extra_configuration": {"a": "b"}}, r"configuration\.a: a section has keys"),
        ({"grafana_extra_configuration": {"a": {"b": "c\nd"}}}, r"configuration\.a\.b: .*one line of text"),
        ({"grafana_secrets": ["a/b"]}, r"grafana_secrets\[0\] .*no name of a Secret"),
        ({"grafana_extra_datasources": [{"name": "a"}]}, r"datasources\[0\]: the key type is missing"),
        (
            {"grafana_extra_datasources": [{"name": "Prometheus", "type": "prometheus"}]},
            r"datasources\[0\]\.name .*of this name already",
        ),
        ({"grafana_clients_from": [{"podselector": {}}]}, r"grafana_clients_from\[0\]\.podselector .*Did you mean"),
        ({"grafana_tolerations": [{"keys": "a"}]}, r"grafana_tolerations\[0\]\.keys .*Did you mean key\?"),
        ({"grafana_security_context": {"runAsUsr": 1}}, r"grafana_security_context\.runAsUsr .*Did you mean"),
        ({"grafana_resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}}, r"a request cannot be above"),
        ({"grafana_pod_labels": {"a": 1}}, r"grafana_pod_labels\.a is 1"),
        ({"grafana_annotations": {"a": 1}}, r"grafana_annotations\.a is 1: .*put it in quotes"),
        (
            {"grafana_pod_spec_overrides": {"containers": [{"name": "x"}]}},
            r"no container of this name, but grafana",
        ),
        ({**API, "grafana_url": ""}, r"grafana_url: .*set it, or grafana_delivery: configmaps"),
        ({**API, "grafana_url": "grafana"}, r"grafana_url: it has to be http://HOST:PORT"),
        ({**API, "grafana_token": ""}, r"grafana_token: .*token of a service account"),
        ({**API, "grafana_folder": ""}, r"grafana_folder: .*have a folder"),
        ({**API, "grafana_folder_uid": "a/b"}, r"grafana_folder_uid .*at most 40"),
        ({**EXISTING, "grafana_sidecar_label": "a b"}, r"grafana_sidecar_label .*no key of a Kubernetes label"),
        ({**EXISTING, "grafana_sidecar_label_value": "a b"}, r"sidecar_label_value .*no value of a Kubernetes label"),
        (
            {**EXISTING, "grafana_folder_annotation": "-"},
            r"grafana_folder_annotation .*no key of a Kubernetes annotation",
        ),
    ],
)
def test_what_is_wrong_is_said_once(changes: dict[str, Any], message: str) -> None:
    (problem,) = said(changes)
    assert re.search(message, problem), problem
    assert "geheim" not in problem


def test_two_instances_do_not_share_an_address() -> None:
    ingress = {
        "grafana_ingress": {"host": "grafana.example.org"},
        "supersonic_kubeconfig": "/a",
        "supersonic_namespace": "cms",
    }
    hosts = {name: {**ingress, "supersonic_name": name} for name in ("one", "two")}
    (problem,) = check_instances("one", hosts)
    assert "host two has the same name" in problem.sentence()
