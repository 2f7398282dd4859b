# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for images, resources and pods of every role.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.quantity import quantity
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.kubernetes import (
    PROBE_HANDLERS,
    with_suffix,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, Variables
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.triton import PROBE_NUMBERS

QUANTITIES = ("triton_shared_memory_size", "model_repository_size", "prometheus_size", "tempo_size", "grafana_size")


def check_annotations(name: str, path: str, annotations: Mapping[str, Any] | None) -> Iterator[Problem]:
    for key, value in (annotations or {}).items():
        if not isinstance(value, str):
            yield Problem(
                name, "the value of a Kubernetes annotation is a text; put it in quotes.", value, f"{path}.{key}"
            )


def check_images(variables: Variables) -> Iterator[Problem]:
    for name in with_suffix(variables, "_image"):
        image = variables.get(name)
        if not image:
            continue
        repository, _at, digest = image.partition("@")
        tag = repository.rsplit("/", 1)[-1].partition(":")[2]
        if re.search(r"\s", image) or not repository:
            yield Problem(name, "this is no image (repository:tag or repository:tag@sha256:...).", image)
        elif digest and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            yield Problem(name, "the digest of an image is sha256: and 64 hexadecimal digits.", image)
        elif not digest and tag in ("", "latest"):
            yield Problem(name, "name a tag other than latest, or a digest, so that every pod runs the same.", image)


def check_resources(variables: Variables) -> Iterator[Problem]:
    for name in QUANTITIES:
        value = variables.get(name)
        if value is not None and not quantity(value):
            yield Problem(name, "it has to be a Kubernetes quantity above zero, such as 512Mi or 20Gi.", value)
    for name in with_suffix(variables, "_resources"):
        resources = variables.get(name) or {}
        limits = resources.get("limits") or {}
        for resource, amount in (resources.get("requests") or {}).items():
            wanted, limit = quantity(amount), quantity(limits.get(resource, ""))
            if wanted is not None and limit is not None and wanted > limit:
                yield Problem(
                    name, f"a request cannot be above its limit, {limits[resource]}.", amount, f".requests.{resource}"
                )


def check_pods(variables: Variables) -> Iterator[Problem]:
    for name in with_suffix(variables, "_probe"):
        probe = variables.get(name) or {}
        if not probe:
            continue
        if len(PROBE_HANDLERS & set(probe)) != 1:
            yield Problem(name, f"a probe has exactly one of {', '.join(sorted(PROBE_HANDLERS))}.", dict(probe))
        for key, smallest in PROBE_NUMBERS.items():
            value = probe.get(key)
            if value is not None and value < smallest:
                yield Problem(name, f"it has to be {smallest} or more.", value, f".{key}")
    for name in with_suffix(variables, "_pod_disruption_budget"):
        budget = variables.get(name) or {}
        yield from _int_or_percent(name, budget, ("minAvailable", "maxUnavailable"))
        if "selector" in budget:
            yield Problem(name, "the role selects its own pods.", budget["selector"], ".selector")
        if budget and len({"minAvailable", "maxUnavailable"} & set(budget)) != 1:
            yield Problem(name, "it has exactly one of minAvailable and maxUnavailable.", dict(budget))
    for name in with_suffix(variables, "_rolling_update"):
        update = variables.get(name) or {}
        yield from _int_or_percent(name, update, ("maxSurge", "maxUnavailable"))
        if all(str(update.get(key, 1)).rstrip("%") in ("0", "") for key in ("maxSurge", "maxUnavailable")):
            yield Problem(
                name, "maxSurge and maxUnavailable cannot both be 0: no pod could ever be replaced.", dict(update)
            )


def _int_or_percent(name: str, value: Mapping[str, Any], keys: Sequence[str]) -> Iterator[Problem]:
    for key in keys:
        item = value.get(key)
        if item is not None and not (re.fullmatch(r"[0-9]+%", item) if isinstance(item, str) else item >= 0):
            yield Problem(
                name, "it has to be a number of pods, 0 or more, or a percentage such as 25%.", item, f".{key}"
            )


CHECKS = (check_images, check_resources, check_pods)
