# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Releases that are refused, with the words, and what a real Triton says to the same ones."""

from __future__ import annotations

from dataclasses import dataclass

PYTHON = 'backend: "python"\n'
A = 'input { name: "A" data_type: TYPE_FP32 dims: [ 4 ] }\n'
B = 'output { name: "B" data_type: TYPE_FP32 dims: [ 4 ] }\n'
MODEL = """
class TritonPythonModel:
    def execute(self, requests):
        return []
"""
COMPLETING = """
class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "A", "data_type": "TYPE_FP32", "dims": [4]})
        config.add_output({"name": "B", "data_type": "TYPE_FP32", "dims": [4]})
        config.set_max_batch_size(0)
        return config

    def execute(self, requests):
        return []
"""
INHERITING = COMPLETING.replace("TritonPythonModel", "Base") + "\n\nclass TritonPythonModel(Base):\n    pass\n"

Tree = dict[str, str | None]
# What Triton does with a release: it loads all of it, it refuses something, it loads what does not work, or nobody
# can ask it here, because it would hang or needs a backend that the tests' server lacks.
LOADS, REFUSES, MISLEADS, UNKNOWN = "loads", "refuses", "misleads", "unknown"


@dataclass(frozen=True)
class Case:
    tree: Tree
    # The problems, without "Model 'm': " and the like; {root} is the source.
    problems: tuple[str, ...] = ()
    triton: str = UNKNOWN
    external: tuple[str, ...] = ()


def model(config: str = PYTHON + A + B, name: str = "m", text: str = MODEL, versions: str = "1") -> Tree:
    """A model of the Python backend with this configuration."""
    return {f"{name}/config.pbtxt": config, **{f"{name}/{version}/model.py": text for version in versions.split()}}


def step(
    name: str = "m", inputs: str = "A=x", outputs: str = "B=y", version: int | None = -1, head: str = "step"
) -> str:
    """A step of an ensemble; maps as KEY=TENSOR, separated by blanks."""
    maps = "".join(
        f' {field} {{ key: "{key}" value: "{tensor}" }}'
        for field, pairs in (("input_map", inputs), ("output_map", outputs))
        for key, tensor in (pair.split("=") for pair in pairs.split())
    )
    number = "" if version is None else f" model_version: {version}"
    called = f' model_name: "{name}"' if name else ""
    return f"{head} {{{called}{number}{maps} }}\n"


def ensemble(
    *steps: str,
    inputs: str = 'input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }\n',
    outputs: str = 'output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }\n',
    more: str = "",
    name: str = "e",
) -> Tree:
    scheduling = f"ensemble_scheduling {{\n{''.join(steps or (step(),))}}}\n"
    return {f"{name}/config.pbtxt": f'platform: "ensemble"\n{inputs}{outputs}{more}{scheduling}', f"{name}/1": None}


def tensor(name: str, dims: str = "4", kind: str = "FP32", direction: str = "input", more: str = "") -> str:
    return f'{direction} {{ name: "{name}" data_type: TYPE_{kind} dims: [ {dims} ] {more} }}\n'


def out(name: str, dims: str = "4", kind: str = "FP32", more: str = "") -> str:
    return tensor(name, dims, kind, "output", more)


