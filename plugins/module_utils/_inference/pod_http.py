# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sends an HTTP request to a port of a pod through a port forward, such as Envoy's admin interface on loopback.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import http.client
import time
import typing as t
from collections.abc import Mapping

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.kserve_client import Endpoint
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.port_forward import Relay

# Where the first Envoy of a pod has its admin interface, by the naming contract and in the Helm chart, and by how much
# that of the next one is higher.
ADMIN_PORT, ADMIN_STEP = 9901, 10
# A dump of Envoy's configuration with many clients has some MiB.
LARGEST_ANSWER = 64 << 20
# Of the seconds between two parts of an answer: how many of them all of it may take.
WHOLE_ANSWER = 3


class NoAnswer(SupersonicError):
    """Nobody has answered, or not to the end; the text is the reason alone."""


class Answer(t.NamedTuple):
    """An HTTP answer. If it has the largest size that is read, its end may be missing."""

    status: int
    body: bytes


def ask(
    relay: Relay,
    api: Api,
    namespace: str,
    pod: str,
    port: int,
    target: str,
    *,
    timeout: float,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    most: int = LARGEST_ANSWER,
) -> Answer:
    """Ask once. timeout: seconds until the next part of the answer. Raises NoAnswer; an HTTP error is an answer."""
    tunnel = relay.to_pod(api, namespace, pod, port)
    connection = http.client.HTTPConnection("localhost")
    # Through the tunnel or not at all.
    connection.auto_open = 0
    try:
        connection.sock = Endpoint("http", tunnels=(tunnel,)).connect(timeout)
        connection.request(method, target, body=body, headers={"Connection": "close", **(headers or {})})
        response = connection.getresponse()
        return Answer(response.status, read(response, WHOLE_ANSWER * timeout, most))
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(str(tunnel.error or error) or type(error).__name__) from error
    finally:
        connection.close()


def read(response: http.client.HTTPResponse, seconds: float, most: int) -> bytes:
    """As much of an answer as is taken. The time of the connection bounds each wait, and not all of them.

    Raises TimeoutError and IncompleteRead: `read1` takes a body that is cut short for a whole one unless it is chunked.
    """
    limit = time.monotonic() + seconds
    parts: list[bytes] = []
    left = most
    while left > 0:
        part = response.read1(left)
        if not part:
            if response.length:
                raise http.client.IncompleteRead(b"".join(parts), response.length)
            break
        parts.append(part)
        left -= len(part)
        if time.monotonic() > limit:
            raise TimeoutError(f"its answer has not come to an end within {seconds:g} s")
    return b"".join(parts)
