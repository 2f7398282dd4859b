# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the results of a benchmark: JSON, CSV, Markdown, and plots if matplotlib is installed.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import csv
import io
import json
import os
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.load import Request
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError

Row = Mapping[str, t.Any]

FIGURE_COLUMNS = {
    "pool": "servers",
    "mean_ms": "mean ms",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "settled_p99_ms": "p99 ms, settled",
    "servers_mean": "mean servers",
    "utilization": "utilization",
    "requests": "requests",
    "failures": "failures",
}
CAPACITY_COLUMNS = {
    "clients": "in flight",
    "throughput": "requests/s",
    "mean_ms": "mean ms",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "utilization": "utilization",
    "failures": "failures",
}
_FORMATS = ("png", "svg")
_DYNAMIC_COLOUR, _COLOURS = "black", "viridis"


def markdown(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """A table as documentation takes it."""
    lines = [[*columns.values()], *([_shown(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    told = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines]
    told.insert(1, f"|{'|'.join('-' * (width + 2) for width in widths)}|")
    return "\n".join(told) + "\n"


def table(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """The same for a terminal."""
    lines = [[*columns.values()], *([_shown(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _shown(value: t.Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) < 1 else f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def as_csv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row.get(name) for name in columns] for row in rows)
    return text.getvalue()


class Folder:
    """The folder that a report is written to."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.files: list[str] = []
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as exc:
            raise SupersonicError(f"The folder {path} for the report cannot be made: {exc.strerror or exc}.") from exc

    def path(self, name: str) -> str:
        full = os.path.join(self._path, name)
        if full not in self.files:
            self.files.append(full)
        return full

    def write(self, name: str, text: str) -> None:
        full = self.path(name)
        try:
            # A file is there as a whole or not at all.
            with open(f"{full}.new", "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(f"{full}.new", full)
        except OSError as exc:
            raise SupersonicError(f"The report {full} cannot be written: {exc.strerror or exc}.") from exc


def write_pool(
    folder: Folder, name: str, requests: Sequence[Request], timeline: Sequence[Row], recorded: Sequence[Row] = ()
) -> None:
    """Write the result of one pool as soon as it is known."""
    rows = [{"seconds": f"{each.begin:.6f}", "latency_ms": f"{each.seconds * 1000:.3f}"} for each in requests]
    folder.write(f"requests-{name}.csv", as_csv(rows, ["seconds", "latency_ms"]))
    if timeline:
        folder.write(f"timeline-{name}.csv", as_csv(timeline, list(timeline[0])))
    if recorded:
        columns = list(dict.fromkeys(key for row in recorded for key in row))
        folder.write(f"prometheus-{name}.csv", as_csv(recorded, columns))


def write_figure(folder: Folder, report: Mapping[str, t.Any]) -> bool:
    """All pools together. Returns whether plots were drawn, for which matplotlib is needed."""
    rows = report["pools"]
    folder.write("benchmark.json", json.dumps(report, indent=1) + "\n")
    folder.write("benchmark.csv", as_csv(rows, list(FIGURE_COLUMNS)))
    folder.write("benchmark.md", markdown(rows, FIGURE_COLUMNS))
    return _plotted(lambda pyplot: _draw_figure(pyplot, folder, report))


def write_capacity(folder: Folder, report: Mapping[str, t.Any]) -> bool:
    """A sweep. Returns whether plots were drawn."""
    rows = report["levels"]
    folder.write("capacity.json", json.dumps(report, indent=1) + "\n")
    folder.write("capacity.csv", as_csv(rows, list(CAPACITY_COLUMNS)))
    folder.write("capacity.md", markdown(rows, CAPACITY_COLUMNS) + f"\n```yaml\n{report['variables_text']}\n```\n")
    return _plotted(lambda pyplot: _draw_capacity(pyplot, folder, report))


# ---- plots -------------------------------------------------------------------------------------------------------


def _plotted(draw: Callable[[t.Any], None]) -> bool:
    # Imported here so that nobody needs it who wants no plots, and as a library without a display.
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    try:
        draw(pyplot)
    except OSError as exc:
        raise SupersonicError(f"A plot cannot be written: {exc.strerror or exc}.") from exc
    finally:
        pyplot.close("all")
    return True


def _save(figure: t.Any, folder: Folder, name: str) -> None:
    figure.tight_layout()
    for ending in _FORMATS:
        # Without a date the same data make the same file.
        figure.savefig(folder.path(f"{name}.{ending}"), dpi=150, metadata={"Date": None} if ending == "svg" else None)


def _styles(pyplot: t.Any, rows: Sequence[Row]) -> dict[str, dict[str, t.Any]]:
    static = [str(row["pool"]) for row in rows if row["pool"] != "dynamic"]
    colours = pyplot.get_cmap(_COLOURS)
    found = {
        pool: {"color": colours(0.1 + 0.8 * number / max(len(static) - 1, 1)), "linewidth": 1.0}
        for number, pool in enumerate(static)
    }
    return {**found, "dynamic": {"color": _DYNAMIC_COLOUR, "linewidth": 2.0}}


def _draw_figure(pyplot: t.Any, folder: Folder, report: Mapping[str, t.Any]) -> None:
    rows = report["pools"]
    styles = _styles(pyplot, rows)
    for name, column, label in (
        ("latency", "mean_ms", "mean latency (ms)"),
        ("servers", "servers_ready", "servers that are ready"),
        ("utilization", "utilization", "utilization"),
    ):
        figure, axes = pyplot.subplots(figsize=(9, 4.5))
        for row in rows:
            timeline = report["timelines"][str(row["pool"])]
            axes.plot(
                [point["seconds"] for point in timeline],
                [float("nan") if point[column] is None else point[column] for point in timeline],
                label=_called(row["pool"]),
                **styles[str(row["pool"])],
            )
        if name == "latency":
            axes.set_yscale("log")
            for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
                set_formatter("{x:.0f}")
        load = axes.twinx()
        points = report["timelines"][str(rows[0]["pool"])]
        load.fill_between(
            [point["seconds"] for point in points],
            [point["clients"] for point in points],
            step="post",
            alpha=0.12,
            color="grey",
        )
        load.set_ylabel("clients (grey)")
        load.set_ylim(bottom=0)
        axes.set_xlabel("seconds")
        axes.set_ylabel(label)
        axes.legend(loc="upper right", fontsize="small")
        _save(figure, folder, f"{name}-over-time")
    figure, axes = pyplot.subplots(figsize=(6, 4.5))
    for row in rows:
        if row["mean_ms"] is None or row["utilization"] is None:
            continue
        dynamic = row["pool"] == "dynamic"
        axes.scatter(
            row["utilization"],
            row["mean_ms"],
            marker="*" if dynamic else "o",
            s=160 if dynamic else 50,
            color=styles[str(row["pool"])]["color"],
            zorder=3,
        )
        axes.annotate(
            _called(row["pool"]), (row["utilization"], row["mean_ms"]), xytext=(6, 6), textcoords="offset points"
        )
    axes.set_xlabel("utilization")
    axes.set_ylabel("mean latency (ms)")
    # Room for what the points are called.
    axes.set_xlim(0, 1.15 * max([1.0, *(row["utilization"] for row in rows if row["utilization"])]))
    axes.set_ylim(0, 1.1 * max([1.0, *(row["mean_ms"] for row in rows if row["mean_ms"])]))
    axes.grid(alpha=0.3)
    _save(figure, folder, "latency-by-utilization")


def _called(pool: t.Any) -> str:
    return "dynamic" if pool == "dynamic" else f"{pool} server{'' if str(pool) == '1' else 's'}"


def _draw_capacity(pyplot: t.Any, folder: Folder, report: Mapping[str, t.Any]) -> None:
    rows = [row for row in report["levels"] if row["mean_ms"] is not None]
    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    clients = [row["clients"] for row in rows]
    axes.plot(clients, [row["mean_ms"] for row in rows], marker="o", color="black", label="mean latency")
    axes.plot(clients, [row["p99_ms"] for row in rows], marker=".", color="grey", label="p99 latency")
    axes.axvline(report["saturation"], color="tab:blue", linestyle=":", label="saturation")
    axes.axvline(
        report["requests_per_server"], color="tab:green", linestyle="--", label="recommended requests per server"
    )
    axes.set_xscale("log", base=2)
    axes.set_xlabel("requests in flight")
    axes.set_ylabel("ms")
    axes.set_ylim(bottom=0)
    rate = axes.twinx()
    rate.plot(clients, [row["throughput"] for row in rows], marker="s", color="tab:red", label="throughput")
    rate.set_ylabel("requests/s (red)")
    rate.set_ylim(bottom=0)
    axes.legend(loc="upper left", fontsize="small")
    _save(figure, folder, "capacity")
