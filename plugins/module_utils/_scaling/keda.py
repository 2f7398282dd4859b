# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks that KEDA is installed, healthy, and has the fields that the autoscaler uses.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Discovery and the schemas of the API may be read by everybody who is known to the cluster. Deployments of another
namespace and the APIService need rights that many users lack; what could not be read is told, and is no problem.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError, segment

Object = Mapping[str, Any]

GROUP, VERSION = "keda.sh", "v1alpha1"
SCALED_OBJECT = "sh.keda.v1alpha1.ScaledObject"
METRICS = "v1beta1.external.metrics.k8s.io"
METRICS_PATH = "/apis/external.metrics.k8s.io/v1beta1"
# What KEDA's parts are called: by its own manifest and on OpenShift, and by its Helm chart.
OPERATOR = ("keda-operator",)
METRICS_SERVER = ("keda-metrics-apiserver", "keda-operator-metrics-apiserver")
WEBHOOKS = ("keda-admission", "keda-admission-webhooks")
USUAL = "keda"
# Every kind of KEDA's, by group; removing their definitions would remove them all.
KINDS = {
    "keda.sh": ("scaledobjects", "scaledjobs", "triggerauthentications", "clustertriggerauthentications"),
    "eventing.keda.sh": ("cloudeventsources", "clustercloudeventsources"),
}
# What the operator does in the namespace of a ScaledObject.
OPERATOR_NEEDS = (
    {"verb": "watch", "group": GROUP, "resource": "scaledobjects"},
    {"verb": "create", "group": "autoscaling", "resource": "horizontalpodautoscalers"},
    {"verb": "update", "group": "apps", "resource": "deployments", "subresource": "scale"},
)
INSTALL = "Install KEDA (role keda with keda_mode: managed), or ask for it"


