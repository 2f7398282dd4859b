# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Is a tree of models one that Triton can load? Asked before anything is sent.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Worth the trouble because Triton is not forgiving: one model that does not load makes a server unready for all, and a
version folder without its model file makes the Python backend hang for good.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable

from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError, missing_library
from ansible_collections.fastml.supersonic.plugins.module_utils._model_tree import Tree, is_version

CONFIG = "config.pbtxt"
_SHOWN = 20

# What each backend loads from a version folder unless the configuration names another file. Backends that are not
# here (ensemble, custom ones) may need nothing at all.
_MODEL_FILES: dict[str, tuple[str, ...]] = {
    "python": ("model.py",),
    "onnxruntime": ("model.onnx",),
    "tensorrt": ("model.plan",),
    "pytorch": ("model.pt", "model.pt2"),
    "tensorflow": ("model.savedmodel", "model.graphdef"),
    "openvino": ("model.xml", "model.onnx"),
    "dali": ("model.dali",),
    "fil": ("xgboost.json", "xgboost.ubj", "xgboost.model", "model.txt", "checkpoint.tl", "model.pkl"),
    "vllm": ("model.json",),
}
_PLATFORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "onnxruntime_onnx": ("onnxruntime", ("model.onnx",)),
    "tensorrt_plan": ("tensorrt", ("model.plan",)),
    "pytorch_libtorch": ("pytorch", ("model.pt",)),
    "tensorflow_savedmodel": ("tensorflow", ("model.savedmodel",)),
    "tensorflow_graphdef": ("tensorflow", ("model.graphdef",)),
}
# From these names alone Triton knows the backend, with or without a configuration.
_SELF_EXPLAINING = (
    "model.onnx",
    "model.plan",
    "model.savedmodel",
    "model.graphdef",
    "model.pt",
    "model.py",
    "model.xml",
)


def validate(tree: Tree) -> None:
    """Raise one error that names everything that is wrong with the models."""
    problems = list(_problems(tree))
    if not problems:
        return
    shown = problems[:_SHOWN]
    if len(problems) > _SHOWN:
        shown.append(f"and {len(problems) - _SHOWN} more.")
    if len(shown) == 1:
        raise SupersonicError(shown[0])
    raise SupersonicError("\n- ".join([f"{len(problems)} things are wrong with the models:", *shown]))


def _problems(tree: Tree) -> Iterable[str]:
    contents: dict[str, dict[str, set[str]]] = {}
    for entry in tree.entries:
        name, _slash, rest = entry.path.partition("/")
        if not rest and entry.mode != "dir":
            yield f"{tree.places[entry.path]} is a file, but the source holds folders of models only. Move it away."
            continue
        inside = contents.setdefault(name, {})
        first, _slash, below = rest.partition("/")
        # A folder maps to what lies in it, a file to nothing.
        known = inside.setdefault(first, set()) if first else set()
        if below:
            known.add(below.split("/", 1)[0])
        elif first and entry.mode == "dir":
            known.add("")
    if not contents:
        yield "The source holds no model. Each model is a folder with config.pbtxt and one folder per version."
    for name, inside in contents.items():
        yield from _model_problems(tree, name, inside)


def _model_problems(tree: Tree, name: str, inside: dict[str, set[str]]) -> Iterable[str]:
    if name.startswith("."):
        yield f"Folder '{name}': Triton takes every folder for a model, hidden ones too. Move it away."
        return
    config = None
    if CONFIG in inside:
        place = tree.places.get(f"{name}/{CONFIG}")
        if place is None:
            yield f"Model '{name}': {CONFIG} is a folder."
            return
        try:
            config = parse_config(name, place)
        except SupersonicError as error:
            yield str(error)
            return
        if config.name and config.name != name:
            yield (
                f"Model '{name}': {place}{_line_of('name', config.name, place)} names the model '{config.name}', "
                "but Triton wants the name of its folder. Change one of them or leave the name out."
            )
    versions = []
    for folder, below in inside.items():
        if not below:
            continue
        if is_version(folder):
            versions.append(folder)
        elif folder.isascii() and folder.isdigit():
            yield (
                f"Model '{name}': Triton ignores the version folder '{folder}', because it begins with 0. "
                f"Name it '{folder.lstrip('0') or '1'}'."
            )
    if not versions:
        yield f"Model '{name}': there is no version folder (1, 2, ...), so there is nothing to serve."
    for version in sorted(versions, key=int):
        yield from _version_problems(name, version, inside[version], config)


def _version_problems(name: str, version: str, below: set[str], config: t.Any) -> Iterable[str]:
    expected = _expected(config)
    if not expected or below.intersection(expected):
        return
    wanted = expected[0] if len(expected) == 1 else f"one of {', '.join(expected)}"
    if config is None:
        yield (
            f"Model '{name}': no {CONFIG}, and version {version} has no file that tells Triton what it is ({wanted}). "
            "Add a configuration."
        )
        return
    yield (
        f"Model '{name}': version folder {version} lacks {wanted}, which its backend loads. Triton would fail or hang: "
        "add the file or remove the folder."
    )


def _expected(config: t.Any) -> tuple[str, ...]:
    """The files of which a version folder must have one; none when the backend needs none."""
    if config is None:
        return _SELF_EXPLAINING
    if config.platform == "ensemble":
        return ()
    named = [config.default_model_filename] if config.default_model_filename else []
    by_capability = list(config.cc_model_filenames.values())
    if named or by_capability:
        usual = () if named else _usual(config)
        return tuple(file.split("/", 1)[0] for file in [*named, *by_capability]) + usual
    return _usual(config)


def _usual(config: t.Any) -> tuple[str, ...]:
    if config.platform in _PLATFORMS:
        return _PLATFORMS[config.platform][1]
    if config.backend:
        return _MODEL_FILES.get(config.backend, ())
    return () if config.platform else _SELF_EXPLAINING


def parse_config(name: str, place: str) -> t.Any:
    """A model's configuration as Triton's own message."""
    try:
        from google.protobuf import text_format
        from tritonclient.grpc import model_config_pb2
    # Without its extras the client raises a RuntimeError.
    except (ImportError, RuntimeError) as error:
        raise missing_library("tritonclient.grpc", "tritonclient[grpc]") from error

    try:
        with open(place, encoding="utf-8") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise SupersonicError(f"Model '{name}': {place} is not a text file in UTF-8.") from error
    except OSError as error:
        raise SupersonicError(f"Model '{name}': {place} cannot be read: {error.strerror}.") from error
    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        reason = re.sub(r"^\d+:\d+ : ", "", str(error)).rstrip(".")
        where = f", line {line}, column {column}" if line else ""
        raise SupersonicError(f"Model '{name}': {place}{where}: {reason}.") from error
    except RecursionError as error:
        raise SupersonicError(f"Model '{name}': {place} is nested too deeply.") from error


def _line_of(field: str, value: str, place: str) -> str:
    pattern = re.compile(rf"\b{field}\s*:\s*[\"']{re.escape(value)}[\"']")
    with open(place, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if pattern.search(line):
                return f", line {number},"
    return ""
