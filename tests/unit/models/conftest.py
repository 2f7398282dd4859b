# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small trees of models to publish."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

CONFIG = 'backend: "python"\nmax_batch_size: 8\n'

GOLDEN = """{
  "request": {"inputs": [{"name": "A", "datatype": "FP32", "shape": [1], "data": [1]}]},
  "response": {"outputs": [{"name": "B", "datatype": "FP32", "shape": [1], "data": [2]}]}
}"""

Tree = Mapping[str, str | bytes | None]


def write_tree(root: Path, tree: Tree) -> Path:
    """Write files by path; None is an empty folder."""
    root.mkdir(parents=True, exist_ok=True)
    for path, content in tree.items():
        place = root / path
        if content is None:
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What publishers remember of sources is kept out of the home of whoever runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def write() -> Callable[[Path, Tree], Path]:
    return write_tree


@pytest.fixture
def golden() -> str:
    """A good golden request of any model."""
    return GOLDEN


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two good models of the Python backend."""
    tree = {
        "alpha/config.pbtxt": CONFIG,
        "alpha/1/model.py": "# alpha 1\n",
        "alpha/2/model.py": "# alpha 2\n",
        "alpha/golden/one.json": GOLDEN,
        "beta/config.pbtxt": CONFIG,
        "beta/1/model.py": "# beta\n",
    }
    return write_tree(tmp_path / "source", tree)
