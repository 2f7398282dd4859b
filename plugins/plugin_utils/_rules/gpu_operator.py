# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for the role gpu_operator.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, Variables

_RESOURCE = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")

# Smallest and, where there is one, largest value of a number.
LIMITS: dict[str, tuple[int, int | None]] = {
    "gpu_operator_time_slices": (1, None),
    "gpu_operator_wait_timeout": (1, None),
    "gpu_operator_proof_count": (0, None),
    "gpu_operator_proof_timeout": (1, None),
}


def cautions(variables: Variables) -> Iterator[str]:
    """Warnings: valid settings that are risky."""
    chart = variables.get("gpu_operator_chart")
    if variables.get("gpu_operator_mode") != "managed" or not chart or variables.get("gpu_operator_chart_sha256") != "":
        return
    whence = chart if "://" in chart else "" if "/" in chart else variables.get("gpu_operator_chart_repository")
    if whence:
        yield (
            f"gpu_operator_chart_sha256 is empty: whatever {whence} answers is applied with the rights of the "
            "cluster's administrator. Set it to the SHA-256 of an archive that you have looked at."
        )


def findings(variables: Variables) -> Iterator[Problem]:
    """Everything that can be said without the cluster."""
    if variables.get("gpu_operator_mode") == "managed":
        yield from _managed(variables)
    for name in ("gpu_operator_time_slices_resource", "gpu_operator_proof_resource"):
        yield from _resource(name, variables.get(name))
    seen: set[tuple[str, str]] = set()
    for index, item in enumerate(variables.get("gpu_operator_instances") or []):
        yield from _resource("gpu_operator_instances", item.get("resource"), f"[{index}].resource")
        for key in ("gpus", "servers", "max_servers"):
            if int(item.get(key) or 0) < 0:
                at = f"[{index}].{key}"
                yield Problem("gpu_operator_instances", "it has to be 0 or more.", item[key], at)
        if item.get("max_servers") is not None and int(item["max_servers"]) < int(item.get("servers") or 0):
            yield Problem(
                "gpu_operator_instances",
                f"the most are fewer than the least ({item['servers']}).",
                item["max_servers"],
                f"[{index}].max_servers",
            )
        instance = (str(item.get("namespace") or ""), str(item.get("name")))
        if instance in seen:
            yield Problem("gpu_operator_instances", "it is there twice.", item.get("name"), f"[{index}].name")
        seen.add(instance)
    if variables.get("gpu_operator_proof"):
        if not variables.get("gpu_operator_proof_image"):
            yield Problem("gpu_operator_proof_image", "a proof needs an image, or set gpu_operator_proof: false.")
        if not variables.get("gpu_operator_proof_command"):
            yield Problem("gpu_operator_proof_command", "a proof needs a command, or set gpu_operator_proof: false.")


def missing_files(variables: Variables) -> Iterator[Problem]:
    """A chart of this machine that is not there."""
    name = "gpu_operator_chart"
    chart = str(variables.get(name) or "")
    if variables.get("gpu_operator_mode") != "managed" or "/" not in chart or "://" in chart:
        return
    if not os.path.exists(os.path.expanduser(chart)):
        yield Problem(name, "there is no such file or folder.", chart)


def _managed(variables: Variables) -> Iterator[Problem]:
    chart = variables.get("gpu_operator_chart")
    if chart is not None and not chart:
        yield Problem("gpu_operator_chart", "name the chart.", chart)
    elif chart and "/" not in chart and not variables.get("gpu_operator_chart_repository"):
        yield Problem(
            "gpu_operator_chart_repository",
            f"the chart {chart} is a name, which needs a repository. A file begins with a folder, such as ./{chart}.",
        )
    digest = variables.get("gpu_operator_chart_sha256")
    if digest and not re.fullmatch(r"[0-9a-f]{64}", digest):
        yield Problem("gpu_operator_chart_sha256", "it has to be 64 digits of 0-9 and a-f.", digest)
    if variables.get("gpu_operator_mig_strategy") == "none" and variables.get("gpu_operator_mig_config") not in (
        None,
        "all-disabled",
    ):
        yield Problem(
            "gpu_operator_mig_config",
            "GPUs are divided, but gpu_operator_mig_strategy is none, so that nobody could use the parts.",
            variables["gpu_operator_mig_config"],
        )


def _resource(name: str, value: object, path: str = "") -> Iterator[Problem]:
    if value and not _RESOURCE.fullmatch(str(value)):
        yield Problem(name, "it has to be a resource such as nvidia.com/gpu.", value, path)


CHECKS = (findings,)
FILE_CHECKS = (missing_files,)
CAUTIONS = (cautions,)
