# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Event-driven simulation of an autoscaled pool: clients, Envoy, Triton, Prometheus, KEDA.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import heapq
import typing as t
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation.hpa import (
    SCALE_DOWN,
    SCALE_UP,
    SYNC_PERIOD,
    Activation,
    Autoscaler,
    Reading,
    Rules,
)
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation.metrics import (
    Prometheus,
    Series,
    Watch,
)

# What a server's request is: when it came to Envoy, whose it is (-1: nobody waits for it), through which Envoy.
Request = tuple[float, int, int]

# Seconds between two evaluations of the recording rules.
RECORDED_EVERY = 5.0


@dataclass(frozen=True)
class Model:
    """The execution time in seconds: `base` plus `each` for every request in the batch."""

    name: str = "model"
    base: float = 0.0208
    each: float = 0.0
    max_batch: int = 1
    # Its part of the requests, as a weight.
    share: float = 1.0
    # Executions take up to this part more or less.
    jitter: float = 0.02


@dataclass(frozen=True)
class Step:
    """A piece of load: so many clients that each send when they have their answer, and so many requests a second."""

    duration: float
    clients: int = 0
    rate: float = 0.0


@dataclass(frozen=True)
class Trigger:
    """A trigger of a ScaledObject: the query, and its threshold for one server."""

    quantity: str
    threshold: float = 1.0
    # AverageValue, or else Value.
    average: bool = True
    activation: float = 0.0


@dataclass(frozen=True)
class Pool:
    """Everything but the load; seconds where nothing else is said."""

    models: tuple[Model, ...] = (Model(),)
    # Executions that a server has at the same time.
    slots: int = 1
    start_time: float = 4.0
    start_jitter: float = 0.1
    minimum: int = 1
    maximum: int = 6
    # From the start; None: as many as the minimum.
    replicas: int | None = None
    triggers: tuple[Trigger, ...] = ()
    up: Rules = SCALE_UP
    down: Rules = SCALE_DOWN
    polling_interval: float = 5.0
    cooldown: float = 300.0
    scrape_interval: float = 2.0
    watch: Watch = field(default_factory=Watch)
    envoys: int = 1
    # Between a client and Envoy, both ways.
    overhead: float = 0.0027
    think_time: float = 0.0
    # After which a client tries again when there was no server.
    retry: float = 1.0
    # Prometheus answers nothing from the first to the second.
    outages: tuple[tuple[float, float], ...] = ()


class Server:
    """A Triton with its accelerator."""

    __slots__ = (
        "active",
        "busy",
        "compute",
        "done",
        "draining",
        "executions",
        "free",
        "number",
        "queue",
        "queued",
        "ready",
        "series",
    )

    def __init__(self, number: int, models: int, slots: int, envoys: int) -> None:
        self.number = number
        self.ready = False
        self.draining = False
        self.free = slots
        # Requests that each Envoy has at it.
        self.active = [0] * envoys
        self.queue: list[deque[Request]] = [deque() for _model in range(models)]
        self.done = self.executions = 0
        self.queued = self.compute = self.busy = 0.0
        self.series = Series()


@dataclass
class Trace:
    """The record of a simulation."""

    duration: float
    changes: list[float] = field(default_factory=list)
    load: list[tuple[float, int, float]] = field(default_factory=list)
    wanted: list[tuple[float, int]] = field(default_factory=list)
    ready: list[tuple[float, int]] = field(default_factory=list)
    sent: array[float] = field(default_factory=lambda: array("d"))
    latency: array[float] = field(default_factory=lambda: array("d"))
    failed: int = 0
    # Time for which servers executed something, all of it and by the second in which it ended.
    busy: float = 0.0
    work: dict[int, float] = field(default_factory=dict)
    readings: list[tuple[float, tuple[float | None, ...]]] = field(default_factory=list)


