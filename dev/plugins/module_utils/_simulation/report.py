# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs simulations with the variables of roles, and reports figures, timelines and a chart.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import itertools
import math
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation.hpa import (
    SCALE_DOWN,
    SCALE_UP,
    Policy,
    Rules,
)
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation.metrics import Watch
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._simulation.simulation import (
    Model,
    Pool,
    Simulation,
    Step,
    Trace,
    Trigger,
)

DYNAMIC = "dynamic"
# Of the SuperSONIC paper's figures.
PROFILE = ({"clients": 1, "seconds": 60}, {"clients": 10, "seconds": 240}, {"clients": 1, "seconds": 180})
TRIGGERS = ("servers_wanted", "servers_held", "servers_busy_floor", "queue_ratio")
# The autoscaler's own choice of how fast.
UP = Rules(0.0, (Policy("Pods", 10, 15.0), Policy("Percent", 200, 15.0)))
DOWN = Rules(0.0, (Policy("Percent", 50, 15.0),))
# Computing that a request may wait for.
QUEUE_RATIO = 3.0
# Seconds after a change of load that are left out of the settled latency.
SETTLING = 20.0
# Seconds for which a decision may still follow from an earlier load.
MEMORY = 60.0
# Spans of a timeline, in seconds, and lines of a chart.
WIDTH = 5.0
LINES = 40

# Variables of the role autoscaler that have a meaning here; others are left alone.
_WATCH = {
    "autoscaler_headroom": "headroom",
    "autoscaler_busy_share": "busy_share",
    "autoscaler_requests_per_server": "capacity",
}


def profile_of(entries: Sequence[Mapping[str, t.Any]], seed: int = 1) -> list[Step]:
    """Steps of constant load; ramps and noise are many of them."""
    steps: list[Step] = []
    random = Random(f"{seed}-profile")
    for entry in entries:
        seconds, clients = float(entry["seconds"]), int(entry.get("clients") or 0)
        rate, until = float(entry.get("rate") or 0.0), entry.get("until")
        noise, every = float(entry.get("noise") or 0.0), float(entry.get("every") or 5.0)
        if seconds <= 0 or every <= 0 or min(clients, rate, noise, until or 0) < 0:
            raise SupersonicError(
                f"The piece {dict(entry)} of the profile has to last some time, with a load of 0 or more."
            )
        if until is not None:
            count = abs(int(until) - clients) + 1
            levels = [clients + (number if until > clients else -number) for number in range(count)]
        elif noise:
            count = max(1, round(seconds / every))
            levels = [max(0, round(random.gauss(clients, noise))) for _number in range(count)]
        else:
            levels = [clients]
        steps += [Step(seconds / len(levels), level, rate) for level in levels]
    if not steps:
        raise SupersonicError("The profile is empty: there is no load to simulate.")
    return steps


def pool_of(variables: Mapping[str, t.Any], settings: Mapping[str, t.Any]) -> Pool:
    """A pool with the variables of the role autoscaler, and what this simulation is to assume besides."""
    scrape_interval = _number(settings, "scrape_interval", 2.0, above=0.0)
    watched = {name: _number(variables, key, 0.0) for key, name in _WATCH.items() if variables.get(key) is not None}
    if window := _number(variables, "autoscaler_window", 0.0):
        watched["window"] = window
    minimum = int(_number(variables, "autoscaler_min_replicas", 1))
    maximum = int(_number(variables, "autoscaler_max_replicas", 6, above=0.0))
    if minimum > maximum:
        raise SupersonicError(f"autoscaler_max_replicas ({maximum}) is less than autoscaler_min_replicas ({minimum}).")
    models: Sequence[Mapping[str, t.Any]] = settings.get("models") or ({},)
    return Pool(
        models=tuple(model_of(entry) for entry in models),
        slots=int(_number(settings, "slots", 1, above=0.0)),
        start_time=_number(settings, "start_seconds", 4.0),
        minimum=minimum,
        maximum=maximum,
        triggers=triggers_of(variables),
        up=_rules(variables, "autoscaler_scale_up", UP, SCALE_UP),
        down=_rules(variables, "autoscaler_scale_down", DOWN, SCALE_DOWN),
        polling_interval=_number(variables, "autoscaler_polling_interval", 5.0, above=0.0),
        cooldown=_number(variables, "autoscaler_cooldown", 300.0),
        scrape_interval=scrape_interval,
        watch=Watch.of(scrape_interval, **watched),
        envoys=int(_number(settings, "envoys", 1, above=0.0)),
        overhead=_number(settings, "overhead_ms", 2.7) / 1e3,
        think_time=_number(settings, "think_ms", 0.0) / 1e3,
        outages=_outages(settings.get("outages") or ()),
    )


