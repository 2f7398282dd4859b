# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Validates ensembles: their steps against each other and against the models of the release.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Triton finds most of this only after all the models of the steps are loaded, and then serves everything but the
ensemble.
"""

from __future__ import annotations

import typing as t
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_config import (
    ANY,
    ENSEMBLE,
    Model,
    enum_name,
)


def ensemble_problems(model: Model, models: Mapping[str, Model], external: Collection[str]) -> Iterable[str]:
    """The problems of an ensemble, as ends of sentences."""
    config = model.config
    for field in ("optimization", "instance_group", "model_warmup"):
        given = config.HasField(field) if field == "optimization" else len(getattr(config, field))
        if given:
            yield f"an ensemble has no {field}: it runs nothing itself. Take it out."
    steps = config.ensemble_scheduling.step
    if steps:
        yield from _flow_problems(config)
    elif config.HasField("ensemble_scheduling"):
        yield "ensemble_scheduling has no step."
    shapes = _Shapes(config)
    for index, step in enumerate(steps):
        if step.model_name:
            yield from _step_problems(f"step[{index}]", config, step, models, external, shapes)


def circles(models: Mapping[str, Model]) -> Iterable[str]:
    """Ensembles that contain themselves, as whole sentences."""
    steps = {
        name: sorted({step.model_name for step in model.config.ensemble_scheduling.step} & models.keys())
        for name, model in models.items()
        if model.config is not None and model.config.platform == ENSEMBLE
    }
    done: set[str] = set()
    for start in sorted(steps):
        path: list[str] = []
        todo = [(start, 0)]
        # Without recursion: ensembles may form a long chain.
        while todo:
            name, depth = todo.pop()
            del path[depth:]
            if name in path:
                yield (
                    f"Model '{name}': the ensembles form a circle: {' -> '.join([*path[path.index(name) :], name])}. "
                    "Take one of the steps out."
                )
            elif name not in done:
                done.add(name)
                path.append(name)
                todo += [(inner, len(path)) for inner in reversed(steps.get(name, ()))]


def _flow_problems(config: t.Any) -> Iterable[str]:
    """Every tensor has to be written once, before it is read, and to be read by somebody."""
    inputs = {tensor.name for tensor in config.input}
    outputs = {tensor.name for tensor in config.output}
    writers: dict[str, list[str]] = defaultdict(list)
    readers: dict[str, list[str]] = defaultdict(list)
    for index, step in enumerate(config.ensemble_scheduling.step):
        at = f"step[{index}]"
        for field in ("model_name", "input_map", "output_map"):
            if not getattr(step, field):
                yield f"{at} has no {field}."
        for tensor in sorted(set(step.input_map.values())):
            readers[tensor].append(at)
        for tensor in sorted(step.output_map.values()):
            writers[tensor].append(at)
    for tensor, steps in sorted(writers.items()):
        if len(steps) > 1:
            yield f"tensor '{tensor}' is written more than once, by {' and '.join(steps)}."
        elif tensor in inputs:
            yield f"tensor '{tensor}' is an input of the ensemble, but {steps[0]} writes it too."
        if tensor not in readers and tensor not in outputs:
            yield f"{steps[0]} writes tensor '{tensor}', which nobody reads. Take it out of output_map."
    for tensor, steps in sorted(readers.items()):
        if tensor not in writers and tensor not in inputs:
            yield f"{steps[0]} reads tensor '{tensor}', which is no input of the ensemble and which no step writes."
    for tensor in sorted(inputs - readers.keys()):
        yield f"input '{tensor}' of the ensemble is read by no step."
    for tensor in sorted(outputs - writers.keys()):
        yield f"output '{tensor}' of the ensemble is written by no step."
    waiting = _waiting(config, inputs.union(readers.keys() - writers.keys()))
    if waiting:
        yield f"steps wait for one another in a circle: {', '.join(waiting)}."


def _waiting(config: t.Any, ready: set[str]) -> list[str]:
    """The steps that could never run."""
    left = dict(enumerate(config.ensemble_scheduling.step))
    while True:
        runnable = [index for index, step in left.items() if ready.issuperset(step.input_map.values())]
        if not runnable:
            return [f"step[{index}]" for index in left]
        for index in runnable:
            ready.update(left.pop(index).output_map.values())


def _step_problems(
    at: str, config: t.Any, step: t.Any, models: Mapping[str, Model], external: Collection[str], shapes: _Shapes
) -> Iterable[str]:
    name = step.model_name
    model = models.get(name)
    if model is None:
        if name not in external:
            yield (
                f"{at} needs model '{name}', which is not in the release. Add it, or name it in external_models (in an "
                "inventory model_repository_external_models) when the servers get it from another repository."
            )
        return
    yield from _version_problems(at, step.model_version, model)
    if model.config is None:
        return
    if 0 < model.config.max_batch_size < config.max_batch_size:
        yield (
            f"max_batch_size is {config.max_batch_size}, but {at} needs model '{name}', "
            f"which takes {model.config.max_batch_size} only."
        )
    inputs, outputs = model.tensors("input"), model.tensors("output")
    for key, tensor in sorted(step.input_map.items()):
        if inputs is not None and key not in inputs:
            yield f"{at} maps tensor '{tensor}' to input '{key}', but model '{name}' lacks it{_there(inputs)}."
    if inputs is not None:
        for key, given in inputs.items():
            if key and not given.optional and key not in step.input_map:
                yield f"{at} maps nothing to input '{key}' of model '{name}'."
    for key, tensor in sorted(step.output_map.items()):
        if outputs is not None and key not in outputs:
            yield f"{at} maps output '{key}' to tensor '{tensor}', but model '{name}' lacks it{_there(outputs)}."
    for direction, mapping in (("input", step.input_map), ("output", step.output_map)):
        listed = {tensor.name: tensor for tensor in getattr(model.config, direction)}
        for key, tensor in sorted(mapping.items()):
            if key in listed:
                yield from shapes.add(tensor, f"{direction} '{key}' of model '{name}'", listed[key], model)


def _there(tensors: Mapping[str, t.Any]) -> str:
    return f"; it has {', '.join(sorted(tensors))}" if tensors else ""


def _version_problems(at: str, version: int, model: Model) -> Iterable[str]:
    if version == 0:
        yield f"{at} has no model_version. Write -1 for the latest version of model '{model.name}'."
    elif version != -1 and version not in model.versions:
        yield f"{at} needs version {version} of model '{model.name}', which does not exist."
    elif version != -1 and version not in model.served:
        yield f"{at} needs version {version} of model '{model.name}', which its version_policy does not serve."


@dataclass(frozen=True)
class _Tensor:
    what: str
    data_type: str
    # With and without the dimension of the batch; two readings when the backend decides about batching.
    shapes: tuple[tuple[int, ...], ...]
    dims: tuple[int, ...]


class _Shapes:
    """The tensors of an ensemble as Triton compares them: each one with where it was seen first."""

    def __init__(self, config: t.Any) -> None:
        self._first: dict[str, _Tensor] = {}
        for direction in ("input", "output"):
            for tensor in getattr(config, direction):
                dims = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
                what = f"{direction} '{tensor.name}' of the ensemble"
                self._first.setdefault(tensor.name, _tensor(what, tensor, dims, (config.max_batch_size > 0,)))

    def add(self, name: str, what: str, tensor: t.Any, model: Model) -> Iterable[str]:
        config = model.config
        batching = (True, False) if model.completed and not config.max_batch_size else (config.max_batch_size > 0,)
        # Triton takes the dims of a step's model as they are, without their reshape.
        new = _tensor(what, tensor, tensor.dims, batching)
        old = self._first.setdefault(name, new)
        if old is new:
            return
        if "TYPE_INVALID" not in (old.data_type, new.data_type) and old.data_type != new.data_type:
            yield f"tensor '{name}' is {old.data_type} as {old.what}, but {new.data_type} as {new.what}."
        if old.dims and new.dims and not _fit(old, new):
            yield (
                f"tensor '{name}' has shape {list(old.shapes[0])} as {old.what}, "
                f"but {list(new.shapes[0])} as {new.what}."
            )


def _tensor(what: str, tensor: t.Any, dims: Iterable[int], batching: Sequence[bool]) -> _Tensor:
    plain = tuple(dims)
    shapes = tuple((ANY, *plain) if batch else plain for batch in batching)
    return _Tensor(what, enum_name(tensor, "data_type"), shapes, plain)


def _fit(one: _Tensor, other: _Tensor) -> bool:
    """Alike without the batch or with it: a model may take the batch as a dimension of its own."""
    if _alike(one.dims, other.dims):
        return True
    return any(_alike(first, second) for first in one.shapes for second in other.shapes)


def _alike(one: Sequence[int], other: Sequence[int]) -> bool:
    return len(one) == len(other) and all(a == b or ANY in (a, b) for a, b in zip(one, other, strict=True))
