# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plots a time series as an inline SVG.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 360, 170
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 24
# Seconds between two marks of the axis of time.
_SPANS = (60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


@dataclass(frozen=True)
class Line:
    """A time series by Unix time in seconds; None for gaps, at least one value."""

    name: str
    points: Sequence[tuple[float, float | None]]

    @property
    def values(self) -> list[float]:
        return [value for _at, value in self.points if value is not None]


def plot(
    lines: Sequence[Line],
    span: tuple[float, float],
    marks: Sequence[float],
    *,
    title: str,
    words: str,
    anchor: str,
) -> str:
    """The lines between two times, over an axis of values. title and words are what is read instead of it."""
    top = marks[-1]
    begin, end = span
    across = (WIDTH - LEFT - RIGHT) / max(end - begin, 1)
    up = (HEIGHT - TOP - BOTTOM) / top

    def place(at: float, value: float) -> tuple[float, float]:
        return LEFT + (at - begin) * across, HEIGHT - BOTTOM - value * up

    parts = []
    for mark in marks:
        _x, y = place(begin, mark)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(label(mark))}</text>')
    for at in times(begin, end):
        x, _y = place(at, 0)
        parts.append(f'<path class="grid" d="M{x:.1f} {HEIGHT - BOTTOM}v4"/>')
        hour = datetime.datetime.fromtimestamp(at, datetime.UTC)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{hour:%H:%M}</text>')
    for index, line in enumerate(lines):
        parts.append(f'<path class="line l{index}" d="{_path(line, place)}"/>')
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{anchor}t {anchor}d">'
        f'<title id="{anchor}t">{escape(title)}</title><desc id="{anchor}d">{escape(words)}</desc>'
        f"{''.join(parts)}</svg>"
    )


def _path(line: Line, place: Callable[[float, float], tuple[float, float]]) -> str:
    """Pieces: where a value is missing nothing is drawn. One that stands alone is a dot."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for at, value in line.points:
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append(place(at, value))
    drawn = []
    for piece in filter(None, pieces):
        first, *others = piece
        drawn.append(f"M{first[0]:.1f} {first[1]:.1f}")
        drawn += [f"L{x:.1f} {y:.1f}" for x, y in others] or ["h0.1"]
    return "".join(drawn)


def ticks(most: float, *, whole: bool = False) -> list[float]:
    """From 0 in round steps to what is not below the largest value."""
    if not most > 0 or not math.isfinite(most):
        most = 1.0
    rough = most / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    step = max(math.ceil(step), 1) if whole else step
    return [index * step for index in range(math.ceil(most / step - 1e-9) + 1)]


def label(value: float) -> str:
    """As short as it can be."""
    for limit, sign in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            divisor = 1e3 if sign == "k" else limit
            return f"{value / divisor:g}{sign}"
    return f"{value:.6g}"


def times(begin: float, end: float) -> list[float]:
    """Round times between two, three to six of them where the span allows it."""
    step = next((span for span in _SPANS if (end - begin) / span <= 5), 86400 * math.ceil((end - begin) / 86400 / 5))
    first = math.ceil(begin / step) * step
    # The labels at both ends need their room.
    room = (end - begin) * 0.04
    return [float(at) for at in range(int(first), int(end) + 1, int(step)) if begin + room <= at <= end - room]
