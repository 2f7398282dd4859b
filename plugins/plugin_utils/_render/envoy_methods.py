# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Methods of the inference protocol and their paths in gRPC and in HTTP.

Names and paths are those of Triton 2.51: grpc_service.proto and the protocol documents of
https://github.com/triton-inference-server/server/tree/main/docs/protocol.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

SERVICE = "inference.GRPCInferenceService"
HEALTH = "Health"

_MODEL = "/v2/models/[^/]+(/versions/[^/]+)?"
_REGION = "(/region/[^/]+)?"

# What a method has in HTTP, as a regular expression that the whole path has to match.
HTTP_PATHS = {
    "ServerLive": "/v2/health/live",
    "ServerReady": "/v2/health/ready",
    "ServerMetadata": "/v2/?",
    "ModelReady": f"{_MODEL}/ready",
    "ModelMetadata": _MODEL,
    "ModelConfig": f"{_MODEL}/config",
    "ModelStatistics": f"{_MODEL}/stats|/v2/models/stats",
    "ModelInfer": f"{_MODEL}/(infer|generate|generate_stream)",
    "RepositoryIndex": "/v2/repository/index",
    "RepositoryModelLoad": "/v2/repository/models/[^/]+/load",
    "RepositoryModelUnload": "/v2/repository/models/[^/]+/unload",
    "SystemSharedMemoryStatus": f"/v2/systemsharedmemory{_REGION}/status",
    "SystemSharedMemoryRegister": "/v2/systemsharedmemory/region/[^/]+/register",
    "SystemSharedMemoryUnregister": f"/v2/systemsharedmemory{_REGION}/unregister",
    "CudaSharedMemoryStatus": f"/v2/cudasharedmemory{_REGION}/status",
    "CudaSharedMemoryRegister": "/v2/cudasharedmemory/region/[^/]+/register",
    "CudaSharedMemoryUnregister": f"/v2/cudasharedmemory{_REGION}/unregister",
    "TraceSetting": "/v2(/models/[^/]+)?/trace/setting",
    "LogSettings": "/v2/logging",
}
# Those whose path is always the same.
HTTP_FIXED = {
    "ServerLive": ["/v2/health/live"],
    "ServerReady": ["/v2/health/ready"],
    "ServerMetadata": ["/v2", "/v2/"],
    "RepositoryIndex": ["/v2/repository/index"],
}
# The model is field 1 of the request.
WITH_MODEL = ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "ModelInfer")
STREAMS = ("ModelStreamInfer",)
# What changes the server, or lets a client read and write memory and files of its machine.
CONTROL = (
    *(name for name in HTTP_PATHS if "Shared" in name or name.startswith("RepositoryModel")),
    "TraceSetting",
    "LogSettings",
)
METHODS = (HEALTH, *HTTP_PATHS, *STREAMS)


def expand(names: Iterable[str], control: bool = False) -> list[str]:
    """The methods that are named; none stands for all that do not change the server, and '*' for all."""
    names = list(names)
    if "*" in names:
        return list(METHODS)
    if not names and not control:
        return [name for name in METHODS if name not in CONTROL]
    return [name for name in METHODS if name in names]


def stat_name(client: str) -> str:
    """A client's name in a metric's name, where a dot would end it: whatever is no letter, digit or "-" becomes "_"."""
    return re.sub(r"[^A-Za-z0-9-]", "_", client)


def grpc_paths(name: str) -> list[str]:
    """The paths of a method in gRPC; Health stands for both methods of gRPC's health protocol."""
    if name == HEALTH:
        return ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"]
    return [f"/{SERVICE}/{name}"]
