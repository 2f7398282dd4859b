# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renders the status of instances as one HTML file with inline plots and no external resources.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Nothing here asks anybody; all is made of what the module service_status has returned. Whatever comes from there is
escaped, whoever wrote it.
"""

from __future__ import annotations

import datetime
import math
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from ansible_collections.fastml.supersonic.plugins.module_utils._common.text import counted
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.status_plot import Line, plot, ticks
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.status_style import STYLE

Status = Mapping[str, t.Any]

BAD, ABSENT, ATTENTION, FINE = "bad", "absent", "attention", "fine"
# The worst first.
WORDS = {BAD: "Not well", ABSENT: "Not deployed", ATTENTION: "Look at it", FINE: "Well"}
# Besides the colour, which not everybody sees.
SIGNS = {BAD: "✕", ABSENT: "○", ATTENTION: "!", FINE: "✓"}
# What each part is called where it is not known.
PARTS = {
    "servers": "Servers and models",
    "envoys": "Envoys",
    "endpoint": "Endpoint",
    "autoscaler": "Autoscaler",
    "release": "Release of the models",
    "verification": "Last verification",
    "traffic": "The last hour",
    "accelerators": "Accelerators",
    "alerts": "Alerts",
}
UNKNOWN = "not known"
# Share of requests that may fail before somebody should look.
FAILURES = 0.01


class Verdict(t.NamedTuple):
    """The state of an instance, with the reason."""

    level: str
    reasons: Sequence[str]

    @property
    def word(self) -> str:
        return WORDS[self.level]


def verdict(status: Status) -> Verdict:
    """The state of an instance, by all that is known of it."""
    if not status["reachable"]:
        return Verdict(BAD, [f"unreachable: {status['why']}"])
    if not _is_told(status):
        return Verdict(ABSENT, [f"not deployed: {status['why']}"])
    bad: list[str] = []
    odd: list[str] = []
    pool = status.get("servers")
    if not pool:
        bad.append(status["unknown"].get("servers", "nothing is known of its servers"))
    else:
        missing = pool["wanted"] - pool["ready"]
        if pool["wanted"] and not pool["ready"]:
            bad.append(f"none of {counted(pool['wanted'], 'server')} is ready")
        elif missing > 0:
            odd.append(f"{pool['ready']} of {counted(pool['wanted'], 'server')} are ready")
        for model in pool["models"]:
            if not model["servers"]:
                bad.append(f"no server has the model {model['name']} ready")
            elif model["servers"] < model["of"]:
                odd.append(
                    f"{model['servers']} of {counted(model['of'], 'server')} have the model {model['name']} ready"
                )
        if any(server["problems"] for server in pool["each"] if server["ready"]):
            odd.append("a server is not as it should be")
    gateway = status.get("envoys")
    if gateway and gateway["wanted"] and not gateway["ready"]:
        bad.append("no Envoy is ready")
    elif gateway and gateway["ready"] < gateway["wanted"]:
        odd.append(f"{gateway['ready']} of {counted(gateway['wanted'], 'Envoy')} are ready")
    scaler = status.get("autoscaler")
    if scaler:
        odd += [*_held(scaler, pool), *(f"autoscaler: {text}" for text in scaler["problems"])]
    proof = status.get("verification")
    if proof and not proof["passed"]:
        bad.append("the last verification failed")
    seen = status.get("traffic") or {}
    for alert in seen.get("alerts") or []:
        (bad if alert["severity"] == "critical" else odd).append(
            f"alert {alert['name']}" + (f": {alert['summary']}" if alert["summary"] else "")
        )
    share = failed_share(seen.get("hour") or {})
    if share is not None and share >= FAILURES:
        odd.append(f"{percent(share)} of the requests of the last hour failed")
    return Verdict(BAD if bad else ATTENTION if odd else FINE, [*bad, *odd])


def _is_told(status: Status) -> bool:
    """Whether there is more to tell than why there is nothing."""
    return bool(status["reachable"] and status.get("deployed", True))


def name_of(status: Status) -> str:
    """The inventory's host where that is known, since runs are limited to hosts; else the instance's name."""
    return str(status.get("host") or status["name"])


def _held(scaler: Mapping[str, t.Any], pool: Mapping[str, t.Any] | None) -> Iterator[str]:
    """The reason why the number of servers does not follow demand, if that is temporary or leaves no server."""
    pause = scaler.get("pause")
    if pause:
        held = pause["servers"]
        at = "" if held is None else f" at {counted(held, 'server')}"
        since = f" since {moment(pause['since'])}" if pause["since"] else ""
        yield f"paused by an operator{at}{since}" + (f": {pause['reason']}" if pause["reason"] else "")
    elif pool and not pool["wanted"] and (scaler["paused"] or scaler["kind"] != "KEDA"):
        # KEDA alone brings the first server.
        yield "no server is wanted, and none will come when clients ask"


def failed_share(hour: Mapping[str, float | None]) -> float | None:
    """Of all requests; None while there were none."""
    answers, errors = hour.get("answer_rate"), hour.get("error_rate")
    return min(errors / answers, 1.0) if answers and errors is not None else None


# ---- words -----------------------------------------------------------------------------------------------------------
def figure(value: float | None, unit: str = "") -> str:
    """Three digits that count, without an exponent."""
    if value is None:
        return UNKNOWN
    if value == 0:
        text = "0"
    elif abs(value) >= 100:
        text = f"{value:,.0f}"
    else:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:.{min(digits, 4)}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text} {unit}".rstrip()


def percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{figure(100 * share)} %"


def size(number: float | None) -> str:
    return UNKNOWN if number is None else figure(number / 2**30, "GiB")


def moment(text: str | None) -> str:
    """A time in ISO 8601 as people write it; whatever is none as it is."""
    if not text:
        return UNKNOWN
    try:
        when = datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
    except ValueError:
        return text
    return f"{when:%Y-%m-%d %H:%M} UTC"


def ready_of(part: Mapping[str, t.Any] | None) -> str:
    return UNKNOWN if not part else f"{part['ready']} of {part['wanted']}"


def servers_in_words(status: Status) -> str:
    pause = (status.get("autoscaler") or {}).get("pause")
    return ready_of(status.get("servers")) + (", paused" if pause else "")


def alerts_in_words(status: Status) -> str:
    alerts = (status.get("traffic") or {}).get("alerts")
    if alerts is None:
        return UNKNOWN
    return ", ".join(sorted({alert["name"] for alert in alerts})) or "none"


def verified(status: Status) -> str:
    proof = status.get("verification")
    return "no record" if not proof else f"{'passed' if proof['passed'] else 'failed'} {moment(proof['time'])}"


# ---- on a terminal ---------------------------------------------------------------------------------------------------
COLUMNS = ("instance", "state", "servers ready", "answers/s", "p99", "errors", "verified", "alerts")


def row(status: Status) -> list[str]:
    """The row of an instance in the overview."""
    if not _is_told(status):
        return [name_of(status), verdict(status).word, *[""] * (len(COLUMNS) - 2)]
    hour = (status.get("traffic") or {}).get("hour") or {}
    return [
        name_of(status),
        verdict(status).word,
        servers_in_words(status),
        figure(hour.get("answer_rate")),
        figure(hour.get("client_latency_p99"), "ms") if hour.get("answer_rate") != 0 else "no requests",
        percent(failed_share(hour)) if hour.get("answer_rate") != 0 else "no requests",
        verified(status),
        alerts_in_words(status),
    ]


def table(instances: Sequence[Status]) -> str:
    """A line for each instance, and below it why one is not well and what is not known."""
    rows = [list(COLUMNS), *(row(status) for status in instances)]
    widths = [max(len(line[column]) for line in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in rows]
    for status in instances:
        name = name_of(status)
        lines += [f"{name}: {reason}" for reason in verdict(status).reasons]
        if _is_told(status):
            lines += [f"{name}: {PARTS.get(part, part)}: {UNKNOWN}: {why}" for part, why in _unknown(status)]
    return "\n".join(lines)


def _unknown(status: Status) -> list[tuple[str, str]]:
    return [(part, status["unknown"][part]) for part in PARTS if part in status["unknown"]]


# ---- the page --------------------------------------------------------------------------------------------------------
def page(instances: Sequence[Status], made: str, version: str = "") -> str:
    """The whole file."""
    ordered = sorted(instances, key=lambda status: list(WORDS).index(verdict(status).level))
    levels = [verdict(status).level for status in instances]
    summary = ", ".join(f"{levels.count(level)} {WORDS[level].lower()}" for level in WORDS if level in levels)
    title = f"Inference service: {summary or 'no instance'}"
    by = f" by fastml.supersonic {version}" if version else ""
    sections = "\n".join(_instance(status, f"i{index}") for index, status in enumerate(ordered))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>Inference service</h1>
<p>Made <time datetime="{escape(made)}">{escape(moment(made))}</time>{escape(by)}. All times are in UTC.</p>
</header>
<main>
{_overview(ordered)}
{sections}
</main>
</body>
</html>
"""


