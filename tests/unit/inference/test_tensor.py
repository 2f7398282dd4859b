# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tensors: JSON to bytes and back, for all types of the protocol."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import tensor as inference_tensor


def tensor(datatype: str, data: list[Any]) -> inference_tensor.Tensor:
    return inference_tensor.from_json({"name": "x", "datatype": datatype, "shape": [len(data)], "data": data}, "tensor")


@pytest.mark.parametrize(
    ("datatype", "data", "raw"),
    [
        ("BOOL", [True, False], b"\1\0"),
        ("UINT8", [0, 255], b"\x00\xff"),
        ("UINT16", [1, 65535], b"\1\0\xff\xff"),
        ("UINT32", [2**32 - 1], b"\xff" * 4),
        ("UINT64", [2**64 - 1], b"\xff" * 8),
        ("INT8", [-1, 127], b"\xff\x7f"),
        ("INT16", [-2], b"\xfe\xff"),
        ("INT32", [-(2**31)], b"\0\0\0\x80"),
        ("INT64", [-(2**63), 2**63 - 1], struct.pack("<qq", -(2**63), 2**63 - 1)),
        ("FP16", [1.0, -0.5], b"\x00\x3c\x00\xb8"),
        ("BF16", [1.0, -2.5], b"\x80\x3f\x20\xc0"),
        ("FP32", [0.1], struct.pack("<f", 0.1)),
        ("FP64", [0.1, 1e300], struct.pack("<dd", 0.1, 1e300)),
        ("BYTES", ["", "ab"], b"\0\0\0\0\2\0\0\0ab"),
    ],
)
def test_values_become_bytes_and_again_values(datatype: str, data: list[Any], raw: bytes) -> None:
    made = tensor(datatype, data)
    assert made.raw == raw
    again = inference_tensor.to_json(made)
    assert again == {"name": "x", "datatype": datatype, "shape": [len(data)], "data": data}
    assert inference_tensor.from_json(again, "tensor") == made


@pytest.mark.parametrize("datatype", inference_tensor.FLOATS)
def test_special_numbers_are_written_as_strings(datatype: str) -> None:
    data = ["NaN", "Infinity", "-Infinity", -0.0]
    made = tensor(datatype, data)
    assert inference_tensor.to_json(made)["data"] == data
    assert math.isnan(made.values()[0])
    assert inference_tensor.plain_data(made) is None


@pytest.mark.parametrize(
    ("value", "bits"),
    [(1 + 2**-8, 0x3F80), (1 + 3 * 2**-8, 0x3F82), (1 + 2**-8 + 2**-20, 0x3F81), (3.3e38, 0x7F78), ("NaN", 0x7FC0)],
)
def test_bf16_rounds_to_the_nearest_and_ties_to_even(value: Any, bits: int) -> None:
    assert struct.unpack("<H", tensor("BF16", [value]).raw) == (bits,)


def test_shortest_digits_keep_the_bytes() -> None:
    assert inference_tensor.to_json(tensor("FP32", [0.1]))["data"] == [0.1]


def test_nested_data_is_flattened() -> None:
    made = inference_tensor.from_json(
        {"name": "x", "datatype": "INT8", "shape": [2, 2], "data": [[1, 2], [3, 4]]}, "tensor"
    )
    assert made.raw == b"\1\2\3\4"


def test_bytes_that_are_no_text_are_kept_raw() -> None:
    made = inference_tensor.from_json({"name": "x", "datatype": "BYTES", "shape": [1], "raw": "AQAAAP8="}, "tensor")
    assert made.values().tolist() == [b"\xff"]
    assert inference_tensor.to_json(made)["raw"] == "AQAAAP8="
    assert made.binary


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "has no name"),
        ({"datatype": "FLOAT"}, "has the datatype 'FLOAT'; it must be one of BOOL"),
        ({"shape": "2"}, "needs a shape"),
        ({"shape": [-1]}, "needs a shape"),
        ({"shape": [True, 2]}, "needs a shape"),
        ({"shape": [3]}, "has 2 values, its shape [3] needs 3"),
        ({"data": None, "raw": "AA=="}, "needs either data or raw"),
        ({"dtype": "x"}, "has the unknown key 'dtype'"),
        ({"data": [1, "2"]}, "value 1 is '2'"),
        ({"data": [1, 2.5]}, "value 1 is 2.5, INT8 takes whole numbers from -128 to 127"),
        ({"data": [1, 128]}, "value 1 is 128"),
        ({"data": [1, True]}, "value 1 is True"),
        ({"datatype": "BOOL", "data": [True, 2]}, "value 1 is 2, BOOL takes true and false"),
        ({"datatype": "FP32", "data": [1, "nan"]}, "value 1 is 'nan', FP32 takes numbers"),
        ({"datatype": "FP32", "data": [1, None]}, "value 1 is None"),
        ({"datatype": "FP32", "data": [1, 1e39]}, "value 1 is 1e+39, too large for FP32"),
        ({"datatype": "FP16", "data": [1, 70000]}, "too large for FP16"),
        ({"datatype": "BYTES", "data": ["a", 1]}, "value 1 is 1, BYTES takes strings"),
    ],
)
def test_a_bad_tensor_is_refused(change: dict[str, Any], words: str) -> None:
    entry = {"name": "x", "datatype": "INT8", "shape": [2], "data": [1, 2], **change}
    with pytest.raises(SupersonicError) as caught:
        inference_tensor.from_json(entry, "inputs[0]")
    assert words in str(caught.value)
    assert str(caught.value).startswith("inputs[0]")


@pytest.mark.parametrize(
    ("datatype", "raw", "words"),
    [
        ("FP32", "AAAA", "has 3 bytes, FP32 of shape [1] needs 4"),
        ("BYTES", "BQAAAA==", "no sequence of length-prefixed BYTES elements"),
        ("BYTES", "AAAAAAAAAAA=", "has 2 values, its shape [1] needs 1"),
        ("FP32", "?", "raw is not base64"),
    ],
)
def test_bad_raw_bytes_are_refused(datatype: str, raw: str, words: str) -> None:
    with pytest.raises(SupersonicError) as caught:
        inference_tensor.from_json({"name": "x", "datatype": datatype, "shape": [1], "raw": raw}, "tensor")
    assert words in str(caught.value)
