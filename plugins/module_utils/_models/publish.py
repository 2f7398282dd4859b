# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Publishes a source of models to a store and makes it the current release.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import typing as t
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import Ended, Lost, SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import Tree, models_of, source_file
from ansible_collections.fastml.supersonic.plugins.module_utils._models.sources import opened
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import (
    Begun,
    Store,
    StoreError,
    each_entry,
    explain,
    readable,
    short,
    wanted,
)

if t.TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
    from ansible_collections.fastml.supersonic.plugins.module_utils._models.store_pod import Claim, PodOptions, Pods
    from ansible_collections.fastml.supersonic.plugins.module_utils._models.test_load import Trial

# What is received becomes durable in batches. A killed publication loses at most two of them, the one that is being
# made durable and the one that arrives meanwhile, with the files that are copied then.
_BATCH_BYTES = 256 << 20
_BATCH_FILES = 1000
_ATTEMPTS = 3
# Files that are copied at a time, for each processor: one is read while another one is written.
_COPIED_PER_CPU = 2
_MOST_COPIED = 8


class TrialError(SupersonicError):
    """A release is not sound, in the words of the server that has tried it."""


class CanaryError(TrialError):
    """It has passed its test load, but did worse than the servers that it served with."""


class Session(t.Protocol):
    """An open store, here or in a pod."""

    def call(self, operation: str, **arguments: t.Any) -> t.Any: ...

    def send(self, key: str, size: int, path: str) -> None:
        """It may still be under way then: what has failed is told by this or by a later call."""

    def commit(self) -> None:
        """Make durable what has arrived, so that it is not lost with this session, while more is sent. What has failed
        is told by this or by a later call."""

    def kept(self) -> contextlib.AbstractContextManager[None]: ...


class Published(t.NamedTuple):
    """The content of a store, as far as it is known without opening it. models None: not known."""

    release: str | None
    models: list[dict[str, t.Any]] | None

    @property
    def known(self) -> bool:
        """Whether anybody can say which release it is, or that there is none."""
        return self.release is not None or self.models is not None


_NOT_KNOWN = Published(None, None)
Models = list[dict[str, t.Any]]


class Target(t.Protocol):
    """A place that holds a store."""

    def published(self, known: Mapping[str, Models] | None = None, /) -> Published: ...

    def unfinished(self) -> bool: ...

    def begun(self) -> Begun | None: ...

    def refresh(self) -> Begun | None: ...

    def announce(self, session: Session, begun: Begun, age: float, /) -> None: ...

    def switched(self) -> float | None: ...

    def session(self) -> contextlib.AbstractContextManager[tuple[Session, str, Pods | None]]: ...

    def reading(self) -> contextlib.AbstractContextManager[Session]: ...

    def earlier(self) -> list[tuple[str, float, Models | None]]: ...

    def record(self, session: Session, outcome: Mapping[str, t.Any], known: Mapping[str, Models], /) -> bool: ...

    def noted(self) -> list[dict[str, t.Any]] | None: ...


@dataclass(frozen=True)
class Options:
    """The options of a publication."""

    keep: int = 3
    verify: bool = False
    check: bool = False
    lock_seconds: int = 120
    # Models that ensembles may use although they are not in the release.
    external_models: tuple[str, ...] = ()
    # Where archives are unpacked while they are read.
    scratch: str | None = None
    # Makes what a release has to pass before it takes the place of another one.
    trial: Callable[[], Trial] | None = None


