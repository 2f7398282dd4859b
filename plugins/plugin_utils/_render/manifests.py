# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Helpers for templates of manifests.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._common.text import counted
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import readable, short

# Where servers find model repositories.
REPOSITORY_MOUNT, CVMFS_MOUNT = "/models", "/cvmfs"


def image_version(image: str) -> str:
    """The value of the label app.kubernetes.io/version for an image: its tag, or the start of its digest.

    A label is at most 63 characters of letters, digits, '-', '_' and '.', with a letter or digit at both ends
    (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set).
    """
    name, _at, digest = image.partition("@")
    last = name.rsplit("/", 1)[-1]
    tag = last.partition(":")[2] or digest.partition(":")[2][:12] or "unknown"
    return re.sub(r"[^A-Za-z0-9._-]", "-", tag)[:63].strip("._-") or "unknown"


def command_flags(flags: Mapping[str, Any]) -> list[str]:
    """{'log-verbose': 1, 'load-model': ['a', 'b']} as --log-verbose=1, --load-model=a, --load-model=b.

    A boolean becomes true or false, a list gives the flag once for each item, None and [] leave it out.
    """
    arguments: list[str] = []
    for flag, value in flags.items():
        values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        for item in values:
            if item is None:
                continue
            text = str(item).lower() if isinstance(item, bool) else str(item)
            arguments.append(f"--{str(flag).lstrip('-')}={text}")
    return arguments


def repository_mount(repository: Mapping[str, Any]) -> tuple[str, str]:
    """The name of a repository's volume, and where it is mounted. One that comes with the image has none."""
    if repository.get("kind") == "cvmfs":
        return "cvmfs", CVMFS_MOUNT
    return f"repository-{repository.get('name')}", f"{REPOSITORY_MOUNT}/{repository.get('name')}"


def model_repository_paths(repositories: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where the server finds each repository: an image brings its own folder, everything else is mounted and
    may be served from a folder inside. That folder may be a link that moves on, which a mount of it would not see."""
    paths: list[str] = []
    for repository in repositories:
        parts = [str(repository["path"]) if repository["kind"] == "image" else repository_mount(repository)[1]]
        if repository["kind"] in ("pvc", "cvmfs", "nfs") and repository.get("path"):
            parts.append(str(repository["path"]).strip("/"))
        paths.append("/".join(parts))
    return paths


def model_repository_volumes(repositories: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The volume of a pod for each repository, and the mount of it, everything read only.

    All repositories of CVMFS share one: mounts appear below it when they are first used (HostToContainer), so that it
    is mounted as a whole. A kind without a source of its own is an error: Kubernetes would take a volume that has none
    for an empty folder, and a server without models is ready at once.
    """
    found: dict[str, dict[str, Any]] = {}
    for repository in repositories:
        kind = repository["kind"]
        if kind == "image":
            continue
        name, place = repository_mount(repository)
        mount: dict[str, Any] = {"name": name, "mountPath": place, "readOnly": True}
        if kind == "cvmfs":
            mount["mountPropagation"] = "HostToContainer"
        source: dict[str, Any]
        if kind == "pvc" or (kind == "cvmfs" and repository.get("claim")):
            source = {"persistentVolumeClaim": {"claimName": repository["claim"], "readOnly": True}}
        elif kind == "cvmfs":
            # Directory: where a node has no such folder, the pod says so instead of getting an empty one.
            source = {"hostPath": {"path": repository["host_path"], "type": "Directory"}}
        elif kind == "nfs":
            source = {"nfs": {"server": repository["server"], "path": repository["export"], "readOnly": True}}
        else:
            raise ValueError(f"{kind} is no kind of a model repository")
        found[name] = {"volume": {"name": name, **source}, "mount": mount}
    return list(found.values())


def override_pod_spec(objects: Sequence[Mapping[str, Any]], overrides: Mapping[str, Any]) -> list[Any]:
    """The objects, with overrides merged into the pod template of every workload among them."""
    result: list[Any] = []
    for item in objects:
        template = item.get("spec", {}).get("template") if isinstance(item.get("spec"), Mapping) else None
        if overrides and isinstance(template, Mapping) and "spec" in template:
            merged = {**template, "spec": _merge(template["spec"], overrides)}
            result.append({**item, "spec": {**item["spec"], "template": merged}})
        else:
            result.append(item)
    return result


def _merge(base: Any, overrides: Any) -> Any:
    """Dictionaries are merged recursively, lists whose items have names by name; anything else is replaced."""
    if isinstance(base, Mapping) and isinstance(overrides, Mapping):
        merged = dict(base)
        for key, value in overrides.items():
            merged[key] = _merge(base[key], value) if key in base else value
        return merged
    if _named(base) and _named(overrides):
        by_name = {item["name"]: item for item in base}
        for item in overrides:
            by_name[item["name"]] = _merge(by_name.get(item["name"], {}), item)
        return list(by_name.values())
    return overrides


def _named(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(item, Mapping) and "name" in item for item in value)
    )


