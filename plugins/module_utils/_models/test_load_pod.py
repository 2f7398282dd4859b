# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds the pod of a test load from the template of the servers' pods.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Apart from the trial itself: options are judged by it in every run, also in one that tries nothing.
"""

from __future__ import annotations

import copy
import typing as t
from collections.abc import Mapping

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError

_CURRENT = "current"


def pod_on_trial(template: Mapping[str, t.Any], claim: str, release: str) -> dict[str, t.Any]:
    """A pod's specification that reads the release wherever the template reads C(current) of the claim."""
    spec: dict[str, t.Any] = copy.deepcopy(dict(template.get("spec") or {}))
    volumes = set()
    for volume in spec.get("volumes") or []:
        if (volume.get("persistentVolumeClaim") or {}).get("claimName") == claim:
            # Releases share their contents: what is not proved yet must not touch what is served.
            volume["persistentVolumeClaim"]["readOnly"] = True
            volumes.add(volume["name"])
    replaced = 0
    for container in spec.get("containers") or []:
        for mount in container.get("volumeMounts") or []:
            if mount["name"] not in volumes or mount.get("subPath") or mount.get("subPathExpr"):
                continue
            served = f"{mount['mountPath'].rstrip('/')}/{_CURRENT}"
            for field in ("command", "args"):
                words = container.get(field) or []
                moved = [_moved(word, served, release) for word in words]
                replaced += words != moved
                if moved:
                    container[field] = moved
    if not replaced:
        raise SupersonicError(
            f"The servers do not read {_CURRENT} of the claim {claim}: no argument of a container names the folder "
            f"{_CURRENT} of a volume that is this claim. Without that no server can try a release; leave out the test "
            "load, or name the claim of the servers."
        )
    return spec


def _moved(word: str, served: str, release: str) -> str:
    before, equals, value = word.rpartition("=")
    if value.rstrip("/") != served:
        return word
    return f"{before}{equals}{served.removesuffix(_CURRENT)}releases/{release}"
