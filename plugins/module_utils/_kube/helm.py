# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renders a Helm chart to objects with the program helm.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Helm only renders here; the objects are applied as those of every role are, so that check mode, diff, pruning and
waiting are the same for a chart.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from ansible_collections.fastml.supersonic.plugins.module_utils._common import yaml_io
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError

Object = dict[str, t.Any]

HOOK = "helm.sh/hook"
HOOK_WEIGHT = "helm.sh/hook-weight"
_SECONDS = 300
_WORKERS = 8
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Chart:
    """The chart with its values: the options of the module that this file needs."""

    name: str
    namespace: str
    chart: str
    repository: str = ""
    version: str = ""
    sha256: str = ""
    values: Mapping[str, t.Any] = field(default_factory=dict)
    program: str = "helm"
    kubernetes_version: str = ""
    api_versions: Sequence[str] = ()


@dataclass(frozen=True)
class Rendered:
    """The metadata of the chart and its objects; those of hooks apart, by event."""

    name: str
    version: str
    app_version: str
    sha256: str
    objects: list[Object]
    hooks: dict[str, list[Object]]


def render(chart: Chart) -> Rendered:
    """Get the chart, compare it with its sum and version, and render it."""
    program = _program(chart.program)
    if chart.sha256 and not _SHA256.fullmatch(chart.sha256):
        raise SupersonicError(f"sha256 is '{chart.sha256}'; 64 digits of 0-9 and a-f are needed (sha256sum).")
    with _archive(program, chart) as path:
        digest = _digest(path, chart)
        about = _documents(_helm(program, ["show", "chart", path], f"Reading the chart {chart.chart}"))
        said = about[0] if about else {}
        version = str(said.get("version") or "")
        if chart.version and version.removeprefix("v") != chart.version.removeprefix("v"):
            raise SupersonicError(
                f"The chart {chart.chart} has the version {version}, but {chart.version} is asked for. Give the other "
                "file, or this version."
            )
        command = ["template", chart.name, path, "--namespace", chart.namespace, "--include-crds", "--values", "-"]
        if chart.kubernetes_version:
            command += ["--kube-version", chart.kubernetes_version]
        if chart.api_versions:
            command += ["--api-versions", ",".join(chart.api_versions)]
        # Values go by a pipe: they may be secret, and arguments are seen by every user of the machine.
        output = _helm(program, command, f"Rendering the chart {chart.chart}", json.dumps(dict(chart.values)))
    objects, hooks = split(_documents(output))
    return Rendered(str(said.get("name") or ""), version, str(said.get("appVersion") or ""), digest, objects, hooks)


def split(documents: Sequence[Object]) -> tuple[list[Object], dict[str, list[Object]]]:
    """Ordinary objects, and those of hooks by event in the order of their weights."""
    objects: list[Object] = []
    hooks: dict[str, list[Object]] = {}
    for document in documents:
        annotations = (document.get("metadata") or {}).get("annotations") or {}
        events = [event.strip() for event in str(annotations.get(HOOK) or "").split(",") if event.strip()]
        if not events:
            objects.append(document)
        for event in events:
            hooks.setdefault(event, []).append(document)
    for event in hooks:
        hooks[event].sort(key=_weight)
    return objects, hooks


def capabilities(api: Api) -> tuple[str, list[str]]:
    """Version of the cluster and what it serves, as charts ask for it: group/version and group/version/Kind."""
    version = str(api.get("/version", "version of the cluster")["gitVersion"])
    groups = api.get("/apis", "groups of the cluster")["groups"]
    served = ["v1", *(item["groupVersion"] for group in groups for item in group["versions"])]

    def kinds(name: str) -> list[str]:
        # An aggregated API whose server is away answers 503; what it serves is then not known, as Helm has it.
        try:
            found = api.find(f"/api/{name}" if name == "v1" else f"/apis/{name}", f"API {name}") or {}
        except ApiError as error:
            if error.status < 500 and error.status != 403:
                raise
            return []
        return [f"{name}/{item['kind']}" for item in found.get("resources") or [] if "/" not in item["name"]]

    with ThreadPoolExecutor(_WORKERS) as pool:
        names = [name for found in pool.map(kinds, served) for name in found]
    return version, sorted({*served, *names})


def _weight(document: Object) -> int:
    text = str(document["metadata"]["annotations"].get(HOOK_WEIGHT) or "0")
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else 0


