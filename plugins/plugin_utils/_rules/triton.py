# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for the role triton.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.model_repository import check_rollout
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import (
    Problem,
    ReadVariables,
    Variables,
    integers,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.triton_pod import SHELLS

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
    "triton_model_load_timeout": (1, None),
}
PROBE_NUMBERS = {
    "initialDelaySeconds": 0,
    "periodSeconds": 1,
    "timeoutSeconds": 1,
    "failureThreshold": 1,
    "successThreshold": 1,
    "terminationGracePeriodSeconds": 1,
}
# For which CoreDNS repeats what it has answered.
DNS_SECONDS = 5
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


def drain_cautions(variables: Variables) -> Iterator[str]:
    """A server that is gone before the Envoys know of the one in its place. Two of them stand in for each other."""
    waits = integers(variables, "triton_drain_wait", "envoy_dns_refresh_seconds", "envoy_health_check_interval")
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


def check_triton(variables: ReadVariables) -> Iterator[Problem]:
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
        integers(variables, "triton_drain_wait", "triton_exit_timeout"),
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
    yield from check_rollout(variables)
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


CHECKS = (check_triton,)
CAUTIONS = (drain_cautions,)
