# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Endpoints as inventories describe them, the tokens of their clients, and calls as clients make them."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import jwt
import numpy
import tritonclient.grpc as triton_grpc
from cryptography.hazmat.primitives.asymmetric import rsa
from tritonclient.utils import InferenceServerException

from ansible_collections.fastml.supersonic.tests.harness.certificates import Certificate
from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy
from ansible_collections.fastml.supersonic.tests.harness.playbooks import render_in_one_process
from ansible_collections.fastml.supersonic.tests.harness.processes import until

ISSUER = "https://tokens.example.org"
# A connection of its own for each client.
CHANNEL = [("grpc.use_local_subchannel_pool", 1)]
# Asked for by access_log alone.
LAST_PATH = "/the-last-line-of-the-access-log"


def render_cases(folder: Path, cases: Mapping[str, Mapping[str, Any]]) -> Path:
    """A folder of manifests by case, which the role writes."""
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "supersonic_namespace": "{{ inventory_hostname }}",
        "supersonic_render_directory": f"{folder}/manifests/{{{{ inventory_hostname }}}}",
    }
    # Once is enough: the role judges its variables by itself as well.
    role = {"name": "fastml.supersonic.envoy", "tasks_from": "render", "rolespec_validate": False}
    play = {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [{"name": "Write the manifests of the endpoint", "ansible.builtin.import_role": role}],
    }
    (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": cases, "vars": common}}))
    (folder / "play.yml").write_text(json.dumps([play]))
    for case in cases:
        (folder / "manifests" / case).mkdir(parents=True)
    render_in_one_process(folder / "play.yml", folder / "hosts.yml")
    return folder / "manifests"


@contextlib.contextmanager
def deployed(
    folder: Path, cases: Mapping[str, Mapping[str, Any]], servers: Sequence[str], http_servers: Sequence[str] = ()
) -> Iterator[dict[str, DeployedEnvoy]]:
    """An Envoy for each case, all in front of the same servers, by case."""
    manifests = render_cases(folder, cases)
    with contextlib.ExitStack() as stack:
        running = {}
        for case in cases:
            running[case] = DeployedEnvoy(folder / case, manifests / case / "envoy.yaml", servers, http_servers)
            stack.callback(running[case].stop)
        yield running


def access_log(envoy: DeployedEnvoy) -> list[dict[str, Any]]:
    """All lines up to now. Envoy writes them from time to time, in their order: one more request, of a path that no
    other asks for, says when those before it are there. Its own lines are left out."""

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in envoy.process.log.read_bytes().splitlines() if line.startswith(b"{")]

    def last() -> int:
        return sum(line["path"] == LAST_PATH for line in lines())

    before = last()
    with socket.create_connection(("127.0.0.1", envoy.port), 10) as client:
        client.sendall(f"GET {LAST_PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        while client.recv(4096):
            pass
    until(lambda: last() > before)
    return [line for line in lines() if line["path"] != LAST_PATH]


# ---- tokens --------------------------------------------------------------------------------------------------------
def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def key_set(**keys: rsa.RSAPrivateKey) -> dict[str, Any]:
    found = []
    for name, key in keys.items():
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
        found.append({**public, "kid": name, "alg": "RS256", "use": "sig"})
    return {"keys": found}


KEY, OTHER_KEY = new_key(), new_key()


def token(key: rsa.RSAPrivateKey = KEY, kid: str = "one", **claims: Any) -> str:
    now = int(time.time())
    payload = {"iss": ISSUER, "aud": "supersonic", "sub": "alice", "iat": now, "exp": now + 600, **claims}
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, key, algorithm="RS256", headers={"kid": kid})


def bearer(text: str) -> str:
    return f"Bearer {text}"


# ---- calls ---------------------------------------------------------------------------------------------------------
def infer(
    envoy: DeployedEnvoy,
    model: str = "identity",
    authorization: str | None = None,
    values: int = 4,
    authority: Certificate | None = None,
    **headers: str,
) -> str:
    """OK, or the status that a real client sees, with its message. With the authority of its certificate, by TLS."""
    data = numpy.arange(values, dtype=numpy.float32)
    given = triton_grpc.InferInput("INPUT0", data.shape, "FP32")
    given.set_data_from_numpy(data)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if authorization:
        headers["authorization"] = authorization
    credentials = authority and grpc.ssl_channel_credentials(authority.pem.encode())
    address = f"localhost:{envoy.port}" if authority else envoy.address
    with triton_grpc.InferenceServerClient(address, creds=credentials, channel_args=CHANNEL) as client:
        try:
            answer = client.infer(model, [given], headers=headers, client_timeout=120)
        except InferenceServerException as exc:
            return f"{exc.status()}: {exc.message()}"
    assert numpy.array_equal(answer.as_numpy("OUTPUT0"), data)
    return "OK"


def frame(message: bytes) -> bytes:
    """A message as it is in the body of a gRPC call."""
    return b"\0" + len(message).to_bytes(4, "big") + message


# ---- what Envoy says -----------------------------------------------------------------------------------------------
def statistics(envoy: DeployedEnvoy, pattern: str) -> dict[str, int]:
    """Envoy's counters and gauges by name."""
    found = json.loads(envoy.admin(f"/stats?format=json&filter={pattern}"))["stats"]
    return {item["name"]: item["value"] for item in found if "name" in item}


def passed(envoy: DeployedEnvoy) -> int:
    """Requests that were passed on to Triton; health checks are not among them."""
    return sum(statistics(envoy, r"^cluster\.triton.*\.upstream_rq_total$").values())
