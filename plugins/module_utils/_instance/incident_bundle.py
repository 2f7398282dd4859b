# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Collects objects, logs and metrics for incident analysis into one archive, with secrets removed.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Everything is asked by itself, within one budget of time and one of space. What could not be had is in the archive's
MANIFEST.json with the reason. Objects are read before everything else, since the Secrets among them say what has to be
taken out of logs and configurations.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
import time
import typing as t
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field
from functools import partial

from ansible_collections.fastml.supersonic.plugins.module_utils._common import yaml_io
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._common.redact import Redactor
from ansible_collections.fastml.supersonic.plugins.module_utils._common.timestamp import stamp
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import pod_http
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import owned_objects
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import status as instance_status
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import status_page as instance_status_page
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, segment
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import POD, SECRET
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.prometheus import Prometheus

FORMAT = "supersonic-bundle 1"
_WORKERS = 6
_EVENTS = 2000
# How often a log is asked for with fewer lines, until its end fits.
_SHORTER = 4
_LINES = 5000
# Of Envoy's admin interface, on loopback in its pod: (path, file).
ENVOY = (
    ("/server_info", "server_info.json"),
    ("/config_dump?include_eds", "config_dump.json"),
    ("/clusters", "clusters.txt"),
    ("/listeners", "listeners.txt"),
    ("/stats?usedonly", "stats.txt"),
)
# Of a server: (method, path, port's name, file).
TRITON = (
    ("GET", "/v2", "http", "server.json"),
    ("GET", "/v2/health/live", "http", "live.txt"),
    ("GET", "/v2/health/ready", "http", "ready.txt"),
    ("POST", "/v2/repository/index", "http", "repository_index.json"),
    ("GET", "/v2/models/stats", "http", "model_statistics.json"),
    ("GET", "/metrics", "metrics", "metrics.txt"),
)
_LARGEST_ANSWER = 32 << 20


@dataclass(frozen=True)
class Options:
    """The options. seconds, size and log_size limit the run, the unpacked archive and each log."""

    namespace: str
    name: str
    version: str
    status: instance_status.Wanted
    claims: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    seconds: float = 120.0
    timeout: float = 10.0
    size: int = 64_000_000
    log_size: int = 1_000_000


@dataclass
class Bundle:
    """The content of the archive, and the reasons for what is missing."""

    redactor: Redactor
    size: int
    files: dict[str, bytes] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    cut: dict[str, str] = field(default_factory=dict)
    _used: int = 0

    def add(self, path: str, text: str, last: int | None = None) -> None:
        """Add a file without secrets; one that does not fit is cut.

        last: so many bytes of its end are kept, and of one that does not fit its end too.
        """
        # Before it is cut: half a secret would not be known any more.
        data = self.redactor.text(text).encode(errors="replace")
        end = last is not None
        if last is not None and len(data) > last:
            data = _whole_lines(data[-last:])
        room = self.size - self._used
        if len(data) > room:
            if room < 1000:
                self.missing[path] = f"the bundle is full ({self.size} bytes)"
                return
            self.cut[path] = f"{room} of {len(data)} bytes: the bundle is full"
            data = data[-room:] if end else data[:room]
        self.files[path] = data
        self._used += len(data)


def _whole_lines(data: bytes) -> bytes:
    """Without the part of a line that it begins with."""
    return data.partition(b"\n")[2] or data


class _Late(SupersonicError):
    """The time for the bundle is over."""


