# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of the Helm chart become an instance, and no key of them is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration import chart as migration_chart
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration import inventory as migration_inventory
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration import report
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration.chart_values import (
    CHANGED,
    GONE,
    IDLE,
    SAME,
    UNKNOWN,
    Migration,
    Values,
    Wanted,
    leaves,
    load,
    seconds,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration.command import Command, parse
from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module

CLONE = Path(__file__).resolve().parents[3]
VALUES = Path(__file__).resolve().parent / "values"
# The values files of each site and the name of its release.
SITES = {
    "anvil-cms": (["anvil-cms"], "sonic"),
    "geddes-cms": (["geddes-cms"], "sonic-server"),
    "nrp-cms": (["nrp-cms"], "supersonic"),
    "nrp-atlas": (["nrp-atlas"], "traccc-sonic"),
    "nrp-icecube": (["nrp-icecube"], "supersonic"),
    "small": (["minimal"], "supersonic"),
    "small-full": (["minimal", "minimal-full"], "supersonic"),
    "every-key": (["every-key"], "sonic"),
}
CMS = "cms.cern.ch/el9_amd64_gcc12/cms/cmssw/CMSSW_14_1_0_pre7/external/el9_amd64_gcc12/data"
CMS_REPOSITORIES = [
    {"name": "combined", "kind": "cvmfs", "claim": "cvmfs", "path": f"{CMS}/RecoBTag/Combined/data/models"},
    {
        "name": "deeptauidsonic",
        "kind": "cvmfs",
        "claim": "cvmfs",
        "path": f"{CMS}/RecoTauTag/TrainingFiles/data/DeepTauIdSONIC",
    },
    {
        "name": "metpusubtraction",
        "kind": "cvmfs",
        "claim": "cvmfs",
        "path": f"{CMS}/RecoMET/METPUSubtraction/data/models",
    },
]


def files(site: str) -> list[str]:
    return [str(VALUES / f"{name}.yaml.txt") for name in SITES[site][0]]


def of_site(site: str) -> Migration:
    return made(load([(name, Path(name).read_text()) for name in files(site)]), release=SITES[site][1], host=site)


def made(values: dict[str, Any], *, release: str = "sonic", host: str = "site-cms", name: str = "") -> Migration:
    return migration_inventory.migrate(values, Wanted(release, "cms", host, name))


def kinds(result: Migration) -> dict[str, str]:
    return {finding.key: finding.kind for finding in result.findings}


# ---- no key is lost --------------------------------------------------------------------------------------------------


def unaccounted(result: Migration) -> list[str]:
    told = {finding.path for finding in result.findings}
    return [
        ".".join(path)
        for path, _value in leaves(result.values.user)
        if not any(path[:length] in told for length in range(1, len(path) + 1))
    ]


@pytest.mark.parametrize("site", SITES)
def test_every_key_is_accounted_for(site: str) -> None:
    assert unaccounted(of_site(site)) == []


def test_the_file_with_every_key_has_every_key() -> None:
    given = {path for path, _value in leaves(load([("a", (VALUES / "every-key.yaml.txt").read_text())]))}
    for path in [*(path for path, _value in leaves(migration_chart.DEFAULTS)), *migration_chart.FURTHER]:
        free = [path[:length] for length in range(1, len(path)) if path[:length] in migration_chart.FREE]
        place = free[0] if free else path
        # Of what goes through as it is a part will do.
        assert any(other[: len(place)] == place or place[: len(other)] == other for other in given) or (
            place[-2:-1] in (("requests",), ("limits",))
        ), path


def test_every_key_of_the_chart_is_known_and_said() -> None:
    result = of_site("every-key")
    assert [finding.key for finding in result.findings if finding.kind == UNKNOWN] == []
    assert all(finding.text for finding in result.findings if finding.kind != SAME)
    # Whatever says to set a variable names one that exists.
    variables = {variable for finding in result.findings for variable in finding.variables}
    assert variables <= set(defaults()) | {"triton_image", "supersonic_namespace"}


def test_everything_switched_off_is_said_to_be_without_effect() -> None:
    values = load([("a", (VALUES / "every-key.yaml.txt").read_text())])
    for switch in ("keda", "prometheus", "grafana", "tempo", "opentelemetry-collector", "metricsCollector"):
        values[switch]["enabled"] = False
    values["envoy"]["ingress"]["enabled"] = values["envoy"]["auth"]["enabled"] = False
    for limit in values["envoy"]["rate_limiter"].values():
        limit["enabled"] = False
    result = made(values)
    assert unaccounted(result) == []
    assert result.components == []
    found = kinds(result)
    for key in (
        "keda.maxReplicaCount",
        "grafana.resources",
        "tempo.tempo",
        "opentelemetry-collector.config",
        "envoy.ingress.hostName",
        "envoy.auth.audiences",
        "envoy.rate_limiter.listener_level.max_tokens",
        "serverLoadMetric",
        "prometheus.server",
        "metricsCollector.port",
        "envoy.tracing_sampling_rate",
    ):
        assert found[key] == IDLE, key


# ---- sites -----------------------------------------------------------------------------------------------------------


def defaults() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in (CLONE / "roles").glob("*/defaults/main.yml"):
        found.update(yaml.safe_load(path.read_text()))
    return found


@pytest.mark.parametrize("site", SITES)
def test_only_what_differs_from_our_defaults_is_written(site: str) -> None:
    ours = defaults()
    for variable, value in of_site(site).variables.items():
        assert variable not in ours or ours[variable] != value, variable


@pytest.mark.parametrize(
    ("site", "expected", "absent"),
    [
        (
            "anvil-cms",
            {
                "triton_model_repositories": CMS_REPOSITORIES,
                "triton_exit_timeout": 60,
                "triton_termination_grace": 80,
                "triton_flags": {"log-verbose": 1, "backend-config": "onnxruntime,enable-global-threadpool=1"},
                "triton_resources": {s: {"cpu": "2", "memory": "16G"} for s in ("requests", "limits")},
                "envoy_ingress": {"host": "sonic-cms.anvilcloud.rcac.purdue.edu", "controller": "other", "tls": True},
            },
            {"supersonic_components", "triton_gpus", "autoscaler_max_replicas", "triton_extra_args"},
        ),
        (
            "geddes-cms",
            {
                "supersonic_name": "geddes-cms",
                "supersonic_create_namespace": False,
                "supersonic_components": ["prometheus", "grafana", "otel_collector", "tempo", "autoscaler"],
                "triton_gpus": 1,
                "triton_resources": {s: {"cpu": "2", "memory": "4G"} for s in ("requests", "limits")},
                "triton_node_selector": {"cms-af-prod": "true"},
                "triton_service_labels": {"scrape_metrics": "true"},
                "envoy_service_type": "LoadBalancer",
                "envoy_service_annotations": {"metallb.universe.tf/address-pool": "geddes-private-pool"},
                "envoy_load_balancing_policy": "ROUND_ROBIN",
                "supersonic_prometheus_url": "https://prometheus-af.geddes.rcac.purdue.edu",
                "prometheus_mode": "existing",
                "autoscaler_max_replicas": 11,
                "grafana_anonymous": True,
                "grafana_ingress": {
                    "host": "grafana-cms.geddes.rcac.purdue.edu",
                    "tls": True,
                    "class_name": "public",
                },
            },
            {"triton_service_annotations", "triton_flags", "autoscaler_scale_up", "supersonic_tracing"},
        ),
        (
            "nrp-cms",
            {
                "triton_replicas": 5,
                "triton_gpus": 1,
                "envoy_route_timeout": 5,
                "supersonic_components": ["prometheus", "grafana"],
                "prometheus_persistent": False,
            },
            {"prometheus_mode", "envoy_replicas", "autoscaler_max_replicas", "envoy_load_balancing_policy"},
        ),
        (
            "nrp-atlas",
            {
                "triton_model_repositories": [
                    {"name": "backend", "kind": "image", "path": "/traccc-aaS/traccc-aaS/backend/models"}
                ],
                "envoy_gpu_metrics": True,
                "triton_gpus": 1,
            },
            {"triton_exit_on_error", "triton_exit_timeout"},
        ),
        (
            "nrp-icecube",
            {
                "triton_model_repositories": [
                    {
                        "name": "ml",
                        "kind": "cvmfs",
                        "claim": "cvmfs",
                        "path": "icecube.opensciencegrid.org/users/briedel/ml/models",
                    }
                ],
                "envoy_jwt_issuers": [
                    {
                        "issuer": "https://keycloak.icecube.wisc.edu/auth/realms/IceCube",
                        "audiences": ["icesonic"],
                        "jwks_uri": "https://keycloak.icecube.wisc.edu/auth/realms/IceCube/protocol/openid-connect/certs",
                    }
                ],
            },
            {"triton_command", "triton_flags", "triton_startup_budget"},
        ),
        (
            "small-full",
            {
                "triton_extra_args": ["--disable-auto-complete-config"],
                "envoy_resources": {
                    "requests": {"cpu": "0.1", "memory": "128Mi"},
                    "limits": {"cpu": "8", "memory": "4G"},
                },
                "envoy_connection_rate": 1,
                "envoy_connection_burst": 5,
                "autoscaler_max_replicas": 2,
            },
            {"triton_readiness_probe", "prometheus_resources"},
        ),
        (
            "every-key",
            {
                "triton_gpus": 2,
                "triton_model_repositories": [
                    {"name": "one", "kind": "nfs", "server": "nfs.example.org", "export": "/export", "path": "one"}
                ],
                "triton_startup_budget": 1000,
                "triton_exit_timeout": 20,
                "triton_node_selector": {"gpu": "true"},
                "envoy_service_port": 443,
                "envoy_replicas": 3,
                "envoy_route_timeout": 2,
                "envoy_connection_rate": 10,
                "autoscaler_min_replicas": 0,
                "prometheus_size": "20Gi",
                "prometheus_extra_args": ["--query.timeout=30s"],
                "grafana_root_url": "https://elsewhere.example.org",
                "tempo_retention": "48h",
                "supersonic_tracing": {"sampling_percent": 5.0},
            },
            {"triton_replicas", "triton_termination_grace", "envoy_load_balancing_policy", "prometheus_persistent"},
        ),
    ],
)
def test_sites(site: str, expected: dict[str, Any], absent: set[str]) -> None:
    variables = of_site(site).variables
    assert {name: variables.get(name) for name in expected} == expected
    assert not absent & set(variables)


def test_the_host_of_keys_that_the_chart_does_not_know_is_used() -> None:
    result = of_site("nrp-cms")
    assert result.variables["envoy_ingress"]["host"] == "sonic-cms.nrp-nautilus.io"
    assert result.variables["envoy_ingress"]["controller"] == "haproxy-ingress"
    assert result.variables["envoy_ingress"]["timeout_seconds"] == 300
    assert "haproxy-ingress.github.io/backend-protocol" not in result.variables["envoy_ingress"]["annotations"]
    found = kinds(result)
    assert found["envoy.ingress.hosts"] == found["envoy.ingress.tls"] == CHANGED
    assert found["prometheus.server.ingress"] == GONE


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("nrp-atlas", {"triton.name", "metricsCollector.ingress.hosts", "metricsCollector.ingress.tls"}),
        ("geddes-cms", {"ingress.enabled"}),
        ("small-full", {"prometheus.resources.requests.cpu", "prometheus.resources.requests.memory"}),
        ("nrp-cms", set()),
        ("nrp-icecube", set()),
        ("anvil-cms", set()),
    ],
)
def test_keys_that_the_chart_does_not_know(site: str, expected: set[str]) -> None:
    assert {key for key, kind in kinds(of_site(site)).items() if kind == UNKNOWN} == expected


