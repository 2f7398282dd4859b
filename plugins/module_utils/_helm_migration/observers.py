# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Converts values for Prometheus, Grafana, traces and metrics of perf_analyzer.

These are charts of their own within the chart, whose hundreds of values go through. What has a variable of ours is
carried over, and the rest is named.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration.chart_values import (
    CHANGED,
    GONE,
    IDLE,
    SAME,
    UNKNOWN,
    Finding,
    Migration,
    Path,
    Values,
    bare_host,
    leaves,
    plain_resources,
    seconds,
    shown_value,
    strings,
    texts,
)

# Top keys of the chart of Prometheus.
_PROMETHEUS_KEYS = {
    "alertRelabelConfigs",
    "alertmanager",
    "alertmanagerFiles",
    "commonMetaLabels",
    "configmapReload",
    "extraManifests",
    "extraScrapeConfigs",
    "forceNamespace",
    "imagePullSecrets",
    "kube-state-metrics",
    "networkPolicy",
    "podSecurityPolicy",
    "prometheus-node-exporter",
    "prometheus-pushgateway",
    "pushgateway",
    "rbac",
    "ruleFiles",
    "scrapeConfigFiles",
    "server",
    "serverFiles",
    "serviceAccounts",
}
# What only joins the parts of the chart to each other.
_PLUMBING: dict[str, tuple[Path, ...]] = {
    "prometheus": (
        ("server", "configMapOverrideName"),
        ("server", "useExistingClusterRoleName"),
        ("server", "releaseNamespace"),
        ("server", "service"),
        ("serviceAccounts",),
        ("rbac",),
        ("configmapReload",),
    ),
    "grafana": (
        ("dashboardProviders",),
        ("dashboardsConfigMaps",),
        ("rbac",),
        ("serviceAccount",),
        ("grafana.ini", "dashboards"),
        ("ingress", "path"),
        ("ingress", "pathType"),
    ),
    "tempo": (
        ("tempo", "receivers"),
        ("tempo", "livenessProbe"),
        ("tempo", "readinessProbe"),
    ),
    "opentelemetry-collector": (("mode",), ("ports",), ("config",)),
}
_INGRESS_KEYS = ("enabled", "hostName", "hosts", "tls", "ingressClassName", "annotations")


def observers(made: Migration) -> None:
    """Everything that looks at the service."""
    _prometheus(made)
    _grafana(made)
    _collector(made)
    _tempo(made)
    _tracing(made)
    _metrics_collector(made)
    for name in ("prometheus", "grafana", "tempo", "opentelemetry-collector"):
        _through(made, name)


def external_prometheus(values: Values) -> str:
    """Address of a Prometheus that is there, "" for none."""
    if not values.get("prometheus", "external", "enabled"):
        return ""
    scheme = str(values.get("prometheus", "external", "scheme", default="https"))
    host = bare_host(str(values.get("prometheus", "external", "url", default="")))
    port = str(values.get("prometheus", "external", "port", default=""))
    usual = {"https": "443", "http": "80"}.get(scheme)
    name, _slash, path = host.partition("/")
    # A user and a password have no place in an inventory.
    name = name.rpartition("@")[2]
    return f"{scheme}://{name}{'' if port in ('', usual) or ':' in name else f':{port}'}{f'/{path}' if path else ''}"


# ---- Prometheus ------------------------------------------------------------------------------------------------------


