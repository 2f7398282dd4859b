# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is expected of the manifests of every inventory; as a script, keep what they are as expected from now on."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / ".collections"), str(HERE)]
import kept

from ansible_collections.fastml.supersonic.tests.harness.renders import INVENTORIES, OPTIONS, documents, render

EXPECTED = HERE / "expected"
# Hosts of the inventory of options that are kept whole.
WHOLE = ("defaults", "everything")


def texts(inventory: Path, folder: Path) -> dict[Path, str]:
    """What is kept of an inventory's manifests, which are in a folder, by file below EXPECTED.

    Most hosts of the inventory of options are compared with the first one of them that has the file too. Where nothing
    but names differs there is no text.
    """
    if inventory != OPTIONS:
        return {_file(inventory, file, "txt"): kept.whole(documents(file)) for file in sorted(folder.glob("*/*.yaml"))}
    found, first = {}, {}
    for host in yaml.safe_load((OPTIONS / "hosts.yml").read_text())["supersonic_instances"]["hosts"]:
        for file in sorted((folder / host).glob("*.yaml")):
            base = first.setdefault(file.name, host)
            manifests = documents(file)
            if host in (base, *WHOLE):
                found[_file(inventory, file, "txt")] = kept.whole(manifests)
                continue
            names = {f"sonic-{host}": f"sonic-{base}"}
            text = kept.difference(documents(folder / base / file.name), manifests, names)
            if text:
                found[_file(inventory, file, "diff")] = f"What differs from {base}/{file.name}:\n{text}"
    return found


def _file(inventory: Path, file: Path, suffix: str) -> Path:
    """As .txt, since linters want one document in each YAML file."""
    return EXPECTED / inventory.name / file.parent.name / f"{file.name}.{suffix}"


def main() -> None:
    """Write what is expected anew."""
    shutil.rmtree(EXPECTED, ignore_errors=True)
    for inventory in INVENTORIES:
        with tempfile.TemporaryDirectory() as folder:
            render(inventory, Path(folder))
            found = texts(inventory, Path(folder))
        for path, text in found.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        print(f"{inventory.name}: {len(found)} files, {sum(text.count(chr(10)) for text in found.values())} lines")


if __name__ == "__main__":
    sys.exit(main())