@pytest.mark.parametrize(
    ("values", "key", "text"),
    [
        ({"triton": {"replica": 3}}, "triton.replica", "Is triton.replicas meant?"),
        ({"keda": {"scaleUp": {"stepSize": 3}}}, "keda.scaleUp.stepSize", "Is keda.scaleUp.stepsize meant?"),
        ({"prometheus": {"external": {"prot": 80}}}, "prometheus.external.prot", "prometheus.external.port meant"),
        ({"envoy": {"ratelimiter": {"a": 1}}}, "envoy.ratelimiter.a", "no such key"),
        ({"something": 1}, "something", "The chart has no such key, so that it never did anything."),
    ],
)
def test_misspelt_keys(values: dict[str, Any], key: str, text: str) -> None:
    result = made(values)
    (finding,) = [finding for finding in result.findings if finding.kind == UNKNOWN]
    assert finding.key == key
    assert text in finding.text
    # Somebody has to say what was meant.
    (todo,) = [text for text in result.unfinished if "does not know" in text]
    assert key in todo


def test_nothing_is_to_be_done_about_keys_that_the_chart_knows() -> None:
    assert not [text for text in of_site("nrp-cms").unfinished if "does not know" in text]


@pytest.mark.parametrize(
    ("values", "key", "kind", "expected"),
    [
        ({"triton": {"replicas": 0}}, "triton.replicas", CHANGED, {"triton_replicas": 0}),
        (
            {"keda": {"enabled": True, "minReplicaCount": 0}},
            "keda.minReplicaCount",
            CHANGED,
            {"autoscaler_min_replicas": 0, "autoscaler_max_replicas": 2, "envoy_server_wait": 600},
        ),
        ({"keda": {"enabled": True}}, "prometheus", CHANGED, {"supersonic_components": ["prometheus", "autoscaler"]}),
        (
            {
                "triton": {
                    "modelRepository": {"enabled": True, "storageType": "cvmfs", "mountPath": "/cvmfs"},
                    "args": ["tritonserver --model-repository=/cvmfs/a.org/m"],
                }
            },
            "triton.modelRepository.storageType",
            CHANGED,
            {"triton_model_repositories": [{"name": "m", "kind": "cvmfs", "host_path": "/cvmfs", "path": "a.org/m"}]},
        ),
        (
            {
                "triton": {
                    "modelRepository": {
                        "enabled": True,
                        "storageType": "pvc",
                        "mountPath": "/m",
                        "pvc": {"claimName": "c"},
                    },
                    "args": ["tritonserver --model-store=/x --model-repository /m --model-repository=/m/b/models"],
                }
            },
            "triton.modelRepository.storageType",
            SAME,
            {
                "triton_model_repositories": [
                    {"name": "m", "kind": "pvc", "claim": "c"},
                    {"name": "b", "kind": "pvc", "claim": "c", "path": "b/models"},
                ],
                "triton_flags": {"model-store": "/x"},
            },
        ),
        ({"envoy": {"enabled": False}}, "envoy.enabled", GONE, {}),
        ({"envoy": {"external_config": {"load_from_configmap": True}}}, "envoy.external_config", GONE, {}),
        ({"envoy": {"loadBalancerPolicy": "RING_HASH"}}, "envoy.loadBalancerPolicy", CHANGED, {}),
        ({"envoy": {"args": ["--log-level", "debug"]}}, "envoy.args", IDLE, {}),
        (
            {"prometheus": {"external": {"enabled": True, "url": "http://p.org", "port": 9090, "scheme": "http"}}},
            "prometheus.external",
            SAME,
            {"supersonic_prometheus_url": "http://p.org:9090"},
        ),
    ],
)
def test_defects_and_what_has_no_counterpart(
    values: dict[str, Any], key: str, kind: str, expected: dict[str, Any]
) -> None:
    result = made(values)
    assert kinds(result)[key] == kind
    assert {name: result.variables.get(name) for name in expected} == expected


