# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real servers that the tests of a session share."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests.harness.models import build_examples, write_model
from ansible_collections.fastml.supersonic.tests.harness.programs import program
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton

# The client library must not touch its threads when a test starts a server.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example model repository, built once for all workers."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "examples"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "repository").exists():
            build_examples(folder / "new").rename(folder / "repository")
    return folder / "repository"


@pytest.fixture(scope="session")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program("prometheus", tmp_path_factory.mktemp("programs")) / "promtool"


@pytest.fixture(scope="session")
def triton(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A Triton with the example models."""
    server = Triton(examples, tmp_path_factory.mktemp("triton"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def misbehaving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A Triton whose models are wrong, slow, broken, or take all types."""
    models = tmp_path_factory.mktemp("misbehaving")
    write_model(models, "identity", execute="value = value + numpy.float32(0.5) * (value == 2)")
    write_model(models, "sleepy", execute="time.sleep(4)")
    write_model(models, "broken", initialize="raise ValueError('weights are missing')")
    write_model(
        models, "types", datatypes=("BOOL", "UINT8", "INT16", "UINT64", "INT64", "FP16", "FP32", "FP64", "BYTES")
    )
    server = Triton(models, tmp_path_factory.mktemp("triton"), ["--exit-on-error=false"])
    yield server
    server.stop()