def _prometheus(made: Migration) -> None:
    values, note = made.values, made.values.note
    external, own = external_prometheus(values), bool(values.get("prometheus", "enabled"))
    if external:
        made.components.append("prometheus")
        made.set("supersonic_prometheus_url", external)
        made.set("prometheus_mode", "existing")
        note(
            ("prometheus", "external"),
            SAME,
            "The site's. The chart left it to the site to scrape servers and Envoys, and asked for labels that "
            "nobody had set; here a PodMonitor is made where the cluster knows it, and queries name the namespace.",
            "supersonic_prometheus_url",
            "prometheus_mode",
        )
        note(("prometheus", "enabled"), IDLE if own else SAME, "There is an external one." if own else "")
    elif own:
        made.components.append("prometheus")
        note(("prometheus", "enabled"), SAME, "", "supersonic_components")
        _own_prometheus(made)
    elif _asks_prometheus(made):
        made.components.append("prometheus")
        made.unfinished.append("supersonic_prometheus_url with prometheus_mode: existing, if the site has one")
        note(
            ("prometheus",),
            CHANGED,
            "Something needs Prometheus, and the chart would look for any in the namespace, by an address that was "
            "wrong more often than not. One is deployed; if the site has one, name it in supersonic_prometheus_url.",
            "supersonic_components",
            always=True,
        )
    else:
        note(("prometheus", "enabled"), SAME, "Off.")
    if not external:
        note(("prometheus", "external"), IDLE, "The external one is off.")
    if external or not own:
        note(("prometheus", "server"), IDLE, "No Prometheus is deployed.")


def _asks_prometheus(made: Migration) -> bool:
    values = made.values
    return bool(
        values.get("keda", "enabled")
        or values.get("envoy", "rate_limiter", "prometheus_based", "enabled")
        or values.get("metricsCollector", "enabled")
        or values.get("grafana", "enabled")
    )


def _own_prometheus(made: Migration) -> None:
    values, note, path = made.values, made.values.note, ("prometheus", "server")
    volume = values.get(*path, "persistentVolume", default={})
    if volume.get("enabled"):
        for key, variable in (("size", "prometheus_size"), ("storageClass", "prometheus_storage_class")):
            if volume.get(key):
                made.set(variable, str(volume[key]))
        note(
            (*path, "persistentVolume"),
            SAME,
            "A new claim: what was recorded stays where it is.",
            "prometheus_size",
            "prometheus_storage_class",
        )
    else:
        made.set("prometheus_persistent", False)
        note(
            (*path, "persistentVolume"),
            SAME,
            "What it has recorded goes with its pod, as before. Better true, where there is a storage class.",
            "prometheus_persistent",
            always=True,
        )
    retention = str(values.get(*path, "retention", default="15d"))
    if retention != "15d":
        made.set("prometheus_retention", retention)
    note((*path, "retention"), SAME, "" if retention != "15d" else "As by default.", "prometheus_retention")
    if values.given(*path, "global", "scrape_interval"):
        interval = max(1, math.ceil(seconds(values.get(*path, "global", "scrape_interval"))))
        made.set("prometheus_scrape_interval", interval)
        if values.get("grafana", "enabled"):
            made.set("grafana_scrape_interval", interval)
        note((*path, "global", "scrape_interval"), SAME, "", "prometheus_scrape_interval")
    if values.given(*path, "global", "evaluation_interval"):
        interval = max(1, math.ceil(seconds(values.get(*path, "global", "evaluation_interval"))))
        if interval != 5:
            made.set("prometheus_evaluation_interval", interval)
        note((*path, "global", "evaluation_interval"), SAME, "", "prometheus_evaluation_interval")
    if values.given(*path, "resources"):
        made.set("prometheus_resources", plain_resources(values.get(*path, "resources")))
        note((*path, "resources"), SAME, "", "prometheus_resources")
    flags = [flag for flag in texts(values.get(*path, "extraFlags")) if flag != "web.enable-remote-write-receiver"]
    if flags:
        made.set("prometheus_extra_args", [f"--{flag}" for flag in flags])
    note(
        (*path, "extraFlags"),
        CHANGED,
        "Nobody writes to it from outside any more; other flags are carried over.",
        "prometheus_extra_args",
    )
    if values.get(*path, "ingress", "enabled"):
        note(
            (*path, "ingress"),
            GONE,
            "Everybody could read it there, and write to it. Grafana reaches it inside, and kubectl port-forward "
            "does; prometheus_clients_from lets others in.",
            "prometheus_clients_from",
        )
    else:
        note((*path, "ingress"), SAME, "Off.")


