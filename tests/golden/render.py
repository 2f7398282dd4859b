# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render every inventory by the real playbook; as a script, keep the result as what is expected from now on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
CLONE = HERE.parents[1]
EXPECTED = HERE / "expected"
# The inventories of sites, and one of instances that together use every option.
INVENTORIES = [*sorted(path.parent for path in (CLONE / "inventories").glob("*/hosts.yml")), HERE / "options"]
# What sites keep encrypted, and so is not there.
SECRETS = yaml.safe_load((CLONE / "inventories/shared/vault-example.yml").read_text())


def stand_in(folder: Path) -> Path:
    """What inventories expect to find on the machine, small and the same everywhere."""
    (folder / "kubeconfig").write_text("")
    source = CLONE / "roles/local_cluster/files/models/sources/identity"
    model = folder / "models/identity"
    (model / "1").mkdir(parents=True)
    shutil.copyfile(source / "config.pbtxt", model / "config.pbtxt")
    shutil.copyfile(source / "model.py", model / "1/model.py")
    return folder


def stand_ins(folder: Path) -> dict[str, str]:
    """Variables of inventories that are set elsewhere."""
    return {"local_directory": str(stand_in(folder)), **{name: f"stands-in-for-{name}" for name in SECRETS}}


def render(inventory: Path, destination: Path) -> None:
    """Manifests of all instances of an inventory, a folder each."""
    with tempfile.TemporaryDirectory() as scratch:
        extra = {"render_directory": str(destination), **stand_ins(Path(scratch))}
        done = subprocess.run(
            ["ansible-playbook", "playbooks/render.yml", "-i", str(inventory), "-e", json.dumps(extra)],
            cwd=CLONE,
            env={**os.environ, "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode or not any(destination.glob("*/*.yaml")):
        raise SystemExit(f"{inventory} cannot be rendered:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")


def render_in_one_process(inventory: Path, destination: Path) -> None:
    """The same, in a tenth of the time: see tests/harness/one_process.py, which takes roles that are not included."""
    # The second play is of clusters, whose components are only rendered when that is asked for.
    play, _clusters = yaml.safe_load((CLONE / "playbooks/render.yml").read_text())
    (include,) = (task for task in play["tasks"] if "loop" in task)
    place = play["tasks"].index(include)
    # The loop is of roles for everybody, and of components that instances list.
    always, listed = (re.findall(r"'(\w+)'", text) for text in (include.pop("loop"), play["vars"]["render_components"]))
    assert include.pop("loop_control") == {"loop_var": "role"}
    role = {**include.pop("ansible.builtin.include_role"), "rolespec_validate": False}
    assert role["name"] == "fastml.supersonic.{{ role }}"
    play["tasks"][place : place + 1] = [
        {
            **include,
            "ansible.builtin.import_role": {**role, "name": f"fastml.supersonic.{name}"},
            "when": name in always or f"'{name}' in render_components",
        }
        for name in [*always, *listed]
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        play["vars"] |= {"render_directory": str(destination), **stand_ins(folder)}
        (folder / "render.yml").write_text(yaml.safe_dump([play]))
        done = subprocess.run(
            [
                sys.executable,
                str(CLONE / "tests/harness/one_process.py"),
                "render",
                str(folder / "render.yml"),
                str(inventory),
            ],
            cwd=CLONE,
            env={**os.environ, "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{inventory} cannot be rendered:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def expected(inventory: str, file: Path) -> Path:
    """Where the expected text of a file is kept; as .txt, since linters want one document in each YAML file."""
    return EXPECTED / inventory / file.with_suffix(".yaml.txt")


def main() -> None:
    """Write the expected manifests anew."""
    shutil.rmtree(EXPECTED, ignore_errors=True)
    for inventory in INVENTORIES:
        with tempfile.TemporaryDirectory() as folder:
            render(inventory, Path(folder))
            files = sorted(Path(folder).glob("*/*.yaml"))
            for file in files:
                target = expected(inventory.name, file.relative_to(folder))
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        print(f"{inventory.name}: {len(files)} files")


if __name__ == "__main__":
    sys.exit(main())
