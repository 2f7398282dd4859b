# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation says of playbooks, against the playbooks."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

CLONE = Path(__file__).resolve().parents[2]
PLAYBOOKS = {path.stem: path for folder in ("playbooks", "dev/playbooks") for path in (CLONE / folder).glob("*.yml")}


def tags(playbook: str) -> set[str]:
    """Every tag of a playbook, those of imported ones included."""
    found: set[str] = set()
    queue: list[dict[str, Any]] = yaml.safe_load(PLAYBOOKS[playbook].read_text())
    while queue:
        item = queue.pop(0)
        given = item.get("tags", [])
        found |= {given} if isinstance(given, str) else set(given)
        for part in ("tasks", "pre_tasks", "post_tasks", "handlers", "roles", "block", "rescue", "always"):
            queue += item.get(part, [])
        if "import_playbook" in item:
            found |= tags(item["import_playbook"].rpartition(".")[2])
    return found


def test_every_tag_is_told() -> None:
    rows = re.findall(r"^\| (`\w.*?) \| `(\w+)` \| \w", (CLONE / "docs/operations.md").read_text(), re.M)
    told = {(playbook, tag) for playbooks, tag in rows for playbook in re.findall(r"`(\w+)`", playbooks)}
    there = {(name, tag) for name in PLAYBOOKS for tag in tags(name) - {"always"}}
    assert told == there


def test_what_has_a_tag_is_judged_before() -> None:
    """A part of a playbook takes it as done by the first play."""
    for path in PLAYBOOKS.values():
        plays = yaml.safe_load(path.read_text())
        judged = [play for play in plays if "fastml.supersonic.validate" in str(play.get("tasks"))]
        if tags(path.stem) - {"always"} and "__supersonic_judged: true" in path.read_text():
            assert judged, path
            assert all("always" in play.get("tags", []) for play in judged), path


def test_installed_playbooks_are_named() -> None:
    """Whoever has installed the collection has no folder playbooks."""
    for path in ("README.md", "docs/models.md"):
        text = (CLONE / path).read_text()
        assert "ansible-playbook fastml.supersonic.models -i" in text, path
        for name in re.findall(r"ansible-playbook fastml\.supersonic\.(\w+)", text):
            assert (CLONE / f"playbooks/{name}.yml").is_file(), f"{path}: {name}"


def pages() -> list[Path]:
    others = [CLONE / name for name in ("README.md", "CONTRIBUTING.md", "tests/README.md", "dev/README.md")]
    return [*others, *sorted((CLONE / "docs").glob("*.md"))]


def test_every_option_is_one() -> None:
    """What a page calls an option of the endpoint is one, and not a name that was once planned."""
    specs = yaml.safe_load((CLONE / "roles/envoy/meta/argument_specs.yml").read_text())
    known = set(specs["argument_specs"]["main"]["options"]) | {
        path.stem for path in (CLONE / "plugins/modules").glob("envoy_*.py")
    }
    # Metrics of Envoy and their labels begin with its name too, and then with what is measured.
    metric = re.compile(r"envoy_(cluster|extension|http|listener|server|vhost|virtual)_\w+")
    told: set[str] = set()
    for path in pages():
        names = set(re.findall(r"\benvoy_\w+", path.read_text()))
        unknown = {name for name in names - known if not metric.fullmatch(name)}
        assert not unknown, f"{path.name}: {sorted(unknown)}"
        told |= names & known
    # And whatever says who comes in, how much and how is told somewhere.
    groups = ("access", "client", "connection", "jwt", "load", "public", "request", "retr", "tls", "tokens")
    assert {name for name in known if name.removeprefix("envoy_").startswith(groups)} <= told


def test_values_with_blanks_are_given_as_json() -> None:
    """Of -e NAME='two words' Ansible takes the first: what comes after a blank is another NAME=VALUE, or is lost."""
    given = re.compile(r"""(?:-e|--extra-vars)[ ]+('[^']*'|"[^"]*"|[^\s'"`]+(?:'[^']*'|"[^"]*")?)""")
    seen = 0
    for path in [*pages(), *PLAYBOOKS.values()]:
        text = path.read_text() if path.suffix == ".md" else "\n".join(re.findall(r"^ *#.*", path.read_text(), re.M))
        # A comment goes on in the next line.
        text = re.sub(r"\n *#? *", " ", text)
        for argument in given.findall(text):
            value = " ".join(shlex.split(argument))
            if value.startswith('{"') and "..." not in value:
                assert isinstance(json.loads(value), dict), f"{path.name}: {argument}"
                seen += 1
            elif re.match(r"\w+=", value):
                assert all("=" in word for word in value.split()), f"{path.name}: {argument}"
    assert seen > 30


def anchors(text: str) -> set[str]:
    """What a heading is called in an address."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere() -> None:
    for path in pages():
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", path.read_text()):
            file, _hash, anchor = target.partition("#")
            page = path.parent / file if file else path
            assert page.exists(), f"{path.name}: {target}"
            assert not anchor or anchor in anchors(page.read_text()), f"{path.name}: {target}"


def test_objectives_have_the_defaults_that_are_told() -> None:
    specs = yaml.safe_load((CLONE / "roles/prometheus/meta/argument_specs.yml").read_text())
    options = specs["argument_specs"]["main"]["options"]["prometheus_objectives"]["options"]
    rows = re.findall(r"^  \| `(\w+)` \| ([\d.]+) \|", (CLONE / "docs/prometheus.md").read_text(), re.M)
    assert [(name, float(value)) for name, value in rows] == [
        (name, option["default"]) for name, option in options.items()
    ]
