# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Damaged configurations and golden requests: accepted, or refused with a sentence, never a traceback.

Which ones, and how many: see harness/chance.py.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import scan
from ansible_collections.fastml.supersonic.plugins.module_utils._models.validation import validate
from ansible_collections.fastml.supersonic.tests.harness import chance
from ansible_collections.fastml.supersonic.tests.harness.model_cases import BAD, GOOD, ensemble, model

TOKEN = re.compile(r'"[^"]*"|-?[\w.]+|\S')
# Every configuration that the other tests know, the good and the bad.
CONFIGS = [
    text
    for case in [*GOOD.values(), *BAD.values()]
    for path, text in case.tree.items()
    if text and path.endswith("/config.pbtxt")
]
TOKENS = sorted({token for text in CONFIGS for token in TOKEN.findall(text)})
NUMBERS = ["0", "-1", "1e999", "nan", "0x7f", "2147483648", "9223372036854775807", "18446744073709551616", "9" * 5000]

Mutation = Callable[[bytes, random.Random], bytes]


def flip(text: bytes, dice: random.Random) -> bytes:
    data = bytearray(text)
    for _change in range(dice.randint(1, 4)):
        at = dice.randrange(len(data) + 1)
        data[at : at + dice.randint(0, 3)] = dice.randbytes(dice.randint(0, 3))
    return bytes(data)


def swap(text: bytes, dice: random.Random) -> bytes:
    tokens = TOKEN.findall(text.decode(errors="replace"))
    for _change in range(dice.randint(1, 3)):
        if tokens:
            tokens[dice.randrange(len(tokens))] = dice.choice([*TOKENS, *tokens])
    return " ".join(tokens).encode()


def cut(text: bytes, dice: random.Random) -> bytes:
    return text[: dice.randrange(len(text) + 1)]


def nest(text: bytes, dice: random.Random) -> bytes:
    opening = dice.choice([b"ensemble_scheduling { ", b"input [ ", b"parameters { value { ", b"{", b"optimization <"])
    at = dice.randrange(len(text) + 1)
    return text[:at] + opening * dice.choice([3, 200, 20_000]) + text[at:]


def enlarge(text: bytes, dice: random.Random) -> bytes:
    return re.sub(rb"\b\d+\b", lambda _found: dice.choice(NUMBERS).encode(), text)


def repeat(text: bytes, dice: random.Random) -> bytes:
    lines = text.splitlines(keepends=True) or [b""]
    return b"".join(lines + dice.choices(lines, k=dice.randint(1, 4)))


def not_utf8(text: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(text) + 1)
    return text[:at] + dice.choice([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\0", b"\xef\xbb\xbf"]) + text[at:]


MUTATIONS: list[Mutation] = [flip, swap, cut, nest, enlarge, repeat, not_utf8]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_damaged_configurations(tmp_path: Path, write: Callable[..., Path], mutation: Mutation) -> None:
    dice = chance.dice(mutation.__name__, "configurations")
    source = write(tmp_path / "source", {**model(), **ensemble()})
    refused = 0
    rounds = chance.cases(42, least=20)
    for _round in range(rounds):
        text = dice.choice(CONFIGS).encode()
        (source / dice.choice("me") / "config.pbtxt").write_bytes(mutation(text, dice))
        try:
            validate(scan([str(source)]))
        except SupersonicError:
            refused += 1
    assert refused > rounds // 4


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_damaged_golden_requests(tmp_path: Path, write: Callable[..., Path], golden: str, mutation: Mutation) -> None:
    dice = chance.dice(mutation.__name__, "golden requests")
    source = write(tmp_path / "source", {**model(), "m/golden/a.json": golden})
    validate(scan([str(source)]))
    refused = 0
    rounds = chance.cases(42, least=20)
    for _round in range(rounds):
        (source / "m/golden/a.json").write_bytes(mutation(golden.encode(), dice))
        try:
            validate(scan([str(source)]))
        except SupersonicError:
            refused += 1
    assert refused > rounds // 4
