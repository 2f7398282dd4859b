# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for the role prometheus.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring import prometheus as monitoring_prometheus
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import LABEL_NAME
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.alerts import LATENCY_BOUNDS
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.monitoring import SECRET, authorities
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, Variables

# Largest and smallest of each number: scrapes further apart than a minute are of no use to anybody here.
LIMITS: dict[str, tuple[int, int | None]] = {
    "prometheus_scrape_interval": (1, 60),
    "prometheus_evaluation_interval": (1, 60),
    "prometheus_requests_per_server": (0, None),
    "prometheus_startup_budget": (1, None),
    "prometheus_termination_grace": (1, None),
    "prometheus_wait_timeout": (1, None),
}
# As Prometheus takes them.
_DURATION = re.compile(r"([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?")
_SIZE = re.compile(r"[0-9]+(B|KB|MB|GB|TB|PB|EB)")
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
# Jobs that are there with their targets.
JOBS_BY_TARGETS = {"keda": "prometheus_keda_targets", "dcgm": "prometheus_dcgm_targets"}
SECRETS_FOLDER = "/etc/prometheus-secrets/"
# Keys under which Prometheus takes a secret as it is.
_PLAIN_SECRETS = ("password", "credentials", "bearer_token", "secret_key", "client_secret")
_TARGET = re.compile(r"([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}")


def findings(variables: Variables) -> Iterator[Problem]:
    """Everything, in the order of the variables in the role's defaults."""
    yield from _where(variables)
    yield from _capacity(variables)
    yield from _alerts(variables)
    yield from _arguments(variables.get("prometheus_extra_args") or [])
    yield from _kept(variables)
    yield from _told(variables)
    yield from _configuration(variables)


def _where(variables: Variables) -> Iterator[Problem]:
    mode, url = variables.get("prometheus_mode"), variables.get("supersonic_prometheus_url")
    if mode == "existing" and url == "":
        yield Problem("prometheus_mode", "an existing Prometheus has an address: set supersonic_prometheus_url.", mode)
    if mode == "managed" and url:
        yield Problem(
            "supersonic_prometheus_url",
            "the managed Prometheus has an address of its own. Leave this empty, or set prometheus_mode: existing.",
        )
    if url:
        try:
            monitoring_prometheus.parse_address(url, None)
        except SupersonicError as error:
            yield Problem("supersonic_prometheus_url", str(error).replace("url is", "it is", 1))
    name = "supersonic_prometheus_ca_certificates"
    yield from authorities(name, variables.get(name))


def _capacity(variables: Variables) -> Iterator[Problem]:
    name, other = "prometheus_requests_per_server", "autoscaler_requests_per_server"
    ours, theirs = (float(variables.get(key) or 0) for key in (name, other))
    if 0 < ours < 1:
        yield Problem(name, "a server with less than one request in flight idles; it has to be 1 or more, or 0.", ours)
    elif ours and theirs and ours != theirs:
        yield Problem(
            name,
            f"{other} is {theirs:g}, so that alerts would judge by another number of servers than there are to be. Set "
            "both to the same, or one of them to 0.",
            ours,
        )


def _alerts(variables: Variables) -> Iterator[Problem]:
    name = "prometheus_objectives"
    aims: Mapping[str, Any] = variables.get(name) or {}
    for key in ("availability", "latency_share", "error_share", "rejection_share"):
        value = aims.get(key)
        if value is not None and not 0 < float(value) < 1:
            yield Problem(name, "it has to be a share between 0 and 1, such as 0.999.", value, f".{key}")
    latency = aims.get("latency_ms")
    if latency is not None and float(latency) not in (0, *LATENCY_BOUNDS):
        bounds = ", ".join(str(bound) for bound in LATENCY_BOUNDS)
        yield Problem(name, f"Envoy counts requests up to {bounds} ms, and 0 is no objective.", latency, ".latency_ms")
    for key, least in (("queue_ms", 1), ("servers", 0), ("start_seconds", 0), ("certificate_days", 0)):
        value = aims.get(key)
        if value is not None and float(value) < least:
            yield Problem(name, f"it has to be {least} or more.", value, f".{key}")
    patience = variables.get("prometheus_alert_patience")
    if patience is not None and float(patience) <= 0:
        yield Problem("prometheus_alert_patience", "it has to be above 0; 1 is the usual patience.", patience)
    for index, model in enumerate(variables.get("prometheus_models") or []):
        if not model:
            yield Problem("prometheus_models", "this is no name of a model.", model, f"[{index}]")
    runbook = variables.get("prometheus_runbook_url")
    if runbook is not None and not re.fullmatch(r"https?://[^#\s]+", runbook):
        yield Problem(
            "prometheus_runbook_url", "it has to be an address such as https://example.org/runbook, without #.", runbook
        )
    for variable in JOBS_BY_TARGETS.values():
        for index, target in enumerate(variables.get(variable) or []):
            if not _TARGET.fullmatch(target):
                yield Problem(variable, "it has to be host:port, without http://.", target, f"[{index}]")


