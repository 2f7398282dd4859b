# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a right inventory is: names, types and how values have to fit together.

Every check is a pure function of the variables, so that a whole inventory is judged before anything changes.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import difflib
import glob
import ipaddress
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import COMPONENTS, object_names
from ansible_collections.fastml.supersonic.plugins.module_utils._common.quantity import quantity
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.manifests import (
    CVMFS_MOUNT,
    repository_mount,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules import (
    autoscaler,
    benchmark,
    envoy,
    gpu_operator,
    grafana,
    keda,
    openshift,
    preflight,
    prometheus,
    renamed_variables,
    tracing,
    verify,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.kubernetes_types import REQUIRED, TYPES

# Objects are called NAME-<part>, and a Deployment's pods get 17 characters more; 63 is the end.
LONGEST_NAME = 30
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# Services are called like the instance, and their names may not begin with a digit (RFC 1035).
SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
RELEASE = re.compile(r"[0-9a-f]{8,40}")
# What a secret has before the name of the variable that it is for.
SECRET = "vault_"
_INDEX = re.compile(r"\[[0-9]+\]")
_UNDEFINED = re.compile(r"'(\w+)' is undefined")
_TEMPLATE = re.compile(r"\{[{%](.*?)[}%]\}", re.S)
_NAME = re.compile(r"\b[A-Za-z_]\w*")
# What Ansible takes for false where it converts a text.
_FALSE = {"false", "no", "off", "n", "f", "0", "0.0", ""}
SHELLS = {"sh", "bash", "dash", "ash", "zsh"}
PROBE_HANDLERS = {"httpGet", "tcpSocket", "grpc", "exec"}
PROBE_NUMBERS = {
    "initialDelaySeconds": 0,
    "periodSeconds": 1,
    "timeoutSeconds": 1,
    "failureThreshold": 1,
    "successThreshold": 1,
    "terminationGracePeriodSeconds": 1,
}

# Smallest and, where there is one, largest value of a number.
LIMITS: dict[str, tuple[float, float | None]] = {
    "triton_replicas": (0, None),
    "triton_gpus": (0, None),
    "triton_repository_poll_seconds": (1, None),
    "triton_startup_budget": (1, None),
    "triton_drain_wait": (0, None),
    "triton_exit_timeout": (0, None),
    "triton_termination_grace": (1, None),
    "triton_wait_timeout": (1, None),
    "envoy_replicas": (1, None),
    "envoy_processes": (1, 2),
    "envoy_concurrency": (1, None),
    "envoy_service_port": (1, 65535),
    "status_window": (60, 604800),
    "status_timeout": (1, None),
    "envoy_service_node_port": (0, 65535),
    "envoy_route_timeout": (0, None),
    "envoy_stream_idle_timeout": (0, None),
    "envoy_connect_timeout": (1, None),
    "envoy_server_wait": (0, None),
    "envoy_server_wait_requests": (1, 1_000_000),
    "envoy_retry_buffer_bytes": (1, 2**32 - 1),
    "envoy_retries": (0, None),
    "envoy_dns_refresh_seconds": (1, None),
    "envoy_health_check_interval": (1, None),
    "envoy_health_check_timeout": (1, None),
    "envoy_health_check_unhealthy_threshold": (1, None),
    "envoy_health_check_healthy_threshold": (1, None),
    "envoy_outlier_consecutive_errors": (0, None),
    "envoy_outlier_ejection_seconds": (1, None),
    "envoy_outlier_max_ejection_percent": (0, 100),
    "envoy_max_connections": (1, None),
    "envoy_max_requests": (1, None),
    "envoy_max_pending_requests": (1, None),
    "envoy_max_retries": (1, None),
    "envoy_connection_max_seconds": (0, None),
    "envoy_retry_budget_percent": (0, 100),
    "envoy_slow_start_seconds": (0, None),
    "envoy_trusted_hops": (0, None),
    "envoy_client_connections": (0, None),
    "envoy_connection_rate": (0, None),
    "envoy_connection_burst": (0, None),
    "envoy_request_rate": (0, None),
    "envoy_request_burst": (0, None),
    "envoy_requests_in_flight": (0, None),
    "envoy_request_max_bytes": (0, None),
    "envoy_concurrent_streams": (0, 2**31 - 1),
    "envoy_endpoint_wait": (1, None),
    "envoy_drain_time": (1, None),
    "envoy_in_flight_wait": (1, None),
    "envoy_termination_grace": (1, None),
    "envoy_wait_timeout": (1, None),
    "model_repository_keep": (2, None),
    "model_repository_timeout": (1, None),
    "model_repository_pod_lifetime": (1, None),
    "model_repository_run_as_user": (0, 2**31 - 1),
    "model_repository_run_as_group": (0, 2**31 - 1),
    "model_repository_test_load_timeout": (1, None),
    "model_repository_canary_seconds": (0, None),
    "triton_model_load_timeout": (1, None),
    "keda_wait_timeout": (1, None),
    **autoscaler.LIMITS,
    **gpu_operator.LIMITS,
    **grafana.LIMITS,
    **prometheus.LIMITS,
    **tracing.LIMITS,
    **benchmark.LIMITS,
    "verify_certificate_days": (0, None),
    "verify_dashboards_timeout": (0, None),
    "verify_repeat": (1, None),
    "verify_timeout": (1, None),
    "verify_wait_timeout": (0, None),
}
# Why a limit is where it is, where that is not plain.
REASONS = {
    "model_repository_keep": (
        ", since the release that is served and the one before it, which a server that starts late may still want, "
        "always stay"
    ),
}
RESOURCES = (
    "triton_resources",
    "envoy_resources",
    "model_repository_resources",
    "benchmark_resources",
    "prometheus_resources",
    "grafana_resources",
    "otel_collector_resources",
    "tempo_resources",
    "keda_operator_resources",
    "keda_metrics_resources",
    "keda_webhooks_resources",
)
QUANTITIES = ("triton_shared_memory_size", "model_repository_size", "prometheus_size", "tempo_size", "grafana_size")
IMAGES = (
    "triton_image",
    "envoy_image",
    "model_repository_image",
    "prometheus_image",
    "grafana_image",
    "otel_collector_image",
    "tempo_image",
    "benchmark_image",
    "gpu_operator_proof_image",
)
NO_NETWORK = "it has to be a network such as 192.0.2.0/24; a single address is 192.0.2.10/32."
# Names of objects that are there already.
NAMES = (
    "triton_priority_class_name",
    "triton_runtime_class_name",
    "triton_service_account_name",
    "envoy_priority_class_name",
    "envoy_service_account_name",
    "model_repository_claim",
    "model_repository_storage_class",
    "envoy_tls_secret",
    "prometheus_storage_class",
    "prometheus_priority_class_name",
    "grafana_storage_class",
    "grafana_priority_class_name",
    "otel_collector_priority_class_name",
    "tempo_storage_class",
    "tempo_priority_class_name",
)
# Path of the clients' requests, by what Envoy is told to take.
GRPC_PATH, HTTP_PATH = "/inference.GRPCInferenceService", "/v2"
# Controllers without an annotation for a key of envoy_ingress, and what does it instead.
INGRESS_LACKS = {
    "max_request_bytes": {
        "haproxy-ingress": "HAProxy sees a size only in content-length, which gRPC clients do not send",
        "haproxytech": "it has no such limit",
        "traefik": "its limit is a middleware that buffers whole requests, which breaks streams",
        "other": "name its annotation in envoy_ingress.annotations",
    },
    "timeout_seconds": {
        "traefik": "its time-outs belong to its entry points and to a ServersTransport",
        "other": "name its annotation in envoy_ingress.annotations",
    },
}
# Of Go, as cert-manager takes it.
DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(h|m|s|ms))+")
DURATION_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
# What cert-manager takes where nothing is said.
CERTIFICATE_HOURS = 2160
# For which CoreDNS repeats what it has answered.
DNS_SECONDS = 5
LOAD_BALANCER = (
    "envoy_service_load_balancer_class",
    "envoy_service_load_balancer_ip",
    "envoy_service_load_balancer_source_ranges",
)
PROBES = ("triton_startup_probe", "triton_readiness_probe", "triton_liveness_probe")
BUDGETS = ("triton_pod_disruption_budget", "envoy_pod_disruption_budget")
ROLLING_UPDATES = ("triton_rolling_update", "envoy_rolling_update")
OVERRIDES = (
    "triton_pod_spec_overrides",
    "envoy_pod_spec_overrides",
    "prometheus_pod_spec_overrides",
    "grafana_pod_spec_overrides",
    "otel_collector_pod_spec_overrides",
    "tempo_pod_spec_overrides",
)
PEERS = (
    "triton_metrics_from",
    "envoy_metrics_from",
    "envoy_clients_from",
    "prometheus_clients_from",
    "grafana_clients_from",
    "otel_collector_clients_from",
    "otel_collector_metrics_from",
    "tempo_clients_from",
)
# Components of one pod each, that take the same variables.
OBSERVERS = tuple(component.role for component in COMPONENTS if component.optional and component.pods)
# What variables are to Kubernetes.
KUBERNETES_TYPES = {
    **{f"{role}_{name}": TYPES["PodSpec"][field] for role in ("triton", "envoy") for name, field in (
        ("affinity", "affinity"),
        ("image_pull_secrets", "imagePullSecrets"),
        ("init_containers", "initContainers"),
        ("node_selector", "nodeSelector"),
        ("pod_security_context", "securityContext"),
        ("sidecars", "containers"),
        ("tolerations", "tolerations"),
        ("topology_spread_constraints", "topologySpreadConstraints"),
        ("volumes", "volumes"),
    )},
    **{f"{role}_{name}": TYPES["Container"][field] for role in ("triton", "envoy") for name, field in (
        ("env", "env"),
        ("env_from", "envFrom"),
        ("security_context", "securityContext"),
        ("volume_mounts", "volumeMounts"),
    )},
    **{f"{role}_{name}": TYPES["PodSpec"][field] for role in ("model_repository", "benchmark") for name, field in (
        ("image_pull_secrets", "imagePullSecrets"),
        ("node_selector", "nodeSelector"),
        ("tolerations", "tolerations"),
    )},
    **{f"gpu_operator_proof_{name}": TYPES["PodSpec"][field] for name, field in (
        ("image_pull_secrets", "imagePullSecrets"),
        ("node_selector", "nodeSelector"),
        ("tolerations", "tolerations"),
    )},
    "keda_image_pull_secrets": TYPES["PodSpec"]["imagePullSecrets"],
    **{f"{role}_{name}": TYPES["PodSpec"][field] for role in OBSERVERS for name, field in (
        ("affinity", "affinity"),
        ("image_pull_secrets", "imagePullSecrets"),
        ("node_selector", "nodeSelector"),
        ("pod_security_context", "securityContext"),
        ("tolerations", "tolerations"),
    )},
    **{f"{role}_security_context": TYPES["Container"]["securityContext"] for role in OBSERVERS},
    **dict.fromkeys(RESOURCES, "ResourceRequirements"),
    **dict.fromkeys(PROBES, "Probe"),
    **dict.fromkeys(BUDGETS, "PodDisruptionBudgetSpec"),
    **dict.fromkeys(ROLLING_UPDATES, "RollingUpdateDeployment"),
    **dict.fromkeys(OVERRIDES, "PodSpec"),
    **dict.fromkeys(PEERS, "[NetworkPolicyPeer]"),
}  # fmt: skip
# Types that may hold passwords, which no message shows.
SECRET_TYPES = {"Container", "EnvVar", "HTTPHeader"}
# What the role itself brings into the servers' pod.
OWNED_ENV = {"POD_NAME", "POD_UID"}
# Flags of tritonserver that a variable sets; a second way would make the checks below worthless.
OWNED_FLAGS = {
    "model-repository": "triton_model_repositories",
    "model-control-mode": "triton_model_control_mode",
    "load-model": "triton_load_models",
    "repository-poll-secs": "triton_repository_poll_seconds",
    "exit-on-error": "triton_exit_on_error",
    "strict-readiness": "triton_strict_readiness",
    "exit-timeout-secs": "triton_exit_timeout",
    "http-restricted-api": "triton_restricted_apis",
    "grpc-restricted-protocol": "triton_restricted_apis",
}
# Flags that have to stay true.
NEEDED_FLAGS = {
    "allow-http": "the probes of servers are HTTP requests, so that no server would ever be ready",
    "allow-grpc": "Envoy sends requests to servers by gRPC, so that no client would be served",
}
FIXED_PORT_FLAGS = {"http-port", "grpc-port", "metrics-port", "http-address", "grpc-address", "metrics-address"}
REPOSITORY_NEEDS = {"pvc": {"claim"}, "cvmfs": {"path"}, "nfs": {"server", "export"}, "image": {"path"}}
REPOSITORY_ALLOWS = {
    "pvc": {"claim", "path"},
    "cvmfs": {"claim", "host_path", "path"},
    "nfs": {"server", "export", "path"},
    "image": {"path"},
}
# Where servers find repositories: each below the first, under its name, but for CVMFS. Links inside CVMFS are absolute,
# so that it is always mounted at its own place, and once.
# What the pod has mounted besides; the name of each volume and its place.
OWN_MOUNTS = {"tmp": "/tmp", "shared-memory": "/dev/shm"}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    variable: the inventory variable, or "" where none is at fault; path: where in its value, such as "[0].kind";
    value: what it is; message: a sentence that says what would be right; secret: whether the value is never shown.
    """

    variable: str
    message: str
    value: Any = None
    path: str = ""
    secret: bool = False

    def sentence(self, origin: str = "", *, hidden: bool = False) -> str:
        """The problem as the user reads it."""
        if not self.variable:
            return self.message
        value = "" if hidden or self.secret or self.value is None else f" is {_show(self.value)}"
        place = f" ({origin})" if origin else ""
        return f"{self.variable}{self.path}{value}{place}: {self.message}"


def _show(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 120 else text[:117] + "..."


# ---- names -------------------------------------------------------------------------------------------------------


def unknown_variables(
    names: Iterable[str],
    known: Iterable[str],
    prefixes: Iterable[str],
    *,
    given: Collection[str] = (),
    playbook: Collection[str] = (),
) -> list[Problem]:
    """Variables that no role knows although their prefix says they are meant for one, and names without such a prefix
    that are a slip away from a variable that exists. Of names that older versions had is said what has become of them.

    given: those of the command line; playbook: what the playbook itself takes from there. An inventory may well have
    others that begin alike.
    """
    names, known = set(names), {*known, *playbook}
    starts = tuple(f"{prefix}_" for prefix in prefixes)
    own = tuple(f"{name.partition('_')[0]}_" for name in playbook)
    problems: list[Problem] = []
    for name in sorted(names - known):
        if name.startswith(("_", "ansible_", SECRET)):
            continue
        old = renamed_variables.explanation(name, names)
        if old:
            problems.append(Problem(name, old))
            continue
        if name in given and name.startswith(own):
            close = difflib.get_close_matches(name, playbook, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"It has {', '.join(sorted(playbook))}."
            problems.append(Problem(name, f"this playbook has no such variable. {hint}"))
            continue
        ours = name.startswith(starts)
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.6 if ours else 0.88)
        if ours:
            hint = f"Did you mean {close[0]}?" if close else "Its role's README lists all variables."
            problems.append(Problem(name, f"no role knows this variable. {hint}"))
        elif close:
            problems.append(Problem(name, f"no role knows this variable. Did you mean {close[0]}?"))
    return problems


# ---- values that are not there -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failure:
    """A variable that could not be evaluated: what was written, and what the engine of templates said."""

    variable: str
    written: Any
    said: str


def unevaluated(failures: Sequence[Failure], available: Mapping[str, Any]) -> list[Problem]:
    """One problem for each cause: what fails only since another variable of these fails is not said again."""
    failing = {failure.variable for failure in failures}
    problems = []
    for failure in failures:
        match = _UNDEFINED.search(failure.said)
        if match is None:
            if not _names_in(failure.written) & (failing - {failure.variable}):
                problems.append(Problem(failure.variable, f"it cannot be evaluated: {failure.said}"))
            continue
        way = _way(failure.written, match[1], available)
        if failing.intersection(way):
            continue
        by = f" by way of {' and '.join(way)}" if way else ""
        # A secret is not meant to be the variable that it is for, whose name it has.
        others = [name for name in available if name != match[1].removeprefix(SECRET)]
        close = difflib.get_close_matches(match[1], others, n=1, cutoff=0.8)
        hint = f"Did you mean {close[0]}?" if close else "Set it, or take it out."
        problems.append(Problem(failure.variable, f"it uses the variable {match[1]}{by}, which is not set. {hint}"))
    return problems


def _names_in(written: Any) -> set[str]:
    """Every name in a value's templates, those of filters and the like among them."""
    if isinstance(written, Mapping):
        return {name for item in [*written, *written.values()] for name in _names_in(item)}
    if isinstance(written, (list, tuple)):
        return {name for item in written for name in _names_in(item)}
    templates = _TEMPLATE.findall(written) if isinstance(written, str) else []
    return {name for template in templates for name in _NAME.findall(template)}


def _way(written: Any, wanted: str, available: Mapping[str, Any]) -> list[str]:
    """The variables by way of which a value uses another one; none when it names it itself, or when nobody can say."""
    ways: list[tuple[list[str], set[str]]] = [([], _names_in(written))] if wanted not in _names_in(written) else []
    seen: set[str] = set()
    while ways:
        way, names = ways.pop(0)
        for name in sorted(names.intersection(available) - seen):
            seen.add(name)
            further = _names_in(available[name])
            if wanted in further:
                return [*way, name]
            ways.append(([*way, name], further))
    return []


# ---- types -------------------------------------------------------------------------------------------------------


def check_value(variable: str, value: Any, spec: Mapping[str, Any], path: str = "") -> Iterator[Problem]:
    """Compare a value with its option in an argument specification of Ansible: type, choices, elements, suboptions.

    Stricter than Ansible itself: a text is no boolean (in a template "false" is true), a number is no text, and a path
    says where it begins (a module takes a relative one from the folder of the playbook, a lookup from elsewhere).
    """
    kind = str(spec.get("type", "str"))
    expected = {
        "bool": "true or false, without quotes",
        "dict": "a dictionary",
        "float": "a number",
        "int": "a whole number",
        "list": "a list",
        "path": "a path",
        "str": "a text; put it in quotes",
    }.get(kind, kind)
    if not _is_kind(value, kind):
        typed = "" if path else _typed(variable, value, kind)
        yield Problem(variable, f"it has to be {expected}{typed}.", value, path)
        return
    # An empty one stands for none.
    if kind == "path" and value and not os.path.isabs(expand(value)):
        yield Problem(
            variable,
            "a relative path could mean several places. Say where it begins, such as "
            f'"{{{{ inventory_dir }}}}/../{value}" for a place beside the inventory, $PWD/{value} on the command line, '
            "or a path that begins with / or ~/.",
            value,
            path,
        )
        return
    choices = spec.get("choices")
    if kind == "list":
        # As in Ansible, choices and suboptions of a list are those of its items.
        item_spec = {"type": spec.get("elements", "raw"), "options": spec.get("options"), "choices": choices}
        for index, item in enumerate(value):
            yield from check_value(variable, item, item_spec, f"{path}[{index}]")
    elif choices and value not in choices:
        close = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        listed = ", ".join(str(choice) for choice in choices)
        yield Problem(variable, f"it has to be one of {listed}.{hint}", value, path)
    elif kind == "dict" and spec.get("options"):
        yield from check_options(variable, value, spec["options"], path)


def _typed(variable: str, value: Any, kind: str) -> str:
    """How a value is given on the command line, where NAME=VALUE is always a text."""
    if not isinstance(value, str) or kind not in ("bool", "list", "dict"):
        return ""
    wanted = {
        "bool": "false" if value.lower() in _FALSE else "true",
        "list": json.dumps([value]),
        "dict": "{...}",
    }[kind]
    return f"; on the command line that is -e '{{\"{variable}\": {wanted}}}'"


def expand(path: str) -> str:
    """A path as Ansible's modules take it."""
    return os.path.expanduser(os.path.expandvars(path))


def check_options(
    variable: str, value: Mapping[str, Any], options: Mapping[str, Any], path: str = ""
) -> Iterator[Problem]:
    """The same for the keys of a dictionary: unknown ones, missing ones, and the value of each."""
    yield from _unknown_keys(variable, value, options, path)
    for key, spec in options.items():
        if value.get(key) is not None:
            yield from check_value(variable, value[key], spec, f"{path}.{key}")
        elif spec.get("required"):
            yield Problem(variable, f"the key {key} is missing.", None, path)


def _unknown_keys(
    variable: str, value: Mapping[str, Any], known: Iterable[str], path: str, *, secret: bool = False
) -> Iterator[Problem]:
    known = sorted(known)
    by_lower_case = {name.lower(): name for name in known}
    listed = f"There are {', '.join(known)}." if len(known) <= 12 else "The documentation lists all."
    for key in sorted((key for key in value if key not in known), key=str):
        old = renamed_variables.explanation(f"{variable}{_INDEX.sub('[]', path)}.{key}", value)
        if old:
            yield Problem(variable, old, value[key], f"{path}.{key}", secret)
            continue
        close = difflib.get_close_matches(str(key).lower(), by_lower_case, n=1)
        hint = f"Did you mean {by_lower_case[close[0]]}?" if close else listed
        yield Problem(variable, f"there is no such key. {hint}", value[key], f"{path}.{key}", secret)


def check_kubernetes(variable: str, value: Any) -> Iterator[Problem]:
    """Compare a value with the type that Kubernetes has for this variable, where it has one: what is wrong here would
    be refused by the API server, after others have been changed."""
    kind = KUBERNETES_TYPES.get(variable)
    # An empty value is left out by the roles, or means none.
    if kind and value:
        yield from _check_type(variable, value, kind, "", merged=variable in OVERRIDES, secret=False)


def _check_type(variable: str, value: Any, kind: str, path: str, *, merged: bool, secret: bool) -> Iterator[Problem]:
    """merged: whether the role has the rest of it; secret: whether values are not shown."""
    secret = secret or kind in SECRET_TYPES
    if kind in TYPES:
        if not isinstance(value, Mapping):
            yield Problem(variable, "it has to be a dictionary.", value, path, secret)
            return
        yield from _unknown_keys(variable, value, TYPES[kind], path, secret=secret)
        for key, part in TYPES[kind].items():
            if value.get(key) is not None:
                yield from _check_type(variable, value[key], part, f"{path}.{key}", merged=merged, secret=secret)
            # Items of lists are found by their name, so that one has to be there.
            elif key in REQUIRED.get(kind, ()) and (not merged or key == "name"):
                yield Problem(variable, f"the key {key} is missing.", None, path)
    elif kind.startswith("["):
        yield from _check_list(variable, value, kind[1:-1].split(" "), path, merged=merged, secret=secret)
    elif kind.startswith("{"):
        if not isinstance(value, Mapping):
            yield Problem(variable, "it has to be a dictionary.", value, path, secret)
            return
        for key, item in value.items():
            yield from _check_type(variable, item, kind[1:-1], f"{path}.{key}", merged=merged, secret=secret)
    elif "|" in kind:
        yield from (
            replace(problem, secret=secret)
            for problem in check_value(variable, value, {"type": "str", "choices": kind.split("|")}, path)
        )
    else:
        expected, right = {
            "boolean": ("true or false, without quotes", isinstance(value, bool)),
            "integer": ("a whole number, without quotes", isinstance(value, int) and not isinstance(value, bool)),
            "string": ("a text; put it in quotes", isinstance(value, str)),
            "IntOrString": (
                "a whole number or a text",
                isinstance(value, (int, str)) and not isinstance(value, bool),
            ),
            "Quantity": ("a Kubernetes quantity, such as 500m or 4Gi", quantity(value) is not None),
        }.get(kind, ("", True))
        if not right:
            yield Problem(variable, f"it has to be {expected}.", value, path, secret)


def _check_list(
    variable: str, value: Any, kind: list[str], path: str, *, merged: bool, secret: bool
) -> Iterator[Problem]:
    """kind: the type of the items, and the fields in which they differ."""
    element, *keys = kind
    if not _is_kind(value, "list"):
        yield Problem(variable, "it has to be a list.", value, path, secret or element in SECRET_TYPES)
        return
    seen: list[list[Any]] = []
    for index, item in enumerate(value):
        yield from _check_type(variable, item, element, f"{path}[{index}]", merged=merged, secret=secret)
        identity = [item.get(key) for key in keys] if isinstance(item, Mapping) else []
        if identity and None not in identity:
            if identity in seen:
                yield Problem(
                    variable,
                    f"another item of this list has the same {' and '.join(keys)}.",
                    identity[0],
                    f"{path}[{index}].{keys[0]}",
                )
            seen.append(identity)


def _is_kind(value: Any, kind: str) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "int":
        return (isinstance(value, int) and not isinstance(value, bool)) or (
            # -e name=3 on the command line gives a text.
            isinstance(value, str) and re.fullmatch(r"-?[0-9]+", value) is not None
        )
    if kind == "float":
        return (
            _is_kind(value, "int")
            or isinstance(value, float)
            or (isinstance(value, str) and re.fullmatch(r"-?[0-9]*\.[0-9]+", value) is not None)
        )
    if kind in ("str", "path"):
        return isinstance(value, str)
    if kind == "list":
        return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    if kind == "dict":
        return isinstance(value, Mapping)
    return True


# ---- how values fit together -------------------------------------------------------------------------------------

Variables = Mapping[str, Any]
Check = Callable[["_Read"], Iterator[Problem]]


def check_relations(variables: Variables, *, files: bool = True, unjudged: Collection[str] = ()) -> list[Problem]:
    """Everything that a type cannot say. Only variables that are there, and of the right type, are looked at.

    files: whether files and folders that are named have to be there already; unjudged: variables that are set, but are
    wrong themselves, so that nobody may take them for missing.
    """
    problems: list[Problem] = []
    for check in (
        _numbers,
        _common,
        _openshift_login,
        _images,
        _resources,
        _pods,
        _triton,
        _contents,
        _repositories,
        _envoy,
        _gateway,
        _proof,
        _preflight,
        _observed,
        _grafana,
        _traces,
        _benchmark,
        _autoscaler,
        _load_balancer,
        _ingress,
        _gateway_route,
        _openshift_route,
        _certificate,
        _isolation,
        _models_and_proof,
        _trial,
        _keda,
        _gpu_operator,
        *([_files, _keda_files, _gpu_operator_files] if files else []),
    ):
        problems.extend(_judged(check, variables, unjudged))
    return problems


def absent_files(variables: Variables, unjudged: Collection[str] = ()) -> list[Problem]:
    """Files and folders that variables of an instance name and that are not there; see check_relations."""
    return _judged(_files, variables, unjudged)


def _judged(
    check: Callable[[_Read], Iterable[Problem]], variables: Variables, unjudged: Collection[str]
) -> list[Problem]:
    read = _Read(variables)
    read.unjudged = unjudged
    problems: list[Problem] = []
    try:
        problems.extend(check(read))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Something that the types above let through. Whatever else is wrong has to be heard all the same.
        problems.append(Problem(read.last, f"it cannot be judged: {error}. Compare it with its role's README."))
    return problems


def cautions(variables: Variables) -> list[str]:
    """What is allowed, and yet to be known before it is done."""
    own = list(_hasty(variables))
    return own + [text for of in (keda, gpu_operator) for text in of.cautions(variables)]


def _hasty(variables: Variables) -> Iterator[str]:
    """A server that is gone before the Envoys know of the one in its place. Two of them stand in for each other."""
    waits = _integers(variables, "triton_drain_wait", "envoy_dns_refresh_seconds", "envoy_health_check_interval")
    scaled = "autoscaler" in (variables.get("supersonic_components") or [])
    name = "autoscaler_min_replicas" if scaled else "triton_replicas"
    servers = variables.get(name)
    # Without work a pool has as few as the autoscaler lets it have, and on the way to none there is one.
    if not waits or servers is None or (max(int(servers), 1) if scaled else int(servers)) != 1:
        return
    wait, *others = waits
    least = sum(others) + DNS_SECONDS
    if wait < least:
        yield (
            f"triton_drain_wait is {wait}, and with one server ({name} is {servers}) requests are lost whenever it is "
            "replaced: the Envoys learn of the one in its place after envoy_dns_refresh_seconds, "
            f"envoy_health_check_interval and up to {DNS_SECONDS} s of the cluster's DNS. Set it to {least} or more."
        )


class _Read(dict[str, Any]):
    """Variables that know which of them was looked at last, and which are set besides."""

    last = ""
    unjudged: Collection[str] = ()

    def get(self, key: str, default: Any = None) -> Any:
        self.last = key
        return super().get(key, default)

    def lacks(self, key: str) -> bool:
        """Whether it is not set, or empty."""
        return not self.get(key) and key not in self.unjudged


def _numbers(variables: Variables) -> Iterator[Problem]:
    for name, (smallest, largest) in LIMITS.items():
        value = variables.get(name)
        if value is None:
            continue
        if float(value) < smallest:
            yield Problem(name, f"it has to be {smallest} or more{REASONS.get(name, '')}.", value)
        elif largest is not None and float(value) > largest:
            yield Problem(name, f"it has to be {largest} or less.", value)


def _integers(variables: Variables, *names: str) -> list[int]:
    """The numbers, or nothing when one of them is not there."""
    values = [variables.get(name) for name in names]
    return [] if None in values else [int(value) for value in values if value is not None]


def _common(variables: Variables) -> Iterator[Problem]:
    for name, longest, pattern, first in (
        ("supersonic_name", LONGEST_NAME, SERVICE_NAME, ", a letter first"),
        ("supersonic_namespace", 63, DNS_LABEL, ""),
    ):
        value = variables.get(name)
        if value is not None and (len(value) > longest or not pattern.fullmatch(value)):
            yield Problem(
                name,
                f"it has to be a DNS label: lower-case letters, digits and '-'{first}, at most {longest} characters.",
                value,
            )
    for name in NAMES:
        value = variables.get(name)
        if value and (len(value) > 253 or not DNS_NAME.fullmatch(value)):
            yield Problem(
                name, "it has to be a DNS name: lower-case letters, digits, '-' and '.', at most 253 characters.", value
            )
    for name in ("supersonic_labels", "triton_pod_labels", "triton_service_labels", "benchmark_pod_labels",
                 "envoy_pod_labels", "envoy_service_labels",
                 "prometheus_pod_labels", "prometheus_operator_labels", "grafana_pod_labels",
                 "otel_collector_pod_labels", "tempo_pod_labels"):  # fmt: skip
        for key, value in (variables.get(name) or {}).items():
            if not LABEL_KEY.fullmatch(str(key)):
                yield Problem(name, "this is no key of a Kubernetes label.", key, f".{key}")
            elif not isinstance(value, str) or not LABEL_VALUE.fullmatch(value):
                yield Problem(
                    name,
                    "the value of a Kubernetes label is a text of at most 63 letters, digits, '-', '_' and '.'.",
                    value,
                    f".{key}",
                )
    for name in ("supersonic_annotations", "triton_annotations", "triton_pod_annotations",
                 "triton_service_annotations", "envoy_annotations", "envoy_pod_annotations",
                 "envoy_service_annotations", "prometheus_annotations", "prometheus_pod_annotations",
                 "grafana_annotations", "grafana_pod_annotations",
                 "otel_collector_annotations", "otel_collector_pod_annotations",
                 "tempo_annotations", "tempo_pod_annotations"):  # fmt: skip
        yield from _annotations(name, "", variables.get(name))
    for name in ("envoy_ingress", "envoy_gateway_route", "envoy_openshift_route", "grafana_ingress"):
        yield from _annotations(name, ".annotations", (variables.get(name) or {}).get("annotations"))


def _annotations(name: str, path: str, annotations: Mapping[str, Any] | None) -> Iterator[Problem]:
    for key, value in (annotations or {}).items():
        if not isinstance(value, str):
            yield Problem(
                name, "the value of a Kubernetes annotation is a text; put it in quotes.", value, f"{path}.{key}"
            )


def _images(variables: Variables) -> Iterator[Problem]:
    for name in IMAGES:
        image = variables.get(name)
        if not image:
            continue
        repository, _at, digest = image.partition("@")
        tag = repository.rsplit("/", 1)[-1].partition(":")[2]
        if re.search(r"\s", image) or not repository:
            yield Problem(name, "this is no image (repository:tag or repository:tag@sha256:...).", image)
        elif digest and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            yield Problem(name, "the digest of an image is sha256: and 64 hexadecimal digits.", image)
        elif not digest and tag in ("", "latest"):
            yield Problem(name, "name a tag other than latest, or a digest, so that every pod runs the same.", image)


def _resources(variables: Variables) -> Iterator[Problem]:
    for name in QUANTITIES:
        value = variables.get(name)
        if value is not None and not quantity(value):
            yield Problem(name, "it has to be a Kubernetes quantity above zero, such as 512Mi or 20Gi.", value)
    for name in RESOURCES:
        resources = variables.get(name) or {}
        limits = resources.get("limits") or {}
        for resource, amount in (resources.get("requests") or {}).items():
            wanted, limit = quantity(amount), quantity(limits.get(resource, ""))
            if wanted is not None and limit is not None and wanted > limit:
                yield Problem(
                    name, f"a request cannot be above its limit, {limits[resource]}.", amount, f".requests.{resource}"
                )


def _pods(variables: Variables) -> Iterator[Problem]:
    for name in PROBES:
        probe = variables.get(name) or {}
        if not probe:
            continue
        if len(PROBE_HANDLERS & set(probe)) != 1:
            yield Problem(name, f"a probe has exactly one of {', '.join(sorted(PROBE_HANDLERS))}.", dict(probe))
        for key, smallest in PROBE_NUMBERS.items():
            value = probe.get(key)
            if value is not None and value < smallest:
                yield Problem(name, f"it has to be {smallest} or more.", value, f".{key}")
    for name in BUDGETS:
        budget = variables.get(name) or {}
        yield from _int_or_percent(name, budget, ("minAvailable", "maxUnavailable"))
        if "selector" in budget:
            yield Problem(name, "the role selects its own pods.", budget["selector"], ".selector")
        if budget and len({"minAvailable", "maxUnavailable"} & set(budget)) != 1:
            yield Problem(name, "it has exactly one of minAvailable and maxUnavailable.", dict(budget))
    for name in ROLLING_UPDATES:
        update = variables.get(name) or {}
        yield from _int_or_percent(name, update, ("maxSurge", "maxUnavailable"))
        if all(str(update.get(key, 1)).rstrip("%") in ("0", "") for key in ("maxSurge", "maxUnavailable")):
            yield Problem(
                name, "maxSurge and maxUnavailable cannot both be 0: no pod could ever be replaced.", dict(update)
            )


def _int_or_percent(name: str, value: Mapping[str, Any], keys: Sequence[str]) -> Iterator[Problem]:
    for key in keys:
        item = value.get(key)
        if item is not None and not (re.fullmatch(r"[0-9]+%", item) if isinstance(item, str) else item >= 0):
            yield Problem(
                name, "it has to be a number of pods, 0 or more, or a percentage such as 25%.", item, f".{key}"
            )


def _triton(variables: _Read) -> Iterator[Problem]:
    command = variables.get("triton_command")
    if command is not None:
        if not command:
            yield Problem("triton_command", "it needs at least the server's program.", command)
        elif os.path.basename(command[0]) in SHELLS and not any("exec " in word for word in command[1:]):
            yield Problem(
                "triton_command",
                "a shell as process 1 never hands SIGTERM on, so requests are lost at every stop. Name tritonserver "
                "itself, or let the shell exec it.",
                list(command),
            )
    grace, waits = (
        variables.get("triton_termination_grace"),
        _integers(variables, "triton_drain_wait", "triton_exit_timeout"),
    )
    if grace is not None and waits and int(grace) <= sum(waits):
        yield Problem(
            "triton_termination_grace",
            f"it has to be more than triton_drain_wait plus triton_exit_timeout, {sum(waits)}: "
            "otherwise servers are killed while they finish requests.",
            grace,
        )
    mode, models = variables.get("triton_model_control_mode"), variables.get("triton_load_models")
    if models and mode is not None and mode != "explicit":
        yield Problem(
            "triton_load_models",
            f"models are named only with triton_model_control_mode: explicit, but it is {mode}.",
            list(models),
        )
    yield from _rollout(variables)
    flags = [(str(flag), str(value)) for flag, value in (variables.get("triton_flags") or {}).items()]
    for name, given in (
        ("triton_flags", flags),
        ("triton_extra_args", _flags(variables.get("triton_extra_args") or [])),
    ):
        for word, value in given:
            flag = word.lstrip("-")
            if name == "triton_flags" and word != flag:
                yield Problem(name, "flags are written without the leading dashes.", word)
            if flag in OWNED_FLAGS:
                yield Problem(name, f"this flag is set by {OWNED_FLAGS[flag]}.", flag)
            elif flag in FIXED_PORT_FLAGS:
                yield Problem(name, "ports and addresses are fixed: others rely on 8000, 8001 and 8002.", flag)
            elif flag in NEEDED_FLAGS and value.lower() in ("false", "0"):
                yield Problem(name, f"{NEEDED_FLAGS[flag]}. Leave this flag out.", f"{flag}: {value}")
    apis = variables.get("triton_restricted_apis") or []
    if mode == "explicit" and "model-repository" not in apis and variables.lacks("triton_open_model_control"):
        yield Problem(
            "triton_model_control_mode",
            "every client could load and unload models. Set triton_restricted_apis: "
            f"[{', '.join([*map(str, apis), 'model-repository'])}], or say "
            "triton_open_model_control: true.",
            mode,
        )
    if "health" in apis:
        yield Problem("triton_restricted_apis", "without the health API no server would ever be ready.", list(apis))
    if "inference" in apis:
        yield Problem("triton_restricted_apis", "without the inference API nothing could be served.", list(apis))
    wait, budget = variables.get("triton_wait_timeout"), variables.get("triton_startup_budget")
    if wait is not None and budget is not None and int(wait) < int(budget):
        yield Problem(
            "triton_wait_timeout",
            f"servers may take {budget} s to start (triton_startup_budget), so it has to be at least that.",
            wait,
        )


def _flags(arguments: Sequence[Any]) -> list[tuple[str, str]]:
    """Names and values of command-line arguments, written as --name=value or as two words. The value of a flag without
    one is empty."""
    words = [str(argument) for argument in arguments]
    found = []
    for number, word in enumerate(words, 1):
        name, equals, value = word.lstrip("-").partition("=")
        following = words[number] if number < len(words) and not words[number].startswith("-") else ""
        found.append((name, value if equals else following))
    return found


def _rollout(variables: Variables) -> Iterator[Problem]:
    """How running servers take another release of the models."""
    name, mode = "triton_model_rollout", variables.get("triton_model_control_mode")
    rollout = variables.get(name)
    if rollout not in ("explicit", "poll"):
        return
    if mode is not None and mode != rollout:
        yield Problem(name, f"it needs triton_model_control_mode: {rollout}, but that is {mode}.", rollout)
    elif rollout == "explicit" and "triton_load_models" in variables and variables["triton_load_models"] != ["*"]:
        yield Problem(
            name,
            "new servers have to load every model as the others do: set triton_load_models: ['*'].",
            rollout,
        )
    folder = variables.get("model_repository_path")
    if folder:
        yield Problem(name, "releases in a folder (model_repository_path) are taken by rolling only.", rollout)
        return
    repositories = variables.get("triton_model_repositories")
    if repositories is None:
        return
    claims = [item.get("claim") for item in repositories if item.get("kind") == "pvc" and item.get("path") == "current"]
    published = variables.get("model_repository_claim")
    if not claims:
        yield Problem(
            name,
            "no server reads what model_repository publishes, which is path: current of a claim in "
            "triton_model_repositories. Use rolling.",
            rollout,
        )
    elif variables.get("model_repository_sources") and published and published != claims[0]:
        yield Problem(
            "triton_model_repositories",
            f"with triton_model_rollout: {rollout} servers take the releases of the first claim with path: current, "
            f"{claims[0]}, but models are published to {published} (model_repository_claim). Put that one first.",
            claims,
        )


def _contents(variables: Variables) -> Iterator[Problem]:
    """What is added to the servers' pod: environment, volumes, mounts and containers."""
    for index, item in enumerate(variables.get("triton_env") or []):
        if item["name"] in OWNED_ENV:
            yield Problem(
                "triton_env",
                "the role itself sets POD_NAME and POD_UID, which is the key of the restricted APIs.",
                item["name"],
                f"[{index}].name",
            )
        if item.get("value") and item.get("valueFrom"):
            yield Problem("triton_env", "it has either value or valueFrom.", None, f"[{index}]")
    owned = _mounts(variables.get("triton_model_repositories") or [])
    volumes = variables.get("triton_volumes") or []
    for index, volume in enumerate(volumes):
        name, sources = volume["name"], sorted(key for key in volume if key != "name" and volume[key] is not None)
        if name in owned:
            yield Problem("triton_volumes", "the pod already has a volume of this name.", name, f"[{index}].name")
        elif not DNS_LABEL.fullmatch(name) or len(name) > 63:
            yield Problem(
                "triton_volumes",
                "it has to be a DNS label: lower-case letters, digits and '-'.",
                name,
                f"[{index}].name",
            )
        if len(sources) != 1:
            has = f"not {' and '.join(sources)}" if sources else "for example emptyDir: {}"
            yield Problem("triton_volumes", f"a volume has exactly one source, {has}.", name, f"[{index}].name")
    yield from _volume_mounts(variables, owned, [volume["name"] for volume in volumes])
    yield from _containers(variables)


def _volume_mounts(variables: Variables, owned: Mapping[str, str], volumes: list[str]) -> Iterator[Problem]:
    for index, mount in enumerate(variables.get("triton_volume_mounts") or []):
        if _parts(mount["mountPath"]) in map(_parts, owned.values()):
            yield Problem(
                "triton_volume_mounts",
                "the role itself mounts a volume there.",
                mount["mountPath"],
                f"[{index}].mountPath",
            )
    overrides = variables.get("triton_pod_spec_overrides")
    if overrides is None or not {"triton_volumes", "triton_model_repositories"} <= set(variables):
        # One of them is wrong itself, so that nobody knows which volumes there are.
        return
    known = {*owned, *volumes, *(volume["name"] for volume in overrides.get("volumes") or [])}
    lists = [("triton_volume_mounts", "", variables.get("triton_volume_mounts") or [])]
    for name in ("triton_init_containers", "triton_sidecars"):
        lists += [
            (name, f"[{index}].volumeMounts", container.get("volumeMounts") or [])
            for index, container in enumerate(variables.get(name) or [])
        ]
    for variable, path, mounts in lists:
        for index, mount in enumerate(mounts):
            if mount["name"] not in known:
                close = difflib.get_close_matches(mount["name"], known, n=1)
                hint = f"Did you mean {close[0]}?" if close else f"There are {', '.join(sorted(known))}."
                yield Problem(
                    variable, f"the pod has no volume of this name. {hint}", mount["name"], f"{path}[{index}].name"
                )


def _containers(variables: Variables) -> Iterator[Problem]:
    seen = {"triton"}
    for variable in ("triton_init_containers", "triton_sidecars"):
        for index, container in enumerate(variables.get(variable) or []):
            name, at = container["name"], f"[{index}]"
            if name in seen:
                yield Problem(variable, "the pod already has a container of this name.", name, f"{at}.name")
            seen.add(name)
            if not container.get("image"):
                yield Problem(variable, "a container needs an image.", name, f"{at}.name")
    envoys = {"envoy", "envoy-2"} if int(variables.get("envoy_processes") or 1) > 1 else {"envoy"}
    for variable, known in (
        ("triton_pod_spec_overrides", seen),
        ("envoy_pod_spec_overrides", envoys),
        ("prometheus_pod_spec_overrides", {"prometheus"}),
        ("grafana_pod_spec_overrides", {"grafana"}),
        ("otel_collector_pod_spec_overrides", {"otel-collector"}),
        ("tempo_pod_spec_overrides", {"tempo"}),
    ):
        overrides = variables.get(variable) or {}
        for part in ("containers", "initContainers"):
            for index, container in enumerate(overrides.get(part) or []):
                if container["name"] not in known and not container.get("image"):
                    yield Problem(
                        variable,
                        f"the pod has no container of this name, but {', '.join(sorted(known))}, and a new one needs "
                        "an image.",
                        container["name"],
                        f".{part}[{index}].name",
                    )


def _mounts(repositories: Sequence[Variables]) -> dict[str, str]:
    """Name of every volume of a server's pod, and where it is mounted; those of triton_volumes aside."""
    return OWN_MOUNTS | dict(repository_mount(item) for item in repositories if item.get("kind") != "image")


def _repositories(variables: Variables) -> Iterator[Problem]:
    name = "triton_model_repositories"
    repositories = variables.get(name)
    if repositories is None:
        return
    if not repositories:
        yield Problem(name, "servers need at least one repository to load models from.", [])
    seen: set[str] = set()
    for index, item in enumerate(repositories):
        label, kind = item.get("name"), item.get("kind")
        at = f"[{index}]"
        if label is not None and (not DNS_LABEL.fullmatch(str(label)) or len(str(label)) > LONGEST_NAME):
            yield Problem(name, "it has to be a DNS label: lower-case letters, digits and '-'.", label, f"{at}.name")
        if label in seen:
            yield Problem(name, "another repository in this list has the same name.", label, f"{at}.name")
        seen.add(str(label))
        if kind not in REPOSITORY_NEEDS:
            continue
        for key in sorted(REPOSITORY_NEEDS[kind]):
            if not item.get(key):
                yield Problem(name, f"a repository of kind {kind} needs {key}.", None, at)
        for key in sorted({"claim", "host_path", "server", "export", "path"} - REPOSITORY_ALLOWS[kind]):
            if item.get(key):
                yield Problem(name, f"a repository of kind {kind} has no {key}.", item[key], f"{at}.{key}")
        claim = item.get("claim")
        if claim and not DNS_NAME.fullmatch(str(claim)):
            yield Problem(
                name, "it has to be a DNS name: lower-case letters, digits, '-' and '.'.", claim, f"{at}.claim"
            )
        if kind == "cvmfs" and bool(item.get("claim")) == bool(item.get("host_path")):
            yield Problem(
                name,
                "a repository of kind cvmfs needs either claim, where the CSI driver mounts CVMFS, or host_path, where "
                "the nodes do.",
                None,
                at,
            )
        for key in ("path", "host_path", "export"):
            if item.get(key):
                for message in _wrong_folder(kind, key, str(item[key])):
                    yield Problem(name, message, item[key], f"{at}.{key}")
    yield from _repositories_together(name, repositories)


def _wrong_folder(kind: str, key: str, folder: str) -> Iterator[str]:
    """What is wrong with a folder of a repository, taken for itself."""
    parts = _parts(folder)
    if ".." in parts:
        yield "it must not lead out with '..'. Name the folder itself, a folder inside the volume."
    elif key == "host_path":
        if not folder.startswith("/") or not parts:
            yield f"it has to be the folder where nodes have CVMFS, absolute; usually {CVMFS_MOUNT}."
        elif parts[0] == CVMFS_MOUNT.strip("/") and len(parts) > 1:
            yield f"the whole of {CVMFS_MOUNT} is mounted. Say host_path: {CVMFS_MOUNT} and put the rest into path."
    elif kind == "cvmfs" and (folder.startswith("/") or not parts):
        yield (
            f"it has to be a folder below {CVMFS_MOUNT}, without a leading /: the name of a CVMFS repository and what "
            "follows, such as cms.cern.ch/models."
        )
    elif kind == "pvc" and folder.startswith("/"):
        yield "it has to be a folder inside the volume, without a leading /."
    elif key == "export" and parts[-1:] == ("current",):
        yield (
            "a node follows this link once, when it mounts the export, and goes on with a release that may be gone. "
            "Name the folder around it, and say path: current."
        )
    elif (kind == "image" or key == "export") and not folder.startswith("/"):
        yield "it has to be absolute."
    elif kind == "nfs" and key == "path" and folder.startswith("/"):
        yield "it has to be a folder inside the export, without a leading /. What is mounted is called export."


def _repositories_together(name: str, repositories: Sequence[Variables]) -> Iterator[Problem]:
    """Repositories that are right one by one, but not in one server."""
    cvmfs: Variables | None = None
    for index, item in enumerate(repositories):
        if item.get("kind") != "cvmfs":
            continue
        cvmfs = cvmfs or item
        for key in ("claim", "host_path"):
            if item.get(key) and _parts(item[key]) != _parts(cvmfs.get(key)):
                yield Problem(
                    name,
                    f"a server has one {CVMFS_MOUNT}, and repository {cvmfs.get('name')} has it from "
                    f"{cvmfs.get('claim') or cvmfs.get('host_path')}. Use the same here; a claim of one CVMFS "
                    "repository alone is served with kind pvc.",
                    item[key],
                    f"[{index}].{key}",
                )
    for index, item in enumerate(repositories):
        if cvmfs and item.get("kind") == "pvc" and item.get("claim") and item["claim"] == cvmfs.get("claim"):
            yield Problem(
                name,
                f"repository {cvmfs.get('name')} has this claim with kind cvmfs. Use that kind here too: with pvc, "
                "servers would not see what the CSI driver mounts inside.",
                item["claim"],
                f"[{index}].claim",
            )
    folders = [_folder(item) for item in repositories]
    for index, folder in enumerate(folders):
        for position, around in enumerate(folders):
            other = repositories[position].get("name")
            if not around or position == index or folder[: len(around)] != around:
                continue
            if folder != around:
                message = f"it lies inside repository {other}, which would take it for a model."
            elif position < index:
                message = f"repository {other} is the same folder; servers would find every model twice."
            else:
                continue
            item = repositories[index]
            yield Problem(name, message, item.get("path") or item.get("export"), f"[{index}]")
            break
    # A mount hides what the image has at its place, and is a model in the eyes of a repository around it.
    for index, item in enumerate(repositories):
        if item.get("kind") != "image" or not item.get("path"):
            continue
        for mount in _mounts(repositories).values():
            if all(one == two for one, two in zip(_parts(item["path"]), _parts(mount), strict=False)):
                yield Problem(
                    name,
                    f"servers have something else mounted at {mount}. Put the image's models elsewhere.",
                    item["path"],
                    f"[{index}].path",
                )


def _parts(folder: Any) -> tuple[str, ...]:
    """The parts of a path, the same for every way to write it."""
    return tuple(part for part in str(folder or "").split("/") if part not in ("", "."))


def _folder(item: Variables) -> tuple[str, ...]:
    """Which folder of which storage a repository is, () where that cannot be said."""
    kind, path = item.get("kind"), str(item.get("path") or "")
    if kind == "nfs":
        path = f"{item['export']}/{path}" if item.get("export") else ""
    storage = {"pvc": item.get("claim"), "cvmfs": CVMFS_MOUNT, "nfs": item.get("server"), "image": "image"}.get(
        str(kind)
    )
    if not storage or (kind != "pvc" and not path):
        return ()
    return (str(kind), str(storage), *_parts(path))


def _envoy(variables: Variables) -> Iterator[Problem]:
    policy, hashed = variables.get("envoy_load_balancing_policy"), variables.get("envoy_hash_policy")
    if policy is not None and hashed is not None:
        hashes = policy in ("RING_HASH", "MAGLEV")
        if hashes and not hashed:
            yield Problem(
                "envoy_load_balancing_policy",
                "it needs envoy_hash_policy, or every request gets a random server.",
                policy,
            )
        if hashed and not hashes:
            yield Problem(
                "envoy_hash_policy",
                f"only RING_HASH and MAGLEV hash, but envoy_load_balancing_policy is {policy}.",
                list(hashed),
            )
        for index, item in enumerate(hashed):
            if bool(item.get("header")) == bool(item.get("source_ip")):
                yield Problem(
                    "envoy_hash_policy", "each item has either header or source_ip: true.", dict(item), f"[{index}]"
                )
    grace = variables.get("envoy_termination_grace")
    waits = _integers(variables, "envoy_endpoint_wait", "envoy_drain_time", "envoy_in_flight_wait")
    if grace is not None and waits:
        total = sum(waits)
        if int(grace) <= total:
            yield Problem(
                "envoy_termination_grace",
                f"it has to be more than envoy_endpoint_wait, envoy_drain_time and envoy_in_flight_wait together, "
                f"{total}: otherwise Envoys are killed while they drain.",
                grace,
            )
    kind, port = variables.get("envoy_service_type"), variables.get("envoy_service_node_port")
    outside = kind in ("NodePort", "LoadBalancer")
    if outside and variables.get("envoy_service_external_traffic_policy") == "Cluster":
        for index, item in enumerate(hashed or []):
            if item.get("source_ip"):
                yield Problem(
                    "envoy_hash_policy",
                    f"a Service of type {kind} shows Envoys a node's address instead of the client's, so all clients "
                    "get one server: set envoy_service_external_traffic_policy: Local, or hash a header.",
                    dict(item),
                    f"[{index}]",
                )
    if port is not None and int(port) > 0 and kind == "ClusterIP":
        yield Problem(
            "envoy_service_node_port", "a Service of type ClusterIP has no port on the nodes. Use NodePort.", port
        )


def _gateway(variables: _Read) -> Iterator[Problem]:
    for finding in envoy.findings(variables):
        yield Problem(*finding)


def _gpu_operator(variables: _Read) -> Iterator[Problem]:
    for finding in gpu_operator.findings(variables):
        yield Problem(*finding)


def _gpu_operator_files(variables: _Read) -> Iterator[Problem]:
    for finding in gpu_operator.missing_files(variables):
        yield Problem(*finding)


def _keda(variables: _Read) -> Iterator[Problem]:
    for finding in keda.findings(variables):
        yield Problem(*finding)


def _keda_files(variables: _Read) -> Iterator[Problem]:
    for finding in keda.missing_files(variables):
        yield Problem(*finding)


def _openshift_login(variables: _Read) -> Iterator[Problem]:
    for finding in openshift.findings(variables):
        yield Problem(*finding)


def _proof(variables: _Read) -> Iterator[Problem]:
    for finding in verify.findings(variables):
        yield Problem(*finding)


def _preflight(variables: _Read) -> Iterator[Problem]:
    for finding in preflight.findings(variables):
        yield Problem(*finding)


def _observed(variables: _Read) -> Iterator[Problem]:
    for finding in prometheus.findings(variables):
        yield Problem(*finding)


def _grafana(variables: _Read) -> Iterator[Problem]:
    for finding in grafana.findings(variables):
        yield Problem(*finding)


def _traces(variables: _Read) -> Iterator[Problem]:
    for finding in tracing.findings(variables):
        yield Problem(*finding)


def _benchmark(variables: _Read) -> Iterator[Problem]:
    for finding in benchmark.findings(variables):
        yield Problem(*finding)


def _autoscaler(variables: _Read) -> Iterator[Problem]:
    for finding in autoscaler.findings(variables):
        yield Problem(*finding)


# ---- how clients outside of the cluster reach the endpoint


def _load_balancer(variables: Variables) -> Iterator[Problem]:
    kind = variables.get("envoy_service_type")
    for name in LOAD_BALANCER:
        if variables.get(name) and kind is not None and kind != "LoadBalancer":
            yield Problem(name, f"it needs envoy_service_type: LoadBalancer, but that is {kind}.", variables[name])
    name, _ip, ranges = LOAD_BALANCER
    value = variables.get(name)
    if value and not LABEL_KEY.fullmatch(value):
        yield Problem(name, "it has to be the name of a class, such as example.org/internal.", value)
    value = variables.get(_ip)
    if value:
        try:
            ipaddress.ip_address(value)
        except ValueError:
            yield Problem(_ip, "it has to be an address such as 192.0.2.10.", value)
    for index, text in enumerate(variables.get(ranges) or []):
        if _network(text) is None:
            yield Problem(ranges, NO_NETWORK, text, f"[{index}]")


def _missing_keys(name: str, value: Variables, *keys: str) -> Iterator[Problem]:
    for key in keys:
        if not value.get(key):
            yield Problem(name, f"the key {key} is missing.")


def _host(name: str, path: str, value: Any, *, wildcard: bool = False) -> Iterator[Problem]:
    if value and not _is_host(str(value).removeprefix("*.") if wildcard else str(value)):
        yield Problem(
            name,
            "it has to be the DNS name that clients use, in lower case and without scheme and port, such as "
            "sonic.example.org.",
            value,
            path,
        )


def _is_host(name: str) -> bool:
    return len(name) <= 253 and bool(DNS_NAME.fullmatch(name))


def _secret_name(name: str, path: str, value: Any) -> Iterator[Problem]:
    if value and not _is_host(str(value)):
        yield Problem(name, "it has to be the name of a Secret: lower-case letters, digits, '-' and '.'.", value, path)


def _envoy_tls(variables: Variables) -> bool:
    """Whether clients and proxies speak TLS with the Envoys."""
    return bool(variables.get("envoy_tls_secret") or variables.get("envoy_tls_certificate"))


def _ingress(variables: Variables) -> Iterator[Problem]:
    name = "envoy_ingress"
    ingress = variables.get(name) or {}
    if not ingress:
        return
    yield from _missing_keys(name, ingress, "host", "controller")
    yield from _host(name, ".host", ingress.get("host"))
    yield from _secret_name(name, ".tls_secret", ingress.get("tls_secret"))
    controller, tls, secret = ingress.get("controller"), ingress.get("tls"), ingress.get("tls_secret")
    if secret and tls is False:
        yield Problem(name, "tls_secret names a certificate, so leave tls out or set it to true.", tls, ".tls")
    elif controller == "nginx" and not tls and not secret:
        yield Problem(
            name,
            "ingress-nginx speaks HTTP/2, and so gRPC, with TLS only: set tls: true for its own certificate, or "
            "tls_secret.",
            controller,
            ".controller",
        )
    path = str(ingress.get("path") or "/")
    paths = [GRPC_PATH, *([HTTP_PATH] if variables.get("envoy_http") else [])]
    if (path.rstrip("/") or "/") not in ("/", *paths):
        yield Problem(
            name,
            f"clients call {' and '.join(f'{item}/...' for item in paths)}, so nothing would get here. Leave it out, "
            f"or use {' or '.join(paths)}.",
            path,
            ".path",
        )
    for key, smallest in (("max_request_bytes", 0), ("timeout_seconds", 1)):
        value = ingress.get(key)
        if value is None:
            continue
        if float(value) < smallest:
            yield Problem(name, f"it has to be {smallest} or more.", value, f".{key}")
        elif int(value) > 0 and controller in INGRESS_LACKS[key]:
            yield Problem(
                name,
                f"there is no annotation for it with controller: {controller}; {INGRESS_LACKS[key][controller]}. Leave "
                "it out.",
                value,
                f".{key}",
            )


def _gateway_route(variables: Variables) -> Iterator[Problem]:
    name = "envoy_gateway_route"
    route = variables.get(name) or {}
    if not route:
        return
    if not route.get("parent_refs"):
        yield Problem(name, "name at least one Gateway, such as parent_refs: [{name: public, namespace: gateways}].")
    for index, host in enumerate(route.get("hostnames") or []):
        yield from _host(name, f".hostnames[{index}]", host, wildcard=True)
    tls = route.get("backend_tls") or {}
    if tls and not _envoy_tls(variables):
        yield Problem(
            name, "the Envoys speak no TLS: set envoy_tls_secret, or leave it out.", dict(tls), ".backend_tls"
        )
    elif _envoy_tls(variables) and not tls:
        yield Problem(
            name,
            "the Envoys speak TLS (envoy_tls_secret), so say how the Gateway verifies them: "
            "backend_tls: {hostname: NAME-IN-THE-CERTIFICATE, ca_config_map: CONFIGMAP-WITH-ca.crt}.",
        )
    yield from _host(name, ".backend_tls.hostname", tls.get("hostname"))


def _openshift_route(variables: Variables) -> Iterator[Problem]:
    name = "envoy_openshift_route"
    route = variables.get(name) or {}
    if not route:
        return
    yield from _missing_keys(name, route, "host", "termination")
    yield from _host(name, ".host", route.get("host"))
    yield from _secret_name(name, ".tls_secret", route.get("tls_secret"))
    termination, secret = route.get("termination"), route.get("tls_secret")
    if termination in ("passthrough", "reencrypt") and not _envoy_tls(variables):
        yield Problem(
            name,
            "TLS goes on to the Envoys, which have no certificate: set envoy_tls_secret.",
            termination,
            ".termination",
        )
    if termination == "edge" and _envoy_tls(variables):
        yield Problem(
            name,
            "the router would speak in the clear with Envoys that expect TLS (envoy_tls_secret): use reencrypt or "
            "passthrough.",
            termination,
            ".termination",
        )
    if termination in ("reencrypt", "edge") and not secret:
        yield Problem(
            name,
            "the router speaks HTTP/2, and so gRPC, only for hosts with a certificate of their own: set tls_secret.",
            termination,
            ".termination",
        )
    if termination == "passthrough" and secret:
        yield Problem(
            name, "clients see the Envoys' certificate with passthrough. Leave it out.", secret, ".tls_secret"
        )
    if termination in ("passthrough", "edge") and route.get("destination_ca"):
        yield Problem(name, f"the router verifies no Envoy with {termination}. Leave it out.", None, ".destination_ca")
    seconds = route.get("timeout_seconds")
    if seconds is not None and int(seconds) < 1:
        yield Problem(name, "it has to be 1 or more.", seconds, ".timeout_seconds")


def _certificate(variables: Variables) -> Iterator[Problem]:
    name = "envoy_certificate"
    certificate = variables.get(name) or {}
    if not certificate:
        return
    yield from _missing_keys(name, certificate, "issuer_name")
    if variables.get("envoy_tls_secret") == "":
        yield Problem(name, "name the Secret that cert-manager writes and Envoy reads in envoy_tls_secret.")
    names = certificate.get("dns_names") or []
    if not names:
        yield Problem(name, "name what clients call in dns_names, such as [sonic.example.org].")
    for index, host in enumerate(names):
        yield from _host(name, f".dns_names[{index}]", host, wildcard=True)
    seconds = {}
    for key, smallest in (("duration", 3600), ("renew_before", 300)):
        text = certificate.get(key)
        if not text:
            continue
        if not DURATION.fullmatch(text):
            yield Problem(
                name, "it has to be a duration in hours, minutes and seconds, such as 2160h.", text, f".{key}"
            )
            continue
        parts = re.findall(r"([0-9.]+)(ms|h|m|s)", text)
        seconds[key] = sum(float(number) * DURATION_SECONDS[unit] for number, unit in parts)
        if seconds[key] < smallest:
            yield Problem(name, f"cert-manager takes nothing below {smallest // 60} minutes.", text, f".{key}")
    if seconds.get("renew_before", 0) >= seconds.get("duration", CERTIFICATE_HOURS * 3600):
        of = f"duration, {certificate.get('duration') or f'{CERTIFICATE_HOURS}h where nothing is said'}"
        yield Problem(name, f"it has to be less than {of}.", certificate["renew_before"], ".renew_before")
    for path, host in _names_in_certificate(variables):
        if names and not any(_covers(str(pattern), host) for pattern in names):
            yield Problem(
                name,
                f"{path}, which is {host}, has to be among them, or whoever verifies it refuses it.",
                list(names),
                ".dns_names",
            )


def _names_in_certificate(variables: Variables) -> Iterator[tuple[str, str]]:
    """Names that clients and routers want to find in the certificate of the Envoys, and where they are said."""
    route = variables.get("envoy_openshift_route") or {}
    if route.get("termination") == "passthrough" and route.get("host"):
        yield "envoy_openshift_route.host", str(route["host"])
    instance, namespace = variables.get("supersonic_name"), variables.get("supersonic_namespace")
    if route.get("termination") == "reencrypt" and instance and namespace:
        yield "the name by which OpenShift's router knows the Service", f"{instance}.{namespace}.svc"
    tls = (variables.get("envoy_gateway_route") or {}).get("backend_tls") or {}
    if tls.get("hostname"):
        yield "envoy_gateway_route.backend_tls.hostname", str(tls["hostname"])


def _covers(pattern: str, host: str) -> bool:
    """Whether a name of a certificate is for a host; a star stands for one label."""
    if pattern.startswith("*."):
        return host.partition(".")[2] == pattern[2:]
    return pattern == host


def _isolation(variables: Variables) -> Iterator[Problem]:
    """Who may reach the pods."""
    for name in PEERS:
        for index, peer in enumerate(variables.get(name) or []):
            yield from _peer(name, f"[{index}]", peer)
    if variables.get("envoy_clients_from") and variables.get("envoy_network_policy") is False:
        yield Problem(
            "envoy_clients_from",
            "without envoy_network_policy: true nothing keeps the others out.",
            list(variables["envoy_clients_from"]),
        )


def _peer(name: str, at: str, peer: Variables) -> Iterator[Problem]:
    block = peer.get("ipBlock")
    selectors = [key for key in ("namespaceSelector", "podSelector") if peer.get(key) is not None]
    if block is None and not selectors:
        yield Problem(
            name,
            "it has podSelector, namespaceSelector or both, or ipBlock. Every pod of the cluster is "
            "{namespaceSelector: {}}.",
            dict(peer),
            at,
        )
    elif block is not None and selectors:
        yield Problem(name, f"it has either ipBlock or selectors, not {selectors[0]} as well.", dict(peer), at)
    if block is None:
        return
    network = _network(block["cidr"])
    if network is None:
        yield Problem(name, NO_NETWORK, block["cidr"], f"{at}.ipBlock.cidr")
    for index, text in enumerate(block.get("except") or []):
        part = _network(text)
        if part is None:
            yield Problem(name, NO_NETWORK, text, f"{at}.ipBlock.except[{index}]")
        elif network is not None and not _inside(part, network):
            yield Problem(
                name, f"it has to be a part of the cidr, {block['cidr']}.", text, f"{at}.ipBlock.except[{index}]"
            )


def _network(text: str) -> tuple[int, int, int] | None:
    """The version of a network with its prefix, its first and its last address; None where the text is none."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    return (network.version, int(network[0]), int(network[-1])) if "/" in text else None


def _inside(part: tuple[int, int, int], whole: tuple[int, int, int]) -> bool:
    return part != whole and part[0] == whole[0] and whole[1] <= part[1] and part[2] <= whole[2]


def _models_and_proof(variables: _Read) -> Iterator[Problem]:
    release = variables.get("model_repository_rollback_to")
    if isinstance(release, str) and release and not RELEASE.fullmatch(release):
        yield Problem(
            "model_repository_rollback_to",
            "it has to be the id of a release, or at least its first 8 characters, which are 0-9 and a-f.",
            release,
        )
    sources, folder = variables.get("model_repository_sources"), variables.get("model_repository_path")
    if sources and not folder and variables.lacks("model_repository_image"):
        yield Problem(
            "model_repository_sources",
            "publishing needs model_repository_image, an image with python3; that of the servers will do.",
            list(sources),
        )
    claim = None if folder else variables.get("model_repository_claim")
    if sources and claim:
        yield from _reads_what_is_published(variables, str(claim))
    address = variables.get("verify_address")
    match = ADDRESS.fullmatch(address) if address else None
    if address and (not match or not 0 < int(match[2]) < 65536):
        yield Problem("verify_address", "it has to be host:port.", address)
    if address == "" and variables.get("verify_servers") is False and variables.get("verify_envoys") is False:
        yield Problem(
            "verify_address",
            "nothing is proved: give the clients' address, or set verify_servers or verify_envoys.",
            "",
        )


def _reads_what_is_published(variables: Variables, claim: str) -> Iterator[Problem]:
    name, repositories = "triton_model_repositories", variables.get("triton_model_repositories")
    if repositories is None:
        return
    # CVMFS is read only in a cluster, so that a claim of it is none to publish to.
    claims = {index: item for index, item in enumerate(repositories) if item.get("kind") == "pvc"}
    published = {index: item for index, item in claims.items() if item.get("claim") == claim}
    if not published:
        yield Problem(
            name,
            f"models are published to the claim {claim}, but no server loads from it.",
            [item.get("claim") for item in claims.values()],
        )
    elif all(item.get("path") != "current" for item in published.values()):
        index = min(published)
        yield Problem(
            name,
            f"models are published to the claim {claim}, whose current release is in the folder current; what else is "
            "there are no models to serve. Set path: current.",
            published[index].get("path", ""),
            f"[{index}].path",
        )


def _trial(variables: Variables) -> Iterator[Problem]:
    """What it takes that a server tries a release before the others serve it."""
    tried = variables.get("model_repository_test_load")
    if variables.get("model_repository_canary") and tried is False:
        yield Problem(
            "model_repository_canary",
            "it is the server of the test load that serves with the others, but model_repository_test_load is false.",
            True,
        )
    folder, command = variables.get("model_repository_path"), variables.get("model_repository_test_load_command")
    if folder and variables.get("model_repository_canary"):
        yield Problem(
            "model_repository_canary",
            "releases in a folder (model_repository_path) are tried by a process, which cannot serve with the pods.",
            True,
        )
    if command and folder == "":
        yield Problem(
            "model_repository_test_load_command",
            "it is for releases in a folder (model_repository_path); those in a claim are tried by a pod.",
            list(command),
        )
    ratio = variables.get("model_repository_canary_latency_ratio")
    if ratio is not None and float(ratio) < 1:
        yield Problem("model_repository_canary_latency_ratio", "it has to be 1 or more.", ratio)
    if not tried or not variables.get("model_repository_sources") or folder:
        return
    modes = variables.get("model_repository_access_modes") or []
    if "ReadWriteOncePod" in modes:
        yield Problem(
            "model_repository_access_modes",
            "only one pod at a time can mount the claim, so that no second server can try a release. Use ReadWriteOnce "
            "or ReadWriteMany, or set model_repository_test_load: false.",
            list(modes),
        )
    models = variables.get("triton_load_models")
    # With triton_model_rollout: explicit there is only one way out, and _rollout() names it.
    if (
        models is not None
        and models != ["*"]
        and variables.get("triton_model_control_mode") == "explicit"
        and variables.get("triton_model_rollout") != "explicit"
    ):
        yield Problem(
            "triton_load_models",
            "a server has to load every model of a release before the release is served, but this one would load only "
            "those. Set triton_load_models: ['*'], or model_repository_test_load: false.",
            list(models),
        )
    surge, gpus = (variables.get("triton_rolling_update") or {}).get("maxSurge"), variables.get("triton_gpus")
    if gpus is not None and int(gpus) > 0 and re.fullmatch("0+%?", str(surge)):
        yield Problem(
            "triton_rolling_update",
            f"it says that there is no room for one more server, but the one that tries a release needs triton_gpus "
            f"({gpus}) as well. Set model_repository_test_load: false, or a maxSurge above 0 where there is room.",
            surge,
            ".maxSurge",
        )


def _files(variables: Variables) -> Iterator[Problem]:
    kubeconfig = variables.get("supersonic_kubeconfig")
    # A login writes it.
    if kubeconfig and not os.path.isfile(expand(kubeconfig)) and not variables.get("supersonic_openshift_username"):
        yield Problem("supersonic_kubeconfig", "there is no such file.", kubeconfig)
    yield from _golden_requests(variables)
    for name, what, there in (
        ("model_repository_sources", "folder or archive", os.path.exists),
        ("verify_golden_directories", "folder", os.path.isdir),
    ):
        for index, place in enumerate(variables.get(name) or []):
            if not there(expand(str(place))):
                yield Problem(name, f"there is no such {what}.", place, f"[{index}]")


def _golden_requests(variables: Variables) -> Iterator[Problem]:
    """Golden requests lie in <folder>/<model>/golden/*.json; without them nothing is proved."""
    name = "verify_golden_directories"
    folders = variables.get(name)
    if folders is None:
        return
    places = [expand(str(folder)) for folder in folders]
    found = {
        os.path.basename(os.path.dirname(os.path.dirname(path)))
        for place in places
        for path in glob.glob(os.path.join(glob.escape(place), "*", "golden", "*.json"))
    }
    if not found and all(os.path.isdir(place) for place in places):
        yield Problem(
            name,
            "there is no golden request, so nothing would be proved. Name folders with <model>/golden/<name>.json.",
            list(folders),
        )
        return
    for index, model in enumerate(variables.get("verify_models") or []):
        if found and model not in found:
            yield Problem(
                "verify_models",
                f"there is no golden request for this model in {name}; there are some for {', '.join(sorted(found))}.",
                model,
                f"[{index}]",
            )


# ---- between hosts -----------------------------------------------------------------------------------------------


IDENTITY = (
    "supersonic_name",
    "supersonic_namespace",
    "supersonic_kubeconfig",
    "supersonic_context",
    "supersonic_openshift_api",
    "supersonic_openshift_username",
    "envoy_ingress",
    "envoy_openshift_route",
    "grafana_ingress",
)


def check_instances(host: str, instances: Mapping[str, Variables]) -> list[Problem]:
    """Two instances with one name in one namespace of one cluster would take each other's objects.

    instances: variables of every instance by host name, host among them.
    """
    mine = instances[host]
    name = str(mine.get("supersonic_name"))
    problems: list[Problem] = []
    for other in sorted(instances):
        if other != host:
            problems.extend(_same_login(other, instances[other], mine))
        if other == host or _place(instances[other])[:2] != _place(mine)[:2]:
            continue
        problems.extend(_same_host(other, instances[other], mine))
        if _place(instances[other]) != _place(mine):
            continue
        theirs = str(instances[other].get("supersonic_name"))
        where = (
            f"in the same namespace, {mine.get('supersonic_namespace')}. Give one of them another name or namespace."
        )
        if theirs == name:
            problems.append(Problem("supersonic_name", f"host {other} is an instance of the same name {where}", name))
        elif theirs in object_names(name) or name in object_names(theirs):
            shared = max(name, theirs, key=len)
            problems.append(
                Problem(
                    "supersonic_name", f"host {other} is {theirs}, so both would have a Service {shared} {where}", name
                )
            )
    return problems


def _same_login(other: str, theirs: Variables, mine: Variables) -> Iterator[Problem]:
    """A file has the token of one user: hosts may share it, and then they share the login."""
    if (
        not mine.get("supersonic_openshift_username")
        or not _kubeconfig(mine)
        or _kubeconfig(theirs) != _kubeconfig(mine)
    ):
        return
    for name in ("supersonic_openshift_api", "supersonic_openshift_username"):
        if mine.get(name) != theirs.get(name):
            message = (
                f"host {other} has the same supersonic_kubeconfig, but another {name}. Give each a file of its own."
            )
            yield Problem(name, message, mine.get(name))


def _kubeconfig(variables: Variables) -> str:
    return os.path.realpath(expand(str(variables.get("supersonic_kubeconfig") or "")))


def _same_host(other: str, theirs: Variables, mine: Variables) -> Iterator[Problem]:
    """A name leads to one instance: another Ingress or Route of the same one is ignored, or takes requests away."""
    for name in ("envoy_ingress", "envoy_openshift_route", "grafana_ingress"):
        one, two = theirs.get(name), mine.get(name)
        if not isinstance(one, Mapping) or not isinstance(two, Mapping) or not two.get("host"):
            continue
        if one.get("host") == two["host"]:
            message = f"host {other} has the same name for its clients. Give each instance its own."
            yield Problem(name, message, two["host"], ".host")


def _place(variables: Variables) -> tuple[str, str, str]:
    """The namespace of an instance: of two spellings of one kubeconfig it must not matter which is used."""
    kubeconfig = str(variables.get("supersonic_kubeconfig") or os.environ.get("KUBECONFIG") or "~/.kube/config")
    login = variables.get("supersonic_openshift_username") and variables.get("supersonic_openshift_api")
    return (
        # Each host may have a file for its login.
        str(login or os.path.realpath(expand(kubeconfig))),
        str(variables.get("supersonic_context") or ""),
        str(variables.get("supersonic_namespace")),
    )
