# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Formats the differences of an instance for reading.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import textwrap
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.fastml.supersonic.plugins.module_utils._common.text import counted
from ansible_collections.fastml.supersonic.plugins.module_utils._common.timestamp import stamp
from ansible_collections.fastml.supersonic.plugins.module_utils._drift.changed_fields import ERROR, SEVERITIES, WARNING

Report = dict[str, t.Any]

_LONGEST_VALUE = 100
_WIDTH = 150
_SIDES = ("desired", "live", "running")


def report(
    results: Iterable[Mapping[str, t.Any]], name: str, namespace: str, made: float, why: str = "", **more: t.Any
) -> Report:
    """One instance. results: what manifests_info and drift_info have returned; why: it could not be asked."""
    given = [result for result in results if result]
    # Several sets may miss the same namespace.
    told = {
        (item["kind"], item["object"], item["field"], item["text"]): item
        for result in given
        for item in result.get("findings") or []
    }
    findings = list(told.values())
    findings.sort(key=lambda item: SEVERITIES.index(item["severity"]))
    counts = {severity: sum(item["severity"] == severity for item in findings) for severity in SEVERITIES}
    unknown = [text for result in given for text in result.get("unknown") or []]
    running: Report = next((result["running"] for result in given if result.get("running")), {})
    return {
        "name": name,
        "namespace": namespace,
        "made": stamp(made),
        "reachable": not why,
        "why": why,
        "drift": bool(counts[ERROR] or counts[WARNING]),
        "counts": counts,
        "findings": findings,
        "unknown": [*dict.fromkeys(unknown), *more.get("unknown", ())],
        "running": running,
    }


def table(reports: Sequence[Mapping[str, t.Any]]) -> str:
    """A line for each instance, and below them each finding with its author and what to do."""
    rows: list[tuple[str, ...]] = [("instance", "drift", "errors", "warnings", "not known")]
    rows += [
        (
            str(each["name"]),
            _word(each),
            *(str(each["counts"][severity]) if each["reachable"] else "-" for severity in (ERROR, WARNING)),
            str(len(each["unknown"])) if each["reachable"] else "-",
        )
        for each in reports
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    for each in reports:
        if not each["reachable"]:
            lines += ["", f"{each['name']}: it was not compared: {each['why']}"]
            continue
        if each["findings"]:
            lines += ["", f"{each['name']} ({each['namespace']})"]
        for item in each["findings"]:
            lines += _finding(item)
        lines += [f"  not known  {' '.join(text.split())}" for text in each["unknown"]]
    return "\n".join(lines)


def _word(each: Mapping[str, t.Any]) -> str:
    if not each["reachable"]:
        return "not compared"
    if each["drift"]:
        return "yes"
    return "none found" if each["unknown"] else "none"


def _finding(item: Mapping[str, t.Any]) -> list[str]:
    lines = [f"  {item['severity']:<8} {item['between']:<12}  {item['object']}: {item['text']}"]
    values = [(side, item[side]) for side in _SIDES if side in item]
    values = _told_apart(values)
    if values:
        lines.append(" " * 11 + "; ".join(f"{side}: {value}" for side, value in values))
    if item["remedy"]:
        lines += textwrap.wrap(item["remedy"], _WIDTH, initial_indent=" " * 11, subsequent_indent=" " * 11)
    return lines


def _told_apart(values: Sequence[tuple[str, t.Any]]) -> list[tuple[str, str]]:
    """Values in a line each; of long texts the first line that differs."""
    texts = {side: value.splitlines() for side, value in values if isinstance(value, str) and "\n" in value}
    if len(texts) == len(values) == 2:
        (one, left), (other, right) = texts.items()
        for number, (before, after) in enumerate(zip(left, right, strict=False), start=1):
            if before != after:
                return [(f"{one} (line {number})", _short(before.strip())), (other, _short(after.strip()))]
        number = min(len(left), len(right))
        longer, lines = (one, left) if len(left) > len(right) else (other, right)
        more = [line.strip() for line in lines[number:] if line.strip()]
        if not more:
            rest = "the same but for empty ones at the end"
            return [(one, counted(len(left), "line")), (other, f"{counted(len(right), 'line')}, {rest}")]
        return [(f"{longer} (line {number + 1}, {len(lines) - number} more than the other)", _short(more[0]))]
    if len(values) == 2 and all(isinstance(value, list) for _side, value in values):
        (one, first), (other, second) = values
        only = [each for each in first if each not in second], [each for each in second if each not in first]
        if any(only) and len(first) + len(second) > sum(map(len, only)):
            return [(f"{side} alone has", _short(each)) for side, each in zip((one, other), only, strict=True) if each]
    return [(side, _short(value)) for side, value in values]


def _short(value: t.Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