def _told(variables: Variables) -> Iterator[Problem]:
    """Rules for the receivers of the managed Prometheus' alerts."""
    extra = variables.get("prometheus_extra_configuration") or {}
    secrets = variables.get("prometheus_secrets")
    for variable, key in (("prometheus_alertmanagers", "alerting"), ("prometheus_remote_write", "remote_write")):
        places = variables.get(variable) or []
        if places and key in extra:
            yield Problem("prometheus_extra_configuration", f"{variable} is that already; leave one.", None, f".{key}")
        for index, place in enumerate(places):
            url = place.get("url")
            if not url or not _is_url(url):
                yield Problem(variable, "it has to be http://host:port or https://host.", url, f"[{index}].url")
            for path, name, value in _leaves(place, f"[{index}]"):
                if name in _PLAIN_SECRETS:
                    yield Problem(
                        variable,
                        "whoever may read ConfigMaps would see it. Put it into a Secret, and name its file: "
                        f"{name}_file: {SECRETS_FOLDER}NAME/KEY.",
                        None,
                        path,
                    )
                elif name.endswith("_file") and secrets is not None:
                    yield from _file(variable, path, str(value), secrets)


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username and parts.port != 0
    except ValueError:
        return False


def _leaves(value: Any, path: str, name: str = "") -> Iterator[tuple[str, str, Any]]:
    """Path, last key and value of everything inside."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, f"{path}.{key}", str(key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _leaves(part, f"{path}[{index}]", name)
    else:
        yield path, name, value


def _file(variable: str, path: str, file: str, secrets: Sequence[str]) -> Iterator[Problem]:
    if not file.startswith("/"):
        yield Problem(variable, f"it has to be a whole path, such as {SECRETS_FOLDER}NAME/KEY.", file, path)
    elif file.startswith(SECRETS_FOLDER):
        secret = file.removeprefix(SECRETS_FOLDER).partition("/")[0]
        if secret not in secrets:
            yield Problem(variable, f"the Secret '{secret}' is not in prometheus_secrets.", file, path)


def _arguments(arguments: Sequence[str]) -> Iterator[Problem]:
    name = "prometheus_extra_args"
    for index, argument in enumerate(arguments):
        flag = str(argument).lstrip("-").partition("=")[0]
        if flag in OPEN_FLAGS:
            yield Problem(
                name, "whoever may ask questions could then change or fill the server.", argument, f"[{index}]"
            )
        elif flag in OWNED_FLAGS:
            yield Problem(name, f"{OWNED_FLAGS[flag]}.", argument, f"[{index}]")


def _kept(variables: Variables) -> Iterator[Problem]:
    retention, size = variables.get("prometheus_retention"), variables.get("prometheus_retention_size")
    if retention is not None and (not retention or not _DURATION.fullmatch(retention)):
        yield Problem("prometheus_retention", "it has to be a time such as 15d or 12h.", retention)
    if size and not _SIZE.fullmatch(size):
        yield Problem("prometheus_retention_size", "it has to be a size such as 8GB or 500MB.", size)
    modes = variables.get("prometheus_access_modes")
    if modes is not None and not modes:
        yield Problem("prometheus_access_modes", "a claim needs at least one.", list(modes))


def _configuration(variables: Variables) -> Iterator[Problem]:
    for key, value in (variables.get("prometheus_external_labels") or {}).items():
        if not LABEL_NAME.fullmatch(str(key)):
            yield Problem("prometheus_external_labels", "this is no name of a label.", key, f".{key}")
        elif not isinstance(value, str):
            yield Problem(
                "prometheus_external_labels", "the value of a label is a text; put it in quotes.", value, f".{key}"
            )
    jobs = [*OUR_JOBS, *(job for job, targets in JOBS_BY_TARGETS.items() if variables.get(targets))]
    yield from _named("prometheus_extra_scrape_configs", "job_name", variables, jobs)
    ours = [f"supersonic-{variables.get('supersonic_name')}{suffix}" for suffix in ("", "-alerts")]
    yield from _named("prometheus_extra_rules", "name", variables, ours)
    for key in variables.get("prometheus_extra_configuration") or {}:
        if key in OWNED_KEYS:
            yield Problem("prometheus_extra_configuration", f"{OWNED_KEYS[key]}.", None, f".{key}")
    for index, name in enumerate(variables.get("prometheus_secrets") or []):
        if not SECRET.fullmatch(str(name)):
            yield Problem("prometheus_secrets", "this is no name of a Secret.", name, f"[{index}]")


def _named(variable: str, key: str, variables: Variables, ours: Iterable[str]) -> Iterator[Problem]:
    seen = set(ours)
    for index, item in enumerate(variables.get(variable) or []):
        name = item.get(key)
        if not name:
            yield Problem(variable, f"the key {key} is missing.", None, f"[{index}]")
        elif name in seen:
            yield Problem(variable, "there is one of this name already.", name, f"[{index}].{key}")
        seen.add(str(name))


CHECKS = (findings,)
