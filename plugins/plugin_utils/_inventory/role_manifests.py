# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renders the manifests of roles without running the roles.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._preflight import resource_requests
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.role_variables import (
    SHARED,
    defaults,
    internal_variables,
    is_of_instance,
    role_folder,
)

MODELS = "model_repository"


class RoleManifests:
    """The manifests that the templates of roles render for the variables of one host.

    Precedence is as in a play that includes the role: defaults lie below the inventory, vars of the role above it.
    """

    def __init__(self, templar: Any, variables: Mapping[str, Any]) -> None:
        self._templar = templar
        self._given = variables

    def has(self, role: str) -> bool:
        """Whether it is a role with manifests of an instance."""
        return f"__{role}_manifests" in internal_variables(role) and is_of_instance(role)

    def demands(self, roles: Iterable[str]) -> dict[str, Any]:
        """See resource_requests.demands()."""
        sets: dict[str, list[Mapping[str, Any]]] = {}
        publisher = None
        for role in roles:
            read = self._reader(role)
            if read(f"{role}_state") == "absent":
                continue
            if role != MODELS:
                sets[role] = list(read(f"__{role}_manifests"))
            elif read("model_repository_sources") and read("__model_repository_claimed"):
                # Nothing is made and nobody is sent where no models are published, or to a folder.
                sets[role] = list(read("__model_repository_manifests")) if read(f"{role}_mode") == "managed" else []
                publisher = {**read("__model_repository_pod"), "claim": read("model_repository_claim")}
        return resource_requests.demands(sets, publisher)

    def _reader(self, role: str) -> Any:
        """A function from the name of a variable to its value, as the role sees it."""
        available = {
            **defaults(SHARED),
            **defaults(role),
            **self._given,
            **internal_variables(SHARED),
            **internal_variables(role),
            # Where its templates are looked for.
            "ansible_search_path": [role_folder(role)],
        }
        templar = self._templar.copy_with_new_env(available_variables=available)
        return lambda name: templar.template(available[name])
