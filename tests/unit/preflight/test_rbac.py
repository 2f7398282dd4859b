# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Role of an instance, and the table."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._preflight import findings_table, rbac
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.asked_services import asked_services
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.role_variables import of_host
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE

DEFAULTS = yaml.safe_load((CLONE / "roles/preflight/defaults/main.yml").read_text())
FEATURES = DEFAULTS["preflight_feature_permissions"]
PERMISSIONS = [
    {"resource": "pods", "verbs": ["get", "list"]},
    {"resource": "services", "verbs": ["patch", "get", "create"]},
    {"resource": "configmaps", "verbs": ["create", "get", "patch"]},
    {"resource": "pods", "verbs": ["create"]},
    {"group": "apps", "resource": "deployments", "verbs": ["get"]},
]


def test_a_role_has_every_right_once_and_in_order() -> None:
    rights = rbac.rights(PERMISSIONS)
    assert rbac.rules(rights) == [
        {"apiGroups": [""], "resources": ["configmaps", "services"], "verbs": ["get", "create", "patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "create"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]},
    ]
    assert rbac.rules(reversed(rights)) == rbac.rules(rights)


def test_a_role_grants_exactly_what_every_feature_needs() -> None:
    wanted = [*DEFAULTS["preflight_permissions"], *(item for items in FEATURES.values() for item in items)]
    rights = set(rbac.rights(wanted))
    granted = [
        (verb, resource, group)
        for rule in rbac.rules(rights)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    assert len(granted) == len(set(granted))
    assert set(granted) == rights
    assert not any("*" in right for right in granted)


@pytest.mark.parametrize(
    ("wanted", "who", "subject"),
    [
        ({}, {"username": "alice"}, {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}),
        ({}, {"username": "system:serviceaccount:ci:bot"},
         {"kind": "ServiceAccount", "name": "bot", "namespace": "ci"}),
        ({}, {}, None),
        ({"kind": "Group", "name": "cms"}, {"username": "alice"},
         {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "cms"}),
        ({"kind": "ServiceAccount", "name": "bot"}, {}, {"kind": "ServiceAccount", "name": "bot", "namespace": "cms"}),
    ],
)  # fmt: skip
def test_whom_a_role_is_for(wanted: dict[str, str], who: dict[str, str], subject: dict[str, str] | None) -> None:
    assert rbac.subject(wanted, who, "cms") == subject


@pytest.mark.parametrize(
    ("create", "kinds"),
    [(False, ["Role", "RoleBinding"]), (True, ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"])],
)
def test_only_a_namespace_that_is_made_takes_a_cluster_role(create: bool, kinds: list[str]) -> None:
    rights = rbac.rights(PERMISSIONS)
    subject = rbac.subject({}, {"username": "alice"}, "cms")
    found = rbac.manifests("main", "cms", rights, subject, create_namespace=create)
    assert [item["kind"] for item in found] == kinds
    for item in found:
        kubernetes_validate.validate(item, "1.34", strict=True)
        # What is cluster-wide is about the one namespace.
        assert item["metadata"].get("namespace", "cms") == "cms"
    wide = [rule for item in found if item["kind"] == "ClusterRole" for rule in item["rules"]]
    assert all(rule["resources"] == ["namespaces"] for rule in wide)
    assert not rbac.manifests("main", "cms", rights, None)[1:], "without a subject there is no binding"


def test_roles_for_a_set_of_manifests() -> None:
    """What is cluster-wide is in the ClusterRole, and nothing else; that it is enough is seen on a cluster."""
    version = "rbac.authorization.k8s.io/v1"
    reference = {"kind": "ClusterRole", "name": "a"}
    documents = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}},
        {"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": "a"}},
        {
            "apiVersion": version,
            "kind": "RoleBinding",
            "metadata": {"name": "a", "namespace": "b"},
            "roleRef": reference,
        },
    ]
    byproducts = [{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}}]
    found = rbac.of_manifests(documents, "deployer", "own", {"kind": "User", "name": "alice"}, byproducts)
    assert [(item["kind"], item["metadata"].get("namespace")) for item in found] == [
        ("ClusterRole", None), ("ClusterRoleBinding", None), ("Role", "b"), ("RoleBinding", "b"), ("Role", "own"),
        ("RoleBinding", "own"),
    ]  # fmt: skip
    rights = {
        (item["metadata"].get("namespace", ""), resource): rule["verbs"]
        for item in found
        for rule in item.get("rules", [])
        for resource in rule["resources"]
    }
    assert {resource for place, resource in rights if not place} == {"namespaces", "clusterroles"}
    assert {"escalate", "bind"} <= set(rights["", "clusterroles"])
    assert rights["b", "deployments"] == ["list"], "what has gone out of the set is looked for everywhere"
    assert "create" in rights["b", "rolebindings"]
    assert rights["own", "leases"] == ["get", "delete"]
    assert not [item for item in rbac.of_manifests(documents, "d", "own") if "Binding" in item["kind"]]


