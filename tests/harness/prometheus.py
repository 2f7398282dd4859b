# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Prometheus on loopback, and pages of metrics for it to scrape."""

from __future__ import annotations

import json
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment
from ansible_collections.fastml.supersonic.tests.harness.processes import (
    Process,
    free_ports,
    http_status,
)

IMAGE = "docker.io/fastml/prometheus-local:3.13.5"


def judge_rules(promtool: Path, tests: Path) -> subprocess.CompletedProcess[str]:
    """What promtool says of a file of unit tests."""
    command = [str(promtool), "test", "rules", str(tests)]
    # A third of its time is collecting garbage otherwise.
    environment = own_environment(GOGC="400")
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


class Prometheus:
    """A running server; its own pages are at url."""

    def __init__(
        self,
        folder: Path,
        scratch: Path,
        configuration: Mapping[str, Any],
        options: Sequence[str] = (),
        *,
        web: Mapping[str, Any] | None = None,
    ) -> None:
        """folder: of the programs."""
        scratch.mkdir(parents=True, exist_ok=True)
        (scratch / "prometheus.yml").write_text(json.dumps(configuration))
        (scratch / "web.yml").write_text(json.dumps(web or {}))
        (self.port,) = free_ports(1)
        self.url = f"{'https' if web else 'http'}://127.0.0.1:{self.port}"
        command = [
            str(folder / "prometheus"),
            f"--config.file={scratch / 'prometheus.yml'}",
            f"--web.config.file={scratch / 'web.yml'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            f"--storage.tsdb.path={scratch / 'data'}",
            *options,
        ]
        self.process = Process(command, scratch / "prometheus.log")
        self.process.wait_until(self._answers, 30)

    def _answers(self) -> bool:
        if self.url.startswith("https"):
            return "Server is ready to receive web requests" in self.process.tail()
        return http_status(f"{self.url}/-/ready") == 200

    def stop(self) -> None:
        self.process.stop()


class Page:
    """Answers every request with a text, or as answer says."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page.answer(self)

            do_POST = do_GET

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.reply(request, 200, self.text.encode(), {"Content-Type": "text/plain; version=0.0.4"})

    @staticmethod
    def reply(
        request: BaseHTTPRequestHandler, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        request.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            request.send_header(key, value)
        request.end_headers()
        request.wfile.write(body)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Guard(Page):
    """What sites have in front: lets through whoever has the token."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__()
        self.url = url
        self.token = token

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if request.path.startswith("/login"):
            self.reply(request, 302, headers={"Location": "https://login.example.org/"})
        elif request.headers.get("Authorization") != f"Bearer {self.token}":
            self.reply(request, 401, b"<html>go away</html>")
        else:
            try:
                with urllib.request.urlopen(self.url + request.path) as answer:
                    self.reply(request, answer.status, answer.read())
            except urllib.error.HTTPError as error:
                self.reply(request, error.code, error.read())
