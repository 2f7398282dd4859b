# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A release in a folder that a server of this machine has to load before it is served.

The module is killed right before and right after the switch, and at random moments as often as a thirtieth of
SUPERSONIC_KILLS says (not at all).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import scan
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import release_id
from ansible_collections.fastml.supersonic.tests.harness.chance import dice
from ansible_collections.fastml.supersonic.tests.harness.environment import for_python
from ansible_collections.fastml.supersonic.tests.harness.models import golden, write_golden, write_model
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.triton import PYTHON, server_directory

KILLS = int(os.environ.get("SUPERSONIC_KILLS", "0")) // 30
# Says how far it has got with its switch, and goes no further than it is asked to.
MODULE = """
import json, sys, time
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import Store
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module

def stop(where):
    print(where, file=sys.__stdout__, flush=True)
    if where == sys.argv[2]:
        time.sleep(600)

switch = Store._switch

def switched(self, *arguments):
    stop("before the switch")
    older = switch(self, *arguments)
    stop("after it")
    return older

Store._switch = switched
run_module("model_repository", json.loads(sys.argv[1]))
"""


class Shop:
    """A source, and a store that serves its first release."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source"
        self.store = folder / "store"
        self.write("value = value * 1")
        self.first = self.publish(test_load=None)["release"]

    def write(self, execute: str, **options: Any) -> None:
        """Another model of the same name."""
        for path in sorted(self.source.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        write_model(self.source, "echo", execute=execute, **options)
        write_golden(self.source, golden("echo", [1.0, 2.5]))

    def publish(self, **options: Any) -> dict[str, Any]:
        return run_module("model_repository", self.options(**options))

    def options(self, **options: Any) -> dict[str, Any]:
        server = server_directory()
        command = [
            str(server / "bin" / "tritonserver"),
            f"--backend-directory={server / 'backends'}",
            f"--cache-directory={server / 'caches'}",
        ]
        store = {"type": "path", "path": str(self.store)}
        wanted = {"source": [str(self.source)], "store": store, "test_load": {"command": command}, **options}
        return {name: value for name, value in wanted.items() if value is not None}

    @property
    def current(self) -> str:
        return os.readlink(self.store / "current").removeprefix("releases/")

    def start(self, stops: str = "") -> subprocess.Popen[str]:
        """Publish in a process of its own; stops: the place that it does not go on from."""
        environment = for_python()
        command = [sys.executable, "-c", MODULE, json.dumps(self.options()), stops]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def served(self) -> str:
        """The release that servers would read now: whole, and nothing else in it."""
        current = self.current
        assert release_id(scan([str(self.store / "current")]).manifest) == current
        return current

    @property
    def releases(self) -> set[str]:
        return set(os.listdir(self.store / "releases"))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    # The python backend takes the python3 that it finds first, and that environment's libraries.
    monkeypatch.setenv("PATH", f"{PYTHON / 'bin'}{os.pathsep}{os.environ['PATH']}")
    yield Shop(tmp_path)
    assert not servers(tmp_path), "a server on trial was left"


def servers(folder: Path) -> list[str]:
    """Command lines of processes that serve out of this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def test_a_sound_release_is_served(shop: Shop) -> None:
    shop.write("value = value + 0")
    result = shop.publish()
    assert not result["failed"], result
    assert shop.current == result["release"] != shop.first
    assert result["test_load"]["models"] == ["echo"]
    assert result["test_load"]["golden_requests"] == 1
    # What the server has written into the release is not published.
    assert run_module("model_repository", {"state": "verified", "store": {"type": "path", "path": str(shop.store)}})[
        "sound"
    ]
    again = shop.publish()
    assert not again["changed"]
    assert again["test_load"] is None


@pytest.mark.parametrize(
    ("execute", "options", "said"),
    [
        ("pass", {"initialize": "raise ValueError('weights are missing')"}, "weights are missing"),
        ("value = value + numpy.float32(value == 2.5)", {}, "echo, golden request values: output OUTPUT0[1] is 3.5"),
    ],
    ids=["does-not-load", "wrong-number"],
)
def test_a_release_that_is_not_sound(shop: Shop, execute: str, options: dict[str, Any], said: str) -> None:
    shop.write(execute, **options)
    result = shop.publish()
    assert result["failed"]
    assert "did not pass its test load; the store serves what it served before." in result["msg"]
    assert said in result["msg"]
    assert shop.current == shop.first
    assert shop.releases == {shop.first}
    assert not list((shop.store / "staging").iterdir())


