# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waits until objects are ready or gone; stops early, with the reason, if that can no longer happen.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Threads follow what matters (the object, its pods, its events) by watches and put what they see into one queue;
all judgement happens in the thread that called.
"""

from __future__ import annotations

import http.client
import math
import queue
import threading
import time
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError, Watch, segment
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.desired_objects import Key
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.diff import Mask
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import (
    DAEMON_SET,
    DEPLOYMENT,
    JOB,
    POD,
    PVC,
    STATEFUL_SET,
    WORKLOADS,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.readiness import (
    READY,
    Trouble,
    Verdict,
    creation_trouble,
    newest_template_hash,
    observed,
    of_newest_revision,
    probe_words,
    selector,
    stuck_deletion,
    troubles,
    verdict,
    warning_events,
)

_WATCH_SECONDS = 240.0
_POLL_SECONDS = 2.0
_LOG_LINES = 10
_LINE_LENGTH = 300
# These say in events, not in a condition, that their pods cannot be created.
_SPEAK_IN_EVENTS = frozenset({STATEFUL_SET, DAEMON_SET, JOB, PVC})
_CREATION_PATIENCE = 15.0
_NO_CLASS_PATIENCE = 5.0
_MINE, _PODS, _EVENTS = "mine", "pods", "events"


class WaitError(SupersonicError):
    """Something did not become ready, or did not go."""


@dataclass(frozen=True)
class Target:
    """An object to wait for, as it was last seen."""

    key: Key
    path: str
    live: dict[str, t.Any]
    # Made just now: then every event about it belongs to this run.
    new: bool = False

    @property
    def label(self) -> str:
        return f"{self.key} in namespace {self.key.namespace}" if self.key.namespace else str(self.key)


class _Seen(t.NamedTuple):
    target: int
    what: str
    gone: bool
    item: dict[str, t.Any]


@dataclass
class _State:
    """The state of one target."""

    target: Target
    live: dict[str, t.Any]
    pods: dict[str, dict[str, t.Any]] = field(default_factory=dict)
    refusal: str | None = None
    deferred_binding: bool = False
    gone: bool = False
    since: dict[tuple[str, str], float] = field(default_factory=dict)
    template_hash: tuple[int, str | None] = (-1, None)


class Waiter:
    """Waits for several objects at once within one time budget."""

    def __init__(self, api: Api, mask: Mask, seconds: float, *, budget: float, load_balancers: bool = False) -> None:
        self._api = api
        self._mask = mask
        self._seconds = seconds
        # What the user has allowed, for the message: seconds is what is left of it.
        self._budget = budget
        self._load_balancers = load_balancers
        self._waits_for_pod: dict[str, bool] = {}

    def ready(self, targets: Iterable[Target]) -> None:
        """Return when all are ready; raise WaitError when one cannot be or time is over."""
        waiting = [_State(target, target.live) for target in targets]
        waiting = [state for state in waiting if not self._judge(state).ready]
        if waiting:
            self._run(waiting, self._ready_step, "is not ready")

    def gone(self, targets: Iterable[Target]) -> None:
        """Return when none of these very objects is there any more."""
        states = [_State(target, target.live) for target in targets]
        if states:
            self._run(states, lambda state: READY if state.gone else Verdict(False), "is still there")

    def _run(self, states: list[_State], step: t.Callable[[_State], Verdict], what: str) -> None:
        deadline = time.monotonic() + self._seconds
        deleting = what == "is still there"
        with _Followers(self._api, deadline) as followers:
            for number, state in enumerate(states):
                self._follow(followers, number, state, deleting)
            open_states = dict(enumerate(states))
            while open_states:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                try:
                    seen = followers.queue.get(timeout=min(1.0, left))
                except queue.Empty:
                    # Nothing happened; but the patience with a trouble may have run out.
                    candidates = list(open_states)
                else:
                    candidates = [seen.target] if seen.target in open_states else []
                    if candidates:
                        self._take(open_states[seen.target], seen, deleting)
                for number in candidates:
                    result = step(open_states[number])
                    if result.ready:
                        del open_states[number]
                        followers.stop(number)
                    elif result.final:
                        failed = [open_states.pop(number), *open_states.values()]
                        raise self._error(failed, f"{what} and will not be", deleting, first_only=True)
        if open_states:
            raise self._error(list(open_states.values()), f"{what} after {self._budget:g} s", deleting)

    def _follow(self, followers: _Followers, number: int, state: _State, deleting: bool) -> None:
        key, live = state.target.key, state.live
        folder, _slash, _name = state.target.path.rpartition("/")
        by_name = {"fieldSelector": f"metadata.name={key.name}"}
        # From now on: what happened before the last look at the object is in that look. A deletion is different:
        # the object may have gone between our request and this watch.
        version = None if deleting else live["metadata"].get("resourceVersion")
        followers.add(number, _MINE, folder, by_name, version, single=state.target.path)
        if deleting or not key.namespace:
            return
        core = f"/api/v1/namespaces/{segment(key.namespace)}"
        pods = selector(live) if key.group_kind in WORKLOADS else None
        if pods:
            followers.add(number, _PODS, f"{core}/pods", {"labelSelector": pods}, None)
        if key.group_kind in _SPEAK_IN_EVENTS:
            about = f"involvedObject.kind={key.kind},involvedObject.name={key.name}"
            only_new = key.group_kind != PVC and not state.target.new
            followers.add(number, _EVENTS, f"{core}/events", {"fieldSelector": about}, None, only_new=only_new)

    def _take(self, state: _State, seen: _Seen, deleting: bool) -> None:
        if seen.what == _PODS:
            name = seen.item["metadata"]["name"]
            if seen.gone:
                state.pods.pop(name, None)
            else:
                state.pods[name] = seen.item
        elif seen.what == _EVENTS:
            self._take_event(state, seen.item)
        elif deleting:
            same = seen.item.get("metadata", {}).get("uid") in (None, state.live["metadata"].get("uid"))
            # Another uid: ours went, and something has made a new one of the same name.
            state.gone = seen.gone or not same
            if not state.gone:
                state.live = seen.item
        elif seen.gone:
            state.gone = True
        else:
            state.live, state.gone = seen.item, False

    def _take_event(self, state: _State, event: dict[str, t.Any]) -> None:
        uid = (event.get("involvedObject") or {}).get("uid")
        if uid and uid != state.live["metadata"].get("uid"):
            return
        reason, message = event.get("reason"), str(event.get("message") or "").strip()
        if reason in ("WaitForFirstConsumer", "WaitForPodScheduled"):
            state.deferred_binding = True
        elif reason in ("FailedCreate", "ProvisioningFailed", "FailedBinding"):
            state.refusal = message

    def _ready_step(self, state: _State) -> Verdict:
        if state.gone:
            return Verdict(False, "it has been deleted by somebody else meanwhile", True)
        result = self._judge(state)
        if result.ready or result.final:
            return result
        now = time.monotonic()
        present = {(trouble.where, trouble.what or trouble.text): trouble for trouble in self._troubles(state)}
        state.since = {key: state.since.get(key, now) for key in present}
        if any(now - state.since[key] >= trouble.patience for key, trouble in present.items()):
            return Verdict(False, result.why, True)
        return result

    def _judge(self, state: _State) -> Verdict:
        key = state.target.key
        result = verdict(key.group_kind, state.live, load_balancers=self._load_balancers)
        if key.group_kind == PVC and not result.ready and not result.final:
            if state.deferred_binding:
                return READY
            deferred, _problem = self._storage_class(state)
            # Such a claim is bound when a pod that uses it is scheduled: waiting for it first would hang for ever.
            return READY if deferred else result
        return result

    def _troubles(self, state: _State) -> list[Trouble]:
        found: list[Trouble] = []
        kind = state.target.key.group_kind
        creation = creation_trouble(state.live)
        if creation:
            found.append(creation)
        if kind == PVC:
            problem = self._storage_class(state)[1]
            if problem:
                found.append(Trouble("", problem, _NO_CLASS_PATIENCE))
            elif state.refusal:
                found.append(Trouble("", state.refusal, math.inf))
        elif state.refusal:
            found.append(Trouble("", f"its pods cannot be created: {state.refusal}", _CREATION_PATIENCE))
        if kind == POD:
            found += troubles([state.live])
        pods = self._new_pods(state)
        return found + troubles(pods)

    def _new_pods(self, state: _State) -> list[t.Any]:
        pods = list(state.pods.values())
        kind = state.target.key.group_kind
        if kind in WORKLOADS and kind != JOB and not observed(state.live):
            # Which pods belong to the new template is known once its controller has seen it.
            return []
        if kind == DEPLOYMENT and pods and troubles(pods):
            generation = int((state.live.get("status") or {}).get("observedGeneration") or 0)
            if state.template_hash[0] != generation or state.template_hash[1] is None:
                state.template_hash = (generation, self._template_hash(state))
        return of_newest_revision(kind, state.live, pods, state.template_hash[1])

    def _template_hash(self, state: _State) -> str | None:
        key = state.target.key
        path = f"/apis/apps/v1/namespaces/{segment(key.namespace or '')}/replicasets"
        query = {"labelSelector": selector(state.live) or ""}
        return newest_template_hash(state.live, self._optional_list(path, query))

    def _storage_class(self, state: _State) -> tuple[bool, str | None]:
        """Whether volumes of the claim's class wait for a pod, and what is wrong with the class."""
        spec = state.live.get("spec") or {}
        name = spec.get("storageClassName")
        if spec.get("volumeName") or name == "":
            return False, None
        if name is None:
            return False, "it names no storage class and the cluster has no default one"
        if name not in self._waits_for_pod:
            try:
                found = self._api.find(
                    f"/apis/storage.k8s.io/v1/storageclasses/{segment(name)}", f"StorageClass/{name}"
                )
            except ApiError:
                # Not ours to read, and waiting for a volume that itself waits for a pod would never end.
                deferred = True
            else:
                if not found:
                    # Somebody may still make the class, or a volume of it: this answer is not kept.
                    return False, None if self._has_volume(name) else f"the storage class {name} does not exist"
                deferred = found.get("volumeBindingMode") == "WaitForFirstConsumer"
            self._waits_for_pod[name] = deferred
        return self._waits_for_pod[name], None

    def _has_volume(self, name: str) -> bool:
        """Whether volumes made by hand carry this class, which then needs no StorageClass; yes if not ours to read.

        See https://kubernetes.io/docs/concepts/storage/persistent-volumes/#class-1.
        """
        try:
            volumes = self._api.list("/api/v1/persistentvolumes", "PersistentVolumes")
        except ApiError:
            return True
        return any((volume.get("spec") or {}).get("storageClassName") == name for volume in volumes)

    def _optional_list(self, path: str, query: Mapping[str, str]) -> list[dict[str, t.Any]]:
        """List objects that only improve a message; an error gives none."""
        try:
            return self._api.list(path, path, query)
        except SupersonicError:
            return []

    def _error(self, states: Sequence[_State], what: str, deleting: bool, first_only: bool = False) -> WaitError:
        texts = []
        for position, state in enumerate(states):
            head = what if position == 0 or not first_only else "is not ready yet"
            reason = self._why_still_there(state) if deleting else self._why_not_ready(state)
            texts.append(f"{state.target.label} {head}: {reason}")
        return WaitError(self._mask.text("\n".join(texts)))

    def _why_not_ready(self, state: _State) -> str:
        key = state.target.key
        if state.gone:
            return "it has been deleted by somebody else meanwhile."
        parts = [self._judge(state).why]
        found = self._troubles(state)
        events: list[dict[str, t.Any]] = []
        if key.namespace:
            events = self._optional_list(
                f"/api/v1/namespaces/{segment(key.namespace)}/events", {"fieldSelector": "type=Warning"}
            )
        # The same trouble of many pods is told once.
        groups: dict[str, list[Trouble]] = {}
        for trouble in found:
            groups.setdefault(trouble.text, []).append(trouble)
        for text, same in groups.items():
            pod = same[0].where
            who = f"pod {pod}" + (f" and {len(same) - 1} more" if len(same) > 1 else "")
            if same[0].wants_events:
                words = probe_words(events, pod) or next(iter(warning_events(events, [pod], 1)), None)
                text = f"{text} ({words})" if words else text
            parts.append(f"{who}: {text}" if pod else text)
        names = [key.name, *(trouble.where for trouble in found), *state.pods]
        # Controllers name the objects they make after themselves; their own events are about those.
        names += [
            event["involvedObject"]["name"]
            for event in events
            if (event.get("involvedObject") or {}).get("kind") in ("ReplicaSet", "Job")
            and str(event["involvedObject"].get("name")).startswith(f"{key.name}-")
        ]
        said = " ".join(parts)
        last = [line for line in warning_events(events, names) if line.partition(": ")[2] not in said]
        if last:
            parts.append(f"last warnings: {' | '.join(last)}")
        text = "; ".join(part.rstrip(". ") for part in parts) + "."
        return text + self._logs(key.namespace, found or self._failed_pods(state))

    def _failed_pods(self, state: _State) -> list[Trouble]:
        failed = [
            p["metadata"]["name"] for p in state.pods.values() if (p.get("status") or {}).get("phase") == "Failed"
        ]
        return [Trouble(failed[-1], "", math.inf, container="")] if failed else []

    def _logs(self, namespace: str | None, found: Iterable[Trouble]) -> str:
        for trouble in found:
            if trouble.container is None or not namespace:
                continue
            path = f"/api/v1/namespaces/{segment(namespace)}/pods/{segment(trouble.where)}/log"
            query = {"tailLines": str(_LOG_LINES)}
            if trouble.container:
                query["container"] = trouble.container
            for previous in ["true", "false"] if trouble.previous_log else ["false"]:
                try:
                    log = self._api.text(path, f"log of pod {trouble.where}", {**query, "previous": previous}).strip()
                except SupersonicError:
                    continue
                if log:
                    lines = "\n".join(f"  {line[:_LINE_LENGTH]}" for line in log.splitlines()[-_LOG_LINES:])
                    return f" Last lines of its log:\n{lines}"
        return ""

    def _why_still_there(self, state: _State) -> str:
        text = stuck_deletion(state.live)
        key = state.target.key
        pods = selector(state.live) if key.group_kind in WORKLOADS else None
        if pods and key.namespace:
            left = self._optional_list(f"/api/v1/namespaces/{segment(key.namespace)}/pods", {"labelSelector": pods})
            held = [
                f"{pod['metadata']['name']}"
                + (
                    f" (finalizers {', '.join(pod['metadata']['finalizers'])})"
                    if pod["metadata"].get("finalizers")
                    else ""
                )
                for pod in left
            ]
            if held:
                text += f": pods {', '.join(held[:5])}" + (f" and {len(held) - 5} more" if len(held) > 5 else "")
        return f"{text}."