def verification_table(targets: Sequence[Mapping[str, Any]]) -> str:
    """The result of inference_check for each server, as a table."""
    rows = [("layer", "server", "protocol", "passed", "models", "slowest", "largest deviation")]
    for target in targets:
        slowest = target.get("slowest_ms")
        rows.append(
            (
                str(target["layer"]),
                str(target["target"]),
                str(target["protocol"]),
                f"{int(target['checks']) - int(target['failed'])} of {target['checks']}",
                ", ".join(map(str, target["models"])) or "-",
                "-" if slowest is None else f"{slowest:.1f} ms",
                _deviation(target),
            )
        )
    certificates = [
        f"{target['layer']} ({target['target']}): certificate {found['subject']}, issued by {found['issuer']}, "
        f"good for {found['days_left']} days"
        for target in targets
        if (found := target.get("certificate"))
    ]
    return "\n".join([_table(rows), *certificates])


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of as many cells, in columns; the first one is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _deviation(target: Mapping[str, Any]) -> str:
    """The largest deviations of a server; near zero only the absolute one says anything, so both are shown."""
    values = [(float(target.get(f"max_{kind}") or 0), kind[:3]) for kind in ("absolute", "relative")]
    return ", ".join(f"{value:.1e} {kind}" for value, kind in values if value) or "none"


_FILES_SHOWN = 10


def model_repository_table(info: Mapping[str, Any]) -> str:
    """The result of model_repository_info as a table: releases, servers, and notes about the store."""
    if info["releases"]:
        rows = [("release", "current", "published", "size", "models")]
        rows += [
            (
                _id(item["release"]),
                "yes" if item["current"] else "previous" if item["release"] == info["previous"] else "",
                item["published"] or "unknown",
                "unknown" if item["size"] is None else readable(item["size"]),
                _models(item["models"]),
            )
            for item in info["releases"]
        ]
        parts = [_table(rows)]
    else:
        known = info["opened"] or not info["unfinished"]
        parts = ["no release is published" if known else "it is not known what is published"]
    if info["unfinished"]:
        parts.append(_unfinished(info["unfinished"], info["opened"]))
    if "servers" in info:
        servers = [("server", "release", "differs from the current release")]
        for item in info["servers"]:
            release = "in between" if item["taken"] else _id(item["release"])
            servers.append((str(item["pod"]), release, "; ".join(item["differences"]) or "no"))
        parts.append(_table(servers) if info["servers"] else "no server runs")
    if info["opened"]:
        parts.append("\n".join(_store_lines(info)))
    return "\n\n".join(parts)


def _unfinished(begun: Mapping[str, Any], opened: bool) -> str:
    """The explanation of an unfinished switch, and what to do."""
    back = begun["state"] == "rolled_back"
    what = "A roll-back" if back else "A publication"
    way = f" from {_id(begun['before']) if begun['before'] else 'none'} to {_id(begun['release'])}"
    served = "" if opened else " What is served only the store itself can say: list with model_repository_list_deep."
    goal = begun["release" if back else "before"]
    return (
        f"{what}{way if begun['release'] else ''} has not come to its end.{served} Wait for it, or publish or roll back"
        + (f": without a name that goes to {_id(goal)}." if goal else ".")
    )


def _store_lines(info: Mapping[str, Any]) -> list[str]:
    lock, space, left = info["lock"], info["space"], info["leftovers"]
    at_work = "nobody"
    if lock:
        state = "dead, the next run takes over" if lock["stale"] else "at work"
        at_work = f"{lock['holder']} since {lock['since']}, silent for {lock['silent_seconds']:.0f} s ({state})"
    free = f"{readable(space['free'])} of {readable(space['size'])}" if space else "unknown"
    return [
        f"lock       {at_work}",
        f"free       {free}",
        f"leftovers  {left['unused_contents']} contents ({readable(left['unused_bytes'])}), "
        f"{counted(len(left['staging']), 'folder')} in staging",
    ]


def model_drift_table(drift: Sequence[Mapping[str, Any]]) -> str:
    """The result of verifying releases: a line for each release, and its problems below it."""
    lines = []
    for item in drift:
        wrong = [f"{kind}: {path}" for kind in ("changed", "missing", "foreign") for path in item[kind]]
        name = f"release {_id(item['release'])}" + (" (current)" if item["current"] else "")
        lines.append(f"{name} " + (f"differs in {counted(len(wrong), 'file')}" if wrong else "is as it was published"))
        lines += [f"  {text}" for text in wrong[:_FILES_SHOWN]]
        if len(wrong) > _FILES_SHOWN:
            lines.append(f"  and {len(wrong) - _FILES_SHOWN} more")
    if any(not item["sound"] for item in drift):
        lines.append(
            "Publish with model_repository_repair: true from the same source, which sends again what is damaged, or "
            "go back to another release."
        )
    return "\n".join(lines)


def _id(release: Any) -> str:
    return short(str(release)) if release else "unknown"


def _models(models: Sequence[Mapping[str, Any]] | None) -> str:
    if models is None:
        return "unknown"
    found = [f"{item['name']} {', '.join(map(str, item['versions']))}".strip() for item in models]
    return "; ".join(found) or "none"


class _Dumper(yaml.SafeDumper):
    """Block style, with texts of several lines readable."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def yaml_documents(objects: Sequence[Any]) -> str:
    """The objects as one YAML text, a document each, in the order given."""
    return "".join(
        "---\n" + yaml.dump(_plain(item), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
        for item in objects
    )


def _plain(value: Any) -> Any:
    """Plain Python types: values out of Ansible are of types of its own, which YAML cannot represent."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return str(value)