class FolderTarget:
    """A store in a folder of this machine."""

    def __init__(self, path: str) -> None:
        self._path = path

    @property
    def path(self) -> str:
        """The folder."""
        return self._path

    def published(self, known: Mapping[str, Models] | None = None, /) -> Published:
        with sentences(self._path):
            store = Store(self._path)
            release = store.current()
            manifest = store.manifest(release) if release else None
            # Without its manifest a release proves nothing: it is published again.
            if release and manifest is not None:
                if known and release in known:
                    return Published(release, known[release])
                return Published(release, [model.as_result() for model in models_of(each_entry(manifest))])
        return Published(None, [])

    def unfinished(self) -> bool:
        with sentences(self._path):
            return Store(self._path).unfinished()

    def begun(self) -> Begun | None:
        """The switch that was begun and has not come to its end."""
        with sentences(self._path):
            text = Store(self._path).begun()
        return None if text is None else Begun.parse(text)

    def refresh(self) -> Begun | None:
        """The same, with the lock held."""
        return self.begun()

    def announce(self, session: Session, begun: Begun, _age: float, /) -> None:
        """Note a switch that is about to be made."""
        session.call("announce", begun=begun.text)

    def switched(self) -> float | None:
        """The time at which the release became current, by the clock of the file system."""
        with contextlib.suppress(OSError):
            return os.lstat(os.path.join(self._path, "current")).st_mtime
        return None

    @contextlib.contextmanager
    def session(self) -> Iterator[tuple[Session, str, Pods | None]]:
        store = Store(self._path)
        with sentences(self._path):
            try:
                with contextlib.closing(_Local(store)) as session:
                    yield session, f"{_user()} on {socket.gethostname()} (process {os.getpid()})", None
            except BaseException:
                # What went wrong first is what counts.
                with contextlib.suppress(OSError):
                    store.close()
                raise
            store.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        with sentences(self._path):
            yield _Local(Store(self._path))

    def earlier(self) -> list[tuple[str, float, Models | None]]:
        """A folder does not remember when it served what."""
        return []

    def record(self, session: Session, _outcome: Mapping[str, t.Any], _known: Mapping[str, Models], /) -> bool:
        """A folder says by itself what it holds."""
        session.call("finish")
        return False

    def noted(self) -> list[dict[str, t.Any]] | None:
        return None


class ClaimTarget:
    """A store on a persistent volume."""

    def __init__(self, api: Api, namespace: str, claim: str, options: PodOptions | None) -> None:
        # Imported here so that stores in folders need nothing of Kubernetes.
        from ansible_collections.fastml.supersonic.plugins.module_utils._models import store_pod

        self._api = api
        self._options = options
        self._pod = store_pod
        self._claim = store_pod.Claim(api, namespace, claim)

    @property
    def claim(self) -> Claim:
        """The claim, read once."""
        return self._claim

    def published(self, _known: Mapping[str, Models] | None = None, /) -> Published:
        if self._claim.begun:
            return _NOT_KNOWN
        release = self._claim.release
        return Published(release, self._claim.models if release else [])

    def unfinished(self) -> bool:
        """Whether somebody switches now, or has not come to the end of that: then only the store itself can say."""
        return self._claim.begun is not None

    def begun(self) -> Begun | None:
        """The switch that was begun and has not come to its end."""
        return self._claim.begun

    def refresh(self) -> Begun | None:
        """The same, and all that is noted, with the lock held: what was read before may have changed since."""
        self._claim.refresh()
        return self._claim.begun

    def announce(self, session: Session, begun: Begun, age: float, /) -> None:
        """Note a switch that is about to be made, from a release that became current so many seconds ago."""
        self._claim.announce(begun, age, lambda: session.call("check_lock"))

    def switched(self) -> float | None:
        """The time at which the release became current, by the clock of the API server."""
        switches = self._claim.switches
        return switches[0][1] if switches and switches[0][0] == self._claim.release else None

    def earlier(self) -> list[tuple[str, float, Models | None]]:
        """The earlier releases, the latest first, each with the time of its switch and its models as far as known."""
        if self.switched() is None:
            return []
        models = {item["release"]: item.get("models") for item in self._claim.releases or []}
        return [(name, since, models.get(name)) for name, since in self._claim.switches[1:]]

    @contextlib.contextmanager
    def session(self) -> Iterator[tuple[Session, str, Pods | None]]:
        with self._pod.session(self._api, self._claim, self._pod_options()) as opened:
            yield opened

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        with self._pod.session(self._api, self._claim, self._pod_options(), read_only=True) as (session, *_rest):
            yield session

    def record(self, session: Session, outcome: Mapping[str, t.Any], known: Mapping[str, Models], /) -> bool:
        """Note on the claim what the store holds, so that whoever asks later needs no pod."""
        before = {item["release"]: item.get("models") for item in self.noted() or []}
        described = []
        for item in outcome["releases"]:
            name = item["release"]
            models = known.get(name) or before.get(name) or models_in(session, name)
            described.append({**item, "models": models})
        return self._claim.record(described, outcome["age"], lambda: session.call("check_lock"))

    def noted(self) -> list[dict[str, t.Any]] | None:
        return self._claim.releases

    def _pod_options(self) -> PodOptions:
        if self._options is None:
            raise SupersonicError("A store of type pvc needs the option pod with the image that mounts the claim.")
        return self._options


