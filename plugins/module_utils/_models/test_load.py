# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Loads a release in a temporary server and checks its golden requests before the release becomes current.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

The server is a pod beside the helper pod where the store is a claim, and a process where it is a folder.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import (
    golden_requests,
    inference_check,
    server_info,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver, Target
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.desired_objects import Key
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.diff import Mask
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.wait import Target as Awaited
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.wait import Waiter, WaitError
from ansible_collections.fastml.supersonic.plugins.module_utils._models.canary import Canary, compare_with_pool
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_servers import SERVED_ANNOTATION
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import Tree
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import TrialError, sentences
from ansible_collections.fastml.supersonic.plugins.module_utils._models.releases import missing_from
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import Store
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store_pod import (
    MANAGER,
    Claim,
    claim_label,
    node_of,
    patch,
    pinned,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models.test_load_pod import pod_on_trial

TRIAL_LABEL = "supersonic.fastml.org/test-load"
_COMPONENT = "model-test-load"
# What requests, patches and the end of a pod take beside what can be reckoned.
_SPARE_SECONDS = 60
_LOG_LINES = 20
# A server may say very much until it ends.
_LOG_BYTES = 64 << 10
_TERMINATION_SECONDS = 10.0
_PAUSE = 0.1
_STARTS = 3
# All that a server on trial gets of the publisher's environment, which may hold tokens: it runs the code of models.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH")
# Runs the server, and ends it and all that it has started when its own input ends: with the module, however that ends.
_WATCH = f"""
import os, signal, subprocess, sys, threading
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
def end(number):
    try:
        os.killpg(server.pid, number)
    except ProcessLookupError:
        pass
def watch():
    os.read(0, 1)
    end(signal.SIGTERM)
    try:
        server.wait({_TERMINATION_SECONDS})
    except subprocess.TimeoutExpired:
        end(signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
code = server.wait()
end(signal.SIGKILL)
sys.exit(code if code >= 0 else 128 - code)
"""


@dataclass(frozen=True)
class Limits:
    """The timeouts in seconds: to load everything, and to answer one request."""

    start: float
    request: float


class Trial(t.Protocol):
    """Loads a release that is in the store, but not served, and sends it its golden requests."""

    def run(self, tree: Tree, /) -> dict[str, t.Any]:
        """Test the release, return the observations. Raises SupersonicError with the server's message if it fails."""


class Goldens(Sequence[golden_requests.Golden]):
    """The golden requests that a release carries, read from its source one at a time: each may take 30 MB of memory."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        # Model and path in the tree.
        self._found: list[tuple[str, str]] = []
        for model in tree.models:
            folder = f"{model.name}/{golden_requests.FOLDER}"
            for entry in tree.below(folder):
                name = entry.path.removeprefix(f"{folder}/")
                if entry.mode != "dir" and name.endswith(".json") and "/" not in name:
                    self._found.append((model.name, entry.path))

    def __len__(self) -> int:
        return len(self._found)

    @t.overload
    def __getitem__(self, index: int) -> golden_requests.Golden: ...

    @t.overload
    def __getitem__(self, index: slice) -> list[golden_requests.Golden]: ...

    def __getitem__(self, index: int | slice) -> golden_requests.Golden | list[golden_requests.Golden]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        model, path = self._found[index]
        place, name = self._tree.places[path], os.path.basename(path)[: -len(".json")]
        # What it was read from is the larger part of it.
        document = golden_requests.parse_document(self._tree.read(path), place, flat=True)
        return replace(golden_requests.parse(document, model, name, place), document={})


def prove(tree: Tree, target: Target, resolver: Resolver, limits: Limits) -> dict[str, t.Any]:
    """Every model of the release is ready, and every golden request is answered as it should be."""
    names = [model.name for model in tree.models]
    wanted = server_info.Wanted(models=names, config=False, statistics=False, timeout=limits.request)
    deadline = time.monotonic() + limits.start
    while True:
        (answer,) = server_info.ask_all([target], resolver, wanted)
        # A pod without probes is ready before its server is.
        if answer["status"] not in inference_check.PASSING or time.monotonic() > deadline:
            break
        time.sleep(_PAUSE)
    if answer["status"] != inference_check.OK:
        raise TrialError(f"The server on trial does not answer: {answer['message'].rstrip('.')}.")
    wrong = missing_from([model.as_result() for model in tree.models], answer["models"])
    if wrong:
        raise TrialError(f"The server on trial has not loaded it: {'; '.join(wrong).rstrip('.')}.")
    checks: list[inference_check.Check] = []
    for golden in Goldens(tree):
        checks += inference_check.check_all([target], [golden], resolver, inference_check.Settings(limits.request))
        if any(check.scope == "target" and check.status != inference_check.OK for check in checks):
            # The others would find out the same.
            break
    if any(check.status != inference_check.OK for check in checks):
        raise TrialError(inference_check.describe_failures(checks))
    return {"models": names, "golden_requests": len(checks)}


class PodTrial:
    """A pod as the servers of the pool are, whose repository is the release instead of C(current)."""

    def __init__(
        self,
        resolver: Resolver,
        claim: Claim,
        template: Mapping[str, t.Any],
        limits: Limits,
        canary: Canary | None = None,
    ) -> None:
        self._api = resolver.api
        self._resolver = resolver
        self._claim = claim
        self._template = template
        self._limits = limits
        self._canary = canary
        self._pods = f"/api/v1/namespaces/{claim.namespace}/pods"
        self._labels: dict[str, str] = (template.get("metadata") or {}).get("labels") or {}

    def run(self, tree: Tree, /) -> dict[str, t.Any]:
        started = time.monotonic()
        self._clear_leftovers()
        goldens = Goldens(tree)
        samples = 1 + 2 * self._canary.samples if self._canary else 1
        soak = self._canary.seconds if self._canary else 0.0
        lifetime = self._limits.start + samples * len(goldens) * self._limits.request + soak + _SPARE_SECONDS
        with TrialPod(self._api, self._claim, self._template, tree.release, int(lifetime)) as pod:
            pod.wait(self._limits.start)
            target = Target("pod", {"name": pod.name, "namespace": self._claim.namespace}, "test load", "http")
            report = prove(tree, target, self._resolver, self._limits)
            report["seconds"] = round(time.monotonic() - started, 1)
            if self._canary is None:
                return report

            def join(seconds: float) -> None:
                pod.join(self._labels, time.monotonic() - started + seconds)

            compared = compare_with_pool(self._canary, self._resolver, target, goldens, join, self._limits.request)
            return {**report, "canary": compared}

    def _clear_leftovers(self) -> None:
        """Remove servers that interrupted publications left; the holder of the lock has no rival."""
        query = {"labelSelector": f"{TRIAL_LABEL}={claim_label(self._claim.name)}"}
        for pod in self._api.list(self._pods, f"pods in namespace {self._claim.namespace}", query):
            metadata = pod["metadata"]
            if not metadata.get("deletionTimestamp"):
                path = f"{self._pods}/{metadata['name']}"
                self._api.delete(path, f"Pod {metadata['name']}", uid=metadata["uid"], propagation="Background")


class TrialPod:
    """The pod of one trial, from its making to its end."""

    def __init__(self, api: Api, claim: Claim, template: Mapping[str, t.Any], release: str, lifetime: int) -> None:
        self._api = api
        self._claim = claim
        self._template = template
        self._release = release
        self._lifetime = lifetime
        self._joined = False
        self._live: dict[str, t.Any] = {}
        self.name = f"{claim.name[:40].rstrip('-.')}-test-{secrets.token_hex(4)}"
        self._path = f"/api/v1/namespaces/{claim.namespace}/pods/{self.name}"
        self._what = f"Pod {claim.namespace}/{self.name}"

    def __enter__(self) -> TrialPod:
        metadata = {
            "name": self.name,
            "namespace": self._claim.namespace,
            # Not yet those of the pool: nobody may send it requests.
            "labels": {
                "app.kubernetes.io/name": _COMPONENT,
                "app.kubernetes.io/component": _COMPONENT,
                "app.kubernetes.io/part-of": "supersonic",
                "app.kubernetes.io/managed-by": "fastml.supersonic",
                TRIAL_LABEL: claim_label(self._claim.name),
            },
            "annotations": {
                **((self._template.get("metadata") or {}).get("annotations") or {}),
                SERVED_ANNOTATION: self._release,
            },
        }
        spec = pod_on_trial(self._template, self._claim.name, self._release)
        spec["restartPolicy"] = "Never"
        spec["activeDeadlineSeconds"] = self._lifetime
        node = node_of(self._api, self._claim)
        if node:
            # The claim is mounted there, and can be mounted on one node only.
            spec["affinity"] = pinned(node)
        definition = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        self._live = self._api.apply(self._path, definition, self._what, manager=MANAGER, force=True, dry_run=False)
        return self

    def __exit__(self, *_exception: object) -> None:
        # What cannot be deleted now ends by itself and is cleared by the next publication.
        with contextlib.suppress(SupersonicError):
            # Nobody sends requests to one that never joined. The others need its place, and its accelerators.
            grace = None if self._joined else 0
            uid = self._live["metadata"]["uid"]
            self._api.delete(self._path, self._what, uid=uid, propagation="Background", grace=grace)
            seconds = float(self._live["spec"].get("terminationGracePeriodSeconds") or 0) + _SPARE_SECONDS
            Waiter(self._api, Mask(), seconds, budget=seconds).gone([self._awaited()])

    def wait(self, seconds: float) -> None:
        """Until its server is ready."""
        try:
            Waiter(self._api, Mask(), seconds, budget=seconds).ready([self._awaited()])
        except WaitError as exc:
            raise TrialError(f"The server on trial did not start. {exc}") from exc

    def join(self, labels: Mapping[str, str], lifetime: float) -> None:
        """Make it one of the pool: Services and whoever balances behind them find it by its labels.

        Whatever happens to this process, it leaves the pool so many seconds after its beginning.
        """
        deadline = int(lifetime + _SPARE_SECONDS)
        change: dict[str, t.Any] = {"metadata": {"labels": dict(labels)}}
        if deadline < self._lifetime:
            # Kubernetes only lets it be shortened.
            change["spec"] = {"activeDeadlineSeconds": deadline}
        patch(self._api, self._path, self._what, change)
        self._joined = True

    def _awaited(self) -> Awaited:
        return Awaited(Key("", "Pod", self._claim.namespace, self.name), self._path, self._live)


class ProcessTrial:
    """A server that this machine has, started for a copy of the release: files in the store are shared by releases."""

    def __init__(self, store: str, command: Sequence[str], resolver: Resolver, limits: Limits) -> None:
        self._store = store
        self._command = list(command)
        self._resolver = resolver
        self._limits = limits

    def run(self, tree: Tree, /) -> dict[str, t.Any]:
        started = time.monotonic()
        with self._copied(tree) as folder, self._process(folder) as port:
            target = Target("address", {"host": "127.0.0.1", "port": port}, "test load", "http")
            report = prove(tree, target, self._resolver, self._limits)
            return {**report, "seconds": round(time.monotonic() - started, 1)}

    @contextlib.contextmanager
    def _copied(self, tree: Tree) -> Iterator[str]:
        # Whoever has the lock next removes what a killed trial leaves in there.
        folder = os.path.join(self._store, "staging", f"trial-{secrets.token_hex(16)}")
        try:
            with sentences(self._store):
                os.mkdir(folder, 0o700)
                Store(self._store).replicate(tree.manifest, folder)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _process(self, folder: str) -> Iterator[int]:
        with tempfile.TemporaryFile() as log:
            for attempt in range(_STARTS):
                http, grpc = _free_ports()
                process = self._start(folder, http, grpc, log)
                try:
                    if self._is_live(process, http, log, last=attempt == _STARTS - 1):
                        yield http
                        return
                finally:
                    _end(process)

    def _start(self, folder: str, http: int, grpc: int, log: t.IO[bytes]) -> subprocess.Popen[bytes]:
        log.seek(0)
        log.truncate()
        command = [
            *self._command,
            f"--model-repository={folder}",
            "--http-address=127.0.0.1",
            f"--http-port={http}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={grpc}",
            "--allow-metrics=false",
            # What did not load is asked for; the server's end would not say which model it was.
            "--exit-on-error=false",
        ]
        return subprocess.Popen(
            [sys.executable, "-c", _WATCH, *command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        )

    def _is_live(self, process: subprocess.Popen[bytes], port: int, log: t.IO[bytes], *, last: bool) -> bool:
        """Whether the server is there; False when another process took its port and it is worth another try."""
        deadline = time.monotonic() + self._limits.start
        while process.poll() is None:
            if time.monotonic() > deadline:
                raise TrialError(
                    f"The server on trial has not loaded everything within {self._limits.start:g} s "
                    f"(test_load.timeout). {_tail(log)}"
                )
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                # Triton opens its ports when everything is loaded.
                return True
            time.sleep(_PAUSE)
        said = _tail(log)
        if "Address already in use" in said and not last:
            return False
        raise TrialError(f"The server on trial ended with exit code {process.returncode}. {said}")


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _tail(log: t.IO[bytes]) -> str:
    log.seek(max(log.seek(0, os.SEEK_END) - _LOG_BYTES, 0))
    lines = log.read(_LOG_BYTES).decode(errors="replace").strip().splitlines()[-_LOG_LINES:]
    return "Its last words: " + "\n".join(lines) if lines else "It said nothing."


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and what it has started."""
    if process.stdin:
        process.stdin.close()
    process.wait()
