# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role verify asks of servers, Envoys and the endpoint, by its variables."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, run_playbook

CERTIFICATE = {"client_cert": "/c.pem", "client_key": "/k.pem"}
CASES: dict[str, dict[str, Any]] = {
    "usual": {},
    "token": {"verify_token": "secret", "verify_repeat": 5},
    "certificate": {"verify_address": "a:443", "verify_tls": {"ca": "x", **CERTIFICATE}},
    "trusting": {"verify_token": "secret", "verify_unauthenticated": False},
    "refusals": {
        "verify_address": "a:443",
        "verify_refusals": [
            {"name": "other model", "status": "PERMISSION_DENIED", "models": ["m"], "contains": "not allowed"},
            {"name": "guest", "status": "UNAUTHENTICATED", "token": "guest", "methods": ["ModelInfer"]},
        ],
    },
    "limits": {
        "verify_token": "secret",
        "verify_address": "a:443",
        "verify_limits": [
            {"name": "slow", "requests": 20, "answered_max": 10, "models": ["m"]},
            {"name": "guest", "requests": 5, "answered_min": 5, "token": "guest", "connections": 2, "pause": 1},
        ],
    },
    "no Envoy": {"verify_envoys": False, "verify_limits": [{"name": "slow", "requests": 20, "answered_max": 10}]},
    "nothing": {"verify_servers": False, "verify_envoys": False},
}


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The targets of each case, in one run with a host for each."""
    folder = tmp_path_factory.mktemp("targets")
    shared = {
        **yaml.safe_load((CLONE / "roles/verify/defaults/main.yml").read_text()),
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_name": "main",
        "supersonic_namespace": "cms",
    }
    inventory = {"all": {"hosts": {name: {**shared, **given} for name, given in CASES.items()}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    task = {
        "ansible.builtin.copy": {
            "content": "{{ __verify_targets | to_json }}",
            "dest": str(folder / "{{ inventory_hostname }}.json"),
            "mode": "0600",
        }
    }
    variables = [str(CLONE / "roles/verify/vars/main.yml")]
    play = {"hosts": "all", "gather_facts": False, "vars_files": variables, "tasks": [task]}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    done = run_playbook(folder / "play.yml", folder / "hosts.yml")
    assert done.code == 0, done.output
    return {name: json.loads(Path(folder / f"{name}.json").read_text()) for name in CASES}


def names(found: list[dict[str, Any]]) -> list[str]:
    return [target["name"] for target in found]


def named(found: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (target,) = [target for target in found if target["name"] == name]
    return target


def test_servers_and_envoys_are_asked_by_their_labels(targets: dict[str, list[dict[str, Any]]]) -> None:
    assert names(targets["usual"]) == ["server", "Envoy"]
    labels = {"app.kubernetes.io/name": "supersonic", "app.kubernetes.io/instance": "main"}
    for name, component in (("server", "triton"), ("Envoy", "envoy")):
        selector = named(targets["usual"], name)["selector"]
        assert selector == {"namespace": "cms", "labels": {**labels, "app.kubernetes.io/component": component}}


@pytest.mark.parametrize(("case", "repeat"), [("usual", 2), ("token", 5)])
def test_gateways_are_asked_as_often_as_is_said(
    targets: dict[str, list[dict[str, Any]]], case: str, repeat: int
) -> None:
    assert named(targets[case], "Envoy")["repeat"] == repeat


def test_a_token_is_shown_to_envoys_and_refused_without(targets: dict[str, list[dict[str, Any]]]) -> None:
    found = targets["token"]
    assert names(found) == ["server", "Envoy", "Envoy, unauthenticated", "Envoy, unknown token"]
    assert named(found, "Envoy")["token"] == "secret"
    assert "token" not in named(found, "server")
    without, unknown = found[2:]
    assert "token" not in without
    assert unknown["token"] not in ("", "secret")
    for target in (without, unknown):
        assert target["expect_error"] == {"status": "UNAUTHENTICATED", "contains": ""}
        assert "repeat" not in target


def test_a_client_without_the_certificate_is_refused(targets: dict[str, list[dict[str, Any]]]) -> None:
    found = targets["certificate"]
    assert names(found) == ["server", "Envoy", "endpoint", "endpoint, unauthenticated", "endpoint, unknown token"]
    assert named(found, "endpoint")["tls"] == {"ca": "x", **CERTIFICATE}
    assert named(found, "endpoint")["certificate"] == {"min_days": 7, "sha256": ""}
    assert "certificate" not in named(found, "Envoy")
    assert [target["tls"] for target in found[3:]] == [{"ca": "x"}] * 2


def test_an_endpoint_open_to_all_is_not_asked_for_refusals(targets: dict[str, list[dict[str, Any]]]) -> None:
    assert names(targets["trusting"]) == ["server", "Envoy"]


def test_refusals_of_the_inventory_are_asked_of_every_gateway(targets: dict[str, list[dict[str, Any]]]) -> None:
    found = targets["refusals"]
    gateways = ["Envoy", "endpoint"]
    assert names(found) == [
        "server",
        *gateways,
        *(f"{gateway}, {name}" for gateway in gateways for name in ("other model", "guest")),
    ]
    for gateway in gateways:
        model, guest = named(found, f"{gateway}, other model"), named(found, f"{gateway}, guest")
        assert model["expect_error"] == {"status": "PERMISSION_DENIED", "contains": "not allowed"}
        assert (model["models"], model["methods"]) == (["m"], [])
        assert "token" not in model
        assert (guest["token"], guest["models"], guest["methods"]) == ("guest", [], ["ModelInfer"])


def test_limits_are_tried_at_envoy_alone(targets: dict[str, list[dict[str, Any]]]) -> None:
    found = targets["limits"]
    assert names(found)[-2:] == ["Envoy, slow", "Envoy, guest"]
    assert not [name for name in names(found) if name in ("endpoint, slow", "endpoint, guest")]
    slow, guest = found[-2:]
    assert slow["limit"] == {"requests": 20, "answered_max": 10}
    assert (slow["token"], slow["models"]) == ("secret", ["m"])
    assert guest["limit"] == {"requests": 5, "answered_min": 5, "connections": 2, "pause": 1}
    assert guest["token"] == "guest"


def test_what_is_switched_off_is_not_asked(targets: dict[str, list[dict[str, Any]]]) -> None:
    assert names(targets["no Envoy"]) == ["server"]
    assert targets["nothing"] == []
