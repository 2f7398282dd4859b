# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a Prometheus is, and what its answers say."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import ApiError
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring import http_client
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring import prometheus as monitoring_prometheus


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://192.0.2.1", "http://192.0.2.1:80"),
        ("https://prometheus.example.org/", "https://prometheus.example.org:443"),
        ("https://example.org:8443/select/0/prometheus/", "https://example.org:8443/select/0/prometheus"),
        ("http://[2001:db8::1]:9090", "http://[2001:db8::1]:9090"),
        ("http://main-prometheus.cms.svc.cluster.local:9090", "Service cms/main-prometheus port 9090"),
        ("http://main-prometheus.cms.svc:9090", "Service cms/main-prometheus port 9090"),
        ("https://thanos-querier.openshift-monitoring.svc", "Service openshift-monitoring/thanos-querier port 443"),
        ("http://a.svc.example.org", "http://a.svc.example.org:80"),
        ("http://main.cms.svcs:1", "http://main.cms.svcs:1"),
    ],
)
def test_urls(url: str, shown: str) -> None:
    assert str(monitoring_prometheus.parse_address(url, None)) == shown


@pytest.mark.parametrize(
    "url", ["", "prometheus:9090", "ftp://a", "http://", "http://a?x=1", "http://a#b", "http://a:99999", "http://a:b"]
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(SupersonicError, match=r"url is '.*'"):
        monitoring_prometheus.parse_address(url, None)


def test_a_password_in_a_url_is_not_shown() -> None:
    with pytest.raises(SupersonicError) as failure:
        monitoring_prometheus.parse_address("https://user:geheim@example.org", None)
    assert "geheim" not in str(failure.value)
    assert "//...@example.org" in str(failure.value)


def test_a_service_by_name() -> None:
    assert (
        str(monitoring_prometheus.parse_address(None, {"name": "p", "namespace": "n", "port": None}))
        == "Service n/p port 9090"
    )


def test_authorities_that_are_none() -> None:
    with pytest.raises(SupersonicError, match="ca_certificates has no certificates in PEM"):
        http_client.tls_context("nonsense", True)


POD = "main-envoy-7c9d8f-abcde"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"namespace": "cms", "pod": POD, "job": "pods"}, {"namespace": "namespace", "pod": "pod"}),
        ({"kubernetes_namespace": "cms", "kubernetes_pod_name": POD}, {"namespace": "kubernetes_namespace",
                                                                       "pod": "kubernetes_pod_name"}),
        # What is not the target's own is taken only where there is nothing else.
        ({"exported_namespace": "cms", "exported_pod": POD, "namespace": "cms", "pod": POD},
         {"namespace": "namespace", "pod": "pod"}),
        ({"ns": "cms", "node": "cms", "pod_name": POD}, {"namespace": "node", "pod": "pod_name"}),
        ({"namespace": "atlas", "pod": POD}, None),
        ({"namespace": "cms", "pod": f"{POD}-x"}, None),
        ({"namespace": "cms", "pod": "domain-envoy-7c9d8f-abcde"}, None),
        ({"namespace": "cms"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_labels_are_looked_up(labels: dict[str, str], expected: dict[str, str] | None) -> None:
    assert monitoring_prometheus.look_up_labels([{"job": "else"}, labels], "cms", "main") == expected


def samples(*times: float) -> dict[str, Any]:
    return {"metric": {}, "values": [[time, "1"] for time in times]}


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([], None),
        ([samples(3.0)], None),
        ([samples(0, 2.001, 4, 6)], 2.0),
        # A whole number of seconds was set: scrapes are late by milliseconds.
        ([samples(0, 2.001, 4.002)], 2.0),
        ([samples(0, 14.9, 29.8)], 15.0),
        ([samples(0, 15.002, 30.004)], 15.0),
        ([samples(0, 30.004, 60.008)], 30.0),
        # None was.
        ([samples(0, 2.5, 5)], 2.5),
        ([samples(0, 0.4, 0.8)], 0.4),
        ([samples(0, 2, 4, 6), samples(0, 30, 60)], 30.0),
        ([samples(0, 2, 4, 26, 28, 30)], 2.0),
        # The interval was changed: it is the new one that counts.
        ([samples(*range(0, 600, 30), 572, 574, 576, 578, 580)], 2.0),
    ],
)
def test_intervals(matrix: list[dict[str, Any]], expected: float | None) -> None:
    assert monitoring_prometheus.interval(matrix) == expected


