# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Golden requests: inference requests stored with their expected answers.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import os
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import tensor as inference_tensor
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.tensor import Tensor

FOLDER = "golden"

# The canonical status codes of gRPC, which also name the outcome of requests over HTTP.
STATUS_NAMES = (
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


@dataclass(frozen=True)
class Tolerance:
    """A value is right when it differs from the expected one by at most absolute + relative * abs(expected)."""

    absolute: float = 0.0
    relative: float = 0.0

    def __str__(self) -> str:
        return f"{self.absolute:g} + {self.relative:g} x |expected|"


# Two correct calculations in the same precision differ by a few of its last digits: order of sums, fused operations.
DEFAULT_TOLERANCES = {
    "FP16": Tolerance(1e-3, 1e-2),
    "BF16": Tolerance(1e-2, 2e-2),
    "FP32": Tolerance(1e-5, 1e-4),
    "FP64": Tolerance(1e-9, 1e-7),
}
EXACT = Tolerance()


@dataclass(frozen=True)
class ExpectedError:
    """A request that must be refused: with this status, and this text in the message."""

    status: str
    contains: str = ""


@dataclass(frozen=True)
class Golden:
    model: str
    name: str
    where: str
    inputs: tuple[Tensor, ...]
    version: str = ""
    parameters: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    # Names of the outputs to ask for; none means all that the model has.
    requested: tuple[str, ...] = ()
    expected: tuple[Tensor, ...] = ()
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict)
    error: ExpectedError | None = None
    document: Mapping[str, t.Any] = field(default_factory=dict, compare=False, repr=False)

    def tolerance(self, output: Tensor) -> Tolerance:
        return self.tolerances.get(output.name) or DEFAULT_TOLERANCES.get(output.datatype, EXACT)


def load_repositories(paths: Sequence[str], models: Sequence[str] | None, *, recording: bool = False) -> list[Golden]:
    """Golden requests of the model folders in paths, of all models or of the named ones."""
    found: list[Golden] = []
    for path in paths:
        try:
            names = sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
        except OSError as exc:
            raise SupersonicError(f"The model repository {path} cannot be read: {exc.strerror}.") from exc
        for model in names:
            if models is None or model in models:
                found += load_model(os.path.join(path, model), model, recording=recording)
    return found


def load_model(path: str, model: str, *, recording: bool = False) -> list[Golden]:
    """Golden requests in the model folder path; none when it has no golden folder."""
    folder = os.path.join(path, FOLDER)
    try:
        files = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise SupersonicError(f"The golden requests in {folder} cannot be read: {exc.strerror}.") from exc
    return [
        parse(read_document(os.path.join(folder, name)), model, name[:-5], os.path.join(folder, name), recording)
        for name in files
    ]


