# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A default that changes in its role changes for everything that has to know it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory import role_variables
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.accelerators import gpu_demands
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.clusters import made_claims
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.instance_models import instance_models
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.preflight_requirements import REQUIREMENTS
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE

NAMED = {"supersonic_namespace": "cms", "inventory_hostname": "here"}
# An instance that uses all that it can, so that every default is asked for by one of them.
LISTED = ["prometheus", "otel_collector", "tempo", "grafana", "autoscaler"]
HOSTS: tuple[dict[str, Any], ...] = (
    NAMED,
    {**NAMED, "supersonic_components": LISTED, "verify_servers": False, "verify_envoys": False},
    {**NAMED, "supersonic_components": LISTED, "prometheus_mode": "existing", "grafana_mode": "existing"},
    {**NAMED, "model_repository_sources": ["/models"], "triton_gpus": 1},
)
CONSUMERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    **{name: lambda host, ask=ask: ask(role_variables.of_host(host)) for name, ask in REQUIREMENTS.items()},
    "models": lambda host: instance_models(role_variables.of_host(host)),
    "made_claims": lambda host: made_claims([host]),
    "gpu_demands": lambda host: gpu_demands([host]),
}
LOOKED_UP = sorted(
    {
        name
        for path in (CLONE / "playbooks").rglob("*.yml")
        for name in re.findall(r"'fastml\.supersonic\.instance_variable', '(\w+)'", path.read_text())
    }
)


class Recorded(dict[str, Any]):
    """Variables of a host that keeps which ones were asked for."""

    def __init__(self, host: Mapping[str, Any]) -> None:
        super().__init__(host)
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)


def flipped(value: Any) -> Any:
    """Another value of the same type, as an inventory could have it."""
    others = {"managed": "existing", "present": "absent", "rolling": "explicit", "auto": "always"}
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return others.get(value, f"{value}other")
    if isinstance(value, dict):
        return {"class_name": "other", "endpoint": "other:4317"}
    assert isinstance(value, list)
    return [{"kind": "pvc", "claim": "supersonic-models", "path": "current"}]


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], None]:
    before = role_variables.all_defaults()

    def change(name: str, value: Any) -> None:
        assert name in before
        monkeypatch.setattr(role_variables, "all_defaults", lambda: {**before, name: value})

    return change


def asked_for() -> Iterator[tuple[str, int, str]]:
    """Each consumer, each host, and the variables with defaults that the first asks for."""
    for consumer, ask in CONSUMERS.items():
        for number, host in enumerate(HOSTS):
            recorded = Recorded(host)
            ask(recorded)
            for name in sorted(recorded.asked & role_variables.all_defaults().keys() - host.keys()):
                yield consumer, number, name


@pytest.mark.parametrize(("consumer", "number", "name"), list(asked_for()))
def test_a_default_that_changes_is_followed(
    consumer: str, number: int, name: str, changed: Callable[[str, Any], None]
) -> None:
    """What a consumer says with another default is what it says with that value in the inventory."""
    ask, host = CONSUMERS[consumer], HOSTS[number]
    before = role_variables.of_host(host)[name]
    value = LISTED if name == "supersonic_components" else flipped(before)
    wanted = ask({**host, name: value})
    changed(name, value)
    assert role_variables.of_host(host)[name] == value != before
    assert ask(host) == wanted


def test_every_consumer_asks_for_defaults() -> None:
    names = {name for _consumer, _number, name in asked_for()}
    assert len(names) > 45
    assert {consumer for consumer, _number, _name in asked_for()} == CONSUMERS.keys()


# ---- variables of a task, as lookups have them -----------------------------------------------------------------------


def of_task(host: Mapping[str, Any]) -> role_variables.InstanceVariables:
    return role_variables.of_task(Templar(loader=DataLoader(), variables=dict(host)), host)


@pytest.mark.parametrize("name", LOOKED_UP)
def test_playbooks_follow_a_default_that_changes(name: str, changed: Callable[[str, Any], None]) -> None:
    before = of_task(NAMED)[name]
    value = flipped(before)
    changed(name, value)
    assert of_task(NAMED)[name] == value
    assert of_task({**NAMED, name: before})[name] == before


@pytest.mark.parametrize("read", [of_task, role_variables.of_host])
def test_the_inventory_comes_before_defaults(read: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    assert read(NAMED)["triton_replicas"] == 1
    assert read({**NAMED, "triton_replicas": 3})["triton_replicas"] == 3
    # Null is the same as not set.
    assert read({**NAMED, "triton_replicas": None})["triton_replicas"] == 1
    # Defaults that mention other variables.
    for name, claim in (("tracks", "tracks-models"), (None, "supersonic-models")):
        assert read({**NAMED, "supersonic_name": name})["model_repository_claim"] == claim
    with pytest.raises(KeyError):
        read({})["supersonic_namespace"]


# ---- the gate --------------------------------------------------------------------------------------------------------

# Not defaults of roles: a fact that a role sets, what a report calls an instance whose inventory is wrong, and hosts
# that share a login, which need not be instances.
ALLOWED = {"model_repository_release", "supersonic_name", "supersonic_namespace", "supersonic_kubeconfig"}


def test_playbooks_repeat_no_default() -> None:
    names = {name for role in role_variables.role_names() for name in role_variables.options(role)}
    guess = re.compile(r"(?<![\w.])(\w+) ?\| ?default\(")
    found = [
        f"{path.relative_to(CLONE)}: {name}"
        for path in [*(CLONE / "playbooks").rglob("*.yml"), *CLONE.glob("*.yml")]
        for name in guess.findall(path.read_text())
        if name in names - ALLOWED
    ]
    assert found == []