def _badge(level: str) -> str:
    return f'<span class="badge {level}"><span aria-hidden="true">{SIGNS[level]}</span> {escape(WORDS[level])}</span>'


def _overview(instances: Sequence[Status]) -> str:
    if not instances:
        return "<p>The inventory has no instance.</p>"
    rows = []
    for index, status in enumerate(instances):
        cells = row(status)
        name = f'<a href="#i{index}">{escape(cells[0])}</a>'
        level = verdict(status).level
        if _is_told(status):
            rest = [escape(text) for text in cells[2:]]
            rows.append([name, _badge(level), *rest])
        else:
            rows.append([name, _badge(level), *map(escape, verdict(status).reasons)])
    return f'<div class="overview">{_table("All instances", COLUMNS, rows, heading=False)}</div>'


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, heading: bool = True) -> str:
    """A table of cells that are HTML; the last cell of a short row goes to its end. heading: one above it says what the
    caption says.

    On a phone its rows are cards. A browser then forgets what a table is, so that each part says it.
    """
    head = "".join(f'<th scope="col" role="columnheader">{escape(column)}</th>' for column in columns)
    body = []
    for cells in rows:
        line = f'<th scope="row" role="rowheader">{cells[0]}</th>'
        for index, cell in enumerate(cells[1:], 1):
            span = len(columns) - index if index == len(cells) - 1 else 1
            wide = f' colspan="{span}"' if span > 1 else ""
            # What has no value needs no line of its own.
            label = f' data-label="{escape(columns[index])}"' if cell and not wide else "" if cell else ' class="empty"'
            line += f'<td role="cell"{label}{wide}>{cell}</td>'
        body.append(f'<tr role="row">{line}</tr>')
    seen = ' class="unseen"' if heading else ""
    return (
        f'<div class="scroll"><table role="table"><caption{seen}>{escape(caption)}</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{"".join(body)}</tbody></table></div>'
    )


