# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of an autoscaler that do not fit together, each refused with what would be right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.autoscaler import findings
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.validation import check_relations
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.values import check_value

ROLE = Path(__file__).resolve().parents[3] / "roles" / "autoscaler"
OPTIONS = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
DEFAULTS = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
RIGHT = {**DEFAULTS, "autoscaler_max_replicas": 6}
QUERY = {"name": "mine", "query": "sum(x)", "threshold": 2}
CRON = {"type": "cron", "metadata": {"timezone": "UTC"}}
POLICY = {"type": "Pods", "value": 1, "periodSeconds": 15}


def up(**rules: Any) -> dict[str, Any]:
    return {"autoscaler_scale_up": rules}


def own(*triggers: dict[str, Any]) -> dict[str, Any]:
    return {"autoscaler_triggers": list(triggers)}


def fallback(**settings: Any) -> dict[str, Any]:
    return {"autoscaler_fallback": {"failureThreshold": 3, "replicas": 2, **settings}}


# Variables that differ from what is right, and the sentence.
WRONG: list[tuple[dict[str, Any], str]] = [
    # numbers
    ({"autoscaler_min_replicas": -1}, r"autoscaler_min_replicas is -1: it has to be 0 or more"),
    (
        {"autoscaler_max_replicas": 0, "autoscaler_min_replicas": 0},
        r"autoscaler_max_replicas is 0: say how many servers",
    ),
    (
        {"autoscaler_min_replicas": 7},
        r"autoscaler_min_replicas is 7: it has to be at most autoscaler_max_replicas, which is 6",
    ),
    ({"autoscaler_requests_per_server": -0.5}, r"autoscaler_requests_per_server is -0.5: it has to be 0 or more"),
    ({"autoscaler_requests_per_server": 0.9}, r"autoscaler_requests_per_server is 0.9: .*1 or more, or 0 to learn it"),
    ({"autoscaler_headroom": 0.9}, r"autoscaler_headroom is 0.9: it has to be 1 or more"),
    ({"autoscaler_headroom": 2.1}, r"autoscaler_headroom is 2.1: it has to be 2 or less"),
    ({"autoscaler_queue_ratio_threshold": 0}, r"autoscaler_queue_ratio_threshold is 0: it has to be"),
    ({"autoscaler_busy_share": 1.2}, r"autoscaler_busy_share is 1.2: it has to be 1 or less"),
    ({"autoscaler_queue_time_threshold": 0}, r"autoscaler_queue_time_threshold is 0: it has to be"),
    ({"autoscaler_window": -10}, r"autoscaler_window is -10: it has to be 0 or more"),
    ({"autoscaler_query_timeout": 0}, r"autoscaler_query_timeout is 0: it has to be 0.1 or more"),
    ({"autoscaler_history": 5}, r"autoscaler_history is 5: it has to be 60 or more"),
    ({"autoscaler_polling_interval": 0}, r"autoscaler_polling_interval is 0: it has to be 1 or more"),
    ({"autoscaler_cooldown": -1}, r"autoscaler_cooldown is -1: it has to be 0 or more"),
    ({"autoscaler_wait_timeout": 0}, r"autoscaler_wait_timeout is 0: it has to be 1 or more"),
    # beside the servers
    ({"triton_replicas": 8}, r"triton_replicas is 8: .*would take servers away.*autoscaler_max_replicas is 6"),
    # triggers
    ({"autoscaler_default_triggers": []}, r"autoscaler_default_triggers is \[\]: nothing would ask for servers"),
    ({"autoscaler_default_triggers": ["queue_time"] * 2}, r"queue_time is there twice"),
    (own({"name": "mine"}), r"autoscaler_triggers\[0\] is .*it has either query"),
    (own({**QUERY, **CRON}), r"autoscaler_triggers\[0\] is .*it has either query"),
    (own({"query": "x", "threshold": 1}), r"autoscaler_triggers\[0\]: the key name is missing"),
    (own({"query": "x", "name": "x"}), r"autoscaler_triggers\[0\]: the key threshold is missing"),
    (own({**QUERY, "threshold": 0}), r"autoscaler_triggers\[0\].threshold is 0: it has to be above 0"),
    (own({**QUERY, "name": "-x"}), r'autoscaler_triggers\[0\].name is "-x": it is made of letters'),
    (own({**QUERY, "metadata": {"a": "b"}}), r"autoscaler_triggers\[0\].metadata is .*a trigger with query has"),
    (own({**CRON, "threshold": 1}), r"autoscaler_triggers\[0\].threshold is 1: a trigger with type has"),
    (own(QUERY, QUERY), r'autoscaler_triggers\[1\].name is "mine": another trigger has this name'),
    (own({**QUERY, "name": "queue_ratio"}), r"autoscaler_triggers\[0\].name .*another trigger has this name"),
    (own({"type": "cron"}), r"autoscaler_triggers\[0\]: the key metadata is missing"),
    (
        own({"type": "cron", "metadata": {"desiredReplicas": 3}}),
        r"metadata.desiredReplicas is 3: KEDA takes texts alone",
    ),
    (
        own({**CRON, "authenticationRef": {"kind": "x"}}),
        r"autoscaler_triggers\[0\].authenticationRef: the key name is missing",
    ),
    # from zero
    (
        {"autoscaler_min_replicas": 0, "autoscaler_default_triggers": ["queue_time", "servers_busy_floor"]},
        r"autoscaler_min_replicas is 0: nothing would wake the pool.*servers_wanted",
    ),
    (
        {"autoscaler_min_replicas": 0, "autoscaler_paused": True, "autoscaler_paused_replicas": 0},
        r"autoscaler_paused_replicas is 0: there would be no server",
    ),
    # behaviour
    (up(stabilizationWindowSeconds=3601), r"autoscaler_scale_up.stabilizationWindowSeconds is 3601: .*from 0 to 3600"),
    (up(policies=[]), r"autoscaler_scale_up.policies is \[\]: there has to be one"),
    (up(policies=[{**POLICY, "value": 0}]), r"autoscaler_scale_up.policies\[0\].value is 0: it has to be 1 or more"),
    (up(policies=[{**POLICY, "periodSeconds": 1801}]), r"policies\[0\].periodSeconds is 1801: .*from 1 to 1800"),
    (
        {"autoscaler_scale_down": {"stabilizationWindowSeconds": -1}},
        r"autoscaler_scale_down.stabilizationWindowSeconds is -1",
    ),
    # without Prometheus
    (fallback(failureThreshold=-1), r"autoscaler_fallback.failureThreshold is -1"),
    (fallback(failureThreshold=None), r"autoscaler_fallback: the key failureThreshold is missing"),
    (fallback(replicas=None), r"autoscaler_fallback: the key replicas is missing"),
    (fallback(replicas=0), r"autoscaler_fallback.replicas is 0: without Prometheus there would be no server"),
    (fallback(replicas=7), r"autoscaler_fallback.replicas is 7: .*autoscaler_max_replicas, 1 to 6"),
    # pausing
    (
        {"autoscaler_paused_replicas": 2},
        r"autoscaler_paused_replicas is 2: it counts with autoscaler_paused: true alone",
    ),
    (
        {"autoscaler_annotations": {"autoscaling.keda.sh/paused": "true"}},
        r"autoscaler_annotations.autoscaling.keda.sh/paused .*autoscaler_paused says that",
    ),
    ({"autoscaler_annotations": {"a": 1}}, r"autoscaler_annotations.a is 1: .*a text; put it in quotes"),
    # Prometheus
    ({"autoscaler_authentication_ref": {"name": "x"}}, r"autoscaler_authentication_ref: the key modes is missing"),
    (
        {"autoscaler_metric_labels": {"pod": "a-b"}},
        r'autoscaler_metric_labels.pod is "a-b": this is no name of a label',
    ),
]


