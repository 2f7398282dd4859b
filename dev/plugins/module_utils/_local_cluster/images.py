# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds container images from Debian root file systems, Python wheels and compiled programs.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

An image is an OCI layout in the cache. Each layer is a cache entry of its own, an uncompressed tar archive with
the same bytes whenever it is made of the same files, and images that share a layer share its file.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import Cache, content_key, run
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.programs import pip, unpack_wheel

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Wheels are picked for the C library of the image, not for the machine's: the newest version of glibc that each
# Debian suite has, and every older platform tag that wheels are published under.
GLIBC = {"bookworm": 36, "trixie": 41}
OLDEST_GLIBC = 17
LAYER = "layer.tar"


def wheel_options(suite: str, python: str) -> list[str]:
    """The options that make pip choose wheels for the Python of that suite."""
    machine = platform.machine()
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC[suite], OLDEST_GLIBC - 1, -1)]
    tags += [f"manylinux2014_{machine}", f"linux_{machine}"]
    options = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    return options + [word for tag in tags for word in ("--platform", tag)]


def sha256(path: Path) -> str:
    """Digest of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _neutral(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Make a tar entry reproducible: no owner, no time, readable by everyone."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    if entry.isdir() or entry.mode & 0o111:
        entry.mode = 0o755
    elif not entry.issym():
        entry.mode = 0o644
    return entry


def pack(tree: Path, archive: Path) -> None:
    """Write a folder as a tar archive: sorted, no owners, no times."""
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(tree.rglob("*")):
            tar.add(path, arcname=str(path.relative_to(tree)), recursive=False, filter=_neutral)


class Layers:
    """Makes layers in the cache."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def rootfs_path(self, suite: str, packages: Sequence[str]) -> Path:
        """The path of the layer of a Debian with those packages."""
        key = content_key("rootfs 1", suite, *sorted(packages), platform.machine())
        return self.cache.path("layers", f"rootfs-{suite}", key) / LAYER

    def rootfs(self, suite: str, packages: Sequence[str]) -> None:
        """Make a minimal Debian with those packages."""

        def build(folder: Path) -> None:
            command = ["mmdebstrap", "--quiet", "--variant=minbase", "--format=tar"]
            command += [f"--include={','.join(packages)}"] if packages else []
            # Documentation is of no use in an image and a fifth of its files.
            command += [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale")]
            with tempfile.TemporaryDirectory(prefix="mmdebstrap-", dir=folder) as scratch:
                # The installer's ordinary user works in there.
                for place in (folder, Path(scratch)):
                    place.chmod(0o755)
                run(
                    [*command, suite, folder / LAYER],
                    what=f"Making a Debian {suite} root file system",
                    env={**os.environ, "TMPDIR": scratch},
                )

        self._make(self.rootfs_path(suite, packages), build)

    def tree_path(self, name: str, recipe: Mapping[str, Any]) -> Path:
        """The path of a layer of files. Programs come from the cache, where the path holds their key."""
        key = content_key("tree 1", name, json.dumps(recipe, sort_keys=True), platform.machine())
        return self.cache.path("layers", name, key) / LAYER

    def tree(self, name: str, recipe: Mapping[str, Any]) -> None:
        """Make a layer of files: wheels unpacked, Python packages installed, programs copied, links made."""

        def build(folder: Path) -> None:
            with tempfile.TemporaryDirectory(prefix="files-", dir=folder) as scratch:
                tree = Path(scratch) / "tree"
                tree.mkdir()
                _fill(tree, recipe, Path(scratch) / "download")
                pack(tree, folder / LAYER)

        self._make(self.tree_path(name, recipe), build)

    def _make(self, path: Path, build: Callable[[Path], None]) -> None:
        name, key = path.parent.name.rsplit("-", 1)
        self.cache.make("layers", name, key, build)


def _inside(tree: Path, path: str) -> Path:
    """The location of an absolute path of the image in the tree; its folder is created."""
    place = tree / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _fill(tree: Path, recipe: Mapping[str, Any], scratch: Path) -> None:
    options = wheel_options(recipe.get("suite") or "bookworm", recipe.get("python") or "3.11")
    for wheel in recipe.get("wheels") or []:
        target = _inside(tree, wheel["path"])
        download = scratch / wheel["requirement"].replace("=", "-")
        pip(
            "download", "--no-deps", *options, "--dest", download, wheel["requirement"],
            what=f"Downloading {wheel['requirement']}",
        )  # fmt: skip
        unpack_wheel(next(download.glob("*.whl")), target)
        for part in wheel.get("remove") or []:
            _remove(target, part)
    if recipe.get("requirements"):
        site = _inside(tree, recipe["site_packages"])
        pip(
            "install", "--no-compile", "--no-deps", *options, "--target", site, *recipe["requirements"],
            what=f"Installing {', '.join(recipe['requirements'])} for an image",
        )  # fmt: skip
        shutil.rmtree(site / "bin", ignore_errors=True)
    for path, source in (recipe.get("copies") or {}).items():
        # A source without a leading slash is a file of this very layer.
        shutil.copy2(source if source.startswith("/") else tree / source, _inside(tree, path))
    for path in recipe.get("executables") or []:
        found = list(tree.glob(path.lstrip("/")))
        if not found:
            raise SupersonicError(f"Nothing matches {path} in the layer, so it cannot be made executable.")
        for program in found:
            program.chmod(0o755)
    for path, target in (recipe.get("links") or {}).items():
        _inside(tree, path).symlink_to(target)
    for path in recipe.get("directories") or []:
        _inside(tree, path).mkdir(exist_ok=True)


def _remove(folder: Path, pattern: str) -> None:
    found = list(folder.glob(pattern))
    if not found:
        raise SupersonicError(f"Nothing matches {pattern} in {folder.name}, so it cannot be left out of the image.")
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


class Image:
    """An image as an OCI layout in the cache."""

    def __init__(self, cache: Cache, reference: str, layers: Sequence[Path], config: Mapping[str, Any]) -> None:
        self.cache = cache
        self.reference = reference
        self.layers = list(layers)
        self.config = dict(config)

    @property
    def name(self) -> str:
        """The last part of the reference, without its tag."""
        return self.reference.rsplit("/", 1)[-1].split(":", 1)[0]

    @property
    def key(self) -> str:
        """The layers' folders hold their keys."""
        layers = [layer.parent.name for layer in self.layers]
        return content_key("image 1", self.reference, json.dumps(self.config, sort_keys=True), *layers)

    @property
    def folder(self) -> Path:
        """The path of the layout."""
        return self.cache.path("images", self.name, self.key)

    def build(self) -> bool:
        """Compose the image unless it is there; whether it was composed."""

        def build(folder: Path) -> None:
            blobs = folder / "blobs" / "sha256"
            blobs.mkdir(parents=True)

            def text(content: Mapping[str, Any], media_type: str) -> dict[str, Any]:
                data = json.dumps(content, sort_keys=True).encode()
                digest = hashlib.sha256(data).hexdigest()
                (blobs / digest).write_bytes(data)
                return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

            described = []
            for layer in self.layers:
                digest = sha256(layer)
                if not (blobs / digest).exists():
                    os.link(layer, blobs / digest)
                described.append(
                    {
                        "mediaType": "application/vnd.oci.image.layer.v1.tar",
                        "digest": f"sha256:{digest}",
                        "size": layer.stat().st_size,
                    }
                )
            system = {"architecture": ARCHITECTURES[platform.machine()], "os": "linux"}
            config = text(
                {
                    **system,
                    "config": self.config,
                    "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in described]},
                },
                "application/vnd.oci.image.config.v1+json",
            )
            manifest = text(
                {
                    "schemaVersion": 2,
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": config,
                    "layers": described,
                },
                "application/vnd.oci.image.manifest.v1+json",
            )
            entry = {**manifest, "platform": system, "annotations": {"io.containerd.image.name": self.reference}}
            (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
            (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))

        return self.cache.make("images", self.name, self.key, build)


class Recipe:
    """The layers of an image."""

    def __init__(
        self, cache: Cache, registry: str, name: str, recipe: Mapping[str, Any], programs: Mapping[str, str]
    ) -> None:
        self.name = name
        self.rootfs = recipe.get("rootfs")
        self.trees = [dict(tree) for tree in recipe.get("files") or []]
        self.layers = Layers(cache)
        for tree in self.trees:
            wanted = tree.pop("programs", {})
            if unknown := sorted(set(wanted.values()) - set(programs)):
                raise SupersonicError(f"The image {name} holds {', '.join(unknown)}, and no such program is built.")
            if wanted:
                tree["copies"] = {
                    **tree.get("copies", {}),
                    **{path: programs[binary] for path, binary in wanted.items()},
                }
        layers = [self.layers.rootfs_path(self.rootfs["suite"], self.rootfs["packages"])] if self.rootfs else []
        layers += [self.layers.tree_path(self._part(number), tree) for number, tree in enumerate(self.trees)]
        self.image = Image(cache, f"{registry}/{name}:{recipe['tag']}", layers, recipe.get("config") or {})

    def _part(self, number: int) -> str:
        return f"{self.name}-files{number}"

    def build(self) -> None:
        """Make the layers and compose the image."""
        if self.rootfs:
            self.layers.rootfs(self.rootfs["suite"], self.rootfs["packages"])
        for number, tree in enumerate(self.trees):
            self.layers.tree(self._part(number), tree)
        self.image.build()


def image_identity(folder: Path) -> tuple[str, str]:
    """Reference and digest of the image in a layout."""
    index = json.loads((folder / "index.json").read_text())
    entry = index["manifests"][0]
    return entry["annotations"]["io.containerd.image.name"], entry["digest"]


def stream_archive(folders: Sequence[Path], output: IO[bytes]) -> None:
    """Write several layouts as one OCI archive, each layer once."""
    index: dict[str, Any] = {"schemaVersion": 2, "manifests": []}
    with (
        tarfile.open(fileobj=output, mode="w|", format=tarfile.GNU_FORMAT) as tar,
        tempfile.TemporaryDirectory() as work,
    ):
        for folder in folders:
            index["manifests"] += json.loads((folder / "index.json").read_text())["manifests"]
        joined = Path(work) / "index.json"
        joined.write_text(json.dumps(index))
        tar.add(folders[0] / "oci-layout", arcname="oci-layout")
        tar.add(joined, arcname="index.json")
        sent = set()
        for folder in folders:
            for blob in sorted((folder / "blobs" / "sha256").iterdir()):
                if blob.name not in sent:
                    sent.add(blob.name)
                    tar.add(blob, arcname=f"blobs/sha256/{blob.name}", filter=_neutral)