def _instance(status: Status, anchor: str) -> str:
    found = verdict(status)
    heading = f'<h2 id="{anchor}">{escape(name_of(status))} {_badge(found.level)}</h2>'
    parts = [heading]
    if found.reasons:
        items = "".join(f"<li>{escape(reason)}</li>" for reason in found.reasons)
        parts.append(f'<ul class="reasons {found.level}">{items}</ul>')
    if _is_told(status):
        parts.append(_facts(status))
        parts.append(_plots(status, anchor))
        parts += _details(status)
        unknown = _unknown(status)
        if unknown:
            items = "".join(f"<dt>{escape(PARTS[part])}</dt><dd>{escape(why)}</dd>" for part, why in unknown)
            parts.append(f'<h3>Not known</h3><dl class="facts">{items}</dl>')
    inside = "\n".join(part for part in parts if part)
    return f'<section class="instance" aria-labelledby="{anchor}">\n{inside}\n</section>'


def _facts(status: Status) -> str:
    place = status.get("endpoint")
    pool, gateway = status.get("servers"), status.get("envoys")
    seen = status.get("traffic") or {}
    hour = seen.get("hour") or {}
    reachable = _last(seen, "servers_reachable")
    release = status.get("release") or {}
    facts: list[tuple[str, Sequence[str]]] = [
        ("Endpoint", _places(place) if place else [UNKNOWN]),
        ("Namespace", [status["namespace"], *([f"as {status['name']}"] if name_of(status) != status["name"] else [])]),
        (
            "Servers",
            [f"{ready_of(pool)} ready", f"{UNKNOWN if reachable is None else figure(reachable)} reached by Envoys"]
            if pool
            else [UNKNOWN],
        ),
        ("Envoys", [f"{ready_of(gateway)} ready"] if gateway else [UNKNOWN]),
        ("Autoscaler", [status["autoscaler"]["text"]] if status.get("autoscaler") else [UNKNOWN]),
        (
            "Release",
            [
                short(release["current"]),
                *([f"published {moment(release['published'])}"] if release["published"] else []),
            ]
            if release.get("current")
            else ["none is noted" if status.get("release") else UNKNOWN],
        ),
        ("Last verification", [verified(status), *_proof(status)]),
        ("Alerts firing", [alerts_in_words(status)]),
        ("Triton", _versions(pool)),
        ("Envoy", [gateway["version"] or UNKNOWN, gateway["image"]] if gateway else [UNKNOWN]),
    ]
    if hour:
        quiet = hour.get("answer_rate") == 0
        facts.insert(
            2,
            (
                "Last hour",
                ["no requests"]
                if quiet
                else [
                    f"{figure(hour.get('answer_rate'))} answers/s",
                    f"mean {figure(hour.get('client_latency'), 'ms')}, "
                    f"p99 {figure(hour.get('client_latency_p99'), 'ms')}",
                    f"{percent(failed_share(hour))} failed",
                ],
            ),
        )
    items = "".join(
        f"<div><dt>{escape(name)}</dt>{''.join(f'<dd>{escape(line)}</dd>' for line in lines)}</div>"
        for name, lines in facts
    )
    return f'<dl class="cards">{items}</dl>'


