# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the metadata of inference servers and of their models.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import typing as t
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import inference_check, kserve_client
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Place, Resolver, Target
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.kserve_client import CallError, Client

_AT_A_TIME = 8


@dataclass(frozen=True)
class Wanted:
    models: Sequence[str] | None
    config: bool
    statistics: bool
    timeout: float


def ask_all(targets: Sequence[Target], resolver: Resolver, wanted: Wanted) -> list[dict[str, t.Any]]:
    """The metadata of every server of every target."""
    if wanted.timeout <= 0:
        raise SupersonicError(f"timeout is {wanted.timeout:g}; it must be more than 0.")
    if any(target.protocol == "grpc" for target in targets):
        kserve_client.load_grpc()
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        questions = []
        for target, (places, absences) in zip(targets, pool.map(resolver.resolve, targets), strict=True):
            questions += [pool.submit(_silent, target, each.name, "no_pod", each.reason) for each in absences]
            questions += [pool.submit(ask, target, place, wanted) for place in places]
        return [question.result() for question in questions]


def ask(target: Target, place: Place, wanted: Wanted) -> dict[str, t.Any]:
    """The metadata of one server."""
    client = kserve_client.open_client(place.endpoint)
    try:
        live = client.live(wanted.timeout)
        ready = client.ready(wanted.timeout)
        metadata = client.metadata(wanted.timeout)
        models = _models(client, wanted)
    except CallError as exc:
        failure = inference_check.explain(client, place.endpoint, exc, wanted.timeout)
        return _silent(target, place.name, failure.status, str(failure))
    finally:
        client.close()
    return {
        "layer": target.layer,
        "target": place.name,
        "protocol": target.protocol,
        "status": inference_check.OK,
        "message": "",
        "live": live,
        "ready": ready,
        "name": metadata.get("name", ""),
        "version": metadata.get("version", ""),
        "extensions": list(metadata.get("extensions") or []),
        "models": models,
    }


def _models(client: Client, wanted: Wanted) -> list[dict[str, t.Any]]:
    index = client.index(wanted.timeout)
    statistics = {}
    if wanted.statistics:
        statistics = {(each["name"], each.get("version", "")): each for each in client.statistics(wanted.timeout)}
    configs: dict[str, dict[str, t.Any]] = {}
    result = []
    for entry in sorted(index, key=lambda entry: (entry["name"], entry.get("version", "").zfill(20))):
        name, version = entry["name"], entry.get("version", "")
        if wanted.models is not None and name not in wanted.models:
            continue
        ready = entry.get("state") == "READY"
        model: dict[str, t.Any] = {
            "name": name,
            "version": version,
            "state": entry.get("state", ""),
            "ready": ready,
            "reason": entry.get("reason", ""),
        }
        if ready and wanted.config:
            if name not in configs:
                configs[name] = client.config(name, wanted.timeout)
            model["config"] = configs[name]
        if ready and wanted.statistics:
            model["statistics"] = statistics.get((name, version), {})
        result.append(model)
    present = {entry["name"] for entry in index}
    return result + [
        {"name": name, "version": "", "state": "ABSENT", "ready": False, "reason": "the server has no such model"}
        for name in wanted.models or []
        if name not in present
    ]


def _silent(target: Target, name: str, status: str, reason: str) -> dict[str, t.Any]:
    return {
        "layer": target.layer,
        "target": name,
        "protocol": target.protocol,
        "status": status,
        "message": reason,
        "live": False,
        "ready": False,
        "name": "",
        "version": "",
        "extensions": [],
        "models": [],
    }
