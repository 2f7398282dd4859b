# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Triton python model that runs the model.onnx beside it with onnxruntime: one run for all requests of a batch."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]
        self.shapes = [[int(dim) for dim in tensor["dims"]] for tensor in config["output"]]
        options = onnxruntime.SessionOptions()
        # Servers share the machine's cores; more threads per request would only make them wait for each other.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.path.join(args["model_repository"], args["model_version"], "model.onnx"),
            options,
            providers=["CPUExecutionProvider"],
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        inputs = [
            [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs]
            for request in requests
        ]
        batch = {
            name: numpy.concatenate(parts) for name, parts in zip(self.inputs, zip(*inputs, strict=True), strict=True)
        }
        results = self.session.run(self.outputs, batch)
        ends = numpy.cumsum([parts[0].shape[0] for parts in inputs])[:-1]
        # The graph may leave out a dimension of size one that the configuration promises.
        pieces = [numpy.split(array.reshape(-1, *dims), ends) for array, dims in zip(results, self.shapes, strict=True)]
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor(name, part) for name, part in zip(self.outputs, parts, strict=True)]
            )
            for parts in zip(*pieces, strict=True)
        ]
