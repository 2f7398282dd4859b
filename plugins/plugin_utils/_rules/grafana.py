# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for the role grafana.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.dashboards import PROMETHEUS_UID, TEMPO_UID
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import LABEL_NAME
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.monitoring import SECRET
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, Variables

# Largest and smallest of each number.
LIMITS: dict[str, tuple[float, float | None]] = {
    "grafana_scrape_interval": (1, 300),
    "grafana_queue_ratio_threshold": (0, None),
    "grafana_queue_time_threshold": (0, None),
    "grafana_wait_timeout": (1, None),
}
# Below it a password is guessed.
PASSWORD_LENGTH = 12
_ANNOTATION = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_UID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
# Keys of grafana.ini that have variables of their own, or that others rely on.
OWNED = {
    "server.http_port": "probes and the Service rely on port 3000",
    "server.http_addr": "probes and the Service reach it at the address of the pod",
    "server.root_url": "it is set by grafana_root_url",
    "server.protocol": "probes and the Service speak HTTP; TLS is for grafana_ingress",
    "security.admin_user": "it is set by grafana_admin_user",
    "security.admin_password": "it is set by grafana_admin_password or grafana_admin_secret",
    "auth.anonymous.enabled": "it is set by grafana_anonymous",
    "auth.anonymous.org_role": "who comes without a login is a viewer",
    "auth.disable_login_form": "without it the administrator is locked out",
    "users.auto_assign_org_role": "whoever is new is a viewer, until the administrator says otherwise",
    "users.allow_sign_up": "whoever reaches it could make an account",
    "paths": "the role mounts what is there",
}


def findings(variables: Variables) -> Iterator[Problem]:
    """Everything, in the order of the variables in the role's defaults."""
    yield from _shown(variables)
    # Of an existing one nothing below is looked at.
    if variables.get("grafana_mode") == "managed":
        yield from _administrator(variables)
        yield from _place(variables)
        yield from _configuration(variables)
    elif variables.get("grafana_mode") == "existing":
        yield from _api(variables) if variables.get("grafana_delivery") == "api" else _sidecar(variables)


def _shown(variables: Variables) -> Iterator[Problem]:
    dashboards = variables.get("grafana_dashboards")
    if dashboards is not None and not dashboards:
        yield Problem("grafana_dashboards", "without a dashboard there is nothing to do here.", list(dashboards))
    scraped, told = variables.get("prometheus_scrape_interval"), variables.get("grafana_scrape_interval")
    if scraped is not None and told is not None and float(told) < float(scraped):
        yield Problem(
            "grafana_scrape_interval",
            f"pods are scraped every {scraped} s (prometheus_scrape_interval), so that graphs would be empty. Set it "
            f"to {scraped}.",
            told,
        )
    for key, value in (variables.get("grafana_metric_labels") or {}).items():
        if value and not LABEL_NAME.fullmatch(str(value)):
            yield Problem("grafana_metric_labels", "this is no name of a label.", value, f".{key}")


def _url(name: str, variables: Variables) -> Iterator[Problem]:
    url = variables.get(name)
    if not url:
        return
    try:
        parts = urlsplit(str(url))
        right = parts.scheme in ("http", "https") and parts.hostname and not parts.username and (parts.port or True)
    except ValueError:
        right = False
    if not right:
        yield Problem(name, "it has to be http://HOST:PORT or https://HOST:PORT, without a user.")


def _administrator(variables: Variables) -> Iterator[Problem]:
    password, secret = variables.get("grafana_admin_password"), variables.get("grafana_admin_secret")
    if password == "" and secret == {}:
        yield Problem(
            "grafana_admin_password",
            "the administrator needs a password, and there is none by default. Take it from a vault, or name a "
            "Secret that has it in grafana_admin_secret.",
        )
    elif password and secret:
        yield Problem("grafana_admin_password", "the password comes from grafana_admin_secret already. Leave one out.")
    elif password and len(password) < PASSWORD_LENGTH:
        yield Problem("grafana_admin_password", f"it has to have {PASSWORD_LENGTH} characters or more.")
    if secret:
        if not secret.get("name"):
            yield Problem("grafana_admin_secret", "the key name is missing.")
        elif not SECRET.fullmatch(str(secret["name"])):
            yield Problem("grafana_admin_secret", "this is no name of a Secret.", secret["name"], ".name")
    if variables.get("grafana_admin_user") == "":
        yield Problem("grafana_admin_user", "the administrator needs a name.")


