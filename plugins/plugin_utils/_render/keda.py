# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Adapts the manifest of a KEDA release to a cluster.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError

# Where the release's manifest puts everything, and whence its images come.
NAMESPACE = "keda"
REGISTRY = "ghcr.io/kedacore"
# Deployments of the release by what variables call them. The manifest for clusters without webhooks lacks the last.
OPERATOR, METRICS, WEBHOOKS = "operator", "metrics", "webhooks"
DEPLOYMENTS = {"keda-operator": OPERATOR, "keda-metrics-apiserver": METRICS, "keda-admission": WEBHOOKS}
NEEDED = (
    ("CustomResourceDefinition", "scaledobjects.keda.sh"),
    ("Deployment", "keda-operator"),
    ("Deployment", "keda-metrics-apiserver"),
    ("APIService", "v1beta1.external.metrics.k8s.io"),
)
VERSION = "app.kubernetes.io/version"


def keda_manifests(
    text: str,
    version: str,
    namespace: str,
    *,
    image_registry: str = "",
    image_pull_policy: str = "IfNotPresent",
    image_pull_secrets: Sequence[Mapping[str, Any]] = (),
    watch_namespace: str = "",
    resources: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """The objects of a release's manifest, without the namespace itself, as they are to be in this cluster.

    resources: by component (operator, metrics, webhooks); an empty one leaves what the release says.
    """
    objects = _read(text)
    _check(objects, version)
    kept = [item for item in objects if item["kind"] != "Namespace"]
    for item in kept:
        _move(item, namespace)
        if item["kind"] != "Deployment":
            continue
        pod = item["spec"]["template"]["spec"]
        component = DEPLOYMENTS.get(item["metadata"]["name"], "")
        if image_pull_secrets:
            pod["imagePullSecrets"] = [dict(secret) for secret in image_pull_secrets]
        for container in pod["containers"]:
            # The release says Always, although a version never becomes another image.
            container["imagePullPolicy"] = image_pull_policy
            if image_registry and container["image"].startswith(f"{REGISTRY}/"):
                container["image"] = image_registry.rstrip("/") + container["image"].removeprefix(REGISTRY)
            if (resources or {}).get(component):
                container["resources"] = dict((resources or {})[component])
            for variable in container.get("env") or []:
                if variable["name"] == "WATCH_NAMESPACE":
                    variable["value"] = watch_namespace
    return kept


def _read(text: str) -> list[dict[str, Any]]:
    # The fast loader comes with nearly every PyYAML; in a release there is three quarters of a megabyte to read.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # As bytes: the fast loader takes no text that Ansible has marked with its origin.
        objects = [item for item in yaml.load_all(text.encode(), Loader=loader) if item]
    except yaml.YAMLError as error:
        raise SupersonicError(f"keda_manifest is no YAML: {' '.join(str(error).split())}") from error
    for item in objects:
        if not isinstance(item, dict) or "kind" not in item or "name" not in (item.get("metadata") or {}):
            raise SupersonicError("keda_manifest is no manifest of Kubernetes: it has a document without kind or name.")
    return objects


def _check(objects: Sequence[Mapping[str, Any]], version: str) -> None:
    there = {(item["kind"], item["metadata"]["name"]): item for item in objects}
    lacking = [f"{kind}/{name}" for kind, name in NEEDED if (kind, name) not in there]
    if lacking:
        raise SupersonicError(
            f"keda_manifest is no manifest of a KEDA release: it lacks {', '.join(lacking)}. Releases have it as "
            "keda-<version>.yaml."
        )
    operator = there["Deployment", "keda-operator"]
    tags = {
        str(container["image"]).rpartition(":")[2]
        for container in operator["spec"]["template"]["spec"]["containers"]
        if str(container["image"]).startswith(f"{REGISTRY}/")
    }
    if tags and tags != {version}:
        raise SupersonicError(
            f"keda_manifest is of KEDA {', '.join(sorted(tags))}, but keda_version is {version}. Give the manifest of "
            "that version, or correct keda_version."
        )


def _move(item: dict[str, Any], namespace: str) -> None:
    """Put what is in the release's namespace, and what names it, into another one."""
    for holder in _holders(item):
        if holder.get("namespace") == NAMESPACE:
            holder["namespace"] = namespace


def _holders(item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The mappings of a manifest that may name a namespace."""
    yield item["metadata"]
    yield from item.get("subjects") or []
    service = (item.get("spec") or {}).get("service") if item["kind"] == "APIService" else None
    if service:
        yield service
    for webhook in item.get("webhooks") or []:
        if webhook["clientConfig"].get("service"):
            yield webhook["clientConfig"]["service"]
