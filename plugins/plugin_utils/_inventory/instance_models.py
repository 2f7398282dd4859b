# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Determines where the models of an instance are, and which claims its servers mount.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def instance_models(variables: Mapping[str, Any]) -> dict[str, Any]:
    """variables: those of the instance, with the defaults of its roles.

    claim: the claim that models are published to. path: the folder that they are published to instead, or "".
    published: whether this inventory publishes models. mounted_claims: claims that the servers mount.
    current_claims: those of them whose current release the servers read, whoever publishes it.
    in_claim: whether the models of the instance are in claim, published by this inventory or read by the servers.
    """
    claim, path = str(variables["model_repository_claim"]), str(variables["model_repository_path"])
    repositories = [item for item in variables["triton_model_repositories"] if isinstance(item, Mapping)]
    current = [
        str(item["claim"])
        for item in repositories
        if item.get("kind") == "pvc" and item.get("path") == "current" and item.get("claim")
    ]
    published = bool(variables["model_repository_sources"])
    return {
        "claim": claim,
        "path": path,
        "published": published,
        "mounted_claims": [str(item["claim"]) for item in repositories if item.get("claim")],
        "current_claims": current,
        "in_claim": not path and (published or claim in current),
    }