def inspect(api: Api, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Look at the cluster's KEDA.

    wanted: the module's options. Returns installed, version, namespace, watches, problems and unread (sentences).
    Raises SupersonicError when the API cannot be reached or does not know who we are.
    """
    found: dict[str, Any] = {
        "installed": False,
        "version": "",
        "namespace": "",
        "watches": None,
        "label_selector": None,
        "problems": [],
        "unread": [],
    }
    # The first answer decides: without its kinds nothing else is worth looking at.
    served = api.find(f"/apis/{GROUP}/{VERSION}", "kinds of KEDA")
    if served is None or "scaledobjects" not in {item["name"] for item in served.get("resources") or []}:
        found["problems"].append(
            f"The cluster has no KEDA: it serves no kind ScaledObject of {GROUP}/{VERSION}. {INSTALL}."
        )
        return found
    found["installed"] = True
    found["problems"] += _fields(api, wanted.get("fields") or [])
    found["problems"] += _metrics_api(api, wanted, found)
    found["namespace"] = wanted.get("namespace") or found["namespace"] or _look_for(api) or USUAL
    found["problems"] += _deployments(api, wanted, found)
    return found


def objects(api: Api) -> list[str]:
    """Every object of KEDA's kinds, in words."""
    found = []
    for group, plurals in KINDS.items():
        served = api.find(f"/apis/{group}/{VERSION}", f"kinds of {group}")
        there = {item["name"]: item["kind"] for item in (served or {}).get("resources") or []}
        for plural in plurals:
            if plural not in there:
                continue
            for item in api.list(f"/apis/{group}/{VERSION}/{plural}", plural):
                namespace = item["metadata"].get("namespace")
                where = f" in the namespace {namespace}" if namespace else ""
                found.append(f"{there[plural]} {item['metadata']['name']}{where}")
    return sorted(found)


def _readable(read: Callable[[], Any], what: str, found: dict[str, Any], otherwise: str) -> Any:
    """The objects, or None with a note if they may not be read."""
    try:
        return read()
    except ApiError as error:
        if error.status != 403:
            raise
        found["unread"].append(f"We may not read {what}, so {otherwise}.")
        return None


# ---- what its kinds can do -----------------------------------------------------------------------------------------


def _fields(api: Api, wanted: Iterable[str]) -> list[str]:
    """Whether ScaledObject has fields, such as spec.fallback.behavior, by the schemas that everybody may read."""
    wanted = list(wanted)
    if not wanted:
        return []
    schemas = api.get(f"/openapi/v3/apis/{GROUP}/{VERSION}", "schemas of KEDA")["components"]["schemas"]
    lacking = [field for field in wanted if not _has(schemas.get(SCALED_OBJECT) or {}, field.split("."))]
    if not lacking:
        return []
    return [
        f"The ScaledObject of this KEDA has no {' and no '.join(lacking)}, which are needed: it is too old. Its "
        "CustomResourceDefinitions do not come along with every upgrade; apply those of a newer release too."
    ]


def _has(schema: Object, path: Sequence[str]) -> bool:
    if not path:
        return True
    properties = schema.get("properties") or (schema.get("items") or {}).get("properties") or {}
    return path[0] in properties and _has(properties[path[0]], path[1:])


# ---- who answers for external metrics ------------------------------------------------------------------------------


def _metrics_api(api: Api, wanted: Mapping[str, Any], found: dict[str, Any]) -> list[str]:
    path = f"/apis/apiregistration.k8s.io/v1/apiservices/{METRICS}"
    service = _readable(
        lambda: api.find(path, f"APIService {METRICS}") or {}, f"the APIService {METRICS}", found,
        "whether external metrics are asked of KEDA is not known",
    )  # fmt: skip
    if service is None:
        return _answers(api)
    if not service:
        return [
            f"The cluster has no APIService {METRICS}: nobody answers for external metrics, so nothing can be scaled "
            "by them. It is a part of KEDA; install KEDA whole."
        ]
    behind = (service.get("spec") or {}).get("service") or {}
    name, namespace = behind.get("name", ""), behind.get("namespace", "")
    expected = wanted.get("namespace")
    if name not in METRICS_SERVER or (expected and namespace != expected):
        whose = f"the Service {name} in the namespace {namespace}" if name else "the API server itself"
        at = f" in the namespace {expected}" if expected and name in METRICS_SERVER else ""
        return [
            f"External metrics are asked of {whose}, which is not KEDA's{at} (APIService {METRICS}). A cluster has one "
            "such API: remove the other metrics server, or take its external metrics away, and let KEDA's APIService "
            "be applied again."
        ]
    found["namespace"] = namespace
    for condition in (service.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "Available" and condition.get("status") == "True":
            return []
        if condition.get("type") == "Available":
            return [_not_available(f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": "))]
    return [_not_available("nobody has said so yet")]


def _not_available(why: str) -> str:
    return (
        f"KEDA's APIService {METRICS} is not available ({why}), so no external metric can be read: is the metrics "
        "server running, and can the API server reach it?"
    )


def _answers(api: Api) -> list[str]:
    """Whether anybody answers, which everybody may ask."""
    try:
        served = api.find(METRICS_PATH, "external metrics")
    except ApiError as error:
        # Rights are no matter here; what is behind the aggregation layer is.
        if error.status == 403:
            return []
        return [f"The API {METRICS} does not answer, so no external metric can be read: {error}"]
    if served is None:
        return [f"The cluster has no API {METRICS}: nobody answers for external metrics. It is a part of KEDA."]
    return []


# ---- what runs -----------------------------------------------------------------------------------------------------


def _look_for(api: Api) -> str:
    """The namespace of an operator, where all Deployments may be seen."""
    try:
        found = api.list(
            "/apis/apps/v1/deployments", "Deployments", {"labelSelector": f"app in ({', '.join(OPERATOR)})"}
        )
    except ApiError as error:
        if error.status == 403:
            return ""
        raise
    return str(found[0]["metadata"]["namespace"]) if found else ""


def _deployments(api: Api, wanted: Mapping[str, Any], found: dict[str, Any]) -> list[str]:
    namespace = found["namespace"]
    deployments = _readable(
        lambda: api.list(f"/apis/apps/v1/namespaces/{segment(namespace)}/deployments", f"Deployments in {namespace}"),
        f"Deployments in the namespace {namespace}", found,
        "whether KEDA's operator runs, which version it is and which namespaces it watches is not known",
    )  # fmt: skip
    if deployments is None:
        return []
    operator = _named(deployments, OPERATOR)
    if operator is None:
        return [
            f"There is no Deployment {OPERATOR[0]} in the namespace {namespace}. If KEDA is in another one, give it by "
            f"keda_namespace; otherwise: {INSTALL}."
        ]
    problems = _runs(operator, namespace)
    server = _named(deployments, METRICS_SERVER)
    if server is not None:
        problems += _runs(server, namespace)
    elif not found["problems"]:
        problems.append(f"There is no Deployment of KEDA's metrics server in the namespace {namespace}.")
    webhooks = _named(deployments, WEBHOOKS)
    problems += [] if webhooks is None else _runs(webhooks, namespace)
    found["version"] = version_of(operator)
    problems += _old(found["version"], str(wanted.get("minimum_version") or ""))
    environment = {entry["name"]: entry for item in _containers(operator) for entry in item.get("env") or []}
    problems += _watches(environment, wanted.get("watched") or [], found)
    account = operator["spec"]["template"]["spec"].get("serviceAccountName") or "default"
    problems += _rights(api, f"system:serviceaccount:{namespace}:{account}", wanted.get("watched") or [], found)
    return problems


def _named(deployments: Iterable[Object], names: Sequence[str]) -> Object | None:
    """By its own name, or by its label: a Helm release may have changed the name."""
    for item in deployments:
        labels = item["metadata"].get("labels") or {}
        if {item["metadata"]["name"], labels.get("app"), labels.get("app.kubernetes.io/name")} & set(names):
            return item
    return None


def _containers(deployment: Object) -> list[Object]:
    return list(deployment["spec"]["template"]["spec"]["containers"])


def _runs(deployment: Object, namespace: str) -> list[str]:
    name = deployment["metadata"]["name"]
    replicas = deployment["spec"].get("replicas", 1)
    if replicas == 0:
        return [
            f"The Deployment {name} in the namespace {namespace} is scaled to 0: nothing is done for ScaledObjects."
        ]
    ready = (deployment.get("status") or {}).get("readyReplicas") or 0
    if ready:
        return []
    return [
        f"The Deployment {name} in the namespace {namespace} has no ready pod ({ready} of {replicas}). Look at "
        f"kubectl -n {namespace} describe deployment {name}."
    ]


def version_of(deployment: Object) -> str:
    """The version of an operator, by its image's tag or its label; empty where neither tells."""
    labels = deployment["metadata"].get("labels") or {}
    tags = [
        str(item.get("image", "")).partition("@")[0].rpartition("/")[2].partition(":")[2]
        for item in _containers(deployment)
    ]
    for text in (*tags, str(labels.get("app.kubernetes.io/version", ""))):
        match = re.match(r"v?(\d+\.\d+(\.\d+)?)", text)
        if match:
            return match[1]
    return ""


def _old(version: str, minimum: str) -> list[str]:
    if not minimum or not version or _numbers(version) >= _numbers(minimum):
        return []
    return [f"KEDA is of version {version}, but {minimum} or newer is needed."]


def _numbers(version: str) -> tuple[int, ...]:
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    return numbers + (0,) * (3 - len(numbers))


def _watches(environment: Mapping[str, Object], watched: Sequence[str], found: dict[str, Any]) -> list[str]:
    variable = environment.get("WATCH_NAMESPACE") or {"value": ""}
    if "valueFrom" in variable:
        found["unread"].append(
            "Which namespaces KEDA watches (WATCH_NAMESPACE) comes from elsewhere, so it is not known."
        )
    else:
        text = str(variable.get("value") or "").strip('"')
        found["watches"] = [name for name in text.split(",") if name]
    selector = str((environment.get("WATCH_LABEL_SELECTOR") or {}).get("value") or "").strip('"')
    found["label_selector"] = selector
    if selector:
        found["unread"].append(
            f"KEDA heeds only ScaledObjects with the labels {selector} (WATCH_LABEL_SELECTOR): give them by "
            "supersonic_labels."
        )
    missing = [name for name in watched if found["watches"] and name not in found["watches"]]
    return [
        f"KEDA does not watch the namespace {name}, only {', '.join(found['watches'])} (WATCH_NAMESPACE of its "
        "operator). Ask for it to be added, or use a namespace that is watched."
        for name in missing
    ]


def _rights(api: Api, account: str, watched: Iterable[str], found: dict[str, Any]) -> list[str]:
    """Whether the operator may do in a namespace what it has to: a chart can be installed with fewer rights."""
    problems = []
    for namespace in watched:
        lacking = _readable(
            partial(_lacking, api, account, namespace),
            f"the rights of others in the namespace {namespace}", found,
            "whether KEDA may act there is not known",
        )  # fmt: skip
        if lacking:
            what = " and ".join(
                f"{item['verb']} {'/'.join(filter(None, (item['resource'], item.get('subresource'))))}"
                for item in lacking
            )
            problems.append(f"KEDA's operator ({account}) may not {what} in the namespace {namespace}.")
    return problems


def _lacking(api: Api, account: str, namespace: str) -> list[Mapping[str, str]]:
    return [item for item in OPERATOR_NEEDS if not _may(api, account, namespace, item)]


def _may(api: Api, account: str, namespace: str, attributes: Mapping[str, str]) -> bool:
    spec = {
        "user": account,
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "resourceAttributes": {**attributes, "namespace": namespace},
    }
    answer = api.call(
        "POST",
        f"/apis/authorization.k8s.io/v1/namespaces/{segment(namespace)}/localsubjectaccessreviews",
        "LocalSubjectAccessReview",
        body={
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "LocalSubjectAccessReview",
            "metadata": {"namespace": namespace},
            "spec": spec,
        },
    )
    return json.loads(answer)["status"].get("allowed") is True