# ---- files as Helm reads them ----------------------------------------------------------------------------------------


def test_files_are_merged_as_helm_does() -> None:
    values = load(
        [
            ("a", "triton: {image: 'one:1', tolerations: [{key: a}], nodeSelector: {a: '1'}}\nkeda: {enabled: true}"),
            ("b", "triton: {tolerations: [{key: b}], nodeSelector: {b: '2'}, resources: {limits: {cpu: null}}}"),
            ("empty", "# nothing\n"),
            ("c", "keda: null\n"),
        ]
    )
    result = made(values).variables
    assert result["triton_image"] == "one:1"
    assert result["triton_tolerations"] == [{"key": "b"}]
    assert result["triton_node_selector"] == {"a": "1", "b": "2"}
    # A null takes the chart's default away.
    assert result["triton_resources"]["limits"] == {"memory": "2G"}
    assert "autoscaler_max_replicas" not in result


def test_a_null_takes_away_what_the_chart_has_below_it() -> None:
    values = Values({"keda": None, "triton": {"image": None}}, {"keda": {"min": 3}, "triton": {"image": "one:1"}})
    assert values.get("keda", "min", default=7) == 7
    assert values.get("triton", "image") is None
    assert Values({}, values.chart).get("keda", "min") == 3


@pytest.mark.parametrize(
    ("path", "variable"),
    [
        (("envoy",), "envoy_resources"),
        (("prometheus", "server"), "prometheus_resources"),
        (("grafana",), "grafana_resources"),
        (("opentelemetry-collector",), "otel_collector_resources"),
        (("tempo", "tempo"), "tempo_resources"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_resources_instead_of_those_of_the_chart(path: tuple[str, ...], variable: str) -> None:
    """Helm's way to take a default away is null."""
    values: dict[str, Any] = {"resources": None}
    for key in reversed(path):
        values = {key: values}
    for part in ("prometheus", "grafana", "opentelemetry-collector", "tempo"):
        values.setdefault(part, {})["enabled"] = True
    assert made(values).variables.get(variable, {}) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", r"^values.yaml:\d+ is no YAML"),
        ("- a\n", "values.yaml is no file of Helm values"),
        ("password: hunter2\n  a: b\n", "^values.yaml:2 is no YAML: mapping values are not allowed in this context.$"),
    ],
)
def test_files_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(SupersonicError, match=message):
        load([("values.yaml", text)])


def test_a_section_that_is_none() -> None:
    with pytest.raises(SupersonicError, match=r"^envoy\.ingress is true in the values; the chart has keys"):
        made({"envoy": {"ingress": True}})


@pytest.mark.parametrize(
    ("host", "name", "message"),
    [
        ("sonic", "", "host is 'sonic', but the running release has objects of that name"),
        ("other", "sonic", "name is 'sonic', but the running release has objects"),
        ("9cms", "", "host is '9cms'; as the name of an instance it has to begin with a letter"),
        ("a" * 31, "", "30 characters at most"),
        ("sonic-triton", "", "has objects of that name .sonic-triton."),
    ],
)
def test_names_that_cannot_be(host: str, name: str, message: str) -> None:
    with pytest.raises(SupersonicError, match=message):
        made({}, host=host, name=name)


# ---- the server's command --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "arguments", "expected"),
    [
        (
            ["tritonserver"],
            ["--a=1", "--b", "2", "--c"],
            Command("tritonserver", [("a", "1"), ("b", "2"), ("c", None)]),
        ),
        (
            ["/bin/sh", "-c"],
            ["export A=1\nexec /opt/tritonserver/bin/tritonserver \\\n  --a=1 \\\n  --b='x y'\n"],
            Command("/opt/tritonserver/bin/tritonserver", [("a", "1"), ("b", "x y")], {"A": "1"}),
        ),
        (
            ["sh", "-ec"],
            ["pip install a && B=$(hostname) tritonserver --a=$(hostname) -- extra; sleep 1"],
            Command(
                "tritonserver", [("", "extra")], {}, ["pip install a", "sleep 1"], ["--a=$(hostname)", "B=$(hostname)"]
            ),
        ),
        (["sh", "-c"], ["run-it --model-repository=/m"], Command(others=["run-it --model-repository=/m"])),
        (["sh", "-c"], ["echo 'open"], Command(others=['"echo \'open"'])),
        (["sh"], [], Command()),
    ],
)
def test_commands(command: list[str], arguments: list[str], expected: Command) -> None:
    found = parse(command, arguments)
    if expected.program or not expected.others:
        assert found == expected
    else:
        assert not found.program
        assert len(found.others) == len(expected.others)


