# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which certificates of servers are trusted."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._targets import tls_context
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
