# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks of a cluster before anything is changed: access, rights, kinds, classes, Services.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import fnmatch
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._common.quantity import quantity
from ansible_collections.fastml.supersonic.plugins.module_utils._common.text import all_of, counted
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError, segment
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import Kinds
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.prometheus import Known, Refused
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight import capacity, rbac, required_objects
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.findings import (
    ERROR,
    INFO,
    OK,
    WARNING,
    Finding,
    hidden,
    named,
    ordered,
    tolerated,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.policy import policy

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
# How an inventory does without a right that only some instances need; for pods, which several do, see _without_pods.
PUBLISH_NOTHING = "publish and keep no models (model_repository_sources: [] and preflight_backup: false)"
NO_PROMETHEUS = "take prometheus off supersonic_components, or set prometheus_mode to existing"
NAME_AUTHENTICATION = "name a TriggerAuthentication that is there in autoscaler_authentication_ref"
NAME_SECRET = (
    f"{NAME_AUTHENTICATION}, where Grafana is deployed a Secret that is there in grafana_admin_secret, a "
    "Secret with the certificate in envoy_tls_secret, and set envoy_tokens to {} and envoy_gpu_metrics to false"
)
# Those that may be outside, those that are not, and Grafana.
NOBODY_BY_SERVICE = (
    "let supersonic_prometheus_url, supersonic_tempo_url and grafana_url be addresses outside of the cluster, or take "
    "prometheus, autoscaler and tempo off supersonic_components, take otel_collector off, and set verify_dashboards to "
    "never and preflight_backup to false"
)
# What it takes to ask a Service, as the feature services of the role preflight has it in our own namespace.
BY_SERVICE = (
    ("get", "services", ""),
    ("list", "endpointslices", "discovery.k8s.io"),
    ("get", "pods/portforward", ""),
    ("create", "pods/portforward", ""),
)
REPLACE_SERVERS = "set triton_model_rollout to rolling"
# How variables end that name a class, and what they are where nobody knows which of them does.
INGRESS_CLASSES = (
    "_ingress.class_name",
    "_ingress_classes",
    "class_name of envoy_ingress or grafana_ingress, or preflight_ingress_classes where that is set",
)
STORAGE_CLASSES = (
    "_storage_class",
    "_storage_classes",
    "model_repository_storage_class, prometheus_storage_class, tempo_storage_class, grafana_storage_class, or "
    "preflight_storage_classes where that is set",
)
WITHOUT = {
    "pods/portforward": (
        "set verify_servers, verify_envoys and model_repository_test_load to false, triton_model_rollout to rolling "
        f"where it is explicit, and {NOBODY_BY_SERVICE}"
    ),
    "endpointslices.discovery.k8s.io": NOBODY_BY_SERVICE,
    "poddisruptionbudgets.policy": "set triton_pod_disruption_budget and envoy_pod_disruption_budget to {}",
    "networkpolicies.networking.k8s.io": (
        "set triton_network_policy and envoy_network_policy to false, and so otel_collector_network_policy, "
        "tempo_network_policy and grafana_network_policy where these are deployed"
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
    "pods/eviction": "set preflight_drain to false and never drain a node",
    "horizontalpodautoscalers.autoscaling": "set preflight_drain to false and never drain a node",
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


def inspect(api: Api, wanted: Mapping[str, Any], ask_prometheus: Callable[[], Known] | None = None) -> dict[str, Any]:
    """Ask everything at once and say what is missing.

    wanted: the module's options; ask_prometheus: says how many targets of the namespace a Prometheus has.
    Returns version, namespace, storage_classes, node_resources, permissions, role, findings and problems (the
    sentences of errors). Raises SupersonicError when the API cannot be reached or does not know who we are.
    """
    # The first answer decides: an API that is away or refuses us would only be the cause of every other problem.
    version = str(api.get("/version", "version of the cluster")["gitVersion"])
    namespace, instance = str(wanted["namespace"]), str(wanted.get("instance") or "")
    demands: Mapping[str, Any] = wanted.get("demands") or {}
    result: dict[str, Any] = {"version": version}
    brought: Sequence[Mapping[str, Any]] = wanted.get("brought") or []
    cluster = _Asked(api, namespace)
    questions: dict[str, Callable[[], list[Finding]]] = {
        "version": lambda: _version(version, wanted.get("minimum_version")),
        "namespace": lambda: _namespace(cluster, bool(wanted.get("create_namespace")), result),
        "permissions": lambda: _permissions(api, namespace, wanted.get("permissions") or [], result),
        "services": lambda: _services(api, wanted.get("services") or []),
        "kinds": lambda: _kinds(api, wanted.get("kinds") or [], brought),
        "ingress_classes": lambda: _ingress_classes(api, wanted),
        "storage_classes": lambda: _storage_classes(api, wanted, result),
        "node_resources": lambda: _node_resources(cluster, wanted, brought, result),
        "role": lambda: _role(api, namespace, instance, wanted, result),
        "policy": lambda: policy(demands, wanted.get("policy") or {}),
    }
    if demands:
        questions |= _of_demands(cluster, instance, wanted, brought)
    if ask_prometheus:
        questions["prometheus"] = lambda: _prometheus(api, namespace, instance, ask_prometheus)
    found: list[Finding] = []
    with ThreadPoolExecutor(max_workers=len(questions)) as pool:
        for rows in pool.map(lambda ask: ask(), questions.values()):
            found.extend(rows)
    found = tolerated(dict.fromkeys(found), wanted.get("tolerated") or [])
    result["findings"] = [row.as_result() for row in ordered(found)]
    # In the order in which they were asked.
    result["problems"] = [row.sentence for row in found if row.severity == ERROR]
    return result


class _Asked:
    """Answers of the cluster that several checks need, read once."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self._lock = threading.Lock()
        self._answers: dict[str, Any] = {}

    def nodes(self) -> list[dict[str, Any]]:
        """All of them."""
        return cast("list[dict[str, Any]]", self._once("nodes", lambda: self.api.list("/api/v1/nodes", "nodes")))

    def own_namespace(self) -> dict[str, Any] | None:
        """The namespace; None where it is not there."""
        path = f"/api/v1/namespaces/{segment(self.namespace)}"
        found = self._once("namespace", lambda: self.api.find(path, f"Namespace {self.namespace}"))
        return cast("dict[str, Any] | None", found)

    def one_node(self) -> bool:
        """Whether it is known that there is a single one."""
        try:
            return len(self.nodes()) == 1
        except ApiError:
            return False

    def absent(self) -> bool:
        """Whether it is known that the namespace is not there."""
        try:
            return self.own_namespace() is None
        except ApiError:
            return False

    def _once(self, name: str, ask: Callable[[], Any]) -> Any:
        with self._lock:
            if name not in self._answers:
                try:
                    self._answers[name] = ask()
                except ApiError as error:
                    self._answers[name] = error
        answer = self._answers[name]
        if isinstance(answer, ApiError):
            raise answer
        return answer


def _of_demands(
    cluster: _Asked, instance: str, wanted: Mapping[str, Any], brought: Sequence[Mapping[str, Any]]
) -> dict[str, Callable[[], list[Finding]]]:
    """Questions about what the manifests ask for; a cluster that does not answer one is told so."""
    api, namespace = cluster.api, cluster.namespace
    demands = wanted["demands"]

    def guarded(check: str, what: str, ask: Callable[[], list[Finding]]) -> Callable[[], list[Finding]]:
        def answer() -> list[Finding]:
            try:
                return ask()
            except ApiError as error:
                return [hidden(check, what, what.capitalize(), error)]

        return answer

    def present(name: str, ask: Callable[[bool], list[Finding]]) -> Callable[[], list[Finding]]:
        # Nothing can be in a namespace that is only made.
        return guarded(name, "what has to be there", lambda: ask(cluster.absent()))

    def limited(name: str, kind: str, ask: Callable[[], list[Finding]]) -> Callable[[], list[Finding]]:
        # Administrators give a new namespace its limits when they make it.
        told = [Finding(name, INFO, kind, f"Not known, since the namespace {namespace} does not exist yet.")]
        return guarded(name, name, lambda: told if cluster.absent() else ask())

    may_come = set(wanted.get("claims_may_come") or [])
    origins = wanted.get("origins") or []
    return {
        "quota": limited("quota", "ResourceQuota", lambda: capacity.quota(api, namespace, instance, demands)),
        "limits": limited("limits", "LimitRange", lambda: capacity.limits(api, namespace, demands)),
        "nodes": guarded(
            "nodes",
            "nodes",
            lambda: capacity.nodes(api, cluster.nodes, namespace, instance, demands, _there_already(wanted, brought)),
        ),
        "claims": present(
            "claims",
            lambda absent: required_objects.claims(
                api, namespace, demands, cluster.one_node, absent=absent, may_come=may_come, origins=origins
            ),
        ),
        "cvmfs": present("cvmfs", lambda absent: required_objects.cvmfs(api, namespace, demands, absent=absent)),
        "references": present(
            "objects",
            lambda absent: required_objects.references(api, namespace, demands, absent=absent, origins=origins),
        ),
        "hosts": guarded("ingress", "hosts", lambda: required_objects.hosts(api, namespace, demands, origins)),
    }


def _prometheus(api: Api, namespace: str, instance: str, ask: Callable[[], Known]) -> list[Finding]:
    try:
        known = ask()
        running = 0 if known.targets else _running(api, namespace, instance)
        if known.targets or not running:
            return [Finding("prometheus", OK if known.targets else INFO, "Prometheus", known.text)]
        return [
            Finding(
                "prometheus",
                WARNING,
                "Prometheus",
                f"{known.text} Yet {running} pod(s) of {instance} run there.",
                "See whether its scrape configuration or its operator's PodMonitors select that namespace, and by what "
                "label it tells namespaces apart.",
            )
        ]
    except Refused as error:
        return [Finding("prometheus", ERROR, "Prometheus", str(error), "Correct supersonic_prometheus_*.")]
    except SupersonicError as error:
        return [
            Finding(
                "prometheus",
                WARNING,
                "Prometheus",
                f"Prometheus could not be asked from here: {error}",
                "See whether supersonic_prometheus_url is right; KEDA and Grafana may reach it all the same.",
            )
        ]


def _running(api: Api, namespace: str, instance: str) -> int:
    """The number of running pods of the instance; 0 if that may not be read."""
    labels = f"app.kubernetes.io/instance={instance},app.kubernetes.io/part-of=supersonic"
    try:
        pods = api.list(f"/api/v1/namespaces/{segment(namespace)}/pods", "pods", {"labelSelector": labels})
    except ApiError:
        return 0
    return sum((pod.get("status") or {}).get("phase") == "Running" for pod in pods)


def _version(version: str, minimum: str | None) -> list[Finding]:
    if minimum and _numbers(version) < _numbers(minimum):
        return [
            Finding(
                "version",
                ERROR,
                "Kubernetes",
                f"The cluster runs Kubernetes {version}, but {minimum} or newer is needed.",
                "Ask for an update of the cluster.",
            )
        ]
    return [Finding("version", OK, "Kubernetes", f"It is {version}.")]


def _numbers(version: str) -> tuple[int, ...]:
    """1.34 of v1.34.4+vendor: patch levels and suffixes do not decide."""
    return tuple(int(number) for number in re.findall(r"[0-9]+", version)[:2])


def _namespace(cluster: _Asked, may_create: bool, result: dict[str, Any]) -> list[Finding]:
    api, name = cluster.api, cluster.namespace

    def missing(found: str, action: str) -> list[Finding]:
        return [Finding("namespace", ERROR, name, found, action)]

    result["namespace"] = {"name": name, "phase": "unknown"}
    try:
        found = cluster.own_namespace()
    except ApiError as error:
        if error.status == 403 and not may_create:
            # Rights inside a namespace need not include reading it.
            return [Finding("namespace", INFO, name, "It may not be read; rights inside of it do not need that.")]
        if error.status != 403:
            raise
        found = None
        result["namespace"]["phase"] = "forbidden"
        if not allowed(api, {"verb": "create", "resource": "namespaces"}, None):
            return missing(
                f"Nobody lets us see or create the namespace {name}.",
                "If it exists, set supersonic_create_namespace: false; otherwise ask for it.",
            )
        return [Finding("namespace", INFO, name, "It may not be read, but it may be made.")]
    if found is not None:
        result["namespace"]["phase"] = found.get("status", {}).get("phase", "unknown")
        if found["metadata"].get("deletionTimestamp"):
            return missing(
                f"The namespace {name} is being deleted.", "Wait until it is gone, or find out what holds it."
            )
        return [Finding("namespace", OK, name, f"It is {result['namespace']['phase']}.")]
    result["namespace"]["phase"] = "absent"
    if not may_create:
        return missing(f"The namespace {name} does not exist.", "Create it, or set supersonic_create_namespace: true.")
    if not allowed(api, {"verb": "create", "resource": "namespaces"}, None):
        return missing(
            f"The namespace {name} does not exist and we may not create namespaces.",
            "Ask for it, then set supersonic_create_namespace: false.",
        )
    return [Finding("namespace", OK, name, "It does not exist yet, and is made.")]


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
    """Our rights in a namespace, by SelfSubjectRulesReview."""
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


def _permissions(
    api: Api, namespace: str, permissions: Sequence[Mapping[str, Any]], result: dict[str, Any]
) -> list[Finding]:
    rights = rbac.rights(permissions)
    single = [{"verb": verb, "resource": resource, "group": group} for verb, resource, group in rights]
    # One question tells most; what its answer does not cover (it may be incomplete, and names no rights that a webhook
    # or a node authorizer grants) is asked one by one.
    rules = _rules(api, namespace) if single else []
    open_questions = [item for item in single if not any(_covers(rule, item) for rule in rules)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(lambda item: allowed(api, item, namespace), open_questions))
    lacking = [item for item, answer in zip(open_questions, answers, strict=True) if not answer]
    result["permissions"] = [{**item, "held": item not in lacking} for item in single]
    missing: dict[str, list[str]] = {}
    for item in lacking:
        name = _named(item["resource"], item["group"])
        missing.setdefault(name, []).append(item["verb"])
    if single and not missing:
        resources = {(item["resource"], item["group"]) for item in single}
        return [
            Finding(
                "permissions",
                OK,
                namespace,
                f"All {len(single)} on {counted(len(resources), 'kind')} of objects are held.",
            )
        ]
    return [
        _missing(verbs, resource, namespace, _without_pods(verbs, permissions) if resource == "pods" else "")
        for resource, verbs in missing.items()
    ]


def _named(resource: str, group: str) -> str:
    return f"{resource}.{group}" if group else resource


def _services(api: Api, services: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Whether Services of other namespaces can be asked: the Role of ours says nothing there."""
    asked: dict[str, list[str]] = {}
    for item in services:
        asked.setdefault(str(item["namespace"]), []).append(str(item["url"]))
    found = []
    for namespace, urls in asked.items():
        rights = [{"verb": verb, "resource": name, "group": group} for verb, name, group in BY_SERVICE]
        missing = [item for item in rights if not allowed(api, item, namespace)]
        what = (
            f"{all_of(urls)} {'is asked' if len(urls) == 1 else 'are asked'} by a Service of the namespace {namespace}"
        )
        if missing:
            verbs = all_of(f"{item['verb']} {_named(item['resource'], item['group'])}" for item in missing)
            text = f"{what}, where we may not {verbs}."
            action = "Ask for a Role with these verbs there, or name an address outside of the cluster."
            found.append(Finding("permissions", WARNING, namespace, text, action))
        else:
            found.append(Finding("permissions", OK, namespace, f"{what}, where all that this takes is held."))
    return found


def _role(api: Api, namespace: str, instance: str, wanted: Mapping[str, Any], result: dict[str, Any]) -> list[Finding]:
    """The Role that grants all that is needed, to whoever asks unless somebody else is named."""
    permissions = wanted.get("permissions") or []
    if not (permissions and instance):
        return []
    who: Mapping[str, Any] = {}
    given = wanted.get("role_subject") or {}
    if not given.get("kind"):
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            answer = api.call(
                "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "SelfSubjectReview", body=review
            )
            who = json.loads(answer)["status"]["userInfo"]
        except (ApiError, LookupError):
            # Older than 1.28, or closed: the Role stays without a binding.
            who = {}
    result["role"] = rbac.manifests(
        instance,
        namespace,
        rbac.rights(permissions),
        rbac.subject(given, who, namespace),
        create_namespace=bool(wanted.get("create_namespace")),
    )
    return []


def _without_pods(verbs: Sequence[str], permissions: Sequence[Mapping[str, Any]]) -> str:
    """How to avoid these verbs on pods: the variables of everything that needs one of them.

    Whoever publishes makes pods, and a roll-out only notes on those of the servers what they serve.
    """
    asking = [set(item["verbs"]) for item in permissions if item["resource"] == "pods"]
    ways = [
        PUBLISH_NOTHING if "create" in asked else REPLACE_SERVERS if asked == {"patch"} else ""
        for asked in asking
        if asked & set(verbs)
    ]
    return " and ".join(dict.fromkeys(ways)) if all(ways) else ""


def _missing(verbs: Sequence[str], resource: str, namespace: str, without: str = "") -> Finding:
    without = without or WITHOUT.get(resource, "")
    return Finding(
        "permissions",
        ERROR,
        resource,
        f"We may not {all_of(verbs)} {resource} in the namespace {namespace} (supersonic_namespace).",
        f"Ask for a Role with these verbs on it{f', or {without}' if without else ''}.",
    )


def _brings_kind(brought: Iterable[Mapping[str, Any]], api_version: str, kind: str) -> str:
    """Name of the component of this run that brings a kind; empty where none does."""
    wanted = {"api_version": api_version, "kind": kind}
    return next((str(entry["component"]) for entry in brought if wanted in (entry.get("kinds") or [])), "")


def _brings_resource(brought: Iterable[Mapping[str, Any]], name: str) -> str:
    """Name of the component of this run after which nodes offer a resource; empty where none does."""
    for entry in brought:
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in entry.get("node_resources") or []):
            return str(entry["component"])
    return ""


def _there_already(wanted: Mapping[str, Any], brought: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The node resources to look for: all but those that this run installs, whose nodes count as made on demand."""
    resources: Mapping[str, Any] = wanted.get("node_resources") or {}
    return {name: amount for name, amount in resources.items() if not _brings_resource(brought, name)}


def _kinds(api: Api, wanted: Iterable[Mapping[str, Any]], brought: Sequence[Mapping[str, Any]]) -> list[Finding]:
    known, found, served = Kinds(api), [], []
    for item in wanted:
        group, _slash, version = str(item["api_version"]).rpartition("/")
        name = f"{item['kind']} of {item['api_version']}"
        if known.find(group, version, str(item["kind"])) is not None:
            served.append(name)
            continue
        component = _brings_kind(brought, str(item["api_version"]), str(item["kind"]))
        if component:
            text = f"The cluster does not serve {name} yet; {component}, which this run installs, brings it."
            found.append(Finding("kinds", OK, str(item["kind"]), text))
            continue
        who, what = BROUGHT.get(f"{item['kind']}.{group}", ("", ""))
        whence = f", which comes with {who}" if who else ""
        others = [other for other in _versions(api, group) if other != version]
        instead = f" Of this group it has {all_of(others)}." if others else ""
        without = f", or do without it ({what})" if what else ""
        newer = " in that version" if others else ""
        found.append(
            Finding(
                "kinds",
                ERROR,
                str(item["kind"]),
                f"The cluster has no kind {name}{whence}.{instead}",
                f"Ask for it to be installed{newer}{without}.",
            )
        )
    if served:
        found.append(Finding("kinds", OK, counted(len(served), "kind"), f"The cluster serves {all_of(served)}."))
    return found


def _versions(api: Api, group: str) -> list[str]:
    """Versions of an API group that the cluster serves."""
    try:
        found = api.find(f"/apis/{segment(group)}", f"the API group {group}") if group else None
    except ApiError:
        return []
    return [str(item["version"]) for item in (found or {}).get("versions") or []]


def _ingress_classes(api: Api, options: Mapping[str, Any]) -> list[Finding]:
    wanted = list(dict.fromkeys(options.get("ingress_classes") or []))
    if not wanted:
        return []
    try:
        classes = api.list("/apis/networking.k8s.io/v1/ingressclasses", "ingress classes")
    except ApiError as error:
        if error.status == 403:
            return [hidden("ingress", ", ".join(wanted), "The ingress classes", error)]
        raise
    names = sorted(item["metadata"]["name"] for item in classes)
    return [
        Finding("ingress", OK, name, "The cluster has this ingress class.")
        if name in names
        else Finding(
            "ingress",
            ERROR,
            name,
            f"There is no ingress class {name}{_whose(options, name, INGRESS_CLASSES)}. The cluster has "
            f"{', '.join(names) or 'none at all'}.",
            "Name one that is there.",
        )
        for name in wanted
    ]


def _whose(options: Mapping[str, Any], value: str, candidates: tuple[str, ...]) -> str:
    """Which variables name a class that is not there, or which may where nobody knows; candidates: how they end, and a
    text that names them all."""
    *endings, text = candidates
    who = named(options.get("origins") or [], value, *endings)
    return f", the value of {who}" if who else f" ({text})"


def _storage_classes(api: Api, options: Mapping[str, Any], result: dict[str, Any]) -> list[Finding]:
    wanted = list(dict.fromkeys(options.get("storage_classes") or []))
    if not wanted:
        return []
    try:
        classes = api.list("/apis/storage.k8s.io/v1/storageclasses", "storage classes")
    except ApiError as error:
        if error.status == 403:
            return [hidden("storage", ", ".join(wanted), "The storage classes", error)]
        raise
    names = sorted(item["metadata"]["name"] for item in classes)
    default = [
        item["metadata"]["name"]
        for item in classes
        if (item["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
    ]
    result["storage_classes"] = names
    listed = ", ".join(names) or "none at all"
    found = []
    # A class that only volumes made by hand carry needs no object of its own.
    by_hand = set(wanted) - {*names, ""} and _classes_of_volumes(api)
    for name in wanted:
        if name and name not in names and by_hand is not None and name not in by_hand:
            found.append(
                Finding(
                    "storage",
                    ERROR,
                    name,
                    f"There is no storage class {name}{_whose(options, name, STORAGE_CLASSES)}. The cluster has "
                    f"{listed}.",
                    "Name one that is there.",
                )
            )
        elif not name and not default:
            found.append(
                Finding(
                    "storage",
                    ERROR,
                    "the default class",
                    "The cluster has no default storage class, so model_repository_storage_class, "
                    "prometheus_storage_class, tempo_storage_class and grafana_storage_class, where there are claims, "
                    f"have to name one. It has {listed}.",
                )
            )
    right = all_of(name or f"the default ({', '.join(default)})" for name in wanted)
    return found or [Finding("storage", OK, right, "The cluster has what claims ask for.")]


def _classes_of_volumes(api: Api) -> set[str] | None:
    """The classes that volumes carry; None where volumes may not be listed."""
    try:
        volumes = api.list("/api/v1/persistentvolumes", "PersistentVolumes")
    except ApiError as error:
        if error.status == 403:
            return None
        raise
    return {str((volume.get("spec") or {}).get("storageClassName") or "") for volume in volumes}


def _node_resources(
    cluster: _Asked, options: Mapping[str, Any], brought: Sequence[Mapping[str, Any]], result: dict[str, Any]
) -> list[Finding]:
    wanted = {name: amount for name, amount in (options.get("node_resources") or {}).items() if quantity(amount)}
    origins = options.get("origins") or []
    if not wanted:
        return []
    try:
        nodes = cluster.nodes()
    except ApiError as error:
        if error.status == 403:
            return [hidden("gpus", ", ".join(wanted), "The nodes of the cluster", error)]
        raise
    result["node_resources"] = {
        node["metadata"]["name"]: {name: node["status"].get("allocatable", {}).get(name, "0") for name in wanted}
        for node in nodes
    }
    found = []
    for name, amount in wanted.items():
        needed = quantity(amount)
        offers = {str(node[name]): quantity(node[name]) or 0 for node in result["node_resources"].values()}
        if needed is not None and not any(offer >= needed for offer in offers.values()):
            component = _brings_resource(brought, name)
            if component:
                text = f"No node offers {amount} of it yet; {component}, which this run installs, makes nodes offer it."
                found.append(Finding("gpus", OK, name, text))
                continue
            most = max(offers, key=lambda text: offers[text], default="none")
            who = (named(origins, amount, "triton_gpus", f"_resources.{name}"), named(origins, name, "_gpu_resource"))
            found.append(
                Finding(
                    "gpus",
                    ERROR,
                    name,
                    f"No node offers {amount} of {name} for one pod; the largest of {counted(len(nodes), 'node')} "
                    f"offers {most}.",
                    f"Change {all_of(filter(None, who)) or 'triton_gpus or triton_gpu_resource'}, or "
                    "preflight_node_resources where that is set; it is {} where nodes come on demand.",
                )
            )
    return found
