# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Model repositories of tests: the example models, and models that misbehave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parents[2]
BUILDER = CLONE / "dev/roles/local_cluster" / "files" / "models" / "build.py"

MODEL = """
import time
import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        INITIALIZE

    def execute(self, requests):
        responses = []
        for request in requests:
            tensors = []
            for given in request.inputs():
                value = given.as_numpy()
                EXECUTE
                tensors.append(pb_utils.Tensor(given.name().replace("INPUT", "OUTPUT"), value))
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
"""


def build_examples(destination: Path) -> Path:
    subprocess.run([sys.executable, str(BUILDER), "--destination", str(destination)], check=True, capture_output=True)
    return destination


def write_model(
    repository: Path,
    name: str,
    *,
    initialize: str = "pass",
    execute: str = "pass",
    datatypes: tuple[str, ...] = ("FP32",),
    max_batch_size: int = 0,
) -> None:
    """A model with an output for each input, equal to it unless the line execute changes value.

    max_batch_size: 0 for requests without a batch, whose shape is [N] and not [1, N].
    """
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(MODEL.replace("INITIALIZE", initialize).replace("EXECUTE", execute))
    types = ["STRING" if datatype == "BYTES" else datatype for datatype in datatypes]
    tensors = {
        direction: ", ".join(
            f'{{ name: "{direction.upper()}{index}" data_type: TYPE_{name} dims: [ -1 ] }}'
            for index, name in enumerate(types)
        )
        for direction in ("input", "output")
    }
    (folder.parent / "config.pbtxt").write_text(
        f'name: "{name}"\nbackend: "python"\nmax_batch_size: {max_batch_size}\n'
        f"input [ {tensors['input']} ]\noutput [ {tensors['output']} ]\n"
        "instance_group [ { kind: KIND_CPU count: 1 } ]\n"
    )


def golden(model: str, values: list[Any], name: str = "values", datatype: str = "FP32") -> dict[str, Any]:
    """A golden request to a model that returns its only input."""
    tensor = {"datatype": datatype, "shape": [len(values)], "data": values}
    return {
        "model": model,
        "name": name,
        "request": {"inputs": [{"name": "INPUT0", **tensor}]},
        "response": {"outputs": [{"name": "OUTPUT0", **tensor}]},
    }


def write_golden(repository: Path, document: dict[str, Any]) -> None:
    folder = repository / document["model"] / "golden"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{document['name']}.json").write_text(json.dumps(document))


def write_goldens(source: Path, count: int, nested: bool) -> None:
    """So many golden requests of almost 4 MB, of values that take much more than their text while they are read."""
    text = "[0.5]," if nested else "0.5,"
    values = 1_940_000 // len(text)
    data = (text * values)[:-1]
    shape = f"[{values}, 1]" if nested else f"[{values}]"

    def tensors(name: str) -> str:
        return f'[{{"name": "{name}", "datatype": "FP32", "shape": {shape}, "data": [{data}]}}]'

    (source / "m/1").mkdir(parents=True)
    (source / "m/golden").mkdir()
    (source / "m/config.pbtxt").write_text('backend: "python"\n')
    (source / "m/1/model.py").write_text("class TritonPythonModel: pass\n")
    for number in range(count):
        (source / f"m/golden/{number}.json").write_text(
            f'{{"request": {{"inputs": {tensors("I")}}}, "response": {{"outputs": {tensors("O")}}}}}'
        )
