# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Traced instances on loopback: real Envoys, servers and a collector, each with what the roles write for it."""

from __future__ import annotations

import collections
import contextlib
import json
import shutil
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._monitoring.traces import Span, spans_of
from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE, render_in_one_process
from ansible_collections.fastml.supersonic.tests.harness.processes import Process, free_ports, http_status
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton

IMAGE = "docker.io/fastml/otel-collector-local:0.161.0"
# Otherwise every test would wait for a quarter of a minute.
QUICK = {"connectors": {"spanmetrics": {"metrics_flush_interval": "1s"}}}
SOURCES = CLONE / "dev/roles/local_cluster" / "files" / "models" / "sources"
PIPELINE = """
name: "pipeline"
platform: "ensemble"
max_batch_size: 64
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] } ]
ensemble_scheduling {
  step [
    { model_name: "identity" model_version: -1
      input_map { key: "INPUT0" value: "INPUT0" } output_map { key: "OUTPUT0" value: "between" } },
    { model_name: "accelerator" model_version: -1
      input_map { key: "INPUT0" value: "between" } output_map { key: "OUTPUT0" value: "OUTPUT0" } }
  ]
}
"""
PORTS = {"grpc": 4317, "http": 4318, "metrics": 8888, "span_metrics": 8889, "health": 13133}


# ---- what the roles write ------------------------------------------------------------------------------------------
def render(folder: Path, cases: Mapping[str, Mapping[str, Any]], *roles: str) -> Path:
    """A folder of manifests by case, which the roles write."""
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "supersonic_name": "main",
        "supersonic_namespace": "{{ inventory_hostname }}",
        "supersonic_render_directory": f"{folder}/manifests/{{{{ inventory_hostname }}}}",
        "triton_image": "example.org/triton:1",
        "triton_model_repositories": [{"name": "models", "kind": "image", "path": "/models"}],
    }
    tasks = [
        {
            "name": f"Write the manifests of {role}",
            "ansible.builtin.import_role": {
                "name": f"fastml.supersonic.{role}",
                "tasks_from": "render",
                "rolespec_validate": False,
            },
        }
        for role in roles
    ]
    folder.mkdir(exist_ok=True)
    (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": cases, "vars": common}}))
    (folder / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    for case in cases:
        (folder / "manifests" / case).mkdir(parents=True)
    render_in_one_process(folder / "play.yml", folder / "hosts.yml")
    return folder / "manifests"


def of_kind(manifests: Path, kind: str) -> dict[str, Any]:
    """The only object of a kind."""
    (found,) = (item for item in yaml.safe_load_all(manifests.read_text()) if item and item["kind"] == kind)
    return dict(found)


def container(manifests: Path) -> dict[str, Any]:
    """The first container of the Deployment."""
    return dict(of_kind(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0])


def trace_flags(manifests: Path) -> list[str]:
    """What a server of the pool is told about traces."""
    flags = [text for text in container(manifests)["args"] if text.startswith("--trace-config=")]
    return [text.replace("$(POD_NAME)", "triton-pod") for text in flags]


def trace_environment(manifests: Path) -> dict[str, str]:
    return {item["name"]: item["value"] for item in container(manifests)["env"] if item["name"].startswith("OTEL_")}


# ---- a collector ---------------------------------------------------------------------------------------------------
class Collector:
    """A real one with the configuration of the manifests, on other ports, which writes every span to a file too."""

    def __init__(self, program: Path, scratch: Path, manifests: Path, ports: Sequence[int] = ()) -> None:
        """ports: for OTLP over gRPC and over HTTP."""
        scratch.mkdir(parents=True, exist_ok=True)
        self._file = scratch / "spans.jsonl"
        text = of_kind(manifests, "ConfigMap")["data"]["otel-collector.yaml"]
        self.ports = dict(zip(PORTS, [*ports, *free_ports(len(PORTS) - len(ports))], strict=True))
        path = scratch / "collector.yaml"
        path.write_text(json.dumps(self._here(yaml.safe_load(text))))
        self.process = Process([str(program), f"--config={path}"], scratch / "collector.log")
        self.process.wait_until(lambda: http_status(f"http://127.0.0.1:{self.ports['health']}/") == 200, 30)

    def _here(self, configuration: dict[str, Any]) -> dict[str, Any]:
        moved = json.dumps(configuration)
        for name, port in PORTS.items():
            moved = moved.replace(f"0.0.0.0:{port}", f"127.0.0.1:{self.ports[name]}")
        found: dict[str, Any] = json.loads(moved)
        (reader,) = found["service"]["telemetry"]["metrics"]["readers"]
        reader["pull"]["exporter"]["prometheus"] = {"host": "127.0.0.1", "port": self.ports["metrics"]}
        found["exporters"]["file"] = {"path": str(self._file), "flush_interval": "200ms"}
        found["service"]["pipelines"]["traces"]["exporters"].append("file")
        return found

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.ports['grpc']}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['http']}/v1/traces"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['metrics']}"

    def page(self, port: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[port]}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    @property
    def size(self) -> int:
        """Bytes of all spans so far."""
        return self._file.stat().st_size if self._file.exists() else 0

    def documents(self) -> Iterator[dict[str, Any]]:
        """What was written so far, as OTLP in JSON; the last line may not be whole yet."""
        for line in self._file.read_text().splitlines() if self._file.exists() else []:
            with contextlib.suppress(ValueError):
                yield json.loads(line)

    def spans(self, trace_id: str = "") -> list[Span]:
        """Those of a trace, or all of them."""
        found = [span for document in self.documents() for span in spans_of(document)]
        return [span for span in found if span.trace_id == trace_id or not trace_id]

    def traces(self) -> dict[str, list[Span]]:
        found: dict[str, list[Span]] = collections.defaultdict(list)
        for span in self.spans():
            found[span.trace_id].append(span)
        return dict(found)

    def stop(self) -> None:
        self.process.stop()


