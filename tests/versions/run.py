# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests, contracts and services with the releases of ansible-core that need a newer Python than Debian 12 has.

    python tests/versions/run.py                         all versions
    python tests/versions/run.py 2.21 [ARGUMENT...]      one of them, with these arguments of pytest instead

Packages are those of constraints.txt, except ansible-core. Their numpy for these Pythons is 2; the python backend of
the tests' Triton keeps Python and numpy 1 of the environment that runs this. The interpreters are those that Maven
Central has for programs in Java: CPython as a whole, built for any Linux with the C library of Debian 12.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / ".collections"))

from ansible_collections.fastml.supersonic.tests.harness.environment import cache, own_environment
from ansible_collections.fastml.supersonic.tests.parts import DAILY, OUTPUT, TOGETHER, pytest, read_report

CACHE = cache() / "python"
ENVIRONMENTS = CLONE / ".local" / "versions"
REQUIREMENTS = ("requirements.txt", "requirements-local.txt", "requirements-openshift.txt", "requirements-dev.txt")
TESTS = ("-m", DAILY, "tests/unit", "tests/contracts", "tests/services")


@dataclass(frozen=True)
class Version:
    """core: of ansible-core; package: version of org.bytedeco:cpython, which begins with that of Python."""

    core: str
    package: str
    sha256: str

    @property
    def name(self) -> str:
        return self.core.rpartition(".")[0]

    @property
    def python(self) -> str:
        return self.package.partition("-")[0]


VERSIONS = (
    Version("2.20.10", "3.13.5-1.5.12", "50ad91aa0baa57f0235bb666b87d8bf2a44e215d28c250de1030502906af143b"),
    Version("2.21.5", "3.14.3-1.5.13", "eb5f1a6fe2dc498ac18927189a37f28a47b0ba06ae6bd85112eff023fe2eb46f"),
)


def interpreter(version: Version) -> Path:
    """The program, from the cache or fetched into it."""
    home = CACHE / version.python
    if not home.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            _unpack(_fetched(version, Path(scratch)), Path(scratch) / "tree").rename(home)
    return home / "bin" / f"python{version.python.rpartition('.')[0]}"


def _fetched(version: Version, folder: Path) -> Path:
    if not shutil.which("mvn"):
        print("Installing maven", flush=True)
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-qqy", "--no-install-recommends", "maven"], check=True)
    artifact = f"org.bytedeco:cpython:{version.package}:jar:linux-x86_64"
    command = ["mvn", "--batch-mode", "--quiet", "dependency:copy"]
    subprocess.run([*command, f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"], check=True, cwd=folder)
    (archive,) = folder.glob("*.jar")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != version.sha256:
        raise SystemExit(f"The SHA-256 of {artifact} is {found}, not {version.sha256}.")
    return archive


def _unpack(archive: Path, folder: Path) -> Path:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    home = folder / "org" / "bytedeco" / "cpython" / "linux-x86_64"
    for program in (home / "bin").glob("python3*"):
        program.chmod(0o755)
    return home


def environment(version: Version) -> Path:
    """The virtual environment of a version, made anew when its requirements have changed."""
    lines = (CLONE / "constraints.txt").read_text().splitlines()
    constraints = [line for line in lines if not line.startswith("ansible-core==")] + [f"ansible-core=={version.core}"]
    texts = [repr(version), *constraints, *((CLONE / name).read_text() for name in REQUIREMENTS)]
    wanted = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    place = ENVIRONMENTS / version.name
    stamp = place / "made"
    if not stamp.is_file() or stamp.read_text() != wanted:
        print(f"Installing ansible-core {version.core} for Python {version.python}", flush=True)
        subprocess.run([interpreter(version), "-m", "venv", "--clear", place], check=True)
        (place / "constraints.txt").write_text("\n".join(constraints) + "\n")
        pip = [place / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", REQUIREMENTS[-1], "-c", place / "constraints.txt"], check=True, cwd=CLONE)
        # Last, so that an installation that was ended begins again.
        stamp.write_text(wanted)
    return place


def numpy(place: Path) -> str:
    """The version of numpy there."""
    command = [place / "bin" / "python", "-c", "import numpy; print(numpy.__version__)"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test(version: Version, arguments: Sequence[str]) -> tuple[bool, str]:
    """Run the tests with a version; returns whether all of them passed, and a line of the table."""
    place = environment(version)
    began = time.monotonic()
    own = {
        "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg"),
        "LC_ALL": "C.UTF-8",
        "SUPERSONIC_TRITON_ENVIRONMENT": sys.prefix,
    }
    command = [str(place / "bin" / "python"), "-m", *pytest(f"versions-{version.name}", *TOGETHER, *arguments)]
    code = subprocess.run(command, cwd=CLONE, env=own_environment() | own, check=False).returncode
    counts, _skipped = read_report(report(version))
    numbers = " ".join(f"{counts.get(key, 0):>8}" for key in ("passed", "failed", "skipped"))
    seconds = time.monotonic() - began
    line = f"{version.core:<13} {version.python:<8} {numpy(place):<7} {numbers} {seconds:>8.0f}"
    return code == 0 and counts.get("passed", 0) > 0, line


def report(version: Version) -> Path:
    return OUTPUT / f"versions-{version.name}.xml"


def main() -> int:
    names = [version.name for version in VERSIONS]
    if sys.argv[1:] and sys.argv[1] not in names:
        print(f"{__doc__}\nThe versions are {', '.join(names)}.")
        return 2
    chosen = [version for version in VERSIONS if version.name in (sys.argv[1:2] or names)]
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for version in chosen:
        report(version).unlink(missing_ok=True)
    results = [test(version, sys.argv[2:] or TESTS) for version in chosen]
    # One report for all, with the name of the version before that of the test.
    merged = ElementTree.Element("testsuites")
    for version in chosen:
        if report(version).is_file():
            for suite in ElementTree.parse(report(version)).getroot().iter("testsuite"):
                for case in suite.iter("testcase"):
                    case.set("classname", f"{version.name}.{case.get('classname', '')}")
                merged.append(suite)
    ElementTree.ElementTree(merged).write(OUTPUT / "versions.xml")
    print(
        f"\n{'ansible-core':<13} {'Python':<8} {'numpy':<7} {'passed':>8} {'failed':>8} {'skipped':>8} {'seconds':>8}"
    )
    for _passed, line in results:
        print(line)
    return 0 if all(passed for passed, _line in results) else 1


if __name__ == "__main__":
    sys.exit(main())