def sentences(variables: dict[str, Any]) -> list[str]:
    return [problem.sentence() for problem in check_relations(variables, files=False)]


@pytest.mark.parametrize(("changes", "said"), WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_what_is_wrong_is_told_once(changes: dict[str, Any], said: str) -> None:
    (sentence,) = sentences({**RIGHT, **changes})
    assert re.search(said, sentence), sentence


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"autoscaler_min_replicas": 0},
        {"autoscaler_min_replicas": 0, "autoscaler_default_triggers": [], **own(CRON)},
        {"autoscaler_default_triggers": ["queue_time"]},
        {"triton_replicas": 6},
        own(QUERY, CRON, {**QUERY, "name": "other", "metric_type": "Value", "activation_threshold": 0.5}),
        fallback(behavior="currentReplicasIfHigher"),
        up(selectPolicy="Disabled"),
        up(policies=[POLICY]),
        {"autoscaler_paused": True, "autoscaler_paused_replicas": 3},
        {"autoscaler_paused": True},
        {"autoscaler_metric_labels": {"pod": "exported_pod"}},
        {"autoscaler_annotations": {"autoscaling.keda.sh/paused-scale-in": "true"}},
        # From the command line.
        {"autoscaler_max_replicas": "12", "autoscaler_headroom": "1.8"},
    ],
)
def test_what_is_right_is_let_through(changes: dict[str, Any]) -> None:
    variables = {**RIGHT, **changes}
    assert sentences(variables) == []
    for name, value in variables.items():
        assert list(check_value(name, value, OPTIONS.get(name, {"type": "raw"}))) == []


def test_a_part_of_the_variables_is_enough() -> None:
    """Those that are wrong by themselves are not there."""
    for name in RIGHT:
        assert list(findings({key: value for key, value in RIGHT.items() if key != name})) == []
    assert list(findings({})) == []
