# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Merges values of the SuperSONIC Helm chart as Helm does, and records how each of them is migrated.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common import yaml_io
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError

Path = tuple[str, ...]
# What becomes of a value.
SAME, CHANGED, GONE, IDLE, UNKNOWN = "same", "changed", "gone", "idle", "unknown"
# Values of keys with such names are told to nobody.
_SECRET = re.compile(
    r"passw|secret|(?<!max_)(?<!max)token(?!s_?per)|credential|private|api[-_]?key|authorization|htpasswd", re.I
)
_LONGEST_SHOWN = 60
_PASSED_THROUGH = ("prometheus", "grafana", "tempo", "opentelemetry-collector")


@dataclass(frozen=True)
class Finding:
    """The migration of one key of the values, or of a default of the chart.

    path: the key; kind: SAME, CHANGED, GONE, IDLE or UNKNOWN; text: why, and what to do; variables: of the inventory;
    value: what it was, as it may be shown; given: whether the files say it, or it is what the chart does unasked.
    """

    path: Path
    kind: str
    text: str
    variables: tuple[str, ...] = ()
    value: str = ""
    given: bool = True

    @property
    def key(self) -> str:
        return shown_path(self.path)


def load(texts: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Values files, pairs of a name and a text, merged as `helm -f` merges them: the later one wins."""
    merged: dict[str, Any] = {}
    for name, text in texts:
        try:
            document = yaml_io.load(text)
        except yaml_io.NoYaml as error:
            where = f"{name}:{error.line}" if error.line else name
            raise SupersonicError(f"{where} is no YAML: {error}.") from None
        if document is None:
            continue
        if not isinstance(document, Mapping):
            raise SupersonicError(f"{name} is no file of Helm values: it has to hold keys and values at its top.")
        merged = merge(merged, document)
    return merged


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge as Helm does: maps key by key, all else replaced. A null is kept: it removes the default below it."""
    result = {str(key): value for key, value in below.items()}
    for key, value in above.items():
        there = result.get(str(key))
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            result[str(key)] = merge(there, value)
        else:
            result[str(key)] = merge({}, value) if isinstance(value, Mapping) else value
    return result


def leaves(values: Mapping[str, Any], below: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every key that has no further keys, with its value."""
    for key, value in values.items():
        path = (*below, str(key))
        if isinstance(value, Mapping) and value:
            yield from leaves(value, path)
        else:
            yield path, value


def shown_path(path: Path) -> str:
    """As it is written in documentation; keys with a dot in quotes."""
    return ".".join(f'"{key}"' if "." in key else key for key in path)


def shown_value(path: Path, value: Any) -> str:
    """A value on one line, short, and never a secret."""
    if isinstance(value, (Mapping, list)) and (path[0] in _PASSED_THROUGH or path == ("triton", "args")):
        # Of other charts, whose keys for passwords may be called anything, and scripts, which may set some.
        return "(1 entry)" if len(value) == 1 else f"({len(value)} entries)"
    text = json.dumps(_masked(path, value), ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def is_secret(path: Path) -> bool:
    """Whether the name of a key says that its value is nobody's business."""
    return bool(_SECRET.search(path[-1])) if path else False


def _masked(path: Path, value: Any) -> Any:
    if is_secret(path):
        return "***"
    if isinstance(value, Mapping):
        return {key: _masked((*path, str(key)), item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(path, item) for item in value]
    # An address may carry a user and a password.
    return re.sub(r"(://)[^/@\s]+@", r"\1***@", value) if isinstance(value, str) else value


@dataclass
class Values:
    """The values of the files over the chart's defaults, with the findings about them."""

    user: Mapping[str, Any]
    chart: Mapping[str, Any]
    findings: list[Finding] = field(default_factory=list)

    def given(self, *path: str) -> bool:
        """Whether the files say something there or below."""
        return _at(self.user, path) is not _MISSING

    def get(self, *path: str, default: Any = None) -> Any:
        """The value that Helm passes to the templates."""
        user, chart = _at(self.user, path), _at(self.chart, path)
        # A null takes the chart's default away, wherever above it stands.
        if any(_at(self.user, path[:length]) is None for length in range(1, len(path) + 1)):
            return default
        if isinstance(user, Mapping) and isinstance(chart, Mapping):
            return _without_nulls(merge(chart, user))
        value = chart if user is _MISSING else user
        return default if value is _MISSING or value is None else _plain(value)

    def note(self, path: Sequence[str], kind: str, text: str, *variables: str, always: bool = False) -> None:
        """Say what becomes of it; with always, also of what the chart does where the files say nothing."""
        place = tuple(path)
        given = self.given(*place)
        if given or always:
            value = _at(self.user, place) if given else _at(self.chart, place)
            told = "" if value is _MISSING else shown_value(place, value)
            self.findings.append(Finding(place, kind, text, tuple(variables), told, given))

    def silent(self) -> list[tuple[Path, Any]]:
        """Keys of the files without a finding."""
        told = {finding.path for finding in self.findings}
        return [
            (path, value)
            for path, value in leaves(self.user)
            if not any(path[:length] in told for length in range(1, len(path) + 1))
        ]


_MISSING = object()


def _at(values: Any, path: Sequence[str]) -> Any:
    for key in path:
        if not isinstance(values, Mapping) or key not in values:
            return _MISSING
        values = values[key]
    return values


def _without_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    return _without_nulls(value) if isinstance(value, Mapping) else value


@dataclass(frozen=True)
class Wanted:
    """The request: the release and its namespace, the host of the inventory, and the instance's name."""

    release: str
    namespace: str
    host: str
    name: str = ""


@dataclass
class Migration:
    """The variables of the instance in their order, and what has become of each value."""

    wanted: Wanted
    name: str
    old_name: str
    values: Values
    variables: dict[str, Any] = field(default_factory=dict)
    components: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        return self.values.findings

    def set(self, variable: str, value: Any) -> None:
        self.variables[variable] = value


# ---- values ----------------------------------------------------------------------------------------------------------


def copy(made: Migration, path: Path, variable: str) -> None:
    """A value that goes over as it is."""
    value = made.values.get(*path)
    if value:
        made.set(variable, strings(value) if path[-1] in ("annotations", "labels", "nodeSelector") else value)
        made.values.note(path, SAME, "", variable)
    else:
        made.values.note(path, SAME, "As by default.")


def strings(values: Any) -> dict[str, str]:
    """A mapping whose values have to be strings; YAML may have read true or 1."""
    return {
        str(key): ("true" if value is True else "false" if value is False else str(value))
        for key, value in (values.items() if isinstance(values, Mapping) else ())
    }


def plain_resources(resources: Mapping[str, Any] | None) -> dict[str, dict[str, str]]:
    """Requests and limits of a container as texts. With null Helm takes the chart's own away: then there are none."""
    resources = resources or {}
    return {
        side: {str(name): str(tidy(amount)) for name, amount in amounts.items()}
        for side in ("requests", "limits")
        if (amounts := resources.get(side))
    }


def tidy(amount: Any) -> Any:
    return int(amount) if isinstance(amount, float) and amount.is_integer() else amount


def texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else []


def integer(value: Any, otherwise: int) -> int:
    try:
        return int(float(value))
    except (TypeError, ValueError):
        return otherwise


def bare_host(text: str) -> str:
    return re.sub(r"^\w+://", "", text).strip("/")


def seconds(text: Any) -> float:
    """A duration as Envoy, HAProxy or Prometheus write it, in seconds; 0 where it cannot be read."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return float(text)
    units = {"ms": 0.001, "us": 1e-6, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    parts = re.findall(r"([0-9.]+)(ms|us|[smhd]?)", str(text))
    return sum(float(number) * units[unit] for number, unit in parts if number.strip("."))