# ---- the table -------------------------------------------------------------------------------------------------------


def row(check: str, severity: str, subject: str = "a", found: str = "It is so.", action: str = "") -> dict[str, str]:
    return {
        "check": check,
        "severity": severity,
        "subject": subject,
        "found": found,
        "action": action,
        "why": "of this",
    }


RESULT: dict[str, Any] = {
    "namespace": {"name": "cms", "phase": "Active"},
    "version": "v1.34.4",
    "findings": [
        row("version", "ok"),
        row("permissions", "error", "pods", "We may not list pods.", "Ask for a Role."),
        row("permissions", "error", "services", "We may not get services.", "Ask for a Role."),
        row("quota", "info", "q", "It may not be read."),
        row("gpus", "warning", "nvidia.com/gpu", "Room for 1 of 2.", "Wait."),
        row("claims", "ok"),
        row("claims", "ok", "b"),
    ],
    "permissions": [
        {"verb": "list", "resource": "pods", "group": "", "held": False},
        {"verb": "get", "resource": "pods", "group": "", "held": True},
        {"verb": "get", "resource": "services", "group": "", "held": False},
    ],
    "role": [],
}
AWAY = {"msg": "The Kubernetes API at https://away cannot be reached."}


def test_short_table() -> None:
    assert findings_table.table({"one": RESULT, "two": AWAY}).splitlines() == [
        "one (namespace cms): 2 errors, 1 warning, 1 not known, 3 right",
        "  error    permissions  pods",
        "  error    permissions  services",
        "  warning  gpus         nvidia.com/gpu: Room for 1 of 2. Wait.",
        "  right: version, claims",
        "  not known: quota",
        "two: 1 error",
        "  error  version  the cluster",
    ]


def test_full_table() -> None:
    assert findings_table.table({"one": RESULT}, full=True).splitlines() == [
        "one (namespace cms): 2 errors, 1 warning, 1 not known, 3 right",
        "  ok       version      a: It is so.",
        "  error    permissions  pods: We may not list pods.",
        "                        To do: Ask for a Role.",
        "                        Why: of this.",
        "  error    permissions  services: We may not get services.",
        "                        To do: Ask for a Role.",
        "  info     quota        q: It may not be read.",
        "  warning  gpus         nvidia.com/gpu: Room for 1 of 2.",
        "                        To do: Wait.",
        "  ok       claims       a: It is so.",
        "  ok       claims       b: It is so.",
        "  Rules of a Role that are missing:",
        '    - {apiGroups: [""], resources: [pods], verbs: [list]}',
        '    - {apiGroups: [""], resources: [services], verbs: [get]}',
    ]
    # What is printed can be copied.
    text = findings_table.missing_text(RESULT).partition("\n")[2]
    assert yaml.safe_load(text) == findings_table.missing_rules(RESULT)


def test_long_sentences_are_wrapped() -> None:
    long = {**RESULT, "findings": [row("quota", "error", "q", "word " * 60, "Ask.")]}
    lines = findings_table.table({"one": long}, full=True).splitlines()
    assert max(map(len, lines)) <= findings_table.WIDTH
    assert sum("word" in line for line in lines) > 2


