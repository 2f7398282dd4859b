# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives by the real tar, on a real disk that is full, and how little memory they take."""

from __future__ import annotations

import gzip
import lzma
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import scan
from ansible_collections.fastml.supersonic.tests.unit.models.test_archive import (
    COLLECTIONS,
    pack,
    release,
    rich,
    tar_of,
)

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


# What the highest level of xz needs to be read, written quickly.
XZ = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 64 << 20}]

LIMITED = """
import sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.fastml.supersonic.plugins.module_utils._models.sources import opened
with opened([sys.argv[2]], sys.argv[3]) as tree:
    assert tree.size > 200 << 20, tree.size
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


@pytest.mark.parametrize("form", ["tar.gz", "tar.xz", "zip"])
def test_memory_stays_small(tmp_path: Path, form: str) -> None:
    source = tmp_path / "source"
    (source / "m/1").mkdir(parents=True)
    with (source / "m/1/weights").open("wb") as file:
        file.truncate(201 << 20)
    archive, scratch = tmp_path / f"models.{form}", tmp_path / "scratch"
    scratch.mkdir()
    if form == "zip":
        pack(source, archive)
    else:
        with (
            gzip.open(archive, "wb", 1) if form == "tar.gz" else lzma.open(archive, "wb", filters=XZ) as packer,
            tarfile.open(fileobj=packer, mode="w|") as tar,
        ):
            tar.add(source, ".")
    command = [sys.executable, "-c", LIMITED, str(COLLECTIONS), str(archive), str(scratch)]
    peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert peak < 150_000
    assert list(scratch.iterdir()) == []
