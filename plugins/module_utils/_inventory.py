# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a right inventory is: names, types and how values have to fit together.

Every check is a pure function of the variables, so that a whole inventory is judged before anything changes.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

# Objects are called NAME-<part>, and a Deployment's pods get 17 characters more; 63 is the end.
LONGEST_NAME = 30
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
# Services are called like the instance, and their names may not begin with a digit (RFC 1035).
SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][0-9]+)?")
SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal(10) ** 3, "M": Decimal(10) ** 6, "G": Decimal(10) ** 9, "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15, "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10, "Mi": Decimal(2) ** 20, "Gi": Decimal(2) ** 30, "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50, "Ei": Decimal(2) ** 60,
}  # fmt: skip
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
LIMITS: dict[str, tuple[int, int | None]] = {
    "triton_replicas": (0, None),
    "triton_gpus": (0, None),
    "triton_repository_poll_seconds": (1, None),
    "triton_startup_budget": (1, None),
    "triton_drain_wait": (0, None),
    "triton_exit_timeout": (0, None),
    "triton_termination_grace": (1, None),
    "triton_wait_timeout": (1, None),
    "envoy_replicas": (1, None),
    "envoy_concurrency": (1, None),
    "envoy_service_port": (1, 65535),
    "envoy_service_node_port": (0, 65535),
    "envoy_route_timeout": (0, None),
    "envoy_stream_idle_timeout": (0, None),
    "envoy_connect_timeout": (1, None),
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
    "envoy_endpoint_wait": (1, None),
    "envoy_drain_time": (1, None),
    "envoy_in_flight_wait": (1, None),
    "envoy_termination_grace": (1, None),
    "envoy_wait_timeout": (1, None),
    # The release that servers still run until they are replaced, and the new one.
    "model_repository_keep": (2, None),
    "model_repository_timeout": (1, None),
    "verify_repeat": (1, None),
    "verify_timeout": (1, None),
    "verify_wait_timeout": (0, None),
}
QUANTITIES = ("triton_shared_memory_size", "model_repository_size")
RESOURCES = ("triton_resources", "envoy_resources", "model_repository_resources")
IMAGES = ("triton_image", "envoy_image", "model_repository_image")
PROBES = ("triton_startup_probe", "triton_readiness_probe", "triton_liveness_probe")
BUDGETS = ("triton_pod_disruption_budget", "envoy_pod_disruption_budget")
ROLLING_UPDATES = ("triton_rolling_update", "envoy_rolling_update")
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
FIXED_PORT_FLAGS = {"http-port", "grpc-port", "metrics-port", "http-address", "grpc-address", "metrics-address"}
REPOSITORY_NEEDS = {"pvc": {"claim"}, "nfs": {"server", "path"}, "image": {"path"}}
REPOSITORY_ALLOWS = {"pvc": {"claim", "path"}, "nfs": {"server", "path"}, "image": {"path"}}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    variable: the inventory variable, or "" where none is at fault; path: where in its value, such as "[0].kind";
    value: what it is; message: a sentence that says what would be right.
    """

    variable: str
    message: str
    value: Any = None
    path: str = ""

    def sentence(self, origin: str = "", *, hidden: bool = False) -> str:
        """The problem as the user reads it."""
        if not self.variable:
            return self.message
        value = "" if hidden or self.value is None else f" is {_show(self.value)}"
        place = f" ({origin})" if origin else ""
        return f"{self.variable}{self.path}{value}{place}: {self.message}"


def _show(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 120 else text[:117] + "..."


# ---- names -------------------------------------------------------------------------------------------------------


def unknown_variables(names: Iterable[str], known: Iterable[str], prefixes: Iterable[str]) -> list[Problem]:
    """Variables that no role knows although their prefix says they are meant for one, and names without such a prefix
    that are a slip away from a variable that exists."""
    known = set(known)
    starts = tuple(f"{prefix}_" for prefix in prefixes)
    problems: list[Problem] = []
    for name in sorted(set(names) - known):
        if name.startswith(("_", "ansible_")):
            continue
        ours = name.startswith(starts)
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.6 if ours else 0.88)
        if ours:
            hint = f"Did you mean {close[0]}?" if close else "Its role's README lists all variables."
            problems.append(Problem(name, f"no role knows this variable. {hint}"))
        elif close:
            problems.append(Problem(name, f"no role knows this variable. Did you mean {close[0]}?"))
    return problems


# ---- types -------------------------------------------------------------------------------------------------------


def check_value(variable: str, value: Any, spec: Mapping[str, Any], path: str = "") -> Iterator[Problem]:
    """Compare a value with its option in an argument specification of Ansible: type, choices, elements, suboptions.

    Stricter than Ansible itself: a text is no boolean (in a template "false" is true) and a number is no text.
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
        yield Problem(variable, f"it has to be {expected}.", value, path)
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