class _Followers:
    """The threads that watch, and the queue that they fill."""

    def __init__(self, api: Api, deadline: float) -> None:
        self.queue: queue.Queue[_Seen] = queue.Queue()
        self._api = api
        self._deadline = deadline
        self._stopped: dict[int, threading.Event] = {}
        self._open: list[tuple[int, Watch]] = []
        self._lock = threading.Lock()

    def __enter__(self) -> _Followers:
        return self

    def __exit__(self, *_exc: object) -> None:
        for number in list(self._stopped):
            self.stop(number)

    def stop(self, number: int) -> None:
        self._stopped[number].set()
        with self._lock:
            for owner, watch in self._open:
                if owner == number:
                    watch.close()

    def add(
        self,
        number: int,
        what: str,
        path: str,
        query: Mapping[str, str],
        version: str | None,
        *,
        single: str | None = None,
        only_new: bool = False,
    ) -> None:
        stopped = self._stopped.setdefault(number, threading.Event())
        follower = _Follower(self, stopped, number, what, path, dict(query), version, single, only_new)
        # Daemons: a thread that still reads from the network must not keep the module from ending.
        threading.Thread(target=follower.run, daemon=True).start()


@dataclass
class _Follower:
    """Follows one list of objects until told to stop, through closed connections and expired versions."""

    owner: _Followers
    stopped: threading.Event
    number: int
    what: str
    path: str
    query: dict[str, str]
    version: str | None
    single: str | None
    only_new: bool
    _known: dict[str, dict[str, t.Any]] = field(default_factory=dict)

    def run(self) -> None:
        delay = 0.2
        while not self.stopped.is_set() and time.monotonic() < self.owner._deadline:
            try:
                if self.version is None:
                    self._list()
                opened = time.monotonic()
                self._watch()
                if time.monotonic() - opened > 1.0:
                    delay = 0.2
                else:
                    # Whatever closes watches as soon as they are open must not make us spin.
                    self.stopped.wait(delay)
                    delay = min(5.0, delay * 2)
            except ApiError as exc:
                if exc.status == 403:
                    self._without_rights()
                    return
                if exc.status == 410:
                    self.version = None
                elif exc.status == 404:
                    # The kind itself has gone, and the object with it.
                    self._put(True, {})
                    return
                self.stopped.wait(delay)
            except (OSError, ValueError, http.client.HTTPException, SupersonicError):
                self.version = None
                self.stopped.wait(delay)
                delay = min(5.0, delay * 2)

    def _list(self) -> None:
        answer = self.owner._api.get(self.path, self.path, self.query)
        kind = str(answer.get("kind", "")).removesuffix("List")
        found = {
            item["metadata"]["uid"]: {"apiVersion": answer.get("apiVersion"), "kind": kind, **item}
            for item in answer["items"] or []
        }
        first = self.version is None and not self._known
        for uid, item in self._known.items():
            if uid not in found:
                self._put(True, item)
        if not (first and self.only_new):
            for item in found.values():
                self._put(False, item)
        if not found and self.single:
            self._put(True, {})
        self._known = found
        self.version = answer["metadata"]["resourceVersion"]

    def _watch(self) -> None:
        left = self.owner._deadline - time.monotonic()
        query = {**self.query, "resourceVersion": self.version or ""}
        watch = self.owner._api.watch(self.path, query, min(_WATCH_SECONDS, left + 1))
        entry = (self.number, watch)
        with self.owner._lock:
            self.owner._open.append(entry)
        try:
            for event in watch:
                if self.stopped.is_set():
                    return
                item = event["object"]
                if event["type"] == "ERROR":
                    self.version = None
                    return
                self.version = item["metadata"]["resourceVersion"]
                if event["type"] == "BOOKMARK":
                    continue
                gone = event["type"] == "DELETED"
                if gone:
                    self._known.pop(item["metadata"]["uid"], None)
                else:
                    self._known[item["metadata"]["uid"]] = item
                self._put(gone, item)
        finally:
            with self.owner._lock:
                self.owner._open.remove(entry)
            watch.close()

    def _without_rights(self) -> None:
        """Watching is not allowed. Pods and events only help to explain; the object itself can be polled."""
        while self.single and not self.stopped.is_set() and time.monotonic() < self.owner._deadline:
            try:
                item = self.owner._api.find(self.single, self.single)
            except SupersonicError:
                item = None
            else:
                self._put(item is None, item or {})
            self.stopped.wait(_POLL_SECONDS)

    def _put(self, gone: bool, item: dict[str, t.Any]) -> None:
        self.owner.queue.put(_Seen(self.number, self.what, gone, item))