# ---- Grafana ---------------------------------------------------------------------------------------------------------


def _grafana(made: Migration) -> None:
    values, note, path = made.values, made.values.note, ("grafana",)
    if not values.get(*path, "enabled"):
        note((*path, "enabled"), SAME, "Off.")
        if values.given("grafana"):
            _idle(made, path, "Grafana is off.")
        return
    made.components.append("grafana")
    note(
        (*path, "enabled"), SAME, "With dashboards of ours, tested against a real Prometheus.", "supersonic_components"
    )
    user = str(values.get(*path, "adminUser", default="admin"))
    if user != "admin":
        made.set("grafana_admin_user", user)
    note((*path, "adminUser"), SAME, "", "grafana_admin_user")
    secret = f"{made.name}-grafana-admin"
    made.set("grafana_admin_secret", {"name": secret, "password_key": "admin-password"})
    note(
        (*path, "adminPassword"),
        CHANGED,
        f"The chart's is admin. No password is written into the inventory: make the Secret {secret}, or take "
        "grafana_admin_password from a vault.",
        "grafana_admin_secret",
        "grafana_admin_password",
        always=True,
    )
    made.unfinished.append(
        f"the Secret {secret} with the key admin-password, or grafana_admin_password from a vault instead"
    )
    ini = (*path, "grafana.ini")
    if values.get(*ini, "auth.anonymous", "enabled"):
        made.set("grafana_anonymous", True)
        note(
            (*ini, "auth.anonymous"),
            CHANGED,
            "Everybody who reached it was its administrator. Now everybody looks, and changes nothing.",
            "grafana_anonymous",
            always=True,
        )
    else:
        note((*ini, "auth.anonymous"), SAME, "Off.")
    note((*ini, "auth"), CHANGED, "The login form is there.")
    _grafana_place(made)
    _datasources(made)
    if values.given(*path, "resources"):
        made.set("grafana_resources", plain_resources(values.get(*path, "resources")))
        note((*path, "resources"), SAME, "", "grafana_resources")
    storage = values.get(*path, "persistence", default={})
    if storage.get("enabled"):
        made.set("grafana_persistent", True)
        for key, variable in (("size", "grafana_size"), ("storageClassName", "grafana_storage_class")):
            if storage.get(key):
                made.set(variable, str(storage[key]))
    note(
        (*path, "persistence"),
        SAME,
        "A new claim: what users have made stays where it is." if storage.get("enabled") else "As by default.",
        "grafana_persistent",
    )


def _grafana_place(made: Migration) -> None:
    values, note, path = made.values, made.values.note, ("grafana", "ingress")
    root, root_path = (
        str(values.get("grafana", "grafana.ini", "server", "root_url", default="")),
        ("grafana", "grafana.ini"),
    )
    host = ""
    if values.get(*path, "enabled"):
        hosts: Sequence[Any] = values.get(*path, "hosts", default=[])
        host = next((bare_host(str(item)) for item in hosts), "") or str(values.get(*path, "hostName", default=""))
        tls: Sequence[Any] = values.get(*path, "tls", default=[])
        secret = next(
            (str(item["secretName"]) for item in tls if isinstance(item, Mapping) and item.get("secretName")), ""
        )
        ingress: dict[str, Any] = {"host": host}
        if tls:
            ingress["tls"] = True
        if secret:
            ingress["tls_secret"] = secret
        if class_name := str(values.get(*path, "ingressClassName", default="")):
            ingress["class_name"] = class_name
        annotations = strings(values.get(*path, "annotations", default={}))
        wrong = [key for key, value in annotations.items() if key.endswith("/backend-protocol") and value != "http"]
        for key in wrong:
            del annotations[key]
        if annotations:
            ingress["annotations"] = annotations
        if host:
            made.set("grafana_ingress", ingress)
        else:
            made.unfinished.append("grafana_ingress: the host")
        for key in _INGRESS_KEYS:
            said = (
                "Grafana speaks HTTP/1.1, so that backend-protocol is left out."
                if key == "annotations" and wrong
                else ""
            )
            note((*path, key), CHANGED if said else SAME, said, "grafana_ingress")
    else:
        note(path, SAME, "Off.")
    if root and bare_host(root) != host:
        made.set("grafana_root_url", root)
        note((*root_path, "server", "root_url"), SAME, "", "grafana_root_url")
    else:
        note((*root_path, "server", "root_url"), SAME, "That of the Ingress, without being said.")


