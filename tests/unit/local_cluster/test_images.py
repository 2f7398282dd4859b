# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Composing images: the same bytes from the same files, layouts that hold together, clear refusals."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import Cache
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.images import (
    Recipe,
    image_identity,
    pack,
    stream_archive,
    wheel_options,
)


def recipe(tmp_path: Path, name: str = "tool", **changes: Any) -> Recipe:
    """An image with one program, which is a file of the test."""
    program = tmp_path / "built" / "tool"
    program.parent.mkdir(exist_ok=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    wanted = {"tag": "1.0", "files": [{"programs": {"/usr/bin/tool": "tool"}}], "config": {"User": "1000"}}
    return Recipe(Cache(tmp_path / "cache"), "example.org/x", name, {**wanted, **changes}, {"tool": str(program)})


def test_pack_gives_the_same_bytes_whoever_owns_the_files_and_whenever_they_were_written(tmp_path: Path) -> None:
    digests = set()
    for number, mask in enumerate((0o600, 0o644)):
        tree = tmp_path / str(number)
        for name in ("b", "a") if number else ("a", "b"):
            (tree / "sub").mkdir(parents=True, exist_ok=True)
            (tree / "sub" / name).write_text(name)
            (tree / "sub" / name).chmod(mask)
            os.utime(tree / "sub" / name, (number, number))
        pack(tree, tmp_path / f"{number}.tar")
        digests.add(hashlib.sha256((tmp_path / f"{number}.tar").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_layout_holds_together(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    made.build()
    folder = made.image.folder
    reference, digest = image_identity(folder)
    assert reference == "example.org/x/tool:1.0"
    blobs = {path.name: path.read_bytes() for path in (folder / "blobs" / "sha256").iterdir()}
    assert all(hashlib.sha256(data).hexdigest() == name for name, data in blobs.items())
    manifest = json.loads(blobs[digest.removeprefix("sha256:")])
    config = json.loads(blobs[manifest["config"]["digest"].removeprefix("sha256:")])
    assert config["config"] == {"User": "1000"}
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    layer = blobs[manifest["layers"][0]["digest"].removeprefix("sha256:")]
    assert len(layer) == manifest["layers"][0]["size"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        entry = tar.getmember("usr/bin/tool")
        assert (entry.mode, entry.uid, entry.mtime) == (0o755, 0, 0)
        assert "root" not in {member.uname for member in tar}


def test_an_image_is_composed_once_and_anew_when_its_recipe_changes(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    assert not made.image.folder.exists()
    made.build()
    assert made.image.folder.is_dir()
    assert recipe(tmp_path).image.folder == made.image.folder
    assert recipe(tmp_path, config={"User": "1001"}).image.folder != made.image.folder
    assert recipe(tmp_path, tag="1.1").image.folder != made.image.folder
    assert recipe(tmp_path, files=[{"programs": {"/bin/tool": "tool"}}]).image.folder != made.image.folder


def test_archive_of_several_images_holds_each_layer_once(tmp_path: Path) -> None:
    made = [recipe(tmp_path, tag=tag) for tag in ("1", "2")]
    for one in made:
        one.build()
    output = io.BytesIO()
    stream_archive([one.image.folder for one in made], output)
    output.seek(0)
    with tarfile.open(fileobj=output) as tar:
        names = tar.getnames()
        index = tar.extractfile("index.json")
        assert index is not None
        manifests = json.load(index)["manifests"]
    assert len(names) == len(set(names))
    assert [entry["annotations"]["io.containerd.image.name"] for entry in manifests] == [
        "example.org/x/tool:1",
        "example.org/x/tool:2",
    ]
    assert {f"blobs/sha256/{entry['digest'].removeprefix('sha256:')}" for entry in manifests} <= set(names)


def test_links_copies_and_executables(tmp_path: Path) -> None:
    files = [
        {
            "programs": {"/opt/real": "tool"},
            "copies": {"/opt/copy": "opt/real"},
            "links": {"/usr/bin/tool": "/opt/real"},
            "directories": ["/data"],
            "executables": ["/opt/c*"],
        }
    ]
    made = recipe(tmp_path, files=[{**files[0], "copies": {}, "executables": []}])
    made.build()
    with tarfile.open(made.image.layers[0]) as tar:
        assert tar.getmember("usr/bin/tool").linkname == "/opt/real"
        assert tar.getmember("data").isdir()


def test_unknown_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(SupersonicError, match=r"The image tool holds nothing-built, and no such program is built\."):
        recipe(tmp_path, files=[{"programs": {"/bin/x": "nothing-built"}}])


def test_pattern_without_a_file_is_named(tmp_path: Path) -> None:
    made = recipe(tmp_path, files=[{"executables": ["/opt/none*"]}])
    with pytest.raises(SupersonicError, match=r"Nothing matches /opt/none\* in the layer"):
        made.build()
    assert not made.image.folder.exists()


@pytest.mark.parametrize(
    ("suite", "newest", "too_new"),
    [
        ("bookworm", "manylinux_2_36_", "manylinux_2_38_"),
        ("trixie", "manylinux_2_41_", "manylinux_2_42_"),
    ],
)
def test_wheels_fit_the_c_library_of_the_image(suite: str, newest: str, too_new: str) -> None:
    options = " ".join(wheel_options(suite, "3.11"))
    assert newest in options
    assert "manylinux_2_17_" in options
    assert too_new not in options
