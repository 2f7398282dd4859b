# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Validates a configuration with the program envoy before it is applied.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import base64
import os
import re
import ssl
import subprocess
import tempfile
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError, missing_library

try:
    import yaml
except ImportError:
    HAS_LIBRARY = False
else:
    HAS_LIBRARY = True

SECONDS = 60
# [time][thread][level][logger] [source file:line] text
_LINE = re.compile(r"^\[[^]]*\]\[\d+\]\[(?P<level>\w+)\]\[\w+\] (?:\[[^]]*\] )?(?P<text>.*)$", re.MULTILINE)
Fetch = Callable[[str, str], "Mapping[str, str] | None"]
# Containers of a pod that are Envoys.
_ENVOYS = ("envoy", "envoy-2")


def validate(program: str, manifests: Sequence[Mapping[str, t.Any]], fetch: Fetch) -> list[str]:
    """Warnings of Envoy about the configurations in the manifests of an endpoint; an error if it refuses one.

    fetch(kind, name) reads what the manifests name and do not bring: the content of a ConfigMap or a Secret, None if
    it is not there.
    """
    if not HAS_LIBRARY:
        raise missing_library("yaml", "PyYAML")
    (deployment,) = (item for item in manifests if item and item["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    first, *others = (item for item in pod["containers"] if item["name"] in _ENVOYS)
    warnings = [text for item in (first, *others) for text in _judge(program, manifests, pod, item, fetch)]
    return list(dict.fromkeys(warnings))


def _judge(
    program: str,
    manifests: Sequence[Mapping[str, t.Any]],
    pod: Mapping[str, t.Any],
    container: Mapping[str, t.Any],
    fetch: Fetch,
) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = _lay_out(manifests, pod, container, folder, fetch)
        try:
            done = subprocess.run(
                [program, "--mode", "validate", "--config-path", path, "--log-level", "warning"],
                env={**os.environ, **_environment(container)},
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SupersonicError(f"{program} (program) cannot be run: {error}.") from error
        lines = [(match["level"], match["text"].replace(folder, "")) for match in _LINE.finditer(done.stderr)]
    if done.returncode:
        texts = [text for level, text in lines if level in ("critical", "error")]
        raise SupersonicError(f"Envoy refuses this configuration: {(texts or [done.stderr[-500:]])[-1]}")
    return [text for level, text in lines if level == "warning"]


def _environment(container: Mapping[str, t.Any]) -> dict[str, str]:
    """What the pod's manifest says of it: some of what Envoy reads is there. Values from elsewhere are unknown here."""
    return {item["name"]: str(item["value"]) for item in container.get("env") or [] if "value" in item}


def _lay_out(
    manifests: Sequence[Mapping[str, t.Any]],
    pod: Mapping[str, t.Any],
    container: Mapping[str, t.Any],
    folder: str,
    fetch: Fetch,
) -> str:
    """The files of a container below a folder, and the path of the configuration."""
    by_name = {(item["kind"], item["metadata"]["name"]): _content(item) for item in manifests if item}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    places = {}
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        source = volume.get("configMap") or volume.get("secret")
        if source:
            kind, name = (
                ("ConfigMap", source.get("name")) if "configMap" in volume else ("Secret", source["secretName"])
            )
            places[mount["mountPath"]] = (kind, str(name), source.get("items"))
    for place, (kind, name, items) in places.items():
        files = by_name.get((kind, name)) or fetch(kind, name)
        os.makedirs(folder + place, exist_ok=True)
        if files is None:
            if kind == "ConfigMap":
                raise SupersonicError(f"There is no {kind} {name}, which has Envoy's configuration.")
            # A Secret that somebody else makes, perhaps later. Envoy looks into it when it runs.
            continue
        for item in items or [{"key": key, "path": key} for key in files]:
            if item["key"] not in files:
                raise SupersonicError(
                    f"The {kind} {name} has no key {item['key']}. It has {', '.join(files) or 'none at all'}."
                )
            text = files[item["key"]]
            for other in places:
                text = re.sub(rf"(?<![\w/]){re.escape(other)}(?=[/\"'\s,}}]|$)", folder + other, text)
            with open(os.path.join(folder + place, item["path"]), "w", encoding="utf-8") as file:
                file.write(text)
    path = f"{folder}{container['args'][1]}"
    _put_in(path)
    return path


def _put_in(path: str) -> None:
    """Filters from files become part of the configuration: of those files Envoy would judge nothing here."""
    with open(path, encoding="utf-8") as file:
        try:
            configuration = yaml.safe_load(file)
        except yaml.YAMLError as error:
            raise SupersonicError(f"Envoy's configuration is no YAML: {error}") from error
    if not isinstance(configuration, dict):
        raise SupersonicError("Envoy's configuration is no dictionary.")
    for holder in list(_with(configuration, "trusted_ca")):
        # Authorities that are a file of the image: those of this machine stand in.
        if not os.path.exists(holder["trusted_ca"].get("filename") or "/"):
            holder["trusted_ca"] = {"filename": ssl.get_default_verify_paths().cafile or "/etc/ssl/cert.pem"}
    for holder in list(_with(configuration, "config_discovery")):
        source = (holder["config_discovery"].get("config_source") or {}).get("path_config_source") or {}
        if os.path.isfile(str(source.get("path"))):
            with open(source["path"], encoding="utf-8") as file:
                (resource,) = yaml.safe_load(file)["resources"]
            del holder["config_discovery"]
            holder["typed_config"] = resource["typed_config"]
    with open(path, "w", encoding="utf-8") as file:
        yaml.safe_dump(configuration, file)


def _with(value: t.Any, key: str) -> t.Iterator[dict[str, t.Any]]:
    """Every dictionary at any depth with a dictionary under this key."""
    if isinstance(value, dict):
        if isinstance(value.get(key), dict):
            yield value
        for item in value.values():
            yield from _with(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _with(item, key)


def content(document: Mapping[str, t.Any]) -> dict[str, str]:
    """The texts of a ConfigMap or a Secret of the API."""
    return _content(document)


def _content(document: Mapping[str, t.Any]) -> dict[str, str]:
    data = dict(document.get("data") or {})
    if document.get("kind") == "Secret":
        data = {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}
    return {**data, **(document.get("stringData") or {})}
