# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for the role benchmark.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, Variables

DYNAMIC = "dynamic"
LIMITS: dict[str, tuple[int, int | None]] = {
    "benchmark_settled_after": (0, None),
    "benchmark_level_seconds": (3, None),
    "benchmark_longest_wait": (1, None),
    "benchmark_servers": (0, None),
    "benchmark_batch_size": (1, None),
    "benchmark_run_as_user": (1, 2**31 - 1),
    "benchmark_wait_timeout": (1, None),
    "benchmark_settle_timeout": (1, None),
}
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}")
# Words of perf_analyzer that the module sets, and the variable that says the same.
OWNED_ARGUMENTS = {
    "-m": "benchmark_model",
    "-u": "benchmark_address",
    "-b": "benchmark_batch_size",
    "-H": "benchmark_token for a token",
    "-i": "",
    "-p": "",
    "-r": "",
    "-s": "",
    "--shape": "benchmark_shapes",
    "--input-data": "benchmark_input_data",
    "--concurrency-range": "benchmark_profile or benchmark_levels",
    "--request-rate-range": "benchmark_profile or benchmark_levels",
    "--request-count": "benchmark_profile",
    "--measurement-interval": "",
    "--measurement-mode": "",
    "--max-trials": "",
    "--stability-percentage": "",
    "--profile-export-file": "benchmark_report",
    "--ssl-grpc-use-ssl": "benchmark_tls",
    "--ssl-grpc-root-certifications-file": "benchmark_tls",
    "--ssl-grpc-private-key-file": "benchmark_tls",
    "--ssl-grpc-certificate-chain-file": "benchmark_tls",
}


def findings(variables: Variables) -> Iterator[Problem]:
    """Everything that can be said without the cluster."""
    mode = variables.get("benchmark_mode")
    if mode in ("figure", "capacity") and variables.get("benchmark_model") == "":
        yield Problem("benchmark_model", f"with benchmark_mode: {mode} it has to be the name of a model.", "")
    address = variables.get("benchmark_address")
    if address is not None and not _ADDRESS.fullmatch(address):
        yield Problem("benchmark_address", "it has to be host:port.", address)
    yield from _profile(variables.get("benchmark_profile"))
    yield from _pools(variables.get("benchmark_pools"))
    yield from _levels(variables.get("benchmark_levels"))
    factor = variables.get("benchmark_latency_factor")
    if factor is not None and float(factor) <= 1:
        yield Problem(
            "benchmark_latency_factor", "it has to be more than 1, which is the latency of a lone request.", factor
        )
    for name, shape in (variables.get("benchmark_shapes") or {}).items():
        numbers = shape if isinstance(shape, list) else []
        if not numbers or not all(isinstance(each, int) and each > 0 for each in numbers):
            yield Problem("benchmark_shapes", "it has to be a list of whole numbers, 1 or more.", shape, f".{name}")
    for index, word in enumerate(variables.get("benchmark_arguments") or []):
        owned = OWNED_ARGUMENTS.get(str(word).partition("=")[0])
        if owned is not None:
            hint = f" Use {owned}." if owned else " Leave it out."
            yield Problem("benchmark_arguments", f"the benchmark itself sets this.{hint}", word, f"[{index}]")
    tls = variables.get("benchmark_tls") or {}
    if bool(tls.get("client_certificate")) != bool(tls.get("client_key")):
        yield Problem("benchmark_tls", "client_certificate and client_key belong together; one of them is missing.")
    for key, text in tls.items():
        if text and "-----BEGIN " not in str(text):
            yield Problem("benchmark_tls", "it has to be PEM, which begins with -----BEGIN.", None, f".{key}")


def _profile(profile: Any) -> Iterator[Problem]:
    name = "benchmark_profile"
    if profile is None:
        return
    for index, step in enumerate(profile):
        if int(step["clients"]) < 0:
            yield Problem(name, "it has to be 0 or more.", step["clients"], f"[{index}].clients")
        if float(step["seconds"]) <= 0:
            yield Problem(name, "it has to be more than 0.", step["seconds"], f"[{index}].seconds")
    if not any(int(step["clients"]) > 0 for step in profile):
        yield Problem(name, "no step has clients, so there would be no load.", profile)


def _pools(pools: Any) -> Iterator[Problem]:
    name = "benchmark_pools"
    if pools is None:
        return
    if not pools:
        yield Problem(name, "it is empty, so nothing would be measured.", pools)
    seen = set()
    for index, pool in enumerate(pools):
        number = str(pool) if not isinstance(pool, bool) else ""
        if number != DYNAMIC and not (number.isdigit() and int(number) > 0):
            yield Problem(name, f"it has to be a number of servers, 1 or more, or {DYNAMIC}.", pool, f"[{index}]")
        elif number in seen:
            yield Problem(name, "it is there twice.", pool, f"[{index}]")
        seen.add(number)


def _levels(levels: Any) -> Iterator[Problem]:
    name = "benchmark_levels"
    if levels is None:
        return
    numbers = [int(level) for level in levels]
    if len(numbers) < 2 or numbers[0] != 1:
        yield Problem(name, "it has to begin with 1, with which others are compared, and to have more levels.", levels)
    for index in range(1, len(numbers)):
        if numbers[index] <= numbers[index - 1]:
            yield Problem(name, "levels have to grow.", numbers[index], f"[{index}]")


CHECKS = (findings,)
