# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of a release as the role has it: from a copy or fetched, and only the one that is meant."""

from __future__ import annotations

import hashlib
import json
import ssl
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.certificates import certificate
from ansible_collections.fastml.supersonic.tests.harness.keda import release
from ansible_collections.fastml.supersonic.tests.harness.playbooks import Run, run_playbook

TEXT = yaml.safe_dump_all(release())
CHECKSUM = hashlib.sha256(TEXT.encode()).hexdigest()


class Release(BaseHTTPRequestHandler):
    """Gives the manifest to everybody."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(TEXT.encode())))
        self.end_headers()
        self.wfile.write(TEXT.encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the release is, with a certificate that this machine trusts for the while."""
    authority = certificate("authority")
    own = certificate("127.0.0.1", authority, addresses=("127.0.0.1",))
    (tmp_path / "authority.pem").write_text(authority.pem)
    (tmp_path / "server.pem").write_text(own.pem + own.key_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Release)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}/keda-2.21.0.yaml"
    server.shutdown()
    thread.join()
    server.server_close()


def render(folder: Path, *arguments: str, **variables: Any) -> Run:
    role = {"name": "fastml.supersonic.keda", "tasks_from": "render"}
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"name": "Render", "ansible.builtin.include_role": role}]}
    (folder / "render.yml").write_text(json.dumps([play]))
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"hosts": {"cluster": {**host, "supersonic_render_directory": str(folder), **variables}}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    return run_playbook(folder / "render.yml", folder / "hosts.yml", *arguments)


def images(folder: Path) -> set[str]:
    objects = [item for item in yaml.safe_load_all((folder / "keda.yaml").read_text()) if item["kind"] == "Deployment"]
    return {container["image"] for item in objects for container in item["spec"]["template"]["spec"]["containers"]}


def test_from_a_copy(tmp_path: Path) -> None:
    (tmp_path / "copy.yaml").write_text(TEXT)
    done = render(
        tmp_path,
        keda_manifest=str(tmp_path / "copy.yaml"),
        keda_manifest_checksum=CHECKSUM,
        keda_namespace="scaling",
        keda_image_registry="registry.example.org/kedacore",
    )
    assert done.changed("cluster") == 1
    assert "registry.example.org/kedacore/keda:2.21.0" in images(tmp_path)
    assert "namespace: scaling" in (tmp_path / "keda.yaml").read_text()


def test_fetched_and_checked(tmp_path: Path, url: str) -> None:
    done = render(tmp_path, keda_manifest=url, keda_manifest_checksum=CHECKSUM.upper())
    assert done.changed("cluster") == 1
    assert "ghcr.io/kedacore/keda:2.21.0" in images(tmp_path)
    assert "[WARNING]" not in done.text
    (tmp_path / "keda.yaml").unlink()
    # Check mode has to see it too.
    unseen = render(tmp_path, "--check", keda_manifest=url)
    assert unseen.changed("cluster") == 1
    assert f"[WARNING]: keda_manifest_checksum is empty: whatever {url} answers is applied" in unseen.text
    assert not (tmp_path / "keda.yaml").exists()


def test_another_manifest_is_refused(tmp_path: Path, url: str) -> None:
    done = render(tmp_path, keda_manifest=url, keda_manifest_checksum="0" * 64)
    assert done.code != 0
    assert f"has the SHA-256 {CHECKSUM}, not the one of keda_manifest_checksum. Nothing was changed." in done.text
    assert not (tmp_path / "keda.yaml").exists()
