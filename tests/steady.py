# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients at a steady rate: so many requests in a second, whether they are answered or not, for a time.

tests/steady.py --address 127.0.0.1:8001 --model identity --rate 1000 --seconds 10
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import statistics
import time
import uuid
from dataclasses import dataclass, field

import grpc.aio
import numpy
from tritonclient.grpc import service_pb2

INFER = "/inference.GRPCInferenceService/ModelInfer"


@dataclass
class Steady:
    """What clients at a steady rate have seen; times in milliseconds."""

    sent: int = 0
    failed: int = 0
    seconds: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)


def request_bytes(model: str) -> bytes:
    """A request to a model that takes four numbers."""
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name="INPUT0", datatype="FP32", shape=[1, 4])
    request.raw_input_contents.append(numpy.arange(4, dtype=numpy.float32).tobytes())
    return request.SerializeToString()


async def send(address: str, model: str, rate: float, seconds: float, connections: int, sampled: bool) -> Steady:
    """So many requests in a second, whether they are answered or not."""
    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _n in range(connections)
    ]
    calls = [channel.unary_unary(INFER) for channel in channels]
    message, latencies, found = request_bytes(model), [], Steady()
    errors: collections.Counter[str] = collections.Counter()

    async def one(number: int) -> None:
        begin = time.perf_counter()
        headers = [("traceparent", f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01")] if sampled else None
        try:
            await calls[number % connections](message, timeout=20, metadata=headers)
        except grpc.aio.AioRpcError as error:
            errors[f"{error.code().name}: {error.details()}"] += 1
        else:
            latencies.append((time.perf_counter() - begin) * 1000)

    begin = time.perf_counter()
    tasks = []
    for number in range(int(rate * seconds)):
        late = begin + number / rate - time.perf_counter()
        if late > 0:
            await asyncio.sleep(late)
        tasks.append(asyncio.create_task(one(number)))
    await asyncio.gather(*tasks)
    found.sent, found.failed, found.errors = len(tasks), sum(errors.values()), dict(errors)
    found.seconds = time.perf_counter() - begin
    if len(latencies) > 1:
        cuts = statistics.quantiles(latencies, n=100)
        found.p50, found.p99 = cuts[49], cuts[98]
    for channel in channels:
        await channel.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--address", required=True)
    parser.add_argument("--model", default="identity")
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--sampled", action="store_true")
    options = parser.parse_args()
    found = asyncio.run(
        send(options.address, options.model, options.rate, options.seconds, options.connections, options.sampled)
    )
    print(json.dumps(vars(found)))


if __name__ == "__main__":
    main()
