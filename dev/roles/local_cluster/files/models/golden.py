# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes golden requests: an inference request in the JSON of the KServe v2 protocol with its expected answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Tensor(NamedTuple):
    name: str
    datatype: str
    shape: Sequence[int]
    data: Sequence[Any]

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape), "data": list(self.data)}


def write_golden(
    model: Path,
    name: str,
    *,
    source: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    tolerances: Mapping[str, Mapping[str, float]],
) -> None:
    golden = {
        "source": source,
        "request": {"inputs": [tensor.as_json() for tensor in inputs]},
        "response": {"outputs": [tensor.as_json() for tensor in outputs]},
        "tolerances": tolerances,
    }
    directory = model / "golden"
    directory.mkdir(exist_ok=True)
    (directory / f"{name}.json").write_text(json.dumps(golden, indent=1) + "\n")
