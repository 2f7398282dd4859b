# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares the configuration that an Envoy runs with its ConfigMap.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Envoy reads its configuration once, and says in its admin interface with which one it was started. It says that in the
JSON of protocol buffers: durations have a point, large numbers are texts, and fields with their default are left out.
So the two are compared by what they mean, and not as texts.
"""

from __future__ import annotations

import base64
import json
import re
import typing as t
from collections.abc import Iterator, Mapping

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._drift.changed_fields import (
    MISSING,
    Difference,
    Path,
    differences,
)

# Only the part with which it was started: filters in others may have tokens in them.
BOOTSTRAP = "/config_dump?mask=bootstrap"
# Which version each filter has that comes from a file, and nothing of its content.
FILTERS = "/config_dump?resource=ecds_filters&mask=version_info"
_BOOTSTRAP_TYPE = "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump"
# What stands in place of what Envoy takes for a secret.
_REDACTED = "[redacted]"
# Envoy says there who it is itself, whatever the file says of the node besides.
_OF_ITSELF = frozenset(
    {"user_agent_name", "user_agent_build_version", "user_agent_version", "extensions", "client_features"}
)
_DURATION = re.compile(r"(-?[0-9]+)(?:\.([0-9]{1,9}))?s")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_ENUM = re.compile(r"[A-Z][A-Z0-9_]*")


def bootstrap_of(answer: str) -> Mapping[str, t.Any]:
    """The configuration that an Envoy was started with, from what its admin interface says."""
    try:
        configs = json.loads(answer)["configs"]
        found = next(config["bootstrap"] for config in configs if config.get("@type") == _BOOTSTRAP_TYPE)
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise SupersonicError(f"its admin interface has answered in another form: {error!r}") from error
    node = {key: value for key, value in (found.get("node") or {}).items() if key not in _OF_ITSELF}
    return {**{key: value for key, value in found.items() if key != "node"}, **({"node": node} if node else {})}


def versions_of(answer: str) -> set[str]:
    """The versions of the filters from files, from what the admin interface says."""
    try:
        return {str(config["version_info"]) for config in json.loads(answer)["configs"] if config.get("version_info")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SupersonicError(f"its admin interface has answered in another form: {error!r}") from error


def version_of(data: str) -> str:
    """The version of a filter in a file of a Secret (base64); empty where it is no such file."""
    try:
        return str(json.loads(base64.b64decode(data)).get("version_info") or "")
    except (ValueError, AttributeError):
        return ""


def compare(file: t.Any, running: t.Any) -> list[Difference]:
    """The differences in meaning between a configuration file and the configuration that an Envoy was started with."""
    return list(_different(_canonical(file), _canonical(running)))


def _different(file: t.Any, running: t.Any) -> Iterator[Difference]:
    for difference in differences(file, running):
        if difference.before is MISSING:
            rest = _said(difference.after)
            if rest is not MISSING:
                yield Difference(difference.path, MISSING, rest)
        elif difference.after is MISSING:
            rest = _said(difference.before)
            if rest is not MISSING:
                yield Difference(difference.path, rest, MISSING)
        elif isinstance(difference.before, list) and isinstance(difference.after, list):
            yield from _lists(difference.path, difference.before, difference.after)
        elif _REDACTED not in (difference.before, difference.after):
            yield difference


def _lists(path: Path, file: list[t.Any], running: list[t.Any]) -> Iterator[Difference]:
    if len(file) != len(running):
        yield Difference(path, file, running)
        return
    for number, (left, right) in enumerate(zip(file, running, strict=True)):
        for inner in _different(left, right):
            yield Difference((*path, str(number), *inner.path), inner.before, inner.after)


def _said(value: t.Any) -> t.Any:
    """The value, or MISSING if it is a default, which could as well be left out."""
    if isinstance(value, Mapping):
        # A message that is there may mean something by that alone, and so may one that says nothing.
        return value
    if value in ("", 0, False, None) or value == []:
        return MISSING
    # The first name of an enumeration is its default, and which it is, only its definition says.
    if isinstance(value, str) and _ENUM.fullmatch(value):
        return MISSING
    return value


def _canonical(value: t.Any) -> t.Any:
    """The same for all ways to write a value."""
    if isinstance(value, Mapping):
        return {str(key): _canonical(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(entry) for entry in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, float)):
        return _number(value)
    text = str(value)
    if found := _DURATION.fullmatch(text):
        return f"{int(found[1])}.{(found[2] or '').rstrip('0') or '0'}s"
    # 64-bit numbers are texts.
    return _number(float(text)) if _NUMBER.fullmatch(text) and len(text) < 20 else text


def _number(value: float) -> float | int:
    """Single precision is what most of Envoy's numbers have."""
    return int(value) if float(value).is_integer() else float(f"{value:.6g}")
