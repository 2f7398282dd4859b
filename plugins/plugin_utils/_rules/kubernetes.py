# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks values that become parts of Kubernetes objects.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.quantity import quantity
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.values import check_value, is_kind, unknown_keys

PROBE_HANDLERS = {"httpGet", "tcpSocket", "grpc", "exec"}
# Fields of every type, and those that have to be there: written by `make kubernetes-types`. A type is string, integer,
# boolean, Quantity, IntOrString, any, the name of another one, words between '|', {TYPE} for a map, or [TYPE] for a
# list; [TYPE KEY ...] is a list whose items differ in these fields.
with open(os.path.join(os.path.dirname(__file__), "kubernetes_types.json"), encoding="utf-8") as _file:
    _KNOWN = json.load(_file)
TYPES: dict[str, dict[str, str]] = _KNOWN["types"]
REQUIRED: dict[str, list[str]] = _KNOWN["required"]
# The type of a variable by the end of its name; of two ends the longer one counts.
BY_SUFFIX = {
    "_resources": "ResourceRequirements",
    "_probe": "Probe",
    "_pod_disruption_budget": "PodDisruptionBudgetSpec",
    "_rolling_update": "RollingUpdateDeployment",
    "_pod_spec_overrides": "PodSpec",
    "_clients_from": "[NetworkPolicyPeer]",
    "_metrics_from": "[NetworkPolicyPeer]",
    "_affinity": TYPES["PodSpec"]["affinity"],
    "_image_pull_secrets": TYPES["PodSpec"]["imagePullSecrets"],
    "_init_containers": TYPES["PodSpec"]["initContainers"],
    "_node_selector": TYPES["PodSpec"]["nodeSelector"],
    "_pod_security_context": TYPES["PodSpec"]["securityContext"],
    "_sidecars": TYPES["PodSpec"]["containers"],
    "_tolerations": TYPES["PodSpec"]["tolerations"],
    "_topology_spread_constraints": TYPES["PodSpec"]["topologySpreadConstraints"],
    "_volumes": TYPES["PodSpec"]["volumes"],
    "_env": TYPES["Container"]["env"],
    "_env_from": TYPES["Container"]["envFrom"],
    "_security_context": TYPES["Container"]["securityContext"],
    "_volume_mounts": TYPES["Container"]["volumeMounts"],
}
# A map of names of extended resources to numbers.
_OTHERS = {"preflight_node_resources"}
# Types that may hold passwords, which no message shows.
SECRET_TYPES = {"Container", "EnvVar", "HTTPHeader"}


def kubernetes_type(variable: str) -> str | None:
    """The type that a variable has in Kubernetes; None where it is not a part of an object."""
    ends = [end for end in BY_SUFFIX if variable.endswith(end) and variable not in _OTHERS]
    return BY_SUFFIX[max(ends, key=len)] if ends else None


def with_suffix(variables: Mapping[str, Any], *ends: str) -> list[str]:
    """Names of the variables with one of these ends, in alphabetical order."""
    return sorted(name for name in variables if name.endswith(ends) and name not in _OTHERS)


def check_kubernetes(variable: str, value: Any) -> Iterator[Problem]:
    """Compare a value with the type that Kubernetes has for this variable, where it has one: what is wrong here would
    be refused by the API server, after others have been changed."""
    kind = kubernetes_type(variable)
    # An empty value is left out by the roles, or means none.
    if kind and value:
        yield from _check_type(variable, value, kind, "", merged=variable.endswith("_pod_spec_overrides"), secret=False)


def _check_type(variable: str, value: Any, kind: str, path: str, *, merged: bool, secret: bool) -> Iterator[Problem]:
    """merged: whether the role has the rest of it; secret: whether values are not shown."""
    secret = secret or kind in SECRET_TYPES
    if kind in TYPES:
        if not isinstance(value, Mapping):
            yield Problem(variable, "it has to be a dictionary.", value, path, secret)
            return
        yield from unknown_keys(variable, value, TYPES[kind], path, secret=secret)
        for key, part in TYPES[kind].items():
            if value.get(key) is not None:
                yield from _check_type(variable, value[key], part, f"{path}.{key}", merged=merged, secret=secret)
            # Items of lists are found by their name, so that one has to be there.
            elif key in REQUIRED.get(kind, ()) and (not merged or key == "name"):
                yield Problem(variable, f"the key {key} is missing.", None, path)
    elif kind.startswith("["):
        yield from _check_list(variable, value, kind[1:-1].split(" "), path, merged=merged, secret=secret)
    elif kind.startswith("{"):
        if not isinstance(value, Mapping):
            yield Problem(variable, "it has to be a dictionary.", value, path, secret)
            return
        for key, item in value.items():
            yield from _check_type(variable, item, kind[1:-1], f"{path}.{key}", merged=merged, secret=secret)
    elif "|" in kind:
        yield from (
            replace(problem, secret=secret)
            for problem in check_value(variable, value, {"type": "str", "choices": kind.split("|")}, path)
        )
    else:
        expected, right = {
            "boolean": ("true or false, without quotes", isinstance(value, bool)),
            "integer": ("a whole number, without quotes", isinstance(value, int) and not isinstance(value, bool)),
            "string": ("a text; put it in quotes", isinstance(value, str)),
            "IntOrString": (
                "a whole number or a text",
                isinstance(value, (int, str)) and not isinstance(value, bool),
            ),
            "Quantity": ("a Kubernetes quantity, such as 500m or 4Gi", quantity(value) is not None),
        }.get(kind, ("", True))
        if not right:
            yield Problem(variable, f"it has to be {expected}.", value, path, secret)


def _check_list(
    variable: str, value: Any, kind: list[str], path: str, *, merged: bool, secret: bool
) -> Iterator[Problem]:
    """kind: the type of the items, and the fields in which they differ."""
    element, *keys = kind
    if not is_kind(value, "list"):
        yield Problem(variable, "it has to be a list.", value, path, secret or element in SECRET_TYPES)
        return
    seen: list[list[Any]] = []
    for index, item in enumerate(value):
        yield from _check_type(variable, item, element, f"{path}[{index}]", merged=merged, secret=secret)
        identity = [item.get(key) for key in keys] if isinstance(item, Mapping) else []
        if identity and None not in identity:
            if identity in seen:
                yield Problem(
                    variable,
                    f"another item of this list has the same {' and '.join(keys)}.",
                    identity[0],
                    f"{path}[{index}].{keys[0]}",
                )
            seen.append(identity)
