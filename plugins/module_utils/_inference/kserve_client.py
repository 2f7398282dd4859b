# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients for the KServe v2 protocol over gRPC and over HTTP, with one interface.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import abc
import http.client
import json
import os
import socket
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import quote

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError, missing_library
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import tensor as inference_tensor
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.golden_requests import Golden
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.tensor import Tensor

if t.TYPE_CHECKING:
    from ansible_collections.fastml.supersonic.plugins.module_utils._kube.port_forward import Tunnel

_HTTP_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class CallError(Exception):
    """A call that was not answered as wished: a gRPC status and what came with it."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(f"{status}: {message}" if message else status)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Endpoint:
    """The location of a server: an address, or the socket of tunnels (the nearest first) that lead there."""

    protocol: str
    host: str = ""
    port: int = 0
    tunnels: tuple[Tunnel, ...] = ()
    tls: bool = False
    # Name of the server towards itself and proxies, where the address says nothing about it.
    authority: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def connect(self, timeout: float) -> socket.socket:
        """A plain connection, as the client's library would open it."""
        if not self.tunnels:
            return socket.create_connection((self.host, self.port), timeout=timeout)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        sock.connect(self.tunnels[0].path)
        return sock


class Client(abc.ABC):
    """The interface of both protocols. Every method raises CallError if there is no good answer."""

    @abc.abstractmethod
    def infer(self, golden: Golden, timeout: float, headers: Sequence[tuple[str, str]] = ()) -> list[Tensor]:
        """Send a golden request, with further headers, and return all outputs."""

    @abc.abstractmethod
    def live(self, timeout: float) -> bool: ...

    @abc.abstractmethod
    def ready(self, timeout: float) -> bool: ...

    @abc.abstractmethod
    def model_ready(self, model: str, version: str, timeout: float) -> bool: ...

    @abc.abstractmethod
    def metadata(self, timeout: float) -> dict[str, t.Any]: ...

    @abc.abstractmethod
    def index(self, timeout: float) -> list[dict[str, str]]:
        """All models of the repository: name, version, state and reason (the last three where there are any)."""

    @abc.abstractmethod
    def config(self, model: str, timeout: float) -> dict[str, t.Any]: ...

    @abc.abstractmethod
    def statistics(self, timeout: float) -> list[dict[str, t.Any]]: ...

    @abc.abstractmethod
    def log_settings(self, timeout: float) -> None:
        """Read the settings of the log, one of the methods that a gateway should keep from clients."""

    @abc.abstractmethod
    def close(self) -> None: ...

    def ask(self, method: str, model: str, timeout: float) -> None:
        """Call one of METHODS; a server that says no counts as unavailable."""
        calls: dict[str, t.Callable[[], t.Any]] = {
            "ServerLive": partial(self.live, timeout),
            "ServerReady": partial(self.ready, timeout),
            "ServerMetadata": partial(self.metadata, timeout),
            "ModelStatistics": partial(self.statistics, timeout),
            "RepositoryIndex": partial(self.index, timeout),
            "LogSettings": partial(self.log_settings, timeout),
            "ModelReady": partial(self.model_ready, model, "", timeout),
            "ModelConfig": partial(self.config, model, timeout),
        }
        if calls[method]() is False:
            raise CallError("UNAVAILABLE", f"{method} was answered with no")


# What Client.ask can call: methods that change nothing. Those of models are asked for each model.
MODEL_METHODS = ("ModelReady", "ModelConfig")
METHODS = (
    "ServerLive",
    "ServerReady",
    "ServerMetadata",
    "ModelStatistics",
    "RepositoryIndex",
    "LogSettings",
    *MODEL_METHODS,
)


def open_client(endpoint: Endpoint) -> Client:
    return GrpcClient(endpoint) if endpoint.protocol == "grpc" else HttpClient(endpoint)


def load_grpc() -> tuple[t.Any, t.Any, t.Any]:
    """The libraries grpc and tritonclient, or the error that says what to install."""
    # Connection trouble is reported by us, once and in words; the library would write it to stderr as well.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        import grpc
        from tritonclient.grpc import service_pb2, service_pb2_grpc
    except ImportError as exc:
        raise missing_library(exc.name or "tritonclient", "tritonclient[grpc]") from exc
    except RuntimeError as exc:
        # tritonclient is there, but was installed without the extra that brings gRPC.
        raise missing_library("tritonclient.grpc", "tritonclient[grpc]") from exc
    return grpc, service_pb2, service_pb2_grpc


