# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the gateway costs and how it spreads requests, on the local cluster: `make benchmark-gateway`.

Each part deploys an instance of its own by site.yml and removes it again.

- overhead: perf_analyzer in a pod asks one server directly, through Envoy, and through an Envoy that can do nothing
  else, in turns.
- balance: 8 servers under load; which of them got how many requests.
- flight: 20,000 requests at once through two Envoys; what failed, and how much memory the Envoys took.
- hundred: 100 servers; balance, a rolling update of all of them under load, and site.yml without a change.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / ".collections"))

import grpc.aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ansible_collections.fastml.supersonic.tests.harness.clients import load
from ansible_collections.fastml.supersonic.tests.harness.envoy import plain_configuration
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.models import golden, write_golden, write_model
from ansible_collections.fastml.supersonic.tests.harness.playbooks import KUBECONFIG, LOCAL, Instance
from ansible_collections.fastml.supersonic.tests.harness.pods import RESTRICTED, address, pods, start
from ansible_collections.fastml.supersonic.tests.harness.processes import until

# Name of a figure, its limit, and whether it has to stay below the limit (or reach it).
GOALS = {
    # Enough clients to keep the server busy.
    "accelerator x4 throughput, Envoy / direct": (0.98, False),
    "accelerator x4 p50, Envoy / direct": (1.03, True),
    "balance over 8, max / min": (1.1, True),
    "failed of 20,000 in flight": (0, True),
    "balance over 100, max / min": (1.2, True),
    "failed during the rolling update of 100": (0, True),
    "site.yml without a change, 100 servers (s)": (20.0, True),
}
IN_FLIGHT = 20_000
ACTIVE = 'envoy_cluster_upstream_rq_active{envoy_cluster_name="triton"}'
# Each a connection, as many clients have.
CHANNELS = 100
# A server counts requests of which chance decides; with fewer of them it would decide the balance as well.
REQUESTS_PER_SERVER = 1_200
# Of a pool that shares two cores: what a server asks for is next to nothing.
TINY = {"requests": {"cpu": "1m", "memory": "32Mi"}, "limits": {"memory": "1Gi"}}
# The first batch holds the server until everybody is waiting.
HOLD = "if not getattr(self, 'held', False): self.held = True; time.sleep(40)"

Figures = dict[str, float]


@contextlib.contextmanager
def instance(folder: Path, models: Path, **variables: Any) -> Iterator[Instance]:
    cluster = Cluster(str(KUBECONFIG))
    sources = {"model_repository_sources": [str(models)], "verify_golden_directories": [str(models)]}
    made = Instance(cluster, folder, "bench", {"envoy_replicas": 2, **sources, **variables}, seconds=1800)
    try:
        made.site()
        yield made
    finally:
        made.remove()
        cluster.cleanup()


def example_models(folder: Path, *names: str) -> Path:
    """Some of the models that make local has built."""
    for name in names:
        subprocess.run(["cp", "-r", str(LOCAL / "models" / name), str(folder)], check=True)
    return folder


# ---- overhead ------------------------------------------------------------------------------------------------------
def overhead(folder: Path, models: Path, repeats: int) -> Figures:
    example_models(models, "identity", "accelerator")
    # Here alone clients other than Envoy reach the server.
    with instance(folder, models, triton_network_policy=False) as service:
        (server,) = service.pods("triton").values()
        direct = f"{server['status']['podIP']}:8001"
        ways = {
            "direct": direct,
            "Envoy": f"bench.{service.namespace}.svc.cluster.local:8001",
            "plain Envoy": plain_envoy(service, direct),
        }
        figures: Figures = {}
        for model, clients in (("accelerator", 1), ("accelerator", 4), ("identity", 1), ("identity", 8)):
            found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
            for _repeat in range(repeats):
                for way, endpoint in ways.items():
                    found[way].append(perf_analyzer(service, model, endpoint, clients))
            for index, (kind, unit) in enumerate((("throughput", "/s"), ("p50", " ms"))):
                medians = {way: statistics.median(each[index] for each in found[way]) for way in ways}
                told = ", ".join(f"{way} {median:.2f}{unit}" for way, median in medians.items())
                print(f"{model}, {clients} at a time, {kind}: {told}", flush=True)
                for way in list(ways)[1:]:
                    figures[f"{model} x{clients} {kind}, {way} / direct"] = medians[way] / medians["direct"]
        return figures


