# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile clients of a gateway with everything on.

Who has no token does not reach Triton, and who may ask for one model does not reach another, whatever bytes come.

Tried are 10,000 inputs without a token and a tenth of that with one. Others, and more: see harness/chance.py.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import hashlib
import hmac
import json
import random
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from tritonclient.grpc import service_pb2

from ansible_collections.fastml.supersonic.tests.harness import chance
from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy
from ansible_collections.fastml.supersonic.tests.harness.gateway import (
    ISSUER,
    KEY,
    OTHER_KEY,
    access_log,
    bearer,
    frame,
    infer,
    key_set,
    passed,
    render_cases,
    statistics,
    token,
)
from ansible_collections.fastml.supersonic.tests.harness.models import write_model
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton

COUNT = chance.cases(10_000)
CLIENTS = 32
# For how long a client waits for more of an answer: who has no token soon goes, so that there is time for many.
QUIET_S, PATIENCE_S = 0.03, 1.0
MIB = 1 << 20

CMS, ATLAS = "cms-0123456789abcdefghij", "atlas-0123456789abcdefgh"
MODEL_METHODS = ["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "ModelInfer"]
SERVICE = "/inference.GRPCInferenceService/"
CASE: dict[str, Any] = {
    "envoy_tokens": {"cms": CMS, "atlas": ATLAS},
    "envoy_jwt_issuers": [{"issuer": ISSUER, "audiences": ["supersonic"], "jwks": key_set(one=KEY)}],
    "envoy_access_rules": [
        {"clients": ["cms"], "methods": MODEL_METHODS, "models": ["identity"]},
        {"clients": ["atlas", "alice"]},
    ],
    "envoy_http": True,
    "envoy_access_log": "all",
}

Dice = random.Random
Headers = list[tuple[bytes, bytes]]


# ---- HTTP by hand: only so can it be wrong -------------------------------------------------------------------------
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED = 1, 4, 8


def http2_frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def hpack(headers: Headers) -> bytes:
    """Headers as literals that nobody keeps."""
    return b"".join(b"\0" + hpack_text(name) + hpack_text(value) for name, value in headers)


def hpack_text(text: bytes) -> bytes:
    size = len(text)
    return (bytes([size]) if size < 127 else b"\x7f" + varint(size - 127)) + text


def varint(value: int, size: int = 1) -> bytes:
    """A number in groups of seven bits, as HPACK and protobuf have it; in size bytes, needed or not."""
    found = bytearray()
    while value > 127 or len(found) < size - 1:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def pieces(content: bytes, dice: Dice, most: int = 16384) -> list[bytes]:
    """Content cut somewhere, or not at all."""
    cuts = sorted(dice.sample(range(len(content) + 1), min(dice.choice([0, 0, 1, 5]), len(content))))
    found = [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    return [part[at : at + most] for part in found for at in range(0, len(part) or 1, most)]


def http2_frames(headers: Headers, body: bytes, dice: Dice, stream: int = 1) -> list[bytes]:
    """A request as frames."""
    blocks = pieces(hpack(headers), dice)
    frames = [
        http2_frame(CONTINUATION if index else HEADERS, END_HEADERS if index == len(blocks) - 1 else 0, stream, block)
        for index, block in enumerate(blocks)
    ]
    parts = pieces(body, dice)
    frames += [
        http2_frame(DATA, END_STREAM if index == len(parts) - 1 else 0, stream, part)
        for index, part in enumerate(parts)
    ]
    return frames


def http2(*frames: bytes) -> bytes:
    return PREFACE + http2_frame(SETTINGS, 0, 0) + b"".join(frames)


def request(path: bytes, headers: Headers, body: bytes, dice: Dice) -> bytes:
    """A request that is in order, apart from what it is given, by either version of HTTP."""
    method = b"GET" if path.startswith(b"/v2") and not body else b"POST"
    if dice.random() < 0.5:
        lines = [b"%s %s HTTP/1.1" % (method, path), b"host: localhost", b"connection: close"]
        lines += [b"%s: %s" % header for header in headers if not header[0].startswith(b":")]
        if dice.random() < 0.5:
            lines.append(b"content-length: %d" % len(body))
            return b"\r\n".join([*lines, b"", body])
        chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in pieces(body, dice) if part]
        return b"\r\n".join([*lines, b"transfer-encoding: chunked", b"", b""]) + b"".join(chunks) + b"0\r\n\r\n"
    first: Headers = [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"localhost")]
    return http2(*http2_frames(first + headers, body, dice))


