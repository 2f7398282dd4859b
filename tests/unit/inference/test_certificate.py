# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which certificates of servers are trusted, and which are as they have to be."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.fastml.supersonic.plugins.module_utils._inference import certificate as inference_certificate
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import tls_context
from ansible_collections.fastml.supersonic.tests.harness.certificates import Certificate, certificate


def shake_hands(folder: Path, server: Certificate, context: ssl.SSLContext) -> None:
    """A handshake of localhost and a client, in memory."""
    (folder / "server.pem").write_text(server.pem + server.key_pem)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(folder / "server.pem")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        context.wrap_bio(back, there, server_hostname="localhost").do_handshake,
        own.wrap_bio(there, back, server_side=True).do_handshake,
    ]
    while sides:
        sides = [side for side in sides if not done(side)]


def done(side: Callable[[], None]) -> bool:
    try:
        side()
    except ssl.SSLWantReadError:
        return False
    return True


def test_the_authority_of_a_site_is_trusted(tmp_path: Path) -> None:
    """Also one made without the key identifiers that Python asks for by default from 3.13 on."""
    authority = certificate("authority")
    (tmp_path / "authority.pem").write_text(authority.pem)
    context = tls_context({"ca_cert": str(tmp_path / "authority.pem")}, "http")
    shake_hands(tmp_path, certificate("localhost", authority), context)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tmp_path, certificate("localhost", certificate("authority")), context)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tmp_path, certificate("elsewhere", authority), context)


def test_a_certificate_has_to_be_good_for_some_days_and_be_this_one() -> None:
    made = certificate("localhost", certificate("authority"), days=10)
    found = inference_certificate.read(made.certificate.public_bytes(Encoding.DER))
    assert (found.subject, found.issuer, found.names) == ("CN=localhost", "CN=authority", ("localhost",))
    printed = made.certificate.fingerprint(hashes.SHA256()).hex(":").upper()
    for wanted, later, problem in (
        ({}, 9, ""),
        ({"min_days": 9}, 0, ""),
        ({"min_days": 11}, 0, "expires in 10.0 days"),
        ({}, 11, "expired 1.0 days ago"),
        ({"sha256": printed}, 0, ""),
        ({"sha256": "0" * 64}, 0, "has the SHA-256"),
    ):
        said = inference_certificate.parse_wanted(wanted, "certificate").problem(
            found, datetime.now(UTC) + timedelta(days=later)
        )
        assert problem in said
        assert bool(said) == bool(problem)