def read_document(path: str) -> t.Any:
    """The JSON of a golden request."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as exc:
        raise SupersonicError(f"The golden request {path} cannot be read: {exc.strerror}.") from exc
    return parse_document(content, path)


def parse_document(content: bytes, path: str, *, flat: bool = False) -> t.Any:
    """The document at `path`; flat: with the values of each tensor in one list, which takes much less memory."""
    try:
        text = content.decode()
        # It may be as large.
        del content
        return json.loads(text, object_hook=_with_flat_data if flat else None)
    except ValueError as exc:
        raise SupersonicError(f"The golden request {path} is not JSON: {exc}.") from exc
    except RecursionError as exc:
        raise SupersonicError(f"The golden request {path} is nested too deeply.") from exc


def _with_flat_data(entry: dict[str, t.Any]) -> dict[str, t.Any]:
    if isinstance(entry.get("data"), list):
        entry["data"] = list(inference_tensor.flatten(entry["data"]))
    return entry


def parse_inline(documents: Sequence[t.Any], models: Sequence[str] | None, *, recording: bool = False) -> list[Golden]:
    """Golden requests given as a list in the format of the files, with the model (and a name) in each."""
    result = []
    for index, document in enumerate(documents):
        where = f"requests[{index}]"
        model = document.get("model") if isinstance(document, Mapping) else None
        if not isinstance(model, str) or not model:
            raise SupersonicError(f"{where} does not say its model.")
        if models is None or model in models:
            result.append(parse(document, model, str(document.get("name") or index), where, recording))
    return result


def parse(document: t.Any, model: str, name: str, where: str, recording: bool = False) -> Golden:
    """Read one golden request. When recording, the answer may be missing: it is what will be recorded."""
    document = _mapping(document, where)
    _known(document, where, ("model", "name", "version", "source", "request", "response", "tolerances", "error"))
    if document.get("model", model) != model:
        raise SupersonicError(f"{where} lies in the folder of model {model} but says model {document['model']}.")
    if "request" not in document:
        raise SupersonicError(f"{where} has no request.")
    request = _mapping(document["request"], f"{where}: request")
    _known(request, f"{where}: request", ("id", "parameters", "inputs", "outputs"))
    inputs = _tensors(request.get("inputs"), f"{where}: request.inputs")
    if "response" in document and "error" in document:
        raise SupersonicError(f"{where} has both a response and an error; one request has one outcome.")
    expected: tuple[Tensor, ...] = ()
    error = None
    if "error" in document:
        error = parse_error(document["error"], f"{where}: error")
    elif "response" in document:
        response = _mapping(document["response"], f"{where}: response")
        _known(response, f"{where}: response", ("outputs", "model_name", "model_version", "id", "parameters"))
        expected = _tensors(response.get("outputs"), f"{where}: response.outputs")
    elif not recording:
        raise SupersonicError(f"{where} has neither a response nor an error, so no answer could be wrong. Record one.")
    return Golden(
        model=model,
        name=name,
        where=where,
        inputs=inputs,
        version=str(document.get("version") or ""),
        parameters=_parameters(request.get("parameters"), f"{where}: request.parameters"),
        requested=_names(request.get("outputs"), f"{where}: request.outputs"),
        expected=expected,
        tolerances=parse_tolerances(document.get("tolerances"), expected, f"{where}: tolerances"),
        error=error,
        document=document,
    )


def parse_error(value: t.Any, where: str) -> ExpectedError:
    error = _mapping(value, where)
    _known(error, where, ("status", "contains"))
    status = error.get("status")
    if status not in STATUS_NAMES:
        raise SupersonicError(f"{where}: status {status!r} is none of {', '.join(STATUS_NAMES)}.")
    return ExpectedError(status=status, contains=str(error.get("contains") or ""))


def parse_tolerances(value: t.Any, expected: Sequence[Tensor], where: str) -> dict[str, Tolerance]:
    """Tolerances per output; only numbers can have one, and only outputs that are expected."""
    result = {}
    types = {tensor.name: tensor.datatype for tensor in expected}
    for name, entry in _mapping(value or {}, where).items():
        at = f"{where}.{name}"
        entry = _mapping(entry, at)
        _known(entry, at, ("absolute", "relative"))
        for key, number in entry.items():
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number < float("inf"):
                raise SupersonicError(f"{at}.{key} is {number!r}; it must be a number of at least 0.")
        if types and name not in types:
            raise SupersonicError(f"{at}: the response has no output {name}; it has {', '.join(types)}.")
        if types.get(name) in ("BYTES", "BOOL"):
            raise SupersonicError(f"{at}: {types[name]} is compared exactly and takes no tolerance.")
        result[name] = Tolerance(float(entry.get("absolute", 0.0)), float(entry.get("relative", 0.0)))
    return result


def require_models(goldens: Iterable[Golden], models: Sequence[str] | None, sources: str) -> None:
    """Every model that was named must have a golden request, or the check of it would prove nothing."""
    present = {golden.model for golden in goldens}
    missing = [model for model in models or [] if model not in present]
    if missing:
        raise SupersonicError(
            f"There is no golden request for model {', '.join(missing)} in {sources}. "
            f"Put one into <model>/{FOLDER}/<name>.json or take the model out of models."
        )
    if not present:
        raise SupersonicError(f"There are no golden requests in {sources}.")


def _mapping(value: t.Any, where: str) -> Mapping[str, t.Any]:
    if not isinstance(value, Mapping):
        raise SupersonicError(f"{where} is no mapping.")
    return value


def _known(value: Mapping[str, t.Any], where: str, keys: Sequence[str]) -> None:
    unknown = sorted(str(key) for key in value if key not in keys)
    if unknown:
        raise SupersonicError(f"{where} has the unknown key '{unknown[0]}'; it takes {', '.join(keys)}.")


def _tensors(value: t.Any, where: str) -> tuple[Tensor, ...]:
    if not isinstance(value, list) or not value:
        raise SupersonicError(f"{where} must be a list of at least one tensor.")
    tensors = tuple(inference_tensor.from_json(entry, f"{where}[{index}]") for index, entry in enumerate(value))
    names = [tensor.name for tensor in tensors]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SupersonicError(f"{where} has the tensor {twice[0]} twice.")
    return tensors


def _names(value: t.Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(e, Mapping) and isinstance(e.get("name"), str) for e in value):
        raise SupersonicError(f"{where} must be a list of mappings with a name.")
    for index, entry in enumerate(value):
        _known(entry, f"{where}[{index}]", ("name",))
    return tuple(entry["name"] for entry in value)


def _parameters(value: t.Any, where: str) -> dict[str, bool | int | float | str]:
    result = {}
    for key, parameter in _mapping(value or {}, where).items():
        if not isinstance(parameter, (bool, int, float, str)):
            raise SupersonicError(f"{where}.{key} is {parameter!r}; parameters are booleans, numbers and strings.")
        result[str(key)] = parameter
    return result
