# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories that were right for an older version of the collection."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules import renamed_variables
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.names import unknown_variables
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.renamed_variables import CHANGES, Change
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.values import check_value

CLONE = Path(__file__).resolve().parents[3]
OLD = {
    "triton_count": Change("2.0.0", "triton_replicas"),
    "triton_metrics": Change("1.2.0", why="Servers always have metrics. Take it out."),
    "envoy_wait_ms": Change("2.0.0", "envoy_wait_timeout", "It is in seconds now."),
    "pool_size": Change("2.0.0", "triton_replicas"),
    "envoy_ingress.hosts": Change("2.0.0", "host", "There is one."),
    "triton_model_repositories[].mount": Change("2.0.0", why="Each has its own place."),
}
KNOWN = {"triton_replicas", "triton_image", "envoy_wait_timeout", "envoy_ingress"}


@pytest.fixture
def _old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renamed_variables, "CHANGES", OLD)


@pytest.mark.usefixtures("_old")
@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["triton_count"], "triton_count: it was renamed to triton_replicas in fastml.supersonic 2.0.0."),
        (
            ["triton_count", "triton_replicas"],
            "triton_count: it was renamed to triton_replicas in fastml.supersonic 2.0.0. triton_replicas is set as "
            "well: take the old one out.",
        ),
        (
            ["triton_metrics"],
            "triton_metrics: it was removed in fastml.supersonic 1.2.0. Servers always have metrics. Take it out.",
        ),
        (
            ["envoy_wait_ms"],
            "envoy_wait_ms: it was renamed to envoy_wait_timeout in fastml.supersonic 2.0.0. It is in seconds now.",
        ),
        # Of no role any more.
        (["pool_size"], "pool_size: it was renamed to triton_replicas in fastml.supersonic 2.0.0."),
        # Nobody ever had it.
        (["triton_replica"], "triton_replica: no role knows this variable. Did you mean triton_replicas?"),
    ],
)
def test_old_names_are_explained(names: list[str], told: str) -> None:
    (problem,) = unknown_variables(names, KNOWN, ["triton", "envoy"])
    assert problem.sentence() == told


@pytest.mark.usefixtures("_old")
def test_old_keys_are_explained() -> None:
    ingress = {"type": "dict", "options": {"host": {"type": "str"}}}
    (problem,) = check_value("envoy_ingress", {"hosts": ["a"]}, ingress)
    assert problem.sentence() == (
        "envoy_ingress.hosts is ['a']: it was renamed to host in fastml.supersonic 2.0.0. There is one."
    )
    items = {"type": "list", "elements": "dict", "options": {"name": {"type": "str"}}}
    (problem,) = check_value("triton_model_repositories", [{"name": "a"}, {"mount": "/b"}], items)
    assert problem.sentence() == (
        'triton_model_repositories[1].mount is "/b": it was removed in fastml.supersonic 2.0.0. Each has its own place.'
    )
    # Another variable's key of the same name.
    (problem,) = check_value("grafana_ingress", {"hosts": ["a"]}, ingress)
    assert "Did you mean host?" in problem.message


# ---- the table itself ------------------------------------------------------------------------------------------------


def options() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every variable and every key of one, as the table names them."""

    def inner(name: str, option: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        yield name, option
        at = "[]" if option.get("type") == "list" else ""
        for key, suboption in (option.get("options") or {}).items():
            yield from inner(f"{name}{at}.{key}", suboption)

    for path in sorted((CLONE / "roles").glob("*/meta/argument_specs.yml")):
        specs = yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"]
        for name, option in specs.items():
            yield from inner(name, option)


def check_table(changes: dict[str, Change]) -> list[str]:
    """What is wrong with it."""
    there = dict(options())
    version = yaml.safe_load((CLONE / "galaxy.yml").read_text())["version"]
    problems = []
    for name, change in changes.items():
        parent, _dot, _key = name.rpartition(".")
        new = f"{parent}.{change.new}" if parent else change.new
        if name in there:
            problems.append(f"{name} is an option again")
        if change.new and new not in there:
            problems.append(f"{name}: there is no {new}")
        if not change.new and not change.why:
            problems.append(f"{name}: why was it removed, and what comes instead?")
        if not re.fullmatch(r"\d+\.\d+\.\d+", change.version) or numbers(change.version) > numbers(version):
            problems.append(f"{name}: {change.version} is no version so far")
    return problems


def numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def test_the_table_is_right() -> None:
    assert check_table(CHANGES) == []


def test_a_wrong_table_is_found() -> None:
    wrong = {
        "triton_replicas": Change("1.0.0", "triton_image"),
        "triton_count": Change("1.0.0", "triton_replica"),
        "triton_metrics": Change("1.0.0"),
        "envoy_ingress.hosts": Change("99.0.0", "host"),
        "envoy_ingress.hostname": Change("1.0.0", "host"),
    }
    assert check_table(wrong) == [
        "triton_replicas is an option again",
        "triton_count: there is no triton_replica",
        "triton_metrics: why was it removed, and what comes instead?",
        "envoy_ingress.hosts: 99.0.0 is no version so far",
    ]