def _program(name: str) -> str:
    found = shutil.which(os.path.expanduser(name))
    if not found:
        raise SupersonicError(
            f"The program {name} is not there. Install Helm 3 on the machine that runs this, or name it (program)."
        )
    return found


@contextmanager
def _archive(program: str, chart: Chart) -> Iterator[str]:
    """The chart as a file or folder of this machine."""
    path = os.path.expanduser(chart.chart)
    if not chart.repository and "://" not in chart.chart:
        if not os.path.exists(path):
            raise SupersonicError(
                f"There is no chart {path}. Give an archive (.tgz), a folder, or a name with its repository."
            )
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        command = ["pull", chart.chart, "--destination", folder]
        command += ["--repo", chart.repository] if chart.repository else []
        command += ["--version", chart.version] if chart.version else []
        whence = f" of {chart.repository}" if chart.repository else ""
        _helm(program, command, f"Fetching the chart {chart.chart}{whence}")
        files = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".tgz")]
        if len(files) != 1:
            raise SupersonicError(f"Fetching the chart {chart.chart}{whence} gave no archive.")
        yield files[0]


def _digest(path: str, chart: Chart) -> str:
    if os.path.isdir(path):
        if chart.sha256:
            raise SupersonicError(
                f"The chart {chart.chart} is a folder, which has no sha256. Pack it (helm package), or leave it out."
            )
        return ""
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if chart.sha256 and found != chart.sha256:
        raise SupersonicError(
            f"The chart {chart.chart} has the sha256 {found}, but {chart.sha256} is asked for: it is another file than "
            "the one that was pinned. Nothing was changed."
        )
    return found


def _helm(program: str, arguments: Sequence[str], what: str, text: str | None = None) -> str:
    try:
        done = subprocess.run(
            [program, *arguments],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except OSError as error:
        raise SupersonicError(f"{program} cannot be started: {error.strerror}.") from error
    except subprocess.TimeoutExpired as error:
        raise SupersonicError(f"{what} took longer than {_SECONDS} s.") from error
    if done.returncode:
        raise SupersonicError(f"{what} failed: {_reason(done.stderr)}")
    return done.stdout


def _reason(said: str) -> str:
    """The error message of Helm, without warnings and call chain."""
    lines = [line for line in said.strip().splitlines() if line and not line.startswith("WARNING:")]
    text = " ".join(lines).removeprefix("Error: ")
    return (text or "it did not say why").rstrip(".")[-600:] + "."


def _documents(text: str) -> list[Object]:
    try:
        loaded = yaml_io.load_all(text)
    except yaml_io.NoYaml as error:
        raise SupersonicError(f"The chart gives no valid YAML{error.where}.") from error
    found: list[Object] = []
    for document in loaded:
        if document is None:
            continue
        if not isinstance(document, dict):
            raise SupersonicError(f"The chart gives a {type(document).__name__} where an object is expected.")
        found += document.get("items") or [] if document.get("kind") == "List" else [document]
    return found


def shown(rendered: Rendered) -> dict[str, t.Any]:
    """The return value of the module about a chart."""
    return {
        "chart": {
            "name": rendered.name,
            "version": rendered.version,
            "app_version": rendered.app_version,
            "sha256": rendered.sha256,
        },
        # What Helm would have done at events that do not happen here.
        "hooks": sorted(
            f"{hook.get('kind')}/{hook['metadata'].get('name')} ({event})"
            for event, hooks in rendered.hooks.items()
            for hook in hooks
            if event != "test"
        ),
    }


def dump(objects: Sequence[Object]) -> str:
    """Objects as a stream of YAML documents."""
    import yaml

    return str(
        yaml.dump_all(
            objects,
            Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper),
            explicit_start=True,
            sort_keys=False,
            allow_unicode=True,
            width=110,
        )
    )


def write(path: str, text: str, mode: int, *, check: bool) -> bool:
    """Bring a file to this content and mode; whether it was another."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            same = file.read() == text
        if same and os.stat(path).st_mode & 0o777 == mode:
            return False
    if check:
        return True
    # With its mode from the beginning: there may be Secrets in it.
    descriptor, name = tempfile.mkstemp(dir=os.path.dirname(path) or ".")
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(name, mode)
    os.replace(name, path)
    return True
