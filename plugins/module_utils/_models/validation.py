# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks that Triton can load a tree of models, before anything is sent.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Worth the trouble because Triton is not forgiving: one model that does not load makes a server unready for all, and a
version folder without its model file makes the Python backend hang for good.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Collection, Iterable, Sequence

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import golden_requests
from ansible_collections.fastml.supersonic.plugins.module_utils._models.ensemble import circles, ensemble_problems
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_config import (
    CONFIG,
    ENSEMBLE,
    Model,
    backend_of,
    config_problems,
    expected_files,
    parse_config,
    served_versions,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import Tree, is_version
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import Entry, readable

_SHOWN = 20
# The numbers of versions are 64 bits wide; Triton ends when it finds a larger one.
_LARGEST_VERSION = 2**63 - 1
# Folders of a model that Triton knows for something else.
_NO_VERSIONS = ("warmup", "initial_state", "configs")
# A path in a store, whose own folders need some more, has to stay below the 4096 bytes of the system.
_LONGEST_PATH = 3500
# Bytes of files that are read as a whole. Where a program is larger, nothing is said about it.
_LARGEST_CONFIG = 2_000_000
_LARGEST_PROGRAM = 4_000_000
# Its numbers take eight times as much while it is read.
_LARGEST_GOLDEN = 4_000_000

# What lies in a model's folder: a folder maps to the names in it, a file to nothing.
_Inside = dict[str, set[str]]


def validate(tree: Tree, external_models: Collection[str] = ()) -> None:
    """Raise one error that names everything that is wrong with the models."""
    problems = list(_problems(tree, external_models))
    if not problems:
        return
    shown = problems[:_SHOWN]
    if len(problems) > _SHOWN:
        shown.append(f"and {len(problems) - _SHOWN} more.")
    if len(shown) == 1:
        raise SupersonicError(shown[0])
    raise SupersonicError("\n- ".join([f"{len(problems)} things are wrong with the models:", *shown]))


def _problems(tree: Tree, external_models: Collection[str]) -> Iterable[str]:
    if place := tree.places.get(CONFIG):
        # All else that could be said of it would be said of the wrong things.
        yield f"{place} is the {CONFIG} of a model, so this source is a model itself. Name the folder that it lies in."
        return
    names: dict[str, None] = {}
    for entry in tree.entries:
        name, slash, _rest = entry.path.partition("/")
        if len(entry.path.encode()) > _LONGEST_PATH:
            yield f"The path {entry.path[:100]}... in the source is longer than {_LONGEST_PATH} bytes. Shorten it."
        if not slash and entry.mode != "dir":
            yield f"{tree.places[entry.path]} is a file, but the source holds folders of models only. Move it away."
        else:
            names[name] = None
    if not names:
        yield "The source holds no model. Each model is a folder with config.pbtxt and one folder per version."
    models: dict[str, Model] = {}
    for name in names:
        yield from _model_problems(tree, name, models)
    for name, model in models.items():
        if model.config is not None and model.config.platform == ENSEMBLE:
            for problem in ensemble_problems(model, models, external_models):
                yield f"Model '{name}': {problem}"
    yield from circles(models)
    for name in sorted(set(external_models).intersection(names)):
        yield f"external_models names '{name}', but the source holds this model. Take it out of one of them."


def _inside(entries: Iterable[Entry]) -> _Inside:
    inside: _Inside = {}
    for entry in entries:
        _model, _slash, rest = entry.path.partition("/")
        first, _slash, below = rest.partition("/")
        if first:
            known = inside.setdefault(first, set())
            if below:
                known.add(below.split("/", 1)[0])
            elif entry.mode == "dir":
                known.add("")
    return inside


def _model_problems(tree: Tree, name: str, models: dict[str, Model]) -> Iterable[str]:
    if name.startswith("."):
        yield f"Folder '{name}': Triton takes every folder for a model, hidden ones too. Move it away."
        return
    yield from _golden_problems(tree, name)
    inside = _inside(tree.below(name))
    versions = sorted(int(folder) for folder, below in inside.items() if below and is_version(folder))
    unreadable = Model(name, None, "", tuple(versions), frozenset(versions), True)
    # Whatever is wrong with it, it exists: ensembles that need it are not told otherwise.
    models[name] = unreadable
    config = None
    if CONFIG in inside:
        place = tree.places.get(f"{name}/{CONFIG}")
        if place is None:
            yield f"Model '{name}': {CONFIG} is a folder."
            return
        if (size := _size(tree, f"{name}/{CONFIG}")) > _LARGEST_CONFIG:
            yield (
                f"Model '{name}': {place} has {readable(size)}, but a configuration has {readable(_LARGEST_CONFIG)} at "
                "most. Is it another file?"
            )
            return
        content = tree.read(f"{name}/{CONFIG}")
        try:
            config = parse_config(name, place, content)
        except SupersonicError as error:
            yield str(error)
            return
        if config.name and config.name != name:
            yield (
                f"Model '{name}': {place}{_line_of('name', config.name, content)} names the model '{config.name}', "
                "but Triton wants the name of its folder. Change one of them or leave the name out."
            )
    yield from _folder_problems(name, inside)
    if not versions:
        if CONFIG not in inside and (held := sorted(folder for folder, below in inside.items() if CONFIG in below)):
            shown = ", ".join([*held[:3], "..."] if held[3:] else held)
            yield f"Folder '{name}' is no model, but holds models ({shown}). Name it as the source."
            return
        yield f"Model '{name}': there is no version folder (1, 2, ...), so there is nothing to serve."
    for version in versions:
        yield from _version_problems(name, version, inside[str(version)], config)
    if config is None:
        return
    backend = backend_of(name, config, inside[str(versions[0])] if versions else ())
    completed = _may_be_completed(tree, name, config, backend, versions)
    model = Model(name, config, backend, tuple(versions), served_versions(config, versions), completed)
    models[name] = model
    for problem in config_problems(model, lambda path: f"{name}/{path}" in tree.places):
        yield f"Model '{name}': {problem}"


def _folder_problems(name: str, inside: _Inside) -> Iterable[str]:
    """Folders with which Triton does something else than one might think."""
    for folder, below in inside.items():
        if not below or folder in _NO_VERSIONS:
            continue
        at = f"Model '{name}': "
        if is_version(folder):
            if int(folder) > _LARGEST_VERSION:
                yield f"{at}version folder {folder} has too large a number for Triton. Rename it."
        elif folder == "0":
            yield f"{at}version folder 0: versions are numbered from 1. Rename it."
        elif folder.isascii() and folder.isdigit():
            yield (
                f"{at}Triton ignores the version folder '{folder}', because it begins with 0. "
                f"Name it '{folder.lstrip('0') or '1'}'."
            )
        elif number := re.match(r"\s*([+-]?[1-9]\d*|[+-]0+)", folder, re.ASCII):
            yield (
                f"{at}Triton takes the folder '{folder}' for version {int(number[1])}, because it begins with a "
                "number. Rename it or move it away."
            )


def _version_problems(name: str, version: int, below: set[str], config: t.Any) -> Iterable[str]:
    expected = expected_files(name, config)
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


def _may_be_completed(tree: Tree, name: str, config: t.Any, backend: str, versions: Sequence[int]) -> bool:
    """Whether the backend may add inputs and outputs, or what they lack."""
    if config.platform in (ENSEMBLE, "tensorflow_graphdef"):
        return False
    if backend == "pytorch":
        return bool(config.runtime)
    if backend != "python":
        return True
    file = config.default_model_filename or "model.py"
    return any(_completes_itself(tree, f"{name}/{version}/{file}") for version in versions)


def _completes_itself(tree: Tree, path: str) -> bool:
    """Whether a Python model may have the function that completes its configuration, its own or an inherited one."""
    place = tree.places.get(path)
    if place is None or _size(tree, path) > _LARGEST_PROGRAM:
        return True
    try:
        text = tree.read(path).decode()
    except ValueError:
        return True
    own = re.search(r"^class TritonPythonModel\s*(\(\s*(object\s*)?\)\s*)?:", text, re.MULTILINE)
    return own is None or "auto_complete_config" in text


def _size(tree: Tree, path: str) -> int:
    entry = tree.entry(path)
    return entry.size if entry else 0


def _golden_problems(tree: Tree, name: str) -> Iterable[str]:
    folder = f"{name}/{golden_requests.FOLDER}"
    for entry in tree.below(folder):
        file, _slash, below = entry.path[len(folder) + 1 :].partition("/")
        if not file.endswith(".json"):
            continue
        if below or entry.mode == "dir":
            yield f"Model '{name}': {golden_requests.FOLDER}/{file} is a folder, but golden requests are files."
            continue
        place = tree.places[entry.path]
        if entry.size > _LARGEST_GOLDEN:
            yield (
                f"Model '{name}': the golden request {place} has {readable(entry.size)}, but one that is published has "
                f"{readable(_LARGEST_GOLDEN)} at most. Record it with a smaller input."
            )
            continue
        try:
            # Nothing of it is kept until the next one is read.
            golden_requests.parse(
                golden_requests.parse_document(tree.read(entry.path), place, flat=True),
                name,
                file[: -len(".json")],
                place,
            )
        except SupersonicError as error:
            yield f"Model '{name}': {error}"


def _line_of(field: str, value: str, content: bytes) -> str:
    pattern = re.compile(rf"\b{field}\s*:\s*[\"']{re.escape(value)}[\"']")
    for number, line in enumerate(content.decode().split("\n"), 1):
        if pattern.search(line):
            return f", line {number},"
    return ""
