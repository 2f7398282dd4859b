# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parses a model's config.pbtxt and finds what Triton would refuse.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

The rules are those of Triton's core and of its backends. A backend may complete what a configuration leaves out, so
something that is missing is refused only where nobody can know it.
"""

from __future__ import annotations

import math
import posixpath
import re
import typing as t
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError, missing_library

CONFIG = "config.pbtxt"
ENSEMBLE = "ensemble"
ANY = -1
# From these names alone Triton knows the backend, with or without a configuration.
SELF_EXPLAINING = {
    "model.onnx": "onnxruntime",
    "model.plan": "tensorrt",
    "model.savedmodel": "tensorflow",
    "model.graphdef": "tensorflow",
    "model.pt": "pytorch",
    "model.py": "python",
    "model.xml": "openvino",
}
# What each backend loads from a version folder unless the configuration names another file. Backends that are not
# here may need nothing at all.
_MODEL_FILES: dict[str, tuple[str, ...]] = {
    "python": ("model.py",),
    "onnxruntime": ("model.onnx",),
    "tensorrt": ("model.plan",),
    "pytorch": ("model.pt", "model.pt2"),
    "tensorflow": ("model.savedmodel", "model.graphdef"),
    "openvino": ("model.xml",),
    "dali": ("model.dali", "dali.py"),
    "vllm": ("model.json",),
}
# The forests of FIL, by its parameter model_type.
_FOREST_FILES = {
    "xgboost": "xgboost.model",
    "xgboost_json": "xgboost.json",
    "xgboost_ubj": "xgboost.ubj",
    "lightgbm": "model.txt",
    "treelite_checkpoint": "checkpoint.tl",
}
_PLATFORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "onnxruntime_onnx": ("onnxruntime", ("model.onnx",)),
    "tensorrt_plan": ("tensorrt", ("model.plan",)),
    "pytorch_libtorch": ("pytorch", ("model.pt",)),
    "torch_aoti": ("pytorch", ("model.pt2",)),
    "tensorflow_savedmodel": ("tensorflow", ("model.savedmodel",)),
    "tensorflow_graphdef": ("tensorflow", ("model.graphdef",)),
}
# Other backends do not look at the platform.
_WITH_PLATFORM = frozenset(entry[0] for entry in _PLATFORMS.values())
# These fill in a list of inputs or outputs that is empty, and leave the others as they are.
_COMPLETE_EMPTY_LISTS = ("onnxruntime", "openvino", "tensorrt", "tensorflow")


@dataclass(frozen=True)
class Model:
    """The properties of a model that other models of a release depend on."""

    name: str
    # None: Triton makes the configuration, or it could not be read.
    config: t.Any
    backend: str
    # Version folders, and those that the version policy serves.
    versions: tuple[int, ...]
    served: frozenset[int]
    # Whether the backend may add to inputs and outputs.
    completed: bool

    def tensors(self, direction: str) -> Mapping[str, t.Any] | None:
        """Its inputs or outputs by name, None when not all of them are known."""
        if self.config is None:
            return None
        listed = {tensor.name: tensor for tensor in getattr(self.config, direction)}
        if self.completed and not (listed and self.backend in _COMPLETE_EMPTY_LISTS):
            return None
        return listed


def parse_config(name: str, place: str, content: bytes) -> t.Any:
    """A model's configuration, which was read from `place`, as Triton's own message."""
    try:
        from google.protobuf import text_format
        from tritonclient.grpc import model_config_pb2
    # Without its extras the client raises a RuntimeError.
    except (ImportError, RuntimeError) as error:
        raise missing_library("tritonclient.grpc", "tritonclient[grpc]") from error

    try:
        return text_format.Parse(content.decode(), model_config_pb2.ModelConfig())
    except UnicodeDecodeError as error:
        raise SupersonicError(f"Model '{name}': {place} is not a text file in UTF-8.") from error
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        reason = re.sub(r"^\d+:\d+ : ", "", str(error)).rstrip(".")
        where = f", line {line}, column {column}" if line else ""
        raise SupersonicError(f"Model '{name}': {place}{where}: {reason}.") from error


def backend_of(name: str, config: t.Any, files: Collection[str]) -> str:
    """The backend that Triton would choose; '' when it is an ensemble or nobody can tell."""
    if config is not None:
        if config.platform == ENSEMBLE:
            return ""
        if config.backend:
            return str(config.backend)
        if config.platform in _PLATFORMS:
            return _PLATFORMS[config.platform][0]
        if config.default_model_filename:
            return SELF_EXPLAINING.get(config.default_model_filename, "")
        if config.platform:
            return ""
    found = [backend for file, backend in SELF_EXPLAINING.items() if file in files]
    # A custom backend is known from the model's own name.
    return found[0] if found else name.partition(".")[2]


def expected_files(name: str, config: t.Any) -> tuple[str, ...]:
    """The files of which a version folder must have one; none when the backend needs none, or nobody knows."""
    if config is None:
        return () if "." in name else tuple(SELF_EXPLAINING)
    if config.platform == ENSEMBLE:
        return ()
    named = [config.default_model_filename] if config.default_model_filename else []
    by_capability = list(config.cc_model_filenames.values())
    usual = () if named else _usual(name, config)
    return tuple(file.split("/", 1)[0] for file in [*named, *by_capability]) + usual


def _usual(name: str, config: t.Any) -> tuple[str, ...]:
    if config.backend == "pytorch" and config.runtime:
        return ("model.py", "model.pt")
    if config.platform in _PLATFORMS and config.backend in ("", _PLATFORMS[config.platform][0]):
        return _PLATFORMS[config.platform][1]
    if config.backend == "fil":
        kind = config.parameters["model_type"].string_value if "model_type" in config.parameters else "xgboost"
        return (_FOREST_FILES[kind],) if kind in _FOREST_FILES else ()
    if config.backend:
        return _MODEL_FILES.get(config.backend, ())
    return () if config.platform or "." in name else tuple(SELF_EXPLAINING)


def served_versions(config: t.Any, present: Sequence[int]) -> frozenset[int]:
    """The versions that Triton loads of those present."""
    policy = config.version_policy if config is not None else None
    if policy is not None and policy.HasField("specific"):
        return frozenset(policy.specific.versions).intersection(present)
    if policy is not None and policy.HasField("all"):
        return frozenset(present)
    count = policy.latest.num_versions if policy is not None and policy.HasField("latest") else 1
    return frozenset(sorted(present, reverse=True)[:count])


def config_problems(model: Model, is_file: Callable[[str], bool]) -> Iterable[str]:
    """The problems of the configuration, as ends of sentences. `is_file` knows the paths in the model's folder."""
    config = model.config
    if config.max_batch_size < 0:
        yield f"max_batch_size is {config.max_batch_size}; it must be 0, for no batching, or more."
    yield from _platform_problems(config)
    yield from _policy_problems(config.version_policy, model.versions)
    for direction in ("input", "output"):
        yield from _tensor_problems(model, direction)
    yield from _label_problems(config, is_file)
    yield from _batch_tensor_problems(config)
    yield from _instance_problems(config)
    if config.HasField("dynamic_batching"):
        yield from _dynamic_problems(config)
    if config.HasField("sequence_batching"):
        yield from _sequence_problems(config)
    if config.response_cache.enable and config.model_transaction_policy.decoupled:
        yield "response_cache does not work with a decoupled model_transaction_policy. Turn one of them off."