def plain_envoy(service: Instance, server: str) -> str:
    """Address of an Envoy of the same image that can do nothing but pass requests on."""
    (running, *_others) = service.pods("envoy").values()
    (deployed,) = running["spec"]["containers"]
    configuration = json.dumps(plain_configuration("0.0.0.0:8001", "127.0.0.1:9901", [server]))
    command = [deployed["command"][0], "--config-yaml", configuration, "--concurrency", "1", "-l", "warning"]
    body = {"name": "main", "image": deployed["image"], "command": command, "securityContext": RESTRICTED}
    path = start(service.cluster, service.namespace, "plain-envoy", "", containers=[body])
    return f"{address(service.cluster, path)}:8001"


def perf_analyzer(service: Instance, model: str, endpoint: str, clients: int) -> tuple[float, float]:
    """Throughput in requests per second, and the median latency in ms."""
    command = ["perf_analyzer", "-m", model, "-u", endpoint, "-i", "grpc", "--shape", "INPUT0:4", "-b", "1"]
    command += ["--concurrency-range", str(clients), "--measurement-interval", "4000", "--percentile", "50"]
    name = f"perf-{uuid.uuid4().hex[:8]}"
    image = "docker.io/fastml/perf-analyzer-local:2.60.0"
    body = {"name": "main", "image": image, "command": command, "securityContext": RESTRICTED}
    path = start(service.cluster, service.namespace, name, "", containers=[body])
    phase = until(lambda: {"Succeeded", "Failed"} & {service.cluster.there(path)["status"].get("phase")}, 180)
    said = str(service.cluster.api.text(f"{path}/log", path))
    if phase != {"Succeeded"}:
        sys.exit(f"perf_analyzer failed: {said}")
    throughput = re.findall(r"throughput: ([0-9.]+) infer/sec", said)[-1]
    latency = re.findall(r"p50 latency: ([0-9]+) usec|latency ([0-9]+) usec", said)[-1]
    return float(throughput), float(next(filter(None, latency))) / 1000


# ---- balance -------------------------------------------------------------------------------------------------------
def balance(folder: Path, models: Path, _repeats: int) -> Figures:
    example_models(models, "identity", "accelerator")
    with instance(folder, models, triton_replicas=8, triton_resources=TINY) as service:
        return {"balance over 8, max / min": spread(service, folder, 8)}


def spread(service: Instance, folder: Path, servers: int) -> float:
    """Most requests of a server by the fewest, under load."""
    before = answered(service)
    with load(service.address(), folder, "--clients", "32", "--model", "identity") as report:
        until(lambda: sum(answered(service).values()) - sum(before.values()) > servers * REQUESTS_PER_SERVER, 500)
    after = answered(service)
    counts = [after[name] - before[name] for name in before]
    if len(counts) != servers or report["failed"]:
        sys.exit(f"{len(counts)} servers, {report}")
    print(f"{servers} servers answered {min(counts):.0f} to {max(counts):.0f} requests each, {sum(counts):.0f} in all")
    return max(counts) / min(counts)


def answered(service: Instance) -> dict[str, float]:
    """How many requests each server has answered."""
    counts = {}
    for pod in service.pods("triton").values():
        name = pod["metadata"]["name"]
        path = f"{pods(service.namespace)}/{name}:8002/proxy/metrics"
        text = service.cluster.api.text(path, "metrics of a server")
        counts[name] = sum(map(float, re.findall(r"^nv_inference_request_success\{.*\} (\S+)$", text, re.M)))
    return counts


# ---- many in flight ------------------------------------------------------------------------------------------------
def flight(folder: Path, models: Path, _repeats: int) -> Figures:
    write_model(models, "hold", execute="pass")
    write_golden(models, golden("hold", [1.0]))
    holding = folder / "holding"
    write_model(holding, "hold", execute=HOLD)
    with instance(folder, models, triton_replicas=2, envoy_resources={"requests": TINY["requests"]}) as service:
        # Only now, or the proof would be held as well.
        service.site("--tags", "triton", model_repository_sources=[str(holding)], model_repository_test_load=False)
        until(lambda: service.healthy_servers() == [2, 2], 120)
        empty = memory(service)
        outcome, peak, full = asyncio.run(all_at_once(service))
    print(f"in flight at a time: {peak}; memory of the Envoys: {mebibytes(empty)} before, {mebibytes(full)} with all")
    if peak < IN_FLIGHT:
        sys.exit(f"Only {peak} requests were in flight at a time.")
    print(f"outcome: {outcome}")
    return {"failed of 20,000 in flight": IN_FLIGHT - outcome["OK"]}


