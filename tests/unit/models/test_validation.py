# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every way in which models are refused, with the words."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._models import validation
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import scan
from ansible_collections.fastml.supersonic.plugins.module_utils._models.validation import validate
from ansible_collections.fastml.supersonic.tests.harness.model_cases import BAD, GOOD

COLLECTIONS = Path(__file__).resolve().parents[3] / ".collections"
PYTHON = 'backend: "python"\n'
Write = Callable[[Path, Mapping[str, str | None]], Path]


@pytest.mark.parametrize("name", GOOD)
def test_good(tmp_path: Path, write: Write, name: str) -> None:
    validate(scan([str(write(tmp_path / "source", GOOD[name].tree))]), GOOD[name].external)


@pytest.mark.parametrize("name", BAD)
def test_bad(tmp_path: Path, write: Write, name: str) -> None:
    case = BAD[name]
    source = write(tmp_path / "source", case.tree)
    with pytest.raises(SupersonicError) as caught:
        validate(scan([str(source)]), case.external)
    problems = [problem.replace("{root}", str(source)) for problem in case.problems]
    if len(problems) == 1:
        assert str(caught.value) == problems[0]
    else:
        head = f"{len(problems)} things are wrong with the models:"
        assert str(caught.value) == "\n- ".join([head, *problems])