def models_in(session: Session, release: str) -> Models:
    """The models of a release in an open store; none when its manifest is lost or damaged."""
    manifest = session.call("manifest", release=release)
    return [] if manifest is None else [model.as_result() for model in models_of(each_entry(manifest))]


class _Local:
    """A store of this machine. Several files are copied at a time: one by one each waits for processor and disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._at_a_time = min((os.cpu_count() or 1) * _COPIED_PER_CPU, _MOST_COPIED)
        self._pool: ThreadPoolExecutor | None = None
        self._copied: deque[Future[None]] = deque()
        self._closed = False

    def call(self, operation: str, **arguments: t.Any) -> t.Any:
        # It is about everything that was sent.
        self._wait(0)
        return self._handle(operation, **arguments)

    def send(self, key: str, size: int, path: str) -> None:
        if self._pool is None:
            # Imported here so that a source without changes does not wait for it.
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(self._at_a_time)
        self._copied.append(self._pool.submit(self._copy, key, size, path))
        self._wait(2 * self._at_a_time)

    def commit(self) -> None:
        self._handle("commit")

    def close(self) -> None:
        """Give up what is still copied."""
        self._closed = True
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _handle(self, operation: str, **arguments: t.Any) -> t.Any:
        with sentences(self._store.root):
            return self._store.handle(operation, arguments)

    def _wait(self, left: int) -> None:
        while len(self._copied) > left:
            self._copied.popleft().result()

    def _copy(self, key: str, size: int, path: str) -> None:
        with source_file(path) as read, sentences(self._store.root):
            self._store.receive(key, size, lambda most: b"" if self._closed else read(most))

    def kept(self) -> contextlib.AbstractContextManager[None]:
        """Its own thread shows that the publisher lives."""
        return contextlib.nullcontext()


def publish(target: Target, sources: Sequence[str], options: Options) -> dict[str, t.Any]:
    """Make the store serve exactly these sources. Returns the module's result."""
    with opened(sources, options.scratch, cached=True, verify=options.verify) as tree:
        return _publish_tree(target, tree, options)


def _publish_tree(target: Target, tree: Tree, options: Options) -> dict[str, t.Any]:
    models = [model.as_result() for model in tree.models]
    before = target.published({tree.release: models})
    result: dict[str, t.Any] = {
        "changed": before.release != tree.release,
        "release": tree.release,
        "previous_release": before.release,
        "models": models,
        "sent_bytes": 0,
        "pruned": [],
        "test_load": None,
        "msg": already_served(tree.release),
        "diff": difference(before, Published(tree.release, models)),
    }
    again = options.verify or target.unfinished()
    if not result["changed"] and (options.check or not again):
        return result
    # Imported here so that a run that has nothing to do does not wait for it.
    from ansible_collections.fastml.supersonic.plugins.module_utils._models.validation import validate

    validate(tree, options.external_models)
    if options.check:
        if result["changed"]:
            # Where nothing is served nothing is tried either.
            served = before.release is not None or not before.known
            first = "after its test load" if options.trial and served else "and nothing would try it before"
            result["msg"] = f"{replacing('would replace', tree.release, before)}, {first}."
        return result
    result.update(with_patience(lambda: _publish(target, tree, models, options, before)))
    return result