def _places(place: Mapping[str, t.Any]) -> list[str]:
    lines = [place["address"]] if place["address"] else []
    lines += [text for text in place["outside"] if text != place["address"]]
    return [*lines, f"in the cluster {place['inside']}"]


def _proof(status: Status) -> list[str]:
    proof = status.get("verification")
    return [proof["message"]] if proof and proof["message"] else []


def _versions(pool: Mapping[str, t.Any] | None) -> list[str]:
    return [", ".join(pool["versions"]) or UNKNOWN, pool["image"]] if pool else [UNKNOWN]


def short(release: str | None) -> str:
    """As much of a release's id as people compare."""
    return release[:12] if release else "not noted"


def _last(seen: Mapping[str, t.Any], name: str) -> float | None:
    points = (seen.get("series") or {}).get(name) or []
    return next((value for _at, value in reversed(points) if value is not None), None)


# ---- plots -----------------------------------------------------------------------------------------------------------
class Drawing(t.NamedTuple):
    """A plot: its title, its unit, its lines by name, and what they are multiplied by."""

    title: str
    unit: str
    lines: Mapping[str, str]
    scale: float = 1.0
    # The axis ends there at least.
    least: float = 0.0
    # Of things that are counted its marks are whole numbers.
    whole: bool = False


DRAWINGS = (
    Drawing("Answers", "per second", {"answers": "answer_rate"}),
    Drawing("Latency", "ms", {"mean": "client_latency", "99 of 100 within": "client_latency_p99"}),
    Drawing("Errors and refusals", "per second", {"errors": "error_rate", "refused": "rejection_rate"}),
    Drawing("Servers", "", {"running": "servers", "reached by Envoys": "servers_reachable"}, least=1, whole=True),
    Drawing(
        "Utilization",
        "%",
        {"servers at work": "utilization", "accelerators": "accelerator_utilization"},
        100,
        least=100,
    ),
)


def _plots(status: Status, anchor: str) -> str:
    seen = status.get("traffic")
    hours = f"{figure(status['window'] / 3600)} hours" if status["window"] != 3600 else "hour"
    heading = f"<h3>The last {hours}</h3>"
    if not seen:
        why = status["unknown"].get("traffic", UNKNOWN)
        return f'{heading}<p class="why">No plots: {escape(why)}</p>'
    figures = []
    for index, drawing in enumerate(DRAWINGS):
        lines = []
        for name, quantity in drawing.lines.items():
            points = [(at, None if value is None else value * drawing.scale) for at, value in seen["series"][quantity]]
            if any(value is not None for _at, value in points):
                lines.append(Line(name, points))
        figures.append(_figure(drawing, lines, (seen["begin"], seen["end"]), f"{anchor}p{index}"))
    return f'{heading}<div class="plots">{"".join(figures)}</div>'


