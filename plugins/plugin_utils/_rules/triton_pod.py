# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for what an inventory adds to the servers' pods: containers, volumes, environment.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.manifests import (
    repository_mount,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import (
    DNS_LABEL,
    Problem,
    Variables,
    folder_parts,
)

SHELLS = {"sh", "bash", "dash", "ash", "zsh"}
# What the role itself brings into the servers' pod.
OWNED_ENV = {"POD_NAME", "POD_UID"}
# Volumes that the role itself mounts: name and path.
OWN_MOUNTS = {"tmp": "/tmp", "shared-memory": "/dev/shm"}


def check_pod(variables: Variables) -> Iterator[Problem]:
    """Rules for additions to the servers' pods: environment, volumes, mounts and containers."""
    for index, item in enumerate(variables.get("triton_env") or []):
        if item["name"] in OWNED_ENV:
            yield Problem(
                "triton_env",
                "the role itself sets POD_NAME and POD_UID, which is the key of the restricted APIs.",
                item["name"],
                f"[{index}].name",
            )
        if item.get("value") and item.get("valueFrom"):
            yield Problem("triton_env", "it has either value or valueFrom.", None, f"[{index}]")
    owned = volume_mounts(variables.get("triton_model_repositories") or [])
    volumes = variables.get("triton_volumes") or []
    for index, volume in enumerate(volumes):
        name, sources = volume["name"], sorted(key for key in volume if key != "name" and volume[key] is not None)
        if name in owned:
            yield Problem("triton_volumes", "the pod already has a volume of this name.", name, f"[{index}].name")
        elif not DNS_LABEL.fullmatch(name) or len(name) > 63:
            yield Problem(
                "triton_volumes",
                "it has to be a DNS label: lower-case letters, digits and '-'.",
                name,
                f"[{index}].name",
            )
        if len(sources) != 1:
            has = f"not {' and '.join(sources)}" if sources else "for example emptyDir: {}"
            yield Problem("triton_volumes", f"a volume has exactly one source, {has}.", name, f"[{index}].name")
    yield from _volume_mounts(variables, owned, [volume["name"] for volume in volumes])
    yield from _containers(variables)


def _volume_mounts(variables: Variables, owned: Mapping[str, str], volumes: list[str]) -> Iterator[Problem]:
    for index, mount in enumerate(variables.get("triton_volume_mounts") or []):
        if folder_parts(mount["mountPath"]) in map(folder_parts, owned.values()):
            yield Problem(
                "triton_volume_mounts",
                "the role itself mounts a volume there.",
                mount["mountPath"],
                f"[{index}].mountPath",
            )
    overrides = variables.get("triton_pod_spec_overrides")
    if overrides is None or not {"triton_volumes", "triton_model_repositories"} <= set(variables):
        # One of them is wrong itself, so that nobody knows which volumes there are.
        return
    known = {*owned, *volumes, *(volume["name"] for volume in overrides.get("volumes") or [])}
    lists = [("triton_volume_mounts", "", variables.get("triton_volume_mounts") or [])]
    for name in ("triton_init_containers", "triton_sidecars"):
        lists += [
            (name, f"[{index}].volumeMounts", container.get("volumeMounts") or [])
            for index, container in enumerate(variables.get(name) or [])
        ]
    for variable, path, mounts in lists:
        for index, mount in enumerate(mounts):
            if mount["name"] not in known:
                close = difflib.get_close_matches(mount["name"], known, n=1)
                hint = f"Did you mean {close[0]}?" if close else f"There are {', '.join(sorted(known))}."
                yield Problem(
                    variable, f"the pod has no volume of this name. {hint}", mount["name"], f"{path}[{index}].name"
                )


def _containers(variables: Variables) -> Iterator[Problem]:
    seen = {"triton"}
    for variable in ("triton_init_containers", "triton_sidecars"):
        for index, container in enumerate(variables.get(variable) or []):
            name, at = container["name"], f"[{index}]"
            if name in seen:
                yield Problem(variable, "the pod already has a container of this name.", name, f"{at}.name")
            seen.add(name)
            if not container.get("image"):
                yield Problem(variable, "a container needs an image.", name, f"{at}.name")
    envoys = {"envoy", "envoy-2"} if int(variables.get("envoy_processes") or 1) > 1 else {"envoy"}
    for variable, known in (
        ("triton_pod_spec_overrides", seen),
        ("envoy_pod_spec_overrides", envoys),
        ("prometheus_pod_spec_overrides", {"prometheus"}),
        ("grafana_pod_spec_overrides", {"grafana"}),
        ("otel_collector_pod_spec_overrides", {"otel-collector"}),
        ("tempo_pod_spec_overrides", {"tempo"}),
    ):
        overrides = variables.get(variable) or {}
        for part in ("containers", "initContainers"):
            for index, container in enumerate(overrides.get(part) or []):
                if container["name"] not in known and not container.get("image"):
                    yield Problem(
                        variable,
                        f"the pod has no container of this name, but {', '.join(sorted(known))}, and a new one needs "
                        "an image.",
                        container["name"],
                        f".{part}[{index}].name",
                    )


def volume_mounts(repositories: Sequence[Variables]) -> dict[str, str]:
    """Name of every volume of a server's pod, and where it is mounted; those of triton_volumes aside."""
    return OWN_MOUNTS | dict(repository_mount(item) for item in repositories if item.get("kind") != "image")


CHECKS = (check_pod,)
