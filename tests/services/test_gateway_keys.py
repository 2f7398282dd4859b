# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of issuers that are fetched: from whom they are taken, when they change, and when they are not to be had."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.certificates import certificate
from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy
from ansible_collections.fastml.supersonic.tests.harness.gateway import (
    ISSUER,
    KEY,
    OTHER_KEY,
    bearer,
    deployed,
    infer,
    key_set,
    token,
)
from ansible_collections.fastml.supersonic.tests.harness.models import write_model
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton

AUTHORITY = certificate("authority")
STRANGER = certificate("stranger")


class Keys:
    """A server of keys with a certificate for a name; it remembers under which names it was asked for."""

    def __init__(self, name: str, folder: Path) -> None:
        self.held: dict[str, Any] | None = key_set(one=KEY)
        self.asked: list[str | None] = []
        keys = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if keys.held else 503)
                self.end_headers()
                self.wfile.write(json.dumps(keys.held or {}).encode())

            def log_message(self, *_arguments: Any) -> None:
                pass

        made = certificate(name, AUTHORITY)
        folder.mkdir()
        (folder / "pem").write_text(made.pem + made.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "pem")
        context.sni_callback = lambda _socket, asked, _context: self.asked.append(asked)  # type: ignore[assignment]
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://localhost:{self.server.server_port}/keys"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Keys]]:
    folder = tmp_path_factory.mktemp("keys")
    running = {name: Keys(name, folder / name) for name in ("localhost", "elsewhere.example.org")}
    yield running
    for item in running.values():
        item.server.shutdown()


@pytest.fixture(scope="module")
def envoys(keys: dict[str, Keys], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, DeployedEnvoy]]:
    folder = tmp_path_factory.mktemp("envoys")
    issuer = {"issuer": ISSUER, "audiences": ["supersonic"], "cache_seconds": 1}
    cases = {
        "right": {"jwks_uri": keys["localhost"].url, "ca_certificates": AUTHORITY.pem},
        "stranger": {"jwks_uri": keys["localhost"].url, "ca_certificates": STRANGER.pem},
        "name": {"jwks_uri": keys["elsewhere.example.org"].url, "ca_certificates": AUTHORITY.pem},
    }
    write_model(folder / "models", "identity")
    triton = Triton(folder / "models", folder)
    issuers = {name: {"envoy_jwt_issuers": [{**issuer, **case}]} for name, case in cases.items()}
    try:
        with deployed(folder, issuers, [triton.grpc]) as running:
            yield running
    finally:
        triton.stop()


def test_keys_are_taken_from_whom_they_should_come_and_change(
    envoys: dict[str, DeployedEnvoy], keys: dict[str, Keys]
) -> None:
    envoy, server = envoys["right"], keys["localhost"]
    until(lambda: infer(envoy, authorization=bearer(token())) == "OK")
    assert set(server.asked) == {"localhost"}
    assert "Jwt verification fails" in infer(envoy, authorization=bearer(token(OTHER_KEY)))
    # The issuer has another key, and Envoy hears of it by itself.
    server.held = key_set(two=OTHER_KEY)
    until(lambda: infer(envoy, authorization=bearer(token(OTHER_KEY, "two"))) == "OK")
    until(lambda: infer(envoy, authorization=bearer(token())).startswith("StatusCode.UNAUTHENTICATED"))
    # While the issuer is away nobody is locked out by that.
    server.held = None
    asked = len(server.asked)
    until(lambda: len(server.asked) > asked + 1)
    assert infer(envoy, authorization=bearer(token(OTHER_KEY, "two"))) == "OK"


@pytest.mark.parametrize("case", ["stranger", "name"])
def test_keys_of_anybody_else_are_not_taken(envoys: dict[str, DeployedEnvoy], case: str) -> None:
    """The server's certificate is of another authority, or for another name."""
    envoy = envoys[case]
    counter = "ssl.fail_verify_error" if case == "stranger" else "ssl.fail_verify_san"

    def refused() -> int:
        found = json.loads(envoy.admin(f"/stats?format=json&filter=cluster.jwks_0.{counter}"))["stats"]
        return int(found[0]["value"]) if found else 0

    until(lambda: refused() > 0)
    answer = infer(envoy, authorization=bearer(token()))
    assert answer == "StatusCode.UNAUTHENTICATED: no valid token: Jwks remote fetch is failed"
