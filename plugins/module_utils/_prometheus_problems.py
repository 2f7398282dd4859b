# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with the variables of Prometheus in an inventory.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ansible_collections.fastml.supersonic.plugins.module_utils import _prometheus, _web
from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._gateway_problems import Finding, Variables

# Largest and smallest of each number: scrapes further apart than a minute are of no use to anybody here.
LIMITS: dict[str, tuple[int, int | None]] = {
    "prometheus_scrape_interval": (1, 60),
    "prometheus_evaluation_interval": (1, 60),
    "prometheus_startup_budget": (1, None),
    "prometheus_termination_grace": (1, None),
    "prometheus_wait_timeout": (1, None),
}
# As Prometheus takes them.
_DURATION = re.compile(r"([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?")
_SIZE = re.compile(r"[0-9]+(B|KB|MB|GB|TB|PB|EB)")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_SECRET = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
# Flags that others set, and those that let anybody who reaches the server change it or write to it.
OWNED_FLAGS = {
    "config.file": "the role writes the configuration",
    "storage.tsdb.path": "the role mounts the volume",
    "storage.tsdb.retention.time": "it is set by prometheus_retention",
    "storage.tsdb.retention.size": "it is set by prometheus_retention_size",
    "web.listen-address": "others rely on port 9090",
    "web.route-prefix": "others ask at the root",
    "web.external-url": "its path would be where others have to ask",
    "log.level": "it is set by prometheus_log_level",
    "agent": "an agent answers no queries",
}
OPEN_FLAGS = (
    "web.enable-lifecycle",
    "web.enable-admin-api",
    "web.enable-remote-write-receiver",
    "web.enable-otlp-receiver",
)
# Parts of the configuration that have variables of their own.
OWNED_KEYS = {
    "global": "prometheus_scrape_interval, prometheus_evaluation_interval and prometheus_external_labels are its parts",
    "rule_files": "rules go into prometheus_extra_rules",
    "scrape_configs": "jobs go into prometheus_extra_scrape_configs",
}
OUR_JOBS = ("supersonic", "prometheus")


def findings(variables: Variables) -> Iterator[Finding]:
    """Everything, in the order of the variables in the role's defaults."""
    yield from _where(variables)
    yield from _arguments(variables.get("prometheus_extra_args") or [])
    yield from _kept(variables)
    yield from _configuration(variables)


def _where(variables: Variables) -> Iterator[Finding]:
    mode, url = variables.get("prometheus_mode"), variables.get("supersonic_prometheus_url")
    if mode == "existing" and url == "":
        yield Finding("prometheus_mode", "an existing Prometheus has an address: set supersonic_prometheus_url.", mode)
    if mode == "managed" and url:
        yield Finding(
            "supersonic_prometheus_url",
            "the managed Prometheus has an address of its own. Leave this empty, or set prometheus_mode: existing.",
        )
    if url:
        try:
            _prometheus.parse_address(url, None)
        except SupersonicError as error:
            yield Finding("supersonic_prometheus_url", str(error).replace("url is", "it is", 1))
    authorities = variables.get("supersonic_prometheus_ca_certificates")
    if authorities:
        try:
            _web.tls_context(authorities, True)
        except SupersonicError:
            yield Finding(
                "supersonic_prometheus_ca_certificates", "it has no certificates in PEM (-----BEGIN CERTIFICATE-----)."
            )


def _arguments(arguments: Sequence[str]) -> Iterator[Finding]:
    name = "prometheus_extra_args"
    for index, argument in enumerate(arguments):
        flag = str(argument).lstrip("-").partition("=")[0]
        if flag in OPEN_FLAGS:
            yield Finding(
                name, "whoever may ask questions could then change or fill the server.", argument, f"[{index}]"
            )
        elif flag in OWNED_FLAGS:
            yield Finding(name, f"{OWNED_FLAGS[flag]}.", argument, f"[{index}]")


def _kept(variables: Variables) -> Iterator[Finding]:
    retention, size = variables.get("prometheus_retention"), variables.get("prometheus_retention_size")
    if retention is not None and (not retention or not _DURATION.fullmatch(retention)):
        yield Finding("prometheus_retention", "it has to be a time such as 15d or 12h.", retention)
    if size and not _SIZE.fullmatch(size):
        yield Finding("prometheus_retention_size", "it has to be a size such as 8GB or 500MB.", size)
    modes = variables.get("prometheus_access_modes")
    if modes is not None and not modes:
        yield Finding("prometheus_access_modes", "a claim needs at least one.", list(modes))


def _configuration(variables: Variables) -> Iterator[Finding]:
    for key, value in (variables.get("prometheus_external_labels") or {}).items():
        if not _LABEL.fullmatch(str(key)):
            yield Finding("prometheus_external_labels", "this is no name of a label.", key, f".{key}")
        elif not isinstance(value, str):
            yield Finding(
                "prometheus_external_labels", "the value of a label is a text; put it in quotes.", value, f".{key}"
            )
    yield from _named("prometheus_extra_scrape_configs", "job_name", variables, OUR_JOBS)
    ours = [f"supersonic-{variables.get('supersonic_name')}"]
    yield from _named("prometheus_extra_rules", "name", variables, ours)
    for key in variables.get("prometheus_extra_configuration") or {}:
        if key in OWNED_KEYS:
            yield Finding("prometheus_extra_configuration", f"{OWNED_KEYS[key]}.", None, f".{key}")
    for index, name in enumerate(variables.get("prometheus_secrets") or []):
        if not _SECRET.fullmatch(str(name)):
            yield Finding("prometheus_secrets", "this is no name of a Secret.", name, f"[{index}]")


def _named(variable: str, key: str, variables: Variables, ours: Iterable[str]) -> Iterator[Finding]:
    seen = set(ours)
    for index, item in enumerate(variables.get(variable) or []):
        name = item.get(key)
        if not name:
            yield Finding(variable, f"the key {key} is missing.", None, f"[{index}]")
        elif name in seen:
            yield Finding(variable, "there is one of this name already.", name, f"[{index}].{key}")
        seen.add(str(name))