def _number(values: Mapping[str, t.Any], name: str, default: float, above: float | None = None) -> float:
    value = values.get(name)
    try:
        number = float(default if value is None else value)
    except (TypeError, ValueError):
        raise SupersonicError(f"{name} is {value!r}, which is no number.") from None
    if not math.isfinite(number) or number < 0 or (above is not None and number <= above):
        least = "0 or more" if above is None else f"more than {above:g}"
        raise SupersonicError(f"{name} is {value!r}; it has to be {least}.")
    return number


def _rules(variables: Mapping[str, t.Any], name: str, default: Rules, missing: Rules) -> Rules:
    definition = variables.get(name)
    if not definition:
        return default
    try:
        return Rules.of(definition, missing)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise SupersonicError(
            f"{name} has to have the form of a HorizontalPodAutoscaler's behavior, with policies of type, value and "
            "periodSeconds."
        ) from None


def _outages(entries: Sequence[t.Any]) -> tuple[tuple[float, float], ...]:
    try:
        return tuple((float(begin), float(end)) for begin, end in entries)
    except (TypeError, ValueError):
        raise SupersonicError("outages has to be a list of [begin, end] in seconds.") from None


def triggers_of(variables: Mapping[str, t.Any]) -> tuple[Trigger, ...]:
    known = {
        "servers_wanted": Trigger("servers_wanted"),
        "servers_held": Trigger("servers_held"),
        "servers_busy_floor": Trigger("servers_busy_floor"),
        "queue_ratio": Trigger(
            "queue_ratio", _number(variables, "autoscaler_queue_ratio_threshold", QUEUE_RATIO, above=0.0), average=False
        ),
        "queue_time": Trigger(
            "queue_time", _number(variables, "autoscaler_queue_time_threshold", 1000.0, above=0.0), average=False
        ),
    }
    names = variables.get("autoscaler_default_triggers") or TRIGGERS
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise SupersonicError(f"No simulation of the triggers {', '.join(unknown)}; there is {', '.join(known)}.")
    return tuple(known[name] for name in names)


def model_of(entry: Mapping[str, t.Any]) -> Model:
    model = Model()
    values: dict[str, t.Any] = {
        "name": str(entry.get("name") or model.name),
        "base": float(entry.get("execution_ms", model.base * 1e3)) / 1e3,
        "each": float(entry.get("request_ms") or 0.0) / 1e3,
        "max_batch": int(entry.get("max_batch") or 1),
        "share": float(entry.get("share") or 1.0),
        "jitter": float(entry.get("jitter", model.jitter)),
    }
    if values["base"] + values["each"] <= 0 or values["max_batch"] < 1 or values["share"] <= 0:
        raise SupersonicError(f"The model {dict(entry)} needs time for a request, a batch of 1 or more, and a share.")
    return Model(**values)


