# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Converts tensors of the KServe v2 protocol from and to JSON and bytes.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError

if t.TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[t.Any, numpy.dtype[t.Any]]

# Name in the protocol -> name in numpy. BF16 is unknown to numpy and handled by hand, BYTES has no fixed size.
NUMPY_TYPES: dict[str, str] = {
    "BOOL": "|b1",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
FLOATS = ("FP16", "BF16", "FP32", "FP64")
INTEGERS = tuple(name for name in NUMPY_TYPES if "INT" in name)
DATATYPES = (*NUMPY_TYPES, "BF16", "BYTES")
# Triton's HTTP interface takes and gives these only as bytes.
BINARY_ONLY = ("FP16", "BF16")

_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True)
class Tensor:
    """One named tensor; raw holds its elements as the protocol's binary extension lays them out."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes
    # Whether its author wrote it as bytes, so that it also travels as bytes where there is a choice.
    binary: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def values(self) -> Array:
        """The elements as a flat array: float32 for BF16, objects of type bytes for BYTES."""
        import numpy

        if self.datatype == "BYTES":
            array = numpy.empty(self.size, dtype=object)
            array[:] = list(split_bytes(self.raw))
            return array
        if self.datatype == "BF16":
            return (numpy.frombuffer(self.raw, dtype="<u2").astype("<u4") << 16).view("<f4")
        return numpy.frombuffer(self.raw, dtype=NUMPY_TYPES[self.datatype])


def check_size(tensor: Tensor) -> str | None:
    """The mismatch between the shape of a tensor and its bytes, or None."""
    if tensor.datatype == "BYTES":
        try:
            count = sum(1 for _element in split_bytes(tensor.raw))
        except ValueError:
            return f"holds {len(tensor.raw)} bytes that are no sequence of length-prefixed BYTES elements"
        if count != tensor.size:
            return f"has {count} values, its shape {list(tensor.shape)} needs {tensor.size}"
        return None
    expected = tensor.size * item_size(tensor.datatype)
    if len(tensor.raw) != expected:
        return f"has {len(tensor.raw)} bytes, {tensor.datatype} of shape {list(tensor.shape)} needs {expected}"
    return None


def item_size(datatype: str) -> int:
    return 2 if datatype == "BF16" else int(NUMPY_TYPES[datatype][-1])


def split_bytes(raw: bytes) -> Iterator[bytes]:
    """The elements of a BYTES tensor: each is preceded by its length in four bytes, little endian."""
    position = 0
    while position < len(raw):
        if position + 4 > len(raw):
            raise ValueError("truncated length")
        (length,) = struct.unpack_from("<I", raw, position)
        position += 4
        if position + length > len(raw):
            raise ValueError("truncated element")
        yield raw[position : position + length]
        position += length


def join_bytes(elements: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def from_json(entry: t.Any, where: str) -> Tensor:
    """Read a tensor with its values, given as data (the protocol's JSON) or as raw (bytes in base64)."""
    if not isinstance(entry, Mapping):
        raise SupersonicError(f"{where} is no mapping.")
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str) or not name:
        raise SupersonicError(f"{where} has no name.")
    where = f"{where} ({name})"
    unknown = sorted(set(entry) - {"name", "datatype", "shape", "data", "raw"})
    if unknown:
        raise SupersonicError(f"{where} has the unknown key '{unknown[0]}'; use name, datatype, shape and data or raw.")
    if datatype not in DATATYPES:
        raise SupersonicError(f"{where} has the datatype {datatype!r}; it must be one of {', '.join(DATATYPES)}.")
    if not isinstance(shape, list) or not all(_is_whole(size) and size >= 0 for size in shape):
        raise SupersonicError(f"{where} needs a shape: a list of sizes, for example [1, 4].")
    if ("data" in entry) == ("raw" in entry):
        raise SupersonicError(f"{where} needs either data or raw.")
    if "raw" in entry:
        try:
            raw = base64.b64decode(entry["raw"], validate=True)
        except (binascii.Error, ValueError, TypeError) as exc:
            raise SupersonicError(f"{where}: raw is not base64.") from exc
    else:
        values = list(flatten(entry["data"]))
        if len(values) != math.prod(shape):
            raise SupersonicError(f"{where} has {len(values)} values, its shape {shape} needs {math.prod(shape)}.")
        raw = _encode(values, datatype, where)
    tensor = Tensor(name=name, datatype=datatype, shape=tuple(shape), raw=raw, binary="raw" in entry)
    problem = check_size(tensor)
    if problem:
        raise SupersonicError(f"{where} {problem}.")
    return tensor


