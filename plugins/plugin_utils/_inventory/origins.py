# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds the file and line where a variable was set, from Ansible's tags on values.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleError

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import COMPONENTS
from ansible_collections.fastml.supersonic.plugins.plugin_utils._inventory.role_variables import COLLECTION

# What these say is not what a user has written.
_OURS = tuple(os.path.join(COLLECTION, folder, "") for folder in ("playbooks", "roles", "dev"))
_WORKLOADS = tuple(component.role for component in COMPONENTS if component.pods)
_WITH_CLAIMS = tuple(component.role for component in COMPONENTS if component.data)
_OF_CLAIMS = ("storage_class", "size", "access_modes")
# Variables with names of what a cluster has to have, with what claims are, and with what servers need of nodes.
NAMING = (
    *(f"{role}_{what}" for role in _WITH_CLAIMS for what in _OF_CLAIMS),
    *(f"{role}_priority_class_name" for role in _WORKLOADS),
    *(f"{role}_image_pull_secrets" for role in (*_WORKLOADS, "model_repository")),
    "preflight_storage_classes",
    "preflight_ingress_classes",
    "preflight_node_resources",
    "envoy_ingress",
    "envoy_service_account_name",
    "envoy_tls_secret",
    "grafana_admin_secret",
    "grafana_ingress",
    "model_repository_claim",
    "triton_gpu_resource",
    "triton_gpus",
    "triton_model_repositories",
    "triton_runtime_class_name",
    "triton_service_account_name",
)
# Of their parts those that are just that, so that nothing else travels.
_TOLD = re.compile(
    r"(class|claim|name|secret|\.host|_gpus|_gpu_resource|_size|(classes|modes)\[\d+\])$|^preflight_node_resources\."
)


def origin(value: Any) -> str:
    """FILE:LINE where a value was written, relative to the working directory where it is below; "" if nobody knows."""
    tag = _tag(value)
    if tag is None:
        return ""
    if tag.path:
        path = os.path.relpath(str(tag.path)) if str(tag.path).startswith(os.getcwd()) else str(tag.path)
        return f"{path}:{tag.line_num}" if tag.line_num else path
    return str(tag.description or "").strip("<>")


def named(variables: Mapping[str, Any], template: Callable[[Any], Any]) -> list[dict[str, str]]:
    """The names of objects in a user's variables, for messages: variable (with the key in it), value and origin."""
    found = []
    for name in NAMING:
        written = variables.get(name)
        if written is None or _is_ours(written):
            continue
        try:
            value = template(written)
        except AnsibleError:
            # That is said by whoever judges variables.
            continue
        found += [
            {"variable": path, "value": str(leaf), "origin": place}
            for path, leaf, place in _leaves(name, value, written, origin(written))
            if _TOLD.search(path)
        ]
    return found


def _leaves(path: str, value: Any, written: Any, place: str) -> Iterator[tuple[str, Any, str]]:
    """Every text and number in a value with the place that is nearest to it; written: the same before templates."""
    place = origin(written) or place
    if isinstance(value, Mapping):
        for key, item in value.items():
            part = written.get(key) if isinstance(written, Mapping) else None
            yield from _leaves(f"{path}.{key}", item, part, place)
    elif isinstance(value, (list, tuple)):
        parts = written if isinstance(written, (list, tuple)) and len(written) == len(value) else [None] * len(value)
        for index, (item, part) in enumerate(zip(value, parts, strict=True)):
            yield from _leaves(f"{path}[{index}]", item, part, place)
    elif value not in (None, ""):
        yield path, value, place


def _is_ours(value: Any) -> bool:
    tag = _tag(value)
    return bool(tag is not None and tag.path and os.path.realpath(str(tag.path)).startswith(_OURS))


def _tag(value: Any) -> Any:
    # Ansible's own record of where a value was written. It is not part of the public interface, so a release without
    # it costs the file's name in messages and nothing else.
    try:
        from ansible._internal._datatag._tags import Origin
    except ImportError:
        return None
    return Origin.get_tag(value)
