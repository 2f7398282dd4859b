# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Manifests of the clone's inventories, rendered once in a run of pytest for all tests that read them.

$SUPERSONIC_TEST_RENDERS is a folder where they are kept for several runs of pytest of the same clone; tests/parts.py
empties it when it begins.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import COMPONENTS
from ansible_collections.fastml.supersonic.tests.harness import playbooks
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE

LOCAL = CLONE / "inventories/local"
# Instances that together use every option.
OPTIONS = CLONE / "tests/golden/options"
# The inventories of sites, and that one.
INVENTORIES = [*sorted(path.parent for path in (CLONE / "inventories").glob("*/hosts.yml")), OPTIONS]
# What sites keep encrypted, and so is not there.
SECRETS = yaml.safe_load((CLONE / "inventories/shared/vault-example.yml").read_text())
# The fast one gives the same.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def stand_in(folder: Path) -> Path:
    """What inventories expect to find on the machine, small and the same everywhere."""
    (folder / "kubeconfig").write_text("")
    source = CLONE / "dev/roles/local_cluster/files/models/sources/identity"
    model = folder / "models/identity"
    (model / "1").mkdir(parents=True)
    shutil.copyfile(source / "config.pbtxt", model / "config.pbtxt")
    shutil.copyfile(source / "model.py", model / "1/model.py")
    return folder


def stand_ins(folder: Path) -> dict[str, str]:
    """Variables of inventories that are set elsewhere."""
    return {"local_directory": str(stand_in(folder)), **{name: f"stands-in-for-{name}" for name in SECRETS}}


def render(inventory: Path, destination: Path) -> None:
    """Manifests of all instances of an inventory, a folder each, by the playbook as users run it."""
    with tempfile.TemporaryDirectory() as scratch:
        extra = {"render_directory": str(destination), **stand_ins(Path(scratch))}
        environment = {"ANSIBLE_CONFIG": str(CLONE / "ansible.cfg")}
        done = playbooks.run_playbook("playbooks/render.yml", inventory, extra=extra, environment=environment)
    if done.code or not any(destination.glob("*/*.yaml")):
        raise SystemExit(f"{inventory} cannot be rendered:\n{done.output[-6000:]}")


def render_in_one_process(inventory: Path, destination: Path) -> None:
    """The same, in a tenth of the time: see one_process.py, which takes roles that are not included."""
    # The second play is of clusters, whose components are only rendered when that is asked for.
    play, _clusters = yaml.safe_load((CLONE / "playbooks/render.yml").read_text())
    (include,) = (task for task in play["tasks"] if "loop" in task)
    place = play["tasks"].index(include)
    roles = "query('fastml.supersonic.instance_roles')"
    assert roles in include.pop("loop")
    assert include.pop("loop_control") == {"loop_var": "role"}
    role = {**include.pop("ansible.builtin.include_role"), "rolespec_validate": False}
    assert role["name"] == "fastml.supersonic.{{ role }}"
    play["tasks"][place : place + 1] = [
        {
            **include,
            "ansible.builtin.import_role": {**role, "name": f"fastml.supersonic.{component.role}"},
            "when": True if not component.optional else f"'{component.role}' in {roles}",
        }
        for component in COMPONENTS
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        play["vars"] |= {"render_directory": str(destination), **stand_ins(folder)}
        (folder / "render.yml").write_text(json.dumps([play]))
        playbooks.render_in_one_process(folder / "render.yml", inventory)


def rendered(
    inventory: Path,
    factory: pytest.TempPathFactory,
    write: Callable[[Path, Path], None] = render_in_one_process,
) -> Path:
    """The folder of an inventory's manifests, to be read only: written by the first test, or worker, that asks."""
    base = factory.getbasetemp()
    # Workers have folders of their own in that of the run.
    own = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    shared = Path(os.environ.get("SUPERSONIC_TEST_RENDERS") or own)
    folder = shared / f"{write.__name__}-{inventory.name}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=shared) as scratch:
                write(inventory, Path(scratch) / "manifests")
                (Path(scratch) / "manifests").rename(folder)
    return folder


def documents(file: Path) -> list[dict[str, Any]]:
    """The manifests of a file."""
    return list(yaml.load_all(file.read_text(), Loader=LOADER))


def of_host(host: str, factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The manifests of a host of the inventory of all options, by role."""
    files = sorted((rendered(OPTIONS, factory) / host).glob("*.yaml"))
    assert files, host
    return {file.stem: documents(file) for file in files}
