# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a short-lived pod that requests an accelerator and reports the devices that it finds.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, segment
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.desired_objects import Key
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.diff import Mask
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.pod_security import security_context
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.wait import Target, Waiter, WaitError

COMPONENT = "gpu-proof"
_MANAGER = "fastml.supersonic"
_SPARE_SECONDS = 60
_LOG_BYTES = 100_000


def definition(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The Job. It ends by itself and is removed by Kubernetes, whatever happens to this process."""
    labels = {
        "app.kubernetes.io/name": COMPONENT,
        "app.kubernetes.io/component": COMPONENT,
        "app.kubernetes.io/part-of": "supersonic",
        "app.kubernetes.io/managed-by": "fastml.supersonic",
    }
    amounts = {params["resource"]: str(params["count"])} if params["count"] else {}
    container = {
        "name": "proof",
        "image": params["image"],
        "imagePullPolicy": params["image_pull_policy"],
        "command": list(params["command"]),
        "resources": {"requests": {"cpu": "10m", **amounts}, "limits": {"memory": params["memory"], **amounts}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": security_context(
            {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            params["arbitrary_user"],
        ),
        "containers": [container],
    }
    for key, field in (
        ("node_selector", "nodeSelector"),
        ("tolerations", "tolerations"),
        ("affinity", "affinity"),
        ("runtime_class", "runtimeClassName"),
    ):
        if params[key]:
            spec[field] = params[key]
    if params["image_pull_secrets"]:
        spec["imagePullSecrets"] = [{"name": name} for name in params["image_pull_secrets"]]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": params["namespace"], "labels": labels},
        "spec": {
            "backoffLimit": 0,
            # Later than this process gives up, which can say why.
            "activeDeadlineSeconds": params["timeout"] + _SPARE_SECONDS,
            "ttlSecondsAfterFinished": _SPARE_SECONDS,
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def prove(api: Api, params: Mapping[str, Any]) -> dict[str, Any]:
    """Run it, return what it printed and where it ran, and remove it."""
    name = f"{COMPONENT}-{secrets.token_hex(4)}"
    namespace = segment(params["namespace"])
    path, what = f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}", f"Job {params['namespace']}/{name}"
    started = time.monotonic()
    live = api.apply(path, definition(params, name), what, manager=_MANAGER, force=True, dry_run=False)
    try:
        timeout = float(params["timeout"])
        try:
            key = Key("batch", "Job", params["namespace"], name)
            Waiter(api, Mask(), timeout, budget=timeout).ready([Target(key, path, live)])
        except WaitError as error:
            raise SupersonicError(
                f"The pod that was to prove {params['count']} {params['resource']} did not end well. {error}"
            ) from error
        pods = f"/api/v1/namespaces/{namespace}/pods"
        (pod,) = api.list(pods, "pods of the proof", {"labelSelector": f"batch.kubernetes.io/job-name={name}"})
        log = f"{pods}/{segment(pod['metadata']['name'])}/log"
        output = api.text(log, "log of the proof", {"limitBytes": str(_LOG_BYTES)})
        return {
            "node": str(pod["spec"].get("nodeName") or ""),
            "output": output.strip().splitlines(),
            "seconds": round(time.monotonic() - started, 1),
        }
    finally:
        # What cannot be deleted now is removed by Kubernetes soon after its end.
        with contextlib.suppress(SupersonicError):
            api.delete(path, what, uid=live["metadata"]["uid"], propagation="Background")