GRPC: Headers = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]


# ---- without a token that is good ----------------------------------------------------------------------------------
def encoded(part: Any) -> str:
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def forged_tokens() -> list[str]:
    """JSON Web Tokens of people who have not the key."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "supersonic", "sub": "alice", "exp": now + 6000}
    public = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    found = []
    for algorithm in ("none", "None", "nOnE", "", None, [], "RS256", "ES256", "PS256", "HS256" * 3000):
        head = f"{encoded({'alg': algorithm, 'kid': 'one', 'typ': 'JWT'})}.{encoded(claims)}."
        found += [head, head + "AAAA", head[:-1]]
    for algorithm, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
        for secret in (public, public.strip(), b"", json.dumps(key_set(one=KEY)["keys"][0]).encode()):
            head = f"{encoded({'alg': algorithm, 'kid': 'one'})}.{encoded(claims)}"
            found.append(f"{head}.{encoded(hmac.new(secret, head.encode(), digest).digest())}")
    jwk = key_set(one=OTHER_KEY)["keys"][0]
    for more in ({}, {"jwk": jwk}, {"jku": "http://127.0.0.1:1/keys"}, {"crit": ["exp"]}, {"kid": "../../one"}):
        good, body, signature = token(OTHER_KEY).split(".")
        header = {"alg": "RS256", "kid": "one", **more}
        found += [f"{encoded(header)}.{body}.{signature}", f"{good}.{body}.{signature}"]
    found += [token(OTHER_KEY, groups=["x" * 100] * 200), token(OTHER_KEY, sub=[[[[[]]]]] * 50), token(exp=now - 3600)]
    found += [token(iss="https://nobody.example.org"), token(aud="elsewhere"), token(OTHER_KEY, sub="\0" * 200)]
    head, body, signature = token().split(".")
    deep = encoded(b'{"iss":"' + ISSUER.encode() + b'","a":' + b"[" * 20000)
    found += [f"{head}.{deep}.{signature}", f"{head}.{encoded({**claims, 'sub': 'atlas'})}.{signature}", "...", "."]
    return [*found, f"{head}..{signature}", f".{body}.{signature}", f"{head}.{body}.", f"{head}.{body}"]


FORGED = forged_tokens()
GOOD_JWT = token(exp=int(time.time()) + 6000)


def near_miss(dice: Dice) -> bytes:
    """A value of `authorization` that is no good."""
    at = dice.randrange(len(CMS))
    return dice.choice(
        [
            lambda: CMS,
            lambda: bearer(""),
            lambda: bearer(CMS[:at]),
            lambda: bearer(CMS + dice.choice(["x", ",", ";", "=", " x", f" {CMS}", "\0", "\x7f", "\xff"])),
            lambda: bearer(CMS[:at] + chr(ord(CMS[at]) ^ 1 << dice.randrange(7)) + CMS[at + 1 :]),
            lambda: bearer(CMS[:at] + chr(ord(CMS[at]) | 128) + CMS[at + 1 :]),
            lambda: bearer(CMS.upper()),
            lambda: f"Bearer{dice.choice(['', chr(9), ':', '=', ',', chr(0)])}{CMS}",
            lambda: f"{dice.choice(['Basic', 'Token', 'Bear', 'Bearer Bearer', 'xBearer,', 'Bearer,'])} {CMS}",
            lambda: bearer("x" * dice.choice([100, 8000, 50000, 70000])),
            lambda: bearer(dice.choice(FORGED)),
            lambda: bearer(dice.choice(FORGED)[: dice.randrange(400)]),
            lambda: bearer(bearer(dice.choice(FORGED))),
            lambda: bearer(dice.randbytes(dice.randrange(300)).decode("latin-1")),
        ]
    )().encode("latin-1")  # fmt: skip


def strange_token(dice: Dice) -> Headers:
    """Headers of somebody who has no token, or has one where none belongs."""
    good = dice.choice([CMS, GOOD_JWT]).encode()
    return dice.choice(
        [
            lambda: [(b"authorization", near_miss(dice))],
            lambda: [(b"authorization", near_miss(dice))] * dice.randint(2, 5),
            lambda: [(b"authorization", near_miss(dice)) for _number in range(dice.randint(2, 20))],
            lambda: [(dice.choice([b"proxy-authorization", b"x-authorization", b"x-api-key"]), b"Bearer " + good)],
            lambda: [(b"cookie", b"authorization=Bearer " + good), (b"cookie", b"access_token=" + good)],
            lambda: [(b"x-supersonic-client", b"atlas")],
            lambda: [(b"x-supersonic-client", b"atlas"), (b"authorization", near_miss(dice))],
        ]
    )()


PATHS = [
    *(f"{SERVICE}{name}".encode() for name in (*MODEL_METHODS, "ServerReady", "ModelStreamInfer", "RepositoryIndex")),
    b"/grpc.health.v1.Health/Check",
    b"/v2/health/ready",
    b"/v2/models/identity",
    b"/v2/models/identity/infer",
    b"/v2/repository/index",
]


def strange_path(dice: Dice) -> bytes:
    path = dice.choice(PATHS)
    at = dice.randrange(1, len(path))
    bits = [
        b"%00", b"%2e%2e/", b"../", b"..;/", b"//", b"/./", b"%2f", b"%5c", b"\\", b"%c0%af", b"%", b"%zz", b"#", b"?",
        b";x", b"\xff", b"\xc3\x28", b"%252e", b"?access_token=" + GOOD_JWT.encode(), b"?token=" + CMS.encode(),
        b"A" * 9000,
    ]  # fmt: skip
    return dice.choice(
        [
            lambda: path,
            lambda: path[:at] + dice.choice(bits) + path[at:],
            lambda: dice.choice(bits) + path,
            lambda: path + dice.choice(bits),
            lambda: b"/metrics/.." + path,
            lambda: path[:at] + b"%%%02x" % path[at] + path[at + 1 :],
            lambda: dice.choice([b"*", b"", b"/", b"x", b"http://localhost" + path, b"//localhost" + path]),
            path.swapcase,
        ]
    )()


def strange_headers(dice: Dice) -> Headers:
    value = dice.choice([b"", b"x", b"\0", b"a\r\nx-b: c", b"\xff\xfe", b"x" * 30000, b"1, 2", dice.randbytes(20)])
    names = [
        b"x-envoy-original-path", b"x-envoy-retry-on", b"x-envoy-max-retries", b"x-envoy-upstream-alt-stat-name",
        b"x-envoy-decorator-operation", b"x-forwarded-for", b"x-forwarded-client-cert", b"x-request-id", b"te", b"host",
        b"connection", b"transfer-encoding", b"content-length", b"content-encoding", b"grpc-encoding", b"grpc-timeout",
        b"expect", b"upgrade", b"keep-alive", b"Upper", b"under_score", b"", b" x", b"x:", b":status", b":path", b"\0",
        b":protocol", b"x\xff", b"grpc-status", b"range", b"http2-settings", b"x-http-method-override", b"forwarded",
    ]  # fmt: skip
    found = [(dice.choice(names), value) for _number in range(dice.choice([1, 1, 2, 10]))]
    if dice.random() < 0.05:
        found += [(b"x-%d" % number, b"y") for number in range(dice.choice([90, 150, 3000]))]
    return found


def in_order_but_for_the_token(dice: Dice) -> bytes:
    return request(dice.choice(PATHS), GRPC + strange_token(dice), frame(b"\n\x08identity"), dice)


def in_order_but_for_the_path(dice: Dice) -> bytes:
    headers = strange_token(dice) if dice.random() < 0.5 else []
    return request(strange_path(dice), dice.choice([GRPC, []]) + headers, dice.choice([b"", frame(b"")]), dice)


def in_order_but_for_headers(dice: Dice) -> bytes:
    headers = GRPC + strange_token(dice) + strange_headers(dice)
    dice.shuffle(headers)
    return request(dice.choice(PATHS), headers, frame(b"\n\x08identity"), dice)


def in_order_but_for_the_message(dice: Dice) -> bytes:
    return request(dice.choice(PATHS), GRPC + strange_token(dice), strange_body(dice), dice)


def noise(dice: Dice) -> bytes:
    start = dice.choice([b"", b"GET ", b"POST / HTTP/1.1\r\n", PREFACE, PREFACE[:10], b"\x16\x03\x01", b"PROXY TCP4 "])
    return start + dice.randbytes(dice.choice([1, 20, 300, 5000]))


def damaged(content: bytes, dice: Dice) -> bytes:
    data = bytearray(content)
    for _change in range(dice.randint(1, 6)):
        at = dice.randrange(len(data) + 1)
        data[at : at + dice.randint(0, 4)] = dice.randbytes(dice.randint(0, 4))
    return bytes(data)


def damaged_request(dice: Dice) -> bytes:
    whole = request(dice.choice(PATHS), GRPC + strange_token(dice), frame(b"\n\x08identity"), dice)
    start = len(PREFACE) if whole.startswith(PREFACE) and dice.random() < 0.9 else 0
    return whole[:start] + damaged(whole[start:], dice)


def other_frames(item: bytes, dice: Dice) -> list[bytes]:
    """What comes instead of a frame."""
    kind, flags, stream, payload = item[3], item[4], int.from_bytes(item[5:9], "big"), item[9:]
    return dice.choice(
        [
            lambda: [http2_frame(kind, flags, stream, payload, dice.choice([0, 1, 5, 1 << 14, (1 << 24) - 1]))],
            lambda: [http2_frame(dice.randrange(256), flags, stream, payload)],
            lambda: [http2_frame(kind, dice.randrange(256), stream, payload)],
            lambda: [http2_frame(kind, flags, dice.choice([0, 2, 3, 1 << 31, (1 << 32) - 1, 5]), payload)],
            lambda: [item] * 2,
            lambda: [item[: dice.randrange(len(item))]],
            lambda: [http2_frame(kind, flags | PADDED, stream, bytes([dice.randrange(256)]) + payload)],
        ]
    )()


def damaged_frames(dice: Dice) -> bytes:
    """Frames of a request that are changed, repeated, left out or out of order."""
    headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", dice.choice(PATHS)), (b":authority", b"x")]
    frames = http2_frames(headers + GRPC + strange_token(dice), frame(bytes(dice.choice([0, 100, 20000]))), dice)
    for _change in range(dice.randint(1, 4)):
        at = dice.randrange(len(frames))
        frames[at : at + 1] = other_frames(frames[at].ljust(9, b"\0"), dice)
    if dice.random() < 0.2:
        dice.shuffle(frames)
    return http2(*frames)


def abuse(dice: Dice) -> bytes:
    """What is allowed once, many times, and what is never allowed."""
    number = dice.choice([1, 20, 300])
    headers = hpack([(b":method", b"POST"), (b":scheme", b"http"), (b":path", PATHS[0]), (b":authority", b"x"), *GRPC])
    opened = http2_frame(HEADERS, END_HEADERS, 1, headers)
    many = range(1, 2 * number, 2)
    return http2(
        *dice.choice(
            [
                lambda: [http2_frame(HEADERS, 0, 1, headers)] + [http2_frame(CONTINUATION, 0, 1, b"")] * 10 * number,
                lambda: [http2_frame(HEADERS, 0, 1)] + [http2_frame(CONTINUATION, 0, 1, b"\0\1x\1y" * 2500)] * 20,
                lambda: [http2_frame(HEADERS, 0, 1, headers), http2_frame(DATA, END_STREAM, 1)],
                lambda: [http2_frame(HEADERS, END_HEADERS | END_STREAM, 1, dice.randbytes(dice.randint(1, 400)))],
                lambda: [http2_frame(HEADERS, END_HEADERS, 1, bytes([dice.choice([0x3F, 0x7F, 0xFF])]) + b"\xff" * 20)],
                lambda: [http2_frame(HEADERS, END_HEADERS, 1, b"\x3f\xe1\xff\x03" * number + headers)],
                lambda: [http2_frame(HEADERS, END_HEADERS, 1, b"\x40\1a\1b" + b"\xbe" * 5000)],
                lambda: [http2_frame(HEADERS, END_HEADERS | END_STREAM, item, headers) for item in many],
                lambda: [
                    http2_frame(HEADERS, END_HEADERS, item, headers) + http2_frame(RST_STREAM, 0, item, bytes(4))
                    for item in many
                ],
                lambda: [http2_frame(RST_STREAM, 0, item, bytes(4)) for item in many],
                lambda: [http2_frame(PING, 0, 0, bytes(8))] * 10 * number,
                lambda: [http2_frame(SETTINGS, 0, 0)] * 10 * number,
                lambda: [
                    http2_frame(SETTINGS, 0, 0, bytes([0, dice.randint(0, 9)]) + dice.randbytes(4)) for _each in many
                ],
                lambda: [http2_frame(PRIORITY, 0, item, item.to_bytes(4, "big") + b"\1") for item in many],
                lambda: [http2_frame(WINDOW_UPDATE, 0, dice.choice([0, 1]), bytes(4))],
                lambda: [opened] + [http2_frame(WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff")] * number,
                lambda: [opened] + [http2_frame(DATA, 0, 1)] * 10 * number,
                lambda: [opened] + [http2_frame(DATA, 0, 1, bytes(16384))] * 8,
                lambda: [http2_frame(DATA, 0, dice.choice([0, 1, 2, 99]), bytes(100))],
                lambda: [opened, http2_frame(HEADERS, END_HEADERS | END_STREAM, 1, hpack([(b"x", b"y")])), opened],
                lambda: [opened, http2_frame(HEADERS, END_HEADERS | END_STREAM, 1, hpack([(b"authorization", b"x")]))],
                lambda: [http2_frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + headers)],
                lambda: [http2_frame(GOAWAY, 0, 0, bytes(8)), opened],
                lambda: [http2_frame(dice.randrange(10, 256), 0, 0, bytes(100)) for _item in many],
            ]
        )()
    )


def smuggling(dice: Dice) -> bytes:
    """Requests of HTTP/1 of which two readers could think differently."""
    path = dice.choice(PATHS)
    second = b"GET /v2/health/ready HTTP/1.1\r\nhost: localhost\r\nx-supersonic-client: atlas\r\n\r\n"
    lengths = [b"0", b"5", b"-1", b"+5", b"5, 5", b"5,6", b"0x5", b"99999999999999999999", b" 5 ", b"5\0", b""]
    codings = [
        b"chunked", b"Chunked", b"chunked, identity", b"identity, chunked", b"xchunked", b"\x0bchunked", b"chunked\0",
        b"gzip, chunked", b"chunked, chunked", b"", b"trailers", b'"chunked"', b"chunked;q=1",
    ]  # fmt: skip
    chunks = [
        b"5\r\n\0\0\0\0\0\r\n0\r\n\r\n", b"0\r\n\r\n", b"0\r\nauthorization: Bearer x\r\n\r\n", b"-1\r\n\r\n", b"g\r\n",
        b"ffffffffffffffff\r\n", b"fffffffffffffffff\r\n", b"5;x=y\r\n\0\0\0\0\0\r\n0\r\n\r\n", b"5\n\0\0\0\0\0\n0\n\n",
        b"5;" + b"x" * 20000, b"0" * 5000 + b"5\r\n", b"5\r\n\0\0\0\0\0x0\r\n\r\n", b" 5\r\n", b"0x5\r\n\0\0\0\0\0\r\n",
    ]  # fmt: skip
    end = dice.choice([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\r\n"])
    start = dice.choice(
        [
            lambda: b"POST %s HTTP/1.1" % path,
            lambda: b"%s %s HTTP/1.1" % (dice.choice([b"GET", b"TRACE", b"CONNECT", b"get", b"X" * 300, b"P\0"]), path),
            lambda: b"POST %s HTTP/%s" % (path, dice.choice([b"1.0", b"0.9", b"2.0", b"1.2", b"1.1 x", b"9", b""])),
            lambda: b"POST http://%s%s HTTP/1.1" % (dice.choice([b"localhost", b"", b"a@b", b"[::1", b"\xff"]), path),
            lambda: b"POST  %s  HTTP/1.1" % path,
            lambda: b"POST\t%s HTTP/1.1" % path,
            lambda: b"CONNECT localhost:%d HTTP/1.1" % dice.choice([1, 8001, 99999]),
            lambda: b"GET %s" % path,
            lambda: b"\r\n" * dice.randint(1, 50) + b"POST %s HTTP/1.1" % path,
        ]
    )()
    lines = [b"host: localhost"] * dice.choice([1, 1, 1, 0, 2])
    for _number in range(dice.randint(1, 3)):
        lines.append(
            dice.choice(
                [
                    lambda: b"content-length: " + dice.choice(lengths),
                    lambda: b"transfer-encoding: " + dice.choice(codings),
                    lambda: b"content-length : 5",
                    lambda: b"transfer-encoding\t: chunked",
                    lambda: b"x: y\r\n authorization: Bearer " + CMS.encode()[:-1],
                    lambda: b" folded: first",
                    lambda: b"no colon",
                    lambda: b": no name",
                    lambda: b"x" * 70000 + b": y",
                    lambda: (
                        b"upgrade: %s" % dice.choice([b"h2c", b"websocket", b"tls", b"\0"]) + b"\r\nconnection: upgrade"
                    ),
                    lambda: b"expect: 100-continue",
                    lambda: b"connection: " + dice.choice([b"authorization", b"x-supersonic-client", b"close, close"]),
                    lambda: b"authorization: " + near_miss(dice),
                    lambda: b"content-type: application/grpc",
                ]
            )()
        )
    body = dice.choice([*chunks, second, b"", bytes(5), bytes(5) + second])
    return end.join([start, *lines, b"", body]) + (second if dice.random() < 0.3 else b"")


WITHOUT_TOKEN: list[Callable[[Dice], bytes]] = [
    in_order_but_for_the_token,
    in_order_but_for_the_path,
    in_order_but_for_headers,
    in_order_but_for_the_message,
    noise,
    damaged_request,
    damaged_frames,
    abuse,
    smuggling,
]


# ---- with the token of a client that may ask for one model ---------------------------------------------------------
def field(number: int, content: bytes, dice: Dice) -> bytes:
    """A field of bytes, as protobuf writes it or as some reader may still read it."""
    tag = number << 3 | 2
    if dice.random() < 0.4:
        return varint(tag) + varint(len(content)) + content
    return dice.choice(
        [
            lambda: varint(tag, dice.randint(1, 11)) + varint(len(content)) + content,
            lambda: varint(tag) + varint(len(content), dice.randint(1, 11)) + content,
            # Above 32 bits, which some readers cut off.
            lambda: (
                varint(tag + dice.choice([1, 2, 7, 8, 1 << 10, 1 << 31]) * (1 << 32)) + varint(len(content)) + content
            ),
            lambda: varint(tag) + varint(len(content) + dice.choice([1, 2, 7, 1 << 31]) * (1 << 32)) + content,
            lambda: varint(tag) + varint(dice.choice([0, 1, len(content) + 1, 1 << 31, (1 << 64) - 1])) + content,
            lambda: varint(number << 3) + varint(dice.randrange(1 << 64)),
            lambda: varint(number << 3 | 1) + content[:8].ljust(8, b"\0"),
            lambda: varint(number << 3 | 5) + content[:4].ljust(4, b"\0"),
            lambda: varint(number << 3 | 3) + varint(tag) + varint(len(content)) + content + varint(number << 3 | 4),
            lambda: varint(dice.choice([0, 6, 7, 2, 15 << 3 | 2])) + varint(len(content)) + content,
        ]
    )()


def model_fields(dice: Dice) -> list[bytes]:
    """Names of models, of which the last that a reader takes for one counts."""
    others = [
        b"secret", b"secret\0", b"secret\0identity", b"identity\0secret", b"identity/../secret", b"secre\xff", b"",
        b"identity", b" secret", b"x" * 1025, b"secret" * 300,
    ]  # fmt: skip
    names = [b"identity", dice.choice([b"secret", b"secret", dice.choice(others)])]
    if dice.random() < 0.3:
        names.append(b"identity")
    if dice.random() < 0.2:
        dice.shuffle(names)
    return [field(1, name, dice) for name in names]


def rest_of_infer() -> bytes:
    request = service_pb2.ModelInferRequest()
    given = request.inputs.add(name="INPUT0", datatype="FP32")
    given.shape.append(1)
    request.raw_input_contents.append(bytes(4))
    return bytes(request.SerializeToString())


REST = rest_of_infer()


def strange_message(dice: Dice) -> bytes:
    fields = model_fields(dice)
    if dice.random() < 0.7:
        fields.insert(dice.randrange(len(fields) + 1), REST)
    if dice.random() < 0.2:
        fields.insert(dice.randrange(len(fields) + 1), field(dice.choice([2, 3, 99, 1 << 28]), dice.randbytes(9), dice))
    message = b"".join(fields)
    return damaged(message, dice) if dice.random() < 0.1 else message


def strange_body(dice: Dice) -> bytes:
    message = strange_message(dice)
    if dice.random() < 0.7:
        return frame(message)
    secret = b"\n\x06secret" + REST
    return dice.choice(
        [
            lambda: bytes([dice.choice([1, 2, 128, 255])]) + frame(message)[1:],
            lambda: b"\0" + dice.choice([0, 1, len(message) + 1, 1 << 24, (1 << 32) - 1]).to_bytes(4, "big") + message,
            lambda: frame(message)[: dice.randrange(len(message) + 5)],
            lambda: frame(b"\n\x08identity" + REST) + frame(secret),
            lambda: frame(b"\n\x08identity" + REST) + secret,
            lambda: frame(b"") + frame(secret),
            lambda: frame(b"\n\x08identity" + REST + frame(secret)),
            lambda: dice.randbytes(dice.randrange(200)),
            lambda: frame(dice.randbytes(dice.randrange(200))),
            lambda: base64.b64encode(frame(message)),
        ]
    )()


def with_token(dice: Dice) -> bytes:
    token_header = (b"authorization", b"Bearer " + CMS.encode())
    if dice.random() < 0.1:
        path = dice.choice(
            [
                b"/v2/models/secret/infer",
                b"/v2/models/identity/infer",
                strange_path(dice).replace(b"identity", b"secret"),
            ]
        )
        body = json.dumps(
            {
                "model_name": "secret",
                "inputs": [{"name": "INPUT0", "shape": [1], "datatype": "FP32", "data": [1]}],
            }
        ).encode()
        return request(path, [token_header], body, dice)
    path = f"{SERVICE}{dice.choice(MODEL_METHODS + ['ModelInfer'] * 5 + ['ModelStreamInfer'])}".encode()
    headers = [*GRPC, token_header]
    if dice.random() < 0.1:
        kinds = [
            b"application/grpc+proto",
            b"application/grpc-web",
            b"application/grpc-web-text",
            b"application/grpc;x",
        ]
        headers[0] = (
            b"content-type",
            dice.choice([*kinds, b"application/GRPC", b"application/json", b"application/grpcx"]),
        )
    if dice.random() < 0.1:
        headers.append((b"grpc-encoding", dice.choice([b"gzip", b"identity", b"deflate", b"x"])))
    if dice.random() < 0.05:
        headers += strange_headers(dice)
    return request(path, headers, strange_body(dice), dice)


# ---- the parts -----------------------------------------------------------------------------------------------------
@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """One for each test: Triton 2.51 was seen to crash after many requests with broken messages."""
    folder = tmp_path_factory.mktemp("server")
    write_model(folder / "models", "identity")
    write_model(folder / "models", "secret")
    running = Triton(folder / "models", folder, wait=False)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_cases(tmp_path_factory.mktemp("cases"), {"gateway": CASE}) / "gateway/envoy.yaml"


@pytest.fixture
def envoy(manifests: Path, server: Triton, tmp_path: Path) -> Iterator[DeployedEnvoy]:
    server.wait_until_live()
    running = DeployedEnvoy(tmp_path, manifests, [server.grpc], [server.http])
    yield running
    running.stop()


def inferences(server: Triton, model: str) -> int:
    """How often Triton was asked for a model, with success or without."""
    with urllib.request.urlopen(f"http://{server.http}/v2/models/{model}/stats", timeout=10) as answer:
        (found,) = json.loads(answer.read())["model_stats"]
    return sum(int(found["inference_stats"][kind]["count"]) for kind in ("success", "fail"))


def exchange(envoy: DeployedEnvoy, content: bytes, patience: float) -> bytes:
    """What bytes are answered with, until the answer is whole, Envoy hangs up or is silent."""
    answer = b""
    with socket.create_connection(("127.0.0.1", envoy.port), 10) as client, contextlib.suppress(OSError):
        client.sendall(content)
        client.settimeout(patience)
        while not whole(answer) and (more := client.recv(65536)):
            answer += more
    return answer


def whole(answer: bytes) -> bool:
    """Whether the one request was answered to the end: who waits for Envoy to hang up may wait for a second."""
    if answer.startswith(b"HTTP/1"):
        head, _end, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        return len(body) >= int(length[1]) if length else body.endswith(b"\r\n\r\n")
    at = 0
    while at + 9 <= len(answer):
        kind, flags = answer[at + 3 : at + 5]
        if kind in (RST_STREAM, GOAWAY) or (kind in (DATA, HEADERS) and flags & END_STREAM):
            return True
        at += 9 + int.from_bytes(answer[at : at + 3], "big")
    return False


def attack(envoy: DeployedEnvoy, inputs: Sequence[bytes], patience: float = QUIET_S) -> list[bytes]:
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(lambda content: exchange(envoy, content, patience), inputs))


def used(envoy: DeployedEnvoy) -> int:
    """Bytes that Envoy uses now."""
    return int(json.loads(envoy.admin("/memory"))["allocated"])


def peak(envoy: DeployedEnvoy) -> int:
    """Bytes that the kernel gave Envoy, at their most."""
    (found,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{envoy.process.pid}/status").read_text())
    return int(found) * 1024


def log(envoy: DeployedEnvoy) -> collections.Counter[str]:
    """Why requests ended, from the access log, each line of which can be read."""
    return collections.Counter(str(line["details"]) for line in access_log(envoy))


# ---- the tests -----------------------------------------------------------------------------------------------------
def test_nothing_without_a_token_reaches_triton(envoy: DeployedEnvoy, server: Triton) -> None:
    dice = chance.dice()
    calls: list[str] = []
    done = threading.Event()

    def honest() -> None:
        while not done.is_set():
            calls.append(infer(envoy, authorization=bearer(CMS)))
            done.wait(0.05)

    asked = inferences(server, "identity")
    # Some first, since whatever is used for the first time takes memory that stays.
    attack(envoy, [kind(dice) for kind in WITHOUT_TOKEN for _number in range(20)])
    before = used(envoy)
    client = threading.Thread(target=honest)
    client.start()
    try:
        for number in range(0, COUNT, 1000):
            attack(envoy, [dice.choice(WITHOUT_TOKEN)(dice) for _number in range(min(COUNT - number, 1000))])
    finally:
        done.set()
        client.join()
    # All that came to Triton was the honest client, which was never kept waiting or turned away.
    assert set(calls) == {"OK"}
    assert passed(envoy) == len(calls)
    assert inferences(server, "identity") - asked == len(calls)
    # The process that was started, since another would not have its number.
    envoy.process.signal(0)
    assert envoy.admin("/ready").strip() == "LIVE"
    until(lambda: sum(statistics(envoy, rf"^listener\..*_{envoy.port}\.downstream_cx_active$").values()) == 0)
    print(f"{used(envoy) - before} bytes more, at most {peak(envoy)}, {len(calls)} honest calls")
    # Nothing is kept of whoever is gone, and all of them together never came near the limit of the pod, which is 2 GiB.
    assert used(envoy) - before < 4 * MIB
    assert peak(envoy) < 512 * MIB
    # The inputs came as far as they should: to the parsers of HTTP, and to the filter that looks for a token.
    ended = log(envoy)
    assert ended["via_upstream"] == len(calls)
    assert ended["lua_response"] > COUNT / 4
    assert sum(number for why, number in ended.items() if re.match("http[12]|codec_error", why)) > COUNT / 8


def test_a_client_of_one_model_reaches_no_other(envoy: DeployedEnvoy, server: Triton) -> None:
    dice = chance.dice()
    count = max(COUNT // 10, 1)
    mine, other = inferences(server, "identity"), inferences(server, "secret")
    inputs = [with_token(dice) for _number in range(count)]
    for content, answer in zip(inputs, attack(envoy, inputs, PATIENCE_S), strict=True):
        # Answers to ModelInfer and ModelMetadata begin with the name.
        assert b"\n\x06secret" not in answer, content
    assert inferences(server, "secret") == other
    # Some were in order, some were for another model, and of some nobody could say.
    assert inferences(server, "identity") - mine > count / 50
    ended = log(envoy)
    assert ended["rbac_access_denied_matched_policy[none]"] > count / 10
    assert ended["lua_response"] > count / 10
    assert infer(envoy, "identity", bearer(CMS)) == "OK"
    assert infer(envoy, "secret", bearer(ATLAS)) == "OK"


def test_a_wrong_header_is_the_affair_of_one_request(envoy: DeployedEnvoy) -> None:
    """Triton would keep a wrong deadline with the headers of its connection, which many clients share."""
    headers = [*GRPC, (b"authorization", b"Bearer " + CMS.encode()), (b"grpc-timeout", b"x")]
    path = f"{SERVICE}ModelInfer".encode()
    attack(
        envoy, [request(path, headers, frame(b"\n\x08identity" + REST), random.Random(1)) for _number in range(16)], 1
    )
    assert passed(envoy) >= 16
    assert [infer(envoy, "identity", bearer(CMS)) for _number in range(8)] == ["OK"] * 8