def collect(options: Options, resolver: Resolver, api: Api, prometheus: Callable[[], Prometheus] | None) -> Bundle:
    """Ask for everything. Never raises for what cannot be had."""
    begun = time.time()
    limit = time.monotonic() + options.seconds
    redactor = Redactor(options.secrets, keep={options.namespace, options.name})
    bundle = Bundle(redactor, options.size)

    def part(path: str, ask: Callable[[], str], *, end: bool = False, asks: bool = True) -> None:
        """asks: whether it takes time, and not only what has come already."""
        try:
            bundle.add(path, _within(limit, options.seconds, ask) if asks else ask(), options.log_size if end else None)
        except Exception as error:
            bundle.missing[path] = redactor.text(_reason(error))

    found: list[owned_objects.Ours] = []
    try:
        seen = owned_objects.look(api, options.namespace, options.name, options.claims)
        found = seen.objects
        for kind, why in seen.unseen.items():
            bundle.missing[f"objects/{kind}"] = why
        if not seen.there:
            bundle.missing["objects"] = f"there is no namespace {options.namespace}"
    except SupersonicError as error:
        bundle.missing["objects"] = str(error)
    if found:
        # Whatever the namespace's Secrets hold, also those that are not ours but mounted.
        _learn(redactor, found, api, options, bundle)
    for item in found:
        part(f"objects/{item.group_kind}/{item.name}.yaml", partial(_manifest, redactor, item.live), asks=False)
    if found:
        part("events.txt", lambda: _events(api, options, found))
    pods = [item.live for item in found if item.group_kind == POD]
    tasks = [*_envoys(pods, options, api, resolver), *_servers(pods, options, api, resolver)]
    logs = list(_logs(pods, options, api))
    pool = ThreadPoolExecutor(_WORKERS)
    try:
        # Side by side, and put in in one order, so that what does not fit is the same each time.
        answers = [(path, pool.submit(_within, limit, options.seconds, ask)) for path, ask in tasks]
        tails = [(path, pool.submit(_within, limit, options.seconds, ask)) for path, ask in logs]
        for path, answer in answers:
            part(path, partial(_learned_of, redactor, path, answer, limit, options), asks=False)
        told: dict[str, t.Any] = {}
        part("status.json", lambda: _told(options, resolver, prometheus, told))
        if told:
            part("status.html", lambda: instance_status_page.page([told], told["made"], options.version), asks=False)
        part("verification.json", lambda: _report(options.status.report), asks=False)
        for path, answer in tails:
            part(path, partial(_answered, answer, limit, options), end=True, asks=False)
    finally:
        # Who has not answered by now is not waited for.
        pool.shutdown(wait=False, cancel_futures=True)
    _finish(bundle, options, begun)
    return bundle


def _within(limit: float, seconds: float, ask: Callable[[], str]) -> str:
    if time.monotonic() > limit:
        raise _Late(f"the time for the bundle ({seconds:g} s) was over before it was asked for")
    return ask()


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, SupersonicError) else f"{type(error).__name__}: {error}"


def _manifest(redactor: Redactor, live: Mapping[str, t.Any]) -> str:
    return yaml_io.dump(redactor.manifest(live))


def _answered(answer: Future[str], limit: float, options: Options) -> str:
    """What has come, however late it is taken; who was asked in time may end, but not go on for ever."""
    try:
        return answer.result(max(limit + pod_http.WHOLE_ANSWER * options.timeout - time.monotonic(), 0))
    except NotYet:
        if answer.done():
            # It is the answer's own.
            raise
        raise _Late(f"it had not come when the time for the bundle ({options.seconds:g} s) was over") from None


def _learned_of(redactor: Redactor, path: str, answer: Future[str], limit: float, options: Options) -> str:
    return _learned(redactor, path, _answered(answer, limit, options))


def _learn(redactor: Redactor, found: Iterable[owned_objects.Ours], api: Api, options: Options, bundle: Bundle) -> None:
    """Everything secret that objects tell of, before any of them is written."""
    try:
        path = f"/api/v1/namespaces/{segment(options.namespace)}/secrets"
        for secret in api.list(path, f"Secrets in namespace {options.namespace}"):
            redactor.learn_secret(secret)
    except SupersonicError as error:
        bundle.missing["values of Secrets"] = (
            f"{error} So only what the inventory knows and what has the form of a credential was removed. Look "
            "before you pass it on."
        )
    for item in found:
        if item.group_kind != SECRET:
            redactor.learn_structure(item.live)


def _learned(redactor: Redactor, path: str, text: str) -> str:
    """A configuration with what has to be taken out of it known."""
    if path.endswith("config_dump.json"):
        redactor.learn_inside(text)
        try:
            parsed = json.loads(text)
        except ValueError as error:
            if text.startswith("HTTP "):
                return text
            # Nobody can tell the filters in it that come from Secrets.
            raise SupersonicError(f"it is left out, since it is no whole JSON ({len(text)} characters)") from error
        redactor.learn_structure(parsed)
        return json.dumps(redactor.structure(_without_code(parsed)), indent=1)
    return text


