# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Samples the number of ready servers and their compute time during a benchmark.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import threading
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.load import Busy, Look
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import kserve_client
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver, Target, is_leaving
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.pool import Pool
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import segment

_LOOK_SECONDS = 1.0
_SAMPLE_SECONDS = 2.0
_ASK_SECONDS = 5.0
_SIDE_BY_SIDE = 16


def executed_ns(statistics: Sequence[Mapping[str, t.Any]]) -> int:
    """For how long a server has executed models since it started, by its statistics.

    By batches: what is told by requests counts the same time once for each request of a batch. An ensemble executes
    nothing itself, and has no batches.
    """
    return sum(
        int((batch.get("compute_infer") or {}).get("ns") or 0)
        for entry in statistics
        for batch in entry.get("batch_stats") or []
    )


class Sum:
    """The sum of a counter over all servers, including those that come, go or restart meanwhile."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._began = False
        self.total = 0

    def take(self, counts: Mapping[str, int]) -> int:
        """Add the increase since the last sample; counts from before the first sample are ignored."""
        for server, count in counts.items():
            if server in self._last:
                last = self._last[server]
                # One that was started anew counts from nothing.
                self.total += count - last if count >= last else count
            elif self._began:
                self.total += count
            self._last[server] = count
        self._began = True
        return self.total


class Watcher:
    """Looks at the pool while there is load, in threads of its own."""

    def __init__(self, pool: Pool, resolver: Resolver, labels: Mapping[str, str]) -> None:
        self._pool = pool
        self._resolver = resolver
        self._labels = dict(labels)
        self._clients: dict[str, kserve_client.Client] = {}
        self._sum = Sum()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._looks: list[Look] = []
        self._busy: list[Busy] = []
        self.problems: dict[str, None] = {}

    def start(self) -> None:
        """Begin, with a first look at everything before it returns."""
        self._look()
        self._sample()
        for work, seconds in ((self._look, _LOOK_SECONDS), (self._sample, _SAMPLE_SECONDS)):
            thread = threading.Thread(target=self._repeat, args=(work, seconds), name="benchmark", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End, with a last look."""
        if self._over.is_set():
            return
        self._over.set()
        for thread in self._threads:
            thread.join()
        try:
            self._try(self._look)
            self._try(self._sample)
        finally:
            for client in self._clients.values():
                client.close()

    def since(self, begin: float) -> tuple[list[Look], list[Busy]]:
        """The samples, with times since then (time.monotonic())."""
        return (
            [Look(round(look.time - begin, 3), look.wanted, look.ready) for look in self._looks],
            [Busy(sample.time - begin, sample.seconds) for sample in self._busy],
        )

    def _repeat(self, work: Callable[[], None], seconds: float) -> None:
        while not self._over.wait(seconds):
            self._try(work)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except SupersonicError as exc:
            # The load goes on; a look that is missing is bridged by the ones beside it.
            self.problems[str(exc)] = None

    def _look(self) -> None:
        wanted, ready = self._pool.look()
        self._looks.append(Look(time.monotonic(), wanted, ready))

    def _sample(self) -> None:
        path = f"/api/v1/namespaces/{segment(self._pool.namespace)}/pods"
        labels = ",".join(f"{key}={value}" for key, value in self._labels.items())
        pods = self._resolver.api.list(path, "the pods of the servers", {"labelSelector": labels})
        running = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Running"]
        with ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE) as executor:
            found = dict(executor.map(self._executed, running))
        counts = {uid: count for uid, count in found.items() if count is not None}
        self._busy.append(Busy(time.monotonic(), self._sum.take(counts) / 1e9))
        silent = [
            pod["metadata"]["name"]
            for pod in running
            if found[pod["metadata"]["uid"]] is None and not is_leaving(pod) and _is_ready(pod)
        ]
        if silent:
            self.problems[f"Servers did not tell their statistics: {', '.join(silent)}."] = None

    def _executed(self, pod: Mapping[str, t.Any]) -> tuple[str, int | None]:
        metadata = pod["metadata"]
        uid = str(metadata["uid"])
        client = self._clients.get(uid)
        try:
            if client is None:
                place = {"namespace": metadata["namespace"], "name": metadata["name"]}
                places, _absences = self._resolver.resolve(Target("pod", place, "server", "http"))
                if not places:
                    return uid, None
                client = self._clients[uid] = kserve_client.open_client(places[0].endpoint)
            return uid, executed_ns(client.statistics(_ASK_SECONDS))
        except (kserve_client.CallError, SupersonicError):
            return uid, None


def _is_ready(pod: Mapping[str, t.Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)
