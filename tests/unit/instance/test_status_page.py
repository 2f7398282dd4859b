# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the state of instances: what it says of whom, and that nothing in it comes from elsewhere."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._instance import status_page as instance_status_page
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import status_plot
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.status_page import (
    figure,
    page,
    table,
    verdict,
)
from ansible_collections.fastml.supersonic.tests.harness import status

VOID = {"meta", "br", "link", "img", "path"}


class Tree(HTMLParser):
    """Checks that what is opened is closed, and keeps texts and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


ALL = [status.healthy(), status.troubled(), status.blind(), status.idle(), status.unreachable(), status.absent()]


def test_every_instance_is_told() -> None:
    tree = Tree(page(ALL, status.MADE, "1.2.3"))
    assert "Made 2026-03-01 12:00 UTC by fastml.supersonic 1.2.3" in tree.text
    for text in (
        "cms.example.org:8001",
        "in the cluster cms.cms.svc.cluster.local:8001",
        "2 of 2 ready",
        "1 to 8 servers, wants 2",
        "paused at 3 servers (else 1 to 8)",
        "passed 2026-03-01 11:30 UTC",
        "unreachable: https://192.0.2.1:6443, the API server of context nrp, cannot be reached: timed out.",
        "not deployed: the namespace belle has neither its servers, nor its Envoys, nor its Service",
        "No plots: no Prometheus was named",
        "no record: /srv/atlas/verify.json is not there yet; verify writes it",
        "no server tells of an accelerator (nv_gpu_utilization)",
        "failed to load 'particlenet', failed to open text file",
        "2c26b46b68ff",
        "SupersonicPoolDown",
        "2026-03-01 11:41 UTC",
        "atlas/atlas: too few servers are healthy",
        "Look at the pods that are not ready.",
        "component=envoy",
        "GPU-9a3c0d1e-0000-0000-0000-000000000001",
        "11 GiB of 80 GiB",
        "nvcr.io/nvidia/tritonserver:26.04-py3",
    ):
        assert text in tree.text, text
    # The worst first.
    names = re.findall(r'<h2 id="i\d">([\w-]+)', page(ALL, status.MADE))
    assert names == ["atlas", "nrp", "belle-at-home", "cms", "ligo", "icecube"]


def test_nothing_comes_from_elsewhere_and_nothing_runs() -> None:
    text = page(ALL, status.MADE)
    tree = Tree(text)
    assert not {tag for tag, _attributes in tree.tags} & {"script", "link", "img", "iframe", "object", "form", "base"}
    for tag, attributes in tree.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset")], tag
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in text
    assert "@import" not in text
    policy = [each["content"] for tag, each in tree.tags if tag == "meta" and "http-equiv" in each]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


HOSTILE = """<script>alert("1")</script><img src=x onerror='a()'>&amp;\x00"""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where texts are, but for times and words that choose."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list) and path[-1:] != ("answer_rate",) and "series" not in path:
        for index, item in enumerate(value):
            yield from places(item, (*path, index))
    elif isinstance(value, str):
        yield path


@pytest.mark.parametrize("make", [status.healthy, status.troubled, status.blind, status.unreachable])
def test_whatever_is_said_is_escaped(make: Callable[[], dict[str, Any]]) -> None:
    plain = [tag for tag, _attributes in Tree(page([make()], status.MADE)).tags]
    found = 0
    for path in places(make()):
        hostile = make()
        place = hostile
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = HOSTILE
        text = page([hostile], HOSTILE)
        assert "<script" not in text, path
        assert "<img" not in text, path
        tags = [tag for tag, _attributes in Tree(text).tags]
        # No tag comes in, whoever wrote the text; an alert that is not critical is none of the reasons.
        assert set(tags) <= set(plain) | {"li", "ul"}, path
        found += "&lt;script&gt;" in text
    assert found > (3 if make is status.unreachable else 20)


@pytest.mark.parametrize("part", [*instance_status_page.PARTS])
def test_a_part_that_is_not_known_says_why(part: str) -> None:
    state = status.healthy()
    state["unknown"][part] = "a reason of its own"
    if part in ("accelerators", "alerts"):
        state["traffic"][part] = None
    else:
        state[part] = None
    assert "a reason of its own" in Tree(page([state], status.MADE)).text
    assert f"{instance_status_page.PARTS[part]}: not known: a reason of its own" in table([state])


def test_nothing_at_all() -> None:
    assert "The inventory has no instance." in Tree(page([], status.MADE)).text
    state = {"name": "a", "namespace": "b", "reachable": True, "why": "", "window": 60, "unknown": {"servers": "gone"}}
    assert "gone" in Tree(page([state], status.MADE)).text


def test_plots_have_words_and_names_of_their_own() -> None:
    tree = Tree(page(ALL, status.MADE))
    identities = [attributes["id"] for _tag, attributes in tree.tags if "id" in attributes]
    assert len(identities) == len(set(identities))
    drawn = [attributes for tag, attributes in tree.tags if tag == "svg" and attributes.get("role") == "img"]
    # Three instances have a Prometheus, and of the idle one no latency is known.
    assert len(drawn) == 3 * len(instance_status_page.DRAWINGS) - 1
    for attributes in drawn:
        assert set(str(attributes["aria-labelledby"]).split()) <= set(identities)
    assert "no requests in this time" in tree.text
    latency = [value for _at, value in status.healthy()["traffic"]["series"]["client_latency"]]
    assert f"mean: {figure(min(latency))} to {figure(max(latency))}, last {figure(latency[-1])} ms" in tree.text
    captions = [tag for tag, _attributes in tree.tags if tag in ("table", "caption")]
    assert captions.count("table") == captions.count("caption") > 8


# ---- how it is -------------------------------------------------------------------------------------------------------
def changed(**changes: Any) -> dict[str, Any]:
    """A healthy one but for values, by a path of keys: servers__ready=1."""
    state = copy.deepcopy(status.healthy())
    for path, value in changes.items():
        *way, last = path.split("__")
        place = state
        for key in way:
            place = place[int(key) if key.isdigit() else key]
        place[last] = value
    return state


EMPTY = {"servers__wanted": 0, "servers__ready": 0}
BY_OPERATOR = "paused by an operator"
NOTED = {"servers": 0, "since": "2026-03-01T11:40:00Z", "reason": "storage moves"}


def paused(**note: Any) -> dict[str, Any]:
    return changed(**EMPTY, autoscaler__paused=True, autoscaler__pause={**NOTED, **note})


ALERT = {**status.troubled()["traffic"]["alerts"][0], "name": "QueueLong"}


@pytest.mark.parametrize(
    ("state", "level", "reason"),
    [
        (changed(), "fine", ""),
        (status.idle(), "fine", ""),
        (status.blind(), "fine", ""),
        (status.unreachable(), "bad", "unreachable: https"),
        (changed(servers__wanted=3), "attention", "2 of 3 servers are ready"),
        (changed(servers__ready=0), "bad", "none of 2 servers is ready"),
        (changed(servers__wanted=0, servers__ready=0), "fine", ""),
        (changed(**EMPTY, autoscaler__paused=True), "attention", "no server is wanted, and none will come"),
        (changed(**EMPTY, autoscaler__kind=""), "attention", "no server is wanted, and none will come"),
        (changed(**EMPTY, autoscaler=None), "fine", ""),
        (paused(), "attention", f"{BY_OPERATOR} at 0 servers since 2026-03-01 11:40 UTC: storage moves"),
        (paused(servers=1, since="", reason=""), "attention", f"{BY_OPERATOR} at 1 server"),
        (paused(servers=None, reason=""), "attention", f"{BY_OPERATOR} since 2026-03-01 11:40 UTC"),
        (changed(servers=None, unknown__servers="gone"), "bad", "gone"),
        (changed(servers__models__0__servers=1), "attention", "1 of 2 servers have the model identity ready"),
        (changed(servers__models__0__servers=0), "bad", "no server has the model identity ready"),
        (changed(servers__each__0__problems=["serves another release"]), "attention", "a server is not"),
        (changed(envoys__ready=1), "attention", "1 of 2 Envoys are ready"),
        (changed(envoys__ready=0), "bad", "no Envoy is ready"),
        (changed(autoscaler__problems=["cannot read"]), "attention", "autoscaler: cannot read"),
        (changed(verification__passed=False), "bad", "the last verification failed"),
        (changed(traffic__alerts=[{**ALERT, "severity": "warning"}]), "attention", "alert QueueLong"),
        (changed(traffic__alerts=[{**ALERT, "severity": "critical"}]), "bad", "alert QueueLong"),
        (changed(traffic__hour__error_rate=4.2), "fine", ""),
        (changed(traffic__hour__error_rate=42.13), "attention", "10 % of the requests of the last hour failed"),
    ],
)
def test_verdicts(state: dict[str, Any], level: str, reason: str) -> None:
    found = verdict(state)
    assert found.level == level, found
    assert any(text.startswith(reason) for text in found.reasons) or (not reason and not found.reasons)
    assert not reason.startswith(BY_OPERATOR) or found.reasons == [reason]


def test_the_table() -> None:
    lines = table(ALL).splitlines()
    assert lines[0].split() == [
        "instance",
        "state",
        "servers",
        "ready",
        "answers/s",
        "p99",
        "errors",
        "verified",
        "alerts",
    ]
    assert re.fullmatch(r"cms +Well +2 of 2 +421 +91\.7 ms +0 % +passed 2026-03-01 11:30 UTC +none", lines[1])
    assert re.fullmatch(r"icecube +Well +2 of 2 +0 +no requests +no requests +passed .* +none", lines[4])
    assert re.fullmatch(r"nrp +Not well", lines[5])
    assert re.fullmatch(r"belle-at-home +Not deployed", lines[6])
    assert [line for line in lines[7:] if line.startswith("belle")] == [
        "belle-at-home: not deployed: the namespace belle has neither its servers, nor its Envoys, nor its Service"
    ]
    assert (
        "nrp: unreachable: https://192.0.2.1:6443, the API server of context nrp, cannot be reached: timed out."
        in lines
    )
    assert "ligo: The last hour: not known: no Prometheus was named" in lines


def test_a_pause_is_seen_at_once() -> None:
    lines = table([paused()]).splitlines()
    assert re.fullmatch(r"cms +Look at it +0 of 0, paused +421 .*", lines[1])
    assert f"cms: {BY_OPERATOR} at 0 servers since 2026-03-01 11:40 UTC: storage moves" in lines
    text = Tree(page([paused(reason=HOSTILE)], status.MADE)).text
    assert "0 of 0, paused" in text
    assert HOSTILE.partition("&")[0] in text


# ---- numbers ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not known"),
        (0, "0"),
        (0.0123, "0.0123"),
        (0.00004, "0"),
        (1, "1"),
        (9.999, "10"),
        (12.34, "12.3"),
        (123.4, "123"),
        (98765.4, "98,765"),
        (-3.25, "-3.25"),
    ],
)  # fmt: skip
def test_figures(value: float | None, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(
    ("most", "marks"),
    [(0, [0, 0.25, 0.5, 0.75, 1]), (1, [0, 0.25, 0.5, 0.75, 1]), (100, [0, 25, 50, 75, 100]), (101, [0, 50, 100, 150]),
     (0.03, [0, 0.01, 0.02, 0.03]), (7, [0, 2, 4, 6, 8]), (float("nan"), [0, 0.25, 0.5, 0.75, 1])],
)  # fmt: skip
def test_marks(most: float, marks: list[float]) -> None:
    assert status_plot.ticks(most) == pytest.approx(marks)


@pytest.mark.parametrize(("most", "marks"), [(1, [0, 1]), (2, [0, 1, 2]), (7, [0, 2, 4, 6, 8]), (9, [0, 3, 6, 9])])
def test_marks_of_what_is_counted(most: float, marks: list[float]) -> None:
    assert status_plot.ticks(most, whole=True) == marks


@pytest.mark.parametrize("most", [10**power * factor for power in range(-4, 9) for factor in (1, 1.01, 2.4, 3.3, 7.7)])
def test_there_are_few_marks_and_all_is_below_the_last(most: float) -> None:
    marks = status_plot.ticks(most)
    assert 3 <= len(marks) <= 6
    assert most <= marks[-1] * (1 + 1e-9) <= most * 2
    assert len({status_plot.label(mark) for mark in marks}) == len(marks)


@pytest.mark.parametrize("span", [60, 600, 3600, 7200, 86400, 604800])
def test_times_are_few_and_within(span: float) -> None:
    begin = status.END - span
    found = status_plot.times(begin, status.END)
    assert 1 <= len(found) <= 6
    assert all(begin < at < status.END for at in found)


def test_a_gap_is_a_gap_and_a_lone_value_is_seen() -> None:
    line = status_plot.Line("a", [(0, 1), (10, 1), (20, None), (30, 1), (40, None), (50, None), (60, 1), (70, 1)])
    drawn = status_plot.plot([line], (0, 70), [0, 1], title="t", words="w", anchor="x")
    (path,) = re.findall(r'<path class="line l0" d="([^"]*)"', drawn)
    assert path.count("M") == 3
    assert path.count("L") == 2
    assert "h0.1M" in path
