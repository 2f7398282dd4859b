# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renders the findings about instances as a table and as data for a file.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._preflight import rbac
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.findings import (
    CHECKS,
    ERROR,
    INFO,
    OK,
    SEVERITIES,
    WARNING,
    Finding,
)

Object = Mapping[str, Any]

# Columns of a terminal that sentences are wrapped at.
WIDTH = 120
# What a variable's file is, and what to do where it is missing; of others too it is said which variable names it.
_FILES = {
    "supersonic_kubeconfig": ("kubeconfig", "Correct the variable, or have the file made."),
    "model_repository_sources": ("models", "Bring them there, or correct the variable."),
}
_GOLDEN = ("golden requests", "Record or write them, as docs/golden-requests.md says.")
_WORDS = {ERROR: ("error", "errors"), WARNING: ("warning", "warnings"), INFO: ("not known", "not known"),
          OK: ("right", "right")}  # fmt: skip


def findings(result: Object) -> list[dict[str, str]]:
    """The rows of one instance; of one whose cluster could not be asked, a row that says so.

    result: what cluster_info returned, and as missing_files what validate has missed.
    """
    missing = [_file(item) for item in result.get("missing_files") or []]
    if "findings" in result:
        return [*(dict(row) for row in result["findings"]), *missing]
    return [
        {
            "check": "version",
            "severity": ERROR,
            "subject": "the cluster",
            "found": str(result.get("msg") or "It could not be asked."),
            "why": "nothing can be done with a cluster that does not answer",
            "action": str(
                result.get("action")
                or "Correct supersonic_kubeconfig and supersonic_context, or wait until it is back."
            ),
        },
        *missing,
    ]


def _file(item: Mapping[str, str]) -> dict[str, str]:
    """A row for a file that validate has missed."""
    subject, action = _FILES.get(item["variable"], _GOLDEN)
    return Finding("files", ERROR, subject, item["text"], action).as_result()


def errors(result: Object) -> list[dict[str, str]]:
    """The rows of one instance that stop a playbook."""
    return [row for row in findings(result) if row["severity"] == ERROR]


def table(results: Mapping[str, Object], *, full: bool = False) -> str:
    """Instances and what was found of each; results: what cluster_info returned, by instance.

    In short, checks that are right or not known are named together, and of an error what it is about: its sentence
    is that of the task that fails.
    """
    blocks = (_instance(name, result, full=full) for name, result in results.items())
    return "\n".join(line for block in blocks for line in block)


def _instance(name: str, result: Object, *, full: bool) -> Iterator[str]:
    rows = findings(result)
    severities = [row["severity"] for row in rows]
    counts = [
        f"{number} {_WORDS[severity][number != 1]}" for severity in SEVERITIES if (number := severities.count(severity))
    ]
    place = (result.get("namespace") or {}).get("name")
    yield f"{name}{f' (namespace {place})' if place else ''}: {', '.join(counts)}"
    if full:
        yield from _rows(rows, sentences=True)
        yield from _missing(result)
        return
    shown = [row for row in rows if row["severity"] in (ERROR, WARNING)]
    yield from _rows([{**row, "found": "", "action": ""} if row["severity"] == ERROR else row for row in shown])
    for severity, word in ((OK, "right"), (INFO, "not known")):
        named = [check for check in CHECKS if any((r["check"], r["severity"]) == (check, severity) for r in rows)]
        if named:
            yield f"  {word}: {', '.join(named)}"


def _rows(rows: Sequence[Mapping[str, str]], *, sentences: bool = False) -> Iterator[str]:
    """Severity, check, and what was found of which subject; below it why that matters, once for each check, and what to
    do."""
    if not rows:
        return
    columns = [max(len(row[key]) for row in rows) for key in ("severity", "check")]
    indent = sum(columns) + 6
    told: set[str] = set()
    for row in rows:
        texts = [f"{row['subject']}: {row['found']}" if row["found"] else row["subject"]]
        if not sentences and row["action"]:
            texts = [f"{texts[0]} {row['action']}"]
        elif sentences and row["severity"] in (ERROR, WARNING):
            texts += [f"To do: {row['action']}" if row["action"] else ""]
            texts += [f"Why: {row['why']}." if row["why"] not in told else ""]
            told.add(row["why"])
        lines = [
            line
            for text in texts
            for line in textwrap.wrap(text, WIDTH - indent, break_long_words=False, break_on_hyphens=False)
        ]
        yield f"  {row['severity'].ljust(columns[0])}  {row['check'].ljust(columns[1])}  {lines[0]}"
        for line in lines[1:]:
            yield f"{' ' * indent}{line}"


def _missing(result: Object) -> Iterator[str]:
    rules = missing_rules(result)
    if rules:
        yield "  Rules of a Role that are missing:"
        for rule in rules:
            yield f"    - {{apiGroups: {_list(rule['apiGroups'])}, resources: {_list(rule['resources'])}, " + (
                f"verbs: {_list(rule['verbs'])}}}"
            )


def _list(words: Sequence[str]) -> str:
    return "[" + ", ".join(word or '""' for word in words) + "]"


def missing_rules(result: Object) -> list[dict[str, list[str]]]:
    """Rules of a Role with what is not held."""
    return rbac.rules(
        (item["verb"], item["resource"], item["group"]) for item in result.get("permissions") or [] if not item["held"]
    )


def missing_text(result: Object) -> str:
    """The same as lines of YAML."""
    return "\n".join(_missing(result))


def report(result: Object) -> dict[str, Any]:
    """The report about one instance for other programs."""
    rows = findings(result)
    return {
        "namespace": (result.get("namespace") or {}).get("name", ""),
        "version": result.get("version", ""),
        "errors": sum(row["severity"] == ERROR for row in rows),
        "warnings": sum(row["severity"] == WARNING for row in rows),
        "findings": rows,
        "permissions": list(result.get("permissions") or []),
        "missing_rules": missing_rules(result),
        "role": list(result.get("role") or []),
    }
