# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Triton server on loopback, out of the wheel nvidia-pytriton."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment
from ansible_collections.fastml.supersonic.tests.harness.processes import (
    Process,
    free_ports,
    http_status,
)

# Carries Triton 2.51.0, the version that the local cluster serves with.
WHEEL = "nvidia-pytriton==0.7.0"
# The environment whose Python and libraries the python backend runs: that of these tests, unless they run in one that
# Triton 2.51 has no Python for, and another is named.
PYTHON = Path(os.environ.get("SUPERSONIC_TRITON_ENVIRONMENT") or sys.prefix)
STUB = max(PYTHON.glob("lib/python3.*")).name.removeprefix("python")
CACHE = Path(os.environ.get("SUPERSONIC_TEST_CACHE", "/var/cache/fastml-supersonic/integration"))
STARTS = 4
# A model's process did not get the processor for the ten seconds after which Triton's python backend gives up a lock,
# and the server with it.
AGAIN = "boost::interprocess::lock_exception"


def server_directory() -> Path:
    """The unpacked server, from the cache or fetched into it: once per version, also when tests run side by side."""
    try:
        ctypes.CDLL(f"libpython{STUB}.so.1.0")
    except OSError as exc:
        raise RuntimeError(f"Triton's python backend needs the Debian package libpython{STUB}: {exc}") from exc
    home = CACHE / f"{WHEEL.replace('==', '-')}-python{STUB}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                _unpack(Path(scratch)).rename(home)
    return home / "pytriton" / "tritonserver"


def _unpack(scratch: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", scratch, WHEEL],
        check=True,
    )
    (wheel,) = scratch.glob("*.whl")
    tree = scratch / "tree"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tree)
    server = tree / "pytriton" / "tritonserver"
    stub = server / "backends" / "python" / "triton_python_backend_stub"
    shutil.copyfile(server / "python_backend_stubs" / STUB / "triton_python_backend_stub", stub)
    for program in (server / "bin" / "tritonserver", stub):
        program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return tree


class Triton:
    """A running server: address of each interface, and the process."""

    def __init__(
        self,
        models: Path,
        scratch: Path,
        options: Sequence[str] = (),
        *,
        wait: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._models = models
        self._options = options
        self._variables = environment or {}
        self._server = server_directory()
        self._scratch = scratch
        self._starts = 0
        scratch.mkdir(parents=True, exist_ok=True)
        self._start()
        if wait:
            self.wait_until_live()

    def _start(self) -> None:
        self.http_port, self.grpc_port, self.metrics_port = free_ports(3)
        log = self._scratch / f"triton-{self._starts}.log"
        self.process = Process(self._command(), log, self._environment())
        self._starts += 1

    def _command(self) -> list[str]:
        return [
            str(self._server / "bin" / "tritonserver"),
            f"--model-repository={self._models}",
            f"--backend-directory={self._server / 'backends'}",
            f"--cache-directory={self._server / 'caches'}",
            "--http-address=127.0.0.1",
            "--grpc-address=127.0.0.1",
            "--metrics-address=127.0.0.1",
            f"--http-port={self.http_port}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-port={self.metrics_port}",
            *self._options,
        ]

    def _environment(self) -> dict[str, str]:
        # The python backend takes the python3 that it finds first, and that environment's libraries.
        path = f"{PYTHON / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return own_environment(**{**self._variables, "PATH": path})

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self.http_port}"

    def wait_until_live(self, seconds: float = 60.0) -> None:
        """The addresses are others than before where the server had to be started again."""
        while True:
            try:
                self.process.wait_until(lambda: http_status(f"http://{self.http}/v2/health/live") == 200, seconds)
                return
            except RuntimeError:
                if self._starts == STARTS or AGAIN not in self.process.tail():
                    raise
                self._start()

    def stop(self) -> None:
        self.process.stop()
