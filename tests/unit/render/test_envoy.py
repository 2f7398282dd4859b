# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access rules, limits and tokens as Envoy takes them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from ansible_collections.fastml.supersonic.plugins.plugin_utils._render import envoy
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render import envoy_methods as methods
from ansible_collections.fastml.supersonic.tests.harness import chance


def paths(policy: dict[str, Any]) -> set[str]:
    return {
        item["url_path"]["path"]["exact"].rpartition("/")[2] for item in policy["permissions"] if "url_path" in item
    }


def test_methods_are_those_of_the_protocol() -> None:
    service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert service.full_name == methods.SERVICE
    assert set(methods.METHODS) - {methods.HEALTH} == {method.name for method in service.methods}
    for method in service.methods:
        first = method.input_type.fields_by_number.get(1)
        names_a_model = first is not None and first.name in ("name", "model_name")
        if method.name in methods.WITH_MODEL:
            assert names_a_model
        elif names_a_model:
            # These are no methods for a rule by models: they change servers, are streams, or name a region of memory.
            assert method.name in (*methods.CONTROL, *methods.STREAMS)


def test_no_rules_let_in_what_changes_nothing() -> None:
    policies = envoy.access_policies([])
    assert list(policies) == ["rule_0"]
    policy = policies["rule_0"]
    assert paths(policy) == {"Check", "Watch"} | set(methods.METHODS) - set(methods.CONTROL) - {methods.HEALTH}
    assert policy["principals"] == [{"any": True}]
    assert "LogSettings" in paths(envoy.access_policies([{"methods": ["*"]}])["rule_0"])


def test_models_bind_what_names_one_and_shut_streams_out() -> None:
    policy = envoy.access_policies([{"models": ["a", "b-*", "*"]}])["rule_0"]
    assert not paths(policy) & {"ModelInfer", "ModelStreamInfer"}
    assert {"ServerLive", "RepositoryIndex"} <= paths(policy)
    (bound,) = (item["and_rules"]["rules"] for item in policy["permissions"] if "and_rules" in item)
    matches = [
        item["sourced_metadata"]["metadata_matcher"]["value"]["string_match"] for item in bound[1]["or_rules"]["rules"]
    ]
    assert matches == [{"exact": "a"}, {"prefix": "b-"}, {"safe_regex": {"regex": ".*"}}]


def test_clients_have_names_and_claims() -> None:
    policies = envoy.access_policies(
        [{"clients": ["cms"], "claims": {"a.b": ["x", True], "n": 1}}], ["Health"], known=True
    )
    (principal,) = policies["rule_0"]["principals"]
    present, clients, nested, number = principal["and_ids"]["ids"]
    assert present["sourced_metadata"]["metadata_matcher"]["value"] == {"present_match": True}
    assert len(clients["or_ids"]["ids"]) == 1
    matchers = [item["sourced_metadata"]["metadata_matcher"] for item in nested["or_ids"]["ids"][0]["or_ids"]["ids"]]
    assert [[part["key"] for part in item["path"]] for item in matchers] == [["claims", "a.b"], ["claims", "a", "b"]]
    assert number["sourced_metadata"]["metadata_matcher"]["value"]["or_match"]["value_matchers"][0] == {
        "double_match": {"exact": 1.0}
    }
    assert policies["public"]["principals"] == [{"any": True}]


@pytest.mark.parametrize(
    ("method", "path", "matches"),
    [
        ("ModelInfer", "/v2/models/a/infer", True),
        ("ModelInfer", "/v2/models/a/versions/1/generate_stream", True),
        ("ModelInfer", "/v2/models/a/versions/1/load", False),
        ("ModelMetadata", "/v2/models/a", True),
        ("ModelMetadata", "/v2/models/a/config", False),
        ("ServerMetadata", "/v2", True),
        ("TraceSetting", "/v2/models/a/trace/setting", True),
        ("ModelStatistics", "/v2/models/stats", True),
        ("SystemSharedMemoryStatus", "/v2/systemsharedmemory/status", True),
    ],
)
def test_paths_of_http(method: str, path: str, matches: bool) -> None:
    assert bool(re.fullmatch(methods.HTTP_PATHS[method], path)) is matches