# ---- an instance ---------------------------------------------------------------------------------------------------
def write_models(repository: Path) -> Path:
    """The example models identity and accelerator, and pipeline, an ensemble of both."""
    for name in ("identity", "accelerator"):
        source, model = SOURCES / name, repository / name
        (model / "1").mkdir(parents=True)
        shutil.copyfile(source / "config.pbtxt", model / "config.pbtxt")
        shutil.copyfile(source / "model.py", model / "1" / "model.py")
    (repository / "pipeline" / "1").mkdir(parents=True)
    (repository / "pipeline" / "config.pbtxt").write_text(PIPELINE)
    return repository


@dataclass
class Traced:
    """A collector, a server and an Envoy for each case in front of it."""

    collector: Collector
    triton: Triton
    envoys: dict[str, DeployedEnvoy]


@contextlib.contextmanager
def traced(
    program: Path, folder: Path, models: Path, cases: Mapping[str, Mapping[str, Any]], **server: Any
) -> Iterator[Traced]:
    """cases: variables of the Envoys; server: those of the server."""
    ports = free_ports(2)
    tracing = {"endpoint": f"127.0.0.1:{ports[0]}", "http_url": f"http://127.0.0.1:{ports[1]}/v1/traces"}
    elsewhere = {"otel_collector_mode": "existing"}
    manifests = render(
        folder / "rendered",
        {
            "collector": {"otel_collector_extra_configuration": QUICK},
            "server": {**elsewhere, "supersonic_tracing": tracing, **server},
            **{
                case: {
                    **elsewhere,
                    **variables,
                    "supersonic_tracing": {**tracing, **variables.get("supersonic_tracing", {})},
                }
                for case, variables in cases.items()
            },
        },
        "otel_collector",
        "triton",
        "envoy",
    )
    with contextlib.ExitStack() as stack:
        collector = Collector(program, folder / "collector", manifests / "collector" / "otel_collector.yaml", ports)
        stack.callback(collector.stop)
        pool = manifests / "server" / "triton.yaml"
        triton = Triton(models, folder / "triton", trace_flags(pool), environment=trace_environment(pool))
        stack.callback(triton.stop)
        envoys = {}
        for case in cases:
            envoys[case] = DeployedEnvoy(folder / case, manifests / case / "envoy.yaml", [triton.grpc], [triton.http])
            stack.callback(envoys[case].stop)
        yield Traced(collector, triton, envoys)


def context(trace_id: str = "", *, sampled: bool = True) -> tuple[str, str, str]:
    """A new trace's id, the id of the client's span, and the header traceparent with both."""
    trace_id, span_id = trace_id or uuid.uuid4().hex, uuid.uuid4().hex[:16]
    return trace_id, span_id, f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"


# ---- steady load ---------------------------------------------------------------------------------------------------
def steady(
    address: str, model: str, rate: float, seconds: float, *, connections: int = 4, sampled: bool = False
) -> dict[str, Any]:
    """What clients of tests/steady.py have seen, in a process of their own.

    sampled: each request has a context of its own that says that it is.
    """
    given = {"address": address, "model": model, "rate": rate, "seconds": seconds, "connections": connections}
    command = [sys.executable, str(CLONE / "tests/steady.py"), *(f"--{name}={value}" for name, value in given.items())]
    command += ["--sampled"] if sampled else []
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds * 4 + 60)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
