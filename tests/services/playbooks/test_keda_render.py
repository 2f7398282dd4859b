# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of a release as the role has it: from a copy or fetched, and only the one that is meant."""

from __future__ import annotations

import contextlib
import hashlib
import json
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping
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


@contextlib.contextmanager
def released(folder: Path) -> Iterator[str]:
    """Where the release is, with a certificate of the authority beside it."""
    authority = certificate("authority")
    own = certificate("127.0.0.1", authority, addresses=("127.0.0.1",))
    (folder / "authority.pem").write_text(authority.pem)
    (folder / "server.pem").write_text(own.pem + own.key_pem)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Release)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}/keda-2.21.0.yaml"
    server.shutdown()
    thread.join()
    server.server_close()


def render(folder: Path, hosts: Mapping[str, Mapping[str, Any]], *arguments: str) -> Run:
    role = {"name": "fastml.supersonic.keda", "tasks_from": "render"}
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"name": "Render", "ansible.builtin.include_role": role}]}
    (folder / "render.yml").write_text(json.dumps([play]))
    shared = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "supersonic_render_directory": f"{folder}/{{{{ inventory_hostname }}}}",
    }
    for host in hosts:
        (folder / host).mkdir()
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": shared, "hosts": hosts}}))
    # Which this machine trusts for the while.
    trusted = {"SSL_CERT_FILE": str(folder / "authority.pem")}
    return run_playbook(folder / "render.yml", folder / "hosts.yml", *arguments, environment=trusted)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """Manifests of several clusters, in one run."""
    folder = tmp_path_factory.mktemp("keda")
    (folder / "copy.yaml").write_text(TEXT)
    with released(folder) as url:
        hosts = {
            "copied": {
                "keda_manifest": str(folder / "copy.yaml"),
                "keda_manifest_checksum": CHECKSUM,
                "keda_namespace": "scaling",
                "keda_image_registry": "registry.example.org/kedacore",
            },
            "fetched": {"keda_manifest": url, "keda_manifest_checksum": CHECKSUM.upper()},
            "other": {"keda_manifest": url, "keda_manifest_checksum": "0" * 64},
        }
        return folder, render(folder, hosts)


def images(folder: Path) -> set[str]:
    objects = [item for item in yaml.safe_load_all((folder / "keda.yaml").read_text()) if item["kind"] == "Deployment"]
    return {container["image"] for item in objects for container in item["spec"]["template"]["spec"]["containers"]}


def test_from_a_copy(rendered: tuple[Path, Run]) -> None:
    folder, done = rendered
    assert (done.recap["copied"]["failed"], done.recap["copied"]["changed"]) == (0, 1), done.output
    assert "registry.example.org/kedacore/keda:2.21.0" in images(folder / "copied")
    assert "namespace: scaling" in (folder / "copied/keda.yaml").read_text()


def test_fetched_and_checked(rendered: tuple[Path, Run], tmp_path: Path) -> None:
    folder, done = rendered
    assert (done.recap["fetched"]["failed"], done.recap["fetched"]["changed"]) == (0, 1), done.output
    assert "ghcr.io/kedacore/keda:2.21.0" in images(folder / "fetched")
    assert "[WARNING]" not in done.text
    # Check mode has to see it too.
    with released(tmp_path) as url:
        unseen = render(tmp_path, {"cluster": {"keda_manifest": url}}, "--check")
    assert unseen.changed("cluster") == 1
    assert f"[WARNING]: keda_manifest_checksum is empty: whatever {url} answers is applied" in unseen.text
    assert not (tmp_path / "cluster/keda.yaml").exists()


def test_another_manifest_is_refused(rendered: tuple[Path, Run]) -> None:
    folder, done = rendered
    assert done.code != 0
    assert done.recap["other"]["failed"] == 1
    message = f"has the SHA-256 {CHECKSUM}, not the one of keda_manifest_checksum. Nothing was changed."
    assert message in done.said_of("other"), done.output
    assert not (folder / "other/keda.yaml").exists()