def check_options(
    variable: str, value: Mapping[str, Any], options: Mapping[str, Any], path: str = ""
) -> Iterator[Problem]:
    """The same for the keys of a dictionary: unknown ones, missing ones, and the value of each."""
    for key in sorted(set(map(str, value)) - set(options)):
        close = difflib.get_close_matches(key, options, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"There are {', '.join(sorted(options))}."
        yield Problem(variable, f"there is no such key. {hint}", value[key], f"{path}.{key}")
    for key, spec in options.items():
        if value.get(key) is not None:
            yield from check_value(variable, value[key], spec, f"{path}.{key}")
        elif spec.get("required"):
            yield Problem(variable, f"the key {key} is missing.", None, path)


def _is_kind(value: Any, kind: str) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "int":
        return (isinstance(value, int) and not isinstance(value, bool)) or (
            # -e name=3 on the command line gives a text.
            isinstance(value, str) and re.fullmatch(r"-?[0-9]+", value) is not None
        )
    if kind == "float":
        return _is_kind(value, "int") or isinstance(value, float)
    if kind in ("str", "path"):
        return isinstance(value, str)
    if kind == "list":
        return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    if kind == "dict":
        return isinstance(value, Mapping)
    return True


# ---- how values fit together -------------------------------------------------------------------------------------

Variables = Mapping[str, Any]
Check = Callable[[Variables], Iterator[Problem]]


def check_relations(variables: Variables, *, files: bool = True) -> list[Problem]:
    """Everything that a type cannot say. Only variables that are there, and of the right type, are looked at.

    files: whether files and folders that are named have to be there already.
    """
    problems: list[Problem] = []
    for check in (
        _numbers,
        _common,
        _images,
        _resources,
        _pods,
        _triton,
        _repositories,
        _envoy,
        _models_and_proof,
        *([_files] if files else []),
    ):
        problems.extend(check(variables))
    return problems


def _numbers(variables: Variables) -> Iterator[Problem]:
    for name, (smallest, largest) in LIMITS.items():
        value = variables.get(name)
        if value is None:
            continue
        if int(value) < smallest:
            yield Problem(name, f"it has to be {smallest} or more.", value)
        elif largest is not None and int(value) > largest:
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
    for name in ("supersonic_labels", "triton_pod_labels", "triton_service_labels",
                 "envoy_pod_labels", "envoy_service_labels"):  # fmt: skip
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
                 "envoy_service_annotations"):  # fmt: skip
        for key, value in (variables.get(name) or {}).items():
            if not isinstance(value, str):
                yield Problem(
                    name, "the value of a Kubernetes annotation is a text; put it in quotes.", value, f".{key}"
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


def quantity(value: Any) -> Decimal | None:
    """A Kubernetes quantity as a number; None where it is none."""
    match = QUANTITY.fullmatch(str(value))
    if isinstance(value, bool) or not match:
        return None
    number, suffix = match.group(1), match.group(2) or ""
    try:
        if suffix[1:].isdigit():
            return Decimal(number) * Decimal(10) ** int(suffix[1:])
        return Decimal(number) * SUFFIXES[suffix]
    except InvalidOperation:
        return None


def _resources(variables: Variables) -> Iterator[Problem]:
    for name in QUANTITIES:
        value = variables.get(name)
        if value is not None and not quantity(value):
            yield Problem(name, "it has to be a Kubernetes quantity above zero, such as 512Mi or 20Gi.", value)
    for name in RESOURCES:
        resources = variables.get(name) or {}
        for part in sorted(set(resources) - {"requests", "limits", "claims"}):
            yield Problem(name, "resources have requests, limits and claims.", resources[part], f".{part}")
        for part in ("requests", "limits"):
            for resource, amount in (resources.get(part) or {}).items():
                if quantity(amount) is None:
                    yield Problem(
                        name, "it has to be a Kubernetes quantity, such as 500m or 4Gi.", amount, f".{part}.{resource}"
                    )
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
        for key in sorted(set(probe) - set(PROBE_NUMBERS) - PROBE_HANDLERS):
            close = difflib.get_close_matches(key, [*PROBE_NUMBERS, *PROBE_HANDLERS], n=1)
            hint = f"Did you mean {close[0]}?" if close else f"There are {', '.join(sorted(PROBE_NUMBERS))}."
            yield Problem(name, f"a probe has no such key. {hint}", probe[key], f".{key}")
        if len(PROBE_HANDLERS & set(probe)) != 1:
            yield Problem(name, f"a probe has exactly one of {', '.join(sorted(PROBE_HANDLERS))}.", dict(probe))
        for key, smallest in PROBE_NUMBERS.items():
            value = probe.get(key, smallest)
            if not _is_kind(value, "int") or int(value) < smallest:
                yield Problem(name, f"it has to be a whole number of {smallest} or more.", value, f".{key}")
    for name in BUDGETS:
        budget = variables.get(name) or {}
        yield from _int_or_percent(name, budget, ("minAvailable", "maxUnavailable"))
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
    for key, item in value.items():
        if key not in keys:
            close = difflib.get_close_matches(str(key), keys, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"There are {' and '.join(keys)}."
            yield Problem(name, f"there is no such key. {hint}", item, f".{key}")
        elif isinstance(item, bool) or not re.fullmatch(r"[0-9]+|[0-9]+%", str(item)):
            yield Problem(
                name, "it has to be a number of pods, 0 or more, or a percentage such as 25%.", item, f".{key}"
            )


def _triton(variables: Variables) -> Iterator[Problem]:
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
    flags = variables.get("triton_flags") or {}
    arguments = [str(word).lstrip("-").partition("=")[0] for word in variables.get("triton_extra_args") or []]
    for name, words in (("triton_flags", list(map(str, flags))), ("triton_extra_args", arguments)):
        for word in words:
            flag = word.lstrip("-")
            if name == "triton_flags" and word != flag:
                yield Problem(name, "flags are written without the leading dashes.", word)
            if flag in OWNED_FLAGS:
                yield Problem(name, f"this flag is set by {OWNED_FLAGS[flag]}.", flag)
            elif flag in FIXED_PORT_FLAGS:
                yield Problem(name, "ports and addresses are fixed: others rely on 8000, 8001 and 8002.", flag)
    apis = variables.get("triton_restricted_apis") or []
    if mode == "explicit" and "model-repository" not in apis and not variables.get("triton_open_model_control"):
        yield Problem(
            "triton_model_control_mode",
            "every client could load and unload models. Add model-repository to triton_restricted_apis, or say "
            "triton_open_model_control: true.",
            mode,
        )
    if "health" in apis:
        yield Problem("triton_restricted_apis", "without the health API no server would ever be ready.", list(apis))
    if "inference" in apis:
        yield Problem("triton_restricted_apis", "without the inference API nothing could be served.", list(apis))
    taken = {"tmp", "shared-memory"} | {
        f"repository-{item.get('name')}" for item in variables.get("triton_model_repositories") or []
    }
    for index, volume in enumerate(variables.get("triton_volumes") or []):
        if volume.get("name") in taken:
            yield Problem(
                "triton_volumes", "the pod already has a volume of this name.", volume["name"], f"[{index}].name"
            )


def _repositories(variables: Variables) -> Iterator[Problem]:
    name = "triton_model_repositories"
    repositories = variables.get(name)
    if repositories is None:
        return
    if not repositories:
        yield Problem(name, "servers need at least one repository to load models from.", [])
    seen: set[str] = set()
    for index, item in enumerate(repositories):
        label, kind, path = item.get("name"), item.get("kind"), item.get("path")
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
        for key in sorted({"claim", "server", "path"} - REPOSITORY_ALLOWS[kind]):
            if item.get(key):
                yield Problem(name, f"a repository of kind {kind} has no {key}.", item[key], f"{at}.{key}")
        if path and kind == "pvc" and (str(path).startswith("/") or ".." in str(path).split("/")):
            yield Problem(name, "it has to be a folder inside the volume, without a leading /.", path, f"{at}.path")
        if path and kind in ("nfs", "image") and not str(path).startswith("/"):
            yield Problem(name, "it has to be absolute.", path, f"{at}.path")


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


def _models_and_proof(variables: Variables) -> Iterator[Problem]:
    sources, image = variables.get("model_repository_sources"), variables.get("model_repository_image")
    if sources and not image:
        yield Problem(
            "model_repository_sources",
            "publishing needs model_repository_image, an image with python3; that of the servers will do.",
            list(sources),
        )
    claim = variables.get("model_repository_claim")
    served = [item.get("claim") for item in variables.get("triton_model_repositories") or [] if item.get("claim")]
    if sources and claim and variables.get("triton_model_repositories") is not None and claim not in served:
        yield Problem(
            "triton_model_repositories",
            f"models are published to the claim {claim}, but no server loads from it.",
            served,
        )
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


def _files(variables: Variables) -> Iterator[Problem]:
    kubeconfig = variables.get("supersonic_kubeconfig")
    if kubeconfig and not os.path.isfile(os.path.expanduser(kubeconfig)):
        yield Problem("supersonic_kubeconfig", "there is no such file.", kubeconfig)
    if variables.get("verify_golden_directories") == []:
        yield Problem("verify_golden_directories", "without golden requests nothing is proved; name a folder.", [])
    for name in ("model_repository_sources", "verify_golden_directories"):
        for index, folder in enumerate(variables.get(name) or []):
            if not os.path.isdir(os.path.expanduser(str(folder))):
                yield Problem(name, "there is no such folder.", folder, f"[{index}]")


# ---- between hosts -----------------------------------------------------------------------------------------------


def check_instances(host: str, instances: Mapping[str, Variables]) -> list[Problem]:
    """Two instances with one name in one namespace of one cluster would take each other's objects.

    instances: variables of every instance by host name, host among them.
    """
    identity = ("supersonic_kubeconfig", "supersonic_context", "supersonic_namespace", "supersonic_name")
    mine = tuple(instances[host].get(name) for name in identity)
    return [
        Problem(
            "supersonic_name",
            f"host {other} is an instance of the same name in the same namespace, {mine[2]}. Give one of them "
            "another name or namespace.",
            mine[3],
        )
        for other in sorted(instances)
        if other != host and tuple(instances[other].get(name) for name in identity) == mine
    ]