def _datasources(made: Migration) -> None:
    values, path = made.values, ("grafana", "datasources")
    found = values.get(*path, "datasources.yaml", "datasources", default=[])
    further = [item for item in found if isinstance(item, Mapping) and item.get("type") not in ("prometheus", "tempo")]
    # They may hold passwords, so that only their names are told.
    names = ", ".join(str(item.get("name")) for item in further)
    if further:
        made.unfinished.append(f"grafana_extra_datasources: {names}")
    values.note(
        (*path, "datasources.yaml", "datasources"),
        CHANGED,
        "The addresses of Prometheus and Tempo come from the instance; in the chart they had to be the same in "
        "several places." + (f" To be taken over by hand: {names}." if names else ""),
        *(["grafana_extra_datasources"] if names else []),
    )
    values.note(path, SAME, "Written by the role.")


# ---- traces ----------------------------------------------------------------------------------------------------------


def _collector(made: Migration) -> None:
    values, note, path = made.values, made.values.note, ("opentelemetry-collector",)
    if not values.get(*path, "enabled"):
        note((*path, "enabled"), SAME, "Off.")
        _idle(made, path, "The collector is off.")
        return
    made.components.append("otel_collector")
    note((*path, "enabled"), SAME, "", "supersonic_components")
    if values.given(*path, "resources"):
        made.set("otel_collector_resources", plain_resources(values.get(*path, "resources")))
        note((*path, "resources"), SAME, "", "otel_collector_resources")
    note(
        (*path, "image"),
        CHANGED,
        "The configuration is written for the version of our default.",
        "otel_collector_image",
    )
    note(
        (*path, "config"),
        CHANGED,
        "Written by the role, for the instance: it sends to Tempo, and counts spans for Prometheus, which scrapes "
        "it. Additions go into otel_collector_exporters and otel_collector_extra_configuration.",
        "otel_collector_exporters",
        "otel_collector_extra_configuration",
    )


def _tempo(made: Migration) -> None:
    values, note, path = made.values, made.values.note, ("tempo",)
    if not values.get(*path, "enabled"):
        note((*path, "enabled"), SAME, "Off.")
        _idle(made, path, "Tempo is off.")
        return
    made.components.append("tempo")
    note((*path, "enabled"), SAME, "", "supersonic_components")
    if values.given(*path, "tempo", "resources"):
        made.set("tempo_resources", plain_resources(values.get(*path, "tempo", "resources")))
        note((*path, "tempo", "resources"), SAME, "", "tempo_resources")
    for key in ("metricsGenerator", "overrides"):
        note(
            (*path, "tempo", key),
            CHANGED,
            "Rates and who calls whom are counted by the collector, so that nothing has to write into Prometheus.",
            "otel_collector_span_metrics",
            "otel_collector_service_graph",
        )
    retention = values.get(*path, "tempo", "retention")
    if retention:
        made.set("tempo_retention", str(retention))
        note((*path, "tempo", "retention"), SAME, "", "tempo_retention")
    storage = values.get(*path, "persistence", default={}) or {}
    if storage.get("enabled"):
        for key, variable in (("size", "tempo_size"), ("storageClassName", "tempo_storage_class")):
            if storage.get(key):
                made.set(variable, str(storage[key]))
    else:
        made.set("tempo_persistent", False)
    note(
        (*path, "persistence"),
        SAME,
        "A new claim." if storage.get("enabled") else "Traces go with its pod, as before.",
        "tempo_persistent",
        always=True,
    )