@pytest.mark.parametrize(
    ("text", "expected"), [("0s", 0), ("1500ms", 1.5), ("5m", 300), ("1h30m", 5400), (7, 7), ("12", 12), ("x", 0)]
)
def test_durations(text: Any, expected: float) -> None:
    assert seconds(text) == expected


# ---- what is written -------------------------------------------------------------------------------------------------


def migration(directory: Path, site: str, **options: Any) -> dict[str, Any]:
    given = {"values": files(site), "release": SITES[site][1], "namespace": "cms", "host": site}
    check = options.pop("check", False)
    return run_module("helm_values_migration", {**given, "directory": str(directory), **options}, check=check)


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All sites in one inventory."""
    folder = tmp_path_factory.mktemp("inventory")
    for site in SITES:
        assert not migration(folder, site)["failed"]
        # What people record of the running release.
        golden = folder / "golden" / site / "identity/golden"
        golden.mkdir(parents=True)
        (golden / "one.json").write_text("{}")
    return folder


def test_no_secret_is_written_or_told(inventory: Path) -> None:
    for path in inventory.rglob("*.*"):
        assert path.is_dir() or "hunter2" not in path.read_text(), path
    result = migration(inventory, "every-key")
    assert "hunter2" not in json.dumps({key: value for key, value in result.items() if key != "invocation"})


def test_a_password_in_the_command_is_not_written() -> None:
    script = "AWS_SECRET_ACCESS_KEY=hunter2 PLAIN=1 tritonserver --model-repository=/m"
    result = made({"triton": {"args": [script]}})
    assert result.variables["triton_env"] == [{"name": "PLAIN", "value": "1"}]
    assert any("AWS_SECRET_ACCESS_KEY" in text for text in result.unfinished)
    assert "hunter2" not in str([finding.value for finding in result.findings])


def test_reports_say_what_has_become_of_each_key(inventory: Path) -> None:
    text = (inventory / "REPORT-nrp-cms.md").read_text()
    assert "# From the Helm release supersonic to the instance nrp-cms" in text
    for key in kinds(of_site("nrp-cms")):
        assert f"| `{key}`" in text, key
    for action in ("plan", "take_over", "back", "finish"):
        assert f"-e migrate_action={action}" in text


def test_a_second_run_changes_nothing_and_edits_are_kept(inventory: Path, tmp_path: Path) -> None:
    assert not migration(inventory, "small")["changed"]
    instances = yaml.safe_load((inventory / "hosts.yml").read_text())["supersonic_instances"]
    assert set(instances["hosts"]) == set(SITES)
    # None of them is a machine that there is a way to.
    assert instances["vars"]["ansible_connection"] == "local"
    first = migration(tmp_path, "small", check=True)
    assert first["changed"]
    assert list(tmp_path.iterdir()) == []
    migration(tmp_path, "small")
    edited = tmp_path / "host_vars/small.yml"
    edited.write_text(edited.read_text() + "triton_replicas: 2\n")
    refused = migration(tmp_path, "small")
    assert refused["failed"]
    assert "small.yml would be overwritten, and may have been edited. Nothing was written." in refused["msg"]
    assert migration(tmp_path, "small", force=True)["changed"]
    assert "triton_replicas" not in edited.read_text()
    (tmp_path / "hosts.yml").write_text("all: {children: {supersonic_instances: {hosts: {}}}}\n")
    assert "Add it to the group supersonic_instances by hand" in migration(tmp_path, "nrp-cms")["msg"]


@pytest.mark.parametrize(
    ("there", "added"),
    [
        ("supersonic_instances:\n  hosts:\n    a:\n", "supersonic_instances:\n  hosts:\n    new:\n    a:\n"),
        # As the inventories of sites here have it.
        (
            "supersonic_instances:\n  children:\n    cms: {hosts: {a: }}\n",
            "supersonic_instances:\n  hosts:\n    new:\n  children:\n    cms: {hosts: {a: }}\n",
        ),
        *(
            (text, text)
            for text in (
                "supersonic_instances:\n  children:\n    cms: {hosts: {new: }}\n",
                "supersonic_instances: {children: {cms: }}\ncms: {hosts: {new: }}\n",
                "all: {children: {supersonic_instances: {hosts: {new: }}}}\n",
                "supersonic_instances: {children: {cms: {children: {supersonic_instances: , b: {hosts: {new: }}}}}}\n",
            )
        ),
        # Two keys hosts: the first would not count.
        ("supersonic_instances:\n  children:\n    cms:\n  hosts:\n    a:\n", None),
        ("supersonic_clusters:\n  hosts:\n    new:\nsupersonic_instances: {hosts: {a: }}\n", None),
        ("supersonic_instances:\n", None),
        ("- new\n", None),
        ("supersonic_instances:\n  hosts:\n    a: [\n", None),
        ("supersonic_instances:\n  hosts:\n    - a\n", None),
    ],
)
def test_a_host_is_found_or_added(there: str, added: str | None) -> None:
    if added is None:
        with pytest.raises(SupersonicError, match="Add it to the group supersonic_instances by hand"):
            report._hosts("new", there)
    else:
        assert report._hosts("new", there) == added


def test_hosts_of_shipped_inventories_are_found() -> None:
    """After which the file is left alone."""
    for path in (CLONE / "inventories").glob("*/hosts.yml"):
        text = path.read_text()
        hosts = report._hosts_of(yaml.safe_load(text), "supersonic_instances")
        assert hosts, path
        for host in hosts:
            assert report._hosts(host, text) == text


def test_the_inventory_is_right(inventory: Path) -> None:
    """As site.yml judges it before anything changes."""
    done = subprocess.run(
        [sys.executable, str(CLONE / "tests/harness/one_process.py"), "judge", str(inventory)],
        cwd=CLONE,
        env={
            **own_environment(),
            "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            migration_inventory.TOKEN: "a",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "\n".join(json.loads(done.stdout).values()) == ""
