# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that say where a store of models is and how it is reached.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.fastml.supersonic.plugins.module_utils._client import connection
from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._model_publish import ClaimTarget, FolderTarget, Target
from ansible_collections.fastml.supersonic.plugins.module_utils._model_store_pod import Claim, PodOptions
from ansible_collections.fastml.supersonic.plugins.module_utils._rest import Api

if t.TYPE_CHECKING:
    from ansible_collections.fastml.supersonic.plugins.module_utils._model_trial import Trial
    from ansible_collections.fastml.supersonic.plugins.module_utils._targets import Resolver

STORE_SPEC: dict[str, t.Any] = {
    "store": {
        "type": "dict",
        "required": True,
        "options": {
            "type": {"type": "str", "choices": ["pvc", "path"], "required": True},
            "path": {"type": "path"},
            "namespace": {"type": "str"},
            "claim": {"type": "str"},
        },
        "required_if": [("type", "path", ["path"]), ("type", "pvc", ["namespace", "claim"])],
    },
    "wait_timeout": {"type": "int", "default": 300},
    "timeout": {"type": "int", "default": 7200},
    "pod": {
        "type": "dict",
        "options": {
            "image": {"type": "str", "required": True},
            "image_pull_policy": {
                "type": "str",
                "choices": ["IfNotPresent", "Always", "Never"],
                "default": "IfNotPresent",
            },
            "image_pull_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "run_as_user": {"type": "int", "default": 1000},
            "run_as_group": {"type": "int", "default": 1000},
            "node_selector": {"type": "dict", "default": {}},
            "tolerations": {"type": "list", "elements": "dict", "default": []},
            "resources": {
                "type": "dict",
                "default": {
                    "requests": {"cpu": "100m", "memory": "128Mi"},
                    "limits": {"cpu": "1", "memory": "512Mi"},
                },
            },
            "labels": {"type": "dict", "default": {}},
        },
    },
}

TRIAL_SPEC: dict[str, t.Any] = {
    "test_load": {
        "type": "dict",
        "options": {
            "pod_template": {"type": "dict"},
            "command": {"type": "list", "elements": "str"},
            "timeout": {"type": "float", "default": 600},
            "request_timeout": {"type": "float", "default": 30},
        },
        "mutually_exclusive": [("pod_template", "command")],
        "required_one_of": [("pod_template", "command")],
    },
    "canary": {
        "type": "dict",
        "options": {
            "instance": {"type": "str"},
            "labels": {"type": "dict"},
            "seconds": {"type": "float", "default": 60},
            "latency_ratio": {"type": "float", "default": 1.5},
            "samples": {"type": "int", "default": 20},
        },
        "mutually_exclusive": [("instance", "labels")],
        "required_one_of": [("instance", "labels")],
    },
}


def trial(params: Mapping[str, t.Any], resolver: Resolver) -> Trial | None:
    """The test load that the options ask for."""
    asked, canary, store = params["test_load"], params["canary"], params["store"]
    if asked is None:
        if canary is not None:
            raise SupersonicError("canary is given without test_load, which says how its server is started.")
        return None
    for name, value in (("timeout", asked["timeout"]), ("request_timeout", asked["request_timeout"])):
        if value <= 0:
            raise SupersonicError(f"test_load.{name} is {value:g}; it must be more than 0 seconds.")
    wanted = "command" if store["type"] == "path" else "pod_template"
    if asked[wanted] is None:
        raise SupersonicError(
            f"The store is of type {store['type']}, so test_load needs {wanted}: a folder is tried by a process of "
            "this machine, a claim by a pod."
        )
    # Imported here so that nobody else loads what talks to servers.
    from ansible_collections.fastml.supersonic.plugins.module_utils import _model_canary, _model_servers, _model_trial

    limits = _model_trial.Limits(asked["timeout"], asked["request_timeout"])
    if store["type"] == "path":
        if canary is not None:
            raise SupersonicError("canary is given, but the store is of type path; only a claim's servers are pods.")
        return _model_trial.ProcessTrial(store["path"], asked["command"], resolver, limits)
    companion = None
    if canary is not None:
        for name, least in (("seconds", 0), ("latency_ratio", 1), ("samples", 1)):
            if canary[name] < least:
                raise SupersonicError(f"canary.{name} is {canary[name]:g}; it must be at least {least}.")
        servers = {"namespace": store["namespace"], **canary}
        _model_servers.labels_of(servers)
        companion = _model_canary.Canary(
            servers,
            canary["seconds"],
            canary["latency_ratio"],
            canary["samples"],
        )
    api = resolver.api
    return _model_trial.PodTrial(
        api, resolver, Claim(api, store["namespace"], store["claim"]), asked["pod_template"], limits, companion
    )


def target(params: Mapping[str, t.Any], *, pod_required: bool = True) -> Target:
    """The store that the options name."""
    store, pod = params["store"], params["pod"]
    if store["type"] == "path":
        return FolderTarget(store["path"])
    if pod is None and pod_required:
        raise SupersonicError("A store of type pvc needs the option pod with the image that mounts the claim.")
    options = pod_options(params) if pod else None
    return ClaimTarget(Api(connection(params)), store["namespace"], store["claim"], options)


def pod_options(params: Mapping[str, t.Any]) -> PodOptions:
    """What the options say about the pod that mounts a claim."""
    pod, tried, canary = params["pod"], params.get("test_load") or {}, params.get("canary") or {}
    if pod["run_as_user"] == 0:
        raise SupersonicError("pod.run_as_user is 0, but the pod does not run as root. Name another user.")
    return PodOptions(
        image=pod["image"],
        image_pull_policy=pod["image_pull_policy"],
        image_pull_secrets=tuple(pod["image_pull_secrets"]),
        user=pod["run_as_user"],
        group=pod["run_as_group"],
        node_selector=pod["node_selector"],
        tolerations=tuple(pod["tolerations"]),
        resources=pod["resources"],
        labels=pod["labels"],
        start_seconds=params["wait_timeout"],
        # It keeps the lock while the release is on trial.
        deadline_seconds=params["timeout"] + int(tried.get("timeout", 0) + canary.get("seconds", 0)),
    )
