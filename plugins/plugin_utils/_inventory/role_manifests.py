# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The manifests of roles without running the roles, where playbooks run.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.parsing.dataloader import DataLoader

from ansible_collections.fastml.supersonic.plugins.module_utils._preflight import resource_requests

ROLES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))), "roles")
# The role whose variables every other role takes.
SHARED = "supersonic"
MODELS = "model_repository"


@functools.cache
def _variables(role: str, part: str) -> Mapping[str, Any]:
    """part: defaults, or vars."""
    path = os.path.join(ROLES, role, part, "main.yml")
    if not os.path.isfile(path):
        return {}
    return dict(DataLoader().load_from_file(path, trusted_as_template=True) or {})


class RoleManifests:
    """What templates of roles give for the variables of one host.

    Precedence is as in a play that includes the role: defaults lie below the inventory, vars of the role above it.
    """

    def __init__(self, templar: Any, variables: Mapping[str, Any]) -> None:
        self._templar = templar
        self._given = variables

    def has(self, role: str) -> bool:
        """Whether it is a role with manifests of an instance."""
        return f"__{role}_manifests" in _variables(role, "vars") and SHARED in _dependencies(role)

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
            **_variables(SHARED, "defaults"),
            **_variables(role, "defaults"),
            **self._given,
            **_variables(SHARED, "vars"),
            **_variables(role, "vars"),
            # Where its templates are looked for.
            "ansible_search_path": [os.path.join(ROLES, role)],
        }
        templar = self._templar.copy_with_new_env(available_variables=available)
        return lambda name: templar.template(available[name])


@functools.cache
def _dependencies(role: str) -> tuple[str, ...]:
    path = os.path.join(ROLES, role, "meta", "main.yml")
    if not os.path.isfile(path):
        return ()
    found = DataLoader().load_from_file(path) or {}
    return tuple(str(item["role"]).rpartition(".")[2] for item in found.get("dependencies") or [])