def test_report() -> None:
    found = findings_table.report(RESULT)
    assert (found["namespace"], found["version"], found["errors"], found["warnings"]) == ("cms", "v1.34.4", 2, 1)
    assert found["findings"] == RESULT["findings"]
    away = findings_table.report(AWAY)
    assert (away["errors"], away["findings"][0]["found"]) == (1, AWAY["msg"])
    assert json.loads(json.dumps(away)) == away


# ---- rights that follow from where something is ----------------------------------------------------------------------

OUTSIDE = {"prometheus_mode": "existing", "supersonic_prometheus_url": "https://prometheus.example.org"}
OWN = {"supersonic_prometheus_url": "http://prometheus.cms.svc.cluster.local:9090"}
THEIRS = {"supersonic_prometheus_url": "http://prometheus-operated.monitoring.svc:9090"}
GRAFANA = {"supersonic_components": ["grafana"], **OUTSIDE}
PASSWORD = {**GRAFANA, "grafana_admin_password": "correct-horse-battery"}
ENDPOINT = {"supersonic_tracing": {"endpoint": "otel.example.org:4317"}}


@pytest.mark.parametrize(
    ("variables", "namespaces"),
    [
        ({}, ""),
        ({"supersonic_components": ["prometheus"]}, "cms"),
        ({"supersonic_components": ["prometheus", "autoscaler"], **OUTSIDE}, ""),
        ({"supersonic_components": ["prometheus"], **OUTSIDE, **OWN}, "cms"),
        ({"supersonic_components": ["prometheus"], **OUTSIDE, **THEIRS}, "monitoring"),
        ({"supersonic_components": ["autoscaler"], **OWN}, "cms"),
        ({"supersonic_components": ["autoscaler"], **OWN, "autoscaler_check_queries": False}, ""),
        (OWN, ""),
        ({**OWN, "verify_prometheus": "always"}, "cms"),
        ({**OWN, "verify_dashboards": "always"}, "cms"),
        # Its own Grafana, which backup.yml asks, and the proof.
        (PASSWORD, "cms"),
        ({**PASSWORD, "preflight_backup": False}, ""),
        ({**GRAFANA, "grafana_admin_secret": {"name": "a"}}, ""),
        ({**GRAFANA, **OWN}, "cms"),
        ({**GRAFANA, **OWN, "verify_dashboards": "never"}, ""),
        ({**GRAFANA, "verify_grafana_token": "a", "preflight_backup": False}, "cms"),
        ({**PASSWORD, "verify_grafana_password": "a", "verify_grafana_url": "https://grafana.example.org"}, ""),
        ({**GRAFANA, "grafana_mode": "existing", "grafana_delivery": "api", "grafana_url": "http://g.monitoring.svc"},
         "monitoring"),
        ({**PASSWORD, "grafana_mode": "existing"}, ""),
        # Traces.
        ({"supersonic_components": ["tempo"]}, "cms"),
        ({"supersonic_components": ["otel_collector"]}, "cms"),
        ({"supersonic_components": ["otel_collector"], "supersonic_tracing": {"endpoint": "otel.monitoring.svc:4317"}},
         "monitoring"),
        ({"supersonic_components": ["otel_collector"], **ENDPOINT}, ""),
        ({**ENDPOINT, "supersonic_tempo_url": "http://tempo.cms.svc:3200"}, "cms"),
        ({**ENDPOINT, "supersonic_tempo_url": "http://tempo.cms.svc:3200", "verify_traces": False}, ""),
        ({"supersonic_components": ["prometheus", "tempo"], **THEIRS}, "monitoring cms"),
        # Somebody else has said so.
        ({"supersonic_components": ["autoscaler"], "supersonic_prometheus_url": "prometheus.cms.svc"}, ""),
    ],
)  # fmt: skip
def test_which_services_are_asked(variables: dict[str, Any], namespaces: str) -> None:
    found = asked_services(of_host({"supersonic_namespace": "cms", **variables}))
    assert [item["namespace"] for item in found] == namespaces.split()
