# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pods of a benchmark's clients: what they are made of, and what is read of what they write."""

from __future__ import annotations

import json

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark import load_pods
from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.load import Share, failures, parse_times
from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.load_pods import Clients
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import Connection


def test_tokens_are_in_no_object_and_pods_go_with_the_servers() -> None:
    clients = Clients("image", "m", "main.cms:8001", files={"token": "secret-of-cms"})
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "main-triton", "uid": "u1"}
    api = Api(Connection(host="http://127.0.0.1:9", source="test"))
    pods = load_pods.Pods(api, "cms", "main", clients, [[Share(1, 0, 1)]], owner)
    made = pods._definition("main-benchmark-0")
    assert "secret-of-cms" not in json.dumps(made)
    assert made["metadata"]["ownerReferences"] == [owner]
    (volume,) = [each for each in made["spec"]["volumes"] if each["name"] == "secret"]
    assert volume == {"name": "secret", "emptyDir": {"medium": "Memory"}}
    assert made["spec"]["activeDeadlineSeconds"] > 0


def test_the_command() -> None:
    files = {"token": "T", "ca.pem": "C", "client.pem": "P", "client.key": "K", "input.json": "{}"}
    clients = Clients(
        "image", "m", "main.cms:8001", batch_size=4, shapes={"a": [3, 2]}, arguments=("--async",), tls=True, files=files
    )
    assert " ".join(clients.words()) == (
        "perf_analyzer -m m -u main.cms:8001 -i grpc -b 4 --shape a:3,2 --ssl-grpc-use-ssl "
        "--ssl-grpc-root-certifications-file /secret/ca.pem --ssl-grpc-certificate-chain-file /secret/client.pem "
        "--ssl-grpc-private-key-file /secret/client.key --input-data /secret/input.json --async"
    )
    assert "T" not in clients.words()
    assert "files" not in repr(clients)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], []),
        (['"timestamp":10,"request_inputs":', ',"response_timestamps":[30],"response_outputs":['], [(10, 30)]),
        # Several answers to one request.
        (['"timestamp":10', ',"response_timestamps":[20,30,45'], [(10, 45)]),
        # None at all.
        (['"timestamp":10', ',"response_timestamps":[', '"timestamp":50', ',"response_timestamps":[60'], [(50, 60)]),
        # Cut off.
        (['"timestamp":10', '"timestamp":20', ',"response_timestamps":[21'], [(20, 21)]),
        ([',"response_timestamps":[21'], []),
    ],
)
def test_times_in_an_export(lines: list[str], expected: list[tuple[int, int]]) -> None:
    assert parse_times(lines) == expected


def test_failures_of_threads() -> None:
    said = "Failed to maintain load.\nThread [0] had error: Socket closed\n\nThread [12] had error: x\n"
    assert failures(said) == ["Socket closed", "x"]
    assert failures("Received exit signal.") == []