async def all_at_once(service: Instance) -> tuple[dict[str, int], int, list[int]]:
    """Send everything at once. Returns outcomes, how many were in flight at a time, and the Envoys' largest memory."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(service.address(), options=options) for _number in range(CHANNELS)]
    stubs = [service_pb2_grpc.GRPCInferenceServiceStub(channel) for channel in channels]
    outcomes: dict[str, int] = {"OK": 0}

    async def ask(number: int) -> None:
        request = service_pb2.ModelInferRequest(model_name="hold")
        request.inputs.add(name="INPUT0", datatype="FP32", shape=[1])
        request.raw_input_contents.append(number.to_bytes(4, "little"))
        try:
            answer = await stubs[number % CHANNELS].ModelInfer(request, timeout=300)
            outcome = "OK" if answer.raw_output_contents[0] == number.to_bytes(4, "little") else "wrong"
        except grpc.aio.AioRpcError as exc:
            outcome = f"{exc.code().name}: {exc.details()}"
        outcomes[outcome] = outcomes.get(outcome, 0) + 1

    asked = [asyncio.ensure_future(ask(number)) for number in range(IN_FLIGHT)]
    peak, full = 0, [0]
    while not all(task.done() for task in asked):
        await asyncio.sleep(1)
        now = await asyncio.to_thread(service.envoy_metric, ACTIVE)
        peak = max(peak, sum(now.values()))
        # Envoy measures it every five seconds.
        full = max(full, await asyncio.to_thread(memory, service), key=sum)
    for channel in channels:
        await channel.close()
    return outcomes, peak, full


def memory(service: Instance) -> list[int]:
    """Bytes of each Envoy's memory."""
    return list(service.envoy_metric("envoy_server_memory_physical_size{}").values())


def mebibytes(sizes: list[int]) -> str:
    return " and ".join(f"{size / 2**20:.0f} MiB" for size in sizes)


# ---- a hundred servers ---------------------------------------------------------------------------------------------
def hundred(folder: Path, models: Path, _repeats: int) -> Figures:
    example_models(models, "identity")
    some = {"maxSurge": "20%", "maxUnavailable": "0%"}
    variables = {
        "triton_replicas": 100,
        "triton_resources": TINY,
        "triton_rolling_update": some,
        "triton_wait_timeout": 600,
        "triton_startup_budget": 300,
        "triton_drain_wait": 3,
    }
    with instance(folder, models, **variables) as service:
        figures = {"balance over 100, max / min": spread(service, folder, 100)}
        began = time.monotonic()
        service.site()
        figures["site.yml without a change, 100 servers (s)"] = time.monotonic() - began
        print(f"site.yml without a change: {time.monotonic() - began:.1f} s", flush=True)
        old = set(service.pods("triton"))
        # Without pauses they would leave no processor to the servers that start.
        with load(service.address(), folder, "--clients", "16", "--model", "identity", "--pause", "0.05") as report:
            began = time.monotonic()
            service.site("--tags", "triton", triton_pod_annotations={"example.org/update": "2"})
            until(lambda: service.ready("triton", 100), 300)
            took = time.monotonic() - began
        if old & set(service.pods("triton")):
            sys.exit("Some servers were not replaced.")
        print(f"rolling update of 100 servers: {took:.0f} s, {report['requests']} requests, {report['failed']} failed")
        figures["failed during the rolling update of 100"] = report["failed"] + report["wrong"]
    return figures


PARTS: dict[str, Callable[[Path, Path, int], Figures]] = {
    "overhead": overhead, "balance": balance, "flight": flight, "hundred": hundred
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="Costs and balance of the gateway; fails when a goal is missed.")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement of the overhead")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}, only {', '.join(PARTS)}")
    figures: Figures = {}
    for name in arguments.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
            (Path(scratch) / "models").mkdir()
            began = time.monotonic()
            figures.update(PARTS[name](Path(scratch), Path(scratch) / "models", arguments.repeats))
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    missed = 0
    for name, value in figures.items():
        goal, below = GOALS.get(name, (None, True))
        met = goal is None or (value <= goal if below else value >= goal)
        missed += not met
        told = "" if goal is None else f"  (goal {'<=' if below else '>='} {goal:g}: {'met' if met else 'MISSED'})"
        print(f"{name}: {value:.3f}{told}")
    return 1 if missed else 0


if __name__ == "__main__":
    print(shlex.join(sys.argv), flush=True)
    sys.exit(main())
