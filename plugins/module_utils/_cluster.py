# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a cluster offers and allows, asked before anything is changed.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._kinds import Kinds
from ansible_collections.fastml.supersonic.plugins.module_utils._quantity import quantity
from ansible_collections.fastml.supersonic.plugins.module_utils._rest import Api, ApiError, segment

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
# How an inventory does without a right that only some instances need; for pods, which several do, see _without_pods.
PUBLISH_NOTHING = "publish no models (model_repository_sources: [])"
NO_PROMETHEUS = "take prometheus off supersonic_components, or set prometheus_mode to existing"
NAME_AUTHENTICATION = "name a TriggerAuthentication that is there in autoscaler_authentication_ref"
NAME_SECRET = f"{NAME_AUTHENTICATION}, and where Grafana is deployed a Secret that is there in grafana_admin_secret"
REPLACE_SERVERS = "set triton_model_rollout to rolling"
WITHOUT = {
    "pods/portforward": (
        "set verify_servers, verify_envoys and model_repository_test_load to false, triton_model_rollout to rolling "
        "where it is explicit, and take prometheus, autoscaler, otel_collector and tempo off supersonic_components"
    ),
    "poddisruptionbudgets.policy": "set triton_pod_disruption_budget and envoy_pod_disruption_budget to {}",
    "networkpolicies.networking.k8s.io": (
        "set triton_network_policy and envoy_network_policy to false, and so grafana_network_policy"
    ),
    "persistentvolumeclaims": (
        f"{PUBLISH_NOTHING} and set prometheus_persistent, tempo_persistent and grafana_persistent to false where "
        "these are deployed"
    ),
    "pods/exec": PUBLISH_NOTHING,
    "pods/log": REPLACE_SERVERS,
    "ingresses.networking.k8s.io": "set envoy_ingress and grafana_ingress to {}",
    "grpcroutes.gateway.networking.k8s.io": "set envoy_gateway_route to {}",
    "backendtlspolicies.gateway.networking.k8s.io": "leave out envoy_gateway_route.backend_tls",
    "routes.route.openshift.io": "set envoy_openshift_route to {}",
    "routes/custom-host.route.openshift.io": "set envoy_openshift_route to {}",
    "certificates.cert-manager.io": "set envoy_certificate to {}",
    "scaledobjects.keda.sh": "take autoscaler off supersonic_components",
    "serviceaccounts": NO_PROMETHEUS,
    "roles.rbac.authorization.k8s.io": NO_PROMETHEUS,
    "rolebindings.rbac.authorization.k8s.io": NO_PROMETHEUS,
    "triggerauthentications.keda.sh": NAME_AUTHENTICATION,
    "secrets": NAME_SECRET,
    "podmonitors.monitoring.coreos.com": "set prometheus_pod_monitor to never",
    "prometheusrules.monitoring.coreos.com": "set prometheus_rule to never",
}
# Who brings a kind that is not Kubernetes' own, and what needs it.
BROUGHT = {
    "GRPCRoute.gateway.networking.k8s.io": ("the Gateway API, 1.1 or newer", "envoy_gateway_route"),
    "BackendTLSPolicy.gateway.networking.k8s.io": ("the Gateway API, 1.4 or newer", "envoy_gateway_route.backend_tls"),
    "Route.route.openshift.io": ("OpenShift", "envoy_openshift_route"),
    "Certificate.cert-manager.io": ("cert-manager", "envoy_certificate"),
    "ScaledObject.keda.sh": ("KEDA", "supersonic_components without autoscaler"),
    "PodMonitor.monitoring.coreos.com": ("the Prometheus operator", "prometheus_pod_monitor"),
    "PrometheusRule.monitoring.coreos.com": ("the Prometheus operator", "prometheus_rule"),
}


