# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of rendered manifests: what goes, and what never does."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.modules import run_module


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text(f"kind: {name}\n")


def run(folder: Path, *names: str, check: bool = False, **options: Any) -> dict[str, Any]:
    return run_module("rendered_folder", {"path": str(folder), "files": list(names), **options}, check=check)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_not_rendered_any_more_goes(tmp_path: Path) -> None:
    write(tmp_path, "triton.yaml", "prometheus.yaml", "own.yaml")
    (tmp_path / "README.md").write_text("ours\n")
    first = run(tmp_path, "triton.yaml", "prometheus.yaml")
    assert (first["removed"], first["written"], first["others"]) == ([], [".rendered"], ["own.yaml"])
    lines = (tmp_path / ".rendered").read_text().splitlines()
    sums = [line.split("  ") for line in lines if not line.startswith("#")]
    assert sums == [[sha256((tmp_path / name).read_bytes()).hexdigest(), name] for _sum, name in sums]
    assert [name for _sum, name in sums] == ["prometheus.yaml", "triton.yaml"]
    assert run(tmp_path, "prometheus.yaml", "triton.yaml")["changed"] is False
    before = names(tmp_path)
    predicted = run(tmp_path, "triton.yaml", check=True)
    assert names(tmp_path) == before
    second = run(tmp_path, "triton.yaml")
    assert (predicted["removed"], predicted["changed"]) == (second["removed"], True) == (["prometheus.yaml"], True)
    assert names(tmp_path) == [".rendered", "README.md", "own.yaml", "triton.yaml"]
    assert run(tmp_path, "triton.yaml")["changed"] is False


@pytest.mark.parametrize("how", ["changed", "link", "folder"])
def test_what_was_changed_since_stays_and_so_does_all_else(tmp_path: Path, how: str) -> None:
    write(tmp_path, "envoy.yaml", "grafana.yaml", "tempo.yaml")
    run(tmp_path, "envoy.yaml", "grafana.yaml", "tempo.yaml")
    place = tmp_path / "tempo.yaml"
    content = place.read_text()
    place.unlink()
    if how == "changed":
        place.write_text(f"{content}# ours\n")
    elif how == "link":
        (tmp_path / "elsewhere").write_text(content)
        place.symlink_to("elsewhere")
    else:
        place.mkdir()
    before = names(tmp_path)
    refused = run(tmp_path, "envoy.yaml")
    assert refused["failed"]
    assert f"{place} belongs to a part that the inventory does not have any more" in refused["msg"]
    assert "Nothing was removed" in refused["msg"]
    assert names(tmp_path) == before


def test_what_somebody_has_removed_is_no_trouble(tmp_path: Path) -> None:
    write(tmp_path, "envoy.yaml", "tempo.yaml")
    run(tmp_path, "envoy.yaml", "tempo.yaml")
    (tmp_path / "tempo.yaml").unlink()
    assert run(tmp_path, "envoy.yaml")["removed"] == []


@pytest.mark.parametrize("line", ["0" * 64 + "  ../outside.yaml", "0" * 64 + "  /etc/passwd", "anything"])
def test_an_index_that_was_not_written_here_is_refused(tmp_path: Path, line: str) -> None:
    write(tmp_path, "envoy.yaml")
    (tmp_path / ".rendered").write_text(f"{line}\n")
    refused = run(tmp_path, "envoy.yaml")
    assert refused["failed"]
    assert "which rendering does not write" in refused["msg"]


def test_a_name_that_is_no_file_of_the_folder_is_refused(tmp_path: Path) -> None:
    assert "'../envoy.yaml' is no name of a file" in run(tmp_path, "../envoy.yaml")["msg"]


def test_a_kustomization_is_written_and_goes_again(tmp_path: Path) -> None:
    write(tmp_path, "triton.yaml", "envoy.yaml")
    assert run(tmp_path, "triton.yaml", "envoy.yaml", kustomization=True)["written"] == [
        "kustomization.yaml",
        ".rendered",
    ]
    found = yaml.safe_load((tmp_path / "kustomization.yaml").read_text())
    assert found["resources"] == ["envoy.yaml", "triton.yaml"]
    assert run(tmp_path, "triton.yaml", "envoy.yaml", kustomization=True)["changed"] is False
    assert run(tmp_path, "triton.yaml", "envoy.yaml")["removed"] == ["kustomization.yaml"]
    (tmp_path / "kustomization.yaml").write_text("resources: [own]\n")
    refused = run(tmp_path, "triton.yaml", "envoy.yaml", kustomization=True)
    assert "was not rendered" in refused["msg"]
    assert (tmp_path / "kustomization.yaml").read_text() == "resources: [own]\n"
