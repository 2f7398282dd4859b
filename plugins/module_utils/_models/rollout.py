# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Loads the current release of a store into running servers, without replacing them.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

What Triton does was seen with 2.51: a load request reads the repository's path anew, a poll looks at all models of a
release. Either loads a model when one of its versions is younger than what it has loaded, as the store makes them, and
the old version answers until the new one is ready.
"""

from __future__ import annotations

import json
import re
import time
import typing as t
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import TRITON, object_name
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver, Target, is_leaving
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.kserve_client import CallError, HttpClient
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, segment
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_servers import (
    CONTENT_ANNOTATION,
    SERVED_ANNOTATION,
    SWITCH_ANNOTATION,
    Contents,
    Release,
    container_of,
    has_started,
    pods_of,
    state_of,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store_pod import patch, seconds_of

_REPOSITORY_FLAGS = ("--model-repository", "--model-store")
_PAUSE = 0.5
_CONNECT_SECONDS = 5.0
_AT_A_TIME = 8
# Triton opens its log a moment before the link is flushed.
_EARLIER_SECONDS = 2.0
# Between two looks at a log, and the most that is taken of it at once.
_LOG_PAUSE = 1.0
_LOG_BYTES = 8 << 20
_LOADING = re.compile(r"\bloading: (.+):\d+\b")
_LOADED = re.compile(r"successfully loaded '([^']+)'")
_FAILED = re.compile(r"failed to load '([^']+)'.*")


@dataclass(frozen=True)
class Server:
    """A running server, and what it has to do."""

    pod: Mapping[str, t.Any]
    known: Contents = field(default_factory=dict)
    load: list[str] = field(default_factory=list)
    unload: list[str] = field(default_factory=list)
    serves: str | None = None

    @property
    def name(self) -> str:
        return str(self.pod["metadata"]["name"])

    def as_dict(self, release: str) -> dict[str, t.Any]:
        return {
            "pod": self.name,
            "before": self.serves,
            "release": release,
            "loaded": self.load,
            "unloaded": self.unload,
        }


@dataclass(frozen=True)
class Pool:
    """The servers of an instance."""

    api: Api
    resolver: Resolver
    servers: Mapping[str, t.Any]
    # Seconds that a server may take to load one model, or all of a release when it polls.
    patience: float

    @property
    def namespace(self) -> str:
        return str(self.servers["namespace"])

    def path(self, pod: str = "") -> str:
        path = f"/api/v1/namespaces/{segment(self.namespace)}/pods"
        return f"{path}/{segment(pod)}" if pod else path

    def what(self, pod: str) -> str:
        return f"Pod {self.namespace}/{pod}"

    def pods(self) -> list[dict[str, t.Any]]:
        """Those that have read a release already; whatever starts later reads the current one."""
        return [pod for pod in pods_of(self.api, self.servers) if has_started(pod)]


def plan(pool: Pool, release: Release) -> list[Server]:
    """The steps for each server that does not serve the release."""
    return [server for pod in pool.pods() if (server := _needs(pod, release)) is not None]


def _needs(pod: Mapping[str, t.Any], release: Release) -> Server | None:
    serves, known, _between = state_of(pod, release)
    if serves == release.name:
        return None
    wanted = release.contents
    return Server(
        pod,
        known,
        load=[name for name in sorted(wanted) if known.get(name) != wanted[name]],
        unload=[name for name in sorted(known) if name not in wanted],
        serves=serves,
    )


def switch_of_template(pool: Pool, release: Release) -> tuple[str, list[Server]]:
    """The annotation that the pod template needs for the release, and the servers that this replaces.

    The annotation is empty unless a rollback returns to the release that the template names already: only another
    annotation then replaces servers that read a different release meanwhile.
    """
    name = object_name(pool.servers["instance"], TRITON)
    path = f"/apis/apps/v1/namespaces/{segment(pool.namespace)}/deployments/{segment(name)}"
    live = pool.api.find(path, f"Deployment {pool.namespace}/{name}")
    template = ((live or {}).get("spec") or {}).get("template") or {}
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    switch = str(annotations.get(SWITCH_ANNOTATION) or "")
    if annotations.get(SERVED_ANNOTATION) != release.name:
        return "", []
    others = []
    for pod in pool.pods():
        serves = state_of(pod, release).release
        if serves != release.name and (pod["metadata"].get("annotations") or {}).get(SERVED_ANNOTATION) == release.name:
            others.append(Server(pod, serves=serves))
    return (str(release.since) if others and release.since is not None else switch), others


def load(pool: Pool, servers: Sequence[Server], release: Release) -> list[Server]:
    """Ask one server after the other to load what has changed, so that the others answer meanwhile.

    Returns those that have, with what they really unloaded.
    """
    done: list[Server] = []
    for server in servers:
        try:
            unloaded = _load(pool, server, release)
        except SupersonicError as exc:
            if _has_gone(pool, server):
                continue
            names = ", ".join(server.name for server in done)
            others = f"{names} took it already" if done else "no other server has taken it"
            raise SupersonicError(
                f"{exc} Its old models go on answering there; {others}. The store serves the release {release.name}: "
                "go back to the one before, or put it right and publish again."
            ) from exc
        done.append(replace(server, unload=unloaded))
    return done


def _load(pool: Pool, server: Server, release: Release) -> list[str]:
    client = _connect(pool, server)
    wanted = release.contents
    # What is noted holds at every moment: a run that ends here, or a model that is refused, must not be taken for done.
    kept = {name: digest for name, digest in server.known.items() if wanted.get(name) == digest}
    _note(pool, server, None, kept)
    try:
        steps = _steps(client, pool.what(server.name))
        unload = sorted({*server.unload, *_left_behind(client, pool.what(server.name), server, release)})
        for action, models in ((client.load, server.load), (client.unload, unload)):
            for model in ensembles_first(models, steps):
                try:
                    action(model, pool.patience)
                except CallError as exc:
                    raise SupersonicError(
                        f"{pool.what(server.name)} did not {action.__name__} the model {model}: {str(exc).rstrip('.')}."
                    ) from exc
                if model in wanted:
                    kept[model] = wanted[model]
                    _note(pool, server, None, kept)
    finally:
        client.close()
    _note(pool, server, release.name, wanted)
    return unload


def _left_behind(client: HttpClient, what: str, server: Server, release: Release) -> set[str]:
    """Models that a server goes on with although its repository has them no more, where nobody knows what it has read.

    Triton's index names what the repositories have, and nothing else that runs; the statistics name what runs.
    """
    if server.serves is not None and server.known:
        return set()
    try:
        running = {str(item["name"]) for item in client.statistics(_CONNECT_SECONDS)}
        left = running - {item["name"] for item in client.index(_CONNECT_SECONDS)} - set(release.contents)
    except CallError as exc:
        raise SupersonicError(f"{what} does not say which models it has: {str(exc).rstrip('.')}.") from exc
    if _repositories(server.pod) == 1:
        return left
    # Of another repository, which may be out of reach for a moment; unless it is known from here.
    return left & {model["name"] for _name, _since, models in release.earlier for model in models or []}


def _repositories(pod: Mapping[str, t.Any]) -> int:
    name = container_of(pod)
    container = next(item for item in pod["spec"]["containers"] if item["name"] == name)
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    return sum(str(word).partition("=")[0] in _REPOSITORY_FLAGS for word in words)


def ensembles_first(models: Sequence[str], steps: Mapping[str, Collection[str]]) -> list[str]:
    """The models in an order in which each ensemble comes before the models of its steps.

    Triton loads an ensemble together with those of its steps that have changed, and what it was answers until then. A
    step that is loaded alone, with other tensors, takes the ensembles that still have the old ones out of service.
    """

    def depth(model: str) -> int:
        return 1 + max((depth(step) for step in steps[model]), default=0) if model in steps else 0

    return sorted(models, key=lambda model: (-depth(model), model))


def _steps(client: HttpClient, what: str) -> dict[str, set[str]]:
    """The models that each ensemble of a server is made of now."""
    found: dict[str, set[str]] = {}
    try:
        for model in {item["name"] for item in client.index(_CONNECT_SECONDS) if item.get("state") == "READY"}:
            scheduling = client.config(model, _CONNECT_SECONDS).get("ensemble_scheduling") or {}
            if scheduling:
                found[model] = {step["model_name"] for step in scheduling.get("step") or []}
    except CallError as exc:
        raise SupersonicError(f"{what} does not say what its ensembles are made of: {str(exc).rstrip('.')}.") from exc
    return found


def _connect(pool: Pool, server: Server) -> HttpClient:
    """A connection to a server, which may still be loading its first models."""
    deadline = time.monotonic() + pool.patience
    target = Target("pod", {"name": server.name, "namespace": pool.namespace}, "pool", "http")
    while True:
        places, absences = pool.resolver.resolve(target)
        said = absences[0].reason if absences else ""
        if places:
            client = HttpClient(places[0].endpoint)
            try:
                client.live(_CONNECT_SECONDS)
                return client
            except CallError as exc:
                client.close()
                said = exc.message or exc.status
        if time.monotonic() > deadline or _has_gone(pool, server):
            raise SupersonicError(f"{pool.what(server.name)} does not answer: {said.rstrip('.')}.")
        time.sleep(_PAUSE)


def watch(pool: Pool, servers: Sequence[Server], release: Release) -> None:
    """Wait until the logs of servers that poll say that they have loaded every model of the release."""
    with ThreadPoolExecutor(_AT_A_TIME) as threads:
        failures = [
            failure for failure in threads.map(lambda server: _watch(pool, server, release), servers) if failure
        ]
    if failures:
        raise SupersonicError(" ".join(failures))


def _watch(pool: Pool, server: Server, release: Release) -> str:
    """Empty when the server has taken the release, or has gone."""
    try:
        failure = _loaded(pool, server, release)
        if not failure:
            _note(pool, server, release.name, release.contents)
    except SupersonicError as exc:
        failure = str(exc)
    return "" if failure and _has_gone(pool, server) else failure


def _loaded(pool: Pool, server: Server, release: Release) -> str:
    since = release.since or seconds_of(server.pod["metadata"]["creationTimestamp"])
    path, what, container = f"{pool.path(server.name)}/log", pool.what(server.name), container_of(server.pod)
    log = Log(pool.api, path, what, container, since - _EARLIER_SECONDS)
    deadline = time.monotonic() + pool.patience
    while True:
        log.read()
        missing = set(release.contents) - log.loaded
        if not missing:
            return ""
        failed = next((said for model, said in log.failed.items() if model in missing), None)
        if failed:
            return f"{pool.what(server.name)} {failed.rstrip('.')}. Its old models go on answering."
        if time.monotonic() > deadline or _has_gone(pool, server):
            return (
                f"{pool.what(server.name)} has not said within {pool.patience:g} s that it has loaded "
                f"{', '.join(sorted(missing))}. Does it poll its repository (triton_repository_poll_seconds), does it "
                "log what it loads, and is its node's clock right?"
            )
        time.sleep(_LOG_PAUSE)


class Log:
    """The log of a server from a time on, about models that it began to load after that.

    A server that was still loading the release before has more to say of that. Each look goes on where the last one
    has ended, so that a server that says very much takes no memory.
    """

    def __init__(self, api: Api, path: str, what: str, container: str, since: float) -> None:
        self._api = api
        self._path = path
        self._what = f"log of {what}"
        self._container = container
        self._since = int(since)
        self._begun: set[str] = set()
        self.loaded: set[str] = set()
        self.failed: dict[str, str] = {}

    def read(self) -> None:
        query = {
            "container": self._container,
            "sinceTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._since)),
            "timestamps": "true",
            "limitBytes": str(_LOG_BYTES),
        }
        said = self._api.text(self._path, self._what, query)
        # The last line may be cut off.
        lines = said.split("\n")[:-1]
        for line in lines:
            self._take(line.partition(" ")[2])
        latest = next((at for line in reversed(lines) if (at := _second(line.partition(" ")[0])) is not None), None)
        # The same second again, of which more may have been said; unless there is more than fits.
        full = len(said) >= _LOG_BYTES // 2 and latest == self._since
        if latest is not None:
            self._since = max(self._since, latest) + full

    def _take(self, text: str) -> None:
        if begun := _LOADING.search(text):
            self._begun.add(begun[1])
            self.failed.pop(begun[1], None)
        elif (loaded := _LOADED.search(text)) and loaded[1] in self._begun:
            self.loaded.add(loaded[1])
        elif (failed := _FAILED.search(text)) and failed[1] in self._begun:
            self.failed[failed[1]] = failed[0]


def _second(stamp: str) -> int | None:
    """A time of a log, with any offset and any number of digits, in whole seconds since 1970."""
    try:
        return int(datetime.fromisoformat(stamp).timestamp())
    except ValueError:
        return None


def _has_gone(pool: Pool, server: Server) -> bool:
    """Whether a server went meanwhile, as an autoscaler lets them; then it need not take anything."""
    pod = pool.api.find(pool.path(server.name), pool.what(server.name))
    return pod is None or is_leaving(pod) or pod["metadata"]["uid"] != server.pod["metadata"]["uid"]


def _note(pool: Pool, server: Server, release: str | None, contents: Contents) -> None:
    """Write on the pod what it serves now; no release while it is on its way to another one."""
    annotations = {
        SERVED_ANNOTATION: release,
        CONTENT_ANNOTATION: json.dumps(contents, separators=(",", ":"), sort_keys=True),
    }
    patch(pool.api, pool.path(server.name), pool.what(server.name), {"metadata": {"annotations": annotations}})
