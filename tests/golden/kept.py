# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of rendered manifests: whole ones in fewer lines, and of others what differs from a whole one.

A whole file has every manifest, as Kubernetes would take it, with what is short in one line.

A difference has a heading for each place at which lines are others, fewer or more, and the lines there instead:

    @@ Deployment supersonic-envoy: spec > template > spec > containers > name: envoy, line 4, instead of 1
    +      image: example.org/envoy:v1.40.0

The place is named by the lines that it is below, and by how many lines below the last of them. What the other file has
there is not shown, so that a default that changes is seen in that file and not in the differences.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

Manifest = Mapping[str, Any]
# The lengths up to which lists and mappings take one line: those of anything, and those of names, such as labels.
WIDTH, NAMES_WIDTH = 120, 280
CHECKSUM = "supersonic.fastml.org/configuration"
ENDLESS = 1_000_000


class _Parsed(dict[str, Any]):
    """What a text says that is YAML."""


class _Representer(yaml.representer.SafeRepresenter):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(representer: _Representer, text: str) -> yaml.ScalarNode:
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Representer.add_representer(str, _text)
_Representer.add_representer(_Parsed, lambda representer, value: representer.represent_mapping("!yaml", value.items()))


def _fold(node: yaml.Node, indent: int) -> int:
    """Put what is short into one line; the length that this has."""
    if isinstance(node, yaml.ScalarNode):
        return ENDLESS if "\n" in node.value else len(node.value) + 2 * bool(node.style)
    if isinstance(node, yaml.SequenceNode):
        length = sum(_fold(item, indent + 2) + 2 for item in node.value)
        node.flow_style = indent + length <= WIDTH
        return length
    length = sum(len(key.value) + 4 + _fold(value, indent + 2) for key, value in node.value)
    names = all(isinstance(value, yaml.ScalarNode) for _key, value in node.value)
    node.flow_style = indent + length <= (NAMES_WIDTH if names else WIDTH) and not node.tag.startswith("!")
    return length


def _dump(value: Any) -> str:
    node = _Representer(sort_keys=False).represent_data(value)
    _fold(node, 0)
    node.flow_style = False
    return yaml.serialize(node, Dumper=yaml.CSafeDumper, allow_unicode=True, width=ENDLESS)


def _parsed(text: str) -> Any:
    """A text of rules as what it says, when the text follows from that; else the text."""
    if not text.startswith("groups:"):
        return text
    rules = yaml.load(text, Loader=yaml.CSafeLoader)
    same = yaml.dump(rules, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=ENDLESS) == text
    return _Parsed(rules) if same else text


def _texts(manifest: Manifest) -> dict[str, str]:
    """The texts of several lines that a ConfigMap or a Secret has, by key."""
    data = manifest.get("data", manifest.get("stringData")) or {}
    return {key: value for key, value in data.items() if "\n" in str(value)}


def _with(manifest: Manifest, texts: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with these in place of its texts."""
    part = "data" if "data" in manifest else "stringData"
    return {**manifest, part: {**manifest[part], **texts}} if texts else dict(manifest)


def whole(manifests: Sequence[Manifest]) -> str:
    """All that manifests say, which tells them from any others."""
    return "".join(
        "---\n" + _dump(_with(item, {key: _parsed(text) for key, text in _texts(item).items()})) for item in manifests
    )


def _units(manifests: Sequence[Manifest]) -> dict[str, list[str]]:
    """The lines of each manifest, and those of each text of it, by name."""
    found: dict[str, list[str]] = {}
    sums = [_sums(list(_texts(item).items())) for item in manifests]
    for item in manifests:
        item = copy.deepcopy(_with(item, dict.fromkeys(_texts(item), "...")))
        notes = item.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
        if any(notes.get(CHECKSUM) in each for each in sums):
            notes[CHECKSUM] = "the right one"
        name = f"{item['kind']} {item['metadata']['name']}"
        assert name not in found, name
        found[name] = _dump(item).splitlines()
    for item in manifests:
        for key, text in _texts(item).items():
            value = _parsed(text)
            name = f"{item['kind']} {item['metadata']['name']}, {key}"
            # An end of the last line counts.
            found[name] = text.split("\n") if value is text else _dump(dict(value)).splitlines()
    return found


def _sums(texts: list[tuple[str, str]]) -> set[str]:
    """The checksums that pods may have of the texts of a ConfigMap: of the first, and of all but dashboards."""
    read = [text for key, text in texts if not key.endswith(".json")]
    return {hashlib.sha256(text.encode()).hexdigest()[:16] for text in (*read[:1], "".join(read)) if text}


def _depth(line: str) -> float:
    """How far a line is indented, an item of a list further than the list's name."""
    bare = line.lstrip()
    return ENDLESS if not bare else len(line) - len(bare) + 0.5 * bare.startswith("- ")


def _place(lines: Sequence[str], number: int) -> str:
    """Below which lines a line is, and how far below the last of them."""
    above: list[str] = []
    last, depth = -1, _depth(lines[number]) if number < len(lines) else 0.0
    for place in range(min(number, len(lines)) - 1, -1, -1):
        if _depth(lines[place]) < depth:
            depth = _depth(lines[place])
            above.insert(0, lines[place].strip().removeprefix("- ").removesuffix(":")[:60])
            last = max(last, place)
    return f"{' > '.join(above)}, line {number - last}".removeprefix(", ")


def _changes(name: str, before: Sequence[str], now: Sequence[str]) -> list[str]:
    found = []
    for _tag, first, last, begin, end in difflib.SequenceMatcher(None, before, now, autojunk=False).get_opcodes():
        if _tag == "equal":
            continue
        instead = f", instead of {last - first}" if last > first else ""
        where = _place(now, begin) if end > begin else _place(before, first)
        found.append(f"@@ {name}: {where}{instead}")
        found += [f"+{line}" for line in now[begin:end]]
    return found


def difference(base: Sequence[Manifest], manifests: Sequence[Manifest], names: Mapping[str, str]) -> str:
    """What differs from the base. names: those that are here, and those that the base has for them."""
    before, now = _units(base), _units(manifests)
    for name, theirs in names.items():
        now = {
            unit.replace(name, theirs): [line.replace(name, theirs) for line in lines] for unit, lines in now.items()
        }
    both = [name for name in before if name in now]
    assert both == [name for name in now if name in before], "the order of manifests is another one"
    # With a manifest its texts are gone.
    lines = [f"@@ {name}: not there" for name in before if name not in now and name.partition(", ")[0] in {name, *now}]
    follows = ""
    for name, text in now.items():
        # The second of two texts that are nearly the same.
        like = name.replace("-2.yaml", ".yaml")
        if name in before:
            lines += _changes(name, before[name], text)
        elif like != name and like in now:
            lines.append(f"@@ {name}: new, after {follows}, and as {like} but for this")
            lines += _changes(name, now[like], text)
        else:
            lines.append(f"@@ {name}: new, after {follows}")
            lines += [f"+{line}" for line in text]
        follows = name
    return "".join(f"{line}\n" for line in lines)