GOOD: dict[str, Case] = {
    "a python model": Case(model(), triton=LOADS),
    "its name given": Case(model('name: "m"\n' + PYTHON + A + B), triton=LOADS),
    "no backend, a file that explains itself": Case(model(A + B), triton=LOADS),
    "a platform that the Python backend does not look at": Case(
        model(PYTHON + A + B + 'platform: "onnxruntime_onnx"'), triton=LOADS
    ),
    "extra folders and files": Case(
        {**model(), "m/golden/notes.txt": "", "m/labels.txt": "", "m/warmup/a": "", "m/configs/x.pbtxt": ""},
        triton=LOADS,
    ),
    "a model file in a folder": Case({"m/config.pbtxt": 'backend: "tensorflow"', "m/1/model.savedmodel/a.pb": ""}),
    "platform onnx": Case({"m/config.pbtxt": 'platform: "onnxruntime_onnx"', "m/1/model.onnx": ""}),
    "another file name": Case(
        {"m/config.pbtxt": PYTHON + A + B + 'default_model_filename: "run.py"', "m/1/run.py": MODEL}, triton=LOADS
    ),
    "a file by capability": Case(
        {
            "m/config.pbtxt": 'backend: "tensorrt" cc_model_filenames [{ key: "8.0" value: "a100.plan" }]',
            "m/1/a100.plan": "",
        }
    ),
    "a backend nobody knows": Case({"m/config.pbtxt": 'backend: "traccc"', "m/1": None}),
    "no configuration": Case({"m/3/model.onnx": ""}),
    "a forest of FIL": Case({"m/config.pbtxt": 'backend: "fil"', "m/1/xgboost.model": ""}),
    "a forest of another kind": Case(
        {
            "m/config.pbtxt": 'backend: "fil" parameters { key: "model_type" value { string_value: "lightgbm" } }',
            "m/1/model.txt": "",
        }
    ),
    "every version served": Case(model(PYTHON + A + B + "version_policy { all {} }", versions="1 3"), triton=LOADS),
    "one version of two": Case(
        model(PYTHON + A + B + "version_policy { specific { versions: [ 1 ] } }", versions="1 3"), triton=LOADS
    ),
    "a configuration that the model completes": Case(model(PYTHON, text=COMPLETING), triton=LOADS),
    "one that a base class completes": Case(model(PYTHON + 'input { name: "A" }', text=INHERITING), triton=LOADS),
    "a reshape": Case(
        model(PYTHON + tensor("A", "2, -1, 6", more="reshape { shape: [ 1, 2, -1, 3, 2 ] }") + B), triton=LOADS
    ),
    "an empty reshape with batching": Case(
        model(PYTHON + "max_batch_size: 4\n" + tensor("A", "1", more="reshape { }") + B), triton=LOADS
    ),
    "labels in a folder": Case(
        {**model(PYTHON + A + out("B", more='label_filename: "text/labels.txt"')), "m/text/labels.txt": "a\n"},
        triton=LOADS,
    ),
    "dynamic batching": Case(
        model(
            PYTHON + A + B + "max_batch_size: 8 dynamic_batching { preferred_batch_size: [ 4, 8 ] priority_levels: 2 "
            "default_priority_level: 2 priority_queue_policy { key: 1 value { max_queue_size: 3 } } }"
        ),
        triton=LOADS,
    ),
    "sequence batching": Case(
        model(
            PYTHON
            + A
            + B
            + "max_batch_size: 8 sequence_batching { oldest { max_candidate_sequences: 4 } control_input "
            '{ name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } } control_input '
            '{ name: "ID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } } }'
        ),
        triton=LOADS,
    ),
    "an ensemble": Case({**model(), **ensemble()}, triton=LOADS),
    "an ensemble of two steps, written in any order": Case(
        {**model(), **ensemble(step(inputs="A=z"), step(outputs="B=z"))}, triton=LOADS
    ),
    "an ensemble of an ensemble": Case(
        {**model(), **ensemble(), **ensemble(step("e", "x=x", "y=y"), name="f")}, triton=LOADS
    ),
    "an ensemble that names a version": Case(
        {
            **model(PYTHON + A + B + "version_policy { all {} }", versions="1 2"),
            **ensemble(step(version=1)),
        },
        triton=LOADS,
    ),
    "an ensemble without an optional input": Case(
        {**model(PYTHON + A + tensor("O", more="optional: true") + B), **ensemble()}, triton=LOADS
    ),
    "an ensemble with a wildcard": Case(
        {**model(PYTHON + tensor("A", "-1") + out("B", "-1")), **ensemble()}, triton=LOADS
    ),
    "a batching ensemble with a step that takes the batch as a dimension": Case(
        {**model(PYTHON + tensor("A", "-1, 4") + out("B", "-1, 4")), **ensemble(more="max_batch_size: 8\n")},
        triton=LOADS,
    ),
    "a batching ensemble over a model that takes more": Case(
        {**model(PYTHON + A + B + "max_batch_size: 8"), **ensemble(more="max_batch_size: 4\n")}, triton=LOADS
    ),
    "an ensemble that reshapes": Case(
        {
            **model(PYTHON + tensor("A", "2, 2") + B),
            **ensemble(inputs=tensor("x", "4", more="reshape { shape: [ 2, 2 ] }")),
        },
        triton=LOADS,
    ),
    "an ensemble over what is completed": Case({**model(PYTHON, text=COMPLETING), **ensemble()}, triton=LOADS),
    "a model from elsewhere": Case(ensemble(step("other", "Q=x", "R=y", version=7)), external=("other",)),
    "an ensemble over a model without a configuration": Case({"m/1/model.onnx": "", **ensemble()}),
    "an ensemble that takes one output of two": Case({**model(PYTHON + A + B + out("C")), **ensemble()}, triton=LOADS),
}