class GrpcClient(Client):
    def __init__(self, endpoint: Endpoint) -> None:
        self._grpc, self._messages, stubs = load_grpc()
        options: list[tuple[str, t.Any]] = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            # A connection of its own, or a balancer in front would see one client only.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
            ("grpc.enable_retries", 0),
        ]
        if endpoint.tls:
            # TLS is spoken by the tunnel; the server must see the same request as from a client that speaks it itself.
            options.append(("grpc.http2_scheme", "https"))
        if endpoint.authority:
            options.append(("grpc.default_authority", endpoint.authority))
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        target = f"unix:{endpoint.tunnels[0].path}" if endpoint.tunnels else f"{host}:{endpoint.port}"
        self._channel = self._grpc.insecure_channel(target, options)
        self._stub = stubs.GRPCInferenceServiceStub(self._channel)
        self._metadata = [(name.lower(), value) for name, value in endpoint.headers]

    def infer(self, golden: Golden, timeout: float, headers: Sequence[tuple[str, str]] = ()) -> list[Tensor]:
        request = self._messages.ModelInferRequest(model_name=golden.model, model_version=golden.version)
        for key, value in golden.parameters.items():
            _set_parameter(request.parameters[key], value)
        for tensor in golden.inputs:
            request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            request.raw_input_contents.append(tensor.raw)
        for name in golden.requested:
            request.outputs.add(name=name)
        answer = self._call(self._stub.ModelInfer, request, timeout, headers)
        if len(answer.raw_output_contents) != len(answer.outputs):
            raise CallError("INTERNAL", "the answer does not carry its outputs as raw contents, as Triton's do")
        return [
            Tensor(output.name, output.datatype, tuple(output.shape), raw)
            for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
        ]

    def live(self, timeout: float) -> bool:
        return bool(self._call(self._stub.ServerLive, self._messages.ServerLiveRequest(), timeout).live)

    def ready(self, timeout: float) -> bool:
        return bool(self._call(self._stub.ServerReady, self._messages.ServerReadyRequest(), timeout).ready)

    def model_ready(self, model: str, version: str, timeout: float) -> bool:
        request = self._messages.ModelReadyRequest(name=model, version=version)
        return bool(self._call(self._stub.ModelReady, request, timeout).ready)

    def metadata(self, timeout: float) -> dict[str, t.Any]:
        return _as_dict(self._call(self._stub.ServerMetadata, self._messages.ServerMetadataRequest(), timeout))

    def index(self, timeout: float) -> list[dict[str, str]]:
        answer = self._call(self._stub.RepositoryIndex, self._messages.RepositoryIndexRequest(), timeout)
        return [_as_dict(model) for model in answer.models]

    def config(self, model: str, timeout: float) -> dict[str, t.Any]:
        request = self._messages.ModelConfigRequest(name=model)
        return t.cast("dict[str, t.Any]", _as_dict(self._call(self._stub.ModelConfig, request, timeout))["config"])

    def statistics(self, timeout: float) -> list[dict[str, t.Any]]:
        answer = self._call(self._stub.ModelStatistics, self._messages.ModelStatisticsRequest(), timeout)
        return [_as_dict(model) for model in answer.model_stats]

    def log_settings(self, timeout: float) -> None:
        self._call(self._stub.LogSettings, self._messages.LogSettingsRequest(), timeout)

    def close(self) -> None:
        self._channel.close()

    def _call(self, method: t.Any, request: t.Any, timeout: float, headers: Sequence[tuple[str, str]] = ()) -> t.Any:
        try:
            return method(request, timeout=timeout, metadata=[*self._metadata, *headers])
        except self._grpc.RpcError as exc:
            raise CallError(exc.code().name, exc.details() or "") from exc


def _set_parameter(parameter: t.Any, value: bool | int | float | str) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = value