@chance.drawn(100, st.integers(1, 100_000), st.integers(0, 1000))
def test_a_bucket_has_its_rate(rate: int, burst: int) -> None:
    bucket = envoy.token_bucket({"rate": rate, "burst": burst})
    interval = float(bucket["fill_interval"].rstrip("s"))
    assert round(bucket["tokens_per_fill"] / interval, 6) == rate
    assert bucket["max_tokens"] == (burst or rate)
    assert interval >= 0.05  # Envoy takes no shorter one.


def test_clusters_of_clients_come_before_that_of_all_others() -> None:
    found = envoy.server_clusters({"cms": {"in_flight": 5}, "atlas": {"rate": 1}}, 100, http=True)
    assert [(item["name"], item["in_flight"], item["port"]) for item in found] == [
        ("triton_client_cms", 5, 8001),
        ("triton_http_client_cms", 5, 8000),
        ("triton", 100, 8001),
        ("triton_http", 100, 8000),
    ]
    assert found[0]["match"] == {
        "prefix": "/", "grpc": {}, "headers": [{"name": "x-supersonic-client", "string_match": {"exact": "cms"}}]
    }  # fmt: skip
    assert envoy.server_clusters({}, 100)[0]["match"] == {"prefix": "/"}


def test_the_question_to_prometheus() -> None:
    limit = {"query": 'sum(rate(x{a="b"}[1m])) or vector(0)', "threshold": 0.5}
    check = envoy.load_check(limit)
    (query,) = parse_qs(urlsplit(check["path"]).query)["query"]
    assert query == '(max(sum(rate(x{a="b"}[1m])) or vector(0)) >= -Inf) > bool 0.5'
    assert bytes.fromhex(check["receive"]) == b',"1"]'
    check = envoy.load_check({**limit, "on_error": "reject", "resume_after": 60})
    (query,) = parse_qs(urlsplit(check["path"]).query)["query"]
    assert query.startswith("max_over_time((")
    assert query.endswith("[60s:6s])")
    assert bytes.fromhex(check["receive"]) == b',"0"]'


def test_lua() -> None:
    value = {"a": ['x"\\\n', 1, 2.5, True], "é": {}}
    assert envoy.lua_literal(value) == '{["a"] = {"x\\034\\092\\010", 1, 2.5, true}, ["\\195\\169"] = {}}'
    with pytest.raises(TypeError):
        envoy.lua_literal(None)


def test_tokens_are_bytes() -> None:
    assert envoy.token_bytes({"a": "xy", "b": ["z", "w"]}) == [
        {"client": "a", "bytes": [120, 121]},
        {"client": "b", "bytes": [122]},
        {"client": "b", "bytes": [119]},
    ]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("2Gi", 1932735283), ("1000M", 900000000), ("1000", 900), ("1.5Gi", 1449551462), ("500000m", 450), ("", 0)],
)
def test_a_heap_leaves_room_in_the_memory(limit: str, expected: int) -> None:
    assert envoy.heap_bytes({"limits": {"memory": limit}} if limit else {}) == expected


def test_a_threshold_keeps_its_digits() -> None:
    assert "1234567.5" in unquote(envoy.load_check({"query": "x", "threshold": 1234567.5})["path"])


@pytest.mark.parametrize("value", [True, False])
def test_a_claim_that_is_a_boolean_matches_that_boolean_alone(value: bool) -> None:
    matchers = envoy._claim("email_verified", value)["sourced_metadata"]["metadata_matcher"]["value"]["or_match"]
    one = {"bool_match": value}
    assert matchers["value_matchers"] == [one, {"list_match": {"one_of": one}}]
