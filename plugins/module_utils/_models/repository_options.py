# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options for the location of a store and its connection, shared by the modules for models.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import Ended, SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import connection
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import ClaimTarget, FolderTarget
from ansible_collections.fastml.supersonic.plugins.module_utils._models.test_load_pod import pod_on_trial

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
    from ansible_collections.fastml.supersonic.plugins.module_utils._models.store_pod import PodOptions
    from ansible_collections.fastml.supersonic.plugins.module_utils._models.test_load import Trial

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
            "arbitrary_user": {"type": "bool", "default": False},
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


def check_trial(params: Mapping[str, t.Any]) -> None:
    """Refuse a test load that cannot be done, as far as the options alone say it."""
    asked, canary, store = params["test_load"], params["canary"], params["store"]
    if asked is None:
        if canary is not None:
            raise SupersonicError("canary is given without test_load, which says how its server is started.")
        return
    for name, value in (("timeout", asked["timeout"]), ("request_timeout", asked["request_timeout"])):
        if value <= 0:
            raise SupersonicError(f"test_load.{name} is {value:g}; it must be more than 0 seconds.")
    wanted = "command" if store["type"] == "path" else "pod_template"
    if asked[wanted] is None:
        raise SupersonicError(
            f"The store is of type {store['type']}, so test_load needs {wanted}: a folder is tried by a process of "
            "this machine, a claim by a pod."
        )
    if store["type"] == "path":
        if canary is not None:
            raise SupersonicError("canary is given, but the store is of type path; only a claim's servers are pods.")
        _check_command(asked["command"])
        return
    if canary is not None:
        _check_canary(canary, asked["pod_template"])
    pod_on_trial(asked["pod_template"], store["claim"], "0" * 40)


def _check_command(command: Sequence[str]) -> None:
    if not command:
        raise SupersonicError(
            "test_load.command is empty; for a store of type path it has to be the command that starts a server, "
            "such as [tritonserver]."
        )
    if shutil.which(command[0]) is None:
        raise SupersonicError(
            f"test_load.command is '{command[0]}', which is no program of this machine. Name a Triton server, or "
            "leave out the test load."
        )


def _check_canary(canary: Mapping[str, t.Any], template: Mapping[str, t.Any]) -> None:
    # Fewer samples would be sent, and say nothing.
    for name, least in (("seconds", 0), ("latency_ratio", 1), ("samples", 10)):
        if canary[name] < least:
            raise SupersonicError(f"canary.{name} is {canary[name]:g}; it must be at least {least}.")
    if not canary["instance"] and not canary["labels"]:
        raise SupersonicError("canary.labels is empty; it would take every pod of the namespace.")
    if not (template.get("metadata") or {}).get("labels"):
        raise SupersonicError("test_load.pod_template has no labels, so that a canary would get no requests.")


def trial(
    params: Mapping[str, t.Any], place: FolderTarget | ClaimTarget, resolver: Callable[[], Resolver]
) -> Callable[[], Trial] | None:
    """Makes the test load that the options ask for, when it is known that there is something to try."""
    asked, canary = params["test_load"], params["canary"]
    if asked is None:
        return None
    if isinstance(place, ClaimTarget) and "ReadWriteOncePod" in place.claim.modes:
        raise SupersonicError(
            f"{place.claim.what} can be mounted by one pod only (ReadWriteOncePod), so no second one can try a "
            "release. Leave out the test load, or use a claim with another access mode."
        )

    def make() -> Trial:
        # Imported here so that nobody else loads what talks to servers.
        from ansible_collections.fastml.supersonic.plugins.module_utils._models import canary as model_canary
        from ansible_collections.fastml.supersonic.plugins.module_utils._models import test_load

        limits = test_load.Limits(asked["timeout"], asked["request_timeout"])
        if not isinstance(place, ClaimTarget):
            return test_load.ProcessTrial(params["store"]["path"], asked["command"], resolver(), limits)
        companion = canary and model_canary.Canary(
            {"namespace": place.claim.namespace, **canary},
            canary["seconds"],
            canary["latency_ratio"],
            canary["samples"],
        )
        return test_load.PodTrial(resolver(), place.claim, asked["pod_template"], limits, companion)

    return make


def target(params: Mapping[str, t.Any], *, pod_required: bool = True) -> FolderTarget | ClaimTarget:
    """The store that the options name."""
    store, pod = params["store"], params["pod"]
    if store["type"] == "path":
        return FolderTarget(store["path"])
    if pod is None and pod_required:
        raise SupersonicError("A store of type pvc needs the option pod with the image that mounts the claim.")
    # Imported here, as below, so that stores in folders need nothing of Kubernetes.
    from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api

    options = pod_options(params) if pod else None
    return ClaimTarget(Api(connection(params)), store["namespace"], store["claim"], options)


def pod_options(params: Mapping[str, t.Any]) -> PodOptions:
    """The options of the pod that mounts a claim."""
    pod, tried, canary = params["pod"], params.get("test_load") or {}, params.get("canary") or {}
    if pod["run_as_user"] == 0:
        raise SupersonicError("pod.run_as_user is 0, but the pod does not run as root. Name another user.")
    from ansible_collections.fastml.supersonic.plugins.module_utils._models.store_pod import PodOptions

    return PodOptions(
        image=pod["image"],
        image_pull_policy=pod["image_pull_policy"],
        image_pull_secrets=tuple(pod["image_pull_secrets"]),
        user=pod["run_as_user"],
        group=pod["run_as_group"],
        arbitrary_user=pod["arbitrary_user"],
        node_selector=pod["node_selector"],
        tolerations=tuple(pod["tolerations"]),
        resources=pod["resources"],
        labels=pod["labels"],
        start_seconds=params["wait_timeout"],
        # It keeps the lock while the release is on trial.
        deadline_seconds=params["timeout"] + int(tried.get("timeout", 0) + canary.get("seconds", 0)),
    )


def run(module: AnsibleModule, work: Callable[[Callable[[], Resolver]], dict[str, t.Any]]) -> None:
    """Do what a module does and say what came of it, with a diff only where one was asked for.

    What it does gets a function that makes what finds servers, the same each time.
    """
    with contextlib.ExitStack() as stack:

        @functools.cache
        def resolver() -> Resolver:
            from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver

            made = Resolver(module.params)
            stack.callback(made.close)
            return made

        try:
            result = work(resolver)
        except (SupersonicError, Ended) as error:
            module.fail_json(msg=str(error))
    if not module._diff:
        result.pop("diff", None)
    for text in result.pop("warnings", ()):
        module.warn(text)
    module.exit_json(**result)
