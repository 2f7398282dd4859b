# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the state of instances as people see it: in a real browser, on a phone, a screen and on paper."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._instance.status_page import DRAWINGS, page
from ansible_collections.fastml.supersonic.tests.harness import status
from ansible_collections.fastml.supersonic.tests.harness.browser import Browser, browser

PHONE, SCREEN = 390, 1280
INSTANCES = [status.healthy(), status.troubled(), status.blind(), status.idle(), status.unreachable()]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "status.html").write_text(page(INSTANCES, status.MADE, "1.0.0"))
    long = status.troubled("x" * 30)
    long["servers"]["each"][0]["problems"] = ["a-word-that-does-not-end-" * 20]
    (folder / "long.html").write_text(page([long, status.unreachable("y" * 30)], status.MADE))
    return folder


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


def complaints(chromium: Browser) -> list[Any]:
    """Whatever the browser has said of the page."""
    return [
        *chromium.of("Runtime.consoleAPICalled"),
        *chromium.of("Runtime.exceptionThrown"),
        *chromium.of("Log.entryAdded"),
    ]


def keep(chromium: Browser, pages: Path, name: str) -> None:
    """A picture, for people: in $SUPERSONIC_PICTURES, or with the page."""
    place = Path(os.environ.get("SUPERSONIC_PICTURES") or pages)
    place.mkdir(parents=True, exist_ok=True)
    chromium.picture(place / f"{name}.png")
    assert (place / f"{name}.png").stat().st_size > 20_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, SCREEN])
@pytest.mark.parametrize("name", ["status", "long"])
def test_all_of_it_is_seen(chromium: Browser, pages: Path, name: str, width: int, scheme: str) -> None:
    chromium.media(scheme=scheme)
    chromium.open(pages / f"{name}.html", width)
    assert complaints(chromium) == []
    assert [event["request"]["url"] for event in chromium.of("Network.requestWillBeSent")] == [
        (pages / f"{name}.html").as_uri()
    ]
    assert chromium.value("document.documentElement.scrollWidth") <= width
    # What is wider than its frame is cut, unless it can be scrolled.
    cut = """[...document.querySelectorAll('body *')].filter(each => {
      const box = each.getBoundingClientRect();
      return box.width && box.right > innerWidth + 1 && !each.closest('.scroll');
    }).map(each => each.outerHTML.slice(0, 200))"""
    assert chromium.value(cut) == []
    keep(chromium, pages, f"{name}-{width}-{scheme}")


def test_texts_and_plots_are_there(chromium: Browser, pages: Path) -> None:
    chromium.media()
    chromium.open(pages / "status.html", SCREEN)
    text = chromium.value("document.body.innerText")
    for said in ("cms.example.org:8001", "No plots: no Prometheus was named", "PoolDown", "1 to 8 servers, wants 2"):
        assert said in text
    boxes = chromium.value(
        "[...document.querySelectorAll('svg[role=img]')].map(each => [each.getBoundingClientRect().width, "
        "each.getBoundingClientRect().height, "
        "...[...each.querySelectorAll('.line')].map(line => line.getTotalLength())])"
    )
    assert len(boxes) == 3 * len(DRAWINGS) - 1
    for width, height, *lines in boxes:
        assert width > 200
        assert height > 90
        assert lines
        assert min(lines) > 100
    # Drawn in the colour of the text, and not in black on black.
    colours = chromium.value("[...document.querySelectorAll('.line')].map(each => getComputedStyle(each).stroke)")
    assert len(set(colours)) == 2
    assert not {"none", "rgb(0, 0, 0)"} & set(colours)


def test_a_phone_has_letters_that_can_be_read(chromium: Browser, pages: Path) -> None:
    chromium.media()
    chromium.open(pages / "status.html", PHONE)
    sizes = chromium.value(
        "[...document.querySelectorAll('body *')].filter(each => each.childNodes.length && each.innerText !== '')"
        ".map(each => parseFloat(getComputedStyle(each).fontSize) * "
        "(each.ownerSVGElement ? each.ownerSVGElement.getBoundingClientRect().width / 360 : 1))"
    )
    assert min(sizes) >= 9.5
    # The overview has become cards, each cell with the name of its column.
    assert chromium.value("getComputedStyle(document.querySelector('td')).display") == "block"
    before = chromium.value(
        "[...document.querySelectorAll('td')].map(each => getComputedStyle(each, '::before').content)"
    )
    assert any("servers ready" in text for text in before)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_stand_out_from_their_ground(chromium: Browser, pages: Path, scheme: str) -> None:
    """4.5 to 1, as WCAG 2 has it."""
    chromium.media(scheme=scheme)
    chromium.open(pages / "status.html", SCREEN)
    least = chromium.value(
        """(() => {
      const parse = text => text.match(/[\\d.]+/g).map(Number);
      const light = ([r, g, b]) => [r, g, b].map(value => value / 255)
        .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
      const ground = each => {
        for (let place = each; place; place = place.parentElement) {
          const colour = parse(getComputedStyle(place).backgroundColor);
          if (colour.length === 3 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
      };
      return Math.min(...[...document.querySelectorAll('body *:not(title, desc)')].filter(each =>
        [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim())).map(each => {
          const style = getComputedStyle(each);
          const [a, b] = [light(parse(each.ownerSVGElement ? style.fill : style.color)), light(ground(each))];
          return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        }));
    })()"""
    )
    assert least >= 4.5


def test_those_who_do_not_see_it_are_told(chromium: Browser, pages: Path) -> None:
    """As the browser tells it to a screen reader."""
    chromium.media()
    for width in (PHONE, SCREEN):
        chromium.open(pages / "status.html", width)
        nodes = chromium.call("Accessibility.getFullAXTree")["nodes"]
        told: dict[str, list[str]] = {}
        described: list[str] = []
        for node in nodes:
            role = (node.get("role") or {}).get("value")
            if node.get("ignored") or not role:
                continue
            told.setdefault(role, []).append(str((node.get("name") or {}).get("value", "")))
            if role in ("image", "img"):
                described.append(str((node.get("description") or {}).get("value", "")))
        images = told.get("image", []) + told.get("img", [])
        assert len(images) == 3 * len(DRAWINGS) - 1
        assert all(images)
        assert len(described) == len(images)
        assert all(" to " in text for text in described)
        assert len(told["table"]) > 8
        assert all(told["table"])
        assert "All instances" in told["table"]
        assert len(told["columnheader"]) > 20
        assert [name for name in told["heading"] if name.startswith("cms")]
        # Sections are named after their instance.
        assert len([name for name in told["region"] if name]) == len(INSTANCES)


def test_on_paper(chromium: Browser, pages: Path) -> None:
    chromium.media("print", "dark")
    chromium.open(pages / "status.html", SCREEN)
    assert chromium.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    printed = chromium.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"]
    assert len(printed) > 20_000
    chromium.media()
