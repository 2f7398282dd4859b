# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Comparison of answers, number by number."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._inference import tensor as inference_tensor
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.compare import compare
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.golden_requests import (
    DEFAULT_TOLERANCES,
    EXACT,
    Tolerance,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.tensor import Tensor

NAN, INF = "NaN", "Infinity"


def tensor(datatype: str, data: list[Any], name: str = "y", shape: list[int] | None = None) -> Tensor:
    entry = {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}
    return inference_tensor.from_json(entry, "tensor")


def problems(want: Tensor, got: Tensor, tolerance: Tolerance | None = None) -> list[str]:
    def tolerance_of(output: Tensor) -> Tolerance:
        return tolerance or DEFAULT_TOLERANCES.get(output.datatype, EXACT)

    return compare([want], [got], tolerance_of).problems


@pytest.mark.parametrize(
    ("datatype", "want", "got", "tolerance"),
    [
        ("FP32", [1.0, -2.0], [1.0, -2.0], EXACT),
        ("FP32", [1.0], [1.00001], None),
        ("FP32", [0.0], [0.00001], None),
        ("FP32", [100.0], [101.0], Tolerance(relative=0.01)),
        ("FP32", [100.0], [101.5], Tolerance(absolute=0.5, relative=0.01)),
        ("FP32", [-100.0], [-101.0], Tolerance(relative=0.01)),
        # A share of what is expected, not of the answer, of which 1 would be too much.
        ("FP32", [100.0], [99.0], Tolerance(relative=0.01)),
        ("INT32", [10_000], [9_900], Tolerance(relative=0.01)),
        ("INT32", [-10_000], [-9_900], Tolerance(relative=0.01)),
        ("FP32", [NAN, INF, "-Infinity"], [NAN, INF, "-Infinity"], None),
        ("FP32", [-0.0], [0.0], EXACT),
        ("FP16", [1.0], [1.005], None),
        ("BF16", [1.0], [1.0078125], None),
        ("FP64", [1.0], [1.00000001], None),
        ("INT64", [2**62], [2**62], None),
        ("INT32", [7], [8], Tolerance(absolute=1)),
        ("UINT8", [0], [1], Tolerance(absolute=1)),
        ("BOOL", [True], [True], None),
        ("BYTES", ["a"], ["a"], None),
        ("FP32", [], [], None),
    ],
)
def test_right(datatype: str, want: list[Any], got: list[Any], tolerance: Tolerance | None) -> None:
    assert problems(tensor(datatype, want), tensor(datatype, got), tolerance) == []


@pytest.mark.parametrize(
    ("datatype", "want", "got", "tolerance", "words"),
    [
        ("FP32", [1.0], [1.001], None, "output y[0] is 1.001, expected 1.0 within 1e-05 + 0.0001 x |expected|"),
        ("FP32", [100.0], [101.1], Tolerance(relative=0.01), "is 101.1, expected 100.0 within 0 + 0.01 x |expected|"),
        # Within 0.01 of the answer, which does not count.
        ("FP32", [100.0], [101.005], Tolerance(relative=0.01), "is 101.005, expected 100.0 within 0 + 0.01 x"),
        ("INT32", [10_000], [10_101], Tolerance(relative=0.01), "is 10101, expected 10000 within 0 + 0.01 x"),
        ("FP32", [0.0], [1e-6], EXACT, "is 1e-06, expected 0.0 within 0 + 0 x |expected|"),
        ("FP32", [1.0, 2.0, 3.0], [1.5, 9.0, 3.0], None, "output y[1] is 9.0, expected 2.0"),
        ("FP32", [1.0, 2.0, 3.0], [1.5, 9.0, 3.0], None, "(2 of 3 values wrong)"),
        ("FP32", [1.0], [NAN], Tolerance(absolute=1e30), "output y[0] is nan, expected 1.0"),
        ("FP32", [NAN], [1.0], Tolerance(absolute=1e30), "output y[0] is 1.0, expected nan"),
        ("FP32", [1.0], [INF], Tolerance(relative=1e30), "output y[0] is inf, expected 1.0"),
        ("FP32", [INF], ["-Infinity"], Tolerance(relative=1.0), "output y[0] is -inf, expected inf"),
        ("INT64", [2**53], [2**53 + 1], None, "is 9007199254740993, expected 9007199254740992 exactly"),
        ("UINT8", [0], [255], None, "is 255, expected 0 exactly (1 of 1 value wrong)"),
        ("INT32", [7], [9], Tolerance(absolute=1), "is 9, expected 7 within 1 + 0 x |expected|"),
        ("BOOL", [True, False], [True, True], None, "output y[1] is true, expected false exactly"),
        ("BYTES", ["a", "b"], ["a", "c"], None, "output y[1] is 'c', expected 'b' exactly"),
    ],
)
def test_wrong(datatype: str, want: list[Any], got: list[Any], tolerance: Tolerance | None, words: str) -> None:
    (problem,) = problems(tensor(datatype, want), tensor(datatype, got), tolerance)
    assert words in problem


@pytest.mark.parametrize(
    ("got", "words"),
    [
        (tensor("FP64", [1.0, 2.0]), "output y has datatype FP64, expected FP32"),
        (tensor("FP32", [1.0, 2.0], shape=[1, 2]), "output y has shape [1, 2], expected [2]"),
        (Tensor("y", "FP32", (2,), b""), "output y has 0 bytes, FP32 of shape [2] needs 8"),
    ],
)
def test_another_form(got: Tensor, words: str) -> None:
    assert problems(tensor("FP32", [1.0, 2.0]), got) == [words]


def test_missing_and_unexpected_outputs() -> None:
    want = [tensor("FP32", [1.0], "a"), tensor("FP32", [1.0], "b")]
    got = [tensor("FP32", [1.0], "a"), tensor("FP32", [1.0], "c")]
    assert compare(want, got, lambda _output: EXACT).problems == [
        "output b is missing, the answer has a, c",
        "output c is not expected",
    ]


def test_the_largest_deviations_are_told_with_their_place() -> None:
    want = tensor("FP32", [1.0, 100.0, 0.0, 4.0], shape=[2, 2])
    got = tensor("FP32", [1.5, 102.0, 0.0, 4.0], shape=[2, 2])
    result = compare([want], [got], lambda _output: Tolerance(absolute=10))
    assert result.problems == []
    assert result.absolute is not None
    assert result.relative is not None
    assert result.absolute.as_dict() == {"value": 2.0, "output": "y", "index": [0, 1]}
    assert result.relative.as_dict() == {"value": 0.5, "output": "y", "index": [0, 0]}


def test_a_deviation_without_bounds_can_be_written_as_json() -> None:
    result = compare([tensor("FP32", [1.0])], [tensor("FP32", [NAN])], lambda _output: EXACT)
    assert result.absolute is not None
    assert result.absolute.as_dict()["value"] == "Infinity"