def _platform_problems(config: t.Any) -> Iterable[str]:
    platform, backend = config.platform, config.backend
    if platform == ENSEMBLE:
        if backend:
            yield f"an ensemble has no backend, but backend is '{backend}'. Take it out."
        if not config.HasField("ensemble_scheduling"):
            yield "platform is 'ensemble', but ensemble_scheduling with its steps is missing."
    elif config.HasField("ensemble_scheduling"):
        yield "ensemble_scheduling is only for platform 'ensemble'. Set the platform or take it out."
    elif backend == ENSEMBLE:
        yield "backend is 'ensemble', but that is a platform. Write platform: \"ensemble\"."
    elif platform in _PLATFORMS and backend != _PLATFORMS[platform][0] and backend in _WITH_PLATFORM:
        yield f"platform '{platform}' belongs to backend '{_PLATFORMS[platform][0]}', not to '{backend}'."
    elif platform and not backend and platform not in _PLATFORMS and not _names_backend(config):
        yield f"platform '{platform}' is unknown to Triton. Name the backend instead: backend: \"...\"."


def _names_backend(config: t.Any) -> bool:
    return config.platform == "libtorch" or config.default_model_filename in SELF_EXPLAINING


def _policy_problems(policy: t.Any, present: Sequence[int]) -> Iterable[str]:
    there = f"there are {', '.join(map(str, present))}" if present else "there is none"
    if policy.HasField("latest") and policy.latest.num_versions < 1:
        yield "version_policy latest has no num_versions, so nothing would be served. It must be 1 or more."
    elif policy.HasField("specific"):
        if not policy.specific.versions:
            yield "version_policy specific names no version, so nothing would be served."
        for version in sorted(set(policy.specific.versions).difference(present)):
            yield f"version_policy wants version {version}, but {there}."


# Inputs and outputs