def _publish(
    target: Target, tree: Tree, models: Models, options: Options, before: Published = _NOT_KNOWN
) -> dict[str, t.Any]:
    with target.session() as (session, holder, pods):
        opened = open_store(session, holder, pods, options)
        current = opened["current"]
        begun = target.refresh()
        before = as_found(session, before, current)
        sent = _send(session, tree, session.call("missing", manifest=tree.manifest, verify=options.verify))
        repaired = session.call("stage", manifest=tree.manifest, verify=options.verify)
        # Where nothing is served nobody can be harmed: there the servers themselves are the test.
        replaces = current not in (None, tree.release)
        tested = _try(session, tree, options.trial) if replaces and options.trial else None
        if current != tree.release:
            target.announce(session, Begun(tree.release, current or "", back=False), opened["age"])
        outcome = session.call("switch_to", release=tree.release, keep=options.keep)
        with after_switch(tree.release, outcome):
            # While the lock is held, so that of two publishers the later one also has the last word here.
            recorded = target.record(session, outcome, {tree.release: models})
            hang_up(session)
    if outcome["switched"]:
        msg = f"{replacing('replaced', tree.release, before)}; {_tried(outcome, tested, options)}."
        if outcome["pruned"]:
            msg += f" Removed, since {options.keep} are kept: {', '.join(map(short, outcome['pruned']))}."
    else:
        msg = already_served(tree.release, begun) + (" What was damaged was sent again." if repaired else "")
    return {
        **warnings_of(outcome),
        "changed": bool(outcome["switched"] or repaired or outcome["pruned"] or recorded),
        "previous_release": outcome["previous"],
        "sent_bytes": sent,
        "pruned": outcome["pruned"],
        "test_load": tested,
        "msg": msg,
        "diff": difference(before, Published(tree.release, models)),
    }


def as_found(session: Session, before: Published, current: str | None) -> Published:
    """The release that the open store serves, if it differs from what was known before."""
    if before.known and before.release == current:
        return before
    return Published(current, models_in(session, current) if current else [])


def _tried(outcome: Mapping[str, t.Any], tested: Mapping[str, t.Any] | None, options: Options) -> str:
    """The sentence on how the release was tested, or why it was not."""
    if not tested and outcome["previous"] is None and options.trial:
        return "nothing tried it, since no other release was served"
    if not tested:
        return "nothing tried it, since no test load was asked for"
    counted = f"{_many(len(tested['models']), 'model')}, {_many(tested['golden_requests'], 'golden request')}"
    tried = f"a test load tried it ({counted})"
    canary = tested.get("canary")
    if canary and canary["others"]:
        tried += " and then a canary beside the other servers, "
        tried += (
            f"compared by {' and '.join(canary['compared_by'])}"
            if canary["compared"]
            else "whose times were not compared, since there were too few requests"
        )
    elif canary:
        tried += ", but no canary, since no other server answered"
    return tried


def already_served(release: str, begun: Begun | None = None) -> str:
    """Of a run that has found nothing to switch, but maybe the end of a switch to be made."""
    told = f"The release {short(release)} is served already."
    if begun is None:
        return told
    if begun.release == release:
        return f"{told} The switch to it, which was begun by a run that did not end, is complete."
    return f"{told} The switch{_way(begun)}, which was begun by a run that did not end, is given up."


def _way(begun: Begun) -> str:
    """From where to where a switch leads; nothing where that cannot be read."""
    if not begun.release:
        return ""
    return f" from {short(begun.before) or 'none'} to {short(begun.release)}"


def not_known(begun: Begun | None) -> str:
    """The sentence for a store of which only itself can say what it serves."""
    way = _way(begun) if begun else ""
    return f"A switch{way} was begun and has not come to its end, so only the store itself can say what it serves."


def replacing(verb: str, release: str, previous: Published) -> str:
    """The beginning of a sentence on a switch."""
    if not previous.known:
        return f"The release {short(release)} {verb} what is served, which a switch that was begun has left open"
    return f"The release {short(release)} {verb} {short(previous.release) if previous.release else 'none'}"