# What the parser says, in its own words.
TEXTS: dict[str, tuple[str, str]] = {
    "a nested unknown field": (
        PYTHON + 'input [ {\n  name: "A"\n  dtype: TYPE_FP32 } ]',
        r"config.pbtxt, line 4, column 3: .*ModelInput.* has no field named \"dtype\"",
    ),
    "a wrong type": ('max_batch_size: "many"', r"line 1, column 17: .*Couldn't parse integer"),
    "an unknown data type": ('output [ { name: "A" data_type: TYPE_FP33 } ]', "line 1, .*no value named TYPE_FP33"),
    "a string without an end": ('name: "m', "line 1, .*missing ending quote"),
    "JSON instead": ('{"name": "m"}', "m/config.pbtxt, line 1"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_does_not_parse(tmp_path: Path, write: Write, name: str) -> None:
    text, message = TEXTS[name]
    with pytest.raises(SupersonicError, match=message):
        validate(scan([str(write(tmp_path / "source", {"m/config.pbtxt": text, "m/1/model.py": ""}))]))


def test_everything_wrong_is_named_at_once(tmp_path: Path, write: Write) -> None:
    tree: dict[str, str | None] = {f"m{i}/config.pbtxt": PYTHON for i in range(25)}
    with pytest.raises(SupersonicError) as caught:
        validate(scan([str(write(tmp_path / "source", tree))]))
    lines = str(caught.value).splitlines()
    assert lines[0] == "25 things are wrong with the models:"
    assert len(lines) == 22
    assert lines[-1] == "- and 5 more."


def test_a_source_that_is_one_folder_too_high_or_too_low(tmp_path: Path, write: Write) -> None:
    tree = {f"{name}/{path}": text for name in "abcd" for path, text in (("config.pbtxt", PYTHON), ("1/model.py", ""))}
    source = write(tmp_path / "source", {f"models/{path}": text for path, text in tree.items()})
    with pytest.raises(SupersonicError) as caught:
        validate(scan([str(source)]))
    assert str(caught.value) == "Folder 'models' is no model, but holds models (a, b, c, ...). Name it as the source."
    validate(scan([str(source / "models")]))
    with pytest.raises(SupersonicError) as caught:
        validate(scan([str(source / "models/a")]))
    assert str(caught.value) == (
        f"{source}/models/a/config.pbtxt is the config.pbtxt of a model, so this source is a model itself. Name the "
        "folder that it lies in."
    )


def test_not_a_text_file(tmp_path: Path, write: Write) -> None:
    source = write(tmp_path / "source", {"m/1/model.py": ""})
    (source / "m/config.pbtxt").write_bytes(b"name: \xff\xfe")
    with pytest.raises(SupersonicError, match=r"config.pbtxt is not a text file in UTF-8"):
        validate(scan([str(source)]))


@pytest.mark.parametrize("path", ["m/config.pbtxt", "m/golden/a.json", "m/1/model.py"])
@pytest.mark.parametrize("change", ["as long", "longer", "gone"])
def test_what_is_validated_is_what_is_published(
    tmp_path: Path, write: Write, golden: str, path: str, change: str
) -> None:
    """What a file says by now is another matter."""
    tree = {"m/config.pbtxt": PYTHON, "m/golden/a.json": golden, "m/1/model.py": "# one"}
    found = scan([str(write(tmp_path / "source", tree))])
    validate(found)
    place = tmp_path / "source" / path
    said = f"{place} changed while it was published. Run again when nobody writes to it; if it says so again, with"
    if change == "gone":
        place.unlink()
        said = f"{place} of the source cannot be read any more: No such file or directory."
    else:
        place.write_text(tree[path].replace("n", "u") if change == "as long" else tree[path] + "\n")
    with pytest.raises(SupersonicError) as caught:
        validate(found)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ensemble_scheduling { " * 5000, 'column 23: .*ModelEnsembling" has no field named "ensemble_scheduling"'),
        ("input [ " * 5000, r"column 9: .*Expected \"{\""),
        ("<" * 100_000, "column 1: .*Expected identifier or number, got <"),
    ],
)
def test_deep_nesting_ends_in_a_sentence(tmp_path: Path, write: Write, text: str, message: str) -> None:
    """No message of a configuration holds one of its own kind, so the parser never gets far."""
    source = write(tmp_path / "source", {"m/1/model.py": "", "m/config.pbtxt": text})
    with pytest.raises(SupersonicError, match=rf"^Model 'm': {source}/m/config\.pbtxt, line 1, {message}"):
        validate(scan([str(source)]))


# The libraries are looked for when the first configuration is read.
READ = """
import sys
sys.path.insert(0, sys.argv[1])
{before}
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_config import parse_config
try:
    parse_config("m", "config.pbtxt", b"")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("option", "before"),
    # No library of those that were installed; the client as it is installed without its extras.
    [("-S", ""), ("-B", "sys.modules['grpc'] = None")],
)
def test_a_library_that_is_missing(option: str, before: str) -> None:
    command = [sys.executable, option, "-c", READ.format(before=before), str(COLLECTIONS)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == (
        f"SupersonicError The Python library tritonclient.grpc is missing for {sys.executable}, the interpreter that "
        "ran this module. Install it there (pip install 'tritonclient[grpc]'), or set ansible_python_interpreter of "
        'this host to one that has it, for instance "{{ ansible_playbook_python }}".\n'
    )


def _large(path: str, size: int) -> dict[str, str]:
    return {"m/config.pbtxt": PYTHON, "m/1/model.py": "", path: " " * size}


@pytest.mark.parametrize(
    ("path", "size", "message"),
    [
        ("m/config.pbtxt", 2_000_001, "config.pbtxt has 2.0 MB, but a configuration has 2.0 MB at most. Is it another"),
        ("m/golden/a.json", 4_100_000, "golden/a.json has 4.1 MB, but one that is published has 4.0 MB at most"),
    ],
)
def test_what_is_read_as_a_whole_has_a_limit(tmp_path: Path, write: Write, path: str, size: int, message: str) -> None:
    with pytest.raises(SupersonicError, match=message):
        validate(scan([str(write(tmp_path / "source", _large(path, size)))]))


def test_of_a_large_program_nothing_is_said(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it completes its configuration is only asked of one of a usual size."""
    monkeypatch.setattr(validation, "_LARGEST_PROGRAM", 100)
    config = PYTHON + 'input [ { name: "A" } ]'
    tree = {"m/config.pbtxt": config, "m/1/model.py": "class TritonPythonModel:\n    pass\n"}
    with pytest.raises(SupersonicError, match="input 'A' has no data_type"):
        validate(scan([str(write(tmp_path / "small", tree))]))
    tree["m/1/model.py"] += "#" * 100
    validate(scan([str(write(tmp_path / "large", tree))]))


@pytest.mark.parametrize(
    "program", ["class TritonPythonModel({})", "class TritonPythonModel{}", "class TritonPythonModel({}o"]
)
def test_a_program_full_of_blanks_takes_no_time(tmp_path: Path, write: Write, program: str) -> None:
    source = write(tmp_path / "source", {"m/config.pbtxt": PYTHON, "m/1/model.py": program.format(" " * 100_000)})
    began = time.monotonic()
    validate(scan([str(source)]))
    assert time.monotonic() - began < 20
