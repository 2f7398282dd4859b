# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The example models: built the same every time, and what they claim to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import onnxruntime
import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._inference import golden_requests
from ansible_collections.fastml.supersonic.tests.harness.models import build_examples

Array = numpy.ndarray[Any, Any]


def contents(repository: Path) -> dict[str, bytes]:
    """All files, but for what Python leaves beside a model that a server has loaded."""
    files = [path for path in repository.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(repository)): path.read_bytes() for path in files}


def test_two_builds_are_equal(examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    again = build_examples(tmp_path / "again")
    assert contents(again) == contents(examples)
    # A build takes the place of an earlier one and leaves nothing else.
    (again / "stale").write_text("")
    build_examples(again)
    assert contents(again) == contents(examples)
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_every_model_is_whole(examples: Path) -> None:
    for model in ("accelerator", "digits", "identity", "particlenet"):
        assert (examples / model / "config.pbtxt").is_file()
        assert (examples / model / "1" / "model.py").is_file()
        assert golden_requests.load_model(str(examples / model), model)


def test_the_digits_are_recognised(examples: Path) -> None:
    """The exported graph, on all images: as good as its expected answers promise."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    session = onnxruntime.InferenceSession(examples / "digits" / "1" / "model.onnx")
    (answers,) = session.run(["label"], {"image": images.astype(numpy.float32)})
    assert (answers == labels).mean() > 0.98


def test_the_expected_digits_are_nearly_all_those_on_the_images(examples: Path) -> None:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    found, expected = [], []
    for golden in golden_requests.load_model(str(examples / "digits"), "digits"):
        expected += next(tensor for tensor in golden.expected if tensor.name == "label").values().tolist()
        for image in golden.inputs[0].values().reshape(-1, 64):
            (index,) = numpy.flatnonzero((images == image).all(axis=1))
            found.append(int(labels[index]))
    assert len(found) == 12
    assert sum(one == other for one, other in zip(found, expected, strict=True)) >= 11


@pytest.fixture(scope="module")
def particlenet(examples: Path) -> Any:
    session = onnxruntime.InferenceSession(examples / "particlenet" / "1" / "model.onnx")

    def run(points: Array, features: Array, mask: Array) -> Array:
        inputs = {"points": points, "features": features, "mask": mask}
        (answer,) = session.run(None, {name: value.astype(numpy.float32) for name, value in inputs.items()})
        return numpy.asarray(answer)

    return run


@pytest.fixture
def jets() -> tuple[Array, Array, Array]:
    random = numpy.random.default_rng(5)
    return random.normal(size=(3, 2, 40)), random.normal(size=(3, 16, 40)), numpy.ones((3, 1, 40))


def test_particlenet_sees_sets_not_sequences(particlenet: Any, jets: tuple[Array, Array, Array]) -> None:
    order = numpy.random.default_rng(6).permutation(40)
    shuffled = [tensor[:, :, order] for tensor in jets]
    numpy.testing.assert_allclose(particlenet(*shuffled), particlenet(*jets), rtol=1e-4, atol=1e-6)


def test_particlenet_leaves_out_padding(particlenet: Any, jets: tuple[Array, Array, Array]) -> None:
    padded = [numpy.concatenate([tensor, numpy.zeros_like(tensor)], axis=2) for tensor in jets]
    numpy.testing.assert_allclose(particlenet(*padded), particlenet(*jets), rtol=1e-4, atol=1e-6)


def test_particlenet_uses_all_that_it_is_given(particlenet: Any, jets: tuple[Array, Array, Array]) -> None:
    points, features, mask = jets
    answer = particlenet(points, features, mask)
    assert answer.shape == (3, 2)
    numpy.testing.assert_allclose(answer.sum(axis=1), 1, rtol=1e-5)
    # Other neighbours, other features: another answer.
    assert numpy.abs(particlenet(points[:, :, ::-1], features, mask) - answer).max() > 1e-4
    assert numpy.abs(particlenet(points, features * 1.5, mask) - answer).max() > 1e-4


def test_particlenet_treats_jets_of_a_batch_alone(particlenet: Any, jets: tuple[Array, Array, Array]) -> None:
    single = numpy.concatenate([particlenet(*(tensor[index : index + 1] for tensor in jets)) for index in range(3)])
    numpy.testing.assert_allclose(single, particlenet(*jets), rtol=1e-4, atol=1e-6)