class Simulation:
    """One run."""

    def __init__(self, pool: Pool, load: Sequence[Step], seed: int = 1) -> None:
        self.pool = pool
        self.now = 0.0
        # Draws of their own, so that a different setting does not change everything else.
        parts = (Random(f"{seed}-{part}") for part in range(5))
        self._service, self._choice, self._arrivals, self._phases, self._leaving = parts
        self._events: list[tuple[float, int, Callable[[t.Any], None], t.Any]] = []
        self._number = 0
        self._ready: list[Server] = []
        self._servers: list[Server] = []
        self._made = 0
        self._in_flight = [0] * pool.envoys
        self._without = [0] * pool.envoys
        self._clients = 0
        self._running: set[int] = set()
        self._rate = 0.0
        self._rates = 0
        self._hpa = Autoscaler(max(pool.minimum, 1), pool.maximum, pool.up, pool.down)
        self._keda = Activation(pool.minimum, pool.cooldown)
        self.prometheus = Prometheus(pool.watch)
        self._wanted = pool.minimum if pool.replicas is None else pool.replicas
        weights = [model.share for model in pool.models]
        self._shares = [sum(weights[: index + 1]) / sum(weights) for index in range(len(weights))]
        self.trace = Trace(sum(step.duration for step in load))
        self._begin(load)

    def run(self) -> Trace:
        events, end = self._events, self.trace.duration
        pop = heapq.heappop
        while events:
            now, _number, action, argument = pop(events)
            if now > end:
                break
            self.now = now
            action(argument)
        self.trace.busy = sum(server.busy for server in self._servers)
        return self.trace

    # ---- the clock

    def _at(self, when: float, action: Callable[[t.Any], None], argument: t.Any = None) -> None:
        self._number += 1
        heapq.heappush(self._events, (when, self._number, action, argument))

    def _begin(self, load: Sequence[Step]) -> None:
        pool, phases = self.pool, self._phases
        start = 0.0
        for step in load:
            self._at(start, self._change, step)
            start += step.duration
        for index in range(pool.envoys):
            series = Series()
            self.prometheus.envoys.append(series)
            self._at(phases.random() * pool.scrape_interval, self._scrape_envoy, (index, series))
        for _replica in range(self._wanted):
            self._add(at_once=True)
        self.trace.wanted.append((0.0, self._wanted))
        if pool.triggers:
            self._at(phases.random() * SYNC_PERIOD, self._sync)
            self._at(phases.random() * pool.polling_interval, self._poll)
            self._at(0.0, self._learn)
        for begin, end in pool.outages:
            self._at(begin, self._blind, True)
            self._at(end, self._blind, False)

    # ---- the load

    def _change(self, step: Step) -> None:
        now, trace = self.now, self.trace
        if not trace.load or (step.clients, step.rate) != trace.load[-1][1:]:
            trace.load.append((now, step.clients, step.rate))
        self._clients = step.clients
        for client in range(step.clients):
            if client not in self._running:
                self._running.add(client)
                self._arrive(client)
        if step.rate != self._rate:
            self._rate = step.rate
            self._rates += 1
            if step.rate > 0:
                self._at(now + self._arrivals.expovariate(step.rate), self._open_arrival, self._rates)

    def _open_arrival(self, rates: int) -> None:
        if rates == self._rates:
            self._at(self.now + self._arrivals.expovariate(self._rate), self._open_arrival, rates)
            self._arrive(-1)

    def _arrive(self, client: int) -> None:
        envoy = 0
        if self.pool.envoys > 1:
            # A client keeps its connection.
            envoy = client % self.pool.envoys if client >= 0 else self._choice.randrange(self.pool.envoys)
        ready = self._ready
        count = len(ready)
        if not count:
            self._without[envoy] += 1
            self.trace.failed += 1
            if client >= 0:
                self._at(self.now + self.pool.retry, self._again, client)
            return
        # Envoy takes the better of two that it draws.
        server = ready[0]
        if count > 1:
            draw = self._choice.random
            server, other = ready[int(draw() * count)], ready[int(draw() * count)]
            if other.active[envoy] < server.active[envoy]:
                server = other
        model = 0
        if len(self._shares) > 1:
            drawn = self._choice.random()
            while drawn > self._shares[model]:
                model += 1
        server.active[envoy] += 1
        self._in_flight[envoy] += 1
        server.queue[model].append((self.now, client, envoy))
        if server.free:
            self._execute(server)

    def _again(self, client: int) -> None:
        if client < self._clients:
            self._arrive(client)
        else:
            self._running.discard(client)

    # ---- a server

    def _execute(self, server: Server) -> None:
        """Start what has waited longest."""
        index = 0
        if len(server.queue) > 1:
            waiting = [(queue[0][0], number) for number, queue in enumerate(server.queue) if queue]
            index = min(waiting)[1]
        queue, model = server.queue[index], self.pool.models[index]
        batch = [queue.popleft() for _request in range(min(len(queue), model.max_batch))]
        taken = (model.base + model.each * len(batch)) * (1.0 + model.jitter * (2.0 * self._service.random() - 1.0))
        server.free -= 1
        self._at(self.now + taken, self._executed, (server, batch, taken))

    def _executed(self, what: tuple[Server, list[Request], float]) -> None:
        server, batch, taken = what
        now, pool, trace = self.now, self.pool, self.trace
        begun = now - taken
        server.free += 1
        server.busy += taken
        trace.work[int(now)] = trace.work.get(int(now), 0.0) + taken
        server.executions += 1
        server.done += len(batch)
        server.compute += taken * len(batch)
        for sent, _client, envoy in batch:
            server.queued += begun - sent
            server.active[envoy] -= 1
            self._in_flight[envoy] -= 1
            trace.sent.append(sent)
            trace.latency.append(now - sent + pool.overhead)
        if any(server.queue):
            self._execute(server)
        for _sent, client, _envoy in batch:
            if client >= self._clients:
                self._running.discard(client)
            elif client >= 0:
                pause = pool.overhead + pool.think_time
                if pause:
                    self._at(now + pause, self._again, client)
                else:
                    self._arrive(client)

    # ---- the workload

    def _add(self, at_once: bool = False) -> None:
        pool = self.pool
        self._made += 1
        server = Server(self._made, len(pool.models), pool.slots, pool.envoys)
        self._servers.append(server)
        if at_once:
            self._up(server)
        else:
            wait = pool.start_time * (1.0 + pool.start_jitter * (2.0 * self._phases.random() - 1.0))
            self._at(self.now + wait, self._up, server)

    def _up(self, server: Server) -> None:
        if server.draining:
            return
        server.ready = True
        self._ready.append(server)
        self.trace.ready.append((self.now, len(self._ready)))
        self.prometheus.servers.append(server.series)
        self._at(self.now + self._phases.random() * self.pool.scrape_interval, self._scrape_server, server)

    def _scale(self, wanted: int) -> None:
        if wanted == self._wanted:
            return
        for _replica in range(wanted - self._wanted):
            self._add()
        surplus = self._wanted - wanted
        if surplus > 0:
            there = [server for server in self._servers if not server.draining]
            # Those that are not Ready go first. Of the others Kubernetes does not know what they have to do.
            self._leaving.shuffle(there)
            there.sort(key=lambda server: server.ready)
            for server in there[:surplus]:
                server.draining = True
                if server.ready:
                    self._ready.remove(server)
            self.trace.ready.append((self.now, len(self._ready)))
        self._wanted = wanted
        self.trace.wanted.append((self.now, wanted))

    # ---- those who watch

    def _scrape_server(self, server: Server) -> None:
        if server.draining:
            return
        row = (server.done, server.queued, server.compute, server.busy, server.executions)
        server.series.add(self.now, row)
        self._at(self.now + self.pool.scrape_interval, self._scrape_server, server)

    def _scrape_envoy(self, what: tuple[int, Series]) -> None:
        index, series = what
        series.add(self.now, (self._in_flight[index], self._without[index], float(len(self._ready))))
        self._at(self.now + self.pool.scrape_interval, self._scrape_envoy, what)

    def _blind(self, blind: bool) -> None:
        self.prometheus.blind = blind

    def _learn(self, _argument: None) -> None:
        self._at(self.now + RECORDED_EVERY, self._learn)
        if not self.prometheus.blind:
            self.prometheus.learn(self.now)

    def _read(self) -> tuple[float | None, ...]:
        return tuple(self.prometheus.read(trigger.quantity, self.now) for trigger in self.pool.triggers)

    def _sync(self, _argument: None) -> None:
        pool = self.pool
        self._at(self.now + SYNC_PERIOD, self._sync)
        values = self._read()
        self.trace.readings.append((self.now, values))
        readings = [
            Reading(value, trigger.threshold, trigger.average)
            for value, trigger in zip(values, pool.triggers, strict=True)
        ]
        self._scale(self._hpa.sync(self.now, self._wanted, len(self._ready), readings))

    def _poll(self, _argument: None) -> None:
        pool = self.pool
        self._at(self.now + pool.polling_interval, self._poll)
        if pool.minimum == 0:
            active = any(
                value is not None and value > trigger.activation
                for value, trigger in zip(self._read(), pool.triggers, strict=True)
            )
            self._scale(self._keda.poll(self.now, self._wanted, active))
