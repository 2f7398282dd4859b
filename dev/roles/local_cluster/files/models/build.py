# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the example model repository: config.pbtxt, version 1 and golden requests of each model.

Every model comes from fixed seeds, so that two builds on one machine are equal byte by byte. The expected answers never
come from Triton: those of digits are scikit-learn's, those of particlenet onnxruntime's, the others are arithmetic.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

# Set before numpy loads: with one thread sums are taken in one order, and the trained numbers stay the same.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

from golden import Tensor, write_golden

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "sources"
# What the files of a model depend on beside the builder. Their versions are read without loading them.
LIBRARIES = ("numpy", "scikit-learn", "skl2onnx", "onnx", "onnxruntime")
ONNX_MODELS = ("digits", "particlenet")


def copy_sources(destination: Path) -> None:
    for source in sorted(path for path in SOURCES.iterdir() if path.is_dir()):
        folder = destination / source.name / "1"
        folder.mkdir(parents=True)
        shutil.copyfile(source / "config.pbtxt", destination / source.name / "config.pbtxt")
        model = SOURCES / "onnx_model.py" if source.name in ONNX_MODELS else source / "model.py"
        shutil.copyfile(model, folder / "model.py")


def build_arithmetic(destination: Path) -> None:
    """Golden requests of the two models whose answers need no calculation."""
    values = [0.0, 1.5, -2.25, 3.4028234663852886e38, 1.401298464324817e-45]
    write_golden(
        destination / "identity",
        "values",
        source="the request itself",
        inputs=[Tensor("INPUT0", "FP32", [1, 5], values)],
        outputs=[Tensor("OUTPUT0", "FP32", [1, 5], values)],
        tolerances={"OUTPUT0": {"absolute": 0.0, "relative": 0.0}},
    )
    batch = [float(value) for value in range(12)]
    write_golden(
        destination / "identity",
        "batch",
        source="the request itself",
        inputs=[Tensor("INPUT0", "FP32", [3, 4], batch)],
        outputs=[Tensor("OUTPUT0", "FP32", [3, 4], batch)],
        tolerances={"OUTPUT0": {"absolute": 0.0, "relative": 0.0}},
    )
    write_golden(
        destination / "accelerator",
        "doubles",
        source="arithmetic: every value doubled",
        inputs=[Tensor("INPUT0", "FP32", [1, 4], [1.0, -2.0, 0.5, 100.0])],
        outputs=[Tensor("OUTPUT0", "FP32", [1, 4], [2.0, -4.0, 1.0, 200.0])],
        tolerances={"OUTPUT0": {"absolute": 0.0, "relative": 0.0}},
    )


def digest(directory: Path) -> str:
    """One sum over names and contents, to see at a glance whether two builds are the same."""
    total = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(directory).as_posix()} {content}\n".encode())
    return total.hexdigest()


def key() -> str:
    """What decides over the content of a build: the builder's files, and the versions of what it uses."""
    total = hashlib.sha256()
    for path in sorted(path for path in HERE.rglob("*") if path.suffix in (".py", ".pbtxt")):
        total.update(f"{path.relative_to(HERE).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    total.update(f"python {platform.python_version()}\n".encode())
    for library in LIBRARIES:
        total.update(f"{library} {version(library)}\n".encode())
    return total.hexdigest()[:16]


def build(destination: Path) -> str:
    """Build beside the destination, then take its place, so that a killed build leaves nothing half done in it."""
    # Loading the libraries takes seconds, and the key needs none of them.
    from digits import build_digits
    from particlenet import build_particlenet

    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as scratch:
        tree = Path(scratch) / "repository"
        tree.mkdir(mode=0o755)
        copy_sources(tree)
        build_arithmetic(tree)
        build_digits(tree / "digits")
        build_particlenet(tree / "particlenet")
        result = digest(tree)
        if destination.exists():
            destination.rename(Path(scratch) / "previous")
        tree.rename(destination)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--destination", type=Path, help="folder of the repository; replaced when it exists")
    wanted.add_argument("--key", action="store_true", help="only print the key of what a build is made from")
    options = parser.parse_args()
    print(key() if options.key else build(options.destination.resolve()))


if __name__ == "__main__":
    main()
