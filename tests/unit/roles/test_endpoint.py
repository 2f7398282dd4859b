# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role envoy writes into Envoy's configuration for whom it lets in, and what it does when it does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.certificates import certificate
from ansible_collections.fastml.supersonic.tests.harness.gateway import KEY, key_set, render_cases

TOKEN = "0123456789abcdefghij"
LIMIT = {"url": "http://prometheus:9090", "query": "up", "threshold": 3}
ISSUER = {"issuer": "https://tokens.example.org", "audiences": ["supersonic"], "jwks": key_set(one=KEY)}
CERTIFIED = {"envoy_tls_secret": "wildcard", "envoy_tls_client_ca": certificate("authority").pem}
CASES: dict[str, dict[str, Any]] = {
    "open": {"envoy_load_limit": LIMIT},
    "closed": {"envoy_load_limit": {**LIMIT, "on_error": "reject"}},
    "tokens": {"envoy_tokens": {"cms": TOKEN}, "envoy_public_methods": ["Health"]},
    "jwt": {"envoy_jwt_issuers": [ISSUER], "envoy_access_rules": [{"models": ["m"]}]},
    "certified": {**CERTIFIED, "envoy_tls_client_required": True},
    "maybe-certified": {**CERTIFIED, "envoy_tls_client_required": False},
}


@pytest.fixture(scope="module")
def configurations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Envoy's configuration by case."""
    folder: Path = render_cases(tmp_path_factory.mktemp("cases"), CASES)
    found = {}
    for case in CASES:
        objects = list(yaml.safe_load_all((folder / case / "envoy.yaml").read_text()))
        (data,) = (item["data"] for item in objects if item["kind"] == "ConfigMap")
        found[case] = yaml.safe_load(data["envoy.yaml"])
    return found


def http_filters(configuration: dict[str, Any]) -> dict[str, Any]:
    """The filters that requests of clients pass, in their order."""
    (listener,) = (item for item in configuration["static_resources"]["listeners"] if item["name"] == "grpc")
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return {item["name"]: item.get("typed_config") for item in manager["http_filters"]}


def test_no_client_is_internal(configurations: dict[str, dict[str, Any]]) -> None:
    """Envoy obeys headers of internal clients, which are all with private addresses where no range is named: this range
    has one address, which no client can have."""
    nobody = {"address_prefix": "255.255.255.255", "prefix_len": 32}
    for configuration in configurations.values():
        (listener,) = (item for item in configuration["static_resources"]["listeners"] if item["name"] == "grpc")
        for chain in listener["filter_chains"]:
            manager = chain["filters"][0]["typed_config"]
            assert manager["internal_address_config"] == {"cidr_ranges": [nobody]}


def cluster(configuration: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (item for item in configuration["static_resources"]["clusters"] if item["name"] == name)
    return dict(found)


@pytest.mark.parametrize(
    ("case", "healthy", "refusing", "at_first"),
    [
        # Without an answer the check fails, and requests pass: they are refused where it has found 1, above the limit.
        ("open", b',"1"]', 'refusing = answer[":status"] == "200"', "local looked, refusing = 0, false"),
        # Here they are refused then: they pass where it has found 0, not above the limit.
        ("closed", b',"0"]', 'refusing = answer[":status"] ~= "200"', "local looked, refusing = 0, true"),
    ],
)
def test_what_no_answer_of_prometheus_means(
    configurations: dict[str, dict[str, Any]], case: str, healthy: bytes, refusing: str, at_first: str
) -> None:
    (check,) = cluster(configurations[case], "load_limit")["health_checks"]
    assert [bytes.fromhex(item["text"]) for item in check["http_health_check"]["receive"]] == [healthy]
    code = http_filters(configurations[case])["load_limit"]["default_source_code"]["inline_string"]
    assert code.count("refusing = answer") == code.count(refusing) == code.count(at_first) == 1


@pytest.mark.parametrize(
    ("case", "needs_a_name"),
    [("open", False), ("tokens", True), ("jwt", True), ("certified", True), ("maybe-certified", False)],
)
def test_clients_without_a_name_pass_no_rule_where_clients_have_names(
    configurations: dict[str, dict[str, Any]], case: str, needs_a_name: bool
) -> None:
    """Should the filter fail that names them and refuses others, the next one lets nothing in."""
    rbac = http_filters(configurations[case])["envoy.filters.http.rbac"]["rules"]
    assert rbac["action"] == "ALLOW"
    ((principal,),) = (policy["principals"] for name, policy in rbac["policies"].items() if name != "public")
    if not needs_a_name:
        assert principal == {"any": True}
        return
    assert principal["sourced_metadata"] == {
        "metadata_source": "DYNAMIC",
        "metadata_matcher": {
            "filter": "supersonic",
            "path": [{"key": "client"}],
            "value": {"present_match": True},
        },
    }


def test_it_is_known_who_calls_before_anything_else_is_judged(configurations: dict[str, dict[str, Any]]) -> None:
    for case, first in (("tokens", ["client"]), ("jwt", ["envoy.filters.http.jwt_authn", "client"])):
        names = list(http_filters(configurations[case]))
        assert names[: len(first) + 2] == ["envoy.filters.http.grpc_stats", *first, "envoy.filters.http.rbac"]
        assert names[-1] == "envoy.filters.http.router"


@pytest.mark.parametrize("case", CASES)
def test_what_can_stop_an_envoy_is_reached_from_its_pod_alone(
    configurations: dict[str, dict[str, Any]], case: str
) -> None:
    assert configurations[case]["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


@pytest.mark.parametrize("case", CASES)
def test_servers_that_are_not_healthy_get_nothing(configurations: dict[str, dict[str, Any]], case: str) -> None:
    """Envoy would send requests to all of them when too many are not."""
    servers = cluster(configurations[case], "triton")
    assert servers["common_lb_config"]["healthy_panic_threshold"] == {"value": 0}
    assert servers["ignore_health_on_host_removal"] is True
    (check,) = servers["health_checks"]
    assert check["grpc_health_check"] == {}