def _one(tree: Tree, problem: str, triton: str = UNKNOWN) -> Case:
    return Case(tree, (problem,), triton)


def _config(more: str, problem: str, triton: str = REFUSES, tensors: str = A + B) -> Case:
    """A Python model whose configuration has one more thing."""
    return Case(model(PYTHON + tensors + more), (f"Model 'm': {problem}",), triton)


def _ensemble(tree: Tree, *problems: str, of: Tree | None = None, triton: str = REFUSES) -> Case:
    return Case(
        {**(model() if of is None else of), **tree}, tuple(f"Model 'e': {problem}" for problem in problems), triton
    )


PLACE = "{root}/m/config.pbtxt"
SEQUENCE = "max_batch_size: 8 sequence_batching "
NOBODY = "and nobody but the configuration can say"

BAD: dict[str, Case] = {
    # The tree
    "nothing": _one(
        {}, "The source holds no model. Each model is a folder with config.pbtxt and one folder per version."
    ),
    "a file in the root": _one(
        {"README.md": "", **model()},
        "{root}/README.md is a file, but the source holds folders of models only. Move it away.",
        MISLEADS,
    ),
    "a hidden folder": _one(
        model(name=".old"), "Folder '.old': Triton takes every folder for a model, hidden ones too. Move it away."
    ),
    "a long path": _one(
        {**model(), f"m/{'/'.join(['x' * 200] * 18)}/a": ""},
        f"The path m/{'x' * 98}... in the source is longer than 3500 bytes. Shorten it.",
        MISLEADS,
    ),
    # It ends Triton.
    "a configuration that is a folder": _one(
        {"m/config.pbtxt/x": "", "m/1/model.py": MODEL},
        "Model 'm': config.pbtxt is a folder.",
    ),
    # The text of the configuration
    "an unknown field": _one(
        model(PYTHON + "max_batch: 3\n"),
        f'Model \'m\': {PLACE}, line 2, column 1: Message type "inference.ModelConfig" has no field named "max_batch".',
        REFUSES,
    ),
    # Versions
    "no version": _one(
        {"m/config.pbtxt": PYTHON, "m/model.py": MODEL},
        "Model 'm': there is no version folder (1, 2, ...), so there is nothing to serve.",
        REFUSES,
    ),
    "a version with a zero": _one(
        {**model(), "m/02/model.py": MODEL},
        "Model 'm': Triton ignores the version folder '02', because it begins with 0. Name it '2'.",
        MISLEADS,
    ),
    "version zero": _one(
        {**model(), "m/0/model.py": MODEL},
        "Model 'm': version folder 0: versions are numbered from 1. Rename it.",
        MISLEADS,
    ),
    # It makes the load hang.
    "a folder that begins with a number": _one(
        {**model(), "m/2_old/model.py": MODEL},
        "Model 'm': Triton takes the folder '2_old' for version 2, because it begins with a number. Rename it or move "
        "it away.",
    ),
    "a folder that begins with a sign": _one(
        {**model(), "m/-1/model.py": MODEL},
        "Model 'm': Triton takes the folder '-1' for version -1, because it begins with a number. Rename it or move it "
        "away.",
        MISLEADS,
    ),
    # It ends Triton.
    "a version that is too large": _one(
        {**model(), "m/9223372036854775808/model.py": MODEL},
        "Model 'm': version folder 9223372036854775808 has too large a number for Triton. Rename it.",
    ),
    "an empty version folder": _one(
        {**model(), "m/2": None},
        "Model 'm': version folder 2 lacks model.py, which its backend loads. Triton would fail or hang: add the file "
        "or remove the folder.",
    ),
    "the file of another backend": _one(
        {"m/config.pbtxt": 'backend: "onnxruntime"', "m/1/model.py": ""},
        "Model 'm': version folder 1 lacks model.onnx, which its backend loads. Triton would fail or hang: add the "
        "file or remove the folder.",
    ),
    "two files that would do, none there": _one(
        {"m/config.pbtxt": 'backend: "tensorflow"', "m/1/weights": ""},
        "Model 'm': version folder 1 lacks one of model.savedmodel, model.graphdef, which its backend loads. Triton "
        "would fail or hang: add the file or remove the folder.",
    ),
    "a forest of another kind": _one(
        {"m/config.pbtxt": 'backend: "fil"', "m/1/model.txt": ""},
        "Model 'm': version folder 1 lacks xgboost.model, which its backend loads. Triton would fail or hang: add the "
        "file or remove the folder.",
    ),
    "a named file that is not there": _one(
        model(PYTHON + A + B + 'default_model_filename: "run.py"'),
        "Model 'm': version folder 1 lacks run.py, which its backend loads. Triton would fail or hang: add the file or "
        "remove the folder.",
    ),
    "neither configuration nor a known file": _one(
        {"m/1/weights.bin": ""},
        "Model 'm': no config.pbtxt, and version 1 has no file that tells Triton what it is (one of model.onnx, "
        "model.plan, model.savedmodel, model.graphdef, model.pt, model.py, model.xml). Add a configuration.",
        REFUSES,
    ),
    "another name": _one(
        model(PYTHON + A + B + 'name: "n"\n'),
        f"Model 'm': {PLACE}, line 4, names the model 'n', but Triton wants the name of its folder. Change one of them "
        "or leave the name out.",
        REFUSES,
    ),
    "another name, written in a way that no line is found by": _one(
        model(PYTHON + A + B + 'name: "\\x6e"\n'),
        f"Model 'm': {PLACE} names the model 'n', but Triton wants the name of its folder. Change one of them or leave "
        "the name out.",
        REFUSES,
    ),
    "a policy without a number": _config(
        "version_policy { latest { } }",
        "version_policy latest has no num_versions, so nothing would be served. It must be 1 or more.",
    ),
    "a policy that names nothing": _config(
        "version_policy { specific { } }", "version_policy specific names no version, so nothing would be served."
    ),
    "a policy for a version that is not there": _config(
        "version_policy { specific { versions: [ 1, 2 ] } }",
        "version_policy wants version 2, but there are 1.",
        MISLEADS,
    ),
    "a policy for a version, and no version": Case(
        {"m/config.pbtxt": PYTHON + A + B + "version_policy { specific { versions: [ 1 ] } }", "m/model.py": MODEL},
        (
            "Model 'm': there is no version folder (1, 2, ...), so there is nothing to serve.",
            "Model 'm': version_policy wants version 1, but there is none.",
        ),
        REFUSES,
    ),
    # Platform and backend
    "a batch size below 0": _config(
        "max_batch_size: -1", "max_batch_size is -1; it must be 0, for no batching, or more."
    ),
    "the platform of another backend": _one(
        {"m/config.pbtxt": 'backend: "onnxruntime" platform: "tensorrt_plan"', "m/1/model.onnx": ""},
        "Model 'm': platform 'tensorrt_plan' belongs to backend 'tensorrt', not to 'onnxruntime'.",
    ),
    "an unknown platform": _one(
        model('platform: "python"\n' + A + B),
        "Model 'm': platform 'python' is unknown to Triton. Name the backend instead: backend: \"...\".",
        REFUSES,
    ),
    "ensemble as backend": _one(
        {"m/config.pbtxt": 'backend: "ensemble"\n' + A + B, "m/1": None},
        "Model 'm': backend is 'ensemble', but that is a platform. Write platform: \"ensemble\".",
        REFUSES,
    ),
    "an ensemble with a backend": _ensemble(
        ensemble(more='backend: "python"\n'), "an ensemble has no backend, but backend is 'python'. Take it out."
    ),
    "an ensemble without scheduling": _one(
        {"e/config.pbtxt": 'platform: "ensemble"\n' + A + B, "e/1": None},
        "Model 'e': platform is 'ensemble', but ensemble_scheduling with its steps is missing.",
        REFUSES,
    ),
    "scheduling without an ensemble": _config(
        "ensemble_scheduling { }",
        "ensemble_scheduling is only for platform 'ensemble'. Set the platform or take it out.",
    ),
    # Inputs and outputs
    "an input twice": _config(A, "input 'A' is there twice.", MISLEADS),
    "an output twice": _config(B, "output 'B' is there twice.", MISLEADS),
    "an input without a name": _config(
        "", "input[0] has no name.", tensors="input { data_type: TYPE_FP32 dims: [ 4 ] }" + B
    ),
    "an output without a data type": _config(
        'output { name: "C" dims: [ 1 ] }', f"output 'C' has no data_type, {NOBODY} it."
    ),
    "an input without dims": _config(
        'input { name: "C" data_type: TYPE_FP32 }', f"input 'C' has no dims, {NOBODY} them."
    ),
    "an onnx input without dims, which ONNX Runtime leaves as it is": _one(
        {"m/config.pbtxt": 'backend: "onnxruntime" input { name: "A" data_type: TYPE_FP32 }' + B, "m/1/model.onnx": ""},
        f"Model 'm': input 'A' has no dims, {NOBODY} them.",
    ),
    "an unknown data type": _config(
        'input { name: "C" data_type: 99 dims: [ 1 ] }',
        "input 'C' has data_type 99, which is none of Triton's.",
        MISLEADS,
    ),
    "a dimension of 0": _config(
        tensor("C", "4, 0"), "input 'C' has dims [4, 0]; a dimension is 1 or more, or -1 for any size."
    ),
    "a reshape with 0": _config(
        tensor("C", more="reshape { shape: [ 0 ] }"),
        "input 'C' has reshape [0]; a dimension is 1 or more, or -1 for any size.",
    ),
    "an empty reshape without batching": _config(
        tensor("C", "1", more="reshape { }"),
        "input 'C' has an empty reshape, which only a model with batching (max_batch_size above 0) can have.",
    ),
    "a reshape of another size": _config(
        out("C", "2, 3", more="reshape { shape: [ 5 ] }"),
        "output 'C' has dims [2, 3] and reshape [5], which do not hold the same number of elements.",
    ),
    "a reshape across a variable size": _config(
        tensor("C", "2, -1", more="reshape { shape: [ -1, 2 ] }"),
        "input 'C' has dims [2, -1] and reshape [-1, 2], which do not hold the same number of elements.",
    ),
    "an image with two dims": _config(
        tensor("C", "4, 4", more="format: FORMAT_NCHW"),
        "input 'C' has a format with channels, height and width, which needs 3 dims, not 2.",
    ),
    "a shape tensor": _config(
        tensor("C", more="is_shape_tensor: true"),
        "input 'C' has is_shape_tensor, which only platform 'tensorrt_plan' knows.",
    ),
    "a non-linear format": _config(
        out("C", more="is_non_linear_format_io: true"),
        "output 'C' has is_non_linear_format_io, which only platform 'tensorrt_plan' knows.",
    ),
    "a non-linear format with two dims": _one(
        {
            "m/config.pbtxt": 'backend: "tensorrt"\n' + tensor("A", "4, 4", more="is_non_linear_format_io: true") + B,
            "m/1/model.plan": "",
        },
        "Model 'm': input 'A' has is_non_linear_format_io, which needs 3 dims, not 2.",
    ),
    "labels that are not there": _config(
        out("C", more='label_filename: "labels.txt"'),
        "output 'C' has label_filename 'labels.txt', which is not in its folder.",
    ),
    "labels outside": _config(
        out("C", more='label_filename: "../labels.txt"'),
        "output 'C' has label_filename '../labels.txt', outside of the model's folder.",
    ),
    "a batch input of nothing": _config(
        'batch_input { kind: BATCH_ELEMENT_COUNT target_name: "N" data_type: TYPE_FP32 source_input: "Q" }',
        "batch_input[0] has source_input 'Q', which is no input of the model.",
    ),
    "a batch input of two": _config(
        'batch_input { kind: BATCH_ELEMENT_COUNT target_name: "N" data_type: TYPE_FP32 source_input: [ "A", "A" ] }',
        "batch_input[0] takes one source_input, not 2.",
    ),
    "a batch input of another type": _config(
        'batch_input { kind: BATCH_ELEMENT_COUNT target_name: "N" data_type: TYPE_INT8 source_input: "A" }',
        "batch_input[0] has data_type TYPE_INT8; it must be TYPE_INT32 or TYPE_FP32.",
    ),
    "a batch output to nothing": _config(
        'batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "Q" source_input: "A" }',
        "batch_output[0] has target_name 'Q', which is no output of the model.",
    ),
    "a batch output twice": _config(
        'batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: [ "B", "B" ] source_input: "A" }',
        "batch_output[0] has target_name 'B' twice.",
    ),
    # Instances
    "instances below 0": _config(
        "instance_group { count: -1 kind: KIND_CPU }",
        "instance_group[0] has count -1; it must be 1 or more, or be left out.",
        MISLEADS,
    ),
    "an unknown kind": _config(
        "instance_group { kind: 17 }",
        "instance_group[0] has kind 17; it must be KIND_GPU, KIND_CPU, KIND_MODEL or KIND_AUTO.",
        REFUSES,
    ),
    "a CPU with GPUs": _config(
        "instance_group { kind: KIND_CPU gpus: [ 0 ] }",
        "instance_group[0] has gpus, but its kind is KIND_CPU. Take them out or write KIND_GPU.",
    ),
    "a GPU below 0": _config(
        "instance_group { kind: KIND_GPU gpus: [ -1 ] }",
        "instance_group[0] has gpus [-1]; they are numbered from 0.",
    ),
    "a profile": _config(
        'instance_group { kind: KIND_CPU profile: "1" }',
        "instance_group[0] has a profile, which only platform 'tensorrt_plan' knows.",
    ),
    "a profile with a name": _one(
        {"m/config.pbtxt": 'backend: "tensorrt" instance_group { profile: "fast" }', "m/1/model.plan": ""},
        "Model 'm': instance_group[0] has profile 'fast'; profiles are numbers from 0 on.",
    ),
    # Batching
    "a preferred batch of 0": _config(
        "max_batch_size: 8 dynamic_batching { preferred_batch_size: [ 0 ] }",
        "dynamic_batching.preferred_batch_size has 0; it must be 1 or more.",
    ),
    "a preferred batch that is too large": _config(
        "max_batch_size: 8 dynamic_batching { preferred_batch_size: [ 4, 16 ] }",
        "dynamic_batching.preferred_batch_size has 16, more than max_batch_size, which is 8.",
    ),
    "no default priority": _config(
        "max_batch_size: 8 dynamic_batching { priority_levels: 2 }",
        "dynamic_batching.default_priority_level is 0; with priority_levels 2 it must be from 1 to 2.",
    ),
    "a policy for a priority that is none": _config(
        "max_batch_size: 8 dynamic_batching { priority_levels: 2 default_priority_level: 1 "
        "priority_queue_policy { key: 3 value { } } }",
        "dynamic_batching.priority_queue_policy is for level 3; with priority_levels 2 it must be from 1 to 2.",
    ),
    "ordered priorities": _config(
        "max_batch_size: 8 dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }",
        "dynamic_batching.preserve_ordering works with one priority level only, not with 2.",
    ),
    "ordered delays": _config(
        "max_batch_size: 8 dynamic_batching { preserve_ordering: true default_queue_policy { timeout_action: DELAY "
        "default_timeout_microseconds: 5 } }",
        "dynamic_batching.preserve_ordering does not work with timeout_action DELAY. Turn one of them off.",
    ),
    "two kinds of batching": _one(
        model(PYTHON + A + B + "dynamic_batching { }\nsequence_batching { }\n"),
        f"Model 'm': {PLACE}, line 5, column 1: "
        'Field "sequence_batching" is specified along with field "dynamic_batching", another member of oneof '
        '"scheduling_choice" for message type "inference.ModelConfig".',
        REFUSES,
    ),
    "cached sequences": _config(
        SEQUENCE + "{ } response_cache { enable: true }",
        "response_cache does not work with sequence_batching. Turn one of them off.",
    ),
    "cached streams": _config(
        "model_transaction_policy { decoupled: true } response_cache { enable: true }",
        "response_cache does not work with a decoupled model_transaction_policy. Turn one of them off.",
    ),
    "a preferred batch of sequences that is too large": _config(
        SEQUENCE + "{ oldest { preferred_batch_size: [ 9 ] } }",
        "sequence_batching.oldest.preferred_batch_size has 9, more than max_batch_size, which is 8.",
    ),
    "a share above 1": _config(
        SEQUENCE + "{ direct { minimum_slot_utilization: 1.5 } }",
        "sequence_batching.direct.minimum_slot_utilization is 1.5; it must be from 0 to 1.",
    ),
    "a control without a name": _config(
        SEQUENCE + "{ control_input { control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } } }",
        "sequence_batching.control_input[0] has no name.",
    ),
    "a control tensor twice": _config(
        SEQUENCE + '{ control_input { name: "S" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } } '
        'control_input { name: "S" control { kind: CONTROL_SEQUENCE_END fp32_false_true: [ 0, 1 ] } } }',
        "sequence_batching.control_input 'S' is there twice.",
    ),
    "a control kind twice": _config(
        SEQUENCE + '{ control_input { name: "S" control { kind: CONTROL_SEQUENCE_END fp32_false_true: [ 0, 1 ] } } '
        'control_input { name: "T" control { kind: CONTROL_SEQUENCE_END fp32_false_true: [ 0, 1 ] } } }',
        "sequence_batching has more than one control of kind CONTROL_SEQUENCE_END.",
    ),
    "a control without values": _config(
        SEQUENCE + '{ control_input { name: "S" control { kind: CONTROL_SEQUENCE_READY } } }',
        "sequence_batching.control_input 'S' needs one of int32_false_true, fp32_false_true and bool_false_true for "
        "CONTROL_SEQUENCE_READY.",
    ),
    "a control with one value": _config(
        SEQUENCE + '{ control_input { name: "S" control { kind: CONTROL_SEQUENCE_READY bool_false_true: true } } }',
        "sequence_batching.control_input 'S' needs two values in bool_false_true: the one for false and the one for "
        "true.",
    ),
    "a correlation id with values": _config(
        SEQUENCE + '{ control_input { name: "S" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 '
        "int32_false_true: [ 0, 1 ] } } }",
        "sequence_batching.control_input 'S' is a correlation id and takes no int32_false_true.",
    ),
    "a correlation id of another type": _config(
        SEQUENCE + '{ control_input { name: "S" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_FP32 } } }',
        "sequence_batching.control_input 'S' is a correlation id of TYPE_FP32; it must be one of TYPE_UINT64, "
        "TYPE_INT64, TYPE_UINT32, TYPE_INT32, TYPE_STRING.",
    ),
    # Ensembles
    "an ensemble with instances": _ensemble(
        ensemble(more="instance_group { }\n"), "an ensemble has no instance_group: it runs nothing itself. Take it out."
    ),
    "an ensemble with an optimization": _ensemble(
        ensemble(more="optimization { }\n"), "an ensemble has no optimization: it runs nothing itself. Take it out."
    ),
    "an ensemble with a warm-up": _ensemble(
        ensemble(more="model_warmup { }\n"), "an ensemble has no model_warmup: it runs nothing itself. Take it out."
    ),
    "an ensemble without steps": Case(
        {"e/config.pbtxt": 'platform: "ensemble"\nensemble_scheduling { }\n', "e/1": None},
        ("Model 'e': ensemble_scheduling has no step.",),
        REFUSES,
    ),
    "a step without a model": _ensemble(ensemble(step("")), "step[0] has no model_name."),
    "a step that reads nothing": _ensemble(
        ensemble(step(inputs=""), inputs=""),
        "step[0] has no input_map.",
        "step[0] maps nothing to input 'A' of model 'm'.",
    ),
    "a step that writes nothing": _ensemble(ensemble(step(), step(outputs="")), "step[1] has no output_map."),
    "a step whose model is not there": _ensemble(
        ensemble(step("other")),
        "step[0] needs model 'other', which is not in the release. Add it, or name it in external_models (in an "
        "inventory model_repository_external_models) when the servers get it from another repository.",
    ),
    "a step without a version": _ensemble(
        ensemble(step(version=None)),
        "step[0] has no model_version. Write -1 for the latest version of model 'm'.",
    ),
    "a step with a version that is not there": _ensemble(
        ensemble(step(version=2)), "step[0] needs version 2 of model 'm', which does not exist."
    ),
    "a step with a version that is not served": _ensemble(
        ensemble(step(version=1)),
        "step[0] needs version 1 of model 'm', which its version_policy does not serve.",
        of=model(versions="1 2"),
    ),
    "a step with an input that the model lacks": _ensemble(
        ensemble(step(inputs="A=x Q=x")), "step[0] maps tensor 'x' to input 'Q', but model 'm' lacks it; it has A."
    ),
    "a step with an output that the model lacks": _ensemble(
        ensemble(step(outputs="B=y Q=z"), outputs=out("y") + out("z")),
        "step[0] maps output 'Q' to tensor 'z', but model 'm' lacks it; it has B.",
    ),
    "a step with an output of a model that has none": _ensemble(
        ensemble(), "step[0] maps output 'B' to tensor 'y', but model 'm' lacks it.", of=model(PYTHON + A)
    ),
    "an input of the step's model left out": _ensemble(
        ensemble(),
        "step[0] maps nothing to input 'C' of model 'm'.",
        of=model(PYTHON + A + tensor("C") + B),
    ),
    "an input of an onnx model that it lacks": _ensemble(
        ensemble(step(inputs="A=x Q=x")),
        "step[0] maps tensor 'x' to input 'Q', but model 'm' lacks it; it has A.",
        of={"m/config.pbtxt": 'backend: "onnxruntime"\n' + A + B, "m/1/model.onnx": ""},
        triton=UNKNOWN,
    ),
    "a tensor written twice": _ensemble(
        ensemble(step(), step()), "tensor 'y' is written more than once, by step[0] and step[1]."
    ),
    "an input of the ensemble written": _ensemble(
        ensemble(step(), step(inputs="A=y", outputs="B=x")),
        "tensor 'x' is an input of the ensemble, but step[1] writes it too.",
        triton=MISLEADS,
    ),
    "a tensor nobody reads": _ensemble(
        ensemble(step(outputs="B=y C=z")),
        "step[0] writes tensor 'z', which nobody reads. Take it out of output_map.",
        of=model(PYTHON + A + B + out("C")),
    ),
    "a tensor nobody writes": _ensemble(
        ensemble(step(inputs="A=z"), inputs=""),
        "step[0] reads tensor 'z', which is no input of the ensemble and which no step writes.",
    ),
    "an input nobody reads": _ensemble(
        ensemble(inputs=tensor("x") + tensor("w")), "input 'w' of the ensemble is read by no step."
    ),
    "an output nobody writes": _ensemble(
        ensemble(outputs=out("y") + out("w")), "output 'w' of the ensemble is written by no step."
    ),
    "steps in a circle": _ensemble(
        ensemble(step(inputs="A=p C=x", outputs="B=y"), step(inputs="A=y C=x", outputs="B=p")),
        "steps wait for one another in a circle: step[0], step[1].",
        of=model(PYTHON + A + tensor("C") + B),
    ),
    "a batch that a step does not take": _ensemble(
        ensemble(more="max_batch_size: 8\n"),
        "max_batch_size is 8, but step[0] needs model 'm', which takes 4 only.",
        of=model(PYTHON + A + B + "max_batch_size: 4"),
    ),
    "another data type": _ensemble(
        ensemble(inputs=tensor("x", kind="INT32")),
        "tensor 'x' is TYPE_INT32 as input 'x' of the ensemble, but TYPE_FP32 as input 'A' of model 'm'.",
    ),
    "another shape": _ensemble(
        ensemble(outputs=out("y", "5")),
        "tensor 'y' has shape [5] as output 'y' of the ensemble, but [4] as output 'B' of model 'm'.",
    ),
    "another number of dimensions with a batch": _ensemble(
        ensemble(inputs=tensor("x", "4, 4"), more="max_batch_size: 8\n"),
        "tensor 'x' has shape [-1, 4, 4] as input 'x' of the ensemble, but [-1, 4] as input 'A' of model 'm'.",
        of=model(PYTHON + A + B + "max_batch_size: 8"),
    ),
    "another shape between two steps": _ensemble(
        ensemble(step(outputs="B=z"), step("n", "A=z")),
        "tensor 'z' has shape [4] as output 'B' of model 'm', but [2, 2] as input 'A' of model 'n'.",
        of={**model(), **model(PYTHON + tensor("A", "2, 2") + B, name="n")},
    ),
    "an input of the ensemble without dims": _ensemble(
        ensemble(inputs='input { name: "x" data_type: TYPE_FP32 }\n'),
        f"input 'x' has no dims, {NOBODY} them.",
    ),
    "ensembles in a circle": Case(
        {**ensemble(step("f", "x=x", "y=y")), **ensemble(step("e", "x=x", "y=y"), name="f")},
        ("Model 'e': the ensembles form a circle: e -> f -> e. Take one of the steps out.",),
        REFUSES,
    ),
    "an ensemble that contains itself": Case(
        ensemble(step("e", "x=x", "y=y")),
        ("Model 'e': the ensembles form a circle: e -> e. Take one of the steps out.",),
        REFUSES,
    ),
    "an external model that is in the release": Case(
        {**model(), **ensemble()},
        ("external_models names 'm', but the source holds this model. Take it out of one of them.",),
        external=("m",),
    ),
    # Golden requests
    "a golden request that is no JSON": _one(
        {**model(), "m/golden/a.json": "x"},
        "Model 'm': The golden request {root}/m/golden/a.json is not JSON: Expecting value: line 1 column 1 (char 0).",
        LOADS,
    ),
    "a golden request without an answer": _one(
        {
            **model(),
            "m/golden/a.json": '{"request": {"inputs": [{"name": "A", "datatype": "INT8", "shape": [0], "data": []}]}}',
        },
        "Model 'm': {root}/m/golden/a.json has neither a response nor an error, so no answer could be wrong. Record "
        "one.",
        LOADS,
    ),
    "a golden request of another model": _one(
        {**model(), "m/golden/a.json": '{"model": "n"}'},
        "Model 'm': {root}/m/golden/a.json lies in the folder of model m but says model n.",
        LOADS,
    ),
    "a golden request that is a folder": _one(
        {**model(), "m/golden/a.json": None},
        "Model 'm': golden/a.json is a folder, but golden requests are files.",
        LOADS,
    ),
    "a golden request that is nested very deeply": _one(
        {**model(), "m/golden/a.json": "[" * 100_000},
        "Model 'm': The golden request {root}/m/golden/a.json is nested too deeply.",
        LOADS,
    ),
}
