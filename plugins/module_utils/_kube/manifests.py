# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module manifests without its Ansible interface.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import CONFLICT_REMEDY, Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.apply import Options, Run
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import connection
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.diff import Mask

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,200}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def run(module: t.Any) -> None:
    """Do what the parameters say and leave through the module."""
    params: dict[str, t.Any] = module.params
    mask = Mask(params["definitions"])
    work: Run | None = None
    try:
        options = options_of(params, module.check_mode)
        work = Run(Api(connection(params)), options, params["definitions"], mask)
        if params["state"] == "present":
            work.present()
        else:
            work.absent()
    except SupersonicError as exc:
        _warn(module, work, mask)
        objects = objects_of(work)
        # What was planned and not done yet is not in the list, so it is what really changed.
        done = not module.check_mode and any(entry["action"] not in ("unchanged", "kept") for entry in objects)
        text = str(exc)
        if params["conflict_remedy"]:
            text = text.replace(CONFLICT_REMEDY, params["conflict_remedy"])
        module.fail_json(msg=mask.text(text), changed=done, objects=objects)
        return
    _warn(module, work, mask)
    result: dict[str, t.Any] = {"changed": not work.differences.empty, "objects": objects_of(work)}
    if params["state"] == "absent":
        result["left"] = [mask.text(text) for text in work.left]
    if module._diff:
        result["diff"] = work.shown()
    module.exit_json(**result)


def options_of(params: Mapping[str, t.Any], check: bool) -> Options:
    """The options, with those values refused that Ansible's types let through."""
    if not _NAME.fullmatch(params["name"]):
        raise SupersonicError(
            f"name '{params['name']}' cannot name a set: small letters, digits, '-' and '.' are allowed, "
            "a letter or digit first and last."
        )
    for field, values in (
        ("namespace", [params["namespace"]]),
        ("additional_namespaces", params["additional_namespaces"]),
    ):
        for value in values:
            if not _NAMESPACE.fullmatch(value):
                raise SupersonicError(f"{field}: '{value}' cannot be the name of a namespace.")
    if params["wait_timeout"] < 1:
        raise SupersonicError(f"wait_timeout is {params['wait_timeout']}; at least 1 second is needed.")
    if not params["field_manager"] or len(params["field_manager"]) > 128:
        raise SupersonicError("field_manager must have 1 to 128 characters.")
    return Options(
        name=params["name"],
        namespace=params["namespace"],
        create_namespace=params["create_namespace"],
        namespace_labels={str(key): str(value) for key, value in params["namespace_labels"].items()},
        additional_namespaces=params["additional_namespaces"],
        delete_namespace=params["delete_namespace"],
        prune=params["prune"],
        keep=params["keep"],
        byproducts=params["byproducts"],
        expected_kinds=params["expected_kinds"],
        force_conflicts=params["force_conflicts"],
        autoscaled=params["autoscaled"],
        field_manager=params["field_manager"],
        wait=params["wait"],
        wait_timeout=params["wait_timeout"],
        wait_for_load_balancer=params["wait_for_load_balancer"],
        check=check,
    )


def labels(definitions: t.Any) -> t.Any:
    """Definitions as they may be shown: what they are called."""
    if not isinstance(definitions, list):
        return "(hidden)"
    shown = []
    for definition in definitions:
        metadata = definition.get("metadata") if isinstance(definition, dict) else None
        name = metadata.get("name") if isinstance(metadata, dict) else None
        shown.append(f"{definition.get('kind')}/{name}" if isinstance(definition, dict) else "(hidden)")
    return shown


def objects_of(work: Run | None) -> list[dict[str, str]]:
    """The result for each object, as modules return it."""
    if work is None:
        return []
    return [
        {"kind": key.kind, "name": key.name, "namespace": key.namespace or "", "action": action}
        for key, action in work.done()
    ]


def _warn(module: t.Any, work: Run | None, mask: Mask) -> None:
    for text in [*work.api.warnings, *work.held, *work.taken] if work else []:
        module.warn(mask.text(text))
