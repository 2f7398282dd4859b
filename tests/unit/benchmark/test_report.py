# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written of a benchmark."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark import report as benchmark_report
from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.load import Request
from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.report import (
    FIGURE_COLUMNS,
    Folder,
    markdown,
    table,
    write_capacity,
    write_figure,
    write_pool,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError

ROWS = [
    {"pool": "1", "mean_ms": 122.04, "p50_ms": 120.0, "p99_ms": 243.0, "settled_p99_ms": 240.1, "servers_mean": 1.0,
     "utilization": 0.932, "requests": 12345, "failures": 0},
    {"pool": "dynamic", "mean_ms": None, "p50_ms": None, "p99_ms": None, "settled_p99_ms": None, "servers_mean": 3.571,
     "utilization": None, "requests": 0, "failures": 3},
]  # fmt: skip
PLOTS = ("latency-over-time", "servers-over-time", "utilization-over-time", "latency-by-utilization")


def point(second: int, **more: Any) -> dict[str, Any]:
    return {"seconds": second, "clients": 1, "requests": 40, "mean_ms": 22.5, "p99_ms": 30.0,
            "servers_wanted": 1, "servers_ready": 1, "utilization": 0.9, **more}  # fmt: skip


def figure() -> dict[str, Any]:
    times = [point(0), point(1, mean_ms=None, p99_ms=None, requests=0, utilization=None), point(2)]
    return {"pools": ROWS, "profile": [], "timelines": {"1": times, "dynamic": times}}


def test_tables() -> None:
    told = markdown(ROWS, FIGURE_COLUMNS).splitlines()
    assert len({len(line) for line in told}) == 1
    assert told[2].split(" | ")[:3] == ["| 1      ", "122.0  ", "120.0 "]
    assert "| 0.932       | 12,345   |" in told[2]
    assert told[3].count(" - ") == 5
    assert "dynamic" in table(ROWS, FIGURE_COLUMNS).splitlines()[2]


def test_files(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "new" / "report"))
    write_pool(folder, "1", [Request(0.5, 0.0215), Request(1.25, 0.03)], [point(0), point(1)])
    plotted = write_figure(folder, figure())
    base = tmp_path / "new" / "report"
    assert (base / "requests-1.csv").read_text() == "seconds,latency_ms\n0.500000,21.500\n1.250000,30.000\n"
    with (base / "timeline-1.csv").open() as file:
        assert [row["seconds"] for row in csv.DictReader(file)] == ["0", "1"]
    assert json.loads((base / "benchmark.json").read_text()) == figure()
    assert (base / "benchmark.csv").read_text().splitlines()[2].startswith("dynamic,,,,,3.571,,0,3")
    assert plotted
    assert sorted(Path(name).name for name in folder.files) == sorted(path.name for path in base.iterdir())
    for name in PLOTS:
        assert (base / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (base / f"{name}.svg").read_text()


def test_capacity(tmp_path: Path) -> None:
    levels = [{"clients": 1, "throughput": 45.0, "mean_ms": 22.0, "p50_ms": 22.0, "p99_ms": 25.0, "utilization": 0.9,
               "failures": 0}]  # fmt: skip
    report = {
        "levels": levels,
        "saturation": 1.0,
        "requests_per_server": 1.8,
        "variables_text": "envoy_max_requests: 9",
    }
    folder = Folder(str(tmp_path))
    assert write_capacity(folder, report)
    assert "```yaml\nenvoy_max_requests: 9\n```" in (tmp_path / "capacity.md").read_text()
    assert (tmp_path / "capacity.svg").is_file()


def test_without_matplotlib_there_are_no_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    folder = Folder(str(tmp_path))
    assert not benchmark_report.write_figure(folder, figure())
    assert (tmp_path / "benchmark.md").is_file()
    assert not list(tmp_path.glob("*.svg"))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SupersonicError, match="cannot be made: Not a directory"):
        Folder(str(tmp_path / "file" / "report"))
    folder = Folder(str(tmp_path / "report"))
    (tmp_path / "report").rmdir()
    with pytest.raises(SupersonicError, match=r"benchmark\.json cannot be written: No such file"):
        write_figure(folder, figure())
