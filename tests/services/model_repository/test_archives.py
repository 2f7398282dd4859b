# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives by the real tar, and on a real disk that is full."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._model_tree import scan
from ansible_collections.fastml.supersonic.tests.unit.model_repository.test_archive import release, rich, tar_of

__all__ = ["rich"]


@pytest.mark.parametrize("options", ["-cf", "-czf", "-cjf", "-cJf", "--format=pax -cf"])
def test_what_tar_itself_makes(rich: Path, tmp_path: Path, options: str) -> None:
    archive = tmp_path / "models.of.any.name"
    subprocess.run(["tar", "-C", rich, *options.split(), archive, "."], check=True)
    assert release(archive, scratch=tmp_path / "scratch") == scan([str(rich)]).release


def test_a_sparse_file(source: Path, tmp_path: Path) -> None:
    with (source / "beta/1/weights").open("wb") as file:
        file.write(b"begin")
        file.seek(3_000_000)
        file.write(b"end")
    subprocess.run(["tar", "-C", source, "-S", "-cf", tmp_path / "models.tar", "."], check=True)
    assert (tmp_path / "models.tar").stat().st_size < 1_000_000
    assert release(tmp_path / "models.tar", scratch=tmp_path / "scratch") == scan([str(source)]).release


def test_a_disk_that_is_full_before_the_end(tmp_path: Path, small_disk: Path) -> None:
    """The files together are small, but each of them takes a block."""
    archive = tmp_path / "models.tar"
    tar_of(*[(f"m/1/{number}", {}, b"x") for number in range(1000)])(archive)
    with pytest.raises(SupersonicError) as caught:
        release(archive, scratch=small_disk)
    member = str(caught.value).split()[3]
    assert str(caught.value) == f"The archive {archive}: {member} cannot be unpacked: the disk is full."
    assert member.startswith("m/1/")
