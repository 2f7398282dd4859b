# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Publishers that are killed at any step of theirs. SUPERSONIC_KILLS sets how often in all (60); with more than that
they are killed at random moments instead. By which draw: see harness/chance.py.

After each blow what is served is one whole release, and the next run completes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
import typing as t
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._models import digest_cache, store_pod
from ansible_collections.fastml.supersonic.plugins.module_utils._models import publish as model_publish
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import scan
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import (
    FolderTarget,
    Options,
    _publish,
    publish,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models.releases import roll_back
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import Store, release_id
from ansible_collections.fastml.supersonic.tests.harness import chance
from ansible_collections.fastml.supersonic.tests.harness.stop_points import stopping, taken
from ansible_collections.fastml.supersonic.tests.harness.store_pipes import Pipe

USUAL = 60
KILLS = int(os.environ.get("SUPERSONIC_KILLS", USUAL))
AT_RANDOM = KILLS > USUAL
COLLECTIONS = Path(__file__).resolve().parents[3] / ".collections"

# Reads the source first and then says so: what is killed is the work on the store.
PUBLISHER = """
import errno, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import FolderTarget, Options, _publish
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import scan
if sys.argv[4] == "copies":
    def link(*_arguments):
        raise OSError(errno.EPERM, "Operation not permitted")
    os.link = link
tree = scan([sys.argv[2]])
print("ready", flush=True)
_publish(FolderTarget(sys.argv[3]), tree, [], Options(keep=2))
"""


def change(source: Path, dice: random.Random, number: int) -> None:
    """Another release: some files change, one comes, one goes."""
    for index in range(60):
        file = source / f"m{index % 6}" / str(1 + index % 3) / f"w{index}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        if number == 0 or dice.random() < 0.5:
            file.write_bytes(dice.randbytes(dice.choice([0, 10, 4000, 200_000])))
        elif dice.random() < 0.1:
            file.unlink(missing_ok=True)


def served(store: Path) -> str | None:
    """What servers read now: one release, complete and with nothing else in it; nothing before the first."""
    current = Store(str(store)).current()
    if current is None:
        assert not os.path.lexists(store / "current")
    else:
        assert release_id(scan([str(store / "current")]).manifest) == current
    return current


def hit(store: Path, before: str | None, release: str) -> str:
    """What the publisher was at when it died, from what it left."""
    staging = store / "staging"
    if not staging.exists() or not any(staging.iterdir()):
        return "done" if served(store) == release else "before the store was opened"
    if before != release and served(store) == release:
        return "after the switch"
    if not (store / "lock").exists():
        return "at the lock"
    if (store / "releases" / release).exists():
        return "before the switch"
    return "while assembling" if any(staging.glob("*/tree")) else "while contents arrived"


def locked_by(store: Path) -> str | None:
    try:
        return (store / "lock/holder").read_text() or None
    except OSError:
        return None


def at_work(store: Path, before: str | None, process: subprocess.Popen[t.Any]) -> None:
    """Wait until a publisher has the lock, which the one `before` may have left, or has ended."""
    while locked_by(store) in (None, before) and process.poll() is None:
        time.sleep(0.0002)


def held(store: Path, process: subprocess.Popen[t.Any]) -> float:
    """For how many seconds a publisher that nobody kills has the lock."""
    at_work(store, None, process)
    begin = time.monotonic()
    while locked_by(store):
        time.sleep(0.0002)
    return time.monotonic() - begin


def moments(dice: random.Random, number: int) -> list[float]:
    """So many of them, as parts of the whole, by chance but everywhere."""
    found = [(index + dice.random()) / number for index in range(number)]
    dice.shuffle(found)
    return found


IDLE = ("done", "before the store was opened", "at the lock", "too late")


# So few blows may by chance all hit one thing.
FEW = 50


def enough(blows: int) -> float:
    """How many blows have to hit work: a half of many, a quarter of few."""
    return blows / 2 if blows >= FEW else blows / 4


def working(hits: Counter[str]) -> int:
    """How many blows hit work on the store, not its absence."""
    return sum(number for where, number in hits.items() if not where.endswith(IDLE))


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[str, Counter[str]], None]]:
    """Say how many blows there were and where they hit."""
    told: list[str] = []

    def note(what: str, hits: Counter[str]) -> None:
        told.append(f"{what}: {hits.total()} (" + ", ".join(f"{n} {where}" for where, n in hits.most_common()) + ")")

    yield note
    with capsys.disabled():
        print("\n" + "\n".join(told))


