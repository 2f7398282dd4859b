# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every way in which models are refused, with the words."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._model_tree import scan
from ansible_collections.fastml.supersonic.plugins.module_utils._model_validation import validate

PYTHON = 'backend: "python"\n'
Write = Callable[[Path, dict[str, str | None]], Path]

GOOD: dict[str, dict[str, str | None]] = {
    "a python model": {"m/config.pbtxt": PYTHON, "m/1/model.py": ""},
    "its name given": {"m/config.pbtxt": f'name: "m" {PYTHON}', "m/1/model.py": ""},
    "extra folders": {"m/config.pbtxt": PYTHON, "m/1/model.py": "", "m/golden/a.txt": "", "m/labels.txt": ""},
    "a model file in a folder": {"m/config.pbtxt": 'backend: "tensorflow"', "m/1/model.savedmodel/a.pb": ""},
    "platform onnx": {"m/config.pbtxt": 'platform: "onnxruntime_onnx"', "m/1/model.onnx": ""},
    "another file name": {"m/config.pbtxt": PYTHON + 'default_model_filename: "run.py"', "m/1/run.py": ""},
    "a file by capability": {
        "m/config.pbtxt": 'backend: "tensorrt" cc_model_filenames [{ key: "8.0" value: "a100.plan" }]',
        "m/1/a100.plan": "",
    },
    "an ensemble needs no files": {"m/config.pbtxt": 'platform: "ensemble"', "m/1": None},
    "a backend nobody knows": {"m/config.pbtxt": 'backend: "traccc"', "m/1": None},
    "no configuration": {"m/3/model.onnx": ""},
}

