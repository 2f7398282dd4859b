# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the certificate that a server presents: subject, issuer and expiry.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from datetime import UTC, datetime

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError, missing_library

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Certificate:
    """The fields of a certificate (RFC 5280); sha256 is its fingerprint, in hexadecimal digits."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_after: datetime
    sha256: str

    def days_left(self, now: datetime) -> float:
        """Days until it expires; negative when it has."""
        return (self.not_after - now).total_seconds() / 86400

    def as_dict(self, now: datetime) -> dict[str, t.Any]:
        return {
            "subject": self.subject,
            "issuer": self.issuer,
            "names": list(self.names),
            "not_after": self.not_after.isoformat(timespec="seconds"),
            "days_left": round(self.days_left(now), 1),
            "sha256": self.sha256,
        }


@dataclass(frozen=True)
class Wanted:
    """The requirements for a certificate: the days that it has to be valid, and the fingerprint, if given."""

    min_days: float = 0.0
    sha256: str = ""

    def problem(self, found: Certificate, now: datetime) -> str:
        """The problem of a certificate, "" if it meets the requirements."""
        if self.sha256 and found.sha256 != self.sha256:
            return f"its certificate ({found.subject}) has the SHA-256 {found.sha256}, expected {self.sha256}"
        left = found.days_left(now)
        if left < 0:
            return f"its certificate ({found.subject}) expired {-left:.1f} days ago, at {found.not_after.isoformat()}"
        if left < self.min_days:
            return (
                f"its certificate ({found.subject}) expires in {left:.1f} days, at {found.not_after.isoformat()}; "
                f"at least {self.min_days:g} days are expected"
            )
        return ""


def parse_wanted(value: t.Mapping[str, t.Any], where: str) -> Wanted:
    """The option certificate of a target; a fingerprint may have colons and capitals, as openssl prints it."""
    load_library()
    digits = str(value.get("sha256") or "").replace(":", "").lower()
    if digits and not _SHA256.fullmatch(digits):
        raise SupersonicError(f"{where}.sha256 is '{value['sha256']}'; it must be 64 hexadecimal digits.")
    days = value.get("min_days") or 0
    if days < 0:
        raise SupersonicError(f"{where}.min_days is {days:g}; it must be at least 0.")
    return Wanted(float(days), digits)


def load_library() -> tuple[t.Any, t.Any]:
    """The library cryptography, only where it is needed: it takes time and 10 MB."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
    except ImportError as exc:
        raise missing_library("cryptography", "cryptography") from exc
    return x509, hashes


def read(der: bytes) -> Certificate:
    """A certificate as a TLS library hands it out (DER)."""
    x509, hashes = load_library()
    found = x509.load_der_x509_certificate(der)
    try:
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names: tuple[str, ...] = ()
    else:
        names = tuple(str(name.value) for name in extension)
    # Since cryptography 42; before, times had no zone.
    expiry = getattr(found, "not_valid_after_utc", None) or found.not_valid_after.replace(tzinfo=UTC)
    return Certificate(
        subject=found.subject.rfc4514_string() or ", ".join(names),
        issuer=found.issuer.rfc4514_string(),
        names=names,
        not_after=expiry,
        sha256=found.fingerprint(hashes.SHA256()).hex(),
    )
