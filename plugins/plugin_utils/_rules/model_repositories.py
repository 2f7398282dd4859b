# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for triton_model_repositories.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.manifests import (
    CVMFS_MOUNT,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import (
    DNS_LABEL,
    DNS_NAME,
    LONGEST_NAME,
    Problem,
    Variables,
    folder_parts,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.triton_pod import volume_mounts

REPOSITORY_NEEDS = {"pvc": {"claim"}, "cvmfs": {"path"}, "nfs": {"server", "export"}, "image": {"path"}}
REPOSITORY_ALLOWS = {
    "pvc": {"claim", "path"},
    "cvmfs": {"claim", "host_path", "path"},
    "nfs": {"server", "export", "path"},
    "image": {"path"},
}


def check_repositories(variables: Variables) -> Iterator[Problem]:
    name = "triton_model_repositories"
    repositories = variables.get(name)
    if repositories is None:
        return
    if not repositories:
        yield Problem(name, "servers need at least one repository to load models from.", [])
    seen: set[str] = set()
    for index, item in enumerate(repositories):
        label, kind = item.get("name"), item.get("kind")
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
        for key in sorted({"claim", "host_path", "server", "export", "path"} - REPOSITORY_ALLOWS[kind]):
            if item.get(key):
                yield Problem(name, f"a repository of kind {kind} has no {key}.", item[key], f"{at}.{key}")
        claim = item.get("claim")
        if claim and not DNS_NAME.fullmatch(str(claim)):
            yield Problem(
                name, "it has to be a DNS name: lower-case letters, digits, '-' and '.'.", claim, f"{at}.claim"
            )
        if kind == "cvmfs" and bool(item.get("claim")) == bool(item.get("host_path")):
            yield Problem(
                name,
                "a repository of kind cvmfs needs either claim, where the CSI driver mounts CVMFS, or host_path, where "
                "the nodes do.",
                None,
                at,
            )
        for key in ("path", "host_path", "export"):
            if item.get(key):
                for message in _wrong_folder(kind, key, str(item[key])):
                    yield Problem(name, message, item[key], f"{at}.{key}")
    yield from _repositories_together(name, repositories)


def _wrong_folder(kind: str, key: str, folder: str) -> Iterator[str]:
    """The problem of a repository's folder by itself."""
    parts = folder_parts(folder)
    if ".." in parts:
        yield "it must not lead out with '..'. Name the folder itself, a folder inside the volume."
    elif key == "host_path":
        if not folder.startswith("/") or not parts:
            yield f"it has to be the folder where nodes have CVMFS, absolute; usually {CVMFS_MOUNT}."
        elif parts[0] == CVMFS_MOUNT.strip("/") and len(parts) > 1:
            yield f"the whole of {CVMFS_MOUNT} is mounted. Say host_path: {CVMFS_MOUNT} and put the rest into path."
    elif kind == "cvmfs" and (folder.startswith("/") or not parts):
        yield (
            f"it has to be a folder below {CVMFS_MOUNT}, without a leading /: the name of a CVMFS repository and what "
            "follows, such as cms.cern.ch/models."
        )
    elif kind == "pvc" and folder.startswith("/"):
        yield "it has to be a folder inside the volume, without a leading /."
    elif key == "export" and parts[-1:] == ("current",):
        yield (
            "a node follows this link once, when it mounts the export, and goes on with a release that may be gone. "
            "Name the folder around it, and say path: current."
        )
    elif (kind == "image" or key == "export") and not folder.startswith("/"):
        yield "it has to be absolute."
    elif kind == "nfs" and key == "path" and folder.startswith("/"):
        yield "it has to be a folder inside the export, without a leading /. What is mounted is called export."


def _repositories_together(name: str, repositories: Sequence[Variables]) -> Iterator[Problem]:
    """Repositories that are right one by one, but not in one server."""
    cvmfs: Variables | None = None
    for index, item in enumerate(repositories):
        if item.get("kind") != "cvmfs":
            continue
        cvmfs = cvmfs or item
        for key in ("claim", "host_path"):
            if item.get(key) and folder_parts(item[key]) != folder_parts(cvmfs.get(key)):
                yield Problem(
                    name,
                    f"a server has one {CVMFS_MOUNT}, and repository {cvmfs.get('name')} has it from "
                    f"{cvmfs.get('claim') or cvmfs.get('host_path')}. Use the same here; a claim of one CVMFS "
                    "repository alone is served with kind pvc.",
                    item[key],
                    f"[{index}].{key}",
                )
    for index, item in enumerate(repositories):
        if cvmfs and item.get("kind") == "pvc" and item.get("claim") and item["claim"] == cvmfs.get("claim"):
            yield Problem(
                name,
                f"repository {cvmfs.get('name')} has this claim with kind cvmfs. Use that kind here too: with pvc, "
                "servers would not see what the CSI driver mounts inside.",
                item["claim"],
                f"[{index}].claim",
            )
    folders = [_folder(item) for item in repositories]
    for index, folder in enumerate(folders):
        for position, around in enumerate(folders):
            other = repositories[position].get("name")
            if not around or position == index or folder[: len(around)] != around:
                continue
            if folder != around:
                message = f"it lies inside repository {other}, which would take it for a model."
            elif position < index:
                message = f"repository {other} is the same folder; servers would find every model twice."
            else:
                continue
            item = repositories[index]
            yield Problem(name, message, item.get("path") or item.get("export"), f"[{index}]")
            break
    # A mount hides what the image has at its place, and is a model in the eyes of a repository around it.
    for index, item in enumerate(repositories):
        if item.get("kind") != "image" or not item.get("path"):
            continue
        for mount in volume_mounts(repositories).values():
            if all(one == two for one, two in zip(folder_parts(item["path"]), folder_parts(mount), strict=False)):
                yield Problem(
                    name,
                    f"servers have something else mounted at {mount}. Put the image's models elsewhere.",
                    item["path"],
                    f"[{index}].path",
                )


def _folder(item: Variables) -> tuple[str, ...]:
    """The storage and folder of a repository, () if not known."""
    kind, path = item.get("kind"), str(item.get("path") or "")
    if kind == "nfs":
        path = f"{item['export']}/{path}" if item.get("export") else ""
    storage = {"pvc": item.get("claim"), "cvmfs": CVMFS_MOUNT, "nfs": item.get("server"), "image": "image"}.get(
        str(kind)
    )
    if not storage or (kind != "pvc" and not path):
        return ()
    return (str(kind), str(storage), *folder_parts(path))


CHECKS = (check_repositories,)
