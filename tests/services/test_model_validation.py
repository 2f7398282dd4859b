# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What validation says about a release is what a real Triton says.

`make test` loads every tenth of the releases that are refused, `make test-all` all of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from ansible_collections.fastml.supersonic.tests.harness.model_cases import (
    BAD,
    GOOD,
    LOADS,
    MISLEADS,
    REFUSES,
    Case,
    Tree,
)
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton

STEP = 10
REFUSED = [(name, case) for name, case in BAD.items() if case.triton in (REFUSES, MISLEADS)]
CASES = [
    *(pytest.param(case, id=f"good: {name}") for name, case in GOOD.items() if case.triton == LOADS),
    *(
        pytest.param(case, id=f"bad: {name}", marks=pytest.mark.thorough if number % STEP else ())
        for number, (name, case) in enumerate(REFUSED)
    ),
]
Load = Callable[[Tree], list[str]]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    """Give a server other models, and load them all: what it refuses."""
    repository = tmp_path_factory.mktemp("repository")
    server = Triton(repository, tmp_path_factory.mktemp("triton"), ["--model-control-mode=explicit"])
    client = InferenceServerClient(server.grpc)

    def work(tree: Tree) -> list[str]:
        for old in repository.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        for path, content in tree.items():
            place = repository / path
            (place if content is None else place.parent).mkdir(parents=True, exist_ok=True)
            if content is not None:
                place.write_text(content)
        models = sorted({path.split("/")[0] for path in tree if "/" in path})
        refused = []
        for name in models:
            try:
                client.load_model(name, client_timeout=30)
                if not client.is_model_ready(name):
                    refused.append(f"{name} is not ready")
            except InferenceServerException as error:
                refused.append(str(error))
        for name in models:
            client.unload_model(name)
        return refused

    yield work
    client.close()
    server.stop()


@pytest.mark.parametrize("case", CASES)
def test_triton_agrees(load: Load, case: Case) -> None:
    """MISLEADS: Triton loads it, but does something else than it says, or serves what no request can use."""
    refused = load(case.tree)
    assert bool(refused) == (case.triton == REFUSES), refused
