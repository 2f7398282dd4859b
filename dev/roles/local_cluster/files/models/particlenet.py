# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model particlenet: the graph network ParticleNet-Lite (EdgeConv blocks over nearest neighbours) as an ONNX graph.

The weights are random with a fixed seed. What counts is the shape of the work: neighbours are looked for anew in every
block, in the space that the block before has made. Padded particles (mask 0) are moved far away, so that no real
particle takes them for a neighbour, and are left out of the mean over the jet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import onnx
import onnxruntime
from golden import Tensor, write_golden
from onnx import TensorProto, helper, numpy_helper

SEED = 20260102
NEIGHBOURS = 7
FEATURES = 16
BLOCKS = ((32, 32, 32), (64, 64, 64))
DENSE = 128
CLASSES = 2
OPSET = 17
# Old enough for every onnxruntime of the last years.
IR_VERSION = 9
FAR_AWAY = 1e4


class Graph:
    """Collects nodes and weights; every method returns the name of the tensor that it makes."""

    def __init__(self) -> None:
        self.random = numpy.random.default_rng(SEED)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, value: numpy.ndarray[Any, Any]) -> str:
        name = f"constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(numpy.array(values, dtype=numpy.int64))

    def number(self, value: float) -> str:
        return self.constant(numpy.array(value, dtype=numpy.float32))

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def linear(self, tensor: str, size_in: int, size_out: int) -> str:
        weight = self.random.standard_normal((size_in, size_out)) * (2 / size_in) ** 0.5
        bias = self.random.standard_normal(size_out) * 0.1
        product = self.add("MatMul", tensor, self.constant(weight.astype(numpy.float32)))
        return self.add("Add", product, self.constant(bias.astype(numpy.float32)))

    def nearest(self, coordinates: str) -> str:
        """Indices [N, P, k, 1] of the k nearest neighbours of each point in coordinates [N, P, D]."""
        square = self.add("Mul", coordinates, coordinates)
        norm = self.add("ReduceSum", square, self.integers(-1), keepdims=1)
        product = self.add("MatMul", coordinates, self.add("Transpose", coordinates, perm=[0, 2, 1]))
        distance = self.add("Add", norm, self.add("Transpose", norm, perm=[0, 2, 1]))
        distance = self.add("Sub", distance, self.add("Mul", product, self.number(2.0)))
        indices = f"indices_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(
                "TopK",
                [distance, self.integers(NEIGHBOURS + 1)],
                [f"unused_{indices}", indices],
                axis=-1,
                largest=0,
                sorted=1,
            )
        )
        # The nearest of all is the point itself.
        others = self.add("Slice", indices, self.integers(1), self.integers(NEIGHBOURS + 1), self.integers(2))
        return self.add("Unsqueeze", others, self.integers(-1))

    def edge_convolution(self, coordinates: str, features: str, size_in: int, channels: tuple[int, ...]) -> str:
        """One EdgeConv block over features [N, P, C]: messages from the neighbours, their mean, and a shortcut."""
        neighbours = self.add("GatherND", features, self.nearest(coordinates), batch_dims=1)
        centre = self.add("Unsqueeze", features, self.integers(2))
        difference = self.add("Sub", neighbours, centre)
        spread = self.add("Expand", centre, self.add("Shape", neighbours))
        message = self.add("Concat", spread, difference, axis=-1)
        size = 2 * size_in
        for channel in channels:
            message = self.add("Relu", self.linear(message, size, channel))
            size = channel
        mean = self.add("ReduceMean", message, axes=[2], keepdims=0)
        return self.add("Relu", self.add("Add", mean, self.linear(features, size_in, size)))


def make_model() -> onnx.ModelProto:
    graph = Graph()
    mask = graph.add("Transpose", "mask", perm=[0, 2, 1])
    coordinates = graph.add("Transpose", "points", perm=[0, 2, 1])
    features = graph.add("Mul", graph.add("Transpose", "features", perm=[0, 2, 1]), mask)
    shift = graph.add("Mul", graph.add("Sub", graph.number(1.0), mask), graph.number(FAR_AWAY))
    size = FEATURES
    for channels in BLOCKS:
        shifted = graph.add("Add", coordinates, shift)
        features = graph.add("Mul", graph.edge_convolution(shifted, features, size, channels), mask)
        coordinates = features
        size = channels[-1]
    total = graph.add("ReduceSum", features, graph.integers(1), keepdims=0)
    count = graph.add("Max", graph.add("ReduceSum", mask, graph.integers(1), keepdims=0), graph.number(1.0))
    dense = graph.add("Relu", graph.linear(graph.add("Div", total, count), size, DENSE))
    graph.add("Softmax", graph.linear(dense, DENSE, CLASSES), output="probabilities", axis=-1)

    def value(name: str, *dims: str | int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)

    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "particlenet",
            [
                value("points", "jets", 2, "particles"),
                value("features", "jets", FEATURES, "particles"),
                value("mask", "jets", 1, "particles"),
            ],
            [value("probabilities", "jets", CLASSES)],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def make_jets(seed: int, jets: int, particles: int, real: int) -> dict[str, numpy.ndarray[Any, Any]]:
    """Jets of particles of which only the first ones are real, in few digits so that the files stay readable."""
    random = numpy.random.default_rng(seed)
    mask = numpy.zeros((jets, 1, particles), dtype=numpy.float32)
    mask[:, :, :real] = 1
    return {
        "points": (random.normal(0, 0.3, (jets, 2, particles)).round(3) * mask).astype(numpy.float32),
        "features": (random.normal(0, 1.0, (jets, FEATURES, particles)).round(2) * mask).astype(numpy.float32),
        "mask": mask,
    }


def build_particlenet(model: Path) -> None:
    serialized = make_model().SerializeToString(deterministic=True)
    (model / "1" / "model.onnx").write_bytes(serialized)
    session = onnxruntime.InferenceSession(serialized, providers=["CPUExecutionProvider"])
    for name, jets in (
        ("jet-100", make_jets(1, 1, 100, 100)),
        ("jet-padded", make_jets(2, 1, 50, 30)),
        ("batch", make_jets(3, 2, 32, 32)),
    ):
        (answer,) = session.run(["probabilities"], jets)
        write_golden(
            model,
            name,
            source=f"onnxruntime {onnxruntime.__version__}, run directly on model.onnx",
            inputs=[
                Tensor(key, "FP32", array.shape, [float(str(number)) for number in array.ravel()])
                for key, array in jets.items()
            ],
            outputs=[Tensor("probabilities", "FP32", answer.shape, answer.ravel().tolist())],
            tolerances={"probabilities": {"absolute": 1e-5, "relative": 1e-4}},
        )