def _tensor_problems(model: Model, direction: str) -> Iterable[str]:
    tensors = list(getattr(model.config, direction))
    names = [tensor.name for tensor in tensors]
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        yield f"{direction} '{name}' is there twice."
    for index, tensor in enumerate(tensors):
        if not tensor.name:
            yield f"{direction}[{index}] has no name."
            continue
        at = f"{direction} '{tensor.name}'"
        if not _may_be_completed(model):
            if not tensor.data_type:
                yield f"{at} has no data_type, and nobody but the configuration can say it."
            if not tensor.dims:
                yield f"{at} has no dims, and nobody but the configuration can say them."
        if enum_name(tensor, "data_type").isdigit():
            yield f"{at} has data_type {tensor.data_type}, which is none of Triton's."
        yield from _shape_problems(at, tensor, model.config)


def _may_be_completed(model: Model) -> bool:
    """Whether a backend may add data types and shapes to inputs and outputs that are listed."""
    if model.backend in ("onnxruntime", "openvino") and model.config.input and model.config.output:
        return False
    return model.completed


def _shape_problems(at: str, tensor: t.Any, config: t.Any) -> Iterable[str]:
    trt = _is_tensorrt(config)
    if any(dim < 1 and dim != ANY for dim in tensor.dims):
        yield f"{at} has dims {list(tensor.dims)}; a dimension is 1 or more, or -1 for any size."
    elif tensor.HasField("reshape") and tensor.dims:
        yield from _reshape_problems(at, list(tensor.dims), list(tensor.reshape.shape), config.max_batch_size)
    # Only inputs have a format.
    if getattr(tensor, "format", 0) and tensor.dims and len(tensor.dims) != 3:
        yield f"{at} has a format with channels, height and width, which needs 3 dims, not {len(tensor.dims)}."
    if tensor.is_shape_tensor and not trt:
        yield f"{at} has is_shape_tensor, which only platform 'tensorrt_plan' knows."
    if tensor.is_non_linear_format_io:
        if not trt:
            yield f"{at} has is_non_linear_format_io, which only platform 'tensorrt_plan' knows."
        elif tensor.dims and len(tensor.dims) != 3:
            yield f"{at} has is_non_linear_format_io, which needs 3 dims, not {len(tensor.dims)}."


def _is_tensorrt(config: t.Any) -> bool:
    return config.platform == "tensorrt_plan" or (not config.platform and config.backend in ("tensorrt", ""))


def _reshape_problems(at: str, dims: list[int], shape: list[int], max_batch_size: int) -> Iterable[str]:
    if any(dim < 1 and dim != ANY for dim in shape):
        yield f"{at} has reshape {shape}; a dimension is 1 or more, or -1 for any size."
    elif not shape and max_batch_size == 0:
        yield f"{at} has an empty reshape, which only a model with batching (max_batch_size above 0) can have."
    elif _pieces(dims) != _pieces(shape):
        yield f"{at} has dims {dims} and reshape {shape}, which do not hold the same number of elements."


def _pieces(dims: Sequence[int]) -> list[int]:
    """Numbers of elements between the dimensions of any size."""
    pieces = [1]
    for dim in dims:
        if dim == ANY:
            pieces.append(1)
        else:
            pieces[-1] *= dim
    return pieces


def _label_problems(config: t.Any, is_file: Callable[[str], bool]) -> Iterable[str]:
    for output in config.output:
        if not output.label_filename:
            continue
        place = posixpath.normpath(output.label_filename)
        if place.startswith(("/", "../")) or place == "..":
            yield f"output '{output.name}' has label_filename '{output.label_filename}', outside of the model's folder."
        elif not is_file(place):
            yield f"output '{output.name}' has label_filename '{output.label_filename}', which is not in its folder."


def _batch_tensor_problems(config: t.Any) -> Iterable[str]:
    inputs = {tensor.name for tensor in config.input}
    outputs = {tensor.name for tensor in config.output}
    for kind, entries in (("batch_input", config.batch_input), ("batch_output", config.batch_output)):
        for index, entry in enumerate(entries):
            if len(entry.source_input) != 1:
                yield f"{kind}[{index}] takes one source_input, not {len(entry.source_input)}."
            for name in entry.source_input:
                if inputs and name not in inputs:
                    yield f"{kind}[{index}] has source_input '{name}', which is no input of the model."
            targets = list(entry.target_name)
            if kind == "batch_output":
                for name in sorted(set(targets)):
                    if outputs and name not in outputs:
                        yield f"{kind}[{index}] has target_name '{name}', which is no output of the model."
                    if targets.count(name) > 1:
                        yield f"{kind}[{index}] has target_name '{name}' twice."
            elif (data_type := enum_name(entry, "data_type")) not in ("TYPE_INT32", "TYPE_FP32"):
                yield f"{kind}[{index}] has data_type {data_type}; it must be TYPE_INT32 or TYPE_FP32."


# Instances and batching


