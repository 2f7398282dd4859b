# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for the role keda.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, Variables

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_MINIMUM = re.compile(r"\d+\.\d+(\.\d+)?")
# Smallest and, where there is one, largest value of a number.
LIMITS: dict[str, tuple[float, float | None]] = {
    "keda_wait_timeout": (1, None),
}
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")


def findings(variables: Variables) -> Iterator[Problem]:
    """Everything that can be said without the cluster and without files."""
    managed = variables.get("keda_mode") == "managed"
    namespace = variables.get("keda_namespace")
    if namespace == "" and managed:
        yield Problem("keda_namespace", "KEDA is to be installed, so it has to say where.", "")
    if namespace and not _NAMESPACE.fullmatch(namespace):
        yield Problem("keda_namespace", "this is no name of a namespace.", namespace)
    yield from _release(variables, managed)
    yield from _watched(variables, managed)
    minimum = variables.get("keda_minimum_version")
    if minimum and not _MINIMUM.fullmatch(minimum):
        yield Problem("keda_minimum_version", "it has to be a version such as 2.18.", minimum)


def cautions(variables: Variables) -> Iterator[str]:
    """Warnings: valid settings that are risky."""
    manifest = variables.get("keda_manifest")
    if variables.get("keda_mode") != "managed" or not manifest or variables.get("keda_manifest_checksum") != "":
        return
    if manifest.startswith("https://"):
        yield (
            f"keda_manifest_checksum is empty: whatever {manifest} answers is applied with the rights of the cluster's "
            "administrator. Set it to the SHA-256 of a manifest that you have looked at."
        )


def _release(variables: Variables, managed: bool) -> Iterator[Problem]:
    version = variables.get("keda_version")
    if version is not None and not _VERSION.fullmatch(version):
        yield Problem("keda_version", "it has to be the number of a release, such as 2.21.0.", version)
    checksum = variables.get("keda_manifest_checksum")
    if checksum and not _SHA256.fullmatch(checksum):
        yield Problem("keda_manifest_checksum", "a SHA-256 is 64 hexadecimal digits.", checksum)
    registry = variables.get("keda_image_registry")
    if registry and (re.search(r"\s", registry) or "://" in registry or registry.endswith("/")):
        yield Problem(
            "keda_image_registry",
            "it stands in place of ghcr.io/kedacore: a registry and a path, without https:// and without / at the end.",
            registry,
        )
    manifest = variables.get("keda_manifest")
    if managed and manifest is not None and not manifest.startswith("https://") and not _copy(manifest):
        yield Problem("keda_manifest", "it has to be an https URL, or a path that begins with / or ~/.", manifest)


def _copy(manifest: str) -> str:
    """The path of a copy; empty where it is none."""
    place = os.path.expanduser(manifest)
    return place if os.path.isabs(place) else ""


def missing_files(variables: Variables) -> Iterator[Problem]:
    """Files that are named and have to be there."""
    manifest = variables.get("keda_manifest") if variables.get("keda_mode") == "managed" else None
    place = _copy(manifest or "")
    if place and not os.path.isfile(place):
        yield Problem("keda_manifest", "there is no such file.", manifest)
    kubeconfig = variables.get("keda_kubeconfig")
    if kubeconfig and not os.path.isfile(os.path.expanduser(os.path.expandvars(kubeconfig))):
        yield Problem("keda_kubeconfig", "there is no such file.", kubeconfig)


def _watched(variables: Variables, managed: bool) -> Iterator[Problem]:
    text = variables.get("keda_watch_namespace")
    names = text.split(",") if text else []
    wrong = [name for name in names if not _NAMESPACE.fullmatch(name)]
    if wrong:
        yield Problem(
            "keda_watch_namespace", "it has to be names of namespaces with a comma between them, and no space.", text
        )
    for index, namespace in enumerate(variables.get("keda_instance_namespaces") or []):
        if managed and names and not wrong and namespace not in names:
            yield Problem(
                "keda_instance_namespaces",
                f"KEDA would not watch it: keda_watch_namespace is {text}.",
                namespace,
                f"[{index}]",
            )


CHECKS = (findings,)
FILE_CHECKS = (missing_files,)
CAUTIONS = (cautions,)
