# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the types of Kubernetes that variables have, from Kubernetes' own schemas. A test compares them with what is
committed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[1] / "plugins/plugin_utils/_rules/kubernetes_types.json"
KUBERNETES = "1.34"
# Everything else is reached from these.
ROOTS = (
    "io.k8s.api.apps.v1.RollingUpdateDeployment",
    "io.k8s.api.core.v1.PodSpec",
    "io.k8s.api.networking.v1.NetworkPolicyPeer",
    "io.k8s.api.policy.v1.PodDisruptionBudgetSpec",
)
# Fields with a closed set of words, which the schemas tell only in prose.
WORDS = {
    "Container.imagePullPolicy": ("Always", "IfNotPresent", "Never"),
    "ContainerPort.protocol": ("SCTP", "TCP", "UDP"),
    "LabelSelectorRequirement.operator": ("DoesNotExist", "Exists", "In", "NotIn"),
    "NodeSelectorRequirement.operator": ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn"),
    "PodDisruptionBudgetSpec.unhealthyPodEvictionPolicy": ("AlwaysAllow", "IfHealthyBudget"),
    "PodSecurityContext.fsGroupChangePolicy": ("Always", "OnRootMismatch"),
    "SeccompProfile.type": ("Localhost", "RuntimeDefault", "Unconfined"),
    "Toleration.effect": ("NoExecute", "NoSchedule", "PreferNoSchedule"),
    "Toleration.operator": ("Equal", "Exists"),
    "TopologySpreadConstraint.whenUnsatisfiable": ("DoNotSchedule", "ScheduleAnyway"),
}


def schemas() -> Mapping[str, Any]:
    """Every type of Kubernetes by its full name."""
    (folder,) = (
        path
        for path in (files("kubernetes_validate") / "kubernetes-json-schema").iterdir()
        if re.fullmatch(rf"v{re.escape(KUBERNETES)}\.\d+-local-strict", path.name)
    )
    found: Mapping[str, Any] = json.loads((folder / "_definitions.json").read_text())["$defs"]
    return found


def written(schema: Mapping[str, Any], reached: list[str]) -> str:
    """A type as in the file; those that it refers to are added to reached."""
    if "$ref" in schema:
        full = schema["$ref"].rsplit("/", 1)[-1]
        reached.append(full)
        name = str(full.rsplit(".", 1)[-1])
        return {"Time": "string", "FieldsV1": "any"}.get(name, name)
    (kind,) = {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"]) - {"null"}
    if kind == "array":
        keys = schema.get("x-kubernetes-list-map-keys", [])
        return f"[{' '.join([written(schema['items'], reached), *keys])}]"
    if kind == "object":
        return f"{{{written(schema['additionalProperties'], reached)}}}"
    return str(kind)


def types() -> tuple[dict[str, dict[str, str]], dict[str, list[str]]]:
    """Fields of every type that the roots reach, and those that have to be there."""
    known = schemas()
    fields: dict[str, dict[str, str]] = {}
    required: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    reached = list(ROOTS)
    while reached:
        full = reached.pop()
        name = full.rsplit(".", 1)[-1]
        if names.setdefault(name, full) != full:
            raise ValueError(f"{full} and {names[name]} have the same short name")
        schema = known[full]
        if name in fields or "properties" not in schema:
            continue
        fields[name] = {}
        for key, part in sorted(schema["properties"].items()):
            words = WORDS.get(f"{name}.{key}", ())
            unheard = [word for word in words if not re.search(rf"\b{word}\b", part["description"])]
            if unheard:
                raise ValueError(f"the description of {name}.{key} does not know {', '.join(unheard)}")
            fields[name][key] = "|".join(words) or written(part, reached)
        if schema.get("required"):
            required[name] = sorted(schema["required"])
    unused = [word for word in WORDS if word.partition(".")[2] not in fields.get(word.partition(".")[0], {})]
    if unused:
        raise ValueError(f"there are no fields {', '.join(unused)}")
    return fields, required


def render() -> str:
    """The text of the file: a line for each type."""
    fields, required = types()

    def lines(items: Mapping[str, Any]) -> str:
        return ",\n".join(f"  {json.dumps(name)}: {json.dumps(item)}" for name, item in sorted(items.items()))

    return (
        f'{{"kubernetes": "{KUBERNETES}",\n"types": {{\n{lines(fields)}\n}},\n"required": {{\n{lines(required)}\n}}}}\n'
    )


def main() -> None:
    """Write it."""
    TARGET.write_text(render())


if __name__ == "__main__":
    main()
