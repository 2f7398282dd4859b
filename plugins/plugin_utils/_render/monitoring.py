# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Helpers for the templates of Prometheus, Grafana, the collector and Tempo.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.quantity import quantity

_MEGABYTE = 2**20


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}


def duration_seconds(duration: str) -> float:
    """Seconds of a time as Go writes it, such as 1.5ms or 1h30m."""
    parts = re.findall(r"([0-9.]+)(h|ms|us|m|s)", duration)
    return round(sum(float(number) * _UNITS[unit] for number, unit in parts), 9)


def prometheus_retention_size(volume: str) -> str:
    """Four fifths of a volume, as Prometheus writes sizes: the rest is for what it has not yet put into blocks."""
    return f"{max(int((quantity(volume) or 0) * 4 // 5 // _MEGABYTE), 1)}MB"


def secret_fingerprint(secrets: Mapping[str, str], salt: str) -> str:
    """Another one for other secrets, and so dear to compute that nobody guesses them by it: it is in an annotation,
    which more people may read than a Secret."""
    plain = json.dumps({str(key): str(value) for key, value in secrets.items()}, sort_keys=True)
    return hashlib.scrypt(plain.encode(), salt=str(salt).encode(), n=2**14, r=8, p=1, dklen=8).hex()


def grafana_access(source: Mapping[str, Any], authorization: str = "", authorities: str = "") -> dict[str, Any]:
    """A data source of Grafana's provisioning that shows a header and trusts authorities, each from a file."""
    plain, secret = dict(source.get("jsonData") or {}), dict(source.get("secureJsonData") or {})
    if authorization:
        plain["httpHeaderName1"] = "Authorization"
        secret["httpHeaderValue1"] = f"$__file{{{authorization}}}"
    if authorities:
        plain["tlsAuthWithCACert"] = True
        secret["tlsCACert"] = f"$__file{{{authorities}}}"
    return {**source, "jsonData": plain, **({"secureJsonData": secret} if secret else {})}
