# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role applies, judged by KEDA's own schemas, and what it says of the answers of Prometheus."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.plugin_utils._render import autoscaler
from ansible_collections.fastml.supersonic.tests.harness.certificates import certificate
from ansible_collections.fastml.supersonic.tests.harness.playbooks import render_in_one_process

sys.path[:0] = [str(Path(__file__).parents[2])]
import crds

URL = "https://prometheus.example.org"
PEM = certificate("authority").pem
# A Prometheus of the site, which scrapes less often than that of the collection.
SITE = {"supersonic_prometheus_url": URL, "autoscaler_scrape_interval": 15}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "zero": {"autoscaler_min_replicas": 0, "autoscaler_cooldown": 60},
    "token": {
        **SITE,
        "supersonic_prometheus_token": "secret-token",
        "supersonic_prometheus_ca_certificates": PEM,
    },
    "authority": {**SITE, "supersonic_prometheus_ca_certificates": PEM},
    "reference": {
        **SITE,
        "supersonic_prometheus_token": "secret-token",
        "autoscaler_authentication_ref": {"name": "site", "kind": "ClusterTriggerAuthentication", "modes": "bearer"},
    },
    "paused": {"autoscaler_paused": True},
    "held": {"autoscaler_paused": True, "autoscaler_paused_replicas": 3, "supersonic_annotations": {"a": "b"}},
    "own": {
        "autoscaler_default_triggers": ["queue_time"],
        "autoscaler_queue_time_threshold": 12.5,
        "autoscaler_window": 45,
        "autoscaler_metric_labels": {"pod": "exported_pod"},
        "autoscaler_triggers": [
            {
                "name": "gpu",
                "query": 'avg(DCGM_FI_DEV_GPU_UTIL{namespace="x"})',
                "threshold": 80,
                "metric_type": "Value",
            },
            {"type": "cron", "metadata": {"timezone": "UTC", "start": "0 8 * * *", "end": "0 9 * * *"}},
        ],
        "autoscaler_fallback": {"failureThreshold": 4, "replicas": 2, "behavior": "currentReplicasIfHigher"},
        "autoscaler_scale_down": {"selectPolicy": "Disabled"},
    },
}