def _without_code(value: t.Any) -> t.Any:
    """A dump of Envoy without what it took from Secrets: filters that hold clients' tokens, keys."""
    if isinstance(value, Mapping):
        kind = str(value.get("@type", ""))
        if kind.endswith("EcdsConfigDump"):
            return {"@type": kind, "removed": "these filters come from a Secret"}
        if kind.endswith("SecretsConfigDump"):
            return {"@type": kind, "removed": "certificates and keys"}
        return {name: _without_code(item) for name, item in value.items()}
    return [_without_code(item) for item in value] if isinstance(value, list) else value


# ---- objects ---------------------------------------------------------------------------------------------------------
def _events(api: Api, options: Options, found: Iterable[owned_objects.Ours]) -> str:
    """The events of the instance's objects, the oldest first, a line each."""
    names = {(item.group_kind.kind, item.name) for item in found}
    prefix = f"{options.name}-"
    lines = []
    path = f"/api/v1/namespaces/{segment(options.namespace)}/events"
    for event in api.list(path, f"events in namespace {options.namespace}"):
        about = event.get("involvedObject") or {}
        name = str(about.get("name", ""))
        # Pods that are gone have events still.
        if (about.get("kind"), name) not in names and not name.startswith(prefix):
            continue
        when = event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp") or ""
        count = (event.get("series") or {}).get("count") or event.get("count") or 1
        message = " ".join(str(event.get("message", "")).split())
        kind, reason = event.get("type", ""), event.get("reason", "")
        lines.append(f"{when}  {kind}  {reason}  {about.get('kind', '')}/{name}  x{count}  {message}")
    kept = sorted(lines)[-_EVENTS:]
    return "\n".join(kept or ["none"]) + "\n"


def _logs(pods: Iterable[Mapping[str, t.Any]], options: Options, api: Api) -> Iterable[tuple[str, Callable[[], str]]]:
    """The end of each container's log, and of the one before where it was started anew."""
    for pod in pods:
        name = pod["metadata"]["name"]
        status = pod.get("status") or {}
        for kind in ("initContainerStatuses", "containerStatuses"):
            for container in status.get(kind) or []:
                earlier = [False, True] if container.get("restartCount") else [False]
                for previous in earlier:
                    path = f"logs/{name}/{container['name']}{'.previous' if previous else ''}.log"

                    def ask(name: str = name, container: str = container["name"], previous: bool = previous) -> str:
                        return _log(api, options, name, container, previous)

                    yield path, ask