def _figure(drawing: Drawing, lines: Sequence[Line], span: tuple[float, float], anchor: str) -> str:
    title = f"{drawing.title} ({drawing.unit})" if drawing.unit else drawing.title
    if not lines:
        nothing = "no requests in this time" if drawing.title == "Latency" else "Prometheus has no values of this time"
        return f'<figure><figcaption>{escape(title)}</figcaption><p class="why">{nothing}</p></figure>'
    words = [
        f"{line.name}: {figure(line.values[0] if len(line.values) == 1 else min(line.values))} to "
        f"{figure(max(line.values))}, last {figure(line.values[-1], drawing.unit)}"
        for line in lines
    ]
    axis = ticks(max([drawing.least, *(value for line in lines for value in line.values)]), whole=drawing.whole)
    drawn = plot(lines, span, axis, title=title, words="; ".join(words), anchor=anchor)
    legend = "".join(
        f'<li><svg class="key" viewBox="0 0 24 8" aria-hidden="true"><path class="line l{index}" d="M0 4H24"/></svg>'
        f"{escape(text)}</li>"
        for index, text in enumerate(words)
    )
    return f'<figure><figcaption>{escape(title)}</figcaption>{drawn}<ul class="legend">{legend}</ul></figure>'


# ---- tables ----------------------------------------------------------------------------------------------------------
def _details(status: Status) -> Iterator[str]:
    seen = status.get("traffic") or {}
    if seen.get("alerts"):
        yield _titled("Alerts", ("alert", "severity", "since", "what", "what to do"), map(_alert, seen["alerts"]))
    columns: Sequence[str]
    pool = status.get("servers")
    if pool:
        columns = ("pod", "ready", "answers", "models", "release", "what is odd")
        yield _titled("Servers", columns, map(_server, pool["each"]), nothing="There is none now.")
        columns = ("model", "versions", "ready on", "why not")
        yield _titled("Models", columns, map(_model, pool["models"]), nothing="No server tells of one.")
    if seen.get("accelerators"):
        columns = ("accelerator", "at work", "memory", "power")
        yield _titled("Accelerators", columns, map(_accelerator, seen["accelerators"]))
    proof = status.get("verification")
    if proof and proof["checks"]:
        columns = ("layer", "server", "protocol", "passed", "failed")
        yield _titled("Last verification", columns, map(_check, proof["checks"]))


def _titled(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], nothing: str = "") -> str:
    found = list(rows)
    return f"<h3>{escape(title)}</h3>" + (_table(title, columns, found) if found else f"<p>{escape(nothing)}</p>")


def _alert(alert: Mapping[str, t.Any]) -> list[str]:
    labels = ", ".join(f"{name}={value}" for name, value in sorted(alert["labels"].items()))
    return [
        escape(alert["name"]),
        escape(alert["severity"] or "none"),
        escape(moment(alert["since"])),
        escape(alert["summary"] or labels),
        escape(alert["description"]),
    ]


def _server(server: Mapping[str, t.Any]) -> list[str]:
    return [
        f"<code>{escape(server['pod'])}</code>",
        "yes" if server["ready"] else "no",
        "yes" if server["answers"] else "no",
        str(server["models"]),
        escape(short(server["release"])),
        escape("; ".join(server["problems"])),
    ]


def _model(model: Mapping[str, t.Any]) -> list[str]:
    return [
        escape(model["name"]),
        escape(", ".join(model["versions"])),
        f"{model['servers']} of {model['of']}",
        escape("; ".join(model["reasons"])),
    ]


def _accelerator(each: Mapping[str, t.Any]) -> list[str]:
    return [
        f"<code>{escape(each['uuid'])}</code>",
        percent(each.get("utilization")),
        f"{size(each.get('memory_used_bytes'))} of {size(each.get('memory_total_bytes'))}",
        f"{figure(each.get('power_usage'))} of {figure(each.get('power_limit'), 'W')}",
    ]


def _check(check: Mapping[str, t.Any]) -> list[str]:
    return [
        escape(str(check["layer"])),
        f"<code>{escape(str(check['target']))}</code>",
        escape(str(check["protocol"])),
        escape(str(check["passed"])),
        escape(str(check["failed"])),
    ]
