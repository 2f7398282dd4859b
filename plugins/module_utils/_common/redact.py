# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Removes secrets from logs, objects and configurations before they are written to files.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Two nets lie over each other. What is known to be secret (values of Secrets, in every form in which they turn up; values
that somebody names; credentials inside of configurations) is removed wherever it is. What has the form of a credential
(private keys, JWTs, bearer tokens, fields and variables called password) is removed whether or not it is known.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import typing as t
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from ansible_collections.fastml.supersonic.plugins.module_utils._common import yaml_io

# Shorter ones would be found in every other word.
SHORTEST = 6
REMOVED = "[removed]"
# A field of this name is one, whatever it holds ...
_SECRET_NAME = re.compile(
    r"pass(?:word|wd|phrase)|(?:^|[^a-z])pass$|token|secret|private.?key|api.?key|access.?key|client.?key$|credential"
    r"|authorization|(?:^|[^a-z])auth$|bearer|cookie",
    re.I,
)
# ... but for those that say where it is or how it is used.
_NO_SECRET = re.compile(
    r"(?:name|names|namespace|ref|refs|seconds|path|file|files|url|uri|type|kind|headers?|audiences?|mount|mounts|issuer"
    r"|algorithm|bucket|policy|source|provider|prefix|interval|lifetime|s_from|id)$",
    re.I,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_VALUES = frozenset({"true", "false", "null", "none", "basic", "bearer", "opaque", REMOVED})
_BYTES = re.compile(r"\{\s*(\d{1,3}(?:\s*,\s*\d{1,3}){5,})\s*\}")
_ASSIGNED = re.compile(r"^[ \t]*([A-Za-z][\w.-]*)[ \t]*[=:][ \t]*(\S.*?)[ \t]*$", re.M)
_BEARER = re.compile(r"\b(?:Bearer|Basic)[ ]+([A-Za-z0-9._~+/=-]{6,})", re.I)
_PEM = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.S)
# What is left of a key whose beginning somebody has cut off: its end, and lines of base64 before it, each after a time.
_PEM_END = re.compile(r"(?:[A-Za-z0-9+/=]|\\[nr])*-----END [A-Z ]*PRIVATE KEY-----")
_PEM_LINE = re.compile(r"(?:^|(?<=\s))[A-Za-z0-9+/]+={0,2}\s*$")
_PEM_WIDTH = 40
_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (_PEM, REMOVED),
    # A header and a body of JSON in base64, and the signature.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"), REMOVED),
    (re.compile(r"\b(Bearer|Basic)([ ]+)[A-Za-z0-9._~+/=-]{6,}", re.I), rf"\1\2{REMOVED}"),
    (re.compile(r"(?<=://)[^/\s:@\"']*:[^/\s@\"']+(?=@)"), REMOVED),
    (
        re.compile(
            r"((?<![A-Za-z])(?:password|passwd|passphrase|api[_-]?key|access[_-]?key|private[_-]?key|client[_-]?secret"
            r"|(?:access|auth|bearer|id|refresh)?[_-]?token|secret)\\*[\"']?\s*[=:]\s*\\*[\"']?)([^\s\"',;&{}\[\]\\]{6,})",
            re.I,
        ),
        rf"\1{REMOVED}",
    ),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), REMOVED),
)