def test_a_model_that_writes_into_its_own_folder(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its configuration has the same content in both releases, so that they share the file."""
    monkeypatch.setenv("API_TOKEN", "secret")
    served = (shop.store / "current/echo/config.pbtxt").read_text()
    write = (
        "import os; open(args['model_repository'] + '/config.pbtxt', 'a').write('# ' + os.environ.get('API_TOKEN', ''))"
    )
    shop.write(
        "value = value + 0", initialize=f"{write}; raise ValueError('written ' + str('API_TOKEN' in os.environ))"
    )
    result = shop.publish()
    assert "written False" in result["msg"], result
    assert (shop.store / "current/echo/config.pbtxt").read_text() == served
    assert shop.served() == shop.first
    assert not list((shop.store / "staging").iterdir())


def test_a_command_that_is_no_server(shop: Shop) -> None:
    shop.write("value = value + 0")
    missing = shop.publish(test_load={"command": ["/nowhere/tritonserver"]})
    assert "test_load.command is '/nowhere/tritonserver', which is no program of this machine." in missing["msg"]
    ended = shop.publish(test_load={"command": [sys.executable, "-c", "print('out of memory'); raise SystemExit(3)"]})
    assert "The server on trial ended with exit code 3. Its last words: out of memory" in ended["msg"]
    silent = shop.publish(test_load={"command": [sys.executable, "-c", "import time; time.sleep(60)"], "timeout": 1})
    assert "has not loaded everything within 1 s (test_load.timeout). It said nothing." in silent["msg"]
    assert shop.current == shop.first
    assert shop.releases == {shop.first}


def test_killed_while_a_server_tries_it(shop: Shop, tmp_path: Path) -> None:
    shop.write("value = value + 0", initialize="time.sleep(120)")
    with shop.start() as module:
        until(lambda: servers(tmp_path / "store"))
        module.kill()
    # It goes with the module, and so do the processes of its models.
    until(lambda: not servers(tmp_path))
    assert shop.current == shop.first
    # What was on trial is no release to go back to.
    store = {"type": "path", "path": str(shop.store)}
    assert run_module("model_repository_info", {"store": store})["previous"] is None
    shop.write("value = value + 0")
    assert shop.publish()["changed"]
    assert shop.current != shop.first


def test_killed_around_the_switch_and_at_random_moments(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = dice(__name__)
    shop.write("value = value + 0", initialize="time.sleep(1)")
    started = time.monotonic()
    assert shop.publish()["test_load"]
    duration = time.monotonic() - started
    hits: Counter[str] = Counter()
    for number, point in enumerate(["before the switch", "after it", *[""] * KILLS]):
        before = shop.served()
        shop.write(f"value = value + 0 * {number}", initialize="time.sleep(1)")
        release = scan([str(shop.source)]).release
        with shop.start(point) as module:
            if point:
                assert module.stdout
                while module.stdout.readline() != f"{point}\n":
                    assert module.poll() is None
            else:
                until(lambda: [line for line in servers(tmp_path) if "--model-repository=" in line])
                # From its first moment to a little after the switch.
                time.sleep(draw.uniform(0, 1.2 * duration))
            module.kill()
        until(lambda: not servers(tmp_path))
        now = shop.served()
        assert now in (before, release)
        where = "before the switch" if now == before else "after it"
        assert point in (where, "")
        hits[where] += 1
        if draw.random() < 0.5:
            # Next is another release.
            shop.write(f"value = value * 1 + 0 * {number}")
            release = scan([str(shop.source)]).release
        result = shop.publish()
        assert not result["failed"], result
        assert shop.served() == result["release"] == release
        assert not servers(tmp_path)
        assert not list((shop.store / "staging").iterdir())
    with capsys.disabled():
        print(f"\n{hits.total()} test loads killed: " + ", ".join(f"{count} {where}" for where, count in hits.items()))