def simulate(
    pool: Pool,
    profile: Sequence[Mapping[str, t.Any]] = PROFILE,
    pools: Sequence[str | int] = (DYNAMIC,),
    seed: int = 1,
    runs: int = 1,
) -> dict[str, t.Any]:
    """Figures of each pool under the same load, with the timelines of its first run."""
    load = profile_of(profile, seed)
    if not pools:
        raise SupersonicError("There is no pool to simulate: pools is empty.")
    if runs < 1:
        raise SupersonicError(f"runs is {runs}; it has to be 1 or more.")
    rows: list[dict[str, t.Any]] = []
    timelines: dict[str, list[dict[str, t.Any]]] = {}
    servers: dict[str, list[dict[str, t.Any]]] = {}
    for name in [str(entry) for entry in pools]:
        chosen = pool
        if name != DYNAMIC:
            if not name.isdigit() or int(name) < 1:
                raise SupersonicError(f"A pool is {DYNAMIC} or a number of servers, not {name!r}.")
            chosen = replace(pool, triggers=(), replicas=int(name), minimum=int(name), maximum=int(name))
        traces = [Simulation(chosen, load, seed + number).run() for number in range(runs)]
        rows.append({"pool": name, **_together([figures(chosen, trace) for trace in traces])})
        timelines[name] = timeline(chosen, traces[0])
        servers[name] = looks(traces[0])
    return {
        "pools": rows,
        "timelines": timelines,
        "servers": servers,
        "chart": chart(timelines[str(pools[-1])]),
    }


# ---- figures ---------------------------------------------------------------------------------------------------------

# Of several runs the worst counts, of everything else the mean.
_WORST = ("settled_p99_ms", "swings", "response_seconds", "servers_max", "failures")


def figures(pool: Pool, trace: Trace) -> dict[str, t.Any]:
    """One run in a line."""
    changes = [when for when, _clients, _rate in trace.load][1:]
    settled = [
        latency
        for sent, latency in zip(trace.sent, trace.latency, strict=True)
        if not any(when <= sent < when + SETTLING for when in changes)
    ]
    seconds = area(trace.ready, 0.0, trace.duration)
    return {
        **latency_of(trace.latency),
        "settled_p99_ms": latency_of(settled)["p99_ms"],
        "failures": trace.failed,
        "throughput": round(len(trace.latency) / trace.duration, 2),
        "servers_mean": round(seconds / trace.duration, 3),
        "servers_max": max(count for _when, count in trace.ready) if trace.ready else 0,
        "utilization": round(trace.busy / (seconds * pool.slots), 4) if seconds else None,
        "swings": swings(trace),
        "response_seconds": response(trace),
    }


def latency_of(latencies: Sequence[float]) -> dict[str, t.Any]:
    ordered = sorted(latencies)
    count = len(ordered)
    return {
        "requests": count,
        "mean_ms": round(1e3 * sum(ordered) / count, 2) if count else None,
        "p99_ms": round(1e3 * ordered[math.ceil(0.99 * count) - 1], 2) if count else None,
    }


def area(line: Sequence[tuple[float, float]], begin: float, end: float) -> float:
    """Of a line of steps between two times."""
    total = 0.0
    for (when, count), (until, _count) in itertools.pairwise([*line, (end, 0)]):
        total += count * max(0.0, min(until, end) - max(when, begin))
    return total


def swings(trace: Trace) -> int:
    """Turns from more to fewer servers and back that no change of load explains.

    A pool that grew while an open load had piled up, and shrinks when that is done, has turned once.
    """
    loads = [(when, clients + rate) for when, clients, rate in trace.load]
    risen = [when for (_before, low), (when, high) in itertools.pairwise(loads) if high > low]
    fallen = [when for (_before, high), (when, low) in itertools.pairwise(loads) if low < high]
    found = direction = 0
    since = 0.0
    for (_before, had), (when, has) in itertools.pairwise(trace.wanted):
        turned = direction
        direction = 1 if has > had else -1
        reasons = risen if direction > 0 else fallen
        if turned == -direction and not any(since - MEMORY <= reason <= when for reason in reasons):
            found += 1
        since = when
    return found