def render(folder: Path, cases: dict[str, dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Objects by kind, by case."""
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "supersonic_name": "main",
        "supersonic_namespace": "cms",
        "supersonic_render_directory": f"{folder}/{{{{ inventory_hostname }}}}",
        "autoscaler_max_replicas": 6,
    }
    role = {"name": "fastml.supersonic.autoscaler", "tasks_from": "render"}
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"name": "R", "ansible.builtin.import_role": role}]}
    (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": cases, "vars": common}}))
    (folder / "play.yml").write_text(json.dumps([play]))
    for case in cases:
        (folder / case).mkdir()
    render_in_one_process(folder / "play.yml", folder / "hosts.yml")
    return {
        case: {item["kind"]: item for item in yaml.safe_load_all((folder / case / "autoscaler.yaml").read_text())}
        for case in cases
    }


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, Any]]]:
    return render(tmp_path_factory.mktemp("autoscaler"), CASES)


def test_keda_knows_every_field(rendered: dict[str, dict[str, dict[str, Any]]]) -> None:
    schemas = crds.schemas()
    for objects in rendered.values():
        for item in objects.values():
            if item["kind"] != "Secret":
                jsonschema.validate(item, schemas[item["apiVersion"], item["kind"]])


def test_scales_the_pool_by_what_is_measured(rendered: dict[str, dict[str, dict[str, Any]]]) -> None:
    (item,) = rendered["plain"].values()
    spec = item["spec"]
    assert item["metadata"]["name"] == "main-triton"
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "main-triton"}
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 6)
    # KEDA leaves out what is false.
    assert set(spec["advanced"]) == {"horizontalPodAutoscalerConfig"}
    # KEDA warns of what has no meaning above zero.
    assert not {"fallback", "pollingInterval", "cooldownPeriod", "initialCooldownPeriod"} & set(spec)
    assert [(each["name"], each["metricType"]) for each in spec["triggers"]] == [
        ("servers_wanted", "AverageValue"),
        ("servers_held", "AverageValue"),
        ("servers_busy_floor", "AverageValue"),
        ("queue_ratio", "Value"),
    ]
    for trigger in spec["triggers"]:
        metadata = trigger["metadata"]
        assert metadata["serverAddress"] == "http://main-prometheus.cms.svc.cluster.local:9090"
        # An answer without data is an error, never a zero.
        assert metadata["ignoreNullValues"] == "false"
        assert 'namespace="cms"' in metadata["query"]
        assert "authenticationRef" not in trigger


def test_windows_fit_how_often_the_site_scrapes(rendered: dict[str, dict[str, dict[str, Any]]]) -> None:
    """A rate needs two scrapes, and has four where none is missed; what is asked for now is two scrapes old at most."""
    by_case = {
        case: {each["name"]: each["metadata"]["query"] for each in rendered[case]["ScaledObject"]["spec"]["triggers"]}
        for case in ("plain", "token")
    }
    assert "[15s]" in by_case["plain"]["queue_ratio"]
    assert "[10s]" in by_case["plain"]["servers_held"]
    assert "[60s]" in by_case["token"]["queue_ratio"]
    assert "[30s]" in by_case["token"]["servers_held"]
    assert not [query for query in by_case["token"].values() if "[10s]" in query or "[15s]" in query]


def test_how_often_the_site_scrapes_is_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"autoscaler_scrape_interval \| int > 0"):
        render(tmp_path, {"guessed": {"supersonic_prometheus_url": URL}})


def test_zero(rendered: dict[str, dict[str, dict[str, Any]]]) -> None:
    spec = rendered["zero"]["ScaledObject"]["spec"]
    assert spec["minReplicaCount"] == 0
    # A new pool does not go at once.
    assert spec["pollingInterval"] == 5
    assert spec["initialCooldownPeriod"] == spec["cooldownPeriod"] == 60


def test_how_keda_gets_in(rendered: dict[str, dict[str, dict[str, Any]]]) -> None:
    token, authority = rendered["token"], rendered["authority"]
    assert token["Secret"]["stringData"] == {"bearerToken": "secret-token", "ca": PEM}
    assert [item["parameter"] for item in token["TriggerAuthentication"]["spec"]["secretTargetRef"]] == [
        "bearerToken",
        "ca",
    ]
    # KEDA looks at the authorities with some mode alone.
    assert set(authority["Secret"]["stringData"]) == {"customAuthHeader", "customAuthValue", "ca"}
    for objects, modes in ((token, "bearer"), (authority, "custom")):
        for trigger in objects["ScaledObject"]["spec"]["triggers"]:
            assert trigger["metadata"]["authModes"] == modes
            assert trigger["authenticationRef"] == {"name": "main-autoscaler"}
            assert trigger["metadata"]["serverAddress"] == URL
    reference = rendered["reference"]
    assert set(reference) == {"ScaledObject"}
    for trigger in reference["ScaledObject"]["spec"]["triggers"]:
        assert trigger["authenticationRef"] == {"name": "site", "kind": "ClusterTriggerAuthentication"}
    assert "secret-token" not in json.dumps([item["ScaledObject"] for item in rendered.values()])


def test_pausing(rendered: dict[str, dict[str, dict[str, Any]]]) -> None:
    annotations = {
        case: rendered[case]["ScaledObject"]["metadata"]["annotations"] for case in ("plain", "paused", "held")
    }
    assert annotations == {
        "plain": {},
        "paused": {"autoscaling.keda.sh/paused": "true"},
        "held": {"a": "b", "autoscaling.keda.sh/paused-replicas": "3"},
    }


def test_triggers_of_ones_own(rendered: dict[str, dict[str, dict[str, Any]]]) -> None:
    spec = rendered["own"]["ScaledObject"]["spec"]
    queue_time, gpu, cron = spec["triggers"]
    assert queue_time["metadata"]["threshold"] == "12.5"
    assert "[45s]" in queue_time["metadata"]["query"]
    assert 'exported_pod=~"main-triton-' in queue_time["metadata"]["query"]
    assert (gpu["metricType"], gpu["metadata"]["threshold"]) == ("Value", "80")
    assert gpu["metadata"]["query"] == 'avg(DCGM_FI_DEV_GPU_UTIL{namespace="x"})'
    assert cron == {
        "name": "cron-1",
        "type": "cron",
        "metadata": {"timezone": "UTC", "start": "0 8 * * *", "end": "0 9 * * *"},
    }
    assert spec["fallback"] == {"failureThreshold": 4, "replicas": 2, "behavior": "currentReplicasIfHigher"}
    assert spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"] == {"selectPolicy": "Disabled"}


def test_the_learned_number_is_read_where_it_is_recorded(rendered: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Rules are there with the managed Prometheus alone, unless the operator says otherwise."""
    for case, recorded in (("plain", True), ("token", False)):
        query = rendered[case]["ScaledObject"]["spec"]["triggers"][0]["metadata"]["query"]
        assert ("supersonic:requests_in_compute" in query) is recorded


# ---- what is said of the answers -------------------------------------------------------------------------------------

TRIGGERS = autoscaler.triggers(
    ["servers_wanted", "queue_time", "servers_busy_floor"],
    {"servers_wanted": "a", "queue_time": "b", "servers_busy_floor": "c"},
    URL,
    {"queue_time": 20},
    [{"type": "cron", "metadata": {}}],
)


def test_answers_in_words() -> None:
    results = {
        "servers_wanted": {"value": 2.0000000001, "series": [{}]},
        "queue_time": {"value": 0.0, "series": [{}]},
        "servers_busy_floor": {"value": 0.4, "series": [{}]},
    }
    assert autoscaler.answers(results, TRIGGERS) == [
        "servers_wanted: 2, which is 2 servers",
        "queue_time: 0, more servers above 20",
        "servers_busy_floor: 0.4, which is 1 server",
        "cron-0: a trigger of KEDA that Prometheus is not asked for",
    ]
    assert autoscaler.unusable(results) == []


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"value": None, "series": []}, "no data"),
        ({"value": None, "series": [{}, {}, {}]}, "3 series, of which KEDA takes none"),
    ],
)
def test_no_answer(result: dict[str, Any], said: str) -> None:
    assert autoscaler.answers({"queue_time": result}, TRIGGERS[1:2]) == [f"queue_time: {said}"]
    assert autoscaler.unusable({"queue_time": result, "other": {"value": 1.0}}) == ["queue_time"]


def test_a_trigger_of_the_site_keeps_its_authentication() -> None:
    own = {
        "type": "kafka",
        "metadata": {"topic": "events"},
        "metricType": "Value",
        "useCachedMetrics": True,
        "authenticationRef": {"name": "kafka-login"},
    }
    assert autoscaler.triggers([], {}, URL, {}, [own]) == [{"name": "kafka-0", **own}]
