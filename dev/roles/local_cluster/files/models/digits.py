# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model digits: a classifier that scikit-learn trains on the handwritten digits it ships with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import onnx
import sklearn
from golden import Tensor, write_golden
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

SEED = 20260101
SINGLE_REQUESTS = 4
BATCH_SIZE = 8


def build_digits(model: Path) -> None:
    images, labels = load_digits(return_X_y=True)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=0.2, random_state=SEED, stratify=labels
    )
    classifier = make_pipeline(MinMaxScaler(), MLPClassifier((64,), alpha=0.3, random_state=SEED, max_iter=500))
    classifier.fit(train_images, train_labels)
    accuracy = classifier.score(test_images, test_labels)
    if accuracy < 0.97:
        raise RuntimeError(f"the trained classifier recognises only {accuracy:.1%} of the held-out digits")

    onnx_model = convert_sklearn(
        classifier,
        name="digits",
        initial_types=[("image", FloatTensorType([None, 64]))],
        options={id(classifier): {"zipmap": False}},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    for value, name in zip(list(onnx_model.graph.output), ("label", "probabilities"), strict=True):
        rename_output(onnx_model.graph, value.name, name)
    # skl2onnx lists the operator sets in the order of a Python set, which changes from run to run.
    operator_sets = sorted(onnx_model.opset_import, key=lambda entry: entry.domain)
    del onnx_model.opset_import[:]
    onnx_model.opset_import.extend(operator_sets)
    (model / "1" / "model.onnx").write_bytes(onnx_model.SerializeToString(deterministic=True))

    def write(name: str, chosen: numpy.ndarray[Any, Any]) -> None:
        probabilities = classifier.predict_proba(chosen)
        write_golden(
            model,
            name,
            source=f"scikit-learn {sklearn.__version__}, images that were held out of the training",
            inputs=[Tensor("image", "FP32", chosen.shape, chosen.ravel().tolist())],
            outputs=[
                Tensor("label", "INT64", [len(chosen), 1], classifier.predict(chosen).tolist()),
                Tensor("probabilities", "FP32", probabilities.shape, probabilities.ravel().tolist()),
            ],
            # scikit-learn calculates in double precision, the exported graph in single.
            tolerances={"probabilities": {"absolute": 1e-5, "relative": 1e-3}},
        )

    for index in range(SINGLE_REQUESTS):
        write(f"image-{index}", test_images[index : index + 1])
    write("batch", test_images[SINGLE_REQUESTS : SINGLE_REQUESTS + BATCH_SIZE])


def rename_output(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a tensor of an ONNX graph wherever it is written, read or announced."""
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for value in graph.output:
        if value.name == old:
            value.name = new