def _many(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _try(session: Session, tree: Tree, trial: Callable[[], Trial]) -> dict[str, t.Any]:
    """Put the release on trial; one that does not pass leaves the store."""
    try:
        with session.kept():
            return trial().run(tree)
    except Lost:
        raise
    except (SupersonicError, Ended) as exc:
        # Whatever becomes of that: it is not served, and the reason is what counts.
        with contextlib.suppress(SupersonicError):
            session.call("discard", release=tree.release)
            hang_up(session)
        if not isinstance(exc, TrialError):
            raise
        canary = isinstance(exc, CanaryError)
        passed = "passed its test load, but not its canary" if canary else "did not pass its test load"
        raise SupersonicError(
            f"The release {tree.release} {passed}; the store serves what it served before. {exc}"
        ) from exc


def _send(session: Session, tree: Tree, missing: str) -> int:
    sent = batch = files = 0
    for entry in wanted(tree.entries, missing):
        session.send(entry.key, entry.size, tree.places[entry.path])
        sent += entry.size
        batch += entry.size
        files += 1
        if batch >= _BATCH_BYTES or files >= _BATCH_FILES:
            session.commit()
            batch = files = 0
    return sent


def open_store(
    session: Session, holder: str, pods: Pods | None, options: Options, *, make: bool = True
) -> dict[str, t.Any]:
    """Take the lock of the store, at once where its holder was a pod of the same claim and is no more."""
    gone = None
    if pods is not None:
        other = session.call("locked_by")
        # The same tree may be the volume of other claims, here or in other clusters, whose pods no list of ours has.
        # Listed after its holder was seen: whoever is not in the list has ended, and did not begin after it was made.
        if other.get("claim") == pods.claim and other.get("host") not in pods.alive():
            # A pod's host name is its own name.
            gone = other.get("session")
    claim = pods.claim if pods else ""
    return t.cast(
        "dict[str, t.Any]",
        session.call("open", holder=holder, gone=gone, wait=options.lock_seconds, make=make, claim=claim),
    )


@contextlib.contextmanager
def after_switch(release: str, outcome: Mapping[str, t.Any]) -> Iterator[None]:
    """Run what follows a switch. An error there is raised again with the sentence that the switch is done."""
    try:
        yield
    except Lost:
        raise
    except SupersonicError as exc:
        if not outcome["switched"]:
            raise
        raise SupersonicError(
            f"The store serves the release {short(release)} now, but what follows the switch was not done. {exc}"
        ) from exc


def warnings_of(outcome: Mapping[str, t.Any]) -> dict[str, list[str]]:
    """The warnings after a switch, as a part of the module's result."""
    found = []
    if outcome["older"]:
        found.append(
            f"The folders of the models {', '.join(outcome['older'])} belong to another user and keep their times. "
            "Servers that poll or are asked to load them may keep what they have and say that they have loaded: "
            "replace the servers, or switch as the owner of the store."
        )
    if outcome.get("unpruned"):
        found.append(f"What is not kept could not be removed from the store. {outcome['unpruned']}")
    return {"warnings": found} if found else {}


def hang_up(session: Session) -> None:
    """Nothing can go wrong any more: a store whose user hangs up closes itself."""
    with contextlib.suppress(Lost):
        session.call("close")


def with_patience(attempt: Callable[[], dict[str, t.Any]]) -> dict[str, t.Any]:
    """Once more when a connection or a pod was lost: what has arrived is not sent again."""
    for _number in range(_ATTEMPTS - 1):
        try:
            return attempt()
        except Lost:
            continue
    return attempt()


def difference(before: Published, after: Published) -> dict[str, str]:
    """Both states as text, one line per model."""
    return {
        "before_header": f"release {before.release or ('none' if before.known else 'not known')}",
        "after_header": f"release {after.release or 'none'}",
        "before": _listing(before),
        "after": _listing(after),
    }


def _listing(state: Published) -> str:
    if not state.known:
        return "a release that only the store itself can tell\n"
    if state.models is None:
        return f"release {state.release}, its models are not known here\n"
    lines = []
    for model in state.models:
        versions = ", ".join(str(version) for version in model["versions"]) or "none"
        lines.append(f"{model['name']}: versions {versions}; {readable(model['size'])}; content {model['digest']}\n")
    return "".join(lines)


@contextlib.contextmanager
def sentences(root: str) -> Iterator[None]:
    """Turn errors of a store in a folder into failures of the module."""
    try:
        yield
    except StoreError as exc:
        raise SupersonicError(str(exc)) from exc
    except OSError as exc:
        raise SupersonicError(explain(exc, root)) from exc


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