@pytest.mark.parametrize(
    ("data", "value", "series"),
    [
        ({"resultType": "scalar", "result": [1, "2.5"]}, 2.5, [({}, 2.5, "2.5")]),
        ({"resultType": "string", "result": [1, "7"]}, None, [({}, None, "7")]),
        ({"resultType": "vector", "result": []}, None, []),
        ({"resultType": "vector", "result": [{"metric": {"a": "b"}, "value": [1, "NaN"]}]}, None,
         [({"a": "b"}, None, "NaN")]),
        ({"resultType": "vector", "result": [{"metric": {}, "value": [1, "1"]},
                                             {"metric": {"a": "b"}, "value": [1, "+Inf"]}]},
         None, [({}, 1.0, "1"), ({"a": "b"}, None, "+Inf")]),
    ],
)  # fmt: skip
def test_results(data: dict[str, Any], value: float | None, series: list[tuple[Any, ...]]) -> None:
    found = monitoring_prometheus.result(data)
    assert found["value"] == value
    assert [(item["labels"], item["value"], item["text"]) for item in found["series"]] == series


def test_a_range_is_no_result() -> None:
    with pytest.raises(SupersonicError, match="gave a matrix"):
        monitoring_prometheus.result({"resultType": "matrix", "result": []})


def test_pods_of_an_instance() -> None:
    pattern = monitoring_prometheus.pod_pattern("main")
    for name, own in (
        ("main-triton-6d4b75cb6d-hwzls", True),
        (POD, True),
        ("main-prometheus-6d4b75cb6d-hwzls", False),
        ("main-triton-triton-6d4b75cb6d-hwzls", False),
        ("domain-triton-6d4b75cb6d-hwzls", False),
    ):
        assert bool(re.fullmatch(pattern, name)) == own


@pytest.mark.parametrize(("status", "looks"), [(403, 1), (503, 3)])
def test_a_right_that_is_missing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, status: int, looks: int) -> None:
    seen = []

    def look(*_arguments: Any) -> None:
        seen.append(1)
        raise ApiError("endpoints", status=status, reason="", body={})

    monkeypatch.setattr(monitoring_prometheus, "look_at", look)
    clock = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    instance = {"namespace": "cms", "name": "main", "pods": False}
    with pytest.raises(ApiError, match="endpoints"):
        monitoring_prometheus.wait_until_scraped(None, None, instance, looks)  # type: ignore[arg-type] # nobody is asked
    assert len(seen) == looks


# ---- rules -----------------------------------------------------------------------------------------------------------
NOW = 1_795_812_319.5


class Told:
    """Stands for a Prometheus: what it says of its rules."""

    address = "http://192.0.2.1:80"

    def __init__(self, **group: Any) -> None:
        rule = {"name": "supersonic:servers", "type": "recording", "labels": {"namespace": "cms", "supersonic": "main"}}
        self.groups = [{"name": "supersonic-main", "interval": 5, "rules": [{**rule, "lastError": ""}], **group}]

    def get(self, _path: str, _query: Any, _what: str) -> dict[str, Any]:
        return {"groups": self.groups}

    def query(self, _expression: str) -> dict[str, Any]:
        return {"resultType": "scalar", "result": [NOW, str(NOW)]}


@pytest.mark.parametrize(
    ("last", "ago", "said"),
    [
        ("2026-11-27T20:45:17.123456789Z", 2.377, ""),
        ("2026-11-27T21:45:15+01:00", 4.5, ""),
        ("2026-11-27T20:44:50Z", 29.5, "last evaluated the rules supersonic-main .* 30 s ago, and should every 5 s"),
        ("0001-01-01T00:00:00Z", None, "has not yet evaluated the rules supersonic-main"),
    ],
)
def test_rules_that_are_not_evaluated(last: str, ago: float | None, said: str) -> None:
    found = monitoring_prometheus.look_at_rules(Told(lastEvaluation=last), "cms", "main")  # type: ignore[arg-type] # stands for one
    assert found.groups is not None
    assert found.groups[0]["evaluated_ago"] == (ago if ago is None else pytest.approx(ago))
    assert len(found.problems) == bool(said)
    assert re.search(said, " ".join(found.problems))


def test_rules_of_another_instance_of_the_same_name_are_none() -> None:
    found = monitoring_prometheus.look_at_rules(Told(lastEvaluation="2026-11-27T20:45:17Z"), "atlas", "main")  # type: ignore[arg-type]
    assert found.groups == []
    assert "has no rules of the instance main in the namespace atlas" in found.problems[0]