def _instance_problems(config: t.Any) -> Iterable[str]:
    for index, group in enumerate(config.instance_group):
        at = f"instance_group[{index}]"
        kind = enum_name(group, "kind")
        if kind.isdigit():
            yield f"{at} has kind {kind}; it must be KIND_GPU, KIND_CPU, KIND_MODEL or KIND_AUTO."
        if group.count < 0:
            yield f"{at} has count {group.count}; it must be 1 or more, or be left out."
        if group.gpus and kind in ("KIND_CPU", "KIND_MODEL"):
            yield f"{at} has gpus, but its kind is {kind}. Take them out or write KIND_GPU."
        if any(gpu < 0 for gpu in group.gpus):
            yield f"{at} has gpus {list(group.gpus)}; they are numbered from 0."
        if group.profile and not _is_tensorrt(config):
            yield f"{at} has a profile, which only platform 'tensorrt_plan' knows."
        for profile in group.profile:
            if not re.fullmatch(r"\d+", profile, re.ASCII):
                yield f"{at} has profile '{profile}'; profiles are numbers from 0 on."


def _preferred_problems(at: str, sizes: Iterable[int], max_batch_size: int) -> Iterable[str]:
    for size in sizes:
        if size < 1:
            yield f"{at}.preferred_batch_size has {size}; it must be 1 or more."
        elif size > max_batch_size >= 0:
            yield f"{at}.preferred_batch_size has {size}, more than max_batch_size, which is {max_batch_size}."


def _dynamic_problems(config: t.Any) -> Iterable[str]:
    batching = config.dynamic_batching
    levels = batching.priority_levels
    yield from _preferred_problems("dynamic_batching", batching.preferred_batch_size, config.max_batch_size)
    if levels:
        if not 1 <= batching.default_priority_level <= levels:
            yield (
                f"dynamic_batching.default_priority_level is {batching.default_priority_level}; "
                f"with priority_levels {levels} it must be from 1 to {levels}."
            )
        for level in sorted(batching.priority_queue_policy):
            if not 1 <= level <= levels:
                yield (
                    f"dynamic_batching.priority_queue_policy is for level {level}; "
                    f"with priority_levels {levels} it must be from 1 to {levels}."
                )
    if batching.preserve_ordering:
        if levels > 1:
            yield f"dynamic_batching.preserve_ordering works with one priority level only, not with {levels}."
        policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
        delay = policies[0].TimeoutAction.Value("DELAY")
        if any(policy.default_timeout_microseconds and policy.timeout_action == delay for policy in policies):
            yield "dynamic_batching.preserve_ordering does not work with timeout_action DELAY. Turn one of them off."


def _sequence_problems(config: t.Any) -> Iterable[str]:
    batching = config.sequence_batching
    if config.response_cache.enable:
        yield "response_cache does not work with sequence_batching. Turn one of them off."
    yield from _preferred_problems(
        "sequence_batching.oldest", batching.oldest.preferred_batch_size, config.max_batch_size
    )
    share = batching.direct.minimum_slot_utilization
    if math.isnan(share) or not 0 <= share <= 1:
        yield f"sequence_batching.direct.minimum_slot_utilization is {share:g}; it must be from 0 to 1."
    names = [tensor.name for tensor in batching.control_input]
    if "" in names:
        yield f"sequence_batching.control_input[{names.index('')}] has no name."
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        yield f"sequence_batching.control_input '{name}' is there twice."
    seen: set[str] = set()
    for tensor in batching.control_input:
        for control in tensor.control:
            kind = enum_name(control, "kind")
            if kind in seen:
                yield f"sequence_batching has more than one control of kind {kind}."
            seen.add(kind)
            yield from _control_problems(f"sequence_batching.control_input '{tensor.name}'", kind, control)


def _control_problems(at: str, kind: str, control: t.Any) -> Iterable[str]:
    pairs = [pair for pair in ("int32", "fp32", "bool") if len(getattr(control, f"{pair}_false_true"))]
    if kind == "CONTROL_SEQUENCE_CORRID":
        allowed = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")
        if pairs:
            yield f"{at} is a correlation id and takes no {pairs[0]}_false_true."
        if (data_type := enum_name(control, "data_type")) not in allowed:
            yield f"{at} is a correlation id of {data_type}; it must be one of {', '.join(allowed)}."
    elif len(pairs) != 1:
        yield f"{at} needs one of int32_false_true, fp32_false_true and bool_false_true for {kind}."
    elif len(getattr(control, f"{pairs[0]}_false_true")) != 2:
        yield f"{at} needs two values in {pairs[0]}_false_true: the one for false and the one for true."


def enum_name(message: t.Any, field: str) -> str:
    """The name of an enumeration's value; its number when it has none, because the text may hold any number."""
    number = getattr(message, field)
    value = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number.get(number)
    return str(value.name if value else number)
