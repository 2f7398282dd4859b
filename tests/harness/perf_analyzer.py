# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real perf_analyzer as a process of this machine, out of the layers of the local cluster's image.

It needs a newer C library than Debian 12 has, so that it runs in the image's own root file system.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

IMAGE = "docker.io/fastml/perf-analyzer-local:2.60.0"
RECIPE = "perf-analyzer-local"
IMAGES = Path("/var/cache/fastml-supersonic/images")


@dataclass(frozen=True)
class Measured:
    """What it said, and the rows of its table by column."""

    code: int
    output: str
    rows: list[dict[str, str]]


class PerfAnalyzer:
    """folder: where the root file system is unpacked."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir(parents=True)
        image = max(IMAGES.glob(f"{RECIPE}-*"), key=os.path.getmtime)
        blobs = image / "blobs" / "sha256"

        def read(digest: str) -> Path:
            return blobs / digest.partition(":")[2]

        (described,) = json.loads((image / "index.json").read_text())["manifests"]
        for layer in json.loads(read(described["digest"]).read_text())["layers"]:
            # Devices are of no use to it.
            layer_file = str(read(layer["digest"]))
            subprocess.run(["tar", "-xf", layer_file, "-C", str(self.root), "--exclude=./dev/*"], check=True)

    def remove(self) -> None:
        shutil.rmtree(self.root)

    def run(self, arguments: Sequence[str], seconds: float = 120) -> Measured:
        """Measure; the table comes from --verbose-csv."""
        table = self.root / "tmp" / "table.csv"
        table.unlink(missing_ok=True)
        done = subprocess.run(
            [
                "chroot",
                str(self.root),
                "/usr/local/bin/perf_analyzer",
                *arguments,
                "--verbose-csv",
                "-f",
                "/tmp/table.csv",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )
        rows = list(csv.DictReader(table.read_text().splitlines())) if table.is_file() else []
        return Measured(done.returncode, done.stdout, rows)
