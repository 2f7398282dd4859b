# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection as users have it: built and installed, of this clone or of an earlier commit."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from ansible_collections.fastml.supersonic.tests.harness.environment import without_ansible
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE

# What a collection consists of once it is installed somewhere else; nothing of it may need anything more.
INSTALLED = {"meta", "plugins", "roles", "playbooks", "MANIFEST.json", "FILES.json"}
# Where nothing has been released yet: before there were a waiting Envoy, traces and metrics of accelerators, so that
# whoever comes from there has other servers and other Envoys.
EARLIER = "15a6fbc51b10cd2216d681e790c36ff94c556489"


def packages(*folders: str) -> list[Path]:
    """Packages of private Python files in these folders. One without a file is none: Python leaves what it has compiled
    where a package was."""
    return [path for folder in folders for path in sorted((CLONE / folder).glob("_*/")) if list(path.glob("*.py"))]


def install(folder: Path, source: Path = CLONE) -> Path:
    """The collection built, installed and cut down to what a collection consists of; returns where it is searched."""
    galaxy = [sys.executable, "-m", "ansible", "galaxy", "collection"]
    place = folder / "collections"
    subprocess.run([*galaxy, "build", str(source), "--output-path", str(folder)], check=True, capture_output=True)
    (archive,) = folder.glob("*.tar.gz")
    # Of no configuration: with the clone's, the collection is installed already and nothing would be done.
    environment = without_ansible()
    command = [*galaxy, "install", str(archive), "-p", str(place)]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, env=environment)
    for path in (place / "ansible_collections" / "fastml" / "supersonic").iterdir():
        if path.name not in INSTALLED:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return place


def previous() -> str:
    """The version before this one: $SUPERSONIC_PREVIOUS, the last tag before this commit, or an earlier commit."""
    given = os.environ.get("SUPERSONIC_PREVIOUS")
    if given:
        return given
    tag = _git("describe", "--tags", "--abbrev=0", "HEAD^")
    return tag.decode().strip() if tag is not None else EARLIER


def source(version: str, folder: Path) -> Path | None:
    """The tree of an earlier version; None where the clone does not have it, as a shallow one."""
    archive = _git("archive", "--format=tar", version)
    if archive is None:
        return None
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder)
    return folder


def _git(*arguments: str) -> bytes | None:
    done = subprocess.run(["git", "-C", str(CLONE), *arguments], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None
