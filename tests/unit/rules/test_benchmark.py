# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of a benchmark that do not fit together, each refused with what would be right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.kubernetes import check_kubernetes
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.validation import check_relations
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.values import check_value

ROLE = Path(__file__).resolve().parents[3] / "roles" / "benchmark"
OPTIONS = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
DEFAULTS = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
RIGHT = {
    **DEFAULTS,
    "benchmark_model": "accelerator",
    "benchmark_address": "main.cms.svc.cluster.local:8001",
    "benchmark_report": "/tmp/report",
}
PEM = "-----BEGIN CERTIFICATE-----\n"

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"benchmark_mode": "figures"}, r'benchmark_mode is "figures": it has to be one of .* Did you mean figure\?'),
    ({"benchmark_model": ""}, r'benchmark_model is "": with benchmark_mode: figure it has to be the name of a model'),
    ({"benchmark_address": "main"}, r'benchmark_address is "main": it has to be host:port'),
    ({"benchmark_profile": []}, r"benchmark_profile is \[\]: no step has clients"),
    ({"benchmark_profile": [{"clients": 0, "seconds": 9}]}, r"benchmark_profile .*: no step has clients"),
    ({"benchmark_profile": [{"clients": -2, "seconds": 9}, {"clients": 1, "seconds": 1}]},
     r"benchmark_profile\[0\]\.clients is -2: it has to be 0 or more"),
    ({"benchmark_profile": [{"clients": 2, "seconds": 0}]}, r"benchmark_profile\[0\]\.seconds is 0: it has to be more"),
    ({"benchmark_profile": [{"clients": 2}]}, r"benchmark_profile\[0\]: the key seconds is missing"),
    ({"benchmark_profile": [{"clients": 2, "minutes": 1, "seconds": 1}]}, r"\.minutes is 1: there is no such key"),
    ({"benchmark_pools": []}, r"benchmark_pools is \[\]: it is empty"),
    ({"benchmark_pools": [0]}, r"benchmark_pools\[0\] is 0: it has to be a number of servers, 1 or more, or dynamic"),
    ({"benchmark_pools": [True]}, r"benchmark_pools\[0\] is True: it has to be a number"),
    ({"benchmark_pools": ["static"]}, r'benchmark_pools\[0\] is "static": it has to be'),
    ({"benchmark_pools": [2, "2"]}, r'benchmark_pools\[1\] is "2": it is there twice'),
    ({"benchmark_levels": [2, 4]}, r"benchmark_levels is \[2, 4\]: it has to begin with 1"),
    ({"benchmark_levels": [1]}, r"benchmark_levels is \[1\]: it has to begin with 1, .* and to have more levels"),
    ({"benchmark_levels": [1, 4, 3]}, r"benchmark_levels\[2\] is 3: levels have to grow"),
    ({"benchmark_level_seconds": 2}, r"benchmark_level_seconds is 2: it has to be 3 or more"),
    ({"benchmark_latency_factor": 1.0}, r"benchmark_latency_factor is 1.0: it has to be more than 1"),
    ({"benchmark_run_as_user": 0}, r"benchmark_run_as_user is 0: it has to be 1 or more"),
    ({"benchmark_shapes": {"points": 100}}, r"benchmark_shapes\.points is 100: it has to be a list of whole numbers"),
    ({"benchmark_shapes": {"points": [100, -1]}}, r"benchmark_shapes\.points is \[100, -1\]: it has to be a list"),
    ({"benchmark_arguments": ["--async", "-m", "x"]}, r'benchmark_arguments\[1\] is "-m": .* Use benchmark_model'),
    ({"benchmark_arguments": ["--measurement-interval=9"]}, r"benchmark_arguments\[0\] .* sets this\. Leave it out"),
    ({"benchmark_tls": {"client_certificate": PEM}}, r"benchmark_tls: client_certificate and client_key belong"),
    ({"benchmark_tls": {"ca_certificates": "/etc/ca.pem"}}, r"benchmark_tls\.ca_certificates: it has to be PEM"),
    ({"benchmark_tls": {"ca": PEM}}, r"(?s)benchmark_tls\.ca .*there is no such key"),
    ({"benchmark_image": "perf:latest"}, r"benchmark_image is .*"),
    ({"benchmark_resources": {"limit": {}}}, r"benchmark_resources\.limit .*there is no such key. Did you mean limits"),
    ({"benchmark_tolerations": [{"keys": "gpu"}]}, r"benchmark_tolerations\[0\]\.keys .*there is no such key"),
    ({"benchmark_pod_labels": {"a b": "c"}}, r"benchmark_pod_labels\.a b"),
]  # fmt: skip


def judged(changed: dict[str, Any]) -> list[str]:
    values = {**RIGHT, **changed}
    problems = []
    for name, value in values.items():
        problems += list(check_kubernetes(name, value)) or list(check_value(name, value, OPTIONS[name]))
    wrong = {problem.variable for problem in problems}
    problems += check_relations({name: value for name, value in values.items() if name not in wrong})
    return [problem.sentence() for problem in problems]


def test_defaults_are_right() -> None:
    assert judged({}) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"benchmark_pools": ["dynamic"]},
        {"benchmark_mode": "restore", "benchmark_model": ""},
        {"benchmark_pools": ["3", 1]},
        {"benchmark_tls": {"ca_certificates": PEM, "client_certificate": PEM, "client_key": PEM}},
        {"benchmark_shapes": {"points": [100, 2]}},
        {"benchmark_arguments": ["--async", "--streaming"]},
    ],
)
def test_right_variables(changed: dict[str, Any]) -> None:
    assert judged(changed) == []


@pytest.mark.parametrize(("changed", "sentence"), WRONG, ids=[str(list(row[0])) for row in WRONG])
def test_wrong_variables(changed: dict[str, Any], sentence: str) -> None:
    found = judged(changed)
    assert len(found) == 1, found
    assert re.search(sentence, found[0]), found[0]
