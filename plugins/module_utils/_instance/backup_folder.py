# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Marks a backup folder with its instance, and checks the mark before a backup or restore.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Hosts of two inventories may be called the same, so that the name of a folder does not say it.
"""

from __future__ import annotations

import json
import os
import tempfile
import typing as t

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError

NOTE = "instance.json"
FORMAT = "supersonic-backup 1"


class Owner(t.NamedTuple):
    """An instance. cluster: the address of its API server, which is all that everybody may know of a cluster."""

    cluster: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"the instance {self.name} in namespace {self.namespace} of {self.cluster}"


def prepare(folder: str, owner: Owner, *, check: bool = False) -> dict[str, t.Any]:
    """Have a folder that is of this instance. Returns the module's result. Raises where it is another one's."""
    noted = _noted(folder)
    if noted is not None and noted != owner:
        raise SupersonicError(
            f"{folder} holds the backup of {noted}, and not of {owner}. Nothing was changed. Give another folder; or, "
            f"if it is the same instance at another address, remove the file {NOTE} in it."
        )
    if noted == owner:
        return _told(folder, owner, changed=False)
    if not check:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        _write(os.path.join(folder, NOTE), json.dumps({"format": FORMAT, **owner._asdict()}, indent=1) + "\n")
    return _told(folder, owner, changed=True)


def inspect(folder: str, owner: Owner, *, elsewhere: bool = False) -> dict[str, t.Any]:
    """Refuse a folder that is not of this instance, unless it is to be restored elsewhere."""
    if not os.path.isdir(folder):
        raise SupersonicError(f"There is no backup in {folder}: there is no such folder. Nothing was changed.")
    noted = _noted(folder)
    if noted != owner and not elsewhere:
        whose = f"holds the backup of {noted}" if noted else f"does not say whose backup it holds (no {NOTE})"
        raise SupersonicError(
            f"{folder} {whose}, but {owner} is to be restored. Nothing was changed. If that is meant, such as in a new "
            "cluster, say so: -e '{\"restore_elsewhere\": true}'."
        )
    return _told(folder, noted, changed=False)


def _told(folder: str, owner: Owner | None, *, changed: bool) -> dict[str, t.Any]:
    return {"changed": changed, "path": folder, "instance": owner._asdict() if owner else None}


def _noted(folder: str) -> Owner | None:
    path = os.path.join(folder, NOTE)
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        if found["format"] != FORMAT:
            raise SupersonicError(f"{path} is of the format '{found['format']}'; this version knows '{FORMAT}'.")
        return Owner(*(str(found[name]) for name in Owner._fields))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise SupersonicError(f"{path} does not say whose backup this is, since it is damaged.") from error


def _write(path: str, text: str) -> None:
    """At once whole, or not at all; for its owner alone."""
    descriptor, draft = tempfile.mkstemp(prefix=".instance-", dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
