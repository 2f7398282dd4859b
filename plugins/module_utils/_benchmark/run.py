# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a benchmark: every pool under the same load, or one server under increasing load.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import time
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark import load_pods
from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark import (
    measured_capacity as _benchmark_capacity,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.load import (
    Busy,
    Look,
    Share,
    Step,
    busy_seconds,
    changes,
    latency,
    length,
    mean_servers,
    only_changes,
    parse_profile,
    settled,
    shares,
    timeline,
    utilization,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.load_pods import Clients, Outcome, Pods
from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.report import (
    CAPACITY_COLUMNS,
    FIGURE_COLUMNS,
    Folder,
    table,
    write_capacity,
    write_figure,
    write_pool,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.watch import Watcher
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.pool import DYNAMIC, Pool
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.prometheus import (
    Prometheus,
    look_at,
    number,
    parse_address,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.queries import service_queries

Row = dict[str, t.Any]
# Between two levels of a sweep, in which what is in flight is answered.
PAUSE = 2.0
# Of a level, in which connections are made and batches form.
_WARM = 1.0
# Envoys ask for the servers' addresses every second, and then for their health.
_KNOWN_SECONDS = 3.0
_ALIVE_SECONDS = 5.0
_WIDTH = 1.0
# Quantities of Prometheus that are written beside what was seen here, and how often (seconds).
RECORDED = (
    "requests_in_flight",
    "servers_wanted",
    "servers",
    "busy_servers",
    "utilization",
    "queue_time",
    "request_rate",
)
_STEP = 5


@dataclass(frozen=True)
class Options:
    """The options of a benchmark."""

    namespace: str
    instance: str
    clients: Clients
    profile: Sequence[Step]
    pools: Sequence[str]
    settle_seconds: float
    # After each change of the load, for the statistics of what is settled.
    settled_after: float
    report: str
    # url, token, ca_certificates; None asks none.
    prometheus: Mapping[str, t.Any] | None = None


def parse_pools(entries: Sequence[t.Any]) -> list[str]:
    """Numbers of servers, and `dynamic`."""
    pools = [str(entry) for entry in entries]
    for index, pool in enumerate(pools):
        if pool != DYNAMIC and not (pool.isdigit() and int(pool) > 0):
            raise SupersonicError(
                f"pools[{index}] is '{pool}'; it must be a number of servers, 1 or more, or '{DYNAMIC}'."
            )
    if not pools:
        raise SupersonicError("pools is empty, so nothing would be measured. Name at least one.")
    if len(set(pools)) < len(pools):
        raise SupersonicError(f"pools names a pool twice: {', '.join(pools)}.")
    return pools


@dataclass
class Seen:
    """The observations of one pool under load."""

    outcome: Outcome
    looks: list[Look]
    busy: list[Busy]
    problems: list[str]
    # What Prometheus has recorded meanwhile, and why not.
    recorded: list[dict[str, t.Any]] = field(default_factory=list)
    unrecorded: str = ""


class Benchmark:
    """One run on one instance. Whatever happens, the pool is left as it was."""

    def __init__(self, resolver: Resolver, options: Options) -> None:
        self._resolver = resolver
        self._options = options
        self._pool = Pool(resolver.api, options.namespace, options.instance)
        self._checked = False

    def plan(self) -> dict[str, t.Any]:
        """The steps of the benchmark, for check mode."""
        self._pool.deployment()
        self._pool.check(self._options.pools)
        scaler = self._pool.autoscaler
        return {"autoscaler": {"kind": scaler.kind, "name": scaler.name, "min": scaler.minimum, "max": scaler.maximum}}

    def restore(self) -> bool:
        """Put back what an interrupted benchmark has left."""
        removed = load_pods.clear(self._resolver.api, self._options.namespace, self._options.instance)
        return self._pool.restore() or removed > 0

    def leftover(self) -> bool:
        """Whether an interrupted benchmark has left something."""
        left = load_pods.leftover(self._resolver.api, self._options.namespace, self._options.instance)
        return self._pool.leftover() or bool(left)

    def figure(self) -> dict[str, t.Any]:
        """Each pool under the same load."""
        options = self._options
        self.plan()
        folder = Folder(options.report) if options.report else None
        load = shares(options.profile)
        rows: list[dict[str, t.Any]] = []
        timelines: dict[str, list[dict[str, t.Any]]] = {}
        looks: dict[str, list[dict[str, t.Any]]] = {}
        left = self.restore()
        try:
            for name in options.pools:
                self._prepare(None if name == DYNAMIC else int(name))
                # A pod for the clients that come and go together.
                seen = self._under_load([[share] for share in load], length(options.profile))
                rows.append(figure_row(name, seen, options.profile, options.settled_after))
                timelines[name] = timeline(seen.outcome.requests, seen.looks, seen.busy, options.profile, _WIDTH)
                looks[name] = [look._asdict() for look in only_changes(seen.looks)]
                if folder:
                    write_pool(folder, name, seen.outcome.requests, timelines[name], seen.recorded)
        finally:
            self._pool.restore(only_mine=True)
        report = {
            "profile": [{"clients": step.clients, "seconds": step.seconds} for step in options.profile],
            "model": options.clients.model,
            "settled_after": options.settled_after,
            "pools": rows,
            "servers": looks,
        }
        plotted = write_figure(folder, {**report, "timelines": timelines}) if folder else False
        return {
            **report,
            "restored": left,
            "table": table(rows, FIGURE_COLUMNS),
            "files": folder.files if folder else [],
            "plotted": plotted,
        }

    def capacity(
        self, levels: Sequence[int], seconds: float, factor: float, longest_wait: float, servers: int
    ) -> dict[str, t.Any]:
        """One server under more and more requests in flight."""
        options = self._options
        self._pool.deployment()
        self._pool.check(["1"])
        folder = Folder(options.report) if options.report else None
        sweep = sweep_of(levels, seconds)
        left = self.restore()
        try:
            self._prepare(1)
            seen = self._under_load([sweep], sweep[-1].end)
        finally:
            self._pool.restore(only_mine=True)
        rows = [capacity_row(seen, share) for share in sweep]
        if seen.outcome.failures:
            raise SupersonicError(
                f"{seen.outcome.failures} requests of the sweep failed, so it says nothing of the capacity: "
                f"{'; '.join(seen.outcome.errors)}."
            )
        found = _benchmark_capacity.capacity(
            [_benchmark_capacity.Level(row["clients"], row["throughput"], row["mean_ms"] or 0.0) for row in rows],
            factor,
        )
        at_most = servers or self._pool.autoscaler.maximum or 1
        variables = _benchmark_capacity.recommendations(found, at_most, longest_wait)
        report = {
            "model": options.clients.model,
            "levels": rows,
            "unloaded_ms": round(found.unloaded_ms, 3),
            "throughput": round(found.largest_throughput, 2),
            "saturation": round(found.saturation, 2),
            "latency_factor": factor,
            "latency_limit_at": round(found.latency_limit_at, 2),
            "latency_limit_reached": found.reached,
            "requests_per_server": round(found.requests_per_server, 2),
            "servers": at_most,
            "variables": variables,
            "variables_text": _benchmark_capacity.pasted(variables, options.clients.model),
        }
        plotted = write_capacity(folder, report) if folder else False
        return {
            **report,
            "restored": left,
            "table": table(rows, CAPACITY_COLUMNS),
            "files": folder.files if folder else [],
            "plotted": plotted,
        }

    def _prepare(self, servers: int | None) -> None:
        if servers is None:
            self._pool.let_go()
        else:
            self._pool.hold(servers)
        self._pool.settle(servers, self._options.settle_seconds)
        time.sleep(_KNOWN_SECONDS)

    def _under_load(self, groups: Sequence[Sequence[Share]], seconds: float) -> Seen:
        options = self._options
        labels = {
            "app.kubernetes.io/name": "supersonic",
            "app.kubernetes.io/instance": options.instance,
            "app.kubernetes.io/component": "triton",
        }
        servers = self._pool.deployment()["metadata"]
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": servers["name"], "uid": servers["uid"]}
        with Pods(self._resolver.api, options.namespace, options.instance, options.clients, groups, owner) as pods:
            # A dynamic pool without a server would be woken by it.
            if not self._checked and self._pool.look()[1] > 0:
                pods.check()
                self._checked = True
            watcher = Watcher(self._pool, self._resolver, labels)
            watcher.start()
            try:
                begin = pods.begin()
                while (left := begin + seconds - time.monotonic()) > 0:
                    time.sleep(min(left, _ALIVE_SECONDS))
                    check_wanted()
                    pods.alive()
            finally:
                watcher.stop()
            looks, busy = watcher.since(begin)
            outcome = pods.collect()
        seen = Seen(outcome, looks, busy, list(watcher.problems))
        if options.prometheus:
            wanted = options.prometheus
            try:
                prometheus = Prometheus(
                    parse_address(wanted["url"], None),
                    self._resolver,
                    token=wanted.get("token") or "",
                    authorities=wanted.get("ca_certificates") or "",
                )
                with contextlib.closing(prometheus):
                    seen.recorded = recorded(prometheus, options.namespace, options.instance, begin, seconds)
            except SupersonicError as exc:
                # It is a second view: a pool can be measured without.
                seen.unrecorded = str(exc)
        return seen


def check_wanted() -> None:
    """Raise when nobody reads the result any more: Ansible that was interrupted lets its modules go on alone."""
    watch = select.poll()
    # The standard output, whatever Python has put in its place.
    watch.register(1, 0)
    if any(event & select.POLLERR for _descriptor, event in watch.poll(0)):
        raise SupersonicError("The benchmark was cancelled: Ansible ended its task.")


def recorded(prometheus: Prometheus, namespace: str, instance: str, begin: float, seconds: float) -> list[Row]:
    """The values of Prometheus since then (time.monotonic()), at the resolution of its scrapes."""
    found = look_at(prometheus, namespace, instance, None)
    if found.problems:
        raise SupersonicError(f"No data: {' '.join(found.problems)}")
    queries = service_queries(
        instance, namespace, labels=found.labels, scrape_interval=found.scrape_interval, recorded=found.recorded
    )
    # By its own clock.
    now = float(prometheus.query("time()")["result"][1])
    start = now - (time.monotonic() - begin)
    rows: dict[float, Row] = {}
    for name in RECORDED:
        span = {
            "query": queries[name],
            "start": f"{start:.3f}",
            "end": f"{start + seconds:.3f}",
            "step": str(_STEP),
        }
        data = prometheus.get("/api/v1/query_range", span, f"the query of {name}")
        for series in data["result"]:
            for moment, text in series["values"]:
                at = round(float(moment) - start, 3)
                rows.setdefault(at, {"seconds": at})[name] = number(text)
    if not rows:
        raise SupersonicError(
            f"No data: Prometheus ({prometheus.address}) has nothing of the instance {instance} from this time."
        )
    return [rows[at] for at in sorted(rows)]


def sweep_of(levels: Sequence[int], seconds: float) -> list[Share]:
    """One level after the other, each for so long."""
    for index, level in enumerate(levels):
        if level < 1 or (index and level <= levels[index - 1]):
            raise SupersonicError(f"levels[{index}] is {level}; levels have to grow, from 1 on.")
    if not levels or levels[0] != 1:
        raise SupersonicError("levels has to begin with 1: what a lone request takes is what others are compared with.")
    if len(levels) < 2:
        raise SupersonicError("levels has to have at least two levels, or nothing grows.")
    if seconds <= 2 * _WARM:
        raise SupersonicError(f"The seconds of a level are {seconds:g}; they have to be more than {2 * _WARM:g}.")
    return [
        Share(level, index * (seconds + PAUSE), index * (seconds + PAUSE) + seconds)
        for index, level in enumerate(levels)
    ]


def figure_row(name: str, seen: Seen, profile: Sequence[Step], settled_after: float) -> dict[str, t.Any]:
    """One pool in one line."""
    end = length(profile)
    outcome = seen.outcome
    quiet = latency(settled(outcome.requests, profile, settled_after))
    _wanted, ready = mean_servers(seen.looks, 0, end)
    used = utilization(seen.busy, seen.looks, 0, end)
    during = [look.ready for look in seen.looks if 0 <= look.time <= end]
    return {
        "pool": name,
        **latency(outcome.requests),
        "settled_mean_ms": quiet["mean_ms"],
        "settled_p99_ms": quiet["p99_ms"],
        "failures": outcome.failures,
        "errors": list(outcome.errors),
        "lost_client_seconds": round(outcome.lost, 1),
        "throughput": round(len(outcome.requests) / end, 2),
        "servers_mean": round(ready, 3),
        "servers_max": max(during, default=0),
        "busy_seconds": round(busy_seconds(seen.busy, 0, end), 2),
        "utilization": None if used is None else round(used, 4),
        "swings": swings(seen.looks, profile),
        "problems": seen.problems,
        "prometheus": seen.unrecorded or ("recorded" if seen.recorded else ""),
    }


def swings(looks: Sequence[Look], profile: Sequence[Step]) -> int:
    """The number of times that the wanted number of servers changed direction under constant load."""
    times = [begin for begin, _clients in changes(profile)] + [length(profile)]
    count = 0
    for begin, end in itertools.pairwise(times):
        wanted = [look.wanted for look in looks if begin <= look.time < end]
        moves = [after - before for before, after in itertools.pairwise(wanted) if after != before]
        count += sum((first > 0) != (second > 0) for first, second in itertools.pairwise(moves))
    return count


def capacity_row(seen: Seen, share: Share) -> dict[str, t.Any]:
    """One level in one line: what was sent after the beginning of the level and answered before its end."""
    begin = share.begin + _WARM
    inside = [each for each in seen.outcome.requests if each.begin >= begin and each.begin + each.seconds <= share.end]
    answered = sum(begin <= each.begin + each.seconds <= share.end for each in seen.outcome.requests)
    used = utilization(seen.busy, seen.looks, begin, share.end)
    return {
        "clients": share.clients,
        "throughput": round(answered / (share.end - begin), 2),
        **latency(inside),
        "failures": 0,
        "utilization": None if used is None else round(used, 4),
    }


def options_of(params: Mapping[str, t.Any]) -> Options:
    """The options of the module, judged."""
    pod, tls = params["pod"], params["tls"] or {}
    if pod["run_as_user"] == 0:
        raise SupersonicError("pod.run_as_user is 0, but the pods do not run as root. Name another user.")
    if bool(tls.get("client_certificate")) != bool(tls.get("client_key")):
        raise SupersonicError("tls.client_certificate and tls.client_key belong together; one of them is missing.")
    for name in ("settle_timeout", "settled_after"):
        if params[name] < 0:
            raise SupersonicError(f"{name} is {params[name]:g}; it must be 0 or more.")
    if params["window"] < 100:
        raise SupersonicError(f"window is {params['window']}; it must be at least 100 milliseconds.")
    files = {
        "token": params["token"],
        "ca.pem": tls.get("ca_certificates"),
        "client.pem": tls.get("client_certificate"),
        "client.key": tls.get("client_key"),
        "input.json": params["input_data"],
    }
    clients = Clients(
        image=pod["image"],
        model=params["model"] or "",
        address=params["address"] or f"{params['instance']}.{params['namespace']}:8001",
        batch_size=params["batch_size"],
        shapes=params["shapes"],
        arguments=tuple(params["arguments"]),
        window_ms=params["window"],
        tls=params["tls"] is not None,
        files={name: text for name, text in files.items() if text},
        labels=pod["labels"],
        image_pull_policy=pod["image_pull_policy"],
        image_pull_secrets=tuple(pod["image_pull_secrets"]),
        user=pod["run_as_user"],
        arbitrary_user=pod["arbitrary_user"],
        node_selector=pod["node_selector"],
        tolerations=tuple(pod["tolerations"]),
        resources=pod["resources"],
        start_seconds=params["wait_timeout"],
    )
    return Options(
        namespace=params["namespace"],
        instance=params["instance"],
        clients=clients,
        profile=parse_profile(params["profile"], "profile"),
        pools=parse_pools(params["pools"]),
        settle_seconds=params["settle_timeout"],
        settled_after=params["settled_after"],
        report=params["report"] or "",
        prometheus=params["prometheus"],
    )
