# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads and writes YAML; PyYAML is imported at the first use, so that modules can report that it is missing.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import types
import typing as t

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import missing_library


class NoYaml(ValueError):
    """A text that is no YAML. Its message quotes nothing of the text, which may hold a secret."""

    def __init__(self, problem: str, line: int | None) -> None:
        super().__init__(problem)
        # From 1 on.
        self.line = line
        # For "... is no YAML{error.where}".
        self.where = f" near line {line}" if line is not None else ""


def load(text: str | bytes) -> t.Any:
    """The one document of a text; None of an empty one. Raises NoYaml, and SupersonicError without PyYAML."""
    documents = load_all(text)
    if len(documents) > 1:
        raise NoYaml("it has more than one document", None)
    return documents[0] if documents else None


def load_all(text: str | bytes) -> list[t.Any]:
    """Every document of a text. Raises NoYaml, and SupersonicError without PyYAML."""
    library = _library()
    try:
        # The fast loader comes with nearly every PyYAML.
        return list(library.load_all(text, Loader=getattr(library, "CSafeLoader", library.SafeLoader)))
    except library.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise NoYaml(getattr(error, "problem", None) or "it cannot be read", mark and mark.line + 1) from None


def dump(value: t.Any, width: int = 120) -> str:
    """A value as a document, lists indented below their key, nothing an anchor; keys keep their order."""
    library = _library()

    class Dumper(library.SafeDumper):  # type: ignore[name-defined]
        """As people write it."""

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
            super().increase_indent(flow, False)

        def ignore_aliases(self, data: t.Any) -> bool:  # noqa: ARG002
            return True

    return str(library.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=width))


def _library() -> types.ModuleType:
    try:
        import yaml
    except ImportError as error:
        raise missing_library("yaml", "PyYAML") from error
    return yaml