Tell = Callable[[str, Counter[str]], None]


@pytest.mark.parametrize(("kind", "kills"), [("links", KILLS // 3), ("copies", KILLS // 6)])
def test_killed_at_any_moment(tmp_path: Path, kind: str, kills: int, tell: Tell) -> None:
    hits: Counter[str] = Counter()
    dice = chance.dice(kind)
    source, store, steps = tmp_path / "source", tmp_path / "store", tmp_path / "steps"

    def start(step: int = 0) -> subprocess.Popen[str]:
        code = stopping(steps, step) + PUBLISHER
        command = [sys.executable, "-c", code, str(COLLECTIONS), str(source), str(store), kind]
        publisher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert publisher.stdout is not None
        assert publisher.stdout.readline() == "ready\n"
        return publisher

    whole = 0
    # The second one has as much to do as those that are killed.
    for number in range(2):
        change(source, dice, number)
        with start() as publisher:
            publisher.wait()
        whole = taken(steps)
    before = served(store)
    duration = 0.1
    finished = 0
    for number, moment in enumerate(moments(dice, kills), 2):
        change(source, dice, number)
        tree = scan([str(source)])
        left = locked_by(store)
        with start(0 if AT_RANDOM else 1 + int(moment * whole)) as publisher:
            if AT_RANDOM:
                at_work(store, left, publisher)
                time.sleep(moment * duration)
                publisher.kill()
            publisher.wait()
        finished += publisher.returncode == 0
        assert served(store) in (before, tree.release)
        hits[hit(store, before, tree.release)] += 1
        before = served(store)
        if dice.random() < 0.3:
            # Next time another release is on its way when the old remains are found.
            continue
        begin = time.monotonic()
        _publish(FolderTarget(str(store)), tree, [], Options(keep=2))
        if store.exists():
            duration = min(max(time.monotonic() - begin, 0.02), 0.5)
        before = served(store)
        assert before == tree.release
        assert list((store / "staging").iterdir()) == []
        assert len(list((store / "releases").iterdir())) <= 2
    tell(f"publishers killed, {kind}", hits)
    # Most kills have to hit work, not its absence, and both the sending and what follows it.
    assert kills - finished >= enough(kills)
    assert working(hits) >= enough(kills)
    assert hits["while contents arrived"]
    # What follows the sending is short: among few blows none may hit it.
    assert kills < FEW or working(hits) > hits["while contents arrived"]


# Reads a source that was read before, and ends before it takes a lock. At random moments it has to take its time.
READER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from ansible_collections.fastml.supersonic.plugins.module_utils._models import digest_cache
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import scan
digest_cache.SETTLED_NS = -1_000_000_000
if len(sys.argv) > 3:
    real = os.write
    def write(*arguments):
        time.sleep(0.001)
        return real(*arguments)
    os.write = write
stop_at(digest_cache.Hashes, "find", "_write")
print("ready", flush=True)
scan([sys.argv[2]], cached=True)
print("done", flush=True)
"""


def test_killed_while_the_source_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Tell) -> None:
    """What is remembered of it is what is in it, or nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digest_cache, "SETTLED_NS", -1_000_000_000)
    hits: Counter[str] = Counter()
    dice = chance.dice()
    source, folder, steps = tmp_path / "source", tmp_path / "cache/fastml-supersonic/hashes", tmp_path / "steps"

    def cache() -> str:
        return "".join(path.read_text() for path in folder.glob("*.tsv"))

    duration, whole = 0.1, 0
    for number, moment in enumerate([1.0, 1.0, *moments(dice, max(KILLS // 6, 6))], -1):
        change(source, dice, number + 1)
        before = cache()
        for draft in set(folder.glob("*")) - set(folder.glob("*.tsv")):
            draft.unlink()
        step = 0 if AT_RANDOM or number < 1 else 1 + int(moment * whole)
        slow = ["slowly"] * AT_RANDOM
        command = [sys.executable, "-c", stopping(steps, step) + READER, str(COLLECTIONS), str(source), *slow]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
            begin = time.monotonic()
            if number > 0 and AT_RANDOM:
                time.sleep(moment * duration)
                reader.kill()
            done = reader.stdout.read()
        if number < 1:
            duration, whole = time.monotonic() - begin, taken(steps)
            continue
        if cache() != before:
            where = "done" if done else "after the cache was replaced"
        else:
            where = "with a draft" if len(list(folder.iterdir())) > 1 else "before the first news"
        hits[where] += 1
        # Twice: by what the killed one has left, and by what is made of that.
        for _time in range(2):
            assert scan([str(source)], cached=True) == scan([str(source)])
    tell("readers killed", hits)
    assert hits["with a draft"] >= hits.total() / 4


# On a slow file system where it is killed at random moments, so that roll-backs and prunings, too, last longer than it
# takes to kill them.
MODULE = """
import json, sys, time
def slowed(real):
    def call(*arguments, **more):
        time.sleep(float(sys.argv[3]))
        return real(*arguments, **more)
    return call
if float(sys.argv[3]):
    for name in ("fsync", "link", "rename", "replace", "symlink", "unlink", "utime"):
        setattr(os, name, slowed(getattr(os, name)))
sys.path.insert(0, sys.argv[1])
from ansible_collections.fastml.supersonic.plugins.modules import model_repository
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
print("ready", flush=True)
print(json.dumps(run_module("model_repository", json.loads(sys.argv[2]))), flush=True)
"""


# Seconds that each change of a file takes.
PAUSES = {"published": 0.0005, "rolled_back": 0.005, "pruned": 0.0005}


def test_the_module_killed_at_any_moment(source: Path, tmp_path: Path, tell: Tell) -> None:
    """The whole module, in every state that changes something."""
    dice = chance.dice()
    store, steps = tmp_path / "store", tmp_path / "steps"
    hits: Counter[str] = Counter()

    def rewrite() -> str:
        for index in range(200):
            (source / f"beta/1/weights{index}").write_bytes(dice.randbytes(500))
        return scan([str(source)]).release

    def start(action: str, step: int = 0) -> subprocess.Popen[str]:
        """The module in a process of its own, at its beginning."""
        options: dict[str, t.Any] = {
            "store": {"type": "path", "path": str(store)},
            "state": action,
            "keep": 1 if action == "pruned" else 3,
        }
        if action == "published":
            options["source"] = [str(source)]
        pause = PAUSES[action] if AT_RANDOM else 0
        code = stopping(steps, step) + MODULE
        command = [sys.executable, "-c", code, str(COLLECTIONS), json.dumps(options), str(pause)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    durations: dict[str, float] = {}
    whole: dict[str, int] = {}
    for action in ("published", "published", "rolled_back", "pruned"):
        rewrite()
        with start(action) as process:
            durations[action] = held(store, process)
            process.wait()
        whole[action] = taken(steps)
    kills = max(KILLS // 6 // len(PAUSES), 2)
    blows = [(action, moment) for action in PAUSES for moment in moments(dice, kills)]
    dice.shuffle(blows)
    for action, moment in blows:
        # The first completes what was killed; then there is something to go back to, and to prune.
        for _number in range(2):
            release = rewrite()
            assert publish(FolderTarget(str(store)), [str(source)], Options())["release"] == release
            assert served(store) == release
            assert list((store / "staging").iterdir()) == []
        before = served(store)
        if action == "published":
            release = rewrite()
        there = {path.name for path in (store / "releases").glob("*")}
        goal = Store(str(store)).find()
        with start(action, 0 if AT_RANDOM else 1 + int(moment * whole[action])) as process:
            if AT_RANDOM:
                at_work(store, None, process)
                time.sleep(moment * durations[action])
                process.kill()
            process.wait()
        now = served(store)
        assert now in {before, release, *there}
        if action == "published":
            where = hit(store, before, release)
        else:
            where = "with the lock" if (store / "lock").exists() else "done"
        if action == "rolled_back" and (store / "unfinished").exists():
            # The same again completes it, and does not lead forth again.
            where += f" and a mark, {'new' if now == goal else 'old'} release served"
            assert roll_back(FolderTarget(str(store)), None, Options())["release"] == served(store) == goal
        hits[f"{action} {where}"] += 1
    assert publish(FolderTarget(str(store)), [str(source)], Options())["release"] == served(store)
    assert list((store / "staging").iterdir()) == []
    tell("modules killed", hits)
    assert working(hits) >= enough(hits.total())
    for action in PAUSES if kills >= FEW // len(PAUSES) else ():
        ours = Counter({where: number for where, number in hits.items() if where.startswith(action)})
        assert working(ours) >= kills / 2, f"{action} was hardly hit"


class Piped:
    """A store in a process behind pipes, as in a helper pod; the first one executes this code, or meets its fate."""

    def __init__(
        self, store: Path, code: str = "", fate: Callable[[subprocess.Popen[bytes]], None] | None = None
    ) -> None:
        self.store, self.code, self.fate, self.sessions = store, code, fate, 0

    @contextlib.contextmanager
    def session(self) -> Iterator[tuple[t.Any, str, store_pod.Pods]]:
        self.sessions += 1
        # Behind its last import, whatever that is.
        pipe = Pipe(self.store, ("\nimport uuid\n", f"\nimport uuid\n{self.code * (self.sessions == 1)}\n"))
        if self.fate and self.sessions == 1:
            threading.Thread(target=self.fate, args=(pipe.process,), daemon=True).start()
        try:
            remote = store_pod.Remote(t.cast("t.Any", pipe))
            yield remote, f"pod test/{self.sessions}", store_pod.Pods("uid", list)
        finally:
            pipe.close()

    def refresh(self) -> None:
        return None

    def announce(self, *_arguments: t.Any) -> None:
        pass

    def record(self, *_arguments: t.Any) -> bool:
        return True


def test_a_store_in_a_pod_killed_at_any_moment(tmp_path: Path, tell: Tell) -> None:
    """The publisher makes a new connection by itself, and completes."""
    dice = chance.dice()
    source, store, steps = tmp_path / "source", tmp_path / "store", tmp_path / "steps"
    hits: Counter[str] = Counter()
    durations: list[float] = []

    def measure(process: subprocess.Popen[bytes]) -> None:
        durations.append(held(store, process))

    # The second one has as much to do as those that are killed.
    for number in range(2):
        change(source, dice, number)
        tree = scan([str(source)])
        _publish(t.cast("t.Any", Piped(store, stopping(steps), measure)), tree, [], Options(keep=2))
    whole = taken(steps)
    before: str | None = tree.release
    for number, moment in enumerate(moments(dice, KILLS // 6), 2):
        change(source, dice, number)
        tree = scan([str(source)])

        # Later releases have less to send than the first one.
        def kill(process: subprocess.Popen[bytes], moment: float = 0.6 * moment) -> None:
            at_work(store, None, process)
            time.sleep(moment * durations[0])
            process.kill()

        step = 1 + int(moment * whole)
        target = Piped(store, fate=kill) if AT_RANDOM else Piped(store, stopping(steps, step))

        def attempt(target: Piped = target, tree: t.Any = tree, before: str | None = before) -> dict[str, t.Any]:
            if target.sessions:
                assert served(store) in (before, tree.release)
                hits[hit(store, before, tree.release)] += 1
            return _publish(t.cast("t.Any", target), tree, [], Options(keep=2))

        model_publish.with_patience(attempt)
        if target.sessions == 1:
            hits["too late"] += 1
        assert served(store) == tree.release
        before = tree.release
        if any((store / "staging").iterdir()):
            # Killed when everything was done but the clearing up: that is for the next run.
            _publish(FolderTarget(str(store)), tree, [], Options(keep=2))
        assert list((store / "staging").iterdir()) == []
        assert not (store / "lock").exists()
    tell("stores in a pod killed", hits)
    assert working(hits) >= enough(hits.total())
