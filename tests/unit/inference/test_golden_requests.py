# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden requests: reading them, and refusing bad ones with a sentence."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import golden_requests, kserve_client
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.golden_requests import Tolerance

TENSOR = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0]}
GOOD: dict[str, Any] = {
    "source": "arithmetic",
    "version": 3,
    "request": {
        "id": "7",
        "parameters": {"priority": 1, "sequence_start": True, "scale": 0.5, "note": "n"},
        "inputs": [TENSOR],
        "outputs": [{"name": "y"}],
    },
    "response": {"outputs": [{**TENSOR, "name": "y"}]},
    "tolerances": {"y": {"absolute": 0.1}},
}


def test_everything_is_read() -> None:
    golden = golden_requests.parse(GOOD, "m", "n", "file")
    assert (golden.model, golden.name, golden.version) == ("m", "n", "3")
    assert golden.parameters == {"priority": 1, "sequence_start": True, "scale": 0.5, "note": "n"}
    assert golden.requested == ("y",)
    assert golden.tolerance(golden.expected[0]) == Tolerance(0.1, 0.0)


def test_without_tolerances_those_of_the_type_hold() -> None:
    golden = golden_requests.parse({key: GOOD[key] for key in ("request", "response")}, "m", "n", "file")
    assert golden.tolerance(golden.expected[0]) == Tolerance(1e-5, 1e-4)


def change(path: str, value: Any) -> dict[str, Any]:
    """GOOD with one thing changed, or removed when value is None."""
    document = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    place = document
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "file is no mapping"),
        (change("request", None), "file has no request"),
        (change("request", []), "file: request is no mapping"),
        (change("response", None), "has neither a response nor an error"),
        (change("error", {"status": "NOT_FOUND"}), "has both a response and an error"),
        (change("reqest", {}), "has the unknown key 'reqest'"),
        (change("request.input", []), "file: request has the unknown key 'input'"),
        (change("request.inputs", []), "file: request.inputs must be a list of at least one tensor"),
        (change("request.inputs", [{**TENSOR, "shape": [3]}]), "request.inputs[0] (x) has 2 values"),
        (change("request.inputs", [TENSOR, TENSOR]), "request.inputs has the tensor x twice"),
        (change("request.outputs", ["y"]), "request.outputs must be a list of mappings with a name"),
        (change("request.outputs", [{"name": "y", "parameters": {}}]), "unknown key 'parameters'"),
        (change("request.parameters", {"a": []}), "request.parameters.a is []"),
        (change("response.outputs", [{"name": "y"}]), "response.outputs[0] (y) has the datatype None"),
        (change("tolerances", {"z": {}}), "tolerances.z: the response has no output z; it has y"),
        (change("tolerances", {"y": {"absolut": 1}}), "tolerances.y has the unknown key 'absolut'"),
        (change("tolerances", {"y": {"absolute": -1}}), "tolerances.y.absolute is -1; it must be a number"),
        (change("tolerances", {"y": {"absolute": "1"}}), "tolerances.y.absolute is '1'"),
        (change("tolerances", {"y": {"absolute": float("nan")}}), "tolerances.y.absolute is nan"),
        (change("tolerances", {"y": 1}), "tolerances.y is no mapping"),
        (change("model", "other"), "lies in the folder of model m but says model other"),
        ({"request": GOOD["request"], "error": {"status": "BROKEN"}}, "status 'BROKEN' is none of CANCELLED"),
    ],
)
def test_a_bad_golden_request_is_refused(document: Any, words: str) -> None:
    with pytest.raises(SupersonicError) as caught:
        golden_requests.parse(document, "m", "n", "file")
    assert words in str(caught.value)


@pytest.mark.parametrize("datatype", ["BOOL", "BYTES"])
def test_what_is_no_number_takes_no_tolerance(datatype: str) -> None:
    data: list[Any] = [True] if datatype == "BOOL" else ["a"]
    output = {"name": "y", "datatype": datatype, "shape": [1], "data": data}
    document = {**GOOD, "response": {"outputs": [output]}}
    with pytest.raises(SupersonicError, match="compared exactly and takes no tolerance"):
        golden_requests.parse(document, "m", "n", "file")