def to_json(tensor: Tensor) -> dict[str, t.Any]:
    """The JSON of a tensor in the fewest digits that give the same bytes again."""
    result: dict[str, t.Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    array = tensor.values()
    if tensor.datatype == "BYTES":
        try:
            result["data"] = [element.decode() for element in array]
        except UnicodeDecodeError:
            result["raw"] = base64.b64encode(tensor.raw).decode()
    elif tensor.datatype in FLOATS:
        result["data"] = [_number_to_json(value) for value in array]
    else:
        result["data"] = array.tolist()
    return result


def plain_data(tensor: Tensor) -> list[t.Any] | None:
    """The values as a server takes them in JSON, or None where JSON cannot carry them."""
    if tensor.binary or tensor.datatype in BINARY_ONLY:
        return None
    data = to_json(tensor).get("data")
    if data is not None and tensor.datatype in FLOATS and any(isinstance(value, str) for value in data):
        return None
    return data


def _number_to_json(value: t.Any) -> float | str:
    number = float(str(value))
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return number


def _is_whole(value: t.Any) -> bool:
    # In Python true and false are integers; in JSON they are not.
    return isinstance(value, int) and not isinstance(value, bool)


def flatten(data: t.Any) -> Iterator[t.Any]:
    """The values of a tensor in JSON, which may be nested as its shape is or not."""
    if isinstance(data, list):
        for item in data:
            yield from flatten(item)
    else:
        yield data


def _encode(values: list[t.Any], datatype: str, where: str) -> bytes:
    import numpy

    if datatype == "BYTES":
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise SupersonicError(f"{where}: value {index} is {value!r}, BYTES takes strings (or raw).")
        return join_bytes([value.encode() for value in values])
    if datatype == "BOOL":
        for index, value in enumerate(values):
            if value not in (True, False):
                raise SupersonicError(f"{where}: value {index} is {value!r}, BOOL takes true and false.")
        return numpy.array(values, dtype=NUMPY_TYPES["BOOL"]).tobytes()
    if datatype in FLOATS:
        return _encode_floats(values, datatype, where)
    limits = numpy.iinfo(NUMPY_TYPES[datatype])
    for index, value in enumerate(values):
        if not _is_whole(value) or not limits.min <= value <= limits.max:
            raise SupersonicError(
                f"{where}: value {index} is {value!r}, "
                f"{datatype} takes whole numbers from {limits.min} to {limits.max}."
            )
    return numpy.array(values, dtype=NUMPY_TYPES[datatype]).tobytes()


def _encode_floats(values: list[t.Any], datatype: str, where: str) -> bytes:
    import numpy

    def numbers() -> Iterator[float]:
        for index, value in enumerate(values):
            number = _SPECIAL.get(value) if isinstance(value, str) else value
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                raise SupersonicError(
                    f"{where}: value {index} is {value!r}, {datatype} takes numbers, 'NaN', 'Infinity' and '-Infinity'."
                )
            yield float(number)

    wide = numpy.fromiter(numbers(), dtype="<f8", count=len(values))
    with numpy.errstate(over="ignore"):
        array = wide.astype("<f4" if datatype == "BF16" else NUMPY_TYPES[datatype])
    overflowed = numpy.flatnonzero(numpy.isinf(array) & numpy.isfinite(wide))
    if overflowed.size:
        index = int(overflowed[0])
        raise SupersonicError(f"{where}: value {index} is {values[index]!r}, too large for {datatype}.")
    if datatype == "BF16":
        bits = array.view("<u4").astype("<u8")
        # Round to the nearest value, ties to the even one; a NaN must not be rounded into an infinity.
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        return numpy.where(numpy.isnan(array), 0x7FC0, rounded).astype("<u2").tobytes()
    return array.tobytes()