def _place(variables: Variables) -> Iterator[Problem]:
    yield from _url("grafana_root_url", variables)
    ingress = variables.get("grafana_ingress") or {}
    if not ingress:
        return
    host = ingress.get("host")
    if not host:
        yield Problem("grafana_ingress", "the key host is missing.")
    elif not SECRET.fullmatch(str(host)) or len(str(host)) > 253:
        yield Problem(
            "grafana_ingress",
            "it has to be the DNS name that users have, in lower case and without scheme and port, such as "
            "grafana.example.org.",
            host,
            ".host",
        )
    if ingress.get("tls_secret") and not SECRET.fullmatch(str(ingress["tls_secret"])):
        yield Problem("grafana_ingress", "this is no name of a Secret.", ingress["tls_secret"], ".tls_secret")
    if ingress.get("tls_secret") and ingress.get("tls") is False:
        yield Problem(
            "grafana_ingress", "tls_secret names a certificate, so leave tls out or set it to true.", False, ".tls"
        )


def _configuration(variables: Variables) -> Iterator[Problem]:
    name = "grafana_extra_configuration"
    for section, keys in (variables.get(name) or {}).items():
        if section in OWNED:
            yield Problem(name, f"{OWNED[section]}.", None, f".{section}")
            continue
        if not isinstance(keys, Mapping):
            yield Problem(name, "a section has keys and values, {key: value}.", None, f".{section}")
            continue
        for key, value in keys.items():
            where = f"{section}.{key}"
            if where in OWNED:
                yield Problem(name, f"{OWNED[where]}.", None, f".{where}")
            elif isinstance(value, (Mapping, list)) or "\n" in str(value):
                yield Problem(
                    name, "a value of grafana.ini is one line of text, a number, true or false.", None, f".{where}"
                )
    for index, secret in enumerate(variables.get("grafana_secrets") or []):
        if not SECRET.fullmatch(str(secret)):
            yield Problem("grafana_secrets", "this is no name of a Secret.", secret, f"[{index}]")
    yield from _datasources(variables.get("grafana_extra_datasources") or [])
    modes = variables.get("grafana_access_modes")
    if modes is not None and not modes:
        yield Problem("grafana_access_modes", "a claim needs at least one.", list(modes))


def _datasources(sources: list[Any]) -> Iterator[Problem]:
    name, seen = "grafana_extra_datasources", {"Prometheus", "Tempo", PROMETHEUS_UID, TEMPO_UID}
    for index, source in enumerate(sources):
        for key in ("name", "type"):
            if not source.get(key):
                yield Problem(name, f"the key {key} is missing.", None, f"[{index}]")
        for key in ("name", "uid"):
            if source.get(key) in seen:
                yield Problem(name, "there is one of this name already.", source[key], f"[{index}].{key}")
            elif source.get(key):
                seen.add(str(source[key]))


def _api(variables: Variables) -> Iterator[Problem]:
    for name, what in (
        ("grafana_url", "the HTTP API has an address"),
        ("grafana_token", "the HTTP API wants the token of a service account"),
        ("grafana_folder", "dashboards that come by the API have a folder"),
        ("grafana_folder_uid", "a folder has a uid"),
    ):
        if variables.get(name) == "":
            yield Problem(name, f"{what}: set it, or grafana_delivery: configmaps.")
    yield from _url("grafana_url", variables)
    uid = variables.get("grafana_folder_uid")
    if uid and not _UID.fullmatch(str(uid)):
        yield Problem("grafana_folder_uid", "a uid has at most 40 letters, digits, '-' and '_'.", uid)


def _sidecar(variables: Variables) -> Iterator[Problem]:
    for name, pattern, said in (
        ("grafana_sidecar_label", _ANNOTATION, "this is no key of a Kubernetes label."),
        ("grafana_sidecar_label_value", _VALUE, "this is no value of a Kubernetes label."),
        ("grafana_folder_annotation", _ANNOTATION, "this is no key of a Kubernetes annotation."),
    ):
        value = variables.get(name)
        if value is not None and not pattern.fullmatch(str(value)):
            yield Problem(name, said, value)


CHECKS = (findings,)