def response(trace: Trace) -> float | None:
    """The longest time from a rise of load until as many servers are Ready as there are before the next change."""
    found: list[float] = []
    for before, (when, clients, rate), following in zip(
        trace.load, trace.load[1:], [*trace.load[2:], (trace.duration, 0, 0.0)], strict=False
    ):
        if clients + rate <= before[1] + before[2]:
            continue
        risen = [(at, count) for at, count in trace.ready if when <= at < following[0]]
        held = max((count for at, count in trace.ready if at < when), default=0)
        most = max((count for _at, count in risen), default=0)
        if risen and most >= held:
            found.append(next(at for at, count in risen if count == most) - when)
    return round(max(found), 1) if found else None


def timeline(pool: Pool, trace: Trace, width: float = WIDTH) -> list[dict[str, t.Any]]:
    """Everything by equal spans of time; requests belong to the span that they were sent in."""
    count = max(1, math.ceil(trace.duration / width - 1e-9))
    spans: list[list[float]] = [[] for _number in range(count)]
    for sent, latency in zip(trace.sent, trace.latency, strict=True):
        spans[min(int(sent / width), count - 1)].append(latency)
    rows: list[dict[str, t.Any]] = []
    for number, latencies in enumerate(spans):
        begin, end = number * width, min((number + 1) * width, trace.duration)
        _when, clients, rate = max(entry for entry in trace.load if entry[0] <= begin)
        ready = area(trace.ready, begin, end)
        # The work of a span is counted where it was done.
        busy = sum(trace.work.get(second, 0.0) for second in range(int(begin), math.ceil(end)))
        rows.append(
            {
                "seconds": begin,
                "clients": clients,
                "rate": rate,
                **latency_of(latencies),
                "servers_wanted": round(area(trace.wanted, begin, end) / (end - begin), 3),
                "servers_ready": round(ready / (end - begin), 3),
                "utilization": round(busy / (ready * pool.slots), 3) if ready else None,
            }
        )
    return rows


def looks(trace: Trace) -> list[dict[str, t.Any]]:
    """Every change of the numbers of servers."""
    wanted, ready = dict(trace.wanted), dict(trace.ready)
    rows: list[dict[str, t.Any]] = []
    now = [0, 0]
    for when in sorted({*wanted, *ready}):
        now = [wanted.get(when, now[0]), ready.get(when, now[1])]
        rows.append({"time": round(when, 2), "wanted": now[0], "ready": now[1]})
    return rows


def chart(rows: Sequence[Mapping[str, t.Any]]) -> list[str]:
    """The timeline as lines of text: Ready servers as #, those that are wanted besides as +."""
    step = max(1, math.ceil(len(rows) / LINES))
    scale = max(1.0, max(float(row["servers_wanted"]) for row in rows) / 30)
    lines = ["seconds  load   servers  mean ms"]
    for row in rows[::step]:
        ready, wanted = float(row["servers_ready"]), float(row["servers_wanted"])
        load = row["clients"] or f"{row['rate']:g}/s"
        mean = "-" if row["mean_ms"] is None else f"{row['mean_ms']:.0f}"
        full = round(ready / scale)
        drawn = "#" * full + "+" * (round(wanted / scale) - full)
        # A space at the end of a line, and YAML would show the whole chart in quotes.
        lines.append(f"{row['seconds']:7.0f} {load!s:>5} {ready:9.1f} {mean:>8}  {drawn}".rstrip())
    return lines


def _together(rows: Sequence[Mapping[str, t.Any]]) -> dict[str, t.Any]:
    if len(rows) == 1:
        return dict(rows[0])
    merged: dict[str, t.Any] = {}
    for key in rows[0]:
        values = [row[key] for row in rows if row[key] is not None]
        if not values:
            merged[key] = None
        elif key in _WORST:
            merged[key] = max(values)
        else:
            merged[key] = round(sum(values) / len(values), 4 if key == "utilization" else 2)
    return merged