def inspect(api: Api, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Ask everything at once and say what is missing.

    wanted: the module's options. Returns version, namespace, storage_classes, node_resources and problems (sentences).
    Raises SupersonicError when the API cannot be reached or does not know who we are.
    """
    # The first answer decides: an API that is away or refuses us would only be the cause of every other problem.
    version = str(api.get("/version", "version of the cluster")["gitVersion"])
    namespace = str(wanted["namespace"])
    result: dict[str, Any] = {"version": version, "problems": []}
    questions: dict[str, Callable[[], list[str]]] = {
        "version": lambda: _version(version, wanted.get("minimum_version")),
        "namespace": lambda: _namespace(api, namespace, bool(wanted.get("create_namespace")), result),
        "permissions": lambda: _permissions(api, namespace, wanted.get("permissions") or []),
        "kinds": lambda: _kinds(api, wanted.get("kinds") or []),
        "ingress_class": lambda: _ingress_class(api, wanted.get("ingress_class") or ""),
        "storage_classes": lambda: _storage_classes(api, wanted.get("storage_classes") or [], result),
        "node_resources": lambda: _node_resources(api, wanted.get("node_resources") or {}, result),
    }
    with ThreadPoolExecutor(max_workers=len(questions)) as pool:
        for problems in pool.map(lambda ask: ask(), questions.values()):
            result["problems"].extend(problems)
    return result


def _version(version: str, minimum: str | None) -> list[str]:
    if minimum and _numbers(version) < _numbers(minimum):
        return [f"The cluster runs Kubernetes {version}, but {minimum} or newer is needed."]
    return []


def _numbers(version: str) -> tuple[int, ...]:
    """1.34 of v1.34.4+vendor: patch levels and suffixes do not decide."""
    return tuple(int(number) for number in re.findall(r"[0-9]+", version)[:2])


def _namespace(api: Api, name: str, may_create: bool, result: dict[str, Any]) -> list[str]:
    result["namespace"] = {"name": name, "phase": "unknown"}
    try:
        found = api.find(f"/api/v1/namespaces/{segment(name)}", f"Namespace {name}")
    except ApiError as error:
        if error.status == 403 and not may_create:
            # Rights inside a namespace need not include reading it.
            return []
        if error.status != 403:
            raise
        found = None
        result["namespace"]["phase"] = "forbidden"
        if not allowed(api, {"verb": "create", "resource": "namespaces"}, None):
            return [
                f"Nobody lets us see or create the namespace {name}. If it exists, set supersonic_create_namespace: "
                "false; otherwise ask for it."
            ]
        return []
    if found is not None:
        result["namespace"]["phase"] = found.get("status", {}).get("phase", "unknown")
        if found["metadata"].get("deletionTimestamp"):
            return [f"The namespace {name} is being deleted. Wait until it is gone, or find out what holds it."]
        return []
    result["namespace"]["phase"] = "absent"
    if not may_create:
        return [f"The namespace {name} does not exist. Create it, or set supersonic_create_namespace: true."]
    if not allowed(api, {"verb": "create", "resource": "namespaces"}, None):
        return [
            f"The namespace {name} does not exist and we may not create namespaces. Ask for it, then set "
            "supersonic_create_namespace: false."
        ]
    return []


def allowed(api: Api, permission: Mapping[str, Any], namespace: str | None) -> bool:
    """Whether we hold a permission, by SelfSubjectAccessReview (every user may ask about itself)."""
    resource, _slash, subresource = str(permission["resource"]).partition("/")
    attributes = {
        "verb": permission["verb"],
        "group": permission.get("group") or "",
        "resource": resource,
        "subresource": subresource,
    }
    if namespace:
        attributes["namespace"] = namespace
    review = api.call(
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        body={
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        },
    )
    return json.loads(review)["status"].get("allowed") is True


def _rules(api: Api, namespace: str) -> list[Mapping[str, Any]]:
    """What we may do in a namespace, by SelfSubjectRulesReview."""
    review = api.call(
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        "SelfSubjectRulesReview",
        body={
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace},
        },
    )
    rules: list[Mapping[str, Any]] = json.loads(review)["status"].get("resourceRules") or []
    return rules


def _covers(rule: Mapping[str, Any], permission: Mapping[str, Any]) -> bool:
    """Whether a rule grants a permission on every object; rules for single names do not."""
    resource = str(permission["resource"])
    resources = {resource, "*", f"*/{resource.partition('/')[2]}"} if "/" in resource else {resource, "*"}
    return (
        not rule.get("resourceNames")
        and bool({permission["verb"], "*"} & set(rule.get("verbs") or []))
        and bool({permission["group"], "*"} & set(rule.get("apiGroups") or []))
        and bool(resources & set(rule.get("resources") or []))
    )


def _permissions(api: Api, namespace: str, permissions: Sequence[Mapping[str, Any]]) -> list[str]:
    # Two features may need the same right.
    single = [
        {"verb": verb, "resource": resource, "group": group}
        for verb, resource, group in dict.fromkeys(
            (verb, item["resource"], item.get("group") or "") for item in permissions for verb in item["verbs"]
        )
    ]
    # One question tells most; what its answer does not cover (it may be incomplete, and names no rights that a webhook
    # or a node authorizer grants) is asked one by one.
    rules = _rules(api, namespace)
    open_questions = [item for item in single if not any(_covers(rule, item) for rule in rules)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(lambda item: allowed(api, item, namespace), open_questions))
    missing: dict[str, list[str]] = {}
    for item, answer in zip(open_questions, answers, strict=True):
        if not answer:
            name = item["resource"] + (f".{item['group']}" if item["group"] else "")
            missing.setdefault(name, []).append(item["verb"])
    return [
        _missing(verbs, resource, namespace, _without_pods(verbs, permissions) if resource == "pods" else "")
        for resource, verbs in missing.items()
    ]


def _without_pods(verbs: Sequence[str], permissions: Sequence[Mapping[str, Any]]) -> str:
    """How to do without verbs on pods: everything that asks for one of them has to go.

    Whoever publishes makes pods, and a roll-out only notes on those of the servers what they serve.
    """
    asking = [set(item["verbs"]) for item in permissions if item["resource"] == "pods"]
    ways = [
        PUBLISH_NOTHING if "create" in asked else REPLACE_SERVERS if asked == {"patch"} else ""
        for asked in asking
        if asked & set(verbs)
    ]
    return " and ".join(dict.fromkeys(ways)) if all(ways) else ""


def _missing(verbs: Sequence[str], resource: str, namespace: str, without: str = "") -> str:
    without = without or WITHOUT.get(resource, "")
    return (
        f"We may not {all_of(verbs)} {resource} in the namespace {namespace} (supersonic_namespace). Ask for a Role "
        f"with these verbs on it{f', or {without}' if without else ''}."
    )


def _kinds(api: Api, wanted: Iterable[Mapping[str, Any]]) -> list[str]:
    known, problems = Kinds(api), []
    for item in wanted:
        group, _slash, version = str(item["api_version"]).rpartition("/")
        if known.find(group, version, str(item["kind"])) is not None:
            continue
        who, what = BROUGHT.get(f"{item['kind']}.{group}", ("", ""))
        whence = f", which comes with {who}" if who else ""
        without = f", or do without it ({what})" if what else ""
        problems.append(
            f"The cluster has no kind {item['kind']} of {item['api_version']}{whence}. Ask for it to be "
            f"installed{without}."
        )
    return problems


def _ingress_class(api: Api, name: str) -> list[str]:
    if not name:
        return []
    try:
        classes = api.list("/apis/networking.k8s.io/v1/ingressclasses", "ingress classes")
    except ApiError as error:
        if error.status == 403:
            return []
        raise
    names = sorted(item["metadata"]["name"] for item in classes)
    if name in names:
        return []
    return [
        f"There is no ingress class {name} (envoy_ingress.class_name, or preflight_ingress_class where that is set). "
        f"The cluster has {', '.join(names) or 'none at all'}."
    ]


def _storage_classes(api: Api, wanted: Iterable[str], result: dict[str, Any]) -> list[str]:
    wanted = list(wanted)
    if not wanted:
        return []
    try:
        classes = api.list("/apis/storage.k8s.io/v1/storageclasses", "storage classes")
    except ApiError as error:
        if error.status == 403:
            return []
        raise
    names = sorted(item["metadata"]["name"] for item in classes)
    default = [
        item["metadata"]["name"]
        for item in classes
        if (item["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
    ]
    result["storage_classes"] = names
    listed = ", ".join(names) or "none at all"
    problems = []
    # A class that only volumes made by hand carry needs no object of its own.
    by_hand = set(wanted) - {*names, ""} and _classes_of_volumes(api)
    for name in wanted:
        if name and name not in names and by_hand is not None and name not in by_hand:
            problems.append(
                f"There is no storage class {name} (model_repository_storage_class, prometheus_storage_class, "
                "tempo_storage_class, grafana_storage_class, or preflight_storage_classes where that is set). "
                f"The cluster has {listed}."
            )
        elif not name and not default:
            problems.append(
                "The cluster has no default storage class, so model_repository_storage_class, "
                "prometheus_storage_class, tempo_storage_class and grafana_storage_class, where there are claims, have "
                f"to name one. It has {listed}."
            )
    return problems


def _classes_of_volumes(api: Api) -> set[str] | None:
    """The classes that volumes carry; None where volumes may not be listed."""
    try:
        volumes = api.list("/api/v1/persistentvolumes", "PersistentVolumes")
    except ApiError as error:
        if error.status == 403:
            return None
        raise
    return {str((volume.get("spec") or {}).get("storageClassName") or "") for volume in volumes}


def _node_resources(api: Api, wanted: Mapping[str, Any], result: dict[str, Any]) -> list[str]:
    wanted = {name: amount for name, amount in wanted.items() if quantity(amount)}
    if not wanted:
        return []
    try:
        nodes = api.list("/api/v1/nodes", "nodes")
    except ApiError as error:
        if error.status == 403:
            return []
        raise
    result["node_resources"] = {
        node["metadata"]["name"]: {name: node["status"].get("allocatable", {}).get(name, "0") for name in wanted}
        for node in nodes
    }
    problems = []
    for name, amount in wanted.items():
        needed = quantity(amount)
        offers = {str(node[name]): quantity(node[name]) or 0 for node in result["node_resources"].values()}
        if needed is not None and not any(offer >= needed for offer in offers.values()):
            most = max(offers, key=lambda text: offers[text], default="none")
            problems.append(
                f"No node offers {amount} of {name} for one pod; the largest of {len(nodes)} node(s) offers {most}. "
                "Change triton_gpus or triton_gpu_resource, or preflight_node_resources where that is set; it is {} "
                "where nodes come on demand."
            )
    return problems


def all_of(words: Sequence[str]) -> str:
    """Words with commas and an "and"; nothing of none."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
