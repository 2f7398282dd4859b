# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares the answer of a model with the expected one, number by number.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ansible_collections.fastml.supersonic.plugins.module_utils._inference import tensor as inference_tensor
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.golden_requests import Tolerance
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.tensor import Tensor

if t.TYPE_CHECKING:
    from ansible_collections.fastml.supersonic.plugins.module_utils._inference.tensor import Array


@dataclass(frozen=True)
class Deviation:
    """The largest difference of its kind, and where it is."""

    value: float
    output: str
    index: tuple[int, ...]

    def as_dict(self) -> dict[str, t.Any]:
        # JSON has no infinity; a difference to NaN or to an infinity is one.
        value: float | str = self.value if self.value != float("inf") else "Infinity"
        return {"value": value, "output": self.output, "index": list(self.index)}


@dataclass
class Comparison:
    problems: list[str] = field(default_factory=list)
    absolute: Deviation | None = None
    relative: Deviation | None = None

    def merge(self, other: Comparison) -> None:
        self.problems += [problem for problem in other.problems if problem not in self.problems]
        self.absolute = larger(self.absolute, other.absolute)
        self.relative = larger(self.relative, other.relative)


def larger(one: Deviation | None, two: Deviation | None) -> Deviation | None:
    if one is None or two is None:
        return one or two
    return two if two.value > one.value else one


def compare(
    expected: Sequence[Tensor], answer: Sequence[Tensor], tolerance_of: Callable[[Tensor], Tolerance]
) -> Comparison:
    """Compare all outputs; every output that is wrong gives one sentence."""
    result = Comparison()
    answered = {tensor.name: tensor for tensor in answer}
    for tensor in expected:
        if tensor.name not in answered:
            result.problems.append(f"output {tensor.name} is missing, the answer has {_listed(answered)}")
        else:
            result.merge(_compare_output(tensor, answered[tensor.name], tolerance_of(tensor)))
    extra = [name for name in answered if name not in {tensor.name for tensor in expected}]
    if extra:
        result.problems.append(f"output {_listed(extra)} is not expected")
    return result


def _compare_output(want: Tensor, got: Tensor, tolerance: Tolerance) -> Comparison:
    if got.datatype != want.datatype:
        return Comparison([f"output {want.name} has datatype {got.datatype}, expected {want.datatype}"])
    if got.shape != want.shape:
        return Comparison([f"output {want.name} has shape {list(got.shape)}, expected {list(want.shape)}"])
    problem = inference_tensor.check_size(got)
    if problem:
        return Comparison([f"output {want.name} {problem}"])
    if want.size == 0:
        return Comparison()
    if want.datatype in ("BYTES", "BOOL"):
        return _compare_exactly(want, got)
    return _compare_numbers(want, got, tolerance)


def _compare_exactly(want: Tensor, got: Tensor) -> Comparison:
    wanted, answered = want.values(), got.values()
    different = [int(index) for index in range(want.size) if wanted[index] != answered[index]]
    if not different:
        return Comparison()
    first = different[0]
    return Comparison(
        [_sentence(want, first, _shown(answered[first]), _shown(wanted[first]), "exactly", len(different))]
    )


def _compare_numbers(want: Tensor, got: Tensor, tolerance: Tolerance) -> Comparison:
    import numpy

    integers = want.datatype in inference_tensor.INTEGERS
    # Python integers for 64 bits: as doubles 2**53 and 2**53 + 1 would be equal.
    wanted, answered = (tensor.values().astype(object if integers else "<f8") for tensor in (want, got))
    if integers:
        absolute = numpy.abs(answered - wanted)
        allowed = tolerance.absolute + tolerance.relative * numpy.abs(wanted) if tolerance != Tolerance() else 0
        wrong = absolute > allowed
        absolute, wanted_size = absolute.astype("<f8"), numpy.abs(wanted).astype("<f8")
    else:
        with numpy.errstate(invalid="ignore", over="ignore"):
            same = (wanted == answered) | (numpy.isnan(wanted) & numpy.isnan(answered))
            absolute = numpy.where(same, 0.0, numpy.abs(answered - wanted))
            absolute = numpy.where(numpy.isnan(absolute), numpy.inf, absolute)
            wanted_size = numpy.abs(wanted)
            # Near NaN and infinities only the same value is right, whatever the tolerance.
            finite = numpy.isfinite(wanted) & numpy.isfinite(answered)
            wrong = ~same & ~(finite & (absolute <= tolerance.absolute + tolerance.relative * wanted_size))
    result = Comparison()
    result.absolute = _largest(want, absolute)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        relative = numpy.where((wanted_size > 0) & (absolute > 0), absolute / wanted_size, 0.0)
    result.relative = _largest(want, numpy.where(numpy.isnan(relative), numpy.inf, relative))
    indices = numpy.flatnonzero(wrong)
    if indices.size:
        worst = int(indices[numpy.argmax(absolute[indices])])
        values = got.values(), want.values()
        limit = "exactly" if integers and tolerance == Tolerance() else f"within {tolerance}"
        result.problems.append(
            _sentence(want, worst, str(values[0][worst]), str(values[1][worst]), limit, int(indices.size))
        )
    return result


def _largest(tensor: Tensor, deviations: Array) -> Deviation:
    position = int(deviations.argmax())
    return Deviation(float(deviations[position]), tensor.name, _index(tensor, position))


def _sentence(tensor: Tensor, position: int, got: str, want: str, limit: str, count: int) -> str:
    index = ", ".join(str(part) for part in _index(tensor, position))
    return (
        f"output {tensor.name}[{index}] is {got}, expected {want} {limit}"
        f" ({count} of {tensor.size} {'value' if tensor.size == 1 else 'values'} wrong)"
    )


def _index(tensor: Tensor, position: int) -> tuple[int, ...]:
    index = []
    for size in reversed(tensor.shape):
        position, remainder = divmod(position, size)
        index.append(remainder)
    return tuple(reversed(index))


def _shown(value: t.Any) -> str:
    if isinstance(value, bytes):
        text = value.decode(errors="backslashreplace")
        return repr(text if len(text) <= 60 else f"{text[:57]}...")
    return str(bool(value)).lower()


def _listed(names: t.Iterable[str]) -> str:
    return ", ".join(names) or "none"