def test_repositories_are_searched(tmp_path: Path) -> None:
    for model in ("a", "b", "c"):
        (tmp_path / model / "golden").mkdir(parents=True)
        (tmp_path / model / "golden" / "one.json").write_text(json.dumps(GOOD))
        (tmp_path / model / "golden" / "README").write_text("no request")
    (tmp_path / "without").mkdir()
    (tmp_path / "file").write_text("")
    assert [golden.model for golden in golden_requests.load_repositories([str(tmp_path)], None)] == ["a", "b", "c"]
    assert [golden.model for golden in golden_requests.load_repositories([str(tmp_path)], ["b"])] == ["b"]


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a" / "golden" / "one.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(SupersonicError) as caught:
        golden_requests.load_repositories([str(tmp_path)], None)
    assert f"The golden request {path} is not JSON" in str(caught.value)


def test_every_model_that_is_named_must_have_one() -> None:
    golden = golden_requests.parse(GOOD, "m", "n", "file")
    golden_requests.require_models([golden], ["m"], "models")
    with pytest.raises(SupersonicError, match="no golden request for model x, y in models"):
        golden_requests.require_models([golden], ["m", "x", "y"], "models")
    with pytest.raises(SupersonicError, match="There are no golden requests in models"):
        golden_requests.require_models([], None, "models")


def test_an_inline_request_needs_its_model() -> None:
    with pytest.raises(SupersonicError, match=r"requests\[1\] does not say its model"):
        golden_requests.parse_inline([{**GOOD, "model": "m"}, GOOD], None)


# What goes over HTTP


def test_json_travels_as_json() -> None:
    head, body = kserve_client.http_request(golden_requests.parse(GOOD, "m", "n", "file"))
    request = json.loads(head)
    assert body == b""
    assert request["inputs"] == [TENSOR]
    assert request["outputs"] == [{"name": "y", "parameters": {"binary_data": False}}]
    assert request["parameters"] == GOOD["request"]["parameters"]


@pytest.mark.parametrize(
    "tensor",
    [
        {**TENSOR, "datatype": "FP16"},
        {**TENSOR, "datatype": "BF16"},
        {**TENSOR, "data": [1.0, "NaN"]},
        {"name": "x", "datatype": "INT8", "shape": [2], "raw": "AQI="},
    ],
)
def test_what_json_cannot_carry_travels_as_bytes(tensor: dict[str, Any]) -> None:
    golden = golden_requests.parse(change("request.inputs", [tensor]), "m", "n", "file")
    head, body = kserve_client.http_request(golden)
    request = json.loads(head)
    assert body == golden.inputs[0].raw
    assert request["inputs"][0]["parameters"] == {"binary_data_size": len(body)}
    assert "data" not in request["inputs"][0]
    assert request["outputs"] == [{"name": "y", "parameters": {"binary_data": True}}]


def test_an_answer_may_mix_json_and_bytes() -> None:
    head = {
        "outputs": [
            {"name": "a", "datatype": "INT8", "shape": [1], "parameters": {"binary_data_size": 1}},
            {"name": "b", "datatype": "FP32", "shape": [1], "data": [1.0]},
            {"name": "c", "datatype": "INT8", "shape": [2], "parameters": {"binary_data_size": 2}},
        ]
    }
    tensors = kserve_client.http_answer(json.dumps(head).encode(), b"\1\2\3")
    assert [tensor.values().tolist() for tensor in tensors] == [[1], [1.0], [2, 3]]


@pytest.mark.parametrize("head", [b"<html>", b"{}", b'{"outputs": [{"name": "a"}]}'])
def test_an_answer_that_is_none_is_told(head: bytes) -> None:
    with pytest.raises(kserve_client.CallError, match="INTERNAL: the answer"):
        kserve_client.http_answer(head, b"")