def _tracing(made: Migration) -> None:
    values, path = made.values, ("envoy", "tracing_sampling_rate")
    if not values.get("opentelemetry-collector", "enabled"):
        values.note(path, IDLE, "Without the collector nothing is traced.")
        return
    percent = float(values.get(*path, default=0.01)) * 100
    if not math.isclose(percent, 1.0):
        made.set("supersonic_tracing", {"sampling_percent": round(percent, 6)})
    values.note(
        path,
        SAME,
        f"{percent:g} % of the requests, at Envoy and at the server together: no second rate has to be the same.",
        "supersonic_tracing",
    )


# ---- metrics for perf_analyzer ---------------------------------------------------------------------------------------


def _metrics_collector(made: Migration) -> None:
    values, note, path = made.values, made.values.note, ("metricsCollector",)
    if not values.get(*path, "enabled"):
        note((*path, "enabled"), SAME, "Off.")
        _idle(made, path, "The metrics collector is off.")
        return
    made.set("envoy_gpu_metrics", True)
    note(
        (*path, "enabled"),
        CHANGED,
        f"Envoy answers it on port 8003 of {made.name}, /metrics, for this instance alone; no pod installs packages "
        "for it.",
        "envoy_gpu_metrics",
    )
    for key in ("host", "port", "service", "resources"):
        note((*path, key), IDLE if key == "service" else GONE, "Port 8003 of the endpoint's Service.")
    if values.get(*path, "ingress", "enabled"):
        note(
            (*path, "ingress"),
            GONE,
            "No Ingress is made for it: perf_analyzer runs inside, or by a port-forward. Keys hosts and tls made an "
            "Ingress without a host, which took every request that nobody else did.",
        )
    else:
        note((*path, "ingress"), SAME, "Off.")


# ---- what goes through -----------------------------------------------------------------------------------------------


def _through(made: Migration, name: str) -> None:
    """Values of a chart within the chart that have no variable here."""
    values = made.values
    for path, _value in list(leaves({name: values.user[name]} if isinstance(values.user.get(name), Mapping) else {})):
        if any(finding.path == path[:length] for finding in values.findings for length in range(1, len(path) + 1)):
            continue
        below = path[1:]
        if any(below[: len(place)] == place for place in _PLUMBING[name]):
            values.note(path, SAME, "It joined parts of the chart to each other, for which nothing has to be set here.")
        elif name == "prometheus" and below and below[0] not in _PROMETHEUS_KEYS:
            hint = f" Is prometheus.server.{below[0]} meant?" if below[0] == "resources" else ""
            values.findings.append(
                Finding(
                    path,
                    UNKNOWN,
                    "The chart of Prometheus has no such key, so that it never did anything." + hint,
                    (),
                    shown_value(path, _value),
                )
            )
        elif name == "prometheus" and below[-1] == "enabled" and not _value:
            values.note(path, SAME, "Not deployed.")
        else:
            role = {"opentelemetry-collector": "otel_collector"}.get(name, name)
            values.note(
                path,
                GONE,
                f"An option of the chart of {name} that is not carried over. Look in the README of the role {role}: "
                f"{role}_extra_configuration and {role}_pod_spec_overrides take what has no variable.",
                f"{role}_extra_configuration",
                f"{role}_pod_spec_overrides",
            )


def _idle(made: Migration, path: Path, why: str) -> None:
    """Everything below is without effect, the switch aside."""
    given = made.values.user.get(path[0])
    for key in given if isinstance(given, Mapping) else ():
        if key != "enabled":
            made.values.note((*path, str(key)), IDLE, why)