BAD: dict[str, tuple[dict[str, str | None], str]] = {
    "nothing": ({}, "The source holds no model"),
    "a file in the root": (
        {"README.md": "", "m/config.pbtxt": PYTHON, "m/1/model.py": ""},
        r"README.md is a file, but the source holds folders of models only",
    ),
    "a hidden folder": (
        {".old/config.pbtxt": PYTHON, ".old/1/model.py": ""},
        "Folder '.old': Triton takes every folder for a model",
    ),
    "an unknown field": (
        {"m/config.pbtxt": PYTHON + "max_batch: 3\n", "m/1/model.py": ""},
        r"Model 'm': .*m/config.pbtxt, line 2, column 1: .*no field named \"max_batch\"",
    ),
    "a nested unknown field": (
        {"m/config.pbtxt": PYTHON + 'input [ {\n  name: "A"\n  dtype: TYPE_FP32 } ]', "m/1/model.py": ""},
        r"config.pbtxt, line 4, column 3: .*ModelInput.* has no field named \"dtype\"",
    ),
    "a wrong type": (
        {"m/config.pbtxt": 'max_batch_size: "many"', "m/1/model.py": ""},
        r"line 1, column 17: .*Couldn't parse integer",
    ),
    "an unknown data type": (
        {"m/config.pbtxt": 'output [ { name: "A" data_type: TYPE_FP33 } ]', "m/1/model.py": ""},
        "line 1, .*no value named TYPE_FP33",
    ),
    "a string without an end": ({"m/config.pbtxt": 'name: "m', "m/1/model.py": ""}, "line 1, .*missing ending quote"),
    "JSON instead": ({"m/config.pbtxt": '{"name": "m"}', "m/1/model.py": ""}, "m/config.pbtxt, line 1"),
    "a configuration that is a folder": ({"m/config.pbtxt/x": "", "m/1/model.py": ""}, "config.pbtxt is a folder"),
    "another name": (
        {"m/config.pbtxt": PYTHON + '\nname: "n"\n', "m/1/model.py": ""},
        "Model 'm': .*config.pbtxt, line 3, names the model 'n', but Triton wants the name of its folder",
    ),
    "no version": ({"m/config.pbtxt": PYTHON, "m/model.py": ""}, "Model 'm': there is no version folder"),
    "a version with a zero": (
        {"m/config.pbtxt": PYTHON, "m/1/model.py": "", "m/02/model.py": ""},
        "Model 'm': Triton ignores the version folder '02', because it begins with 0. Name it '2'",
    ),
    "an empty version folder": (
        {"m/config.pbtxt": PYTHON, "m/1/model.py": "", "m/2": None},
        "Model 'm': version folder 2 lacks model.py, which its backend loads",
    ),
    "the file of another backend": (
        {"m/config.pbtxt": 'backend: "onnxruntime"', "m/1/model.py": ""},
        "version folder 1 lacks model.onnx",
    ),
    "two files that would do, none there": (
        {"m/config.pbtxt": 'backend: "tensorflow"', "m/1/weights": ""},
        "version folder 1 lacks one of model.savedmodel, model.graphdef",
    ),
    "a named file that is not there": (
        {"m/config.pbtxt": PYTHON + 'default_model_filename: "run.py"', "m/1/model.py": ""},
        "version folder 1 lacks run.py",
    ),
    "neither configuration nor a known file": (
        {"m/1/weights.bin": ""},
        "Model 'm': no config.pbtxt, and version 1 has no file that tells Triton what it is",
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_good(tmp_path: Path, write: Write, name: str) -> None:
    validate(scan([str(write(tmp_path / "source", GOOD[name]))]))


@pytest.mark.parametrize("name", BAD)
def test_bad(tmp_path: Path, write: Write, name: str) -> None:
    tree, message = BAD[name]
    with pytest.raises(SupersonicError, match=message):
        validate(scan([str(write(tmp_path / "source", tree))]))


def test_everything_wrong_is_named_at_once(tmp_path: Path, write: Write) -> None:
    tree: dict[str, str | None] = {f"m{i}/config.pbtxt": PYTHON for i in range(25)}
    with pytest.raises(SupersonicError) as caught:
        validate(scan([str(write(tmp_path / "source", tree))]))
    lines = str(caught.value).splitlines()
    assert lines[0] == "25 things are wrong with the models:"
    assert len(lines) == 22
    assert lines[-1] == "- and 5 more."


def test_not_a_text_file(tmp_path: Path, write: Write) -> None:
    source = write(tmp_path / "source", {"m/1/model.py": ""})
    (source / "m/config.pbtxt").write_bytes(b"name: \xff\xfe")
    with pytest.raises(SupersonicError, match=r"config.pbtxt is not a text file in UTF-8"):
        validate(scan([str(source)]))


def test_damaged_configurations_end_in_a_sentence(tmp_path: Path, write: Write) -> None:
    """Random damage: accepted or refused, never a traceback."""
    good = (
        'name: "m"\nbackend: "python"\nmax_batch_size: 8\n'
        'input [ { name: "A" data_type: TYPE_FP32 dims: [ -1, 3 ] } ]\n'
        'parameters { key: "x" value { string_value: "y" } }\ndynamic_batching { }\n'
    )
    source = write(tmp_path / "source", {"m/1/model.py": ""})
    dice = random.Random(7)
    accepted = 0
    for _round in range(300):
        data = bytearray(good.encode())
        for _change in range(dice.randint(1, 4)):
            at = dice.randrange(len(data))
            data[at : at + dice.randint(0, 3)] = bytes(dice.randrange(256) for _byte in range(dice.randint(0, 3)))
        (source / "m/config.pbtxt").write_bytes(bytes(data))
        with contextlib.suppress(SupersonicError):
            validate(scan([str(source)]))
            accepted += 1
    assert accepted < 150


def test_deep_nesting_ends_in_a_sentence(tmp_path: Path, write: Write) -> None:
    text = "ensemble_scheduling { " * 5000
    source = write(tmp_path / "source", {"m/1/model.py": "", "m/config.pbtxt": text})
    with pytest.raises(SupersonicError, match=r"m/config\.pbtxt"):
        validate(scan([str(source)]))