def _as_dict(message: t.Any) -> dict[str, t.Any]:
    """A protobuf message as the protocol's JSON has it: field names as they are, 64-bit integers as numbers."""
    result: dict[str, t.Any] = {}
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None and descriptor.message_type.GetOptions().map_entry:
            is_message = descriptor.message_type.fields_by_name["value"].message_type is not None
            result[descriptor.name] = {str(key): _as_dict(each) if is_message else each for key, each in value.items()}
        elif descriptor.message_type is not None:
            repeated = isinstance(value, Sequence) or hasattr(value, "add")
            result[descriptor.name] = [_as_dict(each) for each in value] if repeated else _as_dict(value)
        elif descriptor.enum_type is not None:
            names = descriptor.enum_type.values_by_number
            repeated = not isinstance(value, int)
            result[descriptor.name] = [names[each].name for each in value] if repeated else names[value].name
        elif isinstance(value, (str, int, float, bool)):
            result[descriptor.name] = value
        elif isinstance(value, bytes):
            result[descriptor.name] = value.decode(errors="replace")
        else:
            result[descriptor.name] = list(value)
    return result


class HttpClient(Client):
    """Keeps connections alive: through a port-forward a new one costs several round trips and processes."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._idle: list[_HttpConnection] = []

    def infer(self, golden: Golden, timeout: float, headers: Sequence[tuple[str, str]] = ()) -> list[Tensor]:
        head, body = http_request(golden)
        own = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
        path = f"{_model_path(golden.model, golden.version)}/infer"
        answer, payload = self._exchange("POST", path, timeout, head + body, {**own, **dict(headers)})
        return http_answer(answer, payload)

    def live(self, timeout: float) -> bool:
        return self._is_ok("/v2/health/live", timeout)

    def ready(self, timeout: float) -> bool:
        return self._is_ok("/v2/health/ready", timeout)

    def model_ready(self, model: str, version: str, timeout: float) -> bool:
        return self._is_ok(f"{_model_path(model, version)}/ready", timeout)

    def metadata(self, timeout: float) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", self._json("GET", "/v2", timeout))

    def index(self, timeout: float) -> list[dict[str, str]]:
        return t.cast("list[dict[str, str]]", self._json("POST", "/v2/repository/index", timeout))

    def config(self, model: str, timeout: float) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", self._json("GET", f"{_model_path(model, '')}/config", timeout))

    def statistics(self, timeout: float) -> list[dict[str, t.Any]]:
        answer = self._json("GET", "/v2/models/stats", timeout)
        return t.cast("list[dict[str, t.Any]]", answer.get("model_stats") or [])

    def log_settings(self, timeout: float) -> None:
        self._json("GET", "/v2/logging", timeout)

    def load(self, model: str, timeout: float) -> None:
        """Load a model, or load it anew, by Triton's model repository extension."""
        self._exchange("POST", f"/v2/repository/models/{quote(model, safe='')}/load", timeout, b"{}")

    def unload(self, model: str, timeout: float) -> None:
        """Unload a model, and no model that it is a part of."""
        self._exchange("POST", f"/v2/repository/models/{quote(model, safe='')}/unload", timeout, b"{}")

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _is_ok(self, path: str, timeout: float) -> bool:
        try:
            self._exchange("GET", path, timeout)
        except CallError as exc:
            # Triton says "not ready" with 400 and "no such model" with 404 or 400.
            if exc.status in ("INVALID_ARGUMENT", "NOT_FOUND"):
                return False
            raise
        return True

    def _json(self, method: str, path: str, timeout: float) -> t.Any:
        head, payload = self._exchange(method, path, timeout)
        try:
            return json.loads(head + payload)
        except ValueError as exc:
            raise CallError("INTERNAL", f"the answer to {path} is not JSON") from exc

    def _exchange(
        self,
        method: str,
        path: str,
        timeout: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[bytes, bytes]:
        """One request. Returns the JSON part of the answer and the binary part behind it."""
        full = {**dict(self._endpoint.headers), **(headers or {})}
        try:
            response, payload = self._request(method, path, timeout, body, full)
        except TimeoutError as exc:
            raise CallError("DEADLINE_EXCEEDED", f"no answer within {timeout:g} s") from exc
        except (OSError, http.client.HTTPException) as exc:
            raise CallError("UNAVAILABLE", str(exc) or type(exc).__name__) from exc
        if response.status != 200:
            raise CallError(_HTTP_STATUS.get(response.status, "UNKNOWN"), _http_error(response, payload))
        split = response.headers.get("Inference-Header-Content-Length")
        length = int(split) if split and split.isdigit() else len(payload)
        return payload[:length], payload[length:]

    def _request(
        self, method: str, path: str, timeout: float, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        while True:
            try:
                kept = self._idle.pop()
            except IndexError:
                kept = None
            connection = kept or _HttpConnection(self._endpoint)
            try:
                connection.prepare(timeout)
                connection.request(method, path, body=body, headers=dict(headers))
                response = connection.getresponse()
                payload = response.read()
            except (ConnectionError, http.client.HTTPException):
                connection.close()
                if kept is None:
                    raise
                # A kept connection that the server has closed meanwhile says nothing; a new one will.
                continue
            except BaseException:
                connection.close()
                raise
            if response.will_close:
                connection.close()
            else:
                self._idle.append(connection)
            return response, payload


class _HttpConnection(http.client.HTTPConnection):
    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint.authority or endpoint.host or "localhost", endpoint.port or None)
        self._endpoint = endpoint
        self._seconds = 0.0

    def prepare(self, seconds: float) -> None:
        """Set how long each step of the next request may take."""
        self._seconds = seconds
        if self.sock is not None:
            self.sock.settimeout(seconds)

    def connect(self) -> None:
        self.sock = self._endpoint.connect(self._seconds)


def http_request(golden: Golden) -> tuple[bytes, bytes]:
    """The JSON and the binary part of an inference request. Tensors travel as JSON unless it cannot carry them."""
    inputs, chunks = [], []
    for tensor in golden.inputs:
        entry: dict[str, t.Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        data = inference_tensor.plain_data(tensor)
        if data is None:
            entry["parameters"] = {"binary_data_size": len(tensor.raw)}
            chunks.append(tensor.raw)
        else:
            entry["data"] = data
        inputs.append(entry)
    # What JSON cannot carry forth or is expected in a form that it cannot carry back is asked for as bytes.
    binary = bool(chunks) or any(inference_tensor.plain_data(tensor) is None for tensor in golden.expected)
    request: dict[str, t.Any] = {"inputs": inputs}
    parameters: dict[str, t.Any] = dict(golden.parameters)
    if binary:
        parameters["binary_data_output"] = True
    if parameters:
        request["parameters"] = parameters
    if golden.requested:
        request["outputs"] = [{"name": name, "parameters": {"binary_data": binary}} for name in golden.requested]
    return json.dumps(request).encode(), b"".join(chunks)


def http_answer(head: bytes, payload: bytes) -> list[Tensor]:
    """The outputs of an answer, as JSON, as bytes, or mixed."""
    try:
        outputs = json.loads(head)["outputs"]
    except (ValueError, KeyError, TypeError) as exc:
        raise CallError("INTERNAL", "the answer is not the JSON of an inference response") from exc
    tensors, position = [], 0
    for output in outputs:
        size = (output.get("parameters") or {}).get("binary_data_size")
        if size is None:
            entry = {key: output.get(key) for key in ("name", "datatype", "shape", "data")}
            try:
                tensors.append(inference_tensor.from_json(entry, "output"))
            except SupersonicError as exc:
                raise CallError("INTERNAL", f"the answer cannot be read: {exc}") from exc
        else:
            raw = payload[position : position + size]
            position += size
            tensors.append(Tensor(output["name"], output["datatype"], tuple(output["shape"]), raw, binary=True))
    return tensors


def _model_path(model: str, version: str) -> str:
    return f"/v2/models/{quote(model, safe='')}" + (f"/versions/{quote(version, safe='')}" if version else "")


def _http_error(response: http.client.HTTPResponse, payload: bytes) -> str:
    try:
        return str(json.loads(payload)["error"])
    except (ValueError, KeyError, TypeError):
        text = payload[:200].decode(errors="replace").strip()
        return f"HTTP {response.status} {response.reason}" + (f": {text}" if text else "")