class Redactor:
    """Learns what is secret, then takes it out of texts and structures.

    keep: texts that are no secrets although a Secret has them, such as the name of the instance.
    """

    def __init__(self, values: Iterable[str] = (), keep: Iterable[str] = ()) -> None:
        self._known: dict[str, str] = {}
        self._keep = set(keep)
        self._ordered: list[tuple[str, str]] = []
        # Values of Secrets that are too short to be looked for elsewhere.
        self.short = 0
        for value in values:
            self.learn(str(value))

    # ---- what is secret ------------------------------------------------------------------------------------------

    def learn(self, value: str, origin: str = "") -> None:
        """Remember a secret value in every form in which it can turn up."""
        value = value.strip()
        if value in self._keep or value.lower() in _NO_VALUES:
            return
        if len(value) < SHORTEST:
            self.short += 1
            return
        hidden = f"[removed: {origin}]" if origin else REMOVED
        raw = value.encode()
        encoded = base64.b64encode(raw).decode()
        forms = {
            value,
            encoded,
            encoded.rstrip("="),
            base64.urlsafe_b64encode(raw).decode().rstrip("="),
            quote(value, safe=""),
            json.dumps(value)[1:-1],
            json.dumps(value, ensure_ascii=False)[1:-1],
            json.dumps(json.dumps(value)[1:-1])[1:-1],
            raw.hex(),
            ", ".join(map(str, raw)),
            ",".join(map(str, raw)),
        }
        if "PRIVATE KEY-----" in value:
            # Somebody may show it line by line.
            forms.update(line for line in value.splitlines() if len(line) > 20 and not line.startswith("-----"))
        for form in forms:
            if len(form) >= SHORTEST:
                self._known.setdefault(form, hidden)
        self._ordered = []

    def learn_secret(self, secret: Mapping[str, t.Any]) -> None:
        """The values of a Secret, and the credentials inside of them."""
        name = (secret.get("metadata") or {}).get("name", "")
        plain = {**(secret.get("stringData") or {})}
        for key, value in (secret.get("data") or {}).items():
            plain[key] = _decoded(str(value))
            if len(str(value)) > SHORTEST + 2:
                self.learn(str(value), f"Secret {name} {key}")
        for key, value in plain.items():
            origin = f"Secret {name} {key}"
            self.learn_inside(str(value), origin)
            # Whose they are, and certificates that everybody is shown, are no secrets.
            if not re.search(r"(?:^|[-_.])(?:user|username|namespace|ca|crt|cert)$", str(key), re.I):
                self.learn(str(value), origin)

    def learn_inside(self, text: str, origin: str = "") -> None:
        """Credentials within a configuration, whatever its format."""
        for found in _BYTES.finditer(text):
            # Tokens as the endpoint's Lua has them.
            numbers = [int(number) for number in found[1].split(",")]
            if max(numbers) < 256:
                self.learn(bytes(numbers).decode(errors="replace"), origin)
        for found in _BEARER.finditer(text):
            self.learn(found[1], origin)
        for found in _PEM.finditer(text):
            self.learn(found[0], origin)
        for name, value in _ASSIGNED.findall(text):
            if is_secret_name(name):
                self.learn(value.strip("\"'"), origin)
        if ":" in text and len(text) < 4_000_000:
            with contextlib.suppress(ValueError, RecursionError):
                for document in yaml_io.load_all(text):
                    self.learn_structure(document, origin)

    def learn_structure(self, value: t.Any, origin: str = "") -> None:
        """Credentials among the fields of a structure, and within its longer texts."""
        if isinstance(value, Mapping):
            pair = value.get("name") or value.get("key")
            if isinstance(pair, str) and isinstance(value.get("value"), str) and is_secret_name(pair):
                self.learn(_bare(value["value"]), origin)
            for name, item in value.items():
                if isinstance(item, str) and is_secret_name(str(name)):
                    self.learn(_bare(item), origin)
                elif isinstance(item, str) and (len(item) > 40 or "\n" in item):
                    self.learn_inside(item, origin)
                elif not isinstance(item, str):
                    self.learn_structure(item, origin)
        elif isinstance(value, list):
            for item in value:
                self.learn_structure(item, origin)

    # ---- and out it goes -----------------------------------------------------------------------------------------

    def text(self, text: str) -> str:
        """The text without any secret."""
        if not self._ordered:
            # The longest first: one may be a part of another.
            self._ordered = sorted(self._known.items(), key=lambda pair: (-len(pair[0]), pair[0]))
        for value, hidden in self._ordered:
            if value in text:
                text = text.replace(value, hidden)
        for form, hidden in _FORMS:
            text = form.sub(hidden, text)
        return _without_ends(text)

    def structure(self, value: t.Any) -> t.Any:
        """The same of every text in a structure, and of every field that is called like a credential."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            pair = value.get("name") or value.get("key")
            secret = isinstance(pair, str) and is_secret_name(pair)
            return {
                # A name may be one too, such as a token that is a key of a map.
                self.text(str(name)): REMOVED
                if isinstance(item, str) and item and (is_secret_name(str(name)) or (secret and name == "value"))
                else self.structure(item)
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self.structure(item) for item in value]
        return value

    def manifest(self, live: Mapping[str, t.Any]) -> dict[str, t.Any]:
        """An object of Kubernetes: a Secret with its keys alone, and nothing that repeats the whole object."""
        found = dict(live)
        metadata = dict(found.get("metadata") or {})
        annotations = {
            name: value
            for name, value in (metadata.get("annotations") or {}).items()
            if name != "kubectl.kubernetes.io/last-applied-configuration"
        }
        if "annotations" in metadata:
            metadata["annotations"] = annotations
        # Who has written when; the fields themselves are many and of little use.
        metadata["managedFields"] = [
            {key: entry[key] for key in ("manager", "operation", "subresource", "time") if key in entry}
            for entry in metadata.get("managedFields") or []
        ]
        found["metadata"] = metadata
        secret = found.get("kind") == "Secret" and found.get("apiVersion") == "v1"
        parts = {name: found.pop(name) for name in ("data", "stringData") if secret and name in found}
        cleaned = t.cast("dict[str, t.Any]", self.structure(found))
        for name, values in parts.items():
            cleaned[name] = {str(key): REMOVED for key in values or {}}
        return cleaned


def _without_ends(text: str) -> str:
    """Without ends of private keys, whole ones of which are gone already."""
    if "PRIVATE KEY-----" not in text:
        return text
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if not _PEM_END.search(line):
            continue
        lines[number] = _PEM_END.sub(REMOVED, line)
        for before in range(number - 1, -1, -1):
            found = _PEM_LINE.search(lines[before])
            # The last line of a key may be short.
            if not found or (before < number - 1 and found.end() - found.start() < _PEM_WIDTH):
                break
            lines[before] = lines[before][: found.start()] + REMOVED
    return "\n".join(lines)


def is_secret_name(name: str) -> bool:
    """Whether a field, a variable or a header of this name holds a credential itself."""
    spaced = _CAMEL.sub("_", name)
    return bool(_SECRET_NAME.search(spaced)) and not _NO_SECRET.search(spaced)


def secret_values(value: t.Any) -> list[str]:
    """Every text in a structure that is secret as a whole, such as the tokens of clients; each once."""
    if isinstance(value, Mapping):
        found = [text for item in value.values() for text in secret_values(item)]
    elif isinstance(value, (list, tuple)):
        found = [text for item in value for text in secret_values(item)]
    else:
        found = [str(value)] if value not in (None, "", True, False) else []
    return list(dict.fromkeys(found))


def _bare(value: str) -> str:
    found = _BEARER.fullmatch(value.strip())
    return found[1] if found else value


def _decoded(value: str) -> str:
    with contextlib.suppress(binascii.Error, ValueError):
        return base64.b64decode(value).decode(errors="replace")
    return value