def _log(api: Api, options: Options, pod: str, container: str, previous: bool) -> str:
    path = f"/api/v1/namespaces/{segment(options.namespace)}/pods/{segment(pod)}/log"
    lines, most, text = _LINES, 4 * options.log_size, ""
    for _attempt in range(_SHORTER):
        query = {"container": container, "timestamps": "true", "tailLines": str(lines), "limitBytes": str(most)}
        if previous:
            query["previous"] = "true"
        text = api.text(path, f"log of {container} in {pod}", query)
        # The limit cuts what is newest.
        if len(text.encode()) < most:
            return text
        lines = max(lines // 5, 10)
    return _whole(text, most, f"the log of {container} in {pod}")


def _whole(text: str, most: int, what: str) -> str:
    """A text that was cut at its end, without the part of a line there: of half a secret nobody knows what it is."""
    whole = text.rpartition("\n")[0]
    if not whole:
        raise SupersonicError(f"{what} is left out, since a line of it has more than {most} bytes")
    return f"{whole}\n"


# ---- Envoys and servers ----------------------------------------------------------------------------------------------
def _of(pods: Iterable[Mapping[str, t.Any]], component: str) -> list[Mapping[str, t.Any]]:
    label = "app.kubernetes.io/component"
    return [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(label) == component]


def _envoys(
    pods: Iterable[Mapping[str, t.Any]], options: Options, api: Api, resolver: Resolver
) -> Iterable[tuple[str, Callable[[], str]]]:
    """The admin interface of each Envoy, by a port forward to its loopback."""
    for pod in _of(pods, "envoy"):
        name = pod["metadata"]["name"]
        processes = [item["name"] for item in pod["spec"]["containers"] if _is_envoy(item["name"])]
        for number, container in enumerate(processes):
            for target, file in ENVOY:

                def ask(name: str = name, number: int = number, target: str = target) -> str:
                    port = pod_http.ADMIN_PORT + pod_http.ADMIN_STEP * number
                    return _http(resolver, api, options, name, port, "GET", target, f"Envoy in pod {name}")

                yield f"envoy/{name}/{container}/{file}", ask


def _is_envoy(container: str) -> bool:
    return container == "envoy" or container.startswith("envoy-")


def _servers(
    pods: Iterable[Mapping[str, t.Any]], options: Options, api: Api, resolver: Resolver
) -> Iterable[tuple[str, Callable[[], str]]]:
    ports = {"http": 8000, "metrics": 8002}
    for pod in _of(pods, "triton"):
        name = pod["metadata"]["name"]
        uid = str(pod["metadata"].get("uid", ""))
        for method, target, port, file in TRITON:

            def ask(
                name: str = name, uid: str = uid, method: str = method, target: str = target, port: str = port
            ) -> str:
                what = f"the server in pod {name}"
                return _http(resolver, api, options, name, ports[port], method, target, what, {"x-supersonic-key": uid})

            yield f"triton/{name}/{file}", ask


def _http(
    resolver: Resolver,
    api: Api,
    options: Options,
    pod: str,
    port: int,
    method: str,
    target: str,
    what: str,
    headers: Mapping[str, str] | None = None,
) -> str:
    """The answer of a port of a pod; one that is an error is told as what it is."""
    try:
        found = pod_http.ask(
            resolver.relay,
            api,
            options.namespace,
            pod,
            port,
            target,
            timeout=options.timeout,
            method=method,
            body=b"{}" if method == "POST" else None,
            headers=headers,
            most=_LARGEST_ANSWER,
        )
    except pod_http.NoAnswer as error:
        raise SupersonicError(f"{what} does not answer on port {port}: {error}") from error
    answer = found.body.decode(errors="replace")
    if len(found.body) >= _LARGEST_ANSWER:
        answer = _whole(answer, _LARGEST_ANSWER, f"the answer of {what}")
    if found.status != 200:
        return f"HTTP {found.status}\n{answer}"
    return answer or f"HTTP {found.status}\n"


# ---- how it is -------------------------------------------------------------------------------------------------------
def _told(
    options: Options, resolver: Resolver, prometheus: Callable[[], Prometheus] | None, told: dict[str, t.Any]
) -> str:
    told.update(instance_status.look(options.status, resolver, prometheus))
    return json.dumps(told, indent=1, sort_keys=True, default=str)


def _report(path: str) -> str:
    if not path:
        raise SupersonicError("there is no record: set verify_report, and verify writes one")
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise SupersonicError(f"{path} cannot be read: {error.strerror}") from error


# ---- the archive -----------------------------------------------------------------------------------------------------
def _finish(bundle: Bundle, options: Options, begun: float) -> None:
    """The manifest, which is always there."""
    told = {
        "format": FORMAT,
        "instance": options.name,
        "namespace": options.namespace,
        "collection": f"fastml.supersonic {options.version}".strip(),
        "begun": stamp(begun),
        "ended": stamp(time.time()),
        "files": {path: len(data) for path, data in sorted(bundle.files.items())},
        "cut": dict(sorted(bundle.cut.items())),
        "missing": dict(sorted(bundle.missing.items())),
        "short_values": bundle.redactor.short,
        "secrets": (
            "Values of Secrets, tokens and keys that the inventory knows and whatever has the form of a credential "
            "were removed from every file. Values of fewer than 6 characters (short_values) were removed from the "
            "Secrets only. Names of clients, models, nodes and addresses are in it."
        ),
    }
    bundle.files["MANIFEST.json"] = bundle.redactor.text(json.dumps(told, indent=1)).encode()


def write(bundle: Bundle, path: str, root: str) -> int:
    """Write the archive, for its owner alone, in one step; returns its size in bytes."""
    folder = os.path.dirname(path)
    made = int(time.time())
    descriptor, partial = tempfile.mkstemp(prefix=".bundle-", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as archive:
            for name, data in sorted(bundle.files.items()):
                info = tarfile.TarInfo(f"{root}/{name}")
                info.size, info.mode, info.mtime = len(data), 0o600, made
                archive.addfile(info, io.BytesIO(data))
        # mkstemp has made it for its owner alone.
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
    return os.path.getsize(path)
