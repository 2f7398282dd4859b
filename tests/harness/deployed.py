# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The objects of a cluster that are not of tests: those of a person stay as they are while tests run.

Compared is what an object says, not its resourceVersion, which also counts the status that controllers write.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError

# Namespaces that tests and the scenarios of molecule make and remove.
OF_TESTS = re.compile(r"test-[0-9a-f]{8}|molecule-.*")
# Objects that controllers write by themselves, and what the node tells of itself.
BY_CONTROLLERS = {
    "certificatesigningrequests",
    "componentstatuses",
    "controllerrevisions",
    "csinodes",
    "endpoints",
    "endpointslices",
    "events",
    "horizontalpodautoscalers",
    "ipaddresses",
    "leases",
    "nodes",
    "replicasets",
    "volumeattachments",
}
# Which pods of workloads there are, and not what controllers write into them. Others end by themselves.
UID_ALONE = {"pods"}


def deployed(api: Api) -> dict[str, str]:
    """A digest of each object by its path."""
    found = {}
    for base, name in _kinds(api):
        for item in api.list(f"{base}/{name}", name):
            meta = item["metadata"]
            if not OF_TESTS.fullmatch(_namespace(name, item)) and (name != "pods" or meta.get("ownerReferences")):
                path = "/".join(filter(None, (base, meta.get("namespace"), name, meta["name"])))
                found[path] = meta["uid"] if name in UID_ALONE else _digest(item)
    return found


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Objects that are gone or different. Those that came may be of a person, who goes on working."""
    return [
        f"{path} is {'different' if path in after else 'gone'}"
        for path, digest in sorted(before.items())
        if after.get(path) != digest
    ]


def _namespace(name: str, item: Mapping[str, Any]) -> str:
    """The namespace that an object belongs to, or that uses it."""
    if name == "namespaces":
        return str(item["metadata"]["name"])
    if name == "persistentvolumes":
        return str((item["spec"].get("claimRef") or {}).get("namespace", ""))
    return str(item["metadata"].get("namespace", ""))


def _digest(item: Mapping[str, Any]) -> str:
    meta = item["metadata"]
    kept = {name: meta.get(name) for name in ("uid", "labels", "annotations", "deletionTimestamp")}
    left = {"metadata", "status"}
    if "aggregationRule" in item:
        # Collected by a controller from other roles.
        left.add("rules")
    said = {name: value for name, value in item.items() if name not in left}
    return hashlib.sha256(json.dumps([kept, said], sort_keys=True).encode()).hexdigest()


def _kinds(api: Api) -> Iterator[tuple[str, str]]:
    """Where objects of each kind are listed, in the version that the cluster prefers."""
    groups = api.get("/apis", "groups of kinds")["groups"]
    for base in ("/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups)):
        try:
            resources = api.get(base, f"kinds of {base}")["resources"]
        except ApiError:
            # An API whose server does not run has nothing that could change.
            continue
        for resource in resources:
            if "list" in resource["verbs"] and "watch" in resource["verbs"] and resource["name"] not in BY_CONTROLLERS:
                yield base, resource["name"]
